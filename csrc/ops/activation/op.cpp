// Activations: the formulas are in rows.def; gelu and prelu are put together here.
#include <cstring>

#include "core/thread_pool.h"
#include "ops/activation/gradient.h"
#include "ops/activation/kernels.h"
#include "ops/defs.h"
#include "ops/elementwise/unary_rule.h"
#include "ops/kept.h"

#define ANNX_ROWS "ops/activation/rows.def"
#define ANNX_TABLE activation_kernels

namespace annx {
#include "ops/elementwise/unary.h"

namespace ops {

Activation activation_named(const char* text, const char* op) {
  constexpr const char* names[kActivationCount] = {"none", "relu",      "sigmoid", "tanh",
                                                   "gelu", "gelu_tanh", "silu"};
  for (int i = 0; i < kActivationCount; ++i)
    if (std::strcmp(text, names[i]) == 0) return static_cast<Activation>(i);
  fail(ErrorKind::value, op,
       "expected activation none, relu, sigmoid, tanh, gelu, gelu_tanh or silu but got '", text,
       "'");
}

Tensor activation_gradient(Activation activation, const Tensor& g, const Tensor& x,
                           const Tensor& y) {
  const Tensor none;
  switch (activation) {
    case Activation::none:
      return g;
    case Activation::relu:
      return unary_gradient(relu_backward_def, relu_derivative, {}, g, none, y);
    case Activation::sigmoid:
      return unary_gradient(sigmoid_backward_def, sigmoid_derivative, {}, g, none, y);
    case Activation::tanh:
      return unary_gradient(tanh_backward_def, tanh_derivative, {}, g, none, y);
    case Activation::gelu:
      return unary_gradient(gelu_erf_backward_def, gelu_erf_derivative, {}, g, x, none);
    case Activation::gelu_tanh:
      return unary_gradient(gelu_tanh_backward_def, gelu_tanh_derivative, {}, g, x, none);
    case Activation::silu:
      return unary_gradient(silu_backward_def, silu_derivative, {}, g, x, none);
  }
  return g;
}

}  // namespace ops

namespace {

TensorList gelu(const OpCall& c) {
  const char* approximate = c.attr(0).text();
  const bool tanh = std::strcmp(approximate, "tanh") == 0;
  ANNX_CHECK(tanh || std::strcmp(approximate, "none") == 0, value, "gelu",
             "expected approximate to be 'none' or 'tanh' but got '", approximate, "'");
  return call_all(tanh ? def::gelu_tanh : def::gelu_erf, {c.in(0)});
}

TensorList prelu(const OpCall& c) {
  const Tensor& x = c.in(0);
  Tensor w = c.in(1);
  const int64_t channels = x.dim() > 1 ? x.size(1) : 1;
  ANNX_CHECK(w.dim() <= 1 && (w.numel() == 1 || w.numel() == channels), value, "prelu",
             "expected weight of shape (1,) or (", channels, ",) but got ", w.shape(),
             " for input of shape ", x.shape());
  if (w.numel() > 1) {
    Dims shape(x.dim(), 1);
    shape[1] = channels;
    w = ops::reshape(w, shape);
  }
  return {ops::where(ops::gt(x, ops::number(0)), x, ops::mul(x, w))};
}

void both_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
}

template <class T>
void both_run(BothFn<T> fn, const OpCall& c) {
  const T* x = c.in(0).data<T>();
  T *y = c.out(0).data<T>(), *d = c.out(1).data<T>();
  parallel_for(c.in(0).numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    fn(x + begin, y + begin, d + begin, end - begin);
  });
}

template <BothKernel ActivationKernels::* kernel>
void both_kernel(const OpCall& c) {
  const BothKernel& k = activation_kernels().*kernel;
  if (c.in(0).dtype() == DType::f32)
    both_run(k.f32, c);
  else
    both_run(k.f64, c);
}

#define ANNX_BOTH(id)                                                                \
  const OpDef id##_both_def = {.name = #id "_and_derivative",                        \
                               .signature = "",                                      \
                               .doc = "",                                            \
                               .infer = both_infer,                                  \
                               .kernel = both_kernel<&ActivationKernels::id##_both>, \
                               .flags = kInternal};
ANNX_BOTH(gelu_erf)
ANNX_BOTH(gelu_tanh)
ANNX_BOTH(silu)
#undef ANNX_BOTH

}  // namespace

const KeptDerivative* kept_activations() {
  static const KeptDerivative all[kKeptActivations] = {
      {&def::gelu_erf, &gelu_erf_backward_def, &gelu_erf_both_def},
      {&def::gelu_tanh, &gelu_tanh_backward_def, &gelu_tanh_both_def},
      {&def::silu, &silu_backward_def, &silu_both_def}};
  return all;
}

namespace def {

const OpDef gelu = {.name = "gelu",
                    .signature = "gelu(Tensor input, str approximate='none') -> Tensor",
                    .doc = "Gaussian error linear unit; approximate is 'none' or 'tanh'.",
                    .composite = annx::gelu};

const OpDef prelu = {.name = "prelu",
                     .signature = "prelu(Tensor input, Tensor weight) -> Tensor",
                     .doc =
                         "input where positive, else weight * input; weight has one element or "
                         "one per channel (dimension 1). He et al., 2015.",
                     .composite = annx::prelu};

}  // namespace def
}  // namespace annx
