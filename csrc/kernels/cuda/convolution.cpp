// Which kernel makes a convolution, and with which tiles: by its shape alone, so that bits do not depend on anything else.
#include "kernels/cuda/convolution.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "device/cuda/cuda.h"
#include "fuse/cuda/expr_text.h"
#include "kernels/cuda/convolution_parts_text.h"
#include "kernels/cuda/convolution_text.h"
#include "kernels/cuda/convolution_tiles_text.h"
#include "kernels/cuda/element_text.h"
#include "kernels/cuda/gemm_parts_text.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/tensor_core_text.h"
#include "kernels/cuda/tiled_gemm_text.h"
#include "kernels/windows.h"

namespace pd {

ConvolutionCounts& cuda_convolution_counts() {
  static ConvolutionCounts counts;
  return counts;
}

namespace cuda {

namespace {

constexpr int64_t kMost = (int64_t(1) << 30) - 1;  // of n, k and of places along an axis
constexpr int64_t kFew = 4;                        // output channels of a group that tiles are wasted on
constexpr int64_t kFill = 256;                     // blocks that keep a device busy; k is split where there are fewer
constexpr int64_t kMostSplits = 64;

// ---- digits

struct Digit {
  int64_t size, stride;
};
using Digits = std::vector<Digit>;  // the last one first

// Neighbours that one stride crosses as one.
Digits joined(const Digits& all) {
  Digits out;
  for (const Digit& d : all) {
    if (d.size == 1) continue;
    if (!out.empty() && d.stride == out.back().stride * out.back().size) out.back().size *= d.size;
    else out.push_back(d);
  }
  return out;
}

// How many elements that lie together a warp finds when it goes along these, by the step between them.
double density(const Digits& all) {
  const Digits j = joined(all);
  if (j.empty()) return 0;
  const int64_t step = std::max<int64_t>(1, std::abs(j[0].stride));
  return static_cast<double>(std::min<int64_t>(j[0].size, 32)) / static_cast<double>(step);
}

// Those that are more than one element.
Digits sized(Digits all) {
  all.erase(std::remove_if(all.begin(), all.end(), [](const Digit& d) { return d.size == 1; }), all.end());
  return all;
}

// All strides but those of the first digits, or-ed.
uint64_t strides_of(const Digits& all, size_t from) {
  uint64_t bits = 0;
  for (size_t i = from; i < all.size(); ++i) bits |= static_cast<uint64_t>(std::abs(all[i].stride));
  return bits;
}

// Of 16-bit elements, how many can be copied at once: neighbours along the first digit, if all other strides and the address
// keep them aligned.
int64_t together(const Digits& along, uint64_t others, uint64_t at) {
  if (along.empty() || along[0].stride != 1) return 1;
  const int64_t bytes = unit_of(2 * (static_cast<uint64_t>(along[0].size) | strides_of(along, 1) | others) | at);
  return std::max<int64_t>(bytes / 2, 1);
}

// ---- what is launched

enum class Kind { TensorCores, Tiles, Few, Long };

struct Plan {
  const WindowProduct& p;
  DType type;
  Kind kind;
  int64_t n, k;
  bool channels_inward = false, w_across = false, x_across = true, wide = false;
  int64_t w_unit = 1, x_unit = 1, y_unit = 1;
  int64_t bm = 0, bn = 0, bk = 0, tm = 0, tn = 0;
  int64_t splits = 1, split = 0;
  int64_t blocks = 0;

  Plan(const WindowProduct& product, DType t, const void* x, const void* w, const void* y, const CudaProperties& device);

  int64_t item() const { return static_cast<int64_t>(size_of(type)); }
  int64_t partial_bytes() const {
    return splits == 1 ? 0 : p.groups * splits * p.outputs * n * (type == DType::F64 ? 8 : 4);
  }
  Digits of_n(bool result) const {
    Digits d;
    for (const WindowAxis& a : p.axes) d.push_back({a.n_size, result ? a.n_y : a.n_x});
    d.push_back({p.batch, result ? p.y_batch : p.x_batch});
    return d;
  }
  Digits of_k(bool weight) const {
    Digits d;
    if (channels_inward) d.push_back({p.channels, weight ? p.w_channel : p.x_channel});
    for (const WindowAxis& a : p.axes) d.push_back({a.k_size, weight ? a.k_w : a.k_x});
    if (!channels_inward) d.push_back({p.channels, weight ? p.w_channel : p.x_channel});
    return d;
  }
  Head head() const;
  Fields params(const void* x, const void* w, void* y, void* partial) const;

 private:
  void lay_out(const void* x, const void* w, const void* y);
  void split_k(int64_t step, int64_t least_steps);
};

// Whether windows (or, `of_k`, places in them) that follow each other on the last axis are inside together.
bool inside_together(const WindowProduct& p, bool of_k) {
  for (const WindowAxis& a : p.axes) {
    const int64_t along = of_k ? a.k_size : a.n_size;
    if (along == 1) continue;
    return (of_k ? a.n_size : a.k_size) == 1 && a.first == 0 && (of_k ? a.k_step : a.n_step) == 1 && along <= a.bound;
  }
  return true;
}

void Plan::lay_out(const void* x, const void* w, const void* y) {
  const WindowAxis& last = p.axes[0];
  // Where the channels lie together and the places do not, k runs along the channels first.
  channels_inward = p.x_channel == 1 && p.channels > 1 && std::abs(last.k_x) != 1 && std::abs(last.n_x) != 1;
  const Digits n = sized(of_n(false)), k = sized(of_k(false));
  const Digits weight = joined(of_k(true)), rows = sized({{p.outputs, p.w_row}});
  x_across = density(n) >= density(k);
  w_across = density(rows) > density(weight);
  if (kind != Kind::TensorCores) return;

  auto size = [](int64_t count, int64_t stride) { return count > 1 ? static_cast<uint64_t>(std::abs(stride)) : 0; };
  auto at = [](const void* memory, int64_t offset) { return address(memory) + 2 * static_cast<uint64_t>(offset); };
  const uint64_t w_group = size(p.groups, p.w_group), x_group = size(p.groups, p.x_group);
  const int64_t w_by_k = together(weight, w_group | strides_of(rows, 0), at(w, p.w_at));
  const int64_t w_by_m = together(rows, w_group | strides_of(weight, 0), at(w, p.w_at));
  if (w_by_k != w_by_m) w_across = w_by_m > w_by_k;
  w_unit = std::max(w_by_k, w_by_m);
  const int64_t x_by_n = inside_together(p, false) ? together(n, x_group | strides_of(k, 0), at(x, p.x_at)) : 1;
  const bool channels_first = channels_inward && !k.empty() && k[0].stride == 1;
  const bool k_together = channels_first || inside_together(p, true);
  const int64_t x_by_k = k_together ? together(k, x_group | strides_of(n, 0), at(x, p.x_at)) : 1;
  if (x_by_n != x_by_k) x_across = x_by_n > x_by_k;
  x_unit = std::max(x_by_n, x_by_k);
  const uint64_t y_steps = size(p.outputs, p.y_row) | size(p.groups, p.y_group);
  y_unit = together(joined(of_n(true)), y_steps, at(y, p.y_at));
}

void Plan::split_k(int64_t step, int64_t least_steps) {
  const int64_t steps = ceil_div(k, step);
  splits = std::max<int64_t>(1, std::min({ceil_div(kFill, blocks), steps / least_steps, kMostSplits}));
  if (2 * blocks > kFill) splits = 1;
  const int64_t each = ceil_div(steps, splits);
  splits = std::max<int64_t>(1, ceil_div(steps, std::max<int64_t>(each, 1)));
  split = splits == 1 ? steps * step : each * step;
  blocks *= splits;
}

Plan::Plan(const WindowProduct& product, DType t, const void* x, const void* w, const void* y, const CudaProperties& device)
    : p(product), type(t), n(product.windows()), k(product.in_window()) {
  const int64_t m = p.outputs;
  if (m <= kFew) {
    const bool windows_fill = p.groups * n >= kFill * 16 || k <= 64;
    kind = windows_fill ? Kind::Few : Kind::Long;
    lay_out(x, w, y);
    bn = windows_fill ? 256 : n <= 12 ? n : 8;
    blocks = p.groups * ceil_div(n, bn);
    if (windows_fill) split = k;
    else split_k(256, 4);
  } else if (is_half(t) && device.major >= 8) {
    kind = Kind::TensorCores;
    bm = m <= 32 ? 32 : m <= 64 || ceil_div(m, 128) * ceil_div(n, 128) * p.groups < kFill / 4 ? 64 : 128;
    bn = 128, bk = 32;
    lay_out(x, w, y);
    blocks = p.groups * ceil_div(m, bm) * ceil_div(n, bn);
    split_k(bk, 256 / bk);
  } else {
    kind = Kind::Tiles;
    const bool big = t == DType::F32 && m > 64 && ceil_div(m, 128) * ceil_div(n, 128) * p.groups >= kFill / 4;
    bm = bn = big ? 128 : 64;
    tm = tn = big ? 8 : 4;
    bk = big || t == DType::F64 ? 8 : 16;
    lay_out(x, w, y);
    blocks = p.groups * ceil_div(m, bm) * ceil_div(n, bn);
    split_k(bk, 256 / bk);
  }
  int64_t reach_x = 1, reach_w = (m - 1) * std::abs(p.w_row);
  for (const Digits& d : {of_n(false), of_k(false)})
    for (const Digit& i : d) reach_x += (i.size - 1) * std::abs(i.stride);
  for (const Digit& i : of_k(true)) reach_w += (i.size - 1) * std::abs(i.stride);
  // A tile's rows and columns behind the last have offsets too.
  wide = !fits_32(reach_x) || !fits_32(reach_w + 128 * std::abs(p.w_row));
}

Head head_of(DType type, bool wide, size_t axes, bool channels_inward) {
  Head h;
  return h.elements(type)
      .type("Index", wide ? "i64" : "i32")
      .number("DIMS", static_cast<int64_t>(axes))
      .flag("CHANNELS_INWARD", channels_inward);
}

Head Plan::head() const {
  Head h = head_of(type, wide, p.axes.size(), channels_inward);
  if (kind == Kind::Few || kind == Kind::Long) return h.number("ROWS", p.outputs).number("COLS", bn);
  h.number("BM", bm).number("BN", bn).number("BK", bk).flag("W_ACROSS", w_across).flag("X_ACROSS", x_across);
  if (kind == Kind::Tiles)
    return h.number("TM", tm).number("TN", tn).number("kThreads", 256).number("W_UNIT", 1).number("X_UNIT", 1);
  // In the words of gemm_parts_text.h.
  return h.number("W_UNIT", w_unit)
      .number("X_UNIT", x_unit)
      .flag("WARPGROUPS", false)
      .flag("BF16", type == DType::BF16)
      .flag("A_ACROSS", w_across)
      .flag("B_ACROSS", x_across)
      .number("WARPS_M", 2)
      .number("WARPS_N", 4)
      .number("STAGES", kConvolutionStages)
      .number("OUT_UNIT", y_unit == 8 ? 16 : 2);
}

void write_digits(Fields& f, const Digits& digits) {
  std::vector<int64_t> mul, shift;
  for (const Digit& d : digits) {
    f.index(d.size);
    int64_t l = 0;
    while ((int64_t(1) << l) < d.size) ++l;
    shift.push_back(l);
    const uint64_t size = static_cast<uint64_t>(std::max<int64_t>(d.size, 1));
    mul.push_back(static_cast<int64_t>((((uint64_t(1) << l) - size) << 32) / size) + 1);
  }
  for (int64_t v : mul) f.index(v);
  for (int64_t v : shift) f.index(v);
}

Fields Plan::params(const void* x, const void* w, void* y, void* partial) const {
  const size_t digits = p.axes.size() + 1;
  Fields f(false);
  f.pointer(static_cast<const char*>(x) + p.x_at * item());
  f.pointer(static_cast<const char*>(w) + p.w_at * item());
  f.pointer(static_cast<char*>(y) + p.y_at * item());
  f.pointer(partial);
  for (int64_t v : {p.x_group, p.w_group, p.y_group, p.w_row, p.y_row}) f.word(v);
  Digits out = joined(of_n(true));
  while (out.size() < digits) out.push_back({1, 0});
  for (const Digits& d : {of_n(false), of_k(false), of_k(true), out})
    for (const Digit& i : d) f.word(i.stride);
  for (int64_t v : {p.outputs, n, k, splits, split}) f.index(v);
  write_digits(f, of_n(false));
  write_digits(f, of_k(false));
  write_digits(f, out);
  for (const WindowAxis& a : p.axes) f.index(a.n_step);
  for (const WindowAxis& a : p.axes) f.index(a.k_step);
  for (const WindowAxis& a : p.axes) f.index(a.first);
  for (const WindowAxis& a : p.axes) f.index(a.bound);
  return f;
}

// ---- texts

std::string parts(const Head& head) { return head.text() + value_helpers() + kElementText + kWindowText; }
std::string text_of_tiles(const Head& head) {
  return parts(head) + kRegisterPlacesText + kWindowTilesText + kRegisterTilesText;
}
std::string text_of_few(const Head& head) { return parts(head) + kFewConvolutionText; }
std::string text_of_long(const Head& head) { return parts(head) + kLongConvolutionText; }
std::string text_of_sum(const Head& head) { return parts(head) + kConvolutionSumText; }
std::string text_of_tensor_cores(const Head& head) {
  return parts(head) + kTensorCoreText + kGemmTileText + kTileLoopText + kConvolutionPlacesText + kWindowTilesText +
         kConvolutionTilesText;
}

struct Kernel {
  Compose compose;
  const char* name;
  int64_t ConvolutionCounts::* count;
};
Kernel kernel_of(Kind kind) {
  switch (kind) {
    case Kind::TensorCores: return {text_of_tensor_cores, "convolution_tiles", &ConvolutionCounts::tensor_cores};
    case Kind::Tiles: return {text_of_tiles, "convolution", &ConvolutionCounts::tiles};
    case Kind::Few: return {text_of_few, "convolution_few", &ConvolutionCounts::few};
    default: return {text_of_long, "convolution_long", &ConvolutionCounts::longest};
  }
}

// The ring, or results on their way out, which take its place.
int64_t shared_bytes(const Plan& plan) {
  if (plan.kind != Kind::TensorCores) return 0;
  return std::max<int64_t>(2 * kConvolutionStages * plan.bk * (plan.bm + plan.bn), 4 * 8 * 16 * (plan.bn / 4 + 8));
}

Head head_of_sum(const Plan& plan) { return head_of(plan.type, false, plan.p.axes.size(), false); }

void run(const WindowProduct& p, DType type, const NativeArgs& a, const CudaNativeContext& c) {
  const Plan plan(p, type, a.in[0], a.in[1], a.out, cuda_properties(c.device.id().index));
  if (plan.blocks == 0) return;
  bool fits = std::max({plan.n, plan.k, p.outputs}) <= kMost && plan.blocks <= kMost;
  for (const WindowAxis& w : p.axes)
    fits &= w.bound <= kMost && std::abs(w.first) + (w.n_size - 1) * w.n_step + (w.k_size - 1) * w.k_step <= kMost;
  if (!fits)
    fail("convolution", "more windows, or more in one, than a kernel counts", std::to_string(std::max(plan.n, plan.k)),
         "a part of the batch", ErrorKind::Value);
  const Scratch partial(c, plan.partial_bytes());
  const Fields params = plan.params(a.in[0], a.in[1], a.out, plan.splits > 1 ? partial.get() : nullptr);
  const Kernel kernel = kernel_of(plan.kind);
  launch(c, kernel.compose, plan.head(), kernel.name, static_cast<uint32_t>(plan.blocks), {params.data()}, 1, kThreads,
         static_cast<size_t>(shared_bytes(plan)));
  ++(cuda_convolution_counts().*kernel.count);
  if (plan.splits == 1) return;
  const int64_t results = p.groups * p.outputs * plan.n;
  launch(c, text_of_sum, head_of_sum(plan), "convolution_sum", blocks_for(c, results), {params.data(), &results});
  ++cuda_convolution_counts().sums;
}

}  // namespace

// Texts of each kind for shapes that are typical: forward, of the input's gradient and of the weight's.
void add_convolution_texts(Texts& out) {
  alignas(16) static char memory[64];
  CudaProperties device;
  device.major = 9;
  bool channels_last = false;
  auto strides = [&](const Shape& s) {
    return channels_last ? Ints{s[1] * s[2] * s[3], 1, s[1] * s[3], s[1]} : contiguous_strides(s);
  };
  auto add = [&](const char* what, DType t, const Convolution& c, const Shape& x, const Shape& w, const Shape& y) {
    const std::vector<WindowProduct> all = window_products(c, x, strides(x), w, strides(w), y);
    const Plan plan(all[0], t, memory, memory, memory, device);
    const std::string name = std::string("convolution ") + name_of(t) + " " + what;
    out.push_back({name, kernel_of(plan.kind).compose(plan.head())});
    if (plan.splits > 1) out.push_back({name + ", sums", text_of_sum(head_of_sum(plan))});
  };
  const Convolution plain({1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}), dot({1, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1});
  const Convolution of_input({1, kWeightTurned | kMirrored, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1});
  const Convolution of_input_dot({1, kWeightTurned | kMirrored, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1});
  const int across = kInputAcross | kWeightAcross | kOutputAcross;
  const Convolution of_weight({1, across, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1});
  const Convolution of_weight_dot({1, across, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1});
  for (DType t : {DType::BF16, DType::F16, DType::F32, DType::F64}) {
    for (int64_t m : {32, 64, 256}) {
      if (t != DType::BF16 && m == 32) continue;
      const std::string of = " to " + std::to_string(m);
      const Shape x{64, 64, 32, 32}, y{64, m, 32, 32};
      add(("3x3" + of).c_str(), t, plain, x, {m, 64, 3, 3}, y);
      if (t == DType::F16 || (t == DType::F64 && m == 256)) continue;
      add(("1x1" + of).c_str(), t, dot, x, {m, 64, 1, 1}, y);
      add(("3x3, of the input" + of).c_str(), t, of_input, x, {64, m, 3, 3}, y);
      add(("1x1, of the input" + of).c_str(), t, of_input_dot, x, {64, m, 1, 1}, y);
      add(("3x3, of the weight" + of).c_str(), t, of_weight, x, y, {m, 64, 3, 3});
      add(("1x1, of the weight" + of).c_str(), t, of_weight_dot, x, y, {m, 64, 1, 1});
    }
    Convolution depthwise = plain, of_depthwise = of_weight;
    depthwise.groups = of_depthwise.groups = 64;
    add("depthwise", t, depthwise, {64, 64, 32, 32}, {64, 1, 3, 3}, {64, 64, 32, 32});
    add("depthwise, of the weight", t, of_depthwise, {64, 64, 32, 32}, {64, 64, 32, 32}, {64, 1, 3, 3});
  }
  const Convolution of_three({1, 0, 2, 1, 2, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1});
  add("3-D", DType::BF16, of_three, {8, 64, 9, 8, 17}, {64, 64, 3, 3, 3}, {8, 64, 5, 8, 8});
  add("1-D", DType::F32, Convolution({1, 0, 1, 4, 4, 1, 3}), {64, 64, 1024}, {128, 64, 4}, {64, 128, 1023});
  channels_last = true;
  for (DType t : {DType::BF16, DType::F32})
    add("3x3, channels last", t, plain, {64, 64, 32, 32}, {64, 64, 3, 3}, {64, 64, 32, 32});
  channels_last = false;
  device.major = 7;
  add("before tensor cores", DType::F16, plain, {64, 64, 32, 32}, {64, 64, 3, 3}, {64, 64, 32, 32});
}

void convolution(const NativeArgs& a, const CudaNativeContext& c) {
  const Convolution how(*a.attrs);
  if (numel(a.out_spec->shape) == 0) return;
  for (const WindowProduct& p : window_products(how, a)) run(p, a.out_spec->dtype, a, c);
}

}  // namespace cuda
}  // namespace pd
