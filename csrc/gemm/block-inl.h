// A block of C, tile by tile. B's panel is the outer loop: it stays in L1 while A passes by.

template <class V>
using GemmTileKernel = void (*)(const GemmTile<typename V::Scalar>& tile);

// Tiles that exist: one vector, the full tile's vectors, the widest, and powers of 2 for one row.
static constexpr bool tile_exists(int rows, int vectors) {
  if (rows > kBlocking.rows || vectors > kBlocking.wide[rows]) return false;
  return vectors == 1 || vectors == kBlocking.vectors || vectors == kBlocking.wide[rows] ||
         (rows == 1 && (vectors & (vectors - 1)) == 0);
}
// Only float32 has tiles that fetch into L1.
template <class V, int R, int NV, bool Near>
static constexpr GemmTileKernel<V> tile_kernel() {
  if constexpr (tile_exists(R, NV)) {
    return gemm_tile < V, R, NV, Near && sizeof(typename V::Scalar) == 4 > ;
  } else {
    return nullptr;
  }
}

#define ANNX_TILE_ROW(R)         \
  {nullptr,                      \
   tile_kernel<V, R, 1, Near>(), \
   tile_kernel<V, R, 2, Near>(), \
   tile_kernel<V, R, 3, Near>(), \
   tile_kernel<V, R, 4, Near>(), \
   tile_kernel<V, R, 5, Near>(), \
   tile_kernel<V, R, 6, Near>(), \
   tile_kernel<V, R, 7, Near>(), \
   tile_kernel<V, R, 8, Near>()}
template <class V, bool Near = false>
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

// Chains that take longer than what is fetched meanwhile.
static constexpr int64_t kFetchAhead = 64;

// The part of a tile whose loop over k branches `times` times.
template <class T>
ANNX_INLINE void fetch_some(GemmFetch& fetch, int64_t times, GemmTile<T>& tile) {
  tile.fetch_step = 0;
  if (fetch.run == fetch.end || times == 0) return;
  const GemmRun& run = *fetch.run;
  tile.fetch = static_cast<const char*>(run.at) + fetch.row * run.stride + fetch.done;
  if (run.rows > 1) {
    // A line of each of the next rows.
    tile.fetch_step = run.stride;
    fetch.row += times;
    if (fetch.row < run.rows) return;
    fetch.row = 0;
    fetch.done += 64;
  } else {
    const int64_t rest = run.bytes - fetch.done, share = fetch.step != 0 ? fetch.step : 64 * times;
    const int64_t n = rest < share ? rest : share;
    tile.fetch_step = (n + times - 1) / times;
    fetch.done += n;
  }
  if (fetch.done >= run.bytes) ++fetch.run, fetch.done = 0;
}

// All rows of `vectors` panels of columns. Of the first panel's columns the first `skip` are left
// alone, `cols` after them exist; the rest goes through a buffer. `column` is that of c.
template <class V>
static void block_columns(const GemmBlock<typename V::Scalar>& block, RowPanels panels,
                          const typename V::Scalar* b, int64_t b_rs, int vectors, int64_t skip,
                          int64_t cols, int64_t column) {
  using T = typename V::Scalar;
  T* c = block.c + column;
  const T* bias = block.bias == nullptr ? nullptr : block.bias + column;
  GemmOther<T> other = block.other;
  if (other.data != nullptr) other.data += column;
  const int64_t width = vectors * V::lanes;
  alignas(64) T edge[kGemmMaxRows * kGemmMaxVectors * V::lanes];
  alignas(64) T edge_bias[kGemmMaxVectors * V::lanes];
  if (bias != nullptr && cols != width) {
    for (int64_t j = 0; j < width; j += V::lanes) store(edge_bias + j, zero<V>());
    copy_few(bias, cols, edge_bias + skip);
    bias = edge_bias;
  }
  const bool ahead = block.a_far && c == block.c && block.a_cs == 1;
  GemmTile<T> tile = {block.k, block.a,       block.a_rs, block.a_cs, b,
                      b_rs,    block.b_panel, c,          block.c_rs, block.from_zero,
                      bias,    block.relu,    {}};
  tile.fetch = reinterpret_cast<const char*>(b);
  for (int64_t q = 0; q < panels.count; ++q) {
    const int64_t rows = panels.rows + (q < panels.extra ? 1 : 0);
    if (block.a_packed) {
      tile.a_rs = 1;
      tile.a_cs = rows;
    }
    const bool near = block.next != nullptr && block.next->near;
    const GemmTileKernel<V> kernel =
        near ? kTiles<V, true>[rows][vectors] : kTiles<V>[rows][vectors];
    if (block.next != nullptr)
      fetch_some(*block.next, block.k / tile_steps(static_cast<int>(rows), vectors), tile);
    if (!block.at_hand && block.k >= kFetchAhead) {
      // C arrives while the chains run, and the next rows of A before they begin.
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < cols; j += V::lanes) __builtin_prefetch(c + i * block.c_rs + j, 1);
        for (int64_t j = 0; other.data != nullptr && j < cols; j += V::lanes)
          __builtin_prefetch(other.data + i * other.rs + j);
      }
      if (ahead && q + 1 < panels.count) {
        const T* next = tile.a + rows * (block.a_packed ? block.k : block.a_rs);
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t p = 0; p < block.k; p += V::lanes)
            __builtin_prefetch(next + i * block.a_rs + p);
        }
      }
    }
    if (cols == width) {
      tile.c = c;
      tile.other = other;
      kernel(tile);
    } else {
      if (!block.from_zero) {
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < width; j += V::lanes) store(edge + i * width + j, zero<V>());
          copy_few(c + i * block.c_rs, cols, edge + i * width + skip);
        }
      }
      tile.c = edge;
      tile.c_rs = width;
      kernel(tile);
      for (int64_t i = 0; i < rows; ++i) {
        copy_few(edge + i * width + skip, cols, c + i * block.c_rs);
      }
      if (other.data != nullptr)
        gemm_combine<V>({rows, cols, c, block.c_rs, 1, nullptr, Activation::none, other});
    }
    tile.a += rows * (block.a_packed ? block.k : block.a_rs);
    c += rows * block.c_rs;
    if (other.data != nullptr) other.data += rows * other.rs;
  }
}

template <class V>
static void gemm_block(const GemmBlock<typename V::Scalar>& block) {
  const RowPanels panels = RowPanels::of(block.m);
  int64_t count = block.n / V::lanes;
  const int64_t rest = block.n - count * V::lanes;
  const bool narrow = rest > 0 && narrow_tail<V>(block, rest);
  if (!narrow && block.b_tail == nullptr) count = (block.n + V::lanes - 1) / V::lanes;
  // Tiles of more than one vector begin with a panel: all but the last hold whole panels.
  int64_t v = 0;
  while (v < count) {
    int vectors = static_cast<int>(count - v < block.vectors ? count - v : block.vectors);
    while (kTiles<V>[panels.rows][vectors] == nullptr) --vectors;
    const int64_t left = block.n - v * V::lanes;
    const int64_t cols = left < vectors * V::lanes ? left : vectors * V::lanes;
    const auto* b =
        block.b + v / kBlocking.vectors * block.b_panel + v % kBlocking.vectors * V::lanes;
    block_columns<V>(block, panels, b, block.b_rs, vectors, 0, cols, v * V::lanes);
    v += vectors;
  }
  const int64_t left = block.n - v * V::lanes;
  if (narrow && (block.bias != nullptr || block.relu || block.other.data != nullptr)) {
    const int64_t at = v * V::lanes;
    auto other = block.other;
    if (other.data != nullptr) other.data += at;
    gemm_epilogue<V>({block.m, left, block.c + at, block.c_rs, 1,
                      block.bias == nullptr ? nullptr : block.bias + at,
                      block.relu ? Activation::relu : Activation::none, other});
  }
  if (left <= 0 || narrow) return;
  const int64_t skip = block.tail_overlaps ? V::lanes - left : 0;
  if (skip > 0 && block.from_zero) {
    // The columns of the panel before are computed again, to the same bits.
    block_columns<V>(block, panels, block.b_tail, block.b_tail_rs, 1, 0, V::lanes,
                     block.n - V::lanes);
  } else {
    block_columns<V>(block, panels, block.b_tail, block.b_tail_rs, 1, skip, left, v * V::lanes);
  }
}
