// check_range: the operand itself, if each element lies between low and high; an error otherwise, a NaN included.
//
// Attributes: the bits of low and high (doubles), 1 where low itself is excluded plus 2 where high is, then the error's text
// in words of eight bytes, with {} where the first element outside stands.
#pragma once
#include <cstdio>
#include <cstring>
#include <string>

#include "base/shape.h"

namespace pd {

struct Range {
  double low, high;
  bool above, below;  // low or high excluded
  explicit Range(const Ints& attrs) : above((attrs[2] & 1) != 0), below((attrs[2] & 2) != 0) {
    std::memcpy(&low, &attrs[0], sizeof low);
    std::memcpy(&high, &attrs[1], sizeof high);
  }
  bool has(double x) const { return (above ? x > low : x >= low) && (below ? x < high : x <= high); }
};

inline std::string range_error(const Ints& attrs, int64_t bits) {
  double x;
  std::memcpy(&x, &bits, sizeof x);
  char number[32];
  if (x != x) std::snprintf(number, sizeof number, "nan");  // without its sign
  else std::snprintf(number, sizeof number, "%.9g", x);
  std::string text(reinterpret_cast<const char*>(attrs.data() + 3), static_cast<size_t>(attrs.size() - 3) * 8);
  text.erase(text.find_last_not_of('\0') + 1);
  const size_t at = text.find("{}");
  return at == std::string::npos ? text : text.replace(at, 2, number);
}

}  // namespace pd
