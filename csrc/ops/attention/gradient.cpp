// The gradient of attention as formulas on the tape: for gradients of gradients and of the mask.
#include <cmath>

#include "ops/attention/attention.h"

namespace annx::attention {
namespace {

// Every head of key or value as often as query heads share it.
Tensor repeated(const Tensor& t, int64_t group) {
  if (group == 1) return t;
  const Dims wide = {t.size(0), t.size(1), group, t.size(2), t.size(3)};
  const Dims flat = {t.size(0), t.size(1) * group, t.size(2), t.size(3)};
  return ops::reshape(ops::expand(ops::unsqueeze(t, 2), wide), flat);
}

Tensor summed(const Tensor& t, int64_t group) {
  if (group == 1) return t;
  return ops::sum(ops::reshape(t, {t.size(0), t.size(1) / group, group, t.size(2), t.size(3)}),
                  {2});
}

Tensor transposed(const Tensor& t) { return ops::transpose(t, -2, -1); }

Tensor scores(const Tensor& q, const Tensor& k, const Tensor& mask, bool causal, double scale) {
  Tensor s = ops::mul(ops::matmul(q, transposed(k)), ops::number(scale));
  Tensor seen = mask;
  if (causal) {
    const Tensor ones = ops::ones({q.size(2), k.size(2)}, q.dtype());
    seen = ops::ne(call(def::tril, {ones}, {Attr(0)}), ops::number(0));
  }
  if (!seen.defined()) return s;
  if (seen.dtype() != DType::b8) return ops::add(s, seen);
  return ops::where(seen, s, ops::number(-INFINITY));
}

}  // namespace

void differentiable_rule(BackwardCall& b) {
  const Tensor q = b.input(0), mask = b.input(3);
  const int64_t group = q.size(1) / std::max<int64_t>(1, b.input_shape(1)[1]);
  const Tensor k = repeated(b.input(1), group), v = repeated(b.input(2), group);
  const double scale = b.attr(2).f();
  const Tensor g = ops::permute(b.grad(0), {0, 2, 1, 3});
  if (q.size(0) * q.size(1) * q.size(2) * k.size(2) == 0) {
    for (int i = 0; i < 4; ++i)
      if (b.needs(i)) b.set(i, ops::zeros(b.input_shape(i), b.input_dtype(i)));
    return;
  }
  Tensor s = scores(q, k, mask, b.attr(3).b(), scale);
  // Where every key is hidden, softmax would be NaN.
  const Tensor empty = ops::eq(ops::amax(s.detach(), {-1}, true), ops::number(-INFINITY));
  s = ops::where(empty, ops::number(0), s);
  const Tensor weights = ops::where(empty, ops::number(0), call(def::softmax, {s}, {Attr(-1)}));
  const auto dropped = [&](const Tensor& t) {
    return b.attr(0).is_none() ? t : call(dropout_def, {t}, {b.attr(0), b.attr(1)});
  };
  if (b.needs(2)) b.set(2, summed(ops::matmul(transposed(dropped(weights)), g), group));
  if (!b.needs(0) && !b.needs(1) && !b.needs(3)) return;
  const Tensor dp = dropped(ops::matmul(g, transposed(v)));
  const Tensor mean = ops::sum(ops::mul(weights, dp), {-1}, true);
  const Tensor ds = ops::mul(weights, ops::sub(dp, mean));
  const Tensor factor = ops::number(scale);
  if (b.needs(0)) b.set(0, ops::mul(ops::matmul(ds, k), factor));
  if (b.needs(1)) b.set(1, summed(ops::mul(ops::matmul(transposed(ds), q), factor), group));
  if (b.needs(3)) b.set(3, ds);
}

}  // namespace annx::attention
