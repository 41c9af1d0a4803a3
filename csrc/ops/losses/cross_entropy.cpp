// Cross-entropy straight from logits: loss and gradient in one pass over them.
#include <algorithm>

#include "ops/losses/kernels.h"
#include "ops/losses/reduction.h"
#include "ops/reduce/float_ops.h"

namespace annx {
namespace {

constexpr int64_t kTaskElements = 8192;  // an element costs about a nanosecond

// softmax_xent: logits (rows, classes); target (rows,) int64 or (rows, classes) probabilities;
// weight (classes,) or none. Outputs: the loss, (rows,) or reduced to a scalar, and the gradient of
// its sum with respect to logits, (rows, classes), or nothing where it is not wanted.
enum Output { kLoss, kGrad };
enum Attribute { kIgnoreIndex, kSmoothing, kReduction, kWantGrad };

Reduction reduction_of(const Attr& a) { return static_cast<Reduction>(a.i()); }

void xent_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  specs.push_back(
      {reduction_of(c.attr(kReduction)) == Reduction::none ? Dims{x.size(0)} : Dims{}, x.dtype()});
  specs.push_back({c.attr(kWantGrad).b() ? x.shape() : Dims{0}, x.dtype()});
}

void check_labels(const int64_t* labels, int64_t rows, int64_t classes, int64_t ignore_index,
                  const char* op) {
  for (int64_t r = 0; r < rows; ++r)
    ANNX_CHECK((labels[r] >= 0 && labels[r] < classes) || labels[r] == ignore_index, index, op,
               "expected class indices in [0, ", classes - 1, "] but got ", labels[r],
               " at position ", r);
}

// What 'mean' divides by: the weights of the rows that count, or the number of rows.
template <class T>
double mean_divisor(const XentRows<T>& p, int64_t rows) {
  if (p.probs) return static_cast<double>(rows);
  double total = 0;
  for (int64_t r = 0; r < rows; ++r) {
    if (p.labels[r] == p.ignore_index) continue;
    total += p.weights ? static_cast<double>(p.weights[p.labels[r]]) : 1.0;
  }
  return total;
}

template <class T>
void xent_run(const OpCall& c, XentFn<T> kernel) {
  GradModeGuard no_grad(false);
  const Tensor logits = ops::contiguous(c.in(0)), target = ops::contiguous(c.in(1));
  const Tensor weight = c.has(2) ? ops::contiguous(c.in(2)) : Tensor();
  const int64_t rows = logits.size(0), classes = logits.size(1);
  const bool indexed = target.dtype() == DType::i64;
  const double smoothing = c.attr(kSmoothing).f();
  XentRows<T> p{};
  p.classes = classes;
  p.weights = weight.defined() ? weight.data<T>() : nullptr;
  p.probs = indexed ? nullptr : target.data<T>();
  p.labels = indexed ? target.data<int64_t>() : nullptr;
  p.ignore_index = c.attr(kIgnoreIndex).i();
  p.keep = static_cast<T>(1 - smoothing);
  p.spread = static_cast<T>(smoothing / static_cast<double>(classes));
  if (indexed) check_labels(p.labels, rows, classes, p.ignore_index, "cross_entropy");
  const Reduction reduction = reduction_of(c.attr(kReduction));
  const double divisor = reduction == Reduction::mean ? mean_divisor(p, rows) : 1;
  p.scale = static_cast<T>(1 / divisor);

  const bool reduced = reduction != Reduction::none;
  const Tensor buffer = reduced ? reduce::scratch<T>(rows) : c.out(kLoss);
  T* loss = buffer.data<T>();
  T* grad = c.attr(kWantGrad).b() ? c.out(kGrad).data<T>() : nullptr;
  const T* x = logits.data<T>();
  const int64_t grain = std::max<int64_t>(1, kTaskElements / std::max<int64_t>(classes, 1));
  parallel_for(rows, grain, [&](int64_t begin, int64_t end) {
    XentRows<T> part = p;
    if (part.probs) part.probs += begin * classes;
    if (part.labels) part.labels += begin;
    kernel(x + begin * classes, end - begin, part, loss + begin,
           grad ? grad + begin * classes : nullptr);
  });
  if (!reduced) return;
  if (rows == 0) {
    *c.out(kLoss).data<T>() = static_cast<T>(0 / divisor);
  } else {
    reduce::reduce_axes(loss, {rows}, {0}, c.out(kLoss).data<T>(), reduce::SumOp<T>{divisor});
  }
}

void xent_kernel(const OpCall& c) {
  if (c.in(0).dtype() == DType::f32)
    xent_run<float>(c, loss_kernels().xent_f32);
  else
    xent_run<double>(c, loss_kernels().xent_f64);
}

Cost xent_cost(const OpCall& c) {
  const auto n = static_cast<double>(c.in(0).nbytes());
  double bytes = n + static_cast<double>(c.in(1).nbytes());
  for (const Tensor& t : c.outputs) bytes += static_cast<double>(t.nbytes());
  return {6 * static_cast<double>(c.in(0).numel()), bytes};
}

// q as a tensor of ops, for gradients of gradients.
Tensor target_matrix(const Tensor& x, const Tensor& target, const Tensor& weight,
                     int64_t ignore_index, double smoothing) {
  const int64_t classes = x.size(1);
  Tensor p = target;
  Tensor keep;
  if (target.dtype() == DType::i64) {
    keep = ops::ne(target, ops::number(static_cast<double>(ignore_index)));
    const Tensor safe = ops::where(keep, target, ops::zeros_like(target));
    p = ops::cast(call(def::one_hot, {safe}, {Attr(classes)}), x.dtype());
  }
  Tensor q = p * ops::number(1 - smoothing) + ops::number(smoothing / static_cast<double>(classes));
  if (weight.defined()) q = q * weight;
  if (keep.defined()) q = ops::where(ops::unsqueeze(keep, 1), q, ops::number(0));
  return q;
}

// The same sum as mean_divisor, as a tensor.
Tensor mean_divisor(const Tensor& x, const Tensor& target, const Tensor& weight,
                    int64_t ignore_index) {
  if (target.dtype() != DType::i64) return ops::number(static_cast<double>(x.size(0)));
  const Tensor keep = ops::ne(target, ops::number(static_cast<double>(ignore_index)));
  Tensor counts = ops::cast(keep, x.dtype());
  if (weight.defined()) {
    const Tensor safe = ops::where(keep, target, ops::zeros_like(target));
    counts = counts * call(def::index_select, {weight, safe}, {Attr(0)});
  }
  return ops::sum(counts);
}

void xent_rule(BackwardCall& b) {
  Tensor g = b.grad(kLoss);
  if (!g.defined() || !b.needs(0)) return;
  const Reduction reduction = reduction_of(b.attr(kReduction));
  if (!grad_enabled()) {
    const Tensor grad = b.output(kGrad);
    if (is_known_one(g)) return b.set(0, grad);
    return b.set(0, grad * (reduction == Reduction::none ? ops::unsqueeze(g, 1) : g));
  }
  const Tensor x = b.input(0), target = b.input(1);
  const Tensor weight = b.input_count() > 2 ? b.input(2) : Tensor();
  const int64_t ignore_index = b.attr(kIgnoreIndex).i();
  const Tensor q = target_matrix(x, target, weight, ignore_index, b.attr(kSmoothing).f());
  if (reduction == Reduction::mean) g = g / mean_divisor(x, target, weight, ignore_index);
  if (reduction == Reduction::none) g = ops::unsqueeze(g, 1);
  const Tensor p = call(def::softmax, {x}, {Attr(1)});
  b.set(0, g * (p * ops::sum(q, {1}, true) - q));
}

const OpDef xent_def = {.name = "softmax_xent",
                        .signature = "",
                        .doc = "",
                        .infer = xent_infer,
                        .kernel = xent_kernel,
                        .backward = xent_rule,
                        .cost = xent_cost,
                        .saves = save_input(0) | save_input(1) | save_input(2) | save_output(kGrad),
                        .flags = kInternal};

// cross_entropy ----------------------------------------------------------------------------------

// Brings (C,), (N, C) or (N, C, d...) to (rows, C).
Tensor class_rows(const Tensor& x) {
  if (x.dim() == 1) return ops::unsqueeze(x, 0);
  if (x.dim() == 2) return x;
  Dims order{0};
  for (int i = 2; i < x.dim(); ++i) order.push_back(i);
  order.push_back(1);
  return ops::reshape(ops::permute(x, order), {-1, x.size(1)});
}

void check_cross_entropy(const OpCall& c, bool indexed) {
  const Tensor &x = c.in(0), &t = c.in(1);
  ANNX_CHECK(x.dim() >= 1, value, "cross_entropy",
             "expected input of shape (C,), (N, C) or (N, C, ...) but got a scalar");
  const int64_t classes = x.dim() == 1 ? x.size(0) : x.size(1);
  ANNX_CHECK(classes > 0, value, "cross_entropy", "expected at least one class but got shape ",
             x.shape());
  if (indexed) {
    Dims expected = x.shape();
    expected.erase(x.dim() == 1 ? 0 : 1);
    ANNX_CHECK(t.dtype() != DType::b8, type, "cross_entropy",
               "expected integer class indices or probabilities but got dtype ", t.dtype());
    ANNX_CHECK(t.shape() == expected, value, "cross_entropy", "expected class indices of shape ",
               expected, " for input of shape ", x.shape(), " but got ", t.shape());
  } else {
    ANNX_CHECK(t.shape() == x.shape(), value, "cross_entropy", "expected probabilities of shape ",
               x.shape(), " but got ", t.shape());
  }
  ANNX_CHECK(!c.has(2) || c.in(2).shape() == Dims{classes}, value, "cross_entropy",
             "expected weight of shape (", classes, ",) but got ", c.in(2).shape());
  const double smoothing = c.attr(2).f();
  ANNX_CHECK(smoothing >= 0 && smoothing <= 1, value, "cross_entropy",
             "expected label_smoothing in [0, 1] but got ", smoothing);
}

TensorList cross_entropy(const OpCall& c) {
  const bool indexed = is_integral(c.in(1).dtype());
  const Reduction reduction = parse_reduction(c.attr(1).text(), "cross_entropy");
  check_cross_entropy(c, indexed);
  const Tensor x =
      class_rows(is_integral(c.in(0).dtype()) ? ops::cast(c.in(0), DType::f32) : c.in(0));
  Tensor target = ops::cast(c.in(1), indexed ? DType::i64 : x.dtype());
  if (!indexed) {
    target = class_rows(target);
  } else if (target.dim() != 1) {
    target = ops::reshape(target, {-1});
  }
  const Tensor weight = c.has(2) ? ops::cast(c.in(2), x.dtype()) : Tensor();
  Tensor loss;
  if (!indexed && grad_enabled() && target.requires_grad()) {
    // Learned targets: differentiable in both.
    const Tensor q = target_matrix(x, target, weight, 0, c.attr(2).f());
    loss = reduce_loss(-ops::sum(q * call(def::log_softmax, {x}, {Attr(1)}), {1}), reduction);
  } else {
    const bool want_grad = grad_enabled() && x.requires_grad();
    loss = call(xent_def, {x, target, weight},
                {c.attr(0), c.attr(2), Attr(static_cast<int64_t>(reduction)), Attr(want_grad)});
  }
  if (reduction != Reduction::none || c.in(0).dim() == 2) return {loss};
  Dims row_shape = c.in(0).shape();
  row_shape.erase(c.in(0).dim() == 1 ? 0 : 1);
  return {ops::reshape(loss, row_shape)};
}

// nll_loss ---------------------------------------------------------------------------------------

TensorList nll_loss(const OpCall& c) {
  const Reduction reduction = parse_reduction(c.attr(1).text(), "nll_loss");
  const Tensor &x = c.in(0), &t = c.in(1);
  ANNX_CHECK(x.dim() >= 1 && is_floating(x.dtype()), value, "nll_loss",
             "expected log-probabilities of shape (C,), (N, C) or (N, C, ...) but got ", x.dtype(),
             " of shape ", x.shape());
  ANNX_CHECK(is_integral(t.dtype()) && t.dtype() != DType::b8, type, "nll_loss",
             "expected integer class indices but got dtype ", t.dtype());
  Dims expected = x.shape();
  expected.erase(x.dim() == 1 ? 0 : 1);
  ANNX_CHECK(t.shape() == expected, value, "nll_loss", "expected class indices of shape ", expected,
             " but got ", t.shape());
  const Tensor rows = class_rows(x);
  const Tensor labels = ops::reshape(ops::cast(t, DType::i64), {-1});
  const int64_t classes = rows.size(1), ignore = c.attr(0).i();
  const Tensor keep = ops::ne(labels, ops::number(static_cast<double>(ignore)));
  const Tensor safe = ops::where(keep, labels, ops::zeros_like(labels));
  check_labels(ops::contiguous(labels).data<int64_t>(), labels.numel(), classes, ignore,
               "nll_loss");
  const Tensor at = ops::unsqueeze(safe, 1);
  Tensor picked = -ops::reshape(call(def::gather, {rows, at}, {Attr(1)}), {-1});
  Tensor w = ops::cast(keep, rows.dtype());
  if (c.has(2))
    w = w * call(def::index_select, {ops::cast(c.in(2), rows.dtype()), safe}, {Attr(0)});
  picked = ops::where(keep, picked * w, ops::number(0));
  if (reduction == Reduction::none) return {ops::reshape(picked, expected)};
  if (reduction == Reduction::sum) return {ops::sum(picked)};
  return {ops::sum(picked) / ops::sum(w)};
}

}  // namespace

namespace def {

const OpDef cross_entropy = {
    .name = "cross_entropy",
    .signature =
        "cross_entropy(Tensor input, Tensor target, Tensor? weight=None, int "
        "ignore_index=-100, str reduction='mean', float label_smoothing=0.0) -> Tensor",
    .doc =
        "Cross-entropy of softmax(input) for logits (N, C), (C,) or (N, C, ...). target holds "
        "class indices (N, ...) or probabilities of input's shape; weight scales classes; rows "
        "whose index is ignore_index have no part. 'mean' divides by the weights of the rows.",
    .composite = annx::cross_entropy,
    .flags = kNoMethod};
const OpDef nll_loss = {
    .name = "nll_loss",
    .signature =
        "nll_loss(Tensor input, Tensor target, Tensor? weight=None, int "
        "ignore_index=-100, str reduction='mean') -> Tensor",
    .doc = "Negative log-likelihood of class indices target under log-probabilities input.",
    .composite = annx::nll_loss,
    .flags = kNoMethod};

}  // namespace def
}  // namespace annx
