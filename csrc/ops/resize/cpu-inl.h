// Weighted sums along one dimension, and their gradient. Lanes run over what lies within a position.

namespace {

template <class V>
void resize_forward(const typename V::Scalar* x, int64_t rows, int64_t size, int64_t inner,
                    const ResizeLine<typename V::Scalar>& line, typename V::Scalar* out) {
  using T = typename V::Scalar;
  constexpr int64_t L = V::lanes;
  for (int64_t r = 0; r < rows; ++r, x += size * inner, out += line.n * inner) {
    if (inner == 1) {
      for (int64_t j = 0; j < line.n; ++j)
        out[j] = line.low_share[j] * x[line.low[j] - line.skip] +
                 line.high_share[j] * x[line.high[j] - line.skip];
      continue;
    }
    for (int64_t j = 0; j < line.n; ++j) {
      const T* a = x + (line.low[j] - line.skip) * inner;
      const T* b = x + (line.high[j] - line.skip) * inner;
      const V p = splat<V>(line.low_share[j]), q = splat<V>(line.high_share[j]);
      T* o = out + j * inner;
      int64_t i = 0;
      for (; i + L <= inner; i += L) store(o + i, p * load<V>(a + i) + q * load<V>(b + i));
      const int64_t n = inner - i;
      if (n > 0) store_n(o + i, p * load_n<V>(a + i, n) + q * load_n<V>(b + i, n), n);
    }
  }
}

// Column i of rows that are size elements long; how many it sums up is the same for all of them.
template <class T>
ANNX_INLINE void resize_back_column(const T* g, int64_t rows, int64_t size, const int32_t* at,
                                    const T* share, int64_t count, int64_t step, T* dx) {
  if (count == 0) {
    for (int64_t r = 0; r < rows; ++r) dx[r * step] = 0;
  } else if (count == 1) {
    for (int64_t r = 0; r < rows; ++r) dx[r * step] = share[0] * g[r * size + at[0]] + 0;
  } else {
    for (int64_t r = 0; r < rows; ++r) {
      const T* row = g + r * size;
      T sum = share[0] * row[at[0]] + share[1] * row[at[1]];
      for (int64_t k = 2; k < count; ++k) sum += share[k] * row[at[k]];
      dx[r * step] = sum + 0;
    }
  }
}

template <class V>
void resize_backward(const typename V::Scalar* g, int64_t rows, int64_t size, int64_t inner,
                     const ResizeBack<typename V::Scalar>& back, typename V::Scalar* dx) {
  using T = typename V::Scalar;
  constexpr int64_t L = V::lanes, kRows = 32;
  if (inner == 1) {
    for (int64_t r = 0; r < rows; r += kRows, g += kRows * size, dx += kRows * back.n) {
      const int64_t count = rows - r < kRows ? rows - r : kRows;
      for (int64_t i = 0; i < back.n; ++i) {
        const int32_t k = back.first[i];
        resize_back_column<T>(g, count, size, back.at + k, back.share + k, back.first[i + 1] - k,
                              back.n, dx + i);
      }
    }
    return;
  }
  for (int64_t r = 0; r < rows; ++r, g += size * inner, dx += back.n * inner) {
    for (int64_t i = 0; i < back.n; ++i) {
      const int64_t first = back.first[i], last = back.first[i + 1];
      T* o = dx + i * inner;
      for (int64_t c = 0; c < inner; c += L) {
        const int64_t n = inner - c < L ? inner - c : L;
        V sum = zero<V>();
        for (int64_t k = first; k < last; ++k) {
          const T* from = g + back.at[k] * inner + c;
          sum = sum + splat<V>(back.share[k]) * (n == L ? load<V>(from) : load_n<V>(from, n));
        }
        if (n == L) {
          store(o + c, sum);
        } else {
          store_n(o + c, sum, n);
        }
      }
    }
  }
}

}  // namespace

extern const ResizeKernels resize_kernels;
const ResizeKernels resize_kernels = {{resize_forward<F32>, resize_backward<F32>},
                                      {resize_forward<F64>, resize_backward<F64>}};
