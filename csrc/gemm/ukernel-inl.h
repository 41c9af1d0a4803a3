// The microkernel: a tile of C of R rows and NV vectors, accumulated in registers over k.

template <class T>
struct GemmTile {
  int64_t k;
  const T* a;
  int64_t a_rs, a_cs;
  const T* b;
  int64_t b_rs;
  T* c;
  int64_t c_rs;
  bool from_zero;
};

// One loop over k and nothing else in it: a second loop (unrolling by hand) makes GCC spill the
// accumulators. A is read by its strides, so packed and unpacked A take the same code.
template <class V, int R, int NV>
ANNX_NOINLINE void gemm_tile(const GemmTile<typename V::Scalar>& tile) {
  using T = typename V::Scalar;
  V acc[R][NV];
  if (tile.from_zero) {
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) acc[i][j] = zero<V>();
    }
  } else {
    const T* c = tile.c;
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) acc[i][j] = load<V>(c + j * V::lanes);
      c += tile.c_rs;
    }
  }
  const T* a = tile.a;
  const T* b = tile.b;
  const int64_t a_rs = tile.a_rs;
  const int64_t a_cs = tile.a_cs;
  const int64_t b_rs = tile.b_rs;
  for (int64_t p = tile.k; p > 0; --p) {
    V b_row[NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) b_row[j] = load<V>(b + j * V::lanes);
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const V a_element = splat<V>(a[i * a_rs]);
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) acc[i][j] = fma(a_element, b_row[j], acc[i][j]);
    }
    a += a_cs;
    b += b_rs;
  }
  T* c = tile.c;
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) store(c + j * V::lanes, acc[i][j]);
    c += tile.c_rs;
  }
}
