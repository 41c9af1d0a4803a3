// The table of api.h, and the kernels that signed in.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/kernels.cuh"
#include "cuda/runtime.cuh"

namespace annx::cuda {

namespace {

// Sorted by op, then dtypes, at first use: static objects sign in before that in any order.
std::vector<ElementwiseEntry>& signed_in() {
  static auto* all = new std::vector<ElementwiseEntry>;
  return *all;
}

bool before(const ElementwiseEntry& a, const ElementwiseEntry& b) {
  const int order = std::strcmp(a.op, b.op);
  if (order != 0) return order < 0;
  return a.input != b.input ? a.input < b.input : a.output < b.output;
}

const std::vector<ElementwiseEntry>& entries() {
  static const std::vector<ElementwiseEntry>& sorted = [&]() -> std::vector<ElementwiseEntry>& {
    std::sort(signed_in().begin(), signed_in().end(), before);
    return signed_in();
  }();
  return sorted;
}

const ElementwiseEntry* find(const char* op, int input, int output) {
  const auto& all = entries();
  ElementwiseEntry wanted{};
  wanted.op = op;
  wanted.input = static_cast<DType>(input);
  wanted.output = -1;
  for (auto it = std::lower_bound(all.begin(), all.end(), wanted, before);
       it != all.end() && std::strcmp(it->op, op) == 0 && it->input == wanted.input; ++it)
    if (it->output == -1 || it->output == output) return &*it;
  return nullptr;
}

int find_elementwise(const char* op, int input_type) {
  const auto& all = entries();
  ElementwiseEntry wanted{};
  wanted.op = op;
  wanted.output = -1;
  auto it = std::lower_bound(all.begin(), all.end(), wanted, before);
  if (it == all.end() || std::strcmp(it->op, op) != 0) return ANNX_CUDA_UNKNOWN_OP;
  for (; it != all.end() && std::strcmp(it->op, op) == 0; ++it)
    if (static_cast<int>(it->input) == input_type) return ANNX_CUDA_KNOWN;
  return ANNX_CUDA_UNKNOWN_TYPE;
}

int elementwise(int device, const AnnxCudaElementwise* call) {
  const ElementwiseEntry* e = find(call->op, call->input_type, call->output_type);
  if (!e || e->inputs != call->inputs) {
    const std::string text = std::string("there is no such kernel: ") + call->op;
    return report_text(ANNX_CUDA_FAILED, text.c_str());
  }
  DeviceGuard guard(device);
  ANNX_CUDA_TRY(guard.status());
  DeviceState* state = nullptr;
  if (const int failed = state_of(device, &state)) return failed;
  cudaError_t status = cudaSuccess;
  each_launch(*call, e->in_size, e->out_size, e->width, [&](const Launch& launch) {
    if (status != cudaSuccess) return;
    const unsigned per_block = kThreads * static_cast<unsigned>(e->width);
    const dim3 grid((launch.count + per_block - 1) / per_block);
    void* arguments[] = {const_cast<Launch*>(&launch)};
    status = cudaLaunchKernel(e->kernel, grid, dim3(kThreads), arguments, 0, state->stream);
  });
  ANNX_CUDA_TRY(status);
  return ANNX_CUDA_OK;
}

int device_count(int* count) {
  *count = 0;
  ANNX_CUDA_TRY(cudaGetDeviceCount(count));
  return ANNX_CUDA_OK;
}

int versions(int* driver, int* runtime) {
  ANNX_CUDA_TRY(cudaDriverGetVersion(driver));
  ANNX_CUDA_TRY(cudaRuntimeGetVersion(runtime));
  return ANNX_CUDA_OK;
}

int describe(int device, AnnxCudaDevice* out) {
  cudaDeviceProp properties{};
  ANNX_CUDA_TRY(cudaGetDeviceProperties(&properties, device));
  static_assert(sizeof(out->name) == sizeof(properties.name));
  std::memcpy(out->name, properties.name, sizeof(out->name));
  out->major = properties.major;
  out->minor = properties.minor;
  out->multiprocessors = properties.multiProcessorCount;
  out->memory = properties.totalGlobalMem;
  return ANNX_CUDA_OK;
}

int synchronize(int device) {
  DeviceGuard guard(device);
  ANNX_CUDA_TRY(guard.status());
  DeviceState* state = nullptr;
  if (const int failed = state_of(device, &state)) return failed;
  ANNX_CUDA_TRY(cudaStreamSynchronize(state->stream));
  return ANNX_CUDA_OK;
}

int allocate(int device, size_t bytes, void** out) {
  DeviceGuard guard(device);
  ANNX_CUDA_TRY(guard.status());
  DeviceState* state = nullptr;
  if (const int failed = state_of(device, &state)) return failed;
  if (state->memory.allocate(bytes, out)) return ANNX_CUDA_OK;
  const std::string text = "the device has no memory left for " + std::to_string(bytes) + " bytes";
  return report_text(ANNX_CUDA_NO_MEMORY, text.c_str());
}

int deallocate(int device, void* block) {
  DeviceState* state = nullptr;
  if (const int failed = state_of(device, &state)) return failed;
  if (state->memory.deallocate(block)) return ANNX_CUDA_OK;
  return report_text(ANNX_CUDA_FAILED, "the block does not belong to this device");
}

int memory(int device, AnnxCudaMemory* out) {
  DeviceGuard guard(device);
  ANNX_CUDA_TRY(guard.status());
  DeviceState* state = nullptr;
  if (const int failed = state_of(device, &state)) return failed;
  const auto stats = state->memory.stats();
  *out = {stats.current, stats.peak, stats.reserved};
  return ANNX_CUDA_OK;
}

int empty_cache(int device) {
  if (const int failed = synchronize(device)) return failed;
  DeviceGuard guard(device);
  ANNX_CUDA_TRY(guard.status());
  DeviceState* state = nullptr;
  if (const int failed = state_of(device, &state)) return failed;
  state->memory.empty();
  return ANNX_CUDA_OK;
}

// Between two devices both sides are waited for; with the host, the copy itself: pageable memory may
// be freed or written right after. Within a device it is queued as kernels are.
int copy(void* to, int to_device, const void* from, int from_device, size_t bytes) {
  const bool to_host = to_device == ANNX_CUDA_HOST, from_host = from_device == ANNX_CUDA_HOST;
  if (to_host && from_host) {
    std::memcpy(to, from, bytes);
    return ANNX_CUDA_OK;
  }
  if (!to_host && !from_host && to_device != from_device) {
    if (const int failed = synchronize(from_device)) return failed;
    if (const int failed = synchronize(to_device)) return failed;
    ANNX_CUDA_TRY(cudaMemcpyPeer(to, to_device, from, from_device, bytes));
    return synchronize(to_device);
  }
  const int device = to_host ? from_device : to_device;
  DeviceGuard guard(device);
  ANNX_CUDA_TRY(guard.status());
  DeviceState* state = nullptr;
  if (const int failed = state_of(device, &state)) return failed;
  const cudaMemcpyKind kind = to_host     ? cudaMemcpyDeviceToHost
                              : from_host ? cudaMemcpyHostToDevice
                                          : cudaMemcpyDeviceToDevice;
  ANNX_CUDA_TRY(cudaMemcpyAsync(to, from, bytes, kind, state->stream));
  if (to_host || from_host) ANNX_CUDA_TRY(cudaStreamSynchronize(state->stream));
  return ANNX_CUDA_OK;
}

// A copy of a constant, in the dtype of that size.
int fill(int device, void* out, uint64_t bits, size_t size, size_t count) {
  constexpr DType by_size[9] = {DType::u8, DType::u8, DType::f16, DType::u8, DType::f32,
                                DType::u8, DType::u8, DType::u8,  DType::f64};
  AnnxCudaElementwise call{};
  call.op = "copy";
  call.input_type = call.output_type = static_cast<int32_t>(by_size[size <= 8 ? size : 0]);
  call.inputs = 1;
  call.dims = 1;
  call.shape[0] = static_cast<int64_t>(count);
  call.in[0].constant = bits;
  call.out = out;
  call.out_strides[0] = 1;
  return elementwise(device, &call);
}

const AnnxCudaApi table = {ANNX_CUDA_API_VERSION,
                           sizeof(AnnxCudaApi),
                           last_error,
                           device_count,
                           versions,
                           describe,
                           synchronize,
                           allocate,
                           deallocate,
                           memory,
                           empty_cache,
                           copy,
                           fill,
                           find_elementwise,
                           elementwise};

}  // namespace

SignIn::SignIn(const ElementwiseEntry* entries, size_t count) {
  signed_in().insert(signed_in().end(), entries, entries + count);
}

}  // namespace annx::cuda

extern "C" __attribute__((visibility("default"))) const AnnxCudaApi* annx_cuda_api(
    uint32_t version) {
  return version == ANNX_CUDA_API_VERSION ? &annx::cuda::table : nullptr;
}
