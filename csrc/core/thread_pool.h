// A persistent pool of threads for kernels; the calling thread takes part.
//
// The partition is fixed by (n, grain), never by the number of threads: chunk i is exactly
// [i * grain, min(n, (i + 1) * grain)). Threads claim chunks in ascending order as they become
// free. So results depend on the partition alone.
#pragma once

#include <cstdint>

#include "core/function_ref.h"

namespace annx {

inline constexpr int kMaxThreads = 256;

// Threads that a parallel region may use, the caller included. At first
// min(affinity mask, cgroup quota, ANNX_NUM_THREADS); set_num_threads may exceed that, up to
// kMaxThreads. Both throw annx::Error (value) for a number they cannot take.
int num_threads();
void set_num_threads(int64_t threads);

// Reads ANNX_NUM_THREADS; called at module import so that a bad value is an error there.
void init_threads_from_env();

// True inside a chunk that runs in the pool, and while a SerialGuard is alive on this thread.
bool in_serial_region();

// Makes every parallel_for of this thread run serially while it is alive (nested workers).
class SerialGuard {
 public:
  SerialGuard();
  ~SerialGuard();
  SerialGuard(const SerialGuard&) = delete;
  SerialGuard& operator=(const SerialGuard&) = delete;
};

namespace detail {
void parallel_for_chunks(int64_t n, int64_t grain, FunctionRef<void(int64_t, int64_t)> body);
}

// Calls body(begin, end) for every chunk, on any thread and in any order, and returns when all are
// done. One chunk runs as a plain call. Nested calls, and calls while another thread uses the pool,
// run the same chunks serially. When chunks throw, the exception of the first of them (by index)
// reaches the caller; chunks after it may not have run. grain must be at least 1.
template <class Body>
inline void parallel_for(int64_t n, int64_t grain, Body&& body) {
  if (n <= grain) {
    if (n > 0) body(int64_t{0}, n);
    return;
  }
  detail::parallel_for_chunks(n, grain, body);
}

}  // namespace annx
