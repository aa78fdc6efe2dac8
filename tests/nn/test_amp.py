"""Mixed precision: dtypes and gradients against PyTorch's autocast, and training with scaled losses."""

import copy
import pickle
import threading
import types

import numpy as np
import pytest

import pydiff as pd
from pydiff import nn, optim
from pydiff.amp import GradScaler, autocast, custom_bwd, custom_fwd, get_autocast_dtype, is_autocast_enabled

RNG = np.random.default_rng(0)


def array(*shape):
    return (RNG.random(shape) + 0.1).astype("float32")


X, W, B = array(3, 4), array(5, 4), array(5)
IMAGE, KERNEL, SQUARE = array(2, 3, 8, 8), array(4, 3, 3, 3), array(3, 3) + 3 * np.eye(3, dtype="float32")
TENSOR = array(5, 4, 2)

# name: a function of (library, its nn.functional, a maker of float32 tensors, the 16-bit (3, 4) tensor t)
PRODUCTS = {
    "matmul": lambda m, F, a, t: m.matmul(a(X), a(X).T),
    "@": lambda m, F, a, t: a(X) @ a(X).T,
    "method": lambda m, F, a, t: a(X).matmul(a(X).T),
    "of 16 bits": lambda m, F, a, t: t @ a(X).T,
    "float64": lambda m, F, a, t: a(X).double() @ a(X).T.double(),
    "mm": lambda m, F, a, t: m.mm(a(X), a(X).T),
    "mm method": lambda m, F, a, t: a(X).mm(a(X).T),
    "bmm": lambda m, F, a, t: m.bmm(a(IMAGE[0]), a(IMAGE[1])),
    "mv": lambda m, F, a, t: m.mv(a(X), a(X[0])),
    "dot": lambda m, F, a, t: m.dot(a(X[0]), a(X[1])),
    "vdot": lambda m, F, a, t: m.vdot(a(X[0]), a(X[1])),
    "inner": lambda m, F, a, t: m.inner(a(X), a(X)),
    "outer": lambda m, F, a, t: m.outer(a(X[0]), a(X[0])),
    "addmm": lambda m, F, a, t: m.addmm(a(SQUARE), a(X), a(X).T),
    "baddbmm": lambda m, F, a, t: m.baddbmm(a(IMAGE[0]), a(IMAGE[0]), a(IMAGE[1])),
    "addbmm": lambda m, F, a, t: m.addbmm(a(IMAGE[0, 0]), a(IMAGE[0]), a(IMAGE[1])),
    "addmv": lambda m, F, a, t: m.addmv(a(X[:, 0]), a(X), a(X[0])),
    "addr": lambda m, F, a, t: m.addr(a(X[:3, :3]), a(X[:, 0]), a(X[:, 1])),
    "multi_dot": lambda m, F, a, t: m.linalg.multi_dot([a(X), a(X).T, a(X)]),
    "einsum": lambda m, F, a, t: m.einsum("ij,kj->ik", a(X), a(X)),
    "einsum of no sum": lambda m, F, a, t: m.einsum("i,j->ij", a(X[0]), a(X[1])),
    "einsum of three": lambda m, F, a, t: m.einsum("ij,kj,kl->il", [a(X), a(X), a(X)]),
    "inner of vectors": lambda m, F, a, t: m.inner(a(X[0]), a(X[1])),
    "einsum of one": lambda m, F, a, t: m.einsum("ij->i", a(X)),
    "tensordot": lambda m, F, a, t: m.tensordot(a(X), a(X).T, 1),
    "kron": lambda m, F, a, t: m.kron(a(X), a(X)),
    "matrix_power": lambda m, F, a, t: m.linalg.matrix_power(a(SQUARE), 3),
    "linear": lambda m, F, a, t: F.linear(a(X), a(W), a(B)),
    "linear of 16 bits": lambda m, F, a, t: F.linear(t, a(W), bias=a(B)),
    "bilinear": lambda m, F, a, t: F.bilinear(a(X), a(X[:, :2]), a(TENSOR)),
    "conv1d": lambda m, F, a, t: F.conv1d(a(IMAGE[:, :, 0]), a(KERNEL[:, :, 0])),
    "conv2d": lambda m, F, a, t: F.conv2d(a(IMAGE), a(KERNEL), a(B[:4])),
    "conv_transpose2d": lambda m, F, a, t: F.conv_transpose2d(a(IMAGE), a(KERNEL[:3, :2]), a(B[:2])),
    "attention": lambda m, F, a, t: F.scaled_dot_product_attention(a(IMAGE), a(IMAGE), a(IMAGE)),
}
OTHERS = {
    "exp": lambda m, F, a, t: t.exp(),
    "log": lambda m, F, a, t: m.log(t),
    "pow": lambda m, F, a, t: t**2,
    "sum": lambda m, F, a, t: t.sum(),
    "softmax": lambda m, F, a, t: F.softmax(t, 0),
    "log_softmax": lambda m, F, a, t: t.log_softmax(0),
    "cumsum": lambda m, F, a, t: t.cumsum(0),
    "prod": lambda m, F, a, t: t.prod(),
    "norm": lambda m, F, a, t: m.norm(t),
    "mean": lambda m, F, a, t: t.mean(),
    "trace": lambda m, F, a, t: m.trace(t),
    "cdist": lambda m, F, a, t: m.cdist(t, t),
    "layer_norm": lambda m, F, a, t: F.layer_norm(t, (4,)),
    "group_norm": lambda m, F, a, t: F.group_norm(t.reshape(1, 2, 6), 2),
    "mse_loss": lambda m, F, a, t: F.mse_loss(t, a(X)),
    "l1_loss": lambda m, F, a, t: F.l1_loss(t, t),
    "cross_entropy": lambda m, F, a, t: F.cross_entropy(t, m.tensor([0, 1, 2], device=t.device)),
    "nll_loss": lambda m, F, a, t: F.nll_loss(t, m.tensor([0, 1, 2], device=t.device)),
    "binary_cross_entropy": lambda m, F, a, t: F.binary_cross_entropy(t.sigmoid(), t.sigmoid()),
    "bce with logits": lambda m, F, a, t: F.binary_cross_entropy_with_logits(t, t),
    "kl_div": lambda m, F, a, t: F.kl_div(t, t, reduction="sum"),
    "huber_loss": lambda m, F, a, t: F.huber_loss(t, t),
    "poisson_nll_loss": lambda m, F, a, t: F.poisson_nll_loss(t, t),
    "soft_margin_loss": lambda m, F, a, t: F.soft_margin_loss(t, t),
    "triplet_margin_loss": lambda m, F, a, t: F.triplet_margin_loss(t, t, t),
    "avg_pool1d": lambda m, F, a, t: F.avg_pool1d(t.reshape(1, 3, 4), 2),
    "avg_pool3d": lambda m, F, a, t: F.avg_pool3d(t.reshape(1, 3, 2, 2), 2),
    "max_pool3d": lambda m, F, a, t: F.max_pool3d(t.reshape(1, 3, 2, 2), 2),
    "pad": lambda m, F, a, t: F.pad(t, (1, 1)),
    "reflected": lambda m, F, a, t: F.pad(t, (1, 1), mode="reflect"),
    "replicated": lambda m, F, a, t: F.pad(t, (1, 1), "replicate"),
    "cat": lambda m, F, a, t: m.cat([t, a(X)]),
    "stack": lambda m, F, a, t: m.stack([t, a(X)]),
    "+": lambda m, F, a, t: t + a(X),
    "relu": lambda m, F, a, t: F.relu(t),
    "gelu": lambda m, F, a, t: F.gelu(t),
    "inv": lambda m, F, a, t: m.linalg.inv(a(SQUARE).to(t.dtype)),
    "svdvals": lambda m, F, a, t: m.linalg.svdvals(t),
}
CASES = {**PRODUCTS, **OTHERS}
# PyTorch's list for CUDA, where it is another than the CPU's.
ON_CUDA = {
    "wide": "exp log pow sum softmax log_softmax cumsum norm layer_norm group_norm prod".split(),
    "low": ["mv", "addmv", "addr"],
    "kept": ["trace", "mean", "avg_pool3d", "max_pool3d", "reflected", "replicated", "+ of 16 bits"],
}


def name_of(dtype):
    return str(dtype).rpartition(".")[2]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("low", ["bfloat16", "float16"])
def test_dtypes_on_the_cpu(torch, case, low):
    if low == "float16" and case == "inv":
        pytest.skip("16-bit matrices are converted by the caller")
    run = CASES[case]
    with torch.autocast("cpu", dtype=getattr(torch, low)):
        half = torch.tensor(X).to(getattr(torch, low))
        expected = run(torch, torch.nn.functional, torch.tensor, half)
    with pd.autocast("cpu", dtype=getattr(pd, low)):
        half = pd.tensor(X, device="cpu").to(getattr(pd, low))
        got = run(pd, nn.functional, lambda v: pd.tensor(v, device="cpu"), half)
    assert name_of(got.dtype) == name_of(expected.dtype)
    scale = expected.float().abs().max().item()
    tolerance = 8 * 2.0 ** (-7 if low == "bfloat16" else -10) * max(scale, 1.0)
    np.testing.assert_allclose(got.float().numpy(), expected.float().numpy(), rtol=0, atol=tolerance)


@pytest.fixture
def cuda():
    """A CUDA device, or the stand-in; only dtypes are looked at, nothing runs."""
    try:
        pd.ones(1, device="cuda-host")
    except Exception as error:
        pytest.skip(str(error))
    return "cuda-host"


@pytest.mark.parametrize("what, case", [(what, case) for what, cases in ON_CUDA.items() for case in cases])
def test_dtypes_on_cuda(cuda, what, case):
    run = CASES.get(case, lambda m, F, a, t: t + t)
    half = pd.ones(3, 4, device=cuda).half()
    with pd.autocast("cuda"):
        got = run(pd, nn.functional, lambda v: pd.zeros(v.shape, device=cuda), half)
    with pd.autocast("cpu"):
        other = run(pd, nn.functional, lambda v: pd.zeros(v.shape, device=cuda), half)
    assert got.dtype == (pd.float32 if what == "wide" else pd.float16)
    assert other.dtype == (pd.float32 if what == "low" else pd.float16)


@pytest.mark.smoke
def test_nested_off_and_per_thread():
    x = pd.ones(2, 2, device="cpu")
    seen = []
    with autocast("cpu"):
        assert is_autocast_enabled("cpu") and not is_autocast_enabled() and get_autocast_dtype("cpu") == pd.bfloat16
        with autocast("cpu", enabled=False):
            assert (x @ x).dtype == pd.float32 and not is_autocast_enabled("cpu")
            with autocast("cpu", dtype=pd.float16):
                assert (x @ x).dtype == pd.float16
        assert (x @ x).dtype == pd.bfloat16
        thread = threading.Thread(target=lambda: seen.append((x @ x).dtype))
        thread.start()
        thread.join()
        with pytest.raises(KeyError), autocast("cpu", dtype=pd.float16):
            raise KeyError
        assert (x @ x).dtype == pd.bfloat16
        with pytest.raises(ValueError, match=r"^\[linear\] "):
            nn.functional.linear(x, pd.ones(3, 3, device="cpu"))
        assert (x @ x).dtype == pd.bfloat16  # a failed call leaves the switch on
    assert (x @ x).dtype == pd.float32 and seen == [pd.float32]
    assert get_autocast_dtype("cpu") == pd.bfloat16 and get_autocast_dtype("cuda") == pd.float16


def test_as_a_decorator():
    @autocast("cpu", dtype=pd.float16)
    def power(x, n):
        """Of a matrix."""
        return x if n == 1 else power(x, n - 1) @ x

    assert power(pd.ones(2, 2, device="cpu"), 3).dtype == pd.float16 and power.__doc__ == "Of a matrix."
    assert not is_autocast_enabled("cpu")


def test_wrong_arguments():
    with pytest.raises(RuntimeError, match=r"^\[autocast\] device_type is 'cpu' or 'cuda'; got 'tpu'; try "):
        autocast("tpu")
    with pytest.warns(UserWarning, match=r"^\[autocast\] it computes in 16-bit floats, so it is off; got .*float32; try "):
        off = autocast("cpu", dtype=pd.float32)
    with off:
        assert not is_autocast_enabled("cpu")


def test_arguments_of_rules_keep_their_place():
    x = pd.ones(2, 2, device="cpu")
    with autocast("cpu"):
        assert nn.functional.linear(weight=x, input=x).dtype == pd.bfloat16
        assert nn.functional.mse_loss(x.bfloat16(), target=x.bfloat16(), reduction="none").dtype == pd.float32
        assert pd.linalg.multi_dot((x, x, x)).dtype == pd.bfloat16


def network(library, rng):
    model = library.nn.Sequential(
        library.nn.Linear(4, 16), library.nn.Tanh(), library.nn.LayerNorm(16), library.nn.Linear(16, 3)
    )
    with library.no_grad():
        for p in model.parameters():
            p.copy_(library.tensor(rng.standard_normal(tuple(p.shape)).astype("float32") / 4))
    return model


def test_gradients_have_the_dtype_of_their_parameters(torch):
    x, y = RNG.standard_normal((8, 4)).astype("float32"), RNG.integers(0, 3, 8)
    grads = []
    for library, cast in ((pd, pd.autocast), (torch, torch.autocast)):
        model = network(library, np.random.default_rng(1)).to("cpu")
        device = {"device": "cpu"}
        with cast("cpu", dtype=library.bfloat16):
            out = model(library.tensor(x, **device))
            loss = library.nn.functional.cross_entropy(out, library.tensor(y, **device))
        assert name_of(out.dtype) == "bfloat16" and name_of(loss.dtype) == "float32"
        loss.backward()
        assert all(p.grad.dtype == p.dtype == library.float32 for p in model.parameters())
        grads.append([p.grad.numpy() for p in model.parameters()])
    for ours, theirs in zip(*grads):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=8 * 2.0**-8 * np.abs(theirs).max())


def fit(low, scaler=None, steps=60, inject=()):
    rng = np.random.default_rng(2)
    model = network(pd, rng).to("cpu")
    x = pd.tensor(rng.standard_normal((64, 4)).astype("float32"), device="cpu")
    y = (x[:, 0] > 0).to(pd.int64) + (x[:, 1] > 0).to(pd.int64)
    optimizer, losses = optim.Adam(model.parameters(), lr=0.03), []
    for step in range(steps):
        optimizer.zero_grad()
        with pd.autocast("cpu", dtype=low):
            loss = nn.functional.cross_entropy(model(x), y)
        if scaler is None:
            loss.backward()
            optimizer.step()
        else:
            scaler.scale(loss).backward()
            if step in inject:
                model[0].weight.grad[0, 0] = float("inf")
            before = [p.detach().clone() for p in model.parameters()]
            scaler.step(optimizer)
            scaler.update()
            changed = any(not np.array_equal(p.detach().numpy(), q.numpy()) for p, q in zip(model.parameters(), before))
            assert changed == (step not in inject)
        losses.append(loss.item())
    return losses


def test_training_in_bfloat16():
    losses = fit(pd.bfloat16)
    assert losses[-1] < 0.35 * losses[0]


def test_training_in_float16_skips_what_overflows():
    scaler = GradScaler("cpu", init_scale=1024.0, growth_interval=10)
    losses = fit(pd.float16, scaler, inject=(3, 30))
    assert losses[-1] < 0.35 * losses[0]
    # 1024: halved at 3, doubled after 13 and 23, halved at 30, doubled after 40, 50 and 60.
    assert scaler.get_scale() == 1024.0 / 2 * 4 / 2 * 4 and scaler.state_dict()["_growth_tracker"] == 9


GRADS = [(1.0, 2.0), (float("inf"), 1.0), (1.0, 1.0), (0.5, 0.5), (0.25, 1.0), (float("-inf"), 2.0), (1.0, 3.0), (2.0, 2.0)]


@pytest.mark.smoke
@pytest.mark.parametrize("clip", [False, True])
def test_the_scaler_does_as_pytorchs(torch, clip):
    history = []
    for library, make in ((pd, GradScaler), (torch, lambda *a, **k: torch.amp.GradScaler(*a, **k))):
        device = {"device": "cpu"}
        ps = [library.nn.Parameter(library.ones(2, **device)), library.nn.Parameter(library.ones((), **device).double())]
        optimizer = library.optim.SGD(ps, lr=0.5)
        scaler = make("cpu", init_scale=8.0, growth_factor=4.0, backoff_factor=0.25, growth_interval=2)
        seen = []
        for a, b in GRADS:
            optimizer.zero_grad()
            loss = (ps[0] * library.tensor([a, b], **device)).sum() + ps[1].float()
            scaler.scale(loss).backward()
            if clip:
                scaler.unscale_(optimizer)
                seen.append(ps[0].grad.tolist())
            scaler.step(optimizer)
            scaler.update()
            seen.append([*ps[0].tolist(), ps[1].item(), scaler.get_scale(), scaler.state_dict()["_growth_tracker"]])
        history.append((seen, scaler.state_dict()))
    assert history[0] == history[1]


def test_gradients_of_bfloat16_keep_their_dtype():
    p = nn.Parameter(pd.ones(3).bfloat16())
    optimizer, scaler = optim.SGD([p], lr=0.5), GradScaler("cpu", init_scale=3.0)
    scaler.scale((p * p).sum()).backward()
    grad = p.grad
    scaler.unscale_(optimizer)
    assert p.grad is grad and grad.dtype == pd.bfloat16 and grad.tolist() == [2.0] * 3


def test_lists_of_outputs_and_a_disabled_scaler():
    scaler, x = GradScaler("cpu", init_scale=4.0), pd.ones(1, device="cpu")
    nested = scaler.scale([x, (x.half(), x)])
    assert nested[0].item() == 4.0 and nested[1][0].item() == 4.0 and nested[1][0].dtype == pd.float16
    off = GradScaler(enabled=False)
    p = nn.Parameter(pd.ones(1))
    optimizer = optim.SGD([p], lr=0.5)
    off.scale(p.sum()).backward()
    off.unscale_(optimizer)
    off.step(optimizer)
    off.update()
    assert p.item() == 0.5 and off.get_scale() == 1.0 and off.state_dict() == {} and not off.is_enabled()


def step_with(grad, named):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    optimizer = optim.SGD(model.named_parameters() if named else model.parameters(), lr=0.5)
    for p in model.parameters():
        p.grad = pd.ones(p.shape)
    model[1].weight.grad = pd.tensor([[1.0, grad]])
    model[1].bias.grad = pd.tensor([grad])
    scaler = GradScaler("cpu")
    scaler.step(optimizer)
    return model, optimizer, scaler


@pytest.mark.smoke
@pytest.mark.parametrize("named", [True, False])
def test_a_nan_is_warned_of_once_with_the_first_parameter(named):
    first = r"'1.weight'" if named else "2"
    text = rf"^\[GradScaler\] a gradient is NaN, .*; got parameter {first} of shape \(1, 2\) first, 2 of 4 in all; try "
    with pytest.warns(RuntimeWarning, match=text):
        model, optimizer, scaler = step_with(float("nan"), named)
    before = model[0].weight.detach().numpy()
    scaler.update()
    scaler.step(optimizer)  # no second warning, which would be an error
    assert np.array_equal(before, model[0].weight.detach().numpy())
    step_with(float("inf"), named)  # an overflow is no news


def test_the_check_is_one_reduction_however_many_parameters():
    def kernels(count):
        params = [nn.Parameter(pd.ones(3 + i % 5)) for i in range(count)]
        optimizer, scaler = optim.SGD(params, lr=0.1), GradScaler("cpu")
        for _ in range(3):
            for p in params:
                p.grad = pd.ones(p.shape[0])
                p.grad.numpy()
            before = pd._C.exec_stats()
            scaler.step(optimizer)
            scaler.update()
            after = pd._C.exec_stats()
        return sum(after[key] - before[key] for key in ("kernels", "natives"))

    assert kernels(50) == kernels(2)


def test_calls_out_of_order_are_named():
    model, optimizer, scaler = step_with(1.0, False)
    with pytest.raises(RuntimeError, match=r"^\[step\] the step was made already .*; got a second call; try update\(\)"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"^\[unscale_\] the gradients were used by step already"):
        scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match=r"^\[GradScaler\] it is copied between iterations"):
        pickle.dumps(scaler)
    scaler.update()
    with pytest.raises(RuntimeError, match=r"^\[update\] no gradient was checked"):
        scaler.update()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match=r"^\[unscale_\] the gradients were divided already"):
        scaler.unscale_(optimizer)
    scaler.update(4.0)
    assert scaler.get_scale() == 4.0
    optimizer.zero_grad()
    with pytest.raises(RuntimeError, match=r"^\[step\] the optimiser has no gradients"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"^\[step\] a closure"):
        scaler.step(optimizer, closure=lambda: 1.0)
    with pytest.raises(ValueError, match=r"^\[scale\] outputs are tensors; got int; try "):
        scaler.scale(3)
    p = nn.Parameter(pd.ones(1).half())
    p.grad = pd.ones(1).half()
    with pytest.raises(ValueError, match=r"^\[unscale_\] gradients of float16 .*; got a parameter of float16; try "):
        scaler.unscale_(optim.SGD([p]))
    for options in ({"growth_factor": 1.0}, {"backoff_factor": 1.0}, {"init_scale": -1.0}):
        with pytest.raises(ValueError, match=r"^\[GradScaler\] .*; got .*; try "):
            GradScaler(**options)


def test_state_of_the_scaler(torch):
    theirs = torch.amp.GradScaler("cpu", init_scale=16.0, growth_interval=7)
    theirs.scale(torch.ones(1))
    ours = GradScaler("cpu")
    ours.load_state_dict(theirs.state_dict())
    assert ours.state_dict() == theirs.state_dict()
    assert copy.deepcopy(ours).state_dict() == pickle.loads(pickle.dumps(ours)).state_dict() == ours.state_dict()
    with pytest.raises(RuntimeError, match=r"^\[load_state_dict\] the state is that of a disabled scaler"):
        ours.load_state_dict({})


def test_custom_functions_choose_their_dtype():
    seen = []

    @custom_fwd(device_type="cpu", cast_inputs=pd.float32)
    def forward(ctx, x, n):
        seen.append((x.dtype, (x @ x).dtype, n))

    @custom_bwd(device_type="cpu")
    def backward(ctx, g):
        seen.append((g @ g).dtype)

    x, ctx = pd.ones(2, 2, device="cpu").bfloat16(), types.SimpleNamespace()
    with autocast("cpu"):
        forward(ctx, x, 3)
    backward(ctx, x.float())
    plain = custom_fwd(lambda ctx, x: (x @ x).dtype, device_type="cpu")
    with autocast("cpu"):
        assert plain(ctx, x.float()) == pd.bfloat16
    custom_bwd(backward, device_type="cpu")(ctx, x.float())
    assert seen == [(pd.float32, pd.float32, 3), pd.float32, pd.bfloat16]


def test_every_rule_is_of_a_public_function():
    from pydiff.amp import _rules

    places = (pd, nn.functional, pd.linalg, pd.Tensor)
    table = _rules._table()
    doors = {name for name in table for place in places if isinstance(getattr(place, name, None), pd._C.PublicFunction)}
    assert sorted(set(table) - doors) == []
