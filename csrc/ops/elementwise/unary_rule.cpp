#include "ops/elementwise/unary_rule.h"

namespace annx {

void infer_like_first(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
}

Cost elementwise_cost(const OpCall& c) {
  double bytes = 0;
  for (const Tensor& t : c.inputs)
    if (t.defined()) bytes += static_cast<double>(t.nbytes());
  for (const Tensor& t : c.outputs) bytes += static_cast<double>(t.nbytes());
  return {static_cast<double>(c.out().numel()), bytes};
}

ElementwiseFn pick(const KernelByDType& kernels, DType dtype, const char* op) {
  ElementwiseFn fn = nullptr;
  switch (dtype) {
    case DType::f32:
      fn = kernels.f32;
      break;
    case DType::f64:
      fn = kernels.f64;
      break;
    case DType::i64:
      fn = kernels.i64;
      break;
    case DType::i32:
      fn = kernels.i32;
      break;
    case DType::u8:
      fn = kernels.u8;
      break;
    case DType::b8:
      fn = kernels.b8;
      break;
    default:
      break;
  }
  ANNX_CHECK(fn, type, op, "expected a dtype this op supports but got ", dtype);
  return fn;
}

void run_picked(const OpCall& c, const KernelByDType& kernels, const double* params) {
  const DType dtype = c.in(0).dtype();
  const bool f32 = dtype == DType::f32;
  run_elementwise(pick(kernels, dtype, c.name()), c.inputs.data(), c.inputs.size(), c.out(), params,
                  0.5, f32 ? kernels.stream : nullptr, f32 ? kernels.f32_number : nullptr);
}

void run_unary(const OpCall& c, const KernelByDType& kernels) {
  const RowParams params(c.attrs);
  run_picked(c, kernels, params.values);
}

Tensor unary_gradient(const OpDef& fused, DerivativeFn derivative, const Attrs& attrs,
                      const Tensor& g, const Tensor& x, const Tensor& y) {
  if (grad_enabled()) {
    const RowParams params(attrs);
    return derivative(g, x, y, params.values);
  }
  TensorList inputs{g};
  if (x.defined()) inputs.push_back(x);
  if (y.defined()) inputs.push_back(y);
  return call(fused, std::move(inputs), attrs);
}

void unary_rule(BackwardCall& b, uint32_t saves, const OpDef& fused, DerivativeFn derivative) {
  Attrs attrs;
  for (int i = 0; i < b.attr_count(); ++i) attrs.push_back(b.attr(i));
  b.set(0, unary_gradient(fused, derivative, attrs, b.grad(),
                          saves & save_input(0) ? b.input(0) : Tensor(),
                          saves & save_output(0) ? b.output(0) : Tensor()));
}

}  // namespace annx
