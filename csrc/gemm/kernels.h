// What gemm.cpp needs from each SIMD target; the kernels are in cpu-inl.h.
#pragma once

#include <cstdint>

#include "dispatch/kernels.h"
#include "gemm/blocking.h"
#include "gemm/gemm.h"

namespace annx {

// Memory that is wanted after a product: rows of `bytes` bytes, `stride` bytes apart. Every tile asks for
// `step` bytes of one run; where step is 0, and of runs of several rows, for as much as it has time for.
struct GemmRun {
  const void* at;
  int64_t bytes;
  int64_t rows = 1, stride = 0;
};
struct GemmFetch {
  const GemmRun *run, *end;
  int64_t step;
  int64_t done;       // bytes of the first run's rows
  int64_t row = 0;    // rows of which the next bytes are asked for
  bool near = false;  // into L1: it is used before other memory comes
};

// C [m, n] (+)= A [m, k] B [k, n], all of it in cache.
// B comes in panels of `blocking.vectors` vectors: column j of panel q at row p is b[q b_panel + p b_rs + j]. In
// place, a panel is simply the next columns. Columns beyond the last whole panel are the last `rest`
// ones of `b_tail` (k rows of one vector, b_tail_rs apart), so that nothing beyond B is touched; it is
// null when the last panel is padded.
template <class T>
struct GemmBlock {
  int64_t m, n, k;
  const T* a;
  int64_t a_rs, a_cs;
  bool a_packed;  // by pack_a: a_rs and a_cs are not used
  bool a_far;     // nothing has read A yet: the first columns fetch its next rows
  const T* b;
  int64_t b_rs, b_panel;
  int vectors;  // of a tile
  const T* b_tail;
  int64_t b_tail_rs;
  bool tail_overlaps;  // b_tail begins with columns of the panel before
  bool tail_in_place;  // b_tail has n columns and no more: at least blocking.narrow bytes of them
  T* c;
  int64_t c_rs;
  bool from_zero;  // start the chains from 0, not from C
  // What follows the chains, while a tile is in registers: adds bias [n], if not null, then max with 0, then
  // the sum or product with `other`.
  const T* bias;
  bool relu;
  GemmOther<T> other;
  bool at_hand;     // A and C are in L1 or L2: neither is fetched ahead
  GemmFetch* next;  // what the tiles ask for, or null
};

// C [m, n] (+)= A [m, k] B [k, n] for few rows: m is at most kThinRows, or kThinColumns where b_rs is 1.
// One of b_rs and b_cs is 1, k is not 0. C stays in L1 or L2, B may come from memory.
inline constexpr int kThinRows = 4;
inline constexpr int kThinColumns = 2;
template <class T>
struct GemmThin {
  int64_t m, n, k;
  const T* a;
  int64_t a_rs, a_cs;
  const T* b;
  int64_t b_rs, b_cs;
  T* c;
  int64_t c_rs;
  bool from_zero;
};

// c = activation(alpha c + bias), then the sum or product with `other`
template <class T>
struct GemmEpilogue {
  int64_t rows, cols;
  T* c;
  int64_t c_rs;
  T alpha;
  const T* bias;  // or null
  Activation activation;
  GemmOther<T> other = {};
};

// out = grad activation'(saved); saved is the activation's output for relu, sigmoid and tanh, else its
// input. sums, if not null, gets the sums over the rows of out. All three may be the same memory.
template <class T>
struct GemmGradientBlock {
  int64_t rows, cols;
  const T* grad;
  int64_t grad_rs;
  const T* saved;
  int64_t saved_rs;
  T* out;  // or null, when only sums are wanted
  int64_t out_rs;
  T* sums;
  Activation activation;
};

template <class T>
struct GemmKernelsOf {
  GemmBlocking blocking;
  void (*block)(const GemmBlock<T>& block);
  void (*thin)(const GemmThin<T>& product);
  // A, with one stride of 1, into row panels as `block` takes them: m k elements, and room for a
  // vector more.
  void (*pack_a)(int64_t m, int64_t k, const T* a, int64_t a_rs, int64_t a_cs, T* out);
  // Panels of `width` columns, which is one vector or blocking.vectors: out[q panel + p width + j]. The
  // last panel is filled up with zeros.
  void (*pack_b)(int64_t k, int64_t n, const T* b, int64_t b_rs, int64_t b_cs, int64_t width,
                 int64_t panel, T* out);
  // out[j out_rs + i] = x[i x_rs + j]
  void (*transpose)(int64_t rows, int64_t cols, const T* x, int64_t x_rs, T* out, int64_t out_rs);
  void (*epilogue)(const GemmEpilogue<T>& epilogue);
  void (*gradient)(const GemmGradientBlock<T>& gradient);
};

struct GemmKernels {
  GemmKernelsOf<float> f32;
  GemmKernelsOf<double> f64;
};

ANNX_DECLARE_KERNELS(GemmKernels, gemm_kernels)

template <class T>
const GemmKernelsOf<T>& gemm_kernels_of(Target target = active_target()) {
  if constexpr (sizeof(T) == 4) {
    return gemm_kernels_for(target).f32;
  } else {
    return gemm_kernels_for(target).f64;
  }
}

}  // namespace annx
