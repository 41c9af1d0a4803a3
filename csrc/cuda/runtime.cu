#include "cuda/runtime.cuh"

#include <mutex>
#include <string>

namespace annx::cuda {

namespace {

thread_local std::string t_error;

constexpr int kMaxDevices = 64;

struct Devices {
  std::mutex mutex;
  DeviceState* state[kMaxDevices] = {};
};

// Never destroyed: tensors may outlive static objects.
Devices& devices() {
  static auto* made = new Devices;
  return *made;
}

}  // namespace

int report_text(int code, const char* text) {
  t_error = text;
  return code;
}

int report(cudaError_t error, const char* what) {
  (void)cudaGetLastError();  // an error that was told once must not come back
  switch (error) {
    case cudaErrorInsufficientDriver:
      return report_text(ANNX_CUDA_FAILED,
                         "no NVIDIA driver was found, or it is older than this build's CUDA needs "
                         "(cudaErrorInsufficientDriver)");
    case cudaErrorNoDevice:
      return report_text(ANNX_CUDA_FAILED, "this machine has no CUDA device (cudaErrorNoDevice)");
    case cudaErrorNoKernelImageForDevice:
      return report_text(ANNX_CUDA_FAILED,
                         "this build has no code for the compute capability of this device "
                         "(cudaErrorNoKernelImageForDevice)");
    default:
      break;
  }
  t_error =
      std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error) + ", in " + what;
  return error == cudaErrorMemoryAllocation ? ANNX_CUDA_NO_MEMORY : ANNX_CUDA_FAILED;
}

const char* last_error() { return t_error.c_str(); }

DeviceGuard::DeviceGuard(int device) {
  status_ = cudaGetDevice(&before_);
  if (status_ != cudaSuccess) return;
  if (before_ == device) {
    before_ = -1;
    return;
  }
  status_ = cudaSetDevice(device);
}

DeviceGuard::~DeviceGuard() {
  if (before_ >= 0) (void)cudaSetDevice(before_);
}

bool DeviceSource::take(size_t bytes, void** out) const {
  if (cudaMalloc(out, bytes) == cudaSuccess) return true;
  (void)cudaGetLastError();
  return false;
}

// Waits for the device, so nothing that is queued still uses the block.
void DeviceSource::give(void* block) const { (void)cudaFree(block); }

int state_of(int device, DeviceState** out) {
  if (device < 0 || device >= kMaxDevices)
    return report_text(ANNX_CUDA_FAILED, "there is no device of this index");
  Devices& all = devices();
  std::lock_guard<std::mutex> lock(all.mutex);
  if (!all.state[device]) {
    cudaStream_t stream = nullptr;
    ANNX_CUDA_TRY(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    auto* made = new DeviceState;
    made->index = device;
    made->stream = stream;
    all.state[device] = made;
  }
  *out = all.state[device];
  return ANNX_CUDA_OK;
}

}  // namespace annx::cuda
