// The extension module pydiff._C.
#include "python/args.h"
#include "python/autocast.h"
#include "python/memory_formats.h"
#include "python/errors.h"

PYBIND11_MODULE(_C, m) {
  using namespace pd;
  using namespace pd::binding;
  m.doc() = "The core of pydiff: graph, tape, executor.";
  register_all_ops();
  install_autodiff();
  install_host_hooks();
  bind_errors(m);

  auto* methods = new Methods;  // the type and the module point into them for good
  auto* functions = new Methods;
  for (auto add : {add_row_methods, add_reduction_methods, add_movement_methods, add_index_methods,
                   add_creation_methods, add_convert_methods, add_autograd_methods})
    add(*methods, *functions);
  make_tensor_type(m, *methods);
  functions->push_back({nullptr, nullptr, 0, nullptr});
  if (PyModule_AddFunctions(m.ptr(), functions->data()) < 0) throw py::error_already_set();

  bind_args(m);
  bind_memory_formats(m);
  bind_convert(m);
  bind_autograd(m);
  bind_services(m);
  bind_op_table(m);
  bind_compile(m);
  bind_cuda(m);
  bind_custom(m);
  bind_autocast(m);
  bind_public(m);
  bind_trace(m);
}
