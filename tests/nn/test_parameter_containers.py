"""`ParameterList` and `ParameterDict`, beside PyTorch's."""

import copy
import pickle
import re
from collections import OrderedDict

import pytest

import pydiff as pd
from pydiff import nn

FORM = r"^\[\w+\] [^;]+; got .+; try .+"


@pytest.fixture(params=["pydiff", "torch"])
def library(request, torch):
    """The same test of both: what is said of ours holds for PyTorch."""
    return pd if request.param == "pydiff" else torch


def names(module):
    return [name for name, _ in module.named_parameters()]


def test_list_items(library):
    nn = library.nn
    items = nn.ParameterList([library.ones(2), nn.Parameter(library.zeros(3)), "text"])
    assert names(items) == ["0", "1"] and len(items) == 3 and items[-1] == "text"
    assert isinstance(items[0], nn.Parameter) and list(items.state_dict()) == ["0", "1"]
    items[1] = library.ones(4)
    assert isinstance(items[1], nn.Parameter) and tuple(items[-2].shape) == (4,)
    assert items.append(library.ones(1)) is items and len(items) == 4
    items += [library.ones(5)]
    assert items.extend(nn.Parameter(library.ones(n)) for n in (1, 2)) is items
    assert [type(item) is str for item in items].count(True) == 1 and len(list(items)) == 7
    part = items[3:]
    assert isinstance(part, nn.ParameterList) and names(part) == ["0", "1", "2", "3"] and part[0] is items[3]
    assert "0" not in dir(items)
    with pytest.raises(IndexError):
        items[7]
    for wrong in (library.ones(2), 3):
        with pytest.raises(TypeError):
            items.extend(wrong)
    with pytest.raises(RuntimeError):
        items(library.ones(2))


def test_dict_items(library):
    nn = library.nn
    items = nn.ParameterDict({"right": library.ones(2), "left": library.zeros(3), "what": "text"})
    assert list(items) == ["left", "right", "what"] and names(items) == ["left", "right"]
    assert isinstance(items["left"], nn.Parameter) and "left" in items and "up" not in items and len(items) == 3
    assert list(nn.ParameterDict(OrderedDict(b=library.ones(1), a=library.ones(1)))) == ["b", "a"]
    assert list(nn.ParameterDict([("b", library.ones(1)), ("a", library.ones(1))])) == ["b", "a"]
    assert list(reversed(items)) == ["what", "right", "left"] and items.get("up") is None and items.get("up", 3) == 3
    assert items.setdefault("up", library.ones(1)) is items["up"] and items.setdefault("up") is items["up"]
    assert items.popitem()[0] == "up" and items.pop("what") == "text"
    assert [key for key, _ in items.items()] == list(items.keys()) and [tuple(v.shape) for v in items.values()] == [(3,), (2,)]
    twin = items.copy()
    assert twin["left"] is items["left"] and isinstance(twin, nn.ParameterDict)
    both = items | nn.ParameterDict({"down": library.ones(1)})
    assert list(both) == ["left", "right", "down"] and list(items) == ["left", "right"]
    items |= {"left": library.ones(7), "up": library.ones(1)}
    assert tuple(items["left"].shape) == (7,) and list(items) == ["left", "right", "up"]
    assert sorted(items.fromkeys(["a", "b"], 1).keys()) == ["a", "b"]
    del items["right"]
    assert names(items) == ["left", "up"]
    items.clear()
    assert not len(items) and not names(items)
    with pytest.raises((KeyError, AttributeError)):
        items["left"]
    with pytest.raises(TypeError):
        items[3] = library.ones(1)
    with pytest.raises(TypeError):
        items.update(3)
    with pytest.raises(ValueError):
        items.update([("a", 1, 2)])
    with pytest.raises(RuntimeError):
        items(library.ones(2))


def test_repr_is_pytorchs(torch):
    where = f" ({pd.get_default_device()})" if pd.get_default_device().type == "cuda" else ""

    def text(library):
        items = [library.ones(2, 3), library.nn.Parameter(library.ones(())), "text", None]
        held = library.nn.Sequential(library.nn.ParameterList(items), library.nn.ParameterList())
        return repr(held), repr(library.nn.ParameterDict({"a": items[0], "b": 3}))

    ours, theirs = [part.replace(where, "") for part in text(pd)], text(torch)
    assert ours[0] == theirs[0].replace("torch.", "pydiff.")
    assert ours[1] == theirs[1].replace("torch.FloatTensor", "pydiff.float32")  # types have the names of dtypes


@pytest.mark.parametrize(
    "make", [lambda: nn.ParameterList([pd.ones(2), "x"]), lambda: nn.ParameterDict({"a": pd.ones(2), "b": 1})]
)
def test_copies_states_and_training(make):
    items = make()
    for twin in (copy.deepcopy(items), pickle.loads(pickle.dumps(items))):
        assert repr(twin) == repr(items) and len(twin) == len(items)
        assert next(twin.parameters()) is not next(items.parameters())
    with pd.no_grad():
        next(items.parameters()).mul_(3.0)
    fresh = make()
    fresh.load_state_dict(items.state_dict())
    assert next(fresh.parameters()).tolist() == [3.0, 3.0]
    (next(fresh.parameters()) ** 2).sum().backward()
    pd.optim.SGD(fresh.parameters(), 0.5).step()
    assert next(fresh.parameters()).tolist() == [0.0, 0.0]


WRONG = [
    (lambda: nn.ParameterList([1])[1], IndexError),
    (lambda: nn.ParameterList().extend(3), TypeError),
    (lambda: nn.ParameterList([pd.ones(1)]).__setitem__(0, 3), TypeError),
    (lambda: nn.ParameterList()(1), RuntimeError),
    (lambda: nn.ParameterDict({"a.b": pd.ones(1)}), KeyError),
    (lambda: nn.ParameterDict({"a": 1})["b"], KeyError),
    (lambda: nn.ParameterDict().popitem(), KeyError),
    (lambda: nn.ParameterDict({1: pd.ones(1)}), TypeError),
    (lambda: nn.ParameterDict(3), TypeError),
    (lambda: nn.ParameterDict([3]), ValueError),
]


@pytest.mark.parametrize("call, error", WRONG)
def test_misuse_is_named(call, error):
    with pytest.raises(error) as caught:
        call()
    assert re.match(FORM, str(caught.value.args[0])), caught.value.args[0]
