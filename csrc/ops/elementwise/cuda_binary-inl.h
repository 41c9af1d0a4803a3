// Formulas of a file of ANNX_BINARY and ANNX_COMPARE rows as structs: Binary_<name>, Compare_<name>.
// Define ANNX_ROWS before including; after ops/elementwise/cuda_thread-inl.h.

#define ANNX_FORMULA(name, forward)                   \
  struct name {                                       \
    template <class V>                                \
    ANNX_INLINE auto apply(V a, V b, const double*) { \
      return ANNX_EXPRESSION(forward);                \
    }                                                 \
  };
#define ANNX_BINARY(name, Domain, forward, ...) ANNX_FORMULA(Binary_##name, forward)
#define ANNX_COMPARE(name, forward, doc) ANNX_FORMULA(Compare_##name, forward)
#include ANNX_ROWS
#undef ANNX_BINARY
#undef ANNX_COMPARE
#undef ANNX_FORMULA
