// Where an op runs: on the one device of its tensors, by the kernel it has there.
#pragma once

#include "ops/registry.h"

namespace annx {

namespace detail {
Device device_of_mixed(const OpCall& c);
void run_on_cuda(const OpCall& c);
}  // namespace detail

// The device of c's tensors. Throws when there are several, or when the op has no kernel there. A
// CPU scalar off the tape goes anywhere: it travels with the launch.
inline Device device_of(const OpCall& c) {
  for (const Tensor& t : c.inputs)
    if (t.defined() && !t.device().is_cpu()) return detail::device_of_mixed(c);
  return {};
}

inline void run_kernel(const OpCall& c, Device device) {
  if (device.is_cpu() || (c.op->flags & kAnyDevice))
    c.op->kernel(c);
  else
    detail::run_on_cuda(c);
}

// Writes from, broadcast to the shape of to and of its dtype, into the memory of to: both on one CUDA
// device, any strides.
void copy_on_device(const Tensor& from, const Tensor& to);

// "cpu", "cuda" or "cuda:1"; throws on anything else.
Device named_device(const char* text, const char* op);
// The same, and throws where there is no such device.
Device parse_device(const char* text, const char* op);

// A device as an attribute: none for the CPU.
Attr device_attr(Device device);
Device device_from_attr(const Attr& attr, const char* op);

}  // namespace annx
