"""Reading safetensors: one file, or the shards of an index, tensor by tensor."""

import functools
import importlib.util
import json
import os
import zlib

import numpy as np

from pydiff import from_numpy
from pydiff import device as _Device

from ._errors import bad, short
from ._files import contents
from ._safetensors import DTYPE_OF, parse_header
from ._tree import decode

__all__ = ["RESERVED", "File", "has_bfloat16", "placed", "tensor_of"]

RESERVED = ("format", "pydiff")  # keys of the metadata; others may tell that names are tied
_MAX_INDEX = 100_000_000


def tensor_of(data, dtype, shape):
    """A tensor of bytes (an array of uint8), in place where they are aligned to its elements."""
    if dtype.name == "bool" and data.size and data.max() > 1:
        data = data.astype(bool)
    if dtype.name == "bfloat16" and not has_bfloat16():
        # NumPy has the type from ml_dtypes. Without it: the upper halves of float32, copied.
        wide = data.view(np.uint16).astype(np.uint32) << 16
        return from_numpy(wide.view(np.float32).reshape(shape)).to(dtype)
    return from_numpy(_array_of(data, dtype, shape))


@functools.cache
def has_bfloat16():
    """Whether NumPy can be given bfloat16."""
    return importlib.util.find_spec("ml_dtypes") is not None


def _array_of(data, dtype, shape):
    array = data.view(dtype.numpy).reshape(shape)
    return array if array.flags.aligned else array.copy()


def placed(tensor, device, dtype):
    """The tensor on the device; in `dtype` where it holds floating-point numbers."""
    if dtype is not None and tensor.dtype.is_floating_point:
        tensor = tensor.to(dtype)
    return tensor if device is None or tensor.device == device else tensor.to(device)


class _Part:
    """One file."""

    def __init__(self, buffer, where):
        self.where = where
        self.entries, self.metadata, _ = parse_header(buffer, self.where)
        self.data = np.frombuffer(buffer, np.uint8)
        self.facts = self._facts()
        self.sums = self.facts.get("crc32", {})
        self.wide = set(self.facts.get("complex128", ()))

    def _facts(self):
        text = self.metadata.get("pydiff")
        if text is None:
            return {}
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError) as error:
            bad(self.where, "the description of the object is not JSON", short(error), "a file written by pydiff.save")
        _check_facts(facts, self.where)
        return facts

    def dtype(self, name):
        dtype = DTYPE_OF.get(self.entries[name][0])
        if dtype is None:
            code = self.entries[name][0]
            bad(self.where, f"the dtype of {short(name)} has no counterpart", code, "a file in float16 or bfloat16")
        if name in self.wide and dtype.name == "float64" and self.entries[name][1][-1:] == (2,):
            from pydiff import complex128

            return complex128
        return dtype

    def shape(self, name):
        shape = self.entries[name][1]
        return shape[:-1] if self.dtype(name).name == "complex128" else shape

    def raw(self, name):
        _, _, start, stop = self.entries[name]
        return self.data[start:stop]

    def verify(self, name):
        expected = self.sums.get(name)
        if expected is not None and f"{zlib.crc32(self.raw(name)):08x}" != expected:
            bad(
                self.where,
                f"the bytes of {short(name)} are not those that were saved",
                f"another checksum than {short(expected)}",
                "another copy of the file",
            )


def _check_facts(facts, where):
    sums, wide = (facts.get("crc32", {}), facts.get("complex128", [])) if isinstance(facts, dict) else (None, None)
    if not isinstance(sums, dict) or not isinstance(wide, list) or not all(isinstance(name, str) for name in wide):
        bad(where, "the description of the object is not sound", short(facts), "a file written by pydiff.save")
    if facts.get("version", 1) != 1:
        bad(where, "the file is of a newer version", short(facts["version"]), "a newer pydiff")


def _shard_names(path):
    """(weight map, metadata) of an index."""
    buffer, where = contents(path)
    if len(buffer) > _MAX_INDEX:
        bad(where, "the index is too long", f"{len(buffer)} bytes", "the index of a model")
    try:
        index = json.loads(str(buffer, "utf-8"))
    except (ValueError, RecursionError) as error:
        bad(where, "the index is not JSON", short(error), "the index of a model")
    names, metadata = (index.get("weight_map"), index.get("metadata", {})) if isinstance(index, dict) else (None, None)
    if not isinstance(names, dict) or not isinstance(metadata, dict):
        bad(where, "the index has no weight_map", short(index), "the index of a model")
    for name in names.values():
        if not isinstance(name, str) or name in ("", ".", "..") or any(c in name for c in "/\\:\0"):
            bad(where, "a shard is a file beside the index", short(name), "an index whose shards lie in its folder")
    return names, metadata


class File:
    """Tensors of a safetensors file or of a folder of shards, read when asked for.

    Made by `pydiff.io.open`. `keys()` are the names, `file[name]` or `tensor(name)` gives one tensor and `slice(name)[…]` a
    part of one. As a context manager it lets go of the files at its end; tensors that were read stay valid.
    """

    def __init__(self, path, mapped=True, device=None, dtype=None, data=None):
        self._device = None if device is None else _Device(device)
        self._dtype = dtype
        self._mapped = mapped
        self._parts = {}
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).endswith(".index.json"):
            path = os.fspath(path)
            self.where, self._folder = path, os.path.dirname(path)
            self._names, self.metadata = _shard_names(path)
            self._facts = self.metadata.get("pydiff", {})
            _check_facts(self._facts, path)
            self._aliases = self.metadata.get("aliases", {})
        else:
            part = _Part(*(contents(path, mapped) if data is None else data))
            self.where = part.where
            self._parts[None] = part
            self._names = dict.fromkeys(part.entries)
            self.metadata, self._facts = part.metadata, part.facts
            self._aliases = {k: v for k, v in part.metadata.items() if k not in RESERVED and v in self._names}
        if not isinstance(self._aliases, dict):
            bad(self.where, "aliases map names to names", short(self._aliases), "a file written by pydiff.save")
        self._aliases = {
            k: v for k, v in self._aliases.items() if k not in self._names and isinstance(v, str) and v in self._names
        }

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Let go of the files; tensors that were read stay valid."""
        self._parts.clear()
        self._names = self._aliases = {}

    def keys(self):
        """The names, those of tied tensors too."""
        return [*self._names, *self._aliases]

    def __iter__(self):
        return iter(self.keys())

    def __len__(self):
        return len(self._names) + len(self._aliases)

    def __contains__(self, name):
        return name in self._names or name in self._aliases

    def _part(self, name):
        """(file, the name in it)."""
        name = self._aliases.get(name, name)
        if name not in self._names:
            near = ", ".join(repr(key) for key in self.keys()[:3])
            raise KeyError(f"[load] there is no tensor of this name; got {short(name)} in {self.where}; try one of {near}")
        shard = self._names[name]
        part = self._parts.get(shard)
        if part is None:
            path = os.path.join(self._folder, shard)
            if not os.path.exists(path):
                raise FileNotFoundError(f"[load] a shard is missing; got {shard}, named by {self.where}; try the whole folder")
            part = self._parts[shard] = _Part(*contents(path, self._mapped))
        if name not in part.entries:
            bad(part.where, "a shard lacks a tensor that the index names", short(name), "the whole checkpoint again")
        return part, name

    def shape(self, name):
        """The shape of a tensor, without reading it."""
        part, name = self._part(name)
        return part.shape(name)

    def dtype(self, name):
        """The dtype of a tensor in the file, without reading it."""
        part, name = self._part(name)
        return part.dtype(name)

    def tensor(self, name):
        """One tensor. On the CPU it shares the memory of the mapped file, so nothing is read until it is used."""
        part, name = self._part(name)
        return placed(tensor_of(part.raw(name), part.dtype(name), part.shape(name)), self._device, self._dtype)

    __getitem__ = tensor

    def array(self, name):
        """One tensor as a NumPy array."""
        part, name = self._part(name)
        array = _array_of(part.raw(name), part.dtype(name), part.shape(name))
        return array if array.flags.writeable else array.copy()

    def slice(self, name):
        """A tensor of which parts are read: `file.slice("weight")[:10]`."""
        part, name = self._part(name)
        array = _array_of(part.raw(name), part.dtype(name), part.shape(name))
        return Slice(array, lambda tensor: placed(tensor, self._device, self._dtype))

    def verify(self, name=None):
        """Compare checksums of one tensor, or of all. Raises ValueError, which names the tensor.

        Files that pydiff did not write have none, and pass.
        """
        for key in self._names if name is None else [name]:
            part, key = self._part(key)
            part.verify(key)

    def object(self):
        """The object that was saved, or a dict of all tensors: names that are tied have the same one."""
        tree, cache = self._facts.get("tree"), {}

        def tied(name):
            name = self._aliases.get(name, name)
            if name not in cache:
                cache[name] = self.tensor(name)
            return cache[name]

        if tree is not None:
            return decode(tree, self._named(tied), self._named(self.array), self.where)
        kind = self._facts.get("keys", "dict")
        names = self.keys()
        if isinstance(kind, dict) and len(kind) == 1:
            ((kind, order),) = kind.items()
            if isinstance(order, list) and len(order) == len(names) and all(isinstance(k, str) and k in self for k in order):
                names = order
        found = {name: tied(name) for name in names}
        if kind == "odict":
            from collections import OrderedDict

            return OrderedDict(found)
        return found

    def _named(self, get):
        def named(name):
            if not isinstance(name, str) or name not in self._names:
                bad(
                    self.where,
                    "the description of the object names a tensor that is not there",
                    short(name),
                    "another copy of the file",
                )
            return get(name)

        return named


class Slice:
    """A tensor in a file, of which parts are read: `slice[rows]`, with integers, slices, arrays as NumPy takes them."""

    def __init__(self, array, finish):
        self._array, self._finish = array, finish

    @property
    def shape(self):
        """The shape of the whole."""
        return self._array.shape

    def __getitem__(self, key):
        part = self._array[key]
        if part.dtype == bool:
            part = part.view(np.uint8) != 0
        part = np.ascontiguousarray(part).reshape(np.shape(part))
        return self._finish(from_numpy(part))
