// Putting tensors together and apart: concat, stack, split, chunk, flip, repeat.
#include <algorithm>
#include <cstring>

#include "core/thread_pool.h"
#include "ops/elementwise/driver.h"
#include "ops/functional.h"

namespace annx {
namespace {

// concat --------------------------------------------------------------------------------------

void concat_infer(const OpCall& c, OutputSpecs& specs) {
  ANNX_CHECK(!c.inputs.empty(), value, "concat", "expected at least one tensor but got none");
  const Tensor& first = c.in(0);
  ANNX_CHECK(first.dim() > 0, value, "concat",
             "expected tensors of at least one dimension but got a scalar: use stack");
  const int d = normalize_dim(c.attr(0).i(), first.dim(), "concat");
  Dims shape = first.shape();
  for (int i = 1; i < c.inputs.size(); ++i) {
    const Tensor& t = c.in(i);
    Dims expected = first.shape();
    if (t.dim() == first.dim()) expected[d] = t.size(d);
    ANNX_CHECK(t.shape() == expected, value, "concat", "expected tensors that differ in dim ", d,
               " only but got shapes ", first.shape(), " and ", t.shape(), " (tensor ", i, ")");
    shape[d] += t.size(d);
  }
  numel_of(shape, "concat");
  specs.push_back({shape, first.dtype()});
}

void concat_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor& out = c.out();
  const int d = normalize_dim(c.attr(0).i(), out.dim(), "concat");
  int64_t outer = 1;
  for (int i = 0; i < d; ++i) outer *= out.size(i);
  const size_t size = itemsize(out.dtype());
  const size_t out_row = outer ? out.nbytes() / static_cast<size_t>(outer) : 0;
  char* at = static_cast<char*>(out.raw());
  for (const Tensor& t : c.inputs) {
    if (t.numel() == 0) continue;
    const int64_t count = t.numel() / outer;
    const size_t row = static_cast<size_t>(count) * size;
    const char* from = static_cast<const char*>(t.raw());
    const bool whole = t.is_contiguous();
    for (int64_t o = 0; o < outer; ++o) {
      char* to = at + static_cast<size_t>(o) * out_row;
      if (whole)
        std::memcpy(to, from + static_cast<size_t>(o) * row, row);
      else
        gather_strided(to, from, size, t.shape(), t.strides(), o * count, count);
    }
    at += row;
  }
}

void concat_rule(BackwardCall& b) {
  const int d = normalize_dim(b.attr(0).i(), b.input_shape(0).size(), "concat");
  int64_t start = 0;
  for (int i = 0; i < b.input_count(); ++i) {
    const int64_t stop = start + b.input_shape(i)[d];
    if (b.needs(i)) b.set(i, ops::slice(b.grad(), d, start, stop));
    start = stop;
  }
}

TensorList stack(const OpCall& c) {
  ANNX_CHECK(!c.inputs.empty(), value, "stack", "expected at least one tensor but got none");
  const int d = normalize_dim(c.attr(0).i(), c.in(0).dim() + 1, "stack");
  TensorList parts;
  for (const Tensor& t : c.inputs) {
    ANNX_CHECK(t.shape() == c.in(0).shape(), value, "stack",
               "expected tensors of one shape but got ", c.in(0).shape(), " and ", t.shape());
    parts.push_back(ops::unsqueeze(t, d));
  }
  return call_all(def::concat, std::move(parts), {Attr(d)});
}

// split ---------------------------------------------------------------------------------------

TensorList split_sizes(const Tensor& x, int d, const Ints& sizes, const char* op) {
  int64_t total = 0;
  bool fits = true;
  for (int64_t s : sizes) {
    ANNX_CHECK(s >= 0, value, op, "expected non-negative sizes but got ", sizes);
    fits = fits && !__builtin_add_overflow(total, s, &total);
  }
  ANNX_CHECK(fits && total == x.size(d), value, op, "expected sizes that sum to ", x.size(d),
             " but got ", sizes);
  TensorList out;
  int64_t at = 0;
  for (int64_t s : sizes) {
    out.push_back(ops::slice(x, d, at, at + s));
    at += s;
  }
  return out;
}

TensorList split_every(const Tensor& x, int d, int64_t size) {
  TensorList out;
  for (int64_t at = 0; at < std::max<int64_t>(x.size(d), 1); at += size)
    out.push_back(ops::slice(x, d, at, std::min(at + size, x.size(d))));
  return out;
}

TensorList split(const OpCall& c) {
  const Tensor& x = c.in(0);
  const int d = normalize_dim(c.attr(1).i(), x.dim(), "split");
  ANNX_CHECK(x.dim() > 0, value, "split", "expected at least one dimension but got a scalar");
  const Ints& sizes = c.attr(0).ints();
  if (sizes.size() != 1) return split_sizes(x, d, sizes, "split");
  ANNX_CHECK(sizes[0] > 0, value, "split", "expected a positive split size but got ", sizes[0]);
  return split_every(x, d, sizes[0]);
}

TensorList chunk(const OpCall& c) {
  const Tensor& x = c.in(0);
  ANNX_CHECK(x.dim() > 0, value, "chunk", "expected at least one dimension but got a scalar");
  const int64_t chunks = c.attr(0).i();
  const int d = normalize_dim(c.attr(1).i(), x.dim(), "chunk");
  ANNX_CHECK(chunks > 0, value, "chunk", "expected chunks > 0 but got ", chunks);
  return split_every(x, d, std::max<int64_t>((x.size(d) + chunks - 1) / chunks, 1));
}

TensorList unbind(const OpCall& c) {
  const Tensor& x = c.in(0);
  ANNX_CHECK(x.dim() > 0, value, "unbind", "expected at least one dimension but got a scalar");
  const int d = normalize_dim(c.attr(0).i(), x.dim(), "unbind");
  TensorList out;
  for (int64_t i = 0; i < x.size(d); ++i) out.push_back(call(def::select, {x}, {Attr(d), Attr(i)}));
  return out;
}

// flip, repeat ----------------------------------------------------------------------------------

TensorList flip(const OpCall& c) {
  Tensor y = c.in(0);
  Dims seen;
  for (int64_t dim : c.attr(0).ints()) {
    const int d = normalize_dim(dim, y.dim(), "flip");
    ANNX_CHECK(!seen.contains(d), value, "flip", "expected each dim once but got ",
               c.attr(0).ints());
    seen.push_back(d);
    y = ops::slice(y, d, INT64_MAX, INT64_MIN, -1);
  }
  return {ops::contiguous(y)};
}

TensorList repeat(const OpCall& c) {
  const Ints& repeats = c.attr(0).ints();
  const Tensor& x = c.in(0);
  const int lead = repeats.size() - x.dim();
  ANNX_CHECK(lead >= 0, value, "repeat", "expected at least ", x.dim(), " repeats but got ",
             repeats);
  // (1, n) pairs per dimension, expanded to (r, n) and merged.
  Dims pairs, wide, merged;
  for (int i = 0; i < repeats.size(); ++i) {
    ANNX_CHECK(repeats[i] >= 0, value, "repeat", "expected repeats >= 0 but got ", repeats);
    const int64_t n = i < lead ? 1 : x.size(i - lead);
    if (repeats[i] != 1) {
      pairs.push_back(1);
      wide.push_back(repeats[i]);
    }
    pairs.push_back(n);
    wide.push_back(n);
    merged.push_back(repeats[i] * n);
  }
  return {ops::reshape(ops::contiguous(ops::expand(ops::reshape(x, pairs), wide)), merged)};
}

}  // namespace

namespace def {

const OpDef concat = {.name = "concat",
                      .signature = "concat(Tensor[] tensors, int dim=0) -> Tensor",
                      .doc = "Joins tensors along dim; the other sizes must agree.",
                      .infer = concat_infer,
                      .kernel = concat_kernel,
                      .backward = concat_rule,
                      .cost = move_cost,
                      .flags = kPromote | kHalfNative | kNoMethod};
const OpDef stack = {.name = "stack",
                     .signature = "stack(Tensor[] tensors, int dim=0) -> Tensor",
                     .doc = "Joins tensors of one shape along a new dimension.",
                     .composite = annx::stack,
                     .flags = kPromote | kHalfNative | kNoMethod};
const OpDef split = {.name = "split",
                     .signature = "split(Tensor input, int[] split_size, int dim=0) -> Tensor[]",
                     .doc =
                         "Views of split_size along dim (one size for all parts, the last may be "
                         "shorter, or a list of sizes).",
                     .composite = annx::split,
                     .flags = kView | kHalfNative};
const OpDef chunk = {
    .name = "chunk",
    .signature = "chunk(Tensor input, int chunks, int dim=0) -> Tensor[]",
    .doc = "At most chunks views of equal size along dim; the last may be shorter.",
    .composite = annx::chunk,
    .flags = kView | kHalfNative};
const OpDef unbind = {.name = "unbind",
                      .signature = "unbind(Tensor input, int dim=0) -> Tensor[]",
                      .doc = "The slices along dim, without that dimension.",
                      .composite = annx::unbind,
                      .flags = kView | kHalfNative};
const OpDef flip = {.name = "flip",
                    .signature = "flip(Tensor input, int... dims) -> Tensor",
                    .doc = "input in reverse order along dims.",
                    .composite = annx::flip,
                    .flags = kHalfNative};
const OpDef repeat = {.name = "repeat",
                      .signature = "repeat(Tensor input, int... repeats) -> Tensor",
                      .doc = "input repeated along each dimension.",
                      .composite = annx::repeat,
                      .flags = kHalfNative};

}  // namespace def
}  // namespace annx
