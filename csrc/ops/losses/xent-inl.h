// Softmax cross-entropy of rows of logits: loss and gradient together, so that each row is read
// from memory once.
//   d = x - max(x),  s = sum(exp(d)),  t = sum(q)
//   loss = t log(s) - sum(q d),  gradient = scale (t exp(d) / s - q)
// Needs ops/reduce/sum-inl.h and ops/softmax/passes-inl.h.

namespace {

// What is left of a row before its logarithm; log(s) is taken for a vector of rows at once.
template <class V>
struct XentPending {
  using T = typename V::Scalar;
  T sum[V::lanes], target[V::lanes], picked[V::lanes];
};

// q of the classes from i on, zero beyond the end; the one-hot part is the caller's.
template <class V>
ANNX_INLINE V target_part(const XentRows<typename V::Scalar>& p, const typename V::Scalar* probs,
                          int64_t i, int64_t left) {
  V q = splat<V>(p.spread);
  if (probs) q = fma(splat<V>(p.keep), load_part<V>(probs + i, left), q);
  if (p.weights) q = q * load_part<V>(p.weights + i, left);
  return select(first_n<V>(left < V::lanes ? left : V::lanes), q, zero<V>());
}

template <class T>
ANNX_INLINE T label_weight(const XentRows<T>& p, int64_t label) {
  return p.keep * (p.weights ? p.weights[label] : T(1));
}

// Adds sum(q) and sum(q d) of what target_part gives.
template <class V>
ANNX_INLINE void add_dense_target(const typename V::Scalar* x, V top,
                                  const XentRows<typename V::Scalar>& p,
                                  const typename V::Scalar* probs, typename V::Scalar* target,
                                  typename V::Scalar* picked) {
  V total = zero<V>(), dot = zero<V>();
  for (int64_t i = 0; i < p.classes; i += V::lanes) {
    const int64_t left = p.classes - i;
    const V q = target_part<V>(p, probs, i, left);
    total = total + q;
    // A class of zero probability takes no part, not even when its logit is -inf.
    const V d = load_part<V>(x + i, left) - top;
    dot = dot + select(eq(q, zero<V>()), zero<V>(), q * d);
  }
  *target = *target + hsum(total);
  *picked = *picked + hsum(dot);
}

// Subtracts scale q from the gradient.
template <class V>
ANNX_INLINE void subtract_dense_target(const XentRows<typename V::Scalar>& p,
                                       const typename V::Scalar* probs, typename V::Scalar* grad) {
  const V scale = splat<V>(p.scale);
  for (int64_t i = 0; i < p.classes; i += V::lanes) {
    const int64_t left = p.classes - i;
    store_part(grad + i,
               fnma(scale, target_part<V>(p, probs, i, left), load_part<V>(grad + i, left)), left);
  }
}

template <class V>
ANNX_INLINE void xent_row(const typename V::Scalar* x, const XentRows<typename V::Scalar>& p,
                          const typename V::Scalar* probs, int64_t label, bool dense,
                          typename V::Scalar* grad, XentPending<V>* out, int k) {
  using T = typename V::Scalar;
  const int64_t n = p.classes;
  const T largest = row_max<V>(x, n);
  const V top = splat<V>(largest);
  double sum;
  if (grad) {
    sum = sum_run<V>(x, n, StoredShiftedExp<V>{top, grad});
  } else {
    sum = sum_run<V>(x, n, ShiftedExp<V>{top});
  }
  T target = 0, picked = 0;
  if (dense) add_dense_target(x, top, p, probs, &target, &picked);
  if (!probs) {
    const T w = label_weight(p, label);
    target += w;
    picked += w * (x[label] - largest);
  }
  out->sum[k] = static_cast<T>(sum);
  out->target[k] = target;
  out->picked[k] = picked;
  if (!grad) return;
  map1<V>(grad, grad, n,
          ScaleBy<V>{splat<V>(
              static_cast<T>(static_cast<double>(p.scale) * static_cast<double>(target) / sum))});
  if (dense) subtract_dense_target<V>(p, probs, grad);
  if (!probs) grad[label] -= p.scale * label_weight(p, label);
}

// Rows of at most one vector, of hard labels, stay in a register. All but the last are read and
// written as whole vectors: what spills over is overwritten by the rows that follow.
template <class V>
ANNX_INLINE void xent_short_row(const typename V::Scalar* x, int64_t n, int64_t left,
                                const XentRows<typename V::Scalar>& p, int64_t label,
                                typename V::Scalar* grad, XentPending<V>* out, int k) {
  using T = typename V::Scalar;
  const auto real = first_n<V>(n);
  const V v = load_part<V>(x, left);
  const T largest = hmax(select(real, v, splat<V>(-__builtin_inf())));
  const V e = select(real, exp_or_zero(v - splat<V>(largest)), zero<V>());
  const T sum = hsum(e), w = label_weight(p, label);
  out->sum[k] = sum;
  out->target[k] = w;
  out->picked[k] = w * (x[label] - largest);
  if (!grad) return;
  const T factor = p.scale * w;
  const V d = e * splat<V>(factor / sum);
  if (left >= V::lanes) {
    store(grad, d);
  } else {
    store_n(grad, d, n);
  }
  grad[label] -= factor;
}

template <class V>
void xent_rows(const typename V::Scalar* x, int64_t rows, const XentRows<typename V::Scalar>& p,
               typename V::Scalar* loss, typename V::Scalar* grad) {
  using T = typename V::Scalar;
  constexpr int64_t L = V::lanes;
  const int64_t n = p.classes;
  const bool dense = p.probs || p.spread != 0;
  const bool is_short = n <= L && !dense;
  for (int64_t r = 0; r < rows; r += L) {
    const int64_t count = rows - r < L ? rows - r : L;
    XentPending<V> pending;
    for (int k = 0; k < count; ++k) {
      const int64_t at = (r + k) * n;
      const int64_t label = p.probs ? 0 : p.labels[r + k];
      T* g = grad ? grad + at : nullptr;
      if (!p.probs && label == p.ignore_index) {
        pending.sum[k] = 1;
        pending.target[k] = pending.picked[k] = 0;
        for (int64_t i = 0; g && i < n; ++i) g[i] = 0;
      } else if (is_short) {
        xent_short_row<V>(x + at, n, (rows - r - k) * n, p, label, g, &pending, k);
      } else {
        xent_row<V>(x + at, p, p.probs ? p.probs + at : nullptr, label, dense, g, &pending, k);
      }
    }
    for (int64_t k = count; k < L; ++k) {
      pending.sum[k] = 1;
      pending.target[k] = pending.picked[k] = 0;
    }
    const V l = load<V>(pending.target) * log(load<V>(pending.sum)) - load<V>(pending.picked);
    store_part(loss + r, l, count);
  }
}

}  // namespace
