// An elementwise call as kernels see it: neighbouring dimensions merged, every launch small enough
// for 32-bit indices, divisions replaced by multiplications. Plain C++, tested on the CPU.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/api.h"

#ifdef __CUDACC__
#define ANNX_HOST_DEVICE __host__ __device__
#else
#define ANNX_HOST_DEVICE
#endif

namespace annx::cuda {

inline constexpr int kMaxDims = ANNX_CUDA_MAX_DIMS;
inline constexpr int64_t kMaxLaunch = int64_t{1} << 30;  // elements
inline constexpr size_t kVectorBytes = 16;

// Division by a constant as a multiplication (Granlund and Montgomery, "Division by invariant
// integers using multiplication", 1994): exact for n < 2^31 and 1 <= size <= 2^31.
struct Divider {
  uint32_t size, magic, shift;
};

inline Divider make_divider(uint32_t size) {
  uint32_t shift = 0;
  while ((uint64_t{1} << shift) < size) ++shift;
  const uint64_t magic = ((uint64_t{1} << 32) * ((uint64_t{1} << shift) - size)) / size + 1;
  return {size, static_cast<uint32_t>(magic), shift};
}

ANNX_HOST_DEVICE inline uint32_t divide(uint32_t n, const Divider& d) {
  const auto high = static_cast<uint32_t>((uint64_t{n} * d.magic) >> 32);
  return (high + n) >> d.shift;
}

enum Walk : int32_t {
  kConstant,  // the same element everywhere
  kVector,    // row-major as the output, aligned: whole packs at once
  kLinear,    // row-major, not aligned
  kStrided
};

struct Side {
  char* data;         // of an input: read only
  uint64_t constant;  // bits of one element
  int32_t walk;
  int64_t strides[kMaxDims];  // in elements, of the merged shape
};

struct Launch {
  Side out;
  Side in[ANNX_CUDA_MAX_INPUTS];
  Divider sizes[kMaxDims];  // the merged shape
  int32_t dims;             // at least 1
  uint32_t count;           // elements
  int32_t packed;           // every side is a vector or a constant
  double params[ANNX_CUDA_MAX_PARAMS];
};

// Where element `index` (row-major in the merged shape) lies, in elements.
ANNX_HOST_DEVICE inline int64_t offset_of(const Launch& l, const int64_t* strides, uint32_t index) {
  int64_t at = 0;
  for (int d = l.dims - 1; d > 0; --d) {
    const uint32_t rest = divide(index, l.sizes[d]);
    at += static_cast<int64_t>(index - rest * l.sizes[d].size) * strides[d];
    index = rest;
  }
  return at + static_cast<int64_t>(index) * strides[0];
}

namespace detail {

// The sides of a call over one shape; side 0 is the output.
struct Sides {
  static constexpr int kMax = ANNX_CUDA_MAX_INPUTS + 1;
  int count, dims;
  int64_t shape[kMaxDims];
  char* data[kMax];
  int64_t item[kMax];  // bytes of an element
  int64_t strides[kMax][kMaxDims];
};

// Drops sizes of 1 and merges neighbours that every side walks as one.
inline void merge(Sides& s) {
  int last = -1;
  for (int d = 0; d < s.dims; ++d) {
    const int64_t size = s.shape[d];
    if (size == 1) continue;
    bool one_walk = last >= 0;
    for (int k = 0; k < s.count && one_walk; ++k)
      one_walk = s.strides[k][last] == s.strides[k][d] * size;
    if (!one_walk) s.shape[++last] = 1;
    s.shape[last] *= size;
    for (int k = 0; k < s.count; ++k) s.strides[k][last] = s.strides[k][d];
  }
  if (last < 0) {  // a single element
    last = 0;
    s.shape[0] = 1;
    for (int k = 0; k < s.count; ++k) s.strides[k][0] = 0;
  }
  s.dims = last + 1;
}

inline int32_t walk_of(const Sides& s, int side, const int64_t* row_major, int64_t pack) {
  for (int d = 0; d < s.dims; ++d)
    if (s.shape[d] != 1 && s.strides[side][d] != row_major[d]) return kStrided;
  const auto bytes = static_cast<uint64_t>(pack * s.item[side]);
  return reinterpret_cast<uintptr_t>(s.data[side]) % bytes == 0 ? kVector : kLinear;
}

template <class F>
void split(const AnnxCudaElementwise& call, const Sides& s, int64_t pack, int64_t limit,
           F&& launch) {
  int64_t count = 1, row_major[kMaxDims] = {};
  for (int d = s.dims - 1; d >= 0; --d) {
    row_major[d] = count;
    count *= s.shape[d];
  }
  if (count > limit) {  // halve the outermost dimension: the output of each half is row-major too
    int outer = 0;
    while (s.shape[outer] == 1) ++outer;
    // In whole packs, so that the second half of a vector stays aligned.
    int64_t half = s.shape[outer] / 2;
    if (half > pack) half = half / pack * pack;
    Sides part = s;
    part.shape[outer] = half;
    split(call, part, pack, limit, launch);
    part.shape[outer] = s.shape[outer] - half;
    for (int k = 0; k < s.count; ++k) part.data[k] += half * s.strides[k][outer] * s.item[k];
    split(call, part, pack, limit, launch);
    return;
  }
  Launch l{};
  l.dims = s.dims;
  l.count = static_cast<uint32_t>(count);
  for (int d = 0; d < s.dims; ++d) l.sizes[d] = make_divider(static_cast<uint32_t>(s.shape[d]));
  for (int i = 0; i < ANNX_CUDA_MAX_PARAMS; ++i) l.params[i] = call.params[i];
  for (int k = 0; k < s.count; ++k) {
    Side& side = k == 0 ? l.out : l.in[k - 1];
    side.data = s.data[k];
    for (int d = 0; d < s.dims; ++d) side.strides[d] = s.strides[k][d];
    if (k > 0 && !call.in[k - 1].data) {
      side.walk = kConstant;
      side.constant = call.in[k - 1].constant;
    } else {
      side.walk = walk_of(s, k, row_major, pack);
    }
  }
  l.packed = 1;
  for (int k = 0; k < s.count; ++k) {
    const int32_t walk = k == 0 ? l.out.walk : l.in[k - 1].walk;
    if (walk == kLinear || walk == kStrided) l.packed = 0;
  }
  launch(l);
}

}  // namespace detail

// Calls launch(const Launch&) for each part of the call; together they cover every element once.
// in_size and out_size are bytes per element, pack the elements of one thread. The output's strides
// are row-major unless the kernel takes others.
template <class F>
void each_launch(const AnnxCudaElementwise& call, const int* in_size, int out_size, int pack,
                 F&& launch, int64_t limit = kMaxLaunch) {
  detail::Sides s{};
  s.count = call.inputs + 1;
  s.dims = call.dims;
  for (int d = 0; d < call.dims; ++d) {
    if (call.shape[d] == 0) return;
    s.shape[d] = call.shape[d];
  }
  for (int k = 0; k < s.count; ++k) {
    // Inputs are only read through these pointers.
    s.data[k] = static_cast<char*>(k == 0 ? call.out : const_cast<void*>(call.in[k - 1].data));
    s.item[k] = k == 0 ? out_size : in_size[k - 1];
    const int64_t* strides = k == 0 ? call.out_strides : call.in[k - 1].strides;
    for (int d = 0; d < call.dims; ++d) s.strides[k][d] = strides[d];
  }
  detail::merge(s);
  detail::split(call, s, pack, limit, launch);
}

}  // namespace annx::cuda
