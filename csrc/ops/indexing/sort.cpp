// sort, argsort and topk: stable, NaN last in ascending order, as NumPy has it.
#include <algorithm>
#include <cmath>
#include <vector>

#include "core/thread_pool.h"
#include "ops/indexing/positions.h"

namespace annx {
namespace {

template <class T>
bool before(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (a != a) return false;
    if (b != b) return true;
  }
  return a < b;
}

// Sorts each line of x [outer, n, inner]; the first k of each go to values and indices.
template <class T>
void sort_lines(const T* x, T* values, int64_t* indices, const Slabs& s, int64_t k,
                bool descending) {
  parallel_for(s.outer * s.inner, std::max<int64_t>(1, 16384 / std::max<int64_t>(s.size, 1)),
               [&](int64_t begin, int64_t end) {
                 std::vector<int64_t> order(static_cast<size_t>(s.size));
                 for (int64_t line = begin; line < end; ++line) {
                   const int64_t o = line / s.inner, i = line % s.inner;
                   const T* p = x + o * s.size * s.inner + i;
                   for (int64_t j = 0; j < s.size; ++j) order[static_cast<size_t>(j)] = j;
                   // Ties keep their order, which also makes a partial sort deterministic.
                   auto less = [&](int64_t a, int64_t b) {
                     const T va = p[a * s.inner], vb = p[b * s.inner];
                     if (descending ? before(vb, va) : before(va, vb)) return true;
                     if (descending ? before(va, vb) : before(vb, va)) return false;
                     return a < b;
                   };
                   if (k < s.size)
                     std::partial_sort(order.begin(), order.begin() + k, order.end(), less);
                   else
                     std::sort(order.begin(), order.end(), less);
                   for (int64_t j = 0; j < k; ++j) {
                     const int64_t at = o * k * s.inner + j * s.inner + i;
                     values[at] = p[order[static_cast<size_t>(j)] * s.inner];
                     indices[at] = order[static_cast<size_t>(j)];
                   }
                 }
               });
}

void run_sort(const OpCall& c, int dim, int64_t k, bool descending) {
  GradModeGuard no_grad(false);
  const Tensor x = ops::contiguous(c.in(0));
  const Slabs s = slabs_of(x.shape(), dim);
  if (c.out(0).numel() == 0) return;
  int64_t* indices = c.out(1).data<int64_t>();
  switch (x.dtype()) {
    case DType::f32:
      return sort_lines(x.data<float>(), c.out(0).data<float>(), indices, s, k, descending);
    case DType::f64:
      return sort_lines(x.data<double>(), c.out(0).data<double>(), indices, s, k, descending);
    case DType::i64:
      return sort_lines(x.data<int64_t>(), c.out(0).data<int64_t>(), indices, s, k, descending);
    case DType::i32:
      return sort_lines(x.data<int32_t>(), c.out(0).data<int32_t>(), indices, s, k, descending);
    default:
      return sort_lines(x.data<uint8_t>(), c.out(0).data<uint8_t>(), indices, s, k, descending);
  }
}

// n log2 n comparisons a line.
Cost sort_cost(const OpCall& c) {
  const Tensor& x = c.in(0);
  const int dim = normalize_dim(c.attr(c.op == &def::topk ? 1 : 0).i(), x.dim(), c.name());
  const double line = x.dim() ? static_cast<double>(std::max<int64_t>(x.size(dim), 1)) : 1;
  double bytes = static_cast<double>(x.nbytes());
  for (const Tensor& t : c.outputs) bytes += static_cast<double>(t.nbytes());
  return {static_cast<double>(x.numel()) * std::log2(line), bytes};
}

void sort_infer(const OpCall& c, OutputSpecs& specs) {
  normalize_dim(c.attr(0).i(), c.in(0).dim(), "sort");
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
  specs.push_back({c.in(0).shape(), DType::i64});
}

void sort_kernel(const OpCall& c) {
  const int d = normalize_dim(c.attr(0).i(), c.in(0).dim(), "sort");
  run_sort(c, d, c.in(0).dim() ? c.in(0).size(d) : 1, c.attr(1).b());
}

void topk_infer(const OpCall& c, OutputSpecs& specs) {
  const int d = normalize_dim(c.attr(1).i(), c.in(0).dim(), "topk");
  const int64_t size = c.in(0).dim() ? c.in(0).size(d) : 1, k = c.attr(0).i();
  ANNX_CHECK(k >= 0 && k <= size, value, "topk", "expected k in [0, ", size, "] but got ", k);
  Dims shape = c.in(0).shape();
  if (shape.size()) shape[d] = k;
  specs.push_back({shape, c.in(0).dtype()});
  specs.push_back({shape, DType::i64});
}

void topk_kernel(const OpCall& c) {
  const int d = normalize_dim(c.attr(1).i(), c.in(0).dim(), "topk");
  run_sort(c, d, c.attr(0).i(), c.attr(2).b());
}

// Both pick elements: the gradient goes back to where they came from.
void pick_rule(BackwardCall& b, int64_t dim) {
  if (!b.grad(0).defined()) return;
  if (b.input_shape(0).empty()) return b.set(0, b.grad(0));
  const Tensor zeros = ops::zeros(b.input_shape(0), b.grad(0).dtype());
  b.set(0, call(def::scatter_add, {zeros, b.output(1), b.grad(0)}, {Attr(dim)}));
}
void sort_rule(BackwardCall& b) { pick_rule(b, b.attr(0).i()); }
void topk_rule(BackwardCall& b) { pick_rule(b, b.attr(1).i()); }

TensorList argsort(const OpCall& c) {
  GradModeGuard no_grad(false);
  return {call_all(def::sort, {c.in(0)}, {c.attr(0), c.attr(1)})[1]};
}

}  // namespace

namespace def {

const OpDef sort = {.name = "sort",
                    .signature =
                        "sort(Tensor input, int dim=-1, bool descending=False) -> "
                        "(Tensor, Tensor)",
                    .doc =
                        "(values, indices) in order along dim; equal elements keep theirs, NaN "
                        "counts as the largest.",
                    .infer = sort_infer,
                    .kernel = sort_kernel,
                    .backward = sort_rule,
                    .cost = sort_cost,
                    .saves = save_output(1)};
const OpDef argsort = {.name = "argsort",
                       .signature =
                           "argsort(Tensor input, int dim=-1, bool descending=False) -> "
                           "Tensor",
                       .doc = "The indices that sort input along dim.",
                       .composite = annx::argsort};
const OpDef topk = {.name = "topk",
                    .signature =
                        "topk(Tensor input, int k, int dim=-1, bool largest=True) -> "
                        "(Tensor, Tensor)",
                    .doc = "(values, indices) of the k largest (or smallest) along dim, in order.",
                    .infer = topk_infer,
                    .kernel = topk_kernel,
                    .backward = topk_rule,
                    .cost = sort_cost,
                    .saves = save_output(1)};

}  // namespace def
}  // namespace annx
