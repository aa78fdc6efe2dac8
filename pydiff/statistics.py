"""Order statistics, histograms, covariances and distances."""

import math
from collections import namedtuple

from ._C import Tensor, _iota, _where, cat, full, tensor, zeros
from ._dtypes import DTYPES
from ._public import listed
from .ops import _axis, linspace, movedim
from .pointwise import _floating, _real, _signed
from .reductions import norm
from .scans import cummax

__all__ = []

ModeResult = namedtuple("mode", ["values", "indices"], module="pydiff")
NanmedianResult = namedtuple("nanmedian", ["values", "indices"], module="pydiff")
HistogramddResult = namedtuple("histogramdd", ["hist", "bin_edges"], module="pydiff")
HistogramResult = namedtuple("histogram", ["hist", "bin_edges"], module="pydiff")
_public = listed(__all__)


def _ranked(input, dim=-1):
    from .fallback import sort

    return sort(input, dim)


# ---- order


def _quantile(op, input, q, dim, keepdim, interpolation, ignore_nan):
    if not input.dtype.is_floating_point:
        raise TypeError(f"[{op}] needs floating-point values; got {input.dtype.name}; try x.float()")
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise ValueError(
            f"[{op}] unknown interpolation; got {interpolation!r}; try 'linear', 'lower', 'higher', 'midpoint' or 'nearest'"
        )
    q = q if isinstance(q, Tensor) else tensor(q, dtype=input.dtype, device=input.device)
    if q.ndim > 1:
        raise ValueError(f"[{op}] q is a number or a vector; got {q.shape}; try reshape(-1)")
    if not q.is_abstract and q.numel() and not ((q >= 0) & (q <= 1)).all().item():
        raise ValueError(f"[{op}] q is in [0, 1]; got {q.tolist()}; try percentages divided by 100")
    shape = input.shape
    if dim is None:
        x, kept = input.reshape(-1), (1,) * input.ndim
    else:
        axis = _axis(op, dim, input.ndim)
        x = movedim(input, axis, -1) if input.ndim else input.reshape(1)
        kept = tuple(1 if k == axis else n for k, n in enumerate(shape))
    if not x.shape[-1]:
        raise ValueError(f"[{op}] of no elements nothing can be said; got {shape}; try another axis")
    ranked = _ranked(x).values
    bad = ranked.isnan()
    wanted = q.reshape(-1)
    if ignore_nan:
        rank = wanted * ((~bad).sum(-1, keepdim=True) - 1).clamp(0).to(q.dtype)
    else:  # a NaN is last: where there is one, it is the result
        last = ranked.shape[-1] - 1
        rank = _where(bad.any(-1, keepdim=True), float(last), wanted * last)
    if interpolation == "nearest":
        rank = rank.round()
    low, high = rank.detach().floor(), rank.detach().ceil()
    if interpolation == "lower":
        high = low
    elif interpolation == "higher":
        low = high
    below, above = ranked.gather(-1, low.long()), ranked.gather(-1, high.long())
    if interpolation in ("lower", "higher", "nearest"):
        found = below
    else:
        weight = 0.5 if interpolation == "midpoint" else rank - low
        found = _where(high > low, below + weight * (_where(high > low, above, below) - below), below)
    found = movedim(found, -1, 0)
    full_shape = (found.shape[0], *(kept if keepdim else tuple(found.shape[1:])))
    found = found.reshape(full_shape)
    return found if q.ndim else found.squeeze(0)


@_public
def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """The q-quantiles of all elements, or along an axis; where there is a NaN, NaN.

    Arguments:
        q: a number in [0, 1], or a vector of them, which becomes the first axis of the result.
        interpolation: between two neighbours 'linear', 'lower', 'higher', 'midpoint' or 'nearest'.

    >>> import pydiff as pd
    >>> pd.quantile(pd.tensor([1., 2., 4.]), 0.75).item()
    3.0
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


@_public
def nanquantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """`quantile` of the elements that are not NaN.

    >>> import pydiff as pd
    >>> pd.nanquantile(pd.tensor([1., float("nan"), 3.]), 0.5).item()
    2.0
    """
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


@_public
def nanmedian(input, dim=None, keepdim=False):
    """`median` of the elements that are not NaN; with `dim` (values, indices).

    >>> import pydiff as pd
    >>> pd.nanmedian(pd.tensor([4., float("nan"), 2.])).item()
    2.0
    """
    if dim is None:
        return (
            nanmedian(input.reshape(-1), 0).values
            if input.numel()
            else full((), math.nan, dtype=_floating(input).dtype, device=input.device)
        )
    dim = _axis("nanmedian", dim, input.ndim)
    if not input.ndim:
        return NanmedianResult(input, zeros((), dtype=DTYPES["int64"], device=input.device))
    ranked = _ranked(input, dim)
    count = (~ranked.values.isnan()).sum(dim, keepdim=True)
    index = ranked.indices.gather(dim, ((count - 1) // 2).clamp(0))
    values = input.gather(dim, index)
    return NanmedianResult(*((values, index) if keepdim else (values.squeeze(dim), index.squeeze(dim))))


@_public
def mode(input, dim=-1, keepdim=False):
    """(value, index) of what comes most often along an axis: of several the smallest, and where it is last.

    >>> import pydiff as pd
    >>> pd.mode(pd.tensor([3, 1, 3, 2])).values.item()
    3
    """
    dim = _axis("mode", dim, input.ndim)
    if not input.ndim:
        return ModeResult(input, zeros((), dtype=DTYPES["int64"], device=input.device))
    size = input.shape[dim]
    if not size:
        raise ValueError(f"[mode] of no elements nothing comes most often; got {input.shape}; try another axis")
    ranked = _ranked(input, dim)
    values = ranked.values.detach()
    places = _iota([n if k == dim else 1 for k, n in enumerate(input.shape)], input.device).expand(input.shape)
    new = values.narrow(dim, 1, size - 1) != values.narrow(dim, 0, size - 1)
    starts = cat([places.narrow(dim, 0, 1), _where(new, places.narrow(dim, 1, size - 1), 0)], dim)
    longest = (places - cummax(starts, dim).values).argmax(dim, keepdim=True)
    index = ranked.indices.gather(dim, longest)
    found = input.gather(dim, index)
    return ModeResult(*((found, index) if keepdim else (found.squeeze(dim), index.squeeze(dim))))


# ---- histograms


def _range(op, input, low, high, more):
    """(low, high) as tensors: the data's where both are equal, wider by `more` at both ends where these are, too."""
    if low > high:
        raise ValueError(f"[{op}] the range goes upwards; got {low} and {high}; try ({high}, {low})")
    if not input.numel() and low == high:
        low, high = 0, 1
    if low != high:
        ends = [tensor(float(v), dtype=input.dtype, device=input.device) for v in (low, high)]
    else:
        ends = [input.amin(), input.amax()]
    same = ends[0] == ends[1]
    return _where(same, ends[0] - more, ends[0]), _where(same, ends[1] + more, ends[1])


@_public
def histc(input, bins=100, min=0, max=0):
    """How many elements are in each of `bins` equal parts of [min, max], by default the data's range.

    >>> import pydiff as pd
    >>> pd.histc(pd.tensor([1., 2., 1.]), bins=2, min=0, max=4).tolist()
    [2.0, 1.0]
    """
    if not isinstance(bins, int) or bins < 1:
        raise ValueError(f"[histc] one part at least; got {bins}; try bins=10")
    x = _real(input).detach().reshape(-1)
    if not x.numel():
        return zeros((bins,), dtype=x.dtype, device=x.device)
    if not (math.isfinite(min) and math.isfinite(max)):
        raise ValueError(f"[histc] the range is finite; got {min} and {max}; try min=0, max=1")
    low, high = _range("histc", x.float() if not x.dtype.is_floating_point else x, min, max, 1)
    inside = (x >= low) & (x <= high)
    place = _where(inside, (_where(inside, x, low) - low) * bins / (high - low), 0.0).long().clamp(None, bins - 1)
    return zeros((bins,), dtype=x.dtype, device=x.device).scatter_add(0, place, inside.to(x.dtype))


@_public
def histogram(input, bins, *, range=None, weight=None, density=False):
    """(counts, edges) of parts of a range, by default the data's.

    Arguments:
        bins: a number of equal parts, or their edges, ascending.
        range: (low, high).
        weight: of each element, in `input`'s shape.
        density: whether the parts' areas add up to 1.

    >>> import pydiff as pd
    >>> pd.histogram(pd.tensor([1., 2., 1.]), 2, range=(0., 4.)).hist.tolist()
    [2.0, 1.0]
    """
    from .fallback import searchsorted

    if not input.dtype.is_floating_point:
        raise TypeError(f"[histogram] needs floating-point values; got {input.dtype.name}; try x.float()")
    x = input.detach().reshape(-1)
    if weight is not None and weight.shape != input.shape:
        raise ValueError(f"[histogram] one weight for each element; got {weight.shape} for {input.shape}; try expand")
    if isinstance(bins, Tensor):
        if bins.ndim != 1 or not bins.numel():
            raise ValueError(f"[histogram] the edges are a vector; got {bins.shape}; try linspace")
        edges = bins.detach()
    else:
        if bins < 1:
            raise ValueError(f"[histogram] one part at least; got {bins}; try 10")
        low, high = _range("histogram", x, *(range or (0, 0)), 0.5)
        edges = linspace(low.item(), high.item(), bins + 1, dtype=x.dtype, device=x.device)
    count = edges.shape[0] - 1
    weights = full(x.shape, 1.0, dtype=x.dtype, device=x.device) if weight is None else weight.detach().reshape(-1)
    inside = (x >= edges[0]) & (x <= edges[-1])
    place = (searchsorted(edges, x, right=True) - 1).clamp(0, count - 1 if count else 0)
    found = zeros((count,), dtype=x.dtype, device=x.device)
    if x.numel() and count:
        found = found.scatter_add(0, place, _where(inside, weights, 0.0))
    if density:
        found = found / (found.sum() * (edges.narrow(0, 1, count) - edges.narrow(0, 0, count)))
    return HistogramResult(found, edges)


@_public
def histogramdd(input, bins, *, range=None, weight=None, density=False):
    """(counts, list of edges) of points in boxes; of each axis as in `histogram`.

    Arguments:
        input: `(…, n)`: points of n coordinates.
        bins: a number of parts, one for each coordinate, or a list of their edges.
        range: (low, high) of the first coordinate, of the second, … in one list.
        weight: of each point.
        density: whether the boxes' volumes add up to 1.

    >>> import pydiff as pd
    >>> pd.histogramdd(pd.tensor([[0., 1.], [1., 0.], [1., 1.]]), [2, 2]).hist.tolist()
    [[0.0, 1.0], [1.0, 1.0]]
    """
    from .fallback import searchsorted

    if not input.dtype.is_floating_point:
        raise TypeError(f"[histogramdd] points are rows of floats; got {input.dtype.name}; try .float()")
    if input.ndim < 2:
        raise ValueError(f"[histogramdd] points are rows; got {input.shape}; try (count, n)")
    n = input.shape[-1]
    bins = [bins] * n if isinstance(bins, int) else list(bins)
    if len(bins) != n or (range is not None and len(range) != 2 * n):
        raise ValueError(f"[histogramdd] parts and ranges of {n} coordinates; got {len(bins)}, {range}; try one number")
    points = input.detach().reshape(-1, n) if input.numel() else input.detach().reshape(0, n)
    edges = []
    for k, b in enumerate(bins):
        ends = None if range is None else tuple(range[2 * k : 2 * k + 2])
        edges.append(histogram(points.select(1, k), b, range=ends).bin_edges)
    shape = tuple(e.shape[0] - 1 for e in edges)
    weights = (
        full((points.shape[0],), 1.0, dtype=input.dtype, device=input.device)
        if weight is None
        else (weight.detach().reshape(-1))
    )
    flat = zeros((points.shape[0],), dtype=DTYPES["int64"], device=input.device)
    for k, (e, size) in enumerate(zip(edges, shape)):
        x = points.select(1, k)
        weights = _where((x >= e[0]) & (x <= e[-1]), weights, 0.0)
        flat = flat * size + (searchsorted(e, x, right=True) - 1).clamp(0, size - 1)
    found = zeros((math.prod(shape),), dtype=input.dtype, device=input.device)
    found = (found.scatter_add(0, flat, weights) if points.shape[0] else found).reshape(shape)
    if density:
        found = found / found.sum()
        for k, e in enumerate(edges):
            width = e.narrow(0, 1, shape[k]) - e.narrow(0, 0, shape[k])
            found = found / width.reshape([-1 if j == k else 1 for j, _ in enumerate(shape)])
    return HistogramddResult(found, tuple(edges))


# ---- covariance


@_public
def cov(input, *, correction=1, fweights=None, aweights=None):
    """Covariances of variables, the rows, from observations, the columns.

    Arguments:
        input: `(variables, observations)`, or a vector of observations.
        correction: what is taken off the number of observations.
        fweights, aweights: how often each observation was made, and how much it counts.

    >>> import pydiff as pd
    >>> pd.cov(pd.tensor([[1., 2., 3.], [3., 2., 1.]])).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    if input.ndim > 2:
        raise ValueError(f"[cov] a matrix or a vector is needed; got {input.shape}; try reshape")
    x = _floating(input).reshape((1, -1) if input.ndim < 2 else input.shape)
    for name, weights in (("fweights", fweights), ("aweights", aweights)):
        if weights is not None and (weights.ndim > 1 or weights.numel() != x.shape[1]):
            raise ValueError(f"[cov] {name}: one for each observation; got {weights.shape} for {x.shape}; try a vector")
    weight = None
    if fweights is not None:
        weight = fweights
    if aweights is not None:
        weight = aweights if weight is None else weight * aweights
    count = float(x.shape[1]) if weight is None else weight.sum()
    centred = x - ((x.sum(1) if weight is None else (x * weight).sum(1)) / count).unsqueeze(1)
    if weight is None or aweights is None or correction == 0:
        free = count - correction
    else:
        free = count - correction * (weight * aweights).sum() / count
    free = free.clamp(0) if isinstance(free, Tensor) else tensor(free if free > 0 else 0.0, dtype=x.dtype, device=x.device)
    products = (centred if weight is None else centred * weight) @ centred.mT
    return (products / free).reshape(() if x.shape[0] == 1 else products.shape)


@_public
def corrcoef(input):
    """Correlations of variables, the rows, from observations, the columns.

    >>> import pydiff as pd
    >>> pd.corrcoef(pd.tensor([[1., 2., 3.], [3., 2., 1.]])).round().tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    if input.ndim > 2:
        raise ValueError(f"[corrcoef] a matrix or a vector is needed; got {input.shape}; try reshape")
    c = cov(input)
    if not c.ndim:
        return c / c
    deviation = c.diagonal().sqrt()
    return (c / deviation.unsqueeze(1) / deviation).clamp(-1, 1)


# ---- distances


@_public
def dist(input, other, p=2):
    """The p-norm of the difference.

    >>> import pydiff as pd
    >>> pd.dist(pd.tensor([3., 0.]), pd.tensor([0., 4.])).item()
    5.0
    """
    return norm(_signed(input) - (_signed(other) if isinstance(other, Tensor) else other), p)


@_public
def cdist(x1, x2, p=2.0, compute_mode=None):
    """The p-norms of the differences of all pairs of rows.

    Arguments:
        x1: `(…, m, k)`.
        x2: `(…, n, k)`; the result is `(…, m, n)`.
        compute_mode: taken for PyTorch's sake; distances are always those of the differences, to full precision.

    >>> import pydiff as pd
    >>> pd.cdist(pd.tensor([[3., 0.]]), pd.tensor([[0., 4.], [3., 0.]])).tolist()
    [[5.0, 0.0]]
    """
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ValueError(f"[cdist] rows of one size are needed; got {x1.shape} and {x2.shape}; try unsqueeze(0)")
    if p < 0:
        raise ValueError(f"[cdist] p is 0 or more; got {p}; try 2")
    difference = _signed(x1).unsqueeze(-2) - _signed(x2).unsqueeze(-3)
    return norm(difference, p, -1) if difference.shape[-1] else difference.sum(-1)


@_public
def pdist(input, p=2.0):
    """The p-norms of the differences of all pairs of rows, (0, 1), (0, 2) … as a vector.

    >>> import pydiff as pd
    >>> pd.pdist(pd.tensor([[3., 0.], [0., 4.], [0., 0.]])).tolist()
    [5.0, 3.0, 4.0]
    """
    from .movement import triu_indices

    if input.ndim != 2:
        raise ValueError(f"[pdist] a matrix is needed; got {input.shape}; try reshape")
    if p < 0:
        raise ValueError(f"[pdist] p is 0 or more; got {p}; try 2")
    rows, columns = triu_indices(input.shape[0], input.shape[0], 1, device=input.device).unbind(0)
    input = _signed(input)
    difference = input.index_select(0, rows) - input.index_select(0, columns)
    return norm(difference, p, -1) if difference.shape[-1] else difference.sum(-1)


@_public
def renorm(input, p, dim, maxnorm):
    """Parts along an axis whose p-norm is above `maxnorm`, scaled down to it.

    >>> import pydiff as pd
    >>> pd.renorm(pd.tensor([[3., 4.], [0., 1.]]), 2, 0, 1.).round().tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    if input.ndim < 2:
        raise ValueError(f"[renorm] two axes at least are needed; got {input.shape}; try unsqueeze(0)")
    if p <= 0 or maxnorm < 0:
        raise ValueError(f"[renorm] p is positive and maxnorm 0 or more; got {p} and {maxnorm}; try 2 and 1")
    dim = _axis("renorm", dim, input.ndim)
    size = norm(input, p, [k for k in range(input.ndim) if k != dim], True)
    return input * _where(size > maxnorm, maxnorm / (size + 1e-7), 1.0)
