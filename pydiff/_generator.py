"""Streams of random numbers: generators, their states, the default one.

Draw number n of seed k is a function of (element, n, k) alone (Philox 4x32-10). So a generator is two integers, the same on
every device, and a draw that was recorded is fixed, whenever and wherever it is computed.
"""

import contextlib
import os
import threading

from . import _C
from ._C import Tensor
from ._dtypes import DTYPES, device

_LOW, _HIGH = -(1 << 63), 1 << 64
_STATE_BYTES = 16


class Generator:
    """A stream of random numbers: a seed, and how many draws were made of it.

    It serves every device; `device` is taken for PyTorch's sake and kept. Several threads may draw from one: each draw is
    another one, but which thread gets which is open, so a thread that has to repeat its numbers needs a generator of its own.
    Generators can be copied and pickled; the copy goes on where the original was.

    >>> import pydiff as pd
    >>> g = pd.Generator().manual_seed(7)
    >>> a = pd.rand(3, generator=g)
    >>> pd.equal(a, pd.rand(3, generator=g.manual_seed(7)))
    True
    """

    def __init__(self, device="cpu"):
        self._device = device
        self._lock = threading.Lock()
        self._seed = 0
        self._count = 0

    @property
    def device(self):
        """The device that it was made for; it serves every other too."""
        return device(self._device)

    def manual_seed(self, seed):
        """Start the stream of `seed` anew, a whole number from -2**63 to 2**64 - 1; returns self.

        Negative seeds are those of the same 64 bits, as in PyTorch.
        """
        seed = int(seed)
        if not _LOW <= seed < _HIGH:
            raise ValueError(f"[manual_seed] a seed has 64 bits; got {seed}; try {seed % _HIGH}")
        before = self._seed, self._count
        _C.host_numbers(lambda: self._start(seed % _HIGH, 0), lambda: self._start(*before), "cpu")
        return self

    def _start(self, seed, count):
        with self._lock:
            self._seed, self._count = seed, count

    def seed(self):
        """Start the stream of a seed from the system; returns it."""
        self.manual_seed(int.from_bytes(os.urandom(7), "little"))
        return self._seed

    def initial_seed(self):
        """The seed."""
        return self._seed

    def get_state(self):
        """Where the stream is: a uint8 tensor of 16 elements, the seed and the number of draws made.

        >>> import pydiff as pd
        >>> g = pd.Generator()
        >>> state = g.get_state()
        >>> a = pd.rand(2, generator=g)
        >>> pd.equal(a, pd.rand(2, generator=g.set_state(state)))
        True
        """
        if _C.tracing():
            raise RuntimeError(
                "[get_state] the state of a generator changes at each call; got a traced function; try outside pydiff.jit"
            )
        with self._lock:
            words = self._seed.to_bytes(8, "little") + self._count.to_bytes(8, "little")
        return _C.tensor(list(words), dtype=DTYPES["uint8"], device="cpu")

    def set_state(self, state):
        """Go on where `get_state` was called; returns self."""
        if not isinstance(state, Tensor) or state.dtype != DTYPES["uint8"] or tuple(state.shape) != (_STATE_BYTES,):
            got = f"{state.dtype} of shape {tuple(state.shape)}" if isinstance(state, Tensor) else type(state).__name__
            raise TypeError(f"[set_state] a state is a uint8 tensor of 16 elements; got {got}; try get_state()")
        words = bytes(state.tolist())
        self._start(*(int.from_bytes(words[k : k + 8], "little") for k in (0, 8)))
        return self

    def clone_state(self):
        """A generator of the same stream, at the same place; from there each goes its own way."""
        return self.__copy__()

    def __getstate__(self):
        with self._lock:
            return {"device": self._device, "seed": self._seed, "count": self._count}

    def __setstate__(self, state):
        self.__init__(state["device"])
        self._seed, self._count = state["seed"], state["count"]

    def __copy__(self):
        other = Generator.__new__(Generator)
        other.__setstate__(self.__getstate__())
        return other

    def __deepcopy__(self, memo):
        return self.__copy__()

    def next_draw(self):
        """Count one draw; returns its stream number and the key, both int64. Inside `pydiff.jit` what stands for them."""
        if _C.tracing():
            return _C.host_numbers(self._next_draw, self._take_back, "cpu")
        return self._next_draw()

    def _next_draw(self):
        with self._lock:
            self._count += 1
            return self._count, self._seed - (_HIGH if self._seed >= 1 << 63 else 0)

    def _take_back(self):
        with self._lock:
            self._count -= 1


Generator.__module__ = "pydiff"

default_generator = Generator()


def manual_seed(seed):
    """Start the default stream of `seed` anew; returns the default generator.

    >>> import pydiff as pd
    >>> _ = pd.manual_seed(0)
    >>> a = pd.rand(2)
    >>> _ = pd.manual_seed(0)
    >>> pd.equal(a, pd.rand(2))
    True
    """
    return default_generator.manual_seed(seed)


def seed():
    """Start the default stream of a seed from the system; returns it."""
    return default_generator.seed()


def initial_seed():
    """The seed of the default stream."""
    return default_generator.initial_seed()


def get_rng_state():
    """The state of the default stream, for `set_rng_state`: a uint8 tensor of 16 elements."""
    return default_generator.get_state()


def set_rng_state(new_state):
    """Go on where `get_rng_state` was called."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(devices=None, enabled=True):
    """Within the block the default stream may be seeded and drawn from; after it, it goes on as if nothing had been.

    One stream serves all devices, so `devices` changes nothing. `enabled=False`: an ordinary block.

    >>> import pydiff as pd
    >>> _ = pd.manual_seed(1)
    >>> with pd.random.fork_rng():
    ...     _ = pd.manual_seed(2), pd.rand(5)
    >>> pd.initial_seed()
    1
    """
    if not enabled:
        yield
        return
    state = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(state)
