// Probes of the machine for `annx bench`, on the active target and the pool's threads.
#pragma once

#include <cstdint>

namespace annx {

// Runs fma chains on every thread; returns the floating-point operations done.
double probe_fma(int64_t rounds);

// The same in two halves of `rounds` each, `regions` times back to back: what splitting costs.
double probe_split(int64_t rounds, int64_t regions);

// out = a + 2 b on every thread, `passes` times over n floats; returns the bytes moved, counting
// two reads and one write.
double probe_triad(const float* a, const float* b, float* out, int64_t n, int64_t passes);

// out = a + b, or a where b is null, on every thread, `passes` times over n floats, in one of
// kStreamWays ways; returns the bytes moved, each array once.
inline constexpr int kStreamWays = 4;
double probe_stream(const float* a, const float* b, float* out, int64_t n, int way, int64_t passes);

// The frozen product, `passes` times on each thread; returns the operations done.
double probe_reference_gemm(int64_t passes);

}  // namespace annx
