"""The kernels of convolution against its definition by columns: values, derivatives of both orders, batches, bits."""

import numpy as np
import pytest

import pydiff as pd
from pydiff.nn import _convolution as convolution
from pydiff.nn import functional as F


@pytest.fixture
def on_the_cpu(device):
    if device != "cpu":
        pytest.skip("the CPU's threads")


# input, weight, arguments
SAMPLES = [
    ((2, 3, 9), (4, 3, 3), {}),
    ((2, 4, 9), (6, 2, 3), {"stride": 2, "padding": 2, "groups": 2}),
    ((1, 2, 20), (3, 2, 4), {"dilation": 3, "padding": 1}),
    ((2, 3, 8, 8), (5, 3, 3, 3), {"padding": 1}),
    ((3, 4, 7, 10), (6, 2, 3, 2), {"stride": (2, 3), "padding": (1, 0), "dilation": (1, 2), "groups": 2}),
    ((2, 6, 9, 9), (6, 1, 3, 3), {"groups": 6, "padding": 1}),
    ((2, 20, 32, 32), (33, 20, 3, 3), {"padding": 1}),
    ((2, 3, 16, 16), (8, 3, 5, 5), {"padding": "same"}),
    ((1, 2, 5, 6, 7), (3, 2, 2, 3, 2), {"padding": (0, 1, 1), "stride": (1, 2, 1)}),
    ((4, 2, 6, 6), (3, 2, 1, 1), {}),
    ((2, 3, 6, 6), (4, 3, 2, 2), {"stride": 4}),
]


# The same of transposed ones: zeros between the places of the input.
TRANSPOSED = [
    ((2, 3, 7), (3, 4, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ((2, 4, 5), (4, 3, 2), {"stride": 3, "groups": 2, "dilation": 2}),
    ((2, 3, 6, 5), (3, 4, 3, 3), {"padding": 1}),
    ((2, 4, 4, 6), (4, 2, 4, 3), {"stride": (2, 3), "padding": (1, 0), "output_padding": (0, 2), "groups": 2}),
    ((2, 3, 5, 5), (3, 4, 1, 1), {"stride": 2}),  # most results have no term
    ((1, 2, 3, 4, 3), (2, 3, 2, 2, 2), {"stride": (2, 1, 2)}),
]


def function(name, shape, arguments):
    return lambda x, w: getattr(F, f"{name}{len(shape) - 2}d")(x, w, **arguments)


def channels_last(f):
    """The same of operands that lie channels-last."""

    def of_places(x, w):
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
        return f(x.to(memory_format=pd.channels_last if x.ndim == 4 else pd.channels_last_3d), w)

    return of_places


FUNCTIONS = [(x, w, function("conv", x, a), f"{x} {w} {a}") for x, w, a in SAMPLES]
FUNCTIONS += [(x, w, function("conv_transpose", x, a), f"transposed {x} {w} {a}") for x, w, a in TRANSPOSED]
FUNCTIONS += [(x, w, channels_last(f), f"channels last {name}") for x, w, f, name in FUNCTIONS if len(x) > 3]
CASES = [pytest.param(x, w, f, id=name) for x, w, f, name in FUNCTIONS]


DEFINED_IN = convolution


def sample(*shapes, dtype=np.float64):
    rng = np.random.default_rng(0)
    return [pd.tensor(rng.standard_normal(shape).astype(dtype)) for shape in shapes]


def close(got, wanted, rtol=1e-11):
    for g, w in zip(pd.tree.tree_leaves(got), pd.tree.tree_leaves(wanted), strict=True):
        assert g.shape == w.shape and g.dtype == w.dtype
        np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=rtol, atol=rtol * max(1.0, float(w.abs().max())))


@pytest.mark.parametrize("x, w, f", CASES)
def test_values_and_derivatives(x, w, f, by_definition):
    def all_of(x, w):
        def loss(x, w):
            return (f(x, w).sin() * f(x, w)).sum()

        first = pd.func.grad(loss, argnums=(0, 1))

        def length(x, w):
            return sum((g * g).sum() for g in first(x, w))

        return f(x, w), first(x, w), pd.func.grad(length, argnums=(0, 1))(x, w), pd.func.jvp(f, (x, w), (x.cos(), w.cos()))

    operands = sample(x, w)
    close(all_of(*operands), by_definition(all_of, *operands))


@pytest.mark.parametrize("batched", [(0, None), (None, 0), (0, 0)])
@pytest.mark.parametrize("x, w, f", CASES)
def test_batches(x, w, f, batched):
    operands = sample(*((2, *shape) if axis == 0 else shape for shape, axis in zip((x, w), batched)))

    def both(x, w):
        return f(x, w), pd.func.grad(lambda x, w: (f(x, w) ** 2).sum(), argnums=(0, 1))(x, w)

    rows = [both(*(o[k] if axis == 0 else o for o, axis in zip(operands, batched))) for k in range(2)]
    wanted = pd.tree.tree_map(lambda *parts: pd.stack(parts), *rows)
    close(pd.vmap(both, in_dims=batched)(*operands), wanted)


@pytest.mark.parametrize("x, w, f", CASES)
def test_bits_do_not_depend_on_threads(x, w, f, on_the_cpu):
    operands = sample(x, w, dtype=np.float32)

    def bits():
        out = f(*operands), *pd.func.grad(lambda x, w: (f(x, w) ** 2).sum(), argnums=(0, 1))(*operands)
        return [y.numpy().tobytes() for y in out]

    before = pd.get_num_threads()
    try:
        pd.set_num_threads(1)
        alone = bits()
        pd.set_num_threads(5)
        assert bits() == alone
    finally:
        pd.set_num_threads(before)


def test_a_long_sum_is_cut_by_the_shape_alone():
    x, g = sample((64, 3, 16, 16), (64, 4, 16, 16), dtype=np.float32)
    w = pd.zeros(4, 3, 3, 3)

    def of_weight():
        return pd.func.grad(lambda w: (F.conv2d(x, w, padding=1) * g).sum())(w).numpy()

    exact = pd.func.grad(lambda w: (F.conv2d(x.double(), w, padding=1) * g.double()).sum())(w.double()).numpy()
    got = of_weight()
    np.testing.assert_allclose(got, exact, rtol=1e-4, atol=1e-3)
    before = pd.get_num_threads()
    try:
        pd.set_num_threads(1)
        assert of_weight().tobytes() == got.tobytes()
    finally:
        pd.set_num_threads(before)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32", "int64"])
def test_other_types(dtype, by_definition):
    x, w = (t.mul(3).to(getattr(pd, dtype)) for t in sample((2, 3, 6, 6), (4, 3, 3, 3), dtype=np.float32))
    close(F.conv2d(x, w).double(), by_definition(F.conv2d, x, w).double(), rtol=1e-2 if "float" in dtype else 0)


def test_nothing_and_nothing_to_add():
    assert F.conv2d(pd.ones(0, 3, 5, 5), pd.ones(2, 3, 3, 3)).shape == (0, 2, 3, 3)
    assert F.conv2d(pd.ones(1, 0, 5, 5), pd.ones(2, 0, 3, 3)).tolist() == pd.zeros(1, 2, 3, 3).tolist()


@pytest.mark.parametrize("x, w, f", CASES)
def test_operands_are_read_where_they_lie(x, w, f, on_the_cpu):
    """To the bits of copies."""
    x, w = sample(x, w, dtype=np.float32)
    wide = pd.stack([x, x.sin()], -1)  # every second element, of another order of axes
    view = wide.transpose(0, 1).contiguous().transpose(0, 1)[..., 0]
    pd._core.evaluate([x, w, wide])
    assert f(view, w).numpy().tobytes() == f(x, w).numpy().tobytes()


def test_channels_last_copies_nothing():
    """Convolutions and what is between them: nothing is permuted, forward or backward."""
    x = sample((4, 16, 8, 8), dtype=np.float32)[0].to(memory_format=pd.channels_last).clone()
    model = pd.nn.Sequential(pd.nn.Conv2d(16, 32, 3, padding=1), pd.nn.ReLU(), pd.nn.ConvTranspose2d(32, 16, 3, stride=2))
    pd._core.evaluate([x, *model.parameters()])
    y = model(x)
    assert y.is_contiguous(memory_format=pd.channels_last)
    gradients = pd.autograd.grad(y.square().sum(), list(model.parameters()))
    steps = pd._C.explain(list(gradients))
    assert "convolution" in steps and "permute" not in steps and "concatenate" not in steps
    plain = pd.autograd.grad(model(x.contiguous()).square().sum(), list(model.parameters()))
    close(gradients, plain, rtol=1e-5)


@pytest.mark.parametrize("x, w, f", [case for case in CASES if "transposed" in case.id])
def test_an_infinite_weight_meets_no_zeros(x, w, f, by_definition):
    """Neither between nor around the places of what is spread over windows."""
    x, w = sample(x, w)
    for value in (float("inf"), float("nan")):
        odd = w.clone()
        odd[(0,) * w.ndim] = value
        got, wanted = f(x, odd), by_definition(f, x, odd)
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("stride, padding", [(1, 0), (1, 1), (2, 1), (3, 2)])
def test_an_infinite_weight_in_the_gradient_of_the_input(stride, padding, by_definition, on_the_cpu):
    x, w = sample((2, 2, 9, 8), (3, 2, 3, 4))
    w[1, 1, 0, 2] = float("inf")

    def gradient(x):
        return pd.func.grad(lambda x: (F.conv2d(x, w, stride=stride, padding=padding) * 0.5).sum())(x)

    np.testing.assert_allclose(gradient(x).numpy(), by_definition(gradient, x).numpy(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_floats_are_rounded_once(dtype):
    """Sums are float32, gradients of the input and of the weight too."""
    kind = getattr(pd, dtype)
    x, w, g = (t.to(kind) for t in sample((3, 8, 9, 8), (16, 8, 3, 3), (3, 16, 5, 4), dtype=np.float32))

    def all_of(x, w, g):
        y, back = pd.func.vjp(lambda x, w: F.conv2d(x, w, stride=2, padding=1), x, w)
        return y, *back(g)

    terms = 2.0**-23 * 3 * 64 * 9  # more than any of the sums has, times float32's epsilon
    sizes = all_of(*(t.double().abs() for t in (x, w, g)))
    for got, wanted, size in zip(all_of(x, w, g), all_of(*(t.double() for t in (x, w, g))), sizes, strict=True):
        assert got.dtype == kind
        bound = pd.finfo(kind).eps * wanted.abs() + terms * size
        assert bool(((got.double() - wanted).abs() <= bound).all())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bits_are_those_of_every_run(dtype):
    """Where the weight's gradient is added up in parts too."""
    x, w, g = (t.to(getattr(pd, dtype)) for t in sample((4, 8, 12, 12), (16, 8, 3, 3), (4, 16, 12, 12), dtype=np.float32))

    def bits():
        y, back = pd.func.vjp(lambda x, w: F.conv2d(x, w, padding=1), x, w)
        return [t.float().numpy().tobytes() for t in (y, *back(g))]

    first = bits()
    assert all(bits() == first for _ in range(3))


SERVES = [
    ("float32", (2, 8, 8, 8), (16, 8, 3, 3), 1, {"tiles": 3}),
    ("float64", (2, 8, 8, 8), (16, 8, 3, 3), 1, {"tiles": 3}),
    ("bfloat16", (2, 8, 8, 8), (16, 8, 3, 3), 1, {"tensor cores": 3}),
    ("float16", (4, 8, 12, 12), (16, 8, 3, 3), 1, {"tensor cores": 3, "sums": 1}),
    ("float32", (8, 4, 12, 12), (4, 1, 3, 3), 4, {"few": 2, "long": 1}),
    ("int64", (2, 8, 8, 8), (16, 8, 3, 3), 1, {}),
]


@pytest.mark.parametrize("dtype, x, w, groups, kernels", SERVES)
def test_which_kernel_serves(device, dtype, x, w, groups, kernels):
    """On CUDA: launches of each for a result and both gradients. Integers are multiplied by columns."""
    if device == "cpu":
        pytest.skip("kernels of the CUDA back end")
    operands = [t.mul(4).to(getattr(pd, dtype)) for t in sample(x, w)]

    def f(x, w):
        return F.conv2d(x, w, padding=1, groups=groups)

    before = pd._C.cuda_convolutions()
    if kernels:
        y, back = pd.func.vjp(f, *operands)
        [t.numpy() for t in (y.float(), *(g.float() for g in back(y.sin().contiguous())))]
    else:
        f(*operands).numpy()
    after = pd._C.cuda_convolutions()
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == kernels
