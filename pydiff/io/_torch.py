"""PyTorch's checkpoints (`torch.save`, the zip format of PyTorch 1.6 and later), read without PyTorch and mapped."""

import io
import math
import struct
import zipfile
from collections import Counter, OrderedDict

import numpy as np

from pydiff import DTYPES
from pydiff import device as _Device

from ._errors import bad, short
from ._pickle import Callable, Unpickler
from ._reader import placed, tensor_of
from ._safetensors import size_of

__all__ = ["is_legacy", "is_zip", "load_torch"]

_MAGIC = b"PK\x03\x04"
_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number that the format before PyTorch 1.6 begins with
_STORAGES = {
    "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Byte": "uint8", "Char": "int8",
    "Short": "int16", "Int": "int32", "Long": "int64", "Bool": "bool", "ComplexFloat": "complex64", "ComplexDouble": "complex128",
}  # fmt: skip
_DTYPES = {
    **{name: name for name in DTYPES}, "half": "float16", "float": "float32", "double": "float64", "short": "int16",
    "int": "int32", "long": "int64", "cfloat": "complex64", "cdouble": "complex128",
}  # fmt: skip
_MAX_AXES = 64
_REPEATED = 64 << 20  # bytes that tensors may have in all beyond those of the file, by strides of 0
_BYTES = {1: "U8", 2: "F16", 4: "F32", 8: "F64", 16: "F64"}  # codes of elements of so many bytes


def is_zip(buffer):
    """Whether a file begins as a zip archive does."""
    return bytes(buffer[:4]) == _MAGIC


def is_legacy(buffer):
    """Whether a file is of PyTorch's older formats, which are a row of pickles or a tar archive."""
    return bytes(buffer[2:15]) == _LEGACY or (bytes(buffer[257:262]) == b"ustar")


class _StorageType:
    """Stands for `torch.FloatStorage` and its kin; of untyped storages `dtype` is None."""

    def __init__(self, dtype):
        self.dtype = dtype


class _Storage:
    """Bytes of one record, and what they are."""

    __slots__ = ("key", "data", "dtype")

    def __init__(self, key, data, dtype):
        self.key, self.data, self.dtype = key, data, dtype


class _Archive:
    """Records of the zip file by name, as slices of the mapped bytes."""

    def __init__(self, buffer, where):
        self.where = where
        self.data = np.frombuffer(buffer, np.uint8)
        try:
            with zipfile.ZipFile(_Bytes(buffer)) as archive:
                infos = archive.infolist()
        except (
            zipfile.BadZipFile,
            struct.error,
            ValueError,
            NotImplementedError,
            EOFError,
            OverflowError,
            RuntimeError,
            OSError,
        ) as error:
            bad(where, "the zip archive is not sound", short(error), "the whole file: it may be cut off")
        self.records = {}
        for info in infos:
            parts = info.filename.split("/")
            if ".." in parts or parts[0] == "" or "\\" in info.filename or "\0" in info.filename:
                bad(where, "a record's name leads out of the archive", short(info.filename), "a file that torch.save wrote")
            if info.filename in self.records:
                bad(where, "a record stands twice in the archive", short(info.filename), "a sound file")
            self.records[info.filename] = info
        pickles = [name for name in self.records if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            bad(
                where,
                "the archive is no checkpoint of PyTorch's",
                f"{len(pickles)} records data.pkl",
                "a file that torch.save wrote",
            )
        self.prefix = pickles[0].removesuffix("data.pkl")
        if self.prefix + "constants.pkl" in self.records:
            bad(where, "TorchScript programs are not read", "constants.pkl", "torch.save(module.state_dict(), path) in PyTorch")

    def record(self, name):
        """The bytes of a record, in place."""
        info = self.records.get(self.prefix + name)
        if info is None:
            bad(self.where, "a record is missing in the archive", short(name), "the whole file")
        if info.compress_type or info.flag_bits & 1 or info.file_size != info.compress_size:
            bad(
                self.where,
                "records are stored as they are, not compressed or encrypted",
                short(name),
                "a file that torch.save wrote",
            )
        head = bytes(self.data[info.header_offset : info.header_offset + 30])
        if len(head) < 30 or head[:4] != _MAGIC:
            bad(self.where, "a record's header is not there", short(name), "a sound file")
        start = info.header_offset + 30 + sum(struct.unpack("<HH", head[26:]))
        if start + info.file_size > len(self.data):
            bad(
                self.where,
                "a record reaches past the end of the file",
                f"{short(name)} of {info.file_size} bytes",
                "the whole file: it may be cut off",
            )
        return self.data[start : start + info.file_size]


class _Bytes(io.RawIOBase):
    """Mapped bytes as a file, for `zipfile`, which looks at the end of them."""

    def __init__(self, buffer):
        self.buffer, self.at = buffer, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self.at

    def seek(self, offset, whence=0):
        self.at = max(offset + (0, self.at, len(self.buffer))[whence], 0)
        return self.at

    def read(self, size=-1):
        stop = len(self.buffer) if size is None or size < 0 else self.at + size
        part = bytes(self.buffer[self.at : stop])
        self.at += len(part)
        return part


class _Loader:
    """What the names in a checkpoint's pickle stand for."""

    def __init__(self, archive, device, dtype):
        self.archive, self.device, self.dtype = archive, device, dtype
        self.storages, self.tensors, self.repeated = {}, {}, 0
        order = bytes(archive.record("byteorder")) if archive.prefix + "byteorder" in archive.records else b"little"
        if order not in (b"little", b"big"):
            bad(archive.where, "the byte order is little or big", short(order), "a file that torch.save wrote")
        self.swapped = order == b"big"

    def globals(self):
        """The names that are admitted."""
        calls = {
            "torch._utils._rebuild_tensor": self.rebuild_v1,
            "torch._utils._rebuild_tensor_v2": self.rebuild_v2,
            "torch._utils._rebuild_tensor_v3": self.rebuild_v3,
            "torch._utils._rebuild_parameter": self.rebuild_parameter,
            "torch._utils._rebuild_parameter_with_state": self.rebuild_parameter,
            "torch.Size": lambda r, *items: _sizes(r, *items),
            "torch.device": _device,
            "collections.OrderedDict": _ordered,
            "collections.Counter": _counter,
            "_codecs.encode": self.encode,
            **{f"{builtins}.{kind}": make for builtins in ("builtins", "__builtin__") for kind, make in _BUILTINS.items()},
        }
        found = {name: Callable(name, function) for name, function in calls.items()}
        found.update({f"torch.{name}Storage": _StorageType(dtype) for name, dtype in _STORAGES.items()})
        found["torch.storage.UntypedStorage"] = found["torch.UntypedStorage"] = _StorageType(None)
        found.update({f"torch.{name}": DTYPES[dtype] for name, dtype in _DTYPES.items()})
        return found

    def storage(self, r, pid):
        """('storage', type, key, location, number of elements)."""
        if type(pid) is not tuple or len(pid) != 5 or pid[0] != "storage" or not isinstance(pid[1], _StorageType):
            r.refuse("a storage is not described as PyTorch does", short(type(pid).__name__))
        _, kind, key, _, count = pid
        if type(key) is not str or type(count) is not int:
            r.refuse("a storage has a name and a size", short((key, count)))
        known = self.storages.get(key)
        if known is None:
            known = self.storages[key] = self.archive.record(f"data/{key}")
        size = DTYPES[kind.dtype].itemsize if kind.dtype else 1
        if count * size != len(known):
            r.refuse(
                "a storage has another size than its record",
                f"{count} elements of {size} bytes for {len(known)}",
                "a sound file",
            )
        return _Storage(key, known, kind.dtype)

    # ---- tensors

    def rebuild_v1(self, r, storage, offset, size, stride):
        return self.rebuild_v2(r, storage, offset, size, stride, False, None)

    def rebuild_v2(self, r, storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None):
        return self.rebuild(r, storage, offset, size, stride, requires_grad, getattr(storage, "dtype", None))

    def rebuild_v3(self, r, storage, offset, size, stride, requires_grad, hooks, dtype, metadata=None):
        return self.rebuild(r, storage, offset, size, stride, requires_grad, getattr(dtype, "name", None))

    def rebuild(self, r, storage, offset, size, stride, requires_grad, name):
        if not isinstance(storage, _Storage) or name not in DTYPES:
            r.refuse("a tensor is made of a storage of a known dtype", short(type(storage).__name__))
        size, stride = _sizes(r, size), _sizes(r, stride)
        if len(size) != len(stride) or len(size) > _MAX_AXES or not _whole(offset):
            r.refuse(
                "a tensor has an offset, sizes and strides", f"{short(offset)}, {short(size)}, {short(stride)}", "a sound file"
            )
        key = (storage.key, name, offset, size, stride, bool(requires_grad))
        found = self.tensors.get(key)
        if found is None:
            found = self.view(r, storage.data, DTYPES[name], offset, size, stride)
            found = placed(found, self.device, self.dtype)
            if requires_grad and found.dtype.is_floating_point:
                found = found.detach().requires_grad_()
            self.tensors[key] = found
        return found

    def view(self, r, data, dtype, offset, size, stride):
        """The elements at offset + sum of index·stride, in place where they lie together."""
        count = len(data) // dtype.itemsize
        if size_of(_BYTES[dtype.itemsize], size, 1 << 62) is None:
            r.refuse("a tensor has more elements than there are numbers", short(size), "a sound file")
        if 0 in size:
            return tensor_of(data[:0], dtype, size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride))
        if last >= count:
            r.refuse("a tensor reaches past its storage", f"element {last} of {count}", "a sound file")
        # Axes that repeat what is there are made last, without memory.
        kept = [(n, step) if step else (1, 0) for n, step in zip(size, stride)]
        total = 1
        for n, _ in kept:
            total *= n
        if total > count:
            r.refuse(
                "a tensor overlaps itself",
                f"{short(size)} with strides {short(stride)} of {count} elements",
                "tensor.clone() before saving",
            )
        order = sorted(range(len(kept)), key=lambda axis: (-kept[axis][1] if kept[axis][0] > 1 else 0, axis))
        if dtype.is_complex:  # no kernel turns these: they are turned here
            order = list(range(len(kept)))
            if tuple(n for n, _ in kept) != size:
                r.refuse("complex numbers are not repeated without memory", short(size), "tensor.clone() before saving")
        inner, steps = [kept[axis][0] for axis in order], [kept[axis][1] for axis in order]
        if self.swapped and dtype.itemsize > 1:
            unit = dtype.itemsize // (2 if dtype.is_complex else 1)
            data = data[: count * dtype.itemsize].reshape(-1, unit)[:, ::-1].reshape(-1)
        expected, packed = 1, True
        for n, step in zip(reversed(inner), reversed(steps)):
            if n > 1 and step != expected:
                packed = False
            expected *= n
        start = offset * dtype.itemsize
        if packed:
            found = tensor_of(data[start : start + total * dtype.itemsize], dtype, tuple(inner))
        else:
            strides = [step * dtype.itemsize for step in steps]
            bytes_of = np.lib.stride_tricks.as_strided(data[start:], (*inner, dtype.itemsize), (*strides, 1))
            found = tensor_of(np.ascontiguousarray(bytes_of).reshape(-1), dtype, tuple(inner))
        if order != sorted(order):
            found = found.permute(*(order.index(axis) for axis in range(len(order))))
        if tuple(found.shape) == size:
            return found
        self.repeated += dtype.itemsize * math.prod(size)
        if self.repeated > _REPEATED + len(self.archive.data):
            r.refuse(
                "tensors repeat their elements too often", f"{short(size)} of {total} elements", "tensor.clone() before saving"
            )
        return found.expand(size)

    def rebuild_parameter(self, r, data, requires_grad, hooks, state=None):
        from pydiff import Tensor
        from pydiff.nn import Parameter

        if not isinstance(data, Tensor):
            r.refuse("a parameter is made of a tensor", short(type(data).__name__))
        key = ("parameter", id(data), bool(requires_grad))
        found = self.tensors.get(key)
        if found is None:
            found = self.tensors[key] = (data, Parameter(data.detach(), bool(requires_grad)))
        return found[1]

    def encode(self, r, text, encoding="latin1"):
        """How pickles of protocol 2 write bytes."""
        if type(text) is not str or encoding not in ("latin1", "latin-1"):
            r.refuse("bytes are written as latin-1", short(encoding))
        r.spend(len(text))
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            r.refuse("bytes are written as latin-1", short(text))


def _whole(value):
    return type(value) is int and 0 <= value < 1 << 62


def _sizes(r, *items):
    sizes = items[0] if len(items) == 1 and isinstance(items[0], (tuple, list)) else items
    r.spend(len(sizes))
    if not all(map(_whole, sizes)):
        r.refuse("sizes are whole numbers", short(sizes))
    return tuple(sizes)


def _device(r, kind="cpu", index=None):
    if type(kind) is not str or not (index is None or _whole(index)):
        r.refuse("a device has a type and an index", short((kind, index)))
    try:
        return (
            _Device(kind.partition(":")[0], index)
            if kind.partition(":")[0] in ("cpu", "cuda") and ":" not in kind
            else _Device(kind)
        )
    except RuntimeError:
        return _Device("cpu")  # mps, xla and others: where it was is of no use here


def _ordered(r, items=()):
    r.spend(len(items))
    return OrderedDict((r.key(key), value) for key, value in items)


def _counter(r, items=()):
    if not isinstance(items, dict):
        r.refuse("a Counter is made of a dict", short(type(items).__name__))
    r.spend(len(items))
    return Counter(dict(items))


def _set(kind):
    def make(r, items=()):
        r.spend(len(items))
        return kind(r.key(item) for item in items)

    return make


def _complex(r, real, imag):
    if not all(type(part) in (int, float) for part in (real, imag)):
        r.refuse("a complex number has two parts", short((real, imag)))
    return complex(real, imag)


def _bytes(r, *items):
    if items:
        r.refuse("only empty bytes are made by bytes()", short(items))
    return b""


_BUILTINS = {"set": _set(set), "frozenset": _set(frozenset), "complex": _complex, "bytes": _bytes}


def load_torch(data, device, dtype):
    """See `pydiff.io.load_torch`; `data` is what `contents` gives."""
    buffer, where = data
    if is_legacy(buffer):
        bad(
            where,
            "the format of PyTorch before 1.6 is not read",
            "no zip archive",
            "torch.save(torch.load(path), path) in PyTorch",
        )
    if not is_zip(buffer):
        bad(where, "the file is no checkpoint of PyTorch's", short(bytes(buffer[:8])), "pydiff.load, which tells formats apart")
    archive = _Archive(buffer, where)
    loader = _Loader(archive, None if device is None else _Device(device), dtype)
    return Unpickler(archive.record("data.pkl"), loader.globals(), loader.storage, where).load()
