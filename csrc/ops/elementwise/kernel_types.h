// Kernel types that the tables of elementwise families are made of; included by target spines.
#pragma once

#include <cstdint>

#include "ops/elementwise/rows.h"

namespace annx {

// Kernels see only contiguous memory: in[i] and out hold n elements of the op's dtypes.
using ElementwiseFn = void (*)(const void* const* in, void* out, int64_t n, const double* params);

// Two runs at once, stored past the caches: the operands of the first, then those of the second; out[0]
// and out[1] are aligned to 64 bytes, n is a multiple of 16. Where period is not 0 the second operand of
// a binary op is a row of that many elements, a multiple of 16 too, met again and again.
using StreamFn = void (*)(const void* const* in, void* const* out, int64_t n, int64_t period,
                          const double* params);

// Kernel pointers of one unary row in a target's table.
struct UnaryKernel {
  ElementwiseFn f32, f64, backward_f32, backward_f64;
  // float32 with stores past the caches; null where the arithmetic takes longer than memory.
  StreamFn stream, backward_stream;
};

// Kernel pointers of one binary or comparison row.
struct BinaryKernel {
  ElementwiseFn f32, f64;
  StreamFn stream = nullptr;  // as above
  // float32 with one element for all operands but the first: a number, or that of a column at a row.
  ElementwiseFn f32_number = nullptr;
};

}  // namespace annx
