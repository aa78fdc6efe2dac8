"""The functions of csrc/ops/vmath without the extension: a stratified sample against higher precision, the same bits from
every instruction set, loops that the compiler vectorises. tests/accuracy.py measures all of pydiff's functions, on every
float32 where that is asked for.
"""
import functools
import pathlib
import subprocess
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
DRIVER = HERE / "vmath_driver.cpp"
FLAGS = ["-std=c++17", "-O3", "-fopenmp-simd", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno",
         "-Wall", "-Wextra", "-Werror", f"-I{HERE.parents[1] / 'csrc'}"]
ISAS = {"avx512": ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mfma"], "avx2": ["-mavx2", "-mfma"]}

# Greatest distance from the correctly rounded value, in ulps.
BOUND = dict(exp=1, exp2=2, expm1=1, log=1, log2=2, log10=2, log1p=1, rsqrt=1, tanh=2, sigmoid=2, erf=2, erfc=2,
             sin=2, cos=2, tan=2, sinh=2, cosh=2, asin=2, acos=2, atan=2, pow=2, atan2=2, asinh=2, acosh=2, atanh=2, hypot=2)

# Random123's kat_vectors: philox4x32, 10 rounds, for all zeros, all ones, and the digits of pi.
PHILOX = ["6627e8d5 e169c58d bc57ac4c 9b00dbd8", "408f276d 41c83b0e a20bc7c6 6d5451fd",
          "d16cfe09 94fdcceb 5001e420 24126ea1"]


def runnable_isas():
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return []
    wide = {"avx512f", "avx512vl", "avx512dq", "avx512bw"} <= set(flags)
    return (["avx512"] if wide else []) + (["avx2"] if {"avx2", "fma"} <= set(flags) else [])


@functools.lru_cache(None)
def build(isa):
    """Compile the driver; return its path and the lines whose loop the compiler says it vectorised."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vmath_"))
    command = ["g++", *FLAGS, *ISAS[isa], "-fopt-info-vec", str(DRIVER), "-o", str(folder / "driver")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = {int(note.split(":")[1]) for note in done.stderr.splitlines() if "loop vectorized" in note}
    return folder / "driver", lines


def drive(isa, *arguments):
    done = subprocess.run([build(isa)[0], *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def measure(isa, *arguments):
    """The rows (ulps, error, x, y) that the driver prints."""
    return [tuple(map(float, line.split())) for line in drive(isa, *arguments)]


native = pytest.mark.skipif(not runnable_isas(), reason="needs a CPU with AVX2 and FMA")


@pytest.fixture(scope="module")
def isa():
    return runnable_isas()[0]


@native
@pytest.mark.parametrize("name", BOUND)
def test_float32(isa, name):
    # The stride is a prime, so low bits of the significand vary too.
    (ulps, _, x, y), = measure(isa, "f32", name, 0, 2039)
    assert ulps <= BOUND[name], f"{name}({x!r}, {y!r}) is {ulps} ulps off"


@native
@pytest.mark.parametrize("name", BOUND)
def test_float64(isa, name):
    (ulps, _, x, y), = measure(isa, "f64", name, 250_000)
    assert ulps <= BOUND[name], f"{name}({x!r}, {y!r}) is {ulps} ulps off"


@native
@pytest.mark.parametrize("name", BOUND)
def test_special_values(isa, name):
    for ulps, _, x, y in measure(isa, "special", name):
        assert ulps <= BOUND[name], f"{name}({x!r}, {y!r}) is {ulps} ulps off (1e9: wrong NaN, infinity or sign)"


@native
def test_same_bits_from_every_instruction_set():
    sums = {tuple(drive(each, "checksum")) for each in runnable_isas()}
    assert len(sums) == 1


@pytest.mark.parametrize("each", ISAS)
def test_every_kernel_is_vectorised(each):
    source = DRIVER.read_text().splitlines()
    kernels = {i: line for i, line in enumerate(source, 1) if line.startswith(("KERNEL", "DRAW"))}
    assert len(kernels) > 2 * len(BOUND) + 4
    assert [kernels[i] for i in sorted(kernels.keys() - build(each)[1])] == []


@native
def test_philox_known_answers(isa):
    assert [line.strip() for line in drive(isa, "philox")] == PHILOX


@native
def test_distributions(isa):
    # Moments of n = 1024000 draws; six standard errors of the mean of x^k.
    n = 500 * 2048
    uniform32, uniform64, normal32, normal64 = measure(isa, "moments")
    for row, top in ((uniform32, 1 - 2**-24), (uniform64, 1 - 2**-53)):
        *moments, low, high = row
        for k, moment in enumerate(moments, 1):
            spread = (1 / (2 * k + 1) - 1 / (k + 1) ** 2) ** 0.5
            assert abs(moment - 1 / (k + 1)) < 6 * spread / n**0.5
        assert 0 <= low < 1e-4 and 1 - 1e-4 < high <= top
    for row in (normal32, normal64):
        *moments, low, high = row
        for moment, exact, spread in zip(moments, (0, 1, 0, 3), (1, 2**0.5, 15**0.5, 96**0.5)):
            assert abs(moment - exact) < 6 * spread / n**0.5
        assert -6.7 < low < -4 and 4 < high < 6.7
