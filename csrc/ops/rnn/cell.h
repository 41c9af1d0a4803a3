// The kinds of recurrent cells, and how time runs through one call.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace annx::rnn {

enum class Cell : int { lstm, gru, tanh, relu };

// Row blocks of the weights: one per gate.
constexpr int weight_gates(Cell cell) { return cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1; }
// Columns that a row of gates keeps: gru holds the recurrent part of n apart.
constexpr int buffer_gates(Cell cell) { return cell == Cell::gru ? 4 : weight_gates(cell); }

// Rows of a sequence call lie step by step: step t has size(t) of them, from offset(t) on. Sizes
// never grow, so that row r of a step belongs to sequence r. Steps are processed in the order
// time(0), time(1), …
class Timeline {
 public:
  // All steps of the same size.
  Timeline(int64_t steps, int64_t batch, bool reverse)
      : steps_(steps), batch_(batch), rows_(steps * batch), reverse_(reverse) {}
  // A packed batch: `sizes` is a checked list of sizes (int64).
  Timeline(const Tensor& sizes, int64_t rows, bool reverse)
      : steps_(sizes.numel()), rows_(rows), reverse_(reverse) {
    const int64_t* size = sizes.data<int64_t>();
    batch_ = steps_ > 0 ? size[0] : 0;
    if (steps_ > 0 && size[steps_ - 1] == batch_) return;
    int64_t offset = 0;
    for (int64_t t = 0; t < steps_; ++t) {
      sizes_.push_back(size[t]);
      offsets_.push_back(offset);
      offset += size[t];
    }
  }

  int64_t steps() const { return steps_; }
  int64_t batch() const { return batch_; }
  int64_t rows() const { return rows_; }
  bool reverse() const { return reverse_; }
  bool even() const { return sizes_.empty(); }

  int64_t time(int64_t k) const { return reverse_ ? steps_ - 1 - k : k; }
  // Of the k-th step that is processed.
  int64_t size(int64_t k) const { return even() ? batch_ : sizes_[at(time(k))]; }
  int64_t offset(int64_t k) const { return even() ? time(k) * batch_ : offsets_[at(time(k))]; }
  // Rows of the k-th step that have one before it, the others start there; and rows that have one
  // after it, the others end.
  int64_t continued(int64_t k) const { return k == 0 ? 0 : std::min(size(k), size(k - 1)); }
  int64_t continuing(int64_t k) const {
    return k + 1 == steps_ ? 0 : std::min(size(k), size(k + 1));
  }

 private:
  static size_t at(int64_t t) { return static_cast<size_t>(t); }
  int64_t steps_ = 0, batch_ = 0, rows_ = 0;
  bool reverse_ = false;
  std::vector<int64_t> sizes_, offsets_;
};

}  // namespace annx::rnn
