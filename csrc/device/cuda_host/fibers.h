// Fibers: stacks of their own for the threads of a block, and the switch between them.
#pragma once
#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace pd_host __attribute__((visibility("hidden"))) {

constexpr size_t kFiberStack = 64 * 1024;

struct Fiber {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  char* stack = nullptr;  // kFiberStack bytes above one page that nobody may touch
};

// A fiber that runs `entry`, which never returns, when first switched to. Stacks are kept for the life of the process.
Fiber* new_fiber(void (*entry)());
void switch_fiber(Fiber& from, Fiber& to);
// Whether `address` lies in the page below the stack of `f`: it has overflowed.
bool overflows(const Fiber& f, const void* address);

}  // namespace pd_host
