#include "ops/indexing/positions.h"

namespace annx {

Tensor as_positions(const Tensor& indices, const char* op) {
  ANNX_CHECK(is_integral(indices.dtype()) && indices.dtype() != DType::b8, type, op,
             "expected integer indices but got dtype ", indices.dtype());
  GradModeGuard no_grad(false);
  return ops::contiguous(ops::cast(indices, DType::i64));
}

Slabs slabs_of(const Dims& shape, int dim) {
  Slabs s;
  for (int i = 0; i < shape.size(); ++i) {
    if (i < dim) s.outer *= shape[i];
    if (i == dim) s.size = shape[i];
    if (i > dim) s.inner *= shape[i];
  }
  return s;
}

namespace {

template <class T>
void add_typed(void* dst, const void* src, int64_t n) {
  T* d = static_cast<T*>(dst);
  const T* s = static_cast<const T*>(src);
  for (int64_t i = 0; i < n; ++i) d[i] = static_cast<T>(d[i] + s[i]);
}

}  // namespace

void add_row(void* dst, const void* src, int64_t n, DType dtype) {
  switch (dtype) {
    case DType::f32:
      return add_typed<float>(dst, src, n);
    case DType::f64:
      return add_typed<double>(dst, src, n);
    case DType::i64:
      return add_typed<uint64_t>(dst, src, n);
    case DType::i32:
      return add_typed<uint32_t>(dst, src, n);
    case DType::u8:
      return add_typed<uint8_t>(dst, src, n);
    default:
      break;
  }
  auto* d = static_cast<uint8_t*>(dst);
  const auto* s = static_cast<const uint8_t*>(src);
  for (int64_t i = 0; i < n; ++i) d[i] |= s[i];
}

}  // namespace annx
