"""The CUDA device layer, driven from C++ without the extension.

Three ways: with no driver at all, with the real NVRTC alone, and with the stand-in of ``csrc/device/cuda_host``,
which runs everything on the CPU. None of them touches a GPU.
"""

import os
import pathlib
import shutil
import subprocess
import sysconfig

import pytest

HERE = pathlib.Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "csrc"
HOST = CSRC / "device" / "cuda_host"
FLAGS = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror"]
# A driver that is there and of no use: too old, or without most functions.
FAKES = {
    "old_driver": 'extern "C" int cuDriverGetVersion(int* v) { *v = 11080; return 0; }',
    "poor_driver": 'extern "C" int cuDriverGetVersion(int* v) { *v = 12020; return 0; }',
}
COMPILER = [
    "compiles",
    "does_not_compile",
    "compiles_in_threads",
    "disk_cache",
    "cache_cannot_be_written",
    "cache_is_off",
    "disk_is_full",
]
DEVICE = [
    "properties",
    "memory",
    "out_of_memory",
    "copies",
    "fill",
    "events",
    "waits_for_captures",
    "launch",
    "kernel_errors",
    "compiled_once",
    "wrong_while_others_wait",
    "contexts",
    "products",
    "short_products",
    "forked",
    "after_main",
]
ELSEWHERE = ["no_driver", "old_driver", "poor_driver", "no_gpu", "no_nvrtc", "no_blas"]
ELSEWHERE += ["pool_keeps", "image_refused", "image_taken"]
NOWHERE = {name: "/nowhere/lib.so" for name in ("PYDIFF_CUDA_DRIVER", "PYDIFF_NVRTC", "PYDIFF_CUBLAS")}


def build(output, *sources, shared=False):
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    kind = ["-shared", "-fPIC"] if shared else []
    command = [compiler, *FLAGS, *kind, f"-I{CSRC}", *map(str, sources), "-o", str(output), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return output


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    device = CSRC / "device"
    sources = [device / "registry.cpp", device / "buffer.cpp", *device.glob("cpu/*.cpp"), *device.glob("cuda/*.cpp")]
    return build(tmp_path_factory.mktemp("cuda") / "cuda_device_driver", HERE / "cuda_device_driver.cpp", *sources)


@pytest.fixture
def run(driver, tmp_path):
    """Runs one check with `variables` in its environment and a kernel cache of its own."""

    def call(check, *args, **variables):
        env = {**os.environ, **NOWHERE, "PYDIFF_CACHE_DIR": str(tmp_path / "cache"), **variables}
        done = subprocess.run([str(driver), check, *args], capture_output=True, text=True, timeout=300, env=env)
        print(done.stdout, done.stderr)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    return call


def nvrtc():
    """The real NVRTC: in the package nvidia-cuda-nvrtc, else in a toolkit."""
    given = os.environ.get("PYDIFF_NVRTC", "")
    if given and "_cuda_host" not in given:  # the stand-in, once a process has opened it
        return given
    roots = [pathlib.Path(sysconfig.get_path("purelib")) / "nvidia"]
    roots += [pathlib.Path(os.environ[v]) for v in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(v)]
    roots.append(pathlib.Path("/usr/local/cuda"))
    found = [str(p) for root in roots for p in sorted(root.glob("**/libnvrtc.so.1[23]"))]
    if not found:
        pytest.skip("no NVRTC: pip install nvidia-cuda-nvrtc")
    return found[0]


def test_every_check_is_listed(driver):
    listed = subprocess.run([str(driver)], capture_output=True, text=True, check=True).stdout.split()
    assert sorted(listed) == sorted([*COMPILER, *DEVICE, *ELSEWHERE])


# ---- nothing there


def test_no_driver(run):
    run("no_driver")


@pytest.mark.parametrize("check", sorted(FAKES))
def test_driver_of_no_use(run, tmp_path, check):
    source = tmp_path / "fake.cpp"
    source.write_text(FAKES[check])
    run(check, PYDIFF_CUDA_DRIVER=str(build(tmp_path / "libfake.so", source, shared=True)))


def test_no_nvrtc(run):
    run("no_nvrtc")


# ---- the compiler alone


@pytest.mark.parametrize("check", COMPILER)
def test_compiler(run, tmp_path, check):
    variables = {"PYDIFF_NVRTC": nvrtc()}
    if check == "cache_cannot_be_written":
        (tmp_path / "file").write_text("in the way")
        variables.update(PYDIFF_CACHE_DIR=str(tmp_path / "file" / "below"), PYDIFF_DEBUG="1")
    elif check == "disk_is_full":
        variables["PYDIFF_DEBUG"] = "1"
    elif check == "cache_is_off":
        variables.update(PYDIFF_CACHE_DIR="", HOME=str(tmp_path))
    done = run(check, **variables)
    if check in ("cache_cannot_be_written", "disk_is_full"):
        assert done.stderr.count("pydiff: kernel cache: cannot write to") == 1  # said once
    if check == "disk_cache":
        assert len(list((tmp_path / "cache" / "cuda").iterdir())) == 3
    if check == "cache_is_off":
        assert list(tmp_path.iterdir()) == []


def test_cache_outlives_the_process(run, tmp_path):
    run("compiles", PYDIFF_NVRTC=nvrtc())
    files = {p: p.read_bytes() for p in (tmp_path / "cache" / "cuda").iterdir()}
    run("compiles", PYDIFF_NVRTC=nvrtc(), PYDIFF_DEBUG="1")
    assert files == {p: p.read_bytes() for p in (tmp_path / "cache" / "cuda").iterdir()}


def test_nothing_is_contracted(run, tmp_path):
    """``x * y + z`` is a product and a sum, and neither flushes denormals."""
    tool = shutil.which("cuobjdump") or shutil.which("cuobjdump", path="/usr/local/cuda/bin")
    if tool is None:
        pytest.skip("no cuobjdump")
    run("write_image", str(tmp_path / "f.cubin"), PYDIFF_NVRTC=nvrtc())
    code = subprocess.run([tool, "-sass", str(tmp_path / "f.cubin")], capture_output=True, text=True, check=True).stdout
    assert "FMUL" in code and "FADD" in code and "FFMA" not in code and ".FTZ" not in code


# ---- the stand-in


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    sources = sorted(HOST.glob("*.cpp"))
    if not sources:
        pytest.skip("no stand-in")
    output = tmp_path_factory.mktemp("cuda_host") / "_cuda_host.so"
    return str(build(output, *sources, shared=True))


@pytest.fixture
def device(run, stand_in):
    everything = {name: stand_in for name in NOWHERE}
    settings = {"PYDIFF_CUDA_HOST_DEVICES": "2", "PYDIFF_CUDA_HOST_MEMORY": str(256 << 20)}
    return lambda check, **variables: run(check, **{**everything, **settings, **variables})


@pytest.mark.parametrize("check", [c for c in DEVICE if c != "compiled_once"])
def test_device(device, check):
    device(check)


# Takes the place of some functions of the stand-in, whose own pools keep nothing and which takes every image.
OTHER_DRIVER = r"""
#include <dlfcn.h>
#include <cstddef>
#include <cstdlib>

using Pointer = unsigned long long;
static size_t kept = 0;
static bool idle = false;

template <class F>
static F real(const char* name) {
  return reinterpret_cast<F>(dlsym(dlopen(getenv("PYDIFF_NVRTC"), RTLD_NOW), name));
}

extern "C" int cuMemAllocFromPoolAsync(Pointer* p, size_t bytes, void* pool, void* stream) {
  idle = false;
  if (kept && bytes >= size_t(3) << 20) return 2;
  return real<int (*)(Pointer*, size_t, void*, void*)>("cuMemAllocFromPoolAsync")(p, bytes, pool, stream);
}
extern "C" int cuMemFreeAsync(Pointer p, void* stream) {
  idle = false;
  kept += size_t(1) << 20;
  return real<int (*)(Pointer, void*)>("cuMemFreeAsync")(p, stream);
}
extern "C" int cuCtxSynchronize() {
  idle = true;
  return real<int (*)()>("cuCtxSynchronize")();
}
extern "C" int cuMemPoolTrimTo(void*, size_t keep) {
  if (idle && keep == 0) kept = 0;
  return 0;
}
extern "C" int cuMemPoolGetAttribute(void* pool, int attribute, void* value) {
  int result = real<int (*)(void*, int, void*)>("cuMemPoolGetAttribute")(pool, attribute, value);
  if (attribute == 5) *static_cast<unsigned long long*>(value) += kept;
  return result;
}
extern "C" int cuModuleLoadData(void** module, const void* image) {
  static bool first = true;
  if (first && getenv("REFUSE_FIRST")) {
    first = false;
    return atoi(getenv("REFUSE_FIRST"));
  }
  return real<int (*)(void**, const void*)>("cuModuleLoadData")(module, image);
}
"""


@pytest.fixture(scope="module")
def other_driver(stand_in, tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    source = folder / "other.cpp"
    source.write_text(OTHER_DRIVER)
    # The remaining functions are found in the stand-in, on which this library depends.
    link = ["-Wl,--no-as-needed", stand_in, f"-Wl,-rpath,{pathlib.Path(stand_in).parent}"]
    return str(build(folder / "libother.so", source, *link, shared=True))


def test_pool_keeps(device, other_driver):
    device("pool_keeps", PYDIFF_CUDA_DRIVER=other_driver)


def test_refused_image(device, other_driver):
    """Of an intact file the driver says that it is none of its own: compiled again. A fresh one: an error."""
    device("image_refused", PYDIFF_CUDA_DRIVER=other_driver, REFUSE_FIRST="209")
    device("image_taken", PYDIFF_CUDA_DRIVER=other_driver)
    said = device("image_taken", PYDIFF_CUDA_DRIVER=other_driver, REFUSE_FIRST="209", PYDIFF_DEBUG="2").stderr
    assert "compiled scale for" in said
    assert "loaded scale for" in device("image_taken", PYDIFF_DEBUG="2").stderr


def test_no_memory_for_code(device, other_driver):
    said = device("image_taken", PYDIFF_CUDA_DRIVER=other_driver, REFUSE_FIRST="2", PYDIFF_DEBUG="2").stderr
    assert said.count("compiled scale for") == 1


def test_no_gpu(device):
    device("no_gpu", PYDIFF_CUDA_HOST_DEVICES="0")


def test_no_blas(device):
    device("no_blas", PYDIFF_CUBLAS="/nowhere/libcublas.so")


def test_compiled_once(device, tmp_path):
    said = device("compiled_once", PYDIFF_DEBUG="2").stderr
    assert said.count("compiled scale for") == 1 and said.count("compiled where for") == 1
    assert said.count("loaded scale for") == 1  # by the second device
    again = device("compiled_once", PYDIFF_DEBUG="2").stderr
    assert "compiled" not in again and again.count("loaded scale for") == 2
    for file in (tmp_path / "cache" / "cuda").iterdir():
        file.write_bytes(file.read_bytes()[:-5])
    assert device("compiled_once", PYDIFF_DEBUG="2").stderr.count("compiled scale for") == 1


def test_failing_source_is_shown(device):
    said = device("kernel_errors", PYDIFF_DEBUG="4").stderr
    assert "kernel wrong does not compile" in said and "2\t  absent_name();" in said
