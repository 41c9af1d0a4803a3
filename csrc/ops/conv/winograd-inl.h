// Winograd F(2x2, 3x3) (Lavin and Gray, 2016): 16 products for 4 pixels where taps take 36.
//
//   Y = A^T ((G g G^T) * (B^T d B)) A
//   B^T = 1  0 -1  0    G = 1    0    0     A^T = 1  1  1  0
//         0  1  1  0        1/2  1/2  1/2         0  1 -1 -1
//         0 -1  1  0        1/2 -1/2  1/2
//         0  1  0 -1        0    0    1

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

template <class V>
static void winograd_weight(int64_t channels, int64_t width, const typename V::Scalar* w,
                            typename V::Scalar* out) {
  const V half = splat<V>(0.5);
  for (int64_t c = 0; c < channels; ++c, w += 9 * width) {
    for (int64_t j = 0; j < width; j += V::lanes) {
      V rows[4][3];
#pragma GCC unroll 3
      for (int s = 0; s < 3; ++s) {
        const V g0 = load<V>(w + s * width + j);
        const V g1 = load<V>(w + (3 + s) * width + j);
        const V g2 = load<V>(w + (6 + s) * width + j);
        const V ends = g0 + g2;
        rows[0][s] = g0;
        rows[1][s] = (ends + g1) * half;
        rows[2][s] = (ends - g1) * half;
        rows[3][s] = g2;
      }
      typename V::Scalar* to = out + c * width + j;
      const int64_t plane = channels * width;
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        const V ends = rows[r][0] + rows[r][2];
        store(to, rows[r][0]);
        store(to + plane, (ends + rows[r][1]) * half);
        store(to + 2 * plane, (ends - rows[r][1]) * half);
        store(to + 3 * plane, rows[r][2]);
        to += 4 * plane;
      }
    }
  }
}

// A column of 4 pixels, times B^T.
template <class V>
struct WinogradColumn {
  V v[4];
};
template <class V>
ANNX_INLINE WinogradColumn<V> winograd_column(const typename V::Scalar* x, int64_t x_row,
                                              int64_t n) {
  const V d0 = load_part<V>(x, n);
  const V d1 = load_part<V>(x + x_row, n);
  const V d2 = load_part<V>(x + 2 * x_row, n);
  const V d3 = load_part<V>(x + 3 * x_row, n);
  return {{d0 - d2, d1 + d2, d2 - d1, d1 - d3}};
}

// Neighbouring tiles share two columns.
template <class V>
static void winograd_input(int64_t tiles, int64_t channels, const typename V::Scalar* x,
                           int64_t x_row, typename V::Scalar* out, int64_t plane) {
  for (int64_t c = 0; c < channels; c += V::lanes) {
    const int64_t n = channels - c;
    const typename V::Scalar* p = x + c;
    typename V::Scalar* to = out + c;
    WinogradColumn<V> c0 = winograd_column<V>(p, x_row, n);
    WinogradColumn<V> c1 = winograd_column<V>(p + channels, x_row, n);
    for (int64_t t = 0; t < tiles; ++t, to += channels) {
      p += 2 * channels;
      const WinogradColumn<V> c2 = winograd_column<V>(p, x_row, n);
      const WinogradColumn<V> c3 = winograd_column<V>(p + channels, x_row, n);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        typename V::Scalar* q = to + 4 * r * plane;
        store_part(q, c0.v[r] - c2.v[r], n);
        store_part(q + plane, c1.v[r] + c2.v[r], n);
        store_part(q + 2 * plane, c2.v[r] - c1.v[r], n);
        store_part(q + 3 * plane, c1.v[r] - c3.v[r], n);
      }
      c0 = c2;
      c1 = c3;
    }
  }
}

template <class V>
static void winograd_output(int64_t tiles, int64_t channels, const typename V::Scalar* m,
                            int64_t plane, typename V::Scalar* y, int64_t y_row, int64_t rows,
                            int64_t cols) {
  for (int64_t t = 0; t < tiles; ++t, m += channels, y += 2 * channels) {
    const bool second = 2 * t + 1 < cols;
    for (int64_t c = 0; c < channels; c += V::lanes) {
      const int64_t n = channels - c;
      V top[4];
      V bottom[4];
#pragma GCC unroll 4
      for (int s = 0; s < 4; ++s) {
        const typename V::Scalar* p = m + s * plane + c;
        const V m0 = load_part<V>(p, n);
        const V m1 = load_part<V>(p + 4 * plane, n);
        const V m2 = load_part<V>(p + 8 * plane, n);
        const V m3 = load_part<V>(p + 12 * plane, n);
        top[s] = m0 + m1 + m2;
        bottom[s] = m1 - m2 - m3;
      }
      store_part(y + c, top[0] + top[1] + top[2], n);
      if (second) store_part(y + channels + c, top[1] - top[2] - top[3], n);
      if (rows < 2) continue;
      store_part(y + y_row + c, bottom[0] + bottom[1] + bottom[2], n);
      if (second) store_part(y + y_row + channels + c, bottom[1] - bottom[2] - bottom[3], n);
    }
  }
}
