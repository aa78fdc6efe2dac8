"""Reductions: the core's, with what PyTorch takes beyond, and those composed of them."""

import functools
import math

from . import _C
from ._C import Tensor, _where, cat, maximum, minimum, tensor, zeros
from ._public import listed
from .ops import _as, _axis
from .pointwise import _floating

__all__ = []
_public = listed(__all__)


def _zero(x):
    return zeros((), dtype=x.dtype, device=x.device)


def _flat_on_tape(value, x):
    """`value`, whose derivative with respect to x is zero instead of missing: x is nowhere chosen."""
    return value + _where((x == x) & (x != x), x, _zero(x)).sum().to(value.dtype)


# ---- the core's own, and what PyTorch takes beyond


def _reads_as(like):
    """Gives the signature of `like` to a function that hands its arguments on to the core as they are, which costs less."""

    def told(function):
        function.__wrapped__ = like  # where inspect.signature looks
        return function

    return told


def _extreme(name, of_two):
    core = getattr(_C, name)

    def extreme(input, *args, **kwargs):  # the core reads the names of its arguments, NumPy's too
        if args and isinstance(args[0], Tensor):
            return of_two(input, *args)
        return of_two(input, **kwargs) if "other" in kwargs else core(input, *args, **kwargs)

    return _reads_as(lambda input, dim=None, keepdim=False, *, other=None: None)(extreme)


max = _extreme("max", maximum)
max.__name__ = max.__qualname__ = "max"
max.__doc__ = """The largest element; with `dim` (values, indices) along an axis; with a second tensor the larger of the two.

    >>> import pydiff as pd
    >>> pd.max(pd.tensor([1, 3, 2])).item(), pd.max(pd.tensor([1, 3, 2]), 0).indices.item()
    (3, 1)
    >>> pd.max(pd.tensor([1, 3]), pd.tensor([2, 2])).tolist()
    [2, 3]
    """
min = _extreme("min", minimum)
min.__name__ = min.__qualname__ = "min"
min.__doc__ = """The smallest element; with `dim` (values, indices) along an axis; with a second tensor the smaller of the two.

    >>> import pydiff as pd
    >>> pd.min(pd.tensor([1, 3, 2])).item(), pd.min(pd.tensor([1, 3, 2]), 0).indices.item()
    (1, 0)
    >>> pd.min(pd.tensor([1, 3]), pd.tensor([2, 2])).tolist()
    [1, 2]
    """
__all__ += ["max", "min"]


@_reads_as(lambda input, dim=None, keepdim=False, *, dtype=None: None)
def prod(input, *args, **kwargs):
    """The product of all elements, or along axes; of integers int64.

    >>> import pydiff as pd
    >>> pd.prod(pd.tensor([2., 3.])).item()
    6.0
    """
    dtype = kwargs.get("dtype")
    if dtype is not None and _C.as_dtype(dtype).category == "bool":
        del kwargs["dtype"]
        return (input != 0).all(*args, **kwargs)
    return _C.prod(input, *args, **kwargs)


@_reads_as(lambda input, dim=None, keepdim=False: None)
def logsumexp(input, *args, **kwargs):
    """log(sum(exp(x))) over axes, without overflow; of integers in the default dtype.

    >>> import pydiff as pd
    >>> pd.logsumexp(pd.tensor([1000., -1000.]), 0).item()
    1000.0
    """
    return _C.logsumexp(_floating(input), *args, **kwargs)


__all__ += ["logsumexp", "prod"]


# ---- counting


@_public
def count_nonzero(input, dim=None):
    """How many elements are not zero.

    >>> import pydiff as pd
    >>> pd.count_nonzero(pd.tensor([0, 5, 6])).item()
    2
    """
    input = _as(input)
    return (input if input.dtype.category == "bool" else input != 0).sum(dim)


@_public
def bincount(input, weights=None, minlength=0):
    """How often each number comes, or the sum of its weights; computes the largest at once.

    Arguments:
        input: a vector of integers, 0 or more.
        weights: a vector as long; the result is float64 unless they are float32.
        minlength: how long the result is at least.

    >>> import pydiff as pd
    >>> pd.bincount(pd.tensor([0, 2, 2])).tolist()
    [1, 0, 2]
    """
    if input.dtype.category not in ("integer", "bool"):
        raise TypeError(f"[bincount] integers are counted; got {input.dtype.name}; try histc, or .long()")
    if input.ndim != 1:
        raise ValueError(f"[bincount] a vector is counted; got {input.shape}; try reshape(-1)")
    if minlength < 0:
        raise ValueError(f"[bincount] minlength is 0 or more; got {minlength}; try 0")
    size = int(input.max().item()) + 1 if input.numel() else 0
    size = size if size > minlength else minlength
    if weights is None:
        values = tensor(1, device=input.device).expand(input.shape)
    else:
        if weights.shape != input.shape:
            raise ValueError(f"[bincount] one weight for each element; got {weights.shape} for {input.shape}; try expand")
        values = weights if weights.dtype.name == "float32" else weights.double()
    out = zeros((size,), dtype=values.dtype, device=input.device)
    return out.scatter_add(0, input.long(), values) if input.numel() else out


# ---- moments


def _moments(function):
    """Of `(input, unbiased)` and `(input, dim, unbiased, keepdim, *, correction)`."""

    @functools.wraps(function)
    def called(input, dim=None, unbiased=True, keepdim=False, *, correction=None):
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        return function(input, dim, unbiased, keepdim, correction=correction)

    return called


@_public
@_moments
def std_mean(input, dim=None, unbiased=True, keepdim=False, *, correction=None):
    """(standard deviation, mean).

    >>> import pydiff as pd
    >>> [t.item() for t in pd.std_mean(pd.tensor([1., 3.]), correction=0)]
    [1.0, 2.0]
    """
    return input.std(dim, unbiased, keepdim, correction=correction), input.mean(dim, keepdim)


@_public
@_moments
def var_mean(input, dim=None, unbiased=True, keepdim=False, *, correction=None):
    """(variance, mean).

    >>> import pydiff as pd
    >>> [t.item() for t in pd.var_mean(pd.tensor([1., 3.]), correction=0)]
    [1.0, 2.0]
    """
    return input.var(dim, unbiased, keepdim, correction=correction), input.mean(dim, keepdim)


@_public
def aminmax(input, dim=None, keepdim=False):
    """(smallest, largest).

    >>> import pydiff as pd
    >>> [t.item() for t in pd.aminmax(pd.tensor([3, 1]))]
    [1, 3]
    """
    return input.amin(dim, keepdim), input.amax(dim, keepdim)


@_public
def nansum(input, dim=None, keepdim=False, *, dtype=None):
    """Sum in which NaN counts as zero.

    >>> import pydiff as pd
    >>> pd.nansum(pd.tensor([1., float("nan")])).item()
    1.0
    """
    if dtype is not None:
        input = input.to(dtype)
    if input.dtype.is_floating_point:
        input = _where(input.isnan(), _zero(input), input)
    return input.sum(dim, keepdim)


@_public
def nanmean(input, dim=None, keepdim=False, *, dtype=None):
    """Mean of the elements that are not NaN.

    >>> import pydiff as pd
    >>> pd.nanmean(pd.tensor([1., float("nan")])).item()
    1.0
    """
    if dtype is not None:
        input = input.to(dtype)
    bad = input.isnan()
    return _where(bad, 0.0, input).sum(dim, keepdim) / (~bad).sum(dim, keepdim)


# ---- norms


@_public
def norm(input, p="fro", dim=None, keepdim=False, dtype=None):
    """The p-norm over axes: (sum |x|^p)^(1/p); 'fro' is p = 2; inf, -inf and 0 as usual.

    Where an element, or the norm, is 0, so is the derivative that is not defined there.

    Arguments:
        p: a number, 'fro', or 'nuc' (of matrices: the sum of the singular values).
        dim: axes, by default all.
        dtype: what to compute in.

    >>> import pydiff as pd
    >>> pd.norm(pd.tensor([3., 4.])).item()
    5.0
    """
    if dtype is not None:
        input = input.to(dtype)
    x = _floating(input)
    if isinstance(dim, (tuple, list)) and not dim:
        dim = None
    if p == "nuc":
        from .linalg import matrix_norm

        return matrix_norm(x, "nuc", (-2, -1) if dim is None else dim, keepdim)
    if p in ("fro", 2, 2.0, None):
        total = (x * x).sum(dim, keepdim)
        zero = total == 0
        return _where(zero, 0.0, _where(zero, 1.0, total).sqrt())
    if not isinstance(p, (int, float)):
        raise ValueError(f"[norm] unknown norm; got {p!r}; try 'fro' or a number")
    a = x.abs()
    if p == math.inf:
        return a.amax(dim, keepdim)
    if p == -math.inf:
        return a.amin(dim, keepdim)
    if p == 0:
        return _flat_on_tape((a != 0).to(a.dtype).sum(dim, keepdim), x)
    if p == 1:
        return a.sum(dim, keepdim)
    zero = a == 0
    total = _where(zero, 0.0 if p > 0 else math.inf, _where(zero, 1.0, a) ** p).sum(dim, keepdim)
    edge = (total == 0) | (total == math.inf)
    return (
        _where(edge, total ** (1.0 / p), _where(edge, 1.0, total) ** (1.0 / p))
        if p < 0
        else _where(total == 0, 0.0, _where(total == 0, 1.0, total) ** (1.0 / p))
    )


# ---- neighbours


@_public
def diff(input, n=1, dim=-1, prepend=None, append=None):
    """Differences of neighbours along an axis, n times.

    Arguments:
        prepend, append: what is put before and behind the axis first.

    >>> import pydiff as pd
    >>> pd.diff(pd.tensor([1, 4, 9])).tolist()
    [3, 5]
    """
    if not input.ndim:
        raise ValueError(f"[diff] an axis is needed; got {input.shape}; try reshape(1)")
    if n < 0:
        raise ValueError(f"[diff] n is 0 or more; got {n}; try 1")
    dim = _axis("diff", dim, input.ndim)
    if n and (prepend is not None or append is not None):
        input = cat([t for t in (prepend, input, append) if t is not None], dim)
    for _ in range(n):
        size = input.shape[dim]
        if size == 0:
            return input
        high, low = input.narrow(dim, 1, size - 1), input.narrow(dim, 0, size - 1)
        input = high ^ low if input.dtype.category == "bool" else high - low
    return input


for _function in (max, min, prod, logsumexp, aminmax):
    setattr(Tensor, _function.__name__, _function)
