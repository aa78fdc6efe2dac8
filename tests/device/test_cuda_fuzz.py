"""Random programs on a CUDA device and on the CPU: the same bits of results and of gradients.

Elementwise work, random numbers and reductions follow one definition everywhere. Products and running sums have an order
of their own on a CUDA device, so programs draw neither. Half of the programs are `Program`s of test_fuzz_fusion.py, of
many small ops; half have few ops on lengths around those where kernels change: of a vector, of the lanes of a row, of the
blocks of a reduction, of rows that are cut. On the stand-in, PYDIFF_CUDA_HOST_ORDER and PYDIFF_CUDA_HOST_GUARD make more of these.
"""

import numpy as np
import pytest
from oracle import array, same_bits
from test_fuzz_fusion import Program

import pydiff as pd

LENGTHS = [0, 1, 2, 3, 4, 15, 16, 17, 31, 32, 33, 64, 127, 129, 1023, 1024, 1025, 2047, 2048, 2049, 3072, 4100]
LONG = [16383, 16384, 16385, 20000, 33000]


@pytest.fixture(autouse=True)
def needs_cuda(device):
    if not device.startswith("cuda"):
        pytest.skip("of CUDA devices: --device cuda-host")


class Fused(Program):
    """Without what has an order of its own on a CUDA device."""

    def grow_matmul(self):
        self.grow_unary()

    def grow_cumsum(self):
        self.grow_reduce()

    def grow_gather(self):
        k = self.pick(lambda s: len(s) > 0)
        if k is not None:
            n = self.shapes[k][0]
            index = self.rng.integers(-n, n, 5)
            self.add(f"v{k}[{index.tolist()}]", lambda v: v[k][pd.tensor(index)], (5, *self.shapes[k][1:]))


class Lengths(Fused):
    """One or two axes are long or of a critical length; bools, integers and both floats."""

    def draw_shape(self, rank):
        rank = int(self.rng.integers(1, 4))
        shape = [int(n) for n in self.rng.choice([1, 2, 3, 5, 18], rank)]
        shape[int(self.rng.integers(rank))] = int(self.rng.choice(LENGTHS if self.rng.random() < 0.7 else LONG))
        while np.prod(shape) > 40_000:  # the smallest axis above 1 goes
            shape[shape.index(min(n for n in shape if n > 1))] = 1
        return tuple(shape)

    def grow(self):
        kinds = ["unary", "binary", "number", "several", "several", "normalised", "rows", "reduce", "counted", "arange"]
        kinds += ["transpose", "flip", "pad", "expand", "where", "cast", "bound"]
        if self.shapes and any(np.prod(s) == 0 for s in self.shapes):  # of nothing there is no largest
            kinds = ["unary", "binary", "number", "counted", "transpose", "flip", "pad", "expand", "where", "cast"]
        getattr(self, "grow_" + str(self.rng.choice(kinds)))()

    def axes_of(self, k):
        rank = len(self.shapes[k])
        return tuple(sorted(self.rng.choice(rank, self.rng.integers(1, rank + 1), replace=False).tolist()))

    def pick_ranked(self):
        return self.pick(lambda s: len(s) > 0)

    def grow_several(self):
        """Reductions of one value, used together by each element."""
        k = self.pick_ranked()
        if k is None:
            return
        axes = self.axes_of(k)

        def f(v):
            x = v[k]
            low, high = x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)
            count = (x > 0).sum(axes, keepdim=True)
            some = (x > 1.5).any(axes, keepdim=True)
            return pd.where(some, (x - low) / (high - low + 1), x.sin()) + count * 0.01

        self.add(f"scaled(v{k}, {axes})", f, self.shapes[k])

    def grow_normalised(self):
        """Costly values between two reductions, so that kernels keep them."""
        k = self.pick_ranked()
        if k is None:
            return
        axes = self.axes_of(k)

        def f(v):
            x = v[k] - v[k].mean(axes, keepdim=True)
            e, g = x.sin().exp(), (x * 0.5).erf().tanh()
            return e / e.sum(axes, keepdim=True) + g * (g * e).mean(axes, keepdim=True)

        self.add(f"normalised(v{k}, {axes})", f, self.shapes[k])

    def grow_counted(self):
        """Reductions of integers and of bools, the value itself kept."""
        k = self.pick_ranked()
        if k is None:
            return
        axes = self.axes_of(k)

        def f(v):
            n = (v[k].clamp(-50, 50) * 3).int()
            return v[k] + n.sum(axes, keepdim=True).to(v[k].dtype) * 1e-3 + (n > 0).all(axes, keepdim=True)

        self.add(f"counted(v{k}, {axes})", f, self.shapes[k])

    def grow_bound(self):
        """A pad of nothing, or of a number, beside a reduction."""
        k = self.pick_ranked()
        if k is None:
            return
        shape, axis = self.shapes[k], int(self.rng.integers(len(self.shapes[k])))
        rest = [1 if i == axis else n for i, n in enumerate(shape)]
        none = [0 if i == axis else n for i, n in enumerate(shape)]
        lo = [int(i == axis) for i in range(len(shape))]

        def f(v):
            nothing = pd._C._pad(pd.zeros(none, dtype=v[k].dtype), lo, [0] * len(lo), 0.25)
            number = pd._C._pad(pd.full(none, 2.0, dtype=v[k].dtype), lo, [0] * len(lo), 0.5)
            return v[k] + (v[k].sum(axis, keepdim=True) + nothing) * number

        assert tuple(np.broadcast_shapes(rest, shape)) == tuple(shape)
        self.add(f"bound(v{k}, {axis})", f, shape)


def results(program, data, where):
    """What the program computes there, looked at all at once."""
    before = pd.get_default_device()
    pd.set_default_device(where)
    try:
        leaves = [pd.tensor(d, requires_grad=True) for d in data]
        ends = program.results(*leaves)
        loss = sum((e * e).sum() for e in ends)
        grads = pd.autograd.grad(loss, leaves, allow_unused=True) if loss.requires_grad else []
        return [array(r.detach()) for r in (*ends, loss, *(g for g in grads if g is not None))]
    finally:
        pd.set_default_device(before)


def compare(seed, number, device):
    rng = np.random.default_rng([seed, number, 5])
    program = (Lengths if number % 2 else Fused)(rng)
    dtype = "float64" if number % 3 == 0 else "float32"
    data = [rng.uniform(-2, 2, s).astype(dtype) for s in program.inputs]
    try:
        with np.errstate(all="ignore"):
            here, there = results(program, data, "cpu"), results(program, data, device)
        assert len(here) == len(there) >= 3
        for k, (a, b) in enumerate(zip(there, here)):
            same_bits(a, b, f"result {k}")
    except Exception as e:
        raise AssertionError(f"program {number} (--seed {seed}), {dtype}:\n{program}\n{type(e).__name__}: {e}") from e


@pytest.mark.smoke
@pytest.mark.parametrize("part", range(4))
def test_random_programs(part, seed, device):
    for number in range(15 * part, 15 * part + 15):
        compare(seed, number, device)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_many_random_programs(part, seed, device):
    for number in range(1000 + 50 * part, 1050 + 50 * part):
        compare(seed, number, device)
