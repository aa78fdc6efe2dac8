// Buffer: a reference-counted block of device memory.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/device_id.h"

namespace pd {

struct Buffer {
  void* data;
  size_t bytes;
  DeviceId device;
  bool external;  // memory that others may see: never written in place, never donated
  std::atomic<int32_t> refs;
  void (*release)(void* owner);  // external only; called once, on whichever thread drops the last reference
  void* owner;
  uint64_t suspect = 0;  // the run that may turn out to have failed while it computed this (exec/late_errors.h); 0: none
};

// 64-byte aligned, one reference, contents unspecified.
Buffer* new_buffer(DeviceId device, size_t bytes);
// Memory that `owner` keeps alive until release(owner); release may be null.
Buffer* wrap_external(void* data, size_t bytes, DeviceId device, void* owner, void (*release)(void* owner));

namespace detail {
void destroy(Buffer* b) noexcept;
}

inline void retain(Buffer* b) { b->refs.fetch_add(1, std::memory_order_relaxed); }
inline void release(Buffer* b) noexcept {
  // A sole holder needs no read-modify-write: nobody else can raise the count.
  if (b->refs.load(std::memory_order_acquire) == 1 || b->refs.fetch_sub(1, std::memory_order_acq_rel) == 1)
    detail::destroy(b);
}
// May the one holder write into it?
inline bool donatable(const Buffer* b) { return !b->external && b->refs.load(std::memory_order_acquire) == 1; }

class BufferRef {
 public:
  BufferRef() = default;
  // Takes over the reference that the caller holds.
  static BufferRef adopt(Buffer* b) {
    BufferRef r;
    r.b_ = b;
    return r;
  }
  explicit BufferRef(Buffer* b) : b_(b) {
    if (b_) retain(b_);
  }
  BufferRef(const BufferRef& o) : BufferRef(o.b_) {}
  BufferRef(BufferRef&& o) noexcept : b_(o.b_) { o.b_ = nullptr; }
  BufferRef& operator=(BufferRef o) noexcept {
    Buffer* t = b_;
    b_ = o.b_;
    o.b_ = t;
    return *this;
  }
  ~BufferRef() {
    if (b_) release(b_);
  }

  Buffer* get() const { return b_; }
  Buffer* operator->() const { return b_; }
  Buffer& operator*() const { return *b_; }
  explicit operator bool() const { return b_ != nullptr; }
  // Hands the reference to the caller.
  Buffer* detach() {
    Buffer* b = b_;
    b_ = nullptr;
    return b;
  }
  void reset() { *this = BufferRef(); }

 private:
  Buffer* b_ = nullptr;
};

}  // namespace pd
