"""Activation functions as modules; the formulas are in `nn.functional`."""

from . import functional as F
from .module import Module

__all__ = ["GELU", "LeakyReLU", "LogSoftmax", "ReLU", "Sigmoid", "SiLU", "Softmax", "Softplus", "Tanh"]


class ReLU(Module):
    """max(x, 0), element by element.

    >>> import pydiff as pd
    >>> pd.nn.ReLU()(pd.tensor([-1.0, 2.0])).sum().item()
    2.0
    """

    def __init__(self, inplace=False):
        super().__init__()
        self.inplace = inplace

    def forward(self, input):
        return F.relu(input, self.inplace)

    def extra_repr(self):
        return "inplace=True" if self.inplace else ""


class LeakyReLU(Module):
    """x where x > 0, else `negative_slope * x`.

    >>> import pydiff as pd
    >>> pd.nn.LeakyReLU(0.5)(pd.tensor(-4.0)).item()
    -2.0
    """

    def __init__(self, negative_slope=1e-2, inplace=False):
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input):
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self):
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class SiLU(Module):
    """x * sigmoid(x), also called swish.

    >>> import pydiff as pd
    >>> pd.nn.SiLU()(pd.tensor(0.0)).item()
    0.0
    """

    def __init__(self, inplace=False):
        super().__init__()
        self.inplace = inplace

    def forward(self, input):
        return F.silu(input, self.inplace)

    def extra_repr(self):
        return "inplace=True" if self.inplace else ""


class GELU(Module):
    """x * Φ(x), Φ the normal distribution function; `approximate='tanh'` for the tanh form.

    >>> import pydiff as pd
    >>> pd.nn.GELU()(pd.tensor(0.0)).item()
    0.0
    """

    def __init__(self, approximate="none"):
        super().__init__()
        self.approximate = approximate

    def forward(self, input):
        return F.gelu(input, self.approximate)

    def extra_repr(self):
        return f"approximate={self.approximate!r}"


class Tanh(Module):
    """tanh(x).

    >>> import pydiff as pd
    >>> pd.nn.Tanh()(pd.tensor(0.0)).item()
    0.0
    """

    def forward(self, input):
        return input.tanh()


class Sigmoid(Module):
    """1 / (1 + exp(-x)).

    >>> import pydiff as pd
    >>> pd.nn.Sigmoid()(pd.tensor(0.0)).item()
    0.5
    """

    def forward(self, input):
        return input.sigmoid()


class Softplus(Module):
    """log(1 + exp(beta x)) / beta, and x itself where beta x > threshold.

    >>> import pydiff as pd
    >>> pd.nn.Softplus()(pd.tensor(50.0)).item()
    50.0
    """

    def __init__(self, beta=1.0, threshold=20.0):
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input):
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self):
        return f"beta={self.beta}, threshold={self.threshold}"


class Softmax(Module):
    """exp(x) / sum(exp(x)) along `dim`.

    >>> import pydiff as pd
    >>> pd.nn.Softmax(dim=-1)(pd.zeros(1, 4)).sum().item()
    1.0
    """

    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, input):
        return F.softmax(input, self.dim)

    def extra_repr(self):
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """log(softmax(x)) along `dim`, without underflow.

    >>> import pydiff as pd
    >>> pd.nn.LogSoftmax(dim=-1)(pd.zeros(1, 1)).item()
    0.0
    """

    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, input):
        return F.log_softmax(input, self.dim)

    def extra_repr(self):
        return f"dim={self.dim}"
