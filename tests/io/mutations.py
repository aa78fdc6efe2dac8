"""Good files, and what makes bad ones of them: changes of bytes, and changes that keep the outer form whole."""

import io
import json
import pickle
import pickletools
import random
import struct
import zipfile
from collections import OrderedDict

import numpy as np

import pydiff as pd

NUMBERS = [
    0,
    1,
    -1,
    2,
    7,
    8,
    63,
    64,
    255,
    2**15,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    10**30,
]
TEXTS = ["", "a", "F32", "F64", "BOOL", "F8_E4M3", "F4", "I64", "__metadata__", "../../etc/passwd", "/etc/passwd", "\0", "é" * 40, "dict", "tensor",
         "namedtuple", "bytes", "cuda:9", "nan", "__class__"]  # fmt: skip


# ---- good files


class _Fake:
    """Stands in a pickle for a global with arguments, without importing it."""

    def __init__(self, path, *args):
        self.path, self.args = path, args


class _Pickler(pickle._Pickler):
    """Python's own pickler in Python, taught to write any global by name."""

    def persistent_id(self, value):
        return value.args if isinstance(value, _Fake) and value.path == "persistent" else None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, _Fake) and value.path != "persistent":
            module, _, name = value.path.rpartition(".")
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
            if value.args != (None,):
                self.save(tuple(value.args))
                self.write(pickle.REDUCE)
            return
        super().save(value, save_persistent_id)


def pickled(value, protocol=2):
    """A pickle; `call(path, *args)` in it are calls of globals."""
    out = io.BytesIO()
    _Pickler(out, protocol).dump(value)
    return out.getvalue()


def call(path, *args):
    """A call of a global by name."""
    return _Fake(path, *args)


def name(path):
    """A global by name."""
    return _Fake(path, None)


def torch_file(data, records, prefix="archive", compress=False, order="little"):
    """A zip archive as torch.save lays it out."""
    out = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", kind) as archive:
        archive.writestr(f"{prefix}/data.pkl", data)
        archive.writestr(f"{prefix}/byteorder", order)
        for key, content in records.items():
            archive.writestr(f"{prefix}/data/{key}", content)
        archive.writestr(f"{prefix}/version", "3\n")
    return out.getvalue()


def tensor(key, dtype, count, offset=0, size=None, stride=None, storage=None):
    """A tensor in a pickle."""
    kind = name(storage or f"torch.{dtype}Storage")
    size = (count,) if size is None else size
    stride = (1,) if stride is None else stride
    pid = _Fake("persistent", "storage", kind, key, "cpu", count)
    return call("torch._utils._rebuild_tensor_v2", pid, offset, size, stride, False, call("collections.OrderedDict"))


def good_files():
    """name -> bytes of a sound file."""
    found = {}
    buffer = io.BytesIO()
    pd.save({"a": pd.arange(6.0).reshape(2, 3), "b.c": pd.arange(4), "d": pd.tensor([True, False])}, buffer)
    found["state"] = buffer.getvalue()
    x = pd.ones(3)
    nest = {
        "n": [1, -2.5, None, "text", (True, float("nan"))], 3: {"x": x, "y": [x, pd.zeros(2, dtype=pd.bfloat16)]}, "b": b"bytes",
        "o": OrderedDict(z=np.arange(3), c=np.ones(2) * 1j), "p": pd.nn.Parameter(pd.ones(2)), "t": pd.float16, "s": {1, 2},
    }  # fmt: skip
    buffer = io.BytesIO()
    pd.save(nest, buffer)
    found["object"] = buffer.getvalue()
    records = {"0": np.arange(24, dtype="f4").tobytes(), "1": np.arange(6).tobytes(), "2": bytes([0, 1, 1])}
    value = {
        "weights": call("collections.OrderedDict", [["w", tensor("0", "Float", 24, 0, (4, 6), (6, 1))], ["t", tensor("0", "Float", 24, 2, (3, 2), (1, 6))]]),
        "step": [1, 2.5, "text", None, True, (1, 2, 3), 2**70], "i": tensor("1", "Long", 6), "b": tensor("2", "Bool", 3),
        "p": call("torch._utils._rebuild_parameter", tensor("1", "Long", 6, 1, (5,)), False, call("collections.OrderedDict")),
        "e": tensor("0", "Float", 24, 0, (5, 24), (0, 1)), "d": call("torch.device", "cpu"), "s": call("torch.Size", (1, 2)), "k": name("torch.float16"),
    }  # fmt: skip
    for protocol in (2, 4):
        found[f"torch {protocol}"] = torch_file(pickled(value, protocol), records)
    return found


# ---- bad ones


def _bytes(r, data):
    data = bytearray(data)
    for _ in range(r.choice([1, 1, 1, 2, 8])):
        at, n = r.randrange(len(data) + 1), r.choice([1, 1, 2, 4, 8, 64])
        kind = r.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << r.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = r.randrange(256)
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + n]
        elif kind == 4:
            data[at:at] = r.randbytes(n)
        elif kind == 5:
            data[at:at] = data[at : at + n]
        else:
            size = r.choice([1, 2, 4, 8])
            data[at : at + size] = (r.choice(NUMBERS) & (1 << 8 * size) - 1).to_bytes(size, "little")
        if not data:
            break
    return bytes(data)


def _value(r, old):
    kind = r.randrange(8)
    if kind == 0:
        return r.choice(NUMBERS)
    if kind == 1:
        return r.choice(TEXTS)
    if kind == 2:
        return r.choice(
            [None, True, 1.5, -0.5, 1e308, [], {}, [0] * 70, [[1]], {"tensor": "a"}, {"namedtuple": ["A", ["x"], [1]]}]
        )
    if kind == 3 and isinstance(old, int):
        return old + r.choice([-8, -4, -1, 1, 4, 8])
    if kind == 4 and isinstance(old, (list, tuple)):
        return [*old, r.choice(NUMBERS)]
    if kind == 5 and isinstance(old, (list, tuple)):
        return list(old[:-1])
    if kind == 6 and isinstance(old, (list, tuple)):
        return list(old)[::-1]
    return [old] if kind == 7 else r.choice(NUMBERS)


def _json(r, node):
    """The value with one thing in it changed."""
    if isinstance(node, dict) and node and r.random() < 0.9:
        key = r.choice(list(node))
        kind = r.randrange(12)
        if kind == 0:
            return {k: v for k, v in node.items() if k != key}
        if kind == 1:
            return {(r.choice(TEXTS) if k == key else k): v for k, v in node.items()}
        if kind == 2:
            return {**node, r.choice(TEXTS): node[key]}
        return {k: (_json(r, v) if k == key else v) for k, v in node.items()}
    if isinstance(node, list) and node and r.random() < 0.7:
        at = r.randrange(len(node))
        return [_json(r, v) if k == at else v for k, v in enumerate(node)]
    return _value(r, node)


def _safetensors(r, data):
    length = int.from_bytes(data[:8], "little")
    header, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    if r.random() < 0.5 and "pydiff" in header.get("__metadata__", {}):
        header["__metadata__"]["pydiff"] = json.dumps(_json(r, json.loads(header["__metadata__"]["pydiff"])))
    else:
        header = _json(r, header)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    if r.random() < 0.05:
        text = text.replace(b'"b.c"', b'"a"')
    claimed = len(text) if r.random() < 0.9 else r.choice(NUMBERS) & (1 << 64) - 1
    return claimed.to_bytes(8, "little") + text + (rest if r.random() < 0.9 else rest[: r.randrange(len(rest) + 1)])


OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes]


def _pickle(r, data):
    """One opcode dropped, doubled, moved or replaced, or its argument changed."""
    places = [at for _, _, at in pickletools.genops(data)] + [len(data)]
    k = r.randrange(len(places) - 1)
    start, end = places[k], places[k + 1]
    piece = data[start:end]
    kind = r.randrange(7)
    if kind == 0:
        piece = b""
    elif kind == 1:
        piece += piece
    elif kind == 2:
        piece = r.choice(OPCODES) + piece[1:]
    elif kind == 3:
        piece = r.choice(OPCODES) + r.randbytes(r.randrange(9)) + piece
    elif kind == 4:
        piece = b"\x8a\x09" + (r.choice(NUMBERS) % 2**71).to_bytes(9, "little")
    elif kind == 5 and len(piece) > 1:
        at = r.randrange(1, len(piece))
        piece = piece[:at] + r.randbytes(1) + piece[at + 1 :]
    else:
        j = r.randrange(len(places) - 1)
        piece = data[places[j] : places[j + 1]]
    return data[:start] + piece + data[end:]


def _torch(r, data):
    source = zipfile.ZipFile(io.BytesIO(data))
    records = {name: source.read(name) for name in source.namelist()}
    kind = r.randrange(10)
    key = r.choice(list(records))
    if kind == 0:
        del records[key]
    elif kind == 1:
        records[key] = records[key][: r.randrange(len(records[key]) + 1)]
    elif kind == 2:
        records[r.choice(["../x", "/x", "archive/data/9", "b/data.pkl", "archive/constants.pkl", "archive/byteorder"])] = b"big"
    else:
        records["archive/data.pkl"] = _pickle(r, records["archive/data.pkl"])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if r.random() < 0.03 else zipfile.ZIP_STORED) as archive:
        for name_, content in records.items():
            archive.writestr(name_, content)
    if r.random() < 0.05:  # sizes and places in the archive's own tables
        data = bytearray(out.getvalue())
        at = data.rindex(b"PK\x01\x02") + r.choice([10, 20, 24, 28, 42])
        struct.pack_into("<I", data, at, r.choice(NUMBERS) & 0xFFFFFFFF)
        return bytes(data)
    return out.getvalue()


def mutants(count, seed):
    """`count` pairs (what it was made of, bytes)."""
    files = good_files()
    names = list(files)
    r = random.Random(seed)
    for k in range(count):
        which = names[k % len(names)]
        inner = _torch if which.startswith("torch") else _safetensors
        yield which, (inner if r.random() < 0.6 else _bytes)(r, files[which])
