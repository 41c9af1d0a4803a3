// Row and column reductions of float32 and float64.
#include "ops/reduce/sum-inl.h"

#include "ops/reduce/extreme-inl.h"  // needs the above

namespace {

template <class V>
void sum_rows(const typename V::Scalar* x, int64_t rows, int64_t n, double divisor,
              typename V::Scalar* out) {
  using T = typename V::Scalar;
  for (int64_t r = 0; r < rows; ++r)
    out[r] = static_cast<T>(sum_run<V>(x + r * n, n, SumIdentity<V>{}) / divisor);
}

template <class V>
void sum_rows_across(const typename V::Scalar* x, int64_t n, int64_t width, int64_t stride,
                     double divisor, typename V::Scalar* out) {
  using T = typename V::Scalar;
  double total[kAcross];
  for (int64_t at = 0; at < n; at += kSumRun) {
    T sum[kAcross];
    const int64_t count = n - at < kSumRun ? n - at : kSumRun;
    for (int64_t j = 0; j < width; j += V::lanes)
      store(sum + j, sum_chunk_across<V>(x + at * stride + j, count, width - j, stride));
    for (int64_t j = 0; j < width; ++j) total[j] = at == 0 ? sum[j] : total[j] + sum[j];
  }
  for (int64_t j = 0; j < width; ++j) out[j] = static_cast<T>(total[j] / divisor);
}

template <class V>
void sum_cols(const typename V::Scalar* x, int64_t rows, int64_t width, int64_t stride,
              double divisor, typename V::Scalar* out) {
  sum_columns<V>(x, rows, width, stride, divisor, out, SumIdentity<V>{});
}

template <class V>
void deviation_rows(const typename V::Scalar* x, int64_t rows, int64_t n,
                    const typename V::Scalar* mean, double divisor, typename V::Scalar* out) {
  using T = typename V::Scalar;
  for (int64_t r = 0; r < rows; ++r) {
    const SumRowDeviation<V> map{splat<V>(mean[r])};
    out[r] = static_cast<T>(sum_run<V>(x + r * n, n, map) / divisor);
  }
}

template <class V>
void deviation_cols(const typename V::Scalar* x, int64_t rows, int64_t width, int64_t stride,
                    const typename V::Scalar* mean, double divisor, typename V::Scalar* out) {
  sum_columns<V>(x, rows, width, stride, divisor, out, SumColumnDeviation<V>{mean});
}

// Squares of float32 leave its range long before the norm does, hence double.
template <class T>
void squares_rows(const T* x, int64_t rows, int64_t n, double* out) {
  for (int64_t r = 0; r < rows; ++r, x += n) {
    F64 a0 = zero<F64>(), a1 = a0, a2 = a0, a3 = a0;
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
      const F64 x0 = wide_load(x + i, 8), x1 = wide_load(x + i + 8, 8);
      const F64 x2 = wide_load(x + i + 16, 8), x3 = wide_load(x + i + 24, 8);
      a0 = fma(x0, x0, a0);
      a1 = fma(x1, x1, a1);
      a2 = fma(x2, x2, a2);
      a3 = fma(x3, x3, a3);
    }
    for (; i < n; i += 8) {
      const F64 v = wide_load(x + i, n - i);
      a0 = fma(v, v, a0);
    }
    out[r] = hsum((a0 + a1) + (a2 + a3));
  }
}

template <class V>
double dot(const typename V::Scalar* a, const typename V::Scalar* b, int64_t n) {
  constexpr int64_t L = V::lanes;
  double total = 0;
  for (int64_t at = 0; at < n; at += kSumRun) {
    const int64_t end = n - at < kSumRun ? n : at + kSumRun;
    V s0 = zero<V>(), s1 = s0, s2 = s0, s3 = s0;
    int64_t i = at;
    for (; i + 4 * L <= end; i += 4 * L) {
      s0 = fma(load<V>(a + i), load<V>(b + i), s0);
      s1 = fma(load<V>(a + i + L), load<V>(b + i + L), s1);
      s2 = fma(load<V>(a + i + 2 * L), load<V>(b + i + 2 * L), s2);
      s3 = fma(load<V>(a + i + 3 * L), load<V>(b + i + 3 * L), s3);
    }
    for (; i < end; i += L)
      s0 = fma(load_part<V>(a + i, end - i), load_part<V>(b + i, end - i), s0);
    total += hsum((s0 + s1) + (s2 + s3));
  }
  return total;
}

template <class V>
struct ReduceEntries {
  using T = typename V::Scalar;
  static constexpr ReduceTable<T> table = {
      sum_rows<V>,
      sum_rows_across<V>,
      sum_cols<V>,
      deviation_rows<V>,
      deviation_cols<V>,
      squares_rows<T>,
      dot<V>,
      extreme_rows<V, Largest<V>>,
      extreme_cols<V, Largest<V>>,
      extreme_rows<V, Smallest<V>>,
      extreme_cols<V, Smallest<V>>,
      find_first<V>,
  };
};

}  // namespace

extern const ReduceKernels reduce_kernels;
const ReduceKernels reduce_kernels = {ReduceEntries<F32>::table, ReduceEntries<F64>::table};
