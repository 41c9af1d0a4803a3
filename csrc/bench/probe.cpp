#include "bench/probe.h"

#include <algorithm>
#include <vector>

#include "bench/kernels.h"
#include "core/thread_pool.h"

namespace annx {

double probe_fma(int64_t rounds) {
  const BenchKernels& kernels = bench_kernels();
  // Several pieces a thread, so that a late one finds work left.
  constexpr int64_t pieces = 8;
  const int64_t chunks = num_threads() * pieces;
  std::vector<double> flops(static_cast<size_t>(chunks));
  parallel_for(chunks, 1, [&](int64_t begin, int64_t end) {
    float values[16];
    for (int i = 0; i < 16; ++i) values[i] = 0.5f + 0.01f * static_cast<float>(i);
    for (int64_t i = begin; i < end; ++i)
      flops[static_cast<size_t>(i)] = kernels.fma_chains(rounds / pieces + 1, values);
  });
  double total = 0;
  for (double f : flops) total += f;
  return total;
}

double probe_split(int64_t rounds, int64_t regions) {
  const BenchKernels& kernels = bench_kernels();
  double flops[2] = {0, 0};
  for (int64_t r = 0; r < regions; ++r) {
    parallel_for(2, 1, [&](int64_t begin, int64_t end) {
      float values[16];
      for (int i = 0; i < 16; ++i) values[i] = 0.5f + 0.01f * static_cast<float>(i);
      for (int64_t i = begin; i < end; ++i) flops[i] += kernels.fma_chains(rounds, values);
    });
  }
  return flops[0] + flops[1];
}

namespace {

// Whole cache lines for each thread.
int64_t share_of(int64_t n) {
  constexpr int64_t kLine = 16;
  const int64_t share = (n + num_threads() - 1) / num_threads();
  return std::max(kLine, (share + kLine - 1) / kLine * kLine);
}

}  // namespace

double probe_triad(const float* a, const float* b, float* out, int64_t n, int64_t passes) {
  const BenchKernels& kernels = bench_kernels();
  for (int64_t p = 0; p < passes; ++p) {
    parallel_for(n, share_of(n), [&](int64_t begin, int64_t end) {
      kernels.triad(a + begin, b + begin, 2.0f, out + begin, end - begin);
    });
  }
  return 12.0 * static_cast<double>(n) * static_cast<double>(passes);
}

double probe_stream(const float* a, const float* b, float* out, int64_t n, int way,
                    int64_t passes) {
  const BenchKernels& kernels = bench_kernels();
  for (int64_t p = 0; p < passes; ++p) {
    parallel_for(n, share_of(n), [&](int64_t begin, int64_t end) {
      kernels.stream(a + begin, b ? b + begin : nullptr, out + begin, end - begin, way);
#if defined(__x86_64__)
      __builtin_ia32_sfence();
#endif
    });
  }
  return (b ? 12.0 : 8.0) * static_cast<double>(n) * static_cast<double>(passes);
}

double probe_reference_gemm(int64_t passes) {
  const BenchKernels& kernels = bench_kernels();
  constexpr size_t size = kReferenceSize * kReferenceSize;
  const int64_t products = passes * num_threads();
  parallel_for(products, 1, [&](int64_t begin, int64_t end) {
    static thread_local std::vector<float> a(size, 0.5f), b(size, 0.25f), c(size);
    for (int64_t i = begin; i < end; ++i) kernels.reference_gemm(a.data(), b.data(), c.data());
  });
  return 2.0 * kReferenceSize * kReferenceSize * kReferenceSize * static_cast<double>(products);
}

}  // namespace annx
