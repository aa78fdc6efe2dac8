"""Batches of small matrix products, which a GPU may give to a kernel of their own (PYDIFF_CUDA_GEMM)."""

import numpy as np
import pytest

import pydiff as pd
from pydiff import _C


@pytest.fixture(params=["auto", "cublas", "own"])
def choice(request):
    before = _C.cuda_gemm_choice(request.param)
    yield request.param
    _C.cuda_gemm_choice(before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "batch, m, n, k", [(200, 3, 5, 4), (128, 16, 16, 16), (130, 1, 7, 2), (150, 16, 2, 9), (140, 17, 3, 3)]
)
def test_against_numpy(choice, dtype, batch, m, n, k, rng):
    x, y = rng.standard_normal((batch, m, k)).astype(dtype), rng.standard_normal((batch, k, n)).astype(dtype)
    a, b = pd.tensor(x), pd.tensor(y)
    wide, size = np.matmul(x.astype("float64"), y.astype("float64")), np.abs(x) @ np.abs(y)
    transposed = pd.tensor(np.ascontiguousarray(np.swapaxes(x, 1, 2))).transpose(1, 2)
    for got in (a @ b, transposed @ b, (b.transpose(1, 2) @ a.transpose(1, 2)).transpose(1, 2)):
        assert (np.abs(got.numpy() - wide) <= 2 * k * np.finfo(dtype).eps * size).all()
    shared = a @ b[0]
    assert (np.abs(shared.numpy() - x.astype("float64") @ y[0].astype("float64")) <= 1e-5 * k * size.max()).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "m, n, k",
    [
        (4, 4, 4),
        (1, 1, 4),
        (2, 3, 33),
        (1, 3, 5),
        (7, 2, 9),
        (6, 6, 7),
        (10, 10, 10),
        (3, 17, 5),
        (104, 4, 4),
        (200, 3, 16),
        (3, 85, 3),
    ],
)
def test_an_element_has_its_bits_in_products_of_any_size(device, dtype, m, n, k, rng):
    """On the CPU: alone, in a batch, among many rows, with more columns, transposed, from parts of larger memory."""
    if device != "cpu":
        pytest.skip("cuBLAS chooses by size")
    x, y = (pd.tensor(rng.standard_normal(s).astype(dtype)) for s in ((300, k), (k, 90)))
    whole = (x @ y).numpy()[:m, :n]
    a, b = x[:m], y[:, :n]
    batch = pd.stack([a] * 40) @ b.contiguous()
    along = b.mT.contiguous().mT  # both run along k
    for got in (
        a @ b,
        a @ along,
        a.contiguous() @ b.contiguous(),
        (b.mT @ a.mT).mT,
        (b.mT.contiguous() @ a.mT.contiguous()).mT,
        *batch,
    ):
        np.testing.assert_array_equal(got.numpy(), whole)


def test_gradients(choice, rng):
    x, y = (pd.tensor(rng.standard_normal((128, 4, 4)), requires_grad=True) for _ in range(2))
    (x @ y).square().sum().backward()
    product = x.detach().numpy() @ y.detach().numpy()
    np.testing.assert_allclose(x.grad.numpy(), 2 * product @ np.swapaxes(y.detach().numpy(), 1, 2), rtol=1e-12, atol=1e-12)


def test_which_kernel_serves(device, rng):
    """On a GPU small ones are summed in the order of k by fused additions, whatever cuBLAS does."""
    if device == "cpu":
        pytest.skip("a choice of the CUDA back end")
    x, y = rng.standard_normal((2, 128, 8, 8)).astype("float32")
    total = np.zeros_like(x)
    for k in range(8):
        total = (x[:, :, k, None].astype("float64") * y[:, None, k, :] + total).astype("float32")
    for name in ("auto", "own"):
        before = _C.cuda_gemm_choice(name)
        try:
            np.testing.assert_array_equal((pd.tensor(x) @ pd.tensor(y)).numpy(), total)
        finally:
            _C.cuda_gemm_choice(before)


def test_an_unknown_choice():
    with pytest.raises(ValueError, match="PYDIFF_CUDA_GEMM is unknown; got 'mine'; try auto, cublas or own"):
        _C.cuda_gemm_choice("mine")


def test_16_bit_products_by_the_own_kernel(device, rng):
    """Sums of whole numbers are exact in float32, and rounded once."""
    x, y = rng.integers(-8, 9, (2, 70, 70)).astype("float32")
    before = _C.cuda_gemm_choice("own")
    try:
        got = pd.tensor(x).to(pd.bfloat16) @ pd.tensor(y).to(pd.bfloat16)
        expected = pd.tensor(x @ y).to(pd.bfloat16)
        np.testing.assert_array_equal(got.float().numpy(), expected.float().numpy())
    finally:
        _C.cuda_gemm_choice(before)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_a_batch_of_two_axes_is_read_where_it_lies(device, dtype, rng):
    """On the CPU no operand is copied: matrices of any strides that are small, whole lines of large ones; two batch axes."""
    if device != "cpu":
        pytest.skip("cuBLAS reads one run of matrices with whole lines")

    def made(*shape):
        return pd.tensor((rng.standard_normal(shape) * 9).astype(dtype))

    points, parts = made(26, 4, 3, 50), made(4, 50)  # the points run fastest
    heads, others = made(3, 40, 5, 32), made(3, 40, 5, 32)  # (batch, token, head, feature)
    row, turned, squares = made(50, 1, 700), made(2, 700, 600), made(50, 4, 4)
    cases = {  # operands that nobody else holds, so that nothing but the product could want them in memory
        "small, of any strides": lambda: (points.permute(0, 3, 2, 1), parts.T.reshape(1, 50, 4, 1)),
        "small, shared along one axis": lambda: (points.permute(0, 3, 2, 1), squares),
        "heads between tokens": lambda: (heads.transpose(1, 2), others.permute(0, 2, 3, 1)),
        "a step between the columns": lambda: (points.permute(0, 3, 2, 1)[:, ::2], squares[:25].flip(1)),
        "a vector by a matrix, backwards": lambda: (row[:2].flip(2), turned),
        "one row for all": lambda: (heads[:, :1].expand(3, 40, 5, 32).transpose(1, 2), others.permute(0, 2, 3, 1)),
    }
    for name, make in cases.items():
        before = _C.exec_stats()["kernels"]
        got = pd.matmul(*make()).numpy()
        copies = _C.exec_stats()["kernels"] - before
        a, b = (x.contiguous() for x in make())
        np.testing.assert_array_equal(got, (a @ b).numpy(), err_msg=name)
        assert got.any() and copies == 0, (name, copies)
