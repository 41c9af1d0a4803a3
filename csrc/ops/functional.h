// Ops as C++ functions: what gradient rules and composite ops are written in.
#pragma once

#include "core/layout.h"
#include "ops/call.h"
#include "ops/defs.h"

namespace annx::ops {

// A constant that takes the dtype of its partner.
Tensor number(double value);

// clang-format off
#define ANNX_UNARY_FUNCTIONS(F)                                                            \
  F(neg) F(abs) F(sign) F(square) F(reciprocal) F(sqrt) F(rsqrt) F(exp) F(expm1) F(log)    \
  F(log1p) F(sin) F(cos) F(erf) F(ndtr) F(floor) F(sigmoid) F(tanh) F(relu) F(logical_not)
// clang-format on
#define ANNX_DEFINE(name) \
  inline Tensor name(const Tensor& x) { return call(def::name, {x}); }
ANNX_UNARY_FUNCTIONS(ANNX_DEFINE)
#undef ANNX_DEFINE
#undef ANNX_UNARY_FUNCTIONS

// clang-format off
#define ANNX_BINARY_FUNCTIONS(F)                                                           \
  F(add) F(sub) F(mul) F(div) F(maximum) F(minimum) F(pow) F(floor_divide) F(remainder)    \
  F(eq) F(ne) F(lt) F(le) F(gt) F(ge) F(matmul) F(logical_and) F(logical_or)
// clang-format on
#define ANNX_DEFINE(name) \
  inline Tensor name(const Tensor& a, const Tensor& b) { return call(def::name, {a, b}); }
ANNX_BINARY_FUNCTIONS(ANNX_DEFINE)
#undef ANNX_DEFINE
#undef ANNX_BINARY_FUNCTIONS

// The vocabulary that formulas share with SIMD vectors.
inline Tensor max(const Tensor& a, const Tensor& b) { return maximum(a, b); }
inline Tensor min(const Tensor& a, const Tensor& b) { return minimum(a, b); }
inline Tensor where(const Tensor& c, const Tensor& a, const Tensor& b) {
  return call(def::where, {c, a, b});
}
inline Tensor select(const Tensor& c, const Tensor& a, const Tensor& b) { return where(c, a, b); }

inline Tensor cast(const Tensor& x, DType dtype) {
  return x.dtype() == dtype ? x : call(def::cast, {x}, {Attr(dtype)});
}
inline Tensor contiguous(const Tensor& x) {
  return x.is_contiguous() ? x : call(def::contiguous, {x});
}
inline Tensor channels_last(const Tensor& x) {
  return is_channels_last(x) ? x : call(def::channels_last, {x});
}

// Shape.
inline Tensor reshape(const Tensor& x, const Dims& shape) {
  return x.shape() == shape ? x : call(def::reshape, {x}, {Attr(shape)});
}
// Its last dimension as rows; where that is empty, -1 could not say how many there are.
inline Tensor rows_of(const Tensor& x) {
  int64_t rows = 1;
  for (int i = 0; i < x.dim() - 1; ++i) rows *= x.size(i);
  return reshape(x, {rows, x.size(-1)});
}
inline Tensor permute(const Tensor& x, const Dims& dims) {
  return call(def::permute, {x}, {Attr(dims)});
}
inline Tensor transpose(const Tensor& x, int64_t a, int64_t b) {
  return call(def::transpose, {x}, {Attr(a), Attr(b)});
}
inline Tensor expand(const Tensor& x, const Dims& shape) {
  return x.shape() == shape ? x : call(def::expand, {x}, {Attr(shape)});
}
inline Tensor unsqueeze(const Tensor& x, int64_t dim) {
  return call(def::unsqueeze, {x}, {Attr(dim)});
}
inline Tensor slice(const Tensor& x, int64_t dim, int64_t start, int64_t stop, int64_t step = 1) {
  return call(def::slice, {x}, {Attr(dim), Attr(start), Attr(stop), Attr(step)});
}

// (left, right) pairs from the last dimension backwards; negative ones crop.
inline Tensor pad(const Tensor& x, const Ints& pads, double value = 0) {
  return call(def::pad, {x}, {Attr(pads), Attr(value), Attr("constant")});
}

// Writes source, broadcast and cast, into the memory of destination, off the tape.
void copy_into(const Tensor& destination, const Tensor& source);

// Creation.
Tensor full(const Dims& shape, double value, DType dtype, Device device = {});
inline Tensor zeros(const Dims& shape, DType dtype) { return full(shape, 0, dtype); }
inline Tensor ones(const Dims& shape, DType dtype) { return full(shape, 1, dtype); }
inline Tensor zeros_like(const Tensor& x) { return full(x.shape(), 0, x.dtype(), x.device()); }
inline Tensor ones_like(const Tensor& x) { return full(x.shape(), 1, x.dtype(), x.device()); }

// x on another device; x itself where it is there already.
Tensor to_device(const Tensor& x, Device device);

// Reductions. An empty dims means all axes.
inline Tensor sum(const Tensor& x, const Dims& dims = {}, bool keepdim = false) {
  return call(def::sum, {x}, {dims.empty() ? Attr() : Attr(dims), Attr(keepdim), Attr()});
}
inline Tensor mean(const Tensor& x, const Dims& dims = {}, bool keepdim = false) {
  return call(def::mean, {x}, {dims.empty() ? Attr() : Attr(dims), Attr(keepdim), Attr()});
}
inline Tensor amax(const Tensor& x, const Dims& dims, bool keepdim = false) {
  return call(def::amax, {x}, {Attr(dims), Attr(keepdim)});
}
// Undoes a broadcast: sums the axes along which shape was expanded.
Tensor sum_to(const Tensor& x, const Dims& shape);

}  // namespace annx::ops

namespace annx {
// Operators only within the rules of ops: found through the namespace of Tensor.
inline Tensor operator+(const Tensor& a, const Tensor& b) { return ops::add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return ops::sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return ops::mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return ops::div(a, b); }
inline Tensor operator-(const Tensor& a) { return ops::neg(a); }
}  // namespace annx
