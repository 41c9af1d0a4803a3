// The default random stream: Philox keyed by seed, one counter value per random op.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/registry.h"

namespace annx {

struct RandomState {
  uint64_t seed = 0;
  uint64_t counter = 0;
};

RandomState random_state();
void set_random_state(RandomState state);
// The state for one random op; the next op gets the next counter.
RandomState next_random_state();
// The states of count random ops in a row: the first one's.
RandomState take_random_states(uint64_t count);
// Between the two, random ops of this thread draw from the stream s; pop says how far it was read.
void push_random_stream(RandomState s);
RandomState pop_random_stream();

// While it lives, random ops of this thread note the states they draw; or they draw noted states
// once more, and the default stream stays where it is.
class RandomNotes {
 public:
  enum class Mode { take, repeat };
  RandomNotes(std::vector<RandomState>& states, Mode mode);
  ~RandomNotes();
  RandomNotes(const RandomNotes&) = delete;

 private:
  friend RandomState next_random_state();
  friend RandomState take_random_states(uint64_t count);
  friend void set_random_state(RandomState state);
  static RandomNotes* source();  // what this thread draws from again, or null
  RandomState repeated(uint64_t count);

  std::vector<RandomState>& states_;
  Mode mode_;
  size_t at_ = 0;
  RandomNotes* outer_;
};

// A state as attributes of an op: its result is a function of these and the element's position.
inline Attr random_key(RandomState s) {
  return Attr(Ints{static_cast<int64_t>(s.seed), static_cast<int64_t>(s.counter)});
}
inline RandomState random_state_of(const Attr& key) {
  return {static_cast<uint64_t>(key.ints()[0]), static_cast<uint64_t>(key.ints()[1])};
}

}  // namespace annx
