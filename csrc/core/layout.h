// Memory layouts of dense tensors. What a tensor means never depends on its layout; how fast the next
// op reads it does.
#pragma once

#include "core/tensor.h"

namespace annx {

// Strides of (N, C, ...) with the channels innermost: N, then the dimensions after C, then C. Shapes
// of fewer than 3 dimensions are row-major.
Dims channels_last_strides(const Dims& shape);

// True when strides describe that memory (sizes of 1 may have any stride).
bool is_channels_last(const Dims& shape, const Dims& strides);
inline bool is_channels_last(const Tensor& t) { return is_channels_last(t.shape(), t.strides()); }

// True when the elements fill one block of memory, each place once, in some order of dimensions.
bool is_dense_layout(const Dims& shape, const Dims& strides);

// The layout for a result of this shape: that of the first input of the same shape that is dense but
// not row-major, else empty, for row-major.
Dims kept_layout(const Tensor* inputs, int count, const Dims& shape);

// Dimensions from the slowest to the fastest in memory.
Dims memory_order(const Dims& strides);

}  // namespace annx
