"""Mixed precision, under PyTorch's names: 16-bit products while a switch is on, and losses scaled for float16."""

from ._rules import install as _install
from .autocast_mode import (
    autocast, custom_bwd, custom_fwd, get_autocast_dtype, is_autocast_available, is_autocast_enabled,
)  # fmt: skip
from .grad_scaler import GradScaler

_install()

__all__ = [
    "GradScaler", "autocast", "custom_bwd", "custom_fwd", "get_autocast_dtype", "is_autocast_available", "is_autocast_enabled",
]  # fmt: skip
