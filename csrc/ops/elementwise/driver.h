// Runs contiguous kernels over broadcast, strided operands: everything elementwise goes through here.
#pragma once

#include "ops/elementwise/kernel_types.h"
#include "ops/registry.h"

namespace annx {

inline constexpr int kMaxElementwiseInputs = 4;

// Applies fn to inputs (each broadcast to the shape of out, which is contiguous). work is the rough
// cost of an element in nanoseconds, from which the grain of parallel work follows.
void run_elementwise(ElementwiseFn fn, const Tensor* inputs, int count, const Tensor& out,
                     const double* params = nullptr, double work = 0.5);

// Copies the elements begin..begin+count (row-major order of shape) of a strided operand to dst.
void gather_strided(void* dst, const void* src, size_t size, const Dims& shape, const Dims& strides,
                    int64_t begin, int64_t count);

// Strides of t seen as broadcast to shape (0 along broadcast dimensions).
Dims broadcast_strides(const Tensor& t, const Dims& shape);

}  // namespace annx
