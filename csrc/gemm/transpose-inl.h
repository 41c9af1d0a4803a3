// Transposition through registers: square blocks of kTransposeBlock, edges through a small buffer.

#if defined(ANNX_TARGET_AVX2) || defined(ANNX_TARGET_AVX512)
template <class T>
static constexpr int kTransposeBlock = 32 / static_cast<int>(sizeof(T));

ANNX_INLINE __m256 transpose_halves(const float* low, const float* high) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
}
ANNX_INLINE __m256d transpose_halves(const double* low, const double* high) {
  return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(low)), _mm_loadu_pd(high), 1);
}
ANNX_INLINE void transpose_block(const float* x, int64_t x_rs, float* out, int64_t out_rs) {
  // Loading rows i and i + 4 into the halves of one register saves the shuffles across halves.
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const float* p = x + 4 * half;
    const __m256 r0 = transpose_halves(p, p + 4 * x_rs);
    const __m256 r1 = transpose_halves(p + x_rs, p + 5 * x_rs);
    const __m256 r2 = transpose_halves(p + 2 * x_rs, p + 6 * x_rs);
    const __m256 r3 = transpose_halves(p + 3 * x_rs, p + 7 * x_rs);
    const __m256 t0 = _mm256_unpacklo_ps(r0, r1);
    const __m256 t1 = _mm256_unpackhi_ps(r0, r1);
    const __m256 t2 = _mm256_unpacklo_ps(r2, r3);
    const __m256 t3 = _mm256_unpackhi_ps(r2, r3);
    float* q = out + 4 * half * out_rs;
    _mm256_storeu_ps(q, _mm256_shuffle_ps(t0, t2, 0x44));
    _mm256_storeu_ps(q + out_rs, _mm256_shuffle_ps(t0, t2, 0xee));
    _mm256_storeu_ps(q + 2 * out_rs, _mm256_shuffle_ps(t1, t3, 0x44));
    _mm256_storeu_ps(q + 3 * out_rs, _mm256_shuffle_ps(t1, t3, 0xee));
  }
}
ANNX_INLINE void transpose_block(const double* x, int64_t x_rs, double* out, int64_t out_rs) {
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const double* p = x + 2 * half;
    const __m256d r0 = transpose_halves(p, p + 2 * x_rs);
    const __m256d r1 = transpose_halves(p + x_rs, p + 3 * x_rs);
    double* q = out + 2 * half * out_rs;
    _mm256_storeu_pd(q, _mm256_unpacklo_pd(r0, r1));
    _mm256_storeu_pd(q + out_rs, _mm256_unpackhi_pd(r0, r1));
  }
}
#elif defined(ANNX_TARGET_NEON)
template <class T>
static constexpr int kTransposeBlock = 16 / static_cast<int>(sizeof(T));

ANNX_INLINE void transpose_block(const float* x, int64_t x_rs, float* out, int64_t out_rs) {
  const float32x4_t r0 = vld1q_f32(x);
  const float32x4_t r1 = vld1q_f32(x + x_rs);
  const float32x4_t r2 = vld1q_f32(x + 2 * x_rs);
  const float32x4_t r3 = vld1q_f32(x + 3 * x_rs);
  const float64x2_t t0 = vreinterpretq_f64_f32(vtrn1q_f32(r0, r1));
  const float64x2_t t1 = vreinterpretq_f64_f32(vtrn2q_f32(r0, r1));
  const float64x2_t t2 = vreinterpretq_f64_f32(vtrn1q_f32(r2, r3));
  const float64x2_t t3 = vreinterpretq_f64_f32(vtrn2q_f32(r2, r3));
  vst1q_f32(out, vreinterpretq_f32_f64(vtrn1q_f64(t0, t2)));
  vst1q_f32(out + out_rs, vreinterpretq_f32_f64(vtrn1q_f64(t1, t3)));
  vst1q_f32(out + 2 * out_rs, vreinterpretq_f32_f64(vtrn2q_f64(t0, t2)));
  vst1q_f32(out + 3 * out_rs, vreinterpretq_f32_f64(vtrn2q_f64(t1, t3)));
}
ANNX_INLINE void transpose_block(const double* x, int64_t x_rs, double* out, int64_t out_rs) {
  const float64x2_t r0 = vld1q_f64(x);
  const float64x2_t r1 = vld1q_f64(x + x_rs);
  vst1q_f64(out, vtrn1q_f64(r0, r1));
  vst1q_f64(out + out_rs, vtrn2q_f64(r0, r1));
}
#else
template <class T>
static constexpr int kTransposeBlock = 1;

template <class T>
ANNX_INLINE void transpose_block(const T* x, int64_t, T* out, int64_t) {
  *out = *x;
}
#endif

// n elements, n small: pieces of fixed size. Masked stores are slow on some AVX2 machines.
template <class T>
ANNX_INLINE void copy_few(const T* x, int64_t n, T* out) {
  for (; n >= 4; n -= 4, x += 4, out += 4) __builtin_memcpy(out, x, 4 * sizeof(T));
  for (; n > 0; --n) *out++ = *x++;
}

// A block at the edge: `rows` x `cols` of it exist. With `pad` the missing rows are written as
// zeros, else not at all.
template <class T>
ANNX_NOINLINE void transpose_edge(int64_t rows, int64_t cols, const T* x, int64_t x_rs, T* out,
                                  int64_t out_rs, bool pad) {
  constexpr int kBlock = kTransposeBlock<T>;
  T in_block[kBlock * kBlock];
  T out_block[kBlock * kBlock];
  for (int i = 0; i < kBlock * kBlock; ++i) in_block[i] = 0;
  for (int64_t i = 0; i < rows; ++i) copy_few(x + i * x_rs, cols, in_block + i * kBlock);
  transpose_block(in_block, kBlock, out_block, kBlock);
  for (int64_t j = 0; j < cols; ++j) {
    copy_few(out_block + j * kBlock, pad ? kBlock : rows, out + j * out_rs);
  }
}

// Bands of 64 columns: what is written of `out` stays in L1 until its cache lines are full.
template <class T>
ANNX_INLINE void transpose_padded(int64_t rows, int64_t cols, const T* x, int64_t x_rs, T* out,
                                  int64_t out_rs, bool pad) {
  constexpr int kBlock = kTransposeBlock<T>;
  for (int64_t band = 0; band < cols; band += 64) {
    const int64_t end = cols - band < 64 ? cols : band + 64;
    for (int64_t i = 0; i < rows; i += kBlock) {
      const int64_t block_rows = rows - i < kBlock ? rows - i : kBlock;
      const T* row = x + i * x_rs;
      int64_t j = band;
      if (block_rows == kBlock) {
        for (; j + kBlock <= end; j += kBlock) {
          transpose_block(row + j, x_rs, out + j * out_rs + i, out_rs);
        }
      }
      for (; j < end; j += kBlock) {
        const int64_t block_cols = end - j < kBlock ? end - j : kBlock;
        transpose_edge(block_rows, block_cols, row + j, x_rs, out + j * out_rs + i, out_rs, pad);
      }
    }
  }
}

template <class T>
static void gemm_transpose(int64_t rows, int64_t cols, const T* x, int64_t x_rs, T* out,
                           int64_t out_rs) {
  transpose_padded(rows, cols, x, x_rs, out, out_rs, false);
}
