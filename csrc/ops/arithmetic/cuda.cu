// Arithmetic and comparisons of two operands from the rows, and where.
#include "ops/elementwise/cuda.cuh"
#define ANNX_ROWS "ops/arithmetic/rows.def"
#include "ops/elementwise/cuda_binary-inl.h"

namespace {

#define ANNX_COMPARE_ENTRY(name, V, dtype) \
  entry<CompareRow<V, Compare_##name>>(#name, DType::dtype),

const ElementwiseEntry entries[] = {
#define ANNX_BINARY(name, Domain, ...) ANNX_ENTRIES_##Domain(#name, Binary_##name, 2)
#define ANNX_COMPARE(name, ...)                   \
  ANNX_COMPARE_ENTRY(name, F32, f32)              \
  ANNX_COMPARE_ENTRY(name, F64, f64)              \
  ANNX_COMPARE_ENTRY(name, IntLane<int64_t>, i64) \
  ANNX_COMPARE_ENTRY(name, IntLane<int32_t>, i32) \
  ANNX_COMPARE_ENTRY(name, IntLane<uint8_t>, u8)  \
  ANNX_COMPARE_ENTRY(name, IntLane<Bool8>, b8)
#include ANNX_ROWS
#undef ANNX_BINARY
#undef ANNX_COMPARE
    entry<WhereRow<uint32_t>>("where", DType::f32), entry<WhereRow<uint32_t>>("where", DType::i32),
    entry<WhereRow<uint64_t>>("where", DType::f64), entry<WhereRow<uint64_t>>("where", DType::i64),
    entry<WhereRow<uint8_t>>("where", DType::u8),   entry<WhereRow<uint8_t>>("where", DType::b8),
};
ANNX_SIGN_IN(entries)

}  // namespace
#include "dispatch/end.h"
