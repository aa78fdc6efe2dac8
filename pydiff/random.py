"""Random numbers: counter-based (Philox 4x32-10), the same on every device, fused or not.

Draw number n of seed k is a function of (element, n, k) alone. So a generator is two integers, and a
mask is recomputed in backward rather than stored.
"""

import math

from . import _C
from ._C import Tensor, _draw
from ._dtypes import DTYPES

__all__ = [
    "Generator",
    "bernoulli",
    "default_generator",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "multinomial",
    "normal",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "seed",
    "set_rng_state",
    "uniform",
]

_MASK = (1 << 63) - 1


class Generator:
    """A stream of random numbers: a seed, and how many draws were made of it.

    >>> import pydiff as pd
    >>> g = pd.Generator().manual_seed(7)
    >>> a = pd.rand(3, generator=g)
    >>> pd.equal(a, pd.rand(3, generator=g.manual_seed(7)))
    True
    """

    def __init__(self, device="cpu"):
        self._seed = 0
        self._count = 0

    def manual_seed(self, seed):
        """Start the stream of `seed` anew; returns self."""
        self._seed = int(seed)
        self._count = 0
        return self

    def seed(self):
        """Start the stream of a seed from the system; returns it."""
        import os

        self.manual_seed(int.from_bytes(os.urandom(7), "little"))
        return self._seed

    def initial_seed(self):
        """The seed."""
        return self._seed

    def get_state(self):
        """(seed, draws made)."""
        return self._seed, self._count

    def set_state(self, state):
        """Go on where `get_state` was called; returns self."""
        self._seed, self._count = state
        return self

    def draw(self, row, shape, dtype, device):
        """The next draw: numbers of one of the core's random rows."""
        self._count += 1
        return _draw(row, shape, self._count, self._seed & _MASK, dtype, device)


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
    """The state of the default stream, for `set_rng_state`."""
    return default_generator.get_state()


def set_rng_state(state):
    """Go on where `get_rng_state` was called."""
    default_generator.set_state(state)


def _shape(size):
    return tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else tuple(size)


def _drawn(row, shape, dtype, device, generator):
    dtype = _C.get_default_dtype() if dtype is None else _C.as_dtype(dtype)
    return (generator or default_generator).draw(row, shape, dtype, device)


def _finish(tensor, requires_grad):
    return tensor.requires_grad_() if requires_grad else tensor


def rand(*size, dtype=None, device=None, generator=None, requires_grad=False):
    """Uniform on [0, 1).

    >>> import pydiff as pd
    >>> x = pd.rand(1000)
    >>> bool((x >= 0).all()) and bool((x < 1).all())
    True
    """
    return _finish(_drawn("random_uniform", _shape(size), dtype, device, generator), requires_grad)


def randn(*size, dtype=None, device=None, generator=None, requires_grad=False):
    """Standard normal.

    >>> import pydiff as pd
    >>> tuple(pd.randn(2, 3).shape)
    (2, 3)
    """
    return _finish(_drawn("random_normal", _shape(size), dtype, device, generator), requires_grad)


def randint(low, high=None, size=None, *, dtype=None, device=None, generator=None, requires_grad=False):
    """Whole numbers from `low` (0 where one bound is given) up to but without `high`.

    >>> import pydiff as pd
    >>> x = pd.randint(3, 6, (100,))
    >>> x.min().item() >= 3 and x.max().item() <= 5
    True
    """
    if size is None:
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    if high <= low:
        raise ValueError(f"[randint] low is below high; got {low} and {high}; try high={low + 1}")
    size = (size,) if isinstance(size, int) else tuple(size)
    bits = _drawn("random_bits", size, DTYPES["int64"], device, generator)
    result = (bits % int(high - low) + int(low)).to(dtype or DTYPES["int64"])
    return _finish(result, requires_grad)


def randperm(n, *, dtype=None, device=None, generator=None):
    """The numbers 0 … n-1 in random order; computes at once.

    >>> import pydiff as pd
    >>> sorted(pd.randperm(4).tolist())
    [0, 1, 2, 3]
    """
    from .fallback import argsort

    bits = _drawn("random_bits", (n,), DTYPES["int64"], device, generator)
    return argsort(bits, stable=True).to(dtype or DTYPES["int64"])


def uniform(low=0.0, high=1.0, size=(), *, dtype=None, device=None, generator=None):
    """Uniform on [low, high).

    >>> import pydiff as pd
    >>> 2.0 <= pd.uniform(2.0, 3.0).item() < 3.0
    True
    """
    size = (size,) if isinstance(size, int) else tuple(size)
    return _drawn("random_uniform", size, dtype, device, generator) * (high - low) + low


def normal(mean=0.0, std=1.0, size=None, *, dtype=None, layout=None, device=None, generator=None, requires_grad=False):
    """Normal with mean and standard deviation, numbers or tensors; without `size` of their shape.

    `layout` is taken for PyTorch's sake.

    >>> import pydiff as pd
    >>> tuple(pd.normal(pd.zeros(3), 1.0).shape)
    (3,)
    """
    if size is None:
        tensors = [t for t in (mean, std) if isinstance(t, Tensor)]
        from .ops import broadcast_shapes

        size = broadcast_shapes(*[t.shape for t in tensors]) if tensors else ()
        if tensors:
            dtype = dtype or tensors[0].dtype
            device = device or tensors[0].device
    size = (size,) if isinstance(size, int) else tuple(size)
    return _finish(_drawn("random_normal", size, dtype, device, generator) * std + mean, requires_grad)


def bernoulli(input, p=None, *, generator=None):
    """1 with the probability that each element of `input` gives (or `p`), else 0.

    >>> import pydiff as pd
    >>> pd.bernoulli(pd.ones(2)).tolist()
    [1.0, 1.0]
    """
    draw = _drawn("random_uniform", input.shape, input.dtype, input.device, generator)
    return (draw < (input.detach() if p is None else p)).to(input.dtype)


def multinomial(input, num_samples, replacement=False, *, generator=None):
    """Positions along the last axis, drawn with probabilities proportional to `input`.

    Without replacement by the exponential race (Efraimidis and Spirakis 2006); computes at once.

    >>> import pydiff as pd
    >>> pd.multinomial(pd.tensor([0., 1.]), 1).tolist()
    [1]
    """
    from .fallback import topk

    weights = input.detach()
    if replacement:
        total = weights.cumsum(-1)
        shape = (*input.shape[:-1], num_samples, 1)
        draw = _drawn("random_uniform", shape, weights.dtype, weights.device, generator) * total[..., -1:].unsqueeze(-1)
        return (draw >= total.unsqueeze(-2)).sum(-1)
    if num_samples > input.shape[-1]:
        raise RuntimeError(
            f"[multinomial] more samples than there are; got {num_samples} of {input.shape[-1]}; try replacement=True"
        )
    draw = _drawn("random_uniform", weights.shape, weights.dtype, weights.device, generator)
    return topk((1 - draw).log() / weights, num_samples, -1)[1]


def _like(function):
    def method(input, *, dtype=None, device=None, generator=None, requires_grad=False):
        return function(
            input.shape, dtype=dtype or input.dtype, device=device or input.device, generator=generator,
            requires_grad=requires_grad,
        )  # fmt: skip

    method.__name__ = method.__qualname__ = function.__name__ + "_like"
    method.__doc__ = (
        f"`{function.__name__}` of the shape, dtype and device of `input`.\n\n"
        f">>> import pydiff as pd\n>>> tuple(pd.{method.__name__}(pd.zeros(2, 3)).shape)\n(2, 3)\n"
    )
    return method


rand_like = _like(rand)
randn_like = _like(randn)


def randint_like(input, low, high=None, *, dtype=None, device=None, generator=None):
    """`randint` of the shape, dtype and device of `input`.

    >>> import pydiff as pd
    >>> pd.randint_like(pd.zeros(2), 1).tolist()
    [0.0, 0.0]
    """
    if high is None:
        low, high = 0, low
    return randint(
        low, high, input.shape, dtype=dtype or input.dtype, device=device or input.device, generator=generator
    )


# ---- in place


def _install():
    from .tensor import _in_place

    def uniform_(self, a=0.0, b=1.0, generator=None):
        return _drawn("random_uniform", self.shape, self.dtype, self.device, generator) * (b - a) + a

    def normal_(self, mean=0.0, std=1.0, generator=None):
        return _drawn("random_normal", self.shape, self.dtype, self.device, generator) * std + mean

    def bernoulli_(self, p=0.5, generator=None):
        dtype = self.dtype if self.dtype.is_floating_point else _C.get_default_dtype()
        return (_drawn("random_uniform", self.shape, dtype, self.device, generator) < p).to(self.dtype)

    def exponential_(self, lambd=1.0, generator=None):
        return -(1 - _drawn("random_uniform", self.shape, self.dtype, self.device, generator)).log() / lambd

    def open_uniform(self, generator):
        """Uniform on (0, 1]."""
        dtype = self.dtype if self.dtype.is_floating_point else _C.get_default_dtype()
        return 1 - _drawn("random_uniform", self.shape, dtype, self.device, generator)

    def positive(op, what, value, top=None):
        if not 0 < value or (top is not None and value >= top):
            raise ValueError(f"[{op}] {what} is above 0{'' if top is None else f' and below {top}'}; got {value}; try 0.5")

    def log_normal_(self, mean=1.0, std=2.0, generator=None):
        positive("log_normal_", "the deviation", std)
        return normal_(self, mean, std, generator).exp()

    def cauchy_(self, median=0.0, sigma=1.0, generator=None):
        positive("cauchy_", "sigma", sigma)
        # The tangent of an angle that is uniform within half a turn.
        return median + sigma * ((open_uniform(self, generator) - 0.5) * math.pi).tan()

    def geometric_(self, p, generator=None):
        positive("geometric_", "p", p, 1)
        # How many tries until success: by inversion of 1 - (1 - p)^k.
        return (open_uniform(self, generator).log() / math.log1p(-p)).ceil().clamp(1).to(self.dtype)

    def trunc_range(self, low=0, high=None, generator=None):
        if high is None:
            low, high = (0, low) if low else (0, 1 << 24)
        return randint(low, high, self.shape, dtype=self.dtype, device=self.device, generator=generator)

    _in_place("uniform_", uniform_, "Draw all elements uniform on [a, b); returns self.")
    _in_place("normal_", normal_, "Draw all elements normal; returns self.")
    _in_place("bernoulli_", bernoulli_, "Draw all elements 1 with probability p, else 0; returns self.")
    _in_place("exponential_", exponential_, "Draw all elements exponential of rate lambd; returns self.")
    _in_place("log_normal_", log_normal_, "Draw all elements as exp of normal ones; returns self.")
    _in_place("cauchy_", cauchy_, "Draw all elements by Cauchy's distribution; returns self.")
    _in_place("geometric_", geometric_, "Draw all elements as the number of tries until success of probability p; returns self.")
    _in_place("random_", trunc_range, "Draw all elements as whole numbers in [low, high); returns self.")
    Tensor.bernoulli = bernoulli
    Tensor.multinomial = multinomial


_install()
