// Losses of one prediction and one target each: mse, l1, huber, smooth_l1, binary cross-entropy, KL.
#include <algorithm>

#include "core/thread_pool.h"
#include "ops/elementwise/unary_rule.h"
#include "ops/kept.h"
#include "ops/losses/kernels.h"
#include "ops/losses/reduction.h"

namespace annx {
namespace {

void infer_pair(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
}

void run_rows(const OpCall& c, ElementwiseFn f32, ElementwiseFn f64) {
  const RowParams params(c.attrs);
  run_elementwise(pick({f32, f64, nullptr, nullptr, nullptr, nullptr}, c.in(0).dtype(), c.name()),
                  c.inputs.data(), c.inputs.size(), c.out(), params.values);
}

using PairRule = Tensor (*)(const Tensor& g, const Tensor& a, const Tensor& b, const double* p);

// g times a partial derivative: fused, or differentiable while the tape listens.
Tensor pair_gradient(BackwardCall& call, const OpDef& fused, PairRule rule) {
  Attrs attrs;
  for (int i = 0; i < call.attr_count(); ++i) attrs.push_back(call.attr(i));
  if (grad_enabled())
    return rule(call.grad(), call.input(0), call.input(1), RowParams(attrs).values);
  return annx::call(fused, {call.grad(), call.input(0), call.input(1)}, std::move(attrs));
}

#define C(value) ops::number(value)
#define P(i) ops::number(p[i])
#define ANNX_LOSS(id, forward, grad_a, grad_b)                                             \
  void id##_kernel(const OpCall& c) {                                                      \
    const LossKernel& k = loss_kernels().id;                                               \
    run_rows(c, k.f32, k.f64);                                                             \
  }                                                                                        \
  void id##_grad_a_kernel(const OpCall& c) {                                               \
    const LossKernel& k = loss_kernels().id;                                               \
    run_rows(c, k.grad_a_f32, k.grad_a_f64);                                               \
  }                                                                                        \
  void id##_grad_b_kernel(const OpCall& c) {                                               \
    const LossKernel& k = loss_kernels().id;                                               \
    run_rows(c, k.grad_b_f32, k.grad_b_f64);                                               \
  }                                                                                        \
  Tensor id##_rule_a([[maybe_unused]] const Tensor& g, [[maybe_unused]] const Tensor& a,   \
                     [[maybe_unused]] const Tensor& b, [[maybe_unused]] const double* p) { \
    using namespace ops;                                                                   \
    return ANNX_EXPRESSION(grad_a);                                                        \
  }                                                                                        \
  Tensor id##_rule_b([[maybe_unused]] const Tensor& g, [[maybe_unused]] const Tensor& a,   \
                     [[maybe_unused]] const Tensor& b, [[maybe_unused]] const double* p) { \
    using namespace ops;                                                                   \
    return ANNX_EXPRESSION(grad_b);                                                        \
  }                                                                                        \
  const OpDef id##_grad_a_def = {.name = #id "_loss_backward",                             \
                                 .signature = "",                                          \
                                 .doc = "",                                                \
                                 .infer = infer_pair,                                      \
                                 .kernel = id##_grad_a_kernel,                             \
                                 .cost = elementwise_cost,                                 \
                                 .flags = kInternal | kElementwise};                       \
  const OpDef id##_grad_b_def = {.name = #id "_loss_target_backward",                      \
                                 .signature = "",                                          \
                                 .doc = "",                                                \
                                 .infer = infer_pair,                                      \
                                 .kernel = id##_grad_b_kernel,                             \
                                 .cost = elementwise_cost,                                 \
                                 .flags = kInternal | kElementwise};                       \
  void id##_backward(BackwardCall& call) {                                                 \
    if (call.needs(0)) call.set(0, pair_gradient(call, id##_grad_a_def, id##_rule_a));     \
    if (call.needs(1)) call.set(1, pair_gradient(call, id##_grad_b_def, id##_rule_b));     \
  }                                                                                        \
  const OpDef id##_def = {.name = #id "_loss",                                             \
                          .signature = "",                                                 \
                          .doc = "",                                                       \
                          .infer = infer_pair,                                             \
                          .kernel = id##_kernel,                                           \
                          .backward = id##_backward,                                       \
                          .cost = elementwise_cost,                                        \
                          .saves = save_input(0) | save_input(1),                          \
                          .flags = kInternal | kElementwise};
#include "ops/losses/rows.def"
#undef ANNX_LOSS
#undef C
#undef P

void both_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
}

template <class T>
void both_run(LossBothFn<T> fn, const OpCall& c) {
  const T *a = c.in(0).data<T>(), *b = c.in(1).data<T>();
  T *loss = c.out(0).data<T>(), *derivative = c.out(1).data<T>();
  parallel_for(c.in(0).numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    fn(a + begin, b + begin, loss + begin, derivative + begin, end - begin);
  });
}

void bce_logits_both_kernel(const OpCall& c) {
  if (c.in(0).dtype() == DType::f32)
    both_run(loss_kernels().bce_logits_both_f32, c);
  else
    both_run(loss_kernels().bce_logits_both_f64, c);
}

const OpDef bce_logits_both_def = {.name = "bce_logits_loss_and_derivative",
                                   .signature = "",
                                   .doc = "",
                                   .infer = both_infer,
                                   .kernel = bce_logits_both_kernel,
                                   .flags = kInternal};

void check_pair(const OpCall& c) {
  // A silent broadcast of (N,) against (N, 1) is the classic way to train on nonsense.
  ANNX_CHECK(c.in(0).shape() == c.in(1).shape(), value, c.name(),
             "expected input and target of one shape but got ", c.in(0).shape(), " and ",
             c.in(1).shape());
  ANNX_CHECK(is_floating(c.in(0).dtype()), type, c.name(),
             "expected a floating input but got dtype ", c.in(0).dtype());
}

Tensor elementwise_loss(const OpCall& c, const OpDef& op, Attrs attrs = {}) {
  check_pair(c);
  return call(op, {c.in(0), c.in(1)}, std::move(attrs));
}

TensorList mse_loss(const OpCall& c) {
  const Reduction r = parse_reduction(c.attr(0).text(), c.name());
  return {reduce_loss(elementwise_loss(c, mse_def), r)};
}

TensorList l1_loss(const OpCall& c) {
  const Reduction r = parse_reduction(c.attr(0).text(), c.name());
  return {reduce_loss(elementwise_loss(c, l1_def), r)};
}

TensorList huber_loss(const OpCall& c) {
  const Reduction r = parse_reduction(c.attr(0).text(), c.name());
  ANNX_CHECK(c.attr(1).f() > 0, value, "huber_loss", "expected delta > 0 but got ", c.attr(1).f());
  return {reduce_loss(elementwise_loss(c, huber_def, {c.attr(1)}), r)};
}

TensorList smooth_l1_loss(const OpCall& c) {
  const Reduction r = parse_reduction(c.attr(0).text(), c.name());
  const double beta = c.attr(1).f();
  ANNX_CHECK(beta >= 0, value, "smooth_l1_loss", "expected beta >= 0 but got ", beta);
  return {reduce_loss(
      beta == 0 ? elementwise_loss(c, l1_def) : elementwise_loss(c, smooth_l1_def, {c.attr(1)}),
      r)};
}

Tensor weighted(const Tensor& loss, const OpCall& c, int weight) {
  return c.has(weight) ? ops::mul(loss, c.in(weight)) : loss;
}

// NaN passes: a diverged network shows as a loss that is NaN.
template <typename T>
void check_probabilities(const Tensor& input) {
  const T* x = input.data<T>();
  const int64_t n = input.numel();
  bool outside = false;
  for (int64_t i = 0; i < n; ++i) outside |= (x[i] < T(0)) | (x[i] > T(1));
  if (!outside) return;
  const T* bad = std::find_if(x, x + n, [](T v) { return v < T(0) || v > T(1); });
  ANNX_CHECK(false, value, "binary_cross_entropy", "expected probabilities in [0, 1] but got ",
             *bad, " at position ", bad - x,
             "; for logits there is binary_cross_entropy_with_logits");
}

void checked_bce_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor input = ops::contiguous(c.in(0));
  if (input.dtype() == DType::f64)
    check_probabilities<double>(input);
  else
    check_probabilities<float>(input);
  bce_kernel(c);
}

// Not kElementwise: inside a fused group only the formula would run.
const OpDef checked_bce_def = {.name = "bce_loss",
                               .signature = "",
                               .doc = "",
                               .infer = infer_pair,
                               .kernel = checked_bce_kernel,
                               .backward = bce_backward,
                               .cost = elementwise_cost,
                               .saves = save_input(0) | save_input(1),
                               .flags = kInternal};

TensorList binary_cross_entropy(const OpCall& c) {
  const Reduction r = parse_reduction(c.attr(0).text(), c.name());
  return {reduce_loss(weighted(elementwise_loss(c, checked_bce_def), c, 2), r)};
}

TensorList binary_cross_entropy_with_logits(const OpCall& c) {
  const Reduction r = parse_reduction(c.attr(0).text(), c.name());
  if (!c.has(3)) return {reduce_loss(weighted(elementwise_loss(c, bce_logits_def), c, 2), r)};
  check_pair(c);
  // (1 - z) x + (1 + (pos_weight - 1) z) log(1 + exp(-x))
  const Tensor &x = c.in(0), &z = c.in(1);
  const Tensor one = ops::number(1);
  const Tensor scale = one + (c.in(3) - one) * z;
  const Tensor loss = (one - z) * x - scale * call(def::log_sigmoid, {x});
  return {reduce_loss(weighted(loss, c, 2), r)};
}

TensorList kl_div(const OpCall& c) {
  const char* text = c.attr(0).text();
  const Tensor loss = elementwise_loss(c, c.attr(1).b() ? kl_log_def : kl_def);
  if (std::strcmp(text, "batchmean") == 0) {
    const double n = c.in(0).dim() ? static_cast<double>(c.in(0).size(0)) : 1.0;
    return {ops::sum(loss) / ops::number(n)};
  }
  return {reduce_loss(loss, parse_reduction(text, "kl_div"))};
}

}  // namespace

const KeptDerivative& kept_bce_logits() {
  static const KeptDerivative kept = {&bce_logits_def, &bce_logits_grad_a_def,
                                      &bce_logits_both_def};
  return kept;
}

namespace def {

#define ANNX_REDUCED "(Tensor input, Tensor target, str reduction='mean'"
const OpDef mse_loss = {.name = "mse_loss",
                        .signature = "mse_loss" ANNX_REDUCED ") -> Tensor",
                        .doc = "(input - target)**2, reduced by 'mean', 'sum' or 'none'.",
                        .composite = annx::mse_loss,
                        .flags = kPromote | kNoMethod};
const OpDef l1_loss = {.name = "l1_loss",
                       .signature = "l1_loss" ANNX_REDUCED ") -> Tensor",
                       .doc = "|input - target|, reduced.",
                       .composite = annx::l1_loss,
                       .flags = kPromote | kNoMethod};
const OpDef huber_loss = {.name = "huber_loss",
                          .signature = "huber_loss" ANNX_REDUCED ", float delta=1.0) -> Tensor",
                          .doc =
                              "Half the squared error up to delta, linear beyond; reduced. "
                              "Huber, 1964.",
                          .composite = annx::huber_loss,
                          .flags = kPromote | kNoMethod};
const OpDef smooth_l1_loss = {
    .name = "smooth_l1_loss",
    .signature = "smooth_l1_loss" ANNX_REDUCED ", float beta=1.0) -> Tensor",
    .doc = "0.5 (input - target)**2 / beta below beta, |input - target| - beta / 2 above; reduced.",
    .composite = annx::smooth_l1_loss,
    .flags = kPromote | kNoMethod};
const OpDef binary_cross_entropy = {
    .name = "binary_cross_entropy",
    .signature =
        "binary_cross_entropy(Tensor input, Tensor target, Tensor? weight=None, str "
        "reduction='mean') -> Tensor",
    .doc =
        "-(target log(input) + (1 - target) log(1 - input)) of probabilities, logarithms held "
        "above -100; reduced.",
    .composite = annx::binary_cross_entropy,
    .flags = kPromote | kNoMethod};
const OpDef binary_cross_entropy_with_logits = {
    .name = "binary_cross_entropy_with_logits",
    .signature =
        "binary_cross_entropy_with_logits(Tensor input, Tensor target, Tensor? "
        "weight=None, Tensor? pos_weight=None, str reduction='mean') -> Tensor",
    .doc = "Binary cross-entropy of sigmoid(input), stable for logits of any size; reduced.",
    .composite = annx::binary_cross_entropy_with_logits,
    .flags = kPromote | kNoMethod};
const OpDef kl_div = {.name = "kl_div",
                      .signature = "kl_div" ANNX_REDUCED ", bool log_target=False) -> Tensor",
                      .doc =
                          "target (log(target) - input) for log-probabilities input; reduced, "
                          "'batchmean' divides the sum by the batch size.",
                      .composite = annx::kl_div,
                      .flags = kPromote | kNoMethod};
#undef ANNX_REDUCED

}  // namespace def
}  // namespace annx
