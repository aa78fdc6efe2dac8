"""Pooling: the places of all windows as slices, combined one by one, axis after axis.

A maximum takes the first of equal elements, and so does its gradient; a NaN wins.
"""

import math

import numpy as np

import pydiff

from ._windows import by_channels, by_places, numbers, pad_axes, places, positive, with_batch


def _windows(name, input, kernel_size, stride, padding, dilation, ceil_mode, axes):
    """(input with batch, whether it had one, kernel, stride, padding, dilation, out, what is missing at the end)."""
    kernel = numbers(name, "kernel_size", kernel_size, axes)
    stride = kernel if stride is None or stride == [] or stride == () else numbers(name, "stride", stride, axes)
    padding, dilation = numbers(name, "padding", padding, axes), numbers(name, "dilation", dilation, axes)
    positive(name, kernel_size=kernel, stride=stride, dilation=dilation)
    if any(not 0 <= 2 * p <= k for p, k in zip(padding, kernel)):
        raise ValueError(f"[{name}] padding is at most half of the kernel; got {padding} and {kernel}; try padding=0")
    input, batched = with_batch(name, input, axes)
    out, missing = [], []
    for n, k, s, p, d in zip(input.shape[2:], kernel, stride, padding, dilation):
        span = d * (k - 1) + 1
        room = n + 2 * p - span
        count = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (count - 1) * s >= n + p:
            count -= 1  # a window that would begin behind the input
        if count < 1:
            raise ValueError(
                f"[{name}] the window is larger than the padded input; got {kernel} for {tuple(input.shape[2:])}; "
                "try a smaller kernel_size"
            )
        out.append(count)
        missing.append(max(0, (count - 1) * s + span - n - 2 * p))
    return input, batched, kernel, stride, padding, dilation, out, missing


def _lowest(dtype):
    if dtype.is_floating_point:
        return -math.inf
    return int(np.iinfo(dtype.name).min)


def _first_largest(values, indices):
    """The first of the largest, a NaN before all others, and its index."""
    best, where = None, None
    for value, index in zip(values, indices):
        if best is None:
            best, where = value, index
            continue
        better = value > best
        if value.dtype.is_floating_point:
            better = better | (value.isnan() & ~best.isnan())
        best, where = pydiff.where(better, value, best), pydiff.where(better, index, where)
    return best, where


def _positions(input, first, axes):
    """Positions in the flattened `axes` axes from `first` on; the others have size 1."""
    sizes = input.shape[first : first + axes]
    shape = (1,) * first + tuple(sizes) + (1,) * (input.ndim - first - axes)
    return pydiff.arange(math.prod(sizes), device=input.device).reshape(shape)


def _max_pool(name, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, axes):
    x, batched, kernel, stride, padding, dilation, out, missing = _windows(
        name, input, kernel_size, stride, padding, dilation, ceil_mode, axes
    )
    x, first = by_places(x)
    index = _positions(x, first, axes)
    around = [(p, p + m) for p, m in zip(padding, missing)]
    x, index = pad_axes(x, first, around, _lowest(x.dtype)), pad_axes(index, first, around)
    for d in reversed(range(axes)):  # the last axis first: so equal ones are found in the order of their index
        window = (first + d, kernel[d], stride[d], dilation[d], out[d])
        x, index = _first_largest(places(x, *window), places(index, *window))
    x, index = by_channels(x, first, batched), by_channels(index.expand(x.shape), first, batched)
    return (x, index) if return_indices else x


def max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest element of each window of `(batch, channels, length)`, or without batch.

    Arguments:
        stride: steps between windows; by default `kernel_size`.
        padding: places on both sides that never win, at most half of the kernel.
        ceil_mode: whether a window that is only begun at the end counts.
        return_indices: whether the positions come too, int64, counted in the flattened last axes.

    Raises ValueError where no window fits.

    >>> import pydiff as pd
    >>> pd.nn.functional.max_pool1d(pd.tensor([[1.0, 4.0, 2.0, 3.0]]), 2).tolist()
    [[4.0, 3.0]]
    """
    return _max_pool("max_pool1d", input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, 1)


def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest element of each window of `(batch, channels, height, width)`; see `max_pool1d`.

    >>> import pydiff as pd
    >>> pd.nn.functional.max_pool2d(pd.arange(4).reshape(1, 2, 2), 2).item()
    3
    """
    return _max_pool("max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, 2)


def max_pool3d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest element of each window of `(batch, channels, depth, height, width)`; see `max_pool1d`.

    >>> import pydiff as pd
    >>> pd.nn.functional.max_pool3d(pd.arange(8).reshape(1, 2, 2, 2), 2).item()
    7
    """
    return _max_pool("max_pool3d", input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, 3)


def _with_indices(function):
    def pool(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=True):
        return function(input, kernel_size, stride, padding, dilation, ceil_mode, True)

    pool.__name__ = pool.__qualname__ = function.__name__ + "_with_indices"
    pool.__doc__ = f"`{function.__name__}` with the positions: (values, indices)."
    return pool


max_pool1d_with_indices = _with_indices(max_pool1d)
max_pool2d_with_indices = _with_indices(max_pool2d)
max_pool3d_with_indices = _with_indices(max_pool3d)


def _avg_pool(name, input, kernel_size, stride, padding, ceil_mode, include, divisor, axes):
    x, batched, kernel, stride, padding, dilation, out, missing = _windows(
        name, input, kernel_size, stride, padding, 1, ceil_mode, axes
    )
    if divisor is not None and divisor == 0:
        raise ValueError(f"[{name}] divisor_override is not 0; got 0; try None")
    counts, even = [], True
    for d in range(axes):
        start = np.arange(out[d]) * stride[d] - padding[d]
        end = np.minimum(start + kernel[d], x.shape[2 + d] + padding[d])
        if not include:
            start, end = np.maximum(start, 0), np.minimum(end, x.shape[2 + d])
        counts.append(end - start)
        even = even and bool((counts[d] == kernel[d]).all())
    x, first = by_places(x)
    x = pad_axes(x, first, [(p, p + m) for p, m in zip(padding, missing)])
    for d in reversed(range(axes)):
        x = sum(places(x, first + d, kernel[d], stride[d], dilation[d], out[d]), start=0)
    if divisor is None:
        divisor = math.prod(kernel) if even else _outer(counts, x, first)
    x = x / divisor if x.dtype.is_floating_point else pydiff.div(x, divisor, rounding_mode="trunc").to(x.dtype)
    return by_channels(x, first, batched)


def _outer(counts, like, first):
    """Products of a number for each place of each axis, shaped to broadcast where the places begin at axis `first`."""
    total = 1
    for k, count in enumerate(counts):
        total = total * count.reshape((-1,) + (1,) * (like.ndim - 1 - first - k))
    dtype = like.dtype if like.dtype.is_floating_point else pydiff.int64
    return pydiff.tensor(total, dtype=dtype, device=like.device)


def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window of `(batch, channels, length)`, or without batch.

    Arguments:
        stride: steps between windows; by default `kernel_size`.
        padding: zeros on both sides, at most half of the kernel.
        ceil_mode: whether a window that is only begun at the end counts.
        count_include_pad: whether the padding counts in the divisor.

    Raises ValueError where no window fits.

    >>> import pydiff as pd
    >>> pd.nn.functional.avg_pool1d(pd.tensor([[1.0, 3.0, 2.0, 4.0]]), 2).tolist()
    [[2.0, 3.0]]
    """
    return _avg_pool("avg_pool1d", input, kernel_size, stride, padding, ceil_mode, count_include_pad, None, 1)


def avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    """The mean of each window of `(batch, channels, height, width)`; see `avg_pool1d`.

    `divisor_override` is divided by, where given, in place of the count.

    >>> import pydiff as pd
    >>> pd.nn.functional.avg_pool2d(pd.ones(1, 2, 2), 2).item()
    1.0
    """
    return _avg_pool("avg_pool2d", input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, 2)


def avg_pool3d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    """The mean of each window of `(batch, channels, depth, height, width)`; see `avg_pool2d`.

    >>> import pydiff as pd
    >>> pd.nn.functional.avg_pool3d(pd.ones(1, 2, 2, 2), 2, divisor_override=2).item()
    4.0
    """
    return _avg_pool("avg_pool3d", input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, 3)


def _lp_pool(name, input, norm_type, kernel_size, stride, ceil_mode, axes):
    mean = _avg_pool(name, input**norm_type, kernel_size, stride, 0, ceil_mode, True, None, axes)
    total = mean * math.prod(numbers(name, "kernel_size", kernel_size, axes))
    zero = total == 0  # where the root's slope is infinite, the gradient is 0
    return pydiff.where(zero, 0, pydiff.where(zero, 1, total.abs() * total.sign()) ** (1.0 / norm_type))


def lp_pool1d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """(sum of x^p)^(1/p) of each window, p = `norm_type`; shapes as `avg_pool1d`.

    >>> import pydiff as pd
    >>> pd.nn.functional.lp_pool1d(pd.tensor([[3.0, 4.0]]), 2, 2).item()
    5.0
    """
    return _lp_pool("lp_pool1d", input, norm_type, kernel_size, stride, ceil_mode, 1)


def lp_pool2d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """(sum of x^p)^(1/p) of each window, p = `norm_type`; shapes as `avg_pool2d`.

    >>> import pydiff as pd
    >>> pd.nn.functional.lp_pool2d(pd.tensor([[[3.0, 4.0]]]), 2, (1, 2)).item()
    5.0
    """
    return _lp_pool("lp_pool2d", input, norm_type, kernel_size, stride, ceil_mode, 2)


def lp_pool3d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """(sum of x^p)^(1/p) of each window, p = `norm_type`; shapes as `avg_pool3d`.

    >>> import pydiff as pd
    >>> pd.nn.functional.lp_pool3d(pd.full((1, 1, 1, 4), 2.0), 2, (1, 1, 4)).item()
    4.0
    """
    return _lp_pool("lp_pool3d", input, norm_type, kernel_size, stride, ceil_mode, 3)


# ---- windows that divide an axis evenly


def _targets(name, input, output_size, axes):
    input, batched = with_batch(name, input, axes)
    sizes = (output_size,) * axes if isinstance(output_size, int) or output_size is None else tuple(output_size)
    if len(sizes) != axes:
        raise ValueError(f"[{name}] output_size is a number or {axes}; got {sizes}; try {sizes[:1] * axes}")
    sizes = [n if size is None else size for n, size in zip(input.shape[2:], sizes)]
    if min(sizes) < 0 or 0 in input.shape[2:]:
        raise ValueError(
            f"[{name}] sizes of input and output are positive; got {tuple(input.shape)} and {sizes}; try output_size=1"
        )
    return input, batched, sizes


def _bins(size, out):
    """(start, length) of `out` windows that cover an axis: from floor(i n / m) to ceil((i + 1) n / m)."""
    k = np.arange(out)
    start = k * size // max(out, 1)
    return start, -(-(k + 1) * size // max(out, 1)) - start


def _bin_places(input, axis, out):
    """The k-th place of each bin, and where there is one, (out, 1, …), or None for everywhere."""
    size = input.shape[axis]
    if out and size % out == 0:
        length = size // out
        for part in places(input, axis, length, length, 1, out):
            yield part, None
        return
    start, length = _bins(size, out)
    shape = (-1,) + (1,) * (input.ndim - 1 - axis)
    for k in range(int(length.max(initial=0))):
        index = pydiff.tensor(np.minimum(start + k, size - 1), device=input.device)
        inside = pydiff.tensor((k < length).reshape(shape), device=input.device)
        yield input.index_select(axis, index), inside


def _adaptive_avg(name, input, output_size, axes):
    x, batched, sizes = _targets(name, input, output_size, axes)
    if not math.prod(sizes):
        x = pydiff.zeros((*x.shape[:2], *sizes), dtype=x.dtype, device=x.device)
        return x if batched else x.squeeze(0)
    x, first = by_places(x)
    for d in reversed(range(axes)):
        total = 0
        length = _bins(x.shape[first + d], sizes[d])[1].reshape((-1,) + (1,) * (x.ndim - 1 - first - d))
        for part, inside in _bin_places(x, first + d, sizes[d]):
            total = total + (part if inside is None else pydiff.where(inside, part, 0))
        x = total / pydiff.tensor(length, dtype=x.dtype, device=x.device)
    return by_channels(x, first, batched)


def adaptive_avg_pool1d(input, output_size):
    """The means of `output_size` windows that cover the last axis of `(batch, channels, length)`.

    Window i goes from floor(i n / m) to ceil((i + 1) n / m). Raises ValueError for an axis without elements.

    >>> import pydiff as pd
    >>> pd.nn.functional.adaptive_avg_pool1d(pd.tensor([[1.0, 2.0, 6.0]]), 2).tolist()
    [[1.5, 4.0]]
    """
    return _adaptive_avg("adaptive_avg_pool1d", input, output_size, 1)


def adaptive_avg_pool2d(input, output_size):
    """The means of windows that cover `(batch, channels, height, width)`; None keeps an axis as it is.

    >>> import pydiff as pd
    >>> pd.nn.functional.adaptive_avg_pool2d(pd.ones(1, 3, 4), (1, None)).tolist()
    [[[1.0, 1.0, 1.0, 1.0]]]
    """
    return _adaptive_avg("adaptive_avg_pool2d", input, output_size, 2)


def adaptive_avg_pool3d(input, output_size):
    """The means of windows that cover `(batch, channels, depth, height, width)`; see `adaptive_avg_pool1d`.

    >>> import pydiff as pd
    >>> pd.nn.functional.adaptive_avg_pool3d(pd.ones(1, 2, 3, 4), 1).item()
    1.0
    """
    return _adaptive_avg("adaptive_avg_pool3d", input, output_size, 3)


def _adaptive_max(name, input, output_size, return_indices, axes):
    x, batched, sizes = _targets(name, input, output_size, axes)
    first = 2
    if not math.prod(sizes):
        x = pydiff.zeros((*x.shape[:2], *sizes), dtype=x.dtype, device=x.device)
        index = pydiff.zeros(x.shape, dtype=pydiff.int64, device=x.device)
    else:
        x, first = by_places(x)
        index = _positions(x, first, axes)
        for d in reversed(range(axes)):
            # Behind its end a window repeats the last element of the axis or one of the next window's.
            parts = list(_bin_places(x, first + d, sizes[d]))
            low = _lowest(x.dtype)
            values = [part if inside is None else pydiff.where(inside, part, low) for part, inside in parts]
            x, index = _first_largest(values, [part for part, _ in _bin_places(index, first + d, sizes[d])])
        index = index.expand(x.shape)
    x, index = by_channels(x, first, batched), by_channels(index, first, batched)
    return (x, index) if return_indices else x


def adaptive_max_pool1d(input, output_size, return_indices=False):
    """The largest of each of `output_size` windows that cover the last axis; see `adaptive_avg_pool1d`.

    >>> import pydiff as pd
    >>> pd.nn.functional.adaptive_max_pool1d(pd.tensor([[1.0, 2.0, 6.0]]), 2).tolist()
    [[2.0, 6.0]]
    """
    return _adaptive_max("adaptive_max_pool1d", input, output_size, return_indices, 1)


def adaptive_max_pool2d(input, output_size, return_indices=False):
    """The largest of windows that cover `(batch, channels, height, width)`; see `adaptive_max_pool1d`.

    >>> import pydiff as pd
    >>> pd.nn.functional.adaptive_max_pool2d(pd.arange(6.0).reshape(1, 2, 3), 1).item()
    5.0
    """
    return _adaptive_max("adaptive_max_pool2d", input, output_size, return_indices, 2)


def adaptive_max_pool3d(input, output_size, return_indices=False):
    """The largest of windows that cover `(batch, channels, depth, height, width)`; see `adaptive_max_pool1d`.

    >>> import pydiff as pd
    >>> pd.nn.functional.adaptive_max_pool3d(pd.ones(1, 2, 3, 4), 1, return_indices=True)[1].item()
    0
    """
    return _adaptive_max("adaptive_max_pool3d", input, output_size, return_indices, 3)


# ---- the way back


def _max_unpool(name, input, indices, kernel_size, stride, padding, output_size, axes):
    kernel = numbers(name, "kernel_size", kernel_size, axes)
    stride = kernel if stride is None else numbers(name, "stride", stride, axes)
    padding = numbers(name, "padding", padding, axes)
    if indices.shape != input.shape:
        raise ValueError(
            f"[{name}] an index for each element; got {tuple(indices.shape)} for {tuple(input.shape)}; "
            "try what max_pool returns with return_indices=True"
        )
    if output_size is None:
        spatial = input.shape[-axes:]
        sizes = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(spatial, stride, padding, kernel))
    else:
        sizes = tuple(output_size)[-axes:]
    lead = tuple(input.shape[:-axes])
    flat = (*lead, math.prod(input.shape[-axes:]))
    empty = pydiff.zeros((*lead, math.prod(sizes)), dtype=input.dtype, device=input.device)
    filled = empty.scatter(len(lead), indices.reshape(flat), input.reshape(flat))
    return filled.reshape(*lead, *sizes)


def max_unpool1d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """The elements put back where `max_pool1d` found them, zeros elsewhere.

    Arguments:
        indices: what `max_pool1d(…, return_indices=True)` returned.
        output_size: of the result, by default what the window's numbers say.

    Raises ValueError where the shapes differ. An index out of range is an error when it is computed.

    >>> import pydiff as pd
    >>> pd.nn.functional.max_unpool1d(pd.tensor([[4.0, 3.0]]), pd.tensor([[1, 3]]), 2).tolist()
    [[0.0, 4.0, 0.0, 3.0]]
    """
    return _max_unpool("max_unpool1d", input, indices, kernel_size, stride, padding, output_size, 1)


def max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """The elements put back where `max_pool2d` found them; see `max_unpool1d`.

    >>> import pydiff as pd
    >>> pd.nn.functional.max_unpool2d(pd.ones(1, 1, 1), pd.tensor([[[3]]]), 2).tolist()
    [[[0.0, 0.0], [0.0, 1.0]]]
    """
    return _max_unpool("max_unpool2d", input, indices, kernel_size, stride, padding, output_size, 2)


def max_unpool3d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """The elements put back where `max_pool3d` found them; see `max_unpool1d`.

    >>> import pydiff as pd
    >>> pd.nn.functional.max_unpool3d(pd.ones(1, 1, 1, 1), pd.tensor([[[[7]]]]), 2).sum().item()
    1.0
    """
    return _max_unpool("max_unpool3d", input, indices, kernel_size, stride, padding, output_size, 3)
