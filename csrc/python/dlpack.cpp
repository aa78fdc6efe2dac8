// DLPack in both directions, versioned and legacy capsules, memory of the CPU and of CUDA devices; and the CUDA array interface.
// The structs are the ABI of https://dmlc.github.io/dlpack (version 1).
#include <cstring>

#include "device/cuda/streams.h"
#include "device/device.h"
#include "exec/late_errors.h"
#include "python/args.h"
#include "python/convert.h"
#include "python/dlpack.h"

namespace pd {
namespace binding {

namespace {

struct DlDevice {
  int32_t type, id;
};
struct DlType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct DlTensor {
  void* data;
  DlDevice device;
  int32_t ndim;
  DlType dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};
struct Legacy {
  DlTensor t;
  void* context;
  void (*deleter)(Legacy*);
};
struct Versioned {
  uint32_t major, minor;
  void* context;
  void (*deleter)(Versioned*);
  uint64_t flags;
  DlTensor t;
};
constexpr uint64_t kReadOnly = 1, kCopied = 2;
constexpr int kDlCpu = 1, kDlCuda = 2;
// Of CUDA, as DLPack and the CUDA array interface number streams; other numbers are handles.
constexpr int kLegacyDefaultStream = 1, kPerThreadDefaultStream = 2;
enum Code : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kComplex = 5, kBoolean = 6 };

DlType type_of(DType t) {
  const DTypeInfo& d = info(t);
  uint8_t code = t == DType::BF16 ? kBfloat
                 : is_bool(t)     ? kBoolean
                 : is_floating(t) ? kFloat
                 : is_complex(t)  ? kComplex
                 : d.kind == 'u'  ? kUInt
                                  : kInt;
  return {code, static_cast<uint8_t>(d.size * 8), 1};
}

DType dtype_from(DlType t) {
  for (int i = 0; i < kNumDTypes; ++i) {
    DlType o = type_of(static_cast<DType>(i));
    if (o.code == t.code && o.bits == t.bits && t.lanes == 1) return static_cast<DType>(i);
  }
  fail("from_dlpack", "the element type has no counterpart", std::to_string(t.code) + " of " + std::to_string(t.bits) + " bits",
       "a real number type", ErrorKind::Type);
}

// What a capsule keeps: the memory, the shape, and its own struct.
template <class M>
struct Exported {
  M managed;
  BufferRef buffer;
  std::vector<int64_t> shape, strides;
};

template <class M>
Exported<M>* exported(const Var& v, BufferRef b) {
  auto* e = new Exported<M>{{}, std::move(b), {}, {}};
  e->shape.assign(v.shape().begin(), v.shape().end());
  Ints st = contiguous_strides(v.shape());
  e->strides.assign(st.begin(), st.end());
  e->managed.context = e;
  e->managed.deleter = [](M* m) { delete static_cast<Exported<M>*>(m->context); };
  const DlDevice where{v.device().kind == DeviceKind::Cpu ? kDlCpu : kDlCuda, v.device().index};
  e->managed.t = {e->buffer->data, where, v.shape().size(), type_of(v.dtype()), e->shape.data(), e->strides.data(), 0};
  return e;
}

constexpr const char* kLegacyName = "dltensor";
constexpr const char* kVersionedName = "dltensor_versioned";

template <class M>
void drop_unused(PyObject* capsule) {
  const char* name = std::is_same<M, Legacy>::value ? kLegacyName : kVersionedName;
  if (!PyCapsule_IsValid(capsule, name)) return;  // consumed: its consumer calls the deleter
  auto* m = static_cast<M*>(PyCapsule_GetPointer(capsule, name));
  m->deleter(m);
}

// The value's memory where it is.
BufferRef memory_of(const char* op, const Var& v) {
  if (v.device().kind == DeviceKind::Cpu) return host_buffer(op, v);
  ensure(op, v);
  if (!v.v->is_scalar()) {
    check_buffer(v.v->buffer, true);  // nobody outside would be told later
    return BufferRef(v.v->buffer);
  }
  const bool f = is_floating(v.dtype());
  return BufferRef(scalar_leaf(v.dtype(), f ? v.v->num.f : 0, f ? 0 : v.v->num.i, v.device()).v->buffer);
}

template <class M>
void release_managed(void* owner) {
  auto* m = static_cast<M*>(owner);
  if (!m->deleter || !Py_IsInitialized()) return;
  if (m->t.device.type == kDlCuda) {
    // Its owner may use it again in the order of the default stream, which comes after pydiff's work from now on.
    try {
      cuda_let_follow(m->t.device.id, 0);
    } catch (const Error&) {  // an older failure's echo
    }
  }
  HoldGil gil;  // the producer may be Python's
  or_sleep([m] { m->deleter(m); });
}

template <class M>
Var imported(PyObject* capsule, const char* name, const char* used) {
  auto* m = static_cast<M*>(PyCapsule_GetPointer(capsule, name));
  if (!m) throw PythonError();
  const DlTensor& t = m->t;
  Spec s;
  if (t.device.type == kDlCuda) s.device = DeviceId{DeviceKind::Cuda, static_cast<int8_t>(t.device.id)};
  else if (t.device.type != kDlCpu)
    fail("from_dlpack", "memory of a device that is not known here", "device type " + std::to_string(t.device.type),
         "moving it to the CPU first", ErrorKind::Runtime);
  device(s.device);  // an error where there is none
  s.dtype = dtype_from(t.dtype);
  for (int i = 0; i < t.ndim; ++i) s.shape.push_back(t.shape[i]);
  if (t.strides && numel(s.shape) > 1) {
    Ints want = contiguous_strides(s.shape);
    for (int i = 0; i < t.ndim; ++i)
      if (s.shape[i] != 1 && t.strides[i] != want[i])
        fail("from_dlpack", "the memory is not in order of the axes", to_string(s.shape), "a contiguous tensor, or tensor(…), which copies");
  }
  size_t bytes = static_cast<size_t>(numel(s.shape)) * size_of(s.dtype);
  if ((reinterpret_cast<uintptr_t>(t.data) + t.byte_offset) % size_of(s.dtype))
    fail("from_dlpack", "the memory is not aligned to its elements", name_of(s.dtype), "a copy made by its owner");
  BufferRef b = BufferRef::adopt(
      wrap_external(static_cast<char*>(t.data) + t.byte_offset, bytes, s.device, m, release_managed<M>));
  checked(PyCapsule_SetName(capsule, used));
  // The exporter's work comes before that of the current stream; from here on before all of pydiff's.
  if (s.device.kind == DeviceKind::Cuda) cuda_enter_stream(s.device.index);
  return Var(make_leaf(s, b.get()));
}

}  // namespace

py::object to_dlpack(const Var& v, PyObject* stream, bool versioned, bool copy) {
  BufferRef b = memory_of("__dlpack__", v);
  if (v.device().kind != DeviceKind::Cpu) {
    // The consumer's stream must find the work done; where none is named that is the default stream. -1: whoever asks
    // sees to it. A per-thread stream belongs to the consumer's thread, which this one need not be.
    const int64_t n = given(stream) ? int_arg("__dlpack__", stream, "a stream") : kLegacyDefaultStream;
    if (n == kPerThreadDefaultStream) device(v.device()).synchronize(Stream{});
    else if (n != -1) cuda_let_follow(v.device().index, n == kLegacyDefaultStream ? 0 : static_cast<CudaStream>(n));
  }
  if (!versioned) {
    // A legacy capsule cannot say that it must not be written to: it gets memory of its own.
    auto* e = exported<Legacy>(v, copy_of(b));
    return py::reinterpret_steal<py::object>(checked(PyCapsule_New(&e->managed, kLegacyName, drop_unused<Legacy>)));
  }
  auto* e = exported<Versioned>(v, copy ? copy_of(b) : b);
  e->managed.major = 1;
  e->managed.minor = 0;
  e->managed.flags = copy ? kCopied : kReadOnly;
  return py::reinterpret_steal<py::object>(checked(PyCapsule_New(&e->managed, kVersionedName, drop_unused<Versioned>)));
}

py::dict cuda_array_interface(const Var& v) {
  if (v.device().kind != DeviceKind::Cuda) {
    PyErr_SetString(PyExc_AttributeError, "[__cuda_array_interface__] the tensor is on the CPU; got device 'cpu'; try .to('cuda')");
    throw PythonError();
  }
  BufferRef b = memory_of("__cuda_array_interface__", v);
  py::tuple shape(v.shape().size());
  for (int i = 0; i < v.shape().size(); ++i) shape[static_cast<size_t>(i)] = v.shape()[i];
  py::dict d;
  d["shape"] = shape;
  d["typestr"] = py::reinterpret_borrow<py::object>(numpy_dtype(v.dtype())).attr("str");
  d["data"] = py::make_tuple(v.v->size() ? reinterpret_cast<uintptr_t>(b->data) : 0, true);
  d["strides"] = py::none();
  d["version"] = 3;
  const CudaStream now = cuda_enter_stream(v.device().index);
  d["stream"] = now ? now : CudaStream(kLegacyDefaultStream);
  return d;
}

Var from_dlpack(PyObject* capsule) {
  if (PyCapsule_IsValid(capsule, kVersionedName))
    return imported<Versioned>(capsule, kVersionedName, "used_dltensor_versioned");
  if (PyCapsule_IsValid(capsule, kLegacyName)) return imported<Legacy>(capsule, kLegacyName, "used_dltensor");
  fail("from_dlpack", "not a capsule that can be taken", Py_TYPE(capsule)->tp_name, "an object with __dlpack__", ErrorKind::Type);
}

}  // namespace binding
}  // namespace pd
