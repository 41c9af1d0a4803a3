// Depthwise convolution: lanes run over channels. Each element is one fma chain over ascending taps.

// P pixels of one vector of channels.
template <class V, int P>
ANNX_INLINE void depthwise_pixels(const DepthwiseRow<typename V::Scalar>& row,
                                  const typename V::Scalar* x, const typename V::Scalar* w,
                                  typename V::Scalar* y, int64_t n) {
  V acc[P];
#pragma GCC unroll 4
  for (int i = 0; i < P; ++i) acc[i] = zero<V>();
  const bool whole = n >= V::lanes;
  for (int64_t t = 0; t < row.taps; ++t) {
    const typename V::Scalar* p = x + row.offsets[t];
    const typename V::Scalar* q = w + t * row.channels;
    const V weight = whole ? load<V>(q) : load_n<V>(q, n);
#pragma GCC unroll 4
    for (int i = 0; i < P; ++i) {
      acc[i] = fma(whole ? load<V>(p) : load_n<V>(p, n), weight, acc[i]);
      p += row.x_step;
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < P; ++i) {
    if (whole) {
      store(y, acc[i]);
    } else {
      store_n(y, acc[i], n);
    }
    y += row.y_step;
  }
}

template <class V>
static void depthwise_row(const DepthwiseRow<typename V::Scalar>& row) {
  for (int64_t c = 0; c < row.channels; c += V::lanes) {
    const int64_t n = row.channels - c;
    int64_t i = 0;
    for (; i + 4 <= row.pixels; i += 4) {
      depthwise_pixels<V, 4>(row, row.x + i * row.x_step + c, row.w + c, row.y + i * row.y_step + c,
                             n);
    }
    for (; i < row.pixels; ++i) {
      depthwise_pixels<V, 1>(row, row.x + i * row.x_step + c, row.w + c, row.y + i * row.y_step + c,
                             n);
    }
  }
}

// N taps of one vector of channels over all pixels of a row.
template <class V, int N>
ANNX_INLINE void depthwise_taps(const DepthwiseRow<typename V::Scalar>& row, int64_t first,
                                const typename V::Scalar* x, const typename V::Scalar* y,
                                typename V::Scalar* w, int64_t n) {
  V acc[N];
  int64_t at[N];
  const bool whole = n >= V::lanes;
#pragma GCC unroll 4
  for (int t = 0; t < N; ++t) {
    const typename V::Scalar* p = w + (first + t) * row.channels;
    acc[t] = whole ? load<V>(p) : load_n<V>(p, n);
    at[t] = row.offsets[first + t];
  }
  for (int64_t i = 0; i < row.pixels; ++i) {
    const V g = whole ? load<V>(y) : load_n<V>(y, n);
#pragma GCC unroll 4
    for (int t = 0; t < N; ++t) {
      acc[t] = fma(g, whole ? load<V>(x + at[t]) : load_n<V>(x + at[t], n), acc[t]);
    }
    x += row.x_step;
    y += row.y_step;
  }
#pragma GCC unroll 4
  for (int t = 0; t < N; ++t) {
    typename V::Scalar* p = w + (first + t) * row.channels;
    if (whole) {
      store(p, acc[t]);
    } else {
      store_n(p, acc[t], n);
    }
  }
}

template <class V>
static void depthwise_weight_row(const DepthwiseRow<typename V::Scalar>& row,
                                 typename V::Scalar* w) {
  for (int64_t c = 0; c < row.channels; c += V::lanes) {
    const int64_t n = row.channels - c;
    int64_t t = 0;
    for (; t + 3 <= row.taps; t += 3) {
      depthwise_taps<V, 3>(row, t, row.x + c, row.y + c, w + c, n);
    }
    for (; t < row.taps; ++t) depthwise_taps<V, 1>(row, t, row.x + c, row.y + c, w + c, n);
  }
}
