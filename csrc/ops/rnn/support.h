// What both passes share.
#pragma once

#include <algorithm>
#include <type_traits>

#include "ops/functional.h"
#include "ops/rnn/kernels.h"
#include "ops/rnn/sequence.h"

namespace annx::rnn {

template <class T>
const RnnTable<T>& table() {
  if constexpr (std::is_same_v<T, float>)
    return rnn_kernels().f32;
  else
    return rnn_kernels().f64;
}

// Of a vector: units that an lstm keeps together.
template <class T>
inline constexpr int64_t RnnLanes = 64 / static_cast<int64_t>(sizeof(T));

// c [batch, hidden] as kernels.h wants it.
template <class T>
Tensor by_blocks(const Tensor& c) {
  const int64_t batch = c.size(0), hidden = c.size(1);
  const Tensor out = Tensor::empty(c.shape(), c.dtype());
  T* to = out.data<T>();
  for (int64_t u = 0; u < hidden; u += RnnLanes<T>) {
    const int64_t n = std::min(RnnLanes<T>, hidden - u);
    for (int64_t r = 0; r < batch; ++r, to += n) std::copy_n(c.data<T>() + r * hidden + u, n, to);
  }
  return out;
}

// Input i in row-major memory, or an undefined tensor.
inline Tensor prepared(const OpCall& c, int i) {
  GradModeGuard no_grad(false);
  return c.has(i) ? ops::contiguous(c.in(i)) : Tensor();
}

inline Sizes Sizes::of(Cell cell, bool reverse, const Tensor& x, const Tensor& w_hh,
                       const Tensor& w_hr, const Tensor& batch_sizes) {
  const int64_t hidden = w_hh.size(0) / weight_gates(cell);
  const int64_t output = w_hr.defined() ? w_hr.size(0) : hidden;
  Timeline time = batch_sizes.defined() ? Timeline(batch_sizes, x.size(0), reverse)
                                        : Timeline(x.size(0), x.size(1), reverse);
  return {cell, x.size(-1), hidden, output, std::move(time)};
}

// The biases as the kernels add them: one row as wide as the gates of a row, zeros without biases.
template <class T>
Tensor joined_bias(const OpCall& c, const Sizes& s) {
  const Tensor ih = prepared(c, kBih), hh = prepared(c, kBhh);
  const int64_t n = s.gates() * s.hidden, H = s.hidden;
  const Tensor out = Tensor::empty({n}, DTypeOf<T>::value);
  for (int64_t j = 0; j < n; ++j) {
    // gru: the third gate is that of x alone, the fourth that of h.
    const bool apart = s.cell == Cell::gru && j >= 2 * H;
    T sum = 0;
    if (ih.defined() && !(apart && j >= 3 * H)) sum += ih.data<T>()[j];
    if (hh.defined() && !(apart && j < 3 * H)) sum += hh.data<T>()[apart ? j - H : j];
    out.data<T>()[j] = sum;
  }
  return out;
}

}  // namespace annx::rnn
