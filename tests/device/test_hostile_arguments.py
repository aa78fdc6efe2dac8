"""Sizes and numbers that no call can mean: huge, negative, zero, NaN, infinite. Clean errors, never a crash or a hang."""

import math
import re

import numpy as np
import pytest

import pydiff as pd
from pydiff import _core
from pydiff.nn import functional as F

FORM = re.compile(r"^\[([\w.]+)\] .+; got .+; try .+", re.S)
HUGE = 2**62


def x(*shape, dtype=np.float32):
    return pd.tensor((np.arange(math.prod(shape)).reshape(shape) % 7 + 1).astype(dtype))


# name in the brackets, the call
CALLS = [
    ("zeros", lambda: pd.zeros(HUGE)),
    ("zeros", lambda: pd.zeros(2**32, 2**32)),
    ("zeros", lambda: pd.zeros(2**70)),
    ("zeros", lambda: pd.zeros(-1)),
    ("zeros", lambda: pd.zeros(2.0)),
    ("zeros", lambda: pd.zeros(math.nan)),
    ("ones", lambda: pd.ones(3, -3)),
    ("full", lambda: pd.full((2**40, 2**40), 1.0)),
    ("full", lambda: pd.full((-1,), 1.0)),
    ("empty", lambda: pd.empty(HUGE, 8)),
    ("eye", lambda: pd.eye(-1)),
    ("eye", lambda: pd.eye(2**40, 2**40)),
    ("rand", lambda: pd.rand(-1)),
    ("rand", lambda: pd.rand(2**63)),
    ("randn", lambda: pd.randn(2**40, 2**40)),
    ("randint", lambda: pd.randint(0, 5, (-2,))),
    ("randint", lambda: pd.randint(5, 5, (2,))),
    ("randint", lambda: pd.randint(5, 2, (2,))),
    ("randperm", lambda: pd.randperm(-3)),
    ("arange", lambda: pd.arange(0, 10, 0)),
    ("arange", lambda: pd.arange(0, math.inf)),
    ("arange", lambda: pd.arange(0, math.nan)),
    ("arange", lambda: pd.arange(math.nan)),
    ("arange", lambda: pd.arange(0, 1, math.nan)),
    ("arange", lambda: pd.arange(2**70)),
    ("arange", lambda: pd.arange(0, 1, 1e-300)),
    ("linspace", lambda: pd.linspace(0, 1, -1)),
    ("linspace", lambda: pd.linspace(0, 1, 2.5)),
    ("linspace", lambda: pd.linspace(0, 1, 2**70)),
    ("logspace", lambda: pd.logspace(0, 1, -1)),
    ("tril_indices", lambda: pd.tril_indices(-1, 3)),
    ("tril_indices", lambda: pd.tril_indices(2**40, 2**40)),
    ("hann_window", lambda: pd.hann_window(-5)),
    ("hann_window", lambda: pd.hann_window(math.inf)),
    # ---- movement
    ("reshape", lambda: x(6).reshape(-2)),
    ("reshape", lambda: x(6).reshape(-2, -3)),
    ("reshape", lambda: x(6).reshape(0, -1)),
    ("reshape", lambda: x(0).reshape(-1, 0)),
    ("reshape", lambda: x(6).reshape(2**62, 4)),
    ("reshape", lambda: x(6).reshape(2**70)),
    ("reshape", lambda: x(6).reshape(math.nan)),
    ("view", lambda: x(6).view(-2)),
    ("view", lambda: x(6).view(2**32, 2**32)),
    ("expand", lambda: x(1).expand(-5)),
    ("expand", lambda: x(3).expand(-1, -1, 3)),
    ("expand", lambda: x(1).expand(2**32, 2**32)),
    ("broadcast_to", lambda: pd.broadcast_to(x(1), (-2,))),
    ("unflatten", lambda: x(6).unflatten(0, (-1, -1))),
    ("unflatten", lambda: x(6).unflatten(0, (0, -1))),
    ("pad", lambda: pd.pad(x(3), (-2, -2))),
    ("pad", lambda: pd.pad(x(3), (2**62, 2**62))),
    ("pad", lambda: F.pad(x(1, 3), (3, 3), mode="reflect")),
    ("pad", lambda: F.pad(x(1, 3), (4, 4), mode="circular")),
    ("repeat", lambda: x(3).repeat(-1)),
    ("repeat", lambda: x(3).repeat(2**62)),
    ("tile", lambda: x(3).tile(-1)),
    ("repeat_interleave", lambda: x(3).repeat_interleave(-1)),
    ("repeat_interleave", lambda: x(3).repeat_interleave(pd.tensor([1, -1, 1]))),
    ("repeat_interleave", lambda: x(3).repeat_interleave(2**62)),
    ("split", lambda: x(6).split(0)),
    ("split", lambda: x(6).split(-1)),
    ("split", lambda: x(6).split([3, -1, 4])),
    ("chunk", lambda: x(6).chunk(0)),
    ("chunk", lambda: x(6).chunk(-2)),
    ("tensor_split", lambda: x(6).tensor_split(0)),
    ("narrow", lambda: x(6).narrow(0, 7, 1)),
    ("narrow", lambda: x(6).narrow(0, 0, -1)),
    ("narrow", lambda: x(6).narrow(0, 2**62, 2**62)),
    ("select", lambda: x(6).select(0, -7)),
    ("unfold", lambda: x(6).unfold(0, 7, 1)),
    ("unfold", lambda: x(6).unfold(0, 2, 0)),
    ("unfold", lambda: x(6).unfold(0, 2, -1)),
    ("unfold", lambda: x(6).unfold(0, -2, 1)),
    ("as_strided", lambda: x(6).as_strided((3, 3), (3, 1))),
    ("as_strided", lambda: x(6).as_strided((2,), (-1,))),
    ("as_strided", lambda: x(6).as_strided((2,), (1,), -1)),
    ("as_strided", lambda: x(6).as_strided((-2,), (1,))),
    ("as_strided", lambda: x(6).as_strided((2**32, 2**32), (2**32, 2**32))),
    ("as_strided", lambda: x(6).as_strided((2,), (2**62,), 2**62)),
    ("sum_to_size", lambda: x(2, 3).sum_to_size(-1)),
    ("diag_embed", lambda: pd.diag_embed(x(3), 2**62)),
    ("combinations", lambda: pd.combinations(x(3), -1)),
    ("pixel_shuffle", lambda: F.pixel_shuffle(x(1, 4, 2, 2), 0)),
    ("pixel_shuffle", lambda: F.pixel_shuffle(x(1, 4, 2, 2), -2)),
    ("pixel_unshuffle", lambda: F.pixel_unshuffle(x(1, 1, 4, 4), 0)),
    ("channel_shuffle", lambda: F.channel_shuffle(x(1, 4, 2, 2), 0)),
    ("channel_shuffle", lambda: F.channel_shuffle(x(1, 4, 2, 2), -2)),
    ("slice_scatter", lambda: pd.slice_scatter(x(3), x(3), 0, 0, 3, 0)),
    ("slice_scatter", lambda: pd.slice_scatter(x(3), x(3), 0, 0, 3, -1)),
    ("index", lambda: x(6)[::0]),
    ("index", lambda: x(6)[2**70]),
    # ---- order, finding, counting
    ("topk", lambda: x(6).topk(-1)),
    ("topk", lambda: x(6).topk(7)),
    ("topk", lambda: x(6).topk(2**62)),
    ("kthvalue", lambda: x(6).kthvalue(0)),
    ("kthvalue", lambda: x(6).kthvalue(7)),
    ("kthvalue", lambda: x(0).kthvalue(1)),
    ("quantile", lambda: x(6).quantile(1.5)),
    ("quantile", lambda: x(6).quantile(math.nan)),
    ("one_hot", lambda: F.one_hot(pd.tensor([1]), -7)),
    ("bincount", lambda: pd.bincount(pd.tensor([-1]))),
    ("bincount", lambda: pd.bincount(pd.tensor([1]), minlength=-1)),
    ("histc", lambda: pd.histc(x(6), 0)),
    ("histc", lambda: pd.histc(x(6), -1)),
    ("histc", lambda: pd.histc(x(6), 4, 5, 1)),
    ("histc", lambda: pd.histc(x(6), 4, math.nan, 1)),
    ("histogram", lambda: pd.histogram(x(6), 0)),
    ("nonzero_static", lambda: pd.nonzero_static(x(6), size=-1)),
    ("multinomial", lambda: pd.multinomial(x(3), -1)),
    ("multinomial", lambda: pd.multinomial(x(3), 4)),
    ("diff", lambda: pd.diff(x(6), -1)),
    ("matrix_power", lambda: pd.matrix_power(x(2, 2), 0.5)),
    ("polygamma", lambda: pd.polygamma(-1, x(3))),
    ("mvlgamma", lambda: pd.mvlgamma(x(3), 0)),
    ("renorm", lambda: pd.renorm(x(2, 3), -1.0, 0, 1.0)),
    ("renorm", lambda: pd.renorm(x(2, 3), 2.0, 0, -1.0)),
    ("cdist", lambda: pd.cdist(x(2, 3), x(2, 3), -1.0)),
    # ---- layers
    ("conv1d", lambda: F.conv1d(x(1, 1, 6), x(1, 1, 2), stride=0)),
    ("conv1d", lambda: F.conv1d(x(1, 1, 6), x(1, 1, 2), stride=-1)),
    ("conv1d", lambda: F.conv1d(x(1, 1, 6), x(1, 1, 7))),
    ("conv1d", lambda: F.conv1d(x(1, 1, 6), x(1, 1, 2), padding=-4)),
    ("conv1d", lambda: F.conv1d(x(1, 1, 6), x(1, 1, 2), dilation=0)),
    ("conv1d", lambda: F.conv1d(x(1, 1, 6), x(1, 1, 2), groups=0)),
    ("conv1d", lambda: F.conv1d(x(1, 1, 6), x(1, 1, 2), padding="wide")),
    ("conv2d", lambda: F.conv2d(x(1, 1, 6, 6), x(1, 1, 2, 2), stride=(0, 1))),
    ("conv2d", lambda: F.conv2d(x(1, 1, 6, 6), x(1, 1, 7, 7))),
    ("conv2d", lambda: F.conv2d(x(1, 1, 6, 6), x(1, 1, 2, 2), dilation=2**62)),
    ("conv2d", lambda: F.conv2d(x(1, 1, 6, 6), x(1, 1, 2, 2), padding=2**62)),
    ("conv_transpose1d", lambda: F.conv_transpose1d(x(1, 1, 6), x(1, 1, 2), stride=0)),
    ("conv_transpose1d", lambda: F.conv_transpose1d(x(1, 1, 6), x(1, 1, 2), output_padding=3)),
    ("conv_transpose1d", lambda: F.conv_transpose1d(x(1, 1, 6), x(1, 1, 2), padding=9)),
    ("max_pool1d", lambda: F.max_pool1d(x(1, 1, 6), 0)),
    ("max_pool1d", lambda: F.max_pool1d(x(1, 1, 6), -1)),
    ("max_pool1d", lambda: F.max_pool1d(x(1, 1, 6), 7)),
    ("max_pool2d", lambda: F.max_pool2d(x(1, 1, 6, 6), 2, 0)),
    ("max_pool2d", lambda: F.max_pool2d(x(1, 1, 6, 6), 2, padding=2)),
    ("max_pool2d", lambda: F.max_pool2d(x(1, 1, 6, 6), 2, dilation=0)),
    ("avg_pool1d", lambda: F.avg_pool1d(x(1, 1, 6), 0)),
    ("avg_pool2d", lambda: F.avg_pool2d(x(1, 1, 6, 6), 7)),
    ("avg_pool2d", lambda: F.avg_pool2d(x(1, 1, 6, 6), 2, divisor_override=0)),
    ("adaptive_avg_pool2d", lambda: F.adaptive_avg_pool2d(x(1, 1, 6, 6), -1)),
    ("fractional_max_pool2d", lambda: F.fractional_max_pool2d(x(1, 1, 6, 6), 2, (0, 0))),
    ("fractional_max_pool2d", lambda: F.fractional_max_pool2d(x(1, 1, 6, 6), 9, (3, 3))),
    ("lp_pool2d", lambda: F.lp_pool2d(x(1, 1, 6, 6), 2.0, 0)),
    ("unfold", lambda: F.unfold(x(1, 1, 4, 4), 0)),
    ("unfold", lambda: F.unfold(x(1, 1, 4, 4), 5)),
    ("unfold", lambda: F.unfold(x(1, 1, 4, 4), 2, stride=0)),
    ("fold", lambda: F.fold(x(1, 4, 4), (3, 3), 0)),
    ("fold", lambda: F.fold(x(1, 4, 4), (0, 0), 2)),
    ("interpolate", lambda: F.interpolate(x(1, 1, 4, 4), size=0)),
    ("interpolate", lambda: F.interpolate(x(1, 1, 4, 4), size=-2)),
    ("interpolate", lambda: F.interpolate(x(1, 1, 4, 4), scale_factor=0.0)),
    ("interpolate", lambda: F.interpolate(x(1, 1, 4, 4), scale_factor=-1.0)),
    ("interpolate", lambda: F.interpolate(x(1, 1, 4, 4), scale_factor=math.nan)),
    ("interpolate", lambda: F.interpolate(x(1, 1, 4, 4), scale_factor=math.inf)),
    ("group_norm", lambda: F.group_norm(x(2, 4, 3), 0)),
    ("group_norm", lambda: F.group_norm(x(2, 4, 3), -2)),
    ("local_response_norm", lambda: F.local_response_norm(x(2, 4, 3), 0)),
    ("dropout", lambda: F.dropout(x(3), 1.5)),
    ("dropout", lambda: F.dropout(x(3), math.nan)),
    ("glu", lambda: F.glu(x(3))),
    ("embedding", lambda: F.embedding(pd.tensor([1]), x(5, 2), padding_idx=9)),
    ("multi_margin_loss", lambda: F.multi_margin_loss(x(3, 4), pd.tensor([0, 1, 2]), p=3)),
    ("mse_loss", lambda: F.mse_loss(x(3), x(3), reduction="average")),
]


@pytest.mark.parametrize("name, call", CALLS, ids=[f"{k}-{name}" for k, (name, _) in enumerate(CALLS)])
def test_no_such_size(name, call):
    with pytest.raises((ValueError, TypeError, IndexError, RuntimeError, MemoryError)) as caught:
        result = call()
        _core.evaluate([t for t in (result if isinstance(result, (tuple, list)) else [result])])
    text = str(caught.value)
    form = FORM.match(text)
    assert form and (form[1] == name or isinstance(caught.value, MemoryError)), text
    assert caught.traceback[-1].path.name == __file__.rpartition("/")[2]
    assert (x(3) + 1).tolist() == [2, 3, 4]


def test_what_is_extreme_and_still_means_something():
    assert F.one_hot(pd.tensor([5, -1, 1]), 3).tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]  # as its page says
    assert tuple(F.conv2d(x(1, 1, 6, 6), x(1, 1, 2, 2), stride=2**62).shape) == (1, 1, 1, 1)
    assert tuple(F.adaptive_avg_pool2d(x(1, 1, 6, 6), 0).shape) == (1, 1, 0, 0)
    assert tuple(x(6).unfold(0, 0, 9).shape) == (1, 0)


# Wrong indices are found by the run; the message names what the user called, and the line.
LATE = [
    ("index", lambda: x(5)[pd.tensor([1, 9])]),
    ("gather", lambda: x(5).gather(0, pd.tensor([9]))),
    ("index_select", lambda: pd.index_select(x(5), 0, pd.tensor([9]))),
    ("take", lambda: pd.take(x(5), pd.tensor([9]))),
    ("take_along_dim", lambda: pd.take_along_dim(x(5), pd.tensor([9]), 0)),
    ("scatter", lambda: pd.scatter(x(5), 0, pd.tensor([9]), x(1))),
    ("scatter_add", lambda: pd.scatter_add(x(5), 0, pd.tensor([9]), x(1))),
    ("scatter_reduce", lambda: pd.scatter_reduce(x(5), 0, pd.tensor([9]), x(1), "sum")),
    ("index_add", lambda: pd.index_add(x(5), 0, pd.tensor([9]), x(1))),
    ("index_copy", lambda: pd.index_copy(x(5), 0, pd.tensor([9]), x(1))),
    ("index_fill", lambda: pd.index_fill(x(5), 0, pd.tensor([9]), 1.0)),
    ("index_put", lambda: pd.index_put(x(5), (pd.tensor([9]),), x(1))),
    ("put", lambda: pd.put(x(5), pd.tensor([9]), x(1))),
    ("embedding", lambda: F.embedding(pd.tensor([9]), x(5, 2))),
    ("embedding_bag", lambda: F.embedding_bag(pd.tensor([[9]]), x(5, 2))),
    ("nll_loss", lambda: F.nll_loss(x(3, 4), pd.tensor([0, 1, 9]))),
    ("cross_entropy", lambda: F.cross_entropy(x(3, 4), pd.tensor([0, 1, 9]))),
    ("multi_margin_loss", lambda: F.multi_margin_loss(x(3, 4), pd.tensor([0, 1, 9]))),
    ("max_unpool1d", lambda: F.max_unpool1d(x(1, 1, 2), pd.tensor([[[0, 9]]]), 2)),
]


@pytest.mark.parametrize("name, call", LATE, ids=[name for name, _ in LATE])
def test_an_index_out_of_range_names_the_call_and_its_line(name, call):
    with pytest.raises((IndexError, ValueError)) as caught:
        call().tolist()
    text = str(caught.value)
    form = FORM.match(text)
    assert form and form[1] == name, text
    assert "9" in text
    assert "; recorded at " not in text or __file__ in text
    assert (x(3) + 1).tolist() == [2, 3, 4]
