// Optimizer updates over contiguous arrays, in place; one pass over parameter, gradient and state.
//   sgd   g = scale g + wd p;  b = momentum b + (1 - dampening) g;  p -= lr (nesterov ? g + momentum b : b)
//   adam  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g g;  p -= step m / (sqrt(v) c + eps)
// Each is a fixed sequence of roundings, the same on every target.

namespace {

template <class V>
ANNX_INLINE V constant(double x) {
  return splat<V>(static_cast<typename V::Scalar>(x));
}

template <class V>
struct SgdLane {
  V lr, momentum, keep, decay, scale;
  bool nesterov, first, use_momentum, use_decay;

  ANNX_INLINE_MEMBER void step(V& p, V g, V& b) const {
    g = g * scale;
    if (use_decay) g = fma(decay, p, g);
    if (use_momentum) {
      b = first ? g : fma(momentum, b, keep * g);
      g = nesterov ? fma(momentum, b, g) : b;
    }
    p = fnma(lr, g, p);
  }
};

template <class V>
void sgd(typename V::Scalar* p, const typename V::Scalar* g, typename V::Scalar* b, int64_t n,
         const SgdStep& s) {
  const SgdLane<V> lane{constant<V>(s.lr),
                        constant<V>(s.momentum),
                        constant<V>(s.one_minus_dampening),
                        constant<V>(s.weight_decay),
                        constant<V>(s.grad_scale),
                        s.nesterov,
                        s.first,
                        s.use_momentum,
                        s.weight_decay != 0};
  for (int64_t i = 0; i < n; i += V::lanes) {
    const int64_t left = n - i;
    const bool whole = left >= V::lanes;
    V pv = whole ? load<V>(p + i) : load_n<V>(p + i, left);
    const V gv = whole ? load<V>(g + i) : load_n<V>(g + i, left);
    V bv = gv;
    if (s.use_momentum) bv = whole ? load<V>(b + i) : load_n<V>(b + i, left);
    lane.step(pv, gv, bv);
    if (whole) {
      store(p + i, pv);
      if (s.use_momentum) store(b + i, bv);
    } else {
      store_n(p + i, pv, left);
      if (s.use_momentum) store_n(b + i, bv, left);
    }
  }
}

template <class V>
void adam(typename V::Scalar* p, const typename V::Scalar* g, typename V::Scalar* m,
          typename V::Scalar* v, int64_t n, const AdamStep& s) {
  const V beta1 = constant<V>(s.beta1), rest1 = constant<V>(s.one_minus_beta1);
  const V beta2 = constant<V>(s.beta2), rest2 = constant<V>(s.one_minus_beta2);
  const V eps = constant<V>(s.eps), scale = constant<V>(s.grad_scale);
  const V step = constant<V>(s.step_size), decay = constant<V>(s.decay);
  const V inv = constant<V>(s.inv_sqrt_bias2), l2 = constant<V>(s.weight_decay);
  const bool coupled = !s.decoupled && s.weight_decay != 0;
  for (int64_t i = 0; i < n; i += V::lanes) {
    const int64_t left = n - i;
    const bool whole = left >= V::lanes;
    V pv = whole ? load<V>(p + i) : load_n<V>(p + i, left);
    V gv = whole ? load<V>(g + i) : load_n<V>(g + i, left);
    V mv = whole ? load<V>(m + i) : load_n<V>(m + i, left);
    V vv = whole ? load<V>(v + i) : load_n<V>(v + i, left);
    gv = gv * scale;
    if (coupled) gv = fma(l2, pv, gv);
    pv = pv * decay;
    mv = fma(beta1, mv, rest1 * gv);
    vv = fma(beta2, vv, rest2 * (gv * gv));
    pv = fnma(step, mv / fma(sqrt(vv), inv, eps), pv);
    if (whole) {
      store(p + i, pv);
      store(m + i, mv);
      store(v + i, vv);
    } else {
      store_n(p + i, pv, left);
      store_n(m + i, mv, left);
      store_n(v + i, vv, left);
    }
  }
}

#include "ops/elementwise/row_functions-inl.h"

#define K(i) k[i]
#define C(value) splat<V>(static_cast<typename V::Scalar>(value))
#define ANNX_OPTIMIZER(name, count, constants, update)                     \
  template <class V>                                                       \
  struct name##_rule {                                                     \
    static constexpr int states = count;                                   \
    V k[8];                                                                \
    ANNX_INLINE_MEMBER void step(V& p, V g, V& s0, [[maybe_unused]] V& s1, \
                                 [[maybe_unused]] V& s2) const {           \
      ANNX_EXPRESSION(update)                                              \
    }                                                                      \
  };
#include "ops/optim/rows.def"
#undef ANNX_OPTIMIZER
#undef K
#undef C

template <class V, template <class> class Rule>
void run_rule(typename V::Scalar* p, const typename V::Scalar* g, typename V::Scalar* const* states,
              int64_t n, const RuleStep& s) {
  using T = typename V::Scalar;
  constexpr int count = Rule<V>::states;
  Rule<V> rule;
  for (int i = 0; i < 8; ++i) rule.k[i] = constant<V>(s.values[i]);
  const V scale = constant<V>(s.scale), l2 = constant<V>(s.l2), decay = constant<V>(s.decay);
  const bool coupled = s.l2 != 0;
  T* const a = states[0];
  T* const b = count > 1 ? states[1] : nullptr;
  T* const c = count > 2 ? states[2] : nullptr;
  for (int64_t i = 0; i < n; i += V::lanes) {
    const int64_t left = n - i;
    const bool whole = left >= V::lanes;
    V pv = whole ? load<V>(p + i) : load_n<V>(p + i, left);
    V gv = whole ? load<V>(g + i) : load_n<V>(g + i, left);
    V s0 = whole ? load<V>(a + i) : load_n<V>(a + i, left), s1 = s0, s2 = s0;
    if (count > 1) s1 = whole ? load<V>(b + i) : load_n<V>(b + i, left);
    if (count > 2) s2 = whole ? load<V>(c + i) : load_n<V>(c + i, left);
    gv = gv * scale;
    if (coupled) gv = fma(l2, pv, gv);
    pv = pv * decay;
    rule.step(pv, gv, s0, s1, s2);
    if (whole) {
      store(p + i, pv);
      store(a + i, s0);
      if (count > 1) store(b + i, s1);
      if (count > 2) store(c + i, s2);
    } else {
      store_n(p + i, pv, left);
      store_n(a + i, s0, left);
      if (count > 1) store_n(b + i, s1, left);
      if (count > 2) store_n(c + i, s2, left);
    }
  }
}

void widen_f16(const uint16_t* x, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + F32::lanes <= n; i += F32::lanes) store(y + i, load_f16(x + i));
  if (i < n) store_n(y + i, load_f16_n(x + i, n - i), n - i);
}
void widen_bf16(const uint16_t* x, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + F32::lanes <= n; i += F32::lanes) store(y + i, load_bf16(x + i));
  if (i < n) store_n(y + i, load_bf16_n(x + i, n - i), n - i);
}
void narrow_f16(const float* x, uint16_t* y, int64_t n) {
  int64_t i = 0;
  for (; i + F32::lanes <= n; i += F32::lanes) store_f16(y + i, load<F32>(x + i));
  if (i < n) store_f16_n(y + i, load_n<F32>(x + i, n - i), n - i);
}
void narrow_bf16(const float* x, uint16_t* y, int64_t n) {
  int64_t i = 0;
  for (; i + F32::lanes <= n; i += F32::lanes) store_bf16(y + i, load<F32>(x + i));
  if (i < n) store_bf16_n(y + i, load_n<F32>(x + i, n - i), n - i);
}

ANNX_INLINE F64 load_wide(const float* p) { return widen(p); }
ANNX_INLINE F64 load_wide(const double* p) { return load<F64>(p); }
ANNX_INLINE F64 load_wide_n(const float* p, int64_t n) { return widen_n(p, n); }
ANNX_INLINE F64 load_wide_n(const double* p, int64_t n) { return load_n<F64>(p, n); }

// In double, so that the norm of large gradients neither overflows nor loses small ones; four sums,
// because one would wait for itself.
template <class T>
double sum_of_squares(const T* x, int64_t n) {
  F64 a0 = zero<F64>(), a1 = a0, a2 = a0, a3 = a0;
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const F64 x0 = load_wide(x + i), x1 = load_wide(x + i + 8);
    const F64 x2 = load_wide(x + i + 16), x3 = load_wide(x + i + 24);
    a0 = fma(x0, x0, a0);
    a1 = fma(x1, x1, a1);
    a2 = fma(x2, x2, a2);
    a3 = fma(x3, x3, a3);
  }
  for (; i < n; i += 8) {
    const F64 v = n - i >= 8 ? load_wide(x + i) : load_wide_n(x + i, n - i);
    a0 = fma(v, v, a0);
  }
  return hsum((a0 + a1) + (a2 + a3));
}

}  // namespace

#define ANNX_OPTIMIZER(name, ...) run_rule<F32, name##_rule>,
extern const OptimKernels optim_kernels;
const OptimKernels optim_kernels = {{sgd<F32>,
                                     adam<F32>,
                                     sum_of_squares<float>,
                                     {
#include "ops/optim/rows.def"
                                     }},
#undef ANNX_OPTIMIZER
#define ANNX_OPTIMIZER(name, ...) run_rule<F64, name##_rule>,
                                    {sgd<F64>,
                                     adam<F64>,
                                     sum_of_squares<double>,
                                     {
#include "ops/optim/rows.def"
                                     }},
                                    widen_f16,
                                    widen_bf16,
                                    narrow_f16,
                                    narrow_bf16};
#undef ANNX_OPTIMIZER
