"""Errors in ulps of pydiff's functions, and of NumPy's, SciPy's and PyTorch's own: `python tests/accuracy.py [NAME …] [--all] [--write]`.

Every elementwise function of one and two arguments that is not exact by nature, in float32 and float64, each library on
the same arguments. What is exact comes from tests/accuracy_oracle.cpp: __float128 for float64, double for float32.
Before it is used it is itself compared with mpmath, where that is installed.

Without NAMEs the sums are measured too. `--all` measures pydiff's float32 functions of one argument on all 2^32 of them, for an hour;
`--write` puts what came out into docs/ACCURACY.md. tests/device/test_accuracy.py holds the bounds on a small sample.
"""

import argparse
import collections
import contextlib
import ctypes
import functools
import json
import math
import multiprocessing
import os
import subprocess
import sys
import tempfile
import textwrap
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "ACCURACY.md"

#: One function. `pydiff`, `numpy` (or SciPy), `torch`: where each library has it, as a path below the library's name.
#: `bound`: in ulps, None where pydiff's function is SciPy's. `least`: errors of results below it are in ulps of it; a
#: number, or a function of the arguments.
Function = collections.namedtuple("Function", "name arity bound pydiff numpy torch exact least")

TABLE = {}


def _function(name, bound, numpy=None, torch=None, pydiff=None, arity=1, exact=None, least=0.0):
    TABLE[name] = Function(name, arity, bound, pydiff or name, numpy, torch, exact or name, least)


for _name in "exp expm1 log log1p sqrt".split():
    _function(_name, 1, f"numpy.{_name}", _name)
_function("rsqrt", 1, torch="rsqrt")
for _name in "exp2 log2 log10 sin cos tan sinh cosh tanh".split():
    _function(_name, 2, f"numpy.{_name}", _name)
for _name in "asin acos atan asinh acosh atanh".split():
    _function(_name, 2, f"numpy.arc{_name[1:]}", _name)
_function("atan2", 2, "numpy.arctan2", "atan2", arity=2)
_function("pow", 2, "numpy.power", "pow", arity=2)
_function("hypot", 2, "numpy.hypot", "hypot", arity=2)
# Where exp(a) + exp(b) is near 1 the sum cancels, both terms being of this size at least.
_function("logaddexp", 2, "numpy.logaddexp", "logaddexp", arity=2, least=0.5)
_function("logaddexp2", 2, "numpy.logaddexp2", "logaddexp2", arity=2, least=0.5)
_function("xlogy", 2, "scipy.xlogy", "xlogy", arity=2)
_function("xlog1py", 2, "scipy.xlog1py", "special.xlog1py", "special.xlog1py", arity=2)
_function("logit", 2, "scipy.logit", "logit")
_function("sinc", 2, "numpy.sinc", "sinc")
_function("deg2rad", 2, "numpy.deg2rad", "deg2rad")
_function("rad2deg", 2, "numpy.rad2deg", "rad2deg")
_function("sigmoid", 2, "scipy.expit", "sigmoid")
_function("logsigmoid", 2, "scipy.log_expit", "nn.functional.logsigmoid", "nn.functional.logsigmoid")
for _name in "softplus silu mish elu selu softsign".split():
    _function(_name, 4, None, f"nn.functional.{_name}", f"nn.functional.{_name}")
_function("gelu", 4, None, "nn.functional.gelu", "nn.functional.gelu")
_function("tanhshrink", 4, None, "nn.functional.tanhshrink", "nn.functional.tanhshrink", least=np.abs)
_function("erf", 4, "scipy.erf", "erf")
_function("erfc", 4, "scipy.erfc", "erfc")
_function("erfinv", 4, "scipy.erfinv", "erfinv")
_function("erfcx", 4, "scipy.erfcx", "special.erfcx", "special.erfcx")
_function("ndtr", 4, "scipy.ndtr", "special.ndtr", "special.ndtr")
_function("ndtri", 4, "scipy.ndtri", "special.ndtri", "special.ndtri")
_function("log_ndtr", 4, "scipy.log_ndtr", "special.log_ndtr", "special.log_ndtr")
_function("entr", 4, "scipy.entr", "special.entr", "special.entr")
_function("lgamma", 4, "scipy.gammaln", "lgamma", least=0.5)
_function("digamma", 4, "scipy.psi", "digamma", least=0.5)
_function("i0", 4, "scipy.i0", "i0")
for _name in "i0e i1 i1e".split():
    _function(_name, 4, f"scipy.{_name}", f"special.{_name}", f"special.{_name}")


def _size_of_waves(x):
    with np.errstate(all="ignore"):
        return np.minimum(np.sqrt(2 / np.pi / np.abs(x)), 0.5)


for _name in "j0 j1 y0 y1".split():
    _function(f"bessel_{_name}", None, f"scipy.{_name}", *[f"special.bessel_{_name}"] * 2, exact=_name, least=_size_of_waves)
for _name in "k0 k1 k0e k1e".split():
    _long = f"{'scaled_' * _name.endswith('e')}modified_bessel_{_name[:2]}"
    _function(_long, None, f"scipy.{_name}", *[f"special.{_long}"] * 2, exact=_name)
_function("spherical_bessel_j0", None, "scipy.spherical_jn", *["special.spherical_bessel_j0"] * 2, least=_size_of_waves)

DTYPES = ("float32", "float64")


# ---- the libraries


def _at(module, path):
    for part in path.split("."):
        module = getattr(module, part, None)
    return module


def call_pydiff(function, arrays, device=None):
    import pydiff as pd

    f = _at(pd, function.pydiff)
    return f(*[pd.tensor(a, device=device) for a in arrays]).numpy()


def _call_numpy(function, arrays):
    if function.numpy is None:
        if function.exact == "rsqrt":
            return 1 / np.sqrt(arrays[0])
        return None
    library, _, name = function.numpy.partition(".")
    if library == "scipy":
        try:
            import scipy.special as library
        except ImportError:
            return None
    else:
        library = np
    if name == "spherical_jn":
        return library.spherical_jn(0, arrays[0]).astype(arrays[0].dtype)
    return getattr(library, name)(*arrays)


@functools.cache
def _torch():
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    return torch


def _call_torch(function, arrays):
    torch = _torch()
    if torch is None:
        return None
    f = function.torch and _at(torch, function.torch)
    return f(*[torch.from_numpy(a) for a in arrays]).numpy() if f else None


LIBRARIES = {"pydiff": call_pydiff, "NumPy or SciPy": _call_numpy, "PyTorch": _call_torch}


# ---- what is exact


@functools.cache
def oracle():
    """tests/accuracy_oracle.cpp as a library; the compiler is $CXX or g++."""
    folder = Path(tempfile.mkdtemp(prefix="accuracy_"))
    command = [os.environ.get("CXX", "g++"), "-std=gnu++17", "-O3", "-march=native", "-fno-trapping-math", "-ffp-contract=off", "-fPIC", "-shared"]
    command += [str(HERE / "accuracy_oracle.cpp"), "-o", str(folder / "oracle.so"), "-lquadmath"]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(folder / "oracle.so"))


def _pointer(array):
    return None if array is None else ctypes.c_void_p(array.ctypes.data)


def exact(function, arrays):
    """The exact values, opaque: float64 of float32 arguments, __float128 of float64."""
    kind = "float" if arrays[0].dtype == np.float32 else "double"
    row = oracle().find(function.exact.encode())
    assert row >= 0, function.exact
    x, y = arrays[0], arrays[-1]
    out = np.empty((x.size, 1 if kind == "float" else 2))
    getattr(oracle(), f"exact_{kind}")(row, _pointer(x), _pointer(y), _pointer(out), ctypes.c_int64(x.size))
    return out


def errors(function, arrays, values, got, measure="ulps"):
    """The error of each of `got`, in ulps; -1 where a NaN, infinity or sign of zero is wrong."""
    kind = "float" if arrays[0].dtype == np.float32 else "double"
    assert got.dtype == arrays[0].dtype and got.shape == arrays[0].shape, (function.name, got.dtype)
    least = function.least
    if callable(least):
        least = np.ascontiguousarray(least(arrays[0].astype(np.float64)))
    elif least:
        least = np.full(got.shape, least)
    else:
        least = None
    out = np.empty(got.shape)
    got = np.ascontiguousarray(got)
    getattr(oracle(), f"{measure}_{kind}")(
        _pointer(got), _pointer(values), _pointer(least), _pointer(out), ctypes.c_int64(got.size)
    )
    return out


# ---- arguments


def _around(values, dtype, steps=3):
    """The numbers and their neighbours."""
    kind = np.int32 if dtype == np.float32 else np.int64
    with np.errstate(over="ignore"):
        x = np.asarray(values, dtype)
    with np.errstate(invalid="ignore"):
        bits = x.view(kind)[:, None] + np.arange(-steps, steps + 1, dtype=kind)
    return np.concatenate([bits.ravel().view(dtype), x])


def _near_quarter_turns(dtype, count=2000):
    """Numbers near multiples of pi/2: of all sizes, and the worst of the double exponents."""
    digits = 24 if dtype == np.float32 else 53
    k = np.concatenate([np.arange(1, count), 2 ** np.arange(1, digits)])
    near = np.array([float(n) * (math.pi / 2) for n in k])
    # 6381956970095103 * 2^797 is the double nearest to a multiple of pi/2 (Kahan 1983); of floats it is 16367173 * 2^72
    # (found by the continued fraction of 2^k / pi, as in Muller, Elementary Functions, 11.3).
    worst = [math.ldexp(6381956970095103, 797), math.ldexp(16367173, 72), math.ldexp(10541, -11), 11.0, 22.0, 355.0, 710.0]
    return np.concatenate([near, worst, np.ldexp(1.0, np.arange(-30, 127)) * (math.pi / 2)])


THRESHOLDS = [
    # where exp, exp2, sinh and their like over- or underflow, in both dtypes; where erfc does; where forms change
    88.72283, 89.4159, -87.33654, -103.97208, 128, -126, -149, 709.782712893384, 710.4758600739439, -708.3964185322641,
    -744.4400719213812, -745.1332191019411, 1024, -1022, -1074, 9.194, 10.05, 26.543, 27.226, 0.34657359, 0.69314718, 1.0986,
    20, -20, -37.5, -38.4, 0.70710678, 1.41421356, 0.41421356, 0.46875, 4, 1.4616321449683623, 7.7553897, 2.404825557695773,
    5.520078110286311, 3.8317059702075125, 0.8935769662791675, -0.504083008264455, -2.4570247382208006, 16, 8, 3.75, 13.3, 1.5,
    2.5, 3, 1e-5, 1e-8, 0.25, 0.75, 0.84127235, 0.02425, 0.97575, 0.1353352832366127, 0.8646647167633873, 0.36787944117144233,
]  # fmt: skip


ENDS = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 2, -2, 0.5, 1e38, -1e38])


@functools.cache
def hard_cases(dtype):
    """Zeros, infinities, NaN, denormals, the largest, powers of two and their neighbours, thresholds, near quarter turns."""
    f = np.finfo(dtype)
    power = np.ldexp(dtype(1), np.arange(f.minexp - f.nmant, f.maxexp))
    parts = [_around(power, dtype), _around([f.max, f.tiny, f.smallest_subnormal * 3], dtype, 1)]
    parts.append(_around(THRESHOLDS, dtype, 8))
    parts.append(_around(np.concatenate([np.arange(1, 200), np.arange(1, 200) / 2, np.arange(1, 64) / 64]), dtype, 2))
    parts.append(_around(_near_quarter_turns(dtype), dtype, 1))
    x = np.concatenate(parts)
    with np.errstate(invalid="ignore"):
        x = np.unique(np.abs(x[np.isfinite(x)]))
    return np.concatenate([x, -x, np.array([np.inf, -np.inf, np.nan], dtype)])


def _drawn(dtype, count, rng):
    """A third each: any bit pattern; any exponent from 2^-40 to 2^11; evenly where functions are steep or end."""
    kind = np.uint32 if dtype == np.float32 else np.uint64
    any_bits = rng.integers(0, np.iinfo(kind).max, count, dtype=kind, endpoint=True).view(dtype)
    sign = rng.choice([-1.0, 1.0], count)
    scaled = sign * np.exp2(rng.uniform(-40, 11, count))
    even = rng.uniform(-1, 1, count) * rng.choice([1.0, 2.0, 4.0, 40.0], count)
    return [any_bits, scaled.astype(dtype), even.astype(dtype)]


def arguments(function, dtype, count):
    """About `count` drawn arguments and, of functions of one, all hard cases; of those of two a draw of their pairs."""
    rng = np.random.default_rng([zlib.crc32(function.name.encode()), count])
    dtype = np.dtype(dtype).type
    hard = hard_cases(dtype)
    if function.arity == 1:
        if dtype == np.float32 and count >= 1000:  # every so many bit patterns; the step is odd, so low bits vary too
            step = 2**32 // count | 1
            drawn = [np.arange(rng.integers(step), 2**32, step, dtype=np.uint64).astype(np.uint32).view(np.float32)]
            drawn += _drawn(dtype, count // 3, rng)[1:]
        else:
            drawn = _drawn(dtype, count // 3, rng)
        few = hard if count > 20_000 else np.concatenate([hard[:: max(1, hard.size // (count // 3))], ENDS.astype(dtype)])
        return [np.concatenate([*drawn, few])]
    x, y = (np.concatenate(_drawn(dtype, count // 6, rng)) for _ in range(2))
    y = y[rng.permutation(y.size)]
    special = np.concatenate([hard[:: hard.size // 40], np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 2, 0.5, 3], dtype)])
    pairs = [g.ravel() for g in np.meshgrid(special, special)]
    u, v = np.concatenate(_drawn(dtype, count // 6, rng)), rng.uniform(-1, 1, count // 6 * 3)
    with np.errstate(all="ignore"):
        if function.name == "pow":  # results all over the range, whole powers among them
            u = np.where(rng.random(u.size) < 0.5, np.abs(u), (1 + v * np.exp2(rng.uniform(-30, 0, u.size))).astype(dtype))
            w = rng.uniform(-1, 1, u.size) * (150 if dtype == np.float32 else 1080) / np.log2(u.astype(np.float64))
            w = np.where(rng.random(u.size) < 0.2, rng.integers(-20, 21, u.size), w)
            u = np.where((w == np.rint(w)) & (rng.random(u.size) < 0.5), -u, u)
        elif function.name.startswith("logaddexp"):  # near each other, and where the sum of the powers is near 1
            base = math.log(2) if function.name == "logaddexp" else 1.0
            near_one = np.log(-np.expm1(-np.abs(v) * base)) / base
            w = np.where(rng.random(u.size) < 0.3, near_one, u + 40 * v)
            u = np.where(w == near_one, -np.abs(v), u)
        elif function.name in ("xlogy", "xlog1py"):
            w = (function.name == "xlogy") + v * np.exp2(rng.uniform(-30, 0, u.size))
        else:
            w = u * (1.75 + 1.5 * v)
        u, w = u.astype(dtype), w.astype(dtype)
    return [np.ascontiguousarray(np.concatenate(parts)) for parts in ((x, pairs[0], u), (y, pairs[1], w))]


# ---- measuring

#: The greatest error, the arguments where it is, how many arguments gave a wrong NaN, infinity or zero, and one of them.
Worst = collections.namedtuple("Worst", "ulps at wrong wrong_at")


def worst(function, arrays, values, got):
    e = errors(function, arrays, values, got)
    k, bad = int(np.argmax(e)), np.flatnonzero(e < 0)
    at = tuple(a[k].item() for a in arrays)
    return Worst(float(e[k]), at, bad.size, tuple(a[bad[0]].item() for a in arrays) if bad.size else None)


def _merge(a, b):
    top = a if a.ulps >= b.ulps else b
    return Worst(top.ulps, top.at, a.wrong + b.wrong, a.wrong_at or b.wrong_at)


def every_float():
    """All float32 numbers, in arrays whose results stay in the cache."""
    step = 2**18
    for start in range(0, 2**32, step):
        yield [np.arange(start, start + step, dtype=np.uint32).view(np.float32)]


COSTLY = {"k0", "k1", "k0e", "k1e"}  # the oracle's integrals


def measure(task):
    """({library: Worst}, the numbers of arguments of pydiff and of the others) of one function and dtype."""
    name, dtype, given = task
    import pydiff as pd

    pd.set_num_threads(1)
    function = TABLE[name]
    count = given.count or (600_000 if dtype == "float32" else 100_000)
    if function.exact in COSTLY:
        count = max(count // 100, 200)
    result, total = {}, 0

    def look(arrays, libraries):
        values = exact(function, arrays)
        for library in libraries:
            call = LIBRARIES[library]
            got = call(function, arrays, given.device) if library == "pydiff" else call(function, arrays)
            if got is not None:
                new = worst(function, arrays, values, got)
                result[library] = _merge(result[library], new) if library in result else new
        return arrays[0].size

    with np.errstate(all="ignore"):
        drawn = look(arguments(function, dtype, count), ["pydiff"] if given.count else LIBRARIES)
        if given.all and function.arity == 1 and function.bound and dtype == "float32":
            total = sum(look(arrays, ["pydiff"]) for arrays in every_float())
    return result, total or drawn, drawn


# ---- the oracle beside mpmath


def _mpmath_functions(mp):
    erfc_root = mp.sqrt(mp.mpf(1) / 2)
    return {
        "rsqrt": lambda x: 1 / mp.sqrt(x), "exp2": lambda x: mp.mpf(2) ** x, "log2": lambda x: mp.log(x, 2),
        "pow": lambda x, y: mp.power(x, y), "logaddexp": lambda x, y: mp.log(mp.exp(x) + mp.exp(y)),
        "logaddexp2": lambda x, y: mp.log(mp.mpf(2) ** x + mp.mpf(2) ** y, 2), "xlogy": lambda x, y: x * mp.log(y),
        "xlog1py": lambda x, y: x * mp.log1p(y), "logit": lambda x: mp.log(x / (1 - x)), "sinc": mp.sincpi,
        "spherical_bessel_j0": mp.sinc, "deg2rad": mp.radians, "rad2deg": mp.degrees,
        "sigmoid": lambda x: 1 / (1 + mp.exp(-x)), "logsigmoid": lambda x: -mp.log1p(mp.exp(-x)),
        "silu": lambda x: x / (1 + mp.exp(-x)), "mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
        "softplus": lambda x: x if x > 20 else mp.log1p(mp.exp(x)), "softsign": lambda x: x / (1 + abs(x)),
        "elu": lambda x: x if x > 0 else mp.expm1(x), "tanhshrink": lambda x: x - mp.tanh(x),
        "selu": lambda x: mp.mpf("1.0507009873554804934193349852946") * (
            x if x > 0 else mp.mpf("1.6732632423543772848170429916717") * mp.expm1(x)),
        "ndtr": lambda x: mp.erfc(-x * erfc_root) / 2, "gelu": lambda x: x * mp.erfc(-x * erfc_root) / 2,
        "erfcx": lambda x: mp.exp(x * x) * mp.erfc(x), "log_ndtr": lambda x: mp.log1p(-mp.erfc(x * erfc_root) / 2) if x > 0 else mp.log(mp.erfc(-x * erfc_root) / 2),
        "ndtri": lambda x: mp.sqrt(2) * mp.erfinv(2 * x - 1), "entr": lambda x: -x * mp.log(x) if x > 0 else mp.nan,
        "lgamma": lambda x: mp.log(abs(mp.gamma(x))), "digamma": mp.digamma,
        "i0": lambda x: mp.besseli(0, x), "i1": lambda x: mp.besseli(1, x),
        "i0e": lambda x: mp.exp(-abs(x)) * mp.besseli(0, x), "i1e": lambda x: mp.exp(-abs(x)) * mp.besseli(1, x),
        "j0": lambda x: mp.besselj(0, x), "j1": lambda x: mp.besselj(1, x), "y0": lambda x: mp.bessely(0, x),
        "y1": lambda x: mp.bessely(1, x), "k0": lambda x: mp.besselk(0, x), "k1": lambda x: mp.besselk(1, x),
        "k0e": lambda x: mp.exp(x) * mp.besselk(0, x), "k1e": lambda x: mp.exp(x) * mp.besselk(1, x),
    }  # fmt: skip


def oracle_error(name, count=60):
    """The greatest error of the oracle of float64 at `count` moderate arguments and a few hard ones, in ulps of float64.

    Arguments keep to where mpmath is quick and 150 digits are enough: 1e-60 < |x| < 200.
    """
    import mpmath as mp

    function = TABLE[name]
    if function.exact[:2] in ("j0", "j1", "y0", "y1", "k0", "k1"):
        count //= 10
    least = function.least
    x = [a.astype(np.float64) for a in arguments(function, "float64", 4000)]
    x.append(x[0])  # a function of one takes only the first
    x = [np.ascontiguousarray(a) for a in x[: function.arity]]
    inside = np.all([np.isfinite(a) & (np.abs(a) < 200) & (np.abs(a) > 1e-60) for a in x], axis=0)
    chosen = np.flatnonzero(inside)
    chosen = chosen[:: max(1, chosen.size // count)]
    x = [np.ascontiguousarray(a[chosen]) for a in x]
    values = exact(function, x)
    hi, lo = np.empty(chosen.size), np.empty(chosen.size)
    oracle().halves(_pointer(values), _pointer(hi), _pointer(lo), ctypes.c_int64(chosen.size))
    greatest = 0.0
    with mp.workdps(150):
        f = _mpmath_functions(mp).get(function.exact) or getattr(mp, function.exact)
        for k in range(chosen.size):
            if not np.isfinite(hi[k]) or abs(hi[k]) < 1e-280:
                continue
            want = f(*[mp.mpf(float(a[k])) for a in x])
            if isinstance(want, mp.mpc) or not mp.isfinite(want):
                continue
            size = max(abs(float(hi[k])), float(least(x[0][k])) if callable(least) else least)
            greatest = max(greatest, float(abs(mp.mpf(hi[k]) + mp.mpf(lo[k]) - want) / float(np.spacing(size))))
    return greatest


# ---- sums

TERMS = 100_000_000


def sums():
    """Rows (what, library, value, error over the sum of |x|) of sums, means and variances of TERMS float32 numbers."""
    import pydiff as pd

    torch = _torch()
    rng = np.random.default_rng(0)
    for what, draw in (("uniform in [0, 1)", rng.random), ("standard normal", rng.standard_normal)):
        x = draw(TERMS, dtype=np.float32)
        part = lambda f: math.fsum(float(f(x[i : i + 2**16].astype(np.float64))) for i in range(0, TERMS, 2**16))  # noqa: B023, E731
        total, size = part(np.sum), part(lambda v: np.abs(v).sum())
        mean = total / TERMS
        var = part(lambda v: ((v - mean) ** 2).sum()) / TERMS  # noqa: B023
        t = pd.from_numpy(x)
        libraries = {"pydiff": lambda f, k: getattr(t, f)(**k).item(), "NumPy": lambda f, k: float(getattr(np, f)(x, **({"ddof": k["correction"]} if k else {})))}  # noqa: B023, E501
        if torch is not None:
            s = torch.from_numpy(x)
            libraries["PyTorch"] = lambda f, k: getattr(s, f)(**k).item()  # noqa: B023
        for f, options, want, scale in (
            ("sum", {}, total, size), ("mean", {}, mean, size / TERMS), ("var", {"correction": 0}, var, var)
        ):  # fmt: skip
            yield f, what, {name: abs(call(f, options) - want) / scale for name, call in libraries.items()}


# ---- the page


def _number(x, dtype):
    x = np.dtype(dtype).type(x)
    if 1e-3 <= abs(x) < 1e5 or x == 0:
        return np.format_float_positional(x, trim="-")
    return np.format_float_scientific(x, trim="-")


def cell(found, dtype):
    if found is None:
        return ""
    size = f"{found.ulps:.2f}" if found.ulps < 100 else f"{found.ulps:.1e}"
    text = f"{size} ({', '.join(_number(v, dtype) for v in found.at)})"
    if found.wrong:
        text += f"; wrong at ({', '.join(_number(v, dtype) for v in found.wrong_at)})"
    return text


def over(name, found):
    """Whether pydiff's function is beyond its bound."""
    bound = TABLE[name].bound
    return bound is not None and (found["pydiff"].ulps > bound or found["pydiff"].wrong > 0)


INTRODUCTION = """
`{command}` measured this beside {versions}, and wrote this page.

Errors are in ulps of the exact value, so that a correctly rounded result is off by at most 0.5; in parentheses is the
argument of the greatest error. Each library gets the same drawn arguments, as many as the table says; pydiff's float32
functions of one argument that have a bound get all 2³² numbers. With the drawn ones go powers of two and their neighbours, the largest and the denormal numbers, thresholds, numbers next to
multiples of π/2, zeros, infinities and NaN. "Wrong at" is an argument where a NaN, an infinity or the sign of a zero is missing, or there and should
not be. What is exact comes from `tests/accuracy_oracle.cpp`: `__float128` for float64, double for float32. Beside mpmath
at 150 digits the oracle of float64 is off by at most {oracle:.1e} ulps.

**Bounds.** 1 ulp for `exp log sqrt rsqrt log1p expm1`, 2 for the other elementary functions, 4 for activations and special
functions. Where a function has a zero next to which it is ill-conditioned, errors are counted in ulps of the larger of the
result and the number in the column *at least*: 1/2 for `lgamma`, `digamma` and the two `logaddexp`, |x| for `tanhshrink`,
the size of the waves for Bessel functions. Functions without a bound are SciPy's own, on a GPU CuPy's. The interpreter,
LLVM and CUDA (on the host stand-in, not on a GPU yet) compute the same bits, so that one column holds for all of them;
NumPy's column is SciPy's where NumPy lacks the function, PyTorch's is of its CPU functions.
`tests/device/test_accuracy.py` holds pydiff to the bounds.
"""

HEAD = """
| function | dtype | arguments | bound | at least | pydiff | NumPy, SciPy | PyTorch |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""

SUMS = """
## Sums

Sums are added in a fixed tree: 16 lanes, blocks of 1024, blocks pairwise. Of 100,000,000 float32 terms, errors
relative to the sum of their absolute values (of `var`: to the variance), exact being float64's with `math.fsum`; one
float32 epsilon is 1.2e-7, half of it the error of one rounding.

| | terms | pydiff | NumPy | PyTorch |
| --- | --- | --- | --- | --- |
"""


def _arguments(total, drawn):
    every = "all 2³²" if total == 2**32 else f"{total:,}"
    return every if total == drawn else f"{every}; others {drawn:,}"


def page(rows, sums_of, given, oracle_off):
    import scipy

    torch = _torch()
    versions = f"NumPy {np.__version__}, SciPy {scipy.__version__}" + (f", PyTorch {torch.__version__.partition('+')[0]}" if torch else "")
    command = "python tests/accuracy.py" + " --all" * given.all + " --write"
    text = INTRODUCTION.format(command=command, versions=versions, oracle=oracle_off)
    text = "\n\n".join(textwrap.fill(paragraph, 120) for paragraph in text.strip().split("\n\n"))
    text = f"# Accuracy\n\n{text}\n{HEAD}"
    for name, dtype, found, total, drawn in rows:
        f = TABLE[name]
        least = "" if not callable(f.least) and not f.least else f.least if not callable(f.least) else "|x|" if f.least is np.abs else "waves"
        cells = " | ".join(cell(found.get(library), dtype) for library in LIBRARIES)
        text += f"| `{name}` | {dtype} | {_arguments(total, drawn)} | {f.bound or ''} | {least} | {cells} |\n"
    text += SUMS
    for f, what, found in sums_of:
        text += f"| `{f}` | {what} | " + " | ".join(f"{found[n]:.1e}" if n in found else "" for n in ("pydiff", "NumPy", "PyTorch")) + " |\n"
    return text


def kept_in(path):
    """What an earlier run has left, by "name dtype"."""
    return json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="functions (default: all, and the sums)")
    parser.add_argument("--all", action="store_true", help="every float32 argument of pydiff's functions of one that have a bound")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(HERE.parent)}")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="results go here as they come; what is there is not measured again")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--count", type=int, help="pydiff alone, on so many arguments a function")
    parser.add_argument("--device", help="of pydiff's tensors")
    given = parser.parse_args()
    if given.count is not None and given.count < 6:
        parser.error(f"--count {given.count}: 6 at least")
    unknown = [n for n in given.names if n not in TABLE]
    if unknown:
        parser.error(f"no function {unknown[0]}; there are {' '.join(TABLE)}")
    oracle()  # before the processes are forked
    oracle_off = 0.0
    if not given.count:
        try:
            oracle_off = max(oracle_error(n) for n in given.names or TABLE)
            print(f"the oracle beside mpmath: {oracle_off:.1e} ulps of float64", flush=True)
        except ImportError:
            print("without mpmath the oracle is not checked", flush=True)
    kept = kept_in(given.keep)
    tasks = [(n, d, given) for n in given.names or TABLE for d in DTYPES]
    todo = [task for task in tasks if " ".join(task[:2]) not in kept]
    rows, failed = [], []
    with multiprocessing.get_context("fork").Pool(given.jobs) if given.jobs > 1 else contextlib.nullcontext() as pool:
        measured = iter(pool.imap(measure, todo) if pool else map(measure, todo))
        for name, dtype, _ in tasks:
            if f"{name} {dtype}" not in kept:
                found, total, drawn = next(measured)
                kept[f"{name} {dtype}"] = {**found, "arguments": total, "drawn": drawn}
                if given.keep:
                    given.keep.write_text(json.dumps(kept, indent=1), encoding="utf-8")
            found = {library: Worst(*found) for library, found in kept[f"{name} {dtype}"].items() if library in LIBRARIES}
            total, drawn = (kept[f"{name} {dtype}"][key] for key in ("arguments", "drawn"))
            rows.append((name, dtype, found, total, drawn))
            failed += [f"{name} {dtype}"] * over(name, found)
            cells = " | ".join(cell(found.get(library), dtype) for library in LIBRARIES)
            print(f"{'!' if over(name, found) else ' '} {name:12} {dtype} {TABLE[name].bound or '':1} {total:>9} | {cells}", flush=True)
    print("beyond their bound:", ", ".join(failed) or "none")
    if not given.names and not given.count:
        sums_of = list(sums())
        for f, what, found in sums_of:
            print(f, what, *(f"{library} {e:.1e}" for library, e in found.items()))
        if given.write:
            PAGE.write_text(page(rows, sums_of, given, oracle_off), encoding="utf-8")
    return 1 if failed or oracle_off > 1e-3 else 0


if __name__ == "__main__":
    sys.exit(main())
