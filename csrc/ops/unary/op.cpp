// Elementary functions: the formulas are in rows.def.
#include "ops/defs.h"
#include "ops/elementwise/unary_rule.h"
#include "ops/unary/kernels.h"

#define ANNX_ROWS "ops/unary/rows.def"
#define ANNX_TABLE unary_kernels

namespace annx {
#include "ops/elementwise/unary.h"
}  // namespace annx
