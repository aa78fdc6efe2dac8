#include "fuse/broadcast.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace pd {
namespace {

struct Bits128 {
  uint64_t lo, hi;
};

// Calls f with a value of the unsigned type of `size` bytes.
template <class F> void with_size(size_t size, F f) {
  switch (size) {
    case 1: return f(uint8_t());
    case 2: return f(uint16_t());
    case 4: return f(uint32_t());
    case 8: return f(uint64_t());
    default: return f(Bits128());
  }
}

template <class T> void fill_of(T* dst, T v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dst[i] = v;
}

// Transposes blocks of B x B elements that fill 16 bytes a row: dst[c * d + r] = src[r * s + c].
template <class T> void transpose_block(T* dst, int64_t d, const T* src, int64_t s) {
  constexpr int B = 16 / sizeof(T);
  typedef T X __attribute__((vector_size(16)));
  X v[B];
  for (int i = 0; i < B; ++i) std::memcpy(&v[i], src + i * s, 16);
  if constexpr (B == 4) {
    X a = __builtin_shuffle(v[0], v[1], X{0, 4, 1, 5}), b = __builtin_shuffle(v[2], v[3], X{0, 4, 1, 5});
    X c = __builtin_shuffle(v[0], v[1], X{2, 6, 3, 7}), e = __builtin_shuffle(v[2], v[3], X{2, 6, 3, 7});
    v[0] = __builtin_shuffle(a, b, X{0, 1, 4, 5});
    v[1] = __builtin_shuffle(a, b, X{2, 3, 6, 7});
    v[2] = __builtin_shuffle(c, e, X{0, 1, 4, 5});
    v[3] = __builtin_shuffle(c, e, X{2, 3, 6, 7});
  } else {
    X a = __builtin_shuffle(v[0], v[1], X{0, 2});
    v[1] = __builtin_shuffle(v[0], v[1], X{1, 3});
    v[0] = a;
  }
  for (int i = 0; i < B; ++i) std::memcpy(dst + i * d, &v[i], 16);
}

// dst[r * d + c] = src[c * s + r], in blocks of which each cache line is used while it is near. At most 8 lines of the
// source are in use, since rows a power of two apart share one set of the cache.
template <class T> void transpose(T* dst, int64_t d, const T* src, int64_t s, int64_t R, int64_t C) {
  constexpr int64_t kRows = 32, kColumns = 8;
  for (int64_t r0 = 0; r0 < R; r0 += kRows) {
    const int64_t r1 = std::min(R, r0 + kRows);
    for (int64_t c0 = 0; c0 < C; c0 += kColumns) {
      const int64_t c1 = std::min(C, c0 + kColumns);
      int64_t r = r0;
      if constexpr (sizeof(T) == 4 || sizeof(T) == 8) {
        constexpr int64_t B = 16 / sizeof(T);
        for (; r + B <= r1; r += B) {
          int64_t c = c0;
          for (; c + B <= c1; c += B) transpose_block(dst + r * d + c, d, src + c * s + r, s);
          for (; c < c1; ++c)
            for (int64_t k = 0; k < B; ++k) dst[(r + k) * d + c] = src[c * s + r + k];
        }
      }
      for (; r < r1; ++r)
        for (int64_t c = c0; c < c1; ++c) dst[r * d + c] = src[c * s + r];
    }
  }
}

}  // namespace

void fill(void* dst, const void* value, size_t size, int64_t n) {
  with_size(size, [&](auto v) {
    std::memcpy(&v, value, sizeof v);
    fill_of(static_cast<decltype(v)*>(dst), v, n);
  });
}

void copy_rows(void* dst, int64_t dst_ld, const void* src, int64_t src_ld, int64_t R, int64_t C, size_t size) {
  copy_2d(dst, dst_ld, 1, src, src_ld, 1, R, C, size);
}

void spread_rows(void* dst, const void* src, int64_t step, int64_t R, int64_t C, size_t size) {
  copy_2d(dst, C, 1, src, step, 0, R, C, size);
}

void repeat_row(void* dst, const void* src, int64_t bytes, int64_t R) {
  if (R <= 0 || bytes <= 0) return;
  char* p = static_cast<char*>(dst);
  std::memcpy(p, src, static_cast<size_t>(bytes));
  for (int64_t done = 1; done < R; done *= 2)
    std::memcpy(p + done * bytes, p, static_cast<size_t>(std::min(done, R - done) * bytes));
}

void fill_index(void* dst, int64_t R, int64_t C, int64_t base, int64_t rs, int64_t cs) {
  int64_t* p = static_cast<int64_t*>(dst);
  for (int64_t r = 0; r < R; ++r)
    for (int64_t c = 0; c < C; ++c) p[r * C + c] = base + r * rs + c * cs;
}

void copy_2d(void* dst, int64_t drs, int64_t dcs, const void* src, int64_t srs, int64_t scs, int64_t R, int64_t C,
             size_t size) {
  if (R <= 0 || C <= 0) return;
  // The inner loop runs along the destination's contiguous index, or along the longer one.
  if ((dcs != 1 || C == 1) && (drs == 1 || C < R)) {
    std::swap(drs, dcs);
    std::swap(srs, scs);
    std::swap(R, C);
  }
  with_size(size, [&](auto zero) {
    using T = decltype(zero);
    T* d = static_cast<T*>(dst);
    const T* s = static_cast<const T*>(src);
    if (dcs == 1 && scs == 1) {
      const size_t bytes = static_cast<size_t>(C) * sizeof(T);
      if (R == 1 || (drs == C && srs == C)) {
        std::memmove(d, s, bytes * static_cast<size_t>(R));
      } else {
        for (int64_t r = 0; r < R; ++r) std::memmove(d + r * drs, s + r * srs, bytes);
      }
    } else if (dcs == 1 && scs == 0) {
      for (int64_t r = 0; r < R; ++r) fill_of(d + r * drs, s[r * srs], C);
    } else if (dcs == 1 && srs == 1 && R > 1) {
      transpose(d, drs, s, scs, R, C);
    } else if (dcs == 1 && scs == 2) {  // every second: of a pooling's windows, of complex numbers; vectors for the compiler
      for (int64_t r = 0; r < R; ++r) {
        T* to = d + r * drs;
        const T* from = s + r * srs;
        for (int64_t c = 0; c < C; ++c) to[c] = from[2 * c];
      }
    } else {
      for (int64_t r = 0; r < R; ++r)
        for (int64_t c = 0; c < C; ++c) d[r * drs + c * dcs] = s[r * srs + c * scs];
    }
  });
}

}  // namespace pd
