#pragma once

#include <cstdint>

#include "dispatch/kernels.h"

namespace annx {

struct BenchKernels {
  // Runs `rounds` rounds of independent chains of fma over 16 values, and returns the flops done.
  double (*fma_chains)(int64_t rounds, float* values);
  // out = a + s b over n floats.
  void (*triad)(const float* a, const float* b, float s, float* out, int64_t n);
  // out = a + b over n floats, or a where b is null: by ordinary stores (way 0), past the caches (1), the
  // same with inputs asked for ahead (2), the same in two runs side by side (3).
  void (*stream)(const float* a, const float* b, float* out, int64_t n, int way);
  // C = A B, all row-major kReferenceSize squared.
  void (*reference_gemm)(const float* a, const float* b, float* c);
};
ANNX_DECLARE_KERNELS(BenchKernels, bench_kernels)

// Three matrices of 144 KiB: they miss L1 and stay in L2, where a neighbour's traffic shows.
inline constexpr int kReferenceSize = 192;

}  // namespace annx
