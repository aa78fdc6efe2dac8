"""pydiff.linalg: examples, errors, derivatives of both modes to order two, and where PyTorch's samples do not reach."""

import doctest
import math

import numpy as np
import pytest

import pydiff as pd
from pydiff import decompositions, linalg
from pydiff.fallback import linear_algebra
from pydiff.testing import check_grads

A = np.array([[2.0, -0.3, 0.8], [0.4, 1.5, -0.6], [-0.7, 0.2, 3.1]])
TALL = np.array([[2.0, -0.3], [0.4, 1.5], [-0.7, 0.2]])


@pytest.mark.parametrize("module", [decompositions, linalg, linear_algebra], ids=lambda m: m.__name__)
def test_examples(module):
    tried = doctest.testmod(module)
    assert tried.attempted > 5 and not tried.failed


ERRORS = {
    "matrix_norm": lambda a: linalg.matrix_norm(a, 3),
    "norm": lambda a: linalg.norm(a.unsqueeze(0), 3),
    "cond": lambda a: linalg.cond(a[:2], 1),
    "matrix_power": lambda a: linalg.matrix_power(a[:2], 2),
    "multi_dot": lambda a: linalg.multi_dot([a, a[:2]]),
    "matrix_exp": lambda a: linalg.matrix_exp(a[:2]),
    "vander": lambda a: linalg.vander(a, 0),
    "eigh": lambda a: linalg.eigh(a, "M"),
    "eigvalsh": lambda a: linalg.eigvalsh(a[0]),
    "svd": lambda a: linalg.svd(a[0]),
    "svdvals": lambda a: linalg.svdvals(a[0]),
    "qr": lambda a: linalg.qr(a, "economic"),
    "householder_product": lambda a: linalg.householder_product(a[:2], a[0]),
    "lu_factor": lambda a: linalg.lu_factor(a[0]),
    "lu_solve": lambda a: linalg.lu_solve(a[:2], pd.tensor([1, 2]), a),
    "lu_factor_ex": lambda a: linalg.lu_factor_ex(a * 0, check_errors=True),
    "solve_triangular": lambda a: linalg.solve_triangular(a, a[:2], upper=True),
    "solve_ex": lambda a: linalg.solve_ex(a * 0, a, check_errors=True),
    "inv_ex": lambda a: linalg.inv_ex(a * 0, check_errors=True),
    "cholesky_ex": lambda a: linalg.cholesky_ex(-a, check_errors=True),
    "matrix_rank": lambda a: linalg.matrix_rank(a[0]),
    "pinv": lambda a: linalg.pinv(a[0]),
    "lstsq": lambda a: linalg.lstsq(a, a[:2]),
    "tensorinv": lambda a: linalg.tensorinv(a[:2], 1),
    "tensorsolve": lambda a: linalg.tensorsolve(a, a),
    "cholesky_solve": lambda a: pd.cholesky_solve(a, a[:2]),
    "geqrf": lambda a: pd.geqrf(a[0]),
    "ormqr": lambda a: pd.ormqr(a, a[0], a[:2]),
    "cholesky_inverse": lambda a: pd.cholesky_inverse(a[:2]),
    "ldl_factor": lambda a: linalg.ldl_factor(a * 0),
    "ldl_solve": lambda a: linalg.ldl_solve(a, pd.tensor([1, 2, 3]), a[:2]),
    "svd_lowrank": lambda a: pd.svd_lowrank(a, 4),
    "pca_lowrank": lambda a: pd.pca_lowrank(a, -1),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_function_and_a_way_out(name):
    with pytest.raises((ValueError, RuntimeError), match=rf"\[{name}\].*; got .*; try "):
        ERRORS[name](pd.tensor(A))


def symmetric(a):
    return a + a.mT


CHECKED = {
    "eigh": lambda a: linalg.eigh(symmetric(a)).eigenvectors ** 2,
    "eigvalsh": lambda a: linalg.eigvalsh(symmetric(a)),
    "svd": lambda a: (lambda u, s, vh: (u * s) @ vh.mT @ vh**2)(*linalg.svd(a)),
    "svd of wide": lambda a: linalg.svd(a[:2], full_matrices=False).Vh ** 2,
    "svdvals": lambda a: linalg.svdvals(a[:, :2]),
    "nuclear norm": lambda a: linalg.matrix_norm(a, "nuc"),
    "spectral norm": lambda a: linalg.norm(a, 2),
    "cond": lambda a: linalg.cond(a),
    "qr": lambda a: pd.cat(list(linalg.qr(a)), 1),
    "qr of tall": lambda a: linalg.qr(a[:, :2]).Q,
    "qr of wide": lambda a: pd.cat(list(linalg.qr(a[:2])), 1),
    "lu": lambda a: linalg.lu(a).L @ linalg.lu(a).U ** 2,
    "lu of tall": lambda a: linalg.lu_factor(a[:, :2]).LU,
    "lu of wide": lambda a: linalg.lu_factor(a[:2]).LU,
    "lu_solve": lambda a: linalg.lu_solve(*linalg.lu_factor(a), a[:, :1] ** 2, adjoint=True),
    "solve_triangular": lambda a: linalg.solve_triangular(a, a * a, upper=True, left=False),
    "cholesky_solve": lambda a: pd.cholesky_solve(a[:, :1], linalg.cholesky(a @ a.mT)),
    "pinv of full rank": lambda a: linalg.pinv(a[:, :2]),
    "lstsq": lambda a: linalg.lstsq(a[:, :2], a[:, 2:]).solution,
    "householder_product": lambda a: linalg.householder_product(a[:, :2], a[0, :2]),
    "matrix_exp": lambda a: linalg.matrix_exp(a),
    "tensorsolve": lambda a: linalg.tensorsolve(a.reshape(3, 3, 1), a[0]),
    "multi_dot": lambda a: linalg.multi_dot([a[0], a, a * a, a[1]]),
    "vander": lambda a: linalg.vander(a[0], 4),
    "logdet": lambda a: pd.logdet(a),
    "ormqr": lambda a: pd.ormqr(a[:, :2], a[2, :2], a * a, left=False),
}


@pytest.mark.parametrize("name", CHECKED)
def test_derivatives(name):
    check_grads(CHECKED[name])(pd.tensor(A))


def test_the_pseudoinverse_of_matrices_of_less_than_full_rank():
    check_grads(lambda x: linalg.pinv(x @ x.mT, rtol=1e-9))(pd.tensor(TALL))


def test_derivatives_at_equal_singular_values_are_finite():
    x = pd.eye(3, requires_grad=True)
    linalg.svdvals(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.eye(3), atol=1e-6)


def test_factors_multiply_to_the_matrix(rng):
    for shape in ((2, 4, 4), (5, 3), (3, 5), (1, 1)):
        x = rng.standard_normal(shape)
        p, low, up = linalg.lu(pd.tensor(x))
        q, r = linalg.qr(pd.tensor(x))
        u, s, vh = linalg.svd(pd.tensor(x), full_matrices=False)
        for product in (p @ low @ up, q @ r, (u * s.unsqueeze(-2)) @ vh):
            np.testing.assert_allclose(product.numpy(), x, atol=1e-12)


def test_symmetric_indefinite_systems(rng):
    pytest.importorskip("scipy")
    a = rng.standard_normal((3, 5, 5))
    a = a + a.swapaxes(1, 2)
    a[0, range(5), range(5)] = 0  # blocks of two
    factors, pivots = linalg.ldl_factor(pd.tensor(a))
    assert pivots.dtype == pd.int32 and (pivots.numpy()[0] < 0).any()
    b = rng.standard_normal((5, 2))
    x = linalg.ldl_solve(factors, pivots, pd.tensor(b))
    np.testing.assert_allclose(a @ x.numpy(), np.broadcast_to(b, (3, 5, 2)), atol=1e-11)
    check_grads(lambda v: linalg.ldl_solve(factors, pivots, v), order=2)(pd.tensor(b))
    with pytest.raises(pd.NotDifferentiableError, match=r"\[ldl_factor\] not differentiable"):
        linalg.ldl_factor(pd.tensor(a, requires_grad=True)).LD.sum().backward()
    with pytest.raises(pd.NotDifferentiableError, match=r"\[ldl_solve\] differentiable by B alone; got .*; try"):
        linalg.ldl_solve(factors.requires_grad_(), pivots, pd.tensor(b))
    for wrong in ([0, 1], [1, 3], [-1, -2], [1, -1]):
        with pytest.raises(ValueError, match=r"\[ldl_solve\] pivots name rows from 1 to 2, .*; got .*; try"):
            linalg.ldl_solve(pd.eye(2), pd.tensor(wrong), pd.ones(2, 1))
    assert linalg.ldl_factor_ex(pd.zeros(2, 2)).info.item() == 1
    assert linalg.ldl_factor(pd.zeros(2, 0, 0)).pivots.shape == (2, 0)


def test_of_low_rank(rng):
    for m, n in ((30, 8), (8, 30)):
        a = rng.standard_normal((2, m, 3)) @ rng.standard_normal((2, 3, n))
        u, s, v = pd.svd_lowrank(pd.tensor(a), q=5)
        assert u.shape == (2, m, 5) and v.shape == (2, n, 5)
        np.testing.assert_allclose(((u * s.unsqueeze(-2)) @ v.mT).numpy(), a, atol=1e-12)
        np.testing.assert_allclose(s.numpy()[:, :3], np.linalg.svd(a)[1][:, :3], rtol=1e-12)
        mean = a.mean(1, keepdims=True)
        u, s, v = pd.svd_lowrank(pd.tensor(a), q=3, M=pd.tensor(mean))
        np.testing.assert_allclose(((u * s.unsqueeze(-2)) @ v.mT).numpy(), a - mean, atol=1e-12)
        np.testing.assert_allclose(pd.pca_lowrank(pd.tensor(a), q=3).S.numpy(), s.numpy(), rtol=1e-12)
    full = rng.standard_normal((40, 40)) * 0.5 ** np.arange(40)
    assert abs(pd.svd_lowrank(pd.tensor(full), q=8, niter=4)[1][0].item() / np.linalg.norm(full, 2) - 1) < 1e-6


def test_no_elements():
    none = pd.zeros(0, 0)
    assert linalg.svd(none).S.shape == (0,) and linalg.eigh(none).eigenvalues.shape == (0,)
    assert linalg.lu(none).P.shape == (0, 0) and linalg.pinv(pd.zeros(0, 3)).shape == (3, 0)
    assert linalg.matrix_norm(none, math.inf).item() == 0 and linalg.svd(pd.zeros(0, 2)).Vh.shape == (2, 2)
    assert linalg.matrix_exp(none).shape == (0, 0) and linalg.matrix_rank(none).item() == 0


def test_info_instead_of_an_error():
    x = pd.tensor([[1.0, 1.0], [1.0, 1.0]])
    assert linalg.inv_ex(x).info.item() == 1 and np.isnan(linalg.inv_ex(x).inverse.numpy()).all()
    assert linalg.cholesky_ex(-x).info.item() == 1 and linalg.lu_factor_ex(x).info.item() == 2
    assert linalg.cond(x, 1).item() == math.inf


def test_bfloat16():
    x = pd.tensor(A, dtype=pd.bfloat16)
    assert linalg.svdvals(x).dtype == linalg.matrix_exp(x).dtype == linalg.lu_factor(x).LU.dtype == pd.bfloat16
