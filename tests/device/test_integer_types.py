"""Every integer type does what int64 does: the op table, reductions, scans, indexing, products and what is composed of
them, with NumPy's wrap-around.

`docs/DTYPES.md` says what is defined where NumPy leaves it open; test_defined_results.py holds that.
"""

import pickle

import numpy as np
import pytest
from oracle import array, function_of, rows, same_bits, specials, twin, types_of

import pydiff as pd
from pydiff.tree import tree_leaves

SIGNED = ["int8", "int16", "int32", "int64"]
UNSIGNED = ["uint8", "uint16", "uint32", "uint64"]
INTEGERS = SIGNED + UNSIGNED
ROWS = [r for r in rows() if r["twin"] and "int64" in types_of(r)]
# of integers `pow` has whole results: test_defined_results.py
FLOAT_ROWS = [r for r in rows() if r["twin"] and "int64" not in types_of(r) and "float32" in types_of(r) and r["name"] != "pow"]
# What int64 has and bool has not, and why.
NOT_OF_BOOL = {
    "sub": "PyTorch has no difference of booleans; use ^",
    "neg": "PyTorch has no negative of booleans; use ~",
    "abs": "booleans have no sign",
    "square": "the square of a truth value is a number, int64",
    "sign": "a truth value is its own sign",
    "relu": "a rectifier of truth values means nothing",
    "floor_divide": "no quotient of booleans",
    "remainder": "no quotient of booleans",
    "bitwise_left_shift": "a truth value has no places to move",
    "bitwise_right_shift": "a truth value has no places to move",
}


def name_of(value):
    return value["name"] if isinstance(value, dict) else str(value)


def whole(rng, dtype, shape):
    """Numbers of the whole range of the type."""
    if dtype == "bool":
        return rng.random(shape) < 0.5
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def full_range_operands(row, rng, dtype, n=300):
    drawn, special = [], []
    for k in range(row["arity"]):
        kind = "bool" if row["name"] == "where" and k == 0 else dtype
        drawn.append(whole(rng, kind, n))
        special.append(specials(kind))
    pairs = [g.ravel() for g in np.meshgrid(*special, indexing="ij")]
    return [np.concatenate(p) for p in zip(drawn, pairs)]


# ---- rows


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_a_row_is_numpys_over_the_whole_range(row, dtype, rng):
    x = full_range_operands(row, rng, dtype)
    if row["name"] in ("floor_divide", "remainder"):
        x = [v[x[1] != 0] for v in x]
    expected = twin(row, *x)
    got = function_of(row)(*map(pd.tensor, x))
    same_bits(got, expected, row["name"])


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_booleans_have_the_row_or_a_reason_not_to(row, rng):
    x = full_range_operands(row, rng, "bool", 20)
    if "bool" in types_of(row):
        assert row["name"] not in NOT_OF_BOOL
        return same_bits(function_of(row)(*map(pd.tensor, x)), twin(row, *x), row["name"])
    assert NOT_OF_BOOL[row["name"]]
    if row["name"] == "sign":
        return same_bits(pd.sign(pd.tensor(x[0])), x[0])
    if row["name"] == "square":
        return same_bits(pd.square(pd.tensor(x[0])), x[0].astype(np.int64))
    with pytest.raises(TypeError, match=rf"^\[{row['name']}\] .*bool"):
        function_of(row)(*map(pd.tensor, x))


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS])
@pytest.mark.parametrize("row", FLOAT_ROWS, ids=name_of)
def test_a_row_of_floats_takes_integers_in_the_default_dtype(row, dtype, rng):
    x = [whole(rng, dtype, 50) for _ in range(row["arity"])]
    got = function_of(row)(*map(pd.tensor, x))
    if row["name"] in ("floor", "ceil", "trunc", "round"):
        return same_bits(got, x[0])
    expected = function_of(row)(*[pd.tensor(v).float() for v in x])
    same_bits(got, expected, row["name"])


# ---- casts


@pytest.mark.parametrize("to", ["bool", *INTEGERS])
@pytest.mark.parametrize("source", ["bool", *INTEGERS])
def test_integers_wrap_into_one_another(source, to, rng):
    x = np.concatenate([whole(rng, source, 300), specials(source)])
    same_bits(pd.tensor(x).to(getattr(pd, to)), x.astype(to))


@pytest.mark.parametrize("wide", ["float32", "float64"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_to_floats_and_back(dtype, wide, rng):
    x = np.concatenate([whole(rng, dtype, 2000), specials(dtype)])
    if np.dtype(dtype).itemsize == 8:  # ties and their neighbours, at every exponent
        one = np.uint64(1)
        top = one << np.arange(24, 64, dtype=np.uint64)
        half = top >> np.uint64(24 if wide == "float32" else 53)
        near = np.concatenate([top, top + half, top + half - one, top + half + one, top - one, top + half * np.uint64(3)])
        x = np.concatenate([x, near.astype(dtype)])
    up = pd.tensor(x).to(getattr(pd, wide))
    same_bits(up, x.astype(wide))
    inside = array(up).astype(np.float64) < 2.0 ** (np.iinfo(dtype).bits - (dtype in SIGNED))
    back = array(up)[inside]
    same_bits(pd.tensor(back).to(getattr(pd, dtype)), back.astype(dtype))


def test_uint64_holds_its_whole_range():
    top = 2**64 - 1
    x = pd.tensor([0, 1, 2**63 - 1, 2**63, top], dtype=pd.uint64)
    assert x.tolist() == [0, 1, 2**63 - 1, 2**63, top] and x[4].item() == int(x[4]) == top
    assert repr(x[3:]).startswith("tensor([ 9223372036854775808, 18446744073709551615], dtype=pydiff.uint64")
    assert pd.full((2,), top, dtype=pd.uint64).tolist() == [top, top]
    assert pd.tensor(top, dtype=pd.uint64).item() == top and float(pd.tensor(2**63, dtype=pd.uint64)) == 2.0**63
    assert (x + 1).tolist() == [1, 2, 2**63, 2**63 + 1, 0] and (0 - x).tolist() == [0, top, 2**63 + 1, 2**63, 1]
    assert (x // 3).tolist() == [v // 3 for v in x.tolist()] and (x % 10).tolist() == [v % 10 for v in x.tolist()]
    assert (x > 2**63).tolist() == [False, False, False, False, True] and (x == top).tolist()[-1]
    assert (x ^ top).tolist() == [top - v for v in x.tolist()]
    assert x.amax().item() == x.max().item() == top and x.amin().item() == 0 and x.argmax().item() == 4
    assert x.clamp(5, 2**63).tolist() == [5, 5, 2**63 - 1, 2**63, 2**63]
    assert x.sort(descending=True).values.tolist() == x.tolist()[::-1]
    assert x.topk(2).values.tolist() == [top, 2**63] and x.topk(2, largest=False).values.tolist() == [0, 1]
    assert pd.arange(2**63, 2**63 + 6, 2, dtype=pd.uint64).tolist() == [2**63, 2**63 + 2, 2**63 + 4]
    assert pd.arange(2**64 - 3, 2**64 - 6, -1, dtype=pd.uint64).tolist() == [2**64 - 3, 2**64 - 4, 2**64 - 5]
    assert x.long().tolist() == [0, 1, 2**63 - 1, -(2**63), -1] and x.long().to(pd.uint64).tolist() == x.tolist()
    assert pd.randint(0, 10, (50,), dtype=pd.uint64).dtype == pd.uint64
    w = x.clone()
    w[1] = top
    w[0] += top
    assert w.tolist() == [top, top, 2**63 - 1, 2**63, top]
    assert (x**2).tolist() == [v * v % 2**64 for v in x.tolist()]
    assert (x ** pd.tensor([0, 63, 2, 1, 2**63 + 1], dtype=pd.uint64)).tolist() == [1, 1, 1, 2**63, top]


def test_python_integers_beyond_int64_are_of_uint64_or_refused():
    assert (pd.zeros(1, dtype=pd.uint64) + (2**64 - 1)).item() == 2**64 - 1
    assert (pd.zeros(1) + 2**63).item() == 2.0**63
    for dtype in ("int8", "int64", "uint32"):
        with pytest.raises(ValueError, match=r"^\[number\] a Python integer does not fit the type; got 9223372036854775808"):
            pd.zeros(1, dtype=getattr(pd, dtype)) + 2**63
    for call in (lambda: pd.zeros(1) + 2**64, lambda: pd.zeros(1, dtype=pd.uint64) + 2**64, lambda: pd.zeros(1) - 2**63 - 2**64,
                 lambda: pd.full((1,), 2**63), lambda: pd.full((1,), 2**63, dtype=pd.int32)):  # fmt: skip
        with pytest.raises(ValueError, match=r"^\[(number|full)\] a Python integer does not fit"):
            call()
    with pytest.raises(OverflowError):
        pd.tensor([2**63])


@pytest.mark.parametrize("dtype", INTEGERS)
def test_a_python_integer_given_for_an_element_fits_or_is_refused(dtype):
    info, kind = np.iinfo(dtype), getattr(pd, dtype)
    x = pd.zeros(2, dtype=kind)

    def written(v):
        y = x.clone()
        y[0] = v
        return y

    calls = [lambda v: pd.tensor([v, 0], dtype=kind), lambda v: pd.full((2,), v, dtype=kind), lambda v: pd.full_like(x, v),
             lambda v: pd.tensor(v, dtype=kind), lambda v: x.clone().fill_(v), written,
             lambda v: x.masked_fill(x == 0, v)]  # fmt: skip
    for call in calls:
        for v in (info.min, info.max):
            assert call(v).reshape(-1)[0].item() == v
        assert call(-1).reshape(-1)[0].item() == (-1 if dtype in SIGNED else info.max)  # PyTorch's exception
        for v in (info.max + 1, -info.max - 2):
            with pytest.raises((ValueError, OverflowError), match="does not fit|too large|too big") as caught:
                call(v)
            assert info.bits == 64 or f"got {v} for {dtype}" in str(caught.value)


# ---- what is not a row: (call on tensors or arrays, NumPy's answer where it is not the same call)


CALLS = {
    "sum": (lambda x: x.sum(), lambda x: x.sum(dtype=np.int64)),
    "sum of an axis": (lambda x: x.sum(1), lambda x: x.sum(1, dtype=np.int64)),
    "sum of columns": (lambda x: x.sum(0), lambda x: x.sum(0, dtype=np.int64)),
    "sum in the type": (lambda x: x.sum(0, dtype=x.dtype), lambda x: x.sum(0, dtype=x.dtype)),
    "prod": (lambda x: x.prod(1), lambda x: x.prod(1, dtype=np.int64)),
    "prod in the type": (lambda x: x.prod(0, dtype=x.dtype), lambda x: x.prod(0, dtype=x.dtype)),
    "amax": (lambda x: x.amax(0), lambda x: x.max(0)),
    "amin": (lambda x: x.amin(1), lambda x: x.min(1)),
    "max": (lambda x: x.max(), lambda x: x.max()),
    "min": (lambda x: x.min(), lambda x: x.min()),
    "aminmax": (lambda x: pd.cat([v.reshape(1) for v in pd.aminmax(x)]), lambda x: np.array([x.min(), x.max()])),
    "any": (lambda x: x.any(0), lambda x: x.any(0)),
    "all": (lambda x: x.all(1), lambda x: x.all(1)),
    "argmax": (lambda x: x.argmax(1), lambda x: x.argmax(1)),
    "argmin": (lambda x: x.argmin(0), lambda x: x.argmin(0)),
    "count_nonzero": (lambda x: pd.count_nonzero(x, 1), lambda x: np.count_nonzero(x, 1)),
    "mean as float64": (lambda x: (x % 100).mean(1, dtype=pd.float64), lambda x: (x % np.array(100, x.dtype)).mean(1)),
    "median": (lambda x: x[:, :5].median(1).values, lambda x: np.sort(x[:, :5], 1)[:, 2]),
    "cumsum": (lambda x: x.cumsum(1), lambda x: x.cumsum(1, dtype=np.int64)),
    "cumsum in the type": (lambda x: x.cumsum(0, dtype=x.dtype), lambda x: x.cumsum(0, dtype=x.dtype)),
    "cumprod": (lambda x: x.cumprod(1), lambda x: x.cumprod(1, dtype=np.int64)),
    "cummax": (lambda x: x.cummax(1).values, lambda x: np.maximum.accumulate(x, 1)),
    "cummin": (lambda x: x.cummin(0).values, lambda x: np.minimum.accumulate(x, 0)),
    "diff": (lambda x: x.diff(dim=1), lambda x: np.diff(x, axis=1)),
    "sort": (lambda x: x.sort(1).values, lambda x: np.sort(x, 1)),
    "sort downwards": (lambda x: x.sort(1, descending=True).values, lambda x: np.sort(x, 1)[:, ::-1]),
    "argsort": (lambda x: x.argsort(1, stable=True), lambda x: x.argsort(1, kind="stable")),
    "topk": (lambda x: x.topk(3, 1).values, lambda x: np.sort(x, 1)[:, ::-1][:, :3]),
    "topk of all": (lambda x: x.reshape(-1).topk(70).values, lambda x: np.sort(x, None)[::-1][:70]),
    "least": (lambda x: x.topk(3, 1, largest=False).values, lambda x: np.sort(x, 1)[:, :3]),
    "kthvalue": (lambda x: x.kthvalue(2, 1).values, lambda x: np.sort(x, 1)[:, 1]),
    "unique": (lambda x: x.unique(), lambda x: np.unique(x)),
    "isin": (lambda x: pd.isin(x, x[0]), lambda x: np.isin(x, x[0])),
    "searchsorted": (lambda x: pd.searchsorted(x.unique(), x), lambda x: np.searchsorted(np.unique(x), x)),
    "nonzero": (lambda x: (x % 3).nonzero(), lambda x: np.argwhere(x % np.array(3, x.dtype))),
    "matmul": (lambda x: x @ x.T, lambda x: x @ x.T),
    "matmul of batches": (lambda x: x.reshape(3, 4, 11) @ x.reshape(3, 11, 4), lambda x: x.reshape(3, 4, 11) @ x.reshape(3, 11, 4)),
    "matrix and vector": (lambda x: x @ x[0], lambda x: x @ x[0]),
    "outer": (lambda x: pd.outer(x[0], x[1]), lambda x: np.outer(x[0], x[1])),
    "einsum": (lambda x: pd.einsum("ij,kj->ik", x, x), lambda x: np.einsum("ij,kj->ik", x, x)),
    "pow 3": (lambda x: x**3, lambda x: x * x * x),
    "pow": (lambda x: x ** (x % 5).abs(), lambda x: np.power(x, np.abs(x % np.array(5, x.dtype)))),
    "fmod": (lambda x: pd.fmod(x, (x.T.reshape(x.shape) | 1)), lambda x: np.fmod(x, x.T.reshape(x.shape) | np.array(1, x.dtype))),
    "clamp": (lambda x: x.clamp(3, 90), lambda x: x.clip(3, 90)),
    "lerp of types": (lambda x: x + x[0], lambda x: x + x[0]),
    "gcd": (lambda x: pd.gcd(x, x.flip(1)), lambda x: np.gcd(x, x[:, ::-1])),
    "round": (lambda x: x.round(), lambda x: x),
    "isfinite": (lambda x: x.isfinite(), lambda x: np.isfinite(x)),
    "true division": (lambda x: (x.double() / 7), lambda x: x.astype(np.float64) / 7),
    "logical_and": (lambda x: pd.logical_and(x, x > 3), lambda x: np.logical_and(x, x > 3)),
    "logical_not": (lambda x: pd.logical_not(x), lambda x: np.logical_not(x)),
    "heaviside": (lambda x: pd.heaviside(x, x[0]), lambda x: np.where(x > 0, 1, np.where(x < 0, 0, x[0])).astype(x.dtype)),
    "movement": (lambda x: x.T[1:, ::2].flip(0).roll(1, 0), lambda x: np.roll(x.T[1:, ::2][::-1], 1, 0)),
    "pad": (lambda x: pd._C._pad(x, (0, 1), (0, 2), 3.0), lambda x: np.pad(x, ((0, 0), (1, 2)), constant_values=3)),
    "cat": (lambda x: pd.cat([x, x + 1], 1), lambda x: np.concatenate([x, x + np.array(1, x.dtype)], 1)),
    "stack": (lambda x: pd.stack([x, x ^ x]), lambda x: np.stack([x, x ^ x])),
    "tril": (lambda x: x.tril(), lambda x: np.tril(x)),
    "repeat_interleave": (lambda x: x.repeat_interleave(2, 0), lambda x: np.repeat(x, 2, 0)),
    "gather": (lambda x: x.gather(1, pd.tensor([[3], [0]] * 6)), lambda x: np.take_along_axis(x, np.array([[3], [0]] * 6), 1)),
    "index": (lambda x: x[pd.tensor([5, 0, 5])], lambda x: x[[5, 0, 5]]),
    "mask": (lambda x: x[x > 3], lambda x: x[x > 3]),
    "masked_fill": (lambda x: x.masked_fill(x > 3, 7), lambda x: np.where(x > 3, np.array(7, x.dtype), x)),
    "trace": (lambda x: x.trace(), lambda x: np.trace(x, dtype=np.int64)),
    "bits": (lambda x: (x & 12) | (~x >> 2) ^ (x << 1), lambda x: (x & np.array(12, x.dtype)) | (~x >> np.array(2, x.dtype)) ^ (x << np.array(1, x.dtype))),
}  # fmt: skip


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", CALLS)
def test_what_runs_for_int64_runs_for_all(name, dtype, rng):
    ours, numpys = CALLS[name]
    x = whole(rng, dtype, (12, 11))
    with np.errstate(all="ignore"):
        expected = np.ascontiguousarray(numpys(x))
    got = array(ours(pd.tensor(x)))
    assert got.dtype == expected.dtype, (got.dtype, expected.dtype)
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_long_reductions_and_scans_of_every_shape(dtype, rng):
    for shape, axis in [((30_000,), 0), ((7, 3000), 1), ((3000, 7), 0), ((2, 70_001), 1), ((70, 3, 40), 1)]:
        x = whole(rng, dtype, shape)
        t = pd.tensor(x)
        same_bits(t.sum(axis), x.sum(axis, dtype=np.int64))
        same_bits((t * 3 + 1).amax(axis), (x * np.array(3, dtype) + np.array(1, dtype)).max(axis))
        same_bits((t ^ 5).amin(axis), (x ^ np.array(5, dtype)).min(axis))
        same_bits(t.argmax(axis), x.argmax(axis))
        same_bits(t.cumsum(axis), x.cumsum(axis, dtype=np.int64))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_writing(dtype, rng):
    x = whole(rng, dtype, (6, 5))
    t, i = pd.tensor(x), np.array([[5, 0, 5], [2, 2, 2]])
    w, n = t.clone(), x.copy()
    w[1:3] = 7
    n[1:3] = 7
    w[:, 0] += t[:, 1]
    n[:, 0] += x[:, 1]
    w[pd.tensor([0, 4])] = t[:2]
    n[[0, 4]] = x[:2]
    same_bits(w, n)
    for total in (x.copy(),):
        np.add.at(total, i, x[:2, None])
        same_bits(t.index_put((pd.tensor(i),), t[:2, None].expand(2, 3, 5), accumulate=True), total)
    spread = np.array([[1, 1, 0, 3, 5]])
    for reduce, f in (("sum", np.add), ("prod", np.multiply), ("amax", np.maximum), ("amin", np.minimum)):
        expected = x.copy()
        for k, row in enumerate(spread[0]):
            expected[row, k] = f(expected[row, k], x[2, k])
        with np.errstate(all="ignore"):
            same_bits(t.scatter_reduce(0, pd.tensor(spread), t[2:3], reduce), expected, reduce)
    expected = x.copy()
    expected[spread, np.arange(5)] = x[3:4]
    same_bits(t.scatter(0, pd.tensor(spread), t[3:4]), expected)


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS])
def test_in_and_out(dtype, rng, device):
    x = whole(rng, dtype, (3, 4))
    t = pd.tensor(x)
    assert t.tolist() == x.tolist() and t[1, 2].item() == x[1, 2].item()
    same_bits(pickle.loads(pickle.dumps(t)), x)
    same_bits(pd.tensor(x.tolist(), dtype=getattr(pd, dtype)), x)
    if device == "cpu":
        same_bits(np.from_dlpack(t), x)
        same_bits(pd.from_dlpack(x.copy()), x)
        same_bits(pd.from_numpy(x), x)
        assert memoryview(t).tolist() == x.tolist()
    for make in (pd.zeros, pd.ones, pd.empty):
        assert make(2, dtype=getattr(pd, dtype)).dtype == getattr(pd, dtype)
    assert str(x[0, 0]) in repr(t[0, 0])


@pytest.mark.parametrize("dtype", INTEGERS)
def test_vmap_of_integers(dtype, rng):
    a, b = whole(rng, dtype, (4, 5)), whole(rng, dtype, (4, 5))
    got = pd.vmap(lambda x, y: ((x * y) >> 1).amax(0))(pd.tensor(a), pd.tensor(b))
    same_bits(got, ((a * b) >> np.array(1, dtype)).max(1))


# ---- every public function


BASE = np.array([[1, 5, 2], [3, 4, 6], [2, 2, 1]])
FORMS = {
    "x": lambda f, x: f(x),
    "v": lambda f, x: f(x[0]),
    "x, x": lambda f, x: f(x, x),
    "v, v": lambda f, x: f(x[0], x[1]),
    "x, 1": lambda f, x: f(x, 1),
    "x, 0, 1": lambda f, x: f(x, 0, 1),
    "x, x, x": lambda f, x: f(x, x, x),
    "x, 0, index": lambda f, x: f(x, 0, pd.tensor([0, 2])),
    "x, 0, index, part": lambda f, x: f(x, 0, pd.tensor([0, 2]), x[:2]),
    "[x, x]": lambda f, x: f([x, x]),
    "x, mask": lambda f, x: f(x, x > 2),
    "x, mask, 1": lambda f, x: f(x, x > 2, 1),
    "mask, x, x": lambda f, x: f(x > 2, x, x),
    "x, axes": lambda f, x: f(x, (0, 1)),
}
NOT_COMPARED = {
    "draws": "binomial poisson pca_lowrank svd_lowrank uniform normal bernoulli multinomial dropout alpha_dropout feature_alpha_dropout feature_dropout",
    "mean nothing": "empty_like",
    "NumPy's neighbours of small integers are those of float16": "nextafter",
    "a negative number beside an unsigned tensor wraps, as in PyTorch": "hardshrink",
    "losses of floats; their differences of unsigned integers wrap": "pairwise_distance",
    "differences that wrap, as NumPy's": "ediff1d",
    "settings": "set_num_threads set_default_device set_default_dtype set_rng_state manual_seed seed",
}
OMITTED = {name for names in NOT_COMPARED.values() for name in names.split()}


def public_functions():
    for name in sorted(dir(pd)):
        f = getattr(pd, name)
        if not name.startswith("_") and "rand" not in name and name not in OMITTED and callable(f) and not isinstance(f, type):
            yield name, f


def results(f, call, dtype):
    out = call(f, pd.tensor(BASE.astype(dtype)))
    return [array(v) for v in tree_leaves(out) if isinstance(v, pd.Tensor)]


@pytest.mark.parametrize("form", FORMS)
def test_every_function_that_takes_int64_takes_all_integers(form, nightly, device):
    """With the same values, where none leaves the smallest type's range."""
    if device != "cpu":
        pytest.skip("compositions of what the tests above run on the device")
    found = 0
    for name, f in public_functions():
        try:
            expected = results(f, FORMS[form], "int64")
        except Exception:
            continue  # it takes something else
        found += 1
        for dtype in INTEGERS if nightly else ("int8", "uint64"):
            for a, b in zip(results(f, FORMS[form], dtype), expected, strict=True):
                what = f"{name}({form}) of {dtype}"
                whole_numbers = a.dtype.kind in "iu" and b.dtype.kind in "iu"
                promoted = dtype == "uint64" and a.dtype == np.float64  # with an int64 operand
                assert a.shape == b.shape and (whole_numbers or promoted or a.dtype == b.dtype), what
                if promoted:
                    np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=what)
                else:
                    np.testing.assert_array_equal(a, b.astype(a.dtype), err_msg=what)
    assert found >= 5, found
