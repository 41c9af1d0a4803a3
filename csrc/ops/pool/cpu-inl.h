// Pooling kernels of one SIMD target, collected into pool_kernels.

// Whole: all lanes of a vector of channels exist, else n do.
template <class V, bool Whole>
ANNX_INLINE V pool_load(const typename V::Scalar* p, int64_t n) {
  if constexpr (Whole) {
    return load<V>(p);
  } else {
    return load_n<V>(p, n);
  }
}
template <class V, bool Whole>
ANNX_INLINE void pool_store(typename V::Scalar* p, V v, int64_t n) {
  if constexpr (Whole) {
    store(p, v);
  } else {
    store_n(p, v, n);
  }
}

template <class V, bool Whole>
ANNX_INLINE void pool_max_pixel(const PoolRow& row, int64_t w, int64_t c,
                                const typename V::Scalar* x, V best, typename V::Scalar* y,
                                typename V::Int::Scalar* index) {
  using I = typename V::Int;
  using Number = typename I::Scalar;
  const int64_t n = row.channels - c, count = row.count[w];
  I place = splat<I>(Number(-1));
  bool any = false;
  for (int64_t r = 0; r < row.lines; ++r) {
    int64_t at = row.line[r] + row.begin[w];
    for (int64_t t = 0; t < count; ++t, at += row.step) {
      const V v = pool_load<V, Whole>(x + at * row.channels + c, n);
      const I here = splat<I>(static_cast<Number>(at));
      if (!any) {
        best = v;
        place = here;
        any = true;
        continue;
      }
      const auto better = gt(v, best) | is_nan(v);
      best = select(better, v, best);
      place = select(better, here, place);
    }
  }
  pool_store<V, Whole>(y + w * row.channels + c, best, n);
  if (index != nullptr) pool_store<I, Whole>(index + w * row.channels + c, place, n);
}

template <class V>
static void pool_max(const PoolRow& row, const typename V::Scalar* x, typename V::Scalar lowest,
                     typename V::Scalar* y, typename V::Int::Scalar* index) {
  const V least = splat<V>(lowest);
  for (int64_t w = 0; w < row.pixels; ++w) {
    int64_t c = 0;
    for (; c + V::lanes <= row.channels; c += V::lanes) {
      pool_max_pixel<V, true>(row, w, c, x, least, y, index);
    }
    if (c < row.channels) pool_max_pixel<V, false>(row, w, c, x, least, y, index);
  }
}

template <class V, bool Whole>
ANNX_INLINE void pool_max_backward_pixel(const PoolRow& row, int64_t w, int64_t c,
                                         const typename V::Scalar* g,
                                         const typename V::Int::Scalar* index, int64_t first,
                                         typename V::Scalar* dx) {
  using I = typename V::Int;
  const int64_t n = row.channels - c, count = row.count[w];
  const I here = splat<I>(static_cast<typename I::Scalar>(first + w));
  V sum = zero<V>();
  for (int64_t r = 0; r < row.lines; ++r) {
    int64_t at = (row.line[r] + row.begin[w]) * row.channels + c;
    for (int64_t t = 0; t < count; ++t, at += row.step * row.channels) {
      const auto mine = eq(pool_load<I, Whole>(index + at, n), here);
      sum = sum + select(mine, pool_load<V, Whole>(g + at, n), zero<V>());
    }
  }
  pool_store<V, Whole>(dx + w * row.channels + c, sum, n);
}

template <class V>
static void pool_max_backward(const PoolRow& row, const typename V::Scalar* g,
                              const typename V::Int::Scalar* index, int64_t first,
                              typename V::Scalar* dx) {
  for (int64_t w = 0; w < row.pixels; ++w) {
    int64_t c = 0;
    for (; c + V::lanes <= row.channels; c += V::lanes) {
      pool_max_backward_pixel<V, true>(row, w, c, g, index, first, dx);
    }
    if (c < row.channels) pool_max_backward_pixel<V, false>(row, w, c, g, index, first, dx);
  }
}

// Backward every element is divided by the divisor of its own place.
template <class V, bool Backward, bool Whole>
ANNX_INLINE void pool_average_pixel(const PoolRow& row, int64_t w, int64_t c,
                                    const typename V::Scalar* x, const typename V::Scalar* divisors,
                                    typename V::Scalar* y) {
  const int64_t n = row.channels - c, count = row.count[w];
  V sum = zero<V>();
  for (int64_t r = 0; r < row.lines; ++r) {
    int64_t at = row.line[r] + row.begin[w];
    for (int64_t t = 0; t < count; ++t, at += row.step) {
      const V v = pool_load<V, Whole>(x + at * row.channels + c, n);
      if constexpr (Backward) {
        sum = sum + v / splat<V>(divisors[at]);
      } else {
        sum = sum + v;
      }
    }
  }
  if constexpr (!Backward) sum = sum / splat<V>(divisors[w]);
  pool_store<V, Whole>(y + w * row.channels + c, sum, n);
}

template <class V, bool Backward>
static void pool_average(const PoolRow& row, const typename V::Scalar* x,
                         const typename V::Scalar* divisors, typename V::Scalar* y) {
  for (int64_t w = 0; w < row.pixels; ++w) {
    int64_t c = 0;
    for (; c + V::lanes <= row.channels; c += V::lanes) {
      pool_average_pixel<V, Backward, true>(row, w, c, x, divisors, y);
    }
    if (c < row.channels) pool_average_pixel<V, Backward, false>(row, w, c, x, divisors, y);
  }
}

extern const PoolKernels pool_kernels;
const PoolKernels pool_kernels = {
    {pool_max<F32>, pool_max_backward<F32>, pool_average<F32, false>, pool_average<F32, true>},
    {pool_max<F64>, pool_max_backward<F64>, pool_average<F64, false>, pool_average<F64, true>},
};
