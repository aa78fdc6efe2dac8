"""Windows along axes: what convolution, pooling and unfolding have in common.

A window has `kernel` places, `dilation` apart; windows start `stride` apart. The k-th places of all windows are a
strided slice, so an axis of size n becomes two, (kernel, out), by stacking `kernel` slices; axis after axis, so that a
window of 3 x 3 x 3 takes 9 slices and not 27. Folding is the transpose: zeros put between, padded, added up.
"""

import pydiff
from pydiff.memory_formats import channels_last_of, places_last


def numbers(name, what, value, axes):
    """An integer for each axis, from one for all or a sequence."""
    if isinstance(value, int):
        return (value,) * axes
    value = tuple(value)
    if len(value) == 1:
        value *= axes
    if len(value) != axes:
        raise ValueError(f"[{name}] {what} is a number or {axes}; got {value}; try {value[:1] * axes}")
    return value


def positive(name, **arguments):
    """Raise ValueError for a kernel, stride or dilation that is not positive."""
    for what, values in arguments.items():
        if min(values) < 1:
            raise ValueError(f"[{name}] {what} is positive; got {values}; try 1")


def with_batch(name, input, axes):
    """(the input with a batch axis, whether it had one)."""
    if input.ndim not in (axes + 1, axes + 2):
        raise ValueError(
            f"[{name}] the input is (batch, channels, {axes} more) or without batch; got {tuple(input.shape)}; "
            f"try an input of {axes + 2} axes"
        )
    batched = input.ndim == axes + 2
    return (input if batched else input.unsqueeze(0)), batched


def by_places(input):
    """(the tensor, the first axis of its places): of a channels-last one `(batch, *places, channels)`, whose is 1, else 2.

    Windows run along axes of places, whichever axis the channels are; `by_channels` is the way back.
    """
    last = places_last(input)
    return (input, 2) if last is None else (last, 1)


def by_channels(result, first, batched=True):
    """`(batch, channels, *places)`, channels-last where `first` is 1; without the batch where there was none."""
    if first == 1:
        result = channels_last_of(result)
    return result if batched else result.squeeze(0)


def out_size(size, kernel, stride, dilation):
    """How many windows fit."""
    return (size - dilation * (kernel - 1) - 1) // stride + 1


def pad_axes(input, first, widths, value=0):
    """`value` added around axes from `first` on, (before, after) for each."""
    if not any(any(pair) for pair in widths):
        return input
    flat = [w for pair in reversed(widths) for w in pair]
    return pydiff.pad(input, (0, 0) * (input.ndim - first - len(widths)) + tuple(flat), value=value)


def places(input, axis, kernel, stride, dilation, out):
    """The k-th places of all windows along an axis, for each k."""
    before = (slice(None),) * axis
    for k in range(kernel):
        start = k * dilation
        yield input[(*before, slice(start, start + (out - 1) * stride + 1, stride))]


def unfold_axes(input, first, at, kernel, stride, dilation, out):
    """Axes from `first` on have `out` windows each; the kernel's axes come in at `at`: up to `first`, or behind the windows."""
    step = 2 if at <= first else 1
    for d in range(len(kernel)):
        parts = places(input, first + step * d, kernel[d], stride[d], dilation[d], out[d])
        input = pydiff.stack(list(parts), at + d)
    return input


def fold_axes(input, first, at, kernel, stride, dilation, size):
    """The transpose of `unfold_axes`: axes of `size`, on which windows that overlap are added up."""
    step = 2 if at <= first else 1
    for d in reversed(range(len(kernel))):
        axis = first + step * d
        total = None
        for k in range(kernel[d]):
            part = _spread(input.select(at + d, k), axis, stride[d])
            start = k * dilation[d]
            part = pad_axes(part, axis, [(start, size[d] - start - part.shape[axis])])
            total = part if total is None else total + part
        input = total
    return input


def _spread(input, axis, stride):
    """stride - 1 zeros behind each element of an axis."""
    if stride == 1:
        return input
    shape = list(input.shape)
    shape[axis] *= stride
    return pad_axes(input.unsqueeze(axis + 1), axis + 1, [(0, stride - 1)]).reshape(shape)
