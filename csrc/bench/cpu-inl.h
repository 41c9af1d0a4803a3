// Probes of the machine: fma chains in registers, a triad, and the frozen reference product.

namespace {

// Enough chains to hide the latency of two fma units, few enough to stay in registers: an F32 is
// two of 16 registers on avx2, four of 32 on neon, one of 32 on avx512.
#if defined(ANNX_TARGET_AVX512)
constexpr int kChains = 12;
#else
constexpr int kChains = 6;
#endif

// Starts from what the caller gives: of equal lanes the compiler would compute half.
double fma_chains(int64_t rounds, float* values) {
  const F32 x = load<F32>(values);
  F32 acc[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) acc[i] = x + splat<F32>(static_cast<float>(i));
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = fma(x, acc[i], x);
  }
  F32 total = acc[0];
#pragma GCC unroll 12
  for (int i = 1; i < kChains; ++i) total = total + acc[i];
  store(values, total);
  return 2.0 * F32::lanes * kChains * static_cast<double>(rounds);
}

void triad(const float* a, const float* b, float s, float* out, int64_t n) {
  const F32 scale = splat<F32>(s);
  int64_t i = 0;
  for (; i + F32::lanes <= n; i += F32::lanes)
    store(out + i, fma(scale, load<F32>(b + i), load<F32>(a + i)));
  for (; i < n; ++i) out[i] = a[i] + s * b[i];
}

// Whole vectors only.
template <bool Sum, bool Past, int Ahead>
void stream_run(const float* a, const float* b, float* out, int64_t n) {
  for (int64_t i = 0; i < n; i += F32::lanes) {
    if (Ahead > 0) {
      __builtin_prefetch(reinterpret_cast<const char*>(a + i) + Ahead);
      if (Sum) __builtin_prefetch(reinterpret_cast<const char*>(b + i) + Ahead);
    }
    const F32 x = load<F32>(a + i), y = Sum ? x + load<F32>(b + i) : x;
    if (Past)
      stream(out + i, y);
    else
      store(out + i, y);
  }
}

template <bool Sum>
void stream_by(const float* a, const float* b, float* out, int64_t n, int way) {
  if (way == 0) return stream_run<Sum, false, 0>(a, b, out, n);
  if (way == 1) return stream_run<Sum, true, 0>(a, b, out, n);
  if (way == 2) return stream_run<Sum, true, 2048>(a, b, out, n);
  const int64_t half = n / 2 / F32::lanes * F32::lanes;
  for (int64_t i = 0; i < half; i += F32::lanes) {
    const int64_t j = half + i;
    __builtin_prefetch(reinterpret_cast<const char*>(a + i) + 512);
    __builtin_prefetch(reinterpret_cast<const char*>(a + j) + 512);
    F32 x = load<F32>(a + i), y = load<F32>(a + j);
    if (Sum) {
      __builtin_prefetch(reinterpret_cast<const char*>(b + i) + 512);
      __builtin_prefetch(reinterpret_cast<const char*>(b + j) + 512);
      x = x + load<F32>(b + i);
      y = y + load<F32>(b + j);
    }
    stream(out + i, x);
    stream(out + j, y);
  }
  stream_run<Sum, false, 0>(a + 2 * half, b + (Sum ? 2 * half : 0), out + 2 * half, n - 2 * half);
}

void stream_arrays(const float* a, const float* b, float* out, int64_t n, int way) {
  const int64_t whole = n / F32::lanes * F32::lanes;
  if (reinterpret_cast<uintptr_t>(out) % 64 != 0) way = 0;
  if (b)
    stream_by<true>(a, b, out, whole, way);
  else
    stream_by<false>(a, b, out, whole, way);
  for (int64_t i = whole; i < n; ++i) out[i] = b ? a[i] + b[i] : a[i];
}

// Frozen: see README.md.
void reference_gemm(const float* a, const float* b, float* c) {
  constexpr int n = kReferenceSize, rows = 6;
  for (int j = 0; j < n; j += F32::lanes) {
    for (int i = 0; i < n; i += rows) {
      const float* ai = a + i * n;
      F32 acc[rows];
#pragma GCC unroll 6
      for (int r = 0; r < rows; ++r) acc[r] = splat<F32>(0.0f);
      for (int k = 0; k < n; ++k) {
        const F32 bk = load<F32>(b + k * n + j);
#pragma GCC unroll 6
        for (int r = 0; r < rows; ++r) acc[r] = fma(splat<F32>(ai[r * n + k]), bk, acc[r]);
      }
#pragma GCC unroll 6
      for (int r = 0; r < rows; ++r) store(c + (i + r) * n + j, acc[r]);
    }
  }
}

}  // namespace

extern const BenchKernels bench_kernels;
const BenchKernels bench_kernels = {fma_chains, triad, stream_arrays, reference_gemm};
