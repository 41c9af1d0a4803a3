#pragma once

#include "dispatch/kernels.h"
#include "ops/elementwise/kernel_types.h"

namespace annx {

struct LossKernel {
  ElementwiseFn f32, f64, grad_a_f32, grad_a_f64, grad_b_f32, grad_b_f64;
};

// Rows of softmax cross-entropy. The target of class c is
//   q[c] = w[c] (keep p[c] + spread), p one-hot at the row's label when probs is null, w = 1 when
// weights is. Rows whose label is ignore_index have loss and gradient 0.
template <class T>
struct XentRows {
  int64_t classes;
  const T* weights;       // classes
  const T* probs;         // rows x classes, or null
  const int64_t* labels;  // rows, where probs is null
  int64_t ignore_index;
  T keep, spread;  // 1 - smoothing and smoothing / classes
  T scale;         // of the gradient
};

template <class T>
using XentFn = void (*)(const T* logits, int64_t rows, const XentRows<T>& p, T* loss, T* grad);

// The loss, and its derivative by a.
template <class T>
using LossBothFn = void (*)(const T* a, const T* b, T* loss, T* derivative, int64_t n);

struct LossKernels {
#define ANNX_LOSS(name, ...) LossKernel name;
#include "ops/losses/rows.def"
#undef ANNX_LOSS
  // grad may be null.
  XentFn<float> xent_f32;
  XentFn<double> xent_f64;
  LossBothFn<float> bce_logits_both_f32;
  LossBothFn<double> bce_logits_both_f64;
};
ANNX_DECLARE_KERNELS(LossKernels, loss_kernels)

}  // namespace annx
