// Shapes and axes: arithmetic on tuples of sizes, with the errors that users see.
#pragma once
#include <string>

#include "base/error.h"
#include "base/vec.h"

namespace pd {

using Shape = Ints;

inline int64_t numel(const Shape& s) {
  int64_t n = 1;
  for (int64_t d : s) n *= d;
  return n;
}

inline std::string to_string(const Ints& s) {
  std::string out = "(";
  for (int i = 0; i < s.size(); ++i) {
    if (i) out += ", ";
    out += std::to_string(s[i]);
  }
  if (s.size() == 1) out += ",";
  return out + ")";
}

// Row-major strides, in elements.
inline Ints contiguous_strides(const Shape& s) {
  Ints st(s.size(), 1);
  int64_t k = 1;
  for (int i = s.size() - 1; i >= 0; --i) {
    st[i] = k;
    k *= s[i] ? s[i] : 1;
  }
  return st;
}

// NumPy's broadcasting rule; fails in the name of `op`.
inline Shape broadcast(const char* op, const Shape& a, const Shape& b) {
  if (a == b) return a;
  const Shape &l = a.size() >= b.size() ? a : b, &s = a.size() >= b.size() ? b : a;
  Shape out = l;
  int off = l.size() - s.size();
  for (int i = 0; i < s.size(); ++i) {
    int64_t x = l[off + i], y = s[i];
    if (x == y || y == 1) continue;
    if (x != 1)
      fail(op, "shapes do not broadcast", to_string(a) + " and " + to_string(b),
           "sizes that are equal or 1, counted from the right");
    out[off + i] = y;
  }
  return out;
}

// An axis in [-ndim, ndim) as one in [0, ndim); a 0-d tensor takes -1 and 0, as in PyTorch.
inline int normalize_axis(const char* op, int64_t axis, int ndim) {
  int64_t n = ndim ? ndim : 1;
  if (axis < -n || axis >= n)
    fail(op, "axis out of range", std::to_string(axis) + " for " + std::to_string(ndim) + " dimensions",
         "an axis from " + std::to_string(-n) + " to " + std::to_string(n - 1), ErrorKind::Index);
  return static_cast<int>(axis < 0 ? axis + n : axis);
}

}  // namespace pd
