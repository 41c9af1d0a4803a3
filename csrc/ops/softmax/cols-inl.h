// Softmax down columns: the passes of rows-inl.h over blocks of columns whose state stays in L1.

namespace {

constexpr int64_t kBlock = 128;       // columns of a block
constexpr int64_t kPartialRows = 64;  // rows added before the partial goes into the total

// Adds up values row by row; add() in ascending rows, then result().
template <class V>
struct ColumnSums {
  alignas(64) typename V::Scalar part[kBlock];
  alignas(64) typename V::Scalar total[kBlock];

  ANNX_INLINE_MEMBER void start(int64_t j) {
    store(part + j, zero<V>());
    store(total + j, zero<V>());
  }
  ANNX_INLINE_MEMBER void add(int64_t row, int64_t j, V v) {
    const V sum = load<V>(part + j) + v;
    const bool full = row % kPartialRows == kPartialRows - 1;
    if (full) store(total + j, load<V>(total + j) + sum);
    store(part + j, full ? zero<V>() : sum);
  }
  ANNX_INLINE_MEMBER V result(int64_t j) const { return load<V>(total + j) + load<V>(part + j); }
};

template <class V, bool Log>
void softmax_cols(const typename V::Scalar* x, int64_t n, int64_t width, int64_t stride,
                  typename V::Scalar* y) {
  using T = typename V::Scalar;
  alignas(64) T top[kBlock];
  ColumnSums<V> sums;
  for (int64_t c = 0; c < width; c += kBlock, x += kBlock, y += kBlock) {
    const int64_t w = width - c < kBlock ? width - c : kBlock;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < w; j += V::lanes) {
        const int64_t count = w - j;
        const V v = load_part<V>(x + i * stride + j, count);
        store(top + j, i == 0 ? v : max(load<V>(top + j), v));
      }
    }
    for (int64_t j = 0; j < w; j += V::lanes) sums.start(j);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < w; j += V::lanes) {
        const int64_t count = w - j;
        const V shifted = load_part<V>(x + i * stride + j, count) - load<V>(top + j);
        const V e = exp_or_zero(shifted);
        store_part(y + i * stride + j, Log ? shifted : e, count);
        sums.add(i, j, e);
      }
    }
    for (int64_t j = 0; j < w; j += V::lanes) {
      const V sum = sums.result(j);
      store(top + j, Log ? log(sum) : splat<V>(1) / sum);
    }
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < w; j += V::lanes) {
        const int64_t count = w - j;
        T* at = y + i * stride + j;
        const V v = load_part<V>(at, count);
        store_part(at, Log ? v - load<V>(top + j) : v * load<V>(top + j), count);
      }
    }
  }
}

template <class V, bool Log>
void softmax_cols_backward(const typename V::Scalar* g, const typename V::Scalar* y, int64_t n,
                           int64_t width, int64_t stride, typename V::Scalar* dx) {
  ColumnSums<V> sums;
  for (int64_t c = 0; c < width; c += kBlock, g += kBlock, y += kBlock, dx += kBlock) {
    const int64_t w = width - c < kBlock ? width - c : kBlock;
    for (int64_t j = 0; j < w; j += V::lanes) sums.start(j);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < w; j += V::lanes) {
        const int64_t count = w - j;
        const V gv = load_part<V>(g + i * stride + j, count);
        sums.add(i, j, Log ? gv : gv * load_part<V>(y + i * stride + j, count));
      }
    }
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < w; j += V::lanes) {
        const int64_t count = w - j;
        const int64_t at = i * stride + j;
        const V gv = load_part<V>(g + at, count), yv = load_part<V>(y + at, count);
        const V sum = sums.result(j);
        store_part(dx + at, Log ? fnma(exp_or_zero(yv), sum, gv) : yv * (gv - sum), count);
      }
    }
  }
}

}  // namespace
