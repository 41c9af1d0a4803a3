// Conversions between dtypes and copies into row-major memory.
#include <cstring>
#include <limits>

#include "core/layout.h"
#include "ops/cast/convert.h"
#include "ops/cast/kernels.h"
#include "ops/elementwise/unary_rule.h"

namespace annx {
namespace {

// Storage types as the element type they stand for.
struct F16 {
  uint16_t bits;
  operator float() const { return f16_to_f32(bits); }
};
struct BF16 {
  uint16_t bits;
  operator float() const { return bf16_to_f32(bits); }
};

template <class From>
auto load_element(const From* p) {
  if constexpr (std::is_same_v<From, Bool8>)
    return static_cast<int32_t>(p->v != 0);
  else if constexpr (std::is_same_v<From, F16> || std::is_same_v<From, BF16>)
    return static_cast<float>(*p);
  else
    return *p;
}

template <class To, class From>
void cast_run(const void* const* in, void* out, int64_t n, const double*) {
  const From* a = static_cast<const From*>(in[0]);
  if constexpr (std::is_same_v<To, F16>) {
    auto* o = static_cast<uint16_t*>(out);
    for (int64_t i = 0; i < n; ++i) o[i] = f32_to_f16(static_cast<float>(load_element(a + i)));
  } else if constexpr (std::is_same_v<To, BF16>) {
    auto* o = static_cast<uint16_t*>(out);
    for (int64_t i = 0; i < n; ++i) o[i] = f32_to_bf16(static_cast<float>(load_element(a + i)));
  } else {
    To* o = static_cast<To*>(out);
    for (int64_t i = 0; i < n; ++i) o[i] = convert<To>(load_element(a + i));
  }
}

template <class From>
ElementwiseFn cast_to(DType to) {
  switch (to) {
    case DType::f32:
      return cast_run<float, From>;
    case DType::f64:
      return cast_run<double, From>;
    case DType::f16:
      return cast_run<F16, From>;
    case DType::bf16:
      return cast_run<BF16, From>;
    case DType::i64:
      return cast_run<int64_t, From>;
    case DType::i32:
      return cast_run<int32_t, From>;
    case DType::u8:
      return cast_run<uint8_t, From>;
    case DType::b8:
      return cast_run<Bool8, From>;
  }
  return nullptr;
}

ElementwiseFn cast_between(DType from, DType to) {
  const CastKernels& fast = cast_kernels();
  if (from == DType::f32 && to == DType::f16) return fast.f32_to_f16;
  if (from == DType::f32 && to == DType::bf16) return fast.f32_to_bf16;
  if (from == DType::f16 && to == DType::f32) return fast.f16_to_f32;
  if (from == DType::bf16 && to == DType::f32) return fast.bf16_to_f32;
  switch (from) {
    case DType::f32:
      return cast_to<float>(to);
    case DType::f64:
      return cast_to<double>(to);
    case DType::f16:
      return cast_to<F16>(to);
    case DType::bf16:
      return cast_to<BF16>(to);
    case DType::i64:
      return cast_to<int64_t>(to);
    case DType::i32:
      return cast_to<int32_t>(to);
    case DType::u8:
      return cast_to<uint8_t>(to);
    case DType::b8:
      return cast_to<Bool8>(to);
  }
  return nullptr;
}

void cast_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(0).shape(), c.attr(0).dtype()});
}

void cast_kernel(const OpCall& c) {
  run_elementwise(cast_between(c.in(0).dtype(), c.out().dtype()), c.inputs.data(), 1, c.out());
}

void cast_rule(BackwardCall& b) { b.set(0, ops::cast(b.grad(), b.input_dtype(0))); }

void copy_kernel(const OpCall& c) { copy_elements(c.in(0), c.out()); }

void clone_infer(const OpCall& c, OutputSpecs& specs) {
  infer_like_first(c, specs);
  specs[0].strides = kept_layout(c.inputs.data(), 1, c.in(0).shape());
}

void channels_last_infer(const OpCall& c, OutputSpecs& specs) {
  ANNX_CHECK(c.in(0).dim() >= 3, value, "channels_last",
             "expected an input of shape (N, C, ...) with at least 3 dimensions but got ",
             c.in(0).shape());
  infer_like_first(c, specs);
  specs[0].strides = channels_last_strides(c.in(0).shape());
}

void pass_rule(BackwardCall& b) { b.set(0, b.grad()); }

}  // namespace

namespace def {

const OpDef cast = {
    .name = "cast",
    .signature = "cast(Tensor input, dtype dtype) -> Tensor",
    .doc =
        "input converted to dtype. Floats become integers by truncation, "
        "saturating at the ends of int64; NaN becomes 0. Narrower integers keep the low bits.",
    .infer = cast_infer,
    .kernel = cast_kernel,
    .backward = cast_rule,
    .cost = move_cost,
    .flags = kHalfNative | kElementwise};

const OpDef contiguous = {.name = "contiguous",
                          .signature = "contiguous(Tensor input) -> Tensor",
                          .doc = "A copy of input in row-major memory.",
                          .infer = infer_like_first,
                          .kernel = copy_kernel,
                          .backward = pass_rule,
                          .cost = move_cost,
                          .flags = kHalfNative | kNoMethod};

const OpDef channels_last = {.name = "channels_last",
                             .signature = "channels_last(Tensor input) -> Tensor",
                             .doc =
                                 "A copy of input (N, C, ...) in memory that holds the channels of "
                                 "a position side by side.",
                             .infer = channels_last_infer,
                             .kernel = copy_kernel,
                             .backward = pass_rule,
                             .cost = elementwise_cost,
                             .flags = kHalfNative | kNoMethod};

const OpDef clone = {.name = "clone",
                     .signature = "clone(Tensor input) -> Tensor",
                     .doc = "A copy of input, in its layout; gradients flow through it.",
                     .infer = clone_infer,
                     .kernel = copy_kernel,
                     .backward = pass_rule,
                     .cost = move_cost,
                     .flags = kHalfNative};

}  // namespace def
}  // namespace annx
