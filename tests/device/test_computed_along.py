"""What shares work with a value that is asked for is computed with it; what may fail is left until it is asked for."""

import numpy as np
import pytest

import pydiff as pd

N = 50_000


def evaluations():
    stats = pd._C.exec_stats()
    return stats["plans"] + stats["replays"]


def shared(device):
    x = pd.tensor(np.linspace(0.1, 2, N, dtype=np.float32), device=device)
    return x, (x.sin() * x).exp()


def test_values_that_share_work_are_computed_together(device):
    _, part = shared(device)
    y, z = part * 4, part * 2
    del part
    before = evaluations()
    one = y.numpy()
    assert evaluations() == before + 1
    other = z.numpy()
    assert evaluations() == before + 1
    np.testing.assert_array_equal(one, 2 * other)


def test_gradients_are_computed_with_the_value(device):
    x, _ = shared(device)
    w = pd.ones(N, device=device, requires_grad=True)
    loss = ((x * w).sin() * w).sum()
    loss.backward()
    before = evaluations()
    loss.item()
    w.grad.numpy()
    assert evaluations() == before + 1


def test_what_shares_nothing_waits(device):
    x, part = shared(device)
    y, z = part + 1, x.cos()
    before = evaluations()
    y.numpy()
    z.numpy()
    assert evaluations() == before + 2


def test_what_may_fail_waits(device):
    _, part = shared(device)
    y = part + 1
    wrong = (part * 2)[pd.tensor([N], device=device)]
    del part
    assert np.isfinite(y.numpy()).all()
    with pytest.raises(IndexError):
        wrong.numpy()


def test_what_is_cheap_waits(device):
    x = pd.ones(10, device=device)
    part = x * 3
    y, z = part + 1, part + 2
    del part
    before = evaluations()
    y.numpy(), z.numpy()
    assert evaluations() == before + 2
