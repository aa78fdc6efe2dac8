"""Movement, indexing and contraction composed in Python: examples, errors, and where PyTorch's samples do not reach."""

import doctest

import numpy as np
import pytest

import pydiff as pd
from pydiff import contraction, indexing, movement, ops
from pydiff.testing import check_grads


@pytest.mark.parametrize("module", [contraction, indexing, movement, ops], ids=lambda m: m.__name__)
def test_examples(module):
    tried = doctest.testmod(module)
    assert tried.attempted > 20 and not tried.failed


X, V = np.arange(12.0).reshape(3, 4), np.arange(3.0)

# what is called, and what its message names
ERRORS = {
    "rot90": lambda x, v: pd.rot90(x, 1, (0, 0)),
    "fliplr": lambda x, v: pd.fliplr(v),
    "flipud": lambda x, v: pd.flipud(v.sum()),
    "adjoint": lambda x, v: pd.adjoint(v),
    "tensor_split": lambda x, v: pd.tensor_split(v, 0),
    "hsplit": lambda x, v: pd.hsplit(x, 3),
    "vsplit": lambda x, v: pd.vsplit(v, 1),
    "dsplit": lambda x, v: pd.dsplit(x, 1),
    "unfold": lambda x, v: v.unfold(0, 4, 1),
    "block_diag": lambda x, v: pd.block_diag(x.unsqueeze(0)),
    "cartesian_prod": lambda x, v: pd.cartesian_prod(x, v),
    "combinations": lambda x, v: pd.combinations(x),
    "diag_embed": lambda x, v: pd.diag_embed(x, dim1=0, dim2=0),
    "select_scatter": lambda x, v: pd.select_scatter(x, v, 0, 3),
    "slice_scatter": lambda x, v: pd.slice_scatter(x, v, 0, 1, 2),
    "diagonal_scatter": lambda x, v: pd.diagonal_scatter(x, v, 3),
    "as_strided": lambda x, v: pd.as_strided(v, (2, 2), (2, 1)),
    "as_strided_scatter": lambda x, v: pd.as_strided_scatter(v, v, (2,), (1,)),
    "sum_to_size": lambda x, v: x.sum_to_size(2, 4),
    "tril_indices": lambda x, v: pd.tril_indices(-1, 2),
    "triu_indices": lambda x, v: pd.triu_indices(2, -1),
    "unravel_index": lambda x, v: pd.unravel_index(v, (3,)),
    "scatter": lambda x, v: pd.scatter(v, 0, pd.tensor([0, 1]), 1.0, reduce="mean"),
    "scatter_reduce": lambda x, v: pd.scatter_reduce(v, 0, pd.tensor([0, 1]), v, "median"),
    "index_reduce": lambda x, v: pd.index_reduce(v, 0, pd.tensor([0, 1]), v, "sum"),
    "index_copy": lambda x, v: pd.index_copy(v, 0, pd.tensor([0, 1]), v),
    "index_fill": lambda x, v: pd.index_fill(v, 0, pd.tensor([0, 1]), v),
    "masked_scatter": lambda x, v: pd.masked_scatter(v, v, v),
    "put": lambda x, v: pd.put(x, pd.tensor([0, 1]), v),
    "fill": lambda x, v: pd.fill(x, v),
    "nonzero_static": lambda x, v: pd.nonzero_static(x, size=-1),
    "bucketize": lambda x, v: pd.bucketize(v, x),
    "searchsorted": lambda x, v: pd.searchsorted(v, v, side="middle"),
    "repeat_interleave": lambda x, v: pd.repeat_interleave(v, 2, output_size=5),
    "cross": lambda x, v: pd.cross(x, x, 1),
    "einsum": lambda x, v: pd.einsum(x, v),
    "chain_matmul": lambda x, v: pd.chain_matmul(x, v),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_function_and_a_way_out(name):
    with pytest.raises((ValueError, IndexError, TypeError), match=rf"\[{name}\].*; got .*; try "):
        ERRORS[name](pd.tensor(X), pd.tensor(V))


CHECKED = {
    "rot90": lambda x: pd.rot90(x, 3) ** 2,
    "tensor_split": lambda x: pd.tensor_split(x, 3, 1)[0] ** 2,
    "unfold": lambda x: x.unfold(1, 3, 1) ** 2,
    "block_diag": lambda x: pd.block_diag(x, x * x),
    "cartesian_prod": lambda x: pd.cartesian_prod(x[0], x[1]) ** 2,
    "diag_embed": lambda x: pd.diag_embed(x * x, -1, 0, 1),
    "slice_scatter": lambda x: pd.slice_scatter(x, x[:, :2] ** 2, 1, 1, None, 2),
    "diagonal_scatter": lambda x: pd.diagonal_scatter(x * x, x[:, 0] ** 3, 1),
    "as_strided": lambda x: pd.as_strided(x * x, (3, 3), (1, 2)),
    "masked_scatter": lambda x: pd.masked_scatter(x * x, x.detach() > 5, x.reshape(-1) ** 3),
    "put": lambda x: pd.put(x * x, pd.tensor([1, 1, 5]), x[:, 0] ** 2, True),
    "index_copy": lambda x: pd.index_copy(x * x, 1, pd.tensor([2, 0]), x[:, :2] ** 2),
    "index_fill": lambda x: pd.index_fill(x * x, 1, pd.tensor([2, 0]), 7),
    "cross": lambda x: pd.cross(x, x.flip(1), 0),
    "addbmm": lambda x: pd.addbmm(x[:, :3], x.reshape(2, 3, 2), x.reshape(2, 2, 3), beta=2, alpha=3),
    "addr": lambda x: pd.addr(x, x[:, 0], x[0], beta=2, alpha=0.5),
    "einsum of numbers": lambda x: pd.einsum(x, [0, 1], x, [2, 1], [0, 2]),
    "tensordot over 1": lambda x: pd.tensordot(x, x[:, :1], ([1], [1])),
    **{
        f"scatter_reduce {how}": lambda x, how=how: pd.scatter_reduce(
            x * x, 1, pd.tensor([[0, 0, 2], [3, 1, 3], [2, 2, 2]]), x[:, 1:] * 1.3 + 1, how, include_self=how != "prod"
        )
        for how in ("sum", "mean", "prod", "amax", "amin")
    },
}


@pytest.mark.parametrize("name", CHECKED)
def test_derivatives(name):
    check_grads(CHECKED[name])(pd.tensor(X + 0.1 * np.sin(X)))


def test_a_product_with_zeros_keeps_its_gradient():
    x = pd.tensor([0.0, 2.0, 3.0], dtype=pd.float64, requires_grad=True)
    pd.scatter_reduce(pd.ones(1, dtype=pd.float64), 0, pd.tensor([0, 0, 0]), x, "prod").sum().backward()
    assert x.grad.tolist() == [6.0, 0.0, 0.0]


def test_extremes_of_equal_value_share_their_gradient_and_infinities_make_no_nan():
    x = pd.tensor([2.0, 2.0, float("inf")], requires_grad=True)
    y = pd.scatter_reduce(pd.zeros(2), 0, pd.tensor([0, 0, 1]), x, "amax")
    assert y.tolist() == [2.0, float("inf")]
    y[0].backward()
    assert x.grad.tolist() == [0.5, 0.5, 0.0]


MAPPED = {
    "diag_embed": lambda x: pd.diag_embed(x),
    "unfold": lambda x: x.unfold(0, 2, 1),
    "nonzero_static": lambda x: pd.nonzero_static(x > 3, size=3),
    "masked_scatter": lambda x: pd.masked_scatter(x, x > 3, x * 2),
    "index_fill": lambda x: pd.index_fill(x, 0, pd.tensor([1]), 0),
    "searchsorted": lambda x: pd.searchsorted(pd.tensor([1.0, 4.0, 4.0, 8.0], dtype=pd.float64), x, right=True),
    "isin": lambda x: pd.isin(x, pd.tensor([1.0, 5.0])),
    "rot90": lambda x: pd.rot90(x.reshape(2, 2)),
    "scatter_reduce": lambda x: pd.scatter_reduce(x, 0, pd.tensor([0, 0, 1, 3]), x, "mean"),
}


@pytest.mark.parametrize("name", MAPPED)
def test_batches(name):
    f, x = MAPPED[name], pd.tensor(X)
    together = pd.vmap(f)(x)
    assert together.tolist() == pd.stack([f(row) for row in x]).tolist()


def test_no_elements():
    none, rows = pd.zeros(0), pd.zeros(0, 3)
    assert pd.block_diag().shape == (1, 0)
    assert pd.combinations(none).shape == (0, 2) and pd.cartesian_prod(none, pd.ones(2)).shape == (0, 2)
    assert pd.diag_embed(none).shape == (0, 0)
    assert [t.shape for t in pd.tensor_split(rows, 2)] == [(0, 3), (0, 3)]
    assert pd.nonzero_static(none, size=2).tolist() == [[-1], [-1]]
    assert pd.masked_scatter(none, none > 0, none).shape == (0,)
    assert pd.scatter_reduce(none, 0, none.long(), none, "amax").shape == (0,)
    assert pd.searchsorted(none, pd.ones(2)).tolist() == [0, 0] and not pd.isin(pd.ones(1), none).item()


def test_bfloat16():
    x = pd.tensor([1.0, 2.0, 3.0, 4.0], dtype=pd.bfloat16)
    assert pd.scatter_reduce(x, 0, pd.tensor([0, 0]), x, "amax").tolist() == [2.0, 2.0, 3.0, 4.0]
    assert pd.diag_embed(x).dtype == pd.bfloat16 and pd.isin(x, 3).tolist() == [False, False, True, False]


def test_in_place():
    x = pd.zeros(3)
    assert x.index_fill_(0, pd.tensor([1]), 5).tolist() == [0.0, 5.0, 0.0] and x.tolist() == [0.0, 5.0, 0.0]
    x.put_(pd.tensor([0]), pd.tensor([2.0])).index_copy_(0, pd.tensor([2]), pd.tensor([9.0]))
    assert x.tolist() == [2.0, 5.0, 9.0]
    assert x.masked_scatter_(x > 3, pd.tensor([1.0, 1.0])).tolist() == [2.0, 1.0, 1.0]


def test_searchsorted_of_rows_and_nan():
    rows = pd.tensor([[1.0, 3.0, 5.0], [2.0, 4.0, float("nan")]])
    values = pd.tensor([[3.0, 9.0], [float("nan"), 4.0]])
    assert pd.searchsorted(rows, values).tolist() == [[1, 3], [2, 1]]
    assert pd.searchsorted(rows, values, right=True).tolist() == [[2, 3], [3, 2]]
