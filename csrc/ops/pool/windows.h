// Which pixels a pooling window covers, per dimension, and which windows cover a pixel.
#pragma once

#include <vector>

#include "ops/registry.h"

namespace annx::pool {

// One dimension. Window o takes the pixels begin[o] + t step, t < count[o]; they exist. Pixel i lies
// within the windows first[i] … last[i]-1 (and, with a step above 1, perhaps between their pixels).
struct Axis {
  int64_t source = 1, dest = 1, step = 1;
  std::vector<int64_t> begin, count;
  std::vector<int64_t> padded;  // pixels of the window, those of the padding included
  std::vector<int64_t> first, last;

  void find_windows();
};

// Attributes shared by the pooling ops. Adaptive ones have kernel = the sizes of the result.
enum {
  kAdaptive,
  kKernel,
  kStride,
  kPadding,
  kDilation,
  kCeil,
  kIncludePad,
  kDivisor,
  kWindowAttrs
};

struct Windows {
  int dims = 0;
  Axis axis[3];
  bool include_pad = true;
  double divisor = 0;  // 0: the number of pixels

  // For a source of this shape (N, C, ...); the checks speak for op.
  Windows(const Dims& source, const Attrs& attrs, const char* op);

  Dims dest_shape(const Dims& source) const;
  int64_t source_size() const { return axis[0].source * axis[1].source * axis[2].source; }
  int64_t dest_size() const { return axis[0].dest * axis[1].dest * axis[2].dest; }
  // What the average over window (d, h, w) divides by.
  double divisor_of(int64_t d, int64_t h, int64_t w) const;
};

}  // namespace annx::pool
