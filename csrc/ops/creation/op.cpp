// Tensors made from nothing: full, arange, eye.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/fill.h"
#include "cuda/backend.h"
#include "ops/device.h"
#include "ops/functional.h"

namespace annx {
namespace {

DType dtype_or(const Attr& a, DType fallback) { return a.is_none() ? fallback : a.dtype(); }

Cost fill_cost(const OpCall& c) { return {0, static_cast<double>(c.out().nbytes())}; }

void full_infer(const OpCall& c, OutputSpecs& specs) {
  const Dims shape(c.attr(0).ints());
  numel_of(shape, "full");
  specs.push_back({shape, dtype_or(c.attr(2), DType::f32)});
  specs.back().device = device_from_attr(c.attr(3), "full");
}

void fill(void* out, DType dtype, int64_t n, double value) {
  alignas(8) char one[8];
  store_scalar(one, dtype, value);
  fill_elements(out, one, itemsize(dtype), n);
}

void full_kernel(const OpCall& c) {
  const Tensor& out = c.out();
  if (out.device().is_cpu()) return fill(out.raw(), out.dtype(), out.numel(), c.attr(1).f());
  uint64_t bits = 0;
  store_scalar(&bits, out.dtype(), c.attr(1).f());
  const auto count = static_cast<size_t>(out.numel());
  cuda::check(cuda::api("full", out.device())
                  .fill(out.device().index, out.device_raw(), bits, itemsize(out.dtype()), count),
              "full");
}

void arange_infer(const OpCall& c, OutputSpecs& specs) {
  const double start = c.attr(0).f(), end = c.attr(1).f(), step = c.attr(2).f();
  ANNX_CHECK(step != 0 && std::isfinite(start) && std::isfinite(end) && std::isfinite(step), value,
             "arange", "expected finite bounds and a non-zero step but got ", start, ", ", end,
             ", ", step);
  const double count = std::ceil((end - start) / step);
  ANNX_CHECK(count < 1e15, value, "arange", "expected fewer than 10**15 elements but got ", count);
  specs.push_back({{count > 0 ? static_cast<int64_t>(count) : 0}, dtype_or(c.attr(3), DType::f32)});
}

// Whole numbers that double counts exactly need no rounding on the way.
template <class T>
void count_up(T* out, int64_t n, int64_t start, int64_t step) {
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(start + i * step);
}

// start + i step in double. Numbers of a block count in int32, which vectors convert.
template <class T>
void ramp(T* out, int64_t n, double start, double step) {
  constexpr int64_t kBlock = 4096;
  for (int64_t at = 0; at < n; at += kBlock) {
    const auto count = static_cast<int32_t>(std::min(kBlock, n - at));
    const auto first = static_cast<double>(at);
    T* o = out + at;
    for (int32_t k = 0; k < count; ++k)
      o[k] = static_cast<T>(start + (first + static_cast<double>(k)) * step);
  }
}

bool counts_exactly(double start, double step, int64_t n) {
  constexpr double kExact = 0x1p53;
  const double last = start + static_cast<double>(n) * step;
  return std::trunc(start) == start && std::trunc(step) == step && std::fabs(start) < kExact &&
         std::fabs(step) < kExact && std::fabs(last) < kExact;
}

void arange_kernel(const OpCall& c) {
  const Tensor& out = c.out();
  char* o = static_cast<char*>(out.raw());
  const size_t size = itemsize(out.dtype());
  const double start = c.attr(0).f(), step = c.attr(2).f();
  if (counts_exactly(start, step, out.numel())) {
    const auto first = static_cast<int64_t>(start), by = static_cast<int64_t>(step);
    if (out.dtype() == DType::f32) return count_up(out.data<float>(), out.numel(), first, by);
    if (out.dtype() == DType::i64) return count_up(out.data<int64_t>(), out.numel(), first, by);
  }
  if (out.dtype() == DType::f32) return ramp(out.data<float>(), out.numel(), start, step);
  if (out.dtype() == DType::f64) return ramp(out.data<double>(), out.numel(), start, step);
  for (int64_t i = 0; i < out.numel(); ++i)
    store_scalar(o + static_cast<size_t>(i) * size, out.dtype(),
                 start + static_cast<double>(i) * step);
}

void linspace_infer(const OpCall& c, OutputSpecs& specs) {
  const int64_t steps = c.attr(2).i();
  ANNX_CHECK(steps >= 0, value, "linspace", "expected steps >= 0 but got ", steps);
  numel_of({steps}, "linspace");
  specs.push_back({{steps}, dtype_or(c.attr(3), DType::f32)});
}

template <class T>
void linspace_run(T* out, int64_t n, double start, double end) {
  ramp(out, n, start, n > 1 ? (end - start) / static_cast<double>(n - 1) : 0);
  if (n > 1) out[n - 1] = static_cast<T>(end);
}

void linspace_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor& out = c.out();
  const double start = c.attr(0).f(), end = c.attr(1).f();
  if (out.dtype() == DType::f32) return linspace_run(out.data<float>(), out.numel(), start, end);
  if (out.dtype() == DType::f64) return linspace_run(out.data<double>(), out.numel(), start, end);
  const Tensor wide = Tensor::empty(out.shape(), DType::f64);
  linspace_run(wide.data<double>(), out.numel(), start, end);
  if (out.numel() > 0) std::memcpy(out.raw(), ops::cast(wide, out.dtype()).raw(), out.nbytes());
}

void eye_infer(const OpCall& c, OutputSpecs& specs) {
  const int64_t n = c.attr(0).i(), m = c.attr(1).is_none() ? n : c.attr(1).i();
  const Dims shape{n, m};
  numel_of(shape, "eye");
  specs.push_back({shape, dtype_or(c.attr(2), DType::f32)});
}

void eye_kernel(const OpCall& c) {
  const Tensor& out = c.out();
  fill(out.raw(), out.dtype(), out.numel(), 0);
  for (int64_t i = 0; i < std::min(out.size(0), out.size(1)); ++i)
    store_scalar(static_cast<char*>(out.raw()) +
                     static_cast<size_t>(i * out.size(1) + i) * itemsize(out.dtype()),
                 out.dtype(), 1.0);
}

}  // namespace

namespace def {

const OpDef full = {.name = "full",
                    .signature =
                        "full(int[] size, float fill_value, *, dtype? dtype=None, str? "
                        "device=None) -> Tensor",
                    .doc = "A tensor of shape size filled with fill_value (float32 by default).",
                    .infer = full_infer,
                    .kernel = full_kernel,
                    .cost = fill_cost,
                    .flags = kNoMethod | kAnyDevice};
const OpDef arange = {.name = "arange",
                      .signature =
                          "arange(float start, float end, float step=1.0, *, dtype? "
                          "dtype=None) -> Tensor",
                      .doc = "start, start + step, ... up to but not including end.",
                      .infer = arange_infer,
                      .kernel = arange_kernel,
                      .flags = kNoMethod};
const OpDef linspace = {.name = "linspace",
                        .signature =
                            "linspace(float start, float end, int steps, *, dtype? dtype=None) -> "
                            "Tensor",
                        .doc = "steps numbers from start to end, both included, equally spaced.",
                        .infer = linspace_infer,
                        .kernel = linspace_kernel,
                        .cost = fill_cost,
                        .flags = kNoMethod};
const OpDef eye = {.name = "eye",
                   .signature = "eye(int n, int? m=None, *, dtype? dtype=None) -> Tensor",
                   .doc = "An (n, m) matrix with ones on the diagonal; m defaults to n.",
                   .infer = eye_infer,
                   .kernel = eye_kernel,
                   .cost = fill_cost,
                   .flags = kNoMethod};

}  // namespace def
}  // namespace annx
