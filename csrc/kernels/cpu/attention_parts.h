// What the two passes of attention share: where the operands of a head lie, and products of small blocks by the tiles of
// kernels/cpu/tile_kernels.h.
//
// Scores are computed a block of rows by a block of sources at a time. The blocks have fixed sizes, and each element of a
// result is added up by sources, or by rows, in rising order; so threads may share heads or blocks, and its bits stay.
#pragma once
#include <algorithm>
#include <limits>
#include <vector>

#include "base/divide.h"
#include "device/cpu/scratch.h"
#include "kernels/cpu/attention_rows.h"
#include "kernels/cpu/native_kernels.h"
#include "kernels/cpu/tile_kernels.h"
#include "ops/attention.h"

namespace pd {
namespace cpu {

constexpr int64_t kRowBlock = 112;               // rows of the scores at once
constexpr int64_t kSourceBlock = kAttentionRow;  // and columns

// A head's matrix, as it lies.
struct Matrix {
  const char* data = nullptr;
  int64_t row = 0, col = 0;  // in items
};

// What of a block of scores counts: in row r the columns below r + diagonal.
struct Seen {
  int64_t diagonal = std::numeric_limits<int64_t>::max() / 2;
  int64_t end(int64_t row) const { return row + diagonal; }
  int64_t begin(int64_t column) const { return column - diagonal + 1; }
};

// The sizes of a problem, and where each head's operands lie: `heads` of keys, each for `groups` of the query.
struct AttentionSizes {
  Attention a;
  DType dtype;
  int64_t item, heads, groups, rows, sources, width, wide;
  bool masked, boolean;

  explicit AttentionSizes(const NativeArgs& n)
      : a(*n.attrs), dtype(n.specs[kQuery].dtype), item(static_cast<int64_t>(size_of(dtype))) {
    const Shape &q = n.specs[kQuery].shape, &k = n.specs[kKey].shape;
    const int lead = k.size() - 2;
    heads = 1;
    for (int i = 0; i < lead; ++i) heads *= k[i];
    groups = q.size() > k.size() ? q[lead] : 1;
    rows = q[q.size() - 2];
    width = q.back();
    sources = k[k.size() - 2];
    wide = n.specs[kValue].shape.back();
    for (int i = 0; i < lead; ++i) lead_.push_back(k[i]);
    masked = n.nin == 4 || n.nin == 7;
    boolean = masked && n.specs[n.nin - 1].dtype == DType::Bool;
  }

  // Head h, group g of operand x.
  Matrix matrix(const NativeArgs& n, int x, int64_t h, int64_t g) const {
    const Ints& s = n.strides[x];
    return {within(n, x, h, g, s.size() - 2), s[s.size() - 2], s.back()};
  }
  // The same of an operand with one number for each row.
  Matrix column(const NativeArgs& n, int x, int64_t h, int64_t g) const {
    const Ints& s = n.strides[x];
    return {within(n, x, h, g, s.size() - 1), s.back(), 1};
  }

  int64_t row_blocks() const { return ceil_div(rows, kRowBlock); }
  int64_t source_blocks() const { return ceil_div(sources, kSourceBlock); }
  int64_t rows_of(int64_t block) const { return std::min(kRowBlock, rows - block * kRowBlock); }
  int64_t sources_of(int64_t block) const { return std::min(kSourceBlock, sources - block * kSourceBlock); }
  // Blocks of sources that the rows of a block see, where what they do not see may be passed over.
  int64_t blocks_seen(int64_t block) const {
    return std::min(source_blocks(), ceil_div(block * kRowBlock + rows_of(block), kSourceBlock));
  }
  // Of a pair of blocks, where what is not seen may be passed over.
  Seen seen(int64_t i, int64_t j, bool pass) const { return pass ? Seen{i * kRowBlock - j * kSourceBlock + 1} : Seen{}; }
  // Multiply-adds of all scores and of what they weigh.
  double work() const {
    return static_cast<double>(heads * groups) * static_cast<double>(rows) * static_cast<double>(sources * (width + wide));
  }

 private:
  // Where head h, group g of operand x begins, whose axes before `own` are those of heads and perhaps groups.
  const char* within(const NativeArgs& n, int x, int64_t h, int64_t g, int own) const {
    const Ints& s = n.strides[x];
    int64_t at = own > lead_.size() ? g * s[lead_.size()] : 0;
    for (int i = lead_.size() - 1; i >= 0; --i) {
      at += h % lead_[i] * s[i];
      h /= lead_[i];
    }
    return static_cast<const char*>(n.in[x]) + at * static_cast<int64_t>(size_of(n.specs[x].dtype));
  }

  Shape lead_;
};

// Threads for so many multiply-adds. Tasks are few and long, so a second one has to pay for being late.
inline int threads_for_work(double work) { return work < 4 * static_cast<double>(worth_a_thread()) ? 1 : num_threads(); }

// Whether heads are tasks of their own: where they are many, or fill the threads. Otherwise the threads share a head's blocks.
inline bool by_heads(const AttentionSizes& s, int threads) {
  return threads == 1 || s.heads >= 4 * threads || s.heads % threads == 0;
}

// An operand on the left, as it lies: element (i, p) at [i * row + p * k].
struct Left {
  const char* data;
  int64_t rows, row, k;
};

// An operand on the right, as strips of columns: those of strip j from data + j * strip on, element (p, q) at [p * row + q].
struct Right {
  const char* data = nullptr;
  int64_t cols = 0, depth = 0, strip = 0, row = kPacked;
  static constexpr int64_t kPacked = -1;  // rows are as long as the strip is wide
};

// Products of blocks, of one type.
class Blocks {
 public:
  explicit Blocks(DType dtype) : kernels_(tile_kernels(dtype)), item_(static_cast<int64_t>(size_of(dtype))) {}

  int64_t right_bytes(int64_t cols, int64_t depth) const {
    return (ceil_div(cols, kernels_.width) * kernels_.width * depth * item_ + 63) / 64 * 64;
  }

  // Element (p, q) of the operand at [p * k + q * col]: in `room`, or as it lies where one strip has it all.
  Right right(const void* from, int64_t cols, int64_t col, int64_t depth, int64_t k, char* room) const {
    const int64_t width = kernels_.width;
    for (int64_t j = 0; j < cols; j += width) {
      const int64_t count = std::min(width, cols - j);
      char* const to = room + j * depth * item_;
      BStrip made{to, 0, 0};
      const int64_t k_end = count % (width / 2) == 0 ? depth : 0;  // lanes beyond the columns are zeros
      kernels_.pack_columns(from, {col, nullptr}, j, count, {k, nullptr}, 0, depth, k_end, true, to, made);
      if (made.data == to) continue;
      if (cols == count) return {static_cast<const char*>(made.data), cols, depth, 0, made.row};
      for (int64_t p = 0; p < depth; ++p)
        std::memcpy(to + p * made.width * item_, static_cast<const char*>(made.data) + p * made.row * item_,
                    static_cast<size_t>(made.width * item_));
    }
    return {room, cols, depth, width * depth * item_, Right::kPacked};
  }
  bool finite(const AttentionRows& loops, const Right& x) const {
    if (x.row != Right::kPacked) return loops.finite(x.data, x.depth, x.row, x.cols);
    const int64_t half = kernels_.width / 2;
    return loops.finite(x.data, 1, 0, ceil_div(x.cols, half) * half * x.depth);
  }

  // Scores: c = a b, as far as they are seen.
  void scores(const Left& a, const Right& b, const Seen& seen, void* c) const {
    multiply(a, b, c, kAttentionRow, false, [&](int64_t j, int64_t first, int64_t height) {
      return j < seen.end(first + height - 1) ? Range{0, b.depth} : Range{0, -1};
    });
  }
  // c = weights b, or more by that; c's rows are as long as b has columns. Weights that are not seen are 0, and not read.
  void by_weights(const void* weights, int64_t rows, const Right& b, const Seen& seen, void* c, bool more) const {
    multiply({static_cast<const char*>(weights), rows, kAttentionRow, 1}, b, c, b.cols, more,
             [&](int64_t, int64_t first, int64_t height) {
               return Range{0, std::clamp<int64_t>(seen.end(first + height - 1), 0, b.depth)};
             });
  }
  // The same of the weights' transpose, whose rows are sources.
  void by_turned(const void* weights, int64_t sources, const Right& b, const Seen& seen, void* c, bool more) const {
    multiply({static_cast<const char*>(weights), sources, 1, kAttentionRow}, b, c, b.cols, more,
             [&](int64_t, int64_t first, int64_t) {
               return Range{std::clamp<int64_t>(seen.begin(first), 0, b.depth), b.depth};
             });
  }

 private:
  struct Range {
    int64_t begin, end;  // of the sum; nothing is computed where it ends before it begins
  };

  // range_of(j, i, n): what is added up for columns from j on and n rows from i on.
  template <class F>
  void multiply(const Left& a, const Right& b, void* c, int64_t c_row, bool more, F&& range_of) const {
    const int64_t width = kernels_.width, pieces = ceil_div(a.rows, kernels_.rows);
    for (int64_t j = 0, strip = 0; j < b.cols; j += width, ++strip) {
      const int64_t cols = std::min(width, b.cols - j), wide = cols <= width / 2 ? width / 2 : width;
      const int64_t row = b.row == Right::kPacked ? wide : b.row;
      for (int64_t s = 0, first = 0; s < pieces; ++s) {
        const int64_t height = a.rows / pieces + (s < a.rows % pieces);
        const Range r = range_of(j, first, height);
        if (r.end >= r.begin)
          kernels_.tile(r.end - r.begin, {a.data + (first * a.row + r.begin * a.k) * item_, a.row, a.k, false},
                        {b.data + strip * b.strip + r.begin * row * item_, row, wide}, height, c, {c_row, nullptr}, first,
                        {1, nullptr}, j, cols, more);
        first += height;
      }
    }
  }

  const TileKernels& kernels_;
  int64_t item_;
};

// Raw scores of a block become those that count: the mask, and -inf behind the diagonal.
inline void hide(const AttentionSizes& s, const AttentionRows& loops, const Matrix& mask, int64_t i, int64_t j, void* scores) {
  const int64_t i0 = i * kRowBlock, j0 = j * kSourceBlock, rows = s.rows_of(i), cols = s.sources_of(j);
  if (s.masked) {
    const int64_t bytes = s.boolean ? 1 : s.item;
    loops.mask(scores, rows, cols, mask.data + (i0 * mask.row + j0 * mask.col) * bytes, s.boolean, mask.row, mask.col);
  }
  if (s.a.causal && j0 + cols > i0 + 1) loops.cut(scores, rows, cols, i0 - j0 + 1);
}

}  // namespace cpu
}  // namespace pd
