// What a tiled product is made of, for one type and one instruction set.
#pragma once
#include "kernels/cpu/tiles.h"

namespace pd {

constexpr int64_t kMostWidth = 128;  // bytes of a strip of columns: two vectors of the widest instruction set
constexpr int kMostRows = 14;        // of a tile

// A slice of a strip of rows: item (r, p) at data[r * row + p * k], or where `packed` at data[p * rows + r].
struct AStrip {
  const void* data;
  int64_t row, k;
  bool packed;
};

// A slice of a strip of columns: item (p, q) at data[p * row + q], of `width` columns. Those beyond the matrix are any numbers.
struct BStrip {
  const void* data;
  int64_t row;
  int64_t width;
};

struct TileKernels {
  int64_t rows, width;  // of the largest tile
  bool floating;
  // `count` rows from `first` on, `depth` of k from k0 on, as [p][row].
  void (*pack_rows)(const void* a, const Places& row, int64_t first, int64_t count, const Places& k, int64_t k0,
                    int64_t depth, void* out);
  // `cols` columns from `first` on, `depth` of k from k0 on, where k ends at k_end; as they lie where they need not be packed
  // and `often` is not set, else into `out`. With a k_end of 0 what is beyond the columns is zeros.
  void (*pack_columns)(const void* b, const Places& col, int64_t first, int64_t cols, const Places& k, int64_t k0,
                       int64_t depth, int64_t k_end, bool often, void* out, BStrip& strip);
  void (*tile)(int64_t depth, const AStrip& a, const BStrip& b, int64_t rows, void* c, const Places& row, int64_t first_row,
               const Places& col, int64_t first_col, int64_t cols, bool accumulate);
  void (*small)(const TiledProduct& first, const Strides& next, int64_t count);
  // c += x, row-major.
  void (*add)(const void* x, int64_t m, int64_t n, void* c, const Places& row, const Places& col);
  // A tile of C whose rows lie at steps of 1, in a row-major tile of `width` columns: taken there, and stored from there.
  void (*turn_in)(void* tile, int64_t rows, void* c, int64_t first_row, const Places& col, int64_t first_col, int64_t cols);
  void (*turn_out)(void* tile, int64_t rows, void* c, int64_t first_row, const Places& col, int64_t first_col, int64_t cols);
  // Of bfloat16: strips are always packed, with two of k together, and C is float32. There is no `small` and no turning.
  bool pairs = false;
};

// Of the widest instruction set that the processor has.
const TileKernels& tile_kernels(DType dtype);

// Of bfloat16, or null where the processor cannot multiply pairs of them as tiled_product says.
const TileKernels* pair_kernels();

}  // namespace pd
