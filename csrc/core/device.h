// Where a tensor's storage lives.
#pragma once

#include <cstdint>
#include <ostream>

namespace annx {

enum class DeviceKind : uint8_t { cpu, cuda };

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int8_t index = 0;

  bool operator==(const Device&) const = default;
  bool is_cpu() const { return kind == DeviceKind::cpu; }
};

inline std::ostream& operator<<(std::ostream& out, Device d) {
  if (d.is_cpu()) return out << "cpu";
  return out << "cuda:" << int{d.index};
}

}  // namespace annx
