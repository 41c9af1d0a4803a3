#include "ops/random/generator.h"

#include <mutex>
#include <random>
#include <vector>

#include "ops/call.h"

namespace annx {

namespace {

// Streams that Python generators have put before the default one, in this thread.
thread_local std::vector<RandomState> t_streams;

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

void push_random_stream(RandomState s) { t_streams.push_back(s); }

RandomState pop_random_stream() {
  ANNX_CHECK(!t_streams.empty(), runtime, "random", "expected a stream to end but got none");
  const RandomState s = t_streams.back();
  t_streams.pop_back();
  return s;
}

RandomState next_random_state() {
  if (!t_streams.empty()) {
    const RandomState s = t_streams.back();
    ++t_streams.back().counter;
    if (CallObserver* observer = call_observer()) observer->depends_on_values("Generator");
    return s;
  }
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
