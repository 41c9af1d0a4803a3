// Counting and searching: unique, bincount, searchsorted; kthvalue and median by sorting.
#include <algorithm>
#include <vector>

#include "ops/indexing/walk.h"

namespace annx {
namespace {

// Calls fn with a typed pointer to the elements of a contiguous tensor.
template <class F>
void with_elements(const Tensor& t, F fn) {
  switch (t.dtype()) {
    case DType::f32:
      return fn(t.data<float>());
    case DType::f64:
      return fn(t.data<double>());
    case DType::i64:
      return fn(t.data<int64_t>());
    case DType::i32:
      return fn(t.data<int32_t>());
    default:
      return fn(t.data<uint8_t>());
  }
}

// unique ----------------------------------------------------------------------------------------

TensorList unique(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor flat = ops::reshape(c.in(0), {c.in(0).numel()});
  const int64_t n = flat.numel();
  const TensorList sorted = call_all(def::sort, {flat}, {Attr(0), Attr(false)});
  const int64_t* order = sorted[1].data<int64_t>();
  const Tensor inverse = Tensor::empty(c.in(0).shape(), DType::i64);
  int64_t* group_of = inverse.data<int64_t>();
  std::vector<int64_t> starts;
  with_elements(sorted[0], [&](const auto* v) {
    for (int64_t i = 0; i < n; ++i) {
      // Each NaN is a value of its own, as nothing equals it.
      if (i == 0 || v[i] != v[i - 1]) starts.push_back(i);
      group_of[order[i]] = static_cast<int64_t>(starts.size()) - 1;
    }
  });
  const auto count = static_cast<int64_t>(starts.size());
  const Tensor at = Tensor::empty({count}, DType::i64);
  std::copy(starts.begin(), starts.end(), at.data<int64_t>());
  TensorList out{call(def::index, {sorted[0], at}, {Attr(Ints{0})})};
  if (c.attr(1).b()) out.push_back(inverse);
  if (c.attr(2).b()) {
    const Tensor counts = Tensor::empty({count}, DType::i64);
    starts.push_back(n);
    for (int64_t i = 0; i < count; ++i)
      counts.data<int64_t>()[i] =
          starts[static_cast<size_t>(i) + 1] - starts[static_cast<size_t>(i)];
    out.push_back(counts);
  }
  return out;
}

// bincount --------------------------------------------------------------------------------------

TensorList bincount(const OpCall& c) {
  const Tensor& x = c.in(0);
  ANNX_CHECK(x.dim() == 1, value, "bincount", "expected one dimension but got shape ", x.shape());
  const Tensor classes = as_positions(x, "bincount");
  const int64_t minimum = c.attr(0).i();
  ANNX_CHECK(minimum >= 0, value, "bincount", "expected minlength >= 0 but got ", minimum);
  int64_t bins = minimum;
  for (int64_t i = 0; i < classes.numel(); ++i) {
    const int64_t v = classes.data<int64_t>()[i];
    ANNX_CHECK(v >= 0, value, "bincount", "expected values >= 0 but got ", v);
    ANNX_CHECK(v < int64_t{1} << 59, value, "bincount", "expected values below 2**59 but got ", v);
    bins = std::max(bins, v + 1);
  }
  if (!c.has(1)) {
    const Tensor ones = ops::ones(classes.shape(), DType::i64);
    return {call(def::scatter_add, {ops::zeros({bins}, DType::i64), classes, ones}, {Attr(0)})};
  }
  const Tensor& w = c.in(1);
  ANNX_CHECK(w.shape() == x.shape(), value, "bincount", "expected weights of shape ", x.shape(),
             " but got ", w.shape());
  const Tensor weights = is_floating(w.dtype()) ? w : ops::cast(w, DType::f64);
  return {
      call(def::scatter_add, {ops::zeros({bins}, weights.dtype()), classes, weights}, {Attr(0)})};
}

// searchsorted ----------------------------------------------------------------------------------

template <class T>
bool before(T a, T b) {
  return a < b || (b != b && a == a);  // NaN stands last, as sort puts it
}

void search_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor &sorted = c.in(0), &values = c.in(1);
  ANNX_CHECK(sorted.dim() > 0, value, "searchsorted",
             "expected a sorted sequence of at least one dimension but got a scalar");
  bool fits = sorted.dim() == 1 || sorted.dim() == values.dim();
  for (int i = 0; fits && sorted.dim() > 1 && i + 1 < sorted.dim(); ++i)
    fits = sorted.size(i) == values.size(i);
  ANNX_CHECK(fits, value, "searchsorted",
             "expected a sorted sequence of one dimension or shapes that differ in the last one "
             "only but got ",
             sorted.shape(), " and ", values.shape());
  specs.push_back({values.shape(), DType::i64});
}

void search_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor sorted = ops::contiguous(c.in(0)), values = ops::contiguous(c.in(1));
  const bool right = c.attr(0).b();
  const int64_t n = sorted.size(-1), count = values.numel();
  const int64_t row = values.dim() > 0 ? std::max<int64_t>(values.size(-1), 1) : 1;
  int64_t* out = c.out().data<int64_t>();
  with_elements(sorted, [&](const auto* s) {
    using T = std::remove_cvref_t<decltype(*s)>;
    const T* v = values.data<T>();
    for (int64_t i = 0; i < count; ++i) {
      const T* first = sorted.dim() == 1 ? s : s + i / row * n;
      const T* at = right ? std::upper_bound(first, first + n, v[i], before<T>)
                          : std::lower_bound(first, first + n, v[i], before<T>);
      out[i] = at - first;
    }
  });
}

TensorList bucketize(const OpCall& c) {
  ANNX_CHECK(c.in(1).dim() == 1, value, "bucketize",
             "expected boundaries of one dimension but got shape ", c.in(1).shape());
  return call_all(def::searchsorted, {c.in(1), c.in(0)}, {c.attr(0)});
}

// kthvalue, median --------------------------------------------------------------------------------

// Of what sort gave.
TensorList pick(TensorList sorted, int64_t dim, int64_t k, bool keepdim) {
  for (Tensor& t : sorted) {
    t = ops::slice(t, dim, k, k + 1);
    if (!keepdim) t = call(def::squeeze, {t}, {Attr(Ints{dim})});
  }
  return sorted;
}

TensorList sorted_lines(const Tensor& x, int64_t dim) {
  return call_all(def::sort, {x}, {Attr(dim), Attr(false)});
}

TensorList kthvalue(const OpCall& c) {
  const Tensor& x = c.in(0);
  const int d = normalize_dim(c.attr(1).i(), x.dim(), "kthvalue");
  const int64_t k = c.attr(0).i(), size = x.dim() ? x.size(d) : 1;
  ANNX_CHECK(k >= 1 && k <= size, value, "kthvalue", "expected k in [1, ", size, "] but got ", k);
  if (x.dim() == 0) return {x, ops::zeros({}, DType::i64)};
  return pick(sorted_lines(x, d), d, k - 1, c.attr(2).b());
}

TensorList median(const OpCall& c) {
  const Tensor& x = c.in(0);
  const bool all = c.attr(0).is_none();
  const Tensor rows = all ? ops::reshape(x, {x.numel()}) : x;
  const int d = all ? 0 : normalize_dim(c.attr(0).i(), x.dim(), "median");
  const int64_t n = rows.dim() ? rows.size(d) : 1;
  ANNX_CHECK(n > 0, value, "median", "expected at least one element but got shape ", x.shape());
  if (rows.dim() == 0) return {x, ops::zeros({}, DType::i64)};
  const TensorList sorted = sorted_lines(rows, d);
  const bool keepdim = c.attr(1).b() && !all;
  TensorList pair = pick(sorted, d, (n - 1) / 2, keepdim);
  if (is_floating(x.dtype())) {  // NaN is sorted to the end: one in a row makes its median NaN
    const Tensor last = pick(sorted, d, n - 1, keepdim)[0];
    pair[0] = ops::where(ops::ne(last, last), last, pair[0]);
  }
  if (all) return {pair[0]};
  return pair;
}

}  // namespace

namespace def {

const OpDef unique = {
    .name = "unique",
    .signature =
        "unique(Tensor input, bool sorted=True, bool return_inverse=False, bool "
        "return_counts=False) -> Tensor | (Tensor, Tensor) | (Tensor, Tensor, Tensor)",
    .doc =
        "The distinct elements of input in ascending order (sorted or not), then, if asked for, "
        "where each element of input went and how often each occurs.",
    .composite = annx::unique,
    .flags = kNoCapture};
const OpDef bincount = {
    .name = "bincount",
    .signature = "bincount(Tensor input, Tensor? weights=None, int minlength=0) -> Tensor",
    .doc =
        "How often each of 0, 1, ... occurs in input (integers, one dimension), or the sum of "
        "weights for each; at least minlength bins.",
    .composite = annx::bincount,
    .flags = kNoCapture};
const OpDef searchsorted = {
    .name = "searchsorted",
    .signature = "searchsorted(Tensor sorted_sequence, Tensor input, bool right=False) -> Tensor",
    .doc =
        "Where each element of input would be inserted to keep the last dimension of "
        "sorted_sequence ascending: before equal elements, or after them if right.",
    .infer = search_infer,
    .kernel = search_kernel,
    .flags = kPromote | kNoMethod};
const OpDef bucketize = {
    .name = "bucketize",
    .signature = "bucketize(Tensor input, Tensor boundaries, bool right=False) -> Tensor",
    .doc = "The bucket of each element between ascending boundaries: searchsorted, turned round.",
    .composite = annx::bucketize,
    .flags = kNoMethod};
const OpDef kthvalue = {
    .name = "kthvalue",
    .signature =
        "kthvalue(Tensor input, int k, int dim=-1, bool keepdim=False) -> (Tensor, Tensor)",
    .doc = "(value, index) of the k-th smallest element along dim, k from 1.",
    .composite = annx::kthvalue};
const OpDef median = {
    .name = "median",
    .signature =
        "median(Tensor input, int? dim=None, bool keepdim=False) -> Tensor | (Tensor, Tensor)",
    .doc =
        "The middle element, the lower one of two: of all elements, or (value, index) along dim. "
        "NaN where there is a NaN.",
    .composite = annx::median};

}  // namespace def
}  // namespace annx
