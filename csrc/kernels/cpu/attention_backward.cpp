// Attention's backward pass. With p = exp(s - lse), h = do vᵀ, drop = sums of do o along rows, z = p (h - drop):
//
//   dq = scale z k,   dk = zᵀ (scale q),   dv = pᵀ do
//
// block of rows by block of sources, each computed again from q, k and lse (Dao et al., arXiv:2205.14135, algorithm 4). A
// head by itself takes each pair of blocks once; where threads share a head, those that have a block of sources make its dk
// and dv, and then those that have a block of rows its dq, from products in the same order.
#include "kernels/cpu/attention_parts.h"

namespace pd {
namespace cpu {

namespace {

class Backward {
 public:
  explicit Backward(const NativeArgs& n)
      : n_(n), s_(n), blocks_(s_.dtype), loops_(attention_rows(s_.dtype)), dq_(static_cast<char*>(n.outs[0])),
        dk_(static_cast<char*>(n.outs[1])), dv_(static_cast<char*>(n.outs[2])) {}

  void run() const;

 private:
  class Head;

  const NativeArgs& n_;
  const AttentionSizes s_;
  const Blocks blocks_;
  const AttentionRows& loops_;
  char *dq_, *dk_, *dv_;
};

class Backward::Head {
 public:
  Head(const Backward& all, int64_t h, int threads)
      : n_(all.n_), s_(all.s_), blocks_(all.blocks_), loops_(all.loops_), h_(h), threads_(threads),
        dq_(of_head(all.dq_, s_.groups * s_.rows * s_.width)), dk_(of_head(all.dk_, s_.sources * s_.width)),
        dv_(of_head(all.dv_, s_.sources * s_.wide)) {}

  void run() {
    const int64_t row_blocks = s_.groups * s_.row_blocks(), source_blocks = s_.source_blocks();
    const int64_t wide = blocks_.right_bytes(kSourceBlock, s_.width) + blocks_.right_bytes(kSourceBlock, s_.wide) +
                         blocks_.right_bytes(s_.width, kSourceBlock);
    const int64_t high = (kRowBlock * s_.width * s_.item + 63) / 64 * 64 + blocks_.right_bytes(s_.width, kRowBlock) +
                         blocks_.right_bytes(s_.wide, kRowBlock) + 2 * kRowBlock * s_.item;
    CallMemory room(static_cast<size_t>(source_blocks * wide + row_blocks * high));
    sources_.resize(static_cast<size_t>(source_blocks));
    rows_.resize(static_cast<size_t>(row_blocks));
    parallel_for(source_blocks + row_blocks, [&](int64_t t, int) {
      if (t < source_blocks) load_sources(t, room.data() + t * wide);
      else load_rows(t - source_blocks, room.data() + source_blocks * wide + (t - source_blocks) * high);
    }, threads_);
    // What is behind the diagonal counts for nothing, if it is a number.
    pass_ = s_.a.causal;
    for (const Source& x : sources_) pass_ &= x.finite;
    for (const Row& x : rows_) pass_ &= x.finite;
    const bool keys = dk_ || dv_;
    if (threads_ == 1) {
      Tiles tiles(*this);
      for (int64_t j = 0; j < source_blocks; ++j) of_sources(j, tiles, keys, dq_ != nullptr);
    } else {
      if (keys)
        parallel_for(source_blocks, [&](int64_t j, int) {
          Tiles tiles(*this);
          of_sources(j, tiles, true, false);
        }, threads_);
      if (dq_)
        parallel_for(row_blocks, [&](int64_t i, int) {
          Tiles tiles(*this);
          for (int64_t j = 0; j < source_blocks && sees(i % s_.row_blocks(), j); ++j) pair(i, j, tiles, false, true, j == 0);
        }, threads_);
    }
    if (dq_) loops_.multiply(dq_, s_.groups * s_.rows * s_.width, s_.a.scale);
  }

 private:
  struct Source {
    Right keys_across, values_across, keys;  // kᵀ and vᵀ for the scores and h, k for dq
    bool finite;
  };
  struct Row {
    Left query, given;  // scale q, do
    Right query_right, given_right;
    const char *drop, *lse;
    bool finite;
  };
  struct Tiles {
    explicit Tiles(const Head& h)
        : tile(kRowBlock * kSourceBlock * h.s_.item), room(static_cast<size_t>(2 * tile)), weights(room.data()),
          changes(weights + tile) {}
    int64_t tile;  // bytes
    CallMemory room;
    char *weights, *changes;
  };

  char* of_head(char* all, int64_t items) const { return all ? all + h_ * items * s_.item : nullptr; }

  bool sees(int64_t i, int64_t j) const { return !pass_ || j < s_.blocks_seen(i); }

  void load_sources(int64_t j, char* room) {
    const Matrix k = s_.matrix(n_, kKey, h_, 0), v = s_.matrix(n_, kValue, h_, 0);
    const int64_t first = j * kSourceBlock, count = s_.sources_of(j);
    const char *from_k = k.data + first * k.row * s_.item, *from_v = v.data + first * v.row * s_.item;
    Source& x = sources_[static_cast<size_t>(j)];
    x.keys_across = blocks_.right(from_k, count, k.row, s_.width, k.col, room);
    room += blocks_.right_bytes(kSourceBlock, s_.width);
    x.values_across = blocks_.right(from_v, count, v.row, s_.wide, v.col, room);
    room += blocks_.right_bytes(kSourceBlock, s_.wide);
    x.keys = blocks_.right(from_k, s_.width, k.col, count, k.row, room);
    x.finite = s_.a.causal && blocks_.finite(loops_, x.keys) && blocks_.finite(loops_, x.values_across);
  }

  void load_rows(int64_t t, char* room) {
    const int64_t g = t / s_.row_blocks(), i = t % s_.row_blocks(), first = i * kRowBlock, count = s_.rows_of(i);
    const auto from = [&](const Matrix& x) { return x.data + first * x.row * s_.item; };
    Row& x = rows_[static_cast<size_t>(t)];
    char* const query = room;
    room += (kRowBlock * s_.width * s_.item + 63) / 64 * 64;
    const Matrix q = s_.matrix(n_, kQuery, h_, g), given = s_.matrix(n_, kCotangent, h_, g), o = s_.matrix(n_, kResult, h_, g);
    loops_.load(from(q), q.row, q.col, count, s_.width, s_.a.scale, query);
    x.query = {query, count, s_.width, 1};
    x.query_right = blocks_.right(query, s_.width, 1, count, s_.width, room);
    room += blocks_.right_bytes(s_.width, kRowBlock);
    x.given = {from(given), count, given.row, given.col};
    x.given_right = blocks_.right(from(given), s_.wide, given.col, count, given.row, room);
    room += blocks_.right_bytes(s_.wide, kRowBlock);
    if (given.col == 1 && o.col == 1) {
      loops_.dots(from(given), given.row, from(o), o.row, count, s_.wide, room);
    } else {
      CallMemory both(static_cast<size_t>(2 * count * s_.wide * s_.item));
      char* const other = both.data() + count * s_.wide * s_.item;
      loops_.load(from(given), given.row, given.col, count, s_.wide, 1, both.data());
      loops_.load(from(o), o.row, o.col, count, s_.wide, 1, other);
      loops_.dots(both.data(), s_.wide, other, s_.wide, count, s_.wide, room);
    }
    x.drop = room;
    room += kRowBlock * s_.item;
    const Matrix lse = s_.column(n_, kLogSum, h_, g);
    loops_.load(from(lse), lse.row, 1, count, 1, 1, room);
    x.lse = room;
    x.finite = s_.a.causal && blocks_.finite(loops_, x.query_right) && blocks_.finite(loops_, x.given_right);
  }

  // A block of sources by all rows that see it.
  void of_sources(int64_t j, Tiles& tiles, bool keys, bool query) const {
    bool first = true;
    for (int64_t t = 0; t < s_.groups * s_.row_blocks(); ++t) {
      if (!sees(t % s_.row_blocks(), j)) continue;
      pair(t, j, tiles, keys, query, j == 0, first);
      first = false;
    }
    if (!keys || !first) return;
    const int64_t at = j * kSourceBlock, count = s_.sources_of(j);
    if (dk_) std::memset(dk_ + at * s_.width * s_.item, 0, static_cast<size_t>(count * s_.width * s_.item));
    if (dv_) std::memset(dv_ + at * s_.wide * s_.item, 0, static_cast<size_t>(count * s_.wide * s_.item));
  }

  void pair(int64_t t, int64_t j, Tiles& tiles, bool keys, bool query, bool first_source, bool first_row = false) const {
    const int64_t g = t / s_.row_blocks(), i = t % s_.row_blocks(), rows = s_.rows_of(i), cols = s_.sources_of(j);
    const Row& row = rows_[static_cast<size_t>(t)];
    const Source& source = sources_[static_cast<size_t>(j)];
    const Matrix mask = s_.masked ? s_.matrix(n_, kMaskBehind, h_, g) : Matrix{};
    const Seen seen = s_.seen(i, j, pass_);
    blocks_.scores(row.query, source.keys_across, seen, tiles.weights);
    hide(s_, loops_, mask, i, j, tiles.weights);
    blocks_.scores(row.given, source.values_across, seen, tiles.changes);
    loops_.unweigh(tiles.weights, tiles.changes, rows, cols, row.lse, row.drop);
    const int64_t at = j * kSourceBlock;
    if (keys && dv_) blocks_.by_turned(tiles.weights, cols, row.given_right, seen, dv_ + at * s_.wide * s_.item, !first_row);
    if (keys && dk_) blocks_.by_turned(tiles.changes, cols, row.query_right, seen, dk_ + at * s_.width * s_.item, !first_row);
    if (query)
      blocks_.by_weights(tiles.changes, rows, source.keys, seen, dq_ + (g * s_.rows + i * kRowBlock) * s_.width * s_.item,
                         !first_source);
  }

  const NativeArgs& n_;
  const AttentionSizes& s_;
  const Blocks& blocks_;
  const AttentionRows& loops_;
  const int64_t h_;
  const int threads_;
  char *const dq_, *const dk_, *const dv_;
  std::vector<Source> sources_;
  std::vector<Row> rows_;
  bool pass_ = false;
};

void Backward::run() const {
  const int threads = threads_for_work(2.5 * s_.work());
  if (by_heads(s_, threads)) parallel_for(s_.heads, [&](int64_t h, int) { Head(*this, h, 1).run(); }, threads);
  else for (int64_t h = 0; h < s_.heads; ++h) Head(*this, h, threads).run();
}

}  // namespace

void attention_backward(const NativeArgs& a, NativeError&) { Backward(a).run(); }

}  // namespace cpu
}  // namespace pd
