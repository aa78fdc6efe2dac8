// CUDA C++ of the tensor cores of compute capability 9.0 (sm_90a), behind tensor_core_text.h: products that four warps, a
// warpgroup, make of two matrices in shared memory, and that go on while their threads do other things.
//
// Each instruction stands behind a function with a plain twin for the stand-in (PD_HOST). A twin gets what the instruction
// gets: it takes the matrices' places out of the 64-bit descriptors. Facts from the PTX ISA, section "Asynchronous
// warpgroup level matrix instructions" (its parts "Register fragments and shared memory matrix layouts", "Matrix descriptor
// format", wgmma.fence, wgmma.mma_async, wgmma.commit_group, wgmma.wait_group), and "Async proxy".
//
// d, 64 by N, of one m64nNk16 product; w = warp of the group, g = lane / 4, t = lane % 4:
//   d[j][0..3]   rows 16 w + g, the same, 16 w + g + 8, the same     columns 8 j + 2 t, 8 j + 2 t + 1, the same two
//
// A matrix in shared memory with the 128-byte swizzle, of 16-bit elements (i, k), i along m or n, in lines of 128 bytes:
//   k inward           (i, k) is element k of line i % 8 of block i / 8; blocks are `stride` bytes apart
//   i inward ("MN")    (i, k) is element i % 64 of line k % 8 of block (i / 64, k / 8); blocks are `leading` bytes apart
//                      along i and `stride` bytes along k
// and bits 4 to 6 of the address are then xored with bits 7 to 9: of the address, not of a place in the matrix. So a
// descriptor may begin 32 bytes further on in its lines (the next 16 of k), and a block begins at a multiple of 1024 bytes.
//
// A descriptor:  bits 0-13 address / 16, 16-29 leading / 16, 32-45 stride / 16, 49-51 base offset (0), 62-63 swizzle (1: of
// 128 bytes).
#pragma once
#include <string>

namespace pd {
namespace cuda {

inline const char* const kWarpgroupText = R"cuda(
// Of a matrix whose first element lies at `start`. With k inward `leading` has no meaning; the ISA asks for 16.
PD_DEVICE u64 matrix_descriptor(const void* start, u32 leading, u32 stride) {
  return (u64)(shared_address(start) >> 4 & 0x3fff) | (u64)(leading >> 4 & 0x3fff) << 16 |
         (u64)(stride >> 4 & 0x3fff) << 32 | 1ull << 62;
}
// The same matrix, `bytes` further on.
PD_DEVICE u64 moved(u64 descriptor, int bytes) { return descriptor + (bytes >> 4); }

#ifdef PD_HOST

namespace pd_twin {
class SharedMatrix {
 public:
  SharedMatrix(u64 descriptor, bool inward_i)
      : start_((u32)(descriptor & 0x3fff) << 4), leading_((u32)(descriptor >> 16 & 0x3fff) << 4),
        stride_((u32)(descriptor >> 32 & 0x3fff) << 4), inward_i_(inward_i) {
    if (descriptor & ~(0x3fffull | 0x3fffull << 16 | 0x3fffull << 32 | 1ull << 62)) __trap();  // another swizzle, an offset
    if (descriptor >> 62 != 1 || start_ >> 7 & 7) __trap();                                  // a block that begins askew
  }
  u16 at(int i, int k) const {
    u32 address = start_ + (inward_i_ ? i / 64 * leading_ + k / 8 * stride_ + k % 8 * 128 + i % 64 * 2
                                      : i / 8 * stride_ + i % 8 * 128 + k * 2);
    address ^= address >> 3 & 0x70;
    if (address < kWindowBegin) __trap();
    const Written& w = written_at(address);
    if (w.copied && (w.under_way || fences[w.owner] <= w.fences)) __trap();  // fence_proxy_async() is missing
    return *(const u16*)(pd_module.block->dynamic_shared + (address - kWindowBegin));
  }

 private:
  u32 start_, leading_, stride_;
  bool inward_i_;
};

// All threads of a warpgroup issue the same products in the same order.
struct Issued { u64 a, b; int number, threads; };
static Issued issued[8][256];
}

PD_DEVICE void fence_proxy_async() { ++pd_twin::fences[pd_twin::thread()]; }

// Half of the threads make their part of a product at once, the others when they wait for it, as late as they may: so
// sums that are read too early, and shared memory that is written too early, are both found out.
class WarpgroupProducts {
 public:
  void fence() { fenced_ = true, __syncwarp(); }
  template <bool BRAIN, bool A_MN, bool B_MN, int EIGHTS> void multiply(f32 (&d)[EIGHTS][4], u64 a, u64 b) {
    if (!fenced_) __trap();
    const int id = pd_twin::thread();
    pd_twin::Issued& same = pd_twin::issued[id / 128][number_ % 256];
    if (!same.threads) same = {a, b, number_, 0};
    if (same.a != a || same.b != b || same.number != number_) __trap();
    same.threads = (same.threads + 1) % 128;
    ++number_;
    __syncwarp();
    const Product p = {run<BRAIN, A_MN, B_MN, EIGHTS>, d, a, b, group_};
    if (id + id / 32 & 1) return p.run(p);
    if (count_ == 64) __trap();
    waiting_[count_++] = p;
  }
  void commit() { ++group_, fenced_ = false, __syncwarp(); }
  template <int N> void wait() {
    int kept = 0;
    for (int i = 0; i < count_; ++i)
      if (waiting_[i].group < group_ - N) waiting_[i].run(waiting_[i]);
      else waiting_[kept++] = waiting_[i];
    count_ = kept;
    __syncwarp();
  }

 private:
  struct Product { void (*run)(const Product&); void* d; u64 a, b; int group; };
  template <bool BRAIN, bool A_MN, bool B_MN, int EIGHTS> static void run(const Product& p) {
    const pd_twin::SharedMatrix left(p.a, A_MN), right(p.b, B_MN);
    const int id = pd_twin::thread() % 128, row = id / 32 * 16 + id % 32 / 4, col = id % 4 * 2;
    f32 (&d)[EIGHTS][4] = *(f32 (*)[EIGHTS][4])p.d;
    auto value = [](u16 v) { return BRAIN ? pd_from_bfloat(v) : pd_from_half(v); };
    f32 x[2][16], y[16];
    for (int k = 0; k < 16; ++k) x[0][k] = value(left.at(row, k)), x[1][k] = value(left.at(row + 8, k));
    for (int j = 0; j < EIGHTS; ++j)
      for (int q = 0; q < 2; ++q) {
        for (int k = 0; k < 16; ++k) y[k] = value(right.at(8 * j + col + q, k));
        for (int h = 0; h < 2; ++h) {
          f64 sum = d[j][2 * h + q];
          for (int k = 0; k < 16; ++k) sum += (f64)x[h][k] * y[k];
          d[j][2 * h + q] = (f32)sum;
        }
      }
  }
  Product waiting_[64];
  int count_ = 0, group_ = 0, number_ = 0;
  bool fenced_ = false;
};

template <int EIGHTS> PD_DEVICE void settle(f32 (&)[EIGHTS][4]) {}

#else

// What this thread has written to shared memory, by copies that have arrived or by stores, is seen by wgmma behind it and a
// barrier.
PD_DEVICE void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

template <int EIGHTS, bool BRAIN, bool A_MN, bool B_MN> PD_DEVICE void wgmma_async(f32 (&d)[EIGHTS][4], u64 a, u64 b);

// Products of a warpgroup, in groups that end with commit(). All 128 threads call the same with the same descriptors.
class WarpgroupProducts {
 public:
  // Before the first product of a group: what was done to the sums' registers before is done.
  __device__ __forceinline__ void fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
  // d += a b for a of 64 by 16 and b of 16 by 8 EIGHTS, in float32. A_MN, B_MN: m, n lies inward and not k. Neither d nor the
  // memory of a and b is touched until wait().
  template <bool BRAIN, bool A_MN, bool B_MN, int EIGHTS>
  __device__ __forceinline__ void multiply(f32 (&d)[EIGHTS][4], u64 a, u64 b) {
    wgmma_async<EIGHTS, BRAIN, A_MN, B_MN>(d, a, b);
  }
  __device__ __forceinline__ void commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
  // Comes back when no more than the last N groups are under way.
  template <int N> __device__ __forceinline__ void wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(N) : "memory");
  }
};

// Behind the wait: keeps the compiler from reading the registers before it.
template <int EIGHTS> PD_DEVICE void settle(f32 (&d)[EIGHTS][4]) {
#pragma unroll
  for (int j = 0; j < EIGHTS; ++j)
#pragma unroll
    for (int q = 0; q < 4; ++q) asm volatile("" : "+f"(d[j][q]) :: "memory");
}

)cuda";

// wgmma.mma_async for 8 `eights` columns: an instruction names each register of its sums.
inline std::string wgmma_text(int eights) {
  std::string registers, operands;
  for (int i = 0; i < 4 * eights; ++i) {
    registers += (i ? ", %" : "%") + std::to_string(i);
    operands += (i ? ", \"+f\"(d[" : "\"+f\"(d[") + std::to_string(i / 4) + "][" + std::to_string(i % 4) + "])";
  }
  auto number = [&](int k) { return "%" + std::to_string(4 * eights + k); };
  auto instruction = [&](const std::string& type) {
    return "    asm volatile(\"wgmma.mma_async.sync.aligned.m64n" + std::to_string(8 * eights) + "k16.f32." + type + "." + type +
           " {" + registers + "}, " + number(0) + ", " + number(1) + ", 1, 1, 1, " + number(2) + ", " + number(3) +
           ";\"\n        : " + operands + "\n        : \"l\"(a), \"l\"(b), \"n\"((int)A_MN), \"n\"((int)B_MN) : \"memory\");\n";
  };
  return "  if constexpr (EIGHTS == " + std::to_string(eights) + " && BRAIN)\n" + instruction("bf16") +
         "  if constexpr (EIGHTS == " + std::to_string(eights) + " && !BRAIN)\n" + instruction("f16");
}

// All of it; products have 64, 128 or 256 columns.
inline const std::string& warpgroup_text() {
  static const std::string all =
      std::string(kWarpgroupText) +
      "template <int EIGHTS, bool BRAIN, bool A_MN, bool B_MN> PD_DEVICE void wgmma_async(f32 (&d)[EIGHTS][4], u64 a, u64 b) {\n"
      "  static_assert(EIGHTS == 8 || EIGHTS == 16 || EIGHTS == 32, \"64, 128 or 256 columns\");\n" +
      wgmma_text(8) + wgmma_text(16) + wgmma_text(32) + "}\n\n#endif\n";
  return all;
}

}  // namespace cuda
}  // namespace pd
