"""Elements read and written by position: gathering, scattering, filling, and where values stand."""

from . import _C
from ._C import Tensor, _iota, _where, cat, full, stack, tensor, zeros
from ._dtypes import DTYPES
from ._public import listed
from .ops import _axis, _broadcast_shape

_int64 = DTYPES["int64"]

__all__ = []
_public = listed(__all__)


# ---- the core's own, and what PyTorch takes beyond: 0-d tensors, empty indices, masks


@_public
def gather(input, dim, index, *, sparse_grad=False):
    """Elements at the positions `index` along an axis: `out[i][j] = input[index[i][j]][j]` for axis 0.

    Arguments:
        input: a tensor.
        dim: the axis.
        index: integers, with as many axes as `input` and no larger than it but along `dim`; the result has its shape.
        sparse_grad: of no effect: gradients are dense.

    >>> import pydiff as pd
    >>> pd.gather(pd.tensor([[1, 2], [3, 4]]), 1, pd.tensor([[1], [0]])).tolist()
    [[2], [3]]
    """
    if index.ndim != input.ndim:
        if not index.numel():
            _axis("gather", dim, input.ndim)
            return input.reshape(-1).narrow(0, 0, 0).reshape(index.shape)
        if input.ndim + index.ndim == 1:  # one of them is 0-d
            return _C.gather(input.reshape(-1), dim, index.reshape(-1)).reshape(index.shape)
    return _C.gather(input, dim, index)


@_public
def index_select(input, dim, index):
    """The parts of an axis at integer positions, in their order.

    >>> import pydiff as pd
    >>> pd.index_select(pd.tensor([1, 2, 3]), 0, pd.tensor([2, 0])).tolist()
    [3, 1]
    """
    if not input.ndim:
        return _C.index_select(input.reshape(1), dim, index).reshape(())
    return _C.index_select(input, dim, index)


@_public
def index_put(input, indices, values, accumulate=False):
    """`input` with `values` at positions; with `accumulate` added, equal positions adding up.

    Arguments:
        indices: one tensor of integers for each of the first axes, or masks of these axes, which broadcast together.
        values: broadcasts to the positions' shape.

    >>> import pydiff as pd
    >>> pd.index_put(pd.zeros(3), (pd.tensor([0, 2]),), pd.tensor([5., 6.])).tolist()
    [5.0, 0.0, 6.0]
    """
    for i in indices:
        if isinstance(i, Tensor) and i.dtype.category == "bool":
            indices = [k for j in indices for k in (_C.nonzero(j, as_tuple=True) if j.dtype.category == "bool" else (j,))]
            break
    return _C.index_put(input, indices, values, accumulate)


@_public
def nonzero(input, as_tuple=False):
    """Where the elements are not zero: (count, ndim), or one tensor an axis. Computes at once.

    >>> import pydiff as pd
    >>> pd.nonzero(pd.tensor([0, 5, 6])).tolist()
    [[1], [2]]
    """
    if not input.ndim and not as_tuple:
        return zeros((int(bool(input.item())), 0), dtype=_int64, device=input.device)
    return _C.nonzero(input, as_tuple)


@_public
def scatter(input, dim, index, src=None, *, value=None, reduce=None):
    """`input` with `src` at the positions `index` along an axis; the inverse of `gather`.

    Arguments:
        input: a tensor.
        dim: the axis.
        index: integers, with as many axes as `input`; of equal positions one keeps.
        src: a number, or a tensor that is no smaller than `index`; a number may be named `value`, too.
        reduce: 'add' or 'multiply' combines with what is there (see `scatter_reduce`).

    >>> import pydiff as pd
    >>> pd.scatter(pd.zeros(3), 0, pd.tensor([2]), pd.tensor([7.])).tolist()
    [0.0, 0.0, 7.0]
    """
    src = value if src is None else src
    if src is None:
        raise TypeError("[scatter] what to put is missing; got neither src nor value; try src=tensor")
    if reduce is None and isinstance(src, Tensor) and src.ndim:
        return _C.scatter(input, dim, index, src) if input.ndim and index.ndim else _scattered(input, dim, index, src)
    if not isinstance(src, Tensor) or not src.ndim:
        src = src if isinstance(src, Tensor) else tensor(src, dtype=input.dtype)
        src = src.to(dtype=input.dtype, device=input.device).expand(index.shape)
    if reduce is None:
        return _scattered(input, dim, index, src)
    if reduce not in ("add", "multiply"):
        raise ValueError(f"[scatter] unknown reduction; got {reduce!r}; try 'add', 'multiply', or scatter_reduce")
    return scatter_reduce(input, dim, index, src, "sum" if reduce == "add" else "prod")


def _scattered(input, dim, index, src, function=_C.scatter):
    if not index.numel():
        return input
    if input.ndim and index.ndim:
        return function(input, dim, index, src)
    return function(input.reshape(-1), dim, index.reshape(-1), src.reshape(-1)).reshape(input.shape)


# ---- combining what meets


_REDUCE = {"sum": "sum", "mean": "mean", "prod": "prod", "amax": "amax", "amin": "amin"}


@_public
def scatter_reduce(input, dim, index, src, reduce, *, include_self=True):
    """`input` combined with `src` at the positions `index` along an axis.

    Arguments:
        input: a tensor.
        dim: the axis.
        index: integers, with as many axes as `input`.
        src: a tensor no smaller than `index`.
        reduce: 'sum', 'prod', 'mean', 'amax' or 'amin'. Of equal extremes each gets its share of the gradient.
        include_self: whether the element that is there takes part.

    'prod', 'amax' and 'amin' sort the positions, so they are not for use inside `vmap`.

    >>> import pydiff as pd
    >>> pd.scatter_reduce(pd.zeros(2), 0, pd.tensor([1, 1]), pd.tensor([3., 4.]), "amax").tolist()
    [0.0, 4.0]
    """
    if reduce not in _REDUCE:
        raise ValueError(f"[scatter_reduce] unknown reduction; got {reduce!r}; try {', '.join(map(repr, _REDUCE))}")
    shape, dim = input.shape, _axis("scatter_reduce", dim, input.ndim)
    if max(index.ndim, 1) != max(input.ndim, 1) or src.ndim != index.ndim:
        raise ValueError(
            f"[scatter_reduce] all three have as many axes; got {input.shape}, index {index.shape}, src {src.shape}; try expand"
        )
    if not input.ndim or not index.ndim:
        input, index, src = input.reshape(-1), index.reshape(-1), src.reshape(-1)
    for k, n in enumerate(index.shape):
        if n > src.shape[k]:
            raise ValueError(f"[scatter_reduce] src is no smaller than index; got {src.shape} for {index.shape}; try expand")
        if n < src.shape[k]:
            src = src.narrow(k, 0, n)
    if not index.numel():
        return input.reshape(shape)
    return _combined(input, dim, index, src.to(input.dtype), reduce, include_self).reshape(shape)


def _combined(input, dim, index, src, reduce, include_self):
    if reduce in ("sum", "mean"):
        base = input
        count = zeros(input.shape, dtype=_int64, device=input.device).scatter_add(dim, index, _ones(index))
        if not include_self:
            base = _where(count > 0, zeros((), dtype=input.dtype, device=input.device), input)
        total = base.scatter_add(dim, index, src)
        if reduce == "sum":
            return total
        count = count + 1 if include_self else count.clamp(1)
        return total / count.to(total.dtype) if total.dtype.is_floating_point else (total // count).to(total.dtype)
    if reduce == "prod":
        return _joined(input, dim, index, src, lambda a, b: a * b, 1, include_self)
    largest = reduce == "amax"
    result = _joined(input.detach(), dim, index, src.detach(), _C.maximum if largest else _C.minimum, None, include_self)
    if not input.dtype.is_floating_point:
        return result
    # The value is there; the derivative is shared evenly by those that have it.
    touched = zeros(input.shape, dtype=_int64, device=input.device).scatter_add(dim, index, _ones(index)) > 0
    own = (input == result) if include_self else ~touched
    of_src = src == gather(result, dim, index)
    count = own.to(input.dtype).scatter_add(dim, index, of_src.to(input.dtype)).clamp(1)
    share = _change(input, own).scatter_add(dim, index, _change(src, of_src))
    return result + share / count


def _ones(index):
    return tensor(1, dtype=_int64, device=index.device).expand(index.shape)


def _change(x, chosen):
    """Zero with the derivative of x, where chosen."""
    zero = zeros((), dtype=x.dtype, device=x.device)
    safe = _where(chosen & x.isfinite(), x, zero)
    return safe - safe.detach()


def _joined(input, dim, index, src, combine, start, include_self):
    """Elements of equal position combined: sorted by position, then a segmented scan by doubling.

    After the step of length s each element is the combination of up to 2 s elements of its position that end with it.
    """
    from .fallback import argsort

    size, count = input.shape[dim], index.shape[dim]
    index = _where(index < 0, index + size, index.to(_int64))
    order = argsort(index, dim)
    key, value = index.gather(dim, order), src.gather(dim, order)
    step = 1
    while step < count:
        low, high = value.narrow(dim, 0, count - step), value.narrow(dim, step, count - step)
        same = key.narrow(dim, 0, count - step) == key.narrow(dim, step, count - step)
        value = cat([value.narrow(dim, 0, step), _where(same, combine(low, high), high)], dim)
        step *= 2
    # The last of a position has them all; the others go to a place behind the end.
    last = key.narrow(dim, 0, count - 1) != key.narrow(dim, 1, count - 1)
    last = cat([last, (key.narrow(dim, count - 1, 1) == key.narrow(dim, count - 1, 1))], dim)
    place = _where(last, key, size)
    shape = [n + 1 if k == dim else n for k, n in enumerate(input.shape)]
    found = zeros(tuple(shape), dtype=input.dtype, device=input.device).scatter(dim, place, value).narrow(dim, 0, size)
    hit = zeros(tuple(shape), dtype=DTYPES["bool"], device=input.device)
    hit = hit.scatter(dim, place, tensor(True, device=input.device).expand(place.shape)).narrow(dim, 0, size)
    if include_self:
        # A place that nothing comes to meets itself, or the number 1: no NaN of it is made.
        alone = input if start is None else tensor(start, dtype=input.dtype, device=input.device)
        return combine(input, _where(hit, found, alone))
    return _where(hit, found, input)


@_public
def index_reduce(input, dim, index, source, reduce, *, include_self=True):
    """`input` combined with the parts of `source` at the positions `index` of an axis; see `scatter_reduce`.

    >>> import pydiff as pd
    >>> pd.index_reduce(pd.ones(2), 0, pd.tensor([1, 1]), pd.tensor([3., 4.]), "prod").tolist()
    [1.0, 12.0]
    """
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise ValueError(f"[index_reduce] unknown reduction; got {reduce!r}; try 'prod', 'mean', 'amax' or 'amin'")
    dim, index, placed = _placed("index_reduce", input, dim, index, source)
    result = scatter_reduce(input.reshape(placed[0]), dim, index, source.reshape(placed[1]), reduce, include_self=include_self)
    return result.reshape(input.shape)


def _placed(op, input, dim, index, source):
    """(axis, index in the source's shape, shapes of input and source), 0-d tensors being vectors of one element."""
    dim = _axis(op, dim, input.ndim)
    index = index.reshape(-1)
    shape = tuple(input.shape) or (1,)
    place = tuple(index.shape[0] if k == dim else n for k, n in enumerate(shape))
    if (tuple(source.shape) or (1,)) != place:
        raise ValueError(f"[{op}] the source has the shape of its place; got {source.shape} for {place}; try expand")
    spread = (
        index.reshape([-1 if k == dim else 1 for k in range(len(place))])
        if index.numel()
        else index.reshape([0 if k == dim else 1 for k in range(len(place))])
    )
    return dim, spread.expand(place), (shape, place)


# ---- writing


@_public
def index_copy(input, dim, index, source):
    """`input` with the parts of `source` at the positions `index` of an axis; of equal positions one keeps.

    >>> import pydiff as pd
    >>> pd.index_copy(pd.zeros(3), 0, pd.tensor([2]), pd.tensor([7.])).tolist()
    [0.0, 0.0, 7.0]
    """
    dim, spread, (shape, place) = _placed("index_copy", input, dim, index, source)
    if not spread.numel():
        return input
    return _C.scatter(input.reshape(shape), dim, spread, source.reshape(place)).reshape(input.shape)


@_public
def index_fill(input, dim, index, value):
    """`input` with a number at the positions `index` of an axis.

    >>> import pydiff as pd
    >>> pd.index_fill(pd.zeros(3), 0, pd.tensor([2]), 7).tolist()
    [0.0, 0.0, 7.0]
    """
    value = value if isinstance(value, Tensor) else tensor(value, dtype=input.dtype, device=input.device)
    if value.ndim:
        raise ValueError(f"[index_fill] the value is one number; got {value.shape}; try index_copy")
    dim, index = _axis("index_fill", dim, input.ndim), index.reshape(-1)
    shape = tuple(input.shape) or (1,)
    place = tuple(index.shape[0] if k == dim else n for k, n in enumerate(shape))
    if not index.numel() or not input.numel():
        return input
    spread = index.reshape([-1 if k == dim else 1 for k in range(len(place))]).expand(place)
    hit = zeros(shape, dtype=DTYPES["bool"], device=input.device)
    hit = hit.scatter(dim, spread, tensor(True, device=input.device).expand(place)).reshape(input.shape)
    return _where(hit, value.to(dtype=input.dtype, device=input.device), input)


@_public
def masked_scatter(input, mask, source):
    """`input` with the elements of `source`, in their order, where the mask is true.

    >>> import pydiff as pd
    >>> pd.masked_scatter(pd.zeros(3), pd.tensor([True, False, True]), pd.tensor([1., 2.])).tolist()
    [1.0, 0.0, 2.0]
    """
    if mask.dtype.category != "bool":
        raise TypeError(f"[masked_scatter] the mask is bool; got {mask.dtype.name}; try a comparison, or .bool()")
    if input.dtype != source.dtype:
        raise TypeError(f"[masked_scatter] one dtype is needed; got {input.dtype.name} and {source.dtype.name}; try .to")
    shape = _broadcast_shape("masked_scatter", input.shape, mask.shape)
    input, mask = input.expand(shape), mask.expand(shape)
    if not source.numel() or not input.numel():
        return input
    # How many came before; the elements behind the last one that is needed are not looked at.
    place = (mask.reshape(-1).to(_int64).cumsum(0) - 1).clamp(0).reshape(shape)
    return _where(mask, source.reshape(-1)[place], input)


@_public
def put(input, index, source, accumulate=False):
    """`input` with `source` at positions of the flattened tensor; with `accumulate` added.

    >>> import pydiff as pd
    >>> pd.put(pd.zeros(2, 2), pd.tensor([3]), pd.tensor([7.])).tolist()
    [[0.0, 0.0], [0.0, 7.0]]
    """
    if index.numel() != source.numel():
        raise ValueError(f"[put] one element for each position; got {source.shape} for {index.shape}; try expand")
    if not index.numel():
        return input
    flat = input.reshape(-1)
    return _C.index_put(flat, (index.reshape(-1),), source.reshape(-1), accumulate).reshape(input.shape)


@_public
def fill(input, value):
    """A tensor like `input` with a number everywhere.

    >>> import pydiff as pd
    >>> pd.fill(pd.zeros(2), 7).tolist()
    [7.0, 7.0]
    """
    value = value if isinstance(value, Tensor) else tensor(value, dtype=input.dtype, device=input.device)
    if value.ndim:
        raise ValueError(f"[fill] the value is one number; got {value.shape}; try expand")
    return value.to(dtype=input.dtype, device=input.device).expand(input.shape)


# ---- finding


@_public
def argwhere(input):
    """Where the elements are not zero, as rows: (count, ndim). Computes at once.

    >>> import pydiff as pd
    >>> pd.argwhere(pd.tensor([[0, 5], [6, 0]])).tolist()
    [[0, 1], [1, 0]]
    """
    return nonzero(input)


@_public
def nonzero_static(input, *, size, fill_value=-1):
    """The first `size` rows of `nonzero`, padded with `fill_value`: of a known shape, so it works inside `vmap` too.

    >>> import pydiff as pd
    >>> pd.nonzero_static(pd.tensor([0, 5, 6]), size=3).tolist()
    [[1], [2], [-1]]
    """
    if size < 0:
        raise ValueError(f"[nonzero_static] size is 0 or more; got {size}; try 1")
    from .movement import unravel_index

    if not input.ndim or not size or not input.numel():
        return full((size, input.ndim), fill_value, dtype=_int64, device=input.device)
    flat = (input != 0).reshape(-1)
    place = flat.to(_int64).cumsum(0) - 1
    place = _where(flat & (place < size), place, size)
    found = full((size + 1,), -1, dtype=_int64, device=input.device).scatter(0, place, _iota((flat.shape[0],), input.device))
    found = found.narrow(0, 0, size)
    rows = stack(list(unravel_index(found.clamp(0), tuple(input.shape))), 1)
    return _where((found >= 0).unsqueeze(1), rows, fill_value)


@_public
def isin(elements, test_elements, *, assume_unique=False, invert=False):
    """Whether each element is one of `test_elements`.

    >>> import pydiff as pd
    >>> pd.isin(pd.tensor([1, 2, 3]), pd.tensor([3, 1])).tolist()
    [True, False, True]
    """
    device = next((t.device for t in (elements, test_elements) if isinstance(t, Tensor)), None)
    elements, tests = (t if isinstance(t, Tensor) else tensor(t, device=device) for t in (elements, test_elements))
    tests = tests.reshape(-1)
    if tests.shape[0] <= 64 or elements.is_abstract or tests.is_abstract:
        found = (elements.unsqueeze(-1) == tests).any(-1)
    else:
        from .fallback import searchsorted, sort

        dtype = _C.result_type(elements, tests)
        elements, ranked = elements.to(dtype), sort(tests.to(dtype)).values
        found = ranked[searchsorted(ranked, elements).clamp(None, tests.shape[0] - 1)] == elements
    return ~found if invert else found


@_public
def bucketize(input, boundaries, *, out_int32=False, right=False):
    """Between which of the sorted boundaries each element lies; see `searchsorted`.

    >>> import pydiff as pd
    >>> pd.bucketize(pd.tensor([0, 3, 9]), pd.tensor([1, 3, 5])).tolist()
    [0, 1, 3]
    """
    from .fallback import searchsorted

    if boundaries.ndim != 1:
        raise ValueError(f"[bucketize] the boundaries are a vector; got {boundaries.shape}; try searchsorted")
    return searchsorted(boundaries, input, right=right, out_int32=out_int32)


for _function in (gather, index_select, index_put, nonzero, scatter):
    setattr(Tensor, _function.__name__, _function)
