// Sums of mapped elements along contiguous runs and down columns: a fixed number of virtual lanes,
// fixed trees, and partials of fixed chunks added in double in ascending order. Relative error
// (to the sum of magnitudes) stays below about 30 ULP for float32, whatever the length.
//
// A map is a functor `V operator()(const T* p, int64_t at, int64_t n) const` that loads and maps
// the n (at most V::lanes) elements behind p, which are number at, at + 1, … of the run or the row.

namespace {

constexpr int64_t kSumRun = 4096;      // elements added in lanes before the partial goes to double
constexpr int64_t kColumnRows = 512;   // rows added in one accumulator before it goes to double
constexpr int64_t kColumnBlock = 512;  // columns whose accumulators stay in L1

template <class V>
ANNX_INLINE V load_part(const typename V::Scalar* p, int64_t n) {
  return n >= V::lanes ? load<V>(p) : load_n<V>(p, n);
}
template <class V>
ANNX_INLINE void store_part(typename V::Scalar* p, V v, int64_t n) {
  if (n >= V::lanes) {
    store(p, v);
  } else {
    store_n(p, v, n);
  }
}
// Eight elements as doubles.
ANNX_INLINE F64 wide_load(const float* p, int64_t n) { return n >= 8 ? widen(p) : widen_n(p, n); }
ANNX_INLINE F64 wide_load(const double* p, int64_t n) { return load_part<F64>(p, n); }
ANNX_INLINE void wide_store(float* p, F64 v, int64_t n) {
  if (n >= 8) {
    narrow_store(p, v);
  } else {
    narrow_store_n(p, v, n);
  }
}
ANNX_INLINE void wide_store(double* p, F64 v, int64_t n) { store_part(p, v, n); }

template <class V>
struct SumIdentity {
  ANNX_INLINE_MEMBER V operator()(const typename V::Scalar* p, int64_t, int64_t n) const {
    return load_part<V>(p, n);
  }
};

template <class V>
struct SumRowDeviation {
  V mean;
  ANNX_INLINE_MEMBER V operator()(const typename V::Scalar* p, int64_t, int64_t n) const {
    const V d = load_part<V>(p, n) - mean;
    return d * d;
  }
};

template <class V>
struct SumColumnDeviation {
  const typename V::Scalar* mean;
  ANNX_INLINE_MEMBER V operator()(const typename V::Scalar* p, int64_t at, int64_t n) const {
    const V d = load_part<V>(p, n) - load_part<V>(mean + at, n);
    return d * d;
  }
};

// At most kSumRun elements; the map sees their positions from `first` on.
template <class V, class Map>
ANNX_INLINE typename V::Scalar sum_chunk(const typename V::Scalar* x, int64_t first, int64_t n,
                                         Map map) {
  constexpr int64_t L = V::lanes;
  V a0 = zero<V>(), a1 = zero<V>(), a2 = zero<V>(), a3 = zero<V>();
  int64_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L) {
    a0 = a0 + map(x + i, first + i, L);
    a1 = a1 + map(x + i + L, first + i + L, L);
    a2 = a2 + map(x + i + 2 * L, first + i + 2 * L, L);
    a3 = a3 + map(x + i + 3 * L, first + i + 3 * L, L);
  }
  if (i + L <= n) {
    a0 = a0 + map(x + i, first + i, L);
    i += L;
  }
  if (i + L <= n) {
    a1 = a1 + map(x + i, first + i, L);
    i += L;
  }
  if (i + L <= n) {
    a2 = a2 + map(x + i, first + i, L);
    i += L;
  }
  if (i < n) {
    const V t = map(x + i, first + i, n - i);
    a3 = a3 + select(first_n<V>(n - i), t, zero<V>());
  }
  return hsum((a0 + a1) + (a2 + a3));
}

// sum_chunk of every column of n rows of at most V::lanes elements: its 4 L lanes are vectors here.
template <class V>
ANNX_INLINE V sum_chunk_across(const typename V::Scalar* x, int64_t n, int64_t width,
                               int64_t stride) {
  constexpr int L = V::lanes;
  V lane[4 * L];
  for (int k = 0; k < 4 * L; ++k) lane[k] = zero<V>();
  const int64_t whole = n - n % (4 * L);
  if (width >= L) {
    for (int64_t i = 0; i < whole; i += 4 * L, x += 4 * L * stride)
      for (int k = 0; k < 4 * L; ++k) lane[k] = lane[k] + load<V>(x + k * stride);
  } else {
    for (int64_t i = 0; i < whole; i += 4 * L, x += 4 * L * stride)
      for (int k = 0; k < 4 * L; ++k) lane[k] = lane[k] + load_n<V>(x + k * stride, width);
  }
  // What is left of a row fills vectors of lanes in turn, the last one in part.
  const int64_t left = n - whole, full = left - left % L;
  for (int64_t k = 0; k < left; ++k) {
    const int64_t to = k < full ? k : 3 * L + k - full;
    lane[to] = lane[to] + load_part<V>(x + k * stride, width);
  }
  for (int k = 0; k < L; ++k)
    lane[k] = (lane[k] + lane[L + k]) + (lane[2 * L + k] + lane[3 * L + k]);
  for (int half = L / 2; half > 0; half /= 2)
    for (int k = 0; k < half; ++k) lane[k] = lane[k] + lane[k + half];
  return lane[0];
}

template <class V, class Map>
ANNX_INLINE double sum_run(const typename V::Scalar* x, int64_t n, Map map) {
  if (n <= kSumRun) return sum_chunk<V>(x, 0, n, map);
  double total = 0;
  for (int64_t at = 0; at < n; at += kSumRun) {
    const int64_t count = n - at < kSumRun ? n - at : kSumRun;
    total += sum_chunk<V>(x + at, at, count, map);
  }
  return total;
}

// acc[j] = the sum over rows of column first + j; acc is padded to whole vectors.
template <class V, class Map>
ANNX_INLINE void sum_column_chunk(const typename V::Scalar* x, int64_t rows, int64_t first,
                                  int64_t width, int64_t stride, typename V::Scalar* acc, Map map) {
  using T = typename V::Scalar;
  constexpr int64_t L = V::lanes;
  int64_t r = 0;
  for (; r + 8 <= rows; r += 8) {
    const T* p = x + r * stride + first;
    for (int64_t j = 0; j < width; j += L) {
      const int64_t n = width - j < L ? width - j : L;
      const int64_t at = first + j;
      const V a = map(p + j, at, n) + map(p + stride + j, at, n);
      const V b = map(p + 2 * stride + j, at, n) + map(p + 3 * stride + j, at, n);
      const V c = map(p + 4 * stride + j, at, n) + map(p + 5 * stride + j, at, n);
      const V d = map(p + 6 * stride + j, at, n) + map(p + 7 * stride + j, at, n);
      const V t = (a + b) + (c + d);
      store(acc + j, r == 0 ? t : load<V>(acc + j) + t);
    }
  }
  for (; r < rows; ++r) {
    const T* p = x + r * stride + first;
    for (int64_t j = 0; j < width; j += L) {
      const int64_t n = width - j < L ? width - j : L;
      const V t = map(p + j, first + j, n);
      store(acc + j, r == 0 ? t : load<V>(acc + j) + t);
    }
  }
}

// out[j] = the sum of column j over rows (at least one), over divisor.
template <class V, class Map>
ANNX_INLINE void sum_columns(const typename V::Scalar* x, int64_t rows, int64_t width,
                             int64_t stride, double divisor, typename V::Scalar* out, Map map) {
  using T = typename V::Scalar;
  alignas(64) T acc[kColumnBlock];
  alignas(64) double total[kColumnBlock];
  const F64 over = splat<F64>(divisor);
  for (int64_t c = 0; c < width; c += kColumnBlock) {
    const int64_t w = width - c < kColumnBlock ? width - c : kColumnBlock;
    for (int64_t r = 0; r < rows; r += kColumnRows) {
      const int64_t count = rows - r < kColumnRows ? rows - r : kColumnRows;
      sum_column_chunk<V>(x + r * stride, count, c, w, stride, acc, map);
      if (rows <= kColumnRows) break;
      for (int64_t j = 0; j < w; j += 8) {
        const F64 t = wide_load(acc + j, 8);
        store(total + j, r == 0 ? t : load<F64>(total + j) + t);
      }
    }
    for (int64_t j = 0; j < w; j += 8) {
      const F64 t = rows <= kColumnRows ? wide_load(acc + j, 8) : load<F64>(total + j);
      wide_store(out + c + j, t / over, w - j);
    }
  }
}

}  // namespace
