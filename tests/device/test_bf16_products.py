"""Products of bfloat16 on the CPU have the bits of float32 operands of the same values, however they are computed."""

import pathlib

import numpy as np
import pytest

import pydiff as pd

SHAPES = [
    ((64, 96), (96, 80)),
    ((65, 97), (97, 83)),  # halves of pairs, parts of vectors
    ((40, 4097), (4097, 20)),  # in parts of k
    ((3, 64, 64), (3, 64, 40)),
    ((3, 64, 64), (64, 72)),
    ((20, 30), (30, 20)),  # not worth the instruction
]


def halves(rng, shape):
    return pd.tensor(rng.standard_normal(shape).astype(np.float32), device="cpu").to(pd.bfloat16)


def wide(t):
    """The same values as float32 in memory, of which nothing says that they were bfloat16."""
    return pd.tensor(t.float().numpy().copy(), device="cpu")


def same(got, want):
    np.testing.assert_array_equal(got.float().numpy(), want.float().numpy())  # bits, but for those of NaN


@pytest.mark.parametrize("transposed", [(), (0,), (1,), (0, 1)], ids=str)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_bits(shapes, transposed, seed):
    rng = np.random.default_rng(seed)
    a, b = (halves(rng, (*s[:-2], s[-1], s[-2])).mT if k in transposed else halves(rng, s) for k, s in enumerate(shapes))
    want = wide(a) @ wide(b)
    same(a.float() @ b.float(), want)
    same(a @ b, want.to(pd.bfloat16))
    same((a.float() * 1) @ b.float(), want)  # one of them float32 by itself


@pytest.mark.parametrize("what", ["infinite", "nan", "subnormal", "small products", "large products", "zero", "half zero"])
def test_numbers_that_the_instruction_does_not_take(what, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((64, 96)).astype(np.float32), rng.standard_normal((96, 80)).astype(np.float32)
    if what == "infinite":
        a[3, 4] = np.inf
    elif what == "nan":
        b[5, 6] = np.nan
    elif what == "subnormal":
        a = a * 1e-39
    elif what == "small products":
        a, b = a * 1e-20, b * 1e-20
    elif what == "large products":
        a, b = a * 1e30, b * 1e9
    elif what == "zero":
        a[:] = 0
    else:
        a = np.maximum(a, 0)
    a, b = (pd.tensor(x, device="cpu").to(pd.bfloat16) for x in (a, b))
    want = wide(a) @ wide(b)
    assert what != "subnormal" or np.abs(want.numpy()).max() > 0
    same(a.float() @ b.float(), want)


def test_who_else_reads_the_cast_still_gets_it(seed):
    rng = np.random.default_rng(seed)
    a, b = halves(rng, (64, 96)), halves(rng, (96, 80))
    x, y = a.float(), b.float()
    z, t, s = x @ y, x.T, y.sum(0)
    product = z * 2 + s
    expected = (wide(a) @ wide(b)) * 2 + wide(b).sum(0)
    same(product, expected)
    same(t, wide(a).T)
    same(x, wide(a))


def test_gradients(seed):
    """Of a layer in bfloat16, from the products of all three passes."""
    rng = np.random.default_rng(seed)
    x, w = halves(rng, (64, 96)), halves(rng, (80, 96))

    def loss(x, w):
        return ((x @ w.T).relu().float() ** 2).sum()

    def composed(x, w):
        return ((x.float() * 1 @ (w.float() * 1).T).to(pd.bfloat16).relu().float() ** 2).sum()

    for f in (loss, pd.jit(loss)):
        got, want = (pd.func.grad(g, (0, 1))(x, w) for g in (f, composed))
        for p, q in zip(got, want):
            assert p.dtype == pd.bfloat16
            same(p, q)


def test_it_reads_half_the_bytes(cpu_pairs, seed):
    rng = np.random.default_rng(seed)
    a, b = halves(rng, (256, 256)), halves(rng, (256, 256))
    a.numpy(), b.numpy()
    with pd.profiler.profile() as p:
        (a @ b.T).numpy()
    products = [e for e in p.events if e.kind == "product"]
    assert [e.bytes_read for e in products] == [2 * 2 * 256 * 256]
    assert not any("cast·2" in e.name and e.bytes_read > 4 * 256 * 256 for e in p.events)


@pytest.fixture
def cpu_pairs():
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    except OSError:
        flags = []
    if "avx512_bf16" not in flags:
        pytest.skip("this processor does not multiply pairs of bfloat16")
