// Elementwise losses from the rows, and one row of softmax cross-entropy forward and backward.

namespace {

#include "ops/elementwise/row_functions-inl.h"

#define C(value) splat<V>(static_cast<typename V::Scalar>(value))
#define P(i) splat<V>(static_cast<typename V::Scalar>(p[i]))
#define ANNX_LOSS(name, forward, grad_a, grad_b)                                             \
  template <class V>                                                                         \
  struct name##_loss {                                                                       \
    const double* p;                                                                         \
    ANNX_INLINE_MEMBER V operator()(V a, V b) const { return ANNX_EXPRESSION(forward); }     \
  };                                                                                         \
  template <class V>                                                                         \
  struct name##_grad_a {                                                                     \
    const double* p;                                                                         \
    ANNX_INLINE_MEMBER V operator()(V g, [[maybe_unused]] V a, [[maybe_unused]] V b) const { \
      return ANNX_EXPRESSION(grad_a);                                                        \
    }                                                                                        \
  };                                                                                         \
  template <class V>                                                                         \
  struct name##_grad_b {                                                                     \
    const double* p;                                                                         \
    ANNX_INLINE_MEMBER V operator()(V g, [[maybe_unused]] V a, [[maybe_unused]] V b) const { \
      return ANNX_EXPRESSION(grad_b);                                                        \
    }                                                                                        \
  };
#include "ops/losses/rows.def"
#undef ANNX_LOSS
#undef C
#undef P

template <class V, template <class> class F>
void run_loss(const void* const* in, void* out, int64_t n, const double* p) {
  using T = typename V::Scalar;
  map2<V>(static_cast<const T*>(in[0]), static_cast<const T*>(in[1]), static_cast<T*>(out), n,
          F<V>{p});
}

template <class V, template <class> class F>
void run_loss_gradient(const void* const* in, void* out, int64_t n, const double* p) {
  using T = typename V::Scalar;
  map3<V>(static_cast<const T*>(in[0]), static_cast<const T*>(in[1]), static_cast<const T*>(in[2]),
          static_cast<T*>(out), n, F<V>{p});
}

template <class V>
ANNX_INLINE V load_part(const typename V::Scalar* p, int64_t left, V beyond) {
  if (left >= V::lanes) return load<V>(p);
  return select(first_n<V>(left), load_n<V>(p, left), beyond);
}

// q of the classes from i on, zero beyond the end; the one-hot part is added by the caller.
template <class V, class T>
ANNX_INLINE V target_part(const XentRow<T>& row, int64_t i, int64_t left) {
  V q = splat<V>(row.spread);
  if (row.probs) q = fma(splat<V>(row.keep), load_part(row.probs + i, left, zero<V>()), q);
  if (row.weights) q = q * load_part(row.weights + i, left, zero<V>());
  return select(first_n<V>(left < V::lanes ? left : V::lanes), q, zero<V>());
}

template <class T>
T label_weight(const XentRow<T>& row) {
  return row.probs ? T(0) : row.keep * (row.weights ? row.weights[row.label] : T(1));
}

template <class V, class T>
void xent_forward(const T* x, const XentRow<T>& row, XentStats<T>* out) {
  const int64_t n = row.classes;
  const V low = splat<V>(static_cast<T>(-__builtin_inf()));
  V top = low;
  for (int64_t i = 0; i < n; i += V::lanes) top = max(load_part(x + i, n - i, low), top);
  const T m = hmax(top);
  const V shift = splat<V>(m);
  const bool dense = row.probs || row.spread != 0;
  V sum = zero<V>(), dot = zero<V>(), total = zero<V>();
  for (int64_t i = 0; i < n; i += V::lanes) {
    const V d = load_part(x + i, n - i, low) - shift;
    sum = sum + select(first_n<V>(n - i < V::lanes ? n - i : V::lanes), exp(d), zero<V>());
    if (dense) {
      const V q = target_part<V>(row, i, n - i);
      total = total + q;
      // A class of zero probability takes no part, not even when its logit is -inf.
      dot = dot + select(eq(q, zero<V>()), zero<V>(), q * d);
    }
  }
  const T s = hsum(sum);
  T logs[V::lanes];
  store(logs, log(splat<V>(s)));
  T target = dense ? hsum(total) : T(0), picked = dense ? hsum(dot) : T(0);
  if (!row.probs) {
    const T w = label_weight(row);
    target += w;
    picked += w * (x[row.label] - m);
  }
  *out = {target * logs[0] - picked, m, T(1) / s, target};
}

template <class V, class T>
void xent_backward(const T* x, const XentRow<T>& row, T m, T inv_sum, T target, T g, T* out) {
  const int64_t n = row.classes;
  const V shift = splat<V>(m), scale = splat<V>(g * target * inv_sum), gv = splat<V>(g);
  const bool dense = row.probs || row.spread != 0;
  for (int64_t i = 0; i < n; i += V::lanes) {
    const int64_t left = n - i;
    V d = scale * exp(load_part(x + i, left, zero<V>()) - shift);
    if (dense) d = fnma(gv, target_part<V>(row, i, left), d);
    if (left >= V::lanes)
      store(out + i, d);
    else
      store_n(out + i, d, left);
  }
  if (!row.probs) out[row.label] -= g * label_weight(row);
}

}  // namespace

#define ANNX_LOSS(name, ...)              \
  {run_loss<F32, name##_loss>,            \
   run_loss<F64, name##_loss>,            \
   run_loss_gradient<F32, name##_grad_a>, \
   run_loss_gradient<F64, name##_grad_a>, \
   run_loss_gradient<F32, name##_grad_b>, \
   run_loss_gradient<F64, name##_grad_b>},
extern const LossKernels loss_kernels;
const LossKernels loss_kernels = {
#include "ops/losses/rows.def"
    {xent_forward<F32, float>, xent_backward<F32, float>},
    {xent_forward<F64, double>, xent_backward<F64, double>}};
#undef ANNX_LOSS
