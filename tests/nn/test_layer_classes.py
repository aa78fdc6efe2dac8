"""Layers as classes: PyTorch's names, arguments, state, text and initial values; and those that module_db does not try."""

import copy
import doctest
import importlib
import inspect
import math
import pickle
import re
import warnings

import layer_builds
import numpy as np
import pytest

import pydiff as pd
from pydiff import nn

BUILDS = layer_builds.builds()
RNG = np.random.default_rng(5)


def quietly(library, text):
    """What the text builds, whatever old name it warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return layer_builds.build(library, text)


def same_state(a, b):
    a, b = a.state_dict(), b.state_dict()
    lazy = nn.parameter.is_lazy
    assert list(a) == list(b)
    return all(lazy(a[k]) == lazy(b[k]) and (lazy(a[k]) or np.array_equal(a[k].numpy(), b[k].numpy())) for k in a)


# ---- what every class has


def test_every_class_is_tried():
    assert sorted({text.partition("(")[0] for text in BUILDS}) == layer_builds.classes()
    assert len(BUILDS) > 150


@pytest.mark.parametrize("text", BUILDS)
def test_repr_and_state_are_pytorchs(torch, text):
    ours, theirs = quietly(nn, text), quietly(torch.nn, text)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    if "Lazy" in text:
        return
    for (key, value), expected in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert tuple(value.shape) == tuple(expected.shape), key
        assert str(value.dtype).removeprefix("pydiff.") == str(expected.dtype).removeprefix("torch."), key


@pytest.mark.parametrize("text", BUILDS)
def test_copies_and_pickles(text):
    layer = quietly(nn, text).eval()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(twin) is type(layer) and repr(twin) == repr(layer) and not twin.training
        assert same_state(twin, layer)
        for ours, other in zip(layer.parameters(), twin.parameters(), strict=True):
            assert ours is not other and ours.requires_grad == other.requires_grad


# PyTorch hides the arguments of one behind a decorator; the other takes any.
@pytest.mark.parametrize("name", [name for name in layer_builds.classes() if name not in ("NLLLoss2d", "Identity")])
def test_arguments_are_pytorchs(torch, name):
    def arguments(library):
        return inspect.signature(getattr(library, name)).parameters.values()

    theirs = [p for p in arguments(torch.nn) if p.name not in ("size_average", "reduce", "args", "kwargs")]
    if name == "NLLLoss2d":  # behind a decorator that hides them
        theirs = [
            p for p in inspect.signature(torch.nn.NLLLoss).parameters.values() if p.name not in ("size_average", "reduce")
        ]
    loss = family_of(name) == "loss"
    ours = list(arguments(nn))
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]
    for p, q in zip(ours, theirs, strict=True):
        # Behind PyTorch's deprecated arguments of losses they are given by name.
        assert p.kind == q.kind or (loss and p.kind == p.KEYWORD_ONLY)


@pytest.mark.parametrize("name", layer_builds.classes())
def test_isinstance_says_what_pytorch_says(torch, name):
    def bases(library):
        public = {getattr(library, base) for base in [*layer_builds.classes(), "Module"]}
        return [base.__name__ for base in getattr(library, name).__mro__ if base in public]

    ours = bases(nn)
    if name.startswith("Lazy") and "Norm" in name:
        ours.remove(name.removeprefix("Lazy"))  # what it becomes it is here already, as other lazy layers are there
    assert ours == bases(torch.nn)


def family_of(name):
    return getattr(nn, name).__module__.rpartition(".")[2]


WITH_DTYPE = [text for text in BUILDS if "dtype" in inspect.signature(getattr(nn, text.partition("(")[0])).parameters]


@pytest.mark.parametrize("text", WITH_DTYPE)
def test_dtype_and_device(text):
    name, _, arguments = text.removesuffix(")").partition("(")
    layer = eval(f"nn.{name}({arguments + ',' if arguments else ''} dtype=pd.float64, device='cpu')", {"nn": nn, "pd": pd})
    for tensor in [*layer.parameters(), *layer.buffers()]:
        assert tensor.dtype in (pd.float64, pd.int64) and tensor.device.type == "cpu"
    assert any(tensor.dtype == pd.float64 for tensor in layer.state_dict().values()) or not layer.state_dict()


@pytest.mark.parametrize(
    "family", [*layer_builds.FAMILIES, "containers", "init", "module", "parameter", "parameter_containers"]
)
def test_the_examples_in_the_docstrings(family):
    module = importlib.import_module(f"pydiff.nn.{family}")
    tried = doctest.testmod(module)
    assert not tried.failed and tried.attempted
    for name in module.__all__:
        assert ">>>" in getattr(module, name).__doc__, name


# ---- values, where module_db has no samples


def normal(*shape):
    return RNG.standard_normal(shape)


VALUES = [
    ("AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10], div_value=2.0, head_bias=True)", normal(6, 8), np.array([0, 3, 4, 9, 10, 19])),
    ("AdaptiveLogSoftmaxWithLoss(8, 20, [4])", normal(8), np.array(5)),
    ("ChannelShuffle(2)", normal(2, 6, 3)),
    ("CosineSimilarity()", normal(4, 5), normal(4, 5)),
    ("CosineSimilarity(dim=-1, eps=0.5)", normal(4, 5), normal(4, 5)),
    *((f"{kind}(0.3).eval()", normal(2, 3, 4)) for kind in ("AlphaDropout", "Dropout", "Dropout1d", "FeatureAlphaDropout")),
    ("Dropout2d().eval()", normal(2, 3, 4, 4)),
    ("Dropout3d().eval()", normal(2, 3, 4, 4, 4)),
    *((f"EmbeddingBag(10, 3, mode='{mode}')", RNG.integers(0, 10, (4, 5))) for mode in ("sum", "mean", "max")),
    ("EmbeddingBag(10, 3, padding_idx=1)", RNG.integers(0, 10, 9), np.array([0, 4, 4])),
    ("EmbeddingBag(10, 3, include_last_offset=True)", RNG.integers(0, 10, 9), np.array([0, 4, 9])),
    ("EmbeddingBag(10, 3, mode='sum')", RNG.integers(0, 10, 9), np.array([0, 4]), normal(9)),
    ("EmbeddingBag(10, 3, max_norm=0.5, mode='sum')", RNG.integers(0, 10, (4, 5))),
    ("Embedding(10, 3, padding_idx=2, max_norm=0.5)", RNG.integers(0, 10, (4, 5))),
    ("Embedding(10, 3, scale_grad_by_freq=True)", RNG.integers(0, 4, (4, 5))),
    ("Flatten(0, 1)", normal(2, 3, 4)),
    ("Unflatten(1, (2, -1))", normal(3, 8)),
    ("Fold((4, 5), (2, 2), padding=1, stride=2)", normal(2, 12, 9)),
    ("Unfold((2, 3), 1, 1, 2)", normal(2, 3, 5, 6)),
    ("Hardsigmoid()", normal(30) * 4),
    ("Hardsigmoid(True)", normal(30) * 4),
    ("Identity()", normal(3)),
    ("PairwiseDistance(3.0, 1e-3, True)", normal(4, 5), normal(4, 5)),
    ("PixelShuffle(2)", normal(2, 8, 3, 2)),
    ("PixelUnshuffle(2)", normal(2, 2, 6, 4)),
    ("RReLU(0.1, 0.3).eval()", normal(4, 5)),
    ("NLLLoss2d()", normal(2, 3, 4, 4), RNG.integers(0, 3, (2, 4, 4))),
    ("TripletMarginLoss(0.5, 3, swap=True)", normal(4, 5), normal(4, 5), normal(4, 5)),
    ("TripletMarginLoss(reduction='none')", normal(4, 5), normal(4, 5), normal(4, 5)),
    ("TripletMarginWithDistanceLoss(margin=2.0)", normal(4, 5), normal(4, 5), normal(4, 5)),
    ("TripletMarginWithDistanceLoss(distance_function=nn.CosineSimilarity())", normal(4, 5), normal(4, 5), normal(4, 5)),
    ("Upsample(5)", normal(2, 3, 4)),
    ("Upsample(scale_factor=(2, 1.5), mode='bilinear', align_corners=False)", normal(2, 3, 4, 4)),
    ("Upsample(scale_factor=1.3, mode='bicubic', recompute_scale_factor=True)", normal(2, 3, 4, 5)),
    ("UpsamplingBilinear2d(scale_factor=2)", normal(2, 3, 4, 4)),
    ("UpsamplingNearest2d((7, 3))", normal(2, 3, 4, 4)),
    ("LazyLinear(4)", normal(3, 5)),
    ("LazyBatchNorm1d()", normal(6, 5)),
    ("LazyBatchNorm2d(momentum=None)", normal(2, 5, 3, 3)),
    ("LazyBatchNorm3d(affine=False)", normal(2, 5, 3, 2, 2)),
    ("LazyInstanceNorm1d()", normal(2, 5, 6)),
    ("LazyInstanceNorm2d(track_running_stats=False)", normal(2, 5, 3, 3)),
    ("LazyInstanceNorm3d(bias=False)", normal(2, 5, 3, 2, 2)),
    ("Conv2d(4, 6, (3, 2), padding='same', dilation=(1, 2), groups=2, padding_mode='reflect')", normal(2, 4, 5, 6)),
    ("Conv1d(4, 6, 3, padding='valid', padding_mode='replicate')", normal(4, 7)),
    ("Conv3d(2, 4, 2, padding=(1, 0, 1), padding_mode='circular')", normal(1, 2, 3, 4, 3)),
    ("MultiMarginLoss(2, 0.5)", normal(4, 5), RNG.integers(0, 5, 4)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("text, arguments", [(text, arguments) for text, *arguments in VALUES], ids=[v[0] for v in VALUES])
def test_values_are_pytorchs(torch, compare, text, arguments, dtype):
    real = getattr(torch, dtype)
    theirs = quietly(torch.nn, text).to(real)
    ours = quietly(nn, text).to(getattr(pd, dtype))
    arguments = [np.asarray(a, dtype if a.dtype.kind == "f" else None) for a in map(np.asarray, arguments)]
    leaves = [pd.tensor(a, requires_grad=a.dtype.kind == "f") for a in arguments]
    tleaves = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arguments]
    inplace = getattr(ours, "inplace", False)
    if "Lazy" in text:
        theirs.eval()(*tleaves)
        theirs.train()
    ours.load_state_dict({key: pd.tensor(value.numpy()) for key, value in theirs.state_dict().items()})
    first, tfirst = (leaves[0] * 1, tleaves[0] * 1) if inplace else (leaves[0], tleaves[0])
    result, expected = ours(first, *leaves[1:]), theirs(tfirst, *tleaves[1:])
    if isinstance(expected, tuple):
        assert result._fields == expected._fields
        compare(result.output, expected.output, 32)
        result, expected = result.loss, expected.loss
    compare(result, expected, 32)
    for (key, buffer), other in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        if other.is_floating_point():
            compare(buffer, other, 32)
        else:
            assert buffer.item() == other.item(), key
    if expected.requires_grad:
        weights = np.linspace(0.5, 1.5, expected.numel()).reshape(tuple(expected.shape)).astype(dtype)
        (result * pd.tensor(weights)).sum().backward()
        (expected * torch.tensor(weights)).sum().backward()
        pairs = list(zip([*leaves, *ours.parameters()], [*tleaves, *theirs.parameters()], strict=True))
        for mine, other in pairs:
            if other.grad is not None:
                # PyTorch's 1/6 is that of float32, in float64 too.
                compare(mine.grad, other.grad, 2**30 if text.startswith("Hardsigmoid") and dtype == "float64" else 256)
        assert any(other.grad is not None for _, other in pairs)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        compare(mine, other, 32)  # max_norm writes into the weight


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1])
def test_max_unpool_undoes_max_pool(torch, compare, axes, padding):
    shape = (2, 3, *(7, 6, 8)[:axes])
    x = pd.tensor(normal(*shape), requires_grad=True)
    tx = torch.tensor(x.detach().numpy(), requires_grad=True)
    results = []
    for library, value in ((nn, x), (torch.nn, tx)):
        pool = getattr(library, f"MaxPool{axes}d")(3, stride=3, padding=padding, return_indices=True)
        unpool = getattr(library, f"MaxUnpool{axes}d")(3, stride=3, padding=padding)
        results.append(unpool(*pool(value), output_size=shape))
    compare(results[0], results[1], 0)
    (results[0] ** 2).sum().backward()
    (results[1] ** 2).sum().backward()
    compare(x.grad, tx.grad, 4)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_transposed_convolution_takes_an_output_size(torch, compare, axes):
    arguments = {"stride": 3, "padding": 1, "dilation": 2}
    ours, theirs = (getattr(library, f"ConvTranspose{axes}d")(2, 3, 2, **arguments).double() for library in (nn, torch.nn))
    ours.load_state_dict({key: pd.tensor(value.numpy()) for key, value in theirs.state_dict().items()})
    x = normal(2, 2, *(3, 4, 2)[:axes])
    least = theirs(torch.tensor(x)).shape[2:]
    for extra in (0, 1, 2):
        places = [n + extra for n in least]
        for size in (places, [2, 3, *places]):
            compare(ours(pd.tensor(x), size), theirs(torch.tensor(x), size), 32)
    with pytest.raises(ValueError, match=rf"^\[ConvTranspose{axes}d\] output_size is one of .*; got .*; try "):
        ours(pd.tensor(x), [n + 3 for n in least])
    with pytest.raises(ValueError, match=rf"^\[ConvTranspose{axes}d\] output_size .*; got \(9, 9, 9, 9, 9, 9\); try "):
        ours(pd.tensor(x), [9] * 6)


def test_adaptive_softmax(torch, compare):
    ours, theirs = (library.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10], 2.0).double() for library in (nn, torch.nn))
    ours.load_state_dict({key: pd.tensor(value.numpy()) for key, value in theirs.state_dict().items()})
    x = normal(5, 8) * 4
    compare(ours.log_prob(pd.tensor(x)), theirs.log_prob(torch.tensor(x)), 32)
    assert ours.predict(pd.tensor(x)).tolist() == theirs.predict(torch.tensor(x)).tolist()
    before = ours.head.weight.tolist()
    ours.reset_parameters()
    assert ours.head.weight.tolist() != before
    for wrong in (20, -1):
        with pytest.raises(ValueError, match=rf"^\[AdaptiveLogSoftmaxWithLoss\] classes are 0 to 19; got {wrong}; try "):
            ours(pd.tensor(x), pd.tensor([0, 1, 2, wrong, 3]))
    assert tuple(ours(pd.zeros(0, 8, dtype=pd.float64), pd.tensor([], dtype=pd.int64)).output.shape) == (0,)


# ---- normalisation over steps


@pytest.mark.parametrize("momentum", [0.1, 1.0, 0.0, None])
@pytest.mark.parametrize("kind, shape", [("BatchNorm1d", (4, 3)), ("BatchNorm2d", (2, 3, 2, 2)), ("InstanceNorm1d", (2, 3, 5))])
def test_running_statistics_over_steps(torch, compare, kind, shape, momentum):
    options = {"momentum": momentum, "affine": True, "track_running_stats": True}
    ours, theirs = (getattr(library, kind)(3, **options) for library in (nn, torch.nn))
    for step in range(5):
        x = normal(*shape).astype("float32") * 3 + step
        compare(ours(pd.tensor(x)), theirs(torch.tensor(x)), 64)
        for (name, buffer), expected in zip(ours.named_buffers(), theirs.buffers(), strict=True):
            if name == "num_batches_tracked":
                assert buffer.item() == expected.item() and buffer.dtype == pd.int64
            else:
                compare(buffer, expected, 16)
    compare(ours.eval()(pd.tensor(x)), theirs.eval()(torch.tensor(x)), 64)
    assert ours.num_batches_tracked.item() == theirs.num_batches_tracked.item()
    ours.reset_running_stats()
    assert ours.running_mean.tolist() == [0.0] * 3 and ours.running_var.tolist() == [1.0] * 3
    assert ours.num_batches_tracked.item() == 0 and not ours.running_mean.requires_grad


def test_without_statistics_a_batch_is_normalised_by_itself(torch, compare):
    ours, theirs = (library.BatchNorm1d(3, track_running_stats=False) for library in (nn, torch.nn))
    x = normal(5, 3).astype("float32")
    compare(ours.eval()(pd.tensor(x)), theirs.eval()(torch.tensor(x)), 32)
    assert not list(ours.buffers())


def test_a_failed_batch_leaves_the_statistics():
    layer = nn.BatchNorm1d(3)
    layer(pd.tensor(normal(4, 3).astype("float32")))
    state = {key: value.tolist() for key, value in layer.state_dict().items()}
    for wrong in (pd.zeros(1, 3), pd.zeros(4, 2), pd.zeros(4, 3, 2, 2)):
        with pytest.raises(ValueError):
            layer(wrong)
    assert state == {key: value.tolist() for key, value in layer.state_dict().items()}


def test_statistics_do_not_keep_the_batches(torch):
    """What was computed for a batch goes, though nobody reads the statistics."""
    layer = nn.BatchNorm1d(2)
    for _ in range(50):
        layer(pd.randn(8, 2)).sum().item()
    assert layer.num_batches_tracked.item() == 50


def test_instance_norm_warns_of_channels_that_it_does_not_use():
    with pytest.warns(UserWarning, match=r"^\[InstanceNorm1d\] .*; got 4 for 3; try InstanceNorm1d\(4\)"):
        nn.InstanceNorm1d(3)(pd.ones(2, 4, 5))
    with pytest.raises(ValueError, match=r"^\[InstanceNorm1d\] "):
        nn.InstanceNorm1d(3, affine=True)(pd.ones(2, 4, 5))


NARROW = [
    ("BatchNorm1d(3)", (6, 3)),
    ("BatchNorm2d(3, momentum=None)", (2, 3, 4, 4)),
    ("InstanceNorm1d(3, affine=True, track_running_stats=True)", (2, 3, 5)),
    ("GroupNorm(2, 4)", (2, 4, 3)),
    ("RMSNorm(4)", (2, 4)),
    ("Conv2d(3, 4, 3, padding_mode='reflect', padding=1)", (2, 3, 5, 5)),
    ("ConvTranspose1d(3, 4, 3)", (2, 3, 5)),
    ("LazyConv1d(4, 3)", (2, 3, 5)),
    ("AvgPool2d(2)", (2, 3, 4, 4)),
    ("PReLU(3)", (2, 3)),
    ("LocalResponseNorm(3)", (2, 5, 4)),
]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("text, shape", NARROW, ids=[text for text, _ in NARROW])
def test_sixteen_bits(torch, text, shape, dtype):
    real, ours = getattr(torch, dtype), getattr(pd, dtype)
    x = torch.tensor(normal(*shape)).to(real)
    theirs = layer_builds.build(torch.nn, text).to(real)
    layer = layer_builds.build(nn, text).to(ours)
    if "Lazy" in text:
        theirs(x)
    layer.load_state_dict({key: pd.tensor(value.float().numpy()) for key, value in theirs.state_dict().items()})
    results = [layer(pd.tensor(x.float().numpy()).to(ours)), *layer.buffers()]
    for result, expected in zip(results, [theirs(x), *theirs.buffers()], strict=True):
        assert str(result.dtype).removeprefix("pydiff.") == str(expected.dtype).removeprefix("torch.")
        expected = expected.detach().float().numpy()
        bound = 2 * float(pd.finfo(ours).eps) * max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(result.detach().float().numpy(), expected, rtol=0, atol=bound)


# ---- embeddings


@pytest.mark.smoke
def test_embedding_from_pretrained(torch, compare):
    table = normal(5, 3).astype("float32")
    for options in ({}, {"freeze": False, "padding_idx": -1}, {"max_norm": 1.0, "norm_type": 1.0}):
        ours = nn.Embedding.from_pretrained(pd.tensor(table), **options)
        theirs = torch.nn.Embedding.from_pretrained(torch.tensor(table), **options)
        assert repr(ours) == repr(theirs) and ours.weight.requires_grad == theirs.weight.requires_grad
        compare(ours(pd.tensor([[0, 4], [1, 1]])), theirs(torch.tensor([[0, 4], [1, 1]])), 4)
        compare(ours.weight, theirs.weight, 4)
    bag = nn.EmbeddingBag.from_pretrained(pd.tensor(table), mode="max")
    assert not bag.weight.requires_grad and bag.mode == "max"
    given = pd.tensor(table)
    assert nn.Embedding.from_pretrained(given).weight.tolist() == given.tolist()


def test_embedding_starts_normal_but_for_the_padding():
    pd.manual_seed(3)
    for kind in (nn.Embedding, nn.EmbeddingBag):
        values = kind(200, 50, padding_idx=-3).weight.detach().numpy()
        assert not values[197].any()
        rest = np.delete(values, 197, 0)
        assert abs(rest.mean()) < 5 / math.sqrt(rest.size) and rest.std() == pytest.approx(1, rel=0.03)


def test_the_padding_row_gets_no_gradient():
    layer = nn.Embedding(4, 2, padding_idx=1)
    (layer(pd.tensor([1, 2, 1])) * 3).sum().backward()
    assert layer.weight.grad.tolist() == [[0, 0], [0, 0], [3, 3], [0, 0]]


# ---- initial values

UNIFORM = [
    ("Conv1d(16, 64, 9)", 1 / 12),
    ("Conv2d(16, 32, 3, groups=4)", 1 / 6),
    ("Conv3d(4, 64, 3)", 1 / math.sqrt(108)),
    ("ConvTranspose1d(64, 16, 9)", 1 / 12),  # fan-in of (in, out / groups, *kernel) counts the second axis
    ("ConvTranspose2d(32, 16, 3, groups=4)", 1 / 6),
    ("Bilinear(16, 20, 30)", 1 / 4),
    ("Linear(64, 50)", 1 / 8),
]


@pytest.mark.parametrize("text, bound", UNIFORM)
def test_initial_values_are_uniform(torch, text, bound):
    pd.manual_seed(4)
    ours, theirs = layer_builds.build(nn, text), layer_builds.build(torch.nn, text)
    for parameter, oracle in zip((ours.weight, ours.bias), (theirs.weight, theirs.bias), strict=True):
        values = np.abs(parameter.detach().numpy())
        assert values.max() <= bound * (1 + 1e-6) and oracle.detach().abs().max() <= bound * (1 + 1e-6)
        assert values.max() > 0.8 * bound
    values = ours.weight.detach().numpy()
    assert values.std() * math.sqrt(3) == pytest.approx(bound, rel=0.05)
    assert abs(values.mean()) < 5 * bound / math.sqrt(3 * values.size)
    assert ours.weight.requires_grad and ours.weight.is_leaf


@pytest.mark.parametrize("text", ["BatchNorm1d(3)", "InstanceNorm2d(3, affine=True)", "GroupNorm(1, 3)", "RMSNorm(3)"])
def test_norms_start_as_the_identity(text):
    layer = layer_builds.build(nn, text)
    assert layer.weight.tolist() == [1.0] * 3
    assert getattr(layer, "bias", None) is None or layer.bias.tolist() == [0.0] * 3
    assert nn.PReLU(3, 0.1).weight.tolist() == pytest.approx([0.1] * 3)


def test_random_layers_draw_in_training_only():
    pd.manual_seed(0)
    x = pd.tensor(-np.ones((100, 40), "float32"))
    for layer, values in ((nn.RReLU(0.2, 0.4), (-0.4, -0.2)), (nn.Dropout(0.5), (-2.0, 0.0))):
        drawn = layer(x).numpy()
        assert drawn.min() >= values[0] and drawn.max() <= values[1] and drawn.std() > 0.01
        assert layer.eval()(x).numpy().std() < 1e-6
    mapped = nn.Dropout1d(0.5)(pd.ones(50, 20, 7)).numpy()
    assert set(np.unique(mapped)) == {0.0, 2.0} and (mapped.std(-1) == 0).all()
    selu = nn.AlphaDropout(0.3)(pd.randn(300, 300)).numpy()
    assert abs(selu.mean()) < 0.02 and selu.std() == pytest.approx(1, rel=0.02)


# ---- guesses and old names


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax", "Softmin"])
def test_softmax_guesses_the_axis_as_pytorch_does(torch, compare, name):
    for shape in ((3,), (2, 3), (2, 3, 4), (2, 3, 2, 2)):
        x = normal(*shape)
        with pytest.warns(UserWarning, match=rf"^\[{name}\] the axis was guessed.*; got dim=None, took \d; try {name}\(dim="):
            ours = getattr(nn, name)()(pd.tensor(x))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = getattr(torch.nn, name)()(torch.tensor(x))
        compare(ours, theirs, 16)


def test_old_names_warn():
    with pytest.warns(FutureWarning, match=r"^\[NLLLoss2d\] .*try NLLLoss$"):
        nn.NLLLoss2d()
    with pytest.warns(FutureWarning, match=r"^\[Hardtanh\] "):
        assert nn.Hardtanh(min_value=-3.0).min_val == -3.0


# ---- bad input

BAD = [
    (lambda: nn.Conv2d(3, 4, (3, 3, 3)), r"\[Conv2d\] kernel_size .*got \(3, 3, 3\)"),
    (lambda: nn.Conv2d(3, 4, 2.5), r"\[Conv2d\] kernel_size .*got 2.5"),
    (lambda: nn.Conv1d(3, 4, 3, groups=2), r"\[Conv1d\] in_channels .*got 3, 4 and groups=2"),
    (lambda: nn.Conv1d(3, 4, 3, groups=0), r"\[Conv1d\] .*groups=0"),
    (lambda: nn.Conv1d(3, 4, 3, padding="full"), r"\[Conv1d\] padding .*'full'"),
    (lambda: nn.Conv1d(3, 4, 3, padding="same", stride=2), r"\[Conv1d\] padding='same'"),
    (lambda: nn.Conv1d(3, 4, 3, padding_mode="mirror"), r"\[Conv1d\] padding_mode .*'mirror'"),
    (lambda: nn.ConvTranspose1d(3, 4, 3, padding_mode="reflect"), r"\[ConvTranspose1d\] padding_mode"),
    (lambda: nn.ConvTranspose1d(3, 4, 3, padding="same"), r"\[ConvTranspose1d\] padding"),
    (lambda: nn.Conv1d(3, 4, 3)(pd.zeros(2, 4, 9)), r"\[conv1d\] channels"),
    (lambda: nn.Conv1d(3, 4, 3, padding=1, padding_mode="circular")(pd.zeros(9)), r"\[Conv1d\] the input"),
    (lambda: nn.BatchNorm2d(3)(pd.zeros(2, 3, 4)), r"\[BatchNorm2d\] the input is \(batch, channels, height, width\); got \(2, 3, 4\)"),
    (lambda: nn.BatchNorm1d(3)(pd.zeros(3)), r"\[BatchNorm1d\] the input"),
    (lambda: nn.BatchNorm1d(3)(pd.zeros(1, 3)), r"\[batch_norm\] one value a channel"),
    (lambda: nn.InstanceNorm1d(3)(pd.zeros(3)), r"\[InstanceNorm1d\] the input"),
    (lambda: nn.GroupNorm(2, 3), r"\[GroupNorm\] .*got 3 channels, 2 groups"),
    (lambda: nn.ReflectionPad1d((1, 2, 3)), r"\[ReflectionPad1d\] padding .*got \(1, 2, 3\)"),
    (lambda: nn.ReflectionPad1d(1)(pd.zeros(3)), r"\[ReflectionPad1d\] the input"),
    (lambda: nn.CircularPad1d(4)(pd.zeros(1, 3)), r"\[pad\] the width"),
    (lambda: nn.MaxPool1d(5)(pd.zeros(1, 3)), r"\[max_pool1d\] the window"),
    (lambda: nn.AvgPool1d((2, 2)), r"\[AvgPool1d\] kernel_size"),
    (lambda: nn.MaxUnpool2d((2, 2, 2)), r"\[MaxUnpool2d\] kernel_size"),
    (lambda: nn.FractionalMaxPool2d(2), r"\[FractionalMaxPool2d\] one of output_size"),
    (lambda: nn.FractionalMaxPool2d(0, output_size=2), r"\[FractionalMaxPool2d\] kernel_size is positive"),
    (lambda: nn.FractionalMaxPool3d(2, output_ratio=1.5), r"\[FractionalMaxPool3d\] output_ratio"),
    (lambda: nn.Embedding(4, 2, padding_idx=4), r"\[Embedding\] padding_idx"),
    (lambda: nn.EmbeddingBag(4, 2, padding_idx=-5), r"\[EmbeddingBag\] padding_idx"),
    (lambda: nn.Embedding(4, 2, _weight=pd.zeros(2, 4)), r"\[Embedding\] the weight"),
    (lambda: nn.Embedding.from_pretrained(pd.zeros(4)), r"\[Embedding\] embeddings are"),
    (lambda: nn.Bilinear(0, 2, 3), r"\[Bilinear\] in1_features is positive"),
    (lambda: nn.Unflatten(1, ("a", 2)), r"\[Unflatten\] unflattened_size"),
    (lambda: nn.Unflatten(1, 4), r"\[Unflatten\] unflattened_size"),
    (lambda: nn.Hardtanh(1.0, 1.0), r"\[Hardtanh\] min_val is below max_val"),
    (lambda: nn.Softmax2d()(pd.zeros(3)), r"\[Softmax2d\] the input"),
    (lambda: nn.Dropout2d(1.5), r"\[Dropout2d\] p is a probability"),
    (lambda: nn.MultiMarginLoss(3), r"\[MultiMarginLoss\] p is 1 or 2"),
    (lambda: nn.MultiMarginLoss(weight=pd.zeros(2, 2)), r"\[MultiMarginLoss\] the weight"),
    (lambda: nn.TripletMarginLoss(0.0), r"\[TripletMarginLoss\] the margin"),
    (lambda: nn.TripletMarginWithDistanceLoss(margin=-1.0), r"\[TripletMarginWithDistanceLoss\] the margin"),
    (lambda: nn.LinearCrossEntropyLoss(3, 4, weight=pd.zeros(3)), r"\[LinearCrossEntropyLoss\] the weight"),
    (lambda: nn.LinearCrossEntropyLoss(3, 4, label_smoothing=2), r"\[LinearCrossEntropyLoss\] label_smoothing"),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 20, []), r"\[AdaptiveLogSoftmaxWithLoss\] cutoffs"),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 4]), r"\[AdaptiveLogSoftmaxWithLoss\] cutoffs"),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 20, [20]), r"\[AdaptiveLogSoftmaxWithLoss\] cutoffs"),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4])(pd.zeros(3, 8), pd.tensor([1, 2])), r"\[AdaptiveLog.*\] an input"),
    (lambda: nn.L1Loss(reduction="median")(pd.zeros(3), pd.zeros(3)), r"\[l1_loss\] unknown reduction"),
]  # fmt: skip


@pytest.mark.parametrize("call, text", BAD, ids=[text for _, text in BAD])
def test_what_is_wrong_is_named(call, text):
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    message = str(caught.value)
    assert re.match(r"\[\w+\] [^;]+; got .+; try .+", message, re.S) and re.match(text, message), message
