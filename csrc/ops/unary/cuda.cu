// Elementary functions, forward and fused backward, from the rows.
#include "ops/elementwise/cuda.cuh"
#define ANNX_ROWS "ops/unary/rows.def"
#include "ops/elementwise/cuda_unary-inl.h"

namespace {

const ElementwiseEntry entries[] = {
#define ANNX_UNARY(name, Domain, ...)             \
  ANNX_ENTRIES_##Domain(#name, Forward_##name, 1) \
      ANNX_FLOAT_ENTRIES(#name "_backward", Backward_##name, Backward_##name::inputs)
#include ANNX_ROWS
#undef ANNX_UNARY
};
ANNX_SIGN_IN(entries)

}  // namespace
#include "dispatch/end.h"
