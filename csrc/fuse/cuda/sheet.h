// A sheet: the parameters of many launches in one array of words on the device, so that the launches themselves never
// change, whatever addresses and numbers a run has. A CUDA graph can be made of them.
//
//   add()     the calls of launches that were prepared `far`, and which words take what only a run knows
//   patch()   one small kernel writes these words; its own parameters carry the values
#pragma once
#include <memory>
#include <vector>

#include "fuse/cuda/launch.h"

namespace pd::cuda {

constexpr int kScratchSlot = -2;  // memory that a launch needs for itself only, all launches the same

struct Sheet {
  struct Call {
    std::shared_ptr<Build> build;
    bool many = false;        // over several domains
    LaunchSize size;
    int64_t at = 0;           // its first word
  };
  struct Patch {              // words[place] = value of the slot + offset; a value is an address, or the bits of a number
    int64_t place;
    int slot;
    int64_t offset;
  };
  struct Aligned {            // value of the slot + offset is a multiple of `to`
    int slot;
    int64_t offset;
    int64_t to;
  };
  std::vector<int64_t> words;
  std::vector<Patch> patches;
  std::vector<Aligned> aligned;
  std::vector<Call> calls;
  int64_t scratch_bytes = 0;
};

// Adds the calls of one step: launches that do not depend on each other. They are built; slots[k]: one an argument.
void add(Sheet& sheet, const std::vector<const Launch*>& launches, const std::vector<const std::vector<int>*>& slots);

// Adds one call that copies blocks of memory which do not overlap. Returns the place of the first one's three words, after
// which the others' follow: an address in them may be patched.
struct MemoryCopy {
  int64_t to, from, bytes;
};
int64_t add_copies(Sheet& sheet, DeviceId device, const std::vector<MemoryCopy>& copies);

void launch(const Sheet::Call& call, Device& device, int64_t* words, Stream stream);

// What patch() takes, in device memory: {place, value, offset} of each word, by value in ascending order.
class PatchTable {
 public:
  // patches: `slot` is the number of a value.
  PatchTable(DeviceId device, std::vector<Sheet::Patch> patches);
  ~PatchTable();
  PatchTable(const PatchTable&) = delete;
  PatchTable& operator=(const PatchTable&) = delete;
  void patch(int64_t* words, const std::vector<int64_t>& values, Stream stream) const;

 private:
  struct Part {       // of one launch, whose parameters have room for some values only
    int64_t first;    // value
    int64_t from, count;  // entries
  };
  Device& device_;
  DeviceKernel kernel_;
  std::vector<Part> parts_;
  void* table_ = nullptr;
  size_t bytes_ = 0;
};

// The texts of patch() and of add_copies(), for tests.
extern const char* const kPatchText;
extern const char* const kCopyText;

}  // namespace pd::cuda
