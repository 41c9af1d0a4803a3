// The microkernel: a tile of C of R rows and NV vectors, accumulated in registers over k.

template <class T>
struct GemmTile {
  int64_t k;
  const T* a;
  int64_t a_rs, a_cs;
  const T* b;
  int64_t b_rs, b_panel;  // from row to row, and from panel to panel of kBlocking.vectors vectors
  T* c;
  int64_t c_rs;
  bool from_zero;
  const T* bias;  // of the tile's columns, or null
  bool relu;
  GemmOther<T> other;
  // Memory that is asked for, fetch_step bytes on from branch to branch: spread over the chains it takes
  // no time, while a few dozen lines at once hold up the loads of the operands. Step 0 is free as well.
  const char* fetch = nullptr;
  int64_t fetch_step = 0;
};

// GCC would load all of A's elements ahead of the products and so run out of the 32 registers.
#if defined(ANNX_TARGET_NEON)
#define ANNX_KEEP_LOADS_IN_ORDER() asm volatile("" ::: "memory")
#else
#define ANNX_KEEP_LOADS_IN_ORDER()
#endif

// Elements of k between two branches. AVX2's tiles of 5 rows need 10 products an element and take 10.5
// with one element at a time (111 GFLOP/s, 116 with two; four are slower). With 3 x 2 sums GCC would run
// out of registers; AVX-512 loses a little.
static constexpr int tile_steps([[maybe_unused]] int rows, [[maybe_unused]] int vectors) {
#if defined(ANNX_TARGET_AVX2)
  return 2 * vectors <= rows ? 2 : 1;
#else
  return 1;
#endif
}

// One element of k: a row of B into all chains.
template <class V, int R, int NV>
ANNX_INLINE void gemm_step(V (&acc)[R][NV], const typename V::Scalar* a, int64_t a_rs,
                           const typename V::Scalar* b, int64_t b_panel) {
  if constexpr (2 * NV <= R) {
    V b_row[NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j)
      b_row[j] = load<V>(b + j / kBlocking.vectors * b_panel + j % kBlocking.vectors * V::lanes);
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      ANNX_KEEP_LOADS_IN_ORDER();
      const V a_element = splat<V>(a[i * a_rs]);
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) acc[i][j] = fma(a_element, b_row[j], acc[i][j]);
    }
  } else {
    // Wide tiles keep the few elements of A in registers instead of the row of B.
    V a_column[R];
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) a_column[i] = splat<V>(a[i * a_rs]);
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) {
      ANNX_KEEP_LOADS_IN_ORDER();
      const V b_element =
          load<V>(b + j / kBlocking.vectors * b_panel + j % kBlocking.vectors * V::lanes);
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) acc[i][j] = fma(a_column[i], b_element, acc[i][j]);
    }
  }
}

template <class V, int R, int NV, class F>
ANNX_INLINE void combine_tile(V (&acc)[R][NV], const GemmOther<typename V::Scalar>& other,
                              F combine) {
  const typename V::Scalar* row = other.data;
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) acc[i][j] = combine(acc[i][j], load<V>(row + j * V::lanes));
    row += other.rs;
  }
}

// One loop over k and nothing else in it: a second loop makes GCC spill the accumulators. A is read by
// its strides, so packed and unpacked A take the same code. What is fetched goes into L1 if Near, else into L2.
template <class V, int R, int NV, bool Near>
ANNX_NOINLINE void gemm_tile(const GemmTile<typename V::Scalar>& tile) {
  using T = typename V::Scalar;
  V acc[R][NV];
  const int64_t c_rs = tile.c_rs;
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
      c += c_rs;
    }
  }
  const T* a = tile.a;
  const T* b = tile.b;
  const int64_t a_rs = tile.a_rs;
  const int64_t a_cs = tile.a_cs;
  const int64_t b_rs = tile.b_rs;
  const int64_t b_panel = tile.b_panel;
  constexpr int kSteps = tile_steps(R, NV);
  int64_t p = tile.k;
  if (p % kSteps != 0) {
    gemm_step<V, R, NV>(acc, a, a_rs, b, b_panel);
    a += a_cs;
    b += b_rs;
  }
  const char* fetch = tile.fetch;
  const int64_t fetch_step = tile.fetch_step;
  for (p /= kSteps; p > 0; --p) {
    __builtin_prefetch(fetch, 0, Near ? 3 : 2);
    fetch += fetch_step;
#pragma GCC unroll 2
    for (int i = 0; i < kSteps; ++i) {
      gemm_step<V, R, NV>(acc, a, a_rs, b, b_panel);
      a += a_cs;
      b += b_rs;
    }
  }
  if (tile.bias != nullptr) {
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) {
      const V bias = load<V>(tile.bias + j * V::lanes);
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) acc[i][j] = acc[i][j] + bias;
    }
  }
  if (tile.relu) {
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) acc[i][j] = activation_relu(acc[i][j]);
    }
  }
  if (tile.other.how == GemmCombine::add) combine_tile<V, R, NV>(acc, tile.other, CombineAdd{});
  if (tile.other.how == GemmCombine::multiply)
    combine_tile<V, R, NV>(acc, tile.other, CombineMultiply{});
  T* c = tile.c;
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) store(c + j * V::lanes, acc[i][j]);
    c += c_rs;
  }
}
#undef ANNX_KEEP_LOADS_IN_ORDER
