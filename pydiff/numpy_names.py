"""NumPy's functions that PyTorch has not, or has under another name, with NumPy's meaning, on tensors."""

import builtins
import math

from . import _C, bits, fallback, movement, ops, pointwise, reductions, scans, statistics
from ._C import _where, cat, matmul, stack, tensor, trunc
from ._dtypes import DTYPES
from ._public import listed, named
from .indexing import isin
from .ops import _as, _axis, _whole
from .pointwise import _floating

__all__ = []

_int64, _float64 = DTYPES["int64"], DTYPES["float64"]


_public = listed(__all__)


def _alias(name, function):
    globals()[name] = function
    __all__.append(name)


# ---- ufuncs

for _name, _function in {
    "array_split": movement.tensor_split, "bitwise_invert": _C.bitwise_not,
    "broadcast_arrays": ops.broadcast_tensors, "degrees": pointwise.rad2deg, "mod": _C.remainder, "permute_dims": _C.permute,
    "radians": pointwise.deg2rad, "rint": _C.round, "take_along_axis": ops.take_along_dim, "unstack": _C.unbind,
}.items():  # fmt: skip
    _alias(_name, _function)


@_public
def around(input, decimals=0):
    """Rounded to `decimals` digits behind the point, halves to even.

    >>> import pydiff as pd
    >>> pd.around(pd.tensor([1.25, 0.5]), 1).tolist()
    [1.2000000476837158, 0.5]
    """
    return pointwise.round(_as(input), decimals=decimals)


@_public
def cbrt(input):
    """The cube root, of negative numbers negative; to 1 ulp.

    >>> import pydiff as pd
    >>> pd.cbrt(pd.tensor([-27.0, 8.0])).tolist()
    [-3.0, 2.0]
    """
    x = _floating(input)
    below = x < 0
    size = _where(below, -x, x)
    root = size ** (1 / 3)
    # One step of Newton's on y³ - x mends the rounding of 1 / 3; it is no part of the derivative.
    y = root.detach()
    step = (y * y * y - size.detach()) / (3 * y * y)
    root = root - _where(step.isfinite(), step, 0.0)
    return _where(below, -root, root)


@_public
def fabs(input):
    """The absolute value, of integers too as a floating-point number.

    >>> import pydiff as pd
    >>> pd.fabs(pd.tensor([-2])).tolist()
    [2.0]
    """
    return _floating(input).abs()


@_public
def divmod(input, other):
    """(floor(x / y), what is left), as Python's `divmod`.

    >>> import pydiff as pd
    >>> [t.item() for t in pd.divmod(pd.tensor(-7), 3)]
    [-3, 2]
    """
    return _C.floor_divide(input, other), _C.remainder(input, other)


@_public
def modf(input):
    """(the part behind the point, the whole part), both with the number's sign.

    >>> import pydiff as pd
    >>> [t.item() for t in pd.modf(pd.tensor(-1.5))]
    [-0.5, -1.0]
    """
    x = _floating(input)
    whole = trunc(x)
    part = _where(x.isinf(), 0.0, x - whole)
    return pointwise.copysign(part, x), whole


@_public
def spacing(input):
    """How far the next number away from zero is, with the number's sign; NaN for what is not finite.

    >>> import pydiff as pd
    >>> pd.spacing(pd.tensor(1.0)).item() == 2.0**-23
    True
    """
    x = _floating(input)
    size = x.abs()
    step = bits.nextafter(size, math.inf) - size
    return pointwise.copysign(_where(size.isfinite(), step, math.nan), x)


@_public
def bitwise_count(input):
    """How many bits of the absolute value are set, uint8. Raises TypeError for what is not an integer.

    >>> import pydiff as pd
    >>> pd.bitwise_count(pd.tensor([7, -8])).tolist()
    [3, 1]
    """
    x = _as(input)
    if x.dtype.category not in ("integer", "bool"):
        raise TypeError(f"[bitwise_count] integers are needed; got {x.dtype.name}; try .long()")
    x = x.to(_int64).abs() if x.dtype.is_signed else x.to(_int64)
    top = (x < 0).to(_int64)  # the smallest number is its own absolute value, and uint64's from 2^63 are below 0
    x = x & ((1 << 63) - 1)
    # Sums of bits in pairs, nibbles and bytes, which the product adds up (Warren, "Hacker's Delight", 5-1).
    x = x - ((x >> 1) & 0x5555555555555555)
    x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F
    return ((x * 0x0101010101010101 >> 56) + top).to(DTYPES["uint8"])


@_public
def vecdot(x1, x2, axis=-1):
    """Sums of products along an axis; the other axes broadcast.

    >>> import pydiff as pd
    >>> pd.vecdot(pd.ones(2, 3), pd.ones(3)).tolist()
    [3.0, 3.0]
    """
    x1, x2 = ops.broadcast_tensors(_as(x1), _as(x2))
    return (x1 * x2).sum(axis).to(_C.result_type(x1, x2))


@_public
def matvec(x1, x2):
    """Products of matrices `(…, m, n)` and vectors `(…, n)`.

    >>> import pydiff as pd
    >>> pd.matvec(pd.ones(2, 3), pd.ones(3)).tolist()
    [3.0, 3.0]
    """
    return matmul(_as(x1), _as(x2).unsqueeze(-1)).squeeze(-1)


@_public
def vecmat(x1, x2):
    """Products of vectors `(…, m)` and matrices `(…, m, n)`.

    >>> import pydiff as pd
    >>> pd.vecmat(pd.ones(2), pd.ones(2, 3)).tolist()
    [2.0, 2.0, 2.0]
    """
    return matmul(_as(x1).unsqueeze(-2), _as(x2)).squeeze(-2)


# ---- making


@_public
def array(object, dtype=None, device=None):
    """`tensor`, under NumPy's name.

    >>> import pydiff as pd
    >>> pd.array([1, 2]).tolist()
    [1, 2]
    """
    return tensor(object, dtype=dtype, device=device)


@_public
def copy(input):
    """A tensor of the same value that shares memory with none: `clone`.

    >>> import pydiff as pd
    >>> pd.copy(pd.tensor([1])).tolist()
    [1]
    """
    return _as(input).clone()


@_public
def identity(n, dtype=None, device=None):
    """The identity matrix, n by n.

    >>> import pydiff as pd
    >>> pd.identity(1).tolist()
    [[1.0]]
    """
    return ops.eye(n, dtype=dtype, device=device)


@_public
def tri(N, M=None, k=0, dtype=None, device=None):
    """Ones on and below a diagonal, zeros above, N by M.

    >>> import pydiff as pd
    >>> pd.tri(2).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    return ops.tril(_C.ones((N, N if M is None else M), dtype=dtype, device=device), k)


@_public
def geomspace(start, end, steps=50, *, dtype=None, device=None):
    """Numbers from `start` to `end`, both included, each the same multiple of the one before. Raises ValueError at 0 or
    where the two have different signs.

    >>> import pydiff as pd
    >>> pd.geomspace(1, 100, 3).round().tolist()
    [1.0, 10.0, 100.0]
    """
    if start * end <= 0:
        raise ValueError(f"[geomspace] ends of one sign and not 0 are needed; got {start} and {end}; try linspace")
    sign = -1.0 if start < 0 else 1.0
    powers = ops.linspace(math.log(abs(start)), math.log(abs(end)), steps, dtype=_float64, device=device)
    place = ops.arange(steps, device=device)
    inner = sign * powers.exp()
    inner = _where(place == 0, float(start), inner)
    return _where((place == steps - 1) & (steps > 1), float(end), inner).to(dtype or _C.get_default_dtype())


def _sizes(op, what, values):
    values = [_whole(op, what, n) for n in values]
    if any(n < 0 for n in values):
        raise ValueError(f"[{op}] a size is 0 or more; got {tuple(values)}; try the tensor's shape")
    return values


@_public
def indices(dimensions, dtype=None, device=None):
    """The coordinates of each place of a shape, in a new first axis; int64.

    >>> import pydiff as pd
    >>> pd.indices((2, 2)).tolist()
    [[[0, 0], [1, 1]], [[0, 1], [0, 1]]]
    """
    grids = ops.meshgrid(*[ops.arange(n, device=device) for n in _sizes("indices", "dimensions", dimensions)])
    return stack(grids).to(dtype or _int64)


@_public
def ix_(*args):
    """Vectors as the axes of an open grid, to index the places where they cross.

    >>> import pydiff as pd
    >>> [tuple(t.shape) for t in pd.ix_(pd.tensor([0, 1]), pd.tensor([2]))]
    [(2, 1), (1, 1)]
    """
    out = []
    for k, v in enumerate(map(_as, args)):
        if v.ndim != 1:
            raise ValueError(f"[ix_] vectors are needed; got {tuple(v.shape)}; try reshape(-1)")
        v = _C.nonzero(v, as_tuple=True)[0] if v.dtype.category == "bool" else v
        out.append(v.reshape([-1 if j == k else 1 for j in range(len(args))]))
    return tuple(out)


@_public
def diag_indices(n, ndim=2):
    """Coordinates of the diagonal of a cube with edges of n.

    >>> import pydiff as pd
    >>> [t.tolist() for t in pd.diag_indices(2)]
    [[0, 1], [0, 1]]
    """
    return (ops.arange(*_sizes("diag_indices", "n", [n])),) * ndim


@_public
def ravel_multi_index(multi_index, dims):
    """Positions in the flattened tensor of coordinates, a tensor for each axis; the inverse of `unravel_index`.

    Raises TypeError for coordinates that are no integers, ValueError for more or fewer of them than `dims`.

    >>> import pydiff as pd
    >>> pd.ravel_multi_index((pd.tensor([1]), pd.tensor([2])), (2, 3)).tolist()
    [5]
    """
    dims = _sizes("ravel_multi_index", "dims", dims if isinstance(dims, (tuple, list)) else [dims])
    multi_index = [_as(index) for index in multi_index]
    if len(multi_index) != len(dims):
        raise ValueError(
            f"[ravel_multi_index] a tensor for each axis is needed; got {len(multi_index)} for {len(dims)} axes; try the tensor's shape"
        )
    place = 0
    for index, size in zip(multi_index, dims):
        if index.dtype.category != "integer":
            raise TypeError(f"[ravel_multi_index] positions are integers; got {index.dtype.name}; try .long()")
        place = place * size + index
    return place


# ---- shapes


@_public
def expand_dims(input, axis):
    """New axes of size 1 at the places `axis` of the result; a view.

    >>> import pydiff as pd
    >>> tuple(pd.expand_dims(pd.ones(3), (0, -1)).shape)
    (1, 3, 1)
    """
    input, axes = _as(input), [axis] if isinstance(axis, int) else list(axis)
    n = input.ndim + len(axes)
    places = sorted(_axis("expand_dims", a, n) for a in axes)
    if len(set(places)) < len(places):
        raise ValueError(f"[expand_dims] an axis is given twice; got {axis}; try each axis once")
    for a in places:
        input = input.unsqueeze(a)
    return input


@_public
def rollaxis(input, axis, start=0):
    """An axis moved before the axis `start`; a view.

    >>> import pydiff as pd
    >>> tuple(pd.rollaxis(pd.zeros(2, 3, 4), 2).shape)
    (4, 2, 3)
    """
    n = input.ndim
    axis, start = _axis("rollaxis", axis, n), start + n if start < 0 else start
    return ops.movedim(input, axis, start - (axis < start))


@_public
def matrix_transpose(input):
    """The last two axes swapped; a view.

    >>> import pydiff as pd
    >>> tuple(pd.matrix_transpose(pd.zeros(5, 2, 3)).shape)
    (5, 3, 2)
    """
    return _as(input).mT


@_public
def append(input, values, axis=None):
    """Joined along an axis; without one both flattened.

    >>> import pydiff as pd
    >>> pd.append(pd.tensor([1]), pd.tensor([[2], [3]])).tolist()
    [1, 2, 3]
    """
    input, values = _as(input), _as(values)
    return cat([input.reshape(-1), values.reshape(-1)]) if axis is None else cat([input, values], axis)


@_public
def delete(input, obj, axis=None):
    """Without the parts of an axis at positions (a number, a slice, a list or a tensor); without an axis flattened.

    >>> import pydiff as pd
    >>> pd.delete(pd.tensor([1, 2, 3]), 1).tolist()
    [1, 3]
    """
    input = _as(input)
    if axis is None:
        input, axis = input.reshape(-1), 0
    places = list(range(input.shape[axis]))
    gone = tensor(obj).reshape(-1).tolist() if isinstance(obj, (int, list, tuple)) else obj
    gone = places[gone] if isinstance(gone, slice) else gone if isinstance(gone, list) else gone.reshape(-1).tolist()
    for k in gone:
        if not -len(places) <= k < len(places):
            raise IndexError(f"[delete] position out of range; got {k} for {len(places)}; try from 0 to {len(places) - 1}")
    gone = {k % len(places) for k in gone}
    kept = [k for k in places if k not in gone]
    return input.index_select(axis, tensor(kept, dtype=_int64, device=input.device))


@_public
def compress(condition, input, axis=None):
    """The parts of an axis, of the flattened tensor without one, where a vector of truth values is true.

    The vector may be shorter than the axis. Raises IndexError where it is true beyond the end.

    >>> import pydiff as pd
    >>> pd.compress(pd.tensor([True, False]), pd.tensor([[1, 2], [3, 4]]), 0).tolist()
    [[1, 2]]
    """
    input, condition = _as(input), _as(condition)
    if condition.ndim != 1:
        raise ValueError(f"[compress] the condition is a vector; got {tuple(condition.shape)}; try extract")
    if axis is None:
        input, axis = input.reshape(-1), 0
    places, size = _C.nonzero(condition, as_tuple=True)[0], input.shape[_axis("compress", axis, input.ndim)]
    if condition.shape[0] > size and places.shape[0] and places[-1].item() >= size:
        raise IndexError(
            f"[compress] true beyond the end; got place {places[-1].item()} of {size}; try a condition of {size} values"
        )
    return input.index_select(axis, places)


@_public
def extract(condition, input):
    """The elements where the condition is true, as a vector.

    >>> import pydiff as pd
    >>> pd.extract(pd.tensor([True, False]), pd.tensor([1, 2])).tolist()
    [1]
    """
    return compress(_as(condition).reshape(-1), input)


@_public
def flatnonzero(input):
    """Positions in the flattened tensor of what is not zero.

    >>> import pydiff as pd
    >>> pd.flatnonzero(pd.tensor([[0, 1], [2, 0]])).tolist()
    [1, 2]
    """
    return _C.nonzero(_as(input).reshape(-1), as_tuple=True)[0]


# ---- reductions


def _scaled(function, name):
    def percentile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
        input = _floating(input)
        return function(input, _as(q).to(input.dtype) / 100, dim, keepdim, interpolation=interpolation)

    doc = f"""`{function.__name__}` with q from 0 to 100.

    >>> import pydiff as pd
    >>> pd.{name}(pd.tensor([1.0, 3.0]), 50).item()
    2.0
    """
    return _public(named(percentile, name, doc))


percentile = _scaled(statistics.quantile, "percentile")
nanpercentile = _scaled(statistics.nanquantile, "nanpercentile")


@_public
def ptp(input, dim=None, keepdim=False):
    """The largest less the smallest element, over an axis or all.

    >>> import pydiff as pd
    >>> pd.ptp(pd.tensor([1, 5, 2])).item()
    4
    """
    return _C.amax(input, dim, keepdim) - _C.amin(input, dim, keepdim)


@_public
def average(input, dim=None, weights=None, keepdim=False):
    """The mean, weighted: `weights` has the tensor's shape, or the axis's.

    >>> import pydiff as pd
    >>> pd.average(pd.tensor([1.0, 3.0]), weights=pd.tensor([3.0, 1.0])).item()
    1.5
    """
    x = _floating(input)
    if weights is None:
        return x.mean(dim, keepdim)
    w = _as(weights)
    if w.shape != x.shape:
        if not isinstance(dim, int) or tuple(w.shape) != (x.shape[dim],):
            raise ValueError(
                f"[average] weights are as the tensor or as the axis; got {tuple(w.shape)} for {tuple(x.shape)}; try dim="
            )
        w = w.reshape([-1 if k == dim % x.ndim else 1 for k in range(x.ndim)]).expand(x.shape)
    return (x * w).sum(dim, keepdim) / w.sum(dim, keepdim)


def _but_nan(name, fill, function, line, example):
    def reduced(input, dim=None, keepdim=False):
        x = _as(input)
        if not x.dtype.is_floating_point:
            return function(x, dim, keepdim)
        missing = x.isnan()
        result = function(_where(missing, fill, x), dim, keepdim)
        if name in ("nanmax", "nanmin"):  # of nothing but NaN it is NaN
            return _where(missing.all(dim, keepdim), math.nan, result)
        return result

    doc = f"""{line}, NaNs left out.

    >>> import pydiff as pd
    >>> pd.{name}(pd.tensor([2.0, float("nan"), 3.0])).item()
    {example}
    """
    return _public(named(reduced, name, doc))


nanmax = _but_nan("nanmax", -math.inf, _C.amax, "The largest element", "3.0")
nanmin = _but_nan("nanmin", math.inf, _C.amin, "The smallest element", "2.0")
nanprod = _but_nan("nanprod", 1.0, _C.prod, "The product", "6.0")
nanargmax = _but_nan("nanargmax", -math.inf, _C.argmax, "The position of the largest element", "2")
nanargmin = _but_nan("nanargmin", math.inf, _C.argmin, "The position of the smallest element", "0")


@_public
def nanvar(input, dim=None, keepdim=False, correction=1):
    """The variance of what is not NaN: squared deviations over their number less `correction` (NumPy's `ddof`, there 0).

    >>> import pydiff as pd
    >>> pd.nanvar(pd.tensor([1.0, float("nan"), 3.0])).item()
    2.0
    """
    x = _floating(input)
    away = x - reductions.nanmean(x, dim, True)
    count = (~x.isnan()).sum(dim, keepdim)
    return reductions.nansum(away * away, dim, keepdim) / (count - correction)


@_public
def nanstd(input, dim=None, keepdim=False, correction=1):
    """The root of `nanvar`.

    >>> import pydiff as pd
    >>> pd.nanstd(pd.tensor([1.0, float("nan"), 3.0]), correction=0).item()
    1.0
    """
    return nanvar(input, dim, keepdim, correction).sqrt()


def _running(name, function, fill, example):
    def running(input, dim=None, dtype=None):
        x = _as(input)
        if dim is None:
            x, dim = x.reshape(-1), 0
        if fill is not None and x.dtype.is_floating_point:
            x = _where(x.isnan(), fill, x)
        return function(x, dim, dtype=dtype)

    line = f"`{function.__name__}`, without an axis of the flattened tensor"
    doc = f"""{line}{"" if fill is None else "; a NaN counts for nothing"}.

    >>> import pydiff as pd
    >>> pd.{name}(pd.tensor([1.0, 2.0, 3.0])).tolist()
    {example}
    """
    return _public(named(running, name, doc))


cumulative_sum = _running("cumulative_sum", _C.cumsum, None, "[1.0, 3.0, 6.0]")
cumulative_prod = _running("cumulative_prod", scans.cumprod, None, "[1.0, 2.0, 6.0]")
nancumsum = _running("nancumsum", _C.cumsum, 0.0, "[1.0, 3.0, 6.0]")
nancumprod = _running("nancumprod", scans.cumprod, 1.0, "[1.0, 2.0, 6.0]")


@_public
def array_equal(a1, a2, equal_nan=False):
    """Whether shapes and all elements are equal: a truth value.

    >>> import pydiff as pd
    >>> pd.array_equal(pd.tensor([1, 2]), [1, 2])
    True
    """
    a1, a2 = _as(a1), _as(a2)
    if a1.shape != a2.shape:
        return False
    same = a1 == a2
    if equal_nan:
        same = same | ((a1 != a1) & (a2 != a2))
    return bool(same.all().item())


@_public
def array_equiv(a1, a2):
    """Whether all elements are equal where the shapes broadcast: a truth value.

    >>> import pydiff as pd
    >>> pd.array_equiv(pd.tensor([1, 1]), 1)
    True
    """
    a1, a2 = _as(a1), _as(a2)
    try:
        ops.broadcast_shapes(a1.shape, a2.shape)
    except ValueError:
        return False
    return bool((a1 == a2).all().item())


# ---- sets


@_public
def union1d(ar1, ar2):
    """The sorted unique elements of both. Computes at once, as the other functions of sets.

    >>> import pydiff as pd
    >>> pd.union1d(pd.tensor([3, 1]), pd.tensor([1])).tolist()
    [1, 3]
    """
    return fallback.unique(append(ar1, ar2))


@_public
def intersect1d(ar1, ar2):
    """The sorted unique elements that are in both.

    >>> import pydiff as pd
    >>> pd.intersect1d(pd.tensor([3, 1, 2]), pd.tensor([1, 3])).tolist()
    [1, 3]
    """
    one = fallback.unique(_as(ar1).reshape(-1))
    return compress(isin(one, _as(ar2)), one)


@_public
def setdiff1d(ar1, ar2):
    """The sorted unique elements of the first that are not in the second.

    >>> import pydiff as pd
    >>> pd.setdiff1d(pd.tensor([3, 1, 2]), pd.tensor([1, 3])).tolist()
    [2]
    """
    one = fallback.unique(_as(ar1).reshape(-1))
    return compress(isin(one, _as(ar2), invert=True), one)


@_public
def setxor1d(ar1, ar2):
    """The sorted unique elements that are in one of the two.

    >>> import pydiff as pd
    >>> pd.setxor1d(pd.tensor([3, 1, 2]), pd.tensor([1, 4])).tolist()
    [2, 3, 4]
    """
    return fallback.unique(append(setdiff1d(ar1, ar2), setdiff1d(ar2, ar1)))


# ---- signals and curves


@_public
def interp(x, xp, fp):
    """The piecewise linear function through the points (xp, fp), xp rising, at x; constant outside.

    Raises ValueError unless xp and fp are vectors of one length.

    >>> import pydiff as pd
    >>> pd.interp(pd.tensor([0.5, 9.0]), pd.tensor([0.0, 1.0]), pd.tensor([10.0, 20.0])).tolist()
    [15.0, 20.0]
    """
    x, xp, fp = _floating(x), _floating(xp), _floating(fp)
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.numel():
        raise ValueError(
            f"[interp] points are two vectors of one length, not 0; got {tuple(xp.shape)} and {tuple(fp.shape)}; try reshape(-1)"
        )
    right = fallback.searchsorted(xp.detach(), x.detach().contiguous(), right=True).clamp(1, max(xp.shape[0] - 1, 1))
    if xp.shape[0] == 1:
        return fp.expand(x.shape)
    x0, x1, y0, y1 = xp[right - 1], xp[right], fp[right - 1], fp[right]
    inside = ((x - x0) / (x1 - x0)).clamp(0, 1)
    return y0 + inside * (y1 - y0)


@_public
def convolve(a, v, mode="full"):
    """The discrete convolution of two vectors: 'full', 'same' (as the longer) or 'valid' (where they overlap whole).

    >>> import pydiff as pd
    >>> pd.convolve(pd.tensor([1.0, 2.0]), pd.tensor([1.0, 1.0])).tolist()
    [1.0, 3.0, 2.0]
    """
    a, v = _as(a), _as(v)
    if a.ndim != 1 or v.ndim != 1 or not a.numel() or not v.numel() or mode not in ("full", "same", "valid"):
        raise ValueError(
            f"[convolve] two vectors, neither empty, and a known mode are needed; got {tuple(a.shape)}, {tuple(v.shape)}, {mode!r}; "
            "try 'full', 'same' or 'valid'"
        )
    if v.shape[0] > a.shape[0]:
        a, v = v, a
    kind = _C.result_type(a, v)
    n = v.shape[0]
    padded = movement.constant_pad_nd(a.to(kind), (n - 1, n - 1))
    full_size = (padded.unfold(0, n, 1) * v.to(kind).flip(0)).sum(-1).to(kind)
    if mode == "same":
        return full_size.narrow(0, (n - 1) // 2, a.shape[0])
    return full_size if mode == "full" else full_size.narrow(0, n - 1, a.shape[0] - n + 1)


@_public
def correlate(a, v, mode="valid"):
    """The sums of products of two vectors at each shift: `convolve` with the second one backwards.

    >>> import pydiff as pd
    >>> pd.correlate(pd.tensor([1.0, 2.0]), pd.tensor([1.0, 3.0])).tolist()
    [7.0]
    """
    a, v = _as(a), _as(v)
    if v.shape[0] > a.shape[0]:
        return convolve(v, a.flip(0), mode).flip(0)
    return convolve(a, v.flip(0), mode)


@_public
def polyval(p, x):
    """The polynomial with the coefficients p, the highest power first, at x (Horner).

    >>> import pydiff as pd
    >>> pd.polyval(pd.tensor([1.0, 0.0, -1.0]), pd.tensor(3.0)).item()
    8.0
    """
    p, x = _as(p), _as(x)
    value = _C.zeros_like(x)
    for k in range(p.shape[0]):
        value = value * x + p[k]
    return value


@_public
def ediff1d(ary, to_end=None, to_begin=None):
    """Differences of neighbours in the flattened tensor, with what is put before and behind.

    >>> import pydiff as pd
    >>> pd.ediff1d(pd.tensor([1, 4, 9])).tolist()
    [3, 5]
    """
    parts = [to_begin, reductions.diff(_as(ary).reshape(-1)), to_end]
    return cat([_as(t).reshape(-1) for t in parts if t is not None])


@_public
def unwrap(p, discont=None, axis=-1, *, period=2 * math.pi):
    """Jumps of more than half a period (or `discont`) along an axis taken out by adding periods.

    >>> import pydiff as pd
    >>> pd.unwrap(pd.tensor([0.0, 6.0]), period=4.0).tolist()
    [0.0, 2.0]
    """
    p = _floating(p)
    step = reductions.diff(p, dim=axis)
    half = period / 2
    turned = _C.remainder(step + half, period) - half
    turned = _where((turned == -half) & (step > 0), half, turned)
    mend = _where(step.abs() < builtins.max(discont or half, half), 0.0, turned - step)
    first = _C.zeros_like(p.narrow(axis, 0, 1))
    return p + cat([first, mend.cumsum(axis)], axis)


@_public
def digitize(x, bins, right=False):
    """In which bin each element is: how many edges are at or below it, below it with `right`; falling edges count from above.

    >>> import pydiff as pd
    >>> pd.digitize(pd.tensor([0.5, 2.0]), pd.tensor([0.0, 1.0, 2.0])).tolist()
    [1, 3]
    """
    x, bins = _as(x), _as(bins)
    if x.device != bins.device:  # before the edges are looked at
        raise ValueError(
            f"[digitize] operands on different devices; got {x.device} and {bins.device}; try .to({str(x.device)!r})"
        )
    if bins.shape[0] > 1 and bool((bins[0] > bins[-1]).item()):
        return bins.shape[0] - fallback.searchsorted(bins.flip(0).contiguous(), x, right=not right)
    return fallback.searchsorted(bins, x, right=not right)
