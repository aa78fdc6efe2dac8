"""Activations, normalisations, dropout, convolution and pooling, where PyTorch's own samples do not reach.

Those samples are in tests/torch_samples.py; here are special values, gradients behind a `where`, second order, vmap,
16-bit floats, empty tensors, what is changed in place, and what is refused.
"""

import numpy as np
import pytest

import pydiff as pd
from pydiff.nn import functional as F
from pydiff.testing import check_grads

SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 100.0, -100.0, 1000.0, -1000.0, 0.5, -0.5], "float32")
# float32, since PyTorch multiplies by a sixth of that precision in hardsigmoid
ACTIVATIONS = (
    "elu celu selu hardshrink softshrink hardsigmoid hardswish hardtanh relu6 logsigmoid mish rrelu softsign tanhshrink"
).split()
SMOOTH = "elu celu selu logsigmoid mish softsign tanhshrink".split()


@pytest.mark.smoke
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_special_values_and_their_gradients(torch, both, compare, name):
    # -inf * 0 is NaN in PyTorch's hardswish, here it is the limit, 0.
    values = SPECIAL[SPECIAL > -np.inf] if name == "hardswish" else SPECIAL
    x, tx = both(values)
    y, ty = getattr(F, name)(x), getattr(torch.nn.functional, name)(tx)
    compare(y, ty, ulps=8, scale=1.0 if name in ("softsign", "hardsigmoid") else None)
    finite = np.isfinite(values)
    y.sum().backward()
    ty.sum().backward()
    # At NaN and infinities derivatives are conventions; elsewhere no branch that is not taken makes a NaN.
    compare(x.grad.numpy()[finite], tx.grad.numpy()[finite], ulps=64, scale=1.0)


@pytest.mark.parametrize("name", SMOOTH)
def test_second_order_and_vmap(name):
    f = getattr(F, name)
    check_grads(f)(pd.tensor([-3.0, -0.7, 0.6, 2.5]))
    x = pd.tensor([[-1.0, 2.0], [0.5, -30.0]])
    assert pd.equal(pd.vmap(f)(x), f(x))


def test_logsigmoid_is_smooth_at_zero():
    second = pd.grad(lambda x: pd.grad(F.logsigmoid)(x))(pd.tensor(0.0))
    assert second.item() == -0.25


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_sixteen_bits_stay(name):
    assert getattr(F, name)(pd.tensor([-1.0, 2.0], dtype=pd.bfloat16)).dtype == pd.bfloat16


@pytest.mark.parametrize("name", "elu celu hardtanh rrelu selu relu leaky_relu".split())
def test_in_place_forms(name):
    x = pd.tensor([-2.0, 0.5, 3.0])
    want = getattr(F, name)(x).tolist()
    assert getattr(F, name + "_")(x) is x and x.tolist() == want
    assert F.threshold_(x, 1.0, 7.0) is x and min(x.tolist()) > 1


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (2, 3, 2, 2)])
def test_batch_norm_moves_the_running_statistics(torch, both, compare, rng, shape):
    x, tx = both(rng.standard_normal(shape))
    (mean, tmean), (var, tvar) = (both(rng.uniform(1, 2, 3), grad=False) for _ in range(2))
    compare(F.batch_norm(x, mean, var, training=True), torch.nn.functional.batch_norm(tx, tmean, tvar, training=True), 64)
    compare(mean, tmean, 8)
    compare(var, tvar, 8)
    compare(F.batch_norm(x, mean, var), torch.nn.functional.batch_norm(tx, tmean, tvar), 16)


def test_instance_norm_moves_the_running_statistics(torch, both, compare, rng):
    x, tx = both(rng.standard_normal((4, 3, 5)))
    (mean, tmean), (var, tvar) = (both(rng.uniform(1, 2, 3), grad=False) for _ in range(2))
    compare(F.instance_norm(x, mean, var), torch.nn.functional.instance_norm(tx, tmean, tvar), 64)
    compare(mean, tmean, 8)
    compare(var, tvar, 8)


def test_normalisations_second_order():
    x = pd.tensor(np.random.default_rng(0).standard_normal((3, 4, 2)))
    check_grads(lambda x: F.batch_norm(x, training=True))(x)
    check_grads(lambda x: F.group_norm(x, 2))(x)
    check_grads(lambda x: F.rms_norm(x, (4, 2)))(x)
    check_grads(lambda x: F.local_response_norm(x, 3))(x)


def test_dropout_zeroes_whole_channels():
    pd.manual_seed(0)
    for f, shape in ((F.dropout1d, (8, 9, 5)), (F.dropout2d, (8, 9, 4, 4)), (F.dropout3d, (8, 9, 2, 2, 2))):
        kept = f(pd.ones(shape), 0.5).reshape(72, -1).numpy()
        assert (kept == kept[:, :1]).all() and set(kept[:, 0]) == {0.0, 2.0}


def test_alpha_dropout_keeps_mean_and_variance():
    pd.manual_seed(0)
    y = F.alpha_dropout(pd.randn(200000), 0.3, training=True)
    assert abs(y.mean().item()) < 0.02 and abs(y.var().item() - 1) < 0.02


def test_gumbel_softmax():
    pd.manual_seed(0)
    logits = pd.tensor([0.0, 1.0, 2.0]).expand(20000, 3)
    often = F.gumbel_softmax(logits, hard=True).mean(0).numpy()
    want = np.exp([0.0, 1.0, 2.0]) / np.exp([0.0, 1.0, 2.0]).sum()
    np.testing.assert_allclose(often, want, atol=0.02)
    x = pd.zeros(4, requires_grad=True)
    (F.gumbel_softmax(x, hard=True) * pd.arange(4)).sum().backward()
    assert x.grad.abs().sum().item() > 0


# ---- convolution


CASES = [
    dict(stride=2, padding=1, dilation=2, groups=1),
    dict(stride=1, padding="same", dilation=2, groups=2),
    dict(stride=3, padding="valid", dilation=1, groups=4),
]


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_convolution_in_float32(torch, both, compare, rng, axes, case):
    shape = (2, 4, *(9, 8, 7)[:axes])
    kernel = (3, 2, 2)[:axes]
    x, tx = both(rng.standard_normal(shape).astype("float32"))
    w, tw = both(rng.standard_normal((8, 4 // case["groups"], *kernel)).astype("float32"))
    b, tb = both(rng.standard_normal(8).astype("float32"))
    y, ty = getattr(F, f"conv{axes}d")(x, w, b, **case), getattr(torch.nn.functional, f"conv{axes}d")(tx, tw, tb, **case)
    compare(y, ty, 64)
    (y * y).sum().backward()
    (ty * ty).sum().backward()
    for ours, theirs in ((x, tx), (w, tw), (b, tb)):
        compare(ours.grad, theirs.grad, 256)


def test_convolution_second_order_and_vmap():
    rng = np.random.default_rng(0)
    x, w = pd.tensor(rng.standard_normal((2, 2, 5, 4))), pd.tensor(rng.standard_normal((2, 2, 2, 2)))
    check_grads(lambda x, w: F.conv2d(x, w, stride=2, padding=1))(x, w)
    check_grads(lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1))(x, w)
    each = pd.vmap(lambda x: F.conv2d(x, w, padding=1))(x)
    assert pd.allclose(each, F.conv2d(x, w, padding=1))


def test_convolution_of_nothing():
    y = F.conv2d(pd.zeros(0, 2, 5, 5), pd.zeros(3, 2, 3, 3))
    assert tuple(y.shape) == (0, 3, 3, 3)
    assert tuple(F.conv_transpose1d(pd.zeros(0, 2, 5), pd.zeros(2, 3, 2)).shape) == (0, 3, 6)


def test_fold_is_the_transpose_of_unfold(rng):
    x = pd.tensor(rng.standard_normal((2, 3, 6, 5)))
    options = dict(kernel_size=(2, 3), dilation=(2, 1), padding=1, stride=2)
    columns = F.unfold(x, **options)
    y = pd.tensor(rng.standard_normal(columns.shape))
    left = (columns * y).sum().item()
    assert left == pytest.approx((x * F.fold(y, (6, 5), **options)).sum().item())


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: F.conv2d(pd.zeros(1, 3, 5, 5), pd.zeros(4, 2, 3, 3)), r"^\[conv2d\] channels and groups"),
        (lambda: F.conv2d(pd.zeros(5, 5), pd.zeros(4, 2, 3, 3)), r"^\[conv2d\] the input is \(batch"),
        (lambda: F.conv1d(pd.zeros(1, 1, 2), pd.zeros(1, 1, 3)), r"^\[conv1d\] the kernel is larger"),
        (lambda: F.conv1d(pd.zeros(1, 1, 4), pd.zeros(1, 1, 3), stride=2, padding="same"), "stride 1"),
        (lambda: F.conv1d(pd.zeros(1, 1, 4), pd.zeros(1, 1, 3), padding="full"), r"unknown padding; got 'full'"),
        (lambda: F.conv1d(pd.zeros(1, 1, 4), pd.zeros(1, 1, 3), pd.zeros(2)), r"the bias is"),
        (lambda: F.conv1d(pd.zeros(1, 1, 4), pd.zeros(1, 1, 3), stride=0), r"stride is positive"),
        (lambda: F.conv1d(pd.zeros(1, 1, 4), pd.zeros(1, 1)), r"the weight has 3 axes"),
        (lambda: F.conv_transpose1d(pd.zeros(1, 1, 4), pd.zeros(1, 1, 3), output_padding=1), "output_padding"),
        (lambda: F.conv_transpose1d(pd.zeros(1, 1, 1), pd.zeros(1, 1, 3), padding=2), "nothing is left"),
        (lambda: F.unfold(pd.zeros(1, 1, 2, 2), 3), r"^\[unfold\] the kernel"),
        (lambda: F.unfold(pd.zeros(1, 1, 2, 2), (1, 2, 3)), r"^\[unfold\] kernel_size is a number or 2"),
        (lambda: F.fold(pd.zeros(1, 3, 4), (3, 3), 2), r"^\[fold\] the input is"),
        (lambda: F.max_pool1d(pd.zeros(1, 1, 2), 3), r"^\[max_pool1d\] the window is larger"),
        (lambda: F.max_pool1d(pd.zeros(1, 1, 9), 3, padding=2), r"^\[max_pool1d\] padding is at most"),
        (lambda: F.avg_pool2d(pd.zeros(1, 1, 4, 4), 2, divisor_override=0), "divisor_override"),
        (lambda: F.adaptive_avg_pool1d(pd.zeros(1, 1, 0), 3), r"^\[adaptive_avg_pool1d\] sizes"),
        (lambda: F.adaptive_avg_pool2d(pd.zeros(1, 1, 2, 2), (1,)), "output_size is a number or 2"),
        (lambda: F.max_unpool1d(pd.zeros(1, 1, 2), pd.zeros(1, 1, 3, dtype=pd.int64), 2), "an index for each"),
        (lambda: F.batch_norm(pd.zeros(3)), r"^\[batch_norm\] the input is"),
        (lambda: F.batch_norm(pd.zeros(2, 3)), "running statistics"),
        (lambda: F.batch_norm(pd.zeros(1, 3), training=True), "no variance"),
        (lambda: F.instance_norm(pd.zeros(2, 3, 1)), "no variance"),
        (lambda: F.batch_norm(pd.zeros(2, 3), weight=pd.zeros(2), training=True), "weight has a number"),
        (lambda: F.group_norm(pd.zeros(2, 3), 2), r"^\[group_norm\] the channels"),
        (lambda: F.rms_norm(pd.zeros(2, 3), (2,)), r"^\[rms_norm\] the input does not end"),
        (lambda: F.local_response_norm(pd.zeros(2, 3), 2), r"^\[local_response_norm\] the input"),
        (lambda: F.glu(pd.zeros(3)), r"^\[glu\] the axis has two halves; got size 3"),
        (lambda: F.celu(pd.zeros(3), 0), r"^\[celu\]"),
        (lambda: F.softshrink(pd.zeros(3), -1.0), r"^\[softshrink\]"),
        (lambda: F.hardtanh(pd.zeros(3), 1, 0), r"^\[hardtanh\]"),
        (lambda: F.prelu(pd.zeros(2, 3), pd.zeros(2)), r"^\[prelu\]"),
        (lambda: F.dropout2d(pd.zeros(3)), r"^\[dropout2d\]"),
        (lambda: F.alpha_dropout(pd.zeros(3), 2.0), r"^\[alpha_dropout\] p is a probability"),
    ],
)
def test_what_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()


# ---- pooling


def test_a_maximum_takes_the_first_of_equal_elements():
    x = pd.zeros(1, 1, 4, 4, requires_grad=True)
    y, index = F.max_pool2d(x, 3, 1, padding=1, return_indices=True)
    y.sum().backward()
    assert index[0, 0].tolist() == [[0, 0, 1, 2], [0, 0, 1, 2], [4, 4, 5, 6], [8, 8, 9, 10]]
    assert x.grad[0, 0, 0].tolist() == [4.0, 2.0, 2.0, 0.0]


@pytest.mark.parametrize("name", ["max_pool1d", "adaptive_max_pool1d"])
def test_nan_wins(torch, name):
    values = [[1.0, float("nan"), 3.0, -float("inf"), -float("inf"), 2.0]]
    got = getattr(F, name)(pd.tensor(values), 3)
    want = getattr(torch.nn.functional, name)(torch.tensor(values), 3)
    np.testing.assert_array_equal(got.numpy(), want.numpy())


def test_pooling_of_integers_and_of_16_bits():
    assert F.max_pool1d(pd.tensor([[-5, -7, -9]]), 3, padding=1, stride=1).tolist() == [[-5, -5, -7]]
    x = pd.tensor([[1.0, 2.0, 3.0, 5.0]], dtype=pd.bfloat16)
    for y in (F.max_pool1d(x, 2), F.avg_pool1d(x, 2), F.adaptive_avg_pool1d(x, 3)):
        assert y.dtype == pd.bfloat16


def test_pooling_second_order_and_vmap(rng):
    x = pd.tensor(rng.standard_normal((2, 2, 7, 5)))
    for f in (
        lambda x: F.avg_pool2d(x * x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
        lambda x: F.max_pool2d(x * x, 3, 2, 1),
        lambda x: F.adaptive_avg_pool2d(x * x, (3, 2)),
        lambda x: F.lp_pool2d(x * x + 1, 3.0, 2),
    ):
        check_grads(f)(x)
        assert pd.allclose(pd.vmap(f)(x), f(x))


def test_an_infinity_stays_in_its_window():
    y = F.adaptive_avg_pool1d(pd.tensor([[float("inf"), 1.0, 1.0, 1.0, 1.0]]), 3)
    assert y.tolist() == [[float("inf"), 1.0, 1.0]]
