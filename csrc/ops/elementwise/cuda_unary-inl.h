// Formulas of a file of ANNX_UNARY rows as structs: Forward_<name>, Backward_<name>. Define ANNX_ROWS
// before including; after ops/elementwise/cuda_thread-inl.h.

#define C(value) \
  V { static_cast<typename V::Scalar>(value) }
#define P(i) parameter<V>(p[i])
#define ANNX_ARGUMENTS_None [[maybe_unused]] V g
#define ANNX_ARGUMENTS_X [[maybe_unused]] V g, [[maybe_unused]] V x
#define ANNX_ARGUMENTS_Y [[maybe_unused]] V g, [[maybe_unused]] V y
#define ANNX_ARGUMENTS_XY [[maybe_unused]] V g, [[maybe_unused]] V x, [[maybe_unused]] V y
#define ANNX_INPUTS_None 1
#define ANNX_INPUTS_X 2
#define ANNX_INPUTS_Y 2
#define ANNX_INPUTS_XY 3

#define ANNX_UNARY(name, Domain, Uses, forward, derivative, signature, doc)        \
  struct Forward_##name {                                                          \
    template <class V>                                                             \
    ANNX_INLINE V apply(V x, [[maybe_unused]] const double* p) {                   \
      return ANNX_EXPRESSION(forward);                                             \
    }                                                                              \
  };                                                                               \
  struct Backward_##name {                                                         \
    static constexpr int inputs = ANNX_INPUTS_##Uses;                              \
    template <class V>                                                             \
    ANNX_INLINE V apply(ANNX_ARGUMENTS_##Uses, [[maybe_unused]] const double* p) { \
      return ANNX_EXPRESSION(derivative);                                          \
    }                                                                              \
  };
#include ANNX_ROWS
#undef ANNX_UNARY

#undef C
#undef P
#undef ANNX_ARGUMENTS_None
#undef ANNX_ARGUMENTS_X
#undef ANNX_ARGUMENTS_Y
#undef ANNX_ARGUMENTS_XY
#undef ANNX_INPUTS_None
#undef ANNX_INPUTS_X
#undef ANNX_INPUTS_Y
#undef ANNX_INPUTS_XY
