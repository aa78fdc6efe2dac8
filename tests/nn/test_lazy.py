"""Layers that learn their sizes at the first call."""

import copy
import pickle

import numpy as np
import pytest

import pydiff as pd
from pydiff import nn

FORM = r"^\[\w+\] [^;]+; got .+; try .+"
CASES = [
    ("LazyLinear(4)", (3, 5)),
    ("LazyLinear(4, bias=False)", (5,)),
    *((f"LazyConv{n}d(6, 2, groups=3)", (2, 3, *(4,) * n)) for n in (1, 2, 3)),
    *((f"LazyConvTranspose{n}d(6, 2, groups=3)", (3, *(4,) * n)) for n in (1, 2, 3)),
    ("LazyBatchNorm1d()", (4, 3)),
    ("LazyBatchNorm2d(affine=False)", (2, 3, 4, 4)),
    ("LazyBatchNorm3d(track_running_stats=False)", (2, 3, 4, 2, 2)),
    ("LazyInstanceNorm1d()", (2, 3, 4)),
    ("LazyInstanceNorm2d(affine=False)", (3, 4, 4)),
    ("LazyInstanceNorm3d(affine=False, track_running_stats=False)", (2, 3, 4, 2, 2)),
]
cases = pytest.mark.parametrize("text, shape", CASES, ids=[text for text, _ in CASES])


def make(text, library=nn):
    return eval(f"nn.{text}", {"nn": library})


def sized(text, shape):
    """The ordinary layer that the lazy one is to become."""
    name, _, arguments = text.removeprefix("Lazy").partition("(")
    first = {"Linear": shape[-1]}.get(name, 3)
    if "Conv" in name:
        return make(f"{name}({first}, {arguments}")
    if "InstanceNorm" in name and "affine" not in arguments:
        arguments = "affine=True, " + arguments
    if "InstanceNorm" in name and "track" not in arguments:
        arguments = "track_running_stats=True, " + arguments
    return make(f"{name}({first}, {arguments}")


@cases
def test_it_becomes_the_ordinary_layer(text, shape):
    pd.manual_seed(0)
    lazy = make(text)
    parameters, names = list(lazy.parameters()), [name for name, _ in lazy.named_parameters()]
    assert type(lazy).__name__.startswith("Lazy")
    x = pd.tensor(np.random.default_rng(0).standard_normal(shape).astype("float32"))
    first = lazy(x)
    plain = sized(text, shape)
    assert type(lazy) is type(plain) and repr(lazy) == repr(plain)
    # The parameters are the objects that they were.
    assert all(a is b for a, b in zip(parameters, lazy.parameters(), strict=True))
    assert [name for name, _ in lazy.named_parameters()] == names == [name for name, _ in plain.named_parameters()]
    assert all(type(p) is nn.Parameter and p.requires_grad and p.is_leaf for p in parameters)
    plain.load_state_dict(lazy.state_dict())
    assert np.array_equal(lazy.eval()(x).detach().numpy(), plain.eval()(x).detach().numpy())
    if parameters:
        first.sum().backward()
    assert all(p.grad is not None for p in parameters)
    assert vars(lazy).keys() == vars(plain).keys()


@cases
def test_a_state_gives_the_sizes(text, shape):
    plain, lazy = sized(text, shape), make(text)
    for parameter in plain.parameters():
        nn.init.uniform_(parameter)
    x = pd.ones(shape)
    plain(x)
    for assign in (False, True):
        lazy = make(text)
        lazy.load_state_dict(plain.state_dict(), assign=assign)
        lazy.eval()
        assert np.array_equal(lazy(x).detach().numpy(), plain.eval()(x).detach().numpy())
        assert repr(lazy) == repr(plain) and type(lazy) is type(plain)
        assert list(lazy.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize("missing", ["weight", "bias", "running_var"])
def test_what_a_part_of_a_state_brought_stays(missing):
    plain = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Unflatten(1, (4, 1)), nn.Conv1d(4, 2, 1))
    for parameter in plain.parameters():
        nn.init.uniform_(parameter, 2.0, 3.0)
    plain(pd.randn(5, 3))
    state = {key: value for key, value in plain.state_dict().items() if not key.endswith(missing)}
    lazy = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.Unflatten(1, (4, 1)), nn.LazyConv1d(2, 1))
    lazy.load_state_dict(state, strict=False)
    lazy.eval()(pd.ones(5, 3))
    assert repr(lazy) == repr(plain)
    for key, value in lazy.state_dict().items():
        fresh = key not in state
        assert fresh or np.array_equal(value.numpy(), state[key].numpy()), key
        if fresh and key.startswith(("0", "3")):  # drawn as ever
            assert 0 < np.abs(value.numpy()).max() <= 1 / np.sqrt(3)
        elif fresh:
            assert value.tolist() == ([0.0] * 4 if missing == "bias" else [1.0] * 4)


@cases
def test_before_the_first_call_it_can_be_copied_moved_and_saved(text, shape):
    lazy = make(text).double().eval()
    for twin in (copy.deepcopy(lazy), pickle.loads(pickle.dumps(lazy)), lazy):
        assert repr(twin).startswith("Lazy")
        if "affine=False" not in text:
            assert repr(twin.weight) == "<UninitializedParameter>"
        twin(pd.ones(shape, dtype=pd.float64))
        assert all(t.dtype == pd.float64 for t in twin.parameters())
        assert not twin.training and not repr(twin).startswith("Lazy")
    entry = make(text).state_dict()
    other = make(text)
    other.load_state_dict(entry)  # nothing is known on either side
    copy.deepcopy(entry), pickle.loads(pickle.dumps(entry))
    other(pd.ones(shape))


@pytest.mark.smoke
def test_a_model_of_lazy_layers_trains():
    pd.manual_seed(0)
    model = nn.Sequential(nn.LazyConv1d(8, 3), nn.LazyBatchNorm1d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(1))
    optimiser = pd.optim.Adam(model.parameters(), lr=1e-2)
    optimiser.step()  # nothing has a gradient yet
    x, y = pd.randn(32, 4, 6), pd.randn(32, 1)
    losses = []
    for _ in range(20):
        loss = ((model(x) - y) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert [type(layer).__name__ for layer in model] == ["Conv1d", "BatchNorm1d", "ReLU", "Flatten", "Linear"]


USES = [
    lambda p: p.T,
    lambda p: p + 1,
    lambda p: 1 - p,
    lambda p: p @ pd.ones(1),
    lambda p: p.sum(),
    lambda p: p.numel(),
    lambda p: p.numpy(),
    lambda p: p[0],
    lambda p: len(p),
    lambda p: bool(p),
    lambda p: list(p),
    lambda p: p.shape[0],
    lambda p: tuple(p.shape),
    lambda p: p.fill_(1.0),
    lambda p: nn.init.uniform_(p),
    lambda p: nn.functional.linear(pd.ones(2), p),
    lambda p: pd.optim.SGD([p], 0.1).param_groups[0]["params"][0].norm(),
]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", ["UninitializedParameter", "UninitializedBuffer"])
def test_a_use_before_the_first_call_is_named(use, kind):
    tensor = getattr(nn, kind)()
    with pytest.raises(RuntimeError, match=FORM) as caught:
        use(tensor)
    assert "its size is not known before the first call" in str(caught.value)
    assert nn.parameter.is_lazy(tensor)


def test_an_unknown_state_does_not_fit_a_layer_that_has_sizes():
    layer = nn.Linear(3, 2)
    before = layer.weight.tolist()
    with pytest.raises(RuntimeError, match=FORM):
        layer.load_state_dict(nn.LazyLinear(2).state_dict())
    assert layer.weight.tolist() == before


WRONG = [
    ("LazyLinear(4)", ()),
    ("LazyConv1d(4, 3)", (3,)),
    ("LazyConv2d(4, 3, groups=2)", (3, 5, 5)),
    ("LazyBatchNorm2d()", (3, 4)),
    ("LazyInstanceNorm1d()", (3,)),
]


@pytest.mark.parametrize("text, shape", WRONG)
def test_a_wrong_first_input_leaves_it_lazy(text, shape):
    lazy = make(text)
    with pytest.raises(ValueError, match=FORM):
        lazy(pd.zeros(shape))
    assert type(lazy).__name__ == text.partition("(")[0] and lazy.has_uninitialized_params()
    assert repr(lazy) == repr(make(text))


def test_arguments_are_looked_at_at_once():
    with pytest.raises(ValueError, match=r"\[LazyLinear\] a size is not negative; got"):
        nn.LazyLinear(-1)
    with pytest.raises(ValueError, match=r"\[LazyConv1d\] out_channels are a multiple of groups; got 3 and groups=2"):
        nn.LazyConv1d(3, 2, groups=2)


def test_hooks_see_the_sizes():
    lazy, seen = nn.LazyLinear(2), []
    lazy.register_forward_pre_hook(lambda module, args: seen.append(tuple(module.weight.shape)))
    lazy.register_forward_hook(lambda module, args, result: seen.append(tuple(result.shape)))
    lazy(pd.zeros(3, 5))
    assert seen == [(2, 5), (3, 2)]


class Scale(nn.lazy.LazyModuleMixin, nn.Module):
    """A lazy module of a user's own, which stays what it is."""

    def __init__(self):
        super().__init__()
        self.factor = nn.UninitializedParameter()
        self.seen = 0

    def initialize_parameters(self, input):
        self.seen += 1
        self.factor.materialize(input.shape[-1:])
        nn.init.ones_(self.factor)

    def forward(self, input):
        return input * self.factor


def test_a_lazy_module_of_ones_own():
    module = Scale()
    assert module(pd.full((2, 3), 2.0)).sum().item() == 12.0
    module(pd.ones(2, 3))
    assert type(module) is Scale and module.seen == 1 and tuple(module.factor.shape) == (3,)

    class Forgets(Scale):
        def initialize_parameters(self, input):
            pass

    with pytest.raises(RuntimeError, match=r"^\[Forgets\] .*; got \['factor'\]; try "):
        Forgets()(pd.ones(3))

    class Silent(nn.lazy.LazyModuleMixin, nn.Module):
        pass

    with pytest.raises(NotImplementedError, match=r"^\[Silent\] initialize_parameters is not defined; got"):
        Silent()(pd.ones(3))


def test_uninitialized_tensors_have_a_device_and_a_dtype():
    for kind, requires_grad in ((nn.UninitializedParameter, True), (nn.UninitializedBuffer, False)):
        tensor = kind(dtype=pd.float64, device="cpu")
        assert tensor.dtype == pd.float64 and tensor.device.type == "cpu" and tensor.requires_grad is requires_grad
        twin = copy.deepcopy(tensor)
        assert type(twin) is kind and twin is not tensor and twin.dtype == pd.float64
        tensor.materialize((2, 1), dtype=pd.float32)
        assert tensor.tolist() == [[0.0], [0.0]] and tensor.dtype == pd.float32
        assert tensor.requires_grad is requires_grad
        again = copy.deepcopy(tensor)
        assert type(again) is type(tensor) and again.tolist() == tensor.tolist()
        assert pickle.loads(pickle.dumps(tensor)).tolist() == tensor.tolist()
        filled = kind()
        filled.copy_(pd.ones(2, 1))
        assert filled.tolist() == [[1.0], [1.0]] and not nn.parameter.is_lazy(filled)
