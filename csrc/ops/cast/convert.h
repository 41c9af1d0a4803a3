// One element from one number type to another: the same on the CPU and on a device.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "ops/elementwise/int_lane.h"

namespace annx {

template <class To, class From>
constexpr To convert(From v) {
  if constexpr (std::is_same_v<To, Bool8>) {
    return {static_cast<uint8_t>(v != From(0))};
  } else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>) {
    // Saturates and sends NaN to 0, so that every machine gives the same integer.
    constexpr From end = -static_cast<From>(std::numeric_limits<int64_t>::min());
    if (v > -end && v < end) return static_cast<To>(static_cast<int64_t>(v));
    if (v != v) return 0;
    return static_cast<To>(v >= end ? std::numeric_limits<int64_t>::max()
                                    : std::numeric_limits<int64_t>::min());
  } else {
    return static_cast<To>(v);
  }
}

}  // namespace annx
