// Cross-entropy straight from logits: softmax, logarithm and the pick of the target in one pass.
#include <vector>

#include "core/thread_pool.h"
#include "ops/losses/kernels.h"
#include "ops/losses/reduction.h"

namespace annx {
namespace {

// softmax_xent: logits (rows, classes); target (rows,) int64 or (rows, classes) probabilities;
// weight (classes,) or none. Outputs per row: loss, weight of the row, max, 1 / sum of exp, sum of q.
enum Output { kLoss, kRowWeight, kMax, kInvSum, kTargetSum };

void xent_infer(const OpCall& c, OutputSpecs& specs) {
  for (int i = 0; i < 5; ++i) specs.push_back({{c.in(0).size(0)}, c.in(0).dtype()});
}

template <class T>
struct Problem {
  Tensor logits, target, weight;
  int64_t rows, classes, ignore_index;
  bool indexed;
  XentRow<T> row;

  Problem(const Tensor& x, const Tensor& t, const Tensor& w, int64_t ignore, double smoothing)
      : logits(ops::contiguous(x)),
        target(ops::contiguous(t)),
        rows(x.size(0)),
        classes(x.size(1)),
        ignore_index(ignore),
        indexed(t.dtype() == DType::i64) {
    if (w.defined()) weight = ops::contiguous(w);
    row = {classes,
           weight.defined() ? weight.data<T>() : nullptr,
           nullptr,
           0,
           static_cast<T>(1 - smoothing),
           static_cast<T>(smoothing / static_cast<double>(classes))};
  }
  bool ignored(int64_t r) const { return indexed && target.data<int64_t>()[r] == ignore_index; }
  XentRow<T> at(int64_t r) const {
    XentRow<T> out = row;
    if (indexed)
      out.label = target.data<int64_t>()[r];
    else
      out.probs = target.data<T>() + r * classes;
    return out;
  }
  int64_t grain() const { return std::max<int64_t>(1, 8192 / std::max<int64_t>(classes, 1)); }
};

template <class T>
void xent_forward(const OpCall& c, const XentKernelsOf<T>& k) {
  GradModeGuard no_grad(false);
  const Problem<T> p(c.in(0), c.in(1), c.has(2) ? c.in(2) : Tensor(), c.attr(0).i(), c.attr(1).f());
  if (p.indexed) {
    for (int64_t r = 0; r < p.rows; ++r) {
      const int64_t label = p.target.template data<int64_t>()[r];
      ANNX_CHECK((label >= 0 && label < p.classes) || label == p.ignore_index, index,
                 "cross_entropy", "expected class indices in [0, ", p.classes - 1, "] but got ",
                 label, " at position ", r);
    }
  }
  T* out[5];
  for (int i = 0; i < 5; ++i) out[i] = c.out(i).template data<T>();
  parallel_for(p.rows, p.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (p.ignored(r)) {
        for (T* o : out) o[r] = 0;
        continue;
      }
      const XentRow<T> row = p.at(r);
      XentStats<T> s;
      k.forward(p.logits.template data<T>() + r * p.classes, row, &s);
      out[kLoss][r] = s.loss;
      out[kRowWeight][r] = p.indexed && row.weights ? row.weights[row.label] : T(1);
      out[kMax][r] = s.max;
      out[kInvSum][r] = s.inv_sum;
      out[kTargetSum][r] = s.target_sum;
    }
  });
}

void xent_kernel(const OpCall& c) {
  if (c.in(0).dtype() == DType::f32)
    xent_forward<float>(c, loss_kernels().xent_f32);
  else
    xent_forward<double>(c, loss_kernels().xent_f64);
}

// Inputs: gradient of the row losses, logits, target, weight, max, inv_sum, target_sum.
void xent_backward_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(1).shape(), c.in(1).dtype()});
}

template <class T>
void xent_backward(const OpCall& c, const XentKernelsOf<T>& k) {
  GradModeGuard no_grad(false);
  const Problem<T> p(c.in(1), c.in(2), c.has(3) ? c.in(3) : Tensor(), c.attr(0).i(), c.attr(1).f());
  const Tensor g = ops::contiguous(c.in(0));
  T* out = c.out().template data<T>();
  parallel_for(p.rows, p.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      T* o = out + r * p.classes;
      if (p.ignored(r)) {
        std::fill_n(o, p.classes, T(0));
        continue;
      }
      k.backward(p.logits.template data<T>() + r * p.classes, p.at(r),
                 c.in(4).template data<T>()[r], c.in(5).template data<T>()[r],
                 c.in(6).template data<T>()[r], g.template data<T>()[r], o);
    }
  });
}

void xent_backward_kernel(const OpCall& c) {
  if (c.in(1).dtype() == DType::f32)
    xent_backward<float>(c, loss_kernels().xent_f32);
  else
    xent_backward<double>(c, loss_kernels().xent_f64);
}

const OpDef xent_backward_def = {.name = "softmax_xent_backward",
                                 .signature = "",
                                 .doc = "",
                                 .infer = xent_backward_infer,
                                 .kernel = xent_backward_kernel,
                                 .flags = kInternal};

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

void xent_rule(BackwardCall& b) {
  const Tensor g = b.grad(kLoss);
  if (!g.defined() || !b.needs(0)) return;
  const Tensor x = b.input(0), target = b.input(1);
  const Tensor weight = b.input_count() > 2 ? b.input(2) : Tensor();
  if (!grad_enabled()) {
    b.set(0, call(xent_backward_def,
                  {g, x, target, weight, b.output(kMax), b.output(kInvSum), b.output(kTargetSum)},
                  {b.attr(0), b.attr(1)}));
    return;
  }
  const Tensor q = target_matrix(x, target, weight, b.attr(0).i(), b.attr(1).f());
  const Tensor p = call(def::softmax, {x}, {Attr(1)});
  b.set(0, ops::unsqueeze(g, 1) * (p * ops::sum(q, {1}, true) - q));
}

const OpDef xent_def = {.name = "softmax_xent",
                        .signature = "",
                        .doc = "",
                        .infer = xent_infer,
                        .kernel = xent_kernel,
                        .backward = xent_rule,
                        .saves = save_input(0) | save_input(1) | save_input(2) | save_output(kMax) |
                                 save_output(kInvSum) | save_output(kTargetSum),
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
  Dims row_shape = c.in(0).shape();
  row_shape.erase(c.in(0).dim() == 1 ? 0 : 1);
  const Tensor target = indexed ? ops::reshape(ops::cast(c.in(1), DType::i64), {-1})
                                : class_rows(ops::cast(c.in(1), x.dtype()));
  const Tensor weight = c.has(2) ? ops::cast(c.in(2), x.dtype()) : Tensor();
  Tensor rows, row_weight;
  if (!indexed && grad_enabled() && target.requires_grad()) {
    // Learned targets: differentiable in both.
    const Tensor q = target_matrix(x, target, weight, 0, c.attr(2).f());
    rows = -ops::sum(q * call(def::log_softmax, {x}, {Attr(1)}), {1});
  } else {
    TensorList out = call_all(xent_def, {x, target, weight}, {c.attr(0), c.attr(2)});
    rows = out[kLoss];
    row_weight = out[kRowWeight].detach();
  }
  if (reduction == Reduction::none) return {ops::reshape(rows, row_shape)};
  const Tensor total = ops::sum(rows);
  if (reduction == Reduction::sum) return {total};
  if (!indexed) return {total / ops::number(static_cast<double>(rows.numel()))};
  return {total / ops::sum(row_weight)};
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
  for (int64_t i = 0; i < labels.numel(); ++i) {
    const int64_t label = ops::contiguous(labels).data<int64_t>()[i];
    ANNX_CHECK((label >= 0 && label < classes) || label == ignore, index, "nll_loss",
               "expected class indices in [0, ", classes - 1, "] but got ", label, " at position ",
               i);
  }
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
