"""Rows of pydiff/fallback are written against NumPy's interface as far as CuPy has it; no GPU is needed to see that.

Names and keywords are compared with CuPy where it can be imported. What CuPy refuses when it is called, NumPy is made
to refuse here, so that each row runs the way it runs on a GPU and is compared with NumPy's own answer.
"""

import ast
import contextlib
import inspect
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

pd = pytest.importorskip("pydiff")

FALLBACK = Path(pd.fallback.__file__).parent
FILES = sorted(p for p in FALLBACK.glob("*.py") if p.name not in ("__init__.py", "_arrays.py", "_rows.py"))


# ---- what the rows use of `xp`


def chain_of(node):
    """xp.linalg.solve -> "linalg.solve"; None for what does not begin with xp."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed(parts)) if parts and isinstance(node, ast.Name) and node.id == "xp" else None


def uses(source):
    """Names that `source` takes from xp, and its calls of them: (name, number of arguments, keywords)."""
    tree = ast.parse(source)
    whole = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    names = {chain_of(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute) and id(n) not in whole} - {None}
    calls = {
        (chain_of(n.func), len(n.args), tuple(sorted(k.arg for k in n.keywords)))
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and chain_of(n.func)
    }
    return names, calls


NAMES, CALLS = (set().union(*parts) for parts in zip(*(uses(path.read_text()) for path in FILES)))


def member(module, name):
    for part in name.split("."):
        module = getattr(module, part)
    return module


@pytest.fixture(scope="module")
def cupy():
    return pytest.importorskip("cupy", exc_type=ImportError)


def test_the_rows_are_read():
    assert {"argsort", "linalg.solve", "linalg.LinAlgError", "searchsorted"} <= NAMES
    assert ("argsort", 1, ("axis", "kind")) in CALLS and len(CALLS) > 12


def test_numpy_has_every_name():
    for name in NAMES:
        member(np, name)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_cupy_has_every_name(cupy, name):
    member(cupy, name)


@pytest.mark.parametrize("name, count, keywords", sorted(CALLS), ids=str)
def test_cupy_takes_the_arguments(cupy, name, count, keywords):
    function = member(cupy, name)
    if isinstance(function, cupy.ufunc):
        assert set(keywords) <= {"out", "dtype", "casting"}, f"{name} takes no {keywords}"
    else:
        inspect.signature(function).bind(*range(count), **dict.fromkeys(keywords))


def test_no_row_uses_what_cupy_refuses_when_called():
    methods = [n for n in NAMES if n.rpartition(".")[2] in ("accumulate", "reduce", "reduceat", "outer", "at")]
    assert not methods, f"a ufunc of CuPy has no {methods}"


# ---- NumPy that refuses what CuPy refuses


def lexsort(keys):
    assert isinstance(keys, np.ndarray) and keys.ndim == 2 and len(keys), "CuPy sorts by the rows of one array"
    return np.lexsort(keys)


def unique(ar, return_index=False, return_inverse=False, return_counts=False, axis=None, *, equal_nan=True):
    assert axis is None, "CuPy compares two parts at a time"
    return np.unique(ar, return_index, return_inverse, return_counts, equal_nan=equal_nan)


def argsort(a, axis=-1, kind=None):
    assert kind in (None, "stable") and a.size
    return np.argsort(a, axis=axis, kind="stable")


def solve(a, b):
    assert a.shape[:-1] == b.shape[:-1] and a.ndim == b.ndim and b.size, "CuPy broadcasts no batches"
    return np.linalg.solve(a, b)


def maximum(a, b):
    return np.maximum(a, b)


class CuPyLike(types.ModuleType):
    lexsort, unique, argsort, maximum = map(staticmethod, (lexsort, unique, argsort, maximum))
    linalg = types.SimpleNamespace(**{**vars(np.linalg), "solve": solve})
    __getattr__ = staticmethod(lambda name: getattr(np, name))


XP = CuPyLike("cupy_like")
ROWS = {name: row.forward for name, row in pd.fallback.rows().items()}


def same(row, *operands, **options):
    """What the row gives on NumPy and on what CuPy has is equal, dtypes and shapes too."""
    theirs = ROWS[row](np, *operands, **options)
    ours = ROWS[row](XP, *operands, **options)
    pairs = zip(ours, theirs, strict=True) if isinstance(theirs, tuple) else [(ours, theirs)]
    for a, b in pairs:
        assert np.shape(a) == np.shape(b) and a.dtype == b.dtype, (row, options)
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def samples(rng):
    whole = rng.integers(-2, 3, (5, 4, 3))
    holes = whole.astype(np.float64)
    holes[holes == 2] = np.nan
    return [whole, whole > 0, holes, holes.astype(np.float32), whole[:0], whole[:, :0], whole[:, :1]]


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_rows_along_an_axis(samples, dim):
    for x in samples:
        same("cummax_indices", x, dim=dim)
        for descending in (False, True):
            same("argsort", x, dim=dim, descending=descending)
        if not np.isnan(x).any():  # of parts with NaN, NumPy's order is that of a comparison which is always false
            same("unique", x, axis=dim)


def test_unique_keeps_parts_with_nan_apart():
    x = np.array([[1.0, np.nan], [0.0, 2.0], [1.0, np.nan]])
    values, inverse, counts = ROWS["unique"](XP, x, axis=0)
    np.testing.assert_array_equal(values, [[0.0, 2.0], [1.0, np.nan], [1.0, np.nan]])
    assert inverse.tolist() == [1, 0, 2] and counts.tolist() == [1, 1, 1]


def test_rows_over_all_elements(samples):
    for x in samples:
        same("unique", x, axis=None)
    for right in (False, True):
        same("searchsorted", np.array([1.0, 2.0, 2.0]), np.array([0.0, 2.0, 5.0]), right=right)
    same("argsort", np.array(3.0), dim=0, descending=True)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9, 100])
def test_running_maximum_by_doubling(rng, length):
    x = rng.standard_normal((3, length)).astype(np.float32)
    x[0, length // 2] = np.nan
    same("cummax_indices", x, dim=1)
    expected = [max(range(j + 1), key=lambda k: (np.isnan(x[0, k]), x[0, k], k)) for j in range(length // 2 + 1)]
    assert ROWS["cummax_indices"](XP, x, dim=1)[0, : length // 2 + 1].tolist() == expected


def test_solve_broadcasts(rng):
    a, b = rng.standard_normal((3, 1, 2, 2)) + 3 * np.eye(2), rng.standard_normal((4, 2, 5))
    same("solve", a, b, vector=False)
    np.testing.assert_array_equal(ROWS["solve"](XP, a, b, vector=False), np.linalg.solve(a, b))
    same("solve", a[0, 0], b[0, :, 0], vector=True)
    same("solve", a[:, 0], b[:3, :, 0], vector=True)
    same("solve", a[0, 0].astype(np.float32), b[0, :, :0], vector=False)


# ---- tensors, arrays, tensors


def test_a_gpu_without_cupy_says_what_to_do(monkeypatch):
    from pydiff.fallback import _arrays

    monkeypatch.setattr(_arrays._C, "cuda_properties", lambda index: {"name": "a GPU"})
    monkeypatch.setattr(_arrays._C, "cuda_report", lambda: [("driver", "CUDA 12.4, libcuda.so.1")])
    monkeypatch.setitem(sys.modules, "cupy", None)  # the import fails
    gpu = types.SimpleNamespace(type="cuda", index=0)
    with pytest.raises(RuntimeError, match=r"\[sort\] CuPy computes it .*'pydiff-tensor\[cuda12\]', or \.cpu\(\)"):
        _arrays.arrays_for(gpu, "sort")
    assert _arrays.arrays_for(pd.device("cpu"), "sort").xp is np


def test_cupy_that_does_not_load_says_why(monkeypatch, tmp_path):
    from pydiff.fallback import _arrays

    (tmp_path / "cupy.py").write_text("raise OSError('libcudart.so.13 is from elsewhere')\n")
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert _arrays.find_cupy() == (None, "a CuPy that does not load (libcudart.so.13 is from elsewhere)")


@pytest.mark.parametrize("kind", ["default", "from_external", "ExternalStream"])
def test_cupy_runs_on_the_device_and_stream_of_the_tensors(monkeypatch, kind):
    """Beginning, end and order of what surrounds a row, seen by a module in CuPy's place."""
    from pydiff.fallback import _arrays

    seen = []

    @contextlib.contextmanager
    def scope(*what):
        seen.append(what)
        yield
        seen.append(("end", *what))

    def asarray(result, order):
        return np.asarray(result, order=order)

    stream = types.SimpleNamespace(null=scope("stream", 0))
    cuda = types.SimpleNamespace(Device=lambda i: scope("device", i), Stream=stream)
    if kind == "from_external":  # CuPy 14
        stream.from_external = lambda s: scope("stream", s.__cuda_stream__()[1])
    else:
        cuda.ExternalStream = lambda handle, index: scope("stream", handle)
    handle = 0 if kind == "default" else 4096
    monkeypatch.setattr(_arrays._C, "cuda_enter_stream", lambda index: handle)
    told = types.SimpleNamespace(__cuda_stream__=lambda: (0, handle))
    monkeypatch.setattr(_arrays, "current_stream", lambda index: told)
    fake = types.SimpleNamespace(cuda=cuda, from_dlpack=np.from_dlpack, asarray=asarray)
    errors = types.SimpleNamespace(errstate=lambda **options: scope(options))
    monkeypatch.setitem(sys.modules, "cupyx", errors)
    arrays = _arrays.CuPyArrays(fake, types.SimpleNamespace(type="cuda", index=1))
    x = pd.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    with arrays.running():
        array = arrays.array(x)
        result = arrays.tensor(array.T)
    order = [("device", 1), ("stream", handle), ({"linalg": "raise"},)]
    assert seen == order + [("end", *what) for what in reversed(order)]
    assert result.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert array.__array_interface__["data"][0] == x.detach().numpy().__array_interface__["data"][0]  # no copy


# ---- memory


def test_cupy_has_what_streams_and_memory_need(cupy):
    """The allocator of a user who chose none is found to be CuPy's own, and one made of two functions can take its place."""
    assert cupy.cuda.get_allocator() == cupy.get_default_memory_pool().malloc
    ours = cupy.cuda.PythonFunctionAllocator(lambda size, device: 0, lambda address, device: None)
    cupy.cuda.set_allocator(ours.malloc)
    assert cupy.cuda.get_allocator() == ours.malloc
    cupy.cuda.set_allocator(cupy.get_default_memory_pool().malloc)
    assert cupy.cuda.Stream.null.ptr == 0 and callable(cupy.cuda.get_current_stream)
    assert hasattr(cupy.cuda.Stream, "from_external") or hasattr(cupy.cuda, "ExternalStream")


def test_cupy_streams_have_the_protocol(cupy):
    if not hasattr(cupy.cuda.Stream, "__cuda_stream__"):
        pytest.skip("CuPy before 14")
    version, handle = cupy.cuda.Stream.null.__cuda_stream__()
    assert version == 0 and handle in (0, 1)


class AllocatorOf:
    """cupy.cuda.PythonFunctionAllocator, as its documentation has it."""

    def __init__(self, malloc, free):
        self.functions = malloc, free

    def malloc(self, size):
        return self.functions[0](size, 0)


class CuPyMemory(types.SimpleNamespace):
    """The part of CuPy that chooses allocators."""

    def __init__(self):
        pool = types.SimpleNamespace(malloc=lambda size: "CuPy's")
        cuda = types.SimpleNamespace(
            PythonFunctionAllocator=AllocatorOf,
            get_current_stream=lambda: types.SimpleNamespace(ptr=self.stream),
            get_allocator=lambda: self.allocator,
            set_allocator=lambda f: setattr(self, "allocator", f),
        )
        super().__init__(cuda=cuda, get_default_memory_pool=lambda: pool, allocator=pool.malloc, stream=0)


@pytest.fixture
def pool(monkeypatch):
    from pydiff.fallback import _arrays, _pool

    monkeypatch.setattr(_pool, "_wish", None)
    monkeypatch.setattr(_pool, "_ours", None)
    fake = CuPyMemory()
    monkeypatch.setattr(_arrays, "find_cupy", lambda: (fake, ""))
    return fake


def test_cupy_is_given_the_pool_once_a_row_runs(pool, monkeypatch):
    from pydiff.fallback import _arrays

    monkeypatch.setattr(_arrays._C, "cuda_properties", lambda index: {"name": "a GPU"})
    before = pool.allocator
    arrays = _arrays.arrays_for(types.SimpleNamespace(type="cuda", index=0), "sort")
    assert arrays.xp is pool and pool.allocator != before
    ours = pool.allocator
    _arrays.arrays_for(types.SimpleNamespace(type="cuda", index=0), "sort")
    assert pool.allocator == ours
    assert pd.cuda.share_memory_with_cupy(False) is False and pool.allocator == before
    _arrays.arrays_for(types.SimpleNamespace(type="cuda", index=0), "sort")
    assert pool.allocator == before  # the user said no
    assert pd.cuda.share_memory_with_cupy() is True and pool.allocator == ours


def test_an_allocator_of_the_user_stays(pool, monkeypatch):
    from pydiff.fallback import _arrays

    monkeypatch.setattr(_arrays._C, "cuda_properties", lambda index: {"name": "a GPU"})
    pool.allocator = chosen = lambda size: "the user's"
    _arrays.arrays_for(types.SimpleNamespace(type="cuda", index=0), "sort")
    assert pool.allocator is chosen
    assert pd.cuda.share_memory_with_cupy(False) is False and pool.allocator is chosen
    assert pd.cuda.share_memory_with_cupy(True) is True and pool.allocator is not chosen  # asked for


SHARED_POOL = """
import types
import numpy as np
import pydiff as pd
from pydiff import cuda
from pydiff.fallback import _pool
pd.device("cuda-host")
pd.zeros(1, device="cuda").item()
now = types.SimpleNamespace(ptr=0)
blocks = _pool.Blocks(lambda: now)
before = cuda.memory_allocated()
at = blocks.malloc(1000, 0)
assert cuda.memory_allocated() - before == 1024
s = cuda.Stream()
now = types.SimpleNamespace(ptr=s.cuda_stream)
other = blocks.malloc(4096, 0)
now = types.SimpleNamespace(ptr=2)
third = blocks.malloc(1, 0)
assert len({at, other, third}) == 3 and cuda.memory_allocated() - before == 1024 + 4096 + 512
for address in (other, at, third):
    blocks.free(address, 0)
cuda.synchronize()
assert cuda.memory_allocated() == before and not blocks.live
try:
    blocks.malloc(1 << 50, 0)
except MemoryError as error:
    assert "out of memory on cuda:0" in str(error), error
else:
    raise AssertionError("so much memory there is not")
"""


def test_blocks_for_cupy_come_from_the_pool():
    run = subprocess.run([sys.executable, "-c", SHARED_POOL], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


ON_THE_STAND_IN = """
import pydiff as pd
x = pd.tensor([[3.0, 1.0], [1.0, 2.0]], device="cuda-host", requires_grad=True)
values, indices = pd.sort(x, dim=1)
assert values.device == indices.device == pd.device("cuda:0"), (values.device, indices.device)
assert indices.tolist() == [[1, 0], [0, 1]]
y = pd.linalg.solve(x, x[0])
assert y.device.type == "cuda"
y.sum().backward()
assert x.grad.device.type == "cuda"
assert pd.searchsorted(x.detach()[1], [1.5]).tolist() == [1]
try:
    pd.searchsorted(x.detach()[1], pd.ones(1, device="cpu"))
except ValueError as error:
    assert "cuda:0 and cpu" in str(error), error
else:
    raise AssertionError("operands on two devices went through")
"""


def test_numpy_stands_in_for_cupy():
    run = subprocess.run([sys.executable, "-c", ON_THE_STAND_IN], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
