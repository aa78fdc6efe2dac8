"""Layers, activations and initialisation, against PyTorch."""

import math

import numpy as np
import pytest

import pydiff as pd
from pydiff import nn
from pydiff.nn import functional as F

RNG = np.random.default_rng(0)
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 25.0, -25.0, 3.0], "float32")
WIDE = (RNG.standard_normal((7, 12)) * 4).astype("float32")


def load(layer, oracle):
    """Give `oracle` the parameters of `layer`."""
    import torch

    state = {k: torch.tensor(v.numpy()) for k, v in layer.state_dict().items()}
    oracle.load_state_dict(state)
    return layer, oracle


@pytest.mark.parametrize("shape", [(5, 6), (6,), (2, 3, 6), (0, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(torch, both, compare, shape, bias):
    layer, oracle = load(nn.Linear(6, 4, bias=bias), torch.nn.Linear(6, 4, bias=bias))
    x, tx = both(RNG.standard_normal(shape).astype("float32"))
    y, ty = layer(x), oracle(tx)
    compare(y, ty, ulps=16)
    (y * y).sum().backward()
    (ty * ty).sum().backward()
    compare(x.grad, tx.grad, ulps=32)
    compare(layer.weight.grad, oracle.weight.grad, ulps=32)
    if bias:
        compare(layer.bias.grad, oracle.bias.grad, ulps=32)


@pytest.mark.parametrize(
    "shape, weight, bias, text",
    [
        ((3, 5), (4, 6), None, r"input \(3, 5\), weight \(4, 6\); try in_features=5"),
        ((), (4, 6), None, "in_features"),
        ((3, 6), (4, 6), (5,), r"bias \(5,\); try a bias of shape \(4,\)"),
        ((3, 6), (2, 4, 5), None, "two axes"),
    ],
)
def test_linear_names_the_shapes(shape, weight, bias, text):
    bias = None if bias is None else pd.zeros(bias)
    with pytest.raises(ValueError, match=r"^\[linear\] .*; got .*" + text):
        F.linear(pd.zeros(shape), pd.zeros(weight), bias)


def test_linear_initial_bounds():
    layer = nn.Linear(64, 500)
    for parameter in (layer.weight, layer.bias):
        values = parameter.detach().numpy()
        assert np.abs(values).max() <= 1 / 8
        # The standard deviation of uniform(-b, b) is b/sqrt(3).
        assert abs(values.std() * math.sqrt(3) * 8 - 1) < 0.15
    assert nn.Linear(2, 3, dtype=pd.float64).weight.dtype == pd.float64
    assert tuple(nn.Linear(0, 3)(pd.zeros(2, 0)).shape) == (2, 3)
    with pytest.raises(ValueError, match=r"\[Linear\]"):
        nn.Linear(-1, 2)


ACTIVATIONS = {
    "relu": lambda f, x: f.relu(x),
    "silu": lambda f, x: f.silu(x),
    "gelu": lambda f, x: f.gelu(x),
    "gelu_tanh": lambda f, x: f.gelu(x, approximate="tanh"),
    "leaky_relu": lambda f, x: f.leaky_relu(x),
    "leaky_relu_slope": lambda f, x: f.leaky_relu(x, 0.3),
    "softplus": lambda f, x: f.softplus(x),
    "softplus_beta": lambda f, x: f.softplus(x, 2.0, 5.0),
    "sigmoid": lambda f, x: f.sigmoid(x),
    "tanh": lambda f, x: f.tanh(x),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(torch, both, compare, name):
    function = ACTIVATIONS[name]
    x, tx = both(WIDE)
    y, ty = function(F, x), function(torch.nn.functional, tx)
    compare(y, ty, ulps=8)
    y.sum().backward()
    ty.sum().backward()
    compare(x.grad, tx.grad, ulps=16)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_special_values(torch, both, compare, name):
    function = ACTIVATIONS[name]
    # PyTorch's vectorised gelu(inf) is NaN.
    values = SPECIAL[~np.isinf(SPECIAL)] if name == "gelu" else SPECIAL
    x, tx = both(values, grad=False)
    compare(function(F, x), function(torch.nn.functional, tx), ulps=8)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "softplus", "softplus_beta"])
def test_derivative_at_the_seams(torch, both, compare, name):
    function = ACTIVATIONS[name]
    x, tx = both(SPECIAL[~np.isnan(SPECIAL)])
    (function(F, x) * 2).sum().backward()
    (function(torch.nn.functional, tx) * 2).sum().backward()
    compare(x.grad, tx.grad, ulps=8)


@pytest.mark.parametrize(
    "layer, name",
    [
        (nn.ReLU(), "relu"),
        (nn.SiLU(), "silu"),
        (nn.GELU(), "gelu"),
        (nn.GELU("tanh"), "gelu_tanh"),
        (nn.LeakyReLU(0.3), "leaky_relu_slope"),
        (nn.Softplus(2.0, 5.0), "softplus_beta"),
        (nn.Sigmoid(), "sigmoid"),
        (nn.Tanh(), "tanh"),
    ],
)
def test_activation_modules_are_their_functions(layer, name):
    x = pd.tensor(WIDE)
    assert np.array_equal(layer(x).numpy(), ACTIVATIONS[name](F, x).numpy())


@pytest.mark.parametrize("layer", [nn.ReLU(True), nn.LeakyReLU(0.1, True), nn.SiLU(True)])
def test_inplace_activation(layer):
    leaf = pd.tensor(WIDE, requires_grad=True)
    x = leaf * 1
    y = layer(x)
    assert np.array_equal(x.detach().numpy(), y.detach().numpy())
    layer.inplace = False
    twin = pd.tensor(WIDE, requires_grad=True)
    y.sum().backward()
    layer(twin).sum().backward()
    assert np.array_equal(leaf.grad.numpy(), twin.grad.numpy())


def test_gelu_refuses_an_unknown_form():
    with pytest.raises(ValueError, match=r"\[gelu\] .*'erf'; try 'none' or 'tanh'"):
        F.gelu(pd.ones(1), "erf")


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_softmax(torch, both, compare, name, dim, offset):
    x, tx = both(WIDE + np.float32(offset))
    weights, tweights = both(RNG.standard_normal(WIDE.shape).astype("float32"), grad=False)
    y, ty = getattr(F, name)(x, dim), getattr(torch, name)(tx, dim)
    compare(y, ty, ulps=8)
    (y * weights).sum().backward()
    (ty * tweights).sum().backward()
    compare(x.grad, tx.grad, ulps=32)


def test_softmax_modules_and_dtype():
    x = pd.tensor(WIDE)
    assert np.array_equal(nn.Softmax(1)(x).numpy(), F.softmax(x, 1).numpy())
    assert np.array_equal(nn.LogSoftmax(1)(x).numpy(), F.log_softmax(x, 1).numpy())
    assert F.softmax(x, 1, dtype=pd.float64).dtype == pd.float64
    masked = pd.tensor([[0.0, -math.inf, 0.0]])
    assert F.softmax(masked, -1).tolist() == [[0.5, 0.0, 0.5]]


@pytest.mark.parametrize(
    "shape, normalized", [((5, 12), 12), ((2, 5, 12), (12,)), ((4, 3, 12), [3, 12]), ((12,), 12)]
)
@pytest.mark.parametrize("affine, bias", [(True, True), (True, False), (False, True)])
def test_layer_norm(torch, both, compare, shape, normalized, affine, bias):
    options = {"eps": 1e-4, "elementwise_affine": affine, "bias": bias}
    layer = nn.LayerNorm(normalized, **options)
    oracle = torch.nn.LayerNorm(normalized, **options)
    if affine:
        assert np.all(layer.weight.detach().numpy() == 1)
        with pd.no_grad():
            layer.weight.uniform_(0.5, 2.0)
    load(layer, oracle)
    x, tx = both(RNG.standard_normal(shape).astype("float32") * 3 + 5)
    w, tw = both(RNG.standard_normal(shape).astype("float32"), grad=False)
    y, ty = layer(x), oracle(tx)
    compare(y, ty, ulps=16)
    (y * w).sum().backward()
    (ty * tw).sum().backward()
    compare(x.grad, tx.grad, ulps=64)
    for p, q in zip(layer.parameters(), oracle.parameters()):
        compare(p.grad, q.grad, ulps=64)


def test_layer_norm_of_a_constant_row_is_the_bias():
    layer = nn.LayerNorm(4)
    nn.init.constant_(layer.bias, 3.0)
    assert np.all(layer(pd.full((2, 4), 7.0)).detach().numpy() == 3.0)


def test_layer_norm_names_the_shapes():
    with pytest.raises(ValueError, match=r"\[layer_norm\] .*input \(3, 5\).*\(4,\); try"):
        nn.LayerNorm(4)(pd.zeros(3, 5))
    with pytest.raises(ValueError, match=r"\[layer_norm\]"):
        F.layer_norm(pd.zeros(3), (2, 3))


def test_dropout():
    pd.manual_seed(0)
    layer = nn.Dropout(0.25)
    x = pd.ones(200, 200, requires_grad=True)
    y = layer(x)
    values = y.detach().numpy()
    kept = values != 0
    assert np.all(values[kept] == np.float32(1 / 0.75))
    # Five standard deviations of the share that is kept.
    assert abs(kept.mean() - 0.75) < 5 * math.sqrt(0.75 * 0.25 / kept.size)
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), values)  # the same mask going back
    assert not np.array_equal(layer(x).detach().numpy(), values)
    pd.manual_seed(0)
    assert np.array_equal(layer(x).detach().numpy(), values)
    assert layer.eval()(x) is x


def test_dropout_edges():
    x = pd.ones(3)
    assert F.dropout(x, 0.0) is x
    assert F.dropout(x, 1.0).tolist() == [0.0, 0.0, 0.0]
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 1.0, inplace=True) is x and x.tolist() == [0.0, 0.0, 0.0]
    # What is dropped is gone, even if it was not finite.
    assert np.all(F.dropout(pd.full((50,), math.inf), 0.5).numpy() >= 0)
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"\[dropout\] p is a probability"):
            F.dropout(x, p)
        with pytest.raises(ValueError, match=r"\[Dropout\]"):
            nn.Dropout(p)


@pytest.mark.parametrize("dims", [(0, -1), (1, -1), (0, 1), (1, 2), (-2, -1), (1, 1)])
def test_flatten(torch, dims):
    shape = (2, 3, 4)
    expected = torch.flatten(torch.zeros(shape), *dims).shape
    assert tuple(F.flatten(pd.zeros(shape), *dims).shape) == tuple(expected)
    assert tuple(nn.Flatten(*dims)(pd.zeros(shape)).shape) == tuple(expected)


def test_flatten_edges():
    assert tuple(F.flatten(pd.tensor(1.0)).shape) == (1,)
    assert tuple(nn.Flatten()(pd.zeros(0, 3, 2)).shape) == (0, 6)
    with pytest.raises(IndexError, match=r"\[flatten\] .*got 3 for shape \(2, 2\)"):
        F.flatten(pd.zeros(2, 2), 3)
    with pytest.raises(ValueError, match=r"\[flatten\]"):
        F.flatten(pd.zeros(2, 2), 1, 0)


def test_one_hot(torch):
    classes = [[0, 2], [1, 1]]
    for count in (-1, 3, 5):
        rows = F.one_hot(pd.tensor(classes), count)
        expected = torch.nn.functional.one_hot(torch.tensor(classes), count)
        assert rows.dtype == pd.int64 and rows.tolist() == expected.tolist()
    with pytest.raises(TypeError, match=r"\[one_hot\]"):
        F.one_hot(pd.tensor([1.0]))
    for classes, count in (([1], 0), ([], -1)):
        with pytest.raises(ValueError, match=r"\[one_hot\]"):
            F.one_hot(pd.tensor(classes, dtype=pd.int64), count)


def test_gains(torch):
    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        ours, theirs = nn.init.calculate_gain(name), torch.nn.init.calculate_gain(name)
        assert ours == pytest.approx(theirs, rel=1e-15)
    assert nn.init.calculate_gain("leaky_relu", 2) == pytest.approx(math.sqrt(0.4))
    for bad in (("sinus", None), ("leaky_relu", "steep")):
        with pytest.raises(ValueError, match=r"\[calculate_gain\]"):
            nn.init.calculate_gain(*bad)


@pytest.mark.parametrize(
    "name, options, bound",
    [
        ("kaiming_uniform_", {"nonlinearity": "relu"}, math.sqrt(6 / 900)),
        ("kaiming_uniform_", {"mode": "fan_out", "a": 1}, math.sqrt(3 / 450)),
        ("xavier_uniform_", {"gain": 2.0}, 2 * math.sqrt(6 / 1350)),
        ("uniform_", {"a": -2.0, "b": 2.0}, 2.0),
    ],
)
def test_uniform_init(name, options, bound):
    pd.manual_seed(1)
    p = nn.Parameter(pd.empty(50, 100, 9))
    assert getattr(nn.init, name)(p, **options) is p
    values = p.detach().numpy()
    assert bound * 0.99 < np.abs(values).max() <= bound * (1 + 1e-6)
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert p.is_leaf and p.requires_grad


@pytest.mark.parametrize(
    "name, options, std",
    [
        ("kaiming_normal_", {"nonlinearity": "relu"}, math.sqrt(2 / 900)),
        ("xavier_normal_", {}, math.sqrt(2 / 1350)),
        ("normal_", {"mean": 0.0, "std": 0.02}, 0.02),
    ],
)
def test_normal_init(name, options, std):
    pd.manual_seed(2)
    p = nn.Parameter(pd.empty(50, 100, 9))
    assert getattr(nn.init, name)(p, **options) is p
    values = p.detach().numpy()
    assert values.std() == pytest.approx(std, rel=0.02)
    assert abs(values.mean()) < 5 * std / math.sqrt(values.size)


def test_constant_init():
    p = nn.Parameter(pd.empty(3))
    assert nn.init.ones_(p).tolist() == [1.0] * 3
    assert nn.init.zeros_(p).tolist() == [0.0] * 3
    assert nn.init.constant_(p, 2.5).tolist() == [2.5] * 3
    with pytest.raises(ValueError, match=r"\[xavier_uniform_\] .*got shape \(3,\)"):
        nn.init.xavier_uniform_(p)
    with pytest.raises(ValueError, match=r"\[kaiming_normal_\] unknown mode"):
        nn.init.kaiming_normal_(pd.empty(2, 2), mode="fan")
