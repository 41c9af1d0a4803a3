// Winograd F(4x4, 3x3): 36 products for 16 pixels where taps take 144. The six points at which
// polynomials are multiplied are 0, a, -a, b, -b and infinity:
//
//   B^T = ab  0 -s  0  1  0    G = 1/ab                   A^T = 1  1   1  1   1  0
//         0 -ab2 -b2 a  1  0       (1  a  a2) / na              0  a  -a  b  -b  0
//         0  ab2 -b2 -a 1  0       (1 -a  a2) / na              0  a2 a2  b2 b2  0
//         0 -ba2 -a2 b  1  0       (1  b  b2) / nb              0  a3 -a3 b3 -b3 1
//         0  ba2 -a2 -b 1  0       (1 -b  b2) / nb
//         0  ab  0 -s  0  1         0  0  1
//
// where ab is a2 b2 and s is a2 + b2. With a = 11/16 and b = 3/2 every factor of B and A is exact and the
// error is half of that with the usual 1 and 2 (docs/decisions/0037-winograd-f43-when-asked.md).

struct F43 {
  static constexpr double a = 11.0 / 16, b = 3.0 / 2;
  static constexpr double a2 = a * a, b2 = b * b, a3 = a2 * a, b3 = b2 * b;
  static constexpr double product = a2 * b2, sum = a2 + b2;
  static constexpr double na = 2 * a2 * (a2 - b2), nb = 2 * b2 * (b2 - a2);
};

// B^T d
template <class V>
ANNX_INLINE void f43_source(const V* d, V* v) {
  const V odd_a = fma(d[1], splat<V>(-F43::b2), d[3]);
  const V odd_b = fma(d[1], splat<V>(-F43::a2), d[3]);
  v[5] = fma(d[1], splat<V>(F43::product), fma(d[3], splat<V>(-F43::sum), d[5]));
  const V even_a = fma(d[2], splat<V>(-F43::b2), d[4]);
  const V even_b = fma(d[2], splat<V>(-F43::a2), d[4]);
  v[0] = fma(d[0], splat<V>(F43::product), fma(d[2], splat<V>(-F43::sum), d[4]));
  v[1] = fma(odd_a, splat<V>(F43::a), even_a);
  v[2] = fma(odd_a, splat<V>(-F43::a), even_a);
  v[3] = fma(odd_b, splat<V>(F43::b), even_b);
  v[4] = fma(odd_b, splat<V>(-F43::b), even_b);
}

// A^T m
template <class V>
ANNX_INLINE void f43_sums(const V* m, V* y) {
  const V sum_a = m[1] + m[2], odd_a = m[1] - m[2];
  const V sum_b = m[3] + m[4], odd_b = m[3] - m[4];
  y[0] = m[0] + sum_a + sum_b;
  y[1] = fma(odd_b, splat<V>(F43::b), odd_a * splat<V>(F43::a));
  y[2] = fma(sum_b, splat<V>(F43::b2), sum_a * splat<V>(F43::a2));
  y[3] = fma(odd_b, splat<V>(F43::b3), fma(odd_a, splat<V>(F43::a3), m[5]));
}

// G g
template <class V>
ANNX_INLINE void f43_taps(const V* g, V* u) {
  const V even_a = fma(g[2], splat<V>(F43::a2 / F43::na), g[0] * splat<V>(1 / F43::na));
  const V even_b = fma(g[2], splat<V>(F43::b2 / F43::nb), g[0] * splat<V>(1 / F43::nb));
  u[0] = g[0] * splat<V>(1 / F43::product);
  u[1] = fma(g[1], splat<V>(F43::a / F43::na), even_a);
  u[2] = fma(g[1], splat<V>(-F43::a / F43::na), even_a);
  u[3] = fma(g[1], splat<V>(F43::b / F43::nb), even_b);
  u[4] = fma(g[1], splat<V>(-F43::b / F43::nb), even_b);
  u[5] = g[2];
}

template <class V>
static void winograd_f43_weight(int64_t channels, int64_t width, const typename V::Scalar* w,
                                typename V::Scalar* out, int64_t plane) {
  using T = typename V::Scalar;
  for (int64_t c = 0; c < channels; ++c, w += 9 * width) {
    for (int64_t j = 0; j < width; j += V::lanes) {
      V rows[3][6];  // by column of taps
#pragma GCC unroll 3
      for (int s = 0; s < 3; ++s) {
        V g[3];
#pragma GCC unroll 3
        for (int r = 0; r < 3; ++r) g[r] = load<V>(w + (3 * r + s) * width + j);
        f43_taps(g, rows[s]);
      }
      T* to = out + c * width + j;
      for (int r = 0; r < 6; ++r, to += 6 * plane) {
        const V g[3] = {rows[0][r], rows[1][r], rows[2][r]};
        V u[6];
        f43_taps(g, u);
#pragma GCC unroll 6
        for (int s = 0; s < 6; ++s) store(to + s * plane, u[s]);
      }
    }
  }
}

// Columns first, into a buffer that stays in L1: neighbouring tiles share two of them.
template <class V, bool Whole>
ANNX_INLINE void winograd_f43_input_part(const WinogradInput<typename V::Scalar>& job, int64_t c) {
  using T = typename V::Scalar;
  constexpr int64_t kTiles = 8, kColumn = 6 * V::lanes;
  alignas(64) T columns[(4 * kTiles + 2) * kColumn];
  const int64_t n = job.channels - c, step = job.channels;
  const T* x = job.x + c;
  T* out = job.out + c / V::lanes * job.vector_step;
  for (int64_t first = 0; first < job.tiles; first += kTiles) {
    const int64_t count = job.tiles - first < kTiles ? job.tiles - first : kTiles;
    T* column = columns;
    for (int64_t i = 0; i < 4 * count + 2; ++i, column += kColumn) {
      const T* pixel = x + i * step;
      V d[6], v[6];
#pragma GCC unroll 6
      for (int r = 0; r < 6; ++r) d[r] = load_part<V, Whole>(pixel + r * job.x_row, n);
      f43_source(d, v);
#pragma GCC unroll 6
      for (int r = 0; r < 6; ++r) store(column + r * V::lanes, v[r]);
    }
    x += 4 * count * step;
    column = columns;
    for (int64_t t = 0; t < count; ++t, column += 4 * kColumn, out += job.tile_step) {
      T* to = out;
      for (int r = 0; r < 6; ++r, to += 6 * job.plane) {
        V d[6], v[6];
#pragma GCC unroll 6
        for (int s = 0; s < 6; ++s) d[s] = load<V>(column + s * kColumn + r * V::lanes);
        f43_source(d, v);
#pragma GCC unroll 6
        for (int s = 0; s < 6; ++s) store_part<V, Whole>(to + s * job.plane, v[s], n);
      }
    }
  }
}

template <class V>
static void winograd_f43_input(const WinogradInput<typename V::Scalar>& job) {
  int64_t c = 0;
  for (; c + V::lanes <= job.channels; c += V::lanes) winograd_f43_input_part<V, true>(job, c);
  if (c < job.channels) winograd_f43_input_part<V, false>(job, c);
}

template <class V, bool Whole>
ANNX_INLINE void winograd_f43_output_tile(const WinogradOutput<typename V::Scalar>& job, int64_t t,
                                          int64_t c) {
  using T = typename V::Scalar;
  const int64_t n = job.channels - c, plane = job.plane;
  const T* from = job.m + t * job.channels + c;
  alignas(64) T rows[4 * 6 * V::lanes];
  for (int s = 0; s < 6; ++s, from += plane) {
    V m[6], y[4];
#pragma GCC unroll 6
    for (int r = 0; r < 6; ++r) m[r] = load_part<V, Whole>(from + 6 * r * plane, n);
    f43_sums(m, y);
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) store(rows + (6 * r + s) * V::lanes, y[r]);
  }
  const int64_t cols = job.cols - 4 * t;
  T* to = job.y + 4 * t * job.channels + c;
  for (int64_t r = 0; r < job.rows; ++r, to += job.y_row) {
    V m[6], y[4];
#pragma GCC unroll 6
    for (int s = 0; s < 6; ++s) m[s] = load<V>(rows + (6 * r + s) * V::lanes);
    f43_sums(m, y);
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      if (q < cols) store_part<V, Whole>(to + q * job.channels, y[q], n);
    }
  }
}

template <class V>
static void winograd_f43_output(const WinogradOutput<typename V::Scalar>& job) {
  for (int64_t t = 0; t < job.tiles; ++t) {
    int64_t c = 0;
    for (; c + V::lanes <= job.channels; c += V::lanes)
      winograd_f43_output_tile<V, true>(job, t, c);
    if (c < job.channels) winograd_f43_output_tile<V, false>(job, t, c);
  }
}
