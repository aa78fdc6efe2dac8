#include "fuse/pack.h"

#include <algorithm>
#include <cstring>

#include "fuse/broadcast.h"

namespace pd {
namespace {

// A stretch of flattened positions along the last of some axes: `at` from the start of the range, `offset` of its first
// element, and the part [lo, hi) of it that lies within the bounds.
struct Stretch {
  int64_t at, length, offset, lo, hi;
};

// Calls f for each stretch of [begin, begin + count) over the axes that start at `first` in the view. An operand that
// does not depend on an empty index is asked for its one value there.
template <class F> void stretches(const View& view, const Ints& dims, int first, int64_t begin, int64_t count, F f) {
  const int n = dims.size();
  if (count <= 0) return;
  if (n == 0) return f(Stretch{0, count, 0, 0, count});
  Ints index(n, 0);
  for (int k = n - 1; k >= 0 && begin; --k) {
    index[k] = begin % dims[k];
    begin /= dims[k];
  }
  const int last = n - 1;
  for (int64_t at = 0; at < count;) {
    Stretch s{at, std::min(dims[last] ? dims[last] - index[last] : 1, count - at), 0, 0, 0};
    s.hi = s.length;
    for (int k = 0; k < n; ++k) s.offset += index[k] * view.strides[first + k];
    if (view.bounded) {
      for (int k = 0; k < last; ++k)
        if (index[k] < view.lo[first + k] || index[k] >= view.hi[first + k]) s.hi = 0;
      s.lo = std::max<int64_t>(0, view.lo[first + last] - index[last]);
      s.hi = std::max(s.lo, std::min(s.hi, view.hi[first + last] - index[last]));
    }
    f(s);
    at += s.length;
    index[last] = 0;
    for (int k = last - 1; k >= 0; --k) {
      if (++index[k] < dims[k]) break;
      index[k] = 0;
    }
  }
}

// A tile as a grid of rectangles in which the address is linear in r and in c.
// f(place in the tile, R, C, offset, rs, cs); outside(place, R, C) where bounds exclude something of one.
template <class F, class G>
void rectangles(const View& view, const Ints& major, const Ints& minor, int64_t r0, int64_t R, int64_t c0, int64_t C,
                F f, G outside) {
  const int nm = major.size();
  const int64_t rs = nm ? view.strides[nm - 1] : 0;
  const int64_t cs = minor.size() ? view.strides[nm + minor.size() - 1] : 0;
  stretches(view, major, 0, r0, R, [&](const Stretch& a) {
    stretches(view, minor, nm, c0, C, [&](const Stretch& b) {
      const int64_t place = a.at * C + b.at;
      const int64_t rows = a.hi - a.lo, columns = b.hi - b.lo;
      if (rows < a.length || columns < b.length) outside(place, a.length, b.length);
      if (rows > 0 && columns > 0)
        f(place + a.lo * C + b.lo, rows, columns, view.offset + a.offset + a.lo * rs + b.offset + b.lo * cs, rs, cs);
    });
  });
}

}  // namespace

View contiguous_view(const Ints& major, const Ints& minor) {
  View v;
  v.strides.resize(major.size() + minor.size(), 0);
  int64_t step = 1;
  for (int k = v.strides.size() - 1; k >= 0; --k) {
    v.strides[k] = step;
    step *= k < major.size() ? major[k] : minor[k - major.size()];
  }
  return v;
}

void pack(void* dst, const void* base, DType type, const View& view, const Ints& major, const Ints& minor, int64_t r0,
          int64_t R, int64_t c0, int64_t C) {
  const int64_t size = static_cast<int64_t>(size_of(type));
  char* to = static_cast<char*>(dst);
  const char* from = static_cast<const char*>(base);
  int64_t value[2] = {view.fill, 0};
  rectangles(
      view, major, minor, r0, R, c0, C,
      [&](int64_t place, int64_t rows, int64_t columns, int64_t offset, int64_t rs, int64_t cs) {
        copy_2d(to + place * size, C, 1, from + offset * size, rs, cs, rows, columns, static_cast<size_t>(size));
      },
      [&](int64_t place, int64_t rows, int64_t columns) {
        copy_2d(to + place * size, C, 1, value, 0, 0, rows, columns, static_cast<size_t>(size));
      });
}

void pack_index(int64_t* dst, const View& view, const Ints& major, const Ints& minor, int64_t r0, int64_t R,
                int64_t c0, int64_t C) {
  rectangles(
      view, major, minor, r0, R, c0, C,
      [&](int64_t place, int64_t rows, int64_t columns, int64_t offset, int64_t rs, int64_t cs) {
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t c = 0; c < columns; ++c) dst[place + r * C + c] = offset + r * rs + c * cs;
      },
      [&](int64_t place, int64_t rows, int64_t columns) {
        copy_2d(dst + place, C, 1, &view.fill, 0, 0, rows, columns, sizeof(int64_t));
      });
}

void unpack(void* base, const void* src, DType type, const View& view, const Ints& major, const Ints& minor,
            int64_t r0, int64_t R, int64_t c0, int64_t C) {
  const int64_t size = static_cast<int64_t>(size_of(type));
  char* to = static_cast<char*>(base);
  const char* from = static_cast<const char*>(src);
  rectangles(
      view, major, minor, r0, R, c0, C,
      [&](int64_t place, int64_t rows, int64_t columns, int64_t offset, int64_t rs, int64_t cs) {
        copy_2d(to + offset * size, rs, cs, from + place * size, C, 1, rows, columns, static_cast<size_t>(size));
      },
      [](int64_t, int64_t, int64_t) {});
}

}  // namespace pd
