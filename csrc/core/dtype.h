// Element types. Half types are storage: arithmetic on them is done in float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ostream>

namespace annx {

enum class DType : uint8_t { f32, f64, f16, bf16, i64, i32, u8, b8 };
inline constexpr int kDTypeCount = 8;

constexpr size_t itemsize(DType t) {
  constexpr size_t sizes[kDTypeCount] = {4, 8, 2, 2, 8, 4, 1, 1};
  return sizes[static_cast<int>(t)];
}

constexpr const char* name(DType t) {
  constexpr const char* names[kDTypeCount] = {"float32", "float64", "float16", "bfloat16",
                                              "int64",   "int32",   "uint8",   "bool"};
  return names[static_cast<int>(t)];
}

constexpr bool is_half(DType t) { return t == DType::f16 || t == DType::bf16; }
constexpr bool is_floating(DType t) { return t <= DType::bf16; }
constexpr bool is_integral(DType t) { return t >= DType::i64; }  // bool counts

// The dtype that holds both, as PyTorch promotes tensors of equal rank.
DType promote(DType a, DType b);

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::u8;
};
template <>
struct DTypeOf<bool> {
  static constexpr DType value = DType::b8;
};

inline std::ostream& operator<<(std::ostream& out, DType t) { return out << name(t); }

}  // namespace annx
