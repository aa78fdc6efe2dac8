"""`utils.checkpoint`: the same gradients to the bit, with less memory."""

import contextlib
import doctest
import functools

import numpy as np
import pytest

import pydiff as pd
from pydiff import _core
from pydiff.utils import checkpoint as module
from pydiff.utils.checkpoint import checkpoint, checkpoint_sequential


def plain(function, *args, **kwargs):
    return function(*args, **kwargs)


def block(width=8, drop=0.3):
    return pd.nn.Sequential(pd.nn.Linear(width, width), pd.nn.Tanh(), pd.nn.Dropout(drop), pd.nn.Linear(width, width))


def bits(tensors):
    return [None if t is None else t.detach().numpy().tobytes() for t in tensors]


class Calls:
    """Functions of one or more arguments that reach parameters in different ways."""

    def __init__(self):
        pd.manual_seed(1)
        self.layer = block()
        self.weight = pd.ones(8, requires_grad=True)
        self.parameters = [*self.layer.parameters(), self.weight]

    def method(self, x):
        return self.layer(x) * self.weight

    def forms(self):
        layer, weight, table = self.layer, self.weight, {"layer": [self.layer]}

        def closure(x):
            return layer(x) * weight

        def inside(x):
            return table["layer"][0](x)

        return {
            "module": layer, "method": self.method, "closure": closure, "container": inside, "partial": functools.partial(plain, layer),
            "lambda": lambda x: layer(x).relu(), "bound": layer.forward, "chain": lambda x: closure(closure(x)),
            "two results": lambda x: (layer(x), {"n": 3, "y": [weight * 2]}),
        }  # fmt: skip


FORMS = list(Calls().forms())


def gradients(form, how, through):
    calls = Calls()
    function = calls.forms()[form]
    x = (pd.arange(24.0).reshape(3, 8) / 24).requires_grad_()
    pd.manual_seed(5)
    results = how(function, x * 2)
    tensors = [t for t in pd.tree.tree_leaves(results) if isinstance(t, pd.Tensor)]
    loss = sum((t * t).sum() for t in tensors)
    leaves = [x, *calls.parameters]
    if through == "grad":
        grads = pd.autograd.grad(loss, leaves, allow_unused=True)
    else:
        loss.backward()
        grads = [leaf.grad for leaf in leaves]
    return bits([loss, *tensors, *grads]), pd.rand(1).item()


@pytest.mark.smoke
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("through", ["backward", "grad"])
def test_the_same_gradients_to_the_bit(form, through):
    assert gradients(form, checkpoint, through) == gradients(form, plain, through)


def test_against_pytorch(torch, both, compare):
    from torch.utils.checkpoint import checkpoint as theirs

    rng = np.random.default_rng(0)
    x, tx = both(rng.standard_normal((4, 3)))
    w, tw = both(rng.standard_normal((3, 3)))
    y = checkpoint(lambda a, b: (a @ b).tanh() * a, x, w)
    ty = theirs(lambda a, b: (a @ b).tanh() * a, tx, tw, use_reentrant=False)
    y.sum().backward()
    ty.sum().backward()
    compare(y, ty)
    compare(x.grad, tx.grad, ulps=16)
    compare(w.grad, tw.grad, ulps=16)


@pytest.mark.parametrize("form", ["module", "closure", "method"])
def test_second_derivatives(form):
    def second(how):
        calls = Calls()
        x = (pd.arange(16.0).reshape(2, 8) / 16).requires_grad_()
        pd.manual_seed(5)
        y = how(calls.forms()[form], x.sin()).square().sum()
        (g,) = pd.autograd.grad(y, x, create_graph=True)
        return pd.autograd.grad((g * g).sum(), [x, *calls.layer.parameters()], allow_unused=True)

    for a, b in zip(second(checkpoint), second(plain)):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


def test_third_derivatives():
    def third(how):
        w = pd.tensor([0.3, 0.7], dtype=pd.float64, requires_grad=True)
        x = pd.tensor([1.5, 2.5], dtype=pd.float64, requires_grad=True)
        y = how(lambda x: (x * w).sin() * x, x * 1.0).sum()
        for leaf in (x, w, x):
            (g,) = pd.autograd.grad(y, leaf, create_graph=True)
            y = (g * g).sum()
        return g

    np.testing.assert_allclose(third(checkpoint).detach().numpy(), third(plain).detach().numpy(), rtol=1e-10)


def test_gradients_add_up():
    layer = block()
    x = pd.ones(2, 8)
    for how in (checkpoint, plain):
        layer.zero_grad()
        pd.manual_seed(0)
        for _ in range(3):
            how(layer, x).sum().backward()
        found = bits(p.grad for p in layer.parameters())
        if how is checkpoint:
            ours = found
    assert ours == found


def test_a_chain_in_segments():
    model = pd.nn.Sequential(*(block() for _ in range(5)))
    found = []
    for segments in (None, 1, 2, 3, 5):
        model.zero_grad()
        pd.manual_seed(3)
        x = pd.ones(2, 8, requires_grad=True)
        y = model(x) if segments is None else checkpoint_sequential(model, segments, x)
        y.square().sum().backward()
        found.append(bits([y, x.grad, *(p.grad for p in model.parameters())]))
    assert all(one == found[0] for one in found)
    with pytest.raises(ValueError, match=r"^\[checkpoint_sequential\] segments .*; got 6 for 5; try"):
        checkpoint_sequential(list(model), 6, x)


def test_masks_are_drawn_again_unless_told_otherwise():
    drop = pd.nn.Dropout(0.5)
    x = pd.ones(1000, requires_grad=True)
    y = checkpoint(drop, x)
    y.sum().backward()
    assert pd.equal(x.grad, y.detach())
    y = checkpoint(drop, x, preserve_rng_state=False)
    x.grad = None
    y.sum().backward()
    assert not pd.equal(x.grad, y.detach())


def test_hooks_of_parameters_are_called_once():
    layer = pd.nn.Linear(2, 2)
    seen = []
    layer.weight.register_hook(lambda g: seen.append(1) or g * 2)
    checkpoint(layer, pd.ones(1, 2)).sum().backward()
    assert seen == [1] and layer.weight.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_parameters_are_the_same_objects_afterwards():
    layer = block()
    before = dict(layer.named_parameters())
    checkpoint(layer, pd.ones(2, 8)).sum().backward()
    after = dict(layer.named_parameters())
    assert all(after[name] is p and p.grad is not None for name, p in before.items())
    assert layer[0].weight is before["0.weight"]


def test_less_memory():
    """Of a chain of 12 blocks, the peak between the first layer and the last gradient."""
    stats, reset = _core._C.memory_stats, _core._C.reset_peak

    def peak(how):
        pd.manual_seed(0)
        blocks = [block(32) for _ in range(12)]
        h = x = pd.rand(2048, 32)
        _core.evaluate([x, *(p for one in blocks for p in one.parameters())])
        reset()
        base = stats()["live"]
        for one in blocks:
            h = how(one, h)
        loss = h.square().mean()
        loss.item()
        del h
        loss.backward()
        _core.evaluate([p.grad for one in blocks for p in one.parameters()])
        return stats()["peak"] - base

    if pd.get_default_device() != "cpu":
        pytest.skip("the statistics are those of the CPU")
    assert peak(checkpoint) < 0.7 * peak(plain)


def test_the_function_is_called_twice_only_where_it_has_to():
    calls = []

    def function(x):
        calls.append(1)
        return x * 2

    x = pd.ones(2, requires_grad=True)
    with pd.no_grad():
        checkpoint(function, x)
    assert len(calls) == 1
    assert not checkpoint(function, pd.ones(2)).requires_grad and checkpoint(len, [x]) == 1
    assert len(calls) == 2
    checkpoint(function, x).sum().backward()
    assert len(calls) == 4


def test_wrong_calls():
    x = pd.ones(2, requires_grad=True)
    hidden = x * 2
    for function in (lambda y: y * hidden, lambda y, secret=(x,): y * secret[0]):
        with pytest.raises(
            ValueError, match=r"^\[checkpoint\] the function uses a tensor that requires .*; got .*; try passing it"
        ):
            checkpoint(function, x)
    with pytest.raises(TypeError, match=r"^\[checkpoint\] the function is called; got Tensor; try"):
        checkpoint(x, x)
    many = iter(range(9))
    y = checkpoint(lambda x: tuple(x * 1.0 for _ in range(1 + next(many))), x)
    with pytest.raises(
        RuntimeError,
        match=r"^\[checkpoint\] the function gives other results .*; got float32 \(2,\), .* for float32 \(2,\); try",
    ):
        y[0].sum().backward()
    shapes = iter([(2,), (1, 2)])
    with pytest.raises(RuntimeError, match=r"got float32 \(1, 2\) for float32 \(2,\); try"):
        checkpoint(lambda x: (x * 2).reshape(next(shapes)), x).sum().backward()
    with pytest.raises(ValueError, match=r"^\[checkpoint\] determinism_check is .*; got 'all'; try 'default'"):
        checkpoint(abs, x, determinism_check="all")


def test_contexts():
    seen = []

    @contextlib.contextmanager
    def context(name):
        seen.append(name)
        yield

    x = pd.ones(2, requires_grad=True)
    y = checkpoint(lambda x, scale: x * scale, x, scale=3.0, context_fn=lambda: (context("first"), context("again")))
    assert seen == ["first"]
    y.sum().backward()
    assert seen == ["first", "again"] and x.grad.tolist() == [3.0, 3.0]


def test_the_examples_in_the_docstrings():
    tried = doctest.testmod(module)
    assert tried.attempted > 6 and not tried.failed
