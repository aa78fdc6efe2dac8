"""Tools around training, under PyTorch's names, each loaded when first asked for."""

import importlib

_LAZY = ("checkpoint", "data")

__all__ = []


def __getattr__(name):
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'pydiff.utils' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_LAZY})
