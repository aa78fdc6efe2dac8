// Copies and broadcasts of elements of 1, 2, 4, 8 or 16 bytes between arrays with rows `ld` elements apart.
#pragma once
#include <cstddef>
#include <cstdint>

namespace pd {

// n copies of the element at `value`, which may be the first of them.
void fill(void* dst, const void* value, size_t size, int64_t n);
// dst[r * dst_ld + c] = src[r * src_ld + c]
void copy_rows(void* dst, int64_t dst_ld, const void* src, int64_t src_ld, int64_t R, int64_t C, size_t size);
// dst[r * C + c] = src[r * step]
void spread_rows(void* dst, const void* src, int64_t step, int64_t R, int64_t C, size_t size);
// R copies of one row of `bytes`.
void repeat_row(void* dst, const void* src, int64_t bytes, int64_t R);
// dst[r * C + c] = base + r * rs + c * cs, of int64
void fill_index(void* dst, int64_t R, int64_t C, int64_t base, int64_t rs, int64_t cs);
// dst[r * drs + c * dcs] = src[r * srs + c * scs]
void copy_2d(void* dst, int64_t drs, int64_t dcs, const void* src, int64_t srs, int64_t scs, int64_t R, int64_t C,
             size_t size);

}  // namespace pd
