// The gradients of normalised rows, for passes over captured steps: one input more, of the shape of dx and
// row-major, is added to dx.
#pragma once

#include "ops/registry.h"

namespace annx {

const OpDef& layer_norm_backward_def();  // 5 inputs
const OpDef& rms_norm_backward_def();    // 4

}  // namespace annx
