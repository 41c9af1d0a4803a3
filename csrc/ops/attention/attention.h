// The internal ops of attention, on inputs of four dimensions: query (B, H, L, E), key (B, G, S, E),
// value (B, G, S, Ev), mask (B, H, L, S) or none; query heads share key heads in groups of H / G.
#pragma once

#include "ops/attention/kernels.h"
#include "ops/functional.h"
#include "ops/random/generator.h"

namespace annx::attention {

// Attributes of attention_forward: the random key (unused where p is 0), p, scale, causal.
// Outputs: the result (B, L, H, Ev) and the log of the sum of exp (B, H, L).
extern const OpDef forward_def;
// Inputs: gradient (B, L, H, Ev), query, key, value, mask, result, logsumexp. Outputs: gradients of
// query, key and value, (B, T, H, D) where time_major, else (B, H, T, D).
extern const OpDef backward_def;
// weights (B, H, L, S) with dropout as the two above apply it. Attributes: the random key, p.
extern const OpDef dropout_def;

// As attention_forward with query, key and value as the three parts of one input (B, T, 3, H, D), so
// that the gradient is one tensor too. Its backward op takes gradient, input, mask, result and
// logsumexp; the gradient lies as (T, B, 3, H, D) where the input does.
extern const OpDef packed_forward_def;
extern const OpDef packed_backward_def;

// Checks shared by the public ops, whose inputs end with attn_mask and whose attributes hold dropout_p
// and is_causal, one after the other, from `attr` on.
void check_options(const OpCall& c, int attr, const char* name);
// attn_mask as a view of shape `full` in the inputs' dtype, or as bools; undefined where there is none.
Tensor expanded_mask(const Tensor& mask, const Dims& full, DType dtype, const char* name);

// Query, key, value and mask, or their gradients.
struct Gradients {
  Tensor query, key, value, mask;
};
// The gradients as formulas on the tape; `grad` is (B, L, H, Ev). What is not needed stays undefined.
Gradients differentiable_gradients(const Gradients& inputs, const Tensor& grad, const Attr& key,
                                   const Attr& p, double scale, bool causal,
                                   const bool (&needs)[4]);

// Without dropout no counter is drawn.
inline Attr key_for(double p) { return random_key(p > 0 ? next_random_state() : RandomState{}); }

// Whether head comes after time in memory, as in views of (B, T, H, D).
inline bool time_major(const Tensor& t) { return t.stride(1) < t.stride(2); }

template <class T>
AttentionDropout<T> dropout_of(const Attr& key, double p) {
  AttentionDropout<T> d;
  if (p == 0) return d;
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
