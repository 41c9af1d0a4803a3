#include "gemm/plan.h"

#include <algorithm>
#include <numeric>

namespace annx {
namespace {

// Fewest multiply-adds worth a task of its own, about 2 us; and how many tasks are enough.
constexpr int64_t kTaskWork = int64_t{1} << 17;
constexpr int64_t kTasksWanted = 32;
// Rows that pay for bringing a B panel into L1 again.
constexpr int64_t kTaskRows = 48;
constexpr int64_t kSlabBytes = int64_t{1} << 25;

// Cost of transposing one element, in vector fmas; measured on Zen 4.
constexpr double kTransposeCost = 0.3;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

double cost(const GemmShape& s, int64_t lanes) {
  const double m = static_cast<double>(s.m);
  const double n = static_cast<double>(s.n);
  const double k = static_cast<double>(s.k);
  const double pack = s.b_cs == 1 ? 0.0 : kTransposeCost * n * k;
  return m * k * static_cast<double>(ceil_div(s.n, lanes)) + pack;
}

// Reading A in place costs nothing while one of its strides is 1.
bool packs_a(const GemmShape& s, int64_t lanes, int vectors) {
  const int64_t passes = ceil_div(s.n, lanes * vectors);
  return s.a_cs != 1 && s.a_rs != 1 && passes >= 2;
}

// In place, B is read in rows of a panel's width. Where they fall on few sets of L1 (32 KiB, 8 ways
// of 64 lines) each pass fetches them again from L2, which a tile of few rows cannot wait for; a page
// apart they also cost the others too much.
bool packs_b(const GemmShape& s, const GemmBlocking& blocking) {
  if (s.b_cs != 1) return true;
  const int64_t passes = ceil_div(s.m, blocking.rows);
  const int64_t stride = s.b_rs * s.item;
  const int64_t sets = stride % 64 == 0 ? 64 / std::gcd(stride / 64, int64_t{64}) : 64;
  const bool conflict = std::min(s.k, blocking.kc) > 8 * sets;
  if (blocking.rows < 8) return conflict && passes >= 4;
  return (conflict || stride >= 4096) && passes >= 8 && stride >= 2048;
}

}  // namespace

GemmShape turned_shape(const GemmShape& s) {
  return {s.n, s.m, s.k, s.b_cs, s.b_rs, s.a_cs, s.a_rs, s.item, s.batch};
}

GemmPlan plan_gemm(const GemmShape& given, const GemmBlocking& blocking) {
  GemmPlan plan = {};
  const int64_t lanes = 64 / given.item;
  const GemmShape other = turned_shape(given);
  const double turning = 2 * kTransposeCost * static_cast<double>(given.m * given.n);
  plan.turned = cost(other, lanes) + turning < cost(given, lanes);
  const GemmShape s = plan.turned ? other : given;

  const int64_t rows = blocking.rows;
  const int64_t n_vectors = ceil_div(s.n, lanes);
  plan.pack_b = packs_b(s, blocking);
  int64_t widest = s.m <= rows ? blocking.wide[s.m] : blocking.vectors;
  // A wider panel written by transposition would not stay in L1.
  if (s.b_cs != 1) widest = std::min<int64_t>(widest, 4);
  plan.vectors = static_cast<int>(std::min(widest, n_vectors));
  plan.pack_a = packs_a(s, lanes, plan.vectors);

  const int64_t width = plan.vectors * lanes;
  const int64_t block_cols = std::max(width, blocking.nc / s.item / width * width);
  int64_t tasks_m = ceil_div(s.m, blocking.mc);
  int64_t tasks_n = ceil_div(s.n, block_cols);
  const int64_t work = s.m * n_vectors * lanes * s.k;
  const int64_t wanted = std::min(kTasksWanted, work / kTaskWork) / s.batch;
  const int64_t least_rows = plan.pack_b ? kTaskRows : 2 * rows;
  while (tasks_m * tasks_n < wanted) {
    // A task wants many rows, for its B panels, rather than many columns.
    const bool can_m = ceil_div(s.m, tasks_m + 1) >= least_rows;
    const bool can_n = ceil_div(s.n, tasks_n + 1) >= width;
    if (!can_n && !can_m) break;
    if (can_m && (!can_n || s.m * tasks_n >= s.n * tasks_m)) {
      ++tasks_m;
    } else {
      ++tasks_n;
    }
  }
  plan.block_m = ceil_div(s.m, tasks_m);
  plan.block_n = round_up(ceil_div(s.n, tasks_n), width);

  plan.share_b = plan.pack_b && plan.block_m < s.m;
  const int64_t column_bytes = std::max<int64_t>(1, s.k) * s.item;
  plan.slab_n = std::max(plan.block_n, kSlabBytes / column_bytes / plan.block_n * plan.block_n);
  // Of few rows a B panel is read once, right after it was packed: small enough for L1.
  const bool once = plan.block_m <= rows && plan.pack_b && !plan.share_b;
  const int64_t kc = once ? std::max<int64_t>(64, 16384 / (width * s.item)) : blocking.kc;
  const int64_t blocks = std::max<int64_t>(1, ceil_div(s.k, kc));
  plan.kc = std::max<int64_t>(1, round_up(ceil_div(s.k, blocks), 8));
  plan.nc = once ? width : plan.block_n;
  return plan;
}

}  // namespace annx
