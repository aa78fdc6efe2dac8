// What of CUDA was found, in words.
#include <exception>

#include "device/cuda/blas.h"
#include "device/cuda/compiler.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/image_cache.h"

namespace pd {

using Report = std::vector<std::pair<std::string, std::string>>;

static void report_devices(Report& out, const cuda::Driver& d) {
  out.push_back({"devices", std::to_string(d.devices.size())});
  for (size_t i = 0; i < d.devices.size(); ++i) {
    const CudaProperties& p = d.devices[i];
    out.push_back({"cuda:" + std::to_string(i),
                   p.name + ", compute capability " + std::to_string(p.major) + "." + std::to_string(p.minor) + ", " +
                       cuda::readable_bytes(p.memory) + ", " + std::to_string(p.multiprocessors) + " multiprocessors"});
  }
}

template <class F>
static void report_library(Report& out, const char* name, F describe) {
  try {
    out.push_back({name, describe()});
  } catch (const std::exception& e) {
    out.push_back({name, e.what()});
  }
}

std::vector<std::pair<std::string, std::string>> cuda_report() {
  using namespace cuda;
  Report out;
  std::string why;
  const Driver* d = find_driver(&why);
  out.push_back({"driver", d ? "CUDA " + version_text(d->version) + ", " + d->path : why});
  if (d) report_devices(out, *d);
  report_library(out, "NVRTC", [] {
    const Nvrtc& n = nvrtc();
    return std::to_string(n.major) + "." + std::to_string(n.minor) + ", " + n.path;
  });
  report_library(out, "cuBLAS", [] {
    const Blas& b = blas();
    return b.version.empty() ? b.path : b.version + ", " + b.path;
  });
  std::string folder = image_folder();
  out.push_back({"kernel cache", folder.empty() ? "none (PYDIFF_CACHE_DIR is empty)" : folder});
  return out;
}

}  // namespace pd
