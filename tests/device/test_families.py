"""Reductions, movement, joins, scans, contractions and fallback ops against NumPy, with their derivatives."""

import itertools

import numpy as np
import pytest
from oracle import array, check_derivatives, close, same_bits, tangent_pairing

import pydiff as pd

SHAPES = [(), (1,), (5,), (0,), (3, 4), (1, 4), (3, 1), (0, 4), (3, 0), (2, 3, 4), (2, 1, 3, 2)]
DTYPES = ["bool", "int32", "int64", "float32", "float64"]


def draw(rng, shape, dtype="float64"):
    if dtype == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.startswith("int"):
        return np.asarray(rng.integers(-9, 9, shape), dtype)
    return np.asarray(rng.standard_normal(shape), dtype)


def axes_of(shape):
    """None, each axis, negative ones, pairs, all."""
    n = len(shape)
    yield None
    for k in range(n):
        yield k
        yield k - n
    for pair in itertools.combinations(range(n), 2):
        yield pair
    if n > 2:
        yield tuple(range(n))


def plain(shape):
    return "x".join(map(str, shape)) or "scalar"


shapes = pytest.mark.parametrize("shape", SHAPES, ids=plain)

# ---- reductions: (name, NumPy's, dtypes, wants elements)

REDUCTIONS = {
    "sum": (np.sum, DTYPES, False),
    "prod": (np.prod, DTYPES, False),
    "mean": (np.mean, DTYPES[3:], True),
    "amax": (np.max, DTYPES, True),
    "amin": (np.min, DTYPES, True),
    "any": (np.any, DTYPES, False),
    "all": (np.all, DTYPES, False),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@shapes
@pytest.mark.smoke
def test_reductions(name, shape, rng):
    numpys, dtypes, wants = REDUCTIONS[name]
    for dtype in dtypes:
        x = draw(rng, shape, dtype)
        for axis in axes_of(shape):
            if wants and np.sum(np.ones(shape), axis=axis).min(initial=1) == 0:
                continue
            for keep in (False, True):
                expected = np.asarray(numpys(x.astype(np.float64) if x.dtype.kind == "f" else x, axis=axis, keepdims=keep))
                y = getattr(pd.tensor(x), name)(axis, keepdim=keep)
                if name in ("sum", "prod") and x.dtype.kind != "f":
                    assert array(y).dtype == np.int64
                elif name not in ("any", "all"):
                    assert array(y).dtype == x.dtype
                # a tree of additions: half an eps for each level, of at most the sum of magnitudes
                close(y, expected.astype(array(y).dtype), eps=8, scale=max(np.abs(x.astype(float)).sum(), 1), what=f"{axis} {dtype}")


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "amax", "var", "std", "logsumexp"])
def test_derivatives_of_reductions(name, rng):
    for shape in [(1,), (5,), (3, 4), (2, 3, 4)]:
        for axis in axes_of(shape):
            over = array(pd.ones(shape).sum(axis)).max() if name in ("var", "std") else 2
            if over < 2:
                continue
            f = lambda t: getattr(t, name)(axis)  # noqa: E731
            x = draw(rng, shape)
            tangent_pairing(f, [x], rng)
            check_derivatives(f, x, order=2)


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4)], ids=plain)
@pytest.mark.parametrize("name", ["var", "std"])
def test_spread(name, shape, rng):
    x = draw(rng, shape)
    for axis in axes_of(shape):
        for correction in (0, 1):
            expected = getattr(np, name)(x, axis=axis, ddof=correction)
            close(getattr(pd.tensor(x), name)(axis, correction=correction), np.asarray(expected), eps=32, scale=1)
    same_bits(pd.tensor(x).var(unbiased=False), pd.tensor(x).var(correction=0))


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@shapes
def test_positions_of_extremes(name, shape, rng):
    for dtype in DTYPES:
        x = draw(rng, shape, dtype)
        for axis in [None, *range(-len(shape), len(shape))]:
            if (x.size == 0 and axis is None) or (axis is not None and shape[axis] == 0):
                with pytest.raises((ValueError, IndexError, RuntimeError), match=name):
                    getattr(pd.tensor(x), name)(axis)
                continue
            for keep in (False, True):
                same_bits(getattr(pd.tensor(x), name)(axis, keepdim=keep), np.asarray(getattr(np, name)(x, axis=axis, keepdims=keep)))


def test_nan_wins_and_the_first_of_equals_is_the_position():
    x = pd.tensor([[1.0, np.nan, 3.0], [4.0, 4.0, 2.0]])
    np.testing.assert_array_equal(array(x.amax(1)), [np.nan, 4])
    np.testing.assert_array_equal(array(x.amin(1)), [np.nan, 2])
    assert x.argmax(1).tolist() == [1, 0]
    assert pd.tensor([2.0, 1.0, 1.0]).argmin().item() == 1


def test_max_and_min_with_an_axis_give_values_and_indices(rng):
    x = draw(rng, (3, 4, 2))
    for axis in (0, 1, -1):
        values, indices = pd.tensor(x).max(axis)
        same_bits(values, x.max(axis))
        same_bits(indices, x.argmax(axis))
        same_bits(pd.tensor(x).min(axis, keepdim=True).values, x.min(axis, keepdims=True))
    y = draw(rng, (3, 4, 2))
    same_bits(pd.max(pd.tensor(x), pd.tensor(y)), np.maximum(x, y))


def test_elements_that_tie_share_the_gradient():
    x = pd.tensor([[2.0, 2.0, 1.0], [0.0, 3.0, 0.0]], requires_grad=True)
    x.amax(1).sum().backward()
    assert x.grad.tolist() == [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]


@pytest.mark.parametrize("zeros", range(4))
def test_product_with_zeros_differentiates_twice(zeros, rng):
    x = draw(rng, (2, 4))
    x[:, :zeros] = 0
    check_derivatives(lambda t: t.prod(1), x, order=2)
    torch = pytest.importorskip("torch")
    t = torch.tensor(x, requires_grad=True)
    ours = pd.hessian(lambda v: v.prod(1).sum())(pd.tensor(x))
    theirs = torch.autograd.functional.hessian(lambda v: v.prod(1).sum(), t)
    close(ours, theirs, scale=1)


def test_extremes_of_nothing_are_refused():
    for name in ("amax", "amin", "max"):
        with pytest.raises((ValueError, IndexError, RuntimeError), match=name.strip("a")):
            getattr(pd.zeros(0, 3), name)(0)
    assert tuple(pd.zeros(0, 3).amax(1).shape) == (0,)
    assert pd.zeros(0).sum().item() == 0 and pd.zeros(0).prod().item() == 1


@pytest.mark.parametrize("axis", [3, -3, 7])
def test_axes_out_of_range_are_index_errors(axis):
    x = pd.ones(2, 3)
    for call in (x.sum, x.amax, x.argmax, x.softmax, x.cumsum, x.unsqueeze if abs(axis) > 3 else x.sum):
        with pytest.raises(IndexError):
            call(axis)


def test_a_reduction_meets_the_index_of_its_rows(rng):
    """Row numbers on the rows of a reduction, in one kernel."""
    x = draw(rng, (8, 5))
    t = pd.tensor(x)
    close(t.sum(1) * pd.arange(8), x.sum(1) * np.arange(8), eps=16)
    close((t * 2).sum(0) * pd.arange(5) + pd.arange(5), (x * 2).sum(0) * np.arange(5) + np.arange(5), eps=16)
    total, index = t.sum(1), pd.arange(8)
    y = total.flip(0) * index
    pd._C.evaluate([total, index, y])
    close(y, x.sum(1)[::-1] * np.arange(8), eps=16)


def test_one_element_of_a_padded_value():
    """Without axes there is still an inside and an outside."""
    x = pd.tensor([2.0])
    assert pd._C._pad(x * 3, [1], [1], 0.5)[2:3].tolist() == [0.5]
    assert pd._C._pad(x * 3, [1], [1], 0.5)[1:2].tolist() == [6.0]


# ---- composed row-wise functions


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (0, 3)], ids=plain)
def test_softmax_family(shape, rng):
    x = draw(rng, shape) * 30
    t = pd.tensor(x)
    for axis in range(-len(shape), len(shape)):
        with np.errstate(all="ignore"):
            top = x.max(axis, keepdims=True) if shape[axis] else np.zeros(())
            e = np.exp(x - top)
            lse = np.log(e.sum(axis, keepdims=True)) + top
        if shape[axis]:
            close(t.softmax(axis), e / e.sum(axis, keepdims=True), eps=8, scale=1)
            close(t.log_softmax(axis), x - lse, eps=4)
            close(t.logsumexp(axis, keepdim=True), lse, eps=4)
        if x.size:
            tangent_pairing(lambda v: v.softmax(axis), [x / 10], rng)
            check_derivatives(lambda v: v.log_softmax(axis), x / 30, order=2)
            check_derivatives(lambda v: v.softmax(axis), x / 30, order=2)


def test_row_wise_functions_neither_overflow_nor_lose_infinities():
    big = pd.tensor([[1e4, 1e4, -1e4], [-np.inf, 0.0, -np.inf]])
    np.testing.assert_array_equal(array(big.softmax(1)), [[0.5, 0.5, 0], [0, 1, 0]])
    assert np.isfinite(array(big.log_softmax(1))[0]).all()
    close(big.logsumexp(1), np.array([1e4 + np.log(2), 0], np.float32))
    assert pd.tensor([-np.inf, -np.inf]).logsumexp(0).item() == -np.inf
    assert pd.tensor([np.inf, 1.0]).logsumexp(0).item() == np.inf


@pytest.mark.parametrize("shape", [(1,), (6,), (3, 4), (2, 3, 4), (0, 3)], ids=plain)
def test_cumsum(shape, rng):
    for dtype in DTYPES:
        x = draw(rng, shape, dtype)
        for axis in range(-len(shape), len(shape)):
            y = pd.tensor(x).cumsum(axis)
            close(y, np.cumsum(x, axis).astype(array(y).dtype), eps=8, scale=10)
    if 0 not in shape:
        for axis in range(len(shape)):
            tangent_pairing(lambda t: t.cumsum(axis), [draw(rng, shape)], rng)
            check_derivatives(lambda t: (t.cumsum(axis) ** 2).sum(), draw(rng, shape), order=2)


# ---- movement: the same expression on an array and on a tensor

MOVES = {
    "reshape": ((4, 6), lambda x: x.reshape(3, 8), None),
    "reshape -1": ((4, 6), lambda x: x.reshape(2, -1, 3), None),
    "flatten part": ((2, 3, 4), lambda x: x.flatten(1), lambda x: x.reshape(2, 12)),
    "permute": ((2, 3, 4), lambda x: x.permute(2, 0, 1), lambda x: x.transpose(2, 0, 1)),
    "T": ((2, 3), lambda x: x.T, None),
    "mT": ((2, 3, 4), lambda x: x.mT, lambda x: x.swapaxes(1, 2)),
    "swapaxes": ((2, 3, 4), lambda x: x.swapaxes(0, -1), None),
    "squeeze": ((2, 1, 3, 1), lambda x: x.squeeze(), None),
    "squeeze one": ((2, 1, 3, 1), lambda x: x.squeeze(1), None),
    "unsqueeze": ((2, 3), lambda x: x.unsqueeze(1), lambda x: x[:, None]),
    "expand": ((3, 1), lambda x: x.expand(2, -1, 4), lambda x: np.broadcast_to(x, (2, 3, 4))),
    "flip": ((3, 4), lambda x: x.flip(0), lambda x: x[::-1]),
    "flip both": ((3, 4), lambda x: x.flip((0, 1)), lambda x: x[::-1, ::-1]),
    "narrow": ((5, 3), lambda x: x.narrow(0, 1, 3), lambda x: x[1:4]),
    "select": ((5, 3), lambda x: x.select(1, -1), lambda x: x[:, -1]),
    "strided slice": ((7, 5), lambda x: x[1:6:2, ::-2], None),
    "chain": ((4, 6), lambda x: x.T.reshape(3, 8)[:, ::2].T, None),
    "diagonal-like": ((3, 4), lambda x: x.reshape(-1)[::5], None),
    "empty": ((0, 4), lambda x: x.reshape(4, 0).T, None),
    "scalar": ((), lambda x: x.reshape(1, 1), None),
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.smoke
def test_movement(name, rng):
    shape, f, numpys = MOVES[name]
    for dtype in DTYPES:
        x = draw(rng, shape, dtype)
        expected = np.asarray((numpys or f)(x))
        same_bits(f(pd.tensor(x)), expected, name)
        # inside a kernel with work on both sides
        if dtype == "float64":
            same_bits(f(pd.tensor(x) * 2) + 1, expected * 2 + 1, name)
    if x.size:
        tangent_pairing(f, [draw(rng, shape)], rng)
        check_derivatives(lambda t: f(t) ** 3, draw(rng, shape), order=2)


def test_split_chunk_unbind(rng):
    x = draw(rng, (7, 4))
    t = pd.tensor(x)
    for got, expected in [
        (t.split(3), np.split(x, [3, 6])),
        (t.split([2, 5]), np.split(x, [2])),
        (t.chunk(3), np.split(x, [3, 6])),
        (t.chunk(2, 1), np.split(x, 2, 1)),
        (t.unbind(1), list(x.T)),
    ]:
        assert len(got) == len(expected)
        for g, e in zip(got, expected):
            same_bits(g, np.ascontiguousarray(e))
    check_derivatives(lambda v: v.split(3)[1] * v.chunk(2, 1)[0][:3, :1], x, order=2)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cat_and_stack(axis, rng):
    for dtype in DTYPES:
        a, b, c = (draw(rng, (2, 2), dtype) for _ in range(3))
        parts = [pd.tensor(v) for v in (a, b, c)]
        same_bits(pd.cat(parts, axis), np.concatenate([a, b, c], axis))
        same_bits(pd.stack(parts, axis), np.stack([a, b, c], axis))
    f = lambda a, b: pd.cat([a, b * a, b], axis) ** 2  # noqa: E731
    x = [draw(rng, (2, 2)), draw(rng, (2, 2))]
    tangent_pairing(f, x, rng)
    check_derivatives(f, *x, order=2)
    check_derivatives(lambda a, b: pd.stack([a, b, a], axis) ** 2, *x, order=2)


def test_cat_of_unequal_and_empty_parts(rng):
    a, b = draw(rng, (2, 3)), draw(rng, (4, 3))
    same_bits(pd.cat([pd.tensor(a), pd.tensor(b)]), np.concatenate([a, b]))
    same_bits(pd.cat([pd.tensor(a), pd.zeros(0, 3, dtype=pd.float64)]), a)
    with pytest.raises((ValueError, RuntimeError), match=r"\[(cat|concatenate)\]"):
        pd.cat([pd.tensor(a), pd.ones(2, 4)])
    assert pd.cat([pd.ones(1, dtype=pd.int64), pd.ones(1)]).dtype == pd.float32


# ---- gather, scatter, index


def test_gather_and_scatter_against_numpy(rng):
    x, src = draw(rng, (4, 5)), draw(rng, (4, 5))
    for axis in (0, 1, -1):
        index = rng.permuted(np.broadcast_to(np.arange(x.shape[axis]), (5, 4) if axis == 0 else (4, 5)), axis=1)
        index = index.T.copy() if axis == 0 else index
        t, i = pd.tensor(x), pd.tensor(index)
        same_bits(t.gather(axis, i), np.take_along_axis(x, index, axis))
        expected = x.copy()
        np.put_along_axis(expected, index, src, axis)
        same_bits(t.scatter(axis, i, pd.tensor(src)), expected)
        f = lambda a, b: a.gather(axis, i) * a + a.scatter(axis, i, b) * b  # noqa: E731
        tangent_pairing(f, [x, src], rng)
        check_derivatives(f, x, src, order=2)


def test_repeated_indices_add_up(rng):
    x, values = draw(rng, (3, 2)), draw(rng, (6, 2))
    index = np.array([0, 2, 0, 0, 2, 1])
    expected = x.copy()
    np.add.at(expected, index, values)
    t, i, v = pd.tensor(x), pd.tensor(index), pd.tensor(values)
    close(t.index_put((i,), v, accumulate=True), expected)
    close(t.scatter_add(0, pd.tensor(np.stack([index, index], 1)), v), expected)
    for f in (
        lambda a, b: a.index_put((i,), b, accumulate=True) ** 2,
        lambda a, b: a.scatter_add(0, pd.tensor(np.stack([index, index], 1)), b) ** 2,
        lambda a, b: a[i] * b,
        lambda a, b: a.index_select(0, i) * b,
    ):
        tangent_pairing(f, [x, values], rng)
        check_derivatives(f, x, values, order=2)


def test_indices_out_of_range_name_the_op_when_run():
    x = pd.arange(6.0).reshape(3, 2)
    for make in (lambda i: x[i], lambda i: x.gather(0, i.unsqueeze(1)), lambda i: x.index_select(0, i)):
        with pytest.raises(IndexError, match="gather|index|take"):
            make(pd.tensor([0, 3])).numpy()


# ---- contractions

PRODUCTS = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3, 4)),
    ((1, 3), (3, 1)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((2, 1, 2, 3), (3, 3, 4)),
    ((0, 3), (3, 4)),
    ((2, 0), (0, 4)),
    ((0, 2, 3), (3, 1)),
]


@pytest.mark.parametrize("left, right", PRODUCTS, ids=lambda s: plain(s))
@pytest.mark.smoke
def test_matmul(left, right, rng):
    for dtype in DTYPES[1:]:
        a, b = draw(rng, left, dtype), draw(rng, right, dtype)
        close(pd.tensor(a) @ pd.tensor(b), np.asarray(a.astype(float) @ b.astype(float)).astype(dtype), eps=8, scale=16)
    a, b = draw(rng, left), draw(rng, right)
    if a.size and b.size:
        tangent_pairing(pd.matmul, [a, b], rng)
        check_derivatives(lambda p, q: (p @ q) ** 2, a, b, order=2)
    else:
        ta, tb = pd.tensor(a, requires_grad=True), pd.tensor(b, requires_grad=True)
        (ta @ tb).sum().backward()
        same_bits(ta.grad, np.zeros(left))
        same_bits(tb.grad, np.zeros(right))


def test_matmul_of_transposes_and_slices(rng):
    a, b = draw(rng, (6, 4)), draw(rng, (6, 8))
    f = lambda p, q: p.T @ q[:, ::2] + (q.T @ p)[:4, :4]  # noqa: E731
    close(f(pd.tensor(a), pd.tensor(b)), f(a, b), eps=16)
    check_derivatives(f, a, b, order=2)


def test_matmul_says_what_does_not_fit():
    with pytest.raises((ValueError, RuntimeError), match=r"\[matmul\].*\(32, 16\).*\(32, 1\)"):
        pd.ones(32, 16) @ pd.ones(32, 1)
    with pytest.raises((ValueError, RuntimeError), match="matmul"):
        pd.ones(()) @ pd.ones(3)


EINSUMS = [
    ("ij,jk->ik", (3, 4), (4, 5)),
    ("ij,jk", (3, 4), (4, 5)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("i,i->", (4,), (4,)),
    ("i,j->ij", (3,), (4,)),
    ("ij->ji", (3, 4)),
    ("ij->", (3, 4)),
    ("ii->i", (3, 3)),
    ("ii->", (3, 3)),
    ("ij,ij->i", (3, 4), (3, 4)),
    ("ij,kj,lk->il", (2, 3), (4, 3), (5, 4)),
    ("...ij,...jk->...ik", (2, 3, 4), (2, 4, 5)),
    ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
]


@pytest.mark.parametrize("equation, shapes", [(e, s) for e, *s in EINSUMS], ids=[e[0] for e in EINSUMS])
def test_einsum(equation, shapes, rng):
    x = [draw(rng, s) for s in shapes]
    f = lambda *t: pd.einsum(equation, *t)  # noqa: E731
    close(f(*map(pd.tensor, x)), np.asarray(np.einsum(equation, *x)), eps=16, scale=16)
    tangent_pairing(f, x, rng)
    check_derivatives(lambda *t: f(*t) ** 2, *x, order=2)


# ---- NaN and gradients


def gradients(f, *x):
    first = pd.grad(lambda *t: f(*t).sum(), argnums=tuple(range(len(x))))
    second = pd.grad(lambda *t: sum((g * g).sum() for g in first(*t)), argnums=tuple(range(len(x))))
    t = [pd.tensor(v) for v in x]
    return f(*t), first(*t), second(*t)


GUARDED = {
    "log": (lambda x: pd.where(x > 0, x.log(), 0.0), lambda x: 1 / x),
    "sqrt": (lambda x: pd.where(x > 0, x.sqrt(), x), lambda x: 0.5 / np.sqrt(x)),
    "div": (lambda x: pd.where(x > 0, 1 / x, 0.0), lambda x: -1 / x**2),
    "pow": (lambda x: pd.where(x > 0, x**-1.5, 0.0), lambda x: -1.5 * x**-2.5),
    "rsqrt": (lambda x: pd.where(x > 0, x.rsqrt(), 0.0), lambda x: -0.5 * x**-1.5),
    "log of sqrt": (lambda x: pd.where(x > 0, x.sqrt().log(), 0.0), lambda x: 0.5 / x),
    "norm": (lambda x: pd.where(x > 0, (x * x).sqrt(), 0.0), lambda x: np.ones_like(x)),
    "other side": (lambda x: pd.where(x <= 0, 0.0, x.log()), lambda x: 1 / x),
    "masked_fill": (lambda x: x.log().masked_fill(x <= 0, 0.0), lambda x: 1 / x),
}


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.smoke
def test_where_never_leaks_nan(name, dtype):
    f, derivative = GUARDED[name]
    x = np.array([2.0, 0.0, -1.0, -np.inf, 0.25, -0.0], dtype)
    y, (first,), (second,) = gradients(f, x)
    good = np.array([0, 4])
    close(array(first)[good], derivative(x[good]), eps=8)
    assert np.isfinite(array(y)[[0, 1, 2, 4, 5]]).all()
    bad = np.setdiff1d(np.arange(x.size), good)
    # what the side taken gives: 0, or for `sqrt` the derivative of x itself
    expected = 1.0 if name == "sqrt" else 0.0
    np.testing.assert_array_equal(array(first)[bad], np.full(bad.size, expected, dtype))
    assert np.isfinite(array(second)[good]).all()
    np.testing.assert_array_equal(array(second)[bad], np.zeros(bad.size, dtype))


def test_where_of_two_operands_through_division():
    x, y = np.array([1.0, 0.0, 3.0]), np.array([2.0, 0.0, 0.0])
    f = lambda a, b: pd.where(b != 0, a / b, a)  # noqa: E731
    value, (da, db), second = gradients(f, x, y)
    np.testing.assert_array_equal(array(value), [0.5, 0, 3])
    np.testing.assert_array_equal(array(da), [0.5, 1, 1])
    np.testing.assert_array_equal(array(db), [-0.25, 0, 0])
    for g in second:
        assert np.isfinite(array(g)).all()


def test_forward_mode_does_not_leak_nan_either():
    x = pd.tensor([2.0, 0.0, -1.0])
    _, t = pd.jvp(lambda v: pd.where(v > 0, v.log(), 0.0), (x,), (pd.ones(3),))
    assert t.tolist() == [0.5, 0.0, 0.0]
    h = pd.hessian(lambda v: pd.where(v > 0, v.log(), 0.0).sum())(x)
    assert h.tolist() == [[-0.25, 0, 0], [0, 0, 0], [0, 0, 0]]


@pytest.mark.smoke
@pytest.mark.parametrize("rows", [0, 3])
def test_a_border_around_nothing_beside_a_reduction(rows, rng):
    """Of a padded tensor without elements only the border is there: on a row of the sum no element may be read."""
    data = rng.standard_normal((rows, 5)).astype(np.float32)
    border = pd._C._pad(pd.zeros(0, 5), [1, 0], [0, 0], 7.0)
    close(pd.tensor(data).sum(0, keepdim=True) + border, data.sum(0, keepdims=True) + 7, eps=8, scale=16)
    corner = pd._C._pad(pd.zeros(0, 1), [1, 0], [0, 0], 7.0).reshape(())
    close(pd.tensor(data).sum() + corner, data.sum() + 7, eps=8, scale=32)
