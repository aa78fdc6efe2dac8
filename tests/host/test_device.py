"""The device room and the CPU matrix product, driven from C++ without the extension.

The driver is compiled once; each of its checks is a test, the products with BLAS and without.
"""

import pathlib
import subprocess

import objects
import pytest

HERE = pathlib.Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "csrc"
SOURCES = [
    "device/registry.cpp",
    "device/buffer.cpp",
    "device/cpu/allocator.cpp",
    "device/cpu/pool.cpp",
    "device/cpu/cpu_device.cpp",
    "kernels/cpu/blas.cpp",
    "kernels/cpu/gemm.cpp",
    "kernels/cpu/tiles.cpp",
    "kernels/cpu/tile_kernels.cpp",
    "kernels/cpu/pair_kernels.cpp",
]
CHECKS = [
    "size_classes",
    "allocate_reuse",
    "cache_is_bounded",
    "out_of_memory",
    "allocate_stress",
    "buffers",
    "device_interface",
    "pool_tasks",
    "pool_nested",
    "pool_exceptions",
    "pool_callers",
    "pool_fork",
    "pool_shutdown",
    "pool_environment",
]
PRODUCTS = [
    "gemm_float32",
    "gemm_float64",
    "gemm_integers",
    "gemm_broadcast_rows",
    "gemm_bits",
    "gemm_batched",
    "gemm_strides",
    "tiles_of_lists",
    "gemm_fork",
]


def blas_path():
    openblas = pytest.importorskip("scipy_openblas32")
    return str(next(pathlib.Path(openblas.get_lib_dir()).glob("libscipy_openblas*")))


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    binary = tmp_path_factory.mktemp("device") / "device_driver"
    compiled = objects.objects([HERE / "device_driver.cpp", *(CSRC / s for s in SOURCES)])
    subprocess.run([objects.compiler(), *compiled, "-o", str(binary), "-ldl", "-lpthread"], check=True)
    return binary


def run(driver, *args):
    done = subprocess.run([str(driver), *args], capture_output=True, text=True, timeout=120)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_every_check_is_listed(driver):
    listed = subprocess.run([str(driver)], capture_output=True, text=True, check=True).stdout.split()
    assert sorted(listed) == sorted([*CHECKS, *PRODUCTS, "timing"])


@pytest.mark.parametrize("check", CHECKS)
def test_device(driver, check):
    run(driver, check)


@pytest.mark.parametrize("check", PRODUCTS)
def test_product_by_own_loop(driver, check):
    run(driver, check)


@pytest.mark.parametrize("check", PRODUCTS)
def test_product_by_blas(driver, check):
    run(driver, check, blas_path())


def test_timing_prints(driver):
    """Shows the figures (``pytest -s``); asserts none."""
    assert "allocate + free" in run(driver, "timing", blas_path())
