"""The CUDA C++ of fused and native kernels compiles for the architectures that matter, and spills no register.

No GPU is needed: NVRTC compiles to machine code. Where it is not installed, these tests are skipped; what the kernels
compute is tested on the stand-in (`pytest --device cuda-host`).
"""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import pydiff as pd
from pydiff import _C, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "device"))
from oracle import differentiable, function_of, rows, sample, types_of  # noqa: E402

SAMPLE = ("sm_80", "sm_100", "sm_120")
TOGETHER = 40  # kernels of one compilation


def nvrtc():
    try:
        return bool(_C.cuda_compile("PD_KERNEL empty() {}", "sm_90a")[0])
    except RuntimeError:
        return False


pytestmark = pytest.mark.skipif(not nvrtc(), reason="no NVRTC: pip install nvidia-cuda-nvrtc")


def kernels(*tensors):
    return _C.cuda_texts([t for t in tensors if t is not None])


def of_row(row, dtype, rng):
    """A row's value and its gradients."""
    operands = [pd.tensor(o) for o in sample(row, rng, (6, 50), dtype)]
    yes = [o.dtype.is_floating_point and d for o, d in zip(operands, differentiable(row))]
    for o, d in zip(operands, yes):
        o.requires_grad_(d)
    result = function_of(row)(*operands)
    texts = kernels(result)
    if any(yes) and result.requires_grad:
        wanted = [o for o, d in zip(operands, yes) if d]
        texts += kernels(*pd.autograd.grad(result, wanted, pd.ones_like(result), allow_unused=True))
    return texts


def softmax(x):
    e = pd.exp(x - x.amax(-1, keepdim=True))
    return e / e.sum(-1, keepdim=True)


def normalised(x, dim):
    return (x - x.mean(dim, keepdim=True)) * pd.rsqrt(x.var(dim, keepdim=True) + 1e-5)


def patterns(dtype):
    """Programs of each form: vectors, strides, bounds, indices; short, long and split rows and columns."""
    x, long, wide = pd.zeros(64, 96, dtype=dtype), pd.zeros(3, 5000, dtype=dtype), pd.zeros(3000, 40, dtype=dtype)
    yield from ([softmax(t)] for t in (x, long, wide))
    yield from ([normalised(t, d)] for t in (x, long) for d in (0, 1))
    yield [pd.log_softmax(x, 1), x.logsumexp(0)]
    yield [x.T * 2 + x.T.flip(0), x[::2, 1::3] + 1, x[:, :1] * x]
    yield [nn.functional.gelu(x) * pd.arange(96, dtype=dtype)]
    yield [x.sum(), x.amax(), x.prod(), (x > 0).all(), long.sum(1), pd.zeros(200_000, dtype=dtype).sum()]
    yield [wide.sum(0), pd.zeros(40_000, 8, dtype=dtype).amax(0), wide.reshape(30, 100, 40).sum((0, 2))]
    yield [pd.rand(1000, dtype=dtype), pd.randn(1000, dtype=dtype), pd.randint(0, 9, (10,))]
    w = pd.zeros(96, dtype=dtype, requires_grad=True)
    yield list(pd.autograd.grad((normalised(x, 1) * w).tanh().sum(), [w]))
    logits = pd.zeros(64, 96, dtype=dtype, requires_grad=True)
    loss = nn.functional.cross_entropy(logits, pd.zeros(64, dtype="int64"))
    yield [loss, *pd.autograd.grad(loss, [logits])]


def compile_all(texts, arch):
    """Compiles texts, many at a time; registers and bytes of spills of each kernel, by name."""
    found = {}
    for k in range(0, len(texts), TOGETHER):
        part = texts[k : k + TOGETHER]
        source = "".join(f"namespace n{i} {{\n{text}\n}}\n" for i, text in enumerate(part))
        image, log = _C.cuda_compile(source, arch, resources=True)
        assert image, log
        entries = re.split(r"Compiling entry function '", log)[1:]
        for entry in entries:
            name = entry.partition("'")[0]
            spills = sum(map(int, re.findall(r"(\d+) bytes spill", entry)))
            found[name] = int(re.search(r"Used (\d+) registers", entry)[1]), spills
    return found


@pytest.fixture(scope="module")
def texts(nightly):
    rng = np.random.default_rng(0)
    found = []
    for row in rows():
        types = types_of(row) if row["twin"] else []
        if not nightly and types:
            types = [types[rng.integers(len(types))]]
        for dtype in types:
            found += of_row(row, dtype, rng)
    for dtype in ("float32", "float64", "float16", "bfloat16"):
        for tensors in patterns(dtype):
            found += kernels(*tensors)
    for dtype in ("int8", "uint8", "int16", "uint16", "uint32", "uint64"):
        x = pd.zeros(64, 96, dtype=dtype)
        found += kernels((x * x + 3).float(), x.T[1:] + x.T[:-1], x.amax(0), x.sum(1))
    return list(dict.fromkeys(found))


def check(texts, arch, most_spilled=0):
    found = compile_all(texts, arch)
    names = {n for t in texts for n in re.findall(r"PD_KERNEL (?:__launch_bounds__\(\d+\) )?(\w+)", t)}
    assert names == set(found)
    spilling = {name: spills for name, (_, spills) in found.items() if spills > most_spilled}
    assert not spilling, spilling
    assert max(registers for registers, _ in found.values()) <= 255


def test_fused_kernels(texts, nightly, seed):
    assert len(texts) > 150
    check(texts if nightly else texts[seed % 3 :: 3], "sm_90a")


#: Bytes that a kernel may spill on cards that are not the one it is tuned for. There ptxas saves a few registers around the
#: slow path of a division, in kernels that use 40 of 128.
ELSEWHERE = 96


@pytest.mark.timeout(1800)  # with --nightly every kernel
@pytest.mark.parametrize("arch", SAMPLE)
def test_fused_kernels_for_other_cards(texts, arch, nightly):
    check(texts if nightly else texts[:: len(texts) // 12], arch, most_spilled=ELSEWHERE)


@pytest.mark.parametrize("arch", ["sm_90a", *SAMPLE])
def test_kernels_in_graphs(arch, nightly):
    """The same programs with their parameters in memory, of which a few wait in registers, or beside them."""
    found = dict.fromkeys(t for tensors in patterns("float32") for t in _C.cuda_texts(tensors, far=True))
    assert len(found) > 25 and not set(found) & {t for tensors in patterns("float32") for t in kernels(*tensors)}
    check(list(found) if nightly or arch == "sm_90a" else list(found)[::5], arch, most_spilled=64)


@pytest.mark.timeout(1800)  # with --nightly every kernel
@pytest.mark.parametrize("arch", ["sm_90a", *SAMPLE])
def test_native_kernels(arch, nightly, seed):
    natives = [(name, text) for name, text, only in _C.cuda_native_texts() if only in ("", arch)]
    assert len(natives) > 20
    few = natives[seed % 3 :: 3] if arch == "sm_90a" else natives[::7]
    for name, text in natives if nightly else few:
        image, log = _C.cuda_compile(text, arch, resources=True)
        assert image, f"{name}: {log}"
        spills = sum(map(int, re.findall(r"(\d+) bytes spill", log)))
        assert spills <= (0 if arch == "sm_90a" else ELSEWHERE), f"{name}: {log}"
        assert "wgmma" not in log, f"products are serialized: {name}: {log}"


def test_a_new_shape_needs_no_new_kernel():
    """Lengths of one class: the blocks of a row, and whether what waits between stages fits shared memory."""

    def f(*shape):
        x = pd.zeros(*shape)
        return set(kernels(softmax(x), x.T.sum(0), pd.tanh(x) + 1))

    assert f(64, 96) == f(32, 200) and f(64, 2500) == f(7, 2052)


def test_a_spill_would_be_seen():
    values = ", ".join(f"x{i} = p[{i} * n]" for i in range(300))
    sums = " ".join(f"p[{i} * n + 1] = x{i} * x{(i * 7 + 150) % 300};" for i in range(300))
    _, log = _C.cuda_compile(f"PD_KERNEL f(f32* p, int n) {{ volatile f32* v = p; f32 {values}; __syncthreads(); {sums} }}", "sm_90a", resources=True)
    assert re.search(r"[1-9]\d* bytes spill stores", log), log


# ---- operations of users: the kernels of the documentation, the example and the tests


def custom_sources(monkeypatch):
    from pydiff import _custom

    root = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(root / "examples"), str(root / "tests" / "device")]
    try:
        import custom_kernel
        import test_custom_op as tested
    finally:
        del sys.path[:2]
    page = re.search(r"^```python\n([^`]*custom_op.*?)^```$", (root / "docs" / "CUDA.md").read_text(), re.M | re.S)
    names = {"pd": pd}
    exec(page[1].rpartition("\ny = ")[0], names)
    sources = []  # there is no device: what would be compiled for it is written down
    monkeypatch.setattr(_custom, "make_param", lambda shape, dtype, device: _C.make_param(shape, dtype, "cpu"))
    monkeypatch.setattr(_custom._C, "custom_code", lambda *code: None)
    monkeypatch.setattr(_custom._C, "custom_kernel", lambda code, source, *launch: sources.append(source))
    matrix, row = ((3, 4), (4,))
    for dtype in (pd.float32, pd.float64):
        for op in (custom_kernel.recurrence, custom_kernel.recurrence_back):
            _custom._Call(op, pd.device("cuda"), [(matrix, dtype)] * 2, {})
        for op, attributes in ((tested.cube, {}), (tested.scan, {"reverse": True}), (names["scan"], {"reverse": False})):
            _custom._Call(op, pd.device("cuda"), [(matrix, dtype)], attributes)
    _custom._Call(tested.mix, pd.device("cuda"), [(matrix, pd.float32), (row, pd.int64)], {"scale": 2.0})
    for dtype in (pd.float16, pd.bfloat16):
        for op in (tested.small_floats, tested.cube, names["scan"]):
            _custom._Call(op, pd.device("cuda"), [(matrix, dtype)], {"reverse": True} if op is names["scan"] else {})
    assert len(sources) == 17
    return sources


@pytest.mark.parametrize("arch", ["sm_90a", *SAMPLE])
def test_custom_ops(arch, monkeypatch):
    for source in custom_sources(monkeypatch):
        image, log = _C.cuda_compile(source, arch)
        assert image and not log, log + source


def test_parameters_that_do_not_fit_are_named():
    """By NVRTC, as by the stand-in (test_custom_op_errors.py)."""
    from pydiff import _custom_text

    text = 'extern "C" __global__ void f(const float* x, double* y, int n, float s) { y[0] = *x * s + n; }'
    fits = [("x", pd.float32), ("out", pd.float64)], [8, 104]
    wrong = [
        ([("x", pd.float64), ("out", pd.float64)], [8, 104], "parameter 1 of f is x, a pointer to double"),
        ([("x", pd.float32), ("out", pd.int32)], [8, 104], "parameter 2 of f is out, a pointer to int"),
        (fits[0], [8, 108], "parameter 4 of f is a number of args, double; give numpy.float32(v) for a float"),
        (fits[0], [104, 104], "parameter 3 of f is a number of args, float"),
        (fits[0], [8], "f is called with 3 arguments: float* x, double* out, an integer"),
        (fits[0][:1], [8, 104, 8], "parameter 2 of f is a number of args, an integer"),
    ]
    assert _C.cuda_compile(_custom_text.cuda_source(text, "f", "f", *fits), "sm_90a")[0]
    for pointers, scalars, said in wrong:
        image, log = _C.cuda_compile(_custom_text.cuda_source(text, "f", "f", pointers, scalars), "sm_90a")
        assert not image and said in log, log
