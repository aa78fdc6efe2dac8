"""Reductions, running results and what sorts."""

import numpy as np

import pydiff as pd

from .elementwise import op
from .program import FLOATING, WHOLE
from .reference import Reference, eps, exact, is_float, of_terms, ulps, wide

REAL = ("float32", "float64")
NUMBERS = FLOATING + WHOLE


def rank_and_size(shape):
    return len(shape) > 0 and np.prod(shape) > 0


def kept(p, k):
    """Axes, keepdim and the arguments of the call."""
    axes = p.axes(k)
    keep = p.chance(0.5)
    if len(axes) == 1 and p.chance(0.5):
        return axes[0], keep
    return axes, keep


def terms(shape, axes):
    axes = axes if isinstance(axes, tuple) else (axes,)
    return int(np.prod([shape[a] for a in axes], initial=1))


@op("sum", smooth=True, weight=4)
def sum_(p):
    k = p.pick(test=lambda s: len(s) > 0)
    axes, keep = kept(p, k)

    def reference(arrays, results):
        (a,), dtype = arrays, results[0].dtype
        if not is_float(dtype):
            return exact(a.astype(np.int64).sum(axes, keepdims=keep, dtype=dtype))
        with np.errstate(all="ignore"):
            x = wide(a)
            return of_terms(x.sum(axes, keepdims=keep), np.abs(x).sum(axes, keepdims=keep), dtype, terms(a.shape, axes))

    return f"v{k}.sum({axes}, keepdim={keep})", [k], lambda t: t.sum(axes, keepdim=keep), reference


@op("sum_all", smooth=True)
def sum_all(p):
    k = p.pick(FLOATING)

    def reference(arrays, results):
        x = wide(arrays[0])
        with np.errstate(all="ignore"):
            return of_terms(x.sum(), np.abs(x).sum(), results[0].dtype, x.size)

    return f"v{k}.sum()", [k], lambda t: t.sum(), reference


@op("mean", smooth=True, weight=2)
def mean(p):
    k = p.pick(FLOATING, rank_and_size)
    axes, keep = kept(p, k)

    def reference(arrays, results):
        x, n = wide(arrays[0]), terms(arrays[0].shape, axes)
        with np.errstate(all="ignore"):
            r = of_terms(x.sum(axes, keepdims=keep), np.abs(x).sum(axes, keepdims=keep), results[0].dtype, n)
            return Reference(r.expected / n, r.bound / n + 2 * eps(results[0].dtype) * np.abs(np.nan_to_num(r.expected / n, posinf=0, neginf=0)))

    return f"v{k}.mean({axes}, keepdim={keep})", [k], lambda t: t.mean(axes, keepdim=keep), reference


@op("prod", smooth=True)
def prod(p):
    k = p.pick(("int64", "int32", "uint8", "float64"), lambda s: len(s) > 0 and max(s) <= 8)
    axis, keep = p.axis(k), p.chance(0.5)

    def reference(arrays, results):
        (a,), dtype = arrays, results[0].dtype
        with np.errstate(all="ignore"):
            value = wide(a).prod(axis, keepdims=keep, dtype=None if is_float(dtype) else dtype)
            if not is_float(dtype):
                return exact(value)
            risky = ~np.isfinite(np.log(np.abs(wide(a))).sum(axis, keepdims=keep)) | ~(np.abs(np.log10(np.abs(value))) < 290)
            risky |= np.abs(np.log10(np.abs(wide(a)))).sum(axis, keepdims=keep) > 290
        return Reference(value, np.where(risky, np.inf, 16 * a.shape[axis] * eps(dtype) * np.abs(value)))

    return f"v{k}.prod({axis}, keepdim={keep})", [k], lambda t: t.prod(axis, keepdim=keep), reference


@op("var_std", smooth=True, weight=2)
def var(p):
    k = p.pick(REAL, lambda s: len(s) > 0 and min(s) > 1)
    axes, keep, correction = *kept(p, k), p.whole(0, 2)
    name = "var" if p.smooth else p.one("var", "std")

    def reference(arrays, results):
        (a,) = arrays
        x, dtype = wide(a), results[0].dtype
        with np.errstate(all="ignore"):
            value = getattr(x, name)(axes, keepdims=keep, ddof=correction)
            size = np.abs(x).max(axes, keepdims=keep)
            n = terms(a.shape, axes)
            # the mean's rounding, squared or beside the spread
            slack = 64 * eps(dtype) * (size + 0) if name == "std" else 64 * eps(dtype) * size * np.sqrt(np.abs(value)) + (n * eps(dtype) * size) ** 2
            slack = slack + 64 * eps(dtype) * np.abs(value) + (n * eps(dtype) * size if name == "std" else 0)
            far = ~np.isfinite(size) | (size > 1e17) | (size < 1e-15)
        return Reference(value, np.where(far, np.inf, slack))

    call = lambda t: getattr(t, name)(axes, correction=correction, keepdim=keep)  # noqa: E731
    return f"v{k}.{name}({axes}, correction={correction}, keepdim={keep})", [k], call, None if p.smooth else reference


@op("amax_amin", weight=2)
def extreme(p):
    k = p.pick(FLOATING + WHOLE + ("bool",), rank_and_size)
    axes, keep = kept(p, k)
    name = p.one("amax", "amin")
    f = {"amax": np.max, "amin": np.min}[name]
    return f"v{k}.{name}({axes}, keepdim={keep})", [k], lambda t: getattr(t, name)(axes, keepdim=keep), lambda a, r: exact(by_float(f, a[0], axes, keep))


def by_float(f, a, axes, keep):
    """NumPy's own reductions do not know bfloat16's NaN."""
    return f(wide(a), axes, keepdims=keep) if is_float(a.dtype) else f(a, axes, keepdims=keep)


@op("argmax_argmin", weight=2)
def argextreme(p):
    k = p.pick(FLOATING + WHOLE, rank_and_size)
    axis, keep, name = p.axis(k), p.chance(0.5), p.one("argmax", "argmin")
    f = getattr(np, name)
    return f"v{k}.{name}({axis}, keepdim={keep})", [k], lambda t: getattr(t, name)(axis, keepdim=keep), lambda a, r: exact(f(wide(a[0]), axis, keepdims=keep))


@op("max_min")
def best(p):
    k = p.pick(REAL + ("int64",), rank_and_size)
    axis, name = p.axis(k), p.one("max", "min")

    def reference(arrays, results):
        a = arrays[0]
        return [exact(getattr(a, name)(axis)), exact(getattr(a, "arg" + name)(axis))]

    return f"v{k}.{name}({axis})", [k], lambda t: tuple(getattr(t, name)(axis)), reference


@op("any_all", weight=2)
def truth(p):
    k = p.pick(test=lambda s: len(s) > 0)
    axes, keep = kept(p, k)
    name = p.one("any", "all")
    return f"v{k}.{name}({axes}, keepdim={keep})", [k], lambda t: getattr(t, name)(axes, keepdim=keep), lambda a, r: exact(getattr(a[0] != 0, name)(axes, keepdims=keep))


@op("count_nonzero")
def count_nonzero(p):
    k = p.pick(test=lambda s: len(s) > 0)
    axis = p.axis(k)
    return f"count_nonzero(v{k}, {axis})", [k], lambda t: pd.count_nonzero(t, axis), lambda a, r: exact(np.count_nonzero(a[0] != 0, axis))


@op("logsumexp", smooth=True)
def logsumexp(p):
    k = p.pick(REAL, rank_and_size)
    axes, keep = kept(p, k)

    def reference(arrays, results):
        x = arrays[0].astype(np.longdouble)
        with np.errstate(all="ignore"):
            top = x.max(axes, keepdims=True)
            top = np.where(np.isfinite(top), top, 0)
            value = np.log(np.exp(x - top).sum(axes, keepdims=True)) + top
            value = value if keep else value.squeeze(axes)
            bound = 64 * eps(results[0].dtype) * np.maximum(1, np.abs(value))
        return Reference(value, np.where(np.isfinite(bound), bound, 0))

    return f"v{k}.logsumexp({axes}, keepdim={keep})", [k], lambda t: t.logsumexp(axes, keepdim=keep), None if p.smooth else reference


@op("softmax", smooth=True, weight=2)
def softmax(p):
    k = p.pick(REAL, rank_and_size)
    axis, log = p.axis(k), p.chance(0.4)

    def reference(arrays, results):
        x = arrays[0].astype(np.longdouble)
        with np.errstate(all="ignore"):
            e = np.exp(x - x.max(axis, keepdims=True))
            value = x - x.max(axis, keepdims=True) - np.log(e.sum(axis, keepdims=True)) if log else e / e.sum(axis, keepdims=True)
            bound = 64 * eps(results[0].dtype) * np.maximum(np.abs(x - x.max(axis, keepdims=True)) + 1, 1) * (1 if log else value)
            odd = ~np.isfinite(x).all(axis, keepdims=True) & (value == value)
        return Reference(value, np.where(odd | ~np.isfinite(bound), np.inf, bound + 1e-44))

    name = "log_softmax" if log else "softmax"
    return f"v{k}.{name}({axis})", [k], lambda t: getattr(t, name)(axis), None if p.smooth else reference


@op("cumsum", smooth=True, weight=2)
def cumsum(p):
    k = p.pick(REAL + ("int64", "int32", "uint8"), lambda s: len(s) > 0)
    axis = p.axis(k)

    def reference(arrays, results):
        (a,), dtype = arrays, results[0].dtype
        if not is_float(dtype):
            return exact(a.cumsum(axis, dtype=dtype))
        with np.errstate(all="ignore"):
            x = wide(a)
            return of_terms(x.cumsum(axis), np.abs(x).cumsum(axis), dtype, a.shape[axis] ** 2 + 1)

    return f"v{k}.cumsum({axis})", [k], lambda t: t.cumsum(axis), reference


@op("cumprod", smooth=True)
def cumprod(p):
    k = p.pick(("float64", "int64"), lambda s: len(s) > 0 and max(s) <= 8)
    axis = p.axis(k)

    def reference(arrays, results):
        (a,) = arrays
        if not is_float(a.dtype):
            return exact(a.cumprod(axis))
        with np.errstate(all="ignore"):
            value = wide(a).cumprod(axis)
            tame = np.abs(np.log10(np.abs(wide(a)))).sum(axis, keepdims=True) < 290
        return Reference(value, np.where(tame, 64 * eps(a.dtype) * np.abs(value), np.inf))

    return f"cumprod(v{k}, {axis})", [k], lambda t: pd.cumprod(t, axis), None if p.smooth else reference


@op("cummax_cummin")
def cummax(p):
    k = p.pick(REAL + ("int64",), rank_and_size)
    axis, name = p.axis(k), p.one("cummax", "cummin")
    f = {"cummax": np.maximum, "cummin": np.minimum}[name]
    return f"{name}(v{k}, {axis}).values", [k], lambda t: getattr(pd, name)(t, axis)[0], lambda a, r: exact(f.accumulate(a[0], axis))


@op("logcumsumexp", smooth=True)
def logcumsumexp(p):
    k = p.pick(("float64",), rank_and_size)
    axis = p.axis(k)

    def reference(arrays, results):
        with np.errstate(all="ignore"):
            value = np.logaddexp.accumulate(arrays[0].astype(np.longdouble), axis)
            bound = 256 * eps(np.float64) * np.maximum(1, np.abs(value))
        return Reference(value, np.where(np.isfinite(bound), bound, 0))

    return f"logcumsumexp(v{k}, {axis})", [k], lambda t: pd.logcumsumexp(t, axis), None if p.smooth else reference


@op("diff", smooth=True)
def diff(p):
    k = p.pick(REAL + ("int64", "uint8"), lambda s: len(s) > 0)
    axis, n = p.axis(k), p.whole(1, 3)

    def reference(arrays, results):
        with np.errstate(all="ignore"):
            return exact(np.diff(arrays[0], n, axis))

    return f"diff(v{k}, {n}, {axis})", [k], lambda t: pd.diff(t, n, axis), reference


@op("nansum_nanmean")
def nansum(p):
    k = p.pick(("float64",), rank_and_size)
    axes, keep = kept(p, k)

    def reference(arrays, results):
        x = np.nan_to_num(wide(arrays[0]), nan=0, posinf=np.inf, neginf=-np.inf)
        with np.errstate(all="ignore"):
            return of_terms(x.sum(axes, keepdims=keep), np.abs(x).sum(axes, keepdims=keep), np.float64, terms(x.shape, axes))

    return f"nansum(v{k}, {axes}, {keep})", [k], lambda t: pd.nansum(t, axes, keep), reference


@op("norm", smooth=True)
def norm(p):
    k = p.pick(("float64",), rank_and_size)
    axis = p.axis(k)
    order = 2 if p.smooth else p.one(1, 2, 3, np.inf, -np.inf, 0, 0.5)

    def reference(arrays, results):
        with np.errstate(all="ignore"):
            x = np.abs(wide(arrays[0]))
            value = np.linalg.norm(arrays[0].astype(np.float64), order, axis)
            tame = ((x < 1e50) & ((x > 1e-50) | (x == 0))).all(axis)
        return Reference(value, np.where(tame, 256 * eps(np.float64) * x.shape[axis] * np.abs(value), np.inf))

    fit = (lambda t: t * t + 1) if p.smooth else (lambda t: t)
    return f"linalg.vector_norm(v{k}, {order}, {axis})", [k], lambda t: pd.linalg.vector_norm(fit(t), order, axis), None if p.smooth else reference


@op("median_quantile")
def quantile(p):
    k = p.pick(("float64",), rank_and_size)
    axis, q = p.axis(k), p.one(0.0, 0.25, 0.5, 0.9, 1.0)

    def reference(arrays, results):
        (a,) = arrays
        with np.errstate(all="ignore"):
            value = np.quantile(a, q, axis)
            odd = ~np.isfinite(a).all(axis) | (np.abs(a).max(axis) > 1e300)
            return Reference(value, np.where(odd, np.inf, 8 * eps(np.float64) * np.abs(a).max(axis)))

    return f"quantile(v{k}, {q}, {axis})", [k], lambda t: pd.quantile(t, q, axis), reference


# ---- order


@op("sort", weight=2)
def sort(p):
    k = p.pick(FLOATING + WHOLE, lambda s: len(s) > 0)
    axis, down = p.axis(k), p.chance(0.4)

    def reference(arrays, results):
        a = wide(arrays[0])
        value = np.sort(a, axis)
        order = np.argsort(a, axis, kind="stable")
        if down:
            n = a.shape[axis]
            back = np.argsort(np.flip(a, axis), axis, kind="stable")
            order = n - 1 - np.flip(back, axis)
            value = np.take_along_axis(a, order, axis)
        return [exact(value), exact(order)]

    return f"sort(v{k}, {axis}, descending={down})", [k], lambda t: tuple(pd.sort(t, axis, descending=down)), reference


@op("topk")
def topk(p):
    k = p.pick(REAL + ("int64", "int32"), rank_and_size)
    axis, largest = p.axis(k), p.chance(0.6)
    n = p.whole(1, min(p.shape(k)[axis], 20) + 1)

    def reference(arrays, results):
        (a,) = arrays
        value = np.sort(a, axis)
        value = np.flip(value, axis) if largest else value
        value = np.take(value, range(n), axis)
        picked = np.take_along_axis(a, results[1], axis)
        return [exact(value), Reference(results[1], 0) if np.array_equal(picked, value, equal_nan=a.dtype.kind == "f") else exact(results[1] + 1)]

    return f"topk(v{k}, {n}, {axis}, largest={largest})", [k], lambda t: tuple(pd.topk(t, n, axis, largest)), reference


@op("searchsorted")
def searchsorted(p):
    k = p.pick(("float64", "float32", "int64"))
    edges = p.fresh(array=np.sort(p.draw_array((p.whole(1, 12),), p.dtype(k), -3, 3)))
    right = p.chance(0.5)
    side = "right" if right else "left"

    def reference(arrays, results):
        return exact(np.searchsorted(arrays[1], arrays[0], side))

    return f"searchsorted(v{edges}, v{k}, right={right})", [k, edges], lambda t, e: pd.searchsorted(e, t, right=right), reference


@op("unique")
def unique(p):
    k = p.pick(("int64", "uint8", "int32"))
    return f"unique(v{k}).sum()", [k], lambda t: pd.unique(t).sum(), lambda a, r: exact(np.unique(a[0]).astype(np.int64).sum())


@op("bincount")
def bincount(p):
    n = p.whole(0, 50)
    k = p.fresh((n,), ("int64",), 0, 9)
    return f"bincount(v{k})", [k], pd.bincount, lambda a, r: exact(np.bincount(a[0]))


@op("trapezoid", smooth=True)
def trapezoid(p):
    k = p.pick(("float64",), lambda s: len(s) > 0 and s[-1] > 1)

    def reference(arrays, results):
        x = wide(arrays[0])
        with np.errstate(all="ignore"):
            value = ((x[..., 1:] + x[..., :-1]) / 2).sum(-1)
            return of_terms(value, 4 * np.abs(x).sum(-1), np.float64, x.shape[-1]) if np.isfinite(x).all() and np.abs(x).max(initial=0) < 1e300 else None

    return f"trapezoid(v{k})", [k], pd.trapezoid, reference


@op("minus_its_largest")
def minus_its_largest(p):
    """A reduction whose result goes back over its operand, the fuser's most common form."""
    k = p.pick(REAL, rank_and_size)
    axis = p.axis(k)

    def reference(arrays, results):
        x = wide(arrays[0])
        with np.errstate(all="ignore"):
            top = x.max(axis, keepdims=True)
            return ulps(x - top, 1, results[0].dtype)

    return f"v{k} - v{k}.amax({axis}, keepdim=True)", [k], lambda t: t - t.amax(axis, keepdim=True), reference


# ---- what the fuser joins around reductions


@op("several", weight=2)
def several(p):
    """Reductions of one value, used together by each element."""
    k = p.pick(REAL, rank_and_size)
    axes = p.axes(k)

    def f(x):
        low, high = x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)
        count = (x > 0).sum(axes, keepdim=True)
        some = (x > 1.5).any(axes, keepdim=True)
        return pd.where(some, (x - low) / (high - low + 1), x.sin()) + count * 0.01

    return f"several(v{k}, {axes})", [k], f, None


@op("normalised", smooth=True, weight=2)
def normalised(p):
    """Costly values between two reductions, so that kernels keep them."""
    k = p.pick(REAL, rank_and_size)
    axes = p.axes(k)

    def f(v):
        x = v - v.mean(axes, keepdim=True)
        e, g = x.sin().exp(), (x * 0.5).erf().tanh()
        return e / e.sum(axes, keepdim=True) + g * (g * e).mean(axes, keepdim=True)

    return f"normalised(v{k}, {axes})", [k], f, None


@op("counted", weight=2)
def counted(p):
    """Reductions of integers and of bools, the value itself kept."""
    k = p.pick(REAL, rank_and_size)
    axes = p.axes(k)

    def f(v):
        n = (v.nan_to_num().clamp(-50, 50) * 3).int()
        return v + n.sum(axes, keepdim=True).to(v.dtype) * 1e-3 + (n > 0).all(axes, keepdim=True)

    return f"counted(v{k}, {axes})", [k], f, None


@op("bound")
def bound(p):
    """A pad of nothing, or of a number, beside a reduction."""
    k = p.pick(REAL, rank_and_size)
    shape, axis = p.shape(k), p.axis(k) % len(p.shape(k))
    none = [0 if i == axis else n for i, n in enumerate(shape)]
    low = [int(i == axis) for i in range(len(shape))]

    def f(v):
        nothing = pd._C._pad(pd.zeros(none, dtype=v.dtype), low, [0] * len(low), 0.25)
        number = pd._C._pad(pd.full(none, 2.0, dtype=v.dtype), low, [0] * len(low), 0.5)
        return v + (v.sum(axis, keepdim=True) + nothing) * number

    return f"bound(v{k}, {axis})", [k], f, None
