// Working memory of a task, and of a call.
#pragma once
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "device/cpu/allocator.h"

namespace pd {

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};
using AlignedMemory = std::unique_ptr<void, FreeDeleter>;

// To 64 bytes.
inline AlignedMemory aligned_memory(size_t bytes) {
  void* p = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (!p) throw std::bad_alloc();
  return AlignedMemory(p);
}

// The thread's own memory, kept from task to task, unless much is wanted. One at a time: the next one has the same.
class Scratch {
 public:
  explicit Scratch(size_t bytes) {
    constexpr size_t kMostKept = 8u << 20;
    thread_local AlignedMemory kept;
    thread_local size_t kept_bytes = 0;
    if (bytes > kMostKept) {
      own_ = aligned_memory(bytes);
      data_ = static_cast<char*>(own_.get());
      return;
    }
    if (bytes > kept_bytes) {
      const size_t grown = std::min(kMostKept, std::max(bytes, 2 * kept_bytes));
      kept.reset();
      kept_bytes = 0;
      kept = aligned_memory(grown);
      kept_bytes = grown;
    }
    data_ = static_cast<char*>(kept.get());
  }
  char* data() const { return data_; }

 private:
  AlignedMemory own_;
  char* data_;
};

// Memory of its own, from the allocator, which keeps blocks from call to call: for what threads share.
class CallMemory {
 public:
  explicit CallMemory(size_t bytes) : bytes_(bytes), data_(bytes ? cpu_allocate(bytes) : nullptr) {}
  ~CallMemory() {
    if (data_) cpu_free(data_, bytes_);
  }
  CallMemory(const CallMemory&) = delete;
  CallMemory& operator=(const CallMemory&) = delete;
  char* data() const { return static_cast<char*>(data_); }

 private:
  size_t bytes_;
  void* data_;
};

}  // namespace pd
