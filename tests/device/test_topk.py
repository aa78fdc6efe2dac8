"""topk: the kernel that selects against the definition by sorting, derivatives, batches."""

import numpy as np
import pytest

import pydiff as pd
from pydiff.testing import check_grads

DTYPES = ["int32", "int64", "uint64", "float32", "float64", "float16", "uint8", "int16"]


def places(x, k, axis, largest):
    """By stable sort: NaN largest, equal elements by their index."""
    flipped = np.argsort(np.flip(x, axis), axis, kind="stable")
    order = x.shape[axis] - 1 - np.flip(flipped, axis) if largest else np.argsort(x, axis, kind="stable")
    return np.take(order, range(k), axis)


@pytest.mark.smoke
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_selects_what_sorting_gives(dtype, largest, rng):
    for shape in [(7,), (5, 40), (3, 4, 33), (2, 1024), (2, 300, 3)]:
        x = rng.integers(0, 9, shape).astype(dtype)
        if dtype.startswith("float"):
            x[rng.random(shape) < 0.1] = np.nan
            x[rng.random(shape) < 0.1] = -0.0
        for axis in range(-len(shape), len(shape)):
            for k in {0, 1, min(5, shape[axis]), min(64, shape[axis])}:
                values, indices = pd.tensor(x).topk(k, axis, largest)
                expected = places(x, k, axis, largest)
                np.testing.assert_array_equal(indices.numpy(), expected)
                np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x, expected, axis))
                assert indices.dtype == pd.int64 and values.dtype.name == dtype


@pytest.mark.parametrize("k, n", [(65, 100), (3, 1025), (70, 2000)])
def test_longer_rows_and_more_of_them(k, n, rng):
    x = rng.integers(0, 99, (2, n)).astype("float32")
    np.testing.assert_array_equal(pd.tensor(x).topk(k).indices.numpy(), places(x, k, 1, True))


def test_no_node_is_sorted(monkeypatch):
    """Short rows do not reach the fallback."""
    monkeypatch.setattr("pydiff.fallback.sorting._argsort", None)
    assert pd.tensor([3.0, 1.0, 2.0]).topk(2).indices.tolist() == [0, 2]


@pytest.mark.parametrize("largest", [True, False])
def test_derivatives(largest, rng):
    x = pd.tensor(rng.permutation(24).reshape(4, 6).astype("float64"))
    check_grads(lambda t: t.topk(3, 1, largest).values ** 2, order=2)(x)


def test_inside_vmap(rng):
    x = rng.standard_normal((5, 3, 20)).astype("float32")
    values, indices = pd.vmap(lambda t: tuple(t.topk(4, 1)))(pd.tensor(x))
    np.testing.assert_array_equal(indices.numpy(), places(x, 4, 2, True))
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x, places(x, 4, 2, True), 2))


def test_many_rows(rng):
    x = rng.standard_normal((3000, 30)).astype("float32")
    np.testing.assert_array_equal(pd.tensor(x).topk(8).indices.numpy(), places(x, 8, 1, True))


def test_bad_k():
    for k in (-1, 4):
        with pytest.raises(RuntimeError, match="k is at most the size of the axis"):
            pd.tensor([1.0, 2.0, 3.0]).topk(k)
    assert pd.tensor(5.0).topk(1).values.item() == 5.0
