// Attention and its backward pass (ops/attention.h): sizes, which kernels, launches.
#include "ops/attention.h"

#include <cstring>

#include "device/cuda/cuda.h"
#include "fuse/cuda/expr_text.h"
#include "kernels/cuda/attention_fma_text.h"
#include "kernels/cuda/attention_text.h"
#include "kernels/cuda/element_text.h"
#include "kernels/cuda/launch.h"

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
  return h.type("T", is_narrow(t) ? "u16" : arithmetic_type(t))
      .type("Sum", t == DType::F64 ? "f64" : "f32")
      .number("KIND", t == DType::F16 ? 1 : t == DType::BF16 ? 2 : 0)
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

// ---- without tensor cores

// So that the sums of a thread, (E + V) * side / 256 of them behind attention_sources, leave it registers.
int64_t side_of(DType t, int64_t widest) { return t == DType::F64 || widest > 128 ? 32 : 64; }

Head with_side(Head h, DType t, int64_t widest) { return h.number("TILE", side_of(t, widest)); }
std::string fma_text(const Head& head) { return shared_text(head) + kAttentionFmaText; }

// ---- a call

class Call {
 public:
  Call(const Problem& p, const CudaNativeContext& c)
      : p_(p), c_(c), head_(head_of(p)), widest_(std::max(p.width, p.value_width)), whole_(c, 4),
        drop_(c, p.backward ? p.all_heads() * p.rows * static_cast<int64_t>(size_of(p.sum_type())) : 0), params_(true) {
    p.write(params_, p.backward ? drop_.get() : nullptr, p.a.causal ? whole_.get() : nullptr);
  }

  void forward() {
    look_for_infinities({kValue});
    run("attention_forward", p_.all_heads(), p_.rows);
  }

  void backward() {
    if (p_.n.outs[0] || p_.n.outs[1])
      launch(c_, shared_text, head_, "attention_drop", blocks_for(c_, p_.all_heads() * p_.rows, kThreads / 32), {params_.data()});
    look_for_infinities({kQuery, kKey, kValue, kCotangent});
    if (p_.n.outs[1] || p_.n.outs[2]) run("attention_sources", p_.heads, p_.sources);
    if (p_.n.outs[0]) run("attention_rows", p_.all_heads(), p_.rows);
  }

 private:
  void look_for_infinities(std::initializer_list<int> operands) {
    if (!p_.a.causal) return;
    c_.device.zero(whole_.get(), 4, c_.stream);
    for (int x : operands) {
      Fields view(true);
      p_.write_view(view, x);
      const Shape& s = p_.n.specs[x].shape;
      const bool shared = x == kKey || x == kValue;
      const int64_t step = shared ? p_.groups : 1, rows = s[s.size() - 2], width = s.back();
      launch(c_, shared_text, head_, "attention_finite", blocks_for(c_, p_.all_heads() / step * rows, kThreads / 32),
             {params_.data(), view.data(), &step, &rows, &width, &whole_.get()});
    }
  }

  // A block of threads for each block of rows of a head.
  void run(const char* function, int64_t heads, int64_t rows) {
    const int64_t blocks = heads * ceil_div(rows, side_of(p_.dtype, widest_));
    launch(c_, fma_text, with_side(head_, p_.dtype, widest_), function, static_cast<uint32_t>(blocks), {params_.data()});
  }

  const Problem& p_;
  const CudaNativeContext& c_;
  const Head head_;
  const int64_t widest_;
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
  for (DType t : {DType::F32, DType::F64, DType::F16, DType::BF16})
    for (int64_t width : {20, 64, 128, 256}) {
      const bool causal = width != 20;
      const int mask = width == 20 ? 1 : width == 256 ? 2 : 0;
      out.push_back({std::string("attention ") + name_of(t) + " " + std::to_string(width),
                     fma_text(with_side(head_of(t, width == 64 ? 1 : 2, width, width, causal, mask), t, width))});
    }
}

}  // namespace cuda
}  // namespace pd
