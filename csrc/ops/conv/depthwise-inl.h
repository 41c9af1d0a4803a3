// Depthwise convolution: lanes run over channels. Each element is one fma chain over ascending filter
// rows and taps. Taps beyond the source are left out.

template <class V, bool Whole>
ANNX_INLINE V depthwise_load(const typename V::Scalar* p, int64_t n) {
  if constexpr (Whole) return load<V>(p);
  return load_n<V>(p, n);
}

// What the next row touches, a few lines at a time: met in strips, it would come too late.
template <class T>
struct DepthwiseAhead {
  const T *at[2], *end[2];
  int64_t share[2];

  ANNX_INLINE DepthwiseAhead of(const DepthwiseRow<T>& row, int64_t steps) {
    constexpr int64_t kLine = 64 / sizeof(T);
    DepthwiseAhead ahead;
    for (int i = 0; i < 2; ++i) {
      ahead.at[i] = row.ahead[i];
      ahead.end[i] = row.ahead[i] + row.ahead_size[i];
      ahead.share[i] = ((row.ahead_size[i] + kLine - 1) / kLine + steps - 1) / steps;
    }
    return ahead;
  }
};
template <class T>
ANNX_INLINE void fetch(DepthwiseAhead<T>& ahead) {
  for (int i = 0; i < 2; ++i) {
    const T* at = ahead.at[i];
    for (int64_t k = 0; k < ahead.share[i] && at < ahead.end[i]; ++k, at += 64 / sizeof(T)) {
      __builtin_prefetch(at, 0, 2);
    }
    ahead.at[i] = at;
  }
}

// Pixels lo … hi-1 find all their taps in the source.
struct DepthwiseInside {
  int64_t lo, hi;
};
template <class T>
ANNX_INLINE DepthwiseInside depthwise_inside(const DepthwiseRow<T>& row) {
  const int64_t most = row.width - 1 - (row.taps - 1) * row.tap - row.first;
  int64_t lo = row.first < 0 ? (-row.first + row.step - 1) / row.step : 0;
  int64_t hi = most < 0 ? 0 : most / row.step + 1;
  if (hi > row.pixels) hi = row.pixels;
  if (lo > hi) lo = hi;
  return {lo, hi};
}
// Taps lo … hi-1 of pixel i read the source.
template <class T>
ANNX_INLINE DepthwiseInside depthwise_taps_of(const DepthwiseRow<T>& row, int64_t i) {
  const int64_t at = row.first + i * row.step;
  int64_t lo = at < 0 ? (-at + row.tap - 1) / row.tap : 0;
  int64_t hi = at >= row.width ? 0 : (row.width - 1 - at) / row.tap + 1;
  if (hi > row.taps) hi = row.taps;
  if (lo > hi) lo = hi;
  return {lo, hi};
}

// P pixels of one vector of channels, any taps.
template <class V, int P, bool Whole>
ANNX_INLINE void depthwise_pixels(const DepthwiseRow<typename V::Scalar>& row, DepthwiseInside taps,
                                  int64_t i, int64_t c, int64_t n) {
  const int64_t at = (row.first + i * row.step) * row.channels + c;
  const int64_t step = row.step * row.channels, tap = row.tap * row.channels;
  V acc[P];
#pragma GCC unroll 4
  for (int k = 0; k < P; ++k) acc[k] = zero<V>();
  for (int64_t r = 0; r < row.rows; ++r) {
    for (int64_t t = taps.lo; t < taps.hi; ++t) {
      const typename V::Scalar* p = row.x[r] + at + t * tap;
      const V weight = depthwise_load<V, Whole>(row.w[r] + t * row.w_step + c, n);
#pragma GCC unroll 4
      for (int k = 0; k < P; ++k) {
        acc[k] = fma(depthwise_load<V, Whole>(p, n), weight, acc[k]);
        p += step;
      }
    }
  }
  if (row.bias != nullptr) {
    const V bias = depthwise_load<V, Whole>(row.bias + c, n);
#pragma GCC unroll 4
    for (int k = 0; k < P; ++k) acc[k] = acc[k] + bias;
  }
  typename V::Scalar* y = row.y + i * row.y_step + c;
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

template <class V, int P>
ANNX_NOINLINE void depthwise_any(const DepthwiseRow<typename V::Scalar>& row, DepthwiseInside taps,
                                 int64_t i, int64_t c) {
  for (; c + V::lanes <= row.channels; c += V::lanes) {
    depthwise_pixels<V, P, true>(row, taps, i, c, V::lanes);
  }
  if (c < row.channels) depthwise_pixels<V, P, false>(row, taps, i, c, row.channels - c);
}

// P pixels, N taps side by side, S source pixels from one to the next: each vector of the source is
// loaded once per filter row. Channels are the loop, so that pixels are read from end to end.
template <class V, int P, int N, int S>
ANNX_NOINLINE void depthwise_strip(const DepthwiseRow<typename V::Scalar>& row, int64_t i,
                                   DepthwiseAhead<typename V::Scalar>& ahead) {
  using T = typename V::Scalar;
  const int64_t channels = row.channels, rows = row.rows, w_step = row.w_step;
  const int64_t at = (row.first + i * S) * channels;
  int64_t c = 0;
  for (; c + V::lanes <= channels; c += V::lanes) {
    fetch(ahead);
    V acc[P];
#pragma GCC unroll 8
    for (int k = 0; k < P; ++k) acc[k] = zero<V>();
    for (int64_t r = 0; r < rows; ++r) {
      const T *x = row.x[r] + at + c, *w = row.w[r] + c;
      V weight[N];
#pragma GCC unroll 8
      for (int t = 0; t < N; ++t) weight[t] = load<V>(w + t * w_step);
#pragma GCC unroll 16
      for (int j = 0; j < (P - 1) * S + N; ++j) {
        const V v = load<V>(x + j * channels);
#pragma GCC unroll 8
        for (int t = 0; t < N; ++t) {
          if (j >= t && (j - t) % S == 0 && (j - t) / S < P)
            acc[(j - t) / S] = fma(v, weight[t], acc[(j - t) / S]);
        }
      }
    }
    if (row.bias != nullptr) {
      const V bias = load<V>(row.bias + c);
#pragma GCC unroll 8
      for (int k = 0; k < P; ++k) acc[k] = acc[k] + bias;
    }
    T* y = row.y + i * row.y_step + c;
#pragma GCC unroll 8
    for (int k = 0; k < P; ++k) store(y + k * row.y_step, acc[k]);
  }
  if (c < channels) depthwise_any<V, P>(row, {0, row.taps}, i, c);
}

static constexpr int kDepthwisePixels = 4;

template <class V>
static void depthwise_row(const DepthwiseRow<typename V::Scalar>& row) {
  using T = typename V::Scalar;
  constexpr int64_t P = kDepthwisePixels;
  const DepthwiseInside inside = depthwise_inside(row);
  const int64_t all = inside.hi - inside.lo;
  for (int64_t i = 0; i < inside.lo; ++i) {
    depthwise_any<V, 1>(row, depthwise_taps_of(row, i), i, 0);
  }
  if (all >= P) {
    const int64_t vectors = row.channels < V::lanes ? 1 : row.channels / V::lanes;
    DepthwiseAhead<T> ahead = DepthwiseAhead<T>::of(row, (all + P - 1) / P * vectors);
    void (*strip)(const DepthwiseRow<T>&, int64_t, DepthwiseAhead<T>&) = nullptr;
    if (row.tap == 1 || row.taps == 1) {
      if (row.step == 1 && row.taps == 1) strip = depthwise_strip<V, P, 1, 1>;
      if (row.step == 1 && row.taps == 2) strip = depthwise_strip<V, P, 2, 1>;
      if (row.step == 1 && row.taps == 3) strip = depthwise_strip<V, P, 3, 1>;
      if (row.step == 2 && row.taps == 3) strip = depthwise_strip<V, P, 3, 2>;
    }
    for (int64_t i = inside.lo; i < inside.hi; i += P) {
      // The last strip is moved back over pixels that are done already.
      if (i + P > inside.hi) i = inside.hi - P;
      if (strip != nullptr) {
        strip(row, i, ahead);
      } else {
        for (int64_t k = 0; k < vectors; ++k) fetch(ahead);
        depthwise_any<V, P>(row, {0, row.taps}, i, 0);
      }
    }
  } else {
    for (int64_t i = inside.lo; i < inside.hi; ++i) {
      depthwise_any<V, 1>(row, {0, row.taps}, i, 0);
    }
  }
  for (int64_t i = inside.hi; i < row.pixels; ++i) {
    depthwise_any<V, 1>(row, depthwise_taps_of(row, i), i, 0);
  }
}

// N taps of filter row r and one vector of channels over pixels i … end-1, whose taps may lie beyond
// the source.
template <class V, int N>
ANNX_INLINE void depthwise_weight_edge(const DepthwiseRow<typename V::Scalar>& row, int64_t r,
                                       int64_t first, int64_t i, int64_t end, int64_t c, int64_t n,
                                       V* acc) {
  for (; i < end; ++i) {
    const int64_t at = row.first + i * row.step;
    const V g = load_n<V>(row.y + i * row.y_step + c, n);
#pragma GCC unroll 4
    for (int t = 0; t < N; ++t) {
      const int64_t p = at + (first + t) * row.tap;
      if (p >= 0 && p < row.width)
        acc[t] = fma(g, load_n<V>(row.x[r] + p * row.channels + c, n), acc[t]);
    }
  }
}

template <class V, int N>
ANNX_NOINLINE void depthwise_weight_any(const DepthwiseRow<typename V::Scalar>& row, int64_t r,
                                        int64_t first, int64_t c, int64_t n,
                                        typename V::Scalar* w) {
  V acc[N];
  typename V::Scalar* to = w + first * row.w_step + c;
#pragma GCC unroll 4
  for (int t = 0; t < N; ++t) acc[t] = load_n<V>(to + t * row.w_step, n);
  depthwise_weight_edge<V, N>(row, r, first, 0, row.pixels, c, n, acc);
#pragma GCC unroll 4
  for (int t = 0; t < N; ++t) store_n(to + t * row.w_step, acc[t], n);
}

// P pixels at a time against N taps side by side: g and the source are loaded once per filter row.
template <class V, int P, int N, int S>
ANNX_NOINLINE void depthwise_weight_strips(const DepthwiseRow<typename V::Scalar>& row,
                                           DepthwiseInside inside, int64_t r, int64_t c,
                                           typename V::Scalar* w) {
  using T = typename V::Scalar;
  const int64_t channels = row.channels, g_step = row.y_step;
  V acc[N];
#pragma GCC unroll 4
  for (int t = 0; t < N; ++t) acc[t] = load<V>(w + t * row.w_step + c);
  depthwise_weight_edge<V, N>(row, r, 0, 0, inside.lo, c, V::lanes, acc);
  const T* x = row.x[r] + (row.first + inside.lo * S) * channels + c;
  const T* g = row.y + inside.lo * g_step + c;
  int64_t i = inside.lo;
  for (; i + P <= inside.hi; i += P, x += P * S * channels, g += P * g_step) {
    V grad[P];
#pragma GCC unroll 8
    for (int k = 0; k < P; ++k) grad[k] = load<V>(g + k * g_step);
#pragma GCC unroll 16
    for (int j = 0; j < (P - 1) * S + N; ++j) {
      const V v = load<V>(x + j * channels);
#pragma GCC unroll 4
      for (int t = 0; t < N; ++t) {
        if (j >= t && (j - t) % S == 0 && (j - t) / S < P)
          acc[t] = fma(grad[(j - t) / S], v, acc[t]);
      }
    }
  }
  depthwise_weight_edge<V, N>(row, r, 0, i, row.pixels, c, V::lanes, acc);
#pragma GCC unroll 4
  for (int t = 0; t < N; ++t) store(w + t * row.w_step + c, acc[t]);
}

template <class V>
static void depthwise_weight_row(const DepthwiseRow<typename V::Scalar>& row,
                                 typename V::Scalar* const* w) {
  using T = typename V::Scalar;
  constexpr int P = kDepthwisePixels;
  const DepthwiseInside inside = depthwise_inside(row);
  const int64_t vectors = (row.channels + V::lanes - 1) / V::lanes;
  DepthwiseAhead<T> ahead = DepthwiseAhead<T>::of(row, vectors * (row.rows == 0 ? 1 : row.rows));
  const bool three = row.taps == 3 && row.tap == 1 && (row.step == 1 || row.step == 2);
  for (int64_t c = 0; c < row.channels; c += V::lanes) {
    const int64_t n = row.channels - c < V::lanes ? row.channels - c : V::lanes;
    for (int64_t r = 0; r < row.rows; ++r) {
      fetch(ahead);
      if (three && n == V::lanes) {
        if (row.step == 1)
          depthwise_weight_strips<V, P, 3, 1>(row, inside, r, c, w[r]);
        else
          depthwise_weight_strips<V, P, 3, 2>(row, inside, r, c, w[r]);
        continue;
      }
      int64_t t = 0;
      for (; t + 3 <= row.taps; t += 3) depthwise_weight_any<V, 3>(row, r, t, c, n, w[r]);
      for (; t < row.taps; ++t) depthwise_weight_any<V, 1>(row, r, t, c, n, w[r]);
    }
  }
}
