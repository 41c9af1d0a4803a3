// Writing at positions, out of place: scatter, index_put and its relatives.
#include "ops/indexing/walk.h"

namespace annx {
namespace {

// Where several values go to one place the last one stays, so only it has a gradient. Every value
// leaves its number; those that find their own again have won.
Tensor numbers_like(const Dims& shape) {
  const double n = static_cast<double>(numel_of(shape));
  return ops::reshape(call(def::arange, {}, {Attr(0.0), Attr(n), Attr(1.0), Attr(DType::i64)}),
                      shape);
}

// scatter ---------------------------------------------------------------------------------------

void write_infer(const OpCall& c, OutputSpecs& specs) {
  const int d = normalize_dim(c.attr(0).i(), c.in(0).dim(), "scatter");
  check_gather(c.in(0).shape(), c.in(1), d, "scatter");
  ANNX_CHECK(c.in(2).dtype() == c.in(0).dtype(), type, "scatter", "expected src of dtype ",
             c.in(0).dtype(), " but got ", c.in(2).dtype());
  bool fits = c.in(2).dim() == c.in(1).dim();
  for (int i = 0; fits && i < c.in(1).dim(); ++i) fits = c.in(1).size(i) <= c.in(2).size(i);
  ANNX_CHECK(fits, value, "scatter", "expected src at least as large as index, of shape ",
             c.in(1).shape(), ", but got ", c.in(2).shape());
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
}

void write_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor x = ops::contiguous(c.in(0));
  const Tensor index = as_positions(c.in(1), "scatter");
  Tensor src = c.in(2);
  for (int i = 0; i < index.dim(); ++i) src = ops::slice(src, i, 0, index.size(i));
  src = ops::contiguous(src);
  const int d = normalize_dim(c.attr(0).i(), x.dim(), "scatter");
  std::memcpy(c.out().raw(), x.raw(), x.nbytes());
  with_bits(itemsize(x.dtype()), [&](auto bits) {
    const auto* source = static_cast<const decltype(bits)*>(src.raw());
    auto* out = static_cast<decltype(bits)*>(c.out().raw());
    walk_gather(x.shape(), index, d, "scatter",
                [=](int64_t to, int64_t from) { out[to] = source[from]; });
  });
}

extern const OpDef write_def;

void write_rule(BackwardCall& b) {
  const Tensor index = b.input(1);
  const Tensor& g = b.grad();
  if (b.needs(0)) {
    const Tensor none = ops::zeros(index.shape(), g.dtype());
    b.set(0, call(write_def, {g, index, none}, {b.attr(0)}));
  }
  if (!b.needs(2)) return;
  const Tensor own = numbers_like(index.shape());
  const Tensor start = ops::zeros(b.input_shape(0), DType::i64);
  const Tensor last = call(write_def, {start, index, own}, {b.attr(0)});
  const Tensor won = ops::eq(call(def::gather, {last, index}, {b.attr(0)}), own);
  Tensor part = ops::where(won, call(def::gather, {g, index}, {b.attr(0)}), ops::number(0));
  if (!(b.input_shape(2) == index.shape())) {  // src was larger than index: the rest has no part
    Ints pads;
    for (int i = index.dim() - 1; i >= 0; --i) {
      pads.push_back(0);
      pads.push_back(b.input_shape(2)[i] - index.size(i));
    }
    part = ops::pad(part, pads);
  }
  b.set(2, part);
}

const OpDef write_def = {.name = "scatter_write",
                         .signature = "",
                         .doc = "",
                         .infer = write_infer,
                         .kernel = write_kernel,
                         .backward = write_rule,
                         .cost = scatter_cost,
                         .saves = save_input(1),
                         .flags = kInternal | kHalfNative};

// A number counts as a tensor of its value and of the dtype of input.
Tensor filled_like(const Tensor& value, const Dims& shape, DType dtype) {
  if (!value.impl()->wrapped_number) return ops::expand(value, shape);
  return ops::expand(ops::cast(ops::add(ops::zeros({}, dtype), value), dtype), shape);
}

TensorList scatter(const OpCall& c) {
  Tensor src = c.in(2);
  if (src.impl()->wrapped_number) src = filled_like(src, c.in(1).shape(), c.in(0).dtype());
  return {call(write_def, {c.in(0), c.in(1), src}, {c.attr(0)})};
}

// index_put and its relatives ---------------------------------------------------------------------

// Inputs: input, values, arrays; attributes: dims, accumulate, and the op that speaks.
void put_infer(const OpCall& c, OutputSpecs& specs) {
  const char* op = c.attr(2).text();
  for (int i = 2; i < c.inputs.size(); ++i)
    ANNX_CHECK(is_integral(c.in(i).dtype()) && c.in(i).dtype() != DType::b8, type, op,
               "expected integer or bool indices but got dtype ", c.in(i).dtype());
  const IndexPlan p = plan_index(c.in(0).shape(), c.inputs, 2, c.attr(0).ints(), op);
  ANNX_CHECK(c.in(1).dtype() == c.in(0).dtype(), type, op, "expected values of dtype ",
             c.in(0).dtype(), " but got ", c.in(1).dtype());
  ANNX_CHECK(c.in(1).shape() == p.shape, value, op, "expected values of shape ", p.shape,
             " but got ", c.in(1).shape());
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
}

void put_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor x = ops::contiguous(c.in(0));
  const Tensor values = ops::contiguous(c.in(1));
  const bool add = c.attr(1).b();
  const char* op = c.attr(2).text();
  const size_t size = itemsize(x.dtype());
  const IndexPlan p = plan_index(x.shape(), c.inputs, 2, c.attr(0).ints(), op);
  char* dst = static_cast<char*>(c.out().raw());
  const char* src = static_cast<const char*>(values.raw());
  std::memcpy(dst, x.raw(), x.nbytes());
  walk_index(p, x.shape(), c.inputs, 2, op, [&](int64_t to, int64_t from, int64_t run) {
    char* at = dst + static_cast<size_t>(to) * size;
    const char* value = src + static_cast<size_t>(from) * size;
    if (add)
      add_row(at, value, run, x.dtype());
    else
      std::memcpy(at, value, static_cast<size_t>(run) * size);
  });
}

extern const OpDef put_def;

void put_rule(BackwardCall& b) {
  const Tensor& g = b.grad();
  TensorList arrays;
  for (int i = 2; i < b.input_count(); ++i) arrays.push_back(b.input(i));
  auto put = [&](const Tensor& x, const Tensor& values) {
    TensorList inputs{x, values};
    for (const Tensor& a : arrays) inputs.push_back(a);
    return call(put_def, std::move(inputs), {b.attr(0), Attr(false), b.attr(2)});
  };
  auto take = [&](const Tensor& x) {
    TensorList inputs{x};
    for (const Tensor& a : arrays) inputs.push_back(a);
    return call(def::index, std::move(inputs), {b.attr(0)});
  };
  const bool add = b.attr(1).b();
  const Dims& shape = b.input_shape(1);
  if (b.needs(0)) b.set(0, add ? g : put(g, ops::zeros(shape, g.dtype())));
  if (!b.needs(1)) return;
  if (add) return b.set(1, take(g));
  const Tensor own = numbers_like(shape);
  const Tensor won = ops::eq(take(put(ops::zeros(b.input_shape(0), DType::i64), own)), own);
  b.set(1, ops::where(won, take(g), ops::number(0)));
}

Cost put_cost(const OpCall& c) {
  Cost cost = move_cost(c);
  const double size = static_cast<double>(c.in(1).nbytes());
  cost.bytes += (c.attr(1).b() ? 3 : 2) * size;
  cost.flops = c.attr(1).b() ? static_cast<double>(c.in(1).numel()) : 0;
  return cost;
}

const OpDef put_def = {.name = "index_write",
                       .signature = "",
                       .doc = "",
                       .infer = put_infer,
                       .kernel = put_kernel,
                       .backward = put_rule,
                       .cost = put_cost,
                       .saves = 0xfffc,  // every index array
                       .flags = kInternal};

Tensor put(const Tensor& x, const Tensor& values, const TensorList& arrays, const Ints& dims,
           bool accumulate, const char* op) {
  const IndexPlan p = [&] {
    TensorList inputs{x};
    for (const Tensor& a : arrays) inputs.push_back(a);
    return plan_index(x.shape(), inputs, 1, dims, op);
  }();
  const Dims shape = broadcast_shapes(p.shape, values.shape(), op);
  ANNX_CHECK(shape == p.shape, value, op, "expected values that broadcast to ", p.shape,
             " but got shape ", values.shape());
  TensorList inputs{x, filled_like(values, p.shape, x.dtype())};
  for (const Tensor& a : arrays) inputs.push_back(a);
  return call(put_def, std::move(inputs), {Attr(dims), Attr(accumulate), Attr(intern(op))});
}

TensorList index_put(const OpCall& c) {
  const Tensor& x = c.in(0);
  // Inputs: input, the arrays, values (tensor lists are flattened in the order of the signature).
  const auto count = static_cast<int>(c.attr(1).i());
  const Tensor& values = c.in(1 + count);
  ANNX_CHECK(count > 0, value, "index_put", "expected at least one index array but got none");
  TensorList arrays;
  Ints dims;
  for (int i = 0; i < count; ++i) {
    const Tensor& t = c.in(1 + i);
    if (t.dtype() != DType::b8) {
      dims.push_back(dims.size());
      arrays.push_back(t);
      continue;
    }
    const Tensor positions = call(def::nonzero, {t});
    for (int k = 0; k < t.dim(); ++k) {
      ANNX_CHECK(dims.size() < x.dim() && t.size(k) == x.size(dims.size()), index, "index_put",
                 "expected a mask that fits shape ", x.shape(), " but got ", t.shape());
      dims.push_back(dims.size());
      arrays.push_back(call(def::select, {positions}, {Attr(1), Attr(k)}));
    }
  }
  ANNX_CHECK(dims.size() <= x.dim(), index, "index_put", "expected at most ", x.dim(),
             " index arrays for shape ", x.shape(), " but got ", dims.size());
  return {put(x, values, arrays, dims, c.attr(0).b(), "index_put")};
}

// One line of index along dim.
Tensor along(const OpCall& c, const Tensor& values, bool accumulate) {
  const int d = normalize_dim(c.attr(0).i(), c.in(0).dim(), c.name());
  ANNX_CHECK(c.in(1).dim() == 1, value, c.name(), "expected a one-dimensional index but got shape ",
             c.in(1).shape());
  ANNX_CHECK(c.in(0).dim() > 0, value, c.name(),
             "expected at least one dimension but got a scalar");
  return put(c.in(0), values, {c.in(1)}, Ints{d}, accumulate, c.name());
}

// index_add and index_copy take whole slices: no broadcasting.
const Tensor& checked_source(const OpCall& c) {
  const int d = normalize_dim(c.attr(0).i(), c.in(0).dim(), c.name());
  Dims expected = c.in(0).shape();
  if (expected.size()) expected[d] = c.in(1).numel();
  ANNX_CHECK(c.in(2).shape() == expected, value, c.name(), "expected source of shape ", expected,
             " but got ", c.in(2).shape());
  return c.in(2);
}

TensorList index_add(const OpCall& c) {
  const Tensor& source = checked_source(c);
  const double alpha = c.attr(1).f();
  return {along(c, alpha == 1 ? source : ops::mul(source, ops::number(alpha)), true)};
}
TensorList index_copy(const OpCall& c) { return {along(c, checked_source(c), false)}; }
TensorList index_fill(const OpCall& c) {
  ANNX_CHECK(c.in(2).dim() == 0, value, "index_fill", "expected a number as value but got shape ",
             c.in(2).shape());
  return {along(c, c.in(2), false)};
}

// A result of zeros that mask-chosen elements of source fill in order.
TensorList masked_scatter(const OpCall& c) {
  const Tensor &x = c.in(0), &mask = c.in(1), &source = c.in(2);
  ANNX_CHECK(mask.dtype() == DType::b8, type, "masked_scatter",
             "expected a bool mask but got dtype ", mask.dtype());
  const Dims shape = broadcast_shapes(x.shape(), mask.shape(), "masked_scatter");
  const Tensor where = call(
      def::nonzero, {ops::reshape(ops::contiguous(ops::expand(mask, shape)), {numel_of(shape)})});
  const int64_t count = where.size(0);
  ANNX_CHECK(source.numel() >= count, value, "masked_scatter", "expected a source of at least ",
             count, " elements but got ", source.numel());
  const Tensor values = ops::slice(ops::reshape(source, {source.numel()}), 0, 0, count);
  const Tensor flat = ops::reshape(ops::expand(x, shape), {numel_of(shape)});
  return {ops::reshape(
      put(flat, values, {ops::reshape(where, {count})}, Ints{0}, false, "masked_scatter"), shape)};
}

TensorList take(const OpCall& c) {
  const Tensor flat = ops::reshape(c.in(0), {c.in(0).numel()});
  return {call(def::index, {flat, c.in(1)}, {Attr(Ints{0})})};
}

TensorList take_along_dim(const OpCall& c) {
  const int nd = c.in(0).dim();
  if (c.attr(0).is_none() || nd == 0) {
    const Tensor flat = ops::reshape(c.in(0), {c.in(0).numel()});
    return {call(def::gather, {flat, ops::reshape(c.in(1), {c.in(1).numel()})}, {Attr(0)})};
  }
  const int d = normalize_dim(c.attr(0).i(), nd, "take_along_dim");
  ANNX_CHECK(c.in(1).dim() == nd, value, "take_along_dim", "expected indices of ", nd,
             " dimensions but got shape ", c.in(1).shape());
  Dims x, i;  // the shapes with 1 along dim, which broadcast
  for (int k = 0; k < nd; ++k) {
    x.push_back(k == d ? 1 : c.in(0).size(k));
    i.push_back(k == d ? 1 : c.in(1).size(k));
  }
  const Dims common = broadcast_shapes(x, i, "take_along_dim");
  Dims xs, is;
  for (int k = 0; k < nd; ++k) {
    xs.push_back(k == d ? c.in(0).size(k) : common[k]);
    is.push_back(k == d ? c.in(1).size(k) : common[k]);
  }
  return {call(def::gather, {ops::expand(c.in(0), xs), ops::expand(c.in(1), is)}, {Attr(d)})};
}

}  // namespace

namespace def {

const OpDef scatter = {
    .name = "scatter",
    .signature = "scatter(Tensor input, int dim, Tensor index, Tensor src) -> Tensor",
    .doc =
        "input with src (a tensor or a number) written at the positions that index names along "
        "dim. Where several go to one place the last one stays.",
    .composite = annx::scatter,
    .flags = kHalfNative};
const OpDef index_put = {
    .name = "index_put",
    .signature =
        "index_put(Tensor input, Tensor[] indices, Tensor values, bool accumulate=False) -> "
        "Tensor",
    .doc =
        "A copy of input with values, broadcast, at input[indices]: integer arrays (broadcast "
        "together) or masks for the first dimensions. With accumulate values are added, else the "
        "last of several for one place stays.",
    .composite = annx::index_put};
const OpDef index_add = {
    .name = "index_add",
    .signature =
        "index_add(Tensor input, int dim, Tensor index, Tensor source, *, float alpha=1.0) -> "
        "Tensor",
    .doc = "input with alpha times the slices of source added at index along dim.",
    .composite = annx::index_add};
const OpDef index_copy = {
    .name = "index_copy",
    .signature = "index_copy(Tensor input, int dim, Tensor index, Tensor source) -> Tensor",
    .doc = "input with the slices of source written at index along dim.",
    .composite = annx::index_copy};
const OpDef index_fill = {
    .name = "index_fill",
    .signature = "index_fill(Tensor input, int dim, Tensor index, Tensor value) -> Tensor",
    .doc = "input with value in the slices at index along dim.",
    .composite = annx::index_fill};
const OpDef masked_scatter = {
    .name = "masked_scatter",
    .signature = "masked_scatter(Tensor input, Tensor mask, Tensor source) -> Tensor",
    .doc = "input with the first elements of source in the places where mask (bool) holds.",
    .composite = annx::masked_scatter,
    .flags = kNoCapture};
const OpDef take = {.name = "take",
                    .signature = "take(Tensor input, Tensor index) -> Tensor",
                    .doc = "The elements of input, seen as one row, at index; shaped as index.",
                    .composite = annx::take,
                    .flags = kHalfNative};
const OpDef take_along_dim = {
    .name = "take_along_dim",
    .signature = "take_along_dim(Tensor input, Tensor indices, int? dim=None) -> Tensor",
    .doc =
        "gather with input and indices broadcast together outside of dim: what argsort and "
        "argmax (keepdim) give. Without dim both are seen as one row.",
    .composite = annx::take_along_dim,
    .flags = kHalfNative};

}  // namespace def
}  // namespace annx
