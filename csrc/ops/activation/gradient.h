// The derivative of an activation that was fused into another op (the epilogue of linear).
#pragma once

#include "core/tensor.h"
#include "gemm/gemm.h"

namespace annx::ops {

// g times the derivative; x is the input of the activation and y its output. relu, sigmoid and tanh
// read y only, the others x only.
Tensor activation_gradient(Activation activation, const Tensor& g, const Tensor& x,
                           const Tensor& y);
inline bool gradient_needs_input(Activation a) {
  return a == Activation::gelu || a == Activation::gelu_tanh || a == Activation::silu;
}

}  // namespace annx::ops
