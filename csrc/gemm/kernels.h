// What gemm.cpp needs from each SIMD target; the kernels are in cpu-inl.h.
#pragma once

#include <cstdint>

#include "dispatch/kernels.h"
#include "gemm/blocking.h"
#include "gemm/gemm.h"

namespace annx {

// C [m, n] (+)= A [m, k] B [k, n], all of it in cache.
// B comes in panels of `vectors` vectors: column j of panel q at row p is b[q b_panel + p b_rs + j].
// Columns beyond the last whole vector are read from `b_tail` (k rows of one vector, b_tail_rs
// apart), so that nothing beyond B is touched; it is null when the last panel is padded.
template <class T>
struct GemmBlock {
  int64_t m, n, k;
  const T* a;
  int64_t a_rs, a_cs;
  bool a_packed;  // by pack_a: a_rs and a_cs are not used
  const T* b;
  int64_t b_rs, b_panel;
  int vectors;
  const T* b_tail;
  int64_t b_tail_rs;
  T* c;
  int64_t c_rs;
  bool from_zero;  // start the chains from 0, not from C
};

template <class T>
struct GemmKernelsOf {
  GemmBlocking blocking;
  void (*block)(const GemmBlock<T>& block);
  // A contiguous down its columns (row stride 1) into row panels as `block` takes them; out has room
  // for m k elements and one vector.
  void (*pack_a)(int64_t m, int64_t k, const T* a, int64_t a_cs, T* out);
  // Panels of `width` columns, a multiple of the vector: out[q panel + p width + j]. The last panel
  // is filled up with zeros.
  void (*pack_b)(int64_t k, int64_t n, const T* b, int64_t b_rs, int64_t b_cs, int64_t width,
                 int64_t panel, T* out);
  // out[j out_rs + i] = x[i x_rs + j]
  void (*transpose)(int64_t rows, int64_t cols, const T* x, int64_t x_rs, T* out, int64_t out_rs);
  // In place: c = activation(c + bias).
  void (*epilogue)(int64_t rows, int64_t cols, T* c, int64_t c_rs, const T* bias,
                   Activation activation);
};

struct GemmKernels {
  GemmKernelsOf<float> f32;
  GemmKernelsOf<double> f64;
};

ANNX_DECLARE_KERNELS(GemmKernels, gemm_kernels)

}  // namespace annx
