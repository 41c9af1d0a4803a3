#include "core/dtype.h"

namespace annx {

DType promote(DType a, DType b) {
  if (a == b) return a;
  if (is_floating(a) != is_floating(b)) return is_floating(a) ? a : b;
  if (is_floating(a)) {
    if (a == DType::f64 || b == DType::f64) return DType::f64;
    return DType::f32;  // f16 with bf16, or either with f32
  }
  if (a == DType::b8) return b;
  if (b == DType::b8) return a;
  if (a == DType::u8) return b;
  if (b == DType::u8) return a;
  return DType::i64;
}

}  // namespace annx
