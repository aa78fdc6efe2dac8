"""How much memory a plan may need: docs/MEMORY.md."""

import operator
import os
import re

from . import _C
from .autograd import _Setting

__all__ = ["memory_limit"]

_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
_ADVICE = 'try "2GB", "512MB", "1.5GiB", a whole number of bytes, or None for no limit'


def _bytes_of(limit):
    """Bytes, 0 for no limit."""
    if limit is None:
        return 0
    if isinstance(limit, str):
        match = _SIZE.fullmatch(limit)
        if not match or (match[3] and not match[2]):
            raise ValueError(f"[memory_limit] the size is not understood; got {limit!r}; {_ADVICE}")
        base = 1024 if match[3] else 1000
        size = float(match[1]) * base ** " kmgt".index(match[2].lower() or " ")
    else:
        try:
            size = None if isinstance(limit, bool) else operator.index(limit)
        except TypeError:
            size = None
        if size is None:
            raise TypeError(f"[memory_limit] the size has a wrong type; got {type(limit).__name__} {limit!r}; {_ADVICE}")
    if not 1 <= size < 2**62:
        raise ValueError(f"[memory_limit] the size is out of range; got {limit!r}; {_ADVICE}")
    return int(size)


class memory_limit(_Setting):
    """Sets how much memory a plan may need, at once; as a context manager or a decorator, until its end.

    What is evaluated together, a training step for example, has one plan, which needs memory for its operands, its results
    and what it keeps from step to step. Where that is more than the limit, the plan runs in another order, and computes
    values again rather than keep them, the cheapest by the byte first: elementwise work before products and
    convolutions. No result depends on it, to the bit. Which limit counts is that of the moment at which values are
    computed, not that at which operations are recorded. The switch is that of the whole process; without it
    (`PYDIFF_MEMORY_LIMIT`) there is no limit.

    Arguments:
        limit: a size as `"2GB"` (powers of 1000), `"1.5GiB"` (of 1024), bytes as an int, or None for no limit.

    Raises:
        MemoryError: when something is evaluated whose plan cannot be made to fit; it says by how much. Nothing is lost:
            with a higher limit the same values are computed.

    >>> import pydiff as pd
    >>> x = pd.rand(1000, 100)
    >>> def sixteen_layers(h):
    ...     for _ in range(16):
    ...         h = pd.tanh(h @ h.mT @ h)
    ...     return h.sum()
    >>> slope = pd.grad(sixteen_layers)
    >>> with pd.memory_limit("24MB"):
    ...     limited = slope(x).numpy()
    >>> bool((limited == slope(x).numpy()).all())
    True
    >>> with pd.memory_limit("1MB"):
    ...     slope(x).numpy()
    Traceback (most recent call last):
        ...
    MemoryError: [memory_limit] a plan does not fit; got a peak of ...
    """

    __slots__ = ()
    _set = staticmethod(_C.set_memory_limit)

    def __init__(self, limit):
        self._on = _bytes_of(limit)
        self._was = self._set(self._on)


if os.environ.get("PYDIFF_MEMORY_LIMIT"):
    _C.set_memory_limit(_bytes_of(os.environ["PYDIFF_MEMORY_LIMIT"]))
