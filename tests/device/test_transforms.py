"""grad, vjp, jvp, vmap, jacrev, jacfwd, hessian: over pytrees, in any nesting, against torch.func and algebra."""

from collections import OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest
from oracle import array, same_bits

import pydiff as pd

smoke = pytest.mark.smoke
F64 = pd.float64


def t64(x):
    return pd.tensor(np.asarray(x, np.float64))


def near(actual, expected, eps=64):
    actual, expected = array(actual), array(expected)
    assert actual.shape == expected.shape
    bound = eps * np.finfo(float).eps * max(np.abs(expected).max(initial=0), 1)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def network(m):
    """A function of (w, b, x) with reductions, products, a gather and a selection, in either library."""

    def f(w, b, x):
        h = (x @ w + b).tanh()
        h = m.where(h > 0, h * h, h.sin())
        return (h.softmax(-1) * h).sum(-1) + (h[..., 0] * x[..., 1]).exp()

    return f


@pytest.fixture
def arguments(rng):
    return [rng.standard_normal(s) * 0.7 for s in ((3, 4), (4,), (5, 3))]


# ---- each transform


@smoke
def test_grad_over_pytrees():
    Pair = namedtuple("Pair", "left right")
    tree = {"a": t64([1.0, 2.0]), "b": [t64(3.0), Pair(t64([4.0]), None)], "n": pd.tensor([1, 2])}

    def f(p):
        return (p["a"] ** 2).sum() * p["b"][0] + p["b"][1].left.sum() * p["n"].sum().double()

    g = pd.grad(f)(tree)
    assert isinstance(g["b"][1], Pair) and g["b"][1].right is None
    near(g["a"], [6.0, 12.0])
    near(g["b"][0], 5.0)
    near(g["b"][1].left, [3.0])
    assert array(g["n"]).tolist() == [0, 0]


@smoke
def test_value_and_grad_argnums_and_aux():
    f = lambda x, y: ((x * y).sum(), {"product": x * y})  # noqa: E731
    x, y = t64([1.0, 2.0]), t64([3.0, 4.0])
    (value, aux), (gx, gy) = pd.value_and_grad(f, argnums=(0, 1), has_aux=True)(x, y)
    assert value.item() == 11.0 and aux["product"].tolist() == [3.0, 8.0]
    same_bits(gx, y)
    same_bits(gy, x)
    g, aux = pd.grad(f, argnums=-1, has_aux=True)(x, y)
    same_bits(g, x)
    with pytest.raises(ValueError, match=r"\[grad\].*scalar"):
        pd.grad(lambda x: x * 2)(x)
    with pytest.raises(ValueError, match="argnums"):
        pd.grad(lambda x: x.sum(), argnums=1)(x)


def test_grad_leaves_the_arguments_alone():
    x = t64([1.0, 2.0]).requires_grad_()
    pd.grad(lambda v: (v * v).sum())(x)
    assert x.grad is None and x.is_leaf
    y = t64([1.0])
    pd.grad(lambda v: v.sum())(y)
    assert not y.requires_grad


def test_grad_of_a_function_that_reads_a_taped_value():
    """The inner gradient is part of the outer tape."""
    w = t64([2.0, 3.0]).requires_grad_()
    g = pd.grad(lambda x: (x**2 * w).sum())(t64([1.0, 4.0]))
    g.sum().backward()
    near(w.grad, [2.0, 8.0])


@smoke
def test_vjp_and_jvp_are_transposes(arguments, rng):
    f = network(pd)
    x = tuple(map(pd.tensor, arguments))
    y, pull = pd.vjp(f, *x)
    u = rng.standard_normal(tuple(y.shape))
    v = [rng.standard_normal(a.shape) for a in arguments]
    same, pushed = pd.jvp(f, x, tuple(map(pd.tensor, v)))
    same_bits(same, y)
    left, right = (u * array(pushed)).sum(), sum((array(p) * t).sum() for p, t in zip(pull(pd.tensor(u)), v))
    near(left, right, 256)
    again = pull(pd.tensor(u))  # any number of times
    same_bits(again[0], pull(pd.tensor(u))[0])


def test_jvp_over_pytrees_and_aux():
    f = lambda p: ({"s": p["x"].sin(), "k": p["k"]}, "note")  # noqa: E731
    y, t, aux = pd.jvp(f, ({"x": t64([0.0, 1.0]), "k": t64(2.0)},), ({"x": t64([1.0, 0.0]), "k": t64(5.0)},), has_aux=True)
    near(t["s"], [1.0, 0.0])
    assert t["k"].item() == 5.0 and aux == "note" and y["k"].item() == 2.0


def test_tangent_of_what_does_not_depend_is_zero():
    y, t = pd.jvp(lambda x: (x * 0 + 1, pd.ones(3)), (t64(2.0),), (t64(1.0),))
    assert t[0].item() == 0.0 and t[1].tolist() == [0.0, 0.0, 0.0]
    (g,) = pd.vjp(lambda x: pd.ones(3), t64(2.0))[1](pd.ones(3))
    assert g.item() == 0.0


# ---- against torch.func


# PyTorch's forward mode compiles decompositions with what PyTorch deprecates
torch_jit = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")


@torch_jit
@pytest.mark.parametrize("which", ["jacrev", "jacfwd"])
def test_jacobians_against_torch(which, torch, arguments):
    ours = getattr(pd, which)(network(pd), argnums=(0, 1, 2))(*map(pd.tensor, arguments))
    theirs = getattr(torch.func, which)(network(torch), argnums=(0, 1, 2))(*map(torch.tensor, arguments))
    for a, b in zip(ours, theirs):
        near(a, b, 256)


@torch_jit
def test_hessian_against_torch(torch, arguments):
    w, b, x = arguments
    f = lambda m, x: lambda w: (network(m)(w, m.tensor(b), m.tensor(x)) ** 2).sum()  # noqa: E731
    near(pd.hessian(f(pd, x))(pd.tensor(w)), torch.func.hessian(f(torch, x))(torch.tensor(w)), 2048)


def test_per_sample_gradients_against_torch(torch, arguments):
    w, b, x = arguments
    f = lambda m: lambda w, b, x: (network(m)(w, b, x) ** 2).sum()  # noqa: E731
    ours = pd.vmap(pd.grad(f(pd), argnums=(0, 1)), in_dims=(None, None, 0))(*map(pd.tensor, arguments))
    theirs = torch.func.vmap(torch.func.grad(f(torch), argnums=(0, 1)), in_dims=(None, None, 0))(*map(torch.tensor, arguments))
    for a, t in zip(ours, theirs):
        near(a, t, 256)
    for i in range(5):
        g = pd.grad(f(pd))(pd.tensor(w), pd.tensor(b), pd.tensor(x[i]))
        near(ours[0][i], g)


# ---- nesting: every pair of transforms of a scalar function of one number, against its third derivatives


def f(x):
    return (x * x.sin()).exp()


def symbolic(x):
    """f, f', f'' of exp(x sin x)."""
    u, du, ddu = x * np.sin(x), np.sin(x) + x * np.cos(x), 2 * np.cos(x) - x * np.sin(x)
    e = np.exp(u)
    return e, e * du, e * (du * du + ddu)


DERIVATIVES = {
    "grad": lambda g: pd.grad(g),
    "jvp": lambda g: lambda x: pd.jvp(g, (x,), (pd.ones_like(x),))[1],
    "vjp": lambda g: lambda x: pd.vjp(g, x)[1](pd.ones_like(x))[0],
    "jacrev": lambda g: pd.jacrev(g),
    "jacfwd": lambda g: pd.jacfwd(g),
    "vmap of grad": lambda g: lambda x: pd.vmap(pd.grad(g))(x.expand(3))[1],
    "grad of vmap": lambda g: lambda x: pd.grad(lambda v: pd.vmap(g)(v).sum())(x.expand(3))[1],
    "tape": lambda g: lambda x: tape(g, x),
}


def tape(g, x):
    leaf = x * 1.0 if x.requires_grad else x.clone().requires_grad_()
    (d,) = pd.autograd.grad(g(leaf), leaf, create_graph=True)
    return d


@pytest.mark.parametrize("outer", DERIVATIVES)
@pytest.mark.parametrize("inner", DERIVATIVES)
@smoke
def test_every_pair_of_derivatives_nests(outer, inner):
    if "tape" in (outer, inner) and any("vmap" in o or "jac" in o for o in (outer, inner)):
        pytest.skip("leaves of the tape are concrete; a transform's placeholder is none")
    x = t64(0.8)
    near(DERIVATIVES[outer](DERIVATIVES[inner](f))(x), np.asarray(symbolic(0.8)[2]))


@pytest.mark.parametrize("name", DERIVATIVES)
def test_third_order_of_one_kind(name):
    if name == "tape":
        pytest.skip("see above")
    d = DERIVATIVES[name]
    h = 1e-5
    expected = (symbolic(0.8 + h)[2] - symbolic(0.8 - h)[2]) / (2 * h)
    got = d(d(d(f)))(t64(0.8)).item()
    assert abs(got - expected) < 1e-7 * abs(expected)


def test_jacfwd_of_jacrev_is_jacrev_of_jacfwd(rng):
    w = pd.tensor(rng.standard_normal((3, 3)))
    g = lambda x: (w @ x).tanh() * x  # noqa: E731
    x = t64(rng.standard_normal(3))
    a = pd.jacfwd(pd.jacrev(g))(x)
    for other in (pd.jacrev(pd.jacfwd(g)), pd.jacfwd(pd.jacfwd(g)), pd.jacrev(pd.jacrev(g))):
        near(other(x), a, 128)
    assert tuple(a.shape) == (3, 3, 3)


def test_hvp_is_the_hessian_times_a_vector(rng):
    g = lambda x: (x.sin() * x.flip(0)).exp().sum()  # noqa: E731
    x, v = t64(rng.standard_normal(4)), t64(rng.standard_normal(4))
    value, (product,) = pd.hvp(g, (x,), (v,))
    near(product, array(pd.hessian(g)(x)) @ array(v), 128)
    near(value, array(g(x)))


# ---- perturbation confusion: an inner derivative must not see the outer one's perturbation


@smoke
@pytest.mark.parametrize("outer", ["grad", "jvp", "vjp", "jacfwd", "jacrev"])
@pytest.mark.parametrize("inner", ["grad", "jvp", "vjp", "jacfwd", "jacrev"])
def test_no_perturbation_confusion(outer, inner):
    # Siskind and Pearlmutter 2005: d/dx (x * d/dy (x + y)) = 1 at any x
    d, e = DERIVATIVES[outer], DERIVATIVES[inner]
    assert d(lambda x: x * e(lambda y: x + y)(t64(1.0)))(t64(1.0)).item() == 1.0
    # d/dx (x * d/dy (x * y)) = 2 x
    assert d(lambda x: x * e(lambda y: x * y)(t64(2.0)))(t64(3.0)).item() == 6.0


def test_a_closure_over_the_outer_variable_at_the_same_point():
    g = pd.grad(lambda x: pd.grad(lambda y: y * x * x)(x))  # d/dx x^2 = 2x
    assert g(t64(5.0)).item() == 10.0
    j = DERIVATIVES["jvp"]
    assert j(lambda x: j(lambda y: y * x * x)(x))(t64(5.0)).item() == 10.0


def test_values_that_escape_an_inner_transform():
    kept = []

    def inner(y):
        kept.append(y * 2)
        return y * y

    pd.jvp(inner, (t64(3.0),), (t64(1.0),))
    _, t = pd.jvp(lambda x: x * kept[0], (t64(2.0),), (t64(1.0),))
    assert t.item() == 6.0


# ---- vmap


AXES = [(0, 0, 0), (1, 0, 0), (0, None, 1), (None, 0, -1), (-1, -1, 1)]


@pytest.mark.parametrize("axes", AXES)
@smoke
def test_vmap_axes_against_a_loop(axes, rng):
    a_axis, b_axis, out = axes
    a, b = rng.standard_normal((4, 3)), rng.standard_normal((3,))
    stacked = [np.stack([x * (i + 1) for i in range(5)], 0 if k is None else k) if k is not None else x
               for x, k in ((a, a_axis), (b, b_axis))]  # fmt: skip
    g = lambda p, q: (p @ q).tanh().unsqueeze(1) * q.sum()  # noqa: E731
    got = pd.vmap(g, in_dims=(a_axis, b_axis), out_dims=out)(*map(pd.tensor, stacked))
    loop = [array(g(pd.tensor(a * (i + 1) if a_axis is not None else a), pd.tensor(b * (i + 1) if b_axis is not None else b)))
            for i in range(5)]  # fmt: skip
    near(got, np.stack(loop, out))


VMAPPED = {
    "reduce": lambda x, i: x.sum(0) * x.amax(1).sum() + x.mean(),
    "move": lambda x, i: x.T.reshape(-1)[::2].flip(0),
    "expand": lambda x, i: x[0].expand(2, 4) * x[:, :1].sum(),
    "slice": lambda x, i: x[1:, ::2].unsqueeze(0).squeeze(0),
    "index": lambda x, i: x[i],
    "index both": lambda x, i: x[i, i],
    "gather": lambda x, i: x.gather(0, i.unsqueeze(1).expand(2, 4)),
    "take": lambda x, i: x.index_select(0, i),
    "scatter": lambda x, i: x.scatter_add(0, i.unsqueeze(1).expand(2, 4), x[:2]),
    "matmul": lambda x, i: x @ x.T,
    "vector": lambda x, i: x @ x[0],
    "softmax": lambda x, i: x.softmax(0).log_softmax(1),
    "cumsum": lambda x, i: x.cumsum(0),
    "cat": lambda x, i: pd.cat([x, x * 2], 1),
    "stack": lambda x, i: pd.stack([x[0], x[1]], 1),
    "where": lambda x, i: pd.where(x > 0, x, 0.0),
    "write": lambda x, i: written(x),
    "argmax": lambda x, i: x.argmax(0),
    "prod": lambda x, i: x.prod(1),
    "constant": lambda x, i: pd.ones(2) * 3,
    "pad": lambda x, i: pd._C._pad(x, (1, 0), (0, 2), 1.0),
    "cast": lambda x, i: (x * 3).to(pd.int64).to(pd.float64),
    "any": lambda x, i: (x > 1).any(0),
}


def written(x):
    y = x * 1.0
    y[0] = x[1] * 2
    y[:, 1] += 1.0
    return y


@pytest.mark.parametrize("name", VMAPPED)
@smoke
def test_vmap_of_each_family_against_a_loop(name, rng):
    g = VMAPPED[name]
    x, i = rng.standard_normal((5, 3, 4)), rng.integers(0, 3, (5, 2))
    tx, ti = pd.tensor(x), pd.tensor(i)
    loop = lambda k, l: array(g(pd.tensor(x[k]), pd.tensor(i[l])))  # noqa: E731
    near(pd.vmap(g)(tx, ti), np.stack([loop(k, k) for k in range(5)]))
    near(pd.vmap(g, in_dims=(0, None))(tx, ti[2]), np.stack([loop(k, 2) for k in range(5)]))
    near(pd.vmap(g, in_dims=(None, 0))(tx[2], ti), np.stack([loop(2, k) for k in range(5)]))
    twice = pd.vmap(pd.vmap(g, in_dims=(None, 0)), in_dims=(0, None))(tx, ti)
    near(twice, np.stack([np.stack([loop(k, l) for l in range(5)]) for k in range(5)]))


@pytest.mark.parametrize("name", [n for n in VMAPPED if n not in ("argmax", "constant", "cast", "any")])
def test_derivatives_under_vmap(name, rng):
    g = VMAPPED[name]
    x, i = rng.standard_normal((3, 3, 4)), rng.integers(0, 3, (3, 2))
    tx, ti = pd.tensor(x), pd.tensor(i)
    h = lambda v, k: (g(v, k) ** 2).sum()  # noqa: E731
    loop = np.stack([array(pd.grad(h)(pd.tensor(x[k]), pd.tensor(i[k]))) for k in range(3)])
    near(pd.vmap(pd.grad(h))(tx, ti), loop)
    near(pd.grad(lambda v: pd.vmap(h)(v, ti).sum())(tx), loop)
    v = rng.standard_normal((3, 3, 4))
    push = lambda a, b, c: pd.jvp(lambda z: g(z, b), (a,), (c,))[1]  # noqa: E731
    loop = np.stack([array(push(*map(pd.tensor, (x[k], i[k], v[k])))) for k in range(3)])
    near(pd.vmap(push)(tx, ti, pd.tensor(v)), loop)
    near(pd.jvp(lambda z: pd.vmap(g)(z, ti), (tx,), (pd.tensor(v),))[1], loop)


def test_vmap_over_pytrees():
    f = lambda p, s: {"y": p["w"] * s, "z": (p["w"].sum(), s)}  # noqa: E731
    out = pd.vmap(f, in_dims=({"w": 1}, None))({"w": t64([[1.0, 2.0, 3.0]])}, t64(10.0))
    assert out["y"].tolist() == [[10.0], [20.0], [30.0]]
    assert out["z"][0].tolist() == [1.0, 2.0, 3.0] and out["z"][1].tolist() == [10.0] * 3


def test_dicts_keep_their_order():
    p = {"w": t64([1.0, 2.0]), "b": t64(3.0)}
    f = lambda p: (p["w"] ** 2).sum() * p["b"]  # noqa: E731
    assert list(pd.grad(f)(p)) == list(pd.jacrev(f)(p)) == ["w", "b"]
    assert list(pd.vmap(lambda x: {"z": x, "a": {"y": x, "x": x}}["a"])(t64([1.0]))) == ["y", "x"]
    assert list(pd.tree.tree_map(lambda a, b: (a, b), p, {"b": 0, "w": 1}).items())[1][1] == (p["b"], 0)


def test_dicts_keep_their_kind():
    f = lambda p: (p["w"] ** 2).sum() * p["b"]  # noqa: E731
    for made in (lambda d: defaultdict(list, d), lambda d: defaultdict(None, d), OrderedDict):
        p = made({"w": t64([1.0, 2.0]), "b": t64(3.0)})
        g = pd.grad(f)(p)
        assert type(g) is type(p) and list(g) == ["w", "b"] and g["w"].tolist() == [6.0, 12.0]
        assert getattr(g, "default_factory", None) is getattr(p, "default_factory", None)
        pd.jvp(f, (p,), (g,))
    assert pd.tree.tree_map(str, defaultdict(list, a=1))["none"] == []


def test_vmap_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"\[vmap\].*one size"):
        pd.vmap(lambda a, b: a)(pd.ones(2), pd.ones(3))
    with pytest.raises(ValueError, match="batch axis"):
        pd.vmap(lambda a: a)(pd.tensor(1.0))
    with pytest.raises(RuntimeError, match="where"):
        pd.vmap(lambda a: a if a > 0 else -a)(pd.ones(3))
    with pytest.raises(ValueError, match="out_dims"):
        pd.vmap(lambda a: a, out_dims=None)(pd.ones(3))


def part_written(c, x):
    c[0] = x[0]


def view_written(c, x):
    c[1:].copy_(x[1:])


def data_replaced(c, x):
    c.data = x


def grad_replaced(c, x):
    c.grad = x


WRITES = [
    lambda c, x: c.copy_(x), lambda c, x: c.add_(x), lambda c, x: c.__iadd__(x), part_written, view_written, data_replaced,
    grad_replaced, lambda c, x: c.fill_(x.sum()), lambda c, x: c.data.copy_(x),
]  # fmt: skip


@pytest.mark.parametrize("write", WRITES, ids=range(len(WRITES)))
def test_vmap_writes_into_nothing_outside(write):
    c = pd.zeros(3)
    view = c[:]
    with pytest.raises(RuntimeError, match=r"^\[\w+\] a tensor from outside vmap is changed in place .*; got .*; try .*clone"):
        pd.vmap(lambda x: (write(c, x), x)[1])(pd.ones(2, 3))
    assert c.tolist() == view.tolist() == [0.0] * 3 and c.grad is None
    c.add_(1)
    assert view.tolist() == [1.0] * 3
    with pytest.raises(RuntimeError, match="outside vmap"):  # the outer call's tensor, by the inner one's examples
        pd.vmap(lambda x: pd.vmap(lambda y: (x.copy_(y), y)[1])(pd.ones(2, 3)))(pd.ones(2, 3))


def test_vmap_refuses_gradients_of_outside_leaves():
    w = pd.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"^\[backward\] a tensor from outside vmap"):
        pd.vmap(lambda x: ((w * x).sum().backward(), x)[1])(pd.ones(2, 3))
    assert w.grad is None


def test_vmap_writes_into_what_it_made():
    def f(x, y):
        a = pd.zeros(3)
        a[0] = x[0]
        a[1:].add_(y[1:])
        x.mul_(y)  # the placeholder of an argument, by that of another
        b = outside.clone()
        b += x
        inner = pd.vmap(lambda z: x.add_(1) + z)(pd.ones(2))  # the outer call's values, into the outer call's tensor
        return a, b, inner[0, :1]

    outside = t64([1.0, 1.0, 1.0])
    x, y = pd.ones(2, 3), pd.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    a, b, inner = pd.vmap(f)(x, y)
    assert a.tolist() == [[1.0, 2.0, 3.0], [1.0, 5.0, 6.0]]
    assert b.tolist() == [[2.0, 3.0, 4.0], [5.0, 6.0, 7.0]] and inner.tolist() == [[3.0], [6.0]]
    assert outside.tolist() == [1.0] * 3 and x.tolist() == [[1.0] * 3] * 2
    counter = pd.zeros(())
    pd.vmap(lambda x: (counter.add_(1), x)[1])(x)  # the same for the whole batch
    assert counter.item() == 1


@pytest.mark.parametrize("transform", [pd.grad, pd.hessian, pd.jacrev, pd.jacfwd, lambda f: lambda x: pd.jvp(f, (x,), (x,))])
def test_derivatives_write_values_outside(transform):
    c, x = t64([0.0, 0.0]), t64([1.0, 2.0])
    transform(lambda x: (c.copy_(x * 2), (x * c).sum())[1])(x)
    assert c.tolist() == [2.0, 4.0]
    assert pd.jvp(lambda x: x * c, (x,), (pd.zeros_like(x),))[1].tolist() == [0.0, 0.0]  # no tangent of the level that ended


def test_vmap_randomness(rng):
    draws = {
        "uniform": lambda: pd.rand(4), "normal": lambda: pd.randn(4), "integers": lambda: pd.randint(0, 1 << 30, (4,)),
        "dropout": lambda: pd.nn.functional.dropout(pd.arange(1.0, 41.0)), "permutation": lambda: pd.randperm(20),
    }  # fmt: skip
    x = pd.zeros(3, 1)
    for name, draw in draws.items():
        same = pd.vmap(lambda x: draw() + x, randomness="same")(x).tolist()
        different = pd.vmap(lambda x: draw() + x, randomness="different")(x).tolist()
        assert same[0] == same[1] == same[2], name
        assert different[0] != different[1] != different[2] != different[0], name
        with pytest.raises(RuntimeError, match=r"^\[\w+\] a random number is drawn inside; got .*; try "):
            pd.vmap(lambda x: draw() + x, randomness="error")(x)
    inner = lambda x: pd.vmap(lambda y: y + pd.rand(()), randomness="different")(pd.zeros(2))  # noqa: E731
    rows = pd.vmap(inner, randomness="different")(x).tolist()
    assert len({v for row in rows for v in row}) == 6
    rows = pd.vmap(inner, randomness="same")(x).tolist()
    assert rows[0] == rows[1] and rows[0][0] != rows[0][1]
    with pytest.raises(RuntimeError, match=r"^\[poisson\] inside vmap .*try randomness='same'"):
        pd.vmap(lambda x: pd.poisson(x + 3.0), randomness="different")(x)
    w = t64([[1.0, 2.0], [3.0, 4.0]])
    masked = lambda w: (w * pd.rand(2, dtype=F64)).sum()  # noqa: E731
    pd.manual_seed(3)
    grads = pd.vmap(pd.grad(masked), randomness="different")(w)
    pd.manual_seed(3)
    near(grads, pd.rand(2, 2, dtype=F64))


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 7])
def test_vmap_in_chunks_is_vmap(chunk, rng):
    x, y = t64(rng.standard_normal((4, 5))), t64(rng.standard_normal((5, 4)))
    state = {"sizes": 0}

    def f(x, y, z):
        state["sizes"] += 1
        return {"row": x * y, "sum": (x @ y).sin(), "fixed": z * 2, "noise": x + pd.rand(4, dtype=F64)}

    places = {"row": -1, "sum": 0, "fixed": None, "noise": 1}
    pd.manual_seed(1)
    whole = pd.vmap(f, (1, 0, None), places)(x, y, t64([1.0]))
    pd.manual_seed(1)
    parts = pd.vmap(f, (1, 0, None), places, chunk_size=chunk)(x, y, t64([1.0]))
    assert state["sizes"] == 1 + -(-5 // chunk)
    for name in whole:
        same_bits(parts[name], whole[name].numpy())
    w = t64(rng.standard_normal(4)).requires_grad_()
    pd.vmap(lambda x: (x * w).sum(), 1, chunk_size=chunk)(x).sum().backward()
    near(w.grad, x.sum(1))
    nested = pd.vmap(lambda x: pd.vmap(lambda a: a * x.sum(), chunk_size=chunk)(x))(x)
    near(nested, x * x.sum(1, keepdim=True))


def test_vmap_options_are_checked():
    for options in ({"randomness": "some"}, {"chunk_size": 0}, {"chunk_size": 1.5}):
        with pytest.raises(ValueError, match=r"^\[vmap\] .*; got .*; try "):
            pd.vmap(lambda a: a, **options)(pd.ones(3))


def test_vmap_reads_concrete_values_beside_it():
    w = t64([2.0, 3.0]).requires_grad_()
    y = pd.vmap(lambda x: (x * w).sum())(t64([[1.0, 2.0], [3.0, 4.0]]))
    assert y.tolist() == [8.0, 18.0]
    y.sum().backward()
    assert w.grad.tolist() == [4.0, 6.0]


# ---- derivatives of user functions inside transforms


def test_function_under_transforms(rng):
    class Cube(pd.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 3 * x * x * g

    x = t64(rng.standard_normal(4))
    near(pd.grad(lambda v: Cube.apply(v).sum())(x), 3 * array(x) ** 2)
    near(pd.vmap(pd.grad(Cube.apply))(x), 3 * array(x) ** 2)
    near(pd.hessian(lambda v: Cube.apply(v).sum())(x), np.diag(6 * array(x)))
    near(pd.jvp(Cube.apply, (x,), (pd.ones_like(x),))[1], 3 * array(x) ** 2)


def test_linearity_of_the_pullback(rng):
    x, u, v = (t64(rng.standard_normal(4)) for _ in range(3))
    _, pull = pd.vjp(lambda z: z.softmax(0) * z, x)
    near(pull(u + v * 2)[0], array(pull(u)[0]) + 2 * array(pull(v)[0]))
