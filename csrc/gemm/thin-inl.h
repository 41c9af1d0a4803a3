// Products of few rows: elements of B are used too seldom to be worth packing. B is read once, in the
// order in which it lies in memory.

// Bytes of a task's B from which on all of B is likely to come from memory, whose prefetchers follow neither
// short pieces nor many columns.
static constexpr int64_t kThinFar = int64_t{1} << 20;

// Rows of B lie in one piece: P of them at a time are added to the rows of C, which stay in L1.
template <class V, int R, int P>
ANNX_INLINE void thin_add_rows(const GemmThin<typename V::Scalar>& g, int64_t p, bool from_zero) {
  using T = typename V::Scalar;
  V a[R][P];
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
    for (int q = 0; q < P; ++q) a[i][q] = splat<V>(g.a[i * g.a_rs + (p + q) * g.a_cs]);
  }
  const T* b = g.b + p * g.b_rs;
  const int64_t b_rs = g.b_rs;
  int64_t j = 0;
  for (; j + V::lanes <= g.n; j += V::lanes) {
    V acc[R];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) acc[i] = from_zero ? zero<V>() : load<V>(g.c + i * g.c_rs + j);
#pragma GCC unroll 8
    for (int q = 0; q < P; ++q) {
      const V row = load<V>(b + q * b_rs + j);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) acc[i] = fma(a[i][q], row, acc[i]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) store(g.c + i * g.c_rs + j, acc[i]);
  }
  const int64_t rest = g.n - j;
  if (rest == 0) return;
  alignas(64) T edge[V::lanes];
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
    T* c = g.c + i * g.c_rs + j;
    V acc = from_zero ? zero<V>() : load_n<V>(c, rest);
#pragma GCC unroll 8
    for (int q = 0; q < P; ++q) acc = fma(a[i][q], load_n<V>(b + q * b_rs + j, rest), acc);
    store(edge, acc);
    copy_few(edge, rest, c);
  }
}

template <class V, int R>
ANNX_NOINLINE void thin_rows(const GemmThin<typename V::Scalar>& g) {
  constexpr int kAtOnce = R == 1 ? 8 : 4;
  int64_t p = 0;
  for (; p + kAtOnce <= g.k; p += kAtOnce) {
    thin_add_rows<V, R, kAtOnce>(g, p, g.from_zero && p == 0);
  }
  for (; p < g.k; ++p) thin_add_rows<V, R, 1>(g, p, g.from_zero && p == 0);
}

// Columns of B lie in one piece: squares of them are transposed in registers, so that lanes run along
// columns here too. A ThinSum holds the sums of kBlock columns.
#if defined(ANNX_TARGET_AVX2) || defined(ANNX_TARGET_AVX512)
template <class T>
struct ThinSum;
template <>
struct ThinSum<float> {
  static constexpr int kBlock = 8;
  __m256 v;
  ANNX_INLINE ThinSum load(const float* p) { return {_mm256_loadu_ps(p)}; }
  ANNX_INLINE_MEMBER void store(float* p) const { _mm256_storeu_ps(p, v); }
  ANNX_INLINE_MEMBER void add(float a, __m256 b) { v = _mm256_fmadd_ps(_mm256_set1_ps(a), b, v); }
};
template <>
struct ThinSum<double> {
  static constexpr int kBlock = 4;
  __m256d v;
  ANNX_INLINE ThinSum load(const double* p) { return {_mm256_loadu_pd(p)}; }
  ANNX_INLINE_MEMBER void store(double* p) const { _mm256_storeu_pd(p, v); }
  ANNX_INLINE_MEMBER void add(double a, __m256d b) { v = _mm256_fmadd_pd(_mm256_set1_pd(a), b, v); }
};

// Four elements of a column, and below them four of another that begin 16 bytes after `high` unless they are
// the First of a row: a blend, which any unit takes, where an insertion needs one of two.
template <bool First>
ANNX_INLINE __m256 thin_pair(const char* low, const char* high) {
  const __m128 x = _mm_loadu_ps(reinterpret_cast<const float*>(low));
  const float* y = reinterpret_cast<const float*>(high);
  if constexpr (First) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(x), _mm_loadu_ps(y), 1);
  } else {
    return _mm256_blend_ps(_mm256_castps128_ps256(x), _mm256_loadu_ps(y), 0xf0);
  }
}

// 8 columns and 4 steps of the chains of R rows, S times: the columns of two squares are `apart` bytes apart,
// the sums of two rows `step`. Elements of A are spread once for all squares. With `Ahead`, two of the columns
// of each square are asked for a cache line further on.
template <int R, int S, int Q, bool Ahead>
ANNX_INLINE void thin_quarter(const char* x, int64_t one, int64_t three, int64_t apart,
                              const float* a, int64_t a_rs, int64_t a_cs, ThinSum<float>* sums,
                              int step) {
  __m256 factors[R][4];
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) factors[i][q] = _mm256_broadcast_ss(a + i * a_rs + q * a_cs);
  }
  x += 16 * Q;
#pragma GCC unroll 4
  for (int s = 0; s < S; ++s) {
    constexpr bool kFirst = Q == 0;
    const char* low = x;
    const char* high = low + 4 * one - (kFirst ? 0 : 16);
    const char* next = (Q < 2 ? low : high + 16) + 64;
    x += S == 2 ? apart : 8 * one;
    // A few addresses and two distances: of many squares GCC would keep one address for each column, on the
    // stack. And it would ask for all lines at once.
    asm volatile("" : "+r"(x), "+r"(low), "+r"(high), "+r"(next)::"memory");
    const __m256 r0 = thin_pair<kFirst>(low, high);
    const __m256 r1 = thin_pair<kFirst>(low + one, high + one);
    if constexpr (Ahead) __builtin_prefetch(next + (Q % 2 == 0 ? 0 : 2 * one));
    const __m256 r2 = thin_pair<kFirst>(low + 2 * one, high + 2 * one);
    const __m256 r3 = thin_pair<kFirst>(low + three, high + three);
    if constexpr (Ahead) __builtin_prefetch(next + (Q % 2 == 0 ? one : three));
    const __m256 t0 = _mm256_unpacklo_ps(r0, r1);
    const __m256 t1 = _mm256_unpackhi_ps(r0, r1);
    const __m256 t2 = _mm256_unpacklo_ps(r2, r3);
    const __m256 t3 = _mm256_unpackhi_ps(r2, r3);
    const __m256 c0 = _mm256_shuffle_ps(t0, t2, 0x44);
    const __m256 c1 = _mm256_shuffle_ps(t0, t2, 0xee);
    const __m256 c2 = _mm256_shuffle_ps(t1, t3, 0x44);
    const __m256 c3 = _mm256_shuffle_ps(t1, t3, 0xee);
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
      __m256& sum = sums[i * step + s].v;
      sum = _mm256_fmadd_ps(factors[i][0], c0, sum);
      sum = _mm256_fmadd_ps(factors[i][1], c1, sum);
      sum = _mm256_fmadd_ps(factors[i][2], c2, sum);
      sum = _mm256_fmadd_ps(factors[i][3], c3, sum);
    }
  }
}

// As many whole squares of the next `length` elements of k as there are; gives the elements done.
template <int R, int S, bool Ahead>
ANNX_INLINE int64_t thin_run(const float* b, int64_t b_cs, int64_t apart, const float* a,
                             int64_t a_rs, int64_t a_cs, int64_t length, ThinSum<float>* sums,
                             int step) {
  const char* x = reinterpret_cast<const char*>(b);
  int64_t one = b_cs * 4, three = b_cs * 12;
  apart *= one;
  asm("" : "+r"(one), "+r"(three));
  int64_t p = 0;
  for (; p + 16 <= length; p += 16) {
    thin_quarter<R, S, 0, Ahead>(x, one, three, apart, a, a_rs, a_cs, sums, step);
    a += 4 * a_cs;
    asm("" : "+r"(a));
    thin_quarter<R, S, 1, Ahead>(x, one, three, apart, a, a_rs, a_cs, sums, step);
    a += 4 * a_cs;
    asm("" : "+r"(a));
    thin_quarter<R, S, 2, Ahead>(x, one, three, apart, a, a_rs, a_cs, sums, step);
    a += 4 * a_cs;
    asm("" : "+r"(a));
    thin_quarter<R, S, 3, Ahead>(x, one, three, apart, a, a_rs, a_cs, sums, step);
    a += 4 * a_cs;
    asm("" : "+r"(a));
    x += 64;
  }
  if (p + 8 <= length) {
    thin_quarter<R, S, 0, false>(x, one, three, apart, a, a_rs, a_cs, sums, step);
    a += 4 * a_cs;
    asm("" : "+r"(a));
    thin_quarter<R, S, 1, false>(x, one, three, apart, a, a_rs, a_cs, sums, step);
    a += 4 * a_cs;
    asm("" : "+r"(a));
    p += 8;
  }
  return p;
}
template <int R, int S>
ANNX_INLINE void thin_square(const double* x, int64_t x_rs, int64_t apart, const double* a,
                             int64_t a_rs, int64_t a_cs, ThinSum<double>* sums, int step) {
#pragma GCC unroll 4
  for (int part = 0; part < 2 * S; ++part) {
    const int half = part % 2;
    const double* p = x + part / 2 * apart * x_rs + 2 * half;
    const __m256d r0 = transpose_halves(p, p + 2 * x_rs);
    const __m256d r1 = transpose_halves(p + x_rs, p + 3 * x_rs);
    const __m256d c0 = _mm256_unpacklo_pd(r0, r1);
    const __m256d c1 = _mm256_unpackhi_pd(r0, r1);
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
      const double* row = a + i * a_rs + 2 * half * a_cs;
      sums[i * step + part / 2].add(row[0], c0);
      sums[i * step + part / 2].add(row[a_cs], c1);
    }
  }
}
#else
// Elsewhere a square passes through memory, a vector wide.
template <class T>
struct ThinVector {
  using V = F64;
};
template <>
struct ThinVector<float> {
  using V = F32;
};
template <class T>
struct ThinSum {
  using V = typename ThinVector<T>::V;
  static constexpr int kBlock = V::lanes;
  V v;
  ANNX_INLINE ThinSum load(const T* p) { return {annx::ANNX_TARGET::load<V>(p)}; }
  ANNX_INLINE_MEMBER void store(T* p) const { annx::ANNX_TARGET::store(p, v); }
  ANNX_INLINE_MEMBER void add(T a, V b) { v = fma(splat<V>(a), b, v); }
};
template <int R, int S, class T>
ANNX_INLINE void thin_square(const T* x, int64_t x_rs, int64_t apart, const T* a, int64_t a_rs,
                             int64_t a_cs, ThinSum<T>* sums, int step) {
  constexpr int kBlock = ThinSum<T>::kBlock;
  alignas(64) T block[kBlock * kBlock];
  for (int s = 0; s < S; ++s, x += apart * x_rs) {
    for (int i = 0; i < kBlock; i += kTransposeBlock<T>) {
      for (int q = 0; q < kBlock; q += kTransposeBlock<T>)
        transpose_block(x + i * x_rs + q, x_rs, block + q * kBlock + i, kBlock);
    }
    for (int q = 0; q < kBlock; ++q) {
      const auto column = ThinSum<T>::load(block + q * kBlock).v;
      for (int i = 0; i < R; ++i) sums[i * step + s].add(a[i * a_rs + q * a_cs], column);
    }
  }
}
#endif

template <int R, int S, bool Ahead, class T>
ANNX_INLINE int64_t thin_run(const T* b, int64_t b_cs, int64_t apart, const T* a, int64_t a_rs,
                             int64_t a_cs, int64_t length, ThinSum<T>* sums, int step) {
  constexpr int64_t kBlock = ThinSum<T>::kBlock;
  int64_t p = 0;
  for (; p + kBlock <= length; p += kBlock)
    thin_square<R, S>(b + p, b_cs, apart, a + p * a_cs, a_rs, a_cs, sums, step);
  return p;
}

template <class T>
ANNX_INLINE bool thin_conflict(const GemmThin<T>& g) {
  return g.b_cs * static_cast<int64_t>(sizeof(T)) % 1024 == 0;
}

// Bytes of a piece of a column: 32 of them stay in L1.
static constexpr int64_t kThinPiece = 512;

// Columns j, j + 1, …, S squares of them `apart` columns apart, which gives columns of two squares the same
// bits twice. The first `done` columns are finished and stay.
template <class T, int R, int S>
ANNX_NOINLINE void thin_squares(const GemmThin<T>& g, int64_t j, int64_t apart, int64_t done,
                                bool crowded) {
  constexpr int kBlock = ThinSum<T>::kBlock;
  ThinSum<T> sums[R][S];
  alignas(64) T edge[kBlock];
  for (int i = 0; i < kBlock; ++i) edge[i] = 0;
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) {
      sums[i][s] = ThinSum<T>::load(g.from_zero ? edge : g.c + i * g.c_rs + j + s * apart);
    }
  }
  const T* b = g.b + j * g.b_cs;
  const T* a = g.a;
  const int64_t a_rs = g.a_rs, a_cs = g.a_cs, b_cs = g.b_cs;
  int64_t p = 0;
  if constexpr (S == 4) {
    // Columns that all fall on one set of L1 are read piece by piece, each from end to end.
    constexpr int64_t kPiece = kThinPiece / static_cast<int64_t>(sizeof(T));
    constexpr int64_t kPieceRs = kPiece + kBlock;
    while (crowded && p + kBlock <= g.k) {
      alignas(64) T near[S * kBlock * kPieceRs];
      const int64_t length = g.k - p < kPiece ? (g.k - p) / kBlock * kBlock : kPiece;
      for (int64_t i = 0; i < S * kBlock; ++i) {
        for (int64_t q = 0; q < length; q += kBlock) {
          ThinSum<T>::load(b + i * b_cs + p + q).store(near + i * kPieceRs + q);
        }
      }
      p += thin_run<R, S, false>(near, kPieceRs, kBlock, a + p * a_cs, a_rs, a_cs, length,
                                 &sums[0][0], S);
    }
  }
  if (S == 2 && thin_conflict(g)) {
    // Where fewer do, their cache lines are used up one square at a time.
    for (; p + 32 <= g.k; p += 32) {
#pragma GCC unroll 2
      for (int s = 0; s < S; ++s) {
        thin_run<R, 1, false>(b + s * apart * b_cs + p, b_cs, kBlock, a + p * a_cs, a_rs, a_cs, 32,
                              &sums[0][s], S);
      }
    }
  }
  p += thin_run<R, S, true>(b + p, b_cs, apart, a + p * a_cs, a_rs, a_cs, g.k - p, &sums[0][0], S);
  for (; p < g.k; ++p) {
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) {
      for (int i = 0; i < kBlock; ++i) edge[i] = b[(s * apart + i) * b_cs + p];
      const ThinSum<T> column = ThinSum<T>::load(edge);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) sums[i][s].add(a[i * a_rs + p * a_cs], column.v);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
    T* c = g.c + i * g.c_rs + j;
    if (done == 0) {
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) sums[i][s].store(c + s * apart);
    } else {
      sums[i][0].store(edge);
      copy_few(edge + done, kBlock - done, c + done);
    }
  }
}

// Fewer columns than a square has.
template <class T, int R>
ANNX_NOINLINE void thin_few_columns(const GemmThin<T>& g) {
  constexpr int kBlock = ThinSum<T>::kBlock;
  ThinSum<T> sums[R];
  alignas(64) T edge[kBlock];
  for (int i = 0; i < kBlock; ++i) edge[i] = 0;
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
    if (!g.from_zero) copy_few(g.c + i * g.c_rs, g.n, edge);
    sums[i] = ThinSum<T>::load(edge);
  }
  for (int64_t p = 0; p < g.k; ++p) {
    for (int64_t j = 0; j < g.n; ++j) edge[j] = g.b[j * g.b_cs + p];
    const ThinSum<T> column = ThinSum<T>::load(edge);
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) sums[i].add(g.a[i * g.a_rs + p * g.a_cs], column.v);
  }
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
    sums[i].store(edge);
    copy_few(edge, g.n, g.c + i * g.c_rs);
  }
}

template <class T, int R>
ANNX_NOINLINE void thin_columns(const GemmThin<T>& g) {
  constexpr int64_t kBlock = ThinSum<T>::kBlock;
  if (g.n < kBlock) return thin_few_columns<T, R>(g);
  int64_t j = 0;
  if constexpr (R == 1) {
    // More chains hide the latency of fma; but out of memory more columns are more streams than the
    // prefetchers follow.
    const int64_t bytes = g.k * g.n * static_cast<int64_t>(sizeof(T));
    const bool crowded = g.b_cs * static_cast<int64_t>(sizeof(T)) % 4096 == 0 && bytes <= kThinFar;
    if (crowded || (!thin_conflict(g) && bytes <= kThinFar)) {
      for (; j + 4 * kBlock <= g.n; j += 4 * kBlock) {
        thin_squares<T, R, 4>(g, j, kBlock, 0, crowded);
      }
    }
  }
  for (; j + 2 * kBlock <= g.n; j += 2 * kBlock) thin_squares<T, R, 2>(g, j, kBlock, 0, false);
  const int64_t rest = g.n - j;
  if (rest > kBlock) {
    thin_squares<T, R, 2>(g, j, rest - kBlock, 0, false);
  } else if (rest > 0) {
    thin_squares<T, R, 1>(g, g.n - kBlock, kBlock, kBlock - rest, false);
  }
}

template <class V>
static void gemm_thin(const GemmThin<typename V::Scalar>& g) {
  using T = typename V::Scalar;
  if (g.b_cs != 1) return g.m == 1 ? thin_columns<T, 1>(g) : thin_columns<T, 2>(g);
  switch (g.m) {
    case 1:
      return thin_rows<V, 1>(g);
    case 2:
      return thin_rows<V, 2>(g);
    case 3:
      return thin_rows<V, 3>(g);
    default:
      return thin_rows<V, 4>(g);
  }
}
