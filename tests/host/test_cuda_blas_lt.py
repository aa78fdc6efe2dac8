"""cuBLASLt: what the stand-in refuses as the library does, what pydiff declares against the library's header, and pydiff
where there is no cuBLASLt."""

import ctypes
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from cuda_host_tools import Array, Cuda, library_path

ROOT = pathlib.Path(__file__).resolve().parents[2]
DECLARED = (ROOT / "csrc/device/cuda/blas_lt.cpp").read_text()
HEADER_OF_PYDIFF = (ROOT / "csrc/device/cuda/blas_lt.h").read_text()
FUNCTIONS = re.findall(r"X\((cublasLt\w+),", HEADER_OF_PYDIFF)
CONSTANTS = {
    "kDescTransA": "CUBLASLT_MATMUL_DESC_TRANSA",
    "kDescTransB": "CUBLASLT_MATMUL_DESC_TRANSB",
    "kDescEpilogue": "CUBLASLT_MATMUL_DESC_EPILOGUE",
    "kDescBiasPointer": "CUBLASLT_MATMUL_DESC_BIAS_POINTER",
    "kEpilogueNone": "CUBLASLT_EPILOGUE_DEFAULT",
    "kEpilogueRelu": "CUBLASLT_EPILOGUE_RELU",
    "kEpilogueBias": "CUBLASLT_EPILOGUE_BIAS",
    "kPrefWorkspaceBytes": "CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES",
    "kPrefReductionSchemes": "CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK",
    "kPrefAlignA": "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES",
    "kPrefAlignB": "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES",
    "kPrefAlignC": "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES",
    "kPrefAlignD": "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES",
    "kReduceInComputeType": "CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE",
}
VALUES = {name: int(value) for name, value in re.findall(r"^  (k\w+) = (\d+),", DECLARED, re.M)}


def found(pattern):
    """A file of an installed toolkit: of a pip package, of CUDA_HOME, of the system."""
    roots = []
    spec = importlib.util.find_spec("nvidia")
    for place in spec.submodule_search_locations or () if spec else ():
        roots += sorted(pathlib.Path(place).glob("*"))
    roots += [pathlib.Path(os.environ[v]) for v in ("CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX") if os.environ.get(v)]
    for root in [*roots, pathlib.Path("/usr/local/cuda"), pathlib.Path("/opt/cuda")]:
        for path in sorted(root.glob(pattern)):
            return path
    pytest.skip(f"no {pattern} of a CUDA toolkit is installed")


# ---- what pydiff declares


def test_constants_are_all_named():
    assert set(VALUES) == set(CONSTANTS) and len(FUNCTIONS) == 12


def test_against_the_header():
    text = re.sub(r"/\*.*?\*/", "", found("include/cublasLt.h").read_text(), flags=re.S)
    for mine, theirs in CONSTANTS.items():
        (value,) = re.findall(rf"\b{theirs} = (\w+)\b", text)
        assert VALUES[mine] == int(value, 0), (mine, theirs)
    for name in FUNCTIONS:
        (parameters,) = re.findall(rf"\b{name}\((.*?)\)", text, re.S)
        (mine,) = re.findall(rf"X\({name}, (\(.*?\))\)[ \\]*\n", HEADER_OF_PYDIFF, re.S)
        assert mine.count(",") == parameters.count(","), name
    assert re.search(r"uint64_t data\[8\];\s*} cublasLtMatmulAlgo_t;", text)
    (result,) = re.findall(r"typedef struct {([^}]*)} cublasLtMatmulHeuristicResult_t;", text)
    assert " ".join(result.split()) == (
        "cublasLtMatmulAlgo_t algo; size_t workspaceSize; cublasStatus_t state; float wavesCount; int reserved[4];"
    )


# ---- the library, and what stands in for it


class Lt:
    """Descriptions as csrc/device/cuda/blas_lt.cpp makes them, of D = A B with A (m, k) and B (k, n) by columns."""

    def __init__(self, lib):
        self.lib = lib

    def make(self, name, *args):
        handle = ctypes.c_void_p()
        return getattr(self.lib, name)(ctypes.byref(handle), *args), handle

    def desc(self, epilogue=1, bias=None, trans=0, compute=68, scale=0):
        code, d = self.make("cublasLtMatmulDescCreate", compute, scale)
        assert code == 0
        values = [("kDescTransA", ctypes.c_int32(trans)), ("kDescTransB", ctypes.c_int32(0)),
                  ("kDescEpilogue", ctypes.c_int32(epilogue))]  # fmt: skip
        if bias is not None:
            values.append(("kDescBiasPointer", ctypes.c_void_p(bias)))
        for name, value in values:
            assert self.set(d, VALUES[name], value) == 0, name
        return d

    def set(self, d, attribute, value, size=None, what="MatmulDesc"):
        size = ctypes.sizeof(value) if size is None else size
        return getattr(self.lib, f"cublasLt{what}SetAttribute")(d, attribute, ctypes.byref(value), ctypes.c_size_t(size))

    def layout(self, rows, cols, ld=None, kind=0):
        code, layout = self.make("cublasLtMatrixLayoutCreate", kind, ctypes.c_uint64(rows), ctypes.c_uint64(cols),
                                 ctypes.c_int64(ld or rows))  # fmt: skip
        assert code == 0
        return layout

    def preference(self, workspace=0, align=4):
        code, p = self.make("cublasLtMatmulPreferenceCreate")
        assert code == 0
        values = [("kPrefWorkspaceBytes", ctypes.c_uint64(workspace)), ("kPrefReductionSchemes", ctypes.c_uint32(2))]
        values += [("kPrefAlign" + x, ctypes.c_uint32(align)) for x in "ABCD"]
        for name, value in values:
            assert self.set(p, VALUES[name], value, what="MatmulPreference") == 0, name
        return p


def check_descriptions(lt):
    d = lt.desc(epilogue=6, bias=0x1000)
    assert lt.set(d, VALUES["kDescTransA"], ctypes.c_int64(1)) == 7  # of another size
    assert lt.set(d, VALUES["kDescBiasPointer"], ctypes.c_void_p(0), 4) == 7
    layout, preference = lt.layout(5, 7), lt.preference(1 << 20)
    assert lt.lib.cublasLtMatmulPreferenceDestroy(preference) == 0
    assert lt.lib.cublasLtMatrixLayoutDestroy(layout) == 0
    assert lt.lib.cublasLtMatmulDescDestroy(d) == 0


def test_descriptions_of_the_library():
    """They need no GPU."""
    path = found("lib*/libcublas.so.1[23]")
    for beside in sorted(path.parent.glob("libcublasLt.so.1[23]")):
        ctypes.CDLL(str(beside))
    library = ctypes.CDLL(str(path))  # which finds the functions of the other
    for name in FUNCTIONS:
        assert getattr(library, name)
    check_descriptions(Lt(library))


@pytest.fixture(scope="module")
def cuda():
    return Cuda(library_path())


@pytest.fixture
def lt(cuda):
    made = Lt(cuda.lib)
    code, made.handle = made.make("cublasLtCreate")
    assert code == 0
    return made


def test_descriptions_of_the_stand_in(lt):
    check_descriptions(lt)
    d = lt.desc()
    assert lt.set(d, 99, ctypes.c_int32(0)) == 7
    assert lt.lib.cublasLtMatmulDescDestroy(d) == 0
    assert lt.lib.cublasLtMatmulDescDestroy(d) == 7
    assert lt.set(d, VALUES["kDescTransA"], ctypes.c_int32(0)) == 7
    assert lt.lib.cublasLtMatmulDescCreate(None, 68, 0) == 7


class Case:
    """A (3, 4) times B (4, 5), and what cublasLtMatmul gets."""

    def __init__(self, cuda, lt, rng, epilogue=4, workspace=0):
        self.cuda, self.lt = cuda, lt
        host = [rng.integers(-3, 4, s).astype("f") for s in (20, 28, 24, 8)]
        self.values = host
        self.a, self.b, self.d, self.bias = (Array(cuda, v) for v in host)
        self.desc = lt.desc(epilogue, self.bias.pointer.value if epilogue & 4 else None)
        self.layouts = [lt.layout(3, 4), lt.layout(4, 5), lt.layout(3, 5)]
        self.preference = lt.preference(workspace)
        self.found, self.count = ctypes.create_string_buffer(96), ctypes.c_int(-1)

    def heuristic(self, handle=None):
        a, b, c = self.layouts
        return self.lt.lib.cublasLtMatmulAlgoGetHeuristic(
            handle or self.lt.handle, self.desc, a, b, c, c, self.preference, 1, self.found, ctypes.byref(self.count))

    def check(self):
        a, b, c = self.layouts
        result = ctypes.create_string_buffer(len(self.found))
        return self.lt.lib.cublasLtMatmulAlgoCheck(self.lt.handle, self.desc, a, b, c, c, self.found, result)

    def run(self, a=0, b=0, d=0, alpha=1.0, handle=None, workspace=None, size=0, algorithm=True, stream=None):
        al, be = ctypes.c_float(alpha), ctypes.c_float(0)
        at = lambda array, offset: ctypes.c_void_p(array.pointer.value + offset)
        la, lb, lc = self.layouts
        return self.lt.lib.cublasLtMatmul(
            handle or self.lt.handle, self.desc, ctypes.byref(al), at(self.a, a), la, at(self.b, b), lb, ctypes.byref(be),
            at(self.d, d), lc, at(self.d, d), lc, self.found if algorithm else None, workspace, ctypes.c_size_t(size),
            stream)  # fmt: skip

    def want(self, epilogue):
        a, b = self.values[0][:12].reshape(4, 3).T, self.values[1][:20].reshape(5, 4).T
        r = a @ b + (self.values[3][:3, None] if epilogue & 4 else 0)
        return np.maximum(r, 0) if epilogue & 2 else r


@pytest.mark.parametrize("epilogue", [1, 2, 4, 6])
def test_epilogues(cuda, lt, rng, epilogue):
    case = Case(cuda, lt, rng, epilogue)
    assert case.heuristic() == 0 and case.count.value == 1
    assert case.run() == 0
    np.testing.assert_array_equal(case.d.get()[:15].reshape(5, 3).T, case.want(epilogue))


def test_what_is_refused(cuda, lt, rng):
    case = Case(cuda, lt, rng)
    assert case.run() == 7  # no algorithm in it yet
    assert case.heuristic() == 0
    assert case.run(algorithm=False) == 7
    assert case.run(handle=ctypes.c_void_p(8)) == 1 and case.heuristic(handle=ctypes.c_void_p(8)) == 1
    for name in "abd":
        assert case.run(**{name: 2}) == 7  # aligned to two bytes
    assert case.run(a=4 * 12) == 7  # not so much memory
    lt.set(case.desc, VALUES["kDescBiasPointer"], ctypes.c_void_p(case.bias.pointer.value + 2))
    assert case.check() == 15 and case.run() == 7  # not aligned to its elements
    lt.set(case.desc, VALUES["kDescBiasPointer"], ctypes.c_void_p(None))
    assert case.check() == 7 and case.run() == 7 and case.heuristic() == 7 and case.count.value == 0
    lt.set(case.desc, VALUES["kDescBiasPointer"], ctypes.c_void_p(case.bias.pointer.value))
    assert case.heuristic() == 0 and case.run() == 0
    lt.set(case.desc, VALUES["kDescEpilogue"], ctypes.c_int32(1))
    assert case.check() == 0 and case.run() == 0  # the same algorithm, for the product alone
    lt.set(case.desc, VALUES["kDescTransA"], ctypes.c_int32(1))
    assert case.check() != 0 and case.run() == 7  # the algorithm was found for another product
    lt.set(case.desc, VALUES["kDescTransA"], ctypes.c_int32(0))
    lt.set(case.desc, VALUES["kDescEpilogue"], ctypes.c_int32(32))
    assert case.check() == 15 and case.heuristic() == 15  # gelu: not here
    lt.set(case.desc, VALUES["kDescEpilogue"], ctypes.c_int32(4))
    good = list(case.layouts)
    for k, wrong in enumerate([(3, 5), (5, 5), (5, 3)]):
        case.layouts[k] = lt.layout(*wrong)
        assert case.heuristic() == 7
        case.layouts = list(good)
    for k, ld in enumerate([2, 3, 2]):
        case.layouts[k] = lt.layout(*[(3, 4), (4, 5), (3, 5)][k], ld=ld)
        assert case.heuristic() == 7
        case.layouts = list(good)
    lt.lib.cublasLtMatrixLayoutDestroy(good[0])
    assert case.heuristic() == 7


def test_the_workspace(cuda, lt, rng):
    case = Case(cuda, lt, rng, workspace=4096)
    memory = Array(cuda, np.zeros(1024, "f"))
    assert case.heuristic() == 0
    needed = int.from_bytes(case.found.raw[64:72], "little")
    assert 0 < needed <= 4096
    assert case.run() == 7 and case.run(size=needed) == 7
    assert case.run(workspace=memory.pointer, size=needed - 1) == 7
    assert case.run(workspace=ctypes.c_void_p(memory.pointer.value + 16), size=needed) == 7
    assert case.run(workspace=memory.pointer, size=needed) == 0
    assert (memory.get() != 0).any()  # the library writes there
    np.testing.assert_array_equal(case.d.get()[:15].reshape(5, 3).T, case.want(4))


# ---- pydiff without it

PROGRAM = """
import numpy as np
import pydiff as pd
from pydiff import _C
pd.set_default_device({device!r})
rng = np.random.default_rng(0)
x, w, b = (rng.standard_normal(s).astype("f") for s in ((5, 4), (4, 3), (3,)))
y = pd.tensor(x) @ pd.tensor(w) + pd.tensor(b)
p = (pd.tensor(x) @ pd.tensor(w)).numpy()
assert "dot+bias" in _C.explain([y])
np.testing.assert_array_equal(y.numpy(), p + b)
print(_C.exec_stats()["epilogues"], _C.exec_stats()["kernels"])
"""


SWITCHES = {"PYDIFF_CUDA_EPILOGUES": "on", "PYDIFF_FUSE": "on", "PYDIFF_CUDA_GEMM": "auto"}


def run(device="cuda-host", **environment):
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(device=device)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, **SWITCHES, **environment})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the stand-in compiles kernels with g++")


@needs_compiler
def test_with_it():
    assert run() == ["1", "0"]


@needs_compiler
def test_it_cannot_be_opened():
    assert run(PYDIFF_CUDA_HOST_FAIL="cublasLtCreate") == ["0", "1"]


@needs_compiler
def test_the_algorithm_takes_no_bias():
    """The product is cuBLASLt's all the same, and a kernel adds the bias."""
    assert run(PYDIFF_CUDA_HOST_FAIL="cublasLtMatmulAlgoCheck,cublasGemmEx") == ["0", "1"]


@needs_compiler
def test_no_memory_for_a_workspace():
    """It wants 32 MB; the library then gets none."""
    assert run(PYDIFF_CUDA_HOST_MEMORY=str(16 << 20)) == ["1", "0"]


WITHOUT = r"""
#include <dlfcn.h>
#include <stdlib.h>
static void* of(const char* name) { return dlsym(dlopen(getenv("WHOLE_LIBRARY"), RTLD_NOW | RTLD_LOCAL), name); }
int cublasCreate_v2(void** h) { return ((int (*)(void**))of("cublasCreate_v2"))(h); }
int cublasSetStream_v2(void* h, void* s) { return ((int (*)(void*, void*))of("cublasSetStream_v2"))(h, s); }
int cublasGemmEx(void* h, int ta, int tb, int m, int n, int k, const void* al, const void* a, int xa, int la, const void* b,
                 int xb, int lb, const void* be, void* c, int xc, int lc, int t, int g) {
  return ((int (*)(void*, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int, const void*,
                   void*, int, int, int, int))of("cublasGemmEx"))(h, ta, tb, m, n, k, al, a, xa, la, b, xb, lb, be, c, xc,
                                                                  lc, t, g);
}
int cublasGemmStridedBatchedEx(void) { return 14; }
"""


@needs_compiler
def test_it_is_missing(tmp_path):
    """A cuBLAS without it: the stand-in's, less these functions."""
    (whole,) = (ROOT / "pydiff").glob("_cuda_host*.so")
    source, library = tmp_path / "without.c", tmp_path / "libwithout.so"
    source.write_text(WITHOUT)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    paths = {"PYDIFF_CUDA_DRIVER": str(whole), "PYDIFF_NVRTC": str(whole)}
    assert run("cuda", PYDIFF_CUBLAS=str(library), WHOLE_LIBRARY=str(whole), **paths) == ["0", "1"]
    assert run("cuda", PYDIFF_CUBLAS=str(whole), **paths) == ["1", "0"]
