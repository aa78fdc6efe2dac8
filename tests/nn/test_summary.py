"""The table of a model: shapes, parameters, products, memory; and that the model is as it was."""

import doctest
import importlib

import numpy as np
import pytest

import pydiff as pd
from pydiff import nn
from pydiff.nn import functional as F


class Net(nn.Module):
    """A convolution, a buffer that a forward pass changes, a product of its own, tied and frozen weights, two results."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(pd.randn(4, 3, 3, 3))
        self.body = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 4, bias=False))
        self.tied = nn.Linear(6, 4, bias=False)
        self.tied.weight = self.body[3].weight
        self.tied.requires_grad_(False)
        self.register_buffer("count", pd.zeros(2))
        self.unused = nn.Linear(2, 2)
        self.modes = []

    def forward(self, image, factor=1.0):
        self.modes.append(self.training)
        self.count.add_(1)
        x = F.conv2d(image, self.kernel, padding=1).mean((2, 3))
        y = self.body(x)
        y = self.body[0](y) @ pd.ones(6, 2) * factor
        return y, {"image": image, "noise": pd.rand(3)}


def pending_limits():
    limits = pd._C.set_pending_limits(1, 1)
    pd._C.set_pending_limits(*limits)
    return limits


@pytest.fixture
def net():
    return Net()


@pytest.mark.smoke
def test_the_numbers(net):
    x = pd.randn(2, 3, 8, 8)
    found = nn.summary(net, x)
    assert [layer.path for layer in found] == [
        "", "body", "body.0", "body.1", "body.2", "body.3", "tied", "unused"
    ]  # fmt: skip
    assert [layer.kind for layer in found][:3] == ["Net", "Sequential", "Linear"] and len(found) == 8
    assert found[""].flops == 2 * 2 * 8 * 8 * 4 * 27 + 2 * 2 * 6 * 2
    assert found["body.0"].flops == 2 * (2 * 2 * 4 * 6) and found["body.0"].calls == 2
    assert found["body.3"].flops == 2 * 2 * 6 * 4 and found["body"].flops == 0
    assert found.flops == sum(layer.flops for layer in found)
    assert found[""].input_shapes == [(2, 3, 8, 8)] and found[""].output_shapes == [(2, 2), (2, 3, 8, 8), (3,)]
    assert found["body.2"].output_shapes == [(2, 6)] and found["unused"].output_shapes == []
    assert found.parameters == 108 + 30 + 24 + 6 == sum(p.numel() for p in net.parameters())
    assert found.trainable == 108 + 30 + 6 and found.frozen == 24 and found.parameter_bytes == 4 * found.parameters
    assert found["tied"].parameters == 0 and found["tied"].shared == 24 and found["body.3"].trainable == 0
    assert found.buffers == 2 and found.buffer_bytes == 8 and found.input_bytes == x.nbytes
    # body.0 twice, relu (dropout gives it on), body.3 (the Sequential gives it on), the last product, the noise
    assert found.activation_bytes == 4 * (2 * 12 + 12 + 8 + 4 + 3)
    assert tuple(found.output[0].shape) == (2, 2)
    with pytest.raises(KeyError):
        found["none"]


def test_the_model_is_as_it_was(net):
    net.train()
    net.body.eval()
    net.body[2].train()
    net.count.add_(3)
    modes, limits = [m.training for m in net.modules()], pending_limits()
    count = net.count
    view = net.count[0]
    pd.manual_seed(9)
    expected = pd.rand(4).tolist()
    pd.manual_seed(9)
    nn.summary(net, {"image": pd.ones(1, 3, 8, 8), "factor": 2.0})
    assert pd.rand(4).tolist() == expected
    assert net.modes == [False] and [m.training for m in net.modules()] == modes
    assert net.count is count and net._buffers["count"] is count and count.tolist() == [3.0, 3.0] and view.item() == 3.0
    assert not any(m._hooks for m in net.modules()) and net.kernel.grad is None
    with pytest.raises(ValueError, match=r"\[linear\]"):
        nn.summary(nn.Sequential(net.body), pd.ones(1, 5))
    assert not any(m._hooks for m in net.modules()) and [m.training for m in net.modules()] == modes
    assert pending_limits() == limits


def test_kinds_of_input():
    linear = nn.Linear(3, 2).double()
    assert nn.summary(linear, (5, 3))[""].output_shapes == [(5, 2)]
    assert nn.utils.summary(linear, [pd.ones(3, dtype=pd.float64)]).flops == 12
    assert nn.summary(nn.GRUCell(2, 3), (pd.ones(1, 2), pd.ones(1, 3))).flops == 2 * (9 * 2 + 9 * 3)
    assert nn.summary(nn.GRUCell(2, 3), [(1, 2), (1, 3)])[""].input_shapes == [(1, 2), (1, 3)]
    packed = nn.utils.rnn.pack_sequence([pd.ones(4, 2), pd.ones(1, 2)])
    assert nn.summary(nn.GRU(2, 3), packed)[""].input_shapes == [(5, 2), (4,)]
    for wrong in (lambda: nn.summary(linear, 3), lambda: nn.summary(F.relu, (1, 2))):
        with pytest.raises(TypeError, match=r"^\[summary\] .*; got .*; try summary\(model, x\)"):
            wrong()


def test_recurrent_and_attention_layers_are_counted():
    lstm = nn.summary(nn.LSTM(4, 5, 2, bidirectional=True), (7, 3, 4))
    steps = 7 * 3
    assert lstm.flops == 2 * steps * 2 * (20 * 4 + 20 * 5) + 2 * steps * 2 * (20 * 10 + 20 * 5)
    attention = nn.summary(nn.MultiheadAttention(8, 2), [pd.randn(5, 3, 8)] * 3)
    assert attention.flops == 4 * 2 * 15 * 8 * 8 + 2 * (2 * 3 * 2 * 5 * 5 * 4)
    assert attention.parameters == 4 * 64 + 32


class Attend(nn.Module):
    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def test_flops_are_those_that_pytorch_counts(torch):
    from torch.utils.flop_counter import FlopCounterMode

    shapes = (2, 7, 16), (2, 5, 16)
    oracle = torch.nn.Transformer(16, 4, 1, 2, 24, batch_first=True)
    with FlopCounterMode(display=False) as counted:
        oracle(*(torch.ones(shape) for shape in shapes))
    found = nn.summary(nn.Transformer(16, 4, 1, 2, 24, batch_first=True), [pd.ones(shape) for shape in shapes])
    assert found.flops == counted.get_total_flops()
    assert found.parameters == sum(p.numel() for p in oracle.parameters())
    heads = (2, 4, 7, 16), (2, 2, 9, 16), (2, 2, 9, 24)
    with FlopCounterMode(display=False) as counted:
        torch.nn.functional.scaled_dot_product_attention(*(torch.ones(s).repeat_interleave(4 // s[1], 1) for s in heads))
    assert nn.summary(Attend(), [pd.ones(s) for s in heads]).flops == counted.get_total_flops()
    image, kernel = np.ones((2, 4, 9, 9), "float32"), np.ones((6, 2, 3, 3), "float32")
    with FlopCounterMode(display=False) as counted:
        torch.nn.functional.conv2d(torch.tensor(image), torch.tensor(kernel), stride=2, padding=1, groups=2)

    class Conv(nn.Module):
        def forward(self, x):
            return F.conv2d(x, pd.tensor(kernel), stride=2, padding=1, groups=2)

    assert nn.summary(Conv(), pd.tensor(image)).flops == counted.get_total_flops()


def test_a_long_pending_graph_is_counted_whole():
    """Nothing is computed for being too much pending before it was counted."""
    steps = 4000
    assert nn.summary(nn.RNN(1, 2), (steps, 1, 1)).flops == 2 * steps * (2 + 4)


def test_the_text(net):
    text = str(nn.summary(net, (1, 3, 8, 8)))
    lines = text.splitlines()
    assert lines[0].split() == ["layer", "class", "input", "output", "parameters", "FLOPs", "activations"]
    assert "(frozen) 24" in text and "(24 shared) -" in text and "Linear x2" in text
    assert lines[-3] == "parameters   168 (144 trained, 24 frozen), 672 B; buffers 2, 8 B"
    assert lines[-2].startswith("FLOPs        13,9")
    assert len({len(line) for line in lines[1:2]}) == 1
    folded = nn.summary(net, (1, 3, 8, 8)).table(depth=1).splitlines()
    assert [line.split()[0] for line in folded[2:]] == ["(model)", "body", "tied", "unused"]
    assert "(24 frozen) 54" in folded[3]


def test_examples():
    tried = doctest.testmod(importlib.import_module("pydiff.nn._summary"))
    assert tried.attempted and not tried.failed


def test_the_result_is_the_models():
    x = pd.randn(3, 4)
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh()).eval()
    np.testing.assert_array_equal(nn.summary(model, x).output.numpy(), model(x).detach().numpy())
