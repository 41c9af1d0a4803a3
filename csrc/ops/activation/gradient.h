// An activation that was fused into another op (the epilogue of linear): its name, its derivative.
#pragma once

#include "core/tensor.h"
#include "gemm/gemm.h"

namespace annx::ops {

// The activation that attribute `text` of an op names; an error tells the op.
Activation activation_named(const char* text, const char* op);

// g times the derivative; x is the input of the activation and y its output. relu, sigmoid and tanh
// read y only, the others x only.
Tensor activation_gradient(Activation activation, const Tensor& g, const Tensor& x,
                           const Tensor& y);
inline bool gradient_needs_input(Activation a) {
  return a == Activation::gelu || a == Activation::gelu_tanh || a == Activation::silu;
}

}  // namespace annx::ops
