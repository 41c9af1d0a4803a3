// The axes a reduction runs over, and the shapes that follow from them.
#pragma once

#include "ops/functional.h"

namespace annx::reduce {

// Sorted axes in [0, ndim). None and () mean all of them; a scalar has none.
Dims axes_of(const Attr& dim, int ndim, const char* op);
// Size 1 (keepdim) or nothing in the place of every axis.
Dims reduced_shape(const Dims& shape, const Dims& axes, bool keepdim);
// Elements that go into one result.
int64_t count_along(const Dims& shape, const Dims& axes);

// Gradient (or result) of a reduction as it would be with keepdim=True: broadcasts to the input.
Tensor keep_axes(const Tensor& g, const Dims& input_shape, const Dims& axes);

// x in row-major memory and in dtype; not on the tape.
Tensor prepare(const Tensor& x, DType dtype);
// The same for a reduction whose result no order of its elements changes: dimensions stay in the order
// of memory wherever the results come out in theirs, so that a channels-last image is not copied.
struct Prepared {
  Tensor x;
  Dims axes;
};
Prepared prepare_unordered(const Tensor& x, const Dims& axes, DType dtype);
// x with the reduced axes last, as row-major (outer, n); not on the tape.
Tensor axes_last(const Tensor& x, const Dims& axes);
// The kept axes in order, then the reduced ones; and the way back.
Dims axes_last_order(int ndim, const Dims& axes);
Dims inverse_order(const Dims& order);

// What infer of most reductions does: attributes 0 and 1 are dim and keepdim.
void infer_reduced(const OpCall& c, OutputSpecs& specs, DType dtype);
// The same, with an error for an empty set of elements, which has no largest, first, ….
void check_not_empty(const OpCall& c, const Dims& axes);
Cost reduction_cost(const OpCall& c);

// Contiguous memory as (outer, n, inner), reduced along n.
struct Span {
  int64_t outer = 1, n = 1, inner = 1;
};

// Splits a reduction of a row-major tensor into reductions of one run of axes each, innermost
// first: no copy is needed whatever the axes are.
struct SpanList {
  Span spans[kMaxDims];
  int count = 0;
};
SpanList split_axes(const Dims& shape, const Dims& axes);

}  // namespace annx::reduce
