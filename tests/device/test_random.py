"""Distributions against SciPy's, their gradients, parameters and supports; generators and their states."""

import copy
import math
import pickle
import threading

import numpy as np
import pytest

import pydiff as pd
from pydiff import random

stats = pytest.importorskip("scipy.stats")
from scipy import special  # noqa: E402

N = 100_000
LEAST = 1e-4  # of a p-value: seeds are fixed, so a test that passes goes on to pass
FLOATS = ["float16", "bfloat16", "float32", "float64"]


def generator(seed=11):
    return pd.Generator().manual_seed(seed)


def drawn(f, *args, n=N, dtype=pd.float64, seed=11, **kwargs):
    x = f(*args, size=n, dtype=dtype, generator=generator(seed), **kwargs)
    assert x.dtype == dtype
    return (x.float() if dtype in (pd.float16, pd.bfloat16) else x).numpy().astype(np.float64)


# ---- distributions

CONTINUOUS = [
    (random.uniform, (-2.0, 3.0), stats.uniform(-2, 5)),
    (random.normal, (1.0, 2.0), stats.norm(1, 2)),
    (random.log_normal, (0.5, 0.75), stats.lognorm(0.75, scale=math.exp(0.5))),
    (random.exponential, (2.5,), stats.expon(scale=0.4)),
    (random.laplace, (1.0, 0.5), stats.laplace(1, 0.5)),
    (random.cauchy, (-1.0, 2.0), stats.cauchy(-1, 2)),
    *[(random.gamma, (a, 2.0), stats.gamma(a, scale=0.5)) for a in (0.1, 0.7, 1.0, 1.5, 30.0, 2000.0, 1e6)],
    *[(random.beta, (a, b), stats.beta(a, b)) for a, b in ((0.5, 0.5), (1.0, 3.0), (20.0, 0.3), (500.0, 700.0))],
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("f, args, truth", CONTINUOUS, ids=lambda v: getattr(v, "__name__", str(v) if isinstance(v, tuple) else ""))
def test_continuous_distributions(f, args, truth, dtype):
    x = drawn(f, *args, dtype=getattr(pd, dtype))
    if dtype == "float32" and args in ((1e6, 2.0), (20.0, 0.3)):
        pytest.skip("float32 has too few numbers for this test where the samples lie")
    assert stats.kstest(x, truth.cdf).pvalue > LEAST
    # the tails apart, where the test above sees little
    for p in (1e-3, 1 - 1e-3):
        beyond = (x < truth.ppf(p)).sum() if p < 0.5 else (x > truth.ppf(p)).sum()
        assert stats.binomtest(int(beyond), N, 1e-3).pvalue > LEAST, p


def chi_square(x, truth):
    """p-value of counts, in cells of at least 20 expected."""
    low, high = truth.ppf([1e-4, 1 - 1e-4])
    ends = np.unique(np.floor(np.linspace(low - 1, high, 50)))
    expected = np.diff(np.concatenate([[0], truth.cdf(ends), [1]])) * len(x)
    counts = np.histogram(x, np.concatenate([[-np.inf], ends + 0.5, [np.inf]]))[0]
    big = expected >= 20
    expected, counts = np.append(expected[big], expected[~big].sum()), np.append(counts[big], counts[~big].sum())
    if expected[-1] < 1:
        assert counts[-1] < 10
        expected, counts = expected[:-1] * counts[:-1].sum() / expected[:-1].sum(), counts[:-1]
    return stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue


COUNTS = [
    *[(random.poisson, (m,), stats.poisson(m)) for m in (0.01, 1.0, 9.9, 10.0, 35.0, 1e3, 1e6)],
    *[(random.binomial, (n, p), stats.binom(n, p)) for n, p in
      ((1, 0.3), (10, 0.5), (100, 0.02), (100, 0.98), (100, 0.4), (1000, 0.77), (10**6, 0.001), (10**7, 0.5))],
    *[(random.geometric, (p,), stats.geom(p)) for p in (0.9, 0.3, 0.001)],
]  # fmt: skip


@pytest.mark.parametrize("f, args, truth", COUNTS, ids=lambda v: getattr(v, "__name__", str(v) if isinstance(v, tuple) else ""))
def test_counts(f, args, truth):
    x = drawn(f, *args)
    assert (x == np.floor(x)).all()
    assert chi_square(x, truth) > LEAST
    error = truth.std() / math.sqrt(N)
    assert abs(x.mean() - truth.mean()) < 4 * error
    whole = f(*args, size=20, dtype=pd.int64, generator=generator())
    np.testing.assert_array_equal(whole.numpy(), x[:20])


def test_huge_counts():
    for x, mean, variance in (
        (drawn(random.poisson, 1e12), 1e12, 1e12),
        (drawn(random.binomial, 1e12, 0.3), 3e11, 2.1e11),
        (drawn(random.gamma, 1e14), 1e14, 1e14),
    ):
        assert stats.kstest((x - mean) / math.sqrt(variance), "norm").pvalue > LEAST


def test_dirichlet():
    a = np.array([0.3, 1.0, 4.0])
    x = random.dirichlet(pd.tensor(a), (N,), generator=generator()).numpy()
    assert x.shape == (N, 3) and np.abs(x.sum(1) - 1).max() < 1e-12
    for k in range(3):
        assert stats.kstest(x[:, k], stats.beta(a[k], a.sum() - a[k]).cdf).pvalue > LEAST
    covariance = -a[0] * a[2] / a.sum() ** 2 / (a.sum() + 1)
    assert abs(np.cov(x[:, 0], x[:, 2])[0, 1] - covariance) < 0.05 * abs(covariance)
    # so small that all shares but one would underflow: still a corner of the simplex, never 0 / 0
    corners = random.dirichlet(pd.full((4,), 1e-3), (1000,), generator=generator()).numpy()
    assert np.isfinite(corners).all() and (corners > 0).all() and np.abs(corners.sum(1) - 1).max() < 1e-6
    assert np.abs((corners > 0.99).mean(0) - 0.25).max() < 0.07


def test_bernoulli():
    for dtype in FLOATS:
        p = pd.tensor([0.0, 0.3, 1.0], dtype=getattr(pd, dtype)).expand((N, 3))
        x = pd.bernoulli(p, generator=generator())
        assert x.dtype == p.dtype
        mean = x.float().mean(0).tolist()
        assert mean[0] == 0 and mean[2] == 1
        assert stats.binomtest(round(mean[1] * N), N, float(p[0, 1])).pvalue > LEAST
    x = pd.zeros(N, dtype=pd.int64).bernoulli_(pd.tensor(0.3), generator=generator())
    assert abs(x.double().mean().item() - 0.3) < 0.01
    assert pd.bernoulli(pd.zeros(3), 1.0).tolist() == [1, 1, 1]


def test_multinomial():
    weights = np.array([0.0, 1.0, 3.0, 0.0, 6.0, 0.0])
    w = pd.tensor(weights)
    x = pd.multinomial(w, N, True, generator=generator()).numpy()
    used = weights > 0
    assert set(np.unique(x)) == set(np.flatnonzero(used))
    assert stats.chisquare(np.bincount(x, minlength=6)[used], weights[used] / weights.sum() * N).pvalue > LEAST
    # pairs without replacement: the first by weight, the second by the weights that are left
    pairs = pd.multinomial(w.expand((N, 6)), 2, generator=generator()).numpy()
    assert pairs.shape == (N, 2)
    expected = {(i, j): weights[i] / 10 * weights[j] / (10 - weights[i]) for i in (1, 2, 4) for j in (1, 2, 4) if i != j}
    counts = [((pairs == pair).all(1)).sum() for pair in expected]
    assert stats.chisquare(counts, np.array(list(expected.values())) * N).pvalue > LEAST
    assert pd.multinomial(pd.tensor([[1.0, 0.0], [0.0, 5.0]], dtype=pd.float16), 3, True).tolist() == [[0] * 3, [1] * 3]


def test_whole_numbers():
    for low, high in ((0, 7), (-5, 300), (-(1 << 20), 1 << 20)):
        x = pd.randint(low, high, (N,), generator=generator()).numpy()
        assert x.min() >= low and x.max() < high
        cells = np.histogram(x, np.linspace(low, high, min(high - low, 64) + 1))[0]
        widths = np.diff(np.ceil(np.linspace(low, high, min(high - low, 64) + 1)))
        assert stats.chisquare(cells, widths / widths.sum() * N).pvalue > LEAST
    # where the remainder of 63 bits would be far from uniform: the range is 3/4 of them
    x = pd.randint(0, 3 << 61, (N,), generator=generator()).numpy()
    assert stats.chisquare(np.histogram(x, np.linspace(0, 3 << 61, 13))[0]).pvalue > LEAST
    x = pd.randint(-(1 << 63), 1 << 63, (N,), generator=generator()).numpy()
    ones = ((x[:, None] >> np.arange(64)) & 1).mean(0)
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / math.sqrt(N)
    assert sorted(pd.randperm(1000, generator=generator()).tolist()) == list(range(1000))
    first = np.array([pd.randperm(5, generator=generator(k))[0].item() for k in range(2000)])
    assert stats.chisquare(np.bincount(first, minlength=5)).pvalue > LEAST


def test_random_in_place():
    assert set(pd.zeros(200, dtype=pd.bool).random_().tolist()) == {False, True}
    for name, low, high in (("uint8", 0, 255), ("int8", 0, 127), ("int16", 0, 32767), ("bfloat16", 0, 256)):
        x = pd.zeros(20000, dtype=getattr(pd, name)).random_(generator=generator())
        assert x.dtype == getattr(pd, name)
        x = x.double()
        assert low <= x.min().item() < 0.01 * high + 1 and 0.99 * high < x.max().item() <= high
    assert pd.zeros(300, dtype=pd.int64).random_(5).unique().tolist() == [0, 1, 2, 3, 4]
    assert pd.zeros(300, dtype=pd.int8).random_(-2, 1).unique().tolist() == [-2, -1, 0]
    assert pd.zeros(5, dtype=pd.int64).random_().max().item() > 1 << 50


IN_PLACE = {
    "uniform_": ((1.0, 2.0), stats.uniform(1, 1)),
    "normal_": ((1.0, 2.0), stats.norm(1, 2)),
    "exponential_": ((0.5,), stats.expon(scale=2)),
    "cauchy_": ((1.0, 2.0), stats.cauchy(1, 2)),
    "log_normal_": ((0.0, 0.5), stats.lognorm(0.5)),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place(name):
    args, truth = IN_PLACE[name]
    for dtype in FLOATS:
        x = pd.zeros(20, 1000, dtype=getattr(pd, dtype))
        assert getattr(x, name)(*args, generator=generator()) is x
        assert x.dtype == getattr(pd, dtype) and tuple(x.shape) == (20, 1000)
        if dtype.startswith("float") and dtype != "float16":
            assert stats.kstest(x.numpy().ravel(), truth.cdf).pvalue > LEAST
    with pytest.raises(TypeError, match=r"\[\w+\] samples are floating-point numbers; got .*int64; try"):
        getattr(pd.zeros(2, dtype=pd.int64), name)(*args)


# ---- supports


@pytest.mark.parametrize("dtype", FLOATS)
def test_nothing_leaves_the_support(dtype):
    dtype = getattr(pd, dtype)
    n = 1_000_000 if dtype == pd.float32 else 100_000
    u = pd.rand(n, dtype=dtype, generator=generator()).double()
    assert u.min().item() >= 0 and u.max().item() < 1
    u = random.uniform(1.0, 3.0, n, dtype=dtype, generator=generator()).double()
    assert u.min().item() >= 1 and u.max().item() < 3
    positive = [
        random.exponential(1.0, n, dtype=dtype, generator=generator()),
        random.exponential(6e4, n, dtype=dtype, generator=generator()),
        random.gamma(1e-3, 1.0, n, dtype=dtype, generator=generator()),
        random.gamma(5e4, 1e-2, n, dtype=dtype, generator=generator()),
        random.log_normal(0.0, 60.0, n, dtype=dtype, generator=generator()),
        random.geometric(1.0, n, dtype=dtype, generator=generator()),
        random.geometric(1e-3, n, dtype=dtype, generator=generator()),
    ]
    for k, x in enumerate(positive):
        x = x.double()
        assert x.min().item() > 0 and math.isfinite(x.max().item()), k
    for a, b in ((1e-3, 1e-3), (1e-3, 50.0), (50.0, 1e-3), (1.0, 1.0)):
        x = random.beta(a, b, n, dtype=dtype, generator=generator()).double()
        assert x.min().item() > 0 and x.max().item() < 1, (a, b)
    for x in (random.cauchy(0.0, 1e4, n, dtype=dtype, generator=generator()), random.laplace(0.0, 1.0, n, dtype=dtype)):
        assert math.isfinite(x.double().abs().max().item())
    counts = pd.poisson(pd.full((n,), 6.5e4, dtype=dtype), generator=generator()).double()
    assert math.isfinite(counts.max().item()) and counts.min().item() > 0
    assert not pd.poisson(pd.zeros(9, dtype=dtype)).any().item()
    ends = pd.binomial(pd.full((2,), 40.0, dtype=dtype), pd.tensor([0.0, 1.0], dtype=dtype))
    assert ends.dtype == dtype and ends.tolist() == [0, 40]
    assert pd.binomial(pd.zeros(3), pd.tensor(0.5)).tolist() == [0, 0, 0]


def test_small_shapes_are_exact_where_their_logarithm_is_all_that_is_left():
    x = drawn(random.gamma, 1e-3)
    # P(X < t) is t^a / Gamma(a + 1) there
    for t in (1e-300, 1e-200, 1e-50):
        p = t**1e-3 / math.gamma(1.001)
        assert stats.binomtest(int((x < t).sum()), N, p).pvalue > LEAST


# ---- parameters


def test_parameters_broadcast():
    a, b = pd.tensor([[0.5], [5.0]]), pd.tensor([1.0, 2.0, 4.0])
    assert tuple(random.gamma(a, b).shape) == (2, 3)
    x = random.gamma(a, b, (20000, 2, 3), generator=generator())
    np.testing.assert_allclose(x.mean(0).numpy(), (a / b).numpy(), rtol=0.05)
    assert tuple(random.cauchy(pd.zeros(3), 1.0, (4, 3)).shape) == (4, 3)
    assert tuple(pd.normal(pd.zeros(2, 1), pd.ones(3)).shape) == (2, 3)
    assert pd.poisson(pd.tensor(2)).dtype == pd.float32
    assert random.gamma(pd.tensor(2.0, dtype=pd.bfloat16)).dtype == pd.bfloat16
    assert tuple(random.gamma(pd.ones(0, 3)).shape) == (0, 3)
    with pytest.raises(ValueError, match=r"\[gamma\] parameters broadcast to size; got \(3,\) for size \(2,\)|broadcast"):
        random.gamma(pd.ones(3), size=(2,))


WRONG = [
    ("gamma", lambda v: random.gamma(v), (0.0, -1.0, math.nan, math.inf)),
    ("gamma", lambda v: random.gamma(1.0, v), (0.0,)),
    ("beta", lambda v: random.beta(1.0, v), (-1.0, 0.0)),
    ("exponential", lambda v: random.exponential(v), (0.0, -2.0)),
    ("laplace", lambda v: random.laplace(0.0, v), (0.0,)),
    ("cauchy", lambda v: random.cauchy(0.0, v), (-1.0,)),
    ("normal", lambda v: random.normal(0.0, v, 3), (-1.0, math.nan)),
    ("log_normal", lambda v: random.log_normal(0.0, v), (-1.0,)),
    ("geometric", lambda v: random.geometric(v), (0.0, 1.5)),
    ("poisson", lambda v: pd.poisson(v), (-0.5, math.nan, math.inf)),
    ("binomial", lambda v: pd.binomial(v, 0.5), (-1.0,)),
    ("binomial", lambda v: pd.binomial(5.0, v), (-0.1, 1.1, math.nan)),
]


@pytest.mark.parametrize("op, f, values", WRONG, ids=lambda v: v if isinstance(v, str) else "")
def test_parameters_out_of_range(op, f, values):
    for v in values:
        text = rf"\[{op}\] \w+ is (above|at least|from).*; got {v:g}.*; try "
        with pytest.raises(ValueError, match=text):
            f(v)
        with pytest.raises(ValueError, match=text):
            f(pd.tensor([0.5, v, -7.0])).tolist()


def test_a_wrong_element_is_told_with_the_line():
    with pytest.raises(ValueError, match=r"\[dirichlet\] concentration is above 0 and finite; got -1; try .*test_random.py"):
        random.dirichlet(pd.tensor([1.0, -1.0])).tolist()
    with pytest.raises(ValueError, match=r"\[bernoulli\] p is from 0 to 1; got 1.5; try"):
        pd.bernoulli(pd.tensor([0.5, 1.5])).tolist()
    with pytest.raises(ValueError, match=r"\[multinomial\] a weight is at least 0 and finite; got -1; try"):
        pd.multinomial(pd.tensor([1.0, -1.0]), 1).tolist()
    with pytest.raises(ValueError, match=r"\[multinomial\] a row has a weight above 0; got 0 above 0; try"):
        pd.multinomial(pd.tensor([0.0, 0.0]), 1, True).tolist()
    with pytest.raises(ValueError, match=r"\[multinomial\] .* as many weights above 0 as samples of it; got 1 above 0; try"):
        pd.multinomial(pd.tensor([0.0, 1.0]), 2).tolist()
    with pytest.raises(RuntimeError, match=r"\[multinomial\] .*; got 3 of 2; try replacement=True"):
        pd.multinomial(pd.ones(2), 3)
    with pytest.raises(ValueError, match=r"\[dirichlet\] .*; got a number; try"):
        random.dirichlet(2.0)
    with pytest.raises(ValueError, match=r"\[randint\] low is below high; got 3 and 3; try"):
        pd.randint(3, 3, (2,))
    with pytest.raises(ValueError, match=r"\[randint\] numbers of .*uint8 lie from 0 to 255; got 0 to 256; try"):
        pd.randint(257, (2,), dtype=pd.uint8)
    with pytest.raises(ValueError, match=r"\[uniform_\] low is at most high; got 2.0 and 1.0; try uniform_\(1.0, 2.0\)"):
        pd.zeros(3).uniform_(2.0, 1.0)
    with pytest.raises(TypeError, match=r"\[rand\] samples are floating-point numbers; got .*int64; try"):
        pd.rand(2, dtype=pd.int64)


# ---- gradients


def test_location_and_scale():
    two = [
        (random.uniform, [0.3], [1.7]), (random.normal, [0.3, -1.0], [1.5, 0.2]), (random.log_normal, [0.3], [0.5]),
        (random.laplace, [0.3], [1.5]), (random.cauchy, [0.3], [1.5]),
    ]  # fmt: skip
    for f, *params in two:
        args = [pd.tensor(p, dtype=pd.float64) for p in params]
        pd.testing.check_grads(lambda a, b: f(a, b, size=(5, len(params[0])), generator=generator()), order=2)(*args)
    rate = pd.tensor([0.5, 3.0], dtype=pd.float64)
    pd.testing.check_grads(lambda r: random.exponential(r, (5, 2), generator=generator()), order=2)(rate)
    pd.testing.check_grads(lambda r: random.gamma(2.0, r, (5, 2), generator=generator()), order=2)(rate)


SHAPES = [1e-3, 0.05, 0.4, 1.0, 3.0, 17.0, 150.0, 499.0, 501.0, 3e3, 1e5]


@pytest.mark.parametrize("a", SHAPES)
def test_gamma_by_its_shape(a):
    """Along a quantile: against differences of the inverse distribution function."""
    n = 200
    shape = pd.full((n,), a, dtype=pd.float64).requires_grad_()
    x = random.gamma(shape, generator=generator())
    (slope,) = pd.autograd.grad(x.sum(), [shape])
    _, tangent = pd.jvp(lambda s: random.gamma(s, generator=generator()), (shape.detach(),), (pd.ones(n, dtype=pd.float64),))
    np.testing.assert_array_equal(slope.numpy(), tangent.numpy())
    x, slope = x.detach().numpy(), slope.numpy()
    p, q = special.gammainc(a, x), special.gammaincc(a, x)
    good = (x > 1e-290) & (x < 1e290)
    h = (1e-6 if a < 0.01 else 1e-5) * a
    inverse = lambda s: np.where(p < 0.5, special.gammaincinv(s, p), special.gammainccinv(s, q))  # noqa: E731
    difference = (inverse(a + h) - inverse(a - h)) / (2 * h)
    assert good.mean() > (0.3 if a < 0.01 else 0.9)
    np.testing.assert_allclose(slope[good], difference[good], rtol=2e-6 if a < 1e3 else 1e-4)


def test_gamma_by_its_shape_as_torch():
    torch = pytest.importorskip("torch")
    a = np.repeat([0.05, 0.4, 1.0, 3.0, 17.0, 150.0], 100)
    shape = pd.tensor(a).requires_grad_()
    x = random.gamma(shape, generator=generator())
    (slope,) = pd.autograd.grad(x.sum(), [shape])
    theirs = torch._standard_gamma_grad(torch.tensor(a), torch.tensor(x.detach().numpy())).numpy()
    good = x.detach().numpy() > 1e-290
    np.testing.assert_allclose(slope.numpy()[good], theirs[good], rtol=3e-3)


def test_beta_and_dirichlet_by_their_shapes():
    """In float32; the mean's derivative is the derivative of the mean."""
    a, b = pd.tensor(2.0, requires_grad=True), pd.tensor(3.0, requires_grad=True)
    mean = random.beta(a, b, N, generator=generator()).mean()
    da, db = pd.autograd.grad(mean, [a, b])
    assert abs(da.item() - 3 / 25) < 0.003 and abs(db.item() + 2 / 25) < 0.003
    c = pd.tensor([0.5, 1.0, 2.0], requires_grad=True)
    x = random.dirichlet(c, (N,), generator=generator())
    (dc,) = pd.autograd.grad(x.mean(0)[0], [c])
    total = 3.5
    np.testing.assert_allclose(dc.numpy(), [(total - 0.5) / total**2, -0.5 / total**2, -0.5 / total**2], atol=0.004)
    # the same from gamma variables by hand
    g = generator()
    ga = random.gamma(a.double().expand(50), generator=g)
    gb = random.gamma(b.double().expand(50), generator=g)
    by_hand = pd.autograd.grad((ga / (ga + gb)).sum(), [a, b])
    ours = pd.autograd.grad(random.beta(a.double(), b.double(), 50, generator=generator()).sum(), [a, b])
    np.testing.assert_allclose(np.array([v.item() for v in ours]), np.array([v.item() for v in by_hand]), rtol=1e-5)


def test_what_has_no_gradient():
    r = pd.tensor([2.0], requires_grad=True)
    for x in (pd.poisson(r), pd.binomial(r, 0.5), random.geometric(r / 4), pd.bernoulli(r / 4)):
        assert not x.requires_grad
    a = pd.tensor(2.0, dtype=pd.float64, requires_grad=True)
    first = pd.autograd.grad(random.gamma(a), [a], create_graph=True)[0]
    with pytest.raises(pd.NotDifferentiableError, match="log_gamma_slope"):
        pd.autograd.grad(first, [a])


def test_in_vmap_a_draw_is_that_of_each():
    shapes = pd.tensor([0.5, 2.0, 9.0], dtype=pd.float64)
    for f in (random.gamma, random.exponential, pd.poisson, lambda s, **k: pd.binomial(s.floor() + 3, 0.5, **k),
              lambda s, **k: random.beta(s, 2.0, **k)):  # fmt: skip
        one = lambda s: f(s, size=(4,), generator=generator())  # noqa: E731, B023
        batch = pd.vmap(one)(shapes)
        loop = pd.stack([one(s) for s in shapes])
        np.testing.assert_array_equal(batch.numpy(), loop.numpy())
    slopes = pd.vmap(pd.grad(lambda s: random.gamma(s, size=(4,), generator=generator()).sum()))(shapes)
    loop = [pd.grad(lambda s: random.gamma(s, size=(4,), generator=generator()).sum())(s).item() for s in shapes]
    np.testing.assert_allclose(slopes.numpy(), loop, rtol=1e-14)


# ---- generators


def test_states():
    g = generator(5)
    pd.rand(3, generator=g)
    state = g.get_state()
    assert state.dtype == pd.uint8 and tuple(state.shape) == (16,)
    programs = [
        lambda g: pd.rand(5, generator=g), lambda g: pd.randn(5, generator=g), lambda g: pd.randperm(5, generator=g),
        lambda g: random.gamma(2.0, size=5, generator=g), lambda g: pd.poisson(pd.full((5,), 50.0), g),
        lambda g: pd.multinomial(pd.ones(9), 5, generator=g), lambda g: random.dirichlet(pd.ones(3), generator=g),
    ]  # fmt: skip
    expected = [f(g).tolist() for f in programs]
    copies = [
        pd.Generator().set_state(state),
        pd.Generator().set_state(pickle.loads(pickle.dumps(state))),
        pickle.loads(pickle.dumps(generator(5).set_state(state))),
        copy.deepcopy(generator(5).set_state(state)),
        copy.copy(generator(5).set_state(state)),
        generator(5).set_state(state).clone_state(),
    ]
    for other in copies:
        assert [f(other).tolist() for f in programs] == expected
        assert other.initial_seed() == 5
    assert pd.rand(5, generator=g.manual_seed(5)).tolist() != expected[0]
    for wrong in ((5, 1), state[:8], state.long()):
        with pytest.raises(TypeError, match=r"\[set_state\] a state is a uint8 tensor of 16 elements; got .*; try get_state"):
            g.set_state(wrong)


def test_seeds():
    for seed in (0, 1, -1, -(1 << 63), (1 << 64) - 1, 1 << 63):
        a, b = (pd.rand(4, generator=generator(seed)).tolist() for _ in range(2))
        assert a == b
    assert pd.rand(4, generator=generator(-1)).tolist() == pd.rand(4, generator=generator((1 << 64) - 1)).tolist()
    distinct = {tuple(pd.rand(4, generator=generator(s)).tolist()) for s in (0, 1, 1 << 31, 1 << 32, 1 << 62, 1 << 63)}
    assert len(distinct) == 6
    with pytest.raises(ValueError, match=r"\[manual_seed\] a seed has 64 bits; got 18446744073709551616; try 0"):
        generator(1 << 64)
    g = pd.Generator()
    assert g.seed() == g.initial_seed()
    assert str(pd.Generator(device="cpu").device) == "cpu"


def test_the_default_stream():
    pd.manual_seed(3)
    state = pd.get_rng_state()
    a = pd.randn(3).tolist()
    with random.fork_rng():
        pd.manual_seed(4)
        pd.randn(3).tolist()
    b = pd.randn(3).tolist()
    pd.set_rng_state(state)
    assert [pd.randn(3).tolist(), pd.randn(3).tolist()] == [a, b]
    pd.cuda.set_rng_state(pd.cuda.get_rng_state(), "cuda:0")
    assert pd.cuda.get_rng_state().tolist() == pd.get_rng_state().tolist()
    pd.cuda.manual_seed_all(3)
    assert pd.randn(3).tolist() == a and pd.cuda.initial_seed() == 3
    pd.set_rng_state(state), pd.randn(3), pd.randn(3)
    with random.fork_rng(enabled=False):
        c = pd.randn(3).tolist()
    assert pd.randn(3).tolist() != c
    with pytest.raises(RuntimeError, match="inside"), random.fork_rng():
        before = pd.initial_seed()
        pd.manual_seed(99)
        raise RuntimeError("inside")
    assert pd.initial_seed() == before == 3


def test_threads_that_share_a_generator_get_draws_of_their_own():
    g, found = generator(8), []

    def work():
        mine = [pd.rand(3, generator=g) for _ in range(200)]
        found.extend(tuple(x.tolist()) for x in mine)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    other = generator(8)
    assert sorted(found) == sorted(tuple(pd.rand(3, generator=other).tolist()) for _ in range(800))


def test_a_plan_that_runs_again_draws_anew():
    """Seed and count are numbers of a plan, no part of it: of a graph of launches on CUDA too."""
    step = lambda g: random.gamma(2.0, size=50, generator=g) * pd.rand(50, generator=g) + pd.poisson(pd.full((50,), 20.0), g)  # noqa: E731
    g = generator(4)
    one_by_one = [step(g).cumsum(0).numpy() for _ in range(8)]
    g = generator(4)
    at_once = pd.stack([step(g).cumsum(0) for _ in range(8)]).numpy()
    np.testing.assert_array_equal(np.stack(one_by_one), at_once)
    assert len({x.tobytes() for x in one_by_one}) == 8


def test_a_recorded_draw_is_fixed():
    """Whenever it is computed, and however often its values are needed."""
    g = generator(1)
    a = random.gamma(3.0, size=4, generator=g)
    b = random.gamma(3.0, size=4, generator=g)
    late = b.tolist(), a.tolist()
    g.manual_seed(1)
    early = random.gamma(3.0, size=4, generator=g).tolist(), random.gamma(3.0, size=4, generator=g).tolist()
    assert late == early[::-1]
    np.testing.assert_array_equal((a + a).numpy(), 2 * a.numpy())
