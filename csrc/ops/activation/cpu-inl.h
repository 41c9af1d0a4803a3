// Activations, forward and backward, from the rows.
#define ANNX_ROWS "ops/activation/rows.def"
#include "ops/elementwise/unary-inl.h"

extern const ActivationKernels activation_kernels;
const ActivationKernels activation_kernels = {
#include ANNX_ROWS
};
