#include "exec/profile.h"

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <unordered_map>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include "base/error.h"
#include "device/cpu/pool.h"
#include "device/watch.h"
#include "fuse/kernel_cache.h"
#include "graph/location.h"

namespace pd::profile {

std::atomic<uint64_t> g_session{0};
void restart_device_span();
bool (*g_may_locate)() = nullptr;

namespace {

// Spans whose events are not read yet; more are read as soon as they are done, so that events are used again.
constexpr size_t kMostOpen = 2048;

struct Place {
  void* code;
  int32_t offset;
  bool operator==(const Place& o) const { return code == o.code && offset == o.offset; }
};
struct PlaceHash {
  size_t operator()(const Place& p) const {
    return std::hash<void*>()(p.code) ^ static_cast<size_t>(static_cast<uint32_t>(p.offset)) * 0x9e3779b97f4a7c15ull;
  }
};

// A span between two events of a device, which is not done perhaps.
struct Open {
  Span span;
  Event begin, end;
};

struct OnDevice {
  bool known = false;           // its time is related to the host's
  Event anchor;                 // an event of which the host's time is known
  double anchor_at = 0;         // that time, in nanoseconds
  int64_t behind = 0;           // the end of the last span
  std::deque<Open> open;
  std::vector<Event> events;    // to be used again
};

// Locks in the order of taking them: `clocks`, a device's own, `mutex`. Memory is told of while a device's is held.
struct Recorder {
  std::mutex clocks;            // for `devices`
  std::mutex mutex;             // for all else; nothing is called while it is held
  uint64_t sessions = 0;
  Record record;
  std::unordered_map<Place, int32_t, PlaceHash> places;
  std::map<std::pair<std::string, int32_t>, int32_t> owners;
  std::unordered_map<const void*, std::pair<int32_t, size_t>> blocks[2];  // owner and bytes, by kind of device
  std::map<int, OnDevice> devices;   // CUDA, by index
  std::vector<char> counted;         // devices whose memory at the start is known; the CPU is the first
};
Recorder& recorder() {
  static auto* r = [] {
    static auto* made = new Recorder;
#if defined(__unix__) || defined(__APPLE__)
    // The child of a fork records nothing: who profiles is its parent.
    pthread_atfork(nullptr, nullptr, [] {
      g_session.store(0);
      g_watch.store(nullptr);
      g_locate_all = false;
      new (made) Recorder;
    });
#endif
    return made;
  }();
  return *r;
}

thread_local int32_t t_owner = -1;         // of memory that this thread takes; -1: to be asked of Python
thread_local StepSpan* t_span = nullptr;   // of a device's step that this thread is giving it

uint64_t this_thread() {
#if defined(__linux__)
  static thread_local const uint64_t id = static_cast<uint64_t>(syscall(SYS_gettid));
#else
  static thread_local const uint64_t id = std::hash<std::thread::id>()(std::this_thread::get_id());
#endif
  return id;
}

// With the lock. Owns `code`, whose reference the caller hands over.
int32_t line_of(Recorder& r, void* code, int32_t offset, bool owned) {
  auto [at, fresh] = r.places.emplace(Place{code, offset}, static_cast<int32_t>(r.record.lines.size()));
  if (fresh) {
    if (!owned) g_location.keep(code);
    r.record.lines.push_back({code, offset});
  } else if (owned) {
    g_location.drop(code);
  }
  return at->second;
}

// The user's line that the calling thread is at; -1 where it cannot be known.
int32_t line_here(Recorder& r) {
  if (!r.record.options.lines || !g_location.locate || !g_may_locate || !g_may_locate()) return -1;
  void* code = nullptr;
  int32_t offset = -1;
  g_location.locate(&code, &offset);
  if (!code) return -1;
  std::lock_guard<std::mutex> hold(r.mutex);
  return line_of(r, code, offset, true);
}

int32_t owner_of(Recorder& r, const std::string& what, int32_t line) {
  std::lock_guard<std::mutex> hold(r.mutex);
  auto [at, fresh] = r.owners.emplace(std::make_pair(what, line), static_cast<int32_t>(r.record.owners.size()));
  if (fresh) r.record.owners.push_back({what, line});
  return at->second;
}

void keep(uint64_t session, Span&& span) {
  Recorder& r = recorder();
  std::lock_guard<std::mutex> hold(r.mutex);
  if (session == g_session.load() && span.begin >= r.record.begin) r.record.spans.push_back(std::move(span));
}

// ---- a device's clock

Event take_event(Device& d, OnDevice& on) {
  if (on.events.empty()) return d.new_event();
  const Event e = on.events.back();
  on.events.pop_back();
  return e;
}

// The host's time of an event that is done. Times between two events are short floats, so the anchor moves along.
double time_of(Device& d, OnDevice& on, Event e) { return on.anchor_at + d.milliseconds(on.anchor, e) * 1e6; }

// An event of which the host knows when it was. Waits for the device.
void anchor(Device& d, OnDevice& on) {
  on.anchor = d.new_event();
  d.record(on.anchor);
  d.synchronize(on.anchor);
  on.anchor_at = static_cast<double>(watch_clock());
  on.known = true;
}

// Reads the spans that are done; `wait`: all.
void read_open(Recorder& r, Device& d, OnDevice& on, bool wait) {
  while (!on.open.empty()) {
    Open& o = on.open.front();
    if (wait) d.synchronize(o.end);
    else if (!d.done(o.end)) return;
    const double begin = time_of(d, on, o.begin), end = begin + d.milliseconds(o.begin, o.end) * 1e6;
    o.span.begin = std::max(static_cast<int64_t>(begin), on.behind);
    o.span.end = on.behind = std::max(static_cast<int64_t>(end), o.span.begin);
    on.events.push_back(on.anchor);
    on.events.push_back(o.begin);
    on.anchor = o.end;
    on.anchor_at = end;
    {
      std::lock_guard<std::mutex> hold(r.mutex);
      r.record.spans.push_back(std::move(o.span));
    }
    on.open.pop_front();
  }
}

OnDevice& on_device(Recorder& r, Device& d) {
  OnDevice& on = r.devices[d.id().index];
  if (!on.known) anchor(d, on);
  return on;
}

// Where work of the device begins.
Event begin_on(Device& d) {
  Recorder& r = recorder();
  std::lock_guard<std::mutex> hold(r.clocks);
  OnDevice& on = on_device(r, d);
  if (on.open.size() > kMostOpen) read_open(r, d, on, false);
  const Event e = take_event(d, on);
  d.record(e);
  return e;
}

void end_on(Device& d, uint64_t session, Event begin, Span&& span) {
  Recorder& r = recorder();
  std::lock_guard<std::mutex> hold(r.clocks);
  if (session != g_session.load()) return d.free_event(begin);
  OnDevice& on = on_device(r, d);
  const Event end = take_event(d, on);
  d.record(end);
  on.open.push_back({std::move(span), begin, end});
}

// ---- memory

// What a device had before the first block that is seen of it.
void count_device(Recorder& r, DeviceId id, int64_t seen) {
  const size_t place = id.kind == DeviceKind::Cpu ? 0 : static_cast<size_t>(id.index) + 1;
  {
    std::lock_guard<std::mutex> hold(r.mutex);
    if (r.counted.size() <= place) r.counted.resize(place + 1, 0);
    if (r.counted[place]) return;
    r.counted[place] = 1;
  }
  const int64_t before = static_cast<int64_t>(device(id).memory_stats().live) - seen;
  const int32_t owner = owner_of(r, "before the profile", -1);
  std::lock_guard<std::mutex> hold(r.mutex);
  r.record.blocks.push_back({r.record.begin, before, owner, id});
}

void allocated(DeviceId id, const void* block, size_t bytes) {
  Recorder& r = recorder();
  count_device(r, id, static_cast<int64_t>(bytes));
  int32_t owner = t_owner;
  if (owner < 0) {
    const int32_t line = line_here(r);
    owner = owner_of(r, line < 0 ? "pydiff itself" : "data", line);
  }
  std::lock_guard<std::mutex> hold(r.mutex);
  if (!on()) return;
  r.blocks[static_cast<int>(id.kind)][block] = {owner, bytes};
  r.record.blocks.push_back({watch_clock(), static_cast<int64_t>(bytes), owner, id});
}

void freed(DeviceId id, const void* block, size_t bytes) {
  Recorder& r = recorder();
  count_device(r, id, 0);
  const int32_t before = owner_of(r, "before the profile", -1);
  std::lock_guard<std::mutex> hold(r.mutex);
  if (!on()) return;
  auto& blocks = r.blocks[static_cast<int>(id.kind)];
  auto at = blocks.find(block);
  const int32_t owner = at == blocks.end() ? before : at->second.first;
  if (at != blocks.end()) blocks.erase(at);
  r.record.blocks.push_back({watch_clock(), -static_cast<int64_t>(bytes), owner, id});
}

void watch_allocated(DeviceId id, const void* block, size_t bytes) {
  if (recorder().record.options.memory) allocated(id, block, bytes);
}
void watch_freed(DeviceId id, const void* block, size_t bytes) {
  if (recorder().record.options.memory) freed(id, block, bytes);
}

// ---- copies and compilation

struct CopySpan {
  uint64_t session;
  Event begin;
  Span span;
};

// What a step copies is part of the step.
void* copy_begin(Device& d, CopyKind kind, size_t bytes) {
  const uint64_t session = g_session.load();
  if (!session || t_span) return nullptr;
  auto c = std::make_unique<CopySpan>();
  c->session = session;
  c->span.kind = Kind::Copy;
  c->span.on_device = true;
  c->span.device = d.id();
  c->span.thread = this_thread();
  c->span.given = watch_clock();
  c->span.bytes = static_cast<int64_t>(bytes);
  static const char* const names[] = {"copy to device", "copy to host", "copy between devices"};
  c->span.name = names[static_cast<int>(kind)];
  c->span.lines = {line_here(recorder())};
  c->begin = begin_on(d);
  return c.release();
}

void copy_end(Device& d, void* copy) {
  std::unique_ptr<CopySpan> c(static_cast<CopySpan*>(copy));
  try {
    end_on(d, c->session, c->begin, std::move(c->span));
  } catch (const Error&) {  // the copy's own failure is the one to be told
  }
}

void compiled(const char* kernel, const char* way, int64_t begin) {
  Span s;
  s.kind = Kind::Compile;
  s.compiled = true;
  s.thread = this_thread();
  s.begin = begin;
  s.end = watch_clock();
  s.name = std::string(kernel) + ", " + way;
  keep(g_session.load(), std::move(s));
  if (t_span) restart_device_span();
}

const Watch kWatch = {watch_allocated, watch_freed, copy_begin, copy_end, compiled};

}  // namespace

const char* name_of(Kind k) {
  static const char* const names[] = {"kernel", "product", "native", "custom",  "graph",   "copy",
                                      "plan",   "evaluate", "compile", "fallback", "range"};
  return names[static_cast<int>(k)];
}

bool running() { return on(); }

void start(const Options& options) {
  if (on())
    fail("profile", "another profile is being made", "a second one", "record(name) for a part of the first", ErrorKind::Runtime);
  Recorder& r = recorder();
  std::lock_guard<std::mutex> hold(r.mutex);
  r.record = Record();
  r.record.options = options;
  r.record.begin = watch_clock();
  r.places.clear();
  r.owners.clear();
  r.blocks[0].clear();
  r.blocks[1].clear();
  r.counted.clear();
  g_locate_all = options.lines;
  g_session.store(++r.sessions);
  g_watch.store(&kWatch);
}

Record stop() {
  Recorder& r = recorder();
  g_locate_all = false;
  g_watch.store(nullptr);
  std::lock_guard<std::mutex> clocks(r.clocks);
  if (!on()) return {};
  g_session.store(0);
  for (auto& [index, on] : r.devices) {
    Device& d = device({DeviceKind::Cuda, static_cast<int8_t>(index)});
    try {
      read_open(r, d, on, true);
    } catch (const Error&) {  // a device that is lost: what it had done is not known
    }
    for (const Open& o : on.open) on.events.insert(on.events.end(), {o.begin, o.end});
    if (on.known) on.events.push_back(on.anchor);
    for (Event e : on.events) d.free_event(e);
  }
  r.devices.clear();
  std::lock_guard<std::mutex> hold(r.mutex);
  r.record.end = watch_clock();
  r.places.clear();
  return std::move(r.record);
}

void add(Kind kind, const std::string& name, int64_t begin, int64_t end, DeviceId device, int64_t bytes) {
  if (!on()) return;
  Span s;
  s.kind = kind;
  s.device = device;
  s.thread = this_thread();
  s.begin = begin;
  s.end = end;
  s.bytes = bytes;
  s.name = name;
  s.lines = {line_here(recorder())};
  keep(g_session.load(), std::move(s));
}

// ---- runs

Run::Run(const Plan& plan, const std::vector<Value*>& order) : plan_(plan), session_(g_session.load()) {
  Recorder& r = recorder();
  options_ = r.record.options;
  lines_.resize(plan.steps.size());
  for (size_t k = 0; k < plan.steps.size(); ++k)
    for (const StepFacts::Member& m : plan.steps[k].facts->members) lines_[k].push_back(line_of(order, m.origin));
}

Run::~Run() { t_owner = -1; }

// Of an output of several: its node's.
int Run::line_of(const std::vector<Value*>& order, int origin) {
  if (origin < 0 || static_cast<size_t>(origin) >= order.size()) return -1;
  const Value* v = order[static_cast<size_t>(origin)];
  if (v->op == kOutput) v = v->in(0);
  if (!v->extra || !v->extra->code || !options_.lines) return -1;
  Recorder& r = recorder();
  std::lock_guard<std::mutex> hold(r.mutex);
  return session_ == g_session.load() ? profile::line_of(r, v->extra->code, v->extra->code_offset, false) : -1;
}

void Run::owned_by(const Value* v) {
  if (!options_.memory) return;
  const Value* node = v->op == kOutput ? v->in(0) : v;
  const std::string name = node->extra && node->extra->custom ? node->extra->custom->code->name : traits(node->op).name;
  t_owner = owner_of(recorder(), name, line_of({const_cast<Value*>(v)}, 0));
}

void Run::owned_by_temporaries() {
  if (!options_.memory) return;
  const int step = plan_.arena_step;
  int32_t line = -1;
  if (step >= 0)
    for (int32_t k : lines_[static_cast<size_t>(step)])
      if (k >= 0) line = k;
  t_owner = owner_of(recorder(), "temporaries", line);
}

// ---- steps

static Kind kind_of(const Step& s) {
  return s.fused ? Kind::Kernel : s.matmul ? Kind::Product : s.custom ? Kind::Custom : Kind::Native;
}

StepSpan::StepSpan(Run* run, int step) : run_(run), step_(step) {
  if (!run_) return;
  Span& s = span_;
  s.device = run_->plan_.device;
  s.thread = this_thread();
  s.on_device = s.device.kind == DeviceKind::Cuda;
  s.compiled = true;
  if (step >= 0) {
    const Step& of = run_->plan_.steps[static_cast<size_t>(step)];
    s.kind = kind_of(of);
    s.facts = {of.facts};
    s.lines = run_->lines_[static_cast<size_t>(step)];
    if (of.fused && s.on_device && of.fused->launches.size() && of.fused->launches[0].cuda->build)
      s.name = of.fused->launches[0].cuda->build->function;
  } else {
    s.kind = Kind::Graph;
    for (size_t k = 0; k < run_->plan_.steps.size(); ++k) {
      s.facts.push_back(run_->plan_.steps[k].facts);
      s.lines.insert(s.lines.end(), run_->lines_[k].begin(), run_->lines_[k].end());
    }
  }
  if (run_->options_.memory && step >= 0) {
    int32_t line = -1;
    for (int32_t k : s.lines)
      if (k >= 0) line = k;
    t_owner = owner_of(recorder(), "a kernel's own", line);
  }
  if (s.on_device) {
    s.given = watch_clock();
    begin_ = begin_on(device(s.device));
    t_span = this;
  } else {
    take_threads_used();
    s.begin = watch_clock();
  }
}

void StepSpan::ready(const char* kernel, bool compiled) {
  if (!run_) return;
  span_.name = kernel;
  span_.compiled = compiled;
  if (!span_.on_device) span_.begin = watch_clock();
}

// A kernel was compiled after the span had begun: the device had nothing to do.
void restart_device_span() {
  if (t_span->begin_.handle) device(t_span->span_.device).record(t_span->begin_);
}

StepSpan::~StepSpan() {
  if (begin_.handle) t_span = nullptr;
  if (!run_) {
    if (begin_.handle) device(span_.device).free_event(begin_);
    return;
  }
  if (!span_.on_device) {
    span_.end = watch_clock();
    span_.threads = take_threads_used();
    keep(run_->session_, std::move(span_));
    return;
  }
  try {
    end_on(device(span_.device), run_->session_, begin_, std::move(span_));
  } catch (const Error&) {  // the step's own failure is the one to be told
  }
}

// ---- the host's work

HostSpan::HostSpan(Kind kind, DeviceId device) : session_(g_session.load(std::memory_order_acquire)) {
  if (!session_) return;
  span_.kind = kind;
  span_.device = device;
  span_.thread = this_thread();
  if (kind == Kind::Evaluate) span_.lines = {line_here(recorder())};
  span_.begin = watch_clock();
}

void HostSpan::say(const char* name, size_t count) {
  if (!session_) return;
  span_.name = name;
  span_.count = static_cast<int64_t>(count);
}

HostSpan::~HostSpan() {
  if (!session_ || span_.name.empty()) return;
  span_.end = watch_clock();
  keep(session_, std::move(span_));
}

}  // namespace pd::profile
