"""Ways to fill a tensor before training. All work in place, record no tape, and return it."""

import math

import pydiff


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


def uniform_(tensor, a=0.0, b=1.0):
    """Fill with draws from the uniform distribution on [a, b).

    >>> import pydiff as pd
    >>> t = pd.nn.init.uniform_(pd.empty(100), 2.0, 3.0)
    >>> bool(t.min() >= 2.0) and bool(t.max() <= 3.0)
    True
    """
    with pydiff.no_grad():
        return tensor.uniform_(a, b)


def normal_(tensor, mean=0.0, std=1.0):
    """Fill with draws from the normal distribution.

    >>> import pydiff as pd
    >>> tuple(pd.nn.init.normal_(pd.empty(3, 2), std=0.02).shape)
    (3, 2)
    """
    with pydiff.no_grad():
        return tensor.normal_(mean, std)


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


def xavier_uniform_(tensor, gain=1.0):
    """Fill from uniform(-b, b), b = gain * sqrt(6 / (fan_in + fan_out)).

    Glorot and Bengio, AISTATS 2010. Raises ValueError for fewer than two axes.

    >>> import pydiff as pd
    >>> t = pd.nn.init.xavier_uniform_(pd.empty(3, 3))
    >>> bool(t.abs().max() <= 1.0)
    True
    """
    fan_in, fan_out = _fans("xavier_uniform_", tensor)
    bound = gain * math.sqrt(6.0 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor, gain=1.0):
    """Fill from a normal distribution, std = gain * sqrt(2 / (fan_in + fan_out)).

    Glorot and Bengio, AISTATS 2010. Raises ValueError for fewer than two axes.

    >>> import pydiff as pd
    >>> tuple(pd.nn.init.xavier_normal_(pd.empty(3, 2)).shape)
    (3, 2)
    """
    fan_in, fan_out = _fans("xavier_normal_", tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)))


def _kaiming_std(name, tensor, a, mode, nonlinearity):
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"[{name}] unknown mode; got {mode!r}; try 'fan_in' or 'fan_out'")
    fan = _fans(name, tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu"):
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
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu"):
    """Fill from a normal distribution, std = gain / sqrt(fan); arguments as `kaiming_uniform_`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.init.kaiming_normal_(pd.empty(5, 6)).shape)
    (5, 6)
    """
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity))
