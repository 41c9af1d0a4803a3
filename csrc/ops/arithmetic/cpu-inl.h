// Binary arithmetic, comparisons and where, from the rows.
namespace {

#define ANNX_FORWARD(name, forward)                                                         \
  template <class V>                                                                        \
  struct name##_row {                                                                       \
    ANNX_INLINE_MEMBER auto operator()(V a, V b) const { return ANNX_EXPRESSION(forward); } \
  };
#define ANNX_BINARY(name, Domain, forward, ...)                                                  \
  ANNX_FORWARD(name, forward)                                                                    \
  template <class V>                                                                             \
  void name##_run(const void* const* in, void* out, int64_t n, const double*) {                  \
    using T = typename V::Scalar;                                                                \
    map2<V>(static_cast<const T*>(in[0]), static_cast<const T*>(in[1]), static_cast<T*>(out), n, \
            name##_row<V>{});                                                                    \
  }                                                                                              \
  template <class V>                                                                             \
  void name##_stream(const void* const* in, void* out, int64_t n, const double*) {               \
    using T = typename V::Scalar;                                                                \
    map2_stream<V>(static_cast<const T*>(in[0]), static_cast<const T*>(in[1]),                   \
                   static_cast<T*>(out), n, name##_row<V>{});                                    \
  }
#define ANNX_COMPARE(name, forward, doc)                                                           \
  ANNX_FORWARD(name, forward)                                                                      \
  template <class V>                                                                               \
  void name##_run(const void* const* in, void* out, int64_t n, const double*) {                    \
    using T = typename V::Scalar;                                                                  \
    const T* a = static_cast<const T*>(in[0]);                                                     \
    const T* b = static_cast<const T*>(in[1]);                                                     \
    uint8_t* o = static_cast<uint8_t*>(out);                                                       \
    const name##_row<V> f{};                                                                       \
    int64_t i = 0;                                                                                 \
    for (; i + V::lanes <= n; i += V::lanes) store_bool(o + i, f(load<V>(a + i), load<V>(b + i))); \
    if (i < n) store_bool_n(o + i, f(load_n<V>(a + i, n - i), load_n<V>(b + i, n - i)), n - i);    \
  }
#include "ops/arithmetic/rows.def"
#undef ANNX_BINARY
#undef ANNX_COMPARE
#undef ANNX_FORWARD

template <class V>
void where_run(const void* const* in, void* out, int64_t n, const double*) {
  using T = typename V::Scalar;
  const uint8_t* c = static_cast<const uint8_t*>(in[0]);
  const T* a = static_cast<const T*>(in[1]);
  const T* b = static_cast<const T*>(in[2]);
  T* o = static_cast<T*>(out);
  int64_t i = 0;
  for (; i + V::lanes <= n; i += V::lanes)
    store(o + i, select(load_bool<typename V::Mask>(c + i), load<V>(a + i), load<V>(b + i)));
  for (; i < n; ++i) o[i] = c[i] ? a[i] : b[i];
}

}  // namespace

#define ANNX_BINARY(name, ...) {name##_run<F32>, name##_run<F64>, name##_stream<F32>},
#define ANNX_COMPARE(name, ...) {name##_run<F32>, name##_run<F64>},
extern const ArithmeticKernels arithmetic_kernels;
const ArithmeticKernels arithmetic_kernels = {
#include "ops/arithmetic/rows.def"
    {where_run<F32>, where_run<F64>}};
