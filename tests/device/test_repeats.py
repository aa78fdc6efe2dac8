"""Repeated operations of a plan are computed once: the counters fall, and the bits stay those of PYDIFF_FUSE=off."""

import os
import subprocess
import sys

import numpy as np
import pytest
from oracle import same_bits

import pydiff as pd


def cost(f, *args):
    """Instructions, kernels and merged operations of the first evaluation of f(*args), and its results."""
    pd._C.clear_plans()
    before = pd._C.exec_stats()
    out = f(*args)
    pd._C.evaluate(list(out) if isinstance(out, tuple) else [out])
    after = pd._C.exec_stats()
    return {k: after[k] - before[k] for k in ("instructions", "kernels", "natives", "merged")}, out


def of(f, *args, monkeypatch):
    """What f costs, and its results, which are those without fusion to the bit."""
    spent, out = cost(f, *args)
    monkeypatch.setenv("PYDIFF_FUSE", "off")
    unfused, want = cost(f, *args)
    monkeypatch.delenv("PYDIFF_FUSE")
    assert unfused["merged"] == 0
    for a, b in zip(out if isinstance(out, tuple) else (out,), want if isinstance(want, tuple) else (want,), strict=True):
        same_bits(a.numpy(), b.numpy())
    return spent


@pytest.fixture
def x(rng):
    return pd.tensor(rng.standard_normal((37, 65)).astype("float32"))


def test_a_function_of_one_operand(x, monkeypatch):
    once = of(lambda t: (lambda y: y * y)(t.tanh()), x, monkeypatch=monkeypatch)
    twice = of(lambda t: t.tanh() * t.tanh(), x, monkeypatch=monkeypatch)
    assert twice["merged"] == 1 and once["merged"] == 0
    assert twice["instructions"] == once["instructions"] and twice["kernels"] == once["kernels"]


def test_chains_with_reductions_and_movement(x, monkeypatch):
    def written_twice(t):
        return (t - t.amax(1, keepdim=True)).exp() / (t - t.amax(1, keepdim=True)).exp().sum(1, keepdim=True)

    def written_once(t):
        e = (t - t.amax(1, keepdim=True)).exp()
        return e / e.sum(1, keepdim=True)

    with pd.stable_forms(False):
        twice, once = of(written_twice, x, monkeypatch=monkeypatch), of(written_once, x, monkeypatch=monkeypatch)
    assert twice["merged"] >= 3 and twice["instructions"] == once["instructions"] and twice["kernels"] == once["kernels"]
    moved = of(lambda t: t.T.exp() + t.T.exp(), x, monkeypatch=monkeypatch)
    assert moved["merged"] >= 1


def test_products_and_indices_are_computed_once(x, monkeypatch):
    index = pd.tensor([3, 1, 2])
    spent = of(lambda t: (t @ t.T) * (t @ t.T), x, monkeypatch=monkeypatch)
    assert spent["merged"] >= 1
    spent = of(lambda t: t[index] + t[index], x, monkeypatch=monkeypatch)
    assert spent["merged"] >= 1


def test_both_results_may_be_kept(x, monkeypatch):
    def f(t):
        a, b = t.tanh(), t.tanh()
        return a, b, a + b

    spent = of(f, x, monkeypatch=monkeypatch)
    assert spent["merged"] == 1
    a, b, _ = f(x)
    pd._C.evaluate([a, b])
    kept = b.numpy().copy()
    a += 1
    a[0] = 0
    same_bits(b.numpy(), kept)  # what is written to one of them is not the other's
    a, b = x.sum(0), x.sum(0)
    pd._C.evaluate([a, b])
    assert a.tolist() == b.tolist()
    a, b = x @ x.T, x @ x.T
    pd._C.evaluate([a, b])
    assert a.tolist() == b.tolist()


def test_numbers_of_the_user_are_arguments(x):
    f = lambda a, b: x * a + x * b  # noqa: E731
    spent, _ = cost(f, 2.0, 2.0)
    assert spent["merged"] == 0
    plans = pd._C.exec_stats()["plans"]
    f(2.0, 3.0).numpy(), f(3.0, 3.0).numpy(), f(1.0, 0.0).numpy()
    assert pd._C.exec_stats()["plans"] == plans
    assert f(2.0, 3.0).tolist() == (x.numpy() * np.float32(2) + x.numpy() * np.float32(3)).tolist()


def test_numbers_of_formulas_are_one_where_they_are_equal(x):
    spent, out = cost(lambda t: t.mean(1) * t.mean(1), x)
    assert spent["merged"] == 2  # the sum, and the quotient by the count
    same_bits(out.numpy(), (x.mean(1) ** 2).numpy())


def test_draws_are_merged_only_where_they_are_one(monkeypatch):
    pd.manual_seed(3)
    a, b = pd.rand(1000), pd.rand(1000)
    pd._C.evaluate([a, b])
    assert a.tolist() != b.tolist()
    spent, _ = cost(lambda: pd.rand(50) + pd.rand(50))
    assert spent["merged"] <= 1  # the index of an element
    x = pd.nn.functional.dropout(pd.ones(1000), 0.5)
    y = pd.nn.functional.dropout(pd.ones(1000), 0.5)
    assert x.tolist() != y.tolist()


def test_a_custom_operation_is_called_as_often_as_it_is_written(x):
    calls = []

    if pd.get_default_device().type != "cpu":
        pytest.skip("a function of NumPy arrays")
    noisy = pd.custom_op("noisy", shape=lambda t: t, cpu=lambda t: calls.append(1) or t * 2)
    (noisy(x) + noisy(x)).numpy()
    assert len(calls) == 2


def test_gradients_have_the_bits_of_unfused_ones(rng, monkeypatch):
    a = rng.standard_normal((16, 24)).astype("float32")

    def f(t):
        t = t.detach().requires_grad_()
        n = (t - t.mean(1, keepdim=True)) / (((t - t.mean(1, keepdim=True)) ** 2).mean(1, keepdim=True) + 1e-5).sqrt()
        (n.tanh() * n.sigmoid() + n.tanh()).sum().backward()
        return n.detach(), t.grad

    spent = of(f, pd.tensor(a), monkeypatch=monkeypatch)
    assert spent["merged"] > 3


def test_debug_tells_what_is_computed_once():
    code = "import pydiff as pd\nx = pd.ones(3)\n(x.tanh() * x.tanh()).tolist()\n"
    env = {**os.environ, "PYDIFF_DEBUG": "3"}
    err = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stderr
    assert "computed once in a plan: tanh" in err
