// pad: every element of the result comes from one place of the input, or is the value.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/copy_run.h"
#include "core/fill.h"
#include "core/thread_pool.h"
#include "ops/functional.h"

namespace annx {
namespace {

enum class Mode { constant, reflect, replicate, circular };

Mode parse_mode(const char* text) {
  constexpr const char* kNames[] = {"constant", "reflect", "replicate", "circular"};
  for (int i = 0; i < 4; ++i)
    if (std::strcmp(text, kNames[i]) == 0) return static_cast<Mode>(i);
  ANNX_CHECK(false, value, "pad",
             "expected mode constant, reflect, replicate or circular but got '", text, "'");
}

// Where position i of a dimension of n elements comes from; -1: from nowhere.
int64_t source_of(int64_t i, int64_t n, Mode mode) {
  if (i >= 0 && i < n) return i;
  switch (mode) {
    case Mode::constant:
      return -1;
    case Mode::reflect:
      return i < 0 ? -i : 2 * (n - 1) - i;
    case Mode::replicate:
      return i < 0 ? 0 : n - 1;
    case Mode::circular:
      break;
  }
  return (i % n + n) % n;
}

// A dimension, or several that are not padded. Offsets are in elements of the input.
struct Axis {
  int64_t in, out, left, stride;
  bool padded;
  Mode mode;

  // Where a position of the result comes from; -1: from nowhere.
  int64_t offset(int64_t at) const {
    if (!padded) return at * stride;
    const int64_t from = source_of(at - left, in, mode);
    return from < 0 ? -1 : from * stride;
  }
  bool inside(int64_t at) const { return !padded || (at >= left && at < left + in); }
};

// The dimensions as they lie in memory, the innermost first; `unit` elements stay together always.
struct Plan {
  int64_t unit = 1;
  std::vector<Axis> axes;

  Plan(const Dims& in, const Dims& out, const Dims& left, Mode mode) {
    int64_t stride = 1;
    for (int i = in.size() - 1; i >= 0; stride *= in[i--]) {
      const bool padded = left[i] != 0 || in[i] != out[i];
      if (!padded && axes.empty()) {
        unit *= in[i];
      } else if (!padded && !axes.back().padded) {
        axes.back().in = axes.back().out *= in[i];
      } else {
        axes.push_back({in[i], out[i], left[i], stride, padded, mode});
      }
    }
    if (axes.empty()) axes.push_back({1, 1, 0, unit, false, mode});
  }
  int64_t rows() const {
    int64_t n = 1;
    for (size_t k = 1; k < axes.size(); ++k) n *= axes[k].out;
    return n;
  }
  int64_t row_size() const { return axes[0].out * unit; }
  // Elements that come from nowhere together, at most.
  int64_t longest_blank() const {
    if (axes[0].mode != Mode::constant) return 0;
    for (size_t k = 1; k < axes.size(); ++k)
      if (axes[k].padded) return row_size();
    return unit;
  }
  // The positions of a row that come straight from the input.
  int64_t first() const { return std::min(axes[0].out, std::max<int64_t>(axes[0].left, 0)); }
  int64_t last() const {
    return std::max(first(), std::min(axes[0].out, axes[0].left + axes[0].in));
  }

  // Calls f(row, offset of what it comes from or -1, whether none of it is padding).
  template <class F>
  void each_row(int64_t begin, int64_t end, F f) const {
    if (axes.size() == 1) return f(int64_t{0}, int64_t{0}, true);
    const Axis& axis = axes[1];
    for (int64_t row = begin; row < end;) {
      int64_t rest = row / axis.out, base = 0;
      bool inside = true, nowhere = false;
      for (size_t k = 2; k < axes.size(); ++k) {
        const int64_t at = rest % axes[k].out, from = axes[k].offset(at);
        rest /= axes[k].out;
        nowhere = nowhere || from < 0;
        inside = inside && axes[k].inside(at);
        base += from;
      }
      const int64_t first = row % axis.out, count = std::min(axis.out - first, end - row);
      for (int64_t at = first; at < first + count; ++at, ++row) {
        const int64_t from = axis.offset(at);
        f(row, nowhere || from < 0 ? -1 : base + from, inside && axis.inside(at));
      }
    }
  }
};

// Unit: the bytes of a unit where they are as many as those of a number, else 0.
template <size_t Unit>
void pad_rows(const Plan& plan, const char* in, char* out, size_t size, const char* blank) {
  const size_t unit = Unit > 0 ? Unit : static_cast<size_t>(plan.unit) * size;
  const auto row_bytes = static_cast<size_t>(plan.row_size()) * size;
  const Axis& axis = plan.axes[0];
  const int64_t first = plan.first(), last = plan.last(), positions = axis.out;
  const size_t middle = static_cast<size_t>(first) * unit;
  const size_t middle_bytes = static_cast<size_t>(last - first) * unit;
  const size_t middle_from = static_cast<size_t>(first - axis.left) * unit;
  const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, plan.row_size()));
  parallel_for(plan.rows(), grain, [&](int64_t begin, int64_t end) {
    plan.each_row(begin, end, [&](int64_t row, int64_t offset, bool) {
      char* to = out + static_cast<size_t>(row) * row_bytes;
      if (offset < 0) return copy_run(to, blank, row_bytes);
      const char* from = in + offset * static_cast<int64_t>(size);
      const auto edge = [&](int64_t j) {
        const int64_t at = axis.offset(j) * static_cast<int64_t>(size);
        const char* place = at < 0 ? blank : from + at;
        if constexpr (Unit > 0)
          std::memcpy(to + static_cast<size_t>(j) * Unit, place, Unit);
        else
          copy_run(to + static_cast<size_t>(j) * unit, place, unit);
      };
      for (int64_t j = 0; j < first; ++j) edge(j);
      copy_run(to + middle, from + middle_from, middle_bytes);
      for (int64_t j = last; j < positions; ++j) edge(j);
    });
  });
}

void pad_memory(const Plan& plan, const char* in, char* out, DType dtype, double value) {
  const size_t size = itemsize(dtype), unit = static_cast<size_t>(plan.unit) * size;
  alignas(8) char one[8];
  store_scalar(one, dtype, value);
  std::vector<char> blank(static_cast<size_t>(plan.longest_blank()) * size);
  fill_elements(blank.data(), one, size, plan.longest_blank());
  const auto run = unit == 4 ? pad_rows<4> : unit == 8 ? pad_rows<8> : pad_rows<0>;
  run(plan, in, out, size, blank.data());
}

template <class T>
void add_run(T* __restrict to, const T* __restrict from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] += from[i];
}

// Adds to dx, which has what came straight from it, the gradients of its copies in the padding. Rows of
// one image stay in one task and in order.
template <class T>
void add_copies(const Plan& plan, const T* g, T* dx) {
  const Axis &axis = plan.axes[0], &outer = plan.axes.back();
  const int64_t first = plan.first(), last = plan.last(), row_size = plan.row_size();
  const int64_t images = plan.axes.size() > 1 && !outer.padded ? outer.out : 1;
  const int64_t rows = plan.rows() / std::max<int64_t>(1, images);
  const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, rows * row_size));
  parallel_for(images, grain, [&](int64_t begin, int64_t end) {
    plan.each_row(begin * rows, end * rows, [&](int64_t row, int64_t offset, bool inside) {
      const T* from = g + row * row_size;
      T* to = dx + offset;
      const auto edge = [&](int64_t j) {
        add_run(to + axis.offset(j), from + j * plan.unit, plan.unit);
      };
      for (int64_t j = 0; j < first; ++j) edge(j);
      if (!inside)
        add_run(to + (first - axis.left) * plan.unit, from + first * plan.unit,
                (last - first) * plan.unit);
      for (int64_t j = last; j < axis.out; ++j) edge(j);
    });
  });
}

// The op -----------------------------------------------------------------------------------------

Dims left_of(const Ints& pads, int dims) {
  Dims left(dims, 0);
  for (int i = 0; i < pads.size() / 2; ++i) left[dims - 1 - i] = pads[2 * i];
  return left;
}

Dims reordered(const Dims& values, const Dims& order) {
  Dims out;
  for (int64_t i : order) out.push_back(values[static_cast<int>(i)]);
  return out;
}

// The order of dimensions in which x is read and the result lies. Strides of single elements, which
// say nothing, do not count where the others are row-major.
Dims order_of(const Tensor& x) {
  const bool by_strides = !x.is_contiguous() && is_dense_layout(x.shape(), x.strides());
  return memory_order(by_strides ? x.strides() : contiguous_strides(x.shape()));
}
Dims strides_in(const Dims& shape, const Dims& order) {
  Dims strides(shape.size(), 1);
  int64_t step = 1;
  for (int i = shape.size() - 1; i >= 0; --i) {
    const int d = static_cast<int>(order[i]);
    strides[d] = step;
    step *= std::max<int64_t>(1, shape[d]);
  }
  return strides;
}
OutputSpec laid_as(const Tensor& x, const Dims& shape) {
  OutputSpec spec{shape, x.dtype()};
  if (!x.is_contiguous()) spec.strides = strides_in(shape, order_of(x));
  return spec;
}
Tensor dense(const Tensor& x) {
  return is_dense_layout(x.shape(), x.strides()) ? x : ops::contiguous(x);
}

void infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  const Ints& pads = c.attr(0).ints();
  const char* name = c.attr(2).text();
  const Mode mode = parse_mode(name);
  ANNX_CHECK(pads.size() % 2 == 0 && pads.size() / 2 <= x.dim(), value, "pad",
             "expected (left, right) pairs for at most ", x.dim(), " dimensions but got ", pads);
  Dims shape = x.shape();
  for (int i = 0; i < pads.size() / 2; ++i) {
    const int d = x.dim() - 1 - i;
    int64_t& s = shape[d];
    for (int k = 2 * i; k < 2 * i + 2; ++k)
      ANNX_CHECK(pads[k] > -(int64_t{1} << 59) && pads[k] < int64_t{1} << 59, value, "pad",
                 "expected padding of fewer than 2**59 elements but got ", pads);
    const int64_t most = mode == Mode::reflect ? s - 1 : s,
                  widest = std::max(pads[2 * i], pads[2 * i + 1]);
    const bool any = mode == Mode::constant || (mode == Mode::replicate && s > 0);
    ANNX_CHECK(any || widest <= std::max<int64_t>(most, 0), value, "pad",
               "expected padding of at most ", most, " for mode '", name, "' in dimension ", d,
               " but got (", pads[2 * i], ", ", pads[2 * i + 1], ") for shape ", x.shape());
    s += pads[2 * i] + pads[2 * i + 1];
    ANNX_CHECK(s >= 0 && pads[2 * i] + x.size(d) >= 0 && pads[2 * i + 1] + x.size(d) >= 0, value,
               "pad", "expected padding that leaves non-negative sizes but got ", pads,
               " for shape ", x.shape());
  }
  numel_of(shape, "pad");
  specs.push_back(laid_as(x, shape));
}

void kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor x = dense(c.in(0));
  const Tensor& out = c.out();
  if (out.numel() == 0) return;
  const Dims order = order_of(x);
  const Plan plan(reordered(x.shape(), order), reordered(out.shape(), order),
                  reordered(left_of(c.attr(0).ints(), x.dim()), order),
                  parse_mode(c.attr(2).text()));
  pad_memory(plan, static_cast<const char*>(x.raw()), static_cast<char*>(out.raw()), out.dtype(),
             c.attr(1).f());
}

extern const OpDef backward_def;

void rule(BackwardCall& b) {
  const Ints& pads = b.attr(0).ints();
  if (parse_mode(b.attr(2).text()) != Mode::constant)
    return b.set(0, call(backward_def, {b.grad()}, {b.attr(0), Attr(b.input_shape(0)), b.attr(2)}));
  Ints negative = pads;
  for (int64_t& p : negative) p = -p;
  b.set(0, ops::pad(b.grad(), negative));
}

// Attributes: the pads, the shape of the input, the mode.
void backward_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back(laid_as(c.in(0), c.attr(1).dims()));
}

template <class T>
void backward_run(const OpCall& c) {
  const Tensor g = dense(c.in(0));
  const Tensor& out = c.out();
  const Dims order = order_of(g);
  const Dims in = reordered(out.shape(), order), padded = reordered(g.shape(), order);
  const Dims left = reordered(left_of(c.attr(0).ints(), g.dim()), order);
  Dims back = left;
  for (int64_t& l : back) l = -l;
  T* dx = out.data<T>();
  pad_memory(Plan(padded, in, back, Mode::constant), static_cast<const char*>(g.raw()),
             reinterpret_cast<char*>(dx), out.dtype(), 0);
  if (g.numel() > 0)
    add_copies(Plan(in, padded, left, parse_mode(c.attr(2).text())), g.data<T>(), dx);
}

void backward_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  if (c.out().numel() == 0) return;
  if (c.out().dtype() == DType::f32)
    backward_run<float>(c);
  else
    backward_run<double>(c);
}

void backward_rule(BackwardCall& b) {
  b.set(0, call(def::pad, {b.grad()}, {b.attr(0), Attr(0.0), b.attr(2)}));
}

const OpDef backward_def = {.name = "pad_backward",
                            .signature = "",
                            .doc = "",
                            .infer = backward_infer,
                            .kernel = backward_kernel,
                            .backward = backward_rule,
                            .cost = move_cost,
                            .flags = kInternal};

}  // namespace

namespace def {

const OpDef pad = {
    .name = "pad",
    .signature =
        "pad(Tensor input, int[] pad, float value=0.0, str mode='constant') -> "
        "Tensor",
    .doc =
        "Pads by (left, right) pairs from the last dimension backwards, negative sizes "
        "crop: with value, or from input by mode 'reflect', 'replicate' or "
        "'circular'. The result has the layout of input.",
    .infer = infer,
    .kernel = kernel,
    .backward = rule,
    .cost = move_cost,
    .flags = kHalfNative | kNoMethod};

}  // namespace def
}  // namespace annx
