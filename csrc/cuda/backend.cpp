#include "cuda/backend.h"

#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>

#include "core/error.h"
#include "core/tensor.h"

namespace annx::cuda {

namespace {

constexpr const char* kLibrary = "_annx_cuda.so";

// The driver's state does not survive a fork: the child must not touch it.
std::atomic<bool> g_forked{false};

struct Backend {
  Info info;
  const AnnxCudaApi* api = nullptr;
};

// The folder of the extension this code is linked into.
std::string own_folder() {
  Dl_info found;
  if (!dladdr(reinterpret_cast<void*>(&install), &found) || !found.dli_fname) return "";
  const std::string path = found.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

const AnnxCudaApi* open_library(std::string* reason) {
  const std::string path = own_folder() + "/" + kLibrary;
  if (access(path.c_str(), R_OK) != 0) {
    *reason = "the CUDA backend of this build is missing: no " + path;
    return nullptr;
  }
  // Never closed: tensors hold its memory until the end.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    *reason = std::string("the CUDA backend could not be opened: ") + dlerror();
    return nullptr;
  }
  const auto entry = reinterpret_cast<AnnxCudaApiFunction>(dlsym(library, "annx_cuda_api"));
  const AnnxCudaApi* table = entry ? entry(ANNX_CUDA_API_VERSION) : nullptr;
  if (!table || table->version != ANNX_CUDA_API_VERSION || table->size != sizeof(AnnxCudaApi)) {
    *reason = path + " belongs to another version of annx";
    return nullptr;
  }
  return table;
}

Backend open_backend() {
  Backend b;
  b.info.built = built();
  if (!b.info.built) {
    b.info.reason = "this build of annx has no CUDA backend (ANNX_CUDA=1 pip install . builds it)";
    return b;
  }
  b.api = open_library(&b.info.reason);
  if (!b.api) return b;
  int count = 0;
  b.api->versions(&b.info.driver, &b.info.runtime);
  if (b.api->device_count(&count) != ANNX_CUDA_OK) {
    b.info.reason = b.api->last_error();
    return b;
  }
  for (int i = 0; i < count; ++i) {
    AnnxCudaDevice device{};
    if (b.api->describe(i, &device) != ANNX_CUDA_OK) {
      b.info.reason = b.api->last_error();
      return b;
    }
    b.info.devices.push_back(device);
  }
  if (count == 0) {
    b.info.reason = "this machine has no CUDA device";
    return b;
  }
  b.info.available = true;
  pthread_atfork(nullptr, nullptr, [] { g_forked = true; });
  return b;
}

const Backend& backend() {
  static const Backend* made = new Backend(open_backend());
  return *made;
}

void* allocate_memory(size_t bytes, Device device) {
  void* block = nullptr;
  check(api("allocator", device).allocate(device.index, bytes, &block), "allocator");
  return block;
}

// At the end of the process the runtime may be gone already, and a forked child must leave the
// parent's memory alone: then nothing is to be done.
void deallocate_memory(void* block, Device device) noexcept {
  if (!g_forked) backend().api->deallocate(device.index, block);
}

}  // namespace

bool built() {
#ifdef ANNX_CUDA
  return true;
#else
  return false;
#endif
}

const Info& info() { return backend().info; }

const AnnxCudaApi& api(const char* op, Device device, const char* shown) {
  const Backend& b = backend();
  const auto count = static_cast<int>(b.info.devices.size());
  if (!b.info.available || device.index < 0 || device.index >= count) {
    const std::string name = shown ? shown : "cuda:" + std::to_string(device.index);
    fail(ErrorKind::runtime, op, "expected an available device but got '", name,
         "': ", b.info.available ? "this machine has " + std::to_string(count) : b.info.reason);
  }
  ANNX_CHECK(!g_forked, runtime, op, "expected a process that did not fork after it used ", device,
             ": start workers with the spawn method");
  return *b.api;
}

void check(int status, const char* op) {
  if (__builtin_expect(status == ANNX_CUDA_OK, 1)) return;
  fail(status == ANNX_CUDA_NO_MEMORY ? ErrorKind::memory : ErrorKind::runtime, op,
       "expected the CUDA device to answer but got: ", backend().api->last_error());
}

void copy(const char* op, void* to, Device to_device, const void* from, Device from_device,
          size_t bytes) {
  const AnnxCudaApi& table = api(op, to_device.is_cpu() ? from_device : to_device);
  if (!from_device.is_cpu()) api(op, from_device);
  const int target = to_device.is_cpu() ? ANNX_CUDA_HOST : to_device.index;
  const int source = from_device.is_cpu() ? ANNX_CUDA_HOST : from_device.index;
  check(table.copy(to, target, from, source, bytes), op);
}

void install() { set_device_memory({allocate_memory, deallocate_memory}); }

}  // namespace annx::cuda
