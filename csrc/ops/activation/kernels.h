#pragma once

#include "dispatch/kernels.h"
#include "ops/elementwise/kernel_types.h"

namespace annx {

// y and the derivative at x.
template <class T>
using BothFn = void (*)(const T* x, T* y, T* derivative, int64_t n);
struct BothKernel {
  BothFn<float> f32;
  BothFn<double> f64;
};

struct ActivationKernels {
#define ANNX_UNARY(name, ...) UnaryKernel name;
#include "ops/activation/rows.def"
#undef ANNX_UNARY
  BothKernel gelu_erf_both, gelu_tanh_both, silu_both;
};
ANNX_DECLARE_KERNELS(ActivationKernels, activation_kernels)

}  // namespace annx
