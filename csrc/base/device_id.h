// Which device a value lives on.
#pragma once
#include <cstdint>
#include <string>

namespace pd {

enum class DeviceKind : uint8_t { Cpu, Cuda };

struct DeviceId {
  DeviceKind kind = DeviceKind::Cpu;
  int8_t index = 0;
  bool operator==(DeviceId o) const { return kind == o.kind && index == o.index; }
  bool operator!=(DeviceId o) const { return !(*this == o); }
};

inline std::string to_string(DeviceId d) {
  if (d.kind == DeviceKind::Cpu) return "cpu";
  return "cuda:" + std::to_string(d.index);
}

}  // namespace pd
