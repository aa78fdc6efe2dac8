// One job at a time, announced in one word that workers join and leave by compare-and-swap:
//
//   state = epoch << 32 | open << 31 | workers inside
//
// A worker joins only while the job is open; the caller closes it when no task is left, and returns when nobody is
// inside. So a worker that wakes late finds the job closed and touches nothing, and nobody waits for sleepers.
#include "device/cpu/pool.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"
#include "device/spin_lock.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace pd {

namespace detail {
std::atomic<int> pool_threads{0};
std::atomic<int> pool_awake{0};
}

namespace {

constexpr uint64_t kOpen = uint64_t(1) << 31;
constexpr uint64_t kInside = kOpen - 1;
constexpr int64_t kSpinNanoseconds = 20000;
constexpr int kMaxThreads = 1024;

thread_local bool t_in_task = false;

// Rounding and flush-to-zero modes: workers take the caller's, so that bits do not depend on who runs a task.
unsigned float_mode() {
#if defined(__SSE__)
  return _mm_getcsr();
#else
  return 0;
#endif
}
void set_float_mode(unsigned mode) {
#if defined(__SSE__)
  _mm_setcsr(mode);
#else
  (void)mode;
#endif
}

struct Pool {
  explicit Pool(int threads) : spin(threads <= num_cpus() && num_cpus() > 1) {
#if defined(__unix__) || defined(__APPLE__)
    // Signals belong to Python's main thread.
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
#endif
    try {
      for (int i = 1; i < threads; ++i) workers.emplace_back([this, i] { work(i); });
    } catch (const std::system_error&) {
      // The system gives no more threads; those that it gave do the work.
    }
#if defined(__unix__) || defined(__APPLE__)
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
#endif
  }

  ~Pool() {
    {
      std::lock_guard<std::mutex> hold(mutex);
      stop.store(true);
    }
    wake.notify_all();
    for (std::thread& t : workers) t.join();
  }

  void run(int64_t n_tasks, int threads, detail::TaskFn f, void* c) {
    limit = threads;
    fn = f;
    context = c;
    n = n_tasks;
    mode = float_mode();
    failed.store(false, std::memory_order_relaxed);
    next.store(0, std::memory_order_relaxed);
    uint64_t epoch = (state.load(std::memory_order_relaxed) >> 32) + 1;
    state.store(epoch << 32 | kOpen);
    int asleep = sleepers.load();
    if (asleep) {
      { std::lock_guard<std::mutex> hold(mutex); }
      if (n_tasks - 1 >= asleep) {
        wake.notify_all();
      } else {
        for (int64_t i = 1; i < n_tasks; ++i) wake.notify_one();
      }
    }
    claim(0);
    if (state.fetch_and(~kOpen) & kInside) wait_for_workers();
    if (failed.load(std::memory_order_acquire)) {
      std::exception_ptr e = std::move(error);
      error = nullptr;
      std::rethrow_exception(e);
    }
  }

  void claim(int thread) {
    bool outer = t_in_task;
    t_in_task = true;
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) {
      try {
        fn(context, i, thread);
      } catch (...) {
        if (!failed.exchange(true)) error = std::current_exception();
        next.store(n, std::memory_order_relaxed);
      }
    }
    t_in_task = outer;
  }

  // Spins while `ready` is false; true if it became true in time.
  template <class Ready>
  bool spin_until(Ready ready) const {
    if (!spin) return ready();
    auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(kSpinNanoseconds);
    do {
      for (int i = 0; i < 32; ++i) {
        if (ready()) return true;
        cpu_relax();
      }
    } while (std::chrono::steady_clock::now() < end);
    return ready();
  }

  void wait_for_workers() {
    auto left = [this] { return (state.load() & kInside) == 0; };
    if (spin_until(left)) return;
    std::unique_lock<std::mutex> hold(mutex);
    caller_waits.store(true);
    done.wait(hold, left);
    caller_waits.store(false);
  }

  void work(int thread) {
    uint64_t seen = 0;
    detail::pool_awake.fetch_add(1, std::memory_order_relaxed);
    auto called = [this, &seen] {
      uint64_t s = state.load();
      return stop.load(std::memory_order_relaxed) || ((s & kOpen) && (s >> 32) != seen);
    };
    for (;;) {
      if (!spin_until(called)) {
        std::unique_lock<std::mutex> hold(mutex);
        sleepers.fetch_add(1);
        detail::pool_awake.fetch_sub(1, std::memory_order_relaxed);
        wake.wait(hold, called);
        detail::pool_awake.fetch_add(1, std::memory_order_relaxed);
        sleepers.fetch_sub(1);
      }
      if (stop.load()) {
        detail::pool_awake.fetch_sub(1, std::memory_order_relaxed);
        return;
      }
      uint64_t s = state.load();
      if (!(s & kOpen) || !state.compare_exchange_strong(s, s + 1)) continue;
      seen = s >> 32;
      if (thread < limit) {
        set_float_mode(mode);
        claim(thread);
      }
      s = state.fetch_sub(1) - 1;
      if (!(s & (kInside | kOpen)) && caller_waits.load()) {
        { std::lock_guard<std::mutex> hold(mutex); }
        done.notify_one();
      }
    }
  }

  const bool spin;
  std::mutex busy;  // held by the thread whose job it is

  detail::TaskFn fn = nullptr;
  void* context = nullptr;
  int64_t n = 0;
  int limit = 0;
  unsigned mode = 0;
  std::exception_ptr error;
  std::atomic<bool> failed{false};
  alignas(64) std::atomic<int64_t> next{0};
  alignas(64) std::atomic<uint64_t> state{0};
  alignas(64) std::atomic<int> sleepers{0};
  std::atomic<bool> caller_waits{false};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable wake, done;
  std::vector<std::thread> workers;
};

// Where the pool lives: shared, so that a call that has picked it up keeps it while another thread replaces it. Never
// destroyed, so that nothing runs after static destructors.
struct Home {
  std::mutex mutex;
  std::shared_ptr<Pool> pool;
  bool closed = false;
};

std::atomic<Home*> g_home{nullptr};

// The workers of the parent do not exist in the child, and its locks may be held by threads that do not either.
void start_afresh() {
  Home* old = g_home.load();
  Home* made = new Home;
  made->closed = old && old->closed;
  detail::pool_awake.store(0);
  g_home.store(made);
}

// At load, as a guard of first use could be left closed in the child of a fork.
const bool g_ready = [] {
  start_afresh();
#if defined(__unix__) || defined(__APPLE__)
  pthread_atfork(nullptr, nullptr, start_afresh);
#endif
  return true;
}();

Home& home() { return *g_home.load(); }

void refuse_in_task(const char* what) {
  if (t_in_task) fail(what, "called inside a parallel task", "", "the call before the work starts", ErrorKind::Runtime);
}

void check_threads(const char* what, long n, const std::string& got) {
  if (n < 1 || n > kMaxThreads)
    fail(what, "the number of threads is outside 1 to " + std::to_string(kMaxThreads), got,
         std::to_string(num_cpus()) + ", the CPUs that this process may use");
}

void drop_pool(Home& h) {
  if (!h.pool) return;
  { std::lock_guard<std::mutex> idle(h.pool->busy); }
  h.pool.reset();
}

}  // namespace

int num_cpus() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

int detail::init_num_threads() {
  int n = std::min(num_cpus(), kMaxThreads);
  if (const char* text = std::getenv("PYDIFF_NUM_THREADS")) {
    char* end = nullptr;
    long asked = std::strtol(text, &end, 10);
    if (end == text || *end) asked = 0;
    check_threads("PYDIFF_NUM_THREADS", asked, std::string("'") + text + "'");
    n = static_cast<int>(asked);
  }
  int none = 0;
  pool_threads.compare_exchange_strong(none, n);
  return pool_threads.load();
}

void set_num_threads(int n) {
  check_threads("set_num_threads", n, std::to_string(n));
  refuse_in_task("set_num_threads");
  Home& h = home();
  std::lock_guard<std::mutex> hold(h.mutex);
  drop_pool(h);
  h.closed = false;
  detail::pool_threads.store(n);
}

void shutdown_pool() {
  refuse_in_task("shutdown_pool");
  Home& h = home();
  std::lock_guard<std::mutex> hold(h.mutex);
  drop_pool(h);
  h.closed = true;
}

static thread_local int t_threads_used = 1;

int take_threads_used() {
  const int used = t_threads_used;
  t_threads_used = 1;
  return used;
}

void detail::run_tasks(int64_t n_tasks, int threads, TaskFn fn, void* context) {
  if (!t_in_task) {
    std::shared_ptr<Pool> pool;
    {
      Home& h = home();
      std::lock_guard<std::mutex> hold(h.mutex);
      if (!h.pool && !h.closed) h.pool = std::make_shared<Pool>(num_threads());
      pool = h.pool;
    }
    if (pool) {
      std::unique_lock<std::mutex> mine(pool->busy, std::try_to_lock);
      if (mine) {
        t_threads_used = std::max(t_threads_used, static_cast<int>(std::min<int64_t>({threads, n_tasks, num_threads()})));
        return pool->run(n_tasks, threads, fn, context);
      }
    }
  }
  for (int64_t i = 0; i < n_tasks; ++i) fn(context, i, 0);
}

}  // namespace pd
