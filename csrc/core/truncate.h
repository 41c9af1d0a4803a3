// A number as an integer, the same on every machine and on a device.
#pragma once

#include <cstdint>
#include <limits>

namespace annx {

// Cuts the fraction, saturates at the ends of int64 and sends NaN to 0. A plain conversion of what
// int64 does not hold is undefined.
template <class From>
constexpr int64_t truncate(From v) {
  constexpr From end = -static_cast<From>(std::numeric_limits<int64_t>::min());
  if (v > -end && v < end) return static_cast<int64_t>(v);
  if (v != v) return 0;
  return v >= end ? std::numeric_limits<int64_t>::max() : std::numeric_limits<int64_t>::min();
}

}  // namespace annx
