// The CPU's caching allocator. Blocks are 64-byte aligned; every function may be called from any thread.
#pragma once
#include <cstddef>

#include "device/device.h"

namespace pd {

// Never null: out of memory is an Error, after the cache was emptied and the request tried again.
void* cpu_allocate(size_t bytes);
// `bytes` is what was asked for.
void cpu_free(void* ptr, size_t bytes) noexcept;
void cpu_empty_cache();
MemoryStats cpu_memory_stats();
void cpu_reset_peak();

// The size of the block that serves a request (0 where none can).
size_t cpu_block_bytes(size_t bytes);

}  // namespace pd
