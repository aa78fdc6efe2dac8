// What the drivers of CUDA kernels share: operands copied to a device, texts handed to Python.
#pragma once
#include <algorithm>
#include <cstring>
#include <string>

#include "device/cuda/cuda.h"
#include "device/device.h"

inline void copy_text(const std::string& from, char* to, int size) {
  std::strncpy(to, from.c_str(), static_cast<size_t>(size - 1));
  to[size - 1] = 0;
}

// The first CUDA device.
inline pd::Device& open_device() {
  static const bool known = (pd::register_cuda(), true);
  (void)known;
  return pd::device({pd::DeviceKind::Cuda, 0});
}

// Device memory that begins `offset` bytes after an aligned place.
class OnDevice {
 public:
  OnDevice(pd::Device& d, const void* from, size_t bytes, size_t offset)
      : device_(d),
        bytes_(std::max<size_t>(bytes + offset, 1)),
        base_(static_cast<char*>(d.allocate(bytes_))),
        at_(base_ + offset) {
    if (bytes) d.copy(at_, from, bytes, pd::CopyKind::HostToDevice);
  }
  ~OnDevice() { device_.free(base_, bytes_); }
  OnDevice(const OnDevice&) = delete;
  void* get() const { return at_; }

 private:
  pd::Device& device_;
  size_t bytes_;
  char *base_, *at_;
};
