// The thread pool of the CPU device.
#pragma once
#include <atomic>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace pd {

namespace detail {
extern std::atomic<int> pool_threads;  // 0 until first asked for
extern std::atomic<int> pool_awake;    // workers that would take a job at once
int init_num_threads();
using TaskFn = void (*)(void* context, int64_t task, int thread);
void run_tasks(int64_t n_tasks, int threads, TaskFn fn, void* context);
}  // namespace detail

// Threads that share the work of one call, the caller included: PYDIFF_NUM_THREADS, or the CPUs that the process may use.
inline int num_threads() {
  int n = detail::pool_threads.load(std::memory_order_relaxed);
  return n ? n : detail::init_num_threads();
}
// Work, in additions, that pays for a second thread. A worker that sleeps takes tens of microseconds to come.
inline int64_t worth_a_thread() {
  return detail::pool_awake.load(std::memory_order_relaxed) > 0 ? int64_t(1) << 18 : int64_t(1) << 20;
}
// n >= 1. Waits for a call in progress; an error inside a task.
void set_num_threads(int n);
// CPUs in the affinity mask of the process.
int num_cpus();
// Joins the workers. Later calls run on the caller alone until set_num_threads().
void shutdown_pool();
// The most threads that shared the calling thread's work since it last asked; for the profiler.
int take_threads_used();

// f(task, thread_index) for every task in [0, n_tasks), each once, in no fixed order; returns when all are done.
// thread_index is in [0, threads) and differs between the threads of this call, so it may index scratch of this call
// that was sized by the same `threads`. Calls from within a task, or while another thread has the pool, run on the
// caller. The first exception ends the call: tasks not yet begun are skipped and it is rethrown here.
template <class F>
void parallel_for(int64_t n_tasks, F&& f, int threads = num_threads()) {
  if (n_tasks <= 1 || threads <= 1) {
    for (int64_t i = 0; i < n_tasks; ++i) f(i, 0);
    return;
  }
  using Fn = std::remove_reference_t<F>;
  detail::run_tasks(
      n_tasks, threads,
      [](void* context, int64_t task, int thread) { (*static_cast<Fn*>(context))(task, thread); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

}  // namespace pd
