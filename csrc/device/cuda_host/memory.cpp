// Device memory is host memory between guards:
//
//   guard | the bytes asked for | guard     for each block, checked when it is freed, after kernels, at synchronise
//
// With PYDIFF_CUDA_HOST_GUARD=pages a block ends (up to 64 bytes) where a page begins that nobody may touch, so that a
// read outside is caught too. Freed blocks stay a while, poisoned: who writes to one is caught when it leaves.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>

#include "internal.h"

namespace pd_host {

void poison(void* p, size_t bytes) {
  uint64_t word;
  for (int i = 0; i < 4; i++) memcpy(reinterpret_cast<char*>(&word) + 2 * i, &kPoison, 2);
  char* out = static_cast<char*>(p);
  size_t i = 0;
  for (; i + 8 <= bytes; i += 8) memcpy(out + i, &word, 8);
  memcpy(out + i, &word, bytes - i);
}

namespace {

constexpr size_t kGuard = 256, kAlign = 256, kPageAlign = 64;
constexpr unsigned char kGuardByte = 0xC3;

struct Pool {
  int device = 0;
  uint64_t release_threshold = 0, used = 0, high = 0;
  int flags[4] = {1, 1, 1, 1};
};

// A block of memory as it was asked for, and its guards.
struct Chunk {
  char* base = nullptr;  // of the mapping
  size_t mapped = 0;
  char* begin = nullptr;
  size_t bytes = 0;
  size_t before = 0, after = 0;  // guard bytes around
  bool pages = false, host = false, foreign = false;
  int device = 0;
  Pool* pool = nullptr;
  bool captured = false;  // allocated by a stream while it was captured
  bool freed = false;     // in the order of a stream that is not there yet
};

struct Memory {
  std::map<char*, Chunk> blocks;  // by begin
  std::deque<Chunk> quarantine;
  size_t quarantined = 0;
  size_t used[kMaxDevices] = {};
  Pool pools[kMaxDevices];
  Pool* current_pool[kMaxDevices] = {};
  std::vector<std::unique_ptr<Pool>> more_pools;
};

Memory& memory() {
  static Memory* m = [] {
    auto* fresh = new Memory;  // never destroyed: other libraries free late
    for (int i = 0; i < kMaxDevices; i++) fresh->pools[i].device = i, fresh->current_pool[i] = &fresh->pools[i];
    return fresh;
  }();
  return *m;
}

size_t total_memory() {
  const char* text = getenv("PYDIFF_CUDA_HOST_MEMORY");
  if (text && *text) return size_t(strtoull(text, nullptr, 10));
  return size_t(sysconf(_SC_PHYS_PAGES)) * size_t(sysconf(_SC_PAGESIZE));
}

// Bytes of freed blocks that stay, watched. With none, what is freed is handed out again soon, as by the driver's pools.
size_t quarantine() {
  const char* text = getenv("PYDIFF_CUDA_HOST_QUARANTINE");
  return text && *text ? size_t(strtoull(text, nullptr, 10)) : size_t(16) << 20;
}

size_t accounted(size_t bytes) { return (bytes + 511) / 512 * 512; }

bool guard_pages() {
  const char* text = getenv("PYDIFF_CUDA_HOST_GUARD");
  return text && !strcmp(text, "pages");
}

bool map_block(Chunk& b, size_t bytes) {
  b.bytes = bytes;
  b.pages = guard_pages();
  if (b.pages) {
    const size_t page = size_t(sysconf(_SC_PAGESIZE));
    const size_t room = (bytes + kPageAlign - 1) / kPageAlign * kPageAlign, inner = (room + page - 1) / page * page;
    b.mapped = inner + 2 * page;
    void* p = mmap(nullptr, b.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return false;
    b.base = static_cast<char*>(p);
    if (mprotect(b.base + page, inner, PROT_READ | PROT_WRITE)) {
      munmap(p, b.mapped);
      return false;
    }
    b.begin = b.base + page + inner - room;
    b.before = std::min(inner - room, kGuard);
    b.after = room - bytes;
  } else {
    b.mapped = (kGuard + bytes + kGuard + kAlign - 1) / kAlign * kAlign;
    b.base = static_cast<char*>(aligned_alloc(kAlign, b.mapped));
    if (!b.base) return false;
    b.begin = b.base + kGuard;
    b.before = b.after = kGuard;
  }
  memset(b.begin - b.before, kGuardByte, b.before);
  memset(b.begin + bytes, kGuardByte, b.after);
  poison(b.begin, bytes);
  return true;
}

void unmap_block(const Chunk& b) {
  if (b.pages) munmap(b.base, b.mapped);
  else free(b.base);
}

std::string hex(const void* p) {
  char text[32];
  snprintf(text, sizeof text, "%p", p);
  return text;
}

void check_block(const Chunk& b, const std::string& after) {
  if (b.foreign) return;
  auto damaged = [&](const char* zone, size_t bytes) -> const char* {
    for (size_t i = 0; i < bytes; i++)
      if (static_cast<unsigned char>(zone[i]) != kGuardByte) return zone + i;
    return nullptr;
  };
  const char* low = damaged(b.begin - b.before, b.before);
  const char* high = damaged(b.begin + b.bytes, b.after);
  if (!low && !high) return;
  std::string where = high ? std::to_string(high - (b.begin + b.bytes)) + " bytes behind"
                           : std::to_string(b.begin - low) + " bytes before";
  stop("a write outside of device memory, " + where + " the block of " + std::to_string(b.bytes) + " bytes at " +
       hex(b.begin) + "; seen after " + after);
}

void drop_oldest() {
  Chunk b = memory().quarantine.front();
  memory().quarantine.pop_front();
  memory().quarantined -= b.mapped;
  for (size_t i = 0; i < b.bytes; i++)
    if (static_cast<unsigned char>(b.begin[i]) != reinterpret_cast<const unsigned char*>(&kPoison)[i % 2])
      stop("a write to freed device memory, byte " + std::to_string(i) + " of the block of " + std::to_string(b.bytes) +
           " bytes at " + hex(b.begin));
  unmap_block(b);
}

Chunk* find(const void* p) {
  auto& blocks = memory().blocks;
  char* at = static_cast<char*>(const_cast<void*>(p));
  auto it = blocks.upper_bound(at);
  if (it == blocks.begin()) return nullptr;
  --it;
  return at <= it->second.begin + it->second.bytes ? &it->second : nullptr;
}

CUresult allocate(CUdeviceptr* out, size_t bytes, Pool* pool, Chunk** made = nullptr) {
  if (!out || !bytes) return kInvalidValue;
  Memory& m = memory();
  const int device = pool ? pool->device : current_device();
  if (m.used[device] + accounted(bytes) > total_memory() || bytes > total_memory()) return kOutOfMemory;
  Chunk b;
  if (!map_block(b, bytes)) return kOutOfMemory;
  b.device = device;
  b.pool = pool;
  m.used[device] += accounted(bytes);
  if (pool) pool->used += accounted(bytes), pool->high = std::max(pool->high, pool->used);
  Chunk& stored = m.blocks[b.begin] = b;
  if (made) *made = &stored;
  *out = CUdeviceptr(reinterpret_cast<uintptr_t>(b.begin));
  return kSuccess;
}

void release(Chunk* block, const char* by) {
  Memory& m = memory();
  Chunk b = *block;
  check_block(b, by);
  m.blocks.erase(b.begin);
  m.used[b.device] -= accounted(b.bytes);
  if (b.pool) b.pool->used -= accounted(b.bytes);
  if (b.mapped > quarantine() / 4) {
    unmap_block(b);
    return;
  }
  poison(b.begin, b.bytes);
  m.quarantine.push_back(b);
  m.quarantined += b.mapped;
  while (m.quarantined > quarantine()) drop_oldest();
}

void* host(CUdeviceptr p) { return reinterpret_cast<void*>(uintptr_t(p)); }

// The block that begins at `p`, which a call wants to free.
Chunk* owned(CUdeviceptr p) {
  auto it = memory().blocks.find(static_cast<char*>(host(p)));
  return it == memory().blocks.end() || it->second.host || it->second.foreign ? nullptr : &it->second;
}

CUresult outside(const char* call, const void* p, size_t bytes) {
  report(std::string(call) + ": " + std::to_string(bytes) + " bytes at " + hex(p) + " are not all device memory" +
         describe_address(p));
  return kInvalidValue;
}

// kinds: 'D' must be device memory, 'H' may be anything.
CUresult copy(const char* call, void* to, char to_kind, const void* from, char from_kind, size_t bytes, void* stream) {
  if (!bytes) return kSuccess;
  if (!to || !from) return kInvalidValue;
  if (to_kind == 'D' && !in_device_memory(to, bytes)) return outside(call, to, bytes);
  if (from_kind == 'D' && !in_device_memory(from, bytes)) return outside(call, from, bytes);
  auto work = [=]() -> CUresult {
    // Of a graph: what was there when it was captured may have been freed.
    if (to_kind == 'D' && !in_device_memory(to, bytes)) return outside(call, to, bytes);
    if (from_kind == 'D' && !in_device_memory(from, bytes)) return outside(call, from, bytes);
    if (from_kind == 'D') check_guards(from, std::string("work before ") + call);
    memmove(to, from, bytes);
    return kSuccess;
  };
  // Host memory that is not page-locked is copied before the call returns.
  StreamState* s = stream_of(stream);
  const bool pageable = find_place(to_kind == 'D' ? from : to).kind == Place::Nowhere;
  CUresult given = submit(stream, work);
  if (!given && pageable && !s->capture) finish_stream(*s);
  return given;
}

template <class T> CUresult set(const char* call, CUdeviceptr to, T value, size_t count, void* stream) {
  if (!count) return kSuccess;
  if (to % sizeof(T)) return kInvalidValue;
  if (!in_device_memory(host(to), count * sizeof(T))) return outside(call, host(to), count * sizeof(T));
  return submit(stream, [=]() -> CUresult {
    if (!in_device_memory(host(to), count * sizeof(T))) return outside(call, host(to), count * sizeof(T));
    T* out = static_cast<T*>(host(to));
    std::fill(out, out + count, value);
    return kSuccess;
  });
}

}  // namespace

Place find_place(const void* p) {
  Chunk* b = find(p);
  if (!b) return {};
  return {b->host ? Place::Host : Place::Device, b->begin, b->bytes, b->device};
}

bool in_device_memory(const void* p, size_t bytes) {
  Place place = find_place(p);
  return place.kind != Place::Nowhere && static_cast<const char*>(p) + bytes <= place.begin + place.bytes;
}

void check_guards(const void* p, const std::string& after) {
  if (Chunk* b = find(p)) check_block(*b, after);
}

void check_all_guards(const std::string& after) {
  for (auto& entry : memory().blocks) check_block(entry.second, after);
}

void add_foreign(void* p, size_t bytes, int device) {
  Chunk b;
  b.begin = static_cast<char*>(p);
  b.bytes = bytes;
  b.device = device;
  b.foreign = true;
  memory().blocks[b.begin] = b;
}

void remove_foreign(void* p) { memory().blocks.erase(static_cast<char*>(p)); }

void release_block(void* p) {
  auto it = memory().blocks.find(static_cast<char*>(p));
  if (it != memory().blocks.end()) release(&it->second, "work of a graph");
}

std::string describe_address(const void* p) {
  const char* at = static_cast<const char*>(p);
  const Chunk* near = nullptr;
  ptrdiff_t distance = 0;
  const char* how = "behind";
  bool freed = false;
  auto look = [&](const Chunk& b, bool is_freed) {
    ptrdiff_t d = at < b.begin ? b.begin - at : at >= b.begin + b.bytes ? at - (b.begin + b.bytes) : 0;
    if (d > 65536 || (near && d >= distance)) return;
    near = &b;
    distance = d;
    how = at < b.begin ? " bytes before" : d || at == b.begin + b.bytes ? " bytes behind" : "inside";
    freed = is_freed;
  };
  for (auto& entry : memory().blocks) look(entry.second, false);
  for (auto& b : memory().quarantine) look(b, true);
  if (!near) return ", far from any block";
  std::string text = how[0] == 'i' ? ", inside" : ", " + std::to_string(distance) + how;
  return text +
         (freed        ? " the freed block of "
          : near->host ? " the host block of "
                       : " the block of ") +
         std::to_string(near->bytes) + " bytes";
}

}  // namespace pd_host

using namespace pd_host;

// ---- allocation

PD_EXPORT CUresult cuMemAlloc_v2(CUdeviceptr* out, size_t bytes) {
  PD_ENTER();
  if (CUresult e = forbid_capture()) return e;
  return allocate(out, bytes, nullptr);
}

PD_EXPORT CUresult cuMemFree_v2(CUdeviceptr p) {
  PD_ENTER();
  if (CUresult e = forbid_capture()) return e;
  if (!p) return kSuccess;
  auto* b = owned(p);
  if (!b) return kInvalidValue;
  release(b, "work before cuMemFree");
  return kSuccess;
}

static CUresult allocate_async(CUdeviceptr* out, size_t bytes, Pool* pool, void* stream) {
  StreamState* s = stream_of(stream);
  if (!s) return kInvalidHandle;
  if (!out || !bytes) return kInvalidValue;
  Chunk* b = nullptr;
  CUresult e = allocate(out, bytes, pool, &b);
  if (e == kOutOfMemory && late_streams() && !s->capture) {  // what was freed is the pool's again
    finish_stream(*s);
    e = allocate(out, bytes, pool, &b);
  }
  if (e) return e;
  if (!s->capture) return kSuccess;
  b->captured = true;
  return captured_alloc(*s, b->begin, bytes);
}

PD_EXPORT CUresult cuMemAllocAsync(CUdeviceptr* out, size_t bytes, void* stream) {
  PD_ENTER();
  StreamState* s = stream_of(stream);
  return s ? allocate_async(out, bytes, memory().current_pool[s->device], stream) : CUresult(kInvalidHandle);
}

PD_EXPORT CUresult cuMemAllocFromPoolAsync(CUdeviceptr* out, size_t bytes, void* pool, void* stream) {
  PD_ENTER();
  return pool ? allocate_async(out, bytes, static_cast<Pool*>(pool), stream) : CUresult(kInvalidValue);
}

PD_EXPORT CUresult cuMemFreeAsync(CUdeviceptr p, void* stream) {
  PD_ENTER();
  StreamState* s = stream_of(stream);
  if (!s) return kInvalidHandle;
  if (!p) return kSuccess;
  auto* b = owned(p);
  if (!b) return kInvalidValue;
  if (s->capture) return b->captured ? captured_free(*s, b->begin) : CUresult(kInvalidValue);
  if (b->freed) return kInvalidValue;
  b->freed = true;
  return submit(stream, [begin = b->begin] {
    release(&memory().blocks.at(begin), "work before cuMemFreeAsync");
    return CUresult(kSuccess);
  });
}

PD_EXPORT CUresult cuMemHostAlloc(void** out, size_t bytes, unsigned) {
  PD_ENTER();
  if (!out || !bytes) return kInvalidValue;
  if (CUresult e = forbid_capture()) return e;
  Chunk b;
  if (!map_block(b, bytes)) return kOutOfMemory;
  b.host = true;
  memory().blocks[b.begin] = b;
  *out = b.begin;
  return kSuccess;
}

PD_EXPORT CUresult cuMemAllocHost_v2(void** out, size_t bytes) { return cuMemHostAlloc(out, bytes, 0); }

PD_EXPORT CUresult cuMemFreeHost(void* p) {
  PD_ENTER();
  if (CUresult e = forbid_capture()) return e;
  auto it = memory().blocks.find(static_cast<char*>(p));
  if (it == memory().blocks.end() || !it->second.host) return kInvalidValue;
  check_block(it->second, "work before cuMemFreeHost");
  unmap_block(it->second);
  memory().blocks.erase(it);
  return kSuccess;
}

PD_EXPORT CUresult cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
  PD_ENTER();
  if (free_bytes) *free_bytes = total_memory() - std::min(total_memory(), memory().used[current_device()]);
  if (total) *total = total_memory();
  return kSuccess;
}

PD_EXPORT CUresult cuDeviceTotalMem_v2(size_t* out, CUdevice d) {
  if (!out) return kInvalidValue;
  if (d < 0 || d >= device_count()) return kInvalidDevice;
  *out = total_memory();
  return kSuccess;
}

// ---- pools: nothing is kept in them, so what is reserved is what is used

PD_EXPORT CUresult cuDeviceGetDefaultMemPool(void** out, CUdevice d) {
  if (!out) return kInvalidValue;
  if (d < 0 || d >= device_count()) return kInvalidDevice;
  *out = &memory().pools[d];
  return kSuccess;
}

PD_EXPORT CUresult cuDeviceGetMemPool(void** out, CUdevice d) {
  if (!out) return kInvalidValue;
  if (d < 0 || d >= device_count()) return kInvalidDevice;
  *out = memory().current_pool[d];
  return kSuccess;
}

PD_EXPORT CUresult cuDeviceSetMemPool(CUdevice d, void* pool) {
  if (d < 0 || d >= device_count()) return kInvalidDevice;
  if (!pool || static_cast<Pool*>(pool)->device != d) return kInvalidValue;
  memory().current_pool[d] = static_cast<Pool*>(pool);
  return kSuccess;
}

namespace {
// The beginning of CUmemPoolProps, all that is looked at.
struct PoolProps {
  int allocation_type, handle_types, location_type, location_id;
};
}  // namespace

PD_EXPORT CUresult cuMemPoolCreate(void** out, const void* props) {
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  if (!out || !props) return kInvalidValue;
  PoolProps p;
  memcpy(&p, props, sizeof p);
  if (p.allocation_type != 1 || p.location_type != 1) return kInvalidValue;
  if (p.location_id < 0 || p.location_id >= device_count()) return kInvalidDevice;
  memory().more_pools.push_back(std::make_unique<Pool>());
  memory().more_pools.back()->device = p.location_id;
  *out = memory().more_pools.back().get();
  return kSuccess;
}

PD_EXPORT CUresult cuMemPoolDestroy(void* pool) {
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  Memory& m = memory();
  auto it = std::find_if(m.more_pools.begin(), m.more_pools.end(), [&](auto& p) { return p.get() == pool; });
  if (it == m.more_pools.end()) return kInvalidValue;
  for (int d = 0; d < kMaxDevices; d++)
    if (m.current_pool[d] == pool) m.current_pool[d] = &m.pools[d];
  for (auto& entry : m.blocks)
    if (entry.second.pool == pool) entry.second.pool = nullptr;
  m.more_pools.erase(it);
  return kSuccess;
}

PD_EXPORT CUresult cuMemPoolSetAttribute(void* pool, int attribute, void* value) {
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  if (!pool || !value) return kInvalidValue;
  Pool& p = *static_cast<Pool*>(pool);
  uint64_t number = 0;
  switch (attribute) {
    case 1: case 2: case 3: memcpy(&p.flags[attribute], value, sizeof(int)); return kSuccess;
    case 4: memcpy(&p.release_threshold, value, 8); return kSuccess;
    case 6: case 8:
      memcpy(&number, value, 8);
      if (number) return kInvalidValue;
      p.high = p.used;
      return kSuccess;
    default: return kInvalidValue;
  }
}

PD_EXPORT CUresult cuMemPoolGetAttribute(void* pool, int attribute, void* value) {
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  if (!pool || !value) return kInvalidValue;
  Pool& p = *static_cast<Pool*>(pool);
  switch (attribute) {
    case 1: case 2: case 3: memcpy(value, &p.flags[attribute], sizeof(int)); return kSuccess;
    case 4: memcpy(value, &p.release_threshold, 8); return kSuccess;
    case 5: case 7: memcpy(value, &p.used, 8); return kSuccess;
    case 6: case 8: memcpy(value, &p.high, 8); return kSuccess;
    default: return kInvalidValue;
  }
}

PD_EXPORT CUresult cuMemPoolTrimTo(void* pool, size_t) { return pool ? kSuccess : kInvalidValue; }
PD_EXPORT CUresult cuMemPoolSetAccess(void* pool, const void*, size_t) { return pool ? kSuccess : kInvalidValue; }

// ---- copies

PD_EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, void* stream) {
  PD_ENTER();
  return copy("cuMemcpyHtoD", host(to), 'D', from, 'H', bytes, stream);
}

PD_EXPORT CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, void* stream) {
  PD_ENTER();
  return copy("cuMemcpyDtoH", to, 'H', host(from), 'D', bytes, stream);
}

PD_EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, void* stream) {
  PD_ENTER();
  return copy("cuMemcpyDtoD", host(to), 'D', host(from), 'D', bytes, stream);
}

PD_EXPORT CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, void* stream) {
  PD_ENTER();
  return copy("cuMemcpy", host(to), 'H', host(from), 'H', bytes, stream);
}

PD_EXPORT CUresult cuMemcpyPeerAsync(CUdeviceptr to, void* to_context, CUdeviceptr from, void* from_context, size_t bytes,
                                     void* stream) {
  PD_ENTER();
  const int there = device_of_context(to_context), here = device_of_context(from_context);
  if (there < 0 || here < 0) return kInvalidContext;
  if (find_place(host(to)).device != there || find_place(host(from)).device != here) {
    report("cuMemcpyPeerAsync: an address is not of the device of its context");
    return kInvalidValue;
  }
  return cuMemcpyDtoDAsync_v2(to, from, bytes, stream);
}

static CUresult finished(CUresult given) {
  if (!given && late_streams()) finish_stream(*stream_of(nullptr));
  return given;
}

// These return when the copy is done, so a thread that captures may not call them.
PD_EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
  PD_ENTER();
  if (CUresult e = forbid_capture()) return e;
  return finished(cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr));
}
PD_EXPORT CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
  PD_ENTER();
  if (CUresult e = forbid_capture()) return e;
  return finished(cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr));
}
PD_EXPORT CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr);
}
PD_EXPORT CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return cuMemcpyAsync(to, from, bytes, nullptr);
}
PD_EXPORT CUresult cuMemcpyPeer(CUdeviceptr to, void*, CUdeviceptr from, void*, size_t bytes) {
  return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr);
}

#define PD_MEMSET(letters, T)                                                                         \
  PD_EXPORT CUresult cuMemset##letters##Async(CUdeviceptr to, T value, size_t count, void* stream) { \
    PD_ENTER();                                                                                       \
    return set<T>("cuMemset" #letters, to, value, count, stream);                                     \
  }                                                                                                   \
  PD_EXPORT CUresult cuMemset##letters##_v2(CUdeviceptr to, T value, size_t count) {                  \
    return cuMemset##letters##Async(to, value, count, nullptr);                                       \
  }
PD_MEMSET(D8, unsigned char)
PD_MEMSET(D16, unsigned short)
PD_MEMSET(D32, unsigned)

// ---- pointers

PD_EXPORT CUresult cuPointerGetAttribute(void* out, int attribute, CUdeviceptr p) {
  PD_ENTER();
  if (!out) return kInvalidValue;
  Place place = find_place(host(p));
  if (place.kind == Place::Nowhere) return kInvalidValue;
  switch (attribute) {
    case 1: return kNotSupported;  // the context
    case 2: *static_cast<unsigned*>(out) = place.kind == Place::Host ? 1 : 2; return kSuccess;
    case 3: *static_cast<CUdeviceptr*>(out) = p; return kSuccess;
    case 4: *static_cast<void**>(out) = host(p); return place.kind == Place::Host ? kSuccess : kInvalidValue;
    case 8: *static_cast<unsigned*>(out) = 0; return kSuccess;
    case 9: *static_cast<int*>(out) = place.device; return kSuccess;
    case 11: *static_cast<CUdeviceptr*>(out) = CUdeviceptr(reinterpret_cast<uintptr_t>(place.begin)); return kSuccess;
    case 12: *static_cast<size_t*>(out) = place.bytes; return kSuccess;
    default: return kNotSupported;
  }
}

PD_EXPORT CUresult cuPointerGetAttributes(unsigned count, int* attributes, void** out, CUdeviceptr p) {
  PD_ENTER();
  if (!attributes || !out) return kInvalidValue;
  const bool known = find_place(host(p)).kind != Place::Nowhere;
  for (unsigned i = 0; i < count; i++) {
    if (known) {
      CUresult e = cuPointerGetAttribute(out[i], attributes[i], p);
      if (e && e != kInvalidValue) return e;
    } else {
      memset(out[i], 0, attributes[i] == 2 || attributes[i] == 8 || attributes[i] == 9 ? 4 : 8);
    }
  }
  return kSuccess;
}

PD_EXPORT CUresult cuMemGetAddressRange_v2(CUdeviceptr* begin, size_t* bytes, CUdeviceptr p) {
  PD_ENTER();
  Place place = find_place(host(p));
  if (place.kind == Place::Nowhere) return kInvalidValue;
  if (begin) *begin = CUdeviceptr(reinterpret_cast<uintptr_t>(place.begin));
  if (bytes) *bytes = place.bytes;
  return kSuccess;
}

PD_ALIAS(cuMemAlloc, cuMemAlloc_v2);
PD_ALIAS(cuMemFree, cuMemFree_v2);
PD_ALIAS(cuMemAllocHost, cuMemAllocHost_v2);
PD_ALIAS(cuMemGetInfo, cuMemGetInfo_v2);
PD_ALIAS(cuDeviceTotalMem, cuDeviceTotalMem_v2);
PD_ALIAS(cuMemcpyHtoD, cuMemcpyHtoD_v2);
PD_ALIAS(cuMemcpyDtoH, cuMemcpyDtoH_v2);
PD_ALIAS(cuMemcpyDtoD, cuMemcpyDtoD_v2);
PD_ALIAS(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2);
PD_ALIAS(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2);
PD_ALIAS(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2);
PD_ALIAS(cuMemsetD8, cuMemsetD8_v2);
PD_ALIAS(cuMemsetD16, cuMemsetD16_v2);
PD_ALIAS(cuMemsetD32, cuMemsetD32_v2);
