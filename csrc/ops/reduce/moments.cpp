// Spread and size: var, std, norm.
#include <cmath>

#include "ops/reduce/float_ops.h"

namespace annx {
namespace {

using namespace reduce;

// var and std -------------------------------------------------------------------------------------

void moments_infer(const OpCall& c, OutputSpecs& specs) {
  const DType dtype = c.in(0).dtype();
  ANNX_CHECK(is_floating(dtype), type, c.name(), "expected a floating-point input but got dtype ",
             dtype);
  specs.push_back(
      {reduced_shape(c.in(0).shape(), axes_of(c.attr(0), c.in(0).dim(), c.name()), c.attr(2).b()),
       dtype});
}

double degrees_of_freedom(int64_t count, const Attr& correction) {
  return std::max(0.0, static_cast<double>(count) - correction.f());
}

// Two passes: the mean, then the squared distances from it.
template <class T>
void moments(const OpCall& c, bool root) {
  const Tensor& out = c.out();
  Tensor x = prepare(c.in(0), out.dtype());
  const Dims axes = axes_of(c.attr(0), x.dim(), c.name());
  const int64_t count = count_along(x.shape(), axes);
  T* values = out.data<T>();
  if (count == 0) {
    std::fill_n(values, out.numel(), static_cast<T>(NAN));
    return;
  }
  SpanList list = split_axes(x.shape(), axes);
  if (list.count > 1) {
    x = axes_last(x, axes);
    list.spans[0] = {x.size(0), x.size(1), 1};
  }
  const Span& span = list.spans[0];
  const Tensor mean = scratch<T>(out.numel());
  run_span(x.data<T>(), span, mean.data<T>(), SumOp<T>{static_cast<double>(count)});
  run_span(x.data<T>(), span, values,
           DeviationOp<T>{mean.data<T>(), degrees_of_freedom(count, c.attr(1))});
  if (root)
    for (int64_t i = 0; i < out.numel(); ++i) values[i] = std::sqrt(values[i]);
}

void moments_kernel(const OpCall& c, bool root) {
  if (c.out().numel() == 0) return;
  if (c.out().dtype() == DType::f32)
    moments<float>(c, root);
  else
    moments<double>(c, root);
}
void var_kernel(const OpCall& c) { moments_kernel(c, false); }
void std_kernel(const OpCall& c) { moments_kernel(c, true); }

// g is the gradient of the variance, with the axes kept.
void var_gradient(BackwardCall& b, const Tensor& g, const Dims& axes) {
  const Tensor x = b.input(0);
  const double freedom = degrees_of_freedom(count_along(x.shape(), axes), b.attr(1));
  const Tensor distance = ops::sub(x, ops::mean(x, axes, true));
  b.set(0, ops::mul(ops::mul(g, ops::number(2 / freedom)), distance));
}

void var_rule(BackwardCall& b) {
  const Dims& shape = b.input_shape(0);
  const Dims axes = axes_of(b.attr(0), shape.size(), "var");
  var_gradient(b, keep_axes(b.grad(), shape, axes), axes);
}

// g / y, and 0 where y is 0: the gradient of a root at its end, by convention.
Tensor divide_or_zero(const Tensor& g, const Tensor& y) {
  const Tensor at_zero = ops::eq(y, ops::number(0));
  const Tensor safe = ops::where(at_zero, ops::number(1), y);
  return ops::where(at_zero, ops::number(0), ops::div(g, safe));
}

void std_rule(BackwardCall& b) {
  const Dims& shape = b.input_shape(0);
  const Dims axes = axes_of(b.attr(0), shape.size(), "std");
  const Tensor g =
      divide_or_zero(keep_axes(b.grad(), shape, axes), keep_axes(b.output(), shape, axes));
  var_gradient(b, ops::mul(g, ops::number(0.5)), axes);
}

// norm --------------------------------------------------------------------------------------------

void norm2_infer(const OpCall& c, OutputSpecs& specs) { infer_reduced(c, specs, c.in(0).dtype()); }

template <class T>
void norm2(const Tensor& rows, T* out) {
  const int64_t n = rows.size(1), pieces = std::max<int64_t>(1, (n + kPiece - 1) / kPiece);
  const Tensor buffer = scratch<double>(rows.size(0) * pieces);
  auto* partial = buffer.data<double>();
  const T* x = rows.data<T>();
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(n, 1));
  parallel_for(rows.size(0) * pieces, grain, [&](int64_t begin, int64_t end) {
    if (pieces == 1)
      return kernels<T>().squares_rows(x + begin * n, end - begin, n, partial + begin);
    for (int64_t u = begin; u < end; ++u) {
      const int64_t row = u / pieces, at = u % pieces * kPiece;
      kernels<T>().squares_rows(x + row * n + at, 1, std::min(kPiece, n - at), partial + u);
    }
  });
  for (int64_t r = 0; r < rows.size(0); ++r) {
    double total = 0;
    for (int64_t p = 0; p < pieces; ++p) total += partial[r * pieces + p];
    out[r] = static_cast<T>(std::sqrt(total));
  }
}

void norm2_kernel(const OpCall& c) {
  if (c.out().numel() == 0) return;
  const Tensor rows = axes_last(c.in(0), axes_of(c.attr(0), c.in(0).dim(), "norm"));
  if (rows.dtype() == DType::f32)
    norm2(rows, c.out().data<float>());
  else
    norm2(rows, c.out().data<double>());
}

void norm2_rule(BackwardCall& b) {
  const Dims& shape = b.input_shape(0);
  const Dims axes = axes_of(b.attr(0), shape.size(), "norm");
  const Tensor scale =
      divide_or_zero(keep_axes(b.grad(), shape, axes), keep_axes(b.output(), shape, axes));
  b.set(0, ops::mul(b.input(0), scale));
}

const OpDef norm2_def = {.name = "norm2",
                         .signature = "",
                         .doc = "",
                         .infer = norm2_infer,
                         .kernel = norm2_kernel,
                         .backward = norm2_rule,
                         .cost = reduction_cost,
                         .saves = save_input(0) | save_output(0),
                         .flags = kInternal};

TensorList norm(const OpCall& c) {
  const Tensor& x = c.in(0);
  ANNX_CHECK(is_floating(x.dtype()), type, "norm", "expected a floating-point input but got dtype ",
             x.dtype());
  const double p = c.attr(0).f();
  const Dims axes = axes_of(c.attr(1), x.dim(), "norm");
  const Attr dim = axes.empty() ? Attr() : Attr(axes);
  const Attr& keepdim = c.attr(2);
  if (p == 2) return call_all(norm2_def, {x}, {dim, keepdim});
  const Tensor size = ops::abs(x);
  if (std::isinf(p)) {
    if (p > 0 && x.numel() == 0) return {ops::sum(size, axes, keepdim.b())};
    return call_all(p > 0 ? def::amax : def::amin, {size}, {dim, keepdim});
  }
  if (p == 0) return {ops::sum(ops::sign(size), axes, keepdim.b())};
  if (p == 1) return {ops::sum(size, axes, keepdim.b())};
  const Tensor exponent = Tensor::scalar(p, x.dtype());
  const Tensor one_over_p = Tensor::scalar(1 / p, x.dtype());
  if (p < 0) {
    return {ops::pow(ops::sum(ops::pow(size, exponent), axes, keepdim.b()), one_over_p)};
  }
  // Zeros are kept away from pow, whose gradient there is infinite for p < 1, and so is the root
  // of an all-zero norm.
  const Tensor zero = ops::number(0), one = ops::number(1);
  const Tensor at_zero = ops::eq(size, zero);
  const Tensor powers = ops::pow(ops::where(at_zero, one, size), exponent);
  const Tensor total = ops::sum(ops::where(at_zero, zero, powers), axes, keepdim.b());
  const Tensor none = ops::eq(total, zero);
  return {ops::where(none, zero, ops::pow(ops::where(none, one, total), one_over_p))};
}

}  // namespace

namespace def {

#define ANNX_MOMENT(id, text, Saves)                                             \
  const OpDef id = {.name = #id,                                                 \
                    .signature = #id                                             \
                    "(Tensor input, int[]? dim=None, *, int correction=1, bool " \
                    "keepdim=False) -> Tensor",                                  \
                    .doc = text,                                                 \
                    .infer = moments_infer,                                      \
                    .kernel = id##_kernel,                                       \
                    .backward = id##_rule,                                       \
                    .cost = reduction_cost,                                      \
                    .saves = Saves};
ANNX_MOMENT(var,
            "Variance over the axes dim: sum((input - mean)**2) / (count - correction), in two "
            "passes. NaN where count <= correction.",
            save_input(0))
ANNX_MOMENT(std, "Square root of var; its gradient is 0 where the result is 0.",
            save_input(0) | save_output(0))
#undef ANNX_MOMENT

const OpDef norm = {.name = "norm",
                    .signature =
                        "norm(Tensor input, float p=2.0, int[]? dim=None, bool "
                        "keepdim=False) -> Tensor",
                    .doc =
                        "Vector norm sum(|input|**p)**(1/p) over the axes dim; p may be inf, "
                        "-inf, or 0 (the number of non-zero elements). p = 2 is computed in "
                        "float64, so squares neither overflow nor vanish.",
                    .composite = annx::norm};

}  // namespace def
}  // namespace annx
