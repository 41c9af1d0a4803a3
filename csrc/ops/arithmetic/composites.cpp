// Arithmetic in terms of other ops: lerp, addcmul, addcdiv, nan_to_num, isclose.
#include <cmath>
#include <limits>

#include "ops/arithmetic/fused.h"

namespace annx {
namespace {

TensorList lerp(const OpCall& c) {
  const Tensor &start = c.in(0), &end = c.in(1), &weight = c.in(2);
  if (fused::takes(start)) return {fused::lerp(start, end, weight)};
  return {ops::add(start, ops::mul(weight, ops::sub(end, start)))};
}

Tensor scaled(const Tensor& x, double value) {
  return value == 1 ? x : ops::mul(x, ops::number(value));
}
TensorList addcmul(const OpCall& c) {
  if (fused::takes(c.in(0))) return {fused::addcmul(c.in(0), c.in(1), c.in(2), c.attr(0).f())};
  return {ops::add(c.in(0), scaled(ops::mul(c.in(1), c.in(2)), c.attr(0).f()))};
}
TensorList addcdiv(const OpCall& c) {
  if (fused::takes(c.in(0))) return {fused::addcdiv(c.in(0), c.in(1), c.in(2), c.attr(0).f())};
  return {ops::add(c.in(0), scaled(ops::div(c.in(1), c.in(2)), c.attr(0).f()))};
}

double largest(DType dtype) {
  switch (dtype) {
    case DType::f16:
      return 65504;
    case DType::bf16:
      return bf16_to_f32(0x7f7f);
    case DType::f32:
      return std::numeric_limits<float>::max();
    default:
      return std::numeric_limits<double>::max();
  }
}

TensorList nan_to_num(const OpCall& c) {
  const Tensor& x = c.in(0);
  if (!is_floating(x.dtype())) return {x};
  auto replaced = [&](const Tensor& y, const Tensor& where, double value) {
    return ops::where(where, ops::number(value), y);
  };
  const double high = c.attr(1).is_none() ? largest(x.dtype()) : c.attr(1).f();
  const double low = c.attr(2).is_none() ? -largest(x.dtype()) : c.attr(2).f();
  if (fused::takes(x)) return {fused::nan_to_num(x, c.attr(0).f(), high, low)};
  Tensor y = replaced(x, ops::ne(x, x), c.attr(0).f());
  y = replaced(y, ops::eq(x, ops::number(INFINITY)), high);
  return {replaced(y, ops::eq(x, ops::number(-INFINITY)), low)};
}

TensorList isclose(const OpCall& c) {
  const Tensor &a = c.in(0), &b = c.in(1);
  const double rtol = c.attr(0).f(), atol = c.attr(1).f();
  ANNX_CHECK(rtol >= 0 && atol >= 0, value, "isclose", "expected rtol and atol >= 0 but got ", rtol,
             " and ", atol);
  GradModeGuard no_grad(false);
  Tensor close = ops::eq(a, b);
  if (is_floating(a.dtype())) {
    const Tensor distance = ops::abs(ops::sub(a, b));
    const Tensor bound = ops::number(atol) + ops::number(rtol) * ops::abs(b);
    // An infinite bound would let everything pass.
    const Tensor finite = ops::lt(distance, ops::number(INFINITY));
    close = ops::logical_or(close, ops::logical_and(ops::le(distance, bound), finite));
    if (c.attr(2).b())
      close = ops::logical_or(close, ops::logical_and(ops::ne(a, a), ops::ne(b, b)));
  } else if (rtol != 0 || atol != 0) {
    const Tensor x = ops::cast(a, DType::f64), y = ops::cast(b, DType::f64);
    const Tensor bound = ops::number(atol) + ops::number(rtol) * ops::abs(y);
    close = ops::logical_or(close, ops::le(ops::abs(ops::sub(x, y)), bound));
  }
  return {close};
}

}  // namespace

namespace def {

const OpDef lerp = {.name = "lerp",
                    .signature = "lerp(Tensor input, Tensor end, Tensor weight) -> Tensor",
                    .doc = "input + weight * (end - input).",
                    .composite = annx::lerp,
                    .flags = kPromote};
const OpDef addcmul = {
    .name = "addcmul",
    .signature =
        "addcmul(Tensor input, Tensor tensor1, Tensor tensor2, *, float value=1.0) -> Tensor",
    .doc = "input + value * tensor1 * tensor2.",
    .composite = annx::addcmul,
    .flags = kPromote};
const OpDef addcdiv = {
    .name = "addcdiv",
    .signature =
        "addcdiv(Tensor input, Tensor tensor1, Tensor tensor2, *, float value=1.0) -> Tensor",
    .doc = "input + value * tensor1 / tensor2.",
    .composite = annx::addcdiv,
    .flags = kPromote};
const OpDef nan_to_num = {
    .name = "nan_to_num",
    .signature =
        "nan_to_num(Tensor input, float nan=0.0, float? posinf=None, float? neginf=None) -> "
        "Tensor",
    .doc =
        "input with NaN and infinities replaced: by nan, posinf and neginf, the infinities by the "
        "dtype's largest numbers if not given.",
    .composite = annx::nan_to_num,
    .flags = kHalfNative};
const OpDef isclose = {
    .name = "isclose",
    .signature =
        "isclose(Tensor input, Tensor other, float rtol=1e-5, float atol=1e-8, bool "
        "equal_nan=False) -> Tensor",
    .doc = "True where |input - other| <= atol + rtol * |other|.",
    .composite = annx::isclose,
    .flags = kPromote};

}  // namespace def
}  // namespace annx
