"""Functions under NumPy's names against NumPy, with its keywords."""

import sys
import warnings
from pathlib import Path

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
    ("bitwise_count", (np.array([2**64 - 1, 2**63, 7], np.uint64),), {}),
    ("bitwise_invert", (WHOLE,), {}), ("conjugate", (A,), {}), ("vecmat", (A[:, 0], A), {}), ("geomspace", (1, 1000, 4), {}),
    ("geomspace", (-2, -3000, 5), {}), ("identity", (3,), {}), ("indices", ((2, 3),), {}), ("tri", (3, 4, 1), {}),
    ("ravel_multi_index", ((np.array([1, 0]), np.array([2, 1])), (2, 3)), {}), ("expand_dims", (A, (0, -1)), {}), ("expand_dims", (A,), {"axis": 1}),
    ("ix_", (np.array([0, 1]), np.array([True, False, True])), {}), ("diag_indices", (3,), {}), ("matrix_transpose", (A,), {}),
    *[("rollaxis", (np.zeros((2, 3, 4)), axis, start), {}) for axis in range(3) for start in range(4)],
    ("permute_dims", (A, (1, 0)), {}), ("array_split", (A, 3), {"axis": 1}), ("unstack", (A,), {"axis": 1}), ("append", (A, B), {}),
    ("append", (A, A), {"axis": 1}), ("delete", (A, 1), {}), ("delete", (A, [0, -1]), {"axis": 1}), ("delete", (A, slice(0, 2)), {"axis": 0}),
    ("compress", (np.array([True, False, True]), A), {"axis": 0}), ("compress", (np.array([True, False]), A), {"axis": 1}),
    ("compress", (np.array([False, True, False, False, False]), A), {"axis": 0}), ("extract", (A > 0, A), {}), ("flatnonzero", (A > 0,), {}),
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

T = A > 0
N3 = np.arange(24.0).reshape(2, 3, 4)
#: What PyTorch has under the same name, called as in NumPy.
CASES += [
    ("all", (T,), {"axis": 0}), ("any", (T,), {"axis": 1, "keepdims": True}), ("allclose", (A, A + 1e-9), {}), ("amax", (A,), {"axis": 0}),
    ("amin", (A,), {"axis": (0, 1), "keepdims": True}), ("angle", (A,), {}), ("arange", (1, 7, 2), {}), ("argmax", (A,), {"axis": 1}),
    ("argmin", (A,), {}), ("argwhere", (T,), {}), ("asarray", (A,), {}), ("atleast_1d", (np.array(3.0),), {}), ("atleast_2d", (B,), {}),
    ("atleast_3d", (A,), {}), ("bincount", (WHOLE,), {"minlength": 6}), ("broadcast_arrays", (A, B), {}), ("broadcast_shapes", ((2, 1), (3,)), {}),
    ("broadcast_to", (B, (3, 4)), {}), ("clip", (A, -0.5, 0.5), {}), ("column_stack", ((B, B),), {}), ("copy", (A,), {}), ("corrcoef", (A,), {}),
    ("count_nonzero", (T,), {"axis": 0}), ("diag", (B,), {}), ("diagflat", (B, 1), {}), ("diff", (A,), {"axis": 0}), ("diff", (A, 2), {}),
    ("dsplit", (N3, 2), {}), ("dstack", ((A, A),), {}), ("einsum", ("ij,j->i", A, B), {}), ("fix", (A,), {}), ("flip", (A,), {"axis": 1}),
    ("fliplr", (A,), {}), ("flipud", (A,), {}), ("full_like", (A, 2.0), {}), ("hsplit", (A, 2), {}), ("hstack", ((A, A),), {}), ("i0", (A,), {}),
    ("inner", (A, B), {}), ("isclose", (A, A), {}), ("isin", (WHOLE, np.array([1, 3])), {}), ("isneginf", (EDGES,), {}), ("isposinf", (EDGES,), {}),
    ("isreal", (A,), {}), ("kron", (A, B), {}), ("moveaxis", (N3, 0, -1), {}), ("nan_to_num", (EDGES,), {}), ("nanmean", (HOLES,), {"axis": 1}),
    ("nanquantile", (HOLES, 0.3), {"axis": 0}), ("nansum", (HOLES,), {"axis": 1, "keepdims": True}), ("ones_like", (A,), {}),
    ("prod", (A,), {"axis": 1}), ("quantile", (A, 0.3), {"axis": 1, "keepdims": True}), ("ravel", (A,), {}), ("real", (A,), {}), ("reshape", (A, (4, 3)), {}), ("row_stack", ((B, B),), {}),
    ("roll", (A, 1), {"axis": 1}), ("rot90", (A,), {"axes": (1, 0)}), ("sinc", (A,), {}), ("squeeze", (A[None],), {"axis": 0}),
    ("stack", ((A, A),), {"axis": 1}), ("sum", (A,), {"axis": 0, "keepdims": True}), ("swapaxes", (N3, 0, 2), {}), ("tensordot", (A, N3[0]), {"axes": ([0, 1], [0, 1])}),
    ("tile", (A, (2, 1)), {}), ("trapezoid", (A,), {"axis": 0}), ("tril", (A, 1), {}), ("triu", (A, -1), {}), ("unravel_index", (np.array([5]), (2, 3)), {}),
    ("vdot", (B, B), {}), ("vsplit", (A, 3), {}), ("vstack", ((A, A),), {}), ("where", (T, A, 0.0), {}), ("zeros_like", (A,), {}),
]  # fmt: skip
#: Not of arrays' values, or tested elsewhere.
ELSEWHERE = {"from_dlpack", "set_printoptions"}


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


def test_every_function_that_the_page_calls_the_same_is_tried():
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    import torch_names

    same = {name for space, name in torch_names.listed("same") if space == "numpy functions"}
    assert len(same) > 100
    assert not same - {case[0] for case in CASES} - ELSEWHERE


UFUNCS = [n for n in dir(np) if isinstance(getattr(np, n), np.ufunc) and n not in ("equal", "isnat")]
OF_INTEGERS = "bitwise gcd lcm invert left_shift right_shift ldexp"


@pytest.mark.parametrize("name", UFUNCS)
def test_ufunc(name):
    """Each over numbers of its kind; how exact, and at special values, is tested by the op table."""
    of = getattr(np, name)
    if name in ("matmul", "matvec", "vecmat", "vecdot"):
        arguments = {"matmul": (A, A.T), "matvec": (A, B), "vecmat": (A[:, 0], A), "vecdot": (A, B)}[name]
    elif name == "ldexp":
        arguments = A, np.array([1, -2, 3, 0], np.int32)
    elif any(name.startswith(part) for part in OF_INTEGERS.split()):
        arguments = (np.array([1, 5, 12, 0]), np.array([3, 2, 4, 1]))[: of.nin]
    elif name in ("power", "float_power"):
        arguments = np.abs(A), B
    else:
        low = 1.1 if name in ("arccosh", "acosh") else 0.1
        x = np.random.default_rng(5).uniform(low, low + 0.8, (3, 4))
        arguments = (x, B)[: of.nin]
    want = of(*arguments)
    got = getattr(pd, name)(*map(as_tensor, arguments))
    for g, w in zip(leaves(got), leaves(want), strict=True):
        assert g.cpu().numpy().dtype == np.asarray(w).dtype
        np.testing.assert_allclose(g.cpu().numpy(), w, rtol=1e-12, atol=1e-14)


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
