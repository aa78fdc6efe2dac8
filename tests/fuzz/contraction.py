"""Products of every kind, and the functions of nn.functional that are made of windows and of statistics."""

import numpy as np

import pydiff as pd

from .elementwise import op
from .program import FLOATING, WHOLE
from .reference import Reference, eps, exact, is_float, of_terms, wide

F = pd.nn.functional
REAL = ("float32", "float64")


def product(f, n):
    """A reference of a sum of products: f of wide operands, and of their magnitudes for the bound."""

    def reference(arrays, results):
        dtype = results[0].dtype
        if not is_float(dtype):
            with np.errstate(all="ignore"):
                return exact(f(*[a.astype(dtype) for a in arrays]))
        arrays = [np.asarray(wide(a), np.float64) for a in arrays]
        with np.errstate(all="ignore"):
            value, size = f(*arrays), f(*map(np.abs, arrays))
            r = of_terms(value, size, dtype, n(*arrays) ** 2 + 1)
            most = 1e150 if dtype == np.float64 else 1e18  # beyond, an order of the products may overflow
            if not all(a.size for a in arrays):  # infinity times the sum of nothing is NaN, in PyTorch too
                most = -1
            odd = ~np.isfinite(value) | (size > 1e300) | any(np.abs(a[np.isfinite(a)]).max(initial=0) > most for a in arrays)
            return Reference(value, np.where(odd, np.inf, r.bound * 2 + n(*arrays) * (1e-44 if dtype != np.float64 else 1e-320)))

    return reference


def inner(a, b):
    return a.shape[-1] if a.ndim else 1


@op("matmul", smooth=True, weight=4)
def matmul(p):
    kinds = REAL * 4 + ("float16", "bfloat16", "int64", "int32", "uint8")
    k = p.pick(kinds, rank=range(1, 4))
    shape, dtype = p.shape(k), p.dtype(k)
    n = shape[-1]
    m = p.whole(1, 5) if p.smooth else p.one(1, 2, 5, 17, 33)
    to = p.one((n,), (n, m), (*shape[:-2], n, m), (n, m))
    if len(shape) > 2 and p.chance(0.2):
        to = (1, n, m)
    j = p.fresh(to, (dtype,))
    return f"v{k} @ v{j}", [k, j], lambda a, b: a @ b, product(np.matmul, inner)


@op("matmul_with_bias", smooth=True, weight=2)
def linear(p):
    k = p.pick(REAL, rank=range(1, 4))
    n, m = p.shape(k)[-1], p.whole(1, 9)
    w, b = p.fresh((m, n), (p.dtype(k),)), p.fresh((m,), (p.dtype(k),))
    return f"linear(v{k}, v{w}, v{b})", [k, w, b], F.linear, product(lambda x, w, b: x @ w.T + b, lambda x, w, b: w.shape[1] + 1)


@op("einsum", smooth=True, weight=2)
def einsum(p):
    k = p.pick(REAL, rank=range(1, 4))
    shape = p.shape(k)
    letters = list("abcd"[: len(shape)])
    sizes = dict(zip(letters, shape))
    other = [x for x in letters if p.chance(0.6)] + (["e"] if p.chance(0.5) else [])
    sizes["e"] = p.whole(1, 5)
    p.rng.shuffle(other)
    both = sorted(set(letters) | set(other))
    out = [x for x in both if p.chance(0.5)]
    p.rng.shuffle(out)
    j = p.fresh([sizes[x] for x in other], (p.dtype(k),))
    equation = f"{''.join(letters)},{''.join(other)}->{''.join(out)}"
    n = int(np.prod([sizes[x] for x in both if x not in out], initial=1))
    f = lambda a, b: np.einsum(equation, a, b)  # noqa: E731
    return f"einsum('{equation}', v{k}, v{j})", [k, j], lambda a, b: pd.einsum(equation, a, b), product(f, lambda a, b: n)


@op("outer_kron", smooth=True)
def outer(p):
    name = p.one("outer", "kron")
    k = p.pick(REAL + ("int64",), lambda s: np.prod(s) < 60, [1] if name == "outer" else range(1, 4))
    j = p.fresh((p.whole(1, 5),) if name == "outer" else p.draw_shape(p.whole(1, 3)), (p.dtype(k),))
    return f"{name}(v{k}, v{j})", [k, j], getattr(pd, name), product(getattr(np, name), lambda a, b: 1)


@op("tensordot_inner", smooth=True)
def tensordot(p):
    k = p.pick(REAL, rank=range(1, 4))
    n = p.whole(1, len(p.shape(k)) + 1)
    j = p.fresh((*p.shape(k)[-n:], p.whole(1, 4)), (p.dtype(k),))
    count = int(np.prod(p.shape(k)[-n:]))
    return f"tensordot(v{k}, v{j}, {n})", [k, j], lambda a, b: pd.tensordot(a, b, n), product(lambda a, b: np.tensordot(a, b, n), lambda a, b: count)


@op("addmm", smooth=True)
def addmm(p):
    k = p.pick(REAL, rank=[2])
    n, m = p.shape(k)
    q = p.whole(1, 6)
    w, c = p.fresh((m, q), (p.dtype(k),)), p.fresh(p.one((q,), (n, q), (1, q)), (p.dtype(k),))
    beta, alpha = p.whole(1, 3), p.whole(-1, 3)
    f = lambda c, a, b: pd.addmm(c, a, b, beta=beta, alpha=alpha)  # noqa: E731

    def reference(arrays, results):
        r = product(lambda c, a, b: abs(beta) * c + max(abs(alpha), 1) * (a @ b), lambda c, a, b: a.shape[1] + 1)(arrays, results)
        sizes = product(lambda c, a, b: abs(beta) * np.abs(c) + max(abs(alpha), 1) * (np.abs(a) @ np.abs(b)), lambda c, a, b: a.shape[1] + 1)(arrays, results)
        c, a, b = [x.astype(np.float64) for x in arrays]
        with np.errstate(all="ignore"):
            return Reference(beta * c + alpha * (a @ b), np.maximum(r.bound, sizes.bound) * 2)

    return f"addmm(v{c}, v{k}, v{w}, {beta}, {alpha})", [c, k, w], f, reference


@op("cdist")
def cdist(p):
    k = p.pick(("float64",), lambda s: np.prod(s) > 0, [2])
    j = p.fresh((p.whole(1, 6), p.shape(k)[1]), ("float64",))

    def reference(arrays, results):
        a, b = arrays
        with np.errstate(all="ignore"):
            value = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
            tame = np.isfinite(value) & (value < 1e100) & (value > 1e-100)
            size = np.nan_to_num(np.abs(a)).max() + np.nan_to_num(np.abs(b)).max()
        return Reference(value, np.where(tame & (size < 1e100), 1e-7 * size + 1e-12 * value + 1e-15, np.inf))

    return f"cdist(v{k}, v{j})", [k, j], pd.cdist, reference


# ---- windows


def windows(x, sizes, stride, dilation, padding, fill=0.0):
    """(batch, channels, *places, *window) of an array (batch, channels, *axes)."""
    n = len(sizes)
    x = np.pad(x, [(0, 0), (0, 0)] + [(q, q) for q in padding], constant_values=fill)
    reach = [d * (k - 1) + 1 for k, d in zip(sizes, dilation)]
    w = np.lib.stride_tricks.sliding_window_view(x, reach, tuple(range(2, 2 + n)))
    places = tuple(slice(None, None, s) for s in stride)
    inside = tuple(slice(None, None, d) for d in dilation)
    return w[(slice(None), slice(None), *places, *inside)]


@op("conv", smooth=True, weight=3)
def conv(p):
    n = p.whole(1, 3) if p.smooth else p.whole(1, 4)
    axes = [p.whole(3, 5 if p.smooth else 8) for _ in range(n)]
    groups = p.one(1, 1, 2)
    channels, out = groups * p.whole(1, 3), groups * p.whole(1, 3)
    x = p.fresh((p.whole(1, 3), channels, *axes), REAL)
    sizes = [p.whole(1, 4) for _ in range(n)]
    w = p.fresh((out, channels // groups, *sizes), (p.dtype(x),))
    b = p.fresh((out,), (p.dtype(x),))
    stride, dilation, padding = ([p.whole(1, 3) for _ in range(n)] for _ in range(3))
    if any(d * (k - 1) + 1 > a + 2 * q for d, k, a, q in zip(dilation, sizes, axes, padding)):
        return None
    f = getattr(F, f"conv{n}d")

    def numpy(x, w, b):
        cut = windows(x, sizes, stride, dilation, padding)
        out = []
        for g in range(groups):
            part = cut[:, g * (channels // groups) : (g + 1) * (channels // groups)]
            kernel = w[g * (w.shape[0] // groups) : (g + 1) * (w.shape[0] // groups)]
            inner = [1, *range(2 + n, 2 + 2 * n)]
            out.append(np.moveaxis(np.tensordot(part, kernel, (inner, [1, *range(2, 2 + n)])), -1, 1))
        return np.concatenate(out, 1) + b.reshape(-1, *[1] * n)

    count = int(np.prod(sizes)) * channels
    text = f"conv{n}d(v{x}, v{w}, v{b}, {stride}, {padding}, {dilation}, {groups})"
    return text, [x, w, b], lambda x, w, b: f(x, w, b, stride, padding, dilation, groups), product(numpy, lambda *a: count + 1)


@op("conv_transpose", smooth=True)
def conv_transpose(p):
    n = p.whole(1, 3)
    x = p.fresh((p.whole(1, 3), 2, *[p.whole(2, 5) for _ in range(n)]), REAL)
    sizes = [p.whole(1, 4) for _ in range(n)]
    w = p.fresh((2, p.whole(1, 4), *sizes), (p.dtype(x),))
    stride = [p.whole(1, 3) for _ in range(n)]
    f = getattr(F, f"conv_transpose{n}d")

    def numpy(x, w):
        full = [(a - 1) * s + k for a, s, k in zip(x.shape[2:], stride, sizes)]
        out = np.zeros((x.shape[0], w.shape[1], *full))
        for place in np.ndindex(*x.shape[2:]):
            at = tuple(slice(i * s, i * s + k) for i, s, k in zip(place, stride, sizes))
            out[(slice(None), slice(None), *at)] += np.tensordot(x[(slice(None), slice(None), *place)], w, (1, 0))
        return out

    count = 2 * int(np.prod(sizes))
    return f"conv_transpose{n}d(v{x}, v{w}, stride={stride})", [x, w], lambda x, w: f(x, w, stride=stride), product(numpy, lambda *a: count)


@op("pool", smooth=True, weight=2)
def pool(p):
    n = p.whole(1, 3)
    axes = [p.whole(3, 5 if p.smooth else 9) for _ in range(n)]
    x = p.fresh((p.whole(1, 3), p.whole(1, 4), *axes), REAL)
    sizes, stride = [p.whole(1, 4) for _ in range(n)], [p.whole(1, 4) for _ in range(n)]
    padding = [p.whole(0, k // 2 + 1) for k in sizes]
    kind = "avg" if p.smooth else p.one("avg", "max")
    f = getattr(F, f"{kind}_pool{n}d")
    inside = tuple(range(2 + n, 2 + 2 * n))
    one = [1] * n
    text = f"{kind}_pool{n}d(v{x}, {sizes}, {stride}, {padding})"
    call = lambda x: f(x, sizes, stride, padding)  # noqa: E731
    if kind == "max":
        numpy = lambda a, r: exact(windows(a[0], sizes, stride, one, padding, -np.inf).max(inside))  # noqa: E731
        return text, [x], call, numpy
    count = int(np.prod(sizes))
    return text, [x], call, product(lambda x: windows(x, sizes, stride, one, padding).sum(inside) / count, lambda x: count)


@op("fold_unfold", smooth=True)
def fold(p):
    h, w = p.whole(3, 6), p.whole(3, 6)
    x = p.fresh((p.whole(1, 3), p.whole(1, 3), h, w), REAL)
    size, stride, padding = p.whole(1, 4), p.whole(1, 3), p.whole(0, 2)

    def numpy(a, r):
        cut = windows(a[0], [size] * 2, [stride] * 2, [1, 1], [padding] * 2)
        cut = np.transpose(cut, (0, 1, 4, 5, 2, 3))
        return exact(cut.reshape(cut.shape[0], cut.shape[1] * size * size, -1))

    return f"unfold(v{x}, {size}, padding={padding}, stride={stride})", [x], lambda t: F.unfold(t, size, padding=padding, stride=stride), numpy


# ---- statistics and losses: their bits fused and not, and their derivatives


@op("normalisation", smooth=True, weight=2)
def normalisation(p):
    k = p.pick(REAL, lambda s: min(s) > 0 and s[-1] > 1, range(2, 5))
    shape, dtype = p.shape(k), p.dtype(k)
    kind = p.one("layer", "rms", "group", "batch")
    if kind in ("layer", "rms"):
        w = p.fresh(shape[-1:], (dtype,))
        f = F.layer_norm if kind == "layer" else F.rms_norm
        return f"{kind}_norm(v{k}, v{w})", [k, w], lambda t, w: f(t, shape[-1:], w), None
    if int(np.prod(shape)) // shape[1] < 2:
        return None
    w = p.fresh((shape[1],), (dtype,))
    if kind == "group":
        groups = p.one(1, shape[1])
        return f"group_norm(v{k}, {groups}, v{w})", [k, w], lambda t, w: F.group_norm(t, groups, w), None
    return f"batch_norm(v{k}, v{w})", [k, w], lambda t, w: F.batch_norm(t, None, None, w, training=True), None


@op("loss", smooth=True)
def loss(p):
    k = p.pick(REAL, lambda s: min(s) > 0, [2])
    n, classes = p.shape(k)
    kind = p.one("cross_entropy", "mse", "huber", "kl")
    if kind == "cross_entropy":
        target = p.rng.integers(0, classes, n)
        return f"cross_entropy(v{k}, {target.tolist()})", [k], lambda t: F.cross_entropy(t, pd.tensor(target)), None
    j = p.fresh((n, classes), (p.dtype(k),))
    f = {
        "mse": F.mse_loss, "huber": lambda a, b: F.huber_loss(a, b, delta=50.0),
        "kl": lambda a, b: F.kl_div(a.log_softmax(-1), b.softmax(-1), reduction="batchmean"),
    }[kind]  # fmt: skip
    return f"{kind}(v{k}, v{j})", [k, j], f, None


@op("attention", smooth=True)
def attention(p):
    d = p.whole(1, 4)
    q = p.fresh((p.whole(1, 3), p.whole(1, 5), d), REAL, -2, 2)
    m = p.whole(1, 5)
    k, v = (p.fresh((p.shape(q)[0], m, d), (p.dtype(q),), -2, 2) for _ in range(2))

    def numpy(a, r):
        x, y, z = [t.astype(np.float64) for t in a]
        s = x @ np.swapaxes(y, -1, -2) / np.sqrt(d)
        e = np.exp(s - s.max(-1, keepdims=True))
        return Reference(e / e.sum(-1, keepdims=True) @ z, 256 * eps(r[0].dtype) * 2)

    return f"scaled_dot_product_attention(v{q}, v{k}, v{v})", [q, k, v], F.scaled_dot_product_attention, numpy


@op("embedding", smooth=True)
def embedding(p):
    k = p.pick(REAL, lambda s: min(s) > 0, [2])
    index = p.rng.integers(0, p.shape(k)[0], p.draw_shape(p.whole(0, 3)))
    return f"embedding(…, v{k})", [k], lambda w: F.embedding(pd.tensor(index), w), lambda a, r: exact(a[0][index])


@op("interpolate", smooth=True)
def interpolate(p):
    x = p.fresh((1, p.whole(1, 3), p.whole(2, 5), p.whole(2, 5)), REAL)
    size, mode = [p.whole(1, 9), p.whole(1, 9)], p.one("nearest", "bilinear", "bicubic", "area")
    return f"interpolate(v{x}, {size}, mode={mode})", [x], lambda t: F.interpolate(t, size, mode=mode), None


@op("solve", smooth=True)
def solve(p):
    n = p.whole(1, 4)
    a = p.fresh((*p.draw_shape(p.whole(0, 2)), n, n), ("float64",), -1, 1)
    name = p.one("inv", "det", "solve", "matrix_power", "cholesky")
    eye = pd.eye(n, dtype=pd.float64) * 4
    f = {
        "inv": lambda t: pd.linalg.inv(t + eye), "det": lambda t: pd.linalg.det(t + eye),
        "solve": lambda t: pd.linalg.solve(t + eye, t), "matrix_power": lambda t: pd.linalg.matrix_power(t + eye, 3),
        "cholesky": lambda t: pd.linalg.cholesky(t @ t.mT + eye),
    }[name]  # fmt: skip
    four = 4 * np.eye(n)
    g = {
        "inv": lambda t: np.linalg.inv(t + four), "det": lambda t: np.linalg.det(t + four),
        "solve": lambda t: np.linalg.solve(t + four, t), "matrix_power": lambda t: np.linalg.matrix_power(t + four, 3),
        "cholesky": lambda t: np.linalg.cholesky(t @ np.swapaxes(t, -1, -2) + four),
    }[name]  # fmt: skip
    return f"linalg.{name}(v{a} + 4 I)", [a], f, lambda a, r: Reference(g(a[0]), 1e-11 * np.maximum(1, np.abs(g(a[0]))))


@op("dot")
def dot(p):
    k = p.pick(REAL + WHOLE, rank=[1])
    j = p.fresh(p.shape(k), (p.dtype(k),))
    return f"dot(v{k}, v{j})", [k, j], pd.dot, product(np.dot, lambda a, b: len(a))


@op("glu", smooth=True)
def glu(p):
    k = p.pick(FLOATING, lambda s: s[-1] % 2 == 0 and s[-1] > 0, range(1, 4))
    return f"glu(v{k})", [k], F.glu, None
