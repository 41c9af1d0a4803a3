// Special ways to a correlation, and what they share.
#pragma once

#include "core/thread_pool.h"
#include "gemm/scratch.h"
#include "ops/conv/geometry.h"

namespace annx::conv {

// Pixels worth a task: enough to use a weight panel many times, few enough to stay in L2.
inline constexpr int64_t kTaskPixels = 256;

// Pieces that a sum over all pixels is cut into: at least so many pixels each, so that adding up the
// pieces costs little.
inline constexpr int64_t kMaxPieces = 16;
inline constexpr int64_t kPiecePixels = 1024;

// 3x3 taps at every pixel by Winograd's F(2x2, 3x3), or F(4x4, 3x3).
template <class T>
void winograd(const Correlation& c, const T* x, const T* w, const T* bias, Activation activation,
              T* y, const ReadyWeights<T>* ready);
// Its weights, transformed into `memory`.
template <class T>
const T* winograd_weights(const Correlation& c, const T* w, Scratch& memory);

// The gradient of such taps, and unless null of the bias.
template <class T>
void winograd_weight(const Correlation& c, const T* g, const T* x, T* dw, T* db);

// Every channel by itself, lanes along the channels.
template <class T>
void depthwise(const Correlation& c, const T* x, const T* w, const T* bias, Activation activation,
               T* y);

// The gradient of its weights.
template <class T>
void depthwise_weight(const Correlation& c, const T* g, const T* x, T* dw);

// Transposed, few channels: what every source pixel adds to its taps, then added up.
template <class T>
void scatter(const Correlation& c, const T* x, const T* w, const T* bias, Activation activation,
             T* y);

// out[i] += sum over pieces 1 … n-1 of parts[(piece - 1) size + i], in ascending order.
template <class T>
void add_pieces(int64_t pieces, int64_t size, const T* parts, T* out) {
  parallel_for(size, 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t p = 1; p < pieces; ++p) {
      const T* part = parts + (p - 1) * size;
      for (int64_t i = begin; i < end; ++i) out[i] += part[i];
    }
  });
}

}  // namespace annx::conv
