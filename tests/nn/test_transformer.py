"""MultiheadAttention and the transformer layers against PyTorch, in evaluation and in training without dropout."""

import copy
import doctest
import importlib
import itertools
import math
import pickle

import numpy as np
import pytest

import pydiff as pd
from pydiff import nn

E, HEADS, L, S, N = 8, 2, 4, 5, 3


@pytest.fixture(autouse=True)
def one_path(torch):
    """PyTorch's fast path of evaluation fills padded places with zeros; the layers' definition is the slow one."""
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


def twins(torch, name, *args, **options):
    """The module in both libraries, with the same weights, in float64."""
    oracle = getattr(torch.nn, name)(*args, **options, dtype=torch.float64)
    module = getattr(nn, name)(*args, **options, dtype=pd.float64)
    return share(torch, module, oracle)


def share(torch, module, oracle):
    expected = oracle.state_dict()
    assert [(k, tuple(v.shape)) for k, v in module.state_dict().items()] == [(k, tuple(v.shape)) for k, v in expected.items()]
    rng = np.random.default_rng(0)
    state = {k: rng.standard_normal(tuple(v.shape)) * 0.3 for k, v in expected.items()}
    module.load_state_dict(state)
    oracle.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    return module, oracle


def inputs(torch, *shapes):
    rng = np.random.default_rng(1)
    values = [rng.standard_normal(shape) for shape in shapes]
    return (
        [pd.tensor(v, requires_grad=True) for v in values],
        [torch.tensor(v, requires_grad=True) for v in values],
    )


def agree(compare, module, oracle, xs, txs, y, ty):
    compare(y, ty, ulps=256)
    weights = np.random.default_rng(2).standard_normal(tuple(ty.shape))
    (y * pd.tensor(weights)).sum().backward()
    (ty * ty.new_tensor(weights)).sum().backward()
    for a, b in zip([*xs, *module.parameters()], [*txs, *oracle.parameters()], strict=True):
        assert (a.grad is None) == (b.grad is None)
        if b.grad is not None:
            compare(a.grad, b.grad, ulps=2048, scale=max(1.0, b.grad.abs().max().item()))


MASKS = {
    "none": lambda lib, convert: {},
    "causal": lambda lib, convert: {"attn_mask": convert(np.triu(np.full((L, S), -math.inf), 1))},
    "bool": lambda lib, convert: {"attn_mask": convert(np.triu(np.ones((L, S), bool), 2))},
    "heads": lambda lib, convert: {"attn_mask": convert(np.random.default_rng(4).standard_normal((N * HEADS, L, S)))},
    "padding": lambda lib, convert: {"key_padding_mask": convert(np.arange(S) >= np.array([[5], [3], [2]]))},
}
KINDS = [
    {},
    {"bias": False, "batch_first": True},
    {"add_bias_kv": True, "add_zero_attn": True},
    {"kdim": 6, "vdim": 7},
    {"kdim": 6, "batch_first": True, "add_zero_attn": True},
]


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("options", KINDS, ids=lambda o: "-".join(o) or "plain")
@pytest.mark.parametrize("average", [True, False, None])
def test_attention(torch, compare, options, mask, average):
    layer, oracle = twins(torch, "MultiheadAttention", E, HEADS, **options)
    assert repr(layer).replace("Linear", "NonDynamicallyQuantizableLinear") == repr(oracle)

    def shape(length, width):
        return (N, length, width) if options.get("batch_first") else (length, N, width)

    xs, txs = inputs(torch, shape(L, E), shape(S, options.get("kdim", E)), shape(S, options.get("vdim", E)))
    call = {"need_weights": average is not None, "average_attn_weights": bool(average)}
    y, weights = layer(*xs, **call, **MASKS[mask](pd, pd.tensor))
    ty, expected = oracle(*txs, **call, **MASKS[mask](torch, torch.tensor))
    assert (weights is None) == (expected is None)
    if weights is not None:
        compare(weights, expected, ulps=64)
    agree(compare, layer, oracle, xs, txs, y, ty)


@pytest.mark.smoke
def test_attention_without_a_batch(torch, compare):
    layer, oracle = twins(torch, "MultiheadAttention", E, HEADS, batch_first=True)
    xs, txs = inputs(torch, (L, E), (S, E), (S, E))
    padding = np.arange(S) >= 3
    y, weights = layer(*xs, key_padding_mask=pd.tensor(padding))
    ty, expected = oracle(*txs, key_padding_mask=torch.tensor(padding))
    compare(weights, expected, ulps=64)
    agree(compare, layer, oracle, xs, txs, y, ty)
    blind, _ = layer(*xs, attn_mask=pd.full((L, S), -math.inf, dtype=pd.float64))
    assert np.array_equal(blind.detach().numpy(), np.tile(layer.out_proj.bias.detach().numpy(), (L, 1)))


LAYERS = [
    {},
    {"norm_first": True, "batch_first": True, "activation": "gelu"},
    {"bias": False, "activation": "callable", "layer_norm_eps": 1e-3},
]


def activations(options, lib):
    if options.get("activation") == "callable":
        return {**options, "activation": lib.tanh}
    return options


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", LAYERS, ids=lambda o: "-".join(o) or "plain")
@pytest.mark.parametrize("kind", ["Encoder", "Decoder"])
def test_layers(torch, compare, kind, options, training):
    name = f"Transformer{kind}Layer"
    given = (E, HEADS, 16, 0.0 if training else 0.5)
    layer = getattr(nn, name)(*given, **activations(options, pd), dtype=pd.float64)
    oracle = getattr(torch.nn, name)(*given, **activations(options, torch), dtype=torch.float64)
    assert repr(layer).replace("out_proj): Linear", "out_proj): NonDynamicallyQuantizableLinear") == repr(oracle)
    share(torch, layer, oracle)
    layer.train(training)
    oracle.train(training)
    shapes = [(N, L, E), (N, S, E)] if options.get("batch_first") else [(L, N, E), (S, N, E)]
    xs, txs = inputs(torch, *shapes[: 1 + (kind == "Decoder")])
    causal = np.triu(np.full((L, L), -math.inf), 1)
    padding = np.where(np.arange(L) >= np.array([[4], [3], [1]]), -math.inf, 0.0)
    masks = {"src_mask": causal, "src_key_padding_mask": padding}
    if kind == "Decoder":
        masks = {"tgt_mask": causal, "tgt_key_padding_mask": padding, "memory_mask": np.triu(np.ones((L, S), bool), 3)}
    y = layer(*xs, **{k: pd.tensor(v) for k, v in masks.items()})
    ty = oracle(*txs, **{k: torch.tensor(v) for k, v in masks.items()})
    agree(compare, layer, oracle, xs, txs, y, ty)
    plain, expected = layer(*(x.detach() for x in xs)), oracle(*(x.detach() for x in txs))
    compare(plain, expected, ulps=256)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("batch_first, norm_first", list(itertools.product([True, False], repeat=2)))
def test_the_whole_model(torch, compare, batch_first, norm_first):
    options = {"batch_first": batch_first, "norm_first": norm_first, "dropout": 0.0}
    model, oracle = twins(torch, "Transformer", E, HEADS, 2, 1, 16, **options)
    xs, txs = inputs(torch, *([(N, S, E), (N, L, E)] if batch_first else [(S, N, E), (L, N, E)]))
    padding = np.arange(S) >= np.array([[5], [3], [2]])
    masks = [m.generate_square_subsequent_mask(L, dtype=lib.float64) for m, lib in ((model, pd), (oracle, torch))]
    compare(*masks)
    y = model(*xs, tgt_mask=masks[0], tgt_is_causal=True, src_key_padding_mask=pd.tensor(padding))
    padding = torch.tensor(padding)
    ty = oracle(*txs, tgt_mask=masks[1], tgt_is_causal=True, src_key_padding_mask=padding)
    agree(compare, model, oracle, xs, txs, y, ty)


def test_stacks_are_copies():
    layer = nn.TransformerEncoderLayer(E, HEADS, 16, activation=pd.tanh)
    encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(E))
    assert encoder.layers[0].linear1.weight is not encoder.layers[1].linear1.weight
    assert encoder.layers[1].linear1.weight.tolist() == layer.linear1.weight.tolist()
    x = pd.randn(L, N, E)
    encoder.eval()
    for twin in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert np.array_equal(twin(x).detach().numpy(), encoder(x).detach().numpy())
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(E, HEADS, 16), 2).eval()
    assert tuple(decoder(x, encoder(x)).shape) == (L, N, E)


def test_dropout_is_active_in_training():
    pd.manual_seed(3)
    layer, x = nn.TransformerEncoderLayer(E, HEADS, 16, 0.5), pd.randn(L, N, E)
    assert layer(x).tolist() != layer(x).tolist()
    layer.eval()
    assert layer(x).tolist() == layer(x).tolist()
    attention = nn.MultiheadAttention(E, HEADS, dropout=0.5)
    assert attention(x, x, x)[0].tolist() != attention(x, x, x)[0].tolist()


def test_initial_values():
    pd.manual_seed(4)
    layer = nn.MultiheadAttention(64, 4, add_bias_kv=True)
    bound = math.sqrt(6 / (64 + 192))
    assert 0.97 * bound < layer.in_proj_weight.abs().max().item() <= bound
    assert layer.in_proj_bias.abs().sum().item() == layer.out_proj.bias.abs().sum().item() == 0
    assert layer.bias_k.abs().sum().item() > 0
    model = nn.Transformer(64, 4, 1, 1, 64)
    assert 0.97 * math.sqrt(6 / 128) < model.encoder.layers[0].linear1.weight.abs().max().item() <= math.sqrt(6 / 128)


def test_custom_parts():
    class Sum(nn.Module):
        def forward(self, x, *args, **kwargs):
            return x * 2

    model = nn.Transformer(E, HEADS, custom_encoder=Sum(), custom_decoder=Sum())
    x = pd.ones(L, N, E)
    assert model(x, x).tolist() == (x * 2).tolist()


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: nn.MultiheadAttention(6, 4), r"\[MultiheadAttention\] embed_dim .*; got 6 and 4; try"),
        (lambda: nn.MultiheadAttention(0, 1), r"\[MultiheadAttention\] embed_dim"),
        (lambda: nn.MultiheadAttention(4, 1, dropout=2.0), r"\[MultiheadAttention\] p is a probability"),
        (lambda: nn.TransformerEncoderLayer(4, 2, activation="cos"), r"unknown activation; got 'cos'; try 'relu'"),
        (lambda: nn.Transformer(4, 2, 1, 1, 4)(pd.ones(3, 2, 4), pd.ones(3, 1, 4)), r"\[Transformer\] .*; got .*; try"),
        (lambda: nn.Transformer(4, 2, 1, 1, 4)(pd.ones(3, 2, 5), pd.ones(3, 2, 4)), r"width 4; got \(3, 2, 5\) and"),
        (
            lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 4), 2)(pd.ones(3, 2, 5)),
            r"got width 5, embed_dim 4.* \(in model layers\.0\.self_attn\)",
        ),
        (
            lambda: nn.TransformerEncoderLayer(4, 2, 4)(pd.ones(3, 2, 4), is_causal=True),
            r"is_causal only says .*; try the mask",
        ),
    ],
)
def test_misuse_is_named(call, text):
    with pytest.raises(ValueError, match=text):
        call()


@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"key_padding_mask": pd.ones(2, 3, dtype=pd.int64)}, TypeError, "key_padding_mask has booleans, or .*int64"),
        ({"attn_mask": pd.ones(3, 3, dtype=pd.int32)}, TypeError, "attn_mask has booleans, or .*int32"),
        ({"attn_mask": pd.zeros(2, 3, 3)}, ValueError, r"attn_mask does not fit; got \(2, 3, 3\); try \(3, 3\) or \(4, 3, 3\)"),
        ({"attn_mask": pd.zeros(3, 2)}, ValueError, r"attn_mask does not fit; got \(3, 2\)"),
        ({"key_padding_mask": pd.zeros(3, 2)}, ValueError, r"key_padding_mask does not fit; got \(3, 2\); try \(2, 3\)"),
    ],
)
def test_masks_that_do_not_fit(options, error, text):
    x = pd.ones(2, 3, 4)
    with pytest.raises(error, match=text):
        nn.MultiheadAttention(4, 2, batch_first=True)(x, x, x, **options)
    with pytest.raises(TypeError, match=r"^\[scaled_dot_product_attention\] attn_mask has booleans, .*; got .*; try"):
        nn.functional.scaled_dot_product_attention(x, x, x, pd.ones(3, 3, dtype=pd.int64))


@pytest.mark.parametrize("name", ["attention", "transformer"])
def test_examples(name):
    tried = doctest.testmod(importlib.import_module(f"pydiff.nn.{name}"))
    assert tried.attempted and not tried.failed
