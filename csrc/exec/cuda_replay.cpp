#include "exec/cuda_replay.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/error.h"
#include "device/cuda/cuda.h"
#include "device/device.h"
#include "exec/late_errors.h"
#include "exec/run_cuda.h"
#include "exec/stats.h"
#include "kernels/cuda/tiled_gemm.h"

namespace pd {

namespace {

constexpr int kRunsBefore = 2;         // of a plan as it is: many plans run once only
// Steps below which a graph saves nothing: its launch and the words' are two themselves.
constexpr size_t kFewestSteps = 4;
// Temporaries that a plan may keep, and all plans together. A plan with more of them is not bound by launches.
constexpr int64_t kMostBytes = int64_t{64} << 20, kMostTogether = int64_t{512} << 20;
// Operands and results of products and natives that are copied in and out, and runs without a graph before they are.
constexpr int64_t kMostCopied = int64_t{16} << 20;
constexpr int kRunsBeforeCopies = 12;
constexpr int64_t kOwnAlign = 64;
constexpr size_t kGraphs = 8;          // of a plan
constexpr size_t kSetsMet = 32;        // of addresses that are remembered
// Runs that no graph served, less those that one did, after which a plan gives up; a capture costs as much as some runs.
constexpr int kPatience = 64, kCaptureCost = 4;
constexpr int kMostPatience = 16;       // a plan from which memory was taken waits a run, then 2, 4 … at most 2 to this

bool switched_on() {
  const char* e = std::getenv("PYDIFF_CUDA_GRAPHS");
  if (e && (std::strcmp(e, "off") == 0 || std::strcmp(e, "0") == 0)) return false;
  static const bool there = cuda_has_graphs();
  return there;
}

uint64_t tick() {
  static uint64_t now = 0;
  return ++now;
}

int64_t word_of(const void* p) { return static_cast<int64_t>(reinterpret_cast<intptr_t>(p)); }

// Bytes from the beginning of an operand's memory to behind its last element.
int64_t end_of_view(const Spec& spec, int64_t offset, const Ints& strides) {
  int64_t last = offset;
  for (int k = 0; k < spec.shape.size(); ++k) last += std::max<int64_t>((spec.shape[k] - 1) * strides[k], 0);
  return numel(spec.shape) ? (last + 1) * static_cast<int64_t>(size_of(spec.dtype)) : 0;
}

BufferRef memory_of(DeviceId device, int64_t bytes) {
  return bytes ? BufferRef::adopt(new_buffer(device, static_cast<size_t>(bytes))) : BufferRef();
}

}  // namespace

CudaReplay* CudaReplay::active_ = nullptr;
const bool CudaReplay::registered_ = (register_keeper(CudaReplay::give_back), true);

// Taken by a run, and by whoever gives back what plans hold.
std::recursive_timed_mutex& CudaReplay::lock() {
  static auto* m = [] {
    static auto* made = new std::recursive_timed_mutex;
    // The child of a fork has none of the parent's threads, so nobody to open it.
    pthread_atfork(nullptr, nullptr, [] { new (made) std::recursive_timed_mutex; });
    return made;
  }();
  return *m;
}

std::vector<CudaReplay*>& CudaReplay::holders() {
  static auto* all = new std::vector<CudaReplay*>;
  return *all;
}

CudaReplay::Held::~Held() {
  for (const Graph& g : graphs) cuda_free(device, g.graph);
}

CudaReplay::~CudaReplay() {
  std::lock_guard<std::recursive_timed_mutex> hold(lock());
  drop(true);
}

void CudaReplay::drop(bool for_good) {
  off_ = off_ || for_good;
  if (!held_) return;
  held_.reset();
  holders().erase(std::remove(holders().begin(), holders().end(), this), holders().end());
}

void CudaReplay::drop_for_now() {
  drop(false);
  runs_ = kRunsBefore - (1 << std::min(drops_++, kMostPatience));
}

void CudaReplay::give_back(DeviceId device) {
  // Who runs a graph waits for nobody and is done soon, but it may be compiling.
  std::unique_lock<std::recursive_timed_mutex> hold(lock(), std::chrono::seconds(1));
  if (!hold.owns_lock()) return;
  for (CudaReplay* r : std::vector<CudaReplay*>(holders()))
    if (r != active_ && r->plan_.device == device) r->drop_for_now();
}

// What was used longest ago goes first.
void CudaReplay::make_room(int64_t bytes) {
  for (;;) {
    int64_t together = bytes;
    CudaReplay* oldest = nullptr;
    for (CudaReplay* r : holders()) {
      together += r->held_->bytes;
      if (r != active_ && (!oldest || r->held_->used < oldest->held_->used)) oldest = r;
    }
    if (together <= kMostTogether || !oldest) return;
    oldest->drop_for_now();
  }
}

bool CudaReplay::suits() const {
  if (plan_.steps.size() < kFewestSteps || plan_.arena > kMostBytes) return false;
  for (const Step& s : plan_.steps)
    if (s.custom && s.custom->code->by_host()) return false;
  return true;
}

// The values of a run: leaves and numbers by slot, then results that have memory of their own.
CudaReplay::Words CudaReplay::values_of(void* const* slots) const {
  Words values;
  values.reserve(static_cast<size_t>(plan_.leaves) + plan_.numbers.size() + plan_.outputs.size());
  for (int k = 0; k < plan_.leaves; ++k) values.push_back(word_of(slots[k]));
  for (size_t k = 0; k < plan_.numbers.size(); ++k)
    values.push_back(*static_cast<const int64_t*>(slots[static_cast<size_t>(plan_.leaves) + k]));
  for (const Plan::Output& o : plan_.outputs)
    if (o.fresh) values.push_back(word_of(slots[o.slot]));
  return values;
}

// Of a run: what its graph contains besides what never changes.
CudaReplay::Words CudaReplay::addresses_of(const Words& values) const {
  Words key{cuda_allow_tf32() | cuda_deterministic() << 1 | static_cast<int64_t>(cuda_gemm_choice()) << 2};
  for (int k : held_->addresses) key.push_back(values[static_cast<size_t>(k)]);
  return key;
}

// Leaves and results that products and natives work on.
std::vector<CudaReplay::Moved> CudaReplay::movable() const {
  std::vector<int64_t> bytes(static_cast<size_t>(plan_.slots), 0);
  auto reach = [&](int slot, int64_t n) {
    int64_t& b = bytes[static_cast<size_t>(slot)];
    b = std::max(b, n);
  };
  for (const Step& s : plan_.steps) {
    if (s.matmul) {
      const MatmulStep& m = *s.matmul;
      const int64_t item = static_cast<int64_t>(size_of(m.type));
      auto end = [&](const MatrixOperand& x, int64_t rows, int64_t cols) {
        return rows && cols ? (x.offset + (m.batch() - 1) * x.inner + (rows - 1) * x.row + (cols - 1) * x.col + 1) * item : 0;
      };
      reach(m.a.slot, end(m.a, m.m, m.k));
      reach(m.b.slot, end(m.b, m.k, m.n));
      reach(m.out, m.batch() * m.m * m.n * item);
      if (m.bias >= 0) reach(m.bias, (m.obias + m.n) * item);
    } else if (s.native) {
      const NativeStep& n = *s.native;
      auto whole = [](const Spec& spec) { return numel(spec.shape) * static_cast<int64_t>(size_of(spec.dtype)); };
      for (size_t k = 0; k < n.in.size(); ++k)
        reach(n.in[k], n.strides.empty() ? whole(n.specs[k]) : end_of_view(n.specs[k], n.offsets[k], n.strides[k]));
      if (n.out >= 0) reach(n.out, whole(n.out_spec));
      for (int o : n.outs)
        if (o >= 0) reach(o, 1);  // a result is moved as a whole
    }
  }
  std::vector<Moved> found;
  int64_t at = 0;
  auto add = [&](int slot, int64_t n, bool result) {
    found.push_back({slot, n, at, result});
    at += (n + 255) / 256 * 256;
  };
  for (int k = 0; k < plan_.leaves; ++k)
    if (bytes[static_cast<size_t>(k)]) add(k, bytes[static_cast<size_t>(k)], false);
  for (const Plan::Output& o : plan_.outputs)
    if (o.fresh && bytes[static_cast<size_t>(o.slot)]) add(o.slot, o.bytes, true);
  return found;
}

bool CudaReplay::copies_suit() const {
  if (plan_.has_custom) return false;  // how much of its operands a user's kernel reads, it alone knows
  const std::vector<Moved> moved = movable();
  return !moved.empty() && moved.back().offset + moved.back().bytes <= kMostCopied;
}

std::unique_ptr<CudaReplay::Held> CudaReplay::prepare() const {
  auto h = std::make_unique<Held>(plan_.device);
  cuda::Sheet& sheet = h->sheet;

  // ---- the fused kernels' calls
  std::vector<cuda::Launch> far;
  for (const Step& s : plan_.steps)
    if (s.fused)
      for (const FusedLaunch& l : s.fused->launches) far.push_back(l.make(true, true));
  const std::vector<Moved> moved = own_memory_ ? movable() : std::vector<Moved>();
  const int64_t own_bytes = moved.empty() ? 0 : moved.back().offset + moved.back().bytes;
  if (own_bytes > kMostCopied) return nullptr;
  h->own = memory_of(plan_.device, own_bytes);
  std::vector<cuda::MemoryCopy> in, out;
  for (const Moved& m : moved) {
    char* const place = static_cast<char*>(h->own->data) + m.offset;
    h->moved.push_back({m.slot, place});
    if (m.result) out.push_back({0, word_of(place), m.bytes});
    else in.push_back({word_of(place), 0, m.bytes});
  }
  const int64_t copies_in = in.empty() ? 0 : cuda::add_copies(sheet, plan_.device, in);

  std::vector<const cuda::Launch*> all;
  for (const cuda::Launch& l : far) all.push_back(&l);
  cuda::build(all);
  size_t next = 0;
  for (const Step& s : plan_.steps) {
    std::vector<const cuda::Launch*> launches;
    std::vector<const std::vector<int>*> slots;
    if (s.fused)
      for (const FusedLaunch& l : s.fused->launches) {
        launches.push_back(all[next++]);
        slots.push_back(&l.slots);
      }
    cuda::add(sheet, launches, slots);
    h->calls.push_back(static_cast<int>(sheet.calls.size()));
  }

  const int64_t copies_out = out.empty() ? 0 : cuda::add_copies(sheet, plan_.device, out);

  // ---- memory
  h->bytes = plan_.arena + sheet.scratch_bytes + own_bytes;
  if (h->bytes > kMostBytes) return nullptr;
  const int64_t item = sizeof(int64_t);
  h->arena = memory_of(plan_.device, plan_.arena);
  h->scratch = memory_of(plan_.device, sheet.scratch_bytes);
  h->words = memory_of(plan_.device, static_cast<int64_t>(sheet.words.size()) * item);
  h->cells = memory_of(plan_.device, plan_.errors * kErrorCells * item);

  // ---- what each slot is: the number of a value, or known now
  std::vector<int> value(static_cast<size_t>(plan_.slots), -1);
  std::vector<int64_t> known(static_cast<size_t>(plan_.slots), 0);
  int values = 0;
  for (; values < plan_.leaves + static_cast<int>(plan_.numbers.size()); ++values) value[static_cast<size_t>(values)] = values;
  for (const Plan::Output& o : plan_.outputs)
    if (o.fresh) value[static_cast<size_t>(o.slot)] = values++;
  for (const Plan::Temp& t : plan_.temps) known[static_cast<size_t>(t.slot)] = word_of(h->arena->data) + t.offset;
  for (const Plan::Constant& c : plan_.constants) known[static_cast<size_t>(c.slot)] = c.bits;
  const int64_t scratch = h->scratch ? word_of(h->scratch->data) : 0;

  // The copies' other ends. A result that is copied at the end lies in the plan's own memory until then, for all.
  std::vector<cuda::Sheet::Patch> patches;
  int64_t in_at = copies_in + 1, out_at = copies_out;
  for (const Moved& m : moved) {
    const size_t slot = static_cast<size_t>(m.slot);
    patches.push_back({m.result ? out_at : in_at, value[slot], 0});
    (m.result ? out_at : in_at) += 3;
    // Another alignment might make cuBLAS take another kernel.
    if (!m.result) h->aligned.push_back({value[slot], 0, kOwnAlign});
    if (m.result) value[slot] = -1, known[slot] = word_of(h->own->data) + m.offset;
  }
  for (cuda::Sheet::Patch p : sheet.patches) {
    if (p.slot == cuda::kScratchSlot) {
      sheet.words[static_cast<size_t>(p.place)] = scratch + p.offset;
    } else if (value[static_cast<size_t>(p.slot)] < 0) {
      sheet.words[static_cast<size_t>(p.place)] = known[static_cast<size_t>(p.slot)] + p.offset;
    } else {
      p.slot = value[static_cast<size_t>(p.slot)];
      patches.push_back(p);
    }
  }
  h->table = std::make_unique<cuda::PatchTable>(plan_.device, std::move(patches));
  for (cuda::Sheet::Aligned a : sheet.aligned) {
    const int v = value[static_cast<size_t>(a.slot)];
    if (v < 0 && (known[static_cast<size_t>(a.slot)] + a.offset) % a.to) return nullptr;
    a.slot = v;
    if (v >= 0) h->aligned.push_back(a);
  }
  for (const Step& s : plan_.steps) {
    std::vector<int> slots;
    if (s.matmul) {
      slots = {s.matmul->a.slot, s.matmul->b.slot, s.matmul->out};
      if (s.matmul->bias >= 0) slots.push_back(s.matmul->bias);
    }
    if (s.native) {
      slots = s.native->in;
      slots.push_back(s.native->out);
      slots.insert(slots.end(), s.native->outs.begin(), s.native->outs.end());
    }
    if (s.custom) {
      slots = s.custom->in;
      slots.insert(slots.end(), s.custom->out.begin(), s.custom->out.end());
    }
    if (own_memory_) slots.clear();
    for (int k : slots)
      if (k >= 0 && value[static_cast<size_t>(k)] >= 0) h->addresses.push_back(value[static_cast<size_t>(k)]);
  }
  std::sort(h->addresses.begin(), h->addresses.end());
  h->addresses.erase(std::unique(h->addresses.begin(), h->addresses.end()), h->addresses.end());
  if (h->words)
    device(plan_.device).copy(h->words->data, sheet.words.data(), sheet.words.size() * sizeof(int64_t), CopyKind::HostToDevice);
  return h;
}

// The plan's launches, into a graph or to be done.
void CudaReplay::issue(void* const* slots, NativeError& error, Stream stream) {
  Held& h = *held_;
  Device& device = pd::device(plan_.device);
  int64_t* const words = h.words ? static_cast<int64_t*>(h.words->data) : nullptr;
  int64_t* const cells = h.cells ? static_cast<int64_t*>(h.cells->data) : nullptr;
  if (cells) device.zero(cells, h.cells->bytes, stream);
  int call = 0;
  for (size_t k = 0; k < plan_.steps.size(); ++k) {
    const Step& s = plan_.steps[k];
    for (; call < h.calls[k]; ++call) cuda::launch(h.sheet.calls[static_cast<size_t>(call)], device, words, stream);
    if (s.matmul) run_cuda_matmul(*s.matmul, slots, plan_.device, stream);
    if (s.native) run_cuda_native(*s.native, slots, cells, device, stream, &h.natives);
    if (s.custom) run_custom_step(*s.custom, slots, nullptr, error, stream);
  }
  for (; call < static_cast<int>(h.sheet.calls.size()); ++call)
    cuda::launch(h.sheet.calls[static_cast<size_t>(call)], device, words, stream);
}

// The graph for these addresses; null where there is none (yet).
CudaReplay::Graph* CudaReplay::graph_for(const Words& addresses, void* const* slots, NativeError& error) {
  Held& h = *held_;
  for (Graph& g : h.graphs)
    if (g.addresses == addresses) return &g;
  if (std::find(h.met.begin(), h.met.end(), addresses) == h.met.end()) {
    h.met.push_back(addresses);
    if (h.met.size() > kSetsMet) h.met.pop_front();
    return nullptr;
  }
  // These addresses were run piece by piece before, so all kernels are loaded, and what natives allocate was counted.
  idle_ += kCaptureCost;
  try {
    if (!h.native_memory && h.natives.most) {
      h.native_memory = memory_of(plan_.device, static_cast<int64_t>(h.natives.most));
      h.natives.bytes = h.natives.most;
    }
    h.natives.memory = h.native_memory ? static_cast<char*>(h.native_memory->data) : nullptr;
    h.natives.used = 0;
    const CudaGraph graph = cuda_capture(plan_.device, [&](Stream s) { issue(slots, error, s); });
    h.natives.memory = nullptr;
    if (h.graphs.size() == kGraphs) {
      auto oldest = std::min_element(h.graphs.begin(), h.graphs.end(),
                                     [](const Graph& a, const Graph& b) { return a.used < b.used; });
      cuda_free(plan_.device, oldest->graph);
      h.graphs.erase(oldest);
    }
    h.graphs.push_back({addresses, graph, 0});
    ++stats().graphs;
    return &h.graphs.back();
  } catch (const Error&) {
    h.natives.memory = nullptr;
    off_ = true;
    return nullptr;
  }
}

bool CudaReplay::run(void** slots, NativeError& error) {
  if (!switched_on()) return false;
  std::unique_lock<std::recursive_timed_mutex> hold(lock());
  if (off_ || ++runs_ <= kRunsBefore) return false;
  if (!held_) {
    // Compiling and allocating take time, and may ask others for memory.
    hold.unlock();
    std::unique_ptr<Held> made;
    try {
      if (suits()) made = prepare();
    } catch (const Error& e) {
      if (e.kind == ErrorKind::Memory) {
        hold.lock();
        drop_for_now();
        return false;
      }
    }
    hold.lock();
    if (!made) {
      off_ = true;
      return false;
    }
    make_room(made->bytes);
    held_ = std::move(made);
    holders().push_back(this);
  }
  Held& h = *held_;
  const Words values = values_of(slots);
  for (const cuda::Sheet::Aligned& a : h.aligned)
    if ((values[static_cast<size_t>(a.slot)] + a.offset) % a.to) return false;
  for (const Plan::Temp& t : plan_.temps) slots[t.slot] = static_cast<char*>(h.arena->data) + t.offset;
  h.used = tick();
  struct Active {
    explicit Active(CudaReplay* r) { active_ = r; }
    ~Active() { active_ = nullptr; }
  } active(this);

  if (h.written != values) {
    h.written.clear();
    h.table->patch(h.words ? static_cast<int64_t*>(h.words->data) : nullptr, values, Stream{});
    h.written = values;
  }
  for (const auto& [slot, place] : h.moved) slots[slot] = place;
  if (Graph* g = graph_for(addresses_of(values), slots, error)) {
    for (const Step& s : plan_.steps)
      if (s.custom) cuda_note_custom(s.custom->code->name);
    cuda_launch(plan_.device, g->graph, Stream{});
    g->used = h.used;
    ++stats().graph_replays;
    idle_ = std::max(0, idle_ - 1);
  } else {
    issue(slots, error, Stream{});
    if (++idle_ > kPatience) off_ = true;
  }
  count_steps(plan_);
  // Behind this run, before the next one clears the cells.
  if (h.cells) error.late = watch_errors(plan_, static_cast<const int64_t*>(h.cells->data));
  if (off_) {
    drop(true);
  } else if (idle_ > kRunsBeforeCopies && !own_memory_ && copies_suit()) {
    own_memory_ = true;
    idle_ = 0;
    drop(false);
  }
  return true;
}

}  // namespace pd
