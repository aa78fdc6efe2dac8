"""Layers that multiply by a matrix or a stack of them, and those that do nothing to the elements."""

import math

import pydiff

from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter

__all__ = ["Bilinear", "Flatten", "Identity", "Linear"]


class Identity(Module):
    """Gives its input back; any arguments are accepted and ignored.

    >>> import pydiff as pd
    >>> pd.nn.Identity(54, unused=True)(3.0)
    3.0
    """

    def __init__(self, *args, **kwargs):
        super().__init__()

    def forward(self, input):
        return input


class Linear(Module):
    """`input @ weight.T + bias`, from `(*, in_features)` to `(*, out_features)`.

    Arguments:
        in_features, out_features: sizes of the last axis before and after.
        bias: whether to add a bias, `(out_features,)`.
        device, dtype: of the parameters.

    `weight`, `(out_features, in_features)`, and `bias` start uniform in ±1/sqrt(in_features).

    >>> import pydiff as pd
    >>> layer = pd.nn.Linear(4, 2)
    >>> tuple(layer(pd.zeros(3, 4)).shape), tuple(layer.weight.shape)
    ((3, 2), (2, 4))
    """

    def __init__(self, in_features, out_features, bias=True, device=None, dtype=None):
        super().__init__()
        if in_features < 0 or out_features < 0:
            raise ValueError(
                "[Linear] sizes are not negative; "
                f"got in_features {in_features}, out_features {out_features}; try Linear(64, 10)"
            )
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(pydiff.empty((out_features, in_features), device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(pydiff.empty((out_features,), device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw weight and bias anew."""
        # kaiming_uniform_ with this `a` is uniform in ±1/sqrt(fan_in), as in PyTorch.
        if self.weight.numel():
            init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input):
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """x1ᵀ W x2 + bias for each of the outputs: `(*, in1_features)` and `(*, in2_features)` give `(*, out_features)`.

    Arguments:
        in1_features, in2_features, out_features: sizes of the last axes.
        bias: whether to add a bias, `(out_features,)`.
        device, dtype: of the parameters.

    `weight`, `(out_features, in1_features, in2_features)`, and `bias` start uniform in ±1/sqrt(in1_features).
    Raises ValueError unless `in1_features` is positive.

    >>> import pydiff as pd
    >>> tuple(pd.nn.Bilinear(4, 5, 2)(pd.zeros(3, 4), pd.zeros(3, 5)).shape)
    (3, 2)
    """

    def __init__(self, in1_features, in2_features, out_features, bias=True, device=None, dtype=None):
        super().__init__()
        if in1_features < 1 or in2_features < 0 or out_features < 0:
            raise ValueError(
                "[Bilinear] in1_features is positive, the other sizes are not negative; got "
                f"{(in1_features, in2_features, out_features)}; try Bilinear(20, 30, 40)"
            )
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        self.weight = Parameter(pydiff.empty((out_features, in1_features, in2_features), device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(pydiff.empty((out_features,), device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw weight and bias anew."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1, input2):
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self):
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Flatten(Module):
    """Joins the axes from `start_dim` to `end_dim` (inclusive) into one.

    >>> import pydiff as pd
    >>> tuple(pd.nn.Flatten()(pd.zeros(2, 3, 4)).shape)
    (2, 12)
    """

    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input):
        return F.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self):
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
