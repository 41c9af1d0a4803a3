// Ranges of slices, and the gradient of several slices of one tensor.
#include "ops/shape/slices.h"

#include <algorithm>
#include <cstring>

#include "core/thread_pool.h"
#include "ops/functional.h"

namespace annx {

SliceRange slice_range(int64_t size, int64_t start, int64_t stop, int64_t step, const char* op) {
  ANNX_CHECK(step != 0, value, op, "expected a non-zero step but got 0");
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
  auto clip = [&](int64_t v) {
    if (v < 0) v += size;
    return std::clamp(v, low, high);
  };
  // The ends of int64 stand for an open side, as in x[::-1].
  const int64_t a = start == INT64_MAX ? high : start == INT64_MIN ? low : clip(start);
  const int64_t b = stop == INT64_MAX ? high : stop == INT64_MIN ? low : clip(stop);
  const int64_t span = step > 0 ? b - a : a - b;
  if (span <= 0) return {a, 0};
  // A step past either end takes one element, whatever its size.
  if (step > size || step < -size) return {a, 1};
  return {a, 1 + (span - 1) / (step > 0 ? step : -step)};
}

bool slice_placed(const Attrs& attrs, const Dims& shape, SlicesPlaced* placed) {
  if (attrs[4].i() != 1 || shape.size() == 0) return false;
  const int d = normalize_dim(attrs[1].i(), shape.size(), "slice");
  const SliceRange r = slice_range(shape[d], attrs[2].i(), attrs[3].i(), 1, "slice");
  placed->dim = d;
  placed->bounds = {r.begin, r.begin + r.count};
  return r.count > 0;
}

SlicesPlaced slices_placed(const Attrs& attrs) {
  return {static_cast<int>(attrs[1].i()), attrs[2].ints()};
}

bool slices_apart(const SlicesPlaced& placed) {
  const Ints& b = placed.bounds;
  for (int i = 0; i < b.size(); i += 2)
    for (int j = 0; j < i; j += 2)
      if (b[i] < b[j + 1] && b[j] < b[i + 1]) return false;
  return true;
}

namespace {

void infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.attr(0).dims(), c.in(0).dtype()});
}

template <class T>
void run(const OpCall& c) {
  const SlicesPlaced placed = slices_placed(c.attrs);
  const Tensor& out = c.out();
  GradModeGuard no_grad(false);
  struct Part {
    int64_t begin, size;
    Tensor from;
  };
  int64_t outer = 1, row = 1;
  for (int i = 0; i < placed.dim; ++i) outer *= out.size(i);
  for (int i = placed.dim + 1; i < out.dim(); ++i) row *= out.size(i);
  const int64_t whole = out.size(placed.dim) * row;
  if (outer * whole == 0) return;
  SmallVec<Part, 8> parts;
  for (int i = 0; i < c.inputs.size(); ++i) {
    const int64_t begin = placed.bounds[2 * i], end = placed.bounds[2 * i + 1];
    parts.push_back({begin * row, (end - begin) * row, ops::contiguous(c.in(i))});
  }
  std::sort(parts.begin(), parts.end(),
            [](const Part& a, const Part& b) { return a.begin < b.begin; });
  T* to = out.data<T>();
  parallel_for(outer, 1 + (1 << 16) / whole, [&](int64_t first, int64_t last) {
    for (int64_t o = first; o < last; ++o) {
      T* line = to + o * whole;
      int64_t at = 0;
      for (const Part& part : parts) {
        std::fill(line + at, line + part.begin, T(0));
        const T* from = part.from.template data<T>() + o * part.size;
        T* place = line + part.begin;
        for (int64_t k = 0; k < part.size; ++k) place[k] = from[k] + T(0);
        at = part.begin + part.size;
      }
      std::fill(line + at, line + whole, T(0));
    }
  });
}

void kernel(const OpCall& c) {
  if (c.out().dtype() == DType::f32)
    run<float>(c);
  else
    run<double>(c);
}

}  // namespace

const OpDef& slices_backward_def() {
  static const OpDef op = {.name = "slices_backward",
                           .signature = "",
                           .doc = "",
                           .infer = infer,
                           .kernel = kernel,
                           .flags = kInternal};
  return op;
}

}  // namespace annx
