// The form of a CUDA kernel: what its text depends on besides the loop program, and where its parameters lie.
//
// A kernel takes one parameter, an array of 64-bit words: sizes, strides, addresses, numbers. So no size, stride or
// rank limit is part of the text beyond what the form says, and a new shape of the same form compiles nothing.
#pragma once
#include <string>
#include <vector>

#include "fuse/program.h"

namespace pd::cuda {

constexpr int kThreads = 128;     // of a block, where the form does not say otherwise
constexpr int kPieceBlocks = 16;  // blocks of kBlock elements that one row or column of threads reduces at a time
constexpr int kStrip = 32;        // columns of a block of threads

enum class Kind : uint8_t { Elementwise, Rows, Columns };

// How an argument is reached.
enum class Access : uint8_t {
  Linear,   // element i of the domain lies at i
  Strided,  // at a sum of coordinate times stride
  Index,    // that sum itself, an int64
  Cell,     // one element for the whole kernel
  Number    // the same, its bits among the parameters; bounded: a number with a border of another
};

struct ArgForm {
  Access access = Access::Linear;
  bool bounded = false;    // a value stands where a coordinate is out of bounds
  bool major = true;       // Strided: depends on majors
  bool minor = true;       // and on minors
  int8_t inner = 2;        // stride of the last axis: 0, 1, or 2 for any other
  bool whole = false;      // Elementwise: vectors are loaded as such
};

struct Form {
  Kind kind = Kind::Elementwise;
  bool wide = false;       // 64-bit coordinates
  int majors = 0, minors = 0;  // axes of the merged domain
  int vector = 1;          // Elementwise: elements a thread takes at a time
  int halves = 1;          // blocks of kBlock elements that are reduced at a time; Rows: as many groups of kLanes threads
  bool partial = false;    // the reduced index is cut into pieces, whose results a second kernel combines
  bool spill_shared = true;
  bool far = false;        // the parameters are given by their address in device memory, however few they are
  std::vector<ArgForm> args;

  int axes() const { return majors + minors; }
  std::string key() const;
};

// Places of the parameters in the array.
struct Params {
  struct Arg {
    int base = -1;         // address, or the bits of a number, or the first value of an index
    int strides = -1;      // axes() of them
    int lo = -1, hi = -1, fill = -1;
  };
  int major_total = 0, minor_total = 1, dims = 2;
  int pieces = -1, step = -1, partials = -1, spill = -1;  // partials: of each Reduce that is stored, in program order
  std::vector<Arg> args;
  int count = 0;
  // More than fit into a launch of any driver (4 KB): they are copied to device memory first.
  static constexpr int kDirect = 500;
  bool far = false;
  bool by_address() const { return far || count > kDirect; }

  Params(const Program& p, const Form& f);
};

// Reduce instructions whose result is stored, in order: those that a split program has partial results of.
std::vector<int> stored_reductions(const Program& p);

}  // namespace pd::cuda
