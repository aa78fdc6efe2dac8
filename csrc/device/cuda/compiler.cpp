#include "device/cuda/compiler.h"

#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <future>
#include <memory>
#include <mutex>
#include <sstream>
#include <unordered_map>

#include "base/error.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/image_cache.h"
#include "device/cuda/prelude.h"
#include "device/watch.h"

namespace pd {

namespace cuda {

namespace {

// One arithmetic everywhere: nothing contracted, nothing flushed, division and square root rounded correctly.
const char* const kOptions[] = {"--std=c++17",      "--fmad=false", "--prec-div=true",
                                "--prec-sqrt=true", "--ftz=false",  "-default-device"};

std::string identity_of(const Library& library) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::path path(library.path);
  std::string text = path.filename().string();
  auto size = fs::file_size(path, error);
  if (!error) text += " " + std::to_string(size);
  auto time = fs::last_write_time(path, error);
  if (!error) text += " " + std::to_string(time.time_since_epoch().count());
  return text;
}

Nvrtc open_nvrtc() {
  std::vector<std::string> names;
  for (const std::string& version : toolkit_versions()) names.push_back("libnvrtc.so." + version);
  Library library = open_library("PYDIFF_NVRTC", names, toolkit_folders());
  if (!library.handle)
    fail("cuda", "NVRTC, which compiles kernels, was not found", library.problem,
         "pip install nvidia-cuda-nvrtc, or CUDA_HOME or PYDIFF_NVRTC set to where it is", ErrorKind::Runtime);
  Nvrtc n;
  n.path = library.path;
#define X(name, params)                  \
  if (!resolve(library, #name, n.name))  \
    fail("cuda", "this NVRTC lacks a function", #name " in " + n.path, "another one", ErrorKind::Runtime);
  PD_CUDA_NVRTC(X)
#undef X
  resolve(library, "nvrtcGetErrorString", n.nvrtcGetErrorString);
  n.nvrtcVersion(&n.major, &n.minor);
  n.identity = identity_of(library);
  return n;
}

// The text as the compiler gets it; its log counts lines from the caller's first.
std::string whole_text(const std::string& source) {
  return std::string(kCudaPrelude) + "\n#line 1 \"kernel.cu\"\n" + source;
}

std::vector<std::string> options_for(const std::string& arch) {
  std::vector<std::string> options{"--gpu-architecture=" + arch};
  options.insert(options.end(), std::begin(kOptions), std::end(kOptions));
  return options;
}

// All that an image depends on.
std::string image_key(const Nvrtc& n, const std::string& source, const std::string& arch) {
  std::ostringstream key;
  key << "nvrtc " << n.major << "." << n.minor << " " << n.identity << "\n";
  for (const std::string& option : options_for(arch)) key << option << " ";
  key << "\n" << whole_text(source);
  return key.str();
}

CudaImage compile_now(const Nvrtc& n, const std::string& source, const std::string& arch, bool resources = false) {
  auto describe = [&](NvrtcResult r) {
    return n.nvrtcGetErrorString ? std::string(n.nvrtcGetErrorString(r)) : "NVRTC error " + std::to_string(r);
  };
  struct Program {
    const Nvrtc& n;
    NvrtcProgram handle = nullptr;
    ~Program() {
      if (handle) n.nvrtcDestroyProgram(&handle);
    }
  } program{n};
  CudaImage image;
  std::string text = whole_text(source);
  NvrtcResult result = n.nvrtcCreateProgram(&program.handle, text.c_str(), "kernel.cu", 0, nullptr, nullptr);
  if (result != 0) {
    image.log = describe(result);
    return image;
  }
  std::vector<std::string> options = options_for(arch);
  if (resources) options.push_back("--ptxas-options=-v");
  std::vector<const char*> pointers;
  for (const std::string& option : options) pointers.push_back(option.c_str());
  result = n.nvrtcCompileProgram(program.handle, static_cast<int>(pointers.size()), pointers.data());
  size_t size = 0;
  if (n.nvrtcGetProgramLogSize(program.handle, &size) == 0 && size > 1) {
    image.log.resize(size);
    n.nvrtcGetProgramLog(program.handle, &image.log[0]);
    while (!image.log.empty() && (image.log.back() == '\0' || image.log.back() == '\n')) image.log.pop_back();
  }
  if (result == 0) {
    result = n.nvrtcGetCUBINSize(program.handle, &size);
    image.bytes.resize(size);
    if (result == 0) result = n.nvrtcGetCUBIN(program.handle, &image.bytes[0]);
  }
  image.ok = result == 0 && !image.bytes.empty();
  if (!image.ok) {
    image.bytes.clear();
    image.log = describe(result) + (image.log.empty() ? "" : ":\n" + image.log);
  }
  return image;
}

// Through the disk cache. `stored` tells whether it was there.
CudaImage compile_cached(const std::string& source, const std::string& arch, bool& stored) {
  const Nvrtc& n = nvrtc();
  CudaImage image;
  std::string key = image_key(n, source, arch);
  image.ok = stored = get_image(key, image.bytes, image.log);
  if (stored) return image;
  image = compile_now(n, source, arch);
  if (image.ok) put_image(key, image.bytes, image.log);
  return image;
}

std::string with_line_numbers(const std::string& source) {
  std::istringstream in(source);
  std::ostringstream out;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) out << "\n" << number << "\t" << line;
  return out.str();
}

CUmodule load_module(const Driver& d, int index, const std::string& source, const std::string& function) {
  auto start = std::chrono::steady_clock::now();
  const int64_t begin = watch_clock();
  std::string arch = arch_of(index);
  bool stored = false;
  CudaImage image = compile_cached(source, arch, stored);
  CUmodule module = nullptr;
  ContextScope here(d, cuda_device(index).context());
  CUresult result = kSuccess;
  auto load = [&] {
    CUresult r = d.cuModuleLoadData(&module, image.bytes.data());
    if (r != kErrorOutOfMemory) return r;
    cuda_device(index).empty_cache();  // code lies outside the pool, which may hold all memory
    return d.cuModuleLoadData(&module, image.bytes.data());
  };
  if (image.ok) {
    result = load();
    if (result != kSuccess && stored) {  // intact, and yet this driver does not take it
      drop_image(image_key(nvrtc(), source, arch));
      image = compile_cached(source, arch, stored);
      if (image.ok) result = load();
    }
  }
  if (!image.ok) {
    debug(4, "kernel " + function + " does not compile:" + with_line_numbers(source));
    throw CudaCompileError(function, "[cuda] kernel " + function + " does not compile for " + arch + "; got " + image.log +
                                         "; try PYDIFF_DEBUG=4, which shows its source");
  }
  if (result != kSuccess) raise(result, "cuModuleLoadData", "cuda:" + std::to_string(index) + ", kernel " + function);
  if (debug_level() >= 2) {
    double took = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    char text[32];
    std::snprintf(text, sizeof text, "%.1f ms", took);
    debug(2, (stored ? "loaded " : "compiled ") + function + " for " + arch + " in " + text);
  }
  if (const Watch* w = watch()) w->compiled(function.c_str(), stored ? "NVRTC, from the disk cache" : "NVRTC", begin);
  if (!stored && !image.log.empty()) debug(4, "kernel " + function + ": " + image.log);
  return module;
}

struct Kernel {
  std::string name;
  CUfunction function = nullptr;
  int dynamic_shared = 0;  // what a launch may ask for
};

// The module of one text on one device, being compiled or there.
struct Module {
  std::shared_future<CUmodule> handle;
  std::unordered_map<std::string, std::unique_ptr<Kernel>> kernels;
};

// Kept to the end of the process: kernels are handed out as plain pointers.
struct Modules {
  std::mutex mutex;
  std::unordered_map<std::string, std::shared_ptr<Module>> by_text;
};
Modules& modules() {
  static Modules& all = *new Modules;
  return all;
}

// The module of a text: whoever asks first compiles, outside any lock, and the others wait. What failed is forgotten.
std::shared_ptr<Module> module_of(const Driver& d, int index, const std::string& source, const std::string& function) {
  std::string key = std::to_string(index) + "\n" + source;
  std::promise<CUmodule> promise;
  std::shared_ptr<Module> module;
  bool mine = false;
  {
    std::lock_guard<std::mutex> hold(modules().mutex);
    std::shared_ptr<Module>& place = modules().by_text[key];
    if (!place) {
      mine = true;
      place = std::make_shared<Module>();
      place->handle = promise.get_future().share();
    }
    module = place;
  }
  if (mine) {
    try {
      promise.set_value(load_module(d, index, source, function));
    } catch (...) {
      {
        std::lock_guard<std::mutex> hold(modules().mutex);
        modules().by_text.erase(key);
      }
      promise.set_exception(std::current_exception());
    }
  }
  module->handle.get();
  return module;
}

// With the lock of the modules held and the device's context current.
Kernel& kernel_of(const Driver& d, int index, Module& module, const std::string& function) {
  std::unique_ptr<Kernel>& kernel = module.kernels[function];
  if (kernel) return *kernel;
  auto made = std::make_unique<Kernel>();
  made->name = function;
  CUresult result = d.cuModuleGetFunction(&made->function, module.handle.get(), function.c_str());
  if (result == kErrorNotFound)
    fail("cuda", "the text has no such kernel", function, "extern \"C\" __global__ before it", ErrorKind::Runtime);
  check(result, "cuModuleGetFunction", index);
  check(d.cuFuncGetAttribute(&made->dynamic_shared, kFunctionMaxDynamicShared, made->function), "cuFuncGetAttribute",
        index);
  kernel = std::move(made);
  return *kernel;
}

}  // namespace

const Nvrtc& nvrtc() {
  static const Nvrtc& opened = *new Nvrtc(open_nvrtc());  // a failure is tried again
  return opened;
}

std::vector<std::string> toolkit_versions() {
  const Driver* d = find_driver();
  if (d && d->version < 13000) return {"12", "13"};
  return {"13", "12"};
}

std::string arch_of(int index) {
  const CudaProperties& p = cuda_properties(index);
  std::string arch = "sm_" + std::to_string(p.major) + std::to_string(p.minor);
  return arch == "sm_90" ? "sm_90a" : arch;
}

}  // namespace cuda

CudaImage cuda_compile(const std::string& source, const std::string& arch, bool resources) {
  bool stored;
  if (resources) return cuda::compile_now(cuda::nvrtc(), source, arch, true);
  return cuda::compile_cached(source, arch, stored);
}

DeviceKernel cuda_kernel(DeviceId device, const std::string& source, const std::string& function,
                         size_t dynamic_shared_bytes) {
  using namespace cuda;
  const Driver& d = driver();
  int index = device.index;
  CUcontext context = cuda_device(index).context();
  std::shared_ptr<Module> module = module_of(d, index, source, function);
  ContextScope here(d, context);
  std::lock_guard<std::mutex> hold(modules().mutex);
  Kernel& k = kernel_of(d, index, *module, function);
  if (dynamic_shared_bytes > static_cast<size_t>(k.dynamic_shared)) {
    // More than the 48 KiB that every kernel may have must be asked for.
    size_t most = cuda_properties(index).shared_per_block_optin;
    if (dynamic_shared_bytes > most)
      fail("cuda", "kernel " + function + " wants more shared memory than a block can have",
           std::to_string(dynamic_shared_bytes) + " bytes of " + std::to_string(most), "smaller tiles",
           ErrorKind::Runtime);
    int bytes = static_cast<int>(dynamic_shared_bytes);
    check(d.cuFuncSetAttribute(k.function, kFunctionMaxDynamicShared, bytes), "cuFuncSetAttribute", index);
    k.dynamic_shared = bytes;
  }
  return {k.function, k.name.c_str()};
}

}  // namespace pd
