"""Running products, extremes, sums of exponentials and integrals along an axis.

What the core has no kernel for is a scan by doubling: after the step of length s each element is the combination of up
to 2 s elements that end with it, so n elements take log2(n) steps of whole tensors. Every step is made of public
operations, so the scans differentiate to any order, exactly where there are zeros too, and work inside `vmap`.
"""

from collections import namedtuple

from . import _C
from ._C import _iota, _where, cat, logsumexp, stack, tensor, zeros
from ._public import listed
from .ops import _axis
from .pointwise import _floating, _real, _signed

__all__ = []

CummaxResult = namedtuple("cummax", ["values", "indices"], module="pydiff")
CumminResult = namedtuple("cummin", ["values", "indices"], module="pydiff")
_public = listed(__all__)


def _doubled(parts, dim, combine):
    """The scan of a tuple of tensors: `combine(earlier, later)` takes and returns such tuples."""
    size, step = parts[0].shape[dim], 1
    while step < size:
        low = tuple(p.narrow(dim, 0, size - step) for p in parts)
        high = tuple(p.narrow(dim, step, size - step) for p in parts)
        parts = tuple(cat([p.narrow(dim, 0, step), c], dim) for p, c in zip(parts, combine(low, high)))
        step *= 2
    return parts


@_public
def cumprod(input, dim, *, dtype=None):
    """Running products along an axis; of integers int64.

    >>> import pydiff as pd
    >>> pd.cumprod(pd.tensor([1., 2., 3.]), 0).tolist()
    [1.0, 2.0, 6.0]
    """
    dim = _axis("cumprod", dim, input.ndim)
    if dtype is not None:
        input = input.to(dtype)
    elif not input.dtype.is_floating_point:
        input = _real(input).long()
    return _doubled((input,), dim, lambda a, b: (a[0] * b[0],))[0] if input.ndim else input


def _cumulative_extreme(op, input, dim, result, is_better):
    dim = _axis(op, dim, input.ndim)
    if not input.ndim:
        return result(input, zeros((), dtype=_C.as_dtype("int64"), device=input.device))
    places = _iota([n if k == dim else 1 for k, n in enumerate(input.shape)], input.device).expand(input.shape)

    def later(a, b):
        take = is_better(b[0], a[0])
        if input.dtype.is_floating_point:  # a NaN wins and stays, the latest of them
            take = take & ~a[0].isnan() | b[0].isnan()
        return _where(take, b[0], a[0]), _where(take, b[1], a[1])

    index = _doubled((input.detach(), places), dim, later)[1]
    return result(input.gather(dim, index), index)


@_public
def cummax(input, dim):
    """(values, indices) of the largest element so far along an axis; of equal ones the latest.

    >>> import pydiff as pd
    >>> pd.cummax(pd.tensor([1, 3, 2]), 0).values.tolist()
    [1, 3, 3]
    """
    return _cumulative_extreme("cummax", input, dim, CummaxResult, lambda new, old: new >= old)


@_public
def cummin(input, dim):
    """(values, indices) of the smallest element so far along an axis; of equal ones the latest.

    >>> import pydiff as pd
    >>> pd.cummin(pd.tensor([3, 1, 2]), 0).values.tolist()
    [3, 1, 1]
    """
    return _cumulative_extreme("cummin", input, dim, CumminResult, lambda new, old: new <= old)


@_public
def logcumsumexp(input, dim):
    """log(cumsum(exp(x))) along an axis, without overflow.

    >>> import pydiff as pd
    >>> pd.logcumsumexp(pd.tensor([1000., -1000.]), 0).tolist()
    [1000.0, 1000.0]
    """
    dim, input = _axis("logcumsumexp", dim, input.ndim), _floating(input)
    if not input.ndim:
        return input
    return _doubled((input,), dim, lambda a, b: (logsumexp(stack([a[0], b[0]]), 0),))[0]


# ---- integrals and derivatives of samples


def _widths(op, y, x, dx, dim):
    """Distances of neighbours: a number, or a tensor that broadcasts against the parts of y."""
    if x is None:
        return dx
    if x.ndim == 1:
        if x.shape[0] not in (1, y.shape[dim]):
            raise ValueError(f"[{op}] one x for each y; got {x.shape} and {y.shape} along axis {dim}; try equal sizes")
        x = x.reshape([-1 if k == dim else 1 for k in range(y.ndim)])
        along = dim
    else:
        along = dim - y.ndim
    size, x = x.shape[along], _signed(x)
    return x.narrow(along, 1, size - 1) - x.narrow(along, 0, size - 1) if size else x


@_public
def trapezoid(y, x=None, *, dx=1, dim=-1):
    """The integral of samples along an axis by the trapezoidal rule.

    Arguments:
        y: the samples.
        x: where they are, a vector or of y's axes; or
        dx: how far apart they are.

    >>> import pydiff as pd
    >>> pd.trapezoid(pd.tensor([0., 1., 2.])).item()
    2.0
    """
    dim = _axis("trapezoid", dim, y.ndim)
    y, size = _floating(y), y.shape[dim] if y.ndim else 1
    if not size:
        return y.sum(dim)
    if x is None:
        return (y.sum(dim) - (y.select(dim, 0) + y.select(dim, size - 1)) * 0.5) * dx
    return ((y.narrow(dim, 0, size - 1) + y.narrow(dim, 1, size - 1)) * _widths("trapezoid", y, x, dx, dim)).sum(dim) / 2.0


trapz = trapezoid
__all__.append("trapz")


@_public
def cumulative_trapezoid(y, x=None, *, dx=1, dim=-1):
    """Running integrals of samples along an axis by the trapezoidal rule, one fewer than samples; see `trapezoid`.

    >>> import pydiff as pd
    >>> pd.cumulative_trapezoid(pd.tensor([0., 1., 2.])).tolist()
    [0.5, 2.0]
    """
    dim = _axis("cumulative_trapezoid", dim, y.ndim)
    y, size = _floating(y), y.shape[dim] if y.ndim else 1
    if not size:
        return y
    both = y.narrow(dim, 0, size - 1) + y.narrow(dim, 1, size - 1)
    if x is None:
        return both.cumsum(dim) * (dx / 2.0)
    return (both * _widths("cumulative_trapezoid", y, x, dx, dim)).cumsum(dim) / 2.0


@_public
def gradient(input, *, spacing=None, dim=None, edge_order=1):
    """Estimates of derivatives along axes by differences of second order: one tensor for each axis.

    Arguments:
        input: the samples, `edge_order + 1` or more along each axis.
        spacing: their distance (1), one number or one for each axis; or a list of vectors, their coordinates.
        dim: axes, by default all.
        edge_order: 1 or 2, the order at the two ends.

    >>> import pydiff as pd
    >>> pd.gradient(pd.tensor([0., 1., 4., 9.]))[0].tolist()
    [1.0, 2.0, 4.0, 5.0]
    """
    if edge_order not in (1, 2):
        raise ValueError(f"[gradient] the order at the ends is 1 or 2; got {edge_order}; try 1")
    dims = range(input.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    dims = [_axis("gradient", d, input.ndim) for d in dims]
    if len(set(dims)) < len(dims):
        raise ValueError(f"[gradient] an axis is given twice; got {dim}; try each axis once")
    spacing = 1 if spacing is None else spacing
    each = list(spacing) if isinstance(spacing, (tuple, list)) else [spacing] * len(dims)
    if len(each) != len(dims):
        raise ValueError(f"[gradient] one spacing for each axis; got {len(each)} for {len(dims)}; try one number")
    return tuple(_gradient(input, d, h, edge_order) for d, h in zip(dims, each))


def _gradient(y, dim, h, edge_order):
    size = y.shape[dim]
    if size < edge_order + 1:
        raise ValueError(f"[gradient] an axis has edge_order + 1 samples at least; got {size}; try edge_order=1")
    y = _floating(y)
    part = lambda start, count: y.narrow(dim, start, count)  # noqa: E731
    if getattr(h, "ndim", 0) == 1:
        shape = [-1 if k == dim else 1 for k in range(y.ndim)]
        h = (h.narrow(0, 1, size - 1) - h.narrow(0, 0, size - 1)).reshape(shape)
    else:
        h = (h if isinstance(h, _C.Tensor) else tensor(h, dtype=y.dtype, device=y.device)).expand(
            [size - 1 if k == dim else 1 for k in range(y.ndim)]
        )
    gap = lambda start, count=1: h.narrow(dim, start, count)  # noqa: E731

    # The parabola through three neighbours, its slope at the middle and at the ends (Fornberg 1988).
    def slope(at, a, b, y0, y1, y2):
        if at == 0:
            return -(2 * a + b) / (a * (a + b)) * y0 + (a + b) / (a * b) * y1 - a / (b * (a + b)) * y2
        if at == 2:
            return b / (a * (a + b)) * y0 - (a + b) / (a * b) * y1 + (a + 2 * b) / (b * (a + b)) * y2
        return -b / (a * (a + b)) * y0 + (b - a) / (a * b) * y1 + a / (b * (a + b)) * y2

    if edge_order == 1:
        first = (part(1, 1) - part(0, 1)) / gap(0)
        last = (part(size - 1, 1) - part(size - 2, 1)) / gap(size - 2)
    else:
        first = slope(0, gap(0), gap(1), part(0, 1), part(1, 1), part(2, 1))
        last = slope(2, gap(size - 3), gap(size - 2), part(size - 3, 1), part(size - 2, 1), part(size - 1, 1))
    if size == 2:
        return cat([first, last], dim)
    inner = slope(1, gap(0, size - 2), gap(1, size - 2), part(0, size - 2), part(1, size - 2), part(2, size - 2))
    return cat([first, inner, last], dim)
