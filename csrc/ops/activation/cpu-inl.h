// Activations, forward and backward, from the rows.
#define ANNX_ROWS "ops/activation/rows.def"
#include "ops/elementwise/unary-inl.h"

namespace {

// What the value and the derivative share is computed once; a gradient of 1 leaves the derivative.
template <class V, class Forward, class Derivative>
void both_run(const typename V::Scalar* x, typename V::Scalar* y, typename V::Scalar* derivative,
              int64_t n) {
  const Forward f{nullptr};
  const Derivative d{nullptr};
  const V one = splat<V>(1);
  int64_t i = 0;
  for (; i + V::lanes <= n; i += V::lanes) {
    const V v = load<V>(x + i);
    store(y + i, f(v));
    store(derivative + i, d(one, v));
  }
  if (i == n) return;
  const V v = load_n<V>(x + i, n - i);
  store_n(y + i, f(v), n - i);
  store_n(derivative + i, d(one, v), n - i);
}

#define ANNX_BOTH(name)                                          \
  {both_run<F32, name##_forward<F32>, name##_derivative_X<F32>>, \
   both_run<F64, name##_forward<F64>, name##_derivative_X<F64>>}

}  // namespace

extern const ActivationKernels activation_kernels;
const ActivationKernels activation_kernels = {
#include ANNX_ROWS
    ANNX_BOTH(gelu_erf), ANNX_BOTH(gelu_tanh), ANNX_BOTH(silu)};
