"""A sample of the random programs of tests/fuzz_ops.py, that these find mistakes, and what they found."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from oracle import array

import pydiff as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import fuzz_ops  # noqa: E402
from fuzz.elementwise import Entry  # noqa: E402
from fuzz.program import Program  # noqa: E402

PARTS, PROGRAMS = 8, 2000


@pytest.fixture(autouse=True)
def interpreted(device, monkeypatch):
    """The programs choose what is compiled, and in how many threads, themselves."""
    if device != "cpu":
        pytest.skip("test_cuda_fuzz.py has the programs of CUDA devices")
    monkeypatch.setenv("PYDIFF_FUSE", "on")
    mode, threads = pd._C.set_jit_mode("off"), pd.get_num_threads()
    yield
    pd._C.set_jit_mode(mode)
    pd.set_num_threads(threads)


@pytest.mark.parametrize("part", range(PARTS))
def test_random_programs(part, seed):
    for number in range(part * PROGRAMS // PARTS, (part + 1) * PROGRAMS // PARTS):
        fuzz_ops.check(seed, number)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_hundred_thousand_random_programs(seed):
    """`python tests/fuzz_ops.py --cases 100000`"""
    counts, faults = fuzz_ops.run(100_000, seed, os.cpu_count() or 1, quiet=True)
    assert counts["cases"] == 100_000 and not faults, "\n\n".join(faults[:5])


@pytest.mark.smoke
def test_a_few_random_programs(seed):
    for number in range(PROGRAMS, PROGRAMS + 60):
        fuzz_ops.check(seed, number)


def test_programs_cover_the_table_and_are_not_trivial(seed):
    drawn, finite, moving, lengths = set(), 0, 0, []
    for number in range(300):
        p = fuzz_ops.draw(seed, number)
        drawn |= {s.op for s in p.steps}
        lengths.append(len(p.steps))
        if number < 100:
            values = [array(t) for t in p.tensors if t.dtype.is_floating_point]
            finite += all(np.isfinite(v.astype(np.float64)).all() for v in values)
            moving += any((v != 0).any() for v in values)
    assert len(drawn) > 0.9 * len(fuzz_ops.TABLE) > 180
    assert finite >= 40 and moving >= 90 and max(lengths) >= 10


def found(entry, **options):
    """Whether some programs that draw the entry alone are refused."""
    for number in range(20):
        p = Program(np.random.default_rng([3, number]), [entry], steps=2, **options)
        try:
            with np.errstate(all="ignore"):
                fuzz_ops.check_values(p, number)
                if p.smooth:
                    fuzz_ops.check_derivatives(p, fuzz_ops.collections.Counter())
        except fuzz_ops.Fault:
            return True
    return False


def unary(f, reference=None):
    def draw(p):
        k = p.pick(("float64",))
        return f"f(v{k})", [k], f, reference

    return Entry("f", draw, True, 1)


def test_a_value_a_little_off_is_found():
    expected = lambda a, r: fuzz_ops.reductions.ulps(np.tanh(a[0].astype(np.longdouble)), 2, np.float64)  # noqa: E731
    assert not found(unary(pd.tanh, expected))
    assert found(unary(lambda t: pd.tanh(t) * (1 + 2e-15), expected))


def test_a_wrong_derivative_is_found():
    assert not found(unary(lambda t: t.sin()), smooth=True)
    # the derivative of what is detached is missing in both modes: differences tell
    assert found(unary(lambda t: t.sin() + t.detach().cos()), smooth=True)


def test_a_result_that_depends_on_how_it_runs_is_found():
    assert found(unary(lambda t: t * (1.0 + 1e-15 * (os.environ["PYDIFF_FUSE"] == "on"))))


def test_a_crash_is_counted_and_the_rest_is_run(monkeypatch, tmp_path):
    monkeypatch.setenv("PYDIFF_FUZZ_CRASH", "3")
    counts, faults = fuzz_ops.run(6, 0, 1, quiet=True)
    assert counts["crashes"] == 1 and counts["cases"] == 6
    assert [f.partition("\n")[0] for f in faults] == ["3"]


# ---- found


@pytest.mark.parametrize("index", ["argmin", "argmax"])
def test_a_kernel_is_not_joined_across_what_its_result_waits_for(index):
    """where reads x, what was found in x, and a view: joined with the view's kernel and x's, it came before and after itself."""
    x = pd.tensor(np.random.default_rng(0).standard_normal((3, 2))) * 2
    mask = pd.tensor(np.ones((3, 6), bool))[..., 1::3].detach()
    place = getattr(x, index)(-2)
    y = pd.where(mask, place, x)
    assert array(y).tolist() == [array(place).tolist()] * 3


@pytest.mark.parametrize("axes", [0, (0, 2)])
def test_the_sum_of_nothing_leaves_a_pad_beside_it(axes):
    """Joined with an empty reduction, the pad was taken as empty too: its kernel had rows of no elements."""
    nothing = pd.tensor(np.zeros((0, 17, 1 if axes == 0 else 2)))
    part = pd.tensor(np.arange(1.0, 5).reshape(4, 1))
    y = pd.nn.functional.pad(part * 2, (0, 0, 13, 0)) + (nothing * 3).sum(axes).reshape(17, 1)
    assert array(y).ravel().tolist() == [0.0] * 13 + [2.0, 4.0, 6.0, 8.0]


def test_frexp_of_denormals():
    x = np.array([1e-40, -1.4e-45, 3e38, 0.0, -0.0], np.float32)
    mantissa, exponent = pd.frexp(pd.tensor(x))
    want = np.frexp(x)
    assert array(mantissa).tolist() == want[0].tolist() and array(exponent).tolist() == want[1].tolist()


def test_numbers_and_other_dtypes_are_promoted_before_anything_is_computed():
    x, y = pd.tensor([2.5], dtype=pd.float64), pd.tensor([0.3])
    wide = y.double()
    assert pd.xlogy(x, y).item() == pd.xlogy(x, wide).item()
    assert pd.special.xlog1py(x, y).item() == pd.special.xlog1py(x, wide).item()
    assert pd.hypot(x, 0.1).item() == np.hypot(2.5, 0.1) == pd.hypot(x, pd.tensor(0.1, dtype=pd.float64)).item()
    assert pd.copysign(pd.tensor(1.0, dtype=pd.float64), y).dtype == pd.float32
    assert (pd.tensor(3, dtype=pd.int32) << 1).dtype == pd.int32
    assert pd.gcd(pd.tensor(12, dtype=pd.int8), 18).dtype == pd.int8
