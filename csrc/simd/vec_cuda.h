// CUDA: one lane per vector, one vector per thread. The same functions as vec_scalar.h, every float
// operation an explicit, correctly rounded one, so that the compiler contracts nothing into an fma.
// Compiled for the CPU too, where tests hold it to the scalar target.

#if defined(__CUDA_ARCH__)
#define ANNX_LANE(device, host) device
#else
#define ANNX_LANE(device, host) host
#endif

struct M32 {  // 0 or -1
  static constexpr int lanes = 1;
  int32_t v;
  ANNX_INLINE M32 load_bool(const uint8_t* p) { return {*p != 0 ? -1 : 0}; }
  ANNX_INLINE M32 load_bool_n(const uint8_t* p, int64_t n) { return {n > 0 && *p != 0 ? -1 : 0}; }
};
struct M64 {
  static constexpr int lanes = 1;
  int64_t v;
  ANNX_INLINE M64 load_bool(const uint8_t* p) { return {*p != 0 ? -1 : 0}; }
  ANNX_INLINE M64 load_bool_n(const uint8_t* p, int64_t n) { return {n > 0 && *p != 0 ? -1 : 0}; }
};

#define ANNX_CUDA_MEMBERS(Vector, S)                                               \
  static constexpr int lanes = 1;                                                  \
  using Scalar = S;                                                                \
  S v;                                                                             \
  ANNX_INLINE Vector load(const S* p) { return {*p}; }                             \
  ANNX_INLINE Vector load_n(const S* p, int64_t n) { return {n > 0 ? *p : S{0}}; } \
  ANNX_INLINE Vector splat(S s) { return {s}; }                                    \
  ANNX_INLINE Vector iota() { return {S{0}}; }                                     \
  ANNX_INLINE Mask first_n(int64_t n) { return {n > 0 ? -1 : 0}; }

struct I32 {
  using Mask = M32;
  ANNX_CUDA_MEMBERS(I32, int32_t)
};
struct I64 {
  using Mask = M64;
  ANNX_CUDA_MEMBERS(I64, int64_t)
};
struct F32 {
  using Int = I32;
  using Mask = M32;
  ANNX_CUDA_MEMBERS(F32, float)
};
struct F64 {
  using Int = I64;
  using Mask = M64;
  ANNX_CUDA_MEMBERS(F64, double)
};
#undef ANNX_CUDA_MEMBERS

// --- store ---
#define ANNX_CUDA_STORE(Vector)                                      \
  ANNX_INLINE void store(Vector::Scalar* p, Vector a) { *p = a.v; }  \
  ANNX_INLINE void store_n(Vector::Scalar* p, Vector a, int64_t n) { \
    if (n > 0) *p = a.v;                                             \
  }
ANNX_CUDA_STORE(I32)
ANNX_CUDA_STORE(I64)
ANNX_CUDA_STORE(F32)
ANNX_CUDA_STORE(F64)
#undef ANNX_CUDA_STORE

// --- bit casts ---
ANNX_INLINE I32 as_int(F32 a) { return {__builtin_bit_cast(int32_t, a.v)}; }
ANNX_INLINE I64 as_int(F64 a) { return {__builtin_bit_cast(int64_t, a.v)}; }
ANNX_INLINE F32 as_float(I32 a) { return {__builtin_bit_cast(float, a.v)}; }
ANNX_INLINE F64 as_float(I64 a) { return {__builtin_bit_cast(double, a.v)}; }

// --- integers: wrap around ---
#define ANNX_CUDA_INT_OP(op)                                                                 \
  ANNX_INLINE I32 operator op(I32 a, I32 b) {                                                \
    return {static_cast<int32_t>(static_cast<uint32_t>(a.v) op static_cast<uint32_t>(b.v))}; \
  }                                                                                          \
  ANNX_INLINE I64 operator op(I64 a, I64 b) {                                                \
    return {static_cast<int64_t>(static_cast<uint64_t>(a.v) op static_cast<uint64_t>(b.v))}; \
  }
ANNX_CUDA_INT_OP(+)
ANNX_CUDA_INT_OP(-)
ANNX_CUDA_INT_OP(&)
ANNX_CUDA_INT_OP(|)
ANNX_CUDA_INT_OP(^)
#undef ANNX_CUDA_INT_OP
ANNX_INLINE I32 operator*(I32 a, I32 b) {
  return {static_cast<int32_t>(static_cast<uint32_t>(a.v) * static_cast<uint32_t>(b.v))};
}
ANNX_INLINE I32 mulhi_u32(I32 a, I32 b) {
  const uint64_t product = uint64_t{static_cast<uint32_t>(a.v)} * static_cast<uint32_t>(b.v);
  return {static_cast<int32_t>(product >> 32)};
}
template <int k>
ANNX_INLINE I32 shl(I32 a) {
  return {static_cast<int32_t>(static_cast<uint32_t>(a.v) << k)};
}
template <int k>
ANNX_INLINE I64 shl(I64 a) {
  return {static_cast<int64_t>(static_cast<uint64_t>(a.v) << k)};
}
template <int k>
ANNX_INLINE I32 shr_logical(I32 a) {
  return {static_cast<int32_t>(static_cast<uint32_t>(a.v) >> k)};
}
template <int k>
ANNX_INLINE I64 shr_logical(I64 a) {
  return {static_cast<int64_t>(static_cast<uint64_t>(a.v) >> k)};
}
template <int k>
ANNX_INLINE I32 shr_arith(I32 a) {
  return {a.v >> k};
}
template <int k>
ANNX_INLINE I64 shr_arith(I64 a) {
  return {a.v >> k};
}

// --- comparisons ---
#define ANNX_CUDA_COMPARE(name, op)                                    \
  ANNX_INLINE M32 name(F32 a, F32 b) { return {a.v op b.v ? -1 : 0}; } \
  ANNX_INLINE M64 name(F64 a, F64 b) { return {a.v op b.v ? -1 : 0}; }
#define ANNX_CUDA_INT_COMPARE(name, op)                                \
  ANNX_INLINE M32 name(I32 a, I32 b) { return {a.v op b.v ? -1 : 0}; } \
  ANNX_INLINE M64 name(I64 a, I64 b) { return {a.v op b.v ? -1 : 0}; }
ANNX_CUDA_COMPARE(lt, <)
ANNX_CUDA_COMPARE(le, <=)
ANNX_CUDA_COMPARE(gt, >)
ANNX_CUDA_COMPARE(ge, >=)
ANNX_CUDA_COMPARE(eq, ==)
ANNX_CUDA_COMPARE(ne, !=)
ANNX_CUDA_INT_COMPARE(lt, <)
ANNX_CUDA_INT_COMPARE(gt, >)
ANNX_CUDA_INT_COMPARE(eq, ==)
#undef ANNX_CUDA_INT_COMPARE
#undef ANNX_CUDA_COMPARE
ANNX_INLINE M32 is_nan(F32 a) { return ne(a, a); }
ANNX_INLINE M64 is_nan(F64 a) { return ne(a, a); }

// --- masks ---
#define ANNX_CUDA_MASK(M)                                         \
  ANNX_INLINE M operator&(M a, M b) { return {a.v & b.v}; }       \
  ANNX_INLINE M operator|(M a, M b) { return {a.v | b.v}; }       \
  ANNX_INLINE M operator^(M a, M b) { return {a.v ^ b.v}; }       \
  ANNX_INLINE M operator~(M a) { return {~a.v}; }                 \
  ANNX_INLINE bool any(M a) { return a.v != 0; }                  \
  ANNX_INLINE bool all(M a) { return a.v != 0; }                  \
  ANNX_INLINE void store_bool(uint8_t* p, M m) { *p = m.v != 0; } \
  ANNX_INLINE void store_bool_n(uint8_t* p, M m, int64_t n) {     \
    if (n > 0) *p = m.v != 0;                                     \
  }
ANNX_CUDA_MASK(M32)
ANNX_CUDA_MASK(M64)
#undef ANNX_CUDA_MASK
ANNX_INLINE F32 select(M32 m, F32 a, F32 b) { return m.v != 0 ? a : b; }
ANNX_INLINE F64 select(M64 m, F64 a, F64 b) { return m.v != 0 ? a : b; }
ANNX_INLINE I32 select(M32 m, I32 a, I32 b) { return m.v != 0 ? a : b; }
ANNX_INLINE I64 select(M64 m, I64 a, I64 b) { return m.v != 0 ? a : b; }

// --- arithmetic ---
ANNX_INLINE F32 operator+(F32 a, F32 b) { return {ANNX_LANE(__fadd_rn(a.v, b.v), a.v + b.v)}; }
ANNX_INLINE F32 operator-(F32 a, F32 b) { return {ANNX_LANE(__fsub_rn(a.v, b.v), a.v - b.v)}; }
ANNX_INLINE F32 operator*(F32 a, F32 b) { return {ANNX_LANE(__fmul_rn(a.v, b.v), a.v * b.v)}; }
ANNX_INLINE F32 operator/(F32 a, F32 b) { return {ANNX_LANE(__fdiv_rn(a.v, b.v), a.v / b.v)}; }
ANNX_INLINE F64 operator+(F64 a, F64 b) { return {ANNX_LANE(__dadd_rn(a.v, b.v), a.v + b.v)}; }
ANNX_INLINE F64 operator-(F64 a, F64 b) { return {ANNX_LANE(__dsub_rn(a.v, b.v), a.v - b.v)}; }
ANNX_INLINE F64 operator*(F64 a, F64 b) { return {ANNX_LANE(__dmul_rn(a.v, b.v), a.v * b.v)}; }
ANNX_INLINE F64 operator/(F64 a, F64 b) { return {ANNX_LANE(__ddiv_rn(a.v, b.v), a.v / b.v)}; }
ANNX_INLINE F32 fma(F32 a, F32 b, F32 c) {
  return {ANNX_LANE(__fmaf_rn(a.v, b.v, c.v), __builtin_fmaf(a.v, b.v, c.v))};
}
ANNX_INLINE F64 fma(F64 a, F64 b, F64 c) {
  return {ANNX_LANE(__fma_rn(a.v, b.v, c.v), __builtin_fma(a.v, b.v, c.v))};
}
ANNX_INLINE F32 sqrt(F32 a) { return {ANNX_LANE(__fsqrt_rn(a.v), __builtin_sqrtf(a.v))}; }
ANNX_INLINE F64 sqrt(F64 a) { return {ANNX_LANE(__dsqrt_rn(a.v), __builtin_sqrt(a.v))}; }
// By their bits: a device's own negation may be a multiplication.
ANNX_INLINE F32 operator-(F32 a) { return as_float(as_int(a) ^ I32{INT32_MIN}); }
ANNX_INLINE F64 operator-(F64 a) { return as_float(as_int(a) ^ I64{INT64_MIN}); }
ANNX_INLINE F32 abs(F32 a) { return as_float(as_int(a) & I32{INT32_MAX}); }
ANNX_INLINE F64 abs(F64 a) { return as_float(as_int(a) & I64{INT64_MAX}); }
ANNX_INLINE F32 copysign(F32 a, F32 sign) {
  return as_float(as_int(abs(a)) | (as_int(sign) & I32{INT32_MIN}));
}
ANNX_INLINE F64 copysign(F64 a, F64 sign) {
  return as_float(as_int(abs(a)) | (as_int(sign) & I64{INT64_MIN}));
}
ANNX_INLINE F32 fnma(F32 a, F32 b, F32 c) { return fma(-a, b, c); }
ANNX_INLINE F64 fnma(F64 a, F64 b, F64 c) { return fma(-a, b, c); }
// a < b ? a : b: the second operand when they are unordered or equal. Not fmin, which drops a NaN.
ANNX_INLINE F32 min(F32 a, F32 b) { return {a.v < b.v ? a.v : b.v}; }
ANNX_INLINE F64 min(F64 a, F64 b) { return {a.v < b.v ? a.v : b.v}; }
ANNX_INLINE F32 max(F32 a, F32 b) { return {a.v > b.v ? a.v : b.v}; }
ANNX_INLINE F64 max(F64 a, F64 b) { return {a.v > b.v ? a.v : b.v}; }

// --- rounding: adding 2^23 (2^52) leaves no fraction bits, and the addition rounds to even ---
ANNX_INLINE F32 integer_limit(F32) { return {0x1p23f}; }
ANNX_INLINE F64 integer_limit(F64) { return {0x1p52}; }
template <class V>
ANNX_INLINE V rint_lane(V a) {
  const V limit = integer_limit(a), magnitude = abs(a);
  const V rounded = copysign((magnitude + limit) - limit, a);
  return select(lt(magnitude, limit), rounded, a + V::splat(0));
}
template <class V>
ANNX_INLINE V floor_lane(V a) {
  const V r = rint_lane(a);
  return copysign(select(gt(r, a), r - V::splat(1), r), a);
}
template <class V>
ANNX_INLINE V ceil_lane(V a) {
  const V r = rint_lane(a);
  return copysign(select(lt(r, a), r + V::splat(1), r), a);
}
ANNX_INLINE F32 rint(F32 a) { return rint_lane(a); }
ANNX_INLINE F64 rint(F64 a) { return rint_lane(a); }
ANNX_INLINE F32 floor(F32 a) { return floor_lane(a); }
ANNX_INLINE F64 floor(F64 a) { return floor_lane(a); }
ANNX_INLINE F32 ceil(F32 a) { return ceil_lane(a); }
ANNX_INLINE F64 ceil(F64 a) { return ceil_lane(a); }
ANNX_INLINE F32 trunc(F32 a) { return copysign(floor_lane(abs(a)), a); }
ANNX_INLINE F64 trunc(F64 a) { return copysign(floor_lane(abs(a)), a); }

// --- conversions ---
// Truncates; INT32_MIN for NaN and for what does not fit.
ANNX_INLINE I32 to_int(F32 a) {
  const bool fits = a.v >= -0x1p31f && a.v < 0x1p31f;
  return {fits ? static_cast<int32_t>(a.v) : INT32_MIN};
}
ANNX_INLINE F32 to_float(I32 a) { return {static_cast<float>(a.v)}; }
ANNX_INLINE F64 widen(const float* p) { return {static_cast<double>(*p)}; }
ANNX_INLINE F64 widen_n(const float* p, int64_t n) {
  return {n > 0 ? static_cast<double>(*p) : 0.0};
}
ANNX_INLINE void narrow_store(float* p, F64 a) { *p = static_cast<float>(a.v); }
ANNX_INLINE void narrow_store_n(float* p, F64 a, int64_t n) {
  if (n > 0) *p = static_cast<float>(a.v);
}
// Half a lane is the lane itself: what is computed twice is computed once by the compiler.
ANNX_INLINE F64 widen_lo(F32 a) { return {static_cast<double>(a.v)}; }
ANNX_INLINE F64 widen_hi(F32 a) { return {static_cast<double>(a.v)}; }
ANNX_INLINE F32 narrow(F64 lo, F64) { return {static_cast<float>(lo.v)}; }

// 16-bit storage as the low half of the lane.
ANNX_INLINE I32 load_u16(const uint16_t* p) { return {*p}; }
ANNX_INLINE I32 load_u16_n(const uint16_t* p, int64_t n) { return {n > 0 ? *p : 0}; }
ANNX_INLINE void store_u16(uint16_t* p, I32 a) { *p = static_cast<uint16_t>(a.v); }
ANNX_INLINE void store_u16_n(uint16_t* p, I32 a, int64_t n) {
  if (n > 0) *p = static_cast<uint16_t>(a.v);
}
// IEEE half bits to float: rebias the exponent; a subnormal is an exact multiple of 2^-24.
ANNX_INLINE F32 f16_to_f32(I32 half) {
  const I32 sign = shl<16>(half & I32{0x8000});
  const I32 magnitude = half & I32{0x7fff};
  const I32 normal = shl<13>(magnitude) + I32{(127 - 15) << 23};
  const I32 subnormal = as_int(to_float(magnitude) * F32{0x1p-24f});
  const I32 quiet = select(gt(magnitude, I32{0x7c00}), I32{0x400000}, I32{0});
  const I32 special = shl<13>(magnitude) | I32{0x7f800000} | quiet;
  I32 r = select(lt(magnitude, I32{0x400}), subnormal, normal);
  r = select(gt(magnitude, I32{0x7bff}), special, r);
  return as_float(r | sign);
}
// Float to IEEE half bits, nearest even. Adding 0.5 aligns a subnormal result with the last bits.
ANNX_INLINE I32 f32_to_f16(F32 a) {
  const I32 bits = as_int(a);
  const I32 sign = shr_logical<16>(bits) & I32{0x8000};
  const I32 magnitude = bits & I32{0x7fffffff};
  const I32 odd = shr_logical<13>(magnitude) & I32{1};
  const I32 normal = shr_logical<13>(magnitude - I32{(127 - 15) << 23} + I32{0xfff} + odd);
  const F32 half{0.5f};
  const I32 subnormal = as_int(abs(a) + half) - as_int(half);
  const I32 nan = (shr_logical<13>(magnitude) & I32{0x3ff}) | I32{0x7e00};
  I32 r = select(lt(magnitude, I32{(127 - 14) << 23}), subnormal, normal);
  r = select(gt(magnitude, I32{((127 + 16) << 23) - 1}), I32{0x7c00}, r);
  r = select(gt(magnitude, I32{0x7f800000}), nan, r);
  return r | sign;
}
ANNX_INLINE F32 load_f16(const uint16_t* p) { return f16_to_f32(load_u16(p)); }
ANNX_INLINE F32 load_f16_n(const uint16_t* p, int64_t n) { return f16_to_f32(load_u16_n(p, n)); }
ANNX_INLINE void store_f16(uint16_t* p, F32 a) { store_u16(p, f32_to_f16(a)); }
ANNX_INLINE void store_f16_n(uint16_t* p, F32 a, int64_t n) { store_u16_n(p, f32_to_f16(a), n); }

// p[k] is the k-th vector.
ANNX_INLINE void store_interleaved4(float* p, F32 a, F32 b, F32 c, F32 d) {
  p[0] = a.v;
  p[1] = b.v;
  p[2] = c.v;
  p[3] = d.v;
}

// --- horizontal ---
ANNX_INLINE float hsum(F32 a) { return a.v; }
ANNX_INLINE double hsum(F64 a) { return a.v; }
ANNX_INLINE float hmax(F32 a) { return a.v; }
ANNX_INLINE double hmax(F64 a) { return a.v; }
ANNX_INLINE float hmin(F32 a) { return a.v; }
ANNX_INLINE double hmin(F64 a) { return a.v; }

#undef ANNX_LANE
