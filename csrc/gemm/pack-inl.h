// Packing: B into zero-filled panels of one vector, A into panels of the tile's rows.

// Panels of A whose rows are read together, and so ahead of their use.
static constexpr int64_t kPackPanels = 64;

// Rows are shared out evenly over tiles, as in plan.h.
struct RowPanels {
  int64_t count, rows, extra;  // the first `extra` panels have one row more

  ANNX_INLINE RowPanels of(int64_t m) {
    const int64_t count = (m + kBlocking.rows - 1) / kBlocking.rows;
    return {count, m / count, m % count};
  }
};

// Columns of A at a time: what one panel gets of them fills whole cache lines. Panels are often a page
// apart, where lines filled little by little would push one another out of L1.
static constexpr int64_t kPackAColumns = 8;
// Columns, or rows of B, fetched ahead: they lie too far apart for the machine to see what comes next.
static constexpr int64_t kPackAhead = 16;

template <class T, int R>
ANNX_INLINE void pack_a_columns(int64_t panels, int64_t columns, int64_t k, const T* a,
                                int64_t a_cs, T* out) {
  for (int64_t q = 0; q < panels; ++q) {
    const T* from = a + q * R;
    T* to = out + q * R * k;
    for (int64_t p = 0; p < columns; ++p) {
      __builtin_prefetch(from + kPackAhead * a_cs);
      __builtin_memcpy(to, from, R * sizeof(T));
      from += a_cs;
      to += R;
    }
  }
}

// `panels` panels of R rows whose columns are contiguous: each visit to a column, which may be a page
// from the one before, takes all of its cache lines.
template <class T, int R>
ANNX_NOINLINE void pack_a_panels(int64_t panels, int64_t k, const T* a, int64_t a_cs, T* out) {
  int64_t p = 0;
  for (; p + kPackAColumns <= k; p += kPackAColumns) {
    pack_a_columns<T, R>(panels, kPackAColumns, k, a + p * a_cs, a_cs, out + p * R);
  }
  pack_a_columns<T, R>(panels, k - p, k, a + p * a_cs, a_cs, out + p * R);
}
template <class T, int R>
ANNX_INLINE void pack_a_rows(int64_t rows, int64_t panels, int64_t k, const T* a, int64_t a_cs,
                             T* out) {
  if constexpr (R > 0) {
    if (rows == R) {
      pack_a_panels<T, R>(panels, k, a, a_cs, out);
    } else {
      pack_a_rows<T, R - 1>(rows, panels, k, a, a_cs, out);
    }
  }
}

// Rows of one panel that are contiguous (a_cs = 1), through squares of kTransposeBlock: what a square
// writes beyond the panel's rows is overwritten by the next k, or lands in the spare block at the end.
template <class T>
ANNX_INLINE void pack_a_across(int64_t rows, int64_t left, int64_t k, const T* a, int64_t a_rs,
                               T* out) {
  constexpr int kBlock = kTransposeBlock<T>;
  for (int64_t i = 0; i < rows; i += kBlock) {
    // The last square is moved back over rows that are done already, if there are any.
    const int64_t first = rows < kBlock || i + kBlock <= rows ? i : rows - kBlock;
    const bool whole = first + kBlock <= left;
    const T* from = a + first * a_rs;
    T* to = out + first;
    int64_t p = 0;
    if (whole) {
      for (; p + kBlock <= k; p += kBlock) transpose_block(from + p, a_rs, to + p * rows, rows);
    }
    for (; p < k; p += kBlock) {
      const int64_t rest = k - p < kBlock ? k - p : kBlock;
      const int64_t down = left - first < kBlock ? left - first : kBlock;
      transpose_edge(down, rest, from + p, a_rs, to + p * rows, rows, true);
    }
  }
}

// A into row panels: out[i0 k + p r + i] for the panel of rows i0 … i0+r-1. One stride is 1.
template <class T>
static void gemm_pack_a(int64_t m, int64_t k, const T* a, int64_t a_rs, int64_t a_cs, T* out) {
  const RowPanels panels = RowPanels::of(m);
  if (a_rs == 1) {
    for (int64_t q = 0; q < panels.count;) {
      const int64_t alike = q < panels.extra ? panels.extra : panels.count;
      const int64_t count = alike - q < kPackPanels ? alike - q : kPackPanels;
      const int64_t rows = panels.rows + (q < panels.extra ? 1 : 0);
      pack_a_rows<T, kBlocking.rows>(rows, count, k, a, a_cs, out);
      a += count * rows;
      out += count * rows * k;
      q += count;
    }
    return;
  }
  int64_t left = m;
  for (int64_t q = 0; q < panels.count; ++q) {
    const int64_t rows = panels.rows + (q < panels.extra ? 1 : 0);
    pack_a_across(rows, left, k, a, a_rs, out);
    a += rows * a_rs;
    out += rows * k;
    left -= rows;
  }
}

static constexpr int64_t kPackVectors = 8;

// Rows of several panels at a time: B's rows may be a page apart, and each visit to one should take
// many cache lines.
template <class V, int NV>
ANNX_INLINE void pack_b_rows(int64_t k, int64_t cols, const typename V::Scalar* b, int64_t b_rs,
                             int64_t panel, typename V::Scalar* out) {
  constexpr int64_t kWidth = NV * V::lanes;
  const int64_t whole = cols / kWidth * kWidth;
  for (int64_t p = 0; p < k; ++p) {
    typename V::Scalar* row = out;
    for (int64_t j = 0; j < whole; j += kWidth) {
#pragma GCC unroll 8
      for (int64_t i = 0; i < kWidth; i += V::lanes) {
        __builtin_prefetch(b + kPackAhead * b_rs + j + i);
        store(row + i, load<V>(b + j + i));
      }
      row += panel;
    }
    if (whole < cols) {
      for (int64_t i = 0; i < kWidth; i += V::lanes) {
        const int64_t left = cols - whole - i;
        const int64_t n = left < 0 ? 0 : left < V::lanes ? left : V::lanes;
        store(row + i, load_n<V>(b + whole + i, n));
      }
    }
    b += b_rs;
    out += kWidth;
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

template <class V>
static void gemm_pack_b(int64_t k, int64_t n, const typename V::Scalar* b, int64_t b_rs,
                        int64_t b_cs, int64_t width, int64_t panel, typename V::Scalar* out) {
  const int64_t step = b_cs == 1 ? kPackVectors * V::lanes : width;
  for (int64_t j = 0; j < n; j += step) {
    const int64_t cols = n - j < step ? n - j : step;
    const typename V::Scalar* from = b + j * b_cs;
    if (b_cs == 1 && width == V::lanes) {
      pack_b_rows<V, 1>(k, cols, from, b_rs, panel, out);
    } else if (b_cs == 1) {
      pack_b_rows<V, kBlocking.vectors>(k, cols, from, b_rs, panel, out);
    } else if (b_rs == 1) {
      pack_b_columns<V>(k, cols, from, b_cs, width, out);
    } else {
      for (int64_t i = 0; i < k * width; ++i) {
        const int64_t column = i % width;
        out[i] = column < cols ? from[i / width * b_rs + column * b_cs] : 0;
      }
    }
    out += step / width * panel;
  }
}
