#include "core/readonly.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "core/error.h"

namespace annx {

namespace {

std::mutex g_mutex;
std::vector<uint64_t> g_readonly;
std::atomic<size_t> g_count{0};  // looked at first: mostly there are none

}  // namespace

void mark_readonly(uint64_t storage) {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_readonly.push_back(storage);
  g_count.store(g_readonly.size(), std::memory_order_relaxed);
}

void forget_readonly(uint64_t storage) {
  std::lock_guard<std::mutex> lock(g_mutex);
  std::erase(g_readonly, storage);
  g_count.store(g_readonly.size(), std::memory_order_relaxed);
}

bool is_readonly(const Tensor& t) {
  if (g_count.load(std::memory_order_relaxed) == 0 || !t.defined()) return false;
  std::lock_guard<std::mutex> lock(g_mutex);
  return std::find(g_readonly.begin(), g_readonly.end(), t.storage()->id()) != g_readonly.end();
}

void check_writable(const Tensor& t, const char* op) {
  ANNX_CHECK(!is_readonly(t), value, op,
             "expected memory that can be written but this tensor shares that of a read-only "
             "array: copy it with annx.tensor first");
}

}  // namespace annx
