#include "fuse/kernel_cache.h"

#include <condition_variable>
#include <cstdio>
#include <deque>
#include <list>
#include <mutex>
#include <new>
#include <unordered_map>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include "base/error.h"
#include "base/host.h"
#include "device/watch.h"

namespace pd {

namespace {

// What makes compiling worth while: a few uses, or as much work as compiling costs.
constexpr int32_t kEarnedUses = 3;
constexpr int64_t kEarnedWork = int64_t{1} << 22;

using Order = std::list<Kernel*>;  // most recently asked for first

struct Cache {
  std::mutex lock;
  std::condition_variable changed;
  Order order;
  std::unordered_multimap<uint64_t, Order::iterator> by_hash;
  std::unordered_map<uint64_t, KernelRef> tickets;  // kernels that are queued or being compiled
  std::deque<uint64_t> queue;
  uint64_t next_id = 1;
  bool stopped = false;
  int64_t compiled = 0, failed = 0;
};
// A fork happens between two changes of the cache, whatever other threads are at.
Cache& cache() {
  static Cache* c = [] {
    auto* made = new Cache;
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork([] { cache().lock.lock(); }, [] { cache().lock.unlock(); }, [] { cache().lock.unlock(); });
#endif
    return made;
  }();
  return *c;
}
std::atomic<JitMode> g_mode{JitMode::Off};
thread_local int64_t t_taken = 0;  // when this thread took its job

// Drops what only the cache holds, from the far end, until the limit is kept or all has been looked at.
void drop_old(Cache& c) {
  auto at = c.order.end();
  for (size_t left = c.order.size(); left && static_cast<int64_t>(c.order.size()) > kernel_limit(); --left) {
    --at;
    Kernel* k = *at;
    if (k->refs.load() != 1) continue;
    auto range = c.by_hash.equal_range(k->program.hash());
    for (auto it = range.first; it != range.second; ++it)
      if (it->second == at) {
        c.by_hash.erase(it);
        break;
      }
    at = c.order.erase(at);
    release(k);
  }
}

void print_job(Kernel* k, CompileJob& job) {
  job.id = k->id;
  job.name = k->name;
  job.ir.clear();
  job.error.clear();
  try {
    job.ir = emit_llvm(k->program, k->name, &k->scratch_per_minor);
  } catch (const Error& e) {
    job.error = e.what();
  }
}

void publish(Kernel* k, void* address, const char* way, int64_t begin) {
  if (const Watch* w = watch()) w->compiled(k->name.c_str(), address ? way : "LLVM, which failed", begin);
  Cache& c = cache();
  std::lock_guard<std::mutex> hold(c.lock);
  if (address) {
    // scratch_per_minor was written before, by this or an earlier holder of the lock
    k->fn.store(reinterpret_cast<KernelFn>(address), std::memory_order_release);
    k->state = Kernel::Compiled;
    ++c.compiled;
  } else {
    k->state = Kernel::Failed;
    ++c.failed;
  }
}

void compile_in_place(Kernel* k) {
  Kernel::State s = Kernel::Uncompiled;
  if (!k->state.compare_exchange_strong(s, Kernel::Compiling)) return;
  const int64_t begin = watch_clock();
  CompileJob job;
  print_job(k, job);
  publish(k, host().compile_now ? host().compile_now(job.name.c_str(), job.ir.c_str(), job.error.c_str()) : nullptr, "LLVM",
          begin);
}

void submit(Kernel* k) {
  Kernel::State s = Kernel::Uncompiled;
  if (!k->state.compare_exchange_strong(s, Kernel::Queued)) return;
  Cache& c = cache();
  {
    std::lock_guard<std::mutex> hold(c.lock);
    c.tickets[k->id] = KernelRef(k);
    c.queue.push_back(k->id);
  }
  c.changed.notify_one();
  if (!host().start_compiler || !host().start_compiler()) set_jit_mode(JitMode::Off);
}

// FNV-1a over 64-bit words, with the multiplication's upper half folded in.
struct Hash {
  uint64_t h = 0xcbf29ce484222325;
  void add(uint64_t x) {
    h = (h ^ x) * 0x100000001b3;
    h ^= h >> 32;
  }
};

}  // namespace

// The same from process to process: it names the kernel, and the disk cache is keyed by the kernel's text.
uint64_t Program::hash() const {
  Hash h;
  h.add(static_cast<uint64_t>(runs) << 2 | static_cast<uint64_t>(layout) << 1 | static_cast<uint64_t>(split));
  auto reg = [](int16_t r) { return static_cast<uint64_t>(static_cast<uint16_t>(r)); };
  for (const Instr& i : code) {
    h.add(static_cast<uint64_t>(i.kind) << 48 | static_cast<uint64_t>(i.level) << 40 |
          static_cast<uint64_t>(i.type) << 32 | i.op);
    h.add(reg(i.dst) << 48 | reg(i.a) << 32 | reg(i.b) << 16 | reg(i.c));
  }
  for (DType t : regs) h.add(static_cast<uint64_t>(t));
  for (Level l : levels) h.add(static_cast<uint64_t>(l));
  for (const Arg& a : args)
    h.add(static_cast<uint64_t>(a.dtype) << 16 | static_cast<uint64_t>(a.cls) << 8 | static_cast<uint64_t>(a.output));
  return h.h;
}

void retain(Kernel* k) { k->refs.fetch_add(1, std::memory_order_relaxed); }
void release(Kernel* k) {
  if (k->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) delete k;
}

int64_t& kernel_limit() {
  static int64_t limit = 4096;
  return limit;
}

JitMode jit_mode() { return g_mode; }
void set_jit_mode(JitMode m) { g_mode = m; }

KernelRef kernel_for(const Program& p) {
  Cache& c = cache();
  uint64_t h = p.hash();
  std::lock_guard<std::mutex> hold(c.lock);
  auto range = c.by_hash.equal_range(h);
  for (auto it = range.first; it != range.second; ++it)
    if ((*it->second)->program == p) {
      c.order.splice(c.order.begin(), c.order, it->second);
      return KernelRef(*it->second);
    }
  auto* k = new Kernel;
  k->program = p;
  k->id = c.next_id++;
  char name[32];
  std::snprintf(name, sizeof name, "pd_%016llx", static_cast<unsigned long long>(h));
  k->name = name;
  KernelRef r(k);
  retain(k);  // the cache's own
  c.order.push_front(k);
  c.by_hash.emplace(h, c.order.begin());
  drop_old(c);
  return r;
}

KernelFn Kernel::compiled(int64_t elements) {
  KernelFn f = fn.load(std::memory_order_acquire);
  if (f) return f;
  JitMode mode = g_mode;
  if (mode == JitMode::Off || state != Uncompiled) return nullptr;
  if (mode == JitMode::Blocking) {
    compile_in_place(this);
    return fn.load(std::memory_order_acquire);
  }
  int32_t used = uses.fetch_add(1, std::memory_order_relaxed) + 1;
  int64_t more = elements * static_cast<int64_t>(program.code.size());
  if (used >= kEarnedUses || work.fetch_add(more, std::memory_order_relaxed) + more >= kEarnedWork) submit(this);
  return nullptr;
}

KernelStats kernel_stats() {
  Cache& c = cache();
  std::lock_guard<std::mutex> hold(c.lock);
  KernelStats s;
  s.kernels = static_cast<int64_t>(c.order.size());
  s.compiled = c.compiled;
  s.failed = c.failed;
  s.queued = static_cast<int64_t>(c.tickets.size());
  return s;
}

bool take_compile(CompileJob& job) {
  Cache& c = cache();
  KernelRef k;
  {
    std::unique_lock<std::mutex> hold(c.lock);
    c.changed.wait(hold, [&] { return c.stopped || !c.queue.empty(); });
    if (c.stopped) return false;
    k = c.tickets[c.queue.front()];
    c.queue.pop_front();
    k->state = Kernel::Compiling;
  }
  t_taken = watch_clock();
  print_job(k.get(), job);
  return true;
}

void finish_compile(uint64_t id, void* address) {
  Cache& c = cache();
  KernelRef k;
  {
    std::lock_guard<std::mutex> hold(c.lock);
    auto at = c.tickets.find(id);
    if (at == c.tickets.end()) return;
    k = std::move(at->second);
    c.tickets.erase(at);
  }
  publish(k.get(), address, "LLVM, in the background", t_taken);
}

void stop_compiles() {
  Cache& c = cache();
  {
    std::lock_guard<std::mutex> hold(c.lock);
    c.stopped = true;
  }
  set_jit_mode(JitMode::Off);
  c.changed.notify_all();
}

void compiles_after_fork() {
  Cache& c = cache();
  new (&c.changed) std::condition_variable;  // who waited on it does not exist here
  c.queue.clear();
  c.tickets.clear();
  for (Kernel* k : c.order) {
    Kernel::State s = k->state;
    if (s == Kernel::Queued || s == Kernel::Compiling) k->state = Kernel::Uncompiled;
  }
}

}  // namespace pd
