// linear with its bias and activation, over gemm/, and its gradients in one call.
#include <algorithm>
#include <cstring>

#include "core/thread_pool.h"
#include "gemm/gemm.h"
#include "gemm/kernels.h"
#include "ops/activation/gradient.h"
#include "ops/functional.h"
#include "ops/matmul/linear.h"

namespace annx {
namespace {

void linear_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor &x = c.in(0), &w = c.in(1);
  ops::activation_named(c.attr(0).text(), "linear");
  ANNX_CHECK(is_floating(x.dtype()), type, "linear", "expected a floating input but got dtype ",
             x.dtype());
  ANNX_CHECK(w.dim() == 2, value, "linear",
             "expected weight of shape (out_features, in_features) but got ", w.shape());
  ANNX_CHECK(x.dim() >= 1 && x.size(-1) == w.size(1), value, "linear",
             "expected input of shape (..., ", w.size(1), ") but got ", x.shape());
  ANNX_CHECK(!c.has(2) || c.in(2).shape() == Dims{w.size(0)}, value, "linear",
             "expected bias of shape (", w.size(0), ",) but got ", c.in(2).shape());
  Dims shape = x.shape();
  shape.back() = w.size(0);
  numel_of(shape, "linear");
  specs.push_back({shape, x.dtype()});
}

template <class T>
void linear_run(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor &w = c.in(1), &out = c.out();
  const Tensor x = c.in(0).dim() == 2 ? c.in(0) : ops::contiguous(c.in(0));
  const Tensor bias = c.has(2) ? ops::contiguous(c.in(2)) : Tensor();
  GemmArgs<T> args;
  args.n = w.size(0), args.k = w.size(1);
  args.m = out.numel() / args.n;
  args.a = x.data<T>();
  args.a_rs = x.dim() == 2 ? x.stride(0) : args.k;
  args.a_cs = x.dim() == 2 ? x.stride(1) : 1;
  args.b = w.data<T>(), args.b_rs = w.stride(1), args.b_cs = w.stride(0);
  args.c = out.data<T>(), args.c_rs = args.n;
  if (bias.defined()) args.bias = bias.data<T>();
  args.activation = ops::activation_named(c.attr(0).text(), "linear");
  if (c.has(3)) args.other = {GemmCombine::add, c.in(3).data<T>(), args.n};
  if (c.prepared)
    gemm(args, *static_cast<const PackedMatrix<T>*>(c.prepared));
  else
    gemm(args);
}

template <class T>
std::shared_ptr<const void> packed(const Tensor& w) {
  return std::make_shared<PackedMatrix<T>>(w.size(1), w.size(0), w.data<T>(), w.stride(1),
                                           w.stride(0));
}

std::shared_ptr<const void> linear_prepare(const OpCall& c, uint32_t constant) {
  const Tensor& w = c.in(1);
  if (!(constant & 2) || w.numel() == 0) return nullptr;
  return w.dtype() == DType::f32 ? packed<float>(w) : packed<double>(w);
}

void linear_kernel(const OpCall& c) {
  if (c.out().numel() == 0) return;
  if (c.out().dtype() == DType::f32)
    linear_run<float>(c);
  else
    linear_run<double>(c);
}

// x or g as rows of contiguous memory, or any matrix as it is.
Tensor as_rows(const Tensor& x) { return x.dim() == 2 ? x : ops::contiguous(x); }

template <class T>
struct Rows {
  const T* data;
  int64_t rs, cs;
};
template <class T>
Rows<T> rows_of(const Tensor& x, int64_t width) {
  return x.dim() == 2 ? Rows<T>{x.data<T>(), x.stride(0), x.stride(1)}
                      : Rows<T>{x.data<T>(), width, 1};
}

// linear_backward: inputs g, x, weight, bias?, saved?, other?; outputs dx, dweight, dbias, each empty unless
// attribute 1, 2 or 3 asks for it. Attribute 0 is the activation, saved what its gradient reads: its
// output for relu, sigmoid and tanh, else its input, which without `saved` is computed again with bias.
// A captured step may let dx become dx + other or dx * other: attribute 4 is "none", "add" or "mul".
void backward_infer(const OpCall& c, OutputSpecs& specs) {
  const DType t = c.in(1).dtype();
  const auto wanted = [&](int i, const Dims& shape) { return c.attr(i).b() ? shape : Dims{0}; };
  specs.push_back({wanted(1, c.in(1).shape()), t});
  specs.push_back({wanted(2, c.in(2).shape()), t});
  specs.push_back({wanted(3, {c.in(2).size(0)}), t});
}

// Rows of g that are taken together: their part of dbias is one sum, in ascending order, and the
// parts are added in ascending order.
constexpr int64_t kSumRows = 128;

// Bytes of dz that stay in L2 from the pass that makes them to the products that read them, and from which on
// it is made in such pieces.
constexpr int64_t kPieceBytes = int64_t{1} << 19;
constexpr int64_t kPiecesBytes = int64_t{1} << 21;

// Rows of dz [m, n] at a time, for weights [n, k]; m where one piece is as good, or where a product's chains
// would be cut otherwise.
int64_t piece_rows(int64_t m, int64_t n, int64_t k, int64_t item) {
  if (m * n * item < kPiecesBytes) return m;
  if (split_k_chunk(1, k, n) != 0 || split_k_chunk(n, k, m) != 0) return m;
  return std::max<int64_t>(1, kPieceBytes / (n * item * kSumRows)) * kSumRows;
}

// dz = g activation'(saved) into `out` unless it is null, and the sums over its rows into `sums`
// unless that is null: one pass over g.
template <class T>
class GradientPass {
 public:
  explicit GradientPass(const GemmGradientBlock<T>& all)
      : all_(all),
        blocks_((all.rows + kSumRows - 1) / kSumRows),
        parts_(Tensor::empty({all.sums != nullptr ? blocks_ * all.cols : 0}, DTypeOf<T>::value)) {}

  // Rows `first` ... `first` + rows - 1, into the first rows of out; `first` is a multiple of kSumRows.
  void run(int64_t first, int64_t rows) const {
    const auto& kernels = gemm_kernels_of<T>();
    const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 15) / (kSumRows * all_.cols));
    parallel_for((rows + kSumRows - 1) / kSumRows, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = first + i * kSumRows;
        GemmGradientBlock<T> block = all_;
        block.rows = std::min(kSumRows, first + rows - row);
        block.grad += row * block.grad_rs;
        block.saved += row * block.saved_rs;
        if (block.out != nullptr) block.out += i * kSumRows * block.out_rs;
        if (all_.sums != nullptr && blocks_ > 1)
          block.sums = parts_.data<T>() + row / kSumRows * all_.cols;
        kernels.gradient(block);
      }
    });
  }

  // When all rows are done.
  void finish() const {
    if (all_.sums == nullptr || blocks_ == 1) return;
    const T* part = parts_.data<T>();
    const size_t bytes = static_cast<size_t>(all_.cols) * sizeof(T);
    if (blocks_ == 0) std::memset(all_.sums, 0, bytes);
    if (blocks_ > 0) std::memcpy(all_.sums, part, bytes);
    for (int64_t i = 1; i < blocks_; ++i) {
      part += all_.cols;
      for (int64_t j = 0; j < all_.cols; ++j) all_.sums[j] += part[j];
    }
  }

 private:
  const GemmGradientBlock<T> all_;
  const int64_t blocks_;
  const Tensor parts_;
};

template <class T>
void backward_run(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Activation activation = ops::activation_named(c.attr(0).text(), "linear");
  const bool wants_x = c.attr(1).b(), wants_w = c.attr(2).b(), wants_bias = c.attr(3).b();
  const Tensor g = ops::contiguous(c.in(0)), x = as_rows(c.in(1)), &w = c.in(2);
  const int64_t n = w.size(0), k = w.size(1);
  const int64_t m = n == 0 ? 0 : g.numel() / n;
  const Rows<T> xs = rows_of<T>(x, k);
  Tensor dz = g, saved;
  int64_t rows = m;
  GemmGradientBlock<T> pass = {m, n,       g.data<T>(), n,       g.data<T>(),
                               n, nullptr, n,           nullptr, activation};
  if (wants_bias) pass.sums = c.out(2).data<T>();
  if (ops::gradient_needs_input(activation) && !c.has(4)) {
    // The activation's input was not kept: recomputing costs one product, keeping it memory.
    dz = Tensor::empty(g.shape(), g.dtype());
    const Tensor bias = c.has(3) ? ops::contiguous(c.in(3)) : Tensor();
    GemmArgs<T> args;
    args.m = m, args.n = n, args.k = k;
    args.a = xs.data, args.a_rs = xs.rs, args.a_cs = xs.cs;
    args.b = w.data<T>(), args.b_rs = w.stride(1), args.b_cs = w.stride(0);
    args.c = dz.data<T>(), args.c_rs = n;
    if (bias.defined()) args.bias = bias.data<T>();
    args.gradient = {activation, nullptr, g.data<T>(), n};
    gemm(args);
    pass.grad = pass.saved = dz.data<T>();
    pass.activation = Activation::none;
  } else if (activation != Activation::none) {
    rows = std::min(m, piece_rows(m, n, k, sizeof(T)));
    dz = Tensor::empty({rows, n}, g.dtype());
    saved = ops::contiguous(c.in(4));
    pass.saved = saved.data<T>();
    pass.out = dz.data<T>();
  }
  const bool passes = pass.out != nullptr || pass.sums != nullptr;
  const GradientPass<T> gradient(pass);
  int64_t row = 0;
  do {  // once without any rows: gradients are zero then
    const int64_t count = std::min(rows, m - row);
    if (passes) gradient.run(row, count);
    if (wants_x) {
      GemmArgs<T> args;
      args.m = count, args.n = k, args.k = n;
      args.a = dz.data<T>(), args.a_rs = n;
      args.b = w.data<T>(), args.b_rs = w.stride(0), args.b_cs = w.stride(1);
      args.c = c.out(0).data<T>() + row * k, args.c_rs = k;
      if (c.has(5)) {
        const bool add = std::strcmp(c.attr(4).text(), "add") == 0;
        args.other = {add ? GemmCombine::add : GemmCombine::multiply, c.in(5).data<T>() + row * k,
                      k};
      }
      gemm(args);
    }
    if (wants_w) {
      // The chains go on where the rows before left them.
      GemmArgs<T> args;
      args.m = n, args.n = k, args.k = count;
      args.a = dz.data<T>(), args.a_rs = 1, args.a_cs = n;
      args.b = xs.data + row * xs.rs, args.b_rs = xs.rs, args.b_cs = xs.cs;
      args.c = c.out(1).data<T>(), args.c_rs = k;
      args.accumulate = row > 0;
      gemm(args);
    }
    row += rows;
  } while (row < m);
  if (passes) gradient.finish();
}

void backward_kernel(const OpCall& c) {
  if (c.in(1).dtype() == DType::f32)
    backward_run<float>(c);
  else
    backward_run<double>(c);
}

Cost backward_cost(const OpCall& c) {
  const int products = (c.attr(1).b() ? 1 : 0) + (c.attr(2).b() ? 1 : 0);
  double bytes = 0;
  for (const Tensor& t : c.inputs)
    if (t.defined()) bytes += static_cast<double>(t.nbytes());
  for (const Tensor& t : c.outputs) bytes += static_cast<double>(t.nbytes());
  return {
      2.0 * products * static_cast<double>(c.in(0).numel()) * static_cast<double>(c.in(2).size(1)),
      bytes};
}

const OpDef backward_def = {.name = "linear_backward",
                            .signature = "",
                            .doc = "",
                            .infer = backward_infer,
                            .kernel = backward_kernel,
                            .cost = backward_cost,
                            .flags = kInternal};

// The same gradients as ops on the tape.
void differentiable_rule(BackwardCall& b, const Tensor& x, const Tensor& w, const Tensor& bias) {
  const Activation activation = ops::activation_named(b.attr(0).text(), "linear");
  Tensor g = b.grad();
  if (activation != Activation::none) {
    Tensor z;
    if (ops::gradient_needs_input(activation)) z = call(def::linear, {x, w, bias}, {Attr("none")});
    g = ops::activation_gradient(activation, g, z, z.defined() ? Tensor() : b.output());
  }
  const bool flat = x.dim() == 2;
  const Tensor rows = flat ? g : ops::rows_of(g);
  if (b.needs(0)) {
    const Tensor dx = ops::matmul(rows, w);
    b.set(0, flat ? dx : ops::reshape(dx, b.input_shape(0)));
  }
  if (b.needs(1)) {
    const Tensor inputs = flat ? x : ops::rows_of(x);
    b.set(1, ops::matmul(ops::transpose(rows, 0, 1), inputs));
  }
  if (b.input_count() > 2 && b.needs(2)) b.set(2, ops::sum(rows, {0}));
}

void linear_rule(BackwardCall& b) {
  const Tensor x = b.input(0), w = b.input(1);
  const Tensor bias = b.input_count() > 2 ? b.input(2) : Tensor();
  if (grad_enabled() || b.grad().numel() == 0) return differentiable_rule(b, x, w, bias);
  const bool needs_bias = b.input_count() > 2 && b.needs(2);
  // Only what the activation's gradient reads: a capture may drop the rest.
  const Activation activation = ops::activation_named(b.attr(0).text(), "linear");
  const bool recomputes = ops::gradient_needs_input(activation);
  const bool reads_output = activation != Activation::none && !recomputes;
  const TensorList grads =
      call_all(backward_def,
               {b.grad(), x, w, recomputes ? bias : Tensor(), reads_output ? b.output() : Tensor()},
               {b.attr(0), Attr(b.needs(0)), Attr(b.needs(1)), Attr(needs_bias), Attr("none")});
  if (b.needs(0)) b.set(0, grads[0]);
  if (b.needs(1)) b.set(1, grads[1]);
  if (needs_bias) b.set(2, grads[2]);
}

Cost linear_cost(const OpCall& c) {
  double bytes = static_cast<double>(c.in(0).nbytes() + c.in(1).nbytes() + c.out().nbytes());
  if (c.has(3)) bytes += static_cast<double>(c.in(3).nbytes());
  return {2.0 * static_cast<double>(c.in(1).size(1)) * static_cast<double>(c.out().numel()), bytes};
}

const OpDef add_def = {.name = "linear_add",
                       .signature = "",
                       .doc = "",
                       .infer = linear_infer,
                       .kernel = linear_kernel,
                       .cost = linear_cost,
                       .flags = kInternal,
                       .prepare = linear_prepare};

}  // namespace

const LinearOps& linear_ops() {
  static const LinearOps ops = {&def::linear, &add_def, &backward_def};
  return ops;
}

namespace def {

const OpDef linear = {
    .name = "linear",
    .signature =
        "linear(Tensor input, Tensor weight, Tensor? bias=None, str activation='none') -> "
        "Tensor",
    .doc =
        "activation(input @ weight.T + bias): input (..., in), weight (out, in), bias (out,). "
        "activation is none, relu, sigmoid, tanh, gelu, gelu_tanh or silu, computed in the same "
        "pass.",
    .infer = linear_infer,
    .kernel = linear_kernel,
    .backward = linear_rule,
    .cost = linear_cost,
    .saves = save_input(0) | save_input(1) | save_input(2) | save_output(0),
    .flags = kPromote | kNoMethod,
    .prepare = linear_prepare};

}  // namespace def
}  // namespace annx
