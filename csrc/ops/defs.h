// Declares annx::def::<name> for every op of ops.def; each is defined in its family's op.cpp.
#pragma once

#include "ops/registry.h"

namespace annx::def {
#define ANNX_OP(name) extern const OpDef name;
#include "ops/ops.def"
#undef ANNX_OP
}  // namespace annx::def
