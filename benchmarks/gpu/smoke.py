"""One small program for each kind of kernel, checked against the CPU: what compute-sanitizer watches.

compute-sanitizer python -m benchmarks.gpu.smoke cuda
"""

import sys

import numpy as np

import pydiff

F = pydiff.nn.functional
NARROW = "attention of 16-bit floats"  # on the CPU these are computed in float32


def programs(x, labels):
    """name -> tensor. x: `(33, 70)` floats, labels: `(33,)` in [0, 70)."""
    table = x.detach().requires_grad_()
    loss = F.cross_entropy(table * 0.5, labels)
    loss.backward()
    yield "elementwise", (x * 2 + 1).tanh()
    yield "rows", F.softmax(x, dim=1)
    yield "columns", x.sum(0)
    yield "all", x.mean()
    yield "long row", x.reshape(1, -1).broadcast_to((3, x.numel())).exp().sum(1)
    yield "transposed", (x.T + 1).sum(1)
    yield "product", x @ x.T
    yield "gradient", table.grad
    yield "index", x[labels % 33]
    yield "argmax", x.argmax(dim=1)
    yield "cumsum", x.cumsum(1)
    yield "cat", pydiff.cat([x, x + 1])
    for name, dtype in (("attention", x.dtype), (NARROW, pydiff.bfloat16)):
        heads = x[:, :64].to(dtype).reshape(1, 33, 4, 16).transpose(1, 2).detach().requires_grad_()
        attended = F.scaled_dot_product_attention(heads, heads, heads, is_causal=True)
        yield name, attended.detach().float()
        yield f"{name}, gradient", pydiff.autograd.grad(attended.float().square().sum(), [heads])[0].float()


def main(device):
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((33, 70), dtype=np.float32), rng.integers(0, 70, 33)
    expected = dict(programs(pydiff.tensor(x), pydiff.tensor(labels)))
    bad = 0
    for name, value in programs(pydiff.tensor(x, device=device), pydiff.tensor(labels, device=device)):
        tolerance = 3e-2 if name.startswith(NARROW) else 1e-5
        close = np.allclose(value.numpy(), expected[name].numpy(), rtol=tolerance, atol=tolerance)
        print(f"{name}: {'as on the CPU' if close else 'WRONG'}")
        bad += not close
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "cuda"))
