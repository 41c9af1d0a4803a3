// Elementary functions elementwise, forward and backward, from the rows.
#define ANNX_ROWS "ops/unary/rows.def"
#include "ops/elementwise/unary-inl.h"

extern const UnaryKernels unary_kernels;
const UnaryKernels unary_kernels = {
#include ANNX_ROWS
};
