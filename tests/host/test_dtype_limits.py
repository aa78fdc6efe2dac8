"""iinfo and finfo: the limits of dtypes, as NumPy and PyTorch give them."""

import doctest
import math

import numpy as np
import pytest

import pydiff as pd
from pydiff import facts

INTEGERS = "int8 uint8 int16 uint16 int32 uint32 int64 uint64".split()
FLOATS = "float16 bfloat16 float32 float64".split()


@pytest.mark.parametrize("name", INTEGERS)
def test_iinfo(name):
    ours, numpys = pd.iinfo(getattr(pd, name)), np.iinfo(name)
    assert (ours.bits, ours.min, ours.max, ours.dtype) == (numpys.bits, numpys.min, numpys.max, name)
    assert pd.full((1,), ours.max, dtype=name).item() == ours.max
    assert repr(ours) == f"iinfo(min={ours.min}, max={ours.max}, dtype={name})"


@pytest.mark.parametrize("name", FLOATS)
def test_finfo(name):
    ours, kind = pd.finfo(name), getattr(pd, name)
    assert ours.bits == 8 * kind.itemsize and ours.dtype == name
    one = pd.ones(1, dtype=kind)
    assert ((one + ours.eps) - one).item() == ours.eps and (one + ours.eps / 2 - one).item() == 0
    top = pd.full((1,), ours.max, dtype=kind)
    assert top.item() == ours.max == -ours.min and math.isinf((top * 2).item())
    least = pd.full((1,), ours.tiny, dtype=kind)
    assert least.item() == ours.tiny == ours.smallest_normal
    if name != "bfloat16":
        numpys = np.finfo(name)
        assert ours.eps == float(numpys.eps) and ours.max == float(numpys.max) and ours.tiny == float(numpys.tiny)
        assert float(np.dtype(name).type(ours.resolution)) == float(numpys.resolution)


def test_they_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name in INTEGERS + FLOATS:
        which = "iinfo" if name in INTEGERS else "finfo"
        ours, theirs = getattr(pd, which)(getattr(pd, name)), getattr(torch, which)(getattr(torch, name))
        for attribute in set(type(ours).__slots__) - {"smallest_subnormal"}:  # which is NumPy's
            assert getattr(ours, attribute) == getattr(theirs, attribute), (name, attribute)
        assert which == "iinfo" or repr(ours) == repr(theirs)  # whose integers lose digits


def test_what_is_refused():
    with pytest.raises(TypeError, match=r"^\[iinfo\] an integer dtype is needed; got float32; try finfo"):
        pd.iinfo(pd.float32)
    with pytest.raises(TypeError, match=r"^\[finfo\] a floating dtype is needed; got bool; try iinfo"):
        pd.finfo(pd.bool)
    assert pd.finfo().dtype == pd.get_default_dtype().name


def test_the_examples_in_the_docstrings():
    tried = doctest.testmod(facts)
    assert not tried.failed and tried.attempted
