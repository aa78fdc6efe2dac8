// Graphs, evaluation, machines: what pydiff's own Python asks of the core.
#include <pybind11/stl.h>

#include "device/cpu/allocator.h"
#include "device/cpu/pool.h"
#include "device/cuda/streams.h"
#include "device/device.h"
#include "exec/late_errors.h"
#include "kernels/cpu/blas.h"
#include "ops/attention.h"
#include "ops/convolution.h"
#include "python/autocast.h"
#include "python/args.h"
#include "python/convert.h"
#include "python/tracer.h"

namespace pd {
namespace binding {

void bind_profile(py::module_& m);  // profile_binding.cpp

namespace {

struct GraphHandle {
  GraphRef g;
};

std::vector<Var> vars_of(const py::handle& seq) {
  std::vector<Var> out;
  for (const auto& o : seq) out.push_back(value_of(o.ptr()));
  return out;
}

std::vector<Value*> values_of(const std::vector<Var>& vars) {
  std::vector<Value*> out;
  for (const Var& v : vars) out.push_back(v.v.get());
  return out;
}

py::list tensors(const std::vector<Var>& vars) {
  py::list out;
  for (const Var& v : vars) out.append(wrapped(v));
  return out;
}

void evaluate_all(const py::object& seq) {
  std::vector<Var> vars;
  for (const auto& o : seq) {
    const Var& v = value_of(o.ptr());
    if (v.v->pending() && !v.v->abstract) vars.push_back(v);
  }
  if (!vars.empty()) evaluate(values_of(vars));
}

// value_of_handle(i) into handle i, without tape and without a look at leaves.
template <class F>
void assign_all(const py::sequence& handles, F value_of_handle) {
  bool was = set_grad_enabled(false);
  try {
    for (size_t i = 0; i < handles.size(); ++i) {
      py::object h = handles[i];
      assign("rebind", as_tensor_object(h.ptr()), Var(value_of_handle(i)));
    }
  } catch (...) {
    set_grad_enabled(was);
    throw;
  }
  set_grad_enabled(was);
}

void rebind(const py::sequence& handles, const py::sequence& values) {
  if (handles.size() != values.size())
    fail("rebind", "one value for each tensor is needed", std::to_string(values.size()) + " for " + std::to_string(handles.size()),
         "lists of equal length");
  assign_all(handles, [&](size_t i) {
    py::object v = values[i];
    return value_of(v.ptr()).v;
  });
}

// lists[j][k]: operand j of segment k. Results by segment.
std::vector<std::vector<Var>> foreach_of(const GraphHandle& body, const py::sequence& lists, const py::sequence& scalars) {
  size_t np = lists.size();
  std::vector<std::vector<Var>> segments;
  for (size_t j = 0; j < np; ++j) {
    py::object list = lists[j];
    size_t k = 0;
    for (const auto& o : list) {
      if (j == 0) segments.emplace_back(np);
      if (k >= segments.size())
        fail("foreach", "the lists differ in length", std::to_string(k + 1) + " and " + std::to_string(segments.size()),
             "lists of equal length");
      // An update is never differentiated: values only.
      segments[k++][j] = Var(value_of(o.ptr()).v);
    }
    if (k != segments.size())
      fail("foreach", "the lists differ in length", std::to_string(k) + " and " + std::to_string(segments.size()),
           "lists of equal length");
  }
  std::vector<Var> shared;
  DeviceId dev = segments.empty() ? DeviceId{} : segments[0][0].device();
  for (const auto& s : scalars) shared.push_back(Var(operand("foreach", s.ptr(), dev).v));
  return foreach(body.g, segments, shared);
}

// out[r][k]: result r of segment k.
py::tuple foreach_all(const GraphHandle& body, const py::sequence& lists, const py::sequence& scalars) {
  std::vector<std::vector<Var>> results = foreach_of(body, lists, scalars);
  size_t nr = body.g->results.size();
  py::tuple out(nr);
  for (size_t r = 0; r < nr; ++r) {
    py::list one(results.size());
    for (size_t k = 0; k < results.size(); ++k)
      PyList_SET_ITEM(one.ptr(), static_cast<Py_ssize_t>(k), wrap_quietly(results[k][r]));
    out[r] = std::move(one);
  }
  return out;
}

// Result r of n segments becomes the value of handles[r * n + k], as by `rebind`: no tensor is made for it.
void foreach_into(const GraphHandle& body, const py::sequence& lists, const py::sequence& scalars, const py::sequence& handles) {
  std::vector<std::vector<Var>> results = foreach_of(body, lists, scalars);
  size_t nr = body.g->results.size(), n = results.size();
  if (handles.size() != nr * n)
    fail("foreach", "one tensor for each result is needed", std::to_string(handles.size()) + " for " + std::to_string(nr * n),
         "lists of equal length");
  assign_all(handles, [&](size_t i) { return results[i % n][i / n].v; });
}

void bind_graphs(py::module_& m) {
  py::class_<GraphHandle>(m, "Graph", "A recorded function of placeholders.")
      .def("__repr__", [](const GraphHandle& g) { return print(*g.g); })
      .def_property_readonly("n_params", [](const GraphHandle& g) { return g.g->params.size(); })
      .def_property_readonly("n_results", [](const GraphHandle& g) { return g.g->results.size(); });

  m.def("open_scope", [] { return ++g_latest_scope; }, "The number of a new scope of placeholders.");
  m.def("make_param", [](const py::object& shape, const py::object& dtype, const py::object& device, int64_t scope) {
    Var v(make_param(Spec{ints_arg("make_param", shape.ptr(), "a size"), dtype_arg(dtype.ptr()), device_arg(device.ptr())}));
    v.v->num.i = scope;
    return v;
  }, py::arg("shape"), py::arg("dtype"), py::arg("device"), py::arg("scope") = 0,
     "A placeholder that stands for a value; of a scope, it cannot be written into tensors made before that.");
  m.def("close_graph", [](const py::sequence& outputs, const py::sequence& params) {
    std::vector<Var> outs;
    for (const auto& o : outputs) outs.push_back(operand("graph", o.ptr()));
    return GraphHandle{close_graph(outs, vars_of(params))};
  });
  m.def("call", [](const GraphHandle& g, const py::sequence& args) { return tensors(call(g.g, vars_of(args))); });
  m.def("foreach", foreach_all);
  m.def("foreach_into", foreach_into);
  m.def("batch", [](const py::sequence& outputs, const py::sequence& params, const py::sequence& args,
                    const std::vector<bool>& batched, int64_t size) {
    std::vector<bool> out_batched;
    std::vector<Var> outs = batch(vars_of(outputs), vars_of(params), vars_of(args), batched, size, out_batched);
    return py::make_tuple(tensors(outs), out_batched);
  });
  m.def("substitute", [](const py::sequence& outputs, const py::sequence& params, const py::sequence& args) {
    return tensors(substitute(vars_of(outputs), vars_of(params), vars_of(args)));
  });
}

void bind_evaluation(py::module_& m) {
  m.def("attention", [](const py::object& q, const py::object& k, const py::object& v, const py::object& mask, bool causal,
                        double scale, int64_t groups) -> py::object {
    const char* name = "scaled_dot_product_attention";
    const Var y = attention(low(tensor_arg(name, q.ptr())), low(tensor_arg(name, k.ptr())), low(tensor_arg(name, v.ptr())),
                            mask.is_none() ? Var() : low(tensor_arg(name, mask.ptr())), groups, Attention(causal, scale));
    return y ? py::reinterpret_steal<py::object>(wrap(y)) : py::none();
  }, "As ops/attention.h says: q, k, v, a mask or None, causal, the scale, heads of q for one of k; None where the definition serves.");
  m.def("convolution", [](const py::object& x, const py::object& w, const std::vector<int64_t>& attributes) {
    return py::reinterpret_steal<py::object>(wrap(
        convolution(low(tensor_arg("conv", x.ptr())), low(tensor_arg("conv", w.ptr())),
                    Convolution(Ints(attributes.data(), static_cast<int>(attributes.size()))))));
  }, "x, w and what ops/convolution.h says: groups, flags, stride, before, after, spread and dilation of each axis.");
  m.def("convolution_serves", [](const py::object& x, bool transposed) {
    const Var& v = tensor_arg("conv", x.ptr());
    return convolution_serves(v.dtype(), v.device(), transposed);
  }, "Whether the device of an input has a kernel of convolutions for its type.");
  m.def("evaluate", evaluate_all, "Computes what is pending of the tensors.");
  m.def("flush", flush, "Computes all that a tensor or the tape holds.");
  m.def("rebind", rebind, "Gives tensors new values, off the tape.");
  m.def("print_graph", [](const py::sequence& t) { return print(values_of(vars_of(t))); });
  m.def("dot", [](const py::sequence& t) { return dot(values_of(vars_of(t))); });
  m.def("explain", [](const py::sequence& t) { return explain(values_of(vars_of(t))); });
  m.def("verify", [](const py::sequence& t) { verify(values_of(vars_of(t))); });
  m.def("state_of", [](const Var& v) {
    return v.v->abstract ? "abstract" : v.v->is_scalar() ? "scalar" : v.v->ready() ? "ready" : "pending";
  });
  m.def("counts_of", [](const Var& v) { return py::make_tuple(v.v->refs - 1, v.v->handles, v.v->taped); });
  m.def("pending", [] {
    py::dict d;
    d["nodes"] = g_pending.nodes;
    d["bytes"] = g_pending.bytes;
    return d;
  });
  m.def("set_pending_limits", [](int64_t nodes, int64_t bytes) {
    auto old = py::make_tuple(pending_node_limit(), pending_byte_limit());
    pending_node_limit() = nodes;
    pending_byte_limit() = bytes;
    return old;
  });
  m.def("exec_stats", [] {
    const ExecStats& s = exec_stats();
    py::dict d;
    d["plans"] = s.plans;
    d["replays"] = s.replays;
    d["kernels"] = s.kernels;
    d["natives"] = s.natives;
    d["instructions"] = s.instructions;
    d["graphs"] = s.graphs;
    d["graph_replays"] = s.graph_replays;
    d["merged"] = s.merged;
    d["recomputed"] = s.recomputed;
    d["epilogues"] = s.epilogues;
    d["traces"] = traces_made();
    return d;
  });
  m.def("plan_memory", [](const py::sequence& t) {
    const PlanMemory p = plan_memory(values_of(vars_of(t)));
    py::dict d;
    d["peak"] = p.peak;
    d["unlimited"] = p.unlimited;
    d["recomputed"] = p.recomputed;
    return d;
  });
  m.def("clear_plans", clear_plans);
  m.def("set_memory_limit", [](int64_t bytes) { return std::exchange(memory_limit(), bytes); },
        "Bytes that a plan may need, 0: any; returns what it was.");
  m.def("set_stable_forms", [](bool on) { return std::exchange(stable::enabled(), on); },
        "Whether stable forms are recorded in the place of what is written; returns the former state.");
  m.def("stable_forms", [] {
    py::dict d;
    for (const auto& [written, count] : stable::counts()) d[written.c_str()] = count;
    return d;
  }, "How often each rule was applied.");
}

void bind_machine(py::module_& m) {
  m.def("num_threads", [] { return num_threads(); });
  m.def("set_num_threads", [](int n) {
    if (n < 1) fail("set_num_threads", "there is one thread at least", std::to_string(n), "1");
    set_num_threads(n);
  });
  m.def("num_cpus", num_cpus);
  m.def("shutdown_pool", shutdown_pool);
  m.def("blas_open", [](const std::string& path) { return blas_open(path.c_str()); });
  m.def("blas_available", blas_available);
  m.def("blas_name", blas_name);
  m.def("device_count", [](const std::string& kind) {
    return device_count(kind == "cuda" ? DeviceKind::Cuda : DeviceKind::Cpu);
  });
  m.def("memory_stats", [](const py::object& dev) {
    MemoryStats s = device(device_arg(dev.ptr())).memory_stats();
    py::dict d;
    d["live"] = s.live;
    d["peak"] = s.peak;
    d["cached"] = s.cached;
    d["allocations"] = s.allocations;
    d["live_blocks"] = s.live_blocks;
    return d;
  }, py::arg("device") = py::none());
  m.def("reset_peak", [](const py::object& dev) { device(device_arg(dev.ptr())).reset_peak(); }, py::arg("device") = py::none());
  m.def("empty_cache", [](const py::object& dev) { device(device_arg(dev.ptr())).empty_cache(); }, py::arg("device") = py::none());
  m.def("synchronize", [](const py::object& dev) {
    flush();
    Device& d = device(device_arg(dev.ptr()));
    {
      WithoutGil free;
      d.synchronize();
    }
    raise_late_errors();
  }, py::arg("device") = py::none());
  m.def("synchronize_all", [] {
    flush();
    {
      WithoutGil free;
      cuda_synchronize_all();
    }
    raise_late_errors();
  });
  m.def("late_error_count", late_error_count);
  m.def("check_errors", raise_late_errors, py::arg("wait") = false, "Raises an error of a device that nobody was told yet.");
}

}  // namespace

void bind_services(py::module_& m) {
  bind_graphs(m);
  bind_evaluation(m);
  bind_machine(m);
  bind_profile(m);
}

}  // namespace binding
}  // namespace pd
