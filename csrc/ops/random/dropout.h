// The ops behind dropout, for passes over captured steps.
#pragma once

#include "ops/registry.h"

namespace annx {

struct DropoutOps {
  const OpDef* by_key;    // x; key, p -> y: the same key gives the same mask
  const OpDef* and_mask;  // x; key, p -> y, mask: the same for contiguous float32
  const OpDef* kept;      // x, mask; p -> y: by that mask, elementwise
};
const DropoutOps& dropout_ops();

}  // namespace annx
