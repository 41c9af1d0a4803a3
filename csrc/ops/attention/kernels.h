// Attention kernels: one head at a time, a block of queries (forward) or a range of keys (backward).
#pragma once

#include <cstdint>

#include "dispatch/kernels.h"

namespace annx {

// Sizes of the tiles, part of the meaning: they fix the order of every sum.
inline constexpr int64_t kAttentionQueries = 64;       // queries of a block
inline constexpr int64_t kAttentionKeys = 128;         // keys of a forward tile
inline constexpr int64_t kAttentionBackwardKeys = 64;  // keys of a backward tile

enum class AttentionMask : uint8_t { none, boolean, additive };

// Dropout of the weights: row r (of all heads' queries, in order) and key s draw word s of a stream
// in which each row starts on a block of four.
template <class T>
struct AttentionDropout {
  bool active = false;
  uint64_t seed = 0, stream = 0;
  int64_t first_row = 0;  // row of the head's first query
  float p = 0;
  T factor = 1;  // 1 / (1 - p)
};

// One head: queries x keys. Rows are contiguous, *_rs elements apart.
template <class T>
struct AttentionHead {
  int64_t queries, keys, dim, value_dim;
  const T *q, *k, *v;
  int64_t q_rs, k_rs, v_rs;
  T scale;
  bool causal;  // query i sees keys 0 … i
  AttentionMask mask_kind;
  const void* mask;  // bytes (0: hidden) or T (added)
  int64_t mask_rs, mask_cs;
  AttentionDropout<T> dropout;
};

template <class T>
struct AttentionForward {
  AttentionHead<T> head;
  T* out;
  int64_t out_rs;
  T* lse;  // log of the sum of exp, +inf where every key is hidden
  // The block: queries first … first + count - 1, at most kAttentionQueries.
  int64_t first, count;
};

template <class T>
struct AttentionBackward {
  AttentionHead<T> head;
  const T *out, *grad, *lse;
  int64_t out_rs, grad_rs;
  T* dq;  // of this range of keys alone
  int64_t dq_rs;
  // Sums of a key head over the query heads that share it, rows of whole vectors, and where they go
  // after the last of these heads. The first begins them.
  T *dk_sum, *dv_sum;
  bool first_head, last_head;
  T *dk, *dv;
  int64_t dk_rs, dv_rs;
  // The range: keys first … first + count - 1.
  int64_t first, count;
};

template <class T>
struct AttentionTable {
  // Elements of scratch that the calls below need.
  int64_t (*forward_scratch)(int64_t dim, int64_t value_dim);
  int64_t (*backward_scratch)(int64_t dim, int64_t value_dim);
  // `next`, if any, is the work that the same thread does afterwards.
  void (*forward)(const AttentionForward<T>& work, const AttentionForward<T>* next, T* scratch);
  void (*backward)(const AttentionBackward<T>& work, const AttentionBackward<T>* next, T* scratch);
  // out = in * (0 or factor) for `count` rows (at most 64 / sizeof(T)) of weights from `row` on.
  void (*drop)(const AttentionDropout<T>& dropout, int64_t row, int64_t count, int64_t keys,
               const T* in, T* out);
};

struct AttentionKernels {
  AttentionTable<float> f32;
  AttentionTable<double> f64;
};
ANNX_DECLARE_KERNELS(AttentionKernels, attention_kernels)

}  // namespace annx
