"""Elements moved, not computed: cutting, joining, turning and placing, composed of views, pads and indexing."""

import itertools
import math
import operator

import numpy as np

from . import _C
from ._C import Tensor, _iota, _pad, _where, cat, stack, tensor, zeros
from ._dtypes import DTYPES
from ._public import listed
from .ops import _as, _axis, _whole, atleast_2d, diagonal, meshgrid, movedim, vstack

__all__ = []
_public = listed(__all__)


def _many(tensors):
    """Tensors given one by one or as one sequence."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tensors[0]
    return [_as(t) for t in tensors]


# ---- turning


@_public
def rot90(input, k=1, dims=(0, 1)):
    """Turned by k times 90 degrees in the plane of two axes, from the first towards the second.

    >>> import pydiff as pd
    >>> pd.rot90(pd.tensor([[1, 2], [3, 4]])).tolist()
    [[2, 4], [1, 3]]
    """
    if not isinstance(dims, (tuple, list)):
        raise TypeError(f"[rot90] a plane has two axes; got {dims!r}; try (0, 1)")
    if len(dims) != 2:
        raise ValueError(f"[rot90] a plane has two axes; got {tuple(dims)}; try (0, 1)")
    a, b = (_axis("rot90", d, input.ndim) for d in dims)
    if a == b:
        raise ValueError(f"[rot90] the two axes are one; got {tuple(dims)}; try different axes")
    k %= 4
    if k == 2:
        return input.flip((a, b))
    if k == 1:
        return input.flip(b).transpose(a, b)
    return input.flip(a).transpose(a, b) if k else input


@_public
def fliplr(input):
    """The second axis backwards.

    >>> import pydiff as pd
    >>> pd.fliplr(pd.tensor([[1, 2]])).tolist()
    [[2, 1]]
    """
    if input.ndim < 2:
        raise ValueError(f"[fliplr] two axes at least are needed; got {input.shape}; try flip(0)")
    return input.flip(1)


@_public
def flipud(input):
    """The first axis backwards.

    >>> import pydiff as pd
    >>> pd.flipud(pd.tensor([1, 2])).tolist()
    [2, 1]
    """
    if input.ndim < 1:
        raise ValueError(f"[flipud] an axis is needed; got {input.shape}; try reshape(1)")
    return input.flip(0)


@_public
def swapdims(input, dim0, dim1):
    """Two axes swapped: `transpose` under its second name; a view.

    >>> import pydiff as pd
    >>> tuple(pd.swapdims(pd.zeros(2, 3, 4), 0, 2).shape)
    (4, 3, 2)
    """
    return input.transpose(dim0, dim1)


@_public
def adjoint(input):
    """The last two axes swapped; a view. Of real numbers that is the adjoint.

    >>> import pydiff as pd
    >>> pd.adjoint(pd.tensor([[1, 2]])).tolist()
    [[1], [2]]
    """
    if input.ndim < 2:
        raise ValueError(f"[adjoint] a matrix has two axes at least; got {input.shape}; try unsqueeze(0)")
    return input.transpose(-2, -1)


# ---- cutting


def _at(input, dim, borders):
    size = input.shape[dim]
    borders = [0, *(max(0, min(size, b + size if b < 0 else b)) for b in borders), size]
    return tuple(input.narrow(dim, a, max(0, b - a)) for a, b in itertools.pairwise(borders))


@_public
def tensor_split(input, indices_or_sections, dim=0):
    """Cut along an axis: into a number of parts whose sizes differ by one at most, or before given positions.

    Arguments:
        input: a tensor of one axis or more.
        indices_or_sections: a number of parts, or a list (a tensor) of positions.
        dim: the axis.

    >>> import pydiff as pd
    >>> [t.tolist() for t in pd.tensor_split(pd.arange(5), 2)]
    [[0, 1, 2], [3, 4]]
    >>> [t.tolist() for t in pd.tensor_split(pd.arange(5), (1, 4))]
    [[0], [1, 2, 3], [4]]
    """
    if not input.ndim:
        raise ValueError(f"[tensor_split] an axis is needed; got {input.shape}; try reshape(1)")
    dim = _axis("tensor_split", dim, input.ndim)
    where = indices_or_sections.tolist() if isinstance(indices_or_sections, Tensor) else indices_or_sections
    if isinstance(where, (tuple, list)):
        return _at(input, dim, where)
    if where < 1:
        raise ValueError(f"[tensor_split] one part at least; got {where}; try 1")
    each, more = divmod(input.shape[dim], where)
    return _at(input, dim, [k * each + min(k, more) for k in range(1, where)])


def _split(op, input, where, dim):
    if isinstance(where, int) and (where < 1 or input.shape[dim] % where):
        raise ValueError(f"[{op}] the parts are of one size; got {where} of {input.shape} along axis {dim}; try tensor_split")
    return tensor_split(input, where, dim)


@_public
def hsplit(input, indices_or_sections):
    """`tensor_split` along the second axis, of vectors along the first; a number of parts divides the size.

    >>> import pydiff as pd
    >>> [t.tolist() for t in pd.hsplit(pd.arange(4), 2)]
    [[0, 1], [2, 3]]
    """
    if input.ndim < 1:
        raise ValueError(f"[hsplit] an axis is needed; got {input.shape}; try reshape(1)")
    return _split("hsplit", input, indices_or_sections, 0 if input.ndim == 1 else 1)


@_public
def vsplit(input, indices_or_sections):
    """`tensor_split` along the first axis of two or more; a number of parts divides the size.

    >>> import pydiff as pd
    >>> [t.tolist() for t in pd.vsplit(pd.eye(2), 2)]
    [[[1.0, 0.0]], [[0.0, 1.0]]]
    """
    if input.ndim < 2:
        raise ValueError(f"[vsplit] two axes at least are needed; got {input.shape}; try hsplit")
    return _split("vsplit", input, indices_or_sections, 0)


@_public
def dsplit(input, indices_or_sections):
    """`tensor_split` along the third axis; a number of parts divides the size.

    >>> import pydiff as pd
    >>> [tuple(t.shape) for t in pd.dsplit(pd.zeros(1, 2, 4), 2)]
    [(1, 2, 2), (1, 2, 2)]
    """
    if input.ndim < 3:
        raise ValueError(f"[dsplit] three axes at least are needed; got {input.shape}; try vsplit")
    return _split("dsplit", input, indices_or_sections, 2)


@_public
def split_with_sizes(input, split_sizes, dim=0):
    """Cut along an axis into parts of given sizes, which add up to it.

    >>> import pydiff as pd
    >>> [t.tolist() for t in pd.split_with_sizes(pd.arange(3), [1, 2])]
    [[0], [1, 2]]
    """
    return input.split(list(split_sizes), dim)


def unfold(input, dimension, size, step=1):
    """Windows of an axis: `size` elements each, beginning `step` apart; they become a new last axis.

    A method only; the function `nn.functional.unfold` (im2col) is another one.

    >>> import pydiff as pd
    >>> pd.arange(5).unfold(0, 3, 2).tolist()
    [[0, 1, 2], [2, 3, 4]]
    """
    if not input.ndim:
        if size not in (0, 1):
            raise ValueError(f"[unfold] the window is at most as large as the axis; got {size} of {input.shape}; try 1")
        return input.reshape(1).narrow(0, 0, size)
    dimension = _axis("unfold", dimension, input.ndim)
    if not 0 <= size <= input.shape[dimension] or step < 1:
        raise ValueError(
            f"[unfold] the window is at most as large as the axis and the step positive; got size {size}, step {step} "
            f"of {input.shape} along axis {dimension}; try a size up to {input.shape[dimension]}"
        )
    count = (input.shape[dimension] - size) // step + 1
    places = _iota((count, 1), input.device) * step + _iota((1, size), input.device)
    windows = input.index_select(dimension, places.reshape(-1))
    shape = input.shape
    return movedim(windows.reshape((*shape[:dimension], count, size, *shape[dimension + 1 :])), dimension + 1, -1)


# ---- joining


@_public
def atleast_3d(*tensors):
    """With three axes at least: numbers as (1, 1, 1), vectors as (1, n, 1), matrices as (m, n, 1).

    >>> import pydiff as pd
    >>> tuple(pd.atleast_3d(pd.tensor([1, 2])).shape)
    (1, 2, 1)
    """
    single = len(tensors) == 1 and not isinstance(tensors[0], (tuple, list))
    out = []
    for t in _many(tensors):
        n = t.ndim
        out.append(t if n > 2 else t.unsqueeze(-1) if n == 2 else t.reshape((1, t.numel(), 1)))
    return out[0] if single else tuple(out)


@_public
def dstack(tensors):
    """Joined along the third axis; see `atleast_3d`.

    >>> import pydiff as pd
    >>> pd.dstack([pd.tensor([1, 2]), pd.tensor([3, 4])]).tolist()
    [[[1, 3], [2, 4]]]
    """
    return cat([atleast_3d(t) for t in tensors], 2)


@_public
def column_stack(tensors):
    """Joined along the second axis, vectors as columns.

    >>> import pydiff as pd
    >>> pd.column_stack([pd.tensor([1, 2]), pd.tensor([3, 4])]).tolist()
    [[1, 3], [2, 4]]
    """
    return cat([t if t.ndim > 1 else t.reshape((t.numel(), 1)) for t in map(_as, tensors)], 1)


row_stack = vstack
__all__.append("row_stack")


@_public
def block_diag(*tensors):
    """A matrix with the operands, matrices, rows or numbers, along its diagonal and zeros elsewhere.

    >>> import pydiff as pd
    >>> pd.block_diag(pd.tensor([[1, 2]]), pd.tensor(3)).tolist()
    [[1, 2, 0], [0, 0, 3]]
    """
    blocks = [atleast_2d(_as(t)) for t in tensors]
    for b in blocks:
        if b.ndim > 2:
            raise ValueError(f"[block_diag] blocks have two axes at most; got {b.shape}; try a loop over the first axes")
    if not blocks:
        return zeros((1, 0))
    dtype = _C.result_type(*blocks) if len(blocks) > 1 else blocks[0].dtype
    width, rows, column = sum(b.shape[1] for b in blocks), [], 0
    for b in blocks:
        rows.append(_pad(b.to(dtype), [0, column], [0, width - column - b.shape[1]], 0))
        column += b.shape[1]
    return cat(rows, 0)


@_public
def cartesian_prod(*tensors):
    """All combinations of the elements of vectors as rows; of one vector itself.

    >>> import pydiff as pd
    >>> pd.cartesian_prod(pd.tensor([1, 2]), pd.tensor([3, 4])).tolist()
    [[1, 3], [1, 4], [2, 3], [2, 4]]
    """
    for t in tensors:
        if t.ndim != 1:
            raise ValueError(f"[cartesian_prod] vectors are needed; got {t.shape}; try reshape(-1)")
    if len(tensors) == 1:
        return tensors[0]
    return stack(meshgrid(*tensors), -1).reshape((-1, len(tensors)) if all(t.numel() for t in tensors) else (0, len(tensors)))


@_public
def combinations(input, r=2, with_replacement=False):
    """All choices of r elements of a vector, as rows in the elements' order.

    >>> import pydiff as pd
    >>> pd.combinations(pd.tensor([1, 2, 3])).tolist()
    [[1, 2], [1, 3], [2, 3]]
    """
    if input.ndim != 1 or r < 0:
        raise ValueError(f"[combinations] a vector and r >= 0 are needed; got {input.shape}, r = {r}; try reshape(-1)")
    if not r:
        return input.narrow(0, 0, 0)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(choose(range(input.shape[0]), r))
    if not rows:
        return input.narrow(0, 0, 0).unsqueeze(1).expand(0, r)
    return input[tensor(rows, dtype=DTYPES["int64"], device=input.device)]


# ---- placing


@_public
def diag_embed(input, offset=0, dim1=-2, dim2=-1):
    """Matrices, in two new axes, with the last axis of `input` on a diagonal and zeros elsewhere.

    >>> import pydiff as pd
    >>> pd.diag_embed(pd.tensor([1, 2]), 1).tolist()
    [[0, 1, 0], [0, 0, 2], [0, 0, 0]]
    """
    if not input.ndim:
        raise ValueError(f"[diag_embed] an axis is needed; got {input.shape}; try reshape(1)")
    a, b = (_axis("diag_embed", d, input.ndim + 1) for d in (dim1, dim2))
    if a == b:
        raise ValueError(f"[diag_embed] the two axes are one; got {dim1} and {dim2}; try different axes")
    if a > b:  # the diagonal counts from the first of the two
        a, b, offset = b, a, -offset
    size = input.shape[-1]
    zero = zeros((), dtype=input.dtype, device=input.device)
    rows = _iota((size, 1), input.device) == _iota((1, size), input.device)
    square = _where(rows, input.unsqueeze(-1), zero)
    low, high = [0] * square.ndim, [0] * square.ndim
    low[-2], high[-2] = max(-offset, 0), max(offset, 0)
    low[-1], high[-1] = max(offset, 0), max(-offset, 0)
    return movedim(_pad(square, low, high, 0) if offset else square, (-2, -1), (a, b))


@_public
def diagflat(input, offset=0):
    """A matrix with all elements on a diagonal.

    >>> import pydiff as pd
    >>> pd.diagflat(pd.tensor([[1], [2]])).tolist()
    [[1, 0], [0, 2]]
    """
    return diag_embed(input.reshape(-1), offset)


@_public
def select_scatter(input, src, dim, index):
    """`input` with `src` at one position of an axis.

    >>> import pydiff as pd
    >>> pd.select_scatter(pd.zeros(2, 2), pd.ones(2), 0, 1).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    dim = _axis("select_scatter", dim, input.ndim)
    size = input.shape[dim] if input.ndim else 0
    if not -size <= index < size:
        raise IndexError(f"[select_scatter] index out of range; got {index} for size {size}; try from {-size} to {size - 1}")
    return _placed("select_scatter", input, src.unsqueeze(dim), dim, index % size, index % size + 1, 1)


@_public
def slice_scatter(input, src, dim=0, start=None, end=None, step=1):
    """`input` with `src` in a slice of an axis.

    >>> import pydiff as pd
    >>> pd.slice_scatter(pd.zeros(4), pd.ones(2), start=1, step=2).tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    dim = _axis("slice_scatter", dim, input.ndim)
    if step < 1:
        raise ValueError(f"[slice_scatter] the step is positive; got {step}; try flip")
    start, end, step = slice(start, end, step).indices(input.shape[dim])
    return _placed("slice_scatter", input, src, dim, start, max(start, end), step)


def _placed(op, input, src, dim, start, end, step):
    count = len(range(start, end, step))
    place = [count if k == dim else n for k, n in enumerate(input.shape)]
    if list(src.shape) != place:
        raise ValueError(f"[{op}] the source has the shape of its place; got {src.shape} for {tuple(place)}; try expand")
    if not count:
        return input
    src = src.to(input.dtype)
    if step == 1:
        size = input.shape[dim]
        return cat([input.narrow(dim, 0, start), src, input.narrow(dim, end, size - end)], dim)
    index = _iota((count,), input.device) * step + start
    return movedim(movedim(input, dim, 0).index_put((index,), movedim(src, dim, 0)), 0, dim)


@_public
def diagonal_scatter(input, src, offset=0, dim1=0, dim2=1):
    """`input` with `src` on the diagonal of two axes; `src` has the shape of `diagonal(input, offset, dim1, dim2)`.

    >>> import pydiff as pd
    >>> pd.diagonal_scatter(pd.zeros(2, 2), pd.ones(2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    a, b = (_axis("diagonal_scatter", d, input.ndim) for d in (dim1, dim2))
    shape = tuple(diagonal(input, offset, a, b).shape)
    if tuple(src.shape) != shape:
        raise ValueError(f"[diagonal_scatter] the source has the diagonal's shape; got {src.shape} for {shape}; try expand")
    index = _iota((shape[-1],), input.device)
    rows, columns = index + max(-offset, 0), index + max(offset, 0)
    placed = movedim(input, (a, b), (0, 1)).index_put((rows, columns), movedim(src.to(input.dtype), -1, 0))
    return movedim(placed, (0, 1), (a, b))


def _strided_places(op, input, size, stride, storage_offset):
    if len(size) != len(stride) or any(n < 0 for n in size) or any(s < 0 for s in stride):
        raise ValueError(
            f"[{op}] a size and a step for each axis; got {tuple(size)} and {tuple(stride)}; try as many, 0 or more"
        )
    offset = storage_offset or 0
    last = offset + sum((n - 1) * s for n, s in zip(size, stride))
    if all(size) and not 0 <= offset <= last < input.numel():
        raise IndexError(f"[{op}] elements are within the tensor; got the last at {last} of {input.numel()}; try smaller sizes")
    index = _iota((), input.device) + offset
    for k, (n, s) in enumerate(zip(size, stride)):
        axis = _iota([n if j == k else 1 for j in range(len(size))], input.device)
        index = index + axis * s
    return index.expand(tuple(size))


@_public
def as_strided(input, size, stride, storage_offset=None):
    """Elements of the flattened tensor at `storage_offset + sum(index * stride)`, gathered: a new tensor, no view.

    Arguments:
        input: a tensor, taken in row-major order whatever view it is.
        size: the result's shape.
        stride: how far apart, in elements, neighbours along each axis are; 0 repeats.
        storage_offset: where the first is, by default 0.

    >>> import pydiff as pd
    >>> pd.as_strided(pd.arange(4), (3, 2), (1, 1)).tolist()
    [[0, 1], [1, 2], [2, 3]]
    """
    return input.reshape(-1)[_strided_places("as_strided", input, size, stride, storage_offset)]


@_public
def as_strided_scatter(input, src, size, stride, storage_offset=None):
    """`input` with `src` where `as_strided` would read; of places named twice one keeps.

    >>> import pydiff as pd
    >>> pd.as_strided_scatter(pd.zeros(4), pd.ones(2), (2,), (2,)).tolist()
    [1.0, 0.0, 1.0, 0.0]
    """
    places = _strided_places("as_strided_scatter", input, size, stride, storage_offset)
    if tuple(src.shape) != tuple(size):
        raise ValueError(
            f"[as_strided_scatter] the source has the places' shape; got {src.shape} for {tuple(size)}; try expand"
        )
    return input.reshape(-1).index_put((places,), src.to(input.dtype)).reshape(input.shape)


# ---- shapes


@_public
def sum_to_size(input, *size):
    """Summed over the axes that broadcasting would repeat, to a shape.

    >>> import pydiff as pd
    >>> pd.sum_to_size(pd.ones(2, 3), 2, 1).tolist()
    [[3.0], [3.0]]
    """
    size = tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else tuple(size)
    if not size:
        return input.sum()
    extra = input.ndim - len(size)
    if extra < 0 or any(n not in (1, m) for n, m in zip(size, input.shape[max(extra, 0) :])):
        raise ValueError(f"[sum_to_size] the shape broadcasts to the tensor's; got {size} for {input.shape}; try sizes of 1")
    gone = list(range(extra)) + [extra + k for k, n in enumerate(size) if n == 1 and input.shape[extra + k] != 1]
    return (input.sum(gone, keepdim=True) if gone else input).reshape(size)


@_public
def constant_pad_nd(input, pad, value=0):
    """`pad` with a constant: (left, right) of the last axis, then of the one before, …

    >>> import pydiff as pd
    >>> pd.constant_pad_nd(pd.tensor([1]), (1, 0), 7).tolist()
    [7, 1]
    """
    from .ops import pad as padded

    return padded(input, pad, value=value)


# ---- positions


def _triangle_places(op, row, col, offset, dtype, device):
    row, col, offset = (_whole(op, what, n) for what, n in (("row", row), ("col", col), ("offset", offset)))
    if row < 0 or col < 0:
        raise ValueError(f"[{op}] sizes are 0 or more; got {row} and {col}; try 0")
    lower = op == "tril_indices"
    below = np.tri(row, col, offset if lower else offset - 1, dtype=bool)
    places = np.stack(np.nonzero(below if lower else ~below))
    return tensor(places, dtype=dtype or DTYPES["int64"], device=device)


@_public
def tril_indices(row, col, offset=0, *, dtype=None, device=None, layout=None):
    """Rows and columns of a lower triangle's elements, row by row: int64 of shape (2, count).

    >>> import pydiff as pd
    >>> pd.tril_indices(2, 2).tolist()
    [[0, 1, 1], [0, 0, 1]]
    """
    return _triangle_places("tril_indices", row, col, offset, dtype, device)


@_public
def triu_indices(row, col, offset=0, *, dtype=None, device=None, layout=None):
    """Rows and columns of an upper triangle's elements, row by row: int64 of shape (2, count).

    >>> import pydiff as pd
    >>> pd.triu_indices(2, 2).tolist()
    [[0, 0, 1], [0, 1, 1]]
    """
    return _triangle_places("triu_indices", row, col, offset, dtype, device)


@_public
def unravel_index(indices, shape):
    """Coordinates in a shape of positions in the flattened tensor, a tensor for each axis.

    >>> import pydiff as pd
    >>> [t.item() for t in pd.unravel_index(pd.tensor(5), (2, 3))]
    [1, 2]
    """
    if indices.dtype.category != "integer":
        raise TypeError(f"[unravel_index] positions are integers; got {indices.dtype.name}; try .long()")
    shape = (operator.index(shape),) if not isinstance(shape, (tuple, list)) else tuple(operator.index(n) for n in shape)
    if any(n < 0 for n in shape):
        raise ValueError(f"[unravel_index] sizes are 0 or more; got {shape}; try the tensor's shape")
    steps = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
    return tuple((indices // max(step, 1)) % max(n, 1) for step, n in zip(steps, shape))
