#pragma once

#include "dispatch/kernels.h"
#include "ops/elementwise/kernel_types.h"

namespace annx {

struct ArithmeticKernels {
#define ANNX_BINARY(name, ...) BinaryKernel name;
#define ANNX_COMPARE(name, ...) BinaryKernel name;
#include "ops/arithmetic/rows.def"
#undef ANNX_BINARY
#undef ANNX_COMPARE
  BinaryKernel where;  // inputs: condition bytes, a, b
  // Of three operands, in one pass what two or three of the above would do; params[0]: value.
  BinaryKernel lerp, addcmul, addcdiv, clamp;
  BinaryKernel nan_to_num;  // params: for NaN, for infinity, for -infinity
  BinaryKernel isfinite, isinf;
  BinaryKernel pow_3, pow_half;  // input ** 3, input ** 0.5
};
ANNX_DECLARE_KERNELS(ArithmeticKernels, arithmetic_kernels)

}  // namespace annx
