"""Fused, compiled, in many threads, in any instruction set: the same bits as one op at a time, interpreted."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from oracle import same_bits

import pydiff as pd

HERE = pathlib.Path(__file__).resolve().parent
HOME = str(pathlib.Path(pd.__file__).parents[1])  # of the pydiff under test


def isas():
    """The instruction sets of this machine that pydiff has loops for."""
    try:
        flags = set(pathlib.Path("/proc/cpuinfo").read_text().split())
    except OSError:
        flags = set()
    wide = {"avx512f", "avx512vl", "avx512dq", "avx512bw"} <= flags
    return ["baseline"] + ["avx2"] * ({"avx2", "fma"} <= flags) + ["avx512"] * wide


ISAS = isas()
PLAIN = ("off", "off", "1", ISAS[:2][-1])  # JIT, FUSE, NUM_THREADS, ISA: the oracle
SAMPLE = [("blocking", "on", "4", ISAS[-1]), ("off", "on", "1", ISAS[-1]), ("blocking", "off", "4", PLAIN[3])]
ALL = [(j, f, t, i) for j in ("off", "blocking") for f in ("off", "on") for t in ("1", "4") for i in ISAS]


@pytest.fixture(scope="module")
def run(tmp_path_factory, seed, nightly):
    folder, done = tmp_path_factory.mktemp("bits"), {}

    def run(setting, *options):
        if (setting, options) not in done:
            jit, fuse, threads, isa = setting
            env = dict(os.environ, PYDIFF_JIT=jit, PYDIFF_FUSE=fuse, PYDIFF_NUM_THREADS=threads, PYDIFF_ISA=isa)
            env["PYDIFF_CACHE_DIR"] = ""  # compiled by this very code
            env["PYTHONPATH"] = os.pathsep.join([HOME, str(HERE)])
            out = folder / f"{len(done)}.npz"
            command = [sys.executable, "-W", "error", str(HERE / "bit_programs.py"), str(out), str(seed), *options]
            ran = subprocess.run(command + ["--all"] * nightly, env=env, capture_output=True, text=True)
            assert ran.returncode == 0, f"{setting}: {ran.stderr[-2000:]}"
            with np.load(out) as f:
                done[setting, options] = {str(n): f[str(k)] for k, n in enumerate(f["names"])}, f["counts"].tolist()
        return done[setting, options]

    return run


def settings():
    for s in ALL:
        if s != PLAIN:
            yield pytest.param(s, id="-".join(map(str, s)), marks=[] if s in SAMPLE else [pytest.mark.slow])


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("setting", list(settings()))
def test_every_setting_gives_the_bits_of_the_plain_one(run, setting, device):
    if device != "cpu":
        pytest.skip("these settings are the CPU's")
    (plain, (plain_kernels, none_compiled)), (other, (kernels, compiled)) = run(PLAIN), run(setting)
    # the settings did what they say
    assert none_compiled == 0 and (compiled > 100) == (setting[0] == "blocking")
    assert (kernels < 0.8 * plain_kernels) == (setting[1] == "on")
    assert plain.keys() == other.keys() and len(plain) > 400
    compare(plain, other)


def compare(expected, got):
    wrong = []
    for name in got:
        try:
            same_bits(got[name], expected[name], name)
        except AssertionError as e:
            wrong.append(str(e))
    assert not wrong, f"{len(wrong)} of {len(got)} differ:\n" + "\n".join(wrong[:20])


# What a CUDA device computes in an order of its own: products, and running sums of long rows; and what is made of them.
OWN_ORDER = ("matmul", "product ", "second order", "cumsum")


@pytest.mark.timeout(3600)  # with --nightly
@pytest.mark.parametrize("fuse", ["on", "off"])
def test_cuda_gives_the_bits_of_the_cpu(run, fuse, nightly, device):
    """On the GPU where that is the device under test, else on the stand-in."""
    other = "cuda-host" if device == "cpu" else device
    if fuse == "off" and not nightly:
        pytest.skip("slow; run with --nightly")
    every = () if nightly else ("--every", "11")
    (plain, _), (there, (kernels, _)) = run(PLAIN), run(("off", fuse, "1", PLAIN[3]), "--device", other, *every)
    assert kernels > len(there) > 40
    compare(plain, {name: value for name, value in there.items() if not name.startswith(OWN_ORDER)})
