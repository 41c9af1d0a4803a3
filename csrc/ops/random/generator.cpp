#include "ops/random/generator.h"

#include <mutex>
#include <random>

#include "ops/call.h"

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
  const RandomState s = take_random_states(1);
  if (CallObserver* observer = call_observer()) observer->drew(s.seed, s.counter);
  return s;
}

RandomState take_random_states(uint64_t count) {
  std::lock_guard<std::mutex> lock(g_mutex);
  const RandomState s = state();
  state().counter += count;
  return s;
}

}  // namespace annx
