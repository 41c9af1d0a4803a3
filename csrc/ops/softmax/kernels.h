// Softmax kernels: along contiguous rows, and down columns (rows of `width`, `stride` apart).
#pragma once

#include <cstdint>

#include "dispatch/kernels.h"

namespace annx {

template <class T>
struct SoftmaxTable {
  using Rows = void (*)(const T* x, int64_t rows, int64_t n, T* y);
  using Cols = void (*)(const T* x, int64_t n, int64_t width, int64_t stride, T* y);
  using RowsBackward = void (*)(const T* g, const T* y, int64_t rows, int64_t n, T* dx);
  using ColsBackward = void (*)(const T* g, const T* y, int64_t n, int64_t width, int64_t stride,
                                T* dx);
  Rows rows, log_rows;
  Cols cols, log_cols;
  RowsBackward rows_backward, log_rows_backward;
  ColsBackward cols_backward, log_cols_backward;
  Rows logsumexp_rows;  // one result per row
};

struct SoftmaxKernels {
  SoftmaxTable<float> f32;
  SoftmaxTable<double> f64;
};
ANNX_DECLARE_KERNELS(SoftmaxKernels, softmax_kernels)

}  // namespace annx
