// Running sums along an axis: which kernel of scan_text.h serves a shape.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/scan_text.h"

namespace pd {
namespace cuda {

namespace {

enum Mode : int64_t { kWhole, kTotals, kFromCarry };

// None of these may depend on the device: they decide the order of additions.
constexpr int64_t kManyRows = 16384;     // rows that keep a device busy with one thread each
constexpr int64_t kFewRows = 512;        // rows that do not with one block each
constexpr int64_t kLongRow = 16384;
constexpr int64_t kShortRow = 512;       // a warp is enough
constexpr int64_t kBlocks = 1024;        // blocks wanted of few rows
constexpr int64_t kRowPart = 4096;       // least elements of a part
constexpr int64_t kColumnPart = 64;
constexpr int64_t kMostParts = 1024;

bool is_summed(DType t) { return is_integer(t) || (size_of(t) >= 4 && !is_bool(t)); }

// Elements a thread: 16 bytes of them, and at least 4.
int64_t items_of(int64_t bytes) { return std::max<int64_t>(4, 16 / bytes); }

Head scan_head(DType t, bool wide, int64_t warps, bool vector) {
  Head h;
  int64_t bytes = static_cast<int64_t>(size_of(t)) / (is_complex(t) ? 2 : 1);
  if (is_integer(t))
    h.type("T", word_type(bytes)).type("Wide", bytes == 8 ? "u64" : "u32");
  else
    h.type("T", bytes == 4 ? "f32" : "f64");
  return h.type("Ix", wide ? "i64" : "i32")
      .number("ITEMS", items_of(bytes))
      .number("WARPS", warps)
      .flag("VECTOR", vector);
}

template <const char* const& State>
std::string scan_text(const Head& head) {
  return head.text() + State + kScanText;
}
Compose compose_for(DType t) {
  if (is_integer(t)) return scan_text<kWrappingState>;
  return t == DType::F32 || t == DType::C64 ? scan_text<kWideState> : scan_text<kCompensatedState>;
}

}  // namespace

void cumsum(const NativeArgs& a, const CudaNativeContext& c) {
  DType t = a.out_spec->dtype;
  if (!is_summed(t)) return tell(c, ErrorCode::NoSum);
  AxisView v(a.specs[0].shape, (*a.attrs)[0]);
  int64_t bytes = static_cast<int64_t>(size_of(t));
  if (is_complex(t)) {  // two floats on an axis of its own, innermost
    v.inner *= 2;
    bytes /= 2;
  }
  int64_t total = v.outer * v.n * v.inner;
  if (total == 0) return;
  bool wide = !fits_32(total);
  Compose compose = compose_for(t);
  int64_t reverse = (*a.attrs)[1] != 0;
  int64_t state_bytes = t == DType::F64 || t == DType::C128 ? 16 : 8;

  if (v.inner == 1 && v.outer >= kManyRows) {
    Head head = scan_head(t, wide, 1, false);
    return launch(c, compose, head, "scan_tiles", blocks_for(c, v.outer, 128), {a.in, &a.out, &v.outer, &v.n, &reverse},
                  1, 128);
  }

  // scan(mode, carry) of the whole in `parts`; several parts are summed, their sums scanned, and each part scanned on.
  int64_t parts = 1, per = v.n, rows = v.outer * v.inner;
  auto in_parts = [&](const Head& head, auto scan) {
    if (parts == 1) return scan(kWhole, nullptr);
    Scratch carry(c, rows * parts * state_bytes);
    scan(kTotals, carry.get());
    launch(c, compose, head, "scan_carry", blocks_for(c, rows, 8), {&carry.get(), &rows, &parts});
    scan(kFromCarry, carry.get());
  };

  if (v.inner == 1) {
    int64_t items = items_of(bytes), warps = v.n <= kShortRow ? 1 : 8, tile = warps * 32 * items;
    if (v.outer < kFewRows && v.n > kLongRow) {
      parts = std::min({ceil_div(kBlocks, v.outer), ceil_div(v.n, kRowPart), kMostParts});
      per = ceil_div(ceil_div(v.n, parts), tile) * tile;
      parts = ceil_div(v.n, per);
    }
    bool vector = v.n % items == 0 && unit_of(address(a.in[0]) | address(a.out)) == 16;
    Head head = scan_head(t, wide, warps, vector);
    return in_parts(head, [&](int64_t mode, void* carry) {
      launch(c, compose, head, "scan_rows", blocks_for(c, v.outer * parts, 8 / warps),
             {a.in, &a.out, &carry, &v.outer, &v.n, &parts, &per, &mode, &reverse});
    });
  }
  if (rows < kManyRows && v.n >= 2 * kColumnPart) {
    parts = std::min({ceil_div(2 * kManyRows, rows), ceil_div(v.n, kColumnPart), kMostParts});
    per = ceil_div(v.n, parts);
    parts = ceil_div(v.n, per);
  }
  Head head = scan_head(t, wide, 1, false);
  in_parts(head, [&](int64_t mode, void* carry) {
    launch(c, compose, head, "scan_columns", blocks_for(c, rows * parts),
           {a.in, &a.out, &carry, &v.outer, &v.n, &v.inner, &parts, &per, &mode, &reverse});
  });
}

void add_scan_texts(Texts& out) {
  for (DType t : {DType::U8, DType::I16, DType::I32, DType::U64, DType::F32, DType::F64})
    for (int kind = 0; kind < 8; ++kind) {
      bool wide = kind & 1, vector = kind & 2;
      int64_t warps = kind & 4 ? 8 : 1;
      out.push_back({std::string("scan ") + name_of(t) + (wide ? " wide" : "") + (vector ? " vector" : "") +
                         (warps == 1 ? " warps" : " blocks"),
                     compose_for(t)(scan_head(t, wide, warps, vector))});
    }
}

}  // namespace cuda
}  // namespace pd
