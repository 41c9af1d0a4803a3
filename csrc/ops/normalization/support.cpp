#include "ops/normalization/support.h"

namespace annx::normalization {

Tensor open_running(const Tensor& t, DType dtype, bool written, const char* op) {
  if (!t.defined()) return t;
  ANNX_CHECK(!written || t.is_contiguous(), value, op,
             "expected contiguous running statistics but got strides ", t.strides());
  GradModeGuard no_grad(false);
  return is_floating(t.dtype()) ? ops::cast(t, dtype) : t;
}

void store_running(const Tensor& opened, const Tensor& t) {
  if (!t.defined() || opened.is_same(t)) return;
  ops::copy_into(t, opened);
}

}  // namespace annx::normalization
