"""Windows, random methods, conversions, creation: examples, errors, and where PyTorch's samples do not reach."""

import doctest
import math

import numpy as np
import pytest

import pydiff as pd
from pydiff import random
from pydiff.signal import windows


def test_examples():
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    for name in (*windows.__all__, "hann_window", "hamming_window"):
        for example in finder.find(getattr(windows, name), name, module=False, globs={}):
            runner.run(example)
    assert runner.tries == 2 * len(windows.__all__) + 4 and not runner.failures
    assert not doctest.testmod(random).failed


ERRORS = {
    "hann": lambda: windows.hann(-1),
    "cosine": lambda: windows.cosine(4, dtype=pd.int64),
    "gaussian": lambda: windows.gaussian(4, std=0),
    "exponential": lambda: windows.exponential(4, tau=-1),
    "kaiser": lambda: windows.kaiser(4, beta=-1),
    "general_cosine": lambda: windows.general_cosine(4, a=[]),
    "log_normal_": lambda: pd.zeros(2).log_normal_(0, -1),
    "cauchy_": lambda: pd.zeros(2).cauchy_(0, 0),
    "geometric_": lambda: pd.zeros(2).geometric_(1.5),
    "vander": lambda: pd.vander(pd.ones(2, 2)),
    "histogramdd": lambda: pd.histogramdd(pd.ones(2, 2), [1]),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_function_and_a_way_out(name):
    with pytest.raises((ValueError, TypeError), match=rf"\[{name}\].*; got .*; try "):
        ERRORS[name]()


@pytest.mark.parametrize("name", windows.__all__)
def test_a_periodic_window_is_the_beginning_of_a_longer_symmetric_one(name):
    f = getattr(windows, name)
    own = {"a": [0.5, 0.3, 0.2]} if name == "general_cosine" else {}
    whole, part = f(9, dtype=pd.float64, **own), f(8, sym=False, dtype=pd.float64, **own)
    np.testing.assert_allclose(part.numpy(), whole.numpy()[:8], atol=1e-12)
    np.testing.assert_allclose(whole.numpy(), whole.numpy()[::-1], atol=1e-12)
    assert f(0, **own).shape == (0,) and f(1, **own).shape == (1,)
    assert f(5, dtype=pd.bfloat16, **own).dtype == pd.bfloat16 and f(3, requires_grad=True, **own).requires_grad


def test_older_names_are_periodic():
    torch = pytest.importorskip("torch")
    for name in ("bartlett", "blackman", "hamming", "hann", "kaiser"):
        for periodic in (True, False):
            ours, theirs = getattr(pd, f"{name}_window")(7, periodic), getattr(torch, f"{name}_window")(7, periodic)
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-6)
    np.testing.assert_allclose(pd.hamming_window(5, True, 0.6, 0.4).numpy(), torch.hamming_window(5, True, 0.6, 0.4), atol=1e-6)
    np.testing.assert_allclose(pd.kaiser_window(5, False, 8.0).numpy(), torch.kaiser_window(5, False, 8.0), atol=1e-6)


def test_random_methods_have_their_distributions():
    """Medians: each is within five standard errors, about 5 * 0.5 / sqrt(n) / density, of the true one."""
    n = 20000
    x = pd.empty(n, dtype=pd.float64)
    g = pd.Generator().manual_seed(3)
    assert abs(x.cauchy_(2.0, 0.5, generator=g).median().item() - 2.0) < 0.03
    assert abs(x.log_normal_(1.0, 0.5, generator=g).log().mean().item() - 1.0) < 0.02
    x.geometric_(0.25, generator=g)
    assert x.min().item() == 1 and abs(x.mean().item() - 4.0) < 0.13 and (x == x.round()).all().item()
    assert (pd.zeros(9, dtype=pd.int64).geometric_(0.5, generator=g) >= 1).all().item()


def test_conversions():
    x = pd.tensor([1.5, 2.0])
    assert x.byte().dtype == pd.uint8 and x.char().dtype == pd.int8 and x.short(memory_format=None).dtype == pd.int16
    assert x.to(pd.float64, memory_format=None).dtype == pd.float64 and x.half().dtype == pd.float16


def test_numbers_as_ends():
    assert pd.arange(0, 3, 1.5, dtype=pd.int64).tolist() == [0, 1, 2]
    assert pd.linspace(-2, -3, 3, dtype=pd.int64).tolist() == [-2, -2, -3]
    assert pd.logspace(0, 3, 3, base=2, dtype=pd.int64).tolist() == [1, 2, 8]
    assert math.isclose(pd.scalar_tensor(0.1, dtype=pd.float64).item(), 0.1)
