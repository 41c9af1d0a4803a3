// Batch normalisation: one mean, scale and shift per channel.

namespace {

template <class V>
struct AffineRun {
  V mean, scale, shift;
  ANNX_INLINE_MEMBER V operator()(V x) const { return fma(x - mean, scale, shift); }
};

template <class V>
void affine_columns(const typename V::Scalar* x, int64_t rows, int64_t width,
                    const typename V::Scalar* mean, const typename V::Scalar* scale,
                    const typename V::Scalar* shift, typename V::Scalar* y) {
  for (int64_t r = 0; r < rows; ++r, x += width, y += width) {
    for (int64_t j = 0; j < width; j += V::lanes) {
      const int64_t n = width - j;
      const AffineRun<V> f{load_part<V>(mean + j, n), load_part<V>(scale + j, n),
                           load_part<V>(shift + j, n)};
      store_part(y + j, f(load_part<V>(x + j, n)), n);
    }
  }
}

template <class V>
void affine_runs(const typename V::Scalar* x, int64_t first, int64_t runs, int64_t length,
                 int64_t channels, const typename V::Scalar* mean, const typename V::Scalar* scale,
                 const typename V::Scalar* shift, typename V::Scalar* y) {
  for (int64_t r = first; r < first + runs; ++r, x += length, y += length) {
    const int64_t c = r % channels;
    map1<V>(x, y, length, AffineRun<V>{splat<V>(mean[c]), splat<V>(scale[c]), splat<V>(shift[c])});
  }
}

// g * (x - mean); p walks over x, and g lies in step with it.
template <class V>
struct RunDot {
  using T = typename V::Scalar;
  const T *g, *x;
  V mean;
  ANNX_INLINE_MEMBER V operator()(const T* p, int64_t, int64_t n) const {
    return load_part<V>(g + (p - x), n) * (load_part<V>(p, n) - mean);
  }
};
template <class V>
struct ColumnDot {
  using T = typename V::Scalar;
  const T *g, *x, *mean;
  ANNX_INLINE_MEMBER V operator()(const T* p, int64_t at, int64_t n) const {
    return load_part<V>(g + (p - x), n) * (load_part<V>(p, n) - load_part<V>(mean + at, n));
  }
};

template <class V>
void dot_columns(const typename V::Scalar* g, const typename V::Scalar* x, int64_t rows,
                 int64_t width, int64_t stride, const typename V::Scalar* mean, double divisor,
                 typename V::Scalar* out) {
  sum_columns<V>(x, rows, width, stride, divisor, out, ColumnDot<V>{g, x, mean});
}

template <class V>
void dot_runs(const typename V::Scalar* g, const typename V::Scalar* x, int64_t first, int64_t runs,
              int64_t length, int64_t channels, const typename V::Scalar* mean, double divisor,
              typename V::Scalar* out) {
  using T = typename V::Scalar;
  for (int64_t r = 0; r < runs; ++r, g += length, x += length) {
    const RunDot<V> map{g, x, splat<V>(mean[(first + r) % channels])};
    out[r] = static_cast<T>(sum_run<V>(x, length, map) / divisor);
  }
}

template <class V>
struct GradientRun {
  V mean, scale, offset, slope;
  ANNX_INLINE_MEMBER V operator()(V g, V x) const {
    return fnma(x - mean, slope, fma(g, scale, -offset));
  }
};

template <class V>
void gradient_columns(const typename V::Scalar* g, const typename V::Scalar* x, int64_t rows,
                      int64_t width, const typename V::Scalar* mean,
                      const typename V::Scalar* scale, const typename V::Scalar* offset,
                      const typename V::Scalar* slope, typename V::Scalar* dx) {
  for (int64_t r = 0; r < rows; ++r, g += width, x += width, dx += width) {
    for (int64_t j = 0; j < width; j += V::lanes) {
      const int64_t n = width - j;
      const GradientRun<V> f{load_part<V>(mean + j, n), load_part<V>(scale + j, n),
                             load_part<V>(offset + j, n), load_part<V>(slope + j, n)};
      store_part(dx + j, f(load_part<V>(g + j, n), load_part<V>(x + j, n)), n);
    }
  }
}

template <class V>
void gradient_runs(const typename V::Scalar* g, const typename V::Scalar* x, int64_t first,
                   int64_t runs, int64_t length, int64_t channels, const typename V::Scalar* mean,
                   const typename V::Scalar* scale, const typename V::Scalar* offset,
                   const typename V::Scalar* slope, typename V::Scalar* dx) {
  for (int64_t r = first; r < first + runs; ++r, g += length, x += length, dx += length) {
    const int64_t c = r % channels;
    map2<V>(g, x, dx, length,
            GradientRun<V>{splat<V>(mean[c]), splat<V>(scale[c]), splat<V>(offset[c]),
                           splat<V>(slope[c])});
  }
}

}  // namespace
