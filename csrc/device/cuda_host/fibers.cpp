// Fibers. On x86-64 a switch saves what the calling convention asks a callee to keep and exchanges the stack pointers;
// elsewhere the system's ucontext does it.
#include "fibers.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

namespace pd_host {

namespace {

size_t page_size() {
  static const size_t size = size_t(sysconf(_SC_PAGESIZE));
  return size;
}

char* new_stack() {
  size_t bytes = kFiberStack + page_size();
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) abort();
  mprotect(p, page_size(), PROT_NONE);
  return static_cast<char*>(p) + page_size();
}

}  // namespace

bool overflows(const Fiber& f, const void* address) {
  const char* p = static_cast<const char*>(address);
  return f.stack && p < f.stack && p >= f.stack - page_size();
}

#if defined(__x86_64__)

extern "C" void pd_host_switch(void** save, void* load);
__asm__(
    ".text\n"
    ".hidden pd_host_switch\n"
    ".globl pd_host_switch\n"
    ".type pd_host_switch,@function\n"
    "pd_host_switch:\n"
    "  pushq %rbp\n"
    "  pushq %rbx\n"
    "  pushq %r12\n"
    "  pushq %r13\n"
    "  pushq %r14\n"
    "  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n"
    "  popq %r14\n"
    "  popq %r13\n"
    "  popq %r12\n"
    "  popq %rbx\n"
    "  popq %rbp\n"
    "  ret\n"
    ".size pd_host_switch,.-pd_host_switch\n");

void switch_fiber(Fiber& from, Fiber& to) { pd_host_switch(&from.stack_pointer, to.stack_pointer); }

Fiber* new_fiber(void (*entry)()) {
  Fiber* f = new Fiber;
  f->stack = new_stack();
  // Tops at the same place of a page would all want the same lines of the cache.
  static size_t made = 0;
  const size_t shift = made++ % 61 * 64;
  // At its entry a function finds the stack 8 bytes off a multiple of 16: six registers, `entry`, null to return to.
  uintptr_t* top = reinterpret_cast<uintptr_t*>(f->stack + kFiberStack - shift) - 3;
  top[0] = 0;
  *--top = reinterpret_cast<uintptr_t>(entry);
  for (int i = 0; i < 6; i++) *--top = 0;
  f->stack_pointer = top;
  return f;
}

#else

void switch_fiber(Fiber& from, Fiber& to) { swapcontext(&from.context, &to.context); }

Fiber* new_fiber(void (*entry)()) {
  Fiber* f = new Fiber;
  f->stack = new_stack();
  getcontext(&f->context);
  f->context.uc_stack.ss_sp = f->stack;
  f->context.uc_stack.ss_size = kFiberStack;
  f->context.uc_link = nullptr;
  makecontext(&f->context, entry, 0);
  return f;
}

#endif

}  // namespace pd_host
