"""Attention of gpu_check: long rows of wide heads in bfloat16, forward alone and with its gradients."""

import math

import numpy as np

from .workload import NoPeer, Program


def shape(small):
    """Batch, heads, tokens, width of a head."""
    return (1, 2, 48, 16) if small else (4, 16, 4096, 128)


def flops(causal, backward):
    """By the usual count: two products forward, five backward, half of each where the diagonal is."""

    def count(small):
        batch, heads, tokens, width = shape(small)
        one = 2 * batch * heads * tokens**2 * width
        return (7 if backward else 2) * one // (2 if causal else 1)

    return count


def arrays(draw, small):
    return [draw(*shape(small), seed=seed) for seed in (1, 2, 3, 4)]


def attention(draw, causal, backward):
    """A workload's `make`. What is checked is the first head."""

    def make(library, small):
        if library.label == "CuPy":
            raise NoPeer
        attend = library.functional.scaled_dot_product_attention
        q, k, v, given = (library.bfloat16(library.tensor(a)).detach() for a in arrays(draw, small))
        last = [()]
        if backward:
            operands = [t.requires_grad_() for t in (q, k, v)]

        def step():
            y = attend(q, k, v, is_causal=causal)
            last[0] = (y.detach(), *library.module.autograd.grad(y, operands, given)) if backward else (y,)
            library.done(last[0])

        return Program(step, lambda: [library.numpy(t[0, 0]) for t in last[0]])

    return make


def reference(draw, rounded, causal, backward):
    """The same of the first head in float64, from operands as rounded."""

    def heads(small):
        q, k, v, given = (rounded(a[0, 0]).astype(np.float64) for a in arrays(draw, small))
        scale = 1 / math.sqrt(q.shape[1])
        s = q @ k.T * scale
        if causal:
            s[np.triu_indices_from(s, 1)] = -np.inf
        p = np.exp(s - s.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        if not backward:
            return [p @ v]
        h = given @ v.T
        z = p * (h - (p * h).sum(1, keepdims=True))
        return [p @ v, z @ k * scale, z.T @ q * scale, p.T @ given]

    return heads
