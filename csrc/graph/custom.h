// Operations of the user's own (pydiff.custom_op): what a node of one says, and what python/ does for it.
//
//   CustomCode  how to compute it: fixed by the definition, the specs of the operands and the attributes. It refers to no
//               object of the host, so a plan may keep it.
//   Custom      what the pending nodes of one code share: the host object that has the rules and the host's function. It
//               lives as long as a node or the tape has it.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "device/device.h"
#include "graph/var.h"

namespace pd {

struct CustomCode {
  uint64_t id = 0;  // never used twice: what keeps the plans of two definitions apart
  std::string name;
  DeviceId device;
  std::vector<Spec> ins, outs;
  std::vector<int64_t> scalars;  // the parameters after the addresses of operands and results, a cell each
  std::vector<int64_t> fill;     // empty, or by result: the bits that its elements have before
  DeviceKernel kernel;           // on a CUDA device
  LaunchSize size;
  void (*function)(void* const* args) = nullptr;  // on the CPU, where it is compiled
  Custom* live = nullptr;        // of the nodes that there are; under the GIL

  bool by_rule = false;          // on values the batch rule computes it, with a batch or without: it is never run itself

  // Computed by a function of the host: this takes the GIL, and cannot be part of a captured graph of launches.
  bool by_host() const { return device.kind == DeviceKind::Cpu && !function; }
};
using CustomCodeRef = std::shared_ptr<CustomCode>;

CustomCodeRef make_custom_code();  // with an id of its own

struct Custom {
  int32_t refs = 0;
  CustomCodeRef code;
  void* host = nullptr;  // owned
};
// That of the code's nodes. `host` stays the caller's; `share` gives a reference to it that is owned here.
Ref<Custom> custom_of(const CustomCodeRef& code, void* host);

// Filled by python/. Rules record values, so they are called with the GIL.
struct CustomHooks {
  void (*share)(void* host) = nullptr;
  void (*drop)(void* host) = nullptr;
  void (*vjp)(const Custom& c, const VjpArgs& a, Var* out) = nullptr;
  std::vector<Var> (*jvp)(const Custom& c, const JvpArgs& a) = nullptr;
  std::vector<Var> (*batch)(const Custom& c, const BatchArgs& a) = nullptr;
  // Computes the results by the host's function; takes the GIL, throws what the function raised. `owners` has the
  // buffers of the operands, null for memory that is the plan's own.
  void (*run)(const CustomCode& c, const void* const* in, Buffer* const* owners, void* const* out) = nullptr;
};
extern CustomHooks g_custom;

}  // namespace pd
