// C is cut into strips of a few rows and strips of columns two vectors wide. Where a strip of rows meets one of columns,
//
//   tile[r][:] += a[p][r] * b[p][:]      for p in a slice of k
//
// runs in registers, taken up from C where the slice before left it, which breaks no chain. A is packed once, strip by
// strip, for all threads, unless few columns read it; whoever computes a strip of columns packs that of B, a slice at a time,
// into the first-level cache. Compiled once for each instruction set, which the processor chooses when first called.
#include "kernels/cpu/tiles.h"

#include <algorithm>
#include <cstring>

#include "base/divide.h"
#include "base/error.h"
#include "device/cpu/pool.h"
#include "device/cpu/scratch.h"
#include "kernels/cpu/tile_kernels.h"

namespace pd {

namespace {

constexpr int64_t kSlice = 192;            // of k: two vectors times this many stay in the first-level cache
constexpr int64_t kUnit = 16;
constexpr int64_t kLastingA = 1 << 18;     // bytes of A that stay in the second-level cache beside others
constexpr int64_t kKeptRows = 128;         // of a turned strip of C that is kept until k is done
constexpr int64_t kPacked = 1 << 20;       // items of A that are packed at once
constexpr int64_t kTaskWork = 1 << 19;     // multiply-adds that repay handing a task to another thread
constexpr int64_t kLongPart = 2048;        // of k, where a small C is computed in parts
constexpr int64_t kSmallest = 448;         // elements of C that count as one tile when parts are counted
constexpr int64_t kEnough = 128;           // tiles that a long product should give the threads

Places from(const Places& p, int64_t first) { return p.list ? Places{p.step, p.list + first} : p; }

// The operand seen from an element on.
const char* at(const void* base, int64_t offset, int64_t item) { return static_cast<const char*>(base) + offset * item; }

struct Cut {
  int64_t pieces, each, longer;  // the first `longer` have one more
  Cut(int64_t n, int64_t pieces) : pieces(pieces), each(n / pieces), longer(n % pieces) {}
  int64_t begin(int64_t i) const { return each * i + std::min(i, longer); }
};

// k in pieces that begin where a vector's worth of places does, none longer than ceil(k / pieces) rounded up to that.
struct CutOfK {
  int64_t k;
  Cut units;
  CutOfK(int64_t k, int64_t pieces) : k(k), units(ceil_div(k, kUnit), pieces) {}
  int64_t pieces() const { return units.pieces; }
  int64_t begin(int64_t i) const { return std::min(k, units.begin(i) * kUnit); }
};

// One piece of k, of which the packed A fits.
void product_of_piece(const TiledProduct& x, const TileKernels& kernels, int64_t k0, int64_t k1, bool accumulate) {
  const int64_t item = static_cast<int64_t>(size_of(x.dtype)), depth = k1 - k0, width = kernels.width;
  const int64_t long_depth = kernels.pairs ? (depth + 1) / 2 * 2 : depth;  // as it is packed
  const Cut rows(x.m, ceil_div(x.m, kernels.rows));
  const CutOfK slices(depth, ceil_div(depth, kernels.pairs ? 2 * kSlice : kSlice));  // of as many bytes
  const int64_t strips = ceil_div(x.n, width);
  const double work = static_cast<double>(x.m) * static_cast<double>(x.n) * static_cast<double>(depth);
  const int threads = work < static_cast<double>(worth_a_thread()) ? 1 : num_threads();
  const int64_t wanted = threads == 1 ? 1 : std::clamp<int64_t>(static_cast<int64_t>(work / kTaskWork), 1, 8 * threads);

  // A strip's rows lie together: [strip][p][row]. Where few columns read them they stay where they are.
  const bool pack = kernels.pairs || x.n > 2 * width || x.a_row.list || x.a_k.list;
  CallMemory packed(static_cast<size_t>(pack ? x.m * long_depth * item : 0));
  if (pack)
    parallel_for(rows.pieces, [&](int64_t s, int) {
      const int64_t first = rows.begin(s), count = rows.begin(s + 1) - first;
      kernels.pack_rows(x.a, x.a_row, first, count, x.a_k, k0, depth, packed.data() + first * long_depth * item);
    }, x.m * depth < (1 << 16) ? 1 : threads);

  const Cut columns(strips, std::min(strips, wanted));
  const Cut bands(rows.pieces, std::min(rows.pieces, ceil_div(wanted, columns.pieces)));
  // Where C's columns lie together and its rows do not, tiles are turned on their way.
  const bool turned = kernels.turn_out && x.m > 2 && !x.c_row.list && x.c_row.step == 1 && (x.c_col.list || x.c_col.step != 1);
  parallel_for(columns.pieces * bands.pieces, [&](int64_t task, int) {
    const int64_t column = task / bands.pieces, band = task % bands.pieces;
    const int64_t row_begin = bands.begin(band), row_end = bands.begin(band + 1);
    const int64_t column_begin = columns.begin(column), count = columns.begin(column + 1) - column_begin;
    // Rows of A that stay in the second-level cache serve each strip of columns with all of k, while its part of C is near;
    // otherwise a slice of them serves all strips.
    const int64_t top = rows.begin(row_begin), height_of_band = rows.begin(row_end) - top;
    const bool by_strip = height_of_band * long_depth * item <= kLastingA;
    const bool kept = turned && by_strip && height_of_band <= kKeptRows;
    alignas(64) char near[kSlice * kMostWidth + 64];
    alignas(64) char tiles[kKeptRows * kMostWidth];
    for (int64_t turn = 0; turn < count * slices.pieces(); ++turn) {
      const int64_t q = by_strip ? turn % slices.pieces() : turn / count;
      const int64_t s = column_begin + (by_strip ? turn / slices.pieces() : turn % count);
      const int64_t p0 = slices.begin(q), deep = slices.begin(q + 1) - p0;
      const int64_t j = s * width, cols = std::min(width, x.n - j);
      const bool onward = accumulate || q > 0;
      BStrip strip{near, 0, 0};
      kernels.pack_columns(x.b, x.b_col, j, cols, x.b_k, k0 + p0, deep, x.k, row_end - row_begin > 2, near, strip);
      for (int64_t r = row_begin; r < row_end; ++r) {
        const int64_t first = rows.begin(r), height = rows.begin(r + 1) - first;
        const AStrip a = pack ? AStrip{packed.data() + (first * long_depth + p0 * height) * item, 0, 0, true}
                              : AStrip{at(x.a, x.a_row[first] + x.a_k[k0 + p0], item), x.a_row.step, x.a_k.step, false};
        if (!turned) {
          kernels.tile(deep, a, strip, height, x.c, x.c_row, first, x.c_col, j, cols, onward);
          continue;
        }
        char* const tile = tiles + (kept ? (first - top) * width * item : 0);
        if (onward && (!kept || q == 0)) kernels.turn_in(tile, height, x.c, first, x.c_col, j, cols);
        kernels.tile(deep, a, strip, height, tile, Places{width, nullptr}, 0, Places{}, 0, cols, onward);
        if (!kept || q + 1 == slices.pieces()) kernels.turn_out(tile, height, x.c, first, x.c_col, j, cols);
      }
    }
  }, threads);
}

void product_in_order(const TiledProduct& x, const TileKernels& kernels) {
  // Fewer columns than a vector has lanes, and more rows: the other way round. The chains stay what they are.
  if (x.n < kernels.width / 2 && x.m > x.n) {
    return product_in_order({x.dtype, x.n, x.m, x.k, x.b, x.b_col, x.b_k, x.a, x.a_k, x.a_row, x.c, x.c_col, x.c_row,
                             x.accumulate}, kernels);
  }
  const int64_t item = static_cast<int64_t>(size_of(x.dtype)), c_item = kernels.pairs ? 4 : item;
  const int64_t most = std::max<int64_t>(kernels.rows, kPacked / kSlice);
  for (int64_t i = 0; i < x.m; i += most) {
    TiledProduct part = x;
    part.m = std::min(most, x.m - i);
    part.a = at(x.a, x.a_row.list ? 0 : x.a_row[i], item);
    part.a_row = from(x.a_row, i);
    part.c = const_cast<char*>(at(x.c, x.c_row.list ? 0 : x.c_row[i], c_item));
    part.c_row = from(x.c_row, i);
    const CutOfK pieces(x.k, ceil_div(x.k, std::max(kSlice, kPacked / part.m)));
    for (int64_t p = 0; p < pieces.pieces(); ++p)
      product_of_piece(part, kernels, pieces.begin(p), pieces.begin(p + 1), x.accumulate || p > 0);
  }
}

// A small C of a long k would keep one thread busy, so k is cut, by the shape alone, and the parts' sums are added in order.
int64_t parts_of(int64_t m, int64_t n, int64_t k) {
  if (k < 2 * kLongPart || m >= 16 * kSmallest || n >= 16 * kSmallest) return 1;
  const int64_t tiles = std::max<int64_t>(1, m * n / kSmallest);
  return std::clamp<int64_t>(ceil_div(kEnough, tiles), 1, k / kLongPart);
}

}  // namespace

void small_products(const TiledProduct& first, const Strides& next, int64_t count) {
  tile_kernels(first.dtype).small(first, next, count);
}

void tiled_product(const TiledProduct& x) {
  const TileKernels& kernels = tile_kernels(x.dtype);
  const int64_t parts = kernels.floating ? parts_of(x.m, x.n, x.k) : 1;
  if (parts == 1) return product_in_order(x, kernels);
  const int64_t item = static_cast<int64_t>(size_of(x.dtype)), c_item = kernels.pairs ? 4 : item, size = x.m * x.n;
  const CutOfK cut(x.k, parts);
  CallMemory sums(static_cast<size_t>((parts - 1) * size * c_item));
  // Threads take parts, or each part's tiles where parts would leave some of them idle.
  const int threads = num_threads();
  parallel_for(parts, [&](int64_t i, int) {
    TiledProduct part = x;
    part.k = cut.begin(i + 1) - cut.begin(i);
    const int64_t first = cut.begin(i);
    part.a = at(x.a, x.a_k.list ? 0 : x.a_k[first], item);
    part.a_k = from(x.a_k, first);
    part.b = at(x.b, x.b_k.list ? 0 : x.b_k[first], item);
    part.b_k = from(x.b_k, first);
    if (i > 0) {
      part.c = sums.data() + (i - 1) * size * c_item;
      part.c_row = Places{x.n, nullptr};
      part.c_col = Places{1, nullptr};
      part.accumulate = false;
    }
    product_in_order(part, kernels);
  }, parts % threads == 0 || parts > 4 * threads ? threads : 1);
  for (int64_t i = 1; i < parts; ++i) kernels.add(sums.data() + (i - 1) * size * c_item, x.m, x.n, x.c, x.c_row, x.c_col);
}

}  // namespace pd
