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

// What is read or written after a product, and so asked for while it runs: as much as has room here.
struct Wanted {
  GemmRun runs[8];
  int count = 0;
  template <class T>
  void add(const T* at, int64_t n) {
    if (n > 0 && count < 8) runs[count++] = {at, n * static_cast<int64_t>(sizeof(T))};
  }
  // One of `parts` parts of it.
  template <class T>
  void add_part(const T* at, int64_t n, int64_t part, int64_t parts) {
    add(at + n / parts * part, n / parts);
  }
};

template <class T>
class Panels {
 public:
  // B [k, n] of `parts` matrices, to be filled by pack. `width` comes from block_width. The panels of a
  // block lie part after part, so that one product takes the same block of several parts.
  Panels(int64_t k, int64_t n, int64_t width, int parts = 1)
      : kernels_(gemm_kernels_of<T>()),
        k_(k),
        n_(n),
        width_(width),
        panel_(kernels_.blocking.vectors * kLanes),
        stride_(k * panel_ + kLanes),
        part_((width + panel_ - 1) / panel_ * stride_),
        parts_(parts),
        buffer_(Tensor::empty({blocks() * parts * part_}, DTypeOf<T>::value)) {}

  // Rows [first, first + k) of every part, one below the other in `w` (part p begins at
  // p part_stride): element (i, j) is w[i rs + j cs].
  void pack(int64_t first, int64_t k, const T* w, int64_t rs, int64_t cs, int64_t part_stride = 0) {
    if (k == 0) return;
    // Blocks of a single part are one run of panels.
    const int64_t step = parts_ == 1 ? n_ : width_;
    for (int64_t j = 0; j < n_; j += step) {
      for (int p = 0; p < parts_; ++p)
        kernels_.pack_b(k, std::min(step, n_ - j), w + p * part_stride + j * cs, rs, cs, panel_,
                        stride_, at(p, j / width_) + first * panel_);
    }
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
                int64_t a_rs, T* c, int64_t c_rs, bool from_zero, bool padded = false,
                const Wanted& next = {}) const {
    const int64_t columns = this->columns(block);
    // Panels end with whole vectors; those after the last do not exist.
    const int64_t n = padded ? (columns + kLanes - 1) / kLanes * kLanes : columns;
    product(part, block, rows, n, first, k, a, a_rs, c, c_rs, from_zero, next);
  }
  // The same for parts [part, end), each in a column of width() of c, which has room for all of them.
  void multiply_parts(int part, int end, int64_t block, int64_t rows, int64_t first, int64_t k,
                      const T* a, int64_t a_rs, T* c, int64_t c_rs, bool from_zero,
                      const Wanted& next = {}) const {
    if (width_ % panel_ == 0 && n_ - block * width_ > width_ - panel_) {
      product(part, block, rows, (end - part) * width_, first, k, a, a_rs, c, c_rs, from_zero,
              next);
      return;
    }
    for (; part < end; ++part, c += width_)
      multiply(part, block, rows, first, k, a, a_rs, c, c_rs, from_zero, true);
  }

 private:
  static constexpr int64_t kPieceBytes = 32768, kWidePieceBytes = 20480;
  static constexpr int64_t kLanes = 64 / static_cast<int64_t>(sizeof(T));

  T* at(int part, int64_t block) const {
    return buffer_.data<T>() + (block * parts_ + part) * part_;
  }

  void product(int part, int64_t block, int64_t rows, int64_t n, int64_t first, int64_t k,
               const T* a, int64_t a_rs, T* c, int64_t c_rs, bool from_zero,
               const Wanted& next) const {
    if (rows == 0) return;
    GemmBlock<T> b = {};
    b.m = rows;
    b.n = n;
    b.a_rs = a_rs;
    b.a_cs = 1;
    b.b_rs = panel_;
    b.b_panel = stride_;
    b.vectors = static_cast<int>(width_ / kLanes);
    b.c = c;
    b.c_rs = c_rs;
    b.at_hand = true;
    const T* panels = at(part, block) + first * panel_;
    // Pieces of a panel that fit into L1, as few as they can be: a tile costs the same for each. Wider
    // tiles take as long for a shorter piece, and lose more where L1 does not hold A beside it.
    const int64_t bytes = width_ > kLanes ? kWidePieceBytes : kPieceBytes;
    const int64_t most = std::max<int64_t>(64, bytes / (width_ * static_cast<int64_t>(sizeof(T))));
    const int64_t pieces = std::max<int64_t>(1, (k + most - 1) / most);
    const int64_t step = (k + pieces - 1) / pieces;
    GemmFetch fetch = {next.runs, next.runs + next.count, 0, 0};
    fetch.near = true;
    const int64_t tiles = pieces * ((rows + kernels_.blocking.rows - 1) / kernels_.blocking.rows) *
                          ((n + width_ - 1) / width_);
    for (const GemmRun* run = fetch.run; run != fetch.end; ++run) fetch.step += run->bytes;
    // Each run may leave a part of a tile's share over.
    fetch.step /= std::max<int64_t>(tiles - next.count, 1);
    b.next = next.count > 0 ? &fetch : nullptr;
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

  const GemmKernelsOf<T>& kernels_;
  int64_t k_, n_, width_;
  int64_t panel_;  // columns of a panel
  // From panel to panel, a line more than a panel holds: those of a tile fall on different sets of L1.
  int64_t stride_;
  int64_t part_;  // elements of a block of one part
  int parts_;
  Tensor buffer_;
};

}  // namespace annx::rnn
