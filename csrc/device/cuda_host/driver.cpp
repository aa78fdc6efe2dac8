// A stand-in for CUDA that runs on the CPU: one shared library with the functions of the driver, of NVRTC and of cuBLAS
// that pydiff uses, under their public names. Kernels are compiled by the host's C++ compiler behind host_header.h and
// run block by block, threads in the order that is asked for; all work is done at the call, in order.
//
//   g++ -std=c++17 -O2 -fPIC -shared csrc/device/cuda_host/*.cpp -o _cuda_host.so -ldl -lpthread
//
// It knows nothing of the rest of pydiff. What it is for is finding mistakes, so it stops the process with a message
// (write outside of a block of memory or to a freed one, barrier or warp operation that some threads miss, illegal
// address, full stack), poisons fresh and shared memory, and refuses what the driver refuses.
//
//   PYDIFF_CUDA_HOST_ORDER    forward | reverse | shuffle[:SEED]: order of the threads of a block, and of blocks
//   PYDIFF_CUDA_HOST_GUARD    pages: blocks end at pages that nobody may touch, so that reads outside are seen too
//   PYDIFF_CUDA_HOST_MEMORY   bytes of memory of a device (default: of the machine)
//   PYDIFF_CUDA_HOST_DEVICES  number of devices (default 1, at most 16)
//   PYDIFF_CUDA_HOST_PEERS    off: devices do not reach each other's memory
//   PYDIFF_CUDA_HOST_CAPABILITY  compute capability that devices report (default 9.0)
//   PYDIFF_CUDA_HOST_STREAMS  late: streams do their work when somebody waits for it (late.cpp)
//   PYDIFF_CUDA_HOST_CXX      the compiler of kernels (default g++)
//   PYDIFF_CUDA_HOST_LOG      file to which messages are appended, beside stderr
//   PYDIFF_CUDA_HOST_QUARANTINE  bytes of freed memory that are kept and watched (default 16 MiB)
//   PYDIFF_CUDA_HOST_REFUSE   texts of kernels that contain this do not compile
//   PYDIFF_CUDA_HOST_FAIL     functions that fail for want of memory: cuGraphInstantiate
//
//   driver.cpp   devices, contexts, modules, launches      memory.cpp   allocation, copies, guards
//   stream.cpp   streams, events, captured graphs          launch.cpp   loading an image, running a grid
//   late.cpp     streams that do their work late
//   threads.cpp  the threads of a block, barriers, warps   fibers.cpp   the switch of stacks beneath
//   nvrtc.cpp    compiling, host_header.h before the text  cublas.cpp   matrix products
//   kernel_text.cpp   which kernels a text has
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "internal.h"

namespace pd_host {

namespace {

struct Context {
  int device = 0;
  int retained = 0;
};

Context g_contexts[kMaxDevices];
std::atomic<bool> g_initialized{false}, g_forked{false};
thread_local std::vector<Context*> t_contexts;

struct Loaded {
  std::unordered_map<LoadedModule*, std::unique_ptr<LoadedModule>> modules;
  std::unordered_set<Function*> functions;
};

Loaded& loaded() {
  static Loaded* l = new Loaded;
  return *l;
}

Function* function_of(void* handle) {
  auto* f = static_cast<Function*>(handle);
  return loaded().functions.count(f) ? f : nullptr;
}

LoadedModule* module_of(void* handle) {
  auto* m = static_cast<LoadedModule*>(handle);
  return loaded().modules.count(m) ? m : nullptr;
}

bool is_context(void* handle) {
  auto* c = static_cast<Context*>(handle);
  return c >= g_contexts && c < g_contexts + kMaxDevices;
}

// Whether devices reach each other's memory.
bool peers() {
  const char* text = getenv("PYDIFF_CUDA_HOST_PEERS");
  return !text || strcmp(text, "off");
}

// Which compute capability devices report, "9.0": what a kernel is chosen by. Nothing else of a device follows from it.
int capability(int part) {
  const char* text = getenv("PYDIFF_CUDA_HOST_CAPABILITY");
  int parts[2] = {9, 0};
  if (text && *text && sscanf(text, "%d.%d", &parts[0], &parts[1]) != 2)
    stop("PYDIFF_CUDA_HOST_CAPABILITY is a number like 8.0; got '" + std::string(text) + "'");
  return parts[part];
}

// Values of attributes (CUdevice_attribute) of a small device with an H100's limits.
int attribute_value(int attribute, int device) {
  switch (attribute) {
    case 1: return 1024;                       // threads of a block
    case 2: case 3: return 1024;               // and along x, y
    case 4: return 64;                         // along z
    case 5: return 2147483647;                 // blocks along x
    case 6: case 7: return 65535;              // along y, z
    case 8: return int(kSharedDefault);        // shared memory of a block
    case 9: return 65536;                      // constant memory
    case 10: return 32;                        // warp
    case 12: case 82: return 65536;            // registers of a block, of a multiprocessor
    case 13: return 1980000;                   // clock, kHz
    case 14: return 512;                       // texture alignment
    case 16: return 4;                         // multiprocessors
    case 19: case 41: return 1;                // host memory mapped, one address space
    case 31: case 40: return 1;                // concurrent kernels, copy engines
    case 33: return device + 1;                // PCI bus
    case 36: return 2619000;                   // memory clock, kHz
    case 37: return 5120;                      // memory bus, bits
    case 38: return 50 << 20;                  // L2
    case 39: return 2048;                      // threads of a multiprocessor
    case 75: case 76: return capability(attribute - 75);
    case 78: case 79: case 80: return 1;       // stream priorities, caches in L1
    case 81: return 233472;                    // shared memory of a multiprocessor
    case 97: return int(kSharedOptin);         // of a block that asks for it
    case 106: return 32;                       // blocks of a multiprocessor
    case 111: return 1024;                     // shared memory that the driver keeps
    case 115: return 1;                        // memory pools
    default: return 0;
  }
}

const struct {
  CUresult code;
  const char *name, *text;
} kErrors[] = {
    {kSuccess, "CUDA_SUCCESS", "no error"},
    {kInvalidValue, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {kNotInitialized, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {kInvalidDevice, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {kInvalidImage, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {kInvalidContext, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {kNoBinaryForGpu, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {kInvalidHandle, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {kNotFound, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {kNotReady, "CUDA_ERROR_NOT_READY", "device not ready"},
    {kIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {kLaunchOutOfResources, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {kPeerAccessAlreadyEnabled, "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED", "peer access is already enabled"},
    {kPeerAccessUnsupported, "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED", "peer access is not supported between these two devices"},
    {kNotSupported, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {kCaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {kCaptureInvalidated, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
     "operation failed due to a previous error during capture"},
    {902, "CUDA_ERROR_STREAM_CAPTURE_MERGE", "operation would result in a merge of separate capture sequences"},
    {kCaptureUnmatched, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not ended in the same stream as it began"},
    {kCaptureUnjoined, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
    {905, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "dependency created on uncaptured work in another stream"},
    {kCaptureImplicit, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {kCapturedEvent, "CUDA_ERROR_CAPTURED_EVENT",
     "operation not permitted on an event last recorded in a capturing stream"},
};

}  // namespace

std::recursive_mutex& global_lock() {
  static auto* lock = new std::recursive_mutex;
  return *lock;
}

int device_count() {
  const char* text = getenv("PYDIFF_CUDA_HOST_DEVICES");
  return text && *text ? std::min(std::max(atoi(text), 0), kMaxDevices) : 1;
}

int current_device() { return t_contexts.empty() || !t_contexts.back() ? -1 : t_contexts.back()->device; }

int device_of_context(void* context) { return is_context(context) ? static_cast<Context*>(context)->device : -1; }

CUresult on_device(int device, const std::function<CUresult()>& work) {
  t_contexts.push_back(&g_contexts[device]);
  CUresult result = work();
  t_contexts.pop_back();
  return result;
}

CUresult ready() {
  if (!g_initialized || g_forked) return kNotInitialized;
  return current_device() < 0 ? kInvalidContext : kSuccess;
}

}  // namespace pd_host

using namespace pd_host;

#define PD_INITIALIZED() \
  if (!g_initialized || g_forked) return kNotInitialized

// ---- start

PD_EXPORT CUresult cuInit(unsigned flags) {
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  if (flags) return kInvalidValue;
  if (g_forked) return kNotInitialized;
  if (!device_count()) return 100;
  if (g_initialized) return kSuccess;
  for (int d = 0; d < kMaxDevices; d++) g_contexts[d].device = d;
  pthread_atfork(nullptr, nullptr, [] { g_forked = true; });
  g_initialized = true;
  return kSuccess;
}

PD_EXPORT CUresult cuDriverGetVersion(int* version) {
  if (!version) return kInvalidValue;
  *version = 13000;
  return kSuccess;
}

PD_EXPORT CUresult cuGetErrorName(CUresult code, const char** out) {
  for (auto& e : kErrors)
    if (e.code == code) return *out = e.name, kSuccess;
  return *out = nullptr, kInvalidValue;
}

PD_EXPORT CUresult cuGetErrorString(CUresult code, const char** out) {
  for (auto& e : kErrors)
    if (e.code == code) return *out = e.text, kSuccess;
  return *out = nullptr, kInvalidValue;
}

// The function of this library with that name, the newest version of it.
PD_EXPORT CUresult cuGetProcAddress_v2(const char* name, void** out, int, unsigned long long, int* status) {
  if (!name || !out) return kInvalidValue;
  Dl_info info;
  *out = nullptr;
  if (dladdr(reinterpret_cast<void*>(&cuInit), &info)) {
    if (void* self = dlopen(info.dli_fname, RTLD_NOLOAD | RTLD_NOW)) {
      *out = dlsym(self, (std::string(name) + "_v2").c_str());
      if (!*out) *out = dlsym(self, name);
      dlclose(self);
    }
  }
  if (status) *status = *out ? 0 : 1;
  return *out ? kSuccess : kNotFound;
}

// ---- devices

PD_EXPORT CUresult cuDeviceGetCount(int* count) {
  PD_INITIALIZED();
  if (!count) return kInvalidValue;
  *count = device_count();
  return kSuccess;
}

PD_EXPORT CUresult cuDeviceGet(CUdevice* out, int index) {
  PD_INITIALIZED();
  if (!out) return kInvalidValue;
  if (index < 0 || index >= device_count()) return kInvalidDevice;
  *out = index;
  return kSuccess;
}

PD_EXPORT CUresult cuDeviceGetName(char* out, int length, CUdevice d) {
  PD_INITIALIZED();
  if (!out || length <= 0) return kInvalidValue;
  if (d < 0 || d >= device_count()) return kInvalidDevice;
  snprintf(out, size_t(length), "CUDA host stand-in");
  return kSuccess;
}

PD_EXPORT CUresult cuDeviceGetUuid_v2(unsigned char* out, CUdevice d) {
  PD_INITIALIZED();
  if (d < 0 || d >= device_count()) return kInvalidDevice;
  memcpy(out, "pydiff-host-dev", 15);
  out[15] = static_cast<unsigned char>(d);
  return kSuccess;
}

PD_EXPORT CUresult cuDeviceGetPCIBusId(char* out, int length, CUdevice d) {
  PD_INITIALIZED();
  if (d < 0 || d >= device_count()) return kInvalidDevice;
  snprintf(out, size_t(length), "0000:%02x:00.0", d + 1);
  return kSuccess;
}

PD_EXPORT CUresult cuDeviceGetAttribute(int* out, int attribute, CUdevice d) {
  PD_INITIALIZED();
  if (!out || attribute < 1) return kInvalidValue;
  if (d < 0 || d >= device_count()) return kInvalidDevice;
  *out = attribute_value(attribute, d);
  return kSuccess;
}

PD_EXPORT CUresult cuDeviceCanAccessPeer(int* out, CUdevice a, CUdevice b) {
  PD_INITIALIZED();
  if (!out) return kInvalidValue;
  if (a < 0 || b < 0 || a >= device_count() || b >= device_count()) return kInvalidDevice;
  *out = a != b && peers();
  return kSuccess;
}

// ---- contexts

PD_EXPORT CUresult cuDevicePrimaryCtxRetain(void** out, CUdevice d) {
  PD_INITIALIZED();
  if (!out) return kInvalidValue;
  if (d < 0 || d >= device_count()) return kInvalidDevice;
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  g_contexts[d].retained++;
  *out = &g_contexts[d];
  return kSuccess;
}

PD_EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice d) {
  PD_INITIALIZED();
  if (d < 0 || d >= device_count()) return kInvalidDevice;
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  if (!g_contexts[d].retained) return kInvalidContext;
  g_contexts[d].retained--;
  return kSuccess;
}

PD_EXPORT CUresult cuDevicePrimaryCtxGetState(CUdevice d, unsigned* flags, int* active) {
  PD_INITIALIZED();
  if (d < 0 || d >= device_count()) return kInvalidDevice;
  if (flags) *flags = 0;
  if (active) *active = g_contexts[d].retained > 0;
  return kSuccess;
}

PD_EXPORT CUresult cuCtxSetCurrent(void* context) {
  PD_INITIALIZED();
  if (context && !is_context(context)) return kInvalidContext;
  if (t_contexts.empty()) t_contexts.push_back(nullptr);
  t_contexts.back() = static_cast<Context*>(context);
  return kSuccess;
}

PD_EXPORT CUresult cuCtxGetCurrent(void** out) {
  PD_INITIALIZED();
  if (!out) return kInvalidValue;
  *out = t_contexts.empty() ? nullptr : t_contexts.back();
  return kSuccess;
}

PD_EXPORT CUresult cuCtxPushCurrent_v2(void* context) {
  PD_INITIALIZED();
  if (!is_context(context)) return kInvalidContext;
  t_contexts.push_back(static_cast<Context*>(context));
  return kSuccess;
}

PD_EXPORT CUresult cuCtxPopCurrent_v2(void** out) {
  PD_INITIALIZED();
  if (t_contexts.empty()) return kInvalidContext;
  if (out) *out = t_contexts.back();
  t_contexts.pop_back();
  return kSuccess;
}

PD_EXPORT CUresult cuCtxGetDevice(CUdevice* out) {
  PD_ENTER();
  if (!out) return kInvalidValue;
  *out = current_device();
  return kSuccess;
}

PD_EXPORT CUresult cuStreamGetCtx(void* stream, void** out) {
  PD_ENTER();
  StreamState* s = stream_of(stream);
  if (!s) return kInvalidHandle;
  if (!out) return kInvalidValue;
  *out = &g_contexts[s->device];
  return kSuccess;
}

PD_EXPORT CUresult cuCtxSynchronize() {
  PD_ENTER();
  if (CUresult e = forbid_capture_on(current_device())) return e;
  finish_device();
  check_all_guards("work before cuCtxSynchronize");
  return kSuccess;
}

PD_EXPORT CUresult cuCtxEnablePeerAccess(void* context, unsigned flags) {
  PD_ENTER();
  static bool enabled[kMaxDevices][kMaxDevices];
  if (flags) return kInvalidValue;
  if (!is_context(context)) return kInvalidContext;
  const int here = current_device(), there = static_cast<Context*>(context)->device;
  if (here == there) return kInvalidDevice;
  if (!peers()) return kPeerAccessUnsupported;
  if (enabled[here][there]) return kPeerAccessAlreadyEnabled;
  enabled[here][there] = true;
  return kSuccess;
}

PD_EXPORT CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  PD_ENTER();
  if (least) *least = 0;
  if (greatest) *greatest = 0;
  return kSuccess;
}

// ---- modules and functions

PD_EXPORT CUresult cuModuleLoadData(void** out, const void* image) {
  PD_ENTER();
  if (!out || !image) return kInvalidValue;
  if (CUresult e = forbid_capture()) return e;
  std::unique_ptr<LoadedModule> m;
  if (CUresult e = load_module(image, m)) return e;
  *out = m.get();
  loaded().modules[m.get()] = std::move(m);
  return kSuccess;
}

PD_EXPORT CUresult cuModuleLoadDataEx(void** out, const void* image, unsigned, const int*, void**) {
  return cuModuleLoadData(out, image);
}

PD_EXPORT CUresult cuModuleUnload(void* module) {
  PD_ENTER();
  LoadedModule* m = module_of(module);
  if (!m) return kInvalidHandle;
  if (CUresult e = forbid_capture()) return e;
  for (auto& f : m->functions) loaded().functions.erase(f.get());
  unload_module(*m);
  loaded().modules.erase(m);
  return kSuccess;
}

PD_EXPORT CUresult cuModuleGetFunction(void** out, void* module, const char* name) {
  PD_ENTER();
  LoadedModule* m = module_of(module);
  if (!m) return kInvalidHandle;
  if (!out || !name) return kInvalidValue;
  for (auto& f : m->functions)
    if (f->name == name) return *out = f.get(), kSuccess;
  auto f = find_function(*m, name);
  if (!f) return kNotFound;
  if (f->shared_bytes > kSharedDefault) {
    report("kernel '" + f->name + "' has " + std::to_string(f->shared_bytes) +
           " bytes of static shared memory, 49152 are possible");
    return kInvalidImage;
  }
  *out = f.get();
  loaded().functions.insert(f.get());
  m->functions.push_back(std::move(f));
  return kSuccess;
}

PD_EXPORT CUresult cuModuleGetGlobal_v2(CUdeviceptr* address, size_t* bytes, void* module, const char* name) {
  PD_ENTER();
  LoadedModule* m = module_of(module);
  if (!m) return kInvalidHandle;
  if (!name) return kInvalidValue;
  void* p = dlsym(m->library, name);
  Dl_info info;
  const ElfW(Sym)* symbol = nullptr;
  if (!p || !dladdr1(p, &info, reinterpret_cast<void**>(const_cast<ElfW(Sym)**>(&symbol)), RTLD_DL_SYMENT) || !symbol)
    return kNotFound;
  if (std::find(m->globals.begin(), m->globals.end(), p) == m->globals.end()) {
    m->globals.push_back(p);
    add_foreign(p, symbol->st_size, m->device);
  }
  if (address) *address = CUdeviceptr(reinterpret_cast<uintptr_t>(p));
  if (bytes) *bytes = symbol->st_size;
  return kSuccess;
}

PD_EXPORT CUresult cuFuncSetAttribute(void* function, int attribute, int value) {
  PD_ENTER();
  Function* f = function_of(function);
  if (!f) return kInvalidHandle;
  if (attribute == 8) {
    if (value < 0 || f->shared_bytes + size_t(value) > kSharedOptin) return kInvalidValue;
    f->max_dynamic_shared = value;
    return kSuccess;
  }
  return attribute == 9 ? kSuccess : kInvalidValue;
}

PD_EXPORT CUresult cuFuncGetAttribute(int* out, int attribute, void* function) {
  PD_ENTER();
  Function* f = function_of(function);
  if (!f) return kInvalidHandle;
  if (!out) return kInvalidValue;
  switch (attribute) {
    case 0: *out = 1024; return kSuccess;
    case 1: *out = int(f->shared_bytes); return kSuccess;
    case 2: case 3: case 7: *out = 0; return kSuccess;
    case 4: *out = 32; return kSuccess;
    case 5: case 6: *out = 90; return kSuccess;
    case 8: *out = std::max(f->max_dynamic_shared, int(kSharedDefault - f->shared_bytes)); return kSuccess;
    case 9: *out = -1; return kSuccess;
    default: return kInvalidValue;
  }
}

PD_EXPORT CUresult cuFuncSetCacheConfig(void* function, int) {
  PD_ENTER();
  return function_of(function) ? kSuccess : kInvalidHandle;
}

PD_EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* out, void* function, int threads,
                                                               size_t shared_bytes) {
  PD_ENTER();
  Function* f = function_of(function);
  if (!f) return kInvalidHandle;
  if (!out || threads < 1 || threads > 1024) return kInvalidValue;
  const size_t shared = f->shared_bytes + shared_bytes;
  *out = std::min({32, 2048 / threads, int(233472 / (shared + 1024))});
  return kSuccess;
}

// ---- launches

PD_EXPORT CUresult cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                                  unsigned block_y, unsigned block_z, unsigned shared_bytes, void* stream, void** args,
                                  void** extra) {
  PD_ENTER();
  Launch l;
  l.function = function_of(function);
  StreamState* s = stream_of(stream);
  if (!l.function || !s || s->device != current_device()) return kInvalidHandle;
  if (extra) return kNotSupported;
  l.grid = {grid_x, grid_y, grid_z};
  l.block = {block_x, block_y, block_z};
  l.shared_bytes = shared_bytes;
  if (CUresult e = check_launch(l, args)) return e;
  if (!s->capture && !late_streams()) return submit(stream, [=] { return run_launch(l, args); });
  // The arguments are read now, the launch happens later.
  auto values = std::make_shared<std::vector<std::vector<char>>>();
  for (unsigned i = 0; i < l.function->kernel->count; i++) {
    const char* value = static_cast<const char*>(args[i]);
    values->emplace_back(value, value + l.function->kernel->parameters[i].bytes);
  }
  return submit(stream, [=] {
    std::vector<void*> pointers;
    for (auto& value : *values) pointers.push_back(value.data());
    if (CUresult e = check_launch(l, pointers.data())) return e;
    return run_launch(l, pointers.data());
  });
}

PD_EXPORT CUresult cuLaunchCooperativeKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                                             unsigned, void*, void**) {
  return kNotSupported;  // blocks run one after another, so none can wait for another
}

PD_ALIAS(cuGetProcAddress, cuGetProcAddress_v2);
PD_ALIAS(cuDeviceGetUuid, cuDeviceGetUuid_v2);
PD_ALIAS(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2);
PD_ALIAS(cuCtxPushCurrent, cuCtxPushCurrent_v2);
PD_ALIAS(cuCtxPopCurrent, cuCtxPopCurrent_v2);
PD_ALIAS(cuModuleGetGlobal, cuModuleGetGlobal_v2);
