// Batch normalisation (Ioffe and Szegedy, 2015).
#include <algorithm>

#include "ops/normalization/support.h"

namespace annx {
namespace {

using namespace normalization;
using reduce::kGrain;
using reduce::SumOp;

// Reduces to one value per channel.
template <class T, class Op>
void reduce_batch(const T* x, const Layout& s, T* out, const Op& op) {
  if (s.rows) {
    reduce::reduce_axes(x, {s.count(), s.channels}, {0}, out, op);
  } else {
    reduce::reduce_axes(x, {s.batch, s.channels, s.length}, {0, 2}, out, op);
  }
}

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

// Calls columns(first row, rows) or runs(first run, runs) for parts of the input.
template <class Columns, class Runs>
void each_part(const Layout& s, Columns columns, Runs runs) {
  const int64_t units = s.rows ? s.count() : s.runs();
  const int64_t grain = std::max<int64_t>(1, kGrain / 2 / (s.rows ? s.channels : s.length));
  parallel_for(units, grain, [&](int64_t begin, int64_t end) {
    if (s.rows)
      columns(begin, end - begin);
    else
      runs(begin, end - begin);
  });
}

// Inputs: x, running_mean?, running_var?, weight?, bias?. Attributes: training, momentum, eps, an
// activation of y?.
// Outputs: y, mean and 1 / sqrt(variance + eps) of every channel.
void forward_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  specs.push_back(spec_like(x));
  specs.push_back({{x.size(1)}, x.dtype()});
  specs.push_back({{x.size(1)}, x.dtype()});
}

// y = (x - mean) * scale + shift.
template <class T>
struct Affine {
  std::vector<T> mean, rstd, scale, shift;
};

template <class T>
void scale_and_shift(const OpCall& c, int64_t channels, const T* rstd, T* scale, T* shift) {
  const Tensor weight = prepared(c, 3), bias = prepared(c, 4);
  const T *w = data_or_null<T>(weight), *b = data_or_null<T>(bias);
  for (int64_t i = 0; i < channels; ++i) {
    scale[i] = w ? w[i] * rstd[i] : rstd[i];
    shift[i] = b ? b[i] : T{0};
  }
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
  reduce_batch(in, s, mean, SumOp<T>{count});
  reduce_batch(in, s, rstd, ChannelDeviationOp<T>{mean, s.channels, count});
  const double momentum = c.attr(1).f();
  blend(c.in(1), mean, s.channels, momentum, 1.0);
  blend(c.in(2), rstd, s.channels, momentum, count / (count - 1));
  for (int64_t i = 0; i < s.channels; ++i) rstd[i] = rstd_of(rstd[i], eps);
}

template <class T>
void forward(const OpCall& c) {
  const Tensor x = prepared_like(c, 0, c.in(0));
  const Layout s(x);
  T *mean = c.out(1).data<T>(), *rstd = c.out(2).data<T>();
  const auto* known = static_cast<const Affine<T>*>(c.prepared);
  if (known) {
    std::copy_n(known->mean.data(), s.channels, mean);
    std::copy_n(known->rstd.data(), s.channels, rstd);
  } else {
    statistics(c, x, s, mean, rstd);
  }
  if (x.numel() == 0) return;
  const Tensor buffer = known ? Tensor() : reduce::scratch<T>(2 * s.channels);
  if (!known) scale_and_shift(c, s.channels, rstd, buffer.data<T>(), buffer.data<T>() + s.channels);
  const T* scale = known ? known->scale.data() : buffer.data<T>();
  const T* shift = known ? known->shift.data() : scale + s.channels;
  const T* in = x.data<T>();
  T* y = c.out(0).data<T>();
  const NormalizationTable<T>& k = kernels<T>();
  const Activation activation = joined_activation(c, 3, "batch_norm");
  each_part(
      s,
      [&](int64_t at, int64_t rows) {
        const int64_t offset = at * s.channels;
        k.affine_columns(in + offset, rows, s.channels, mean, scale, shift, y + offset);
        activate(activation, y + offset, rows * s.channels);
      },
      [&](int64_t at, int64_t runs) {
        const int64_t offset = at * s.length;
        k.affine_runs(in + offset, at, runs, s.length, s.channels, mean, scale, shift, y + offset);
        activate(activation, y + offset, runs * s.length);
      });
}

void forward_kernel(const OpCall& c) {
  if (c.in(0).dtype() == DType::f32)
    forward<float>(c);
  else
    forward<double>(c);
}

// In evaluation all but x stays the same.
template <class T>
std::shared_ptr<const void> prepare_as(const OpCall& c) {
  const auto channels = static_cast<size_t>(c.in(0).size(1));
  auto a = std::make_shared<Affine<T>>();
  for (std::vector<T>* v : {&a->mean, &a->rstd, &a->scale, &a->shift}) v->resize(channels);
  statistics(c, c.in(0), Layout(c.in(0)), a->mean.data(), a->rstd.data());
  scale_and_shift(c, c.in(0).size(1), a->rstd.data(), a->scale.data(), a->shift.data());
  return a;
}

std::shared_ptr<const void> forward_prepare(const OpCall& c, uint32_t constant) {
  if (c.attr(0).b()) return nullptr;
  for (int i = 1; i < 5; ++i)
    if (c.has(i) && !(constant >> i & 1)) return nullptr;
  return c.in(0).dtype() == DType::f32 ? prepare_as<float>(c) : prepare_as<double>(c);
}

Cost batch_norm_cost(const OpCall& c) {
  const auto n = static_cast<double>(c.in(0).numel());
  return {8 * n, 3 * n * static_cast<double>(itemsize(c.in(0).dtype()))};
}

// Inputs: g, x, weight?, mean, rstd. Attribute: training. Outputs: dx, dweight, dbias.
void backward_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(1);
  specs.push_back(spec_like(x));
  specs.push_back({{x.size(1)}, x.dtype()});
  specs.push_back({{x.size(1)}, x.dtype()});
}

// With h = (x - mean) * rstd, n values per channel and w = 1 where there is no weight:
//   dweight = sum(g * h), dbias = sum(g), dx = w * rstd * (g - dbias / n - h * dweight / n);
// with running statistics dx = w * rstd * g.
template <class T>
void backward(const OpCall& c) {
  const Tensor g = prepared_like(c, 0, c.in(1)), x = prepared_like(c, 1, c.in(1));
  const Tensor weight = prepared(c, 2);
  const Layout s(x);
  const T *gp = g.data<T>(), *xp = x.data<T>(), *w = data_or_null<T>(weight);
  const T *mean = c.in(3).data<T>(), *rstd = c.in(4).data<T>();
  T *dx = c.out(0).data<T>(), *dw = c.out(1).data<T>(), *db = c.out(2).data<T>();
  if (x.numel() == 0) {
    std::fill_n(dw, s.channels, T{0});
    std::fill_n(db, s.channels, T{0});
    return;
  }
  reduce_batch(gp, s, db, SumOp<T>{1});
  reduce_batch(xp, s, dw, ChannelDotOp<T>{gp, xp, mean, s.channels});
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
                           .flags = kInternal | kMutates,
                           .prepare = forward_prepare};

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
    ANNX_CHECK(Layout(x).count() > 1, value, "batch_norm",
               "expected more than 1 value per channel when training but got input of shape ",
               x.shape(),
               ": a last batch of one sample needs another batch_size, or to be left out");
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
  const bool moves = training && !recomputing();
  Tensor mean, var;
  if (moves || !training) {
    mean = open_running(c.in(1), x.dtype(), training, "batch_norm");
    var = open_running(c.in(2), x.dtype(), training, "batch_norm");
  }
  f.inputs = {x, mean, var, as_float(c.in(3)), as_float(c.in(4))};
  check(f, training);
  run(f);
  if (moves) {
    store_running(mean, c.in(1));
    store_running(var, c.in(2));
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
