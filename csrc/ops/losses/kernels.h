#pragma once

#include "dispatch/kernels.h"
#include "ops/elementwise/kernel_types.h"

namespace annx {

struct LossKernel {
  ElementwiseFn f32, f64, grad_a_f32, grad_a_f64, grad_b_f32, grad_b_f64;
};

// One row of softmax cross-entropy. The target of class c is
//   q[c] = w[c] (keep p[c] + spread), p one-hot at label when probs is null, w = 1 when weights is.
template <class T>
struct XentRow {
  int64_t classes;
  const T* weights;
  const T* probs;
  int64_t label;
  T keep, spread;  // 1 - smoothing and smoothing / classes
};
template <class T>
struct XentStats {
  T loss, max, inv_sum, target_sum;  // target_sum is the sum of q
};

template <class T>
struct XentKernelsOf {
  void (*forward)(const T* logits, const XentRow<T>& row, XentStats<T>* out);
  void (*backward)(const T* logits, const XentRow<T>& row, T max, T inv_sum, T target_sum, T grad,
                   T* out);
};

struct LossKernels {
#define ANNX_LOSS(name, ...) LossKernel name;
#include "ops/losses/rows.def"
#undef ANNX_LOSS
  XentKernelsOf<float> xent_f32;
  XentKernelsOf<double> xent_f64;
};
ANNX_DECLARE_KERNELS(LossKernels, loss_kernels)

}  // namespace annx
