// sort, argsort and topk: stable, NaN last in ascending order, as NumPy has it.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/thread_pool.h"
#include "gemm/scratch.h"
#include "ops/indexing/order.h"
#include "ops/indexing/positions.h"

namespace annx {
namespace {

template <class I>
using KeyOf = decltype(key_of(I()));

// A line of elements of T, some distance apart, as items of I.
template <class T, class I>
struct Line {
  const T* p;
  int64_t step, n;
  KeyOf<I> flip;  // -1 where the largest comes first

  KeyOf<I> key(int64_t j) const { return static_cast<KeyOf<I>>(sort_key(p[j * step])) ^ flip; }

  // The element of an item. The keys of 0 and NaN stand for more than one.
  T value(I item) const {
    const KeyOf<I> key = key_of(item) ^ flip;
    if constexpr (std::is_floating_point_v<T>) {
      using B = decltype(sort_key(T()));
      constexpr B most = std::numeric_limits<B>::max();
      const B bits = static_cast<B>(key);
      if (bits == 0 || bits == most) return p[position_of(item) * step];
      return std::bit_cast<T>(static_cast<B>(bits ^ (bits >> (8 * sizeof(B) - 1) & most)));
    } else {
      return static_cast<T>(key);
    }
  }
};

template <class T, class I>
I* sort_line(const Line<T, I>& line, I* items, I* other) {
  for (int64_t j = 0; j < line.n; ++j) items[j] = make_item<I>(line.key(j), j);
  return sort_items(items, other, line.n);
}

// Keys of 64 bits: by the 32 highest of those that differ, then runs that share these by the rest.
template <class T>
Item* sort_long_keys(const Line<T, WideItem>& line, uint64_t* keys, Item* items, Item* other) {
  uint64_t differ = 0;
  for (int64_t j = 0; j < line.n; ++j) {
    keys[j] = static_cast<uint64_t>(line.key(j)) ^ 0x8000000000000000u;
    differ |= keys[j] ^ keys[0];
  }
  const int shift = std::max(0, static_cast<int>(std::bit_width(differ)) - 32);
  for (int64_t j = 0; j < line.n; ++j)
    items[j] = static_cast<uint64_t>(static_cast<uint32_t>(keys[j] >> shift)) << 32 |
               static_cast<uint32_t>(j);
  Item* sorted = sort_items(items, other, line.n);
  if (shift == 0) return sorted;
  Scratch scratch;
  for (int64_t begin = 0, end; begin < line.n; begin = end) {
    for (end = begin + 1; end < line.n && sorted[end] >> 32 == sorted[begin] >> 32;) ++end;
    if (end - begin <= 16) {
      for (int64_t j = begin + 1; j < end; ++j) {
        const Item item = sorted[j];
        const uint64_t key = keys[position_of(item)];
        int64_t to = j;
        for (; to > begin && key < keys[position_of(sorted[to - 1])]; --to)
          sorted[to] = sorted[to - 1];
        sorted[to] = item;
      }
      continue;
    }
    const int64_t run = end - begin, room = items_room<WideItem>(run);
    auto* wide =
        static_cast<WideItem*>(scratch.reserve(2 * static_cast<size_t>(room) * sizeof(WideItem)));
    for (int64_t j = 0; j < run; ++j) {
      const auto position = static_cast<uint64_t>(position_of(sorted[begin + j]));
      wide[j] = static_cast<WideItem>(keys[position]) << 64 | position;
    }
    const WideItem* ordered = sort_items(wide, wide + room, run);
    for (int64_t j = 0; j < run; ++j) sorted[begin + j] = static_cast<uint32_t>(ordered[j]);
  }
  return sorted;
}

// Bytes are counted.
void sort_bytes(const Line<uint8_t, Item>& line, uint8_t* values, int64_t* indices) {
  int64_t at[256] = {};
  const auto digit = [&line](int64_t j) {
    return static_cast<uint8_t>(line.p[j * line.step] ^ static_cast<uint8_t>(line.flip));
  };
  for (int64_t j = 0; j < line.n; ++j) ++at[digit(j)];
  int64_t sum = 0;
  for (int64_t& count : at) {
    const int64_t here = count;
    count = sum;
    sum += here;
  }
  for (int64_t j = 0; j < line.n; ++j) {
    const int64_t to = at[digit(j)]++;
    values[to * line.step] = line.p[j * line.step];
    indices[to * line.step] = j;
  }
}

constexpr int64_t kBlock = 32;     // elements looked at together
constexpr int64_t kInserted = 16;  // so many are kept in order while others come

inline int64_t select_room(int64_t k) { return 2 * k + 2 * kBlock; }

// The first k in order. A block is passed over unless one of its keys is at most `limit`, which
// the best k so far leave to those that come later.
template <class T, class I>
I* select_line(const Line<T, I>& line, int64_t k, I* items, I* other) {
  using Key = KeyOf<I>;
  constexpr Key least = std::numeric_limits<Key>::min();
  Key limit = std::numeric_limits<Key>::max();
  int64_t count = 0;
  for (int64_t at = 0; at < line.n; at += kBlock) {
    Key keys[kBlock];
    const int64_t some = std::min(kBlock, line.n - at);
    Key low = std::numeric_limits<Key>::max();
    if (some == kBlock && line.step == 1) {
      const Line<T, I> here{line.p + at, 1, kBlock, line.flip};
      for (int j = 0; j < kBlock; ++j) keys[j] = static_cast<Key>(sort_key(here.p[j])) ^ here.flip;
      for (int j = 0; j < kBlock; ++j) low = keys[j] < low ? keys[j] : low;
    } else {
      for (int64_t j = 0; j < some; ++j) keys[j] = line.key(at + j);
      for (int64_t j = 0; j < some; ++j) low = std::min(low, keys[j]);
    }
    if (low > limit) continue;
    if (k <= kInserted) {
      for (int64_t j = 0; j < some; ++j) {
        if (keys[j] > limit) continue;
        const I item = make_item<I>(keys[j], at + j);
        int64_t to = count < k ? count++ : k - 1;
        for (; to > 0 && item < items[to - 1]; --to) items[to] = items[to - 1];
        items[to] = item;
        if (count < k) continue;
        const Key last = key_of(items[k - 1]);
        if (last == least) return items;
        limit = last - 1;
      }
      continue;
    }
    for (int64_t j = 0; j < some; ++j) {
      items[count] = make_item<I>(keys[j], at + j);
      count += keys[j] <= limit;
    }
    if (count < select_room(k) - kBlock) continue;
    std::copy_n(items, count, other);
    std::nth_element(other, other + k - 1, other + count);
    const I bound = other[k - 1];
    int64_t kept = 0;
    for (int64_t j = 0; j < count; ++j) {  // those kept stay in the order of their positions
      const I item = items[j];
      items[kept] = item;
      kept += item <= bound;
    }
    count = k;
    const Key last = key_of(bound);
    if (last == least) break;
    limit = last - 1;
  }
  return k <= kInserted ? items : sort_items(items, other, count);
}

// Each line of x [outer, n, inner] in order; the first k go to values and indices.
template <class T, class I>
void sort_lines(const T* x, T* values, int64_t* indices, const Slabs& s, int64_t k,
                bool descending) {
  const bool all = k > s.size / 2 && k > kInserted;
  const bool count = sizeof(T) == 1 && sizeof(I) == 8 && k == s.size && k > kMerged<Item>;
  const bool by_halves = all && sizeof(T) == 8 && s.size <= int64_t{UINT32_MAX};
  const int64_t room = by_halves ? items_room<Item>(s.size)
                       : all     ? items_room<I>(s.size)
                                 : std::max(select_room(k), items_room<I>(select_room(k)));
  const size_t bytes = by_halves
                           ? static_cast<size_t>(s.size) * 8 + 2 * static_cast<size_t>(room) * 8
                           : 2 * static_cast<size_t>(room) * sizeof(I);
  // Neighbouring lines share the cache lines that they are written to.
  const int64_t least = s.inner > 1 ? 8 : 1;
  const int64_t grain = std::max(least, 16384 / std::max<int64_t>(s.size, 1));
  parallel_for(s.outer * s.inner, grain, [&](int64_t begin, int64_t end) {
    Scratch scratch;
    void* memory = scratch.reserve(bytes);
    for (int64_t l = begin; l < end; ++l) {
      const int64_t o = l / s.inner, i = l % s.inner, to = o * k * s.inner + i;
      const Line<T, I> line{x + o * s.size * s.inner + i, s.inner, s.size,
                            descending ? KeyOf<I>(-1) : KeyOf<I>(0)};
      if constexpr (sizeof(T) == 1 && sizeof(I) == 8) {
        if (count) {
          sort_bytes(line, values + to, indices + to);
          continue;
        }
      }
      if constexpr (sizeof(T) == 8) {
        if (by_halves) {
          auto* keys = static_cast<uint64_t*>(memory);
          Item* items = keys + s.size;
          const Item* first = sort_long_keys(line, keys, items, items + room);
          for (int64_t j = 0; j < k; ++j) {
            const int64_t from = position_of(first[j]);
            values[to + j * s.inner] = line.p[from * s.inner];
            indices[to + j * s.inner] = from;
          }
          continue;
        }
      }
      I* items = static_cast<I*>(memory);
      const I* first =
          all ? sort_line(line, items, items + room) : select_line(line, k, items, items + room);
      for (int64_t j = 0; j < k; ++j) {
        values[to + j * s.inner] = line.value(first[j]);
        indices[to + j * s.inner] = position_of(first[j]);
      }
    }
  });
}

template <class T>
void sort_typed(const OpCall& c, const Tensor& x, const Slabs& s, int64_t k, bool descending) {
  T* values = c.out(0).data<T>();
  int64_t* indices = c.out(1).data<int64_t>();
  // Positions of narrow items have 32 bits.
  if (sizeof(T) == 8 || s.size > int64_t{UINT32_MAX})
    return sort_lines<T, WideItem>(x.data<T>(), values, indices, s, k, descending);
  sort_lines<T, ItemOf<T>>(x.data<T>(), values, indices, s, k, descending);
}

void run_sort(const OpCall& c, int dim, int64_t k, bool descending) {
  GradModeGuard no_grad(false);
  const Tensor x = ops::contiguous(c.in(0));
  const Slabs s = slabs_of(x.shape(), dim);
  if (c.out(0).numel() == 0) return;
  switch (x.dtype()) {
    case DType::f32:
      return sort_typed<float>(c, x, s, k, descending);
    case DType::f64:
      return sort_typed<double>(c, x, s, k, descending);
    case DType::i64:
      return sort_typed<int64_t>(c, x, s, k, descending);
    case DType::i32:
      return sort_typed<int32_t>(c, x, s, k, descending);
    default:
      return sort_typed<uint8_t>(c, x, s, k, descending);
  }
}

// n log2 n comparisons a line.
Cost sort_cost(const OpCall& c) {
  const Tensor& x = c.in(0);
  const int dim = normalize_dim(c.attr(c.op == &def::topk ? 1 : 0).i(), x.dim(), c.name());
  const double line = x.dim() ? static_cast<double>(std::max<int64_t>(x.size(dim), 1)) : 1;
  double bytes = static_cast<double>(x.nbytes());
  for (const Tensor& t : c.outputs) bytes += static_cast<double>(t.nbytes());
  return {static_cast<double>(x.numel()) * std::log2(line), bytes};
}

void sort_infer(const OpCall& c, OutputSpecs& specs) {
  normalize_dim(c.attr(0).i(), c.in(0).dim(), "sort");
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
  specs.push_back({c.in(0).shape(), DType::i64});
}

void sort_kernel(const OpCall& c) {
  const int d = normalize_dim(c.attr(0).i(), c.in(0).dim(), "sort");
  run_sort(c, d, c.in(0).dim() ? c.in(0).size(d) : 1, c.attr(1).b());
}

void topk_infer(const OpCall& c, OutputSpecs& specs) {
  const int d = normalize_dim(c.attr(1).i(), c.in(0).dim(), "topk");
  const int64_t size = c.in(0).dim() ? c.in(0).size(d) : 1, k = c.attr(0).i();
  ANNX_CHECK(k >= 0 && k <= size, value, "topk", "expected k in [0, ", size, "] but got ", k);
  Dims shape = c.in(0).shape();
  if (shape.size()) shape[d] = k;
  specs.push_back({shape, c.in(0).dtype()});
  specs.push_back({shape, DType::i64});
}

void topk_kernel(const OpCall& c) {
  const int d = normalize_dim(c.attr(1).i(), c.in(0).dim(), "topk");
  run_sort(c, d, c.attr(0).i(), c.attr(2).b());
}

// Both pick elements: the gradient goes back to where they came from.
void pick_rule(BackwardCall& b, int64_t dim) {
  if (!b.grad(0).defined()) return;
  if (b.input_shape(0).empty()) return b.set(0, b.grad(0));
  const Tensor zeros = ops::zeros(b.input_shape(0), b.grad(0).dtype());
  b.set(0, call(def::scatter_add, {zeros, b.output(1), b.grad(0)}, {Attr(dim)}));
}
void sort_rule(BackwardCall& b) { pick_rule(b, b.attr(0).i()); }
void topk_rule(BackwardCall& b) { pick_rule(b, b.attr(1).i()); }

TensorList argsort(const OpCall& c) {
  GradModeGuard no_grad(false);
  return {call_all(def::sort, {c.in(0)}, {c.attr(0), c.attr(1)})[1]};
}

}  // namespace

namespace def {

const OpDef sort = {.name = "sort",
                    .signature =
                        "sort(Tensor input, int dim=-1, bool descending=False) -> "
                        "(Tensor, Tensor)",
                    .doc =
                        "(values, indices) in order along dim; equal elements keep theirs, NaN "
                        "counts as the largest.",
                    .infer = sort_infer,
                    .kernel = sort_kernel,
                    .backward = sort_rule,
                    .cost = sort_cost,
                    .saves = save_output(1)};
const OpDef argsort = {.name = "argsort",
                       .signature =
                           "argsort(Tensor input, int dim=-1, bool descending=False) -> "
                           "Tensor",
                       .doc = "The indices that sort input along dim.",
                       .composite = annx::argsort};
const OpDef topk = {.name = "topk",
                    .signature =
                        "topk(Tensor input, int k, int dim=-1, bool largest=True) -> "
                        "(Tensor, Tensor)",
                    .doc = "(values, indices) of the k largest (or smallest) along dim, in order.",
                    .infer = topk_infer,
                    .kernel = topk_kernel,
                    .backward = topk_rule,
                    .cost = sort_cost,
                    .saves = save_output(1)};

}  // namespace def
}  // namespace annx
