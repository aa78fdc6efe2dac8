"""Attention's kernels against its definition: values, derivatives of both orders, masks, groups, views, batches, bits, memory.

On the CPU or `--device`; what belongs to CUDA alone is in tests/device/test_cuda_attention.py.
"""

import math

import numpy as np
import pytest

import pydiff as pd
from pydiff.nn import _attention as attention
from pydiff.nn import functional as F


@pytest.fixture
def on_the_cpu(device):
    if device != "cpu":
        pytest.skip("of the CPU's kernels")


def sample(*shapes, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [pd.tensor(rng.standard_normal(shape).astype(dtype)) for shape in shapes]


def boolean(*shape):
    return pd.tensor(np.random.default_rng(1).random(shape) < 0.6)


def added(*shape):
    numbers = np.random.default_rng(2).standard_normal(shape)
    return pd.tensor(np.where(np.random.default_rng(3).random(shape) < 0.2, -math.inf, numbers))


# query, key, value, arguments
SAMPLES = [
    ((3, 4), (5, 4), (5, 2), {}),
    ((2, 3, 7, 4), (2, 3, 9, 4), (2, 3, 9, 5), {}),
    ((2, 3, 7, 4), (2, 3, 9, 4), (2, 3, 9, 5), {"is_causal": True}),
    ((2, 9, 4), (2, 7, 4), (2, 7, 4), {"is_causal": True, "scale": 0.3}),
    ((1, 2, 130, 16), (1, 2, 130, 16), (1, 2, 130, 16), {"is_causal": True}),
    ((2, 115, 33), (2, 257, 33), (2, 257, 17), {}),
    ((2, 300, 1), (2, 129, 1), (2, 129, 1), {"is_causal": True}),
    ((1, 20, 256), (1, 140, 256), (1, 140, 256), {"is_causal": True, "scale": 0.02}),
    ((2, 3, 7, 4), (2, 3, 9, 4), (2, 3, 9, 5), {"attn_mask": boolean(2, 3, 7, 9)}),
    ((2, 3, 7, 4), (2, 3, 150, 4), (2, 3, 150, 5), {"attn_mask": boolean(2, 1, 1, 150)}),
    ((2, 3, 7, 4), (2, 3, 9, 4), (2, 3, 9, 5), {"attn_mask": added(7, 9)}),
    ((2, 3, 7, 4), (2, 3, 9, 4), (2, 3, 9, 5), {"attn_mask": added(3, 7, 1)}),
    ((3, 7, 4), (3, 9, 4), (3, 9, 5), {"attn_mask": added(2, 1, 7, 9)}),
    ((1, 3, 7, 4), (2, 1, 9, 4), (3, 9, 5), {}),
    ((2, 6, 7, 4), (2, 2, 9, 4), (2, 2, 9, 5), {"enable_gqa": True}),
    ((2, 6, 120, 8), (2, 2, 135, 8), (2, 2, 135, 5), {"enable_gqa": True, "is_causal": True}),
    ((4, 7, 4), (1, 9, 4), (1, 9, 5), {"enable_gqa": True, "attn_mask": boolean(4, 7, 9)}),
    ((2, 6, 7, 4), (2, 2, 9, 4), (2, 2, 9, 5), {"enable_gqa": True, "attn_mask": added(2, 1, 7, 9)}),
    ((2, 6, 7, 4), (2, 2, 9, 4), (2, 2, 9, 5), {"enable_gqa": True, "attn_mask": added(6, 1, 9)}),
]


def described(arguments):
    return " ".join(f"{k}={tuple(v.shape) if k == 'attn_mask' else v}" for k, v in arguments.items())


def function(arguments):
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **arguments)


CASES = [pytest.param(s[:3], function(s[3]), id=f"{s[0]} {s[1]} {s[2][-1]} {described(s[3])}") for s in SAMPLES]


DEFINED_IN = attention


def by_kernel(x):
    return "attention" in pd._C.print_graph([x])


def close(got, wanted, rtol=1e-10):
    for g, w in zip(pd.tree.tree_leaves(got), pd.tree.tree_leaves(wanted), strict=True):
        assert g.shape == w.shape and g.dtype == w.dtype
        g, w = g.detach().numpy(), w.detach().numpy()
        size = np.abs(w[np.isfinite(w)]).max(initial=1.0)
        np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol * size)


def first_order(f):
    def loss(q, k, v):
        y = f(q, k, v)
        return (y.sin() * y).sum()

    return pd.func.grad(loss, argnums=(0, 1, 2))


def value_and_gradients(f):
    return lambda q, k, v: (f(q, k, v), first_order(f)(q, k, v))


@pytest.mark.parametrize("shapes, f", CASES)
def test_values_and_derivatives(shapes, f, by_definition):
    def all_of(q, k, v):
        def length(q, k, v):
            return sum((g * g).sum() for g in first_order(f)(q, k, v))

        return f(q, k, v), first_order(f)(q, k, v), pd.func.grad(length, argnums=(0, 1, 2))(q, k, v)

    operands = sample(*shapes)
    assert by_kernel(f(*operands))
    close(all_of(*operands), by_definition(all_of, *operands))


@pytest.mark.parametrize("shapes, f", CASES)
def test_forward_mode(shapes, f, by_definition):
    """Tangents of the result, of the gradient (forward over reverse), and tangents of tangents."""

    def all_of(q, k, v):
        along = (q.cos(), k.cos(), v.cos())
        first = pd.func.jvp(f, (q, k, v), along)
        over = pd.func.jvp(first_order(f), (q, k, v), along)
        twice = pd.func.jvp(lambda *x: pd.func.jvp(f, x, along)[1], (q, k, v), (q.sin(), k.sin(), v.sin()))
        return first, over, twice

    operands = sample(*shapes)
    close(all_of(*operands), by_definition(all_of, *operands))


@pytest.mark.parametrize("only", [0, 1, 2])
def test_derivatives_of_one_operand(only, by_definition):
    shapes, f = ((2, 3, 7, 4), (2, 3, 9, 4), (2, 3, 9, 5)), function({"is_causal": True})

    def some(*x):
        def of(one):
            return f(*x[:only], one, *x[only + 1 :])

        grad = pd.func.grad(lambda one: (of(one) ** 2).sum())
        return grad(x[only]), pd.func.jvp(of, (x[only],), (x[only].cos(),)), pd.func.jvp(grad, (x[only],), (x[only].cos(),))

    operands = sample(*shapes)
    close(some(*operands), by_definition(some, *operands))


@pytest.mark.smoke
def test_derivatives_by_differences():
    q, k, v = sample((2, 5, 3), (2, 4, 3), (2, 4, 2))
    for arguments in ({"is_causal": True}, {"attn_mask": boolean(5, 4)}):
        pd.testing.check_grads(function(arguments), order=2)(q, k, v)


def test_the_third_derivative(by_definition):
    f = function({"is_causal": True})
    q, k, v = sample((5, 3), (4, 3), (4, 2))

    def third(q):
        def g1(q):
            return (pd.func.grad(lambda q: f(q, k, v).sin().sum())(q) ** 2).sum()

        def g2(q):
            return (pd.func.grad(g1)(q) ** 2).sum()

        return pd.func.grad(g2)(q)

    close(third(q), by_definition(third, q))


@pytest.mark.parametrize("heads", [(3,), (2, 3)])
@pytest.mark.parametrize("gqa", [False, True])
def test_the_derivative_of_a_mask(heads, gqa, by_definition):
    of_query = (*heads[:-1], 2 * heads[-1]) if gqa else heads
    q, k, v, m = sample((*of_query, 7, 4), (*heads, 9, 4), (*heads, 9, 5), (of_query[-1], 1, 9))

    def all_of(m):
        def f(m):
            return F.scaled_dot_product_attention(q, k, v, m, enable_gqa=gqa)

        def loss(m):
            return (f(m) ** 2).sum()

        second = pd.func.grad(lambda m: (pd.func.grad(loss)(m) ** 2).sum())
        along = (m.cos(),)
        return f(m), pd.func.grad(loss)(m), second(m), pd.func.jvp(f, (m,), along), pd.func.jvp(pd.func.grad(loss), (m,), along)

    close(all_of(m), by_definition(all_of, m))


@pytest.mark.parametrize("batched", [(0, None, None), (None, 0, None), (None, None, 0), (0, 0, 0)])
@pytest.mark.parametrize("shapes, f", CASES[1:3] + CASES[10:11] + CASES[14:15] + CASES[17:18])
def test_batches(shapes, f, batched):
    operands = sample(*((2, *shape) if axis == 0 else shape for shape, axis in zip(shapes, batched)))

    def both(q, k, v):
        return f(q, k, v), first_order(f)(q, k, v)

    rows = [both(*(o[i] if axis == 0 else o for o, axis in zip(operands, batched))) for i in range(2)]
    wanted = pd.tree.tree_map(lambda *parts: pd.stack(parts), *rows)
    close(pd.vmap(both, in_dims=batched)(*operands), wanted)


def test_a_batch_of_masks():
    q, k, v = sample((3, 7, 4), (3, 9, 4), (3, 9, 5))
    masks = boolean(4, 3, 7, 9)
    got = pd.vmap(lambda m: F.scaled_dot_product_attention(q, k, v, m))(masks)
    close(got, pd.stack([F.scaled_dot_product_attention(q, k, v, masks[i]) for i in range(4)]))


@pytest.mark.parametrize("width", [1, 2, 15, 16, 17, 31, 32, 33, 64, 100, 128, 255, 256])
@pytest.mark.parametrize("dtype, rtol", [(np.float32, 2e-5), (np.float64, 1e-11)])
def test_widths(width, dtype, rtol, by_definition):
    operands = sample((2, 30, width), (2, 150, width), (2, 150, width), dtype=dtype)
    both = value_and_gradients(function({"is_causal": True}))
    close(both(*operands), by_definition(both, *operands), rtol)


@pytest.mark.parametrize("rows", [1, 2, 13, 14, 111, 112, 113, 225])
@pytest.mark.parametrize("sources", [1, 15, 127, 128, 129, 260])
def test_ragged_blocks(rows, sources, by_definition):
    operands = sample((2, rows, 5), (2, sources, 5), (2, sources, 3))
    for arguments in ({"scale": 0.5}, {"is_causal": True}):
        both = value_and_gradients(function(arguments))
        close(both(*operands), by_definition(both, *operands))


@pytest.mark.parametrize(
    "arguments", [{}, {"is_causal": True}, {"attn_mask": boolean(2, 1, 50, 70)}, {"attn_mask": added(50, 70)}]
)
def test_against_torch(arguments):
    torch = pytest.importorskip("torch")
    arrays = [x.numpy() for x in sample((2, 3, 50, 16), (2, 3, 70, 16), (2, 3, 70, 24))]
    ours = [pd.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = F.scaled_dot_product_attention(*ours, **arguments)
    given = {k: torch.tensor(v.numpy()) if k == "attn_mask" else v for k, v in arguments.items()}
    z = torch.nn.functional.scaled_dot_product_attention(*theirs, **given)
    (y * y).sum().backward()
    (z * z).sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-10, atol=1e-11)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-10)


def test_groups_against_torch():
    torch = pytest.importorskip("torch")
    arrays = [x.numpy() for x in sample((2, 6, 20, 8), (2, 3, 30, 8), (2, 3, 30, 8))]
    z = torch.nn.functional.scaled_dot_product_attention(*map(torch.tensor, arrays), enable_gqa=True, is_causal=True)
    y = F.scaled_dot_product_attention(*map(pd.tensor, arrays), enable_gqa=True, is_causal=True)
    np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-10, atol=1e-11)


@pytest.mark.usefixtures("on_the_cpu")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_are_added_up_in_float32(dtype):
    operands = [x.to(getattr(pd, dtype)) for x in sample((2, 60, 8), (2, 70, 8), (2, 70, 8), dtype=np.float32)]
    for arguments in ({"is_causal": True}, {"attn_mask": added(60, 70).to(getattr(pd, dtype))}):
        y = function(arguments)(*operands)
        assert y.dtype == operands[0].dtype and by_kernel(y)
        wide = {k: v.float() if k == "attn_mask" else v for k, v in arguments.items()}
        assert y.tolist() == function(wide)(*(x.float() for x in operands)).to(y.dtype).tolist()


def test_a_row_that_sees_nothing():
    q, k, v = (x.requires_grad_() for x in sample((2, 4), (3, 4), (3, 2)))
    for mask in (pd.tensor([[False] * 3, [True] * 3]), pd.tensor([[-math.inf] * 3, [0.0] * 3], dtype=pd.float64)):
        y = F.scaled_dot_product_attention(q, k, v, mask)
        assert y[0].tolist() == [0.0, 0.0] and np.isfinite(y.detach().numpy()).all()
        for g in pd.autograd.grad((y * y).sum(), (q, k, v)):
            assert np.isfinite(g.numpy()).all()
        assert pd.autograd.grad(F.scaled_dot_product_attention(q, k, v, mask)[0].sum(), v)[0].tolist() == [[0.0, 0.0]] * 3


PLACES = [("q", 0), ("q", 140), ("k", 0), ("k", 140), ("v", 0), ("v", 140)]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which, at", PLACES)
@pytest.mark.parametrize("arguments", [{}, {"is_causal": True}, {"attn_mask": boolean(150, 150)}], ids=["", "causal", "mask"])
def test_what_is_not_a_number_goes_where_it_did(number, which, at, arguments, by_definition):
    f = function(arguments)
    operands = sample((1, 150, 4), (1, 150, 4), (1, 150, 3))
    x = operands["qkv".index(which)]
    x[0, at, 1] = number
    close(f(*operands), by_definition(f, *operands))


def test_heads_are_read_where_they_lie():
    """Transposed heads, and parts of one projection: no kernel before attention's, and no copy."""
    x = sample((2, 40, 3, 4, 8), dtype=np.float32)[0]
    parts = x.permute(2, 0, 3, 1, 4)
    views = [parts[0], parts[1], parts[2]]
    copies = [pd.tensor(v.numpy()) for v in views]
    before = pd._C.exec_stats()
    y = F.scaled_dot_product_attention(*views, is_causal=True)
    pd._C.evaluate([y])
    after = pd._C.exec_stats()
    assert after["kernels"] == before["kernels"] and after["natives"] == before["natives"] + 1
    assert y.tolist() == F.scaled_dot_product_attention(*copies, is_causal=True).tolist()


def test_results_are_computed_together():
    """Whoever asks for one gradient has the others, and the backward pass does not go through the forward pass again."""
    operands = [x.requires_grad_() for x in sample((2, 3, 40, 16), (2, 3, 50, 16), (2, 3, 50, 16), dtype=np.float32)]
    y = F.scaled_dot_product_attention(*operands, is_causal=True)
    pd._C.evaluate([y])
    grads = pd.autograd.grad(y, operands, y.detach())
    before = pd._C.exec_stats()["natives"]
    for g in grads:
        pd._C.evaluate([g])
    assert pd._C.exec_stats()["natives"] == before + 1


def test_keys_of_a_group_are_not_copied():
    q, k, v = sample((2, 8, 40, 16), (2, 2, 40, 16), (2, 2, 40, 16), dtype=np.float32)
    before = pd._C.exec_stats()
    pd._C.evaluate([F.scaled_dot_product_attention(q, k, v, enable_gqa=True)])
    after = pd._C.exec_stats()
    assert after["kernels"] == before["kernels"] and after["natives"] == before["natives"] + 1


@pytest.mark.parametrize("turn", ["transposed", "flipped", "strided", "last", "padded", "computed", "repeated"])
def test_views(turn, by_definition):
    q, k, v = sample((2, 3, 30, 8), (2, 3, 140, 8), (2, 3, 140, 16))
    turns = {
        "transposed": lambda x: x.reshape(2, -1, 3, x.shape[-1]).transpose(1, 2),
        "flipped": lambda x: x.flip(2),
        "strided": lambda x: x[:, :, 1::3, ::2],
        "last": lambda x: x.reshape(2, 3, x.shape[-1], -1).mT,
        "padded": lambda x: pd.pad(x, (0, 0, 1, 2)),
        "computed": lambda x: (x * 2).transpose(0, 1),
        "repeated": lambda x: x[:, :, :1].expand(x.shape),
    }
    f = function({"is_causal": True})

    def all_of(*x):
        return f(*map(turns[turn], x)), first_order(lambda *x: f(*map(turns[turn], x)))(*x)

    close(all_of(q, k, v), by_definition(all_of, q, k, v))


def assert_same_bits(f, operands):
    def bits():
        return [y.numpy().tobytes() for y in (f(*operands), *first_order(f)(*operands))]

    before = pd.get_num_threads()
    try:
        pd.set_num_threads(1)
        alone = bits()
        for threads in (2, 3, 5):
            pd.set_num_threads(threads)
            assert bits() == alone
    finally:
        pd.set_num_threads(before)


@pytest.mark.usefixtures("on_the_cpu")
@pytest.mark.parametrize("shapes, f", CASES)
def test_bits_do_not_depend_on_threads(shapes, f):
    operands = sample(*shapes)
    assert_same_bits(f, operands)


@pytest.mark.usefixtures("on_the_cpu")
@pytest.mark.parametrize("heads, groups", [(1, 1), (3, 1), (1, 3), (3, 2), (8, 1)])
def test_bits_of_long_rows_do_not_depend_on_threads(heads, groups):
    """Where threads share a head's blocks, and where they do not."""
    operands = sample((heads * groups, 500, 32), (heads, 500, 32), (heads, 500, 32), dtype=np.float32)
    f = function({"is_causal": True, "enable_gqa": True})

    assert_same_bits(f, operands)


@pytest.mark.smoke
@pytest.mark.usefixtures("on_the_cpu")
def test_memory_is_linear_in_the_rows():
    rows, width, before = 4096, 32, pd.get_num_threads()

    def peak(heads):
        q, k, v = (x.requires_grad_() for x in sample(*[(heads, rows, width)] * 3, dtype=np.float32))
        pd._C.reset_peak()
        there = pd._C.memory_stats()["peak"]
        F.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward()
        pd._C.evaluate([q.grad, k.grad, v.grad])
        return pd._C.memory_stats()["peak"] - there

    assert 3 * rows * width * 4 <= peak(1) < rows * rows * 4 / 8
    assert peak(4) < 4 * rows * rows * 4 / 8  # threads that have a head each have scratch each
    pd.set_num_threads(1)
    try:
        assert peak(4) < rows * rows * 4 / 4
    finally:
        pd.set_num_threads(before)


def test_under_jit():
    q, k, v = sample((2, 3, 40, 8), (2, 3, 40, 8), (2, 3, 40, 8), dtype=np.float32)
    f = function({"is_causal": True})

    @pd.jit
    def step(q, k, v):
        return f(q, k, v), first_order(f)(q, k, v)

    wanted = pd.tree.tree_map(lambda x: x.tolist(), (f(q, k, v), first_order(f)(q, k, v)))
    for _ in range(3):
        assert pd.tree.tree_map(lambda x: x.tolist(), step(q, k, v)) == wanted


def test_what_the_kernel_leaves_to_the_definition(device):
    q, k, v = sample((2, 5, 4), (2, 6, 4), (2, 6, 3), dtype=np.float32)
    attend = F.scaled_dot_product_attention
    assert not by_kernel(attend(q, k, v, dropout_p=0.5))
    assert not by_kernel(attend(q, k, v, pd.zeros(5, 6, dtype=pd.float64)))
    few = pd.ones(2, 8, 64, 4)
    assert by_kernel(attend(few, few, few)) == (device != "cpu")
    assert by_kernel(attend(few, few, few, is_causal=True))
    wide = pd.ones(2, 8, 257)
    assert by_kernel(attend(wide, wide, wide)) == (device == "cpu")
    assert attend(q, k[:, :0], v[:, :0]).tolist() == pd.zeros(2, 5, 3).tolist()
    assert attend(q[:0], k[:0], v[:0]).shape == (0, 5, 3)
    with pytest.raises(ValueError, match=r"^\[scaled_dot_product_attention\]"):
        attend(q, k[..., :3], v)
