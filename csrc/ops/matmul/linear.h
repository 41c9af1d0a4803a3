// What passes over captured steps know of linear.
#pragma once

#include "ops/registry.h"

namespace annx {

// plain: (x, weight, bias?; activation). add: (x, weight, bias?, other; activation), with other, of the
// output's shape and row-major, added last. backward: see linear.cpp; its dx may take an `other` too.
struct LinearOps {
  const OpDef *plain, *add, *backward;
};
const LinearOps& linear_ops();

}  // namespace annx
