// Every function of the simd API over arrays, one table per target, for test_simd.cpp.
#pragma once

#include <cstdint>

#include "dispatch/kernels.h"

// name, expression in a (b, c)
#define SIMD_UNARY(X) \
  X(neg, -a)          \
  X(abs, abs(a))      \
  X(sqrt, sqrt(a))    \
  X(rint, rint(a))    \
  X(floor, floor(a))  \
  X(ceil, ceil(a))    \
  X(trunc, trunc(a))  \
  X(cast, as_float(as_int(a)))
#define SIMD_BINARY(X) \
  X(add, a + b)        \
  X(sub, a - b)        \
  X(mul, a* b)         \
  X(div, a / b)        \
  X(min, min(a, b))    \
  X(max, max(a, b))    \
  X(copysign, copysign(a, b))
#define SIMD_TERNARY(X) \
  X(fma, fma(a, b, c))  \
  X(fnma, fnma(a, b, c))
#define SIMD_COMPARE(X) \
  X(lt, lt(a, b))       \
  X(le, le(a, b))       \
  X(gt, gt(a, b))       \
  X(ge, ge(a, b))       \
  X(eq, eq(a, b))       \
  X(ne, ne(a, b))       \
  X(is_nan, is_nan(a) | is_nan(b))
#define SIMD_INT(X)                      \
  X(iadd, a + b)                         \
  X(isub, a - b)                         \
  X(iand, a& b)                          \
  X(ior, a | b)                          \
  X(ixor, a ^ b)                         \
  X(ishl, shl<3>(a) ^ shl<13>(b))        \
  X(ishr, shr_logical<5>(a))             \
  X(isar, shr_arith<5>(a))               \
  X(ieq, select(eq(a, b), a, zero<I>())) \
  X(ilt, select(lt(a, b), a, b))         \
  X(igt, select(gt(a, b), a, b))
#define SIMD_MASK(X) \
  X(mand, a& b)      \
  X(mor, a | b)      \
  X(mxor, a ^ b)     \
  X(mnot, ~a)

namespace annx {

template <class T, class I>
struct SimdOpsOf {
#define FIELD(name, expression) void (*name)(const T*, T*, int64_t);
  SIMD_UNARY(FIELD)
#undef FIELD
#define FIELD(name, expression) void (*name)(const T*, const T*, T*, int64_t);
  SIMD_BINARY(FIELD)
#undef FIELD
#define FIELD(name, expression) void (*name)(const T*, const T*, const T*, T*, int64_t);
  SIMD_TERNARY(FIELD)
#undef FIELD
#define FIELD(name, expression) void (*name)(const T*, const T*, uint8_t*, int64_t);
  SIMD_COMPARE(FIELD)
#undef FIELD
#define FIELD(name, expression) void (*name)(const I*, const I*, I*, int64_t);
  SIMD_INT(FIELD)
#undef FIELD
#define FIELD(name, expression) void (*name)(const uint8_t*, const uint8_t*, uint8_t*, int64_t);
  SIMD_MASK(FIELD)
#undef FIELD
  void (*select)(const uint8_t*, const T*, const T*, T*, int64_t);
  void (*fill)(T, T*, int64_t);  // splat + iota, then masked by first_n
  void (*int_fill)(I, I*, int64_t);
  int (*any_all)(const uint8_t*);    // one vector: any + 2 all
  void (*horizontal)(const T*, T*);  // one vector: sum, max, min
  void (*to_int)(const T*, I*, int64_t);
  void (*to_float)(const I*, T*, int64_t);
};

struct SimdOps {
  SimdOpsOf<float, int32_t> f32;
  SimdOpsOf<double, int64_t> f64;
  void (*mul_u32)(const int32_t*, const int32_t*, int32_t* low, int32_t* high, int64_t);
  void (*widen)(const float*, double*, int64_t);
  void (*narrow)(const double*, float*, int64_t);
  void (*load_bf16)(const uint16_t*, float*, int64_t);
  void (*store_bf16)(const float*, uint16_t*, int64_t);
  void (*load_f16)(const uint16_t*, float*, int64_t);
  void (*store_f16)(const float*, uint16_t*, int64_t);
  void (*copy_u16)(const uint16_t*, uint16_t*, int64_t);
  void (*interleave4)(const float*, float*);  // 4 vectors of 16 to 64 floats
};
ANNX_DECLARE_KERNELS(SimdOps, simd_ops)

}  // namespace annx
