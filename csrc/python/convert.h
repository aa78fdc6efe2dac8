// Between Python's data and buffers.
#pragma once
#include "exec/exec.h"
#include "python/gil.h"
#include "python/tensor.h"

namespace pd {
namespace binding {

// Numbers, nested lists, arrays, tensors: a copy. `dtype` null: found from the data.
Var from_data(const char* op, PyObject* data, const DType* dtype, DeviceId device);
bool is_numpy(PyObject* o);         // ndarray or a NumPy scalar
bool is_numpy_scalar(PyObject* o);
Var from_array(PyObject* array, const DType* dtype, DeviceId device);  // a copy
Var scalar_leaf(DType dtype, double f, int64_t i, DeviceId device);    // a 0-d tensor with a buffer

// The value, computed: it has a buffer or is a number. Fails in the name of `op` on abstract values.
void ensure(const char* op, const Var& v);
void ensure(const char* op, const std::vector<Var>& vs);
// A buffer on the CPU with the value's bytes.
BufferRef host_buffer(const char* op, const Var& v);
// The same bytes in a buffer of pydiff's own.
BufferRef copy_of(const BufferRef& b);
// What promises a copy: the value itself, or, where it is memory that somebody outside may write to (seen through movements and
// casts still pending), a copy of that memory as it is now.
Var owned(const char* op, const Var& v);
py::object item(const char* op, const Var& v);  // of a tensor with one element
// The value as an ndarray that cannot be written to and keeps the memory alive.
py::object to_numpy(const char* op, const Var& v);
DType dtype_of_array(PyObject* dtype);
py::object numpy_dtype(DType t);

}  // namespace binding
}  // namespace pd
