"""memory_limit: plans that compute values again rather than keep them have the same bits, need what they say, and say by how
much they cannot. docs/MEMORY.md has the rules."""

import gc
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from oracle import array

import pydiff as pd
from pydiff import nn

F = nn.functional


@pytest.fixture(autouse=True)
def no_limit_before_and_after():
    gc.collect()  # tapes of earlier tests
    pd.synchronize()
    was = pd._C.set_memory_limit(0)
    yield
    pd._C.set_memory_limit(was)


def plan(*tensors):
    """Of the plan that the tensors would be computed by: peak, without the limit, values computed again."""
    return pd._C.plan_memory(list(tensors))


def made(since=None):
    stats = pd._C.exec_stats()
    now = {name: stats[name] for name in ("plans", "recomputed")}
    return {name: n - since[name] for name, n in now.items()} if since else now


def mlp(depth=24, width=32, drop=0.0, activation=nn.GELU):
    pd.manual_seed(3)
    layers = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), activation()] + [nn.Dropout(drop)] * bool(drop)
    return nn.Sequential(*layers)


def gradients(model, *x):
    """Loss and gradients of a step, pending."""
    for p in model.parameters():
        p.grad = None
    pd.synchronize()
    pd.manual_seed(5)
    loss = (model(*x) ** 2).mean()
    loss.backward()
    return [loss, *(p.grad for p in model.parameters())]


def bits(tensors):
    """Of all of them, computed by one plan."""
    tensors = list(tensors)
    pd._C.evaluate(tensors)
    return [array(t).tobytes() for t in tensors]


def same_under_limits(build, shares=(0.8, 0.6, 0.45)):
    """What `build` gives, pending, at shares of its plan's peak. The shares that fitted, with the values computed again."""
    pd.synchronize()  # what the program was given
    results = build()
    whole = plan(*results)["peak"]
    expected = bits(results)
    fitted = {}
    for share in shares:
        results = build()
        with pd.memory_limit(int(share * whole)):
            try:
                found = plan(*results)
            except MemoryError:
                continue
            assert found["peak"] <= share * whole and found["unlimited"] == whole
            assert bits(results) == expected, share
        fitted[share] = found["recomputed"]
    return fitted


# ---- it fits, with the same bits


def test_a_deep_network_needs_less_than_half():
    model, x = mlp(), pd.randn(2048, 32)
    results = gradients(model, x)
    whole = plan(*results)["peak"]
    expected = bits(results)
    for share in (0.5, 0.35, 0.25):
        results, before = gradients(model, x), made()
        with pd.memory_limit(int(share * whole)):
            found = plan(*results)
            assert bits(results) == expected
        assert found["peak"] <= share * whole and found["unlimited"] == whole
        assert 0 < found["recomputed"] <= made(before)["recomputed"]


def test_the_allocator_agrees(device):
    model, x = mlp(), pd.randn(4096, 32)
    limit = plan(*gradients(model, x))["peak"] // 2

    def taken():
        results = gradients(model, x)
        found = plan(*results)
        before = pd._C.memory_stats(device)["live"]
        pd._C.reset_peak(device)
        bits(results)
        return pd._C.memory_stats(device)["peak"] - before, found

    with pd.memory_limit(limit):
        least, limited = taken()  # first: the memory of temporaries is kept from plan to plan
    most, unlimited = taken()
    assert unlimited["peak"] > 2 * limited["peak"] - 1000
    operands = array(x).nbytes
    # Products take some memory of their own, and blocks are rounded up.
    assert least < limited["peak"] - operands + 2_000_000
    if device == "cpu":
        assert most > least + (unlimited["peak"] - limited["peak"]) // 2


@pytest.mark.parametrize("drop", [0.0, 0.3])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Tanh])
def test_networks(activation, drop):
    model, x = mlp(20, 24, drop, activation), pd.randn(1024, 24)
    fitted = same_under_limits(lambda: gradients(model, x), (0.7, 0.5, 0.35))
    assert len(fitted) == 3 and fitted[0.35] > fitted[0.5] > 0, fitted  # another order may do for the first


def test_draws_go_on_as_without():
    """A mask that is drawn again is the same mask, and takes nothing from the generator."""
    x = pd.randn(64, 1000)

    def step():
        pd.manual_seed(11)
        h, kept = x.detach().requires_grad_(), []
        y = h
        for _ in range(12):
            y = F.dropout(pd.tanh(y - y.mean(0)), 0.5)
            kept.append(y.sum())
        g = pd.autograd.grad((y * y).sum(), h)[0]
        return [g, *kept, pd.rand(3)]

    fitted = same_under_limits(step, (0.7, 0.5))
    assert fitted and all(fitted.values())


def test_chains_with_sums_between():
    x = pd.randn(300, 200)

    def step():
        h = x.detach().requires_grad_()
        y = h
        for k in range(30):
            y = (y - y.mean(0)).tanh() * (1 + 0.01 * k) + y.softmax(1)
        return [y.sum(), *pd.autograd.grad(y.sum(), h)]

    fitted = same_under_limits(step, (0.7, 0.5, 0.3))
    assert len(fitted) == 3 and all(fitted.values())


def test_one_long_chain():
    """Elementwise work alone is one kernel, or a few, which a limit may cut."""
    x = pd.randn(100_000)

    def step():
        h = x.detach().requires_grad_()
        y = h
        for k in range(400):
            y = (y * 1.01 + 0.1 * k).sin()
        return [y.sum(), *pd.autograd.grad(y.sum(), h)]

    assert 0.8 in same_under_limits(step, (0.99, 0.8))


def test_attention_and_norms():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
            self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
            self.up, self.down = nn.Linear(32, 128), nn.Linear(128, 32)

        def forward(self, x):
            batch, tokens, width = x.shape
            q, k, v = self.qkv(self.norm1(x)).view(batch, tokens, 3, 4, 8).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
            return x + self.down(F.gelu(self.up(self.norm2(x))))

    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.blocks = nn.Embedding(50, 32), nn.Sequential(*(Block() for _ in range(4)))

        def forward(self, text):
            return self.blocks(self.words(text))

    pd.manual_seed(0)
    model, text = Words(), pd.randint(0, 50, (16, 32))
    fitted = same_under_limits(lambda: gradients(model, text), (0.8, 0.6, 0.4))
    assert len(fitted) == 3 and fitted[0.4] > fitted[0.6] > 0, fitted  # another order may do for the first


def test_convolutions_and_batch_norm():
    def layer(i, o):
        return [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU()]

    pd.manual_seed(0)
    model = nn.Sequential(
        *layer(3, 8), *layer(8, 8), nn.MaxPool2d(2), *layer(8, 16), *layer(16, 16), nn.Flatten(), nn.Linear(1024, 4)
    )
    model.eval()  # running statistics would change from step to step
    x = pd.randn(8, 3, 16, 16)
    assert same_under_limits(lambda: gradients(model, x), (0.9, 0.75, 0.6))


def test_optimisers_step():
    """The update of all weights in one launch reads what the rest of the plan made."""
    x = pd.randn(2048, 16)

    def trained(limit):
        model = mlp(20, 16)
        optimizer = pd.optim.AdamW(model.parameters(), lr=1e-2)
        with pd.memory_limit(limit):
            for _ in range(4):
                optimizer.zero_grad()
                (model(x) ** 2).mean().backward()
                optimizer.step()
            pd.synchronize()
        return bits(model.parameters())

    expected, before = trained(None), made()
    assert trained("2MB") == expected
    assert made(before)["recomputed"] > 0


def test_every_operation_alone(monkeypatch):
    monkeypatch.setenv("PYDIFF_FUSE", "off")
    pd._C.clear_plans()
    model, x = mlp(6, 16), pd.randn(512, 16)
    assert len(same_under_limits(lambda: gradients(model, x), (0.8, 0.65))) == 2
    monkeypatch.undo()
    pd._C.clear_plans()


OPERATIONS = [
    lambda a, b: pd.tanh(a + b),
    lambda a, b: a - b.mean(1, keepdim=True),
    lambda a, b: a @ b.mT @ b / 36,
    lambda a, b: a.softmax(0) * b,
    lambda a, b: pd.cat([a[:12], b[12:]]),
    lambda a, b: a.flip(0).T.reshape(24, 36) + b,
    lambda a, b: F.dropout(a, 0.2) + b,
    lambda a, b: a.cumsum(1) * 0.1,
    lambda a, b: pd.where(a > b, a, b.sin()),
    lambda a, b: a.topk(36, 1).values - b,
    lambda a, b: a[:, [3, 1, 2] * 12] * 0.5,
    lambda a, b: pd.maximum(a, b.amax(0)),
]


@pytest.mark.parametrize("number", range(12))
def test_random_programs(rng, number):
    """Programs with many readers of a value, views, several results and draws."""

    def step():
        draw = np.random.default_rng([number, 7])
        pd.manual_seed(number)
        leaves = [pd.tensor(draw.standard_normal((24, 36)).astype(np.float32), requires_grad=True) for _ in range(2)]
        values = list(leaves)
        for _ in range(30):
            a, b = (values[-1 - min(int(draw.geometric(0.3)) - 1, len(values) - 1)] for _ in range(2))
            values.append(OPERATIONS[int(draw.integers(len(OPERATIONS)))](a, b))
        kept = [values[int(k)] for k in draw.integers(2, len(values), 3)]
        loss = sum((v * v).mean() for v in values[-4:])
        return [loss, *kept, kept[0].view(-1), *(g for g in pd.autograd.grad(loss, leaves, allow_unused=True) if g is not None)]

    fitted = same_under_limits(step, (0.95, 0.9, 0.8, 0.7, 0.6, 0.5))
    assert fitted


# ---- it does not


def test_what_cannot_be_met_says_by_how_much():
    model, x = mlp(20, 16), pd.randn(1024, 16)
    expected = bits(gradients(model, x))
    results = gradients(model, x)
    with pd.memory_limit(150_000):
        with pytest.raises(MemoryError) as failed:
            array(results[0])
        text = str(failed.value)
        found = re.fullmatch(
            r"\[memory_limit\] a plan does not fit; got a peak of ([\d.]+) kB at the least, ([\d.]+) kB over the limit of 150 kB; "
            r"try a smaller batch, or pydiff.memory_limit\((\d+)\)",
            text,
        )
        assert found, text
        least, over, advice = (float(n) for n in found.groups())
        assert abs(least - over - 150) < 1.01 and abs(least * 1000 - advice) < 500 and over > 0
        with pytest.raises(MemoryError, match="does not fit"):  # and again
            array(results[1])
    # Nothing is lost: the advice is enough, and without a limit too.
    with pd.memory_limit(int(advice)):
        loss = bits(results[:1])
    assert loss == expected[:1]
    assert bits(results) == expected


def test_nothing_runs_before_it_is_said():
    x = pd.ones(1000)
    y, before = (x * 2).cumsum(0), pd._C.exec_stats()
    with pd.memory_limit(5000), pytest.raises(MemoryError):
        array(y)
    after = pd._C.exec_stats()
    assert (after["kernels"], after["natives"]) == (before["kernels"], before["natives"])
    assert array(y)[-1] == 2000


def test_operands_and_results_count():
    x = pd.ones(1000)
    y = x + 1
    with pd.memory_limit(8000):
        assert array(y)[0] == 2
    y = x + 1
    with pd.memory_limit(7999), pytest.raises(MemoryError, match="8.00 kB at the least, 1 bytes over"):
        array(y)


def test_a_loss_that_is_read_before_its_gradient():
    """What the tape wants would be stored with the loss; under a limit it is computed again with the gradient."""
    model, x = mlp(24, 32), pd.randn(1024, 32)
    expected = bits(gradients(model, x))
    whole = plan(*gradients(model, x))["peak"]
    pd.manual_seed(5)
    for p in model.parameters():
        p.grad = None
    with pd.memory_limit(whole // 2):
        loss = (model(x) ** 2).mean()
        read = array(loss).tobytes()
        loss.backward()
        assert [read, *bits(p.grad for p in model.parameters())] == expected


# ---- the switch


@pytest.mark.parametrize(
    "text, size",
    [("2GB", 2 * 10**9), ("512MB", 512 * 10**6), ("1.5GiB", 3 * 2**29), (" 3 kb ", 3000), ("1TiB", 2**40), ("7", 7), ("8B", 8),
     ("2g", 2 * 10**9), (".5MB", 500_000), (12345, 12345), (np.int64(99), 99), (None, 0)],
)  # fmt: skip
def test_sizes(text, size):
    pd.memory_limit(text)
    assert pd._C.set_memory_limit(0) == size


@pytest.mark.parametrize("bad", ["", "2 apples", "-3GB", "1e9", "GB", "2iB", "1.2.3MB", "2GBs", 0, -5, "0", 2**70, "9999999TB"])
def test_sizes_that_are_none(bad):
    pd.memory_limit("3MB")
    with pytest.raises(ValueError, match=r"^\[memory_limit\] .*; got .*; try "):
        pd.memory_limit(bad)
    assert pd._C.set_memory_limit(0) == 3_000_000


@pytest.mark.parametrize("bad", [2.5, True, ["2GB"], b"2GB"])
def test_types_that_are_none(bad):
    with pytest.raises(TypeError, match=r"^\[memory_limit\] .*; got .*; try "):
        pd.memory_limit(bad)


def test_it_nests_and_decorates():
    def now():
        limit = pd._C.set_memory_limit(0)
        pd._C.set_memory_limit(limit)
        return limit

    pd.memory_limit("4GB")
    with pd.memory_limit("3GB"):
        with pd.memory_limit(None):
            assert now() == 0
        assert now() == 3 * 10**9
        with pytest.raises(KeyError), pd.memory_limit(77):
            raise KeyError
        assert now() == 3 * 10**9
    assert now() == 4 * 10**9
    assert pd.memory_limit("1GB")(now)() == 10**9
    assert now() == 4 * 10**9
    pd.memory_limit(None)
    assert now() == 0


def test_plans_belong_to_their_limit():
    model, x = mlp(20, 16), pd.randn(512, 16)
    whole = plan(*gradients(model, x))["peak"]

    def run(limit):
        before = made()
        results = gradients(model, x)
        with pd.memory_limit(limit):
            bits(results)
        return made(before)

    limits = [None, whole // 2, None, whole // 2, whole * 2, None]
    pd._C.clear_plans()
    counts = [run(limit) for limit in limits]
    assert [c["recomputed"] > 0 for c in counts] == [False, True, False, False, False, False]
    assert [c["plans"] > 0 for c in counts] == [True, True, False, False, True, False]


def test_the_environment_sets_it():
    def child(value):
        code = "import pydiff as pd; print(pd._C.set_memory_limit(0))"
        home = os.path.dirname(os.path.dirname(pd.__file__))
        env = dict(os.environ, PYDIFF_MEMORY_LIMIT=value, PYTHONPATH=home)
        return subprocess.run([sys.executable, "-c", code], check=False, env=env, capture_output=True, text=True)

    assert child("1.5MB").stdout == "1500000\n"
    assert child("").stdout == "0\n"
    assert "[memory_limit] the size is not understood; got 'much'" in child("much").stderr


def test_pending_work_is_not_cut_short():
    """Without a limit what passes some bytes is computed at once, and kept; under one it stays in the plan."""
    x = pd.ones(1000)
    was = pd._C.set_pending_limits(20_000, 20_000)
    try:
        before = made()
        with pd.memory_limit("1GB"):
            y = x
            for _ in range(20):
                y = y + 1
            assert made(before)["plans"] == 0
        for _ in range(20):
            y = y + 1
        assert made(before)["plans"] > 0
    finally:
        pd._C.set_pending_limits(*was)


# ---- under jit, and told


def test_a_traced_function():
    def loss(x):
        y = x
        for _ in range(20):
            y = pd.tanh(y @ y.mT @ y / 64 + y)
        return (y * y).mean()

    x = pd.randn(64, 64)
    expected = array(pd.grad(loss)(x)).tobytes()
    traced = pd.jit(pd.grad(loss))
    assert array(traced(x)).tobytes() == expected
    before = made()
    with pd.memory_limit(400_000):
        assert array(traced(x)).tobytes() == expected
        assert array(traced(x)).tobytes() == expected
    assert made(before)["recomputed"] > 0 and made(before)["plans"] == 1
    assert array(traced(x)).tobytes() == expected
    with pd.memory_limit(40_000), pytest.raises(MemoryError, match=r"\[memory_limit\] a plan does not fit"):
        array(traced(x))
    assert array(traced(x)).tobytes() == expected
    fresh = pd.jit(pd.grad(loss))
    with pd.memory_limit(40_000), pytest.raises(MemoryError, match=r"\[memory_limit\] a plan does not fit"):
        array(fresh(x))
    with pd.memory_limit(400_000):
        assert array(fresh(x)).tobytes() == expected
    assert made(before)["plans"] == 2 or made(before)["recomputed"] > 0


def test_the_backward_pass_of_a_traced_function():
    """Made again, it ends where it began: at what the forward pass stored."""

    @pd.jit
    def loss(x, w):
        y = pd.tanh(x @ w)  # the backward pass reads the product and w, but not x
        return (y * y).mean()

    x, w = pd.randn(64, 64, requires_grad=True), pd.randn(64, 64)

    def gradient():
        x.grad = None
        loss(x, w).backward()
        return array(x.grad).tobytes()

    expected = gradient()
    for limit in (2_000_000, 1_500_000):
        with pd.memory_limit(limit):
            assert gradient() == expected
    assert gradient() == expected


def test_the_profiler_tells():
    model, x = mlp(20, 16), pd.randn(1024, 16)
    whole = plan(*gradients(model, x))["peak"]
    pd._C.clear_plans()
    with pd.memory_limit(whole // 2), pd.profiler.profile() as p:
        bits(gradients(model, x))
    names = [e.name for e in p.events if e.kind == "plan" and e.name != "plan"]
    assert names and re.fullmatch(r"plan of [\d.]+ [kM]B for [\d.]+ [kM]B, \d+ values computed again", names[0])
    assert names[0] in p.summary()
    assert not any(e.kind == "kernel" and not e.ops for e in p.events)  # steps of such plans are described too
