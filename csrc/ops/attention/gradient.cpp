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

Gradients differentiable_gradients(const Gradients& inputs, const Tensor& grad, const Attr& key,
                                   const Attr& p, double scale, bool causal,
                                   const bool (&needs)[4]) {
  const Tensor &q = inputs.query, &mask = inputs.mask;
  const int64_t group = q.size(1) / std::max<int64_t>(1, inputs.key.size(1));
  const Tensor k = repeated(inputs.key, group), v = repeated(inputs.value, group);
  const Tensor g = ops::permute(grad, {0, 2, 1, 3});
  Gradients out;
  if (q.size(0) * q.size(1) * q.size(2) * k.size(2) == 0) {
    out = {ops::zeros_like(q), ops::zeros_like(inputs.key), ops::zeros_like(inputs.value), {}};
    if (needs[3]) out.mask = ops::zeros_like(mask);
    return out;
  }
  Tensor s = scores(q, k, mask, causal, scale);
  // Where every key is hidden, softmax would be NaN.
  const Tensor empty = ops::eq(ops::amax(s.detach(), {-1}, true), ops::number(-INFINITY));
  s = ops::where(empty, ops::number(0), s);
  const Tensor weights = ops::where(empty, ops::number(0), call(def::softmax, {s}, {Attr(-1)}));
  const auto dropped = [&](const Tensor& t) {
    return p.f() == 0 ? t : call(dropout_def, {t}, {key, p});
  };
  if (needs[2]) out.value = summed(ops::matmul(transposed(dropped(weights)), g), group);
  if (!needs[0] && !needs[1] && !needs[3]) return out;
  const Tensor dp = dropped(ops::matmul(g, transposed(v)));
  const Tensor mean = ops::sum(ops::mul(weights, dp), {-1}, true);
  const Tensor ds = ops::mul(weights, ops::sub(dp, mean));
  const Tensor factor = ops::number(scale);
  if (needs[0]) out.query = ops::mul(ops::matmul(ds, k), factor);
  if (needs[1]) out.key = summed(ops::mul(ops::matmul(transposed(ds), q), factor), group);
  if (needs[3]) out.mask = ds;
  return out;
}

}  // namespace annx::attention
