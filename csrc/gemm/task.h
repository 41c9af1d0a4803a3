// One block of C of a product: its operands, packed where the plan says so, and what follows the
// chains.
#pragma once

#include <algorithm>
#include <cstring>

#include "gemm/kernels.h"
#include "gemm/plan.h"
#include "gemm/scratch.h"

namespace annx::detail {

template <class T>
inline constexpr int64_t kLanes = 64 / static_cast<int64_t>(sizeof(T));

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_to_line(int64_t elements) { return (elements + 31) / 32 * 32; }

// Chains, at least, beside which memory is asked for.
inline constexpr int64_t kFetchChain = 64;

// Memory of this thread for what a task packs.
Scratch& thread_scratch();

// B in panels over all of k; null where it is not.
template <class T>
struct PackedB {
  const T* data = nullptr;
  int64_t panel = 0;                          // elements from one panel to the next
  int64_t first_column = 0;                   // of the product, a multiple of the panel's width
  const GemmKernelsOf<T>* kernels = nullptr;  // that packed it
};

template <class T>
int64_t panel_width(const GemmKernelsOf<T>& kernels) {
  return kernels.blocking.vectors * kLanes<T>;
}
template <class T>
int64_t round_to_panels(const GemmKernelsOf<T>& kernels, int64_t columns) {
  return ceil_div(columns, panel_width(kernels)) * panel_width(kernels);
}

// Room for a packed block of A.
template <class T>
int64_t packed_a_size(int64_t m, int64_t k) {
  return round_to_line(m * (k + 1) + kLanes<T>);
}

// A in row panels, or row by row where neither stride is 1. With `copy` false only says where it was
// packed to.
template <class T>
void pack_a_block(const GemmKernelsOf<T>& kernels, int64_t m, int64_t k, const T* a, int64_t a_rs,
                  int64_t a_cs, T* out, GemmBlock<T>& block, bool copy) {
  block.a = out;
  block.a_packed = a_rs == 1 || a_cs == 1;
  if (block.a_packed) {
    if (copy) kernels.pack_a(m, k, a, a_rs, a_cs, out);
    return;
  }
  block.a_rs = k + 1;
  block.a_cs = 1;
  if (!copy) return;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t p = 0; p < k; ++p) out[i * block.a_rs + p] = a[i * a_rs + p * a_cs];
  }
}

// The part of what follows the chains that a tile does before it is stored: bias, then relu or nothing,
// then the sum or product with another matrix.
template <class T>
struct TileEnd {
  const T* bias = nullptr;
  bool relu = false;
  GemmOther<T> other;

  TileEnd() = default;
  TileEnd(const GemmArgs<T>& args, int64_t row) {
    if (args.alpha != 1) return;
    bias = args.bias;
    relu = args.activation == Activation::relu;
    if (args.other.data == nullptr || (args.activation != Activation::none && !relu)) return;
    other = args.other;
    other.data += row * other.rs;
  }
  void set(GemmBlock<T>& block, bool last, int64_t col) const {
    block.bias = last && bias != nullptr ? bias + col : nullptr;
    block.relu = last && relu;
    block.other = {};
    if (!last || other.data == nullptr) return;
    block.other = other;
    block.other.data += col;
  }
};

// alpha, bias, activation, `other` and gradient over rows x cols of C from (row, col) on, but for what tiles did.
template <class T>
void finish(const GemmArgs<T>& args, const GemmKernelsOf<T>& kernels, int64_t row, int64_t rows,
            int64_t col, int64_t cols, const TileEnd<T>& done = {}) {
  T* c = args.c + row * args.c_rs + col;
  const T* bias = args.bias == nullptr || done.bias != nullptr ? nullptr : args.bias + col;
  const Activation activation = done.relu ? Activation::none : args.activation;
  GemmOther<T> combined;
  if (args.other.data != nullptr && done.other.data == nullptr) {
    combined = args.other;
    combined.data += row * combined.rs + col;
  }
  if (bias != nullptr || activation != Activation::none || args.alpha != 1 ||
      combined.data != nullptr)
    kernels.epilogue({rows, cols, c, args.c_rs, args.alpha, bias, activation, combined});
  const GemmGradient<T>& gradient = args.gradient;
  if (gradient.saved == nullptr && gradient.grad == nullptr) return;
  GemmGradientBlock<T> block = {rows,      cols, c,         args.c_rs, c,
                                args.c_rs, c,    args.c_rs, nullptr,   gradient.activation};
  const T* other =
      (gradient.saved != nullptr ? gradient.saved : gradient.grad) + row * gradient.rs + col;
  (gradient.saved != nullptr ? block.saved : block.grad) = other;
  (gradient.saved != nullptr ? block.saved_rs : block.grad_rs) = gradient.rs;
  kernels.gradient(block);
}

// Whether a task asks for memory ahead of its use, whether a task before has asked for this one's, and the task,
// by its number among the rows' and its first column, whose memory this one asks for: -1 where there is none.
struct TaskPlace {
  bool asks = false, at_hand = false;
  int64_t next_m = -1, next_column = 0;
};

// The args are those of the product with lanes along n, that is, turned where the plan is.
template <class T>
class Task {
 public:
  Task(const GemmArgs<T>& args, const GemmPlan& plan, const GemmKernelsOf<T>& kernels,
       const PackedB<T>& packed)
      : args_(args), plan_(plan), kernels_(kernels), packed_(packed) {}

  // `place` says how the task stands to others of its product.
  void run(int64_t task_m, int64_t j0, const TaskPlace& place = {}) {
    const int64_t i0 = plan_.first_row(task_m);
    const int64_t m = plan_.first_row(task_m + 1) - i0;
    const int64_t n = std::min(plan_.block_n, args_.n - j0);
    place_ = place;
    reserve(m, n);
    const T* a = args_.a + i0 * args_.a_rs;
    T* c = args_.c + (plan_.turned ? j0 * args_.c_rs + i0 : i0 * args_.c_rs + j0);
    // The rows of a turned product are the columns of C.
    if (plan_.turned && args_.accumulate) {
      kernels_.transpose(n, m, c, args_.c_rs, turned_c_, turned_rs_);
    }
    if (plan_.path == GemmPath::thin) {
      kernels_.thin({m, n, args_.k, a, args_.a_rs, args_.a_cs, args_.b + j0 * args_.b_cs,
                     args_.b_rs, args_.b_cs, plan_.turned ? turned_c_ : c,
                     plan_.turned ? turned_rs_ : args_.c_rs, !args_.accumulate});
    } else {
      // The columns of a turned product are rows of C.
      const TileEnd<T> end = plan_.turned ? TileEnd<T>() : TileEnd<T>(args_, i0);
      chains(a, m, j0, n, c, end);
      if (!plan_.turned) return finish(args_, kernels_, i0, m, j0, n, end);
    }
    if (plan_.turned) {
      kernels_.transpose(m, n, turned_c_, turned_rs_, c, args_.c_rs);
      finish(args_, kernels_, j0, n, i0, m);
    } else {
      finish(args_, kernels_, i0, m, j0, n);
    }
  }

 private:
  void chains(const T* a, int64_t m, int64_t j0, int64_t n, T* c, const TileEnd<T>& end) {
    int64_t p = 0;
    do {
      const int64_t k = std::min(plan_.kc, args_.k - p);
      load_a(m, k, a + p * args_.a_cs);
      block_.from_zero = p == 0 && !args_.accumulate;
      block_.at_hand = place_.at_hand;
      ask(a, m, j0, n, p + k);
      for (int64_t j = 0; j < n; j += plan_.nc) {
        load_b(p, k, j0 + j, std::min(plan_.nc, n - j));
        block_.c = plan_.turned ? turned_c_ + j : c + j;
        block_.c_rs = plan_.turned ? turned_rs_ : args_.c_rs;
        block_.a_far = !plan_.pack_a && j == 0 && j0 == packed_.first_column;
        end.set(block_, p + k == args_.k, j0 + j);
        kernels_.block(block_);
      }
      p += k;
    } while (p < args_.k);
  }

  // What follows the block that ends before row p of B: the same task's next operands or, after the last, all
  // that the next task begins with.
  void ask(const T* a, int64_t m, int64_t j0, int64_t n, int64_t p) {
    fetch_ = {runs_, runs_, 0, 0};
    block_.next = nullptr;
    if (!place_.asks || (p == args_.k && place_.next_m < 0)) return;
    if (p == args_.k) {
      const int64_t i0 = plan_.first_row(place_.next_m);
      m = plan_.first_row(place_.next_m + 1) - i0;
      j0 = place_.next_column;
      n = std::min(plan_.block_n, args_.n - j0);
      a = args_.a + i0 * args_.a_rs;
      p = 0;
      wants_operands(a, m, j0, n, p);
      if (args_.other.data != nullptr)
        wants(args_.other.data + i0 * args_.other.rs + j0, m, n, args_.other.rs);
      wants(args_.c + i0 * args_.c_rs + j0, m, n, args_.c_rs);
    } else {
      wants_operands(a, m, j0, n, p);
    }
    block_.next = &fetch_;
  }
  void wants_operands(const T* a, int64_t m, int64_t j0, int64_t n, int64_t p) {
    const int64_t k = std::min(plan_.kc, args_.k - p);
    if (args_.a_cs == 1) {
      wants(a + p, m, k, args_.a_rs);
    } else if (args_.a_rs == 1) {
      wants(a + p * args_.a_cs, k, m, args_.a_cs);
    }
    if (packed_.data != nullptr || !plan_.pack_b) return;
    if (args_.b_cs == 1) {
      wants(args_.b + p * args_.b_rs + j0, k, std::min(plan_.nc, n), args_.b_rs);
    } else if (args_.b_rs == 1) {
      wants(args_.b + p + j0 * args_.b_cs, std::min(plan_.nc, n), k, args_.b_cs);
    }
  }
  void wants(const T* at, int64_t rows, int64_t cols, int64_t rs) {
    constexpr int64_t item = sizeof(T);
    GemmRun& run = runs_[fetch_.end++ - runs_];
    if (rs == cols) {
      run = {at, rows * cols * item};
    } else {
      run = {at, cols * item, rows, rs * item};
    }
  }

  void reserve(int64_t m, int64_t n) {
    const int64_t a_size = plan_.pack_a ? packed_a_size<T>(m, plan_.kc) : 0;
    int64_t b_cols = reads_in_place(m, n) ? 0 : panel_width(kernels_);
    if (packed_.data != nullptr || plan_.path == GemmPath::thin) {
      b_cols = 0;
    } else if (plan_.pack_b) {
      b_cols = round_to_panels(kernels_, std::min(plan_.nc, n));
    }
    turned_rs_ = round_to_line(n);
    const int64_t c_size = plan_.turned ? m * turned_rs_ : 0;
    const int64_t size = a_size + b_cols * plan_.kc + c_size;
    if (size == 0) return;
    a_ = static_cast<T*>(thread_scratch().reserve(static_cast<size_t>(size) * sizeof(T)));
    turned_c_ = a_ + a_size;
    b_ = turned_c_ + c_size;
  }

  void load_a(int64_t m, int64_t k, const T* a) {
    block_.m = m;
    block_.k = k;
    if (plan_.pack_a) {
      pack_a_block(kernels_, m, k, a, args_.a_rs, args_.a_cs, a_, block_, true);
      return;
    }
    block_.a = a;
    block_.a_rs = args_.a_rs;
    block_.a_cs = args_.a_cs;
    block_.a_packed = false;
  }

  void load_b(int64_t p, int64_t k, int64_t j, int64_t n) {
    block_.n = n;
    block_.vectors = plan_.vectors;
    block_.b_tail = nullptr;
    block_.b_tail_rs = 0;
    block_.tail_overlaps = block_.tail_in_place = false;
    const int64_t width = panel_width(kernels_);
    if (packed_.data != nullptr) {
      block_.b = packed_.data + (j - packed_.first_column) / width * packed_.panel + p * width;
      block_.b_rs = width;
      block_.b_panel = packed_.panel;
      return;
    }
    const T* b = args_.b + p * args_.b_rs + j * args_.b_cs;
    if (plan_.pack_b) {
      kernels_.pack_b(k, n, b, args_.b_rs, args_.b_cs, width, k * width, b_);
      block_.b = b_;
      block_.b_rs = width;
      block_.b_panel = k * width;
      return;
    }
    block_.b = b;
    block_.b_rs = args_.b_rs;
    block_.b_panel = width;
    const int64_t rest = n % kLanes<T>;
    if (rest == 0) return;
    if (n > kLanes<T>) {
      block_.b_tail = b + (n - kLanes<T>);
      block_.b_tail_rs = args_.b_rs;
      block_.tail_overlaps = true;
    } else if (reads_in_place(block_.m, n)) {
      block_.b_tail = b;
      block_.b_tail_rs = args_.b_rs;
      block_.tail_in_place = true;
    } else {
      kernels_.pack_b(k, rest, b, args_.b_rs, 1, width, 0, b_);
      block_.b_tail = b_;
      block_.b_tail_rs = width;
    }
  }

  // Whether n columns, fewer than a vector, are read by narrow tiles, two of which may overlap: for few
  // rows that costs less than to pack them.
  bool reads_in_place(int64_t m, int64_t n) const {
    constexpr int64_t kFewRows = 32;
    const int64_t narrow = kernels_.blocking.narrow / static_cast<int64_t>(sizeof(T));
    return n == narrow || (n > narrow && n < kLanes<T> && m <= kFewRows);
  }

  const GemmArgs<T>& args_;
  const GemmPlan& plan_;
  const GemmKernelsOf<T>& kernels_;
  const PackedB<T> packed_;
  TaskPlace place_;
  GemmRun runs_[4] = {};
  GemmFetch fetch_ = {};
  GemmBlock<T> block_ = {};
  T* a_ = nullptr;
  T* b_ = nullptr;
  T* turned_c_ = nullptr;
  int64_t turned_rs_ = 0;
};

}  // namespace annx::detail
