"""Functions of tensors, composed in plain Python of those in `functions.py`."""

import math
import operator

from . import _C
from ._C import (
    Tensor,
    _iota,
    _pad,
    _where,
    cat,
    from_capsule,
    from_numpy,
    tensor,
    zeros,
    zeros_like,
)
from ._dtypes import DTYPES
from ._public import listed

_int64 = DTYPES["int64"]
_float64 = DTYPES["float64"]

__all__ = []
_public = listed(__all__)


def _as(value):
    return value if isinstance(value, Tensor) else tensor(value)


def _typed(kind, *values):
    """Tensors and Python numbers as tensors of that dtype."""
    return [v.to(kind) if isinstance(v, Tensor) else tensor(v, dtype=kind) for v in values]


def _whole(op, what, value):
    """`value` as an int."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"[{op}] `{what}` is an integer; got {value!r}; try an int") from None


def _axis(op, dim, ndim):
    if type(dim) is not int:
        dim = _whole(op, "dim", dim)
    if not -max(ndim, 1) <= dim < max(ndim, 1):
        raise IndexError(
            f"[{op}] axis out of range; got {dim} for {ndim} dimensions; try an axis from {-max(ndim, 1)} to {max(ndim, 1) - 1}"
        )
    return dim % max(ndim, 1)


# ---- making tensors


@_public
def as_tensor(data, dtype=None, device=None):
    """`data` itself where it is a tensor that fits, shared memory where it is a contiguous array, else a copy.

    >>> import pydiff as pd
    >>> x = pd.ones(2)
    >>> pd.as_tensor(x) is x
    True
    """
    if isinstance(data, Tensor):
        return data if dtype is None and device is None else data.to(dtype=dtype, device=device)
    flags = getattr(data, "flags", None)
    if type(data).__name__ == "ndarray" and flags is not None and flags.c_contiguous and data.dtype.isnative:
        return from_numpy(data).to(dtype=dtype, device=device)
    return tensor(data, dtype=dtype, device=device)


@_public
def asarray(obj, dtype=None, device=None, copy=None, requires_grad=False):
    """`as_tensor`, with a say in copying: `copy=True` always copies, `copy=False` raises ValueError where it has to.

    >>> import pydiff as pd
    >>> pd.asarray([1, 2], copy=True).tolist()
    [1, 2]
    """
    result = as_tensor(obj, dtype, device)
    if copy is False and not (result is obj or _shared(obj, result)):
        raise ValueError(f"[asarray] the data cannot be shared; got {type(obj).__name__}; try copy=None")
    if copy and (result is obj or _shared(obj, result)):
        result = tensor(obj.detach() if isinstance(obj, Tensor) else obj, dtype=dtype, device=device)
    return result.requires_grad_() if requires_grad else result


def _shared(array, result):
    """Whether `as_tensor` has shared the memory of an array."""
    pointer = getattr(array, "__array_interface__", None)
    return (
        pointer is not None
        and array.size > 0
        and result.device.type == "cpu"
        and (result.detach().numpy().__array_interface__["data"][0] == pointer["data"][0])
    )


@_public
def frombuffer(buffer, *, dtype, count=-1, offset=0, requires_grad=False):
    """A vector that shares the memory of an object with Python's buffer protocol.

    Arguments:
        dtype: of the elements.
        count: how many, by default all that are there.
        offset: where the first is, in bytes.

    >>> import pydiff as pd
    >>> pd.frombuffer(bytes([1, 2, 3]), dtype=pd.uint8, offset=1).tolist()
    [2, 3]
    """
    import numpy

    result = from_numpy(numpy.frombuffer(buffer, _C.as_dtype(dtype).numpy, count, offset))
    return result.requires_grad_() if requires_grad else result


@_public
def to_dlpack(tensor):
    """The tensor as a DLPack capsule, for `from_dlpack` of another library. (`from_dlpack(tensor)` does without one.)

    >>> import pydiff as pd
    >>> pd.from_dlpack(pd.to_dlpack(pd.tensor([1.0]))).tolist()
    [1.0]
    """
    return tensor.__dlpack__()


@_public
def from_dlpack(ext_tensor, *, device=None, copy=None):
    """A tensor that shares the memory of any object with `__dlpack__`, on the CPU or a CUDA device.

    Arguments:
        device: where the result lives, by default where the object does.
        copy: True for memory of its own.

    >>> import pydiff as pd, numpy as np
    >>> pd.from_dlpack(np.arange(3)).tolist()
    [0, 1, 2]
    """
    if device is not None:
        return from_dlpack(ext_tensor, copy=copy).to(device=device)
    if not hasattr(ext_tensor, "__dlpack__"):
        result = from_capsule(ext_tensor)
        return from_dlpack(result, copy=True) if copy else result
    kind, index = ext_tensor.__dlpack_device__() if hasattr(ext_tensor, "__dlpack_device__") else (1, 0)
    # The exporter makes the current stream wait for its own; DLPack calls the default stream 1.
    stream = {"stream": _C.cuda_current_stream(index) or 1} if kind == 2 else {}
    try:
        capsule = ext_tensor.__dlpack__(max_version=(1, 0), **({"copy": True} if copy else {}), **stream)
    except TypeError:  # an exporter from before versions
        if copy:
            return tensor(ext_tensor)
        capsule = ext_tensor.__dlpack__(**stream)
    return from_capsule(capsule)


@_public
def arange(start, end=None, step=1, *, dtype=None, device=None, requires_grad=False):
    """start, start + step, … up to but without `end`; int64 for integers, else the default dtype.

    >>> import pydiff as pd
    >>> pd.arange(1, 7, 2).tolist()
    [1, 3, 5]
    """
    if end is None:
        start, end = 0, start
    start, end, step = (v.item() if isinstance(v, Tensor) else v for v in (start, end, step))
    if dtype is not None and _C.as_dtype(dtype).category == "integer":
        start, end, step = int(start), int(end), int(step)
    if step == 0:
        raise ValueError("[arange] the step is zero; got 0; try 1")
    whole = all(isinstance(v, int) or hasattr(v, "__index__") for v in (start, end, step))
    count = max(0, -((start - end) // step) if whole else math.ceil((end - start) / step))
    if dtype is None:
        dtype = _int64 if whole else _C.get_default_dtype()
    dtype = _C.as_dtype(dtype)
    index = _iota((count,), device)
    if not whole:
        index = index.to(_float64) * float(step) + float(start)
    else:
        if dtype.name == "uint64":  # whose numbers may be beyond int64
            index = index.to(dtype)
        if step != 1:
            index = index * int(step)
        if start:
            index = index + int(start)
    result = index.to(dtype)
    return result.requires_grad_() if requires_grad else result


@_public
def linspace(start, end, steps, *, dtype=None, device=None, requires_grad=False):
    """`steps` numbers from `start` to `end`, both included.

    >>> import pydiff as pd
    >>> pd.linspace(0, 1, 5).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if steps < 0:
        raise ValueError(f"[linspace] steps is 0 or more; got {steps}; try 1")
    dtype = _C.as_dtype(dtype or _C.get_default_dtype())
    start, end = _ends(start, end, dtype)
    if steps == 1:
        return _C.full((1,), start, dtype=dtype, device=device, requires_grad=requires_grad)
    index = _iota((steps,), device).to(_float64)
    width = (float(end) - float(start)) / max(steps - 1, 1)
    # From the nearer end, so that both ends are exact.
    result = _where(index < steps // 2, index * width + float(start), float(end) - (steps - 1 - index) * width).to(dtype)
    return result.requires_grad_() if requires_grad else result


def _ends(start, end, dtype):
    """Both as Python numbers, whole ones for integers."""
    start, end = (v.item() if isinstance(v, Tensor) else v for v in (start, end))
    return (int(start), int(end)) if dtype.category == "integer" else (start, end)


@_public
def logspace(start, end, steps, base=10.0, *, dtype=None, device=None):
    """`base` to the powers `linspace(start, end, steps)`.

    >>> import pydiff as pd
    >>> pd.logspace(0, 2, 3).round().tolist()
    [1.0, 10.0, 100.0]
    """
    dtype = _C.as_dtype(dtype or _C.get_default_dtype())
    powers = linspace(*_ends(start, end, dtype), steps, dtype=_float64, device=device)
    return (float(base) ** powers).to(dtype)


@_public
def eye(n, m=None, *, dtype=None, device=None, requires_grad=False):
    """The identity matrix, n by m.

    >>> import pydiff as pd
    >>> pd.eye(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    n, m = _whole("eye", "n", n), _whole("eye", "m", n if m is None else m)
    if n < 0 or m < 0:
        raise ValueError(f"[eye] a size is 0 or more; got {n} and {m}; try eye(3)")
    rows, columns = _iota((n, 1), device), _iota((1, m), device)
    result = (rows == columns).to(dtype or _C.get_default_dtype())
    return result.requires_grad_() if requires_grad else result


@_public
def scalar_tensor(s, *, dtype=None, layout=None, device=None, requires_grad=False):
    """A 0-d tensor of a number, in the default dtype.

    >>> import pydiff as pd
    >>> pd.scalar_tensor(2).item()
    2.0
    """
    return _C.full((), s, dtype=dtype or _C.get_default_dtype(), device=device, requires_grad=requires_grad)


@_public
def vander(x, N=None, increasing=False):
    """Powers of a vector's elements as columns, descending from N - 1 unless `increasing`; see `linalg.vander`.

    >>> import pydiff as pd
    >>> pd.vander(pd.tensor([2, 3]), 3).tolist()
    [[4, 2, 1], [9, 3, 1]]
    """
    from .linalg import vander as of_any

    if x.ndim != 1:
        raise ValueError(f"[vander] a vector is needed; got {x.shape}; try linalg.vander")
    powers = of_any(x, N)
    return powers if increasing else powers.flip(1)


@_public
def empty_like(input, dtype=None, device=None, requires_grad=False, memory_format=None):
    """A tensor like `input` whose elements mean nothing yet.

    >>> import pydiff as pd
    >>> tuple(pd.empty_like(pd.zeros(2, 3)).shape)
    (2, 3)
    """
    return zeros_like(input, dtype=dtype, device=device, requires_grad=requires_grad, memory_format=memory_format)


@_public
def meshgrid(*tensors, indexing="ij"):
    """Coordinates on the grid of 1-d tensors: one tensor of the grid's shape for each.

    >>> import pydiff as pd
    >>> [tuple(g.shape) for g in pd.meshgrid(pd.arange(2), pd.arange(3))]
    [(2, 3), (2, 3)]
    """
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise ValueError(f"[meshgrid] unknown indexing; got {indexing!r}; try 'ij' or 'xy'")
    for t in tensors:
        if t.ndim > 1:
            raise ValueError(f"[meshgrid] vectors are needed; got {t.shape}; try reshape(-1)")
    shape = tuple(t.numel() for t in tensors)
    grids = []
    for k, t in enumerate(tensors):
        grid = t.reshape([-1 if i == k else 1 for i in range(len(tensors))]).expand(shape)
        grids.append(grid.transpose(0, 1) if indexing == "xy" and len(tensors) > 1 else grid)
    return tuple(grids)


@_public
def tril(input, diagonal=0):
    """The lower triangle of the last two axes, zeros above.

    >>> import pydiff as pd
    >>> pd.tril(pd.ones(2, 2)).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    return _triangle(input, diagonal, True)


@_public
def triu(input, diagonal=0):
    """The upper triangle of the last two axes, zeros below.

    >>> import pydiff as pd
    >>> pd.triu(pd.ones(2, 2)).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    return _triangle(input, diagonal, False)


def _triangle(input, diagonal, lower):
    if input.ndim < 2:
        raise ValueError(f"[tri{'l' if lower else 'u'}] a matrix has two axes at least; got {input.shape}; try unsqueeze(0)")
    rows = _iota((input.shape[-2], 1), input.device)
    columns = _iota((1, input.shape[-1]), input.device)
    keep = columns <= rows + diagonal if lower else columns >= rows + diagonal
    return _where(keep, input, zeros((), dtype=input.dtype, device=input.device))


@_public
def diagonal(input, offset=0, dim1=0, dim2=1):
    """The diagonal of two axes, as the last axis of the result; a view.

    >>> import pydiff as pd
    >>> pd.diagonal(pd.tensor([[1, 2], [3, 4]])).tolist()
    [1, 4]
    """
    a, b = _axis("diagonal", dim1, input.ndim), _axis("diagonal", dim2, input.ndim)
    if a == b:
        raise ValueError(f"[diagonal] the two axes are one; got {dim1} and {dim2}; try different axes")
    return _C._diagonal(input, offset, a, b) if a < b else _C._diagonal(input, -offset, b, a)


_diagonal_of = diagonal


@_public
def diag(input, diagonal=0):
    """A matrix with `input` on a diagonal, or the diagonal of a matrix.

    >>> import pydiff as pd
    >>> pd.diag(pd.tensor([1, 2])).tolist()
    [[1, 0], [0, 2]]
    """
    if input.ndim == 2:
        return _diagonal_of(input, diagonal)
    if input.ndim != 1:
        raise ValueError(f"[diag] a vector or a matrix is needed; got {input.shape}; try diagonal(…)")
    n = input.shape[0] + abs(diagonal)
    index = arange(input.shape[0], device=input.device)
    out = zeros((n, n), dtype=input.dtype, device=input.device)
    return out.index_put((index + max(-diagonal, 0), index + max(diagonal, 0)), input)


@_public
def trace(input):
    """Sum of the diagonal of a matrix.

    >>> import pydiff as pd
    >>> pd.trace(pd.tensor([[1, 2], [3, 4]])).item()
    5
    """
    return diagonal(input).sum()


@_public
def one_hot(input, num_classes=-1):
    """Rows of the identity matrix chosen by integer classes, int64; see `nn.functional.one_hot`.

    >>> import pydiff as pd
    >>> pd.one_hot(pd.tensor([1, 0]), 2).tolist()
    [[0, 1], [1, 0]]
    """
    from .nn.functional import one_hot as of_classes

    return of_classes(input, num_classes)


# ---- choosing


@_public
def where(condition, input=None, other=None):
    """`input` where the condition is true, else `other`; with the condition alone, where it is true.

    A NaN on the side not taken never reaches the gradient.

    >>> import pydiff as pd
    >>> pd.where(pd.tensor([True, False]), 1.0, 2.0).tolist()
    [1.0, 2.0]
    """
    if input is None and other is None:
        return _C.nonzero(condition, as_tuple=True)
    if not isinstance(condition, Tensor):
        condition = tensor(condition)
    return _where(condition, input, other)


@_public
def clamp_min(input, min):
    """Raised to `min`.

    >>> import pydiff as pd
    >>> pd.clamp_min(pd.tensor([-1, 1]), 0).tolist()
    [0, 1]
    """
    return input.clamp(min)


@_public
def clamp_max(input, max):
    """Lowered to `max`.

    >>> import pydiff as pd
    >>> pd.clamp_max(pd.tensor([-1, 1]), 0).tolist()
    [-1, 0]
    """
    return input.clamp(None, max)


@_public
def masked_select(input, mask):
    """The elements where the mask is true, as a vector; computes the mask at once.

    >>> import pydiff as pd
    >>> pd.masked_select(pd.tensor([1, 2, 3]), pd.tensor([True, False, True])).tolist()
    [1, 3]
    """
    shape = _broadcast_shape("masked_select", input.shape, mask.shape)
    return input.expand(shape)[mask.expand(shape)]


@_public
def take(input, index):
    """Elements at positions of the flattened tensor.

    >>> import pydiff as pd
    >>> pd.take(pd.tensor([[1, 2], [3, 4]]), pd.tensor([0, 3])).tolist()
    [1, 4]
    """
    return input.reshape(-1)[_as(index)]


@_public
def take_along_dim(input, index, dim=None):
    """`gather` with broadcasting; without `dim` in the flattened tensor.

    >>> import pydiff as pd
    >>> pd.take_along_dim(pd.tensor([3, 1, 2]), pd.tensor([1, 2, 0]), 0).tolist()
    [1, 2, 3]
    """
    if dim is None:
        return take(input, index.reshape(-1))
    dim = _axis("take_along_dim", dim, input.ndim)
    one = [1 if k == dim else n for k, n in enumerate(input.shape)]
    other = [1 if k == dim else n for k, n in enumerate(index.shape)]
    shape = _broadcast_shape("take_along_dim", one, other)
    place = [input.shape[dim] if k == dim else n for k, n in enumerate(shape)]
    index_place = [index.shape[dim] if k == dim else n for k, n in enumerate(shape)]
    return input.expand(place).gather(dim, index.expand(index_place))


@_public
def index_add(input, dim, index, source, alpha=1):
    """`input` with `alpha * source` added at the positions `index` of an axis; equal ones add up.

    >>> import pydiff as pd
    >>> pd.zeros(2).index_add(0, pd.tensor([1, 1]), pd.ones(2)).tolist()
    [0.0, 2.0]
    """
    dim = _axis("index_add", dim, input.ndim)
    index = index.reshape(-1) if not index.ndim else index
    if not input.ndim:
        return index_add(input.reshape(1), 0, index, source.reshape(-1), alpha).reshape(())
    front = movedim(input, dim, 0)
    added = movedim(source, dim, 0) if source.ndim else source.reshape(1)
    if alpha != 1:
        added = added * alpha
    return movedim(front.index_put((index,), added, accumulate=True), 0, dim)


# ---- shapes


def _broadcast_shape(op, *shapes):
    out = []
    for k in range(1, max(map(len, shapes), default=0) + 1):
        sizes = {s[-k] for s in shapes if len(s) >= k} - {1}
        if len(sizes) > 1:
            raise ValueError(
                f"[{op}] shapes do not broadcast; got {' and '.join(str(tuple(s)) for s in shapes)}; "
                "try sizes that are equal or 1, counted from the right"
            )
        out.append(sizes.pop() if sizes else 1)
    return tuple(reversed(out))


@_public
def broadcast_shapes(*shapes):
    """The shape that shapes broadcast to.

    >>> import pydiff as pd
    >>> pd.broadcast_shapes((2, 1), (3,))
    (2, 3)
    """
    return _broadcast_shape("broadcast_shapes", *[(s,) if isinstance(s, int) else tuple(s) for s in shapes])


@_public
def broadcast_tensors(*tensors):
    """Tensors expanded to their common shape.

    >>> import pydiff as pd
    >>> [tuple(t.shape) for t in pd.broadcast_tensors(pd.zeros(2, 1), pd.zeros(3))]
    [(2, 3), (2, 3)]
    """
    shape = _broadcast_shape("broadcast_tensors", *[t.shape for t in tensors])
    return tuple(t.expand(shape) for t in tensors)


@_public
def movedim(input, source, destination):
    """Axes moved to other places, the others in order; a view.

    >>> import pydiff as pd
    >>> tuple(pd.movedim(pd.zeros(2, 3, 4), 0, -1).shape)
    (3, 4, 2)
    """
    source = (source,) if isinstance(source, int) else tuple(source)
    destination = (destination,) if isinstance(destination, int) else tuple(destination)
    source = [_axis("movedim", k, input.ndim) for k in source]
    destination = [_axis("movedim", k, input.ndim) for k in destination]
    if len(source) != len(destination) or len(set(source)) != len(source) or len(set(destination)) != len(source):
        raise ValueError(f"[movedim] axes go one to one; got {source} to {destination}; try lists of equal length")
    rest = iter([k for k in range(input.ndim) if k not in source])
    places = dict(zip(destination, source))
    return input.permute([places[k] if k in places else next(rest) for k in range(input.ndim)])


moveaxis = movedim
__all__.append("moveaxis")


@_public
def ravel(input):
    """All elements as one axis.

    >>> import pydiff as pd
    >>> tuple(pd.ravel(pd.zeros(2, 3)).shape)
    (6,)
    """
    return input.reshape(-1)


@_public
def unflatten(input, dim, sizes):
    """An axis cut into several.

    >>> import pydiff as pd
    >>> tuple(pd.unflatten(pd.zeros(6), 0, (2, -1)).shape)
    (2, 3)
    """
    dim = _axis("unflatten", dim, input.ndim)
    return input.reshape((*input.shape[:dim], *sizes, *input.shape[dim + 1 :]))


@_public
def repeat(input, *sizes, repeats=()):
    """Copies of the tensor side by side along its axes; new axes come first.

    >>> import pydiff as pd
    >>> pd.repeat(pd.tensor([1, 2]), 2, 1).tolist()
    [[1, 2], [1, 2]]
    """
    sizes = sizes or repeats
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = tuple(sizes[0])
    if len(sizes) < input.ndim:
        raise ValueError(f"[repeat] one count for each axis is needed; got {sizes} for {input.shape}; try tile(…)")
    shape = (1,) * (len(sizes) - input.ndim) + tuple(input.shape)
    spread, full = [], []
    for count, size in zip(sizes, shape):
        spread += [1, size]
        full += [count, size]
    return input.reshape(spread).expand(full).reshape([c * s for c, s in zip(sizes, shape)]).clone()


@_public
def tile(input, *dims):
    """As `repeat`; missing counts are 1.

    >>> import pydiff as pd
    >>> pd.tile(pd.tensor([[1, 2]]), (2,)).tolist()
    [[1, 2, 1, 2]]
    """
    if len(dims) == 1 and isinstance(dims[0], (tuple, list)):
        dims = tuple(dims[0])
    return repeat(input, (1,) * (input.ndim - len(dims)) + tuple(dims))


@_public
def repeat_interleave(input, repeats=None, dim=None, *, output_size=None):
    """Each element `repeats` times in a row; `repeats` an integer or a tensor of them.

    A tensor of counts alone gives the positions that it would repeat. `output_size`, which PyTorch takes to save a look at
    the counts, is only checked: counts are looked at when the operation is recorded.

    >>> import pydiff as pd
    >>> pd.repeat_interleave(pd.tensor([1, 2]), 2).tolist()
    [1, 1, 2, 2]
    """
    if repeats is None:
        input, repeats = arange(input.shape[0], device=input.device), input
    if dim is None:
        input, dim = input.reshape(-1), 0
    dim = _axis("repeat_interleave", dim, input.ndim)
    if not input.ndim:
        input = input.reshape(1)
    if isinstance(repeats, (tuple, list)):
        repeats = tensor(repeats)
    if isinstance(repeats, Tensor) and repeats.numel() == 1:
        repeats = repeats.item()
    size = int(repeats.sum().item()) if isinstance(repeats, Tensor) else input.shape[dim] * int(repeats)
    if output_size is not None and size != output_size:
        raise ValueError(f"[repeat_interleave] output_size is the result's size; got {output_size} for {size}; try {size}")
    if isinstance(repeats, Tensor):
        if repeats.ndim != 1 or repeats.shape[0] != input.shape[dim]:
            raise ValueError(
                f"[repeat_interleave] one count for each element; got {repeats.shape} for {input.shape} along axis {dim}; "
                "try one number"
            )
        import numpy as np

        index = np.repeat(np.arange(input.shape[dim]), repeats.long().cpu().numpy())
        return input.index_select(dim, tensor(index, device=input.device))
    shape = list(input.shape)
    spread = input.unsqueeze(dim + 1).expand(*shape[: dim + 1], int(repeats), *shape[dim + 1 :])
    shape[dim] *= int(repeats)
    return spread.reshape(shape).clone()


@_public
def roll(input, shifts, dims=None):
    """Elements moved along axes, those that leave at one end coming back at the other.

    >>> import pydiff as pd
    >>> pd.roll(pd.tensor([1, 2, 3]), 1).tolist()
    [3, 1, 2]
    """
    if dims is None:
        return roll(input.reshape(-1), shifts, 0).reshape(input.shape)
    shifts = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    if len(shifts) != len(dims):
        raise ValueError(f"[roll] one shift for each axis; got {shifts} for {dims}; try as many of both")
    for shift, dim in zip(shifts, dims):
        dim = _axis("roll", dim, input.ndim)
        size = input.shape[dim]
        k = shift % size if size else 0
        if k:
            input = cat([input.narrow(dim, size - k, k), input.narrow(dim, 0, size - k)], dim)
    return input


@_public
def pad(input, pad, mode="constant", value=0.0):
    """`value` added around the last axes: (left, right) of the last, then of the one before, …

    >>> import pydiff as pd
    >>> pd.pad(pd.tensor([1, 2]), (1, 2)).tolist()
    [0, 1, 2, 0, 0]
    """
    if mode != "constant":
        raise ValueError(f"[pad] unknown mode; got {mode!r}; try 'constant'")
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ValueError(f"[pad] two widths an axis are needed; got {tuple(pad)} for {input.shape}; try (left, right)")
    low, high = [0] * input.ndim, [0] * input.ndim
    for k in range(len(pad) // 2):
        low[-1 - k], high[-1 - k] = pad[2 * k], pad[2 * k + 1]
    for k in range(input.ndim):  # a negative width cuts
        cut = max(-low[k], 0), max(-high[k], 0)
        if any(cut):
            input = input.narrow(k, cut[0], input.shape[k] - sum(cut))
            low[k], high[k] = max(low[k], 0), max(high[k], 0)
    return _pad(input, low, high, value)


def _at_least(input, ndim):
    input = _as(input)
    return input.reshape((1,) * (ndim - input.ndim) + tuple(input.shape)) if input.ndim < ndim else input


def _all_at_least(tensors, ndim):
    if len(tensors) == 1 and not isinstance(tensors[0], (tuple, list)):
        return _at_least(tensors[0], ndim)
    return tuple(_at_least(t, ndim) for t in (tensors[0] if len(tensors) == 1 else tensors))


@_public
def atleast_1d(*tensors):
    """With one axis at least; of several tensors, or a list of them, each.

    >>> import pydiff as pd
    >>> tuple(pd.atleast_1d(pd.tensor(1)).shape)
    (1,)
    """
    return _all_at_least(tensors, 1)


@_public
def atleast_2d(*tensors):
    """With two axes at least, vectors as rows; of several tensors, or a list of them, each.

    >>> import pydiff as pd
    >>> tuple(pd.atleast_2d(pd.tensor([1, 2])).shape)
    (1, 2)
    """
    return _all_at_least(tensors, 2)


@_public
def hstack(tensors):
    """Joined along the second axis, vectors along the first.

    >>> import pydiff as pd
    >>> pd.hstack([pd.tensor([1]), pd.tensor([2])]).tolist()
    [1, 2]
    """
    tensors = [atleast_1d(t) for t in tensors]
    return cat(tensors, 0 if tensors[0].ndim == 1 else 1)


@_public
def vstack(tensors):
    """Joined along the first axis, vectors as rows.

    >>> import pydiff as pd
    >>> pd.vstack([pd.tensor([1]), pd.tensor([2])]).tolist()
    [[1], [2]]
    """
    return cat([atleast_2d(t) for t in tensors], 0)


@_public
def numel(input):
    """Number of elements.

    >>> import pydiff as pd
    >>> pd.numel(pd.zeros(2, 3))
    6
    """
    return math.prod(input.shape)


@_public
def is_tensor(obj):
    """Whether it is a tensor.

    >>> import pydiff as pd
    >>> pd.is_tensor(pd.ones(1)), pd.is_tensor(1.0)
    (True, False)
    """
    return isinstance(obj, Tensor)
