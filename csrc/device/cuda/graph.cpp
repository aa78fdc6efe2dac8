#include "device/cuda/graph.h"

#include "base/error.h"
#include "device/cuda/cuda_device.h"

namespace pd {
namespace cuda {

namespace {

// One stream a device is enough: captures exclude each other. It never waits for the default stream, so that what
// others give to that one is not part of the capture.
struct Capture {
  Stream stream;
  bool on = false;
};
Capture& capture_of(int index) {
  static Capture* const all = new Capture[128];
  return all[index];
}

bool has_graphs(const Driver& d) {
  return d.cuStreamBeginCapture && d.cuStreamEndCapture && d.cuGraphInstantiate && d.cuGraphLaunch &&
         d.cuGraphExecDestroy && d.cuGraphDestroy;
}

}  // namespace

std::recursive_mutex& capture_lock() {
  static auto* lock = new std::recursive_mutex;
  return *lock;
}

bool is_capturing(int index, Stream s) {
  const Capture& c = capture_of(index);
  return c.on && c.stream.handle == s.handle;
}

}  // namespace cuda

bool cuda_has_graphs() { return cuda::has_graphs(cuda::driver()); }

static CudaGraph captured(DeviceId id, const std::function<void(Stream)>& issue) {
  using namespace cuda;
  const Driver& d = driver();
  if (!has_graphs(d)) fail("cuda", "this driver has no CUDA graphs", d.path, "PYDIFF_CUDA_GRAPHS=off", ErrorKind::Runtime);
  CudaDevice& device = cuda_device(id.index);
  std::lock_guard<std::recursive_mutex> hold(capture_lock());
  Capture& c = capture_of(id.index);
  if (!c.stream.handle) c.stream = device.new_stream();
  ContextScope here(d, device.context());
  // Thread-local: what other threads do at the same time, such as loading their kernels, is none of its business.
  check(d.cuStreamBeginCapture(stream_of(c.stream), kCaptureThreadLocal), "cuStreamBeginCapture", id.index);
  struct Ended {
    const Driver& d;
    Capture& c;
    bool done = false;
    CUresult end(CUgraph* graph) {
      done = true;
      c.on = false;
      return d.cuStreamEndCapture(stream_of(c.stream), graph);
    }
    ~Ended() {
      CUgraph graph = nullptr;
      if (!done && end(&graph) == kSuccess && graph) d.cuGraphDestroy(graph);
    }
  } capture{d, c};
  c.on = true;
  issue(c.stream);
  CUgraph graph = nullptr;
  check(capture.end(&graph), "cuStreamEndCapture", id.index);
  CUgraphExec made = nullptr;
  const CUresult result = d.cuGraphInstantiate(&made, graph, 0);
  d.cuGraphDestroy(graph);
  check(result, "cuGraphInstantiate", id.index);
  return {made};
}

CudaGraph cuda_capture(DeviceId id, const std::function<void(Stream)>& issue) {
  try {
    return captured(id, issue);
  } catch (const std::exception& e) {
    cuda::debug(1, std::string("a plan is not captured as a CUDA graph: ") + e.what());
    throw;
  }
}

void cuda_launch(DeviceId id, CudaGraph graph, Stream s) {
  using namespace cuda;
  const Driver& d = driver();
  const Submission work(d, cuda_device(id.index), s);
  check(d.cuGraphLaunch(static_cast<CUgraphExec>(graph.handle), work.stream), "cuGraphLaunch", id.index);
}

void cuda_free(DeviceId id, CudaGraph graph) noexcept {
  using namespace cuda;
  const Driver* d = find_driver();
  if (!d || !graph.handle) return;
  ContextScope here(*d, cuda_device(id.index).context());
  d->cuGraphExecDestroy(static_cast<CUgraphExec>(graph.handle));
}

}  // namespace pd
