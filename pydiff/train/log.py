"""Logs of a run: TensorBoard's event files, CSV, lines of JSON; reading them, and drawing curves of them."""

import csv
import itertools
import json
import math
import os
import socket
import struct
import time

import numpy as np

from pydiff import Tensor

from . import _events

__all__ = ["CSVLog", "JSONLinesLog", "SummaryWriter", "plot_curves", "read_log"]

_numbers = itertools.count()


def _array(value):
    """A NumPy array of a tensor or of what NumPy takes; bfloat16 as float32."""
    if isinstance(value, Tensor):
        value = value.detach()
        value = (value.float() if value.dtype.name == "bfloat16" else value).numpy()
    return np.asarray(value)


def _plain(value):
    """A value as text formats hold it."""
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        value = value.item() if value.ndim == 0 or _array(value).size == 1 else _array(value).tolist()
    return value


class SummaryWriter:
    """Writes what TensorBoard shows, under the names of PyTorch's `SummaryWriter`; TensorFlow is not needed.

    Arguments:
        log_dir: the folder of the run; it is made. Default: `runs/` and the time.
        filename_suffix: appended to the file's name.
        flush_secs: after so many seconds what was written reaches the disk, at the latest at the next write.

    A context manager. Steps that are not given are 0. Values are computed when they are added.

    >>> import tempfile
    >>> import pydiff as pd
    >>> folder = tempfile.mkdtemp()
    >>> with pd.train.log.SummaryWriter(folder) as writer:
    ...     for step in range(3):
    ...         writer.add_scalar("loss", 1 / (step + 1), step)
    ...     writer.add_histogram("weights", pd.randn(100), 3)
    >>> [row["loss"] for row in pd.train.log.read_log(writer.path)]
    [1.0, 0.5, 0.3333333432674408]
    """

    def __init__(self, log_dir=None, filename_suffix="", flush_secs=120):
        self.log_dir = os.fspath(log_dir) if log_dir is not None else os.path.join("runs", time.strftime("%Y%m%d-%H%M%S"))
        os.makedirs(self.log_dir, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}{filename_suffix}"
        self.path = os.path.join(self.log_dir, name)
        self._file = open(self.path, "ab")
        self._flushed, self._every = time.time(), flush_secs
        self._write(_events.event(time.time(), version="brain.Event:2"))
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _write(self, event):
        if self._file.closed:
            raise ValueError(
                f"[SummaryWriter] the writer is closed; got {self.path}; try another SummaryWriter of the same folder"
            )
        self._file.write(_events.record(event))
        if time.time() - self._flushed > self._every:
            self.flush()

    def _add(self, value, step, walltime):
        self._write(_events.event(time.time() if walltime is None else walltime, int(step or 0), value))

    def add_scalar(self, tag, scalar_value, global_step=None, walltime=None):
        """Add a number, or a tensor of one element; it is stored as float32."""
        value = _array(scalar_value)
        if value.size != 1 or value.dtype.kind not in "biuf":
            raise ValueError(f"[add_scalar] a scalar is one number; got {value.dtype} of shape {value.shape}; try .mean()")
        self._add(_events.scalar(tag, value.item()), global_step, walltime)

    def add_histogram(self, tag, values, global_step=None, bins="tensorflow", walltime=None):
        """Add the distribution of numbers of any shape; NaN and infinities are left out.

        Arguments:
            bins: edges, their number or a rule of `numpy.histogram`; "tensorflow": 1,549 that grow by a tenth each.
        """
        values = _array(values).astype(np.float64).reshape(-1)
        values = values[np.isfinite(values)]
        if isinstance(bins, str) and bins == "tensorflow":
            bins = _edges()
            values = values.clip(bins[0], bins[-1])
        self._add(_events.histogram(tag, values, bins), global_step, walltime)

    def add_text(self, tag, text_string, global_step=None, walltime=None):
        """Add a text, which is shown as Markdown."""
        self._add(_events.text(f"{tag}/text_summary", text_string), global_step, walltime)

    def add_image(self, tag, img_tensor, global_step=None, walltime=None, dataformats="CHW"):
        """Add an image: uint8, or floating-point from 0 to 1, with 1, 3 or 4 channels, its axes as `dataformats` says."""
        pixels = _array(img_tensor)
        form = dataformats.upper()
        if sorted(form) not in (["C", "H", "W"], ["H", "W"]) or pixels.ndim != len(form):
            raise ValueError(
                f"[add_image] dataformats names the axes; got {dataformats!r} for shape {pixels.shape}; try 'CHW', 'HWC' or 'HW'"
            )
        pixels = pixels[..., None] if len(form) == 2 else pixels.transpose(form.index("H"), form.index("W"), form.index("C"))
        if pixels.shape[2] not in (1, 3, 4) or 0 in pixels.shape:
            raise ValueError(
                f"[add_image] an image has 1, 3 or 4 channels; got {pixels.shape[2]} in {dataformats}; try dataformats="
            )
        if pixels.dtype.kind == "f":
            pixels = np.nan_to_num(pixels.astype(np.float32) * 255).clip(0, 255).round()
        elif pixels.dtype == bool:
            pixels = pixels * 255
        self._add(_events.image(tag, pixels.astype(np.uint8)), global_step, walltime)

    def flush(self):
        """What was added is in the file."""
        self._file.flush()
        self._flushed = time.time()

    def close(self):
        """Flush and close the file."""
        self._file.close()


def _edges():
    steps, edge = [], 1e-12
    while edge < 1e20:
        steps.append(edge)
        edge *= 1.1
    return np.array([-1e20, *(-edge for edge in reversed(steps)), 0.0, *steps, 1e20])


class _Log:
    """What has an open `_file`; a context manager."""

    def close(self):
        """Close the file."""
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class JSONLinesLog(_Log):
    """A file with one JSON object a line: `log(step, loss=…)`.

    Arguments:
        path: the file; what is there stays, and lines are added.

    Each line is in the file when `log` returns. NaN and infinities, which JSON does not have, are text.

    >>> import os, tempfile
    >>> import pydiff as pd
    >>> with pd.train.log.JSONLinesLog(os.path.join(tempfile.mkdtemp(), "run.jsonl")) as log:
    ...     log.log(1, loss=pd.tensor(0.5), note="text")
    >>> pd.train.log.read_log(log.path)
    [{'step': 1, 'loss': 0.5, 'note': 'text'}]
    """

    def __init__(self, path):
        self.path = os.fspath(path)
        self._file = open(self.path, "a", encoding="utf-8")

    def log(self, step, **values):
        """Add a line of the step and the values: numbers, text, tensors."""
        row = {"step": _plain(step), **{name: _plain(value) for name, value in values.items()}}
        self._file.write(json.dumps(_finite(row), ensure_ascii=False) + "\n")
        self._file.flush()


def _finite(value):
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


class CSVLog(_Log):
    """A CSV file with a line a step: `log(step, loss=…)`.

    Arguments:
        path: the file; where it is there already, lines are added.

    The first line names the columns. A value with a new name makes a column, and the file is written anew (at once, so it is
    whole at any time); what a step does not have stays empty.

    >>> import os, tempfile
    >>> import pydiff as pd
    >>> with pd.train.log.CSVLog(os.path.join(tempfile.mkdtemp(), "run.csv")) as log:
    ...     log.log(1, loss=0.5)
    ...     log.log(2, loss=0.25, accuracy=1.0)
    >>> pd.train.log.read_log(log.path)
    [{'step': 1, 'loss': 0.5}, {'step': 2, 'loss': 0.25, 'accuracy': 1.0}]
    """

    def __init__(self, path):
        self.path = os.fspath(path)
        self._columns, rows = _csv_rows(self.path) if os.path.exists(self.path) else ([], [])
        self._file = open(self.path, "a", newline="", encoding="utf-8")

    def log(self, step, **values):
        """Add a line of the step and the values: numbers or text."""
        row = {"step": _plain(step), **{name: _plain(value) for name, value in values.items()}}
        new = [name for name in row if name not in self._columns]
        if new:
            self._widen(new)
        csv.DictWriter(self._file, self._columns, restval="").writerow(row)
        self._file.flush()

    def _widen(self, new):
        from pydiff.io._files import replaced

        self._file.flush()
        _, rows = _csv_rows(self.path)
        self._columns = [*self._columns, *new]
        with replaced(self.path) as sink:
            out = _Encoded(sink)
            writer = csv.DictWriter(out, self._columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
        self._file.close()
        self._file = open(self.path, "a", newline="", encoding="utf-8")


class _Encoded:
    def __init__(self, sink):
        self._sink = sink

    def write(self, text):
        self._sink.write(text.encode("utf-8"))


def _csv_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        return list(reader.fieldnames or []), list(reader)


# ---- reading


def read_log(path):
    """The rows of a log, as dicts with "step" and the values.

    Arguments:
        path: a file of `CSVLog` (its name ends in .csv), `JSONLinesLog` (.jsonl, .json) or `SummaryWriter`, of which the scalars are
            read, those of one step in one row; or the folder of a `SummaryWriter`.

    Raises ValueError where an event file is damaged; a last record that was cut off is left out.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        names = sorted(name for name in os.listdir(path) if ".tfevents." in name)
        return _by_step(point for name in names for point in _points(os.path.join(path, name)))
    if path.endswith(".csv"):
        return [{name: _number(text) for name, text in row.items() if text not in ("", None)} for row in _csv_rows(path)[1]]
    if path.endswith((".jsonl", ".json")):
        with open(path, encoding="utf-8") as file:
            return [{name: _number(value) for name, value in json.loads(line).items()} for line in file if line.strip()]
    return _by_step(_points(path))


def _number(text):
    if isinstance(text, str):
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                pass
    return text


def _points(path):
    """(step, tag, number) of the scalars of an event file."""
    with open(path, "rb") as file:
        data = file.read()
    for content in _events.records(data):
        fields = _events.parse(content)
        step = fields.get(2, [0])[0]
        step -= (step >> 63) << 64
        for summary in fields.get(5, []):
            for value in _events.parse(summary).get(1, []):
                parts = _events.parse(value)
                if 2 in parts:
                    yield step, parts[1][0].decode("utf-8"), struct.unpack("<f", parts[2][0])[0]


def _by_step(points):
    rows = {}
    for step, tag, value in points:
        rows.setdefault(step, {"step": step})[tag] = value
    return [rows[step] for step in sorted(rows)]


def plot_curves(source, path, *, names=None, smooth=0.0, log=False, title=""):
    """Draw curves over the steps into a picture file; returns its path.

    Arguments:
        source: a log (see `read_log`), or its rows.
        path: the picture; its ending tells the format (.png, .svg, .pdf).
        names: which values; default: all numbers.
        smooth: from 0 to below 1: each curve also as its running average, with this weight of what was a step of the densest
            curve before; so a curve with few points is hardly smoothed.
        log: a logarithmic axis.
        title: what stands above.

    Needs matplotlib, which is imported here.

    >>> import os, tempfile
    >>> import pydiff as pd
    >>> rows = [{"step": k, "loss": 1 / (k + 1)} for k in range(10)]
    >>> os.path.getsize(pd.train.log.plot_curves(rows, os.path.join(tempfile.mkdtemp(), "loss.png"))) > 1000
    True
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            "[plot_curves] curves are drawn by matplotlib; got no such package; try pip install matplotlib"
        ) from None
    if not 0 <= smooth < 1:
        raise ValueError(f"[plot_curves] smooth is from 0 to below 1; got {smooth}; try 0.9")
    rows = source if isinstance(source, (list, tuple)) else read_log(source)
    found = dict.fromkeys(
        name for row in rows for name, value in row.items() if name != "step" and isinstance(value, (int, float))
    )
    names = list(found) if names is None else list(names)
    missing = [name for name in names if name not in found]
    if missing or not names:
        raise ValueError(
            f"[plot_curves] there are no numbers of this name; got {missing or 'an empty log'}; try one of {list(found)}"
        )
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    curves = {}
    for name in names:
        points = [(row["step"], row[name]) for row in rows if isinstance(row.get(name), (int, float))]
        curves[name] = np.array([p[0] for p in points]), np.array([p[1] for p in points], float)
    gaps = [np.median(np.diff(steps)) for steps, _ in curves.values() if len(steps) > 1]
    unit = max(min(gaps, default=1), 1e-9)  # steps from point to point of the densest curve
    for k, (name, (steps, values)) in enumerate(curves.items()):
        look = {"color": f"C{k % 10}", "marker": "." if len(steps) < 3 else None}
        if smooth:
            axes.plot(steps, values, alpha=0.3, **look)
            distances = np.diff(steps, prepend=steps[0] - unit) / unit
            values = _smoothed(values, smooth ** np.where(distances > 0, distances, 1))
        axes.plot(steps, values, label=name, **look)
    if log:
        axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    axes.legend()
    if title:
        axes.set_title(title)
    figure.savefig(path, dpi=120)
    return os.fspath(path)


def _smoothed(values, weights):
    """The running average with these weights of what was before, free of the pull of where it began (Kingma & Ba 2015,
    section 3); NaN stays out of it."""
    total = mass = 0.0
    out = np.empty_like(values)
    for k, (value, weight) in enumerate(zip(values, weights)):
        if math.isfinite(value):
            total, mass = weight * total + (1 - weight) * value, weight * mass + 1 - weight
        out[k] = total / mass if mass else value
    return out
