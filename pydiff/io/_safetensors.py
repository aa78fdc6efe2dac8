"""The safetensors format: 8 bytes of length, a JSON header, the tensors' bytes without holes.

A reader of its own: the package's copies each tensor where it gives NumPy arrays and knows no bfloat16 there; a file of
92 MB took it 128 ms on a busy machine, where mapping took 0.6 ms. What a header may say is checked as its reference implementation
does (https://github.com/huggingface/safetensors, "Format"): sizes, order and overlap are settled before a byte is read.
"""

import json

from pydiff import DTYPES

from ._errors import bad, short

__all__ = ["CODES", "DTYPE_OF", "MAX_HEADER", "encode_header", "parse_header", "size_of"]

MAX_HEADER = 100_000_000  # as in the reference implementation

#: dtype -> its code in the file. complex128 has none: it is stored as pairs of F64.
CODES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "int32": "I32", "uint32": "U32",
    "int64": "I64", "uint64": "U64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
    "complex64": "C64",
}  # fmt: skip
DTYPE_OF = {code: DTYPES[name] for name, code in CODES.items()}
# Types of the format that pydiff has no counterpart of: such a tensor is an error when it is asked for.
_FOREIGN = {"F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
_BITS = {**{code: dtype.itemsize * 8 for code, dtype in DTYPE_OF.items()}, **_FOREIGN}
_MAX_AXES = 64


def size_of(code, shape, limit):
    """Bytes of a tensor, or None where they are more than `limit`, no whole number, or its strides no 64-bit numbers."""
    bits, empty = _BITS[code], 0 in shape
    for size in shape:
        bits *= size or 1
        if bits > (1 << 62 if empty else 8 * limit):
            return None
    return 0 if empty else None if bits % 8 else bits // 8


def _pairs(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _constant(text):
    raise ValueError(f"{text} is no JSON")


def parse_header(buffer, where):
    """(entries, metadata, first byte of the data) of a safetensors file.

    Arguments:
        buffer: a memoryview of the whole file.
        where: the file's name, for errors.

    `entries` maps each name, in the header's order, to (code, shape, start, end), counted from the file's first byte.
    Raises ValueError for anything that is not as the format says.
    """
    total = len(buffer)
    if total < 8:
        bad(where, "the file is too short for a header", f"{total} bytes", "the whole file")
    length = int.from_bytes(buffer[:8], "little")
    if length > MAX_HEADER:
        bad(
            where,
            "the header is longer than the format allows",
            f"{length} bytes",
            "a file that save, torch.save or safetensors wrote",
        )
    if length > total - 8:
        bad(
            where,
            "the header is longer than the file",
            f"{length} bytes in a file of {total}",
            "the whole file: it may be cut off",
        )
    try:
        header = json.loads(str(buffer[8 : 8 + length], "utf-8"), object_pairs_hook=_pairs, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        bad(where, "the header is not JSON", short(error), "a file of the safetensors format")
    if not isinstance(header, dict):
        bad(where, "the header is no JSON object", type(header).__name__, "a file of the safetensors format")
    metadata = header.pop("__metadata__", None)
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        bad(where, "__metadata__ maps strings to strings", short(metadata), "a file of the safetensors format")
    begin = 8 + length
    entries = {name: _entry(name, facts, begin, total - begin, where) for name, facts in header.items()}
    end = begin
    for name, (_, _, start, stop) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if start != end:
            how = "overlap" if start < end else "leave a hole"
            bad(
                where,
                f"the tensors' bytes {how}",
                f"{short(name)} at byte {start - begin}, where {end - begin} comes next",
                "a sound file",
            )
        end = stop
    if end != total:
        bad(where, "the tensors do not fill the file", f"{end - begin} of {total - begin} bytes", "a sound file")
    return entries, metadata, begin


def _whole(value):
    return type(value) is int and 0 <= value < 1 << 63


def _entry(name, facts, begin, room, where):
    if not isinstance(facts, dict) or facts.keys() != {"dtype", "shape", "data_offsets"}:
        bad(where, f"{short(name)} has no dtype, shape and data_offsets", short(facts), "a file of the safetensors format")
    code, shape, offsets = facts["dtype"], facts["shape"], facts["data_offsets"]
    if not isinstance(code, str) or code not in _BITS:
        bad(where, f"the dtype of {short(name)} is unknown", short(code), "one of " + ", ".join(CODES.values()))
    if not isinstance(shape, list) or len(shape) > _MAX_AXES or not all(map(_whole, shape)):
        bad(where, f"the shape of {short(name)} is no list of at most {_MAX_AXES} sizes", short(shape), "a sound file")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_whole, offsets)):
        bad(where, f"data_offsets of {short(name)} are no two numbers", short(offsets), "a sound file")
    start, stop = offsets
    if not start <= stop <= room:
        bad(
            where,
            f"data_offsets of {short(name)} lie outside the file",
            f"{start} to {stop} of {room} bytes",
            "the whole file: it may be cut off",
        )
    if size_of(code, shape, room) != stop - start:
        bad(
            where,
            f"{short(name)} has another size than its shape",
            f"{stop - start} bytes for {code} of {short(shape)}",
            "a sound file",
        )
    return code, tuple(shape), begin + start, begin + stop


def encode_header(entries, metadata):
    """The first bytes of a file, up to the data: `entries` maps names to (code, shape, start, end) from the data's first byte."""
    header = {"__metadata__": metadata} if metadata else {}
    for name, (code, shape, start, stop) in entries.items():
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [start, stop]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-(len(text) + 8) % 64)  # every tensor lies at a multiple of its element
    return len(text).to_bytes(8, "little") + text
