"""Recurrent layers and cells, padded and packed, against PyTorch."""

import copy
import doctest
import importlib
import itertools
import pickle

import numpy as np
import pytest

import pydiff as pd
from pydiff import nn
from pydiff.nn.utils import rnn as ours_rnn

I, H, T, B = 3, 5, 4, 3

OPTIONS = {
    "num_layers": [1, 2],
    "bias": [True, False],
    "batch_first": [False, True],
    "bidirectional": [False, True],
    "proj_size": [0, 2],
    "nonlinearity": ["tanh", "relu"],
    "input": ["plain", "unbatched", "packed", "packed unsorted"],
    "state": [False, True],
}
LENGTHS = {"packed": [4, 3, 1], "packed unsorted": [2, 4, 1]}


@pytest.fixture(autouse=True)
def seeded(torch):
    """The same initial values in every run."""
    torch.manual_seed(0)
    pd.manual_seed(0)


def combinations(kind):
    names = [n for n in OPTIONS if (n != "proj_size" or kind == "LSTM") and (n != "nonlinearity" or kind == "RNN")]
    for values in itertools.product(*(OPTIONS[n] for n in names)):
        yield dict(zip(names, values, strict=True))


def sampled(kind, count):
    """Some of the combinations, so that each option has each value many times."""
    every = list(combinations(kind))
    chosen = np.random.default_rng(3).permutation(len(every))[:count]
    return [every[k] for k in chosen]


CASES = [(kind, case) for kind in ("RNN", "LSTM", "GRU") for case in sampled(kind, 14)]


def twins(torch, kind, options, dtype="float64"):
    """The layer in both libraries, with the same weights."""
    oracle = getattr(torch.nn, kind)(I, H, **options, dtype=getattr(torch, dtype))
    layer = getattr(nn, kind)(I, H, **options, dtype=getattr(pd, dtype))
    assert repr(layer) == repr(oracle)
    expected = oracle.state_dict()
    assert [(k, tuple(v.shape)) for k, v in layer.state_dict().items()] == [(k, tuple(v.shape)) for k, v in expected.items()]
    layer.load_state_dict({k: v.numpy() for k, v in expected.items()})
    return layer, oracle


def flat(result):
    """The tensors of a result, packed sequences and states included."""
    if isinstance(result, tuple):
        return [t for part in result for t in flat(part)]
    return [] if result is None else [result]


def total(tensors, weights, convert):
    return sum((t * convert(w)).sum() for t, w in zip(tensors, weights, strict=True))


def check(torch, compare, kind, case):
    options = {k: v for k, v in case.items() if k not in ("input", "state")}
    layer, oracle = twins(torch, kind, options)
    rng = np.random.default_rng(5)
    first, what = case["batch_first"], case["input"]
    shape = (T, I) if what == "unbatched" else (B, T, I) if first else (T, B, I)
    value = rng.standard_normal(shape)
    x, tx = pd.tensor(value, requires_grad=True), torch.tensor(value, requires_grad=True)
    given, tgiven = x, tx
    if what in LENGTHS:
        sort = what == "packed"
        given = ours_rnn.pack_padded_sequence(x, LENGTHS[what], first, sort)
        tgiven = torch.nn.utils.rnn.pack_padded_sequence(tx, torch.tensor(LENGTHS[what]), first, sort)
    args, targs, leaves = [], [], [(x, tx)]
    if case["state"]:
        places = case["num_layers"] * (1 + case["bidirectional"])
        batch = () if what == "unbatched" else (B,)
        widths = [case.get("proj_size") or H, H][: 1 + (kind == "LSTM")]
        values = [rng.standard_normal((places, *batch, w)) for w in widths]
        state = [pd.tensor(v, requires_grad=True) for v in values]
        tstate = [torch.tensor(v, requires_grad=True) for v in values]
        leaves += list(zip(state, tstate, strict=True))
        args, targs = (([tuple(s)] if len(s) == 2 else s) for s in (state, tstate))
    result, expected = layer(given, *args), oracle(tgiven, *targs)
    found, wanted = flat(result), flat(expected)
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        if b.is_floating_point():
            compare(a, b, ulps=64)
        else:  # of a packed sequence
            assert a.tolist() == b.tolist()
    pairs = [(a, b) for a, b in zip(found, wanted, strict=True) if b.requires_grad]
    weights = [rng.standard_normal(tuple(b.shape)) for _, b in pairs]
    total([a for a, _ in pairs], weights, pd.tensor).backward()
    total([b for _, b in pairs], weights, torch.tensor).backward()
    for a, b in leaves + list(zip(layer.parameters(), oracle.parameters(), strict=True)):
        compare(a.grad, b.grad, ulps=512)


@pytest.mark.parametrize("kind, case", CASES, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values())))
def test_layers(torch, compare, kind, case):
    check(torch, compare, kind, case)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_layers_in_every_combination(torch, compare, kind):
    for case in combinations(kind):
        check(torch, compare, kind, case)


@pytest.mark.smoke
@pytest.mark.parametrize("batch", [(), (B,)])
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize(
    "kind, options", [("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu", "bias": False}), ("LSTMCell", {}), ("GRUCell", {})]
)
def test_cells(torch, both, compare, kind, options, batch, with_state):
    layer, oracle = twins(torch, kind, options, "float32")
    rng = np.random.default_rng(6)
    x, tx = both(rng.standard_normal((*batch, I)).astype("float32"))
    args, targs = [], []
    if with_state:
        state = [both(rng.standard_normal((*batch, H)).astype("float32")) for _ in range(1 + (kind == "LSTMCell"))]
        args, targs = ([s[k] for s in state] for k in (0, 1))
        args, targs = ([tuple(a)] if kind == "LSTMCell" else a for a in (args, targs))
    found, wanted = flat(layer(x, *args)), flat(oracle(tx, *targs))
    for a, b in zip(found, wanted, strict=True):
        compare(a, b, ulps=16)
    sum((a * a).sum() for a in found).backward()
    sum((b * b).sum() for b in wanted).backward()
    compare(x.grad, tx.grad, ulps=64)
    for p, q in zip(layer.parameters(), oracle.parameters(), strict=True):
        compare(p.grad, q.grad, ulps=64)


def test_a_layer_is_its_cell_over_time():
    cell, layer = nn.GRUCell(I, H), nn.GRU(I, H)
    layer.load_state_dict({k + "_l0": v for k, v in cell.state_dict().items()})
    x, h = pd.randn(T, B, I), pd.zeros(B, H)
    output, last = layer(x)
    for t in range(T):
        h = cell(x[t], h)
        np.testing.assert_allclose(output[t].detach().numpy(), h.detach().numpy(), atol=1e-6)
    assert np.array_equal(last[0].detach().numpy(), output[T - 1].detach().numpy())


def test_initial_values():
    pd.manual_seed(0)
    layer = nn.LSTM(8, 64, 2)
    for parameter in layer.parameters():
        values = np.abs(parameter.detach().numpy())
        assert values.max() <= 1 / 8 and values.std() > 0.02
    assert len(layer.all_weights) == 2 and layer.all_weights[1][0] is layer.weight_ih_l1
    layer.flatten_parameters()


def test_dropout_is_between_layers():
    with pytest.warns(UserWarning, match=r"\[LSTM\] dropout is between layers; got dropout 0.5"):
        nn.LSTM(2, 2, dropout=0.5)
    pd.manual_seed(1)
    layer = nn.GRU(4, 6, 2, dropout=0.9)
    x = pd.randn(3, 2, 4)
    first, second = (layer(x)[0].detach().numpy() for _ in range(2))
    assert not np.array_equal(first, second)
    layer.eval()
    first, second = (layer(x)[0].detach().numpy() for _ in range(2))
    assert np.array_equal(first, second)
    all_dropped = nn.GRU(4, 6, 2, dropout=1.0)
    bottom = nn.GRU(4, 6)
    bottom.load_state_dict({k: v for k, v in all_dropped.state_dict().items() if "l0" in k})
    _, state = all_dropped(x)
    assert np.array_equal(state[0].detach().numpy(), bottom(x)[1][0].detach().numpy())


def test_copies_and_types():
    layer = nn.LSTM(2, 3, bidirectional=True)
    x = pd.randn(4, 1, 2)
    expected = layer(x)[0].detach().numpy()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert np.array_equal(twin(x)[0].detach().numpy(), expected)
    assert layer.double()(x.double())[0].dtype == pd.float64


def test_higher_derivatives_and_forward_mode():
    layer = nn.GRU(2, 3, dtype=pd.float64)
    x = pd.randn(3, 1, 2, dtype=pd.float64)
    pd.testing.check_grads(lambda x: layer(x)[0].sum(), order=2)(x)


def test_a_long_sequence_costs_what_it_is_long():
    """Gradients of the steps are put together once, not added up as padded tensors."""
    layer = nn.RNN(2, 2)
    kernels = []
    for length in (40, 80):
        x = pd.randn(length, 1, 2, requires_grad=True)
        layer(x)[0].sum().backward()
        kernels.append(pd._C.print_graph([x.grad]).count(" pad "))
    assert kernels == [0, 0]


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: nn.LSTM(2, 0), r"\[LSTM\] sizes are positive; got .*hidden_size 0"),
        (lambda: nn.GRU(2, 3, 0), r"\[GRU\] sizes are positive"),
        (lambda: nn.GRU(2, 3, dropout=2), r"\[GRU\] p is a probability"),
        (lambda: nn.LSTM(2, 3, proj_size=3), r"\[LSTM\] proj_size"),
        (lambda: nn.RNNBase("GRU", 2, 3, proj_size=1), r"\[RNNBase\] proj_size"),
        (lambda: nn.RNNBase("QRNN", 2, 3), r"\[RNNBase\] unknown mode; got 'QRNN'; try"),
        (lambda: nn.RNN(2, 3, nonlinearity="cos"), r"\[RNN\] unknown nonlinearity; got 'cos'"),
        (lambda: nn.RNNCell(2, 3, nonlinearity="cos"), r"\[RNNCell\] unknown nonlinearity"),
        (lambda: nn.GRU(2, 3)(pd.ones(4, 1, 5)), r"\[GRU\] the input .*; got \(4, 1, 5\); try input_size=5"),
        (lambda: nn.GRU(2, 3)(pd.ones(2)), r"\[GRU\] the input"),
        (lambda: nn.GRU(2, 3)(pd.ones(0, 1, 2)), r"\[GRU\] a sequence has one step"),
        (lambda: nn.GRU(2, 3)(pd.ones(4, 1, 2), pd.ones(1, 1, 2)), r"the shape \(1, 1, 3\); got \(1, 1, 2\); try hx=None"),
        (lambda: nn.LSTM(2, 3)(pd.ones(4, 1, 2), pd.ones(1, 1, 3)), r"\(h, c\) of shapes \(1, 1, 3\), \(1, 1, 3\); got"),
        (lambda: nn.LSTMCell(2, 3)(pd.ones(4)), r"\[LSTMCell\] the input .*; got \(4,\); try input_size=4"),
        (lambda: nn.GRUCell(2, 3)(pd.ones(4, 2), pd.ones(3)), r"\[GRUCell\] the state .*\(4, 3\); got \(3,\); try"),
        (lambda: ours_rnn.pack_padded_sequence(pd.ones(3, 2), [1, 2]), r"lengths fall .*; got \[1, 2\]; try enforce_sorted"),
        (lambda: ours_rnn.pack_padded_sequence(pd.ones(3, 2), [4, 2]), r"a length is from 1 to 3; got \[4, 2\]"),
        (lambda: ours_rnn.pack_padded_sequence(pd.ones(3, 2), [2, 0]), r"a length is from 1 to 3; got \[2, 0\]"),
        (lambda: ours_rnn.pack_padded_sequence(pd.ones(3, 2), [2]), r"one length for each sequence; got 1 for 2"),
        (lambda: ours_rnn.pack_padded_sequence(pd.ones(3), [2]), r"axes of time and batch; got \(3,\)"),
        (lambda: ours_rnn.pad_sequence([]), r"\[pad_sequence\] .*; got none; try"),
        (lambda: ours_rnn.pad_sequence([pd.ones(2, 1), pd.ones(2)]), r"\[pad_sequence\] .*; got .*; try"),
        (lambda: ours_rnn.pad_sequence([pd.ones(2)], padding_side="top"), r"unknown padding_side; got 'top'"),
        (
            lambda: ours_rnn.pad_packed_sequence(ours_rnn.pack_sequence([pd.ones(3)]), total_length=2),
            r"total_length .*; got 2 for 3; try 3",
        ),
    ],
)
def test_misuse_is_named(call, text):
    with pytest.raises(ValueError, match=text):
        call()


# ---- sequences of several lengths


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths, sort", [([4, 2, 2], True), ([2, 4, 1], False), ([3, 3, 3], True)])
def test_packing(torch, both, lengths, sort, batch_first):
    theirs_rnn = torch.nn.utils.rnn
    shape = (3, 4, 2) if batch_first else (4, 3, 2)
    x, tx = both(np.random.default_rng(8).standard_normal(shape).astype("float32"))
    packed = ours_rnn.pack_padded_sequence(x, pd.tensor(lengths), batch_first, sort)
    expected = theirs_rnn.pack_padded_sequence(tx, torch.tensor(lengths), batch_first, sort)
    for a, b in zip(packed, expected, strict=True):
        assert (a is None) == (b is None) and (a is None or a.tolist() == b.tolist())
    for options in ({}, {"batch_first": batch_first, "padding_value": 7.0, "total_length": 6}):
        (a, n), (b, m) = ours_rnn.pad_packed_sequence(packed, **options), theirs_rnn.pad_packed_sequence(expected, **options)
        assert a.tolist() == b.tolist() and n.tolist() == m.tolist()
    a.square().sum().backward()
    b.square().sum().backward()
    assert x.grad.tolist() == tx.grad.tolist()
    for a, b in zip(ours_rnn.unpack_sequence(packed), theirs_rnn.unpack_sequence(expected), strict=True):
        assert a.tolist() == b.tolist()
    for method in ("double", "cpu"):
        assert isinstance(getattr(packed, method)(), ours_rnn.PackedSequence)
    assert packed.double().data.dtype == pd.float64 and packed.is_cuda == x.is_cuda


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_padding(torch, side, batch_first):
    values = [np.arange(n * 2.0, dtype="float32").reshape(n, 2) + 1 for n in (2, 4, 1)]
    ours = ours_rnn.pad_sequence([pd.tensor(v) for v in values], batch_first, -1.0, side)
    theirs = torch.nn.utils.rnn.pad_sequence([torch.tensor(v) for v in values], batch_first, -1.0, side)
    assert ours.tolist() == theirs.tolist()
    if side == "right":
        parts = ours_rnn.unpad_sequence(ours, [2, 4, 1], batch_first)
        assert [p.tolist() for p in parts] == [v.tolist() for v in values]
    with pytest.raises(ValueError, match="lengths fall"):
        ours_rnn.pack_sequence([pd.tensor(v) for v in values])
    assert ours_rnn.pack_sequence([pd.tensor(v) for v in values], enforce_sorted=False).batch_sizes.tolist() == [3, 2, 1, 1]


@pytest.mark.parametrize("name", ["recurrent", "utils.rnn"])
def test_examples(name):
    tried = doctest.testmod(importlib.import_module(f"pydiff.nn.{name}"))
    assert tried.attempted and not tried.failed
