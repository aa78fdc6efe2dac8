"""Recurrent layers as functions: one step of each kind, and a layer that runs it over time.

The products of all inputs with the input weights are one matrix product before the loop over time; a step adds the
product of the state. Padded batches are `(time, batch, width)`; packed ones are rows, sorted by time, of which
`batch_sizes[t]` belong to time t, the longest sequence first.
"""

import pydiff

from . import functional as F

GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "GRU": 3, "LSTM": 4}


class Rows(pydiff.autograd.Function):
    """The entries along the first axis, with one stacking for the backward pass in place of a sum of padded entries."""

    @staticmethod
    def forward(ctx, x):
        return x.unbind(0)

    @staticmethod
    def backward(ctx, *grads):
        return pydiff.stack(grads)


class Parts(pydiff.autograd.Function):
    """Pieces along the first axis of the given sizes, with one concatenation for the backward pass."""

    @staticmethod
    def forward(ctx, x, *sizes):
        ctx.count = len(sizes)
        return x.split(sizes)

    @staticmethod
    def backward(ctx, *grads):
        return pydiff.cat(grads), *(None,) * ctx.count


def tanh_step(given, product, state):
    """h' = tanh(W x + U h + b)."""
    return (pydiff.tanh(given + product),)


def relu_step(given, product, state):
    """h' = relu(W x + U h + b)."""
    return (pydiff.relu(given + product),)


def gru_step(given, product, state):
    """r, z = σ(…); n = tanh(W x + r (U h)); h' = (1 - z) n + z h."""
    r, z, n = given.chunk(3, -1)
    hr, hz, hn = product.chunk(3, -1)
    z = pydiff.sigmoid(z + hz)
    n = pydiff.tanh(n + pydiff.sigmoid(r + hr) * hn)
    return (n + z * (state[0] - n),)


def lstm_step(given, product, state):
    """i, f, o = σ(…), g = tanh(…); c' = f c + i g; h' = o tanh(c')."""
    i, f, g, o = (given + product).chunk(4, -1)
    c = pydiff.sigmoid(f) * state[1] + pydiff.sigmoid(i) * pydiff.tanh(g)
    return pydiff.sigmoid(o) * pydiff.tanh(c), c


STEPS = {"RNN_TANH": tanh_step, "RNN_RELU": relu_step, "GRU": gru_step, "LSTM": lstm_step}


def run_layer(mode, x, state, weights, batch_sizes=None, backwards=False):
    """One layer in one direction.

    Arguments:
        mode: a key of `STEPS`.
        x: `(time, batch, width)`, or packed rows with `batch_sizes`, a list.
        state: a tuple of `(batch, hidden)`: of h, and of c for an LSTM.
        weights: (input weight, state weight, input bias, state bias, projection), None for those absent.
        backwards: whether time runs from the end.

    Returns (output, laid out as x, and the state after the last step).
    """
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    step, gated = STEPS[mode], mode == "GRU"
    if b_ih is not None and not gated:
        b_ih, b_hh = b_ih + b_hh, None
    given = F.linear(x, w_ih, b_ih)
    given = Rows.apply(given) if batch_sizes is None else Parts.apply(given, *batch_sizes)
    turned, project = w_hh.T, None if w_hr is None else w_hr.T

    def advance(now, state):
        product = state[0] @ turned
        state = step(now, product if b_hh is None else product + b_hh, state)
        return state if project is None else (state[0] @ project, state[1])

    outputs = [None] * len(given)
    order = range(len(given) - 1, -1, -1) if backwards else range(len(given))
    if batch_sizes is None:
        for t in order:
            state = advance(given[t], state)
            outputs[t] = state[0]
        return pydiff.stack(outputs), state
    state = (_backwards if backwards else _forwards)(advance, given, state, batch_sizes, order, outputs)
    return pydiff.cat(outputs), state


def _forwards(advance, given, state, sizes, order, outputs):
    """Sequences end, the shortest, which are last, first: their states are put aside."""
    ended = []
    for t in order:
        running = state[0].shape[0]
        if sizes[t] < running:
            ended.append(tuple(s[sizes[t] :] for s in state))
            state = tuple(s[: sizes[t]] for s in state)
        state = advance(given[t], state)
        outputs[t] = state[0]
    ended.append(state)
    return tuple(pydiff.cat(parts[::-1]) for parts in zip(*ended, strict=True)) if len(ended) > 1 else state


def _backwards(advance, given, state, sizes, order, outputs):
    """Sequences begin, the longest, which are first, first: they join with their initial states."""
    start, state = state, tuple(s[: sizes[-1]] for s in state)
    for t in order:
        running = state[0].shape[0]
        if sizes[t] > running:
            state = tuple(pydiff.cat([s, first[running : sizes[t]]]) for s, first in zip(state, start, strict=True))
        state = advance(given[t], state)
        outputs[t] = state[0]
    return state
