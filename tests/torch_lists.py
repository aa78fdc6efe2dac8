"""PyTorch's own lists of operations, modules and optimisers, with samples of their arguments."""

import importlib
import sys
import types
import unittest
import warnings


def listed(module, name):
    """`torch.testing._internal.<module>.<name>`."""
    if "expecttest" not in sys.modules:  # a package that these modules import and do not use
        stub = types.ModuleType("expecttest")
        stub.TestCase = unittest.TestCase
        sys.modules["expecttest"] = stub
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(importlib.import_module(f"torch.testing._internal.{module}"), name)
