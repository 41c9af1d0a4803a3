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

// In double, so that the norm of large gradients neither overflows nor loses small ones.
double sum_of_squares_f64(const double* x, int64_t n) {
  F64 total = zero<F64>();
  int64_t i = 0;
  for (; i + F64::lanes <= n; i += F64::lanes) {
    const F64 v = load<F64>(x + i);
    total = fma(v, v, total);
  }
  if (i < n) {
    const F64 v = load_n<F64>(x + i, n - i);
    total = fma(v, v, total);
  }
  return hsum(total);
}

double sum_of_squares_f32(const float* x, int64_t n) {
  F64 total = zero<F64>();
  int64_t i = 0;
  for (; i + F64::lanes <= n; i += F64::lanes) {
    const F64 v = widen(x + i);
    total = fma(v, v, total);
  }
  float tail[F64::lanes] = {};
  for (int k = 0; i + k < n; ++k) tail[k] = x[i + k];
  const F64 v = widen(tail);
  total = fma(v, v, total);
  return hsum(total);
}

}  // namespace

extern const OptimKernels optim_kernels;
const OptimKernels optim_kernels = {{sgd<F32>, adam<F32>, sum_of_squares_f32},
                                    {sgd<F64>, adam<F64>, sum_of_squares_f64}};
