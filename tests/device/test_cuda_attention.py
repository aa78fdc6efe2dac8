"""Attention's CUDA kernels beside the definition in float64 on the CPU. On `--device cuda` or `cuda-host`.

What holds on every device is in tests/nn/test_attention_kernel.py. Here: 16-bit floats, which go to tensor cores, random
shapes and views, bits, memory, graphs.
"""

import math
import os
import subprocess
import sys

import numpy as np
import pytest

import pydiff as pd
from pydiff import cuda
from pydiff.nn import _attention
from pydiff.nn import functional as F


@pytest.fixture(autouse=True)
def needs_cuda(device):
    if not device.startswith("cuda"):
        pytest.skip("of CUDA devices: --device cuda-host")


#: Of the largest element: what the result is rounded by, and before it the weights.
TOLERANCE = {"float64": 1e-13, "float32": 1e-5, "float16": 4 * 2.0**-11, "bfloat16": 4 * 2.0**-8}


def by_kernel(x):
    return "attention" in pd._C.print_graph([x])


def defined(*operands, **arguments):
    """The composed definition, whatever the device has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_attention, "has_kernel", lambda _: False)
        return F.scaled_dot_product_attention(*operands, **arguments)


def value_and_gradients(f, operands, weight, **arguments):
    operands = [x.detach().requires_grad_() for x in operands]
    y = f(*operands, **arguments)
    return [y.detach(), *pd.autograd.grad(y, operands, weight)]


def exactly(x):
    """The same numbers in float64 on the CPU."""
    return x.detach().cpu().to(pd.float64) if x.dtype.is_floating_point else x.cpu()


def floors(operands, weight, scale=None, **_):
    """Sizes of the terms of value and gradients, where these may cancel: z of `ops/attention.cpp` is a difference."""
    q, k, v, w = (np.nan_to_num(exactly(x).numpy(), posinf=0, neginf=0) for x in (*operands, weight))
    change = abs(scale or 1 / math.sqrt(q.shape[-1])) * np.abs(w).max() * np.abs(v).max()
    return 1e-3, change * np.abs(k).max() / 2, change * np.abs(q).max() / 2, 1e-3


def compare(operands, mask=None, **arguments):
    """Value and gradients against the definition; returns the former as bytes."""
    dtype = operands[0].dtype
    y = F.scaled_dot_product_attention(*operands, attn_mask=mask, **arguments)
    assert by_kernel(y) and y.dtype == dtype
    weight = pd.tensor(np.cos(np.arange(math.prod(y.shape))).reshape(y.shape)).to(dtype)
    got = value_and_gradients(F.scaled_dot_product_attention, operands, weight, attn_mask=mask, **arguments)
    wide = None if mask is None else exactly(mask)
    wanted = value_and_gradients(defined, map(exactly, operands), exactly(weight), attn_mask=wide, **arguments)
    bound = TOLERANCE[dtype.name]
    for g, w, least in zip(got, wanted, floors(operands, weight, **arguments)):
        assert g.dtype == dtype and g.shape == w.shape
        g, w = exactly(g).numpy(), w.numpy()
        np.testing.assert_array_equal(np.isfinite(g), np.isfinite(w))
        size = np.abs(w[np.isfinite(w)]).max(initial=0.0)
        np.testing.assert_allclose(g, w, rtol=0, atol=bound * max(size, least))
    return [exactly(g).numpy().tobytes() for g in got]


def numbers(rng, *shape, dtype="float32"):
    return pd.tensor(rng.standard_normal(shape).astype(np.float32)).to(getattr(pd, dtype))


#: How an operand (batch, heads, rows, width) lies: parts of larger ones, whose rows begin anywhere, and permutations.
VIEWS = {
    "plain": lambda make, b, h, n, e: make(b, h, n, e),
    "heads": lambda make, b, h, n, e: make(b, n, h, e).transpose(1, 2),
    "part": lambda make, b, h, n, e: make(b, n, 3, h, e).permute(2, 0, 3, 1, 4)[1],
    "odd": lambda make, b, h, n, e: make(b, h, n, e + 3)[..., 1 : e + 1],
    "even": lambda make, b, h, n, e: make(b, h, n, 2 * ((e + 5) // 2))[..., 2 : e + 2],
    "across": lambda make, b, h, n, e: make(b, h, e, n).mT,
    "apart": lambda make, b, h, n, e: make(b, h, 2 * n, 2 * e)[:, :, ::2, 1::2],
    "backwards": lambda make, b, h, n, e: make(b, h, n, e).flip(2),
    "repeated": lambda make, b, h, n, e: make(1, h, 1, e).expand(b, h, n, e),
    "computed": lambda make, b, h, n, e: make(b, h, n, e) * 0.5,
}
WIDTHS = [1, 3, 8, 16, 17, 24, 32, 40, 64, 80, 96, 128, 160, 256]


def drawn(rng, dtype, largest, widths=WIDTHS):
    """A random problem, of bounded work: operands, mask, arguments."""
    while True:
        b, kv, groups = (int(rng.integers(1, n)) for n in (3, 3, 4))
        rows, sources = (int(n) for n in rng.integers(1, largest, 2))
        width = int(rng.choice(widths))
        wide = width if rng.random() < 0.5 else int(rng.choice(widths))
        if b * kv * groups * rows * sources * (width + wide) < 64 * largest**2:
            break

    def view(h, n, e):
        name = rng.choice(list(VIEWS))
        return VIEWS[name](lambda *shape: numbers(rng, *shape, dtype=dtype), b, h, n, e)

    operands = view(kv * groups, rows, width), view(kv, sources, width), view(kv, sources, wide)
    arguments = {"enable_gqa": True} if groups > 1 else {}
    kind = rng.choice(["", "causal", "booleans", "numbers"])
    if rng.random() < 0.3:
        arguments["scale"] = float(rng.choice([-0.3, 0.1, 0.0, 1.0]))
    mask = None
    if kind == "causal":
        arguments["is_causal"] = True
    elif kind:
        full = (b, kv * groups, rows, sources)
        shape = tuple(n if rng.random() < 0.6 else 1 for n in full)
        shape = shape[int(rng.integers(0, 3)) :]
        mask = pd.tensor(rng.random(shape) < 0.6) if kind == "booleans" else numbers(rng, *shape, dtype=dtype)
        if rng.random() < 0.3 and len(shape) > 1:
            mask = (mask if mask.dtype == pd.bool else mask.detach()).mT.contiguous().mT
        if kind == "numbers":
            mask = pd.where(pd.tensor(rng.random(shape) < 0.2), -math.inf, mask)
    return operands, mask, arguments


@pytest.mark.smoke
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_few_random_problems(dtype, rng):
    for largest in (20, 90):
        operands, mask, arguments = drawn(rng, dtype, largest, [8, 17, 32, 40])
        compare(operands, mask, **arguments)


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_random_problems(dtype, number, rng, nightly):
    for _ in range(12 if nightly else 1):
        operands, mask, arguments = drawn(rng, dtype, 300 if nightly else 160)
        compare(operands, mask, **arguments)


# (query rows, sources, width, value's width, arguments): whole tiles, one more and one less, several blocks.
LARGER = [
    pytest.param(128, 128, 64, 64, {"is_causal": True}, marks=pytest.mark.smoke),
    (257, 255, 64, 64, {"is_causal": True}),
    (129, 193, 128, 128, {}),
    (200, 131, 128, 64, {"is_causal": True}),
    (63, 65, 256, 256, {"is_causal": True}),
    (70, 300, 96, 32, {}),
    (300, 70, 32, 96, {"is_causal": True}),
]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("rows, sources, width, wide, arguments", LARGER)
def test_several_tiles(rows, sources, width, wide, arguments, dtype, rng):
    shapes = (1, 2, rows, width), (1, 2, sources, width), (1, 2, sources, wide)
    operands = [numbers(rng, *shape, dtype=dtype) for shape in shapes]
    assert compare(operands, **arguments) == compare(operands, **arguments)  # the same bits


@pytest.mark.smoke
def test_rows_of_sixteen_bits_that_see_nothing(rng):
    q, k, v = (numbers(rng, 2, n, 24, dtype="bfloat16").requires_grad_() for n in (70, 90, 90))
    sees = pd.tensor(np.arange(70) % 3 > 0).unsqueeze(1)
    for mask in (sees, pd.where(sees, 0.0, -math.inf).bfloat16()):
        y = F.scaled_dot_product_attention(q, k, v, mask)
        assert by_kernel(y)
        assert (y.detach().float().numpy()[:, ::3] == 0).all() and np.isfinite(y.detach().float().numpy()).all()
        compare((q, k, v), mask)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which, at", [("q", 0), ("q", 140), ("k", 140), ("v", 0), ("v", 140)])
@pytest.mark.parametrize("masked", ["", "causal", "booleans"])
def test_what_is_not_a_number_goes_where_it_did(number, which, at, masked, rng):
    """In the result everywhere; in gradients of what is masked a NaN may stay out that the definition has."""
    operands = [numbers(rng, 1, 150, width, dtype="float16") for width in (8, 8, 5)]
    operands["qkv".index(which)][0, at, 1] = number
    mask = pd.tensor(rng.random((150, 150)) < 0.6) if masked == "booleans" else None
    arguments = {"attn_mask": mask, "is_causal": masked == "causal"}
    y = F.scaled_dot_product_attention(*operands, **arguments)
    assert by_kernel(y)
    wanted = defined(*map(exactly, operands), **{**arguments, "attn_mask": None if mask is None else mask.cpu()}).numpy()
    got = exactly(y).numpy()
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(wanted))


def test_derivatives_beyond_the_first(rng):
    """Composed in float32, and of the operands' type."""
    operands = [numbers(rng, 2, n, 8, dtype="float16") for n in (9, 11, 11)]
    mask = numbers(rng, 9, 11, dtype="float16")

    def of_mask(f, operands, mask):
        mask = mask.detach().requires_grad_()
        return pd.autograd.grad(f(*operands, attn_mask=mask).sin().sum(), [mask])

    def along(f, operands, mask):
        return pd.func.jvp(lambda *x: f(*x, attn_mask=mask), tuple(operands), tuple(x.cos() for x in operands))

    def twice(f, operands, mask):
        first = pd.func.grad(lambda *x: (f(*x, attn_mask=mask) ** 2).sum(), argnums=(0, 1, 2))
        return pd.func.grad(lambda *x: sum((g * g).sum() for g in first(*x)), argnums=(0, 1, 2))(*operands)

    for what in (of_mask, along, twice):
        got = what(F.scaled_dot_product_attention, operands, mask)
        wanted = what(defined, [*map(exactly, operands)], exactly(mask))
        for g, w in zip(got, wanted, strict=True):
            assert g.dtype == pd.float16 and g.shape == w.shape
            w = w.numpy()
            np.testing.assert_allclose(exactly(g).numpy(), w, rtol=0, atol=1e-2 * np.abs(w).max())


@pytest.mark.smoke
@pytest.mark.parametrize("dtype, width", [("float32", 8), ("float16", 16)])
def test_memory_is_linear_in_the_rows(dtype, width, rng):
    def peak(rows):
        operands = [numbers(rng, 1, rows, width, dtype=dtype).requires_grad_() for _ in range(3)]
        pd._C.evaluate(operands)
        cuda.synchronize()
        before = cuda.memory_allocated()
        cuda.reset_peak_memory_stats()
        y = F.scaled_dot_product_attention(*operands, is_causal=True)
        pd._C.evaluate([y])
        pd._C.evaluate(list(pd.autograd.grad(y, operands, pd.ones_like(y))))
        cuda.synchronize()
        return cuda.max_memory_allocated() - before

    few, many = peak(256), peak(1024)
    assert 0 < few and many < 5 * few
    assert many < 1024 * 1024  # a matrix of a byte each


def test_views_are_not_copied(rng):
    x = numbers(rng, 2, 40, 3, 4, 16, dtype="bfloat16").permute(2, 0, 3, 1, 4)
    mask = pd.tensor(rng.random((2, 1, 1, 40)) < 0.9)
    pd._C.evaluate([x, mask])
    before = pd._C.exec_stats()
    y = F.scaled_dot_product_attention(x[0], x[1], x[2], mask)
    pd._C.evaluate([y])
    after = pd._C.exec_stats()
    assert after["kernels"] == before["kernels"] and after["natives"] == before["natives"] + 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_in_graphs(dtype, rng, monkeypatch):
    """Layers with attention are replayed as a graph, operands through strides, to the same bits; new inputs each time."""
    projection = numbers(rng, 16, 48, dtype=dtype).requires_grad_()
    inputs = [numbers(rng, 2, 20, 16, dtype=dtype) for _ in range(30)]

    def step(x):
        parts = (x @ projection).reshape(2, 20, 3, 2, 8).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True).transpose(1, 2)
        y = (y.reshape(2, 20, 16) @ projection[:, :16]).tanh()
        (g,) = pd.autograd.grad((y * y).sum(), [projection])
        z = F.scaled_dot_product_attention(x.unsqueeze(1), x.flip(1).unsqueeze(1), x.unsqueeze(1), is_causal=True)
        pd._C.evaluate([y, g, z])
        return [exactly(t).numpy().tobytes() for t in (y, g, z)]

    monkeypatch.setenv("PYDIFF_CUDA_GRAPHS", "off")
    wanted = [step(x) for x in inputs]
    monkeypatch.delenv("PYDIFF_CUDA_GRAPHS")
    before = pd._C.exec_stats()["graph_replays"]
    assert [step(x) for x in inputs] == wanted
    assert pd._C.exec_stats()["graph_replays"] > before


BOTH_PASSES = """
import pydiff as pd
pd.set_default_device({device!r})
q, k, v = (pd.randn(2, 40, 24).to(pd.{dtype}).requires_grad_() for _ in range(3))
y = pd.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
y.float().sum().backward()
pd._C.evaluate([y, q.grad, k.grad, v.grad])
"""


@pytest.mark.parametrize(
    "dtype, capability, refused, runs",
    [
        ("bfloat16", "8.0", "kSide", True),
        ("bfloat16", "8.0", "attention_warps", False),
        ("float16", "7.5", "kSide", False),
        ("float16", "7.5", "attention_warps", True),
        ("float32", "8.0", "attention_warps", True),
    ],
)
def test_which_kernels_serve(device, dtype, capability, refused, runs):
    """16-bit floats go to tensor cores, where there are any for both types; the other kernels' text is not even compiled."""
    if device != "cuda-host":
        pytest.skip("the stand-in's variables")
    words = {"kSide": "kSide", "attention_warps": "kOfWarp"}  # each in the text of one kind
    settings = {"PYDIFF_CUDA_HOST_CAPABILITY": capability, "PYDIFF_CUDA_HOST_REFUSE": words[refused]}
    done = subprocess.run(
        [sys.executable, "-c", BOTH_PASSES.format(device=device, dtype=dtype)],
        env={**os.environ, **settings, "PYDIFF_CACHE_DIR": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == runs, done.stderr
