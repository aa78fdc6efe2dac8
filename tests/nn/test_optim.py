"""Optimisers, step by step against PyTorch."""

import copy
import math
import pickle

import numpy as np
import pytest

import pydiff as pd
from pydiff import nn, optim

RNG = np.random.default_rng(5)
SHAPES = [(4, 3), (4,), (), (2, 4)]

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.3, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-6}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.3, "maximize": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.0, "maximize": True}),
]
cases = pytest.mark.parametrize("name, options", CASES)


class Twins:
    """The same parameters in pydiff and in PyTorch, each under its own optimiser."""

    def __init__(self, torch, name, options, groups=None, dtype="float32"):
        values = [np.asarray(RNG.standard_normal(shape), dtype) for shape in SHAPES]
        self.ours = [nn.Parameter(pd.tensor(v)) for v in values]
        self.theirs = [torch.nn.Parameter(torch.tensor(v)) for v in values]
        self.torch, self.dtype = torch, dtype
        groups = groups or (lambda params: params)
        self.opt = getattr(optim, name)(groups(self.ours), **options)
        self.oracle = getattr(torch.optim, name)(groups(self.theirs), **options)

    def grads(self, skip=()):
        for i, (p, q) in enumerate(zip(self.ours, self.theirs)):
            grad = np.asarray(RNG.standard_normal(tuple(q.shape)), self.dtype)
            p.grad = None if i in skip else pd.tensor(grad)
            q.grad = None if i in skip else self.torch.tensor(grad)

    def step(self, skip=()):
        self.grads(skip)
        self.opt.step()
        self.oracle.step()

    def check(self, compare, ulps=32):
        for p, q in zip(self.ours, self.theirs):
            # The parameters started at this size; the steps may have brought them near 0.
            compare(p, q, ulps, scale=1.0)
            ours, theirs = self.opt.state.get(p, {}), self.oracle.state.get(q, {})
            theirs = {k: v for k, v in theirs.items() if v is not None}
            assert sorted(ours) == sorted(theirs)
            for key, value in theirs.items():
                if key == "step":
                    assert int(ours[key]) == int(value)
                else:
                    compare(ours[key], value, ulps)


@cases
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps(torch, compare, name, options, dtype):
    twins = Twins(torch, name, options, dtype=dtype)
    handles = list(twins.ours)
    for _ in range(6):
        twins.step()
        twins.check(compare)
    assert all(p.is_leaf and p.requires_grad for p in handles)


@cases
def test_parameters_without_gradient_are_skipped(torch, compare, name, options):
    twins = Twins(torch, name, options)
    for skip in ((), (1,), (0, 1), (), (0, 1, 2, 3), (3,), ()):
        twins.step(skip)
        twins.check(compare)


@cases
def test_state_moves_between_frameworks(torch, compare, name, options):
    twins = Twins(torch, name, options)
    twins.step()
    twins.step(skip=(2,))
    state = twins.opt.state_dict()
    twins.opt.load_state_dict(twins.oracle.state_dict())  # PyTorch's tensors, as they are
    twins.step()
    twins.check(compare)
    expected = copy.deepcopy(twins.oracle.state_dict())  # its entries are the optimizer's own
    assert state["param_groups"][0]["params"] == [0, 1, 2, 3]
    assert set(state["param_groups"][0]) <= set(expected["param_groups"][0])
    assert sorted(state["state"]) == sorted(expected["state"])
    for number, entry in expected["state"].items():
        for key, value in entry.items():
            if value is not None and key != "step":
                entry[key] = pd.tensor(value.numpy())
            elif value is not None:
                entry[key] = pd.tensor(float(value))
    twins.opt.load_state_dict(expected)
    for _ in range(3):
        twins.step()
        twins.check(compare)


@cases
def test_resuming_equals_going_on(name, options):
    def params():
        return [nn.Parameter(pd.tensor(v)) for v in values]

    def run(ps, opt, grads):
        for step in grads:
            for p, g in zip(ps, step):
                p.grad = pd.tensor(g)
            opt.step()

    values = [RNG.standard_normal(s).astype("float32") for s in SHAPES[:2]]
    grads = [[RNG.standard_normal(s).astype("float32") for s in SHAPES[:2]] for _ in range(5)]
    straight = params()
    run(straight, getattr(optim, name)(straight, **options), grads)
    first = params()
    opt = getattr(optim, name)(first, **options)
    run(first, opt, grads[:2])
    saved = copy.deepcopy(opt.state_dict())
    second = [nn.Parameter(p.detach().clone()) for p in first]
    resumed = getattr(optim, name)(second)
    resumed.load_state_dict(saved)
    run(first, opt, grads[2:3])  # going on with the first must not touch the second
    run(second, resumed, grads[2:])
    for p, q in zip(straight, second):
        assert np.array_equal(p.detach().numpy(), q.detach().numpy())


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_groups_and_changing_options(torch, compare, name):
    def groups(params):
        last = {"params": iter(params[2:]), "weight_decay": 0.5}
        return [{"params": params[:2], "lr": 0.2}, last]

    twins = Twins(torch, name, {"lr": 0.01}, groups)
    twins.step()
    twins.check(compare)
    for opt in (twins.opt, twins.oracle):
        opt.param_groups[0]["lr"] = 0.05
        opt.param_groups[1]["weight_decay"] = 0.0
    assert twins.opt.param_groups[0]["lr"] == 0.05
    for _ in range(3):
        twins.step()
        twins.check(compare)
    ours, theirs = nn.Parameter(pd.ones(2)), torch.nn.Parameter(torch.ones(2))
    twins.opt.add_param_group({"params": ours, "lr": 0.3})
    twins.oracle.add_param_group({"params": theirs, "lr": 0.3})
    twins.ours.append(ours)
    twins.theirs.append(theirs)
    for _ in range(2):
        twins.step()
        twins.check(compare)
    assert twins.opt.state_dict()["param_groups"][2]["params"] == [4]


def test_momentum_may_be_turned_on_later(torch, compare):
    twins = Twins(torch, "SGD", {"lr": 0.1})
    twins.step()
    for opt in (twins.opt, twins.oracle):
        opt.param_groups[0]["momentum"] = 0.5
    for _ in range(3):
        twins.step()
        twins.check(compare)


def test_forgotten_state_starts_anew(torch, compare):
    twins = Twins(torch, "Adam", {"lr": 0.1})
    twins.step()
    twins.opt.state.clear()
    twins.oracle.state.clear()
    twins.step()
    twins.check(compare)


def test_mixed_dtypes(torch, compare):
    ours = [nn.Parameter(pd.ones(3, dtype=d)) for d in (pd.float32, pd.float64)]
    theirs = [torch.nn.Parameter(torch.ones(3, dtype=d)) for d in (torch.float32, torch.float64)]
    opt, oracle = optim.Adam(ours, lr=0.1), torch.optim.Adam(theirs, lr=0.1)
    for _ in range(3):
        for p, q in zip(ours, theirs):
            (p * p).sum().backward()
            (q * q).sum().backward()
        opt.step()
        oracle.step()
        for p, q in zip(ours, theirs):
            compare(p, q, 32)
        opt.zero_grad()
        oracle.zero_grad()


def test_closure():
    p = nn.Parameter(pd.tensor([3.0]))
    opt = optim.SGD([p], lr=0.25)

    def closure():
        opt.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with pd.no_grad():
        assert opt.step(closure).item() == 9.0
    assert p.item() == 1.5
    assert opt.step() is None


def test_the_update_is_not_on_the_tape():
    p = nn.Parameter(pd.tensor([2.0]))
    opt = optim.SGD([p], lr=0.5, momentum=0.9)
    for expected in (0.0, -1.8):
        opt.zero_grad()
        (p * p).sum().backward()
        opt.step()
        assert p.item() == pytest.approx(expected)
        assert p.is_leaf and not opt.state[p]["momentum_buffer"].requires_grad


def test_a_kept_value_survives_the_step():
    p = nn.Parameter(pd.tensor([2.0]))
    opt = optim.SGD([p], lr=0.5)
    kept = p.detach().clone()
    doubled = p * 2  # recorded before the step: sees the old value
    p.grad = pd.ones(1)
    opt.step()
    assert kept.item() == 2.0 and doubled.item() == 4.0 and p.item() == 1.5


def test_zero_grad():
    p = nn.Parameter(pd.ones(2))
    q = nn.Parameter(pd.ones(2))
    opt = optim.SGD([p, q], lr=0.1)
    p.sum().backward()
    grad = p.grad
    opt.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0, 0.0] == grad.tolist() and q.grad is None
    opt.zero_grad()
    assert p.grad is None


@pytest.mark.parametrize(
    "name, options",
    [
        ("SGD", {"lr": -1.0}),
        ("SGD", {"lr": math.nan}),
        ("SGD", {"lr": math.inf}),
        ("SGD", {"momentum": -0.1}),
        ("SGD", {"weight_decay": -1}),
        ("SGD", {"nesterov": True}),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
        ("Adam", {"lr": -1.0}),
        ("Adam", {"eps": -1e-8}),
        ("Adam", {"betas": (1.0, 0.9)}),
        ("Adam", {"betas": (0.9, -0.1)}),
        ("Adam", {"betas": (0.9,)}),
        ("AdamW", {"weight_decay": math.nan}),
    ],
)
def test_options_out_of_range_are_named(name, options):
    p = nn.Parameter(pd.ones(1))
    with pytest.raises(ValueError, match=rf"^\[{name}\] .*; got .*; try ") as caught:
        getattr(optim, name)([p], **options)
    assert not str(caught.value).endswith("None")
    opt = getattr(optim, name)([p])
    with pytest.raises(ValueError, match=rf"^\[{name}\] "):
        opt.add_param_group({"params": [nn.Parameter(pd.ones(1))], **options})
    assert len(opt.param_groups) == 1


def test_parameters_that_cannot_be_trained_are_named():
    p = nn.Parameter(pd.ones(2))
    for params, error in (
        ([], ValueError),
        (p, TypeError),
        ([p, p], ValueError),
        ([{"params": [p]}, {"params": [p]}], ValueError),
        ([p * 2], ValueError),
        ([3.0], TypeError),
        ([("name", 3.0)], TypeError),
        ([{"params": {p}}], TypeError),
        (nn.Linear(1, 1), TypeError),
    ):
        with pytest.raises(error, match=r"^\[SGD\] .*; got .*; try "):
            optim.SGD(params, lr=0.1)
    with pytest.raises(TypeError, match=r"^\[SGD\] a group is a dict"):
        optim.SGD([p]).add_param_group([p])
    with pytest.raises(NotImplementedError, match="step is not defined"):
        optim.Optimizer([p], {}).step()


def test_a_state_that_does_not_fit_is_refused():
    p, q = nn.Parameter(pd.ones(2)), nn.Parameter(pd.ones(2))
    opt = optim.Adam([p])
    with pytest.raises(ValueError, match=r"^\[load_state_dict\] .*\[2\] .*\[1\]; try"):
        opt.load_state_dict(optim.Adam([p, q]).state_dict())
    with pytest.raises(KeyError, match=r"\[load_state_dict\] .*; got \['optimizer', 'epoch'\]; try"):
        opt.load_state_dict({"optimizer": opt.state_dict(), "epoch": 1})
    state = opt.state_dict()
    state["param_groups"][0]["lr"] = -1.0
    with pytest.raises(ValueError, match=r"^\[Adam\] lr"):
        opt.load_state_dict(state)
    assert opt.param_groups[0]["lr"] == 1e-3


def test_torchs_narrow_tensors_are_taken_as_they_are(torch):
    """NumPy, the way of most tensors, has no bfloat16."""
    theirs = torch.nn.Linear(3, 2, dtype=torch.bfloat16)
    oracle = torch.optim.Adam(theirs.parameters())
    theirs(torch.ones(1, 3, dtype=torch.bfloat16)).sum().backward()
    oracle.step()
    layer = nn.Linear(3, 2, dtype=pd.bfloat16)
    assert str(layer.load_state_dict(theirs.state_dict(keep_vars=True))) == "<All keys matched successfully>"
    opt = optim.Adam(layer.parameters())
    opt.load_state_dict(oracle.state_dict())
    with torch.no_grad():
        expected = theirs.weight.tolist(), oracle.state[theirs.weight]["exp_avg"].tolist()
        theirs.weight.zero_()
        oracle.state[theirs.weight]["exp_avg"].zero_()
    assert (layer.weight.tolist(), opt.state[layer.weight]["exp_avg"].tolist()) == expected


def test_loaded_state_takes_the_parameters_dtype():
    p, q = nn.Parameter(pd.ones(2)), nn.Parameter(pd.ones(2, dtype=pd.float64))
    source, target = optim.Adam([p]), optim.Adam([q])
    p.grad = pd.ones(2)
    source.step()
    target.load_state_dict(source.state_dict())
    assert target.state[q]["exp_avg"].dtype == pd.float64
    assert target.state[q]["step"] == 1


def test_copy_and_pickle():
    p = nn.Parameter(pd.ones(2))
    opt = optim.Adam([p], lr=0.1)
    p.grad = pd.ones(2)
    opt.step()
    for twin in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        (q,) = twin.param_groups[0]["params"]
        assert q is not p and twin.state[q]["step"] == 1
        q.grad = pd.ones(2)
        twin.step()
        assert not np.array_equal(q.detach().numpy(), p.detach().numpy())
        assert opt.state[p]["step"] == 1


def test_repr():
    text = repr(optim.SGD([nn.Parameter(pd.ones(1))], lr=0.1))
    assert text.startswith("SGD (\nParameter Group 0\n    dampening: 0\n    differentiable: False\n    foreach: None\n")
    assert text.endswith("    weight_decay: 0\n)")


@pytest.mark.parametrize("name, options", [("SGD", {"lr": 0.05, "momentum": 0.9}), ("AdamW", {"lr": 0.02})])
def test_training_fits_a_curve(name, options):
    pd.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
    opt = getattr(optim, name)(model.parameters(), **options)
    x = pd.tensor(np.linspace(-1, 1, 64, dtype="float32")[:, None])
    y = pd.tensor(np.sin(3 * np.linspace(-1, 1, 64, dtype="float32"))[:, None])
    first = None
    for _ in range(300):
        opt.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        opt.step()
        first = first or loss.item()
    assert loss.item() < 0.05 * first
