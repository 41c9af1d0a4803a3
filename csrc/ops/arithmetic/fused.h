// What several ops of arithmetic give, in one pass over float32 or float64 on the CPU.
#pragma once

#include "ops/functional.h"

namespace annx::fused {

// Whether x, already promoted, is one that the ops below take; integers and devices go by parts.
bool takes(const Tensor& x);

Tensor lerp(const Tensor& start, const Tensor& end, const Tensor& weight);
Tensor addcmul(const Tensor& x, const Tensor& a, const Tensor& b, double value);
Tensor addcdiv(const Tensor& x, const Tensor& a, const Tensor& b, double value);
Tensor clamp(const Tensor& x, const Tensor& low, const Tensor& high);
Tensor nan_to_num(const Tensor& x, double nan, double high, double low);
Tensor isfinite(const Tensor& x);
Tensor isinf(const Tensor& x);

// The op that computes floating-point x ** exponent of x alone, or null.
const OpDef* power(const Tensor& x, double exponent);

}  // namespace annx::fused
