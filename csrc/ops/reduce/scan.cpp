// Products and running sums: prod, cumsum. Running products: cumprod.cpp.
#include <algorithm>

#include "ops/reduce/plain.h"

namespace annx {
namespace {

using namespace reduce;

// prod --------------------------------------------------------------------------------------------

void prod_infer(const OpCall& c, OutputSpecs& specs) {
  const DType in = c.in(0).dtype();
  const DType dtype = c.attr(2).is_none() ? (is_integral(in) ? DType::i64 : in) : c.attr(2).dtype();
  ANNX_CHECK(dtype == DType::f32 || dtype == DType::f64 || dtype == DType::i64, type, "prod",
             "expected dtype float32, float64 or int64 but got ", dtype);
  infer_reduced(c, specs, dtype);
}

// float32 is multiplied in double, so that no partial product overflows before the result does.
template <class T, class Acc>
void prod_as(const Tensor& x, const Dims& axes, const Tensor& out) {
  T* o = out.data<T>();
  if (x.numel() == 0) {
    std::fill_n(o, out.numel(), T{1});
    return;
  }
  reduce_axes(x.data<T>(), x.shape(), axes, o, PlainOp<PlainProduct, Acc>{});
}

void prod_kernel(const OpCall& c) {
  const Tensor& out = c.out();
  if (out.numel() == 0) return;
  const Tensor x = prepare(c.in(0), out.dtype());
  const Dims axes = axes_of(c.attr(0), x.dim(), "prod");
  switch (out.dtype()) {
    case DType::f32:
      return prod_as<float, double>(x, axes, out);
    case DType::f64:
      return prod_as<double, double>(x, axes, out);
    default:
      return prod_as<int64_t, int64_t>(x, axes, out);
  }
}

// Product of the others, for every element of every row: no division, so zeros are no trouble.
template <class T>
void products_of_others(const Tensor& rows, T* out) {
  const int64_t n = rows.size(1);
  const T* x = rows.data<T>();
  for (int64_t r = 0; r < rows.size(0); ++r, x += n, out += n) {
    double before = 1, after = 1;
    for (int64_t i = 0; i < n; ++i) {
      out[i] = static_cast<T>(before);
      before *= x[i];
    }
    for (int64_t i = n - 1; i >= 0; --i) {
      out[i] = static_cast<T>(out[i] * after);
      after *= x[i];
    }
  }
}

void others_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
}

void others_kernel(const OpCall& c) {
  const Tensor rows = prepare(c.in(0), c.in(0).dtype());
  if (rows.dtype() == DType::f32)
    products_of_others(rows, c.out().data<float>());
  else
    products_of_others(rows, c.out().data<double>());
}

const OpDef others_def = {.name = "prod_others",
                          .signature = "",
                          .doc = "",
                          .infer = others_infer,
                          .kernel = others_kernel,
                          .cost = reduction_cost,
                          .flags = kInternal};

// The same as a differentiable formula: n products of a row with one element replaced by 1.
Tensor differentiable_others(const Tensor& rows) {
  const int64_t outer = rows.size(0), n = rows.size(1);
  const Tensor diagonal = call(def::eye, {}, {Attr(n), Attr(), Attr(DType::b8)});
  const Tensor copies = ops::expand(ops::reshape(rows, {outer, 1, n}), {outer, n, n});
  const Tensor replaced = ops::where(diagonal, ops::number(1), copies);
  return call(def::prod, {replaced}, {Attr(Ints{2}), Attr(false), Attr()});
}

void prod_rule(BackwardCall& b) {
  const Tensor x =
      ops::cast(b.input(0), is_integral(b.input_dtype(0)) ? DType::f32 : b.input_dtype(0));
  const Dims axes = axes_of(b.attr(0), x.dim(), "prod");
  const Dims order = axes_last_order(x.dim(), axes);
  const Tensor moved = ops::permute(x, order);
  const int64_t n = count_along(x.shape(), axes);
  if (x.numel() == 0) return b.set(0, ops::zeros_like(x));
  const Tensor rows = ops::reshape(moved, {x.numel() / n, n});
  const Tensor others = grad_enabled() ? differentiable_others(rows) : call(others_def, {rows});
  const Tensor placed = ops::permute(ops::reshape(others, moved.shape()), inverse_order(order));
  const Tensor g = ops::cast(keep_axes(b.grad(), x.shape(), axes), x.dtype());
  b.set(0, ops::mul(g, placed));
}

// cumsum ------------------------------------------------------------------------------------------

// Running sums of several rows at once: each is a chain of additions, and chains overlap.
template <int Rows, class T, class Acc>
void sum_along_rows(const T* x, int64_t n, T* out, int64_t first, int64_t step) {
  Acc acc[Rows] = {};
  for (int64_t k = 0, at = first; k < n; ++k, at += step) {
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      acc[r] += static_cast<Acc>(x[r * n + at]);
      out[r * n + at] = static_cast<T>(acc[r]);
    }
  }
}

template <class T, class Acc>
void running_sums_of_rows(const T* x, const Span& s, T* out, bool reverse) {
  constexpr int kRows = 4;  // with their results, one set of a common L1
  const int64_t first = reverse ? s.n - 1 : 0, step = reverse ? -1 : 1;
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(s.n, 1));
  parallel_for(s.outer, (grain + kRows - 1) / kRows * kRows, [&](int64_t begin, int64_t end) {
    int64_t o = begin;
    for (; o + kRows <= end; o += kRows)
      sum_along_rows<kRows, T, Acc>(x + o * s.n, s.n, out + o * s.n, first, step);
    for (; o < end; ++o) sum_along_rows<1, T, Acc>(x + o * s.n, s.n, out + o * s.n, first, step);
  });
}

// Running sums along n of (outer, n, inner), from the front or from the back.
template <class T, class Acc>
void running_sums(const T* x, const Span& s, T* out, bool reverse) {
  if (s.inner == 1) return running_sums_of_rows<T, Acc>(x, s, out, reverse);
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(s.n * s.inner, 1));
  parallel_for(s.outer, grain, [&](int64_t begin, int64_t end) {
    Acc acc[kSpanColumns];
    for (int64_t o = begin; o < end; ++o) {
      for (int64_t c = 0; c < s.inner; c += kSpanColumns) {
        const int64_t w = std::min(kSpanColumns, s.inner - c);
        std::fill_n(acc, w, Acc{0});
        for (int64_t k = 0; k < s.n; ++k) {
          const int64_t at = (o * s.n + (reverse ? s.n - 1 - k : k)) * s.inner + c;
          for (int64_t j = 0; j < w; ++j) {
            acc[j] += static_cast<Acc>(x[at + j]);
            out[at + j] = static_cast<T>(acc[j]);
          }
        }
      }
    }
  });
}

void cumsum_infer(const OpCall& c, OutputSpecs& specs) {
  const DType in = c.in(0).dtype();
  normalize_dim(c.attr(0).i(), c.in(0).dim(), "cumsum");
  const DType dtype = c.attr(1).is_none() ? (is_integral(in) ? DType::i64 : in) : c.attr(1).dtype();
  ANNX_CHECK(dtype == DType::f32 || dtype == DType::f64 || dtype == DType::i64, type, "cumsum",
             "expected dtype float32, float64 or int64 but got ", dtype);
  specs.push_back({c.in(0).shape(), dtype});
}

void cumsum_run(const OpCall& c, bool reverse) {
  const Tensor& out = c.out();
  if (out.numel() == 0) return;
  const Tensor x = prepare(c.in(0), out.dtype());
  const int axis = normalize_dim(c.attr(0).i(), x.dim(), "cumsum");
  Span span;
  for (int i = 0; i < x.dim(); ++i)
    (i < axis ? span.outer : i == axis ? span.n : span.inner) *= x.size(i);
  switch (out.dtype()) {
    case DType::f32:
      return running_sums<float, double>(x.data<float>(), span, out.data<float>(), reverse);
    case DType::f64:
      return running_sums<double, double>(x.data<double>(), span, out.data<double>(), reverse);
    default:
      return running_sums<int64_t, uint64_t>(x.data<int64_t>(), span, out.data<int64_t>(), reverse);
  }
}
void cumsum_kernel(const OpCall& c) { cumsum_run(c, false); }
void cumsum_reverse_kernel(const OpCall& c) { cumsum_run(c, true); }

// Each direction is the other's gradient.
void cumsum_reverse_rule(BackwardCall& b) {
  b.set(0, call(def::cumsum, {b.grad()}, {b.attr(0), Attr()}));
}

const OpDef cumsum_reverse_def = {.name = "cumsum_reverse",
                                  .signature = "",
                                  .doc = "",
                                  .infer = cumsum_infer,
                                  .kernel = cumsum_reverse_kernel,
                                  .backward = cumsum_reverse_rule,
                                  .cost = reduction_cost,
                                  .flags = kInternal};

void cumsum_rule(BackwardCall& b) {
  const Tensor g = call(cumsum_reverse_def, {b.grad()}, {b.attr(0), Attr()});
  b.set(0, ops::cast(g, b.input_dtype(0)));
}

}  // namespace

namespace def {

const OpDef prod = {.name = "prod",
                    .signature =
                        "prod(Tensor input, int[]? dim=None, bool keepdim=False, *, "
                        "dtype? dtype=None) -> Tensor",
                    .doc =
                        "Product over the axes dim (all of them by default); integers and bools "
                        "as int64. The gradient is right with zeros among the factors.",
                    .infer = prod_infer,
                    .kernel = prod_kernel,
                    .backward = prod_rule,
                    .cost = reduction_cost,
                    .saves = save_input(0)};

const OpDef cumsum = {.name = "cumsum",
                      .signature = "cumsum(Tensor input, int dim, *, dtype? dtype=None) -> Tensor",
                      .doc =
                          "Running sums along dim: result[i] = input[0] + ... + input[i]; "
                          "integers and bools as int64.",
                      .infer = cumsum_infer,
                      .kernel = cumsum_kernel,
                      .backward = cumsum_rule,
                      .cost = reduction_cost};

}  // namespace def
}  // namespace annx
