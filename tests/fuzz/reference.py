"""What NumPy says of a step, with more digits than the step has, and how far the step may be from it."""

import ml_dtypes
import numpy as np

FLOATS = ("float16", "bfloat16", "float32", "float64")


def is_float(dtype):
    return np.dtype(dtype).name in FLOATS


def wide(x):
    """An array of floats with more digits: float64, or 80 bits for what is float64. Others as they are."""
    x = np.asarray(x)
    if not is_float(x.dtype):
        return x
    return x.astype(np.longdouble if x.dtype == np.float64 else np.float64)


def eps(dtype):
    return float(ml_dtypes.finfo(dtype).eps)


class Reference:
    """An expected array and how far from it a result of that dtype may be, everywhere or by element.

    A bound of infinity allows anything there: what has no one result, or overflows on the way.
    """

    def __init__(self, expected, bound=0.0):
        self.expected, self.bound = np.asarray(expected), bound

    def check(self, actual):
        """None, or what is wrong."""
        expected = self.expected
        if actual.shape != expected.shape:
            return f"shape {actual.shape}, NumPy's {expected.shape}"
        if not is_float(actual.dtype):
            bad = (actual != expected) & ~np.isinf(self.bound)
            return self.first(actual, bad, "NumPy's")
        with np.errstate(all="ignore"):
            rounded = expected.astype(actual.dtype)
            a, e, r = wide(actual), wide(expected), wide(rounded)
            top = wide(np.asarray(ml_dtypes.finfo(actual.dtype).max, actual.dtype))
            fine = (a == r) | (np.isnan(a) & np.isnan(r)) | np.isinf(self.bound)
            fine |= np.abs(a - e) <= self.bound + _ulp(e, actual.dtype) / 2
            # next to overflow infinity is as near as the largest number
            clipped = np.clip(a, -top, top) - np.clip(e, -top, top)
            fine |= (np.isinf(a) | np.isinf(r)) & ~np.isnan(a) & ~np.isnan(e) & (np.abs(clipped) <= self.bound) & (self.bound > 0)
        return self.first(actual, ~fine, "NumPy's")

    def first(self, actual, bad, what):
        if not bad.any():
            return None
        k = tuple(int(i) for i in np.argwhere(bad)[0])
        return f"{int(bad.sum())} of {bad.size} differ, first at {k}: {actual[k]!r}, {what} {self.expected[k]!r}"


def _ulp(x, dtype):
    """One unit in the last place of numbers of x's size in the dtype."""
    f = ml_dtypes.finfo(dtype)
    size = np.maximum(np.abs(np.where(np.isfinite(x), x, 1)), wide(np.asarray(f.smallest_normal, dtype)))
    return np.exp2(np.floor(np.log2(size))) * float(f.eps)


def exact(expected):
    return Reference(expected)


def ulps(expected, n, dtype):
    """Within n ulps of the dtype that the result has."""
    expected = np.asarray(expected)
    if not is_float(dtype) or not n:
        return Reference(expected)
    with np.errstate(all="ignore"):
        return Reference(expected, n * _ulp(wide(expected), dtype))


def of_terms(expected, size, dtype, n):
    """Of a sum of n terms whose magnitudes add up to `size`: what rounding may do, whatever the order within a tree.

    A tree of blocks has fewer roundings on each path than 2 log2 n and a block's length; where `size` overflows
    anything may come.
    """
    if not is_float(dtype):
        return Reference(expected)
    work = np.float32 if np.dtype(dtype).itemsize < 4 else dtype  # 16-bit floats are added in float32
    with np.errstate(all="ignore"):
        bound = (24 + 2 * np.log2(max(n, 1))) * eps(work) * np.asarray(size, wide(np.zeros(0, work)).dtype)
        bound = bound + (eps(dtype) * np.abs(wide(np.asarray(expected))) if work != dtype else 0)
        bound = bound + float(ml_dtypes.finfo(work).smallest_normal)
        finite = np.isfinite(np.asarray(expected, np.longdouble))
        overflows = ~(np.asarray(size, np.longdouble) < float(ml_dtypes.finfo(work).max) / 2) & ~np.isnan(expected)
        bound = np.where(overflows, np.inf, np.where(finite, bound, 0))
    return Reference(expected, bound)
