"""Every function within its bound of docs/ACCURACY.md on a small sample, interpreted and compiled; special values exactly."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from oracle import array, same_bits

import pydiff as pd

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
import accuracy  # noqa: E402

needs_compiler = pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="compiles the oracle")


@needs_compiler
@pytest.mark.parametrize("jit", ["off", "blocking"])
def test_every_function_is_within_its_bound(jit, device, nightly):
    pytest.importorskip("scipy")
    if device != "cpu" and jit == "off":
        pytest.skip("the interpreter is the CPU's")
    if jit == "blocking" and device == "cpu":
        pytest.importorskip("llvmlite")
    names = list(accuracy.TABLE) if nightly or device == "cpu" else list(accuracy.TABLE)[::9]
    names = [n for n in names if accuracy.TABLE[n].bound]
    command = [sys.executable, str(TESTS / "accuracy.py"), *names, "--count", "3000", "--jobs", "1", "--device", device]
    home = str(Path(pd.__file__).parents[1])
    ran = subprocess.run(command, env=dict(os.environ, PYDIFF_JIT=jit, PYTHONPATH=home), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert ran.stdout.count("float64") == ran.stdout.count("float32") == len(names)


@needs_compiler
def test_the_measure_sees_an_error_and_a_wrong_sign():
    function = accuracy.TABLE["exp"]
    x = np.array([1.0, -np.inf, 0.5, 800.0])
    values = accuracy.exact(function, [x])
    with np.errstate(over="ignore"):
        good = np.exp(x)
    assert (accuracy.errors(function, [x], values, good) <= 1).all()
    bad = np.array([np.nextafter(np.nextafter(good[0], 9), 9), -0.0, np.nan, np.finfo(float).max])
    off = accuracy.errors(function, [x], values, bad)
    assert 1.4 < off[0] < 2.6 and off[1] == off[2] == -1 and off[3] >= 1


@needs_compiler
@pytest.mark.parametrize("least", [0.0, 0.5, np.abs])
def test_the_quick_measure_of_float32_is_its_definition(least, rng):
    bits = rng.integers(0, 2**32, (2, 1 << 16), dtype=np.uint64).astype(np.uint32)
    ends = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-38, 3.4028235e38, -3.4028235e38], np.float32)
    x, y = (v.ravel() for v in np.meshgrid(ends, ends))
    with np.errstate(all="ignore"):
        near = (bits[0] ^ bits[1] >> 28).view(np.float32).astype(float) * (1 + 1e-9)  # within a few ulps, signs kept
        beyond = np.array([3.40282356e38, 2.0**128, 2.0**140, -(2.0**140), 2.0**-150, -(2.0**-170), 0.0, -0.0, np.inf, np.nan])
        u, v = (v.ravel() for v in np.meshgrid(ends, beyond))
        got = np.concatenate([bits[0].view(np.float32), bits[0].view(np.float32), x, u])
        exact = np.concatenate([near, bits[1].view(np.float32).astype(float), y.astype(float), v])
        function = accuracy.TABLE["exp"]._replace(least=least)
        quick, plain = (accuracy.errors(function, [got], exact, got, m) for m in ("ulps", "by_definition"))
    np.testing.assert_array_equal(quick, plain)
    assert (quick == -1).any() and (quick > 1).any()


@needs_compiler
def test_the_oracle_agrees_with_mpmath():
    pytest.importorskip("mpmath")
    for name in accuracy.TABLE:
        if not name.startswith(("bessel", "modified", "scaled")):  # slow in mpmath
            assert accuracy.oracle_error(name, count=8) < 1e-4, name


def test_every_row_is_measured_or_exact():
    from oracle import EXACT, rows, types_of

    measured = {f.pydiff.rpartition(".")[2] for f in accuracy.TABLE.values()} | EXACT
    floats = {r["name"] for r in rows() if "float32" in types_of(r) and r["twin"]}
    truths = {"lt", "le", "gt", "ge", "eq", "ne", "isnan", "isinf", "isfinite"}
    assert floats - truths <= measured, floats - truths - measured


inf, nan = math.inf, math.nan
ODD = [(-0.0, -0.0), (0.0, 0.0)]  # zeros that stay
# (argument, result); lists, since 0.0 == -0.0
SPECIAL = {
    "exp": [(0.0, 1), (-0.0, 1), (inf, inf), (-inf, 0.0), (1e4, inf), (-1e4, 0.0)],
    "exp2": [(0.0, 1), (-0.0, 1), (inf, inf), (-inf, 0.0), (3.0, 8), (-1.0, 0.5)],
    "expm1": [*ODD, (inf, inf), (-inf, -1), (-1e4, -1), (1e-40, 1e-40), (-1e-40, -1e-40)],
    "log": [(1.0, 0.0), (0.0, -inf), (-0.0, -inf), (inf, inf), (-inf, nan), (-1.0, nan)],
    "log2": [(1.0, 0.0), (0.0, -inf), (-0.0, -inf), (inf, inf), (-1.0, nan), (8.0, 3), (0.125, -3)],
    "log10": [(1.0, 0.0), (0.0, -inf), (-0.0, -inf), (inf, inf), (-1.0, nan)],
    "log1p": [*ODD, (-1.0, -inf), (inf, inf), (-inf, nan), (-2.0, nan), (1e-40, 1e-40), (-1e-40, -1e-40)],
    "sqrt": [*ODD, (inf, inf), (-inf, nan), (-1.0, nan), (4.0, 2)],
    "rsqrt": [(0.0, inf), (-0.0, -inf), (inf, 0.0), (-inf, nan), (-1.0, nan), (4.0, 0.5)],
    "sin": [*ODD, (inf, nan), (-inf, nan), (1e-40, 1e-40)],
    "cos": [(0.0, 1), (-0.0, 1), (inf, nan), (-inf, nan)],
    "tan": [*ODD, (inf, nan), (-inf, nan), (1e-40, 1e-40)],
    "asin": [*ODD, (2.0, nan), (-2.0, nan), (inf, nan), (1e-40, 1e-40)],
    "acos": [(1.0, 0.0), (2.0, nan), (-inf, nan)],
    "atan": [*ODD, (1e-40, 1e-40)],
    "sinh": [*ODD, (inf, inf), (-inf, -inf), (1e4, inf), (-1e4, -inf), (1e-40, 1e-40)],
    "cosh": [(0.0, 1), (-0.0, 1), (inf, inf), (-inf, inf), (-1e4, inf)],
    "tanh": [*ODD, (inf, 1), (-inf, -1), (1e4, 1), (1e-40, 1e-40)],
    "asinh": [*ODD, (inf, inf), (-inf, -inf), (1e-40, 1e-40), (-1e-40, -1e-40)],
    "acosh": [(1.0, 0.0), (inf, inf), (0.5, nan), (-1e30, nan), (-inf, nan)],
    "atanh": [*ODD, (1.0, inf), (-1.0, -inf), (2.0, nan), (-inf, nan), (1e-40, 1e-40)],
    "sigmoid": [(0.0, 0.5), (inf, 1), (-inf, 0.0), (1e4, 1), (-1e4, 0.0)],
    "erf": [*ODD, (inf, 1), (-inf, -1), (10.0, 1)],
    "erfc": [(0.0, 1), (-0.0, 1), (inf, 0.0), (-inf, 2), (-10.0, 2)],
    "erfinv": [*ODD, (1.0, inf), (-1.0, -inf), (2.0, nan), (-2.0, nan), (inf, nan)],
    "special.erfcx": [(0.0, 1), (inf, 0.0), (-inf, inf), (-1e4, inf)],
    "special.ndtr": [(0.0, 0.5), (inf, 1), (-inf, 0.0), (1e4, 1), (-1e4, 0.0)],
    "special.ndtri": [(0.5, 0.0), (0.0, -inf), (1.0, inf), (-1.0, nan), (2.0, nan)],
    "special.log_ndtr": [(-inf, -inf), (-1e200, -inf)],
    "special.entr": [(0.0, 0.0), (1.0, -0.0), (-1.0, -inf), (inf, -inf)],
    "sinc": [(0.0, 1), (-0.0, 1), (1.0, 0.0), (-7.0, 0.0), (1e30, 0.0), (1e-40, 1)],
    "lgamma": [(0.0, inf), (-0.0, inf), (-3.0, inf), (1.0, 0.0), (2.0, 0.0), (inf, inf), (-inf, inf)],
    "digamma": [(0.0, -inf), (-0.0, inf), (-3.0, nan), (inf, inf), (-inf, nan)],
    "i0": [(0.0, 1), (-0.0, 1), (inf, inf), (-inf, inf)],
    "special.i1": [*ODD, (inf, inf), (-inf, -inf), (1e-40, 5e-41)],
    "special.i0e": [(0.0, 1), (inf, 0.0), (-inf, 0.0)],
    "special.i1e": [*ODD, (inf, 0.0), (-inf, -0.0), (1e-40, 5e-41)],
    "nn.functional.silu": [*ODD, (inf, inf), (-inf, nan), (-1e30, -0.0)],
    "nn.functional.gelu": [*ODD, (inf, inf), (-inf, nan), (-1e30, -0.0)],
}
SPECIAL_PAIRS = {
    "pow": [((0.0, -1.0), inf), ((-0.0, -1.0), -inf), ((0.0, 0.0), 1), ((nan, 0.0), 1), ((1.0, nan), 1), ((-1.0, inf), 1),
        ((-2.0, 3.0), -8), ((-2.0, 0.5), nan), ((0.5, inf), 0.0), ((2.0, -inf), 0.0), ((-inf, 3.0), -inf), ((-inf, -3.0),
        -0.0)],
    "atan2": [((0.0, 1.0), 0.0), ((-0.0, 1.0), -0.0), ((0.0, -1.0), math.pi), ((-0.0, -1.0), -math.pi), ((0.0, -0.0),
        math.pi), ((1.0, inf), 0.0), ((-1.0, inf), -0.0), ((inf, inf), math.pi / 4), ((inf, -inf), 3 * math.pi / 4), ((nan,
        1.0), nan)],
    "hypot": [((inf, nan), inf), ((nan, -inf), inf), ((inf, inf), inf), ((0.0, -0.0), 0.0), ((nan, 1.0), nan), ((3.0, -4.0),
        5), ((1e-40, 0.0), 1e-40)],
    "logaddexp": [((-inf, -inf), -inf), ((inf, inf), inf), ((inf, -inf), inf), ((-inf, 3.0), 3), ((nan, 1.0), nan), ((1.0,
        nan), nan)],
    "logaddexp2": [((-inf, -inf), -inf), ((inf, inf), inf), ((3.0, 3.0), 4), ((-inf, 3.0), 3), ((nan, 1.0), nan)],
    "xlogy": [((0.0, 0.0), 0.0), ((-0.0, 0.0), 0.0), ((0.0, inf), 0.0), ((0.0, nan), nan), ((2.0, 0.0), -inf), ((0.0, -1.0),
        0.0)],
    "special.xlog1py": [((0.0, -1.0), 0.0), ((-0.0, -1.0), 0.0), ((0.0, nan), nan), ((2.0, -1.0), -inf)],
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [*SPECIAL, *SPECIAL_PAIRS])
def test_special_values(name, dtype):
    f = pd
    for part in name.split("."):
        f = getattr(f, part)
    cases = SPECIAL_PAIRS.get(name) or [((x,), y) for x, y in [*SPECIAL[name], (nan, nan)]]
    arguments, results = zip(*cases)
    with np.errstate(over="ignore"):
        operands = [pd.tensor(np.array(v, np.float64).astype(dtype)) for v in zip(*arguments)]
    same_bits(array(f(*operands)), np.array(results).astype(dtype), name)
