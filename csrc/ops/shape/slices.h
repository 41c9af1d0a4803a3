// Slices: their ranges, and gradients of several slices of one tensor, for passes over captured steps.
#pragma once

#include "ops/registry.h"

namespace annx {

// Python's slice arithmetic for one dimension: begin and count for a non-zero step.
struct SliceRange {
  int64_t begin, count;
};
SliceRange slice_range(int64_t size, int64_t start, int64_t stop, int64_t step, const char* op);

// Gradients stand from bounds[2 i] to bounds[2 i + 1] along dim.
struct SlicesPlaced {
  int dim = 0;
  Ints bounds;
};

// Inputs: at least two gradients. Attributes: shape, dim, bounds, which do not overlap. The result is
// what adding them up gives, each padded with zeros: a gradient of -0 becomes 0.
const OpDef& slices_backward_def();
SlicesPlaced slices_placed(const Attrs& attrs);

// Where slice_backward with these attributes and this result puts its gradient; false unless it is a
// run of one piece that is not empty.
bool slice_placed(const Attrs& attrs, const Dims& shape, SlicesPlaced* placed);

// Whether none covers a part of another.
bool slices_apart(const SlicesPlaced& placed);

}  // namespace annx
