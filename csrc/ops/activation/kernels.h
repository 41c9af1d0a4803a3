#pragma once

#include "dispatch/kernels.h"
#include "ops/elementwise/kernel_types.h"

namespace annx {

struct ActivationKernels {
#define ANNX_UNARY(name, ...) UnaryKernel name;
#include "ops/activation/rows.def"
#undef ANNX_UNARY
};
ANNX_DECLARE_KERNELS(ActivationKernels, activation_kernels)

}  // namespace annx
