// Kernel tables: one POD of function pointers per op family, one instance per SIMD target.
//
//   namespace annx {
//   struct ReduceKernels { void (*f32_sum)(const float* x, int64_t n, float* out); };
//   ANNX_DECLARE_KERNELS(ReduceKernels, reduce_kernels)
//   }
//
// declares annx::<target>::reduce_kernels for every target of this architecture (each defined by
// the family's cpu-inl.h through dispatch/spine.cpp.in) and annx::reduce_kernels(), which picks the
// active one, and annx::reduce_kernels_for(target) for tests that compare targets.
#pragma once

#include "dispatch/cpu_features.h"

// The lookup is one indexed load: slots of targets this architecture lacks repeat scalar and are
// never selected.
#if ANNX_ARCH_X86_64
#define ANNX_DECLARE_KERNELS(Table, name) \
  namespace scalar {                      \
  extern const Table name;                \
  }                                       \
  namespace avx2 {                        \
  extern const Table name;                \
  }                                       \
  namespace avx512 {                      \
  extern const Table name;                \
  }                                       \
  ANNX_DETAIL_DEFINE_LOOKUP(Table, name, avx2::name, avx512::name, scalar::name)
#elif ANNX_ARCH_AARCH64
#define ANNX_DECLARE_KERNELS(Table, name) \
  namespace scalar {                      \
  extern const Table name;                \
  }                                       \
  namespace neon {                        \
  extern const Table name;                \
  }                                       \
  ANNX_DETAIL_DEFINE_LOOKUP(Table, name, scalar::name, scalar::name, neon::name)
#else
#define ANNX_DECLARE_KERNELS(Table, name) \
  namespace scalar {                      \
  extern const Table name;                \
  }                                       \
  ANNX_DETAIL_DEFINE_LOOKUP(Table, name, scalar::name, scalar::name, scalar::name)
#endif

#define ANNX_DETAIL_DEFINE_LOOKUP(Table, name, avx2_table, avx512_table, neon_table)           \
  inline const Table& name##_for(::annx::Target target) {                                      \
    static constexpr const Table* tables[::annx::kTargetCount] = {&scalar::name, &avx2_table,  \
                                                                  &avx512_table, &neon_table}; \
    return *tables[static_cast<int>(target)];                                                  \
  }                                                                                            \
  inline const Table& name() { return name##_for(::annx::active_target()); }
