#include "gemm/gemm.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/thread_pool.h"
#include "gemm/kernels.h"
#include "gemm/plan.h"
#include "gemm/scratch.h"

namespace annx {
namespace {

constexpr int64_t kSplitChunk = 4096;
constexpr int64_t kSplitMaxOutput = 4096;
// Multiply-adds that are worth handing to another thread.
constexpr int64_t kGrainWork = int64_t{1} << 17;

template <class T>
const GemmKernelsOf<T>& kernels_of();
template <>
const GemmKernelsOf<float>& kernels_of<float>() {
  return gemm_kernels().f32;
}
template <>
const GemmKernelsOf<double>& kernels_of<double>() {
  return gemm_kernels().f64;
}

Scratch& thread_scratch() {
  static thread_local Scratch scratch;
  return scratch;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t round_to_line(int64_t elements) { return (elements + 31) / 32 * 32; }

template <class T>
GemmArgs<T> turn(const GemmArgs<T>& args) {
  GemmArgs<T> turned = args;
  std::swap(turned.m, turned.n);
  turned.a = args.b, turned.a_rs = args.b_cs, turned.a_cs = args.b_rs;
  turned.b = args.a, turned.b_rs = args.a_cs, turned.b_cs = args.a_rs;
  return turned;
}

// A stride that is never used may as well be the fast one.
template <class T>
GemmArgs<T> normalized(GemmArgs<T> args) {
  if (args.m == 1) args.a_rs = args.k;
  if (args.k == 1) args.a_cs = 1, args.b_rs = args.n;
  if (args.n == 1) args.b_cs = 1;
  return args;
}

// One block of C of a product with lanes along n, over all of k.
template <class T>
class Task {
 public:
  // `shared_b` holds the packed columns of B from slab_j on, or is null.
  Task(const GemmArgs<T>& args, const GemmPlan& plan, const GemmKernelsOf<T>& kernels,
       const T* shared_b, int64_t slab_j)
      : args_(args), plan_(plan), kernels_(kernels), shared_b_(shared_b), slab_j_(slab_j) {}

  void run(int64_t i0, int64_t j0) {
    const int64_t m = std::min(plan_.block_m, args_.m - i0);
    const int64_t n = std::min(plan_.block_n, args_.n - j0);
    reserve(m, n);
    const T* a = args_.a + i0 * args_.a_rs;
    T* c = args_.c + i0 * args_.c_rs + j0;
    int64_t c_rs = args_.c_rs;
    if (plan_.turned) {
      // The rows of this product are the columns of C.
      c = args_.c + j0 * args_.c_rs + i0;
      if (args_.accumulate) kernels_.transpose(n, m, c, c_rs, turned_c_, turned_rs_);
    }
    int64_t p = 0;
    do {
      const int64_t k = std::min(plan_.kc, args_.k - p);
      load_a(m, k, a + p * args_.a_cs);
      block_.from_zero = p == 0 && !args_.accumulate;
      for (int64_t j = 0; j < n; j += plan_.nc) {
        load_b(p, k, j0 + j, std::min(plan_.nc, n - j));
        block_.c = plan_.turned ? turned_c_ + j : c + j;
        block_.c_rs = plan_.turned ? turned_rs_ : c_rs;
        kernels_.block(block_);
      }
      p += k;
    } while (p < args_.k);
    if (plan_.turned) {
      kernels_.transpose(m, n, turned_c_, turned_rs_, c, c_rs);
      finish(n, m, c, c_rs, i0);
    } else {
      finish(m, n, c, c_rs, j0);
    }
  }

 private:
  void reserve(int64_t m, int64_t n) {
    const int64_t lanes = 64 / static_cast<int64_t>(sizeof(T));
    const int64_t width = plan_.vectors * lanes;
    a_rs_ = plan_.kc + lanes;
    const int64_t a_size = plan_.pack_a ? round_to_line(m * a_rs_ + lanes) : 0;
    int64_t b_cols = lanes;
    if (plan_.pack_b) b_cols = (std::min(plan_.nc, n) + width - 1) / width * width;
    if (shared_b_ != nullptr) b_cols = 0;
    turned_rs_ = round_to_line(n);
    const int64_t c_size = plan_.turned ? m * turned_rs_ : 0;
    const int64_t size = a_size + b_cols * plan_.kc + c_size;
    a_ = static_cast<T*>(thread_scratch().reserve(static_cast<size_t>(size) * sizeof(T)));
    turned_c_ = a_ + a_size;
    b_ = turned_c_ + c_size;
  }

  // Packed, A lies in row panels, or row by row where its rows are contiguous: the kernel takes both,
  // and rows are the cheaper copy.
  void load_a(int64_t m, int64_t k, const T* a) {
    block_.m = m;
    block_.k = k;
    block_.a = a;
    block_.a_rs = args_.a_rs;
    block_.a_cs = args_.a_cs;
    block_.a_packed = false;
    if (!plan_.pack_a) return;
    block_.a = a_;
    if (args_.a_rs == 1) {
      block_.a_packed = true;
      kernels_.pack_a(m, k, a, args_.a_cs, a_);
      return;
    }
    block_.a_rs = a_rs_;
    block_.a_cs = 1;
    for (int64_t i = 0; i < m; ++i) {
      const T* row = a + i * args_.a_rs;
      T* out = a_ + i * a_rs_;
      if (args_.a_cs == 1) {
        std::memcpy(out, row, static_cast<size_t>(k) * sizeof(T));
      } else {
        for (int64_t p = 0; p < k; ++p) out[p] = row[p * args_.a_cs];
      }
    }
  }

  void load_b(int64_t p, int64_t k, int64_t j, int64_t n) {
    const int64_t lanes = 64 / static_cast<int64_t>(sizeof(T));
    const int64_t width = plan_.vectors * lanes;
    block_.n = n;
    block_.vectors = plan_.vectors;
    block_.b_tail = nullptr;
    block_.b_tail_rs = 0;
    if (shared_b_ != nullptr) {
      block_.b = shared_b_ + (j - slab_j_) * args_.k + p * width;
      block_.b_rs = width;
      block_.b_panel = args_.k * width;
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
    const int64_t rest = n % lanes;
    if (rest != 0) {
      kernels_.pack_b(k, rest, b + (n - rest), args_.b_rs, 1, lanes, 0, b_);
      block_.b_tail = b_;
      block_.b_tail_rs = lanes;
    }
  }

  void finish(int64_t rows, int64_t cols, T* c, int64_t c_rs, int64_t first_col) {
    if (args_.bias == nullptr && args_.activation == Activation::none) return;
    const T* bias = args_.bias == nullptr ? nullptr : args_.bias + first_col;
    kernels_.epilogue(rows, cols, c, c_rs, bias, args_.activation);
  }

  const GemmArgs<T>& args_;
  const GemmPlan& plan_;
  const GemmKernelsOf<T>& kernels_;
  const T* shared_b_;
  int64_t slab_j_;
  GemmBlock<T> block_ = {};
  T* a_ = nullptr;
  T* b_ = nullptr;
  T* turned_c_ = nullptr;
  int64_t a_rs_ = 0;
  int64_t turned_rs_ = 0;
};

// Columns j … j+n-1 of B into panels over all of k.
template <class T>
void pack_shared_b(const GemmArgs<T>& args, const GemmPlan& plan, const GemmKernelsOf<T>& kernels,
                   int64_t j, int64_t n, T* out) {
  constexpr int64_t kRows = 256;
  constexpr int64_t kColumns = 128;
  const int64_t width = plan.vectors * 64 / static_cast<int64_t>(sizeof(T));
  const int64_t step = std::max(width, kColumns / width * width);
  const int64_t pieces = ceil_div(args.k, kRows);
  parallel_for(pieces * ceil_div(n, step), 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const int64_t first = index / pieces * step;
      const int64_t p = index % pieces * kRows;
      const T* b = args.b + p * args.b_rs + (j + first) * args.b_cs;
      kernels.pack_b(std::min(kRows, args.k - p), std::min(step, n - first), b, args.b_rs,
                     args.b_cs, width, args.k * width, out + first * args.k + p * width);
    }
  });
}

// One product whose tasks share a packed B.
template <class T>
void run_shared(const GemmArgs<T>& args, const GemmPlan& plan, const GemmKernelsOf<T>& kernels) {
  const int64_t width = plan.vectors * 64 / static_cast<int64_t>(sizeof(T));
  const int64_t slab_n = std::min(plan.slab_n, args.n);
  Scratch scratch;
  T* packed = static_cast<T*>(
      scratch.reserve(checked_bytes(args.k * (ceil_div(slab_n, width) * width), sizeof(T))));
  const int64_t tasks_m = ceil_div(args.m, plan.block_m);
  for (int64_t slab = 0; slab < args.n; slab += slab_n) {
    const int64_t n = std::min(slab_n, args.n - slab);
    pack_shared_b(args, plan, kernels, slab, n, packed);
    parallel_for(tasks_m * ceil_div(n, plan.block_n), 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        Task<T>(args, plan, kernels, packed, slab)
            .run(task % tasks_m * plan.block_m, slab + task / tasks_m * plan.block_n);
      }
    });
  }
}

template <class T>
GemmArgs<T> batch_entry(GemmArgs<T> args, const GemmBatch& batch, int64_t index) {
  const int64_t outer = index / batch.inner;
  const int64_t inner = index % batch.inner;
  args.a += outer * batch.a_outer + inner * batch.a_inner;
  args.b += outer * batch.b_outer + inner * batch.b_inner;
  args.c += outer * batch.c_outer + inner * batch.c_inner;
  return args;
}

template <class T>
void run_batch(const GemmArgs<T>& args, const GemmBatch& batch) {
  const int64_t count = batch.outer * batch.inner;
  const GemmKernelsOf<T>& kernels = kernels_of<T>();
  const GemmShape shape = {args.m,    args.n,    args.k,    args.a_rs, args.a_cs,
                           args.b_rs, args.b_cs, sizeof(T), count};
  const GemmPlan plan = plan_gemm(shape, kernels.blocking);
  const auto entry = [&](int64_t index) {
    const GemmArgs<T> one = batch_entry(args, batch, index);
    return plan.turned ? turn(one) : one;
  };
  if (plan.share_b) {
    for (int64_t index = 0; index < count; ++index) run_shared(entry(index), plan, kernels);
    return;
  }
  const int64_t tasks_m = ceil_div(plan.turned ? args.n : args.m, plan.block_m);
  const int64_t tasks_n = ceil_div(plan.turned ? args.m : args.n, plan.block_n);
  const int64_t tasks = tasks_m * tasks_n;
  const auto body = [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const GemmArgs<T> one = entry(index / tasks);
      const int64_t task = index % tasks;
      Task<T>(one, plan, kernels, nullptr, 0)
          .run(task % tasks_m * plan.block_m, task / tasks_m * plan.block_n);
    }
  };
  if (count * tasks == 1) {
    body(0, 1);
    return;
  }
  // Small products of a batch are handed out several at a time.
  const int64_t work = args.m * args.n * std::max<int64_t>(args.k, 1) / tasks;
  const int64_t grain = std::max<int64_t>(1, kGrainWork / std::max<int64_t>(work, 1));
  parallel_for(count * tasks, std::min(grain, count * tasks), body);
}

// Long chains of a small C, cut into chunks that run at the same time.
template <class T>
void run_split(const GemmArgs<T>& args, int64_t chunk) {
  const int64_t m = args.m;
  const int64_t n = args.n;
  const int64_t parts = ceil_div(args.k, chunk);
  const size_t bytes = checked_bytes((parts - 1) * m * n, sizeof(T));
  Scratch scratch;
  T* partial = static_cast<T*>(scratch.reserve(bytes));
  parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      GemmArgs<T> one = args;
      one.k = std::min(chunk, args.k - part * chunk);
      one.a += part * chunk * args.a_cs;
      one.b += part * chunk * args.b_rs;
      one.bias = nullptr;
      one.activation = Activation::none;
      if (part > 0) {
        one.accumulate = false;
        one.c = partial + (part - 1) * m * n;
        one.c_rs = n;
      }
      run_batch(normalized(one), GemmBatch{});
    }
  });
  for (int64_t part = 1; part < parts; ++part) {
    const T* from = partial + (part - 1) * m * n;
    for (int64_t i = 0; i < m; ++i) {
      T* c = args.c + i * args.c_rs;
      for (int64_t j = 0; j < n; ++j) c[j] += from[i * n + j];
    }
  }
  if (args.bias != nullptr || args.activation != Activation::none) {
    kernels_of<T>().epilogue(m, n, args.c, args.c_rs, args.bias, args.activation);
  }
}

// Entries that share B and whose rows follow on from one to the next are one taller product.
template <class T>
void stack_rows(GemmArgs<T>& args, GemmBatch& batch) {
  if (batch.outer != 1 || batch.inner == 1 || batch.b_inner != 0) return;
  if (args.m == 1) {
    args.a_rs = batch.a_inner;
    args.c_rs = batch.c_inner;
  } else if (batch.a_inner != args.m * args.a_rs || batch.c_inner != args.m * args.c_rs) {
    return;
  }
  args.m *= batch.inner;
  batch = GemmBatch{};
}

template <class T>
void gemm_any(const GemmArgs<T>& given, GemmBatch batch) {
  if (given.m == 0 || given.n == 0 || batch.outer == 0 || batch.inner == 0) return;
  GemmArgs<T> args = given;
  const int64_t chunk = split_k_chunk(args.m, args.n, args.k);
  if (chunk == 0) {
    stack_rows(args, batch);
    run_batch(normalized(args), batch);
    return;
  }
  for (int64_t index = 0; index < batch.outer * batch.inner; ++index) {
    run_split(batch_entry(args, batch, index), chunk);
  }
}

}  // namespace

int64_t split_k_chunk(int64_t m, int64_t n, int64_t k) {
  return m * n <= kSplitMaxOutput && k >= 2 * kSplitChunk ? kSplitChunk : 0;
}

void gemm(const GemmArgs<float>& args) { gemm_any(args, GemmBatch{}); }
void gemm(const GemmArgs<double>& args) { gemm_any(args, GemmBatch{}); }
void gemm_batched(const GemmArgs<float>& args, const GemmBatch& batch) { gemm_any(args, batch); }
void gemm_batched(const GemmArgs<double>& args, const GemmBatch& batch) { gemm_any(args, batch); }

}  // namespace annx
