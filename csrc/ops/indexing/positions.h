// Integer tensors as positions, checked against the size they index.
#pragma once

#include "ops/functional.h"

namespace annx {

// indices as contiguous int64; throws TypeError on other kinds.
Tensor as_positions(const Tensor& indices, const char* op);

// Position i of a dimension of the given size; negative ones count from the end. Throws IndexError.
inline int64_t checked_position(int64_t i, int64_t size, const char* op) {
  ANNX_CHECK(i >= -size && i < size, index, op, "expected indices in [", -size, ", ", size - 1,
             "] but got ", i);
  return i < 0 ? i + size : i;
}

// input seen as [outer, size of dim, inner].
struct Slabs {
  int64_t outer = 1, size = 1, inner = 1;
};
Slabs slabs_of(const Dims& shape, int dim);

// dst[i] += src[i] for n elements of dtype (numbers; bool is or-ed).
void add_row(void* dst, const void* src, int64_t n, DType dtype);

}  // namespace annx
