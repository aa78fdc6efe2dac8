"""TensorBoard's event files, written by hand.

A file is a row of records: length (8 bytes), its masked CRC-32C, the bytes, their masked CRC-32C (TFRecord,
https://www.tensorflow.org/tutorials/load_data/tfrecord). The bytes are an `Event` message in protobuf's wire format
(https://protobuf.dev/programming-guides/encoding/); field numbers are those of tensorboard/compat/proto/*.proto.
"""

import struct
import zlib

import numpy as np

__all__ = ["crc32c", "event", "histogram", "image", "masked", "parse", "png", "record", "records", "scalar", "text"]

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reversed


def _table():
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (_POLYNOMIAL if n & 1 else 0)
        yield n


_TABLE = tuple(_table())


def crc32c(data):
    """The CRC-32C of bytes.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc, table = 0xFFFFFFFF, _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked(data):
    """The CRC-32C as records store it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(data):
    """One record."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data))


def records(data):
    """The contents of the records of a file; a last one that is cut off is left out. Raises ValueError for a wrong checksum."""
    at = 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        end = at + 12 + length
        if end + 4 > len(data):
            return
        content = data[at + 12 : end]
        if struct.unpack_from("<I", data, at + 8)[0] != masked(data[at : at + 8]) or struct.unpack_from("<I", data, end)[
            0
        ] != masked(content):
            raise ValueError(f"[read_log] a record is damaged; got another checksum at byte {at}; try another copy of the file")
        yield content
        at = end + 4


# ---- protobuf


def _varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def _int(field, n):
    return _varint(field << 3) + _varint(n)


def _double(field, x):
    return _varint(field << 3 | 1) + struct.pack("<d", x)


def _float(field, x):
    return _varint(field << 3 | 5) + struct.pack("<f", x)


def _bytes(field, data):
    data = data.encode("utf-8") if isinstance(data, str) else data
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _doubles(field, values):
    return _bytes(field, np.asarray(values, "<f8").tobytes())


def parse(data):
    """Fields of a message: number -> list of ints, bytes or (for fixed ones) bytes."""
    found, at = {}, 0

    def varint():
        nonlocal at
        n = shift = 0
        while True:
            byte = data[at]
            at += 1
            n |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return n

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(kind) if kind != 2 else varint()
            if size is None:
                raise ValueError(f"[read_log] a message is damaged; got wire type {kind}; try another copy of the file")
            value = data[at : at + size]
            at += size
        found.setdefault(key >> 3, []).append(value)
    return found


# ---- messages


def event(wall_time, step=None, value=None, version=None):
    """An Event: the file's version, or one value of a summary."""
    out = _double(1, wall_time)
    if step is not None:
        out += _int(2, step)
    if version is not None:
        out += _bytes(3, version)
    if value is not None:
        out += _bytes(5, _bytes(1, value))
    return out


def scalar(tag, value):
    """A number."""
    with np.errstate(over="ignore"):
        return _bytes(1, tag) + _float(2, float(np.float32(value)))


def text(tag, value):
    """A text, which TensorBoard shows as Markdown."""
    metadata = _bytes(1, _bytes(1, "text"))
    tensor = _int(1, 7) + _bytes(2, _bytes(2, _int(1, 1))) + _bytes(8, value)  # a DT_STRING of shape (1,)
    return _bytes(1, tag) + _bytes(9, metadata) + _bytes(8, tensor)


def histogram(tag, values, bins):
    """How many values lie between the edges `bins`."""
    counts, edges = np.histogram(values, bins=bins)
    filled = np.flatnonzero(counts)
    # One empty bucket on the left, as TensorBoard reads the first limit as a left edge.
    first, last = (max(filled[0] - 1, 0), filled[-1] + 1) if len(filled) else (0, len(counts))
    counts, limits = counts[first:last], edges[first + 1 : last + 1]
    if len(filled) and filled[0] == 0:
        counts, limits = np.concatenate([[0], counts]), np.concatenate([edges[:1], limits])
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    proto = _double(1, low) + _double(2, high) + _double(3, values.size) + _double(4, values.sum())
    proto += _double(5, np.square(values).sum()) + _doubles(6, limits) + _doubles(7, counts)
    return _bytes(1, tag) + _bytes(5, proto)


def image(tag, pixels):
    """An image: uint8 of shape (height, width, channels) with 1, 3 or 4 channels."""
    height, width, channels = pixels.shape
    proto = _int(1, height) + _int(2, width) + _int(3, channels) + _bytes(4, png(pixels))
    return _bytes(1, tag) + _bytes(4, proto)


def png(pixels):
    """A PNG file (ISO/IEC 15948) of uint8 (height, width, channels), with 1 (grey), 2, 3 (RGB) or 4 channels."""
    height, width, channels = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, -1)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)) + chunk(b"IEND", b"")
