// A block of C, tile by tile. B's panel is the outer loop: it stays in L1 while A passes by.

template <class V>
using GemmTileKernel = void (*)(const GemmTile<typename V::Scalar>& tile);

// Tiles that exist: one vector, the full tile's vectors, the widest, and powers of 2 for one row.
static constexpr bool tile_exists(int rows, int vectors) {
  if (rows > kBlocking.rows || vectors > kBlocking.wide[rows]) return false;
  return vectors == 1 || vectors == kBlocking.vectors || vectors == kBlocking.wide[rows] ||
         (rows == 1 && (vectors & (vectors - 1)) == 0);
}
template <class V, int R, int NV>
static constexpr GemmTileKernel<V> tile_kernel() {
  if constexpr (tile_exists(R, NV)) {
    return gemm_tile<V, R, NV>;
  } else {
    return nullptr;
  }
}

#define ANNX_TILE_ROW(R)   \
  {nullptr,                \
   tile_kernel<V, R, 1>(), \
   tile_kernel<V, R, 2>(), \
   tile_kernel<V, R, 3>(), \
   tile_kernel<V, R, 4>(), \
   tile_kernel<V, R, 5>(), \
   tile_kernel<V, R, 6>(), \
   tile_kernel<V, R, 7>(), \
   tile_kernel<V, R, 8>()}
template <class V>
static constexpr GemmTileKernel<V> kTiles[kGemmMaxRows + 1][kGemmMaxVectors + 1] = {
    {},
    ANNX_TILE_ROW(1),
    ANNX_TILE_ROW(2),
    ANNX_TILE_ROW(3),
    ANNX_TILE_ROW(4),
    ANNX_TILE_ROW(5),
    ANNX_TILE_ROW(6),
    ANNX_TILE_ROW(7),
    ANNX_TILE_ROW(8),
    ANNX_TILE_ROW(9),
    ANNX_TILE_ROW(10),
    ANNX_TILE_ROW(11),
    ANNX_TILE_ROW(12)};
#undef ANNX_TILE_ROW

// All rows of `vectors` vectors of columns, of which `cols` columns exist.
template <class V>
static void block_columns(const GemmBlock<typename V::Scalar>& block, RowPanels panels,
                          const typename V::Scalar* b, int64_t b_rs, int vectors, int64_t cols,
                          typename V::Scalar* c) {
  using T = typename V::Scalar;
  const int64_t width = vectors * V::lanes;
  alignas(64) T edge[kGemmMaxRows * kGemmMaxVectors * V::lanes];
  GemmTile<T> tile = {block.k, block.a, block.a_rs, block.a_cs,     b,
                      b_rs,    c,       block.c_rs, block.from_zero};
  for (int64_t q = 0; q < panels.count; ++q) {
    const int64_t rows = panels.rows + (q < panels.extra ? 1 : 0);
    if (block.a_packed) {
      tile.a_rs = 1;
      tile.a_cs = rows;
    }
    const GemmTileKernel<V> kernel = kTiles<V>[rows][vectors];
    if (cols == width) {
      tile.c = c;
      kernel(tile);
    } else {
      if (!block.from_zero) {
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < width; j += V::lanes) store(edge + i * width + j, zero<V>());
          copy_few(c + i * block.c_rs, cols, edge + i * width);
        }
      }
      tile.c = edge;
      tile.c_rs = width;
      kernel(tile);
      for (int64_t i = 0; i < rows; ++i) copy_few(edge + i * width, cols, c + i * block.c_rs);
    }
    tile.a += rows * (block.a_packed ? block.k : block.a_rs);
    c += rows * block.c_rs;
  }
}

template <class V>
static void gemm_block(const GemmBlock<typename V::Scalar>& block) {
  using T = typename V::Scalar;
  const RowPanels panels = RowPanels::of(block.m);
  const int64_t width = block.vectors * V::lanes;
  for (int64_t j = 0; j < block.n; j += width) {
    const T* b = block.b + j / width * block.b_panel;
    T* c = block.c + j;
    const int64_t cols = block.n - j < width ? block.n - j : width;
    // In a packed panel the last vector is there in full and goes with its neighbours.
    const bool padded = block.b_tail == nullptr;
    const int64_t count = padded ? (cols + V::lanes - 1) / V::lanes : cols / V::lanes;
    int64_t v = 0;
    while (v < count) {
      int vectors = static_cast<int>(count - v);
      while (kTiles<V>[panels.rows][vectors] == nullptr) --vectors;
      const int64_t left = cols - v * V::lanes;
      const int64_t tile_cols = left < vectors * V::lanes ? left : vectors * V::lanes;
      block_columns<V>(block, panels, b + v * V::lanes, block.b_rs, vectors, tile_cols,
                       c + v * V::lanes);
      v += vectors;
    }
    const int64_t left = cols - v * V::lanes;
    if (left > 0) {
      block_columns<V>(block, panels, block.b_tail, block.b_tail_rs, 1, left, c + v * V::lanes);
    }
  }
}
