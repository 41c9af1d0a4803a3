// Running products, with a gradient that divides by nothing; differences of neighbours.
#include <vector>

#include "core/thread_pool.h"
#include "ops/reduce/plain.h"

namespace annx {
namespace {

using namespace reduce;

Span span_of(const Dims& shape, int axis) {
  Span span;
  for (int i = 0; i < shape.size(); ++i)
    (i < axis ? span.outer : i == axis ? span.n : span.inner) *= shape[i];
  return span;
}

// Calls fn(first element) for each of the outer * inner lines.
template <class F>
void each_line(const Span& s, F fn) {
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(s.n, 1));
  parallel_for(s.outer * s.inner, grain, [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line)
      fn(line / s.inner * s.n * s.inner + line % s.inner);
  });
}

void cumprod_infer(const OpCall& c, OutputSpecs& specs) {
  const DType in = c.in(0).dtype();
  normalize_dim(c.attr(0).i(), c.in(0).dim(), "cumprod");
  const DType dtype = c.attr(1).is_none() ? (is_integral(in) ? DType::i64 : in) : c.attr(1).dtype();
  ANNX_CHECK(dtype == DType::f32 || dtype == DType::f64 || dtype == DType::i64, type, "cumprod",
             "expected dtype float32, float64 or int64 but got ", dtype);
  specs.push_back({c.in(0).shape(), dtype});
}

template <class T, class Acc>
void running_products(const Tensor& x, const Span& s, const Tensor& out) {
  const T* in = x.data<T>();
  T* o = out.data<T>();
  each_line(s, [&](int64_t at) {
    Acc product = 1;
    for (int64_t k = 0; k < s.n; ++k, at += s.inner) {
      product *= static_cast<Acc>(in[at]);
      o[at] = static_cast<T>(product);
    }
  });
}

void cumprod_kernel(const OpCall& c) {
  const Tensor& out = c.out();
  if (out.numel() == 0) return;
  const Tensor x = prepare(c.in(0), out.dtype());
  const Span s = span_of(x.shape(), normalize_dim(c.attr(0).i(), x.dim(), "cumprod"));
  switch (out.dtype()) {
    case DType::f32:
      return running_products<float, double>(x, s, out);
    case DType::f64:
      return running_products<double, double>(x, s, out);
    default:
      return running_products<int64_t, uint64_t>(x, s, out);
  }
}

// The gradient for x[i] is (x[0] ... x[i-1]) * t[i] with t[i] = g[i] + x[i+1] * t[i+1].
void backward_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
}

template <class T>
void backward_lines(const Tensor& g, const Tensor& x, const Span& s, const Tensor& out) {
  const T *gp = g.data<T>(), *xp = x.data<T>();
  T* o = out.data<T>();
  each_line(s, [&](int64_t first) {
    std::vector<double> before(static_cast<size_t>(s.n));
    double product = 1;
    for (int64_t k = 0; k < s.n; ++k) {
      before[static_cast<size_t>(k)] = product;
      product *= xp[first + k * s.inner];
    }
    double t = 0;
    for (int64_t k = s.n - 1; k >= 0; --k) {
      const int64_t at = first + k * s.inner;
      t = gp[at] + (k + 1 < s.n ? xp[at + s.inner] * t : 0.0);
      o[at] = static_cast<T>(before[static_cast<size_t>(k)] * t);
    }
  });
}

void backward_kernel(const OpCall& c) {
  if (c.out().numel() == 0) return;
  const Tensor g = prepare(c.in(0), c.out().dtype()), x = prepare(c.in(1), c.out().dtype());
  const Span s = span_of(x.shape(), normalize_dim(c.attr(0).i(), x.dim(), "cumprod"));
  if (c.out().dtype() == DType::f32)
    backward_lines<float>(g, x, s, c.out());
  else
    backward_lines<double>(g, x, s, c.out());
}

const OpDef backward_def = {.name = "cumprod_backward",
                            .signature = "",
                            .doc = "",
                            .infer = backward_infer,
                            .kernel = backward_kernel,
                            .cost = reduction_cost,
                            .flags = kInternal};

Tensor running(const Tensor& x, int64_t dim) {
  return call(def::cumprod, {x}, {Attr(dim), Attr()});
}

// The same from differentiable ops, along the last dimension: n rows, row i holding the products of
// x[i+1] ... x[k].
Tensor differentiable(const Tensor& g, const Tensor& x) {
  const int last = x.dim() - 1;
  const int64_t n = x.size(-1);
  Tensor upper = call(def::triu, {ops::ones({n, n}, DType::f32)}, {Attr(1)});
  upper = ops::cast(upper, DType::b8);
  Dims wide = x.shape();
  wide.insert(last, n);
  const Tensor rows = ops::where(upper, ops::expand(ops::unsqueeze(x, last), wide), ops::number(1));
  const Tensor products = call(def::triu, {running(rows, last + 1)}, {Attr(0)});
  const Tensor t = ops::sum(ops::unsqueeze(g, last) * products, Dims{last + 1});
  const Tensor shifted = ops::pad(ops::slice(x, last, 0, n - 1), {1, 0}, 1);
  return running(shifted, last) * t;
}

void cumprod_rule(BackwardCall& b) {
  const DType dtype = is_integral(b.input_dtype(0)) ? DType::f32 : b.input_dtype(0);
  const Tensor x = ops::cast(b.input(0), dtype), g = ops::cast(b.grad(), dtype);
  const int d = normalize_dim(b.attr(0).i(), x.dim(), "cumprod");
  if (x.dim() == 0 || x.numel() == 0) return b.set(0, g);
  if (!grad_enabled()) return b.set(0, call(backward_def, {g, x}, {Attr(d)}));
  const int last = x.dim() - 1;
  b.set(0, ops::transpose(differentiable(ops::transpose(g, d, last), ops::transpose(x, d, last)), d,
                          last));
}

// diff ------------------------------------------------------------------------------------------

TensorList diff(const OpCall& c) {
  Tensor x = c.in(0);
  ANNX_CHECK(x.dim() > 0, value, "diff", "expected at least one dimension but got a scalar");
  const int64_t n = c.attr(0).i();
  ANNX_CHECK(n >= 0, value, "diff", "expected n >= 0 but got ", n);
  const int d = normalize_dim(c.attr(1).i(), x.dim(), "diff");
  TensorList parts;
  if (c.has(1)) parts.push_back(c.in(1));
  parts.push_back(x);
  if (c.has(2)) parts.push_back(c.in(2));
  if (parts.size() > 1) x = call(def::concat, std::move(parts), {Attr(d)});
  for (int64_t i = 0; i < n && x.size(d) > 0; ++i) {
    const int64_t size = x.size(d);
    const Tensor high = ops::slice(x, d, 1, size), low = ops::slice(x, d, 0, size - 1);
    x = x.dtype() == DType::b8 ? ops::ne(high, low) : ops::sub(high, low);
  }
  return {x};
}

}  // namespace

namespace def {

const OpDef cumprod = {
    .name = "cumprod",
    .signature = "cumprod(Tensor input, int dim, *, dtype? dtype=None) -> Tensor",
    .doc =
        "Running products along dim: result[i] = input[0] * ... * input[i]; integers and bools as "
        "int64. The gradient is right with zeros among the factors.",
    .infer = cumprod_infer,
    .kernel = cumprod_kernel,
    .backward = cumprod_rule,
    .cost = reduction_cost,
    .saves = save_input(0)};
const OpDef diff = {
    .name = "diff",
    .signature =
        "diff(Tensor input, int n=1, int dim=-1, Tensor? prepend=None, Tensor? append=None) -> "
        "Tensor",
    .doc =
        "Differences of neighbours along dim, n times over; prepend and append are joined to input "
        "first.",
    .composite = annx::diff};

}  // namespace def
}  // namespace annx
