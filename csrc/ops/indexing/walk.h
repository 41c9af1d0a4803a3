// The walks that reading, writing and adding at positions share.
#pragma once

#include <algorithm>
#include <cstring>

#include "ops/indexing/positions.h"

namespace annx {

inline void zero(const Tensor& t) { std::memset(t.raw(), 0, t.nbytes()); }

// Where the broadcast of the index arrays goes and what is left over.
struct IndexPlan {
  Dims array_shape;  // broadcast shape of the arrays
  Dims dims;         // indexed dimensions of input
  Dims rest;         // the others
  int position = 0;  // where array_shape stands in the result
  Dims shape;        // of the result
};

// Throws unless there is one array per dimension and they broadcast together.
IndexPlan plan_index(const Dims& input, const TensorList& inputs, int first, const Ints& dims,
                     const char* op);

// Calls fn(offset in input, offset in result, run) for every run of the trailing dimensions that
// both walk contiguously; input has row-major strides.
template <class F>
void walk_index(const IndexPlan& p, const Dims& input, const TensorList& inputs, int first,
                const char* op, F fn) {
  const Dims strides = contiguous_strides(input);
  const int count = p.dims.size();
  int64_t points = 1;
  for (int64_t s : p.array_shape) points *= s;
  // Input offset of every point, with all indices checked before anything is written.
  const Tensor offsets = Tensor::empty({points}, DType::i64);
  int64_t* at = offsets.data<int64_t>();
  std::fill_n(at, points, int64_t{0});
  GradModeGuard no_grad(false);
  for (int k = 0; k < count; ++k) {
    const Tensor array =
        ops::contiguous(ops::expand(as_positions(inputs[first + k], op), p.array_shape));
    const int64_t* v = array.data<int64_t>();
    const int d = static_cast<int>(p.dims[k]);
    for (int64_t i = 0; i < points; ++i) at[i] += checked_position(v[i], input[d], op) * strides[d];
  }
  // Result = [rest before position][points][rest after]; the innermost rest is copied whole.
  int64_t before = 1, after = 1;
  for (int i = 0; i < p.rest.size(); ++i)
    (i < p.position ? before : after) *= input[static_cast<int>(p.rest[i])];
  auto rest_offset = [&](int64_t i, int from, int to) {
    int64_t offset = 0;
    for (int r = to - 1; r >= from; --r) {
      const int d = static_cast<int>(p.rest[r]);
      offset += (i % input[d]) * strides[d];
      i /= input[d];
    }
    return offset;
  };
  // Trailing unindexed dimensions are one contiguous run.
  int64_t run = 1;
  int tail = p.rest.size();
  for (int d = input.size() - 1; d >= 0 && tail > p.position && p.rest[tail - 1] == d; --d, --tail)
    run *= input[d];
  const int64_t middle = run ? after / run : 0;
  int64_t out = 0;
  for (int64_t b = 0; b < before; ++b) {
    const int64_t base = rest_offset(b, 0, p.position);
    for (int64_t i = 0; i < points; ++i)
      for (int64_t m = 0; m < middle; ++m, out += run)
        fn(base + at[i] + rest_offset(m, p.position, tail), out, run);
  }
}

// Throws unless index has the dimensions of input and fits into it outside of d.
void check_gather(const Dims& input, const Tensor& index, int d, const char* op);

// Calls fn(offset in the full tensor, element number of index) for every element of index.
template <class F>
void walk_gather(const Dims& full, const Tensor& index, int d, const char* op, F fn) {
  const Dims strides = contiguous_strides(full);
  const int64_t* v = index.data<int64_t>();
  const int last = index.dim() - 1;
  if (index.numel() == 0) return;
  if (last < 0) return fn(checked_position(v[0], 1, op), int64_t{0});
  const int64_t size = full[d], stride = strides[d], run = index.size(last);
  // Along a row of index only the last position moves, and that by one, unless it is looked up.
  const int64_t step = d == last ? 0 : 1;
  Dims at(index.dim(), 0);
  for (int64_t i = 0; i < index.numel(); i += run) {
    int64_t base = 0;
    for (int k = 0; k < last; ++k) base += k == d ? 0 : at[k] * strides[k];
    for (int64_t j = 0; j < run; ++j)
      fn(base + j * step + checked_position(v[i + j], size, op) * stride, i + j);
    for (int k = last - 1; k >= 0 && ++at[k] == index.size(k); --k) at[k] = 0;
  }
}

// Calls fn with a value of the unsigned type of `size` bytes.
template <class F>
void with_bits(size_t size, F fn) {
  switch (size) {
    case 1:
      return fn(uint8_t{});
    case 2:
      return fn(uint16_t{});
    case 4:
      return fn(uint32_t{});
    default:
      return fn(uint64_t{});
  }
}

// A sum into each position named: what is added is read once, its target read and written.
Cost scatter_cost(const OpCall& c);

}  // namespace annx
