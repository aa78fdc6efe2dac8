// The rows' forward column as structs with a template `fwd`, for loops (V) and trees (E).
#pragma once
#include "ops/rows.h"
#include "ops/vmath/draws.h"
#include "ops/vmath/integer.h"
#include "ops/vmath/scalar.h"
#include "ops/vmath/vmath.h"

namespace pd {
// The structs stand apart from their names, which would hide the primitives (sqrt, abs) inside them.
namespace row_defs {

#define ROW1(name, TYPES, OUT, FWD, ...)                   \
  struct name##_row {                                            \
    static constexpr unsigned types = TYPES;               \
    static constexpr int arity = 1;                        \
    static constexpr RowOut out = RowOut::OUT;             \
    template <class X> static PD_INLINE auto fwd(X x) {    \
      (void)x;                                             \
      return FWD;                                          \
    }                                                      \
  };
#define ROW2(name, TYPES, OUT, FWD, ...)                   \
  struct name##_row {                                            \
    static constexpr unsigned types = TYPES;               \
    static constexpr int arity = 2;                        \
    static constexpr RowOut out = RowOut::OUT;             \
    template <class X> static PD_INLINE auto fwd(X a, X b) { \
      return FWD;                                          \
    }                                                      \
  };
#define ROW3(name, TYPES, OUT, FWD, ...)                   \
  struct name##_row {                                            \
    static constexpr unsigned types = TYPES;               \
    static constexpr int arity = 3;                        \
    static constexpr RowOut out = RowOut::OUT;             \
    template <class C, class X> static PD_INLINE auto fwd(C a, X b, X c) { \
      return FWD;                                          \
    }                                                      \
  };
#define DRAW(name, TYPES, FWD, ...)                        \
  struct name##_row {                                            \
    static constexpr unsigned types = TYPES;               \
    static constexpr int arity = 3;                        \
    static constexpr RowOut out = RowOut::Draw;            \
    template <class F, class I> static PD_INLINE auto fwd(I i, I s, I k) { \
      return FWD;                                          \
    }                                                      \
  };
#include "ops/all_rows.inc"

}  // namespace row_defs

namespace rows {
#define ROW1(name, ...) using name = row_defs::name##_row;
#define ROW2(name, ...) using name = row_defs::name##_row;
#define ROW3(name, ...) using name = row_defs::name##_row;
#define DRAW(name, ...) using name = row_defs::name##_row;
#include "ops/all_rows.inc"
}  // namespace rows
}  // namespace pd
