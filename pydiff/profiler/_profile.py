"""The context managers: `profile`, and `record` for a part of it."""

import contextlib
import functools
import threading
from time import perf_counter_ns

from .. import _profiling
from .._dtypes import device as _device
from ._events import KERNELS, Held, events_of, many_objects, memory_of
from ._table import KEYS, aligned, bytes_text, rows_of, text_of, time_text
from ._trace import save, trace_of


@functools.cache
def _copy_bandwidth(device):
    return _profiling.copy_bandwidth(device)


class profile:
    """Record what runs inside: kernels, plans, compilations, copies, memory, on all devices and by all threads.

    Arguments:
        memory: whether blocks of memory are recorded, and who made them.
        lines: whether the user's lines are, from which kernels come.
        graphs: whether plans on a CUDA device may run as CUDA graphs. A graph is one event then; otherwise each kernel is
            one, and what graphs save is not.

    What is pending when it begins is computed before; what is pending at its end is computed inside, and the devices are
    waited for. After an exception what was recorded until then is there.

    Raises RuntimeError where another profile is being made; `record` marks parts of one.

    >>> import pydiff as pd
    >>> x = pd.ones(1000)
    >>> with pd.profiler.profile() as p:
    ...     y = (x * 2 + 1).sum()
    >>> [(e.name, e.bytes_read, e.bytes_written) for e in p.events if e.kind == "kernel"]
    [('mul*add*reduce_sum', 4000, 4)]
    >>> p.table(by="line").splitlines()[0].split()[:3]
    ['line', 'calls', 'time']
    """

    def __init__(self, *, memory=True, lines=True, graphs=False):
        self._options = {"memory": bool(memory), "lines": bool(lines), "graphs": bool(graphs)}
        self._ended = False

    def __enter__(self):
        _profiling.synchronize_all()
        _profiling.start(**self._options)
        self._ended = False
        return self

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                _profiling.synchronize_all()
        finally:
            self._take()

    def _take(self):
        self._threads = {t.native_id: t.name for t in threading.enumerate()}
        with many_objects():
            record = _profiling.stop()
            self._events, lines = events_of(record)
            self._memory, self._owners = memory_of(record, lines)
        self._ended, self.seconds = True, (record["end"] - record["begin"]) / 1e9

    def _done(self):
        if not self._ended:
            raise RuntimeError("[profile] nothing is recorded yet; got a profile that has not ended; try after its `with`")

    @property
    def events(self):
        """All that was recorded, a list of `Event` in the order of beginning."""
        self._done()
        return self._events

    def rows(self, by="kernel"):
        """What `table` prints, a list of `Row`.

        Arguments:
            by: "kernel": calls of the same operations on the same shape together. "op" and "line": a kernel's time is shared
                among its operations by their part of its work (cost of the operation times elements). "range": what
                `record` marked.
        """
        self._done()
        if by not in KEYS:
            raise ValueError(f"[profile.rows] unknown key; got {by!r}; try one of {', '.join(KEYS)}")
        return rows_of(self._events, by, self.seconds, _copy_bandwidth)

    def table(self, by="kernel", limit=20):
        """A table as text, longest time first, with a line that says where all the time went.

        Arguments:
            by: "kernel", "op", "line" or "range", as in `rows`.
            limit: rows; the others are together in the last.
        """
        return f"{text_of(self.rows(by), by, limit)}\n\n{self.summary()}"

    def summary(self):
        """In a few lines: the time of all and its parts, plans, compilations, and peaks of memory."""
        self._done()
        of = {}
        for e in self._events:
            of.setdefault(e.kind, []).append(e)
        times = []
        for device in dict.fromkeys(e.device for e in self._events if e.kind in KERNELS):
            busy = sum(e.seconds for e in self._events if e.kind in KERNELS and e.device == device)
            times.append(f"kernels on {device} {time_text(busy)} ({100 * busy / self.seconds:.0f} %)")
        # Fallbacks stand by themselves; plans, and kernels of the CPU, are inside evaluations.
        evaluations, fallbacks = of.get("evaluate", []), of.get("fallback", [])
        inside = sum(e.seconds for e in self._events if e.kind in KERNELS and e.kind != "fallback" and not e.on_device)
        made = sum(e.seconds for e in of.get("plan", []))
        computing = sum(e.seconds for e in evaluations)
        times.append(f"making plans {time_text(made)}")
        times.append(f"running them {time_text(max(0.0, computing - inside - made))}")
        rest = self.seconds - computing - sum(e.seconds for e in fallbacks)
        times.append(f"Python and recording {time_text(max(0.0, rest))}")
        lines = [f"{time_text(self.seconds)} in all: {', '.join(times)}."]
        compiles, replays = of.get("compile", []), sum(e.name == "replay" for e in evaluations)
        took = f" in {time_text(sum(e.seconds for e in compiles))}" if compiles else ""
        lines.append(f"{len(of.get('plan', []))} plans made, {replays} replayed; {len(compiles)} kernels compiled{took}.")
        lines.extend(f"A {name}." for name in dict.fromkeys(e.name for e in of.get("plan", []) if e.name != "plan"))
        if self._memory:
            peaks = (f"{bytes_text(m.peak()[0])} on {device}" for device, m in self._memory.items())
            lines.append(f"Peak of memory: {', '.join(peaks)}.")
        return "\n".join(lines)

    def peak_memory(self, device=None):
        """Bytes of a device's memory in use when most were; what was there before counts. None: the first device used."""
        self._done()
        memory = self._memory_of(device)
        return memory.peak()[0] if memory else 0

    def memory(self, device=None):
        """Who held the memory of a device when most was in use: a list of `Held`, largest first.

        Results belong to the operation and the line that made them; "temporaries" are what a plan needs while it runs, at
        a line that makes the largest; "data" came from Python, "a kernel's own" is its scratch memory.

        Arguments:
            device: its name; None is the first that memory was taken of.
        """
        self._done()
        memory = self._memory_of(device)
        held = memory.held_at_peak().items() if memory else ()
        together = {}
        for owner, size in held:
            what, line = self._owners[owner]
            key = what, line and (line.file, line.line)
            together[key] = Held(what, line, size + (together[key].bytes if key in together else 0))
        return sorted(together.values(), key=lambda h: -h.bytes)

    def memory_table(self, device=None, limit=20):
        """The same as text."""
        held = self.memory(device)
        total = sum(h.bytes for h in held) or 1
        lines = [["owner", "line", "bytes", "share", ""]]
        lines += [[h.owner, str(h.line or ""), bytes_text(h.bytes), f"{100 * h.bytes / total:.1f} %", ""] for h in held[:limit]]
        if len(held) > limit:
            lines.append([f"{len(held) - limit} more", "", bytes_text(sum(h.bytes for h in held[limit:])), "", ""])
        return aligned(lines, left=2)

    def _memory_of(self, device):
        if device is None:
            return next(iter(self._memory.values()), None)
        return self._memory.get(str(_device(device)))

    def save(self, path):
        """Write a timeline that Perfetto (ui.perfetto.dev) and chrome://tracing open: a JSON file of trace events."""
        self._done()
        with many_objects():
            save(path, trace_of(self._events, self._memory, self._threads))

    def __str__(self):
        return self.table() if self._ended else repr(self)

    def __repr__(self):
        state = "not ended" if not self._ended else f"{len(self._events)} events in {time_text(self.seconds)}"
        return f"<pydiff.profiler.profile, {state}>"


class record(contextlib.ContextDecorator):
    """A name for what is done inside, in tables `by="range"` and on the timeline. Works as a decorator too; ranges nest.

    Operations are lazy: a kernel belongs to the range in which it runs, which is where its value is needed.

    >>> import pydiff as pd
    >>> with pd.profiler.profile() as p:
    ...     with pd.profiler.record("sum"):
    ...         total = pd.ones(10).sum().item()
    >>> [e.name for e in p.events if e.kind == "range"]
    ['sum']
    """

    def __init__(self, name):
        self.name = name
        self._begun = []

    def __enter__(self):
        self._begun.append(perf_counter_ns() if _profiling.running() else None)
        return self

    def __exit__(self, *exception):
        begin = self._begun.pop()
        if begin is not None:
            _profiling.add("range", self.name, begin, perf_counter_ns())

    def _recreate_cm(self):
        return record(self.name)
