// Activations that compute their derivative beside their value, for passes over captured steps.
#pragma once

#include "ops/registry.h"

namespace annx {

// both: x -> y, the derivative at x, for contiguous float32 and float64. The gradient that `backward`
// computes from (g, x) is g times that derivative, bit for bit.
struct KeptActivation {
  const OpDef* forward;
  const OpDef* backward;
  const OpDef* both;
};
inline constexpr int kKeptActivations = 3;
const KeptActivation* kept_activations();

}  // namespace annx
