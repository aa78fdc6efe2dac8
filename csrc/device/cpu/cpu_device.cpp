// The CPU as a device: one stream, on which work is done before the call returns.
#include "device/cpu/cpu_device.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>

#include "base/error.h"
#include "device/cpu/allocator.h"
#include "device/cpu/pool.h"

namespace pd {

namespace {

// Pieces of a large copy: above this size one thread does not reach the memory's bandwidth.
constexpr size_t kPiece = size_t(1) << 20;

template <class F>
void in_pieces(size_t bytes, F f) {
  int64_t pieces = static_cast<int64_t>((bytes + kPiece - 1) / kPiece);
  parallel_for(pieces, [&](int64_t i, int) {
    size_t at = static_cast<size_t>(i) * kPiece;
    f(at, std::min(kPiece, bytes - at));
  });
}

struct CpuEvent {
  std::chrono::steady_clock::time_point at;
};
CpuEvent* event(Event e) { return static_cast<CpuEvent*>(e.handle); }

class CpuDevice final : public Device {
 public:
  constexpr CpuDevice() = default;

  DeviceId id() const override { return {}; }
  const char* name() const override { return "cpu"; }
  int parallelism() const override { return num_threads(); }

  void* allocate(size_t bytes, Stream) override { return cpu_allocate(bytes); }
  void free(void* ptr, size_t bytes, Stream) noexcept override { cpu_free(ptr, bytes); }
  void* allocate_host(size_t bytes) override { return cpu_allocate(bytes); }
  void free_host(void* ptr, size_t bytes) noexcept override { cpu_free(ptr, bytes); }
  MemoryStats memory_stats() const override { return cpu_memory_stats(); }
  void reset_peak() override { cpu_reset_peak(); }
  void empty_cache() override { cpu_empty_cache(); }

  void copy(void* dst, const void* src, size_t bytes, CopyKind, Stream) override {
    in_pieces(bytes, [&](size_t at, size_t n) {
      std::memcpy(static_cast<char*>(dst) + at, static_cast<const char*>(src) + at, n);
    });
  }

  void fill(void* dst, const void* item, size_t item_bytes, int64_t count, Stream) override {
    if (item_bytes != 1 && item_bytes != 2 && item_bytes != 4 && item_bytes != 8 && item_bytes != 16)
      fail("fill", "no such item size", std::to_string(item_bytes) + " bytes", "1, 2, 4, 8 or 16");
    // A run of items that is copied over and over; its length divides kPiece, so every piece starts at an item.
    constexpr size_t kRun = 1024;
    alignas(64) char run[kRun];
    for (size_t i = 0; i < kRun; i += item_bytes) std::memcpy(run + i, item, item_bytes);
    in_pieces(static_cast<size_t>(count) * item_bytes, [&](size_t at, size_t n) {
      char* to = static_cast<char*>(dst) + at;
      for (size_t i = 0; i < n; i += kRun) std::memcpy(to + i, run, std::min(kRun, n - i));
    });
  }

  void zero(void* dst, size_t bytes, Stream) override {
    in_pieces(bytes, [&](size_t at, size_t n) { std::memset(static_cast<char*>(dst) + at, 0, n); });
  }

  Stream new_stream() override { return {}; }
  void free_stream(Stream) noexcept override {}
  Event new_event() override { return {new CpuEvent}; }
  void free_event(Event e) noexcept override { delete event(e); }
  void record(Event e, Stream) override { event(e)->at = std::chrono::steady_clock::now(); }
  void wait(Stream, Event) override {}
  bool done(Event) override { return true; }
  double milliseconds(Event begin, Event end) override {
    return std::chrono::duration<double, std::milli>(event(end)->at - event(begin)->at).count();
  }
  void synchronize(Event) override {}
  void synchronize(Stream) override {}
  void synchronize() override {}

  void launch(const DeviceKernel& k, const LaunchSize& size, void* const* args, Stream) override {
    CpuEntry entry = reinterpret_cast<CpuEntry>(k.entry);
    int64_t blocks = int64_t(1) * size.grid[0] * size.grid[1] * size.grid[2];
    parallel_for(blocks, [&](int64_t block, int thread) { entry(args, block, thread); });
  }
};

// Made before any code runs and never destroyed: buffers may be dropped after static destructors have run.
union Forever {
  CpuDevice device;
  constexpr Forever() : device() {}
  ~Forever() {}
};
Forever g_cpu;

}  // namespace

Device& cpu_device() { return g_cpu.device; }

}  // namespace pd
