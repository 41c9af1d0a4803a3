// Arithmetic, comparisons, logic, where and clamp: the formulas of two operands are in rows.def.
#include <cmath>
#include <string_view>

#include "ops/arithmetic/fused.h"
#include "ops/arithmetic/kernels.h"
#include "ops/elementwise/unary_rule.h"

namespace annx {
namespace {

void infer_broadcast(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({broadcast_shapes(c.in(0).shape(), c.in(1).shape(), c.name()), c.in(0).dtype()});
}

void infer_compare(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({broadcast_shapes(c.in(0).shape(), c.in(1).shape(), c.name()), DType::b8});
}

void run_binary(const OpCall& c, const KernelByDType& kernels) { run_picked(c, kernels, nullptr); }

// Integers go through the same formulas, one lane at a time.
#define ANNX_BINARY(name, Domain, forward, ...) ANNX_SCALAR_##Domain(name, forward)
#define ANNX_SCALAR_Real(name, forward)
#define ANNX_SCALAR_Number(name, forward)                                       \
  template <class T>                                                            \
  void name##_int(const void* const* in, void* out, int64_t n, const double*) { \
    const T* x = static_cast<const T*>(in[0]);                                  \
    const T* y = static_cast<const T*>(in[1]);                                  \
    T* o = static_cast<T*>(out);                                                \
    for (int64_t i = 0; i < n; ++i) {                                           \
      const auto a = IntLane<T>::load(x + i), b = IntLane<T>::load(y + i);      \
      const auto result = ANNX_EXPRESSION(forward);                             \
      result.store(o + i);                                                      \
    }                                                                           \
  }
#define ANNX_COMPARE(name, forward, doc)                                        \
  template <class T>                                                            \
  void name##_int(const void* const* in, void* out, int64_t n, const double*) { \
    const T* x = static_cast<const T*>(in[0]);                                  \
    const T* y = static_cast<const T*>(in[1]);                                  \
    auto* o = static_cast<uint8_t*>(out);                                       \
    for (int64_t i = 0; i < n; ++i) {                                           \
      const auto a = IntLane<T>::load(x + i), b = IntLane<T>::load(y + i);      \
      o[i] = ANNX_EXPRESSION(forward);                                          \
    }                                                                           \
  }
#include "ops/arithmetic/rows.def"
#undef ANNX_BINARY
#undef ANNX_COMPARE

#define ANNX_INTS_Real(name) nullptr, nullptr, nullptr, nullptr
#define ANNX_INTS_Number(name) \
  name##_int<int64_t>, name##_int<int32_t>, name##_int<uint8_t>, name##_int<Bool8>
#define ANNX_FLAGS_Real kFloat
#define ANNX_FLAGS_Number 0

#define ANNX_BINARY(name, Domain, forward, grad_a, grad_b, Saves, doc)                    \
  void name##_kernel(const OpCall& c) {                                                   \
    const auto& t = arithmetic_kernels().name;                                            \
    run_binary(c, {t.f32, t.f64, ANNX_INTS_##Domain(name), t.stream, t.f32_number});      \
  }                                                                                       \
  void name##_rule(BackwardCall& call) {                                                  \
    using namespace ops;                                                                  \
    constexpr uint32_t saves = Saves;                                                     \
    const Tensor& g = call.grad();                                                        \
    [[maybe_unused]] const Tensor a = saves & save_input(0) ? call.input(0) : Tensor();   \
    [[maybe_unused]] const Tensor b = saves & save_input(1) ? call.input(1) : Tensor();   \
    [[maybe_unused]] const Tensor y = saves & save_output(0) ? call.output() : Tensor();  \
    if (call.needs(0)) call.set(0, sum_to(ANNX_EXPRESSION(grad_a), call.input_shape(0))); \
    if (call.needs(1)) call.set(1, sum_to(ANNX_EXPRESSION(grad_b), call.input_shape(1))); \
  }
#define ANNX_COMPARE(name, forward, doc)                   \
  void name##_kernel(const OpCall& c) {                    \
    const auto& t = arithmetic_kernels().name;             \
    run_binary(c, {t.f32, t.f64, ANNX_INTS_Number(name)}); \
  }
#include "ops/arithmetic/rows.def"
#undef ANNX_BINARY
#undef ANNX_COMPARE

// A power of the number 2 is a product, and so on.
const OpDef* power_instead(OpCall& c) {
  const Tensor& exponent = c.in(1);
  if (!exponent.impl()->wrapped_number || c.in(0).impl()->wrapped_number ||
      !is_floating(c.in(0).dtype()))
    return nullptr;
  const OpDef* const op = fused::power(c.in(0), load_scalar_f64(exponent.raw(), exponent.dtype()));
  if (op == nullptr || (call_observer() && call_observer()->varies(exponent))) return nullptr;
  c.inputs = TensorList{c.in(0)};
  return op;
}

// By the name of the row: other rows have none.
constexpr auto instead_of(std::string_view name) -> const OpDef* (*)(OpCall&) {
  return name == "pow" ? power_instead : nullptr;
}

// where ---------------------------------------------------------------------------------------

template <class T>
void where_bits(const void* const* in, void* out, int64_t n, const double*) {
  const auto* c = static_cast<const uint8_t*>(in[0]);
  const T* a = static_cast<const T*>(in[1]);
  const T* b = static_cast<const T*>(in[2]);
  T* o = static_cast<T*>(out);
  for (int64_t i = 0; i < n; ++i) o[i] = c[i] ? a[i] : b[i];
}

void infer_where(const OpCall& c, OutputSpecs& specs) {
  ANNX_CHECK(c.in(0).dtype() == DType::b8, type, "where",
             "expected a bool condition but got dtype ", c.in(0).dtype());
  const Dims branches = broadcast_shapes(c.in(1).shape(), c.in(2).shape(), "where");
  specs.push_back({broadcast_shapes(c.in(0).shape(), branches, "where"), c.in(1).dtype()});
}

void where_kernel(const OpCall& c) {
  const auto& t = arithmetic_kernels().where;
  const KernelByDType kernels = {t.f32,
                                 t.f64,
                                 where_bits<uint64_t>,
                                 where_bits<uint32_t>,
                                 where_bits<uint8_t>,
                                 where_bits<uint8_t>};
  run_elementwise(pick(kernels, c.in(1).dtype(), "where"), c.inputs.data(), 3, c.out());
}

void where_rule(BackwardCall& b) {
  const Tensor condition = b.input(0);
  const Tensor zero = ops::number(0);
  if (b.needs(1)) b.set(1, ops::sum_to(ops::where(condition, b.grad(), zero), b.input_shape(1)));
  if (b.needs(2)) b.set(2, ops::sum_to(ops::where(condition, zero, b.grad()), b.input_shape(2)));
}

// Composites ----------------------------------------------------------------------------------

TensorList clamp(const OpCall& c) {
  ANNX_CHECK(c.has(1) || c.has(2), value, "clamp", "expected min or max but got neither");
  Tensor y = c.in(0);
  if (c.has(1) && c.has(2) && fused::takes(y)) return {fused::clamp(y, c.in(1), c.in(2))};
  if (c.has(1)) y = ops::maximum(y, c.in(1));
  if (c.has(2)) y = ops::minimum(y, c.in(2));
  return {y};
}

Tensor truth(const Tensor& x) { return ops::cast(x, DType::b8); }

TensorList logical_and(const OpCall& c) { return {ops::mul(truth(c.in(0)), truth(c.in(1)))}; }
TensorList logical_or(const OpCall& c) { return {ops::maximum(truth(c.in(0)), truth(c.in(1)))}; }
TensorList logical_xor(const OpCall& c) { return {ops::ne(truth(c.in(0)), truth(c.in(1)))}; }

void not_infer(const OpCall& c, OutputSpecs& specs) {
  specs.push_back({c.in(0).shape(), DType::b8});
}
void not_run(const void* const* in, void* out, int64_t n, const double*) {
  const auto* x = static_cast<const uint8_t*>(in[0]);
  auto* o = static_cast<uint8_t*>(out);
  for (int64_t i = 0; i < n; ++i) o[i] = x[i] == 0;
}
void not_kernel(const OpCall& c) { run_elementwise(not_run, c.inputs.data(), 1, c.out()); }
const OpDef not_def = {.name = "not",
                       .signature = "",
                       .doc = "",
                       .infer = not_infer,
                       .kernel = not_kernel,
                       .cost = elementwise_cost,
                       .flags = kInternal | kElementwise};

TensorList logical_not(const OpCall& c) {
  if (c.in(0).dtype() == DType::b8) return {call(not_def, {c.in(0)})};
  return {ops::eq(c.in(0), ops::number(0))};
}
TensorList isnan(const OpCall& c) { return {ops::ne(c.in(0), c.in(0))}; }
TensorList isinf(const OpCall& c) {
  if (fused::takes(c.in(0))) return {fused::isinf(c.in(0))};
  return {ops::eq(ops::abs(c.in(0)), ops::number(INFINITY))};
}
TensorList isfinite(const OpCall& c) {
  if (fused::takes(c.in(0))) return {fused::isfinite(c.in(0))};
  return {ops::lt(ops::abs(c.in(0)), ops::number(INFINITY))};
}

}  // namespace

namespace def {

#define ANNX_BINARY(id, Domain, forward, grad_a, grad_b, Saves, text)          \
  const OpDef id = {.name = #id,                                               \
                    .signature = #id "(Tensor input, Tensor other) -> Tensor", \
                    .doc = text,                                               \
                    .infer = infer_broadcast,                                  \
                    .kernel = id##_kernel,                                     \
                    .backward = id##_rule,                                     \
                    .instead = instead_of(#id),                                \
                    .cost = elementwise_cost,                                  \
                    .saves = Saves,                                            \
                    .flags = kPromote | kElementwise | ANNX_FLAGS_##Domain};
#define ANNX_COMPARE(id, forward, text)                                        \
  const OpDef id = {.name = #id,                                               \
                    .signature = #id "(Tensor input, Tensor other) -> Tensor", \
                    .doc = text,                                               \
                    .infer = infer_compare,                                    \
                    .kernel = id##_kernel,                                     \
                    .cost = elementwise_cost,                                  \
                    .flags = kPromote | kElementwise};
#include "ops/arithmetic/rows.def"

const OpDef where = {.name = "where",
                     .signature = "where(Tensor condition, Tensor input, Tensor other) -> Tensor",
                     .doc = "input where condition (bool) holds, else other; all three broadcast.",
                     .infer = infer_where,
                     .kernel = where_kernel,
                     .backward = where_rule,
                     .cost = elementwise_cost,
                     .saves = save_input(0),
                     .flags = kPromoteTail | kElementwise | kNoMethod};

const OpDef clamp = {
    .name = "clamp",
    .signature = "clamp(Tensor input, Tensor? min=None, Tensor? max=None) -> Tensor",
    .doc = "input limited to [min, max]; either may be a number, a tensor or None.",
    .composite = annx::clamp,
    .flags = kPromote};

#define ANNX_LOGIC(id, text)                                                   \
  const OpDef id = {.name = #id,                                               \
                    .signature = #id "(Tensor input, Tensor other) -> Tensor", \
                    .doc = text,                                               \
                    .composite = annx::id};
ANNX_LOGIC(logical_and, "True where both are non-zero.")
ANNX_LOGIC(logical_or, "True where either is non-zero.")
ANNX_LOGIC(logical_xor, "True where exactly one is non-zero.")
#define ANNX_TEST(id, text)                                      \
  const OpDef id = {.name = #id,                                 \
                    .signature = #id "(Tensor input) -> Tensor", \
                    .doc = text,                                 \
                    .composite = annx::id};
ANNX_TEST(logical_not, "True where input is zero.")
ANNX_TEST(isnan, "True where input is not a number.")
ANNX_TEST(isinf, "True where input is positive or negative infinity.")
ANNX_TEST(isfinite, "True where input is neither infinite nor NaN.")

}  // namespace def
}  // namespace annx
