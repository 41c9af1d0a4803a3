// SIMD kernels of pooling: one pixel of the result at a time, lanes run over channels. `at` lists the
// pixels that it reads, in units of `channels` elements.
#pragma once

#include <cstdint>

#include "dispatch/kernels.h"

namespace annx {

template <class T, class I>
struct PoolTable {
  // y = the largest of x (a NaN wins), index = the entry of `at` it came from, unless index is null.
  void (*max)(int64_t channels, int64_t count, const int64_t* at, const T* x, T* y, I* index);
  // dx = the sum of g where index is `pixel`.
  void (*max_backward)(int64_t channels, int64_t count, const int64_t* at, const T* g,
                       const I* index, int64_t pixel, T* dx);
  // y = the sum of x, divided.
  void (*average)(int64_t channels, int64_t count, const int64_t* at, const T* x, T divisor, T* y);
  // dx = the sum of g, each divided by its divisor.
  void (*average_backward)(int64_t channels, int64_t count, const int64_t* at, const T* g,
                           const T* divisors, T* dx);
};

struct PoolKernels {
  PoolTable<float, int32_t> f32;
  PoolTable<double, int64_t> f64;
};

ANNX_DECLARE_KERNELS(PoolKernels, pool_kernels)

}  // namespace annx
