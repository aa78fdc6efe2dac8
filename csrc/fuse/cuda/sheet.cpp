#include "fuse/cuda/sheet.h"

#include <algorithm>

#include "base/divide.h"
#include "device/cuda/cuda.h"
#include "fuse/cuda/form.h"
#include "fuse/cuda/text.h"

namespace pd::cuda {

// With the pointers and counts less than the 4 KB that a launch takes on any driver.
constexpr int64_t kValues = 440;
constexpr int64_t kPatchThreads = 256;

const char* const kPatchText = R"cuda(
constexpr int kValues = 440;
struct PdValues { i64 v[kValues]; };

// table: {place, value, offset} of each word.
PD_KERNEL pd_patch(i64* __restrict__ words, const i64* __restrict__ table, i64 count, i64 first,
                   const __grid_constant__ PdValues values) {
  const i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) words[table[3 * i]] = values.v[table[3 * i + 1] - first] + table[3 * i + 2];
}
)cuda";

const char* const kCopyText = R"cuda(
// table: count, start[count + 1] in blocks, then {to, from, bytes} of each.
PD_KERNEL pd_copies(const i64* __restrict__ table) {
  const i64 count = table[0];
  const i64* const start = table + 1;
  i64 s = 0;
  for (i64 end = count; end - s > 1;) {
    const i64 mid = (s + end) / 2;
    if ((i64)blockIdx.x >= start[mid]) s = mid;
    else end = mid;
  }
  const i64* const item = table + 2 + count + 3 * s;
  char* const to = (char*)item[0];
  const char* const from = (const char*)item[1];
  const i64 bytes = item[2], step = (start[s + 1] - start[s]) * blockDim.x;
  const i64 first = ((i64)blockIdx.x - start[s]) * blockDim.x + threadIdx.x;
  const i64 whole = ((u64)to | (u64)from) % 16 == 0 ? bytes / 16 : 0;
  for (i64 i = first; i < whole; i += step) ((int4*)to)[i] = ((const int4*)from)[i];
  for (i64 i = whole * 16 + first; i < bytes; i += step) to[i] = from[i];
}
)cuda";

namespace {

constexpr int64_t kCopyThreads = 256, kCopyBlocks = 264;  // of one block of memory

void add_words(Sheet& s, const Launch& l, const std::vector<int>& slots) {
  const int64_t at = static_cast<int64_t>(s.words.size());
  s.words.insert(s.words.end(), l.words.begin(), l.words.end());
  for (size_t k = 0; k < l.args.size(); ++k) {
    const Launch::Arg& a = l.args[k];
    if (a.word < 0) continue;
    s.patches.push_back({at + a.word, slots[k], a.number ? 0 : a.offset});
    if (!a.number && a.align > 1) s.aligned.push_back({slots[k], a.offset, a.align});
  }
  if (l.spill >= 0) s.patches.push_back({at + l.spill, kScratchSlot, 0});
  for (size_t k = 0; k < l.partial_offsets.size(); ++k)
    s.patches.push_back({at + l.partials + static_cast<int64_t>(k), kScratchSlot, l.partial_offsets[k]});
  s.scratch_bytes = std::max(s.scratch_bytes, l.scratch_bytes);
}

void add_one(Sheet& s, const Launch& l, const std::vector<int>& slots) {
  s.calls.push_back({l.build, false, l.size, static_cast<int64_t>(s.words.size())});
  add_words(s, l, slots);
  for (const Launch::Combine& c : l.combines) {
    const int64_t at = static_cast<int64_t>(s.words.size());
    s.calls.push_back({c.build, false, c.size, at});
    s.words.insert(s.words.end(), {0, 0, l.pieces, c.kept});
    s.patches.push_back({at, kScratchSlot, c.scratch});
    s.patches.push_back({at + 1, slots[static_cast<size_t>(c.output)], l.args[static_cast<size_t>(c.output)].offset});
  }
}

// {count, start[count + 1], the words of each}
void add_many(Sheet& s, const std::vector<const Launch*>& launches, const std::vector<const std::vector<int>*>& slots) {
  Build& b = *launches[0]->build;
  if (!b.many.entry) b.many = cuda_kernel(b.device, b.source, b.function + kManySuffix);
  Sheet::Call call{launches[0]->build, true, {}, static_cast<int64_t>(s.words.size())};
  s.words.push_back(static_cast<int64_t>(launches.size()));
  int64_t blocks = 0;
  for (const Launch* l : launches) {
    s.words.push_back(blocks);
    blocks += l->size.grid[0];
  }
  s.words.push_back(blocks);
  for (size_t k = 0; k < launches.size(); ++k) add_words(s, *launches[k], *slots[k]);
  call.size.block[0] = launches[0]->size.block[0];
  call.size.grid[0] = static_cast<uint32_t>(blocks);
  s.calls.push_back(call);
}

}  // namespace

void add(Sheet& sheet, const std::vector<const Launch*>& launches, const std::vector<const std::vector<int>*>& slots) {
  for_each_kernel(launches, [&](const std::vector<size_t>& places) {
    std::vector<const Launch*> same;
    std::vector<const std::vector<int>*> their;
    for (size_t k : places) {
      same.push_back(launches[k]);
      their.push_back(slots[k]);
    }
    if (same.size() > 1 && same[0]->elementwise) add_many(sheet, same, their);
    else
      for (size_t k = 0; k < same.size(); ++k) add_one(sheet, *same[k], *their[k]);
  });
}

int64_t add_copies(Sheet& sheet, DeviceId device, const std::vector<MemoryCopy>& copies) {
  auto build = std::make_shared<Build>();
  build->device = device;
  build->source = kCopyText;
  build->function = "pd_copies";
  build->kernel = cuda_kernel(device, build->source, build->function);
  Sheet::Call call{std::move(build), false, {}, static_cast<int64_t>(sheet.words.size())};
  sheet.words.push_back(static_cast<int64_t>(copies.size()));
  int64_t blocks = 0;
  for (const MemoryCopy& c : copies) {
    sheet.words.push_back(blocks);
    blocks += std::min(kCopyBlocks, std::max<int64_t>(1, ceil_div(c.bytes, kCopyThreads * 16)));
  }
  sheet.words.push_back(blocks);
  const int64_t place = static_cast<int64_t>(sheet.words.size());
  for (const MemoryCopy& c : copies) sheet.words.insert(sheet.words.end(), {c.to, c.from, c.bytes});
  call.size.block[0] = static_cast<uint32_t>(kCopyThreads);
  call.size.grid[0] = static_cast<uint32_t>(blocks);
  sheet.calls.push_back(std::move(call));
  return place;
}

void launch(const Sheet::Call& call, Device& device, int64_t* words, Stream stream) {
  const int64_t* where = words + call.at;
  void* params[1] = {&where};
  device.launch(call.many ? call.build->many : call.build->kernel, call.size, params, stream);
}

PatchTable::PatchTable(DeviceId id, std::vector<Sheet::Patch> patches) : device_(device(id)) {
  std::stable_sort(patches.begin(), patches.end(), [](const auto& a, const auto& b) { return a.slot < b.slot; });
  std::vector<int64_t> entries;
  for (const Sheet::Patch& p : patches) {
    const int64_t first = p.slot / kValues * kValues, here = static_cast<int64_t>(entries.size()) / 3;
    if (parts_.empty() || parts_.back().first != first) parts_.push_back({first, here, 0});
    ++parts_.back().count;
    entries.insert(entries.end(), {p.place, p.slot, p.offset});
  }
  if (entries.empty()) return;
  kernel_ = cuda_kernel(id, kPatchText, "pd_patch");
  bytes_ = entries.size() * sizeof(int64_t);
  table_ = device_.allocate(bytes_);
  try {
    device_.copy(table_, entries.data(), bytes_, CopyKind::HostToDevice);
  } catch (...) {
    device_.free(table_, bytes_);
    throw;
  }
}

PatchTable::~PatchTable() {
  if (table_) device_.free(table_, bytes_);
}

void PatchTable::patch(int64_t* words, const std::vector<int64_t>& values, Stream stream) const {
  int64_t carried[kValues] = {};
  for (const Part& part : parts_) {
    const int64_t n = std::min(kValues, static_cast<int64_t>(values.size()) - part.first);
    std::copy_n(values.data() + part.first, n, carried);
    const int64_t* table = static_cast<const int64_t*>(table_) + 3 * part.from;
    int64_t count = part.count, first = part.first;
    void* params[5] = {&words, &table, &count, &first, carried};
    LaunchSize size;
    size.block[0] = static_cast<uint32_t>(kPatchThreads);
    size.grid[0] = static_cast<uint32_t>(ceil_div(count, kPatchThreads));
    device_.launch(kernel_, size, params, stream);
  }
}

}  // namespace pd::cuda
