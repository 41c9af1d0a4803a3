// Binary arithmetic, comparisons and where, from the rows.
namespace {

#include "ops/elementwise/row_functions-inl.h"

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
  void name##_stream(const void* const* in, void* const* out, int64_t n, int64_t period,         \
                     const double*) {                                                            \
    map2_stream<V>(in, out, n, period, name##_row<V>{});                                         \
  }                                                                                              \
  template <class V>                                                                             \
  struct name##_number_row {                                                                     \
    V b;                                                                                         \
    ANNX_INLINE_MEMBER V operator()(V a) const { return ANNX_EXPRESSION(forward); }              \
  };                                                                                             \
  template <class V>                                                                             \
  void name##_number(const void* const* in, void* out, int64_t n, const double*) {               \
    using T = typename V::Scalar;                                                                \
    map1<V>(static_cast<const T*>(in[0]), static_cast<T*>(out), n,                               \
            name##_number_row<V>{splat<V>(*static_cast<const T*>(in[1]))});                      \
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

#define ANNX_TERNARY(name, forward)                                                   \
  template <class V>                                                                  \
  struct name##_row {                                                                 \
    const double* p;                                                                  \
    ANNX_INLINE_MEMBER V operator()(V a, V b, V c) const {                            \
      [[maybe_unused]] const auto P = [this](int i) {                                 \
        return splat<V>(static_cast<typename V::Scalar>(p[i]));                       \
      };                                                                              \
      return forward;                                                                 \
    }                                                                                 \
  };                                                                                  \
  template <class V>                                                                  \
  void name##_run(const void* const* in, void* out, int64_t n, const double* p) {     \
    using T = typename V::Scalar;                                                     \
    map3<V>(static_cast<const T*>(in[0]), static_cast<const T*>(in[1]),               \
            static_cast<const T*>(in[2]), static_cast<T*>(out), n, name##_row<V>{p}); \
  }
ANNX_TERNARY(lerp, a + c * (b - a))
ANNX_TERNARY(addcmul, a + (b * c) * P(0))
ANNX_TERNARY(addcdiv, a + (b / c) * P(0))
ANNX_TERNARY(clamp, (minimum_row<V>{}(maximum_row<V>{}(a, b), c)))
#undef ANNX_TERNARY

template <class V>
struct clamp_number_row {
  V b, c;
  ANNX_INLINE_MEMBER V operator()(V a) const { return minimum_row<V>{}(maximum_row<V>{}(a, b), c); }
};
template <class V>
void clamp_number(const void* const* in, void* out, int64_t n, const double*) {
  using T = typename V::Scalar;
  const clamp_number_row<V> f{splat<V>(*static_cast<const T*>(in[1])),
                              splat<V>(*static_cast<const T*>(in[2]))};
  map1<V>(static_cast<const T*>(in[0]), static_cast<T*>(out), n, f);
}

template <class V>
struct nan_to_num_row {
  V nan, high, low;
  ANNX_INLINE_MEMBER V operator()(V x) const {
    const V infinity = splat<V>(__builtin_inff());
    return select(is_nan(x), nan, select(eq(x, infinity), high, select(eq(x, -infinity), low, x)));
  }
};
template <class V>
void nan_to_num_run(const void* const* in, void* out, int64_t n, const double* p) {
  using T = typename V::Scalar;
  const nan_to_num_row<V> f{splat<V>(static_cast<T>(p[0])), splat<V>(static_cast<T>(p[1])),
                            splat<V>(static_cast<T>(p[2]))};
  map1<V>(static_cast<const T*>(in[0]), static_cast<T*>(out), n, f);
}

#define ANNX_POWER(name)                                                             \
  template <class V>                                                                 \
  struct name##_row {                                                                \
    ANNX_INLINE_MEMBER V operator()(V x) const { return name(x); }                   \
  };                                                                                 \
  template <class V>                                                                 \
  void name##_run(const void* const* in, void* out, int64_t n, const double*) {      \
    using T = typename V::Scalar;                                                    \
    map1<V>(static_cast<const T*>(in[0]), static_cast<T*>(out), n, name##_row<V>{}); \
  }
ANNX_POWER(pow_3)
ANNX_POWER(pow_half)
#undef ANNX_POWER

#define ANNX_TEST(name, forward)                                                \
  template <class V>                                                            \
  void name##_run(const void* const* in, void* out, int64_t n, const double*) { \
    const auto* x = static_cast<const typename V::Scalar*>(in[0]);              \
    uint8_t* o = static_cast<uint8_t*>(out);                                    \
    const V infinity = splat<V>(__builtin_inff());                              \
    int64_t i = 0;                                                              \
    for (; i + V::lanes <= n; i += V::lanes) {                                  \
      const V a = load<V>(x + i);                                               \
      store_bool(o + i, forward);                                               \
    }                                                                           \
    if (i < n) {                                                                \
      const V a = load_n<V>(x + i, n - i);                                      \
      store_bool_n(o + i, forward, n - i);                                      \
    }                                                                           \
  }
ANNX_TEST(isfinite, lt(abs(a), infinity))
ANNX_TEST(isinf, eq(abs(a), infinity))
#undef ANNX_TEST

}  // namespace

#define ANNX_BINARY(name, ...) \
  {name##_run<F32>, name##_run<F64>, name##_stream<F32>, name##_number<F32>},
#define ANNX_COMPARE(name, ...) {name##_run<F32>, name##_run<F64>},
extern const ArithmeticKernels arithmetic_kernels;
const ArithmeticKernels arithmetic_kernels = {
#include "ops/arithmetic/rows.def"
    {where_run<F32>, where_run<F64>},
    {lerp_run<F32>, lerp_run<F64>},
    {addcmul_run<F32>, addcmul_run<F64>},
    {addcdiv_run<F32>, addcdiv_run<F64>},
    {clamp_run<F32>, clamp_run<F64>, nullptr, clamp_number<F32>},
    {nan_to_num_run<F32>, nan_to_num_run<F64>},
    {isfinite_run<F32>, isfinite_run<F64>},
    {isinf_run<F32>, isinf_run<F64>},
    {pow_3_run<F32>, pow_3_run<F64>},
    {pow_half_run<F32>, pow_half_run<F64>}};
