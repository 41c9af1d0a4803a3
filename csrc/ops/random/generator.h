// The default random stream: Philox keyed by seed, one counter value per random op.
#pragma once

#include <cstdint>

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

// A state as attributes of an op: its result is a function of these and the element's position.
inline Attr random_key(RandomState s) {
  return Attr(Ints{static_cast<int64_t>(s.seed), static_cast<int64_t>(s.counter)});
}
inline RandomState random_state_of(const Attr& key) {
  return {static_cast<uint64_t>(key.ints()[0]), static_cast<uint64_t>(key.ints()[1])};
}

}  // namespace annx
