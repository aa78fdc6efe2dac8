"""Sorting and searching: NumPy, or CuPy, finds the indices, `gather` takes the values, so all differentiate.

What CuPy has not (`ufunc.accumulate`) or has for few elements only (`unique` along an axis) is composed here.
"""

from collections import namedtuple

import numpy as np

from .._C import Tensor, _where, cat, full_like, result_type, tensor, topk_indices, zeros, zeros_like
from .._dtypes import DTYPES
from ..ops import _axis, as_tensor, movedim
from ..pointwise import _real
from ._batching import BY_VALUES, along
from ._rows import fallback

__all__ = [
    "argsort", "cummax_indices", "kthvalue", "median", "msort", "searchsorted", "sort", "topk", "unique", "unique_consecutive",
]  # fmt: skip

SortResult = namedtuple("sort", ["values", "indices"], module="pydiff")
TopkResult = namedtuple("topk", ["values", "indices"], module="pydiff")
MedianResult = namedtuple("median", ["values", "indices"], module="pydiff")
KthResult = namedtuple("kthvalue", ["values", "indices"], module="pydiff")


@fallback("argsort", batch=along)
def _argsort(xp, x, dim, descending):
    """Positions that sort an axis; equal elements keep their order."""
    if not x.ndim or not x.size:
        return xp.zeros(x.shape, xp.int64)
    if not descending:
        return xp.argsort(x, axis=dim, kind="stable")
    # Stable in descending order too: the flipped axis is sorted and the positions counted from its end.
    last = x.shape[dim] - 1
    return xp.flip(last - xp.argsort(xp.flip(x, dim), axis=dim, kind="stable"), dim)


@fallback("unique", batch=BY_VALUES)
def _unique(xp, x, axis):
    """Distinct elements in ascending order, where each element went, how often each comes."""
    if axis is not None and xp is not np:
        return _unique_parts(xp, x, axis)
    values, inverse, counts = xp.unique(x, return_inverse=True, return_counts=True, axis=axis)
    return values, inverse.reshape(x.shape if axis is None else -1), counts


def _unique_parts(xp, x, axis):
    """`unique` along an axis by one sort of the parts; CuPy's own compares two of them at a time, from the host."""
    parts = xp.moveaxis(x, axis, 0)
    flat = parts.reshape(len(parts), int(np.prod(parts.shape[1:])))
    n, width = flat.shape
    # The last key counts most. Without a key all parts are equal.
    order = xp.lexsort(xp.ascontiguousarray(flat.T[::-1])) if n and width else xp.arange(n)
    ranked = flat[order]
    first = xp.ones(n, xp.bool_)  # of its kind
    first[1:] = (ranked[1:] != ranked[:-1]).any(1)
    kind = xp.cumsum(first) - 1
    inverse = xp.zeros(n, xp.int64)
    inverse[order] = kind
    counts = xp.bincount(kind) if n else xp.zeros(0, xp.int64)
    return xp.moveaxis(parts[order[first]], 0, axis), inverse, counts


@fallback("searchsorted")
def _searchsorted(xp, edges, values, right):
    """Where values go in a sorted vector."""
    return xp.searchsorted(edges, values, side="right" if right else "left")


@fallback("cummax_indices", batch=along)
def _cummax_indices(xp, x, dim):
    """Position of the largest element so far, along an axis."""
    if not x.ndim:
        return xp.zeros((), xp.int64)
    top = _running_max(xp, x, dim)
    shape = [1] * x.ndim
    shape[dim] = -1
    index = xp.broadcast_to(xp.arange(x.shape[dim]).reshape(shape), x.shape)
    return _running_max(xp, xp.where((x == top) | (x != x), index, 0), dim)  # a NaN is largest


def _running_max(xp, x, dim):
    """`maximum.accumulate`; NaN stays."""
    if xp is np:
        return np.maximum.accumulate(x, axis=dim)
    return _running_max_by_doubling(xp, x, dim)


def _running_max_by_doubling(xp, x, dim):
    # After the step of length s each element is the largest of the 2 s elements that end with it.
    top = xp.moveaxis(x, dim, 0)
    step = 1
    while step < len(top):
        top = xp.concatenate([top[:step], xp.maximum(top[step:], top[:-step])])
        step *= 2
    return xp.moveaxis(top, 0, dim)


def cummax_indices(input, dim):
    """Position of the largest element so far, along an axis.

    >>> import pydiff as pd
    >>> pd.fallback.cummax_indices(pd.tensor([1, 3, 2]), 0).tolist()
    [0, 1, 1]
    """
    return _cummax_indices(input, dim=dim)


def argsort(input, dim=-1, descending=False, stable=True):
    """Positions that sort an axis; equal elements keep their order.

    >>> import pydiff as pd
    >>> pd.argsort(pd.tensor([3, 1, 2])).tolist()
    [1, 2, 0]
    """
    return _argsort(_real(as_tensor(input)), dim=_axis("argsort", dim, input.ndim), descending=bool(descending))


def sort(input, dim=-1, descending=False, stable=True):
    """(values, indices) of an axis in ascending, or descending, order.

    >>> import pydiff as pd
    >>> pd.sort(pd.tensor([3., 1., 2.])).values.tolist()
    [1.0, 2.0, 3.0]
    """
    index = argsort(input, dim, descending)
    return SortResult(input.gather(dim, index) if input.ndim else input, index)


def topk(input, k, dim=-1, largest=True, sorted=True):
    """(values, indices) of the k largest, or smallest, elements of an axis, in order.

    A NaN is largest; equal elements come by their index. Where k is at most 64 and, on a GPU, the axis has at most 1024
    elements, a kernel selects them, which works inside vmap too; else all are sorted.

    Arguments:
        input: a tensor of any shape; its gradient is that of the elements chosen.
        k: how many, from 0 to the size of the axis.
        dim: the axis.
        largest: False for the smallest, in ascending order.
        sorted: taken for PyTorch's sake; they always are.

    Raises:
        RuntimeError: k is negative or more than the axis has.

    >>> import pydiff as pd
    >>> pd.topk(pd.tensor([3, 1, 2]), 2).indices.tolist()
    [0, 2]
    """
    dim = _axis("topk", dim, input.ndim)
    if input.ndim and not 0 <= k <= input.shape[dim]:
        raise RuntimeError(f"[topk] k is at most the size of the axis; got {k} for {input.shape}; try less")
    if not input.ndim:
        return TopkResult(input, argsort(input, dim, largest))
    if _is_selected(input, k, dim):
        index = topk_indices(input, k, dim, bool(largest))
    else:
        index = argsort(input, dim, largest).narrow(dim, 0, k)
    return TopkResult(input.gather(dim, index), index)


def _is_selected(input, k, dim):
    """Whether a kernel has these: kMostTop and kLongestTop of csrc/ops/api.h."""
    short = input.device.type == "cpu" or input.shape[dim] <= 1024
    return k <= 64 and short and input.dtype.has_kernels and input.dtype.name != "bool"


def kthvalue(input, k, dim=-1, keepdim=False):
    """(value, index) of the k-th smallest element of an axis, counted from 1.

    >>> import pydiff as pd
    >>> pd.kthvalue(pd.tensor([3, 1, 2]), 2).values.item()
    2
    """
    dim = _axis("kthvalue", dim, input.ndim)
    size = input.shape[dim] if input.ndim else 1
    if not 1 <= k <= size:
        raise RuntimeError(f"[kthvalue] k counts from 1; got {k} for {input.shape}; try 1 to {size}")
    if not input.ndim:
        return KthResult(input, argsort(input))
    index = argsort(input, dim).narrow(dim, k - 1, 1)
    values = input.gather(dim, index)
    return KthResult(*((values, index) if keepdim else (values.squeeze(dim), index.squeeze(dim))))


def median(input, dim=None, keepdim=False):
    """The lower of the two middle elements; with `dim` (values, indices). Where there is a NaN, NaN.

    >>> import pydiff as pd
    >>> pd.median(pd.tensor([4, 1, 3, 2])).item()
    2
    """
    if dim is None:
        return median(input.reshape(-1), 0).values
    dim = _axis("median", dim, input.ndim)
    if not input.ndim:
        return MedianResult(input, argsort(input))
    if not input.shape[dim]:
        raise ValueError(f"[median] of no elements there is none; got {input.shape}; try another axis")
    ranked = argsort(input, dim)
    index = ranked.narrow(dim, (input.shape[dim] - 1) // 2, 1)
    if input.dtype.is_floating_point:  # where there is a NaN, it is the median, and the first of them
        bad = input.detach().isnan()
        index = _where(bad.any(dim, keepdim=True), bad.to(DTYPES["int64"]).argmax(dim, keepdim=True), index)
    values = input.gather(dim, index)
    return MedianResult(*((values, index) if keepdim else (values.squeeze(dim), index.squeeze(dim))))


def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """Distinct elements in ascending order, or distinct parts along `dim`; not differentiable.

    >>> import pydiff as pd
    >>> pd.unique(pd.tensor([3, 1, 3])).tolist()
    [1, 3]
    """
    dim = None if dim is None else _axis("unique", dim, input.ndim)
    values, inverse, counts = _unique(_real(input), axis=dim)
    result = [values, *([inverse] if return_inverse else []), *([counts] if return_counts else [])]
    return result[0] if len(result) == 1 else tuple(result)


def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """Elements, or parts along `dim`, without those equal to the one before; not differentiable, computes at once.

    >>> import pydiff as pd
    >>> pd.unique_consecutive(pd.tensor([1, 1, 2, 1])).tolist()
    [1, 2, 1]
    """
    parts = input.reshape(-1) if dim is None else movedim(input, dim, 0)
    parts = parts.detach()
    size = parts.shape[0]
    if size:
        flat = parts.reshape(size, -1) if parts.numel() else parts.reshape(size, 0)
        new = (flat.narrow(0, 1, size - 1) != flat.narrow(0, 0, size - 1)).any(1)
        first = cat([tensor([True], device=input.device), new])
    else:
        first = zeros((0,), dtype=DTYPES["bool"], device=input.device)
    starts = first.nonzero().reshape(-1)
    values = parts.index_select(0, starts)
    result = [values if dim is None else movedim(values, 0, dim)]
    if return_inverse:
        inverse = first.to(DTYPES["int64"]).cumsum(0) - 1
        result.append(inverse.reshape(input.shape) if dim is None else inverse)
    if return_counts:
        ends = cat([starts, tensor([size], device=input.device)]) if size else starts
        result.append(ends[1:] - ends[:-1] if size else starts)
    return result[0] if len(result) == 1 else tuple(result)


def msort(input):
    """Sorted along the first axis.

    >>> import pydiff as pd
    >>> pd.msort(pd.tensor([3, 1, 2])).tolist()
    [1, 2, 3]
    """
    return sort(input, 0).values


def searchsorted(sorted_sequence, values, *, right=False, side=None, out_int32=False, sorter=None):
    """Where values go in a sorted axis: before equal elements, or after them with `right`.

    Arguments:
        sorted_sequence: a vector, or `(…, n)` with the first axes of `values`, ascending along the last.
        values: a tensor or a number.
        right, side: `right=True` and `side="right"` are the same.
        out_int32: int32 instead of int64.
        sorter: positions that sort an unsorted sequence.

    >>> import pydiff as pd
    >>> pd.searchsorted(pd.tensor([1, 3, 5]), pd.tensor([3, 4])).tolist()
    [1, 2]
    """
    _real(sorted_sequence)
    if side not in (None, "left", "right") or (side == "left" and right):
        raise ValueError(f"[searchsorted] the side is 'left' or 'right'; got {side!r}, right={right}; try one of the two")
    right = bool(right) or side == "right"
    if not isinstance(values, Tensor):
        dtype = result_type(sorted_sequence, values) if isinstance(values, (int, float)) else None
        values = tensor(values, dtype=dtype, device=sorted_sequence.device)
    _real(values)
    if sorter is not None:
        sorted_sequence = sorted_sequence.gather(-1, sorter)
    if sorted_sequence.ndim > 1 and sorted_sequence.shape[:-1] != values.shape[:-1]:
        raise ValueError(f"[searchsorted] the first axes agree; got {sorted_sequence.shape} and {values.shape}; try a vector")
    if sorted_sequence.ndim < 1:
        raise ValueError(f"[searchsorted] a vector at least is searched; got {sorted_sequence.shape}; try reshape(1)")
    if sorted_sequence.ndim == 1 and not (sorted_sequence.is_abstract or values.is_abstract):
        place = _searchsorted(sorted_sequence, values, right=right)
    else:
        place = _bisected(sorted_sequence, values, right)
    return place.to(DTYPES["int32" if out_int32 else "int64"])


def _bisected(ranked, values, right):
    """Bisection of all at once: the place is in [low, high]. A NaN is largest, as in NumPy."""
    size = ranked.shape[-1]
    low, high = zeros_like(values, dtype=DTYPES["int64"]), full_like(values, size, dtype=DTYPES["int64"])
    flat = ranked.ndim == 1
    for _ in range(size.bit_length()):
        middle = (low + high) // 2
        at = middle.clamp(None, size - 1)
        there = ranked[at] if flat else ranked.gather(-1, at)
        if right:
            beyond = (there <= values) | values.isnan()
        else:
            beyond = (there < values) | (values.isnan() & ~there.isnan())
        beyond = beyond & (low < high)
        low, high = _where(beyond, middle + 1, low), _where(beyond, high, middle)
    return low


for _function in (argsort, sort, topk, kthvalue, median, msort, unique, unique_consecutive):
    setattr(Tensor, _function.__name__, _function)
