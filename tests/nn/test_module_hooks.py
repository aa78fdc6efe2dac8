"""Hooks of backward passes and of states, extra state, renamed keys, paths in errors, tied weights; PyTorch is the oracle."""

import copy
import doctest
import importlib
import pickle
import re

import numpy as np
import pytest

import pydiff as pd
from pydiff import nn


def build(lib, array):
    """The same two layers in either library, and an input that requires a gradient or not."""
    model = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.Sequential(lib.nn.Tanh(), lib.nn.Linear(4, 2)))
    weights = np.random.default_rng(1)
    for parameter in model.parameters():
        parameter.data = array(weights.standard_normal(tuple(parameter.shape)).astype("float32"))
    return model


def shown(value):
    if isinstance(value, tuple):
        return [shown(v) for v in value]
    return None if value is None else np.round(value.detach().numpy(), 4).tolist()


@pytest.mark.smoke
@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("x_needs", [True, False])
def test_every_hook_is_called_as_in_pytorch(torch, x_needs):
    logs = []
    for lib, array in ((pd, pd.tensor), (torch, torch.tensor)):
        model, log = build(lib, array), []
        for name, module in model.named_modules():
            module.register_forward_pre_hook(lambda m, args, name=name: log.append(("pre", name)))
            module.register_forward_hook(lambda m, args, out, name=name: log.append(("post", name)))
            module.register_full_backward_hook(
                lambda m, before, after, name=name: log.append(("backward", name, shown(before), shown(after)))
            )
            module.register_full_backward_pre_hook(
                lambda m, after, name=name: log.append(("before backward", name, shown(after)))
            )
        x = array(np.array([[0.5, -1.0, 2.0]], "float32"))
        x.requires_grad_(x_needs)
        model(x).sum().backward()
        logs.append(log)
    assert logs[0] == logs[1]


def test_backward_hooks_change_gradients(torch):
    grads = []
    for lib, array in ((pd, pd.tensor), (torch, torch.tensor)):
        model = build(lib, array)
        model[1].register_full_backward_hook(lambda m, before, after: (before[0] * 3,))
        model[1].register_full_backward_pre_hook(lambda m, after: (after[0] * 2,))
        model[0].register_full_backward_hook(lambda m, before, after: None, prepend=True)
        x = array(np.array([[0.5, -1.0, 2.0]], "float32"))
        x.requires_grad_(True)
        model(x).sum().backward()
        grads.append([x.grad, *(p.grad for p in model.parameters())])
    for ours, theirs in zip(*grads):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5)


def test_backward_hooks_of_several_inputs_and_results(torch):
    logs = []
    for lib, array in ((pd, pd.tensor), (torch, torch.tensor)):

        class Two(lib.nn.Module):
            def forward(self, x, factor, y):
                return x * factor, "text", x + y

        model, log = Two(), []
        model.register_full_backward_hook(lambda m, before, after: log.append((shown(before), shown(after))))
        x, y = (array(np.array(v, "float32")) for v in ([1.0, 2.0], [3.0, 4.0]))
        x.requires_grad_(True)
        a, text, b = model(x, 3.0, y)
        assert text == "text"
        (a.sum() + 5 * b.sum()).backward()
        logs.append(log)
    assert logs[0] == logs[1]


def test_backward_hooks_see_results_in_dicts():
    class Named(nn.Module):
        def forward(self, x):
            return {"double": 2 * x, "text": "text"}

    model, seen = Named(), []
    model.register_full_backward_hook(lambda m, before, after: seen.append((shown(before), shown(after))))
    x = pd.ones(1, requires_grad=True)
    found = model(x)
    assert found["text"] == "text"
    found["double"].backward()
    assert seen == [([[2.0]], [[1.0], None])]


def test_backward_hooks_leave_and_are_named():
    layer, seen = nn.Identity(), []
    with layer.register_full_backward_hook(lambda *a: seen.append(1)):
        layer(pd.ones(1, requires_grad=True)).sum().backward()
        with pd.no_grad():
            layer(pd.ones(1, requires_grad=True))
        assert layer(pd.ones(1)).requires_grad is False
    layer(pd.ones(1, requires_grad=True)).sum().backward()
    assert seen == [1]
    layer.register_full_backward_hook(lambda m, before, after: (None, None))
    with pytest.raises(RuntimeError, match=r"\[register_full_backward_hook\] .*; got 2 for 1; try"):
        layer(pd.ones(1, requires_grad=True)).sum().backward()


class Counted(nn.Module):
    """Has state that is no tensor."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.calls = 0

    def get_extra_state(self):
        return {"calls": self.calls}

    def set_extra_state(self, state):
        self.calls = state["calls"]


def test_extra_state():
    model, twin = nn.Sequential(Counted()), nn.Sequential(Counted())
    model[0].calls = 7
    state = model.state_dict()
    assert list(state) == ["0._extra_state", "0.layer.weight", "0.layer.bias"]
    twin.load_state_dict(state)
    assert twin[0].calls == 7
    del state["0._extra_state"]
    with pytest.raises(RuntimeError, match="missing keys: 0._extra_state"):
        twin.load_state_dict(state)
    with pytest.raises(RuntimeError, match="unexpected keys: _extra_state"):
        nn.Linear(2, 2).load_state_dict({**nn.Linear(2, 2).state_dict(), "_extra_state": 3})
    with pytest.raises(RuntimeError, match=r"\[Linear\] there is no extra state; got .*; try def get_extra_state"):
        nn.Linear(1, 1).get_extra_state()


def test_hooks_of_the_state_are_called_as_in_pytorch(torch):
    logs = []
    for lib, array in ((pd, pd.tensor), (torch, torch.tensor)):
        model, log = build(lib, array), []
        handles = []
        for name, m in model.named_modules():
            handles += [
                m.register_state_dict_pre_hook(lambda m, prefix, keep, name=name: log.append(("pre", name, prefix, keep))),
                m.register_state_dict_post_hook(
                    lambda m, state, prefix, local, name=name: log.append(("post", name, list(state), prefix, dict(local)))
                ),
                m.register_load_state_dict_pre_hook(
                    lambda m, state, prefix, local, strict, missing, unexpected, messages, name=name: log.append(
                        ("load", name, prefix, local.get("version"), strict)
                    )
                ),
                m.register_load_state_dict_post_hook(
                    lambda m, keys, name=name: log.append(("loaded", name, list(keys[0]), list(keys[1])))
                ),
            ]
        state = model.state_dict()
        assert {k: v["version"] for k, v in state._metadata.items()} == {k: 1 for k, _ in model.named_modules()}
        del state["0.bias"]
        model.load_state_dict(state, strict=False)
        logs.append(log)
        for handle in handles:
            handle.remove()
        model.state_dict()
        assert len(log) == len(logs[-1])
    assert [e for e in logs[0] if e[0] != "load"] == [e for e in logs[1] if e[0] != "load"]
    assert [e for e in logs[0] if e[0] == "load"] == [e for e in logs[1] if e[0] == "load"]


def test_a_module_with_keys_of_its_own(torch):
    states = []
    for lib in (pd, torch):

        class Kernel(lib.nn.Linear):
            _version = 2

            def _save_to_state_dict(self, destination, prefix, keep_vars):
                super()._save_to_state_dict(destination, prefix, keep_vars)
                destination[prefix + "kernel"] = destination.pop(prefix + "weight")

            def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
                assert local_metadata.get("version") == 2
                state_dict[prefix + "weight"] = state_dict.pop(prefix + "kernel")
                super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

        model, twin = (lib.nn.Sequential(Kernel(2, 2)) for _ in range(2))
        state = model.state_dict()
        assert str(twin.load_state_dict(state)) == "<All keys matched successfully>"
        assert twin[0].weight.tolist() == model[0].weight.tolist()
        states.append((list(state), dict(state._metadata)))
    assert states[0] == states[1]


def test_hooks_may_repair_a_state():
    layer = nn.Linear(2, 2)

    def old_names(module, state, prefix, local, strict, missing, unexpected, messages):
        state[prefix + "weight"] = state.pop(prefix + "kernel")

    layer.register_load_state_dict_pre_hook(old_names)
    state = {"kernel": pd.ones(2, 2), "bias": pd.zeros(2)}
    assert layer.load_state_dict(state) == ([], [])
    assert list(state) == ["kernel", "bias"] and layer.weight.sum().item() == 4
    with layer.register_load_state_dict_pre_hook(lambda *a: a[-1].append("a bad day")):
        with pytest.raises(RuntimeError, match="a bad day"):
            layer.load_state_dict(state)
    layer.register_load_state_dict_post_hook(lambda module, keys: keys.missing_keys.append("more"))
    with pytest.raises(RuntimeError, match="missing keys: more"):
        layer.load_state_dict(state)


@pytest.mark.parametrize(
    "rename, expected",
    [
        (lambda key: key.removeprefix("model."), {"a.weight", "a.bias", "b.gamma", "ab"}),
        ({"model.": ""}, {"a.weight", "a.bias", "b.gamma", "ab"}),
        ({"model.a": "x"}, {"x.weight", "x.bias", "model.b.gamma", "xb"}),
        ({"": "net.", "net.model.": "net."}, {"net.a.weight", "net.a.bias", "net.b.gamma", "net.ab"}),
        ({"model.b": None, re.compile(r"weight$"): "w"}, {"model.a.w", "model.a.bias", "model.ab"}),
        ({re.compile(r"model\.(\w+)\.(\w+)"): r"\2.\1", re.compile("^model"): None}, {"weight.a", "bias.a", "gamma.b"}),
    ],
)
def test_rename(rename, expected):
    saved = dict.fromkeys(["model.a.weight", "model.a.bias", "model.b.gamma", "model.ab"], pd.ones(1))
    keys = nn.Module().load_state_dict(saved, strict=False, rename=rename)
    assert set(keys.unexpected_keys) == expected


def test_rename_is_checked():
    saved = {"a": pd.ones(1), "b": pd.ones(1)}
    with pytest.raises(ValueError, match=r"^\[load_state_dict\] two saved keys .*; got 'a' and 'b', both 'c'; try"):
        nn.Module().load_state_dict(saved, rename=lambda key: "c")
    with pytest.raises(TypeError, match=r"^\[load_state_dict\] rename .*; got list; try"):
        nn.Module().load_state_dict(saved, rename=["a"])
    with pytest.raises(TypeError, match=r"^\[load_state_dict\] a state is a mapping .*; got str; try"):
        nn.Module().load_state_dict("model.pt")


def test_the_report_is_a_table():
    model = nn.Linear(2, 3)
    with pytest.raises(RuntimeError) as caught:
        model.load_state_dict({"w.weight": pd.ones(2, 2), "w.scale": pd.ones(1)}, rename={"w.": ""})
    report = caught.value.report
    assert report.wrong_shapes == [("weight", (2, 2), (3, 2))]
    assert report.renamed == [("w.weight", "weight"), ("w.scale", "scale")]
    assert str(report).splitlines() == [
        "0 keys fit, 1 missing, 1 unexpected, 1 of a wrong shape",
        "missing      bias    (3,)",
        "unexpected   scale   (1,)",
        "wrong shape  weight  (2, 2) for (3, 2)",
    ]
    again = pickle.loads(pickle.dumps(report))
    assert again == report and str(again) == str(report)
    assert str(model.load_state_dict(model.state_dict())) == "<All keys matched successfully>"


# ---- paths in errors


class Block(nn.Module):
    def __init__(self, size=4):
        super().__init__()
        self.linear1 = nn.Linear(4, size)
        self.linear2 = nn.Linear(4, 4)

    def forward(self, x):
        return self.linear2(self.linear1(x).relu())


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Block(), Block(), Block(5)])
        self.first = nn.Sequential(nn.Identity(), Block())

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.mark.smoke
def test_an_error_names_the_layers_path():
    model = Model()
    with pytest.raises(ValueError, match=r"^\[linear\] .*; got .*; try .* \(in model layers\.2\.linear2\)$"):
        model(pd.zeros(1, 4))
    with pytest.raises(ValueError, match=r" \(in model first\.1\.linear1\)$"):
        model(pd.zeros(1, 3))
    with pytest.raises(ValueError, match=r" \(in model 0\.first\.1\.linear1\)$"):
        nn.Sequential(model)(pd.zeros(1, 3))
    with pytest.raises(ValueError, match=r" \(in model 1\.linear1\)$"):
        model.first(pd.zeros(1, 3))
    with pytest.raises(ValueError) as caught:
        model.first[1].linear1(pd.zeros(1, 3))
    assert "in model" not in str(caught.value)
    handle = model.register_forward_hook(lambda *a: None)
    with pytest.raises(ValueError, match=r"\(in model first\.1\.linear1\)$") as caught:
        model(pd.zeros(1, 3))
    handle.remove()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert str(caught.value).count("in model") == 1


def test_other_errors_stay_as_they_are():
    class Odd(nn.Module):
        def forward(self, error):
            raise error

    model = nn.Sequential(Odd())
    for error in (ValueError("mine"), KeyError("a"), RuntimeError("[x] y", 3), StopIteration(), ValueError()):
        args = error.args
        with pytest.raises(type(error)) as caught:
            model(error)
        assert caught.value is error and error.args == args


def test_what_is_found_later_names_its_line_and_no_layer():
    class Embed(nn.Module):
        def forward(self, index):
            return nn.functional.embedding(index, pd.ones(3, 2))

    class Looks(nn.Module):
        def forward(self, x):
            return x * x.sum().item()

    with pytest.raises(IndexError, match=r"recorded at .*test_module_hooks.py:\d+$"):
        nn.Sequential(Embed(), Looks())(pd.tensor([7]))


def test_a_module_that_is_not_registered_has_no_path():
    class Hides(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = [nn.Linear(2, 2)]

        def forward(self, x):
            return self.hidden[0](x)

    with pytest.raises(ValueError, match=r"\(in model 0\)$"):
        nn.Sequential(Hides())(pd.zeros(1, 3))


# ---- tied weights, buffers, whole modules


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Linear(3, 3, bias=False)
        self.decode = nn.Linear(3, 3, bias=False)
        self.decode.weight = self.encode.weight
        self.mean = nn.Buffer(pd.zeros(3))
        self.again = self.mean
        self.scratch = nn.Buffer(pd.ones(2), persistent=False)

    def forward(self, x):
        return self.decode(self.encode(x)) + self.mean


CHANGES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda m: pickle.loads(pickle.dumps(m)),
    "to": lambda m: m.to(pd.float64),
    "type": lambda m: m.type(pd.float64),
    "to_empty": lambda m: m.to_empty(device=pd.get_default_device()),
    "load": lambda m: (m.load_state_dict(Tied().state_dict()), m)[1],
    "train": lambda m: m.eval().train(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_tied_weights_stay_tied(name):
    model = CHANGES[name](Tied())
    assert model.encode.weight is model.decode.weight is model.decode._parameters["weight"]
    assert isinstance(model.encode.weight, nn.Parameter) and model.encode.weight.requires_grad
    assert len(list(model.parameters())) == 1
    assert sorted(model.state_dict()) == ["again", "decode.weight", "encode.weight", "mean"]
    assert model.mean is model.again and isinstance(model.mean, nn.Buffer) and model.mean.persistent
    assert list(dict(model.named_buffers())) == ["mean", "scratch"]
    model(pd.ones(1, 3, dtype=model.encode.weight.dtype)).sum().backward()
    assert model.decode.weight.grad is not None


def test_buffers():
    module = nn.Module()
    module.plain = nn.Buffer([1.0, 2.0])
    module.plain = pd.zeros(3)  # a tensor keeps the place
    assert [n for n, _ in module.named_buffers()] == ["plain"] and list(module.state_dict()) == ["plain"]
    module.plain = nn.Buffer(pd.zeros(1), persistent=False)
    assert list(module.state_dict()) == []
    assert tuple(nn.Buffer().shape) == (0,)
    assert not nn.Buffer(pd.zeros(2)).requires_grad


def hook_for_pickle(module, args, result):
    return result + 1


def test_copies_keep_their_hooks():
    layer = nn.Identity()
    handle = layer.register_forward_hook(hook_for_pickle)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin(1.0) == 2.0
    twin = copy.deepcopy(layer)
    handle.remove()
    assert layer(1.0) == 1.0 and twin(1.0) == 2.0
    layer.register_state_dict_post_hook(lambda module, state, prefix, local: state.clear())
    assert copy.deepcopy(layer).state_dict() == {}


def test_set_submodule():
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.ReLU())
    model.set_submodule("0.0", nn.Tanh())
    model.set_submodule("0.1", nn.Tanh())
    assert [type(m).__name__ for m in model.modules()] == ["Sequential", "Sequential", "Tanh", "Tanh", "ReLU"]
    for target, module, strict, error in (
        ("", nn.Tanh(), False, ValueError),
        ("0.0", 3, False, ValueError),
        ("0.7", nn.Tanh(), True, AttributeError),
        ("9.0", nn.Tanh(), False, AttributeError),
        ("0.training", nn.Tanh(), False, AttributeError),
    ):
        with pytest.raises(error, match=r"^\[\w+\] .*; got .*; try "):
            model.set_submodule(target, module, strict)


def test_to_empty_of_one_module():
    model = nn.Sequential(nn.Linear(2, 2))
    model.bias = nn.Parameter(pd.ones(2))
    weight = model[0].weight.detach().numpy().copy()
    assert model.to_empty(device=pd.get_default_device(), recurse=False) is model
    assert np.array_equal(model[0].weight.detach().numpy(), weight)


@pytest.mark.parametrize("name", ["module", "parameter"])
def test_examples(name):
    tried = doctest.testmod(importlib.import_module(f"pydiff.nn.{name}"))
    assert tried.attempted and not tried.failed
