"""Convolutions: a kernel of the core's, or slices of the input, stacked, and one matrix product a group."""

import math

from pydiff import _core
from pydiff.memory_formats import places_last

from ._windows import by_channels, fold_axes, numbers, out_size, pad_axes, positive, unfold_axes, with_batch


def _check(name, input, weight, bias, groups, axes, transposed):
    got = f"input {tuple(input.shape)}, weight {tuple(weight.shape)}, groups={groups}"
    if weight.ndim != axes + 2:
        raise ValueError(f"[{name}] the weight has {axes + 2} axes; got {got}; try one more or fewer")
    channels, wanted = input.shape[1], weight.shape[0] if transposed else weight.shape[1] * groups
    if groups < 1 or channels != wanted or weight.shape[0] % groups:
        raise ValueError(f"[{name}] channels and groups do not fit; got {got}; try an input of {wanted} channels")
    outputs = weight.shape[1] * groups if transposed else weight.shape[0]
    if bias is not None and tuple(bias.shape) != (outputs,):
        raise ValueError(f"[{name}] the bias is (out_channels,); got {tuple(bias.shape)}; try shape ({outputs},)")


def _widths(name, padding, kernel, stride, dilation):
    """(before, after) of each axis."""
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if padding != "same":
        if isinstance(padding, str):
            raise ValueError(f"[{name}] unknown padding; got {padding!r}; try 'same', 'valid' or a number")
        return [(p, p) for p in numbers(name, "padding", padding, len(kernel))]
    if max(stride) > 1:
        raise ValueError(f"[{name}] padding='same' goes with stride 1; got {stride}; try padding=1")
    totals = [d * (k - 1) for k, d in zip(kernel, dilation)]
    return [(t // 2, t - t // 2) for t in totals]


def _convolve(name, input, weight, bias, stride, padding, dilation, groups, axes):
    stride, dilation = numbers(name, "stride", stride, axes), numbers(name, "dilation", dilation, axes)
    positive(name, stride=stride, dilation=dilation)
    input, batched = with_batch(name, input, axes)
    _check(name, input, weight, bias, groups, axes, False)
    kernel = tuple(weight.shape[2:])
    widths = _widths(name, padding, kernel, stride, dilation)
    padded = [n + sum(pair) for n, pair in zip(input.shape[2:], widths)]
    out = tuple(out_size(n, k, s, d) for n, k, s, d in zip(padded, kernel, stride, dilation))
    if min(out) < 1:
        raise ValueError(
            f"[{name}] the kernel is larger than the padded input; got {kernel}, dilation {dilation}, for "
            f"{tuple(padded)}; try padding"
        )
    first = _first(input, weight)
    if has_kernel(input):
        return _by_kernel(input, weight, bias, groups, 0, stride, widths, (1,) * axes, dilation, first, batched)
    return _by_columns(pad_axes(input, 2, widths), weight, bias, groups, stride, dilation, out, first, batched)


def has_kernel(input, transposed=False):
    """Whether the core has a kernel of convolutions for the tensor's device and type."""
    return _core.convolution_serves(input, transposed)


# Flags of the core's convolution (csrc/ops/convolution.h).
_TURNED, _MIRRORED, _CHANNELS_LAST = 2, 16, 32


def _by_kernel(x, weight, bias, groups, flags, stride, widths, spread, dilation, first, batched):
    """The core's kernel; `first` is 1 where the result is to be channels-last."""
    before, after = zip(*widths)
    if first == 1:
        flags |= _CHANNELS_LAST
    result = _core.convolution(x, weight, [groups, flags, *stride, *before, *after, *spread, *dilation])
    if bias is not None:
        result = result + (bias if first == 1 else bias.reshape((-1,) + (1,) * (result.ndim - 2)))
    return by_channels(result, first, batched)


def _by_columns(x, weight, bias, groups, stride, dilation, out, first, batched):
    """The definition: the windows as columns, and a product."""
    batch, channels = x.shape[:2]
    # (channels, *kernel, batch, *out): one product a group, whatever the batch; so is the weight's gradient.
    kernel, rows = tuple(weight.shape[2:]), weight.shape[0]
    columns = unfold_axes(x.transpose(0, 1), 2, 1, kernel, stride, dilation, out)
    size, places = channels // groups * math.prod(kernel), batch * math.prod(out)
    if groups == 1:
        result = weight.reshape(rows, size) @ columns.reshape(size, places)
    else:
        result = weight.reshape(groups, rows // groups, size) @ columns.reshape(groups, size, places)
    return _finish(result.reshape(rows, batch, *out), bias, first, batched)


def _first(input, weight):
    """The axis of the result's places: 1 where the input or the weight is channels-last, else 2."""
    return 2 if places_last(input) is None and places_last(weight) is None else 1


def _finish(result, bias, first, batched):
    """(channels, batch, *) with the bias, as (batch, channels, *) or without the batch; channels-last where `first` is 1."""
    if bias is not None:
        result = result + bias.reshape((-1,) + (1,) * (result.ndim - 1))
    result = result.movedim(0, -1) if first == 1 else result.transpose(0, 1).contiguous()
    return by_channels(result, first, batched)


def _transposed(name, input, weight, bias, stride, padding, output_padding, groups, dilation, axes):
    stride, dilation = numbers(name, "stride", stride, axes), numbers(name, "dilation", dilation, axes)
    padding, extra = numbers(name, "padding", padding, axes), numbers(name, "output_padding", output_padding, axes)
    positive(name, stride=stride, dilation=dilation)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation)):
        raise ValueError(f"[{name}] output_padding is smaller than stride or dilation; got {extra}; try {(0,) * axes}")
    input, batched = with_batch(name, input, axes)
    _check(name, input, weight, bias, groups, axes, True)
    kernel = tuple(weight.shape[2:])
    batch, channels = input.shape[:2]
    spatial = tuple(input.shape[2:])
    full = tuple((n - 1) * s + d * (k - 1) + 1 + e for n, k, s, d, e in zip(spatial, kernel, stride, dilation, extra))
    if any(n - 2 * p < 1 for n, p in zip(full, padding)):
        raise ValueError(f"[{name}] nothing is left of the result; got padding {padding} for {full}; try padding=0")
    rows = weight.shape[1]
    size, places = rows * math.prod(kernel), batch * math.prod(spatial)
    first = _first(input, weight)
    if has_kernel(input, transposed=True):
        reach = [d * (k - 1) for k, d in zip(kernel, dilation)]
        widths = [(r - p, r - p + e) for r, p, e in zip(reach, padding, extra)]
        flags = _TURNED | _MIRRORED
        return _by_kernel(input, weight, bias, groups, flags, (1,) * axes, widths, stride, dilation, first, batched)
    x = input.transpose(0, 1).reshape(groups, channels // groups, places)
    columns = weight.reshape(groups, channels // groups, size).mT @ x
    columns = columns.reshape(rows * groups, *kernel, batch, *spatial)
    result = fold_axes(columns, 2, 1, kernel, stride, dilation, full)
    result = pad_axes(result, 2, [(-p, -p) for p in padding])
    return _finish(result, bias, first, batched)


def conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation of `(batch, channels, length)`, or without batch, with a weight.

    Arguments:
        weight: `(out_channels, channels / groups, kernel)`.
        bias: `(out_channels,)` or None.
        stride, dilation: steps between windows, and between the places of one.
        padding: zeros on both sides; 'valid' for none, 'same' for as many as keep the size at stride 1.
        groups: parts of the channels that do not mix.

    Returns `(batch, out_channels, out)` with `out = (length + 2 padding - dilation (kernel - 1) - 1) // stride + 1`.
    Raises ValueError where shapes do not fit. Conventions: Dumoulin and Visin, arXiv:1603.07285.

    >>> import pydiff as pd
    >>> x = pd.tensor([[1.0, 2.0, 3.0, 4.0]])
    >>> pd.nn.functional.conv1d(x, pd.ones(1, 1, 2), stride=2).tolist()
    [[3.0, 7.0]]
    """
    return _convolve("conv1d", input, weight, bias, stride, padding, dilation, groups, 1)


def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation of `(batch, channels, height, width)` with `(out_channels, channels / groups, *kernel)`.

    Arguments and errors as `conv1d`; a pair gives one number for each axis.

    >>> import pydiff as pd
    >>> pd.nn.functional.conv2d(pd.ones(1, 1, 3, 3), pd.ones(1, 1, 3, 3), padding=1)[0, 0, 0].tolist()
    [4.0, 6.0, 4.0]
    """
    return _convolve("conv2d", input, weight, bias, stride, padding, dilation, groups, 2)


def conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation of `(batch, channels, depth, height, width)`; see `conv1d`.

    >>> import pydiff as pd
    >>> pd.nn.functional.conv3d(pd.ones(1, 1, 2, 2, 2), pd.ones(1, 1, 2, 2, 2)).item()
    8.0
    """
    return _convolve("conv3d", input, weight, bias, stride, padding, dilation, groups, 3)


def conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The transpose of `conv1d` as a linear map, from its results' shape to its inputs'.

    Arguments:
        input: `(batch, channels, length)`, or without batch.
        weight: `(channels, out_channels / groups, kernel)`.
        padding: how much is cut off at both ends.
        output_padding: how much is added at the end, less than `stride` or `dilation`.

    Returns `(batch, out_channels, out)`,
    `out = (length - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1`.
    Raises ValueError where shapes do not fit.

    >>> import pydiff as pd
    >>> x = pd.tensor([[1.0, 2.0]])
    >>> pd.nn.functional.conv_transpose1d(x, pd.ones(1, 1, 3), stride=2).tolist()
    [[1.0, 1.0, 3.0, 2.0, 2.0]]
    """
    return _transposed("conv_transpose1d", input, weight, bias, stride, padding, output_padding, groups, dilation, 1)


def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The transpose of `conv2d`; see `conv_transpose1d`.

    >>> import pydiff as pd
    >>> pd.nn.functional.conv_transpose2d(pd.ones(1, 1, 2, 2), pd.ones(1, 1, 2, 2))[0, 0, 1].tolist()
    [2.0, 4.0, 2.0]
    """
    return _transposed("conv_transpose2d", input, weight, bias, stride, padding, output_padding, groups, dilation, 2)


def conv_transpose3d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The transpose of `conv3d`; see `conv_transpose1d`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.functional.conv_transpose3d(pd.ones(1, 2, 3, 3, 3), pd.ones(2, 4, 2, 2, 2)).shape)
    (1, 4, 4, 4, 4)
    """
    return _transposed("conv_transpose3d", input, weight, bias, stride, padding, output_padding, groups, dilation, 3)


def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """The windows of `(batch, channels, height, width)`, or without batch, as columns.

    Returns `(batch, channels * kernel, windows)`. Raises ValueError where no window fits.

    >>> import pydiff as pd
    >>> pd.nn.functional.unfold(pd.arange(4).reshape(1, 1, 2, 2), (1, 2))[0].tolist()
    [[0, 2], [1, 3]]
    """
    name = "unfold"
    kernel, dilation = numbers(name, "kernel_size", kernel_size, 2), numbers(name, "dilation", dilation, 2)
    padding, stride = numbers(name, "padding", padding, 2), numbers(name, "stride", stride, 2)
    positive(name, kernel_size=kernel, dilation=dilation, stride=stride)
    input, batched = with_batch(name, input, 2)
    if input.dtype.category == "complex":
        raise TypeError(f"[{name}] no kernel for this type; got {input.dtype.name}; try the real and the imaginary part apart")
    x = pad_axes(input, 2, [(p, p) for p in padding])
    out = tuple(out_size(n, k, s, d) for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation))
    if min(out) < 1:
        raise ValueError(
            f"[{name}] the kernel is larger than the padded input; got {kernel}, dilation {dilation}, for "
            f"{tuple(x.shape[2:])}; try padding"
        )
    columns = unfold_axes(x, 2, 2, kernel, stride, dilation, out)
    result = columns.reshape(x.shape[0], x.shape[1] * math.prod(kernel), math.prod(out))
    return result if batched else result.squeeze(0)


def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """The transpose of `unfold`: columns put back, those that overlap added up.

    Arguments:
        input: `(batch, channels * kernel, windows)`, or without batch.
        output_size: (height, width) of the result `(batch, channels, height, width)`.

    Raises ValueError where the sizes do not fit.

    >>> import pydiff as pd
    >>> pd.nn.functional.fold(pd.ones(1, 2, 2), (1, 3), (1, 2))[0, 0].tolist()
    [[1.0, 2.0, 1.0]]
    """
    name = "fold"
    size, kernel = numbers(name, "output_size", output_size, 2), numbers(name, "kernel_size", kernel_size, 2)
    dilation, stride = numbers(name, "dilation", dilation, 2), numbers(name, "stride", stride, 2)
    padding = numbers(name, "padding", padding, 2)
    positive(name, kernel_size=kernel, dilation=dilation, stride=stride)
    batched = input.ndim == 3
    x = input if batched else input.unsqueeze(0)
    full = tuple(n + 2 * p for n, p in zip(size, padding))
    out = tuple(out_size(n, k, s, d) for n, k, s, d in zip(full, kernel, stride, dilation))
    places = math.prod(kernel)
    if x.ndim != 3 or min(out) < 1 or x.shape[1] % places or x.shape[2] != math.prod(out):
        raise ValueError(
            f"[{name}] the input is (batch, channels * {places}, {math.prod(out)}) for that size and kernel; got "
            f"{tuple(input.shape)}; try what unfold returns"
        )
    x = x.reshape(x.shape[0], x.shape[1] // places, *kernel, *out)
    result = pad_axes(fold_axes(x, 2, 2, kernel, stride, dilation, full), 2, [(-p, -p) for p in padding])
    return result if batched else result.squeeze(0)
