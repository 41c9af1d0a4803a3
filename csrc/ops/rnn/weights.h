// Gradients of weights as products over the rows of a sequence: W' = dG^T A for every A that was
// multiplied by a weight, in one pass over dG. One chain over the rows, in the order they come.
#pragma once

#include <algorithm>
#include <vector>

#include "core/thread_pool.h"
#include "gemm/scratch.h"
#include "ops/rnn/panels.h"

namespace annx::rnn {

// Where dG^T A goes.
template <class T>
struct WeightGradient {
  int64_t width;  // columns of A
  T* out;         // [gates hidden, width]
  int gate[4];    // which block of `out` each gate of dG belongs to, -1: none
};

// The products are computed transposed, [width, hidden] per gate: then dG, by far the larger
// operand, is copied in whole vectors, and the narrow A is the one to be packed by columns.
template <class T>
class WeightGradients {
 public:
  // Rows of dG are dg_rs apart.
  WeightGradients(int gates, int64_t hidden, int64_t dg_rs, std::vector<WeightGradient<T>> list)
      : kernels_(gemm_kernels_of<T>()),
        gates_(gates),
        hidden_(hidden),
        dg_rs_(dg_rs),
        panel_(kernels_.blocking.vectors * kLanes),
        padded_((hidden + panel_ - 1) / panel_ * panel_),
        list_(std::move(list)),
        started_(list_.size(), false) {
    int64_t taken = kTaskWidth, sums = 0;
    for (size_t o = 0; o < list_.size(); ++o) {
      const int64_t width = list_[o].width, parts = (width + kTaskWidth - 1) / kTaskWidth;
      for (int64_t p = 0; p < parts; ++p) {
        const int64_t first = p * width / parts, m = (p + 1) * width / parts - first;
        if (taken + m > kTaskWidth) groups_.push_back({slices_.size(), 0}), taken = 0;
        taken += m;
        slices_.push_back({o, first, m, sums});
        groups_.back().end = slices_.size();
        sums += m * gates_ * padded_;
      }
    }
    sums_ = Tensor::empty({sums}, DTypeOf<T>::value);
  }

  // Rows of dG and of every A; without a pointer A is zeros.
  void add(const T* dg, int64_t rows, const std::vector<const T*>& a) {
    for (int64_t row = 0; row < rows; row += kRows) {
      const int64_t n = std::min(kRows, rows - row);
      std::vector<const T*> from = a;
      for (size_t o = 0; o < from.size(); ++o)
        if (from[o] != nullptr) from[o] += row * list_[o].width;
      add_chunk(dg + row * dg_rs_, n, from);
    }
  }

  void finish() {
    parallel_for(count(slices_) * gates_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Slice& s = slices_[at(i / gates_)];
        const WeightGradient<T>& w = list_[s.operand];
        const int64_t g = i % gates_;
        if (w.gate[g] < 0) continue;
        T* from = sums(s, g);
        if (!started_[s.operand]) std::fill_n(from, s.m * padded_, T{0});
        kernels_.transpose(s.m, hidden_, from, padded_,
                           w.out + w.gate[g] * hidden_ * w.width + s.first, w.width);
      }
    });
  }

 private:
  static constexpr int64_t kRows = 256;        // of a chunk: a panel of dG stays in L1
  static constexpr int64_t kColumns = 128;     // of dG per task
  static constexpr int64_t kTaskWidth = 1024;  // columns of the operands per task
  static constexpr int64_t kLanes = 64 / static_cast<int64_t>(sizeof(T));

  // Columns of an operand.
  struct Slice {
    size_t operand;
    int64_t first, m, sums;
  };
  struct Group {
    size_t begin, end;  // of slices
  };
  static size_t at(int64_t i) { return static_cast<size_t>(i); }
  template <class List>
  static int64_t count(const List& list) {
    return static_cast<int64_t>(list.size());
  }
  T* sums(const Slice& s, int64_t gate) const {
    return sums_.data<T>() + s.sums + gate * s.m * padded_;
  }

  void add_chunk(const T* dg, int64_t rows, const std::vector<const T*>& a) {
    // pack_a may write one vector beyond.
    std::vector<int64_t> packed;
    int64_t size = 0;
    for (const Slice& s : slices_) {
      packed.push_back(size);
      size += (rows * s.m + 2 * kLanes - 1) / kLanes * kLanes;
    }
    T* space = static_cast<T*>(packed_.reserve(at(size) * sizeof(T)));
    parallel_for(count(slices_), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Slice& s = slices_[at(i)];
        if (a[s.operand] != nullptr)
          kernels_.pack_a(s.m, rows, a[s.operand] + s.first, 1, list_[s.operand].width,
                          space + packed[at(i)]);
      }
    });
    const int64_t blocks = (hidden_ + kColumns - 1) / kColumns;
    parallel_for(count(groups_) * gates_ * blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Group& group = groups_[at(i / (gates_ * blocks))];
        const int64_t gate = i / blocks % gates_, column = i % blocks * kColumns;
        const int64_t n = std::min(kColumns, hidden_ - column);
        GemmBlock<T> block = {};
        block.n = (n + panel_ - 1) / panel_ * panel_, block.k = rows;
        // Panels a line more apart than they are long, so that their rows fall on different sets of L1.
        const int64_t stride = rows * panel_ + kLanes;
        T* b = static_cast<T*>(tile_scratch().reserve(at(block.n / panel_ * stride) * sizeof(T)));
        kernels_.pack_b(rows, n, dg + gate * hidden_ + column, dg_rs_, 1, panel_, stride, b);
        block.a_packed = true;
        block.b = b, block.b_rs = panel_, block.b_panel = stride;
        block.vectors = static_cast<int>(panel_ / kLanes);
        block.c_rs = padded_;
        for (size_t j = group.begin; j < group.end; ++j) {
          const Slice& s = slices_[j];
          if (list_[s.operand].gate[gate] < 0 || a[s.operand] == nullptr) continue;
          block.m = s.m;
          block.a = space + packed[j];
          block.c = sums(s, gate) + column;
          block.from_zero = !started_[s.operand];
          kernels_.block(block);
        }
      }
    });
    for (size_t o = 0; o < a.size(); ++o) started_[o] = started_[o] || a[o] != nullptr;
  }

  const GemmKernelsOf<T>& kernels_;
  const int64_t gates_, hidden_, dg_rs_, panel_, padded_;
  const std::vector<WeightGradient<T>> list_;
  std::vector<bool> started_;  // whether there are sums of a weight yet
  std::vector<Slice> slices_;
  std::vector<Group> groups_;
  Tensor sums_;
  Scratch packed_;
};

}  // namespace annx::rnn
