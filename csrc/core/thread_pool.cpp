#include "core/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <system_error>
#include <utility>

#include "core/cpu_limits.h"
#include "core/error.h"
#include "core/worker_pool.h"

namespace annx {
namespace {

using detail::ChunkBody;
using detail::serial_depth;
using detail::WorkerPool;

// Below this the cache lines that travel between the threads cost more than they bring.
constexpr double kShareNs = 1e3;

// What one call site costs, so that a worker is woken, or not even told, before the work starts.
struct Site {
  uint32_t tag = 0;
  float ns_per_element = 0;
};

// Everything below `busy` belongs to the thread that set it. Never destroyed: at exit other
// threads may still be in a region.
std::atomic<bool> busy{false};
WorkerPool* pool = nullptr;
WorkerPool* abandoned_pools = nullptr;
Site sites[1024];

std::atomic<int> requested_threads{0};

void reset_in_child() {
  if (pool != nullptr) {
    pool->abandon(abandoned_pools);
    abandoned_pools = pool;
    pool = nullptr;
  }
  busy.store(false, std::memory_order_relaxed);
}

[[maybe_unused]] const int fork_handler = pthread_atfork(nullptr, nullptr, reset_in_child);

// 0 when ANNX_NUM_THREADS is not set.
int threads_from_env() {
  const char* text = std::getenv("ANNX_NUM_THREADS");
  if (text == nullptr || *text == '\0') return 0;
  int value = 0;
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, value);
  ANNX_CHECK(error == std::errc() && rest == end && value >= 1, value, "ANNX_NUM_THREADS",
             "expected a whole number of threads, at least 1, but got '", text, "'");
  return value;
}

WorkerPool* ensure_pool(int threads) {
  if (pool != nullptr && pool->threads() != threads) {
    std::exchange(pool, nullptr)->stop();
  }
  if (pool == nullptr) {
    pool = new WorkerPool(threads, threads > available_cpus());
    pool->start();
  }
  return pool;
}

Site& site_of(ChunkBody body, int64_t n, int64_t grain, uint32_t& tag) {
  uint64_t h = reinterpret_cast<uintptr_t>(body.invoke());
  h = (h ^ static_cast<uint64_t>(n)) * 0x9e3779b97f4a7c15u;
  h = (h ^ (h >> 29) ^ static_cast<uint64_t>(grain)) * 0xbf58476d1ce4e5b9u;
  tag = static_cast<uint32_t>(h >> 32) | 1;
  return sites[h >> 22 & (std::size(sites) - 1)];
}

struct RegionGuard {
  RegionGuard() { ++serial_depth; }
  ~RegionGuard() {
    --serial_depth;
    busy.store(false, std::memory_order_release);
  }
};

}  // namespace

int num_threads() {
  const int threads = requested_threads.load(std::memory_order_relaxed);
  if (threads != 0) return threads;
  const int limit = threads_from_env();
  const int cpus = std::min(available_cpus(), kMaxThreads);
  int expected = 0;
  const int resolved = limit == 0 ? cpus : std::min(cpus, limit);
  // set_num_threads of another thread wins.
  requested_threads.compare_exchange_strong(expected, resolved, std::memory_order_relaxed);
  return requested_threads.load(std::memory_order_relaxed);
}

void set_num_threads(int64_t threads) {
  ANNX_CHECK(threads >= 1 && threads <= kMaxThreads, value, "set_num_threads",
             "expected a number of threads from 1 to ", kMaxThreads, " but got ", threads);
  // The next region restarts the pool.
  requested_threads.store(static_cast<int>(threads), std::memory_order_relaxed);
}

void init_threads_from_env() { threads_from_env(); }

bool in_serial_region() { return serial_depth > 0; }

SerialGuard::SerialGuard() { ++serial_depth; }
SerialGuard::~SerialGuard() { --serial_depth; }

void detail::parallel_for_chunks(int64_t n, int64_t grain, ChunkBody body) {
  ANNX_CHECK(grain >= 1, value, "parallel_for", "expected a grain of at least 1 but got ", grain);
  const int64_t chunks = 1 + (n - 1) / grain;
  int64_t chunk = 0;
  const int threads = serial_depth > 0 ? 1 : num_threads();
  if (threads == 1 || busy.exchange(true, std::memory_order_acquire)) {
    detail::run_chunks(n, grain, 0, chunks, body, chunk);
    return;
  }

  const RegionGuard guard;
  uint32_t tag;
  Site& site = site_of(body, n, grain, tag);
  const double known = site.tag == tag ? site.ns_per_element : 0;
  const double expected_ns = known * static_cast<double>(n);
  double measured;
  if (known > 0 && expected_ns < kShareNs) {
    const auto start = std::chrono::steady_clock::now();
    detail::run_chunks(n, grain, 0, chunks, body, chunk);
    const std::chrono::duration<double, std::nano> elapsed =
        std::chrono::steady_clock::now() - start;
    measured = elapsed.count() / static_cast<double>(n);
  } else {
    measured = ensure_pool(threads)->run(n, grain, chunks, body, expected_ns);
  }
  // Down at once, up by halves: an interrupted measurement must not cost wake-ups for long.
  site.ns_per_element =
      static_cast<float>(known == 0 || measured < known ? measured : (known + measured) / 2);
  site.tag = tag;
}

}  // namespace annx
