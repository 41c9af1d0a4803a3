// Depthwise convolution: lanes run over channels. Each element is one fma chain over ascending taps.

template <class V, bool Whole>
ANNX_INLINE V depthwise_load(const typename V::Scalar* p, int64_t n) {
  if constexpr (Whole) return load<V>(p);
  return load_n<V>(p, n);
}

// P pixels of one vector of channels.
template <class V, int P, bool Whole>
ANNX_INLINE void depthwise_pixels(const DepthwiseRow<typename V::Scalar>& row, int64_t i, int64_t c,
                                  int64_t n) {
  const typename V::Scalar* x = row.x + i * row.x_step + c;
  typename V::Scalar* y = row.y + i * row.y_step + c;
  V acc[P];
#pragma GCC unroll 4
  for (int k = 0; k < P; ++k) acc[k] = zero<V>();
  for (int64_t t = 0; t < row.taps; ++t) {
    const typename V::Scalar* p = x + row.offsets[t];
    const V weight = depthwise_load<V, Whole>(row.w + row.w_offsets[t] + c, n);
#pragma GCC unroll 4
    for (int k = 0; k < P; ++k) {
      acc[k] = fma(depthwise_load<V, Whole>(p, n), weight, acc[k]);
      p += row.x_step;
    }
  }
  if (row.bias != nullptr) {
    const V bias = depthwise_load<V, Whole>(row.bias + c, n);
#pragma GCC unroll 4
    for (int k = 0; k < P; ++k) acc[k] = acc[k] + bias;
  }
#pragma GCC unroll 4
  for (int k = 0; k < P; ++k) {
    if constexpr (Whole) {
      store(y, acc[k]);
    } else {
      store_n(y, acc[k], n);
    }
    y += row.y_step;
  }
}

// Channels are the inner loop: neighbouring pixels are then read from end to end.
template <class V, int P>
ANNX_INLINE void depthwise_strip(const DepthwiseRow<typename V::Scalar>& row, int64_t i) {
  int64_t c = 0;
  for (; c + V::lanes <= row.channels; c += V::lanes) {
    depthwise_pixels<V, P, true>(row, i, c, V::lanes);
  }
  if (c < row.channels) depthwise_pixels<V, P, false>(row, i, c, row.channels - c);
}

template <class V>
static void depthwise_row(const DepthwiseRow<typename V::Scalar>& row) {
  int64_t i = 0;
  for (; i + 4 <= row.pixels; i += 4) depthwise_strip<V, 4>(row, i);
  for (; i < row.pixels; ++i) depthwise_strip<V, 1>(row, i);
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
