"""Functions composed of ops, and those of pydiff/fallback: values and gradients against PyTorch, order two by check."""

import numpy as np
import pytest
from oracle import array, check_derivatives, close, tangent_pairing

import pydiff as pd

torch = pytest.importorskip("torch")

# Each is run with pydiff and with torch as m; operands from a normal distribution, of these shapes.
ONE, TWO, SQUARE = [(3, 4)], [(3, 4), (3, 4)], [(3, 3)]
DIFFERENTIABLE = {
    "logaddexp": (TWO, lambda m, a, b: m.logaddexp(a, b)),
    "hypot": (TWO, lambda m, a, b: m.hypot(a, b)),
    "lerp": (TWO, lambda m, a, b: m.lerp(a, b, 0.3)),
    "addcmul": ([(3, 4)] * 3, lambda m, a, b, c: m.addcmul(a, b, c, value=0.5)),
    "addcdiv": ([(3, 4)] * 3, lambda m, a, b, c: m.addcdiv(a, b, c.abs() + 1, value=0.5)),
    "asinh": (ONE, lambda m, a: m.asinh(a)),
    "acosh": (ONE, lambda m, a: m.acosh(a.abs() + 1.5)),
    "atanh": (ONE, lambda m, a: m.atanh(a.tanh() * 0.9)),
    "logit": (ONE, lambda m, a: m.logit(a.sigmoid())),
    "frac": (ONE, lambda m, a: m.frac(a)),
    "fmod": (TWO, lambda m, a, b: m.fmod(a, b.abs() + 1)),
    "nan_to_num": (ONE, lambda m, a: m.nan_to_num(a)),
    "deg2rad": (ONE, lambda m, a: m.deg2rad(m.rad2deg(a) * 2)),
    "clamp": (ONE, lambda m, a: m.clamp(a, -0.5, 0.5) * a),
    "clamp_min": (ONE, lambda m, a: a.clamp(min=0.1) ** 2),
    "diff": (ONE, lambda m, a: m.diff(a, dim=1)),
    "diff twice": (ONE, lambda m, a: m.diff(a, n=2)),
    "std_mean": (ONE, lambda m, a: m.stack(list(m.std_mean(a, 1)))),
    "nansum": (ONE, lambda m, a: m.nansum(a, 0)),
    "norm": (ONE, lambda m, a: m.linalg.vector_norm(a, 2, 1)),
    "norm 1": (ONE, lambda m, a: m.linalg.vector_norm(a, 1, 0)),
    "norm 3": (ONE, lambda m, a: m.linalg.vector_norm(a, 3)),
    "frobenius": (ONE, lambda m, a: m.linalg.matrix_norm(a)),
    "tril": (SQUARE, lambda m, a: m.tril(a)),
    "triu": (ONE, lambda m, a: m.triu(a, 1)),
    "diagonal": (SQUARE, lambda m, a: m.diagonal(a, 1)),
    "diag": ([(4,)], lambda m, a: m.diag(a) @ m.diag(a, 0)),
    "trace": (SQUARE, lambda m, a: m.trace(a @ a)),
    "take_along_dim": (ONE, lambda m, a: m.take_along_dim(a, m.tensor([[0, 2], [1, 1], [3, 0]]), 1)),
    "masked_select": (ONE, lambda m, a: m.masked_select(a, a > 0) ** 2),
    "index_add": (TWO, lambda m, a, b: m.index_add(a, 0, m.tensor([2, 0, 2]), b)),
    "movedim": ([(2, 3, 4)], lambda m, a: m.movedim(a, 0, 2)),
    "unflatten": ([(2, 6)], lambda m, a: m.unflatten(a, 1, (2, 3))),
    "repeat": (ONE, lambda m, a: a.repeat(2, 1, 3)),
    "tile": (ONE, lambda m, a: m.tile(a, (2,))),
    "repeat_interleave": (ONE, lambda m, a: m.repeat_interleave(a, 2, 1)),
    "roll": (ONE, lambda m, a: m.roll(a, (1, -2), (0, 1)) * a),
    "hstack": (TWO, lambda m, a, b: m.hstack([a, b])),
    "vstack": (TWO, lambda m, a, b: m.vstack([a, b])),
    "meshgrid": ([(3,), (4,)], lambda m, a, b: m.stack(list(m.meshgrid(a, b, indexing="ij")))),
    "broadcast_tensors": ([(3, 1), (4,)], lambda m, a, b: m.broadcast_tensors(a, b)[0] * b),
    "outer": ([(3,), (4,)], lambda m, a, b: m.outer(a, b)),
    "dot": ([(3,), (3,)], lambda m, a, b: m.dot(a, b)),
    "mv": ([(3, 4), (4,)], lambda m, a, b: m.mv(a, b)),
    "bmm": ([(2, 3, 4), (2, 4, 3)], lambda m, a, b: m.bmm(a, b)),
    "addmm": ([(3, 3), (3, 4), (4, 3)], lambda m, a, b, c: m.addmm(a, b, c, beta=0.5, alpha=2)),
    "kron": ([(2, 2), (2, 3)], lambda m, a, b: m.kron(a, b)),
    "tensordot": ([(2, 3, 4), (4, 3, 2)], lambda m, a, b: m.tensordot(a, b, dims=([1, 2], [1, 0]))),
    "sort": (ONE, lambda m, a: m.sort(a, 1).values ** 2),
    "sort down": (ONE, lambda m, a: m.sort(a, 0, descending=True)[0] ** 2),
    "topk": (ONE, lambda m, a: m.topk(a, 2, 1)[0] ** 2),
    "median": (ONE, lambda m, a: m.median(a, 1)[0] ** 2),
    "kthvalue": (ONE, lambda m, a: m.kthvalue(a, 2, 1)[0] ** 2),
    "solve": ([(3, 3), (3, 2)], lambda m, a, b: m.linalg.solve(a @ a.mT + m.eye(3, dtype=m.float64), b)),
    "inv": (SQUARE, lambda m, a: m.linalg.inv(a @ a.mT + m.eye(3, dtype=m.float64))),
    "det": (SQUARE, lambda m, a: m.linalg.det(a + 2 * m.eye(3, dtype=m.float64))),
    "slogdet": (SQUARE, lambda m, a: m.linalg.slogdet(a @ a.mT + m.eye(3, dtype=m.float64))[1]),
    "cholesky": (SQUARE, lambda m, a: m.linalg.cholesky(a @ a.mT + m.eye(3, dtype=m.float64))),
}

PLAIN = {
    "argsort": (ONE, lambda m, a: m.argsort(a, 1)),
    "argsort down": (ONE, lambda m, a: m.argsort(a, 0, descending=True)),
    "searchsorted": (ONE, lambda m, a: m.searchsorted(m.sort(a.reshape(-1))[0], a)),
    "unique": (ONE, lambda m, a: m.unique((a * 2).long())),
    "bincount": (ONE, lambda m, a: m.bincount((a.abs() * 3).long().reshape(-1), minlength=4)),
    "one_hot": (ONE, lambda m, a: (m if m is pd else m.nn.functional).one_hot((a.abs() * 3).long(), 20)),
    "isclose": (TWO, lambda m, a, b: m.isclose(a, a + b * 1e-8)),
    "signbit": (ONE, lambda m, a: m.signbit(a)),
    "logical": (TWO, lambda m, a, b: m.logical_or(m.logical_and(a > 0, b > 0), m.logical_xor(a > 1, m.logical_not(b > 1)))),
    "count_nonzero": (ONE, lambda m, a: m.count_nonzero(a > 0, 1)),
    "svdvals": (ONE, lambda m, a: m.linalg.svdvals(a)),
    "fmax": (TWO, lambda m, a, b: m.fmax(m.where(a > 0, a, float("nan")), b)),
    "arange": ([], lambda m: m.arange(3, 11, 2)),
    "arange of floats": ([], lambda m: m.arange(0.0, 1.0, 0.3)),
    "linspace": ([], lambda m: m.linspace(-1, 2, 7, dtype=m.float64)),
    "logspace": ([], lambda m: m.logspace(-1, 2, 4, dtype=m.float64)),
    "eye": ([], lambda m: m.eye(2, 3)),
    "tril of ones": ([], lambda m: m.tril(m.ones(3, 4, dtype=m.int64), -1)),
}


@pytest.mark.parametrize("name", [*DIFFERENTIABLE, *PLAIN])
@pytest.mark.smoke
def test_values_as_in_pytorch(name, rng):
    shapes, f = {**DIFFERENTIABLE, **PLAIN}[name]
    x = [rng.standard_normal(s) for s in shapes]
    ours, theirs = f(pd, *map(pd.tensor, x)), f(torch, *map(torch.tensor, x))
    assert array(ours).dtype == theirs.numpy().dtype
    # a handful of roundings; the linear solvers lose the digits of their condition, below 100 here
    close(ours, theirs, eps=4096 if name in ("solve", "inv", "det", "slogdet", "cholesky") else 16)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_derivatives(name, rng):
    shapes, f = DIFFERENTIABLE[name]
    x = [rng.standard_normal(s) for s in shapes]
    g = lambda *t: f(pd, *t)  # noqa: E731
    solver = name in ("solve", "inv", "det", "slogdet", "cholesky")
    tangent_pairing(g, x, rng, eps=1 << 16 if solver else 256)
    check_derivatives(g, *x, order=1 if solver else 2)
    ours = pd.grad(lambda *t: (g(*t) ** 2).sum(), argnums=tuple(range(len(x))))(*map(pd.tensor, x))
    leaves = [torch.tensor(v, requires_grad=True) for v in x]
    theirs = torch.autograd.grad((f(torch, *leaves) ** 2).sum(), leaves)
    for a, b in zip(ours, theirs):
        close(a, b, eps=1 << 16 if solver else 64, scale=max(np.abs(array(b)).max(), 1))


def test_every_differentiable_fallback_row_has_an_example_that_checks():
    for name, row in pd.fallback.rows().items():
        if row.example is None:
            continue
        operands, options = row.example()
        from pydiff.fallback import _rows

        f = lambda *t: _rows.call(row, t, options)  # noqa: B023, E731
        check_derivatives(f, *[np.asarray(o, np.float64) for o in operands], order=2)
        assert row.doc.endswith("."), name


def test_what_has_no_derivative_says_so():
    x = pd.tensor([[2.0], [3.0]], requires_grad=True)
    with pytest.raises(pd.NotDifferentiableError, match=r"\[qr_complete\]"):
        pd.linalg.qr(x, "complete").R.sum().backward()
    with pytest.raises(pd.NotDifferentiableError, match=r"\[qr_complete\]"):
        pd.jvp(lambda x: pd.linalg.qr(x, "complete").R, (x.detach(),), (pd.ones(2, 1),))


def test_fallbacks_on_placeholders_say_what_to_do():
    with pytest.raises(RuntimeError, match=r"\[unique\] the shape of its result depends on values.*loop"):
        pd.vmap(lambda x: pd.unique(x))(pd.ones(2, 3))


def test_a_fallback_is_one_function():
    @pd.fallback.fallback("twice_reversed", vjp=lambda operands, results, cotangents: (cotangents[0].flip(0) * 2,))
    def twice_reversed(xp, x):
        """Two times x, backwards."""
        return 2 * x[::-1]

    x = pd.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = twice_reversed(x * 1.0)
    assert y.tolist() == [6.0, 4.0, 2.0]
    (y * pd.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad.tolist() == [200.0, 20.0, 2.0]
    assert pd.fallback.rows()["twice_reversed"].doc == "Two times x, backwards."


def test_singular_matrices_name_the_function():
    with pytest.raises(RuntimeError, match=r"\[solve\].*singular"):
        pd.linalg.solve(pd.zeros(2, 2), pd.ones(2))
    with pytest.raises(RuntimeError, match=r"\[cholesky\].*positive"):
        pd.linalg.cholesky(-pd.eye(2))
    with pytest.raises(ValueError, match=r"\[inv\].*square"):
        pd.linalg.inv(pd.ones(2, 3))
