// Attention on a packed projection: packed_attention and its internal ops.
#include <cmath>

#include "ops/attention/attention.h"

namespace annx {
namespace attention {
namespace {

// Part 0, 1 or 2 of (B, T, 3, H, D), as (B, H, T, D) for the kernels' inputs ...
Tensor part_heads(const Tensor& x, int part) {
  const Dims shape = {x.size(0), x.size(3), x.size(1), x.size(4)};
  const Dims strides = {x.stride(0), x.stride(3), x.stride(1), x.stride(4)};
  return Tensor::view_of(x, shape, strides, x.offset() + part * x.stride(2));
}
// ... and as (B, T, H, D) for their results.
Tensor part_rows(const Tensor& x, int part) {
  const Dims shape = {x.size(0), x.size(1), x.size(3), x.size(4)};
  const Dims strides = {x.stride(0), x.stride(1), x.stride(3), x.stride(4)};
  return Tensor::view_of(x, shape, strides, x.offset() + part * x.stride(2));
}

// The kernels want heads and their elements close together.
Tensor with_heads(const Tensor& x) {
  if (x.stride(4) == 1 && x.stride(3) == x.size(4) && x.stride(3) < x.stride(1)) return x;
  GradModeGuard no_grad(false);
  return ops::contiguous(x);
}

// Gradients lie as the projection does, so that its linear reads them in place.
bool sequence_first(const Tensor& x) { return x.stride(1) > x.stride(0); }

OpCall unpacked(const OpDef& op, const OpCall& c, TensorList inputs, TensorList outputs) {
  OpCall inner;
  inner.op = &op;
  inner.inputs = std::move(inputs);
  inner.attrs = c.attrs;
  inner.outputs = std::move(outputs);
  return inner;
}

void forward_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(0);
  specs.push_back({{x.size(0), x.size(1), x.size(3), x.size(4)}, x.dtype()});
  specs.push_back({{x.size(0), x.size(3), x.size(1)}, x.dtype()});
}

void forward_kernel(const OpCall& c) {
  const Tensor x = with_heads(c.in(0));
  forward_def.kernel(unpacked(forward_def, c,
                              {part_heads(x, 0), part_heads(x, 1), part_heads(x, 2), c.in(1)},
                              {c.out(0), c.out(1)}));
}

// Multiply-adds of the two products of the forward pass.
double products(const Tensor& x, bool causal) {
  const auto t = static_cast<double>(x.size(1));
  const double pairs = causal ? t * (t + 1) / 2 : t * t;
  return 2 * static_cast<double>(x.size(0) * x.size(3) * x.size(4)) * pairs;
}

double bytes_of(const OpCall& c) {
  double bytes = 0;
  for (const Tensor& t : c.inputs) bytes += t.defined() ? static_cast<double>(t.nbytes()) : 0.0;
  for (const Tensor& t : c.outputs) bytes += static_cast<double>(t.nbytes());
  return bytes;
}

Cost forward_cost(const OpCall& c) { return {2 * products(c.in(0), c.attr(3).b()), bytes_of(c)}; }

void forward_rule(BackwardCall& b) {
  if (!b.grad(0).defined()) return;
  const Tensor x = b.input(0);
  if (grad_enabled() || b.needs(1)) {
    const bool needs[4] = {b.needs(0), b.needs(0), b.needs(0), b.needs(1)};
    const auto heads = [&](int part) {
      return ops::permute(call(def::select, {x}, {Attr(2), Attr(part)}), {0, 2, 1, 3});
    };
    const Gradients d =
        differentiable_gradients({heads(0), heads(1), heads(2), b.input(1)}, b.grad(0), b.attr(0),
                                 b.attr(1), b.attr(2).f(), b.attr(3).b(), needs);
    if (b.needs(0)) {
      const Tensor parts = call(def::stack, TensorList{d.query, d.key, d.value}, {Attr(0)});
      b.set(0, ops::permute(parts, {1, 3, 0, 2, 4}));
    }
    if (b.needs(1)) b.set(1, d.mask);
    return;
  }
  const Tensor dx = call(packed_backward_def, {b.grad(0), x, b.input(1), b.output(0), b.output(1)},
                         {b.attr(0), b.attr(1), b.attr(2), b.attr(3)});
  b.set(0, sequence_first(x) ? ops::permute(dx, {1, 0, 2, 3, 4}) : dx);
}

void backward_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(1);
  Dims shape = x.shape();
  if (sequence_first(x)) std::swap(shape[0], shape[1]);
  specs.push_back({shape, x.dtype()});
}

void backward_kernel(const OpCall& c) {
  const Tensor x = with_heads(c.in(1));
  Tensor dx = c.out();
  if (sequence_first(c.in(1))) {
    const Dims strides = {dx.stride(1), dx.stride(0), dx.stride(2), dx.stride(3), dx.stride(4)};
    dx = Tensor::view_of(dx, c.in(1).shape(), strides, dx.offset());
  }
  backward_def.kernel(unpacked(
      backward_def, c,
      {c.in(0), part_heads(x, 0), part_heads(x, 1), part_heads(x, 2), c.in(2), c.in(3), c.in(4)},
      {part_rows(dx, 0), part_rows(dx, 1), part_rows(dx, 2)}));
}

Cost backward_cost(const OpCall& c) { return {5 * products(c.in(1), c.attr(3).b()), bytes_of(c)}; }

}  // namespace

const OpDef packed_forward_def = {
    .name = "packed_attention_forward",
    .signature = "",
    .doc = "",
    .infer = forward_infer,
    .kernel = forward_kernel,
    .backward = forward_rule,
    .cost = forward_cost,
    .saves = save_input(0) | save_input(1) | save_output(0) | save_output(1),
    .flags = kInternal | kKeyed};
const OpDef packed_backward_def = {.name = "packed_attention_backward",
                                   .signature = "",
                                   .doc = "",
                                   .infer = backward_infer,
                                   .kernel = backward_kernel,
                                   .cost = backward_cost,
                                   .flags = kInternal | kKeyed};

}  // namespace attention

namespace {

using namespace attention;

TensorList packed_composite(const OpCall& c) {
  const char* name = "packed_attention";
  const Tensor& x = c.in(0);
  const int64_t heads = c.attr(0).i();
  ANNX_CHECK(is_floating(x.dtype()), type, name, "expected a floating input but got dtype ",
             x.dtype());
  ANNX_CHECK(x.dim() == 3, value, name, "expected an input (B, T, 3 E) but got shape ", x.shape());
  ANNX_CHECK(heads > 0 && x.size(2) % (3 * heads) == 0, value, name,
             "expected a last dimension that 3 * num_heads divides but got shape ", x.shape(),
             " and num_heads ", heads);
  const int64_t batch = x.size(0), time = x.size(1), width = x.size(2) / 3, dim = width / heads;
  check_options(c, 1, name);
  const Tensor mask = expanded_mask(c.in(1), {batch, heads, time, time}, x.dtype(), name);
  const double p = c.attr(1).f();
  const Tensor qkv = ops::reshape(x, {batch, time, 3, heads, dim});
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  const Tensor out =
      call_all(packed_forward_def, {qkv, mask}, {key_for(p), Attr(p), Attr(scale), c.attr(2)})[0];
  return {ops::reshape(out, {batch, time, width})};
}

}  // namespace

namespace def {

const OpDef packed_attention = {
    .name = "packed_attention",
    .signature =
        "packed_attention(Tensor input, int num_heads, Tensor? attn_mask=None, float "
        "dropout_p=0.0, bool is_causal=False) -> Tensor",
    .doc =
        "scaled_dot_product_attention of the heads of query, key and value that lie side by side "
        "in input (B, T, 3 E), each (B, T, E) as one projection gives them; result (B, T, E). "
        "attn_mask broadcasts to (B, num_heads, T, T). Nothing is copied, and the gradient is "
        "one tensor.",
    .composite = packed_composite,
    .flags = kNoMethod};

}  // namespace def
}  // namespace annx
