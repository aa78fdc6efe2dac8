"""Padding, resampling, attention, embeddings and further losses, where PyTorch's own samples do not reach."""

import doctest
import importlib

import numpy as np
import pytest

import pydiff as pd
from pydiff.nn import functional as F
from pydiff.testing import check_grads


@pytest.mark.smoke
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_padding_second_order_and_vmap(rng, mode):
    x = pd.tensor(rng.standard_normal((3, 2, 4, 5)))
    f = lambda x: F.pad(x * x, (2, -1, 1, 3), mode)
    check_grads(f)(x)
    assert pd.equal(pd.vmap(f)(x), f(x))
    assert F.pad(x.to(pd.bfloat16), (1, 1), mode).dtype == pd.bfloat16


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", [(3, 4), (7, 19), (12, 5)])
def test_antialiasing(torch, both, compare, rng, mode, align_corners, size):
    x, tx = both(rng.standard_normal((2, 3, 11, 9)))
    options = dict(size=size, mode=mode, align_corners=align_corners, antialias=True)
    compare(F.interpolate(x, **options), torch.nn.functional.interpolate(tx, **options), 64)


def test_resampling_second_order_and_vmap(rng):
    x = pd.tensor(rng.standard_normal((2, 2, 5, 4)))
    for mode in ("bilinear", "bicubic", "nearest", "area"):
        f = lambda x: F.interpolate(x * x, (7, 3), mode=mode)
        check_grads(f)(x)
        assert pd.allclose(pd.vmap(lambda x: f(x.unsqueeze(0)).squeeze(0))(x), f(x))


def test_grid_sample_second_order(rng):
    x, grid = pd.tensor(rng.standard_normal((1, 2, 4, 5))), pd.tensor(rng.uniform(-1.3, 1.3, (1, 3, 2, 2)))
    for mode in ("bilinear", "bicubic"):
        for padding in ("zeros", "border", "reflection"):
            check_grads(lambda x, g: F.grid_sample(x, g, mode, padding, False))(x, grid)


def test_affine_grid(torch, both, compare, rng):
    for size in ((2, 1, 3, 4), (2, 1, 3, 4, 2)):
        d = len(size) - 2
        theta, ttheta = both(rng.standard_normal((2, d, d + 1)))
        for align in (True, False):
            want = torch.nn.functional.affine_grid(ttheta, size, align_corners=align)
            compare(F.affine_grid(theta, size, align), want, 16)


# ---- attention and embeddings


def test_a_target_that_sees_nothing_gives_zeros_and_no_nan(rng):
    q, k, v = (pd.tensor(rng.standard_normal((2, 3, 4)), requires_grad=True) for _ in range(3))
    mask = pd.tensor([[True, True, False], [False, False, False], [True, True, True]])
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert not out[:, 1].any().item()
    (out * out).sum().backward()
    assert all(t.grad.isfinite().all().item() for t in (q, k, v))
    check_grads(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))(q.detach(), k.detach(), v.detach())


def test_embedding(torch, both, rng):
    weight, tweight = both(rng.standard_normal((5, 3)))
    index = np.array([[0, 1, 1], [4, 1, 2]])
    options = dict(padding_idx=-1, max_norm=1.0, scale_grad_by_freq=True)
    y = F.embedding(pd.tensor(index), weight, **options)
    ty = torch.nn.functional.embedding(torch.tensor(index), tweight, **options)
    pd.testing.assert_close(y, ty.detach())
    pd.testing.assert_close(weight, tweight.detach())  # rows were shortened in place
    y.sum().backward()
    ty.sum().backward()
    pd.testing.assert_close(weight.grad, tweight.grad)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding_idx", [None, 1])
def test_embedding_bag(torch, both, rng, mode, padding_idx):
    weight, tweight = both(rng.standard_normal((5, 3)))
    index, offsets = np.array([0, 1, 1, 4, 1, 2]), np.array([0, 3, 3, 4])
    options = dict(mode=mode, padding_idx=padding_idx)
    y = F.embedding_bag(pd.tensor(index), weight, pd.tensor(offsets), **options)
    ty = torch.nn.functional.embedding_bag(torch.tensor(index), tweight, torch.tensor(offsets), **options)
    pd.testing.assert_close(y, ty.detach())
    (y * y).sum().backward()
    (ty * ty).sum().backward()
    pd.testing.assert_close(weight.grad, tweight.grad)


def test_distances_at_zero_have_a_finite_gradient():
    x = pd.zeros(3, 2, requires_grad=True)
    F.pdist(x).sum().backward()
    assert x.grad.isfinite().all().item()


# ---- losses


LOSSES = [
    lambda x, t: F.kl_div(x, t.exp()),
    lambda x, t: F.poisson_nll_loss(x, t.exp(), full=True),
    lambda x, t: F.gaussian_nll_loss(x, t, t * t + 1),
    lambda x, t: F.soft_margin_loss(x, t.sign()),
    lambda x, t: F.multilabel_soft_margin_loss(x, (t > 0).to(x.dtype)),
    lambda x, t: F.cosine_embedding_loss(x, t, pd.ones(3)),
    lambda x, t: F.triplet_margin_loss(x, t, x + t, swap=True),
    lambda x, t: F.multi_margin_loss(x, pd.tensor([0, 2, 1]), p=2),
    lambda x, t: F.margin_ranking_loss(x, t, pd.ones(3, 4), margin=0.1),
    lambda x, t: F.hinge_embedding_loss(x, t.sign().detach()),
]


@pytest.mark.parametrize("number", range(len(LOSSES)))
def test_losses_second_order(rng, number):
    check_grads(LOSSES[number])(pd.tensor(rng.standard_normal((3, 4))), pd.tensor(rng.standard_normal((3, 4))))


def test_kl_div_of_zero_probability():
    x = pd.tensor([[-1.0, -2.0]], requires_grad=True)
    target = pd.tensor([[0.0, 1.0]], requires_grad=True)
    F.kl_div(x, target, reduction="batchmean").backward()
    assert x.grad.tolist() == [[0.0, -1.0]]


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ctc_loss_of_logits(torch, both, rng, joined, reduction):
    # Behind log_softmax: PyTorch's gradient of ctc_loss alone is already that of log_softmax's input.
    logits, tlogits = both(rng.standard_normal((9, 3, 5)))
    labels, lengths, frames = np.array([[1, 2, 2, 3], [4, 4, 0, 0], [2, 0, 0, 0]]), (4, 2, 1), (9, 7, 3)
    if joined:
        labels = np.concatenate([row[:n] for row, n in zip(labels, lengths)])
    y = F.ctc_loss(logits.log_softmax(-1), pd.tensor(labels), frames, lengths, reduction=reduction)
    ty = torch.nn.functional.ctc_loss(tlogits.log_softmax(-1), torch.tensor(labels), frames, lengths, reduction=reduction)
    pd.testing.assert_close(y, ty.detach())
    y.sum().backward()
    ty.sum().backward()
    pd.testing.assert_close(logits.grad, tlogits.grad)


def test_ctc_loss_that_is_infinite():
    x = pd.zeros(2, 1, 3, requires_grad=True)
    short = lambda **options: F.ctc_loss(x.log_softmax(-1), pd.tensor([[1, 1]]), (2,), (2,), reduction="sum", **options)
    assert short().item() == float("inf")
    loss = short(zero_infinity=True)
    loss.backward()
    assert loss.item() == 0 and not x.grad.any().item()


def test_ctc_loss_second_order(rng):
    x = pd.tensor(rng.standard_normal((5, 2, 3)))
    check_grads(lambda x: F.ctc_loss(x.log_softmax(-1), pd.tensor([[1, 2], [1, 1]]), (5, 4), (2, 2)))(x)


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: F.pad(pd.zeros(3), (1, 1), "mirror"), r"^\[pad\] unknown mode; got 'mirror'"),
        (lambda: F.pad(pd.zeros(3), (3, 1), "reflect"), r"^\[pad\] the width .*less than its size"),
        (lambda: F.pad(pd.zeros(3), (1, 1, 1), "reflect"), r"^\[pad\] two widths"),
        (lambda: F.pad(pd.zeros(3), (-2, -2), "replicate"), r"^\[pad\] more is cut"),
        (lambda: F.interpolate(pd.zeros(1, 1, 3), 2, mode="bilinear"), r"^\[interpolate\] mode and axes"),
        (lambda: F.interpolate(pd.zeros(1, 1, 3)), r"^\[interpolate\] one of size"),
        (lambda: F.interpolate(pd.zeros(1, 1, 3), 2, align_corners=True), r"^\[interpolate\] align_corners"),
        (lambda: F.interpolate(pd.zeros(1, 1, 3), 2, mode="linear", antialias=True), r"^\[interpolate\] antialias"),
        (lambda: F.interpolate(pd.zeros(1, 1, 3), scale_factor=0.1), r"^\[interpolate\] sizes are positive"),
        (lambda: F.grid_sample(pd.zeros(1, 1, 3, 3), pd.zeros(2, 1, 1, 2)), r"^\[grid_sample\] the grid"),
        (lambda: F.grid_sample(pd.zeros(1, 1, 3, 3), pd.zeros(1, 1, 1, 2), "cubic"), "unknown mode"),
        (lambda: F.grid_sample(pd.zeros(1, 1, 3, 3), pd.zeros(1, 1, 1, 2), padding_mode="wrap"), "unknown padding_mode"),
        (lambda: F.affine_grid(pd.zeros(1, 2, 2), (1, 1, 2, 2)), r"^\[affine_grid\]"),
        (lambda: F.pixel_shuffle(pd.zeros(3, 1, 1), 2), r"^\[pixel_shuffle\]"),
        (lambda: F.pixel_unshuffle(pd.zeros(3, 1, 1), 2), r"^\[pixel_unshuffle\]"),
        (lambda: F.channel_shuffle(pd.zeros(1, 3, 1), 2), r"^\[channel_shuffle\]"),
        (lambda: F.embedding(pd.tensor([0]), pd.zeros(2, 2), padding_idx=2), r"^\[embedding\] padding_idx"),
        (lambda: F.embedding_bag(pd.tensor([0]), pd.zeros(2, 2)), r"^\[embedding_bag\] the input"),
        (lambda: F.embedding_bag(pd.tensor([[0]]), pd.zeros(2, 2), mode="min"), r"^\[embedding_bag\] unknown mode"),
        (
            lambda: F.embedding_bag(pd.tensor([[0]]), pd.zeros(2, 2), per_sample_weights=pd.ones(1, 1)),
            r"^\[embedding_bag\] per_sample_weights",
        ),
        (lambda: F.bilinear(pd.zeros(2), pd.zeros(3), pd.zeros(1, 3, 2)), r"^\[bilinear\]"),
        (lambda: F.pdist(pd.zeros(3)), r"^\[pdist\]"),
        (
            lambda: F.scaled_dot_product_attention(*[pd.zeros(2, 2)] * 3, attn_mask=pd.zeros(2, 2), is_causal=True),
            r"^\[scaled_dot_product_attention\]",
        ),
        (lambda: F.gaussian_nll_loss(pd.zeros(2, 3), pd.zeros(2, 3), pd.zeros(3, 2)), r"^\[gaussian_nll_loss\] the var"),
        (lambda: F.gaussian_nll_loss(pd.zeros(2), pd.zeros(2), -1.0), r"^\[gaussian_nll_loss\] a variance"),
        (lambda: F.cosine_embedding_loss(pd.zeros(2, 3), pd.zeros(2, 3), pd.zeros(2, 1)), r"^\[cosine_embedding_loss\]"),
        (lambda: F.soft_margin_loss(pd.zeros(2), pd.zeros(3)), r"^\[soft_margin_loss\] input and target"),
        (lambda: F.multilabel_soft_margin_loss(pd.zeros(2), pd.zeros(3)), r"^\[multilabel_soft_margin_loss\]"),
        (lambda: F.multi_margin_loss(pd.zeros(2, 3), pd.tensor([0, 1]), p=3), r"^\[multi_margin_loss\] p is 1 or 2"),
        (lambda: F.multi_margin_loss(pd.zeros(2, 3), pd.tensor([0])), r"^\[multi_margin_loss\] an input"),
        (lambda: F.multilabel_margin_loss(pd.zeros(2, 3), pd.tensor([[0, 1]])), r"^\[multilabel_margin_loss\]"),
        (lambda: F.ctc_loss(pd.zeros(3), pd.tensor([1]), (1,), (1,)), r"^\[ctc_loss\] log_probs"),
        (lambda: F.ctc_loss(pd.zeros(3, 2, 4), pd.tensor([[1]]), (3,), (1,)), r"^\[ctc_loss\] a length"),
        (lambda: F.ctc_loss(pd.zeros(3, 1, 4), pd.tensor([[1]]), (4,), (1,)), r"^\[ctc_loss\] lengths"),
        (lambda: F.ctc_loss(pd.zeros(3, 1, 4), pd.tensor([[1]]), (3,), (2,)), r"^\[ctc_loss\] targets"),
    ],
)
def test_what_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_rows_are_chosen_by_integers():
    with pytest.raises(TypeError, match=r"^\[embedding\] rows are chosen by integers; got .*float32"):
        F.embedding(pd.zeros(1), pd.zeros(2, 2))


@pytest.mark.parametrize("shape", [(1, 3), (4, 1), (4,), (4, 3)])
def test_gaussian_nll_loss_takes_a_variance_of_1_along_any_axis(torch, both, compare, rng, shape):
    (x, tx), (t, tt) = (both(rng.standard_normal((4, 3))) for _ in range(2))
    var, tvar = both(rng.uniform(0.5, 2.0, shape))
    y, ty = F.gaussian_nll_loss(x, t, var), torch.nn.functional.gaussian_nll_loss(tx, tt, tvar)
    compare(y, ty, 16)
    y.backward()
    ty.backward()
    compare(var.grad, tvar.grad, 32)
    for wrong in ((1, 1), (3, 1), (4, 3, 1)):
        with pytest.raises(ValueError, match=r"^\[gaussian_nll_loss\] the variance"):
            F.gaussian_nll_loss(x, t, pd.ones(wrong))


@pytest.mark.parametrize("axes", [2, 3])
def test_fractional_pooling_takes_more_samples_than_it_needs(torch, both, compare, rng, axes):
    name, shape = f"fractional_max_pool{axes}d", (4, *(5, 6, 7)[:axes])
    x, tx = both(rng.standard_normal(shape), grad=False)
    samples, tsamples = both(rng.random((2, 4, axes)), grad=False)
    y = getattr(F, name)(x, 2, output_size=3, _random_samples=samples)
    compare(y, getattr(torch.nn.functional, name)(tx, 2, output_size=3, _random_samples=tsamples), 0)


@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
def test_a_batch_of_none_moves_no_statistics(name):
    mean, variance = pd.zeros(3), pd.ones(3)
    assert tuple(getattr(F, name)(pd.zeros(0, 3, 4), mean, variance, None, None, True).shape) == (0, 3, 4)
    assert mean.tolist() == [0.0] * 3 and variance.tolist() == [1.0] * 3


@pytest.mark.parametrize("name", sorted({getattr(F, name).__module__ for name in F.__all__}))
def test_the_examples_in_the_docstrings(name):
    tried = doctest.testmod(importlib.import_module(name))
    assert not tried.failed and tried.attempted


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("masks", ["none", "bool", "float", "each head"])
def test_multi_head_attention(torch, both, rng, need_weights, extra, masks):
    width, heads, targets, sources, batch = 6, 3, 4, 5, 2
    shapes = [(targets, batch, width), (sources, batch, width), (sources, batch, width), (3 * width, width), (3 * width,)]
    shapes += [(1, 1, width)] * 2 + [(width, width), (width,)]
    ours, theirs = zip(*(both(rng.standard_normal(shape)) for shape in shapes))
    mask, padding = np.triu(np.ones((targets, sources), bool), 2), np.zeros((batch, sources), bool)
    padding[0, -1] = True
    if masks == "float":
        mask, padding = (np.where(m, -np.inf, rng.standard_normal(m.shape)) for m in (mask, padding))
    elif masks == "each head":
        mask = np.broadcast_to(mask, (batch * heads, targets, sources))
    results = []
    for lib, module, (q, k, v, w, b, bias_k, bias_v, out_w, out_b) in (
        (pd, F, ours),
        (torch, torch.nn.functional, theirs),
    ):
        options = {}
        if masks != "none":
            options = dict(attn_mask=lib.tensor(mask), key_padding_mask=lib.tensor(padding))
        results.append(
            module.multi_head_attention_forward(
                q, k, v, width, heads, w, b, bias_k if extra else None, bias_v if extra else None, extra, 0.0, out_w, out_b,
                need_weights=need_weights, **options,
            )
        )  # fmt: skip
    (out, weights), (want, want_weights) = results
    pd.testing.assert_close(out, want.detach())
    if need_weights:
        pd.testing.assert_close(weights, want_weights.detach())
    (out * out).sum().backward()
    (want * want).sum().backward()
    for x, tx in zip(ours, theirs):
        if tx.grad is not None:
            pd.testing.assert_close(x.grad, tx.grad)


@pytest.mark.parametrize(
    "change, text",
    [
        (dict(query=pd.zeros(2)), "query, key and value are"),
        (dict(num_heads=3), "multiple of num_heads"),
        (dict(in_proj_weight=None), "weights of the projections"),
        (dict(is_causal=True), "is_causal"),
    ],
)
def test_multi_head_attention_refuses(change, text):
    x = pd.zeros(3, 4)
    arguments = dict(
        query=x, key=x, value=x, embed_dim_to_check=4, num_heads=2, in_proj_weight=pd.zeros(12, 4), in_proj_bias=None,
        bias_k=None, bias_v=None, add_zero_attn=False, dropout_p=0.0, out_proj_weight=pd.eye(4), out_proj_bias=None,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"^\[multi_head_attention_forward\] .*" + text):
        F.multi_head_attention_forward(**{**arguments, **change})


def test_functions_that_are_at_the_top_too():
    for name in pd._FUNCTIONAL:
        assert getattr(pd, name) is getattr(F, name) and name in dir(pd)
    assert pd.tensor([-0.25, -1.0]).hardshrink(0.5).tolist() == [0.0, -1.0]
    assert pd.tensor([-0.25, 1.0]).prelu(pd.tensor(2.0)).tolist() == [-0.5, 1.0]


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("out", [dict(output_size=3), dict(output_ratio=(0.4, 0.5, 0.6)), dict(output_size=1)])
def test_fractional_max_pool(torch, both, compare, rng, axes, out):
    x, tx = both(rng.standard_normal((2, 3, *(9, 8, 7)[:axes])))
    samples = rng.uniform(0, 1, (2, 3, axes))
    out = {key: value[:axes] if isinstance(value, tuple) else value for key, value in out.items()}
    name = f"fractional_max_pool{axes}d"
    y, index = getattr(F, name)(x, 2, return_indices=True, _random_samples=pd.tensor(samples), **out)
    ty, tindex = getattr(torch.nn.functional, name)(tx, 2, return_indices=True, _random_samples=torch.tensor(samples), **out)
    compare(y, ty, 0)
    np.testing.assert_array_equal(index.numpy(), tindex.numpy())
    (y * y).sum().backward()
    (ty * ty).sum().backward()
    compare(x.grad, tx.grad, 4)


def test_fractional_max_pool_refuses():
    with pytest.raises(ValueError, match=r"^\[fractional_max_pool2d\] one of output_size"):
        F.fractional_max_pool2d(pd.ones(1, 4, 4), 2)
    with pytest.raises(ValueError, match=r"^\[fractional_max_pool2d\] that many windows"):
        F.fractional_max_pool2d(pd.ones(1, 4, 4), 2, output_size=4)
