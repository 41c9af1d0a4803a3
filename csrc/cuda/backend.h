// The core's side of the CUDA backend: opened on first use, absent without harm.
#pragma once

#include <string>
#include <vector>

#include "core/device.h"
#include "cuda/api.h"

namespace annx::cuda {

struct Info {
  bool built = false;      // this build of annx brought the backend along
  bool available = false;  // and it has a device to run on
  std::string reason;      // why not
  int driver = 0;          // 13000 is 13.0; 0: none
  int runtime = 0;
  std::vector<AnnxCudaDevice> devices;
};

// Whether this build of annx brought the backend along: Info::built, without opening it.
bool built();

// Opens the backend the first time. Never throws.
const Info& info();

// The table; throws annx::Error (runtime) naming the reason when device cannot be used. `shown` is
// how the caller wrote the device.
const AnnxCudaApi& api(const char* op, Device device, const char* shown = nullptr);

// Throws what a function of the table reported.
void check(int status, const char* op);

// Copies between devices or with the host, and waits where the host takes part.
void copy(const char* op, void* to, Device to_device, const void* from, Device from_device,
          size_t bytes);

// Lends the backend's memory to Storage; called at module import.
void install();

}  // namespace annx::cuda
