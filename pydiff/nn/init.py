"""Ways to fill a tensor before training. All work in place, record no tape, and return it.

`generator` is what random numbers are drawn from, a `pydiff.Generator`; by default the one that `manual_seed` seeds.
"""

import math
import warnings

import numpy as np

import pydiff

__all__ = [
    "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_",
    "orthogonal_", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip


def _fans(name, tensor):
    """(fan_in, fan_out) of a weight `(out, in, *receptive_field)`."""
    shape = tuple(tensor.shape)
    if len(shape) < 2:
        raise ValueError(f"[{name}] fan-in and fan-out need two axes at least; got shape {shape}; try uniform_ or normal_")
    receptive = math.prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


def calculate_gain(nonlinearity, param=None):
    """The factor by which initial weights make up for what `nonlinearity` shrinks.

    Arguments:
        nonlinearity: 'linear', 'sigmoid', 'tanh', 'relu', 'leaky_relu', 'selu' or 'conv…'.
        param: the negative slope of 'leaky_relu' (0.01).

    Raises ValueError for an unknown name.

    >>> import pydiff as pd
    >>> round(pd.nn.init.calculate_gain("relu") ** 2, 6)
    2.0
    """
    if nonlinearity in ("linear", "sigmoid") or nonlinearity.startswith("conv"):
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"[calculate_gain] the negative slope is a number; got {slope!r}; try 0.01")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 0.75
    raise ValueError(
        f"[calculate_gain] unknown nonlinearity; got {nonlinearity!r}; "
        "try 'linear', 'sigmoid', 'tanh', 'relu', 'leaky_relu' or 'selu'"
    )


def uniform_(tensor, a=0.0, b=1.0, generator=None):
    """Fill with draws from the uniform distribution on [a, b).

    >>> import pydiff as pd
    >>> t = pd.nn.init.uniform_(pd.empty(100), 2.0, 3.0)
    >>> bool(t.min() >= 2.0) and bool(t.max() <= 3.0)
    True
    """
    with pydiff.no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(tensor, mean=0.0, std=1.0, generator=None):
    """Fill with draws from the normal distribution.

    >>> import pydiff as pd
    >>> tuple(pd.nn.init.normal_(pd.empty(3, 2), std=0.02).shape)
    (3, 2)
    """
    with pydiff.no_grad():
        return tensor.normal_(mean, std, generator=generator)


def constant_(tensor, val):
    """Fill with the number `val`.

    >>> import pydiff as pd
    >>> pd.nn.init.constant_(pd.empty(3), 2.0).sum().item()
    6.0
    """
    with pydiff.no_grad():
        return tensor.fill_(val)


def ones_(tensor):
    """Fill with ones.

    >>> import pydiff as pd
    >>> pd.nn.init.ones_(pd.empty(3)).sum().item()
    3.0
    """
    return constant_(tensor, 1.0)


def zeros_(tensor):
    """Fill with zeros.

    >>> import pydiff as pd
    >>> pd.nn.init.zeros_(pd.empty(3)).sum().item()
    0.0
    """
    return constant_(tensor, 0.0)


def xavier_uniform_(tensor, gain=1.0, generator=None):
    """Fill from uniform(-b, b), b = gain * sqrt(6 / (fan_in + fan_out)).

    Glorot and Bengio, AISTATS 2010. Raises ValueError for fewer than two axes.

    >>> import pydiff as pd
    >>> t = pd.nn.init.xavier_uniform_(pd.empty(3, 3))
    >>> bool(t.abs().max() <= 1.0)
    True
    """
    fan_in, fan_out = _fans("xavier_uniform_", tensor)
    bound = gain * math.sqrt(6.0 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor, gain=1.0, generator=None):
    """Fill from a normal distribution, std = gain * sqrt(2 / (fan_in + fan_out)).

    Glorot and Bengio, AISTATS 2010. Raises ValueError for fewer than two axes.

    >>> import pydiff as pd
    >>> tuple(pd.nn.init.xavier_normal_(pd.empty(3, 2)).shape)
    (3, 2)
    """
    fan_in, fan_out = _fans("xavier_normal_", tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)), generator)


def _kaiming_std(name, tensor, a, mode, nonlinearity):
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"[{name}] unknown mode; got {mode!r}; try 'fan_in' or 'fan_out'")
    fan = _fans(name, tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """Fill from uniform(-b, b), b = gain * sqrt(3 / fan).

    Arguments:
        a: the negative slope of the leaky ReLU after this layer.
        mode: 'fan_in' keeps the variance of the forward pass, 'fan_out' of the backward pass.
        nonlinearity: what follows the layer; see `calculate_gain`.

    He et al., "Delving Deep into Rectifiers", ICCV 2015. Raises ValueError for an unknown
    mode or nonlinearity, or fewer than two axes.

    >>> import pydiff as pd
    >>> t = pd.nn.init.kaiming_uniform_(pd.empty(5, 6), nonlinearity="relu")
    >>> bool(t.abs().max() <= 1.0)
    True
    """
    bound = math.sqrt(3.0) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """Fill from a normal distribution, std = gain / sqrt(fan); arguments as `kaiming_uniform_`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.init.kaiming_normal_(pd.empty(5, 6)).shape)
    (5, 6)
    """
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity), generator)


def trunc_normal_(tensor, mean=0.0, std=1.0, a=-2.0, b=2.0, generator=None):
    """Fill from the normal distribution that is cut off outside [a, b].

    Arguments:
        mean, std: of the distribution before it is cut; `a` and `b` are not in units of `std`.

    Uniform draws between the distribution function's values at `a` and `b` are mapped back by its inverse; of the tail
    that is nearer 0, so that digits are kept. Warns where [a, b] begins more than two `std` from the mean, as PyTorch
    does. Raises ValueError unless a < b and std > 0.

    >>> import pydiff as pd
    >>> t = pd.nn.init.trunc_normal_(pd.empty(100), std=2.0, a=-1.0, b=3.0)
    >>> bool(t.min() >= -1.0) and bool(t.max() <= 3.0)
    True
    """
    if not (a < b and std > 0):
        raise ValueError(f"[trunc_normal_] it needs a < b and std > 0; got a={a}, b={b}, std={std}; try a=-2.0, b=2.0")
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            f"[trunc_normal_] [a, b] is more than two std from the mean; got mean={mean}, std={std}, a={a}, b={b}; "
            "try a mean inside",
            stacklevel=2,
        )
    low, high = (a - mean) / std, (b - mean) / std
    # The distribution is symmetric: of two bounds above 0 take the mirror image, where differences from 1 do not vanish.
    side = -1.0 if low > 0 else 1.0
    low, high = sorted((side * low, side * high))
    with pydiff.no_grad():
        # float64: a float32 is too coarse for the probabilities of a tail.
        share = pydiff.rand(tensor.shape, dtype=pydiff.float64, device=tensor.device, generator=generator)
        floor, ceiling = _below(low), _below(high)
        drawn = pydiff.special.ndtri(floor + (ceiling - floor) * share)
        return tensor.copy_((mean + side * std * drawn).clamp(a, b))


def _below(x):
    """The standard normal distribution function."""
    return math.erfc(-x / math.sqrt(2.0)) / 2


def _checked(name, tensor, counts, form):
    if tensor.ndim not in counts:
        raise ValueError(f"[{name}] the tensor is {form}; got shape {tuple(tensor.shape)}; try {max(counts)} axes")


def _put(tensor, values):
    with pydiff.no_grad():
        return tensor.copy_(pydiff.tensor(values, device=tensor.device))


def eye_(tensor):
    """Fill a matrix with the identity, ones on its main diagonal.

    Raises ValueError unless there are two axes.

    >>> import pydiff as pd
    >>> pd.nn.init.eye_(pd.empty(2, 3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    _checked("eye_", tensor, (2,), "a matrix")
    return _put(tensor, np.eye(*tensor.shape, dtype="float32"))


def dirac_(tensor, groups=1):
    """Fill a convolution's weight so that it hands on as many input channels as it can, in each of `groups`.

    Arguments:
        tensor: `(out_channels, in_channels / groups, *kernel)`, of 3 to 5 axes.

    Raises ValueError for another number of axes, and where `groups` does not divide the first.

    >>> import pydiff as pd
    >>> pd.nn.init.dirac_(pd.empty(2, 1, 3), groups=2).tolist()
    [[[0.0, 1.0, 0.0]], [[0.0, 1.0, 0.0]]]
    """
    _checked("dirac_", tensor, (3, 4, 5), "a convolution's weight, of 3 to 5 axes")
    shape = tuple(tensor.shape)
    if groups < 1 or shape[0] % groups:
        raise ValueError(f"[dirac_] out_channels are a multiple of groups; got {shape[0]} and groups={groups}; try groups=1")
    values = np.zeros(shape, "float32")
    each = shape[0] // groups
    channel = np.arange(min(each, shape[1]))
    middle = tuple(n // 2 for n in shape[2:])
    for group in range(groups):
        values[(group * each + channel, channel, *middle)] = 1
    return _put(tensor, values)


def orthogonal_(tensor, gain=1, generator=None):
    """Fill with rows or columns that are orthogonal to each other, of length `gain`.

    Axes behind the first are taken as one; the shorter side's vectors are orthogonal. The Q of a normal matrix's QR
    factors, with the signs of R's diagonal, is uniform among all such (Mezzadri, arXiv:math-ph/0609050). Saxe et al.,
    arXiv:1312.6120. Raises ValueError for fewer than two axes.

    >>> import pydiff as pd
    >>> w = pd.nn.init.orthogonal_(pd.empty(2, 3))
    >>> (w @ w.mT).round(decimals=5).abs().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if tensor.ndim < 2:
        raise ValueError(f"[orthogonal_] it needs two axes at least; got shape {tuple(tensor.shape)}; try normal_")
    if not tensor.numel():
        return tensor
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    long, short = max(rows, columns), min(rows, columns)
    dtype = pydiff.float64 if tensor.dtype == pydiff.float64 else pydiff.float32
    with pydiff.no_grad():
        # On the CPU, where QR needs no other library; the numbers are the same on every device.
        drawn = pydiff.randn(long, short, dtype=dtype, device="cpu", generator=generator)
        q, r = pydiff.linalg.qr(drawn)
        q = q * r.diagonal().sign()
        if rows < columns:
            q = q.mT
        return tensor.copy_(q.reshape(tensor.shape) * gain)


def sparse_(tensor, sparsity, std=0.01, generator=None):
    """Fill a matrix from a normal distribution, but the share `sparsity` of each column with zeros.

    Martens, ICML 2010. Raises ValueError unless there are two axes, and unless 0 <= sparsity <= 1.

    >>> import pydiff as pd
    >>> (pd.nn.init.sparse_(pd.empty(4, 3), 0.5) == 0).sum(0).tolist()
    [2, 2, 2]
    """
    _checked("sparse_", tensor, (2,), "a matrix")
    if not 0 <= sparsity <= 1:
        raise ValueError(f"[sparse_] sparsity is a share; got {sparsity}; try 0.1")
    zeros = math.ceil(sparsity * tensor.shape[0])
    with pydiff.no_grad():
        # On the CPU, where sorting needs no other library; the numbers are the same on every device.
        rank = pydiff.rand(tensor.shape, device="cpu", generator=generator).argsort(0).argsort(0)
        tensor.normal_(0.0, std, generator=generator)
        return tensor.copy_(pydiff.where((rank < zeros).to(tensor.device), 0, tensor))
