"""Compiled loop programs against a scalar evaluator, bit for bit; the compile service and its caches.

The driver makes random programs, prints them as LLVM IR and evaluates them by the primitives of
``scalar.h``; the IR is compiled by ``pydiff/_llvm.py``, loaded by its path so that no extension is needed.
"""

import ctypes
import importlib.util
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

if importlib.util.find_spec("llvmlite") is None:
    pytest.skip("needs llvmlite", allow_module_level=True)

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CSRC = ROOT / "csrc"
SOURCES = [
    HERE / "llvm_driver.cpp",
    CSRC / "fuse/kernel_cache.cpp",
    CSRC / "fuse/llvm.cpp",
    CSRC / "fuse/llvm_body.cpp",
    CSRC / "fuse/llvm_expr.cpp",
    CSRC / "fuse/stages.cpp",
    CSRC / "ops/exprs.cpp",
    CSRC / "ops/isa.cpp",
]
FLAGS = ["-std=c++17", "-O1", "-fPIC", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-pthread"]
if platform.machine() in ("x86_64", "AMD64"):
    FLAGS.append("-march=native")  # else every fma of the evaluator is a call

FLOAT32, FLOAT64 = 11, 12
# major sizes, minor sizes: R, C
ROWS = [(0, 5), (2, 0), (2, 1), (3, 5), (5, 15), (2, 16), (2, 17), (2, 1000), (1, 1024), (1, 1025), (1, 5000), (3, 130)]
COLUMNS = [(0, 5), (1, 1), (5, 5), (16, 16), (17, 17), (33, 70), (1000, 3), (1025, 17), (5000, 2), (3, 130)]
RANDOM_ROWS, RANDOM_COLUMNS, SPLIT_ROWS, SPLIT_COLUMNS = range(4)
NAMED = {
    "softmax": 4,
    "softmax_columns": 5,
    "layer_norm": 6,
    "layer_norm_columns": 7,
    "gelu": 8,
    "sum": 9,
    "sum_columns": 10,
    "add": 11,
}


def load_jit():
    spec = importlib.util.spec_from_file_location("pydiff_jit_under_test", ROOT / "pydiff" / "_llvm.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


jit = load_jit()

SIGNATURES = {
    "make_case": (ctypes.c_void_p, [ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_int]),
    "free_case": (None, [ctypes.c_void_p]),
    "case_name": (ctypes.c_char_p, [ctypes.c_void_p]),
    "case_ir": (ctypes.c_char_p, [ctypes.c_void_p]),
    "case_error": (ctypes.c_char_p, [ctypes.c_void_p]),
    "run_case": (
        ctypes.c_char_p,
        [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint64, ctypes.c_int],
    ),
    "jit_take": (ctypes.c_void_p, []),
    "job_id": (ctypes.c_uint64, [ctypes.c_void_p]),
    "job_name": (ctypes.c_char_p, [ctypes.c_void_p]),
    "job_ir": (ctypes.c_char_p, [ctypes.c_void_p]),
    "job_error": (ctypes.c_char_p, [ctypes.c_void_p]),
    "free_job": (None, [ctypes.c_void_p]),
    "jit_finish": (None, [ctypes.c_uint64, ctypes.c_void_p]),
    "hold_kernel": (ctypes.c_void_p, [ctypes.c_void_p]),
    "drop_kernel": (None, [ctypes.c_void_p]),
    "use_kernel": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int64]),
    "kernel_name": (ctypes.c_char_p, [ctypes.c_void_p]),
    "kernel_state": (ctypes.c_int, [ctypes.c_void_p]),
    "kernel_count": (ctypes.c_int64, []),
    "set_kernel_limit": (None, [ctypes.c_int64]),
    "broken_case": (ctypes.c_void_p, []),
}
START_HOOK = ctypes.CFUNCTYPE(ctypes.c_bool)
NOW_HOOK = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p)


@pytest.fixture(scope="module")
def shared_object(tmp_path_factory):
    compiler = os.environ.get("CXX", "g++")
    if not shutil.which(compiler):
        pytest.skip(f"no C++ compiler {compiler!r}")
    build = tmp_path_factory.mktemp("llvm")

    def compile_one(source):
        target = build / (source.stem + ".o")
        subprocess.run([compiler, *FLAGS, "-I", str(CSRC), "-c", str(source), "-o", str(target)], check=True)
        return str(target)

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, SOURCES))
    shared = build / "llvm.so"
    subprocess.run([compiler, "-shared", "-pthread", *objects, "-o", str(shared)], check=True)
    return shared


def open_driver(path):
    lib = ctypes.CDLL(str(path))
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    lib.jit_set.argtypes = [ctypes.c_int, START_HOOK, NOW_HOOK]
    return lib


@pytest.fixture(scope="module")
def lib(shared_object):
    return open_driver(shared_object)


@pytest.fixture(scope="module")
def compiler():
    return jit.Compiler()


class Case:
    """One program of the driver, with its IR."""

    def __init__(self, lib, kind, seed=0, length=0, dtype=FLOAT32):
        self.lib = lib
        self.handle = lib.make_case(kind, seed, length, dtype)
        error = lib.case_error(self.handle)
        assert not error, error.decode()
        self.name = lib.case_name(self.handle).decode()
        self.ir = lib.case_ir(self.handle).decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lib.free_case(self.handle)

    def check(self, address, sizes, seed):
        for r, c in sizes:
            for alias in (0, 1):
                report = self.lib.run_case(self.handle, address, r, c, seed, alias).decode()
                assert not report, f"{self.name}, R={r}, C={c}, alias={alias}: {report}"


# ---- bits


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", NAMED)
def test_known_programs(lib, compiler, name, dtype):
    with Case(lib, NAMED[name], dtype=dtype) as case:
        address = compiler.compile(case.name, case.ir)
        case.check(address, COLUMNS if name.endswith("columns") else ROWS, 1)


@pytest.mark.parametrize("kind", [RANDOM_ROWS, RANDOM_COLUMNS, SPLIT_ROWS, SPLIT_COLUMNS])
def test_random_programs(lib, compiler, nightly, seed, kind):
    for k in range(seed * 10000, seed * 10000 + (1000 if nightly else 40)):
        with Case(lib, kind, k, 4 + k % 17) as case:
            case.check(compiler.compile(case.name, case.ir), COLUMNS if kind % 2 else ROWS, k)


def test_large_programs(lib, compiler):
    for kind in (RANDOM_ROWS, RANDOM_COLUMNS):
        with Case(lib, kind, 3, 150) as case:
            case.check(compiler.compile(case.name, case.ir), [(3, 5), (17, 33)], 3)


def test_a_wrong_kernel_is_noticed(lib, compiler):
    with Case(lib, NAMED["layer_norm"]) as case:
        wrong = case.ir.replace(case.name, "wrong").replace(" fadd ", " fsub ", 1)
        report = lib.run_case(case.handle, compiler.compile("wrong", wrong), 2, 33, 1, 0)
        assert report.startswith(b"arg")


def test_random_programs_reach_what_matters(lib):
    """Spilling, reading back an output, masks, block trees, repeated bodies, short rows, guarded division."""
    wanted = {
        "icmp eq i64 %full, 0",
        "%scratch, i64",
        "masked.load",
        "define internal",
        "and i64 %C, -64",
        "sdiv",
        "fptosi",
        "<16 x i1>",
    }
    seen = set()
    for k in range(80):
        with Case(lib, k % 2, k, 4 + k % 17) as case:
            seen |= {text for text in wanted if text in case.ir}
    assert seen == wanted


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names x86 processors")
@pytest.mark.parametrize("cpu", ["haswell", "x86-64"])
def test_other_instruction_sets_give_the_same_bits(lib, cpu):
    """No 512-bit vectors, no masked memory; of x86-64 no fma either, which is then a call."""
    if cpu == "haswell" and "avx2" not in pathlib.Path("/proc/cpuinfo").read_text():
        pytest.skip("no AVX2 here")
    other = jit.Compiler(cpu=cpu, features="")
    for name in ("softmax", "softmax_columns", "layer_norm"):
        with Case(lib, NAMED[name]) as case:
            case.check(other.compile(case.name, case.ir), [(2, 17), (3, 130)], 5)
    for k in range(20):
        with Case(lib, k % 2, 100 + k, 4 + k % 17) as case:
            case.check(other.compile(case.name, case.ir), [(2, 17), (3, 130), (1, 1025)], k)


# ---- the disk cache


def test_disk_cache_round_trip(tmp_path):
    cache = jit.DiskCache(str(tmp_path / "kernels"))
    assert cache.get("a") is None
    cache.put("a", b"object")
    assert cache.get("a") == b"object"
    assert [p.suffix for p in (tmp_path / "kernels").iterdir()] == [".o"]


@pytest.mark.parametrize("damage", [lambda b: b[:20], lambda b: b[:-1], lambda b: b"", lambda b: b[:-1] + b"?"])
def test_damaged_file_is_compiled_again(lib, tmp_path, damage):
    with Case(lib, NAMED["add"]) as case:
        first = jit.Compiler(jit.DiskCache(str(tmp_path)))
        first.compile(case.name, case.ir)
        (path,) = tmp_path.iterdir()
        good = path.read_bytes()
        path.write_bytes(damage(good))
        second = jit.Compiler(jit.DiskCache(str(tmp_path)))
        case.check(second.compile(case.name, case.ir), ROWS, 2)
        assert path.read_bytes() == good


def test_cached_object_is_used(lib, tmp_path, monkeypatch):
    with Case(lib, NAMED["softmax"]) as case:
        jit.Compiler(jit.DiskCache(str(tmp_path))).compile(case.name, case.ir)
        other = jit.Compiler(jit.DiskCache(str(tmp_path)))
        monkeypatch.setattr(other._llvm, "parse_assembly", lambda ir: pytest.fail("compiled although cached"))
        case.check(other.compile(case.name, case.ir), ROWS, 3)


def test_disk_cache_is_bounded(tmp_path):
    cache = jit.DiskCache(str(tmp_path), limit=10_000)
    for k in range(40):
        cache.put(f"k{k}", bytes(1000))
        os.utime(tmp_path / f"k{k}.o", (k, k))
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 11_100
    assert cache.get("k39") and cache.get("k0") is None


def test_unwritable_folder_is_tolerated(lib, tmp_path, monkeypatch, capsys):
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("PYDIFF_CACHE_DIR", str(blocker))
    monkeypatch.setenv("PYDIFF_DEBUG", "1")
    fresh = jit.Compiler(jit.DiskCache.from_environment())
    for name in ("add", "sum"):
        with Case(lib, NAMED[name]) as case:
            case.check(fresh.compile(case.name, case.ir), [(2, 17)], 1)
    lines = [line for line in capsys.readouterr().err.splitlines() if "kernel cache" in line]
    assert len(lines) == 1 and str(blocker) in lines[0]


def test_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    cache = jit.DiskCache(str(tmp_path))

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jit.os, "replace", full)
    cache.put("a", b"object")
    assert not list(tmp_path.iterdir())


def test_empty_cache_dir_means_none(monkeypatch):
    monkeypatch.setenv("PYDIFF_CACHE_DIR", "")
    assert jit.DiskCache.from_environment() is None


def test_two_programs_of_one_name(compiler):
    text = "define i64 @{0}() {{ ret i64 {1} }}"
    found = [compiler.compile("same_name", text.format("same_name", k)) for k in (1, 2, 1)]
    values = [ctypes.CFUNCTYPE(ctypes.c_int64)(address)() for address in found]
    assert values == [1, 2, 1] and found[0] == found[2]


def test_unknown_mode_is_an_error(monkeypatch):
    monkeypatch.setenv("PYDIFF_JIT", "sometimes")
    with pytest.raises(ValueError, match="PYDIFF_JIT.*sometimes.*background"):
        jit.mode()


# ---- the service


class Core:
    """The driver's kernel cache behind the interface that csrc/python binds."""

    def __init__(self, lib):
        self.lib = lib
        self.mode = None

    def set_jit(self, mode, start, compile_now):
        self.mode = mode
        self.hooks = (
            START_HOOK(start),
            NOW_HOOK(lambda name, ir, error: compile_now(name.decode(), ir.decode(), error.decode())),
        )
        self.lib.jit_set(jit.MODES.index(mode), *self.hooks)

    def jit_take(self):
        job = self.lib.jit_take()
        if not job:
            return None
        parts = [f(job).decode() for f in (self.lib.job_name, self.lib.job_ir, self.lib.job_error)]
        answer = (self.lib.job_id(job), *parts)
        self.lib.free_job(job)
        return answer

    def jit_finish(self, ticket, address):
        self.lib.jit_finish(ticket, address or None)

    def jit_stop(self):
        self.lib.jit_stop()

    def jit_after_fork(self):
        self.lib.jit_after_fork()


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def run_script(shared_object, body, **environment):
    """Runs `body` in a fresh interpreter, with `lib`, `core`, `service` and `test` (this module) at hand."""
    script = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("test", {str(HERE / "test_llvm.py")!r})
test = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test)
lib = test.open_driver({str(shared_object)!r})
core = test.Core(lib)
service = test.jit.install(core)
assert "llvmlite" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script + body],
        env={**os.environ, "PYDIFF_CACHE_DIR": "", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


BACKGROUND = """
with test.Case(lib, test.NAMED["softmax"]) as case:
    kernel = lib.hold_kernel(case.handle)
    assert lib.hold_kernel(case.handle) == kernel
    assert not lib.use_kernel(kernel, 1)          # a first small use is interpreted
    assert not lib.use_kernel(kernel, 1)
    assert service._thread is None
    lib.use_kernel(kernel, 1)
    test.wait_for(lambda: lib.use_kernel(kernel, 1))
    case.check(lib.use_kernel(kernel, 1), test.ROWS, 1)
"""


def test_background_compiles_after_a_few_uses(shared_object):
    run_script(shared_object, BACKGROUND)


def test_much_data_compiles_at_first_sight(shared_object):
    run_script(
        shared_object,
        """
with test.Case(lib, test.NAMED["add"]) as case:
    kernel = lib.hold_kernel(case.handle)
    lib.use_kernel(kernel, 10**7)
    assert service._thread is not None
    test.wait_for(lambda: lib.kernel_state(kernel) == 3)
""",
    )


def test_blocking_compiles_before_the_first_use(shared_object):
    run_script(
        shared_object,
        """
with test.Case(lib, test.NAMED["add"]) as case:
    address = lib.use_kernel(lib.hold_kernel(case.handle), 1)
    assert address and service._thread is None
    case.check(address, test.ROWS, 1)
""",
        PYDIFF_JIT="blocking",
    )


def test_off_never_compiles(shared_object):
    run_script(
        shared_object,
        """
with test.Case(lib, test.NAMED["add"]) as case:
    kernel = lib.hold_kernel(case.handle)
    assert not any(lib.use_kernel(kernel, 10**9) for _ in range(10))
    assert service._thread is None and service._compiler is None
""",
        PYDIFF_JIT="off",
    )


def test_without_llvmlite_the_interpreter_stays(shared_object):
    done = run_script(
        shared_object,
        """
sys.modules["llvmlite"] = None  # import fails
with test.Case(lib, test.NAMED["add"]) as case:
    kernel = lib.hold_kernel(case.handle)
    lib.use_kernel(kernel, 10**9)
    test.wait_for(lambda: lib.kernel_state(kernel) == 4)
    assert not lib.use_kernel(kernel, 1)
""",
    )
    assert not done.stderr


def test_failing_compile_warns_once(lib, monkeypatch):
    service = jit.Service(Core(lib))
    broken = Case.__new__(Case)
    broken.handle = lib.broken_case()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert service.compile_now("bad_kernel", "define void @bad_kernel( {", "") == 0
        assert service.compile_now("bad_kernel", "define void @bad_kernel( {", "") == 0
        service._core.set_jit("blocking", service.start, service.compile_now)
        kernel = lib.hold_kernel(broken.handle)
        assert not lib.use_kernel(kernel, 1) and not lib.use_kernel(kernel, 1)
        service._core.set_jit("off", service.start, service.compile_now)
    assert [w.category for w in seen] == [RuntimeWarning] * 2
    assert "bad_kernel" in str(seen[0].message)
    assert lib.kernel_name(kernel).decode() in str(seen[1].message) and "pow" in str(seen[1].message)


def test_kernels_that_nobody_holds_are_dropped(lib):
    cases = [Case(lib, RANDOM_ROWS, 500 + k, 5) for k in range(12)]
    lib.set_kernel_limit(4)
    try:
        held = [lib.hold_kernel(case.handle) for case in cases]
        assert lib.kernel_count() >= 12
        for kernel in held[1:]:
            lib.drop_kernel(kernel)
        assert lib.hold_kernel(cases[0].handle) == held[0]
        last = Case(lib, RANDOM_ROWS, 600, 5)
        lib.hold_kernel(last.handle)
        assert lib.kernel_count() <= 5
        assert lib.hold_kernel(cases[0].handle) == held[0]
    finally:
        lib.set_kernel_limit(4096)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_while_compiling(shared_object):
    """A child compiles again with a thread of its own, whatever the parent's was at."""
    done = run_script(
        shared_object,
        """
import os
cases = [test.Case(lib, k % 2, 700 + k, 12) for k in range(8)]
kernels = [lib.hold_kernel(case.handle) for case in cases]
for kernel in kernels:
    lib.use_kernel(kernel, 10**9)
child = os.fork()
for kernel in kernels:
    test.wait_for(lambda: lib.use_kernel(kernel, 10**9))
for k, case in enumerate(cases):
    case.check(lib.use_kernel(kernels[k], 1), [(17, 33)], 1)
if child:
    assert os.waitpid(child, 0)[1] == 0
""",
    )
    assert "Error" not in done.stderr


def test_exit_while_compiling(shared_object):
    """The interpreter ends at once and quietly, with work still queued."""
    done = run_script(
        shared_object,
        """
cases = [test.Case(lib, k % 2, 800 + k, 40) for k in range(40)]
for case in cases:
    lib.use_kernel(lib.hold_kernel(case.handle), 10**9)
""",
    )
    assert not done.stderr


def test_many_threads_ask_at_once(shared_object):
    run_script(
        shared_object,
        """
import threading
cases = [test.Case(lib, k % 2, 900 + k, 8) for k in range(6)]
def work():
    for _ in range(50):
        for case in cases:
            kernel = lib.hold_kernel(case.handle)
            lib.use_kernel(kernel, 10**6)
            lib.drop_kernel(kernel)
threads = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
for case in cases:
    kernel = lib.hold_kernel(case.handle)
    test.wait_for(lambda: lib.use_kernel(kernel, 1))
""",
    )
