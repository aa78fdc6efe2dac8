#include "fuse/cuda/launch.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "base/divide.h"
#include "base/error.h"
#include "device/cuda/cuda.h"
#include "fuse/cuda/form.h"
#include "fuse/cuda/text.h"
#include "fuse/runner.h"

namespace pd::cuda {

namespace {

constexpr int64_t kNarrow = int64_t{1} << 30;    // beyond it coordinates take 64 bits
constexpr int64_t kBlocks = 132 * 16;            // of a grid, more than any card runs at once
constexpr int64_t kEnough = 132 * 2;             // blocks that keep a card busy
constexpr int64_t kShared = 47 << 10;            // bytes of shared memory that a block has on any card without asking
constexpr int64_t kSharedSums = 16 << 10;        // of them for the results of blocks of elements
constexpr size_t kCompilers = 8;

// ---- texts, by program and form

struct Known {
  Program program;
  std::string form;
  std::shared_ptr<Build> build;
};

std::shared_ptr<Build> build_for(DeviceId device, const Program& p, const std::string& form,
                                 const std::function<std::string(const std::string&)>& text) {
  static std::mutex lock;
  static auto* known = new std::unordered_multimap<uint64_t, Known>;
  const uint64_t h = p.hash() ^ std::hash<std::string>()(form);
  std::lock_guard<std::mutex> hold(lock);
  auto range = known->equal_range(h);
  for (auto it = range.first; it != range.second; ++it)
    if (it->second.form == form && it->second.build->device == device && it->second.program == p)
      return it->second.build;
  auto made = std::make_shared<Build>();
  made->device = device;
  char name[32];
  std::snprintf(name, sizeof name, "pd_%016llx", static_cast<unsigned long long>(h));
  made->function = name;
  made->source = text(name);
  known->emplace(h, Known{p, form, made});
  return made;
}

// ---- the form

struct Domain {
  const Program& p;
  const MergedLaunch& l;
  Ints dims;  // majors ++ minors
  int64_t M, N;
};

int64_t extent(const Domain& d, const View& v) {
  int64_t far = std::abs(v.offset);
  for (int k = 0; k < d.dims.size(); ++k) far += std::abs(v.strides[k]) * std::max<int64_t>(0, d.dims[k] - 1);
  return far;
}

bool linear(const Domain& d, const View& v) {
  int64_t stride = 1;
  for (int k = d.dims.size() - 1; k >= 0; --k) {
    if (d.dims[k] != 1 && v.strides[k] != stride) return false;
    stride *= d.dims[k];
  }
  return true;
}

ArgForm arg_form(const Domain& d, int k, bool number, Kind kind) {
  const MergedLaunch::Operand& o = d.l.operands[static_cast<size_t>(k)];
  ArgForm a;
  const View& v = o.view;
  const bool one = d.p.args[static_cast<size_t>(k)].cls == ArgClass::Uni;
  if (one || number) {  // a number has no address, however it is looked at
    a.access = number ? Access::Number : Access::Cell;
    a.bounded = !one && v.bounded;
    a.major = a.minor = false;
    a.inner = 0;
    return a;
  }
  const int nm = d.l.major.size();
  a.bounded = v.bounded;
  if (v.index || o.cls == ArgClass::Index) a.access = Access::Index;
  else if (kind == Kind::Elementwise && !v.bounded && linear(d, v)) a.access = Access::Linear;
  else a.access = Access::Strided;
  if (a.access != Access::Strided) return a;
  a.major = a.minor = false;
  for (int i = 0; i < d.dims.size(); ++i) (i < nm ? a.major : a.minor) |= v.strides[i] != 0;
  const int64_t inner = d.dims.size() ? v.strides[d.dims.size() - 1] : 0;
  a.inner = inner == 0 ? 0 : inner == 1 ? 1 : 2;
  return a;
}

// Elements a thread takes at once: 16 bytes of the widest argument, where neighbours in the domain are neighbours
// along its last axis.
void choose_vector(const Domain& d, Form& f, bool whole) {
  int64_t widest = 1;
  bool strided = false;
  for (size_t k = 0; k < f.args.size(); ++k) {
    const ArgForm& a = f.args[k];
    if (a.access == Access::Linear || a.access == Access::Strided)
      widest = std::max(widest, static_cast<int64_t>(size_of(d.p.args[k].dtype)));
    strided |= a.access == Access::Strided || a.access == Access::Index || a.bounded;
  }
  const int64_t v = std::min<int64_t>(4, 16 / widest);
  if (!whole || (strided && (d.dims.empty() || d.dims.back() % v))) return;
  f.vector = static_cast<int>(v);
  for (size_t k = 0; k < f.args.size(); ++k) {
    ArgForm& a = f.args[k];
    const View& view = d.l.operands[k].view;
    if (a.access == Access::Linear) a.whole = view.offset % v == 0;
    if (a.access != Access::Strided || a.bounded || a.inner != 1 || view.offset % v) continue;
    a.whole = true;
    for (int i = 0; i + 1 < d.dims.size(); ++i) a.whole = a.whole && view.strides[i] % v == 0;
  }
}

int power_of_two(int64_t n) {
  int p = 1;
  while (p < n) p *= 2;
  return p;
}

}  // namespace

Launch prepare(DeviceId device, const Program& p, const Ints& major_dims, const Ints& minor_dims, const std::vector<View>& views,
               const std::vector<char>& numbers, bool whole, bool far) {
  const MergedLaunch l = merge(p, major_dims, minor_dims, views);
  Domain d{p, l, l.major, numel(l.major), numel(l.minor)};
  for (int64_t n : l.minor) d.dims.push_back(n);
  Form f;
  f.kind = !reduces(p) ? Kind::Elementwise : p.layout == Layout::Rows ? Kind::Rows : Kind::Columns;
  f.majors = l.major.size();
  f.minors = l.minor.size();
  f.wide = d.M * d.N >= kNarrow;
  f.far = far;
  for (size_t k = 0; k < p.args.size(); ++k) {
    f.args.push_back(arg_form(d, static_cast<int>(k), numbers[k], f.kind));
    if (f.args.back().access != Access::Cell && f.args.back().access != Access::Number)
      f.wide = f.wide || extent(d, l.operands[k].view) >= kNarrow;
  }
  Launch r;
  const bool rows = f.kind == Kind::Rows;
  const int64_t kept = rows ? d.M : d.N, reduced = rows ? d.N : d.M;
  if (f.kind == Kind::Elementwise ? d.M * d.N == 0 : kept == 0) return r;

  // ---- how the work is shared
  int64_t step = reduced, spilled = 0;
  if (f.kind == Kind::Elementwise) {
    choose_vector(d, f, whole);
    r.size.block[0] = kThreads;
    r.size.grid[0] = static_cast<uint32_t>(std::min(ceil_div(ceil_div(d.M * d.N, f.vector), kThreads), kBlocks));
  } else {
    const int64_t blocks = std::max<int64_t>(1, ceil_div(reduced, kBlock));
    int piece = static_cast<int>(std::min<int64_t>(kPieceBlocks, power_of_two(blocks)));
    if (p.split) {
      const int64_t others = rows ? kept : ceil_div(kept, kStrip);
      while (piece > 1 && ceil_div(blocks, piece) * others < kEnough) piece /= 2;
      f.partial = blocks > piece;
    }
    f.halves = piece;
    while (p.split && f.halves > 1 && shared_bytes(p, f) > kSharedSums) f.halves = piece /= 2;
    f.partial = f.partial || (p.split && blocks > piece);
    if (blocks > piece && !f.partial) fail("cuda", "a row that is too long for one kernel");
    step = f.partial ? piece * kBlock : reduced;
    r.pieces = f.partial ? ceil_div(blocks, piece) : 1;
    spilled = spill_bytes(p, f.kind, d.M, d.N);
    if (rows) {
      const int threads = std::max(kThreads, kLanes * f.halves), here = threads / (kLanes * f.halves);
      r.size.block[0] = static_cast<uint32_t>(threads);
      r.size.grid[0] = static_cast<uint32_t>(std::min(ceil_div(kept * r.pieces, here), kBlocks));
      spilled *= here;
    } else {
      r.size.block[0] = kStrip;
      r.size.block[1] = kLanes;
      r.size.grid[0] = static_cast<uint32_t>(std::min(ceil_div(kept, kStrip), kBlocks));
      r.size.grid[1] = static_cast<uint32_t>(r.pieces);
      if (r.pieces > 65535) fail("cuda", "a reduction over too many elements", std::to_string(reduced));
    }
    f.spill_shared = spilled + shared_bytes(p, f) <= kShared;
    if (f.spill_shared) r.size.shared_bytes = static_cast<size_t>(spilled);
    else r.size.grid[0] = std::min<uint32_t>(r.size.grid[0], static_cast<uint32_t>(kEnough));
  }

  // ---- parameters
  const Params at(p, f);
  r.words.assign(static_cast<size_t>(at.count), 0);
  auto word = [&](int k) -> int64_t& { return r.words[static_cast<size_t>(k)]; };
  word(at.major_total) = f.kind == Kind::Elementwise ? d.M * d.N : d.M;
  word(at.minor_total) = d.N;
  for (int k = 0; k < d.dims.size(); ++k) word(at.dims + k) = d.dims[k];
  for (size_t k = 0; k < p.args.size(); ++k) {
    const View& v = l.operands[k].view;
    const Params::Arg& a = at.args[k];
    const int64_t size = static_cast<int64_t>(size_of(p.args[k].dtype));
    const bool index = f.args[k].access == Access::Index;
    r.args.push_back({index ? -1 : a.base, v.offset * size, f.args[k].access == Access::Number,
                      static_cast<uint8_t>(f.args[k].whole ? f.vector * size : 1)});
    if (index) word(a.base) = v.offset;
    for (int i = 0; i < d.dims.size(); ++i) {
      if (a.strides >= 0) word(a.strides + i) = v.strides[i];
      if (a.lo >= 0) word(a.lo + i) = v.lo[i], word(a.hi + i) = v.hi[i];
    }
    if (a.fill >= 0) word(a.fill) = v.fill;
  }
  if (!f.spill_shared) {
    r.spill = at.spill;
    r.scratch_bytes = static_cast<int64_t>(r.size.grid[0]) * spilled;
  }
  if (f.partial) {
    word(at.pieces) = r.pieces;
    word(at.step) = step;
    r.partials = at.partials;
    for (int reduce : stored_reductions(p)) {
      const Instr& in = p.code[static_cast<size_t>(reduce)];
      const int64_t offset = (r.scratch_bytes + 255) / 256 * 256;
      r.partial_offsets.push_back(offset);
      r.scratch_bytes = offset + r.pieces * kept * static_cast<int64_t>(size_of(p.regs[static_cast<size_t>(in.dst)]));
      for (const Instr& store : p.code) {
        if (store.kind != InstrKind::Store || store.a != in.dst) continue;
        Launch::Combine c;
        c.build = build_for(device, p, "combine" + std::to_string(reduce) + (far ? "@" : ""),
                            [&](const std::string& name) { return combine_text(p, reduce, name, far); });
        c.scratch = offset;
        c.output = store.dst;
        c.kept = kept;
        c.size.block[0] = kThreads;
        c.size.grid[0] = static_cast<uint32_t>(std::min(kept, kBlocks));
        r.combines.push_back(std::move(c));
      }
    }
  }
  r.by_address = at.by_address();
  r.elementwise = f.kind == Kind::Elementwise;
  r.build = build_for(device, p, f.key(), [&](const std::string& name) { return kernel_text(p, f, name); });
  return r;
}

void build(const std::vector<const Launch*>& launches) {
  std::vector<Build*> todo;
  auto want = [&](const std::shared_ptr<Build>& b) {
    if (b && !b->kernel.entry && std::find(todo.begin(), todo.end(), b.get()) == todo.end()) todo.push_back(b.get());
  };
  for (const Launch* l : launches) {
    want(l->build);
    for (const Launch::Combine& c : l->combines) want(c.build);
  }
  std::atomic<size_t> next{0};
  std::exception_ptr error;
  std::mutex lock;
  auto work = [&] {
    for (size_t k; (k = next.fetch_add(1)) < todo.size();) {
      try {
        todo[k]->kernel = cuda_kernel(todo[k]->device, todo[k]->source, todo[k]->function);
      } catch (...) {
        std::lock_guard<std::mutex> hold(lock);
        error = std::current_exception();
      }
    }
  };
  std::vector<std::thread> threads;
  const size_t cores = std::max(1u, std::thread::hardware_concurrency());
  for (size_t k = 1; k < std::min({todo.size(), kCompilers, cores}); ++k) threads.emplace_back(work);
  work();
  for (std::thread& t : threads) t.join();
  if (error) std::rethrow_exception(error);
}

namespace {

// The launch's parameters with what only the run knows. False where an address is not aligned.
bool fill(const Launch& l, void* const* bases, int64_t* words) {
  std::memcpy(words, l.words.data(), l.words.size() * sizeof(int64_t));
  for (size_t k = 0; k < l.args.size(); ++k) {
    const Launch::Arg& a = l.args[k];
    if (a.word < 0) continue;
    if (a.number) {
      std::memcpy(&words[a.word], bases[k], sizeof(int64_t));
      continue;
    }
    const int64_t address = static_cast<int64_t>(reinterpret_cast<intptr_t>(bases[k])) + a.offset;
    if (address % a.align) return false;
    words[a.word] = address;
  }
  return true;
}

}  // namespace

bool run_together(const std::vector<const Launch*>& launches, Device& device, Stream stream,
                  const std::vector<void* const*>& bases) {
  Build& b = *launches[0]->build;
  const int words = static_cast<int>(launches[0]->words.size()), room = segments_at_once(words);
  if (room < 2 || launches.size() < 2 || launches[0]->by_address) {
    for (size_t k = 0; k < launches.size(); ++k)
      if (!run(*launches[k], device, stream, bases[k])) return false;
    return true;
  }
  if (!b.many.entry) b.many = cuda_kernel(b.device, b.source, b.function + kManySuffix);
  // All parameters first: a kernel either runs over all domains or not at all.
  std::vector<int64_t> all(launches.size() * static_cast<size_t>(words));
  for (size_t k = 0; k < launches.size(); ++k)
    if (!fill(*launches[k], bases[k], all.data() + k * static_cast<size_t>(words))) return false;
  std::vector<int64_t> table(static_cast<size_t>(1 + room + 1 + room * words));
  for (size_t k = 0; k < launches.size(); k += static_cast<size_t>(room)) {
    const size_t n = std::min(launches.size() - k, static_cast<size_t>(room));
    LaunchSize size;
    size.block[0] = kThreads;
    int64_t blocks = 0;
    table[0] = static_cast<int64_t>(n);
    for (size_t i = 0; i < n; ++i) {
      table[1 + i] = blocks;
      blocks += launches[k + i]->size.grid[0];
    }
    table[1 + n] = blocks;
    std::copy_n(all.data() + k * static_cast<size_t>(words), n * static_cast<size_t>(words), table.data() + 2 + room);
    size.grid[0] = static_cast<uint32_t>(blocks);
    void* params[1] = {table.data()};
    device.launch(b.many, size, params, stream);
  }
  return true;
}

bool run(const Launch& l, Device& device, Stream stream, void* const* bases) {
  if (!l.build) return true;
  SmallVec<int64_t, 96> words;
  words.resize(static_cast<int>(l.words.size()));
  if (!fill(l, bases, words.data())) return false;
  char* scratch = nullptr;
  if (l.scratch_bytes) {
    scratch = static_cast<char*>(device.allocate(static_cast<size_t>(l.scratch_bytes), stream));
    if (l.spill >= 0) words[l.spill] = static_cast<int64_t>(reinterpret_cast<intptr_t>(scratch));
    for (size_t k = 0; k < l.partial_offsets.size(); ++k)
      words[l.partials + static_cast<int>(k)] =
          static_cast<int64_t>(reinterpret_cast<intptr_t>(scratch + l.partial_offsets[k]));
  }
  void* there = nullptr;
  const size_t bytes = l.words.size() * sizeof(int64_t);
  if (l.by_address) {
    there = device.allocate(bytes, stream);
    device.copy(there, words.data(), bytes, CopyKind::HostToDevice, stream);
  }
  void* params[1] = {l.by_address ? static_cast<void*>(&there) : words.data()};
  device.launch(l.build->kernel, l.size, params, stream);
  if (there) device.free(there, bytes, stream);
  for (const Launch::Combine& c : l.combines) {
    const void* partial = scratch + c.scratch;
    void* out = static_cast<char*>(bases[c.output]) + l.args[static_cast<size_t>(c.output)].offset;
    int64_t pieces = l.pieces, kept = c.kept;
    void* args[4] = {&partial, &out, &pieces, &kept};
    device.launch(c.build->kernel, c.size, args, stream);
  }
  if (scratch) device.free(scratch, static_cast<size_t>(l.scratch_bytes), stream);
  return true;
}

}  // namespace pd::cuda
