// What a compiled kernel and the launcher know of each other: written once, compiled here and put as text before every
// kernel. Plain structs and builtin types only, for the kernel's side includes nothing.
#pragma once

// clang-format off
#define PD_HOST_ABI(EMIT) EMIT(                                                                                        \
  namespace pd_host {                                                                                                  \
  struct Index { unsigned x; unsigned y; unsigned z; };                                                                \
  struct Thread { Index index; unsigned id; };                                                                         \
  struct Block {                                                                                                       \
    void** args;                                                                                                       \
    const Thread* threads;                                                                                             \
    unsigned count;                                                                                                    \
    unsigned next;                                                                                                     \
    unsigned current;                                                                                                  \
    unsigned living;                                                                                                   \
    unsigned waiting;                                                                                                  \
    unsigned* gone;                                                                                                    \
    char* dynamic_shared;                                                                                              \
  };                                                                                                                   \
  enum Op { kBarrier, kSyncWarp, kShuffle, kShuffleUp, kShuffleDown, kShuffleXor, kBallot, kAny, kAll };               \
  enum BarrierResult { kNothing, kCount, kAnd, kOr };                                                                  \
  struct Runtime {                                                                                                     \
    int (*barrier)(int result, int predicate, int line);                                                               \
    unsigned long long (*shuffle)(int op, unsigned mask, int operand, int width, unsigned long long value,             \
                                  unsigned bytes, int line);                                                           \
    unsigned (*vote)(int op, unsigned mask, int predicate, int line);                                                  \
    unsigned (*active)();                                                                                              \
    void (*exited)();                                                                                                  \
    void (*trap)(int line);                                                                                            \
  };                                                                                                                   \
  struct Module {                                                                                                      \
    unsigned abi;                                                                                                      \
    Index* thread; Index* block_index; Index* block_size; Index* grid_size;                                            \
    const Runtime* runtime; Block* block;                                                                              \
  };                                                                                                                   \
  struct Parameter { unsigned bytes; bool is_pointer; };                                                               \
  struct Kernel { void (*run)(); unsigned count; const Parameter* parameters; };                                       \
  })
// clang-format on
//
// Block: `threads[next..count)` have not begun, `threads[current]` runs, `living` have not finished, of which `waiting`
// stand at a barrier or in a warp operation; bit `id % 32` of `gone[id / 32]` is set for a lane that is not there (any
// more). `Kernel::run` takes threads that have not begun until there is none.

#define PD_HOST_EMIT(...) __VA_ARGS__
PD_HOST_ABI(PD_HOST_EMIT)
#undef PD_HOST_EMIT

namespace pd_host {

// Counts what a stored image and this library must agree on: the structs above and the text of host_header.h.
constexpr unsigned kAbi = 1;

}  // namespace pd_host
