"""Layers, losses and their functions, under PyTorch's names."""

from . import activation, containers, dropout, functional, init, linear, loss, module, normalization, parameter
from .activation import *
from .containers import *
from .dropout import *
from .linear import *
from .loss import *
from .module import *
from .normalization import *
from .parameter import *

__all__ = ["functional", "init"]
for _module in (activation, containers, dropout, linear, loss, module, normalization, parameter):
    __all__ += _module.__all__
