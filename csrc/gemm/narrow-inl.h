// Tiles of half a vector, for the last columns where no more than that are left. Targets whose ThinSum is
// a whole vector have none.

template <class T>
static constexpr int kNarrow =
    ThinSum<T>::kBlock * static_cast<int>(sizeof(T)) < 64 ? ThinSum<T>::kBlock : 0;
// Enough chains for the latency of fma, and whatever A was packed for.
static constexpr int kNarrowRows = kBlocking.rows > 8 ? kBlocking.rows : 8;

template <class T, int R>
ANNX_NOINLINE void narrow_tile(const GemmTile<T>& tile) {
  ThinSum<T> acc[R];
  alignas(64) T zeros[ThinSum<T>::kBlock];
  for (int j = 0; j < ThinSum<T>::kBlock; ++j) zeros[j] = 0;
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
    acc[i] = ThinSum<T>::load(tile.from_zero ? zeros : tile.c + i * tile.c_rs);
  const T* a = tile.a;
  const T* b = tile.b;
  const int64_t a_rs = tile.a_rs, a_cs = tile.a_cs, b_rs = tile.b_rs;
  for (int64_t p = tile.k; p > 0; --p) {
    const auto row = ThinSum<T>::load(b).v;
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) acc[i].add(a[i * a_rs], row);
    a += a_cs;
    b += b_rs;
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) acc[i].store(tile.c + i * tile.c_rs);
}

template <class T, int R>
ANNX_INLINE void narrow_rows(int64_t rows, const GemmTile<T>& tile) {
  if constexpr (R > 0) {
    if (rows == R) {
      narrow_tile<T, R>(tile);
    } else {
      narrow_rows<T, R - 1>(rows, tile);
    }
  }
}

// All rows of kNarrow columns of B; `cols` of them, from `skip` on, are columns of C.
template <class T>
static void narrow_columns(const GemmBlock<T>& block, const T* b, int64_t b_rs, int64_t skip,
                           int64_t cols, T* c) {
  alignas(64) T edge[kNarrowRows * kNarrow<T>];
  const int64_t at_once = block.a_packed ? kBlocking.rows : kNarrowRows;
  const int64_t count = (block.m + at_once - 1) / at_once;
  GemmTile<T> tile = {block.k, block.a,    block.a_rs,      block.a_cs, b,     b_rs, 0,
                      c,       block.c_rs, block.from_zero, nullptr,    false, {}};
  for (int64_t q = 0; q < count; ++q) {
    const int64_t rows = block.m / count + (q < block.m % count ? 1 : 0);
    if (block.a_packed) {
      tile.a_rs = 1;
      tile.a_cs = rows;
    }
    if (cols == kNarrow<T>) {
      tile.c = c;
      narrow_rows<T, kNarrowRows>(rows, tile);
    } else {
      for (int64_t i = 0; i < rows; ++i) {
        T* row = edge + i * kNarrow<T>;
        for (int j = 0; j < kNarrow<T>; ++j) row[j] = 0;
        if (!block.from_zero) copy_few(c + i * block.c_rs, cols, row + skip);
      }
      tile.c = edge;
      tile.c_rs = kNarrow<T>;
      narrow_rows<T, kNarrowRows>(rows, tile);
      for (int64_t i = 0; i < rows; ++i) {
        copy_few(edge + i * kNarrow<T> + skip, cols, c + i * block.c_rs);
      }
    }
    tile.a += rows * (block.a_packed ? block.k : block.a_rs);
    c += rows * block.c_rs;
  }
}

// The chains of the last `left` columns of a block, where no tile but a narrow one is needed; false if it
// is not so.
template <class V>
static bool narrow_tail(const GemmBlock<typename V::Scalar>& block, int64_t left) {
  using T = typename V::Scalar;
  constexpr int64_t kWidth = kNarrow<T>;
  if constexpr (kWidth > 0) {
    T* c = block.c + block.n - left;
    if (block.b_tail == nullptr) {
      if (left > kWidth) return false;
      const int64_t v = block.n / V::lanes;
      const T* b =
          block.b + v / kBlocking.vectors * block.b_panel + v % kBlocking.vectors * V::lanes;
      narrow_columns(block, b, block.b_rs, 0, left, c);
      return true;
    }
    if (block.tail_in_place) {
      narrow_columns(block, block.b_tail, block.b_tail_rs, 0, kWidth, c);
      left -= kWidth;
      if (left == 0) return true;
    } else if (left > kWidth) {
      return false;
    } else if (!block.tail_overlaps) {
      narrow_columns(block, block.b_tail, block.b_tail_rs, 0, left, c);
      return true;
    }
    // The columns before them are computed again, to the same bits, or left alone.
    const T* b = block.b_tail + (block.tail_in_place ? block.n : V::lanes) - kWidth;
    if (block.from_zero) {
      narrow_columns(block, b, block.b_tail_rs, 0, kWidth, block.c + block.n - kWidth);
    } else {
      narrow_columns(block, b, block.b_tail_rs, kWidth - left, left, block.c + block.n - left);
    }
    return true;
  }
  return false;
}
