// Elementwise losses from the rows; softmax cross-entropy.
#include "ops/reduce/sum-inl.h"

#include "ops/softmax/passes-inl.h"

#include "ops/losses/xent-inl.h"

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

// What the two share is computed once; a gradient of 1 leaves the derivative.
template <class V, template <class> class Loss, template <class> class Derivative>
void run_loss_both(const typename V::Scalar* a, const typename V::Scalar* b,
                   typename V::Scalar* loss, typename V::Scalar* derivative, int64_t n) {
  const Loss<V> f{nullptr};
  const Derivative<V> d{nullptr};
  const V one = splat<V>(1);
  int64_t i = 0;
  for (; i + V::lanes <= n; i += V::lanes) {
    const V x = load<V>(a + i), t = load<V>(b + i);
    store(loss + i, f(x, t));
    store(derivative + i, d(one, x, t));
  }
  if (i == n) return;
  const V x = load_n<V>(a + i, n - i), t = load_n<V>(b + i, n - i);
  store_n(loss + i, f(x, t), n - i);
  store_n(derivative + i, d(one, x, t), n - i);
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
    xent_rows<F32>, xent_rows<F64>, run_loss_both<F32, bce_logits_loss, bce_logits_grad_a>,
    run_loss_both<F64, bce_logits_loss, bce_logits_grad_a>};
#undef ANNX_LOSS
