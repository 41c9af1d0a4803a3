// AArch64 NEON: each logical vector is four q registers, low lanes first.

struct M32 {
  static constexpr int lanes = 16;
  uint32x4_t v[4];

  ANNX_INLINE M32 load_bool(const uint8_t* p) {
    const uint8x16_t bytes = vld1q_u8(p);
    const int8x16_t set = vreinterpretq_s8_u8(vtstq_u8(bytes, bytes));
    const int16x8_t lo = vmovl_s8(vget_low_s8(set)), hi = vmovl_s8(vget_high_s8(set));
    return {{vreinterpretq_u32_s32(vmovl_s16(vget_low_s16(lo))),
             vreinterpretq_u32_s32(vmovl_s16(vget_high_s16(lo))),
             vreinterpretq_u32_s32(vmovl_s16(vget_low_s16(hi))),
             vreinterpretq_u32_s32(vmovl_s16(vget_high_s16(hi)))}};
  }
  ANNX_INLINE M32 load_bool_n(const uint8_t* p, int64_t n) {
    uint8_t bytes[16] = {};
    for (int64_t i = 0; i < n; ++i) bytes[i] = p[i];
    return load_bool(bytes);
  }
};

struct M64 {
  static constexpr int lanes = 8;
  uint64x2_t v[4];

  ANNX_INLINE M64 load_bool(const uint8_t* p) {
    const uint8x8_t bytes = vld1_u8(p);
    const int16x8_t set = vmovl_s8(vreinterpret_s8_u8(vtst_u8(bytes, bytes)));
    const int32x4_t lo = vmovl_s16(vget_low_s16(set)), hi = vmovl_s16(vget_high_s16(set));
    return {{vreinterpretq_u64_s64(vmovl_s32(vget_low_s32(lo))),
             vreinterpretq_u64_s64(vmovl_s32(vget_high_s32(lo))),
             vreinterpretq_u64_s64(vmovl_s32(vget_low_s32(hi))),
             vreinterpretq_u64_s64(vmovl_s32(vget_high_s32(hi)))}};
  }
  ANNX_INLINE M64 load_bool_n(const uint8_t* p, int64_t n) {
    uint8_t bytes[8] = {};
    for (int64_t i = 0; i < n; ++i) bytes[i] = p[i];
    return load_bool(bytes);
  }
};

// There are no masked accesses: tails go through the stack.
#define ANNX_NEON_VECTOR(Type, S, Register, suffix, per_register)                          \
  static constexpr int lanes = 4 * per_register;                                           \
  using Scalar = S;                                                                        \
  Register v[4];                                                                           \
  ANNX_INLINE Type load(const S* p) {                                                      \
    return {{vld1q_##suffix(p), vld1q_##suffix(p + per_register),                          \
             vld1q_##suffix(p + 2 * per_register), vld1q_##suffix(p + 3 * per_register)}}; \
  }                                                                                        \
  ANNX_INLINE Type load_n(const S* p, int64_t n) {                                         \
    S buffer[lanes] = {};                                                                  \
    for (int64_t i = 0; i < n; ++i) buffer[i] = p[i];                                      \
    return load(buffer);                                                                   \
  }                                                                                        \
  ANNX_INLINE Type splat(S s) {                                                            \
    const Register r = vdupq_n_##suffix(s);                                                \
    return {{r, r, r, r}};                                                                 \
  }                                                                                        \
  ANNX_INLINE Type iota() {                                                                \
    const S values[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};           \
    return load(values);                                                                   \
  }
#define ANNX_NEON_STORE(Type, S, suffix, per_register)                        \
  ANNX_INLINE void store(S* p, Type a) {                                      \
    for (int i = 0; i < 4; ++i) vst1q_##suffix(p + i * per_register, a.v[i]); \
  }                                                                           \
  ANNX_INLINE void store_n(S* p, Type a, int64_t n) {                         \
    S buffer[Type::lanes];                                                    \
    store(buffer, a);                                                         \
    for (int64_t i = 0; i < n; ++i) p[i] = buffer[i];                         \
  }

struct I32 {
  using Mask = M32;
  ANNX_NEON_VECTOR(I32, int32_t, int32x4_t, s32, 4)
  ANNX_INLINE M32 first_n(int64_t n) {
    const int32x4_t count = vdupq_n_s32(static_cast<int32_t>(n));
    const I32 index = iota();
    return {{vcltq_s32(index.v[0], count), vcltq_s32(index.v[1], count),
             vcltq_s32(index.v[2], count), vcltq_s32(index.v[3], count)}};
  }
};
struct I64 {
  using Mask = M64;
  ANNX_NEON_VECTOR(I64, int64_t, int64x2_t, s64, 2)
  ANNX_INLINE M64 first_n(int64_t n) {
    const int64x2_t count = vdupq_n_s64(n);
    const I64 index = iota();
    return {{vcltq_s64(index.v[0], count), vcltq_s64(index.v[1], count),
             vcltq_s64(index.v[2], count), vcltq_s64(index.v[3], count)}};
  }
};
struct F32 {
  using Int = I32;
  using Mask = M32;
  ANNX_NEON_VECTOR(F32, float, float32x4_t, f32, 4)
  ANNX_INLINE M32 first_n(int64_t n) { return I32::first_n(n); }
};
struct F64 {
  using Int = I64;
  using Mask = M64;
  ANNX_NEON_VECTOR(F64, double, float64x2_t, f64, 2)
  ANNX_INLINE M64 first_n(int64_t n) { return I64::first_n(n); }
};
ANNX_NEON_STORE(I32, int32_t, s32, 4)
ANNX_NEON_STORE(I64, int64_t, s64, 2)
ANNX_NEON_STORE(F32, float, f32, 4)
ANNX_NEON_STORE(F64, double, f64, 2)
#undef ANNX_NEON_VECTOR
#undef ANNX_NEON_STORE

#define ANNX_NEON_UNARY(name, Out, In, intrinsic)                                          \
  ANNX_INLINE Out name(In a) {                                                             \
    return {{intrinsic(a.v[0]), intrinsic(a.v[1]), intrinsic(a.v[2]), intrinsic(a.v[3])}}; \
  }
#define ANNX_NEON_BINARY(name, Out, In, intrinsic)                                            \
  ANNX_INLINE Out name(In a, In b) {                                                          \
    return {{intrinsic(a.v[0], b.v[0]), intrinsic(a.v[1], b.v[1]), intrinsic(a.v[2], b.v[2]), \
             intrinsic(a.v[3], b.v[3])}};                                                     \
  }
// Operands in the order of the intrinsic: third, first, second.
#define ANNX_NEON_FUSED(name, Type, intrinsic)                                       \
  ANNX_INLINE Type name(Type a, Type b, Type c) {                                    \
    return {{intrinsic(c.v[0], a.v[0], b.v[0]), intrinsic(c.v[1], a.v[1], b.v[1]),   \
             intrinsic(c.v[2], a.v[2], b.v[2]), intrinsic(c.v[3], a.v[3], b.v[3])}}; \
  }
#define ANNX_NEON_SELECT(M, Type, intrinsic)                                         \
  ANNX_INLINE Type select(M m, Type a, Type b) {                                     \
    return {{intrinsic(m.v[0], a.v[0], b.v[0]), intrinsic(m.v[1], a.v[1], b.v[1]),   \
             intrinsic(m.v[2], a.v[2], b.v[2]), intrinsic(m.v[3], a.v[3], b.v[3])}}; \
  }

// --- bit casts ---
ANNX_NEON_UNARY(as_int, I32, F32, vreinterpretq_s32_f32)
ANNX_NEON_UNARY(as_int, I64, F64, vreinterpretq_s64_f64)
ANNX_NEON_UNARY(as_float, F32, I32, vreinterpretq_f32_s32)
ANNX_NEON_UNARY(as_float, F64, I64, vreinterpretq_f64_s64)

// --- integers: wrap around ---
ANNX_NEON_BINARY(operator+, I32, I32, vaddq_s32)
ANNX_NEON_BINARY(operator-, I32, I32, vsubq_s32)
ANNX_NEON_BINARY(operator*, I32, I32, vmulq_s32)
ANNX_NEON_BINARY(operator&, I32, I32, vandq_s32)
ANNX_NEON_BINARY(operator|, I32, I32, vorrq_s32)
ANNX_NEON_BINARY(operator^, I32, I32, veorq_s32)
ANNX_NEON_BINARY(operator+, I64, I64, vaddq_s64)
ANNX_NEON_BINARY(operator-, I64, I64, vsubq_s64)
ANNX_NEON_BINARY(operator&, I64, I64, vandq_s64)
ANNX_NEON_BINARY(operator|, I64, I64, vorrq_s64)
ANNX_NEON_BINARY(operator^, I64, I64, veorq_s64)
ANNX_INLINE int32x4_t neon_mulhi_u32(int32x4_t a, int32x4_t b) {
  const uint32x4_t x = vreinterpretq_u32_s32(a), y = vreinterpretq_u32_s32(b);
  const uint32x4_t lo = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(x), vget_low_u32(y)));
  const uint32x4_t hi = vreinterpretq_u32_u64(vmull_high_u32(x, y));
  return vreinterpretq_s32_u32(vuzp2q_u32(lo, hi));
}
ANNX_NEON_BINARY(mulhi_u32, I32, I32, neon_mulhi_u32)
template <int k>
ANNX_INLINE I32 shl(I32 a) {
  for (int i = 0; i < 4; ++i) a.v[i] = vshlq_n_s32(a.v[i], k);
  return a;
}
template <int k>
ANNX_INLINE I64 shl(I64 a) {
  for (int i = 0; i < 4; ++i) a.v[i] = vshlq_n_s64(a.v[i], k);
  return a;
}
template <int k>
ANNX_INLINE I32 shr_logical(I32 a) {
  for (int i = 0; i < 4; ++i) {
    a.v[i] = vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a.v[i]), k));
  }
  return a;
}
template <int k>
ANNX_INLINE I64 shr_logical(I64 a) {
  for (int i = 0; i < 4; ++i) {
    a.v[i] = vreinterpretq_s64_u64(vshrq_n_u64(vreinterpretq_u64_s64(a.v[i]), k));
  }
  return a;
}
template <int k>
ANNX_INLINE I32 shr_arith(I32 a) {
  for (int i = 0; i < 4; ++i) a.v[i] = vshrq_n_s32(a.v[i], k);
  return a;
}
template <int k>
ANNX_INLINE I64 shr_arith(I64 a) {
  for (int i = 0; i < 4; ++i) a.v[i] = vshrq_n_s64(a.v[i], k);
  return a;
}

// --- comparisons ---
ANNX_NEON_BINARY(lt, M32, F32, vcltq_f32)
ANNX_NEON_BINARY(le, M32, F32, vcleq_f32)
ANNX_NEON_BINARY(gt, M32, F32, vcgtq_f32)
ANNX_NEON_BINARY(ge, M32, F32, vcgeq_f32)
ANNX_NEON_BINARY(eq, M32, F32, vceqq_f32)
ANNX_NEON_BINARY(lt, M64, F64, vcltq_f64)
ANNX_NEON_BINARY(le, M64, F64, vcleq_f64)
ANNX_NEON_BINARY(gt, M64, F64, vcgtq_f64)
ANNX_NEON_BINARY(ge, M64, F64, vcgeq_f64)
ANNX_NEON_BINARY(eq, M64, F64, vceqq_f64)
ANNX_NEON_BINARY(lt, M32, I32, vcltq_s32)
ANNX_NEON_BINARY(gt, M32, I32, vcgtq_s32)
ANNX_NEON_BINARY(eq, M32, I32, vceqq_s32)
ANNX_NEON_BINARY(lt, M64, I64, vcltq_s64)
ANNX_NEON_BINARY(gt, M64, I64, vcgtq_s64)
ANNX_NEON_BINARY(eq, M64, I64, vceqq_s64)

// --- masks: all bits of a lane, or none ---
ANNX_INLINE uint64x2_t neon_not_u64(uint64x2_t a) {
  return vreinterpretq_u64_u32(vmvnq_u32(vreinterpretq_u32_u64(a)));
}
ANNX_NEON_BINARY(operator&, M32, M32, vandq_u32)
ANNX_NEON_BINARY(operator|, M32, M32, vorrq_u32)
ANNX_NEON_BINARY(operator^, M32, M32, veorq_u32)
ANNX_NEON_UNARY(operator~, M32, M32, vmvnq_u32)
ANNX_NEON_BINARY(operator&, M64, M64, vandq_u64)
ANNX_NEON_BINARY(operator|, M64, M64, vorrq_u64)
ANNX_NEON_BINARY(operator^, M64, M64, veorq_u64)
ANNX_NEON_UNARY(operator~, M64, M64, neon_not_u64)
ANNX_INLINE bool any(M32 a) {
  return vmaxvq_u32(vorrq_u32(vorrq_u32(a.v[0], a.v[1]), vorrq_u32(a.v[2], a.v[3]))) != 0;
}
ANNX_INLINE bool all(M32 a) {
  return vminvq_u32(vandq_u32(vandq_u32(a.v[0], a.v[1]), vandq_u32(a.v[2], a.v[3]))) != 0;
}
ANNX_INLINE bool any(M64 a) {
  const uint64x2_t r = vorrq_u64(vorrq_u64(a.v[0], a.v[1]), vorrq_u64(a.v[2], a.v[3]));
  return vmaxvq_u32(vreinterpretq_u32_u64(r)) != 0;
}
ANNX_INLINE bool all(M64 a) {
  const uint64x2_t r = vandq_u64(vandq_u64(a.v[0], a.v[1]), vandq_u64(a.v[2], a.v[3]));
  return vminvq_u32(vreinterpretq_u32_u64(r)) != 0;
}
ANNX_INLINE M32 ne(F32 a, F32 b) { return ~eq(a, b); }
ANNX_INLINE M64 ne(F64 a, F64 b) { return ~eq(a, b); }
ANNX_INLINE M32 is_nan(F32 a) { return ne(a, a); }
ANNX_INLINE M64 is_nan(F64 a) { return ne(a, a); }
ANNX_NEON_SELECT(M32, F32, vbslq_f32)
ANNX_NEON_SELECT(M64, F64, vbslq_f64)
ANNX_NEON_SELECT(M32, I32, vbslq_s32)
ANNX_NEON_SELECT(M64, I64, vbslq_s64)
#undef ANNX_NEON_SELECT
ANNX_INLINE void store_bool(uint8_t* p, M32 m) {
  const uint16x8_t lo = vcombine_u16(vmovn_u32(m.v[0]), vmovn_u32(m.v[1]));
  const uint16x8_t hi = vcombine_u16(vmovn_u32(m.v[2]), vmovn_u32(m.v[3]));
  const uint8x16_t bytes = vcombine_u8(vmovn_u16(lo), vmovn_u16(hi));
  vst1q_u8(p, vandq_u8(bytes, vdupq_n_u8(1)));
}
ANNX_INLINE void store_bool(uint8_t* p, M64 m) {
  const uint32x4_t lo = vcombine_u32(vmovn_u64(m.v[0]), vmovn_u64(m.v[1]));
  const uint32x4_t hi = vcombine_u32(vmovn_u64(m.v[2]), vmovn_u64(m.v[3]));
  const uint8x8_t bytes = vmovn_u16(vcombine_u16(vmovn_u32(lo), vmovn_u32(hi)));
  vst1_u8(p, vand_u8(bytes, vdup_n_u8(1)));
}
ANNX_INLINE void store_bool_n(uint8_t* p, M32 m, int64_t n) {
  uint8_t bytes[16];
  store_bool(bytes, m);
  for (int64_t i = 0; i < n; ++i) p[i] = bytes[i];
}
ANNX_INLINE void store_bool_n(uint8_t* p, M64 m, int64_t n) {
  uint8_t bytes[8];
  store_bool(bytes, m);
  for (int64_t i = 0; i < n; ++i) p[i] = bytes[i];
}

// --- arithmetic ---
#define ANNX_NEON_FLOAT(Type, s)                                          \
  ANNX_NEON_BINARY(operator+, Type, Type, vaddq_##s)                      \
  ANNX_NEON_BINARY(operator-, Type, Type, vsubq_##s)                      \
  ANNX_NEON_BINARY(operator*, Type, Type, vmulq_##s)                      \
  ANNX_NEON_BINARY(operator/, Type, Type, vdivq_##s)                      \
  ANNX_NEON_UNARY(operator-, Type, Type, vnegq_##s)                       \
  ANNX_NEON_UNARY(abs, Type, Type, vabsq_##s)                             \
  ANNX_NEON_UNARY(sqrt, Type, Type, vsqrtq_##s)                           \
  ANNX_NEON_UNARY(rint, Type, Type, vrndnq_##s)                           \
  ANNX_NEON_UNARY(floor, Type, Type, vrndmq_##s)                          \
  ANNX_NEON_UNARY(ceil, Type, Type, vrndpq_##s)                           \
  ANNX_NEON_UNARY(trunc, Type, Type, vrndq_##s)                           \
  ANNX_NEON_FUSED(fma, Type, vfmaq_##s)                                   \
  ANNX_NEON_FUSED(fnma, Type, vfmsq_##s)                                  \
  /* The native min and max treat NaN and zeros differently. */           \
  ANNX_INLINE Type min(Type a, Type b) { return select(lt(a, b), a, b); } \
  ANNX_INLINE Type max(Type a, Type b) { return select(gt(a, b), a, b); }
ANNX_NEON_FLOAT(F32, f32)
ANNX_NEON_FLOAT(F64, f64)
#undef ANNX_NEON_FLOAT
#undef ANNX_NEON_FUSED
#undef ANNX_NEON_BINARY
ANNX_INLINE F32 copysign(F32 a, F32 sign) {
  const I32 bit = I32::splat(INT32_MIN);
  return as_float(as_int(abs(a)) | (as_int(sign) & bit));
}
ANNX_INLINE F64 copysign(F64 a, F64 sign) {
  const I64 bit = I64::splat(INT64_MIN);
  return as_float(as_int(abs(a)) | (as_int(sign) & bit));
}

// --- conversions ---
// Truncates; INT32_MIN for NaN and for what does not fit (the instruction saturates instead).
ANNX_INLINE int32x4_t neon_to_int(float32x4_t a) {
  const uint32x4_t fits = vcaltq_f32(a, vdupq_n_f32(0x1p31f));
  return vbslq_s32(fits, vcvtq_s32_f32(a), vdupq_n_s32(INT32_MIN));
}
ANNX_NEON_UNARY(to_int, I32, F32, neon_to_int)
ANNX_NEON_UNARY(to_float, F32, I32, vcvtq_f32_s32)
#undef ANNX_NEON_UNARY
// The first and the second half of the lanes, and back.
ANNX_INLINE F64 neon_widen(float32x4_t lo, float32x4_t hi) {
  return {{vcvt_f64_f32(vget_low_f32(lo)), vcvt_high_f64_f32(lo), vcvt_f64_f32(vget_low_f32(hi)),
           vcvt_high_f64_f32(hi)}};
}
ANNX_INLINE float32x4_t neon_narrow(float64x2_t lo, float64x2_t hi) {
  return vcvt_high_f32_f64(vcvt_f32_f64(lo), hi);
}
ANNX_INLINE F64 widen_lo(F32 a) { return neon_widen(a.v[0], a.v[1]); }
ANNX_INLINE F64 widen_hi(F32 a) { return neon_widen(a.v[2], a.v[3]); }
ANNX_INLINE F32 narrow(F64 lo, F64 hi) {
  return {{neon_narrow(lo.v[0], lo.v[1]), neon_narrow(lo.v[2], lo.v[3]),
           neon_narrow(hi.v[0], hi.v[1]), neon_narrow(hi.v[2], hi.v[3])}};
}
ANNX_INLINE F64 widen(const float* p) { return neon_widen(vld1q_f32(p), vld1q_f32(p + 4)); }
ANNX_INLINE F64 widen_n(const float* p, int64_t n) {
  float buffer[8] = {};
  for (int64_t i = 0; i < n; ++i) buffer[i] = p[i];
  return widen(buffer);
}
ANNX_INLINE void narrow_store(float* p, F64 a) {
  for (int i = 0; i < 4; ++i) vst1_f32(p + 2 * i, vcvt_f32_f64(a.v[i]));
}
ANNX_INLINE void narrow_store_n(float* p, F64 a, int64_t n) {
  float buffer[8];
  narrow_store(buffer, a);
  for (int64_t i = 0; i < n; ++i) p[i] = buffer[i];
}
// 16-bit storage as the low halves of the lanes.
ANNX_INLINE I32 load_u16(const uint16_t* p) {
  I32 r;
  for (int i = 0; i < 4; ++i) r.v[i] = vreinterpretq_s32_u32(vmovl_u16(vld1_u16(p + 4 * i)));
  return r;
}
ANNX_INLINE void store_u16(uint16_t* p, I32 a) {
  for (int i = 0; i < 4; ++i) vst1_u16(p + 4 * i, vmovn_u32(vreinterpretq_u32_s32(a.v[i])));
}
ANNX_INLINE F32 load_f16(const uint16_t* p) {
  F32 r;
  for (int i = 0; i < 4; ++i) r.v[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)));
  return r;
}
ANNX_INLINE void store_f16(uint16_t* p, F32 a) {
  for (int i = 0; i < 4; ++i) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(a.v[i])));
}
ANNX_INLINE I32 load_u16_n(const uint16_t* p, int64_t n) {
  uint16_t buffer[16] = {};
  for (int64_t i = 0; i < n; ++i) buffer[i] = p[i];
  return load_u16(buffer);
}
ANNX_INLINE void store_u16_n(uint16_t* p, I32 a, int64_t n) {
  uint16_t buffer[16];
  store_u16(buffer, a);
  for (int64_t i = 0; i < n; ++i) p[i] = buffer[i];
}
ANNX_INLINE F32 load_f16_n(const uint16_t* p, int64_t n) {
  uint16_t buffer[16] = {};
  for (int64_t i = 0; i < n; ++i) buffer[i] = p[i];
  return load_f16(buffer);
}
ANNX_INLINE void store_f16_n(uint16_t* p, F32 a, int64_t n) {
  uint16_t buffer[16];
  store_f16(buffer, a);
  for (int64_t i = 0; i < n; ++i) p[i] = buffer[i];
}
// p[4 i + k] is lane i of the k-th vector.
ANNX_INLINE void store_interleaved4(float* p, F32 a, F32 b, F32 c, F32 d) {
  for (int i = 0; i < 4; ++i) {
    vst4q_f32(p + 16 * i, (float32x4x4_t{{a.v[i], b.v[i], c.v[i], d.v[i]}}));
  }
}

// --- horizontal: lane i with i + N/2, then + N/4, … ---
ANNX_INLINE float32x4_t neon_add(float32x4_t a, float32x4_t b) { return vaddq_f32(a, b); }
ANNX_INLINE float32x4_t neon_max(float32x4_t a, float32x4_t b) {
  return vbslq_f32(vcgtq_f32(a, b), a, b);
}
ANNX_INLINE float32x4_t neon_min(float32x4_t a, float32x4_t b) {
  return vbslq_f32(vcltq_f32(a, b), a, b);
}
ANNX_INLINE float64x2_t neon_add(float64x2_t a, float64x2_t b) { return vaddq_f64(a, b); }
ANNX_INLINE float64x2_t neon_max(float64x2_t a, float64x2_t b) {
  return vbslq_f64(vcgtq_f64(a, b), a, b);
}
ANNX_INLINE float64x2_t neon_min(float64x2_t a, float64x2_t b) {
  return vbslq_f64(vcltq_f64(a, b), a, b);
}
#define ANNX_NEON_HORIZONTAL(name, op)                                \
  ANNX_INLINE float name(F32 a) {                                     \
    float32x4_t r = op(op(a.v[0], a.v[2]), op(a.v[1], a.v[3]));       \
    r = op(r, vextq_f32(r, r, 2));                                    \
    return vgetq_lane_f32(op(r, vextq_f32(r, r, 1)), 0);              \
  }                                                                   \
  ANNX_INLINE double name(F64 a) {                                    \
    const float64x2_t r = op(op(a.v[0], a.v[2]), op(a.v[1], a.v[3])); \
    return vgetq_lane_f64(op(r, vextq_f64(r, r, 1)), 0);              \
  }
ANNX_NEON_HORIZONTAL(hsum, neon_add)
ANNX_NEON_HORIZONTAL(hmax, neon_max)
ANNX_NEON_HORIZONTAL(hmin, neon_min)
#undef ANNX_NEON_HORIZONTAL
