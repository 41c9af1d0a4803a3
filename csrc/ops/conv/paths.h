// Special ways to a correlation, and what they share.
#pragma once

#include "gemm/scratch.h"
#include "ops/conv/geometry.h"

namespace annx::conv {

// Pixels worth a task: enough to use a weight panel many times, few enough to stay in L2.
inline constexpr int64_t kTaskPixels = 256;

// 3x3 taps at every pixel by Winograd's F(2x2, 3x3).
template <class T>
void winograd(const Correlation& c, const T* x, const T* w, const T* bias, Activation activation,
              T* y, const ReadyWeights<T>* ready);
// Its weights, transformed into `memory`.
template <class T>
const T* winograd_weights(const Correlation& c, const T* w, Scratch& memory);

// Every channel by itself, lanes along the channels.
template <class T>
void depthwise(const Correlation& c, const T* x, const T* w, const T* bias, Activation activation,
               T* y);

// Transposed, few channels: what every source pixel adds to its taps, then added up.
template <class T>
void scatter(const Correlation& c, const T* x, const T* w, const T* bias, Activation activation,
             T* y);

}  // namespace annx::conv
