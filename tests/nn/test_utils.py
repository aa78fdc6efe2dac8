"""`nn.utils` and `pydiff.func` against PyTorch: clipping, vectors, parametrizations, norms of weights, functional calls."""

import copy
import doctest
import importlib
import math
import pickle

import numpy as np
import pytest

import pydiff as pd
from pydiff import nn
from pydiff.nn import utils
from pydiff.nn.utils import parametrizations, parametrize

RNG = np.random.default_rng(11)
GRADS = [RNG.standard_normal(s).astype("float32") for s in ((3, 2), (4,), (), (2, 2))]


@pytest.fixture(autouse=True)
def seeded(torch):
    """The same initial values in every run."""
    torch.manual_seed(0)
    pd.manual_seed(0)


def with_grads(lib, array, scale=1.0):
    made = []
    for g in GRADS:
        p = lib.nn.Parameter(array(np.zeros_like(g)))
        p.grad = array(np.asarray(g * np.float32(scale)))
        made.append(p)
    made[1].grad = None
    return made


# ---- clipping


@pytest.mark.smoke
@pytest.mark.parametrize("norm_type", [2.0, 1, 3.0, math.inf, "inf"])
@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clip_grad_norm(torch, compare, norm_type, max_norm):
    ours, theirs = with_grads(pd, pd.tensor), with_grads(torch, torch.tensor)
    kept = [p.grad for p in ours]
    total = utils.clip_grad_norm_(iter(ours), max_norm, norm_type)
    compare(total, torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type))
    for p, q, grad in zip(ours, theirs, kept, strict=True):
        assert p.grad is grad
        if grad is not None:
            compare(p.grad, q.grad, ulps=8)


def test_clip_grad_norm_of_one_and_of_none(torch):
    p = with_grads(pd, pd.tensor)[0]
    utils.clip_grad_norm_(p, 1e-3)
    assert p.grad.norm().item() == pytest.approx(1e-3, rel=1e-3)
    assert utils.clip_grad_norm_([], 1.0).item() == 0.0
    q = with_grads(pd, pd.tensor)[0].double()
    q = nn.Parameter(q)
    q.grad = pd.ones(3, 2, dtype=pd.float64)
    mixed = [with_grads(pd, pd.tensor)[0], q]
    utils.clip_grad_norm_(mixed, 1.0)
    assert mixed[1].grad.dtype == pd.float64 and mixed[0].grad.dtype == pd.float32
    shared = nn.Parameter(pd.zeros(1))
    shared.grad = pd.tensor([4.0])
    utils.clip_grad_value_([shared, shared], 1.0)
    assert shared.grad.item() == 1.0


def test_a_norm_that_is_not_finite():
    ours = with_grads(pd, pd.tensor, math.inf)
    before = [None if p.grad is None else p.grad.tolist() for p in ours]
    with pytest.raises(RuntimeError, match=r"^\[clip_grad_norm_\] .*not finite; got inf of order 2.0; try"):
        utils.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    assert [None if p.grad is None else p.grad.tolist() for p in ours] == before
    with pytest.raises(RuntimeError, match=r"^\[get_total_norm\]"):
        utils.get_total_norm(ours[0].grad, error_if_nonfinite=True)


def test_clip_grad_value_is_one_launch(torch, compare):
    ours, theirs = with_grads(pd, pd.tensor), with_grads(torch, torch.tensor)
    utils.clip_grad_value_(ours, 0.3)
    torch.nn.utils.clip_grad_value_(theirs, 0.3)
    assert pd._C.print_graph([p.grad for p in ours if p.grad is not None]).count("foreach") >= 1
    for p, q in zip(ours, theirs, strict=True):
        if q.grad is not None:
            compare(p.grad, q.grad)


def test_vectors(torch, compare):
    layer, oracle = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    oracle.load_state_dict({k: torch.tensor(v.numpy()) for k, v in layer.state_dict().items()})
    vector = utils.parameters_to_vector(layer.parameters())
    compare(vector, torch.nn.utils.parameters_to_vector(oracle.parameters()))
    vector.sum().backward()
    assert layer.weight.grad.tolist() == [[1.0] * 3] * 2
    weight = layer.weight
    utils.vector_to_parameters(pd.arange(8.0), layer.parameters())
    assert layer.weight is weight and weight.tolist() == [[0, 1, 2], [3, 4, 5]] and layer.bias.tolist() == [6, 7]
    for call, error in (
        (lambda: utils.vector_to_parameters([1.0], layer.parameters()), TypeError),
        (lambda: utils.vector_to_parameters(pd.ones(7), layer.parameters()), ValueError),
        (lambda: utils.parameters_to_vector([]), ValueError),
    ):
        with pytest.raises(error, match=r"^\[\w+\] .*; got .*; try "):
            call()


def test_skip_init():
    pd.manual_seed(5)
    expected = pd.rand(2).tolist()
    pd.manual_seed(5)
    layer = utils.skip_init(nn.Linear, 3, 4, bias=False)
    assert pd.rand(2).tolist() == expected
    assert tuple(layer.weight.shape) == (4, 3) and isinstance(layer.weight, nn.Parameter)
    with pytest.raises(TypeError, match=r"^\[skip_init\]"):
        utils.skip_init(dict)


# ---- fusion


class Weights(nn.Module):
    def __init__(self, **tensors):
        super().__init__()
        for name, value in tensors.items():
            setattr(self, name, value)


@pytest.mark.parametrize("kind", ["linear", "conv", "transposed"])
@pytest.mark.parametrize("bias", [True, False])
def test_fusion(torch, compare, kind, bias):
    make = {
        "linear": lambda: torch.nn.Linear(3, 4, bias=bias),
        "conv": lambda: torch.nn.Conv2d(3, 4, 2, bias=bias),
        "transposed": lambda: torch.nn.ConvTranspose2d(3, 4, 2, bias=bias),
    }[kind]
    layer, norm = make(), (torch.nn.BatchNorm1d if kind == "linear" else torch.nn.BatchNorm2d)(4)
    for tensor in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
        tensor.uniform_(0.5, 2.0)
    layer.eval(), norm.eval()

    def ours(module, *names):
        found = {n: getattr(module, n) for n in names}
        return Weights(**{n: None if t is None else nn.Parameter(pd.tensor(t.detach().numpy())) for n, t in found.items()})

    mine, its = ours(layer, "weight", "bias"), ours(norm, "running_mean", "running_var", "weight", "bias")
    its.eps = norm.eps
    mine.eval(), its.eval()
    if kind == "linear":
        fused, expected = utils.fuse_linear_bn_eval(mine, its), torch.nn.utils.fuse_linear_bn_eval(layer, norm)
    else:
        turned = kind == "transposed"
        fused = utils.fuse_conv_bn_eval(mine, its, turned)
        expected = torch.nn.utils.fuse_conv_bn_eval(layer, norm, turned)
    for name in ("weight", "bias"):
        compare(getattr(fused, name), getattr(expected, name), ulps=16, scale=4.0)
        assert getattr(fused, name).requires_grad == getattr(expected, name).requires_grad
    assert fused is not mine
    with pytest.raises(ValueError, match="training mode; try eval"):
        utils.fuse_conv_bn_eval(mine, its.train())


def test_memory_formats_of_convolutions():
    class Conv2d(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(pd.randn(2, 3, 4, 5))

    model = nn.Sequential(Conv2d(), nn.Linear(2, 2))
    weight = model[0].weight
    assert utils.convert_conv2d_weight_memory_format(model, pd.channels_last) is model
    assert model[0].weight is weight and weight.is_contiguous(memory_format=pd.channels_last)
    utils.convert_conv3d_weight_memory_format(model, pd.channels_last_3d)


# ---- parametrizations


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT

    def right_inverse(self, value):
        return value.triu()


class Scaled(nn.Module):
    def __init__(self, factor=2.0):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor

    def right_inverse(self, value):
        return value / self.factor


class Split(nn.Module):
    def forward(self, a, b):
        return a + b

    def right_inverse(self, value):
        return value * 0.25, value * 0.75


def test_parametrization():
    layer = nn.Linear(3, 3)
    original, before = layer.weight, layer.weight.detach().numpy().copy()
    assert parametrize.register_parametrization(layer, "weight", Symmetric()) is layer
    assert type(layer).__name__ == "ParametrizedLinear" and isinstance(layer, nn.Linear)
    assert layer.parametrizations.weight.original is original
    assert list(layer.state_dict()) == ["bias", "parametrizations.weight.original"]
    weight = layer.weight.detach().numpy()
    assert np.array_equal(weight, weight.T) and np.array_equal(np.triu(weight), np.triu(before))
    layer(pd.ones(1, 3)).sum().backward()
    assert original.grad is not None
    parametrize.register_parametrization(layer, "weight", Scaled())
    assert np.array_equal(layer.weight.detach().numpy(), 2 * weight)
    layer.weight = pd.eye(3)
    assert layer.weight.tolist() == pd.eye(3).tolist() and original.tolist() == (pd.eye(3) / 2).tolist()
    assert parametrize.is_parametrized(layer) and not parametrize.is_parametrized(layer, "bias")
    assert parametrize.type_before_parametrizations(layer) is nn.Linear
    parametrize.register_parametrization(layer, "bias", Scaled())
    assert len(layer.parametrizations) == 2
    parametrize.remove_parametrizations(layer, "weight")
    assert layer.weight is original and original.tolist() == pd.eye(3).tolist()
    assert type(layer) is not nn.Linear
    parametrize.remove_parametrizations(layer, "bias", leave_parametrized=False)
    assert type(layer) is nn.Linear and list(layer.state_dict()) == ["weight", "bias"]
    assert not hasattr(layer, "parametrizations")


def test_several_originals_and_buffers():
    layer = nn.Linear(2, 2)
    layer.register_buffer("scale", pd.ones(2))
    weight = layer.weight.tolist()
    parametrize.register_parametrization(layer, "weight", Split())
    parametrize.register_parametrization(layer, "scale", Scaled())
    assert [n for n, _ in layer.named_parameters()] == [
        "bias", "parametrizations.weight.original0", "parametrizations.weight.original1"
    ]  # fmt: skip
    assert [n for n, _ in layer.named_buffers()] == ["parametrizations.scale.original"]
    np.testing.assert_allclose(layer.weight.tolist(), weight, rtol=1e-6)
    layer.weight = pd.full((2, 2), 4.0)
    assert layer.parametrizations.weight.original1.tolist() == [[3.0, 3.0]] * 2
    with pytest.raises(ValueError, match="one original to go back to; got 2"):
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    parametrize.remove_parametrizations(layer, "weight")
    assert isinstance(layer.weight, nn.Parameter) and layer.weight.tolist() == [[4.0, 4.0]] * 2


def test_cached():
    class Counts(nn.Module):
        calls = 0

        def forward(self, x):
            Counts.calls += 1
            return x

    layer = parametrize.register_parametrization(nn.Linear(2, 2), "weight", Counts())
    Counts.calls = 0
    layer(pd.ones(2)), layer(pd.ones(2))
    assert Counts.calls == 2
    with parametrize.cached():
        with parametrize.cached():
            layer(pd.ones(2)), layer(pd.ones(2))
        layer(pd.ones(2))
    assert Counts.calls == 3
    layer(pd.ones(2))
    assert Counts.calls == 4


def test_parametrized_modules_are_copied():
    layer = parametrize.register_parametrization(nn.Linear(3, 3), "weight", Symmetric())
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin.weight.tolist() == layer.weight.tolist()
        assert twin.parametrizations.weight.original is not layer.parametrizations.weight.original
        parametrize.remove_parametrizations(twin, "weight")
    assert parametrize.is_parametrized(layer)
    twin = parametrize.transfer_parametrizations_and_params(layer, nn.Linear(3, 3))
    assert twin.weight.tolist() == layer.weight.tolist()
    assert layer.double().weight.dtype == pd.float64


def test_a_recurrent_layer_is_parametrized():
    layer = parametrizations.weight_norm(nn.GRU(2, 3), "weight_hh_l0")
    layer(pd.randn(4, 1, 2))[0].sum().backward()
    assert layer.parametrizations.weight_hh_l0.original0.grad is not None


class Wrong(nn.Module):
    def __init__(self, forward, right_inverse=None):
        super().__init__()
        self.function = forward
        if right_inverse:
            self.right_inverse = right_inverse

    def forward(self, *args):
        return self.function(*args)


@pytest.mark.parametrize(
    "call",
    [
        lambda layer: parametrize.register_parametrization(layer, "nothing", Symmetric()),
        lambda layer: parametrize.register_parametrization(layer, "weight", Wrong(lambda x: x.sum())),
        lambda layer: parametrize.register_parametrization(layer, "weight", Wrong(lambda x: x.double())),
        lambda layer: parametrize.register_parametrization(layer, "weight", Wrong(lambda x: 3)),
        lambda layer: parametrize.register_parametrization(layer, "weight", Wrong(lambda x: x, lambda x: 3)),
        lambda layer: parametrize.register_parametrization(layer, "weight", Wrong(lambda x: x, lambda x: x.double())),
        lambda layer: parametrize.register_parametrization(layer, "weight", Wrong(lambda x: x.sum(), lambda x: x * 0)),
        lambda layer: parametrize.remove_parametrizations(layer, "weight"),
        lambda layer: parametrize.transfer_parametrizations_and_params(layer, nn.Linear(2, 2)),
        lambda layer: parametrize.ParametrizationList([], layer.weight),
        lambda layer: parametrizations.orthogonal(layer, "bias"),
        lambda layer: parametrizations.orthogonal(layer, orthogonal_map="polar"),
        lambda layer: parametrizations.orthogonal(layer, "nothing"),
        lambda layer: parametrizations.spectral_norm(layer, n_power_iterations=0),
        lambda layer: utils.spectral_norm(layer, n_power_iterations=0),
        lambda layer: utils.remove_weight_norm(layer),
        lambda layer: utils.remove_spectral_norm(layer),
    ],
)
def test_a_refused_parametrization_changes_nothing(call):
    layer = nn.Linear(2, 2)
    before, weight = layer.weight.tolist(), layer.weight
    with pytest.raises((ValueError, TypeError), match=r"^\[\w+\] .*; got .*; try "):
        call(layer)
    assert type(layer) is nn.Linear and layer.weight is weight and layer.weight.tolist() == before


def test_assignment_without_a_way_back():
    layer = parametrize.register_parametrization(nn.Linear(2, 2), "weight", nn.ReLU())
    with pytest.raises(RuntimeError, match=r"\[parametrize\] ReLU .*; got no right_inverse; try"):
        layer.weight = pd.ones(2, 2)


def same_state(torch, module, oracle):
    """Give the module the oracle's state; the keys are the same."""
    state = oracle.state_dict()
    assert [(k, tuple(v.shape)) for k, v in module.state_dict().items()] == [(k, tuple(v.shape)) for k, v in state.items()]
    module.load_state_dict({k: v.numpy() for k, v in state.items()})


def check_module(torch, compare, module, oracle, ulps=64):
    same_state(torch, module, oracle)
    x = RNG.standard_normal((5, oracle.in_features)).astype("float32")
    for _ in range(2):
        y, ty = module(pd.tensor(x)), oracle(torch.tensor(x))
        compare(y, ty, ulps)
        (y * y).sum().backward()
        (ty * ty).sum().backward()
    for p, q in zip(module.parameters(), oracle.parameters(), strict=True):
        compare(p.grad, q.grad, ulps * 8, scale=max(1.0, q.grad.abs().max().item()))
    for p, q in zip(module.state_dict().values(), oracle.state_dict().values(), strict=True):
        compare(p, q, ulps, scale=1.0)
    compare(module.weight, oracle.weight, ulps, scale=1.0)


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm(torch, compare, dim):
    layer = parametrizations.weight_norm(nn.Linear(3, 4), dim=dim)
    oracle = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 4), dim=dim)
    check_module(torch, compare, layer, oracle)
    with pytest.warns(FutureWarning):
        old_oracle = torch.nn.utils.weight_norm(torch.nn.Linear(3, 4), dim=dim)
    old = utils.weight_norm(nn.Linear(3, 4), dim=dim)
    check_module(torch, compare, old, old_oracle)
    layer.load_state_dict(old.state_dict())
    compare(layer.weight, old_oracle.weight)
    for twin in (copy.deepcopy(old), pickle.loads(pickle.dumps(old))):
        assert twin.weight.tolist() == old.weight.tolist() and twin.weight_v is not old.weight_v
        twin(pd.ones(1, 3)).sum().backward()
        assert twin.weight_v.grad is not None
    with pytest.raises(RuntimeError, match=r"^\[weight_norm\] .*; got 'weight' again; try"):
        utils.weight_norm(old)
    utils.remove_weight_norm(old)
    compare(old.weight, torch.nn.utils.remove_weight_norm(old_oracle).weight)
    assert not old._hooks and list(old.state_dict()) == ["bias", "weight"]


@pytest.mark.parametrize("dim", [None, 1])
@pytest.mark.parametrize("training", [True, False])
def test_spectral_norm(torch, compare, dim, training):
    options = {"n_power_iterations": 2, "dim": dim}
    layer = parametrizations.spectral_norm(nn.Linear(3, 4), **options).train(training)
    oracle = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(3, 4), **options).train(training)
    check_module(torch, compare, layer, oracle)
    old = utils.spectral_norm(nn.Linear(3, 4), **options).train(training)
    old_oracle = torch.nn.utils.spectral_norm(torch.nn.Linear(3, 4), **options).train(training)
    check_module(torch, compare, old, old_oracle)
    for twin in (copy.deepcopy(old), pickle.loads(pickle.dumps(old))):
        assert twin.eval()(pd.ones(1, 3)).tolist() == copy.deepcopy(old).eval()(pd.ones(1, 3)).tolist()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        twin.eval()
        assert twin.weight.tolist() == copy.deepcopy(layer).eval().weight.tolist()
    with pytest.raises(RuntimeError, match=r"^\[spectral_norm\] .*; got 'weight' again; try"):
        utils.spectral_norm(old)
    old.eval(), old_oracle.eval()
    compare(utils.remove_spectral_norm(old).weight, torch.nn.utils.remove_spectral_norm(old_oracle).weight, 16)


def test_spectral_norm_of_a_vector(torch, compare):
    layer = parametrizations.spectral_norm(nn.LayerNorm(5))
    oracle = torch.nn.utils.parametrizations.spectral_norm(torch.nn.LayerNorm(5))
    same_state(torch, layer, oracle)
    compare(layer.weight, oracle.weight)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("kind", [None, "matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("trivialized", [True, False])
def test_orthogonal(torch, compare, shape, kind, trivialized):
    made = {"orthogonal_map": kind, "use_trivialization": trivialized}
    layer = parametrizations.orthogonal(nn.Linear(*shape), **made)
    oracle = torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(*shape), **made)
    for m in (layer, oracle):  # the start is a matrix with orthonormal columns, or rows
        w = m.weight.detach().numpy()
        w = w if w.shape[0] >= w.shape[1] else w.T
        np.testing.assert_allclose(w.T @ w, np.eye(w.shape[1]), atol=2e-6)
    with torch.no_grad():
        original = oracle.parametrizations.weight.original
        if not trivialized or kind == "householder" or kind is None and shape[0] != shape[1]:
            original.add_(torch.randn_like(original).tril(-1) * 0.3)
        else:
            original.add_(torch.randn_like(original) * 0.3)
    check_module(torch, compare, layer, oracle, ulps=256)
    if trivialized:
        target = torch.nn.init.orthogonal_(torch.empty(oracle.weight.shape))
        layer.weight = pd.tensor(target.numpy())
        compare(layer.weight, target, 64)
    with pytest.raises((ValueError, NotImplementedError), match=r"^\[orthogonal\]"):
        layer.weight = pd.ones(2, 2) if trivialized or kind == "householder" else pd.ones(shape[::-1])
        layer.weight = pd.ones(7, 7)


# ---- modules as functions


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(2, 2, bias=False)
        self.b = nn.Linear(2, 2, bias=False)
        self.b.weight = self.a.weight
        self.register_buffer("shift", pd.zeros(2))

    def forward(self, x, factor=1.0):
        return (self.b(self.a(x)) + self.shift) * factor


def test_functional_call():
    model = Tied()
    before = {k: v for k, v in model.named_parameters(remove_duplicate=False)}
    x, eye = pd.tensor([[1.0, 2.0]]), pd.eye(2)
    call = utils.stateless.functional_call
    assert call(model, {"a.weight": eye * 2}, x).tolist() == [[4.0, 8.0]]
    assert call(model, {"b.weight": eye * 2, "shift": pd.ones(2)}, (x,), {"factor": 3.0}).tolist() == [[15.0, 27.0]]
    untied = call(model, {"a.weight": eye, "b.weight": eye * 2}, (x,), tie_weights=False)
    assert untied.tolist() == [[2.0, 4.0]]
    assert pd.func.functional_call(model, ({"a.weight": eye}, {"shift": eye[0]}), x).tolist() == [[2.0, 2.0]]
    for names, options, error in (
        ({"c": eye}, {}, RuntimeError),
        ({"a.weight": eye}, {"strict": True}, RuntimeError),
        ({"a.weight": 3.0}, {}, TypeError),
        ({"a.weight": eye, "b.weight": eye * 2}, {}, ValueError),
        ({"a.weight": pd.ones(3, 3)}, {}, ValueError),
    ):
        with pytest.raises(error, match=r"^\[\w+\] .*; got .*; try "):
            call(model, names, x, **options)
    with pytest.raises(ValueError, match="given once"):
        pd.func.functional_call(model, ({"shift": eye[0]}, {"shift": eye[0]}), x)
    after = dict(model.named_parameters(remove_duplicate=False))
    assert list(after) == list(before) and all(after[k] is before[k] for k in before)
    assert model.a.weight is model.b.weight is before["a.weight"]


def test_transforms_of_a_module(torch, compare):
    layer, oracle = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    same_state(torch, layer, oracle)
    x = RNG.standard_normal((4, 3)).astype("float32")

    def per_sample(lib, model, x):
        loss = lambda weights, row: (lib.func.functional_call(model, weights, (row,)) ** 2).sum()
        weights = {k: v.detach() for k, v in model.named_parameters()}
        return lib.func.vmap(lib.func.grad(loss), (None, 0))(weights, x), lib.func.grad_and_value(loss)(weights, x)[1]

    found, value = per_sample(pd, layer, pd.tensor(x))
    expected, tvalue = per_sample(torch, oracle, torch.tensor(x))
    for key in expected:
        compare(found[key], expected[key], 16)
    compare(value, tvalue, 16)
    y, push = pd.func.linearize(lambda v: v**3, pd.tensor([2.0]))
    assert y.item() == 8.0 and push(pd.tensor([1.0])).item() == 12.0


def test_an_ensemble():
    models = [Tied() for _ in range(3)]
    parameters, buffers = pd.func.stack_module_state(models)
    assert {k: tuple(v.shape) for k, v in parameters.items()} == {"a.weight": (3, 2, 2)}
    assert parameters["a.weight"].requires_grad and parameters["a.weight"].is_leaf and not buffers["shift"].requires_grad
    x = pd.randn(5, 2)
    call = lambda p, b, x: pd.func.functional_call(models[0], (p, b), (x,))
    found = pd.vmap(call, (0, 0, None))(parameters, buffers, x)
    for k, model in enumerate(models):
        np.testing.assert_allclose(found[k].detach().numpy(), model(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    for bad in ([], [nn.Linear(2, 2), nn.ReLU()], [nn.ReLU(), nn.ReLU().eval()]):
        with pytest.raises(RuntimeError, match=r"^\[stack_module_state\] .*; got .*; try "):
            pd.func.stack_module_state(bad)


@pytest.mark.parametrize("kind, shape", [(nn.BatchNorm1d, (3, 4, 2)), (nn.InstanceNorm1d, (3, 4, 2, 5))])
def test_running_statistics_under_vmap(kind, shape):
    """One mean for all examples cannot follow each of them: an error, and the layer is as it was."""
    layer = kind(2, affine=True, track_running_stats=True)
    x = pd.randn(*shape)
    with pytest.raises(RuntimeError, match=r"_norm\] inside vmap .*; got .*; try eval\(\)"):
        pd.vmap(layer)(x)
    assert layer.running_mean.tolist() == [0.0, 0.0] and layer.num_batches_tracked.item() == 0
    parameters, buffers = pd.func.stack_module_state([kind(2, affine=True, track_running_stats=True) for _ in range(3)])
    each = pd.vmap(lambda p, b, x: pd.func.functional_call(layer, (p, b), (x,)))(parameters, buffers, x)
    np.testing.assert_allclose(each[1].detach().numpy(), layer(x[1]).detach().numpy(), rtol=1e-5, atol=1e-6)
    assert pd.vmap(layer.eval())(x).shape == x.shape


MODULES = "clip_grad convert_parameters fusion init memory_format parametrizations parametrize spectral_norm stateless weight_norm".split()


@pytest.mark.parametrize("name", [*(f"nn.utils.{m}" for m in MODULES), "func"])
def test_examples(name):
    tried = doctest.testmod(importlib.import_module(f"pydiff.{name}"))
    assert tried.attempted and not tried.failed
