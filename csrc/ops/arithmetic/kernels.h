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
};
ANNX_DECLARE_KERNELS(ArithmeticKernels, arithmetic_kernels)

}  // namespace annx
