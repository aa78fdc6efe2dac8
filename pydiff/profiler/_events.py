"""What the core recorded, as objects: spans of time with the user's lines, and memory by who made it."""

import contextlib
import gc
import itertools
import os
from dataclasses import dataclass, field
from typing import NamedTuple

#: Kinds of span in which a device, or NumPy, computes.
KERNELS = ("kernel", "product", "native", "custom", "graph", "fallback")


class Line(NamedTuple):
    """A line of the user's: `file`, `line`, the `function` that it is in, and the composed function `called` there, or ''."""

    file: str
    line: int
    function: str
    called: str

    def __str__(self):
        here = os.path.relpath(self.file) if os.path.isabs(self.file) else self.file
        return f"{os.path.join(*self.file.split(os.sep)[-2:]) if here.startswith('..') else here}:{self.line}"


class Held(NamedTuple):
    """`bytes` of a device's memory that one `owner` holds: an operation, at the `line` that recorded it or None."""

    owner: str
    line: Line | None
    bytes: int


@dataclass(slots=True, eq=False)
class Event:
    """One span of time. Times are seconds since the profile began.

    Attributes:
        kind: "kernel" (fused), "product" (of matrices), "native" (a kernel of its own), "custom" (of the user's), "graph" (a
            CUDA graph), "fallback" (NumPy or CuPy), "copy" (between host and device), "plan", "evaluate", "compile" or "range".
        name: the operations in it joined by `*`, or what the kind says.
        ops: the operations in it, in the order of computing.
        lines: for each of `ops` the `Line` that recorded it, or None; of other kinds one entry, or none.
        device: its name.
        on_device: whether the times are the device's own; `given` is then when the host gave it the work.
        thread: number of the thread that did it, or gave it to the device.
        begin, end: when.
        shape, dtype: of the domain that a kernel goes through, and of what it writes. A product's is (batch,) rows, columns,
            depth.
        bytes_read, bytes_written: in memory, each element of each operand once; of copies and fallbacks all is written.
        flops: of a product.
        compiled: False where a kernel was interpreted.
        threads: that shared the work, on the CPU.
        kernel: the name of the compiled kernel, where there is one.
        count: of a plan its steps, of an evaluation its values.
    """

    kind: str
    name: str
    ops: tuple
    lines: tuple
    device: str
    on_device: bool
    thread: int
    begin: float
    end: float
    given: float
    shape: tuple | None
    dtype: object
    bytes_read: int
    bytes_written: int
    flops: int
    compiled: bool
    threads: int
    kernel: str
    count: int
    weights: tuple = field(repr=False)

    @property
    def seconds(self):
        """How long it took."""
        return self.end - self.begin

    @property
    def bytes(self):
        """Read and written."""
        return self.bytes_read + self.bytes_written


@contextlib.contextmanager
def many_objects():
    """While so many are made that looking for garbage among them would take longer than making them."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def short_name(ops, most=8):
    """The operations joined by `*`: a run of one as `add·3`, the middle of a long list left out."""
    runs = [(op, sum(1 for _ in same)) for op, same in itertools.groupby(ops)]
    words = [op if n == 1 else f"{op}·{n}" for op, n in runs]
    if len(words) > most:
        left = len(ops) - sum(n for _, n in runs[: most - 2]) - runs[-1][1]
        words = [*words[: most - 2], f"…{left} more", words[-1]]
    return "*".join(words)


def events_of(record):
    """(events in the order of their beginning, lines)."""
    zero = record["begin"]
    lines = [Line(*place) for place in record["lines"]]
    out = []
    for span in record["spans"]:
        ops = tuple(op for op, _ in span["members"])
        computes = bool(ops)
        out.append(
            Event(
                kind=span["kind"],
                name=short_name(ops) if computes else span["name"],
                ops=ops if computes else (span["name"],) if span["kind"] in ("copy", "fallback") else (),
                lines=tuple(lines[k] if k >= 0 else None for k in span["lines"]),
                device=str(span["device"]),
                on_device=span["on_device"],
                thread=span["thread"],
                begin=(span["begin"] - zero) / 1e9,
                end=(span["end"] - zero) / 1e9,
                given=((span["given"] if span["on_device"] else span["begin"]) - zero) / 1e9,
                shape=span["shape"],
                dtype=span["dtype"],
                bytes_read=span["read"],
                bytes_written=span["written"],
                flops=span["flops"],
                compiled=span["compiled"],
                threads=span["threads"],
                kernel=span["name"] if computes else "",
                count=span["count"],
                weights=tuple(w for _, w in span["members"]) if computes else (1.0,),
            )
        )
    out.sort(key=lambda e: (e.begin, -e.end))
    return out, lines


class Memory:
    """What was taken and given back of one device's memory, in the order in which it was."""

    def __init__(self, device):
        self.device = device
        self.blocks = []  # (seconds, bytes, owner)
        self._peak = None

    def peak(self):
        """(bytes at the highest moment, how many entries of `blocks` led there)."""
        if self._peak is None:
            live = highest = at = 0
            for k, (_, size, _) in enumerate(self.blocks):
                live += size
                if live > highest:
                    highest, at = live, k + 1
            self._peak = highest, at
        return self._peak

    def held_at_peak(self):
        """Bytes by owner at that moment."""
        held = {}
        for _, size, owner in self.blocks[: self.peak()[1]]:
            held[owner] = held.get(owner, 0) + size
        return {owner: size for owner, size in held.items() if size > 0}


def memory_of(record, lines):
    """`Memory` by device, and for each number of an owner (what, line)."""
    devices = {}
    for at, size, owner, device in sorted(record["blocks"], key=lambda b: b[0]):
        memory = devices.setdefault(str(device), Memory(str(device)))
        memory.blocks.append(((at - record["begin"]) / 1e9, size, owner))
    return devices, [(what, lines[line] if line >= 0 else None) for what, line in record["owners"]]
