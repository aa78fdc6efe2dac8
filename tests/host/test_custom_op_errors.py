"""Bad input for `pydiff.custom_op`: wrong definitions, calls, rules and kernels, each with one clear outcome."""

import gc
import os
import pickle
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import pydiff as pd
from pydiff import _C

FORM = re.compile(r"^\[\w+\] .+; got .+; try .+", re.S)
KERNEL = 'extern "C" __global__ void op(const float* x, float* y, long long n) { }'
C = "void op(const float* x, float* y, long long n) { for (long long i = 0; i < n; i++) y[i] = x[i] + 1; }"


@pytest.fixture(autouse=True)
def on_the_cpu(device):
    if device != "cpu":
        pytest.skip("of the CPU; what is CUDA's runs in processes of its own")


def x(*shape, **options):
    return pd.ones(*shape, **options)


def make(**options):
    return pd.custom_op("op", **{"shape": lambda x: x, "cpu": lambda x: x + 1, **options})


def backward(op):
    op(x(2, requires_grad=True)).sum().backward()


def forward(op):
    return pd.jvp(op, (x(2),), (x(2),))


# what it is, the expression, the error, words of its text
CASES = [
    # definitions
    ("name", lambda: pd.custom_op("", shape=lambda x: x, cpu=abs), TypeError, "the name is no text; got ''"),
    ("nothing", lambda: make(cpu=None), ValueError, "nothing computes it; got neither cuda= nor cpu= nor c="),
    ("both twins", lambda: make(c=C), ValueError, "two ways to compute it on the CPU"),
    ("no text", lambda: make(cuda=" "), TypeError, "cuda is no text"),
    ("no function", lambda: make(cpu="x + 1"), TypeError, "cpu is no function; got str"),
    ("shape is none", lambda: make(shape=(3,)), TypeError, "shape is no function with a signature"),
    ("no operand", lambda: make(shape=lambda: 1), TypeError, "no operand"),
    ("keywords", lambda: make(shape=lambda x, **k: x), TypeError, "attributes need names; got **k"),
    ("batching", lambda: make(vmap="loop"), ValueError, "an unknown way to batch; got 'loop'; try 'sequential'"),
    # operands and attributes
    ("too many", lambda: make()(x(2), x(2)), TypeError, "expected 1 operand: x; got 2; try op(x)"),
    ("too few", lambda: make()(), TypeError, "expected 1 operand: x; got 0"),
    ("by name", lambda: make()(x=x(2)), TypeError, "try op(x), operands by their place"),
    ("a list", lambda: make()([1.0]), TypeError, "operand 'x' is no tensor; got list; try pydiff.tensor"),
    ("no attribute", lambda: make()(x(2), alpha=1), TypeError, "no such attribute; got alpha=1; try one of: none"),
    ("missing", lambda: make(shape=lambda x, *, k: x)(x(2)), TypeError, "attribute 'k' is missing"),
    ("a tensor", lambda: make(shape=lambda x, *, k: x)(x(2), k=x(1)), TypeError, "attribute 'k' is not static; got Tensor"),
    ("pickled", lambda: pickle.dumps(make()), TypeError, "a custom op is not pickled"),
    # rules that are called with the operation
    ("no shape", lambda: make(shape=lambda x: 3)(x(2)), TypeError, "the shape rule gives no shape and dtype; got 3"),
    ("no dtype", lambda: make(shape=lambda x: x.shape)(x(2)), TypeError, "the shape rule gives no shape and dtype; got 2"),
    ("negative", lambda: make(shape=lambda x: ((-1,), x.dtype))(x(2)), TypeError, "no shape and dtype"),
    ("value", lambda: make(shape=lambda x: (x.sum().item(), x.dtype))(x(2)), RuntimeError, "a value that is not there yet"),
    ("args", lambda: make(cpu=None, c=C, args=lambda x: "n")(x(2)), TypeError, "args gives something else than numbers; got str"),
    ("large", lambda: make(cpu=None, c=C, args=lambda x: 2**70)(x(2)), ValueError, "beyond 64 bits"),
    ("init", lambda: make(cpu=None, c=C, args=2, init=[1, 2])(x(2)), ValueError, "init has another length; got 2 for 1 results"),
    # twins
    ("no twin", lambda: make(cpu=None, cuda=KERNEL)(x(2)), RuntimeError, "it has no CPU twin; got operands on cpu for an operation with cuda; try cpu=<function"),
    ("not C", lambda: make(cpu=None, c="void op() { return 1 + ; }")(x(2)), RuntimeError, "the C function op does not compile; got"),
    ("pointer", lambda: make(cpu=None, c=C, args=2)(x(2, dtype=pd.float64)), RuntimeError, "the C function op does not compile"),
    ("count", lambda: make(cpu=None, c=C)(x(2)), RuntimeError, "too few arguments"),
    ("function", lambda: make(cpu=None, c="void other() {}")(x(2)), ValueError, "which function of the C text is to be called; got no function 'op'"),
    # derivatives and batches
    ("no vjp", lambda: backward(make()), pd.NotDifferentiableError, "not differentiable; got a backward pass; try custom_op(…, vjp=…)"),
    ("no jvp", lambda: forward(make()), pd.NotDifferentiableError, "has no forward-mode derivative"),
    ("no vmap", lambda: pd.vmap(make())(x(2, 3)), pd.NotDifferentiableError, "has no batch rule; got vmap over it; try custom_op(…, vmap='sequential'"),
    ("vjp count", lambda: backward(make(vjp=lambda i, o, g: (g[0], g[0]))), ValueError, "vjp gives one gradient for each operand; got 2 for 1"),
    ("vjp shape", lambda: backward(make(vjp=lambda i, o, g: g[0].sum())), ValueError, "gradient 0 of its vjp has another shape; got () for (2,)"),
    ("vjp type", lambda: backward(make(vjp=lambda i, o, g: "no")), (TypeError, ValueError), ""),
    ("jvp count", lambda: forward(make(jvp=lambda i, o, t: [])), ValueError, "jvp gives one tangent for each result; got 0 for 1"),
    ("vmap shape", lambda: pd.vmap(make(vmap=lambda n, b, x: x[0]))(x(2, 3)), ValueError, "result 0 of its batch rule has another shape or dtype; got float32 (3,); try float32 (2, 3)"),
]  # fmt: skip


@pytest.mark.smoke
@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_errors_at_the_line_of_the_call(case):
    _, call, kind, words = case
    pending = _C.pending()["nodes"]
    with pytest.raises(kind) as caught:
        call()
    if words:
        assert FORM.match(str(caught.value)) and words in str(caught.value), str(caught.value)
        assert "[op]" in str(caught.value) or words.startswith(("the name", "a value that")), str(caught.value)
    del caught
    gc.collect()
    assert _C.pending()["nodes"] <= pending


def test_an_error_of_a_shape_rule_says_whose_it_is():
    op = make(shape=lambda x: x.reshape(5))
    with pytest.raises(ValueError) as caught:
        op(x(2))
    assert caught.value.__notes__ == ["[op] for operands float32 (2,): raised by its shape rule"]


# ---- what only the run can find: the line that recorded it is in a note


def raised(op, *operands):
    y = op(*operands) * 2
    with pytest.raises(Exception) as caught:
        y.numpy()
    with pytest.raises(type(caught.value)):  # again, not something else
        y.numpy()
    return caught.value, caught.value.__notes__


LINE = re.compile(r"\[op\] raised by its cpu function; recorded at .*test_custom_op_errors\.py:\d+")


def test_an_exception_of_the_cpu_function():
    class Mine(Exception):
        pass

    def twin(x):
        raise Mine("of the user", 3)

    error, notes = raised(make(cpu=twin), x(2))
    assert type(error) is Mine and error.args == ("of the user", 3)
    assert len(notes) == 1 and LINE.fullmatch(notes[0]), notes


@pytest.mark.parametrize(
    "twin, kind, words",
    [
        (lambda x: x[:1], ValueError, "differs from what its shape rule says; got float32 (1,) for float32 (2,)"),
        (lambda x: x.astype(np.float64), ValueError, "got float64 (2,) for float32 (2,); try x.astype"),
        (lambda x: (x, x), ValueError, "returns another number of results; got 2; try 1 arrays"),
        (lambda x: pd.ones(2), TypeError, "result of the cpu function is no array; got Tensor"),
        (lambda x: None, ValueError, "got object ()"),
        (lambda x: pd.ones(2).sum().item(), RuntimeError, "a tensor's value is asked for while another is computed"),
        (lambda x: x.__setitem__(0, 1), ValueError, "read-only"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("pending", [False, True], ids=["leaf", "temporary"])
def test_wrong_results_of_the_cpu_function(twin, kind, words, pending):
    t = pd.tensor(np.ones(2, np.float32))
    error, notes = raised(make(cpu=twin), t + 1 if pending else t)
    assert type(error) is kind and words in str(error), error
    assert LINE.fullmatch(notes[-1]), notes


def test_work_goes_on_after_an_error():
    failing = [True]

    def twin(x):
        if failing:
            raise ValueError(failing.pop())
        return x + 1

    y = make(cpu=twin)(x(3))
    with pytest.raises(ValueError):
        y.numpy()
    assert y.tolist() == [2, 2, 2] and (x(2) + 1).tolist() == [2, 2]


@pytest.mark.parametrize("pending", [False, True], ids=["leaf", "temporary"])
def test_an_array_that_the_cpu_function_keeps_stays_as_it_was(pending):
    kept = []

    def twin(x):
        kept.append(x)
        return x + 1

    t = pd.tensor(np.arange(5000, dtype=np.float32))
    y = make(cpu=twin)(t * 2 if pending else t)
    want = np.arange(5000) * (2.0 if pending else 1.0)
    y.numpy()
    del t, y
    for k in range(5):
        (pd.full((5000,), float(k)) * 3 + 1).sin().numpy()
    np.testing.assert_array_equal(kept[0], want)


def test_ctrl_c_in_a_cpu_function():
    def twin(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(cpu=twin)(x(2)).numpy()


@pytest.mark.parametrize(
    "threads, size, sleep",
    [(0, 3, 0), (3, 50_000, 0.001), (8, 3_000_000, 0)],  # large arrays: what is copied, and by whom, takes its time
    ids=["pending", "in threads that are still in it", "in threads that copy"],
)
def test_the_end_of_the_process(threads, size, sleep):
    program = f"""
import threading, time
import pydiff as pd
op = pd.custom_op("op", shape=lambda x: x, cpu=lambda x: (time.sleep({sleep}), x + 1)[1])
y = op(pd.ones(3))
def work():
    while True:
        op(pd.ones({size}) * 2).numpy()
for _ in range({threads}):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stderr == "", done.stderr


def test_without_a_c_compiler(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler -O1")
    with pytest.raises(RuntimeError, match=r"\[op\] its C text needs a C compiler; got CC='no-such-compiler -O1', which is not found; try"):
        make(cpu=None, c=C + "//1", args=2)(x(2))


@pytest.mark.parametrize("kept", [True, False])
def test_c_and_the_cache_of_compiled_functions(tmp_path, monkeypatch, kept):
    """Kept by text, compiler and flags; a damaged file costs a compilation; without a folder nothing is kept."""
    from pydiff import _custom_text

    monkeypatch.setenv("PYDIFF_CACHE_DIR", str(tmp_path) if kept else "")
    compiled = []
    real = _custom_text._compiled
    monkeypatch.setattr(_custom_text, "_compiled", lambda *a: compiled.append(1) or real(*a))

    def run(flags=()):
        monkeypatch.setattr(_custom_text, "_libraries", {})
        return make(cpu=None, c=C, args=lambda x: x.numel(), c_flags=flags)(x(3)).tolist()

    assert run() == run() == [2, 2, 2]
    assert len(compiled) == (1 if kept else 2)
    files = list((tmp_path / "c").glob("*")) if kept else []
    assert len(files) == (1 if kept else 0)
    for file in files:
        file.write_bytes(file.read_bytes()[:-1])
    assert run() == run(("-O1",)) == run(("-march=native",)) == [2, 2, 2]
    assert len(compiled) == (4 if kept else 5)


# ---- CUDA, on the stand-in, in a process of its own


def apart(body, device="cuda-host", **environment):
    head = """
        import numpy as np, pydiff as pd
        INDEX = "long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;"
        KERNEL = 'extern "C" __global__ void op(const float* x, float* y, long long n) { %s if (i < n) y[i] = x[i] + 1; }' % INDEX
        def make(cuda=KERNEL, **options):
            return pd.custom_op("op", **{"shape": lambda x: x, "cuda": cuda, "args": lambda x: x.numel(), **options})
        def shown(call):
            try:
                call()
            except Exception as error:
                print(type(error).__name__, str(error))
        x = pd.ones(300, device=DEVICE)
    """
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", root), root]), **environment}
    program = textwrap.dedent(head).replace("DEVICE", repr(device)) + textwrap.dedent(body)
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=240)


def test_cuda_errors_at_the_line_of_the_call():
    done = apart(
        """
        shown(lambda: make(None, cpu=lambda x: x)(x))
        shown(lambda: pd.custom_op("two", shape=lambda x, y: x, cpu=np.add, cuda=KERNEL)(x, pd.ones(300, device="cpu")))
        shown(lambda: make(KERNEL.replace("x[i] + 1", "x[i] + z"))(x))
        shown(lambda: make()(x.double()))
        shown(lambda: make(args=lambda x: 1.5)(x))
        shown(lambda: make(args=None)(x))
        shown(lambda: make(KERNEL.replace('extern "C"', ""))(x))
        shown(lambda: make(KERNEL.replace("op", "a") + KERNEL.replace("op", "b"))(x))
        shown(lambda: pd.custom_op("many", shape=lambda *xs: xs[0], cuda=KERNEL)(*[x] * 600))
        shown(lambda: make(block=(64, 32))(x))
        shown(lambda: make(block=0)(x))
        shown(lambda: make(grid=(1, 70000))(x))
        shown(lambda: make(grid=0)(x))
        shown(lambda: make(shared=-1)(x))
        shown(lambda: make(shared=1 << 30)(x))
        assert make()(x).tolist() == [2] * 300
        assert make(KERNEL.replace("op", "another"))(x).tolist() == [2] * 300
        """
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    wanted = [
        r"RuntimeError \[op\] it has no CUDA kernel; got operands on cuda:0 for an operation with cpu; try cuda=",
        r"ValueError \[two\] operands on different devices; got cuda:0 and cpu; try .to\('cuda:0'\)",
        r"RuntimeError \[op\] kernel op does not compile for sm_\w+; got [\s\S]*op\.cu:1:.*'z'[\s\S]*; try PYDIFF_DEBUG=4",
        r"RuntimeError \[op\] kernel op does not compile [\s\S]*parameter 1 of op is x, a pointer to double",
        r"RuntimeError \[op\] kernel op does not compile [\s\S]*parameter 3 of op is a number of args, double; give numpy.float32",
        r"RuntimeError \[op\] kernel op does not compile [\s\S]*op is called with 2 arguments: float\* x, float\* out",
        r"RuntimeError \[op\] the text has no such kernel; got op; try extern \"C\"",
        r"ValueError \[op\] which function of the CUDA text is to be called; got a and b; try function=",
        r"ValueError \[many\] more parameters than the 512 of a kernel; got 601; try",
        r"ValueError \[op\] more threads in a block than 1024; got \(64, 32, 1\)",
        r"ValueError \[op\] no block that a GPU can launch; got 0",
        r"ValueError \[op\] no grid that a GPU can launch; got \(1, 70000\)",
        r"ValueError \[op\] a grid of no block for results that are not empty",
        r"ValueError \[op\] shared is no number of bytes; got -1",
        r"RuntimeError \[op\] kernel op wants more shared memory than a block can have; got 1073741824 bytes",
    ]
    assert re.search(r"[\s\S]*".join(wanted), done.stdout), done.stdout


@pytest.mark.parametrize("guard", ["", "pages"])
def test_an_illegal_access_of_a_kernel_names_it(guard):
    done = apart(
        "make(KERNEL.replace('y[i] = x[i]', 'y[i + 100] = x[i]'))(x).numpy()\nprint('went on')", PYDIFF_CUDA_HOST_GUARD=guard
    )
    assert done.returncode and "went on" not in done.stdout
    assert "kernel 'op'" in done.stderr and ("outside" in done.stderr or "illegal access" in done.stderr), done.stderr


# A driver whose kernels did something illegal, which is told when the device is waited for.
BROKEN_DRIVER = """
#include <stdlib.h>
int cuMemcpyDtoH_v2(void* to, unsigned long long from, size_t bytes) { return 700; }
int cuMemcpyDtoHAsync_v2(void* to, unsigned long long from, size_t bytes, void* stream) { return 700; }
int cuStreamSynchronize(void* stream) { return 700; }
int cuCtxSynchronize(void) { return 700; }
"""


def test_an_error_that_comes_later_names_the_operation(tmp_path):
    """On a GPU an illegal access is told by a later call: its error names the custom ops that ran."""
    import glob

    (stand_in,) = glob.glob(os.path.join(os.path.dirname(pd.__file__), "_cuda_host.*so"))
    source, library = tmp_path / "broken.c", tmp_path / "broken.so"
    source.write_text(BROKEN_DRIVER)
    folder, file = os.path.split(stand_in)
    command = ["gcc", "-shared", "-fPIC", str(source), "-o", str(library), "-Wl,--no-as-needed", "-L" + folder]
    subprocess.run([*command, "-l:" + file, "-Wl,-rpath," + folder], check=True)
    done = apart(
        """
        shown(lambda: (x + 1).numpy())
        shown(lambda: pd.custom_op("first_op", shape=lambda x: x, cuda=KERNEL, args=300)(x).numpy())
        shown(lambda: make()(x).numpy())
        """,
        device="cuda", PYDIFF_CUDA_DRIVER=str(library), PYDIFF_NVRTC=stand_in, PYDIFF_CUBLAS=stand_in,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and all("RuntimeError [cuda]" in line for line in lines), done.stdout + done.stderr
    assert "custom ops" not in lines[0]
    assert "; custom ops launched before, newest first: first_op; try compute-sanitizer" in lines[1]
    assert "newest first: op, first_op;" in lines[2]
