// A fused kernel on a CUDA device: its form for the shapes at hand, its compiled text, its parameters.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "device/device.h"
#include "fuse/pack.h"
#include "fuse/program.h"

namespace pd::cuda {

// What has to be compiled before a launch can run.
struct Build {
  DeviceId device;
  std::string source, function;
  DeviceKernel kernel;
  DeviceKernel many;        // over several domains; looked up when first needed
};

struct Launch {
  struct Arg {
    int word;            // its place among the parameters; -1: an index, nothing to fill in
    int64_t offset;      // bytes
    bool number;         // the bits of a number; otherwise an address
    uint8_t align;       // bytes that the address must be a multiple of
  };
  struct Combine {       // of one reduction whose index was cut into pieces
    std::shared_ptr<Build> build;
    int64_t scratch = 0; // offset of the partial results
    int output = 0;      // argument
    int64_t kept = 0;
    LaunchSize size;
  };
  std::shared_ptr<Build> build;  // null: nothing to do
  LaunchSize size;
  std::vector<int64_t> words;
  std::vector<Arg> args;
  bool by_address = false;             // the words are too many for a launch
  bool elementwise = false;            // without reductions
  int partials = -1, spill = -1;       // words that take addresses in scratch memory
  std::vector<int64_t> partial_offsets;
  int64_t spill_offset = 0, scratch_bytes = 0, pieces = 1;
  std::vector<Combine> combines;
};

// One view an argument, over major_dims ++ minor_dims; numbers[k]: the argument is a Python number, handed over as bits.
// `whole`: addresses may be assumed to be aligned to 16 bytes. `far`: the kernels take all parameters by address (sheet.h).
Launch prepare(DeviceId device, const Program& p, const Ints& major_dims, const Ints& minor_dims, const std::vector<View>& views,
               const std::vector<char>& numbers, bool whole = true, bool far = false);

// Compiles what is not compiled yet, several at a time. Throws Error with the compiler's words.
void build(const std::vector<const Launch*>& launches);

// The places of the launches of one kernel at a time; launches that have nothing to do are left out.
template <class F>
void for_each_kernel(const std::vector<const Launch*>& launches, F&& with_places) {
  std::vector<char> done(launches.size(), 0);
  for (size_t first = 0; first < launches.size(); ++first) {
    if (done[first] || !launches[first]->build) continue;
    std::vector<size_t> places;
    for (size_t k = first; k < launches.size(); ++k) {
      if (launches[k]->build != launches[first]->build) continue;
      done[k] = 1;
      places.push_back(k);
    }
    with_places(places);
  }
}

// bases: an address an argument (of numbers: of their 8 bytes in host memory). False, and nothing is done, where an
// address is not aligned as the form assumes.
bool run(const Launch& l, Device& device, Stream stream, void* const* bases);
// Launches of one kernel as few as can be; bases[k] belongs to launches[k].
bool run_together(const std::vector<const Launch*>& launches, Device& device, Stream stream,
                  const std::vector<void* const*>& bases);

}  // namespace pd::cuda
