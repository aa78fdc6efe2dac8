"""docs/TORCH_NAMES.md says what is there, and what it says is so."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import name_reasons  # noqa: E402
import torch_names  # noqa: E402

import pydiff as pd  # noqa: E402


@pytest.mark.parametrize("space", [*torch_names.SPACES, *torch_names.NUMPY])
def test_what_the_page_calls_here_is_here(space):
    here = [name for state in ("same", "differs") for where, name in torch_names.listed(state) if where == space]
    assert len(here) > (3 if space in torch_names.CLASSES else 30)
    assert not [name for name in here if not hasattr(torch_names.home(space), name)]


def test_every_name_that_is_not_here_has_a_reason():
    text = torch_names.PAGE.read_text(encoding="utf-8")
    assert not re.search(r"\| no \| \??\s*\|$", text, re.M)
    for _, pattern, why in name_reasons.ABSENT:
        re.compile(pattern)
        assert len(why) > 10


def test_reasons_and_differences_are_of_names_on_the_page():
    names = {f"{space}.{name}" for state in ("same", "differs", "no") for space, name in torch_names.listed(state)}
    assert not [name for name in name_reasons.DIFFERS if name not in names]
    assert not [name for name in name_reasons.NUMPY_DIFFERS if not {f"{space}.{name}" for space in torch_names.NUMPY} & names]


def test_the_page_is_as_written():
    torch = pytest.importorskip("torch")
    text = torch_names.PAGE.read_text(encoding="utf-8")
    if f"PyTorch {torch.__version__.partition('+')[0]} and NumPy {np.__version__}" not in text:
        pytest.skip("other versions of PyTorch or NumPy")
    assert torch_names.page(torch_names.sections()) == text, "run python tests/torch_names.py --write"


def test_a_missing_argument_is_found():
    pytest.importorskip("torch")
    import torch

    assert "does not take" in torch_names.differences("torch", "addcmul", torch.addcmul, lambda input, tensor1: None)
    assert "another place" in torch_names.differences("torch", "lerp", torch.lerp, lambda input, weight, end: None)


# ---- other names of arguments


@pytest.mark.parametrize(
    "call, plain",
    [
        (lambda x: pd.roll(x, 1, axis=0), lambda x: pd.roll(x, 1, dims=0)),
        (lambda x: x.cumprod(axis=1), lambda x: x.cumprod(1)),
        (lambda x: pd.sort(x, axis=0)[0], lambda x: pd.sort(x, 0)[0]),
        (lambda x: x.nansum(axis=1, keepdims=True), lambda x: x.nansum(1, True)),
        (lambda x: pd.var_mean(x, axis=0, ddof=0)[0], lambda x: pd.var_mean(x, 0, correction=0)[0]),
        (lambda x: pd.linalg.norm(x, axis=1, keepdims=True), lambda x: pd.linalg.norm(x, dim=1, keepdim=True)),
        (lambda x: pd.nn.functional.softmax(x, axis=0), lambda x: pd.nn.functional.softmax(x, 0)),
        (lambda x: pd.linalg.pinv(input=x), lambda x: pd.linalg.pinv(x)),
        (lambda x: pd.swapaxes(x, axis0=0, axis1=1), lambda x: x.mT),
        (lambda x: pd.swapaxes(x, axis1=0, axis2=1), lambda x: x.mT),
        (lambda x: pd.split(tensor=x, split_size=2)[0], lambda x: x.split(2)[0]),
    ],
)
def test_other_names_of_arguments(call, plain):
    x = pd.tensor([[3.0, 1.0], [2.0, 5.0], [4.0, 0.5]])
    assert call(x).tolist() == plain(x).tolist()


def test_an_argument_under_two_names_is_an_error():
    with pytest.raises(TypeError):
        pd.roll(pd.ones(2), 1, dims=0, axis=0)
    with pytest.raises(TypeError, match="colour"):
        pd.roll(pd.ones(2), 1, colour=0)


# ---- limits of dtypes


def test_limits_of_dtypes():
    torch = pytest.importorskip("torch")
    for name in ("float16", "bfloat16", "float32", "float64"):
        ours, theirs = pd.finfo(getattr(pd, name)), torch.finfo(getattr(torch, name))
        for fact in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution", "dtype"):
            assert getattr(ours, fact) == getattr(theirs, fact), (name, fact)
    for name in ("int8", "int16", "int32", "int64", "uint8"):
        ours, theirs = pd.iinfo(getattr(pd, name)), torch.iinfo(getattr(torch, name))
        assert (ours.bits, ours.min, ours.max, ours.dtype) == (theirs.bits, theirs.min, theirs.max, theirs.dtype)
    assert pd.finfo().dtype == "float32" and repr(pd.iinfo("uint8")) == "iinfo(min=0, max=255, dtype=uint8)"
    with pytest.raises(TypeError, match="finfo"):
        pd.finfo(pd.int32)
    with pytest.raises(TypeError, match="iinfo"):
        pd.iinfo(pd.float32)


def test_can_cast():
    torch = pytest.importorskip("torch")
    names = ["bool", "uint8", "int8", "int64", "float16", "bfloat16", "float32", "float64", "complex64"]
    for a in names:
        for b in names:
            assert pd.can_cast(getattr(pd, a), getattr(pd, b)) == torch.can_cast(getattr(torch, a), getattr(torch, b)), (a, b)
