"""What hardware leaves open has one result: the table of docs/DTYPES.md, in whole numbers of Python.

The same values in each mode of the interpreter, the compiler and CUDA are in bit_programs.py (test_same_bits.py).
"""

import math

import numpy as np
import pytest
from oracle import array, specials

import pydiff as pd

SIGNED = ["int8", "int16", "int32", "int64"]
UNSIGNED = ["uint8", "uint16", "uint32", "uint64"]
INTEGERS = SIGNED + UNSIGNED
FLOATS = ["float16", "bfloat16", "float32", "float64"]


def wrapped(v, dtype):
    """The low bits of a whole number as a number of the type."""
    info = np.iinfo(dtype)
    v &= (1 << info.bits) - 1
    return v - (1 << info.bits) if info.min < 0 and v > info.max else v


def tensor(values, dtype):
    return pd.tensor(np.array(values, dtype))


def pairs(dtype, extra=()):
    values = [int(v) for v in (*specials(dtype), *np.array(extra, dtype))]
    a, b = zip(*[(x, y) for x in values for y in values])
    return list(a), list(b)


def check(got, expected, a, b, what):
    got = got.tolist()
    wrong = [(x, y, g, e) for x, y, g, e in zip(a, b, got, expected) if g != e]
    assert not wrong, f"{what}: {len(wrong)} differ, first {wrong[0]}"


# ---- division


def truncated(x, y):
    q = abs(x) // abs(y)
    return q if (x < 0) == (y < 0) else -q


@pytest.mark.parametrize("dtype", INTEGERS)
def test_division_and_remainder(dtype):
    a, b = pairs(dtype, [100, 101])
    x, y = tensor(a, dtype), tensor(b, dtype)
    floor = [wrapped(-1 if d == 0 else n // d, dtype) for n, d in zip(a, b)]
    trunc = [wrapped(-1 if d == 0 else truncated(n, d), dtype) for n, d in zip(a, b)]
    rest = [n if d == 0 else wrapped(n % d, dtype) for n, d in zip(a, b)]
    signed_rest = [n if d == 0 else wrapped(n - d * truncated(n, d), dtype) for n, d in zip(a, b)]
    check(x // y, floor, a, b, "//")
    check(pd.div(x, y, rounding_mode="floor"), floor, a, b, "div floor")
    check(pd.div(x, y, rounding_mode="trunc"), trunc, a, b, "div trunc")
    check(x % y, rest, a, b, "%")
    check(pd.fmod(x, y), signed_rest, a, b, "fmod")
    # what is divided is quotient times divisor plus remainder, always
    check(x // y * y + x % y, a, a, b, "q d + r")
    check(pd.div(x, y, rounding_mode="trunc") * y + pd.fmod(x, y), a, a, b, "q d + r, trunc")


@pytest.mark.parametrize("dtype", INTEGERS)
def test_division_by_a_number(dtype):
    values = [int(v) for v in specials(dtype)]
    x = tensor(values, dtype)
    for d in (0, 1, 3, 64) if dtype in UNSIGNED else (0, 1, 3, -1, -3):
        floor = [wrapped(-1 if d == 0 else n // d, dtype) for n in values]
        check(x // d, floor, values, [d] * len(values), "//")
        check(x % d, [n if d == 0 else wrapped(n % d, dtype) for n in values], values, [d] * len(values), "%")
        check(pd.fmod(x, d), [n if d == 0 else wrapped(n - d * truncated(n, d), dtype) for n in values], values,
              [d] * len(values), "fmod")  # fmt: skip
    check(7 // x, [wrapped(-1 if n == 0 else 7 // n, dtype) for n in values], values, values, "7 //")


def test_large_quotients_are_exact():
    x = pd.tensor([2**62 + 1, -(2**62) - 1, 2**53 + 1])
    assert pd.div(x, 1, rounding_mode="trunc").tolist() == x.tolist()
    assert pd.div(x, 3, rounding_mode="trunc").tolist() == [truncated(v, 3) for v in x.tolist()]


# ---- casts of floats


def whole_of(v, dtype):
    """A float as an integer: toward zero, as int32 or int64 (whichever holds the type; for uint64 also its upper half),
    the nearest of those where it is beyond, NaN as 0; then its low bits."""
    if math.isnan(v):
        return 0
    low, high = (-(2**31), 2**31 - 1) if np.dtype(dtype).itemsize < 4 or dtype == "int32" else (-(2**63), 2**63 - 1)
    if dtype == "uint64":
        high = 2**64 - 1
    v = low if v == -math.inf else high if v == math.inf else min(max(int(v), low), high)
    return wrapped(v, dtype)


EDGES = [s * m * 2.0**e for e in (7, 8, 15, 16, 31, 32, 62, 63, 64, 65, 100) for m in (1.0, 1 - 2**-8, 1 - 2**-24, 1 - 2**-53, 1 + 2**-8) for s in (1, -1)]  # fmt: skip
EDGES += [0.0, -0.0, 0.99, -0.99, 1.5, -1.5, 127.9, -128.9, 255.9, 300.0, -300.0, 3e9, -3e9, math.inf, -math.inf, math.nan]


def edges(name):
    kind = pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else np.dtype(name).type
    with np.errstate(over="ignore"):
        return np.array(EDGES).astype(kind)


@pytest.mark.parametrize("source", FLOATS)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_floats_to_integers(source, dtype):
    x = edges(source)
    values = [float(v) for v in x]
    expected = [whole_of(v, dtype) for v in values]
    got = pd.tensor(x).to(getattr(pd, dtype))
    assert got.dtype == getattr(pd, dtype)
    check(got, expected, values, values, f"{source} to {dtype}")
    # by way of an array, a list and a number: the same
    check(pd.tensor(x, dtype=getattr(pd, dtype)), expected, values, values, "tensor(array)")
    check(pd.tensor(values, dtype=getattr(pd, dtype)), expected, values, values, "tensor(list)")
    for v, e in list(zip(values, expected))[::7]:
        assert pd.full((1,), v, dtype=getattr(pd, dtype)).tolist() == [e], v
        assert pd.full_like(got, v)[0].item() == e, v


@pytest.mark.parametrize("source", FLOATS)
def test_floats_to_bool(source):
    x = edges(source)
    assert pd.tensor(x).bool().tolist() == [float(v) != 0 for v in x]  # NaN is true


@pytest.mark.parametrize("to", FLOATS)
@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_integers_to_floats_are_rounded_to_nearest(dtype, to, rng):
    info = np.iinfo(dtype)
    x = np.concatenate([rng.integers(info.min, info.max, 500, dtype=dtype, endpoint=True) >> np.array(k, dtype) for k in range(0, 40, 3)])
    if to in ("float16", "bfloat16"):
        x = x[np.abs(x.astype(np.float64)) < 2.0**52]  # beyond, float64 stands between
    kind = pytest.importorskip("ml_dtypes").bfloat16 if to == "bfloat16" else np.dtype(to)
    with np.errstate(over="ignore"):
        expected = (x.astype(np.float64) if to == "bfloat16" else x).astype(kind)
    np.testing.assert_array_equal(array(pd.tensor(x).to(getattr(pd, to))).astype(np.float64), expected.astype(np.float64))


# ---- shifts


@pytest.mark.parametrize("dtype", INTEGERS)
def test_shifts_by_any_number_of_places(dtype):
    bits = np.iinfo(dtype).bits
    counts = [*range(bits + 2), 63, 64, 65, 100, 127]
    counts += [-1, -2, -bits, -128] if dtype in SIGNED else [wrapped(-1, dtype), wrapped(-bits, dtype)]
    values = [int(v) for v in specials(dtype)]
    a, b = zip(*[(v, k) for v in values for k in counts])
    x, y = tensor(a, dtype), tensor(b, dtype)
    left = [wrapped(v << k, dtype) if 0 <= k < bits else 0 for v, k in zip(a, b)]
    right = [v >> k if 0 <= k < bits else -1 if v < 0 else 0 for v, k in zip(a, b)]
    check(x << y, left, a, b, "<<")
    check(x >> y, right, a, b, ">>")
    check(pd.bitwise_left_shift(x, y), left, a, b, "bitwise_left_shift")
    check(pd.bitwise_right_shift(x, y), right, a, b, "bitwise_right_shift")
    for k in (0, 1, bits - 1, bits, 100) + ((-1,) if dtype in SIGNED else ()):
        check(tensor(values, dtype) << k, [wrapped(v << k, dtype) if 0 <= k < bits else 0 for v in values], values, values, k)
        check(tensor(values, dtype) >> k, [v >> k if 0 <= k < bits else -1 if v < 0 else 0 for v in values], values, values, k)
    y = tensor(values, dtype)
    y <<= 1
    check(y, [wrapped(v << 1, dtype) for v in values], values, values, "<<=")
    y >>= 1
    check(y, [wrapped(v << 1, dtype) >> 1 for v in values], values, values, ">>=")


# ---- powers, negatives


@pytest.mark.parametrize("dtype", INTEGERS)
def test_powers(dtype):
    a, b = pairs(dtype, [3, 5])
    x, y = tensor(a, dtype), tensor(b, dtype)
    bits = np.iinfo(dtype).bits

    def power(n, k):
        if k < 0:  # of these only the powers of 1 and -1 are whole
            return 1 if n == 1 else (-1 if k % 2 else 1) if n == -1 else 0
        return wrapped(pow(n, k, 1 << bits), dtype)

    check(x**y, [power(n, k) for n, k in zip(a, b)], a, b, "**")
    for k in (0, 1, 2, 5, 40, 2**62 + 1):
        check(x**k, [power(n, k) for n in a], a, b, k)
    with pytest.raises(ValueError, match=r"^\[pow\] an integer to a negative power; got -1"):
        x**-1


@pytest.mark.parametrize("dtype", INTEGERS)
def test_negatives_and_sizes_wrap(dtype):
    values = [int(v) for v in specials(dtype)]
    x = tensor(values, dtype)
    check(-x, [wrapped(-v, dtype) for v in values], values, values, "-")
    check(abs(x), [wrapped(abs(v), dtype) for v in values], values, values, "abs")
    check(x.sign(), [(v > 0) - (v < 0) for v in values], values, values, "sign")
    check(x.square(), [wrapped(v * v, dtype) for v in values], values, values, "square")


@pytest.mark.parametrize("dtype", INTEGERS)
def test_sums_are_of_int64_and_wrap(dtype):
    values = [int(v) for v in specials(dtype)] * 3
    x = tensor(values, dtype)
    assert x.sum().dtype == x.prod().dtype == x.cumsum(0).dtype == pd.int64
    assert x.sum().item() == wrapped(sum(values), "int64")
    assert x.prod().item() == wrapped(math.prod(values), "int64")
    assert x.sum(dtype=x.dtype).item() == wrapped(sum(values), dtype)
    assert x.sum(dtype=pd.uint64).item() == wrapped(sum(values), "uint64")
