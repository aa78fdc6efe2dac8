"""Rows of a profile, and their table."""

from dataclasses import dataclass

from ._events import KERNELS

KEYS = ("kernel", "op", "line", "range")


@dataclass(slots=True)
class Row:
    """One row of a table: what was done under one `name`, all calls together.

    Attributes:
        name: of the operations, the line or the range.
        device: where.
        note: of a kernel its shape and dtype, of a line the function that it is in.
        calls: how many. Of operations and lines: kernels that they had a part in.
        seconds: their time; of operations and lines their part of it.
        share: of the time of all rows; of a range, of the profile's.
        bytes: read and written.
        bandwidth: bytes a second.
        of_copy: that, as a part of what a copy in the device's memory reaches.
        flops: operations a second of products, 0 for others.
        interpreted: calls that were not compiled.
    """

    name: str
    device: str
    note: str
    calls: int = 0
    seconds: float = 0.0
    share: float = 0.0
    bytes: float = 0.0
    bandwidth: float = 0.0
    of_copy: float = 0.0
    flops: float = 0.0
    interpreted: int = 0


def rows_of(events, by, wall, copy_bandwidth):
    """Rows in the order of their time. `copy_bandwidth(device)` is asked where there are bytes."""
    found = {}
    add = {"kernel": _by_kernel, "op": _by_op, "line": _by_line, "range": _by_range}[by]
    worked = add(events, found)
    rows = sorted(found.values(), key=lambda r: -r.seconds)
    total = wall if by == "range" else sum(r.seconds for r in rows)
    for row in rows:
        row.share = row.seconds / total if total else 0.0
        time = worked.get(id(row), row.seconds)
        row.bandwidth = row.bytes / time if time else 0.0
        row.flops = row.flops / time if time else 0.0
        row.of_copy = row.bandwidth / copy_bandwidth(row.device) if row.bytes else 0.0
    return rows


def _row(found, key, name, device, note=""):
    if key not in found:
        found[key] = Row(name, device, note)
    return found[key]


def _count(row, e, part=1.0):
    row.calls += 1
    row.seconds += e.seconds * part
    row.bytes += e.bytes * part
    row.flops += e.flops * part
    row.interpreted += not e.compiled and e.kind == "kernel"


def _note(e):
    if e.shape is None:
        return ""
    return f"{e.dtype.name} {' x '.join(map(str, e.shape)) or '1'}"


def _by_kernel(events, found):
    for e in events:
        if e.kind in (*KERNELS, "copy"):
            _count(_row(found, (e.device, e.kind, e.ops, e.shape, e.dtype), e.name, e.device, _note(e)), e)
    return {}


def _shared(events, found, keys):
    """Each kernel's time among its operations, by their part of its work."""
    for e in events:
        if e.kind not in KERNELS:
            continue
        total = sum(e.weights) or 1.0
        parts = {}
        for key, weight in zip(keys(e), e.weights):
            parts[key] = parts.get(key, 0.0) + weight / total
        for key, part in parts.items():
            name, note = (key, "") if isinstance(key, str) else _line_text(key)
            _count(_row(found, (e.device, key), name, e.device, note), e, part)
    return {}


def _line_text(line):
    if line is None:
        return "(not known)", ""
    return str(line), line.function + (f", {line.called}" if line.called else "")


def _by_op(events, found):
    return _shared(events, found, lambda e: e.ops)


def _by_line(events, found):
    return _shared(events, found, lambda e: e.lines or [None] * len(e.ops))


def _by_range(events, found):
    """A range's time is that on its thread; bytes are those of kernels that it computed, or gave a device."""
    worked = {}
    kernels = [e for e in events if e.kind in KERNELS]
    for r in events:
        if r.kind != "range":
            continue
        row = _row(found, r.name, r.name, "")
        row.calls += 1
        row.seconds += r.seconds
        for e in kernels:
            if e.thread == r.thread and r.begin <= e.given <= r.end:
                row.device = e.device
                row.bytes += e.bytes
                row.flops += e.flops
                row.interpreted += not e.compiled and e.kind == "kernel"
                worked[id(row)] = worked.get(id(row), 0.0) + e.seconds
    return worked


# ---- text


def time_text(seconds):
    """Three digits and a unit."""
    if seconds <= 0:
        return "0 s"
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1 or unit == "µs":
            value = seconds * scale
            return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f} {unit}"


def bytes_text(size):
    """Bytes with a unit, as a machine counts them."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024


def text_of(rows, by, limit):
    """The table, with what is beyond `limit` in one row."""
    head = [by, "", "calls", "time", "share", "a call", "GB", "GB/s", "of copy", "GFLOP/s", ""]
    lines = []
    for row in rows[:limit]:
        moved = (
            [f"{row.bytes / 1e9:.3f}", f"{row.bandwidth / 1e9:.1f}", f"{100 * row.of_copy:.0f} %"]
            if row.bytes
            else ["", "", ""]
        )
        lines.append(
            [
                row.name,
                row.note,
                str(row.calls),
                time_text(row.seconds),
                f"{100 * row.share:.1f} %",
                time_text(row.seconds / row.calls),
                *moved,
                f"{row.flops / 1e9:.1f}" if row.flops else "",
                f"{row.interpreted} interpreted" if row.interpreted else "",
            ]
        )
    if len(rows) > limit:
        rest = rows[limit:]
        lines.append([f"{len(rest)} more", "", str(sum(r.calls for r in rest)), time_text(sum(r.seconds for r in rest)),
                      f"{100 * sum(r.share for r in rest):.1f} %", *[""] * 6])  # fmt: skip
    return aligned([head, *lines], left=2)


def aligned(lines, left):
    """Columns: the first `left` of them and the last to the left, the others to the right; empty columns are left out."""
    kept = [k for k in range(len(lines[0])) if any(line[k] for line in lines[1:])]
    widths = {k: max(len(line[k]) for line in lines) for k in kept}
    last = len(lines[0]) - 1
    out = []
    for line in lines:
        cells = [line[k].ljust(widths[k]) if k < left or k == last else line[k].rjust(widths[k]) for k in kept]
        out.append("  ".join(cells).rstrip())
    out.insert(1, "-" * max(map(len, out)))
    return "\n".join(out)
