"""A profile as a timeline in the Chrome trace event format, which Perfetto and chrome://tracing open."""

import json
import os

_DEVICE_TRACK = 1 << 40  # above any number of a thread


def trace_of(events, memory, threads):
    """The object of the file: complete events ("X") by thread and device, memory as counters ("C"), names ("M")."""
    pid = os.getpid()
    tracks = {}
    out = []
    for e in events:
        tid = _DEVICE_TRACK + int(e.device.partition(":")[2] or 0) if e.on_device else e.thread
        tracks.setdefault(tid, e.device if e.on_device else threads.get(e.thread, f"thread {e.thread}"))
        begin, end = round(e.begin * 1e9), round(e.end * 1e9)
        out.append(
            {
                "ph": "X",
                "name": e.name or e.kind,
                "cat": e.kind,
                "ts": begin / 1e3,
                "dur": (end - begin) / 1e3,
                "pid": pid,
                "tid": tid,
                "args": _args(e),
            }
        )
    for device, m in memory.items():
        live = 0
        for seconds, size, _ in m.blocks:
            live += size
            out.append({"ph": "C", "name": f"memory of {device}", "ts": round(seconds * 1e9) / 1e3, "pid": pid,
                        "args": {"bytes": live}})  # fmt: skip
    out.sort(key=lambda e: (e["ts"], -e.get("dur", 0)))
    names = [{"ph": "M", "name": "process_name", "pid": pid, "args": {"name": "pydiff"}}]
    for tid, name in tracks.items():
        names.append({"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}})
    return {"traceEvents": [*names, *out], "displayTimeUnit": "ms"}


def _args(e):
    args = {"device": e.device}
    lines = list(dict.fromkeys(f"{line.file}:{line.line}" for line in e.lines if line is not None))
    if lines:
        args["lines"] = lines
    if e.ops and e.kind != "copy":
        args["ops"] = list(e.ops)
    if e.shape is not None:
        args["shape"], args["dtype"] = list(e.shape), e.dtype.name
    if e.bytes:
        args["bytes_read"], args["bytes_written"] = e.bytes_read, e.bytes_written
        args["GB/s"] = e.bytes / e.seconds / 1e9 if e.seconds else 0.0
    if e.flops:
        args["GFLOP/s"] = e.flops / e.seconds / 1e9 if e.seconds else 0.0
    if e.kind == "kernel":
        args["compiled"] = e.compiled
    if e.kernel:
        args["kernel"] = e.kernel
    if e.count:
        args["steps" if e.kind == "plan" else "values"] = e.count
    if e.threads > 1:
        args["threads"] = e.threads
    return args


def save(path, trace):
    """Write the file."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(trace, separators=(",", ":")))  # in one piece: ten times as fast
