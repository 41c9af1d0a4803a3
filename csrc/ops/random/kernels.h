// Dropout in one pass over the input.
#pragma once

#include <cstdint>

#include "dispatch/kernels.h"
#include "ops/elementwise/kernel_types.h"

namespace annx {

struct RandomKernels {
  // y = x * scale where the uniform number of the element in the stream (seed, stream) is at least p,
  // else 0, for elements begin to begin + n - 1; x and y point at the first. p is in [0, 1].
  void (*f32_dropout)(uint64_t seed, uint64_t stream, int64_t begin, const float* x, float* y,
                      int64_t n, float p, float scale);
  // The same, and mask[i] is 1 where it is at least p, else 0. other, if not null, is added to y.
  void (*f32_dropout_mask)(uint64_t seed, uint64_t stream, int64_t begin, const float* x, float* y,
                           uint8_t* mask, const float* other, int64_t n, float p, float scale);
  // y = x * params[0] where the mask, the second input, is set, else 0.
  ElementwiseFn f32_dropout_kept;
};
ANNX_DECLARE_KERNELS(RandomKernels, random_kernels)

}  // namespace annx
