#include "ops/random/generator.h"

#include <mutex>
#include <random>

namespace annx {

namespace {

std::mutex g_mutex;

// Unseeded programs start from entropy, as users expect.
RandomState& state() {
  static RandomState s{(uint64_t{std::random_device{}()} << 32) | std::random_device{}(), 0};
  return s;
}

}  // namespace

RandomState random_state() {
  std::lock_guard<std::mutex> lock(g_mutex);
  return state();
}

void set_random_state(RandomState s) {
  std::lock_guard<std::mutex> lock(g_mutex);
  state() = s;
}

RandomState next_random_state() {
  std::lock_guard<std::mutex> lock(g_mutex);
  RandomState s = state();
  ++state().counter;
  return s;
}

}  // namespace annx
