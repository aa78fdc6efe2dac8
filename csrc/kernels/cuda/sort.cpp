#include "kernels/cuda/sort.h"

#include <utility>

#include "kernels/cuda/sort_text.h"

namespace pd {
namespace cuda {

namespace {
constexpr int64_t kDigits = 256, kLeastChunk = 256, kMostChunks = 4096;
constexpr int kBits = 8, kSortThreads = 128, kWarps = 4;
}  // namespace

std::string sort_text(const Head& head) { return head.text() + kSortText; }

void sort_pairs(const CudaNativeContext& c, bool wide, int64_t count, int64_t end, void*& key, void*& value,
                void*& spare_key, void*& spare_value) {
  int64_t chunk = std::max(kLeastChunk, ceil_div(ceil_div(count, kMostChunks), 32) * 32);
  int64_t chunks = ceil_div(count, chunk);
  int64_t item = wide ? 8 : 4;
  Scratch table(c, kDigits * chunks * item), totals(c, kDigits * item);
  Head head;
  head.type("Ix", wide ? "u64" : "u32");
  uint32_t blocks = static_cast<uint32_t>(ceil_div(chunks, kWarps));
  for (int64_t shift = 0; (end - 1) >> shift; shift += kBits) {
    launch(c, sort_text, head, "sort_count", blocks, {&key, &table.get(), &count, &chunk, &chunks, &shift}, 1,
           kSortThreads);
    launch(c, sort_text, head, "sort_scan", kDigits, {&table.get(), &totals.get(), &chunks});
    launch(c, sort_text, head, "sort_move", blocks,
           {&key, &value, &spare_key, &spare_value, &table.get(), &totals.get(), &count, &chunk, &chunks, &shift}, 1,
           kSortThreads);
    std::swap(key, spare_key);
    std::swap(value, spare_value);
  }
}

}  // namespace cuda
}  // namespace pd
