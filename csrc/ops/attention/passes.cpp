// The internal ops: how forward and backward share out their work.
#include <algorithm>

#include "core/thread_pool.h"
#include "gemm/scratch.h"
#include "ops/attention/attention.h"

namespace annx::attention {
namespace {

constexpr double kTaskWork = 1 << 20;         // multiply-adds worth handing to a thread
constexpr int64_t kChunkKeys = 512;           // fewest keys of a backward task
constexpr int64_t kBackwardTasksWanted = 32;  // heads are cut into chunks of keys below this

Scratch& thread_scratch() {
  static thread_local Scratch scratch;
  return scratch;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Threads that share the work of a parallel_for called here.
int64_t threads_here() { return in_serial_region() ? 1 : num_threads(); }

// The task that follows task i on the same thread, most likely: threads claim chunks in turn.
struct Following {
  int64_t count, grain, threads = threads_here();

  int64_t operator()(int64_t i) const {
    const int64_t next = (i + 1) % grain != 0 ? i + 1 : i + 1 + (threads - 1) * grain;
    return next < count ? next : -1;
  }
};

// Rows of a head are read as arrays.
Tensor with_rows(const Tensor& t) {
  if (t.stride(3) == 1 || t.size(3) == 1) return t;
  GradModeGuard no_grad(false);
  return ops::contiguous(t);
}

// Where head h of batch b of a (B, H, T, D) tensor begins, and its rows' distance.
template <class T>
struct Heads {
  T* base;
  int64_t batch, head, row;

  Heads(const Tensor& t)
      : base(t.data<T>()), batch(t.stride(0)), head(t.stride(1)), row(t.stride(2)) {}
  // A (B, T, H, D) tensor.
  Heads(const Tensor& t, bool time_major)
      : base(t.data<T>()),
        batch(t.stride(0)),
        head(t.stride(time_major ? 2 : 1)),
        row(t.stride(time_major ? 1 : 2)) {}
  T* at(int64_t b, int64_t h) const { return base + b * batch + h * head; }
};

// The head of the kernel's arguments for (b, h); what all heads share stands in the object.
template <class T>
class HeadMaker {
 public:
  // inputs: query, key, value and mask from `first` on.
  HeadMaker(const OpCall& c, int first)
      : q_(with_rows(c.in(first))),
        k_(with_rows(c.in(first + 1))),
        v_(with_rows(c.in(first + 2))),
        mask_(c.has(first + 3) ? c.in(first + 3) : Tensor()),
        qs_(q_),
        ks_(k_),
        vs_(v_) {
    shared_.queries = q_.size(2);
    shared_.keys = k_.size(2);
    shared_.dim = q_.size(3);
    shared_.value_dim = v_.size(3);
    shared_.q_rs = qs_.row;
    shared_.k_rs = ks_.row;
    shared_.v_rs = vs_.row;
    shared_.scale = static_cast<T>(c.attr(2).f());
    shared_.causal = c.attr(3).b();
    shared_.mask_kind = !mask_.defined()             ? AttentionMask::none
                        : mask_.dtype() == DType::b8 ? AttentionMask::boolean
                                                     : AttentionMask::additive;
    shared_.mask_rs = mask_.defined() ? mask_.stride(2) : 0;
    shared_.mask_cs = mask_.defined() ? mask_.stride(3) : 0;
    shared_.dropout = dropout_of<T>(c.attr(0), c.attr(1).f());
    heads_ = q_.size(1);
    group_ = heads_ / std::max<int64_t>(1, k_.size(1));
  }

  AttentionHead<T> operator()(int64_t b, int64_t h) const {
    AttentionHead<T> head = shared_;
    head.q = qs_.at(b, h);
    head.k = ks_.at(b, h / group_);
    head.v = vs_.at(b, h / group_);
    if (mask_.defined()) {
      const int64_t at = b * mask_.stride(0) + h * mask_.stride(1);
      head.mask = static_cast<const char*>(mask_.raw()) +
                  at * static_cast<int64_t>(itemsize(mask_.dtype()));
    }
    head.dropout.first_row = (b * heads_ + h) * shared_.queries;
    return head;
  }

 private:
  Tensor q_, k_, v_, mask_;
  Heads<const T> qs_, ks_, vs_;
  AttentionHead<T> shared_{};
  int64_t heads_, group_;
};

// forward ---------------------------------------------------------------------------------------

void forward_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor &q = c.in(0), &v = c.in(2);
  specs.push_back({{q.size(0), q.size(2), q.size(1), v.size(3)}, q.dtype()});
  specs.push_back({{q.size(0), q.size(1), q.size(2)}, q.dtype()});
}

template <class T>
void forward(const OpCall& c) {
  const int64_t batches = c.in(0).size(0), heads = c.in(0).size(1), queries = c.in(0).size(2);
  if (batches * heads * queries == 0) return;
  const HeadMaker<T> head(c, 0);
  const Heads<T> out(c.out(0), true);
  T* lse = c.out(1).data<T>();
  const AttentionHead<T> any = head(0, 0);
  const AttentionTable<T>& k = kernels<T>();
  const auto scratch_bytes =
      static_cast<size_t>(k.forward_scratch(any.dim, any.value_dim)) * sizeof(T);
  const int64_t blocks = ceil_div(queries, kAttentionQueries);
  const double work = static_cast<double>(std::min(queries, kAttentionQueries)) *
                      static_cast<double>(any.keys * (any.dim + any.value_dim));
  const auto grain = std::max<int64_t>(1, static_cast<int64_t>(kTaskWork / (work + 1)));
  const Following following = {batches * heads * blocks, grain};
  parallel_for(following.count, grain, [&](int64_t begin, int64_t end) {
    T* scratch = static_cast<T*>(thread_scratch().reserve(scratch_bytes));
    const auto task = [&](int64_t i) -> AttentionForward<T> {
      const int64_t index = i / blocks, first = i % blocks * kAttentionQueries;
      const int64_t b = index / heads, h = index % heads;
      return {head(b, h), out.at(b, h),
              out.row,    lse + index * queries,
              first,      std::min(kAttentionQueries, queries - first)};
    };
    for (int64_t i = begin; i < end; ++i) {
      const int64_t then = following(i);
      const AttentionForward<T> now = task(i), next = task(then < 0 ? i : then);
      k.forward(now, then < 0 ? nullptr : &next, scratch);
    }
  });
}

void forward_kernel(const OpCall& c) {
  if (c.out().dtype() == DType::f32)
    forward<float>(c);
  else
    forward<double>(c);
}

// Products of queries and keys that a mask of known shape leaves.
double pairs(const Tensor& q, const Tensor& k, bool causal) {
  const auto l = static_cast<double>(q.size(2)), s = static_cast<double>(k.size(2));
  const double seen = !causal ? l * s : l <= s ? l * (l + 1) / 2 : s * (s + 1) / 2 + (l - s) * s;
  return static_cast<double>(q.size(0) * q.size(1)) * seen;
}

double bytes_of(const OpCall& c) {
  double bytes = 0;
  for (const Tensor& t : c.inputs) bytes += t.defined() ? static_cast<double>(t.nbytes()) : 0.0;
  for (const Tensor& t : c.outputs) bytes += static_cast<double>(t.nbytes());
  return bytes;
}

Cost forward_cost(const OpCall& c) {
  const double dims = static_cast<double>(c.in(0).size(3) + c.in(2).size(3));
  return {2 * dims * pairs(c.in(0), c.in(1), c.attr(3).b()), bytes_of(c)};
}

void forward_rule(BackwardCall& b) {
  if (!b.grad(0).defined()) return;
  const Tensor q = b.input(0), k = b.input(1), v = b.input(2);
  // The fused pass gives no gradient of the mask.
  if (grad_enabled() || b.needs(3)) {
    const bool needs[4] = {b.needs(0), b.needs(1), b.needs(2), b.needs(3)};
    const Gradients d = differentiable_gradients({q, k, v, b.input(3)}, b.grad(0), b.attr(0),
                                                 b.attr(1), b.attr(2).f(), b.attr(3).b(), needs);
    const Tensor* grads[4] = {&d.query, &d.key, &d.value, &d.mask};
    for (int i = 0; i < 4; ++i)
      if (needs[i]) b.set(i, *grads[i]);
    return;
  }
  const TensorList grads =
      call_all(backward_def, {b.grad(0), q, k, v, b.input(3), b.output(0), b.output(1)},
               {b.attr(0), b.attr(1), b.attr(2), b.attr(3)});
  const Tensor* inputs[3] = {&q, &k, &v};
  for (int i = 0; i < 3; ++i) {
    if (!b.needs(i)) continue;
    b.set(i, time_major(*inputs[i]) ? ops::permute(grads[i], {0, 2, 1, 3}) : grads[i]);
  }
}

// backward --------------------------------------------------------------------------------------

void backward_infer(const OpCall& c, OutputSpecs& specs) {
  for (int i = 1; i <= 3; ++i) {
    const Tensor& t = c.in(i);
    if (time_major(t))
      specs.push_back({{t.size(0), t.size(2), t.size(1), t.size(3)}, t.dtype()});
    else
      specs.push_back({t.shape(), t.dtype()});
  }
}

template <class T>
void fill_zero(const Tensor& t) {
  const Heads<T> rows(t);
  for (int64_t i = 0; i < t.size(0) * t.size(1) * t.size(2); ++i) {
    const int64_t b = i / (t.size(1) * t.size(2)), h = i / t.size(2) % t.size(1);
    std::fill_n(rows.at(b, h) + i % t.size(2) * rows.row, t.size(3), T(0));
  }
}

// How a head's keys are cut into tasks: a function of the shape alone.
struct Chunks {
  int64_t count, keys;

  static Chunks of(int64_t heads, int64_t keys) {
    const int64_t wanted =
        std::min(ceil_div(keys, kChunkKeys), ceil_div(kBackwardTasksWanted, heads));
    const int64_t size = ceil_div(ceil_div(keys, wanted), kAttentionBackwardKeys);
    const int64_t rounded = size * kAttentionBackwardKeys;
    return {ceil_div(keys, rounded), rounded};
  }
};

template <class T>
void backward(const OpCall& c) {
  const Tensor &q = c.in(1), &k = c.in(2), &v = c.in(3);
  if (v.numel() == 0 || c.in(0).numel() == 0) {
    for (const Tensor& t : c.outputs) fill_zero<T>(t);
    return;
  }
  const HeadMaker<T> head(c, 1);
  const Tensor result = with_rows(c.in(5)), gradient = with_rows(c.in(0));
  const Heads<const T> outs(result, true), grads(gradient, true);
  const Heads<T> dq(c.out(0), time_major(q)), dk(c.out(1), time_major(k)),
      dv(c.out(2), time_major(v));
  const T* lse = c.in(6).data<T>();
  const int64_t batches = q.size(0), heads = q.size(1), queries = q.size(2);
  const int64_t groups = k.size(1), group = heads / groups, keys = k.size(2);
  const int64_t dim = q.size(3), value_dim = v.size(3);
  const Chunks chunks = Chunks::of(batches * groups, keys);

  // dQ of the chunks after the first, to be added in their order.
  const int64_t dq_size = batches * heads * queries * dim;
  Scratch partial_scratch;
  T* partial = static_cast<T*>(
      partial_scratch.reserve(static_cast<size_t>((chunks.count - 1) * dq_size) * sizeof(T)));

  constexpr int64_t lanes = 64 / static_cast<int64_t>(sizeof(T));
  const int64_t k_width = ceil_div(dim, lanes) * lanes,
                v_width = ceil_div(value_dim, lanes) * lanes;
  const AttentionTable<T>& table = kernels<T>();
  const int64_t tiles = table.backward_scratch(dim, value_dim);
  const int64_t sums = chunks.keys * (k_width + v_width);
  const double work = 2.5 * static_cast<double>(group * queries * std::min(chunks.keys, keys)) *
                      static_cast<double>(dim + value_dim);
  const auto grain = std::max<int64_t>(1, static_cast<int64_t>(kTaskWork / (work + 1)));
  const Following following = {batches * heads * chunks.count, grain * group};
  parallel_for(batches * groups * chunks.count, grain, [&](int64_t begin, int64_t end) {
    T* sum =
        static_cast<T*>(thread_scratch().reserve(static_cast<size_t>(sums + tiles) * sizeof(T)));
    // Work number i is head i % group of the group's heads.
    const auto work_of = [&](int64_t i) {
      const int64_t task = i / group, h = task / chunks.count % groups * group + i % group;
      const int64_t chunk = task % chunks.count, b = task / chunks.count / groups;
      const int64_t index = b * heads + h;
      AttentionBackward<T> work = {};
      work.head = head(b, h);
      work.out = outs.at(b, h), work.out_rs = outs.row;
      work.grad = grads.at(b, h), work.grad_rs = grads.row;
      work.lse = lse + index * queries;
      work.dq = dq.at(b, h), work.dq_rs = dq.row;
      if (chunk > 0) {
        work.dq = partial + (chunk - 1) * dq_size + index * queries * dim;
        work.dq_rs = dim;
      }
      work.first = chunk * chunks.keys, work.count = std::min(chunks.keys, keys - work.first);
      work.dk_sum = sum, work.dv_sum = sum + chunks.keys * k_width;
      work.first_head = i % group == 0, work.last_head = (i + 1) % group == 0;
      work.dk = dk.at(b, h / group) + work.first * dk.row, work.dk_rs = dk.row;
      work.dv = dv.at(b, h / group) + work.first * dv.row, work.dv_rs = dv.row;
      return work;
    };
    for (int64_t i = begin * group; i < end * group; ++i) {
      const int64_t then = following(i);
      const AttentionBackward<T> now = work_of(i), next = work_of(then < 0 ? i : then);
      table.backward(now, then < 0 ? nullptr : &next, sum + sums);
    }
  });
  if (chunks.count == 1) return;
  parallel_for(batches * heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T* sum = dq.at(i / heads, i % heads);
      for (int64_t r = 0; r < queries; ++r, sum += dq.row) {
        for (int64_t chunk = 0; chunk + 1 < chunks.count; ++chunk) {
          const T* more = partial + chunk * dq_size + (i * queries + r) * dim;
          for (int64_t d = 0; d < dim; ++d) sum[d] += more[d];
        }
      }
    }
  });
}

void backward_kernel(const OpCall& c) {
  if (c.out().dtype() == DType::f32)
    backward<float>(c);
  else
    backward<double>(c);
}

Cost backward_cost(const OpCall& c) {
  const double dims = static_cast<double>(3 * c.in(1).size(3) + 2 * c.in(3).size(3));
  return {2 * dims * pairs(c.in(1), c.in(2), c.attr(3).b()), bytes_of(c)};
}

// dropout ---------------------------------------------------------------------------------------

void dropout_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
}

template <class T>
void dropout(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor x = ops::contiguous(c.in(0));
  if (x.numel() == 0) return;
  const int64_t keys = x.size(3), rows = x.numel() / keys;
  constexpr int64_t lanes = 64 / static_cast<int64_t>(sizeof(T));
  const AttentionDropout<T> d = dropout_of<T>(c.attr(0), c.attr(1).f());
  const T* in = x.data<T>();
  T* out = c.out().data<T>();
  parallel_for(ceil_div(rows, lanes), std::max<int64_t>(1, 2048 / keys),
               [&](int64_t begin, int64_t end) {
                 for (int64_t row = begin * lanes; row < std::min(end * lanes, rows); row += lanes)
                   kernels<T>().drop(d, row, std::min(lanes, rows - row), keys, in + row * keys,
                                     out + row * keys);
               });
}

void dropout_kernel(const OpCall& c) {
  if (c.out().dtype() == DType::f32)
    dropout<float>(c);
  else
    dropout<double>(c);
}

void dropout_rule(BackwardCall& b) {
  b.set(0, call(dropout_def, {b.grad()}, {b.attr(0), b.attr(1)}));
}

}  // namespace

const OpDef forward_def = {.name = "attention_forward",
                           .signature = "",
                           .doc = "",
                           .infer = forward_infer,
                           .kernel = forward_kernel,
                           .backward = forward_rule,
                           .cost = forward_cost,
                           .saves = save_input(0) | save_input(1) | save_input(2) | save_input(3) |
                                    save_output(0) | save_output(1),
                           .flags = kInternal | kKeyed};
const OpDef backward_def = {.name = "attention_backward",
                            .signature = "",
                            .doc = "",
                            .infer = backward_infer,
                            .kernel = backward_kernel,
                            .cost = backward_cost,
                            .flags = kInternal | kKeyed | kWritesParts};
const OpDef dropout_def = {.name = "attention_dropout",
                           .signature = "",
                           .doc = "",
                           .infer = dropout_infer,
                           .kernel = dropout_kernel,
                           .backward = dropout_rule,
                           .flags = kInternal | kKeyed};

}  // namespace annx::attention
