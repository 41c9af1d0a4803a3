// Diagonals, and copies in another order: roll, tile, repeat_interleave, meshgrid.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "ops/functional.h"

namespace annx {
namespace {

// diagonal --------------------------------------------------------------------------------------

struct Diagonal {
  int dim1, dim2;
  int64_t size, row, column;  // how many elements, and where the first one is
  Dims rest;
};

Diagonal plan_diagonal(const Dims& shape, const Attr& offset, const Attr& d1, const Attr& d2,
                       const char* op) {
  ANNX_CHECK(shape.size() >= 2, value, op, "expected at least two dimensions but got shape ",
             shape);
  Diagonal p;
  p.dim1 = normalize_dim(d1.i(), shape.size(), op);
  p.dim2 = normalize_dim(d2.i(), shape.size(), op);
  ANNX_CHECK(p.dim1 != p.dim2, value, op, "expected two different dims but got ", d1.i(), " and ",
             d2.i());
  const int64_t rows = shape[p.dim1], columns = shape[p.dim2], o = offset.i();
  // Far offsets leave nothing; their difference would not fit either.
  if (o >= columns || o <= -rows) {
    p.size = p.row = p.column = 0;
  } else {
    p.row = o < 0 ? -o : 0;
    p.column = o > 0 ? o : 0;
    p.size = std::min(rows - p.row, columns - p.column);
  }
  for (int i = 0; i < shape.size(); ++i)
    if (i != p.dim1 && i != p.dim2) p.rest.push_back(i);
  return p;
}

void diagonal_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  const Diagonal p = plan_diagonal(x.shape(), c.attr(0), c.attr(1), c.attr(2), "diagonal");
  Dims shape, strides;
  for (int64_t d : p.rest) {
    shape.push_back(x.size(static_cast<int>(d)));
    strides.push_back(x.stride(static_cast<int>(d)));
  }
  shape.push_back(p.size);
  strides.push_back(x.stride(p.dim1) + x.stride(p.dim2));
  const int64_t first = p.row * x.stride(p.dim1) + p.column * x.stride(p.dim2);
  specs.push_back({shape, x.dtype(), 0, strides, x.offset() + first});
}

void diagonal_rule(BackwardCall& b) {
  b.set(0, call(def::diagonal_backward, {b.grad()},
                {Attr(b.input_shape(0)), b.attr(0), b.attr(1), b.attr(2)}));
}

// Zeros of the input's shape with grad on the diagonal.
void diagonal_backward_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.attr(0).dims(), c.in(0).dtype()});
}

void diagonal_backward_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor& out = c.out();
  std::memset(out.raw(), 0, out.nbytes());
  const Diagonal p = plan_diagonal(out.shape(), c.attr(1), c.attr(2), c.attr(3), "diagonal");
  const Tensor g = ops::contiguous(c.in(0));
  const size_t size = itemsize(out.dtype());
  const int64_t step = out.stride(p.dim1) + out.stride(p.dim2);
  const int64_t first = p.row * out.stride(p.dim1) + p.column * out.stride(p.dim2);
  for (int64_t i = 0; i < g.numel(); ++i) {
    int64_t at = first + i % p.size * step, rest = i / p.size;
    for (int k = p.rest.size() - 1; k >= 0; --k) {
      const int d = static_cast<int>(p.rest[k]);
      at += rest % out.size(d) * out.stride(d);
      rest /= out.size(d);
    }
    std::memcpy(static_cast<char*>(out.raw()) + static_cast<size_t>(at) * size,
                static_cast<const char*>(g.raw()) + static_cast<size_t>(i) * size, size);
  }
}

void diagonal_backward_rule(BackwardCall& b) {
  b.set(0, call(def::diagonal, {b.grad()}, {b.attr(1), b.attr(2), b.attr(3)}));
}

TensorList diag(const OpCall& c) {
  const Tensor& x = c.in(0);
  const int64_t o = c.attr(0).i();
  if (x.dim() == 2) return {ops::contiguous(call(def::diagonal, {x}, {Attr(o), Attr(0), Attr(1)}))};
  ANNX_CHECK(x.dim() == 1, value, "diag", "expected one or two dimensions but got shape ",
             x.shape());
  int64_t n = 0;
  ANNX_CHECK(o != INT64_MIN && !__builtin_add_overflow(x.size(0), o < 0 ? -o : o, &n), value,
             "diag", "expected a smaller diagonal but got ", o);
  const Dims shape{n, n};
  numel_of(shape, "diag");
  return {call(def::diagonal_backward, {x}, {Attr(shape), Attr(o), Attr(0), Attr(1)})};
}

TensorList trace(const OpCall& c) {
  ANNX_CHECK(c.in(0).dim() == 2, value, "trace", "expected a matrix but got shape ",
             c.in(0).shape());
  return {ops::sum(call(def::diagonal, {c.in(0)}, {Attr(0), Attr(0), Attr(1)}))};
}

// roll, tile, repeat_interleave, meshgrid -----------------------------------------------------------

Tensor roll_one(const Tensor& x, int d, int64_t shift) {
  const int64_t n = x.dim() ? x.size(d) : 0;
  if (n == 0) return x;
  const int64_t by = ((shift % n) + n) % n;
  if (by == 0) return x;
  return call(def::concat, {ops::slice(x, d, n - by, n), ops::slice(x, d, 0, n - by)}, {Attr(d)});
}

TensorList roll(const OpCall& c) {
  const Tensor& x = c.in(0);
  const Ints& shifts = c.attr(0).ints();
  if (c.attr(1).is_none() || c.attr(1).ints().empty()) {
    ANNX_CHECK(shifts.size() == 1, value, "roll", "expected one shift without dims but got ",
               shifts);
    const Tensor flat = ops::reshape(x, {x.numel()});
    return {ops::reshape(roll_one(flat, 0, shifts[0]), x.shape())};
  }
  const Ints& dims = c.attr(1).ints();
  ANNX_CHECK(shifts.size() == dims.size(), value, "roll", "expected one shift per dim but got ",
             shifts, " for dims ", dims);
  Tensor y = x;
  for (int i = 0; i < dims.size(); ++i)
    y = roll_one(y, normalize_dim(dims[i], x.dim(), "roll"), shifts[i]);
  return {y};
}

TensorList tile(const OpCall& c) {
  Ints times = c.attr(0).ints();
  for (int64_t t : times) ANNX_CHECK(t >= 0, value, "tile", "expected dims >= 0 but got ", times);
  while (times.size() < c.in(0).dim()) times.insert(0, 1);
  return call_all(def::repeat, {c.in(0)}, {Attr(times)});
}

TensorList repeat_interleave(const OpCall& c) {
  const Tensor& repeats = c.in(1);
  Tensor x = c.in(0);
  int d = 0;
  if (c.attr(0).is_none() || x.dim() == 0)
    x = ops::reshape(x, {x.numel()});
  else
    d = normalize_dim(c.attr(0).i(), x.dim(), "repeat_interleave");
  const bool number = repeats.impl()->wrapped_number;  // in the dtype of input by now
  if (call_observer() && !number) call_observer()->depends_on_values("repeat_interleave");
  const bool integers = is_integral(repeats.dtype()) && repeats.dtype() != DType::b8;
  ANNX_CHECK(number || (integers && repeats.dim() <= 1), value, "repeat_interleave",
             "expected repeats as an int or as integers of one dimension but got ", repeats.dtype(),
             " of shape ", repeats.shape());
  const int64_t n = x.size(d);
  if (number || repeats.numel() == 1) {
    const double value = load_scalar_f64(repeats.raw(), repeats.dtype());
    ANNX_CHECK(value >= 0 && value < 0x1p53 && value == std::floor(value), value,
               "repeat_interleave", "expected repeats as an int >= 0 but got ", value);
    const auto r = static_cast<int64_t>(value);
    Dims wide = x.shape(), shape = x.shape();
    wide.insert(d + 1, r);
    ANNX_CHECK(!__builtin_mul_overflow(n, r, &shape[d]), value, "repeat_interleave",
               "expected fewer than 2**59 elements but got ", r, " repeats of shape ", x.shape());
    return {ops::reshape(ops::expand(ops::unsqueeze(x, d + 1), wide), shape)};
  }
  ANNX_CHECK(repeats.numel() == n, value, "repeat_interleave", "expected ", n,
             " repeats, one for each slice, but got ", repeats.numel());
  if (CallObserver* observer = call_observer()) observer->depends_on_values("repeat_interleave");
  const Tensor counts = ops::contiguous(ops::cast(repeats, DType::i64));
  int64_t total = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t r = counts.data<int64_t>()[i];
    ANNX_CHECK(r >= 0, value, "repeat_interleave", "expected repeats >= 0 but got ", r);
    ANNX_CHECK(!__builtin_add_overflow(total, r, &total), value, "repeat_interleave",
               "expected fewer than 2**59 elements but got ", r, " repeats of one");
  }
  const Tensor at = Tensor::empty({total}, DType::i64);
  int64_t* p = at.data<int64_t>();
  for (int64_t i = 0; i < n; ++i) p = std::fill_n(p, counts.data<int64_t>()[i], i);
  return {call(def::index, {x, at}, {Attr(Ints{d})})};
}

TensorList meshgrid(const OpCall& c) {
  const std::string indexing = c.attr(0).text();
  ANNX_CHECK(indexing == "ij" || indexing == "xy", value, "meshgrid",
             "expected indexing 'ij' or 'xy' but got '", indexing, "'");
  ANNX_CHECK(!c.inputs.empty(), value, "meshgrid", "expected at least one tensor but got none");
  const int n = c.inputs.size();
  ANNX_CHECK(n <= kMaxDims, value, "meshgrid", "expected at most ", kMaxDims, " tensors but got ",
             n);
  const bool swap = indexing == "xy" && n > 1;
  auto axis = [&](int i) { return swap && i < 2 ? 1 - i : i; };
  Dims shape(n, 1);
  for (int i = 0; i < n; ++i) {
    ANNX_CHECK(c.in(i).dim() <= 1, value, "meshgrid",
               "expected tensors of one dimension but got shape ", c.in(i).shape());
    shape[axis(i)] = c.in(i).numel();
  }
  numel_of(shape, "meshgrid");
  TensorList out;
  for (int i = 0; i < n; ++i) {
    Dims own(n, 1);
    own[axis(i)] = c.in(i).numel();
    out.push_back(ops::expand(ops::reshape(c.in(i), own), shape));
  }
  return out;
}

}  // namespace

namespace def {

const OpDef diagonal = {
    .name = "diagonal",
    .signature = "diagonal(Tensor input, int offset=0, int dim1=0, int dim2=1) -> Tensor",
    .doc =
        "The diagonal of dims dim1 and dim2 as the last dimension; offset > 0 is above it. A "
        "view.",
    .infer = diagonal_infer,
    .backward = diagonal_rule,
    .flags = kView | kHalfNative};
const OpDef diagonal_backward = {
    .name = "diagonal_backward",
    .signature =
        "diagonal_backward(Tensor grad, int[] shape, int offset, int dim1, int dim2) -> Tensor",
    .doc = "Zeros of shape with grad on the diagonal.",
    .infer = diagonal_backward_infer,
    .kernel = diagonal_backward_kernel,
    .backward = diagonal_backward_rule,
    .cost = move_cost,
    .flags = kInternal | kHalfNative};
const OpDef diag = {.name = "diag",
                    .signature = "diag(Tensor input, int diagonal=0) -> Tensor",
                    .doc =
                        "The diagonal of a matrix, or for one dimension the matrix with input on "
                        "that diagonal.",
                    .composite = annx::diag,
                    .flags = kHalfNative};
const OpDef trace = {.name = "trace",
                     .signature = "trace(Tensor input) -> Tensor",
                     .doc = "The sum of the diagonal of a matrix.",
                     .composite = annx::trace};
const OpDef roll = {
    .name = "roll",
    .signature = "roll(Tensor input, int[] shifts, int[]? dims=None) -> Tensor",
    .doc =
        "input shifted by shifts along dims, what falls off coming in at the other end; without "
        "dims as one row.",
    .composite = annx::roll,
    .flags = kHalfNative};
const OpDef tile = {.name = "tile",
                    .signature = "tile(Tensor input, int... dims) -> Tensor",
                    .doc = "repeat, with 1 for leading dimensions that dims leaves out.",
                    .composite = annx::tile,
                    .flags = kHalfNative};
const OpDef repeat_interleave = {
    .name = "repeat_interleave",
    .signature = "repeat_interleave(Tensor input, Tensor repeats, int? dim=None) -> Tensor",
    .doc =
        "Each slice along dim repeats times in a row, repeats being an int or one per slice; "
        "without dim input is seen as one row.",
    .composite = annx::repeat_interleave,
    .flags = kHalfNative};
const OpDef meshgrid = {
    .name = "meshgrid",
    .signature = "meshgrid(Tensor[] tensors, str indexing='ij') -> Tensor[]",
    .doc =
        "Coordinates of the grid that one-dimensional tensors span, one view for each; 'xy' swaps "
        "the first two dimensions.",
    .composite = annx::meshgrid,
    .flags = kView | kHalfNative | kNoMethod};

}  // namespace def
}  // namespace annx
