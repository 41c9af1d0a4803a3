// SIMD kernels of pooling: a row of pixels of the result at a time, lanes run over channels.
#pragma once

#include <cstdint>

#include "dispatch/kernels.h"

namespace annx {

// Pixel w of a row reads, of each of its lines, the pixels line + begin[w] + t step, t < count[w]. All
// are numbers of pixels; a pixel has `channels` elements side by side.
struct PoolRow {
  int64_t pixels, channels;
  int64_t lines;
  const int64_t* line;
  const int64_t* begin;
  const int64_t* count;
  int64_t step;
};

template <class T, class I>
struct PoolTable {
  // y = the largest of x (a NaN wins; `lowest` where a pixel reads nothing), index = the pixel it came
  // from (-1), unless index is null.
  void (*max)(const PoolRow& row, const T* x, T lowest, T* y, I* index);
  // dx = the sum of g where index is the pixel itself, which is first + w.
  void (*max_backward)(const PoolRow& row, const T* g, const I* index, int64_t first, T* dx);
  // y = the sum of x, divided by the pixel's divisor.
  void (*average)(const PoolRow& row, const T* x, const T* divisors, T* y);
  // dx = the sum of g, each divided by the divisor of where it was read.
  void (*average_backward)(const PoolRow& row, const T* g, const T* divisors, T* dx);
};

struct PoolKernels {
  PoolTable<float, int32_t> f32;
  PoolTable<double, int64_t> f64;
};

ANNX_DECLARE_KERNELS(PoolKernels, pool_kernels)

}  // namespace annx
