// Ops that can compute their derivative beside their value, for passes over captured steps.
#pragma once

#include "ops/registry.h"

namespace annx {

// forward: (x, ...) -> y. both: the same inputs -> y and the derivative of y by x, for row-major float32
// and float64. backward: (g, x, ...) -> g times that derivative, bit for bit.
struct KeptDerivative {
  const OpDef* forward;
  const OpDef* backward;
  const OpDef* both;
};
inline constexpr int kKeptActivations = 3;
const KeptDerivative* kept_activations();
const KeptDerivative& kept_bce_logits();

}  // namespace annx
