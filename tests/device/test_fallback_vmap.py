"""Rows that NumPy or CuPy computes, inside `vmap`: against a loop, with their derivatives, nested, and captured."""

import numpy as np
import pytest

import pydiff as pd
from pydiff import linalg, special


def against_loop(f, *operands, in_dims=0):
    dims = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(operands)
    size = next(x.shape[d] for x, d in zip(operands, dims) if d is not None)
    got = pd.tree.tree_flatten(pd.vmap(f, in_dims=in_dims)(*operands))[0]
    loop = [pd.tree.tree_flatten(f(*[x if d is None else x.select(d, k) for x, d in zip(operands, dims)]))[0] for k in range(size)]
    for k, result in enumerate(got):
        each = [one[k] for one in loop]
        assert result.dtype == each[0].dtype
        np.testing.assert_allclose(result.numpy(), np.stack([v.numpy() for v in each]), rtol=1e-9, atol=1e-9)


@pytest.fixture
def matrices(rng):
    return pd.tensor(rng.standard_normal((4, 3, 3)) + 3 * np.eye(3))


FACTORS = "inv det slogdet qr svd svdvals pinv lu lu_factor matrix_rank cond".split()
SYMMETRIC = "cholesky eigh eigvalsh ldl_factor".split()


@pytest.mark.parametrize("name", FACTORS + SYMMETRIC)
def test_factors(name, matrices):
    if name == "ldl_factor":
        pytest.importorskip("scipy")
    x = matrices @ matrices.mT if name in SYMMETRIC else matrices
    f = getattr(linalg, name)
    against_loop(f, x)
    against_loop(f, x.movedim(0, -1), in_dims=2)
    against_loop(pd.vmap(f), pd.stack([x, 2 * x]))


def test_systems(matrices, rng):
    pytest.importorskip("scipy")
    b = pd.tensor(rng.standard_normal((4, 3)))
    against_loop(linalg.solve, matrices, b)
    against_loop(linalg.solve, matrices[0], b, in_dims=(None, 0))
    against_loop(linalg.solve, matrices, b[0], in_dims=(0, None))
    against_loop(lambda a, b: linalg.solve(a, b), matrices, pd.stack([matrices] * 4))  # a batch against one matrix
    against_loop(lambda v, a: linalg.inv(a) @ v, b, matrices[0], in_dims=(0, None))  # nothing batched goes in
    against_loop(lambda v: linalg.inv(matrices[0]) @ v, b)
    against_loop(lambda a, v: pd.cholesky_solve(v.unsqueeze(-1), a), linalg.cholesky(matrices @ matrices.mT), b)
    symmetric = matrices + matrices.mT
    against_loop(lambda a, b: linalg.ldl_solve(*linalg.ldl_factor(a), b), symmetric, matrices)
    against_loop(lambda a, b: linalg.ldl_solve(*linalg.ldl_factor(a), b), symmetric[0], matrices, in_dims=(None, 0))


@pytest.mark.parametrize("name", ["inv", "det", "svdvals", "pinv", "eigvalsh", "solve"])
def test_derivatives(name, matrices):
    b = matrices[1, 0]
    f = {"solve": lambda a: linalg.solve(a, b), "eigvalsh": lambda a: linalg.eigvalsh(a @ a.mT)}.get(name, getattr(linalg, name))
    against_loop(pd.grad(lambda a: (f(a) ** 2).sum()), matrices)
    against_loop(lambda a: pd.jvp(f, (a,), (a * 2,))[1], matrices)
    against_loop(pd.hessian(lambda a: (f(a) ** 2).sum()), matrices)
    # the tape outside
    x = matrices.clone().requires_grad_()
    (pd.vmap(f)(x) ** 2).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), pd.vmap(pd.grad(lambda a: (f(a) ** 2).sum()))(matrices).numpy(), rtol=1e-9, atol=1e-9)


def test_what_has_no_derivative_says_so(matrices):
    with pytest.raises(pd.NotDifferentiableError, match=r"\[qr_complete\] not differentiable"):
        pd.vmap(pd.grad(lambda a: linalg.qr(a, "complete").R.sum()))(matrices[:, :, :2])
    with pytest.raises(pd.NotDifferentiableError, match=r"\[qr_complete\] has no forward-mode derivative"):
        pd.vmap(lambda a: pd.jvp(lambda a: linalg.qr(a, "complete").R, (a,), (a,)))(matrices[:, :, :2])


def test_sorting(rng):
    x = pd.tensor(rng.standard_normal((3, 5, 70)))
    for f in (
        pd.sort, pd.argsort, pd.msort, lambda v: v.sort(0), lambda v: v.sort(-2, descending=True), lambda v: v.topk(66),
        lambda v: v.topk(66, -1, False), lambda v: v.kthvalue(3), lambda v: v.median(), lambda v: v.median(0),
        lambda v: v.nanmedian(1), lambda v: v.quantile(0.3, dim=1), lambda v: v.cummax(1), lambda v: v.round().mode(-1),
        lambda v: v.to(pd.float16).sort(), pd.grad(lambda v: (v.sort(0).values ** 3 * pd.arange(5.0).unsqueeze(1)).sum()),
    ):  # fmt: skip
        against_loop(f, x)
        against_loop(f, x.movedim(0, 1), in_dims=1)
    against_loop(lambda v: v.sort(), x[:, 0, 0])


def test_special_functions(rng):
    pytest.importorskip("scipy")
    p, q = pd.tensor(rng.uniform(0.5, 3, (4, 5))), pd.tensor(rng.uniform(0.5, 3, 5))
    for f in (special.gammainc, special.gammaincc, lambda a, b: special.zeta(a + 1, b), pd.nextafter):
        against_loop(f, p, q, in_dims=(0, None))
        against_loop(f, q, p, in_dims=(None, 0))
        against_loop(f, p, p[:, :1])
    against_loop(pd.grad(lambda v: special.gammainc(q, v).sum()), p)
    against_loop(lambda v: special.polygamma(2, v), p)
    against_loop(pd.gcd, (p * 100).long(), (q * 100).long(), in_dims=(0, None))


def test_a_row_without_a_rule_is_a_loop():
    @pd.fallback.fallback("doubled_for_test", vjp=lambda operands, results, cotangents: (cotangents[0] * 2,))
    def doubled(xp, x):
        """Twice x, of one axis only."""
        assert x.ndim == 1
        return x * 2

    x = pd.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    against_loop(doubled, x)
    against_loop(pd.grad(lambda v: (doubled(v) ** 2).sum()), x)
    assert tuple(pd.vmap(doubled)(x[:0]).shape) == (0, 2)
    assert tuple(pd.vmap(linalg.inv)(pd.zeros(0, 3, 3)).shape) == (0, 3, 3)
