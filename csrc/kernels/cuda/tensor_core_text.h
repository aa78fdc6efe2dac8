// CUDA C++ that kernels on tensor cores are made of, behind value_helpers() for its conversions: asynchronous copies to
// shared memory, ldmatrix, mma. 16-bit floats are u16 there.
//
// Each instruction stands behind a function, which has a plain twin for the stand-in (PD_HOST). A twin follows the
// instruction's table of lanes in the PTX ISA (sections "cp.async", "ldmatrix", "mma.m16n8k16"), so a kernel that has a
// fragment in the wrong lane is wrong on the stand-in too. What a twin does not have is the order in which a tensor core
// adds 16 products: it adds them in float64 and rounds once.
//
// Fragments of one m16n8k16 product, g = lane / 4, t = lane % 4, two neighbours in a register, the lower one first:
//   a[0..3]  rows g, g + 8, g, g + 8     columns k = 2 t, 2 t, 2 t + 8, 2 t + 8 and the next
//   b[0..1]  rows k = 2 t, 2 t + 8 and the next     column g
//   d[0..3]  rows g, g, g + 8, g + 8     columns 2 t, 2 t + 1, 2 t, 2 t + 1
#pragma once

namespace pd {
namespace cuda {

inline const char* const kTensorCoreText = R"cuda(
#ifdef PD_HOST

// What the lanes of a warp show each other. Two places by turns: who comes to the next but one has left this one.
namespace pd_twin {
struct Lane { u64 word[4]; };
static Lane shown[2][32][32];
static u8 turn[1024];
inline int thread() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }
inline const Lane* show(const Lane& mine) {
  const int id = thread();
  Lane* all = shown[turn[id]][id / 32];
  turn[id] ^= 1;
  all[id % 32] = mine;
  __syncwarp();
  return all;
}
inline void* aligned(const void* p, int bytes) {
  if ((size_t)p % bytes) __trap();
  return (void*)p;
}

// Dynamic shared memory begins here in the window of shared addresses: no more aligned than 16 bytes, as is promised.
constexpr u32 kWindowBegin = 1040;
// Who copied the 16 bytes at a shared address, and whether others' tensor cores may read them: what cp.async writes is seen
// there behind a fence.proxy.async of the thread that wrote, once its copies have arrived.
struct Written { u32 fences; u16 owner; bool copied, under_way; };
static Written written[1 << 14];
static u32 fences[1024];
inline Written& written_at(u32 address) { return written[address >> 4 & 0x3fff]; }
}

PD_DEVICE u32 shared_address(const void* p) {
  return (u32)((const char*)p - pd_module.block->dynamic_shared) + pd_twin::kWindowBegin;
}

// Half of the copies are made at once, the others when somebody waits for them: so a kernel that reads too early, and one
// that lets a copy overwrite what is still read, are both found out.
class AsyncCopies {
 public:
  template <int BYTES> void copy(void* to, const void* from, int valid) {
    Copy c = {(char*)pd_twin::aligned(to, BYTES), (const char*)from, BYTES, valid, group_, false};
    if (valid) pd_twin::aligned(from, BYTES);
    if (count_ == 320) __trap();
    pd_twin::written_at(shared_address(to)) = {0, (u16)pd_twin::thread(), true, true};
    c.made = ++made_ + pd_twin::thread() & 1;
    if (c.made) run(c);
    waiting_[count_++] = c;
  }
  void commit() { ++group_; }
  template <int N> void wait() {
    int kept = 0;
    for (int i = 0; i < count_; ++i)
      if (waiting_[i].group < group_ - N) arrive(waiting_[i]);
      else waiting_[kept++] = waiting_[i];
    count_ = kept;
  }

 private:
  struct Copy { char* to; const char* from; int bytes, valid, group; bool made; };
  static void arrive(const Copy& c) {
    if (!c.made) run(c);
    const int id = pd_twin::thread();
    pd_twin::written_at(shared_address(c.to)) = {pd_twin::fences[id], (u16)id, true, false};
  }
  static void run(const Copy& c) {
    for (int i = 0; i < c.bytes; ++i) c.to[i] = i < c.valid ? c.from[i] : 0;
  }
  Copy waiting_[320];
  int count_ = 0, group_ = 0, made_ = 0;
};

template <bool TRANSPOSED>
PD_DEVICE void load_matrices(u32 (&r)[4], const u16* row) {
  const pd_twin::Lane* all = pd_twin::show({{(u64)pd_twin::aligned(row, 16)}});
  const int lane = pd_twin::thread() % 32, g = lane / 4, t = lane % 4 * 2;
  for (int i = 0; i < 4; ++i) {
    const u16* first = (const u16*)all[8 * i + (TRANSPOSED ? t : g)].word[0];
    const u16* second = TRANSPOSED ? (const u16*)all[8 * i + t + 1].word[0] : first;
    r[i] = TRANSPOSED ? first[g] | (u32)second[g] << 16 : first[t] | (u32)first[t + 1] << 16;
  }
}

template <bool BF16>
PD_DEVICE void mma_16x8x16(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  const pd_twin::Lane* all =
      pd_twin::show({{a[0] | (u64)a[1] << 32, a[2] | (u64)a[3] << 32, b[0] | (u64)b[1] << 32}});
  const int lane = pd_twin::thread() % 32, g = lane / 4, t = lane % 4;
  auto value = [](u64 word, int place) {
    const u16 v = (u16)(word >> 16 * place);
    return BF16 ? pd_from_bfloat(v) : pd_from_half(v);
  };
  for (int q = 0; q < 4; ++q) {
    f64 sum = d[q];
    for (int k = 0; k < 16; ++k) {
      const int holder = k % 8 / 2, high = k / 8;
      const f32 x = value(all[4 * g + holder].word[high], q / 2 * 2 + k % 2);
      const f32 y = value(all[4 * (2 * t + q % 2) + holder].word[2], 2 * high + k % 2);
      sum += (f64)x * y;
    }
    d[q] = (f32)sum;
  }
}

#else

PD_DEVICE u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// cp.async: what one thread copies to shared memory meanwhile, in groups that end with commit(). wait<N>() comes back
// when no more than the last N groups are under way; that others see the copies takes a barrier after it.
class AsyncCopies {
 public:
  // `valid` bytes of BYTES, 4, 8 or 16; zeros behind them. With 0 of them `from` is not read.
  template <int BYTES> __device__ __forceinline__ void copy(void* to, const void* from, int valid) {
    if constexpr (BYTES == 16)
      asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;"
                   :: "r"(shared_address(to)), "l"(from), "r"(valid) : "memory");
    else
      asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                   :: "r"(shared_address(to)), "l"(from), "n"(BYTES), "r"(valid) : "memory");
  }
  __device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
  template <int N> __device__ __forceinline__ void wait() { asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory"); }
};

// Four matrices of 8 by 8: lane l gives the address of row l % 8 of matrix l / 8, 16 bytes. Of matrix i r[i] gets the
// neighbours 2 t and 2 t + 1 of row g; TRANSPOSED: of column g.
template <bool TRANSPOSED>
PD_DEVICE void load_matrices(u32 (&r)[4], const u16* row) {
  if constexpr (TRANSPOSED)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

// d += a b, in float32.
template <bool BF16>
PD_DEVICE void mma_16x8x16(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  if constexpr (BF16)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif

// Eight elements from `from` on, `col` apart, of which `valid` bytes are there, zeros behind; `unit` bytes at once. 2: any
// elements, by way of registers, so at once.
template <int unit>
PD_DEVICE void copy_chunk(AsyncCopies& copies, u16* to, const u16* from, i64 col, int valid) {
  if constexpr (unit == 2) {
    u32 w[4] = {0, 0, 0, 0};
#pragma unroll
    for (int q = 0; q < 8; ++q) w[q / 2] |= 2 * q < valid ? (u32)from[q * col] << q % 2 * 16 : 0;
    *(uint4*)to = make_uint4(w[0], w[1], w[2], w[3]);
  } else {
#pragma unroll
    for (int q = 0; q < 16; q += unit) {
      const int some = valid - q;
      copies.copy<unit>(to + q / 2, from + q / 2, some >= unit ? unit : some > 0 ? some : 0);
    }
  }
}

// Where chunk `chunk` of row `row` lies among rows of `width` elements, 32 or a multiple of 64: eight rows' chunks of one
// number lie in different banks.
template <int width>
PD_DEVICE int swizzled(int row, int chunk) {
  return row * width + (width >= 64 ? chunk ^ (row & 7) : chunk ^ (row >> 1 & 3)) * 8;
}
)cuda";

}  // namespace cuda
}  // namespace pd
