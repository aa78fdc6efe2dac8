"""Losses and their gradients, against PyTorch."""

import math

import numpy as np
import pytest

import pydiff as pd
from pydiff import nn
from pydiff.nn import functional as F

RNG = np.random.default_rng(3)


def normal(*shape, scale=1.0):
    return (RNG.standard_normal(shape) * scale).astype("float32")


def check(compare, ours, theirs, x, tx, ulps=16, scale=None):
    """Equal losses and, for a loss weighted unevenly, equal gradients."""
    compare(ours, theirs, ulps, scale)
    ours, theirs = ours.reshape(-1), theirs.reshape(-1)
    weights = np.linspace(1.0, 2.0, ours.numel(), dtype="float32")
    (ours * pd.tensor(weights)).sum().backward()
    (theirs * theirs.new_tensor(weights)).sum().backward()
    # Gradients are differences of weights up to 2, which round at that size.
    compare(x.grad, tx.grad, ulps, max(2.0, float(tx.grad.abs().max())) if scale else None)


reductions = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


@reductions
@pytest.mark.parametrize(
    "name, options",
    [
        ("mse_loss", {}),
        ("l1_loss", {}),
        ("smooth_l1_loss", {}),
        ("smooth_l1_loss", {"beta": 0.3}),
        ("smooth_l1_loss", {"beta": 0}),
        ("huber_loss", {}),
        ("huber_loss", {"delta": 0.3}),
    ],
)
def test_regression(torch, both, compare, name, options, reduction):
    x, tx = both(normal(6, 5))
    t, tt = both(np.where(RNG.random((6, 5)) < 0.1, x.detach().numpy(), normal(6, 5)), grad=False)
    ours = getattr(F, name)(x, t, reduction=reduction, **options)
    theirs = getattr(torch.nn.functional, name)(tx, tt, reduction=reduction, **options)
    check(compare, ours, theirs, x, tx)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_regression_warns_of_broadcasting(name):
    with pytest.warns(UserWarning, match=rf"\[{name}\] .*\(3,\), target \(3, 1\)"):
        getattr(F, name)(pd.zeros(3), pd.zeros(3, 1))


CLASS_SHAPES = [(7,), (5, 7), (2, 7, 3), (2, 7, 3, 4)]


def classes_for(shape, ignored=False):
    axis = 0 if len(shape) == 1 else 1
    target = RNG.integers(0, shape[axis], shape[:axis] + shape[axis + 1 :])
    if ignored and target.ndim:
        target.reshape(-1)[::3] = -100
    return target


@reductions
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("shape", CLASS_SHAPES)
def test_cross_entropy_classes(
    torch, both, compare, shape, ignored, weighted, smoothing, reduction
):
    x, tx = both(normal(*shape, scale=3.0))
    t, tt = both(classes_for(shape, ignored))
    w, tw = both(RNG.random(7).astype("float32") + 0.5, grad=False) if weighted else (None, None)
    options = {"label_smoothing": smoothing, "reduction": reduction}
    ours = F.cross_entropy(x, t, w, **options)
    theirs = torch.nn.functional.cross_entropy(tx, tt, tw, **options)
    # x - logsumexp(x) rounds at the size of the logits, here below 16.
    check(compare, ours, theirs, x, tx, scale=max(16.0, float(theirs.detach().abs().max())))


@reductions
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", CLASS_SHAPES)
def test_cross_entropy_probabilities(torch, both, compare, shape, weighted, smoothing, reduction):
    axis = 0 if len(shape) == 1 else 1
    target = RNG.random(shape).astype("float32")
    target /= target.sum(axis, keepdims=True)
    x, tx = both(normal(*shape, scale=3.0))
    t, tt = both(target, grad=False)
    w, tw = both(RNG.random(7).astype("float32") + 0.5, grad=False) if weighted else (None, None)
    options = {"label_smoothing": smoothing, "reduction": reduction}
    ours = F.cross_entropy(x, t, w, **options)
    theirs = torch.nn.functional.cross_entropy(tx, tt, tw, **options)
    check(compare, ours, theirs, x, tx, scale=max(16.0, float(theirs.detach().abs().max())))


@reductions
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore_index", [-100, 2])
@pytest.mark.parametrize("shape", CLASS_SHAPES)
def test_nll(torch, both, compare, shape, ignore_index, weighted, reduction):
    x, tx = both(-np.abs(normal(*shape)))
    target = classes_for(shape, True)
    if not target.ndim and target == ignore_index:
        target = target + 1
    t, tt = both(target)
    w, tw = both(RNG.random(7).astype("float32") + 0.5, grad=False) if weighted else (None, None)
    options = {"reduction": reduction, "ignore_index": ignore_index}
    if ignore_index != -100:
        t, tt = t.clamp(min=0), tt.clamp(min=0)
    ours = F.nll_loss(x, t, w, **options)
    check(compare, ours, torch.nn.functional.nll_loss(tx, tt, tw, **options), x, tx)


def test_cross_entropy_of_large_logits():
    x = pd.tensor([[1e4, -1e4], [3e38, 0.0], [0.0, -math.inf]], requires_grad=True)
    loss = F.cross_entropy(x, pd.tensor([1, 0, 0]), reduction="none")
    assert loss.tolist() == [2e4, 0.0, 0.0]
    loss.sum().backward()
    assert x.grad.tolist() == [[1.0, -1.0], [0.0, 0.0], [0.0, 0.0]]


def test_ignored_places_leak_nothing():
    x = pd.tensor([[math.nan, math.inf], [0.0, 0.0]], requires_grad=True)
    loss = F.cross_entropy(x, pd.tensor([-100, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert x.grad.tolist() == [[0.0, 0.0], [0.5, -0.5]]
    assert math.isnan(F.cross_entropy(x, pd.tensor([-100, -100])).item())


@pytest.mark.parametrize(
    "x, t, error, text",
    [
        ((3, 4), pd.zeros(3), TypeError, "classes are integers"),
        ((3, 4), pd.zeros(3, 4, dtype=pd.int64), TypeError, "probabilities"),
        ((3, 4), pd.zeros(4, dtype=pd.int64), ValueError, r"input \(3, 4\), target \(4,\); try"),
        ((3, 4, 5), pd.zeros(3, 4, dtype=pd.int64), ValueError, r"shape \(3, 5\)"),
        ((), pd.zeros(1, dtype=pd.int64), ValueError, "class axis"),
    ],
)
def test_cross_entropy_names_what_is_wrong(x, t, error, text):
    with pytest.raises(error, match=r"\[cross_entropy\] .*" + text):
        F.cross_entropy(pd.zeros(x), t)


def test_more_misuse_is_named():
    x, t = pd.zeros(3, 4), pd.zeros(3, dtype=pd.int64)
    for call in (
        lambda: F.cross_entropy(x, t, pd.ones(3)),
        lambda: F.cross_entropy(x, x, pd.ones(3)),
        lambda: F.cross_entropy(x, t, label_smoothing=1.5),
        lambda: F.cross_entropy(x, t, reduction="max"),
        lambda: F.cross_entropy(x, x, reduction="max"),
        lambda: F.nll_loss(x, x),
        lambda: F.nll_loss(x, t, reduction="max"),
        lambda: F.mse_loss(x, x, reduction="max"),
        lambda: F.binary_cross_entropy(x, t),
        lambda: F.binary_cross_entropy_with_logits(x, t),
        lambda: F.smooth_l1_loss(x, x, beta=-1),
        lambda: F.huber_loss(x, x, delta=0),
    ):
        with pytest.raises(ValueError, match=r"^\[\w+\] .*; got .*; try "):
            call()


@reductions
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("positive", [False, True])
def test_bce_with_logits(torch, both, compare, positive, weighted, reduction):
    values = normal(6, 5, scale=4.0)
    values[0] = [0.0, -0.0, 100.0, -100.0, 1e-8]  # the derivative at 0 is 1/2 - t
    x, tx = both(values)
    t, tt = both(RNG.random((6, 5)).astype("float32"), grad=False)
    w, tw = both(RNG.random(5).astype("float32"), grad=False) if weighted else (None, None)
    p, tp = both(RNG.random(5).astype("float32") * 3, grad=False) if positive else (None, None)
    name = "binary_cross_entropy_with_logits"
    ours = getattr(F, name)(x, t, w, pos_weight=p, reduction=reduction)
    theirs = getattr(torch.nn.functional, name)(tx, tt, tw, pos_weight=tp, reduction=reduction)
    check(compare, ours, theirs, x, tx)


@reductions
@pytest.mark.parametrize("weighted", [False, True])
def test_bce(torch, both, compare, weighted, reduction):
    x, tx = both(RNG.uniform(0.01, 0.99, (6, 5)).astype("float32"))
    t, tt = both(RNG.random((6, 5)).astype("float32"), grad=False)
    w, tw = both(RNG.random(5).astype("float32"), grad=False) if weighted else (None, None)
    ours = F.binary_cross_entropy(x, t, w, reduction=reduction)
    theirs = torch.nn.functional.binary_cross_entropy(tx, tt, tw, reduction=reduction)
    check(compare, ours, theirs, x, tx)


def test_bce_at_certainty():
    x = pd.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    loss = F.binary_cross_entropy(x, pd.tensor([1.0, 0.0, 0.0, 1.0]), reduction="none")
    assert loss.tolist() == [100.0, 100.0, 0.0, 0.0]
    loss.sum().backward()
    assert np.all(np.isfinite(x.grad.numpy()))


@pytest.mark.parametrize(
    "name, options, inputs",
    [
        ("MSELoss", {"reduction": "sum"}, "real"),
        ("L1Loss", {"reduction": "none"}, "real"),
        ("SmoothL1Loss", {"beta": 0.5}, "real"),
        ("HuberLoss", {"delta": 0.5}, "real"),
        ("CrossEntropyLoss", {"label_smoothing": 0.1, "ignore_index": 1}, "classes"),
        ("CrossEntropyLoss", {"weight": [1.0, 2.0, 3.0]}, "classes"),
        ("NLLLoss", {"weight": [1.0, 2.0, 3.0], "ignore_index": 1}, "classes"),
        ("BCELoss", {"weight": [1.0, 2.0, 3.0]}, "unit"),
        ("BCEWithLogitsLoss", {"pos_weight": [1.0, 2.0, 3.0]}, "unit"),
    ],
)
def test_loss_modules(torch, both, compare, name, options, inputs):
    def build(n, tensor):
        return getattr(n, name)(
            **{k: tensor(v) if isinstance(v, list) else v for k, v in options.items()}
        )

    layer, oracle = build(nn, pd.tensor), build(torch.nn, torch.tensor)
    assert list(layer.state_dict()) == list(oracle.state_dict())
    assert repr(layer) == repr(oracle)
    x, tx = both(RNG.uniform(0.1, 0.9, (4, 3)).astype("float32"))
    target = np.array([0, 2, 1, 0]) if inputs == "classes" else RNG.random((4, 3)).astype("float32")
    t, tt = both(target, grad=False)
    check(compare, layer(x, t), oracle(tx, tt), x, tx)
