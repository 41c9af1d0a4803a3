// Weights as the microkernel reads them: panels of output channels, row (channel, tap) of which holds
// the weights of one input channel and tap. Made anew in every call; a function of weights and shape.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "core/thread_pool.h"
#include "gemm/kernels.h"
#include "gemm/scratch.h"
#include "ops/conv/geometry.h"

namespace annx::conv {

template <class T>
constexpr int64_t kLanes = 64 / static_cast<int64_t>(sizeof(T));

// The panels that cover `cols` columns.
template <class T>
struct Panels {
  int64_t cols;
  int vectors;  // of all but the last

  explicit Panels(int64_t cols)
      : cols(cols),
        vectors(static_cast<int>(std::min<int64_t>(kernels<T>().vectors, whole(cols)))) {}
  static int64_t whole(int64_t cols) { return (cols + kLanes<T> - 1) / kLanes<T>; }
  int64_t width() const { return vectors * kLanes<T>; }
  int64_t count() const { return (cols + width() - 1) / width(); }
  int64_t padded() const { return whole(cols) * kLanes<T>; }
  int64_t cols_of(int64_t q) const { return std::min(width(), cols - q * width()); }
  int vectors_of(int64_t q) const { return static_cast<int>(whole(cols_of(q))); }
};

template <class T>
class PackedWeights {
 public:
  // The rows of `taps` (indices into all taps) for every source channel.
  PackedWeights(const Correlation& c, const T* w, const std::vector<int64_t>& taps)
      : panels_(c.produce), rows_(c.reduce * static_cast<int64_t>(taps.size())) {
    data_ = static_cast<T*>(scratch_.reserve(
        checked_bytes(std::max<int64_t>(1, c.groups * rows_ * panels_.padded()), sizeof(T))));
    const int64_t count = panels_.count();
    parallel_for(c.groups * count, 1 + (1 << 15) / (1 + rows_ * panels_.width()),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) {
                     if (c.transposed)
                       pack_transposed(c, w, taps, i / count, i % count);
                     else
                       pack(c, w, i / count, i % count);
                   }
                 });
  }

  const Panels<T>& panels() const { return panels_; }
  int64_t rows() const { return rows_; }
  const T* panel(int64_t group, int64_t q) const { return at(group, q); }

 private:
  T* at(int64_t group, int64_t q) const {
    return data_ + rows_ * (group * panels_.padded() + q * panels_.width());
  }

  void pack(const Correlation& c, const T* w, int64_t group, int64_t q) {
    const int64_t first = group * c.produce + q * panels_.width();
    const int64_t width = panels_.vectors_of(q) * kLanes<T>;
    gemm_kernels_of<T>().pack_b(rows_, panels_.cols_of(q), w + first * rows_, 1, rows_, width,
                                rows_ * width, at(group, q));
  }

  void pack_transposed(const Correlation& c, const T* w, const std::vector<int64_t>& taps,
                       int64_t group, int64_t q) {
    const int64_t all = c.taps();
    const int64_t width = panels_.vectors_of(q) * kLanes<T>, cols = panels_.cols_of(q);
    const auto some = static_cast<int64_t>(taps.size());
    T* out = at(group, q);
    std::vector<T> rows(static_cast<size_t>(all * width), T(0));
    for (int64_t k = 0; k < c.reduce; ++k) {
      const T* from = w + ((group * c.reduce + k) * c.produce + q * panels_.width()) * all;
      gemm_kernels_of<T>().transpose(cols, all, from, all, rows.data(), width);
      for (int64_t t = 0; t < some; ++t, out += width)
        std::memcpy(out, rows.data() + taps[static_cast<size_t>(t)] * width,
                    static_cast<size_t>(width) * sizeof(T));
    }
  }

  Scratch scratch_;
  Panels<T> panels_;
  int64_t rows_;
  T* data_;
};

// Weights as the way to a correlation reads them, made ahead for many calls on one target.
template <class T>
struct ReadyWeights {
  Target target = active_target();
  std::vector<std::unique_ptr<PackedWeights<T>>> phases;  // of the general way
  Scratch planes;                                         // of Winograd's
  const T* u = nullptr;
  std::vector<PackedMatrix<T>> groups;  // of 1x1
};

}  // namespace annx::conv
