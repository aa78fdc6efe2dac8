"""What the tests of this folder compare with: NumPy twins, bits, ulps, and samples of the op table."""

import math
import types

import numpy as np
import pytest

import pydiff as pd
from pydiff.testing import check_grads

# Distance from the correctly rounded value, in ulps: 0 for what IEEE 754 defines and what selects; 2 for the
# elementary functions (tests/host/test_vmath.py holds each to a bound of its own); 4 for what is made of these.
EXACT = {
    "add", "sub", "mul", "div", "strong_mul", "neg", "abs", "sign", "square", "reciprocal", "sqrt", "floor", "ceil",
    "trunc", "round", "maximum", "minimum", "half_gt", "relu", "where", "floor_divide", "remainder",
}  # fmt: skip
ELEMENTARY = {
    "asinh", "acosh", "atanh", "hypot", "sinc", "pow", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "rsqrt", "tanh", "sinh", "cosh", "sigmoid",
    "erf", "erfc", "sin", "cos", "tan", "asin", "acos", "atan", "atan2",
}  # fmt: skip
OTHER_BOUNDS = {
    # the twin's own: the argument of erfc(z), z = -x/sqrt(2), is rounded once and its constant once; erfc multiplies a
    # relative error by up to 2 z^2 + 1 = 10 within the domain |x| <= 3; and erfc's own 2, and a product
    "gelu": 14,
    "ndtr": 14,
    # next to a zero, such as (-0.5, -1): relative to terms of size 1/2, as tests/accuracy.py has it, they are within 2
    "sinc": 8,  # the twin has pi with 53 bits
    "logaddexp": 64,
    "logaddexp2": 64,
}

SPECIAL = [
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 2.0, 3.0, 1e-3, -7.25, 88.0, -87.0, 100.5, -104.0, 1e5, -3e4, 1e10,
    math.inf, -math.inf, math.nan,
]  # fmt: skip


# Rows whose twin is SciPy's.
def of_scipy(row):
    return row["twin"].startswith("special.")


def ulp_bound(name):
    return OTHER_BOUNDS.get(name, 0 if name in EXACT else 2 if name in ELEMENTARY else 4)


def specials(dtype):
    """Zeros, infinities, NaN, denormals, the largest and smallest numbers, halves, and arguments out of range."""
    dtype = np.dtype(dtype)
    if dtype == bool:
        return np.array([False, True])
    if dtype.kind in "iu":
        i = np.iinfo(dtype)
        whole = [0, 1, -1, 2, -2, 7, -7, 13, 31, 32, 33, 64, i.max, i.min, i.max - 1, i.min + 1]
        return np.array([k for k in whole if i.min <= k <= i.max], dtype)
    f = np.finfo(dtype)
    edge = [f.smallest_subnormal, f.smallest_normal, np.nextafter(f.smallest_normal, dtype.type(0)), f.max,
            np.nextafter(dtype.type(1), dtype.type(2))]  # fmt: skip
    edge = np.array(edge, dtype)
    with np.errstate(over="ignore"):
        return np.concatenate([np.array(SPECIAL).astype(dtype), edge, -edge])


# ---- rows


def table():
    return pd._C.op_table()


def rows(family="Elementwise"):
    return [r for r in table() if r["family"].lower() == family.lower()]


def function_of(row):
    """The row as a function of tensors of equal dtype."""
    name = row["name"]
    if name == "where":
        return lambda a, b, c: pd.where(a, b, c)
    return getattr(pd, name, None) or getattr(pd._C, name)


_MATH = types.SimpleNamespace(
    erf=np.vectorize(math.erf, otypes=[np.float64]),
    erfc=np.vectorize(math.erfc, otypes=[np.float64]),
    sqrt=math.sqrt,
)


def twin(row, *operands):
    """The row's NumPy twin."""
    names = "x" if len(operands) == 1 else "abc"
    scope = {"np": np, "math": _MATH}
    if of_scipy(row):
        scope["special"] = pytest.importorskip("scipy.special")
    with np.errstate(all="ignore"):
        return np.asarray(eval(row["twin"], scope, dict(zip(names, operands))))


def domain(row):
    """A pair of bounds, "bool" or "int" for each operand."""
    out = []
    for part in row["domain"].split(";"):
        out.append(part if part in ("bool", "int") else tuple(float(v) for v in part.split(",")))
    return out


def sample(row, rng, shape, dtype):
    """Operands from the row's domain."""
    out = []
    for part in domain(row):
        if part == "bool":
            out.append(np.asarray(rng.random(shape) < 0.5))
        elif np.dtype(dtype) == bool:
            out.append(np.asarray(rng.random(shape) < 0.5))
        elif np.dtype(dtype).kind in "iu":
            lo, hi = (-1000, 1000) if part == "int" else part
            out.append(rng.integers(math.floor(lo), math.ceil(hi) + 1, shape).astype(dtype))
        else:
            out.append(rng.uniform(*part, shape).astype(dtype))
    return out


# ---- comparison


def array(x):
    """A tensor, a torch tensor or a number as an ndarray."""
    return np.asarray(x.detach().numpy() if hasattr(x, "detach") else x)


def same_bits(actual, expected, what=""):
    """Equal shape, dtype and bits; any NaN equals any NaN, and +0 differs from -0."""
    actual, expected = array(actual), array(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape} for {expected.shape}"
    assert actual.dtype == expected.dtype, f"{what}: {actual.dtype} for {expected.dtype}"
    if actual.tobytes() == expected.tobytes():
        return
    a, e = np.ascontiguousarray(actual).ravel(), np.ascontiguousarray(expected).ravel()
    if a.dtype.kind == "f" or a.dtype.name == "bfloat16":
        bits = f"i{a.dtype.itemsize}"
        with np.errstate(invalid="ignore"):  # ml_dtypes' comparison of NaN
            bad = (a.view(bits) != e.view(bits)) & ~((a != a) & (e != e))
    else:
        bad = a != e
    k = np.flatnonzero(bad)
    assert not k.size, f"{what}: {k.size} of {a.size} differ, first at {k[0]}: {a[k[0]]!r} for {e[k[0]]!r}"


def within_ulps(actual, expected, ulps, what="", signed_zeros=False):
    """`actual` within so many units in the last place of the rounded `expected`, which has more digits.

    What overflows to infinity within half an ulp of the largest number may do so, and vice versa.
    """
    actual, expected = array(actual), array(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape} for {expected.shape}"
    dtype = actual.dtype
    with np.errstate(all="ignore"):
        rounded = expected.astype(dtype)
        if signed_zeros:
            zero = (rounded == 0) & (actual == 0)
            wrong = zero & (np.signbit(rounded) != np.signbit(actual))
            assert not wrong.any(), f"{what}: wrong sign of zero at {np.argwhere(wrong)[0]}"
        special = ~np.isfinite(rounded) | ~np.isfinite(actual)
        same = (rounded == actual) | (np.isnan(rounded) & np.isnan(actual))
        wide = np.longdouble if dtype == np.float64 else np.float64
        unit = np.spacing(np.abs(np.where(special, dtype.type(1), rounded))).astype(wide)
        off = np.abs(actual.astype(wide) - expected.astype(wide)) / unit
        off = np.where(special, np.where(same, 0, np.inf), off)
        # A result next to overflow: infinity is then `ulps` away from the largest number at most.
        top = np.finfo(dtype).max
        edge = special & (np.abs(np.where(np.isinf(actual), expected, actual)) >= top * (1 - ulps * np.finfo(dtype).eps))
        edge &= np.isinf(actual) ^ np.isinf(rounded)
        off = np.where(edge & (np.sign(actual) == np.sign(rounded)), 0, off)
    worst = np.max(off, initial=0)
    if worst > ulps + 0.5:
        k = np.unravel_index(np.argmax(off), off.shape)
        raise AssertionError(f"{what}: {worst} ulps off at {k}: {actual[k]!r} for {expected[k]!r}")


def close(actual, expected, eps=8, scale=None, what=""):
    """Equal within `eps` epsilons of the dtype times `scale`, by default the largest finite expected number."""
    actual, expected = array(actual), array(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape} for {expected.shape}"
    if actual.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected, err_msg=what)
        return
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite].astype(actual.dtype), err_msg=what)
    if scale is None:
        scale = np.abs(expected[finite]).max(initial=0.0)
    bound = eps * np.finfo(actual.dtype).eps * max(scale, np.finfo(actual.dtype).tiny)
    np.testing.assert_allclose(actual[finite], expected[finite], rtol=0, atol=bound, err_msg=what)


# ---- derivatives


def tangent_pairing(f, operands, rng, eps=256):
    """<u, J v> = <J^T u, v> for random u, v: reverse mode is the transpose of forward mode.

    Each side is a sum of n products, so the bound is `eps` epsilons of the sum of their magnitudes.
    """
    v = tuple(pd.tensor(rng.standard_normal(x.shape).astype(x.dtype)) for x in operands)
    x = tuple(pd.tensor(o) for o in operands)
    y, jv = pd.jvp(f, x, v)
    u = pd.tensor(rng.standard_normal(tuple(y.shape)).astype(array(y).dtype))
    _, pull = pd.vjp(f, *x)
    back = pull(u)
    back = back if isinstance(back, tuple) else (back,)
    left = array(u) * array(jv)
    right = [array(b) * array(t) for b, t in zip(back, v)]
    total = np.abs(left).sum() + sum(np.abs(r).sum() for r in right)
    gap = abs(left.sum() - sum(r.sum() for r in right))
    assert gap <= eps * np.finfo(left.dtype).eps * total, f"<u, Jv> and <J^T u, v> differ by {gap} of {total}"


def check_derivatives(f, *operands, order=2):
    """Both modes against finite differences, up to `order`; all operands in float64."""
    check_grads(f, order=order)(*[pd.tensor(x) for x in operands])


def types_of(row):
    """Names of the dtypes that the row has loops for, bool first."""
    return list(row["types"])


def differentiable(row):
    """For each operand, whether a derivative passes through it."""
    return [d == "yes" for d in row["diff"][: row["arity"]]]
