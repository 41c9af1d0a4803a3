#include "gemm/gemm.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "core/thread_pool.h"
#include "gemm/task.h"

namespace annx {

using namespace detail;

Scratch& detail::thread_scratch() {
  static thread_local Scratch scratch;
  return scratch;
}

namespace {

constexpr int64_t kSplitChunk = 4096;
constexpr int64_t kSplitMaxOutput = 4096;
// Multiply-adds that are worth handing to another thread.
constexpr int64_t kGrainWork = int64_t{1} << 17;
// Rows and columns of B that are packed as one piece of work.
constexpr int64_t kPackRows = 256;
constexpr int64_t kPackColumns = 128;

// Threads that share the work of a parallel_for called here.
int64_t threads_here() { return in_serial_region() ? 1 : num_threads(); }

template <class T>
GemmArgs<T> turn(const GemmArgs<T>& args) {
  GemmArgs<T> turned = args;
  std::swap(turned.m, turned.n);
  turned.a = args.b, turned.a_rs = args.b_cs, turned.a_cs = args.b_rs;
  turned.b = args.a, turned.b_rs = args.a_cs, turned.b_cs = args.a_rs;
  return turned;
}

// Plans are worked out anew only for shapes this thread has not just seen.
const GemmPlan& plan_of(const GemmShape& shape, const GemmBlocking& blocking) {
  struct Known {
    GemmShape shape;
    const GemmBlocking* blocking;
    GemmPlan plan;
  };
  constexpr uint64_t kKnown = 32;
  // On the heap: what stays in a thread's static memory is scarce for a loaded library.
  static thread_local std::unique_ptr<Known[]> known;
  if (known == nullptr) known = std::make_unique<Known[]>(kKnown);
  uint64_t hash = static_cast<uint64_t>(shape.m) * 31 + static_cast<uint64_t>(shape.n);
  hash = hash * 31 + static_cast<uint64_t>(shape.k * 5 + shape.a_cs * 3 + shape.b_cs);
  Known& entry = known[(hash * 0x9e3779b97f4a7c15u) >> 59];
  if (entry.blocking != &blocking || !(entry.shape == shape)) {
    entry.plan = plan_gemm(shape, blocking);
    entry.shape = shape;
    entry.blocking = &blocking;
  }
  return entry.plan;
}

// A stride that is never used may as well be the fast one.
template <class T>
GemmArgs<T> normalized(GemmArgs<T> args) {
  if (args.m == 1) args.a_rs = args.k;
  if (args.k == 1) args.a_cs = 1, args.b_rs = args.n;
  if (args.n == 1) args.b_cs = 1;
  return args;
}

// Rows p … p+k-1 and columns j … j+n-1 of B, cut into pieces, into panels of `panel` elements.
template <class T>
struct PackWork {
  const GemmArgs<T>& args;
  const GemmKernelsOf<T>& kernels;
  int64_t p, k, j, n, panel;
  T* out;

  int64_t pieces() const { return ceil_div(k, kPackRows) * ceil_div(n, kPackColumns); }
  void run(int64_t piece) const {
    const int64_t down = ceil_div(k, kPackRows);
    const int64_t first = piece / down * kPackColumns;
    const int64_t row = piece % down * kPackRows;
    const T* b = args.b + (p + row) * args.b_rs + (j + first) * args.b_cs;
    const int64_t width = panel_width(kernels);
    kernels.pack_b(std::min(kPackRows, k - row), std::min(kPackColumns, n - first), b, args.b_rs,
                   args.b_cs, width, panel, out + first / width * panel + row * width);
  }
};

// Products of so many bytes ask for the next task's memory; smaller ones stay in L2.
constexpr int64_t kAskBytes = int64_t{1} << 19;

// Long rows of A that is not packed are a page apart and more, piece by piece: they are left to the tiles.
template <class T>
bool asks_ahead(const GemmArgs<T>& args, const GemmPlan& plan) {
  const int64_t elements = args.m * args.k + args.k * args.n + args.m * args.n;
  return elements * static_cast<int64_t>(sizeof(T)) >= kAskBytes && plan.kc >= kFetchChain &&
         !plan.turned && (plan.pack_a || args.k <= plan.kc);
}

// Threads claim tasks in turn, most likely. Column `first` is that of task 0.
template <class T>
TaskPlace place_of(const GemmArgs<T>& args, const GemmPlan& plan, int64_t task, int64_t tasks,
                   int64_t first) {
  TaskPlace place;
  if (!asks_ahead(args, plan)) return place;
  const int64_t threads = threads_here(), next = task + threads;
  place.asks = true;
  place.at_hand = task >= threads;
  if (next < tasks) {
    place.next_m = next % plan.tasks_m;
    place.next_column = first + next / plan.tasks_m * plan.block_n;
  }
  return place;
}

template <class T>
void run_tasks(const GemmArgs<T>& args, const GemmPlan& plan, const GemmKernelsOf<T>& kernels,
               const PackedB<T>& packed, int64_t j, int64_t n) {
  const int64_t tasks = plan.tasks_m * ceil_div(n, plan.block_n);
  parallel_for(tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const TaskPlace place = place_of(args, plan, task, tasks, j);
      Task<T>(args, plan, kernels, packed)
          .run(task % plan.tasks_m, j + task / plan.tasks_m * plan.block_n, place);
    }
  });
}

// One product whose tasks share a packed B.
template <class T>
void run_shared_b(const GemmArgs<T>& args, const GemmPlan& plan, const GemmKernelsOf<T>& kernels) {
  const int64_t slab_n = std::min(plan.slab_n, args.n);
  const int64_t panel = args.k * panel_width(kernels);
  Scratch scratch;
  T* packed = static_cast<T*>(
      scratch.reserve(checked_bytes(args.k * round_to_panels(kernels, slab_n), sizeof(T))));
  for (int64_t j = 0; j < args.n; j += slab_n) {
    const int64_t n = std::min(slab_n, args.n - j);
    const PackWork<T> work = {args, kernels, 0, args.k, j, n, panel, packed};
    parallel_for(work.pieces(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t piece = begin; piece < end; ++piece) work.run(piece);
    });
    run_tasks(args, plan, kernels, PackedB<T>{packed, panel, j, &kernels}, j, n);
  }
}

// A large product: all threads pack kc of k of both operands, then all compute with them.
template <class T>
void run_blocked(const GemmArgs<T>& args, const GemmPlan& plan, const GemmKernelsOf<T>& kernels) {
  const int64_t slab_n = std::min(plan.slab_n, args.n);
  const int64_t slab_m = std::min(plan.slab_m, plan.tasks_m);
  const int64_t a_size = packed_a_size<T>(plan.max_block_m(), plan.kc);
  Scratch scratch;
  T* packed_a = static_cast<T*>(scratch.reserve(
      checked_bytes(slab_m * a_size + plan.kc * round_to_panels(kernels, slab_n), sizeof(T))));
  T* packed_b = packed_a + slab_m * a_size;
  for (int64_t j = 0; j < args.n; j += slab_n) {
    const int64_t n = std::min(slab_n, args.n - j);
    for (int64_t p = 0; p < args.k; p += plan.kc) {
      const int64_t k = std::min(plan.kc, args.k - p);
      const int64_t panel = k * panel_width(kernels);
      const PackWork<T> work = {args, kernels, p, k, j, n, panel, packed_b};
      for (int64_t slab = 0; slab < plan.tasks_m; slab += slab_m) {
        const int64_t blocks = std::min(slab_m, plan.tasks_m - slab);
        const auto load_a = [&](int64_t t, GemmBlock<T>& block, bool copy) {
          const int64_t row = plan.first_row(slab + t);
          block.m = plan.first_row(slab + t + 1) - row;
          block.k = k;
          pack_a_block(kernels, block.m, k, args.a + row * args.a_rs + p * args.a_cs, args.a_rs,
                       args.a_cs, packed_a + t * a_size, block, copy);
          return row;
        };
        const int64_t pieces = slab == 0 ? work.pieces() : 0;
        parallel_for(blocks + pieces, 1, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            GemmBlock<T> block;
            if (i < blocks) {
              load_a(i, block, true);
            } else {
              work.run(i - blocks);
            }
          }
        });
        parallel_for(blocks * ceil_div(n, plan.block_n), 1, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            GemmBlock<T> block = {};
            const int64_t row = load_a(i % blocks, block, false);
            const int64_t col = i / blocks * plan.block_n;
            block.n = std::min(plan.block_n, n - col);
            block.b = packed_b + col / panel_width(kernels) * panel;
            block.b_rs = panel_width(kernels);
            block.b_panel = panel;
            block.vectors = plan.vectors;
            block.c = args.c + row * args.c_rs + j + col;
            block.c_rs = args.c_rs;
            block.from_zero = p == 0 && !args.accumulate;
            const TileEnd<T> end(args, row);
            end.set(block, p + k == args.k, j + col);
            kernels.block(block);
            if (p + k == args.k) finish(args, kernels, row, block.m, j + col, block.n, end);
          }
        });
      }
    }
  }
}

template <class T>
GemmArgs<T> batch_entry(GemmArgs<T> args, const GemmBatch& batch, int64_t index) {
  const int64_t outer = batch.outer == 1 ? 0 : index / batch.inner;
  const int64_t inner = index - outer * batch.inner;
  args.a += outer * batch.a_outer + inner * batch.a_inner;
  args.b += outer * batch.b_outer + inner * batch.b_inner;
  args.c += outer * batch.c_outer + inner * batch.c_inner;
  const int64_t shift = outer * batch.gradient_outer + inner * batch.gradient_inner;
  if (args.gradient.saved != nullptr) args.gradient.saved += shift;
  if (args.gradient.grad != nullptr) args.gradient.grad += shift;
  return args;
}

template <class T>
void run_batch(const GemmArgs<T>& args, const GemmBatch& batch, const PackedB<T>& packed) {
  const int64_t count = batch.outer * batch.inner;
  const GemmKernelsOf<T>& kernels = packed.data != nullptr ? *packed.kernels : gemm_kernels_of<T>();
  const GemmShape shape = {args.m,    args.n,    args.k,    args.a_rs, args.a_cs,
                           args.b_rs, args.b_cs, sizeof(T), count,     packed.data != nullptr};
  const GemmPlan plan = plan_of(shape, kernels.blocking);
  const auto entry = [&](int64_t index) {
    const GemmArgs<T> one = batch_entry(args, batch, index);
    return plan.turned ? turn(one) : one;
  };
  if (plan.path == GemmPath::blocked || plan.path == GemmPath::shared_b) {
    for (int64_t index = 0; index < count; ++index) {
      if (plan.path == GemmPath::blocked) {
        run_blocked(entry(index), plan, kernels);
      } else {
        run_shared_b(entry(index), plan, kernels);
      }
    }
    return;
  }
  const int64_t tasks = plan.tasks_m * plan.tasks_n;
  const auto body = [&](int64_t begin, int64_t end) {
    // Divisions only where an entry begins: beside a small product they are not small.
    int64_t task = begin % tasks;
    for (int64_t index = begin; index < end;) {
      const GemmArgs<T> one = entry(tasks == 1 ? index : index / tasks);
      Task<T> work(one, plan, kernels, packed);
      for (; task < tasks && index < end; ++task, ++index) {
        if (tasks == 1) {
          work.run(0, 0);
          continue;
        }
        work.run(task % plan.tasks_m, task / plan.tasks_m * plan.block_n,
                 place_of(one, plan, task, tasks, 0));
      }
      task = 0;
    }
  };
  if (count * tasks == 1) {
    body(0, 1);
    return;
  }
  // Small products of a batch are handed out several at a time; of one product each task is worth it.
  const int64_t work = args.m * args.n * std::max<int64_t>(args.k, 1) / tasks;
  const int64_t grain =
      count == 1 ? 1 : std::max<int64_t>(1, kGrainWork / std::max<int64_t>(work, 1));
  parallel_for(count * tasks, std::min(grain, count * tasks), body);
}

// c = beta c + alpha t, row by row, in the order of gemm.h: for what follows a product into t.
template <class T>
void combine(const GemmArgs<T>& args, const T* t, int64_t t_rs) {
  const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 14) / args.n);
  parallel_for(args.m, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T* c = args.c + i * args.c_rs;
      const T* from = t + i * t_rs;
      for (int64_t j = 0; j < args.n; ++j) c[j] = args.alpha * from[j] + args.beta * c[j];
    }
  });
}

// What does not belong to the chains, done after them.
template <class T>
void finish_all(GemmArgs<T> args) {
  finish(args, gemm_kernels_of<T>(), 0, args.m, 0, args.n);
}

template <class T>
GemmArgs<T> chains_only(GemmArgs<T> args) {
  args.alpha = args.beta = 1;
  args.bias = nullptr;
  args.activation = Activation::none;
  args.other = {};
  args.gradient = {};
  return args;
}

// Long chains of a small C, cut into chunks that run at the same time.
template <class T>
void run_split(const GemmArgs<T>& args, int64_t chunk, const PackedB<T>& packed) {
  const int64_t m = args.m;
  const int64_t n = args.n;
  const int64_t parts = ceil_div(args.k, chunk);
  const size_t bytes = checked_bytes((parts - 1) * m * n, sizeof(T));
  Scratch scratch;
  T* partial = static_cast<T*>(scratch.reserve(bytes));
  parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      GemmArgs<T> one = chains_only(args);
      one.k = std::min(chunk, args.k - part * chunk);
      one.a += part * chunk * args.a_cs;
      PackedB<T> one_packed = packed;
      if (packed.data != nullptr) {
        one_packed.data += part * chunk * panel_width(*packed.kernels);
      } else {
        one.b += part * chunk * args.b_rs;
      }
      if (part > 0) {
        one.accumulate = false;
        one.c = partial + (part - 1) * m * n;
        one.c_rs = n;
      }
      run_batch(normalized(one), GemmBatch{}, one_packed);
    }
  });
  for (int64_t part = 1; part < parts; ++part) {
    const T* from = partial + (part - 1) * m * n;
    for (int64_t i = 0; i < m; ++i) {
      T* c = args.c + i * args.c_rs;
      for (int64_t j = 0; j < n; ++j) c[j] += from[i * n + j];
    }
  }
  finish_all(args);
}

// Entries that share B and whose rows follow on from one to the next are one taller product.
template <class T>
void stack_rows(GemmArgs<T>& args, GemmBatch& batch) {
  if (batch.outer != 1 || batch.inner == 1 || batch.b_inner != 0) return;
  if (args.m == 1) {
    args.a_rs = batch.a_inner;
    args.c_rs = batch.c_inner;
    args.gradient.rs = batch.gradient_inner;
  } else if (batch.a_inner != args.m * args.a_rs || batch.c_inner != args.m * args.c_rs ||
             batch.gradient_inner != args.m * args.gradient.rs) {
    return;
  }
  args.m *= batch.inner;
  batch = GemmBatch{};
}

template <class T>
void gemm_any(const GemmArgs<T>& given, GemmBatch batch, const PackedB<T>& packed = {});

// c += with factors: the product goes to memory of its own first.
template <class T>
void run_scaled(const GemmArgs<T>& args, const GemmBatch& batch, const PackedB<T>& packed) {
  Scratch scratch;
  GemmArgs<T> product = chains_only(args);
  product.accumulate = false;
  product.c = static_cast<T*>(scratch.reserve(checked_bytes(args.m * args.n, sizeof(T))));
  product.c_rs = args.n;
  for (int64_t index = 0; index < batch.outer * batch.inner; ++index) {
    GemmArgs<T> one = batch_entry(args, batch, index);
    product.a = one.a, product.b = one.b;
    gemm_any(product, GemmBatch{}, packed);
    combine(one, product.c, args.n);
    one.alpha = 1;
    finish_all(one);
  }
}

template <class T>
void gemm_any(const GemmArgs<T>& given, GemmBatch batch, const PackedB<T>& packed) {
  if (given.m == 0 || given.n == 0 || batch.outer == 0 || batch.inner == 0) return;
  if (given.accumulate && (given.alpha != 1 || given.beta != 1)) {
    run_scaled(given, batch, packed);
    return;
  }
  GemmArgs<T> args = given;
  // Operands without elements may have no address; offsets are taken from one.
  static constexpr T kNone = 0;
  if (args.k == 0) args.a = args.b = &kNone;
  const int64_t chunk = split_k_chunk(args.m, args.n, args.k);
  if (chunk == 0) {
    stack_rows(args, batch);
    run_batch(normalized(args), batch, packed);
    return;
  }
  for (int64_t index = 0; index < batch.outer * batch.inner; ++index) {
    run_split(batch_entry(args, batch, index), chunk, packed);
  }
}

template <class T>
void gemm_packed(GemmArgs<T> args, const PackedMatrix<T>& b) {
  args.n = b.n(), args.k = b.k();
  args.b = nullptr, args.b_rs = b.n(), args.b_cs = 1;
  const GemmKernelsOf<T>& kernels = gemm_kernels_of<T>(b.target());
  const PackedB<T> packed = {b.data(), b.k() * panel_width(kernels), 0, &kernels};
  gemm_any(args, GemmBatch{}, packed);
}

}  // namespace

int64_t split_k_chunk(int64_t m, int64_t n, int64_t k) {
  return m * n <= kSplitMaxOutput && k >= 2 * kSplitChunk ? kSplitChunk : 0;
}

void gemm(const GemmArgs<float>& args) { gemm_any(args, GemmBatch{}); }
void gemm(const GemmArgs<double>& args) { gemm_any(args, GemmBatch{}); }
void gemm_batched(const GemmArgs<float>& args, const GemmBatch& batch) { gemm_any(args, batch); }
void gemm_batched(const GemmArgs<double>& args, const GemmBatch& batch) { gemm_any(args, batch); }
void gemm(const GemmArgs<float>& args, const PackedMatrix<float>& b) { gemm_packed(args, b); }
void gemm(const GemmArgs<double>& args, const PackedMatrix<double>& b) { gemm_packed(args, b); }

template <class T>
PackedMatrix<T>::PackedMatrix(int64_t k, int64_t n, const T* b, int64_t b_rs, int64_t b_cs)
    : k_(k), n_(n), target_(active_target()) {
  data_ = static_cast<T*>(allocate(bytes()));
  const GemmKernelsOf<T>& kernels = gemm_kernels_of<T>(target_);
  GemmArgs<T> args;
  args.b = b, args.b_rs = b_rs, args.b_cs = b_cs;
  const PackWork<T> work = {args, kernels, 0, k, 0, n, k * panel_width(kernels), data_};
  parallel_for(work.pieces(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) work.run(piece);
  });
}
template <class T>
PackedMatrix<T>::~PackedMatrix() {
  if (data_ != nullptr) deallocate(data_, bytes());
}
template <class T>
size_t PackedMatrix<T>::bytes() const {
  return checked_bytes(k_ * round_to_panels(gemm_kernels_of<T>(target_), n_), sizeof(T));
}
template class PackedMatrix<float>;
template class PackedMatrix<double>;

}  // namespace annx
