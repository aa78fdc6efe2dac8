// One order of all work that pydiff gives a device, whatever streams it goes to, and the calling thread's choice of them.
//
//   current   a thread's stream of the device, the default stream at first
//   last      the stream that was given work last: all that was given before lies in its past
//
// Work goes to the current stream. Where that is not `last`, it waits there, on the device, for what `last` was given, and
// is `last` from then on. So a value made on one stream is there for the next, and memory that was freed on one is free on
// the other. What that costs: work on two streams of one device does not overlap.
#pragma once
#include <mutex>

#include "device/cuda/driver.h"

namespace pd::cuda {

class CudaDevice;

constexpr int kMaxDevices = 128;  // DeviceId::index is an int8_t

// The calling thread's choice; null is the default stream.
CUstream& current_stream(int index);

class StreamOrder {
 public:
  // For the members below: held from asking for the stream until the work is given, lest another thread come between.
  std::mutex mutex;

  CUstream last() const { return last_; }
  // `to` comes after everything so far, and is `last`.
  void enter(const Driver& d, int index, CUstream to);
  // `other` comes after everything so far, but is nothing of this order.
  void let_follow(const Driver& d, int index, CUstream other);

 private:
  CUstream last_ = nullptr;
  CUevent event_ = nullptr;
};

// Around the calls that give a device work: its context is current, `stream` the one that `s` names, and the order held.
class Submission {
 public:
  Submission(const Driver& d, CudaDevice& device, Stream s);
  CUstream stream;

 private:
  ContextScope here_;
  std::unique_lock<std::mutex> hold_;
};

}  // namespace pd::cuda
