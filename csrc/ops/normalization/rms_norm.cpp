// Root mean square normalisation (Zhang and Sennrich, 2019): layer normalisation without the mean.
#include <algorithm>

#include "ops/normalization/backward.h"
#include "ops/normalization/support.h"

namespace annx {
namespace {

using namespace normalization;

// Attributes: eps, how many trailing dimensions are normalised, an activation of y?. Outputs: y and
// 1 / sqrt(mean of squares + eps) of every row.
void forward_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  Dims rows;
  for (int i = 0; i < x.dim() - c.attr(1).i(); ++i) rows.push_back(x.size(i));
  specs.push_back({x.shape(), x.dtype()});
  specs.push_back({rows, x.dtype()});
}

template <class T>
void forward(const OpCall& c) {
  const Tensor x = prepared(c, 0), weight = prepared(c, 1);
  const int64_t n = row_length(x.shape(), c.attr(1)), rows = c.out(1).numel();
  if (x.numel() == 0) return;
  const T *in = x.data<T>(), *w = data_or_null<T>(weight);
  T *y = c.out(0).data<T>(), *rstd = c.out(1).data<T>();
  const double eps = c.attr(0).f();
  const Activation activation = joined_activation(c, 2, "rms_norm");
  const int64_t grain = std::max<int64_t>(1, reduce::kGrain / 2 / n);
  parallel_for(rows, grain, [&](int64_t begin, int64_t end) {
    kernels<T>().rms_norm(in + begin * n, w, end - begin, n, eps, y + begin * n, rstd + begin);
    activate(activation, y + begin * n, (end - begin) * n);
  });
}

void forward_kernel(const OpCall& c) {
  if (c.in(0).dtype() == DType::f32)
    forward<float>(c);
  else
    forward<double>(c);
}

Cost rms_norm_cost(const OpCall& c) {
  const auto n = static_cast<double>(c.in(0).numel());
  return {5 * n, 2 * n * static_cast<double>(itemsize(c.in(0).dtype()))};
}

// Inputs: g, x, weight?, rstd, other? (which a captured step may have added to dx). Attributes:
// trailing dimensions, whether dweight is wanted. Outputs: dx, dweight (empty unless wanted).
void backward_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(1);
  specs.push_back({x.shape(), x.dtype()});
  specs.push_back({{c.attr(1).b() ? row_length(x.shape(), c.attr(0)) : 0}, x.dtype()});
}

template <class T>
void backward(const OpCall& c) {
  const Tensor g = prepared(c, 0), x = prepared(c, 1), weight = prepared(c, 2);
  const Tensor rstd = prepared(c, 3), other = prepared(c, 4);
  T *dx = c.out(0).data<T>(), *dw = data_or_null<T>(c.out(1));
  layer_rows_backward<T>(g, x, weight, Tensor(), rstd, other, row_length(x.shape(), c.attr(0)), dx,
                         dw, nullptr);
}

void backward_kernel(const OpCall& c) {
  if (c.in(1).dtype() == DType::f32)
    backward<float>(c);
  else
    backward<double>(c);
}

const OpDef backward_def = {.name = "rms_norm_backward",
                            .signature = "",
                            .doc = "",
                            .infer = backward_infer,
                            .kernel = backward_kernel,
                            .cost = rms_norm_cost,
                            .flags = kInternal};

// The same gradients as formulas on the tape.
void differentiable_rule(BackwardCall& b, const Tensor& weight) {
  const Tensor &g = b.grad(0), x = b.input(0);
  Dims axes;
  for (int i = x.dim() - static_cast<int>(b.attr(1).i()); i < x.dim(); ++i) axes.push_back(i);
  const Tensor rstd =
      ops::rsqrt(ops::mean(ops::square(x), axes, true) + ops::number(b.attr(0).f()));
  const Tensor h = x * rstd;
  if (b.needs(0)) {
    const Tensor gw = weight.defined() ? g * weight : g;
    b.set(0, rstd * (gw - h * ops::mean(gw * h, axes, true)));
  }
  if (b.needs(1)) b.set(1, ops::sum_to(g * h, b.input_shape(1)));
}

void forward_rule(BackwardCall& b) {
  if (!b.grad(0).defined()) return;
  const Tensor weight = b.input(1);
  if (grad_enabled()) return differentiable_rule(b, weight);
  const TensorList grads = call_all(backward_def, {b.grad(0), b.input(0), weight, b.output(1)},
                                    {b.attr(1), Attr(b.needs(1))});
  if (b.needs(0)) b.set(0, grads[0]);
  if (b.needs(1)) b.set(1, ops::reshape(grads[1], b.input_shape(1)));
}

const OpDef forward_def = {.name = "rms_norm_forward",
                           .signature = "",
                           .doc = "",
                           .infer = forward_infer,
                           .kernel = forward_kernel,
                           .backward = forward_rule,
                           .cost = rms_norm_cost,
                           .saves = save_input(0) | save_input(1) | save_output(1),
                           .flags = kInternal};

TensorList rms_norm(const OpCall& c) {
  const Tensor& x = c.in(0);
  check_floating(c, "rms_norm");
  const Dims shape = check_trailing(c, c.attr(0).ints(), "rms_norm");
  check_parameter(c, 1, "rms_norm", "weight", shape);
  // Where eps is not given: the distance from 1 to the next number.
  const double machine = x.dtype() == DType::f64 ? 0x1p-52 : 0x1p-23;
  const double eps = c.attr(1).is_none() ? machine : c.attr(1).f();
  return {call(forward_def, {x, c.in(1)}, {Attr(eps), Attr(shape.size())})};
}

}  // namespace

const OpDef& rms_norm_backward_def() { return backward_def; }

namespace def {

const OpDef rms_norm = {
    .name = "rms_norm",
    .signature =
        "rms_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, float? eps=None) -> "
        "Tensor",
    .doc =
        "input / sqrt(mean(input**2) + eps) * weight over the trailing dimensions "
        "normalized_shape; eps is the machine epsilon where it is not given (of float32 for "
        "halves). "
        "Zhang and Sennrich, 2019.",
    .composite = annx::rms_norm,
    .flags = kNoMethod};

}  // namespace def
}  // namespace annx
