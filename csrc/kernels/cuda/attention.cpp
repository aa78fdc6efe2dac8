// Attention and its backward pass (ops/attention.h): sizes, which kernels, launches.
#include "ops/attention.h"

#include <cstring>

#include "device/cuda/cuda.h"
#include "fuse/cuda/expr_text.h"
#include "kernels/cuda/attention_fma_text.h"
#include "kernels/cuda/attention_text.h"
#include "kernels/cuda/attention_warps_backward_text.h"
#include "kernels/cuda/attention_warps_text.h"
#include "kernels/cuda/element_text.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/tensor_core_text.h"

namespace pd {
namespace cuda {

namespace {

enum class Pass { Forward, Backward };

// Sizes of a call, and how its operands lie.
struct Problem {
  const NativeArgs& n;
  const Attention a;
  const DType dtype;
  const bool backward;
  int64_t heads = 1, groups = 1, rows, sources, width, value_width;
  int mask = -1;  // the operand
  Nest<7> nest;   // axes of heads with the strides of all operands

  explicit Problem(const NativeArgs& n, Pass pass)
      : n(n), a(*n.attrs), dtype(n.specs[kQuery].dtype), backward(pass == Pass::Backward) {
    const Shape &q = n.specs[kQuery].shape, &k = n.specs[kKey].shape;
    const int lead = k.size() - 2;
    rows = q[q.size() - 2], width = q.back();
    sources = k[k.size() - 2], value_width = n.specs[kValue].shape.back();
    const int last = backward ? kMaskBehind : 3;
    if (n.nin > last) mask = last;
    auto axis = [&](int at, int64_t size, bool of_group) {
      int64_t s[7] = {};
      for (int x = 0; x < n.nin; ++x) s[x] = of_group && (x == kKey || x == kValue) ? 0 : n.strides[x][at];
      nest.axis(size, {s[0], s[1], s[2], s[3], s[4], s[5], s[6]});
    };
    for (int i = 0; i < lead; ++i) heads *= k[i], axis(i, k[i], false);
    if (q.size() > k.size()) groups = q[lead], axis(lead, groups, true);
    nest.done();
  }

  int64_t all_heads() const { return heads * groups; }
  int64_t row_stride(int x) const { return n.strides[x][n.strides[x].size() - (x == kLogSum && backward ? 1 : 2)]; }
  int64_t col_stride(int x) const { return x == kLogSum && backward ? 1 : n.strides[x].back(); }
  DType sum_type() const { return compute_type(dtype); }

  // As `View` of the text.
  void write_view(Fields& f, int x) const {
    const bool there = x >= 0 && x < n.nin;
    f.pointer(there ? n.in[x] : nullptr);
    f.word(there ? row_stride(x) : 0);
    f.word(there ? col_stride(x) : 0);
    for (const auto& axis : nest.axes) f.word(there ? axis.stride[x] : 0);
  }
  // As `AttentionParams`.
  void write(Fields& f, const void* drop, const void* whole) const {
    for (const auto& axis : nest.axes) f.word(axis.n);
    for (int x : {int(kQuery), int(kKey), int(kValue)}) write_view(f, x);
    for (int x : {int(kResult), int(kLogSum), int(kCotangent)}) write_view(f, backward ? x : -1);
    write_view(f, mask);
    for (int k = 0; k < 3; ++k) f.pointer(k < 2 || backward ? n.outs[k] : nullptr);
    f.pointer(drop);
    f.pointer(whole);
    for (int64_t v : {heads, groups, rows, sources}) f.word(v);
    int64_t bits;
    std::memcpy(&bits, &a.scale, sizeof bits);
    f.word(bits);
  }
};

Head head_of(DType t, int rank, int64_t width, int64_t value_width, bool causal, int mask) {
  Head h;
  return h.elements(t)
      .number("RANK", rank)
      .number("E", width)
      .number("V", value_width)
      .flag("CAUSAL", causal)
      .number("MASK", mask);
}
Head head_of(const Problem& p) {
  const int mask = p.mask < 0 ? 0 : p.n.specs[p.mask].dtype == DType::Bool ? 1 : 2;
  return head_of(p.dtype, p.nest.rank(), p.width, p.value_width, p.a.causal, mask);
}

std::string shared_text(const Head& head) { return head.text() + value_helpers() + kElementText + kAttentionText; }
std::string small_text(const Head& head) { return shared_text(head) + kAttentionSmallText; }

// ---- without tensor cores

// So that the sums of a thread, (E + V) * side / 256 of them behind attention_sources, leave it registers.
int64_t side_of(DType t, int64_t widest) { return t == DType::F64 || widest > 128 ? 32 : 64; }

Head with_side(Head h, DType t, int64_t widest) { return h.number("TILE", side_of(t, widest)); }
std::string fma_text(const Head& head) { return shared_text(head) + kAttentionFmaText; }

// ---- on tensor cores

// Tiles by the wider one of key and value; filled by hand from registers and shared memory alone, no row has been measured
// on a GPU. By ptxas of CUDA 13 none spills for sm_80 and sm_90 (figures in docs/CUDA.md); a mask's addresses leave room for
// a smaller block.
struct Tile {
  int64_t widest;
  int warps, strips, block, block_with_mask, places;
  int64_t threads() const { return 32 * warps; }
  int64_t rows() const { return int64_t(16) * strips * warps; }
};
constexpr Tile kForwardTiles[] = {{64, 4, 2, 64, 64, 4}, {128, 4, 2, 64, 32, 3}, {kWidestOfCuda, 4, 1, 32, 32, 3}};
constexpr Tile kRowsTiles[] = {{64, 4, 2, 32, 32, 2}, {128, 4, 2, 32, 16, 2}, {kWidestOfCuda, 4, 1, 16, 16, 2}};
constexpr Tile kSourcesTiles[] = {{64, 8, 1, 64, 64, 2}, {128, 8, 1, 32, 32, 2}, {kWidestOfCuda, 4, 1, 16, 16, 2}};

enum class Kernel { Forward, Rows, Sources };

Tile tile_of(Kernel k, int64_t widest, bool masked) {
  const Tile* t = k == Kernel::Forward ? kForwardTiles : k == Kernel::Rows ? kRowsTiles : kSourcesTiles;
  while (t->widest < widest) ++t;
  Tile found = *t;
  if (masked) found.block = t->block_with_mask;
  return found;
}

// Elements of a row in shared memory.
int64_t row_in_shared(int64_t width) { return width <= 32 ? 32 : ceil_div(width, 64) * 64; }

int64_t shared_bytes(Kernel k, const Tile& t, int64_t width, int64_t value_width) {
  const int64_t e = row_in_shared(width), v = row_in_shared(value_width);
  if (k == Kernel::Forward) return 2 * (t.rows() * e + t.places * t.block * std::max(e, v));
  return 2 * (t.rows() * (e + v) + t.places * t.block * (e + v)) + (k == Kernel::Sources ? 8 * t.places * t.block : 0);
}

// Bytes of an operand that can be copied at once.
int64_t unit_of_operand(const Problem& p, int x) {
  if (x >= p.n.nin || (p.col_stride(x) != 1 && p.n.specs[x].shape.back() > 1)) return 2;
  uint64_t bits = address(p.n.in[x]) | static_cast<uint64_t>(p.row_stride(x)) << 1;
  for (const auto& axis : p.nest.axes) bits |= static_cast<uint64_t>(axis.stride[x]) << 1;
  return unit_of(bits);
}

struct Units {
  int64_t query = 16, key = 16, value = 16, given = 16;
};

Head with_tile(Head h, DType t, const Tile& tile, bool plain, const Units& u) {
  return h.flag("BF16", t == DType::BF16)
      .number("WARPS", tile.warps)
      .number("STRIPS", tile.strips)
      .number("BLOCK", tile.block)
      .number("PLACES", tile.places)
      .flag("PLAIN", plain)
      .number("UNIT_Q", u.query)
      .number("UNIT_K", u.key)
      .number("UNIT_V", u.value)
      .number("UNIT_G", u.given);
}
Head with_results(Head h, bool keys, bool values) { return h.flag("OF_KEYS", keys).flag("OF_VALUES", values); }

std::string warps_text(const Head& head, const char* kernel) {
  return head.text() + value_helpers() + kTensorCoreText + kElementText + kAttentionText + kAttentionWarpsText + kernel;
}
std::string forward_text(const Head& head) { return warps_text(head, kAttentionForwardText); }
std::string rows_text(const Head& head) { return warps_text(head, kAttentionRowsText); }
std::string sources_text(const Head& head) { return warps_text(head, kAttentionSourcesText); }

constexpr Compose kWarpTexts[] = {forward_text, rows_text, sources_text};
constexpr const char* kNames[] = {"attention_forward", "attention_rows", "attention_sources"};

// Sums of keys and values together, or in a launch each.
bool in_two(int64_t widest) { return widest > 128; }

// ---- a call

class Call {
 public:
  Call(const Problem& p, const CudaNativeContext& c)
      : p_(p), c_(c), head_(head_of(p)), widest_(std::max(p.width, p.value_width)), by_warps_(serve_warps()), whole_(c, 4),
        drop_(c, p.backward ? p.all_heads() * p.rows * static_cast<int64_t>(size_of(p.sum_type())) : 0), params_(true) {
    p.write(params_, p.backward ? drop_.get() : nullptr, p.a.causal ? whole_.get() : nullptr);
  }

  void forward() {
    look_for_infinities({kValue});
    run(Kernel::Forward, true, true);
  }

  void backward() {
    const bool query = p_.n.outs[0], key = p_.n.outs[1], value = p_.n.outs[2];
    if (query || key)
      launch(c_, small_text, head_, "attention_drop", blocks_for(c_, p_.all_heads() * p_.rows, kThreads / 32),
             {params_.data()});
    look_for_infinities({kQuery, kKey, kValue, kCotangent});
    if (key && value && by_warps_ && in_two(widest_)) {
      run(Kernel::Sources, true, false);
      run(Kernel::Sources, false, true);
    } else if (key || value) {
      run(Kernel::Sources, key, value);
    }
    if (query) run(Kernel::Rows, true, true);
  }

 private:
  bool serve_warps() const {
    const CudaProperties& d = cuda_properties(c_.device.id().index);
    if (!is_half(p_.dtype) || d.major < 8) return false;
    const int64_t most = static_cast<int64_t>(d.shared_per_block_optin);
    for (Kernel k : {Kernel::Forward, Kernel::Rows, Kernel::Sources})
      if (shared_bytes(k, tile_of(k, widest_, p_.mask >= 0), p_.width, p_.value_width) > most) return false;
    return true;
  }

  void look_for_infinities(std::initializer_list<int> operands) {
    if (!p_.a.causal) return;
    c_.device.zero(whole_.get(), 4, c_.stream);
    for (int x : operands) {
      Fields view(true);
      p_.write_view(view, x);
      const Shape& s = p_.n.specs[x].shape;
      const bool shared = x == kKey || x == kValue;
      const int64_t step = shared ? p_.groups : 1, rows = s[s.size() - 2], width = s.back();
      launch(c_, small_text, head_, "attention_finite", blocks_for(c_, p_.all_heads() / step * rows, kThreads / 32),
             {params_.data(), view.data(), &step, &rows, &width, &whole_.get()});
    }
  }

  // A block of threads for each block of rows, or of sources, of a head.
  void run(Kernel k, bool keys, bool values) {
    const char* const name = kNames[static_cast<int>(k)];
    const int64_t heads = k == Kernel::Sources ? p_.heads : p_.all_heads(), rows = k == Kernel::Sources ? p_.sources : p_.rows;
    const Tile t = tile_of(k, widest_, p_.mask >= 0);
    const int64_t side = by_warps_ ? t.rows() : side_of(p_.dtype, widest_);
    const uint32_t blocks = static_cast<uint32_t>(heads * ceil_div(rows, side));
    if (!by_warps_) return launch(c_, fma_text, with_side(head_, p_.dtype, widest_), name, blocks, {params_.data()});
    Units u;
    u.query = unit_of_operand(p_, kQuery), u.key = unit_of_operand(p_, kKey), u.value = unit_of_operand(p_, kValue);
    u.given = p_.backward ? unit_of_operand(p_, kCotangent) : 2;
    Head h = with_tile(head_, p_.dtype, t, p_.mask < 0 && p_.a.scale > 0, u);
    if (k == Kernel::Sources) h = with_results(h, keys, values);
    launch(c_, kWarpTexts[static_cast<int>(k)], h, name, blocks, {params_.data()}, 1, static_cast<uint32_t>(t.threads()),
           static_cast<size_t>(shared_bytes(k, t, p_.width, p_.value_width)));
  }

  const Problem& p_;
  const CudaNativeContext& c_;
  const Head head_;
  const int64_t widest_;
  const bool by_warps_;
  const Scratch whole_, drop_;
  Fields params_;
};

}  // namespace

void attention(const NativeArgs& a, const CudaNativeContext& c) {
  const Problem p(a, Pass::Forward);
  Call(p, c).forward();
}

void attention_backward(const NativeArgs& a, const CudaNativeContext& c) {
  const Problem p(a, Pass::Backward);
  Call(p, c).backward();
}

void add_attention_texts(Texts& out) {
  struct Sample {
    int64_t width, value_width;
    bool causal;
    int mask;
  };
  constexpr Sample kSamples[] = {
      {20, 33, false, 1}, {64, 64, true, 0}, {96, 96, false, 2}, {128, 128, true, 0}, {256, 256, true, 2}};
  for (const Sample& s : kSamples)
    for (DType t : {DType::F32, DType::F64, DType::F16, DType::BF16}) {
      const Head h = head_of(t, s.width == 64 ? 1 : 2, s.width, s.value_width, s.causal, s.mask);
      const int64_t widest = std::max(s.width, s.value_width);
      const auto add = [&](const char* what, const std::string& text) {
        out.push_back({std::string("attention ") + name_of(t) + " " + std::to_string(s.width) + " " + what, text});
      };
      if (s.width == 64) add("helpers", small_text(h));
      if (t == DType::F32 || (t == DType::F64 ? s.width == 20 || s.width == 256 : t == DType::F16 && s.width == 64))
        add("by fma", fma_text(with_side(h, t, widest)));
      if (t != DType::BF16 && (t != DType::F16 || s.width != 128)) continue;
      Units u;
      if (s.width == 20) u = {2, 4, 2, 8};
      for (Kernel k : {Kernel::Forward, Kernel::Rows, Kernel::Sources}) {
        const Head with = with_tile(h, t, tile_of(k, widest, s.mask != 0), s.mask == 0, u);
        if (k != Kernel::Sources) add(kNames[static_cast<int>(k)], kWarpTexts[static_cast<int>(k)](with));
        else if (!in_two(widest)) add("attention_sources", sources_text(with_results(with, true, true)));
        else
          for (bool keys : {false, true})
            add(keys ? "attention_sources, keys" : "attention_sources, values", sources_text(with_results(with, keys, !keys)));
      }
    }
}

}  // namespace cuda
}  // namespace pd
