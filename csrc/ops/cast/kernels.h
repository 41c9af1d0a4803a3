#pragma once

#include "dispatch/kernels.h"
#include "ops/elementwise/kernel_types.h"

namespace annx {

// From a floating type.
struct CutKernels {
  ElementwiseFn i64, i32, u8, b8;
};

// Conversions that have instructions of their own, and large copies; the rest is left to the compiler.
struct CastKernels {
  ElementwiseFn f32_to_f16, f16_to_f32, f32_to_bf16, bf16_to_f32;
  CutKernels f32, f64;
  ElementwiseFn i64_to_f64, i64_to_f32, i64_to_i32, i32_to_f32;
  StreamFn copy_stream;  // n words of four bytes
};
ANNX_DECLARE_KERNELS(CastKernels, cast_kernels)

}  // namespace annx
