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
const BenchKernels bench_kernels = {fma_chains, triad, reference_gemm};
