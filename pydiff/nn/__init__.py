"""Layers, losses and their functions, under PyTorch's names."""

from . import (
    activation, adaptive, attention, batchnorm, containers, convolution, distance, dropout, embedding, functional, init,
    lazy, linear, loss, module, normalization, padding, parameter, parameter_containers, pooling, recurrent, shape,
    transformer, utils,
)  # fmt: skip
from ._summary import summary
from .activation import *
from .adaptive import *
from .attention import *
from .batchnorm import *
from .containers import *
from .convolution import *
from .distance import *
from .dropout import *
from .embedding import *
from .lazy import *
from .linear import *
from .loss import *
from .module import *
from .normalization import *
from .padding import *
from .parameter import *
from .parameter_containers import *
from .pooling import *
from .recurrent import *
from .shape import *
from .transformer import *

__all__ = ["functional", "init", "summary", "utils"]
for _module in (
    activation, adaptive, attention, batchnorm, containers, convolution, distance, dropout, embedding, lazy, linear,
    loss, module, normalization, padding, parameter, parameter_containers, pooling, recurrent, shape, transformer,
):  # fmt: skip
    __all__ += _module.__all__
