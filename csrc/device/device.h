// What every device offers upward: memory, copies, streams, events, launches. No type of any back end appears here.
#pragma once
#include <cstddef>
#include <cstdint>

#include "base/device_id.h"

namespace pd {

// Order of work on one device. A null handle is the calling thread's current stream of the device: work on these is one
// after the other, whatever streams they are. A stream named by its handle has an order of its own.
struct Stream {
  void* handle = nullptr;
};

// A point in the order of a stream.
struct Event {
  void* handle = nullptr;
};

enum class CopyKind : uint8_t { HostToDevice, DeviceToHost, DeviceToDevice };

// Bytes are those of the blocks handed out, so a little more than was asked for:
//   reserved = live + cached, peak = max over time of live
struct MemoryStats {
  size_t live = 0;
  size_t peak = 0;
  size_t cached = 0;
  int64_t allocations = 0;  // made since the start
  int64_t live_blocks = 0;
};

// `entry` is what the device's own compiler made: on CUDA a function handle, on the CPU a `CpuEntry`, called once a block.
struct DeviceKernel {
  void* entry = nullptr;
  const char* name = "";
};

struct LaunchSize {
  uint32_t grid[3] = {1, 1, 1};
  uint32_t block[3] = {1, 1, 1};
  size_t shared_bytes = 0;
};

// `block` is the linear index x + grid.x * (y + grid.y * z).
using CpuEntry = void (*)(void* const* args, int64_t block, int thread);

// Work given to a stream is done in order, perhaps after the call returns; whoever needs it done synchronises.
// Every function may be called from any thread.
struct Device {
  virtual ~Device() = default;

  virtual DeviceId id() const = 0;
  virtual const char* name() const = 0;
  // Blocks of a launch that make progress at once: threads of the CPU pool, multiprocessors of a GPU.
  virtual int parallelism() const = 0;

  // 64-byte aligned, never null; `bytes` of `free` is what `allocate` was asked for. Stream-ordered: a freed block may be
  // handed out again at once on the same stream.
  virtual void* allocate(size_t bytes, Stream s = {}) = 0;
  virtual void free(void* ptr, size_t bytes, Stream s = {}) noexcept = 0;
  // Host memory that this device copies to and from without a detour.
  virtual void* allocate_host(size_t bytes) = 0;
  virtual void free_host(void* ptr, size_t bytes) noexcept = 0;
  virtual MemoryStats memory_stats() const = 0;
  virtual void reset_peak() = 0;
  // Gives cached blocks back to the system.
  virtual void empty_cache() = 0;

  virtual void copy(void* dst, const void* src, size_t bytes, CopyKind kind, Stream s = {}) = 0;
  // dst[i] = *item for i in [0, count); item_bytes is 1, 2, 4, 8 or 16.
  virtual void fill(void* dst, const void* item, size_t item_bytes, int64_t count, Stream s = {}) = 0;
  virtual void zero(void* dst, size_t bytes, Stream s = {}) = 0;

  virtual Stream new_stream() = 0;
  virtual void free_stream(Stream s) noexcept = 0;
  virtual Event new_event() = 0;
  virtual void free_event(Event e) noexcept = 0;
  virtual void record(Event e, Stream s = {}) = 0;
  // Later work of `s` starts after `e`.
  virtual void wait(Stream s, Event e) = 0;
  virtual bool done(Event e) = 0;
  virtual double milliseconds(Event begin, Event end) = 0;
  virtual void synchronize(Event e) = 0;
  virtual void synchronize(Stream s) = 0;
  virtual void synchronize() = 0;

  virtual void launch(const DeviceKernel& k, const LaunchSize& size, void* const* args, Stream s = {}) = 0;
};

// The device, opened when first asked for; an Error where there is none.
Device& device(DeviceId id);
int device_count(DeviceKind kind);

// How a back end enters: `count()` devices, of which `open(i)` gives one that lives until the process ends, or an Error that
// says why there is none. A device that was opened once is given without an Error ever after.
struct DeviceDriver {
  int (*count)() = nullptr;
  Device& (*open)(int index) = nullptr;
};
void register_driver(DeviceKind kind, DeviceDriver driver);

// Who keeps memory of devices for later use gives it back when it is called: the device has run out of memory, or its
// cache is to be emptied. On any thread; it must not allocate, and wait for nobody who may be allocating.
using MemoryKeeper = void (*)(DeviceId);
void register_keeper(MemoryKeeper give_back);
void ask_keepers(DeviceId id);

}  // namespace pd
