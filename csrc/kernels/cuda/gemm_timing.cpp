#include "kernels/cuda/gemm_timing.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "base/error.h"
#include "device/cuda/cuda.h"

namespace pd {

namespace {

constexpr int kRounds = 9;

class Memory {
 public:
  Memory(Device& d, int64_t elements) : d_(d), bytes_(static_cast<size_t>(elements) * 2), at_(d.allocate(bytes_)) {}
  ~Memory() { d_.free(at_, bytes_); }
  Memory(const Memory&) = delete;
  void* get() const { return at_; }
  size_t bytes() const { return bytes_; }

 private:
  Device& d_;
  size_t bytes_;
  void* at_;
};

class Timer {
 public:
  explicit Timer(Device& d) : d_(d), begin_(d.new_event()), end_(d.new_event()) {}
  ~Timer() { d_.free_event(begin_), d_.free_event(end_); }
  Timer(const Timer&) = delete;
  double milliseconds(const std::function<void()>& f, int times) {
    d_.record(begin_);
    for (int i = 0; i < times; ++i) f();
    d_.record(end_);
    d_.synchronize(end_);
    return d_.milliseconds(begin_, end_) / times;
  }

 private:
  Device& d_;
  Event begin_, end_;
};

// Numbers from [-1, 1) that both types have: multiples of 1 / 128, whose bits are as mixed as those of data.
void fill(Device& d, const Memory& to, DType type, uint32_t seed) {
  std::vector<uint16_t> values(to.bytes() / 2);
  for (uint16_t& v : values) {
    seed = seed * 1664525u + 1013904223u;
    const float x = (static_cast<int>(seed >> 24) - 128) / 128.0f;
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const uint32_t exponent = bits >> 23 & 255;
    v = type == DType::BF16 ? static_cast<uint16_t>(bits >> 16)
        : exponent == 0     ? 0
                            : static_cast<uint16_t>((bits >> 16 & 0x8000) | (exponent - 112) << 10 | (bits >> 13 & 1023));
  }
  d.copy(to.get(), values.data(), to.bytes(), CopyKind::HostToDevice);
  d.synchronize();
}

float value_of(uint16_t v, DType type) {
  uint32_t bits = static_cast<uint32_t>(v) << 16;
  if (type == DType::F16) {
    if (!(v & 0x7c00)) return (v & 0x8000 ? -1.0f : 1.0f) * static_cast<float>(v & 1023) * 0x1p-24f;
    bits = (v & 0x8000u) << 16 | ((v >> 10 & 31) + 112u) << 23 | (v & 1023u) << 13;
  }
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

std::vector<uint16_t> read(Device& d, const Memory& from) {
  std::vector<uint16_t> values(from.bytes() / 2);
  d.copy(values.data(), from.get(), from.bytes(), CopyKind::DeviceToHost);
  d.synchronize();
  return values;
}

}  // namespace

std::vector<std::pair<std::string, double>> cuda_gemm_times(DeviceId id, DType type, bool trans_a, bool trans_b, int64_t m,
                                                            int64_t n, int64_t k, double seconds) {
  if ((type != DType::BF16 && type != DType::F16) || std::min({m, n, k}) < 1)
    fail("cuda_gemm_times", "products of 16-bit matrices that are not empty are timed",
         std::string(name_of(type)) + " " + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k), "bfloat16");
  Device& d = device(id);
  const Memory a(d, m * k), b(d, k * n), c(d, m * n);
  fill(d, a, type, 1), fill(d, b, type, 2);
  TiledGemm g;
  g.type = g.out = type;
  g.trans_a = trans_a, g.trans_b = trans_b;
  g.m = m, g.n = n, g.k = k;
  g.a = a.get(), g.b = b.get(), g.c = c.get();
  g.lda = trans_a ? m : k, g.ldb = trans_b ? k : n, g.ldc = n;

  struct Contender {
    std::string name;
    std::function<void()> run;
    int times = 1;
    std::vector<double> milliseconds = {};
  };
  auto own = [&](const std::string& tile) {
    return [&d, &g, tile] {
      cuda_gemm_use_tile(tile);
      const bool done = cuda_tiled_gemm(d, g, {});
      cuda_gemm_use_tile("");
      if (!done) fail("cuda_gemm_times", "the tiled product does not serve this device", "", "", ErrorKind::Runtime);
    };
  };
  std::vector<Contender> all;
  all.push_back({"cublas", [&] {
                   cuda_gemm(id, type, trans_a, trans_b, m, n, k, g.a, g.lda, g.b, g.ldb, g.c, g.ldc, false, 1, 0, 0, 0, {});
                 }});
  all.push_back({"table", own("")});
  for (const std::string& tile : cuda_gemm_tiles(id)) all.push_back({tile, own(tile)});

  Timer timer(d);
  std::vector<uint16_t> expected;
  for (Contender& one : all) {
    d.zero(c.get(), c.bytes());
    one.run();  // compiles
    const std::vector<uint16_t> got = read(d, c);
    if (expected.empty()) expected = got;
    // |a| and |b| are at most 1. Two roundings to 16 bits, of sums that are as far apart as two orders can be.
    const float ulp = type == DType::BF16 ? 0x1p-7f : 0x1p-10f, apart = static_cast<float>(k) * static_cast<float>(k) * 0x1p-22f;
    for (size_t i = 0; i < got.size(); ++i) {
      const float want = value_of(expected[i], type), x = value_of(got[i], type);
      if (!(std::fabs(x - want) <= apart + ulp * std::fabs(want) + 0x1p-24f))
        fail("cuda_gemm_times", one.name + " is wrong at element " + std::to_string(i),
             std::to_string(x) + ", where cuBLAS has " + std::to_string(want), "", ErrorKind::Runtime);
    }
    const double once = std::max(timer.milliseconds(one.run, 1), 1e-4);
    one.times = static_cast<int>(std::clamp(1e3 * seconds / (kRounds * static_cast<double>(all.size()) * once), 1.0, 1000.0));
  }
  for (int round = 0; round < kRounds; ++round)
    for (Contender& one : all) one.milliseconds.push_back(timer.milliseconds(one.run, one.times));
  std::vector<std::pair<std::string, double>> out;
  for (Contender& one : all) {
    std::sort(one.milliseconds.begin(), one.milliseconds.end());
    out.emplace_back(one.name, one.milliseconds[kRounds / 2]);
  }
  return out;
}

}  // namespace pd
