// Numbers of bytes as they are told.
#pragma once
#include <cstdint>
#include <cstdio>
#include <string>

namespace pd {

// 3.1 GB: powers of ten, three digits.
inline std::string bytes_text(int64_t bytes) {
  const char* units[] = {"bytes", "kB", "MB", "GB", "TB"};
  double x = static_cast<double>(bytes);
  int u = 0;
  for (; u < 4 && x >= 999.5; ++u) x /= 1000;
  char text[32];
  std::snprintf(text, sizeof text, u == 0 || x >= 99.95 ? "%.0f %s" : x >= 9.995 ? "%.1f %s" : "%.2f %s", x, units[u]);
  return text;
}

}  // namespace pd
