// The internal ops of attention, on inputs of four dimensions: query (B, H, L, E), key (B, G, S, E),
// value (B, G, S, Ev), mask (B, H, L, S) or none; query heads share key heads in groups of H / G.
#pragma once

#include "ops/attention/kernels.h"
#include "ops/functional.h"
#include "ops/random/generator.h"

namespace annx::attention {

// Attributes of attention_forward: the random key (none without dropout), p, scale, causal.
// Outputs: the result (B, L, H, Ev) and the log of the sum of exp (B, H, L).
extern const OpDef forward_def;
// Inputs: gradient (B, L, H, Ev), query, key, value, mask, result, logsumexp. Outputs: gradients of
// query, key and value, each laid out as physical() says.
extern const OpDef backward_def;
// weights (B, H, L, S) with dropout as the two above apply it. Attributes: the random key, p.
extern const OpDef dropout_def;

// The gradient of attention_forward as formulas on the tape.
void differentiable_rule(BackwardCall& b);

// Whether head comes after time in memory, as in views of (B, T, H, D).
inline bool time_major(const Tensor& t) { return t.stride(1) < t.stride(2); }

template <class T>
AttentionDropout<T> dropout_of(const Attr& key, double p) {
  AttentionDropout<T> d;
  if (key.is_none()) return d;
  const RandomState state = random_state_of(key);
  d.active = true;
  d.seed = state.seed;
  d.stream = state.counter;
  d.p = static_cast<float>(p);
  d.factor = p < 1 ? static_cast<T>(1 / (1 - p)) : T(0);
  return d;
}

template <class T>
const AttentionTable<T>& kernels() {
  if constexpr (std::is_same_v<T, float>)
    return attention_kernels().f32;
  else
    return attention_kernels().f64;
}

}  // namespace annx::attention
