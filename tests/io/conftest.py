"""What the tests of files share."""

import numpy as np
import pytest

import pydiff as pd


@pytest.fixture(scope="session")
def torch():
    """PyTorch on the CPU, the oracle of these tests."""
    return pytest.importorskip("torch")


@pytest.fixture(scope="session")
def same():
    """`same(a, b)`: equal in type, dtype and every bit, container by container."""

    def same(a, b):
        assert type(a) is type(b) or type(a).__name__ == type(b).__name__ and isinstance(a, tuple)
        if isinstance(a, pd.Tensor):
            assert (a.dtype, a.shape, a.requires_grad) == (b.dtype, b.shape, b.requires_grad)
            same(a.detach().numpy(), b.detach().numpy())
        elif isinstance(a, np.ndarray):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            assert a.tobytes() == b.tobytes()
        elif isinstance(a, dict):
            assert list(a) == list(b)
            for key in a:
                same(a[key], b[key])
        elif isinstance(a, (list, tuple)):
            assert len(a) == len(b)
            for x, y in zip(a, b):
                same(x, y)
        else:
            assert repr(a) == repr(b)

    return same
