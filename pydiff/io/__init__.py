"""Checkpoints: nested objects with tensors in them, written to and read from files.

`save` and `load` have one format for everything: safetensors. The file of a `state_dict()` is what any reader of safetensors
expects, with the same names; whatever else is in an object (numbers, text, nesting) stands as JSON in the file's metadata.
`load` also reads files and folders of shards from Hugging Face, and PyTorch's `.pt`, without running what is in them.
"""

import os

from pydiff._public import publish

from ._errors import bad, short
from ._files import contents
from ._reader import File
from ._safetensors import MAX_HEADER
from ._torch import is_legacy, is_zip
from ._torch import load_torch as _load_torch
from ._writer import index_of
from ._writer import save as _save

__all__ = ["File", "load", "load_torch", "open", "save"]

_FILES = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin")


def save(obj, path, *, max_shard_size=None):
    """Write an object to a file, whole or not at all.

    Arguments:
        obj: a tensor, or dicts (of any plain keys), lists, tuples, named tuples, sets, `OrderedDict`s and `Counter`s nested to
            100 levels, of tensors, parameters, NumPy arrays, numbers, text, bytes, None, dtypes and devices. Of modules and
            optimisers their `state_dict()`. One tensor object in two places (tied weights) is written once, and one object when loaded.
        path: a path, or a binary file that can seek.
        max_shard_size: bytes, or a text like "5GB": an object with more goes into `name-00001-of-00003.safetensors` … beside
            `name.safetensors.index.json`, as Hugging Face lays out models.

    The file is in the safetensors format, with names made of the keys that lead to a tensor. It is written under another name,
    brought to the disk and renamed, so a crash or a full disk leaves what was at `path` as it was. CRC-32 sums of all
    tensors are kept in it for `load(verify=True)`. Raises TypeError for an object of another type, with its place; OSError
    where the file cannot be written.

    >>> import os, tempfile
    >>> import pydiff as pd
    >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
    >>> pd.save({"step": 7, "model": pd.nn.Linear(2, 1).state_dict()}, path)
    >>> pd.load(path)["step"], list(pd.load(path)["model"])
    (7, ['weight', 'bias'])
    """
    _save(obj, path, max_shard_size)


def load(path, map_location=None, *, device=None, dtype=None, mmap=True, verify=False, weights_only=True):
    """The object in a file that `save`, a writer of safetensors or `torch.save` wrote.

    Arguments:
        path: a file (safetensors, an index of shards, PyTorch's `.pt`, `.pth`, `.bin`), a folder with one as Hugging Face
            lays models out, or a binary file object.
        map_location, device: where tensors go; by default the CPU. (`map_location` is PyTorch's name: a device here.)
        dtype: what floating-point tensors are converted to.
        mmap: let tensors on the CPU share the memory of the mapped file, which is then read where it is used. Nothing that is
            done to a tensor reaches the file. The file may be replaced or deleted meanwhile, but not be cut short.
        verify: compare the checksums of all tensors, where the file has them.
        weights_only: True; nothing in a file is ever run.

    Raises ValueError, with what is wrong, for a file that is not sound, FileNotFoundError where there is none.

    >>> import os, tempfile
    >>> import pydiff as pd
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> pd.save({"w": pd.ones(2, dtype=pd.float64)}, path)
    >>> pd.load(path, dtype=pd.float32)["w"]
    tensor([1., 1.])
    """
    if not weights_only:
        raise ValueError("[load] pickled objects are not run; got weights_only=False; try weights_only=True")
    device = _place(map_location, device)
    source = path if hasattr(path, "read") else _found(os.fspath(path))
    if isinstance(source, str) and source.endswith(".bin.index.json"):
        return _of_bin_shards(source, device, dtype, mmap)
    data = None
    if not (isinstance(source, str) and source.endswith(".index.json")):
        data = buffer, where = contents(source, mmap)
        if _is_pickled(buffer):
            if is_zip(buffer) or is_legacy(buffer):
                return _load_torch(data, device, dtype)
            bad(
                where,
                "a bare pickle is not read",
                "a pickle that is no zip archive",
                "torch.save(state_dict, path) of PyTorch 1.6 or later",
            )
    with File(source, mmap, device, dtype, data) as file:
        if verify:
            file.verify()
        return file.object()


def _is_pickled(buffer):
    """Whether a file begins as PyTorch's do, and not with the length of a safetensors header."""
    if bytes(buffer[8:9]) == b"{" and int.from_bytes(buffer[:8], "little") <= MAX_HEADER:
        return False
    return is_zip(buffer) or is_legacy(buffer) or bytes(buffer[:1]) == b"\x80"


def _place(map_location, device):
    if map_location is not None and device is not None:
        raise TypeError("[load] map_location and device are one thing; got both; try device=")
    if callable(map_location) or isinstance(map_location, dict):
        raise TypeError(f"[load] map_location is a device; got {type(map_location).__name__}; try 'cpu'")
    return device if map_location is None else map_location


def _found(path):
    """The file that a path means: itself, its shards' index, or the one in a folder."""
    if os.path.isdir(path):
        for name in _FILES:
            if os.path.exists(os.path.join(path, name)):
                return os.path.join(path, name)
        here = sorted(name for name in os.listdir(path) if name.endswith((".safetensors", ".safetensors.index.json")))
        indices = [name for name in here if name.endswith(".index.json")]
        here = indices or here
        if len(here) == 1:
            return os.path.join(path, here[0])
        raise FileNotFoundError(f"[load] the folder has no one checkpoint; got {len(here)} in {path}; try the path of a file")
    if not os.path.exists(path) and os.path.exists(index_of(path)):
        return index_of(path)
    return path


def _of_bin_shards(path, device, dtype, mmap):
    from ._reader import _shard_names

    names, _ = _shard_names(path)
    found = {}
    for shard in dict.fromkeys(names.values()):
        part = load_torch(os.path.join(os.path.dirname(path), shard), device=device, dtype=dtype, mmap=mmap)
        wanted = [name for name, where in names.items() if where == shard]
        missing = [name for name in wanted if not isinstance(part, dict) or name not in part]
        if missing:
            bad(shard, "a shard lacks a tensor that the index names", short(missing[0]), "the whole checkpoint again")
        found.update((name, part[name]) for name in wanted)
    return found


def open(path, *, device=None, dtype=None, mmap=True):
    """A safetensors file, or an index or folder of shards, for reading tensor by tensor.

    Arguments: as of `load`. Returns a `File`: `keys()`, `tensor(name)` or `file[name]`, `slice(name)[rows]`, `shape(name)`,
    `dtype(name)`, `metadata`, `verify()`.

    >>> import os, tempfile
    >>> import pydiff as pd
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> pd.save({"w": pd.arange(6).reshape(3, 2)}, path)
    >>> with pd.io.open(path) as file:
    ...     print(file.keys(), file.shape("w"), file.slice("w")[1:].tolist())
    ['w'] (3, 2) [[2, 3], [4, 5]]
    """
    return File(path if hasattr(path, "read") else _found(os.fspath(path)), mmap, device, dtype)


def load_torch(path, *, device=None, dtype=None, mmap=True):
    """The object in a file that `torch.save` of PyTorch 1.6 or later wrote, read without PyTorch.

    Arguments: as of `load`. The pickle in it is not run: tensors, parameters, numbers, text and plain containers are read
    and any other name in it is an error that tells the name. Views of one storage are tensors of their own here, but
    the same view twice (tied weights) is the same object.

    >>> import os
    >>> import pydiff as pd
    >>> os.path.exists("model.pt") and pd.io.load_torch("model.pt")
    False
    """
    return _load_torch(contents(path, mmap), device, dtype)


publish(globals(), ("load", "load_torch", "open", "save"))
