// Opens a SIMD target region and namespace annx::<target>; end.h closes it.
// The spine defines ANNX_TARGET (the name) and one of ANNX_TARGET_SCALAR, ANNX_TARGET_AVX2,
// ANNX_TARGET_AVX512, ANNX_TARGET_NEON. No include guard: it is meant once per kernel file.
// Device code defines ANNX_TARGET_CUDA; tests compile the same for the CPU.
#include <stddef.h>
#include <stdint.h>
#if defined(ANNX_TARGET_AVX2) || defined(ANNX_TARGET_AVX512)
#include <immintrin.h>
#elif defined(ANNX_TARGET_NEON)
#include <arm_neon.h>
#elif !defined(ANNX_TARGET_SCALAR) && !defined(ANNX_TARGET_CUDA)
#error "define ANNX_TARGET and ANNX_TARGET_<NAME> before including dispatch/begin.h"
#endif

// Free functions and static members; ANNX_INLINE_MEMBER is for operator() of functors.
#if defined(ANNX_TARGET_CUDA) && defined(__CUDACC__)
#define ANNX_INLINE static __device__ __forceinline__
#define ANNX_INLINE_MEMBER __device__ __forceinline__
#elif defined(ANNX_TARGET_SCALAR) || defined(ANNX_TARGET_CUDA)
// The reference is there to be right: forcing its loops into one another costs minutes to compile.
#define ANNX_INLINE static inline __attribute__((unused))
#define ANNX_INLINE_MEMBER inline
#else
#define ANNX_INLINE static inline __attribute__((always_inline))
#define ANNX_INLINE_MEMBER inline __attribute__((always_inline))
#endif
// Rare paths that must stay out of the hot loop.
#if defined(ANNX_TARGET_CUDA) && defined(__CUDACC__)
#define ANNX_NOINLINE static __device__ __noinline__
#else
#define ANNX_NOINLINE static __attribute__((noinline, unused))
#endif

#if defined(ANNX_TARGET_AVX2)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx,avx2,fma,f16c,bmi,bmi2,popcnt,lzcnt"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx,avx2,fma,f16c,bmi,bmi2,popcnt,lzcnt")
#endif
#elif defined(ANNX_TARGET_AVX512)
#if defined(__clang__)
#pragma clang attribute push(                                                                  \
    __attribute__((target("avx,avx2,fma,f16c,bmi,bmi2,popcnt,lzcnt,avx512f,avx512bw,avx512dq," \
                          "avx512vl,avx512cd"))),                                              \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target( \
    "avx,avx2,fma,f16c,bmi,bmi2,popcnt,lzcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512cd")
// GCC 12 takes the undefined pass-through operand of its own intrinsics for a mistake of ours.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#endif

namespace annx {
namespace ANNX_TARGET {

#if defined(ANNX_TARGET_SCALAR)
#include "simd/vec_scalar.h"
#elif defined(ANNX_TARGET_AVX2)
#include "simd/vec_avx2.h"
#elif defined(ANNX_TARGET_AVX512)
#include "simd/vec_avx512.h"
#elif defined(ANNX_TARGET_CUDA)
#include "simd/vec_cuda.h"
#else
#include "simd/vec_neon.h"
#endif

#include "simd/vec_common-inl.h"

#if !defined(ANNX_TARGET_CUDA)
#include "simd/loops-inl.h"
#endif

// The order matters: each needs those above it.
#include "numerics/poly-inl.h"

#include "numerics/exp_log-inl.h"

#include "numerics/erf-inl.h"
#include "numerics/hyperbolic-inl.h"
#include "numerics/pow-inl.h"
#include "numerics/trig-inl.h"

#include "numerics/philox-inl.h"
