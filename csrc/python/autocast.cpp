// The switch of autocast, and the way of public functions through their rules.
#include "python/autocast.h"

#include "python/args.h"

namespace pd {
namespace binding {

thread_local Autocast t_autocast;

namespace {

PyObject* g_rules = nullptr;  // name of a public function -> its rule
PyObject* g_call = nullptr;   // called with (rule, function, args, kwargs)

int kind_of(const Var& x) { return x.device().kind == DeviceKind::Cuda ? 1 : 0; }

int kind_arg(const std::string& device) { return device == "cuda" ? 1 : 0; }

void refresh() { t_autocast.on = t_autocast.enabled[0] || t_autocast.enabled[1]; }

}  // namespace

Var to_low(const Var& x) {
  int kind = kind_of(x);
  DType d = x.dtype();
  if (!t_autocast.enabled[kind] || !is_floating(d) || d == DType::F64) return x;
  return cast(x, t_autocast.low[kind]);
}

Var to_wide(const Var& x) {
  if (kind_of(x) == 0 || t_autocast.composed || !t_autocast.enabled[1] || !is_narrow(x.dtype()) || !is_floating(x.dtype())) return x;
  return cast(x, DType::F32);
}

PyObject* call_by_rule(PyObject* function, PyObject* name, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  PyObject* rule = g_rules && name ? PyDict_GetItem(g_rules, name) : nullptr;
  if (!rule) return nullptr;
  PyObject* positional = PyTuple_New(nargs);
  PyObject* named = PyDict_New();
  PyObject* result = nullptr;
  if (positional && named) {
    for (Py_ssize_t i = 0; i < nargs; ++i) PyTuple_SET_ITEM(positional, i, same(args[i]));
    for (Py_ssize_t w = 0; kwnames && w < PyTuple_GET_SIZE(kwnames); ++w)
      PyDict_SetItem(named, PyTuple_GET_ITEM(kwnames, w), args[nargs + w]);
    result = PyObject_CallFunctionObjArgs(g_call, rule, function, positional, named, nullptr);
  }
  Py_XDECREF(positional);
  Py_XDECREF(named);
  if (result == Py_NotImplemented) Py_CLEAR(result);
  return result;
}

void bind_autocast(py::module_& m) {
  m.def("autocast_rules", [](const py::dict& rules, const py::object& call) {
    Py_XDECREF(g_rules);
    Py_XDECREF(g_call);
    g_rules = py::object(rules).release().ptr();
    g_call = py::object(call).release().ptr();
  }, "Rules by name of public function, and what is called with (rule, function, args, kwargs) while the switch is on.");
  m.def("autocast_get", [](const std::string& device) {
    int kind = kind_arg(device);
    return py::make_tuple(t_autocast.enabled[kind], py::reinterpret_borrow<py::object>(dtype_object(t_autocast.low[kind])));
  }, "Whether this thread's switch is on for a kind of device, and the low dtype.");
  m.def("autocast_set", [](const std::string& device, bool enabled, const py::object& dtype) {
    int kind = kind_arg(device);
    t_autocast.enabled[kind] = enabled;
    t_autocast.low[kind] = dtype_arg(dtype.ptr());
    refresh();
  }, "Turns this thread's switch for a kind of device.");
  m.def("autocast_pause", [](bool pause) {
    bool was = t_autocast.on;
    if (pause) t_autocast.on = false;
    else refresh();
    return was;
  }, "Lets this thread's operations compute in their operands' dtypes, until it is called with False.");
}

}  // namespace binding
}  // namespace pd
