// SIMD kernels of convolution. All tensors are channels last; `channels` count elements of a pixel.
#pragma once

#include <cstdint>

#include "dispatch/kernels.h"

namespace annx {

// C[i][j] (+)= sum over p of A[i][p] B[p][j], where element (i, p) of A is a[i][a_shift + offsets[p]],
// row i of C starts at c[i] + c_shift, and row p of B is `vectors` vectors at b + p b_rs. Each element
// of C is one fma chain over ascending p.
template <class T>
struct ConvBlock {
  int64_t rows, k;
  const T* const* a;
  int64_t a_shift;
  const int64_t* offsets;
  const T* b;
  int64_t b_rs;
  int vectors;
  T* const* c;
  int64_t c_shift;
  int64_t cols;    // of C: the others are computed and dropped
  bool from_zero;  // start the chains from 0, not from C
  const T* bias;   // `vectors` vectors, added to the finished chains, or null
};

// One row of a depthwise convolution, in place. Pixel i of y is at y + i y_step; tap t of filter row r
// reads pixel first + i step + t tap of the source row x[r] if that is one of `width`, times
// w[r][t w_step + c]; then the bias, unless null, is added.
template <class T>
struct DepthwiseRow {
  int64_t pixels, channels, rows, taps;
  const T* const* x;
  const T* const* w;
  int64_t w_step;
  int64_t first, step, tap, width;
  const T* bias;
  T* y;
  int64_t y_step;
  // Memory that the next row is the first to touch, source and y: fetched into L2 on the way.
  const T* ahead[2];
  int64_t ahead_size[2];
};

// Winograd, a row of tiles of m x m pixels. (m+2)^2 source pixels every m, pixel rows x_row apart, to
// (m+2)^2 planes: vector v of the channels of tile t at out + v vector_step + t tile_step.
template <class T>
struct WinogradInput {
  int64_t tiles, channels;
  const T* x;
  int64_t x_row;
  T* out;
  int64_t plane, tile_step, vector_step;
};

// Planes of rows of channels to m x m pixels, of which rows (1 to m) and cols (in all) exist.
template <class T>
struct WinogradOutput {
  int64_t tiles, channels;
  const T* m;
  int64_t plane;
  T* y;
  int64_t y_row, rows, cols;
};

// The gradient of the latter for m = 2, from pixels `pixel` elements apart, in panels of `width` channels
// panel_step apart, of whole vectors.
template <class T>
struct WinogradGradient {
  int64_t tiles, channels;
  const T* g;
  int64_t pixel, g_row, rows, cols;
  T* out;
  int64_t plane, panel_step, width;
};

// Winograd F(m x m, 3x3). Weights: 9 rows of `width` per channel c to row c of every
// plane.
template <class T>
struct WinogradTable {
  void (*weight)(int64_t channels, int64_t width, const T* w, T* out, int64_t plane);
  void (*input)(const WinogradInput<T>& job);
  void (*output)(const WinogradOutput<T>& job);
};

template <class T>
struct ConvTable {
  int vectors;  // most vectors of a panel of B
  void (*block)(const ConvBlock<T>& block);
  // out[j] (+)= sum over p of b[p b_rs + j], in four chains, for the lanes of `vectors` vectors.
  void (*column_sums)(const T* b, int64_t k, int64_t b_rs, int vectors, T* out, bool from_zero);
  void (*depthwise)(const DepthwiseRow<T>& row);
  // w[r][t w_step + c] += sum over pixels of y[i y_step + c] times what tap t of row r reads; here y is
  // read; the row's own w and bias are not used.
  void (*depthwise_weight)(const DepthwiseRow<T>& row, T* const* w);
  // out[i step + r row + j] += t[i t_rs + r length + j] for j < length, r < rows, pixel after pixel.
  // Beyond length, a vector of `out` is read and written back.
  void (*scatter)(int64_t pixels, int64_t rows, int64_t length, const T* t, int64_t t_rs, T* out,
                  int64_t step, int64_t row);
  WinogradTable<T> f23, f43;
  void (*winograd_gradient)(const WinogradGradient<T>& job);
  // 16 planes of sums to the gradient of 9 taps: rows of `width` per channel to rows (channel, tap).
  void (*winograd_weight_gradient)(int64_t channels, int64_t width, const T* u, int64_t plane,
                                   T* out);
};

struct ConvKernels {
  ConvTable<float> f32;
  ConvTable<double> f64;
};

ANNX_DECLARE_KERNELS(ConvKernels, conv_kernels)

}  // namespace annx
