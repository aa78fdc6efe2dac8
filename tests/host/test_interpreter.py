"""The CPU side of loop programs, driven from C++ without the extension.

The driver builds random programs over random domains and views, and compares what the runner gives (in every
instruction set that this CPU has, with several numbers of threads and two tile grids) with one scalar at a time.
"""

import concurrent.futures
import pathlib
import shutil
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "csrc"
FLAGS = [
    *["-std=c++17", "-O3", "-fopenmp-simd", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno"],
    *["-Wall", "-Wextra", "-Werror", f"-I{CSRC}"],
]
ISAS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma", "-mbmi2"],
    "avx512": ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mfma"],
}
ONCE_AN_ISA = ["ops/loops.cpp", "fuse/reduce_loops.cpp"]
SOURCES = [
    "ops/isa.cpp",
    "ops/loops_dispatch.cpp",
    "fuse/broadcast.cpp",
    "fuse/interpreter.cpp",
    "fuse/pack.cpp",
    "fuse/prepare.cpp",
    "fuse/reduce_dispatch.cpp",
    "fuse/runner.cpp",
    "device/cpu/pool.cpp",
]


def has(isa):
    info = pathlib.Path("/proc/cpuinfo")
    have = set(info.read_text().split()) if info.exists() else set()
    return all(flag[2:] in have for flag in ISAS[isa])


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("interpreter")
    jobs = [(CSRC / s, [*f, f"-DPD_ISA={isa}"], f"-{isa}") for s in ONCE_AN_ISA for isa, f in ISAS.items()]
    jobs += [(CSRC / s, [], "") for s in SOURCES] + [(HERE / "interpreter_driver.cpp", ["-O1"], "")]

    def build(job):
        source, flags, suffix = job
        target = folder / f"{source.stem}{suffix}.o"
        subprocess.run([compiler, *FLAGS, *flags, "-c", str(source), "-o", str(target)], check=True)
        return str(target)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(build, jobs))
    binary = folder / "interpreter_driver"
    subprocess.run([compiler, *objects, "-o", str(binary), "-lpthread"], check=True)
    return binary


def run(driver, isa, *args):
    if not has(isa):
        pytest.skip(f"this CPU has no {isa}")
    done = subprocess.run(
        [str(driver), *args], capture_output=True, text=True, timeout=300, env={"PYDIFF_ISA": isa}
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("isa", ISAS)
def test_every_loop_has_the_bits_of_the_baseline(driver, isa):
    assert isa in run(driver, isa, "loops")


@pytest.mark.parametrize("isa", ISAS)
def test_random_programs(driver, isa):
    assert f"300 programs on {isa}" in run(driver, isa, "programs", str(1000 * len(isa)), "300")


def test_pack(driver):
    run(driver, "baseline", "pack", "1", "1000")


def test_unknown_instruction_set(driver):
    done = subprocess.run([str(driver), "loops"], capture_output=True, text=True, env={"PYDIFF_ISA": "mmx"})
    assert done.returncode != 0 and "[PYDIFF_ISA]" in done.stderr
