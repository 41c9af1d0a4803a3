// Winograd F(2x2, 3x3) (Lavin and Gray, 2016): 16 products for 4 pixels where taps take 36.
//
//   Y = A^T ((G g G^T) * (B^T d B)) A
//   B^T = 1  0 -1  0    G = 1    0    0     A^T = 1  1  1  0
//         0  1  1  0        1/2  1/2  1/2         0  1 -1 -1
//         0 -1  1  0        1/2 -1/2  1/2
//         0  1  0 -1        0    0    1

// Whole: all lanes of a vector of channels exist, else n do.
template <class V, bool Whole>
ANNX_INLINE V load_part(const typename V::Scalar* p, int64_t n) {
  if constexpr (Whole) {
    return load<V>(p);
  } else {
    return load_n<V>(p, n);
  }
}
template <class V, bool Whole>
ANNX_INLINE void store_part(typename V::Scalar* p, V v, int64_t n) {
  if constexpr (Whole) {
    store(p, v);
  } else {
    store_n(p, v, n);
  }
}

template <class V>
static void winograd_weight(int64_t channels, int64_t width, const typename V::Scalar* w,
                            typename V::Scalar* out, int64_t plane) {
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

// Row r of B^T times a column of 4 pixels.
template <class V, int R, bool Whole>
ANNX_INLINE V winograd_row(const typename V::Scalar* x, int64_t x_row, int64_t n) {
  constexpr int first = R == 0 ? 0 : R == 2 ? 2 : 1, second = R == 3 ? 3 : R == 2 ? 1 : 2;
  const V a = load_part<V, Whole>(x + first * x_row, n);
  const V b = load_part<V, Whole>(x + second * x_row, n);
  if constexpr (R == 1) {
    return a + b;
  } else {
    return a - b;
  }
}

// Row after row: all 16 values at once are more than the registers hold. Neighbouring tiles share two
// columns.
template <class V, int R, bool Whole>
ANNX_INLINE void winograd_input_row(const WinogradInput<typename V::Scalar>& job,
                                    const typename V::Scalar* x, typename V::Scalar* to,
                                    int64_t n) {
  const int64_t step = job.channels, plane = job.plane;
  V c0 = winograd_row<V, R, Whole>(x, job.x_row, n);
  V c1 = winograd_row<V, R, Whole>(x + step, job.x_row, n);
  to += 4 * R * plane;
  for (int64_t t = 0; t < job.tiles; ++t, to += job.tile_step) {
    x += 2 * step;
    const V c2 = winograd_row<V, R, Whole>(x, job.x_row, n);
    const V c3 = winograd_row<V, R, Whole>(x + step, job.x_row, n);
    store_part<V, Whole>(to, c0 - c2, n);
    store_part<V, Whole>(to + plane, c1 + c2, n);
    store_part<V, Whole>(to + 2 * plane, c2 - c1, n);
    store_part<V, Whole>(to + 3 * plane, c1 - c3, n);
    c0 = c2;
    c1 = c3;
  }
}

template <class V, bool Whole>
ANNX_INLINE void winograd_input_rows(const WinogradInput<typename V::Scalar>& job, int64_t c) {
  const int64_t n = job.channels - c;
  const typename V::Scalar* x = job.x + c;
  typename V::Scalar* to = job.out + c / V::lanes * job.vector_step;
  winograd_input_row<V, 0, Whole>(job, x, to, n);
  winograd_input_row<V, 1, Whole>(job, x, to, n);
  winograd_input_row<V, 2, Whole>(job, x, to, n);
  winograd_input_row<V, 3, Whole>(job, x, to, n);
}

template <class V>
static void winograd_input(const WinogradInput<typename V::Scalar>& job) {
  int64_t c = 0;
  for (; c + V::lanes <= job.channels; c += V::lanes) winograd_input_rows<V, true>(job, c);
  if (c < job.channels) winograd_input_rows<V, false>(job, c);
}

// Sums start with the first product and grow one by one, so that few values are alive.
template <class V, bool Whole>
ANNX_INLINE void winograd_output_tile(const WinogradOutput<typename V::Scalar>& job, int64_t t,
                                      int64_t c) {
  using T = typename V::Scalar;
  const int64_t n = job.channels - c, plane = job.plane;
  const T* m = job.m + t * job.channels + c;
  V y[2][2];
#pragma GCC unroll 4
  for (int s = 0; s < 4; ++s) {
    const T* p = m + s * plane;
    const V m1 = load_part<V, Whole>(p + 4 * plane, n);
    const V m2 = load_part<V, Whole>(p + 8 * plane, n);
    const V top = load_part<V, Whole>(p, n) + m1 + m2;
    const V bottom = m1 - m2 - load_part<V, Whole>(p + 12 * plane, n);
    if (s == 0) {
      y[0][0] = top;
      y[1][0] = bottom;
    } else if (s == 1) {
      y[0][0] = y[0][0] + top;
      y[1][0] = y[1][0] + bottom;
      y[0][1] = top;
      y[1][1] = bottom;
    } else if (s == 2) {
      y[0][0] = y[0][0] + top;
      y[1][0] = y[1][0] + bottom;
      y[0][1] = y[0][1] - top;
      y[1][1] = y[1][1] - bottom;
    } else {
      y[0][1] = y[0][1] - top;
      y[1][1] = y[1][1] - bottom;
    }
  }
  T* to = job.y + 2 * t * job.channels + c;
  const bool second = 2 * t + 1 < job.cols;
  store_part<V, Whole>(to, y[0][0], n);
  if (second) store_part<V, Whole>(to + job.channels, y[0][1], n);
  if (job.rows < 2) return;
  store_part<V, Whole>(to + job.y_row, y[1][0], n);
  if (second) store_part<V, Whole>(to + job.y_row + job.channels, y[1][1], n);
}

template <class V>
static void winograd_output(const WinogradOutput<typename V::Scalar>& job) {
  for (int64_t t = 0; t < job.tiles; ++t) {
    int64_t c = 0;
    for (; c + V::lanes <= job.channels; c += V::lanes) winograd_output_tile<V, true>(job, t, c);
    if (c < job.channels) winograd_output_tile<V, false>(job, t, c);
  }
}

// A times the pair (a, b).
template <class V>
ANNX_INLINE V winograd_spread(V a, V b, int row) {
  return row == 0 ? a : row == 1 ? a + b : row == 2 ? a - b : -b;
}

// The gradient of the sums: A g A^T of 2x2 pixels, of which those that do not exist are 0.
template <class V, bool Whole>
ANNX_INLINE void winograd_gradient_tile(const WinogradGradient<typename V::Scalar>& job, int64_t t,
                                        int64_t c, typename V::Scalar* to) {
  using T = typename V::Scalar;
  const int64_t n = job.channels - c;
  const T* g = job.g + 2 * t * job.pixel + c;
  const bool right = 2 * t + 1 < job.cols, below = job.rows > 1;
  const V g00 = load_part<V, Whole>(g, n);
  const V g01 = right ? load_part<V, Whole>(g + job.pixel, n) : zero<V>();
  const V g10 = below ? load_part<V, Whole>(g + job.g_row, n) : zero<V>();
  const V g11 = right && below ? load_part<V, Whole>(g + job.g_row + job.pixel, n) : zero<V>();
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) {
    const V left = winograd_spread(g00, g10, r);
    const V other = winograd_spread(g01, g11, r);
#pragma GCC unroll 4
    for (int s = 0; s < 4; ++s) {
      store(to + (4 * r + s) * job.plane, winograd_spread(left, other, s));
    }
  }
}

template <class V>
static void winograd_gradient(const WinogradGradient<typename V::Scalar>& job) {
  for (int64_t t = 0; t < job.tiles; ++t) {
    typename V::Scalar* to = job.out + t * job.width;
    int64_t left = job.width;  // of the panel
    for (int64_t c = 0; c < job.channels; c += V::lanes) {
      if (c + V::lanes <= job.channels) {
        winograd_gradient_tile<V, true>(job, t, c, to);
      } else {
        winograd_gradient_tile<V, false>(job, t, c, to);
      }
      left -= V::lanes;
      to += V::lanes;
      if (left == 0) {
        to += job.panel_step - job.width;
        left = job.width;
      }
    }
  }
}

// G^T times a column of 4.
template <class V>
ANNX_INLINE void winograd_fold(const V* u, V* w) {
  const V half = splat<V>(0.5);
  const V sum = (u[1] + u[2]) * half;
  w[0] = u[0] + sum;
  w[1] = (u[1] - u[2]) * half;
  w[2] = sum + u[3];
}

// Sums of 16 planes to 9 taps, G^T u G: out[(9 c + tap) width] for the channels c.
template <class V>
static void winograd_weight_gradient(int64_t channels, int64_t width, const typename V::Scalar* u,
                                     int64_t plane, typename V::Scalar* out) {
  for (int64_t c = 0; c < channels; ++c, u += width, out += 9 * width) {
    for (int64_t j = 0; j < width; j += V::lanes) {
      V rows[3][4];
#pragma GCC unroll 4
      for (int s = 0; s < 4; ++s) {
        V column[4];
        V folded[3];
#pragma GCC unroll 4
        for (int r = 0; r < 4; ++r) column[r] = load<V>(u + (4 * r + s) * plane + j);
        winograd_fold(column, folded);
#pragma GCC unroll 3
        for (int r = 0; r < 3; ++r) rows[r][s] = folded[r];
      }
#pragma GCC unroll 3
      for (int r = 0; r < 3; ++r) {
        V taps[3];
        winograd_fold(rows[r], taps);
#pragma GCC unroll 3
        for (int s = 0; s < 3; ++s) store(out + (3 * r + s) * width + j, taps[s]);
      }
    }
  }
}
