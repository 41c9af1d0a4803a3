// A weight matrix in the panels that the GEMM kernels read, packed once per call.
#pragma once

#include <type_traits>

#include "gemm/kernels.h"
#include "gemm/scratch.h"
#include "ops/call.h"

namespace annx::rnn {

template <class T>
const GemmKernelsOf<T>& gemm_table() {
  if constexpr (std::is_same_v<T, float>)
    return gemm_kernels().f32;
  else
    return gemm_kernels().f64;
}

// Of each thread, for tiles and panels of one task.
inline Scratch& tile_scratch() {
  static thread_local Scratch scratch;
  return scratch;
}

template <class T>
class Panels {
 public:
  // B [k, n] of `parts` matrices, one below the other in `w` (part p begins at p part_stride):
  // element (i, j) is w[i rs + j cs]. `width` comes from panel_width.
  Panels(const T* w, int64_t k, int64_t n, int64_t rs, int64_t cs, int64_t width, int parts = 1,
         int64_t part_stride = 0)
      : kernels_(gemm_table<T>()), k_(k), n_(n), width_(width), blocks_((n + width - 1) / width) {
    buffer_ = Tensor::empty({parts * blocks_ * width * k}, DTypeOf<T>::value);
    for (int p = 0; p < parts; ++p)
      kernels_.pack_b(k, n, w + p * part_stride, rs, cs, width, k * width, panel(p, 0));
  }

  // Columns of a block for products of `rows` rows of n columns.
  static int64_t panel_width(int64_t rows, int64_t n) {
    constexpr int64_t lanes = 64 / static_cast<int64_t>(sizeof(T));
    const GemmBlocking& b = gemm_table<T>().blocking;
    const int64_t vectors = rows <= b.rows ? b.wide[std::max<int64_t>(rows, 1)] : b.vectors;
    return lanes * std::clamp<int64_t>((n + lanes - 1) / lanes, 1, vectors);
  }

  int64_t width() const { return width_; }
  int64_t blocks() const { return blocks_; }
  // The columns that block holds.
  int64_t columns(int64_t block) const { return std::min(width_, n_ - block * width_); }

  // c (+)= a B for the columns of one block; c is at its first column. One chain over k. `padded`: c
  // has room for whole blocks.
  void multiply(int part, int64_t block, int64_t rows, const T* a, int64_t a_rs, T* c, int64_t c_rs,
                bool from_zero, bool padded = false) const {
    if (rows == 0) return;
    GemmBlock<T> b = {};
    b.m = rows;
    b.n = padded ? width_ : columns(block);
    b.a_rs = a_rs;
    b.a_cs = 1;
    b.b_rs = width_;
    b.vectors = static_cast<int>(width_ * static_cast<int64_t>(sizeof(T)) / 64);
    b.c = c;
    b.c_rs = c_rs;
    // Pieces of a panel that stay in L1 while the rows pass by.
    const int64_t step = std::max<int64_t>(64, kPanelBytes / (width_ * sizeof(T)));
    int64_t p = 0;
    do {
      b.k = std::min(step, k_ - p);
      b.a = a + p;
      b.b = panel(part, block) + p * width_;
      b.b_panel = b.k * width_;
      b.from_zero = from_zero && p == 0;
      kernels_.block(b);
      p += b.k;
    } while (p < k_);
  }

 private:
  static constexpr int64_t kPanelBytes = 16384;
  T* panel(int part, int64_t block) const {
    return buffer_.data<T>() + (part * blocks_ + block) * width_ * k_;
  }

  const GemmKernelsOf<T>& kernels_;
  int64_t k_, n_, width_, blocks_;
  Tensor buffer_;
};

}  // namespace annx::rnn
