"""Every optimiser against PyTorch: PyTorch's own sample options, and others, step by step."""

import copy

import numpy as np
import pytest
import torch_lists

import pydiff as pd
from pydiff import nn, optim

SHAPES = [(4, 3), (5,), (), (2, 1, 3), (7, 2)]
MATRICES = [(4, 3), (3, 4), (5, 5)]

# Beside PyTorch's samples.
OWN = {
    "Adadelta": [{"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1, "maximize": True}],
    "Adafactor": [{"lr": 0.3, "eps": (1e-4, 1e-2), "d": 2.0, "weight_decay": 0.2}, {"lr": 0.1, "maximize": True}],
    "Adagrad": [{"lr": 0.1, "maximize": True, "initial_accumulator_value": 0.5, "lr_decay": 0.1, "eps": 1e-5}],
    "Adam": [{"lr": 0.05, "weight_decay": 0.3, "decoupled_weight_decay": True}, {"foreach": True, "capturable": False}],
    "Adamax": [{"lr": 0.05, "betas": (0.7, 0.9), "eps": 1e-3, "weight_decay": 0.1}],
    "ASGD": [{"lr": 0.1, "lambd": 0.01, "alpha": 0.5, "t0": 3.0}],
    "NAdam": [{"lr": 0.05, "betas": (0.7, 0.9), "momentum_decay": 0.1, "maximize": True}],
    "RAdam": [{"lr": 0.05, "betas": (0.8, 0.6)}, {"lr": 0.05, "betas": (0.8, 0.95), "maximize": True}],
    "RMSprop": [{"lr": 0.05, "alpha": 0.5, "eps": 1e-3, "momentum": 0.9}],
    "Rprop": [{"lr": 0.05, "step_sizes": (1e-2, 0.07)}],
    "SGD": [{"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1, "maximize": True}],
    "Muon": [{"lr": 0.1, "nesterov": False}, {"lr": 0.1, "adjust_lr_fn": "match_rms_adamw"}],
}
NAMES = ["Adam", "AdamW", "SGD", *(n for n in OWN if n not in ("Adam", "SGD"))]
ELEMENTWISE = [n for n in NAMES if n not in ("Muon", "Adafactor")]


@pytest.fixture(scope="session")
def samples(torch):
    """`samples(name)`: the options that PyTorch's own tests try, and those above."""
    known = {info.optim_cls.__name__: info for info in torch_lists.listed("common_optimizers", "optim_db")}

    def samples(name):
        found = [sample.kwargs for sample in known[name].optim_inputs_func(device="cpu")]
        return found + OWN.get(name, [])

    return samples


class Pair:
    """The same parameters here and in PyTorch, each under its own optimiser."""

    def __init__(self, torch, name, options, dtype="float32", shapes=None, seed=0):
        self.torch, self.dtype, self.name = torch, dtype, name
        self.rng = np.random.default_rng(seed)
        shapes = shapes or (MATRICES if name == "Muon" else SHAPES)
        values = [np.asarray(self.rng.standard_normal(shape), dtype) for shape in shapes]
        self.ours = [nn.Parameter(pd.tensor(v)) for v in values]
        self.theirs = [torch.nn.Parameter(torch.tensor(v)) for v in values]
        ours = {k: pd.tensor(v.numpy()) if isinstance(v, torch.Tensor) else v for k, v in options.items()}
        self.opt = getattr(optim, name)(self.ours, **ours)
        self.oracle = getattr(torch.optim, name)(self.theirs, **options)

    def step(self, skip=()):
        for i, (p, q) in enumerate(zip(self.ours, self.theirs)):
            grad = np.asarray(self.rng.standard_normal(tuple(q.shape)), self.dtype)
            p.grad = None if i in skip else pd.tensor(grad)
            q.grad = None if i in skip else self.torch.tensor(grad)
        self.opt.step()
        self.oracle.step()

    def check(self, compare, ulps=128):
        # Muon's direction is found in bfloat16; one step moves an element by some of its epsilons times lr.
        slack = 2.0**-7 * 64 / np.finfo(self.dtype).eps if self.name == "Muon" else 0
        lr = float(self.opt.param_groups[0]["lr"])
        for p, q in zip(self.ours, self.theirs):
            compare(p, q, ulps + slack * lr, scale=1.0)
            ours, theirs = self.opt.state.get(p, {}), self.oracle.state.get(q, {})
            theirs = {k: v for k, v in theirs.items() if v is not None}
            assert sorted(ours) == sorted(theirs)
            for key, value in theirs.items():
                if value.ndim == 0 and not isinstance(ours[key], pd.Tensor):
                    assert float(ours[key]) == pytest.approx(float(value), rel=1e-6)
                else:
                    compare(ours[key], value, ulps, scale=max(1.0, float(value.abs().max())))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ten_steps(torch, compare, samples, name, dtype):
    """Within 128 epsilons of the parameters' size after ten steps; state too."""
    for number, options in enumerate(samples(name)):
        pair = Pair(torch, name, options, dtype, seed=number)
        for _ in range(10):
            pair.step()
        pair.check(compare)


@pytest.mark.smoke
@pytest.mark.parametrize("name", NAMES)
def test_parameters_without_gradient_keep_their_own_count(torch, compare, name):
    pair = Pair(torch, name, {"lr": 0.05})
    for skip in ((), (1,), (0, 1), (), (0, 1, 2, 3, 4), (2,), ()):
        pair.step(skip)
    pair.check(compare)


@pytest.mark.parametrize("name", NAMES)
def test_a_state_of_pytorch_is_taken_over(torch, compare, name):
    pair = Pair(torch, name, {"lr": 0.05}, "float64")
    pair.step()
    pair.step(skip=(2,))
    theirs = copy.deepcopy(pair.oracle.state_dict())
    assert set(pair.opt.state_dict()["param_groups"][0]) == set(theirs["param_groups"][0])
    arrays = {
        number: {key: pd.tensor(value.numpy()) for key, value in entry.items() if value is not None}
        for number, entry in theirs["state"].items()
    }
    fresh = getattr(optim, name)(pair.ours)
    fresh.load_state_dict({**theirs, "state": arrays})
    pair.opt = fresh
    for _ in range(3):
        pair.step()
    pair.check(compare)


@pytest.mark.parametrize("name", NAMES)
def test_pytorch_takes_our_state_over(torch, compare, name):
    pair = Pair(torch, name, {"lr": 0.05}, "float64")
    pair.step()
    pair.step(skip=(2,))
    ours = pair.opt.state_dict()
    tensors = {
        number: {k: torch.tensor(v.numpy()) if isinstance(v, pd.Tensor) else v for k, v in entry.items()}
        for number, entry in ours["state"].items()
    }
    fresh = getattr(torch.optim, name)(pair.theirs)
    fresh.load_state_dict({"state": tensors, "param_groups": copy.deepcopy(ours["param_groups"])})
    pair.oracle = fresh
    for _ in range(2):
        pair.step()
    pair.check(compare)


@pytest.mark.parametrize("name", [*NAMES, "Lion", "SparseAdam"])
def test_resuming_equals_going_on(name):
    rng = np.random.default_rng(3)
    shapes = MATRICES if name == "Muon" else SHAPES
    values = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    grads = [[rng.standard_normal(shape).astype("float32") for shape in shapes] for _ in range(5)]
    make = getattr(optim, name)

    def run(params, opt, steps):
        for step in steps:
            for p, g in zip(params, step):
                p.grad = pd.tensor(g)
            opt.step()

    straight = [nn.Parameter(pd.tensor(v)) for v in values]
    run(straight, make(straight, lr=0.05), grads)
    first = [nn.Parameter(pd.tensor(v)) for v in values]
    opt = make(first, lr=0.05)
    run(first, opt, grads[:2])
    saved = copy.deepcopy(opt.state_dict())
    second = [nn.Parameter(p.detach().clone()) for p in first]
    resumed = make(second)
    resumed.load_state_dict(saved)
    run(first, opt, grads[2:3])
    run(second, resumed, grads[2:])
    for p, q in zip(straight, second):
        assert np.array_equal(p.detach().numpy(), q.detach().numpy())


@pytest.mark.parametrize("name", [*ELEMENTWISE, "Lion"])
def test_a_step_is_one_launch_however_many_parameters(name):
    def kernels(count):
        params = [nn.Parameter(pd.ones(3 + i % 5)) for i in range(count)]
        opt = getattr(optim, name)(params)
        for _ in range(3):
            for p in params:
                p.grad = pd.ones(p.shape[0])
                p.grad.numpy()
            before = pd._C.exec_stats()["kernels"]
            opt.step()
            used = pd._C.exec_stats()["kernels"] - before
        return used

    assert kernels(50) == kernels(2) <= 2


@pytest.mark.parametrize("name", ["Muon", "Adafactor", "SparseAdam"])
def test_a_step_is_one_evaluation_however_many_parameters(name):
    params = [nn.Parameter(pd.ones(3 + i % 2, 2)) for i in range(20)]
    opt = getattr(optim, name)(params)
    for _ in range(3):
        for p in params:
            p.grad = pd.ones(*p.shape)
            p.grad.numpy()
        before = pd._C.exec_stats()
        opt.step()
        after = pd._C.exec_stats()
    assert sum(after[key] - before[key] for key in ("plans", "replays")) == 1


@pytest.mark.smoke
@pytest.mark.parametrize("name", [*NAMES, "Lion", "SparseAdam", "LBFGS"])
def test_the_rate_may_be_a_tensor(name):
    results = []
    for lr in (0.0625, pd.tensor(0.0625), pd.tensor([0.0625])):
        p = nn.Parameter(pd.tensor([[1.0, -2.0], [3.0, 0.5]]))
        opt = getattr(optim, name)([p], lr=lr)

        def closure(p=p, opt=opt):
            opt.zero_grad()
            loss = (p * p).sum()
            loss.backward()
            return loss

        for _ in range(3):
            opt.step(closure)
        if isinstance(lr, pd.Tensor):
            with pd.no_grad():
                lr.fill_(0.125)  # the optimiser reads the tensor that it was given
        else:
            opt.param_groups[0]["lr"] = 0.125
        opt.step(closure)
        results.append(p.detach().numpy())
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=4e-7 if name != "Muon" else 2e-3)
    assert np.array_equal(results[1], results[2])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_parameters_are_rounded_once_a_step(torch, dtype):
    """SGD: equal to its formula in float32, rounded at the end. Adam: within an epsilon of PyTorch's fused update."""
    rng = np.random.default_rng(6)
    low, half = getattr(pd, dtype), getattr(torch, dtype)
    values = [rng.standard_normal((4, 5)).astype("float32") for _ in range(6)]
    ours, adams = (nn.Parameter(pd.tensor(values[0]).to(low)) for _ in range(2))
    theirs = torch.nn.Parameter(torch.tensor(values[0]).to(half))
    opt, adam = optim.SGD([ours], lr=0.02, momentum=0.9), optim.Adam([adams], lr=0.02, eps=1e-3)
    oracle = torch.optim.Adam([theirs], lr=0.02, eps=1e-3, fused=True)
    p, momentum = theirs.detach().float(), torch.zeros(4, 5)
    for value in values[1:]:
        g = torch.tensor(value).to(half)
        ours.grad, adams.grad, theirs.grad = pd.tensor(value).to(low), pd.tensor(value).to(low), g
        for each in (opt, adam, oracle):
            each.step()
        momentum = momentum * np.float32(0.9) + g.float()
        p, momentum = (p - np.float32(0.02) * momentum).to(half).float(), momentum.to(half).float()
        assert np.array_equal(ours.detach().float().numpy(), p.numpy())
        assert np.array_equal(opt.state[ours]["momentum_buffer"].float().numpy(), momentum.numpy())
        for a, b in [(adams, theirs), *((adam.state[adams][k], oracle.state[theirs][k]) for k in ("exp_avg", "exp_avg_sq"))]:
            expected = b.detach().float().numpy()
            np.testing.assert_allclose(a.detach().float().numpy(), expected, rtol=float(torch.finfo(half).eps), atol=1e-7)
    assert ours.dtype == low


def test_lion_is_its_formula():
    rng = np.random.default_rng(1)
    value = rng.standard_normal((3, 2))
    p, m = nn.Parameter(pd.tensor(value)), np.zeros((3, 2))
    opt = optim.Lion([p], lr=0.1, betas=(0.9, 0.8), weight_decay=0.5)
    for _ in range(5):
        g = rng.standard_normal((3, 2))
        p.grad = pd.tensor(g)
        opt.step()
        value = value * (1 - 0.1 * 0.5) - 0.1 * np.sign(0.9 * m + 0.1 * g)
        m = 0.8 * m + 0.2 * g
        np.testing.assert_allclose(p.detach().numpy(), value, rtol=1e-14)
        np.testing.assert_allclose(opt.state[p]["exp_avg"].numpy(), m, rtol=1e-13)
    assert list(opt.state[p]) == ["exp_avg"]


@pytest.mark.parametrize("options", [{}, {"lr": 0.1, "betas": (0.7, 0.9)}, {"lr": 0.1, "maximize": True, "eps": 1e-4}])
def test_sparse_adam_is_that_of_a_sparse_embedding(torch, compare, options):
    rng = np.random.default_rng(2)
    value = rng.standard_normal((6, 3))
    ours, theirs = nn.Parameter(pd.tensor(value)), torch.nn.Embedding.from_pretrained(torch.tensor(value), False, sparse=True)
    opt, oracle = optim.SparseAdam([ours], **options), torch.optim.SparseAdam(theirs.parameters(), **options)
    for rows in ([0, 2, 2], [5], [0, 1], [2, 3, 5], [4]):
        scale = rng.standard_normal((len(rows), 3))
        opt.zero_grad()
        oracle.zero_grad()
        (nn.functional.embedding(pd.tensor(rows), ours) * pd.tensor(scale)).sum().backward()
        (theirs(torch.tensor(rows)) * torch.tensor(scale)).sum().backward()
        opt.step()
        oracle.step()
        compare(ours, theirs.weight, 16)
    (state,) = oracle.state.values()
    assert opt.state[ours]["step"] == state["step"] == 5
    for key in ("exp_avg", "exp_avg_sq"):
        compare(opt.state[ours][key], state[key], 16)


# ---- LBFGS


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 1e-3, "max_iter": 5},
        {"lr": 0.01, "history_size": 2, "max_iter": 7},
        {"line_search_fn": "strong_wolfe"},
        {"line_search_fn": "strong_wolfe", "lr": 0.5, "history_size": 3, "max_iter": 6, "max_eval": 9},
    ],
)
def test_lbfgs_goes_the_same_way(torch, compare, options):
    start = np.array([-1.2, 1.0, -0.5, 0.8])
    ours, theirs = nn.Parameter(pd.tensor(start)), torch.nn.Parameter(torch.tensor(start))
    opt, oracle = optim.LBFGS([ours], **options), torch.optim.LBFGS([theirs], **options)
    for _ in range(5):
        losses = []
        for p, o in ((ours, opt), (theirs, oracle)):

            def closure(p=p, o=o):
                o.zero_grad()
                loss = rosenbrock(p)
                loss.backward()
                return loss

            losses.append(o.step(closure).item())
        assert losses[0] == pytest.approx(losses[1], rel=1e-6, abs=1e-12)
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-6)
        state, expected = opt.state[ours], oracle.state[theirs]
        assert state["n_iter"] == expected["n_iter"] and state["func_evals"] == expected["func_evals"]
        assert len(state["old_dirs"]) == len(expected["old_dirs"])
    assert set(state) | {"al"} == set(expected) | {"al"}


@pytest.mark.parametrize("direction", ["in", "out"])
def test_the_state_of_lbfgs_moves_between_frameworks(torch, direction):
    start = np.array([-1.2, 1.0, -0.5, 0.8])
    ours, theirs = nn.Parameter(pd.tensor(start)), torch.nn.Parameter(torch.tensor(start))
    options = {"line_search_fn": "strong_wolfe", "max_iter": 4}
    sides = {pd: (ours, optim.LBFGS([ours], **options)), torch: (theirs, torch.optim.LBFGS([theirs], **options))}

    def go_on(side):
        p, o = sides[side]

        def closure():
            o.zero_grad()
            loss = rosenbrock(p)
            loss.backward()
            return loss

        o.step(closure)

    def moved(value, make):
        if isinstance(value, (list, tuple)):
            return type(value)(moved(item, make) for item in value)
        return make(value.detach().numpy()) if hasattr(value, "detach") else value

    go_on(pd)
    go_on(torch)
    source, target, make = (torch, pd, pd.tensor) if direction == "in" else (pd, torch, torch.tensor)
    state = sides[source][1].state_dict()
    entry = {key: moved(value, make) for key, value in state["state"][0].items()}
    fresh = (optim if target is pd else torch.optim).LBFGS([sides[target][0]])
    fresh.load_state_dict({"state": {0: entry}, "param_groups": copy.deepcopy(state["param_groups"])})
    sides[target] = sides[target][0], fresh
    for _ in range(3):
        go_on(pd)
        go_on(torch)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-6)


def test_lbfgs_of_several_tensors_finds_the_minimum_and_resumes():
    rng = np.random.default_rng(4)
    a, target = pd.tensor(rng.standard_normal((8, 4))), pd.tensor(rng.standard_normal(8))

    def make():
        return [nn.Parameter(pd.zeros(3, dtype=pd.float64)), nn.Parameter(pd.zeros(1, 1, dtype=pd.float64))]

    def closure_of(params, opt):
        def closure():
            opt.zero_grad()
            loss = ((a @ pd.cat([p.reshape(-1) for p in params]) - target) ** 2).sum()
            loss.backward()
            return loss

        return closure

    params = make()
    opt = optim.LBFGS(params, line_search_fn="strong_wolfe", max_iter=4)
    opt.step(closure_of(params, opt))
    other = [nn.Parameter(p.detach().clone()) for p in params]
    resumed = optim.LBFGS(other)
    resumed.load_state_dict(copy.deepcopy(opt.state_dict()))
    for ps, o in ((params, opt), (other, resumed)):
        for _ in range(3):
            o.step(closure_of(ps, o))
    found = np.concatenate([p.detach().numpy().reshape(-1) for p in params])
    np.testing.assert_allclose(found, np.linalg.lstsq(a.numpy(), target.numpy(), rcond=None)[0], atol=1e-6)
    assert all(np.array_equal(p.detach().numpy(), q.detach().numpy()) for p, q in zip(params, other))


def test_lbfgs_restores_the_parameters_where_the_closure_fails():
    p = nn.Parameter(pd.tensor([1.0, 2.0]))
    opt = optim.LBFGS([p], line_search_fn="strong_wolfe")
    calls = []

    def closure():
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("mine")
        opt.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss

    with pytest.raises(KeyError, match="mine"):
        opt.step(closure)
    assert p.tolist() == [1.0, 2.0]


# ---- options, names, hooks


@pytest.mark.parametrize(
    "name, options",
    [
        ("Adamax", {"betas": (1.0, 0.9)}),
        ("NAdam", {"momentum_decay": -0.1}),
        ("RAdam", {"eps": -1.0}),
        ("Adagrad", {"lr_decay": -0.5}),
        ("Adagrad", {"initial_accumulator_value": -1.0}),
        ("Adadelta", {"rho": 1.5}),
        ("RMSprop", {"momentum": -1.0}),
        ("ASGD", {"weight_decay": -1.0}),
        ("Rprop", {"etas": (1.0, 0.5)}),
        ("Adafactor", {"d": 0.5}),
        ("Adafactor", {"beta2_decay": 0.1}),
        ("Adafactor", {"eps": (-1.0, 1.0)}),
        ("Lion", {"betas": (0.9,)}),
        ("Muon", {"adjust_lr_fn": "none"}),
        ("Muon", {"ns_steps": 100}),
        ("Muon", {"ns_coefficients": (1.0, 2.0)}),
        ("LBFGS", {"line_search_fn": "armijo"}),
        ("SparseAdam", {"lr": 0.0}),
        ("SparseAdam", {"eps": 0.0}),
        ("Adam", {"differentiable": True}),
        ("SGD", {"differentiable": True}),
        ("Adam", {"lr": [1, 2]}),
        *[(name, {"lr": -1.0}) for name in [*NAMES, "Lion", "SparseAdam", "LBFGS"]],
    ],
)
def test_options_out_of_range_are_named(name, options):
    p = nn.Parameter(pd.ones(2, 2))
    if options == {"lr": [1, 2]}:
        options = {"lr": pd.tensor([1.0, 2.0])}
    with pytest.raises(ValueError, match=rf"^\[{name}\] .*; got .*; try "):
        getattr(optim, name)([p], **options)


def test_what_is_refused_beside_options():
    p = nn.Parameter(pd.ones(2))
    with pytest.raises(RuntimeError, match=r"^\[Adam\] foreach and fused .*; got both; try "):
        optim.Adam([p], foreach=True, fused=True)
    with pytest.raises(ValueError, match=r"^\[Muon\] parameters are matrices; got parameter 0 of shape \(2,\); try "):
        optim.Muon([p])
    with pytest.raises(ValueError, match=r"^\[LBFGS\] there is one group"):
        optim.LBFGS([{"params": [p]}, {"params": [nn.Parameter(pd.ones(1))]}])


def test_parameters_may_have_names(torch):
    model, twin = nn.Linear(2, 3), torch.nn.Linear(2, 3)
    opt, oracle = optim.Adam(model.named_parameters()), torch.optim.Adam(twin.named_parameters())
    state, expected = opt.state_dict(), oracle.state_dict()
    assert state["param_groups"][0]["param_names"] == expected["param_groups"][0]["param_names"] == ["weight", "bias"]
    model(pd.ones(1, 2)).sum().backward()
    opt.step()
    with pytest.raises(ValueError, match=r"^\[Adam\] all groups have names or none has; got .*; try "):
        opt.add_param_group({"params": [nn.Parameter(pd.ones(1))]})
    with pytest.raises(ValueError, match=r"^\[Adam\] all parameters have names or none has; got .*; try "):
        optim.Adam([("a", nn.Parameter(pd.ones(1))), nn.Parameter(pd.ones(1))])


def test_hooks_run_around_a_step():
    p = nn.Parameter(pd.ones(1))
    opt, seen = optim.SGD([p], lr=0.5), []
    before = opt.register_step_pre_hook(lambda o, args, kwargs: seen.append(("before", o is opt, args[1:], kwargs)))
    after = opt.register_step_post_hook(lambda o, args, kwargs: seen.append(("after", p.item())))
    p.grad = pd.ones(1)
    opt.step()
    assert seen == [("before", True, (), {}), ("after", 0.5)]
    before.remove()
    after.remove()
    opt.step()
    assert len(seen) == 2
    opt.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: 7.0), {}))
    assert opt.step() == 7.0
    opt.register_step_pre_hook(lambda o, args, kwargs: 3)
    with pytest.raises(RuntimeError, match=r"^\[SGD\] a hook before the step .*; got int; try "):
        opt.step()
    assert copy.deepcopy(opt).step() is None  # copies have no hooks


def test_a_step_of_a_class_of_the_users_has_hooks_too():
    class Mine(optim.SGD):
        def step(self, closure=None):
            return super().step(closure)

    p, seen = nn.Parameter(pd.ones(1)), []
    opt = Mine([p], lr=0.5)
    opt.register_step_post_hook(lambda *_: seen.append(1))
    opt.step()
    assert seen == [1]


def test_hooks_run_around_saving_and_loading():
    p = nn.Parameter(pd.ones(1))
    opt, seen = optim.SGD([p], lr=0.5), []
    opt.register_state_dict_pre_hook(lambda o: seen.append("save"))
    opt.register_state_dict_post_hook(lambda o, state: {**state, "mine": 1})
    opt.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    opt.register_load_state_dict_pre_hook(lambda o, state: seen.append(state.pop("mine")))
    opt.register_load_state_dict_pre_hook(lambda o, state: seen.append("first"), prepend=True)
    state = opt.state_dict()
    assert state["mine"] == 1
    opt.load_state_dict(state)
    assert seen == ["save", "first", 1, "loaded"] and "mine" in state
