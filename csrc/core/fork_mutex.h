// A mutex that a forked child finds free, whoever held it when the process forked: for locks that are
// held too long for a fork to wait for them.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace annx {

// How many forks lie between this process and the one that loaded the library.
uint32_t forks();

class ForkMutex {
 public:
  void lock() {
    if (forks_.load(std::memory_order_acquire) != forks()) renew();
    mutex_.lock();
  }
  void unlock() { mutex_.unlock(); }

 private:
  void renew();
  std::atomic<uint32_t> forks_{forks()};
  std::mutex mutex_;
};

}  // namespace annx
