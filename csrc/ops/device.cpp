#include "ops/device.h"

#include <cstring>

#include "cuda/backend.h"
#include "ops/elementwise/driver.h"
#include "ops/elementwise/unary_rule.h"

namespace annx {

namespace {

bool is(const OpCall& c, const char* name) { return std::strcmp(c.op->name, name) == 0; }

// Copies into row-major memory move bits, whatever they mean.
const char* kernel_name(const OpCall& c) {
  return is(c, "contiguous") || is(c, "clone") ? "copy" : c.op->name;
}

// The input whose dtype picks the kernel: where's condition is always bool.
const Tensor& key_input(const OpCall& c) { return c.in(is(c, "where") ? 1 : 0); }

// Whether the tensor can be part of the launch itself.
bool is_loose_scalar(const Tensor& t) {
  return t.device().is_cpu() && t.dim() == 0 && !t.requires_grad();
}

void check_kernel(const OpCall& c, Device device) {
  const AnnxCudaApi& api = cuda::api(c.name(), device);
  const int found = api.find_elementwise(kernel_name(c), static_cast<int>(key_input(c).dtype()));
  ANNX_CHECK(found != ANNX_CUDA_UNKNOWN_OP, runtime, c.name(),
             "expected tensors on cpu but got one on ", device, ": ", c.name(),
             " is not available on cuda yet; move the tensors with .to('cpu')");
  ANNX_CHECK(found == ANNX_CUDA_KNOWN, type, c.name(),
             "expected a dtype this op supports on cuda but got ", key_input(c).dtype());
}

AnnxCudaInput as_input(const Tensor& t, const Dims& shape) {
  AnnxCudaInput in{};
  if (t.device().is_cpu()) {
    std::memcpy(&in.constant, t.raw(), itemsize(t.dtype()));
    return in;
  }
  in.data = t.device_raw();
  const Dims strides = broadcast_strides(t, shape);
  for (int d = 0; d < strides.size(); ++d) in.strides[d] = strides[d];
  return in;
}

void launch(const OpCall& c, const char* kernel, const Tensor& out) {
  const int count = c.inputs.size();
  ANNX_CHECK(count <= ANNX_CUDA_MAX_INPUTS, runtime, c.name(), "expected at most ",
             ANNX_CUDA_MAX_INPUTS, " tensors on cuda but got ", count);
  if (out.numel() == 0) return;
  AnnxCudaElementwise call{};
  call.op = kernel;
  call.input_type = static_cast<int32_t>(key_input(c).dtype());
  call.output_type = static_cast<int32_t>(out.dtype());
  call.inputs = count;
  call.dims = out.dim();
  for (int d = 0; d < out.dim(); ++d) {
    call.shape[d] = out.size(d);
    call.out_strides[d] = out.stride(d);
  }
  for (int i = 0; i < count; ++i) call.in[i] = as_input(c.in(i), out.shape());
  call.out = out.device_raw();
  const RowParams params(c.attrs);
  for (int i = 0; i < c.attrs.size() && i < ANNX_CUDA_MAX_PARAMS; ++i)
    call.params[i] = params.values[i];
  const Device device = out.device();
  cuda::check(cuda::api(c.name(), device).elementwise(device.index, &call), c.name());
}

}  // namespace

namespace detail {

Device device_of_mixed(const OpCall& c) {
  if (c.op->flags & kAnyDevice) return {};
  const Tensor* first = nullptr;
  for (const Tensor& t : c.inputs)
    if (!first && t.defined() && !t.device().is_cpu()) first = &t;
  const Device device = first->device();
  for (const Tensor& t : c.inputs)
    ANNX_CHECK(!t.defined() || t.device() == device || is_loose_scalar(t), runtime, c.name(),
               "expected all tensors on one device but got ", device, " and ", t.device());
  // Views only look at shapes.
  if (c.op->kernel) check_kernel(c, device);
  return device;
}

void run_on_cuda(const OpCall& c) { launch(c, kernel_name(c), c.out()); }

}  // namespace detail

void copy_on_device(const Tensor& from, const Tensor& to) {
  OpCall c;
  c.op = &def::contiguous;
  c.inputs.push_back(from);
  launch(c, "copy", to);
}

Device named_device(const char* text, const char* op) {
  const std::string name = text;
  const size_t colon = name.find(':');
  const std::string kind = name.substr(0, colon);
  const std::string digits = colon == std::string::npos ? "0" : name.substr(colon + 1);
  const bool number = !digits.empty() && digits.size() <= 2 &&
                      digits.find_first_not_of("0123456789") == std::string::npos;
  const bool known = (kind == "cpu" && digits == "0") || kind == "cuda";
  ANNX_CHECK(known && number, value, op, "expected device 'cpu' or 'cuda' but got '", name, "'");
  Device device;
  if (kind == "cpu") return device;
  device.kind = DeviceKind::cuda;
  device.index = static_cast<int8_t>(std::stoi(digits));
  return device;
}

Device parse_device(const char* text, const char* op) {
  const Device device = named_device(text, op);
  if (!device.is_cpu()) cuda::api(op, device, text);
  return device;
}

Attr device_attr(Device device) {
  if (device.is_cpu()) return Attr();
  return Attr(intern(("cuda:" + std::to_string(device.index)).c_str()));
}

Device device_from_attr(const Attr& attr, const char* op) {
  return attr.is_none() ? Device{} : parse_device(attr.text(), op);
}

}  // namespace annx
