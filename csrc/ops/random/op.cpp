// Random tensors and dropout. Each op draws one counter of the generator; its result is a function
// of seed, counter and element, so it does not depend on threads, targets or chunks.
#include <algorithm>
#include <cmath>

#include "core/thread_pool.h"
#include "ops/elementary/kernels.h"
#include "ops/elementwise/driver.h"
#include "ops/functional.h"
#include "ops/random/dropout.h"
#include "ops/random/generator.h"
#include "ops/random/kernels.h"

namespace annx {
namespace {

constexpr int64_t kGrain = 32768;

// Fills t with uniforms in [0, 1) or standard normals.
void fill_uniform(const Tensor& t, RandomState s) {
  const NumericsKernels& k = numerics_kernels();
  parallel_for(t.numel(), kGrain, [&](int64_t begin, int64_t end) {
    if (t.dtype() == DType::f32)
      k.f32_uniform(s.seed, s.counter, begin, t.data<float>() + begin, end - begin);
    else
      k.f64_uniform(s.seed, s.counter, begin, t.data<double>() + begin, end - begin);
  });
}

void fill_normal(const Tensor& t, RandomState s) {
  const NumericsKernels& k = numerics_kernels();
  parallel_for(t.numel(), kGrain, [&](int64_t begin, int64_t end) {
    if (t.dtype() == DType::f32)
      k.f32_normal(s.seed, s.counter, begin, t.data<float>() + begin, end - begin);
    else
      k.f64_normal(s.seed, s.counter, begin, t.data<double>() + begin, end - begin);
  });
}

// uniform and normal by key ---------------------------------------------------------------------

void random_infer(const OpCall& c, OutputSpecs& specs) {
  const Dims shape(c.attr(1).ints());
  numel_of(shape, "random");
  specs.push_back({shape, c.attr(2).dtype()});
}
void uniform_kernel(const OpCall& c) { fill_uniform(c.out(), random_state_of(c.attr(0))); }
void normal_kernel(const OpCall& c) { fill_normal(c.out(), random_state_of(c.attr(0))); }

const OpDef uniform_def = {.name = "random_uniform",
                           .signature = "",
                           .doc = "",
                           .infer = random_infer,
                           .kernel = uniform_kernel,
                           .flags = kInternal | kKeyed};
const OpDef normal_def = {.name = "random_normal",
                          .signature = "",
                          .doc = "",
                          .infer = random_infer,
                          .kernel = normal_kernel,
                          .flags = kInternal | kKeyed};

// Half types are drawn in float32 and rounded; the result has the dtype asked for.
Tensor draw(const OpDef& op, const Attr& size, const Attr& dtype_attr, const char* name) {
  const DType dtype = dtype_attr.is_none() ? DType::f32 : dtype_attr.dtype();
  ANNX_CHECK(is_floating(dtype), type, name, "expected a floating dtype but got ", dtype);
  numel_of(Dims(size.ints()), name);
  const DType drawn = dtype == DType::f64 ? DType::f64 : DType::f32;
  return ops::cast(call(op, {}, {random_key(next_random_state()), size, Attr(drawn)}), dtype);
}

TensorList rand(const OpCall& c) { return {draw(uniform_def, c.attr(0), c.attr(1), "rand")}; }
TensorList randn(const OpCall& c) { return {draw(normal_def, c.attr(0), c.attr(1), "randn")}; }

// randint, randperm -----------------------------------------------------------------------------

// Uniform numbers to integers: low, high and the numbers are attributes 0, 1 and input 0.
void integers_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(0).shape(), DType::i64});
}
void integers_kernel(const OpCall& c) {
  const int64_t low = c.attr(0).i(), high = c.attr(1).i();
  const double range = static_cast<double>(high) - static_cast<double>(low);
  const double* u = c.in(0).data<double>();
  int64_t* out = c.out().data<int64_t>();
  for (int64_t i = 0; i < c.out().numel(); ++i)
    out[i] = std::min(
        static_cast<int64_t>(static_cast<uint64_t>(low) + static_cast<uint64_t>(u[i] * range)),
        high - 1);
}
const OpDef integers_def = {.name = "random_integers",
                            .signature = "",
                            .doc = "",
                            .infer = integers_infer,
                            .kernel = integers_kernel,
                            .flags = kInternal};

TensorList randint(const OpCall& c) {
  const int64_t low = c.attr(0).i(), high = c.attr(1).i();
  numel_of(Dims(c.attr(2).ints()), "randint");
  ANNX_CHECK(low < high, value, "randint", "expected low < high but got ", low, " and ", high);
  const DType dtype = c.attr(3).is_none() ? DType::i64 : c.attr(3).dtype();
  const Tensor u =
      call(uniform_def, {}, {random_key(next_random_state()), c.attr(2), Attr(DType::f64)});
  return {ops::cast(call(integers_def, {u}, {Attr(low), Attr(high)}), dtype)};
}

// Uniform numbers to a permutation, after Fisher and Yates.
void permutation_kernel(const OpCall& c) {
  const int64_t n = c.out().numel();
  const double* u = c.in(0).data<double>();
  int64_t* p = c.out().data<int64_t>();
  for (int64_t i = 0; i < n; ++i) p[i] = i;
  for (int64_t i = n - 1; i > 0; --i) {
    const auto j = static_cast<int64_t>(u[i] * static_cast<double>(i + 1));
    std::swap(p[i], p[std::min(j, i)]);
  }
}
const OpDef permutation_def = {.name = "random_permutation",
                               .signature = "",
                               .doc = "",
                               .infer = integers_infer,
                               .kernel = permutation_kernel,
                               .flags = kInternal};

TensorList randperm(const OpCall& c) {
  const int64_t n = c.attr(0).i();
  ANNX_CHECK(n >= 0, value, "randperm", "expected n >= 0 but got ", n);
  numel_of(Dims{n}, "randperm");
  const Tensor u =
      call(uniform_def, {}, {random_key(next_random_state()), Attr(Ints{n}), Attr(DType::f64)});
  return {call(permutation_def, {u})};
}

TensorList bernoulli(const OpCall& c) {
  const Tensor& p = c.in(0);
  const Tensor u =
      call(uniform_def, {}, {random_key(next_random_state()), Attr(p.shape()), Attr(p.dtype())});
  return {ops::cast(ops::lt(u, p), p.dtype())};
}

// dropout ---------------------------------------------------------------------------------------

void dropout_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(0).shape(), c.in(0).dtype()});
  specs[0].strides = kept_layout(c.inputs.data(), 1, c.in(0).shape());
}

void dropout_run(RandomState s, const float* x, float* y, int64_t begin, int64_t n, double p) {
  random_kernels().f32_dropout(s.seed, s.counter, begin, x, y, n, static_cast<float>(p),
                               static_cast<float>(1 / (1 - p)));
}

void dropout_run(RandomState s, const double* x, double* y, int64_t begin, int64_t n, double p) {
  constexpr int64_t kTile = 512;
  double u[kTile];
  const double scale = 1 / (1 - p);
  for (int64_t at = 0; at < n; at += kTile) {
    const int64_t count = std::min(kTile, n - at);
    numerics_kernels().f64_uniform(s.seed, s.counter, begin + at, u, count);
    for (int64_t i = 0; i < count; ++i) y[at + i] = u[i] >= p ? x[at + i] * scale : 0.0;
  }
}

// out = x / (1 - p) where the element's uniform is at least p, else 0. The mask is never stored:
// the gradient is the same op with the same key. An element's uniform goes by its place in
// row-major order, whatever the layout.
template <class T>
void dropout_in(const OpCall& c) {
  GradModeGuard no_grad(false);
  const RandomState s = random_state_of(c.attr(0));
  const Tensor x = ops::contiguous(c.in(0));
  const bool flat = c.out().is_contiguous();
  const Tensor y = flat ? c.out() : Tensor::empty(x.shape(), x.dtype());
  const T* in = x.data<T>();
  T* out = y.data<T>();
  parallel_for(x.numel(), kGrain, [&](int64_t begin, int64_t end) {
    dropout_run(s, in + begin, out + begin, begin, end - begin, c.attr(1).f());
  });
  if (!flat) copy_elements(y, c.out());
}

void dropout_kernel(const OpCall& c) {
  if (c.in(0).dtype() == DType::f32)
    dropout_in<float>(c);
  else
    dropout_in<double>(c);
}

extern const OpDef dropout_def;
void dropout_rule(BackwardCall& b) {
  b.set(0, call(dropout_def, {b.grad()}, {b.attr(0), b.attr(1)}));
}
const OpDef dropout_def = {.name = "dropout_by_key",
                           .signature = "",
                           .doc = "",
                           .infer = dropout_infer,
                           .kernel = dropout_kernel,
                           .backward = dropout_rule,
                           .flags = kInternal | kKeyed};

// What a captured step runs instead where the same key comes twice (program/pass_dropout.cpp): the
// mask is drawn once and kept as bools.
void dropout_mask_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(0).shape(), DType::f32});
  specs.push_back({c.in(0).shape(), DType::b8});
}
void dropout_mask_kernel(const OpCall& c) {
  const RandomState s = random_state_of(c.attr(0));
  const double p = c.attr(1).f();
  const auto* const in = c.in(0).data<float>();
  auto* const out = c.out().data<float>();
  auto* const mask = c.out(1).data<uint8_t>();
  const float* const other = c.has(1) ? c.in(1).data<float>() : nullptr;
  parallel_for(c.in(0).numel(), kGrain, [&](int64_t begin, int64_t end) {
    random_kernels().f32_dropout_mask(s.seed, s.counter, begin, in + begin, out + begin,
                                      mask + begin, other ? other + begin : nullptr, end - begin,
                                      static_cast<float>(p), static_cast<float>(1 / (1 - p)));
  });
}
const OpDef dropout_mask_def = {.name = "dropout_mask_by_key",
                                .signature = "",
                                .doc = "",
                                .infer = dropout_mask_infer,
                                .kernel = dropout_mask_kernel,
                                .flags = kInternal | kKeyed};

void dropout_kept_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(0).shape(), DType::f32});
}
void dropout_kept_kernel(const OpCall& c) {
  const double params[4] = {static_cast<float>(1 / (1 - c.attr(0).f()))};
  run_elementwise(random_kernels().f32_dropout_kept, c.inputs.data(), 2, c.out(), params, 0.25);
}
const OpDef dropout_kept_def = {.name = "dropout_kept",
                                .signature = "",
                                .doc = "",
                                .infer = dropout_kept_infer,
                                .kernel = dropout_kept_kernel,
                                .flags = kInternal | kElementwise};

TensorList dropout(const OpCall& c) {
  const double p = c.attr(0).f();
  ANNX_CHECK(p >= 0 && p <= 1, value, "dropout", "expected p in [0, 1] but got ", p);
  ANNX_CHECK(is_floating(c.in(0).dtype()), type, "dropout",
             "expected a floating input but got dtype ", c.in(0).dtype());
  if (!c.attr(1).b() || p == 0) return {c.in(0)};
  if (p == 1) return {ops::mul(c.in(0), ops::number(0))};
  return {call(dropout_def, {c.in(0)}, {random_key(next_random_state()), Attr(p)})};
}

}  // namespace

const DropoutOps& dropout_ops() {
  static const DropoutOps ops = {&dropout_def, &dropout_mask_def, &dropout_kept_def};
  return ops;
}

namespace def {

const OpDef rand = {.name = "rand",
                    .signature = "rand(int... size, *, dtype? dtype=None) -> Tensor",
                    .doc = "Uniform numbers in [0, 1) of shape size.",
                    .composite = annx::rand,
                    .flags = kNoMethod};
const OpDef randn = {.name = "randn",
                     .signature = "randn(int... size, *, dtype? dtype=None) -> Tensor",
                     .doc = "Standard normal numbers of shape size (Box and Muller).",
                     .composite = annx::randn,
                     .flags = kNoMethod};
const OpDef randint = {
    .name = "randint",
    .signature = "randint(int low, int high, int[] size, *, dtype? dtype=None) -> Tensor",
    .doc = "Integers in [low, high), each as likely as the others; int64 by default.",
    .composite = annx::randint,
    .flags = kNoMethod};
const OpDef randperm = {.name = "randperm",
                        .signature = "randperm(int n) -> Tensor",
                        .doc = "The integers 0 to n - 1 in random order (int64).",
                        .composite = annx::randperm,
                        .cost = move_cost,
                        .flags = kNoMethod};
const OpDef bernoulli = {.name = "bernoulli",
                         .signature = "bernoulli(Tensor input) -> Tensor",
                         .doc = "1 with probability input, else 0, element by element.",
                         .composite = annx::bernoulli};
const OpDef dropout = {
    .name = "dropout",
    .signature = "dropout(Tensor input, float p=0.5, bool training=True) -> Tensor",
    .doc =
        "Zeroes each element with probability p and scales the others by 1 / (1 - p); input "
        "itself when not training. Srivastava et al., 2014.",
    .composite = annx::dropout,
    .flags = kNoMethod};

}  // namespace def
}  // namespace annx
