// Packing: B into zero-filled panels of whole vectors, A into panels of the tile's rows.

// Rows are shared out evenly, so that no tile is left with one or two rows and too few chains.
struct RowPanels {
  int64_t count, rows, extra;  // the first `extra` panels have one row more

  ANNX_INLINE RowPanels of(int64_t m) {
    const int64_t count = (m + kBlocking.rows - 1) / kBlocking.rows;
    return {count, m / count, m % count};
  }
};

// A is contiguous down its columns (a_rs = 1): out[i0 k + p r + i] for the panel of rows i0 … i0+r-1.
// Whole vectors are stored: what lies over is overwritten by the next row or lands in the spare
// vector at the end.
template <class V>
static void gemm_pack_a(int64_t m, int64_t k, const typename V::Scalar* a, int64_t a_cs,
                        typename V::Scalar* out) {
  const RowPanels panels = RowPanels::of(m);
  for (int64_t q = 0; q < panels.count; ++q) {
    const int64_t rows = panels.rows + (q < panels.extra ? 1 : 0);
    for (int64_t p = 0; p < k; ++p) {
      for (int64_t i = 0; i < rows; i += V::lanes) {
        const int64_t n = rows - i < V::lanes ? rows - i : V::lanes;
        store(out + i, load_n<V>(a + p * a_cs + i, n));
      }
      out += rows;
    }
    a += rows;
  }
}

static constexpr int64_t kPackVectors = 8;

// Rows of several panels at a time: B's rows may be a page apart, and each visit to one should take
// many cache lines.
template <class V>
ANNX_INLINE void pack_b_rows(int64_t k, int64_t cols, const typename V::Scalar* b, int64_t b_rs,
                             int64_t width, int64_t panel, typename V::Scalar* out) {
  const int64_t whole = cols / width * width;
  for (int64_t p = 0; p < k; ++p) {
    typename V::Scalar* row = out;
    for (int64_t j = 0; j < whole; j += width) {
      for (int64_t i = 0; i < width; i += V::lanes) store(row + i, load<V>(b + j + i));
      row += panel;
    }
    if (whole < cols) {
      for (int64_t i = 0; i < width; i += V::lanes) {
        const int64_t left = cols - whole - i;
        const int64_t n = left < 0 ? 0 : left < V::lanes ? left : V::lanes;
        store(row + i, load_n<V>(b + whole + i, n));
      }
    }
    b += b_rs;
    out += width;
  }
}

template <class V>
ANNX_INLINE void pack_b_columns(int64_t k, int64_t cols, const typename V::Scalar* b, int64_t b_cs,
                                int64_t width, typename V::Scalar* out) {
  constexpr int kBlock = kTransposeBlock<typename V::Scalar>;
  const int64_t written = (cols + kBlock - 1) / kBlock * kBlock;
  if (written < width) {
    for (int64_t i = 0; i < k * width; i += V::lanes) store(out + i, zero<V>());
  }
  transpose_padded(cols, k, b, b_cs, out, width, true);
}

template <class T>
ANNX_INLINE void pack_b_any(int64_t k, int64_t cols, const T* b, int64_t b_rs, int64_t b_cs,
                            int64_t width, T* out) {
  for (int64_t p = 0; p < k; ++p) {
    for (int64_t j = 0; j < width; ++j) *out++ = j < cols ? b[p * b_rs + j * b_cs] : T(0);
  }
}

template <class V>
static void gemm_pack_b(int64_t k, int64_t n, const typename V::Scalar* b, int64_t b_rs,
                        int64_t b_cs, int64_t width, int64_t panel, typename V::Scalar* out) {
  int64_t step = width;
  if (b_cs == 1 && width < kPackVectors * V::lanes) step = kPackVectors * V::lanes / width * width;
  for (int64_t j = 0; j < n; j += step) {
    const int64_t cols = n - j < step ? n - j : step;
    const typename V::Scalar* from = b + j * b_cs;
    if (b_cs == 1) {
      pack_b_rows<V>(k, cols, from, b_rs, width, panel, out);
    } else if (b_rs == 1) {
      pack_b_columns<V>(k, cols, from, b_cs, width, out);
    } else {
      pack_b_any(k, cols, from, b_rs, b_cs, width, out);
    }
    out += step / width * panel;
  }
}
