// Fused optimizer steps over all parameters of a group in one call, and the norm over gradients.
// Hyperparameters come in a float64 tensor, so that a recorded step sees each change of them.
#include <cmath>
#include <vector>

#include "core/thread_pool.h"
#include "ops/functional.h"
#include "ops/optim/kernels.h"

namespace annx {
namespace {

constexpr int64_t kBlock = 16384;  // elements of one piece of work

// The lists of a call, all of the length and shapes of the first.
struct Lists {
  const OpCall& c;
  int count;
  const Tensor& at(int list, int i) const { return c.in(list * count + i); }
  const Tensor& hyper(int lists) const { return c.in(lists * count); }
};

Lists check_lists(const OpCall& c, int lists, int hyper_size, int first_length) {
  const auto count = static_cast<int>(c.attr(first_length).i());
  for (int l = 1; l < lists; ++l)
    ANNX_CHECK(c.attr(first_length + l).i() == count, value, c.name(), "expected lists of ", count,
               " tensors but list ", l, " has ", c.attr(first_length + l).i());
  const Lists out{c, count};
  const Tensor& hyper = out.hyper(lists);
  ANNX_CHECK(hyper.dtype() == DType::f64 && hyper.numel() >= hyper_size && hyper.is_contiguous(),
             value, c.name(), "expected hyper as ", hyper_size, " float64 values but got ",
             hyper.dtype(), " of shape ", hyper.shape());
  for (int i = 0; i < count; ++i) {
    const Tensor& p = out.at(0, i);
    ANNX_CHECK(p.dtype() == DType::f32 || p.dtype() == DType::f64, type, c.name(),
               "expected float32 or float64 parameters but got ", p.dtype());
    for (int l = 0; l < lists; ++l) {
      const Tensor& t = out.at(l, i);
      ANNX_CHECK(t.shape() == p.shape() && t.dtype() == p.dtype(), value, c.name(),
                 "expected shape ", p.shape(), " and dtype ", p.dtype(), " for tensor ", i,
                 " of list ", l, " but got ", t.shape(), " and ", t.dtype());
      ANNX_CHECK(l == 1 || t.is_contiguous(), value, c.name(),
                 "expected contiguous parameters and state but tensor ", i, " of list ", l,
                 " is not");
    }
  }
  return out;
}

struct Piece {
  int tensor;
  int64_t begin, end;
};

std::vector<Piece> pieces_of(const Lists& lists) {
  std::vector<Piece> out;
  for (int i = 0; i < lists.count; ++i)
    for (int64_t b = 0; b < lists.at(0, i).numel(); b += kBlock)
      out.push_back({i, b, std::min(b + kBlock, lists.at(0, i).numel())});
  return out;
}

// Runs update(tensor, begin, end, gradient) over all parameters, spread over the pool.
template <class F>
void for_pieces(const Lists& lists, int state_lists, F update) {
  GradModeGuard no_grad(false);
  TensorList grads;
  int64_t total = 0;
  for (int i = 0; i < lists.count; ++i) {
    grads.push_back(ops::contiguous(lists.at(1, i)));
    total += lists.at(0, i).numel();
  }
  const std::vector<Piece> pieces = pieces_of(lists);
  const auto n = static_cast<int64_t>(pieces.size());
  // Small models stay on one thread: waking another costs more than the whole step.
  parallel_for(n, total <= 2 * kBlock ? std::max<int64_t>(n, 1) : 1,
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   const Piece& p = pieces[static_cast<size_t>(i)];
                   update(p.tensor, p.begin, p.end, grads[p.tensor]);
                 }
               });
  for (int i = 0; i < lists.count; ++i) {
    lists.at(0, i).storage()->bump_version();
    for (int l = 0; l < state_lists; ++l) lists.at(2 + l, i).storage()->bump_version();
  }
}

// sgd -------------------------------------------------------------------------------------------

void sgd_infer(const OpCall& c, OutputSpecs&) {
  // Without momentum the list of buffers may be empty.
  const bool buffers = c.attr(2).i() > 0;
  if (buffers) check_lists(c, 3, 8, 0);
}

template <class T>
void sgd_piece(const Lists& lists, bool buffers, int i, int64_t begin, int64_t end, const Tensor& g,
               const SgdStep& s, const OptimKernelsOf<T>& k) {
  T* b = buffers ? lists.at(2, i).data<T>() + begin : nullptr;
  k.sgd(lists.at(0, i).data<T>() + begin, g.data<T>() + begin, b, end - begin, s);
}

void sgd_kernel(const OpCall& c) {
  const bool buffers = c.attr(2).i() > 0;
  const Lists lists = buffers ? check_lists(c, 3, 8, 0) : check_lists(c, 2, 8, 0);
  const double* h = lists.hyper(buffers ? 3 : 2).data<double>();
  ANNX_CHECK(buffers || h[1] == 0, value, "sgd_step_", "expected momentum buffers for momentum ",
             h[1], " but got none");
  SgdStep s{};
  s.lr = h[0], s.momentum = h[1], s.one_minus_dampening = 1 - h[2], s.weight_decay = h[3];
  s.nesterov = h[4] != 0, s.first = h[6] != 0, s.use_momentum = h[1] != 0;
  s.grad_scale = h[5] != 0 ? -h[7] : h[7];
  const OptimKernels& k = optim_kernels();
  for_pieces(lists, buffers ? 1 : 0, [&](int i, int64_t begin, int64_t end, const Tensor& g) {
    if (lists.at(0, i).dtype() == DType::f32)
      sgd_piece(lists, buffers, i, begin, end, g, s, k.f32);
    else
      sgd_piece(lists, buffers, i, begin, end, g, s, k.f64);
  });
}

// adam ------------------------------------------------------------------------------------------

void adam_infer(const OpCall& c, OutputSpecs&) { check_lists(c, 4, 9, 0); }

template <class T>
void adam_piece(const Lists& lists, int i, int64_t begin, int64_t end, const Tensor& g,
                const AdamStep& s, const OptimKernelsOf<T>& k) {
  k.adam(lists.at(0, i).data<T>() + begin, g.data<T>() + begin, lists.at(2, i).data<T>() + begin,
         lists.at(3, i).data<T>() + begin, end - begin, s);
}

void adam_kernel(const OpCall& c) {
  const Lists lists = check_lists(c, 4, 9, 0);
  const double* h = lists.hyper(4).data<double>();
  const double lr = h[0], step = h[7];
  AdamStep s{};
  s.beta1 = h[1], s.one_minus_beta1 = 1 - h[1];
  s.beta2 = h[2], s.one_minus_beta2 = 1 - h[2];
  s.eps = h[3], s.weight_decay = h[4], s.decoupled = h[5] != 0;
  s.grad_scale = h[6] != 0 ? -h[8] : h[8];
  s.step_size = lr / (1 - std::pow(h[1], step));
  s.inv_sqrt_bias2 = 1 / std::sqrt(1 - std::pow(h[2], step));
  s.decay = s.decoupled ? 1 - lr * h[4] : 1;
  const OptimKernels& k = optim_kernels();
  for_pieces(lists, 2, [&](int i, int64_t begin, int64_t end, const Tensor& g) {
    if (lists.at(0, i).dtype() == DType::f32)
      adam_piece(lists, i, begin, end, g, s, k.f32);
    else
      adam_piece(lists, i, begin, end, g, s, k.f64);
  });
}

Cost adam_cost(const OpCall& c) {
  double n = 0;
  for (int64_t i = 0; i < c.attr(0).i(); ++i)
    n += static_cast<double>(c.in(static_cast<int>(i)).nbytes());
  return {12 * n / 4, 7 * n};  // reads p, g, m, v; writes p, m, v
}

Cost sgd_cost(const OpCall& c) {
  double n = 0;
  for (int64_t i = 0; i < c.attr(0).i(); ++i)
    n += static_cast<double>(c.in(static_cast<int>(i)).nbytes());
  const bool buffers = c.attr(2).i() > 0;
  return {(buffers ? 4 : 2) * n / 4, (buffers ? 5 : 3) * n};  // p, g, b read; p, b written
}

// global_norm -------------------------------------------------------------------------------------

Cost global_norm_cost(const OpCall& c) {
  Cost cost;
  for (const Tensor& t : c.inputs) {
    cost.flops += 2 * static_cast<double>(t.numel());
    cost.bytes += static_cast<double>(t.nbytes());
  }
  return cost;
}

void global_norm_infer(const OpCall& c, OutputSpecs& specs) {
  for (const Tensor& t : c.inputs)
    ANNX_CHECK(t.dtype() == DType::f32 || t.dtype() == DType::f64, type, "global_norm",
               "expected float32 or float64 tensors but got ", t.dtype());
  specs.push_back({{}, DType::f32});
}

void global_norm_kernel(const OpCall& c) {
  GradModeGuard no_grad(false);
  const OptimKernels& k = optim_kernels();
  double total = 0;
  for (const Tensor& t : c.inputs) {
    const Tensor x = ops::contiguous(t);
    const int64_t n = x.numel(), blocks = (n + kBlock - 1) / kBlock;
    std::vector<double> partial(static_cast<size_t>(blocks));
    parallel_for(blocks, 4, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const int64_t at = b * kBlock, length = std::min(kBlock, n - at);
        partial[static_cast<size_t>(b)] = x.dtype() == DType::f32
                                              ? k.f32.sum_of_squares(x.data<float>() + at, length)
                                              : k.f64.sum_of_squares(x.data<double>() + at, length);
      }
    });
    for (double p : partial) total += p;
  }
  *c.out().data<float>() = static_cast<float>(std::sqrt(total));
}

}  // namespace

namespace def {

const OpDef sgd_step_ = {
    .name = "sgd_step_",
    .signature =
        "sgd_step_(Tensor[] params, Tensor[] grads, Tensor[] momentum_buffers, Tensor "
        "hyper) -> None",
    .doc =
        "One SGD step in place. hyper (float64): lr, momentum, dampening, weight_decay, "
        "nesterov, maximize, first step (buffer = gradient), gradient scale. Without momentum "
        "momentum_buffers may be empty.",
    .infer = sgd_infer,
    .kernel = sgd_kernel,
    .cost = sgd_cost,
    .flags = kMutates | kNoMethod | kHalfNative};
const OpDef adam_step_ = {
    .name = "adam_step_",
    .signature =
        "adam_step_(Tensor[] params, Tensor[] grads, Tensor[] exp_avgs, Tensor[] "
        "exp_avg_sqs, Tensor hyper) -> None",
    .doc =
        "One Adam or AdamW step in place. hyper (float64): lr, beta1, beta2, eps, weight_decay, "
        "decoupled, maximize, step (from 1), gradient scale. Kingma and Ba, 2014; Loshchilov "
        "and Hutter, 2017.",
    .infer = adam_infer,
    .kernel = adam_kernel,
    .cost = adam_cost,
    .flags = kMutates | kNoMethod | kHalfNative};
const OpDef global_norm = {.name = "global_norm",
                           .signature = "global_norm(Tensor[] tensors) -> Tensor",
                           .doc = "The 2-norm over all elements of all tensors, summed in double.",
                           .infer = global_norm_infer,
                           .kernel = global_norm_kernel,
                           .cost = global_norm_cost,
                           .flags = kNoMethod};

}  // namespace def
}  // namespace annx
