// The threads of a block run one after another on one fiber, as in a loop, until one of them has to wait: then its
// fiber is parked and another goes on with the rest. So a kernel without barriers costs a plain loop.
//
//   running ── waits ──► parked ── all whom it waits for have come ──► ready ── its turn ──► running
//
// Which goes on: the first that is ready, else the next that has not begun; if there is neither, nobody will ever come,
// and that is reported.
#include "threads.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "fibers.h"
#include "internal.h"

namespace pd_host {

namespace {

enum class Waits : uint8_t { No, Barrier, Warp };

// A parked thread, by its linear id in the block.
struct Parked {
  Fiber* fiber = nullptr;
  unsigned position = 0;
  Waits waits = Waits::No;
  int op = 0, line = 0;
  unsigned mask = 0;
  int operand = 0, width = 0;
  unsigned bytes = 0;
  uint64_t value = 0;  // what the lane gives, then what it gets
};

struct Scheduler {
  LaunchState* launch = nullptr;
  Block block{};
  Thread threads[kMaxThreads];
  unsigned gone[kMaxThreads / 32];
  unsigned warp_waiting[kMaxThreads / 32];
  Parked parked[kMaxThreads];
  unsigned ready[kMaxThreads];  // ids, a ring
  unsigned ready_head = 0, ready_size = 0;
  unsigned arrived = 0;  // at the barrier
  int barrier_result = 0;
  Fiber main;
  Fiber* running = nullptr;
  std::vector<Fiber*> idle;
  Index current_block{0, 0, 0};
};

Scheduler s;

unsigned current_id() { return s.threads[s.block.current].id; }

std::string triple(const Index& i) {
  return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

std::string hex(unsigned v) {
  char text[16];
  snprintf(text, sizeof text, "0x%08x", v);
  return text;
}

const char* name_of(int op) {
  static const char* const names[] = {"__syncthreads",  "__syncwarp",       "__shfl_sync",
                                      "__shfl_up_sync", "__shfl_down_sync", "__shfl_xor_sync",
                                      "__ballot_sync",  "__any_sync",       "__all_sync"};
  return names[op];
}

bool is_gone(unsigned id) { return s.gone[id / 32] >> (id % 32) & 1; }

void make_ready(unsigned id) {
  s.parked[id].waits = Waits::No;
  s.ready[(s.ready_head + s.ready_size++) % kMaxThreads] = id;
  --s.block.waiting;
}

// Who waits for what, when nobody can go on.
[[noreturn]] void report_stuck() {
  std::string text = where() + ": threads of the block wait for others that never come:";
  struct Group {
    Parked like;
    unsigned first, count;
  };
  std::vector<Group> groups;
  for (unsigned id = 0; id < s.block.count; id++) {
    const Parked& p = s.parked[id];
    if (is_gone(id) || p.waits == Waits::No) continue;
    auto same = std::find_if(groups.begin(), groups.end(), [&](const Group& g) {
      return g.like.waits == p.waits && g.like.line == p.line && g.like.op == p.op && g.like.mask == p.mask &&
             (p.waits == Waits::Barrier || g.first / 32 == id / 32);
    });
    if (same == groups.end()) groups.push_back({p, id, 1});
    else same->count++;
  }
  size_t shown = std::min<size_t>(groups.size(), 8);
  for (size_t i = 0; i < shown; i++) {
    const Group& g = groups[i];
    text += "\n  " + std::to_string(g.count) + " threads, the first " + std::to_string(g.first) + ", at " +
            name_of(g.like.op) + " of line " + std::to_string(g.like.line);
    if (g.like.waits == Waits::Warp) {
      unsigned warp = g.first / 32;
      text += " with mask " + hex(g.like.mask) + "; missing lanes " +
              hex(g.like.mask & ~s.warp_waiting[warp] & ~s.gone[warp]);
    } else {
      text += ", where " + std::to_string(s.block.living) + " living threads are expected";
    }
  }
  if (groups.size() > shown) text += "\n  and " + std::to_string(groups.size() - shown) + " groups more";
  stop(text);
}

void worker();

// Of those that may go on: the first that could, the last, or any, so that a warp may run ahead of the others.
void bring_to_front() {
  const Order order = s.launch->order;
  if (order == Order::Forward || s.ready_size < 2) return;
  const unsigned nth = order == Order::Reverse ? s.ready_size - 1 : unsigned(s.launch->random.below(s.ready_size));
  std::swap(s.ready[s.ready_head], s.ready[(s.ready_head + nth) % kMaxThreads]);
}

// The fiber that goes on; the caller switches to it.
Fiber* pick() {
  if (s.ready_size) {
    bring_to_front();
    unsigned id = s.ready[s.ready_head];
    s.ready_head = (s.ready_head + 1) % kMaxThreads;
    --s.ready_size;
    s.block.current = s.parked[id].position;
    *s.launch->module->thread = s.threads[s.block.current].index;
    return s.parked[id].fiber;
  }
  if (s.block.next < s.block.count) {
    if (s.idle.empty()) return new_fiber(worker);
    Fiber* f = s.idle.back();
    s.idle.pop_back();
    return f;
  }
  if (s.block.living == 0) return &s.main;
  report_stuck();
}

void go_to(Fiber* next) {
  Fiber* self = s.running;
  if (next == self) return;
  s.running = next;
  switch_fiber(*self, *next);
}

void worker() {
  for (;;) {
    s.launch->kernel->run();
    s.idle.push_back(s.running);
    go_to(pick());
  }
}

// ---- barriers

void open_barrier() {
  int line = 0;
  unsigned first = 0;
  int count = 0;
  for (unsigned position = 0; position < s.block.count; position++) {
    unsigned id = s.threads[position].id;
    Parked& p = s.parked[id];
    if (p.waits != Waits::Barrier) continue;
    if (line == 0) line = p.line, first = id;
    if (p.line != line)
      stop(where() + ": a divergent barrier: thread " + std::to_string(first) + " waits at __syncthreads of line " +
           std::to_string(line) + ", thread " + std::to_string(id) + " at that of line " + std::to_string(p.line));
    count += p.operand != 0;
  }
  const int result = s.parked[first].width;
  const int reached = int(s.arrived);
  s.barrier_result = result == kCount ? count : result == kAnd ? count == reached : result == kOr ? count != 0 : 0;
  s.arrived = 0;
  for (unsigned position = 0; position < s.block.count; position++) {
    unsigned id = s.threads[position].id;
    if (s.parked[id].waits == Waits::Barrier) make_ready(id);
  }
}

Parked& park(Waits waits, int op, int line) {
  Parked& p = s.parked[current_id()];
  p.fiber = s.running;
  p.position = s.block.current;
  p.waits = waits;
  p.op = op;
  p.line = line;
  ++s.block.waiting;
  return p;
}

int barrier(int result, int predicate, int line) {
  Parked& p = park(Waits::Barrier, kBarrier, line);
  p.operand = predicate;
  p.width = result;
  if (++s.arrived == s.block.living) open_barrier();
  go_to(pick());
  return s.barrier_result;
}

// ---- warp operations

[[noreturn]] void report_lanes(const Parked& p, unsigned id, const std::string& what) {
  stop(where() + ": " + name_of(p.op) + " of line " + std::to_string(p.line) + " with mask " + hex(p.mask) + ", lane " +
       std::to_string(id % 32) + ": " + what);
}

// The lane that `lane` reads (PTX ISA, shfl.sync): itself where the other lies outside of its segment of `width` lanes.
int source_lane(const Parked& p, int lane) {
  const int first = lane & ~(p.width - 1), last = first + p.width - 1;
  switch (p.op) {
    case kShuffle: return first | (p.operand & (p.width - 1));
    case kShuffleUp: return lane - p.operand < first ? lane : lane - p.operand;
    case kShuffleDown: return lane + p.operand > last ? lane : lane + p.operand;
    default: return (lane ^ p.operand) > last ? lane : (lane ^ p.operand);
  }
}

// All living lanes of `mask` have come: gives each its result.
void finish_warp(unsigned warp, unsigned mask) {
  Parked* lanes = s.parked + warp * 32;
  const unsigned here = mask & s.warp_waiting[warp];
  const int leader = __builtin_ctz(here);
  const Parked& like = lanes[leader];
  unsigned votes = 0;
  uint64_t given[32];
  for (unsigned m = here; m; m &= m - 1) {
    int lane = __builtin_ctz(m);
    const Parked& p = lanes[lane];
    if (p.op != like.op || p.mask != like.mask || p.bytes != like.bytes)
      report_lanes(p, unsigned(lane),
                   std::string("lane ") + std::to_string(leader) + " of the same warp is at " + name_of(like.op) +
                       " of line " + std::to_string(like.line) + " with mask " + hex(like.mask));
    given[lane] = p.value;
    if (p.operand) votes |= 1u << lane;
  }
  for (unsigned m = here; m; m &= m - 1) {
    int lane = __builtin_ctz(m);
    Parked& p = lanes[lane];
    switch (p.op) {
      case kSyncWarp: break;
      case kBallot: p.value = votes; break;
      case kAny: p.value = votes != 0; break;
      case kAll: p.value = votes == here; break;
      default: {
        int from = source_lane(p, lane);
        if (!(here >> from & 1))
          report_lanes(p, unsigned(lane),
                       "it reads lane " + std::to_string(from) +
                           (mask >> from & 1 ? ", which has ended" : ", which the mask leaves out"));
        p.value = given[from];
      }
    }
  }
  s.warp_waiting[warp] &= ~here;
  unsigned begin = s.launch->order == Order::Shuffle ? unsigned(s.launch->random.below(32)) : 0;
  for (unsigned i = 0; i < 32; i++) {
    unsigned lane = s.launch->order == Order::Reverse ? 31 - i : (i + begin) % 32;
    if (here >> lane & 1) make_ready(warp * 32 + lane);
  }
}

void try_warp(unsigned warp, unsigned mask) {
  if (!(mask & ~s.warp_waiting[warp] & ~s.gone[warp])) finish_warp(warp, mask);
}

uint64_t warp_operation(int op, unsigned mask, int operand, int width, uint64_t value, unsigned bytes, int line) {
  const unsigned id = current_id(), warp = id / 32, lane = id % 32;
  Parked& p = park(Waits::Warp, op, line);
  p.mask = mask;
  p.operand = operand;
  p.width = width;
  p.value = value;
  p.bytes = bytes;
  if (!(mask >> lane & 1)) report_lanes(p, lane, "the mask leaves out the lane that calls");
  s.warp_waiting[warp] |= 1u << lane;
  try_warp(warp, mask);
  go_to(pick());
  return p.value;
}

unsigned long long shuffle(int op, unsigned mask, int operand, int width, unsigned long long value, unsigned bytes,
                           int line) {
  if (width < 1 || width > 32 || (width & (width - 1)))
    stop(where() + ": " + name_of(op) + " of line " + std::to_string(line) + ": width " + std::to_string(width) +
         " is no power of two up to 32");
  return warp_operation(op, mask, operand, width, value, bytes, line);
}

unsigned vote(int op, unsigned mask, int predicate, int line) {
  return unsigned(warp_operation(op, mask, predicate != 0, 32, 0, 0, line));
}

unsigned active() { return ~s.gone[current_id() / 32]; }

// A thread has ended while others wait: perhaps for nobody else.
void exited() {
  if (s.arrived && s.arrived == s.block.living) open_barrier();
  const unsigned warp = current_id() / 32;
  while (s.warp_waiting[warp]) {
    unsigned before = s.warp_waiting[warp];
    for (unsigned m = before; m; m &= m - 1) {
      unsigned lane = unsigned(__builtin_ctz(m));
      if (s.warp_waiting[warp] >> lane & 1) try_warp(warp, s.parked[warp * 32 + lane].mask);
    }
    if (s.warp_waiting[warp] == before) break;
  }
}

void trap(int line) { stop(where() + ": __trap() of line " + std::to_string(line)); }

const Runtime kRuntime = {barrier, shuffle, vote, active, exited, trap};

}  // namespace

void begin_launch(LaunchState& launch) {
  s.launch = &launch;
  launch.module->runtime = &kRuntime;
  launch.module->block = &s.block;
  *launch.module->block_size = launch.block_size;
  s.block.args = launch.args;
  s.block.threads = s.threads;
  s.block.count = launch.count;
  s.block.gone = s.gone;
  s.block.dynamic_shared = launch.dynamic_shared;
  unsigned id = 0;
  for (unsigned z = 0; z < launch.block_size.z; z++)
    for (unsigned y = 0; y < launch.block_size.y; y++)
      for (unsigned x = 0; x < launch.block_size.x; x++, id++) s.threads[id] = {{x, y, z}, id};
  if (launch.order == Order::Reverse) std::reverse(s.threads, s.threads + launch.count);
}

void run_block(const Index& block) {
  s.current_block = block;
  *s.launch->module->block_index = block;
  if (s.launch->order == Order::Shuffle)
    for (unsigned i = s.launch->count; i > 1; i--) std::swap(s.threads[i - 1], s.threads[s.launch->random.below(i)]);
  const unsigned warps = (s.block.count + 31) / 32;
  memset(s.gone, 0, warps * sizeof(unsigned));
  memset(s.warp_waiting, 0, warps * sizeof(unsigned));
  if (s.block.count % 32) s.gone[warps - 1] = ~0u << (s.block.count % 32);
  s.block.next = s.block.current = s.block.waiting = 0;
  s.block.living = s.block.count;
  s.arrived = 0;
  s.running = &s.main;
  go_to(pick());
}

void end_launch() { s.launch = nullptr; }

bool kernel_runs() { return s.launch != nullptr; }

bool stack_overflowed(const void* address) { return s.running && overflows(*s.running, address); }

std::string where() {
  if (!s.launch) return "";
  return "kernel '" + s.launch->name + "', block " + triple(s.current_block) + ", thread " +
         triple(s.threads[s.block.current].index);
}

}  // namespace pd_host
