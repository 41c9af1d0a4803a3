#pragma once

#include "dispatch/kernels.h"
#include "ops/elementwise/kernel_types.h"

namespace annx {

struct UnaryKernels {
#define ANNX_UNARY(name, ...) UnaryKernel name;
#include "ops/unary/rows.def"
#undef ANNX_UNARY
};
ANNX_DECLARE_KERNELS(UnaryKernels, unary_kernels)

}  // namespace annx
