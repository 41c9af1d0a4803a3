// Layer normalisation of rows: mean and variance in two passes (sum-inl.h), then the quotient.

namespace {

template <class V>
struct NormalizeRow {
  V mean, rstd;
  ANNX_INLINE_MEMBER V operator()(V x) const { return (x - mean) * rstd; }
};
template <class V>
struct NormalizeRowAffine {
  V mean, rstd;
  ANNX_INLINE_MEMBER V operator()(V x, V w, V b) const { return fma((x - mean) * rstd, w, b); }
};

// Rows that go through one step after another side by side, so that the steps of one, each of which waits
// for the one before, overlap with those of others; their memory stays in L1.
constexpr int64_t kRowsAtOnce = 8;
template <class T>
ANNX_INLINE int64_t rows_at_once(int64_t n) {
  const int64_t fit = (int64_t{1} << 13) / (n * static_cast<int64_t>(sizeof(T)));
  return fit > kRowsAtOnce ? kRowsAtOnce : fit < 1 ? 1 : fit;
}

// weight and bias are both null or both given.
template <class V>
void layer_norm(const typename V::Scalar* x, const typename V::Scalar* weight,
                const typename V::Scalar* bias, int64_t rows, int64_t n, double eps,
                typename V::Scalar* y, typename V::Scalar* mean, typename V::Scalar* rstd) {
  using T = typename V::Scalar;
  const auto count = static_cast<double>(n);
  const int64_t at_once = rows_at_once<T>(n);
  for (int64_t first = 0; first < rows; first += at_once) {
    const int64_t end = rows - first < at_once ? rows : first + at_once;
    for (int64_t r = first; r < end; ++r)
      mean[r] = static_cast<T>(sum_run<V>(x + r * n, n, SumIdentity<V>{}) / count);
    for (int64_t r = first; r < end; ++r) {
      const V m = splat<V>(mean[r]);
      const double variance = sum_run<V>(x + r * n, n, SumRowDeviation<V>{m}) / count;
      rstd[r] = static_cast<T>(1 / __builtin_sqrt(variance + eps));
    }
    for (int64_t r = first; r < end; ++r) {
      const V m = splat<V>(mean[r]), s = splat<V>(rstd[r]);
      if (weight) {
        map3<V>(x + r * n, weight, bias, y + r * n, n, NormalizeRowAffine<V>{m, s});
      } else {
        map1<V>(x + r * n, y + r * n, n, NormalizeRow<V>{m, s});
      }
    }
  }
}

template <class V>
struct SquareOf {
  ANNX_INLINE_MEMBER V operator()(const typename V::Scalar* p, int64_t, int64_t n) const {
    const V v = load_part<V>(p, n);
    return v * v;
  }
};
template <class V>
struct ScaleRow {
  V rstd;
  ANNX_INLINE_MEMBER V operator()(V x) const { return x * rstd; }
  ANNX_INLINE_MEMBER V operator()(V x, V w) const { return x * rstd * w; }
};

template <class V>
void rms_norm(const typename V::Scalar* x, const typename V::Scalar* weight, int64_t rows,
              int64_t n, double eps, typename V::Scalar* y, typename V::Scalar* rstd) {
  using T = typename V::Scalar;
  const auto count = static_cast<double>(n);
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    const double square = sum_run<V>(x, n, SquareOf<V>{}) / count;
    rstd[r] = static_cast<T>(1 / __builtin_sqrt(square + eps));
    const ScaleRow<V> scale{splat<V>(rstd[r])};
    if (weight) {
      map2<V>(x, weight, y, n, scale);
    } else {
      map1<V>(x, y, n, scale);
    }
  }
}

// With h = (x - mean) * rstd and gw = g * weight:
//   dx = rstd * (gw - mean(gw) - h * mean(gw * h)).
// Without a mean (rms_norm) it is 0 in h, and mean(gw) is left out.
template <class V>
struct LayerRow {
  using T = typename V::Scalar;
  const T *g, *x, *weight;
  V mean, rstd;

  ANNX_INLINE_MEMBER V normalized(int64_t i, int64_t n) const {
    return (load_part<V>(x + i, n) - mean) * rstd;
  }
  ANNX_INLINE_MEMBER V weighted(V gv, int64_t i, int64_t n) const {
    return weight ? gv * load_part<V>(weight + i, n) : gv;
  }
};

struct LayerSums {
  double g, gh;
};

// The sums of gw and of gw * h; adds h * g and g to dweight and dbias on the way.
template <class V>
ANNX_INLINE LayerSums layer_sums(const LayerRow<V>& row, int64_t n, bool first,
                                 typename V::Scalar* dweight, typename V::Scalar* dbias) {
  LayerSums total{0, 0};
  for (int64_t at = 0; at < n; at += kSumRun) {
    const int64_t end = n - at < kSumRun ? n : at + kSumRun;
    V sum_g = zero<V>(), sum_gh = zero<V>();
    for (int64_t i = at; i < end; i += V::lanes) {
      const int64_t count = end - i;
      const V gv = load_part<V>(row.g + i, count);
      const V h = row.normalized(i, count);
      // Lanes past the end hold g = 0 and a finite h.
      const V gw = row.weighted(gv, i, count);
      sum_g = sum_g + gw;
      sum_gh = fma(gw, h, sum_gh);
      if (dweight) {
        const V before = first ? zero<V>() : load_part<V>(dweight + i, count);
        store_part(dweight + i, fma(gv, h, before), count);
      }
      if (dbias) {
        const V before = first ? zero<V>() : load_part<V>(dbias + i, count);
        store_part(dbias + i, before + gv, count);
      }
    }
    total.g += hsum(sum_g);
    total.gh += hsum(sum_gh);
  }
  return total;
}

// `other`, if not null, is added to dx.
template <class V>
ANNX_INLINE void normalized_rows_backward(const typename V::Scalar* g, const typename V::Scalar* x,
                                          const typename V::Scalar* weight,
                                          const typename V::Scalar* mean,
                                          const typename V::Scalar* rstd,
                                          const typename V::Scalar* other, int64_t rows, int64_t n,
                                          typename V::Scalar* dx, typename V::Scalar* dweight,
                                          typename V::Scalar* dbias) {
  using T = typename V::Scalar;
  for (int64_t r = 0; r < rows; ++r, g += n, x += n, dx += n) {
    const LayerRow<V> row{g, x, weight, splat<V>(mean ? mean[r] : T{0}), splat<V>(rstd[r])};
    const LayerSums sums = layer_sums(row, n, r == 0, dweight, dbias);
    const V mean_g = mean ? splat<V>(static_cast<T>(sums.g / static_cast<double>(n))) : zero<V>();
    const V mean_gh = splat<V>(static_cast<T>(sums.gh / static_cast<double>(n)));
    for (int64_t i = 0; i < n; i += V::lanes) {
      const int64_t count = n - i;
      const V gw = row.weighted(load_part<V>(g + i, count), i, count);
      V d = fnma(row.normalized(i, count), mean_gh, gw - mean_g) * row.rstd;
      if (other) d = d + load_part<V>(other + i, count);
      store_part(dx + i, d, count);
    }
    if (other) other += n;
  }
}

template <class V>
void layer_norm_backward(const typename V::Scalar* g, const typename V::Scalar* x,
                         const typename V::Scalar* weight, const typename V::Scalar* mean,
                         const typename V::Scalar* rstd, const typename V::Scalar* other,
                         int64_t rows, int64_t n, typename V::Scalar* dx,
                         typename V::Scalar* dweight, typename V::Scalar* dbias) {
  normalized_rows_backward<V>(g, x, weight, mean, rstd, other, rows, n, dx, dweight, dbias);
}

template <class V>
void rms_norm_backward(const typename V::Scalar* g, const typename V::Scalar* x,
                       const typename V::Scalar* weight, const typename V::Scalar* rstd,
                       const typename V::Scalar* other, int64_t rows, int64_t n,
                       typename V::Scalar* dx, typename V::Scalar* dweight) {
  normalized_rows_backward<V>(g, x, weight, nullptr, rstd, other, rows, n, dx, dweight, nullptr);
}

}  // namespace
