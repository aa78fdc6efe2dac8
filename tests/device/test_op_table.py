"""Every elementwise row of the op table: value, derivatives, batching, types."""

import numpy as np
import pytest
from oracle import (
    array,
    check_derivatives,
    differentiable,
    domain,
    function_of,
    of_scipy,
    rows,
    same_bits,
    sample,
    specials,
    tangent_pairing,
    twin,
    types_of,
    ulp_bound,
    within_ulps,
)

import pydiff as pd

ROWS = [r for r in rows() if r["twin"]]
FLOAT = [r for r in ROWS if "float32" in types_of(r)]
SMOOTH = [r for r in FLOAT if any(differentiable(r))]
WHOLE = [(r, t) for r in ROWS for t in types_of(r) if t in ("bool", "int32", "int64", "uint64")]
DRAWS = [r for r in rows() if not r["twin"] and r["name"] != "cast"]

# Rows whose zero has a sign that IEEE 754 or C (annex F) defines.
SIGNED_ZEROS = {
    "add", "sub", "mul", "div", "neg", "abs", "square", "reciprocal", "sqrt", "floor", "ceil", "trunc", "round",
    "expm1", "log1p", "tanh", "sinh", "sin", "tan", "asin", "atan", "atan2", "erf", "asinh", "atanh",
}  # fmt: skip


def name_of(value):
    return value["name"] if isinstance(value, dict) else str(value)


def rows_of(table):
    return pytest.mark.parametrize("row", table, ids=name_of)


def every_pair(*values):
    """All combinations of the values, one flat array an operand."""
    return [g.ravel().copy() for g in np.meshgrid(*values, indexing="ij")]


def operands_with_specials(row, rng, dtype, count):
    drawn = sample(row, rng, (count,), dtype)
    special = every_pair(*[specials(bool if d.dtype == bool else dtype) for d in drawn])
    if of_scipy(row):  # whose values elsewhere are less exact, or wrong; tests/accuracy.py has all arguments
        low, high = domain(row)[0]
        special = [s[(s >= low) & (s <= high)] for s in special]
    if row["name"] == "sinc":  # the twin rounds pi x, which counts more and more
        special = [s[np.abs(s) <= 0.5] for s in special]
    if row["name"] in ("gelu", "ndtr"):  # outside the domain the rounding of erfc's argument counts, 2 z^2 times
        special = [s[(np.abs(s) <= 3) | ~np.isfinite(s)] for s in special]
    if row["name"] in ("floor_divide", "remainder"):  # exact while the quotient has fewer digits than the type
        with np.errstate(all="ignore"):
            quotient = np.abs(special[0] / special[1])
            keep = ~(quotient >= 1 / np.finfo(dtype).eps) | np.isinf(special[0])
        special = [s[keep] for s in special]
    return [np.concatenate(pair) for pair in zip(drawn, special)]


def test_the_table_is_complete():
    assert len(ROWS) >= 55
    for row in ROWS:
        assert row["doc"].endswith("."), row["name"]
        assert len(row["domain"].split(";")) == row["arity"], row["name"]
        assert types_of(row), row["name"]


@rows_of(FLOAT)
@pytest.mark.smoke
def test_float32_against_its_twin_in_float64(row, rng, nightly):
    x = operands_with_specials(row, rng, np.float32, 200_000 if nightly else 4000)
    got = function_of(row)(*map(pd.tensor, x))
    wide = [o if o.dtype == bool else o.astype(np.float64) for o in x]
    expected = twin(row, *wide)
    if expected.dtype == bool:
        same_bits(got, expected, row["name"])
    else:
        within_ulps(got, expected, ulp_bound(row["name"]), row["name"], row["name"] in SIGNED_ZEROS)


@rows_of(FLOAT)
def test_float64_against_its_twin(row, rng, nightly):
    x = operands_with_specials(row, rng, np.float64, 100_000 if nightly else 2000)
    got = function_of(row)(*map(pd.tensor, x))
    bound = ulp_bound(row["name"])
    # 80-bit numbers where rounding them again would not blur an exact result; `math` has float64 alone,
    # itself within one ulp
    wide = np.longdouble if bound and "math" not in row["twin"] and not of_scipy(row) else np.float64
    expected = twin(row, *[o if o.dtype == bool else o.astype(wide) for o in x])
    if expected.dtype == bool:
        same_bits(got, expected, row["name"])
    else:
        if "math" in row["twin"] or of_scipy(row):
            bound = 2 * bound + 1 + 12 * of_scipy(row)  # the twin has roundings of its own: SciPy's i1 of float64 is 15 ulps off
        within_ulps(got, expected, bound, row["name"], row["name"] in SIGNED_ZEROS)


@pytest.mark.parametrize("row, dtype", WHOLE, ids=name_of)
@pytest.mark.smoke
def test_integers_and_booleans(row, dtype, rng):
    drawn = sample(row, rng, (500,), dtype)
    special = every_pair(*[specials(d.dtype) for d in drawn])
    x = [np.concatenate(pair) for pair in zip(drawn, special)]
    if row["name"] in ("floor_divide", "remainder"):
        x = [o[x[1] != 0] for o in x]
    expected = twin(row, *x)
    got = array(function_of(row)(*map(pd.tensor, x)))
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected, err_msg=row["name"])


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integer_division_has_one_defined_result(dtype):
    least = np.iinfo(dtype).min
    x, zero = pd.tensor(np.array([5, -5, 0, least], dtype)), pd.tensor(np.zeros(4, dtype))
    assert (x // zero).tolist() == [-1, -1, -1, -1] and (x % zero).tolist() == [5, -5, 0, least]
    minus = pd.tensor(np.full(4, -1, dtype))
    assert (x // minus).tolist() == [-5, 5, 0, least] and (x % minus).tolist() == [0, 0, 0, 0]


def test_floor_division_of_floats_steps_back_where_the_quotient_was_rounded_up():
    x = pd.tensor([1.0, -1.0, 1.0, 6.0], dtype=pd.float64)
    y = pd.tensor([0.1, 0.1, -0.1, 0.1], dtype=pd.float64)
    n = [v.numpy() for v in (x, y)]
    same_bits(x // y, n[0] // n[1])
    same_bits(x % y, n[0] % n[1])


@rows_of(ROWS)
def test_operands_broadcast_and_keep_shape(row, rng):
    dtype = types_of(row)[-1]
    shapes = [(3, 1, 5), (4, 1), (1,)][: row["arity"]]
    x = [sample(row, rng, s, dtype)[k] for k, s in enumerate(shapes)]
    expected = twin(row, *x)
    got = function_of(row)(*map(pd.tensor, x))
    assert tuple(got.shape) == expected.shape
    flat = [np.ascontiguousarray(np.broadcast_to(o, expected.shape)) for o in x]
    same_bits(got, function_of(row)(*map(pd.tensor, flat)), row["name"])
    empty = function_of(row)(*[pd.tensor(o[:0]) for o in sample(row, rng, (2,), dtype)])
    assert tuple(empty.shape) == (0,)
    scalar = function_of(row)(*[pd.tensor(o[()]) for o in sample(row, rng, (), dtype)])
    assert tuple(scalar.shape) == ()


# ---- derivatives


def float_operands(row, rng, shapes):
    """The row as a function of its differentiable operands, and these."""
    x = [sample(row, rng, s, np.float64)[k] for k, s in enumerate(shapes)]
    if row["name"] == "where":
        condition = pd.tensor(x[0])
        return (lambda b, c: pd.where(condition, b, c)), x[1:]
    return function_of(row), x


@rows_of(SMOOTH)
def test_both_modes_and_finite_differences_agree_to_order_two(row, rng):
    f, x = float_operands(row, rng, [(2, 3)] * row["arity"])
    tangent_pairing(f, x, rng)
    check_derivatives(f, *x, order=2)


@rows_of([r for r in SMOOTH if r["arity"] > 1])
def test_derivatives_of_broadcast_operands(row, rng):
    f, x = float_operands(row, rng, [(2, 1), (3,), (1, 3)][: row["arity"]])
    tangent_pairing(f, x, rng)
    check_derivatives(f, *x, order=2)


@rows_of([r for r in SMOOTH if r["arity"] == 1])
@pytest.mark.smoke
def test_first_derivative_of_random_points_in_float32(row, rng):
    (x,) = sample(row, rng, (64,), np.float32)
    f = function_of(row)
    grad = array(pd.grad(lambda t: f(t).sum())(pd.tensor(x)))
    wide = array(pd.grad(lambda t: f(t).sum())(pd.tensor(x.astype(np.float64))))
    # the derivative's own roundings, and those of what it mentions: a dozen at most, each of half an ulp of
    # numbers no larger than the largest term
    scale = max(np.abs(wide).max(), 1.0)
    assert np.abs(grad - wide).max() <= 32 * np.finfo(np.float32).eps * scale


ZERO = [r for r in FLOAT if all(d == "zero" for d in r["diff"][: r["arity"]])]


@rows_of(ZERO)
def test_documented_zero(row, rng):
    assert "derivative" in row["doc"].lower() or row["name"] == "half_gt"
    x = [pd.tensor(o, requires_grad=True) for o in sample(row, rng, (5,), np.float64)]
    y = function_of(row)(*x) + sum(x)
    y.sum().backward()
    for o in x:
        same_bits(o.grad, np.ones(5))


# lgamma and digamma get their derivatives in pydiff.fallback (test_special.py).
TRUTHS = [r for r in FLOAT if r["name"] not in ("where", "lgamma", "digamma") and all(d == "no" for d in r["diff"][: r["arity"]])]


@rows_of(TRUTHS)
def test_truth_values_carry_no_gradient(row, rng):
    x = [pd.tensor(o, requires_grad=True) for o in sample(row, rng, (5,), np.float64)]
    y = function_of(row)(*x)
    assert y.dtype == pd.bool and not y.requires_grad
    with pytest.raises(RuntimeError, match="requires grad"):
        y.double().sum().backward()


# ---- batching


@rows_of(ROWS)
@pytest.mark.smoke
def test_vmap_equals_a_loop(row, rng):
    dtype = types_of(row)[-1]
    n, f = row["arity"], function_of(row)
    choices = {1: [(0,)], 2: [(0, 0), (0, None), (None, 0)], 3: [(0, 0, 0), (None, 0, None), (0, None, 0)]}
    for axes in choices[n]:
        x = [sample(row, rng, (4, 3) if a == 0 else (2, 3), dtype)[k] for k, a in enumerate(axes)]
        # batched operands have a smaller rank than the others: the batch axis must not meet their leading axis
        got = pd.vmap(f, in_dims=axes)(*map(pd.tensor, x))
        loop = [array(f(*[pd.tensor(o[i] if a == 0 else o) for o, a in zip(x, axes)])) for i in range(4)]
        same_bits(got, np.stack(loop), f"{row['name']} {axes}")


# ---- casts and draws

TYPES = ["bool", "int32", "int64", "float32", "float64"]


@pytest.mark.parametrize("to", TYPES)
@pytest.mark.parametrize("source", TYPES)
def test_casts(source, to):
    x = specials(source)
    got = array(pd.tensor(x).to(getattr(pd, to)))
    with np.errstate(all="ignore"):
        expected = x.astype(to)
    if np.dtype(source).kind == "f" and np.dtype(to).kind == "i":
        # out of range: saturating, NaN as 0; NumPy leaves this to the machine
        info = np.iinfo(to)
        expected = np.array([0 if np.isnan(v) else min(max(int(v), info.min), info.max) if np.isfinite(v)
                             else (info.max if v > 0 else info.min) for v in x], to)  # fmt: skip
    same_bits(got, expected, f"{source} to {to}")


@rows_of(DRAWS)
def test_draws_depend_on_index_stream_and_key_alone(row):
    for dtype in types_of(row):
        draw = lambda shape, stream, key: array(  # noqa: E731
            pd._C._draw(row["name"], shape, stream, key, getattr(pd, dtype))
        )
        whole = draw((5000,), 3, 7)
        same_bits(draw((50, 100), 3, 7).ravel(), whole)
        same_bits(draw((1000,), 3, 7), whole[:1000])
        for other in (draw((5000,), 4, 7), draw((5000,), 3, 8)):
            assert (other == whole).mean() < 0.01


def test_draws_have_their_distribution():
    n = 200_000
    u = array(pd._C._draw("random_uniform", (n,), 1, 2, pd.float64))
    assert u.min() >= 0 and u.max() < 1
    # four standard errors of the mean and of the variance
    assert abs(u.mean() - 0.5) < 4 * (1 / 12 / n) ** 0.5
    assert abs(u.var() - 1 / 12) < 4 * (1 / 180 / n) ** 0.5
    z = array(pd._C._draw("random_normal", (n,), 1, 2, pd.float64))
    assert abs(z.mean()) < 4 * n**-0.5
    assert abs(z.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((z**3).mean()) < 4 * (15 / n) ** 0.5
    assert abs((z**4).mean() - 3) < 4 * (96 / n) ** 0.5
    b = array(pd._C._draw("random_bits", (n,), 1, 2, pd.int64))
    assert b.min() >= 0
    ones = ((b[:, None] >> np.arange(63)) & 1).mean(0)
    assert np.abs(ones - 0.5).max() < 5 * 0.5 * n**-0.5
