"""Elementwise operations: the rows of the op table, and what is composed of them."""

import collections

import numpy as np
import scipy.special as sp
from oracle import domain, function_of, rows, twin, types_of, ulp_bound

import pydiff as pd

from .program import FLOATING, SIGNED, WHOLE, name_of
from .reference import Reference, eps, exact, is_float, ulps, wide

Entry = collections.namedtuple("Entry", "name draw smooth weight")
TABLE = []


def op(name, *, smooth=False, weight=1.0):
    """Adds an entry: a function of a program that draws (text, operands, f, reference), or None."""

    def add(draw):
        TABLE.append(Entry(name, draw, smooth, weight))
        return draw

    return add


def between(t, low, high):
    """A smooth function of t with values between, for operands that have a domain."""
    return (t * 0.7).tanh() * (0.45 * (high - low)) + 0.5 * (high + low)


def dtypes_of(row):
    types = types_of(row)
    out = FLOATING if "float32" in types else ()
    out += WHOLE if "int64" in types else ()
    return out + (("bool",) if "bool" in types else ())


def common(arrays, tensors):
    """The arrays in the dtype that the operation computes in."""
    dtype = name_of(pd.result_type(*tensors)) if len(tensors) > 1 else name_of(tensors[0].dtype)
    return [a.astype(pd._C.numpy_dtype(getattr(pd, dtype))) for a in arrays]


# Of floor_divide and remainder of floats NumPy rounds the quotient on the way; of integers zero divisors are pydiff's.
DIVISIONS = ("floor_divide", "remainder")


def row_reference(row):
    name = row["name"]

    def reference(arrays, results):
        a = list(arrays)
        if name == "where":
            a[1:] = common(a[1:], [pd.tensor(np.zeros(x.shape, x.dtype)) for x in a[1:]])
        else:
            a = common(a, [pd.tensor(np.zeros(x.shape, x.dtype)) for x in a])
        dtype = results[0].dtype
        with np.errstate(all="ignore"):
            if name in DIVISIONS:
                safe = np.where(a[1] == 0, np.ones((), a[1].dtype), a[1])
                if is_float(dtype):
                    x, y = wide(a[0]).astype(np.longdouble), wide(safe).astype(np.longdouble)  # x / y hides no remainder
                    free = (a[1] == 0) | ~(np.abs(x / y) < 0.25 / eps(dtype)) | ~np.isfinite(x) | ~np.isfinite(y)
                    near = np.abs(x / y - np.rint(x / y)) < 8 * eps(dtype) * np.maximum(1, np.abs(x / y))
                    free |= near & (np.rint(x / y) != x / y) | (np.abs(x / y) < 1e-30) & (x != 0)
                    bound = 2 * eps(dtype) * (np.abs(y) if name == "remainder" else 0)
                    value = np.remainder(x, y) if name == "remainder" else np.floor(x / y)
                    return Reference(value.astype(np.float64), np.where(free, np.inf, bound).astype(np.float64))
                least = np.iinfo(dtype).min if dtype.kind == "i" else 1
                free = (a[1] == 0) | ((a[0] == least) & (safe == -1) if dtype.kind == "i" else False)
                return Reference(twin(row, a[0], safe), np.where(free, np.inf, 0))
            if "math" in row["twin"]:  # of float64 alone
                value = twin(row, *[x.astype(np.float64) for x in a])
                n = 2 * ulp_bound(name) + 2
            else:
                value = twin(row, *[wide(x) for x in a])
                n = ulp_bound(name)
            if name == "gelu":
                z = np.abs(wide(a[0]).astype(np.float64))
                n = np.where(np.isfinite(z), 8 + 4 * np.minimum(z, 1e3) ** 2, 8)  # the rounding of erfc's argument
                tiny = 1e-44 if dtype != np.float64 else 3e-308
                return Reference(value, n * eps(dtype) * np.abs(value) + tiny)
            narrow = is_float(dtype) and dtype.itemsize < 4
            return ulps(value, min(n, 1) if narrow else n, dtype)

    return reference


def draw_row(row):
    f, name, kinds = function_of(row), row["name"], dtypes_of(row)
    bounds = domain(row)

    def draw(p):
        if row["arity"] == 1:
            k = p.pick(kinds)
            g = f if not p.smooth or name in ("neg", "square", "sin", "cos", "tanh") else lambda t: f(between(t, *bounds[0]))
            return f"{name}(v{k})", [k], g, None if p.smooth else row_reference(row)
        first = p.pick(kinds) if name != "where" else None
        if name == "where":
            b = p.pick(kinds)
            c = p.partner(b, dtypes=kinds)
            shape = np.broadcast_shapes(p.shape(b), p.shape(c))
            a = p.fresh(shape, ("bool",), array=np.asarray(p.rng.random(shape) < 0.5))
            return f"where(v{a}, v{b}, v{c})", [a, b, c], f, None if p.smooth else row_reference(row)
        if p.smooth:
            second = p.partner(first, dtypes=kinds)
            if name in ("add", "sub", "mul"):
                return f"{name}(v{first}, v{second})", [first, second], f, None
            return f"{name}(v{first}, v{second})", [first, second], lambda a, b: f(between(a, *bounds[0]), between(b, *bounds[1])), None
        second = p.partner(first, dtypes=kinds)
        if not usable(row, p.dtype(first), p.dtype(second)):
            return None
        g = f if name != "strong_mul" else strong(f)
        return f"{name}(v{first}, v{second})", [first, second], g, row_reference(row)

    return draw


def strong(f):
    """`strong_mul` is not public and takes operands of one dtype."""

    def g(a, b):
        dtype = pd.result_type(a, b)
        return f(a.to(dtype), b.to(dtype))

    return g


def usable(row, *dtypes):
    """Whether the row has a loop for the dtype that these lead to."""
    dtype = dtypes[0]
    for other in dtypes[1:]:
        dtype = name_of(pd.promote_types(getattr(pd, dtype), getattr(pd, other)))
    return dtype in dtypes_of(row) or (row["name"] == "div" and dtype not in FLOATING)


SKIPPED = {"half_gt"}  # has the derivative of maximum, no name of its own
STEPS = {"sign", "floor", "ceil", "trunc", "round", "floor_divide", "remainder", "abs", "relu", "maximum", "minimum", "strong_mul"}


# ---- numbers beside tensors


@op("number", smooth=True, weight=3)
def number(p):
    k = p.pick()
    dtype = p.dtype(k)
    c = p.number() if dtype in FLOATING or p.chance(0.3) else p.whole(1, 9)
    forms = {
        "v + c": lambda t: t + c, "c - v": lambda t: c - t, "v * c": lambda t: t * c, "v / c": lambda t: t / c,
    }  # fmt: skip
    if dtype == "bool" or (dtype == "float16" and c > 1e4):
        del forms["c - v"]
    if c == 0:
        return None
    form = p.one(*forms)

    def reference(arrays, results):
        (a,), dtype = arrays, results[0].dtype
        x, n = wide(a.astype(dtype)), wide(np.asarray(c).astype(dtype))
        with np.errstate(all="ignore"):
            value = {"v + c": lambda: x + n, "c - v": lambda: n - x, "v * c": lambda: x * n, "v / c": lambda: x / n}[form]()
        return ulps(value, 1, dtype) if is_float(dtype) else exact(value)

    return form.replace("v", f"v{k}").replace("c", repr(c)), [k], forms[form], None if p.smooth else reference


@op("cast", weight=3)
def cast(p):
    k = p.pick()
    to = p.draw_dtype()
    numpy_type = pd._C.numpy_dtype(getattr(pd, to))

    def reference(arrays, results):
        (a,) = arrays
        with np.errstate(all="ignore"):
            if is_float(a.dtype) and not is_float(numpy_type) and to != "bool":
                info = np.iinfo(numpy_type)
                x = wide(a).astype(np.longdouble)
                fits = (np.trunc(x) >= info.min) & (np.trunc(x) <= info.max)
                return Reference(np.where(fits, np.trunc(x), 0).astype(numpy_type), np.where(fits, 0, np.inf))
            if to == "bool":
                return exact(a != 0)
            if to == "bfloat16" and not is_float(a.dtype):
                return Reference(a.astype(np.float64), np.abs(a.astype(np.float64)) * 2.0**-8)
            return exact(a.astype(numpy_type) if to != "float16" or a.dtype != np.float64 else a)

    return f"v{k}.to({to})", [k], lambda t: t.to(getattr(pd, to)), reference


# ---- composed of rows


def composed(name, f, numpy, low, high, n, *, smooth=True, arity=1, kinds=FLOATING, free=None, floor=1e-2):
    """An entry for f, drawn in its domain; `n` ulps of its NumPy twin, which takes wide operands (None: has none)."""

    def draw(p):
        k = p.pick(kinds)
        operands = [k] + [p.partner(k, dtypes=kinds) for _ in range(arity - 1)]
        fits = [low, high] if isinstance(low, (int, float)) else None
        bounds = [fits] * arity if fits else list(zip(low, high))
        boxed = lambda *t: f(*[between(x, *b) for x, b in zip(t, bounds)])  # noqa: E731

        def plain(*t):
            result = f(*t)
            wanted = pd.result_type(*t) if len(t) > 1 else t[0].dtype
            assert not result.dtype.is_floating_point or result.dtype == wanted, f"{name}: {result.dtype} for {wanted}"
            return result

        def reference(arrays, results):
            a = [wide(x) for x in common(arrays, [pd.tensor(np.zeros(x.shape, x.dtype)) for x in arrays])]
            dtype = results[0].dtype
            with np.errstate(all="ignore"):
                value = np.asarray(numpy(*a))
                if name in ("signbit", "copysign"):  # the sign of NaN is nobody's
                    return Reference(value, np.where(np.isnan(a[-1]), np.inf, 0))
                if not is_float(dtype) or not n:
                    return exact(value)
                inside = np.ones(value.shape, bool)
                for x, (lo, hi) in zip(a, bounds):
                    inside &= np.broadcast_to(((x >= lo) & (x <= hi)) | (~np.isfinite(x) & (free is None)), value.shape)
                if np.dtype(dtype).itemsize < 4:
                    bound = 3 * eps(dtype) * np.abs(value) + eps(dtype) * sum(np.abs(x) for x in a) * eps(dtype) + 1e-7
                else:
                    bound = n * eps(dtype) * np.maximum(np.abs(value), floor)
                return Reference(value, np.where(inside & np.isfinite(bound), bound, np.where(inside & ~np.isnan(bound), 0, np.inf)))

        names = ", ".join(f"v{i}" for i in operands)
        return f"{name}({names})", operands, boxed if p.smooth else plain, reference if numpy and not p.smooth else None

    TABLE.append(Entry(name, draw, smooth, 0.5))


F = pd.nn.functional


def f64(f):
    """SciPy's functions take at most float64."""
    return lambda *a: f(*[np.asarray(x, np.float64) for x in a])


composed("logaddexp", pd.logaddexp, np.logaddexp, -9, 9, 8, arity=2, floor=9)  # near 0 the operands' size counts
composed("logaddexp2", pd.logaddexp2, np.logaddexp2, -9, 9, 8, arity=2, floor=9)
composed("xlogy", pd.xlogy, f64(sp.xlogy), [-5, 0.1], [5, 9], 16, arity=2, free=True)
composed("hypot", pd.hypot, np.hypot, 0.2, 9, 8, arity=2, free=True)
composed("frac", pd.frac, lambda x: x - np.trunc(x), -9, 9, 1, smooth=False, free=True)
composed("asinh", pd.asinh, np.arcsinh, -9, 9, 8)
composed("acosh", pd.acosh, np.arccosh, 1.1, 9, 8)
composed("atanh", pd.atanh, np.arctanh, -0.9, 0.9, 8)
composed("logit", pd.logit, f64(sp.logit), 0.1, 0.9, 32, free=True, floor=1)
composed("deg2rad", pd.deg2rad, np.deg2rad, -360, 360, 4)
composed("rad2deg", pd.rad2deg, np.rad2deg, -6, 6, 4)
composed("fmax", pd.fmax, np.fmax, -9, 9, 0, arity=2, smooth=False)
composed("fmin", pd.fmin, np.fmin, -9, 9, 0, arity=2, smooth=False)
composed("heaviside", pd.heaviside, lambda a, b: np.where(a == 0, b, a > 0), -9, 9, 0, arity=2, smooth=False)
composed("isposinf", pd.isposinf, np.isposinf, -9, 9, 0, smooth=False)
composed("isneginf", pd.isneginf, np.isneginf, -9, 9, 0, smooth=False)
composed("signbit", pd.signbit, np.signbit, -9, 9, 0, smooth=False)
composed("copysign", pd.copysign, np.copysign, -9, 9, 0, arity=2, smooth=False)
composed("fmod", pd.fmod, np.fmod, [-9, 0.5], [9, 9], 16, arity=2, smooth=False, free=True)
composed("sinc", pd.sinc, np.sinc, -3, 3, 32, free=True, floor=1)
composed("lgamma", pd.lgamma, f64(sp.gammaln), 0.2, 9, 64, free=True, floor=1)
composed("digamma", pd.digamma, f64(sp.digamma), 0.3, 9, 64, free=True, floor=1)
composed("erfinv", pd.erfinv, f64(sp.erfinv), -0.9, 0.9, 64, free=True)
composed("ndtr", pd.special.ndtr, f64(sp.ndtr), -4, 4, 128, free=True)
composed("ndtri", pd.special.ndtri, f64(sp.ndtri), 0.05, 0.95, 256, free=True)
composed("log_ndtr", pd.special.log_ndtr, f64(sp.log_ndtr), -4, 4, 256, free=True)
composed("entr", pd.special.entr, f64(sp.entr), 0.1, 4, 16, free=True)
composed("xlog1py", pd.special.xlog1py, f64(sp.xlog1py), [-4, -0.5], [4, 4], 16, arity=2, free=True)
composed("i0", pd.i0, f64(sp.i0), -5, 5, 64, free=True)
composed("i1", pd.special.i1, f64(sp.i1), -5, 5, 64, free=True)
composed("i0e", pd.special.i0e, f64(sp.i0e), -5, 5, 64, free=True)
composed("i1e", pd.special.i1e, f64(sp.i1e), -5, 5, 64, free=True)
composed("erfcx", pd.special.erfcx, f64(sp.erfcx), -1, 5, 64, free=True)
composed("logical_and", pd.logical_and, np.logical_and, -9, 9, 0, arity=2, smooth=False)
composed("logical_xor", pd.logical_xor, np.logical_xor, -9, 9, 0, arity=2, smooth=False)
composed("logical_not", pd.logical_not, np.logical_not, -9, 9, 0, smooth=False)
composed("silu", F.silu, lambda x: x / (1 + np.exp(-x)), -8, 8, 32, free=True)
composed("softplus", F.softplus, lambda x: np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 20)))), -8, 8, 32, free=True)
composed("logsigmoid", F.logsigmoid, lambda x: -np.logaddexp(0, -x), -8, 8, 16, free=True)
composed("elu", F.elu, lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), 0.1, 8, 8, free=True)
composed("celu", F.celu, lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), 0.1, 8, 8, free=True)
composed("mish", F.mish, lambda x: x * np.tanh(np.logaddexp(0, x)), -8, 8, 64, free=True)
composed("hardtanh", F.hardtanh, lambda x: np.where(np.isnan(x), x, np.clip(x, -1, 1)), -0.9, 0.9, 1)
composed("relu6", F.relu6, lambda x: np.clip(x, 0, 6), 0.1, 5.9, 1)
composed("softsign", F.softsign, lambda x: x / (1 + np.abs(x)), 0.1, 9, 8, free=True)
composed("tanhshrink", F.tanhshrink, lambda x: x - np.tanh(x), 1, 9, 16, free=True)
composed("leaky_relu", F.leaky_relu, lambda x: np.where(x > 0, x, x * 0.01), 0.1, 9, 4, free=True)
composed("hardswish", F.hardswish, lambda x: x * np.clip(x + 3, 0, 6) / 6, 0.1, 2.9, 8, free=True)
composed("hardsigmoid", F.hardsigmoid, lambda x: np.clip(x + 3, 0, 6) / 6, -2.9, 2.9, 8, free=True)
composed("softshrink", F.softshrink, lambda x: np.where(x > 0.5, x - 0.5, np.where(x < -0.5, x + 0.5, x * 0)), 0.6, 9, 4, free=True)
composed("hardshrink", F.hardshrink, lambda x: np.where(np.abs(x) <= 0.5, 0, x), 0.6, 9, 0, free=True)


@op("nan_to_num")
def nan_to_num(p):
    k = p.pick(("float32", "float64"))
    n = [p.number() for _ in range(3)]
    return (
        f"nan_to_num(v{k}, {n})", [k], lambda t: pd.nan_to_num(t, *n),
        lambda a, r: exact(np.nan_to_num(a[0], True, *[a[0].dtype.type(v) for v in n])),
    )  # fmt: skip


@op("clamp")
def clamp(p):
    k = p.pick(FLOATING)
    low, high = sorted([p.number(), p.number()])
    kind = p.whole(0, 3)
    args = {"min": low} if kind == 0 else {"max": high} if kind == 1 else {"min": low, "max": high}

    def reference(arrays, results):
        (a,) = arrays
        number = lambda v: wide(np.asarray(v, np.float32 if a.dtype.itemsize < 4 else a.dtype))  # noqa: E731
        x = wide(a)
        with np.errstate(all="ignore"):
            if "min" in args:
                x = np.maximum(x, number(low))
            if "max" in args:
                x = np.minimum(x, number(high))
        return ulps(x, 1, a.dtype)

    return f"clamp(v{k}, {args})", [k], lambda t: pd.clamp(t, **args), reference


@op("lerp", smooth=True)
def lerp(p):
    k = p.pick(("float32",) if p.chance(0.5) and not p.smooth else ("float64",))
    end, w = p.partner(k, dtypes=(p.dtype(k),)), p.number(0, 1)

    def reference(arrays, results):
        a, b = map(wide, arrays)
        with np.errstate(all="ignore"):
            bound = 4 * eps(results[0].dtype) * (np.abs(a) + np.abs(b))
            value = a + w * (b - a)
        far = ~np.isfinite(bound) | (bound > 1e30)
        return Reference(value, np.where(far, np.inf, bound + np.abs(w) * 1e-300 + 1e-44 * (results[0].dtype == np.float32)))

    return f"lerp(v{k}, v{end}, {w})", [k, end], lambda a, b: pd.lerp(a, b, w), None if p.smooth else reference


@op("addcmul", smooth=True)
def addcmul(p):
    k = p.pick(("float64",))
    b, value = p.partner(k, dtypes=("float64",)), p.number()
    c = p.partner(k, b, dtypes=("float64",))
    return f"addcmul(v{k}, v{b}, v{c}, value={value})", [k, b, c], lambda x, y, z: pd.addcmul(x, y, z, value=value), None


@op("round_decimals")
def round_decimals(p):
    k, n = p.pick(("float64",)), p.whole(-2, 4)
    return f"round(v{k}, decimals={n})", [k], lambda t: pd.round(t, decimals=n), None


@op("shift")
def shift(p):
    k = p.pick(SIGNED + ("uint8",))
    n = p.whole(0, 7)
    if p.chance(0.5):
        return f"v{k} << {n}", [k], lambda t: t << n, lambda a, r: exact(np.left_shift(a[0], a[0].dtype.type(n)))
    return f"v{k} >> {n}", [k], lambda t: t >> n, lambda a, r: exact(np.right_shift(a[0], a[0].dtype.type(n)))


@op("gcd_lcm")
def gcd_lcm(p):
    k = p.pick(("int32", "int64"), lambda s: np.prod(s) < 200)
    j = p.partner(k, dtypes=(p.dtype(k),))
    name = p.one("gcd", "lcm")
    small = lambda t: t.remainder(1000)  # noqa: E731
    f, g = getattr(pd, name), getattr(np, name)
    return f"{name}(v{k} % 1000, v{j} % 1000)", [k, j], lambda a, b: f(small(a), small(b)), lambda a, r: exact(g(a[0] % 1000, a[1] % 1000))


@op("frexp")
def frexp(p):
    k = p.pick(("float32", "float64"))

    def reference(arrays, results):
        m, e = np.frexp(arrays[0])
        odd = ~np.isfinite(arrays[0])
        return [exact(m), Reference(e, np.where(odd, np.inf, 0))]

    return f"frexp(v{k})", [k], lambda t: tuple(pd.frexp(t)), reference


@op("nextafter")
def nextafter(p):
    k = p.pick(("float32", "float64"))
    j = p.partner(k, dtypes=(p.dtype(k),))
    return f"nextafter(v{k}, v{j})", [k, j], pd.nextafter, lambda a, r: exact(np.nextafter(*a))


@op("isclose")
def isclose(p):
    k = p.pick(("float64",))
    j = p.partner(k, dtypes=("float64",))
    return f"isclose(v{k}, v{j})", [k, j], pd.isclose, lambda a, r: exact(np.isclose(*a))


@op("isclose_itself")
def isclose_itself(p):
    k = p.pick(FLOATING)
    return f"isclose(v{k}, v{k} + 0)", [k], lambda t: pd.isclose(t, t + 0), lambda a, r: exact(a[0] == a[0])


# ---- the other rows, over all numbers

_known = {e.name for e in TABLE}
for _row in rows():
    if _row["twin"] and _row["name"] not in SKIPPED | _known:
        _smooth = _row["vjp"] and _row["name"] not in STEPS and any(d == "yes" for d in _row["diff"])
        TABLE.append(Entry(_row["name"], draw_row(_row), bool(_smooth), 1.5 if _row["name"] in ("add", "sub", "mul", "div") else 0.6))
