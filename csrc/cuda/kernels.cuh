// Where the kernels of the op families sign in: one entry per op and dtype.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "cuda/layout.h"

namespace annx::cuda {

struct ElementwiseEntry {
  const char* op;
  DType input;
  int output;          // DType, or -1: any
  const void* kernel;  // takes a Launch by value, one thread per pack
  int width, inputs;
  int in_size[ANNX_CUDA_MAX_INPUTS], out_size;
};

constexpr int kThreads = 256;

// A static object of each family's cuda.cu.
class SignIn {
 public:
  SignIn(const ElementwiseEntry* entries, size_t count);
};

}  // namespace annx::cuda
