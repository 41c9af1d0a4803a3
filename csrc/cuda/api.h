// What the CUDA backend offers the core: a table of C functions, so that neither side depends on the
// other's compiler or C++ library. Functions return 0 or one of the codes below; last_error() then
// says why, in this thread. Work is queued on one stream per device unless said otherwise.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define ANNX_CUDA_API_VERSION 1
#define ANNX_CUDA_MAX_DIMS 8
#define ANNX_CUDA_MAX_INPUTS 3
#define ANNX_CUDA_MAX_PARAMS 4
#define ANNX_CUDA_HOST (-1)

#ifdef __cplusplus
extern "C" {
#endif

enum { ANNX_CUDA_OK = 0, ANNX_CUDA_FAILED = 1, ANNX_CUDA_NO_MEMORY = 2 };

typedef struct AnnxCudaDevice {
  char name[256];
  int32_t major, minor;  // compute capability
  int32_t multiprocessors;
  uint64_t memory;  // bytes
} AnnxCudaDevice;

typedef struct AnnxCudaMemory {
  int64_t current, peak;  // bytes asked for and not yet freed
  int64_t reserved;       // bytes held from the driver
} AnnxCudaMemory;

typedef struct AnnxCudaInput {
  const void* data;                     // device memory; null for the constant
  uint64_t constant;                    // the bits of one element
  int64_t strides[ANNX_CUDA_MAX_DIMS];  // in elements, 0 along broadcast dimensions
} AnnxCudaInput;

typedef struct AnnxCudaElementwise {
  const char* op;
  int32_t input_type, output_type;  // annx::DType
  int32_t inputs, dims;
  int64_t shape[ANNX_CUDA_MAX_DIMS];
  AnnxCudaInput in[ANNX_CUDA_MAX_INPUTS];
  void* out;
  int64_t out_strides[ANNX_CUDA_MAX_DIMS];  // row-major for every op but "copy"
  double params[ANNX_CUDA_MAX_PARAMS];      // the op's attributes
} AnnxCudaElementwise;

enum { ANNX_CUDA_UNKNOWN_OP = 0, ANNX_CUDA_UNKNOWN_TYPE = 1, ANNX_CUDA_KNOWN = 2 };

typedef struct AnnxCudaApi {
  uint32_t version, size;  // of this struct
  const char* (*last_error)(void);
  int (*device_count)(int* count);
  int (*versions)(int* driver, int* runtime);  // 13000 is 13.0; 0 where there is no driver
  int (*describe)(int device, AnnxCudaDevice* out);
  int (*synchronize)(int device);

  int (*allocate)(int device, size_t bytes, void** out);
  int (*deallocate)(int device, void* block);
  int (*memory)(int device, AnnxCudaMemory* out);
  int (*empty_cache)(int device);

  // Either side may be ANNX_CUDA_HOST; returns when host memory may be used again.
  int (*copy)(void* to, int to_device, const void* from, int from_device, size_t bytes);
  // count elements of `size` bytes (1, 2, 4 or 8), each with these bits.
  int (*fill)(int device, void* out, uint64_t bits, size_t size, size_t count);

  int (*find_elementwise)(const char* op, int input_type);
  int (*elementwise)(int device, const AnnxCudaElementwise* call);
} AnnxCudaApi;

// The one exported function; null for a version it does not know.
typedef const AnnxCudaApi* (*AnnxCudaApiFunction)(uint32_t version);

#ifdef __cplusplus
}
#endif
