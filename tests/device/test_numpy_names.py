"""Functions under NumPy's names against NumPy, with its keywords."""

import warnings

import numpy as np
import pytest

import pydiff as pd

A = np.random.default_rng(0).normal(size=(3, 4))
B = np.random.default_rng(1).normal(size=4)
HOLES = A.copy()
HOLES[0, 1] = HOLES[2, 3] = np.nan
EDGES = np.array([-27.0, 8.0, 0.0, 1e-300, np.inf, -np.inf, np.nan, 2.0, -1.5])
WHOLE = np.array([3, 1, 2, 3])

CASES = [
    ("absolute", (A,), {}), ("around", (A,), {}), ("around", (A, 2), {}), ("diagonal", (A,), {"offset": 1, "axis1": 1, "axis2": 0}), ("cbrt", (EDGES,), {}), ("cbrt", (EDGES.astype(np.float32),), {}),
    ("degrees", (A,), {}), ("divmod", (np.array([-7, 7]), 3), {}), ("divmod", (A, 0.3), {}), ("fabs", (EDGES,), {}), ("mod", (A, 0.7), {}),
    ("modf", (EDGES,), {}), ("radians", (A,), {}), ("rint", (A * 10,), {}), ("vecdot", (A, B), {}), ("matvec", (A, B), {}),
    ("spacing", (np.array([1.0, -1.0, 0.0, np.inf, np.nan, np.finfo(np.float64).max, 3.0]),), {}),
    ("bitwise_count", (np.array([7, -8, 0, -(2**63), 2**63 - 1]),), {}), ("bitwise_count", (np.array([7, -128], np.int8),), {}),
    ("bitwise_invert", (WHOLE,), {}), ("conjugate", (A,), {}), ("vecmat", (A[:, 0], A), {}), ("geomspace", (1, 1000, 4), {}),
    ("geomspace", (-2, -3000, 5), {}), ("identity", (3,), {}), ("indices", ((2, 3),), {}), ("tri", (3, 4, 1), {}),
    ("ravel_multi_index", ((np.array([1, 0]), np.array([2, 1])), (2, 3)), {}), ("expand_dims", (A, (0, -1)), {}), ("expand_dims", (A,), {"axis": 1}),
    ("ix_", (np.array([0, 1]), np.array([True, False, True])), {}), ("diag_indices", (3,), {}), ("matrix_transpose", (A,), {}),
    *[("rollaxis", (np.zeros((2, 3, 4)), axis, start), {}) for axis in range(3) for start in range(4)],
    ("permute_dims", (A, (1, 0)), {}), ("array_split", (A, 3), {"axis": 1}), ("unstack", (A,), {"axis": 1}), ("append", (A, B), {}),
    ("append", (A, A), {"axis": 1}), ("delete", (A, 1), {}), ("delete", (A, [0, -1]), {"axis": 1}), ("delete", (A, slice(0, 2)), {"axis": 0}),
    ("compress", (np.array([True, False, True]), A), {"axis": 0}), ("extract", (A > 0, A), {}), ("flatnonzero", (A > 0,), {}),
    ("take_along_axis", (A, np.argsort(A, 1)), {"axis": 1}), ("percentile", (A, 30), {}), ("percentile", (A, 30), {"axis": 1, "keepdims": True}),
    ("nanpercentile", (HOLES, [20, 50]), {}), ("ptp", (A,), {"axis": 0}), ("average", (A,), {"axis": 1, "weights": B}), ("average", (A,), {"weights": A}),
    *[(name, (HOLES,), options) for name in ("nanmax", "nanmin", "nanprod") for options in ({}, {"axis": 0}, {"axis": 1, "keepdims": True})],
    ("nanmax", (np.full((2, 2), np.nan),), {"axis": 0}), ("nanargmax", (HOLES,), {}), ("nanargmin", (HOLES,), {"axis": 1}),
    ("nanvar", (HOLES,), {"ddof": 0}), ("nanstd", (HOLES,), {"axis": 1, "ddof": 1}), ("nancumsum", (HOLES,), {"axis": 1}), ("nancumprod", (HOLES,), {}),
    ("cumulative_sum", (B,), {}), ("cumulative_prod", (A,), {"axis": 1}), ("array_equal", (A, A), {}), ("array_equal", (A, B), {}),
    ("array_equal", (HOLES, HOLES), {"equal_nan": True}), ("array_equiv", (A, 1), {}), ("array_equiv", (A, np.ones(7)), {}),
    *[(name, (WHOLE, np.array([1, 5, 3])), {}) for name in ("union1d", "intersect1d", "setdiff1d", "setxor1d")],
    ("interp", (A, np.array([-1.0, 0.0, 0.5]), np.array([1.0, 5.0, 2.0])), {}), ("interp", (A, np.array([0.0]), np.array([3.0])), {}),
    *[(name, pair, {"mode": mode}) for name in ("convolve", "correlate") for mode in ("full", "same", "valid")
      for pair in ((B, np.array([1.0, 2.0, 3.0])), (np.array([1.0, 2.0]), B), (WHOLE, WHOLE[:2]))],
    ("polyval", (B, A), {}), ("ediff1d", (A,), {}), ("ediff1d", (B,), {"to_begin": 9.0, "to_end": [1.0, 2.0]}), ("unwrap", (np.cumsum(A * 3),), {}),
    ("unwrap", (A * 10,), {"axis": 0}), ("unwrap", (B * 9,), {"discont": 5}),
    *[("digitize", (np.array([0.5, 1.0, 2.0, 9.0]), edges), {"right": right}) for edges in (np.array([0.0, 1.0, 2.0]), np.array([2.0, 1.0, 0.0]))
      for right in (False, True)],
]  # fmt: skip


def leaves(x):
    return list(x) if isinstance(x, (tuple, list)) else [x]


def as_tensor(x):
    if isinstance(x, tuple):
        return tuple(map(as_tensor, x))
    return pd.tensor(x) if isinstance(x, np.ndarray) else x


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{'-'.join(map(str, c[2]))}")
def test_function(case):
    name, arguments, options = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's of NaN and of zero
        want = getattr(np, name)(*arguments, **options)
    got = getattr(pd, name)(*map(as_tensor, arguments), **options)
    for g, w in zip(leaves(got), leaves(want), strict=True):
        g = g.cpu().numpy() if isinstance(g, pd.Tensor) else np.asarray(g)
        w = np.asarray(w)
        assert g.shape == w.shape
        if name not in ("geomspace", "identity", "tri"):  # of the default dtype here
            assert g.dtype == w.dtype
        tolerance = 1e-6 if g.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(g, w, rtol=tolerance, atol=tolerance if name in ("percentile", "unwrap", "mod", "divmod") else 0)
        if g.dtype.kind == "f" and name in ("cbrt", "modf", "spacing", "fabs"):
            assert np.array_equal(np.signbit(g), np.signbit(w))


def test_every_ufunc_of_numpy_is_here():
    missing = [n for n in dir(np) if isinstance(getattr(np, n), np.ufunc) and not hasattr(pd, n)]
    assert missing == ["isnat"]


def test_the_cube_root_is_good_to_one_ulp():
    x = np.random.default_rng(2).uniform(0.1, 1000, 100_000)
    exact = np.cbrt(x.astype(np.longdouble))
    for dtype in (np.float64, np.float32):
        rounded = x.astype(dtype)
        exact = np.cbrt(rounded.astype(np.longdouble))
        got = pd.cbrt(pd.tensor(rounded)).cpu().numpy()
        assert float(np.max(np.abs(got - exact) / np.spacing(exact.astype(dtype)))) <= 1.0


@pytest.mark.parametrize("name", ["cbrt", "fabs", "polyval", "interp", "convolve", "average", "nanvar", "unwrap"])
def test_derivatives(name):
    x = pd.tensor(np.array([0.3, -1.2, 2.1, 0.7]))
    f = {
        "polyval": lambda t: pd.polyval(t[:3], t),
        "interp": lambda t: pd.interp(t, pd.tensor([-2.0, 0.0, 3.0], dtype=pd.float64), t[:3]),
        "convolve": lambda t: pd.convolve(t, t[:2]),
        "average": lambda t: pd.average(t, weights=t * t + 1),
    }.get(name, getattr(pd, name))
    pd.testing.check_grads(f, order=2)(x)


def test_errors():
    with pytest.raises(TypeError, match=r"\[bitwise_count\] integers"):
        pd.bitwise_count(pd.ones(2))
    with pytest.raises(ValueError, match=r"\[geomspace\] ends of one sign"):
        pd.geomspace(-1, 1)
    with pytest.raises(ValueError, match=r"\[convolve\] two vectors"):
        pd.convolve(pd.ones(2, 2), pd.ones(2))
    with pytest.raises(ValueError, match=r"\[average\] weights"):
        pd.average(pd.ones(2, 3), weights=pd.ones(3))
    with pytest.raises(IndexError, match=r"\[delete\] position"):
        pd.delete(pd.ones(3), 3)
    with pytest.raises(ValueError, match=r"\[ix_\] vectors"):
        pd.ix_(pd.ones(2, 2))
