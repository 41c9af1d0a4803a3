// Pooling kernels of one SIMD target, collected into pool_kernels.

template <class V>
ANNX_INLINE V pool_load(const typename V::Scalar* p, int64_t n) {
  return n >= V::lanes ? load<V>(p) : load_n<V>(p, n);
}
template <class V>
ANNX_INLINE void pool_store(typename V::Scalar* p, V v, int64_t n) {
  if (n >= V::lanes) {
    store(p, v);
  } else {
    store_n(p, v, n);
  }
}

template <class V>
static void pool_max(int64_t channels, int64_t count, const int64_t* at,
                     const typename V::Scalar* x, typename V::Scalar* y,
                     typename V::Int::Scalar* index) {
  using I = typename V::Int;
  using Number = typename I::Scalar;
  for (int64_t c = 0; c < channels; c += V::lanes) {
    const int64_t n = channels - c;
    V best = pool_load<V>(x + at[0] * channels + c, n);
    I place = splat<I>(static_cast<Number>(at[0]));
    for (int64_t t = 1; t < count; ++t) {
      const V v = pool_load<V>(x + at[t] * channels + c, n);
      const auto better = gt(v, best) | is_nan(v);
      best = select(better, v, best);
      place = select(better, splat<I>(static_cast<Number>(at[t])), place);
    }
    pool_store(y + c, best, n);
    if (index != nullptr) pool_store(index + c, place, n);
  }
}

template <class V>
static void pool_max_backward(int64_t channels, int64_t count, const int64_t* at,
                              const typename V::Scalar* g, const typename V::Int::Scalar* index,
                              int64_t pixel, typename V::Scalar* dx) {
  using I = typename V::Int;
  const I here = splat<I>(static_cast<typename I::Scalar>(pixel));
  for (int64_t c = 0; c < channels; c += V::lanes) {
    const int64_t n = channels - c;
    V sum = zero<V>();
    for (int64_t t = 0; t < count; ++t) {
      const int64_t offset = at[t] * channels + c;
      const auto mine = eq(pool_load<I>(index + offset, n), here);
      sum = sum + select(mine, pool_load<V>(g + offset, n), zero<V>());
    }
    pool_store(dx + c, sum, n);
  }
}

template <class V>
static void pool_average(int64_t channels, int64_t count, const int64_t* at,
                         const typename V::Scalar* x, typename V::Scalar divisor,
                         typename V::Scalar* y) {
  const V by = splat<V>(divisor);
  for (int64_t c = 0; c < channels; c += V::lanes) {
    const int64_t n = channels - c;
    V sum = zero<V>();
    for (int64_t t = 0; t < count; ++t) sum = sum + pool_load<V>(x + at[t] * channels + c, n);
    pool_store(y + c, sum / by, n);
  }
}

template <class V>
static void pool_average_backward(int64_t channels, int64_t count, const int64_t* at,
                                  const typename V::Scalar* g, const typename V::Scalar* divisors,
                                  typename V::Scalar* dx) {
  for (int64_t c = 0; c < channels; c += V::lanes) {
    const int64_t n = channels - c;
    V sum = zero<V>();
    for (int64_t t = 0; t < count; ++t) {
      sum = sum + pool_load<V>(g + at[t] * channels + c, n) / splat<V>(divisors[t]);
    }
    pool_store(dx + c, sum, n);
  }
}

extern const PoolKernels pool_kernels;
const PoolKernels pool_kernels = {
    {pool_max<F32>, pool_max_backward<F32>, pool_average<F32>, pool_average_backward<F32>},
    {pool_max<F64>, pool_max_backward<F64>, pool_average<F64>, pool_average_backward<F64>},
};
