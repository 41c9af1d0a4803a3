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
  bool packed;    // B stands packed already: its strides mean nothing

  bool operator==(const GemmShape&) const = default;
};

// Rows are shared out evenly over tiles, so that no tile is left with one or two rows and too few
// chains: the first `extra` panels have one row more.
struct GemmRows {
  int64_t panels, rows, extra;

  static GemmRows of(int64_t m, int64_t tile_rows) {
    const int64_t panels = (m + tile_rows - 1) / tile_rows;
    return {panels, m / panels, m % panels};
  }
  int64_t first(int64_t panel) const { return panel * rows + (panel < extra ? panel : extra); }
};

enum class GemmPath : uint8_t {
  // Each task reads its operands where they are, or packs what it needs of them, kc x nc at a time,
  // and finds it in L1 or L2.
  own,
  // Few rows: B is read once where it is, over all of k.
  thin,
  // B is packed once for all tasks, before them, over all of k, `slab_n` columns at a time.
  shared_b,
  // Both operands are packed, kc of k at a time, `slab_m` rows and `slab_n` columns of them.
  blocked,
};

struct GemmPlan {
  // Computes C^T = B^T A^T: lanes run along m. Everything below is about the product so turned.
  bool turned;
  GemmPath path;
  bool pack_a, pack_b;
  int vectors;           // of a tile
  int64_t width;         // columns that tasks are cut by
  GemmRows rows;         // of the whole product
  int64_t block_panels;  // row panels per task at most
  int64_t block_n;       // columns per task
  int64_t tasks_m, tasks_n;
  int64_t slab_m, slab_n;  // slab_m in tasks
  int64_t kc, nc;

  // First row of a task; that of task tasks_m is m.
  int64_t first_row(int64_t task) const { return rows.first(task * rows.panels / tasks_m); }
  int64_t max_block_m() const { return block_panels * (rows.rows + (rows.extra > 0 ? 1 : 0)); }
};

GemmShape turned_shape(const GemmShape& shape);
GemmPlan plan_gemm(const GemmShape& shape, const GemmBlocking& blocking);

}  // namespace annx
