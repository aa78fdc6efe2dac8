"""Checkpoints of a run: saved every so often, the last few and the best kept, resumed to the bit."""

import math
import os
import random
import re

import numpy as np

import pydiff
from pydiff.io._files import replaced
from pydiff.io._writer import remove

__all__ = ["Checkpoint"]

_LATEST = "latest"
_UNFINISHED = re.compile(r"\.step-\d+[-\w.]*\.part")
_NAME = re.compile(r"step-(\d+)\.safetensors(\.index\.json)?")


class Checkpoint:
    """Saves all that a training run consists of, and puts it back.

    Arguments:
        folder: where; it is made.
        keep: how many of the last checkpoints stay; None for all. The best one stays beside them. Those of later steps,
            of a run that went on from an earlier one, do not.
        best: the name of the metric that tells which is the best.
        mode: "min" where less of it is better, "max" where more is.
        max_shard_size: as of `pydiff.save`.
        parts: what the run consists of, by names of your own: modules, optimisers, schedulers, scalers, loaders: anything with
            `state_dict()` and `load_state_dict()`, and generators of random numbers (pydiff's, NumPy's, `random.Random`).

    The default generators of pydiff, Python's `random` and NumPy are saved and restored without being named. A file is whole
    or not there (see `pydiff.save`), and its checksums are compared when it is read. A resumed run goes on to the bit.

    >>> import tempfile
    >>> import pydiff as pd
    >>> model = pd.nn.Linear(2, 1)
    >>> optimizer = pd.optim.Adam(model.parameters())
    >>> checkpoint = pd.train.Checkpoint(tempfile.mkdtemp(), keep=2, best="loss", model=model, optimizer=optimizer)
    >>> checkpoint.restore() is None
    True
    >>> for step in range(4):
    ...     path = checkpoint.save(step, {"loss": abs(step - 1.0)}, note="text")
    >>> checkpoint.steps(), checkpoint.restore("best")
    ([1, 2, 3], {'step': 1, 'metrics': {'loss': 0.0}, 'note': 'text'})
    """

    def __init__(self, folder, *, keep=3, best=None, mode="min", max_shard_size=None, **parts):
        if mode not in ("min", "max"):
            raise ValueError(f"[Checkpoint] mode is 'min' or 'max'; got {mode!r}; try 'min'")
        if keep is not None and not (isinstance(keep, int) and keep >= 1):
            raise ValueError(f"[Checkpoint] keep is a whole number, 1 or more, or None; got {keep!r}; try 3")
        for name, part in parts.items():
            _accessors(name, part)
        self.folder = os.fspath(folder)
        self.keep, self.metric, self.mode, self.max_shard_size = keep, best, mode, max_shard_size
        self.parts = parts
        os.makedirs(self.folder, exist_ok=True)
        self._best = None  # (metric, step)

    # ---- what is there

    def steps(self):
        """The steps of which there are checkpoints, in order."""
        found = {int(match[1]) for name in os.listdir(self.folder) if (match := _NAME.fullmatch(name))}
        return sorted(found)

    def path(self, step):
        """Where the checkpoint of a step is."""
        return os.path.join(self.folder, f"step-{step:08d}.safetensors")

    def latest_step(self):
        """The step that was saved last, or None: not the highest where an earlier one was restored and gone on from."""
        steps = self.steps()
        try:
            with open(os.path.join(self.folder, _LATEST), encoding="ascii") as file:
                last = int(file.read())
        except (OSError, ValueError):
            last = None
        return last if last in steps else steps[-1] if steps else None

    def best_step(self):
        """The step with the best metric, or None."""
        steps = self.steps()
        if self._best is None and steps:
            self._best = pydiff.load(self.path(self.latest_step()))["best"]
        return self._best[1] if self._best and self._best[1] in steps else None

    # ---- saving

    def save(self, step, metrics=None, **extra):
        """Save the run as of `step`, a whole number; returns the path.

        Arguments:
            step: how far the run is; a checkpoint of the same step is replaced.
            metrics: numbers (or tensors of one) by name, among them the one that tells which is the best.
            extra: whatever else `restore` is to return, of what `pydiff.save` takes.

        Raises KeyError where the metric is missing, OSError where the disk is full: then nothing has changed.
        """
        if not isinstance(step, int) or isinstance(step, bool) or step < 0:
            raise ValueError(f"[Checkpoint] a step is a whole number, 0 or more; got {step!r}; try the number of updates made")
        self._clear_away()
        metrics = {name: float(value) for name, value in (metrics or {}).items()}
        best = self._judged(step, metrics)
        info = {"step": step, "metrics": metrics, **extra}
        state = {name: _accessors(name, part)[0]() for name, part in self.parts.items()}
        path = self.path(step)
        whole = {"info": info, "parts": state, "random": _random_state(), "best": best}
        pydiff.save(whole, path, max_shard_size=self.max_shard_size)
        self._best = best
        with replaced(os.path.join(self.folder, _LATEST)) as sink:
            sink.write(b"%d\n" % step)
        self._drop_old(step)
        return path

    def _clear_away(self):
        """Remove what a run that was killed while it saved left behind."""
        for name in os.listdir(self.folder):
            if _UNFINISHED.fullmatch(name):
                os.unlink(os.path.join(self.folder, name))

    def _judged(self, step, metrics):
        self.best_step()
        if self.metric is None:
            return None
        if self.metric not in metrics:
            raise KeyError(
                f"[Checkpoint] the metric that tells the best is missing; got {list(metrics)}; try {{{self.metric!r}: value}}"
            )
        value = metrics[self.metric]
        known = self._best
        if (
            math.isnan(value)
            or known
            and known[1] != step
            and not (value < known[0] if self.mode == "min" else value > known[0])
        ):
            return known
        return (value, step)

    def _drop_old(self, step):
        if self.keep is None:
            return
        steps = self.steps()
        kept = {*[old for old in steps if old <= step][-self.keep :], self._best[1] if self._best else step}
        for old in steps:
            if old not in kept:
                remove(self.path(old))

    # ---- restoring

    def restore(self, which="latest"):
        """Put every part, and the random numbers, back to where they were saved.

        Arguments:
            which: "latest", "best", a step, or a path.

        Returns what `save` was told, `{"step": …, "metrics": …, …}`, or None where there is no checkpoint yet. Raises ValueError
        where the file is not sound or has other parts than this run; then nothing has changed.
        """
        path = self._chosen(which)
        if path is None:
            return None
        saved = pydiff.load(path, mmap=False, verify=True)
        if not isinstance(saved, dict) or saved.keys() != {"info", "parts", "random", "best"}:
            raise ValueError(f"[Checkpoint] the file is no checkpoint of a run; got {path}; try pydiff.load")
        if saved["parts"].keys() != self.parts.keys():
            raise ValueError(
                f"[Checkpoint] the run has other parts than the file; got {sorted(saved['parts'])} for {sorted(self.parts)}; "
                "try the parts that were saved"
            )
        for name, part in self.parts.items():
            _accessors(name, part)[1](saved["parts"][name])
        _set_random_state(saved["random"])
        self._best = saved["best"]
        return saved["info"]

    def _chosen(self, which):
        if which in ("latest", "best"):
            step = self.latest_step() if which == "latest" else self.best_step()
            return None if step is None else self.path(step)
        return self.path(which) if isinstance(which, int) else os.fspath(which)


def _accessors(name, part):
    """(function that gives the state, function that takes it)."""
    if hasattr(part, "state_dict") and hasattr(part, "load_state_dict"):
        return part.state_dict, part.load_state_dict
    if isinstance(part, pydiff.Generator):
        return part.get_state, part.set_state
    if isinstance(part, random.Random):
        return part.getstate, part.setstate
    if isinstance(part, np.random.Generator):
        return lambda: part.bit_generator.state, lambda state: setattr(part.bit_generator, "state", state)
    raise TypeError(
        f"[Checkpoint] a part has state_dict and load_state_dict; got {type(part).__name__} as {name}; "
        "try save(step, name=value) for plain values"
    )


def _random_state():
    return {"pydiff": pydiff.get_rng_state(), "python": random.getstate(), "numpy": np.random.get_state(legacy=False)}


def _set_random_state(state):
    pydiff.set_rng_state(state["pydiff"])
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
