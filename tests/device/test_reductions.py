"""Reductions, scans and statistics composed in Python: examples, errors, and where PyTorch's samples do not reach."""

import doctest
import math

import numpy as np
import pytest

import pydiff as pd
from pydiff import reductions, scans, statistics
from pydiff.fallback import sorting
from pydiff.testing import check_grads

NAN, INF = math.nan, math.inf
X = np.array([[0.3, -1.2, 2.5, 0.7], [1.1, 0.2, -0.4, 3.0], [-2.0, 0.9, 1.6, -0.8]])


@pytest.mark.parametrize("module", [reductions, scans, statistics, sorting], ids=lambda m: m.__name__)
def test_examples(module):
    tried = doctest.testmod(module)
    assert tried.attempted > 10 and not tried.failed


ERRORS = {
    "bincount": lambda x: pd.bincount(x),
    "norm": lambda x: pd.norm(x, "huge"),
    "diff": lambda x: pd.diff(x.sum()),
    "cumprod": lambda x: pd.cumprod(x, 2),
    "cummax": lambda x: pd.cummax(x, -3),
    "cummin": lambda x: pd.cummin(x, 2),
    "logcumsumexp": lambda x: pd.logcumsumexp(x, 2),
    "trapezoid": lambda x: pd.trapezoid(x, pd.ones(3, dtype=pd.float64)),
    "cumulative_trapezoid": lambda x: pd.cumulative_trapezoid(x, dim=2),
    "gradient": lambda x: pd.gradient(x, edge_order=3),
    "quantile": lambda x: pd.quantile(x, 1.5),
    "nanquantile": lambda x: pd.nanquantile(x.long(), 0.5),
    "nanmedian": lambda x: pd.nanmedian(x, 2),
    "median": lambda x: pd.median(x[:, :0], 1),
    "kthvalue": lambda x: pd.kthvalue(x, 5),
    "mode": lambda x: pd.mode(x[:, :0]),
    "histc": lambda x: pd.histc(x, 0),
    "histogram": lambda x: pd.histogram(x.long(), 3),
    "cov": lambda x: pd.cov(x, aweights=x),
    "corrcoef": lambda x: pd.corrcoef(x.unsqueeze(0)),
    "cdist": lambda x: pd.cdist(x, x.mT),
    "pdist": lambda x: pd.pdist(x[0]),
    "renorm": lambda x: pd.renorm(x, -1, 0, 1.0),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_function_and_a_way_out(name):
    with pytest.raises((ValueError, IndexError, TypeError, RuntimeError), match=rf"\[{name}\].*; got .*; try "):
        ERRORS[name](pd.tensor(X))


CHECKED = {
    "cumprod": lambda x: pd.cumprod(x, 1),
    "cummax": lambda x: pd.cummax(x, 1).values ** 2,
    "cummin": lambda x: pd.cummin(x, 0).values ** 2,
    "logcumsumexp": lambda x: pd.logcumsumexp(x, 1),
    "trapezoid": lambda x: pd.trapezoid(x * x, x.cumsum(1)),
    "cumulative_trapezoid": lambda x: pd.cumulative_trapezoid(x * x, dx=0.5),
    "gradient": lambda x: pd.gradient(x * x, spacing=[pd.tensor([0.0, 0.5, 2.0, 2.5], dtype=pd.float64)], dim=1)[0],
    "gradient 2": lambda x: pd.gradient(x * x, edge_order=2)[0],
    "quantile": lambda x: pd.quantile(x, pd.tensor([0.2, 0.9], dtype=pd.float64), 1) ** 2,
    "nanquantile": lambda x: pd.nanquantile(x, 0.4, 0) ** 2,
    "nanmedian": lambda x: pd.nanmedian(x, 1).values ** 2,
    "mode": lambda x: pd.mode(x, 1).values ** 2,
    "cov": lambda x: pd.cov(x, aweights=pd.tensor([1.0, 2.0, 0.5, 1.0], dtype=pd.float64)),
    "corrcoef": lambda x: pd.corrcoef(x),
    "dist": lambda x: pd.dist(x, x * x, 3),
    "cdist": lambda x: pd.cdist(x, x.flip(0) * 2),
    "pdist": lambda x: pd.pdist(x, 3.0),
    "renorm": lambda x: pd.renorm(x, 2, 0, 1.5),
    "norm -2": lambda x: pd.norm(x, -2, 1),
    "norm 0.5": lambda x: pd.norm(x, 0.5, 1),
    "logsumexp": lambda x: pd.logsumexp(x, 1),
    "diff": lambda x: pd.diff(x, prepend=x[:, :1] ** 2),
    "median": lambda x: pd.median(x, 1).values ** 2,
}


@pytest.mark.parametrize("name", CHECKED)
def test_derivatives(name):
    check_grads(CHECKED[name])(pd.tensor(X))


@pytest.mark.parametrize("name", ["cumprod", "cummax", "logcumsumexp", "trapezoid", "cov", "renorm", "norm -2", "cdist"])
def test_batches(name):
    f, x = CHECKED[name], pd.tensor(np.stack([X, 2 * X]))
    together, alone = pd.vmap(f)(x).numpy(), np.stack([f(part).numpy() for part in x])
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_running_products_with_zeros_keep_their_gradient():
    x = pd.tensor([2.0, 0.0, 3.0], requires_grad=True)
    pd.cumprod(x, 0).sum().backward()
    assert x.grad.tolist() == [1.0, 8.0, 0.0]


def test_nan_and_infinity():
    x = pd.tensor([1.0, NAN, 3.0, INF])
    assert pd.cummax(x, 0).indices.tolist() == [0, 1, 1, 1]
    assert math.isnan(pd.quantile(x, 0.5).item()) and math.isnan(pd.median(x).item())
    assert pd.median(x, 0).indices.item() == 1
    assert pd.nanquantile(x, 0.5).item() == 3.0 and pd.nanmedian(x).item() == 3.0
    assert pd.quantile(pd.tensor([-INF, 1.0, INF]), pd.tensor([0.0, 0.5, 1.0])).tolist() == [-INF, 1.0, INF]
    assert pd.logcumsumexp(pd.tensor([-INF, -INF, 0.0]), 0).tolist() == [-INF, -INF, 0.0]
    assert math.isnan(pd.nanmedian(pd.tensor([NAN, NAN])).item())


def test_the_gradient_of_a_norm_is_zero_where_there_is_none():
    for p in (0.5, 1, 1.5, 2, 3, -1):
        x = pd.tensor([0.0, 0.0], requires_grad=True)
        pd.norm(x, p).backward()
        assert x.grad.tolist() == [0.0, 0.0], p
    x = pd.tensor([[1.0, 2.0]], requires_grad=True)
    pd.cdist(x, x.detach()).sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0]]


def test_no_elements():
    none = pd.zeros(0)
    assert pd.cumprod(none, 0).shape == pd.cummax(none, 0).values.shape == pd.logcumsumexp(none, 0).shape == (0,)
    assert pd.trapezoid(none).item() == 0 and pd.bincount(none.long(), minlength=2).tolist() == [0, 0]
    assert pd.unique_consecutive(none).shape == (0,) and pd.histc(none, 2).tolist() == [0.0, 0.0]
    assert pd.cdist(pd.zeros(2, 0), pd.zeros(3, 0)).tolist() == [[0.0] * 3] * 2 and pd.pdist(pd.zeros(1, 3)).shape == (0,)


def test_numpy_names():
    x = pd.tensor(X)
    assert pd.quantile(x, 0.5, axis=1, keepdims=True).shape == (3, 1)
    assert pd.nansum(x, axis=0).shape == (4,) and pd.max(x, axis=1).values.shape == (3,)
    assert x.cumprod(axis=1).shape == (3, 4) and pd.logsumexp(x, axis=0, keepdims=True).shape == (1, 4)


def test_bfloat16():
    x = pd.tensor([1.0, 3.0, 2.0], dtype=pd.bfloat16)
    assert pd.cumprod(x, 0).tolist() == [1.0, 3.0, 6.0] and pd.cummax(x, 0).values.tolist() == [1.0, 3.0, 3.0]
    assert pd.quantile(x, 0.5).item() == 2.0 and pd.msort(x).dtype == pd.bfloat16


def test_unique_consecutive_counts():
    values, inverse, counts = pd.unique_consecutive(pd.tensor([1, 1, 2, 1]), True, True)
    assert (values.tolist(), inverse.tolist(), counts.tolist()) == ([1, 2, 1], [0, 0, 1, 2], [2, 1, 1])
