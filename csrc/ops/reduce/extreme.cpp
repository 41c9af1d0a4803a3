// Largest and smallest elements and where they are: amax, amin, max, min, argmax, argmin.
#include <algorithm>

#include "ops/reduce/float_ops.h"
#include "ops/reduce/plain.h"

namespace annx {
namespace {

using namespace reduce;

template <bool Largest>
using PlainExtreme = std::conditional_t<Largest, PlainMax, PlainMin>;

// amax, amin --------------------------------------------------------------------------------------

template <bool Largest, class T>
void extreme_plain(const Tensor& x, const Dims& axes, const Tensor& out) {
  const PlainOp<PlainExtreme<Largest>, T> op;
  reduce_axes(x.data<T>(), x.shape(), axes, out.data<T>(), op);
}

template <bool Largest, class T>
void extreme_float(const Tensor& x, const Dims& axes, const Tensor& out) {
  reduce_axes(x.data<T>(), x.shape(), axes, out.data<T>(), ExtremeOp<T, Largest>{});
}

template <bool Largest>
void extreme_kernel(const OpCall& c) {
  if (c.out().numel() == 0) return;
  const Dims given = axes_of(c.attr(0), c.in(0).dim(), c.name());
  const auto [x, axes] = prepare_unordered(c.in(0), given, c.in(0).dtype());
  switch (x.dtype()) {
    case DType::f32:
      return extreme_float<Largest, float>(x, axes, c.out());
    case DType::f64:
      return extreme_float<Largest, double>(x, axes, c.out());
    case DType::i64:
      return extreme_plain<Largest, int64_t>(x, axes, c.out());
    case DType::i32:
      return extreme_plain<Largest, int32_t>(x, axes, c.out());
    default:
      return extreme_plain<Largest, uint8_t>(x, axes, c.out());
  }
}

void extreme_infer(const OpCall& c, OutputSpecs& specs) {
  const Dims axes = axes_of(c.attr(0), c.in(0).dim(), c.name());
  infer_reduced(c, specs, c.in(0).dtype());
  if (numel_of(specs.back().shape) > 0) check_not_empty(c, axes);
}

// Equal extremes share the gradient evenly; a NaN extreme equals nothing, and 0 / 0 makes it known.
void extreme_rule(BackwardCall& b) {
  const Dims& shape = b.input_shape(0);
  const Dims axes = axes_of(b.attr(0), shape.size(), "amax");
  const Tensor mask = ops::eq(b.input(0), keep_axes(b.output(), shape, axes));
  const Tensor ties = ops::cast(ops::sum(mask, axes, true), b.input_dtype(0));
  const Tensor chosen = ops::where(mask, keep_axes(b.grad(), shape, axes), ops::number(0));
  b.set(0, ops::div(chosen, ties));
}

// Positions ---------------------------------------------------------------------------------------

// First position of the extreme of a row; NaN counts as extreme.
template <bool Largest, class T>
int64_t position(const T* x, int64_t n, T* value) {
  if constexpr (std::is_floating_point_v<T>) {
    const ReduceTable<T>& k = kernels<T>();
    (Largest ? k.max_rows : k.min_rows)(x, 1, n, value);
    return k.find(x, n, *value);
  } else {
    PlainOp<PlainExtreme<Largest>, T>{}.rows(x, 0, 1, n, value, true);
    return std::find(x, x + n, *value) - x;
  }
}

template <bool Largest, class T>
void position_rows(const Tensor& x, T* values, int64_t* indices) {
  const int64_t n = x.size(1);
  const T* data = x.data<T>();
  const int64_t grain = std::max<int64_t>(1, kGrain / n);
  parallel_for(x.size(0), grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      T value;
      indices[r] = position<Largest>(data + r * n, n, &value);
      if (values) values[r] = n == 1 ? data[r] : data[r * n + indices[r]];
    }
  });
}

// rows: (outer, n) in row-major memory; values may be undefined.
template <bool Largest>
void positions(const Tensor& rows, const Tensor& values, const Tensor& indices) {
  auto* at = indices.data<int64_t>();
  void* out = values.defined() ? values.raw() : nullptr;
  switch (rows.dtype()) {
    case DType::f32:
      return position_rows<Largest>(rows, static_cast<float*>(out), at);
    case DType::f64:
      return position_rows<Largest>(rows, static_cast<double*>(out), at);
    case DType::i64:
      return position_rows<Largest>(rows, static_cast<int64_t*>(out), at);
    case DType::i32:
      return position_rows<Largest>(rows, static_cast<int32_t*>(out), at);
    default:
      return position_rows<Largest>(rows, static_cast<uint8_t*>(out), at);
  }
}

void with_position_infer(const OpCall& c, OutputSpecs& specs) {
  extreme_infer(c, specs);
  OutputSpec indices = specs.back();
  indices.dtype = DType::i64;
  specs.push_back(indices);
}

template <bool Largest>
void with_position_kernel(const OpCall& c) {
  if (c.out().numel() == 0) return;
  const Tensor& x = c.in(0);
  positions<Largest>(axes_last(x, axes_of(c.attr(0), x.dim(), c.name())), c.out(0), c.out(1));
}

// Only the element that was chosen gets the gradient.
void with_position_rule(BackwardCall& b) {
  if (!b.grad(0).defined()) return;
  const Dims& shape = b.input_shape(0);
  const Dims axes = axes_of(b.attr(0), shape.size(), "max");
  const Tensor g = keep_axes(b.grad(0), shape, axes);
  if (shape.empty()) return b.set(0, g);
  const int axis = static_cast<int>(axes[0]);
  Dims along(shape.size(), 1);
  along[axis] = shape[axis];
  const Tensor steps =
      call(def::arange, {},
           {Attr(0.0), Attr(static_cast<double>(shape[axis])), Attr(1.0), Attr(DType::i64)});
  const Tensor chosen =
      ops::eq(keep_axes(b.output(1).detach(), shape, axes), ops::reshape(steps, along));
  b.set(0, ops::where(chosen, g, ops::number(0)));
}

void position_infer(const OpCall& c, OutputSpecs& specs) {
  extreme_infer(c, specs);
  specs.back().dtype = DType::i64;
}

template <bool Largest>
void position_kernel(const OpCall& c) {
  if (c.out().numel() == 0) return;
  const Tensor& x = c.in(0);
  positions<Largest>(axes_last(x, axes_of(c.attr(0), x.dim(), c.name())), Tensor(), c.out());
}

// max and min: one tensor without dim, a pair with it.
TensorList extreme_or_pair(const OpCall& c, const OpDef& all, const OpDef& pair) {
  const Tensor& x = c.in(0);
  if (!c.attr(0).is_none()) {
    axes_of(c.attr(0), x.dim(), c.name());  // here the op is called max, not max_dim
    return call_all(pair, {x}, {c.attr(0), c.attr(1)});
  }
  ANNX_CHECK(x.numel() > 0, value, c.name(),
             "expected at least one element to reduce but got shape ", x.shape());
  return call_all(all, {x}, {Attr(), c.attr(1)});
}
TensorList max_any(const OpCall& c) { return extreme_or_pair(c, def::amax, def::max_dim); }
TensorList min_any(const OpCall& c) { return extreme_or_pair(c, def::amin, def::min_dim); }

}  // namespace

namespace def {

#define ANNX_EXTREME(suffix, Largest, word)                                                       \
  const OpDef a##suffix = {                                                                       \
      .name = "a" #suffix,                                                                        \
      .signature = "a" #suffix "(Tensor input, int[]? dim=None, bool keepdim=False) -> Tensor",   \
      .doc = "The " word                                                                          \
             " element over the axes dim (all of them by default); NaN if there is "              \
             "one. Equal ones share the gradient evenly.",                                        \
      .infer = extreme_infer,                                                                     \
      .kernel = extreme_kernel<Largest>,                                                          \
      .backward = extreme_rule,                                                                   \
      .cost = reduction_cost,                                                                     \
      .saves = save_input(0) | save_output(0)};                                                   \
  const OpDef suffix##_dim = {                                                                    \
      .name = #suffix "_dim",                                                                     \
      .signature = #suffix "_dim(Tensor input, int dim, bool keepdim=False) -> (Tensor, Tensor)", \
      .doc =                                                                                      \
          "The " word " elements along dim and their (first) positions; NaN counts as " word ".", \
      .infer = with_position_infer,                                                               \
      .kernel = with_position_kernel<Largest>,                                                    \
      .backward = with_position_rule,                                                             \
      .cost = reduction_cost,                                                                     \
      .saves = save_output(1),                                                                    \
      .flags = kNoMethod};                                                                        \
  const OpDef suffix = {                                                                          \
      .name = #suffix,                                                                            \
      .signature = #suffix                                                                        \
      "(Tensor input, int? dim=None, bool keepdim=False) -> Tensor | (Tensor, Tensor)",           \
      .doc = "The " word " element of input; with dim, the pair of the " word                     \
             " elements along it and their positions.",                                           \
      .composite = suffix##_any};                                                                 \
  const OpDef arg##suffix = {                                                                     \
      .name = "arg" #suffix,                                                                      \
      .signature = "arg" #suffix "(Tensor input, int? dim=None, bool keepdim=False) -> Tensor",   \
      .doc = "Position of the " word                                                              \
             " element along dim, or in the flattened input; the first "                          \
             "of equal ones, and of NaN if there is one.",                                        \
      .infer = position_infer,                                                                    \
      .kernel = position_kernel<Largest>,                                                         \
      .cost = reduction_cost};
ANNX_EXTREME(max, true, "largest")
ANNX_EXTREME(min, false, "smallest")
#undef ANNX_EXTREME

}  // namespace def
}  // namespace annx
