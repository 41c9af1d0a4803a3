// AVX-512 F/BW/DQ/VL: each logical vector is one zmm register, masks are mask registers.

struct M32 {
  static constexpr int lanes = 16;
  __mmask16 m;

  ANNX_INLINE M32 load_bool(const uint8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm_test_epi8_mask(bytes, bytes)};
  }
  ANNX_INLINE M32 load_bool_n(const uint8_t* p, int64_t n) {
    const __m128i bytes = _mm_maskz_loadu_epi8(static_cast<__mmask16>((1u << n) - 1), p);
    return {_mm_test_epi8_mask(bytes, bytes)};
  }
};

struct M64 {
  static constexpr int lanes = 8;
  __mmask8 m;

  ANNX_INLINE M64 load_bool(const uint8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return {static_cast<__mmask8>(_mm_test_epi8_mask(bytes, bytes))};
  }
  ANNX_INLINE M64 load_bool_n(const uint8_t* p, int64_t n) {
    const __m128i bytes = _mm_maskz_loadu_epi8(static_cast<__mmask16>((1u << n) - 1), p);
    return {static_cast<__mmask8>(_mm_test_epi8_mask(bytes, bytes))};
  }
};

struct I32 {
  static constexpr int lanes = 16;
  using Scalar = int32_t;
  using Mask = M32;
  __m512i v;

  ANNX_INLINE M32 first_n(int64_t n) { return {static_cast<__mmask16>((1u << n) - 1)}; }
  ANNX_INLINE I32 load(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
  ANNX_INLINE I32 load_n(const int32_t* p, int64_t n) {
    return {_mm512_maskz_loadu_epi32(first_n(n).m, p)};
  }
  ANNX_INLINE I32 splat(int32_t s) { return {_mm512_set1_epi32(s)}; }
  ANNX_INLINE I32 iota() {
    return {_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)};
  }
};

struct I64 {
  static constexpr int lanes = 8;
  using Scalar = int64_t;
  using Mask = M64;
  __m512i v;

  ANNX_INLINE M64 first_n(int64_t n) { return {static_cast<__mmask8>((1u << n) - 1)}; }
  ANNX_INLINE I64 load(const int64_t* p) { return {_mm512_loadu_si512(p)}; }
  ANNX_INLINE I64 load_n(const int64_t* p, int64_t n) {
    return {_mm512_maskz_loadu_epi64(first_n(n).m, p)};
  }
  ANNX_INLINE I64 splat(int64_t s) { return {_mm512_set1_epi64(s)}; }
  ANNX_INLINE I64 iota() { return {_mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7)}; }
};

struct F32 {
  static constexpr int lanes = 16;
  using Scalar = float;
  using Int = I32;
  using Mask = M32;
  __m512 v;

  ANNX_INLINE M32 first_n(int64_t n) { return I32::first_n(n); }
  ANNX_INLINE F32 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  ANNX_INLINE F32 load_n(const float* p, int64_t n) {
    return {_mm512_maskz_loadu_ps(first_n(n).m, p)};
  }
  ANNX_INLINE F32 splat(float s) { return {_mm512_set1_ps(s)}; }
  ANNX_INLINE F32 iota() {
    return {_mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)};
  }
};

struct F64 {
  static constexpr int lanes = 8;
  using Scalar = double;
  using Int = I64;
  using Mask = M64;
  __m512d v;

  ANNX_INLINE M64 first_n(int64_t n) { return I64::first_n(n); }
  ANNX_INLINE F64 load(const double* p) { return {_mm512_loadu_pd(p)}; }
  ANNX_INLINE F64 load_n(const double* p, int64_t n) {
    return {_mm512_maskz_loadu_pd(first_n(n).m, p)};
  }
  ANNX_INLINE F64 splat(double s) { return {_mm512_set1_pd(s)}; }
  ANNX_INLINE F64 iota() { return {_mm512_setr_pd(0, 1, 2, 3, 4, 5, 6, 7)}; }
};

// --- store ---
ANNX_INLINE void store(float* p, F32 a) { _mm512_storeu_ps(p, a.v); }
ANNX_INLINE void store_n(float* p, F32 a, int64_t n) {
  _mm512_mask_storeu_ps(p, F32::first_n(n).m, a.v);
}
ANNX_INLINE void store(double* p, F64 a) { _mm512_storeu_pd(p, a.v); }
ANNX_INLINE void store_n(double* p, F64 a, int64_t n) {
  _mm512_mask_storeu_pd(p, F64::first_n(n).m, a.v);
}
// Past the caches; p is a multiple of 64 bytes.
ANNX_INLINE void stream(float* p, F32 a) { _mm512_stream_ps(p, a.v); }
ANNX_INLINE void stream(double* p, F64 a) { _mm512_stream_pd(p, a.v); }
ANNX_INLINE void store(int32_t* p, I32 a) { _mm512_storeu_si512(p, a.v); }
ANNX_INLINE void store_n(int32_t* p, I32 a, int64_t n) {
  _mm512_mask_storeu_epi32(p, I32::first_n(n).m, a.v);
}
ANNX_INLINE void store(int64_t* p, I64 a) { _mm512_storeu_si512(p, a.v); }
ANNX_INLINE void store_n(int64_t* p, I64 a, int64_t n) {
  _mm512_mask_storeu_epi64(p, I64::first_n(n).m, a.v);
}

// --- bit casts ---
ANNX_INLINE I32 as_int(F32 a) { return {_mm512_castps_si512(a.v)}; }
ANNX_INLINE I64 as_int(F64 a) { return {_mm512_castpd_si512(a.v)}; }
ANNX_INLINE F32 as_float(I32 a) { return {_mm512_castsi512_ps(a.v)}; }
ANNX_INLINE F64 as_float(I64 a) { return {_mm512_castsi512_pd(a.v)}; }

#define ANNX_AVX512_BINARY(name, Type, intrinsic) \
  ANNX_INLINE Type name(Type a, Type b) { return {intrinsic(a.v, b.v)}; }

// --- integers: wrap around ---
ANNX_AVX512_BINARY(operator+, I32, _mm512_add_epi32)
ANNX_AVX512_BINARY(operator-, I32, _mm512_sub_epi32)
ANNX_AVX512_BINARY(operator*, I32, _mm512_mullo_epi32)
ANNX_AVX512_BINARY(operator&, I32, _mm512_and_si512)
ANNX_AVX512_BINARY(operator|, I32, _mm512_or_si512)
ANNX_AVX512_BINARY(operator^, I32, _mm512_xor_si512)
ANNX_AVX512_BINARY(operator+, I64, _mm512_add_epi64)
ANNX_AVX512_BINARY(operator-, I64, _mm512_sub_epi64)
ANNX_AVX512_BINARY(operator&, I64, _mm512_and_si512)
ANNX_AVX512_BINARY(operator|, I64, _mm512_or_si512)
ANNX_AVX512_BINARY(operator^, I64, _mm512_xor_si512)
ANNX_INLINE I32 mulhi_u32(I32 a, I32 b) {
  const __m512i even = _mm512_mul_epu32(a.v, b.v);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a.v, 32), _mm512_srli_epi64(b.v, 32));
  return {_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd)};
}
template <int k>
ANNX_INLINE I32 shl(I32 a) {
  return {_mm512_slli_epi32(a.v, k)};
}
template <int k>
ANNX_INLINE I64 shl(I64 a) {
  return {_mm512_slli_epi64(a.v, k)};
}
template <int k>
ANNX_INLINE I32 shr_logical(I32 a) {
  return {_mm512_srli_epi32(a.v, k)};
}
template <int k>
ANNX_INLINE I64 shr_logical(I64 a) {
  return {_mm512_srli_epi64(a.v, k)};
}
template <int k>
ANNX_INLINE I32 shr_arith(I32 a) {
  return {_mm512_srai_epi32(a.v, k)};
}
template <int k>
ANNX_INLINE I64 shr_arith(I64 a) {
  return {_mm512_srai_epi64(a.v, k)};
}

// --- comparisons ---
#define ANNX_AVX512_COMPARE(name, predicate)                                               \
  ANNX_INLINE M32 name(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, predicate)}; } \
  ANNX_INLINE M64 name(F64 a, F64 b) { return {_mm512_cmp_pd_mask(a.v, b.v, predicate)}; }
ANNX_AVX512_COMPARE(lt, _CMP_LT_OQ)
ANNX_AVX512_COMPARE(le, _CMP_LE_OQ)
ANNX_AVX512_COMPARE(gt, _CMP_GT_OQ)
ANNX_AVX512_COMPARE(ge, _CMP_GE_OQ)
ANNX_AVX512_COMPARE(eq, _CMP_EQ_OQ)
ANNX_AVX512_COMPARE(ne, _CMP_NEQ_UQ)
#undef ANNX_AVX512_COMPARE
ANNX_INLINE M32 is_nan(F32 a) { return ne(a, a); }
ANNX_INLINE M64 is_nan(F64 a) { return ne(a, a); }
ANNX_INLINE M32 eq(I32 a, I32 b) { return {_mm512_cmpeq_epi32_mask(a.v, b.v)}; }
ANNX_INLINE M32 lt(I32 a, I32 b) { return {_mm512_cmplt_epi32_mask(a.v, b.v)}; }
ANNX_INLINE M32 gt(I32 a, I32 b) { return {_mm512_cmpgt_epi32_mask(a.v, b.v)}; }
ANNX_INLINE M64 eq(I64 a, I64 b) { return {_mm512_cmpeq_epi64_mask(a.v, b.v)}; }
ANNX_INLINE M64 lt(I64 a, I64 b) { return {_mm512_cmplt_epi64_mask(a.v, b.v)}; }
ANNX_INLINE M64 gt(I64 a, I64 b) { return {_mm512_cmpgt_epi64_mask(a.v, b.v)}; }

// --- masks ---
#define ANNX_AVX512_MASK(M, Bits)                                              \
  ANNX_INLINE M operator&(M a, M b) { return {static_cast<Bits>(a.m & b.m)}; } \
  ANNX_INLINE M operator|(M a, M b) { return {static_cast<Bits>(a.m | b.m)}; } \
  ANNX_INLINE M operator^(M a, M b) { return {static_cast<Bits>(a.m ^ b.m)}; } \
  ANNX_INLINE M operator~(M a) { return {static_cast<Bits>(~a.m)}; }           \
  ANNX_INLINE bool any(M a) { return a.m != 0; }                               \
  ANNX_INLINE bool all(M a) { return a.m == static_cast<Bits>(~0u); }
ANNX_AVX512_MASK(M32, __mmask16)
ANNX_AVX512_MASK(M64, __mmask8)
#undef ANNX_AVX512_MASK
ANNX_INLINE F32 select(M32 m, F32 a, F32 b) { return {_mm512_mask_blend_ps(m.m, b.v, a.v)}; }
ANNX_INLINE F64 select(M64 m, F64 a, F64 b) { return {_mm512_mask_blend_pd(m.m, b.v, a.v)}; }
ANNX_INLINE I32 select(M32 m, I32 a, I32 b) { return {_mm512_mask_blend_epi32(m.m, b.v, a.v)}; }
ANNX_INLINE I64 select(M64 m, I64 a, I64 b) { return {_mm512_mask_blend_epi64(m.m, b.v, a.v)}; }
ANNX_INLINE void store_bool(uint8_t* p, M32 m) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_maskz_set1_epi8(m.m, 1));
}
ANNX_INLINE void store_bool_n(uint8_t* p, M32 m, int64_t n) {
  _mm_mask_storeu_epi8(p, M32{static_cast<__mmask16>((1u << n) - 1)}.m,
                       _mm_maskz_set1_epi8(m.m, 1));
}
ANNX_INLINE void store_bool(uint8_t* p, M64 m) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_maskz_set1_epi8(m.m, 1));
}
ANNX_INLINE void store_bool_n(uint8_t* p, M64 m, int64_t n) {
  _mm_mask_storeu_epi8(p, static_cast<__mmask16>((1u << n) - 1), _mm_maskz_set1_epi8(m.m, 1));
}

// --- arithmetic ---
#define ANNX_AVX512_FLOAT(Type, s, sign_bit)                                                      \
  ANNX_AVX512_BINARY(operator+, Type, _mm512_add_##s)                                             \
  ANNX_AVX512_BINARY(operator-, Type, _mm512_sub_##s)                                             \
  ANNX_AVX512_BINARY(operator*, Type, _mm512_mul_##s)                                             \
  ANNX_AVX512_BINARY(operator/, Type, _mm512_div_##s)                                             \
  /* a < b ? a : b, which is what the instruction does. */                                        \
  ANNX_AVX512_BINARY(min, Type, _mm512_min_##s)                                                   \
  ANNX_AVX512_BINARY(max, Type, _mm512_max_##s)                                                   \
  ANNX_INLINE Type operator-(Type a) { return {_mm512_xor_##s(a.v, _mm512_set1_##s(sign_bit))}; } \
  ANNX_INLINE Type abs(Type a) { return {_mm512_andnot_##s(_mm512_set1_##s(sign_bit), a.v)}; }    \
  ANNX_INLINE Type copysign(Type a, Type b) {                                                     \
    const auto sign = _mm512_set1_##s(sign_bit);                                                  \
    return {_mm512_or_##s(_mm512_andnot_##s(sign, a.v), _mm512_and_##s(sign, b.v))};              \
  }                                                                                               \
  ANNX_INLINE Type fma(Type a, Type b, Type c) { return {_mm512_fmadd_##s(a.v, b.v, c.v)}; }      \
  ANNX_INLINE Type fnma(Type a, Type b, Type c) { return {_mm512_fnmadd_##s(a.v, b.v, c.v)}; }    \
  ANNX_INLINE Type sqrt(Type a) { return {_mm512_sqrt_##s(a.v)}; }                                \
  ANNX_INLINE Type rint(Type a) {                                                                 \
    return {_mm512_roundscale_##s(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};           \
  }                                                                                               \
  ANNX_INLINE Type floor(Type a) {                                                                \
    return {_mm512_roundscale_##s(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};               \
  }                                                                                               \
  ANNX_INLINE Type ceil(Type a) {                                                                 \
    return {_mm512_roundscale_##s(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};               \
  }                                                                                               \
  ANNX_INLINE Type trunc(Type a) {                                                                \
    return {_mm512_roundscale_##s(a.v, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)};                  \
  }
ANNX_AVX512_FLOAT(F32, ps, -0.0f)
ANNX_AVX512_FLOAT(F64, pd, -0.0)
#undef ANNX_AVX512_FLOAT
#undef ANNX_AVX512_BINARY

// --- conversions ---
// Truncates; INT32_MIN for NaN and for what does not fit.
ANNX_INLINE I32 to_int(F32 a) { return {_mm512_cvttps_epi32(a.v)}; }
ANNX_INLINE F32 to_float(I32 a) { return {_mm512_cvtepi32_ps(a.v)}; }
ANNX_INLINE F64 widen(const float* p) { return {_mm512_cvtps_pd(_mm256_loadu_ps(p))}; }
ANNX_INLINE F64 widen_n(const float* p, int64_t n) {
  return {_mm512_cvtps_pd(_mm256_maskz_loadu_ps(F64::first_n(n).m, p))};
}
ANNX_INLINE void narrow_store(float* p, F64 a) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(a.v)); }
ANNX_INLINE void narrow_store_n(float* p, F64 a, int64_t n) {
  _mm256_mask_storeu_ps(p, F64::first_n(n).m, _mm512_cvtpd_ps(a.v));
}
// The first and the second half of the lanes, and back.
ANNX_INLINE F64 widen_lo(F32 a) { return {_mm512_cvtps_pd(_mm512_castps512_ps256(a.v))}; }
ANNX_INLINE F64 widen_hi(F32 a) { return {_mm512_cvtps_pd(_mm512_extractf32x8_ps(a.v, 1))}; }
ANNX_INLINE F32 narrow(F64 lo, F64 hi) {
  const __m512 low = _mm512_castps256_ps512(_mm512_cvtpd_ps(lo.v));
  return {_mm512_insertf32x8(low, _mm512_cvtpd_ps(hi.v), 1)};
}

// 16-bit storage as the low halves of the lanes.
ANNX_INLINE I32 load_u16(const uint16_t* p) {
  return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
ANNX_INLINE I32 load_u16_n(const uint16_t* p, int64_t n) {
  return {_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(I32::first_n(n).m, p))};
}
ANNX_INLINE void store_u16(uint16_t* p, I32 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(a.v));
}
ANNX_INLINE void store_u16_n(uint16_t* p, I32 a, int64_t n) {
  _mm256_mask_storeu_epi16(p, I32::first_n(n).m, _mm512_cvtepi32_epi16(a.v));
}
ANNX_INLINE F32 load_f16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
ANNX_INLINE F32 load_f16_n(const uint16_t* p, int64_t n) {
  return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(I32::first_n(n).m, p))};
}
ANNX_INLINE void store_f16(uint16_t* p, F32 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
ANNX_INLINE void store_f16_n(uint16_t* p, F32 a, int64_t n) {
  _mm256_mask_storeu_epi16(p, F32::first_n(n).m,
                           _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

// p[4 i + k] is lane i of the k-th vector.
ANNX_INLINE void store_interleaved4(float* p, F32 a, F32 b, F32 c, F32 d) {
  const __m512 ab_lo = _mm512_unpacklo_ps(a.v, b.v), ab_hi = _mm512_unpackhi_ps(a.v, b.v);
  const __m512 cd_lo = _mm512_unpacklo_ps(c.v, d.v), cd_hi = _mm512_unpackhi_ps(c.v, d.v);
  // Groups of four for lanes {0, 4, 8, 12}, {1, 5, …}, {2, 6, …}, {3, 7, …}.
  const __m512 g0 = _mm512_shuffle_ps(ab_lo, cd_lo, 0x44);
  const __m512 g1 = _mm512_shuffle_ps(ab_lo, cd_lo, 0xee);
  const __m512 g2 = _mm512_shuffle_ps(ab_hi, cd_hi, 0x44);
  const __m512 g3 = _mm512_shuffle_ps(ab_hi, cd_hi, 0xee);
  // Row r is g0[r] g1[r] g2[r] g3[r] in 128-bit groups.
  const __m512 even01 = _mm512_shuffle_f32x4(g0, g1, 0x88);
  const __m512 odd01 = _mm512_shuffle_f32x4(g0, g1, 0xdd);
  const __m512 even23 = _mm512_shuffle_f32x4(g2, g3, 0x88);
  const __m512 odd23 = _mm512_shuffle_f32x4(g2, g3, 0xdd);
  _mm512_storeu_ps(p, _mm512_shuffle_f32x4(even01, even23, 0x88));
  _mm512_storeu_ps(p + 16, _mm512_shuffle_f32x4(odd01, odd23, 0x88));
  _mm512_storeu_ps(p + 32, _mm512_shuffle_f32x4(even01, even23, 0xdd));
  _mm512_storeu_ps(p + 48, _mm512_shuffle_f32x4(odd01, odd23, 0xdd));
}

// --- horizontal: lane i with i + N/2, then + N/4, … ---
#define ANNX_AVX512_HORIZONTAL(name, op)                                                        \
  ANNX_INLINE float name(F32 a) {                                                               \
    const __m256 v8 =                                                                           \
        _mm256_##op##_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));          \
    const __m128 v4 = _mm_##op##_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));  \
    const __m128 v2 = _mm_##op##_ps(v4, _mm_movehl_ps(v4, v4));                                 \
    return _mm_cvtss_f32(_mm_##op##_ss(v2, _mm_shuffle_ps(v2, v2, 1)));                         \
  }                                                                                             \
  ANNX_INLINE double name(F64 a) {                                                              \
    const __m256d v4 =                                                                          \
        _mm256_##op##_pd(_mm512_castpd512_pd256(a.v), _mm512_extractf64x4_pd(a.v, 1));          \
    const __m128d v2 = _mm_##op##_pd(_mm256_castpd256_pd128(v4), _mm256_extractf128_pd(v4, 1)); \
    return _mm_cvtsd_f64(_mm_##op##_sd(v2, _mm_unpackhi_pd(v2, v2)));                           \
  }
ANNX_AVX512_HORIZONTAL(hsum, add)
ANNX_AVX512_HORIZONTAL(hmax, max)
ANNX_AVX512_HORIZONTAL(hmin, min)
#undef ANNX_AVX512_HORIZONTAL
