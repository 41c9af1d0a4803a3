// Pooling over 1 to 3 dimensions. Inside everything is channels last. The gradient of each op is
// linear and an op itself: a maximum hands its gradient to the pixel it came from, an average to all.
#include <algorithm>
#include <cmath>

#include "core/thread_pool.h"
#include "ops/functional.h"
#include "ops/pool/kernels.h"
#include "ops/pool/windows.h"

namespace annx {
namespace {

using pool::Axis;
using pool::Windows;

template <class T>
const auto& kernels() {
  if constexpr (sizeof(T) == 4)
    return pool_kernels().f32;
  else
    return pool_kernels().f64;
}
template <class T>
using IndexOf = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;

DType index_dtype(DType t) { return t == DType::f32 ? DType::i32 : DType::i64; }

OutputSpec channels_last_spec(const Dims& shape, DType dtype) {
  numel_of(shape, "pool");
  OutputSpec spec{shape, dtype};
  spec.strides = channels_last_strides(shape);
  return spec;
}

// Calls f(row, image, d, h) for every row of pixels of the result: the windows' own (forward), or the
// source's, which read the windows around them (backward). `row` says what they read.
template <class F>
void each_row(const Windows& windows, int64_t images, int64_t channels, bool backward, F f) {
  const Axis &ad = windows.axis[0], &ah = windows.axis[1], &aw = windows.axis[2];
  const int64_t depth = backward ? ad.source : ad.dest, height = backward ? ah.source : ah.dest;
  const int64_t width = backward ? aw.source : aw.dest;
  std::vector<int64_t> around;  // windows around a pixel of a row
  for (int64_t w = 0; backward && w < width; ++w)
    around.push_back(aw.last[static_cast<size_t>(w)] - aw.first[static_cast<size_t>(w)]);
  PoolRow whole = {};
  whole.pixels = width;
  whole.channels = channels;
  whole.begin = backward ? aw.first.data() : aw.begin.data();
  whole.count = backward ? around.data() : aw.count.data();
  whole.step = backward ? 1 : aw.step;
  const int64_t work = std::max<int64_t>(1, width * channels * 4);
  parallel_for(images * depth * height, std::max<int64_t>(1, (1 << 16) / work),
               [&](int64_t begin, int64_t end) {
                 PoolRow row = whole;
                 std::vector<int64_t> lines;
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t h = i % height, d = i / height % depth;
                   const auto id = static_cast<size_t>(d), ih = static_cast<size_t>(h);
                   lines.clear();
                   if (backward) {
                     for (int64_t q = ad.first[id]; q < ad.last[id]; ++q)
                       for (int64_t r = ah.first[ih]; r < ah.last[ih]; ++r)
                         lines.push_back((q * ah.dest + r) * aw.dest);
                   } else {
                     for (int64_t q = 0; q < ad.count[id]; ++q)
                       for (int64_t r = 0; r < ah.count[ih]; ++r)
                         lines.push_back(((ad.begin[id] + q * ad.step) * ah.source + ah.begin[ih] +
                                          r * ah.step) *
                                         aw.source);
                   }
                   row.lines = static_cast<int64_t>(lines.size());
                   row.line = lines.data();
                   f(row, i / height / depth, d, h);
                 }
               });
}

// What every window's average divides by.
template <class T>
std::vector<T> divisors_of(const Windows& windows) {
  const Axis* a = windows.axis;
  std::vector<T> divisors;
  for (int64_t d = 0; d < a[0].dest; ++d)
    for (int64_t h = 0; h < a[1].dest; ++h)
      for (int64_t w = 0; w < a[2].dest; ++w)
        divisors.push_back(static_cast<T>(windows.divisor_of(d, h, w)));
  return divisors;
}

template <class F>
void by_dtype(DType dtype, F f) {
  if (dtype == DType::f32)
    f(float{});
  else
    f(double{});
}

Cost pool_cost(const OpCall& c) {
  double bytes = 0;
  for (const Tensor& t : c.inputs) bytes += static_cast<double>(t.nbytes());
  for (const Tensor& t : c.outputs) bytes += static_cast<double>(t.nbytes());
  return {static_cast<double>(std::max(c.in(0).numel(), c.out(0).numel())), bytes};
}

// maximum -------------------------------------------------------------------------------------

// Attributes: the windows', then whether the indices are wanted. Outputs: y, indices (else empty).
void max_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  const Dims shape = Windows(x.shape(), c.attrs, "max_pool").dest_shape(x.shape());
  specs.push_back(channels_last_spec(shape, x.dtype()));
  if (c.attr(pool::kWindowAttrs).b())
    specs.push_back(channels_last_spec(shape, index_dtype(x.dtype())));
  else
    specs.push_back({{0}, index_dtype(x.dtype())});
}

template <class T>
void max_run(const OpCall& c) {
  const Tensor x = ops::channels_last(c.in(0));
  const Windows windows(x.shape(), c.attrs, "max_pool");
  const int64_t channels = x.size(1);
  const Axis* a = windows.axis;
  T* y = c.out(0).data<T>();
  IndexOf<T>* index = c.attr(pool::kWindowAttrs).b() ? c.out(1).data<IndexOf<T>>() : nullptr;
  each_row(windows, x.size(0), channels, false,
           [&](const PoolRow& row, int64_t n, int64_t d, int64_t h) {
             const int64_t to = ((n * a[0].dest + d) * a[1].dest + h) * a[2].dest * channels;
             // Dilated windows of a small input may miss it.
             kernels<T>().max(row, x.data<T>() + n * windows.source_size() * channels,
                              static_cast<T>(-INFINITY), y + to, index ? index + to : nullptr);
           });
}

void max_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  if (c.out().numel() == 0) return;
  by_dtype(c.out().dtype(), [&](auto t) { max_run<decltype(t)>(c); });
}

// Inputs: g, indices. Attributes: the windows', then the spatial shape of x.
Dims source_shape(const OpCall& c) {
  Dims shape{c.in(0).size(0), c.in(0).size(1)};
  for (int64_t s : c.attr(pool::kWindowAttrs).ints()) shape.push_back(s);
  return shape;
}

void backward_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back(channels_last_spec(source_shape(c), c.in(0).dtype()));
}

template <class T>
void max_backward_run(const OpCall& c) {
  const Tensor g = ops::channels_last(c.in(0)), index = ops::channels_last(c.in(1));
  const Windows windows(source_shape(c), c.attrs, "max_pool");
  const int64_t channels = g.size(1);
  const Axis* a = windows.axis;
  each_row(windows, g.size(0), channels, true,
           [&](const PoolRow& row, int64_t n, int64_t d, int64_t h) {
             const int64_t pixel = (d * a[1].source + h) * a[2].source;
             const int64_t from = n * windows.dest_size() * channels;
             kernels<T>().max_backward(
                 row, g.data<T>() + from, index.data<IndexOf<T>>() + from, pixel,
                 c.out().data<T>() + (n * windows.source_size() + pixel) * channels);
           });
}

void max_backward_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  if (c.out().numel() == 0) return;
  by_dtype(c.out().dtype(), [&](auto t) { max_backward_run<decltype(t)>(c); });
}

// Inputs: u of x's shape, indices. y = u at the indices.
void pick_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back(channels_last_spec(c.in(1).shape(), c.in(0).dtype()));
}

template <class T>
void pick_run(const OpCall& c) {
  const Tensor u = ops::channels_last(c.in(0)), index = ops::channels_last(c.in(1));
  const int64_t channels = u.size(1), images = u.size(0);
  const int64_t source = u.numel() / images, dest = index.numel() / images;
  for (int64_t n = 0; n < images; ++n)
    for (int64_t i = 0; i < dest; ++i) {
      const auto pixel = static_cast<int64_t>(index.data<IndexOf<T>>()[n * dest + i]);
      const int64_t from = n * source + pixel * channels + i % channels;
      c.out().data<T>()[n * dest + i] = pixel < 0 ? T(0) : u.data<T>()[from];
    }
}

void pick_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  if (c.out().numel() == 0) return;
  by_dtype(c.out().dtype(), [&](auto t) { pick_run<decltype(t)>(c); });
}

extern const OpDef max_backward_def;

// The windows' attributes, then the spatial sizes of shape.
Attrs with_source(const BackwardCall& b, const Dims& shape) {
  Attrs attrs;
  for (int i = 0; i < pool::kWindowAttrs; ++i) attrs.push_back(b.attr(i));
  Ints sizes;
  for (int i = 2; i < shape.size(); ++i) sizes.push_back(shape[i]);
  attrs.push_back(Attr(sizes));
  return attrs;
}

void max_rule(BackwardCall& b) {
  if (!b.grad(0).defined()) return;
  b.set(0, call(max_backward_def, {b.grad(0), b.output(1)}, with_source(b, b.input_shape(0))));
}

extern const OpDef pick_def;

void pick_rule(BackwardCall& b) {
  b.set(0, call(max_backward_def, {b.grad(0), b.input(1)}, with_source(b, b.input_shape(0))));
}

void max_backward_rule(BackwardCall& b) {
  Attrs attrs;
  for (int i = 0; i < pool::kWindowAttrs; ++i) attrs.push_back(b.attr(i));
  b.set(0, call(pick_def, {b.grad(0), b.input(1)}, attrs));
}

const OpDef max_def = {.name = "max_pool_forward",
                       .signature = "",
                       .doc = "",
                       .infer = max_infer,
                       .kernel = max_kernel,
                       .backward = max_rule,
                       .cost = pool_cost,
                       .saves = save_output(1),
                       .flags = kInternal};
const OpDef max_backward_def = {.name = "max_pool_backward",
                                .signature = "",
                                .doc = "",
                                .infer = backward_infer,
                                .kernel = max_backward_kernel,
                                .backward = max_backward_rule,
                                .cost = pool_cost,
                                .saves = save_input(1),
                                .flags = kInternal};
const OpDef pick_def = {.name = "max_pool_pick",
                        .signature = "",
                        .doc = "",
                        .infer = pick_infer,
                        .kernel = pick_kernel,
                        .backward = pick_rule,
                        .cost = pool_cost,
                        .saves = save_input(1),
                        .flags = kInternal};

// average -------------------------------------------------------------------------------------

void average_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  const Dims shape = Windows(x.shape(), c.attrs, "avg_pool").dest_shape(x.shape());
  specs.push_back(channels_last_spec(shape, x.dtype()));
}

template <class T>
void average_run(const OpCall& c) {
  const Tensor x = ops::channels_last(c.in(0));
  const Windows windows(x.shape(), c.attrs, "avg_pool");
  const int64_t channels = x.size(1);
  const Axis* a = windows.axis;
  const std::vector<T> divisors = divisors_of<T>(windows);
  each_row(windows, x.size(0), channels, false,
           [&](const PoolRow& row, int64_t n, int64_t d, int64_t h) {
             const int64_t window = (d * a[1].dest + h) * a[2].dest;
             kernels<T>().average(
                 row, x.data<T>() + n * windows.source_size() * channels, divisors.data() + window,
                 c.out().data<T>() + (n * windows.dest_size() + window) * channels);
           });
}

void average_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  if (c.out().numel() == 0) return;
  by_dtype(c.out().dtype(), [&](auto t) { average_run<decltype(t)>(c); });
}

template <class T>
void average_backward_run(const OpCall& c) {
  const Tensor g = ops::channels_last(c.in(0));
  const Windows windows(source_shape(c), c.attrs, "avg_pool");
  const int64_t channels = g.size(1);
  const Axis* a = windows.axis;
  const std::vector<T> divisors = divisors_of<T>(windows);
  each_row(windows, g.size(0), channels, true,
           [&](const PoolRow& row, int64_t n, int64_t d, int64_t h) {
             const int64_t pixel = (d * a[1].source + h) * a[2].source;
             kernels<T>().average_backward(
                 row, g.data<T>() + n * windows.dest_size() * channels, divisors.data(),
                 c.out().data<T>() + (n * windows.source_size() + pixel) * channels);
           });
}

void average_backward_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  if (c.out().numel() == 0) return;
  by_dtype(c.out().dtype(), [&](auto t) { average_backward_run<decltype(t)>(c); });
}

extern const OpDef average_def;
extern const OpDef average_backward_def;

void average_rule(BackwardCall& b) {
  b.set(0, call(average_backward_def, {b.grad(0)}, with_source(b, b.input_shape(0))));
}
void average_backward_rule(BackwardCall& b) {
  Attrs attrs;
  for (int i = 0; i < pool::kWindowAttrs; ++i) attrs.push_back(b.attr(i));
  b.set(0, call(average_def, {b.grad(0)}, attrs));
}

const OpDef average_def = {.name = "avg_pool_forward",
                           .signature = "",
                           .doc = "",
                           .infer = average_infer,
                           .kernel = average_kernel,
                           .backward = average_rule,
                           .cost = pool_cost,
                           .flags = kInternal};
const OpDef average_backward_def = {.name = "avg_pool_backward",
                                    .signature = "",
                                    .doc = "",
                                    .infer = backward_infer,
                                    .kernel = average_backward_kernel,
                                    .backward = average_backward_rule,
                                    .cost = pool_cost,
                                    .flags = kInternal};

// The public ops ------------------------------------------------------------------------------

void check(const OpCall& c) {
  ANNX_CHECK(is_floating(c.in(0).dtype()), type, c.name(),
             "expected a floating input but got dtype ", c.in(0).dtype());
}

TensorList run_max(const OpCall& c, Attrs attrs, bool indices) {
  check(c);
  const bool wanted = indices || (grad_enabled() && c.in(0).requires_grad());
  attrs.push_back(Attr(wanted));
  TensorList out = call_all(max_def, {c.in(0)}, std::move(attrs));
  if (!indices) return {out[0]};
  return {out[0], ops::cast(out[1], DType::i64)};
}

Attrs sliding(const OpCall& c) {
  return {Attr(false), c.attr(0), c.attr(1), c.attr(2), c.attr(3), c.attr(4), Attr(true), Attr()};
}
Attrs adaptive(const OpCall& c) {
  const Attr one(Ints{1});
  return {Attr(true), c.attr(0), one, one, one, Attr(false), Attr(true), Attr()};
}

TensorList max_pool(const OpCall& c) { return run_max(c, sliding(c), false); }
TensorList max_pool_with_indices(const OpCall& c) { return run_max(c, sliding(c), true); }
TensorList adaptive_max_pool(const OpCall& c) { return run_max(c, adaptive(c), false); }
TensorList adaptive_max_pool_with_indices(const OpCall& c) { return run_max(c, adaptive(c), true); }
// Whether every spatial dimension of x becomes one pixel as `says` tells of one dimension.
template <class F>
bool one_pixel(const Tensor& x, F says) {
  if (x.dim() < 3 || x.dim() > 5 || x.numel() == 0) return false;
  for (int i = 2; i < x.dim(); ++i)
    if (!says(i - 2, x.size(i))) return false;
  return true;
}
int64_t number_at(const Ints& values, int i, int dims) {
  return values.size() == 1 ? values[0] : values.size() == dims ? values[i] : -1;
}
// The average of a window that is all there is.
Tensor whole_average(const Tensor& x) {
  Dims spatial;
  for (int i = 2; i < x.dim(); ++i) spatial.push_back(i);
  return ops::mean(x, spatial, true);
}

TensorList adaptive_avg_pool(const OpCall& c) {
  check(c);
  const Tensor& x = c.in(0);
  const int dims = x.dim() - 2;
  if (one_pixel(x, [&](int i, int64_t) { return number_at(c.attr(0).ints(), i, dims) == 1; }))
    return {whole_average(x)};
  return call_all(average_def, {c.in(0)}, adaptive(c));
}
TensorList avg_pool(const OpCall& c) {
  check(c);
  const Tensor& x = c.in(0);
  const int dims = x.dim() - 2;
  const Ints &kernel = c.attr(0).ints(), &padding = c.attr(2).ints();
  const bool plain = c.attr(1).ints().empty() && c.attr(5).is_none();
  if (plain && one_pixel(x, [&](int i, int64_t size) {
        return number_at(kernel, i, dims) == size && number_at(padding, i, dims) == 0;
      }))
    return {whole_average(x)};
  return call_all(average_def, {c.in(0)},
                  {Attr(false), c.attr(0), c.attr(1), c.attr(2), Attr(Ints{1}), c.attr(3),
                   c.attr(4), c.attr(5)});
}

// Inputs: indices (N, C, pixels); attribute: the number of places. The same, int64, within them.
void places_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(0).shape(), DType::i64});
}

void places_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor index = ops::contiguous(ops::cast(c.in(0), DType::i64));
  const int64_t places = c.attr(0).i(), n = index.numel();
  const int64_t* from = index.data<int64_t>();
  int64_t* to = c.out().data<int64_t>();
  for (int64_t i = 0; i < n; ++i) {
    ANNX_CHECK(from[i] >= 0 && from[i] < places, index, "max_unpool",
               "expected indices of at least 0 and below ", places, " but got ", from[i]);
    to[i] = from[i];
  }
}

const OpDef places_def = {.name = "max_unpool_places",
                          .signature = "",
                          .doc = "",
                          .infer = places_infer,
                          .kernel = places_kernel,
                          .flags = kInternal};

TensorList max_unpool(const OpCall& c) {
  const Tensor &x = c.in(0), &index = c.in(1);
  check(c);
  ANNX_CHECK(x.dim() >= 3 && x.dim() <= 5, value, "max_unpool",
             "expected an input of shape (N, C, ...) with 1 to 3 spatial dimensions but got ",
             x.shape());
  ANNX_CHECK(is_integral(index.dtype()) && index.dtype() != DType::b8, type, "max_unpool",
             "expected integer indices but got dtype ", index.dtype());
  ANNX_CHECK(index.shape() == x.shape(), value, "max_unpool", "expected indices of shape ",
             x.shape(), " but got ", index.shape());
  const int dims = x.dim() - 2;
  const Ints& sizes = c.attr(0).ints();
  ANNX_CHECK(sizes.size() == 1 || sizes.size() == dims, value, "max_unpool", "expected 1 or ", dims,
             " numbers for output_size but got ", sizes);
  Dims shape{x.size(0), x.size(1)};
  for (int i = 0; i < dims; ++i) {
    const int64_t size = sizes[sizes.size() == 1 ? 0 : i];
    ANNX_CHECK(size >= 0, value, "max_unpool", "expected output_size of at least 0 but got ",
               sizes);
    shape.push_back(size);
  }
  numel_of(shape, "max_unpool");
  Dims to{x.size(0), x.size(1), 1}, from = to;
  for (int i = 2; i < x.dim(); ++i) {
    to[2] *= shape[i];
    from[2] *= x.size(i);
  }
  const Tensor places = call(places_def, {ops::reshape(index, from)}, {Attr(to[2])});
  const Tensor y =
      call(def::scatter, {ops::zeros(to, x.dtype()), places, ops::reshape(x, from)}, {Attr(2)});
  return {ops::reshape(y, shape)};
}

}  // namespace

namespace def {

#define ANNX_MAX_POOL_PARAMETERS                                                                \
  "(Tensor input, int[] kernel_size, int[] stride=(), int[] padding=0, int[] dilation=1, bool " \
  "ceil_mode=False)"

const OpDef max_pool = {
    .name = "max_pool",
    .signature = "max_pool" ANNX_MAX_POOL_PARAMETERS " -> Tensor",
    .doc =
        "The largest value of each window of input (N, C, ...); NaN is the largest. stride () is "
        "the kernel size. The result is channels last in memory.",
    .composite = annx::max_pool,
    .flags = kNoMethod};
const OpDef max_pool_with_indices = {
    .name = "max_pool_with_indices",
    .signature = "max_pool_with_indices" ANNX_MAX_POOL_PARAMETERS " -> (Tensor, Tensor)",
    .doc = "As max_pool, and where in the spatial dimensions, flattened, each value came from.",
    .composite = annx::max_pool_with_indices,
    .flags = kNoMethod};
const OpDef max_unpool = {
    .name = "max_unpool",
    .signature = "max_unpool(Tensor input, Tensor indices, int[] output_size) -> Tensor",
    .doc =
        "Zeros of spatial sizes output_size with each value of input (N, C, ...) where indices of "
        "the same shape, as max_pool_with_indices gives them, put it in the flattened spatial "
        "dimensions. Where several go to one place the last one stays.",
    .composite = annx::max_unpool,
    .flags = kNoMethod};
const OpDef avg_pool = {
    .name = "avg_pool",
    .signature =
        "avg_pool(Tensor input, int[] kernel_size, int[] stride=(), int[] padding=0, bool "
        "ceil_mode=False, bool count_include_pad=True, int? divisor_override=None) -> Tensor",
    .doc =
        "The average of each window of input (N, C, ...), zeros of the padding included or not. "
        "stride () is the kernel size. The result is channels last in memory.",
    .composite = annx::avg_pool,
    .flags = kNoMethod};
const OpDef adaptive_max_pool = {
    .name = "adaptive_max_pool",
    .signature = "adaptive_max_pool(Tensor input, int[] output_size) -> Tensor",
    .doc = "The largest value of each of output_size windows that share out input (N, C, ...).",
    .composite = annx::adaptive_max_pool,
    .flags = kNoMethod};
const OpDef adaptive_max_pool_with_indices = {
    .name = "adaptive_max_pool_with_indices",
    .signature =
        "adaptive_max_pool_with_indices(Tensor input, int[] output_size) -> (Tensor, Tensor)",
    .doc =
        "As adaptive_max_pool, and where in the spatial dimensions, flattened, each value came "
        "from.",
    .composite = annx::adaptive_max_pool_with_indices,
    .flags = kNoMethod};
const OpDef adaptive_avg_pool = {
    .name = "adaptive_avg_pool",
    .signature = "adaptive_avg_pool(Tensor input, int[] output_size) -> Tensor",
    .doc = "The average of each of output_size windows that share out input (N, C, ...).",
    .composite = annx::adaptive_avg_pool,
    .flags = kNoMethod};

}  // namespace def
}  // namespace annx
