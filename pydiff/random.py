"""Random numbers and distributions: the same on every device, fused or not, with one thread or many.

A draw is made of counter-based numbers (Philox 4x32-10), so a mask is recomputed in backward rather than stored. What a fixed
number of them serves is composed of ordinary operations and fuses: the uniform, normal, exponential, Cauchy, Laplace,
log-normal, geometric and Bernoulli distributions. The gamma, Poisson and binomial distributions draw as often as they have
to, in kernels of their own (csrc/kernels/samplers.inc). All are exact to rounding; where rounding to a dtype would
leave a distribution's support (0 of a gamma variable, an infinity, 1 of a beta variable), its nearest number inside is given.

Parameters are numbers or tensors, which broadcast with each other and with `size`. Results have the tensors' dtype and
device, or the default ones. A number out of range is a ValueError at the line; an element of a tensor is found when the
draw is computed, and the ValueError names that line. Inside `vmap` a draw is the same for the whole batch, unless its
`randomness` says otherwise.

Samples are differentiable by their parameters where the distribution can be reparameterised: all but those of whole
numbers. That of a gamma variable's shape is implicit (Figurnov, Mohamed & Mnih 2018), and of first order.
"""

import math
import threading
from contextlib import contextmanager

from . import _C
from ._C import Tensor, _draw
from ._dtypes import DTYPES
from ._dtypes import device as _Device
from ._generator import (
    Generator, default_generator, fork_rng, get_rng_state, initial_seed, manual_seed, seed, set_rng_state,
)  # fmt: skip
from ._public import publish
from .facts import limits

__all__ = [
    "Generator",
    "bernoulli",
    "beta",
    "binomial",
    "cauchy",
    "default_generator",
    "dirichlet",
    "exponential",
    "fork_rng",
    "gamma",
    "geometric",
    "get_rng_state",
    "initial_seed",
    "laplace",
    "log_normal",
    "manual_seed",
    "multinomial",
    "normal",
    "poisson",
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

_FLOAT64, _INT64 = DTYPES["float64"], DTYPES["int64"]
_FEW = 1 << 40  # a range so small that the remainder of 63 bits is as good as uniform


# ---- what all share


def _shape(size):
    return tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else tuple(size)


def _size(size):
    return (size,) if isinstance(size, int) else tuple(size)


def _floating(op, dtype):
    dtype = _C.get_default_dtype() if dtype is None else _C.as_dtype(dtype)
    if not dtype.is_floating_point:
        raise TypeError(f"[{op}] samples are floating-point numbers; got {dtype}; try dtype=pydiff.float32")
    return dtype


def _computed_in(dtype):
    """The type in which numbers of a floating dtype are computed."""
    return dtype if dtype == _FLOAT64 else DTYPES["float32"]


class _Open(threading.local):
    """The calls of `vmap` that are running in this thread, outermost first."""

    batches = ()


_open = _Open()


@contextmanager
def inside_vmap(batch):
    """What is drawn meanwhile is drawn for `batch`: it has a `size`, a `randomness` and a `stand_in(tensor)`."""
    before = _open.batches
    _open.batches = (*before, batch)
    try:
        yield
    finally:
        _open.batches = before


def _standard(row, shape, dtype, device, generator):
    """A draw of one of the core's random rows."""

    def draw(size):
        stream, key = (generator or default_generator).next_draw()
        return _draw(row, size, stream, key, dtype, device)

    return _over_batches(draw, shape, _open.batches) if _open.batches else draw(shape)


def _over_batches(draw, shape, batches):
    """A draw as the vmaps want it: the same for a whole batch, or one for each example."""
    if not batches:
        return draw(shape)
    *outer, batch = batches
    if batch.randomness == "error":
        raise RuntimeError("[vmap] a random number is drawn inside; got randomness='error'; try 'different' or 'same'")
    if batch.randomness == "same":
        return _over_batches(draw, shape, outer)
    return batch.stand_in(_over_batches(draw, (batch.size, *shape), outer))


def _sample(op, parameters, generator):
    """Samples of a kernel, which has no batch axis of its own."""
    for batch in _open.batches:
        if batch.randomness != "same":
            raise RuntimeError(
                f"[{op}] inside vmap this distribution is the same for the whole batch; got randomness={batch.randomness!r}; "
                "try randomness='same', or drawing outside and in_dims for the samples"
            )
    return _C._sample(op, parameters, *(generator or default_generator).next_draw())


def _uniform(shape, dtype, device, generator):
    """Uniform on [0, 1). A narrow type has its own 11 or 8 bits: those of float32 could be rounded to 1."""
    u = _standard("random_uniform", shape, _computed_in(dtype), device, generator)
    if u.dtype == dtype:
        return u
    step = limits(dtype).eps / 2
    return ((u / step).floor() * step).to(dtype)


def _finish(tensor, requires_grad):
    return tensor.requires_grad_() if requires_grad else tensor


class _OwnSize(tuple):
    """The size of a draw that fills a tensor in place: errors name the method."""


class _Range:
    """Where a parameter may lie, and how to say so."""

    def __init__(self, words, low, high, flags, advice):
        self.words, self.low, self.high, self.flags, self.advice = words, low, high, flags, advice

    def check(self, op, name, value):
        """The parameter: a number that is in range, or a tensor whose elements are found to be when it is computed."""
        if isinstance(value, Tensor):
            text = f"[{op}] {name} is {self.words}; got {{}}; try {self.advice.format(name)}"
            x = value if value.dtype.is_floating_point else value.to(_C.get_default_dtype())
            return _C._check_range(x, self.low, self.high, self.flags, text)
        above = value > self.low if self.flags & 1 else value >= self.low
        below = value < self.high if self.flags & 2 else value <= self.high
        if not (above and below):
            raise ValueError(f"[{op}] {name} is {self.words}; got {value}; try {self.advice.format(name)}")
        return value


_POSITIVE = _Range("above 0 and finite", 0.0, math.inf, 3, "{0}.clamp(1e-6)")
_NOT_NEGATIVE = _Range("at least 0 and finite", 0.0, math.inf, 2, "{0}.clamp(0)")
_PROBABILITY = _Range("from 0 to 1", 0.0, 1.0, 0, "{0}.clamp(0, 1)")
_SUCCESS = _Range("above 0 and at most 1", 0.0, 1.0, 1, "{0}.clamp(1e-6, 1)")
_RATE = _Range("from 0 to 1e300", 0.0, 1e300, 0, "{0}.clamp(0)")


class _Draw:
    """The parameters of a call, checked, and what is to be drawn for them.

    `ranges`: the allowed range of parameters, by their names (a location may be anything); `counts`: samples are whole
    numbers, so `dtype` may be an integer's. Parameters that are tensors are left in the type of the computation.
    """

    def __init__(self, op, parameters, ranges, size, dtype, device, generator, counts=False, wide=False):
        from .ops import broadcast_shapes

        op += "_" * isinstance(size, _OwnSize)
        given = {k: v if isinstance(v, (Tensor, int, float)) else _C.tensor(v, device=device) for k, v in parameters.items()}
        tensors = [v for v in given.values() if isinstance(v, Tensor)]
        for name, value in given.items():
            if isinstance(value, Tensor) and value.dtype.is_complex:
                raise TypeError(f"[{op}] parameters are real numbers; got {name} of {value.dtype.name}; try its real part")
            if isinstance(value, Tensor) and device is not None and value.device != _Device(device):
                raise ValueError(
                    f"[{op}] {name} lives elsewhere; got {value.device} for device {device}; try {name}.to(device)"
                )
        if dtype is None and tensors:
            dtype = _C.result_type(*tensors)
            dtype = dtype if dtype.is_floating_point else None
        dtype = _C.get_default_dtype() if dtype is None else _C.as_dtype(dtype)
        self.dtype = dtype if counts else _floating(op, dtype)
        self.compute = _FLOAT64 if wide or not dtype.is_floating_point else _computed_in(dtype)
        self.device = device if device is not None or not tensors else tensors[0].device
        self.generator = generator
        shape = broadcast_shapes(*[t.shape for t in tensors]) if tensors else ()
        self.shape = tuple(shape) if size is None else _size(size)
        if size is not None and tuple(broadcast_shapes(shape, self.shape)) != self.shape:
            raise ValueError(
                f"[{op}] parameters broadcast to size; got {tuple(shape)} for size {self.shape}; "
                f"try size={tuple(broadcast_shapes(shape, self.shape))}"
            )
        self.values = []
        for name, value in given.items():
            value = ranges[name].check(op, name, value) if name in ranges else value
            self.values.append(value.to(self.compute) if isinstance(value, Tensor) else value)

    def standard(self, row, dtype=None):
        """Numbers of a random row, in `dtype` or in the type of the computation."""
        return _standard(row, self.shape, dtype or self.compute, self.device, self.generator)

    def sample(self, op, *parameters):
        """Samples of a kernel, by parameters in float64."""
        whole = [
            (p if isinstance(p, Tensor) else _C.full((), float(p), dtype=_FLOAT64, device=self.device)).expand(self.shape)
            for p in parameters
        ]
        return _sample(op, whole, self.generator)

    def within(self, x, low=None, high=None):
        """The samples in their dtype, none beyond what the dtype has of the support."""
        if self.dtype.is_floating_point:
            of = limits(self.dtype)
            low = {"tiny": of.tiny, None: of.min}.get(low, low)
            return x.clamp(low, of.max if high is None else high).to(self.dtype)
        most = (1 << _bits(self.dtype)) - 1
        return x.clamp(low, most).to(self.dtype) if most < 1 << 53 else x.clamp(low).to(self.dtype)


def _bits(dtype):
    """Of an integer dtype or bool: bits of its largest number."""
    return 1 if dtype == DTYPES["bool"] else 8 * dtype.itemsize - dtype.is_signed


# ---- uniform and normal


def rand(*size, dtype=None, device=None, generator=None, requires_grad=False):
    """Uniform on [0, 1).

    >>> import pydiff as pd
    >>> x = pd.rand(1000)
    >>> bool((x >= 0).all()) and bool((x < 1).all())
    True
    """
    return _finish(_uniform(_shape(size), _floating("rand", dtype), device, generator), requires_grad)


def randn(*size, dtype=None, device=None, generator=None, requires_grad=False):
    """Standard normal.

    >>> import pydiff as pd
    >>> tuple(pd.randn(2, 3).shape)
    (2, 3)
    """
    dtype = _floating("randn", dtype)
    return _finish(_standard("random_normal", _shape(size), dtype, device, generator), requires_grad)


def uniform(low=0.0, high=1.0, size=None, *, dtype=None, device=None, generator=None):
    """Uniform on [low, high); low itself where both are equal. Differentiable by both.

    >>> import pydiff as pd
    >>> 2.0 <= pd.uniform(2.0, 3.0).item() < 3.0
    True
    """
    if not isinstance(low, Tensor) and not isinstance(high, Tensor) and not low <= high:
        op = "uniform_" if isinstance(size, _OwnSize) else "uniform"
        raise ValueError(f"[{op}] low is at most high; got {low} and {high}; try {op}({high}, {low})")
    d = _Draw("uniform", {"low": low, "high": high}, {}, size, dtype, device, generator)
    low, high = d.values
    x = low + (high - low) * _uniform(d.shape, d.compute, d.device, generator)
    x = x.to(d.dtype)
    # Rounding may lead up to high.
    low, high = (
        _C.full((), v, dtype=d.dtype, device=x.device) if not isinstance(v, Tensor) else v.to(d.dtype) for v in (low, high)
    )
    return _C._where(x < high, x, low)


def normal(mean=0.0, std=1.0, size=None, *, dtype=None, layout=None, device=None, generator=None, requires_grad=False):
    """Normal with mean and standard deviation, numbers or tensors; without `size` of their shape. Differentiable by both.

    `layout` is taken for PyTorch's sake.

    >>> import pydiff as pd
    >>> tuple(pd.normal(pd.zeros(3), 1.0).shape)
    (3,)
    """
    d = _Draw("normal", {"mean": mean, "std": std}, {"std": _NOT_NEGATIVE}, size, dtype, device, generator)
    mean, std = d.values
    return _finish((mean + std * d.standard("random_normal")).to(d.dtype), requires_grad)


def log_normal(mean=1.0, std=2.0, size=None, *, dtype=None, device=None, generator=None):
    """exp of a normal variable of this mean and standard deviation. Differentiable by both.

    >>> import pydiff as pd
    >>> bool((pd.random.log_normal(0.0, 1.0, 100) > 0).all())
    True
    """
    ranges = {"std": _NOT_NEGATIVE}
    d = _Draw("log_normal", {"mean": mean, "std": std}, ranges, size, dtype, device, generator)
    mean, std = d.values
    return d.within((mean + std * d.standard("random_normal")).exp(), "tiny")


# ---- by inversion


def exponential(rate=1.0, size=None, *, dtype=None, device=None, generator=None):
    """Exponential of a rate above 0: density rate exp(-rate x) on x > 0. Differentiable by the rate.

    >>> import pydiff as pd
    >>> x = pd.random.exponential(pd.tensor([1.0, 10.0]), (5000, 2))
    >>> [f"{m:.1f}" for m in x.mean(0).tolist()], bool((x > 0).all())
    (['1.0', '0.1'], True)
    """
    d = _Draw("exponential", {"rate": rate}, {"rate": _POSITIVE}, size, dtype, device, generator)
    return d.within(d.standard("random_exponential") / d.values[0], "tiny")


def laplace(loc=0.0, scale=1.0, size=None, *, dtype=None, device=None, generator=None):
    """Laplace's distribution: density exp(-|x - loc| / scale) / (2 scale). Differentiable by both.

    >>> import pydiff as pd
    >>> abs(pd.random.laplace(3.0, 0.1, 1000).mean().item() - 3.0) < 0.1
    True
    """
    d = _Draw("laplace", {"loc": loc, "scale": scale}, {"scale": _POSITIVE}, size, dtype, device, generator)
    loc, scale = d.values
    u = d.standard("random_open", _FLOAT64)
    tail = (2.0 * _C.minimum(u, 1.0 - u)).log()
    return d.within(loc + scale * _C._where(u < 0.5, tail, -tail).to(d.compute))


def cauchy(median=0.0, sigma=1.0, size=None, *, dtype=None, device=None, generator=None):
    """Cauchy's distribution: density 1 / (pi sigma (1 + ((x - median) / sigma)**2)). Differentiable by both.

    >>> import pydiff as pd
    >>> abs(pd.random.cauchy(3.0, 0.1, 1001).median().item() - 3.0) < 0.1
    True
    """
    ranges = {"sigma": _POSITIVE}
    d = _Draw("cauchy", {"median": median, "sigma": sigma}, ranges, size, dtype, device, generator)
    median, sigma = d.values
    u = d.standard("random_open", _FLOAT64)
    # tan(pi (u - 1/2)), by the nearer end, which u and 1 - u give exactly.
    angle = math.pi * _C.minimum(u, 1.0 - u)
    tail = angle.cos() / angle.sin()
    most = limits(d.compute).max
    return d.within(median + sigma * _C._where(u < 0.5, -tail, tail).clamp(-most, most).to(d.compute))


def geometric(p, size=None, *, dtype=None, device=None, generator=None):
    """The number of tries up to the first success, each of probability p in (0, 1]: 1, 2, …

    >>> import pydiff as pd
    >>> abs(pd.random.geometric(0.25, 10000).mean().item() - 4.0) < 0.2
    True
    """
    d = _Draw("geometric", {"p": p}, {"p": _SUCCESS}, size, dtype, device, generator, counts=True, wide=True)
    (p,) = d.values
    if isinstance(p, Tensor):
        log_failure = (-p.detach()).log1p()
    else:
        log_failure = math.log1p(-p) if p < 1 else -math.inf
    return d.within((d.standard("random_exponential") / -log_failure).ceil(), 1)


# ---- by kernels that draw until they are done


def _log_gamma(d, concentration):
    """Logarithms of standard gamma variables, in float64."""
    return d.sample("sample_log_gamma", concentration)


def gamma(concentration, rate=1.0, size=None, *, dtype=None, device=None, generator=None):
    """Gamma: density proportional to x**(concentration - 1) exp(-rate x) on x > 0.

    By Marsaglia and Tsang's method. Differentiable by both, by the concentration implicitly and to first order.

    >>> import pydiff as pd
    >>> abs(pd.random.gamma(3.0, 2.0, 10000).mean().item() - 1.5) < 0.1
    True
    """
    given, ranges = {"concentration": concentration, "rate": rate}, {"concentration": _POSITIVE, "rate": _POSITIVE}
    d = _Draw("gamma", given, ranges, size, dtype, device, generator, wide=True)
    concentration, rate = d.values
    return d.within(_log_gamma(d, concentration).exp() / rate, "tiny")


def beta(concentration1, concentration0, size=None, *, dtype=None, device=None, generator=None):
    """Beta: density proportional to x**(concentration1 - 1) (1 - x)**(concentration0 - 1) on 0 < x < 1.

    The share of the first of two gamma variables; differentiable as they are.

    >>> import pydiff as pd
    >>> abs(pd.random.beta(1.0, 3.0, 10000).mean().item() - 0.25) < 0.02
    True
    """
    given = {"concentration1": concentration1, "concentration0": concentration0}
    d = _Draw("beta", given, dict.fromkeys(given, _POSITIVE), size, dtype, device, generator, wide=True)
    one, zero = d.values
    return d.within((_log_gamma(d, one) - _log_gamma(d, zero)).sigmoid(), "tiny", 1 - limits(d.dtype).eps / 2)


def dirichlet(concentration, size=(), *, dtype=None, device=None, generator=None):
    """Dirichlet: shares that add up to 1 along the last axis, density proportional to the product of x**(concentration - 1).

    Arguments:
        concentration: shape (…, k), above 0.
        size: the shape in front of concentration's.

    Shares of gamma variables, normalised in logarithms; differentiable as they are. Returns shape (*size, …, k).

    >>> import pydiff as pd
    >>> x = pd.random.dirichlet(pd.tensor([1.0, 2.0, 3.0]), (4,))
    >>> tuple(x.shape), bool((x.sum(-1) - 1).abs().max() < 1e-6)
    ((4, 3), True)
    """
    concentration = concentration if isinstance(concentration, Tensor) else _C.tensor(concentration, device=device)
    if not concentration.dim():
        raise ValueError("[dirichlet] concentration has an axis of categories; got a number; try dirichlet([a, b, …])")
    whole = (*_size(size), *concentration.shape)
    given = {"concentration": concentration}
    d = _Draw("dirichlet", given, {"concentration": _POSITIVE}, whole, dtype, device, generator, wide=True)
    return d.within(_log_gamma(d, d.values[0]).softmax(-1), "tiny", 1.0)


def poisson(input, generator=None, *, size=None, dtype=None, device=None):
    """Poisson: how many events of a rate `input` of at least 0 happen.

    Exact at every rate: by inversion below 10, otherwise by Hörmann's transformed rejection. Not differentiable: the
    sample does not depend on the rate as far as gradients go.

    >>> import pydiff as pd
    >>> abs(pd.poisson(pd.full((10000,), 4.0)).mean().item() - 4.0) < 0.1
    True
    """
    d = _Draw("poisson", {"rate": _detached(input)}, {"rate": _RATE}, size, dtype, device, generator, counts=True, wide=True)
    return d.within(d.sample("sample_poisson", d.values[0]), 0)


def binomial(count, prob, generator=None, *, size=None, dtype=None, device=None):
    """Binomial: successes among `count` tries, each of probability `prob`.

    A count that is no whole number is taken down to one. Exact at every count: by inversion below 10 expected successes,
    otherwise by Hörmann's transformed rejection. Not differentiable, as `poisson`.

    >>> import pydiff as pd
    >>> abs(pd.binomial(pd.full((10000,), 20.0), pd.tensor(0.25)).mean().item() - 5.0) < 0.1
    True
    """
    given = {"count": _detached(count), "prob": _detached(prob)}
    ranges = {"count": _RATE, "prob": _PROBABILITY}
    d = _Draw("binomial", given, ranges, size, dtype, device, generator, counts=True, wide=True)
    return d.within(d.sample("sample_binomial", *d.values), 0)


def _detached(x):
    return x.detach() if isinstance(x, Tensor) else x


# ---- whole numbers


def _integers(op, low, high, shape, dtype, device, generator):
    low, high = int(low), int(high)
    if high <= low:
        raise ValueError(f"[{op}] low is below high; got {low} and {high}; try high={low + 1}")
    dtype = _INT64 if dtype is None else _C.as_dtype(dtype)
    least, most = -(1 << 63), 1 << 63
    if not dtype.is_floating_point:
        most = min(most, 1 << _bits(dtype))
        least = 0 if dtype.name.startswith("u") or dtype == DTYPES["bool"] else -most
    if low < least or high > most:
        raise ValueError(
            f"[{op}] numbers of {dtype} lie from {least} to {most - 1}; got {low} to {high - 1}; try dtype=pydiff.int64"
        )
    if high - low <= _FEW:
        x = _standard("random_bits", shape, _INT64, device, generator) % (high - low)
    else:
        width = high - low - (1 << 64 if high - low >= 1 << 63 else 0)
        ranges = _C.full((), width, dtype=_INT64, device=device).expand(shape)
        x = _sample("sample_integer", [ranges], generator)
    return (x + low).to(dtype)


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
    if size is None:
        raise TypeError("[randint] a size is missing; got none; try size=(), for one number")
    return _finish(_integers("randint", low, high, _size(size), dtype, device, generator), requires_grad)


def randperm(n, *, dtype=None, device=None, generator=None):
    """The numbers 0 … n-1 in random order; computes at once.

    >>> import pydiff as pd
    >>> sorted(pd.randperm(4).tolist())
    [0, 1, 2, 3]
    """
    from .fallback import argsort

    if n < 0:
        raise ValueError(f"[randperm] n is at least 0; got {n}; try {-n}")
    bits = _standard("random_bits", (n,), _INT64, device, generator)
    return argsort(bits, stable=True).to(dtype or _INT64)


def bernoulli(input, p=None, *, generator=None):
    """1 with the probability that each element of `input` gives (or `p`, a number or tensor), else 0. No gradient.

    >>> import pydiff as pd
    >>> pd.bernoulli(pd.ones(2)).tolist()
    [1.0, 1.0]
    """
    dtype = _floating("bernoulli", input.dtype)
    return _truths("bernoulli", input if p is None else p, input, _computed_in(dtype), generator).to(dtype)


def _truths(op, p, like, dtype, generator):
    p = _PROBABILITY.check(op, "p", _detached(p))
    draw = _standard("random_uniform", like.shape, dtype, like.device, generator)
    return draw < (p.to(dtype) if isinstance(p, Tensor) else p)


_WEIGHT = _Range("at least 0 and finite", 0.0, math.inf, 2, "weights.clamp(0)")


def multinomial(input, num_samples, replacement=False, *, generator=None):
    """Positions along the last axis, drawn with probabilities proportional to `input`.

    Arguments:
        input: weights, shape (k,) or (rows, k): at least 0, and not all 0.
        num_samples: how many of each row; without replacement no more than there are weights above 0.

    Without replacement by the exponential race (Efraimidis and Spirakis 2006), with it by inversion, both in float64.
    Returns int64, shape (num_samples,) or (rows, num_samples).

    >>> import pydiff as pd
    >>> pd.multinomial(pd.tensor([0., 1.]), 1).tolist()
    [1]
    """
    from .fallback import topk

    if not 1 <= input.ndim <= 2:
        raise ValueError(f"[multinomial] the weights are a vector or rows; got {input.shape}; try reshape(-1)")
    if not input.dtype.is_floating_point:
        raise TypeError(f"[multinomial] weights are floating-point numbers; got {input.dtype.name}; try weights.float()")
    if num_samples < 1 or (not replacement and num_samples > input.shape[-1]):
        raise RuntimeError(
            f"[multinomial] from 1 to as many samples as there are weights, or more with replacement; "
            f"got {num_samples} of {input.shape[-1]}; try replacement=True"
        )
    weights = _WEIGHT.check("multinomial", "a weight", input.detach().to(_FLOAT64))
    usable = (weights > 0).sum(-1, keepdim=True)
    text = "[multinomial] a row has as many weights above 0 as samples of it; got {} above 0; try replacement=True"
    if replacement:
        text = "[multinomial] a row has a weight above 0; got {} above 0; try (weights + 1e-6)"
    usable = _C._check_range(usable.to(_FLOAT64), 1.0 if replacement else float(num_samples), math.inf, 0, text)
    if not replacement:
        race = _standard("random_exponential", weights.shape, _FLOAT64, weights.device, generator) / weights
        return topk(race + 0.0 * usable, num_samples, -1, False)[1]
    total = weights.cumsum(-1)
    whole = total[..., -1:] + 0.0 * usable
    draw = _standard("random_open", (*input.shape[:-1], num_samples), _FLOAT64, weights.device, generator) * whole
    last = (total < whole).sum(-1, keepdim=True)  # where rounding up to the whole would lead past all weights above 0
    return _C.minimum((draw.unsqueeze(-1) >= total.unsqueeze(-2)).sum(-1), last)


# ---- like another tensor


def _like(function):
    def method(input, *, dtype=None, layout=None, device=None, generator=None, requires_grad=False, memory_format=None):
        return function(
            input.shape, dtype=dtype or input.dtype, device=device or input.device, generator=generator,
            requires_grad=requires_grad,
        )  # fmt: skip

    method.__name__ = method.__qualname__ = function.__name__ + "_like"
    method.__doc__ = (
        f"`{function.__name__}` of the shape, dtype and device of `input`.\n\n`layout` and `memory_format` are taken for "
        f"PyTorch's sake.\n\n"
        f">>> import pydiff as pd\n>>> tuple(pd.{method.__name__}(pd.zeros(2, 3)).shape)\n(2, 3)\n"
    )
    return method


rand_like = _like(rand)
randn_like = _like(randn)


def randint_like(
    input, low, high=None, *, dtype=None, layout=None, device=None, generator=None, requires_grad=False, memory_format=None
):
    """`randint` of the shape, dtype and device of `input`.

    `layout` and `memory_format` are taken for PyTorch's sake.

    >>> import pydiff as pd
    >>> pd.randint_like(pd.zeros(2), 1).tolist()
    [0.0, 0.0]
    """
    if high is None:
        low, high = 0, low
    drawn = _integers("randint_like", low, high, input.shape, dtype or input.dtype, device or input.device, generator)
    return _finish(drawn, requires_grad)


# ---- in place


def _install():
    from .tensor import _in_place

    def own(self, generator):
        """The keywords of a draw of the tensor's own shape, dtype and device."""
        return {"size": _OwnSize(self.shape), "dtype": self.dtype, "device": self.device, "generator": generator}

    def uniform_(self, a=0.0, b=1.0, generator=None):
        return uniform(a, b, **own(self, generator))

    def normal_(self, mean=0.0, std=1.0, generator=None):
        return normal(mean, std, **own(self, generator))

    def bernoulli_(self, p=0.5, generator=None):
        return _truths("bernoulli_", p, self, _FLOAT64 if self.dtype == _FLOAT64 else DTYPES["float32"], generator).to(
            self.dtype
        )

    def exponential_(self, lambd=1.0, generator=None):
        return exponential(lambd, **own(self, generator))

    def log_normal_(self, mean=1.0, std=2.0, generator=None):
        return log_normal(mean, std, **own(self, generator))

    def cauchy_(self, median=0.0, sigma=1.0, generator=None):
        return cauchy(median, sigma, **own(self, generator))

    def geometric_(self, p, generator=None):
        return geometric(p, **own(self, generator))

    def random_(self, low=0, high=None, generator=None):
        if high is None and low:
            low, high = 0, low
        elif high is None:
            # As PyTorch: all whole numbers that a floating dtype has in a row, an integer's from 0 up.
            high = round(2 / limits(self.dtype).eps) + 1 if self.dtype.is_floating_point else 1 << _bits(self.dtype)
        return _integers("random_", low, high, self.shape, self.dtype, self.device, generator)

    _in_place("uniform_", uniform_, "Draw all elements uniform on [a, b); returns self.")
    _in_place("normal_", normal_, "Draw all elements normal; returns self.")
    _in_place("bernoulli_", bernoulli_, "Draw all elements 1 with probability p, a number or tensor, else 0; returns self.")
    _in_place("exponential_", exponential_, "Draw all elements exponential of rate lambd; returns self.")
    _in_place("log_normal_", log_normal_, "Draw all elements as exp of normal ones; returns self.")
    _in_place("cauchy_", cauchy_, "Draw all elements by Cauchy's distribution; returns self.")
    _in_place(
        "geometric_", geometric_, "Draw all elements as the number of tries until success of probability p; returns self."
    )
    _in_place("random_", random_, "Draw all elements as whole numbers in [low, high); returns self.")
    Tensor.bernoulli = bernoulli
    Tensor.multinomial = multinomial


_install()

publish(globals(), __all__)
