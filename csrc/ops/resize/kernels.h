// Kernels that bring one dimension of floating-point images to another size.
#pragma once

#include <cstdint>

#include "dispatch/kernels.h"

namespace annx {

// Element j of n is low_share[j] x[low[j] - skip] + high_share[j] x[high[j] - skip].
template <class T>
struct ResizeLine {
  int64_t n, skip;
  const int32_t *low, *high;
  const T *low_share, *high_share;
};

// Element i of n is the sum of share[k] g[at[k]] for k from first[i] to first[i + 1].
template <class T>
struct ResizeBack {
  int64_t n;
  const int32_t *first, *at;
  const T* share;
};

// x is (rows, size, inner), the result (rows, line.n, inner), both row-major.
template <class T>
struct ResizeTable {
  void (*forward)(const T* x, int64_t rows, int64_t size, int64_t inner, const ResizeLine<T>& line,
                  T* out);
  void (*backward)(const T* g, int64_t rows, int64_t size, int64_t inner, const ResizeBack<T>& back,
                   T* dx);
};

struct ResizeKernels {
  ResizeTable<float> f32;
  ResizeTable<double> f64;
};
ANNX_DECLARE_KERNELS(ResizeKernels, resize_kernels)

}  // namespace annx
