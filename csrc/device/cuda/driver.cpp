#include "device/cuda/driver.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>

#include "base/error.h"
#include "device/cuda/library.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace pd {

namespace cuda {

namespace {

constexpr int kOldestDriver = 12000;

// Made by the first call and kept to the process's end, as buffers may be dropped after static destructors have run.
struct Opened {
  Driver driver;
  std::string problem;  // the Error's text where there is no driver
};
std::atomic<const Opened*> g_opened{nullptr};
std::mutex g_mutex;
// This process is a child of one that had started CUDA.
std::atomic<bool> g_forked{false};
// Names of the custom ops launched last, oldest first, each once.
std::mutex g_custom_mutex;
std::vector<std::string>& g_custom_ops = *new std::vector<std::string>;
constexpr size_t kCustomOpsKept = 4;

constexpr const char* kForkedText =
    "[cuda] CUDA does not work in a process that was forked after CUDA was started; got a forked child; try "
    "multiprocessing.set_start_method('spawn'), or the first use of the GPU after the fork";

[[noreturn]] void no_driver(const std::string& what, const std::string& got, const std::string& advice) {
  fail("cuda", what, got, advice, ErrorKind::Runtime);
}

int attribute(const Driver& d, int which, CUdevice device) {
  int value = 0;
  check(d.cuDeviceGetAttribute(&value, which, device), "cuDeviceGetAttribute", device);
  return value;
}

CudaProperties read_properties(const Driver& d, int index) {
  CudaProperties p;
  CUdevice device = 0;
  char name[256] = "";
  check(d.cuDeviceGet(&device, index), "cuDeviceGet", index);
  check(d.cuDeviceGetName(name, sizeof name - 1, device), "cuDeviceGetName", index);
  check(d.cuDeviceTotalMem(&p.memory, device), "cuDeviceTotalMem", index);
  p.name = name;
  p.major = attribute(d, kAttributeMajor, device);
  p.minor = attribute(d, kAttributeMinor, device);
  p.multiprocessors = attribute(d, kAttributeMultiprocessors, device);
  p.max_threads_per_multiprocessor = attribute(d, kAttributeThreadsPerMultiprocessor, device);
  p.shared_per_block_optin = static_cast<size_t>(attribute(d, kAttributeSharedOptin, device));
  return p;
}

void open_driver(Driver& d) {
  Library library = open_library("PYDIFF_CUDA_DRIVER", {"libcuda.so.1"}, {"/usr/lib/wsl/lib"});
  if (!library.handle)
    no_driver("no NVIDIA driver was found", library.problem, "device='cpu', or installing the driver of the GPU");
  d.path = library.path;
  if (!resolve(library, "cuDriverGetVersion", d.cuDriverGetVersion) || d.cuDriverGetVersion(&d.version) != kSuccess)
    no_driver("this is no CUDA driver", d.path, "unsetting PYDIFF_CUDA_DRIVER");
  if (d.version < kOldestDriver)
    no_driver("the NVIDIA driver is too old", "one for CUDA " + version_text(d.version),
              "a driver for CUDA " + version_text(kOldestDriver) + " or newer (525 on Linux)");
#define X(name, symbol, params)             \
  if (!resolve(library, #symbol, d.name))   \
    no_driver("the CUDA driver lacks a function", #symbol " in " + d.path, "a newer driver");
  PD_CUDA_DRIVER(X)
#undef X
#define X(name, symbol, params) resolve(library, #symbol, d.name);
  PD_CUDA_DRIVER_OPTIONAL(X)
#undef X
  CUresult result = d.cuInit(0);
  int count = 0;
  if (result == kSuccess) result = d.cuDeviceGetCount(&count);
  if (result == kErrorNoDevice || (result == kSuccess && count == 0)) {
    const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
    no_driver("the driver sees no GPU", visible ? std::string("CUDA_VISIBLE_DEVICES='") + visible + "'" : "none",
              "nvidia-smi, or device='cpu'");
  }
  if (result != kSuccess)
    no_driver("the CUDA driver does not start", describe(d, result), "nvidia-smi, a restart, or device='cpu'");
  for (int i = 0; i < count; ++i) d.devices.push_back(read_properties(d, i));
}

const Opened& opened() {
  if (const Opened* o = g_opened.load(std::memory_order_acquire)) return *o;
  std::lock_guard<std::mutex> hold(g_mutex);
  if (const Opened* o = g_opened.load(std::memory_order_acquire)) return *o;
  Opened* o = new Opened;
  try {
    open_driver(o->driver);
  } catch (const std::exception& e) {
    o->problem = e.what();
  }
#if defined(__unix__) || defined(__APPLE__)
  if (o->problem.empty()) pthread_atfork(nullptr, nullptr, [] { g_forked.store(true); });
#endif
  g_opened.store(o, std::memory_order_release);
  return *o;
}

}  // namespace

const Driver& driver() {
  if (g_forked.load(std::memory_order_relaxed)) throw Error(ErrorKind::Runtime, kForkedText);
  const Opened& o = opened();
  if (!o.problem.empty()) throw Error(ErrorKind::Runtime, o.problem);
  return o.driver;
}

const Driver* find_driver(std::string* why) noexcept {
  try {
    return &driver();
  } catch (const std::exception& e) {
    if (why) *why = e.what();
    return nullptr;
  }
}

const Driver* opened_driver() noexcept {
  const Opened* o = g_opened.load(std::memory_order_acquire);
  return o && o->problem.empty() && !g_forked.load(std::memory_order_relaxed) ? &o->driver : nullptr;
}

std::atomic<CUcontext> g_default_context{nullptr};

std::string describe(const Driver& d, CUresult result) {
  const char *name = nullptr, *text = nullptr;
  if (d.cuGetErrorName) d.cuGetErrorName(result, &name);
  if (d.cuGetErrorString) d.cuGetErrorString(result, &text);
  std::string s = name ? name : "CUDA error " + std::to_string(result);
  return text ? s + " (" + text + ")" : s;
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

static bool is_fatal(CUresult result) {
  return result == kErrorIllegalAddress || result == kErrorLaunchTimeout ||
         (result >= kErrorFirstFatal && result <= kErrorLastFatal);
}

static const char* advice_for(CUresult result) {
  switch (result) {
    case kErrorOutOfMemory: return "a smaller batch, or dropping references to tensors that are no longer needed";
    case kErrorNoBinary:
    case kErrorInvalidImage:
    case kErrorInvalidPtx:
    case kErrorUnsupportedPtx: return "an NVRTC that is no newer than the driver (python -m pydiff.doctor shows both)";
    case kErrorLaunchResources: return "fewer threads in a block, or less shared memory";
    case kErrorInvalidValue: return "sizes within the device's limits (python -m pydiff.doctor)";
    case kErrorLaunchTimeout: return "smaller kernels, or a GPU that draws no screen, in a new process";
  }
  if (is_fatal(result))
    return "compute-sanitizer to find the kernel that did it; this process cannot use the GPU any more";
  return "python -m pydiff.doctor";
}

// The user's own kernels that ran last, newest first: one of them is the likely culprit.
static std::string suspects() {
  std::lock_guard<std::mutex> hold(g_custom_mutex);
  std::string text;
  for (auto it = g_custom_ops.rbegin(); it != g_custom_ops.rend(); ++it) text += (text.empty() ? "" : ", ") + *it;
  return text.empty() ? "" : "; custom ops launched before, newest first: " + text;
}

void raise(CUresult result, const char* call, const std::string& where) {
  const Opened* o = g_opened.load(std::memory_order_acquire);
  std::string got = o ? describe(o->driver, result) : "CUDA error " + std::to_string(result);
  fail("cuda", std::string(call) + " failed", got + " on " + where + (is_fatal(result) ? suspects() : ""), advice_for(result),
       result == kErrorOutOfMemory ? ErrorKind::Memory : ErrorKind::Runtime);
}

int debug_level() {
  const char* text = std::getenv("PYDIFF_DEBUG");
  return text ? std::atoi(text) : 0;
}

void debug(int level, const std::string& text) {
  if (debug_level() >= level) std::fprintf(stderr, "pydiff: %s\n", text.c_str());
}

}  // namespace cuda

void cuda_note_custom(const std::string& op) {
  std::lock_guard<std::mutex> hold(cuda::g_custom_mutex);
  std::vector<std::string>& ops = cuda::g_custom_ops;
  if (!ops.empty() && ops.back() == op) return;
  ops.erase(std::remove(ops.begin(), ops.end(), op), ops.end());
  if (ops.size() == cuda::kCustomOpsKept) ops.erase(ops.begin());
  ops.push_back(op);
}

bool cuda_look_again() {
  std::lock_guard<std::mutex> hold(cuda::g_mutex);
  const cuda::Opened* o = cuda::g_opened.load();
  if (o && o->problem.empty()) return false;
  cuda::g_opened.store(nullptr);  // what was found stays: its text may still be read
  return true;
}

const CudaProperties& cuda_properties(int index) {
  const cuda::Driver& d = cuda::driver();
  int n = static_cast<int>(d.devices.size());
  if (index < 0 || index >= n)
    fail("cuda", "no such device", "cuda:" + std::to_string(index) + " of " + std::to_string(n),
         "device='cuda:" + std::to_string(n - 1) + "'", ErrorKind::Runtime);
  return d.devices[static_cast<size_t>(index)];
}

}  // namespace pd
