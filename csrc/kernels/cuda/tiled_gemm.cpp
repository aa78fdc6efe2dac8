#include "kernels/cuda/tiled_gemm.h"

#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "device/cuda/cuda.h"
#include "fuse/cuda/expr_text.h"
#include "kernels/cuda/gemm_parts_text.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/tensor_core_text.h"
#include "kernels/cuda/tiled_gemm_text.h"
#include "kernels/cuda/warpgroup_gemm_text.h"
#include "kernels/cuda/warpgroup_text.h"

namespace pd {
namespace cuda {

namespace {

struct Tile {
  const char* name;
  int bm, bn, bk, warps_m, warps_n, stages;
  bool warpgroups;  // wgmma, of compute capability 9.0 alone, not mma.sync

  int threads() const { return 32 * warps_m * warps_n; }
  // The ring, or the results of all warps on their way out, which take its place; for wgmma from a multiple of 1024 on.
  int64_t shared_bytes() const {
    const int64_t ring = int64_t(2) * stages * bk * (bm + bn);
    return std::max(ring, int64_t(4) * warps_m * warps_n * 16 * (bn / warps_n + 8)) + (warpgroups ? 1008 : 0);
  }
};
constexpr Tile kTiles[] = {
#define PD_GEMM_TILE(name, ...) {#name, __VA_ARGS__, false},
#define PD_GEMM_WARPGROUP_TILE(name, rows, columns, depth, groups, stages) \
  {#name, rows, columns, depth, 4 * (groups), 1, stages, true},
#include "kernels/cuda/gemm_tiles.def"
#undef PD_GEMM_WARPGROUP_TILE
#undef PD_GEMM_TILE
};

const Tile* tile_named(const std::string& name) {
  for (const Tile& t : kTiles)
    if (name == t.name) return &t;
  return nullptr;
}

struct Choice {
  int first_arch, last_arch;
  int64_t rows, columns, percent;
  const char* tile;
};
constexpr Choice kChoices[] = {
#define PD_GEMM_CHOICE(first, last, rows, columns, percent, tile) {first, last, rows, columns, percent, #tile},
#include "kernels/cuda/gemm_tiles.def"
#undef PD_GEMM_CHOICE
};

std::string& asked_tile() {
  static std::string name;
  return name;
}

int arch_number(const CudaProperties& p) { return 10 * p.major + p.minor; }

bool holds(const CudaProperties& p, const Tile& t) {
  return (!t.warpgroups || arch_number(p) == 90) && t.shared_bytes() <= static_cast<int64_t>(p.shared_per_block_optin);
}

int64_t tiles_of(const Tile& t, const TiledGemm& g) { return ceil_div(g.m, t.bm) * ceil_div(g.n, t.bn) * g.batch; }

const Tile* tile_for(const CudaProperties& p, const TiledGemm& g) {
  if (!asked_tile().empty()) return tile_named(asked_tile());
  for (const Choice& c : kChoices) {
    const Tile* t = tile_named(c.tile);
    if (arch_number(p) < c.first_arch || arch_number(p) > c.last_arch || !holds(p, *t)) continue;
    if (g.m >= c.rows && g.n >= c.columns && 100 * tiles_of(*t, g) >= c.percent * p.multiprocessors) return t;
  }
  return nullptr;
}

// Bytes that can be moved at once along rows of `cols` elements of 2^shift bytes.
int64_t row_unit(const void* at, int64_t rows, int64_t row, int64_t batch, int64_t stride, int shift) {
  return unit_of(address(at) | (rows > 1 ? static_cast<uint64_t>(row) << shift : 0) |
                 (batch > 1 ? static_cast<uint64_t>(stride) << shift : 0));
}

// Eight neighbours of an operand at a multiple of eight columns are aligned.
bool whole(const GemmOperand& o, const TiledGemm& g) {
  const int shift = o.type == DType::F32 ? 2 : 1;
  return o.col == 1 && row_unit(o.at, g.m, o.row, g.batch, o.batch, shift) == 16;
}

constexpr const char* kTailStarts = "PD_DEVICE void gemm_tail(";

// `gemm_tail` of eight neighbours: loads of the operands, then the tree for each.
std::string tail_text(const TiledGemm& g) {
  std::string s = std::string(kTailStarts) + "f32 (&v)[8], const TailOperand* o, i64 batch, i64 row, i64 col, int count) {\n";
  if (g.tail) {
    std::vector<std::string> in{"v[q]"};
    for (size_t k = 0; k < g.tail->operands.size(); ++k) {
      const GemmOperand& o = g.tail->operands[k];
      const int kind = !o.at ? 0 : o.type == DType::F32 ? 1 : o.type == DType::F16 ? 2 : 3;
      const std::string at = std::to_string(k);
      s += "  const Eight x" + at + " = tail_operand<" + std::to_string(kind) + (whole(o, g) ? ", true" : ", false") +
           ">(o[" + at + "], batch, row, col, count);\n";
      in.push_back("x" + at + ".v[q]");
    }
    int next = 0;
    s += "#pragma unroll\n  for (int q = 0; q < 8; ++q) {\n";
    const std::string result = print_tree(g.tail->tree, in, "    ", &next, s);
    s += "    v[q] = " + result + ";\n  }\n";
  }
  return s + "}\n";
}

Head head_of(const Tile& t, const TiledGemm& g) {
  Head h;
  const bool narrow = g.out != DType::F32;
  return h.flag("WARPGROUPS", t.warpgroups)
      .flag("BF16", g.type == DType::BF16)
      .flag("A_ACROSS", g.trans_a)
      .flag("B_ACROSS", !g.trans_b)
      .number("BM", t.bm)
      .number("BN", t.bn)
      .number("BK", t.bk)
      .number("WARPS_M", t.warps_m)
      .number("WARPS_N", t.warps_n)
      .number("STAGES", t.stages)
      .number("A_UNIT", row_unit(g.a, g.trans_a ? g.k : g.m, g.lda, g.batch, g.stride_a, 1))
      .number("B_UNIT", row_unit(g.b, g.trans_b ? g.n : g.k, g.ldb, g.batch, g.stride_b, 1))
      .type("Out", narrow ? "u16" : "f32")
      .number("OUT_UNIT", row_unit(g.c, g.m, g.ldc, g.batch, g.stride_c, narrow ? 1 : 2))
      .number("OPERANDS", g.tail ? static_cast<int64_t>(g.tail->operands.size()) : 0)
      .code(tail_text(g));
}

// The head, then what its tail calls, before the tail.
std::string text(const Head& head, const std::string& instructions, const std::string& kernel) {
  const size_t tail = head.text().find(kTailStarts);
  return head.text().substr(0, tail) + value_helpers() + kTensorCoreText + instructions + kGemmTailText +
         head.text().substr(tail) + kGemmTileText + kGemmPartsText + kernel;
}
std::string text_of_warps(const Head& head) { return text(head, "", std::string(kTileLoopText) + kTiledGemmText); }
std::string text_of_warpgroups(const Head& head) { return text(head, warpgroup_text(), kWarpgroupGemmText); }
Compose text_for(const Tile& t) { return t.warpgroups ? text_of_warpgroups : text_of_warps; }

void check_tail(const TiledGemm& g) {
  if (!g.tail) return;
  if (g.tail->operands.size() > kMostTailOperands)
    fail("matmul", "a product's tail has too many operands", std::to_string(g.tail->operands.size()),
         "at most " + std::to_string(kMostTailOperands));
  for (const GemmOperand& o : g.tail->operands)
    if (o.at && o.type != DType::F32 && !is_half(o.type))
      fail("matmul", "a product's tail reads float32 and 16-bit floats", name_of(o.type), "a cast", ErrorKind::Type);
}

}  // namespace

void add_tiled_gemm_texts(Texts& out) {
  alignas(16) static char memory[64];
  TiledGemm g;
  g.m = g.n = g.k = 256;
  g.a = g.b = memory;
  g.c = memory;
  auto add = [&](const Tile& t, const char* what) {
    out.push_back({std::string("tiled gemm ") + name_of(g.type) + " " + t.name + " " + what, text_for(t)(head_of(t, g)),
                   t.warpgroups ? "sm_90a" : ""});
  };
  auto layout = [&](bool ta, bool tb, int64_t pad) {
    g.trans_a = ta, g.trans_b = tb;
    g.lda = g.ldb = g.ldc = 256 + pad;
  };
  for (const Tile& t : kTiles) {
    g.type = g.out = DType::BF16;
    layout(false, false, 0), add(t, "nn");
    layout(true, true, 0), add(t, "tt");
    layout(false, true, 0), add(t, "nt");
    g.type = DType::F16, g.out = DType::F32;
    layout(true, false, 0), add(t, "tn to float32");
  }
  // relu(alpha x + beta c + bias) of edges that are not aligned
  GemmTail tail;
  ExprTree::building() = &tail.tree;
  E<float> x[4];
  for (int i = 0; i < 4; ++i) x[i] = E<float>::at(tail.tree.add(Sc::Input, DType::F32, i));
  const E<float> sum = x[0] * x[1] + x[2] + x[3], zero(0.0f);
  tail.tree.result = select(gt(sum, zero), sum, zero).id;
  ExprTree::building() = nullptr;
  GemmOperand alpha, old, bias;
  alpha.number = 0.5f;
  old.at = memory, old.type = DType::BF16, old.row = 256, old.col = 1;
  bias.at = memory, bias.col = 1;
  tail.operands = {alpha, old, bias};
  g.tail = &tail;
  g.type = g.out = DType::BF16;
  for (const Tile& t : kTiles) layout(false, false, 0), add(t, "nn with a tail");
  const Tile* const for_groups = std::find_if(std::begin(kTiles), std::end(kTiles), [](const Tile& t) { return t.warpgroups; });
  for (const Tile* t : {kTiles, for_groups})
    for (int64_t pad : {1, 2, 4}) layout(false, true, pad), add(*t, ("nt, rows of " + std::to_string(256 + pad)).c_str());
}

}  // namespace cuda

bool cuda_tiled_gemm(Device& device, const TiledGemm& g, Stream s) {
  using namespace cuda;
  constexpr int64_t most = std::numeric_limits<int32_t>::max() / 2;
  if (!is_half(g.type) || (g.out != g.type && g.out != DType::F32)) return false;
  const CudaProperties& p = cuda_properties(device.id().index);
  if (p.major < 8 || std::max({g.m, g.n, g.k}) > most) return false;
  check_tail(g);
  const Tile* t = tile_for(p, g);
  if (!t || !holds(p, *t) || tiles_of(*t, g) > most) return false;
  if (g.m == 0 || g.n == 0 || g.batch == 0) return true;

  Fields params(true);
  for (const void* at : {g.a, g.b, static_cast<const void*>(g.c)}) params.pointer(at);
  for (int64_t v : {g.lda, g.ldb, g.ldc, g.stride_a, g.stride_b, g.stride_c, g.m, g.n, g.k}) params.word(v);
  const size_t operands = g.tail ? g.tail->operands.size() : 0;
  for (size_t k = 0; k < std::max<size_t>(operands, 1); ++k) {
    const GemmOperand o = k < operands ? g.tail->operands[k] : GemmOperand();
    uint32_t bits = 0;
    std::memcpy(&bits, &o.number, sizeof bits);
    if (o.at) params.pointer(o.at);
    else params.word(bits);
    for (int64_t v : {o.batch, o.row, o.col}) params.word(v);
  }
  launch(CudaNativeContext{device, s, nullptr}, text_for(*t), head_of(*t, g), "tiled_gemm",
         static_cast<uint32_t>(tiles_of(*t, g)), {params.data()}, 1, static_cast<uint32_t>(t->threads()),
         static_cast<size_t>(t->shared_bytes()));
  return true;
}

std::vector<std::string> cuda_gemm_tiles(DeviceId device) {
  std::vector<std::string> out;
  for (const cuda::Tile& t : cuda::kTiles)
    if (cuda::holds(cuda_properties(device.index), t)) out.push_back(t.name);
  return out;
}

void cuda_gemm_use_tile(const std::string& name) {
  if (!name.empty() && !cuda::tile_named(name))
    fail("matmul", "no such tile in gemm_tiles.def", name, "a name of cuda_gemm_tiles()");
  cuda::asked_tile() = name;
}

namespace {

constexpr const char* kChoiceNames[] = {"auto", "cublas", "own"};

}  // namespace

const char* name_of(CudaGemm choice) { return kChoiceNames[static_cast<int>(choice)]; }

CudaGemm cuda_gemm_named(const std::string& name) {
  for (int k = 0; k < 3; ++k)
    if (name == kChoiceNames[k]) return static_cast<CudaGemm>(k);
  fail("matmul", "PYDIFF_CUDA_GEMM is unknown", "'" + name + "'", "auto, cublas or own");
}

CudaGemm& cuda_gemm_choice() {
  static CudaGemm choice = [] {
    const char* text = std::getenv("PYDIFF_CUDA_GEMM");
    return text && *text ? cuda_gemm_named(text) : CudaGemm::Auto;
  }();
  return choice;
}

}  // namespace pd
