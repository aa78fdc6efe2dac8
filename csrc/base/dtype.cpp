#include "base/dtype.h"

#include <cstring>

namespace pd {

namespace {
DType g_default = DType::F32;

bool is_signed_int(DType t) { return is_integer(t) && info(t).kind == 'i'; }

// The signed integer that holds every value of an unsigned one. No integer holds uint64 and a sign: there it is float64,
// as in NumPy.
DType signed_for(DType u) {
  switch (u) {
    case DType::U8: return DType::I16;
    case DType::U16: return DType::I32;
    case DType::U32: return DType::I64;
    default: return DType::F64;
  }
}

DType wider(DType a, DType b) { return size_of(a) >= size_of(b) ? a : b; }
}  // namespace

DType promote(DType a, DType b) {
  if (a == b) return a;
  int ca = info(a).category, cb = info(b).category;
  if (ca > cb) return promote(b, a);
  // here ca <= cb
  if (ca == cb) {
    if (ca == 2) {
      // float16 with bfloat16: neither holds the other
      if (size_of(a) == 2 && size_of(b) == 2) return DType::F32;
      return wider(a, b);
    }
    if (ca == 3) return wider(a, b);
    bool sa = is_signed_int(a), sb = is_signed_int(b);
    if (sa == sb) return wider(a, b);
    DType s = sa ? a : b, u = sa ? b : a;
    if (size_of(u) < size_of(s)) return s;
    return signed_for(u);
  }
  if (cb == 3) {
    // a real with a complex: float64 widens complex64
    if (ca == 2 && a == DType::F64) return DType::C128;
    return b;
  }
  return b;
}

bool dtype_from_name(const char* name, DType& out) {
  for (int i = 0; i < kNumDTypes; ++i)
    if (std::strcmp(kDTypes[i].name, name) == 0) {
      out = static_cast<DType>(i);
      return true;
    }
  return false;
}

DType default_dtype() { return g_default; }
void set_default_dtype(DType t) { g_default = t; }

}  // namespace pd
