// The SIMD kernels of this family as the Ops that span.h runs.
#pragma once

#include <type_traits>

#include "ops/reduce/kernels.h"
#include "ops/reduce/span.h"

namespace annx::reduce {

template <class T>
const ReduceTable<T>& kernels() {
  if constexpr (std::is_same_v<T, float>)
    return reduce_kernels().f32;
  else
    return reduce_kernels().f64;
}

template <class T>
struct SumOp {
  double divisor = 1;
  void rows(const T* x, int64_t, int64_t rows, int64_t n, T* out, bool last) const {
    kernels<T>().sum_rows(x, rows, n, last ? divisor : 1, out);
  }
  void cols(const T* x, int64_t, int64_t rows, int64_t width, int64_t stride, T* out,
            bool last) const {
    kernels<T>().sum_cols(x, rows, width, stride, last ? divisor : 1, out);
  }
  SumOp merge() const { return *this; }
};

// Squared distances from the means, which have the shape of the result.
template <class T>
struct DeviationOp {
  const T* mean;
  double divisor = 1;
  void rows(const T* x, int64_t at, int64_t rows, int64_t n, T* out, bool last) const {
    kernels<T>().deviation_rows(x, rows, n, mean + at, last ? divisor : 1, out);
  }
  void cols(const T* x, int64_t at, int64_t rows, int64_t width, int64_t stride, T* out,
            bool last) const {
    kernels<T>().deviation_cols(x, rows, width, stride, mean + at, last ? divisor : 1, out);
  }
  SumOp<T> merge() const { return {divisor}; }
};

template <class T, bool Largest>
struct ExtremeOp {
  void rows(const T* x, int64_t, int64_t rows, int64_t n, T* out, bool) const {
    const ReduceTable<T>& k = kernels<T>();
    (Largest ? k.max_rows : k.min_rows)(x, rows, n, out);
  }
  void cols(const T* x, int64_t, int64_t rows, int64_t width, int64_t stride, T* out, bool) const {
    const ReduceTable<T>& k = kernels<T>();
    (Largest ? k.max_cols : k.min_cols)(x, rows, width, stride, out);
  }
  ExtremeOp merge() const { return {}; }
};

}  // namespace annx::reduce
