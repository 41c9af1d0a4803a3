// Reading and adding at positions: index, index_select, gather, scatter_add, embedding, one_hot.
#include <algorithm>
#include <cstring>

#include "core/thread_pool.h"
#include "ops/indexing/walk.h"

namespace annx {
namespace {

// index: x[:, i, :, j] with integer arrays ------------------------------------------------------

// Another op that is an index speaks under its own name. From Python the number of arrays follows.
const char* index_speaker(const OpCall& c) {
  return c.attrs.size() > 1 && c.attr(1).kind() == Attr::Kind::text ? c.attr(1).text() : "index";
}

void index_infer(const OpCall& c, OutputSpecs& specs) {
  const char* op = index_speaker(c);
  for (int i = 1; i < c.inputs.size(); ++i)
    ANNX_CHECK(is_integral(c.in(i).dtype()) && c.in(i).dtype() != DType::b8, type, op,
               "expected integer arrays as indices but got dtype ", c.in(i).dtype());
  const IndexPlan p = plan_index(c.in(0).shape(), c.inputs, 1, c.attr(0).ints(), op);
  numel_of(p.shape, op);
  specs.push_back({p.shape, c.in(0).dtype()});
}

void index_kernel(const OpCall& c) {
  const char* op = index_speaker(c);
  GradModeGuard no_grad(false);
  const Tensor x = ops::contiguous(c.in(0));
  const size_t size = itemsize(x.dtype());
  const IndexPlan p = plan_index(x.shape(), c.inputs, 1, c.attr(0).ints(), op);
  const char* src = static_cast<const char*>(x.raw());
  char* dst = static_cast<char*>(c.out().raw());
  walk_index(p, x.shape(), c.inputs, 1, op, [&](int64_t from, int64_t to, int64_t run) {
    std::memcpy(dst + static_cast<size_t>(to) * size, src + static_cast<size_t>(from) * size,
                static_cast<size_t>(run) * size);
  });
}

void index_rule(BackwardCall& b) {
  TensorList inputs{b.grad()};
  for (int i = 1; i < b.input_count(); ++i) inputs.push_back(b.input(i));
  b.set(0, call(def::index_add_backward, std::move(inputs), {b.attr(0), Attr(b.input_shape(0))}));
}

// The gradient of index: zeros with grad added at every position.
void index_add_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.attr(1).dims(), c.in(0).dtype()});
}

void index_add_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  zero(c.out());
  const Tensor g = ops::contiguous(c.in(0));
  const size_t size = itemsize(g.dtype());
  const Dims shape = c.attr(1).dims();
  const IndexPlan p = plan_index(shape, c.inputs, 1, c.attr(0).ints(), "index");
  const char* src = static_cast<const char*>(g.raw());
  char* dst = static_cast<char*>(c.out().raw());
  walk_index(p, shape, c.inputs, 1, "index", [&](int64_t to, int64_t from, int64_t run) {
    add_row(dst + static_cast<size_t>(to) * size, src + static_cast<size_t>(from) * size, run,
            g.dtype());
  });
}

void index_add_rule(BackwardCall& b) {
  TensorList inputs{b.grad()};
  for (int i = 1; i < b.input_count(); ++i) inputs.push_back(b.input(i));
  b.set(0, call(def::index, std::move(inputs), {b.attr(0)}));
}

// index_select and embedding --------------------------------------------------------------------

TensorList index_select(const OpCall& c) {
  const int d = normalize_dim(c.attr(0).i(), c.in(0).dim(), "index_select");
  ANNX_CHECK(c.in(1).dim() == 1, value, "index_select",
             "expected a one-dimensional index but got shape ", c.in(1).shape());
  return {call(def::index, {c.in(0), c.in(1)}, {Attr(Ints{d}), Attr("index_select")})};
}

void embedding_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor &w = c.in(0), &i = c.in(1);
  ANNX_CHECK(w.dim() == 2, value, "embedding",
             "expected weight of shape (num_embeddings, embedding_dim) but got ", w.shape());
  ANNX_CHECK(is_integral(i.dtype()) && i.dtype() != DType::b8, type, "embedding",
             "expected integer indices but got dtype ", i.dtype());
  Dims shape = i.shape();
  shape.push_back(w.size(1));
  numel_of(shape, "embedding");
  specs.push_back({shape, w.dtype()});
}

int64_t embedding_row(int64_t i, int64_t rows) {
  ANNX_CHECK(i >= 0 && i < rows, index, "embedding", "expected indices in [0, ", rows - 1,
             "] but got ", i);
  return i;
}

// Short rows in steps of known size: a call of memcpy costs more than they do.
void copy_row(char* to, const char* from, size_t bytes) {
  if (bytes % 16 != 0 || bytes > 512) {
    std::memcpy(to, from, bytes);
    return;
  }
  for (size_t i = 0; i < bytes; i += 16) std::memcpy(to + i, from + i, 16);
}

void embedding_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor w = ops::contiguous(c.in(0));
  const Tensor i = as_positions(c.in(1), "embedding");
  const size_t row = static_cast<size_t>(w.size(1)) * itemsize(w.dtype());
  const int64_t rows = w.size(0), n = i.numel();
  const int64_t* at = i.data<int64_t>();
  for (int64_t k = 0; k < n; ++k) embedding_row(at[k], rows);
  char* const out = static_cast<char*>(c.out().raw());
  const char* const table = static_cast<const char*>(w.raw());
  const int64_t grain =
      std::max<int64_t>(1, 65536 / std::max<int64_t>(static_cast<int64_t>(row), 1));
  parallel_for(n, grain, [=](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k)
      copy_row(out + static_cast<size_t>(k) * row, table + static_cast<size_t>(at[k]) * row, row);
  });
}

void embedding_rule(BackwardCall& b) {
  if (b.needs(0))
    b.set(0, call(def::embedding_backward, {b.grad(), b.input(1)},
                  {Attr(b.input_shape(0)[0]), b.attr(0)}));
}

void embedding_backward_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({{c.attr(0).i(), c.in(0).size(-1)}, c.in(0).dtype()});
}

void embedding_backward_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  zero(c.out());
  const Tensor g = ops::contiguous(c.in(0));
  const Tensor i = as_positions(c.in(1), "embedding");
  const int64_t dim = g.size(-1), n = i.numel(), rows = c.attr(0).i();
  const int64_t padding = c.attr(1).is_none() ? -1
                          : c.attr(1).i() < 0 ? c.attr(1).i() + rows
                                              : c.attr(1).i();
  const size_t size = itemsize(g.dtype()), row = static_cast<size_t>(dim) * size;
  const int64_t* at = i.data<int64_t>();
  // Each task takes all indices in order for its columns: the same bits for any number of threads.
  constexpr int64_t kColumns = 128;
  const int64_t blocks = (dim + kColumns - 1) / kColumns;
  const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(n * kColumns, 1));
  char* const out = static_cast<char*>(c.out().raw());
  const char* const from = static_cast<const char*>(g.raw());
  const DType dtype = g.dtype();
  parallel_for(blocks, grain, [=](int64_t begin, int64_t end) {
    const int64_t first = begin * kColumns, width = std::min(end * kColumns, dim) - first;
    const size_t offset = static_cast<size_t>(first) * size;
    for (int64_t k = 0; k < n; ++k)
      if (at[k] != padding)
        add_row(out + static_cast<size_t>(at[k]) * row + offset,
                from + static_cast<size_t>(k) * row + offset, width, dtype);
  });
}

void embedding_backward_rule(BackwardCall& b) {
  Tensor g = call(def::embedding, {b.grad(), b.input(1)}, {Attr()});
  if (!b.attr(1).is_none()) {
    int64_t padding = b.attr(1).i();
    if (padding < 0) padding += b.attr(0).i();
    const Tensor keep = ops::ne(b.input(1), ops::number(static_cast<double>(padding)));
    g = ops::where(ops::unsqueeze(keep, -1), g, ops::number(0));
  }
  b.set(0, g);
}

// gather and scatter_add --------------------------------------------------------------------------

void gather_infer(const OpCall& c, OutputSpecs& specs) {
  const int d = normalize_dim(c.attr(0).i(), c.in(0).dim(), "gather");
  check_gather(c.in(0).shape(), c.in(1), d, "gather");
  specs.push_back({c.in(1).shape(), c.in(0).dtype()});
}

void gather_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor x = ops::contiguous(c.in(0));
  const Tensor index = as_positions(c.in(1), "gather");
  const int d = normalize_dim(c.attr(0).i(), x.dim(), "gather");
  with_bits(itemsize(x.dtype()), [&](auto bits) {
    const auto* source = static_cast<const decltype(bits)*>(x.raw());
    auto* out = static_cast<decltype(bits)*>(c.out().raw());
    walk_gather(x.shape(), index, d, "gather",
                [=](int64_t from, int64_t to) { out[to] = source[from]; });
  });
}

void gather_rule(BackwardCall& b) {
  const Tensor zeros = ops::zeros(b.input_shape(0), b.grad().dtype());
  b.set(0, call(def::scatter_add, {zeros, b.input(1), b.grad()}, {b.attr(0)}));
}

void scatter_add_infer(const OpCall& c, OutputSpecs& specs) {
  const int d = normalize_dim(c.attr(0).i(), c.in(0).dim(), "scatter_add");
  check_gather(c.in(0).shape(), c.in(1), d, "scatter_add");
  ANNX_CHECK(c.in(2).dtype() == c.in(0).dtype(), type, "scatter_add", "expected src of dtype ",
             c.in(0).dtype(), " but got ", c.in(2).dtype());
  bool fits = c.in(2).dim() == c.in(1).dim();
  for (int i = 0; fits && i < c.in(1).dim(); ++i) fits = c.in(1).size(i) <= c.in(2).size(i);
  ANNX_CHECK(fits, value, "scatter_add", "expected src at least as large as index, of shape ",
             c.in(1).shape(), ", but got ", c.in(2).shape());
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
}

void scatter_add_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor x = ops::contiguous(c.in(0));
  const Tensor index = as_positions(c.in(1), "scatter_add");
  Tensor src = c.in(2);
  for (int i = 0; i < index.dim(); ++i) src = ops::slice(src, i, 0, index.size(i));
  src = ops::contiguous(src);
  const int d = normalize_dim(c.attr(0).i(), x.dim(), "scatter_add");
  std::memcpy(c.out().raw(), x.raw(), x.nbytes());
  const DType dtype = x.dtype();
  if (dtype == DType::f32) {
    float* out = c.out().data<float>();
    const float* added = src.data<float>();
    return walk_gather(x.shape(), index, d, "scatter_add",
                       [=](int64_t to, int64_t from) { out[to] += added[from]; });
  }
  char* out = static_cast<char*>(c.out().raw());
  const char* added = static_cast<const char*>(src.raw());
  const size_t size = itemsize(dtype);
  walk_gather(x.shape(), index, d, "scatter_add", [=](int64_t to, int64_t from) {
    add_row(out + static_cast<size_t>(to) * size, added + static_cast<size_t>(from) * size, 1,
            dtype);
  });
}

void scatter_add_rule(BackwardCall& b) {
  if (b.needs(0)) b.set(0, b.grad());
  if (!b.needs(2)) return;
  const Tensor index = b.input(1);
  Tensor g = call(def::gather, {b.grad(), index}, {b.attr(0)});
  if (!(b.input_shape(2) == index.shape())) {  // src was larger than index: the rest has no part
    Ints pads;
    for (int i = index.dim() - 1; i >= 0; --i) {
      pads.push_back(0);
      pads.push_back(b.input_shape(2)[i] - index.size(i));
    }
    g = ops::pad(g, pads);
  }
  b.set(2, g);
}

// one_hot, nonzero, masked_select -----------------------------------------------------------------

// Positions to rows with a 1 each.
void one_hot_infer(const OpCall& c, OutputSpecs& specs) {
  Dims shape = c.in(0).shape();
  shape.push_back(c.attr(0).i());
  specs.push_back({shape, DType::i64});
}
void one_hot_kernel(const OpCall& c) {
  zero(c.out());
  const int64_t* at = c.in(0).data<int64_t>();
  const int64_t classes = c.attr(0).i();
  for (int64_t k = 0; k < c.in(0).numel(); ++k)
    c.out().data<int64_t>()[k * classes + checked_position(at[k], classes, "one_hot")] = 1;
}
const OpDef one_hot_def = {.name = "one_hot_rows",
                           .signature = "",
                           .doc = "",
                           .infer = one_hot_infer,
                           .kernel = one_hot_kernel,
                           .cost = move_cost,
                           .flags = kInternal};

TensorList one_hot(const OpCall& c) {
  const Tensor i = as_positions(c.in(0), "one_hot");
  int64_t classes = c.attr(0).i();
  int64_t largest = -1;
  for (int64_t k = 0; k < i.numel(); ++k) {
    ANNX_CHECK(i.data<int64_t>()[k] >= 0, index, "one_hot", "expected classes >= 0 but got ",
               i.data<int64_t>()[k]);
    largest = std::max(largest, i.data<int64_t>()[k]);
  }
  if (classes < 0) {
    if (CallObserver* observer = call_observer()) observer->depends_on_values("one_hot");
    ANNX_CHECK(largest < INT64_MAX, value, "one_hot", "expected classes below 2**59 but got ",
               largest);
    classes = largest + 1;
  }
  ANNX_CHECK(classes > 0 || i.numel() == 0, value, "one_hot", "expected num_classes > 0 but got ",
             classes);
  ANNX_CHECK(largest < classes, index, "one_hot", "expected classes below ", classes, " but got ",
             largest);
  Dims shape = i.shape();
  shape.push_back(classes);
  numel_of(shape, "one_hot");
  return {call(one_hot_def, {i}, {Attr(classes)})};
}

TensorList nonzero(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor mask = ops::contiguous(ops::cast(c.in(0), DType::b8));
  const uint8_t* m = mask.data<uint8_t>();
  int64_t count = 0;
  for (int64_t i = 0; i < mask.numel(); ++i) count += m[i] != 0;
  const int64_t nd = mask.dim();
  Tensor out = Tensor::empty({count, nd}, DType::i64);
  int64_t* o = out.data<int64_t>();
  for (int64_t i = 0; i < mask.numel(); ++i) {
    if (!m[i]) continue;
    int64_t rest = i;
    for (int d = static_cast<int>(nd) - 1; d >= 0; --d) {
      o[d] = rest % mask.size(d);
      rest /= mask.size(d);
    }
    o += nd;
  }
  return {out};
}

TensorList masked_select(const OpCall& c) {
  ANNX_CHECK(c.in(1).dtype() == DType::b8, type, "masked_select",
             "expected a bool mask but got dtype ", c.in(1).dtype());
  const Dims shape = broadcast_shapes(c.in(0).shape(), c.in(1).shape(), "masked_select");
  const Tensor flat = ops::reshape(ops::expand(c.in(0), shape), {-1});
  const Tensor mask = ops::reshape(ops::contiguous(ops::expand(c.in(1), shape)), {-1});
  const Tensor at = ops::reshape(call(def::nonzero, {mask}), {-1});
  return {call(def::index, {flat, at}, {Attr(Ints{0})})};
}

TensorList masked_fill(const OpCall& c) {
  ANNX_CHECK(c.in(1).dtype() == DType::b8, type, "masked_fill",
             "expected a bool mask but got dtype ", c.in(1).dtype());
  return {ops::where(c.in(1), ops::number(c.attr(0).f()), c.in(0))};
}

// tril, triu ----------------------------------------------------------------------------------------

void triangle_infer(const OpCall& c, OutputSpecs& specs) {
  ANNX_CHECK(c.in(0).dim() >= 2, value, c.name(), "expected at least two dimensions but got shape ",
             c.in(0).shape());
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
}

// Each row is a piece of input and a piece of zeros.
void triangle(const OpCall& c, bool lower) {
  GradModeGuard no_grad(false);
  const Tensor x = ops::contiguous(c.in(0));
  if (x.numel() == 0) return;
  const int64_t rows = x.size(-2), columns = x.size(-1);
  const int64_t diagonal = std::clamp(c.attr(0).i(), -rows, columns);
  const size_t size = itemsize(x.dtype()), row = static_cast<size_t>(columns) * size;
  const char* from = static_cast<const char*>(x.raw());
  char* to = static_cast<char*>(c.out().raw());
  const int64_t grain = std::max<int64_t>(1, 65536 / static_cast<int64_t>(row));
  parallel_for(x.numel() / columns, grain, [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      // Elements before `cut` belong to the lower side.
      const int64_t edge = r % rows + diagonal + (lower ? 1 : 0);
      const size_t cut = static_cast<size_t>(std::clamp<int64_t>(edge, 0, columns)) * size;
      const char* in = from + static_cast<size_t>(r) * row;
      char* out = to + static_cast<size_t>(r) * row;
      if (lower) {
        std::memcpy(out, in, cut);
        std::memset(out + cut, 0, row - cut);
      } else {
        std::memset(out, 0, cut);
        std::memcpy(out + cut, in + cut, row - cut);
      }
    }
  });
}

void tril_kernel(const OpCall& c) { triangle(c, true); }
void triu_kernel(const OpCall& c) { triangle(c, false); }
void tril_rule(BackwardCall& b) { b.set(0, call(def::tril, {b.grad()}, {b.attr(0)})); }
void triu_rule(BackwardCall& b) { b.set(0, call(def::triu, {b.grad()}, {b.attr(0)})); }

}  // namespace

namespace def {

const OpDef index = {.name = "index",
                     .signature = "index(Tensor input, Tensor[] indices, int[] dims) -> Tensor",
                     .doc =
                         "input[..., i, ..., j, ...]: integer arrays, broadcast together, pick "
                         "along dims. Neighbouring dims stay in place, others move to the front.",
                     .infer = index_infer,
                     .kernel = index_kernel,
                     .backward = index_rule,
                     .cost = move_cost,
                     .saves = 0xfffe,  // every index array
                     .flags = kHalfNative | kNoMethod};
const OpDef index_add_backward = {
    .name = "index_add_backward",
    .signature =
        "index_add_backward(Tensor grad, Tensor[] indices, int[] dims, int[] shape) -> "
        "Tensor",
    .doc = "Zeros of shape with grad added at the positions of index.",
    .infer = index_add_infer,
    .kernel = index_add_kernel,
    .backward = index_add_rule,
    .cost = scatter_cost,
    .saves = 0xfffe,
    .flags = kInternal};
const OpDef index_select = {
    .name = "index_select",
    .signature = "index_select(Tensor input, int dim, Tensor index) -> Tensor",
    .doc = "The slices of input along dim at the positions of index (one-dimensional).",
    .composite = annx::index_select,
    .flags = kHalfNative};
const OpDef embedding = {
    .name = "embedding",
    .signature = "embedding(Tensor weight, Tensor indices, int? padding_idx=None) -> Tensor",
    .doc =
        "Rows of weight (num_embeddings, embedding_dim) at indices: shape (*indices, "
        "embedding_dim). The row padding_idx gets no gradient.",
    .infer = embedding_infer,
    .kernel = embedding_kernel,
    .backward = embedding_rule,
    .cost = move_cost,
    .saves = save_input(1),
    .flags = kHalfNative | kNoMethod};
const OpDef embedding_backward = {
    .name = "embedding_backward",
    .signature =
        "embedding_backward(Tensor grad, Tensor indices, int num_embeddings, int? "
        "padding_idx=None) -> Tensor",
    .doc = "Gradient of embedding for its weight.",
    .infer = embedding_backward_infer,
    .kernel = embedding_backward_kernel,
    .backward = embedding_backward_rule,
    .cost = scatter_cost,
    .saves = save_input(1),
    .flags = kInternal};
const OpDef gather = {.name = "gather",
                      .signature = "gather(Tensor input, int dim, Tensor index) -> Tensor",
                      .doc =
                          "out[i][j] = input[index[i][j]][j] for dim 0, and likewise: one "
                          "element of input along dim per element of index.",
                      .infer = gather_infer,
                      .kernel = gather_kernel,
                      .backward = gather_rule,
                      .cost = move_cost,
                      .saves = save_input(1),
                      .flags = kHalfNative};
const OpDef scatter_add = {
    .name = "scatter_add",
    .signature = "scatter_add(Tensor input, int dim, Tensor index, Tensor src) -> Tensor",
    .doc = "input with src added at the positions index names along dim, in order.",
    .infer = scatter_add_infer,
    .kernel = scatter_add_kernel,
    .backward = scatter_add_rule,
    .cost = scatter_cost,
    .saves = save_input(1)};
const OpDef one_hot = {.name = "one_hot",
                       .signature = "one_hot(Tensor input, int num_classes=-1) -> Tensor",
                       .doc =
                           "int64 (*input, num_classes) with a 1 at each class; -1 takes the "
                           "largest class plus one.",
                       .composite = annx::one_hot,
                       .cost = move_cost,
                       .flags = kNoMethod};
const OpDef nonzero = {.name = "nonzero",
                       .signature = "nonzero(Tensor input) -> Tensor",
                       .doc = "Positions of the elements that are not zero: int64 (count, ndim).",
                       .composite = annx::nonzero,
                       .cost = move_cost,
                       .flags = kHalfNative | kNoCapture};
const OpDef masked_select = {.name = "masked_select",
                             .signature = "masked_select(Tensor input, Tensor mask) -> Tensor",
                             .doc = "The elements of input where mask holds, in one dimension.",
                             .composite = annx::masked_select,
                             .flags = kHalfNative | kNoCapture};
const OpDef masked_fill = {
    .name = "masked_fill",
    .signature = "masked_fill(Tensor input, Tensor mask, float value) -> Tensor",
    .doc = "value where mask (bool) holds, else input.",
    .composite = annx::masked_fill};
const OpDef tril = {.name = "tril",
                    .signature = "tril(Tensor input, int diagonal=0) -> Tensor",
                    .doc = "The lower triangle of the last two dimensions; the rest is zero.",
                    .infer = triangle_infer,
                    .kernel = tril_kernel,
                    .backward = tril_rule,
                    .cost = move_cost,
                    .flags = kHalfNative};
const OpDef triu = {.name = "triu",
                    .signature = "triu(Tensor input, int diagonal=0) -> Tensor",
                    .doc = "The upper triangle of the last two dimensions; the rest is zero.",
                    .infer = triangle_infer,
                    .kernel = triu_kernel,
                    .backward = triu_rule,
                    .cost = move_cost,
                    .flags = kHalfNative};

}  // namespace def
}  // namespace annx
