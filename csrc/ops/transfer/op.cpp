// Between devices: the values stay, the memory changes.
#include <cstring>

#include "cuda/backend.h"
#include "ops/device.h"
#include "ops/elementwise/unary_rule.h"

namespace annx {
namespace {

void to_device_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
  specs.back().device = device_from_attr(c.attr(0), "to");
}

void to_device_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor source = ops::contiguous(c.in(0));
  const Tensor& out = c.out();
  if (out.numel() == 0) return;
  if (out.device().is_cpu() && source.device().is_cpu())
    std::memcpy(out.raw(), source.raw(), out.nbytes());
  else
    cuda::copy("to", out.device_raw(), out.device(), source.device_raw(), source.device(),
               out.nbytes());
}

void to_device_rule(BackwardCall& b) {
  b.set(0, ops::to_device(b.grad(), device_from_attr(b.attr(1), "to")));
}

}  // namespace

namespace def {

const OpDef to_device = {.name = "to_device",
                         .signature =
                             "to_device(Tensor input, str? device=None, str? source=None) -> "
                             "Tensor",
                         .doc =
                             "A copy of input in the memory of device (the CPU by default); the "
                             "gradient goes back to source.",
                         .infer = to_device_infer,
                         .kernel = to_device_kernel,
                         .backward = to_device_rule,
                         .cost = elementwise_cost,
                         .flags = kHalfNative | kInternal | kAnyDevice};

}  // namespace def
}  // namespace annx
