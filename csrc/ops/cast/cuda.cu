// Conversions between dtypes, and copies between any strides.
#include "ops/cast/convert.h"
#include "ops/elementwise/cuda.cuh"
#include "ops/cast/cuda_cast-inl.h"

namespace {

template <class From>
ElementwiseEntry cast_entry(DType from, DType to) {
  const int output = static_cast<int>(to);
  switch (to) {
    case DType::f32:
      return entry<CastRow<From, float>>("cast", from, output);
    case DType::f64:
      return entry<CastRow<From, double>>("cast", from, output);
    case DType::f16:
      return entry<CastRow<From, HalfBits>>("cast", from, output);
    case DType::bf16:
      return entry<CastRow<From, BrainBits>>("cast", from, output);
    case DType::i64:
      return entry<CastRow<From, int64_t>>("cast", from, output);
    case DType::i32:
      return entry<CastRow<From, int32_t>>("cast", from, output);
    case DType::u8:
      return entry<CastRow<From, uint8_t>>("cast", from, output);
    case DType::b8:
      break;
  }
  return entry<CastRow<From, Bool8>>("cast", from, output);
}

// Every pair of dtypes, then the copies.
struct Entries {
  ElementwiseEntry at[kDTypeCount * kDTypeCount + kDTypeCount];

  Entries() {
    int next = 0;
    for (int i = 0; i < kDTypeCount; ++i) {
      const auto to = static_cast<DType>(i);
      at[next++] = cast_entry<float>(DType::f32, to);
      at[next++] = cast_entry<double>(DType::f64, to);
      at[next++] = cast_entry<HalfBits>(DType::f16, to);
      at[next++] = cast_entry<BrainBits>(DType::bf16, to);
      at[next++] = cast_entry<int64_t>(DType::i64, to);
      at[next++] = cast_entry<int32_t>(DType::i32, to);
      at[next++] = cast_entry<uint8_t>(DType::u8, to);
      at[next++] = cast_entry<Bool8>(DType::b8, to);
      at[next++] = itemsize(to) == 8   ? entry<CopyRow<uint64_t>>("copy", to)
                   : itemsize(to) == 4 ? entry<CopyRow<uint32_t>>("copy", to)
                   : itemsize(to) == 2 ? entry<CopyRow<uint16_t>>("copy", to)
                                       : entry<CopyRow<uint8_t>>("copy", to);
    }
  }
};
const Entries entries;
const cuda::SignIn sign_in(entries.at, sizeof(entries.at) / sizeof(entries.at[0]));

}  // namespace
#include "dispatch/end.h"
