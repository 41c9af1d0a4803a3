// Runs contiguous kernels over broadcast, strided operands: everything elementwise goes through here.
#pragma once

#include "ops/elementwise/kernel_types.h"
#include "ops/registry.h"

namespace annx {

inline constexpr int kMaxElementwiseInputs = 4;

// Applies fn to inputs, each broadcast to the shape of out, which is dense. work is the rough cost of
// an element in nanoseconds, from which the grain of parallel work follows. stream does what fn does
// with stores past the caches, for outputs that are too large for them; number does it where all
// operands but the first are one element each.
void run_elementwise(ElementwiseFn fn, const Tensor* inputs, int count, const Tensor& out,
                     const double* params = nullptr, double work = 0.5, StreamFn stream = nullptr,
                     ElementwiseFn number = nullptr);

// What an elementwise op runs, told instead of done.
struct ElementwisePlan {
  ElementwiseFn fn = nullptr;
  double params[4] = {};
  double work = 0;
};
// Asks the kernel of c, whose tensors need no memory; fn stays null if the op does not come through
// run_elementwise.
ElementwisePlan elementwise_plan(const OpCall& c);

// Where the output alone takes half of a usual last-level cache, writing past it wins.
inline constexpr size_t kStreamBytes = size_t{16} << 20;
// Elements of a piece of such work: it ends by waiting for its stores.
inline constexpr int64_t kStreamGrain = int64_t{1} << 19;

// Stores past the caches become visible in order with those that follow.
inline void end_stream() {
#if defined(__x86_64__)
  __builtin_ia32_sfence();
#endif
}

// Whether x, of the shape of out, lies across it: then a copy in the order of out, made by
// transposing tiles, is worth its memory.
bool gathers_slowly(const Tensor& x, const Tensor& out);

// Copies x, broadcast to the shape of out, to out of the same dtype and any dense layout.
void copy_elements(const Tensor& x, const Tensor& out);

// Copies the elements begin..begin+count (row-major order of shape) of a strided operand to dst.
void gather_strided(void* dst, const void* src, size_t size, const Dims& shape, const Dims& strides,
                    int64_t begin, int64_t count);

// Strides of t seen as broadcast to shape (0 along broadcast dimensions).
Dims broadcast_strides(const Tensor& t, const Dims& shape);

}  // namespace annx
