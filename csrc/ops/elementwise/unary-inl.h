// Kernels of a file of ANNX_UNARY rows, for the target in force. Define ANNX_ROWS before including.

namespace {

#include "ops/elementwise/row_functions-inl.h"

#define C(value) splat<V>(static_cast<typename V::Scalar>(value))
#define P(i) splat<V>(static_cast<typename V::Scalar>(p[i]))

#define ANNX_UNARY(name, Domain, Uses, forward, derivative, signature, doc)                \
  template <class V>                                                                       \
  struct name##_forward {                                                                  \
    const double* p;                                                                       \
    ANNX_INLINE_MEMBER V operator()(V x) const { return ANNX_EXPRESSION(forward); }        \
  };                                                                                       \
  template <class V>                                                                       \
  struct name##_derivative_##Uses {                                                        \
    const double* p;                                                                       \
    ANNX_DERIVATIVE_##Uses { return ANNX_EXPRESSION(derivative); }                         \
  };                                                                                       \
  template <class V>                                                                       \
  void name##_run(const void* const* in, void* out, int64_t n, const double* p) {          \
    using T = typename V::Scalar;                                                          \
    map1<V>(static_cast<const T*>(in[0]), static_cast<T*>(out), n, name##_forward<V>{p});  \
  }                                                                                        \
  template <class V>                                                                       \
  void name##_run_backward(const void* const* in, void* out, int64_t n, const double* p) { \
    using T = typename V::Scalar;                                                          \
    const name##_derivative_##Uses<V> f{p};                                                \
    ANNX_MAP_##Uses;                                                                       \
  }                                                                                        \
  ANNX_STREAM_##Domain(name, Uses)

// Rows that integers have too are light: memory is what they wait for.
#define ANNX_STREAM_Real(name, Uses)
#define ANNX_STREAM_Number(name, Uses)                                            \
  template <class V>                                                              \
  void name##_stream(const void* const* in, void* const* out, int64_t n, int64_t, \
                     const double* p) {                                           \
    map1_stream<V>(in, out, n, name##_forward<V>{p});                             \
  }                                                                               \
  template <class V>                                                              \
  void name##_backward_stream(const void* const* in, void* const* out, int64_t n, \
                              [[maybe_unused]] int64_t period, const double* p) { \
    const name##_derivative_##Uses<V> f{p};                                       \
    ANNX_STREAM_MAP_##Uses;                                                       \
  }
#define ANNX_STREAM_MAP_None map1_stream<V>(in, out, n, f)
#define ANNX_STREAM_MAP_X map2_stream<V>(in, out, n, period, f)
#define ANNX_STREAM_MAP_Y map2_stream<V>(in, out, n, period, f)

#define ANNX_DERIVATIVE_None ANNX_INLINE_MEMBER V operator()(V g) const
#define ANNX_DERIVATIVE_X ANNX_INLINE_MEMBER V operator()(V g, V x) const
#define ANNX_DERIVATIVE_Y ANNX_INLINE_MEMBER V operator()(V g, V y) const
#define ANNX_DERIVATIVE_XY ANNX_INLINE_MEMBER V operator()(V g, V x, V y) const
#define ANNX_IN(i) static_cast<const T*>(in[i])
#define ANNX_MAP_None map1<V>(ANNX_IN(0), static_cast<T*>(out), n, f)
#define ANNX_MAP_X map2<V>(ANNX_IN(0), ANNX_IN(1), static_cast<T*>(out), n, f)
#define ANNX_MAP_Y map2<V>(ANNX_IN(0), ANNX_IN(1), static_cast<T*>(out), n, f)
#define ANNX_MAP_XY map3<V>(ANNX_IN(0), ANNX_IN(1), ANNX_IN(2), static_cast<T*>(out), n, f)

#include ANNX_ROWS

#undef ANNX_UNARY
#undef C
#undef P

}  // namespace

// The initialisers of the family's kernel table, in row order.
#define ANNX_STREAM_ENTRIES_Real(name) nullptr, nullptr
#define ANNX_STREAM_ENTRIES_Number(name) name##_stream<F32>, name##_backward_stream<F32>
#define ANNX_UNARY(name, Domain, ...)                                                    \
  {name##_run<F32>, name##_run<F64>, name##_run_backward<F32>, name##_run_backward<F64>, \
   ANNX_STREAM_ENTRIES_##Domain(name)},
