"""x[...] and x[...] = v against NumPy, by hundreds of index expressions, with their gradients."""

import itertools

import numpy as np
import pytest
from oracle import array, check_derivatives, same_bits, tangent_pairing

import pydiff as pd

SHAPE = (4, 5, 6)

ATOMS = {
    "int": 1,
    "negative": -2,
    "all": slice(None),
    "part": slice(1, 4),
    "step": slice(None, None, 2),
    "backward": slice(None, None, -1),
    "backward step": slice(4, 0, -2),
    "beyond": slice(-100, 100),
    "nothing": slice(3, 1),
    "None": None,
    "dots": Ellipsis,
    "list": [0, 2, -1],
    "array": np.array([[1, 0], [-1, 2]]),
    "one": np.array([3]),
    "numpy int": np.int64(2),
    "mask": "mask",
}


def build(names):
    """The index of these atoms, or None where it takes too many axes or two ellipses."""
    key, axis = [], 0
    if names.count("dots") > 1:
        return None
    takes = sum(n not in ("dots", "None") for n in names)
    if takes > len(SHAPE):
        return None
    for name in names:
        atom = ATOMS[name]
        if name == "dots":
            axis += len(SHAPE) - takes
        elif name == "mask":
            atom = np.arange(SHAPE[axis]) % 3 != 1
            axis += 1
        elif name != "None":
            axis += 1
        key.append(atom)
    arrays = [a for a in key if isinstance(a, (list, np.ndarray))]
    shapes = [(len(a),) if isinstance(a, list) else (int(a.sum()),) if a.dtype == bool else a.shape for a in arrays]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return None
    return tuple(key)


def separated_integer(key):
    """NumPy counts an integer beside arrays as an array; PyTorch, and pydiff, take it first."""
    has_array = any(isinstance(a, (list, np.ndarray)) for a in key)
    return has_array and any(isinstance(a, (int, np.integer)) for a in key)


def numpys(x, key):
    """x[key] with integers taken first: each becomes a slice whose axis is dropped at the end."""
    if not separated_integer(key):
        return x[key]
    key = list(key)
    at = 0
    rank = sum(a is not None and a is not Ellipsis for a in key)
    drop_first = []
    for i, a in enumerate(key):
        if a is Ellipsis:
            at += x.ndim - rank
        elif a is not None:
            if isinstance(a, (int, np.integer)):
                drop_first.append((at, a, i))
            at += 1
    for axis, a, i in reversed(drop_first):
        x = np.take(x, a, axis)
        del key[i]
    return x[tuple(key)]


def as_torch_tensors(key):
    return tuple(pd.tensor(np.asarray(a)) if isinstance(a, (list, np.ndarray)) else a for a in key)


EXPRESSIONS = [n for r in (1, 2, 3) for n in itertools.product(ATOMS, repeat=r) if build(n) is not None]


def of_length(r):
    return [n for n in EXPRESSIONS if len(n) == r]


def test_there_are_hundreds_of_expressions():
    assert len(EXPRESSIONS) > 1500


def sampled(rng, nightly):
    triples = of_length(3)
    if not nightly:
        triples = [triples[k] for k in rng.choice(len(triples), 300, replace=False)]
    return of_length(1) + of_length(2) + triples


@pytest.mark.smoke
def test_get_against_numpy(rng, nightly):
    x = rng.standard_normal(SHAPE)
    t = pd.tensor(x)
    for names in sampled(rng, nightly):
        key = build(names)
        expected = np.asarray(numpys(x, key))
        same_bits(t[key], np.ascontiguousarray(expected).reshape(expected.shape), str(names))
        same_bits(t[as_torch_tensors(key)], t[key], str(names))


def test_set_against_numpy(rng, nightly):
    x = rng.standard_normal(SHAPE)
    for names in sampled(rng, nightly):
        key = build(names)
        if separated_integer(key):
            continue
        part = x[key]
        for value in (7.5, rng.standard_normal(part.shape), rng.standard_normal(part.shape[-1:])):
            # an index that repeats: the last write wins in NumPy, and here
            expected = x.copy()
            expected[key] = value
            t = pd.tensor(x)
            t[key] = value if isinstance(value, float) else pd.tensor(value)
            same_bits(t, expected, str(names))
        t = pd.tensor(x)
        t[key] += 1.0
        expected = x.copy()
        expected[key] += 1.0
        same_bits(t, expected, f"+= {names}")


def test_get_and_set_in_other_dtypes(rng):
    for dtype in ("bool", "int32", "int64", "float32"):
        x = np.arange(120).reshape(SHAPE).astype(dtype)
        for names in of_length(2)[::5]:
            key = build(names)
            if separated_integer(key):
                continue
            t = pd.tensor(x)
            same_bits(t[key], x[key], f"{names} {dtype}")
            expected = x.copy()
            expected[key] = 1
            t[key] = 1
            same_bits(t, expected, f"{names} {dtype}")


def test_masks_of_several_axes(rng):
    x = rng.standard_normal(SHAPE)
    for mask in (x > 0, x[:, :, 0] > 0, np.zeros(SHAPE, bool), np.ones((4, 5), bool)):
        t = pd.tensor(x)
        same_bits(t[pd.tensor(mask)], x[mask])
        expected = x.copy()
        expected[mask] = -1.0
        t[pd.tensor(mask)] = -1.0
        same_bits(t, expected)
        values = rng.standard_normal(x[mask].shape)
        expected[mask] = values
        t[mask] = pd.tensor(values)
        same_bits(t, expected)
    t = pd.tensor(x)
    same_bits(t[:, x[0] > 0], x[:, x[0] > 0])


def test_scalars_and_booleans_as_indices():
    x = np.arange(3.0)
    t = pd.tensor(x)
    same_bits(t[True], x[True])
    same_bits(t[False], x[False])
    same_bits(pd.tensor(5.0)[...], np.array(5.0, np.float32))
    same_bits(pd.tensor(5.0)[None], np.array([5.0], np.float32))
    same_bits(t[pd.tensor(1)], np.asarray(x[1]))
    assert [v.item() for v in t] == [0.0, 1.0, 2.0] and len(t) == 3
    same_bits(t[[]], x[[]])


BAD = [
    (lambda t: t[4], IndexError, "out of range"),
    (lambda t: t[0, 0, 0, 0], IndexError, "too many indices"),
    (lambda t: t[..., ...], IndexError, "ellipsis"),
    (lambda t: t[1.5], (IndexError, TypeError), "index"),
    (lambda t: t["a"], (IndexError, TypeError), "index"),
    (lambda t: t[pd.tensor([0.5])], IndexError, "integers or booleans"),
    (lambda t: t[pd.tensor([True, False])], IndexError, "mask"),
    (lambda t: t[pd.tensor([0, 1]), pd.tensor([0, 1, 2])], (IndexError, ValueError), "broadcast"),
    (lambda t: t.__setitem__(0, pd.ones(2, 2)), (RuntimeError, ValueError), "broadcast"),
    (lambda t: t.__delitem__(0), TypeError, "deleted"),
    (lambda t: pd.tensor(1.0)[0], IndexError, "too many indices"),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_errors_come_at_the_line_that_wrote_them(number):
    f, kind, text = BAD[number]
    with pytest.raises(kind, match=text):
        f(pd.ones(SHAPE))


def test_gradients_of_get(rng, nightly):
    x = rng.standard_normal(SHAPE)
    w = {}
    for names in sampled(rng, nightly)[:: 1 if nightly else 4]:
        key = build(names)
        part = np.asarray(numpys(x, key))
        w = rng.standard_normal(part.shape)
        t = pd.tensor(x, requires_grad=True)
        (t[key] * pd.tensor(w)).sum().backward()
        # the transpose of reading: each element collects the weights of the places that read it
        where = np.asarray(numpys(np.arange(x.size).reshape(SHAPE), key)).ravel()
        expected = np.zeros(x.size)
        np.add.at(expected, where, w.ravel())
        np.testing.assert_allclose(array(t.grad).ravel(), expected, rtol=0, atol=16 * np.finfo(float).eps, err_msg=str(names))


def test_gradients_of_set(rng, nightly):
    x = rng.standard_normal(SHAPE)
    for names in sampled(rng, nightly)[:: 1 if nightly else 6]:
        key = build(names)
        if separated_integer(key):
            continue
        where = np.arange(x.size).reshape(SHAPE)[key].ravel()
        if np.unique(where).size != where.size or not where.size:
            continue  # a place written twice, or nothing
        part = x[key]
        v = rng.standard_normal(part.shape)
        a, b = pd.tensor(x, requires_grad=True), pd.tensor(v, requires_grad=True)
        c = a * 1.0
        c[key] = b * 2.0
        w = rng.standard_normal(SHAPE)
        (c * pd.tensor(w)).sum().backward()
        kept = w.copy()
        kept[key] = 0
        if a.grad is None:  # all of it was written over
            assert not kept.any(), names
        else:
            same_bits(a.grad, kept, str(names))
        same_bits(b.grad, (2.0 * w[key]).reshape(part.shape), str(names))


def test_derivatives_of_order_two(rng):
    x, v = rng.standard_normal((3, 4)), rng.standard_normal((2, 4))

    def written(a, b):
        c = a * a
        c[1:] = b * a[:2]
        c[0, [1, 3]] += b[1, :2]
        c[:, -1] *= a[0, 0]
        return c * c[[0, 2, 0]]

    tangent_pairing(written, [x, v], rng)
    check_derivatives(written, x, v, order=2)


def test_a_write_broadcasts_and_sums_its_gradient_back():
    v = pd.tensor([1.0, 2.0], requires_grad=True)
    x = pd.zeros(3, 2)
    x[:] = v
    (x * pd.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])).sum().backward()
    assert v.grad.tolist() == [6.0, 60.0]
    number = pd.tensor(2.0, requires_grad=True)
    y = pd.zeros(4)
    y[1:3] = number
    (y * pd.arange(4.0)).sum().backward()
    assert number.grad.item() == 3.0


def test_loops_of_writes_differentiate(rng):
    """A recurrence written into a preallocated tensor, as one writes it in NumPy."""
    x = rng.uniform(0.1, 0.9, 6)

    def table(t):
        y = pd.zeros(6, dtype=pd.float64)
        y[0] = t[0]
        for i in range(1, 6):
            y[i] = y[i - 1] * t[i] + y[i - 1].sin()
        return y

    check_derivatives(table, x, order=2)
