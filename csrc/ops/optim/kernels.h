#pragma once

#include <cstdint>

#include "dispatch/kernels.h"
#include "ops/elementwise/rows.h"

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

// A step of a rule of rows.def.
struct RuleStep {
  double scale;      // of the gradient
  double l2;         // factor of the parameter that is added to it
  double decay;      // factor of the parameter before the step
  double values[8];  // K(i)
};
template <class T>
using RuleFn = void (*)(T* p, const T* g, T* const* states, int64_t n, const RuleStep& s);

template <class T>
struct RuleKernels {
#define ANNX_OPTIMIZER(name, ...) RuleFn<T> name;
#include "ops/optim/rows.def"
#undef ANNX_OPTIMIZER
};

template <class T>
struct OptimKernelsOf {
  void (*sgd)(T* p, const T* g, T* buffer, int64_t n, const SgdStep& s);
  void (*adam)(T* p, const T* g, T* m, T* v, int64_t n, const AdamStep& s);
  double (*sum_of_squares)(const T* x, int64_t n);
  RuleKernels<T> rules;
};

struct OptimKernels {
  OptimKernelsOf<float> f32;
  OptimKernelsOf<double> f64;
  // Halves to float32 and back.
  void (*widen_f16)(const uint16_t* x, float* y, int64_t n);
  void (*widen_bf16)(const uint16_t* x, float* y, int64_t n);
  void (*narrow_f16)(const float* x, uint16_t* y, int64_t n);
  void (*narrow_bf16)(const float* x, uint16_t* y, int64_t n);
};
ANNX_DECLARE_KERNELS(OptimKernels, optim_kernels)

}  // namespace annx
