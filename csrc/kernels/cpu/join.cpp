// Tensors written into regions of a larger one: concatenate, slice_update.
#include "kernels/cpu/walk.h"

namespace pd {
namespace cpu {

namespace {

constexpr int64_t kLongRow = 1 << 16;    // bytes
constexpr int64_t kBlockBytes = 1 << 14;  // that stay in the first-level cache while columns are filled in

// Copies `rows` runs of `bytes`, each side with a stride in bytes.
void copy_runs(char* out, int64_t out_stride, const char* in, int64_t in_stride, int64_t rows, int64_t bytes) {
  bool sized = with_size(bytes, [&](auto size) {
    for (int64_t r = 0; r < rows; ++r) std::memcpy(out + r * out_stride, in + r * in_stride, size.value);
  });
  if (sized) return;
  for (int64_t r = 0; r < rows; ++r) std::memcpy(out + r * out_stride, in + r * in_stride, static_cast<size_t>(bytes));
}

// Items of two operands in turns, as the halves of a pooling's windows are joined.
template <class T> void interleave(char* to, const char* left, const char* right, int64_t n) {
  T* __restrict out = reinterpret_cast<T*>(to);
  const T *__restrict a = reinterpret_cast<const T*>(left), *__restrict b = reinterpret_cast<const T*>(right);
  for (int64_t i = 0; i < n; ++i) {
    out[2 * i] = a[i];
    out[2 * i + 1] = b[i];
  }
}

}  // namespace

// The result is rows of (run of operand 0, run of operand 1, …). Blocks of rows are filled operand by operand, so that
// the block stays in cache; rows longer than a block are copied run by run.
void concatenate(const NativeArgs& a, NativeError&) {
  int64_t axis = (*a.attrs)[0];
  int64_t item = static_cast<int64_t>(size_of(a.out_spec->dtype));
  AxisView v(a.out_spec->shape, axis);
  int64_t row = v.n * v.inner * item;
  if (v.outer == 0 || row == 0) return;
  char* out = static_cast<char*>(a.out);
  auto run_of = [&](int k) { return a.specs[k].shape[static_cast<int>(axis)] * v.inner * item; };

  if (row > kLongRow) {
    for_ranges(v.outer, v.outer * row / item, [&](int64_t b, int64_t e) {
      for (char* to = out + b * row; b < e; ++b)
        for (int k = 0; k < a.nin; ++k) {
          int64_t run = run_of(k);
          copy_bytes(to, static_cast<const char*>(a.in[k]) + b * run, run);
          to += run;
        }
    });
    return;
  }
  int64_t per_block = std::max<int64_t>(1, kBlockBytes / row);
  int64_t blocks = (v.outer + per_block - 1) / per_block;
  for_ranges(blocks, v.outer * row / item, [&](int64_t b, int64_t e) {
    for (; b < e; ++b) {
      int64_t first = b * per_block, rows = std::min(per_block, v.outer - first);
      char* to = out + first * row;
      if (a.nin == 2 && row == 2 * item && run_of(0) == item && (item == 4 || item == 8)) {
        const char* left = static_cast<const char*>(a.in[0]) + first * item;
        const char* right = static_cast<const char*>(a.in[1]) + first * item;
        item == 4 ? interleave<uint32_t>(to, left, right, rows) : interleave<uint64_t>(to, left, right, rows);
        continue;
      }
      for (int k = 0; k < a.nin; ++k) {
        int64_t run = run_of(k);
        if (run) copy_runs(to, row, static_cast<const char*>(a.in[k]) + first * run, run, rows, run);
        to += run;
      }
    }
  });
}

void slice_update(const NativeArgs& a, NativeError&) {
  const Shape &dst = a.specs[0].shape, &src = a.specs[1].shape;
  int64_t item = static_cast<int64_t>(size_of(a.out_spec->dtype));
  int nd = dst.size();
  if (numel(src) != numel(dst)) copy_bytes(a.out, a.in[0], numel(dst) * item);

  Ints ds = contiguous_strides(dst), ss = contiguous_strides(src);
  Walk<2> walk;
  for (int i = 0; i < nd; ++i) {
    int64_t start = (*a.attrs)[i], step = (*a.attrs)[2 * nd + i];
    walk.base[0] += start * ds[i];
    walk.axis(src[i], {step * ds[i], ss[i]});
  }
  char* out = static_cast<char*>(a.out);
  const char* in = static_cast<const char*>(a.in[1]);
  walk.in_parallel(-1, [&](const Walk<2>& piece) {
    int64_t n = piece.run(), to = piece.step(0) * item, from = piece.step(1) * item;
    bool solid = to == item && from == item;
    piece.rows([&](const Offsets<2>& at) {
      char* o = out + at[0] * item;
      const char* s = in + at[1] * item;
      if (solid)
        std::memcpy(o, s, static_cast<size_t>(n * item));
      else
        copy_runs(o, to, s, from, n, item);
    });
  });
}

}  // namespace cpu
}  // namespace pd
