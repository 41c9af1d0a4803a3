// AVX2 + FMA + F16C: each logical vector is two ymm registers, low lanes first.

ANNX_INLINE __m256i avx2_first32(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
ANNX_INLINE __m256i avx2_first64(int64_t n) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}

struct M32 {
  static constexpr int lanes = 16;
  __m256i lo, hi;

  ANNX_INLINE M32 from_bytes(__m128i bytes) {
    const __m128i is_zero = _mm_cmpeq_epi8(bytes, _mm_setzero_si128());
    const __m128i set = _mm_xor_si128(is_zero, _mm_set1_epi8(-1));
    return {_mm256_cvtepi8_epi32(set), _mm256_cvtepi8_epi32(_mm_srli_si128(set, 8))};
  }
  ANNX_INLINE M32 load_bool(const uint8_t* p) {
    return from_bytes(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  ANNX_INLINE M32 load_bool_n(const uint8_t* p, int64_t n) {
    uint8_t bytes[16] = {};
    for (int64_t i = 0; i < n; ++i) bytes[i] = p[i];
    return load_bool(bytes);
  }
};

struct M64 {
  static constexpr int lanes = 8;
  __m256i lo, hi;

  ANNX_INLINE M64 load_bool(const uint8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    const __m128i is_zero = _mm_cmpeq_epi8(bytes, _mm_setzero_si128());
    const __m128i set = _mm_xor_si128(is_zero, _mm_set1_epi8(-1));
    return {_mm256_cvtepi8_epi64(set), _mm256_cvtepi8_epi64(_mm_srli_si128(set, 4))};
  }
  ANNX_INLINE M64 load_bool_n(const uint8_t* p, int64_t n) {
    uint8_t bytes[8] = {};
    for (int64_t i = 0; i < n; ++i) bytes[i] = p[i];
    return load_bool(bytes);
  }
};

struct I32 {
  static constexpr int lanes = 16;
  using Scalar = int32_t;
  using Mask = M32;
  __m256i lo, hi;

  ANNX_INLINE I32 load(const int32_t* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
  }
  ANNX_INLINE I32 load_n(const int32_t* p, int64_t n) {
    return {_mm256_maskload_epi32(p, avx2_first32(n)),
            n > 8 ? _mm256_maskload_epi32(p + 8, avx2_first32(n - 8)) : _mm256_setzero_si256()};
  }
  ANNX_INLINE I32 splat(int32_t s) { return {_mm256_set1_epi32(s), _mm256_set1_epi32(s)}; }
  ANNX_INLINE I32 iota() {
    return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
            _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
  }
  ANNX_INLINE M32 first_n(int64_t n) { return {avx2_first32(n), avx2_first32(n - 8)}; }
};

struct I64 {
  static constexpr int lanes = 8;
  using Scalar = int64_t;
  using Mask = M64;
  __m256i lo, hi;

  ANNX_INLINE I64 load(const int64_t* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 4))};
  }
  ANNX_INLINE I64 load_n(const int64_t* p, int64_t n) {
    const double* d = reinterpret_cast<const double*>(p);
    return {_mm256_castpd_si256(_mm256_maskload_pd(d, avx2_first64(n))),
            n > 4 ? _mm256_castpd_si256(_mm256_maskload_pd(d + 4, avx2_first64(n - 4)))
                  : _mm256_setzero_si256()};
  }
  ANNX_INLINE I64 splat(int64_t s) { return {_mm256_set1_epi64x(s), _mm256_set1_epi64x(s)}; }
  ANNX_INLINE I64 iota() {
    return {_mm256_setr_epi64x(0, 1, 2, 3), _mm256_setr_epi64x(4, 5, 6, 7)};
  }
  ANNX_INLINE M64 first_n(int64_t n) { return {avx2_first64(n), avx2_first64(n - 4)}; }
};

struct F32 {
  static constexpr int lanes = 16;
  using Scalar = float;
  using Int = I32;
  using Mask = M32;
  __m256 lo, hi;

  ANNX_INLINE F32 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  ANNX_INLINE F32 load_n(const float* p, int64_t n) {
    return {_mm256_maskload_ps(p, avx2_first32(n)),
            n > 8 ? _mm256_maskload_ps(p + 8, avx2_first32(n - 8)) : _mm256_setzero_ps()};
  }
  ANNX_INLINE F32 splat(float s) { return {_mm256_set1_ps(s), _mm256_set1_ps(s)}; }
  ANNX_INLINE F32 iota() {
    return {_mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_ps(8, 9, 10, 11, 12, 13, 14, 15)};
  }
  ANNX_INLINE M32 first_n(int64_t n) { return I32::first_n(n); }
};

struct F64 {
  static constexpr int lanes = 8;
  using Scalar = double;
  using Int = I64;
  using Mask = M64;
  __m256d lo, hi;

  ANNX_INLINE F64 load(const double* p) { return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; }
  ANNX_INLINE F64 load_n(const double* p, int64_t n) {
    return {_mm256_maskload_pd(p, avx2_first64(n)),
            n > 4 ? _mm256_maskload_pd(p + 4, avx2_first64(n - 4)) : _mm256_setzero_pd()};
  }
  ANNX_INLINE F64 splat(double s) { return {_mm256_set1_pd(s), _mm256_set1_pd(s)}; }
  ANNX_INLINE F64 iota() { return {_mm256_setr_pd(0, 1, 2, 3), _mm256_setr_pd(4, 5, 6, 7)}; }
  ANNX_INLINE M64 first_n(int64_t n) { return I64::first_n(n); }
};

// --- store ---
ANNX_INLINE void store(float* p, F32 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
// In halves of halves: masked stores take tens of cycles on some CPUs.
ANNX_INLINE void store_n(float* p, F32 a, int64_t n) {
  __m256 v8 = a.lo;
  if (n >= 8) {
    _mm256_storeu_ps(p, a.lo);
    if (n == 16) return _mm256_storeu_ps(p + 8, a.hi);
    p += 8;
    v8 = a.hi;
  }
  __m128 v4 = _mm256_castps256_ps128(v8);
  if (n & 4) {
    _mm_storeu_ps(p, v4);
    p += 4;
    v4 = _mm256_extractf128_ps(v8, 1);
  }
  if (n & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), v4);
    p += 2;
    v4 = _mm_movehl_ps(v4, v4);
  }
  if (n & 1) _mm_store_ss(p, v4);
}
ANNX_INLINE void store(double* p, F64 a) {
  _mm256_storeu_pd(p, a.lo);
  _mm256_storeu_pd(p + 4, a.hi);
}
ANNX_INLINE void store_n(double* p, F64 a, int64_t n) {
  __m256d v4 = a.lo;
  if (n >= 4) {
    _mm256_storeu_pd(p, a.lo);
    if (n == 8) return _mm256_storeu_pd(p + 4, a.hi);
    p += 4;
    v4 = a.hi;
  }
  __m128d v2 = _mm256_castpd256_pd128(v4);
  if (n & 2) {
    _mm_storeu_pd(p, v2);
    p += 2;
    v2 = _mm256_extractf128_pd(v4, 1);
  }
  if (n & 1) _mm_store_sd(p, v2);
}
// Past the caches; p is a multiple of 64 bytes.
ANNX_INLINE void stream(float* p, F32 a) {
  _mm256_stream_ps(p, a.lo);
  _mm256_stream_ps(p + 8, a.hi);
}
ANNX_INLINE void stream(double* p, F64 a) {
  _mm256_stream_pd(p, a.lo);
  _mm256_stream_pd(p + 4, a.hi);
}
ANNX_INLINE void store(int32_t* p, I32 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.lo);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), a.hi);
}
ANNX_INLINE void store_n(int32_t* p, I32 a, int64_t n) {
  _mm256_maskstore_epi32(p, avx2_first32(n), a.lo);
  if (n > 8) _mm256_maskstore_epi32(p + 8, avx2_first32(n - 8), a.hi);
}
ANNX_INLINE void store(int64_t* p, I64 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.lo);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 4), a.hi);
}
ANNX_INLINE void store_n(int64_t* p, I64 a, int64_t n) {
  double* d = reinterpret_cast<double*>(p);
  _mm256_maskstore_pd(d, avx2_first64(n), _mm256_castsi256_pd(a.lo));
  if (n > 4) _mm256_maskstore_pd(d + 4, avx2_first64(n - 4), _mm256_castsi256_pd(a.hi));
}

// --- bit casts ---
ANNX_INLINE I32 as_int(F32 a) { return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)}; }
ANNX_INLINE I64 as_int(F64 a) { return {_mm256_castpd_si256(a.lo), _mm256_castpd_si256(a.hi)}; }
ANNX_INLINE F32 as_float(I32 a) { return {_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)}; }
ANNX_INLINE F64 as_float(I64 a) { return {_mm256_castsi256_pd(a.lo), _mm256_castsi256_pd(a.hi)}; }

#define ANNX_AVX2_BINARY(name, Type, intrinsic) \
  ANNX_INLINE Type name(Type a, Type b) { return {intrinsic(a.lo, b.lo), intrinsic(a.hi, b.hi)}; }

// --- integers: wrap around ---
ANNX_AVX2_BINARY(operator+, I32, _mm256_add_epi32)
ANNX_AVX2_BINARY(operator-, I32, _mm256_sub_epi32)
ANNX_AVX2_BINARY(operator*, I32, _mm256_mullo_epi32)
ANNX_AVX2_BINARY(operator&, I32, _mm256_and_si256)
ANNX_AVX2_BINARY(operator|, I32, _mm256_or_si256)
ANNX_AVX2_BINARY(operator^, I32, _mm256_xor_si256)
ANNX_AVX2_BINARY(operator+, I64, _mm256_add_epi64)
ANNX_AVX2_BINARY(operator-, I64, _mm256_sub_epi64)
ANNX_AVX2_BINARY(operator&, I64, _mm256_and_si256)
ANNX_AVX2_BINARY(operator|, I64, _mm256_or_si256)
ANNX_AVX2_BINARY(operator^, I64, _mm256_xor_si256)
ANNX_INLINE __m256i avx2_mulhi_u32(__m256i a, __m256i b) {
  const __m256i even = _mm256_mul_epu32(a, b);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32));
  return _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
}
ANNX_AVX2_BINARY(mulhi_u32, I32, avx2_mulhi_u32)
template <int k>
ANNX_INLINE I32 shl(I32 a) {
  return {_mm256_slli_epi32(a.lo, k), _mm256_slli_epi32(a.hi, k)};
}
template <int k>
ANNX_INLINE I64 shl(I64 a) {
  return {_mm256_slli_epi64(a.lo, k), _mm256_slli_epi64(a.hi, k)};
}
template <int k>
ANNX_INLINE I32 shr_logical(I32 a) {
  return {_mm256_srli_epi32(a.lo, k), _mm256_srli_epi32(a.hi, k)};
}
template <int k>
ANNX_INLINE I64 shr_logical(I64 a) {
  return {_mm256_srli_epi64(a.lo, k), _mm256_srli_epi64(a.hi, k)};
}
template <int k>
ANNX_INLINE I32 shr_arith(I32 a) {
  return {_mm256_srai_epi32(a.lo, k), _mm256_srai_epi32(a.hi, k)};
}
template <int k>
ANNX_INLINE __m256i avx2_srai_epi64(__m256i a) {
  const __m256i sign = _mm256_cmpgt_epi64(_mm256_setzero_si256(), a);
  return _mm256_or_si256(_mm256_srli_epi64(a, k), _mm256_slli_epi64(sign, 64 - k));
}
template <int k>
ANNX_INLINE I64 shr_arith(I64 a) {
  return {avx2_srai_epi64<k>(a.lo), avx2_srai_epi64<k>(a.hi)};
}

// --- comparisons ---
#define ANNX_AVX2_COMPARE(name, predicate)                              \
  ANNX_INLINE M32 name(F32 a, F32 b) {                                  \
    return {_mm256_castps_si256(_mm256_cmp_ps(a.lo, b.lo, predicate)),  \
            _mm256_castps_si256(_mm256_cmp_ps(a.hi, b.hi, predicate))}; \
  }                                                                     \
  ANNX_INLINE M64 name(F64 a, F64 b) {                                  \
    return {_mm256_castpd_si256(_mm256_cmp_pd(a.lo, b.lo, predicate)),  \
            _mm256_castpd_si256(_mm256_cmp_pd(a.hi, b.hi, predicate))}; \
  }
ANNX_AVX2_COMPARE(lt, _CMP_LT_OQ)
ANNX_AVX2_COMPARE(le, _CMP_LE_OQ)
ANNX_AVX2_COMPARE(gt, _CMP_GT_OQ)
ANNX_AVX2_COMPARE(ge, _CMP_GE_OQ)
ANNX_AVX2_COMPARE(eq, _CMP_EQ_OQ)
ANNX_AVX2_COMPARE(ne, _CMP_NEQ_UQ)
#undef ANNX_AVX2_COMPARE
ANNX_INLINE M32 is_nan(F32 a) { return ne(a, a); }
ANNX_INLINE M64 is_nan(F64 a) { return ne(a, a); }
ANNX_INLINE M32 eq(I32 a, I32 b) {
  return {_mm256_cmpeq_epi32(a.lo, b.lo), _mm256_cmpeq_epi32(a.hi, b.hi)};
}
ANNX_INLINE M32 gt(I32 a, I32 b) {
  return {_mm256_cmpgt_epi32(a.lo, b.lo), _mm256_cmpgt_epi32(a.hi, b.hi)};
}
ANNX_INLINE M32 lt(I32 a, I32 b) { return gt(b, a); }
ANNX_INLINE M64 eq(I64 a, I64 b) {
  return {_mm256_cmpeq_epi64(a.lo, b.lo), _mm256_cmpeq_epi64(a.hi, b.hi)};
}
ANNX_INLINE M64 gt(I64 a, I64 b) {
  return {_mm256_cmpgt_epi64(a.lo, b.lo), _mm256_cmpgt_epi64(a.hi, b.hi)};
}
ANNX_INLINE M64 lt(I64 a, I64 b) { return gt(b, a); }

// --- masks: all bits of a lane, or none ---
#define ANNX_AVX2_MASK(M)                                                                      \
  ANNX_AVX2_BINARY(operator&, M, _mm256_and_si256)                                             \
  ANNX_AVX2_BINARY(operator|, M, _mm256_or_si256)                                              \
  ANNX_AVX2_BINARY(operator^, M, _mm256_xor_si256)                                             \
  ANNX_INLINE M operator~(M a) {                                                               \
    const __m256i ones = _mm256_set1_epi32(-1);                                                \
    return {_mm256_xor_si256(a.lo, ones), _mm256_xor_si256(a.hi, ones)};                       \
  }                                                                                            \
  ANNX_INLINE bool any(M a) { return _mm256_movemask_epi8(_mm256_or_si256(a.lo, a.hi)) != 0; } \
  ANNX_INLINE bool all(M a) { return _mm256_movemask_epi8(_mm256_and_si256(a.lo, a.hi)) == -1; }
ANNX_AVX2_MASK(M32)
ANNX_AVX2_MASK(M64)
#undef ANNX_AVX2_MASK
ANNX_INLINE F32 select(M32 m, F32 a, F32 b) {
  return {_mm256_blendv_ps(b.lo, a.lo, _mm256_castsi256_ps(m.lo)),
          _mm256_blendv_ps(b.hi, a.hi, _mm256_castsi256_ps(m.hi))};
}
ANNX_INLINE F64 select(M64 m, F64 a, F64 b) {
  return {_mm256_blendv_pd(b.lo, a.lo, _mm256_castsi256_pd(m.lo)),
          _mm256_blendv_pd(b.hi, a.hi, _mm256_castsi256_pd(m.hi))};
}
ANNX_INLINE I32 select(M32 m, I32 a, I32 b) {
  return {_mm256_blendv_epi8(b.lo, a.lo, m.lo), _mm256_blendv_epi8(b.hi, a.hi, m.hi)};
}
ANNX_INLINE I64 select(M64 m, I64 a, I64 b) {
  return {_mm256_blendv_epi8(b.lo, a.lo, m.lo), _mm256_blendv_epi8(b.hi, a.hi, m.hi)};
}
ANNX_INLINE __m128i avx2_bool_bytes(M32 m) {
  // packs works within 128-bit halves: restore the order of 64-bit groups between the two.
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(m.lo, m.hi), 0xd8);
  const __m128i bytes =
      _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  return _mm_and_si128(bytes, _mm_set1_epi8(1));
}
ANNX_INLINE __m128i avx2_bool_bytes(M64 m) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(m.lo, m.hi), 0xd8);
  const __m128i halves =
      _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  const __m128i bytes = _mm_packs_epi16(halves, halves);
  return _mm_and_si128(bytes, _mm_set1_epi8(1));
}
ANNX_INLINE void store_bool(uint8_t* p, M32 m) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), avx2_bool_bytes(m));
}
ANNX_INLINE void store_bool_n(uint8_t* p, M32 m, int64_t n) {
  uint8_t bytes[16];
  store_bool(bytes, m);
  for (int64_t i = 0; i < n; ++i) p[i] = bytes[i];
}
ANNX_INLINE void store_bool(uint8_t* p, M64 m) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), avx2_bool_bytes(m));
}
ANNX_INLINE void store_bool_n(uint8_t* p, M64 m, int64_t n) {
  uint8_t bytes[8];
  store_bool(bytes, m);
  for (int64_t i = 0; i < n; ++i) p[i] = bytes[i];
}

// --- arithmetic ---
#define ANNX_AVX2_FLOAT(Type, s, cast, sign_bit)                                           \
  ANNX_AVX2_BINARY(operator+, Type, _mm256_add_##s)                                        \
  ANNX_AVX2_BINARY(operator-, Type, _mm256_sub_##s)                                        \
  ANNX_AVX2_BINARY(operator*, Type, _mm256_mul_##s)                                        \
  ANNX_AVX2_BINARY(operator/, Type, _mm256_div_##s)                                        \
  /* a < b ? a : b, which is what the instruction does. */                                 \
  ANNX_AVX2_BINARY(min, Type, _mm256_min_##s)                                              \
  ANNX_AVX2_BINARY(max, Type, _mm256_max_##s)                                              \
  ANNX_INLINE Type operator-(Type a) {                                                     \
    const auto sign = _mm256_set1_##s(sign_bit);                                           \
    return {_mm256_xor_##s(a.lo, sign), _mm256_xor_##s(a.hi, sign)};                       \
  }                                                                                        \
  ANNX_INLINE Type abs(Type a) {                                                           \
    const auto sign = _mm256_set1_##s(sign_bit);                                           \
    return {_mm256_andnot_##s(sign, a.lo), _mm256_andnot_##s(sign, a.hi)};                 \
  }                                                                                        \
  ANNX_INLINE Type copysign(Type a, Type b) {                                              \
    const auto sign = _mm256_set1_##s(sign_bit);                                           \
    return {_mm256_or_##s(_mm256_andnot_##s(sign, a.lo), _mm256_and_##s(sign, b.lo)),      \
            _mm256_or_##s(_mm256_andnot_##s(sign, a.hi), _mm256_and_##s(sign, b.hi))};     \
  }                                                                                        \
  ANNX_INLINE Type fma(Type a, Type b, Type c) {                                           \
    return {_mm256_fmadd_##s(a.lo, b.lo, c.lo), _mm256_fmadd_##s(a.hi, b.hi, c.hi)};       \
  }                                                                                        \
  ANNX_INLINE Type fnma(Type a, Type b, Type c) {                                          \
    return {_mm256_fnmadd_##s(a.lo, b.lo, c.lo), _mm256_fnmadd_##s(a.hi, b.hi, c.hi)};     \
  }                                                                                        \
  ANNX_INLINE Type sqrt(Type a) { return {_mm256_sqrt_##s(a.lo), _mm256_sqrt_##s(a.hi)}; } \
  ANNX_INLINE Type rint(Type a) {                                                          \
    constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;                    \
    return {_mm256_round_##s(a.lo, mode), _mm256_round_##s(a.hi, mode)};                   \
  }                                                                                        \
  ANNX_INLINE Type floor(Type a) {                                                         \
    constexpr int mode = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;                        \
    return {_mm256_round_##s(a.lo, mode), _mm256_round_##s(a.hi, mode)};                   \
  }                                                                                        \
  ANNX_INLINE Type ceil(Type a) {                                                          \
    constexpr int mode = _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC;                        \
    return {_mm256_round_##s(a.lo, mode), _mm256_round_##s(a.hi, mode)};                   \
  }                                                                                        \
  ANNX_INLINE Type trunc(Type a) {                                                         \
    constexpr int mode = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;                           \
    return {_mm256_round_##s(a.lo, mode), _mm256_round_##s(a.hi, mode)};                   \
  }
ANNX_AVX2_FLOAT(F32, ps, _mm256_castsi256_ps, -0.0f)
ANNX_AVX2_FLOAT(F64, pd, _mm256_castsi256_pd, -0.0)
#undef ANNX_AVX2_FLOAT
#undef ANNX_AVX2_BINARY

// --- conversions ---
// Truncates; INT32_MIN for NaN and for what does not fit.
ANNX_INLINE I32 to_int(F32 a) { return {_mm256_cvttps_epi32(a.lo), _mm256_cvttps_epi32(a.hi)}; }
ANNX_INLINE F32 to_float(I32 a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
// The first and the second half of the lanes, and back.
ANNX_INLINE F64 avx2_widen(__m256 a) {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(a)), _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1))};
}
ANNX_INLINE __m256 avx2_narrow(F64 a) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(a.lo)), _mm256_cvtpd_ps(a.hi),
                              1);
}
ANNX_INLINE F64 widen_lo(F32 a) { return avx2_widen(a.lo); }
ANNX_INLINE F64 widen_hi(F32 a) { return avx2_widen(a.hi); }
ANNX_INLINE F32 narrow(F64 lo, F64 hi) { return {avx2_narrow(lo), avx2_narrow(hi)}; }
ANNX_INLINE F64 widen(const float* p) {
  return {_mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p + 4))};
}
ANNX_INLINE F64 widen_n(const float* p, int64_t n) {
  return avx2_widen(_mm256_maskload_ps(p, avx2_first32(n)));
}
ANNX_INLINE void narrow_store(float* p, F64 a) {
  _mm_storeu_ps(p, _mm256_cvtpd_ps(a.lo));
  _mm_storeu_ps(p + 4, _mm256_cvtpd_ps(a.hi));
}
ANNX_INLINE void narrow_store_n(float* p, F64 a, int64_t n) {
  _mm256_maskstore_ps(p, avx2_first32(n), avx2_narrow(a));
}
// 16-bit storage as the low halves of the lanes.
ANNX_INLINE I32 load_u16(const uint16_t* p) {
  const __m128i* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtepu16_epi32(_mm_loadu_si128(q)), _mm256_cvtepu16_epi32(_mm_loadu_si128(q + 1))};
}
ANNX_INLINE void store_u16(uint16_t* p, I32 a) {
  const __m256i low = _mm256_set1_epi32(0xffff);
  const __m256i packed =
      _mm256_packus_epi32(_mm256_and_si256(a.lo, low), _mm256_and_si256(a.hi, low));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));
}
ANNX_INLINE F32 load_f16(const uint16_t* p) {
  const __m128i* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
ANNX_INLINE void store_f16(uint16_t* p, F32 a) {
  __m128i* q = reinterpret_cast<__m128i*>(p);
  _mm_storeu_si128(q, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  _mm_storeu_si128(q + 1, _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
// Tails go through the stack: there is no masked access to 16-bit elements.
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

ANNX_INLINE void avx2_store_interleaved4(float* p, __m256 a, __m256 b, __m256 c, __m256 d) {
  const __m256 ab_lo = _mm256_unpacklo_ps(a, b), ab_hi = _mm256_unpackhi_ps(a, b);
  const __m256 cd_lo = _mm256_unpacklo_ps(c, d), cd_hi = _mm256_unpackhi_ps(c, d);
  // Groups of four for lanes {0, 4}, {1, 5}, {2, 6}, {3, 7}.
  const __m256 g0 = _mm256_shuffle_ps(ab_lo, cd_lo, 0x44);
  const __m256 g1 = _mm256_shuffle_ps(ab_lo, cd_lo, 0xee);
  const __m256 g2 = _mm256_shuffle_ps(ab_hi, cd_hi, 0x44);
  const __m256 g3 = _mm256_shuffle_ps(ab_hi, cd_hi, 0xee);
  _mm256_storeu_ps(p, _mm256_permute2f128_ps(g0, g1, 0x20));
  _mm256_storeu_ps(p + 8, _mm256_permute2f128_ps(g2, g3, 0x20));
  _mm256_storeu_ps(p + 16, _mm256_permute2f128_ps(g0, g1, 0x31));
  _mm256_storeu_ps(p + 24, _mm256_permute2f128_ps(g2, g3, 0x31));
}
// p[4 i + k] is lane i of the k-th vector.
ANNX_INLINE void store_interleaved4(float* p, F32 a, F32 b, F32 c, F32 d) {
  avx2_store_interleaved4(p, a.lo, b.lo, c.lo, d.lo);
  avx2_store_interleaved4(p + 32, a.hi, b.hi, c.hi, d.hi);
}

// --- horizontal: lane i with i + N/2, then + N/4, … ---
#define ANNX_AVX2_HORIZONTAL(name, op)                                                          \
  ANNX_INLINE float name(F32 a) {                                                               \
    const __m256 v8 = _mm256_##op##_ps(a.lo, a.hi);                                             \
    const __m128 v4 = _mm_##op##_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));  \
    const __m128 v2 = _mm_##op##_ps(v4, _mm_movehl_ps(v4, v4));                                 \
    return _mm_cvtss_f32(_mm_##op##_ss(v2, _mm_shuffle_ps(v2, v2, 1)));                         \
  }                                                                                             \
  ANNX_INLINE double name(F64 a) {                                                              \
    const __m256d v4 = _mm256_##op##_pd(a.lo, a.hi);                                            \
    const __m128d v2 = _mm_##op##_pd(_mm256_castpd256_pd128(v4), _mm256_extractf128_pd(v4, 1)); \
    return _mm_cvtsd_f64(_mm_##op##_sd(v2, _mm_unpackhi_pd(v2, v2)));                           \
  }
ANNX_AVX2_HORIZONTAL(hsum, add)
ANNX_AVX2_HORIZONTAL(hmax, max)
ANNX_AVX2_HORIZONTAL(hmin, min)
#undef ANNX_AVX2_HORIZONTAL
