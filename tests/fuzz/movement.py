"""What moves elements, and indices of every kind."""

import numpy as np

import pydiff as pd

from .elementwise import op
from .program import EVERY, FLOATING
from .reference import Reference, eps, exact

SOME = ("float32", "float64", "int64", "int32", "uint8", "bool", "float16", "bfloat16", "int16")


def moved(name, weight=1.0, rank=range(1, 5), test=None):
    """An entry whose results NumPy gives exactly: draws (arguments' text, f, numpy's)."""

    def add(draw):
        @op(name, smooth=True, weight=weight)
        def entry(p):
            k = p.pick(EVERY, test, rank)
            drawn = draw(p, k)
            if drawn is None:
                return None
            text, f, numpy = drawn
            return f"{name}(v{k}{', ' * bool(text)}{text})", [k], f, lambda a, r: listed(numpy(a[0]))

        return draw

    return add


def listed(value):
    return [exact(v) for v in value] if isinstance(value, (list, tuple)) else exact(value)


@moved("permute", 2)
def permute(p, k):
    order = p.rng.permutation(len(p.shape(k))).tolist()
    return f"{order}", lambda t: t.permute(order), lambda a: a.transpose(order)


@moved("reshape", 3, rank=range(0, 5))
def reshape(p, k):
    shape = p.shape(k)
    n = int(np.prod(shape))
    to = []
    while n > 1 and len(to) < 4 and p.chance(0.7):
        d = int(p.rng.choice([d for d in range(1, min(n, 64) + 1) if n % d == 0]))
        to.append(d)
        n //= d
    to.append(n)
    if n and p.chance(0.3):
        to[p.whole(0, len(to))] = -1
    return f"{to}", lambda t: t.reshape(to), lambda a: a.reshape(to)


@moved("flip", 2)
def flip(p, k):
    axes = p.axes(k)
    return f"{axes}", lambda t: t.flip(axes), lambda a: np.flip(a, axes)


@moved("roll")
def roll(p, k):
    axes = p.axes(k)
    by = tuple(p.whole(-40, 40) for _ in axes)
    return f"{by}, {axes}", lambda t: pd.roll(t, by, axes), lambda a: np.roll(a, by, axes)


@moved("rot90", rank=range(2, 5))
def rot90(p, k):
    axes = [int(a) for a in p.rng.choice(len(p.shape(k)), 2, replace=False)]
    n = p.whole(-3, 5)
    return f"{n}, {axes}", lambda t: pd.rot90(t, n, axes), lambda a: np.rot90(a, n, axes)


@moved("tile", rank=range(0, 4))
def tile(p, k):
    by = tuple(p.whole(0 if p.chance(0.1) else 1, 4) for _ in range(p.whole(1, 4)))
    return f"{by}", lambda t: pd.tile(t, by), lambda a: np.tile(a, by)


@moved("repeat_interleave")
def repeat_interleave(p, k):
    n, axis = p.whole(0 if p.chance(0.1) else 1, 4), p.axis(k)
    return f"{n}, {axis}", lambda t: pd.repeat_interleave(t, n, axis), lambda a: np.repeat(a, n, axis)


@moved("expand", 2, rank=range(0, 4))
def expand(p, k):
    shape = p.shape(k)
    to = (*(p.whole(1, 4) for _ in range(p.whole(0, 2))), *(p.whole(0 if p.chance(0.1) else 1, 5) if n == 1 else n for n in shape))
    return f"{to}", lambda t: t.expand(to), lambda a: np.broadcast_to(a, to)


@moved("squeeze", rank=range(0, 5))
def squeeze(p, k):
    return "", lambda t: t.squeeze(), lambda a: a.squeeze()


@moved("unsqueeze", rank=range(0, 4))
def unsqueeze(p, k):
    axis = p.whole(-len(p.shape(k)) - 1, len(p.shape(k)) + 1)
    return f"{axis}", lambda t: t.unsqueeze(axis), lambda a: np.expand_dims(a, axis)


@moved("movedim", rank=range(2, 5))
def movedim(p, k):
    a, b = p.axis(k), p.axis(k)
    return f"{a}, {b}", lambda t: pd.movedim(t, a, b), lambda x: np.moveaxis(x, a, b)


@moved("narrow")
def narrow(p, k):
    axis = p.axis(k)
    n = p.shape(k)[axis]
    start = p.whole(0, n + 1)
    length = p.whole(0 if p.chance(0.1) or start == n else 1, n - start + 1)
    return f"{axis}, {start}, {length}", lambda t: t.narrow(axis, start, length), lambda a: a.take(range(start, start + length), axis)


@moved("split", 0.5)
def split(p, k):
    axis, n = p.axis(k), p.whole(1, 6)
    if p.shape(k)[axis] > 30 * n:
        return None

    def numpy(a):
        size = a.shape[axis]
        return [a.take(range(i, min(i + n, size)), axis) for i in range(0, max(size, 1), n)]

    return f"{n}, {axis}", lambda t: t.split(n, axis), numpy


@moved("tensor_split", 0.5)
def tensor_split(p, k):
    axis, n = p.axis(k), p.whole(1, 5)
    return f"{n}, {axis}", lambda t: pd.tensor_split(t, n, axis), lambda a: np.array_split(a, n, axis)


@moved("unbind", 0.5, test=lambda s: 0 < s[0] < 9)
def unbind(p, k):
    return "", lambda t: t.unbind(), list


@moved("diagonal", rank=range(2, 5))
def diagonal(p, k):
    a, b = [int(x) for x in p.rng.choice(len(p.shape(k)), 2, replace=False)]
    offset = p.whole(-3, 4)
    return f"{offset}, {a}, {b}", lambda t: pd.diagonal(t, offset, a, b), lambda x: np.diagonal(x, offset, a, b)


@moved("tril_triu", rank=range(2, 5))
def triangle(p, k):
    name, offset = p.one("tril", "triu"), p.whole(-4, 5)
    return f"{name}, {offset}", lambda t: getattr(pd, name)(t, offset), lambda a: getattr(np, name)(a, offset)


@moved("pad", 2, test=lambda s: min(s) > 0)
def pad(p, k):
    shape = p.shape(k)
    rank = p.whole(1, len(shape) + 1)
    mode = "constant" if p.dtype(k) == "bool" else p.one("constant", "reflect", "replicate", "circular")
    if mode != "constant":
        rank = min(rank, len(shape) - 1, 3)
        if rank < 1:
            return None
    widths = []
    for n in shape[: -rank - 1 : -1]:
        most = {"constant": 4, "reflect": n, "replicate": 4, "circular": n + 1}[mode]
        widths += [p.whole(0, min(most, 4)), p.whole(0, min(most, 4))]
    full = [(0, 0)] * (len(shape) - rank) + [tuple(widths[2 * i : 2 * i + 2]) for i in reversed(range(rank))]
    names = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    if mode != "constant" and len(shape) - rank not in (1, 2):
        return None
    return f"{widths}, {mode}", lambda t: pd.nn.functional.pad(t, widths, mode), lambda a: np.pad(a, full, names[mode])


@moved("unfold")
def unfold(p, k):
    axis = p.axis(k)
    n = p.shape(k)[axis]
    if n < 1:
        return None
    size, step = p.whole(1, min(n, 6) + 1), p.whole(1, 4)

    def numpy(a):
        windows = np.lib.stride_tricks.sliding_window_view(a, size, axis)
        return windows[tuple(slice(None, None, step) if i == axis % a.ndim else slice(None) for i in range(a.ndim))]

    return f"{axis}, {size}, {step}", lambda t: t.unfold(axis, size, step), numpy


@op("cat_stack", smooth=True, weight=3)
def cat(p):
    k = p.pick(rank=range(1, 4))
    axis, stack = p.axis(k), p.chance(0.3)
    shape = list(p.shape(k))
    others = []
    for _ in range(p.whole(1, 3)):
        if not stack and p.chance(0.7):
            shape[axis] = p.whole(0 if p.chance(0.2) else 1, 5)
        others.append(p.fresh(shape, (p.dtype(k),)) if not p.chance(0.3) or shape != list(p.shape(k)) else k)
    numbers = [k, *others]
    f, g, name = (pd.stack, np.stack, "stack") if stack else (pd.cat, np.concatenate, "cat")
    return f"{name}({['v%d' % i for i in numbers]}, {axis})", numbers, lambda *t: f(list(t), axis), lambda a, r: exact(g(a, axis))


# ---- indices


def random_key(p, shape, assign=False):
    """NumPy's index for that shape: slices of any step, integers, None, an ellipsis, integer arrays, a mask."""
    key, axis, rank = [], 0, len(shape)
    arrays = None
    while axis < rank:
        n = shape[axis]
        kind = p.rng.choice(["slice", "slice", "int", "none", "array", "dots", "mask", "all"])
        if kind == "none" and len(key) < 6 and not assign:
            key.append(None)
            continue
        if kind == "dots":
            if Ellipsis in [k for k in key if k is Ellipsis]:
                continue
            key.append(Ellipsis)
            left = p.whole(0, rank - axis)
            axis = rank - left
            continue
        if kind == "slice":
            edge = lambda: p.one(None, p.whole(-n - 2, n + 3))  # noqa: E731
            key.append(slice(edge(), edge(), p.one(None, 1, 2, 3, -1, -2)))
        elif kind == "int" and n:
            key.append(p.whole(-n, n))
        elif kind == "array" and n:
            if arrays is None:
                arrays = tuple(p.whole(1, 4) for _ in range(p.whole(1, 3)))
            key.append(p.rng.integers(-n, n, p.one(arrays, arrays, arrays[-1:])))
        elif kind == "mask" and arrays is None and n < 50 and not any(isinstance(x, np.ndarray) for x in key):
            mask = p.rng.random(n) < 0.5
            arrays = (int(mask.sum()),)
            key.append(mask)
        elif kind == "all":
            key.append(slice(None))
        else:
            continue
        axis += 1
        if axis < rank and p.chance(0.2):
            break
    if arrays is not None:  # beside arrays integers select first, as in PyTorch, where NumPy broadcasts them
        key = [slice(k, k + 1 or None) if isinstance(k, int) else k for k in key]
    return tuple(key)


def as_tensors(key):
    return tuple(pd.tensor(k) if isinstance(k, np.ndarray) else k for k in key)


def spelled(key):
    return ", ".join(str(k.tolist()) if isinstance(k, np.ndarray) else "..." if k is Ellipsis else str(k) for k in key)


def fits_numpy(shape, key):
    try:
        return np.empty(shape, np.bool_)[key].size <= 40_000
    except IndexError:
        return False


@op("getitem", smooth=True, weight=5)
def getitem(p):
    k = p.pick(rank=range(1, 5))
    key = random_key(p, p.shape(k))
    if not fits_numpy(p.shape(k), key):
        return None
    tensors = as_tensors(key) if p.chance(0.7) else key
    return f"v{k}[{spelled(key)}]", [k], lambda t: t[tensors], lambda a, r: exact(a[0][key])


@op("setitem", smooth=True, weight=3)
def setitem(p):
    k = p.pick(rank=range(1, 5))
    key = random_key(p, p.shape(k), assign=True)
    if not fits_numpy(p.shape(k), key):
        return None
    places = np.arange(np.prod(p.shape(k), dtype=int)).reshape(p.shape(k))[key]
    if np.unique(places).size != places.size:  # which of two that meet stays is the order's
        return None
    value = p.fresh(places.shape, (p.dtype(k),))
    tensors = as_tensors(key)

    def f(t, v):
        out = t.clone()
        out[tensors] = v
        return out

    def numpy(a, r):
        out = a[0].copy()
        out[key] = a[1]
        return exact(out)

    return f"v{k}.clone()[{spelled(key)}] = v{value}", [k, value], f, numpy


@op("index_select", smooth=True)
def index_select(p):
    k = p.pick(SOME, lambda s: min(s) > 0, range(1, 5))
    axis = p.axis(k)
    index = p.rng.integers(0, p.shape(k)[axis], p.whole(0 if p.chance(0.1) else 1, 12))
    return f"index_select(v{k}, {axis}, {index.tolist()})", [k], lambda t: pd.index_select(t, axis, pd.tensor(index)), lambda a, r: exact(a[0].take(index, axis))


@op("gather", smooth=True, weight=2)
def gather(p):
    k = p.pick(SOME, lambda s: min(s) > 0, range(1, 4))
    axis, shape = p.axis(k), p.shape(k)
    axis %= len(shape)
    index = p.rng.integers(0, shape[axis], [p.whole(1, 6) if i == axis else n for i, n in enumerate(shape)])
    name = p.one("gather", "take_along_dim")
    if name == "gather":
        f = lambda t: pd.gather(t, axis, pd.tensor(index))  # noqa: E731
    else:
        f = lambda t: pd.take_along_dim(t, pd.tensor(index), axis)  # noqa: E731
    return f"{name}(v{k}, {axis}, {index.tolist() if index.size < 20 else index.shape})", [k], f, lambda a, r: exact(np.take_along_axis(a[0], index, axis))


@op("scatter", smooth=True, weight=2)
def scatter(p):
    k = p.pick(("float32", "float64", "int64", "int32"), lambda s: min(s) > 0, range(1, 4))
    axis, shape = p.axis(k) % len(p.shape(k)), p.shape(k)
    add = p.chance(0.5)
    m = p.whole(1, shape[axis] + 1) if not add else p.whole(1, 6)
    to = [m if i == axis else n for i, n in enumerate(shape)]
    lanes = np.moveaxis(np.empty(to), axis, 0).shape[1:]
    if add:
        index = p.rng.integers(0, shape[axis], to)
    else:  # each place once
        order = np.argsort(p.rng.random((shape[axis], *lanes)), 0)[:m]
        index = np.moveaxis(order, 0, axis)
    source = p.fresh(to, (p.dtype(k),), -9, 9)
    name = "scatter_add" if add else "scatter"

    def numpy(a, r):
        out = a[0].copy()
        with np.errstate(all="ignore"):
            if not add:
                np.put_along_axis(out, index, a[1], axis)
                return exact(out)
            grid = list(np.indices(to))
            grid[axis] = index
            np.add.at(out, tuple(grid), a[1])
        if out.dtype.kind != "f":
            return exact(out)
        size = np.abs(a[0]).astype(np.float64)
        np.add.at(size, tuple(grid), np.abs(a[1]).astype(np.float64))
        return Reference(out, np.where(np.isfinite(size), 16 * eps(out.dtype) * size, np.inf))

    return f"{name}(v{k}, {axis}, {index.tolist() if index.size < 20 else index.shape}, v{source})", [k, source], lambda t, s: getattr(pd, name)(t, axis, pd.tensor(index), s), numpy


@op("index_add", smooth=True)
def index_add(p):
    k = p.pick(("float64", "int64"), lambda s: min(s) > 0, range(1, 4))
    axis, shape = p.axis(k) % len(p.shape(k)), p.shape(k)
    index = p.rng.permutation(shape[axis])[: p.whole(1, shape[axis] + 1)]
    source = p.fresh([len(index) if i == axis else n for i, n in enumerate(shape)], (p.dtype(k),), -9, 9)

    def numpy(a, r):
        out = a[0].copy()
        with np.errstate(all="ignore"):
            out[(slice(None),) * axis + (index,)] += a[1]
        return exact(out)

    return f"index_add(v{k}, {axis}, {index.tolist()}, v{source})", [k, source], lambda t, s: pd.index_add(t, axis, pd.tensor(index), s), numpy


@op("masked_fill", smooth=True)
def masked_fill(p):
    k = p.pick(FLOATING + ("int64",))
    shape = p.shape(k)
    mask = p.fresh(array=np.asarray(p.rng.random([1 if p.chance(0.2) else n for n in shape]) < 0.5))
    c = p.whole(-3, 4)
    return f"masked_fill(v{k}, v{mask}, {c})", [k, mask], lambda t, m: pd.masked_fill(t, m, c), lambda a, r: exact(np.where(a[1], np.asarray(c).astype(a[0].dtype), a[0]))


@op("masked_select", smooth=True)
def masked_select(p):
    k = p.pick(SOME)
    mask = p.rng.random(p.shape(k)) < 0.5
    mask = np.asarray(mask)
    return f"v{k}[mask]", [k], lambda t: pd.masked_select(t, pd.tensor(mask)), lambda a, r: exact(a[0][mask])


@op("nonzero")
def nonzero(p):
    k = p.pick(("int64", "bool", "float32"), rank=range(1, 4))
    return f"nonzero(v{k})", [k], pd.nonzero, lambda a, r: exact(np.argwhere(a[0]))


@op("isin")
def isin(p):
    k = p.pick(("int64", "int32", "uint8"))
    tests = p.draw_array((p.whole(0, 9),), p.dtype(k), 0, 9)
    return f"isin(v{k}, {tests.tolist()})", [k], lambda t: pd.isin(t, pd.tensor(tests)), lambda a, r: exact(np.isin(a[0], tests))


@op("one_hot")
def one_hot(p):
    k = p.fresh(p.draw_shape(p.whole(0, 3)), ("int64",), 0, 6)
    return f"one_hot(v{k}, 7)", [k], lambda t: pd.one_hot(t, 7), lambda a, r: exact(np.eye(7, dtype=np.int64)[a[0]])


@op("where_positive")
def where_positive(p):
    """`where` behind a comparison of its own operand, with a number."""
    k = p.pick(("float32", "float64"))
    return f"where(v{k} > 0, v{k}, 0)", [k], lambda t: pd.where(t > 0, t, 0), lambda a, r: exact(np.where(a[0] > 0, a[0], a[0].dtype.type(0)))
