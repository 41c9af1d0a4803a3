#include "core/tensor.h"

#include <atomic>
#include <cstring>

#include "core/allocator.h"
#include "core/truncate.h"

namespace annx {

namespace {

// Each thread takes a range of ids at a time.
uint64_t next_storage_id() {
  constexpr uint64_t kRange = 1 << 16;
  static std::atomic<uint64_t> ranges{0};
  thread_local uint64_t next = 0;
  if (next % kRange == 0) next = ranges.fetch_add(kRange, std::memory_order_relaxed) + 1;
  return next++;
}

}  // namespace

Storage::Storage() : id_(next_storage_id()) {}

void* Storage::operator new(size_t size) { return annx::allocate(size); }
void Storage::operator delete(void* p, size_t size) { annx::deallocate(p, size); }
void* TensorImpl::operator new(size_t size) { return annx::allocate(size); }
void TensorImpl::operator delete(void* p, size_t size) { annx::deallocate(p, size); }

namespace {
DeviceMemory g_device_memory;
}

void set_device_memory(const DeviceMemory& memory) { g_device_memory = memory; }

Ref<Storage> Storage::allocate(size_t bytes, Device device) {
  ANNX_CHECK(device.is_cpu() || g_device_memory.allocate, runtime, "storage",
             "expected device cpu but got ", device, ": this device has no allocator here");
  Ref<Storage> s(new Storage);
  s->data_ = device.is_cpu() ? annx::allocate(bytes) : g_device_memory.allocate(bytes, device);
  s->bytes_ = bytes;
  s->device_ = device;
  return s;
}

Ref<Storage> Storage::wrap(void* data, size_t bytes, Device device, std::function<void()> release) {
  Ref<Storage> s(new Storage);
  s->data_ = data;
  s->bytes_ = bytes;
  s->device_ = device;
  s->release_ = std::move(release);
  return s;
}

void (*Storage::on_death)(uint64_t id) = nullptr;

Storage::~Storage() {
  if (watched_ && on_death) on_death(id_);
  if (release_)
    release_();
  else if (data_ && device_.is_cpu())
    annx::deallocate(data_, bytes_);
  else if (data_)
    g_device_memory.deallocate(data_, device_);
}

bool is_contiguous_layout(const Dims& shape, const Dims& strides) {
  int64_t expected = 1;
  for (int i = shape.size() - 1; i >= 0; --i) {
    if (shape[i] == 0) return true;
    if (shape[i] != 1 && strides[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

Tensor Tensor::empty(const Dims& shape, DType dtype, Device device) {
  auto impl = make_ref<TensorImpl>();
  impl->numel = numel_of(shape);
  impl->storage = Storage::allocate(static_cast<size_t>(impl->numel) * itemsize(dtype), device);
  impl->shape = shape;
  impl->strides = contiguous_strides(shape);
  impl->dtype = dtype;
  return Tensor(std::move(impl));
}

Tensor Tensor::empty_strided(const Dims& shape, const Dims& strides, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  if (!strides.empty()) {
    t.impl()->strides = strides;
    t.impl()->contiguous = is_contiguous_layout(shape, strides);
  }
  return t;
}

Tensor Tensor::from_storage(Ref<Storage> storage, const Dims& shape, const Dims& strides,
                            DType dtype, int64_t offset) {
  auto impl = make_ref<TensorImpl>();
  impl->storage = std::move(storage);
  impl->offset = offset;
  impl->shape = shape;
  impl->strides = strides;
  impl->numel = numel_of(shape);
  impl->dtype = dtype;
  impl->contiguous = is_contiguous_layout(shape, strides);
  return Tensor(std::move(impl));
}

Tensor Tensor::view_of(const Tensor& base, const Dims& shape, const Dims& strides, int64_t offset) {
  return from_storage(base.storage(), shape, strides, base.dtype(), offset);
}

void Tensor::fail_not_on_cpu() const {
  fail(ErrorKind::runtime, "tensor", "expected memory on cpu but got a tensor on ", device(),
       ": what was asked for is not available there yet; move the tensor with .to('cpu')");
}

Tensor Tensor::detach() const { return view_of(*this, shape(), strides(), offset()); }

namespace {

template <class To, class From>
To as(From v) {
  if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>)
    return static_cast<To>(truncate(v));
  else
    return static_cast<To>(v);
}

template <class From>
void store_as(void* p, DType dtype, From v) {
  switch (dtype) {
    case DType::f32:
      *static_cast<float*>(p) = static_cast<float>(v);
      break;
    case DType::f64:
      *static_cast<double*>(p) = static_cast<double>(v);
      break;
    case DType::f16:
      *static_cast<uint16_t*>(p) = f32_to_f16(static_cast<float>(v));
      break;
    case DType::bf16:
      *static_cast<uint16_t*>(p) = f32_to_bf16(static_cast<float>(v));
      break;
    case DType::i64:
      *static_cast<int64_t*>(p) = as<int64_t>(v);
      break;
    case DType::i32:
      *static_cast<int32_t*>(p) = static_cast<int32_t>(as<int64_t>(v));
      break;
    case DType::u8:
      *static_cast<uint8_t*>(p) = static_cast<uint8_t>(as<int64_t>(v));
      break;
    case DType::b8:
      *static_cast<uint8_t*>(p) = v != From{0};
      break;
  }
}

template <class To>
To load_as(const void* p, DType dtype) {
  switch (dtype) {
    case DType::f32:
      return as<To>(*static_cast<const float*>(p));
    case DType::f64:
      return as<To>(*static_cast<const double*>(p));
    case DType::f16:
      return as<To>(f16_to_f32(*static_cast<const uint16_t*>(p)));
    case DType::bf16:
      return as<To>(bf16_to_f32(*static_cast<const uint16_t*>(p)));
    case DType::i64:
      return as<To>(*static_cast<const int64_t*>(p));
    case DType::i32:
      return as<To>(*static_cast<const int32_t*>(p));
    case DType::u8:
      return as<To>(*static_cast<const uint8_t*>(p));
    case DType::b8:
      return as<To>(*static_cast<const uint8_t*>(p) != 0);
  }
  return To{0};
}

}  // namespace

void store_scalar(void* p, DType dtype, double value) { store_as(p, dtype, value); }
void store_scalar(void* p, DType dtype, int64_t value) { store_as(p, dtype, value); }
double load_scalar_f64(const void* p, DType dtype) { return load_as<double>(p, dtype); }
int64_t load_scalar_i64(const void* p, DType dtype) { return load_as<int64_t>(p, dtype); }

uint16_t f32_to_bf16(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40u);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

float bf16_to_f32(uint16_t x) {
  const uint32_t u = static_cast<uint32_t>(x) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}

uint16_t f32_to_f16(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  const uint32_t sign = (u >> 16) & 0x8000u;
  u &= 0x7fffffffu;
  if (u > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((u >> 13) & 0x3ffu));
  if (u >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // overflows to infinity
  if (u < 0x38800000u) {  // subnormal half: let a float add do the rounding
    float f;
    std::memcpy(&f, &u, 4);
    f += 0.5f;
    uint32_t r;
    std::memcpy(&r, &f, 4);
    return static_cast<uint16_t>(sign | (r - 0x3f000000u));
  }
  u += 0xc8000fffu + ((u >> 13) & 1u);
  return static_cast<uint16_t>(sign | (u >> 13));
}

float f16_to_f32(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  uint32_t bits = h & 0x7fffu;
  uint32_t u;
  if (bits >= 0x7c00u) {
    u = sign | 0x7f800000u | ((bits & 0x3ffu) << 13);
    if (bits & 0x3ffu) u |= 0x400000u;
  } else if (bits >= 0x400u) {
    u = sign | ((bits << 13) + 0x38000000u);
  } else {
    const float f = static_cast<float>(bits) * 0x1p-24f;
    std::memcpy(&u, &f, 4);
    u |= sign;
  }
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}

}  // namespace annx
