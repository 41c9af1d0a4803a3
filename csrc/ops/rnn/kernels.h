// What follows the matrix products of one time step: the gates' nonlinearities and the new state,
// in one pass over a tile that is still in cache; and the way back.
#pragma once

#include <cstdint>

#include "dispatch/kernels.h"

namespace annx {

// A tile of `rows` sequences and `units` hidden units. Every pointer is at its first element; rows
// of the gates are gates_rs apart, gates of a row `gate`, all other rows state_rs.
template <class T>
struct RnnTile {
  int64_t rows, units;
  int64_t gate, gates_rs, state_rs;
  // gru: r z n and the recurrent part of n; rnn: the output itself.
  T* gates;
  // lstm: i f g o tanh(c), which backward reads in this order, so they lie in it: for every vector of
  // units [rows of the step][5][units], the first row of the tile being `row`. Null: not kept.
  T* kept;
  int64_t row, step_rows;
  // Forward: the products that go into the gates; lstm overwrites them where nothing is
  // kept.
  T* sums;
  int64_t sum, sums_rs;  // between the gates of a row, and between rows
  const T* bias;         // as the gates of one row
  const T* previous;     // lstm: c of the step before, gru: h; null where that is zero
  int64_t previous_rows;
  T* state;   // lstm: c, as c before [units / vector][rows of its step][units]
  T* output;  // lstm, gru: h
  // Backward.
  const T* dy;  // gradient of the output from outside, or null
  T* dh;        // what later steps add to it; gru leaves the part that bypasses the gates here
  T* dstate;    // lstm: gradient of c, to that of the c before
  T* dgates;    // of the gates before their nonlinearity; gru: r z, recurrent n, n
  int64_t dgates_rs;
  T* again;      // lstm: h of this step once more, rows state_rs apart, or null
  T* bias_grad;  // column sums of dgates are added here
};

inline constexpr int kRnnKept = 5;  // values of a unit that an lstm keeps for backward

template <class T>
struct RnnTable {
  using Step = void (*)(const RnnTile<T>& tile);
  // Indexed by Cell (cell.h).
  Step forward[4];
  Step backward[4];
};

struct RnnKernels {
  RnnTable<float> f32;
  RnnTable<double> f64;
};
ANNX_DECLARE_KERNELS(RnnKernels, rnn_kernels)

}  // namespace annx
