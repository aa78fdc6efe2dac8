// Index maps of operands, and packing: copying what a tile needs of an operand into an (R, C) array.
#pragma once
#include "base/dtype.h"
#include "base/vec.h"

namespace pd {

// Where the element of each point of a domain lies. The axes of a domain are its majors, then its minors; flattened,
// the last axis of each runs fastest.
struct View {
  int64_t offset = 0;    // of the domain's origin, in elements
  Ints strides;          // one an axis, in elements; 0 broadcasts
  bool bounded = false;  // an element exists where lo <= index < hi on every axis; elsewhere the value is `fill`
  bool index = false;    // the value is the map itself, an int64: there is no memory behind it
  SmallVec<int64_t, 1> lo, hi;  // few views have any
  int64_t fill = 0;      // the value's bits, in the first bytes
};

// Row-major over all axes.
View contiguous_view(const Ints& major, const Ints& minor);

// dst[(r - r0) * C + (c - c0)] for r0 <= r < r0 + R, c0 <= c < c0 + C
void pack(void* dst, const void* base, DType type, const View& view, const Ints& major, const Ints& minor, int64_t r0,
          int64_t R, int64_t c0, int64_t C);
// The same of the map's value; `dst` is of int64.
void pack_index(int64_t* dst, const View& view, const Ints& major, const Ints& minor, int64_t r0, int64_t R,
                int64_t c0, int64_t C);
// From an (R, C) array back to where the view says; the view has no bounds.
void unpack(void* base, const void* src, DType type, const View& view, const Ints& major, const Ints& minor,
            int64_t r0, int64_t R, int64_t c0, int64_t C);

}  // namespace pd
