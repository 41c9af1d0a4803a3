#include "gemm/plan.h"

#include <algorithm>
#include <numeric>

#include "gemm/kernels.h"

namespace annx {
namespace {

// Fewest multiply-adds worth a task of its own, about 2 us; from kFewTasks on tasks grow with the
// product; and how many tasks are enough.
constexpr int64_t kTaskWork = int64_t{1} << 17;
constexpr int64_t kFewTasks = 8;
// What transposing an element of B takes where few rows use it, in multiply-adds: on its way to a packed
// panel, or in registers.
constexpr int64_t kFewRowsPackWork = 6;
constexpr int64_t kThinTransposeWork = 2;
// Vectors of columns that pay for packing A.
constexpr int64_t kRepackVectors = 8;
constexpr int64_t kTasksWanted = 32;
// Row panels that pay for bringing a B panel into L1 again.
constexpr int64_t kTaskPanels = 4;
// Where a task packs its A, bytes of a column that pay for a visit to one that is so far away.
constexpr int64_t kPackAVisit = 256;
constexpr int64_t kPackAFar = 1024;
// Tasks of all rows, at least, where a product could have more tasks of fewer rows.
constexpr int64_t kFewOwnTasks = 4;
// Of the rows of B a task packs itself, the piece that pays for a visit to each: so many bytes, or this
// share of the row.
constexpr int64_t kPackVisit = 512;
constexpr int64_t kPackVisitShare = 4;
// A few rows of A stored by columns times many columns: k from which tasks of all rows pack their own columns of
// B, and A, a piece at a time that stays in L2; columns of such a task.
constexpr int64_t kFlatRows = 64;
constexpr int64_t kFlatK = 512;
constexpr int64_t kFlatColumns = 128;
// k of a piece of A stored by columns, which is fetched while the piece before is used: its rows, often a power of two
// apart, fall on few sets of L2.
constexpr int64_t kColumnsPiece = 256;
// Packed B of the shared path, and of a slab of the blocked path.
constexpr int64_t kSharedBytes = int64_t{3} << 20;
constexpr int64_t kSlabBytes = int64_t{1} << 22;

// Cost of transposing one element, in vector fmas; measured on Zen 4.
constexpr double kTransposeCost = 0.3;
// The same of an element of C that is turned and then gets its bias in a pass of its own; more where C does
// not stay in L1.
constexpr double kTurnCost = 0.6;
constexpr double kTurnFarCost = 2;
constexpr int64_t kTurnNear = int64_t{1} << 14;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

double cost(const GemmShape& s, int64_t narrow) {
  const double m = static_cast<double>(s.m);
  const double n = static_cast<double>(s.n);
  const double k = static_cast<double>(s.k);
  const double pack = s.b_cs == 1 ? 0.0 : kTransposeCost * n * k;
  // Half a vector costs more than half: its tiles load more than they multiply.
  const int64_t rest = s.n * s.item % 64;
  const double last = rest == 0 ? 0 : rest > narrow || narrow == 64 ? 1 : 0.75;
  return m * k * (static_cast<double>(s.n * s.item / 64) + last) + pack;
}

// Whether `lines` cache lines, `stride` bytes apart, do not fit into the sets of L1 they fall on
// (32 KiB, 8 ways of 64 lines).
bool conflicts(int64_t stride, int64_t lines) {
  const int64_t sets = stride % 64 == 0 ? 64 / std::gcd(stride / 64, int64_t{64}) : 64;
  return lines > 8 * sets;
}

// Reading A in place is free where its rows are contiguous. Where its columns are, a tile reads one
// line per k, which must stay in L1 for the next tile.
bool packs_a(const GemmShape& s, int64_t kc, int64_t passes) {
  if (s.a_cs == 1 || passes < 2) return false;
  if (s.a_rs != 1) return true;
  return passes >= 4 && conflicts(s.a_cs * s.item, 2 * std::min(s.k, kc));
}

// In place, B is read in rows of a panel's width. Where they fall on few sets of L1 each pass
// fetches them again from L2, which a tile of few rows cannot wait for; a page apart they also cost
// the others too much.
bool packs_b(const GemmShape& s, const GemmBlocking& blocking) {
  if (s.b_cs != 1) return true;
  const int64_t passes = ceil_div(s.m, blocking.rows);
  const int64_t stride = s.b_rs * s.item;
  const bool conflict = conflicts(stride, std::min(s.k, blocking.kc));
  if (blocking.rows < 8) return conflict && passes >= 4;
  return (conflict || stride >= 4096) && passes >= 8 && stride >= 2048;
}

// Bytes of B that a tile of few rows may as well read in place: L1 holds them.
constexpr int64_t kThinBytes = int64_t{1} << 15;
// Columns of a task, at least: pieces of B's rows long enough for the prefetchers, or of its columns.
constexpr int64_t kThinRowBytes = 4096;
constexpr int64_t kThinTaskColumns = 64;

bool is_thin(const GemmShape& s) {
  if (s.packed || s.k == 0) return false;
  if (s.b_cs != 1) return s.b_rs == 1 && s.m <= kThinColumns;
  return s.m == 1 || (s.m <= kThinRows && s.k * s.n * s.item > kThinBytes);
}

// The grid of tasks: enough of them, with little work that pads and with tiles that share operands.
void cut(const GemmShape& s, GemmPlan& plan, int64_t lanes, int64_t max_panels, int64_t max_n) {
  const int64_t width = plan.width;
  const int64_t columns = ceil_div(s.n, width);
  int64_t work = s.m * round_up(s.n, lanes) * s.k;
  if (!s.packed && s.b_cs != 1 && plan.rows.panels == 1) {
    work += (plan.path == GemmPath::thin ? kThinTransposeWork : kFewRowsPackWork) * s.n * s.k;
  }
  const int64_t tasks = work / kTaskWork;
  const int64_t wanted =
      std::min(kTasksWanted, tasks < kFewTasks ? tasks : kFewTasks + (tasks - kFewTasks) / 8) /
      s.batch;
  // Each task of its own packs its A again, and wants enough columns for it.
  const bool repacks = plan.pack_a && plan.path == GemmPath::own;
  const int64_t most_n = repacks ? std::max<int64_t>(1, s.n / (kRepackVectors * lanes)) : columns;
  const int64_t least_m = ceil_div(plan.rows.panels, max_panels);
  const int64_t least_n = ceil_div(columns, std::max<int64_t>(1, max_n / width));
  int64_t best_m = least_m, best_n = least_n;
  if (plan.path == GemmPath::own && plan.pack_b && !plan.pack_a &&
      plan.rows.panels <= max_panels + 1) {
    // Tasks of all rows: each packs its own columns of B and finds them in its caches.
    const int64_t visit = std::min(kPackVisit, s.b_rs * s.item / kPackVisitShare);
    const int64_t least = s.b_cs == 1 ? std::max<int64_t>(1, visit / (width * s.item)) : 1;
    const int64_t most = std::max(least_n, std::min(wanted, columns / least));
    if (most >= std::min(wanted, kFewOwnTasks)) {
      plan.block_panels = plan.rows.panels;
      plan.block_n = ceil_div(columns, std::max<int64_t>(1, most)) * width;
      plan.tasks_m = 1;
      plan.tasks_n = ceil_div(s.n, plan.block_n);
      return;
    }
  }
  double best = 0;
  if (wanted > least_m * least_n) {
    const int64_t most = ceil_div(plan.rows.panels, least_m);
    const bool far = repacks && s.a_rs == 1 && s.a_cs * s.item >= kPackAFar;
    const int64_t visit = far ? ceil_div(kPackAVisit, plan.rows.rows * s.item) : 1;
    const int64_t least = std::min(most, std::max(kTaskPanels, visit));
    for (int64_t panels = most; panels >= least; --panels) {
      const int64_t tasks_m = ceil_div(plan.rows.panels, panels);
      const int64_t tasks_n =
          std::min(columns, std::max(least_n, std::min(most_n, ceil_div(wanted, tasks_m))));
      const int64_t task_columns = ceil_div(columns, tasks_n);
      const double missing = static_cast<double>(std::max<int64_t>(0, wanted - tasks_m * tasks_n));
      const double score =
          static_cast<double>(tasks_m * panels * tasks_n * task_columns) *
          (1 + 0.5 / static_cast<double>(task_columns * width / lanes) +
           0.5 / static_cast<double>(panels)) *
          (1 + 0.02 * missing) *
          // One task too many for two threads to share.
          (tasks_m * tasks_n % 2 == 0 ? 1 : 1 + 0.5 / static_cast<double>(tasks_m * tasks_n));
      if (best == 0 || score < best) best = score, best_m = tasks_m, best_n = tasks_n;
      if (tasks_m >= wanted) break;
    }
  }
  plan.block_panels = ceil_div(plan.rows.panels, best_m);
  plan.block_n = ceil_div(columns, best_n) * width;
  plan.tasks_m = ceil_div(plan.rows.panels, plan.block_panels);
  plan.tasks_n = ceil_div(s.n, plan.block_n);
}

}  // namespace

GemmShape turned_shape(const GemmShape& s) {
  return {s.n, s.m, s.k, s.b_cs, s.b_rs, s.a_cs, s.a_rs, s.item, s.batch, false};
}

GemmPlan plan_gemm(const GemmShape& given, const GemmBlocking& blocking) {
  GemmPlan plan = {};
  const int64_t lanes = 64 / given.item;
  const GemmShape other = turned_shape(given);
  const int64_t elements = given.m * given.n;
  const double turning = (elements * given.item <= kTurnNear ? kTurnCost : kTurnFarCost) *
                         static_cast<double>(elements);
  plan.turned =
      !given.packed && cost(other, blocking.narrow) + turning < cost(given, blocking.narrow);
  const GemmShape s = plan.turned ? other : given;

  const int64_t n_vectors = ceil_div(s.n, lanes);
  plan.rows = GemmRows::of(s.m, blocking.rows);
  plan.pack_b = !s.packed && packs_b(s, blocking);
  if (is_thin(s)) {
    plan.path = GemmPath::thin;
    plan.pack_b = false;
    plan.vectors = 1;
    plan.width = s.b_cs == 1 ? kThinRowBytes / s.item : kThinTaskColumns;
    plan.kc = s.k;
    cut(s, plan, lanes, 1, std::max(s.n, plan.width));
    return plan;
  }
  const int64_t widest = s.m <= blocking.rows ? blocking.wide[s.m] : blocking.vectors;
  plan.vectors = static_cast<int>(std::min(widest, n_vectors));
  // A panel of the target, or several where tiles are wider.
  plan.width = lanes * round_up(plan.vectors, blocking.vectors);
  const int64_t width = plan.width;

  const int64_t b_bytes = s.k * round_up(s.n, width) * s.item;
  const int64_t max_panels = std::max<int64_t>(1, blocking.mc / blocking.rows);
  const bool large =
      !plan.turned && !s.packed && s.batch == 1 && s.m >= 192 && s.n >= 192 && s.k >= 128;
  if (large && (b_bytes > kSharedBytes || s.a_rs == 1 || s.m * s.k * s.item > 4 * kSharedBytes)) {
    plan.path = GemmPath::blocked;
    plan.pack_a = plan.pack_b = true;
  } else {
    plan.pack_a = packs_a(s, blocking.kc, ceil_div(s.n, width));
  }
  const bool flat = plan.path == GemmPath::own && plan.pack_a && plan.pack_b && s.batch == 1 &&
                    s.a_rs == 1 && s.m >= kFlatRows && plan.rows.panels <= max_panels &&
                    s.n >= 4 * kFlatColumns && s.k >= kFlatK;
  if (flat) {
    plan.block_panels = plan.rows.panels;
    plan.block_n = round_up(kFlatColumns, width);
    plan.tasks_m = 1;
    plan.tasks_n = ceil_div(s.n, plan.block_n);
  } else {
    cut(s, plan, lanes, max_panels, blocking.nc / s.item);
  }
  if (plan.path == GemmPath::own && plan.pack_b && plan.tasks_m > 1) plan.path = GemmPath::shared_b;

  const bool columns =
      flat || (plan.path != GemmPath::blocked && plan.pack_a && s.a_rs == 1 && !plan.turned);
  // Of few rows a B panel is read once, right after it was packed: small enough for L1.
  const bool once = plan.rows.panels == 1 && plan.pack_b && plan.path == GemmPath::own;
  const int64_t kc = once      ? std::max<int64_t>(64, 16384 / (width * s.item))
                     : columns ? std::min(blocking.kc, kColumnsPiece)
                               : blocking.kc;
  const int64_t blocks = std::max<int64_t>(1, ceil_div(s.k, kc));
  plan.kc = std::max<int64_t>(1, round_up(ceil_div(s.k, blocks), 8));
  plan.nc = once ? width : plan.block_n;
  const int64_t column_bytes =
      std::max<int64_t>(1, plan.path == GemmPath::blocked ? plan.kc : s.k) * s.item;
  plan.slab_n = std::max(plan.block_n, kSlabBytes / column_bytes / plan.block_n * plan.block_n);
  plan.slab_m = std::max<int64_t>(1, kSlabBytes / column_bytes / plan.max_block_m());
  return plan;
}

}  // namespace annx
