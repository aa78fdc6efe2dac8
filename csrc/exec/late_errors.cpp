#include "exec/late_errors.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>

#include "base/error.h"
#include "device/device.h"

namespace pd {

namespace {

// An operation of a run that may fail.
struct Site {
  OpId op;
  Spec operand;
  Ints attrs;
  int origin, cell;
  void* code = nullptr;
  int32_t offset = -1;
};

struct Run {
  DeviceId device;
  int64_t* cells = nullptr;
  size_t bytes = 0;
  Event done;
  bool named = false;  // its lines are known
  std::vector<Site> sites;
};

struct Failure {
  std::string text;
  uint64_t run = 0;  // that failed itself
  ErrorKind kind = ErrorKind::Index;
  void* code = nullptr;  // where it was recorded, kept for good: Python is asked for the line when the error is told
  int32_t offset = -1;
};

struct Table {
  std::mutex mutex;  // never held while Python is called
  uint64_t last = 0;
  std::map<uint64_t, Run> waiting;                    // in the order of running
  std::map<uint64_t, std::vector<uint64_t>> joined;   // numbers that stand for several; they come after those
  std::unordered_map<uint64_t, Failure> failed;       // for good
  std::deque<uint64_t> untold;                        // of these
  std::map<size_t, std::vector<int64_t*>> free_cells;  // page-locked, by bytes
  std::map<int, std::vector<Event>> free_events;      // by device
};
Table& table() {
  static auto* t = new Table;  // never destroyed: values may be read while the process ends
  return *t;
}
// How many numbers mean anything: most programs have none.
std::atomic<int64_t> g_open{0};

// What the run's cells say; false: all went well.
bool read_cells(const Run& r, Failure* f) {
  for (const Site& s : r.sites) {
    NativeArgs a{};
    a.op = s.op;
    a.nin = 1;
    a.specs = &s.operand;
    a.attrs = &s.attrs;
    f->text = cuda_native_error(a, r.cells + s.cell * kErrorCells);
    if (f->text.empty()) continue;
    f->kind = cuda_native_error_kind(s.op);
    f->code = s.code;
    f->offset = s.offset;
    return true;
  }
  return false;
}

void settle_joined(Table& t);

// Moves what is done from those that wait to those that failed or are forgotten, in one step: no other thread may find
// a number that is neither. Returns the code objects that are not needed any more.
std::vector<void*> take_done(Table& t, bool wait) {
  std::vector<void*> codes;
  struct Waiting {
    uint64_t number;
    DeviceId device;
    Event done;
  };
  std::vector<Waiting> order;  // copies: another thread may take the run meanwhile
  {
    std::lock_guard<std::mutex> hold(t.mutex);
    for (auto& e : t.waiting)
      if (e.second.named) order.push_back({e.first, e.second.device, e.second.done});
  }
  std::vector<DeviceId> behind;  // devices where an earlier run is under way
  for (const Waiting& e : order) {
    if (std::find(behind.begin(), behind.end(), e.device) != behind.end()) continue;
    Device& d = device(e.device);
    if (wait) d.synchronize(e.done);
    if (!wait && !d.done(e.done)) {
      behind.push_back(e.device);
      continue;
    }
    std::lock_guard<std::mutex> hold(t.mutex);
    auto it = t.waiting.find(e.number);
    if (it == t.waiting.end()) continue;  // another thread was faster
    Run r = std::move(it->second);
    t.waiting.erase(it);
    Failure f;
    const bool bad = read_cells(r, &f);
    bool kept = false;
    for (Site& s : r.sites) {
      if (bad && !kept && s.code && s.code == f.code) kept = true;
      else if (s.code) codes.push_back(s.code);
    }
    t.free_cells[r.bytes].push_back(r.cells);
    t.free_events[r.device.index].push_back(r.done);
    if (bad) {
      f.run = e.number;
      t.failed[e.number] = std::move(f);
      t.untold.push_back(e.number);
    } else {
      --g_open;
    }
    settle_joined(t);
  }
  return codes;
}

// Numbers that stand for several are good or bad when these are.
void settle_joined(Table& t) {
  for (auto it = t.joined.begin(); it != t.joined.end();) {
    const Failure* bad = nullptr;
    bool open = false;
    for (uint64_t n : it->second) {
      auto f = t.failed.find(n);
      if (f != t.failed.end()) bad = &f->second;
      open |= t.waiting.count(n) || t.joined.count(n);
    }
    if (!bad && open) {
      ++it;
      continue;
    }
    if (bad) t.failed[it->first] = Failure(*bad);
    else --g_open;
    it = t.joined.erase(it);
  }
}

void look(bool wait) {
  if (!g_open.load(std::memory_order_relaxed)) return;
  for (void* code : take_done(table(), wait))
    if (g_location.drop) g_location.drop(code);
}

// Raises it, without the lock: the line is Python's to say.
[[noreturn]] void tell(Table& t, std::unique_lock<std::mutex>& hold, const Failure& failure) {
  const Failure f = failure;
  t.untold.erase(std::remove(t.untold.begin(), t.untold.end(), f.run), t.untold.end());
  hold.unlock();
  throw Error(f.kind, f.code && g_location.describe ? g_location.describe(f.text, f.code, f.offset) : f.text);
}

}  // namespace

int64_t late_error_count() { return g_open.load(); }

uint64_t watch_errors(const Plan& plan, const int64_t* cells) {
  Table& t = table();
  Device& d = device(plan.device);
  Run r;
  r.device = plan.device;
  r.bytes = static_cast<size_t>(plan.errors) * kErrorCells * sizeof(int64_t);
  for (const Step& s : plan.steps)
    if (s.native && s.native->error >= 0)
      r.sites.push_back({s.native->op, s.native->specs[0], s.native->attrs, s.native->origin, s.native->error});
  {
    std::lock_guard<std::mutex> hold(t.mutex);
    auto& room = t.free_cells[r.bytes];
    if (!room.empty()) r.cells = room.back(), room.pop_back();
    auto& events = t.free_events[r.device.index];
    if (!events.empty()) r.done = events.back(), events.pop_back();
  }
  if (!r.cells) r.cells = static_cast<int64_t*>(d.allocate_host(r.bytes));
  if (!r.done.handle) r.done = d.new_event();
  d.copy(r.cells, cells, r.bytes, CopyKind::DeviceToHost);
  d.record(r.done);
  std::lock_guard<std::mutex> hold(t.mutex);
  ++g_open;
  t.waiting.emplace(++t.last, std::move(r));
  return t.last;
}

void keep_lines(uint64_t run, const std::vector<Value*>& order) {
  Table& t = table();
  std::lock_guard<std::mutex> hold(t.mutex);
  Run& r = t.waiting.at(run);
  for (Site& s : r.sites) {
    if (s.origin < 0 || static_cast<size_t>(s.origin) >= order.size()) continue;
    const Extra* e = order[static_cast<size_t>(s.origin)]->extra;
    if (!e || !e->code || !g_location.keep) continue;
    g_location.keep(e->code);
    s.code = e->code;
    s.offset = e->code_offset;
  }
  r.named = true;
}

uint64_t suspect_of(const std::vector<Value*>& leaves, uint64_t run) {
  if (!g_open.load(std::memory_order_relaxed)) return 0;
  Table& t = table();
  std::lock_guard<std::mutex> hold(t.mutex);
  std::vector<uint64_t> all;
  if (run) all.push_back(run);
  for (const Value* v : leaves) {
    const uint64_t n = v->buffer->suspect;
    if (!n || std::find(all.begin(), all.end(), n) != all.end()) continue;
    // Another thread may have found out meanwhile.
    if (t.waiting.count(n) || t.joined.count(n) || t.failed.count(n)) all.push_back(n);
  }
  if (all.size() <= 1) return all.empty() ? 0 : all[0];
  ++g_open;
  t.joined.emplace(++t.last, std::move(all));
  settle_joined(t);
  return t.last;
}

void check_operands(const std::vector<Value*>& leaves) {
  if (!g_open.load(std::memory_order_relaxed)) return;
  Table& t = table();
  std::unique_lock<std::mutex> hold(t.mutex);
  for (const Value* v : leaves) {
    auto f = t.failed.find(v->buffer->suspect);
    if (f != t.failed.end()) tell(t, hold, f->second);
  }
}

void raise_late_errors(bool wait) {
  look(wait);
  if (!g_open.load(std::memory_order_relaxed)) return;
  Table& t = table();
  std::unique_lock<std::mutex> hold(t.mutex);
  if (!t.untold.empty()) tell(t, hold, t.failed.at(t.untold.front()));
}

void check_buffer(const Buffer* b, bool wait) {
  if (!g_open.load(std::memory_order_relaxed)) return;
  look(false);
  Table& t = table();
  if (wait && b->suspect) {
    std::unique_lock<std::mutex> hold(t.mutex);
    const bool open = t.waiting.count(b->suspect) || t.joined.count(b->suspect);
    hold.unlock();
    if (open) look(true);
  }
  {
    std::unique_lock<std::mutex> hold(t.mutex);
    auto f = t.failed.find(b->suspect);
    if (f != t.failed.end()) tell(t, hold, f->second);
  }
  raise_late_errors();
}

}  // namespace pd
