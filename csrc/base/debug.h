// PYDIFF_DEBUG: how much is told on standard error.
#pragma once
#include <cstdlib>

namespace pd {

inline int debug_level() {
  static const int level = [] {
    const char* text = std::getenv("PYDIFF_DEBUG");
    return text ? std::atoi(text) : 0;
  }();
  return level;
}

}  // namespace pd
