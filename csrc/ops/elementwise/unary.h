// OpDefs of a file of ANNX_UNARY rows. Define ANNX_ROWS and ANNX_TABLE (the kernel table's accessor)
// before including, inside namespace annx.

namespace {

#define C(value) ops::number(value)
#define P(i) ops::number(p[i])

// Integer kernels exist for Number rows only.
#define ANNX_INT_KERNELS_Real(name)
#define ANNX_INT_KERNELS_Number(name)                                                       \
  template <class T>                                                                        \
  void name##_int(const void* const* in, void* out, int64_t n, const double* p) {           \
    const T* x = static_cast<const T*>(in[0]);                                              \
    T* o = static_cast<T*>(out);                                                            \
    for (int64_t i = 0; i < n; ++i) name##_scalar(IntLane<T>::load(x + i), p).store(o + i); \
  }
#define ANNX_INT_FORWARD_Real(name, forward)
#define ANNX_INT_FORWARD_Number(name, forward)             \
  template <class V>                                       \
  V name##_scalar(V x, [[maybe_unused]] const double* p) { \
    return ANNX_EXPRESSION(forward);                       \
  }
#define ANNX_PICK_Real(name) nullptr, nullptr, nullptr, nullptr
#define ANNX_PICK_Number(name) \
  name##_int<int64_t>, name##_int<int32_t>, name##_int<uint8_t>, name##_int<Bool8>
#define ANNX_FLAGS_Real kFloat
#define ANNX_FLAGS_Number 0
#define ANNX_SAVES_None 0
#define ANNX_SAVES_X save_input(0)
#define ANNX_SAVES_Y save_output(0)
#define ANNX_SAVES_XY (save_input(0) | save_output(0))

#undef C
#undef P
#define C(value) \
  V { static_cast<typename V::Scalar>(value) }
#define P(i) parameter<V>(p[i])
#define ANNX_UNARY(id, Domain, Uses, forward, derivative, text, documentation) \
  ANNX_INT_FORWARD_##Domain(id, forward) ANNX_INT_KERNELS_##Domain(id)
#include ANNX_ROWS
#undef ANNX_UNARY
#undef C
#undef P
#define C(value) ops::number(value)
#define P(i) ops::number(p[i])

#define ANNX_UNARY(id, Domain, Uses, forward, derivative, text, documentation)                 \
  void id##_kernel(const OpCall& c) {                                                          \
    const auto& t = ANNX_TABLE();                                                              \
    run_unary(c, {t.id.f32, t.id.f64, ANNX_PICK_##Domain(id), t.id.stream});                   \
  }                                                                                            \
  void id##_backward_kernel(const OpCall& c) {                                                 \
    const auto& t = ANNX_TABLE();                                                              \
    run_unary(c, {t.id.backward_f32, t.id.backward_f64, nullptr, nullptr, nullptr, nullptr,    \
                  t.id.backward_stream});                                                      \
  }                                                                                            \
  const OpDef id##_backward_def = {.name = #id "_backward",                                    \
                                   .signature = "",                                            \
                                   .doc = "",                                                  \
                                   .infer = infer_like_first,                                  \
                                   .kernel = id##_backward_kernel,                             \
                                   .cost = elementwise_cost,                                   \
                                   .flags = kInternal | kElementwise};                         \
  Tensor id##_derivative([[maybe_unused]] const Tensor& g, [[maybe_unused]] const Tensor& x,   \
                         [[maybe_unused]] const Tensor& y, [[maybe_unused]] const double* p) { \
    using namespace ops;                                                                       \
    return ANNX_EXPRESSION(derivative);                                                        \
  }                                                                                            \
  void id##_rule(BackwardCall& b) {                                                            \
    unary_rule(b, ANNX_SAVES_##Uses, id##_backward_def, id##_derivative);                      \
  }
#include ANNX_ROWS
#undef ANNX_UNARY
#undef C
#undef P

}  // namespace

namespace def {
#define ANNX_UNARY(id, Domain, Uses, forward, derivative, text, documentation) \
  const OpDef id = {.name = #id,                                               \
                    .signature = #id text,                                     \
                    .doc = documentation,                                      \
                    .infer = infer_like_first,                                 \
                    .kernel = id##_kernel,                                     \
                    .backward = id##_rule,                                     \
                    .cost = elementwise_cost,                                  \
                    .saves = ANNX_SAVES_##Uses,                                \
                    .flags = ANNX_FLAGS_##Domain | kElementwise};
#include ANNX_ROWS
#undef ANNX_UNARY
}  // namespace def
