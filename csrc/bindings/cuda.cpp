// The CUDA backend for Python: what there is, transfers, memory.
#include "bindings/py.h"
#include "cuda/backend.h"
#include "ops/device.h"

namespace annx::python {

namespace {

std::string version_text(int version) {
  if (version == 0) return "none";
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

py::dict cuda_info() {
  const cuda::Info& info = cuda::info();
  py::list devices;
  for (const AnnxCudaDevice& device : info.devices) {
    py::dict d;
    d["name"] = device.name;
    d["capability"] = py::make_tuple(device.major, device.minor);
    d["multiprocessors"] = device.multiprocessors;
    d["memory"] = device.memory;
    devices.append(d);
  }
  py::dict d;
  d["built"] = info.built;
  d["available"] = info.available;
  d["reason"] = info.reason;
  d["devices"] = devices;
  d["driver"] = version_text(info.driver);
  d["runtime"] = version_text(info.runtime);
  return d;
}

py::object to_device(py::handle tensor, const std::string& device) {
  ANNX_CHECK(is_tensor(tensor.ptr()), type, "to", "expected a Tensor");
  const Device target = parse_device(device.c_str(), "to");
  const Tensor source = tensor_of(tensor.ptr());
  Tensor moved;
  {
    py::gil_scoped_release release;
    moved = ops::to_device(source, target);
  }
  return py::reinterpret_steal<py::object>(wrap(moved));
}

Device cuda_device(int index, const char* op) {
  ANNX_CHECK(index >= 0 && index < 100, value, op, "expected a device index but got ", index);
  const Device device{DeviceKind::cuda, static_cast<int8_t>(index)};
  cuda::api(op, device);
  return device;
}

void synchronize(int index) {
  const Device device = cuda_device(index, "synchronize");
  py::gil_scoped_release release;
  cuda::check(cuda::api("synchronize", device).synchronize(index), "synchronize");
}

py::dict memory(int index) {
  const Device device = cuda_device(index, "memory_stats");
  AnnxCudaMemory m{};
  cuda::check(cuda::api("memory_stats", device).memory(index, &m), "memory_stats");
  py::dict d;
  d["current_bytes"] = m.current;
  d["peak_bytes"] = m.peak;
  d["reserved_bytes"] = m.reserved;
  return d;
}

void empty_cache(int index) {
  const Device device = cuda_device(index, "empty_cache");
  cuda::check(cuda::api("empty_cache", device).empty_cache(index), "empty_cache");
}

}  // namespace

void init_cuda(py::module_& m) {
  cuda::install();
  m.def("cuda_info", cuda_info, "What the CUDA backend found: opens it the first time.");
  m.def(
      "check_device",
      [](const std::string& device, const std::string& op) {
        return parse_device(device.c_str(), op.c_str());
      },
      py::arg("device"), py::arg("op"),
      "The device of that name; raises, naming op, where there is none.");
  m.def("to_device", to_device, py::arg("tensor"), py::arg("device"),
        "tensor on another device, as part of the graph; itself where it is there already.");
  m.def("cuda_synchronize", synchronize, py::arg("index"), "Waits for a device's queued work.");
  m.def("cuda_memory", memory, py::arg("index"), "Bytes of a device's memory in use and held.");
  m.def("cuda_empty_cache", empty_cache, py::arg("index"),
        "Gives a device's cached memory back to the driver.");
}

}  // namespace annx::python
