"""Random graphs: evaluated as a whole, and with every intermediate value looked at as it is made.

Looking at a value computes it alone, so the second way runs one op a kernel. Both give the same bits: of
results and of gradients. A failing graph is printed as a program; `--seed` draws others.
"""

import numpy as np
import pytest
from oracle import array, same_bits

import pydiff as pd

UNARY = ["neg", "abs", "square", "exp", "log1p", "tanh", "sigmoid", "sin", "cos", "relu", "sqrt", "erf", "floor", "sign"]
BINARY = ["add", "sub", "mul", "div", "maximum", "minimum", "atan2"]
ROWS = ["softmax", "log_softmax", "logsumexp"]
REDUCE = ["sum", "mean", "amax", "amin", "var"]
SIZES = [1, 2, 3, 5, 8, 16, 17, 33]


class Program:
    """A list of steps, each a text and a function of the values so far."""

    def __init__(self, rng, smooth=False):
        self.rng = rng
        self.smooth = smooth  # no steps, so that a rounding stays one
        self.shapes = []  # of each value so far
        self.steps = []
        rank = rng.integers(1, 4)
        self.inputs = [self.draw_shape(rank) for _ in range(rng.integers(1, 4))]
        self.shapes += self.inputs
        count = rng.integers(2, 16)
        while len(self.steps) < count:
            self.grow()

    def draw_shape(self, rank):
        return tuple(int(self.rng.choice(SIZES)) for _ in range(rank))

    def pick(self, test=lambda s: True):
        """The number of a value whose shape passes, preferably a recent one."""
        for _ in range(8):
            back = min(int(self.rng.exponential(2.0)), len(self.shapes) - 1)
            k = len(self.shapes) - 1 - back
            if test(self.shapes[k]):
                return k
        fits = [k for k, s in enumerate(self.shapes) if test(s)]
        return fits[-1] if fits else None

    def add(self, text, f, shape):
        if np.prod(shape) <= 40_000:
            self.steps.append((text, f))
            self.shapes.append(tuple(int(n) for n in shape))

    def grow(self):
        kinds = ["unary"] * 5 + ["binary"] * 5 + ["reduce"] * 2 + ["rows", "matmul", "gather", "where", "cast", "cumsum"]
        kinds += ["transpose", "flip", "slice", "reshape", "expand", "pad", "cat", "number", "arange"]
        getattr(self, "grow_" + str(self.rng.choice(kinds)))()

    def grow_unary(self):
        k, name = self.pick(), str(self.rng.choice(UNARY[:-2] if self.smooth else UNARY))
        f = getattr(pd, name)
        guarded = {"log1p": lambda v: f(v.abs()), "sqrt": lambda v: f(v.abs() + 0.5), "exp": lambda v: f(v.tanh())}
        self.add(f"{name}(v{k})", lambda v, g=guarded.get(name, f): g(v[k]), self.shapes[k])

    def grow_binary(self):
        k, name = self.pick(), str(self.rng.choice(BINARY))
        shape = self.shapes[k]

        def fits(s):
            return all(a == b or 1 in (a, b) for a, b in zip(s[::-1], shape[::-1]))

        j = self.pick(fits)
        f = getattr(pd, name)
        if name == "div":
            f = lambda a, b: a / (b.abs() + 1)  # noqa: E731
        if name == "atan2" and self.smooth:  # at (0, 0) there is no derivative
            f = lambda a, b: pd.atan2(a, b.abs() + 1)  # noqa: E731
        self.add(f"{name}(v{k}, v{j})", lambda v: f(v[k], v[j]), np.broadcast_shapes(shape, self.shapes[j]))

    def grow_number(self):
        k, c = self.pick(), float(np.round(self.rng.uniform(-2, 2), 2))
        self.add(f"v{k} * {c} + 0.5", lambda v: v[k] * c + 0.5, self.shapes[k])

    def grow_arange(self):
        k = self.pick(lambda s: len(s) > 0)
        if k is not None:
            axis = int(self.rng.integers(len(self.shapes[k])))
            to = [n if i == axis else 1 for i, n in enumerate(self.shapes[k])]
            f = lambda v: v[k] - pd.arange(to[axis]).reshape(to) * 0.1  # noqa: E731
            self.add(f"v{k} - arange({to[axis]}).reshape({to}) * 0.1", f, self.shapes[k])

    def grow_reduce(self):
        k = self.pick(lambda s: len(s) > 0)
        if k is None:
            return
        shape, name = self.shapes[k], str(self.rng.choice(REDUCE))
        axes = sorted(self.rng.choice(len(shape), self.rng.integers(1, len(shape) + 1), replace=False).tolist())
        keep = bool(self.rng.random() < 0.6)
        more = {"correction": 0} if name == "var" else {}
        out = [1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes]
        call = lambda v: getattr(v[k], name)(tuple(axes), keepdim=keep, **more)  # noqa: E731
        self.add(f"v{k}.{name}({axes}, keepdim={keep})", call, out)

    def grow_rows(self):
        k = self.pick(lambda s: len(s) > 0)
        if k is None:
            return
        name, axis = str(self.rng.choice(ROWS)), int(self.rng.integers(len(self.shapes[k])))
        if name == "logsumexp":
            shape = [1 if i == axis else n for i, n in enumerate(self.shapes[k])]
            self.add(f"v{k}.logsumexp({axis}, keepdim=True)", lambda v: v[k].logsumexp(axis, keepdim=True), shape)
        else:
            self.add(f"v{k}.{name}({axis})", lambda v: getattr(v[k], name)(axis), self.shapes[k])

    def grow_cumsum(self):
        k = self.pick(lambda s: len(s) > 0)
        if k is not None:
            axis = int(self.rng.integers(len(self.shapes[k])))
            self.add(f"v{k}.cumsum({axis})", lambda v: v[k].cumsum(axis), self.shapes[k])

    def grow_matmul(self):
        k = self.pick(lambda s: len(s) == 2)
        if k is None:
            return
        n, m = self.shapes[k]
        j = self.pick(lambda s: len(s) == 2 and s[0] == m)
        if j is not None:
            self.add(f"v{k} @ v{j} * 0.1", lambda v: v[k] @ v[j] * 0.1, (n, self.shapes[j][1]))
        else:
            self.add(f"v{k} @ v{k}.T * 0.1", lambda v: v[k] @ v[k].T * 0.1, (n, n))

    def grow_gather(self):
        k = self.pick(lambda s: len(s) > 0)
        if k is None:
            return
        n = self.shapes[k][0]
        index = self.rng.integers(-n, n, int(self.rng.choice(SIZES)))
        t = pd.tensor(index)
        self.add(f"v{k}[{index.tolist()}]", lambda v: v[k][t], (index.size, *self.shapes[k][1:]))

    def grow_where(self):
        k = self.pick()
        j = self.pick(lambda s: s == self.shapes[k])
        self.add(f"where(v{k} > 0, v{k}, v{j} * 2)", lambda v: pd.where(v[k] > 0, v[k], v[j] * 2), self.shapes[k])

    def grow_cast(self):
        k = self.pick()
        if self.smooth:
            return self.add(f"v{k}.double()", lambda v: v[k].double(), self.shapes[k])
        self.add(f"v{k} + (v{k} * 3).int().float()", lambda v: v[k] + (v[k] * 3).int().to(v[k].dtype), self.shapes[k])

    def grow_transpose(self):
        k = self.pick(lambda s: len(s) > 1)
        if k is not None:
            order = self.rng.permutation(len(self.shapes[k])).tolist()
            self.add(f"v{k}.permute({order})", lambda v: v[k].permute(order), [self.shapes[k][i] for i in order])

    def grow_flip(self):
        k = self.pick(lambda s: len(s) > 0)
        if k is not None:
            axis = int(self.rng.integers(len(self.shapes[k])))
            self.add(f"v{k}.flip({axis})", lambda v: v[k].flip(axis), self.shapes[k])

    def grow_slice(self):
        k = self.pick(lambda s: len(s) > 0 and max(s) > 1)
        if k is None:
            return
        key = []
        for n in self.shapes[k]:
            start = int(self.rng.integers(0, n))
            key.append(slice(start, int(self.rng.integers(start + 1, n + 1)), int(self.rng.integers(1, 3))))
        key = tuple(key)
        shape = [len(range(*s.indices(n))) for s, n in zip(key, self.shapes[k])]
        self.add(f"v{k}[{key}]", lambda v: v[k][key], shape)

    def grow_reshape(self):
        k = self.pick(lambda s: len(s) > 0)
        if k is None:
            return
        shape = self.shapes[k]
        if len(shape) > 1 and self.rng.random() < 0.5:
            to = (shape[0] * shape[1], *shape[2:])
        else:
            n = shape[-1]
            split = [d for d in range(1, n + 1) if n % d == 0]
            d = int(self.rng.choice(split))
            to = (*shape[:-1], d, n // d)
        self.add(f"v{k}.reshape({to})", lambda v: v[k].reshape(to), to)

    def grow_expand(self):
        k = self.pick(lambda s: 0 < len(s) < 4)
        if k is not None:
            n = int(self.rng.choice([2, 3, 5]))
            to = (n, *self.shapes[k])
            self.add(f"v{k}.expand({to})", lambda v: v[k].expand(to), to)

    def grow_pad(self):
        k = self.pick(lambda s: len(s) > 0)
        if k is None:
            return
        rank = len(self.shapes[k])
        lo, hi = self.rng.integers(0, 3, rank).tolist(), self.rng.integers(0, 3, rank).tolist()
        shape = [n + a + b for n, a, b in zip(self.shapes[k], lo, hi)]
        self.add(f"_C._pad(v{k}, {lo}, {hi}, 0.5)", lambda v: pd._C._pad(v[k], lo, hi, 0.5), shape)

    def grow_cat(self):
        k = self.pick(lambda s: len(s) > 0)
        if k is not None:
            n, *rest = self.shapes[k]
            self.add(f"cat([v{k}, v{k}.tanh()])", lambda v: pd.cat([v[k], v[k].tanh()]), (2 * n, *rest))

    def __str__(self):
        lines = [f"v{k} = input{s}" for k, s in enumerate(self.inputs)]
        lines += [f"v{len(lines) + k} = {text}" for k, (text, _) in enumerate(self.steps)]
        return "\n".join(lines)

    def results(self, *tensors):
        """The last value and a middle one."""
        values = list(tensors)
        for _, f in self.steps:
            values.append(f(values))
        return values[-1], values[(len(self.inputs) + len(values)) // 2]

    def run(self, data, look):
        """All results, and the gradients of a sum of the last value and of a middle one."""
        values = [pd.tensor(d, requires_grad=True) for d in data]
        leaves = list(values)
        for _, f in self.steps:
            values.append(f(values))
            if look:
                values[-1].detach().numpy()
        ends = [values[-1], values[(len(self.inputs) + len(values)) // 2]]
        loss = sum((e * e).mean() for e in ends)
        if look:
            loss.item()
        used = []
        if loss.requires_grad:  # some end in floor or sign
            used = [g for g in pd.autograd.grad(loss, leaves, allow_unused=True) if g is not None]
        return [array(e) for e in ends] + [array(loss)] + [array(g) for g in used]


def check_transforms(seed, number):
    """Forward against reverse mode, both orders of their composition, and vmap against a loop, in float64.

    Graphs may cancel terms a million times their result: 2^24 epsilons (4e-9) leave the roundings of these
    room, and a wrong derivative none.
    """
    rng = np.random.default_rng([seed, number])
    program = Program(rng, smooth=True)
    data = [rng.uniform(-2, 2, (3, *s)) for s in program.inputs]
    x, v = [[pd.tensor(d[k]) for d in data] for k in (0, 1)]
    loss = lambda *t: sum((r * r).mean() for r in program.results(*t))  # noqa: E731
    numbers = tuple(range(len(x)))
    gradient = pd.grad(loss, argnums=numbers)

    def near(a, b, what):
        a, b = array(a), array(b)
        assert a.shape == b.shape, f"{what}: {a.shape} for {b.shape}"
        gap, scale = np.abs(a - b).max(initial=0), max(np.abs(b).max(initial=0), 1.0)
        assert gap <= 2**24 * np.finfo(float).eps * scale, f"{what}: {gap} of {scale}"

    def along(*t):
        return sum((g * w).sum() for g, w in zip(gradient(*t), v))

    try:
        _, slope = pd.jvp(loss, tuple(x), tuple(v))
        near(slope, along(*x), "forward and reverse")
        over_reverse = pd.hvp(loss, tuple(x), tuple(v))[1]
        over_forward = pd.grad(lambda *t: pd.jvp(loss, t, tuple(v))[1], argnums=numbers)(*x)
        twice_reverse = pd.grad(along, argnums=numbers)(*x)
        for k in numbers:
            near(over_reverse[k], twice_reverse[k], f"second order by v{k}, forward over reverse")
            near(over_forward[k], twice_reverse[k], f"second order by v{k}, reverse over forward")
        batched = list(map(pd.tensor, data))
        every = pd.vmap(program.results)(*batched), pd.vmap(gradient)(*batched)
        for i in range(3):
            one = [t[i] for t in batched]
            for a, b in zip((*every[0], *every[1]), (*program.results(*one), *gradient(*one))):
                near(a[i], b, "vmap")
    except Exception as e:
        raise AssertionError(f"graph {number} (--seed {seed}):\n{program}\n{type(e).__name__}: {e}") from e


TYPES = ["float64", "float32", "float32", "float16"]


def check(seed, number, dtype):
    rng = np.random.default_rng([seed, number])
    program = Program(rng)
    data = [rng.uniform(-2, 2, s).astype(dtype) for s in program.inputs]
    with np.errstate(all="ignore"):
        whole = program.run(data, look=False)
        looked = program.run(data, look=True)
    assert len(whole) == len(looked)
    for k, (a, b) in enumerate(zip(whole, looked)):
        try:
            same_bits(a, b)
        except AssertionError as e:
            raise AssertionError(f"result {k} of graph {number} (--seed {seed}), {dtype}:\n{program}\n{e}") from None


@pytest.mark.smoke
def test_a_few_random_graphs(seed):
    for number in range(60):
        check(seed, number, TYPES[number % len(TYPES)])


@pytest.mark.parametrize("part", range(8))
def test_random_graphs(part, seed):
    for number in range(100 + part * 100, 200 + part * 100):
        check(seed, number, TYPES[number % len(TYPES)])


@pytest.mark.parametrize("part", range(5))
def test_random_graphs_under_transforms(part, seed):
    for number in range(part * 20, part * 20 + 20):
        check_transforms(seed, number)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_many_random_graphs_under_transforms(part, seed):
    for number in range(100 + part * 100, 200 + part * 100):
        check_transforms(seed, number)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(40))
def test_many_random_graphs(part, seed):
    for number in range(1000 + part * 250, 1250 + part * 250):
        check(seed, number, TYPES[number % len(TYPES)])


def test_the_samples_are_not_trivial(seed):
    """Most graphs compute finite numbers that depend on their inputs, or the comparisons above mean little."""
    finite = moving = 0
    for number in range(30):
        rng = np.random.default_rng([seed, number])
        program = Program(rng)
        data = [rng.uniform(-2, 2, s).astype("float32") for s in program.inputs]
        results = program.run(data, look=False)
        finite += all(np.isfinite(r).all() for r in results)
        moving += any((r != 0).any() for r in results[3:])
    assert finite >= 24 and moving >= 24
