// The threads of a block: begun in a chosen order, parked at barriers and warp operations, taken up again.
#pragma once
#include <cstdint>
#include <string>

#include "abi.h"

namespace pd_host __attribute__((visibility("hidden"))) {

struct Fiber;

constexpr unsigned kMaxThreads = 1024;

enum class Order { Forward, Reverse, Shuffle };

// A small generator (SplitMix64): the same numbers for the same seed.
struct Random {
  uint64_t state = 0;
  uint64_t next() {
    uint64_t z = state += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t n) { return n ? next() % n : 0; }
};

// What stays the same for all blocks of a launch.
struct LaunchState {
  const Kernel* kernel = nullptr;
  Module* module = nullptr;
  std::string name;
  Index block_size{1, 1, 1};
  unsigned count = 1;
  void** args = nullptr;
  char* dynamic_shared = nullptr;
  Order order = Order::Forward;
  Random random;
};

// Before the blocks of a launch, and for each of them; one OS thread at a time.
void begin_launch(LaunchState& launch);
void run_block(const Index& block);
void end_launch();

// For messages: "kernel 'f', block (0, 0, 0), thread (3, 0, 0)"; empty where no kernel runs.
std::string where();
bool kernel_runs();
// Whether a fault at `address` is an overflow of the running thread's stack.
bool stack_overflowed(const void* address);

}  // namespace pd_host
