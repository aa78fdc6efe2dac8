"""Pooling by windows of random places."""

import math

import pydiff

from ._pooling import _first_largest
from ._windows import numbers, positive, with_batch


def _fractional(name, input, kernel_size, output_size, output_ratio, return_indices, samples, axes):
    kernel = numbers(name, "kernel_size", kernel_size, axes)
    positive(name, kernel_size=kernel)
    x, batched = with_batch(name, input, axes)
    sizes = tuple(x.shape[2:])
    if (output_size is None) == (output_ratio is None):
        raise ValueError(
            f"[{name}] one of output_size and output_ratio is given; got {output_size} and {output_ratio}; try output_ratio=0.5"
        )
    if output_size is not None:
        out = numbers(name, "output_size", output_size, axes)
    else:
        ratios = (output_ratio,) * axes if isinstance(output_ratio, (int, float)) else tuple(output_ratio)
        out = tuple(int(n * r) for n, r in zip(sizes, ratios))
    if any(not 1 <= o <= n - k + 1 for n, k, o in zip(sizes, kernel, out)):
        raise ValueError(f"[{name}] that many windows do not fit; got {out} of {kernel} in {sizes}; try a smaller output_size")
    batch, channels = x.shape[:2]
    if samples is None:
        samples = pydiff.rand(batch, channels, axes, device=x.device)
    samples = samples[:batch]  # more than are needed may be given, as in PyTorch
    # Of two axes the first number is the last axis's, of three the first's, as in PyTorch.
    order = range(axes) if axes == 3 else reversed(range(axes))
    index = 0
    for axis, sample in enumerate(order):
        start = _starts(samples[..., sample].unsqueeze(-1), sizes[axis], out[axis], kernel[axis])
        shape = [batch, channels] + [1] * (2 * axes)
        shape[2 + axis] = out[axis]
        place = start.reshape(shape)
        shape = [1] * (2 + 2 * axes)
        shape[2 + axes + axis] = kernel[axis]
        index = index * sizes[axis] + place + pydiff.arange(kernel[axis], device=x.device).reshape(shape)
    count, window = math.prod(out), math.prod(kernel)
    index = index.expand(batch, channels, *out, *kernel).reshape(batch, channels, count, window)
    found = x.reshape(batch, channels, math.prod(sizes))
    found = found.gather(2, index.reshape(batch, channels, count * window)).reshape(index.shape)
    values, places = _first_largest(found.unbind(-1), index.unbind(-1))
    values, places = (t.reshape(batch, channels, *out) for t in (values, places))
    if not batched:
        values, places = values.squeeze(0), places.squeeze(0)
    return (values, places) if return_indices else values


def _starts(sample, size, out, kernel):
    """Where windows begin: floor((i + u) a) - floor(u a), the last at the end (Graham, section 3)."""
    if out == 1:
        return (sample * 0).to(pydiff.int64) + (size - kernel)
    step = (size - kernel) / (out - 1)
    place = pydiff.arange(out, device=sample.device)
    start = ((place + sample) * step).to(pydiff.int64) - (sample * step).to(pydiff.int64)
    return pydiff.where(place == out - 1, size - kernel, start)


def fractional_max_pool2d(input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None):
    """The largest element of each of `output_size` windows that begin at random places, a little apart.

    Arguments:
        input: `(batch, channels, height, width)`, or without batch.
        output_size: windows of each axis; or else
        output_ratio: their share of the input's size.
        return_indices: whether the positions come too, counted in the flattened last axes.

    Graham, arXiv:1412.6071. Raises ValueError where that many windows do not fit.

    >>> import pydiff as pd
    >>> tuple(pd.nn.functional.fractional_max_pool2d(pd.ones(1, 8, 8), 2, output_ratio=0.5).shape)
    (1, 4, 4)
    """
    name = "fractional_max_pool2d"
    return _fractional(name, input, kernel_size, output_size, output_ratio, return_indices, _random_samples, 2)


def fractional_max_pool3d(input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None):
    """`fractional_max_pool2d` of `(batch, channels, depth, height, width)`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.functional.fractional_max_pool3d(pd.ones(1, 8, 8, 8), 2, output_size=3).shape)
    (1, 3, 3, 3)
    """
    name = "fractional_max_pool3d"
    return _fractional(name, input, kernel_size, output_size, output_ratio, return_indices, _random_samples, 3)
