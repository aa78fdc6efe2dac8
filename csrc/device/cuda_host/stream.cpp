// Streams, events and graphs. Work is done at the call; a stream that is captured records it instead, and a graph does
// what was recorded, in that order, each time it is launched.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <unordered_set>

#include "internal.h"

namespace pd_host {

struct Graph {
  StreamState* origin = nullptr;
  std::vector<StreamState*> streams;  // while captured: the origin and those that joined by events
  std::vector<std::function<CUresult()>> work;
  std::vector<std::shared_ptr<void>> owned;  // memory that was allocated and freed inside
  bool invalid = false;
  int mode = 0;
  std::thread::id thread;
};

namespace {

struct EventState {
  int device = 0;
  bool recorded = false, timed = true;
  std::shared_ptr<std::chrono::steady_clock::time_point> time;
  std::shared_ptr<Progress> progress;  // it is there when this has done `upto` pieces
  int64_t upto = 0;
  int queries = 0;
  Graph* capture = nullptr;
  StreamState* stream = nullptr;
  int64_t work = 0;
};

struct Streams {
  StreamState legacy[kMaxDevices];
  std::unordered_set<StreamState*> streams;
  std::unordered_set<EventState*> events;
  std::unordered_set<Graph*> graphs;
  std::unordered_set<std::shared_ptr<Graph>*> executables;
  std::unordered_set<Graph*> capturing;
};

Streams& all() {
  static Streams* s = [] {
    auto* fresh = new Streams;
    for (int d = 0; d < kMaxDevices; d++) {
      fresh->legacy[d].device = fresh->legacy[d].progress->device = d;
      fresh->legacy[d].legacy = true;
    }
    return fresh;
  }();
  return *s;
}

template <class T> T* known(const std::unordered_set<T*>& set, void* handle) {
  T* p = static_cast<T*>(handle);
  return set.count(p) ? p : nullptr;
}

EventState* event_of(void* handle) { return known(all().events, handle); }

void invalidate(Graph* g) { g->invalid = true; }

// Stands for a capture that has ended, in events that were recorded in it.
Graph g_ended;

void leave_capture(Graph* g) {
  for (StreamState* s : g->streams) s->capture = nullptr, s->last_work = s->joined = 0;
  g->streams.clear();
  for (EventState* e : all().events)
    if (e->capture == g) e->capture = &g_ended;
  all().capturing.erase(g);
}

// Work on the default stream waits for all streams that do not exclude it, so it may not be given while one of them
// is captured.
CUresult check_legacy(StreamState& s) {
  if (!s.legacy) return kSuccess;
  for (Graph* g : all().capturing) {
    if (g->origin->non_blocking || g->origin->device != s.device) continue;
    invalidate(g);
    return kCaptureImplicit;
  }
  return kSuccess;
}

bool reached(const EventState& e) { return !e.progress || e.progress->done >= e.upto; }

void wait_for(const EventState& e) {
  if (!reached(e)) run_until(*e.progress, e.upto);
}

// The default stream and those that do not exclude it come one after the other.
void order_with_default(StreamState& s) {
  if (s.non_blocking) return;
  if (!s.legacy) {
    StreamState& legacy = all().legacy[s.device];
    return enqueue_wait(*s.progress, legacy.progress, legacy.progress->given);
  }
  for (StreamState* other : all().streams)
    if (other->device == s.device && !other->non_blocking)
      enqueue_wait(*s.progress, other->progress, other->progress->given);
}

// Who asks again and again is told in the end: a device does not stand still.
bool asked_often(int& queries) { return ++queries > 30; }

}  // namespace

void finish_stream(StreamState& s) {
  order_with_default(s);
  run_until(*s.progress, s.progress->given);
}

void finish_device() {
  const int device = current_device();
  finish_stream(all().legacy[device]);
  for (StreamState* s : all().streams)
    if (s->device == device) run_until(*s->progress, s->progress->given);
  run_orphans(device);
}

StreamState* stream_of(void* handle) {
  if (reinterpret_cast<uintptr_t>(handle) <= 2) return &all().legacy[current_device()];
  return known(all().streams, handle);
}

CUresult submit(void* stream, std::function<CUresult()> work) {
  StreamState* s = stream_of(stream);
  if (!s) return kInvalidHandle;
  if (CUresult e = check_legacy(*s)) return e;
  if (!s->capture && late_streams()) {
    order_with_default(*s);
    enqueue(*s->progress, std::move(work));
    return kSuccess;
  }
  if (!s->capture) return work();
  if (s->capture->invalid) return kCaptureInvalidated;
  s->capture->work.push_back(std::move(work));
  s->last_work = int64_t(s->capture->work.size());
  return kSuccess;
}

CUresult forbid_capture() {
  // Mode 0 forbids it to all threads, 1 to the thread that began the capture, 2 to none.
  for (Graph* g : all().capturing) {
    if (g->mode == 2 || (g->mode == 1 && g->thread != std::this_thread::get_id())) continue;
    invalidate(g);
    return kCaptureUnsupported;
  }
  return kSuccess;
}

CUresult forbid_capture_on(int device) {
  CUresult result = kSuccess;
  for (Graph* g : all().capturing) {
    if (g->origin->device != device) continue;
    invalidate(g);
    result = kCaptureUnsupported;
  }
  return result;
}

bool told_to_fail(const char* function) {
  const char* names = getenv("PYDIFF_CUDA_HOST_FAIL");
  return names && (std::string(",") + names + ",").find(std::string(",") + function + ",") != std::string::npos;
}

CUresult captured_alloc(StreamState& s, void* block, size_t bytes) {
  s.capture->work.push_back([=] {
    poison(block, bytes);
    return CUresult(kSuccess);
  });
  return kSuccess;
}

CUresult captured_free(StreamState& s, void* block) {
  s.capture->work.push_back([=] {
    check_guards(block, "work of a graph");
    return CUresult(kSuccess);
  });
  s.capture->owned.push_back(std::shared_ptr<void>(block, [](void* p) { release_block(p); }));
  return kSuccess;
}

}  // namespace pd_host

using namespace pd_host;

// ---- streams

PD_EXPORT CUresult cuStreamCreateWithPriority(void** out, unsigned flags, int) {
  PD_ENTER();
  if (!out || flags > 1) return kInvalidValue;
  auto* s = new StreamState;
  s->device = s->progress->device = current_device();
  s->non_blocking = flags & 1;
  all().streams.insert(s);
  *out = s;
  return kSuccess;
}

PD_EXPORT CUresult cuStreamCreate(void** out, unsigned flags) { return cuStreamCreateWithPriority(out, flags, 0); }

PD_EXPORT CUresult cuStreamDestroy_v2(void* stream) {
  PD_ENTER();
  StreamState* s = known(all().streams, stream);
  if (!s) return kInvalidHandle;
  if (s->capture) {
    Graph* g = s->capture;
    invalidate(g);
    g->streams.erase(std::remove(g->streams.begin(), g->streams.end(), s), g->streams.end());
    if (g->origin == s) leave_capture(g), delete g;
  }
  for (EventState* e : all().events)
    if (e->stream == s) e->stream = nullptr;
  all().streams.erase(s);
  abandon(s->progress);
  delete s;
  return kSuccess;
}

PD_EXPORT CUresult cuStreamSynchronize(void* stream) {
  PD_ENTER();
  StreamState* s = stream_of(stream);
  if (!s) return kInvalidHandle;
  if (CUresult e = check_legacy(*s)) return e;
  if (!s->capture) return finish_stream(*s), CUresult(kSuccess);
  invalidate(s->capture);
  return kCaptureUnsupported;
}

PD_EXPORT CUresult cuStreamQuery(void* stream) {
  PD_ENTER();
  StreamState* s = stream_of(stream);
  if (!s) return kInvalidHandle;
  if (!s->capture && s->progress->done < s->progress->given && !asked_often(s->queries)) return kNotReady;
  s->queries = 0;
  return cuStreamSynchronize(stream);
}

PD_EXPORT CUresult cuStreamGetFlags(void* stream, unsigned* flags) {
  PD_ENTER();
  StreamState* s = stream_of(stream);
  if (!s) return kInvalidHandle;
  *flags = s->non_blocking;
  return kSuccess;
}

PD_EXPORT CUresult cuStreamWaitEvent(void* stream, void* event, unsigned) {
  PD_ENTER();
  StreamState* s = stream_of(stream);
  EventState* e = event_of(event);
  if (!s || !e) return kInvalidHandle;
  if (!e->capture) {
    if (!s->capture) {
      if (!reached(*e)) enqueue_wait(*s->progress, e->progress, e->upto);
      return kSuccess;
    }
    if (!e->recorded) return kSuccess;
    invalidate(s->capture);  // an event of uncaptured work
    return 905;
  }
  if (!all().capturing.count(e->capture)) return kInvalidValue;
  if (s->legacy) return invalidate(e->capture), CUresult(kCaptureImplicit);
  if (s->capture && s->capture != e->capture) return invalidate(e->capture), CUresult(902);
  if (!s->capture) {
    s->capture = e->capture;
    s->last_work = 1;
    s->joined = 0;
    s->capture->streams.push_back(s);
  }
  if (e->stream) e->stream->joined = std::max(e->stream->joined, e->work);
  return kSuccess;
}

PD_EXPORT CUresult cuLaunchHostFunc(void* stream, void (*function)(void*), void* data) {
  PD_ENTER();
  return submit(stream, [=] {
    function(data);
    return CUresult(kSuccess);
  });
}

// ---- events

PD_EXPORT CUresult cuEventCreate(void** out, unsigned flags) {
  PD_ENTER();
  if (!out) return kInvalidValue;
  auto* e = new EventState;
  e->device = current_device();
  e->timed = !(flags & 2);
  all().events.insert(e);
  *out = e;
  return kSuccess;
}

PD_EXPORT CUresult cuEventDestroy_v2(void* event) {
  PD_ENTER();
  EventState* e = event_of(event);
  if (!e) return kInvalidHandle;
  all().events.erase(e);
  delete e;
  return kSuccess;
}

PD_EXPORT CUresult cuEventRecord(void* event, void* stream) {
  PD_ENTER();
  EventState* e = event_of(event);
  StreamState* s = stream_of(stream);
  if (!e || !s || e->device != s->device) return kInvalidHandle;
  if (CUresult error = check_legacy(*s)) return error;
  e->capture = s->capture;
  e->stream = s->capture ? s : nullptr;
  e->work = s->capture ? std::max<int64_t>(s->last_work, 1) : 0;
  e->recorded = !s->capture;
  e->queries = 0;
  e->time = std::make_shared<std::chrono::steady_clock::time_point>();
  auto mark = [time = e->time] {
    *time = std::chrono::steady_clock::now();
    return CUresult(kSuccess);
  };
  if (s->capture || !late_streams()) return e->progress.reset(), mark();
  order_with_default(*s);
  e->progress = s->progress;
  e->upto = enqueue(*s->progress, mark);
  return kSuccess;
}

PD_EXPORT CUresult cuEventQuery(void* event) {
  PD_ENTER();
  EventState* e = event_of(event);
  if (!e) return kInvalidHandle;
  if (e->capture) return kCapturedEvent;
  if (!reached(*e) && !asked_often(e->queries)) return kNotReady;
  wait_for(*e);
  return kSuccess;
}

PD_EXPORT CUresult cuEventSynchronize(void* event) {
  PD_ENTER();
  EventState* e = event_of(event);
  if (!e) return kInvalidHandle;
  if (e->capture) return kCapturedEvent;
  wait_for(*e);
  return kSuccess;
}

PD_EXPORT CUresult cuEventElapsedTime_v2(float* milliseconds, void* begin, void* end) {
  PD_ENTER();
  EventState *a = event_of(begin), *b = event_of(end);
  if (!milliseconds) return kInvalidValue;
  if (!a || !b || !a->recorded || !b->recorded || !a->timed || !b->timed) return kInvalidHandle;
  if (!reached(*a) || !reached(*b)) return kNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(*b->time - *a->time).count();
  return kSuccess;
}

// ---- capture

PD_EXPORT CUresult cuStreamBeginCapture_v2(void* stream, int mode) {
  PD_ENTER();
  StreamState* s = stream_of(stream);
  if (!s) return kInvalidHandle;
  if (mode < 0 || mode > 2) return kInvalidValue;
  if (s->legacy) return kCaptureUnsupported;
  if (s->capture) return kInvalidValue;
  auto* g = new Graph;
  g->origin = s;
  g->mode = mode;
  g->thread = std::this_thread::get_id();
  g->streams.push_back(s);
  s->capture = g;
  s->last_work = s->joined = 0;
  all().capturing.insert(g);
  return kSuccess;
}

PD_EXPORT CUresult cuStreamIsCapturing(void* stream, int* status) {
  PD_ENTER();
  StreamState* s = stream_of(stream);
  if (!s || !status) return s ? kInvalidValue : kInvalidHandle;
  if (CUresult e = check_legacy(*s)) return e;
  *status = !s->capture ? 0 : s->capture->invalid ? 2 : 1;
  return kSuccess;
}

PD_EXPORT CUresult cuStreamEndCapture(void* stream, void** out) {
  PD_ENTER();
  StreamState* s = stream_of(stream);
  if (!s) return kInvalidHandle;
  if (!out) return kInvalidValue;
  *out = nullptr;
  Graph* g = s->capture;
  if (!g) return kInvalidValue;
  if (g->origin != s) return kCaptureUnmatched;
  CUresult result = g->invalid ? kCaptureInvalidated : kSuccess;
  for (StreamState* other : g->streams)
    if (!result && other != s && other->joined < other->last_work) result = kCaptureUnjoined;
  leave_capture(g);
  if (result) {
    delete g;
    return result;
  }
  all().graphs.insert(g);
  *out = g;
  return kSuccess;
}

PD_EXPORT CUresult cuThreadExchangeStreamCaptureMode(int* mode) {
  static thread_local int current = 0;
  if (!mode || *mode < 0 || *mode > 2) return kInvalidValue;
  std::swap(*mode, current);
  return kSuccess;
}

// ---- graphs

PD_EXPORT CUresult cuGraphInstantiateWithFlags(void** out, void* graph, unsigned long long) {
  PD_ENTER();
  Graph* g = known(all().graphs, graph);
  if (!g || !out) return kInvalidValue;
  if (told_to_fail("cuGraphInstantiate")) return kOutOfMemory;
  auto* e = new std::shared_ptr<Graph>(new Graph(*g));
  all().executables.insert(e);
  *out = e;
  return kSuccess;
}

PD_EXPORT CUresult cuGraphGetNodes(void* graph, void**, size_t* count) {
  PD_ENTER();
  Graph* g = known(all().graphs, graph);
  if (!g || !count) return kInvalidValue;
  *count = g->work.size();
  return kSuccess;
}

PD_EXPORT CUresult cuGraphUpload(void* executable, void*) {
  PD_ENTER();
  return known(all().executables, executable) ? kSuccess : kInvalidValue;
}

PD_EXPORT CUresult cuGraphLaunch(void* executable, void* stream) {
  PD_ENTER();
  auto* e = known(all().executables, executable);
  if (!e) return kInvalidValue;
  std::shared_ptr<Graph> graph = *e;
  return submit(stream, [graph] {
    for (auto& work : graph->work)
      if (CUresult error = work()) return error;
    return CUresult(kSuccess);
  });
}

PD_EXPORT CUresult cuGraphExecDestroy(void* executable) {
  PD_ENTER();
  auto* e = known(all().executables, executable);
  if (!e) return kInvalidValue;
  all().executables.erase(e);
  delete e;
  return kSuccess;
}

PD_EXPORT CUresult cuGraphDestroy(void* graph) {
  PD_ENTER();
  Graph* g = known(all().graphs, graph);
  if (!g) return kInvalidValue;
  all().graphs.erase(g);
  delete g;
  return kSuccess;
}

PD_ALIAS(cuStreamDestroy, cuStreamDestroy_v2);
PD_ALIAS(cuEventDestroy, cuEventDestroy_v2);
PD_ALIAS(cuEventElapsedTime, cuEventElapsedTime_v2);
PD_ALIAS(cuStreamBeginCapture, cuStreamBeginCapture_v2);
PD_ALIAS(cuGraphInstantiate, cuGraphInstantiateWithFlags);
