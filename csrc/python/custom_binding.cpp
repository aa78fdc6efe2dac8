// Operations of the user's own: pydiff/_custom.py makes their codes and has their rules.
#include <pybind11/numpy.h>

#include "device/cuda/cuda.h"
#include "graph/custom.h"
#include "python/args.h"
#include "python/convert.h"
#include "python/gil.h"

namespace pd {
namespace binding {

namespace {

struct CodeHandle {
  CustomCodeRef code;
};

py::handle host_of(const Custom& c) { return static_cast<PyObject*>(c.host); }

py::object wrapped_or_none(const Var& v) { return v ? wrapped(v) : py::object(py::none()); }

template <class Vars>
py::list list_of(const Vars& vars, int n) {
  py::list out;
  for (int k = 0; k < n; ++k) out.append(wrapped_or_none(vars[k]));
  return out;
}

std::vector<Var> vars_of(const Custom& c, const py::object& list) {
  std::vector<Var> out;
  for (const auto& o : list) out.push_back(o.is_none() ? Var() : tensor_arg(c.code->name.c_str(), o.ptr()));
  return out;
}

// ---- what graph/custom.h asks for

void vjp(const Custom& c, const VjpArgs& a, Var* out) {
  py::list need;
  for (int k = 0; k < a.nin; ++k) need.append(a.need[k]);
  std::vector<Var> got = vars_of(
      c, called_method(host_of(c), "vjp", list_of(a.in, a.nin), list_of(a.outs, a.nout), list_of(a.cotangents, a.nout), need));
  for (int k = 0; k < a.nin; ++k)
    if (a.need[k]) out[k] = got[static_cast<size_t>(k)];
}

std::vector<Var> jvp(const Custom& c, const JvpArgs& a) {
  return vars_of(c, called_method(host_of(c), "jvp", list_of(a.in, a.nin), list_of(a.outs, a.nout), list_of(a.tangents, a.nin)));
}

std::vector<Var> batch(const Custom& c, const BatchArgs& a) {
  py::list batched;
  for (int k = 0; k < a.nin; ++k) batched.append(a.batched[k]);
  return vars_of(c, called_method(host_of(c), "batch", py::int_(a.size), batched, list_of(a.in, a.nin)));
}

// An array that cannot be written to: of the owner's memory, or a copy of memory that will be used for something else
// while the user may still hold the array. NumPy is not asked to copy: it would give the GIL up for that.
py::array array_of(const Spec& s, const void* data, Buffer* owner) {
  py::dtype type = py::reinterpret_borrow<py::dtype>(numpy_dtype(s.dtype));
  std::vector<py::ssize_t> shape(s.shape.begin(), s.shape.end()), strides;
  for (int64_t st : contiguous_strides(s.shape))
    strides.push_back(static_cast<py::ssize_t>(st) * static_cast<py::ssize_t>(size_of(s.dtype)));
  py::array a;
  if (owner) {
    retain(owner);
    a = py::array(type, shape, strides, data, py::capsule(owner, [](void* p) { release(static_cast<Buffer*>(p)); }));
  } else {
    a = py::array(type, shape, strides);
    if (a.nbytes()) std::memcpy(a.mutable_data(), data, static_cast<size_t>(a.nbytes()));
  }
  py::detail::array_proxy(a.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return a;
}

void run(const CustomCode& code, const void* const* in, Buffer* const* owners, void* const* out) {
  HoldGil gil;
  py::list arrays;
  for (size_t k = 0; k < code.ins.size(); ++k) arrays.append(array_of(code.ins[k], in[k], owners[k]));
  py::list results = called_method(host_of(*code.live), "run", arrays);
  for (size_t k = 0; k < code.outs.size(); ++k) {
    py::array a = py::reinterpret_borrow<py::object>(results[k]);
    const size_t bytes = static_cast<size_t>(a.nbytes());
    if (bytes != static_cast<size_t>(numel(code.outs[k].shape)) * size_of(code.outs[k].dtype))
      fail(code.name.c_str(), "a result of another size", std::to_string(bytes) + " bytes", "reporting this", ErrorKind::Runtime);
    if (bytes) std::memcpy(out[k], a.data(), bytes);
  }
}

void share(void* host) { Py_INCREF(static_cast<PyObject*>(host)); }
void drop(void* host) { Py_DECREF(static_cast<PyObject*>(host)); }

// ---- codes

std::vector<Spec> specs_of(const py::sequence& list, DeviceId device) {
  std::vector<Spec> out;
  for (const auto& o : list) {
    py::tuple pair = py::reinterpret_borrow<py::tuple>(o);
    out.push_back(Spec{ints_arg("custom_op", py::object(pair[0]).ptr(), "a size"), dtype_arg(py::object(pair[1]).ptr()), device});
  }
  return out;
}

std::vector<int64_t> cells_of(const py::sequence& list) {
  std::vector<int64_t> out;
  for (const auto& o : list) {
    std::string bytes = py::cast<std::string>(py::reinterpret_borrow<py::bytes>(o));
    int64_t cell = 0;
    std::memcpy(&cell, bytes.data(), std::min(bytes.size(), sizeof cell));
    out.push_back(cell);
  }
  return out;
}

CodeHandle make_code(const std::string& name, const py::object& device, const py::sequence& ins, const py::sequence& outs,
                     const py::sequence& scalars, const py::sequence& fill, size_t function) {
  CustomCodeRef code = make_custom_code();
  code->name = name;
  code->device = device_arg(device.ptr());
  code->ins = specs_of(ins, code->device);
  code->outs = specs_of(outs, code->device);
  code->scalars = cells_of(scalars);
  code->fill = cells_of(fill);
  code->function = reinterpret_cast<void (*)(void* const*)>(function);
  return {code};
}

// Compiles the text and makes its kernel that of the code. Errors are those of cuda_kernel, in the operation's name.
void add_kernel(const CodeHandle& h, const std::string& source, const std::string& function, const py::sequence& grid,
                const py::sequence& block, size_t shared) {
  CustomCode& code = *h.code;
  for (size_t k = 0; k < 3; ++k) {
    code.size.grid[k] = grid[k].cast<uint32_t>();
    code.size.block[k] = block[k].cast<uint32_t>();
  }
  code.size.shared_bytes = shared;
  try {
    WithoutGil free;
    code.kernel = cuda_kernel(code.device, source, function, shared);
  } catch (const Error& e) {
    std::string text = e.what();
    const std::string room = "[cuda] ";
    if (text.compare(0, room.size(), room) == 0) text = text.substr(room.size());
    throw Error(e.kind, "[" + code.name + "] " + text);
  }
}

py::list apply_code(const CodeHandle& h, const py::object& host, const py::sequence& operands) {
  std::vector<Var> in;
  for (const auto& o : operands) in.push_back(value_of(o.ptr()));
  auto extra = std::make_unique<Extra>();
  extra->outs = h.code->outs;
  extra->custom = custom_of(h.code, host.ptr());
  py::list out;
  for (Var& v : apply_multi(op::custom, in.data(), static_cast<int>(in.size()), AttrsRef(), extra.release()))
    out.append(wrapped(std::move(v)));
  return out;
}

}  // namespace

void bind_custom(py::module_& m) {
  g_custom.share = share;
  g_custom.drop = drop;
  g_custom.vjp = vjp;
  g_custom.jvp = jvp;
  g_custom.batch = batch;
  g_custom.run = run;
  py::class_<CodeHandle>(m, "CustomCode", "How an operation of the user's own is computed for operands of one kind.")
      .def_property_readonly("id", [](const CodeHandle& h) { return h.code->id; })
      .def_property_readonly("pending", [](const CodeHandle& h) { return h.code->live != nullptr; }, "Whether a node or the tape has it.");
  m.def("custom_code", make_code, py::arg("name"), py::arg("device"), py::arg("ins"), py::arg("outs"), py::arg("scalars"),
        py::arg("fill"), py::arg("function"));
  m.def("custom_kernel", add_kernel, py::arg("code"), py::arg("source"), py::arg("function"), py::arg("grid"),
        py::arg("block"), py::arg("shared"));
  // An operation that its host computes when it has values: `batch(size, batched, operands)` is called for those.
  m.def("custom_by_rule", [](const std::string& name, const py::object& device, const py::sequence& ins, const py::sequence& outs) {
    CodeHandle h = make_code(name, device, ins, outs, py::list(), py::list(), 0);
    h.code->by_rule = true;
    return h;
  });
  m.def("custom_apply", apply_code);
}

}  // namespace binding
}  // namespace pd
