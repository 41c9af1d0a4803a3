// resize: images in another spatial size, dimension after dimension from the last one on. Images are
// worked on in bands of slices of their first dimension, so that what lies between stays in cache.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "core/copy_run.h"
#include "core/thread_pool.h"
#include "ops/functional.h"
#include "ops/resize/kernels.h"

namespace annx {
namespace {

constexpr int64_t kBand = 32768;  // elements of a band

enum Attribute { kSize, kMode, kAlign, kStep };  // the steps of up to 3 dimensions come last
constexpr int kAttributes = kStep + 3;

enum class Mode { nearest, nearest_exact, linear };

Mode parse_mode(const char* text) {
  constexpr const char* kNames[] = {"nearest", "nearest-exact", "linear"};
  for (int i = 0; i < 3; ++i)
    if (std::strcmp(text, kNames[i]) == 0) return static_cast<Mode>(i);
  ANNX_CHECK(false, value, "resize", "expected mode nearest, nearest-exact or linear but got '",
             text, "'");
}

template <class T>
const ResizeTable<T>& kernels() {
  if constexpr (sizeof(T) == 4)
    return resize_kernels().f32;
  else
    return resize_kernels().f64;
}

// What position i reads: floor(i step), or of the exact mode floor((i + 0.5) step), in integers where the
// step is the ratio of the sizes, else in float32, as in PyTorch: many results fall on whole numbers.
int64_t nearest(int64_t i, int64_t from, int64_t to, double step, bool exact) {
  if (step == static_cast<double>(from) / static_cast<double>(to))
    return exact ? (2 * i + 1) * from / (2 * to) : i * from / to;
  const float at = static_cast<float>(i) + (exact ? 0.5F : 0.0F);
  return static_cast<int64_t>(std::floor(at * static_cast<float>(step)));
}

// One dimension: where each new position reads, and how much of the higher neighbour it takes; nothing
// for the identity.
struct Axis {
  int64_t from, to;
  bool identity = true;
  std::vector<int32_t> low, high;
  std::vector<double> share;

  Axis(int64_t size, int64_t count, double step, Mode mode, bool align) : from(size), to(count) {
    if (step == 0) step = static_cast<double>(size) / static_cast<double>(count);
    if (align)
      step = count > 1 ? static_cast<double>(size - 1) / static_cast<double>(count - 1) : 0;
    for (int64_t i = 0; i < count; ++i) {
      const auto j = static_cast<double>(i);
      double at = align ? j * step : std::max(0.0, (j + 0.5) * step - 0.5);
      if (mode != Mode::linear)
        at = static_cast<double>(nearest(i, size, count, step, mode == Mode::nearest_exact));
      const double first = std::min(std::floor(at), static_cast<double>(size - 1));
      low.push_back(static_cast<int32_t>(first));
      high.push_back(static_cast<int32_t>(std::min<int64_t>(low.back() + 1, size - 1)));
      share.push_back(mode == Mode::linear ? at - first : 0);
      identity = identity && low.back() == i && share.back() == 0;
    }
    identity = identity && size == count;
    if (identity) low = high = {}, share = {};
  }
  // One that stays as it is.
  explicit Axis(int64_t size) : from(size), to(size) {}
};

// A tensor as images, each spatial sizes times `pixel` elements that lie side by side.
struct Images {
  int64_t count, pixel;
  std::vector<Axis> axes;
  bool linear;

  Images(const Dims& shape, bool channels_last, const Attrs& attrs) {
    count = channels_last ? shape[0] : shape[0] * shape[1];
    pixel = channels_last ? shape[1] : 1;
    const Mode mode = parse_mode(attrs[kMode].text());
    linear = mode == Mode::linear;
    const Ints& size = attrs[kSize].ints();
    for (int i = 0; i + 2 < shape.size(); ++i)
      axes.push_back(
          {shape[i + 2], size[i], attrs[kStep + i].f(), mode, linear && attrs[kAlign].b()});
    // Sequences are the rows of one image.
    if (axes.size() == 1 && pixel == 1) {
      axes.insert(axes.begin(), Axis(count));
      count = 1;
    }
  }
  // Elements of a slice: of the new size, and of the old one.
  int64_t slice(bool to) const {
    int64_t n = pixel;
    for (size_t k = 1; k < axes.size(); ++k) n *= to ? axes[k].to : axes[k].from;
    return n;
  }
  // Elements behind a position of dimension k, where the later ones have their new sizes.
  int64_t inner(size_t k) const {
    int64_t n = pixel;
    for (size_t i = k + 1; i < axes.size(); ++i) n *= axes[i].to;
    return n;
  }
  // Rows ahead of dimension k in a slice, where earlier dimensions have their old sizes.
  int64_t outer(size_t k) const {
    int64_t n = 1;
    for (size_t i = 1; i < k; ++i) n *= axes[i].from;
    return n;
  }
};

// Calls f(image, first slice, end) for bands of the `size` slices of every image.
template <class F>
void each_band(const Images& images, int64_t size, int64_t slice, F f) {
  const int64_t per = std::max<int64_t>(1, kBand / std::max<int64_t>(slice, 1));
  const int64_t bands = (size + per - 1) / per;
  const int64_t work = std::max<int64_t>(1, std::min(per, size) * slice);
  parallel_for(images.count * bands, std::max<int64_t>(1, kBand / work),
               [&](int64_t begin, int64_t end) {
                 for (int64_t u = begin; u < end; ++u)
                   f(u / bands, u % bands * per, std::min(size, (u % bands + 1) * per));
               });
}

// Positions begin to end of a dimension of the new size, copied from (rows, axis.from, inner), which
// starts at position skip.
template <class Word>
void pick(const Word* x, int64_t rows, int64_t size, int64_t inner, const int32_t* low,
          int64_t count, int64_t skip, Word* out) {
  for (int64_t r = 0; r < rows; ++r, x += size * inner, out += count * inner) {
    if (inner == 1) {
      for (int64_t j = 0; j < count; ++j) out[j] = x[low[j] - skip];
      continue;
    }
    for (int64_t j = 0; j < count; ++j)
      copy_run(reinterpret_cast<char*>(out + j * inner),
               reinterpret_cast<const char*>(x + (low[j] - skip) * inner),
               static_cast<size_t>(inner) * sizeof(Word));
  }
}

// How one dimension is brought to its new size, for elements of type T.
template <class T>
struct Pick {
  const Axis& axis;

  // Positions begin to end; x starts at position skip and is `size` positions long.
  void run(const T* x, int64_t rows, int64_t size, int64_t inner, int64_t begin, int64_t end,
           int64_t skip, T* out) const {
    pick(x, rows, size, inner, axis.low.data() + begin, end - begin, skip, out);
  }
};

template <class T>
struct Mix {
  const Axis& axis;
  std::vector<T> low_share, high_share;

  explicit Mix(const Axis& a) : axis(a) {
    for (double s : a.share) {
      high_share.push_back(static_cast<T>(s));
      low_share.push_back(T(1) - high_share.back());
    }
  }
  void run(const T* x, int64_t rows, int64_t size, int64_t inner, int64_t begin, int64_t end,
           int64_t skip, T* out) const {
    const ResizeLine<T> line = {end - begin,
                                skip,
                                axis.low.data() + begin,
                                axis.high.data() + begin,
                                low_share.data() + begin,
                                high_share.data() + begin};
    kernels<T>().forward(x, rows, size, inner, line, out);
  }
};

template <class Step, class T>
void forward_run(const Images& images, const T* x, T* out) {
  std::vector<Step> steps;
  for (const Axis& a : images.axes) steps.push_back(Step{a});
  const Axis& first = images.axes[0];
  const int64_t from_slice = images.slice(false), to_slice = images.slice(true);
  const int last = static_cast<int>(images.axes.size()) - 1;
  each_band(images, first.to, to_slice, [&](int64_t image, int64_t begin, int64_t end) {
    const int64_t skip = first.identity ? begin : first.low[static_cast<size_t>(begin)];
    const int64_t slices =
        (first.identity ? end : first.high[static_cast<size_t>(end - 1)] + 1) - skip;
    const T* at = x + (image * first.from + skip) * from_slice;
    T* const to = out + (image * first.to + begin) * to_slice;
    std::unique_ptr<T[]> kept;
    int64_t size = from_slice;
    for (int i = last; i > 0; --i) {
      const auto k = static_cast<size_t>(i);
      const Axis& a = images.axes[k];
      if (a.identity) continue;
      size = size / a.from * a.to;
      // Without work on the first dimension the last of the others writes the result.
      bool ends = first.identity;
      for (size_t e = 1; e < k; ++e) ends = ends && images.axes[e].identity;
      std::unique_ptr<T[]> next(ends ? nullptr : new T[static_cast<size_t>(slices * size)]);
      T* const made = ends ? to : next.get();
      steps[k].run(at, slices * images.outer(k), a.from, images.inner(k), 0, a.to, 0, made);
      at = made;
      kept = std::move(next);
    }
    if (!first.identity)
      steps[0].run(at, 1, first.from, to_slice, begin, end, skip, to);
    else if (at != to)
      copy_run(reinterpret_cast<char*>(to), reinterpret_cast<const char*>(at),
               static_cast<size_t>((end - begin) * to_slice) * sizeof(T));
  });
}

template <class T>
struct Back {
  const Axis& axis;
  std::vector<int32_t> first, at;
  std::vector<T> share;

  explicit Back(const Axis& a) : axis(a), first(a.identity ? 1 : static_cast<size_t>(a.from) + 1) {
    const auto each = [&](auto f) {
      for (size_t j = 0; j < a.low.size(); ++j) {
        const T high = static_cast<T>(a.share[j]);
        f(static_cast<size_t>(a.low[j]), j, T(1) - high);
        if (high != 0) f(static_cast<size_t>(a.high[j]), j, high);
      }
    };
    each([&](size_t i, size_t, T) { ++first[i + 1]; });
    for (size_t i = 1; i < first.size(); ++i) first[i] += first[i - 1];
    std::vector<int32_t> next = first;
    at.resize(static_cast<size_t>(first.back()));
    share.resize(at.size());
    each([&](size_t i, size_t j, T s) {
      const auto k = static_cast<size_t>(next[i]++);
      at[k] = static_cast<int32_t>(j);
      share[k] = s;
    });
  }
  void run(const T* g, int64_t rows, int64_t inner, int64_t begin, int64_t end, T* dx) const {
    const ResizeBack<T> back = {end - begin, first.data() + begin, at.data(), share.data()};
    kernels<T>().backward(g, rows, axis.to, inner, back, dx);
  }
};

// The other way round: the first dimension comes first, for a band of its old slices.
template <class T>
void backward_run(const Images& images, const T* g, T* dx) {
  std::vector<Back<T>> steps;
  for (const Axis& a : images.axes) steps.emplace_back(a);
  const Axis& first = images.axes[0];
  const int64_t from_slice = images.slice(false), to_slice = images.slice(true);
  each_band(images, first.from, to_slice, [&](int64_t image, int64_t begin, int64_t end) {
    const T* at = g + (image * first.to + (first.identity ? begin : 0)) * to_slice;
    T* const to = dx + (image * first.from + begin) * from_slice;
    std::unique_ptr<T[]> kept;
    int64_t size = to_slice;
    for (size_t k = 0; k < images.axes.size(); ++k) {
      const Axis& a = images.axes[k];
      if (a.identity) continue;
      if (k > 0) size = size / a.to * a.from;
      bool ends = true;
      for (size_t e = k + 1; e < images.axes.size(); ++e) ends = ends && images.axes[e].identity;
      std::unique_ptr<T[]> next(ends ? nullptr : new T[static_cast<size_t>((end - begin) * size)]);
      T* const made = ends ? to : next.get();
      if (k == 0)
        steps[k].run(at, 1, to_slice, begin, end, made);
      else
        steps[k].run(at, (end - begin) * images.outer(k), images.inner(k), 0, a.from, made);
      at = made;
      kept = std::move(next);
    }
    if (at != to && !kept)
      copy_run(reinterpret_cast<char*>(to), reinterpret_cast<const char*>(at),
               static_cast<size_t>((end - begin) * from_slice) * sizeof(T));
  });
}

// The ops ----------------------------------------------------------------------------------------

bool in_channels_last(const Tensor& x) { return !x.is_contiguous() && is_channels_last(x); }
Tensor as_images(const Tensor& x) { return in_channels_last(x) ? x : ops::contiguous(x); }
OutputSpec laid_as(const Tensor& x, const Dims& shape) {
  OutputSpec spec{shape, x.dtype()};
  if (in_channels_last(x)) spec.strides = channels_last_strides(shape);
  return spec;
}

void infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  const int dims = x.dim() - 2;
  ANNX_CHECK(dims >= 1 && dims <= 3, value, "resize",
             "expected an input of 3 to 5 dimensions but got ", x.shape());
  const Ints& size = c.attr(kSize).ints();
  ANNX_CHECK(size.size() == dims, value, "resize", "expected ", dims, " sizes but got ", size);
  ANNX_CHECK(parse_mode(c.attr(kMode).text()) != Mode::linear || is_floating(x.dtype()), type,
             "resize", "expected a floating input for mode 'linear' but got dtype ", x.dtype());
  Dims shape{x.size(0), x.size(1)};
  for (int i = 0; i < dims; ++i) {
    const int64_t from = x.size(i + 2);
    constexpr int64_t kMost = (int64_t{1} << 31) - 1;
    ANNX_CHECK(size[i] >= 1 && size[i] < kMost && from >= 1 && from < kMost, value, "resize",
               "expected sizes of at least 1 but got ", size, " for shape ", x.shape());
    const double step = c.attr(kStep + i).f();
    ANNX_CHECK(step >= 0 && step <= 0x1p31, value, "resize",
               "expected steps between 0 and 2**31 but got ", step);
    shape.push_back(size[i]);
  }
  numel_of(shape, "resize");
  specs.push_back(laid_as(x, shape));
}

void kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  if (c.out().numel() == 0) return;
  const Tensor x = as_images(c.in(0));
  const Images images(x.shape(), in_channels_last(x), c.attrs);
  const void* from = x.raw();
  void* to = c.out().raw();
  const auto picked = [&](auto word) {
    using Word = decltype(word);
    forward_run<Pick<Word>>(images, static_cast<const Word*>(from), static_cast<Word*>(to));
  };
  if (images.linear) {
    if (x.dtype() == DType::f32)
      forward_run<Mix<float>>(images, x.data<float>(), c.out().data<float>());
    else
      forward_run<Mix<double>>(images, x.data<double>(), c.out().data<double>());
  } else if (itemsize(x.dtype()) == 8) {
    picked(uint64_t{});
  } else if (itemsize(x.dtype()) == 4) {
    picked(uint32_t{});
  } else {
    picked(uint8_t{});
  }
}

extern const OpDef backward_def;

Attrs attributes(const BackwardCall& b) {
  Attrs attrs;
  for (int i = 0; i < kAttributes; ++i) attrs.push_back(b.attr(i));
  return attrs;
}

void rule(BackwardCall& b) {
  Attrs attrs = attributes(b);
  attrs.push_back(Attr(b.input_shape(0)));
  b.set(0, call(backward_def, {b.grad()}, std::move(attrs)));
}

// Attributes: those of resize, then the shape of its input.
void backward_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back(laid_as(c.in(0), c.attr(kAttributes).dims()));
}

void backward_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  if (c.out().numel() == 0) return;
  const Tensor g = as_images(c.in(0));
  const Images images(c.out().shape(), in_channels_last(g), c.attrs);
  if (g.dtype() == DType::f32)
    backward_run(images, g.data<float>(), c.out().data<float>());
  else
    backward_run(images, g.data<double>(), c.out().data<double>());
}

void backward_rule(BackwardCall& b) { b.set(0, call(def::resize, {b.grad()}, attributes(b))); }

const OpDef backward_def = {.name = "resize_backward",
                            .signature = "",
                            .doc = "",
                            .infer = backward_infer,
                            .kernel = backward_kernel,
                            .backward = backward_rule,
                            .flags = kInternal};

}  // namespace

namespace def {

const OpDef resize = {
    .name = "resize",
    .signature =
        "resize(Tensor input, int[] size, str mode='nearest', bool align_corners=False, float "
        "step1=0.0, float step2=0.0, float step3=0.0) -> Tensor",
    .doc =
        "input (N, C, ...) in the spatial sizes size, by mode 'nearest', 'nearest-exact' or "
        "'linear' (in every dimension). A step is the distance in input of neighbours of the "
        "result, "
        "by default the ratio of the sizes. The result has the layout of input.",
    .infer = infer,
    .kernel = kernel,
    .backward = rule,
    .flags = kNoMethod};

}  // namespace def
}  // namespace annx
