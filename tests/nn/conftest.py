"""What the tests of `nn` and `optim` share: the oracle and the comparison."""

import sys
import types
import unittest
import warnings

import numpy as np
import pytest

import pydiff as pd


@pytest.fixture(scope="session")
def torch():
    """PyTorch on the CPU, the oracle of these tests."""
    return pytest.importorskip("torch")


def array(value):
    """A NumPy array of a pydiff tensor, a torch tensor or anything else."""
    return np.asarray(value.detach().numpy() if hasattr(value, "detach") else value)


@pytest.fixture(scope="session")
def compare():
    """`compare(actual, expected, ulps, scale)`: equal within `ulps` epsilons of `scale`.

    `scale` is the size of the numbers that the result was computed from; by default the
    largest finite expected value. NaN equals NaN, an infinity only itself.
    """

    def compare(actual, expected, ulps=4, scale=None):
        actual, expected = array(actual), array(expected)
        assert actual.shape == expected.shape
        assert actual.dtype == expected.dtype
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(actual[~finite], expected[~finite])
        if scale is None:
            scale = np.abs(expected[finite]).max(initial=0.0)
        bound = ulps * np.finfo(expected.dtype).eps * scale
        np.testing.assert_allclose(actual[finite], expected[finite], rtol=0, atol=bound)

    return compare


@pytest.fixture
def both(torch):
    """`both(array)`: the array as a pydiff tensor and as a torch tensor.

    Floating-point ones require a gradient unless `grad=False`.
    """

    def both(value, grad=True):
        value = np.asarray(value)
        grad = grad and value.dtype.kind == "f"
        ours = pd.tensor(value, requires_grad=grad)
        return ours, torch.tensor(value, requires_grad=grad)

    return both


@pytest.fixture(scope="session")
def module_db(torch):
    """PyTorch's list, by the name of the class."""
    if "expecttest" not in sys.modules:  # a package that the list's module imports and does not use
        stub = types.ModuleType("expecttest")
        stub.TestCase = unittest.TestCase
        sys.modules["expecttest"] = stub
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_modules import module_db

    return {info.module_cls.__name__: info for info in module_db}
