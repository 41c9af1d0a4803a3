// softmax, log_softmax, logsumexp.
#include <algorithm>
#include <cmath>

#include "core/thread_pool.h"
#include "ops/reduce/axes.h"
#include "ops/softmax/kernels.h"

namespace annx {
namespace {

using namespace reduce;

constexpr int64_t kTaskElements = 8192;  // an element costs about a nanosecond
constexpr int64_t kTaskColumns = 128;

template <class T>
const SoftmaxTable<T>& kernels() {
  if constexpr (std::is_same_v<T, float>)
    return softmax_kernels().f32;
  else
    return softmax_kernels().f64;
}

Span span_along(const Tensor& x, int64_t dim) {
  Span span;
  const int axis = normalize_dim(dim, x.dim(), "softmax");
  for (int i = 0; i < x.dim(); ++i)
    (i < axis ? span.outer : i == axis ? span.n : span.inner) *= x.size(i);
  return span;
}

// Calls rows(first row, rows) or cols(offset, width) for parts of the span.
template <class Rows, class Cols>
void each_part(const Span& s, Rows rows, Cols cols) {
  if (s.outer == 0 || s.n == 0 || s.inner == 0) return;
  if (s.inner == 1) {
    const int64_t grain = std::max<int64_t>(1, kTaskElements / s.n);
    return parallel_for(s.outer, grain,
                        [&](int64_t begin, int64_t end) { rows(begin, end - begin); });
  }
  const int64_t blocks = (s.inner + kTaskColumns - 1) / kTaskColumns;
  const int64_t width = std::min(s.inner, kTaskColumns);
  const int64_t grain = std::max<int64_t>(1, kTaskElements / (s.n * width));
  parallel_for(s.outer * blocks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) {
      const int64_t c = u % blocks * kTaskColumns;
      cols(u / blocks * s.n * s.inner + c, std::min(kTaskColumns, s.inner - c));
    }
  });
}

void softmax_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  ANNX_CHECK(is_floating(x.dtype()), type, c.name(),
             "expected a floating-point input but got dtype ", x.dtype());
  normalize_dim(c.attr(0).i(), x.dim(), c.name());
  specs.push_back({x.shape(), x.dtype()});
}

template <class T, bool Log>
void forward(const OpCall& c) {
  const Tensor x = prepare(c.in(0), c.in(0).dtype());
  const Span s = span_along(x, c.attr(0).i());
  const SoftmaxTable<T>& k = kernels<T>();
  const T* in = x.data<T>();
  T* out = c.out().data<T>();
  each_part(
      s,
      [&](int64_t at, int64_t rows) {
        (Log ? k.log_rows : k.rows)(in + at * s.n, rows, s.n, out + at * s.n);
      },
      [&](int64_t at, int64_t width) {
        (Log ? k.log_cols : k.cols)(in + at, s.n, width, s.inner, out + at);
      });
}

template <bool Log>
void softmax_kernel(const OpCall& c) {
  if (c.in(0).dtype() == DType::f32)
    forward<float, Log>(c);
  else
    forward<double, Log>(c);
}

template <class T, bool Log>
void backward(const OpCall& c) {
  const Tensor grad = prepare(c.in(0), c.out().dtype());
  const Tensor result = prepare(c.in(1), c.out().dtype());
  const Span s = span_along(result, c.attr(0).i());
  const SoftmaxTable<T>& k = kernels<T>();
  const T* g = grad.data<T>();
  const T* y = result.data<T>();
  T* dx = c.out().data<T>();
  each_part(
      s,
      [&](int64_t at, int64_t rows) {
        (Log ? k.log_rows_backward : k.rows_backward)(g + at * s.n, y + at * s.n, rows, s.n,
                                                      dx + at * s.n);
      },
      [&](int64_t at, int64_t width) {
        (Log ? k.log_cols_backward : k.cols_backward)(g + at, y + at, s.n, width, s.inner, dx + at);
      });
}

// inputs: the gradient and the result.
template <bool Log>
void softmax_backward_kernel(const OpCall& c) {
  if (c.out().dtype() == DType::f32)
    backward<float, Log>(c);
  else
    backward<double, Log>(c);
}

Cost softmax_cost(const OpCall& c) {
  double bytes = 0;
  for (const Tensor& t : c.inputs) bytes += static_cast<double>(t.nbytes());
  return {5 * static_cast<double>(c.out().numel()), bytes + static_cast<double>(c.out().nbytes())};
}

template <bool Log>
constexpr OpDef backward_def = {.name = Log ? "log_softmax_backward" : "softmax_backward",
                                .signature = "",
                                .doc = "",
                                .infer = softmax_infer,
                                .kernel = softmax_backward_kernel<Log>,
                                .cost = softmax_cost,
                                .flags = kInternal};

template <bool Log>
void softmax_rule(BackwardCall& b) {
  const Tensor& g = b.grad();
  const Tensor y = b.output();
  if (!grad_enabled()) return b.set(0, call(backward_def<Log>, {g, y}, {b.attr(0)}));
  Dims axis;
  if (y.dim() > 0) axis.push_back(normalize_dim(b.attr(0).i(), y.dim(), "softmax"));
  const Tensor sum = ops::sum(Log ? g : ops::mul(g, y), axis, true);
  b.set(0, Log ? ops::sub(g, ops::mul(ops::exp(y), sum)) : ops::mul(y, ops::sub(g, sum)));
}

// logsumexp ---------------------------------------------------------------------------------------

void logsumexp_infer(const OpCall& c, OutputSpecs& specs) {
  infer_reduced(c, specs, c.in(0).dtype());
}

template <class T>
void logsumexp_rows(const Tensor& x, T* out) {
  const int64_t n = x.size(1);
  const T* in = x.data<T>();
  const int64_t grain = std::max<int64_t>(1, kTaskElements / std::max<int64_t>(n, 1));
  parallel_for(x.size(0), grain, [&](int64_t begin, int64_t end) {
    kernels<T>().logsumexp_rows(in + begin * n, end - begin, n, out + begin);
  });
}

void logsumexp_kernel(const OpCall& c) {
  if (c.out().numel() == 0) return;
  const Tensor x = axes_last(c.in(0), axes_of(c.attr(0), c.in(0).dim(), "logsumexp"));
  if (x.dtype() == DType::f32)
    logsumexp_rows(x, c.out().data<float>());
  else
    logsumexp_rows(x, c.out().data<double>());
}

void logsumexp_rule(BackwardCall& b) {
  const Dims& shape = b.input_shape(0);
  const Dims axes = axes_of(b.attr(0), shape.size(), "logsumexp");
  Tensor y = keep_axes(b.output(), shape, axes);
  // exp(-inf - 0) is 0, where exp(-inf - -inf) would be NaN.
  y = ops::where(ops::eq(y, ops::number(-INFINITY)), ops::number(0), y);
  b.set(0, ops::mul(keep_axes(b.grad(), shape, axes), ops::exp(ops::sub(b.input(0), y))));
}

}  // namespace

namespace def {

const OpDef softmax = {.name = "softmax",
                       .signature = "softmax(Tensor input, int dim) -> Tensor",
                       .doc =
                           "exp(input) / sum(exp(input)) along dim, computed from input minus "
                           "its maximum. NaN where a slice holds NaN or inf, or only -inf.",
                       .infer = softmax_infer,
                       .kernel = softmax_kernel<false>,
                       .backward = softmax_rule<false>,
                       .cost = softmax_cost,
                       .saves = save_output(0)};

const OpDef log_softmax = {.name = "log_softmax",
                           .signature = "log_softmax(Tensor input, int dim) -> Tensor",
                           .doc = "log(softmax(input, dim)) without forming the softmax.",
                           .infer = softmax_infer,
                           .kernel = softmax_kernel<true>,
                           .backward = softmax_rule<true>,
                           .cost = softmax_cost,
                           .saves = save_output(0)};

const OpDef logsumexp = {
    .name = "logsumexp",
    .signature = "logsumexp(Tensor input, int[] dim, bool keepdim=False) -> Tensor",
    .doc =
        "log(sum(exp(input))) over the axes dim without overflow; -inf "
        "where all elements are -inf.",
    .infer = logsumexp_infer,
    .kernel = logsumexp_kernel,
    .backward = logsumexp_rule,
    .cost = softmax_cost,
    .saves = save_input(0) | save_output(0),
    .flags = kFloat};

}  // namespace def
}  // namespace annx
