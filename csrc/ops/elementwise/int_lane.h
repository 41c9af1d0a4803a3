// One integer with the vocabulary of the SIMD vectors, so that a row's formula serves integers too.
// constexpr, so that device code may call it.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

namespace annx {

// bool is stored as a byte and every result is brought back to 0 or 1.
struct Bool8 {
  uint8_t v;
};

template <class T>
struct IntLane {
  using Wide = std::conditional_t<std::is_same_v<T, int64_t>, uint64_t, uint32_t>;
  using Value = std::conditional_t<std::is_same_v<T, Bool8>, uint8_t, T>;
  using Scalar = Value;
  Value v;

  // Unsigned arithmetic: overflow wraps, as NumPy's does, and is defined.
  friend constexpr IntLane operator+(IntLane a, IntLane b) { return make(Wide(a.v) + Wide(b.v)); }
  friend constexpr IntLane operator-(IntLane a, IntLane b) { return make(Wide(a.v) - Wide(b.v)); }
  friend constexpr IntLane operator*(IntLane a, IntLane b) { return make(Wide(a.v) * Wide(b.v)); }
  // Rounds down, as Python's //; by zero gives 0 where the machine would trap.
  friend constexpr IntLane operator/(IntLane a, IntLane b) {
    if (b.v == 0) return make(Wide(0));
    if constexpr (std::is_signed_v<Value>) {
      if (b.v == static_cast<Value>(-1)) return -a;
      const bool inexact = a.v % b.v != 0;
      return {static_cast<Value>(a.v / b.v - (inexact && (a.v < 0) != (b.v < 0)))};
    }
    return {static_cast<Value>(a.v / b.v)};
  }
  friend constexpr IntLane floor_quotient(IntLane a, IntLane b) { return a / b; }
  friend constexpr IntLane floor_rest(IntLane a, IntLane b) { return a - a / b * b; }
  friend constexpr IntLane operator-(IntLane a) { return make(Wide(0) - Wide(a.v)); }
  friend constexpr IntLane abs(IntLane a) {
    if constexpr (std::is_signed_v<Value>) return a.v < 0 ? -a : a;
    return a;
  }
  friend constexpr IntLane min(IntLane a, IntLane b) { return a.v < b.v ? a : b; }
  friend constexpr IntLane max(IntLane a, IntLane b) { return a.v > b.v ? a : b; }
  friend constexpr bool lt(IntLane a, IntLane b) { return a.v < b.v; }
  friend constexpr bool le(IntLane a, IntLane b) { return a.v <= b.v; }
  friend constexpr bool gt(IntLane a, IntLane b) { return a.v > b.v; }
  friend constexpr bool ge(IntLane a, IntLane b) { return a.v >= b.v; }
  friend constexpr bool eq(IntLane a, IntLane b) { return a.v == b.v; }
  friend constexpr bool ne(IntLane a, IntLane b) { return a.v != b.v; }
  friend constexpr IntLane select(bool m, IntLane a, IntLane b) { return m ? a : b; }
  friend constexpr IntLane fnma(IntLane a, IntLane b, IntLane c) { return c - a * b; }
  friend constexpr IntLane is_nan(IntLane) { return make(Wide(0)); }

  // The nearest value of the type to a number cut to an integer; 0 for NaN. A plain conversion of a
  // number the type does not hold is undefined, and machines differ.
  static constexpr IntLane nearest(double number) {
    constexpr Value low = std::numeric_limits<Value>::min(),
                    high = std::numeric_limits<Value>::max();
    if (number != number) return {Value{0}};
    if (number <= static_cast<double>(low)) return {low};
    if (number >= static_cast<double>(high)) return {high};
    return {static_cast<Value>(number)};
  }
  static constexpr IntLane make(Wide w) { return {static_cast<Value>(w)}; }
  static constexpr IntLane load(const T* p) {
    if constexpr (std::is_same_v<T, Bool8>)
      return {p->v != 0};
    else
      return {*p};
  }
  constexpr void store(T* p) const {
    if constexpr (std::is_same_v<T, Bool8>)
      p->v = v != 0;
    else
      *p = v;
  }
};

template <class V>
V splat(typename V::Scalar value) {
  return V{value};
}

// A number of a call (an attribute) as one element of a formula.
template <class V>
constexpr V parameter(double number) {
  if constexpr (requires { V::nearest(number); })
    return V::nearest(number);
  else
    return V{static_cast<typename V::Scalar>(number)};
}

}  // namespace annx
