"""Layers that normalise by statistics of their input."""

import pydiff

from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter

__all__ = ["LayerNorm"]


class LayerNorm(Module):
    """Normalises the last axes of each sample to mean 0 and variance 1, then scales and shifts.

    Arguments:
        normalized_shape: sizes of the last axes, an int for one axis.
        eps: added to the variance.
        elementwise_affine: whether there is a `weight` (ones), of shape `normalized_shape`.
        bias: whether there is a `bias` (zeros) too; only with `elementwise_affine`.
        device, dtype: of the parameters.

    Ba, Kiros, Hinton, "Layer Normalization", arXiv:1607.06450.

    >>> import pydiff as pd
    >>> layer = pd.nn.LayerNorm(4)
    >>> tuple(layer(pd.randn(3, 4)).shape)
    (3, 4)
    """

    def __init__(
        self,
        normalized_shape,
        eps=1e-5,
        elementwise_affine=True,
        bias=True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if isinstance(normalized_shape, int):
            normalized_shape = (normalized_shape,)
        self.normalized_shape = tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        for name, present in (("weight", True), ("bias", bias)):
            if elementwise_affine and present:
                value = pydiff.empty(self.normalized_shape, device=device, dtype=dtype)
                self.register_parameter(name, Parameter(value))
            else:
                self.register_parameter(name, None)
        self.reset_parameters()

    def reset_parameters(self):
        """Set the weight to ones and the bias to zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input):
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )
