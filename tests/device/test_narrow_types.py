"""float16, bfloat16 and the small integers: exact conversions, one rounding an operation, sums in float32."""

import math

import numpy as np
import pytest
from oracle import array, function_of, rows, same_bits, sample, specials, twin, types_of

import pydiff as pd

FLOATS = ["float16", "bfloat16"]
INTEGERS = ["int8", "uint8", "int16", "uint16", "uint32"]
ROWS = [r for r in rows() if r["twin"]]
FLOAT_ROWS = [r for r in ROWS if "float32" in types_of(r)]
INTEGER_ROWS = [r for r in ROWS if "int32" in types_of(r)]


def numpy_type(name):
    return pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else np.dtype(name).type


def every_value(name):
    return np.arange(1 << 16, dtype=np.uint16).view(numpy_type(name))


def rounded(x, name):
    with np.errstate(all="ignore"):
        return np.asarray(x).astype(numpy_type(name))


def row_name(row):
    return row["name"] if isinstance(row, dict) else str(row)


# ---- conversions


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.smoke
def test_every_value_widens_exactly_and_narrows_back(name):
    x = every_value(name)
    t = pd.tensor(x)
    assert t.dtype == getattr(pd, name) and t.dtype.itemsize == 2
    same_bits(t, x)
    for wide in (np.float32, np.float64):
        up = t.to(getattr(pd, wide.__name__))
        with np.errstate(invalid="ignore"):
            same_bits(up, x.astype(wide))
        same_bits(up.to(t.dtype), x)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.smoke
def test_float32_is_rounded_to_nearest_ties_to_even(name, rng, nightly):
    edges = every_value(name).astype(np.float32)
    finite = np.sort(edges[np.isfinite(edges)])
    ties = (finite[1:].astype(np.float64) + finite[:-1]) / 2
    near = np.concatenate([np.nextafter(ties.astype(np.float32), np.float32(s)) for s in (-np.inf, np.inf)])
    bits = rng.integers(0, 2**32, 1 << (24 if nightly else 18), dtype=np.uint64).astype(np.uint32)
    for x in (edges, ties.astype(np.float32), near, bits.view(np.float32), specials(np.float32)):
        same_bits(pd.tensor(x).to(getattr(pd, name)), rounded(x, name), name)


@pytest.mark.parametrize("name", FLOATS)
def test_float64_and_integers_are_rounded_once(name, rng):
    with np.errstate(invalid="ignore"):
        finite = every_value(name).astype(np.float64)
    finite = np.unique(finite[np.isfinite(finite)])
    low, high = finite[:-1], finite[1:]
    tie = (low + high) / 2
    # So near to a tie that float32, between, would round to it.
    for side, expected in ((np.inf, high), (-np.inf, low)):
        got = pd.tensor(np.nextafter(tie, side)).to(getattr(pd, name))
        np.testing.assert_array_equal(array(got.double()), expected)
    whole = rng.integers(-(2**52), 2**52, 5000) >> rng.integers(0, 52, 5000)
    expected = pd.tensor(whole.astype(np.float64)).to(getattr(pd, name))
    same_bits(pd.tensor(whole).to(getattr(pd, name)), expected)
    same_bits(pd.tensor(whole.astype(np.int32)).to(getattr(pd, name)), pd.tensor(whole.astype(np.int32)).double().to(getattr(pd, name)))


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.smoke
def test_integers_wrap_around(name, rng):
    info = np.iinfo(name)
    whole = np.concatenate([rng.integers(-(2**40), 2**40, 500), [info.min, info.max, info.min - 1, info.max + 1, 0]])
    same_bits(pd.tensor(whole).to(getattr(pd, name)), whole.astype(name))
    back = whole.astype(name)
    for to in ("int64", "float64", "float32", "bool", *INTEGERS):
        same_bits(pd.tensor(back).to(getattr(pd, to)), back.astype(to), to)


# ---- rows


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("row", FLOAT_ROWS, ids=row_name)
def test_a_row_computes_in_float32_and_rounds_once(row, name, rng):
    x = [v if v.dtype == bool else rounded(v, name) for v in sample(row, rng, (700,), np.float32)]
    special = [np.array([False, True]) if v.dtype == bool else rounded(specials(np.float32), name) for v in x]
    n = min(map(len, special))
    x = [np.concatenate([a, s[:n]]) for a, s in zip(x, special)]
    f = function_of(row)
    got = f(*map(pd.tensor, x))
    wide = f(*[pd.tensor(v if v.dtype == bool else v.astype(np.float32)) for v in x])
    if wide.dtype == pd.bool:
        same_bits(got, wide)
    else:
        assert got.dtype == getattr(pd, name)
        same_bits(got, rounded(array(wide), name), row["name"])


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("row", INTEGER_ROWS, ids=row_name)
def test_a_row_of_small_integers_is_numpys(row, name, rng):
    info = np.iinfo(name)
    x = [rng.integers(info.min, info.max, 400, dtype=name, endpoint=True) if v.dtype != bool else v
         for v in sample(row, rng, (400,), np.int32)]  # fmt: skip
    if row["name"] in ("floor_divide", "remainder"):
        x = [v[x[1] != 0] for v in x]
    with np.errstate(all="ignore"):
        expected = twin(row, *x)
    got = array(function_of(row)(*map(pd.tensor, x)))
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.smoke
def test_a_chain_is_rounded_after_every_operation(name, rng):
    a, b = (rounded(rng.uniform(-3, 3, 5000), name) for _ in range(2))
    x, y = pd.tensor(a), pd.tensor(b)
    got = (x * y + y) * 0.3 - x
    a, b = a.astype(np.float32), b.astype(np.float32)
    expected = rounded(a * b, name).astype(np.float32)
    expected = rounded(expected + b, name).astype(np.float32)
    number = np.float32(rounded(0.3, name))  # a Python number takes the tensor's type
    expected = rounded(expected * number, name).astype(np.float32)
    same_bits(got, rounded(expected - a, name))


# ---- sums


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("shape, dim", [((30_000,), 0), ((7, 3000), 1), ((3000, 7), 0), ((2, 70_001), 1)])
def test_sums_are_taken_in_float32(name, shape, dim, rng):
    x = rounded(rng.uniform(0, 4, shape), name)
    t, wide = pd.tensor(x), pd.tensor(x.astype(np.float32))
    for f in (lambda v: v.sum(dim), lambda v: v.mean(dim), lambda v: v.var(dim), lambda v: v.softmax(dim),
              lambda v: v.log_softmax(dim), lambda v: v.logsumexp(dim), lambda v: v.cumsum(dim), lambda v: v.amax(dim),
              lambda v: (v * 0 + 1).prod(dim)):  # fmt: skip
        got = f(t)
        assert got.dtype == t.dtype
        same_bits(got, rounded(array(f(wide)), name))
    assert pd.ones(4096, dtype=t.dtype).sum().item() == 4096  # 2048 + 1 is 2048 in float16, 256 + 1 is 256 in bfloat16
    assert (pd.ones(4, dtype=pd.float16) * 60000).mean().item() == 60000  # whose sum is beyond float16


@pytest.mark.parametrize("name", ["int8", "uint8", "int16"])
def test_integer_sums_are_int64_and_extrema_keep_the_type(name, rng):
    info = np.iinfo(name)
    x = rng.integers(info.min, info.max, (40, 70), dtype=name, endpoint=True)
    t = pd.tensor(x)
    same_bits(t.sum(1), x.sum(1, dtype=np.int64))
    same_bits(t.amax(0), x.max(0))
    same_bits(t.amin(), x.min())
    same_bits(t.argmax(1), x.argmax(1))
    same_bits(t.cumsum(1), x.cumsum(1, dtype=np.int64))


@pytest.mark.parametrize("name", FLOATS)
def test_products_of_matrices_are_summed_in_float32(name, rng):
    a, b = rounded(rng.standard_normal((33, 257)), name), rounded(rng.standard_normal((257, 19)), name)
    got = pd.tensor(a) @ pd.tensor(b)
    assert got.dtype == getattr(pd, name)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    scale = np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64))
    step = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[name]
    assert (np.abs(array(got).astype(np.float64) - exact) <= step * np.abs(exact) + 257 * 2.0**-24 * scale).all()


# ---- derivatives


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("row", [r for r in FLOAT_ROWS if "yes" in r["diff"]], ids=row_name)
def test_a_derivative_is_computed_in_float32_and_rounded_once(row, name, rng):
    x = [v if v.dtype == bool else rounded(v, name) for v in sample(row, rng, (300,), np.float32)]
    f, g = function_of(row), rounded(rng.uniform(-2, 2, 300), name)

    def gradients(wide):
        t = [pd.tensor(v if v.dtype == bool or not wide else v.astype(np.float32), requires_grad=v.dtype != bool) for v in x]
        y = f(*t)
        taped = [v for v in t if v.requires_grad]
        return pd.autograd.grad(y, taped, pd.tensor(g.astype(np.float32) if wide else g), allow_unused=True), y

    (narrow, y), (wide, _) = gradients(False), gradients(True)
    assert y.dtype == getattr(pd, name)
    for a, b in zip(narrow, wide):
        assert (a is None) == (b is None)
        if a is None:
            continue
        assert a.dtype == getattr(pd, name)
        if row["needs_out"]:  # read from memory, where it is rounded
            a, b = array(a).astype(np.float32), array(b)
            finite = np.isfinite(b)
            np.testing.assert_allclose(a[finite], b[finite], rtol=0.2, atol=0.05)
        else:
            same_bits(a, rounded(array(b), name), row["name"])


def test_forward_mode_and_second_order(rng):
    x = pd.tensor(rng.uniform(0.5, 2, 50).astype(np.float16))
    y, t = pd.jvp(lambda v: (v * v).tanh(), (x,), (pd.ones_like(x),))
    assert y.dtype == t.dtype == pd.float16
    v = array(x).astype(np.float64)
    np.testing.assert_allclose(array(t).astype(np.float64), 2 * v * (1 - np.tanh(v * v) ** 2), atol=5e-3)
    h = pd.grad(lambda v: pd.grad(lambda u: (u**3).sum())(v).sum())(x)
    np.testing.assert_allclose(array(h).astype(np.float64), 6 * v, rtol=5e-3)


# ---- what moves elements


@pytest.mark.parametrize("name", [*FLOATS, "int8", "uint16", "uint32"])
def test_movement_indexing_and_writing(name, rng):
    kind = numpy_type(name)
    x = rng.integers(0, 100, (6, 5)).astype(kind)
    t = pd.tensor(x)
    index = np.array([[5, 0], [2, 2]])
    i = pd.tensor(index)
    same_bits(t.T[1:, ::2].flip(0), np.ascontiguousarray(x.T[1:, ::2][::-1]))
    same_bits(t[i], x[index])
    same_bits(pd.cat([t, t * 2]), np.concatenate([x, (x * np.array(2, kind)).astype(kind)]))
    same_bits(t.gather(0, pd.tensor(np.zeros((1, 5), np.int64))), x[:1])
    same_bits(pd._C._pad(t, (0, 1), (0, 2), 3.0), np.pad(x, ((0, 0), (1, 2)), constant_values=np.array(3, kind)))
    same_bits(pd.where(t > 50, t, pd.zeros_like(t)), np.where(x > np.array(50, kind), x, np.zeros_like(x)))
    w = t.clone()
    w[2] = 7
    w[:, 0] += t[:, 1]
    expected = x.copy()
    expected[2] = 7
    expected[:, 0] = (expected[:, 0].astype(np.float64) + x[:, 1].astype(np.float64)).astype(kind)
    same_bits(w, expected)
    values, order = t.sort(1)
    same_bits(values, np.sort(x, 1))
    same_bits(t.gather(1, order), np.sort(x, 1))
    assert t.tolist() == x.astype(np.float64).tolist()
    assert t[0, 0].item() == float(x[0, 0])
    assert repr(t).startswith("tensor(")


@pytest.mark.parametrize("name", FLOATS)
def test_the_gradient_of_indexing_adds_up_in_float32(name):
    x = pd.zeros(3, dtype=getattr(pd, name), requires_grad=True)
    x[pd.tensor(np.repeat([0, 2], 3000))].sum().backward()
    assert x.grad.dtype == x.dtype and x.grad.tolist() == [3000 if name == "float16" else 3008, 0, 3000 if name == "float16" else 3008]


@pytest.mark.parametrize("name", FLOATS)
def test_numbers_and_creation(name):
    dtype = getattr(pd, name)
    kind = numpy_type(name)
    same_bits(pd.full((3,), 0.1, dtype=dtype), np.full(3, 0.1, kind))
    same_bits(pd.tensor([0.1, 1e6, -1e-9], dtype=dtype), rounded([0.1, 1e6, -1e-9], name))
    assert (pd.ones(2, dtype=dtype) * 3 + 0.5).dtype == dtype
    same_bits(pd.ones(2, dtype=dtype) + 1e-5, rounded([1 + 1e-5] * 2, name))
    assert pd.tensor(0.1, dtype=dtype).item() == float(kind(0.1))
    assert pd.zeros((), dtype=dtype).float().item() == 0
    pd.manual_seed(3)
    a = pd.randn(100, dtype=dtype)
    pd.manual_seed(3)
    same_bits(a, rounded(array(pd.randn(100)), name))


@pytest.mark.parametrize("name", FLOATS)
def test_what_numpy_computes_is_computed_in_float32(name, rng):
    x = rounded(rng.standard_normal((4, 30)), name)
    x[1, 3] = x[2, 5] = float("nan")
    t = pd.tensor(x, requires_grad=True)
    order = np.argsort(x.astype(np.float32), 1, kind="stable")
    same_bits(t.argsort(1), order)
    assert t.sort(1).values.dtype == t.dtype and t.topk(3, 1).values.dtype == t.dtype
    t.sort(1).values[:, 0].sum().backward()
    assert t.grad.dtype == t.dtype and t.grad.double().sum().item() == 4
    a, b = rounded(rng.standard_normal((5, 5)) + 5 * np.eye(5), name), rounded(rng.standard_normal((5, 2)), name)
    wide = pd.linalg.solve(pd.tensor(a.astype(np.float32)), pd.tensor(b.astype(np.float32)))
    same_bits(pd.linalg.solve(pd.tensor(a), pd.tensor(b)), rounded(array(wide), name))


# ---- training


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("optimiser", ["SGD", "Adam"])
def test_a_network_trains(name, optimiser, rng):
    pd.manual_seed(0)
    x = rng.standard_normal((128, 8)).astype(np.float32)
    target = np.tanh(x @ rng.standard_normal((8, 1)).astype(np.float32))
    model = pd.nn.Sequential(pd.nn.Linear(8, 32), pd.nn.Tanh(), pd.nn.Linear(32, 1)).to(getattr(pd, name))
    assert all(p.dtype == getattr(pd, name) for p in model.parameters())
    settings = {"SGD": dict(lr=0.1, momentum=0.9), "Adam": dict(lr=0.01, eps=1e-4)}[optimiser]
    opt = getattr(pd.optim, optimiser)(model.parameters(), **settings)
    a, b = (pd.tensor(v).to(getattr(pd, name)) for v in (x, target))
    losses = []
    for _ in range(60):
        loss = (model(a) - b).square().mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    assert all(p.dtype == getattr(pd, name) and p.grad.dtype == p.dtype for p in model.parameters())
    assert losses[-1] < 0.2 * losses[0], losses[::10]


@pytest.mark.parametrize("name", FLOATS)
def test_with_pytorch_by_dlpack(name, device):
    torch = pytest.importorskip("torch")
    if device != "cpu":
        pytest.skip("PyTorch is on the CPU")
    t = torch.arange(7, dtype=getattr(torch, name)) / 3
    x = pd.from_dlpack(t)
    assert x.dtype == getattr(pd, name)
    assert x.tolist() == t.tolist()
    assert torch.from_dlpack(x * 2).tolist() == (t * 2).tolist()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_nan_to_num_puts_the_dtype_s_own_largest_number(dtype):
    most = pd.finfo(getattr(pd, dtype)).max
    got = pd.tensor([math.nan, math.inf, -math.inf, 1.5], dtype=getattr(pd, dtype)).nan_to_num()
    assert got.dtype.name == dtype and got.double().tolist() == [0, most, -most, 1.5]
