"""Options and fixtures of the whole suite.

    pytest                  what every change is tested with, a few minutes
    pytest -m smoke         a first look, under ten seconds
    pytest --nightly        larger samples, and the tests marked slow
    pytest --device cuda    the same tests on another device
    pytest --seed 7         other random samples
"""

import zlib

import numpy as np
import pytest


def pytest_addoption(parser):
    group = parser.getgroup("pydiff")
    group.addoption("--device", default="cpu", help="where tensors live: cpu, cuda, cuda:1 (default: cpu)")
    group.addoption("--nightly", action="store_true", help="larger samples, and the tests marked slow")
    group.addoption("--seed", type=int, default=0, help="seed of all random samples (default: 0)")


def pytest_configure(config):
    if config.getoption("--device") == "cpu":
        return
    import pydiff as pd

    pd.set_default_device(config.getoption("--device"))


def pytest_collection_modifyitems(config, items):
    if config.getoption("--nightly"):
        return
    skip = pytest.mark.skip(reason="slow; run with --nightly")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def device(pytestconfig):
    """The name of the device under test."""
    return pytestconfig.getoption("--device")


@pytest.fixture(scope="session")
def nightly(pytestconfig):
    """Whether there is time for the large sample."""
    return pytestconfig.getoption("--nightly")


@pytest.fixture(scope="session")
def seed(pytestconfig):
    """Seed of the run."""
    return pytestconfig.getoption("--seed")


@pytest.fixture
def rng(request, seed):
    """A NumPy generator that depends on the test's name and on --seed alone."""
    return np.random.default_rng([seed, zlib.crc32(request.node.nodeid.encode())])
