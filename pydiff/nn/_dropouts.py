"""Dropout of elements and of whole channels, as functions."""

import pydiff
from pydiff.memory_formats import laid_out_like

from ._activations import into


def check_probability(name, p):
    """Raise ValueError unless 0 <= p <= 1."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"[{name}] p is a probability; got {p}; try 0.5")


def dropout(input, p=0.5, training=True, inplace=False):
    """Zero each element with probability `p` and scale the others by 1/(1-p).

    Without `training` the input comes back as it is. Raises ValueError unless 0 <= p <= 1.

    >>> import pydiff as pd
    >>> pd.nn.functional.dropout(pd.ones(8), p=1.0).sum().item()
    0.0
    """
    return _zeroed("dropout", input, input.shape, p, training, inplace)


def _zeroed(name, input, shape, p, training, inplace):
    """Elements of a mask of `shape`, broadcast to the input, are zeroed."""
    check_probability(name, p)
    if not training or p == 0:
        return input
    if p == 1:
        return into(input, input * 0, inplace)
    keep = laid_out_like(pydiff.rand(shape, device=input.device) >= p, input)
    return into(input, pydiff.where(keep, input * (1 / (1 - p)), 0), inplace)


def _channels(name, input, spatial):
    """The shape of a mask with one element a channel; with one axis less there is no batch."""
    if input.ndim < 2:
        raise ValueError(f"[{name}] the input is (batch, channels, *); got {tuple(input.shape)}; try unsqueeze(0)")
    kept = 1 if input.ndim == spatial + 1 and spatial != 2 else 2
    return (*input.shape[:kept], *(1,) * (input.ndim - kept))


def dropout1d(input, p=0.5, training=True, inplace=False):
    """`dropout` of whole channels of `(batch, channels, length)` or `(channels, length)`.

    >>> import pydiff as pd
    >>> pd.nn.functional.dropout1d(pd.ones(2, 3, 4), p=1.0).sum().item()
    0.0
    """
    shape = _channels("dropout1d", input, 1)
    return _zeroed("dropout1d", input, shape, p, training, inplace)


def dropout2d(input, p=0.5, training=True, inplace=False):
    """`dropout` of whole channels of `(batch, channels, height, width)`.

    As in PyTorch the first two axes are batch and channels, of fewer than four axes too.

    >>> import pydiff as pd
    >>> pd.nn.functional.dropout2d(pd.ones(2, 3, 4, 4), p=1.0).sum().item()
    0.0
    """
    shape = _channels("dropout2d", input, 2)
    return _zeroed("dropout2d", input, shape, p, training, inplace)


def dropout3d(input, p=0.5, training=True, inplace=False):
    """`dropout` of whole channels of `(batch, channels, depth, height, width)`, or without batch.

    >>> import pydiff as pd
    >>> pd.nn.functional.dropout3d(pd.ones(2, 3, 4, 4, 4), p=1.0).sum().item()
    0.0
    """
    shape = _channels("dropout3d", input, 3)
    return _zeroed("dropout3d", input, shape, p, training, inplace)


_LOWEST = -1.7580993408473766  # of selu: -scale * alpha


def _alpha(name, input, spatial, p, training, inplace):
    # Dropped elements are selu's lowest value; a x + b brings mean 0 and variance 1 back.
    check_probability(name, p)
    if not training or p == 0:
        return input
    shape = input.shape if spatial is None else _channels(name, input, spatial)
    if p == 1:
        return into(input, input * 0, inplace)
    a = ((1 - p) * (1 + p * _LOWEST**2)) ** -0.5
    keep = pydiff.rand(shape, device=input.device) >= p
    shift = -a * p * _LOWEST
    return into(input, pydiff.where(keep, a * input, a * _LOWEST) + shift, inplace)


def alpha_dropout(input, p=0.5, training=False, inplace=False):
    """Dropout for networks of `selu`: mean 0 and variance 1 stay (Klambauer et al., arXiv:1706.02515).

    >>> import pydiff as pd
    >>> pd.nn.functional.alpha_dropout(pd.ones(2), p=0.5).tolist()
    [1.0, 1.0]
    """
    return _alpha("alpha_dropout", input, None, p, training, inplace)


def feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
    """`alpha_dropout` of whole channels of `(batch, channels, *)`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.functional.feature_alpha_dropout(pd.ones(2, 3, 4), training=True).shape)
    (2, 3, 4)
    """
    return _alpha("feature_alpha_dropout", input, 2, p, training, inplace)
