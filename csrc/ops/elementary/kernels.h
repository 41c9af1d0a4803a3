// The elementary functions over arrays, one table per SIMD target: for tests and benchmarks, and
// for whoever needs them as they are. out may be the input. Accuracy stands in the -inl headers.
#pragma once

#include <cstdint>

#include "dispatch/kernels.h"

// X(name) for every function of one argument.
#define ANNX_NUMERICS_UNARY(X) \
  X(exp)                       \
  X(expm1)                     \
  X(log)                       \
  X(log1p)                     \
  X(softplus_tail)             \
  X(sqrt)                      \
  X(rsqrt)                     \
  X(sin)                       \
  X(cos)                       \
  X(tanh)                      \
  X(sigmoid)                   \
  X(erf)                       \
  X(ndtr)

namespace annx {

struct NumericsKernels {
#define ANNX_FIELDS(name)                                    \
  void (*f32_##name)(const float* x, float* out, int64_t n); \
  void (*f64_##name)(const double* x, double* out, int64_t n);
  ANNX_NUMERICS_UNARY(ANNX_FIELDS)
#undef ANNX_FIELDS
  void (*f32_pow)(const float* x, const float* y, float* out, int64_t n);
  void (*f64_pow)(const double* x, const double* y, double* out, int64_t n);

  // Elements begin … begin + n - 1 of a random stream; the layout stands in philox-inl.h.
  void (*u32_random)(uint64_t seed, uint64_t stream, int64_t begin, uint32_t* out, int64_t n);
  void (*f32_uniform)(uint64_t seed, uint64_t stream, int64_t begin, float* out, int64_t n);
  void (*f32_normal)(uint64_t seed, uint64_t stream, int64_t begin, float* out, int64_t n);
  void (*f64_uniform)(uint64_t seed, uint64_t stream, int64_t begin, double* out, int64_t n);
  void (*f64_normal)(uint64_t seed, uint64_t stream, int64_t begin, double* out, int64_t n);
  // The generator itself for 16 counters: word w of counter i is counters[16 w + i].
  void (*philox4x32)(const int32_t* counters, uint32_t key0, uint32_t key1, int32_t* out);
};
ANNX_DECLARE_KERNELS(NumericsKernels, numerics_kernels)

}  // namespace annx
