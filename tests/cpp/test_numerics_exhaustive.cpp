// All 2^32 float32 inputs of the elementary functions.
//   test_numerics_exhaustive [--target avx2] [--function exp] [--threads 2] [--equal avx512]
// Without --equal, the largest error is measured and held against the bound; with it, the results
// of the two targets must have equal bits. Minutes per function: not part of the ordinary test run.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "elementary.h"

namespace {

using annx::NumericsKernels;
using annx::Target;
using annx::testing::Elementary;

constexpr int64_t kChunk = 1 << 16;

struct Worst {
  double error = 0;
  float input = 0;
  float got = 0;
  int64_t unequal = 0;
};

Worst check_chunk(const Elementary<float>& function, const NumericsKernels& kernels,
                  const NumericsKernels* other, int64_t first) {
  std::vector<float> x(kChunk), out(kChunk), out_other(kChunk);
  for (int64_t i = 0; i < kChunk; ++i) {
    const uint32_t bits = static_cast<uint32_t>(first + i);
    std::memcpy(&x[static_cast<size_t>(i)], &bits, sizeof(bits));
  }
  (kernels.*function.kernel)(x.data(), out.data(), kChunk);
  Worst worst;
  if (other != nullptr) {
    (other->*function.kernel)(x.data(), out_other.data(), kChunk);
    for (size_t i = 0; i < x.size(); ++i) {
      if (annx::testing::same(out[i], out_other[i])) continue;
      ++worst.unequal;
      worst.input = x[i];
      worst.got = out[i];
    }
    return worst;
  }
  for (size_t i = 0; i < x.size(); ++i) {
    const double error = annx::testing::ulp_error(out[i], function.reference(x[i]));
    if (error > worst.error) worst = {error, x[i], out[i], 0};
  }
  return worst;
}

Worst check_all(const Elementary<float>& function, const NumericsKernels& kernels,
                const NumericsKernels* other, unsigned threads) {
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  Worst worst;
  std::vector<std::thread> pool;
  for (unsigned t = 0; t < threads; ++t) {
    pool.emplace_back([&] {
      for (;;) {
        const int64_t first = next.fetch_add(kChunk);
        if (first >= int64_t{1} << 32) return;
        const Worst found = check_chunk(function, kernels, other, first);
        const std::lock_guard<std::mutex> lock(mutex);
        const int64_t unequal = worst.unequal + found.unequal;
        if (found.error > worst.error || found.unequal > 0) worst = found;
        worst.unequal = unequal;
      }
    });
  }
  for (std::thread& thread : pool) thread.join();
  return worst;
}

int usage() {
  std::fprintf(stderr,
               "usage: test_numerics_exhaustive [--target NAME] [--function NAME] [--threads N] "
               "[--equal TARGET]\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  Target target = annx::best_target();
  const NumericsKernels* other = nullptr;
  std::string wanted;
  unsigned threads = 1;
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) return usage();
    const std::string option = argv[i];
    const char* value = argv[i + 1];
    if (option == "--target") {
      target = annx::parse_target(value);
    } else if (option == "--function") {
      wanted = value;
    } else if (option == "--threads") {
      threads = static_cast<unsigned>(std::max(1, std::atoi(value)));
    } else if (option == "--equal") {
      other = &annx::numerics_kernels_for(annx::parse_target(value));
    } else {
      return usage();
    }
  }

  int failed = 0, checked = 0;
  for (const Elementary<float>& function : annx::testing::kElementary32) {
    if (!wanted.empty() && wanted != function.name) continue;
    const auto start = std::chrono::steady_clock::now();
    const Worst worst = check_all(function, annx::numerics_kernels_for(target), other, threads);
    const bool ok = other != nullptr ? worst.unequal == 0 : worst.error <= function.bound;
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (other != nullptr) {
      std::printf("%s %s %s: %lld unequal (such as %a) in %.0f s\n", ok ? "ok    " : "FAILED",
                  annx::target_name(target), function.name, static_cast<long long>(worst.unequal),
                  static_cast<double>(worst.input), seconds);
    } else {
      std::printf("%s %s %s: %.4f ULP (bound %.2f) at %a, got %a, in %.0f s\n",
                  ok ? "ok    " : "FAILED", annx::target_name(target), function.name, worst.error,
                  function.bound, static_cast<double>(worst.input), static_cast<double>(worst.got),
                  seconds);
    }
    std::fflush(stdout);
    ++checked;
    failed += ok ? 0 : 1;
  }
  return checked > 0 && failed == 0 ? 0 : 1;
}
