// Which instruction set's loops this process runs.
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "ops/loops.h"

namespace pd {
namespace {

constexpr const char* kNames[] = {"baseline", "avx2", "avx512"};

Isa widest() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
              __builtin_cpu_supports("f16c");
  if (!avx2) return Isa::Baseline;
  bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  return avx512 ? Isa::Avx512 : Isa::Avx2;
#else
  return Isa::Baseline;
#endif
}

Isa choose() {
  Isa best = widest();
  const char* asked = std::getenv("PYDIFF_ISA");
  if (!asked || !*asked) return best;
  for (int i = 0; i <= static_cast<int>(best); ++i)
    if (!std::strcmp(asked, kNames[i])) return static_cast<Isa>(i);
  std::string have = kNames[0];
  for (int i = 1; i <= static_cast<int>(best); ++i) have += std::string(", ") + kNames[i];
  fail("PYDIFF_ISA", "no instruction set of this name on this CPU", std::string("'") + asked + "'", have);
}

}  // namespace

Isa host_isa_level() {
  static const Isa isa = choose();
  return isa;
}
const char* host_isa() { return kNames[static_cast<int>(host_isa_level())]; }

}  // namespace pd
