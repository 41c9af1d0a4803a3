#include "core/worker_pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <system_error>
#include <thread>
#include <utility>

#include "core/cpu_limits.h"
#include "core/error.h"
#include "core/futex.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace annx::detail {

constinit thread_local int serial_depth = 0;

namespace {

// How long a thread without work looks for some before it sleeps.
constexpr double kSpinNs = 100e3;
// A sleeping worker is not worth waking for less: it takes tens of microseconds to arrive. Small
// regions in close succession add up to it, less this part of the time between them.
constexpr double kWakeNs = 60e3;
constexpr double kGapShare = 0.125;
// Claims a thread makes of a region of many chunks: fewer cost balance, more cost traffic.
constexpr int64_t kClaimsPerThread = 64;
// The caller wakes this many; those wake the others.
constexpr int kWakeFanOut = 4;

double ns_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
}

inline void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#endif
}

// Rounding and flush-to-zero modes. Workers take over the caller's, so that a result does not
// depend on which thread computed it.
uint32_t fp_control() {
#if defined(__x86_64__)
  return _mm_getcsr() & ~0x3fu;
#elif defined(__aarch64__)
  uint64_t value;
  __asm__ volatile("mrs %0, fpcr" : "=r"(value));
  return static_cast<uint32_t>(value);
#else
  return 0;
#endif
}

void set_fp_control(uint32_t control) {
  if (fp_control() == control) return;
#if defined(__x86_64__)
  _mm_setcsr(control);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" ::"r"(static_cast<uint64_t>(control)));
#endif
}

}  // namespace

WorkerPool::WorkerPool(int threads, bool oversubscribed)
    : threads_(threads), spin_ns_(oversubscribed ? 0 : kSpinNs) {}

void WorkerPool::start() {
  sigset_t all, before;
  sigfillset(&all);
  // Signals belong to the threads of the program.
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (int i = 1; i < threads_; ++i) {
    users_.fetch_add(1, std::memory_order_relaxed);
    try {
      std::thread([this] { work(); }).detach();
      ++workers_;
    } catch (const std::system_error&) {
      users_.fetch_sub(1, std::memory_order_relaxed);
      break;
    }
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void WorkerPool::stop() {
  ticket_.store(kStop, std::memory_order_seq_cst);
  wake_word_.fetch_add(1, std::memory_order_seq_cst);
  futex_wake(wake_word_, threads_);
  drop();
}

void WorkerPool::drop() {
  if (users_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

int64_t WorkerPool::Job::end_chunk(uint32_t claim) const {
  return std::min((claim + int64_t{1}) * batch, 1 + (n - 1) / grain);
}

int WorkerPool::missing_helpers(uint32_t claims) const {
  const int asleep = parked_.load(std::memory_order_relaxed);
  if (asleep == 0) return 0;
  const int useful = static_cast<int>(std::min<uint32_t>(claims, threads_));
  return std::min(asleep, useful - (workers_ - asleep));
}

void WorkerPool::publish(const Job& job) {
  // Release and acquire on each field order it against the ticket; they cost nothing on x86.
  callable_.store(job.callable, std::memory_order_release);
  invoke_.store(job.invoke, std::memory_order_release);
  n_.store(job.n, std::memory_order_release);
  grain_.store(job.grain, std::memory_order_release);
  batch_.store(job.batch, std::memory_order_release);
  claims_.store(job.claims, std::memory_order_release);
  fp_.store(job.fp, std::memory_order_release);
  pending_.store(job.claims, std::memory_order_relaxed);
  // kStop is one region number that must not be used.
  if ((++region_ << kClaimBits) == kStop) region_ = 0;
  // The caller has the first claim already: it need not fight for the line it has just written.
  ticket_.store(region_ << kClaimBits | (job.claims - 1), std::memory_order_release);
}

WorkerPool::Job WorkerPool::read_job() const {
  Job job;
  job.callable = callable_.load(std::memory_order_acquire);
  job.invoke = invoke_.load(std::memory_order_acquire);
  job.n = n_.load(std::memory_order_acquire);
  job.grain = grain_.load(std::memory_order_acquire);
  job.batch = batch_.load(std::memory_order_acquire);
  job.claims = claims_.load(std::memory_order_acquire);
  job.fp = fp_.load(std::memory_order_acquire);
  return job;
}

void WorkerPool::run_claim(const Job& job, uint32_t claim) {
  const int64_t first = job.first_chunk(claim);
  // Claims go out in ascending order, so everything before a failed chunk has been claimed.
  if (failed_chunk_.load(std::memory_order_relaxed) < first) return;
  int64_t chunk = first;
  try {
    run_chunks(job.n, job.grain, first, job.end_chunk(claim), ChunkBody(job.callable, job.invoke),
               chunk);
  } catch (...) {
    record_failure(chunk);
  }
}

void WorkerPool::record_failure(int64_t chunk) {
  const std::lock_guard<std::mutex> lock(failure_mutex_);
  if (chunk >= failed_chunk_.load(std::memory_order_relaxed)) return;
  failed_chunk_.store(chunk, std::memory_order_relaxed);
  failure_ = std::current_exception();
}

bool WorkerPool::take_claim(const Job& job, uint32_t& claim, uint64_t ticket) {
  while ((ticket & kClaimMask) != 0) {
    if (ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
      claim = job.claims - static_cast<uint32_t>(ticket & kClaimMask);
      return true;
    }
  }
  return false;
}

void WorkerPool::help(uint64_t ticket) {
  const Job job = read_job();
  if (!ticket_.compare_exchange_strong(ticket, ticket - 1, std::memory_order_acq_rel)) return;
  // Until this thread reports its claims the region cannot end, so the job stays the one that was
  // read.
  uint32_t claim = job.claims - static_cast<uint32_t>(ticket & kClaimMask);
  set_fp_control(job.fp);
  uint32_t done = 0;
  do {
    run_claim(job, claim);
    ++done;
  } while (take_claim(job, claim, ticket_.load(std::memory_order_acquire)));
  // seq_cst pairs with wait_for_helpers: either the caller sees zero or this sees it asleep.
  if (pending_.fetch_sub(done, std::memory_order_seq_cst) == done &&
      caller_sleeps_.load(std::memory_order_seq_cst) != 0) {
    futex_wake(pending_, 1);
  }
}

void WorkerPool::wait_for_helpers() {
  for (int i = 0; i < 512; ++i) {
    if (pending_.load(std::memory_order_acquire) == 0) return;
    pause_cpu();
  }
  const Clock::time_point start = Clock::now();
  while (ns_since(start) < spin_ns_) {
    for (int i = 0; i < 16; ++i) {
      if (pending_.load(std::memory_order_acquire) == 0) return;
      pause_cpu();
    }
  }
  caller_sleeps_.store(1, std::memory_order_seq_cst);
  while (const uint32_t left = pending_.load(std::memory_order_seq_cst)) {
    ANNX_CHECK(!abandoned_, runtime, "parallel_for",
               "expected no fork inside of a parallel region but got one");
    futex_wait(pending_, left);
  }
  caller_sleeps_.store(0, std::memory_order_relaxed);
}

double WorkerPool::run(int64_t n, int64_t grain, int64_t chunks, ChunkBody body,
                       double expected_ns) {
  const int64_t batch = std::max<int64_t>(1, chunks / (kClaimsPerThread * threads_));
  const Job job{body.callable(), body.invoke(), n,
                grain,           batch,         static_cast<uint32_t>((chunks + batch - 1) / batch),
                fp_control()};
  const Clock::time_point start = Clock::now();
  publish(job);
  const double gap_ns = std::chrono::duration<double, std::nano>(start - last_end_).count();
  // After a long gap a worker would be asleep again by the next region.
  missed_ns_ = gap_ns >= kSpinNs ? 0 : std::max(0.0, missed_ns_ - gap_ns * kGapShare);
  if (missed_ns_ + expected_ns >= kWakeNs) wake_missing(job.claims - 1);

  uint32_t done = 0, claim = 0;
  int64_t elements = 0;
  bool more = true;
  while (more) {
    run_claim(job, claim);
    ++done;
    elements += (job.end_chunk(claim) - job.first_chunk(claim)) * grain;
    uint64_t ticket = ticket_.load(std::memory_order_relaxed);
    // More work than expected: get help for the rest, beyond the next claim of this thread.
    const uint32_t rest = ticket & kClaimMask;
    if (rest > 1 && expected_ns < kWakeNs && missing_helpers(rest - 1) > 0 &&
        ns_since(start) / done * rest >= kWakeNs) {
      wake_missing(rest - 1);
      expected_ns = kWakeNs;
    }
    more = take_claim(job, claim, ticket);
  }
  last_end_ = Clock::now();
  const double own_ns = std::chrono::duration<double, std::nano>(last_end_ - start).count();
  if (missing_helpers(job.claims - 1) > 0) missed_ns_ += own_ns;
  pending_.fetch_sub(done, std::memory_order_acq_rel);
  wait_for_helpers();

  if (failed_chunk_.load(std::memory_order_relaxed) != kNoFailure) {
    failed_chunk_.store(kNoFailure, std::memory_order_relaxed);
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
  return own_ns / static_cast<double>(elements);
}

void WorkerPool::wake_missing(uint32_t claims) {
  const int count = missing_helpers(claims);
  if (count <= 0) return;
  missed_ns_ = 0;
  caller_cpu_.store(current_cpu(), std::memory_order_relaxed);
  wake_word_.fetch_add(1, std::memory_order_seq_cst);
  futex_wake(wake_word_, std::min(count, kWakeFanOut));
}

void WorkerPool::work() {
  serial_depth = 1;
  Clock::time_point idle_since = Clock::now();
  for (unsigned polls = 1;; ++polls) {
    const uint64_t ticket = ticket_.load(std::memory_order_acquire);
    if (ticket == kStop) break;
    if ((ticket & kClaimMask) != 0) {
      help(ticket);
      idle_since = Clock::now();
      continue;
    }
    pause_cpu();
    if (polls % 16 == 0 && ns_since(idle_since) >= spin_ns_) {
      park();
      idle_since = Clock::now();
    }
  }
  drop();
}

void WorkerPool::park() {
  const uint32_t word = wake_word_.load(std::memory_order_seq_cst);
  parked_.fetch_add(1, std::memory_order_seq_cst);
  const uint64_t ticket = ticket_.load(std::memory_order_seq_cst);
  if ((ticket & kClaimMask) == 0 && ticket != kStop) futex_wait(wake_word_, word);
  parked_.fetch_sub(1, std::memory_order_relaxed);
  // Pass it on: one thread alone would take long to wake them all.
  const uint64_t left = ticket_.load(std::memory_order_relaxed) & kClaimMask;
  // Where a thread of another library spins on every other CPU, the kernel wakes a worker on the
  // caller's, and there they take turns for as long as that goes on.
  if (left > 0 && spin_ns_ > 0) leave_cpu(caller_cpu_.load(std::memory_order_relaxed));
  if (left > 1 && parked_.load(std::memory_order_relaxed) > 0) {
    futex_wake(wake_word_, kWakeFanOut);
  }
}

}  // namespace annx::detail
