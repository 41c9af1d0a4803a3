// Kernel types that the tables of elementwise families are made of; included by target spines.
#pragma once

#include <cstdint>

#include "ops/elementwise/rows.h"

namespace annx {

// Kernels see only contiguous memory: in[i] and out hold n elements of the op's dtypes.
using ElementwiseFn = void (*)(const void* const* in, void* out, int64_t n, const double* params);

// Kernel pointers of one unary row in a target's table.
struct UnaryKernel {
  ElementwiseFn f32, f64, backward_f32, backward_f64;
  // float32 with stores past the caches; null where the arithmetic takes longer than memory.
  ElementwiseFn stream, backward_stream;
};

// Kernel pointers of one binary or comparison row.
struct BinaryKernel {
  ElementwiseFn f32, f64;
  ElementwiseFn stream = nullptr;  // as above
};

}  // namespace annx
