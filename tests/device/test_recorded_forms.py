"""What is recorded in another form than written, for less work: the same values, and what it saves, by counters."""

import numpy as np
import pytest

import pydiff as pd


def ops(tensor):
    """The operations below a tensor that are not computed yet."""
    return [line.split("=")[1].split()[0] for line in pd._C.print_graph([tensor]).splitlines() if "=" in line]


def test_a_weights_gradient_is_a_product_and_no_copy(device):
    x, w = pd.randn(64, 48, device=device), pd.randn(32, 48, device=device, requires_grad=True)
    x.numpy(), w.detach().numpy()
    (g,) = pd.autograd.grad((x @ w.T), w, pd.ones(64, 32, device=device))
    assert ops(g).count("dot") == 1 and ops(g)[-1] == "dot"
    np.testing.assert_allclose(g.numpy(), np.ones((32, 64)) @ x.numpy(), rtol=1e-4, atol=1e-4)


def test_a_turned_product_has_the_bits_of_its_turn(device):
    a, b = pd.randn(3, 40, 70, device=device), pd.randn(3, 70, 50, device=device)
    kept = a @ b
    np.testing.assert_array_equal((a @ b).mT.numpy(), kept.numpy().transpose(0, 2, 1))
    assert ops((a @ b).mT)[-1] == "dot"


@pytest.mark.parametrize("picked", [range(8), [5, 0, 3], [2, 2, 1]])
@pytest.mark.parametrize("axis", [0, 1])
def test_cotangents_of_parts(device, picked, axis):
    """Joined where they lie apart, added where they meet; what nobody picked gets zeros."""
    n = 5000
    x = np.random.default_rng(0).standard_normal((8, n) if axis == 0 else (n, 8)).astype(np.float32)
    t = pd.tensor(x, device=device, requires_grad=True)
    parts = t.unbind(axis)
    loss = sum((k + 1) * (parts[i] * parts[i]).sum() for k, i in enumerate(picked))
    (g,) = pd.autograd.grad(loss, t)
    apart = len(set(picked)) == len(list(picked))
    assert ("concatenate" in ops(g)) == apart
    wanted = np.zeros_like(x)
    for k, i in enumerate(picked):
        at = (i,) if axis == 0 else (slice(None), i)
        wanted[at] += 2 * (k + 1) * x[at]
    np.testing.assert_allclose(g.numpy(), wanted, rtol=1e-6)


def test_cotangents_of_parts_differentiate(device):
    x = pd.randn(3, 20_000, device=device, requires_grad=True)
    a, b, c = x.unbind()
    (g,) = pd.autograd.grad((a * a * b + c**3).sum(), x, create_graph=True)
    (h,) = pd.autograd.grad(g.sum(), x)
    a, b, c = (v.detach() for v in x.unbind())
    np.testing.assert_allclose(h.numpy(), pd.stack([2 * b + 2 * a, 2 * a, 6 * c]).numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    "shape, axis, starts, joined",
    [
        ((64, 32, 32), 2, (0, 1), True),
        ((64, 32, 32), 1, (1, 0), True),
        ((300, 150), 0, (0, 1, 2), True),
        ((64, 32, 33), 2, (0, 1), False),  # one more of the first
        ((64, 32, 32), 2, (0, 0), False),
        ((300, 150), 0, (0, 2), False),
        ((64, 64, 32), (1, 2), (0, 1), False),  # along two axes
        ((8, 8), 0, (0, 1), False),  # small
    ],
)
def test_cotangents_of_parts_that_take_turns(device, shape, axis, starts, joined):
    """Every second element and the others, as a pooling reads its windows."""
    x = np.random.default_rng(0).standard_normal(shape)
    t = pd.tensor(x, device=device, requires_grad=True)
    step = max(starts) + 1 if axis == 0 else 2
    axes = axis if isinstance(axis, tuple) else (axis,) * len(starts)
    regions = [(slice(None),) * a + (slice(s, None, step),) for a, s in zip(axes, starts)]
    loss = sum((k + 1) * (t[at] ** 3).sum() for k, at in enumerate(regions))
    (g,) = pd.autograd.grad(loss, t, retain_graph=True)
    assert ("concatenate" in ops(g)) == joined and ("slice_update" in ops(g)) == (not joined)
    (again,) = pd.autograd.grad(loss, t, create_graph=True)
    (h,) = pd.autograd.grad(again.sum(), t)
    first, second = np.zeros(shape), np.zeros(shape)
    for k, at in enumerate(regions):
        first[at] += 3 * (k + 1) * x[at] ** 2
        second[at] += 6 * (k + 1) * x[at]
    np.testing.assert_allclose(g.detach().numpy(), first, rtol=1e-5 if device != "cpu" else 1e-12)
    np.testing.assert_allclose(h.numpy(), second, rtol=1e-5 if device != "cpu" else 1e-12)


def test_a_part_of_something_else_than_zeros_is_no_part(device):
    """A cotangent that is written into ones is added as it is."""
    t = pd.zeros(200, 200, device=device, requires_grad=True)
    comb = pd.ones(200, 200, device=device)
    comb[:, ::2] = 5.0
    other = pd.zeros(200, 200, device=device)
    other[:, 1::2] = 7.0
    (g,) = pd.autograd.grad([t * 1, t * 1], t, [comb, other])
    wanted = np.ones((200, 200))
    wanted[:, ::2] = 5
    wanted[:, 1::2] += 7
    np.testing.assert_array_equal(g.numpy(), wanted)
