"""Memory formats against PyTorch: strides, values and gradients; what keeps channels-last, and in which order it computes."""

import numpy as np
import pytest

import pydiff as pd

torch = pytest.importorskip("torch")
F = "nn.functional"


def of(m, name):
    for part in name.split("."):
        m = getattr(m, part)
    return m


def image(m, shape=(2, 4, 6, 5), seed=0):
    data = np.random.default_rng(seed).normal(size=shape)
    return m.tensor(data, dtype=m.float64)


def last(m, x):
    return x.to(memory_format=m.channels_last_3d if x.ndim == 5 else m.channels_last)


def same_layout(p, t):
    assert tuple(p.shape) == tuple(t.shape)
    assert p.stride() == t.stride()
    for name in ("contiguous_format", "channels_last", "channels_last_3d"):
        assert p.is_contiguous(memory_format=getattr(pd, name)) == t.is_contiguous(memory_format=getattr(torch, name)), name


SHAPES = {
    "to": lambda m, x: last(m, x),
    "contiguous": lambda m, x: x.contiguous(memory_format=m.channels_last),
    "and back": lambda m, x: last(m, x).contiguous(),
    "to contiguous": lambda m, x: last(m, x).to(memory_format=m.contiguous_format),
    "clone keeps": lambda m, x: last(m, x).clone(),
    "clone turns": lambda m, x: x.clone(memory_format=m.channels_last),
    "clone drops": lambda m, x: last(m, x).clone(memory_format=m.contiguous_format),
    "zeros_like": lambda m, x: m.zeros_like(last(m, x)),
    "ones_like": lambda m, x: m.ones_like(x, memory_format=m.channels_last),
    "full_like": lambda m, x: m.full_like(last(m, x), 3, memory_format=m.contiguous_format),
    "empty_like": lambda m, x: m.zeros_like(m.empty_like(last(m, x))),
    "empty": lambda m, x: m.zeros_like(m.empty((2, 3, 4, 5), memory_format=m.channels_last)),
    "dtype keeps": lambda m, x: last(m, x).float(),
    "dtype and format": lambda m, x: x.to(m.float32, memory_format=m.channels_last),
    "cast with format": lambda m, x: x.float(memory_format=m.channels_last),
    "detach": lambda m, x: last(m, x).detach(),
    "one function": lambda m, x: m.abs(last(m, x)),
    "numbers": lambda m, x: 2 - last(m, x) * 3,
    "two": lambda m, x: last(m, x) * last(m, x + 1),
    "first of two formats": lambda m, x: last(m, x) + x,
    "second of two formats": lambda m, x: x + last(m, x),
    "a number for each channel": lambda m, x: last(m, x) + x[0, :, :1, :1],
    "and before": lambda m, x: x[:1, :, :1, :1] * last(m, x),
    "truth": lambda m, x: last(m, x) > 0,
    "minus": lambda m, x: -last(m, x),
    "where": lambda m, x: m.where(last(m, x) > 0, last(m, x), 0.0),
    "clamp": lambda m, x: last(m, x).clamp(0, 1),
    "leaky_relu": lambda m, x: of(m, F).leaky_relu(last(m, x)),
    "gelu": lambda m, x: m.round(of(m, F).gelu(last(m, x)), decimals=6),
    "hardtanh": lambda m, x: of(m, F).hardtanh(last(m, x)),
    "dropout": lambda m, x: m.zeros_like(of(m, F).dropout(last(m, x), 0.5)),
    "cat": lambda m, x: m.cat([last(m, x), last(m, x)[:, 1:]], 1),
    "cat of rows": lambda m, x: m.cat([last(m, x), last(m, x)], -1),
    "cat of two formats": lambda m, x: m.cat([x, last(m, x)]),
    "pad": lambda m, x: of(m, F).pad(last(m, x), (1, 2, 0, 1)),
    "in place": lambda m, x: last(m, x).add_(1).mul_(x),
    "in place by operator": lambda m, x: last(m, x).__iadd__(x),
    "permuted": lambda m, x: x.permute(0, 3, 1, 2) * 2,
    "sliced": lambda m, x: last(m, x)[:, :, 1:],
    "sliced and computed": lambda m, x: last(m, x)[:, :, 1:] + 1,
    "channels cut": lambda m, x: last(m, x)[:, 1:],
    "one channel": lambda m, x: last(m, x[:, :1].contiguous()),
    "one place": lambda m, x: last(m, x[:, :, :1, :1].contiguous()) * 2,
    "one image": lambda m, x: last(m, x[:1]) * 2,
}


@pytest.mark.parametrize("name", SHAPES)
def test_strides_and_values(name):
    p, t = SHAPES[name](pd, image(pd)), SHAPES[name](torch, image(torch))
    same_layout(p, t)
    np.testing.assert_array_equal(p.cpu().numpy(), t.numpy())


def test_values_of_operands_that_broadcast(rng):
    """Random shapes, formats and slices of two operands: the values are those without formats, bit for bit."""
    functions = [pd.add, pd.mul, pd.maximum, pd.gt, lambda a, b: pd.where(a > 0, a, b), lambda a, b: pd.clamp(a, min=b)]
    seen = 0
    for _ in range(300):
        axes = int(rng.choice([4, 5]))
        full = rng.choice([1, 2, 3, 4], axes)
        plain, formatted = [], []
        for _ in range(2):
            shape = np.where(rng.random(axes) < 0.8, full, 1)
            x = pd.tensor(rng.normal(size=shape if rng.random() < 0.9 else shape[int(rng.integers(axes)) :]))
            y = last(pd, x) if x.ndim == axes and rng.random() < 0.7 else x
            if x.ndim == axes and rng.random() < 0.2:
                x, y = x[:, :, :1], y[:, :, :1]
            plain.append(x)
            formatted.append(y)
        f = functions[int(rng.integers(len(functions)))]
        want, got = f(*plain), f(*formatted)
        seen += not got.is_contiguous()
        assert got.shape == want.shape and np.array_equal(got.cpu().numpy(), want.cpu().numpy())
    assert seen > 50


#: (function, shape, shapes of the other tensors, keywords, whether PyTorch gives the format, too)
LAYERS = {
    "conv2d": ("conv2d", (2, 4, 6, 5), [(8, 4, 3, 3), (8,)], {"padding": 1}),
    "conv2d strided": ("conv2d", (2, 4, 6, 5), [(6, 4, 3, 2)], {"stride": 2, "dilation": (1, 2)}),
    "conv2d grouped": ("conv2d", (2, 4, 6, 5), [(6, 2, 3, 3), (6,)], {"groups": 2, "padding": "same"}),
    "conv2d depthwise": ("conv2d", (2, 4, 6, 5), [(4, 1, 3, 3)], {"groups": 4}),
    "conv2d of points": ("conv2d", (2, 4, 6, 5), [(3, 4, 1, 1), (3,)], {}),
    "conv3d": ("conv3d", (2, 3, 4, 5, 4), [(4, 3, 2, 2, 2), (4,)], {"padding": 1}),
    "conv_transpose2d": ("conv_transpose2d", (2, 4, 4, 3), [(4, 3, 3, 3), (3,)], {"stride": 2, "padding": 1, "output_padding": 1}),
    "conv_transpose2d grouped": ("conv_transpose2d", (2, 4, 4, 3), [(4, 3, 2, 3)], {"groups": 2, "dilation": 2}),
    "conv_transpose3d": ("conv_transpose3d", (1, 2, 3, 3, 2), [(2, 3, 2, 2, 2)], {"stride": 2}),
    "max_pool2d": ("max_pool2d", (2, 4, 6, 5), [], {"kernel_size": 3, "stride": 2, "padding": 1}),
    "max_pool2d ceil": ("max_pool2d", (2, 4, 6, 5), [], {"kernel_size": 2, "dilation": 2, "ceil_mode": True}),
    "max_pool3d": ("max_pool3d", (2, 3, 4, 5, 4), [], {"kernel_size": 2}),
    "avg_pool2d": ("avg_pool2d", (2, 4, 6, 5), [], {"kernel_size": 3, "padding": 1, "count_include_pad": False}),
    "avg_pool3d": ("avg_pool3d", (2, 3, 4, 5, 4), [], {"kernel_size": 2, "ceil_mode": True}),
    "lp_pool2d": ("lp_pool2d", (2, 4, 6, 5), [], {"norm_type": 2, "kernel_size": 2}),
    "adaptive_avg_pool2d": ("adaptive_avg_pool2d", (2, 4, 6, 5), [], {"output_size": (4, 2)}),
    "adaptive_max_pool2d": ("adaptive_max_pool2d", (2, 4, 6, 5), [], {"output_size": 3}),
    "nearest": ("interpolate", (2, 4, 6, 5), [], {"scale_factor": 2}),
    "bilinear": ("interpolate", (2, 4, 6, 5), [], {"size": (9, 4), "mode": "bilinear"}),
    "bicubic": ("interpolate", (2, 4, 6, 5), [], {"size": (9, 4), "mode": "bicubic", "align_corners": True}),
    "batch_norm": ("batch_norm", (2, 4, 6, 5), [None, None, (4,), (4,)], {"training": True}),
    "group_norm": ("group_norm", (2, 4, 6, 5), [2, (4,), (4,)], {}),
    "instance_norm": ("instance_norm", (2, 4, 6, 5), [None, None, (4,), (4,)], {}),
}
#: Where the sum of each element has the order that it has in a contiguous tensor, so that the bits are the same.
SAME_BITS = [n for n in LAYERS if "pool" in n or LAYERS[n][0] == "interpolate"]


def run(m, name, formatted, weight_formatted=False, double=True):
    function, shape, others, options = LAYERS[name]
    tensors = [image(m, shape).requires_grad_()]
    arguments = []
    for k, other in enumerate(others):
        if isinstance(other, tuple):
            other = image(m, other, seed=k + 1).requires_grad_()
            tensors.append(other)
        arguments.append(other)
    if weight_formatted:
        arguments[0] = last(m, arguments[0])
    x = last(m, tensors[0]) if formatted else tensors[0]
    y = getattr(of(m, F), function)(x, *arguments, **options)
    cotangent = image(m, tuple(y.shape), seed=9)
    (y * cotangent).sum().backward()
    return y, [t.grad for t in tensors]


@pytest.mark.parametrize("name", LAYERS)
def test_layers_keep_the_format(name):
    p, gradients = run(pd, name, True)
    t, wanted = run(torch, name, True)
    assert p.is_contiguous(memory_format=pd.channels_last_3d if p.ndim == 5 else pd.channels_last)
    if LAYERS[name][0] not in ("conv_transpose3d", "conv3d", "instance_norm", "avg_pool3d"):  # there PyTorch's CPU has another
        same_layout(p, t)
    np.testing.assert_allclose(p.detach().cpu().numpy(), t.detach().numpy(), rtol=1e-11, atol=1e-11)
    for g, w in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(g.cpu().numpy(), w.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", LAYERS)
def test_values_are_those_of_the_contiguous_path(name):
    y, gradients = run(pd, name, True)
    plain, others = run(pd, name, False)
    assert plain.is_contiguous()
    if name in SAME_BITS:
        assert np.array_equal(y.detach().cpu().numpy(), plain.detach().cpu().numpy())
    for a, b in zip([y.detach(), *gradients], [plain.detach(), *others], strict=True):
        np.testing.assert_allclose(a.cpu().numpy(), b.cpu().numpy(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["conv2d", "conv2d grouped", "conv_transpose2d"])
def test_the_weight_may_have_the_format(name):
    y, gradients = run(pd, name, False, weight_formatted=True)
    t, wanted = run(torch, name, False, weight_formatted=True)
    same_layout(y, t)
    np.testing.assert_allclose(y.detach().cpu().numpy(), t.detach().numpy(), rtol=1e-11, atol=1e-11)
    for g, w in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(g.cpu().numpy(), w.numpy(), rtol=1e-10, atol=1e-10)


def test_indices_of_a_pool():
    for m in (pd, torch):
        values, indices = of(m, F).max_pool2d(last(m, image(m)), 2, return_indices=True)
        assert indices.stride() == values.stride()
        found = indices.cpu().numpy()
        if m is torch:
            np.testing.assert_array_equal(found, kept)
        kept = found


def small_net(m, x, weights):
    f = of(m, F)
    y = f.relu(f.conv2d(x, weights[0], padding=1) + weights[1].reshape(1, -1, 1, 1))
    y = f.max_pool2d(f.batch_norm(y, None, None, training=True), 2)
    return f.adaptive_avg_pool2d(f.conv2d(y, weights[2]), 1).flatten(1)


def test_a_network_agrees():
    shapes = [(8, 4, 3, 3), (8,), (5, 8, 3, 3)]
    results = {}
    for m in (pd, torch):
        weights = [image(m, s, seed=k).requires_grad_() for k, s in enumerate(shapes)]
        for formatted in (False, True):
            x = last(m, image(m, (2, 4, 8, 8))) if formatted else image(m, (2, 4, 8, 8))
            out = small_net(m, x, weights)
            (out * out).sum().backward()
            results[m, formatted] = [out.detach(), *[w.grad for w in weights]]
            for w in weights:
                w.grad = None
    for formatted in (False, True):
        for a, b in zip(results[pd, formatted], results[torch, formatted], strict=True):
            np.testing.assert_allclose(a.cpu().numpy(), b.numpy(), rtol=1e-9, atol=1e-9)


def kernels(f):
    """How many kernels a call of f takes once its plans are made."""
    f()
    before = pd._C.exec_stats()["kernels"]
    f()
    return pd._C.exec_stats()["kernels"] - before


def test_no_image_is_permuted_between_layers(monkeypatch):
    """As many kernels as without the format, but for one that turns each of the two weights."""
    monkeypatch.setattr(pd.nn._convolution, "has_kernel", lambda *_, **__: False)  # the format is computed by columns
    weights = [image(pd, s, seed=k) for k, s in enumerate([(8, 4, 3, 3), (8,), (5, 8, 3, 3)])]
    x = image(pd, (2, 4, 8, 8))
    formatted = last(pd, x)
    plain = kernels(lambda: small_net(pd, x, weights).sum().item())
    assert 0 < kernels(lambda: small_net(pd, formatted, weights).sum().item()) <= plain + 2


def test_a_format_met_by_its_inverse_is_no_kernel():
    x = last(pd, image(pd) + 0)
    y = pd._C.places_last(pd.exp(pd.sin(x)))
    order = pd._C.places_last(x)
    np.testing.assert_array_equal(y.cpu().numpy(), pd.exp(pd.sin(order)).cpu().numpy())


def test_hooks_and_retained_gradients_see_the_tensor_as_it_is():
    x = image(pd).requires_grad_()
    y = last(pd, x)
    y.retain_grad()
    seen = []
    y.register_hook(lambda g: seen.append(tuple(g.shape)))
    (pd.sin(y) * 2).sum().backward()
    assert tuple(y.grad.shape) == (2, 4, 6, 5) and seen == [(2, 4, 6, 5)]
    np.testing.assert_allclose(y.grad.cpu().numpy(), x.grad.cpu().numpy())


def test_dropout_draws_the_same_places():
    x, found = image(pd), []
    for formatted in (x, last(pd, x)):
        pd.manual_seed(3)
        found.append(of(pd, F).dropout(formatted, 0.4))
    assert found[1].is_contiguous(memory_format=pd.channels_last)
    np.testing.assert_array_equal(found[0].cpu().numpy(), found[1].cpu().numpy())


def test_views_of_it_write_through():
    for m in (pd, torch):
        y = last(m, image(m))
        y[:, 1] = 5.0
        y.permute(0, 2, 3, 1)[0, 0] += 1.0
        z = of(m, F).avg_pool2d(y, 2)
        if m is torch:
            np.testing.assert_allclose(kept, z.numpy(), rtol=1e-12)
        kept = z.cpu().numpy()


def test_derivatives_of_both_modes_and_vmap():
    w = image(pd, (3, 4, 2, 2), seed=4)

    def f(t):
        return of(pd, F).conv2d(pd.sin(last(pd, t)), w).sum(1)

    x = image(pd, (1, 4, 3, 3))
    pd.testing.check_grads(f, order=2)(x)
    batch = pd.stack([x, x * 2])
    one_by_one = pd.stack([f(b) for b in batch])
    np.testing.assert_allclose(pd.vmap(f)(batch).cpu().numpy(), one_by_one.cpu().numpy(), rtol=1e-12)


def test_modules_and_parameters():
    class Net(pd.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = pd.nn.Parameter(image(pd, (3, 4, 2, 2)))
            self.bias = pd.nn.Parameter(image(pd, (3,)))

        def forward(self, x):
            return of(pd, F).conv2d(x, self.weight, self.bias)

    assert pd.nn.Parameter(last(pd, image(pd))).stride() == torch.nn.Parameter(last(torch, image(torch))).stride()
    net = Net()
    plain = net(image(pd)).detach().cpu().numpy()
    held = net.weight
    assert net.to(memory_format=pd.channels_last) is net and net.weight is held
    assert net.weight.is_contiguous(memory_format=pd.channels_last) and net.bias.is_contiguous()
    y = net(image(pd))
    assert y.is_contiguous(memory_format=pd.channels_last)
    np.testing.assert_allclose(y.detach().cpu().numpy(), plain, rtol=1e-12)
    y.sum().backward()
    assert net.weight.grad.stride() == net.weight.stride()


def test_errors():
    x = image(pd)
    with pytest.raises(TypeError, match="memory format"):
        x.to(memory_format="channels_last")
    with pytest.raises(RuntimeError, match="channels_last is of 4 axes"):
        pd.zeros(3, 4).to(memory_format=pd.channels_last)
    with pytest.raises(RuntimeError, match="channels_last_3d of 5"):
        x.contiguous(memory_format=pd.channels_last_3d)
    with pytest.raises(RuntimeError, match="preserve_format"):
        x.contiguous(memory_format=pd.preserve_format)
    with pytest.raises(RuntimeError):  # as in PyTorch: its memory is in another order
        last(pd, x).view(2, -1)
