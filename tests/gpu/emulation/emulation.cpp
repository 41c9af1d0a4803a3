// Two emulated devices: one arena of memory each, open only while a kernel or a copy runs.
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>

#include "cuda/layout.h"
#include "cuda_runtime.h"

namespace {

constexpr int kDevices = 2;
constexpr size_t kArena = size_t{256} << 20, kAlign = 512;

struct Device {
  char* arena = nullptr;
  size_t next = 0;
  std::map<char*, size_t> live, free;
};

struct Machine {
  std::recursive_mutex mutex;
  Device devices[kDevices];

  Machine() {
    for (Device& d : devices)
      d.arena = static_cast<char*>(
          mmap(nullptr, kArena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  }
  void open(int access) {
    for (Device& d : devices) mprotect(d.arena, kArena, access);
  }
};

Machine& machine() {
  static auto* made = new Machine;
  return *made;
}

// Opens all device memory for one operation.
class Access {
 public:
  Access() : lock_(machine().mutex) { machine().open(PROT_READ | PROT_WRITE); }
  ~Access() { machine().open(PROT_NONE); }

 private:
  std::lock_guard<std::recursive_mutex> lock_;
};

thread_local int t_device = 0;

// The device that [p, p + bytes) belongs to, or -1.
int owner(const void* p, size_t bytes) {
  for (int i = 0; i < kDevices; ++i) {
    const char* arena = machine().devices[i].arena;
    const char* at = static_cast<const char*>(p);
    if (at >= arena && at + bytes <= arena + kArena) return i;
  }
  return -1;
}

}  // namespace

const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorInvalidValue ? "cudaErrorInvalidValue" : "cudaError";
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorInvalidValue ? "invalid argument" : "an error of the emulated device";
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = kDevices;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* out, int device) {
  if (device < 0 || device >= kDevices) return cudaErrorInvalidValue;
  *out = {};
  std::strcpy(out->name, "emulated device");
  out->major = 9;
  out->multiProcessorCount = 1;
  out->totalGlobalMem = kArena;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = t_device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= kDevices) return cudaErrorInvalidValue;
  t_device = device;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* out, unsigned) {
  // A stream is its device, so that a launch on another device's stream is noticed.
  *out = reinterpret_cast<cudaStream_t>(static_cast<uintptr_t>(t_device) + 1);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return stream ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaMalloc(void** out, size_t bytes) {
  std::lock_guard<std::recursive_mutex> lock(machine().mutex);
  Device& d = machine().devices[t_device];
  const size_t size = (bytes + kAlign - 1) / kAlign * kAlign;
  for (auto it = d.free.begin(); it != d.free.end(); ++it) {
    if (it->second < size) continue;
    *out = it->first;
    d.live[it->first] = it->second;
    d.free.erase(it);
    return cudaSuccess;
  }
  if (d.next + size > kArena) return cudaErrorMemoryAllocation;
  *out = d.arena + d.next;
  d.live[d.arena + d.next] = size;
  // Whatever was there before: outputs must be written in full.
  Access access;
  std::memset(d.arena + d.next, 0xcd, size);
  d.next += size;
  return cudaSuccess;
}
cudaError_t cudaFree(void* block) {
  std::lock_guard<std::recursive_mutex> lock(machine().mutex);
  for (Device& d : machine().devices) {
    const auto it = d.live.find(static_cast<char*>(block));
    if (it == d.live.end()) continue;
    d.free[it->first] = it->second;
    d.live.erase(it);
    return cudaSuccess;
  }
  return cudaErrorInvalidValue;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  const int device = static_cast<int>(reinterpret_cast<uintptr_t>(stream)) - 1;
  const int target = kind == cudaMemcpyDeviceToHost ? -1 : device;
  const int source = kind == cudaMemcpyHostToDevice ? -1 : device;
  if (device != t_device || owner(to, bytes) != target || owner(from, bytes) != source)
    return cudaErrorInvalidValue;
  Access access;
  std::memmove(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpyPeer(void* to, int to_device, const void* from, int from_device,
                           size_t bytes) {
  if (owner(to, bytes) != to_device || owner(from, bytes) != from_device)
    return cudaErrorInvalidValue;
  Access access;
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block, void** arguments, size_t,
                             cudaStream_t stream) {
  if (static_cast<int>(reinterpret_cast<uintptr_t>(stream)) - 1 != t_device || grid.x == 0)
    return cudaErrorInvalidValue;
  const auto& launch = *static_cast<const annx::cuda::Launch*>(arguments[0]);
  if (owner(launch.out.data, 1) != t_device) return cudaErrorInvalidValue;
  using Kernel = void (*)(annx::cuda::Launch);
  const auto run = reinterpret_cast<Kernel>(const_cast<void*>(kernel));
  Access access;
  for (unsigned b = 0; b < grid.x; ++b) {
    for (unsigned t = 0; t < block.x; ++t) {
      blockIdx.x = b;
      threadIdx.x = t;
      run(launch);
    }
  }
  return cudaSuccess;
}
