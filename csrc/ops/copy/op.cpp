// Writing into a tensor that exists already: buffers' owners and loaders only.
#include <cstring>

#include "core/readonly.h"
#include "ops/device.h"
#include "ops/functional.h"

namespace annx {
namespace {

// Inputs: destination, source of the same shape and dtype.
void copy_infer(const OpCall&, OutputSpecs&) {}

void copy_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor& t = c.in(0);
  check_writable(t, "copy_");
  Tensor s = ops::contiguous(c.in(1));
  // A transpose of itself would be read where it is written already.
  if (!t.is_contiguous() && s.storage().get() == t.storage().get()) s = call(def::clone, {s});
  if (t.is_contiguous()) {
    std::memmove(t.raw(), s.raw(), t.nbytes());
  } else {
    const size_t size = itemsize(t.dtype());
    for (int64_t i = 0; i < t.numel(); ++i) {
      int64_t rest = i, at = 0;
      for (int d = t.dim() - 1; d >= 0; --d) {
        at += (rest % t.size(d)) * t.stride(d);
        rest /= t.size(d);
      }
      std::memcpy(static_cast<char*>(t.raw()) + static_cast<size_t>(at) * size,
                  static_cast<const char*>(s.raw()) + static_cast<size_t>(i) * size, size);
    }
  }
  t.storage()->bump_version();
}

const OpDef copy_def = {.name = "copy_",
                        .signature = "",
                        .doc = "",
                        .infer = copy_infer,
                        .kernel = copy_kernel,
                        .flags = kInternal | kMutates | kHalfNative};

}  // namespace

namespace ops {

void copy_into(const Tensor& destination, const Tensor& source) {
  GradModeGuard no_grad(false);
  const Dims shape = broadcast_shapes(source.shape(), destination.shape(), "copy_");
  ANNX_CHECK(shape == destination.shape(), value, "copy_", "expected a source that broadcasts to ",
             destination.shape(), " but got shape ", source.shape());
  const Tensor s = to_device(expand(cast(source, destination.dtype()), destination.shape()),
                             destination.device());
  if (!destination.device().is_cpu()) {
    copy_on_device(s, destination);
    destination.storage()->bump_version();
    return;
  }
  call_all(copy_def, {destination, s});
}

}  // namespace ops
}  // namespace annx
