#pragma once

#include "dispatch/kernels.h"
#include "ops/elementwise/kernel_types.h"

namespace annx {

// Between float32 and the half types, and large copies; the rest is left to the compiler.
struct CastKernels {
  ElementwiseFn f32_to_f16, f16_to_f32, f32_to_bf16, bf16_to_f32;
  StreamFn copy_stream;  // n words of four bytes
};
ANNX_DECLARE_KERNELS(CastKernels, cast_kernels)

}  // namespace annx
