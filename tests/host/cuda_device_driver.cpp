// Checks of csrc/device/cuda without Python. Usage: cuda_device_driver CHECK, or write_image FILE
// What is opened is said by PYDIFF_CUDA_DRIVER, PYDIFF_NVRTC and PYDIFF_CUBLAS. Leaves with 1 and a line that says what
// failed.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "device/buffer.h"
#include "device/cuda/cuda.h"
#include "device/cuda/graph.h"
#include "device/cuda/streams.h"
#include "device/device.h"

using namespace pd;
namespace fs = std::filesystem;

#define CHECK(cond)                                                  \
  do {                                                               \
    if (!(cond)) {                                                   \
      std::printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #cond); \
      std::fflush(stdout);                                           \
      std::_Exit(1);                                                 \
    }                                                                \
  } while (0)

template <class F>
std::string error_of(F f, ErrorKind kind = ErrorKind::Runtime) {
  try {
    f();
  } catch (const Error& e) {
    std::printf("%s\n", e.what());
    CHECK(e.kind == kind);
    return e.what();
  }
  return "no error";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
bool is_error(const std::string& text) { return has(text, "; got ") && has(text, "; try "); }

constexpr DeviceId kFirst{DeviceKind::Cuda, 0};

const char* const kScale = R"(
PD_KERNEL scale(float* x, float by, i64 n) {
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] = x[i] * by;
}
)";

std::string report_line(const std::string& key) {
  for (auto& line : cuda_report())
    if (line.first == key) return line.second;
  return "";
}

// ---- nothing there

void nothing_works(const std::string& why) {
  CHECK(device_count(DeviceKind::Cuda) == 0);
  char byte = 0;
  for (std::string text : {error_of([] { device(kFirst); }), error_of([] { device({DeviceKind::Cuda, 5}); }),
                           error_of([] { cuda_properties(0); }), error_of([] { cuda_kernel(kFirst, kScale, "scale"); }),
                           error_of([] { new_buffer(kFirst, 8); }),
                           error_of([&] {
                             cuda_gemm(kFirst, DType::F32, false, false, 1, 1, 1, &byte, 1, &byte, 1, &byte, 1, false,
                                       1, 0, 0, 0, {});
                           })})
    CHECK(has(text, why) && is_error(text));
  for (auto& line : cuda_report()) {
    std::printf("%s: %s\n", line.first.c_str(), line.second.c_str());
    CHECK(!line.first.empty() && !line.second.empty());
  }
  CHECK(has(report_line("driver"), why));
  release(new_buffer(DeviceId(), 100));  // the CPU goes on
}

void no_driver() { nothing_works("[cuda] no NVIDIA driver was found; got PYDIFF_CUDA_DRIVER: /nowhere"); }
void old_driver() { nothing_works("[cuda] the NVIDIA driver is too old; got one for CUDA 11.8; try "); }
void poor_driver() { nothing_works("[cuda] the CUDA driver lacks a function; got cuInit in "); }
void no_gpu() { nothing_works("[cuda] the driver sees no GPU; got "); }

void no_nvrtc() {
  std::string text = error_of([] { cuda_compile(kScale, "sm_90a"); });
  CHECK(has(text, "[cuda] NVRTC, which compiles kernels, was not found; got PYDIFF_NVRTC: /nowhere") && is_error(text));
  CHECK(has(report_line("NVRTC"), "was not found"));
}

// ---- the compiler alone

size_t files_in(const std::string& folder) {
  std::error_code error;
  size_t n = 0;
  for (fs::directory_iterator i(folder, error), end; !error && i != end; i.increment(error)) ++n;
  return n;
}

std::string cache_folder() { return std::string(std::getenv("PYDIFF_CACHE_DIR")) + "/cuda"; }

void compiles() {
  CudaImage image = cuda_compile(kScale, "sm_90a");
  std::printf("%s\n", image.log.c_str());
  CHECK(image.ok && image.bytes.compare(0, 4, "\177ELF") == 0 && has(image.bytes, "scale"));
  CudaImage other = cuda_compile(kScale, "sm_80");
  CHECK(other.ok && other.bytes != image.bytes);
  CHECK(has(report_line("NVRTC"), "."));
  // The prelude stands before the text, and a text without it would not compile.
  CHECK(cuda_compile("PD_KERNEL empty() {}", "sm_90a").ok);
  CHECK(cuda_compile("int helper(int x) { return x + 1; }\nPD_KERNEL k(int* p) { *p = helper(*p); }", "sm_90a").ok);
}

// For whoever looks at the machine code: the image is written to a file.
void write_image(const char* path) {
  CudaImage image = cuda_compile("PD_KERNEL f(float* x, float* y) { x[0] = x[0] * y[0] + x[1]; }", "sm_90a");
  CHECK(image.ok);
  std::ofstream(path, std::ios::binary) << image.bytes;
}

void does_not_compile() {
  for (int i = 0; i < 2; ++i) {
    CudaImage image = cuda_compile("PD_KERNEL wrong(float* x) {\n  x[0] = absent_name;\n}\n", "sm_90a");
    std::printf("%s\n", image.log.c_str());
    CHECK(!image.ok && image.bytes.empty() && has(image.log, "absent_name") && has(image.log, "kernel.cu(2)"));
  }
  CudaImage image = cuda_compile(kScale, "sm_1234");
  CHECK(!image.ok && !image.log.empty());
  CHECK(files_in(cache_folder()) == 0);
}

void compiles_in_threads() {
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      std::string name = "kernel_" + std::to_string(t);
      std::string body = "(int* x) { x[threadIdx.x] = " + std::to_string(t) + "; }";
      CudaImage image = cuda_compile("PD_KERNEL " + name + body, "sm_90a");
      if (image.ok && has(image.bytes, name)) ++good;
    });
  for (std::thread& t : threads) t.join();
  CHECK(good == 4 && files_in(cache_folder()) == 4);
}

template <class F>
void change_files(F change) {
  for (auto& entry : fs::directory_iterator(cache_folder())) {
    std::ifstream in(entry.path(), std::ios::binary);
    std::string data((std::istreambuf_iterator<char>(in)), {});
    change(data);
    std::ofstream(entry.path(), std::ios::binary) << data;
  }
}

void disk_cache() {
  CudaImage first = cuda_compile(kScale, "sm_90a");
  CHECK(first.ok && files_in(cache_folder()) == 1);
  CHECK((fs::status(cache_folder()).permissions() & fs::perms::all) == fs::perms::owner_all);
  // A file that served is marked as used.
  auto begin = fs::last_write_time(fs::directory_iterator(cache_folder())->path());
  CHECK(cuda_compile(kScale, "sm_90a").bytes == first.bytes);
  CHECK(fs::last_write_time(fs::directory_iterator(cache_folder())->path()) > begin);
  // Damage of any kind: compiled again, and stored again.
  std::string good;
  change_files([&](std::string& data) { good = data; });
  for (int kind = 0; kind < 6; ++kind) {
    change_files([&](std::string& data) {
      if (kind == 0) data.clear();
      if (kind == 1) data.resize(20);
      if (kind == 2) data.resize(data.size() - 1);
      if (kind == 3) data[data.size() / 2] ^= 1;
      if (kind == 4) data[0] ^= 1;
      if (kind == 5) data.insert(24, "12345678");
    });
    CHECK(cuda_compile(kScale, "sm_90a").bytes == first.bytes);
    change_files([&](std::string& data) { CHECK(data == good); });
  }
  CHECK(cuda_compile(kScale, "sm_80").ok && files_in(cache_folder()) == 2);
  CHECK(cuda_compile(std::string(kScale) + "\n", "sm_90a").ok && files_in(cache_folder()) == 3);
}

// The folder is below a file, so it cannot be made.
void cache_cannot_be_written() {
  for (int i = 0; i < 2; ++i) CHECK(cuda_compile(kScale, "sm_90a").ok);
}

void cache_is_off() {
  CHECK(cuda_compile(kScale, "sm_90a").ok);
  CHECK(has(report_line("kernel cache"), "none"));
}

// A file that cannot grow stands for a disk that is full.
void disk_is_full() {
  signal(SIGXFSZ, SIG_IGN);
  rlimit limit{512, 512};
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  for (int i = 0; i < 2; ++i) CHECK(cuda_compile(kScale, "sm_90a").ok);
  CHECK(files_in(cache_folder()) == 0);
}

// ---- a device

void properties() {
  int n = device_count(DeviceKind::Cuda);
  CHECK(n == 2);
  for (int i = 0; i < n; ++i) {
    const CudaProperties& p = cuda_properties(i);
    CHECK(!p.name.empty() && p.major >= 5 && p.multiprocessors > 0 && p.max_threads_per_multiprocessor >= 1024);
    CHECK(p.memory > (size_t(1) << 20) && p.shared_per_block_optin >= 48 * 1024);
    Device& d = device({DeviceKind::Cuda, static_cast<int8_t>(i)});
    CHECK(&d == &device({DeviceKind::Cuda, static_cast<int8_t>(i)}));
    CHECK(d.id().index == i && d.id().kind == DeviceKind::Cuda);
    CHECK(d.name() == p.name && d.parallelism() == p.multiprocessors);
  }
  for (int8_t wrong : {2, 5, 127, -1}) {
    std::string text = error_of([&] { device({DeviceKind::Cuda, wrong}); });
    CHECK(has(text, "[cuda] no such device; got cuda:" + std::to_string(wrong) + " of 2; try device='cuda:1'"));
  }
  CHECK(report_line("devices") == "2" && has(report_line("cuda:1"), "compute capability"));
  CHECK(has(report_line("driver"), "CUDA 1"));
}

template <class T>
std::vector<T> down(Device& d, const void* p, size_t n, Stream s = {}) {
  std::vector<T> host(n);
  d.copy(host.data(), p, n * sizeof(T), CopyKind::DeviceToHost, s);
  return host;
}

void memory() {
  Device& d = device(kFirst);
  MemoryStats start = d.memory_stats();
  CHECK(start.live == 0 && start.live_blocks == 0);
  for (size_t n : {size_t(0), size_t(1), size_t(1000), size_t(1) << 20}) {
    void* p = d.allocate(n);
    CHECK(p && reinterpret_cast<uintptr_t>(p) % 64 == 0);
    MemoryStats with = d.memory_stats();
    CHECK(with.live >= n && with.live < n + 1024 && with.live_blocks == 1 && with.peak >= with.live);
    d.free(p, n);
    CHECK(d.memory_stats().live == 0 && d.memory_stats().live_blocks == 0);
  }
  CHECK(d.memory_stats().allocations == start.allocations + 4);
  void *p = d.allocate(3 << 20), *q = d.allocate(1 << 20);
  d.free(p, 3 << 20);
  MemoryStats s = d.memory_stats();
  CHECK(s.live == size_t(1) << 20 && s.peak == size_t(4) << 20);
  d.reset_peak();
  CHECK(d.memory_stats().peak == size_t(1) << 20);
  d.free(q, 1 << 20);
  d.free(nullptr, 0);
  d.empty_cache();
  CHECK(d.memory_stats().cached == 0 && d.memory_stats().live == 0);
  release(new_buffer(kFirst, 1000));
  CHECK(d.memory_stats().live == 0);

  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 1; i < 200; ++i) d.free(d.allocate(static_cast<size_t>(i) * 100), static_cast<size_t>(i) * 100);
    });
  for (std::thread& t : threads) t.join();
  CHECK(d.memory_stats().live == 0 && d.memory_stats().live_blocks == 0);
}

// With a driver whose pool keeps a MiB for each block that is freed, until it is trimmed with nothing running, and that
// has no room for blocks of 3 MiB and more meanwhile.
void pool_keeps() {
  Device& d = device(kFirst);
  const size_t mib = size_t(1) << 20;
  void *p = d.allocate(2 * mib), *q = d.allocate(100);
  CHECK(d.memory_stats().cached == 0);
  d.free(q, 100);
  MemoryStats s = d.memory_stats();
  CHECK(s.cached == mib && s.live == 2 * mib && s.live_blocks == 1);
  d.empty_cache();
  CHECK(d.memory_stats().cached == 0);
  d.free(d.allocate(100), 100);
  CHECK(d.memory_stats().cached == mib);
  void* r = d.allocate(3 * mib);  // the cache is given up for it
  CHECK(d.memory_stats().cached == 0 && d.memory_stats().live == 5 * mib);
  d.free(r, 3 * mib);
  d.free(p, 2 * mib);
}

void out_of_memory() {
  Device& d = device(kFirst);
  void* kept = d.allocate(1 << 20);
  d.free(d.allocate(5 << 20), 5 << 20);
  for (size_t n : {size_t(1) << 44, size_t(1) << 60, ~size_t(0)}) {
    std::string text = error_of([&] { d.allocate(n); }, ErrorKind::Memory);
    CHECK(has(text, "[memory] out of memory on cuda:0; got a request of ") && is_error(text));
    CHECK(has(text, " free of ") && has(text, "1.0 MiB in live tensors"));
  }
  CHECK(has(error_of([&] { d.allocate(size_t(1) << 44); }, ErrorKind::Memory), "a request of 16.0 TiB"));
  CHECK(d.memory_stats().live == size_t(1) << 20 && d.memory_stats().live_blocks == 1);
  d.zero(kept, 1 << 20);  // the process goes on
  d.synchronize();
  d.free(kept, 1 << 20);
  // More than there is, of blocks that fit; then again, as all of it is free.
  size_t block = cuda_properties(0).memory / 4;
  for (int round = 0; round < 2; ++round) {
    std::vector<void*> blocks;
    auto too_many = [&] {
      for (int i = 0; i < 5; ++i) blocks.push_back(d.allocate(block));
    };
    std::string text = error_of(too_many, ErrorKind::Memory);
    CHECK(has(text, "out of memory") && blocks.size() >= 2);
    for (void* p : blocks) d.free(p, block);
  }
  void* half = d.allocate(2 * block);
  d.free(half, 2 * block);
  CHECK(d.memory_stats().live == 0);
}

void copies() {
  Device& d = device(kFirst);
  Stream own = d.new_stream();
  const size_t n = (size_t(3) << 20) + 12;
  char *p = static_cast<char*>(d.allocate(n)), *q = static_cast<char*>(d.allocate(n));
  char *pinned = static_cast<char*>(d.allocate_host(n)), *back = static_cast<char*>(d.allocate_host(n));
  std::vector<char> host(n);
  std::mt19937 random(1);
  for (Stream s : {Stream{}, own}) {
    for (char& c : host) c = static_cast<char>(random());
    d.copy(p, host.data(), n, CopyKind::HostToDevice, s);
    d.copy(q, p, n, CopyKind::DeviceToDevice, s);
    CHECK(down<char>(d, q, n, s) == host);  // in order, and done when it returns
    for (size_t i = 0; i < n; ++i) pinned[i] = static_cast<char>(~host[i]);
    d.copy(p, pinned, n, CopyKind::HostToDevice, s);
    d.copy(q, p, n, CopyKind::DeviceToDevice, s);
    d.copy(back, q, n, CopyKind::DeviceToHost, s);
    d.synchronize(s);
    CHECK(std::memcmp(back, pinned, n) == 0);
    d.copy(p + 7, host.data() + 1, 9, CopyKind::HostToDevice, s);
    CHECK(std::memcmp(down<char>(d, p + 7, 9, s).data(), host.data() + 1, 9) == 0);
    d.copy(p, nullptr, 0, CopyKind::HostToDevice, s);
  }
  // Between devices.
  Device& e = device({DeviceKind::Cuda, 1});
  void* r = e.allocate(n);
  d.copy(p, host.data(), n, CopyKind::HostToDevice);
  d.synchronize();
  cuda_copy_between(e.id(), r, d.id(), p, n);
  CHECK(down<char>(e, r, n) == host);
  CHECK(e.memory_stats().live_blocks == 1 && d.memory_stats().live_blocks == 2);
  e.free(r, n);
  d.free_host(pinned, n);
  d.free_host(back, n);
  d.free(p, n);
  d.free(q, n);
  d.free_stream(own);
}

void fill() {
  Device& d = device(kFirst);
  const size_t n = 100003 * 16;
  char* p = static_cast<char*>(d.allocate(n));
  for (int pattern = 0; pattern < 3; ++pattern)
    for (size_t size : {1, 2, 4, 8, 16}) {
      char item[16];
      // All bytes differ; one half repeats; one word repeats.
      const int period = pattern == 0 ? 16 : pattern == 1 ? 8 : 4;
      for (int i = 0; i < 16; ++i) item[i] = static_cast<char>(i % period * 7 + 3);
      for (int64_t count : {int64_t(0), int64_t(1), int64_t(77), static_cast<int64_t>(n / size - 1)}) {
        d.zero(p, n);
        d.fill(p, item, size, count);
        std::vector<char> got = down<char>(d, p, n);
        for (size_t i = 0; i < n; ++i) CHECK(got[i] == (i < static_cast<size_t>(count) * size ? item[i % size] : 0));
      }
    }
  CHECK(has(error_of([&] { d.fill(p, "abc", 3, 1); }, ErrorKind::Value), "[fill] no such item size; got 3 bytes"));
  d.free(p, n);
}

void events() {
  Device& d = device(kFirst);
  Event begin = d.new_event(), end = d.new_event();
  Stream a = d.new_stream(), b = d.new_stream();
  CHECK(a.handle && b.handle && a.handle != b.handle);
  const size_t n = size_t(4) << 20;
  void *p = d.allocate(n), *q = d.allocate(n);
  d.synchronize();
  d.record(begin, a);
  float item = 2.5f;
  d.fill(p, &item, 4, static_cast<int64_t>(n / 4), a);
  d.record(end, a);
  d.wait(b, end);
  d.copy(q, p, n, CopyKind::DeviceToDevice, b);
  CHECK(down<float>(d, q, n / 4, b) == std::vector<float>(n / 4, 2.5f));
  d.synchronize(end);
  CHECK(d.done(end) && d.milliseconds(begin, end) >= 0);
  d.synchronize(a);
  d.synchronize();
  d.free(p, n);
  d.free(q, n);
  d.free_event(begin);
  d.free_event(end);
  d.free_stream(a);
  d.free_stream(b);
}

// Who waits for the device, and who empties its cache, waits for a capture to end: the driver would refuse both.
void waits_for_captures() {
  if (!cuda_has_graphs()) return;
  Device& d = device(kFirst);
  void* p = d.allocate(4096);
  std::atomic<int> begun{0}, passed{0};
  std::thread one, other;
  const CudaGraph graph = cuda_capture(kFirst, [&](Stream s) {
    one = std::thread([&] { ++begun, d.synchronize(), ++passed; });
    other = std::thread([&] { ++begun, d.empty_cache(), ++passed; });
    while (begun < 2) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    CHECK(!passed);
    d.zero(p, 4096, s);
  });
  one.join(), other.join();
  cuda_launch(kFirst, graph, Stream{});
  CHECK(down<char>(d, p, 4096) == std::vector<char>(4096, 0));
  cuda_free(kFirst, graph), d.free(p, 4096);
}

const char* const kWork = R"(
PD_KERNEL where(int* out) {
  int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  out[block * (blockDim.x * blockDim.y * blockDim.z) + thread] = block * 1000 + thread;
}

PD_KERNEL backwards(int* x, int n) {
  PD_DYNAMIC_SHARED(room);
  int* mine = (int*)room;
  for (int i = threadIdx.x; i < n; i += blockDim.x) mine[i] = x[i];
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x) x[i] = mine[n - 1 - i];
}
)";

void launch() {
  Device& d = device(kFirst);
  LaunchSize size;
  for (int i = 0; i < 3; ++i) size.grid[i] = static_cast<uint32_t>(i + 2), size.block[i] = static_cast<uint32_t>(4 - i);
  int blocks = 2 * 3 * 4, threads = 4 * 3 * 2, n = blocks * threads;
  size_t bytes = static_cast<size_t>(n) * sizeof(int);
  void* p = d.allocate(bytes);
  void* args[] = {&p};
  DeviceKernel where = cuda_kernel(kFirst, kWork, "where");
  CHECK(where.entry && std::string(where.name) == "where");
  DeviceKernel again = cuda_kernel(kFirst, kWork, "where");
  CHECK(again.entry == where.entry && again.name == where.name);
  d.launch(where, size, args);
  std::vector<int> got = down<int>(d, p, static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) CHECK(got[static_cast<size_t>(i)] == i / threads * 1000 + i % threads);
  d.zero(p, bytes);
  LaunchSize none = size;
  none.grid[1] = 0;
  d.launch(where, none, args);
  CHECK(down<int>(d, p, static_cast<size_t>(n)) == std::vector<int>(static_cast<size_t>(n), 0));
  d.free(p, bytes);

  // 64 KiB of dynamic shared memory must be asked for when the kernel is made; then less will do too.
  const int many = 16384;
  std::vector<int> up(many);
  for (int i = 0; i < many; ++i) up[static_cast<size_t>(i)] = i;
  void* q = d.allocate(many * sizeof(int));
  int count = many;
  void* both[] = {&q, &count};
  LaunchSize wide;
  wide.block[0] = 128;
  for (size_t room : {size_t(1024), size_t(65536), size_t(2048)}) {
    count = static_cast<int>(room / sizeof(int));
    d.copy(q, up.data(), many * sizeof(int), CopyKind::HostToDevice);
    DeviceKernel k = cuda_kernel(kFirst, kWork, "backwards", room);
    wide.shared_bytes = room;
    d.launch(k, wide, both);
    got = down<int>(d, q, many);
    for (int i = 0; i < count; ++i) CHECK(got[static_cast<size_t>(i)] == count - 1 - i);
    for (int i = count; i < many; ++i) CHECK(got[static_cast<size_t>(i)] == i);
  }
  d.free(q, many * sizeof(int));

  std::string text = error_of([&] { cuda_kernel(kFirst, kWork, "backwards", size_t(10) << 20); });
  CHECK(has(text, "wants more shared memory than a block can have; got 10485760 bytes of ") && is_error(text));
  LaunchSize big;
  big.block[0] = 4096;
  text = error_of([&] { d.launch(where, big, args); });
  CHECK(has(text, "[cuda] cuLaunchKernel failed; got CUDA_ERROR_INVALID_VALUE") && is_error(text));
  CHECK(has(text, "cuda:0, kernel where, grid (1, 1, 1), block (4096, 1, 1)"));
  d.synchronize();
}

void kernel_errors() {
  std::string text = error_of([] { cuda_kernel(kFirst, "PD_KERNEL wrong() {\n  absent_name();\n}", "wrong"); });
  CHECK(has(text, "[cuda] kernel wrong does not compile for sm_") && is_error(text));
  CHECK(has(text, "absent_name") && has(text, "kernel.cu") && has(text, "PYDIFF_DEBUG=4"));
  text = error_of([] { cuda_kernel(kFirst, kWork, "missing"); });
  CHECK(has(text, "[cuda] the text has no such kernel; got missing") && is_error(text));
  CHECK(cuda_kernel(kFirst, kWork, "where").entry);
}

void image_taken() { CHECK(cuda_kernel(kFirst, kScale, "scale").entry); }

void image_refused() {
  std::string text = error_of([] { cuda_kernel(kFirst, kScale, "scale"); });
  CHECK(has(text, "[cuda] cuModuleLoadData failed; got CUDA_ERROR_NO_BINARY_FOR_GPU") && is_error(text));
  CHECK(has(text, "cuda:0, kernel scale") && has(text, "NVRTC that is no newer than the driver"));
  image_taken();  // another try is made of the stored image
}

// Seen on the Python side: each text was compiled once, though eight threads asked.
void compiled_once() {
  std::vector<std::thread> threads;
  std::vector<void*> entries(16);
  for (size_t t = 0; t < 16; ++t)
    threads.emplace_back([&, t] {
      entries[t] = cuda_kernel(kFirst, t % 2 ? kWork : kScale, t % 2 ? "where" : "scale").entry;
    });
  for (std::thread& t : threads) t.join();
  for (size_t t = 2; t < 16; ++t) CHECK(entries[t] == entries[t - 2]);
  CHECK(entries[0] && entries[1] && entries[0] != entries[1]);
  // Another device has a module of its own, made of the stored image.
  CHECK(cuda_kernel({DeviceKind::Cuda, 1}, kScale, "scale").entry != entries[0]);
}

void wrong_while_others_wait() {
  std::atomic<int> errors{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([&] {
      std::string text = error_of([] { cuda_kernel(kFirst, "PD_KERNEL wrong() { absent_name(); }", "wrong"); });
      if (has(text, "absent_name")) ++errors;
    });
  for (std::thread& t : threads) t.join();
  CHECK(errors == 6);
}

// Two devices on one thread, and one device on many: each call finds the right context.
void contexts() {
  const int n = 1000;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([n] {
      std::vector<float> host(n, 3.f);
      void* at[2];
      for (int8_t i = 0; i < 2; ++i) at[i] = device({DeviceKind::Cuda, i}).allocate(n * sizeof(float));
      for (int round = 0; round < 3; ++round)
        for (int8_t i = 0; i < 2; ++i) {
          Device& d = device({DeviceKind::Cuda, i});
          d.copy(at[i], host.data(), n * sizeof(float), CopyKind::HostToDevice);
          DeviceKernel k = cuda_kernel(d.id(), kScale, "scale");
          LaunchSize size;
          size.block[0] = 128;
          size.grid[0] = (n + 127) / 128;
          float by = 2;
          long long count = n;
          void* args[] = {&at[i], &by, &count};
          d.launch(k, size, args);
          CHECK(down<float>(d, at[i], n) == std::vector<float>(n, 6.f));
        }
      for (int8_t i = 0; i < 2; ++i) device({DeviceKind::Cuda, i}).free(at[i], n * sizeof(float));
    });
  for (std::thread& t : threads) t.join();
  for (int8_t i = 0; i < 2; ++i) CHECK(device({DeviceKind::Cuda, i}).memory_stats().live == 0);
}

// ---- products

struct Product {
  bool ta, tb;
  int64_t m, n, k;
  bool accumulate;
  int64_t pad, batch;
  bool share_b;
};

template <class T>
void check_product(const Product& p) {
  Device& d = device(kFirst);
  int64_t lda = (p.ta ? p.m : p.k) + p.pad, ldb = (p.tb ? p.k : p.n) + p.pad, ldc = p.n + p.pad;
  int64_t stride_a = (p.ta ? p.k : p.m) * lda + 3, stride_b = p.share_b ? 0 : (p.tb ? p.n : p.k) * ldb + 1;
  int64_t stride_c = p.m * ldc;
  std::mt19937 random(7);
  auto items = [&](int64_t n) {
    std::vector<T> v(static_cast<size_t>(n));
    for (T& x : v) x = static_cast<T>(static_cast<double>(random()) / 2147483648.0 - 1.0);
    return v;
  };
  std::vector<T> a = items(stride_a * p.batch + 1), c = items(stride_c * p.batch + 1);
  std::vector<T> b = items((p.tb ? p.n : p.k) * ldb + 1 + stride_b * (p.batch - 1) + 1);
  auto up = [&](const std::vector<T>& v) {
    void* at = d.allocate(v.size() * sizeof(T));
    d.copy(at, v.data(), v.size() * sizeof(T), CopyKind::HostToDevice);
    return at;
  };
  void *da = up(a), *db = up(b), *dc = up(c);
  cuda_gemm(kFirst, dtype_of<T>::value, p.ta, p.tb, p.m, p.n, p.k, da, lda, db, ldb, dc, ldc, p.accumulate, p.batch,
            stride_a, stride_b, stride_c, {});
  std::vector<T> got = down<T>(d, dc, c.size());
  for (int64_t g = 0; g < p.batch; ++g)
    for (int64_t i = 0; i < p.m; ++i)
      for (int64_t j = 0; j < ldc; ++j) {
        size_t at = static_cast<size_t>(g * stride_c + i * ldc + j);
        if (j >= p.n) {
          CHECK(got[at] == c[at]);  // what lies between rows is untouched
          continue;
        }
        double sum = p.accumulate ? double(c[at]) : 0, size = std::fabs(sum);
        for (int64_t q = 0; q < p.k; ++q) {
          double x = a[static_cast<size_t>(g * stride_a + (p.ta ? q * lda + i : i * lda + q))];
          double y = b[static_cast<size_t>(g * stride_b + (p.tb ? j * ldb + q : q * ldb + j))];
          sum += x * y;
          size += std::fabs(x * y);
        }
        CHECK(std::fabs(double(got[at]) - sum) <=
              double(p.k + 2) * double(std::numeric_limits<T>::epsilon()) * size);
      }
  d.free(da, a.size() * sizeof(T));
  d.free(db, b.size() * sizeof(T));
  d.free(dc, c.size() * sizeof(T));
}

void products() {
  const int64_t sizes[][3] = {{1, 1, 1}, {3, 5, 7}, {17, 4, 33}, {1, 9, 12}, {9, 1, 12}, {32, 32, 32}, {4, 5, 0}};
  for (auto& s : sizes)
    for (int bits = 0; bits < 8; ++bits)
      for (int64_t batch : {1, 3}) {
        int64_t pad = bits % 3 == 0 ? 2 : 0;
        Product p{(bits & 1) != 0, (bits & 2) != 0, s[0], s[1], s[2], (bits & 4) != 0, pad, batch, bits % 2 == 1};
        check_product<float>(p);
        check_product<double>(p);
      }
  char* x = static_cast<char*>(device(kFirst).allocate(64));
  auto gemm = [&](DType t, int64_t lda) {
    cuda_gemm(kFirst, t, false, false, 2, 2, 2, x, lda, x, 2, x, 2, false, 1, 0, 0, 0, {});
  };
  CHECK(is_error(error_of([&] { gemm(DType::I32, 2); }, ErrorKind::Type)));
  CHECK(is_error(error_of([&] { gemm(DType::F32, 0); }, ErrorKind::Value)));
  cuda_gemm(kFirst, DType::F32, false, false, 0, 2, 2, x, 2, x, 2, x, 2, false, 1, 0, 0, 0, {});
  CHECK(!cuda_allow_tf32());
  cuda_allow_tf32() = true;
  check_product<double>({false, false, 3, 4, 5, false, 0, 1, false});
  device(kFirst).free(x, 64);
}

// 16-bit floats by their bits: small whole numbers are exact in both.
void short_products() {
  Device& d = device(kFirst);
  struct Short {
    DType type;
    uint16_t (*bits)(int);
  } types[] = {{DType::F16,
                [](int x) {
                  if (x == 0) return uint16_t(0);
                  int e = 31 - __builtin_clz(static_cast<unsigned>(x));
                  return static_cast<uint16_t>((e + 15) << 10 | ((x << (10 - e)) & 1023));
                }},
               {DType::BF16, [](int x) {
                  float f = static_cast<float>(x);
                  uint32_t u;
                  std::memcpy(&u, &f, 4);
                  return static_cast<uint16_t>(u >> 16);
                }}};
  for (auto& t : types) {
    uint16_t a[6], b[6], c[4] = {};
    for (int i = 0; i < 6; ++i) a[i] = t.bits(i), b[i] = t.bits(i + 1);
    void *p = d.allocate(sizeof a), *q = d.allocate(sizeof b), *r = d.allocate(sizeof c);
    d.copy(p, a, sizeof a, CopyKind::HostToDevice);
    d.copy(q, b, sizeof b, CopyKind::HostToDevice);
    cuda_gemm(kFirst, t.type, false, false, 2, 2, 3, p, 3, q, 2, r, 2, false, 1, 0, 0, 0, {});
    std::vector<uint16_t> got = down<uint16_t>(d, r, 4);
    const int want[] = {13, 16, 40, 52};  // [[0 1 2] [3 4 5]] @ [[1 2] [3 4] [5 6]]
    for (size_t i = 0; i < 4; ++i) CHECK(got[i] == t.bits(want[i]));
    d.free(p, sizeof a);
    d.free(q, sizeof b);
    d.free(r, sizeof c);
  }
}

void no_blas() {
  device(kFirst);
  char byte = 0;
  std::string text = error_of([&] {
    cuda_gemm(kFirst, DType::F32, false, false, 1, 1, 1, &byte, 1, &byte, 1, &byte, 1, false, 1, 0, 0, 0, {});
  });
  CHECK(has(text, "[cuda] cuBLAS, which multiplies matrices, was not found; got PYDIFF_CUBLAS: /nowhere"));
  CHECK(is_error(text));
  CHECK(has(report_line("cuBLAS"), "was not found"));
}

// ---- the process

int child(void (*f)()) {
  std::fflush(stdout);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    f();
    std::fflush(stdout);
    _exit(0);
  }
  int status = -1;
  waitpid(pid, &status, 0);
  return status;
}

BufferRef g_held;

void forked() {
  // Before the first use a fork is no matter.
  CHECK(child([] { device(kFirst).free(device(kFirst).allocate(100), 100); }) == 0);
  g_held = BufferRef::adopt(new_buffer(kFirst, 100));
  Device& d = device(kFirst);
  CHECK(child([] {
          Device& d = device(kFirst);
          char byte = 0;
          for (std::string text : {error_of([&] { d.allocate(8); }), error_of([&] { d.zero(g_held->data, 8); }),
                                   error_of([&] { d.copy(&byte, g_held->data, 1, CopyKind::DeviceToHost); }),
                                   error_of([&] { d.synchronize(); }), error_of([&] { d.memory_stats(); }),
                                   error_of([&] { cuda_kernel(kFirst, kScale, "scale"); }),
                                   error_of([&] { device({DeviceKind::Cuda, 1}); })})
            CHECK(has(text, "[cuda] CUDA does not work in a process that was forked") && is_error(text));
          g_held = BufferRef();  // dropping what was inherited is no error
          CHECK(device_count(DeviceKind::Cuda) == 0 && has(report_line("driver"), "forked"));
          release(new_buffer(DeviceId(), 100));
        }) == 0);
  d.zero(g_held->data, 100);
  CHECK(down<char>(d, g_held->data, 100) == std::vector<char>(100, 0));
}

// Buffers and kernels that live when main returns are dropped by static destructors.
void after_main() {
  static BufferRef late = BufferRef::adopt(new_buffer(kFirst, 100));
  g_held = late;
  cuda_kernel(kFirst, kScale, "scale");
}

int main(int argc, char** argv) {
  const std::map<std::string, void (*)()> checks = {
      {"no_driver", no_driver},
      {"old_driver", old_driver},
      {"poor_driver", poor_driver},
      {"no_gpu", no_gpu},
      {"no_nvrtc", no_nvrtc},
      {"compiles", compiles},
      {"does_not_compile", does_not_compile},
      {"compiles_in_threads", compiles_in_threads},
      {"disk_cache", disk_cache},
      {"cache_cannot_be_written", cache_cannot_be_written},
      {"cache_is_off", cache_is_off},
      {"disk_is_full", disk_is_full},
      {"properties", properties},
      {"memory", memory},
      {"out_of_memory", out_of_memory},
      {"pool_keeps", pool_keeps},
      {"copies", copies},
      {"fill", fill},
      {"events", events},
      {"waits_for_captures", waits_for_captures},
      {"launch", launch},
      {"kernel_errors", kernel_errors},
      {"image_taken", image_taken},
      {"image_refused", image_refused},
      {"compiled_once", compiled_once},
      {"wrong_while_others_wait", wrong_while_others_wait},
      {"contexts", contexts},
      {"products", products},
      {"short_products", short_products},
      {"no_blas", no_blas},
      {"forked", forked},
      {"after_main", after_main},
  };
  if (argc == 3 && std::string(argv[1]) == "write_image") {
    write_image(argv[2]);
    return 0;
  }
  if (argc != 2 || !checks.count(argv[1])) {
    for (auto& c : checks) std::printf("%s\n", c.first.c_str());
    return argc < 2 ? 0 : 2;
  }
  checks.at(argv[1])();
  std::printf("ok\n");
  return 0;
}
