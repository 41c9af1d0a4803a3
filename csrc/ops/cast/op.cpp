// Conversions between dtypes and copies into row-major memory.
#include <algorithm>

#include "core/layout.h"
#include "ops/cast/convert.h"
#include "ops/cast/kernels.h"
#include "ops/elementwise/unary_rule.h"

namespace annx {
namespace {

template <class From>
auto load_element(const From* p) {
  if constexpr (std::is_same_v<From, Bool8>)
    return static_cast<int32_t>(p->v != 0);
  else
    return *p;
}

template <class To, class From>
void cast_run(const void* const* in, void* out, int64_t n, const double*) {
  const From* a = static_cast<const From*>(in[0]);
  To* o = static_cast<To*>(out);
  for (int64_t i = 0; i < n; ++i) o[i] = convert<To>(load_element(a + i));
}

ElementwiseFn cast_between(DType from, DType to);

// The half types by way of float32, which holds them all.
template <DType From, DType To>
void through_f32(const void* const* in, void* out, int64_t n, const double* params) {
  constexpr int64_t kTile = 512;
  float tile[kTile];
  const ElementwiseFn first = cast_between(From, DType::f32), then = cast_between(DType::f32, To);
  const char* x = static_cast<const char*>(in[0]);
  char* o = static_cast<char*>(out);
  for (int64_t i = 0; i < n; i += kTile) {
    const int64_t count = std::min(kTile, n - i);
    const void* from = x + i * static_cast<int64_t>(itemsize(From));
    const void* wide = tile;
    first(&from, tile, count, params);
    then(&wide, o + i * static_cast<int64_t>(itemsize(To)), count, params);
  }
}
template <DType From>
ElementwiseFn half_cast(DType to, ElementwiseFn widened) {
  if (to == DType::f32) return widened;
  switch (to) {
    case DType::f64:
      return through_f32<From, DType::f64>;
    case DType::f16:
      return through_f32<From, DType::f16>;
    case DType::bf16:
      return through_f32<From, DType::bf16>;
    case DType::i64:
      return through_f32<From, DType::i64>;
    case DType::i32:
      return through_f32<From, DType::i32>;
    case DType::u8:
      return through_f32<From, DType::u8>;
    default:
      return through_f32<From, DType::b8>;
  }
}

template <class From, DType Own>
ElementwiseFn cast_to(DType to) {
  switch (to) {
    case DType::f32:
      return cast_run<float, From>;
    case DType::f64:
      return cast_run<double, From>;
    case DType::f16:
      return through_f32<Own, DType::f16>;
    case DType::bf16:
      return through_f32<Own, DType::bf16>;
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

ElementwiseFn cut_to(const CutKernels& kernels, DType to) {
  switch (to) {
    case DType::i64:
      return kernels.i64;
    case DType::i32:
      return kernels.i32;
    case DType::u8:
      return kernels.u8;
    case DType::b8:
      return kernels.b8;
    default:
      return nullptr;
  }
}

// Of each target; null where there is none.
ElementwiseFn vector_cast(DType from, DType to) {
  const CastKernels& fast = cast_kernels();
  if (from == DType::f32 && to == DType::f16) return fast.f32_to_f16;
  if (from == DType::f32 && to == DType::bf16) return fast.f32_to_bf16;
  if (from == DType::f32) return cut_to(fast.f32, to);
  if (from == DType::f64) return cut_to(fast.f64, to);
  if (from == DType::i64 && to == DType::f64) return fast.i64_to_f64;
  if (from == DType::i64 && to == DType::f32) return fast.i64_to_f32;
  if (from == DType::i64 && to == DType::i32) return fast.i64_to_i32;
  if (from == DType::i32 && to == DType::f32) return fast.i32_to_f32;
  return nullptr;
}

ElementwiseFn cast_between(DType from, DType to) {
  if (const ElementwiseFn fast = vector_cast(from, to)) return fast;
  switch (from) {
    case DType::f32:
      return cast_to<float, DType::f32>(to);
    case DType::f64:
      return cast_to<double, DType::f64>(to);
    case DType::f16:
      return half_cast<DType::f16>(to, cast_kernels().f16_to_f32);
    case DType::bf16:
      return half_cast<DType::bf16>(to, cast_kernels().bf16_to_f32);
    case DType::i64:
      return cast_to<int64_t, DType::i64>(to);
    case DType::i32:
      return cast_to<int32_t, DType::i32>(to);
    case DType::u8:
      return cast_to<uint8_t, DType::u8>(to);
    case DType::b8:
      return cast_to<Bool8, DType::b8>(to);
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
