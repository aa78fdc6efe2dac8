"""Learning rate schedulers, 60 steps against PyTorch, saved and resumed in the middle; averaged weights."""

import copy
import math
import warnings

import numpy as np
import pytest

import pydiff as pd
from pydiff import nn, optim
from pydiff.optim import lr_scheduler as schedules
from pydiff.optim import swa_utils


class Halving:
    """A function with a state of its own."""

    def __init__(self):
        self.calls = 0

    def __call__(self, epoch):
        self.calls += 1
        return 0.9**epoch + 0.001 * self.calls


CASES = [
    ("LambdaLR", {"lr_lambda": lambda epoch: 1 / (1 + epoch)}),
    ("LambdaLR", {"lr_lambda": [lambda epoch: 0.95**epoch, lambda epoch: epoch // 7]}),
    ("MultiplicativeLR", {"lr_lambda": lambda epoch: 0.97}),
    ("StepLR", {"step_size": 7, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [3, 20, 20, 41], "gamma": 0.5}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 33}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 37}),
    ("ExponentialLR", {"gamma": 0.95}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 50, "power": 1.7}),
    ("CosineAnnealingLR", {"T_max": 17, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 60}),
    ("CosineAnnealingWarmRestarts", {"T_0": 9}),
    ("CosineAnnealingWarmRestarts", {"T_0": 5, "T_mult": 2, "eta_min": 0.01}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 6}),
    ("CyclicLR", {"base_lr": [0.01, 0.1], "max_lr": [0.2, 0.3], "step_size_up": 4, "step_size_down": 9, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 6, "mode": "exp_range", "gamma": 0.97}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 6, "scale_fn": lambda x: 1 / x, "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 61}),
    ("OneCycleLR", {"max_lr": [0.3, 0.1], "epochs": 9, "steps_per_epoch": 8, "anneal_strategy": "linear", "three_phase": True}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 80, "pct_start": 0.5, "cycle_momentum": False, "div_factor": 3.0}),
    ("SWALR", {"swa_lr": 0.05, "anneal_epochs": 20}),
    ("SWALR", {"swa_lr": [0.05, 0.5], "anneal_epochs": 0, "anneal_strategy": "linear"}),
]
CHAINS = [
    ("SequentialLR", [("LinearLR", {"total_iters": 8}), ("CosineAnnealingLR", {"T_max": 30})], {"milestones": [8]}),
    (
        "SequentialLR",
        [("ConstantLR", {"factor": 0.1}), ("ExponentialLR", {"gamma": 0.9}), ("StepLR", {"step_size": 3})],
        {"milestones": [5, 31]},
    ),
    ("ChainedScheduler", [("ConstantLR", {"factor": 0.1, "total_iters": 20}), ("ExponentialLR", {"gamma": 0.9})], {}),
]


def find(module, name):
    return getattr(module.swa_utils if name == "SWALR" else module.lr_scheduler, name)


class Side:
    """An optimiser of one library with two groups, and a scheduler."""

    def __init__(self, library, make, name="SGD", lr=None):
        groups = [{"params": [library.nn.Parameter(library.ones(1))], "lr": rate} for rate in lr or (0.1, 0.4)]
        options = {"momentum": 0.9} if name == "SGD" else {}
        self.optimizer = getattr(library.optim, name)(groups, lr=0.2, **options)
        self.scheduler = make(library.optim, self.optimizer)

    def run(self, steps, figures=None):
        seen = []
        for k in range(steps):
            self.optimizer.step()
            self.scheduler.step(*([figures[k]] if figures is not None else []))
            groups = self.optimizer.param_groups
            momenta = [g["betas"][0] if "betas" in g else g["momentum"] for g in groups]
            seen.append([float(r) for r in [*self.scheduler.get_last_lr(), *(g["lr"] for g in groups), *momenta]])
        return np.array(seen)


def single(name, options):
    return lambda module, optimizer: find(module, name)(optimizer, **options)


def several(name, parts, options):
    def make(module, optimizer):
        inner = [find(module, part)(optimizer, **arguments) for part, arguments in parts]
        if name == "SequentialLR":
            return module.lr_scheduler.SequentialLR(optimizer, inner, **options)
        return module.lr_scheduler.ChainedScheduler(inner)

    return make


MAKERS = [pytest.param(single(n, o), id=f"{n}-{k}") for k, (n, o) in enumerate(CASES)]
MAKERS += [pytest.param(several(*case), id=f"{case[0]}-{k}") for k, case in enumerate(CHAINS)]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_sixty_steps(torch, make, name):
    ours, theirs = Side(pd, make, name), Side(torch, make, name)
    assert ours.scheduler.get_last_lr() == pytest.approx(theirs.scheduler.get_last_lr(), rel=1e-15)
    np.testing.assert_allclose(ours.run(60), theirs.run(60), rtol=1e-14, atol=1e-16)
    if not isinstance(ours.scheduler, schedules.ChainedScheduler):
        assert ours.scheduler.last_epoch == theirs.scheduler.last_epoch


@pytest.mark.parametrize("make", MAKERS)
def test_resuming_equals_going_on(make):
    straight = Side(pd, make).run(60)
    first = Side(pd, make)
    np.testing.assert_array_equal(first.run(23), straight[:23])
    saved = copy.deepcopy((first.optimizer.state_dict(), first.scheduler.state_dict()))
    second = Side(pd, make)
    second.scheduler.load_state_dict(saved[1])
    second.optimizer.load_state_dict(saved[0])
    np.testing.assert_array_equal(second.run(37), straight[23:])


@pytest.mark.parametrize("make", MAKERS)
def test_a_state_of_pytorch_is_taken_over(torch, make):
    theirs = Side(torch, make)
    theirs.run(23)
    optimizer, scheduler = theirs.optimizer.state_dict(), copy.deepcopy(theirs.scheduler.state_dict())
    ours = Side(pd, make)
    ours.scheduler.load_state_dict(scheduler)
    ours.optimizer.load_state_dict({**optimizer, "state": {}})
    np.testing.assert_allclose(ours.run(20), theirs.run(20), rtol=1e-14)
    assert set(ours.scheduler.state_dict()) == set(theirs.scheduler.state_dict())


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 2},
        {"mode": "max", "factor": 0.5, "patience": 0, "cooldown": 2, "threshold_mode": "abs", "threshold": 0.05},
        {"patience": 1, "min_lr": [0.01, 0.2], "threshold": 0.1},
        {"mode": "max", "patience": 1, "threshold": 0.01, "eps": 0.01},
    ],
)
def test_plateau(torch, options):
    figures = 1 / (1 + np.arange(60)) + 0.1 * np.random.default_rng(0).standard_normal(60)
    make = single("ReduceLROnPlateau", options)
    ours, theirs = Side(pd, make), Side(torch, make)
    first = ours.run(30, figures)
    resumed = Side(pd, make)
    resumed.scheduler.load_state_dict(copy.deepcopy(ours.scheduler.state_dict()))
    resumed.optimizer.load_state_dict(ours.optimizer.state_dict())
    expected = theirs.run(60, figures)
    np.testing.assert_allclose(np.concatenate([first, resumed.run(30, figures[30:])]), expected, rtol=1e-14)
    assert len(set(expected[:, 0])) > 1
    assert set(ours.scheduler.state_dict()) == set(theirs.scheduler.state_dict())


def test_functions_with_a_state_are_saved():
    make = single("LambdaLR", {"lr_lambda": [Halving(), lambda epoch: 1.0]})
    straight = Side(pd, lambda module, o: schedules.LambdaLR(o, [Halving(), lambda epoch: 1.0])).run(20)
    side = Side(pd, make)
    side.run(10)
    state = copy.deepcopy(side.scheduler.state_dict())
    assert state["lr_lambdas"] == [{"calls": 11}, None]
    other = Side(pd, lambda module, o: schedules.LambdaLR(o, [Halving(), lambda epoch: 1.0]))
    other.scheduler.load_state_dict(state)
    np.testing.assert_array_equal(other.run(10), straight[10:])


@pytest.mark.smoke
def test_a_rate_that_is_a_tensor_is_written_in_place(torch):
    make = single("ExponentialLR", {"gamma": 0.5})
    rates = [pd.tensor(0.1), pd.tensor(0.4)]
    ours, theirs = Side(pd, make, lr=rates), Side(torch, make)
    np.testing.assert_allclose(ours.run(5), theirs.run(5), rtol=1e-6)
    assert rates[0].item() == pytest.approx(0.1 / 32) and ours.optimizer.param_groups[0]["lr"] is rates[0]
    kept = ours.scheduler.get_last_lr()
    ours.run(1)
    assert float(kept[0]) == pytest.approx(0.1 / 32)


@pytest.mark.parametrize("name, options", [c for c in CASES if hasattr(find(optim, c[0]), "_get_closed_form_lr")])
def test_an_epoch_may_be_named(torch, name, options):
    sides = [Side(library, single(name, options)) for library in (pd, torch)]
    for epoch in (4, 1, 30):
        for side in sides:
            side.optimizer.step()
            with pytest.warns(UserWarning, match="epoch"):
                side.scheduler.step(epoch)
        assert sides[0].scheduler.get_last_lr() == pytest.approx(sides[1].scheduler.get_last_lr(), rel=1e-14)


def test_warm_restarts_at_a_fraction_of_an_epoch(torch):
    sides = [Side(lib, single("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2})) for lib in (pd, torch)]
    for epoch in (0.25, 2.5, 3.5, 8.75, 9.0, 30.5):
        for side in sides:
            side.scheduler.step(epoch)
        assert sides[0].scheduler.get_last_lr() == pytest.approx(sides[1].scheduler.get_last_lr(), rel=1e-14)
    with pytest.raises(ValueError, match=r"^\[CosineAnnealingWarmRestarts\] an epoch is 0 or more; got -1; try "):
        sides[0].scheduler.step(-1)


@pytest.mark.smoke
def test_the_order_of_steps_is_warned_of_once():
    side = Side(pd, single("StepLR", {"step_size": 2}))
    with pytest.warns(UserWarning, match=r"^\[StepLR\] lr_scheduler.step\(\) came before optimizer.step\(\).*; try "):
        side.scheduler.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        side.scheduler.step()
        Side(pd, single("StepLR", {"step_size": 2})).run(3)
    with pytest.warns(UserWarning, match=r"^\[StepLR\] get_lr .*try get_last_lr"):
        side.scheduler.get_lr()


def test_a_second_scheduler_knows_of_the_steps_before_it():
    for lib in (torch_or_none(), pd):
        if lib is None:
            continue
        optimizer = lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], lr=0.1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            first = lib.optim.lr_scheduler.StepLR(optimizer, 2)
            optimizer.step()
            first.step()
            lib.optim.lr_scheduler.ExponentialLR(optimizer, 0.9).step()
        other = lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], lr=0.1)
        other.step()  # before the first scheduler: does not count
        scheduler = lib.optim.lr_scheduler.StepLR(other, 2)
        with pytest.warns(UserWarning, match=r"lr_scheduler.step\(\)"):
            scheduler.step()


def torch_or_none():
    try:
        import torch
    except ImportError:
        return None
    return torch


def test_going_on_from_an_epoch_needs_the_initial_rates(torch):
    side = Side(pd, single("StepLR", {"step_size": 2}))
    twin = Side(torch, single("StepLR", {"step_size": 2}))
    side.run(5)
    twin.run(5)
    ours = schedules.StepLR(side.optimizer, 2, last_epoch=5)
    theirs = torch.optim.lr_scheduler.StepLR(twin.optimizer, 2, last_epoch=5)
    assert ours.get_last_lr() == pytest.approx(theirs.get_last_lr())
    with pytest.raises(KeyError, match=r"\[StepLR\] going on from an epoch .*; got no 'initial_lr' in group 0; try "):
        schedules.StepLR(optim.SGD([nn.Parameter(pd.ones(1))]), 2, last_epoch=5)


@pytest.mark.parametrize(
    "name, options",
    [
        ("LambdaLR", {"lr_lambda": [lambda e: 1.0]}),
        ("ConstantLR", {"factor": 1.5}),
        ("LinearLR", {"start_factor": 0.0}),
        ("LinearLR", {"end_factor": 2.0}),
        ("CosineAnnealingWarmRestarts", {"T_0": 0}),
        ("CosineAnnealingWarmRestarts", {"T_0": 1, "T_mult": 0.5}),
        ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.2, "mode": "square"}),
        ("CyclicLR", {"base_lr": [0.1], "max_lr": 0.2}),
        ("OneCycleLR", {"max_lr": 0.2}),
        ("OneCycleLR", {"max_lr": 0.2, "total_steps": -3}),
        ("OneCycleLR", {"max_lr": 0.2, "total_steps": 3, "pct_start": 1.5}),
        ("OneCycleLR", {"max_lr": 0.2, "total_steps": 3, "anneal_strategy": "no"}),
        ("ReduceLROnPlateau", {"factor": 1.0}),
        ("ReduceLROnPlateau", {"mode": "up"}),
        ("ReduceLROnPlateau", {"threshold_mode": "up"}),
        ("ReduceLROnPlateau", {"min_lr": [0.0]}),
        ("SequentialLR", {"schedulers": [], "milestones": []}),
        ("SWALR", {"swa_lr": 0.1, "anneal_epochs": -1}),
        ("SWALR", {"swa_lr": 0.1, "anneal_strategy": "no"}),
    ],
)
def test_wrong_arguments_are_named(name, options):
    groups = [{"params": [nn.Parameter(pd.ones(1))]} for _ in range(2)]
    opt = optim.SGD(groups, lr=0.1, momentum=0.9)
    before = [dict(group) for group in opt.param_groups]
    with pytest.raises(ValueError, match=rf"^\[{name}\] .*; got .*; try "):
        find(optim, name)(opt, **options)
    assert [{k: v for k, v in g.items() if k != "params"} for g in opt.param_groups] == [
        {k: v for k, v in g.items() if k != "params"} for g in before
    ]


def test_wrong_company_is_named():
    a, b = (optim.SGD([nn.Parameter(pd.ones(1))], lr=0.1) for _ in range(2))
    one, other = schedules.StepLR(a, 2), schedules.StepLR(b, 2)
    with pytest.raises(ValueError, match=r"^\[SequentialLR\] all schedulers belong to one optimiser; got StepLR at 1 "):
        schedules.SequentialLR(a, [one, other], [3])
    with pytest.raises(ValueError, match=r"^\[SequentialLR\] there is one milestone fewer"):
        schedules.SequentialLR(a, [one], [3])
    with pytest.raises(ValueError, match=r"^\[ChainedScheduler\] its schedulers step without a figure"):
        schedules.ChainedScheduler([one, schedules.ReduceLROnPlateau(a)])
    with pytest.raises(TypeError, match=r"^\[ChainedScheduler\] schedulers are a list of schedulers; got int at 1"):
        schedules.ChainedScheduler([one, 3])
    with pytest.raises(TypeError, match=r"^\[StepLR\] the first argument is an optimiser; got int; try "):
        schedules.StepLR(3, 2)
    with pytest.raises(TypeError, match=r"^\[LambdaLR\] lr_lambda is a function of the epoch; got float; try "):
        schedules.LambdaLR(a, 0.5)
    with pytest.raises(ValueError, match=r"^\[OneCycleLR\] cycle_momentum needs .*; got Adagrad; try cycle_momentum=False"):
        schedules.OneCycleLR(optim.Adagrad([nn.Parameter(pd.ones(1))]), 0.1, 10)
    with pytest.raises(NotImplementedError, match=r"^\[LRScheduler\] get_lr is not defined"):
        schedules.LRScheduler(a)
    side = Side(pd, single("OneCycleLR", {"max_lr": 0.1, "total_steps": 2}))
    with pytest.raises(ValueError, match=r"^\[OneCycleLR\] the schedule has 2 steps; got step 3; try "):
        side.run(3)


# ---- averaged weights


def models(torch, seed=0):
    rng = np.random.default_rng(seed)
    ours = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    for module in (ours, theirs):
        module.register_buffer("count", (pd if module is ours else torch).ones(2))
    return ours, theirs, rng


def put(torch, ours, theirs, rng):
    for p, q in zip([*ours.parameters(), ours.count], [*theirs.parameters(), theirs.count]):
        value = rng.standard_normal(tuple(q.shape)).astype("float32")
        with pd.no_grad(), torch.no_grad():
            p.copy_(pd.tensor(value))
            q.copy_(torch.tensor(value))


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("how", ["mean", "ema_multi", "swa_multi", "ema", "swa"])
def test_averaged_model(torch, compare, how, use_buffers):
    def options(module):
        return {
            "mean": {},
            "ema_multi": {"multi_avg_fn": module.get_ema_multi_avg_fn(0.75)},
            "swa_multi": {"multi_avg_fn": module.get_swa_multi_avg_fn()},
            "ema": {"avg_fn": module.get_ema_avg_fn(0.75)},
            "swa": {"avg_fn": module.get_swa_avg_fn()},
        }[how]

    ours, theirs, rng = models(torch)
    average = swa_utils.AveragedModel(ours, use_buffers=use_buffers, **options(swa_utils))
    module = torch.optim.swa_utils
    oracle = module.AveragedModel(theirs, use_buffers=use_buffers, **options(module))
    handles = list(average.parameters())
    for _ in range(5):
        put(torch, ours, theirs, rng)
        average.update_parameters(ours)
        oracle.update_parameters(theirs)
        state, expected = average.state_dict(), oracle.state_dict()
        assert list(state) == list(expected)
        for key in state:
            compare(state[key], expected[key], 8) if key != "n_averaged" else None
    assert average.n_averaged.item() == 5 and all(p.requires_grad and p.is_leaf for p in handles)
    assert all(a is b for a, b in zip(handles, average.parameters()))
    x = np.ones((2, 3), "float32")
    compare(average(pd.tensor(x)), oracle(torch.tensor(x)), 16)


def test_averaging_is_one_launch():
    def kernels(layers):
        model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(layers)])
        average = swa_utils.AveragedModel(model)
        for _ in range(3):
            before = pd._C.exec_stats()["kernels"]
            average.update_parameters(model)
            used = pd._C.exec_stats()["kernels"] - before
        return used

    assert kernels(30) == kernels(3)


def test_averages_of_16_bit_models_keep_their_dtype():
    model = nn.Linear(1, 1, bias=False).to(pd.bfloat16)
    average = swa_utils.AveragedModel(model)
    for value in (1.0, 2.0):
        with pd.no_grad():
            model.weight.fill_(value)
        average.update_parameters(model)
    assert average.module.weight.dtype == pd.bfloat16 and average.module.weight.item() == 1.5


class BatchNorm(nn.Module):
    """The least that `update_bn` asks of a batch normalisation."""

    def __init__(self):
        super().__init__()
        self.momentum = 0.1
        self.register_buffer("running_mean", pd.ones(2))
        self.register_buffer("num_batches_tracked", pd.tensor(7))

    def reset_running_stats(self):
        self.running_mean.zero_()
        self.num_batches_tracked.zero_()

    def forward(self, x):
        assert self.training
        self.num_batches_tracked += 1
        share = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean += share * (x.mean(0) - self.running_mean)
        return x


def test_update_bn_takes_the_mean_of_all_batches():
    model = nn.Sequential(BatchNorm(), nn.Linear(2, 1)).eval()
    batches = [np.full((2, 2), v, "float32") for v in (1.0, 2.0, 6.0)]
    swa_utils.update_bn([(pd.tensor(b), None) for b in batches], model)
    assert model[0].running_mean.tolist() == pytest.approx([3.0, 3.0])
    assert model[0].momentum == 0.1 and not model.training and not model[0].training


def test_update_bn_of_a_model_against_pytorch(torch, compare):
    if not hasattr(nn, "BatchNorm1d"):
        pytest.skip("there is no batch normalisation layer")
    ours, theirs = nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    batches = [np.random.default_rng(k).standard_normal((4, 3)).astype("float32") for k in range(3)]
    swa_utils.update_bn([pd.tensor(b) for b in batches], ours)
    torch.optim.swa_utils.update_bn([torch.tensor(b) for b in batches], theirs)
    compare(ours.running_mean, theirs.running_mean, 8)
    compare(ours.running_var, theirs.running_var, 8)


def test_what_averages_refuse():
    for make in (swa_utils.get_ema_avg_fn, swa_utils.get_ema_multi_avg_fn):
        with pytest.raises(ValueError, match=rf"^\[{make.__name__}\] decay is a number from 0 to 1; got 1.5; try "):
            make(1.5)
    with pytest.raises(ValueError, match=r"^\[AveragedModel\] one function averages; got .*; try "):
        swa_utils.AveragedModel(nn.Linear(1, 1), avg_fn=max, multi_avg_fn=max)
    assert math.isclose(swa_utils.get_ema_avg_fn(0.5)(pd.tensor(1.0), pd.tensor(2.0), 1).item(), 1.5)
