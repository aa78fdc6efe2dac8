// Attention, forward. For a block of rows, over the blocks of sources:
//
//   s = scale q kᵀ;  m' = max(m, max of s);  p = exp(s - m');  l = l exp(m - m') + sum of p;  o = o exp(m - m') + p v
//
// and at the end o / l (Milakov and Gimelshein, arXiv:1805.02867; Dao et al., arXiv:2205.14135). So no more of the scores
// exists than a block for each thread.
#include <limits>

#include "kernels/cpu/attention_parts.h"

namespace pd {
namespace cpu {

namespace {

class Forward {
 public:
  explicit Forward(const NativeArgs& n)
      : n_(n), s_(n), blocks_(s_.dtype), loops_(attention_rows(s_.dtype)), o_(static_cast<char*>(n.outs[0])),
        lse_(static_cast<char*>(n.outs[1])) {}

  void run() const {
    const int threads = threads_for_work(s_.work());
    if (by_heads(s_, threads)) parallel_for(s_.heads, [&](int64_t h, int) { head(h, 1); }, threads);
    else for (int64_t h = 0; h < s_.heads; ++h) head(h, threads);
  }

 private:
  struct Source {
    Right keys, values;  // kᵀ, v
    bool finite;
  };

  void head(int64_t h, int threads) const {
    const int64_t of_keys = blocks_.right_bytes(kSourceBlock, s_.width), of_values = blocks_.right_bytes(s_.wide, kSourceBlock);
    const int64_t count = s_.source_blocks();
    CallMemory room(static_cast<size_t>(count * (of_keys + of_values)));
    const Matrix k = s_.matrix(n_, kKey, h, 0), v = s_.matrix(n_, kValue, h, 0);
    std::vector<Source> sources(static_cast<size_t>(count));
    parallel_for(count, [&](int64_t j, int) {
      const int64_t first = j * kSourceBlock, here = s_.sources_of(j);
      char* const to = room.data() + j * (of_keys + of_values);
      Source& x = sources[static_cast<size_t>(j)];
      x.keys = blocks_.right(k.data + first * k.row * s_.item, here, k.row, s_.width, k.col, to);
      x.values = blocks_.right(v.data + first * v.row * s_.item, s_.wide, v.col, here, v.row, to + of_keys);
      x.finite = s_.a.causal && blocks_.finite(loops_, x.values);
    }, threads);
    // What no row of a block sees counts for nothing, if it is a number: 0 times anything else is NaN.
    bool pass = s_.a.causal;
    for (const Source& x : sources) pass &= x.finite;
    const int64_t per_group = s_.row_blocks();
    parallel_for(s_.groups * per_group, [&](int64_t t, int) { rows(h, t / per_group, t % per_group, pass, sources); }, threads);
  }

  void rows(int64_t h, int64_t g, int64_t i, bool pass, const std::vector<Source>& sources) const {
    const int64_t first = i * kRowBlock, count = s_.rows_of(i), row = (h * s_.groups + g) * s_.rows + first;
    const Matrix q = s_.matrix(n_, kQuery, h, g), mask = s_.masked ? s_.matrix(n_, 3, h, g) : Matrix{};
    const int64_t of_scores = kRowBlock * kSourceBlock * s_.item;
    CallMemory room(static_cast<size_t>(of_scores + count * (s_.width + (o_ ? 0 : s_.wide)) * s_.item));
    char *const scores = room.data(), *const query = scores + of_scores;
    loops_.load(q.data + first * q.row * s_.item, q.row, q.col, count, s_.width, s_.a.scale, query);
    alignas(64) double most[kRowBlock], sum[kRowBlock];  // of either type
    begin(count, most, sum);
    char* const o = o_ ? o_ + row * s_.wide * s_.item : query + count * s_.width * s_.item;
    for (int64_t j = 0, end = pass ? s_.blocks_seen(i) : s_.source_blocks(); j < end; ++j) {
      const Source& x = sources[static_cast<size_t>(j)];
      const Seen seen = s_.seen(i, j, pass);
      blocks_.scores({query, count, s_.width, 1}, x.keys, seen, scores);
      hide(s_, loops_, mask, i, j, scores);
      loops_.weigh(scores, count, s_.sources_of(j), most, sum, j ? o : nullptr, s_.wide);
      blocks_.by_weights(scores, count, x.values, seen, o, j > 0);
    }
    loops_.finish(count, most, sum, o, s_.wide, s_.masked || s_.a.causal, lse_ ? lse_ + row * s_.item : nullptr);
  }

  void begin(int64_t count, void* most, void* sum) const {
    std::memset(sum, 0, static_cast<size_t>(count * s_.item));
    if (s_.dtype == DType::F32) std::fill_n(static_cast<float*>(most), count, -std::numeric_limits<float>::infinity());
    else std::fill_n(static_cast<double*>(most), count, -std::numeric_limits<double>::infinity());
  }

  const NativeArgs& n_;
  const AttentionSizes s_;
  const Blocks blocks_;
  const AttentionRows& loops_;
  char *o_, *lse_;
};

}  // namespace

void attention(const NativeArgs& a, NativeError&) { Forward(a).run(); }

}  // namespace cpu
}  // namespace pd
