"""Nodes with a body: recorded by hand, verified, printed, run, differentiated to order two."""

import numpy as np
import pytest
from oracle import array, same_bits

import pydiff as pd

C = pd._C
smoke = pytest.mark.smoke


def record(f, *shapes, dtype=pd.float64):
    """`f` as a closed graph of placeholders."""
    params = [C.make_param(s, dtype, pd.get_default_device()) for s in shapes]
    results = f(*params)
    return C.close_graph(list(results) if isinstance(results, tuple) else [results], params)


def t64(x):
    return pd.tensor(np.asarray(x, np.float64))


def two_results(a, b):
    return (a * b).tanh() + a, (a @ b.T).exp().sum(0)


SHAPES = [(3, 4), (3, 4)]


@pytest.fixture
def operands(rng):
    return [rng.uniform(-1, 1, s) for s in SHAPES]


@smoke
def test_a_call_gives_what_its_body_gives(operands):
    g = record(two_results, *SHAPES)
    assert g.n_params == 2 and g.n_results == 2
    t = [pd.tensor(x) for x in operands]
    got = C.call(g, t)
    C.verify(got)
    for a, b in zip(got, two_results(*t)):
        same_bits(a, b)
    for a, b in zip(C.call(g, t[::-1]), two_results(*t[::-1])):
        same_bits(a, b)


def test_one_of_two_results_may_go_unused(operands):
    g = record(two_results, *SHAPES)
    t = [pd.tensor(x) for x in operands]
    _, second = C.call(g, t)
    same_bits(second, two_results(*t)[1])
    a, b = C.call(g, t)
    del b
    same_bits(a * 2 + 1, two_results(*t)[0] * 2 + 1)


@smoke
def test_printing_shows_the_body():
    g = record(two_results, *SHAPES)
    text = repr(g)
    assert text.count(" = param float64 (3, 4)") == 2
    for op in ("tanh", "mul", "dot", "reduce_sum", "exp"):
        assert f" = {op} " in text
    assert text.rstrip().splitlines()[-1].startswith("return %")
    y = C.call(g, [pd.ones(3, 4, dtype=pd.float64)] * 2)[0]
    outer = C.print_graph([y])
    assert " = call " in outer and "    %" in outer and " = output " in outer
    assert C.dot([y]).startswith("digraph") and "call" in C.dot([y])


def plain_and_called(f, shapes):
    g = record(f, *shapes)
    return f, lambda *t: tuple(C.call(g, list(t)))


def one_result(a, b):
    return ((a * b).tanh() + (a @ b.T).exp().sum(0, keepdim=True).T,)


@smoke
@pytest.mark.parametrize("body", [two_results, one_result])
def test_derivatives_of_a_call_to_order_two(body, operands):
    f, call = plain_and_called(body, SHAPES)
    t = [pd.tensor(x) for x in operands]

    def loss(h):
        return lambda a, b: sum((r * r).sum() for r in h(a, b))

    for a, b in zip(pd.grad(loss(call), argnums=(0, 1))(*t), pd.grad(loss(f), argnums=(0, 1))(*t)):
        np.testing.assert_allclose(array(a), array(b), rtol=1e-13, atol=1e-14)

    def second(h):
        def size(a, b):
            return sum((g * g).sum() for g in pd.grad(loss(h), argnums=(0, 1))(a, b))

        return pd.grad(size, argnums=(0, 1))(*t)

    for a, b in zip(second(call), second(f)):
        np.testing.assert_allclose(array(a), array(b), rtol=1e-12, atol=1e-12)
    v = tuple(pd.ones_like(x) for x in t)
    for a, b in zip(pd.jvp(call, tuple(t), v)[1], pd.jvp(f, tuple(t), v)[1]):
        np.testing.assert_allclose(array(a), array(b), rtol=1e-13, atol=1e-14)
    _, a = pd.hvp(loss(call), tuple(t), v)
    _, b = pd.hvp(loss(f), tuple(t), v)
    for x, y in zip(a, b):
        np.testing.assert_allclose(array(x), array(y), rtol=1e-12, atol=1e-12)


def test_gradient_with_respect_to_one_operand_and_one_result(operands):
    f, call = plain_and_called(two_results, SHAPES)
    a, b = pd.tensor(operands[0], requires_grad=True), pd.tensor(operands[1])
    call(a, b)[1].sum().backward()
    expected = pd.grad(lambda x: f(x, b)[1].sum())(pd.tensor(operands[0]))
    np.testing.assert_allclose(array(a.grad), array(expected), rtol=1e-14)


def test_a_call_within_a_body(operands):
    inner = record(two_results, *SHAPES)

    def outer(a, b):
        x, y = C.call(inner, [a * 2, b])
        z, w = C.call(inner, [x, a])
        return z + b, y * w

    g = record(outer, *SHAPES)
    t = [pd.tensor(x, requires_grad=True) for x in operands]
    got = C.call(g, t)
    C.verify(got)
    expected = outer_plain(*t)
    for a, b in zip(got, expected):
        np.testing.assert_allclose(array(a), array(b), rtol=1e-14)
    assert repr(g).count(" = call ") == 2
    mine = pd.autograd.grad(sum(r.sum() for r in got), t, create_graph=True)
    plain = pd.autograd.grad(sum(r.sum() for r in expected), t, create_graph=True)
    for a, b in zip(mine, plain):
        np.testing.assert_allclose(array(a), array(b), rtol=1e-12, atol=1e-13)
    again = pd.autograd.grad(sum((r * r).sum() for r in mine), t)
    plain = pd.autograd.grad(sum((r * r).sum() for r in plain), t)
    for a, b in zip(again, plain):
        np.testing.assert_allclose(array(a), array(b), rtol=1e-11, atol=1e-11)


def outer_plain(a, b):
    x, y = two_results(a * 2, b)
    z, w = two_results(x, a)
    return z + b, y * w


def test_calls_in_a_chain_replay_one_plan(operands):
    g = record(lambda a, b: (a * 0.5 + b, (a * b).sin()), *SHAPES)
    a, b = (pd.tensor(x) for x in operands)
    pa, pb = a, b
    for _ in range(12):
        a, b = C.call(g, [a, b])
        pa, pb = pa * 0.5 + pb, (pa * pb).sin()
    same_bits(a, pa)
    same_bits(b, pb)


def test_a_body_captures_nothing():
    weight = t64([1.0, 2.0])
    with pytest.raises(RuntimeError, match="captur|parameter"):
        record(lambda x: x * weight, (2,))
    stranger = C.make_param((2,), pd.float64, pd.get_default_device())
    with pytest.raises(RuntimeError, match="captur|placeholder|parameter"):
        record(lambda x: x * stranger, (2,))


def test_arguments_are_what_the_graph_was_recorded_for():
    g = record(lambda x: x * 2, (2,))
    with pytest.raises(TypeError, match=r"\[call\]"):
        C.call(g, [t64([1.0, 2.0, 3.0])])
    with pytest.raises(TypeError, match=r"\[call\]"):
        C.call(g, [pd.ones(2)])
    with pytest.raises(TypeError, match=r"\[call\].*arguments"):
        C.call(g, [])


def test_placeholders_have_no_value():
    p = C.make_param((2,), pd.float32, pd.get_default_device())
    assert p.is_abstract and (p * 2).is_abstract
    for look in (lambda: (p * 2).numpy(), lambda: p.sum().item(), lambda: bool((p > 0).all())):
        with pytest.raises(RuntimeError):
            look()


# ---- foreach: one elementwise body over many segments


def update(p, g, m, lr):
    m = m * 0.9 + g
    return p - lr * m, m


@pytest.mark.parametrize("sizes", [[(3,)], [(5,), (2, 3), (), (0, 4), (1000,)], [(7,)] * 40])
@smoke
def test_foreach(sizes, rng):
    g = record(update, (), (), (), (), dtype=pd.float32)
    lists = [[pd.tensor(rng.standard_normal(s).astype(np.float32)) for s in sizes] for _ in range(3)]
    lr = pd.tensor(0.1)
    params, moments = C.foreach(g, lists, [lr])
    C.verify(params)
    for k in range(len(sizes)):
        p, m = update(lists[0][k], lists[1][k], lists[2][k], lr)
        same_bits(params[k], p)
        same_bits(moments[k], m)


def test_foreach_is_one_kernel(rng):
    g = record(update, (), (), (), (), dtype=pd.float32)
    lists = [[pd.tensor(rng.standard_normal(s).astype(np.float32)) for s in [(17, 3), (5,), (40,)] * 10] for _ in range(3)]
    before = C.exec_stats()
    params, moments = C.foreach(g, lists, [pd.tensor(0.1)])
    C.evaluate(params + moments)
    after = C.exec_stats()
    assert after["kernels"] + after["natives"] - before["kernels"] - before["natives"] == 1


def scalars_alone(p, mu, nu):
    scale = mu * nu + 1
    return pd.where(mu == 1, p, p * scale), p * (mu / nu), mu - nu


@pytest.mark.parametrize("mu", [1.0, 0.25])
def test_foreach_computes_with_its_shared_scalars_alone(mu, rng):
    g = record(scalars_alone, (), (), (), dtype=pd.float32)
    segments = [pd.tensor(rng.standard_normal(s).astype(np.float32)) for s in [(3,), (2, 2), (), (40,)]]
    shared = [pd.tensor(mu), pd.tensor(3.0)]
    results = C.foreach(g, [segments], shared)
    for k, p in enumerate(segments):
        first, second, third = scalars_alone(p, *shared)
        same_bits(results[0][k], first)
        same_bits(results[1][k], second)
        same_bits(results[2][k], third.expand(p.shape))


def test_foreach_refuses_what_it_cannot_run():
    with pytest.raises(RuntimeError, match=r"\[foreach\].*elementwise"):
        C.foreach(record(lambda x: x * x.sum(0), (3,), dtype=pd.float32), [[pd.ones(3)]], [])
    g = record(update, (), (), (), (), dtype=pd.float32)
    with pytest.raises(ValueError, match=r"\[foreach\].*length"):
        C.foreach(g, [[pd.ones(2)], [pd.ones(2)], []], [0.1])
    with pytest.raises(ValueError, match=r"\[foreach\].*shape"):
        C.foreach(g, [[pd.ones(2)], [pd.ones(3)], [pd.ones(2)]], [0.1])
    with pytest.raises(TypeError, match=r"\[foreach\]"):
        C.foreach(g, [[pd.ones(2)], [pd.ones(2)]], [0.1])


# ---- walks over placeholders


def test_substitute_records_the_graph_on_other_operands(rng):
    x = C.make_param((3,), pd.float64, pd.get_default_device())
    y = (x * x).sin().sum() + x[0]
    v = t64(rng.standard_normal(3))
    (got,) = C.substitute([y], [x], [v])
    same_bits(got, (v * v).sin().sum() + v[0])


def test_batch_tells_which_results_have_the_axis(rng):
    x, w = C.make_param((3,), pd.float64, pd.get_default_device()), t64(rng.standard_normal(3))
    data = t64(rng.standard_normal((5, 3)))
    (moving, still), batched = C.batch([(x * w).sum(), w * 2], [x], [data], [True], 5)
    assert batched == [True, False]
    np.testing.assert_allclose(array(moving), array(data) @ array(w), rtol=1e-14)
    same_bits(still, w * 2)


def test_verify_accepts_what_users_record(rng):
    x = pd.tensor(rng.standard_normal((4, 5)), requires_grad=True)
    y = (x.T @ x).softmax(0).cumsum(1)[1:].flip(0)
    (g,) = pd.autograd.grad(y.sum(), x, create_graph=True)
    C.verify([y, g])
