// Kernels of reductions over floating dtypes: along contiguous rows and down columns.
#pragma once

#include <cstdint>

#include "dispatch/kernels.h"

namespace annx {

inline constexpr int64_t kAcross = 32;

// Columns: x has `rows` rows of `width` elements, `stride` elements apart.
template <class T>
struct ReduceTable {
  // sum / divisor.
  void (*sum_rows)(const T* x, int64_t rows, int64_t n, double divisor, T* out);
  // The same of each column of x, added in the order in which sum_rows adds a row; width is at most
  // kAcross.
  void (*sum_rows_across)(const T* x, int64_t n, int64_t width, int64_t stride, double divisor,
                          T* out);
  void (*sum_cols)(const T* x, int64_t rows, int64_t width, int64_t stride, double divisor, T* out);
  // Sum of (x - mean)**2 / divisor, one mean per row or column.
  void (*deviation_rows)(const T* x, int64_t rows, int64_t n, const T* mean, double divisor,
                         T* out);
  void (*deviation_cols)(const T* x, int64_t rows, int64_t width, int64_t stride, const T* mean,
                         double divisor, T* out);
  // Sum of squares, computed in double throughout.
  void (*squares_rows)(const T* x, int64_t rows, int64_t n, double* out);
  // Sum of products: fused in lanes, in double from one chunk to the next.
  double (*dot)(const T* a, const T* b, int64_t n);
  void (*max_rows)(const T* x, int64_t rows, int64_t n, T* out);
  void (*max_cols)(const T* x, int64_t rows, int64_t width, int64_t stride, T* out);
  void (*min_rows)(const T* x, int64_t rows, int64_t n, T* out);
  void (*min_cols)(const T* x, int64_t rows, int64_t width, int64_t stride, T* out);
  // Index of the first element equal to value (NaN equals NaN), or n.
  int64_t (*find)(const T* x, int64_t n, T value);
};

struct ReduceKernels {
  ReduceTable<float> f32;
  ReduceTable<double> f64;
};
ANNX_DECLARE_KERNELS(ReduceKernels, reduce_kernels)

}  // namespace annx
