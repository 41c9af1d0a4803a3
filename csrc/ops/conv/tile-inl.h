// The microkernel: R rows of NV vectors of C, accumulated in registers over p. What makes it a
// convolution is how A is read: row i is a pixel's address, offsets[p] leads to a tap's channel.

template <class T>
struct ConvTile {
  int64_t k;
  const T* const* a;
  int64_t a_shift;
  const int64_t* offsets;
  const T* b;
  int64_t b_rs;
  T* const* c;
  int64_t c_shift;
  bool from_zero;
  const T* bias;
};

// Not inlined and with one loop only: GCC would spill the accumulators.
template <class V, int R, int NV>
ANNX_NOINLINE void conv_tile(const ConvTile<typename V::Scalar>& tile) {
  using T = typename V::Scalar;
  V acc[R][NV];
  const T* a[R];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    const T* c = tile.c[i] + tile.c_shift;
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) acc[i][j] = tile.from_zero ? zero<V>() : load<V>(c + j * V::lanes);
    a[i] = tile.a[i] + tile.a_shift;
  }
  const T* b = tile.b;
  const int64_t b_rs = tile.b_rs;
  const int64_t* at = tile.offsets;
  for (const int64_t* end = at + tile.k; at != end; ++at) {
    const int64_t offset = *at;
    V b_row[NV];
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) b_row[j] = load<V>(b + j * V::lanes);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const V a_element = splat<V>(a[i][offset]);
#pragma GCC unroll 2
      for (int j = 0; j < NV; ++j) acc[i][j] = fma(a_element, b_row[j], acc[i][j]);
    }
    b += b_rs;
  }
  if (tile.bias != nullptr) {
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) {
      const V bias = load<V>(tile.bias + j * V::lanes);
#pragma GCC unroll 8
      for (int i = 0; i < R; ++i) acc[i][j] = acc[i][j] + bias;
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    T* c = tile.c[i] + tile.c_shift;
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) store(c + j * V::lanes, acc[i][j]);
  }
}

// The tile whose rows or columns do not all exist goes through a buffer; a missing row repeats the
// last one.
template <class V, int R, int NV>
ANNX_NOINLINE void conv_edge(ConvTile<typename V::Scalar> tile, int64_t rows, int64_t cols) {
  using T = typename V::Scalar;
  constexpr int64_t kWidth = NV * V::lanes;
  alignas(64) T buffer[R * kWidth];
  const T* a[R];
  T* c[R];
  for (int i = 0; i < R; ++i) {
    a[i] = tile.a[i < rows ? i : rows - 1];
    c[i] = buffer + i * kWidth;
    for (int64_t j = 0; j < kWidth; ++j) c[i][j] = 0;
    if (tile.from_zero || i >= rows) continue;
    for (int64_t j = 0; j < cols; ++j) c[i][j] = tile.c[i][tile.c_shift + j];
  }
  T* const* out = tile.c;
  const int64_t shift = tile.c_shift;
  tile.a = a;
  tile.c = c;
  tile.c_shift = 0;
  conv_tile<V, R, NV>(tile);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) out[i][shift + j] = c[i][j];
  }
}

template <class V, int R, int NV>
static void conv_rows(const ConvBlock<typename V::Scalar>& block) {
  ConvTile<typename V::Scalar> tile = {block.k,         block.a,    block.a_shift, block.offsets,
                                       block.b,         block.b_rs, block.c,       block.c_shift,
                                       block.from_zero, block.bias};
  const bool whole = block.cols == NV * V::lanes;
  for (int64_t i = 0; i < block.rows; i += R, tile.a += R, tile.c += R) {
    const int64_t rows = block.rows - i < R ? block.rows - i : R;
    if (whole && rows == R) {
      conv_tile<V, R, NV>(tile);
    } else {
      conv_edge<V, R, NV>(tile, rows, block.cols);
    }
  }
}

// Rows of a tile: as many accumulators as the registers hold beside one row of B.
#if defined(ANNX_TARGET_AVX512)
static constexpr int kConvVectors = 2;
static constexpr int kConvRows = 8;
#elif defined(ANNX_TARGET_SCALAR)
static constexpr int kConvVectors = 1;
static constexpr int kConvRows = 4;
#else
static constexpr int kConvVectors = 1;
static constexpr int kConvRows = 6;
#endif

template <class V>
static void conv_block(const ConvBlock<typename V::Scalar>& block) {
#if defined(ANNX_TARGET_AVX512)
  if (block.vectors == 2) return conv_rows<V, kConvRows, 2>(block);
#endif
  conv_rows<V, kConvRows, 1>(block);
}

template <class V>
static void conv_column_sums(const typename V::Scalar* b, int64_t k, int64_t b_rs, int vectors,
                             typename V::Scalar* out, bool from_zero) {
  // Four chains, so that no addition waits for the one before.
  for (int v = 0; v < vectors; ++v, b += V::lanes, out += V::lanes) {
    V sum[4] = {from_zero ? zero<V>() : load<V>(out), zero<V>(), zero<V>(), zero<V>()};
    int64_t p = 0;
    for (; p + 4 <= k; p += 4) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sum[i] = sum[i] + load<V>(b + (p + i) * b_rs);
    }
    for (; p < k; ++p) sum[0] = sum[0] + load<V>(b + p * b_rs);
    store(out, (sum[0] + sum[1]) + (sum[2] + sum[3]));
  }
}

template <class V>
static void conv_scatter(int64_t pixels, int64_t rows, int64_t length, const typename V::Scalar* t,
                         int64_t t_rs, typename V::Scalar* out, int64_t step, int64_t row) {
  const int64_t whole = length / V::lanes * V::lanes;
  const auto rest = first_n<V>(length - whole);
  for (int64_t i = 0; i < pixels; ++i, t += t_rs, out += step) {
    const typename V::Scalar* from = t;
    typename V::Scalar* to = out;
    // Rows are the inner loop: pixels overlap, and each has to wait for the one before.
    for (int64_t r = 0; r < rows; ++r, from += length, to += row) {
      for (int64_t j = 0; j < whole; j += V::lanes) {
        store(to + j, load<V>(to + j) + load<V>(from + j));
      }
      if (whole < length) {
        const V add = select(rest, load<V>(from + whole), zero<V>());
        store(to + whole, load<V>(to + whole) + add);
      }
    }
  }
}
