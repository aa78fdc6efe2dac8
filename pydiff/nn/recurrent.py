"""Recurrent layers over sequences, padded or packed, and their cells."""

import math
import warnings

import pydiff

from . import functional as F
from . import init
from ._recurrent import GATES, STEPS, run_layer
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase"]

_KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


class RNNBase(Module):
    """What `RNN`, `LSTM` and `GRU` share: parameters for each layer and direction, and the run over them.

    Arguments:
        mode: 'RNN_TANH', 'RNN_RELU', 'GRU' or 'LSTM'.
        input_size, hidden_size: widths of an input and of the state.
        num_layers: layers one on top of the other.
        bias: whether there are biases.
        batch_first: whether input and output are `(batch, time, width)`; else `(time, batch, width)`.
        dropout: the probability with which outputs of each layer but the last are dropped in training.
        bidirectional: whether a second run from the end is put beside the first.
        proj_size: of an LSTM, the width to which h is projected; 0 for none.
        device, dtype: of the parameters.

    Parameters have PyTorch's names (`weight_ih_l0`, `weight_hh_l0_reverse`, …), shapes and order of gates, and start
    uniform in ±1/sqrt(hidden_size). Raises ValueError for sizes that are not positive and unknown modes.

    >>> import pydiff as pd
    >>> [name for name, _ in pd.nn.RNNBase("GRU", 2, 3).named_parameters()]
    ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0']
    """

    def __init__(
        self, mode, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
        proj_size=0, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__()
        owner = type(self).__name__
        if mode not in GATES:
            raise ValueError(f"[{owner}] unknown mode; got {mode!r}; try one of {', '.join(GATES)}")
        F.check_probability(owner, dropout)
        if hidden_size <= 0 or num_layers <= 0 or input_size < 0:
            raise ValueError(
                f"[{owner}] sizes are positive; got input_size {input_size}, hidden_size {hidden_size}, num_layers "
                f"{num_layers}; try {owner}(8, 16, 2)"
            )
        if proj_size and (mode != "LSTM" or not 0 < proj_size < hidden_size):
            raise ValueError(
                f"[{owner}] proj_size is of an LSTM, and smaller than hidden_size; got {proj_size} of hidden_size "
                f"{hidden_size}; try proj_size=0"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                f"[{owner}] dropout is between layers; got dropout {dropout} with one layer; try num_layers=2", stacklevel=3
            )
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        gates, out = GATES[mode] * hidden_size, proj_size or hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else out * (1 + bidirectional)
            shapes = {"weight_ih": (gates, width), "weight_hh": (gates, out)}
            if bias:
                shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
            for suffix in self._suffixes(layer):
                for kind, shape in shapes.items():
                    setattr(self, kind + suffix, Parameter(pydiff.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def _suffixes(self, layer):
        return [f"_l{layer}", f"_l{layer}_reverse"][: 1 + self.bidirectional]

    def reset_parameters(self):
        """Draw all parameters anew."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self):
        """Does nothing: there is no copy of the weights to lay out."""

    @property
    def all_weights(self):
        """For each layer and direction, the list of its parameters."""
        weights = [
            [getattr(self, kind + suffix, None) for kind in _KINDS]
            for layer in range(self.num_layers)
            for suffix in self._suffixes(layer)
        ]
        return [[w for w in some if w is not None] for some in weights]

    def forward(self, input, hx=None):
        """(output, state), where `hx` is the state at the start, zeros by default."""
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        owner = type(self).__name__
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"[{owner}] the input is (time, batch, {self.input_size}), or two of these axes; got {tuple(input.shape)}; "
                f"try input_size={input.shape[-1] if input.ndim else 1}, or other axes"
            )
        time = 1 if self.batch_first and input.ndim == 3 else 0
        if not input.shape[time]:
            raise ValueError(f"[{owner}] a sequence has one step at least; got {tuple(input.shape)}; try a longer input")
        batched = input.ndim == 3
        x = input if batched else input.unsqueeze(1)
        x = x.transpose(0, 1) if time else x
        output, state = self._run(x, self._start(hx, x.shape[1], batched, x))
        output = output.transpose(0, 1) if time else output
        if not batched:
            output, state = output.squeeze(1), tuple(s.squeeze(1) for s in state)
        return output, self._shown(state)

    def _packed(self, input, hx):
        data, sizes, order, back = input
        state = self._start(hx, int(sizes[0]), True, data)
        if order is not None and hx is not None:
            state = tuple(s.index_select(1, order) for s in state)
        output, state = self._run(data, state, sizes.tolist())
        if back is not None:
            state = tuple(s.index_select(1, back) for s in state)
        return PackedSequence(output, sizes, order, back), self._shown(state)

    def _shown(self, state):
        return state if self.mode == "LSTM" else state[0]

    def _widths(self):
        """Of each tensor of the state."""
        first = self.proj_size or self.hidden_size
        return (first, self.hidden_size) if self.mode == "LSTM" else (first,)

    def _start(self, hx, batch, batched, like):
        """The state at the start as a tuple of `(layers * directions, batch, width)`."""
        owner, places = type(self).__name__, self.num_layers * (1 + self.bidirectional)
        shapes = [(places, batch, width) if batched else (places, width) for width in self._widths()]
        if hx is None:
            return tuple(pydiff.zeros((places, batch, s[-1]), dtype=like.dtype, device=like.device) for s in shapes)
        given = tuple(hx) if self.mode == "LSTM" and isinstance(hx, (tuple, list)) else (hx,)
        got = [tuple(s.shape) for s in given]
        if got != shapes:
            what = "the state is (h, c) of shapes" if self.mode == "LSTM" else "the state has the shape"
            shown = (shape if self.mode == "LSTM" else shape[0] for shape in (shapes, got))
            wanted, got = (", ".join(map(str, s)) if isinstance(s, list) else str(s) for s in shown)
            raise ValueError(f"[{owner}] {what} {wanted}; got {got}; try hx=None for zeros")
        return given if batched else tuple(s.unsqueeze(1) for s in given)

    def _run(self, x, start, sizes=None):
        starts = list(zip(*(s.unbind(0) for s in start), strict=True))
        ends = []
        for layer in range(self.num_layers):
            outputs = []
            for backwards, suffix in enumerate(self._suffixes(layer)):
                weights = [getattr(self, kind + suffix, None) for kind in _KINDS]
                output, end = run_layer(self.mode, x, starts[len(ends)], weights, sizes, backwards)
                outputs.append(output)
                ends.append(end)
            x = outputs[0] if len(outputs) == 1 else pydiff.cat(outputs, -1)
            if layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        return x, tuple(pydiff.stack(parts) for parts in zip(*ends, strict=True))

    def extra_repr(self):
        shown = f"{self.input_size}, {self.hidden_size}"
        for name, usual in (
            ("proj_size", 0), ("num_layers", 1), ("bias", True), ("batch_first", False), ("dropout", 0),
            ("bidirectional", False),
        ):  # fmt: skip
            value = getattr(self, name)
            shown += "" if value == usual else f", {name}={value}"
        return shown


class RNN(RNNBase):
    """h' = tanh(W x + b + U h + c) over time, or with relu.

    Arguments:
        input_size, hidden_size, num_layers: as of `RNNBase`; after them
        nonlinearity: 'tanh' or 'relu';
        bias, batch_first, dropout, bidirectional, device, dtype: as of `RNNBase`.

    Called with `(time, batch, input_size)` (or batch first, or without a batch, or a `PackedSequence`) and a state
    `(layers * directions, batch, hidden_size)`, by default zeros. Gives (outputs of the last layer at all times,
    `(time, batch, directions * hidden_size)`, the last states, shaped as the first). Elman, "Finding Structure in
    Time", Cognitive Science 14 (1990). Raises ValueError for shapes that do not fit and an unknown nonlinearity.

    >>> import pydiff as pd
    >>> output, state = pd.nn.RNN(3, 5, num_layers=2)(pd.randn(7, 4, 3))
    >>> tuple(output.shape), tuple(state.shape)
    ((7, 4, 5), (2, 4, 5))
    """

    def __init__(
        self, input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False, dropout=0.0,
        bidirectional=False, device=None, dtype=None,
    ):  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"[RNN] unknown nonlinearity; got {nonlinearity!r}; try 'tanh' or 'relu'")
        super().__init__(
            f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            0, device, dtype,
        )  # fmt: skip
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory: c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c'), each gate affine in x and h.

    Arguments: as of `RNNBase`; gates stand in the order i, f, g, o.

    Called with `(time, batch, input_size)` (or batch first, or without a batch, or a `PackedSequence`) and a state (h, c),
    by default zeros: `(layers * directions, batch, proj_size or hidden_size)` and `(…, hidden_size)`. Gives (outputs of
    the last layer, `(time, batch, directions * width)`, the last (h, c)). Hochreiter and Schmidhuber, Neural
    Computation 9 (1997); the projection is Sak, Senior and Beaufays, arXiv:1402.1128. Raises ValueError for shapes that
    do not fit.

    >>> import pydiff as pd
    >>> output, (h, c) = pd.nn.LSTM(3, 5, bidirectional=True)(pd.randn(7, 4, 3))
    >>> tuple(output.shape), tuple(h.shape), tuple(c.shape)
    ((7, 4, 10), (2, 4, 5), (2, 4, 5))
    """

    def __init__(
        self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
        proj_size=0, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        )


class GRU(RNNBase):
    """Gated recurrent unit: h' = (1 - z) n + z h, n = tanh(W x + b + r (U h + c)), gates r and z affine in x and h.

    Arguments: as of `RNNBase`, without proj_size; gates stand in the order r, z, n.

    Called, and gives, as `RNN`. Cho et al., arXiv:1406.1078, with the reset gate applied to the product, as PyTorch
    and cuDNN do. Raises ValueError for shapes that do not fit.

    >>> import pydiff as pd
    >>> output, state = pd.nn.GRU(3, 5, batch_first=True)(pd.randn(4, 7, 3))
    >>> tuple(output.shape), tuple(state.shape)
    ((4, 7, 5), (1, 4, 5))
    """

    def __init__(
        self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
        device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )


class RNNCellBase(Module):
    """What the cells share: `weight_ih`, `weight_hh`, and with `bias` `bias_ih`, `bias_hh`, for `num_chunks` gates.

    >>> import pydiff as pd
    >>> tuple(pd.nn.RNNCellBase(2, 3, True, 4).weight_ih.shape)
    (12, 2)
    """

    def __init__(self, input_size, hidden_size, bias, num_chunks, device=None, dtype=None):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        gates = num_chunks * hidden_size
        shapes = {"weight_ih": (gates, input_size), "weight_hh": (gates, hidden_size), "bias_ih": (gates,), "bias_hh": (gates,)}
        for name, shape in shapes.items():
            absent = name.startswith("bias") and not bias
            self.register_parameter(name, None if absent else Parameter(pydiff.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def reset_parameters(self):
        """Draw all parameters anew, uniform in ±1/sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0.0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _advance(self, mode, input, state, count):
        """The state after one step, a tuple; `count` is of its tensors."""
        owner = type(self).__name__
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"[{owner}] the input is (batch, {self.input_size}) or ({self.input_size},); got {tuple(input.shape)}; "
                f"try input_size={input.shape[-1] if input.ndim else 1}"
            )
        shape = (*input.shape[:-1], self.hidden_size)
        if state is None:
            state = (pydiff.zeros(shape, dtype=input.dtype, device=input.device),) * count
        elif [tuple(s.shape) for s in state] != [shape] * count:
            got = ", ".join(str(tuple(s.shape)) for s in state)
            raise ValueError(f"[{owner}] the state has the shape {shape}; got {got}; try hx=None for zeros")
        given = F.linear(input, self.weight_ih, self.bias_ih)
        product = F.linear(state[0], self.weight_hh, self.bias_hh)
        return STEPS[mode](given, product, state)

    def extra_repr(self):
        shown = f"{self.input_size}, {self.hidden_size}" + ("" if self.bias is True else f", bias={self.bias}")
        nonlinearity = getattr(self, "nonlinearity", "tanh")
        return shown if nonlinearity == "tanh" else f"{shown}, nonlinearity={nonlinearity}"


class RNNCell(RNNCellBase):
    """One step of an `RNN`: `(batch, input_size)` and a state `(batch, hidden_size)` give the next state.

    Arguments:
        input_size, hidden_size: widths.
        bias: whether there are biases.
        nonlinearity: 'tanh' or 'relu'.
        device, dtype: of the parameters.

    Raises ValueError for shapes that do not fit and an unknown nonlinearity.

    >>> import pydiff as pd
    >>> tuple(pd.nn.RNNCell(3, 5)(pd.randn(4, 3)).shape)
    (4, 5)
    """

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", device=None, dtype=None):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"[RNNCell] unknown nonlinearity; got {nonlinearity!r}; try 'tanh' or 'relu'")
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input, hx=None):
        return self._advance(f"RNN_{self.nonlinearity.upper()}", input, None if hx is None else (hx,), 1)[0]


class LSTMCell(RNNCellBase):
    """One step of an `LSTM`: `(batch, input_size)` and (h, c), each `(batch, hidden_size)`, give the next (h, c).

    Arguments:
        input_size, hidden_size: widths.
        bias: whether there are biases.
        device, dtype: of the parameters.

    Raises ValueError for shapes that do not fit.

    >>> import pydiff as pd
    >>> h, c = pd.nn.LSTMCell(3, 5)(pd.randn(4, 3))
    >>> tuple(h.shape), tuple(c.shape)
    ((4, 5), (4, 5))
    """

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input, hx=None):
        return self._advance("LSTM", input, hx, 2)


class GRUCell(RNNCellBase):
    """One step of a `GRU`: `(batch, input_size)` and a state `(batch, hidden_size)` give the next state.

    Arguments as of `LSTMCell`. Raises ValueError for shapes that do not fit.

    >>> import pydiff as pd
    >>> tuple(pd.nn.GRUCell(3, 5)(pd.randn(4, 3)).shape)
    (4, 5)
    """

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input, hx=None):
        return self._advance("GRU", input, None if hx is None else (hx,), 1)[0]
