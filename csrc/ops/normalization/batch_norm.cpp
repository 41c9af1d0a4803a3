// Batch normalisation (Ioffe and Szegedy, 2015).
#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/normalization/support.h"

namespace annx {
namespace {

using namespace normalization;
using reduce::kGrain;
using reduce::SumOp;

const Dims kBatchAxes{0, 2};

// Input of shape (N, C, ...) as (N, C, L).
struct Layout {
  int64_t batch, channels, length = 1;
  explicit Layout(const Dims& shape) : batch(shape[0]), channels(shape[1]) {
    for (int i = 2; i < shape.size(); ++i) length *= shape[i];
  }
  int64_t count() const { return batch * length; }  // values per channel
  int64_t runs() const { return batch * channels; }
  Dims shape() const { return {batch, channels, length}; }
};

// Sum over a channel of (x - mean)**2; rows are runs of one channel, columns are channels.
template <class T>
struct ChannelDeviationOp {
  const T* mean;
  int64_t channels;
  double divisor;
  void rows(const T* x, int64_t at, int64_t rows, int64_t n, T* out, bool last) const {
    for (int64_t r = 0; r < rows;) {
      const int64_t c = (at + r) % channels, count = std::min(rows - r, channels - c);
      reduce::kernels<T>().deviation_rows(x + r * n, count, n, mean + c, last ? divisor : 1,
                                          out + r);
      r += count;
    }
  }
  void cols(const T* x, int64_t at, int64_t rows, int64_t width, int64_t stride, T* out,
            bool last) const {
    reduce::kernels<T>().deviation_cols(x, rows, width, stride, mean + at, last ? divisor : 1, out);
  }
  SumOp<T> merge() const { return {divisor}; }
};

// Sum over a channel of g * (x - mean).
template <class T>
struct ChannelDotOp {
  const T *g, *x, *mean;
  int64_t channels;
  void rows(const T* p, int64_t at, int64_t rows, int64_t n, T* out, bool) const {
    kernels<T>().dot_runs(g + (p - x), p, at, rows, n, channels, mean, 1, out);
  }
  void cols(const T* p, int64_t at, int64_t rows, int64_t width, int64_t stride, T* out,
            bool) const {
    kernels<T>().dot_columns(g + (p - x), p, rows, width, stride, mean + at, 1, out);
  }
  SumOp<T> merge() const { return {1}; }
};

// Calls columns(first row, rows) or runs(first run, runs) for parts of the input.
template <class Columns, class Runs>
void each_part(const Layout& s, Columns columns, Runs runs) {
  const bool flat = s.length == 1;
  const int64_t units = flat ? s.batch : s.runs();
  const int64_t grain = std::max<int64_t>(1, kGrain / 2 / (flat ? s.channels : s.length));
  parallel_for(units, grain, [&](int64_t begin, int64_t end) {
    if (flat)
      columns(begin, end - begin);
    else
      runs(begin, end - begin);
  });
}

template <class T>
T rstd_of(T variance, double eps) {
  return static_cast<T>(1 / std::sqrt(static_cast<double>(variance) + eps));
}

// running = (1 - momentum) * running + momentum * fresh
template <class T>
void blend(const Tensor& running, const T* fresh, int64_t n, double momentum, double factor) {
  if (!running.defined()) return;
  T* r = running.data<T>();
  for (int64_t i = 0; i < n; ++i)
    r[i] = static_cast<T>((1 - momentum) * static_cast<double>(r[i]) +
                          momentum * (static_cast<double>(fresh[i]) * factor));
  running.storage()->bump_version();
}

// Inputs: x, running_mean?, running_var?, weight?, bias?. Attributes: training, momentum, eps.
// Outputs: y, mean and 1 / sqrt(variance + eps) of every channel.
void forward_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  specs.push_back({x.shape(), x.dtype()});
  specs.push_back({{x.size(1)}, x.dtype()});
  specs.push_back({{x.size(1)}, x.dtype()});
}

template <class T>
void statistics(const OpCall& c, const Tensor& x, const Layout& s, T* mean, T* rstd) {
  const double eps = c.attr(2).f();
  if (!c.attr(0).b()) {
    const Tensor running_mean = prepared(c, 1), running_var = prepared(c, 2);
    std::copy_n(running_mean.data<T>(), s.channels, mean);
    for (int64_t i = 0; i < s.channels; ++i) rstd[i] = rstd_of(running_var.data<T>()[i], eps);
    return;
  }
  const auto count = static_cast<double>(s.count());
  const T* in = x.data<T>();
  reduce::reduce_axes(in, s.shape(), kBatchAxes, mean, SumOp<T>{count});
  reduce::reduce_axes(in, s.shape(), kBatchAxes, rstd,
                      ChannelDeviationOp<T>{mean, s.channels, count});
  const double momentum = c.attr(1).f();
  blend(c.in(1), mean, s.channels, momentum, 1.0);
  blend(c.in(2), rstd, s.channels, momentum, count / (count - 1));
  for (int64_t i = 0; i < s.channels; ++i) rstd[i] = rstd_of(rstd[i], eps);
}

template <class T>
void forward(const OpCall& c) {
  const Tensor x = prepared(c, 0), weight = prepared(c, 3), bias = prepared(c, 4);
  const Layout s(x.shape());
  T *mean = c.out(1).data<T>(), *rstd = c.out(2).data<T>();
  statistics(c, x, s, mean, rstd);
  if (x.numel() == 0) return;
  const Tensor buffer = reduce::scratch<T>(2 * s.channels);
  T *scale = buffer.data<T>(), *shift = scale + s.channels;
  const T *w = data_or_null<T>(weight), *b = data_or_null<T>(bias);
  for (int64_t i = 0; i < s.channels; ++i) {
    scale[i] = w ? w[i] * rstd[i] : rstd[i];
    shift[i] = b ? b[i] : T{0};
  }
  const T* in = x.data<T>();
  T* y = c.out(0).data<T>();
  const NormalizationTable<T>& k = kernels<T>();
  each_part(
      s,
      [&](int64_t at, int64_t rows) {
        const int64_t offset = at * s.channels;
        k.affine_columns(in + offset, rows, s.channels, mean, scale, shift, y + offset);
      },
      [&](int64_t at, int64_t runs) {
        const int64_t offset = at * s.length;
        k.affine_runs(in + offset, at, runs, s.length, s.channels, mean, scale, shift, y + offset);
      });
}

void forward_kernel(const OpCall& c) {
  if (c.in(0).dtype() == DType::f32)
    forward<float>(c);
  else
    forward<double>(c);
}

Cost batch_norm_cost(const OpCall& c) {
  const auto n = static_cast<double>(c.in(0).numel());
  return {8 * n, 3 * n * static_cast<double>(itemsize(c.in(0).dtype()))};
}

// Inputs: g, x, weight?, mean, rstd. Attribute: training. Outputs: dx, dweight, dbias.
void backward_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(1);
  specs.push_back({x.shape(), x.dtype()});
  specs.push_back({{x.size(1)}, x.dtype()});
  specs.push_back({{x.size(1)}, x.dtype()});
}

// With h = (x - mean) * rstd, n values per channel and w = 1 where there is no weight:
//   dweight = sum(g * h), dbias = sum(g), dx = w * rstd * (g - dbias / n - h * dweight / n);
// with running statistics dx = w * rstd * g.
template <class T>
void backward(const OpCall& c) {
  const Tensor g = prepared(c, 0), x = prepared(c, 1), weight = prepared(c, 2);
  const Layout s(x.shape());
  const T *gp = g.data<T>(), *xp = x.data<T>(), *w = data_or_null<T>(weight);
  const T *mean = c.in(3).data<T>(), *rstd = c.in(4).data<T>();
  T *dx = c.out(0).data<T>(), *dw = c.out(1).data<T>(), *db = c.out(2).data<T>();
  if (x.numel() == 0) {
    std::fill_n(dw, s.channels, T{0});
    std::fill_n(db, s.channels, T{0});
    return;
  }
  reduce::reduce_axes(gp, s.shape(), kBatchAxes, db, SumOp<T>{1});
  reduce::reduce_axes(xp, s.shape(), kBatchAxes, dw, ChannelDotOp<T>{gp, xp, mean, s.channels});
  const Tensor buffer = reduce::scratch<T>(3 * s.channels);
  T *scale = buffer.data<T>(), *offset = scale + s.channels, *slope = offset + s.channels;
  const T per_value = c.attr(0).b() ? static_cast<T>(1 / static_cast<double>(s.count())) : T{0};
  for (int64_t i = 0; i < s.channels; ++i) {
    dw[i] *= rstd[i];
    scale[i] = w ? w[i] * rstd[i] : rstd[i];
    offset[i] = scale[i] * (db[i] * per_value);
    slope[i] = scale[i] * rstd[i] * (dw[i] * per_value);
  }
  const NormalizationTable<T>& k = kernels<T>();
  each_part(
      s,
      [&](int64_t at, int64_t rows) {
        const int64_t o = at * s.channels;
        k.gradient_columns(gp + o, xp + o, rows, s.channels, mean, scale, offset, slope, dx + o);
      },
      [&](int64_t at, int64_t runs) {
        const int64_t o = at * s.length;
        k.gradient_runs(gp + o, xp + o, at, runs, s.length, s.channels, mean, scale, offset, slope,
                        dx + o);
      });
}

void backward_kernel(const OpCall& c) {
  if (c.in(1).dtype() == DType::f32)
    backward<float>(c);
  else
    backward<double>(c);
}

const OpDef backward_def = {.name = "batch_norm_backward",
                            .signature = "",
                            .doc = "",
                            .infer = backward_infer,
                            .kernel = backward_kernel,
                            .cost = batch_norm_cost,
                            .flags = kInternal};

// The same gradients as formulas on the tape.
void differentiable_rule(BackwardCall& b, const Tensor& weight) {
  const Tensor &g = b.grad(), x = b.input(0);
  Dims axes, per_channel(x.dim(), 1);
  for (int i = 0; i < x.dim(); ++i)
    if (i != 1) axes.push_back(i);
  per_channel[1] = x.size(1);
  const bool training = b.attr(0).b();
  Tensor mean = ops::reshape(b.output(1), per_channel);
  Tensor rstd = ops::reshape(b.output(2), per_channel);
  if (training) {
    mean = ops::mean(x, axes, true);
    const Tensor variance = ops::mean(ops::square(ops::sub(x, mean)), axes, true);
    rstd = ops::rsqrt(ops::add(variance, ops::number(b.attr(2).f())));
  }
  const Tensor h = ops::mul(ops::sub(x, mean), rstd);
  if (b.needs(0)) {
    Tensor d = g;
    if (training) {
      const Tensor along = ops::mul(h, ops::mean(ops::mul(g, h), axes, true));
      d = ops::sub(ops::sub(g, ops::mean(g, axes, true)), along);
    }
    d = ops::mul(d, rstd);
    b.set(0, weight.defined() ? ops::mul(d, ops::reshape(weight, per_channel)) : d);
  }
  if (b.needs(3)) b.set(3, ops::sum(ops::mul(g, h), axes));
  if (b.needs(4)) b.set(4, ops::sum(g, axes));
}

void forward_rule(BackwardCall& b) {
  if (!b.grad(0).defined()) return;
  const Tensor weight = b.input(3);
  if (grad_enabled()) return differentiable_rule(b, weight);
  const TensorList grads = call_all(
      backward_def, {b.grad(0), b.input(0), weight, b.output(1), b.output(2)}, {b.attr(0)});
  if (b.needs(0)) b.set(0, grads[0]);
  if (b.needs(3)) b.set(3, grads[1]);
  if (b.needs(4)) b.set(4, grads[2]);
}

const OpDef forward_def = {.name = "batch_norm_forward",
                           .signature = "",
                           .doc = "",
                           .infer = forward_infer,
                           .kernel = forward_kernel,
                           .backward = forward_rule,
                           .cost = batch_norm_cost,
                           .saves = save_input(0) | save_input(3) | save_output(1) | save_output(2),
                           .flags = kInternal | kMutates};

// Tensors in the dtype that is computed in: halves become float32.
Tensor as_float(const Tensor& t) {
  return t.defined() && is_half(t.dtype()) ? ops::cast(t, DType::f32) : t;
}

// Running statistics may have another floating dtype; store_running writes them back.
Tensor open_running(const Tensor& t, DType dtype, bool training) {
  if (!t.defined()) return t;
  ANNX_CHECK(!training || t.is_contiguous(), value, "batch_norm",
             "expected contiguous running statistics but got strides ", t.strides());
  GradModeGuard no_grad(false);
  return is_floating(t.dtype()) ? ops::cast(t, dtype) : t;
}

void store_running(const Tensor& opened, const Tensor& t) {
  if (!t.defined() || opened.is_same(t)) return;
  GradModeGuard no_grad(false);
  std::memcpy(t.raw(), ops::cast(opened, t.dtype()).raw(), t.nbytes());
  t.storage()->bump_version();
}

void check(const OpCall& c, bool training) {
  const Tensor& x = c.in(0);
  check_floating(c, "batch_norm");
  ANNX_CHECK(x.dim() >= 2, value, "batch_norm", "expected an input of shape (N, C, ...) but got ",
             x.shape());
  const Dims channels{x.size(1)};
  check_parameter(c, 1, "batch_norm", "running_mean", channels);
  check_parameter(c, 2, "batch_norm", "running_var", channels);
  check_parameter(c, 3, "batch_norm", "weight", channels);
  check_parameter(c, 4, "batch_norm", "bias", channels);
  if (training) {
    ANNX_CHECK(Layout(x.shape()).count() > 1, value, "batch_norm",
               "expected more than 1 value per channel when training but got input of shape ",
               x.shape());
  } else {
    ANNX_CHECK(c.has(1) && c.has(2), value, "batch_norm",
               "expected running_mean and running_var when training=False but got None");
  }
}

TensorList batch_norm(const OpCall& c) {
  const bool training = c.attr(0).b();
  OpCall f;
  f.op = &forward_def;
  f.attrs = c.attrs;
  const Tensor x = as_float(c.in(0));
  f.inputs = {x, open_running(c.in(1), x.dtype(), training),
              open_running(c.in(2), x.dtype(), training), as_float(c.in(3)), as_float(c.in(4))};
  check(f, training);
  run(f);
  if (training) {
    store_running(f.in(1), c.in(1));
    store_running(f.in(2), c.in(2));
  }
  return {ops::cast(f.out(0), c.in(0).dtype())};
}

}  // namespace

namespace def {

const OpDef batch_norm = {
    .name = "batch_norm",
    .signature =
        "batch_norm(Tensor input, Tensor? running_mean, Tensor? running_var, Tensor? "
        "weight=None, Tensor? bias=None, bool training=False, float momentum=0.1, float "
        "eps=1e-05) -> Tensor",
    .doc =
        "(input - mean) / sqrt(variance + eps) * weight + bias per channel of input (N, C, ...)."
        " Training: mean and (biased) variance of the batch, and the running statistics are "
        "updated in place, running = (1 - momentum) * running + momentum * batch, with the "
        "unbiased variance. Otherwise the running statistics are used. Ioffe and Szegedy, 2015.",
    .composite = annx::batch_norm,
    .flags = kNoMethod | kMutates | kHalfNative};

}  // namespace def
}  // namespace annx
