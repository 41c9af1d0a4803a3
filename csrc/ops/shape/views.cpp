// Views: reshape, permute and their relatives share the storage of their input.
#include <algorithm>
#include <cstring>

#include "core/thread_pool.h"
#include "ops/functional.h"
#include "ops/shape/slices.h"

namespace annx {
namespace {

OutputSpec view_spec(const Tensor& x, const Dims& shape, const Dims& strides, int64_t offset) {
  return {shape, x.dtype(), 0, strides, offset};
}

// Fills in one -1 and checks the number of elements.
Dims resolve_shape(const Ints& wanted, const Tensor& x, const char* op) {
  Dims shape(wanted);
  int64_t known = 1;
  int unknown = -1;
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] == -1) {
      ANNX_CHECK(unknown < 0, value, op, "expected at most one -1 but got shape ", wanted);
      unknown = i;
    } else {
      ANNX_CHECK(shape[i] >= 0, value, op, "expected sizes >= -1 but got shape ", wanted);
      known = shape[i] == 0 || known == 0 ? 0 : known * shape[i];
    }
  }
  if (unknown >= 0) {
    ANNX_CHECK(known > 0 && x.numel() % known == 0, value, op, "expected a shape of ", x.numel(),
               " elements but got ", wanted, " for input of shape ", x.shape());
    shape[unknown] = x.numel() / known;
  }
  ANNX_CHECK(numel_of(shape, op) == x.numel(), value, op, "expected a shape of ", x.numel(),
             " elements but got ", wanted, " for input of shape ", x.shape());
  return shape;
}

// Strides that show x in another shape without a copy, if there are any.
bool view_strides(const Tensor& x, const Dims& shape, Dims& strides) {
  strides = contiguous_strides(shape);
  if (x.is_contiguous() || x.numel() == 0) return true;
  int d = x.dim() - 1;
  int s = shape.size() - 1;
  while (d >= 0) {
    // A chunk of input dimensions that lie behind one another in memory.
    const int64_t base = x.stride(d);
    int64_t chunk = x.size(d);
    while (d > 0 && (x.size(d - 1) == 1 || x.stride(d - 1) == base * chunk)) {
      --d;
      chunk *= x.size(d);
    }
    --d;
    int64_t step = base;
    int64_t filled = 1;
    while (s >= 0 && (filled < chunk || shape[s] == 1)) {
      strides[s] = step;
      step *= shape[s];
      filled *= shape[s];
      --s;
    }
    if (filled != chunk) return false;
  }
  return true;
}

void view_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  const Dims shape = resolve_shape(c.attr(0).ints(), x, c.name());
  Dims strides;
  ANNX_CHECK(view_strides(x, shape, strides), value, c.name(),
             "expected an input whose memory can be seen as ", shape, " but got shape ", x.shape(),
             " with strides ", x.strides(), ": use reshape, which copies when it has to");
  specs.push_back(view_spec(x, shape, strides, x.offset()));
}

void reshape_like_input(BackwardCall& b) { b.set(0, ops::reshape(b.grad(), b.input_shape(0))); }

TensorList reshape(const OpCall& c) {
  const Tensor& x = c.in(0);
  const Dims shape = resolve_shape(c.attr(0).ints(), x, c.name());
  Dims strides;
  const Tensor base = view_strides(x, shape, strides) ? x : ops::contiguous(x);
  return call_all(def::view, {base}, {Attr(shape)});
}

TensorList flatten(const OpCall& c) {
  const Tensor& x = c.in(0);
  if (x.dim() == 0) return {ops::reshape(x, {1})};
  const int start = normalize_dim(c.attr(0).i(), x.dim(), "flatten");
  const int end = normalize_dim(c.attr(1).i(), x.dim(), "flatten");
  ANNX_CHECK(start <= end, value, "flatten", "expected start_dim <= end_dim but got ",
             c.attr(0).i(), " and ", c.attr(1).i());
  Dims shape;
  int64_t merged = 1;
  for (int i = 0; i < x.dim(); ++i) {
    if (i < start || i > end) {
      shape.push_back(x.size(i));
    } else {
      merged *= x.size(i);
      if (i == end) shape.push_back(merged);
    }
  }
  return {ops::reshape(x, shape)};
}

TensorList unflatten(const OpCall& c) {
  const Tensor& x = c.in(0);
  const int dim = normalize_dim(c.attr(0).i(), x.dim(), "unflatten");
  Ints sizes = c.attr(1).ints();
  int64_t known = 1;
  int unknown = -1;
  for (int64_t s : sizes)  // none is larger than what they make up, so products stay small
    ANNX_CHECK(s >= -1 && s <= std::max<int64_t>(x.size(dim), 1), value, "unflatten",
               "expected sizes that multiply to ", x.size(dim), " but got ", sizes);
  for (int i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == -1) {
      ANNX_CHECK(unknown < 0, value, "unflatten", "expected at most one -1 but got sizes ", sizes);
      unknown = i;
    } else {
      known *= sizes[i];
    }
  }
  if (unknown >= 0 && known > 0) sizes[unknown] = x.size(dim) / known;
  int64_t product = 1;
  for (int64_t s : sizes) product *= s;
  ANNX_CHECK(product == x.size(dim), value, "unflatten", "expected sizes that multiply to ",
             x.size(dim), " but got ", c.attr(1).ints());
  Dims shape;
  for (int i = 0; i < x.dim(); ++i) {
    if (i != dim)
      shape.push_back(x.size(i));
    else
      for (int64_t s : sizes) shape.push_back(s);
  }
  return {ops::reshape(x, shape)};
}

// permute -------------------------------------------------------------------------------------

Dims normalized_permutation(const Ints& dims, int ndim, const char* op) {
  ANNX_CHECK(dims.size() == ndim, value, op, "expected ", ndim, " dims but got ", dims);
  Dims out;
  for (int64_t d : dims) {
    const int axis = normalize_dim(d, ndim, op);
    ANNX_CHECK(!out.contains(axis), value, op, "expected each dim once but got ", dims);
    out.push_back(axis);
  }
  return out;
}

void permute_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  const Dims dims = normalized_permutation(c.attr(0).ints(), x.dim(), "permute");
  Dims shape, strides;
  for (int64_t d : dims) {
    shape.push_back(x.shape()[static_cast<int>(d)]);
    strides.push_back(x.strides()[static_cast<int>(d)]);
  }
  specs.push_back(view_spec(x, shape, strides, x.offset()));
}

void permute_rule(BackwardCall& b) {
  const int n = b.input_shape(0).size();
  const Dims dims = normalized_permutation(b.attr(0).ints(), n, "permute");
  Dims inverse(n, 0);
  for (int i = 0; i < n; ++i) inverse[static_cast<int>(dims[i])] = i;
  b.set(0, ops::permute(b.grad(), inverse));
}

TensorList transpose(const OpCall& c) {
  const Tensor& x = c.in(0);
  const int a = normalize_dim(c.attr(0).i(), x.dim(), "transpose");
  const int b = normalize_dim(c.attr(1).i(), x.dim(), "transpose");
  Dims dims;
  for (int i = 0; i < x.dim(); ++i) dims.push_back(i == a ? b : i == b ? a : i);
  return {ops::permute(x, dims)};
}

TensorList movedim(const OpCall& c) {
  const Tensor& x = c.in(0);
  const Ints &source = c.attr(0).ints(), &destination = c.attr(1).ints();
  ANNX_CHECK(source.size() == destination.size(), value, "movedim",
             "expected as many destinations as sources but got ", source, " and ", destination);
  Dims order(x.dim(), -1), moved;
  for (int i = 0; i < source.size(); ++i) {
    const int from = normalize_dim(source[i], x.dim(), "movedim");
    const int to = normalize_dim(destination[i], x.dim(), "movedim");
    if (x.dim() == 0) return {x};
    ANNX_CHECK(!moved.contains(from) && order[to] == -1, value, "movedim",
               "expected each dim once but got ", source, " and ", destination);
    moved.push_back(from);
    order[to] = from;
  }
  int next = 0;
  for (int64_t& d : order) {
    if (d >= 0) continue;
    while (moved.contains(next)) ++next;
    d = next++;
  }
  return {ops::permute(x, order)};
}

// expand --------------------------------------------------------------------------------------

void expand_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  const Ints& wanted = c.attr(0).ints();
  const int lead = wanted.size() - x.dim();
  ANNX_CHECK(lead >= 0, value, "expand", "expected at least ", x.dim(), " sizes but got ", wanted,
             " for input of shape ", x.shape());
  Dims shape(wanted), strides(wanted.size(), 0);
  for (int i = 0; i < shape.size(); ++i) {
    const int64_t size = i < lead ? 1 : x.size(i - lead);
    if (shape[i] == -1 && i >= lead) shape[i] = size;
    ANNX_CHECK(shape[i] >= 0 && (size == shape[i] || size == 1), value, "expand",
               "expected sizes that ", x.shape(), " broadcasts to but got ", wanted);
    if (i >= lead && size == shape[i]) strides[i] = x.stride(i - lead);
  }
  numel_of(shape, "expand");
  specs.push_back(view_spec(x, shape, strides, x.offset()));
}

void expand_rule(BackwardCall& b) { b.set(0, ops::sum_to(b.grad(), b.input_shape(0))); }

// slice, select, unsqueeze, squeeze -------------------------------------------------------------

void slice_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  const int d = normalize_dim(c.attr(0).i(), x.dim(), "slice");
  ANNX_CHECK(x.dim() > 0, index, "slice", "expected at least one dimension but got a scalar");
  const SliceRange r = slice_range(x.size(d), c.attr(1).i(), c.attr(2).i(), c.attr(3).i(), "slice");
  Dims shape = x.shape(), strides = x.strides();
  shape[d] = r.count;
  if (r.count > 1) strides[d] *= c.attr(3).i();
  specs.push_back(
      view_spec(x, shape, strides, x.offset() + (r.count > 0 ? r.begin * x.stride(d) : 0)));
}

void slice_rule(BackwardCall& b) {
  b.set(0, call(def::slice_backward, {b.grad()},
                {Attr(b.input_shape(0)), b.attr(0), b.attr(1), b.attr(2), b.attr(3)}));
}

// The gradient of slice: zeros of the input's shape with grad in the place of the slice.
void slice_backward_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.attr(0).dims(), c.in(0).dtype()});
}

void slice_backward_kernel(const OpCall& c) {
  const Tensor& out = c.out();
  const Tensor& g = c.in(0);
  const int d = normalize_dim(c.attr(1).i(), out.dim(), "slice");
  const SliceRange r =
      slice_range(out.size(d), c.attr(2).i(), c.attr(3).i(), c.attr(4).i(), "slice");
  GradModeGuard no_grad(false);
  const Tensor source = ops::contiguous(g);
  const int64_t step = c.attr(4).i();
  int64_t outer = 1, row = static_cast<int64_t>(itemsize(out.dtype()));
  for (int i = 0; i < d; ++i) outer *= out.size(i);
  for (int i = d + 1; i < out.dim(); ++i) row *= out.size(i);
  const int64_t whole = out.size(d) * row, part = r.count * row, before = r.begin * row;
  if (outer * whole == 0) return;
  const char* from = static_cast<const char*>(source.raw());
  char* to = static_cast<char*>(out.raw());
  parallel_for(outer, 1 + (1 << 18) / whole, [&](int64_t first, int64_t last) {
    for (int64_t o = first; o < last; ++o) {
      char* line = to + o * whole;
      if (step == 1 && part > 0) {  // each byte is written once
        std::memset(line, 0, static_cast<size_t>(before));
        std::memcpy(line + before, from + o * part, static_cast<size_t>(part));
        std::memset(line + before + part, 0, static_cast<size_t>(whole - before - part));
        continue;
      }
      std::memset(line, 0, static_cast<size_t>(whole));
      for (int64_t k = 0; k < r.count; ++k)
        std::memcpy(line + before + k * step * row, from + o * part + k * row,
                    static_cast<size_t>(row));
    }
  });
}

void slice_backward_rule(BackwardCall& b) {
  b.set(0, call(def::slice, {b.grad()}, {b.attr(1), b.attr(2), b.attr(3), b.attr(4)}));
}

TensorList select(const OpCall& c) {
  const Tensor& x = c.in(0);
  ANNX_CHECK(x.dim() > 0, index, "select", "expected at least one dimension but got a scalar");
  const int d = normalize_dim(c.attr(0).i(), x.dim(), "select");
  const int64_t i = c.attr(1).i(), size = x.size(d);
  ANNX_CHECK(i >= -size && i < size, index, "select", "expected an index in [", -size, ", ",
             size - 1, "] along dim ", d, " but got ", i);
  const int64_t at = i < 0 ? i + size : i;
  return call_all(def::squeeze, {ops::slice(x, d, at, at + 1)}, {Attr(Ints{d})});
}

void unsqueeze_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  const int d = normalize_dim(c.attr(0).i(), x.dim() + 1, "unsqueeze");
  Dims shape = x.shape(), strides = x.strides();
  const int64_t stride = d < x.dim() ? x.size(d) * x.stride(d) : 1;
  shape.insert(d, 1);
  strides.insert(d, stride);
  specs.push_back(view_spec(x, shape, strides, x.offset()));
}

void squeeze_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  Dims dropped;
  if (!c.attr(0).is_none())
    for (int64_t d : c.attr(0).ints()) dropped.push_back(normalize_dim(d, x.dim(), "squeeze"));
  Dims shape, strides;
  for (int i = 0; i < x.dim(); ++i) {
    if (x.size(i) == 1 && (c.attr(0).is_none() || dropped.contains(i))) continue;
    shape.push_back(x.size(i));
    strides.push_back(x.stride(i));
  }
  specs.push_back(view_spec(x, shape, strides, x.offset()));
}

}  // namespace

namespace def {

const OpDef view = {.name = "view",
                    .signature = "view(Tensor input, int... shape) -> Tensor",
                    .doc =
                        "input in another shape over the same memory; one size may be -1. "
                        "Raises ValueError where that needs a copy.",
                    .infer = view_infer,
                    .backward = reshape_like_input,
                    .flags = kView | kHalfNative};
const OpDef reshape = {.name = "reshape",
                       .signature = "reshape(Tensor input, int... shape) -> Tensor",
                       .doc =
                           "input in another shape; one size may be -1. A view where possible, "
                           "else a copy.",
                       .composite = annx::reshape,
                       .flags = kView | kHalfNative};
const OpDef flatten = {.name = "flatten",
                       .signature =
                           "flatten(Tensor input, int start_dim=0, int end_dim=-1) -> "
                           "Tensor",
                       .doc = "Merges the dimensions start_dim..end_dim into one.",
                       .composite = annx::flatten,
                       .flags = kView | kHalfNative};
const OpDef unflatten = {.name = "unflatten",
                         .signature = "unflatten(Tensor input, int dim, int[] sizes) -> Tensor",
                         .doc = "Splits dimension dim into sizes; one may be -1.",
                         .composite = annx::unflatten,
                         .flags = kView | kHalfNative};
const OpDef permute = {.name = "permute",
                       .signature = "permute(Tensor input, int... dims) -> Tensor",
                       .doc = "Dimension i of the result is dimension dims[i] of input. A view.",
                       .infer = permute_infer,
                       .backward = permute_rule,
                       .flags = kView | kHalfNative};
const OpDef transpose = {.name = "transpose",
                         .signature = "transpose(Tensor input, int dim0, int dim1) -> Tensor",
                         .doc = "Swaps two dimensions. A view.",
                         .composite = annx::transpose,
                         .flags = kView | kHalfNative};
const OpDef movedim = {
    .name = "movedim",
    .signature = "movedim(Tensor input, int[] source, int[] destination) -> Tensor",
    .doc = "Moves dimensions source to positions destination; the others keep their order. A view.",
    .composite = annx::movedim,
    .flags = kView | kHalfNative};
const OpDef expand = {.name = "expand",
                      .signature = "expand(Tensor input, int... size) -> Tensor",
                      .doc = "Broadcasts dimensions of size 1 to size (-1 keeps one). A view.",
                      .infer = expand_infer,
                      .backward = expand_rule,
                      .flags = kView | kHalfNative};
const OpDef slice = {.name = "slice",
                     .signature =
                         "slice(Tensor input, int dim, int start, int stop, int step=1) "
                         "-> Tensor",
                     .doc = "input[start:stop:step] along dim, by Python's rules. A view.",
                     .infer = slice_infer,
                     .backward = slice_rule,
                     .flags = kView | kHalfNative};
const OpDef slice_backward = {.name = "slice_backward",
                              .signature =
                                  "slice_backward(Tensor grad, int[] shape, int dim, int "
                                  "start, int stop, int step) -> Tensor",
                              .doc = "Zeros of shape with grad in the place of the slice.",
                              .infer = slice_backward_infer,
                              .kernel = slice_backward_kernel,
                              .backward = slice_backward_rule,
                              .cost = move_cost,
                              .flags = kInternal | kHalfNative};
const OpDef select = {.name = "select",
                      .signature = "select(Tensor input, int dim, int index) -> Tensor",
                      .doc = "The slice at index along dim, without that dimension. A view.",
                      .composite = annx::select,
                      .flags = kView | kHalfNative};
const OpDef unsqueeze = {.name = "unsqueeze",
                         .signature = "unsqueeze(Tensor input, int dim) -> Tensor",
                         .doc = "Adds a dimension of size 1 at dim. A view.",
                         .infer = unsqueeze_infer,
                         .backward = reshape_like_input,
                         .flags = kView | kHalfNative};
const OpDef squeeze = {.name = "squeeze",
                       .signature = "squeeze(Tensor input, int[]? dim=None) -> Tensor",
                       .doc = "Drops dimensions of size 1: all of them, or those in dim. A view.",
                       .infer = squeeze_infer,
                       .backward = reshape_like_input,
                       .flags = kView | kHalfNative};

}  // namespace def
}  // namespace annx
