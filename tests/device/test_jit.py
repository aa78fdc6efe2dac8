"""pydiff.jit: what is lifted, what is a guard, what is refused; aliasing, effects, errors, threads."""

import gc
import threading
import weakref
from collections import namedtuple

import pytest

import pydiff as pd
from pydiff import nn


def equal(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tolist() == b.tolist()


SCALE = 2.0


class Options:
    factor = 3.0


options = Options()


def test_arguments_and_results_of_any_nesting():
    Pair = namedtuple("Pair", "a b")

    @pd.jit
    def f(x, pair, rest, *, k=1):
        return {"sum": x + pair.a * k, "pair": Pair(pair.b, x), "more": [rest["y"] * 2, None, "text", 3]}

    for n in range(3):
        x, y = pd.full((2,), float(n)), pd.ones(2) * n
        out = f(x, Pair(y, y + 1), {"y": x}, k=2)
        assert equal(out["sum"], x + 2 * y[:2])
        assert out["pair"].b is x and out["pair"].a.tolist() == (y + 1).tolist()
        assert out["more"][1:] == [None, "text", 3] and isinstance(out["pair"], Pair)
        assert equal(out["more"][0], x * 2)
    assert f.jit.traces == 1 and f.jit.replays == 2


def test_static_arguments_are_compared():
    @pd.jit
    def f(x, n, name="a"):
        return x * n

    x = pd.ones(2)
    assert [f(x, n).tolist()[0] for n in (1, 2, 2, 1, 1.0)] == [1, 2, 2, 1, 1]
    assert f.jit.traces == 3 and f.jit.replays == 2
    f(x, 1, name="b")
    assert f.jit.traces == 4


def test_signatures():
    @pd.jit
    def f(x):
        return x + x

    for _ in range(2):
        for x in (pd.ones(2), pd.ones(3), pd.ones(2, dtype=pd.int32), pd.ones(1, 2)):
            assert equal(f(x), x + x)
    assert f.jit.traces == 4 and f.jit.replays == 4


def test_the_limit_of_traces():
    @pd.jit(limit=2)
    def f(x):
        return x + 1

    for n in (1, 2, 3, 1):
        f(pd.ones(n))
    assert f.jit.traces == 4
    f(pd.ones(3))
    assert f.jit.traces == 4


def test_globals_closures_and_attributes_are_guards(monkeypatch):
    factor = 1.0

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = 4.0

        def forward(self, x):
            return x * self.gain

    layer = Layer()

    @pd.jit
    def f(x):
        return layer(x) * SCALE * factor + options.factor

    x = pd.ones(1)
    assert f(x).item() == f(x).item() == 11.0
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert f(x).item() == 15.0
    factor = 2.0
    assert f(x).item() == 27.0
    layer.gain = 5.0
    assert f(x).item() == 33.0
    options.factor = 0.0
    assert f(x).item() == 30.0
    del options.factor
    Options.factor = 1.0
    assert f(x).item() == 31.0
    Options.factor = 3.0
    assert f.jit.traces >= 6
    assert any("gain" in reason for reason in f.jit.reasons) and any("SCALE" in reason for reason in f.jit.reasons)
    assert "traces" in f.jit.explain()


def test_a_replaced_tensor_is_seen():
    model = nn.Linear(2, 2)

    @pd.jit
    def f(x):
        return (model(x) * 2).detach()

    x = pd.ones(1, 2)
    with pd.no_grad():
        f(x)
        model.weight = nn.Parameter(pd.zeros(2, 2))
        assert equal(f(x), (model(x) * 2).detach())
        model.bias.fill_(3.0)
        assert f(x).tolist() == [[6.0, 6.0]]


def test_the_same_tensor_twice_and_shared_memory():
    @pd.jit
    def f(x, y):
        x.add_(1.0)
        return y.sum()

    def both(make):
        for _ in range(3):
            x, y = make()
            a, b = make()
            got = f(x, y)
            a.add_(1.0)
            assert got.item() == b.sum().item()
            assert equal(x, a) and equal(y, b)

    def apart():
        return pd.arange(4.0), pd.arange(4.0)

    def one():
        x = pd.arange(4.0)
        return x, x

    def view_of_first():
        x = pd.arange(4.0)
        return x, x[1:3]

    def view_written():
        x = pd.arange(4.0)
        return x[1:3], x

    def two_views():
        x = pd.arange(4.0)
        return x[:3], x[1:]

    for make in (apart, one, view_of_first, view_written, apart):
        both(make)


def test_batches_that_are_views_share_a_trace():
    data = pd.arange(12.0).reshape(6, 2)

    @pd.jit
    def f(x):
        return x.sum(0)

    for k in range(3):
        assert equal(f(data[2 * k : 2 * k + 2]), data[2 * k : 2 * k + 2].sum(0))
    assert f.jit.traces == 1


def test_handles_that_share_a_value():
    a = pd.arange(3.0)
    b = pd.Tensor(a)

    @pd.jit
    def f(x):
        return a * x + b

    one = pd.ones(3)
    f(one)
    with pd.no_grad():
        b.copy_(pd.zeros(3))
    assert f(one).tolist() == [0.0, 1.0, 2.0]


def test_views_among_results():
    @pd.jit
    def f(x):
        y = x * 2
        return y, y[1:], x[0]

    for _ in range(3):
        x = pd.ones(3)
        y, tail, first = f(x)
        y[1] = 7.0
        assert tail.tolist() == [7.0, 2.0]
        first.fill_(5.0)
        assert x.tolist() == [5.0, 1.0, 1.0]


def test_arguments_are_written_in_place():
    @pd.jit
    def f(x, out):
        out.copy_(x * 2)
        x[0] = 0.0

    for _ in range(3):
        x, out = pd.ones(2), pd.zeros(2)
        assert f(x, out) is None
        assert x.tolist() == [0.0, 1.0] and out.tolist() == [2.0, 2.0]
    assert f.jit.traces == 1


def test_a_held_result_never_changes():
    @pd.jit
    def f(x):
        return x * 2

    results = [f(pd.full((2,), float(k))) for k in range(4)]
    assert [r.tolist() for r in results] == [[2.0 * k] * 2 for k in range(4)]


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x.sum().item(),
        lambda x: float(x.sum()),
        lambda x: 1 if x.sum() > 0 else 2,
        lambda x: x.numpy(),
        lambda x: x.tolist(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
    ],
)
def test_what_needs_a_value_is_an_error(look):
    @pd.jit
    def f(x):
        x.add_(1.0)
        return look(x)

    x = pd.ones(2)
    with pytest.raises(RuntimeError, match="jit"):
        f(x)
    assert x.tolist() == [1.0, 1.0]


def test_an_operation_of_numpy_is_an_error():
    @pd.jit
    def f(x):
        return pd.linalg.svd(x)[1]

    with pytest.raises(RuntimeError, match=r"\[jit\].*NumPy"):
        f(pd.eye(2))


def test_an_exception_leaves_all_as_it_was():
    model = nn.Linear(2, 1)
    optimizer = pd.optim.Adam(model.parameters(), lr=0.1)
    fails = False

    def step(x):
        optimizer.zero_grad()
        pd.nn.functional.dropout(model(x), 0.5).sum().backward()
        optimizer.step()
        if fails:
            raise KeyError("mine")

    jitted = pd.jit(step)
    x = pd.ones(3, 2)
    for _ in range(3):
        jitted(x)
    before = [p.detach().clone() for p in model.parameters()], [p.grad for p in model.parameters()]
    steps = [state["step"] for state in optimizer.state.values()]
    stream = pd.get_rng_state().tolist()
    fails = True
    with pytest.raises(KeyError, match="mine"):
        jitted(x)
    assert all(map(equal, before[0], model.parameters()))
    assert all(p.grad is g for p, g in zip(model.parameters(), before[1]))
    assert [state["step"] for state in optimizer.state.values()] == steps
    assert pd.get_rng_state().tolist() == stream
    fails = False
    jitted(x)


def test_random_numbers_go_on():
    def f(x):
        return pd.rand(3) + x, pd.nn.functional.dropout(x, 0.5), pd.randint(0, 10, (3,))

    pd.manual_seed(1)
    plain = [f(pd.ones(3)) for _ in range(4)]
    jitted = pd.jit(f)
    pd.manual_seed(1)
    for expected in plain:
        assert all(map(equal, jitted(pd.ones(3)), expected))
    assert jitted.jit.traces == 1

    @pd.jit
    def seeded():
        pd.manual_seed(4)
        return pd.rand(2)

    assert seeded().tolist() == seeded().tolist() == seeded().tolist()


def test_methods():
    class Counter:
        def __init__(self, start):
            self.total = pd.full((), start)

        @pd.jit
        def add(self, x):
            self.total += x
            return self.total * 2

    a, b = Counter(1.0), Counter(10.0)
    for _ in range(2):
        assert a.add(pd.tensor(1.0)).item() == a.total.item() * 2
        assert b.add(pd.tensor(1.0)).item() == b.total.item() * 2
    assert a.total.item() == 3.0 and b.total.item() == 12.0
    assert Counter.add.jit.traces == 2
    gone = weakref.ref(a)
    del a
    gc.collect()
    assert gone() is None
    assert Counter.add.__name__ == "add"


def test_what_a_trace_leaves_outside_is_right():
    kept = []

    @pd.jit
    def f(x):
        kept.append(x * 2)
        return x + 1

    for n in range(3):
        f(pd.full((1,), float(n)))
    assert [k.item() for k in kept] == [0.0, 2.0, 4.0]


def test_a_function_traced_at_each_call_warns():
    kept = []

    @pd.jit
    def f(x):
        kept.append(x * 2)

    with pytest.warns(RuntimeWarning, match="held outside"):
        for _ in range(10):
            f(pd.ones(1))


def test_inside_other_transforms():
    @pd.jit
    def f(x):
        return (x * x).sum()

    x = pd.arange(3.0)
    assert pd.grad(f)(x).tolist() == [0.0, 2.0, 4.0]
    assert pd.vmap(f)(pd.ones(2, 3)).tolist() == [3.0, 3.0]
    assert pd.jvp(f, (x,), (pd.ones(3),))[1].item() == 6.0

    @pd.jit
    def outer(x):
        return f(x) + pd.grad(f)(x).sum()

    assert outer(x).item() == outer(x).item() == 11.0


def test_modes():
    w = pd.ones(2, requires_grad=True)

    @pd.jit
    def f(x):
        y = x * w
        return y.detach(), pd.ones(1).dtype == pd.float64

    with pd.no_grad():
        f(pd.ones(2))
    f(pd.ones(2))
    assert f.jit.traces == 2


def test_threads():
    model = nn.Linear(4, 4)

    @pd.jit
    def f(x):
        with pd.no_grad():
            return model(x) * 2

    x = [pd.randn(n, 4) for n in range(1, 9)]
    with pd.no_grad():
        expected = [(model(v) * 2).tolist() for v in x]
    wrong = []

    def work():
        for _ in range(5):
            for v, e in zip(x, expected):
                if f(v).tolist() != e:
                    wrong.append(v.shape)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong


def test_wrong_uses():
    with pytest.raises(TypeError, match=r"\[jit\].*function"):
        pd.jit(3)
    with pytest.raises(ValueError, match=r"\[jit\].*limit"):
        pd.jit(lambda x: x, limit=0)

    def generator():
        yield 1

    with pytest.raises(TypeError, match="generator"):
        pd.jit(generator)


# ---- results that can be differentiated


def test_a_forward_is_differentiable_outside():
    def make():
        pd.manual_seed(2)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 2))

    plain, model = make(), make()
    forward = pd.jit(lambda x: model(x))
    for n in range(4):
        x = pd.randn(3, 4)
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, z = plain(a), forward(b)
        assert z.requires_grad and not z.is_leaf
        (y * y).sum().backward()
        (z * z).sum().backward()
        assert equal(y.detach(), z.detach()) and equal(a.grad, b.grad)
        for p, q in zip(plain.parameters(), model.parameters()):
            assert equal(p.grad, q.grad)
    assert forward.jit.replays == 3


def test_a_forward_with_dropout_and_batch_norm():
    def run(jitted):
        pd.manual_seed(2)
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.4), nn.Linear(6, 2))
        optimizer = pd.optim.SGD(model.parameters(), lr=0.1)
        forward = pd.jit(model.forward) if jitted else model
        out = []
        for _ in range(6):
            optimizer.zero_grad()
            loss = (forward(pd.randn(5, 4)) ** 2).mean()
            loss.backward()
            optimizer.step()
            out.append(loss.item())
        return out, [v.tolist() for v in model.state_dict().values()]

    assert run(False) == run(True)


def test_higher_derivatives_of_a_forward():
    f = pd.jit(lambda x: (x.sin() * x).sum())
    for _ in range(3):
        x = pd.arange(3.0).requires_grad_()
        (g,) = pd.autograd.grad(f(x), x, create_graph=True)
        (h,) = pd.autograd.grad(g.sum(), x)
        y = pd.arange(3.0).requires_grad_()
        (e,) = pd.autograd.grad((y.sin() * y).sum(), y, create_graph=True)
        (k,) = pd.autograd.grad(e.sum(), y)
        assert equal(g.detach(), e.detach()) and equal(h, k)


def test_part_of_the_results_is_differentiated():
    w = pd.ones(3, requires_grad=True)

    @pd.jit
    def f(x):
        y = x * w
        return y, (y * 2).detach(), y.sum()

    for _ in range(3):
        w.grad = None
        y, d, s = f(pd.arange(3.0))
        assert not d.requires_grad
        s.backward()
        assert w.grad.tolist() == [0.0, 1.0, 2.0]
        with pytest.raises(RuntimeError, match="freed"):
            y.sum().backward()
