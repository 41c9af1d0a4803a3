// Fused optimizer steps over all parameters of a group in one call, and the norm over gradients.
// Hyperparameters come in a float64 tensor, so that a recorded step sees each change of them.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <type_traits>
#include <vector>

#include "core/readonly.h"
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

Lists check_tensors(const OpCall& c, int lists, int hyper_size, int count) {
  const Lists out{c, count};
  const Tensor& hyper = out.hyper(lists);
  ANNX_CHECK(hyper.dtype() == DType::f64 && hyper.numel() >= hyper_size && hyper.is_contiguous(),
             value, c.name(), "expected hyper as ", hyper_size, " float64 values but got ",
             hyper.dtype(), " of shape ", hyper.shape());
  for (int i = 0; i < count; ++i) {
    const Tensor& p = out.at(0, i);
    ANNX_CHECK(is_floating(p.dtype()), type, c.name(),
               "expected floating-point parameters but got ", p.dtype());
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

Lists check_lists(const OpCall& c, int lists, int hyper_size, int first_length) {
  const auto count = static_cast<int>(c.attr(first_length).i());
  for (int l = 1; l < lists; ++l)
    ANNX_CHECK(c.attr(first_length + l).i() == count, value, c.name(), "expected lists of ", count,
               " tensors but list ", l, " has ", c.attr(first_length + l).i());
  return check_tensors(c, lists, hyper_size, count);
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
  for (int i = 0; i < lists.count; ++i) {
    check_writable(lists.at(0, i), "step");
    for (int l = 0; l < state_lists; ++l) check_writable(lists.at(2 + l, i), "step");
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

constexpr int kMaxStates = 3;

// A block of halves is brought to float32 in L1, updated there and rounded.
template <class F>
void run_half_block(const Lists& lists, int state_lists, int i, int64_t begin, int64_t end,
                    const Tensor& grad, F update) {
  constexpr int64_t kTile = 1024;
  const OptimKernels& k = optim_kernels();
  const bool bf16 = grad.dtype() == DType::bf16;
  const auto widen = bf16 ? k.widen_bf16 : k.widen_f16;
  const auto narrow = bf16 ? k.narrow_bf16 : k.narrow_f16;
  float g[kTile], own[1 + kMaxStates][kTile];
  float* states[kMaxStates] = {own[1], own[2], own[3]};
  for (int64_t at = begin; at < end; at += kTile) {
    const int64_t n = std::min(kTile, end - at);
    widen(grad.data<uint16_t>() + at, g, n);
    for (int l = 0; l <= state_lists; ++l)
      widen(lists.at(l == 0 ? 0 : 1 + l, i).data<uint16_t>() + at, own[l], n);
    update(own[0], g, states, n, k.f32);
    for (int l = 0; l <= state_lists; ++l)
      narrow(own[l], lists.at(l == 0 ? 0 : 1 + l, i).data<uint16_t>() + at, n);
  }
}

// Runs update(p, g, states, n, kernels) over all parameters.
template <class F>
void run_pieces(const Lists& lists, int state_lists, F update) {
  const OptimKernels& k = optim_kernels();
  for_pieces(lists, state_lists, [&](int i, int64_t begin, int64_t end, const Tensor& g) {
    const auto run = [&](auto* p, const auto& kernels) {
      using T = std::remove_pointer_t<decltype(p)>;
      T* states[kMaxStates] = {};
      for (int l = 0; l < state_lists; ++l) states[l] = lists.at(2 + l, i).data<T>() + begin;
      update(p + begin, static_cast<const T*>(g.data<T>()) + begin, states, end - begin, kernels);
    };
    switch (lists.at(0, i).dtype()) {
      case DType::f32:
        return run(lists.at(0, i).data<float>(), k.f32);
      case DType::f64:
        return run(lists.at(0, i).data<double>(), k.f64);
      default:
        return run_half_block(lists, state_lists, i, begin, end, g, update);
    }
  });
}

// sgd -------------------------------------------------------------------------------------------

void sgd_infer(const OpCall& c, OutputSpecs&) {
  // Without momentum the list of buffers may be empty.
  const bool buffers = c.attr(2).i() > 0;
  if (buffers) check_lists(c, 3, 8, 0);
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
  run_pieces(lists, buffers ? 1 : 0,
             [&](auto* p, const auto* g, auto* const* states, int64_t n, const auto& k) {
               k.sgd(p, g, buffers ? states[0] : nullptr, n, s);
             });
}

// adam ------------------------------------------------------------------------------------------

void adam_infer(const OpCall& c, OutputSpecs&) { check_lists(c, 4, 9, 0); }

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
  run_pieces(lists, 2, [&](auto* p, const auto* g, auto* const* states, int64_t n, const auto& k) {
    k.adam(p, g, states[0], states[1], n, s);
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

// rules -----------------------------------------------------------------------------------------

// Liu et al., 2019: the rectification needs about five steps of the average.
double radam_length(double beta2, double t) {
  const double power = std::pow(beta2, t);
  return 2 / (1 - beta2) - 1 - 2 * t * power / (1 - power);
}
bool radam_rectified(double beta2, double t) { return radam_length(beta2, t) > 5; }
double radam_factor(double beta2, double t) {
  if (!radam_rectified(beta2, t)) return 1;
  const double longest = 2 / (1 - beta2) - 1, length = radam_length(beta2, t);
  const double rectification =
      (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length);
  return std::sqrt(rectification * (1 - std::pow(beta2, t)));
}
double asgd_rate(double lr, double lambd, double alpha, double t) {
  return lr / std::pow(1 + lambd * lr * (t - 1), alpha);
}

// hyper: lr, weight_decay, decoupled, maximize, step, gradient scale, then H(i).
constexpr int kRuleHyper = 6;

struct Rule {
  const char* name;
  int states;
  void (*constants)(double lr, double t, const double* h, double* values);
  RuleFn<float> RuleKernels<float>::* f32;
  RuleFn<double> RuleKernels<double>::* f64;
};

#define H(i) h[i]
#define ANNX_OPTIMIZER(id, count, expressions, update)                                        \
  void id##_constants([[maybe_unused]] double lr, [[maybe_unused]] double t, const double* h, \
                      double* values) {                                                       \
    const double list[] = {ANNX_EXPRESSION(expressions)};                                     \
    std::copy(std::begin(list), std::end(list), values);                                      \
  }
#include "ops/optim/rows.def"
#undef ANNX_OPTIMIZER
#undef H

#define ANNX_OPTIMIZER(id, count, ...) \
  {#id, count, id##_constants, &RuleKernels<float>::id, &RuleKernels<double>::id},
constexpr Rule kRules[] = {
#include "ops/optim/rows.def"
};
#undef ANNX_OPTIMIZER

const Rule& rule_named(const char* name) {
  for (const Rule& rule : kRules)
    if (std::strcmp(rule.name, name) == 0) return rule;
  fail(ErrorKind::value, "optimizer_step_", "expected the name of a rule but got '", name, "'");
}

// The states of a rule lie in one list: all first states, then all second ones.
Lists check_rule(const OpCall& c, const Rule& rule) {
  const int64_t count = c.attr(1).i();
  ANNX_CHECK(c.attr(2).i() == count && c.attr(3).i() == rule.states * count, value, c.name(),
             "expected ", count, " gradients and ", rule.states * count, " states for rule '",
             rule.name, "' but got ", c.attr(2).i(), " and ", c.attr(3).i());
  return check_tensors(c, 2 + rule.states, kRuleHyper + 1, static_cast<int>(count));
}

void rule_infer(const OpCall& c, OutputSpecs&) { check_rule(c, rule_named(c.attr(0).text())); }

void rule_kernel(const OpCall& c) {
  const Rule& rule = rule_named(c.attr(0).text());
  const Lists lists = check_rule(c, rule);
  const Tensor& hyper = lists.hyper(2 + rule.states);
  double h[kRuleHyper + 8] = {};
  std::copy_n(hyper.data<double>(), std::min<int64_t>(hyper.numel(), std::size(h)), h);
  const bool decoupled = h[2] != 0;
  RuleStep s{};
  s.scale = h[3] != 0 ? -h[5] : h[5];
  s.l2 = decoupled ? 0 : h[1];
  s.decay = decoupled ? 1 - h[0] * h[1] : 1;
  rule.constants(h[0], h[4], h + kRuleHyper, s.values);
  run_pieces(lists, rule.states,
             [&](auto* p, const auto* g, auto* const* states, int64_t n, const auto& k) {
               if constexpr (std::is_same_v<decltype(p), float*>)
                 (k.rules.*rule.f32)(p, g, states, n, s);
               else
                 (k.rules.*rule.f64)(p, g, states, n, s);
             });
}

Cost rule_cost(const OpCall& c) {
  double n = 0, states = 0;
  for (int64_t i = 0; i < c.attr(1).i(); ++i)
    n += static_cast<double>(c.in(static_cast<int>(i)).nbytes());
  states = static_cast<double>(rule_named(c.attr(0).text()).states);
  return {(4 + 4 * states) * n / 4, (3 + 2 * states) * n};  // g read; p and states both ways
}

// clip_scale ------------------------------------------------------------------------------------

void clip_infer(const OpCall& c, OutputSpecs&) {
  const Tensor& norm = c.in(0);
  ANNX_CHECK(norm.numel() == 1 && norm.dtype() == DType::f32, value, c.name(),
             "expected a float32 norm of one element but got ", norm.dtype(), " of shape ",
             norm.shape());
  for (int i = 1; i < c.inputs.size(); ++i) {
    const Tensor& hyper = c.in(i);
    ANNX_CHECK(hyper.dtype() == DType::f64 && hyper.is_contiguous() && c.attr(1).i() >= 0 &&
                   c.attr(1).i() < hyper.numel(),
               value, c.name(), "expected float64 hyper tensors of more than ", c.attr(1).i(),
               " elements but got ", hyper.dtype(), " of shape ", hyper.shape());
  }
}

void clip_kernel(const OpCall& c) {
  const double norm = static_cast<double>(*c.in(0).data<float>());
  const double factor = c.attr(0).f() / (norm + 1e-6);
  for (int i = 1; i < c.inputs.size(); ++i) {
    // A NaN stays: the step then shows it.
    c.in(i).data<double>()[c.attr(1).i()] = factor > 1 ? 1 : factor;
    c.in(i).storage()->bump_version();
  }
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
const OpDef optimizer_step_ = {
    .name = "optimizer_step_",
    .signature =
        "optimizer_step_(Tensor[] params, Tensor[] grads, Tensor[] states, Tensor hyper, str rule) "
        "-> None",
    .doc =
        "One step of the optimizer named rule in place: rmsprop, rmsprop_momentum, "
        "rmsprop_centered, rmsprop_centered_momentum, adagrad, adadelta, adamax, adam_amsgrad, "
        "nadam, radam, asgd, rprop, lion. states holds all first states of the parameters, then "
        "all second ones. hyper (float64): lr, weight_decay, decoupled, maximize, step (from 1), "
        "gradient scale, then the rule's own numbers as listed in csrc/ops/optim/rows.def.",
    .infer = rule_infer,
    .kernel = rule_kernel,
    .cost = rule_cost,
    .flags = kMutates | kNoMethod | kHalfNative};
const OpDef clip_scale_ = {
    .name = "clip_scale_",
    .signature = "clip_scale_(Tensor norm, float max_norm, Tensor[] hypers, int position) -> None",
    .doc =
        "Writes min(1, max_norm / (norm + 1e-6)) to a position of each float64 tensor: the "
        "gradient scale among the hyperparameters of an optimizer step. Pascanu et al., 2013.",
    .infer = clip_infer,
    .kernel = clip_kernel,
    .flags = kMutates | kNoMethod};
const OpDef global_norm = {.name = "global_norm",
                           .signature = "global_norm(Tensor[] tensors) -> Tensor",
                           .doc = "The 2-norm over all elements of all tensors, summed in double.",
                           .infer = global_norm_infer,
                           .kernel = global_norm_kernel,
                           .cost = global_norm_cost,
                           .flags = kNoMethod};

}  // namespace def
}  // namespace annx
