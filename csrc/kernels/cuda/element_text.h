// CUDA C++ of elements in memory and as what is computed with, behind value_helpers(). `Head::elements` gives T (in
// memory), Sum (f32 or f64) and KIND (0: T is Sum; 1: float16, 2: bfloat16).
#pragma once

namespace pd {
namespace cuda {

inline const char* const kElementText = R"cuda(
PD_DEVICE Sum value_of(T x) {
  if constexpr (KIND == 1) return pd_from_half(x);
  else if constexpr (KIND == 2) return pd_from_bfloat(x);
  else return x;
}
PD_DEVICE T element_of(Sum x) {
  if constexpr (KIND == 1) return pd_to_half(x);
  else if constexpr (KIND == 2) return pd_to_bfloat(x);
  else return x;
}
)cuda";

}  // namespace cuda
}  // namespace pd
