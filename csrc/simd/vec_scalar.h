// Reference target: the logical vectors as plain arrays. Any CPU runs it; the others must match it.
// fma and sqrt are the compiler's builtins: correctly rounded by definition, whatever library or
// instruction they become.

template <class S, int N>
struct ScalarMask {  // S is the signed integer as wide as the lane: 0 or -1
  static constexpr int lanes = N;
  S v[N];

  ANNX_INLINE ScalarMask load_bool(const uint8_t* p) {
    ScalarMask r;
    for (int i = 0; i < N; ++i) r.v[i] = p[i] != 0 ? S{-1} : S{0};
    return r;
  }
  ANNX_INLINE ScalarMask load_bool_n(const uint8_t* p, int64_t n) {
    ScalarMask r;
    for (int i = 0; i < N; ++i) r.v[i] = i < n && p[i] != 0 ? S{-1} : S{0};
    return r;
  }
};

template <class S, int N>
struct ScalarInt {
  static constexpr int lanes = N;
  using Scalar = S;
  using Mask = ScalarMask<S, N>;
  S v[N];

  ANNX_INLINE ScalarInt load(const S* p) {
    ScalarInt r;
    for (int i = 0; i < N; ++i) r.v[i] = p[i];
    return r;
  }
  ANNX_INLINE ScalarInt load_n(const S* p, int64_t n) {
    ScalarInt r;
    for (int i = 0; i < N; ++i) r.v[i] = i < n ? p[i] : S{0};
    return r;
  }
  ANNX_INLINE ScalarInt splat(S s) {
    ScalarInt r;
    for (int i = 0; i < N; ++i) r.v[i] = s;
    return r;
  }
  ANNX_INLINE ScalarInt iota() {
    ScalarInt r;
    for (int i = 0; i < N; ++i) r.v[i] = static_cast<S>(i);
    return r;
  }
  ANNX_INLINE Mask first_n(int64_t n) {
    Mask r;
    for (int i = 0; i < N; ++i) r.v[i] = i < n ? S{-1} : S{0};
    return r;
  }
};

template <class S, class IntScalar, int N>
struct ScalarFloat {
  static constexpr int lanes = N;
  using Scalar = S;
  using Int = ScalarInt<IntScalar, N>;
  using Mask = ScalarMask<IntScalar, N>;
  S v[N];

  ANNX_INLINE ScalarFloat load(const S* p) {
    ScalarFloat r;
    for (int i = 0; i < N; ++i) r.v[i] = p[i];
    return r;
  }
  ANNX_INLINE ScalarFloat load_n(const S* p, int64_t n) {
    ScalarFloat r;
    for (int i = 0; i < N; ++i) r.v[i] = i < n ? p[i] : S{0};
    return r;
  }
  ANNX_INLINE ScalarFloat splat(S s) {
    ScalarFloat r;
    for (int i = 0; i < N; ++i) r.v[i] = s;
    return r;
  }
  ANNX_INLINE ScalarFloat iota() {
    ScalarFloat r;
    for (int i = 0; i < N; ++i) r.v[i] = static_cast<S>(i);
    return r;
  }
  ANNX_INLINE Mask first_n(int64_t n) { return Int::first_n(n); }
};

using M32 = ScalarMask<int32_t, 16>;
using M64 = ScalarMask<int64_t, 8>;
using I32 = ScalarInt<int32_t, 16>;
using I64 = ScalarInt<int64_t, 8>;
using F32 = ScalarFloat<float, int32_t, 16>;
using F64 = ScalarFloat<double, int64_t, 8>;

#define ANNX_SCALAR_FLOAT template <class S, class B, int N>
#define ANNX_SCALAR_INT template <class S, int N>
#define ANNX_EACH_LANE for (int i = 0; i < N; ++i)

// --- store ---
ANNX_SCALAR_FLOAT ANNX_INLINE void store(S* p, ScalarFloat<S, B, N> a) {
  ANNX_EACH_LANE p[i] = a.v[i];
}
ANNX_SCALAR_FLOAT ANNX_INLINE void store_n(S* p, ScalarFloat<S, B, N> a, int64_t n) {
  ANNX_EACH_LANE if (i < n) p[i] = a.v[i];
}
ANNX_SCALAR_INT ANNX_INLINE void store(S* p, ScalarInt<S, N> a) { ANNX_EACH_LANE p[i] = a.v[i]; }
ANNX_SCALAR_INT ANNX_INLINE void store_n(S* p, ScalarInt<S, N> a, int64_t n) {
  ANNX_EACH_LANE if (i < n) p[i] = a.v[i];
}

// --- bit casts: lane by lane, since GCC 12 reorders loads across a memcpy of the whole array ---
ANNX_SCALAR_FLOAT ANNX_INLINE ScalarInt<B, N> as_int(ScalarFloat<S, B, N> a) {
  ScalarInt<B, N> r;
  ANNX_EACH_LANE r.v[i] = __builtin_bit_cast(B, a.v[i]);
  return r;
}
ANNX_INLINE F32 as_float(I32 a) {
  F32 r;
  for (int i = 0; i < 16; ++i) r.v[i] = __builtin_bit_cast(float, a.v[i]);
  return r;
}
ANNX_INLINE F64 as_float(I64 a) {
  F64 r;
  for (int i = 0; i < 8; ++i) r.v[i] = __builtin_bit_cast(double, a.v[i]);
  return r;
}

// --- integers: wrap around ---
#define ANNX_SCALAR_INT_OP(op)                                                                    \
  ANNX_SCALAR_INT ANNX_INLINE ScalarInt<S, N> operator op(ScalarInt<S, N> a, ScalarInt<S, N> b) { \
    ANNX_EACH_LANE a.v[i] =                                                                       \
        static_cast<S>(static_cast<uint64_t>(a.v[i]) op static_cast<uint64_t>(b.v[i]));           \
    return a;                                                                                     \
  }
ANNX_SCALAR_INT_OP(+)
ANNX_SCALAR_INT_OP(-)
ANNX_SCALAR_INT_OP(&)
ANNX_SCALAR_INT_OP(|)
ANNX_SCALAR_INT_OP(^)
#undef ANNX_SCALAR_INT_OP
ANNX_INLINE I32 operator*(I32 a, I32 b) {
  for (int i = 0; i < 16; ++i) {
    a.v[i] = static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) * static_cast<uint32_t>(b.v[i]));
  }
  return a;
}
ANNX_INLINE I32 mulhi_u32(I32 a, I32 b) {
  for (int i = 0; i < 16; ++i) {
    const uint64_t product =
        uint64_t{static_cast<uint32_t>(a.v[i])} * static_cast<uint32_t>(b.v[i]);
    a.v[i] = static_cast<int32_t>(product >> 32);
  }
  return a;
}
template <int k>
ANNX_INLINE I32 shl(I32 a) {
  for (int i = 0; i < 16; ++i) a.v[i] = static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) << k);
  return a;
}
template <int k>
ANNX_INLINE I64 shl(I64 a) {
  for (int i = 0; i < 8; ++i) a.v[i] = static_cast<int64_t>(static_cast<uint64_t>(a.v[i]) << k);
  return a;
}
template <int k>
ANNX_INLINE I32 shr_logical(I32 a) {
  for (int i = 0; i < 16; ++i) a.v[i] = static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) >> k);
  return a;
}
template <int k>
ANNX_INLINE I64 shr_logical(I64 a) {
  for (int i = 0; i < 8; ++i) a.v[i] = static_cast<int64_t>(static_cast<uint64_t>(a.v[i]) >> k);
  return a;
}
template <int k, class S, int N>
ANNX_INLINE ScalarInt<S, N> shr_arith(ScalarInt<S, N> a) {
  ANNX_EACH_LANE a.v[i] = static_cast<S>(a.v[i] >> k);
  return a;
}

// --- comparisons ---
#define ANNX_SCALAR_COMPARE(name, op)                                           \
  ANNX_SCALAR_FLOAT ANNX_INLINE ScalarMask<B, N> name(ScalarFloat<S, B, N> a,   \
                                                      ScalarFloat<S, B, N> b) { \
    ScalarMask<B, N> r;                                                         \
    ANNX_EACH_LANE r.v[i] = a.v[i] op b.v[i] ? B{-1} : B{0};                    \
    return r;                                                                   \
  }
#define ANNX_SCALAR_INT_COMPARE(name, op)                                                   \
  ANNX_SCALAR_INT ANNX_INLINE ScalarMask<S, N> name(ScalarInt<S, N> a, ScalarInt<S, N> b) { \
    ScalarMask<S, N> r;                                                                     \
    ANNX_EACH_LANE r.v[i] = a.v[i] op b.v[i] ? S{-1} : S{0};                                \
    return r;                                                                               \
  }
ANNX_SCALAR_COMPARE(lt, <)
ANNX_SCALAR_COMPARE(le, <=)
ANNX_SCALAR_COMPARE(gt, >)
ANNX_SCALAR_COMPARE(ge, >=)
ANNX_SCALAR_COMPARE(eq, ==)
ANNX_SCALAR_COMPARE(ne, !=)
ANNX_SCALAR_INT_COMPARE(lt, <)
ANNX_SCALAR_INT_COMPARE(gt, >)
ANNX_SCALAR_INT_COMPARE(eq, ==)
#undef ANNX_SCALAR_INT_COMPARE
#undef ANNX_SCALAR_COMPARE
ANNX_SCALAR_FLOAT ANNX_INLINE ScalarMask<B, N> is_nan(ScalarFloat<S, B, N> a) { return ne(a, a); }

// --- masks ---
ANNX_SCALAR_INT ANNX_INLINE ScalarMask<S, N> operator&(ScalarMask<S, N> a, ScalarMask<S, N> b) {
  ANNX_EACH_LANE a.v[i] &= b.v[i];
  return a;
}
ANNX_SCALAR_INT ANNX_INLINE ScalarMask<S, N> operator|(ScalarMask<S, N> a, ScalarMask<S, N> b) {
  ANNX_EACH_LANE a.v[i] |= b.v[i];
  return a;
}
ANNX_SCALAR_INT ANNX_INLINE ScalarMask<S, N> operator^(ScalarMask<S, N> a, ScalarMask<S, N> b) {
  ANNX_EACH_LANE a.v[i] ^= b.v[i];
  return a;
}
ANNX_SCALAR_INT ANNX_INLINE ScalarMask<S, N> operator~(ScalarMask<S, N> a) {
  ANNX_EACH_LANE a.v[i] = ~a.v[i];
  return a;
}
ANNX_SCALAR_INT ANNX_INLINE bool any(ScalarMask<S, N> a) {
  S r = 0;
  ANNX_EACH_LANE r |= a.v[i];
  return r != 0;
}
ANNX_SCALAR_INT ANNX_INLINE bool all(ScalarMask<S, N> a) {
  S r = -1;
  ANNX_EACH_LANE r &= a.v[i];
  return r != 0;
}
ANNX_SCALAR_FLOAT ANNX_INLINE ScalarFloat<S, B, N> select(ScalarMask<B, N> m,
                                                          ScalarFloat<S, B, N> a,
                                                          ScalarFloat<S, B, N> b) {
  ANNX_EACH_LANE a.v[i] = m.v[i] != 0 ? a.v[i] : b.v[i];
  return a;
}
ANNX_SCALAR_INT ANNX_INLINE ScalarInt<S, N> select(ScalarMask<S, N> m, ScalarInt<S, N> a,
                                                   ScalarInt<S, N> b) {
  ANNX_EACH_LANE a.v[i] = m.v[i] != 0 ? a.v[i] : b.v[i];
  return a;
}
ANNX_SCALAR_INT ANNX_INLINE void store_bool(uint8_t* p, ScalarMask<S, N> m) {
  ANNX_EACH_LANE p[i] = m.v[i] != 0 ? 1 : 0;
}
ANNX_SCALAR_INT ANNX_INLINE void store_bool_n(uint8_t* p, ScalarMask<S, N> m, int64_t n) {
  ANNX_EACH_LANE if (i < n) p[i] = m.v[i] != 0 ? 1 : 0;
}

// --- arithmetic ---
#define ANNX_SCALAR_FLOAT_OP(op)                                                           \
  ANNX_SCALAR_FLOAT ANNX_INLINE ScalarFloat<S, B, N> operator op(ScalarFloat<S, B, N> a,   \
                                                                 ScalarFloat<S, B, N> b) { \
    ANNX_EACH_LANE a.v[i] = a.v[i] op b.v[i];                                              \
    return a;                                                                              \
  }
ANNX_SCALAR_FLOAT_OP(+)
ANNX_SCALAR_FLOAT_OP(-)
ANNX_SCALAR_FLOAT_OP(*)
ANNX_SCALAR_FLOAT_OP(/)
#undef ANNX_SCALAR_FLOAT_OP
ANNX_SCALAR_FLOAT ANNX_INLINE ScalarFloat<S, B, N> operator-(ScalarFloat<S, B, N> a) {
  ANNX_EACH_LANE a.v[i] = -a.v[i];
  return a;
}
ANNX_INLINE F32 abs(F32 a) { return as_float(as_int(a) & I32::splat(0x7fffffff)); }
ANNX_INLINE F64 abs(F64 a) { return as_float(as_int(a) & I64::splat(0x7fffffffffffffff)); }
ANNX_INLINE F32 copysign(F32 a, F32 sign) {
  const I32 bit = I32::splat(INT32_MIN);
  return as_float(as_int(abs(a)) | (as_int(sign) & bit));
}
ANNX_INLINE F64 copysign(F64 a, F64 sign) {
  const I64 bit = I64::splat(INT64_MIN);
  return as_float(as_int(abs(a)) | (as_int(sign) & bit));
}
#if defined(__FMA__) || defined(__aarch64__)
ANNX_INLINE F32 fma(F32 a, F32 b, F32 c) {
  for (int i = 0; i < 16; ++i) a.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
  return a;
}
#else
// Where there is no instruction, a library call per lane would cost more than all else. The product
// is exact in double; the sum is rounded to odd there, which leaves the rounding to float right. Out
// of line: inlined by GCC 12 at -O3 it gave other bits than by itself.
typedef double FmaPair __attribute__((vector_size(16)));
typedef int64_t FmaBits __attribute__((vector_size(16)));
ANNX_NOINLINE F32 fma(const F32& a, const F32& b, const F32& c) {
  F32 r;
  for (int i = 0; i < 16; i += 2) {
    const FmaPair p = FmaPair{a.v[i], a.v[i + 1]} * FmaPair{b.v[i], b.v[i + 1]};
    const FmaPair z = {c.v[i], c.v[i + 1]};
    const FmaPair s = p + z, t = s - p;
    const FmaPair lost = (p - (s - t)) + (z - t);
    const FmaBits bits = (FmaBits)s;
    // One step towards what was lost where the last bit is even: 1, 0 or -1 (NaN: 0), in size.
    const FmaBits step = (FmaBits)(lost < 0.0) - (FmaBits)(lost > 0.0);
    const FmaBits negative = 0 - (FmaBits)((FmaBits)(s < 0.0) & 1);
    const FmaBits even = (bits & 1) - 1;
    const FmaPair odd = (FmaPair)(bits + (((step ^ negative) - negative) & even));
    r.v[i] = static_cast<float>(odd[0]);
    r.v[i + 1] = static_cast<float>(odd[1]);
  }
  return r;
}
#endif
ANNX_INLINE F64 fma(F64 a, F64 b, F64 c) {
  for (int i = 0; i < 8; ++i) a.v[i] = __builtin_fma(a.v[i], b.v[i], c.v[i]);
  return a;
}
ANNX_SCALAR_FLOAT ANNX_INLINE ScalarFloat<S, B, N> fnma(ScalarFloat<S, B, N> a,
                                                        ScalarFloat<S, B, N> b,
                                                        ScalarFloat<S, B, N> c) {
  return fma(-a, b, c);
}
ANNX_INLINE F32 sqrt(F32 a) {
  for (int i = 0; i < 16; ++i) a.v[i] = __builtin_sqrtf(a.v[i]);
  return a;
}
ANNX_INLINE F64 sqrt(F64 a) {
  for (int i = 0; i < 8; ++i) a.v[i] = __builtin_sqrt(a.v[i]);
  return a;
}
// a < b ? a : b: the second operand when they are unordered or equal.
ANNX_SCALAR_FLOAT ANNX_INLINE ScalarFloat<S, B, N> min(ScalarFloat<S, B, N> a,
                                                       ScalarFloat<S, B, N> b) {
  ANNX_EACH_LANE a.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
  return a;
}
ANNX_SCALAR_FLOAT ANNX_INLINE ScalarFloat<S, B, N> max(ScalarFloat<S, B, N> a,
                                                       ScalarFloat<S, B, N> b) {
  ANNX_EACH_LANE a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
  return a;
}

// --- rounding: adding 2^23 (2^52) leaves no fraction bits, and the addition rounds to even ---
ANNX_INLINE F32 integer_limit(F32) { return F32::splat(0x1p23f); }
ANNX_INLINE F64 integer_limit(F64) { return F64::splat(0x1p52); }
ANNX_SCALAR_FLOAT ANNX_INLINE ScalarFloat<S, B, N> rint(ScalarFloat<S, B, N> a) {
  const ScalarFloat<S, B, N> limit = integer_limit(a);
  const ScalarFloat<S, B, N> magnitude = abs(a);
  const ScalarFloat<S, B, N> rounded = copysign((magnitude + limit) - limit, a);
  return select(lt(magnitude, limit), rounded, a + ScalarFloat<S, B, N>::splat(0));
}
ANNX_SCALAR_FLOAT ANNX_INLINE ScalarFloat<S, B, N> floor(ScalarFloat<S, B, N> a) {
  const ScalarFloat<S, B, N> r = rint(a);
  return copysign(select(gt(r, a), r - ScalarFloat<S, B, N>::splat(1), r), a);
}
ANNX_SCALAR_FLOAT ANNX_INLINE ScalarFloat<S, B, N> ceil(ScalarFloat<S, B, N> a) {
  const ScalarFloat<S, B, N> r = rint(a);
  return copysign(select(lt(r, a), r + ScalarFloat<S, B, N>::splat(1), r), a);
}
ANNX_SCALAR_FLOAT ANNX_INLINE ScalarFloat<S, B, N> trunc(ScalarFloat<S, B, N> a) {
  return copysign(floor(abs(a)), a);
}

// --- conversions ---
// Truncates; INT32_MIN for NaN and for what does not fit.
ANNX_INLINE I32 to_int(F32 a) {
  I32 r;
  for (int i = 0; i < 16; ++i) {
    const bool fits = a.v[i] >= -0x1p31f && a.v[i] < 0x1p31f;
    r.v[i] = fits ? static_cast<int32_t>(a.v[i]) : INT32_MIN;
  }
  return r;
}
ANNX_INLINE F32 to_float(I32 a) {
  F32 r;
  for (int i = 0; i < 16; ++i) r.v[i] = static_cast<float>(a.v[i]);
  return r;
}
ANNX_INLINE F64 widen(const float* p) {
  F64 r;
  for (int i = 0; i < 8; ++i) r.v[i] = p[i];
  return r;
}
ANNX_INLINE F64 widen_n(const float* p, int64_t n) {
  F64 r;
  for (int i = 0; i < 8; ++i) r.v[i] = i < n ? p[i] : 0;
  return r;
}
ANNX_INLINE void narrow_store(float* p, F64 a) {
  for (int i = 0; i < 8; ++i) p[i] = static_cast<float>(a.v[i]);
}
ANNX_INLINE void narrow_store_n(float* p, F64 a, int64_t n) {
  for (int i = 0; i < 8; ++i) {
    if (i < n) p[i] = static_cast<float>(a.v[i]);
  }
}

// The first and the second half of the lanes, and back.
ANNX_INLINE F64 widen_lo(F32 a) { return widen(a.v); }
ANNX_INLINE F64 widen_hi(F32 a) { return widen(a.v + 8); }
ANNX_INLINE F32 narrow(F64 lo, F64 hi) {
  F32 r;
  narrow_store(r.v, lo);
  narrow_store(r.v + 8, hi);
  return r;
}

// 16-bit storage as the low halves of the lanes.
ANNX_INLINE I32 load_u16(const uint16_t* p) {
  I32 r;
  for (int i = 0; i < 16; ++i) r.v[i] = p[i];
  return r;
}
ANNX_INLINE I32 load_u16_n(const uint16_t* p, int64_t n) {
  I32 r;
  for (int i = 0; i < 16; ++i) r.v[i] = i < n ? p[i] : 0;
  return r;
}
ANNX_INLINE void store_u16(uint16_t* p, I32 a) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<uint16_t>(a.v[i]);
}
ANNX_INLINE void store_u16_n(uint16_t* p, I32 a, int64_t n) {
  for (int i = 0; i < 16; ++i) {
    if (i < n) p[i] = static_cast<uint16_t>(a.v[i]);
  }
}
// IEEE half bits to float: rebias the exponent; a subnormal is an exact multiple of 2^-24.
ANNX_INLINE F32 f16_to_f32(I32 half) {
  const I32 sign = shl<16>(half & I32::splat(0x8000));
  const I32 magnitude = half & I32::splat(0x7fff);
  const I32 normal = shl<13>(magnitude) + I32::splat((127 - 15) << 23);
  const I32 subnormal = as_int(to_float(magnitude) * F32::splat(0x1p-24f));
  const I32 quiet = select(gt(magnitude, I32::splat(0x7c00)), I32::splat(0x400000), I32::splat(0));
  const I32 special = shl<13>(magnitude) | I32::splat(0x7f800000) | quiet;
  I32 r = select(lt(magnitude, I32::splat(0x400)), subnormal, normal);
  r = select(gt(magnitude, I32::splat(0x7bff)), special, r);
  return as_float(r | sign);
}
// Float to IEEE half bits, nearest even. Adding 0.5 aligns a subnormal result with the last bits.
ANNX_INLINE I32 f32_to_f16(F32 a) {
  const I32 bits = as_int(a);
  const I32 sign = shr_logical<16>(bits) & I32::splat(0x8000);
  const I32 magnitude = bits & I32::splat(0x7fffffff);
  const I32 odd = shr_logical<13>(magnitude) & I32::splat(1);
  const I32 normal =
      shr_logical<13>(magnitude - I32::splat((127 - 15) << 23) + I32::splat(0xfff) + odd);
  const F32 half = F32::splat(0.5f);
  const I32 subnormal = as_int(abs(a) + half) - as_int(half);
  const I32 nan = (shr_logical<13>(magnitude) & I32::splat(0x3ff)) | I32::splat(0x7e00);
  I32 r = select(lt(magnitude, I32::splat((127 - 14) << 23)), subnormal, normal);
  r = select(gt(magnitude, I32::splat(((127 + 16) << 23) - 1)), I32::splat(0x7c00), r);
  r = select(gt(magnitude, I32::splat(0x7f800000)), nan, r);
  return r | sign;
}
ANNX_INLINE F32 load_f16(const uint16_t* p) { return f16_to_f32(load_u16(p)); }
ANNX_INLINE F32 load_f16_n(const uint16_t* p, int64_t n) { return f16_to_f32(load_u16_n(p, n)); }
ANNX_INLINE void store_f16(uint16_t* p, F32 a) { store_u16(p, f32_to_f16(a)); }
ANNX_INLINE void store_f16_n(uint16_t* p, F32 a, int64_t n) { store_u16_n(p, f32_to_f16(a), n); }

// p[4 i + k] is lane i of the k-th vector.
ANNX_INLINE void store_interleaved4(float* p, F32 a, F32 b, F32 c, F32 d) {
  for (int i = 0; i < 16; ++i) {
    p[4 * i] = a.v[i];
    p[4 * i + 1] = b.v[i];
    p[4 * i + 2] = c.v[i];
    p[4 * i + 3] = d.v[i];
  }
}

// --- horizontal: lane i with i + N/2, then + N/4, … ---
ANNX_SCALAR_FLOAT ANNX_INLINE S hsum(ScalarFloat<S, B, N> a) {
  for (int half = N / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.v[i] = a.v[i] + a.v[i + half];
  }
  return a.v[0];
}
ANNX_SCALAR_FLOAT ANNX_INLINE S hmax(ScalarFloat<S, B, N> a) {
  for (int half = N / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.v[i] = a.v[i] > a.v[i + half] ? a.v[i] : a.v[i + half];
  }
  return a.v[0];
}
ANNX_SCALAR_FLOAT ANNX_INLINE S hmin(ScalarFloat<S, B, N> a) {
  for (int half = N / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.v[i] = a.v[i] < a.v[i + half] ? a.v[i] : a.v[i + half];
  }
  return a.v[0];
}

#undef ANNX_SCALAR_FLOAT
#undef ANNX_SCALAR_INT
#undef ANNX_EACH_LANE
