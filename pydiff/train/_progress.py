"""A live line of a loop: how far, how fast, how long yet, and what the user reports."""

import collections
import importlib.util
import shutil
import sys
import time

from pydiff import Tensor

__all__ = ["Progress", "progress"]

_now = time.perf_counter
_STYLES = ("auto", "tqdm", "rich", "line", "plain", "off")


def progress(iterable, *, total=None, desc="", size=1, unit="it", every=None, file=None, style="auto"):
    """The items of `iterable`, with a live line of progress; a `Progress`, whose `log(loss=…)` shows numbers.

    Arguments:
        iterable: what is looped over.
        total: number of items, where `len(iterable)` does not tell.
        desc: what stands in front.
        size: how many samples an item is; throughput and counts are then of samples.
        unit: their name.
        every: seconds between two updates. Default: 0.2 on a terminal, 30 elsewhere.
        file: where it is written; default `sys.stderr`.
        style: "tqdm", "rich", "line" (one line that is rewritten), "plain" (a line of text each time), "off". "auto": on a
            terminal tqdm or rich where installed, else a line; elsewhere plain.

    Values that are logged are looked at only when they are shown: a lazy tensor is computed then, and not before.

    >>> import sys
    >>> import pydiff as pd
    >>> steps = pd.train.progress(range(4), size=32, unit="samples", style="off")
    >>> for step in steps:
    ...     steps.log(loss=pd.tensor(1.0) / (step + 1))
    >>> steps.count, steps.values()
    (4, {'loss': 0.25})
    """
    return Progress(iterable, total, desc, size, unit, every, file, style)


class Progress:
    """The loop that `pydiff.train.progress` makes: iterate over it once, and `log(name=value)` inside.

    `count` is the number of items that are done.
    """

    def __init__(self, iterable, total=None, desc="", size=1, unit="it", every=None, file=None, style="auto"):
        if style not in _STYLES:
            raise ValueError(f"[progress] style is one of {', '.join(_STYLES)}; got {style!r}; try 'auto'")
        self._iterable = iterable
        if total is None and hasattr(iterable, "__len__"):
            total = len(iterable)
        self.total, self.desc, self.size, self.unit = total, desc, size, unit
        self.count = 0
        self._file = sys.stderr if file is None else file
        terminal = bool(getattr(self._file, "isatty", lambda: False)())
        if style == "auto":
            style = next((n for n in ("tqdm", "rich") if importlib.util.find_spec(n)), "line") if terminal else "plain"
        self._every = every if every is not None else 30.0 if style == "plain" else 0.2
        self._values = {}
        self._shower = _SHOWERS[style](self)

    def __len__(self):
        if self.total is None:
            raise TypeError("[progress] the number of items is not known; got an iterable without a length; try total=")
        return self.total

    def __iter__(self):
        self.count = 0
        start = last = _now()
        # Times and counts of the last showings: the speed is that of the last few, not of a slow first step.
        self._marks = collections.deque([(start, 0)], maxlen=20)
        self._start = start
        self._shower.begin()
        try:
            for item in self._iterable:
                yield item
                self.count += 1
                now = _now()
                if now - last >= self._every:
                    last = now
                    self._show(now)
        finally:
            self._show(_now())
            self._shower.end()

    def log(self, **values):
        """Show numbers, or tensors of one element, in place of those of the same names."""
        for name, value in values.items():
            self._values[name] = value.detach() if isinstance(value, Tensor) else value

    def values(self):
        """What was logged last, as numbers."""
        return {name: value.item() if isinstance(value, Tensor) else value for name, value in self._values.items()}

    def _show(self, now):
        self._marks.append((now, self.count))
        self._shower.show(now)

    # ---- what it says

    @property
    def rate(self):
        """Samples a second, of late; 0 before the first."""
        (before, count), (now, done) = self._marks[0], self._marks[-1]
        return (done - count) * self.size / (now - before) if now > before else 0.0

    def _logged(self):
        return "  ".join(f"{name} {_number(value)}" for name, value in self.values().items())

    def _text(self, now, width=0):
        done, rate = self.count * self.size, self.rate
        parts = [self.desc] if self.desc else []
        if self.total:
            share = min(self.count / self.total, 1.0)
            if width:
                parts.append(_bar(share, width))
            parts.append(f"{share:4.0%}")
            parts.append(f"{done}/{self.total * self.size}")
        else:
            parts.append(f"{done}")
        parts.append(f"{_short(rate)} {self.unit}/s")
        spent = _clock(now - self._start)
        if self.total and rate:
            left = (self.total - self.count) * self.size / rate
            parts.append(f"{spent}<{_clock(left)}")
        else:
            parts.append(spent)
        logged = self._logged()
        return "  ".join([*parts, logged] if logged else parts)


def _bar(share, width):
    eighths = round(share * width * 8)
    full, rest = divmod(eighths, 8)
    return "|" + ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(width) + "|"


def _short(x):
    for letter, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if x >= size:
            return f"{x / size:.3g}{letter}"
    return f"{x:.3g}"


def _number(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


# ---- ways of showing


class _Off:
    def __init__(self, owner):
        self.owner = owner

    def begin(self):
        pass

    def show(self, now):
        pass

    def end(self):
        pass


class _Plain(_Off):
    def show(self, now):
        self.owner._file.write(self.owner._text(now) + "\n")
        self.owner._file.flush()


class _Line(_Off):
    def show(self, now):
        columns = shutil.get_terminal_size().columns
        text = self.owner._text(now, 20)[: columns - 1]
        self.owner._file.write("\r" + text.ljust(columns - 1))
        self.owner._file.flush()

    def end(self):
        self.owner._file.write("\n")
        self.owner._file.flush()


class _Tqdm(_Off):
    def begin(self):
        from tqdm import tqdm

        owner = self.owner
        total = None if owner.total is None else owner.total * owner.size
        scale = owner.size != 1
        self.bar = tqdm(
            total=total, desc=owner.desc or None, unit=owner.unit, unit_scale=scale, file=owner._file, dynamic_ncols=True
        )

    def show(self, now):
        self.bar.set_postfix_str(self.owner._logged(), refresh=False)
        self.bar.n = self.owner.count * self.owner.size
        self.bar.refresh()

    def end(self):
        self.bar.close()


class _Rich(_Off):
    def begin(self):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        owner = self.owner
        columns = [
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[logged]}"),
        ]  # fmt: skip
        self.bar = Progress(*columns, console=Console(file=owner._file), auto_refresh=False)
        self.bar.start()
        total = None if owner.total is None else owner.total * owner.size
        self.task = self.bar.add_task(owner.desc, total=total, rate="", logged="")

    def show(self, now):
        owner = self.owner
        rate = f"{_short(owner.rate)} {owner.unit}/s"
        self.bar.update(self.task, completed=owner.count * owner.size, rate=rate, logged=owner._logged(), refresh=True)

    def end(self):
        self.bar.stop()


_SHOWERS = {"off": _Off, "plain": _Plain, "line": _Line, "tqdm": _Tqdm, "rich": _Rich}
