#include "fuse/runner.h"
#include "fuse/llvm.h"

#include <algorithm>
#include <cstring>

#include "device/cpu/pool.h"
#include "device/cpu/scratch.h"

namespace pd {
namespace {

constexpr int64_t kTasksAThread = 4;         // so that a thread that was late does not hold up the others

// f(axis, index) for the axes on which flattened position `at` is not 0.
template <class F> void each_index(const Ints& dims, int64_t at, F f) {
  for (int k = dims.size() - 1; k > 0 && at; --k) {
    f(k, at % dims[k]);
    at /= dims[k];
  }
  if (at) f(0, at);
}

struct Launch {
  const PreparedLaunch& l;
  const Grid& g;
  const Interpreted& program;
  KernelFn compiled;
  size_t kernel_bytes;
  void* const* bases;
  char* partial;

  struct Tile {
    int64_t major_piece, minor_piece, r0, R, c0, C;
  };
  Tile tile(int64_t t) const {
    Tile at;
    at.major_piece = t / g.minor.pieces;
    at.minor_piece = t % g.minor.pieces;
    at.r0 = g.major.start(at.major_piece);
    at.R = g.major.length(at.major_piece);
    at.c0 = g.minor.start(at.minor_piece);
    at.C = g.minor.length(at.minor_piece);
    return at;
  }

  void pack_operand(size_t k, const Tile& at, char* to) const {
    const PreparedLaunch::Operand& o = l.operands[k];
    const bool values = o.cls == ArgClass::Maj, row = o.red && !values;
    const int64_t r0 = row ? 0 : at.r0, R = row ? 1 : at.R, c0 = values ? 0 : at.c0, C = values ? 1 : at.C;
    if (g.operands[k].index) {
      pack_index(reinterpret_cast<int64_t*>(to), o.view, l.major, l.minor, r0, R, c0, C);
    } else {
      pack(to, bases[k], o.dtype, o.view, l.major, l.minor, r0, R, c0, C);
    }
  }
  void unpack_operand(size_t k, const Tile& at, const char* from) const {
    const PreparedLaunch::Operand& o = l.operands[k];
    const bool values = o.cls == ArgClass::Maj, row = o.red && !values;
    unpack(bases[k], from, o.dtype, o.view, l.major, l.minor, row ? 0 : at.r0, row ? 1 : at.R, values ? 0 : at.c0,
           values ? 1 : at.C);
  }

  char* partial_of(size_t k, const Tile& at) const {
    const bool rows = l.layout == Layout::Rows;
    const int64_t size = static_cast<int64_t>(size_of(l.operands[k].dtype));
    const int64_t place = rows ? at.minor_piece * g.major.total + at.r0 : at.major_piece * g.minor.total + at.c0;
    return partial + g.operands[k].buffer + place * size;
  }

  void run_tiles(int64_t first, int64_t last) const {
    Scratch scratch(static_cast<size_t>(g.task_bytes) + kernel_bytes);
    char* own = scratch.data();
    char* kernel = own + g.task_bytes;
    int64_t* maps = reinterpret_cast<int64_t*>(own);
    const int n = static_cast<int>(g.operands.size());
    SmallVec<void*, 16> ptr(n);
    SmallVec<int64_t, 16> rstride(g.strides());
    g.tell_runs(rstride.data() + n);
    const int nm = l.major.size();
    if (compiled && g.even) {
      for (int k = 0; k < n; ++k) {
        const Grid::Operand& o = g.operands[k];
        rstride[k] = o.rstride;
        ptr[k] = static_cast<char*>(bases[k]) + o.offset + first * o.step;
      }
      for (int64_t t = first; t < last; ++t) {
        compiled(g.major.length(t), g.C, ptr.data(), rstride.data(), kernel);
        for (int k = 0; k < n; ++k) ptr[k] = static_cast<char*>(ptr[k]) + g.operands[k].step;
      }
      return;
    }
    for (int64_t t = first; t < last; ++t) {
      const Tile at = tile(t);
      for (int k = 0; k < n; ++k) {
        const Grid::Operand& o = g.operands[k];
        rstride[k] = o.rstride;
        switch (o.reach) {
          case Reach::Value:
            ptr[k] = static_cast<char*>(bases[k]) + o.offset;
            break;
          case Reach::Direct: {
            char* p = static_cast<char*>(bases[k]) + o.offset;
            each_index(l.major, at.r0, [&](int a, int64_t i) { p += i * o.strides[a]; });
            each_index(l.minor, at.c0, [&](int a, int64_t i) { p += i * o.strides[nm + a]; });
            ptr[k] = p;
            break;
          }
          case Reach::Packed:
            ptr[k] = own + o.buffer;
            rstride[k] = l.operands[k].cls == ArgClass::Maj ? 1 : at.C;
            if (!l.operands[k].output) pack_operand(static_cast<size_t>(k), at, own + o.buffer);
            break;
          case Reach::Map: {
            const View& v = l.operands[k].view;
            int64_t* map = maps + 3 * k;
            map[0] = v.offset;
            each_index(l.major, at.r0, [&](int a, int64_t i) { map[0] += i * v.strides[a]; });
            each_index(l.minor, at.c0, [&](int a, int64_t i) { map[0] += i * v.strides[nm + a]; });
            map[1] = o.rstride;
            map[2] = o.cstride;
            ptr[k] = map;
            break;
          }
          case Reach::Partial:
            ptr[k] = partial_of(static_cast<size_t>(k), at);
            break;
        }
      }
      if (compiled) {
        compiled(at.R, at.C, ptr.data(), rstride.data(), kernel);
      } else {
        if (t == first) program.begin(g.R, g.C, ptr.data(), kernel);
        program.tile(at.R, at.C, ptr.data(), rstride.data(), kernel);
      }
      for (int k = 0; k < n; ++k)
        if (g.operands[k].reach == Reach::Packed && l.operands[k].output)
          unpack_operand(static_cast<size_t>(k), at, static_cast<const char*>(ptr[k]));
    }
  }

  // Adjacent pairs of pieces, level by level; an odd last one is carried up.
  void combine(size_t k) const {
    const PreparedLaunch::Operand& o = l.operands[k];
    const bool rows = l.layout == Layout::Rows;
    const int64_t kept = rows ? g.major.total : g.minor.total;
    const int64_t bytes = kept * static_cast<int64_t>(size_of(o.dtype));
    char* p = partial + g.operands[k].buffer;
    for (int64_t n = rows ? g.minor.pieces : g.major.pieces; n > 1; n = (n + 1) / 2) {
      for (int64_t i = 0; i < n / 2; ++i) {
        const void* pair[2] = {p + 2 * i * bytes, p + (2 * i + 1) * bytes};
        o.combine(pair, p + i * bytes, kept);
      }
      if (n & 1) std::memcpy(p + n / 2 * bytes, p + (n - 1) * bytes, static_cast<size_t>(bytes));
    }
    const Tile all{0, 0, 0, rows ? kept : 1, 0, rows ? 1 : kept};
    unpack(bases[k], p, o.dtype, o.view, l.major, l.minor, all.r0, all.R, all.c0, all.C);
  }
};

}  // namespace

void run(const PreparedLaunch& l, const Interpreted& program, KernelFn compiled, size_t compiled_scratch,
         void* const* bases) {
  const Grid& g = compiled ? l.compiled : l.interpreted;
  const int64_t tiles = g.tiles();
  if (tiles == 0) return;
  AlignedMemory partial;
  if (g.launch_bytes) partial = aligned_memory(static_cast<size_t>(g.launch_bytes));
  const size_t kernel_bytes =
      compiled ? scratch_bytes(l.layout, compiled_scratch, g.R, g.C) : program.scratch_bytes(g.R, g.C);
  const Launch launch{l, g, program, compiled, kernel_bytes, bases, static_cast<char*>(partial.get())};
  const int64_t worth = worth_a_thread();
  int64_t threads = tiles == 1 || l.work < 2 * worth ? 1 : std::min<int64_t>({num_threads(), tiles, l.work / worth});
  if (threads <= 1) {
    launch.run_tiles(0, tiles);
  } else {
    const int64_t tasks = std::min(tiles, threads * kTasksAThread);
    parallel_for(
        tasks, [&](int64_t i, int) { launch.run_tiles(tiles * i / tasks, tiles * (i + 1) / tasks); },
        static_cast<int>(threads));
  }
  if (!partial) return;
  for (size_t k = 0; k < g.operands.size(); ++k)
    if (g.operands[k].reach == Reach::Partial) launch.combine(k);
}

}  // namespace pd
