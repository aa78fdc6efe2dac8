// Buffer structs come from a freelist, because a step makes and drops thousands.
#include "device/buffer.h"

#include <mutex>
#include <new>

#include "device/device.h"
#include "device/spin_lock.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace pd {

namespace {

union Cell {
  Cell* next;
  alignas(64) unsigned char room[sizeof(Buffer)];
};

[[maybe_unused]] constexpr int kCellsPerChunk = 256;

SpinLock g_lock;
[[maybe_unused]] Cell* g_free = nullptr;

#if defined(__unix__) || defined(__APPLE__)
// A fork while another thread is inside must not leave the child with a lock that nobody opens.
const int g_at_fork =
    pthread_atfork([] { g_lock.lock(); }, [] { g_lock.unlock(); }, [] { g_lock.unlock(); });
#endif

Buffer* take_cell() {
#if defined(__SANITIZE_ADDRESS__)
  return reinterpret_cast<Buffer*>(new Cell);
#else
  {
    std::lock_guard<SpinLock> hold(g_lock);
    if (Cell* c = g_free) {
      g_free = c->next;
      return reinterpret_cast<Buffer*>(c);
    }
  }
  // Chunks live until the process ends: a chunk is 16 KiB and its cells are reused.
  Cell* chunk = new Cell[kCellsPerChunk];
  for (int i = 1; i < kCellsPerChunk; ++i) chunk[i].next = i + 1 < kCellsPerChunk ? &chunk[i + 1] : nullptr;
  std::lock_guard<SpinLock> hold(g_lock);
  chunk[kCellsPerChunk - 1].next = g_free;
  g_free = &chunk[1];
  return reinterpret_cast<Buffer*>(&chunk[0]);
#endif
}

void give_cell(Buffer* b) {
  Cell* c = reinterpret_cast<Cell*>(b);
#if defined(__SANITIZE_ADDRESS__)
  delete c;
#else
  std::lock_guard<SpinLock> hold(g_lock);
  c->next = g_free;
  g_free = c;
#endif
}

}  // namespace

Buffer* new_buffer(DeviceId id, size_t bytes) {
  void* data = device(id).allocate(bytes);
  return new (take_cell()) Buffer{data, bytes, id, false, {1}, nullptr, nullptr};
}

Buffer* wrap_external(void* data, size_t bytes, DeviceId id, void* owner, void (*release)(void*)) {
  return new (take_cell()) Buffer{data, bytes, id, true, {1}, release, owner};
}

void detail::destroy(Buffer* b) noexcept {
  if (b->external) {
    if (b->release) b->release(b->owner);
  } else {
    device(b->device).free(b->data, b->bytes);
  }
  give_cell(b);
}

}  // namespace pd
