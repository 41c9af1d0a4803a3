// Tensor: a functional value over shared storage. Core knows nothing of ops or of the tape: the
// tape hangs its own data on GradMeta.
#pragma once

#include <cstddef>
#include <functional>
#include <type_traits>

#include "core/device.h"
#include "core/dims.h"
#include "core/dtype.h"
#include "core/ref.h"

namespace annx {

class Storage : public RefCounted {
 public:
  // Allocates bytes on the device, through its caching allocator.
  static Ref<Storage> allocate(size_t bytes, Device device = {});
  // Wraps foreign memory; release is called once when the last tensor lets go.
  static Ref<Storage> wrap(void* data, size_t bytes, Device device, std::function<void()> release);

  ~Storage() override;
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  uint32_t version() const { return version_; }
  // Never given to another storage, unlike an address.
  uint64_t id() const { return id_; }
  void bump_version() { ++version_; }
  // Has on_death called with its id when the last tensor lets go.
  void watch() { watched_ = true; }
  static void (*on_death)(uint64_t id);

  static void* operator new(size_t size);
  static void operator delete(void* p, size_t size);

 private:
  Storage();
  uint64_t id_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
  Device device_;
  bool watched_ = false;
  uint32_t version_ = 0;  // counts writes after creation, so that the tape notices them
  std::function<void()> release_;
};

// How memory of other devices comes and goes; set once by the layer that drives them.
struct DeviceMemory {
  void* (*allocate)(size_t bytes, Device device) = nullptr;
  void (*deallocate)(void* block, Device device) noexcept = nullptr;
};
void set_device_memory(const DeviceMemory& memory);

// Base of what the tape keeps beside a tensor.
class GradMeta : public RefCounted {
 public:
  bool requires_grad = false;
};

class TensorImpl : public RefCounted {
 public:
  Ref<Storage> storage;
  int64_t offset = 0;  // in elements
  Dims shape;
  Dims strides;  // in elements
  int64_t numel = 0;
  DType dtype = DType::f32;
  bool contiguous = true;
  bool wrapped_number = false;  // made from a Python number: does not take part in promotion
  bool known_one = false;       // the 1 that a backward pass starts from
  Ref<GradMeta> grad_meta;
  void* pyobject = nullptr;  // the living Python object of this tensor, not owned

  static void* operator new(size_t size);
  static void operator delete(void* p, size_t size);
};

class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(Ref<TensorImpl> impl) : impl_(std::move(impl)) {}

  // Uninitialised, row-major.
  static Tensor empty(const Dims& shape, DType dtype, Device device = {});
  // Uninitialised; strides describe a dense layout (core/layout.h), or are empty for row-major.
  static Tensor empty_strided(const Dims& shape, const Dims& strides, DType dtype,
                              Device device = {});
  // A view of the storage of base (no grad meta).
  static Tensor view_of(const Tensor& base, const Dims& shape, const Dims& strides, int64_t offset);
  static Tensor from_storage(Ref<Storage> storage, const Dims& shape, const Dims& strides,
                             DType dtype, int64_t offset = 0);
  template <class T>
  static Tensor scalar(T value, DType dtype = DTypeOf<T>::value);

  bool defined() const { return static_cast<bool>(impl_); }
  TensorImpl* impl() const { return impl_.get(); }
  const Dims& shape() const { return impl_->shape; }
  const Dims& strides() const { return impl_->strides; }
  int64_t size(int i) const { return impl_->shape[i < 0 ? i + dim() : i]; }
  int64_t stride(int i) const { return impl_->strides[i < 0 ? i + dim() : i]; }
  int dim() const { return impl_->shape.size(); }
  int64_t numel() const { return impl_->numel; }
  size_t nbytes() const { return static_cast<size_t>(numel()) * itemsize(dtype()); }
  DType dtype() const { return impl_->dtype; }
  Device device() const { return impl_->storage->device(); }
  int64_t offset() const { return impl_->offset; }
  const Ref<Storage>& storage() const { return impl_->storage; }
  bool is_contiguous() const { return impl_->contiguous; }
  // Memory of the CPU; throws for a tensor on another device.
  void* raw() const {
    if (__builtin_expect(!device().is_cpu(), 0)) fail_not_on_cpu();
    return device_raw();
  }
  // The first element's address, in the memory of the tensor's device.
  void* device_raw() const {
    return static_cast<char*>(impl_->storage->data()) + impl_->offset * itemsize(impl_->dtype);
  }
  template <class T>
  T* data() const {
    return static_cast<T*>(raw());
  }

  bool requires_grad() const { return impl_->grad_meta && impl_->grad_meta->requires_grad; }
  bool is_same(const Tensor& o) const { return impl_.get() == o.impl_.get(); }
  // The same values without the tape.
  Tensor detach() const;

 private:
  [[noreturn]] void fail_not_on_cpu() const;
  Ref<TensorImpl> impl_;
};

// True for the gradient that backward() starts from, as long as nobody wrote into it: rules may
// leave out the product with it, also in a recorded step.
inline bool is_known_one(const Tensor& t) {
  return t.impl()->known_one && t.storage()->version() == 0;
}

// True when strides describe row-major memory (sizes of 1 may have any stride).
bool is_contiguous_layout(const Dims& shape, const Dims& strides);

// Writes value, converted to dtype, to one element.
void store_scalar(void* p, DType dtype, double value);
void store_scalar(void* p, DType dtype, int64_t value);
double load_scalar_f64(const void* p, DType dtype);
int64_t load_scalar_i64(const void* p, DType dtype);

template <class T>
Tensor Tensor::scalar(T value, DType dtype) {
  Tensor t = empty({}, dtype);
  if constexpr (std::is_floating_point_v<T>)
    store_scalar(t.raw(), dtype, static_cast<double>(value));
  else
    store_scalar(t.raw(), dtype, static_cast<int64_t>(value));
  return t;
}

// Conversions between float32 and the half storage types, round to nearest even.
uint16_t f32_to_bf16(float x);
float bf16_to_f32(uint16_t x);
uint16_t f32_to_f16(float x);
float f16_to_f32(uint16_t x);

}  // namespace annx
