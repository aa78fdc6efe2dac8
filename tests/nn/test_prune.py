"""Pruning against PyTorch: masks that numbers decide are equal, random ones have the right count."""

import copy
import doctest
import importlib
import pickle

import numpy as np
import pytest

import pydiff as pd
from pydiff import nn
from pydiff.nn.utils import prune

WEIGHT = np.random.default_rng(3).standard_normal((6, 5)).astype("float32")


@pytest.fixture
def its_prune(torch):
    return importlib.import_module("torch.nn.utils.prune")


def layer(lib, array):
    made = lib.nn.Linear(5, 6)
    made.weight.data = array(WEIGHT)
    made.bias.data = array(np.zeros(6, "float32"))
    return made


SCORES = np.random.default_rng(4).standard_normal((6, 5)).astype("float32")
STEPS = {
    "l1": [lambda P, m, t: P.l1_unstructured(m, "weight", 0.3)],
    "l1 twice": [lambda P, m, t: P.l1_unstructured(m, "weight", 0.3)] * 2,
    "count": [lambda P, m, t: P.l1_unstructured(m, "weight", 4), lambda P, m, t: P.l1_unstructured(m, "weight", 0)],
    "scores": [lambda P, m, t: P.l1_unstructured(m, "weight", 7, importance_scores=t(SCORES))],
    "rows": [lambda P, m, t: P.ln_structured(m, "weight", 0.4, n=2, dim=0)],
    "columns, then rows": [
        lambda P, m, t: P.ln_structured(m, "weight", 2, n=1, dim=-1),
        lambda P, m, t: P.ln_structured(m, "weight", 0.5, n=float("inf"), dim=0),
        lambda P, m, t: P.ln_structured(m, "weight", 1, n=2, dim=0),
    ],
    "mixed": [
        lambda P, m, t: P.ln_structured(m, "weight", 2, n=2, dim=1),
        lambda P, m, t: P.l1_unstructured(m, "weight", 0.5),
        lambda P, m, t: P.custom_from_mask(m, "weight", t((SCORES > 0).astype("float32"))),
        lambda P, m, t: P.identity(m, "weight"),
    ],
}


@pytest.mark.parametrize("name", STEPS)
def test_masks(torch, its_prune, compare, name):
    ours, theirs = layer(pd, pd.tensor), layer(torch, torch.tensor)
    for step in STEPS[name]:
        step(prune, ours, pd.tensor)
        step(its_prune, theirs, torch.tensor)
        assert ours.weight_mask.tolist() == theirs.weight_mask.tolist()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert len(ours._hooks) == 1 and prune.is_pruned(nn.Sequential(ours))
    x = np.ones((2, 5), "float32")
    y, ty = ours(pd.tensor(x)), theirs(torch.tensor(x))
    compare(y, ty, 16)
    (y * y).sum().backward()
    (ty * ty).sum().backward()
    compare(ours.weight_orig.grad, theirs.weight_orig.grad, 32)
    for twin in (copy.deepcopy(nn.Sequential(ours)), pickle.loads(pickle.dumps(nn.Sequential(ours)))):
        assert twin[0].weight_mask.tolist() == ours.weight_mask.tolist() and prune.is_pruned(twin)
    original = ours.weight_orig
    assert prune.remove(ours, "weight") is ours and ours.weight is original
    compare(ours.weight, its_prune.remove(theirs, "weight").weight)
    assert not prune.is_pruned(ours) and sorted(ours.state_dict()) == ["bias", "weight"]


def test_random_masks():
    made = layer(pd, pd.tensor)
    prune.random_unstructured(made, "weight", 0.5)
    prune.random_unstructured(made, "weight", 5)
    assert made.weight_mask.sum().item() == 10
    made = prune.random_structured(layer(pd, pd.tensor), "weight", 2, dim=0)
    assert sorted(made.weight_mask.sum(1).tolist()) == [0.0, 0.0, 5.0, 5.0, 5.0, 5.0]


def test_several_tensors_together(torch, its_prune):
    found = []
    for lib, array, P in ((pd, pd.tensor, prune), (torch, torch.tensor, its_prune)):
        a, b = layer(lib, array), layer(lib, array)
        b.weight.data = b.weight.data * 3
        P.l1_unstructured(a, "weight", 3)
        P.global_unstructured([(a, "weight"), (b, "weight")], pruning_method=P.L1Unstructured, amount=0.4)
        P.global_unstructured(
            [(a, "weight"), (b, "weight")], P.L1Unstructured, {(a, "weight"): array(SCORES)}, amount=5
        )  # fmt: skip
        found.append([a.weight_mask.tolist(), b.weight_mask.tolist()])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "call, error",
    [
        (lambda m: prune.l1_unstructured(m, "weight", 1.5), ValueError),
        (lambda m: prune.l1_unstructured(m, "weight", -1), ValueError),
        (lambda m: prune.l1_unstructured(m, "weight", 31), ValueError),
        (lambda m: prune.l1_unstructured(m, "none", 1), ValueError),
        (lambda m: prune.l1_unstructured(m, "weight", 1, importance_scores=pd.ones(2)), ValueError),
        (lambda m: prune.ln_structured(m, "bias", 1, 2, 0), ValueError),
        (lambda m: prune.ln_structured(m, "weight", 1, 2, 2), IndexError),
        (lambda m: prune.custom_from_mask(m, "weight", pd.ones(2)), ValueError),
        (lambda m: prune.remove(m, "weight"), ValueError),
        (lambda m: prune.global_unstructured([m], prune.L1Unstructured, amount=1), TypeError),
        (lambda m: prune.global_unstructured([(m, "weight")], prune.LnStructured, amount=1, n=2), TypeError),
        (lambda m: prune.PruningContainer().add_pruning_method(3), TypeError),
    ],
)
def test_a_refused_call_changes_nothing(call, error):
    made = layer(pd, pd.tensor)
    weight = made.weight
    with pytest.raises(error, match=r"^\[prune\] .*; got .*; try "):
        call(made)
    assert made.weight is weight and not made._hooks and list(made.state_dict()) == ["weight", "bias"]


def test_examples():
    tried = doctest.testmod(importlib.import_module("pydiff.nn.utils.prune"))
    assert tried.attempted and not tried.failed
