#include "ops/arithmetic/fused.h"

#include "ops/arithmetic/kernels.h"
#include "ops/elementwise/unary_rule.h"

namespace annx {
namespace {

void broadcast_infer(const OpCall& c, OutputSpecs& specs) {
  const Dims tail = broadcast_shapes(c.in(1).shape(), c.in(2).shape(), c.name());
  specs.push_back({broadcast_shapes(c.in(0).shape(), tail, c.name()), c.in(0).dtype()});
}

void test_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(0).shape(), DType::b8});
}

void run_kernel(const OpCall& c, const BinaryKernel& kernel) {
  const RowParams params(c.attrs);
  const bool f32 = c.in(0).dtype() == DType::f32;
  run_elementwise(f32 ? kernel.f32 : kernel.f64, c.inputs.data(), c.inputs.size(), c.out(),
                  params.values, 0.5, nullptr, f32 ? kernel.f32_number : nullptr);
}

#define ANNX_FUSED(name) \
  void name##_kernel(const OpCall& c) { run_kernel(c, arithmetic_kernels().name); }
ANNX_FUSED(lerp)
ANNX_FUSED(addcmul)
ANNX_FUSED(addcdiv)
ANNX_FUSED(clamp)
ANNX_FUSED(nan_to_num)
ANNX_FUSED(isfinite)
ANNX_FUSED(isinf)
ANNX_FUSED(pow_3)
ANNX_FUSED(pow_half)
#undef ANNX_FUSED

// Sets the gradient of input i from one in the shape of the result.
void give(BackwardCall& b, int i, const Tensor& g) { b.set(i, ops::sum_to(g, b.input_shape(i))); }

Tensor times(const Tensor& x, double value) {
  return value == 1 ? x : ops::mul(x, ops::number(value));
}

void lerp_rule(BackwardCall& b) {
  const Tensor &g = b.grad(), w = b.input(2);
  const Tensor part = ops::mul(g, w);
  if (b.needs(0)) give(b, 0, ops::sub(g, part));
  if (b.needs(1)) give(b, 1, part);
  if (b.needs(2)) give(b, 2, ops::mul(g, ops::sub(b.input(1), b.input(0))));
}

void addcmul_rule(BackwardCall& b) {
  if (b.needs(0)) give(b, 0, b.grad());
  const Tensor g = times(b.grad(), b.attr(0).f());
  if (b.needs(1)) give(b, 1, ops::mul(g, b.input(2)));
  if (b.needs(2)) give(b, 2, ops::mul(g, b.input(1)));
}

void addcdiv_rule(BackwardCall& b) {
  if (b.needs(0)) give(b, 0, b.grad());
  const Tensor g = ops::div(times(b.grad(), b.attr(0).f()), b.input(2));
  if (b.needs(1)) give(b, 1, g);
  if (b.needs(2)) give(b, 2, ops::neg(ops::mul(g, ops::div(b.input(1), b.input(2)))));
}

// As minimum after maximum: equal operands share.
void clamp_rule(BackwardCall& b) {
  const Tensor x = b.input(0), low = b.input(1), high = b.input(2);
  const Tensor zero = ops::number(0), half = ops::mul(b.grad(), ops::number(0.5));
  const Tensor raised = ops::maximum(x, low);
  const Tensor even = ops::where(ops::eq(raised, high), half, zero);
  const Tensor g = ops::where(ops::lt(raised, high), b.grad(), even);
  if (b.needs(2)) give(b, 2, ops::where(ops::gt(raised, high), b.grad(), even));
  const Tensor shared = ops::where(ops::eq(x, low), ops::mul(g, ops::number(0.5)), zero);
  if (b.needs(0)) give(b, 0, ops::where(ops::gt(x, low), g, shared));
  if (b.needs(1)) give(b, 1, ops::where(ops::lt(x, low), g, shared));
}

void nan_to_num_rule(BackwardCall& b) {
  b.set(0, ops::where(fused::isfinite(b.input(0)), b.grad(), ops::number(0)));
}

// That of pow, in its order of operations, so that the bits are the same.
template <int Twice>
void power_rule(BackwardCall& b) {
  const Tensor exponent = ops::number(Twice / 2.0), less = ops::number(Twice / 2.0 - 1);
  b.set(0, ops::mul(b.grad(), ops::mul(exponent, ops::pow(b.input(0), less))));
}

constexpr uint32_t kAll = save_input(0) | save_input(1) | save_input(2);

// Where they can they bear the names of the ops that they compute: errors and the graph speak of those.
#define ANNX_DEF(id, shape_rule, rule, saved)       \
  const OpDef id##_def = {.name = #id,              \
                          .signature = "",          \
                          .doc = "",                \
                          .infer = shape_rule,      \
                          .kernel = id##_kernel,    \
                          .backward = rule,         \
                          .cost = elementwise_cost, \
                          .saves = saved,           \
                          .flags = kInternal | kPromote | kElementwise};
ANNX_DEF(lerp, broadcast_infer, lerp_rule, kAll)
ANNX_DEF(addcmul, broadcast_infer, addcmul_rule, save_input(1) | save_input(2))
ANNX_DEF(addcdiv, broadcast_infer, addcdiv_rule, save_input(1) | save_input(2))
ANNX_DEF(clamp, broadcast_infer, clamp_rule, kAll)
ANNX_DEF(nan_to_num, infer_like_first, nan_to_num_rule, save_input(0))
ANNX_DEF(isfinite, test_infer, nullptr, 0)
ANNX_DEF(isinf, test_infer, nullptr, 0)
ANNX_DEF(pow_3, infer_like_first, power_rule<6>, save_input(0))
ANNX_DEF(pow_half, infer_like_first, power_rule<1>, save_input(0))
#undef ANNX_DEF

}  // namespace

namespace fused {

bool takes(const Tensor& x) {
  return (x.dtype() == DType::f32 || x.dtype() == DType::f64) && x.device().is_cpu() &&
         !x.impl()->wrapped_number;
}

Tensor lerp(const Tensor& start, const Tensor& end, const Tensor& weight) {
  return call(lerp_def, {start, end, weight});
}
Tensor addcmul(const Tensor& x, const Tensor& a, const Tensor& b, double value) {
  return call(addcmul_def, {x, a, b}, {Attr(value)});
}
Tensor addcdiv(const Tensor& x, const Tensor& a, const Tensor& b, double value) {
  return call(addcdiv_def, {x, a, b}, {Attr(value)});
}
Tensor clamp(const Tensor& x, const Tensor& low, const Tensor& high) {
  return call(clamp_def, {x, low, high});
}
Tensor nan_to_num(const Tensor& x, double nan, double high, double low) {
  return call(nan_to_num_def, {x}, {Attr(nan), Attr(high), Attr(low)});
}
Tensor isfinite(const Tensor& x) { return call(isfinite_def, {x}); }
Tensor isinf(const Tensor& x) { return call(isinf_def, {x}); }

const OpDef* power(const Tensor& x, double exponent) {
  if (exponent == 2) return &def::square;
  if (!x.device().is_cpu()) return nullptr;
  return exponent == 3 ? &pow_3_def : exponent == 0.5 ? &pow_half_def : nullptr;
}

}  // namespace fused
}  // namespace annx
