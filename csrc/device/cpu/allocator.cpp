// Size classes with freelists, behind one spin lock:
//
//   class sizes   64 128 192 256 | 320 384 448 512 | 640 768 896 1024 | …   four steps to each doubling
//   <= 1 KiB      cells of a 64 KiB slab, which is aligned to its size, so that a cell finds its slab
//   <  2 MiB      from malloc
//   >= 2 MiB      from mmap, aligned for huge pages
//
// A free block holds the link of its freelist. The system is called outside the lock.
#include "device/cpu/allocator.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <string>
#include <type_traits>

#include "base/error.h"
#include "device/spin_lock.h"
#include "device/watch.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace pd {

namespace {

constexpr size_t kAlign = 64;
constexpr size_t kSmall = 1024;
constexpr size_t kLarge = size_t(2) << 20;
constexpr size_t kSlab = size_t(64) << 10;
constexpr size_t kKeep = size_t(256) << 20;
// No machine has a block this large; below it the arithmetic cannot overflow.
constexpr int kTopBit = 47;
constexpr int kClasses = 4 + 4 * (kTopBit - 8);
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kCaching = false;  // so that the sanitizer sees every block come and go
#else
constexpr bool kCaching = true;
#endif

// For bytes in (2^b, 2^(b+1)] with b >= 8 a step is 2^(b-2).
int class_of(size_t bytes) {
  if (bytes <= 256) return bytes <= 64 ? 0 : static_cast<int>((bytes - 1) / 64);
  int b = 63 - __builtin_clzll(static_cast<unsigned long long>(bytes - 1));
  int step = static_cast<int>((bytes - 1) >> (b - 2)) & 3;
  return 4 + 4 * (b - 8) + step;
}

size_t class_bytes(int c) {
  if (c < 4) return 64 * static_cast<size_t>(c + 1);
  int b = 8 + (c - 4) / 4, step = (c - 4) % 4;
  return (size_t(1) << b) + (static_cast<size_t>(step + 1) << (b - 2));
}

struct Free {
  Free* next;
};

// Linked into its class while it has a cell to give.
struct alignas(kAlign) Slab {
  Slab* next;
  Slab* prev;
  Free* free;
  uint32_t cell;     // bytes
  uint32_t used;     // cells handed out
  uint32_t virgin;   // offset of the first cell that was never handed out
};

bool can_give(const Slab* s) { return s->free || s->virgin + s->cell <= kSlab; }

void* system_take(size_t bytes, size_t align) {
#if defined(__linux__)
  if (kCaching && bytes >= kLarge) {
    // Alignment by mapping more and cutting the ends off.
    size_t span = bytes + kLarge;
    void* p = mmap(nullptr, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    uintptr_t begin = reinterpret_cast<uintptr_t>(p), at = (begin + kLarge - 1) & ~(kLarge - 1);
    if (at > begin) munmap(p, at - begin);
    munmap(reinterpret_cast<void*>(at + bytes), begin + span - (at + bytes));
    madvise(reinterpret_cast<void*>(at), bytes, MADV_HUGEPAGE);
    return reinterpret_cast<void*>(at);
  }
#endif
  return std::aligned_alloc(align, bytes);
}

void system_give(void* p, size_t bytes) {
#if defined(__linux__)
  if (kCaching && bytes >= kLarge) {
    munmap(p, bytes);
    return;
  }
#endif
  (void)bytes;
  std::free(p);
}

class Allocator {
 public:
  void* allocate(size_t bytes) {
    if (bytes > size_t(1) << kTopBit) out_of_memory(bytes);
    int c = class_of(bytes);
    size_t size = class_bytes(c);
    {
      std::lock_guard<SpinLock> hold(lock_);
      if (void* p = size <= kSmall ? take_cell(c) : take_cached(c)) {
        count(size);
        return p;
      }
    }
    if (kCaching && size <= kSmall) return from_new_slab(c, bytes);
    void* p = system_take_or_fail(size, kAlign, bytes);
    std::lock_guard<SpinLock> hold(lock_);
    reserved_ += size;
    count(size);
    return p;
  }

  void free(void* p, size_t bytes) noexcept {
    int c = class_of(bytes);
    size_t size = class_bytes(c);
    if (!kCaching) {
      system_give(p, size);
      std::lock_guard<SpinLock> hold(lock_);
      reserved_ -= size;
      uncount(size);
      return;
    }
    Release out;
    {
      std::lock_guard<SpinLock> hold(lock_);
      uncount(size);
      if (size <= kSmall) {
        give_cell(p, c);
      } else {
        Free* f = static_cast<Free*>(p);
        f->next = cached_[c];
        cached_[c] = f;
      }
      size_t keep = std::max(kKeep, peak_ / 2);
      if (reserved_ - live_ > std::max(keep, stuck_)) {
        trim(keep, out);
        // Cells of slabs that are in use cannot be given back; do not search them again until there is a quarter more.
        size_t left = reserved_ - live_;
        stuck_ = left > keep ? left + left / 4 : 0;
      }
    }
    give_back(out);
  }

  void empty() {
    Release out;
    {
      std::lock_guard<SpinLock> hold(lock_);
      trim(0, out);
    }
    give_back(out);
  }

  MemoryStats stats() {
    std::lock_guard<SpinLock> hold(lock_);
    MemoryStats s;
    s.live = live_;
    s.peak = peak_;
    s.cached = reserved_ - live_;
    s.allocations = allocations_;
    s.live_blocks = live_blocks_;
    return s;
  }

  void reset_peak() {
    std::lock_guard<SpinLock> hold(lock_);
    peak_ = live_;
  }

  SpinLock& lock() { return lock_; }

 private:
  // What a trim takes out of the freelists, to be given back outside the lock.
  struct Release {
    Free* blocks[kClasses];
    Slab* slabs = nullptr;
    int first = kClasses;  // classes below `first` hold nothing; blocks[] is set from there up
  };

  void count(size_t size) {
    live_ += size;
    if (live_ > peak_) peak_ = live_;
    ++allocations_;
    ++live_blocks_;
  }
  void uncount(size_t size) {
    live_ -= size;
    --live_blocks_;
  }

  void* take_cached(int c) {
    Free* f = cached_[c];
    if (f) cached_[c] = f->next;
    return f;
  }

  void* take_cell(int c) {
    Slab* s = slabs_[c];
    if (!s) return nullptr;
    ++s->used;
    void* p = s->free;
    if (p) {
      s->free = s->free->next;
    } else {
      p = reinterpret_cast<char*>(s) + s->virgin;
      s->virgin += s->cell;
    }
    if (!can_give(s)) unlink(s, c);
    return p;
  }

  void give_cell(void* p, int c) {
    Slab* s = reinterpret_cast<Slab*>(reinterpret_cast<uintptr_t>(p) & ~(kSlab - 1));
    if (!can_give(s)) link(s, c);
    Free* f = static_cast<Free*>(p);
    f->next = s->free;
    s->free = f;
    --s->used;
  }

  void link(Slab* s, int c) {
    s->prev = nullptr;
    s->next = slabs_[c];
    if (s->next) s->next->prev = s;
    slabs_[c] = s;
  }
  void unlink(Slab* s, int c) {
    (s->prev ? s->prev->next : slabs_[c]) = s->next;
    if (s->next) s->next->prev = s->prev;
  }

  void* from_new_slab(int c, size_t asked) {
    Slab* s = static_cast<Slab*>(system_take_or_fail(kSlab, kSlab, asked));
    s->free = nullptr;
    s->cell = static_cast<uint32_t>(class_bytes(c));
    s->used = 0;
    s->virgin = sizeof(Slab);
    std::lock_guard<SpinLock> hold(lock_);
    reserved_ += kSlab;
    link(s, c);
    count(s->cell);
    return take_cell(c);
  }

  // Takes blocks out of the cache until at most `keep` bytes stay in it: the largest first, as these are few.
  void trim(size_t keep, Release& out) {
    size_t cached = reserved_ - live_, before = cached;
    for (int c = kClasses - 1; c >= class_of(kSmall + 1) && cached > keep; --c) {
      size_t size = class_bytes(c);
      out.blocks[c] = nullptr;
      out.first = c;
      while (cached_[c] && cached > keep) {
        Free* f = cached_[c];
        cached_[c] = f->next;
        f->next = out.blocks[c];
        out.blocks[c] = f;
        cached -= size;
      }
    }
    for (int c = class_of(kSmall); c >= 0 && cached > keep; --c) {
      for (Slab *s = slabs_[c], *next; s && cached > keep; s = next) {
        next = s->next;
        if (s->used) continue;
        unlink(s, c);
        s->next = out.slabs;
        out.slabs = s;
        cached -= kSlab;
      }
    }
    reserved_ -= before - cached;
  }

  static void give_back(Release& out) {
    for (int c = out.first; c < kClasses; ++c)
      for (Free *f = out.blocks[c], *next; f; f = next) {
        next = f->next;
        system_give(f, class_bytes(c));
      }
    for (Slab *s = out.slabs, *next; s; s = next) {
      next = s->next;
      system_give(s, kSlab);
    }
  }

  void* system_take_or_fail(size_t size, size_t align, size_t asked) {
    void* p = system_take(size, align);
    if (!p) {
      empty();
      p = system_take(size, align);
    }
    if (!p) out_of_memory(asked);
    return p;
  }

  [[noreturn]] void out_of_memory(size_t asked) {
    MemoryStats s = stats();
    fail("allocate", "out of memory",
         std::to_string(asked) + " bytes with " + std::to_string(s.live) + " bytes in use on cpu",
         "a smaller batch, or dropping references to tensors that are no longer needed", ErrorKind::Memory);
  }

  SpinLock lock_;
  size_t live_ = 0, peak_ = 0, reserved_ = 0, stuck_ = 0;
  int64_t allocations_ = 0, live_blocks_ = 0;
  Free* cached_[kClasses] = {};
  Slab* slabs_[16] = {};
};

static_assert(sizeof(Slab) == kAlign, "the first cell must be aligned");
static_assert(std::is_trivially_destructible<Allocator>::value, "the allocator outlives static destructors");

// Ready before any code runs and never destroyed: buffers may be dropped after static destructors have run, and a fork
// may come at any time (a guard of first use could be left closed in the child).
Allocator g_allocator;

#if defined(__unix__) || defined(__APPLE__)
const int g_at_fork = pthread_atfork([] { g_allocator.lock().lock(); }, [] { g_allocator.lock().unlock(); },
                                     [] { g_allocator.lock().unlock(); });
#endif

}  // namespace

void* cpu_allocate(size_t bytes) {
  void* p = g_allocator.allocate(bytes);
  if (const Watch* w = watch()) w->allocated(DeviceId{}, p, cpu_block_bytes(bytes));
  return p;
}
void cpu_free(void* ptr, size_t bytes) noexcept {
  if (!ptr) return;
  if (const Watch* w = watch()) w->freed(DeviceId{}, ptr, cpu_block_bytes(bytes));
  g_allocator.free(ptr, bytes);
}
void cpu_empty_cache() { g_allocator.empty(); }
MemoryStats cpu_memory_stats() { return g_allocator.stats(); }
void cpu_reset_peak() { g_allocator.reset_peak(); }
size_t cpu_block_bytes(size_t bytes) { return bytes > size_t(1) << kTopBit ? 0 : class_bytes(class_of(bytes)); }

}  // namespace pd
