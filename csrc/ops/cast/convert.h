// One element from one number type to another: the same on the CPU and on a device.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/truncate.h"
#include "ops/elementwise/int_lane.h"

namespace annx {

template <class To, class From>
constexpr To convert(From v) {
  if constexpr (std::is_same_v<To, Bool8>) {
    return {static_cast<uint8_t>(v != From(0))};
  } else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>) {
    return static_cast<To>(truncate(v));
  } else {
    return static_cast<To>(v);
  }
}

}  // namespace annx
