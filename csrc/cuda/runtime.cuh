// Devices, their one stream each, their memory, and errors as codes with a text.
#pragma once

#include <cuda_runtime.h>

#include "cuda/api.h"
#include "cuda/block_cache.h"

namespace annx::cuda {

// Remembers why for last_error() of this thread; returns the code for the table's caller.
int report(cudaError_t error, const char* what);
int report_text(int code, const char* text);
const char* last_error();

#define ANNX_CUDA_TRY(call)                                                \
  do {                                                                     \
    const cudaError_t error_ = (call);                                     \
    if (error_ != cudaSuccess) return ::annx::cuda::report(error_, #call); \
  } while (false)

// Makes a device current for this thread, and the former one again at the end: the process may have
// other users of CUDA.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  cudaError_t status() const { return status_; }

 private:
  int before_ = -1;
  cudaError_t status_;
};

struct DeviceSource {
  bool take(size_t bytes, void** out) const;
  void give(void* block) const;
};

struct DeviceState {
  int index = 0;
  cudaStream_t stream = nullptr;
  BlockCache<DeviceSource> memory{DeviceSource{}};
};

// The state of a device, made at first use, with the device current (hold a DeviceGuard).
int state_of(int device, DeviceState** out);

}  // namespace annx::cuda
