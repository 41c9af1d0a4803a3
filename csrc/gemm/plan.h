// How a product is cut up: a function of shapes, strides and the target's blocking, never of threads.
#pragma once

#include <cstdint>

#include "gemm/blocking.h"

namespace annx {

struct GemmShape {
  int64_t m, n, k;
  int64_t a_rs, a_cs;
  int64_t b_rs, b_cs;
  int64_t item;   // bytes of an element
  int64_t batch;  // number of such products
};

struct GemmPlan {
  // Computes C^T = B^T A^T: lanes run along m. Everything below is about the product so turned.
  bool turned;
  bool pack_a, pack_b;
  // B is packed once for all tasks, before them, `slab_n` columns at a time; else each task packs
  // what it needs, kc x nc at a time, and finds it in L1 or L2.
  bool share_b;
  int64_t slab_n;
  int vectors;               // width of a B panel
  int64_t block_m, block_n;  // C per task
  int64_t kc, nc;
};

GemmShape turned_shape(const GemmShape& shape);
GemmPlan plan_gemm(const GemmShape& shape, const GemmBlocking& blocking);

}  // namespace annx
