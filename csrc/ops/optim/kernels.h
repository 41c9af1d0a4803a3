#pragma once

#include <cstdint>

#include "dispatch/kernels.h"

namespace annx {

// Coefficients of one step, worked out once in double and rounded to the parameter's dtype.
struct SgdStep {
  double lr, momentum, one_minus_dampening, weight_decay, grad_scale;
  bool nesterov, first, use_momentum;
};
struct AdamStep {
  double beta1, one_minus_beta1, beta2, one_minus_beta2, eps, weight_decay, grad_scale;
  double step_size;       // lr / (1 - beta1**t)
  double decay;           // 1 - lr * weight_decay when decoupled, else 1
  double inv_sqrt_bias2;  // 1 / sqrt(1 - beta2**t)
  bool decoupled;
};

template <class T>
struct OptimKernelsOf {
  void (*sgd)(T* p, const T* g, T* buffer, int64_t n, const SgdStep& s);
  void (*adam)(T* p, const T* g, T* m, T* v, int64_t n, const AdamStep& s);
  double (*sum_of_squares)(const T* x, int64_t n);
};

struct OptimKernels {
  OptimKernelsOf<float> f32;
  OptimKernelsOf<double> f64;
};
ANNX_DECLARE_KERNELS(OptimKernels, optim_kernels)

}  // namespace annx
