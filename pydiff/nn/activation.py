"""Activation functions as modules; the formulas are in `nn.functional`."""

import warnings

import pydiff

from . import functional as F
from . import init as initial
from ._sizes import check_axes, with_places
from .module import Module
from .parameter import Parameter

__all__ = [
    "CELU", "ELU", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid",
    "LogSoftmax", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softmax", "Softmax2d", "Softmin",
    "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Threshold",
]  # fmt: skip


class _InPlace(Module):
    """What an activation has whose only choice is `inplace`, whether the input itself takes the result's values."""

    def __init__(self, inplace=False):
        super().__init__()
        self.inplace = inplace

    def forward(self, input):
        return self._function(input, self.inplace)

    def extra_repr(self):
        return "inplace=True" if self.inplace else ""


class ReLU(_InPlace):
    """max(x, 0), element by element.

    >>> import pydiff as pd
    >>> pd.nn.ReLU()(pd.tensor([-1.0, 2.0])).sum().item()
    2.0
    """

    _function = staticmethod(F.relu)


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


class SiLU(_InPlace):
    """x * sigmoid(x), also called swish.

    >>> import pydiff as pd
    >>> pd.nn.SiLU()(pd.tensor(0.0)).item()
    0.0
    """

    _function = staticmethod(F.silu)


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


class _AlongAxis(Module):
    def __init__(self, dim=None):
        super().__init__()
        self.dim = dim

    def forward(self, input):
        dim = self.dim
        if dim is None:
            name = type(self).__name__
            dim = 0 if input.ndim in (0, 1, 3) else 1
            warnings.warn(
                f"[{name}] the axis was guessed, as PyTorch does; got dim=None, took {dim}; try {name}(dim={dim})", stacklevel=3
            )
        return self._function(input, dim)

    def extra_repr(self):
        return f"dim={self.dim}"


class Softmax(_AlongAxis):
    """exp(x) / sum(exp(x)) along `dim`.

    Without `dim` the axis is 0 for 0, 1 or 3 axes, else 1, and a warning says so, as in PyTorch.

    >>> import pydiff as pd
    >>> pd.nn.Softmax(dim=-1)(pd.zeros(1, 4)).sum().item()
    1.0
    """

    _function = staticmethod(F.softmax)


class LogSoftmax(_AlongAxis):
    """log(softmax(x)) along `dim`, without underflow; without `dim` as `Softmax`.

    >>> import pydiff as pd
    >>> pd.nn.LogSoftmax(dim=-1)(pd.zeros(1, 1)).item()
    0.0
    """

    _function = staticmethod(F.log_softmax)


class Softmin(_AlongAxis):
    """softmax(-x) along `dim`; without `dim` as `Softmax`.

    >>> import pydiff as pd
    >>> pd.nn.Softmin(dim=-1)(pd.zeros(1, 4)).sum().item()
    1.0
    """

    _function = staticmethod(F.softmin)


class Softmax2d(Module):
    """softmax over the channels of each place of `(batch, channels, height, width)`, or without batch.

    >>> import pydiff as pd
    >>> pd.nn.Softmax2d()(pd.zeros(4, 1, 1)).sum().item()
    1.0
    """

    def forward(self, input):
        check_axes("Softmax2d", input, (3, 4), with_places(2))
        return F.softmax(input, -3)


class _WithAlpha(_InPlace):
    def __init__(self, alpha=1.0, inplace=False):
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, input):
        return self._function(input, self.alpha, self.inplace)

    def extra_repr(self):
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class ELU(_WithAlpha):
    """x where x > 0, else `alpha * (exp(x) - 1)` (Clevert et al., arXiv:1511.07289).

    >>> import pydiff as pd
    >>> pd.nn.ELU(0.5)(pd.tensor([-float("inf"), 2.0])).tolist()
    [-0.5, 2.0]
    """

    _function = staticmethod(F.elu)


class CELU(_WithAlpha):
    """x where x > 0, else `alpha * (exp(x / alpha) - 1)` (Barron, arXiv:1704.07483).

    >>> import pydiff as pd
    >>> pd.nn.CELU(0.5)(pd.tensor([-float("inf"), 2.0])).tolist()
    [-0.5, 2.0]
    """

    _function = staticmethod(F.celu)


class SELU(_InPlace):
    """`scale * elu(x, alpha)` with the two constants of Klambauer et al., arXiv:1706.02515.

    >>> import pydiff as pd
    >>> round(pd.nn.SELU()(pd.tensor(1.0)).item(), 4)
    1.0507
    """

    _function = staticmethod(F.selu)


class GLU(Module):
    """`a * sigmoid(b)` of the halves a and b of an axis (Dauphin et al., arXiv:1612.08083).

    >>> import pydiff as pd
    >>> pd.nn.GLU()(pd.tensor([4.0, 0.0])).tolist()
    [2.0]
    """

    def __init__(self, dim=-1):
        super().__init__()
        self.dim = dim

    def forward(self, input):
        return F.glu(input, self.dim)

    def extra_repr(self):
        return f"dim={self.dim}"


class _Shrink(Module):
    def __init__(self, lambd=0.5):
        super().__init__()
        self.lambd = lambd

    def forward(self, input):
        return self._function(input, self.lambd)

    def extra_repr(self):
        return f"{self.lambd}"


class Hardshrink(_Shrink):
    """x where |x| > lambd, else 0.

    >>> import pydiff as pd
    >>> pd.nn.Hardshrink(1.0)(pd.tensor([0.5, -2.0])).tolist()
    [0.0, -2.0]
    """

    _function = staticmethod(F.hardshrink)


class Softshrink(_Shrink):
    """x without `lambd` of its size, 0 where |x| <= lambd. A call raises ValueError for lambd < 0.

    >>> import pydiff as pd
    >>> pd.nn.Softshrink()(pd.tensor([0.4, -1.5])).tolist()
    [0.0, -1.0]
    """

    _function = staticmethod(F.softshrink)


class _InPlaceUnshown(_InPlace):
    def extra_repr(self):
        return ""  # as PyTorch has it


class Hardsigmoid(_InPlaceUnshown):
    """x/6 + 1/2 held in [0, 1] (Howard et al., arXiv:1905.02244).

    >>> import pydiff as pd
    >>> pd.nn.Hardsigmoid()(pd.tensor([-4.0, 0.0, 4.0])).tolist()
    [0.0, 0.5, 1.0]
    """

    _function = staticmethod(F.hardsigmoid)


class Hardswish(_InPlaceUnshown):
    """x * hardsigmoid(x) (Howard et al., arXiv:1905.02244).

    >>> import pydiff as pd
    >>> pd.nn.Hardswish()(pd.tensor([-4.0, 4.0])).abs().tolist()
    [0.0, 4.0]
    """

    _function = staticmethod(F.hardswish)


class Hardtanh(Module):
    """x held in [min_val, max_val].

    `min_value` and `max_value` are older names of these, and warn. Raises ValueError unless `min_val < max_val`.

    >>> import pydiff as pd
    >>> pd.nn.Hardtanh()(pd.tensor([-2.0, 0.5, 3.0])).tolist()
    [-1.0, 0.5, 1.0]
    """

    def __init__(self, min_val=-1.0, max_val=1.0, inplace=False, min_value=None, max_value=None):
        super().__init__()
        if min_value is not None or max_value is not None:
            warnings.warn(
                f"[Hardtanh] min_value and max_value are older names; got {min_value} and {max_value}; try min_val and max_val",
                FutureWarning, stacklevel=2,
            )  # fmt: skip
            min_val = min_val if min_value is None else min_value
            max_val = max_val if max_value is None else max_value
        if max_val <= min_val:
            raise ValueError(f"[Hardtanh] min_val is below max_val; got {min_val} and {max_val}; try -1.0 and 1.0")
        self.min_val = min_val
        self.max_val = max_val
        self.inplace = inplace

    def forward(self, input):
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self):
        return f"min_val={self.min_val}, max_val={self.max_val}" + (", inplace=True" if self.inplace else "")


class ReLU6(Hardtanh):
    """x held in [0, 6].

    >>> import pydiff as pd
    >>> pd.nn.ReLU6()(pd.tensor([-1.0, 7.0])).tolist()
    [0.0, 6.0]
    """

    def __init__(self, inplace=False):
        super().__init__(0.0, 6.0, inplace)

    extra_repr = _InPlace.extra_repr


class LogSigmoid(Module):
    """log(sigmoid(x)), without overflow.

    >>> import pydiff as pd
    >>> pd.nn.LogSigmoid()(pd.tensor(-1000.0)).item()
    -1000.0
    """

    def forward(self, input):
        return F.logsigmoid(input)


class Mish(_InPlace):
    """x * tanh(softplus(x)) (Misra, arXiv:1908.08681).

    >>> import pydiff as pd
    >>> pd.nn.Mish()(pd.tensor([0.0, 50.0])).tolist()
    [0.0, 50.0]
    """

    _function = staticmethod(F.mish)


class PReLU(Module):
    """x where x > 0, else `weight * x`, with slopes that are learned.

    Arguments:
        num_parameters: 1 for one slope, or as many as there are channels (axis 1).
        init: the slopes to begin with.
        device, dtype: of `weight`, `(num_parameters,)`.

    He et al., arXiv:1502.01852. A call raises ValueError where there are neither 1 nor as many slopes as channels.

    >>> import pydiff as pd
    >>> pd.nn.PReLU()(pd.tensor([-4.0, 2.0])).tolist()
    [-1.0, 2.0]
    """

    def __init__(self, num_parameters=1, init=0.25, device=None, dtype=None):
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(pydiff.empty((num_parameters,), device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self):
        """Set the slopes to `init`."""
        initial.constant_(self.weight, self.init)

    def forward(self, input):
        return F.prelu(input, self.weight)

    def extra_repr(self):
        return f"num_parameters={self.num_parameters}"


class RReLU(Module):
    """x where x > 0, else a times x; in training a is drawn from [lower, upper), else it is their mean.

    Xu et al., arXiv:1505.00853.

    >>> import pydiff as pd
    >>> pd.nn.RReLU(0.25, 0.75).eval()(pd.tensor([-4.0, 2.0])).tolist()
    [-2.0, 2.0]
    """

    def __init__(self, lower=1.0 / 8, upper=1.0 / 3, inplace=False):
        super().__init__()
        self.lower = lower
        self.upper = upper
        self.inplace = inplace

    def forward(self, input):
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self):
        return f"lower={self.lower}, upper={self.upper}" + (", inplace=True" if self.inplace else "")


class Softsign(Module):
    """x / (1 + |x|).

    >>> import pydiff as pd
    >>> pd.nn.Softsign()(pd.tensor([-1.0, 3.0])).tolist()
    [-0.5, 0.75]
    """

    def forward(self, input):
        return F.softsign(input)


class Tanhshrink(Module):
    """x - tanh(x).

    >>> import pydiff as pd
    >>> pd.nn.Tanhshrink()(pd.tensor(0.0)).item()
    0.0
    """

    def forward(self, input):
        return F.tanhshrink(input)


class Threshold(Module):
    """x where x > threshold, else `value`.

    >>> import pydiff as pd
    >>> pd.nn.Threshold(2.0, -1.0)(pd.tensor([1.0, 3.0])).tolist()
    [-1.0, 3.0]
    """

    def __init__(self, threshold, value, inplace=False):
        super().__init__()
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, input):
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self):
        return f"threshold={self.threshold}, value={self.value}" + (", inplace=True" if self.inplace else "")
