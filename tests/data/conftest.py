"""What the tests of `pydiff.data` share."""

import pytest


@pytest.fixture(scope="session")
def torch():
    """PyTorch on the CPU, the oracle of these tests."""
    return pytest.importorskip("torch")
