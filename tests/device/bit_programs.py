"""Programs whose results must not depend on how they are run; the script writes their bytes to a file.

    python bit_programs.py OUT.npz SEED [--all] [--every N] [--device NAME]

test_same_bits.py runs it under several settings of PYDIFF_JIT, PYDIFF_FUSE, PYDIFF_NUM_THREADS and PYDIFF_ISA, and on
other devices. Of a sample (`--every 7`) only every seventh result is computed.
"""

import argparse

import numpy as np
from oracle import array, differentiable, function_of, rows, sample, specials, types_of

import pydiff as pd

SIZES = (1, 15, 16, 17, 1000, 1024, 1025, 5000, 100_003)
MATRICES = ((1, 7), (7, 1), (17, 33), (128, 1024), (3, 5000), (300, 130))
CUBES = ((3, 5, 7), (16, 17, 32), (2, 130, 66))


def leaves(rng, *shapes, dtype=np.float32, low=-3, high=3):
    return [pd.tensor(rng.uniform(low, high, s).astype(dtype), requires_grad=np.dtype(dtype).kind == "f") for s in shapes]


def with_gradients(name, f, *x):
    """The results of f and, where it has any, the gradients of their sum of squares."""
    y = f(*x)
    y = y if isinstance(y, tuple) else (y,)
    for k, v in enumerate(y):
        yield f"{name}/{k}", v
    taped = [v for v in y if v.requires_grad]
    wanted = [v for v in x if v.requires_grad]
    if taped and wanted:
        loss = sum((v * v).sum() for v in taped)
        for k, g in enumerate(pd.autograd.grad(loss, wanted, allow_unused=True)):
            if g is not None:
                yield f"{name}/grad{k}", g


def elementwise_rows(rng, everything):
    """Each row alone, and inside a chain that the fuser joins."""
    for row in rows():
        if not row["twin"]:
            continue
        f, name = function_of(row), row["name"]
        for dtype in types_of(row) if everything else types_of(row)[-2:]:
            drawn = sample(row, rng, (1037,), dtype)
            special = [np.resize(specials(d.dtype), 97 + 31 * k) for k, d in enumerate(drawn)]
            n = min(len(s) for s in special)
            x = [np.concatenate([d, s[:n]]) for d, s in zip(drawn, special)]
            plain = [pd.tensor(v) for v in x]
            yield f"row {name} {dtype}", f(*plain)
            if dtype.startswith("float"):
                chained = [p if p.dtype == pd.bool else p * 1.25 - 0.125 for p in plain]
                y = f(*chained)
                yield f"row {name} {dtype} chained", pd.where(y, 1.5, plain[-1]) if y.dtype == pd.bool else y * y + plain[-1]
            if dtype.startswith("float") and any(differentiable(row)):
                taped = [pd.tensor(v, requires_grad=v.dtype != bool) for v in x]
                yield from with_gradients(f"row {name} {dtype} taped", f, *taped)


def casts(rng, everything):
    types = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"]
    for source in types:
        x = pd.tensor(np.resize(specials(source), 131))
        for to in (*types, "bfloat16"):
            there = x.to(getattr(pd, to))
            yield f"cast {source} {to}", there.float() if to == "bfloat16" else there
            yield f"cast {source} {to} and back", there.to(getattr(pd, source))


def narrow(rng, everything):
    """16-bit floats and small integers: rounded after every op, whatever is fused with it."""
    for name in ("float16", "bfloat16"):
        dtype = getattr(pd, name)
        for n in (1, 17, 1037, 20_003):
            x, y, w = [pd.tensor(rng.uniform(-3, 3, n).astype(np.float32), dtype=dtype, requires_grad=True) for _ in range(3)]
            programs = {
                "chain": lambda a, b, c: (((a * b + c).tanh() - a) * 0.3 + b.exp()) / (c.abs() + 1),
                "mixed": lambda a, b, c: (a * b.float() + c.double()).to(dtype) + c,
                "gelu": lambda a, b, c: pd.nn.functional.gelu(a * 2) * b,
                "sums": lambda a, b, c: a * (b * c).sum() + (a - a.mean()).square().mean().sqrt(),
                "softmax": lambda a, b, c: a.softmax(0) * b + c.logsumexp(0),
                "where": lambda a, b, c: pd.where(a > b, a * c, b - 0.1),
            }
            for what, f in programs.items():
                for part, value in with_gradients(f"{name} {what} {n}", f, x, y, w):
                    yield part, value.double()
    for name in ("int8", "uint8", "int16", "uint16", "uint32", "uint64"):
        info = np.iinfo(name)
        a, b = [pd.tensor(rng.integers(info.min, info.max, 1037, dtype=name, endpoint=True)) for _ in range(2)]
        yield f"{name} chain", (a * b + 3 - (a ^ b)) * a
        yield f"{name} sum", (a * b).sum()
        yield f"{name} largest", (a - b).amax()
        yield f"{name} to float", (a + b).float() * 0.5


def defined(rng, everything):
    """What hardware leaves open (docs/DTYPES.md), of every integer type, with special values beside random ones."""
    for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"):
        info, dtype = np.iinfo(name), getattr(pd, name)
        special = specials(name)
        x, y = (np.concatenate([v.ravel(), rng.integers(info.min, info.max, 700, dtype=name, endpoint=True)])
                for v in np.meshgrid(special, special))  # fmt: skip
        a, b = pd.tensor(x), pd.tensor(y)
        yield f"{name} divided", pd.stack([a // b, a % b, pd.div(a, b, rounding_mode="trunc"), pd.fmod(a, b), a // 3, a % 0])
        yield f"{name} shifted", pd.stack([a << b, a >> b, a << (b & 31), a >> (b & 31), a << 3, a >> 99])
        yield f"{name} powers", pd.stack([a**b, a**5, -a, abs(a), a.sign()])
        yield f"{name} in a chain", ((a // (b | 1)) << 2).amax() + ((a >> 1) ^ b).amin() + (a % 7).sum().to(dtype)
        for source in ("float16", "bfloat16", "float32", "float64"):
            bits = np.concatenate([np.ldexp(rng.uniform(-2, 2, 700), rng.integers(-2, 70, 700)), specials(np.float32)])
            numbers = pd.tensor(bits.astype(np.float32)).to(getattr(pd, source))
            yield f"{source} to {name}", (numbers * 1.5).to(dtype) ^ 1
            yield f"{name} to {source}", (a.to(getattr(pd, source)) * 0.5).double()


def narrow_rows(rng, everything):
    """Each row of floats in 16 bits, alone and between operations that the fuser joins to it."""
    for row in rows():
        if not row["twin"] or "float32" not in types_of(row):
            continue
        f = function_of(row)
        for name in ("float16", "bfloat16"):
            drawn = sample(row, rng, (533,), np.float32)
            special = [np.resize(specials(d.dtype), 97 + 31 * k) for k, d in enumerate(drawn)]
            n = min(len(s) for s in special)
            x = [pd.tensor(np.concatenate([d, s[:n]])) for d, s in zip(drawn, special)]
            x = [v if v.dtype == pd.bool else v.to(getattr(pd, name)) for v in x]
            yield f"row {row['name']} {name}", _wide(f(*x))
            y = f(*[v if v.dtype == pd.bool else v * 1.25 - 0.125 for v in x])
            y = pd.where(y, 1.5, x[-1]) if y.dtype == pd.bool else y * y + x[-1]
            yield f"row {row['name']} {name} chained", y.double()


def _wide(x):
    return x if x.dtype == pd.bool else x.double()


def reductions(rng, everything):
    kinds = {
        "sum": lambda t, d: t.sum(d),
        "mean": lambda t, d: t.mean(d),
        "amax": lambda t, d: t.amax(d),
        "amin": lambda t, d: t.amin(d),
        "prod": lambda t, d: (t * 0.01 + 1).prod(d),
        "var": lambda t, d: t.var(d, correction=0),
        "logsumexp": lambda t, d: t.logsumexp(d),
        "argmax": lambda t, d: t.argmax(d),
        "cumsum": lambda t, d: t.cumsum(d),
        "of a chain": lambda t, d: (t * 2 + 1).sin().sum(d),
        "any": lambda t, d: (t > 2.9).any(d),
        "all": lambda t, d: (t > -2.9).all(d),
    }
    for dtype in (np.float32, np.float64) if everything else (np.float32,):
        for n in SIZES:
            (x,) = leaves(rng, (n,), dtype=dtype)
            for name, f in kinds.items():
                yield from with_gradients(f"{name} {n} {dtype.__name__}", lambda t: f(t, 0), x)
        for shape in MATRICES + CUBES:
            (x,) = leaves(rng, shape, dtype=dtype)
            for name, f in kinds.items():
                axes = list(range(len(shape)))
                if name in ("sum", "mean", "amax", "of a chain") and len(shape) > 2:
                    axes += [(0, 2), (1, 2), (0, 1)]
                for axis in axes if everything else axes[-3:]:
                    yield from with_gradients(f"{name} {shape} {axis} {dtype.__name__}", lambda t: f(t, axis), x)
        (x,) = leaves(rng, (3, 300, 10), dtype=dtype)  # short rows, and columns of them
        for axis in (1, 2):
            yield from with_gradients(
                f"of short rows {axis} {dtype.__name__}", lambda t: (t * 2 - t.amax(0)).square().sum(axis), x
            )
    for shape in ((1000,), (17, 130)):
        k = pd.tensor(rng.integers(-50, 50, shape))
        for axis in range(len(shape)):
            yield f"integers {shape} {axis} sum", k.sum(axis)
            yield f"integers {shape} {axis} max", k.amax(axis)
            yield f"integers {shape} {axis} prod", k.prod(axis)


def layers(rng, everything):
    """Row-wise patterns: reduce, broadcast, elementwise over the same rows."""

    def layer_norm(x, w, b):
        m = x.mean(-1, keepdim=True)
        v = (x - m).square().mean(-1, keepdim=True)
        return (x - m) * (v + 1e-5).rsqrt() * w + b

    def cross_entropy(x):
        return -x.log_softmax(-1)[..., 0].mean()

    for shape in ((1, 1), (3, 16), (5, 17), (64, 1000), (33, 1025), (2, 20_011)):
        x, w, b = leaves(rng, shape, shape[-1:], shape[-1:])
        yield from with_gradients(f"softmax {shape}", lambda t: t.softmax(-1), x)
        yield from with_gradients(f"softmax over rows {shape}", lambda t: t.softmax(0), x)
        yield from with_gradients(f"log_softmax {shape}", lambda t: t.log_softmax(-1), x)
        yield from with_gradients(f"layer norm {shape}", layer_norm, x, w, b)
        yield from with_gradients(f"cross entropy {shape}", cross_entropy, x)


def chains(rng, everything):
    """Broadcasts, transposes, pads, slices and gathers between elementwise ops."""
    for n, m in ((1, 1), (5, 16), (17, 33), (130, 70), (1000, 37)):
        a, b, row, column = leaves(rng, (n, m), (m, n), (m,), (n, 1))
        index = pd.tensor(rng.integers(0, n, (2 * n,)))
        programs = {
            "long": lambda a, b, r, c: ((a * 2 + 1).tanh() * a.exp() - (a.abs() + 1).log() / 3).sigmoid(),
            "broadcast": lambda a, b, r, c: (a * r + c).tanh() * (r - c),
            "transpose": lambda a, b, r, c: (a.T.exp() * b + r.unsqueeze(1)).T + a,
            "slice": lambda a, b, r, c: a[::2].exp() - a[: (n + 1) // 2] * r,
            "flip": lambda a, b, r, c: a.flip(0) * a + a.flip((0, 1)),
            "reshape": lambda a, b, r, c: (a.reshape(-1) * 3).sin().reshape(m, n) + b,
            "pad": lambda a, b, r, c: pd._C._pad(a * 2, (1, 0), (2, 3), 0.5).exp() * 0.5,
            "cat": lambda a, b, r, c: pd.cat([a * 2, b.T.exp(), a], 0).sqrt().sum(1),
            "gather": lambda a, b, r, c: (a * 2)[index].sin() + r,
            "select": lambda a, b, r, c: pd.where(a > 0, a.log(), b.T * 2),
            "product": lambda a, b, r, c: (a @ b + c).tanh(),
            "expand": lambda a, b, r, c: (c.expand(n, m) * 2 + a).sum(0) * r.exp(),
            "two results": lambda a, b, r, c: ((a * r).sum(1), (a * r).exp()),
            "integers": lambda a, b, r, c: (a * 5).to(pd.int32).to(pd.float32) + (a > 0).to(pd.int64).sum(0).to(pd.float32),
        }
        for name, f in programs.items():
            yield from with_gradients(f"{name} {n}x{m}", f, a, b, row, column)


def second_order(rng, everything):
    for n in (3, 40):
        w, x = leaves(rng, (n, n), (n,))
        y = ((w @ x).tanh() * x).sum()
        first = pd.autograd.grad(y, [w, x], create_graph=True)
        second = pd.autograd.grad(sum((g * g).sum() for g in first), [w, x])
        for k, g in enumerate([*first, *second]):
            yield f"second order {n} {k}", g


def draws(rng, everything):
    pd.manual_seed(11)
    for n in (1, 17, 1000, 70_001):
        yield f"rand {n}", pd.rand(n)
        yield f"randn {n}", pd.randn(n)
        yield f"randn in a chain {n}", (pd.randn(n) * 2 + pd.rand(n)).exp().sum()
        yield f"dropout {n}", pd.where(pd.rand(n) > 0.5, pd.ones(n) * 2, 0)
    yield "randint", pd.randint(0, 97, (1000,))
    yield "randint of a wide range", pd.randint(-(1 << 62), 1 << 62, (1000,))
    for dtype in (pd.float32, pd.float64):
        c = pd.tensor(np.geomspace(0.01, 2000, 500), dtype=dtype).requires_grad_()
        yield from with_gradients(f"gamma {dtype}", lambda c: pd.random.gamma(c, 2.0) * 3, c)
        yield from with_gradients(f"beta {dtype}", lambda c: pd.random.beta(c, 2.0), c)
        yield from with_gradients(f"dirichlet {dtype}", lambda c: pd.random.dirichlet(c.reshape(100, 5)), c)
        yield from with_gradients(f"exponential {dtype}", lambda c: pd.random.exponential(c).log1p(), c)
        yield from with_gradients(f"laplace and cauchy {dtype}", lambda c: pd.random.laplace(c) + pd.random.cauchy(c).atan(), c)
        c = c.detach()
        yield f"poisson {dtype}", pd.poisson(c)
        yield f"binomial {dtype}", pd.binomial((c * 10).floor(), 1 / (1 + c))
        yield f"geometric {dtype}", pd.random.geometric(1 / (1 + c)) + 1
    yield "gamma of many", pd.random.gamma(0.7, size=70_001).sum()
    yield "multinomial", pd.multinomial(pd.rand(30, 20), 50, True)


def contractions(rng, everything):
    shapes = [
        ((64, 48), (48, 80)),
        ((1, 300), (300, 1)),
        ((257, 129), (129, 65)),
        ((3, 17, 20), (20, 9)),
        ((5, 8, 9), (5, 9, 4)),
        ((3, 90, 10), (3, 10, 10)),  # a vector and a half
        ((40, 7), (7, 24)),
    ]
    if everything:
        shapes += [((700, 300), (300, 513)), ((2, 1, 33, 40), (3, 40, 21)), ((1, 1000), (1000, 70))]
    for dtype in (np.float32, np.float64):
        for a, b in shapes:
            yield from with_gradients(f"matmul {a} {b} {dtype.__name__}", lambda p, q: p @ q, *leaves(rng, a, b, dtype=dtype))
            yield from with_gradients(
                f"matmul of transposes {a} {b} {dtype.__name__}",
                lambda p, q: (q.mT @ p.mT * 2).exp(),
                *leaves(rng, a, b, dtype=dtype, low=-0.1, high=0.1),
            )


PROGRAMS = [
    elementwise_rows,
    casts,
    narrow,
    defined,
    narrow_rows,
    reductions,
    layers,
    chains,
    second_order,
    draws,
    contractions,
]


def main(out, seed, everything, every):
    found, count = {}, 0
    for number, program in enumerate(PROGRAMS):
        for name, value in program(np.random.default_rng([seed, number]), everything):
            assert name not in found, name
            if count % every == 0:
                found[name] = array(value)
            count += 1
    counts = [pd._C.exec_stats()["kernels"], pd._C.kernel_stats()["compiled"]]
    np.savez(out, **{str(k): v for k, v in enumerate(found.values())}, names=np.array(list(found)), counts=np.array(counts))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("seed", type=int)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    pd.set_default_device(given.device)
    main(given.out, given.seed, given.all, given.every)
