"""Training steps under pydiff.jit: the bits of the undecorated step, whatever the optimiser, the layers and the schedule."""

import copy
import gc

import pytest

import pydiff as pd
from pydiff import _C, nn
from pydiff.nn import functional as F
from pydiff.optim import lr_scheduler as schedules

OPTIMIZERS = {
    "sgd": lambda p: pd.optim.SGD(p, lr=0.05),
    "momentum": lambda p: pd.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adam": lambda p: pd.optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: pd.optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.1),
    "adamw": lambda p: pd.optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: pd.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: pd.optim.Adagrad(p, lr=0.05, lr_decay=0.1),
    "adadelta": lambda p: pd.optim.Adadelta(p, lr=0.5),
    "adamax": lambda p: pd.optim.Adamax(p, lr=0.01),
    "asgd": lambda p: pd.optim.ASGD(p, lr=0.01, t0=3),
    "nadam": lambda p: pd.optim.NAdam(p, lr=0.01),
    "radam": lambda p: pd.optim.RAdam(p, lr=0.01),
    "rprop": lambda p: pd.optim.Rprop(p, lr=0.01),
    "lion": lambda p: pd.optim.Lion(p, lr=0.001, weight_decay=0.1),
    "sparse": lambda p: pd.optim.SparseAdam(p, lr=0.01),
    "adafactor": lambda p: pd.optim.Adafactor(p, lr=0.05, weight_decay=0.01),
    "muon": lambda p: pd.optim.Muon([q for q in p if q.ndim == 2], lr=0.01),
}


def mlp():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def bits(model, optimizer):
    out = [p for p in model.state_dict().values()]
    out += [p.grad for p in model.parameters()]
    for state in optimizer.state.values():
        out += list(state.values())
    return out


def same(a, b):
    if isinstance(a, pd.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).logical_or((a != a) & (b != b)).all())
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b and type(a) is type(b)


def both(make, steps=12, each=lambda k, env: None):
    """(the losses, the final state) of the plain and of the jitted run; `make()` gives (env, step), a fresh copy each time."""
    ran = []
    for jitted in (False, True):
        pd.manual_seed(3)
        env, step, batch = make()
        if jitted:
            step = pd.jit(step)
        pd.manual_seed(5)
        losses = []
        for k in range(steps):
            each(k, env)
            losses.append(step(*batch(k)))
        ran.append((losses, env, step))
    (a, env_a, _), (b, env_b, step) = ran
    for k, (x, y) in enumerate(zip(a, b)):
        assert same(x, y), f"step {k}"
    for x, y in zip(bits(env_a["model"], env_a["optimizer"]), bits(env_b["model"], env_b["optimizer"])):
        assert same(x, y)
    return step.jit, env_b


def trainer(model, optimizer, loss=lambda out: (out * out).mean(), shape=(5, 6), **more):
    def make():
        net = model()
        opt = optimizer([p for p in net.parameters()])
        batches = [pd.randn(shape) for _ in range(4)]
        env = {"model": net, "optimizer": opt, **{k: f(opt) for k, f in more.items()}}

        def step(x):
            opt.zero_grad()
            value = loss(net(x))
            value.backward()
            opt.step()
            return value

        return env, step, lambda k: (batches[k % 4],)

    return make


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name):
    jit, _ = both(trainer(mlp, OPTIMIZERS[name]))
    assert jit.replays >= 9 and jit.traces <= 3


def test_every_optimizer_is_in_the_list():
    here = {type(make([nn.Parameter(pd.ones(2, 2))])) for make in OPTIMIZERS.values()}
    public = {getattr(pd.optim, name) for name in pd.optim.__all__}
    classes = {c for c in public if isinstance(c, type) and issubclass(c, pd.optim.Optimizer)}
    assert classes - here == {pd.optim.Optimizer, pd.optim.LBFGS}


def test_lbfgs_says_that_it_needs_values():
    model = mlp()
    optimizer = pd.optim.LBFGS(model.parameters())

    @pd.jit
    def step(x):
        def closure():
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            return loss

        return optimizer.step(closure)

    before = [p.clone() for p in model.parameters()]
    with pytest.raises(RuntimeError, match="jit"):
        step(pd.ones(2, 6))
    assert same(before, list(model.parameters())) and all(p.grad is None for p in model.parameters())


def test_convolutions_with_batch_norm():
    def net():
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
        )

    jit, env = both(trainer(net, OPTIMIZERS["momentum"], shape=(3, 2, 4, 4)))
    assert env["model"][1].num_batches_tracked.item() == 12
    assert jit.traces <= 2


def test_transformer_with_dropout():
    def net():
        return nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, dropout=0.3, batch_first=True)

    jit, _ = both(trainer(net, OPTIMIZERS["adamw"], shape=(2, 5, 8)))
    assert jit.traces <= 2


SCHEDULERS = {
    "step": lambda o: schedules.StepLR(o, 2, 0.5),
    "exponential": lambda o: schedules.ExponentialLR(o, 0.9),
    "cosine": lambda o: schedules.CosineAnnealingLR(o, 5),
    "one cycle": lambda o: schedules.OneCycleLR(o, 0.2, total_steps=20),
    "sequential": lambda o: schedules.SequentialLR(o, [schedules.ConstantLR(o, 0.5, 3), schedules.ExponentialLR(o, 0.8)], [3]),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_outside(name):
    def turn(k, env):
        if k:
            env["scheduler"].step()

    jit, _ = both(trainer(mlp, OPTIMIZERS["adam"], scheduler=SCHEDULERS[name]), each=turn)
    assert jit.traces <= 2


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_inside(name):
    def make():
        model = mlp()
        optimizer = pd.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        scheduler = SCHEDULERS[name](optimizer)
        x = pd.randn(5, 6)

        def step(x):
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            scheduler.step()
            return loss

        return {"model": model, "optimizer": optimizer, "scheduler": scheduler}, step, lambda k: (x,)

    jit, env = both(make)
    assert jit.traces <= 2
    assert env["scheduler"].last_epoch == 12


def test_rates_written_between_calls():
    def turn(k, env):
        env["optimizer"].param_groups[0]["lr"] = 0.1 / (k + 1)

    jit, _ = both(trainer(mlp, OPTIMIZERS["sgd"]), each=turn)
    assert jit.traces == 1


def test_a_rate_that_the_function_reads():
    def turn(k, env):
        env["optimizer"].param_groups[0]["lr"] = 0.1 / (k // 4 + 1)

    def make():
        model = mlp()
        optimizer = pd.optim.SGD(model.parameters(), lr=0.1)
        x = pd.randn(5, 6)

        def step(x):
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean() * optimizer.param_groups[0]["lr"]
            loss.backward()
            optimizer.step()
            return loss

        return {"model": model, "optimizer": optimizer}, step, lambda k: (x,)

    jit, _ = both(make, each=turn)
    assert jit.traces == 3


def test_a_rate_that_is_a_tensor():
    def turn(k, env):
        env["optimizer"].param_groups[0]["lr"].fill_(0.1 / (k + 1))

    jit, _ = both(trainer(mlp, lambda p: pd.optim.Adam(p, lr=pd.tensor(0.1))), each=turn)
    assert jit.traces <= 2


@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_accumulated_over_calls(to_none):
    def make():
        model = mlp()
        optimizer = pd.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        batches = [pd.randn(5, 6) for _ in range(3)]

        def step(x, last):
            loss = (model(x) ** 2).mean()
            loss.backward()
            if last:
                optimizer.step()
                optimizer.zero_grad(set_to_none=to_none)
            return loss

        return {"model": model, "optimizer": optimizer}, step, lambda k: (batches[k % 3], k % 4 == 3)

    pd.manual_seed(3)
    ran = []
    for jitted in (False, True):
        pd.manual_seed(3)
        env, step, batch = make()
        step = pd.jit(step) if jitted else step
        ran.append(([step(*batch(k)).item() for k in range(20)], [p.detach() for p in env["model"].parameters()], step))
    assert ran[0][0] == ran[1][0] and same(ran[0][1], ran[1][1])
    assert ran[1][2].jit.replays >= 13


@pytest.mark.parametrize("to_none", [True, False])
def test_clipped_gradients(to_none):
    def make():
        model = mlp()
        optimizer = pd.optim.Adam(model.parameters(), lr=0.01)
        batches = [pd.randn(5, 6) for _ in range(3)]

        def step(x):
            optimizer.zero_grad(set_to_none=to_none)
            loss = (model(x) ** 2).mean()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            return loss, {"norm": norm}

        return {"model": model, "optimizer": optimizer}, lambda x: tuple([step(x)[0]]), lambda k: (batches[k % 3],)

    jit, _ = both(make)
    assert jit.replays >= 9


def test_averaged_weights():
    def make():
        model = mlp()
        average = pd.optim.swa_utils.AveragedModel(model, multi_avg_fn=pd.optim.swa_utils.get_ema_multi_avg_fn(0.9))
        optimizer = pd.optim.SGD(model.parameters(), lr=0.1)
        x = pd.randn(5, 6)

        def step(x):
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            average.update_parameters(model)
            return loss

        return {"model": average, "optimizer": optimizer}, step, lambda k: (x,)

    ran = []
    for jitted in (False, True):
        pd.manual_seed(3)
        env, step, batch = make()
        step = pd.jit(step) if jitted else step
        ran.append(([step(*batch(k)).item() for k in range(12)], env["model"].state_dict()))
    assert ran[0][0] == ran[1][0]
    assert all(same(a, b) for a, b in zip(ran[0][1].values(), ran[1][1].values()))
    assert step.jit.replays >= 10


def test_tied_weights_and_frozen_layers():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.into, self.out = nn.Linear(6, 6), nn.Linear(6, 6)
            self.out.weight = self.into.weight
            self.frozen = nn.Linear(6, 6)
            self.frozen.weight.requires_grad_(False)

        def forward(self, x):
            return self.out(pd.tanh(self.frozen(self.into(x))))

    pd.manual_seed(3)
    ran = []
    for jitted in (False, True):
        pd.manual_seed(3)
        model = Tied()
        optimizer = pd.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
        x = pd.randn(4, 6)

        def step(x):
            optimizer.zero_grad()
            loss = (model(x) ** 2).sum()
            loss.backward()
            optimizer.step()
            return loss

        step = pd.jit(step) if jitted else step
        losses = []
        for k in range(10):
            if k == 5:
                model.frozen.weight.requires_grad_(True)
            losses.append(step(x).item())
        ran.append((losses, list(model.parameters()), [p.grad for p in model.parameters()]))
    assert ran[0][0] == ran[1][0] and same(ran[0][1], ran[1][1])
    for a, b in zip(ran[0][2], ran[1][2]):
        assert same(a, b)


def test_states_loaded_between_calls():
    saved = {}

    def turn(k, env):
        if k == 4:
            saved["model"] = copy.deepcopy(env["model"].state_dict())
            saved["optimizer"] = copy.deepcopy(env["optimizer"].state_dict())
        if k == 8:
            env["model"].load_state_dict(saved["model"])
            env["optimizer"].load_state_dict(saved["optimizer"])

    jit, _ = both(trainer(mlp, OPTIMIZERS["adam"]), each=turn)
    assert jit.replays >= 8


def test_training_and_evaluation():
    def net():
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))

    def turn(k, env):
        env["model"].train(k % 4 < 2)

    jit, _ = both(trainer(net, OPTIMIZERS["adam"]), each=turn, steps=16)
    assert jit.traces <= 4 and jit.replays >= 12


def test_a_new_batch_size_is_a_new_trace():
    def make():
        model = mlp()
        optimizer = pd.optim.Adam(model.parameters(), lr=0.01)
        batches = {n: pd.randn(n, 6) for n in (3, 5)}

        def step(x):
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        return {"model": model, "optimizer": optimizer}, step, lambda k: (batches[5 if k % 3 else 3],)

    jit, _ = both(make)
    assert jit.traces == 3  # the first made the optimiser's state


def test_what_products_read_is_computed_once():
    """It lies in memory for the forward pass, so that the backward pass need not compute it; unless memory is short."""

    def loss(x, shift, w):
        return ((x - shift) @ w).exp().sum()

    x, shift, w = pd.randn(64, 8), pd.randn(8, requires_grad=True), pd.randn(8, 8, requires_grad=True)

    def differences(f):
        f(x, shift, w).backward()  # planned
        with pd.profiler.profile() as p:
            f(x, shift, w).backward()
        return sum(e.ops.count("sub") for e in p.events if e.kind == "kernel" and tuple(e.shape) == (64, 8))

    assert differences(pd.jit(loss)) == 1
    with pd.memory_limit("1GB"):
        assert differences(pd.jit(loss)) == 2


def test_a_replay_plans_and_records_nothing():
    env, step, batch = trainer(mlp, OPTIMIZERS["adam"])()
    step = pd.jit(step)
    for k in range(5):
        step(*batch(k))
    before, kernels, jit = _C.exec_stats(), _C.kernel_stats()["kernels"], step.jit.traces
    gc.collect()
    nodes = _C.pending()["nodes"]
    for k in range(5):
        step(*batch(k))
        assert _C.pending()["nodes"] == nodes
    after = _C.exec_stats()
    assert after["plans"] == before["plans"] and after["traces"] == before["traces"]
    assert after["replays"] == before["replays"] + 5
    assert _C.kernel_stats()["kernels"] == kernels and step.jit.traces == jit


def test_a_long_run_holds_its_level(device):
    env, step, batch = trainer(mlp, OPTIMIZERS["adam"])()
    step = pd.jit(step)
    levels = []
    for k in range(60):
        step(*batch(k))
        if k % 20 == 19:
            stats = _C.memory_stats(device)
            levels.append((stats["live"], stats["live_blocks"], _C.pending()["nodes"]))
    assert levels[1] == levels[2]


def test_the_loss_cannot_be_differentiated_twice():
    env, step, batch = trainer(mlp, OPTIMIZERS["sgd"])()
    jitted = pd.jit(step)
    for _ in range(3):
        loss = jitted(*batch(0))
        assert loss.requires_grad
        with pytest.raises(RuntimeError, match="freed"):
            loss.backward()


def test_a_scaler_says_that_it_needs_values():
    model = mlp()
    optimizer = pd.optim.SGD(model.parameters(), lr=0.1)
    scaler = pd.amp.GradScaler()

    @pd.jit
    def step(x):
        optimizer.zero_grad()
        scaler.scale((model(x) ** 2).mean()).backward()
        scaler.step(optimizer)
        scaler.update()

    with pytest.raises(RuntimeError, match="jit"):
        step(pd.ones(2, 6))


def test_autocast_inside_and_outside():
    def make():
        model = mlp()
        optimizer = pd.optim.SGD(model.parameters(), lr=0.1)
        x = pd.randn(5, 6)
        kind = x.device.type

        def step(x):
            optimizer.zero_grad()
            with pd.autocast(kind):
                loss = F.mse_loss(model(x).float(), pd.zeros(5, 3))
            loss.backward()
            optimizer.step()
            return loss

        return {"model": model, "optimizer": optimizer}, step, lambda k: (x,)

    jit, _ = both(make)
    assert jit.traces == 1
