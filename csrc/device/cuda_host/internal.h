// What the files of the stand-in share: result codes, streams, memory, launches, reports.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "abi.h"

#define PD_EXPORT extern "C" __attribute__((visibility("default")))
// A second exported name of the same function.
#define PD_ALIAS(second, name) extern "C" __typeof__(name) second __attribute__((alias(#name), visibility("default")))

// Types of the driver's public interface.
using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;

namespace pd_host __attribute__((visibility("hidden"))) {

enum : CUresult {
  kSuccess = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kNotInitialized = 3,
  kInvalidDevice = 101,
  kInvalidImage = 200,
  kInvalidContext = 201,
  kNoBinaryForGpu = 209,
  kInvalidHandle = 400,
  kNotFound = 500,
  kNotReady = 600,
  kIllegalAddress = 700,
  kLaunchOutOfResources = 701,
  kPeerAccessAlreadyEnabled = 704,
  kPeerAccessUnsupported = 217,
  kNotSupported = 801,
  kCaptureUnsupported = 900,
  kCaptureInvalidated = 901,
  kCaptureUnmatched = 903,
  kCaptureUnjoined = 904,
  kCaptureImplicit = 906,
  kCapturedEvent = 907,
};

constexpr int kMaxDevices = 16;
constexpr size_t kSharedDefault = 49152, kSharedOptin = 232448;

// ---- reports (launch.cpp)

// Prints "cuda-host: …" to stderr, and to the file that PYDIFF_CUDA_HOST_LOG names.
void report(const std::string& message);
[[noreturn]] void stop(const std::string& message);

// ---- state (driver.cpp)

// Held by every call: all work is done by one thread of the host at a time.
std::recursive_mutex& global_lock();
int device_count();
// The device of the calling thread's context, or -1.
int current_device();
// Of a context's handle; -1: it is none.
int device_of_context(void* context);
// kSuccess where the driver may be used now, from this process and thread.
CUresult ready();

#define PD_ENTER()                                                              \
  std::lock_guard<std::recursive_mutex> pd_guard(::pd_host::global_lock());     \
  if (CUresult pd_state = ::pd_host::ready()) return pd_state

// ---- streams and graphs (stream.cpp, late.cpp)

struct StreamState;

// What a late stream still has to do (late.cpp); pieces of work are counted.
struct Progress {
  struct Piece {
    std::function<CUresult()> work;
    std::shared_ptr<Progress> after;  // where it is set: nothing but waiting until that stream has done `upto` pieces
    int64_t upto;
  };
  int device = 0;
  int64_t given = 0, done = 0;
  std::deque<Piece> queue;
};
bool late_streams();
int64_t enqueue(Progress& p, std::function<CUresult()> work);  // the number of this piece
void enqueue_wait(Progress& p, const std::shared_ptr<Progress>& other, int64_t upto);
void run_until(Progress& p, int64_t upto);
// The stream is destroyed; its work is not.
void abandon(const std::shared_ptr<Progress>& p);
void run_orphans(int device);
// Runs `work` with the device's context current.
CUresult on_device(int device, const std::function<CUresult()>& work);
// All that streams of the current device were given.
void finish_device();
// All that this stream was given, and what it waits for.
void finish_stream(StreamState& s);

struct Graph;
struct StreamState {
  std::shared_ptr<Progress> progress = std::make_shared<Progress>();
  int device = 0;
  bool legacy = false, non_blocking = false;
  int queries = 0;  // since it was idle
  Graph* capture = nullptr;
  int64_t last_work = 0, joined = 0;  // capture: numbers of its last work, and of its last work that another waits for
};

// The stream of a handle, or null: null, 1 and 2 are the default stream of the current device.
StreamState* stream_of(void* handle);
// Does `work` now, or records it where the stream is captured.
CUresult submit(void* stream, std::function<CUresult()> work);
// For calls that may wait or allocate out of order: they may not be made while a stream is captured.
CUresult forbid_capture();
// For calls that wait for a whole device: no thread may make them while any stream of it is captured.
CUresult forbid_capture_on(int device);
// Does PYDIFF_CUDA_HOST_FAIL name this function? Then it fails, as if memory were short.
bool told_to_fail(const char* function);
// Memory that a capturing stream allocates or frees.
CUresult captured_alloc(StreamState& s, void* block, size_t bytes);
CUresult captured_free(StreamState& s, void* block);

// ---- memory (memory.cpp)

constexpr uint16_t kPoison =
    0xFFF4;  // NaN as float16, bfloat16, float and double (there a signalling one), negative as an integer
void poison(void* p, size_t bytes);

struct Place {
  enum Kind { Nowhere, Device, Host } kind = Nowhere;
  char* begin = nullptr;
  size_t bytes = 0;
  int device = 0;
};
// The live block that contains `p`, its end included.
Place find_place(const void* p);
bool in_device_memory(const void* p, size_t bytes);
// Stops the process where the guards of the block at `begin` (of all blocks) are damaged; `after` says what ran last.
void check_guards(const void* begin, const std::string& after);
void check_all_guards(const std::string& after);
// Device memory that a module brings along.
void add_foreign(void* p, size_t bytes, int device);
void remove_foreign(void* p);
// Frees what a graph owned.
void release_block(void* p);
// How a fault address lies to the blocks nearby, in words; safe enough for a signal handler that ends the process.
std::string describe_address(const void* p);

// ---- launches (launch.cpp)

// A static shared variable; `kernel` is empty where a device function declares it, which any kernel may call.
struct SharedVariable {
  char* begin;
  size_t bytes;
  std::string kernel;
};

struct LoadedModule;

struct Function {
  LoadedModule* owner = nullptr;
  const Kernel* kernel = nullptr;
  std::string name;
  std::vector<SharedVariable> shared;
  size_t shared_bytes = 0;
  int max_dynamic_shared = 0;  // asked for by cuFuncSetAttribute
};

struct LoadedModule {
  void* library = nullptr;
  Module* module = nullptr;
  char* base = nullptr;
  int device = 0;
  std::vector<SharedVariable> shared;
  std::vector<std::unique_ptr<Function>> functions;
  std::vector<void*> globals;
};

struct Launch {
  Function* function = nullptr;
  Index grid{1, 1, 1}, block{1, 1, 1};
  size_t shared_bytes = 0;
};

CUresult load_module(const void* image, std::unique_ptr<LoadedModule>& out);
std::unique_ptr<Function> find_function(LoadedModule& m, const std::string& name);
void unload_module(LoadedModule& m);
CUresult check_launch(const Launch& l, void** args);
CUresult run_launch(const Launch& l, void** args);

}  // namespace pd_host
