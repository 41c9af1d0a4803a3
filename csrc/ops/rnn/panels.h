// A weight matrix in the panels that the GEMM kernels read, packed once per call.
#pragma once

#include <algorithm>

#include "gemm/kernels.h"
#include "gemm/scratch.h"
#include "ops/call.h"

namespace annx::rnn {

// Of each thread, for tiles and panels of one task.
inline Scratch& tile_scratch() {
  static thread_local Scratch scratch;
  return scratch;
}

template <class T>
class Panels {
 public:
  // B [k, n] of `parts` matrices, to be filled by pack. `width` comes from block_width.
  Panels(int64_t k, int64_t n, int64_t width, int parts = 1)
      : kernels_(gemm_kernels_of<T>()),
        k_(k),
        n_(n),
        width_(width),
        panel_(kernels_.blocking.vectors * kLanes),
        stride_(k * panel_ + kLanes),
        part_((n + panel_ - 1) / panel_ * stride_),
        buffer_(Tensor::empty({parts * part_}, DTypeOf<T>::value)) {}

  // Rows [first, first + k) of every part, one below the other in `w` (part p begins at
  // p part_stride): element (i, j) is w[i rs + j cs].
  void pack(int64_t first, int64_t k, const T* w, int64_t rs, int64_t cs, int64_t part_stride = 0) {
    const int parts = static_cast<int>(buffer_.numel() / part_);
    for (int p = 0; k > 0 && p < parts; ++p)
      kernels_.pack_b(k, n_, w + p * part_stride, rs, cs, panel_, stride_,
                      buffer_.data<T>() + p * part_ + first * panel_);
  }

  // Columns of a block, a tile wide, for products of `rows` rows of n columns.
  static int64_t block_width(int64_t rows, int64_t n) {
    const GemmBlocking& b = gemm_kernels_of<T>().blocking;
    const int64_t vectors = rows <= b.rows ? b.wide[std::max<int64_t>(rows, 1)] : b.vectors;
    return kLanes * std::clamp<int64_t>((n + kLanes - 1) / kLanes, 1, vectors);
  }

  int64_t depth() const { return k_; }
  int64_t width() const { return width_; }
  int64_t blocks() const { return (n_ + width_ - 1) / width_; }
  // The columns that block holds.
  int64_t columns(int64_t block) const { return std::min(width_, n_ - block * width_); }

  // c (+)= a B for rows [first, first + k) of B and the columns of one block; c is at its first
  // column. One chain over k. `padded`: c has room for whole blocks.
  void multiply(int part, int64_t block, int64_t rows, int64_t first, int64_t k, const T* a,
                int64_t a_rs, T* c, int64_t c_rs, bool from_zero, bool padded = false) const {
    if (rows == 0) return;
    // Panels end with whole vectors; those after the last do not exist.
    const int64_t columns = this->columns(block);
    GemmBlock<T> b = {};
    b.m = rows;
    b.n = padded ? (columns + kLanes - 1) / kLanes * kLanes : columns;
    b.a_rs = a_rs;
    b.a_cs = 1;
    b.b_rs = panel_;
    b.b_panel = stride_;
    b.vectors = static_cast<int>(width_ / kLanes);
    b.c = c;
    b.c_rs = c_rs;
    const T* panels =
        buffer_.data<T>() + part * part_ + block * width_ / panel_ * stride_ + first * panel_;
    // Pieces of a panel that stay in L1 while the rows pass by.
    const int64_t most =
        std::max<int64_t>(64, kPieceBytes / (width_ * static_cast<int64_t>(sizeof(T))));
    const int64_t pieces = std::max<int64_t>(1, (k + most - 1) / most);
    const int64_t step = (k + pieces - 1) / pieces;
    int64_t p = 0;
    do {
      b.k = std::min(step, k - p);
      b.a = a + p;
      b.b = panels + p * panel_;
      b.from_zero = from_zero && p == 0;
      kernels_.block(b);
      p += b.k;
    } while (p < k);
  }

 private:
  static constexpr int64_t kPieceBytes = 20480;
  static constexpr int64_t kLanes = 64 / static_cast<int64_t>(sizeof(T));

  const GemmKernelsOf<T>& kernels_;
  int64_t k_, n_, width_;
  int64_t panel_;  // columns of a panel
  // From panel to panel, a line more than a panel holds: those of a tile fall on different sets of L1.
  int64_t stride_;
  int64_t part_;  // elements of a part
  Tensor buffer_;
};

}  // namespace annx::rnn
