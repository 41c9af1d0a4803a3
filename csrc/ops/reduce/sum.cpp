// Sums and what is made of them: sum, mean, count_nonzero, all, any.
#include <algorithm>
#include <cstring>

#include "core/layout.h"
#include "ops/reduce/float_ops.h"
#include "ops/reduce/plain.h"

namespace annx {
namespace {

using namespace reduce;

// The dtype that sums of in are given in.
DType sum_dtype(DType in, const Attr& dtype) {
  if (!dtype.is_none()) return dtype.dtype();
  return is_integral(in) ? DType::i64 : in;
}

// The dtype in which they are computed.
DType accumulation_dtype(DType out) {
  if (is_integral(out)) return DType::i64;
  return is_half(out) ? DType::f32 : out;
}

// Copies result into the output, converting where the dtypes differ.
void deliver(const Tensor& result, const Tensor& out) {
  GradModeGuard no_grad(false);
  const Tensor converted = ops::cast(result, out.dtype());
  if (out.numel() > 0) std::memcpy(out.raw(), converted.raw(), out.nbytes());
}

void sum_integers(const Tensor& x, const Dims& axes, int64_t* out) {
  const PlainOp<PlainSum, int64_t> op;
  switch (x.dtype()) {
    case DType::i64:
      return reduce_axes(x.data<int64_t>(), x.shape(), axes, out, op);
    case DType::i32:
      return reduce_axes(x.data<int32_t>(), x.shape(), axes, out, op);
    default:
      return reduce_axes(x.data<uint8_t>(), x.shape(), axes, out, op);
  }
}

// Whether the pixels of a channels-last image are summed, and perhaps the images, but no channels.
bool pixels_summed(const Tensor& x, const Dims& axes) {
  if (x.dim() < 3 || x.is_contiguous() || axes.contains(1) || !is_channels_last(x)) return false;
  int64_t pixels = 1;
  for (int i = 2; i < x.dim(); ++i) {
    if (!axes.contains(i)) return false;
    pixels *= x.size(i);
  }
  return x.numel() > 0 && pixels <= 2 * kPiece;
}

// The sums that row-major memory would give, to the bit, without a copy: a channel's pixels are its row.
template <class T>
void sum_pixels(const Tensor& x, const Dims& axes, double divisor, const Tensor& out) {
  const int64_t images = x.size(0), channels = x.size(1);
  const int64_t pixels = x.numel() / images / channels;
  const bool last = images == 1 || !axes.contains(0);
  const Tensor buffer = last ? out : scratch<T>(images * channels);
  const T* from = x.data<T>();
  T* to = buffer.template data<T>();
  const int64_t blocks = (channels + kAcross - 1) / kAcross;
  const int64_t work = pixels * std::min(channels, kAcross);
  parallel_for(images * blocks, std::max<int64_t>(1, kGrain / work),
               [&](int64_t begin, int64_t end) {
                 for (int64_t u = begin; u < end; ++u) {
                   const int64_t i = u / blocks, c = u % blocks * kAcross;
                   kernels<T>().sum_rows_across(from + i * pixels * channels + c, pixels,
                                                std::min(kAcross, channels - c), channels,
                                                last ? divisor : 1, to + i * channels + c);
                 }
               });
  if (!last) run_span(to, {1, images, channels}, out.data<T>(), SumOp<T>{divisor});
}

// sum(x) / divisor in the dtype of out: float32, float64 or int64.
void sum_into(const Tensor& input, const Dims& axes, double divisor, const Tensor& out) {
  if (out.numel() == 0) return;
  const DType dtype = out.dtype();
  const bool keep = dtype == DType::i64 && is_integral(input.dtype());
  if (dtype != DType::i64 && input.dtype() == dtype && pixels_summed(input, axes)) {
    if (dtype == DType::f32) return sum_pixels<float>(input, axes, divisor, out);
    return sum_pixels<double>(input, axes, divisor, out);
  }
  if (keep) {
    const auto [x, moved] = prepare_unordered(input, axes, input.dtype());
    if (x.numel() > 0) return sum_integers(x, moved, out.data<int64_t>());
  }
  const Tensor x = prepare(input, dtype);
  if (x.numel() == 0) {
    for (int64_t i = 0; i < out.numel(); ++i)
      store_scalar(static_cast<char*>(out.raw()) + i * static_cast<int64_t>(itemsize(dtype)), dtype,
                   0 / divisor);
  } else if (dtype == DType::i64) {
    sum_integers(x, axes, out.data<int64_t>());
  } else if (dtype == DType::f32) {
    reduce_axes(x.data<float>(), x.shape(), axes, out.data<float>(), SumOp<float>{divisor});
  } else {
    reduce_axes(x.data<double>(), x.shape(), axes, out.data<double>(), SumOp<double>{divisor});
  }
}

void sum_or_mean(const OpCall& c, bool mean) {
  const Tensor& x = c.in(0);
  const Dims axes = axes_of(c.attr(0), x.dim(), c.name());
  const double divisor = mean ? static_cast<double>(count_along(x.shape(), axes)) : 1.0;
  const DType dtype = accumulation_dtype(c.out().dtype());
  if (dtype == c.out().dtype()) return sum_into(x, axes, divisor, c.out());
  const Tensor result = Tensor::empty(c.out().shape(), dtype);
  sum_into(x, axes, divisor, result);
  deliver(result, c.out());
}

void sum_infer(const OpCall& c, OutputSpecs& specs) {
  infer_reduced(c, specs, sum_dtype(c.in(0).dtype(), c.attr(2)));
}
void sum_kernel(const OpCall& c) { sum_or_mean(c, false); }

void sum_rule(BackwardCall& b) {
  const Dims& shape = b.input_shape(0);
  const Tensor g = keep_axes(b.grad(), shape, axes_of(b.attr(0), shape.size(), "sum"));
  b.set(0, ops::expand(ops::cast(g, b.input_dtype(0)), shape));
}

void mean_infer(const OpCall& c, OutputSpecs& specs) {
  const DType dtype = c.attr(2).is_none() ? c.in(0).dtype() : c.attr(2).dtype();
  ANNX_CHECK(is_floating(dtype), type, "mean",
             "expected a floating-point input or dtype but got dtype ", dtype);
  infer_reduced(c, specs, dtype);
}
void mean_kernel(const OpCall& c) { sum_or_mean(c, true); }

void mean_rule(BackwardCall& b) {
  const Dims& shape = b.input_shape(0);
  const Dims axes = axes_of(b.attr(0), shape.size(), "mean");
  const auto count = static_cast<double>(count_along(shape, axes));
  const Tensor g = ops::cast(keep_axes(b.grad(), shape, axes), b.input_dtype(0));
  b.set(0, ops::expand(ops::div(g, ops::number(count)), shape));
}

TensorList count_nonzero(const OpCall& c) {
  return {ops::sum(ops::cast(c.in(0), DType::b8), Dims(axes_of(c.attr(0), c.in(0).dim(), c.name())),
                   c.attr(1).b())};
}

// all and any -----------------------------------------------------------------------------------

void truth_infer(const OpCall& c, OutputSpecs& specs) { infer_reduced(c, specs, DType::b8); }

// Whether a byte is not 0, eight at a time.
bool any_byte(const uint8_t* x, int64_t n) {
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    uint64_t words[8], seen = 0;
    std::memcpy(words, x + i, sizeof words);
    for (uint64_t w : words) seen |= w;
    if (seen) return true;
  }
  for (; i < n; ++i)
    if (x[i]) return true;
  return false;
}

// Rows end at the first element that decides.
template <class F>
struct TruthOp : PlainOp<F, uint8_t> {
  void rows(const uint8_t* x, int64_t, int64_t rows, int64_t n, uint8_t* out, bool) const {
    constexpr bool is_any = F::template identity<uint8_t> == 0;
    for (int64_t r = 0; r < rows; ++r, x += n)
      out[r] = is_any ? any_byte(x, n) : !std::memchr(x, 0, static_cast<size_t>(n));
  }
  const TruthOp& merge() const { return *this; }
};

template <class F>
void truth_kernel(const OpCall& c) {
  if (c.out().numel() == 0) return;
  const Dims given = axes_of(c.attr(0), c.in(0).dim(), c.name());
  const auto [x, axes] = prepare_unordered(c.in(0), given, DType::b8);
  auto* out = c.out().data<uint8_t>();
  if (x.numel() == 0) {
    std::fill_n(out, c.out().numel(), uint8_t{F::template identity<uint8_t> != 0});
    return;
  }
  const TruthOp<F> op;
  reduce_axes(x.data<uint8_t>(), x.shape(), axes, out, op);
}

}  // namespace

namespace def {

const OpDef sum = {.name = "sum",
                   .signature =
                       "sum(Tensor input, int[]? dim=None, bool keepdim=False, *, dtype? "
                       "dtype=None) -> Tensor",
                   .doc =
                       "Sum over the axes dim (all of them by default). Integers and bools are "
                       "summed as int64; float32 partials are added in float64.",
                   .infer = sum_infer,
                   .kernel = sum_kernel,
                   .backward = sum_rule,
                   .cost = reduction_cost,
                   .flags = kHalfNative};

const OpDef mean = {.name = "mean",
                    .signature =
                        "mean(Tensor input, int[]? dim=None, bool keepdim=False, *, "
                        "dtype? dtype=None) -> Tensor",
                    .doc =
                        "Mean over the axes dim (all of them by default); NaN where there is no "
                        "element. Integers need a floating-point dtype.",
                    .infer = mean_infer,
                    .kernel = mean_kernel,
                    .backward = mean_rule,
                    .cost = reduction_cost,
                    .flags = kHalfNative};

const OpDef count_nonzero = {
    .name = "count_nonzero",
    .signature = "count_nonzero(Tensor input, int[]? dim=None, bool keepdim=False) -> Tensor",
    .doc = "Number of elements that are not zero, as int64.",
    .composite = annx::count_nonzero};

const OpDef all = {.name = "all",
                   .signature = "all(Tensor input, int[]? dim=None, bool keepdim=False) -> Tensor",
                   .doc = "True where every element along dim is non-zero; True for none at all.",
                   .infer = truth_infer,
                   .kernel = truth_kernel<PlainMin>,
                   .cost = reduction_cost};

const OpDef any = {.name = "any",
                   .signature = "any(Tensor input, int[]? dim=None, bool keepdim=False) -> Tensor",
                   .doc = "True where some element along dim is non-zero; False for none at all.",
                   .infer = truth_infer,
                   .kernel = truth_kernel<PlainMax>,
                   .cost = reduction_cost};

}  // namespace def
}  // namespace annx
