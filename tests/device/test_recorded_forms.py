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
