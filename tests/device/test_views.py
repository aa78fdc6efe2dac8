"""Views, aliasing and writes in place: each little program runs in PyTorch too, and ends in the same values."""

import copy

import numpy as np
import pytest
from oracle import array, check_derivatives

import pydiff as pd

torch = pytest.importorskip("torch")


def base(m):
    return m.arange(24.0, dtype=m.float64).reshape(4, 6)


def row(m):
    a = base(m)
    r = a[1]
    r[:] = m.tensor([9.0] * 6, dtype=m.float64)
    return a, r


def write_through_two_levels(m):
    a = base(m)
    a[1][2] = -1.0
    a[2:][0][1:3] = 5.0
    return (a,)


def write_through_transpose(m):
    a = base(m)
    a.T[0] = -3.0
    a.mT[-1, 1:] += 10.0
    return (a,)


def write_through_reshape(m):
    a = base(m)
    v = a.reshape(-1)
    v[7] = -1.0
    w = a.view(2, 12)
    w[1] *= 2.0
    return a, v, w


def reshape_that_copies(m):
    a = base(m)
    c = a.T.reshape(-1)
    c[0] = 77.0
    return a, c


def write_to_base_is_seen_by_views(m):
    a = base(m)
    r, c, t, s = a[0], a[:, 1], a.T, a[::2, 1::2]
    a[0, 1] = -5.0
    a += 1.0
    return a, r, c, t, s


def write_to_view_is_seen_by_sibling(m):
    a = base(m)
    x, y = a[1:3], a[:, 2]
    x += 100.0
    y.mul_(2.0)
    return a, x, y


def views_of_views(m):
    a = base(m)
    v = a[1:].T[2:].unsqueeze(0).squeeze(0)[:, 0]
    v.fill_(0.5)
    w = a.permute(1, 0)[::2].T[:, 1]
    w -= 1.0
    return a, v, w


def data_mul(m):
    p = base(m).requires_grad_()
    p.data.mul_(2.0)
    p.data[0] = 1.0
    return (p.detach(),)


def detach_shares(m):
    a = base(m)
    d = a.detach()
    d[0] = -1.0
    a[1] = -2.0
    return a, d


def clone_does_not_share(m):
    a = base(m)
    c = a.clone()
    c[0] = -1.0
    a[1] = -2.0
    return a, c


def flip_and_advanced_index_copy(m):
    a = base(m)
    f = a.flip(0)
    g = a[[0, 1]]
    f[0] = 1.0
    g[0] = 2.0
    return a, f, g


def augmented_on_elements(m):
    a = base(m)
    a[1, 1] += 5.0
    a[:, 3] -= a[:, 0]
    a[a > 15.0] *= -1.0
    a[[0, 2], [1, 1]] += 3.0
    return (a,)


def swap_rows(m):
    a = base(m)
    t = a[0].clone()
    a[0] = a[3]
    a[3] = t
    return (a,)


def overlapping(m):
    a = base(m)
    a[1:] = a[:-1].clone()
    return (a,)


def split_parts_are_views(m):
    a = base(m)
    x, y = a.split(2)
    x[0] = -1.0
    for i, r in enumerate(y.unbind(0)):
        r += float(i)
    left, right = a.chunk(2, 1)
    right[:] = left
    return a, x, y


def narrow_select_expand(m):
    a = base(m)
    a.narrow(1, 1, 2).zero_()
    a.select(0, 2).add_(1.0)
    e = a[:, :1].expand(4, 3)
    a[0, 0] = 42.0
    return a, e


def rebinding_is_not_writing(m):
    a = base(m)
    b = a
    b = b + 1.0
    return a, b


def augmented_on_a_name_writes(m):
    a = base(m)
    b = a
    b += 1.0
    return a, b


def view_outlives_base(m):
    a = base(m)
    v = a[1]
    a[1, 0] = 50.0
    del a
    v[1] = 60.0
    return (v,)


def in_place_functions(m):
    a = base(m)
    a[0].exp_()
    a[1].sub_(1.0).div_(2.0)
    a[2].clamp_(0.0, 14.0)
    a[3].copy_(a[0])
    a.T[1].neg_()
    return (a,)


def newaxis_and_zero_d(m):
    a = base(m)
    x = a[0, 0]
    x += 9.0
    a[None, :, 2, None].mul_(3.0)
    return a, x


def alternating_writes(m):
    a = base(m)
    v, w = a[0], a[:, 0]
    for k in range(6):
        v += 1.0
        w *= 2.0
        a[k % 4, 0] -= v[0]
    return a, v, w


VALUES = [
    row, write_through_two_levels, write_through_transpose, write_through_reshape, reshape_that_copies,
    write_to_base_is_seen_by_views, write_to_view_is_seen_by_sibling, views_of_views, data_mul, detach_shares,
    clone_does_not_share, flip_and_advanced_index_copy, augmented_on_elements, swap_rows, overlapping,
    split_parts_are_views, narrow_select_expand, rebinding_is_not_writing, augmented_on_a_name_writes,
    view_outlives_base, in_place_functions, newaxis_and_zero_d, alternating_writes,
]  # fmt: skip


@pytest.mark.parametrize("program", VALUES, ids=lambda p: p.__name__)
@pytest.mark.smoke
def test_values_as_in_pytorch(program):
    for k, (a, b) in enumerate(zip(program(pd), program(torch), strict=True)):
        np.testing.assert_allclose(array(a), b.numpy(), rtol=1e-14, atol=0, err_msg=f"result {k}")


# ---- gradients through writes: x is a leaf, the program returns what is summed with weights


def grad_row(m, x):
    a = x * 2.0
    a[1] = x[0] * x[2]
    return a * a


def grad_view_then_write(m, x):
    a = x * x
    v = a[1:3]
    v *= 3.0
    return a * a


def grad_view_written_through_base(m, x):
    a = x * 2.0
    v = a[:, 0]
    a[0] = x[1] * x[1]
    return v * v


def grad_transpose(m, x):
    a = x.clone()
    a.T[0] = x[0, :4] * x[1, :4]
    return a * x


def grad_chain(m, x):
    a = x * 1.0
    a[1:][0][2] = x[0, 0] * x[0, 1]
    a.reshape(-1)[3:6] += x[2, :3] ** 2
    return a * a


def grad_overwritten_value_is_kept_for_backward(m, x):
    a = x * 1.0
    y = a[0].exp()
    a[0] = y * 2.0
    return a


def grad_fill(m, x):
    a = x * 1.0
    a[:, 1:3] = 0.0
    a[2].zero_()
    return a * x


def grad_mask(m, x):
    a = x * 1.0
    a[x > 10.0] = (x * x)[x > 10.0]
    return a


def grad_loop(m, x):
    a = x * 1.0
    for i in range(1, 4):
        a[i] += a[i - 1].clone().sin()
    return a * a


def grad_detached_side(m, x):
    a = x * 1.0
    a[0] = (x * x)[1].detach()
    return a * a


def grad_of_view_of_leaf(m, x):
    return x[1:].T[::2] * x.reshape(-1)[:9].reshape(3, 3)


GRADS = [
    grad_row, grad_view_then_write, grad_view_written_through_base, grad_transpose, grad_chain,
    grad_overwritten_value_is_kept_for_backward, grad_fill, grad_mask, grad_loop, grad_detached_side,
    grad_of_view_of_leaf,
]  # fmt: skip


@pytest.mark.parametrize("program", GRADS, ids=lambda p: p.__name__)
@pytest.mark.smoke
def test_gradients_as_in_pytorch(program):
    found = []
    for m in (pd, torch):
        x = base(m).requires_grad_()
        y = program(m, x)
        w = m.arange(float(y.numel()), dtype=m.float64).reshape(y.shape) - 3.5
        (y * w).sum().backward()
        found.append(array(x.grad))
    np.testing.assert_allclose(*found, rtol=64 * np.finfo(float).eps, atol=0)


@pytest.mark.parametrize("program", [p for p in GRADS if p not in (grad_mask, grad_detached_side)], ids=lambda p: p.__name__)
def test_second_derivatives_through_writes(program, rng):
    check_derivatives(lambda x: program(pd, x), rng.uniform(0.5, 1.5, (4, 6)), order=2)


def test_a_value_kept_for_backward_is_not_touched_by_writes():
    """PyTorch refuses this backward pass; values here are immutable, so the pass is right."""
    x = pd.tensor([2.0, 3.0], requires_grad=True)
    a = x * 1.0
    y = a * a
    a += 100.0
    y.sum().backward()
    assert x.grad.tolist() == [4.0, 6.0]


# ---- what is refused


def leaf_in_place(m):
    x = m.ones(3, requires_grad=True)
    x += 1


def leaf_setitem(m):
    x = m.ones(3, requires_grad=True)
    x[0] = 1


def view_of_leaf(m):
    x = m.ones(3, requires_grad=True)
    x[1:].mul_(2)


def function_on_leaf(m):
    m.ones(3, requires_grad=True).exp_()


def write_to_expanded(m):
    x = m.ones(1, 3)
    x.expand(4, 3).add_(1)


def write_to_part_of_expanded(m):
    x = m.ones(1, 3)
    x.expand(4, 3)[1:].add_(1)


def float_into_integers(m):
    x = m.ones(3, dtype=m.int64)
    x += 0.5


def result_of_another_shape(m):
    x = m.ones(3)
    x += m.ones(2, 3)


def view_of_incompatible_memory(m):
    x = m.ones(3, 4)
    x.T.view(-1)


def grad_flag_of_a_result(m):
    x = m.ones(3, requires_grad=True) * 2
    x.requires_grad = False


REFUSED = [
    leaf_in_place, leaf_setitem, view_of_leaf, function_on_leaf, write_to_expanded, write_to_part_of_expanded,
    float_into_integers, result_of_another_shape, view_of_incompatible_memory, grad_flag_of_a_result,
]  # fmt: skip


@pytest.mark.parametrize("program", REFUSED, ids=lambda p: p.__name__)
def test_refused_as_in_pytorch(program):
    with pytest.raises(RuntimeError):
        program(torch)
    with pytest.raises(RuntimeError, match=r"^\["):  # in the op's name
        program(pd)


def test_a_refused_write_leaves_the_tensor_as_it_was():
    x = pd.ones(3, dtype=pd.int64)
    with pytest.raises(RuntimeError):
        x += 0.5
    assert x.tolist() == [1, 1, 1] and x.dtype == pd.int64


def test_leaves_may_be_written_without_tape():
    for m in (pd, torch):
        p = m.ones(3, requires_grad=True)
        (p * p).sum().backward()
        with m.no_grad():
            p -= 0.25 * p.grad
            p[0] = 7.0
        assert p.is_leaf and p.requires_grad
        np.testing.assert_array_equal(p.detach().numpy(), [7.0, 0.5, 0.5])
        p.grad = None
        (p * p).sum().backward()
        np.testing.assert_array_equal(array(p.grad), [14.0, 1.0, 1.0])


def test_exported_memory_is_read_only_and_keeps_its_value():
    x = pd.arange(4.0)
    n = x.numpy()
    assert not n.flags.writeable
    x += 1
    np.testing.assert_array_equal(n, [0, 1, 2, 3])
    np.testing.assert_array_equal(x.numpy(), [1, 2, 3, 4])


def test_tensor_copies_and_from_numpy_shares():
    a = np.arange(3.0)
    copied, shared = pd.tensor(a), pd.from_numpy(a)
    a[0] = 9
    assert copied.tolist() == [0, 1, 2] and shared.tolist() == [9, 1, 2]
    shared += 1  # never into memory that is not pydiff's own
    np.testing.assert_array_equal(a, [9, 1, 2])
    assert shared.tolist() == [10, 2, 3]


def into(write):
    """What `write(x, source)` makes of a tensor of ones."""

    def program(source):
        x = pd.ones(3)
        write(x, source.to(x.device))
        return x

    return program


def loaded(source):
    layer = pd.nn.Linear(3, 1, bias=False)
    layer.load_state_dict({"weight": source.reshape(1, 3)})
    return layer.weight


def gathered(source):
    x = pd.ones(3, device="cpu").requires_grad_()
    x.backward(source)
    return x.grad


COPIES = {
    "clone": lambda t: t.clone(),
    "clone of a part": lambda t: t[1:].clone(),
    "clone of another shape": lambda t: t.reshape(3, 1).clone(),
    "clone of a leaf": lambda t: t.requires_grad_().clone(),
    "to": lambda t: t.to(copy=True),
    "to a dtype": lambda t: t.to(pd.float64),
    "to a dtype and back": lambda t: t.double().float(),
    "a cast": lambda t: t.int(),
    "contiguous": lambda t: t.reshape(1, 3).expand(2, 3).T.contiguous(),
    "a reshape that copies": lambda t: t.expand(2, 3).reshape(6),
    "copy": lambda t: copy.copy(t),
    "deepcopy": lambda t: copy.deepcopy(t),
    "tensor": lambda t: pd.tensor(t),
    "tensor of a dtype": lambda t: pd.tensor(t, dtype=pd.float64),
    "asarray": lambda t: pd.asarray(t, copy=True),
    "copy_": into(lambda x, t: x.copy_(t)),
    "copy_ from another dtype": into(lambda x, t: x.copy_(t.double())),
    "data.copy_": into(lambda x, t: x.data.copy_(t)),
    "setitem": into(lambda x, t: x.__setitem__(slice(None), t)),
    "setitem of a part": into(lambda x, t: x.__setitem__(slice(0, 2), t[:2])),
    "setitem by indices": into(lambda x, t: x.__setitem__([0, 1, 2], t)),
    "load_state_dict": loaded,
    "backward": gathered,
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_of_outside_memory_is_one(name):
    a, b = np.arange(3, dtype=np.float32), np.arange(3, dtype=np.float32)
    copied, never = COPIES[name](pd.from_numpy(a)), COPIES[name](pd.from_numpy(b))
    a[:] = 7
    np.testing.assert_array_equal(copied.detach().cpu().numpy(), never.detach().cpu().numpy())


def test_what_shares_outside_memory():
    a = np.zeros(3, np.float32)
    shared = pd.from_numpy(a)
    p = pd.nn.Parameter(pd.zeros(3))
    p.data = shared
    part = shared[1:]
    results = [shared.detach(), shared.to(pd.float32), shared.contiguous(), pd.as_tensor(a), p, part]
    a[:] = 5
    assert all(set(x.tolist()) == {5.0} for x in results)


def test_a_copy_of_outside_memory_keeps_tape_and_tangents():
    x = pd.from_numpy(np.array([2.0, 3.0])).requires_grad_()
    (x[:1].clone() * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 0.0]
    a = np.array([2.0, 3.0])
    y, tangent = pd.jvp(lambda x: x.clone() ** 2, (pd.from_numpy(a),), (pd.ones(2, dtype=pd.float64, device="cpu"),))
    a[:] = 9
    assert y.tolist() == [4.0, 9.0] and tangent.tolist() == [4.0, 6.0]


def test_strides_and_contiguity_as_in_pytorch():
    for f in (
        lambda a: a,
        lambda a: a.T,
        lambda a: a[1:, ::2],
        lambda a: a[:, 1],
        lambda a: a.reshape(2, 12),
        lambda a: a.T.reshape(3, 8),
        lambda a: a[:, :1].expand(4, 3),
        lambda a: a.unsqueeze(1),
        lambda a: a.T.contiguous(),
    ):
        a, b = base(pd), base(torch)
        ours, theirs = f(a), f(b)
        assert ours.is_contiguous() == theirs.is_contiguous()
        assert tuple(ours.stride()) == tuple(theirs.stride())


def test_an_expanded_tensor_that_is_left_alone_may_be_written():
    """Nobody else sees its memory, and values are immutable: each element gets its own."""
    x = pd.ones(1, 3).expand(4, 3)
    x[1] += 1
    assert x.tolist() == [[1.0] * 3, [2.0] * 3, [1.0] * 3, [1.0] * 3]


def test_outputs_of_one_plan_that_share_memory():
    """A row at the start of a value lies in its memory: both are results of the same plan."""
    for k in range(6):
        a, n = base(pd), np.arange(24.0).reshape(4, 6)
        (v, w), (x, y) = (a[0], a[:, 0]), (n[0], n[:, 0])
        for i in range(k):
            v += 1.0
            w *= 2.0
            a[i % 4, 0] -= v[0]
            x += 1.0
            y *= 2.0
            n[i % 4, 0] -= x[0]
            np.testing.assert_array_equal(array(a), n)
        held = [array(t) for t in (a, v, w)]
        for t, e in zip(held, (n, x, y)):
            np.testing.assert_array_equal(t, e)


def random_view(rng, n):
    """A function that gives the same view of a tensor and of an array, or None."""
    kind = rng.integers(6)
    if n.ndim == 0:
        return lambda a: a.reshape(1)
    if kind == 0:
        order = rng.permutation(n.ndim).tolist()
        return lambda a: a.transpose(*order) if isinstance(a, np.ndarray) else a.permute(order)
    if kind == 1 and n.size:
        return lambda a: a.reshape(-1)
    if kind == 2:
        k = int(rng.integers(n.ndim + 1))
        key = (slice(None),) * k + (None,)
        return lambda a: a[key]
    key = []
    for size in n.shape:
        start, stop = sorted(rng.integers(0, size + 1, 2).tolist())
        step = int(rng.choice([1, 1, 2, -1]))
        choices = [slice(None), slice(start, stop, step) if step > 0 else slice(stop, start, step)]
        if size:
            choices.append(int(rng.integers(size)))
        key.append(choices[rng.integers(len(choices))])
    key = tuple(key)
    if not np.shape(n[key]):
        return lambda a: a[key] if not isinstance(a, np.ndarray) else a[(*key, ...)]
    return lambda a: a[key]


def random_writes(rng, steps):
    n = rng.standard_normal((4, 3, 2)[: rng.integers(1, 4)])
    pairs = [(pd.tensor(n), n)]
    for _ in range(steps):
        t, n = pairs[rng.integers(len(pairs))]
        move = rng.integers(8)
        c = float(rng.integers(-3, 4))
        if move <= 2:
            f = random_view(rng, n)
            m = f(n)
            if n.size and m.size and not np.shares_memory(m, n):
                continue  # a reshape that copies: whether it does may differ
            pairs.append((f(t), m))
        elif move == 3:
            t += c
            n += c
        elif move == 4:
            t[...] = c
            n[...] = c
        elif move == 5:
            u, m = pairs[rng.integers(len(pairs))]
            if m.shape == n.shape and not np.may_share_memory(m, n):
                t.mul_(0.5).add_(u)
                n *= 0.5
                n += m
        elif move == 6 and n.ndim and n.shape[0]:
            index = rng.integers(0, n.shape[0], 2)
            t[index] = c
            n[index] = c
        elif move == 7 and len(pairs) > 2:
            del pairs[rng.integers(len(pairs))]
        if rng.random() < 0.3:
            np.testing.assert_array_equal(array(t), n)
        del t, n
    for t, n in pairs:
        np.testing.assert_array_equal(array(t), n)


@pytest.mark.parametrize("part", range(4))
def test_random_views_and_writes_against_numpy(part, seed, nightly):
    count = 1000 if nightly else 60
    for number in range(part * count, (part + 1) * count):
        try:
            random_writes(np.random.default_rng([seed, number]), 25)
        except Exception as e:
            raise AssertionError(f"sequence {number} (--seed {seed})") from e


def test_negative_steps_are_views():
    """PyTorch has no negative steps; NumPy's are views."""
    a = pd.arange(5.0)
    n = np.arange(5.0)
    a[::-1][:2] = -1.0
    n[::-1][:2] = -1.0
    a[3::-2][1] += 7
    n[3::-2][1] += 7
    assert a.tolist() == n.tolist()
