// DLPack both ways. The structs follow the published ABI (DLPack 1.0).
#include <memory>

#include "bindings/py.h"
#include "core/readonly.h"

namespace annx::python {

namespace {

struct DLDevice {
  int32_t device_type;
  int32_t device_id;
};
struct DLDataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensor*);
};
struct DLManagedTensorVersioned {
  uint32_t major, minor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensorVersioned*);
  uint64_t flags;
  DLTensor dl_tensor;
};
constexpr int kDLCPU = 1;
constexpr uint64_t kReadOnly = 1, kIsCopied = 2;  // of flags
enum Code : uint8_t { kInt = 0, kUInt = 1, kFloat_ = 2, kBfloat = 4, kBool = 6 };

DLDataType to_dl(DType t) {
  const auto bits = static_cast<uint8_t>(itemsize(t) * 8);
  switch (t) {
    case DType::bf16:
      return {kBfloat, bits, 1};
    case DType::i64:
    case DType::i32:
      return {kInt, bits, 1};
    case DType::u8:
      return {kUInt, bits, 1};
    case DType::b8:
      return {kBool, bits, 1};
    default:
      return {kFloat_, bits, 1};
  }
}

DType from_dl(DLDataType d) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const DLDataType t = to_dl(static_cast<DType>(i));
    if (t.code == d.code && t.bits == d.bits && d.lanes == 1) return static_cast<DType>(i);
  }
  fail(ErrorKind::type, "from_dlpack", "expected a dtype annx has but got DLPack code ",
       int{d.code}, " with ", int{d.bits}, " bits and ", d.lanes, " lanes");
}

template <class Managed>
struct Export {
  Managed managed{};
  Tensor tensor;
  Dims shape, strides;

  explicit Export(const Tensor& t) : tensor(t), shape(t.shape()), strides(t.strides()) {
    managed.manager_ctx = this;
    managed.deleter = [](Managed* m) {
      py::gil_scoped_acquire gil;
      delete static_cast<Export*>(m->manager_ctx);
    };
    managed.dl_tensor = {t.raw(),       {kDLCPU, 0},     t.dim(), to_dl(t.dtype()),
                         shape.begin(), strides.begin(), 0};
  }
};

template <class Managed>
py::object make_capsule(const Tensor& t, const char* label, [[maybe_unused]] bool copied) {
  auto* e = new Export<Managed>(t);
  if constexpr (std::is_same_v<Managed, DLManagedTensorVersioned>) {
    e->managed.major = 1;
    e->managed.minor = 0;
    e->managed.flags = (is_readonly(t) ? kReadOnly : 0) | (copied ? kIsCopied : 0);
  }
  return py::reinterpret_steal<py::object>(PyCapsule_New(&e->managed, label, [](PyObject* capsule) {
    // A consumed capsule has been renamed and belongs to its consumer.
    const char* current = PyCapsule_GetName(capsule);
    if (!current || std::string(current).rfind("used_", 0) == 0) return;
    auto* m = static_cast<Managed*>(PyCapsule_GetPointer(capsule, current));
    if (m) m->deleter(m);
  }));
}

py::object to_dlpack(py::handle self, bool versioned, bool copy) {
  Tensor t = tensor_of(self.ptr());
  check_readable(t, "dlpack");
  ANNX_CHECK(!t.requires_grad(), runtime, "dlpack",
             "expected a tensor that does not require grad: use detach() first");
  if (copy) {
    GradModeGuard no_grad(false);
    t = call(def::clone, {t});
  }
  // The older form cannot say that memory must not be written.
  if (!versioned && is_readonly(t))
    throw py::buffer_error(
        "[dlpack] expected memory that can be written, or a reader of DLPack 1.0, but this tensor "
        "shares the memory of a read-only array: copy it with annx.tensor first");
  return versioned ? make_capsule<DLManagedTensorVersioned>(t, "dltensor_versioned", copy)
                   : make_capsule<DLManagedTensor>(t, "dltensor", copy);
}

template <class Managed>
Tensor import_managed(py::handle capsule, const char* label, const char* used) {
  auto* m = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), label));
  if (!m) throw py::error_already_set();
  const DLTensor& d = m->dl_tensor;
  ANNX_CHECK(d.device.device_type == kDLCPU, runtime, "from_dlpack",
             "expected CPU memory but got DLPack device type ", d.device.device_type);
  ANNX_CHECK(d.ndim >= 0 && d.ndim <= kMaxDims, value, "from_dlpack", "expected at most ", kMaxDims,
             " dimensions but got ", d.ndim);
  const DType dtype = from_dl(d.dtype);
  Dims shape, strides;
  for (int i = 0; i < d.ndim; ++i) shape.push_back(d.shape[i]);
  const int64_t n = numel_of(shape, "from_dlpack");
  strides = contiguous_strides(shape);
  if (d.strides)
    for (int i = 0; i < d.ndim; ++i) strides[i] = d.strides[i];
  char* data = static_cast<char*>(d.data) + d.byte_offset;
  ANNX_CHECK(n == 0 || reinterpret_cast<uintptr_t>(data) % itemsize(dtype) == 0, value,
             "from_dlpack", "expected data aligned to its item size");
  bool readonly = false;
  if constexpr (std::is_same_v<Managed, DLManagedTensorVersioned>) readonly = m->flags & kReadOnly;
  const auto marked = std::make_shared<uint64_t>(0);  // the storage's id
  auto storage = Storage::wrap(data, static_cast<size_t>(n) * itemsize(dtype), {}, [m, marked] {
    if (*marked) forget_readonly(*marked);
    py::gil_scoped_acquire gil;
    if (m->deleter) m->deleter(m);
  });
  if (readonly) mark_readonly(*marked = storage->id());
  PyCapsule_SetName(capsule.ptr(), used);
  return Tensor::from_storage(std::move(storage), shape, strides, dtype);
}

py::object from_capsule(py::handle capsule) {
  ANNX_CHECK(PyCapsule_CheckExact(capsule.ptr()), type, "from_dlpack",
             "expected a DLPack capsule but got ", Py_TYPE(capsule.ptr())->tp_name);
  const Tensor t = PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")
                       ? import_managed<DLManagedTensorVersioned>(capsule, "dltensor_versioned",
                                                                  "used_dltensor_versioned")
                       : import_managed<DLManagedTensor>(capsule, "dltensor", "used_dltensor");
  return py::reinterpret_steal<py::object>(wrap(t));
}

}  // namespace

void init_dlpack(py::module_& m) {
  m.def("to_dlpack", to_dlpack, py::arg("tensor"), py::arg("versioned"), py::arg("copy"),
        "A DLPack capsule over the memory of tensor.");
  m.def("from_dlpack_capsule", from_capsule, "A tensor over the memory of a DLPack capsule.");
}

}  // namespace annx::python
