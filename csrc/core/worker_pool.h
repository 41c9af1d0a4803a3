// The worker threads behind parallel_for and the protocol of one parallel region.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <limits>
#include <mutex>

#include "core/function_ref.h"

namespace annx::detail {

using ChunkBody = FunctionRef<void(int64_t begin, int64_t end)>;

// More than zero: parallel_for runs serially on this thread.
extern constinit thread_local int serial_depth;

// Runs chunks [first, last) in order; `chunk` says which one is running.
inline void run_chunks(int64_t n, int64_t grain, int64_t first, int64_t last, ChunkBody body,
                       int64_t& chunk) {
  for (chunk = first; chunk < last; ++chunk) {
    const int64_t begin = chunk * grain;
    body(begin, n - begin < grain ? n : begin + grain);
  }
}

// One region at a time. The ticket is (region number << 24 | claims left); a thread claims by
// decrementing it. The fields beside it are written only while no claim is left, and a claim
// succeeds only on the ticket seen before they were read: so a late worker can never mix two
// regions. The caller waits for claimed work only, never for workers that have not come yet.
class WorkerPool {
 public:
  // With more threads than CPUs nobody spins: the CPU is better used by who has work.
  WorkerPool(int threads, bool oversubscribed);

  // Starts threads - 1 workers. Fewer workers than asked for when the system refuses a thread; the
  // region runs all the same.
  void start();

  // The workers leave by themselves; the last user frees the pool.
  void stop();

  int threads() const { return threads_; }

  // The child of a fork has no workers; the pool is kept aside, never used again.
  void abandon(WorkerPool* next) {
    abandoned_ = true;
    next_abandoned_ = next;
  }

  // Runs every chunk and returns ns per element as this thread saw it. `expected_ns`, 0 when
  // unknown, is what the whole region would take one thread; it decides whom to wake.
  double run(int64_t n, int64_t grain, int64_t chunks, ChunkBody body, double expected_ns);

 private:
  static constexpr int64_t kNoFailure = std::numeric_limits<int64_t>::max();
  static constexpr int kClaimBits = 24;
  static constexpr uint64_t kClaimMask = (uint64_t{1} << kClaimBits) - 1;
  static constexpr uint64_t kStop = ~kClaimMask;

  using Clock = std::chrono::steady_clock;

  struct Job {
    void* callable;
    ChunkBody::Invoke invoke;
    int64_t n, grain;
    int64_t batch;  // chunks per claim
    uint32_t claims, fp;

    int64_t first_chunk(uint32_t claim) const { return claim * batch; }
    int64_t end_chunk(uint32_t claim) const;
  };

  void publish(const Job& job);
  Job read_job() const;
  // The next claim of the region that this thread is already part of; false when none is left.
  bool take_claim(const Job& job, uint32_t& claim, uint64_t ticket);
  // Joins the region of this ticket, which has claims left, and works until none is.
  void help(uint64_t ticket);
  void run_claim(const Job& job, uint32_t claim);
  void record_failure(int64_t chunk);
  void wait_for_helpers();
  void wake_missing(uint32_t claims);
  void work();
  void park();
  // Sleeping workers that `claims` more claims could use beside those awake.
  int missing_helpers(uint32_t claims) const;
  void drop();

  // One cache line: what a worker reads to join.
  alignas(64) std::atomic<uint64_t> ticket_{0};
  std::atomic<void*> callable_{nullptr};
  std::atomic<ChunkBody::Invoke> invoke_{nullptr};
  std::atomic<int64_t> n_{0}, grain_{0}, batch_{0};
  std::atomic<uint32_t> claims_{0}, fp_{0};

  // What threads write when they finish.
  alignas(64) std::atomic<uint32_t> pending_{0};
  std::atomic<uint32_t> caller_sleeps_{0};
  std::atomic<int64_t> failed_chunk_{kNoFailure};  // the first one so far
  std::mutex failure_mutex_;
  std::exception_ptr failure_;

  alignas(64) std::atomic<uint32_t> wake_word_{0};
  std::atomic<int> parked_{0};
  std::atomic<int> caller_cpu_{-1};  // of the last wake
  std::atomic<int> users_{1};

  alignas(64) const int threads_;
  const double spin_ns_;
  int workers_ = 0;
  uint64_t region_ = 0;
  Clock::time_point last_end_;
  double missed_ns_ = 0;  // recent work that a sleeping worker could have shared
  bool abandoned_ = false;
  WorkerPool* next_abandoned_ = nullptr;
};

}  // namespace annx::detail
