// convolution, transposed or not, and the gradient of its weights. The gradient of each in its inputs
// is one of the others, so gradients of gradients follow.
#include <algorithm>

#include "ops/activation/gradient.h"
#include "ops/conv/geometry.h"
#include "ops/functional.h"

namespace annx {
namespace {

using conv::ConvShape;

// Attributes of convolution, in their order.
enum { kStride, kPadding, kDilation, kTransposed, kOutputPadding, kGroups, kActivation, kForm };
// And of its weights' gradient, which hands the form of Winograd on to gradients of its own.
enum { kKernel, kWStride, kWPadding, kWDilation, kWGroups, kWithBias, kWForm };

// One number per spatial dimension; a single one stands for all.
void spread(const Attr& attr, int dims, int64_t least, const char* what, int64_t* to) {
  const Ints& values = attr.ints();
  ANNX_CHECK(values.size() == 1 || values.size() == dims, value, "convolution", "expected 1 or ",
             dims, " numbers for ", what, " but got ", values);
  for (int i = 0; i < dims; ++i) {
    const int64_t v = values[values.size() == 1 ? 0 : i];
    ANNX_CHECK(v >= least && v < (int64_t{1} << 31), value, "convolution", "expected ", what,
               " of at least ", least, " and below 2**31 but got ", values);
    to[3 - dims + i] = v;
  }
}

int64_t reach(const ConvShape& s, int i) { return s.dilation[i] * (s.kernel[i] - 1) + 1; }

void check_tensors(const Tensor& x, const Tensor& w) {
  ANNX_CHECK(is_floating(x.dtype()), type, "convolution",
             "expected a floating input but got dtype ", x.dtype());
  ANNX_CHECK(x.dim() >= 3 && x.dim() <= 5, value, "convolution",
             "expected an input of shape (N, C, ...) with 1 to 3 spatial dimensions but got ",
             x.shape());
  ANNX_CHECK(w.dim() == x.dim(), value, "convolution", "expected a weight of ", x.dim(),
             " dimensions but got ", w.shape(), " for input of shape ", x.shape());
  for (int i = 0; i < w.dim(); ++i)
    ANNX_CHECK(w.size(i) > 0, value, "convolution", "expected a weight without empty dimensions ",
               "but got ", w.shape());
}

// Checks everything but the bias; `out` is the shape of the result.
ConvShape shape_of(const OpCall& c, Dims* out) {
  const Tensor &x = c.in(0), &w = c.in(1);
  check_tensors(x, w);
  const int dims = x.dim() - 2;
  const bool transposed = c.attr(kTransposed).b();
  ConvShape s;
  int64_t extra[3] = {0, 0, 0};
  spread(c.attr(kStride), dims, 1, "stride", s.stride);
  spread(c.attr(kPadding), dims, 0, "padding", s.padding);
  spread(c.attr(kDilation), dims, 1, "dilation", s.dilation);
  spread(c.attr(kOutputPadding), dims, 0, "output_padding", extra);
  s.groups = c.attr(kGroups).i();
  s.winograd = conv::parse_winograd(c.attr(kForm).text(), "convolution");
  s.batch = x.size(0);
  ANNX_CHECK(s.groups >= 1, value, "convolution", "expected groups >= 1 but got ", s.groups);
  const int64_t fan = transposed ? w.size(0) : w.size(1) * s.groups;
  ANNX_CHECK(x.size(1) == fan, value, "convolution", "expected an input of ", fan,
             " channels but got shape ", x.shape(), " for weight of shape ", w.shape(),
             " and groups=", s.groups);
  ANNX_CHECK(w.size(0) % s.groups == 0, value, "convolution", "expected groups that divide ",
             w.size(0), " channels but got groups=", s.groups);
  s.out_channels = w.size(0);
  s.in_channels = w.size(1) * s.groups;
  *out = {x.size(0), transposed ? s.in_channels : s.out_channels};
  for (int i = 3 - dims; i < 3; ++i) {
    const int64_t size = x.size(i - 1 + dims);
    s.kernel[i] = w.size(i - 1 + dims);
    const int64_t span = reach(s, i);
    if (transposed) {
      ANNX_CHECK(extra[i] < std::max(s.stride[i], s.dilation[i]), value, "convolution",
                 "expected output_padding smaller than stride or dilation but got ",
                 c.attr(kOutputPadding).ints());
      s.out[i] = size;
      s.in[i] = (size - 1) * s.stride[i] - 2 * s.padding[i] + span + extra[i];
      ANNX_CHECK(size > 0 && s.in[i] > 0, value, "convolution",
                 "expected an output of positive size but got ", s.in[i], " for input of shape ",
                 x.shape());
      out->push_back(s.in[i]);
    } else {
      ANNX_CHECK(extra[i] == 0, value, "convolution",
                 "expected output_padding 0 unless transposed but got ",
                 c.attr(kOutputPadding).ints());
      s.in[i] = size;
      ANNX_CHECK(size > 0 && size + 2 * s.padding[i] >= span, value, "convolution",
                 "expected an input that is not smaller than the kernel but got shape ", x.shape(),
                 " for weight of shape ", w.shape(), ", padding ", c.attr(kPadding).ints(),
                 " and dilation ", c.attr(kDilation).ints());
      s.out[i] = (size + 2 * s.padding[i] - span) / s.stride[i] + 1;
      out->push_back(s.out[i]);
    }
  }
  return s;
}

// Which Winograd is in force becomes part of the call, so that its gradient and its replay keep to it.
const OpDef* convolution_settle(OpCall& c) {
  if (c.attr(kForm).is_none()) c.attrs[kForm] = Attr(conv::winograd_name(conv::winograd_choice()));
  return nullptr;
}

void convolution_infer(const OpCall& c, OutputSpecs& specs) {
  Dims shape;
  shape_of(c, &shape);
  ops::activation_named(c.attr(kActivation).text(), "convolution");
  ANNX_CHECK(!c.has(2) || c.in(2).shape() == Dims{shape[1]}, value, "convolution",
             "expected bias of shape (", shape[1], ",) but got ", c.in(2).shape());
  numel_of(shape, "convolution");
  specs.push_back({shape, c.in(0).dtype()});
  specs[0].strides = channels_last_strides(shape);
}

template <class T>
void convolution_run(const OpCall& c) {
  GradModeGuard no_grad(false);
  Dims shape;
  const ConvShape s = shape_of(c, &shape);
  const Tensor x = ops::channels_last(c.in(0)), w = ops::contiguous(c.in(1));
  const Tensor bias = c.has(2) ? ops::contiguous(c.in(2)) : Tensor();
  const T* b = bias.defined() ? bias.data<T>() : nullptr;
  const Activation activation = ops::activation_named(c.attr(kActivation).text(), "convolution");
  const auto* ready = static_cast<const conv::ReadyWeights<T>*>(c.prepared);
  if (c.attr(kTransposed).b())
    conv::convolve_transposed(s, x.data<T>(), w.data<T>(), b, activation, c.out().data<T>(), ready);
  else
    conv::convolve(s, x.data<T>(), w.data<T>(), b, activation, c.out().data<T>(), ready);
}

std::shared_ptr<const void> convolution_prepare(const OpCall& c, uint32_t constant) {
  if (!(constant & 2) || c.out().numel() == 0) return nullptr;
  GradModeGuard no_grad(false);
  Dims shape;
  const ConvShape s = shape_of(c, &shape);
  const Tensor w = ops::contiguous(c.in(1));
  const bool transposed = c.attr(kTransposed).b();
  if (w.dtype() == DType::f32) return conv::ready_weights(s, transposed, w.data<float>());
  return conv::ready_weights(s, transposed, w.data<double>());
}

void convolution_kernel(const OpCall& c) {
  if (c.out().numel() == 0) return;
  if (c.out().dtype() == DType::f32)
    convolution_run<float>(c);
  else
    convolution_run<double>(c);
}

Cost convolution_cost(const OpCall& c) {
  const double pixels =
      static_cast<double>(c.attr(kTransposed).b() ? c.in(0).numel() : c.out().numel());
  const Tensor& w = c.in(1);
  return {2 * pixels * static_cast<double>(w.numel()) / static_cast<double>(w.size(0)),
          static_cast<double>(c.in(0).nbytes() + w.nbytes() + c.out().nbytes())};
}

Attr repeated(int dims, const int64_t* values) {
  Ints out;
  for (int i = 3 - dims; i < 3; ++i) out.push_back(values[i]);
  return Attr(out);
}

// How much longer than the plain formula the input x of a convolution with output y is.
Attr output_padding(const Dims& x, const Dims& y, const Dims& w, const Attr& stride,
                    const Attr& padding, const Attr& dilation) {
  const int dims = x.size() - 2;
  int64_t s[3], p[3], d[3], extra[3];
  spread(stride, dims, 1, "stride", s);
  spread(padding, dims, 0, "padding", p);
  spread(dilation, dims, 1, "dilation", d);
  for (int i = 3 - dims; i < 3; ++i) {
    const int at = i - 1 + dims;
    extra[i] = x[at] - ((y[at] - 1) * s[i] - 2 * p[i] + d[i] * (w[at] - 1) + 1);
  }
  return repeated(dims, extra);
}

// A convolution may see more pixels than its transposition was given.
Tensor cropped(Tensor y, const Dims& shape) {
  for (int i = 2; i < shape.size(); ++i)
    if (y.size(i) != shape[i]) y = ops::slice(y, i, 0, shape[i]);
  return y;
}

extern const OpDef weight_def;

void convolution_rule(BackwardCall& b) {
  const Tensor x = b.input(0), w = b.input(1);
  const bool transposed = b.attr(kTransposed).b();
  const Activation activation = ops::activation_named(b.attr(kActivation).text(), "convolution");
  const bool biased = b.input_count() > 2 && b.needs(2);
  Tensor g = b.grad();
  if (activation != Activation::none) {
    Tensor z;
    if (ops::gradient_needs_input(activation)) {
      Attrs attrs;
      for (int i = 0; i < b.attr_count(); ++i) attrs.push_back(b.attr(i));
      attrs[kActivation] = Attr("none");
      z = call(def::convolution, {x, w, b.input_count() > 2 ? b.input(2) : Tensor()}, attrs);
    }
    g = ops::activation_gradient(activation, g, z, z.defined() ? Tensor() : b.output());
  }
  const Attr &stride = b.attr(kStride), &padding = b.attr(kPadding), &dilation = b.attr(kDilation);
  if (b.needs(0)) {
    const Attr extra =
        transposed ? Attr(Ints{0})
                   : output_padding(x.shape(), g.shape(), w.shape(), stride, padding, dilation);
    const Tensor dx = call(def::convolution, {g, w, Tensor()},
                           {stride, padding, dilation, Attr(!transposed), extra, b.attr(kGroups),
                            Attr("none"), b.attr(kForm)});
    b.set(0, cropped(dx, b.input_shape(0)));
  }
  if (b.needs(1)) {
    Ints kernel;
    for (int i = 2; i < w.dim(); ++i) kernel.push_back(w.size(i));
    const bool fused = biased && !transposed;
    const TensorList grads = call_all(
        weight_def, transposed ? TensorList{x, g} : TensorList{g, x},
        {Attr(kernel), stride, padding, dilation, b.attr(kGroups), Attr(fused), b.attr(kForm)});
    b.set(1, grads[0]);
    if (fused) b.set(2, grads[1]);
  }
  if (biased && (transposed || !b.needs(1))) {
    Dims axes{0};
    for (int i = 2; i < g.dim(); ++i) axes.push_back(i);
    b.set(2, ops::sum(g, axes));
  }
}

// Inputs: g of the output's shape and x. Outputs: dw and, with_bias, db, else an empty tensor.
ConvShape weight_shape(const OpCall& c) {
  const Tensor &g = c.in(0), &x = c.in(1);
  const int dims = x.dim() - 2;
  ConvShape s;
  spread(c.attr(kWStride), dims, 1, "stride", s.stride);
  spread(c.attr(kWPadding), dims, 0, "padding", s.padding);
  spread(c.attr(kWDilation), dims, 1, "dilation", s.dilation);
  spread(c.attr(kKernel), dims, 1, "kernel", s.kernel);
  s.groups = c.attr(kWGroups).i();
  s.batch = x.size(0);
  s.in_channels = x.size(1);
  s.out_channels = g.size(1);
  for (int i = 3 - dims; i < 3; ++i) {
    s.in[i] = x.size(i - 1 + dims);
    s.out[i] = g.size(i - 1 + dims);
  }
  return s;
}

void weight_infer(const OpCall& c, OutputSpecs& specs) {
  const ConvShape s = weight_shape(c);
  Dims shape{s.out_channels, s.in_channels / s.groups};
  for (int i = 5 - c.in(1).dim(); i < 3; ++i) shape.push_back(s.kernel[i]);
  specs.push_back({shape, c.in(0).dtype()});
  specs.push_back({{c.attr(kWithBias).b() ? s.out_channels : 0}, c.in(0).dtype()});
}

template <class T>
void weight_run(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor g = ops::channels_last(c.in(0)), x = ops::channels_last(c.in(1));
  conv::convolve_weight(weight_shape(c), g.data<T>(), x.data<T>(), c.out(0).data<T>(),
                        c.attr(kWithBias).b() ? c.out(1).data<T>() : nullptr);
}

void weight_kernel(const OpCall& c) {
  if (c.out().dtype() == DType::f32)
    weight_run<float>(c);
  else
    weight_run<double>(c);
}

void weight_rule(BackwardCall& b) {
  const Tensor g = b.input(0), x = b.input(1), &u = b.grad(0);
  const Tensor v = b.attr(kWithBias).b() ? b.grad(1) : Tensor();
  const Attr &stride = b.attr(kWStride), &padding = b.attr(kWPadding);
  const Attr &dilation = b.attr(kWDilation), &groups = b.attr(kWGroups);
  if (b.needs(0)) {
    Tensor d;
    if (u.defined())
      d = cropped(call(def::convolution, {x, u, v},
                       {stride, padding, dilation, Attr(false), Attr(Ints{0}), groups, Attr("none"),
                        b.attr(kWForm)}),
                  g.shape());
    else if (v.defined()) {
      Dims per_channel(g.dim(), 1);
      per_channel[1] = g.size(1);
      d = ops::expand(ops::reshape(v, per_channel), g.shape());
    }
    b.set(0, d);
  }
  if (b.needs(1) && u.defined()) {
    const Attr extra = output_padding(x.shape(), g.shape(), u.shape(), stride, padding, dilation);
    b.set(1, call(def::convolution, {g, u, Tensor()},
                  {stride, padding, dilation, Attr(true), extra, groups, Attr("none"),
                   b.attr(kWForm)}));
  }
}

Cost weight_cost(const OpCall& c) {
  const double k = static_cast<double>(c.out(0).numel()) / static_cast<double>(c.in(0).size(1));
  return {2 * k * static_cast<double>(c.in(0).numel()),
          static_cast<double>(c.in(0).nbytes() + c.in(1).nbytes() + c.out(0).nbytes())};
}

const OpDef weight_def = {.name = "convolution_backward_weight",
                          .signature = "",
                          .doc = "",
                          .infer = weight_infer,
                          .kernel = weight_kernel,
                          .backward = weight_rule,
                          .cost = weight_cost,
                          .saves = save_input(0) | save_input(1),
                          .flags = kInternal};

}  // namespace

namespace def {

const OpDef convolution = {
    .name = "convolution",
    .signature =
        "convolution(Tensor input, Tensor weight, Tensor? bias=None, int[] stride=1, int[] "
        "padding=0, int[] dilation=1, bool transposed=False, int[] output_padding=0, int groups=1, "
        "str activation='none', str? winograd=None) -> Tensor",
    .doc =
        "activation(input * weight + bias), a cross-correlation over 1 to 3 spatial dimensions: "
        "input (N, C, ...), weight (K, C / groups, ...), bias (K,), result (N, K, ...). "
        "Transposed: "
        "the gradient of that in its input, weight (C, K / groups, ...), output_padding longer. "
        "activation is none, relu, sigmoid, tanh, gelu, gelu_tanh or silu, computed in the same "
        "pass. 3x3 taps at stride 1 with at least 16 channels on both sides are computed by "
        "Winograd's F(2x2, 3x3), or with winograd 'f43' by F(4x4, 3x3) where that takes fewer "
        "products: "
        "faster, with two to three times the error of the plain sum. By default what "
        "annx.backends.conv.winograd says. The result is channels last in memory.",
    .infer = convolution_infer,
    .kernel = convolution_kernel,
    .backward = convolution_rule,
    .instead = convolution_settle,
    .cost = convolution_cost,
    .saves = save_input(0) | save_input(1) | save_input(2) | save_output(0),
    .flags = kPromote | kNoMethod,
    .prepare = convolution_prepare};

}  // namespace def
}  // namespace annx
