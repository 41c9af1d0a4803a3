// Layer normalisation (Ba, Kiros and Hinton, 2016).
#include <algorithm>

#include "ops/normalization/backward.h"
#include "ops/normalization/support.h"

namespace annx {
namespace {

using namespace normalization;

// Attributes of the ops below: eps, how many trailing dimensions are normalised, an activation of y?.
// Outputs: y, mean and 1 / sqrt(variance + eps) of every row.
void forward_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  Dims rows;
  for (int i = 0; i < x.dim() - c.attr(1).i(); ++i) rows.push_back(x.size(i));
  specs.push_back({x.shape(), x.dtype()});
  specs.push_back({rows, x.dtype()});
  specs.push_back({rows, x.dtype()});
}

template <class T>
void forward(const OpCall& c) {
  const Tensor x = prepared(c, 0);
  Tensor weight = prepared(c, 1), bias = prepared(c, 2);
  const int64_t n = row_length(x.shape(), c.attr(1)), rows = c.out(1).numel();
  if (x.numel() == 0) return;
  // The kernel takes both or neither.
  if (weight.defined() && !bias.defined()) bias = ops::zeros({n}, x.dtype());
  if (bias.defined() && !weight.defined()) weight = ops::ones({n}, x.dtype());
  const T *in = x.data<T>(), *w = data_or_null<T>(weight), *b = data_or_null<T>(bias);
  T *y = c.out(0).data<T>(), *mean = c.out(1).data<T>(), *rstd = c.out(2).data<T>();
  const double eps = c.attr(0).f();
  const Activation activation = joined_activation(c, 2, "layer_norm");
  const int64_t grain = std::max<int64_t>(1, reduce::kGrain / 2 / n);
  parallel_for(rows, grain, [&](int64_t begin, int64_t end) {
    kernels<T>().layer_norm(in + begin * n, w, b, end - begin, n, eps, y + begin * n, mean + begin,
                            rstd + begin);
    activate(activation, y + begin * n, (end - begin) * n);
  });
}

void forward_kernel(const OpCall& c) {
  if (c.in(0).dtype() == DType::f32)
    forward<float>(c);
  else
    forward<double>(c);
}

Cost layer_norm_cost(const OpCall& c) {
  const auto n = static_cast<double>(c.in(0).numel());
  return {8 * n, 2 * n * static_cast<double>(itemsize(c.in(0).dtype()))};
}

// Inputs: g, x, weight?, mean, rstd, other? (which a captured step may have added to dx). Outputs: dx,
// dweight, dbias; the last two are empty unless attributes 1 and 2 ask for them. Attribute 0: the
// number of trailing dimensions.
void backward_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(1);
  const int64_t n = row_length(x.shape(), c.attr(0));
  specs.push_back({x.shape(), x.dtype()});
  specs.push_back({{c.attr(1).b() ? n : 0}, x.dtype()});
  specs.push_back({{c.attr(2).b() ? n : 0}, x.dtype()});
}

template <class T>
void backward(const OpCall& c) {
  const Tensor g = prepared(c, 0), x = prepared(c, 1), weight = prepared(c, 2);
  const Tensor mean = prepared(c, 3), rstd = prepared(c, 4), other = prepared(c, 5);
  T *dx = c.out(0).data<T>(), *dw = data_or_null<T>(c.out(1)), *db = data_or_null<T>(c.out(2));
  layer_rows_backward<T>(g, x, weight, mean, rstd, other, row_length(x.shape(), c.attr(0)), dx, dw,
                         db);
}

void backward_kernel(const OpCall& c) {
  if (c.in(1).dtype() == DType::f32)
    backward<float>(c);
  else
    backward<double>(c);
}

const OpDef backward_def = {.name = "layer_norm_backward",
                            .signature = "",
                            .doc = "",
                            .infer = backward_infer,
                            .kernel = backward_kernel,
                            .cost = layer_norm_cost,
                            .flags = kInternal};

// The same gradients as formulas on the tape.
void differentiable_rule(BackwardCall& b, const Tensor& weight) {
  const Tensor &g = b.grad(), x = b.input(0);
  Dims axes;
  for (int i = x.dim() - static_cast<int>(b.attr(1).i()); i < x.dim(); ++i) axes.push_back(i);
  const Tensor distance = ops::sub(x, ops::mean(x, axes, true));
  const Tensor variance = ops::mean(ops::square(distance), axes, true);
  const Tensor rstd = ops::rsqrt(ops::add(variance, ops::number(b.attr(0).f())));
  const Tensor h = ops::mul(distance, rstd);
  if (b.needs(0)) {
    const Tensor gw = weight.defined() ? ops::mul(g, weight) : g;
    const Tensor along = ops::mul(h, ops::mean(ops::mul(gw, h), axes, true));
    b.set(0, ops::mul(rstd, ops::sub(ops::sub(gw, ops::mean(gw, axes, true)), along)));
  }
  if (b.needs(1)) b.set(1, ops::sum_to(ops::mul(g, h), b.input_shape(1)));
  if (b.needs(2)) b.set(2, ops::sum_to(g, b.input_shape(2)));
}

void forward_rule(BackwardCall& b) {
  if (!b.grad(0).defined()) return;
  const Tensor weight = b.input(1);
  if (grad_enabled()) return differentiable_rule(b, weight);
  const TensorList grads =
      call_all(backward_def, {b.grad(0), b.input(0), weight, b.output(1), b.output(2)},
               {b.attr(1), Attr(b.needs(1)), Attr(b.needs(2))});
  if (b.needs(0)) b.set(0, grads[0]);
  if (b.needs(1)) b.set(1, ops::reshape(grads[1], b.input_shape(1)));
  if (b.needs(2)) b.set(2, ops::reshape(grads[2], b.input_shape(2)));
}

const OpDef forward_def = {.name = "layer_norm_forward",
                           .signature = "",
                           .doc = "",
                           .infer = forward_infer,
                           .kernel = forward_kernel,
                           .backward = forward_rule,
                           .cost = layer_norm_cost,
                           .saves = save_input(0) | save_input(1) | save_output(1) | save_output(2),
                           .flags = kInternal};

TensorList layer_norm(const OpCall& c) {
  const Tensor& x = c.in(0);
  check_floating(c, "layer_norm");
  const Dims shape = check_trailing(c, c.attr(0).ints(), "layer_norm");
  check_parameter(c, 1, "layer_norm", "weight", shape);
  check_parameter(c, 2, "layer_norm", "bias", shape);
  return {call(forward_def, {x, c.in(1), c.in(2)}, {c.attr(1), Attr(shape.size())})};
}

}  // namespace

const OpDef& layer_norm_backward_def() { return backward_def; }

namespace def {

const OpDef layer_norm = {
    .name = "layer_norm",
    .signature =
        "layer_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, Tensor? "
        "bias=None, float eps=1e-05) -> Tensor",
    .doc =
        "(input - mean) / sqrt(variance + eps) * weight + bias, with mean and (biased) variance "
        "over the trailing dimensions normalized_shape. Ba, Kiros and Hinton, 2016.",
    .composite = annx::layer_norm,
    .flags = kNoMethod};

}  // namespace def
}  // namespace annx
