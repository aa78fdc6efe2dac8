"""The door before composed functions: it is the function to everyone who asks, and speaks for it when something is wrong."""

import copy
import inspect
import pickle

import pytest

import pydiff as pd
from pydiff import _public


def test_it_is_found_again():
    for function in (pd.vstack, pd.nn.functional.conv1d, pd.linalg.inv, pd.special.ndtr, pd.signal.windows.hann, pd.sort):
        assert pickle.loads(pickle.dumps(function)) is function
        assert copy.deepcopy(function) is function
        assert callable(function) and function.__doc__ == function.__wrapped__.__doc__
    assert list(inspect.signature(pd.gather).parameters) == ["input", "dim", "index", "sparse_grad"]
    assert list(inspect.signature(pd.ones(2).gather).parameters) == ["dim", "index", "sparse_grad"]
    assert repr(pd.vstack) == "<function pydiff.ops.vstack>"


def test_keywords_in_numpys_spelling():
    x = pd.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert pd.roll(x, 1, axis=0).tolist() == x.roll(1, dims=0).tolist() == [[3, 4], [1, 2]]
    assert x.quantile(0.5, axis=0, keepdims=True).tolist() == [[2, 3]]
    with pytest.raises(TypeError, match=r"^\[roll\] got multiple values .*'dims'.*; got .*; try roll\("):
        pd.roll(x, 1, dims=0, axis=0)


def test_errors_of_the_users_own_code_are_not_touched():
    with pytest.raises(ZeroDivisionError, match="^division by zero$"):
        pd.ones(2).apply_(lambda v: 1 / 0)
    with pytest.raises(ValueError, match=r"^\[add\] shapes do not broadcast"):
        pd.nn.functional.triplet_margin_with_distance_loss(
            pd.ones(2), pd.ones(2), pd.ones(2), distance_function=lambda a, b: a + pd.ones(3)
        )


def test_frames_inside_are_shown_when_asked_for(monkeypatch):
    def frames():
        with pytest.raises(ValueError) as caught:
            pd.vstack([pd.ones(2), pd.ones(3)])
        return [entry.path.name for entry in caught.traceback]

    assert "ops.py" not in frames()
    monkeypatch.setenv("PYDIFF_DEBUG", "1")
    assert "ops.py" in frames()


@pytest.mark.parametrize("method", ["fill_", "zero_", "clamp_", "detach_", "copy_", "erfinv_"])
def test_a_method_of_something_else_is_an_error(method):
    # The core read any object as a tensor here, and crashed.
    with pytest.raises(TypeError, match=rf"^\[{method}\] .*; got .*; try "):
        getattr(pd.Tensor, method)(1, *([2] if method in ("fill_", "copy_", "clamp_") else []))


def test_what_was_not_foreseen_keeps_its_cause():
    def surprising(input):
        raise ValueError("a surprise")

    # As if it stood in a file of pydiff.
    surprising.__code__ = surprising.__code__.replace(co_filename=_public.__file__)
    door = _public._door(surprising, "surprising", "pydiff", "")
    with pytest.raises(ValueError, match=r"^\[surprising\] .*a surprise.*; got input 3; try surprising\(input\)$") as caught:
        door(3)
    assert str(caught.value.__cause__) == "a surprise"
