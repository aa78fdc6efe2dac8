"""The tape: backward and its errors, accumulation, hooks, custom functions, long chains, what is kept alive."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from oracle import array, check_derivatives, same_bits

import pydiff as pd

smoke = pytest.mark.smoke


def leaf(*values):
    return pd.tensor(list(values), requires_grad=True)


# ---- backward


@smoke
def test_backward_fills_leaves_and_adds_up():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (x * y + x).sum().backward()
    assert x.grad.tolist() == [4.0, 5.0] and y.grad.tolist() == [1.0, 2.0]
    held = x.grad
    (x * y).sum().backward()
    assert x.grad.tolist() == [7.0, 9.0]
    assert held.tolist() == [7.0, 9.0]  # in place, as in PyTorch
    x.grad = None
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0] and held.tolist() == [7.0, 9.0]


@smoke
def test_a_value_used_often_collects_every_use():
    x = leaf(2.0)
    y = x * x
    z = y + y * y + x
    z.backward()
    assert x.grad.tolist() == [2 * 2 + 4 * 8 + 1]


def test_cotangents_of_outputs_that_are_no_scalars():
    x = leaf(1.0, 2.0, 3.0)
    y = x * x
    with pytest.raises(RuntimeError, match=r"\[backward\].*scalar.*\(3,\)"):
        y.backward()
    y.backward(pd.tensor([1.0, 0.0, 10.0]))
    assert x.grad.tolist() == [2.0, 0.0, 60.0]
    with pytest.raises(RuntimeError, match="shape"):
        (x * 2).backward(pd.ones(2))
    (g,) = pd.autograd.grad([x * 2, x.sum()], [x], [pd.ones(3), None])
    assert g.tolist() == [3.0, 3.0, 3.0]


def test_errors_name_the_cause():
    with pytest.raises(RuntimeError, match="requires grad"):
        pd.ones(2).sum().backward()
    with pytest.raises(RuntimeError, match="floating"):
        pd.ones(2, dtype=pd.int64).requires_grad_()
    x = leaf(1.0)
    with pytest.raises(RuntimeError, match="input 0"):
        pd.autograd.grad(leaf(2.0) * 2, [x])
    assert pd.autograd.grad(leaf(2.0) * 2, [x], allow_unused=True) == (None,)
    assert pd.autograd.grad(leaf(2.0) * 2, [x], materialize_grads=True)[0].tolist() == [0.0]
    with pytest.raises(RuntimeError, match="require grad"):
        pd.autograd.grad(x * 2, [pd.ones(1)])
    with pytest.raises(RuntimeError, match="NumPy"):
        x.numpy()


@smoke
def test_a_graph_is_freed_unless_it_is_retained():
    x = leaf(3.0)
    y = (x * x).exp()
    y.backward(retain_graph=True)
    first = x.grad.clone()
    y.backward()
    close = array(x.grad) / array(first)
    assert close == 2.0
    with pytest.raises(RuntimeError, match=r"second time.*retain_graph"):
        y.backward()
    z = x + 1.0  # a derivative that keeps nothing
    z.backward()


def test_inputs_alone():
    x, y = leaf(1.0), leaf(2.0)
    z = x * y
    (z * z).backward(inputs=[x])
    assert x.grad.tolist() == [8.0] and y.grad is None


def test_gradients_of_results_in_the_middle():
    x = leaf(2.0)
    y = x * x
    z = y * y * y
    gx, gy = pd.autograd.grad(z, [x, y])
    assert gy.tolist() == [48.0] and gx.tolist() == [192.0]
    y = x * x
    y.retain_grad()
    (y * 3).backward()
    assert y.grad.tolist() == [3.0] and y.retains_grad


@smoke
def test_higher_orders():
    x = pd.tensor(0.7, dtype=pd.float64, requires_grad=True)
    y = x.sin()
    expected = [np.cos, lambda v: -np.sin(v), lambda v: -np.cos(v), np.sin, np.cos]
    for f in expected:
        (y,) = pd.autograd.grad(y, x, create_graph=True)
        np.testing.assert_allclose(y.item(), f(0.7), rtol=8 * np.finfo(float).eps)


def test_create_graph_in_backward():
    x = leaf(3.0)
    (x**3).backward(create_graph=True)
    g = x.grad
    assert g.requires_grad and g.tolist() == [27.0]
    x.grad = None
    g.backward()
    assert x.grad.tolist() == [18.0]


def test_only_inputs():
    x = pd.tensor(3.0, requires_grad=True)
    assert pd.autograd.grad(outputs=x * x, inputs=x, only_inputs=True)[0].item() == 6.0
    assert pd.autograd.grad(x * x, [x, pd.ones(2, requires_grad=True)], None, None, False, True, True)[1] is None
    with pytest.raises(ValueError, match=r"^\[grad\] .*; got only_inputs=False; try backward\(\)"):
        pd.autograd.grad(x * x, x, only_inputs=False)


def test_gradient_penalty():
    """A loss of a gradient, as in a Wasserstein GAN."""
    w = pd.tensor([[0.5, -1.0], [2.0, 0.25]], dtype=pd.float64)

    def penalty(w, x):
        g = pd.grad(lambda x: (x @ w).tanh().sum())(x)
        return ((g * g).sum().sqrt() - 1) ** 2

    check_derivatives(penalty, array(w), np.array([0.3, -0.2]), order=2)


# ---- modes


def test_modes():
    x = leaf(1.0)
    with pd.no_grad():
        y = x * 2
        with pd.enable_grad():
            z = x * 2
    assert not y.requires_grad and y.is_leaf and z.requires_grad and not z.is_leaf
    assert pd.is_grad_enabled()

    @pd.no_grad()
    def f(t):
        return t * 2

    assert not f(x).requires_grad
    with pytest.raises(ZeroDivisionError), pd.no_grad():
        1 / 0  # noqa: B018
    assert pd.is_grad_enabled()
    with pd.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


@smoke
def test_detach_cuts_the_tape():
    x = leaf(3.0)
    (x * x.detach()).backward()
    assert x.grad.tolist() == [3.0]
    assert not x.detach().requires_grad and x.detach().is_leaf


def test_integers_pass_no_gradient():
    x = leaf(1.5, 2.5)
    assert not x.to(pd.int64).requires_grad
    assert not (x > 2).requires_grad and not x.argmax().requires_grad
    y = x.double() * 2
    y.float().sum().backward()
    assert x.grad.dtype == pd.float32 and x.grad.tolist() == [2.0, 2.0]


# ---- hooks


def test_hooks_see_and_change_the_gradient():
    x = leaf(1.0, 2.0)
    seen = []
    y = x * 3
    y.register_hook(lambda g: seen.append(g.tolist()))
    handle = x.register_hook(lambda g: g * 10)
    y.sum().backward()
    assert seen == [[1.0, 1.0]] and x.grad.tolist() == [30.0, 30.0]
    handle.remove()
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_a_hook_on_a_clone_is_not_one_on_the_original():
    x = leaf(1.0)
    y = x * 2
    c = y.clone()
    c.register_hook(lambda g: g * 100)
    (y + c).backward()
    assert x.grad.tolist() == [2.0 + 200.0]


def test_an_error_in_a_hook_reaches_the_caller():
    x = leaf(1.0)
    y = x * 2
    y.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        y.backward()


# ---- functions with their own rule


class Scaled(pd.autograd.Function):
    @staticmethod
    def forward(ctx, x, y, factor):
        ctx.save_for_backward(x, y)
        ctx.factor = factor
        ctx.taped = pd.is_grad_enabled()
        return x * y * factor, x + y

    @staticmethod
    def backward(ctx, g, h):
        x, y = ctx.saved_tensors
        Scaled.taped = ctx.taped
        return g * y * ctx.factor + h, g * x * ctx.factor + h, None


def test_function():
    x, y = leaf(2.0, 3.0), leaf(5.0, 7.0)
    a, b = Scaled.apply(x, y, 10.0)
    assert a.tolist() == [100.0, 210.0] and b.tolist() == [7.0, 10.0]
    (a + b * 2).sum().backward()
    assert x.grad.tolist() == [52.0, 72.0] and y.grad.tolist() == [22.0, 32.0]
    assert not Scaled.taped  # what forward does is not recorded: the rule stands for it


def test_function_of_second_order(rng):
    def f(x, y):
        a, b = Scaled.apply(x, y, 2.0)
        return (a * a * b).sum()

    x, y = rng.standard_normal(3), rng.standard_normal(3)
    ours = pd.hessian(f)(pd.tensor(x), pd.tensor(y))
    plain = pd.hessian(lambda x, y: ((2 * x * y) ** 2 * (x + y)).sum())(pd.tensor(x), pd.tensor(y))
    np.testing.assert_allclose(array(ours), array(plain), rtol=1e-13)


def test_function_saved_result_and_one_output_unused():
    class Exp(pd.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y, x * 2

        @staticmethod
        def backward(ctx, g, h):
            (y,) = ctx.saved_tensors
            return g * y + 2 * h

    x = pd.tensor([0.0, 1.0], dtype=pd.float64, requires_grad=True)
    y, unused = Exp.apply(x)
    (g,) = pd.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = pd.autograd.grad(g.sum(), x)
    np.testing.assert_allclose(array(h), np.exp([0.0, 1.0]), rtol=4 * np.finfo(float).eps)
    assert not unused.grad


def test_function_with_wrong_number_of_gradients():
    class Wrong(pd.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(RuntimeError, match=r"\[Wrong\].*1 for 2"):
        Wrong.apply(leaf(1.0), leaf(2.0)).backward()


# ---- memory


def taped(t):
    """How many tape nodes hold the value."""
    return pd._C.counts_of(t)[2]


@smoke
def test_derivatives_keep_only_what_they_mention():
    x = leaf(1.0, 2.0)
    h = x * 1.5  # a value that is no leaf
    kept = [h + 1, h - 1, -h, h.sum(), h.reshape(2, 1), h * 3.0, pd.cat([h, h])]
    assert taped(h) == 0
    kept.append(h * h)
    assert taped(h) > 0
    before = taped(h)
    e = h.exp()
    assert taped(h) == before and taped(e) == 1  # its own result
    kept.append(h.log())
    assert taped(h) == before + 1
    del kept


def live_bytes():
    gc.collect()
    return pd._C.memory_stats()["live"]


def test_a_chain_of_sums_keeps_no_intermediate_buffers(device):
    n = 1 << 16
    x = pd.ones(n, requires_grad=True)
    pd._C.evaluate([x])
    before = live_bytes()
    y = x
    for _ in range(20):
        y = y + 1.0
        y.detach().numpy()
    assert live_bytes() - before <= 3 * 4 * n
    y.sum().backward()
    same_bits(x.grad, np.ones(n, np.float32))


def test_backward_gives_memory_back():
    x = pd.ones(1 << 14, requires_grad=True)

    def step():
        y = x
        for _ in range(10):
            y = (y * 1.01).tanh()
        loss = y.sum()
        loss.backward()
        loss.item()
        x.grad.numpy()
        x.grad = None

    step()
    before = live_bytes()
    for _ in range(5):
        step()
    assert live_bytes() <= before


def test_dropping_the_result_drops_the_graph():
    class Marker:
        pass

    marker = Marker()
    gone = weakref.ref(marker)
    x = leaf(1.0)
    y = x * 2
    y.register_hook(lambda g, m=marker: None)
    z = y.exp() * y
    del marker, y
    gc.collect()
    assert gone() is not None
    del z
    gc.collect()
    assert gone() is None


def test_a_function_that_saves_its_result_is_no_cycle():
    class Square(pd.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x * x
            ctx.save_for_backward(x, y)
            ctx.marker = marker
            return y

        @staticmethod
        def backward(ctx, g):
            return g

    class Marker:
        pass

    marker = Marker()
    gone = weakref.ref(marker)
    y = Square.apply(leaf(1.0))
    marker = None
    gc.collect()
    assert gone() is not None
    del y
    gc.collect()
    assert gone() is None


LONG = """
import resource, sys
sys.path.insert(0, {root!r})
resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20))
import pydiff as pd
n = {n}
x = pd.ones(2, requires_grad=True)
y = x
for k in range(n):
    y = y * 1.0 if k % 3 else y + 1e-9
y.sum().backward()
assert x.grad.tolist() == [1.0, 1.0]
x.grad = None
pd._C.set_pending_limits(1 << 40, 1 << 60)
y = pd.ones(2)
for k in range(n):
    y = y * 1.0
y.numpy()
z = pd.ones(2, requires_grad=True)
for k in range(n):
    z = z.sin()
del z, y
row = pd.zeros(3)
for k in range(20_000):
    row[k % 3] += 1.0
assert row.sum().item() == 20_000
print("done")
"""


@pytest.mark.timeout(240)
def test_long_chains_neither_overflow_the_stack_nor_die_when_freed(nightly):
    code = LONG.format(root=str(Path(pd.__file__).parents[1]), n=1_000_000 if nightly else 100_000)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "done", done.stderr[-2000:]


def test_wide_fans_add_up():
    x = leaf(1.0)
    total = sum(x * float(k) for k in range(1000))
    total.backward()
    assert x.grad.tolist() == [999 * 500]
    x.grad = None
    pd.cat([x * float(k) for k in range(300)]).sum().backward()
    assert x.grad.tolist() == [299 * 150]


def test_tensors_compare_by_identity_in_containers():
    x, y = leaf(1.0), leaf(1.0)
    assert len({x, y, x}) == 2
    assert {x: 1, y: 2}[y] == 2


class Nested(pd.autograd.Function):
    """Its backward pass walks back through what the walk around it is in the middle of."""

    inner = None

    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, g):
        with pd.enable_grad():
            Nested.inner()
        return g


@pytest.mark.parametrize("ask", ["grad", "backward", "targets"])
def test_a_walk_inside_a_walk_leaves_it_alone(ask):
    w, x = (pd.tensor([v, v + 1.0], requires_grad=True) for v in (1.0, 3.0))
    shared = w * 2
    seen = []
    Nested.inner = lambda: seen.append(pd.autograd.grad((shared * 3).sum(), w, retain_graph=True)[0].tolist())
    loss = (shared * 5).sum() + Nested.apply(x * shared).sum() + Nested.apply(w).sum()
    if ask == "grad":
        gw, gx = pd.autograd.grad(loss, [w, x], retain_graph=True)
    elif ask == "targets":
        shared_g, gw, gx = pd.autograd.grad(loss, [shared, w, x], retain_graph=True)
        assert shared_g.tolist() == [8.0, 9.0]
    else:
        loss.backward(retain_graph=True)
        gw, gx = w.grad, x.grad
    assert gw.tolist() == [17.0, 19.0] and gx.tolist() == [2.0, 4.0]
    assert seen == [[6.0, 6.0]] * 2


def test_a_hook_may_walk_back_too():
    w = pd.tensor([1.0, 2.0], requires_grad=True)
    y = w * 2

    @pd.enable_grad()
    def walk(f):
        return pd.autograd.grad(f().sum(), w, retain_graph=True)[0]

    y.register_hook(lambda g: g + walk(lambda: w * w))
    z = y * 3
    z.register_hook(lambda g: walk(lambda: y * 7) * 0 + g)
    (z.sum() + (w * 11).sum()).backward()
    assert w.grad.tolist() == [11.0 + 2 * (3 + 2), 11.0 + 2 * (3 + 4)]


def test_walks_of_threads_that_meet_in_one_graph():
    import threading

    w = pd.tensor([1.0, 2.0], requires_grad=True)
    shared = w * 2
    barrier = threading.Barrier(4, timeout=60)
    results = {}

    class Waits(pd.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            barrier.wait()
            return g

    def walk(k):
        loss = (shared * (k + 1)).sum() + (Waits.apply(shared) * k).sum()
        results[k] = pd.autograd.grad(loss, w, retain_graph=True)[0].tolist()

    threads = [threading.Thread(target=walk, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {k: [2.0 * (2 * k + 1)] * 2 for k in range(4)}
