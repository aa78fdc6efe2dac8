// CUDA C++ that all kernels of convolutions share, behind element_text.h: where the elements of a window lie.
//
//   y[m, n] = sum over k of  w[m, k] x[k, n]      for each group
//
// m is an output channel, n a window (batch, place), k what a window holds (channel, place in it). Neither matrix is in
// memory: n and k are numbers whose digits are multiplied by strides, and an element of x is where the two sums meet, or zero
// where they meet outside of the tensor. The launcher has taken spread and mirrors out (convolution.cpp).
//
// A head gives what element_text.h wants, Index (i32 or i64, of offsets), DIMS (axes of places, 1 to 3), CHANNELS_INWARD (the
// channel is k's last digit, not its first).
#pragma once

namespace pd {
namespace cuda {

inline const char* const kWindowText = R"cuda(
constexpr int kDigits = DIMS + 1;
constexpr i32 kOutside = -(1 << 30);  // a place that no other brings back inside

// Digits from the last one on. Division by size: (high half of n mul + n) >> shift for n < 2^31
// (Granlund and Montgomery, "Division by invariant integers using multiplication", 1994).
struct Digits { u32 size[kDigits], mul[kDigits], shift[kDigits]; };

struct Params {
  const T *x, *w;
  T* y;
  Sum* partial;  // of each group, split, m and n; null: the sums are the results
  i64 x_group, w_group, y_group, w_row, y_row;
  i64 n_x[kDigits], k_x[kDigits], k_w[kDigits], n_y[kDigits];
  u32 m, n, k, splits, split;  // k of a split, a multiple of the kernel's step
  Digits n_digits, k_digits, y_digits;
  i32 n_step[DIMS], k_step[DIMS], first[DIMS], bound[DIMS];  // from the last axis on
};

struct __align__(16) Place { Index x, w; i32 at[DIMS]; };

PD_DEVICE u32 next_digit(const Digits& d, int i, u32& rest) {
  const u32 high = (__umulhi(rest, d.mul[i]) + rest) >> d.shift[i], digit = rest - high * d.size[i];
  rest = high;
  return digit;
}

// Window n, and place k in a window.
PD_DEVICE Place window(const Params& p, u32 n) {
  Place r;
  r.x = r.w = 0;
  u32 rest = n;
#pragma unroll
  for (int i = 0; i < kDigits; ++i) {
    const u32 digit = i == DIMS ? rest : next_digit(p.n_digits, i, rest);
    r.x += (Index)digit * (Index)p.n_x[i];
    if (i < DIMS) r.at[i] = (i32)digit * p.n_step[i] + p.first[i];
  }
  if (n >= p.n) r.at[0] = kOutside;
  return r;
}
PD_DEVICE Place within(const Params& p, u32 k) {
  Place r;
  r.x = r.w = 0;
  u32 rest = k;
#pragma unroll
  for (int i = 0; i < kDigits; ++i) {
    const u32 digit = i == DIMS ? rest : next_digit(p.k_digits, i, rest);
    r.x += (Index)digit * (Index)p.k_x[i];
    r.w += (Index)digit * (Index)p.k_w[i];
    const int axis = i - (CHANNELS_INWARD ? 1 : 0);
    if (0 <= axis && axis < DIMS) r.at[axis < 0 ? 0 : axis] = (i32)digit * p.k_step[axis < 0 ? 0 : axis];
  }
  if (k >= p.k) r.at[0] = kOutside;
  return r;
}
PD_DEVICE bool inside(const Params& p, const Place& a, const Place& b) {
  bool yes = true;
#pragma unroll
  for (int i = 0; i < DIMS; ++i) yes &= (u32)(a.at[i] + b.at[i]) < (u32)p.bound[i];
  return yes;
}
PD_DEVICE i64 result_place(const Params& p, u32 n) {
  i64 at = 0;
#pragma unroll
  for (int i = 0; i < kDigits; ++i) at += (i64)(i == DIMS ? n : next_digit(p.y_digits, i, n)) * p.n_y[i];
  return at;
}
PD_DEVICE i64 partial_place(const Params& p, u32 group, u32 split, u32 m, u32 n) {
  return (((i64)group * p.splits + split) * p.m + m) * p.n + n;
}
)cuda";

// Tiles of both matrices on their way to shared memory. Along the axis that lies inward (W_ACROSS: m, else k; X_ACROSS: n,
// else k) a thread has one column of UNIT neighbours and finds its place once a tile; places of the rows wait in shared memory.
// Neighbours that lie together are copied asynchronously; single elements wait in registers while the tile before is
// multiplied. A head gives also BM, BN, BK, kThreads, W_ACROSS, X_ACROSS, W_UNIT and X_UNIT; the kernel's text place_w(m, k)
// and place_x(k, n) in its tiles.
inline const char* const kWindowTilesText = R"cuda(
template <int ROWS, int WIDTH, int UNIT>
struct Part {
  static constexpr int kColumns = WIDTH / UNIT, kStep = kThreads / kColumns, kCount = kStep < ROWS ? ROWS / kStep : 1;
  static_assert(kThreads % kColumns == 0 && (ROWS % kStep == 0 || ROWS < kStep), "every thread has as many elements, or one");
  T waiting[UNIT == 1 ? kCount : 1];

  static __device__ __forceinline__ int column() { return threadIdx.x % kColumns * UNIT; }
  static __device__ __forceinline__ int row(int i) { return threadIdx.x / kColumns + i * kStep; }
  static __device__ __forceinline__ bool here() { return kStep <= ROWS || row(0) < ROWS; }  // whether it has any
  template <class Copies>
  __device__ __forceinline__ void take(Copies& copies, int i, T* to, const T* from, bool valid) {
    if constexpr (UNIT == 1) waiting[i] = valid ? __ldg(from) : (T)0;
    else copies.template copy<UNIT * (int)sizeof(T)>(to, from, valid ? UNIT * (int)sizeof(T) : 0);
  }
};

class WindowTiles {
 public:
  static constexpr bool kTable = W_ACROSS || X_ACROSS, kBarriers = kTable;
  static constexpr int kPlaces = (kTable ? 2 * BK : 0) + (X_ACROSS ? 0 : BN) + 1;  // in shared memory

  // Tiles from `k` on; ends with a barrier.
  __device__ __forceinline__ WindowTiles(const Params& p, u32 group, u32 m, u32 n, u32 k, Place* places)
      : p_(p), x_(p.x + group * p.x_group), w_(p.w + group * p.w_group), m_(m), k_(k), table_(places),
        windows_(places + (kTable ? 2 * BK : 0)) {
    if constexpr (X_ACROSS) {
      column_ = window(p, n + X::column());
    } else {
#pragma unroll 1
      for (int i = threadIdx.x; i < BN; i += kThreads) windows_[i] = window(p, n + i);
    }
    prepare(0);
    __syncthreads();
  }
  // Finds the rows of tile t, of which the one before it may still be asked for. A barrier later others may ask for it.
  __device__ __forceinline__ void prepare(int t) {
    if constexpr (kTable)
      if (threadIdx.x < BK) table_[(t & 1) * BK + threadIdx.x] = within(p_, k_ + t * BK + threadIdx.x);
  }
  template <class Copies>
  __device__ __forceinline__ void ask(Copies& copies, T* tile_w, T* tile_x, int t) {
    if (W::here()) ask_weight(copies, tile_w, table_ + (t & 1) * BK, k_ + t * BK);
    ask_input(copies, tile_x, table_ + (t & 1) * BK, k_ + t * BK);
  }
  // What waits in registers.
  __device__ __forceinline__ void put(T* tile_w, T* tile_x) {
    if constexpr (W_UNIT == 1)
      if (W::here()) {
#pragma unroll
        for (int i = 0; i < W::kCount; ++i)
          tile_w[W_ACROSS ? place_w(W::column(), W::row(i)) : place_w(W::row(i), W::column())] = weight_.waiting[i];
      }
    if constexpr (X_UNIT == 1) {
#pragma unroll
      for (int i = 0; i < X::kCount; ++i)
        tile_x[X_ACROSS ? place_x(X::row(i), X::column()) : place_x(X::column(), X::row(i))] = input_.waiting[i];
    }
  }

 private:
  using W = Part<W_ACROSS ? BK : BM, W_ACROSS ? BM : BK, W_UNIT>;
  using X = Part<X_ACROSS ? BK : BN, X_ACROSS ? BN : BK, X_UNIT>;

  template <class Copies>
  __device__ __forceinline__ void ask_weight(Copies& copies, T* tile_w, const Place* rows, u32 k0) {
    if constexpr (W_ACROSS) {
      const int m = W::column();
      const T* const from = w_ + (Index)(m_ + m) * (Index)p_.w_row;
      const u32 rows_left = m_ + m < p_.m ? p_.k - k0 : 0;
#pragma unroll
      for (int i = 0; i < W::kCount; ++i) {
        const u32 k = W::row(i);
        weight_.take(copies, i, tile_w + place_w(m, k), from + rows[k].w, k < rows_left);
      }
    } else {
      const int k = W::column();
      const Index step = (Index)W::kStep * (Index)p_.w_row;
      const T* from = w_ + within(p_, k0 + k).w + (Index)(m_ + W::row(0)) * (Index)p_.w_row;
      const u32 rows_left = k0 + k < p_.k ? p_.m - m_ : 0;
#pragma unroll
      for (int i = 0; i < W::kCount; ++i, from += step) {
        const u32 m = W::row(i);
        weight_.take(copies, i, tile_w + place_w(m, k), from, m < rows_left);
      }
    }
  }
  template <class Copies>
  __device__ __forceinline__ void ask_input(Copies& copies, T* tile_x, const Place* rows, u32 k0) {
    if constexpr (X_ACROSS) {
      const int n = X::column();
#pragma unroll
      for (int i = 0; i < X::kCount; ++i) {
        const Place row = rows[X::row(i)];
        input_.take(copies, i, tile_x + place_x(X::row(i), n), x_ + column_.x + row.x, inside(p_, column_, row));
      }
    } else {
      const int k = X::column();
      const Place column = within(p_, k0 + k);
#pragma unroll
      for (int i = 0; i < X::kCount; ++i) {
        const Place row = windows_[X::row(i)];
        input_.take(copies, i, tile_x + place_x(k, X::row(i)), x_ + column.x + row.x, inside(p_, column, row));
      }
    }
  }

  const Params& p_;
  const T *x_, *w_;
  u32 m_, k_;
  Place *table_, *windows_;
  Place column_;
  W weight_;
  X input_;
};

// Which tile a block makes: rows of tiles first, which read the same windows.
struct TileOf { u32 m, n, split, group; };
PD_DEVICE TileOf tile_of(const Params& p) {
  const u32 down = (p.m + BM - 1) / BM, across = (p.n + BN - 1) / BN;
  u32 at = blockIdx.x;
  TileOf r;
  r.m = at % down * BM, at /= down;
  r.n = at % across * BN, at /= across;
  r.split = at % p.splits, r.group = at / p.splits;
  return r;
}
PD_DEVICE int tiles_along_k(const Params& p, u32 begin) {
  if (begin >= p.k) return 0;
  const u32 left = p.k - begin < p.split ? p.k - begin : p.split;
  return (int)((left + BK - 1) / BK);
}
)cuda";

}  // namespace cuda
}  // namespace pd
