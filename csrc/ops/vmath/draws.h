// Whole numbers from the counter-based generator.
#pragma once
#include "ops/vmath/philox.h"

namespace pd {
namespace vm {

// 63 bits: word 0 below the low 31 bits of word 1.
template <class I> PD_INLINE I bits63(I index, I stream, I key) {
  Philox4<I> p = philox(index, stream, key);
  return shl(p.w[1] & I(INT64_C(0x7fffffff)), 32) | p.w[0];
}

}  // namespace vm
}  // namespace pd
