// The ops behind dropout, for passes over captured steps.
#pragma once

#include "ops/registry.h"

namespace annx {

struct DropoutOps {
  const OpDef* by_key;  // x; key, p -> y: the same key gives the same mask
  // x, other?; key, p -> y, mask: the same for row-major float32; other is added to y
  const OpDef* and_mask;
  const OpDef* kept;  // x, mask; p -> y: by that mask, elementwise
};
const DropoutOps& dropout_ops();

}  // namespace annx
