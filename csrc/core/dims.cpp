#include "core/dims.h"

#include <algorithm>

namespace annx {

int64_t numel_of(const Dims& shape, const char* op) {
  int64_t n = 1;
  bool zero = false;
  for (int64_t d : shape) {
    ANNX_CHECK(d >= 0, value, op, "expected non-negative sizes but got shape ", shape);
    if (d == 0) {
      zero = true;
      continue;
    }
    // Leave room for the item size, so that byte counts do not wrap either.
    ANNX_CHECK(!__builtin_mul_overflow(n, d, &n) && n <= (INT64_MAX >> 4), value, op,
               "expected fewer than 2**59 elements but got shape ", shape);
  }
  return zero ? 0 : n;
}

Dims contiguous_strides(const Dims& shape) {
  Dims strides(shape.size(), 1);
  int64_t step = 1;
  for (int i = shape.size() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= std::max<int64_t>(shape[i], 1);
  }
  return strides;
}

Dims broadcast_shapes(const Dims& a, const Dims& b, const char* op) {
  const int n = std::max(a.size(), b.size());
  Dims out(n, 1);
  for (int i = 1; i <= n; ++i) {
    const int64_t x = i <= a.size() ? a[a.size() - i] : 1;
    const int64_t y = i <= b.size() ? b[b.size() - i] : 1;
    ANNX_CHECK(x == y || x == 1 || y == 1, value, op,
               "expected shapes that broadcast together but got ", a, " and ", b);
    out[n - i] = x == 1 ? y : x;
  }
  return out;
}

}  // namespace annx
