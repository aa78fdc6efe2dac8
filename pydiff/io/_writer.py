"""Writing: one safetensors file, or several and an index."""

import contextlib
import json
import os
import re
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pydiff import Tensor, _core

from ._files import replaced, sync_folder
from ._reader import RESERVED, has_bfloat16
from ._safetensors import CODES, MAX_HEADER, encode_header
from ._tree import encode

__all__ = ["index_of", "remove", "save"]

VERSION = 1
_LARGE = 1 << 20  # bytes from which a checksum is worth a thread
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


class _Item:
    """A tensor on its way into a file."""

    __slots__ = ("name", "value", "code", "shape", "nbytes", "crc", "itemsize")

    def __init__(self, name, value):
        self.name, self.value = name, value
        dtype = value.dtype.name
        self.shape = tuple(value.shape)
        if dtype == "complex128":
            self.code, self.shape = "F64", (*self.shape, 2)
        else:
            self.code = CODES[dtype]
        self.nbytes, self.itemsize, self.crc = value.nbytes, value.dtype.itemsize, 0

    def bytes(self):
        """The elements in order, little endian, as an array of bytes."""
        array = self.value
        if isinstance(array, Tensor):
            array = array.detach()
            if array.dtype.name == "bfloat16" and not has_bfloat16():
                return (array.float().numpy().view(np.uint32) >> 16).astype(np.uint16).reshape(-1).view(np.uint8)
            array = array.numpy()
        array = np.ascontiguousarray(array)
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        return array.reshape(-1).view(np.uint8)


def save(obj, path, max_shard_size=None):
    """See `pydiff.save`."""
    limit = None if max_shard_size is None else _bytes_of(max_shard_size)
    tree, tensors = encode(obj)
    items = [_Item(name, value) for name, value in tensors.items()]
    _core.evaluate([item.value for item in items if isinstance(item.value, Tensor)])
    described = _described(obj, tree, items)
    if hasattr(path, "write"):
        if limit is not None:
            raise ValueError("[save] shards are files; got max_shard_size and an open file; try a path")
        _write(path, items, described)
        return
    path = os.fspath(path)
    if limit is not None and sum(item.nbytes for item in items) > limit:
        _save_shards(path, items, described, limit)
        return
    old = _old_shards(path)
    with replaced(path) as sink:
        _write(sink, items, described)
    _remove(old)


def _described(obj, tree, items):
    """What the metadata says of the object: nothing but the kind where it is a plain dict of tensors."""
    facts = {"version": VERSION}
    wide = [item.name for item in items if item.value.dtype.name == "complex128"]
    if wide:
        facts["complex128"] = wide
    aliases = {}
    if isinstance(tree, dict) and tree.keys() & {"dict", "odict"}:
        ((word, value),) = tree.items()
        if isinstance(value, dict) and all(isinstance(v, dict) and v.keys() == {"tensor"} for v in value.values()):
            aliases = {key: v["tensor"] for key, v in value.items() if v["tensor"] != key}
            if not aliases.keys() & set(RESERVED) and set(aliases.values()) <= value.keys():
                facts["keys"] = word if not aliases else {word: list(value)}
                return facts, aliases
            aliases = {}
    facts["tree"] = tree
    return facts, aliases


def _write(sink, items, described):
    facts, aliases = described
    entries, place = {}, 0
    # Large elements first, as the format's other writers do: then every tensor is aligned, without holes.
    for item in sorted(items, key=lambda item: -item.itemsize):
        entries[item.name] = (item.code, item.shape, place, place + item.nbytes)
        place += item.nbytes
    by_name = {item.name: item for item in items}
    order = [by_name[name] for name in entries]
    entries = {item.name: entries[item.name] for item in items}

    def header():
        sums = {item.name: f"{item.crc:08x}" for item in items}
        said = json.dumps({**facts, "crc32": sums}, separators=(",", ":"), ensure_ascii=False)
        return encode_header(entries, {"format": "pt", **aliases, "pydiff": said})

    draft = header()
    if len(draft) - 8 > MAX_HEADER:
        raise ValueError(
            f"[save] names, numbers and text do not fit the header; got {len(draft)} bytes of at most {MAX_HEADER}; "
            "try arrays in place of long lists"
        )
    start = sink.tell()
    sink.write(draft)
    with ThreadPoolExecutor(1) as pool:  # checksums beside the writing: both leave Python's lock
        last = None
        for item in order:
            data = item.bytes()
            if item.nbytes < _LARGE:
                item.crc = zlib.crc32(data)
                sink.write(data)
                continue
            if last is not None:
                last[0].crc = last[1].result()
            last = item, pool.submit(zlib.crc32, data)
            sink.write(data)
        if last is not None:
            last[0].crc = last[1].result()
    sink.seek(start)
    sink.write(header())
    sink.seek(0, 2)


# ---- shards


def _bytes_of(size):
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?B)\s*", size, re.I) if isinstance(size, str) else None
    if not found or found[2].upper() not in _UNITS or not float(found[1]):
        raise ValueError(f"[save] max_shard_size is a number of bytes or a text like '5GB'; got {size!r}; try '5GB'")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def _stem(path):
    return path.removesuffix(".safetensors")


def index_of(path):
    """Where the index of a file's shards lies, as Hugging Face has it: model.safetensors.index.json."""
    return f"{_stem(path)}.safetensors.index.json"


def _save_shards(path, items, described, limit):
    groups, room = [], 0
    for item in items:
        if not groups or item.nbytes > room:
            groups.append([])
            room = limit
        groups[-1].append(item)
        room -= item.nbytes
    index, old = index_of(path), _old_shards(path)
    folder = os.path.dirname(path)
    names = _free_names(path, len(groups))
    facts, aliases = described
    written = []
    try:
        for name, group in zip(names, groups):
            with replaced(os.path.join(folder, name)) as sink:
                wide = [n for n in facts.get("complex128", ()) if any(item.name == n for item in group)]
                _write(sink, group, ({"version": VERSION, "keys": "dict", **({"complex128": wide} if wide else {})}, {}))
            written.append(os.path.join(folder, name))
        said = {
            "metadata": {
                "total_size": sum(item.nbytes for item in items),
                **({"aliases": aliases} if aliases else {}),
                "pydiff": facts,
            }
        }
        said["weight_map"] = {item.name: name for name, group in zip(names, groups) for item in group}
        with replaced(index) as sink:
            sink.write(json.dumps(said, indent=2, ensure_ascii=False).encode("utf-8"))
    except BaseException:
        _remove(written)
        raise
    _remove([*old[1:], *([path] if os.path.isfile(path) else [])])


def _free_names(path, count):
    """Names of shards that no file has, so that an older checkpoint stays whole until the index is replaced."""
    folder, stem = os.path.split(_stem(path))
    tag, turn = "", 1
    while True:
        names = [f"{stem}{tag}-{k:05d}-of-{count:05d}.safetensors" for k in range(1, count + 1)]
        if not any(os.path.exists(os.path.join(folder, name)) for name in names):
            return names
        turn += 1
        tag = f"-v{turn}"


def _old_shards(path):
    """The index beside `path` and the shards that it names, which a new checkpoint makes useless."""
    index = index_of(path)
    folder, stem = os.path.split(_stem(path))
    try:
        with open(index, "rb") as file:
            names = set(json.load(file)["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    pattern = re.compile(re.escape(stem) + r"(-v\d+)?-\d{5}-of-\d{5}\.safetensors")
    return [index, *(os.path.join(folder, name) for name in names if isinstance(name, str) and pattern.fullmatch(name))]


def remove(path):
    """Remove what `save` wrote at `path`, shards and all."""
    _remove([path, *_old_shards(path)])


def _remove(paths):
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)
    if paths:
        with contextlib.suppress(OSError):
            sync_folder(os.path.dirname(paths[0]))
