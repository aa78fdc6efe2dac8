"""Special functions, rounding, shifts and the parts of numbers, where PyTorch's own samples do not reach.

Those samples are in tests/torch_samples.py. SciPy, where it is installed, computes the rows of pydiff/fallback.
"""

import doctest

import numpy as np
import pytest

import pydiff as pd
from pydiff import bits, special
from pydiff.testing import check_grads

COMPOSED = {
    "ndtr": [-2.0, 0.3, 1.7],
    "erfinv": [-0.7, 0.0, 0.4],
    "erfcx": [-1.0, 0.2, 5.0],
    "ndtri": [0.1, 0.5, 0.8],
    "log_ndtr": [-9.0, -0.5, 2.0],
    "i0": [-1.5, 0.4, 3.0],
    "i1": [-1.5, 0.4, 3.0],
    "i0e": [-1.5, 0.4, 3.0],
    "i1e": [-1.5, 0.4, 3.0],
    "entr": [0.2, 0.7, 3.0],
    "sinc": [-2.3, -1e-3, 0.0, 0.1, 0.16, 1.7],
    "spherical_bessel_j0": [-4.0, 1e-3, 0.49, 0.51, 7.0],
}
ROWS = {
    "lgamma": [0.3, 2.5, -1.4],
    "digamma": [0.3, 2.5, -1.4],
    "bessel_j0": [-1.5, 0.4, 3.0],
    "bessel_j1": [-1.5, 0.4, 3.0],
    "bessel_y0": [0.5, 1.4, 3.0],
    "bessel_y1": [0.5, 1.4, 3.0],
    "modified_bessel_k0": [0.5, 1.4, 3.0],
    "modified_bessel_k1": [0.5, 1.4, 3.0],
    "scaled_modified_bessel_k0": [0.5, 1.4, 3.0],
    "scaled_modified_bessel_k1": [0.5, 1.4, 3.0],
    "airy_ai": [-2.0, 0.0, 1.5],
}


@pytest.mark.smoke
@pytest.mark.parametrize("name", COMPOSED)
def test_compositions_to_third_order_and_in_vmap(name):
    f, x = getattr(special, name), pd.tensor(COMPOSED[name], dtype=pd.float64)
    check_grads(f, order=3)(x)
    assert pd.equal(pd.vmap(f)(x), f(x))


@pytest.mark.parametrize("name", ROWS)
def test_rows_to_second_order(name):
    pytest.importorskip("scipy")
    check_grads(getattr(special, name))(pd.tensor(ROWS[name], dtype=pd.float64))


def test_rows_of_two_operands_to_second_order():
    pytest.importorskip("scipy")
    a, x = pd.tensor([0.5, 2.0, 3.0], dtype=pd.float64), pd.tensor([[0.3], [2.5]], dtype=pd.float64)
    check_grads(lambda x: special.gammainc(a, x))(x)
    check_grads(lambda x: special.gammaincc(a, x))(x)
    check_grads(lambda q: special.zeta(a + 1.5, q))(x)
    check_grads(lambda x: special.polygamma(2, x))(x)
    check_grads(lambda x: special.mvlgamma(x + 2, 3))(x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_polygamma_far_below_zero_does_not_count_up(n, dtype):
    """By reflection: psi_n(x) = (-1)^n psi_n(1 - x) - pi d^n/dx^n cot(pi x)."""
    mp = pytest.importorskip("mpmath")
    pytest.importorskip("scipy")
    x = np.array([-16.25, -17.5, -1000.125, -1e6 - 0.25, -1e6 - 0.9375, -(2.0**22) - 0.5], dtype)
    x = np.concatenate([x, [-(2.0**40) - 0.25, -(2.0**51) - 0.5]]) if dtype == "float64" else x
    with mp.workdps(60):
        cot = [mp.diff(lambda t: mp.pi * mp.cot(mp.pi * t), mp.mpf(v) - mp.floor(v), n) for v in x.tolist()]
        exact = [(-1) ** n * mp.psi(n, 1 - mp.mpf(v)) - c for v, c in zip(x.tolist(), cot)]
    got = pd.polygamma(n, pd.tensor(x))
    near_zero = np.array([float(abs(c)) < 1e-10 for c in cot])  # the two terms cancel where cot is odd
    np.testing.assert_allclose(got.numpy()[~near_zero], np.array(exact, float)[~near_zero], rtol=32 * np.finfo(dtype).eps)
    assert np.isinf(pd.polygamma(1, pd.tensor([-1e9, -3.0])).numpy()).all()  # poles
    slope = pd.grad(lambda t: pd.digamma(t).sum())(pd.tensor([-1e15 - 0.5], dtype=pd.float64))
    np.testing.assert_allclose(slope.item(), np.pi**2, rtol=1e-12)


def test_an_order_has_no_derivative():
    pytest.importorskip("scipy")
    a = pd.tensor([0.5], requires_grad=True)
    x = pd.tensor([1.5], requires_grad=True)
    special.gammainc(a, x).sum().backward()
    assert a.grad is None and x.grad is not None


def test_the_derivative_of_i1_at_zero():
    pytest.importorskip("scipy")
    x = pd.tensor([0.0], requires_grad=True)
    special.i1(x).sum().backward()
    assert x.grad.tolist() == [0.5]


@pytest.mark.parametrize("dtype", [pd.float16, pd.bfloat16, pd.float32, pd.float64, pd.int32, pd.bool])
def test_dtypes(dtype):
    pytest.importorskip("scipy")
    x = pd.tensor([1, 0, 1]).to(dtype)
    wanted = dtype if dtype.is_floating_point else pd.float32
    for f in (special.lgamma, special.i0, special.ndtr, special.sinc, special.entr, special.xlogy):
        assert (f(x, x) if f is special.xlogy else f(x)).dtype == wanted
    assert special.lgamma(pd.zeros(0, 3, dtype=dtype)).shape == (0, 3)


def test_scipy_is_asked_for(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(RuntimeError, match=r"^\[bessel_j0\] SciPy's .*; got no scipy.special; try pip install scipy"):
        special.bessel_j0(pd.ones(2, device="cpu"))


@pytest.mark.smoke
def test_the_gamma_functions_are_the_cores_own(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "scipy.special", None)
    x = pd.tensor([[0.5, 1.0], [2.5, -1.5]], requires_grad=True)
    for f in (special.lgamma, special.digamma):
        y = pd.vmap(f)(x.detach())
        assert pd.equal(y, f(x)) and f(x).requires_grad
    special.lgamma(x).sum().backward()
    assert pd.equal(x.grad, special.digamma(x.detach()))


def test_xlogy_at_zero():
    x = pd.tensor([0.0, 0.0, 0.0], requires_grad=True)
    y = pd.tensor([0.0, 2.0, float("nan")], requires_grad=True)
    z = special.xlogy(x, y)
    assert z.tolist()[:2] == [0.0, 0.0] and np.isnan(z.tolist()[2])
    z[:2].sum().backward()
    assert x.grad.tolist()[:2] == [0.0, pytest.approx(np.log(2.0))] and y.grad.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", [n for n in special.__all__ if "polynomial" in n])
def test_polynomials(name):
    x = pd.tensor([-0.9, 0.2, 0.7], dtype=pd.float64)
    f = getattr(special, name)
    degrees = pd.tensor([[-1], [0], [1], [2], [5]], dtype=pd.float64)
    together = f(x, degrees)
    for k, n in enumerate((-1, 0, 1, 2, 5)):
        assert pd.allclose(together[k], f(x, n), 1e-12)
    check_grads(lambda x: f(x, 4), order=3)(x)


# ---- whole numbers


def test_the_norm_that_counts_has_the_gradient_zero():
    x = pd.tensor([0.0, 3.0, float("nan"), -float("inf")], requires_grad=True)
    y = pd.norm(x, 0)
    y.backward()
    assert y.item() == 3.0 and x.grad.tolist() == [0.0] * 4


@pytest.mark.smoke
@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "round", "sign", "sgn"])
def test_rounding_has_the_gradient_zero(name):
    x = pd.tensor([1.5, -0.0, float("inf")], requires_grad=True)
    for f in (getattr(pd, name), getattr(pd.Tensor, name)):
        y = f(x)
        assert y.requires_grad
        x.grad = None
        (y * x.detach()).sum().backward()
        assert x.grad.tolist() == [0.0, 0.0, 0.0]
    whole = pd.tensor([3, -4])
    assert getattr(pd, name)(whole).dtype == pd.int64
    assert pd.equal(pd.vmap(getattr(pd, name))(x.detach()), getattr(pd, name)(x.detach()))


def test_division_that_rounds_has_the_gradient_zero():
    x, y = pd.tensor([7.0, -7.0], requires_grad=True), pd.tensor([2.0], requires_grad=True)
    for mode, want in (("floor", [3.0, -4.0]), ("trunc", [3.0, -3.0])):
        z = pd.div(x, y, rounding_mode=mode)
        assert z.tolist() == want
        z.sum().backward()
    assert x.grad.tolist() == [0.0, 0.0] and y.grad.tolist() == [0.0]


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8", "uint8"])
def test_shifts_like_numpy(dtype):
    rng = np.random.default_rng(0)
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max, 64, dtype=dtype, endpoint=True)
    shift = np.arange(64).astype(dtype) % info.bits
    a, b = pd.tensor(x), pd.tensor(shift)
    np.testing.assert_array_equal((a << b).numpy(), np.left_shift(x, shift))
    np.testing.assert_array_equal((a >> b).numpy(), np.right_shift(x, shift))
    a <<= 1
    np.testing.assert_array_equal(a.numpy(), x << np.array(1, dtype))
    np.testing.assert_array_equal((pd.tensor([200]) >> pd.tensor([70, -1])).numpy(), [0, 0])
    assert (1 << pd.tensor([3])).tolist() == [8]


def test_frexp_of_all_kinds_of_numbers():
    info = np.finfo(np.float64)
    x = np.array([0.0, -0.0, 1.0, 0.5, 6.0, -0.3, info.max, -info.tiny, 5e-324, 1e-310, np.inf, -np.inf, np.nan])
    mantissa, exponent = pd.frexp(pd.tensor(x))
    want, power = np.frexp(x)
    finite = np.isfinite(x)
    np.testing.assert_array_equal(mantissa.numpy(), want)
    np.testing.assert_array_equal(exponent.numpy()[finite], power[finite])
    y = pd.tensor([6.0], requires_grad=True)
    pd.frexp(y)[0].sum().backward()
    assert y.grad.tolist() == [0.125]


def test_powers_of_whole_numbers():
    base, power = np.meshgrid(np.arange(-5, 6), [0, 1, 2, 3, 20, 27])
    np.testing.assert_array_equal((pd.tensor(base) ** pd.tensor(power)).numpy(), base**power)
    odd = pd.tensor([3, -7]) ** pd.tensor([2**62 + 5, 1000001])  # modulo 2^64
    assert [v % 2**64 for v in odd.tolist()] == [pow(3, 2**62 + 5, 2**64), pow(-7, 1000001, 2**64)]
    assert (pd.tensor([1, -1, -1, 2, 0]) ** pd.tensor([-1, -2, -3, -1, -1])).tolist() == [1, 1, -1, 0, 0]
    assert (2 ** pd.tensor([0, 5], dtype=pd.uint8)).tolist() == [1, 32]


def test_memory_format_has_no_effect():
    x = pd.tensor([1.5])
    assert x.to(pd.float64, memory_format=None).dtype == x.double(memory_format=None).dtype == pd.float64
    with pytest.raises(TypeError, match=r"^\[double\] a cast takes no arguments but memory_format"):
        x.double(True)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: pd.gcd(pd.ones(1), 2), TypeError, r"^\[gcd\] operands are integers"),
        (lambda: pd.lcm(pd.ones(1), 2), TypeError, r"^\[lcm\] operands are integers"),
        (lambda: pd.ones(1) << 2, TypeError, r"^\[bitwise_left_shift\] not defined for this type; got float32"),
        (lambda: pd.ones(1) >> 2, TypeError, r"^\[bitwise_right_shift\] not defined for this type; got float32"),
        (lambda: pd.frexp(pd.tensor([1])), TypeError, r"^\[frexp\]"),
        (lambda: pd.positive(pd.tensor([True])), TypeError, r"^\[positive\]"),
        (lambda: pd.round(pd.tensor([1]), decimals=2), TypeError, r"^\[round\] decimals"),
        (lambda: pd.polygamma(-1, pd.ones(1)), ValueError, r"^\[polygamma\] n is not negative"),
        (lambda: pd.mvlgamma(pd.ones(1), 0), ValueError, r"^\[mvlgamma\] p is positive"),
    ],
)
def test_what_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("module", [special, bits])
def test_the_examples_in_the_docstrings(module):
    pytest.importorskip("scipy")
    tried = doctest.testmod(module)
    assert not tried.failed and tried.attempted
