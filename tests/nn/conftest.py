"""What the tests of `nn` and `optim` share: the oracle and the comparison."""

import sys
from pathlib import Path

import numpy as np
import pytest

import pydiff as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch_lists  # noqa: E402


@pytest.fixture(scope="session")
def torch():
    """PyTorch on the CPU, the oracle of these tests."""
    return pytest.importorskip("torch")


@pytest.fixture
def by_definition(request, monkeypatch):
    """`by_definition(f, *arguments)`: without the kernel of the module that the test's file calls `DEFINED_IN`."""

    def compute(f, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(request.module.DEFINED_IN, "has_kernel", lambda *_, **__: False)
            return f(*arguments)

    return compute


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
    return {info.module_cls.__name__: info for info in torch_lists.listed("common_modules", "module_db")}
