#include "core/fork_mutex.h"

#include <pthread.h>

#include <new>

namespace annx {

namespace {

std::atomic<uint32_t> g_forks{0};

[[maybe_unused]] const int fork_handler =
    pthread_atfork(nullptr, nullptr, [] { g_forks.fetch_add(1, std::memory_order_release); });

}  // namespace

uint32_t forks() { return g_forks.load(std::memory_order_acquire); }

void ForkMutex::renew() {
  static std::mutex renewing;
  std::lock_guard<std::mutex> lock(renewing);
  if (forks_.load(std::memory_order_relaxed) == forks()) return;
  // The thread that held it is not in this process.
  new (&mutex_) std::mutex;
  forks_.store(forks(), std::memory_order_release);
}

}  // namespace annx
