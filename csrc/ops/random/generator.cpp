#include "ops/random/generator.h"

#include <mutex>
#include <random>
#include <utility>
#include <vector>

#include "core/fork_mutex.h"
#include "ops/call.h"

namespace annx {

namespace {

// Streams that Python generators have put before the default one, in this thread.
thread_local std::vector<RandomState> t_streams;
thread_local RandomNotes* t_notes = nullptr;  // the innermost

ForkMutex g_mutex;

// Unseeded programs start from entropy, as users expect.
RandomState& state() {
  static RandomState s{(uint64_t{std::random_device{}()} << 32) | std::random_device{}(), 0};
  return s;
}

}  // namespace

RandomState random_state() {
  std::lock_guard<ForkMutex> lock(g_mutex);
  return state();
}

void set_random_state(RandomState s) {
  if (RandomNotes::source()) return;
  std::lock_guard<ForkMutex> lock(g_mutex);
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
  CallObserver* const observer = call_observer();
  if (!t_streams.empty()) {
    const RandomState s = t_streams.back();
    ++t_streams.back().counter;
    if (observer) observer->drew_apart();
    return s;
  }
  const bool again = RandomNotes::source() != nullptr;
  const RandomState s = take_random_states(1);
  // A state drawn again is known to the observer by its counter.
  if (observer && !again) observer->drew(s.seed, s.counter);
  return s;
}

RandomState take_random_states(uint64_t count) {
  RandomNotes* const source = RandomNotes::source();
  RandomState s;
  if (source) {
    s = source->repeated(count);
  } else {
    std::lock_guard<ForkMutex> lock(g_mutex);
    s = state();
    state().counter += count;
  }
  for (RandomNotes* n = t_notes; n != source; n = n->outer_)
    for (uint64_t k = 0; k < count; ++k) n->states_.push_back({s.seed, s.counter + k});
  return s;
}

RandomNotes::RandomNotes(std::vector<RandomState>& states, Mode mode)
    : states_(states), mode_(mode), outer_(std::exchange(t_notes, this)) {}
RandomNotes::~RandomNotes() { t_notes = outer_; }

RandomNotes* RandomNotes::source() {
  RandomNotes* n = t_notes;
  while (n && n->mode_ == Mode::take) n = n->outer_;
  return n;
}

// Past the last one, which only happens while the first run is still under way, any will do.
RandomState RandomNotes::repeated(uint64_t count) {
  const size_t at = std::exchange(at_, at_ + static_cast<size_t>(count));
  if (at < states_.size()) return states_[at];
  RandomState s = states_.empty() ? random_state() : states_.back();
  s.counter += at - states_.size() + 1;
  return s;
}

}  // namespace annx
