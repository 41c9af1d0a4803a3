// What the normalisations share.
#pragma once

#include <type_traits>

#include "ops/normalization/kernels.h"
#include "ops/reduce/float_ops.h"

namespace annx::normalization {

template <class T>
const NormalizationTable<T>& kernels() {
  if constexpr (std::is_same_v<T, float>)
    return normalization_kernels().f32;
  else
    return normalization_kernels().f64;
}

// Input i in row-major memory, or an undefined tensor.
inline Tensor prepared(const OpCall& c, int i) {
  return c.has(i) ? reduce::prepare(c.in(i), c.in(i).dtype()) : Tensor();
}

template <class T>
T* data_or_null(const Tensor& t) {
  return t.defined() && t.numel() > 0 ? t.data<T>() : nullptr;
}

// An optional parameter has to have this shape and the dtype of the input.
inline void check_parameter(const OpCall& c, int i, const char* op, const char* what,
                            const Dims& shape) {
  if (!c.has(i)) return;
  const Tensor& t = c.in(i);
  ANNX_CHECK(t.shape() == shape, value, op, "expected ", what, " of shape ", shape, " but got ",
             t.shape(), " for input of shape ", c.in(0).shape());
  ANNX_CHECK(t.dtype() == c.in(0).dtype(), type, op, "expected ", what, " of dtype ",
             c.in(0).dtype(), " but got ", t.dtype());
}

inline void check_floating(const OpCall& c, const char* op) {
  ANNX_CHECK(is_floating(c.in(0).dtype()), type, op,
             "expected a floating-point input but got dtype ", c.in(0).dtype());
}

}  // namespace annx::normalization
