"""`pydiff.jit`: a function is traced once and replayed as a plan.

The core does the work (`csrc/python/tracer.h`, `jit_entry.h`); here is the public function, and `_guards.py` finds what of
Python the function may read.
"""

import collections
import functools
import inspect
import os
import sys
import warnings

from .._core import _C

__all__ = ["jit"]

_OFTEN = 8  # traces in a row for one reason, after which it is told


class Traces:
    """What was traced of a function: the attribute `jit` of what `pydiff.jit` returns.

    `traces` and `replays` count; `reasons` says why it was traced anew, and how often.
    """

    def __init__(self, function, limit):
        self._name = getattr(function, "__qualname__", type(function).__name__)
        self._function = function
        self.reasons = collections.Counter()
        self._last, self._row, self._told = None, 0, False
        self._core = _C.JitFunction(function, self._guards, self._tell, limit)
        self.call = self._core.call

    @property
    def traces(self):
        """How often the function was traced."""
        return self._core.traces

    @property
    def replays(self):
        """How often a trace served instead of the function."""
        return self._core.replays

    def clear(self):
        """Forget all traces."""
        self._core.clear()

    def explain(self):
        """The traces that there are, the latest used first, as text."""
        lines = [f"{self._name}: {self.traces} traces, {self.replays} replays"]
        lines += [f"  traced anew {count} times: {reason}" for reason, count in self.reasons.most_common()]
        for number, facts in enumerate(self._core.facts()):
            lines.append(f"  trace {number}: ({', '.join(facts['arguments'])})")
            lines.append(
                f"    {facts['lifted']} tensors from outside, {facts['written']} written, {facts['gradients']} gradients set, "
                f"{facts['host_calls']} calls of Python"
            )
            lines.append(f"    guards: {', '.join(facts['guards']) or 'none'}")
        return "\n".join(lines)

    __repr__ = explain

    def _guards(self, args, kwargs):
        from ._guards import guards_of

        return guards_of(self._function, args, kwargs)

    def _tell(self, why, escaped):
        if escaped:
            why = f"{escaped} tensors that it made are held outside, so its trace served once"
        if why:
            self.reasons[why] += 1
            if os.environ.get("PYDIFF_DEBUG", "0") not in ("", "0"):
                print(f"pydiff: jit traces {self._name} anew: {why}", file=sys.stderr)
        self._row = self._row + 1 if why == self._last else 1
        self._last = why
        if why and self._row == _OFTEN and not self._told:
            self._told = True
            warnings.warn(
                f"[jit] {self._name} is traced at every call, which costs more than it saves; got {_OFTEN} traces in a row "
                f"because of {why}; try returning tensors instead of keeping them, and tensors for numbers that change",
                RuntimeWarning,
                stacklevel=3,
            )


def jit(function=None, *, limit=64):
    """A function that is traced at its first call and replayed afterwards, to the same bits.

    Arguments:
        function: takes and returns tensors in any nesting of tuples, lists and dicts; everything else among its arguments is
            compared. It may read tensors, modules and optimisers from outside, write them, and call `backward`.
        limit: how many traces are kept, one for each signature; those used longest ago go first.

    A whole training step can be decorated as it stands. Tensors from outside are read anew at each call and written back:
    parameters, buffers, `.grad`, the state of optimisers. So are learning rates, step counts and random numbers. What else
    of Python it may have read - attributes of modules, closures, globals that it names - is checked, and a change traces the
    function again; so do other shapes and dtypes. Effects on Python itself (a print, a list that grows) happen while it is
    traced only. What needs the value of a tensor (`item`, `if`, a shape that depends on values) raises RuntimeError.

    The result has an attribute `jit` with counters and `explain()`. docs/JIT.md has the details.

    >>> import pydiff as pd
    >>> w = pd.ones(2, requires_grad=True)
    >>> optimizer = pd.optim.SGD([w], lr=0.5)
    >>> @pd.jit
    ... def step(x):
    ...     optimizer.zero_grad()
    ...     loss = (w * x).sum()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> [step(pd.ones(2)).item() for _ in range(3)]
    [2.0, 1.0, 0.0]
    >>> step.jit.traces, step.jit.replays
    (1, 2)
    """
    if function is None:
        return functools.partial(jit, limit=limit)
    if not callable(function):
        raise TypeError(f"[jit] a function is needed; got {type(function).__name__}; try jit(function)")
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        raise TypeError(f"[jit] a generator or coroutine cannot be replayed; got {function.__name__}; try a plain function")
    if not isinstance(limit, int) or limit < 1:
        raise ValueError(f"[jit] one trace is kept at least; got limit={limit!r}; try limit=64")
    traces = Traces(function, limit)
    call = traces.call

    def jitted(*args, **kwargs):
        return call(args, kwargs)

    if hasattr(function, "__name__"):
        functools.update_wrapper(jitted, function)
    else:
        jitted.__name__ = jitted.__qualname__ = type(function).__name__
        jitted.__wrapped__ = function
    jitted.jit = traces
    return jitted
