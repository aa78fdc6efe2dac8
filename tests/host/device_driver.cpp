// Checks of csrc/device and csrc/kernels/cpu without Python. Usage: device_driver CHECK [BLAS_LIBRARY]
// Prints what it measured; leaves with 1 and a line that says what failed.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "device/buffer.h"
#include "device/cpu/allocator.h"
#include "device/cpu/pool.h"
#include "device/device.h"
#include "kernels/cpu/blas.h"
#include "driver_checks.h"
#include "gemm_checks.h"

using namespace pd;

// The sanitizers of g++ 12 do not survive a fork: AddressSanitizer's allocator lock may be held by a thread that the child
// has not, and ThreadSanitizer refuses new threads in the child.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kForks = false;
#else
constexpr bool kForks = true;
#endif

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kCaches = false;
#else
constexpr bool kCaches = true;
#endif

template <class F>
double microseconds(F f, double budget = 0.05) {
  using Clock = std::chrono::steady_clock;
  double best = 1e30, spent = 0;
  for (int i = 0; i < 3 || spent < budget; ++i) {
    auto begin = Clock::now();
    f();
    double t = std::chrono::duration<double>(Clock::now() - begin).count();
    best = std::min(best, t);
    spent += t;
  }
  return best * 1e6;
}

// ---- allocator

void size_classes() {
  CHECK(cpu_block_bytes(0) == 64 && cpu_block_bytes(64) == 64 && cpu_block_bytes(65) == 128);
  CHECK(cpu_block_bytes(256) == 256 && cpu_block_bytes(257) == 320 && cpu_block_bytes(1025) == 1280);
  for (size_t n = 1; n < (size_t(1) << 40); n += n / 7 + 1) {
    size_t b = cpu_block_bytes(n);
    CHECK(b >= n && b % 64 == 0 && cpu_block_bytes(b) == b && (b <= 256 || b <= n + n / 4));
  }
}

void allocate_reuse() {
  for (size_t n : {size_t(1), size_t(300), size_t(5000), size_t(1) << 20, size_t(3) << 20, size_t(40) << 20}) {
    MemoryStats before = cpu_memory_stats();
    void* p = cpu_allocate(n);
    CHECK(reinterpret_cast<uintptr_t>(p) % 64 == 0);
    std::memset(p, 1, n);
    MemoryStats with = cpu_memory_stats();
    CHECK(with.live == before.live + cpu_block_bytes(n) && with.live_blocks == before.live_blocks + 1);
    CHECK(with.allocations == before.allocations + 1 && with.peak >= with.live);
    cpu_free(p, n);
    CHECK(cpu_memory_stats().live == before.live);
    if (kCaches) {
      void* q = cpu_allocate(n);
      CHECK(q == p);
      cpu_free(q, n);
    }
  }
  cpu_empty_cache();
  MemoryStats s = cpu_memory_stats();
  CHECK(s.cached == 0 && s.live == 0);
}

void cache_is_bounded() {
  // Peak 1 GiB, touched nowhere; the cache keeps half of it.
  const size_t n = size_t(32) << 20;
  std::vector<void*> blocks;
  for (int i = 0; i < 32; ++i) blocks.push_back(cpu_allocate(n));
  for (void* p : blocks) cpu_free(p, n);
  MemoryStats s = cpu_memory_stats();
  CHECK(s.cached <= std::max(size_t(256) << 20, s.peak / 2));
  CHECK(!kCaches || s.cached > size_t(400) << 20);
  cpu_empty_cache();
  CHECK(cpu_memory_stats().cached == 0);

  // Every slab in use by one cell: nothing can be given back, and freeing must stay fast.
  const int many = 400000;
  std::vector<void*> cells(many);
  for (void*& p : cells) p = cpu_allocate(1000);
  double t = microseconds([&] {
    for (int i = 0; i < many; ++i)
      if (cells[i] && i % 60) {
        cpu_free(cells[i], 1000);
        cells[i] = nullptr;
      }
  }, 0);
  std::printf("free with a cache that cannot shrink: %.0f ns\n", t * 1e3 / many);
  for (void* p : cells) cpu_free(p, 1000);
  cpu_empty_cache();
  CHECK(cpu_memory_stats().cached == 0 && cpu_memory_stats().live == 0);
}

void out_of_memory() {
  for (size_t n : {size_t(1) << 46, size_t(1) << 60, ~size_t(0)}) {
    std::string text = error_of([&] { cpu_allocate(n); }, ErrorKind::Memory);
    CHECK(has(text, "[allocate] out of memory; got ") && has(text, "; try "));
    CHECK(has(text, std::to_string(n).c_str()));
  }
  // The cache is given up before the error.
  void* p = cpu_allocate(size_t(64) << 20);
  cpu_free(p, size_t(64) << 20);
  error_of([&] { cpu_allocate(size_t(1) << 46); }, ErrorKind::Memory);
  CHECK(cpu_memory_stats().cached == 0);
}

void allocate_stress() {
  std::vector<std::thread> threads;
  std::atomic<bool> good{true};
  // Blocks are also freed by threads that did not allocate them.
  constexpr int kShelf = 256;
  static std::atomic<uint64_t*> shelf[kShelf];
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t, &good] {
      std::mt19937_64 random(t);
      for (int i = 0; i < 60000; ++i) {
        size_t n = 16 + (random() % 3 ? random() % 900 : random() % 200000);
        uint64_t* p = static_cast<uint64_t*>(cpu_allocate(n));
        p[0] = n;
        p[1] = n * 3 + 1;
        p = shelf[random() % kShelf].exchange(p);
        if (p) {
          if (p[1] != p[0] * 3 + 1) good = false;
          cpu_free(p, p[0]);
        }
      }
    });
  for (std::thread& t : threads) t.join();
  for (auto& s : shelf)
    if (uint64_t* p = s.exchange(nullptr)) cpu_free(p, p[0]);
  CHECK(good);
  CHECK(cpu_memory_stats().live == 0 && cpu_memory_stats().live_blocks == 0);
  cpu_empty_cache();
  CHECK(cpu_memory_stats().cached == 0);
}

// ---- buffer, device

void buffers() {
  MemoryStats start = cpu_memory_stats();
  BufferRef a = BufferRef::adopt(new_buffer(DeviceId(), 1000));
  CHECK(a->bytes == 1000 && reinterpret_cast<uintptr_t>(a->data) % 64 == 0 && donatable(a.get()));
  {
    BufferRef b = a;
    CHECK(a->refs == 2 && !donatable(a.get()));
    BufferRef c = std::move(b);
    CHECK(!b && a->refs == 2);
    a = a;
    CHECK(a->refs == 2);
  }
  CHECK(donatable(a.get()));
  a.reset();
  CHECK(cpu_memory_stats().live == start.live);

  int released = 0;
  float outside[4] = {};
  Buffer* w = wrap_external(outside, sizeof outside, DeviceId(), &released, [](void* p) { ++*static_cast<int*>(p); });
  CHECK(!donatable(w) && w->data == outside);
  retain(w);
  release(w);
  CHECK(released == 0);
  release(w);
  CHECK(released == 1);
  release(wrap_external(outside, sizeof outside, DeviceId(), nullptr, nullptr));

  std::vector<std::thread> threads;
  BufferRef shared = BufferRef::adopt(new_buffer(DeviceId(), 64));
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&shared] {
      for (int i = 0; i < 20000; ++i) {
        BufferRef mine = shared;
        BufferRef own = BufferRef::adopt(new_buffer(DeviceId(), static_cast<size_t>(i % 3000)));
        *static_cast<volatile char*>(own->data) = 1;
      }
    });
  for (std::thread& t : threads) t.join();
  CHECK(shared->refs == 1);
}

void device_interface() {
  Device& d = device(DeviceId());
  CHECK(std::string(d.name()) == "cpu" && d.id() == DeviceId() && d.parallelism() == num_threads());
  CHECK(device_count(DeviceKind::Cpu) == 1 && device_count(DeviceKind::Cuda) == 0);
  std::string text = error_of([] { device({DeviceKind::Cuda, 0}); }, ErrorKind::Runtime);
  CHECK(text == "[device] no CUDA device; got cuda:0; try device='cpu'");

  Event begin = d.new_event(), end = d.new_event();
  Stream s = d.new_stream();
  d.record(begin, s);
  const size_t n = (size_t(5) << 20) + 12;
  char *p = static_cast<char*>(d.allocate(n)), *q = static_cast<char*>(d.allocate_host(n));
  for (size_t size : {1, 2, 4, 8, 16}) {
    char item[16];
    for (int i = 0; i < 16; ++i) item[i] = static_cast<char>(i * 7 + 3);
    size_t count = n / size;
    d.zero(p, n, s);
    d.fill(p, item, size, static_cast<int64_t>(count), s);
    for (size_t i = 0; i < count * size; ++i) CHECK(p[i] == item[i % size]);
    for (size_t i = count * size; i < n; ++i) CHECK(p[i] == 0);
  }
  error_of([&] { d.fill(p, q, 3, 1); }, ErrorKind::Value);
  d.copy(q, p, n, CopyKind::DeviceToHost, s);
  CHECK(std::memcmp(p, q, n) == 0);
  d.zero(p, n);
  CHECK(p[0] == 0 && p[n - 1] == 0);

  CpuEntry entry = [](void* const* args, int64_t block, int) { static_cast<int*>(args[0])[block] = static_cast<int>(block); };
  int hit[24] = {};
  void* args[] = {hit};
  LaunchSize size;
  size.grid[0] = 2, size.grid[1] = 3, size.grid[2] = 4;
  d.launch({reinterpret_cast<void*>(entry), "count"}, size, args, s);
  d.wait(s, begin);
  d.record(end, s);
  d.synchronize(end);
  d.synchronize(s);
  d.synchronize();
  for (int i = 0; i < 24; ++i) CHECK(hit[i] == i);
  CHECK(d.done(end) && d.milliseconds(begin, end) > 0);
  d.free_event(begin);
  d.free_event(end);
  d.free_stream(s);
  d.free(p, n);
  d.free_host(q, n);
  CHECK(d.memory_stats().live == 0 && d.memory_stats().peak >= 2 * n);
  d.reset_peak();
  CHECK(d.memory_stats().peak == 0);
}

// ---- pool

void run_counts(int threads, int64_t n) {
  std::vector<std::atomic<int>> hit(static_cast<size_t>(n));
  std::atomic<bool> good{true};
  parallel_for(n, [&](int64_t i, int t) {
    ++hit[static_cast<size_t>(i)];
    if (t < 0 || t >= threads) good = false;
  });
  for (auto& h : hit) CHECK(h == 1);
  CHECK(good);
}

void pool_tasks() {
  for (int threads : {1, 2, 5, 2}) {
    set_num_threads(threads);
    CHECK(num_threads() == threads);
    for (int64_t n : {0, 1, 2, 7, 1000})
      for (int r = 0; r < 50; ++r) run_counts(threads, n);
  }
  // Workers asleep as well as awake.
  for (int r = 0; r < 100; ++r) {
    std::this_thread::sleep_for(std::chrono::microseconds(r));
    run_counts(2, 3);
  }
  set_num_threads(5);
  parallel_for(200, [&](int64_t, int t) { CHECK(t < 2); }, 2);
  CHECK(has(error_of([] { set_num_threads(0); }, ErrorKind::Value), "[set_num_threads]"));
  parallel_for(2, [](int64_t, int) { error_of([] { set_num_threads(2); }, ErrorKind::Runtime); });
}

void pool_nested() {
  set_num_threads(3);
  std::atomic<int> sum{0};
  parallel_for(20, [&](int64_t, int) {
    std::thread::id me = std::this_thread::get_id();
    parallel_for(10, [&](int64_t i, int t) {
      CHECK(std::this_thread::get_id() == me && t == 0);
      sum += static_cast<int>(i);
    });
  });
  CHECK(sum == 20 * 45);
}

void pool_exceptions() {
  for (int threads : {1, 4}) {
    set_num_threads(threads);
    for (int r = 0; r < 50; ++r) {
      std::atomic<int> begun{0};
      std::atomic<bool> broke{false};
      std::string text = error_of(
          [&] {
            parallel_for(100000, [&](int64_t i, int) {
              ++begun;
              if (i == 3) {
                broke = true;
                fail("task", "broke");
              }
              // However the threads are scheduled, half of the tasks come after the failure, and slowly.
              while (i >= 50000 && !broke) std::this_thread::yield();
              if (i >= 50000) std::this_thread::sleep_for(std::chrono::milliseconds(1));
            });
          },
          ErrorKind::Value);
      CHECK(text == "[task] broke" && begun < 100000);
      run_counts(threads, 50);
    }
  }
}

// Threads that want the pool at the same time, while another changes its size.
void pool_callers() {
  set_num_threads(3);
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t)
    callers.emplace_back([] {
      for (int r = 0; r < 300; ++r) run_counts(1024, 20);
    });
  for (int r = 0; r < 20; ++r) set_num_threads(2 + r % 3);
  for (std::thread& t : callers) t.join();
}

int child(const std::function<void()>& f) {
  std::fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    alarm(20);
    f();
    std::fflush(stdout);
    _exit(0);
  }
  int status = -1;
  waitpid(pid, &status, 0);
  return status;
}

void pool_fork() {
  set_num_threads(3);
  run_counts(3, 100);
  for (int r = 0; r < 5; ++r) {
    CHECK(child([] {
            for (int i = 0; i < 20; ++i) run_counts(3, 100);
            cpu_free(cpu_allocate(100), 100);
            shutdown_pool();
          }) == 0);
    run_counts(3, 100);
  }
  // Forked while other threads allocate.
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) release(new_buffer(DeviceId(), 100));
  });
  for (int r = 0; r < 20; ++r)
    CHECK(child([] {
            release(new_buffer(DeviceId(), 100));
            run_counts(3, 10);
          }) == 0);
  stop = true;
  busy.join();
}

void pool_shutdown() {
  shutdown_pool();
  set_num_threads(4);
  run_counts(4, 100);
  shutdown_pool();
  shutdown_pool();
  std::thread::id me = std::this_thread::get_id();
  parallel_for(50, [&](int64_t, int) { CHECK(std::this_thread::get_id() == me); });
  set_num_threads(2);
  run_counts(2, 100);
  // Leaving with live workers must not crash.
}

void pool_environment() {
  CHECK(num_cpus() >= 1);
  CHECK(child([] {
          setenv("PYDIFF_NUM_THREADS", "7", 1);
          CHECK(num_threads() == 7);
          run_counts(7, 30);
        }) == 0);
  CHECK(child([] {
          setenv("PYDIFF_NUM_THREADS", "many", 1);
          std::string text = error_of([] { num_threads(); }, ErrorKind::Value);
          CHECK(has(text, "[PYDIFF_NUM_THREADS]") && has(text, "'many'"));
        }) == 0);
  CHECK(child([] { CHECK(num_threads() == num_cpus()); }) == 0);
}

// ---- gemm: gemm_checks.h

void gemm_fork() {
  bits_of<float>(128, 512, 300);
  CHECK(child([] { bits_of<float>(128, 512, 300); }) == 0);
}

// ---- figures, for the reader

void timing() {
  const int many = 20000;
  for (size_t n : {size_t(64), size_t(1000), size_t(4096), size_t(1) << 20, size_t(8) << 20})
    std::printf("allocate + free, %zu bytes: %.1f ns\n", n,
                1e3 / many * microseconds([&] {
                  for (int i = 0; i < many; ++i) cpu_free(cpu_allocate(n), n);
                }));
  std::printf("new_buffer + release: %.1f ns\n", 1e3 / many * microseconds([&] {
                for (int i = 0; i < many; ++i) release(new_buffer(DeviceId(), 64));
              }));
  for (int threads : {1, 2}) {
    set_num_threads(threads);
    std::printf("parallel_for, %d threads, 2 empty tasks: %.2f us\n", threads, 1e-3 * microseconds([] {
                  for (int i = 0; i < 1000; ++i) parallel_for(2, [](int64_t, int) {});
                }));
  }
  std::printf("BLAS: %s\n", blas_name());
  for (auto& s : {Ints{16, 16, 16}, Ints{128, 512, 784}, Ints{128, 784, 512}, Ints{128, 512, 512}, Ints{512, 512, 128},
                  Ints{784, 512, 128}, Ints{512, 512, 512}, Ints{2048, 2048, 2048}, Ints{2048, 1, 2048}}) {
    Case x{false, false, s[0], s[1], s[2], false};
    auto a = random_items<float>(x.size_a(), 1), b = random_items<float>(x.size_b(), 2);
    std::vector<float> c(x.size_c());
    std::printf("(%ld, %ld, %ld):", long(x.m), long(x.n), long(x.k));
    double whole = 0;
    if (blas_available()) {
      blas::hold_one_thread();
      whole = microseconds([&] {
        blas::gemm(false, false, x.m, x.n, x.k, a.data(), x.lda(), b.data(), x.ldb(), c.data(), x.ldc(), false);
      });
      std::printf(" one BLAS call %.1f us", whole);
    }
    for (int threads : {1, 2}) {
      set_num_threads(threads);
      double t = microseconds([&] { run(x, a, b, c); });
      std::printf(", %d threads %.1f us", threads, t);
      if (whole > 0) std::printf(" (x%.2f)", whole / t);
    }
    std::printf("\n");
  }
}

int main(int argc, char** argv) {
  const std::map<std::string, void (*)()> checks = {
      {"size_classes", size_classes},
      {"allocate_reuse", allocate_reuse},
      {"cache_is_bounded", cache_is_bounded},
      {"out_of_memory", out_of_memory},
      {"allocate_stress", allocate_stress},
      {"buffers", buffers},
      {"device_interface", device_interface},
      {"pool_tasks", pool_tasks},
      {"pool_nested", pool_nested},
      {"pool_exceptions", pool_exceptions},
      {"pool_callers", pool_callers},
      {"pool_fork", pool_fork},
      {"pool_shutdown", pool_shutdown},
      {"pool_environment", pool_environment},
      {"gemm_float32", gemm_float32},
      {"gemm_float64", gemm_float64},
      {"gemm_integers", gemm_integers},
      {"gemm_broadcast_rows", gemm_broadcast_rows},
      {"gemm_bits", gemm_bits},
      {"gemm_batched", gemm_batched},
      {"gemm_strides", gemm_strides},
      {"tiles_of_lists", tiles_of_lists},
      {"gemm_fork", gemm_fork},
      {"timing", timing},
  };
  if (argc < 2 || !checks.count(argv[1])) {
    for (auto& c : checks) std::printf("%s\n", c.first.c_str());
    return argc < 2 ? 0 : 2;
  }
  CHECK(!blas_available() && std::string(blas_name()) == "none" && !blas_open("/nowhere/libblas.so"));
  if (argc > 2) CHECK(blas_open(argv[2]) && blas_available());
  const std::set<std::string> forking = {"pool_fork", "pool_environment", "gemm_fork"};
  if (!kForks && forking.count(argv[1])) {
    std::printf("skipped: forks under a sanitizer\n");
    return 0;
  }
  checks.at(argv[1])();
  std::printf("ok\n");
  return 0;
}
