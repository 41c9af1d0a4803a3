// Group normalisation (Wu and He, 2018) and instance normalisation (Ulyanov et al., 2016), which is
// one group per channel. A sample is worked on at once, so that its passes read from the cache.
#include <algorithm>

#include "ops/normalization/support.h"

namespace annx {
namespace {

using namespace normalization;
using reduce::kGrain;
using reduce::SumOp;

// The sizes of one sample of s.
template <class T>
struct Sample {
  const Layout& s;
  int64_t groups;
  int64_t size() const { return s.channels * s.length; }
  int64_t per_group() const { return s.channels / groups; }
  double count() const { return static_cast<double>(per_group() * s.length); }

  // One value per channel.
  template <class Op>
  void reduce_channels(const T* x, T* out, const Op& op) const {
    if (s.rows) {
      reduce::reduce_axes(x, {s.length, s.channels}, {0}, out, op);
    } else {
      reduce::reduce_axes(x, {s.channels, s.length}, {1}, out, op);
    }
  }
  // The sum of a group's channels; `weights` may be null.
  double group_sum(const T* values, const T* weights, int64_t group) const {
    double total = 0;
    for (int64_t c = group * per_group(); c < (group + 1) * per_group(); ++c)
      total += static_cast<double>(values[c]) * (weights ? static_cast<double>(weights[c]) : 1.0);
    return total;
  }
  // Calls columns(first row, rows) or runs(first channel, channels) for parts of a sample.
  template <class Columns, class Runs>
  void each_part(Columns columns, Runs runs) const {
    const int64_t grain = std::max<int64_t>(1, kGrain / 2 / (s.rows ? s.channels : s.length));
    parallel_for(s.rows ? s.length : s.channels, grain, [&](int64_t begin, int64_t end) {
      if (s.rows)
        columns(begin, end - begin);
      else
        runs(begin, end - begin);
    });
  }
};

// Calls f(first, last) for parts of the batch.
template <class F>
void each_sample(const Layout& s, F f) {
  const int64_t size = std::max<int64_t>(s.channels * s.length, 1);
  parallel_for(s.batch, std::max<int64_t>(1, kGrain / 2 / size), f);
}

// Inputs: x, weight?, bias?, running_mean?, running_var?. Attributes: groups, eps, momentum, an
// activation of y?.
// Outputs: y, mean and 1 / sqrt(variance + eps) of every group.
void forward_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  specs.push_back(spec_like(x));
  specs.push_back({{x.size(0), c.attr(0).i()}, x.dtype()});
  specs.push_back({{x.size(0), c.attr(0).i()}, x.dtype()});
}

template <class T>
void forward_sample(const Sample<T>& sample, const T* x, const T* w, const T* b, double eps,
                    Activation activation, T* y, T* mean, T* rstd, T* variance, T* buffer) {
  const Layout& s = sample.s;
  T *means = buffer, *scale = means + s.channels, *shift = scale + s.channels;
  sample.reduce_channels(x, scale, SumOp<T>{1});
  for (int64_t g = 0; g < sample.groups; ++g) {
    mean[g] = static_cast<T>(sample.group_sum(scale, nullptr, g) / sample.count());
    std::fill_n(means + g * sample.per_group(), sample.per_group(), mean[g]);
  }
  sample.reduce_channels(x, shift, reduce::DeviationOp<T>{means, 1});
  for (int64_t g = 0; g < sample.groups; ++g) {
    variance[g] = static_cast<T>(sample.group_sum(shift, nullptr, g) / sample.count());
    rstd[g] = rstd_of(variance[g], eps);
  }
  for (int64_t i = 0; i < s.channels; ++i) {
    const T r = rstd[i / sample.per_group()];
    scale[i] = w ? w[i] * r : r;
    shift[i] = b ? b[i] : T{0};
  }
  const NormalizationTable<T>& k = kernels<T>();
  sample.each_part(
      [&](int64_t at, int64_t rows) {
        const int64_t o = at * s.channels;
        k.affine_columns(x + o, rows, s.channels, means, scale, shift, y + o);
        activate(activation, y + o, rows * s.channels);
      },
      [&](int64_t at, int64_t runs) {
        const int64_t o = at * s.length;
        k.affine_runs(x + o, at, runs, s.length, s.channels, means, scale, shift, y + o);
        activate(activation, y + o, runs * s.length);
      });
}

template <class T>
void forward(const OpCall& c) {
  const Tensor x = prepared_like(c, 0, c.in(0)), weight = prepared(c, 1), bias = prepared(c, 2);
  const Layout s(x);
  const Sample<T> sample{s, c.attr(0).i()};
  if (x.numel() == 0) return;
  const double eps = c.attr(1).f(), momentum = c.attr(2).f();
  const Activation activation = joined_activation(c, 3, "group_norm");
  const Tensor variances = reduce::scratch<T>(s.batch * sample.groups);
  T *mean = c.out(1).data<T>(), *rstd = c.out(2).data<T>(), *variance = variances.data<T>();
  const T *in = x.data<T>(), *w = data_or_null<T>(weight), *b = data_or_null<T>(bias);
  T* y = c.out(0).data<T>();
  each_sample(s, [&](int64_t begin, int64_t end) {
    const Tensor buffer = reduce::scratch<T>(3 * s.channels);
    for (int64_t n = begin; n < end; ++n) {
      const int64_t at = n * sample.size(), g = n * sample.groups;
      forward_sample(sample, in + at, w, b, eps, activation, y + at, mean + g, rstd + g,
                     variance + g, buffer.data<T>());
    }
  });
  if (!c.has(3)) return;
  // Instances: the running statistics follow the batch's averages.
  const Tensor averages = reduce::scratch<T>(s.channels);
  const auto average = [&](const T* values) {
    reduce::reduce_axes(values, {s.batch, s.channels}, {0}, averages.data<T>(),
                        SumOp<T>{static_cast<double>(s.batch)});
    return averages.data<T>();
  };
  const auto length = static_cast<double>(s.length);
  blend(c.in(3), average(mean), s.channels, momentum, 1.0);
  blend(c.in(4), average(variance), s.channels, momentum, length / (length - 1));
}

void forward_kernel(const OpCall& c) {
  if (c.in(0).dtype() == DType::f32)
    forward<float>(c);
  else
    forward<double>(c);
}

Cost group_norm_cost(const OpCall& c) {
  const auto n = static_cast<double>(c.in(0).numel());
  return {8 * n, 2 * n * static_cast<double>(itemsize(c.in(0).dtype()))};
}

// Inputs: g, x, weight?, mean, rstd. Attribute: groups. Outputs: dx, dweight, dbias.
void backward_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(1);
  specs.push_back(spec_like(x));
  specs.push_back({{x.size(1)}, x.dtype()});
  specs.push_back({{x.size(1)}, x.dtype()});
}

// With h = (x - mean) * rstd, n values per group and gw = g * weight:
//   dweight = sum(g * h), dbias = sum(g), dx = rstd * (gw - sum(gw) / n - h * sum(gw * h) / n).
template <class T>
void backward_sample(const Sample<T>& sample, const T* g, const T* x, const T* w, const T* mean,
                     const T* rstd, T* dx, T* dw, T* db, T* buffer) {
  const Layout& s = sample.s;
  T *means = buffer, *scale = means + s.channels, *offset = scale + s.channels;
  T* slope = offset + s.channels;
  for (int64_t k = 0; k < sample.groups; ++k)
    std::fill_n(means + k * sample.per_group(), sample.per_group(), mean[k]);
  sample.reduce_channels(g, db, SumOp<T>{1});
  sample.reduce_channels(x, dw, ChannelDotOp<T>{g, x, means, s.channels});
  for (int64_t k = 0; k < sample.groups; ++k) {
    const auto r = static_cast<double>(rstd[k]);
    const double along_one = r * sample.group_sum(db, w, k) / sample.count();
    const double along_x = r * r * r * sample.group_sum(dw, w, k) / sample.count();
    for (int64_t i = k * sample.per_group(); i < (k + 1) * sample.per_group(); ++i) {
      scale[i] = w ? w[i] * rstd[k] : rstd[k];
      offset[i] = static_cast<T>(along_one);
      slope[i] = static_cast<T>(along_x);
      dw[i] *= rstd[k];
    }
  }
  const NormalizationTable<T>& k = kernels<T>();
  sample.each_part(
      [&](int64_t at, int64_t rows) {
        const int64_t o = at * s.channels;
        k.gradient_columns(g + o, x + o, rows, s.channels, means, scale, offset, slope, dx + o);
      },
      [&](int64_t at, int64_t runs) {
        const int64_t o = at * s.length;
        k.gradient_runs(g + o, x + o, at, runs, s.length, s.channels, means, scale, offset, slope,
                        dx + o);
      });
}

template <class T>
void backward(const OpCall& c) {
  const Tensor g = prepared_like(c, 0, c.in(1)), x = prepared_like(c, 1, c.in(1));
  const Tensor weight = prepared(c, 2), mean = prepared(c, 3), rstd = prepared(c, 4);
  const Layout s(x);
  const Sample<T> sample{s, c.attr(0).i()};
  T *dx = c.out(0).data<T>(), *dw = c.out(1).data<T>(), *db = c.out(2).data<T>();
  if (x.numel() == 0) {
    std::fill_n(dw, s.channels, T{0});
    std::fill_n(db, s.channels, T{0});
    return;
  }
  const T *gp = g.data<T>(), *xp = x.data<T>(), *w = data_or_null<T>(weight);
  const T *mp = mean.data<T>(), *rp = rstd.data<T>();
  const Tensor weights = reduce::scratch<T>(s.runs()), biases = reduce::scratch<T>(s.runs());
  each_sample(s, [&](int64_t begin, int64_t end) {
    const Tensor buffer = reduce::scratch<T>(4 * s.channels);
    for (int64_t n = begin; n < end; ++n) {
      const int64_t at = n * sample.size(), k = n * sample.groups, i = n * s.channels;
      backward_sample(sample, gp + at, xp + at, w, mp + k, rp + k, dx + at, weights.data<T>() + i,
                      biases.data<T>() + i, buffer.data<T>());
    }
  });
  reduce::reduce_axes(weights.data<T>(), {s.batch, s.channels}, {0}, dw, SumOp<T>{1});
  reduce::reduce_axes(biases.data<T>(), {s.batch, s.channels}, {0}, db, SumOp<T>{1});
}

void backward_kernel(const OpCall& c) {
  if (c.in(1).dtype() == DType::f32)
    backward<float>(c);
  else
    backward<double>(c);
}

const OpDef backward_def = {.name = "group_norm_backward",
                            .signature = "",
                            .doc = "",
                            .infer = backward_infer,
                            .kernel = backward_kernel,
                            .cost = group_norm_cost,
                            .flags = kInternal};

// The same gradients as formulas on the tape.
void differentiable_rule(BackwardCall& b, const Tensor& weight) {
  const Tensor &g = b.grad(0), input = b.input(0);
  const int64_t groups = b.attr(0).i();
  const Layout s(input);
  const Dims grouped{s.batch, groups, s.channels / groups * s.length}, axis{2};
  Dims per_channel(input.dim(), 1), others;
  per_channel[1] = input.size(1);
  for (int i = 0; i < input.dim(); ++i)
    if (i != 1) others.push_back(i);
  const Tensor x = ops::reshape(input, grouped);
  const Tensor distance = x - ops::mean(x, axis, true);
  const Tensor variance = ops::mean(ops::square(distance), axis, true);
  const Tensor rstd = ops::rsqrt(variance + ops::number(b.attr(1).f()));
  const Tensor h = distance * rstd;
  if (b.needs(0)) {
    const Tensor gw =
        ops::reshape(weight.defined() ? g * ops::reshape(weight, per_channel) : g, grouped);
    const Tensor along = h * ops::mean(gw * h, axis, true);
    b.set(0, ops::reshape(rstd * (gw - ops::mean(gw, axis, true) - along), input.shape()));
  }
  if (b.needs(1)) b.set(1, ops::sum(g * ops::reshape(h, input.shape()), others));
  if (b.needs(2)) b.set(2, ops::sum(g, others));
}

void forward_rule(BackwardCall& b) {
  if (!b.grad(0).defined()) return;
  const Tensor weight = b.input(1);
  if (grad_enabled()) return differentiable_rule(b, weight);
  const TensorList grads = call_all(
      backward_def, {b.grad(0), b.input(0), weight, b.output(1), b.output(2)}, {b.attr(0)});
  for (int i = 0; i < 3; ++i)
    if (b.needs(i)) b.set(i, grads[i]);
}

const OpDef group_def = {.name = "group_norm_forward",
                         .signature = "",
                         .doc = "",
                         .infer = forward_infer,
                         .kernel = forward_kernel,
                         .backward = forward_rule,
                         .cost = group_norm_cost,
                         .saves = save_input(0) | save_input(1) | save_output(1) | save_output(2),
                         .flags = kInternal};

const OpDef instance_def = {
    .name = "instance_norm_forward",
    .signature = "",
    .doc = "",
    .infer = forward_infer,
    .kernel = forward_kernel,
    .backward = forward_rule,
    .cost = group_norm_cost,
    .saves = save_input(0) | save_input(1) | save_output(1) | save_output(2),
    .flags = kInternal | kMutates};

void check_channels(const OpCall& c, const char* op) {
  check_floating(c, op);
  ANNX_CHECK(c.in(0).dim() >= 2, value, op, "expected an input of shape (N, C, ...) but got ",
             c.in(0).shape());
}

TensorList group_norm(const OpCall& c) {
  const Tensor& x = c.in(0);
  check_channels(c, "group_norm");
  const int64_t groups = c.attr(0).i(), channels = x.size(1);
  ANNX_CHECK(groups > 0 && channels % groups == 0, value, "group_norm",
             "expected channels divisible by num_groups but got ", channels, " and ", groups);
  check_parameter(c, 1, "group_norm", "weight", {channels});
  check_parameter(c, 2, "group_norm", "bias", {channels});
  ANNX_CHECK(x.numel() != groups || x.size(0) != 1, value, "group_norm",
             "expected more than 1 value per group but got input of shape ", x.shape(), " with ",
             groups, " groups");
  return {call(group_def, {x, c.in(1), c.in(2)}, {c.attr(0), c.attr(1), Attr(0.0)})};
}

TensorList instance_norm(const OpCall& c) {
  const Attr &use_input_stats = c.attr(0), &momentum = c.attr(1), &eps = c.attr(2);
  if (!use_input_stats.b())
    return {call(def::batch_norm, {c.in(0), c.in(1), c.in(2), c.in(3), c.in(4)},
                 {Attr(false), momentum, eps})};
  OpCall f;
  const Tensor x = as_float(c.in(0));
  Tensor mean, var;
  if (!recomputing()) {
    mean = open_running(c.in(1), x.dtype(), true, "instance_norm");
    var = open_running(c.in(2), x.dtype(), true, "instance_norm");
  }
  f.inputs = {x, as_float(c.in(3)), as_float(c.in(4)), mean, var};
  check_channels(f, "instance_norm");
  const Dims channels{x.size(1)};
  check_parameter(f, 1, "instance_norm", "weight", channels);
  check_parameter(f, 2, "instance_norm", "bias", channels);
  check_parameter(f, 3, "instance_norm", "running_mean", channels);
  check_parameter(f, 4, "instance_norm", "running_var", channels);
  ANNX_CHECK(mean.defined() == var.defined(), value, "instance_norm",
             "expected running_mean and running_var, or neither, but got one of them");
  ANNX_CHECK(x.numel() == 0 || Layout(x).length > 1, value, "instance_norm",
             "expected more than 1 spatial element but got input of shape ", x.shape());
  f.op = c.has(1) ? &instance_def : &group_def;
  f.attrs = {Attr(x.size(1)), eps, momentum};
  run(f);
  if (!recomputing()) {
    store_running(mean, c.in(1));
    store_running(var, c.in(2));
  }
  return {ops::cast(f.out(0), c.in(0).dtype())};
}

}  // namespace

namespace def {

const OpDef group_norm = {
    .name = "group_norm",
    .signature =
        "group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, float "
        "eps=1e-05) -> Tensor",
    .doc =
        "(input - mean) / sqrt(variance + eps) * weight + bias for input (N, C, ...), with mean "
        "and (biased) variance over each of num_groups groups of channels of a sample; weight and "
        "bias per channel. Wu and He, 2018.",
    .composite = annx::group_norm,
    .flags = kNoMethod};

const OpDef instance_norm = {
    .name = "instance_norm",
    .signature =
        "instance_norm(Tensor input, Tensor? running_mean=None, Tensor? running_var=None, Tensor? "
        "weight=None, Tensor? bias=None, bool use_input_stats=True, float momentum=0.1, float "
        "eps=1e-05) -> Tensor",
    .doc =
        "(input - mean) / sqrt(variance + eps) * weight + bias per sample and channel of input "
        "(N, C, ...). Running statistics are moved by momentum towards the batch's averages, with "
        "unbiased variances; without use_input_stats they serve instead. Ulyanov et al., 2016.",
    .composite = annx::instance_norm,
    .flags = kNoMethod | kMutates | kHalfNative};

}  // namespace def
}  // namespace annx
