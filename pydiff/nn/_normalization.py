"""Normalisations by statistics of the input, as functions."""

import math

import pydiff

from .._rounding import narrow, rounded_once
from ..facts import limits
from ._windows import by_channels, by_places


@rounded_once
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """(x - mean) / sqrt(var + eps) over the last axes, then `* weight + bias`.

    Arguments:
        input: `(*, *normalized_shape)`.
        normalized_shape: sizes of the last axes; an int for one.
        weight, bias: `normalized_shape`, or None.

    `var` divides by the count. Raises ValueError where the input does not end in
    `normalized_shape`. Ba, Kiros, Hinton, arXiv:1607.06450.

    >>> import pydiff as pd
    >>> pd.nn.functional.layer_norm(pd.ones(2, 3), (3,)).abs().sum().item()
    0.0
    """
    dims = _last_axes("layer_norm", input, normalized_shape)
    return _affine(_standard(input, dims, eps), weight, bias)


def rms_norm(input, normalized_shape, weight=None, eps=None):
    """x / sqrt(mean(x²) + eps) over the last axes, then `* weight`.

    Arguments and errors as `layer_norm`; `eps` is by default the dtype's epsilon. Zhang and
    Sennrich, arXiv:1910.07467.

    >>> import pydiff as pd
    >>> pd.nn.functional.rms_norm(pd.full((2, 3), 4.0), (3,)).mean().round().item()
    1.0
    """
    dims = _last_axes("rms_norm", input, normalized_shape)
    if eps is None:
        eps = limits(input.dtype).eps
    return _root_mean_square(input, dims, eps, weight)


@rounded_once
def _root_mean_square(input, dims, eps, weight):
    result = input * ((input * input).mean(dims, keepdim=True) + eps).rsqrt()
    return result if weight is None else result * weight


def _last_axes(name, input, normalized_shape):
    if type(normalized_shape) is not tuple:
        normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    axes = len(normalized_shape)
    if not axes or input.shape[-axes:] != normalized_shape:
        raise ValueError(
            f"[{name}] the input does not end in normalized_shape; got input "
            f"{tuple(input.shape)}, normalized_shape {normalized_shape}; "
            f"try normalized_shape={tuple(input.shape[-max(axes, 1) :])}"
        )
    return -1 if axes == 1 else tuple(range(-axes, 0))


def _moments(input, dims):
    """The input without its mean, the mean and the variance over axes."""
    mean = input.mean(dims, keepdim=True)
    centred = input - mean
    return centred, mean, (centred * centred).mean(dims, keepdim=True)


def _standard(input, dims, eps):
    centred, _, variance = _moments(input, dims)
    return centred * (variance + eps).rsqrt()


def _statistics(name, input, dims, eps, hint):
    """The standardized input, its means and its unbiased variances over axes of more than one value."""
    kept = math.prod(size for axis, size in enumerate(input.shape) if axis not in dims)
    count = input.numel() // max(kept, 1)
    if count == 1:
        raise ValueError(f"[{name}] one value a channel has no variance; got input {tuple(input.shape)}; try {hint}")
    centred, mean, variance = _moments(input, dims)
    return centred * (variance + eps).rsqrt(), mean, variance * (count / max(count - 1, 1))


def _affine(result, weight, bias):
    if weight is not None:
        result = result * weight
    return result if bias is None else result + bias


def _by_channel(vector, ndim, first=2):
    """`(channels,)` shaped to broadcast along axis 1, or along the last where the places begin at axis 1."""
    return vector if vector is None or first == 1 else vector.reshape((1, -1) + (1,) * (ndim - 2))


def _check_channels(name, input, **vectors):
    if input.ndim < 2:
        raise ValueError(f"[{name}] the input is (batch, channels, *); got {tuple(input.shape)}; try unsqueeze(0)")
    channels = input.shape[1]
    for what, vector in vectors.items():
        if vector is not None and vector.numel() != channels:
            raise ValueError(
                f"[{name}] {what} has a number for each channel; got {tuple(vector.shape)} for "
                f"{channels} channels; try shape ({channels},)"
            )


def batch_norm(
    input, running_mean=None, running_var=None, weight=None, bias=None, training=False, momentum=0.1,
    eps=1e-5,
):  # fmt: skip
    """(x - mean) / sqrt(var + eps) for each channel, then `* weight + bias`.

    Arguments:
        input: `(batch, channels, *)`.
        running_mean, running_var: `(channels,)`, the statistics that are used without `training`.
        weight, bias: `(channels,)`, or None.
        training: whether the statistics are those of the input. The running ones then move
            towards them in place by the share `momentum`, the variance divided by count - 1.

    Ioffe and Szegedy, arXiv:1502.03167. Raises ValueError where sizes do not match, where
    statistics are missing, or where one value a channel leaves nothing to train on.

    >>> import pydiff as pd
    >>> x = pd.tensor([[1.0], [3.0]])
    >>> pd.nn.functional.batch_norm(x, training=True, eps=0.0).tolist()
    [[-1.0], [1.0]]
    """
    name = "batch_norm"
    if input.ndim == 1 and not input.numel():
        return input.clone()  # as in PyTorch
    if narrow(input):
        wide = batch_norm(input.float(), running_mean, running_var, weight, bias, training, momentum, eps)
        return wide.to(input.dtype)
    _check_channels(name, input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    x, first = by_places(input)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError(f"[{name}] without training it uses running statistics; got none; try training=True")
        mean, variance = (_by_channel(v, x.ndim, first) for v in (running_mean, running_var))
        result = (x - mean) * (variance + eps).rsqrt()
    else:
        dims = (0, *range(first, x.ndim - 2 + first))
        result, mean, variance = _statistics(name, x, dims, eps, "a larger batch, or training=False")
        if input.numel():  # a batch of none moves nothing, as in PyTorch
            _move(name, running_mean, mean.reshape(-1), momentum)
            _move(name, running_var, variance.reshape(-1), momentum)
    return _scaled(result, weight, bias, first)


def _scaled(result, weight, bias, first):
    vectors = (_by_channel(v, result.ndim, first) for v in (weight, bias))
    return by_channels(_affine(result, *vectors), first)


def _move(name, running, value, momentum):
    if running is not None:
        if value.is_abstract and not running.is_abstract:
            raise RuntimeError(
                f"[{name}] inside vmap each example would move the running statistics another way; "
                f"got one {tuple(running.shape)} for all; try eval(), track_running_stats=False, "
                "or functional_call with a batch of buffers"
            )
        with pydiff.no_grad():
            running.copy_((1 - momentum) * running + momentum * value.detach())


def instance_norm(
    input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True,
    momentum=0.1, eps=1e-5,
):  # fmt: skip
    """`batch_norm` of each sample by itself: the statistics are over the axes behind the channels.

    Arguments as `batch_norm`, `use_input_stats` being its `training`; the running statistics move
    towards the mean over the batch. Ulyanov et al., arXiv:1607.08022.

    >>> import pydiff as pd
    >>> pd.nn.functional.instance_norm(pd.tensor([[[1.0, 3.0]]]), eps=0.0).tolist()
    [[[-1.0, 1.0]]]
    """
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    name = "instance_norm"
    _check_channels(name, input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if narrow(input):
        wide = instance_norm(input.float(), running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
        return wide.to(input.dtype)
    x, first = by_places(input)
    dims = tuple(range(first, x.ndim - 2 + first))
    result, mean, variance = _statistics(name, x, dims, eps, "more than one place")
    channels = input.shape[:2]
    if input.numel():
        _move(name, running_mean, mean.reshape(channels).mean(0), momentum)
        _move(name, running_var, variance.reshape(channels).mean(0), momentum)
    return _scaled(result, weight, bias, first)


@rounded_once
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """(x - mean) / sqrt(var + eps) over each of `num_groups` groups of channels of each sample.

    Arguments:
        input: `(batch, channels, *)`; the channels are a multiple of `num_groups`.
        weight, bias: `(channels,)`, or None.

    Wu and He, arXiv:1803.08494. Raises ValueError where sizes do not match.

    >>> import pydiff as pd
    >>> pd.nn.functional.group_norm(pd.tensor([[1.0, 3.0]]), 1, eps=0.0).tolist()
    [[-1.0, 1.0]]
    """
    _check_channels("group_norm", input, weight=weight, bias=bias)
    batch, channels = input.shape[:2]
    if num_groups < 1 or channels % num_groups:
        raise ValueError(
            f"[group_norm] the channels are a multiple of num_groups; got {channels} channels, "
            f"{num_groups} groups; try num_groups=1"
        )
    x, first = by_places(input)
    if first == 1:
        grouped = x.reshape(batch, math.prod(x.shape[1:-1]), num_groups, channels // num_groups)
        result = _standard(grouped, (1, 3), eps)
    else:
        size = input.numel() // max(batch * num_groups, 1)
        result = _standard(x.reshape(batch, num_groups, size), -1, eps)
    return _scaled(result.reshape(x.shape), weight, bias, first)


@rounded_once
def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0):
    """x / (k + alpha * mean of x² over `size` neighbouring channels)^beta.

    Arguments:
        input: `(batch, channels, *)`, of three axes at least.

    Krizhevsky et al., NIPS 2012. Raises ValueError for fewer axes.

    >>> import pydiff as pd
    >>> pd.nn.functional.local_response_norm(pd.ones(1, 2, 3), 1, alpha=3.0, beta=0.5).mean().item()
    0.5
    """
    if input.ndim < 3:
        raise ValueError(
            f"[local_response_norm] the input is (batch, channels, *) of three axes at least; got "
            f"{tuple(input.shape)}; try unsqueeze(-1)"
        )
    if not input.numel():
        return input.clone()
    squares = input * input
    behind = (0, 0) * (input.ndim - 2)
    squares = pydiff.pad(squares, (*behind, size // 2, (size - 1) // 2))
    channels = input.shape[1]
    total = squares.narrow(1, 0, channels)
    for shift in range(1, size):
        total = total + squares.narrow(1, shift, channels)
    # The mean of integers is an integer, as in PyTorch.
    mean = total / size if input.dtype.is_floating_point else total // size
    return input / (mean * alpha + k) ** beta
