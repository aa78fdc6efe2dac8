"""The tiles of products on the CPU under AddressSanitizer and UBSan, with vectors of each width (nightly)."""

import pathlib
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

HERE = pathlib.Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "csrc"
SOURCES = ["kernels/cpu/tiles.cpp", "device/cpu/pool.cpp", "device/cpu/allocator.cpp"]
FLAGS = [
    "-std=c++17",
    "-O1",
    "-g1",
    "-ffp-contract=off",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-pthread",
]
# What the processor says it has, for the choice of kernels.
SUPPORTS = {
    "widest": "__builtin_cpu_supports(x)",
    "avx2": '(!__builtin_strstr(x, "512") && __builtin_cpu_supports(x))',
    "plain": "(x[0] == 0)",
}


@pytest.fixture(scope="module")
def common(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles")
    probe = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True)
    if not pathlib.Path(probe.stdout.strip()).is_absolute():
        pytest.skip("this g++ comes without libasan")

    sources = [CSRC / s for s in SOURCES] + [HERE / "tiles_driver.cpp"]
    with ThreadPoolExecutor(2) as pool:
        return folder, list(pool.map(lambda source: compiled(source, folder), sources))


def compiled(source, folder, *before):
    target = folder / (source.stem + ".o")
    subprocess.run(["g++", *FLAGS, *before, f"-I{CSRC}", "-c", str(source), "-o", str(target)], check=True)
    return str(target)


@pytest.mark.timeout(600)
@pytest.mark.slow
@pytest.mark.parametrize("isa", SUPPORTS)
def test_products_stay_in_their_memory(common, isa, seed):
    folder, objects = common
    text = (CSRC / "kernels/cpu/vectors.h").read_text()
    assert text.count("__builtin_cpu_supports(") == 6
    own = folder / isa / "kernels/cpu/vectors.h"
    own.parent.mkdir(parents=True)
    own.write_text(f"#define PD_SUPPORTS(x) {SUPPORTS[isa]}\n" + text.replace("__builtin_cpu_supports(", "PD_SUPPORTS("))
    kernels = [
        compiled(CSRC / f"kernels/cpu/{name}.cpp", folder / isa, f"-I{folder / isa}")
        for name in ("tile_kernels", "pair_kernels")
    ]
    driver = folder / isa / "driver"
    subprocess.run(["g++", *FLAGS, *objects, *kernels, "-o", str(driver)], check=True)
    count = 50_000
    done = subprocess.run([str(driver), str(count), str(seed)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout == f"{count} products\n"
