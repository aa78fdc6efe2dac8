"""A plan that runs again on the CPU: small steps are written out (csrc/exec/cpu_replay.h), to the same bits."""

import bit_programs
import numpy as np
import pytest
from oracle import same_bits

import pydiff as pd

pytestmark = pytest.mark.usefixtures("on_the_cpu")


@pytest.fixture
def on_the_cpu(device):
    if device != "cpu":
        pytest.skip("the CPU's")


@pytest.fixture(params=["off", "blocking"])
def jit(request):
    before = pd._C.jit_mode()
    pd._C.set_jit_mode(request.param)
    yield request.param
    pd._C.set_jit_mode(before)


def runs(f, times=4):
    """The results of f as arrays, each time; the first makes the plans, the others find them."""
    out = []
    for turn in range(times):
        before = pd._C.exec_stats()["plans"]
        out.append([np.array(y.detach().numpy()) for y in f()])
        assert turn == 0 or pd._C.exec_stats()["plans"] == before
    return out


def all_same(results):
    first, *others = results
    for other in others:
        for a, b in zip(first, other, strict=True):
            same_bits(b, a)
    return first


@pytest.mark.parametrize(
    "program", [bit_programs.layers, bit_programs.chains, bit_programs.second_order], ids=lambda f: f.__name__
)
def test_programs(program, jit):
    def f():
        return [value for _, value in program(np.random.default_rng(3), False)]

    all_same([[bit_programs.array(y) for y in f()] for _ in range(3)])


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int16"])
def test_parts_and_their_cotangents(dtype, jit):
    """Padded operands: what the cotangents of slices are; parts joined: short concatenations."""
    rng = np.random.default_rng(0)
    a, b = (pd.tensor(rng.integers(-9, 9, (3, 14)).astype(dtype)) for _ in range(2))

    def f():
        joined = pd.cat([a, b, a], 1) * 2
        padded = sum(pd.nn.functional.pad(v[0], (k, 9 - k)) for k, v in enumerate([a, b, a]))
        return [joined, pd.cat([a[:, 3:5], b, b[:, :0]], 1), pd.stack([a, b]), padded, pd.cat([joined, joined + 1])]

    joined, parts, stacked, padded, _ = all_same(runs(f))
    x, y = a.numpy(), b.numpy()
    np.testing.assert_array_equal(joined, np.concatenate([x, y, x], 1) * 2)
    np.testing.assert_array_equal(parts, np.concatenate([x[:, 3:5], y], 1))
    np.testing.assert_array_equal(stacked, np.stack([x, y]))
    np.testing.assert_array_equal(padded, sum(np.pad(v[0], (k, 9 - k)) for k, v in enumerate([x, y, x])))


def test_a_recurrence_with_gates(jit, monkeypatch):
    """ADBench's LSTM in little: concatenations, slices and their cotangents, against one operation at a time."""
    rng = np.random.default_rng(1)
    w, bias, text = (pd.tensor(rng.standard_normal(s)) for s in ((56,), (56,), (6, 14)))
    w.requires_grad_(), bias.requires_grad_()

    def f():
        hidden = cell = pd.zeros(14, dtype=pd.float64)
        loss = 0.0
        for x in text:
            gates = pd.cat([x, hidden, x, hidden]) * w + bias
            cell = cell * gates[:14].sigmoid() + gates[14:28].sigmoid() * gates[42:].tanh()
            hidden = gates[28:42].sigmoid() * cell.tanh()
            loss = loss + (x * (hidden - (2 + hidden.exp().sum()).log())).sum()
        return [loss, *pd.autograd.grad(loss, [w, bias])]

    fused = all_same(runs(f))
    monkeypatch.setenv("PYDIFF_FUSE", "off")
    for a, b in zip(fused, f(), strict=True):
        same_bits(a, b.detach().numpy())


def test_other_numbers_and_other_memory(jit):
    """Addresses and Python's numbers are of the run, not of the plan."""
    for k in range(4):
        x = pd.arange(10 + 0 * k, dtype=pd.float32) + k
        y = pd.cat([x * (k + 0.5), x[2:7] - k]).exp2()
        base = np.arange(10, dtype=np.float32) + np.float32(k)
        np.testing.assert_allclose(y.numpy(), np.exp2(np.concatenate([base * (k + 0.5), base[2:7] - k])), rtol=1e-6)


def test_an_error_in_the_middle_of_a_replay(jit):
    x = pd.arange(12, dtype=pd.float32)

    def f(at):
        return ((x * 2).index_select(0, pd.tensor(at)) + 1).exp().sum()

    good = [f([0, 3]).item() for _ in range(3)]
    assert len(set(good)) == 1
    with pytest.raises(IndexError, match=r"\] .*out of range"):
        f([0, 77]).item()
    assert f([0, 3]).item() == good[0]


def test_a_profile_sees_the_steps_of_a_plan_that_was_replayed(jit):
    x = pd.arange(12, dtype=pd.float32)

    def f():
        return (pd.cat([x.sin(), x]) * 2).sum().item()

    seen = {f() for _ in range(3)}
    with pd.profiler.profile() as p:
        seen.add(f())
    assert len(seen) == 1 and any("sin" in str(row) for row in p.table().splitlines())


def test_counters_do_not_depend_on_the_replay(jit):
    x = pd.arange(12, dtype=pd.float32)
    x.numpy()
    counts = []
    for _ in range(4):
        before = pd._C.exec_stats()
        ((pd.cat([x.sin(), x]) * 2).sum() + x.max()).item()
        after = pd._C.exec_stats()
        counts.append({k: after[k] - before[k] for k in ("kernels", "natives", "instructions")})
    assert counts[0]["kernels"] and counts[0]["natives"] and all(c == counts[0] for c in counts)
