"""The tree of modules: registration, walking, state, hooks, copying."""

import copy
import gc
import pickle
import weakref
from collections import OrderedDict

import numpy as np
import pytest

import pydiff as pd
from pydiff import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.second = nn.Linear(4, 2, bias=False)
        self.register_buffer("scale", pd.ones(2))
        self.register_buffer("scratch", pd.zeros(1), persistent=False)

    def forward(self, x, factor=1.0):
        return self.second(self.norm(self.first(x))) * self.scale * factor


NAMES = ["first.weight", "first.bias", "norm.weight", "norm.bias", "second.weight"]


def same(a, b):
    return np.array_equal(a.detach().numpy(), b.detach().numpy())


def test_assignment_registers():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [name for name, _ in net.named_buffers()] == ["scale", "scratch"]
    assert [name for name, _ in net.named_modules()] == ["", "first", "norm", "second"]
    assert [name for name, _ in net.named_children()] == ["first", "norm", "second"]
    assert list(net.children()) == [net.first, net.norm, net.second]
    assert net.second.bias is None
    assert len(list(net.parameters())) == 5
    assert list(net.parameters(recurse=False)) == []
    assert len(list(net.buffers())) == 2
    assert next(net.first.named_parameters("p"))[0] == "p.weight"


def test_attribute_and_registry_agree():
    layer = nn.Linear(2, 2)
    new = nn.Parameter(pd.ones(2, 2))
    layer.weight = new
    assert layer.weight is new and layer._parameters["weight"] is new
    layer.bias = None
    assert layer.bias is None and [n for n, _ in layer.named_parameters()] == ["weight"]
    layer.bias = nn.Parameter(pd.zeros(2))
    assert len(list(layer.parameters())) == 2
    del layer.bias
    assert not hasattr(layer, "bias") and "bias" not in layer._parameters
    with pytest.raises(AttributeError):
        del layer.bias


def test_a_name_moves_between_registries():
    net = nn.Module()
    net.x = 3
    net.x = nn.Parameter(pd.ones(1))
    assert [n for n, _ in net.named_parameters()] == ["x"]
    net.x = nn.Identity()
    assert list(net.parameters()) == [] and [n for n, _ in net.named_children()] == ["x"]
    net.x = None
    assert net.x is None and list(net.children()) == []


def test_absent_members_can_be_filled_later():
    net = nn.Module()
    net.register_parameter("p", None)
    net.register_buffer("b", None)
    net.register_module("m", None)
    assert net.p is None and net.b is None and net.m is None
    assert net.state_dict() == {}
    net.p = nn.Parameter(pd.ones(1))
    net.b = pd.zeros(1)
    net.m = nn.Linear(1, 1)
    assert list(net.state_dict()) == ["p", "b", "m.weight", "m.bias"]


@pytest.mark.parametrize(
    "spoil, error",
    [
        (lambda m: setattr(m, "weight", 3.0), TypeError),
        (lambda m: setattr(m, "weight", pd.ones(2, 2)), TypeError),
        (lambda m: setattr(m, "buffer", 3.0), TypeError),
        (lambda m: setattr(m, "child", pd.ones(1)), TypeError),
        (lambda m: m.register_parameter("w", pd.ones(1)), TypeError),
        (lambda m: m.register_parameter("a.b", nn.Parameter(pd.ones(1))), KeyError),
        (lambda m: m.register_parameter("", nn.Parameter(pd.ones(1))), KeyError),
        (lambda m: m.register_parameter("forward", nn.Parameter(pd.ones(1))), KeyError),
        (lambda m: m.register_parameter(3, nn.Parameter(pd.ones(1))), TypeError),
        (lambda m: m.register_buffer("b", 1.0), TypeError),
        (lambda m: m.register_buffer("weight", pd.ones(1)), KeyError),
        (lambda m: m.register_module("m", 1.0), TypeError),
        (lambda m: m.get_submodule("child.none"), AttributeError),
        (lambda m: m.get_parameter("child.none"), AttributeError),
        (lambda m: m.get_buffer("weight"), AttributeError),
        (lambda m: m.train("yes"), ValueError),
        (lambda m: m.to(pd.int64), TypeError),
        (lambda m: m.to(colour="red"), TypeError),
    ],
)
def test_misuse_is_named(spoil, error):
    layer = nn.Linear(2, 2)
    layer.register_buffer("buffer", pd.ones(1))
    layer.child = nn.Identity()
    with pytest.raises(error, match=r"\[\w+\] .*; (got|try) "):
        spoil(layer)
    assert list(layer.state_dict()) == ["weight", "bias", "buffer"]


@pytest.mark.parametrize("many", [list, tuple, iter])
def test_a_list_in_a_sequential_is_named(many):
    with pytest.raises(TypeError, match=r"^\[Sequential\] .*; got one \w+; try nn.Sequential\(\*layers\)$"):
        nn.Sequential(many([nn.ReLU(), nn.Identity()]))


def test_forgotten_super_init_is_named():
    class Forgot(nn.Module):
        def __init__(self):
            self.size = 3  # plain attributes are allowed before
            self.layer = nn.Identity()

    with pytest.raises(AttributeError, match=r"super\(\).__init__"):
        Forgot()


def test_missing_forward_is_named():
    with pytest.raises(NotImplementedError, match="forward is not defined"):
        nn.Module()()


def test_an_attribute_error_inside_a_property_is_not_hidden():
    class Broken(nn.Module):
        @property
        def value(self):
            return self.mising

    with pytest.raises(AttributeError, match="mising"):
        Broken().value


def test_get_by_path():
    net = nn.Sequential(Net())
    assert net.get_submodule("") is net
    assert net.get_submodule("0.first") is net[0].first
    assert net.get_parameter("0.first.weight") is net[0].first.weight
    assert net.get_buffer("0.scale") is net[0].scale


def test_shared_members_come_once():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, layer)
    net.again = layer.weight
    assert len(list(net.parameters())) == 2
    assert len(list(net.named_parameters(remove_duplicate=False))) == 5
    assert len(list(net.modules())) == 2
    assert len(net.state_dict()) == 5


def test_dir_shows_names_one_can_type():
    net = nn.Sequential(nn.Identity())
    net.extra = nn.Identity()
    assert "extra" in dir(net) and "0" not in dir(net)


def test_state_dict_layout(torch):
    class Oracle(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(3, 4)
            self.norm = torch.nn.LayerNorm(4)
            self.second = torch.nn.Linear(4, 2, bias=False)
            self.register_buffer("scale", torch.ones(2))
            self.register_buffer("scratch", torch.zeros(1), persistent=False)

    state, expected = Net().state_dict(), Oracle().state_dict()
    assert list(state) == list(expected)
    assert all(tuple(state[k].shape) == tuple(expected[k].shape) for k in state)
    assert not any(value.requires_grad for value in state.values())
    assert Net().state_dict(keep_vars=True)["first.weight"].requires_grad
    assert list(Net().state_dict(prefix="net."))[:2] == ["net.scale", "net.first.weight"]


def test_load_state_dict():
    source, target = Net(), Net()
    handles = list(target.parameters())
    result = target.load_state_dict(source.state_dict())
    assert result == ([], []) and result.missing_keys == []
    assert all(same(a, b) for a, b in zip(source.parameters(), target.parameters()))
    assert all(a is b for a, b in zip(handles, target.parameters()))
    with pd.no_grad():
        source.first.weight.zero_()
    assert not same(source.first.weight, target.first.weight)


def test_load_state_dict_converts_arrays_and_dtypes():
    layer = nn.Linear(2, 1, bias=False)
    layer.load_state_dict({"weight": np.array([[1.0, 2.0]])})
    assert layer.weight.dtype == pd.float32 and layer.weight.tolist() == [[1.0, 2.0]]


def test_load_state_dict_assign():
    source, target = nn.Linear(2, 2).double(), nn.Linear(2, 2)
    target.bias.requires_grad_(False)
    target.load_state_dict(source.state_dict(), assign=True)
    assert target.weight.dtype == pd.float64
    assert isinstance(target.weight, nn.Parameter)
    assert target.weight.requires_grad and not target.bias.requires_grad
    assert same(source.weight, target.weight)


def test_load_state_dict_lists_everything_that_does_not_fit():
    net = Net()
    before = net.first.weight.detach().clone()
    state = {key: value * 0 for key, value in net.state_dict().items()}
    state["extra"] = pd.ones(1)
    del state["norm.bias"]
    pattern = (
        r"^\[load_state_dict\] .*Net; got missing keys: norm.bias; unexpected keys: extra; "
        r"try strict=False"
    )
    with pytest.raises(RuntimeError, match=pattern):
        net.load_state_dict(state)
    state["scale"] = pd.ones(3)
    with pytest.raises(RuntimeError, match=r"wrong shapes: scale \(3,\) for \(2,\); try a module"):
        net.load_state_dict(state, strict=False)
    assert same(before, net.first.weight)  # a refused state changes nothing
    del state["scale"]
    result = net.load_state_dict(state, strict=False)
    assert result.missing_keys == ["scale", "norm.bias"]
    assert result.unexpected_keys == ["extra"]
    assert net.first.weight.abs().sum().item() == 0


@pytest.mark.parametrize(
    "change, advice",
    [
        (lambda s: {f"module.{k}": v for k, v in s.items()}, "rename={'module.': ''}"),
        (lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()}, "rename={'_orig_mod.module.': ''}"),
        (lambda s: {k.removeprefix("net."): v for k, v in s.items()}, "rename={'': 'net.'}"),
        (lambda s: {"epoch": 3, "model": s}, "load_state_dict(state['model'])"),
        (lambda s: {k + "s": v for k, v in s.items()}, "strict=False to load the keys that match"),
    ],
)
def test_load_state_dict_sees_a_prefix_and_a_checkpoint(change, advice):
    model = nn.ModuleDict({"net": Net()})
    state = change(model.state_dict())
    with pytest.raises(RuntimeError) as error:
        model.load_state_dict(state)
    assert str(error.value).endswith(f"; try {advice}")
    if advice.startswith("rename="):
        model.load_state_dict(state, rename=eval(advice.removeprefix("rename=")))


def test_states_without_num_batches_tracked(torch):
    """Files of old have none; PyTorch leaves the count as it is."""
    for lib in (pd, torch):
        layer = lib.nn.Sequential(lib.nn.BatchNorm1d(2))
        layer(lib.ones(3, 2))
        state = {key: value * 0 + 4 for key, value in layer.state_dict().items() if "num_batches" not in key}
        assert str(layer.load_state_dict(state)) == "<All keys matched successfully>"
        assert layer[0].num_batches_tracked.item() == 1 and layer[0].running_var.tolist() == [4.0, 4.0]
        assert "0.num_batches_tracked" not in state


def test_train_and_eval_reach_all():
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    assert net.eval() is net
    assert [m.training for m in net.modules()] == [False] * 4
    net.train()
    assert all(m.training for m in net.modules())


def test_apply_children_first():
    seen = []
    net = nn.Sequential(nn.Identity(), nn.Sequential(nn.ReLU()))
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["Identity", "ReLU", "Sequential", "Sequential"]


def test_to_keeps_identity():
    net = Net()
    net.register_buffer("count", pd.tensor([1]))
    handles = list(net.parameters())
    net(pd.ones(1, 3)).sum().backward()
    assert net.double() is net
    assert all(a is b for a, b in zip(handles, net.parameters()))
    assert all(p.dtype == pd.float64 and p.grad.dtype == pd.float64 for p in handles)
    assert all(p.requires_grad and p.is_leaf for p in handles)
    assert net.scale.dtype == pd.float64 and net.count.dtype == pd.int64
    net.to("cpu", pd.float32)
    assert net.first.weight.dtype == pd.float32
    net.to(pd.ones(1, dtype=pd.float64))
    assert net.first.weight.dtype == pd.float64
    net.to(device="cpu", dtype=pd.float32)
    assert net.float().first.weight.dtype == pd.float32
    assert tuple(net(pd.ones(2, 3, device="cpu")).shape) == (2, 2)


def test_requires_grad_and_zero_grad():
    net = Net()
    net(pd.ones(1, 3)).sum().backward()
    grad = net.first.weight.grad
    net.zero_grad(set_to_none=False)
    assert net.first.weight.grad is not None and grad.abs().sum().item() == 0
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    assert net.requires_grad_(False) is net
    assert not any(p.requires_grad for p in net.parameters())


def test_forward_hooks():
    net, log = Net(), []
    x = pd.ones(1, 3)
    plain = net(x).sum().item()
    pre = net.register_forward_pre_hook(lambda m, args: log.append("pre"))
    post = net.register_forward_hook(lambda m, args, out: log.append(("post", args[0] is x)))
    first = net.register_forward_pre_hook(lambda m, args: log.append("first"), prepend=True)
    assert net(x).sum().item() == plain
    assert log == ["first", "pre", ("post", True)]
    for handle in (pre, post, first):
        handle.remove()
        handle.remove()
    assert not net._hooks
    net(x)
    assert len(log) == 3


def test_hooks_replace_arguments_and_results():
    layer = nn.Identity()
    with layer.register_forward_pre_hook(lambda m, args: args[0] + 1):
        with layer.register_forward_hook(lambda m, args, out: (args, out)):
            assert layer(1) == ((2,), 2)
    assert layer(1) == 1

    class Power(nn.Module):
        def forward(self, x, power=1):
            return x**power

    net = Power()
    with net.register_forward_pre_hook(lambda m, a, k: (a, {"power": 3}), with_kwargs=True):
        with net.register_forward_hook(lambda m, a, k, out: (out, k), with_kwargs=True):
            assert net(2, power=2) == (8, {"power": 3})
    with net.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True):
        with pytest.raises(TypeError, match=r"\[register_forward_pre_hook\]"):
            net(2)


def test_always_call_hook_sees_a_failure():
    seen = []
    net = nn.Module()
    net.register_forward_hook(lambda m, args, out: seen.append("usual"))
    net.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    with pytest.raises(NotImplementedError):
        net()
    assert seen == [None]


def test_deep_copy_and_pickle():
    net = nn.Sequential(Net(), nn.Dropout(0.3)).eval()
    net.tied = net[0].first.weight
    net[0].first.weight.no_decay = True
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert repr(twin) == repr(net) and not twin.training
        assert twin.tied is twin[0].first.weight is twin[0].first._parameters["weight"]
        assert twin.tied is not net.tied and isinstance(twin.tied, nn.Parameter)
        assert twin.tied.no_decay and twin.tied.is_leaf and twin.tied.requires_grad
        assert [n for n, _ in twin.named_buffers()] == ["0.scale", "0.scratch"]
        assert list(twin.state_dict()) == list(net.state_dict())
        assert all(same(a, b) for a, b in zip(net.parameters(), twin.parameters()))
        with pd.no_grad():
            twin.tied.add_(1.0)
        assert not same(twin.tied, net.tied)
        assert same(twin.tied, twin[0].first.weight)


def test_no_reference_cycle():
    gc.collect()
    gc.disable()
    try:
        layer = nn.Linear(2, 2)
        gone = weakref.ref(layer)
        del layer
        assert gone() is None
    finally:
        gc.enable()


def test_parameter():
    base = pd.ones(2)
    p = nn.Parameter(base)
    assert p.requires_grad and p.is_leaf and not base.requires_grad
    assert type(p * 2) is type(base * 2) is not nn.Parameter
    assert not nn.Parameter(base, requires_grad=False).requires_grad
    assert nn.Parameter([1.0, 2.0]).tolist() == [1.0, 2.0]
    assert repr(p).startswith("Parameter containing:\n")
    q = nn.Parameter(p * 2)
    assert q.is_leaf and q.tolist() == [2.0, 2.0]


def test_sequential():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(net) == 3 and net[-1] is net[2] and net[1] in net
    assert tuple(net(pd.ones(4, 2)).shape) == (4, 1)
    assert [type(m).__name__ for m in net[1:]] == ["ReLU", "Linear"]
    assert type(net[:1]) is nn.Sequential and net[:1][0] is net[0]
    relu = net[1]
    net[1] = nn.Tanh()
    assert net[1] is not relu and len(net) == 3
    assert net.append(nn.Tanh()) is net and len(net) == 4
    net.insert(0, relu)
    net.insert(len(net), relu)
    assert net[0] is relu and net[5] is relu
    assert list(net.state_dict())[0] == "1.weight"
    del net[0], net[-1]
    assert list(net.state_dict())[0] == "0.weight" and len(net) == 4
    last = net[3]
    assert net.pop() is last and len(net) == 3
    del net[1:]
    assert len(net + nn.Sequential(relu)) == 2 and len(net) == 1
    net += [relu, relu]
    assert [type(m).__name__ for m in net] == ["Linear", "ReLU", "ReLU"]
    for bad in (lambda: net[3], lambda: net[-4], lambda: net.insert(5, relu)):
        with pytest.raises(IndexError, match=r"\[Sequential\] .*; got .*; try"):
            bad()
    with pytest.raises(TypeError):
        net.append(3)
    with pytest.raises(TypeError):
        net.insert(0, 3)


def test_sequential_with_names():
    net = nn.Sequential(OrderedDict(up=nn.Linear(2, 3), act=nn.ReLU(), down=nn.Linear(3, 1)))
    assert net.up is net[0] and [n for n, _ in net[1:].named_children()] == ["act", "down"]
    del net[1]
    assert [n for n, _ in net.named_children()] == ["up", "down"]


def test_module_list():
    layers = nn.ModuleList([nn.Linear(2, 2), nn.ReLU()])
    layers += [nn.Tanh()]
    layers.extend(nn.Identity() for _ in range(2))
    assert len(layers) == 5 and len(layers[1:3]) == 2 and isinstance(layers[1:3], nn.ModuleList)
    assert len(layers + layers) == 10
    layers[0] = nn.Sigmoid()
    assert len(list(layers.parameters())) == 0
    with pytest.raises(NotImplementedError):
        layers(1)
    assert len(nn.ModuleList()) == 0


def test_module_dict():
    heads = nn.ModuleDict({"a": nn.Linear(2, 1)})
    heads["b"] = nn.ReLU()
    heads.update([("c", nn.Tanh())])
    assert list(heads) == list(heads.keys()) == ["a", "b", "c"] and len(heads) == 3
    assert "a" in heads and heads["a"] is heads.a and list(heads.values())[0] is heads.a
    b = heads["b"]
    heads["b"] = nn.Tanh()
    assert heads["b"] is not b
    popped = heads["c"]
    assert heads.pop("c") is popped and "c" not in heads
    del heads["b"]
    assert [k for k, _ in heads.items()] == ["a"]
    with pytest.raises(KeyError):
        heads["keys"] = nn.ReLU()
    with pytest.raises(KeyError):
        del heads["zzz"]
    heads.clear()
    assert len(heads) == 0


def test_repr_is_pytorchs(torch):
    def build(n):
        return n.Sequential(
            n.Linear(2, 3, bias=False),
            n.LayerNorm(3),
            n.LayerNorm((4, 3), eps=1e-3, bias=False),
            n.LayerNorm(3, elementwise_affine=False),
            n.GELU("tanh"),
            n.SiLU(),
            n.ReLU(True),
            n.LeakyReLU(0.1, inplace=True),
            n.Softplus(),
            n.Softmax(1),
            n.LogSoftmax(-1),
            n.Dropout(0.3, True),
            n.Flatten(),
            n.Identity(),
            n.Sigmoid(),
            n.Tanh(),
            n.Sequential(),
            n.ModuleList([n.Linear(2, 2) for _ in range(3)] + [n.ReLU()]),
            n.ModuleDict({"a": n.Sequential(n.ReLU())}),
            n.CrossEntropyLoss(),
            n.HuberLoss(),
        )

    assert repr(build(nn)) == repr(build(torch.nn))
