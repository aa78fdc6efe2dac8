// The profiler's record, for pydiff/profiler/.
#include <pybind11/stl.h>

#include <algorithm>

#include "device/device.h"
#include "device/watch.h"
#include "exec/profile.h"
#include "python/args.h"
#include "python/gil.h"
#include "python/public_function.h"

namespace pd {
namespace binding {

namespace {

using namespace profile;

py::object device_of(DeviceId d) { return py::reinterpret_borrow<py::object>(device_object(d)); }

py::dict dict_of(const Span& s) {
  py::list members;
  int64_t read = 0, written = 0, flops = 0;
  py::object domain = py::none(), dtype = py::none();
  for (const StepFactsRef& f : s.facts) {
    for (const StepFacts::Member& m : f->members) members.append(py::make_tuple(m.op, m.weight));
    read += f->read;
    written += f->written;
    flops += f->flops;
  }
  if (s.facts.size() == 1) {
    domain = py::reinterpret_steal<py::object>(tuple_of(s.facts[0]->domain));
    dtype = py::reinterpret_borrow<py::object>(dtype_object(s.facts[0]->dtype));
  }
  py::dict d;
  d["kind"] = name_of(s.kind);
  d["name"] = s.name;
  d["device"] = device_of(s.device);
  d["on_device"] = s.on_device;
  d["thread"] = s.thread;
  d["begin"] = s.begin;
  d["end"] = s.end;
  d["given"] = s.given;
  d["compiled"] = s.compiled;
  d["threads"] = s.threads;
  d["members"] = members;
  d["lines"] = s.lines;
  d["shape"] = domain;
  d["dtype"] = dtype;
  d["read"] = read;
  d["written"] = written + s.bytes;
  d["flops"] = flops;
  d["count"] = s.count;
  return d;
}

py::dict dict_of(Record&& r) {
  py::list spans, lines, owners, blocks;
  for (const Span& s : r.spans) spans.append(dict_of(s));
  for (const auto& [code, offset] : r.lines) {
    const UserLine u = user_line(code, offset);
    lines.append(py::make_tuple(u.file, u.line, u.function, u.called));
    g_location.drop(code);
  }
  for (const auto& [name, line] : r.owners) owners.append(py::make_tuple(name, line));
  for (const Block& b : r.blocks) blocks.append(py::make_tuple(b.at, b.bytes, b.owner, device_of(b.device)));
  py::dict d;
  d["begin"] = r.begin;
  d["end"] = r.end;
  d["spans"] = spans;
  d["lines"] = lines;
  d["owners"] = owners;
  d["blocks"] = blocks;
  return d;
}

// Bytes a second that a copy in the device's memory reads and writes: the best of some of 64 MiB.
double copy_bandwidth(DeviceId id) {
  constexpr size_t kBytes = size_t{64} << 20;
  constexpr int kTimes = 6;
  Device& d = device(id);
  const BufferRef from = BufferRef::adopt(new_buffer(id, kBytes)), to = BufferRef::adopt(new_buffer(id, kBytes));
  d.zero(from->data, kBytes);
  const Event begin = d.new_event(), end = d.new_event();
  double best = 0;
  for (int k = 0; k < kTimes; ++k) {
    d.record(begin);
    d.copy(to->data, from->data, kBytes, CopyKind::DeviceToDevice);
    d.record(end);
    d.synchronize(end);
    const double seconds = d.milliseconds(begin, end) / 1e3;
    if (seconds > 0) best = std::max(best, 2.0 * kBytes / seconds);
  }
  d.free_event(begin);
  d.free_event(end);
  return best;
}

Kind kind_named(const std::string& name) {
  return name == name_of(Kind::Fallback) ? Kind::Fallback : name == name_of(Kind::Compile) ? Kind::Compile : Kind::Range;
}

}  // namespace

void bind_profile(py::module_& m) {
  g_may_locate = [] { return PyGILState_Check() != 0; };
  m.def("profile_start", [](bool memory, bool lines, bool graphs) { start({memory, lines, graphs}); }, py::arg("memory"),
        py::arg("lines"), py::arg("graphs"), "Records what is run from now on; one record at a time.");
  m.def("profile_stop", [] { return dict_of(stop()); }, "What was recorded, with the spans in no order.");
  m.def("profile_running", running);
  m.def("profile_add", [](const std::string& kind, const std::string& name, int64_t begin, int64_t end,
                          const py::object& device, int64_t bytes) {
    add(kind_named(kind), name, begin, end, device_arg(device.ptr()), bytes);
  }, py::arg("kind"), py::arg("name"), py::arg("begin"), py::arg("end"), py::arg("device") = py::none(),
        py::arg("bytes") = 0, "A span that Python measured on this thread, by time.perf_counter_ns().");
  m.def("copy_bandwidth", [](const py::object& device) {
    const DeviceId id = device_arg(device.ptr());
    WithoutGil free;
    return copy_bandwidth(id);
  }, py::arg("device") = py::none());
}

}  // namespace binding
}  // namespace pd
