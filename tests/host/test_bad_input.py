"""Bad input and bad moments: each has one clear outcome, and the process never crashes or hangs.

The first half is about arguments: an error at the user's line, `[op] what; got …; try …`, with nothing
queued. The second is about the world: caches that cannot be written, forks, Ctrl-C, the end of the process.
"""

import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

import numpy as np
import pytest

import pydiff as pd
from pydiff import _core, nn

FORM = re.compile(r"^\[[\w. ]+\] .+; got .+; try .+", re.S)


def x(*shape, dtype=np.float32):
    return pd.tensor(np.arange(math.prod(shape), dtype=dtype).reshape(shape))


def leaf(*shape):
    return x(*shape).requires_grad_()


LEAF = leaf(3)

# what it is, the expression, the error, words of its text
ARGUMENTS = [
    # shapes
    ("add", lambda: x(2, 3) + x(2, 4), ValueError, "shapes do not broadcast; got (2, 3) and (2, 4)"),
    ("where", lambda: pd.where(x(2) > 0, x(3), 0.0), ValueError, "(2,)"),
    ("matmul inner", lambda: x(32, 16) @ x(32, 1), ValueError, "inner sizes differ; got (32, 16) @ (32, 1)"),
    ("matmul batch", lambda: x(2, 3, 4) @ x(5, 4, 3), ValueError, "(2, 3, 4) @ (5, 4, 3)"),
    ("matmul 0-d", lambda: x() @ x(3), ValueError, "[matmul]"),
    ("reshape", lambda: x(2, 3).reshape(4, 2), (ValueError, RuntimeError), "(2, 3)"),
    ("reshape two unknown", lambda: x(2, 3).reshape(-1, -1), (ValueError, RuntimeError), "-1"),
    ("expand", lambda: x(2, 3).expand(4, 3), (ValueError, RuntimeError), "(2, 3)"),
    ("cat", lambda: pd.cat([x(2, 3), x(2, 4)]), ValueError, "(2, 3) and (2, 4)"),
    ("cat of nothing", lambda: pd.cat([]), (ValueError, TypeError), ""),
    ("stack", lambda: pd.stack([x(2), x(3)]), ValueError, "(2,) and (3,)"),
    ("einsum", lambda: pd.einsum("ij,jk->ik", x(2, 3), x(4, 5)), (ValueError, RuntimeError), "einsum"),
    ("linear", lambda: nn.Linear(3, 2)(x(5, 4)), (ValueError, RuntimeError), "(5, 4)"),
    # axes
    ("sum", lambda: x(2, 3).sum(dim=2), IndexError, "axis out of range; got 2 for 2 dimensions"),
    ("sum negative", lambda: x(2, 3).sum(axis=-3), IndexError, "got -3 for 2 dimensions"),
    ("sum twice", lambda: x(2, 3).sum(dim=(0, 0)), (ValueError, RuntimeError), "twice"),
    ("permute", lambda: x(2, 3).permute(0, 0), (ValueError, RuntimeError), "twice"),
    ("cumsum", lambda: x(2, 3).cumsum(5), IndexError, "got 5"),
    ("max of nothing", lambda: x(0).max(), (ValueError, RuntimeError), "no elements"),
    ("argmax of nothing", lambda: x(0).argmax(), (ValueError, IndexError), "no elements"),
    # indices
    ("index", lambda: x(3)[3], IndexError, "out of range; got 3 for axis 0 of size 3"),
    ("too many indices", lambda: x(3)[0, 0], IndexError, "too many indices"),
    ("float index", lambda: x(3)[1.0], IndexError, "float"),
    ("mask", lambda: x(3)[pd.tensor([True, False])], IndexError, "mask"),
    ("index value", lambda: x(3, 2).__setitem__(0, x(3)), (ValueError, RuntimeError), "(3,)"),
    # dtypes
    ("exp of complex", lambda: pd.tensor([1j]).exp(), TypeError, "complex"),
    ("unsigned of 64 bits", lambda: x(3, dtype=np.int32) + 2**63, ValueError, "9223372036854775808 for int32"),
    ("half and bits", lambda: x(3).half() & x(3).half(), TypeError, "float16"),
    ("mean of integers", lambda: x(3, dtype=np.int64).mean(), RuntimeError, "int64"),
    ("and of floats", lambda: x(3) & x(3), TypeError, "float32"),
    ("unknown dtype", lambda: pd.zeros(3, dtype="float31"), TypeError, "float31"),
    ("grad of integers", lambda: x(3, dtype=np.int64).requires_grad_(), RuntimeError, "int64"),
    ("integer too large", lambda: x(3) + 2**70, (ValueError, OverflowError), "64 bits"),
    # devices
    ("unknown device", lambda: pd.zeros(3, device="tpu"), RuntimeError, "tpu"),
    ("unknown index", lambda: pd.zeros(3, device="cuda:x"), RuntimeError, "cuda:x"),
    # data
    ("ragged", lambda: pd.tensor([[1.0, 2.0], [3.0]]), ValueError, "ragged"),
    ("ragged depth", lambda: pd.tensor([[1.0], 2.0]), ValueError, "ragged"),
    ("strings", lambda: pd.tensor(["a"]), TypeError, "str"),
    ("object array", lambda: pd.tensor(np.array([1, "a"], dtype=object)), TypeError, "objects"),
    ("object from_numpy", lambda: pd.from_numpy(np.array([None])), TypeError, "objects"),
    ("string array", lambda: pd.tensor(np.array(["a", "b"])), TypeError, "dtype"),
    ("None", lambda: pd.tensor(None), TypeError, "None"),
    ("operand", lambda: pd.maximum(x(3), "a"), TypeError, "str"),
    # one element
    ("bool of many", lambda: bool(x(2)), RuntimeError, "(2,)"),
    ("item of many", lambda: x(2).item(), RuntimeError, "(2,)"),
    ("float as index", lambda: [1, 2][x()], TypeError, "float32"),
    ("len of 0-d", lambda: len(x()), TypeError, "0-d"),
    ("iteration of 0-d", lambda: list(x()), TypeError, "0-d"),
    # gradients
    ("backward of many", lambda: (leaf(3) * 2).backward(), RuntimeError, "(3,)"),
    ("backward of none", lambda: x().backward(), RuntimeError, "requires_grad"),
    ("cotangent shape", lambda: (leaf(3) * 2).backward(pd.ones(4)), RuntimeError, "(4,) for (3,)"),
    ("numpy of taped", lambda: leaf(3).numpy(), RuntimeError, "detach"),
    ("in-place on a leaf", lambda: leaf(3).add_(1), RuntimeError, "leaf"),
    ("operator on a leaf", lambda: exec("t += 1", {"t": leaf(3)}), RuntimeError, "leaf"),
    ("item of a leaf", lambda: leaf(3).__setitem__(0, 1.0), RuntimeError, "leaf"),
    ("view of a leaf", lambda: LEAF[1:].mul_(2), RuntimeError, "leaf"),
    ("grad of another shape", lambda: setattr(leaf(3), "grad", x(2)), RuntimeError, "(2,)"),
    ("vmap axis sizes", lambda: pd.vmap(pd.add)(x(3), x(4)), (ValueError, RuntimeError), "3"),
    ("functional grad of many", lambda: pd.grad(lambda t: t * 2)(x(3)), (ValueError, RuntimeError), "(3,)"),
    # nn and optim
    ("lr nan", lambda: pd.optim.SGD([leaf(1)], lr=math.nan), ValueError, "lr is a finite number"),
    ("lr inf", lambda: pd.optim.Adam([leaf(1)], lr=math.inf), ValueError, "lr is a finite number"),
    ("lr negative", lambda: pd.optim.AdamW([leaf(1)], lr=-1.0), ValueError, "lr is a finite number"),
    ("no parameters", lambda: pd.optim.SGD([], lr=0.1), ValueError, "empty list"),
    ("dropout", lambda: nn.Dropout(1.5), ValueError, "1.5"),
    # threads
    ("no threads", lambda: pd.set_num_threads(0), ValueError, "0"),
]


@pytest.mark.parametrize(
    "call, kind, words", [row[1:] for row in ARGUMENTS], ids=[row[0].replace(" ", "_") for row in ARGUMENTS]
)
def test_arguments(call, kind, words):
    _core.flush()
    before = _core._C.exec_stats()
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert FORM.match(text), text
    assert words in text
    after = _core._C.exec_stats()
    assert {k: after[k] - before[k] for k in ("kernels", "natives")} == {"kernels": 0, "natives": 0}
    assert any("test_bad_input" in str(entry.path) for entry in caught.traceback[1:])


def test_an_error_leaves_the_graph_as_it_was():
    a = x(2, 3) * 2
    for _ in range(3):
        with pytest.raises(ValueError):
            a + x(5)
        with pytest.raises(ValueError):
            a @ x(2, 3)
    assert (a + 1).tolist() == [[1, 3, 5], [7, 9, 11]]


def test_not_differentiable_names_the_op():
    for derivative in (pd.grad, lambda f: lambda t: pd.jvp(f, (t,), (pd.ones(3),))):
        with pytest.raises(pd.NotDifferentiableError, match=r"^\[unique\] .+; got .+; try .+"):
            derivative(lambda t: pd.unique(t).sum())(x(3))
    t = leaf(3)
    with pytest.raises(RuntimeError, match="no path to anything that requires grad"):
        (t > 1).float().sum().backward()
    assert pd.grad(lambda t: pd.where(t > 1, t, 0.0).sum())(x(3)).tolist() == [0, 0, 1]


def test_index_out_of_range_is_found_by_the_run_and_names_op_and_line():
    picked = x(5)[pd.tensor([1, 9])]  # the line that recorded it
    with pytest.raises(IndexError, match=r"(?s)^\[index\] .*; got 9 .*; try ") as caught:
        picked.numpy()
    assert (x(5) + 1).tolist() == [1, 2, 3, 4, 5]
    assert "test_bad_input.py" in "".join([str(caught.value), *getattr(caught.value, "__notes__", [])])


def test_singular_matrix():
    with pytest.raises(Exception, match=r"(?i)singular"):
        pd.linalg.solve(pd.zeros(2, 2), pd.ones(2)).numpy()


def test_state_dict_keys_are_listed():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = {k: v.tolist() for k, v in model.state_dict().items()}
    state = dict(model.state_dict())
    state["2.weight"] = state.pop("1.weight")
    state["0.bias"] = pd.zeros(7)
    with pytest.raises(RuntimeError) as caught:
        model.load_state_dict(state)
    text = str(caught.value)
    assert FORM.match(text)
    for words in ("missing keys: 1.weight", "unexpected keys: 2.weight", "0.bias (7,) for (3,)"):
        assert words in text
    assert {k: v.tolist() for k, v in model.state_dict().items()} == before


def test_lr_may_not_become_nan_later():
    parameter = leaf(2)
    optimizer = pd.optim.SGD([parameter], lr=0.1)
    with pytest.raises(ValueError, match=r"^\[SGD\] lr"):
        optimizer.load_state_dict({"state": {}, "param_groups": [{"lr": math.nan, "params": [0]}]})
    assert optimizer.param_groups[0]["lr"] == 0.1


# ---- processes of their own


def start(code, **environment):
    # The same pydiff as here, wherever it lies: not the one that the working directory may hold (-P).
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    env.setdefault("PYDIFF_DEBUG", "0")
    return subprocess.Popen(
        [sys.executable, "-P", "-c", textwrap.dedent(code)], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )


def finish(process, timeout=90):
    """(stdout, stderr) of a process that ended well; one that hangs is killed and fails the test."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"it hangs; so far: {out}{err}")
    assert process.returncode == 0, f"exit code {process.returncode}: {out}{err}"
    return out, err


def run(code, **environment):
    return finish(start(code, **environment))


# A kernel with a reduction; its result is exact, so it can be compared as text.
KERNEL = """
    import pydiff as pd
    t = pd.arange(1000, dtype=pd.float32)
    print(((t * 2 + 1) * (t - 3)).sum().item())
"""
ANSWER = f"{float(sum((2 * t + 1) * (t - 3) for t in range(1000)))}"


def compiles(text):
    return len(re.findall(r"compiled \w+ in", text)), len(re.findall(r"loaded \w+ in", text))


@pytest.fixture
def blocking():
    """Settings under which each kernel is compiled before its first use, and compilations are told."""
    pytest.importorskip("llvmlite")
    return {"PYDIFF_JIT": "blocking", "PYDIFF_DEBUG": "2"}


def value_of(out):
    return float(out.strip())


def test_cache_is_used(tmp_path, blocking):
    first = run(KERNEL, PYDIFF_CACHE_DIR=str(tmp_path), **blocking)
    second = run(KERNEL, PYDIFF_CACHE_DIR=str(tmp_path), **blocking)
    assert first[0] == second[0]
    assert value_of(first[0]) == pytest.approx(float(ANSWER), rel=1e-6)
    assert compiles(first[1])[0] > 0
    assert compiles(second[1]) == (0, compiles(first[1])[0])


def test_cache_folder_is_a_file(tmp_path, blocking):
    place = tmp_path / "cache"
    place.write_text("in the way")
    out, err = run(KERNEL, PYDIFF_CACHE_DIR=str(place), **blocking)
    assert value_of(out) == pytest.approx(float(ANSWER), rel=1e-6)
    assert len(re.findall("kernel cache: cannot", err)) == 1  # said once, not once a kernel
    assert place.read_text() == "in the way"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_cache_folder_is_read_only(blocking):
    code = KERNEL
    if os.geteuid() == 0:  # root writes anywhere, so the process becomes somebody else first
        code = "    import os, pydiff, llvmlite.binding\n    os.setegid(65534); os.seteuid(65534)\n" + code
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        out, err = run(code, PYDIFF_CACHE_DIR=folder, **blocking)
        assert value_of(out) == pytest.approx(float(ANSWER), rel=1e-6)
        assert "kernel cache: cannot write" in err
        assert os.listdir(folder) == []
        os.chmod(folder, 0o755)


def test_disk_is_full(tmp_path, blocking):
    # A limit on the size of files fails a write half way through, as a full disk does.
    limited = "    import resource\n    resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n" + KERNEL
    pytest.importorskip("resource")
    out, err = run(limited, PYDIFF_CACHE_DIR=str(tmp_path), **blocking)
    assert value_of(out) == pytest.approx(float(ANSWER), rel=1e-6)
    assert "kernel cache: cannot write" in err
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []  # no half a file stays behind


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "one bit"])
def test_cache_file_is_corrupt(damage, tmp_path, blocking):
    expected, err = run(KERNEL, PYDIFF_CACHE_DIR=str(tmp_path), **blocking)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert files
    for path in files:
        data = bytearray(path.read_bytes())
        if damage == "truncated":
            data = data[: len(data) // 2]
        elif damage == "empty":
            data = b""
        elif damage == "garbage":
            data = os.urandom(len(data))
        else:
            data[-len(data) // 3] ^= 4
        path.write_bytes(data)
    out, err = run(KERNEL, PYDIFF_CACHE_DIR=str(tmp_path), **blocking)
    assert out == expected
    assert "is damaged, compiling again" in err
    assert compiles(err)[0] > 0 and compiles(err)[1] == 0
    again = run(KERNEL, PYDIFF_CACHE_DIR=str(tmp_path), **blocking)
    assert again[0] == expected and compiles(again[1])[0] == 0  # it was put right


def test_no_home(blocking):
    out, _ = run(KERNEL, HOME="/nonexistent", **blocking)
    assert value_of(out) == pytest.approx(float(ANSWER), rel=1e-6)


@pytest.mark.parametrize(
    "name, value", [("PYDIFF_JIT", "sometimes"), ("PYDIFF_NUM_THREADS", "many"), ("PYDIFF_NUM_THREADS", "0")]
)
def test_bad_flags_are_named(name, value):
    process = start("import pydiff as pd\n(pd.ones(200_000) + 1).sum().item()", **{name: value})
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"[{name}]" in err and value in err and "; try " in err


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# All sums stay below 2**24, so they are exact in float32.
USED = """
    import os, sys
    import numpy as np
    import pydiff as pd

    def work(k):
        t = pd.arange(300_000, dtype=pd.float32).reshape(300, 1000) % 7
        w = pd.full((1000, 1), float(k))
        return ((t + 1) @ w).sum().item() + (t * k).sum().item()

    def right(k):
        t = np.arange(300_000).reshape(300, 1000) % 7
        return float(((t + 1) @ np.full((1000, 1), k)).sum() + (t * k).sum())

    assert work(1) == right(1)  # threads, BLAS and compiler are running now
"""


@needs_fork
def test_fork_after_use():
    out, _ = run(USED + """
    pending = pd.ones(1000) * 3
    pids = []
    for k in range(2, 5):
        pid = os.fork()
        if pid == 0:
            ok = work(k) == right(k) and pending.sum().item() == 3000
            os._exit(0 if ok else 1)
        pids.append(pid)
    print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids])
    print(work(9) == right(9), pending.sum().item())
""")
    assert out.split("\n")[:2] == ["[0, 0, 0]", "True 3000.0"]


@needs_fork
def test_fork_of_a_fork_and_training():
    out, _ = run(USED + """
    def step():
        w = pd.ones(4, requires_grad=True)
        (pd.tanh(w * 2).sum() + (w @ pd.ones(4, 4)).sum()).backward()
        return [round(g, 4) for g in w.grad.tolist()]
    expected = step()
    pid = os.fork()
    if pid == 0:
        inner = os.fork()
        if inner == 0:
            os._exit(0 if step() == expected and work(2) == right(2) else 1)
        inside = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
        os._exit(0 if step() == expected and inside == 0 else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""")
    assert out.strip() == "0"


@needs_fork
def test_multiprocessing_by_fork():
    out, _ = run(USED + """
    import multiprocessing
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(work, range(1, 7)) == [right(k) for k in range(1, 7)])
""")
    assert out.strip() == "True"


@needs_fork
def test_fork_while_compiling(tmp_path):
    out, _ = run(USED + """
    ok = []
    for k in range(6):
        t = pd.ones(1000) * 2
        for _ in range(k + 3):
            t = pd.tanh(t) * t + k  # a kernel of its own for each k, compiling in the background
        t.numpy()
        pid = os.fork()
        if pid == 0:
            s = (t * (k + 2) - t).sum().item()
            os._exit(0 if s == s and work(2) == right(2) else 1)
        ok.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    print(ok)
""", PYDIFF_CACHE_DIR=str(tmp_path), PYDIFF_JIT="background")
    assert out.strip() == "[0, 0, 0, 0, 0, 0]"


def interrupt(code, after):
    """Ctrl-C `after` seconds after the process says "ready"; returns its output and how long it went on."""
    # What a shell starts in the background ignores Ctrl-C, and so would its children.
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    process = start(heeds + textwrap.dedent(code))
    assert process.stdout.readline() == "ready\n"
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    sent = time.perf_counter()
    out, err = finish(process)
    assert err == ""
    return out.split("\n"), time.perf_counter() - sent


def test_interrupt_between_evaluations():
    out, took = interrupt("""
        import sys, time
        import pydiff as pd
        t = pd.ones(1_000_000)
        print("ready", flush=True)
        start = time.perf_counter()
        try:
            while time.perf_counter() - start < 60:
                y = t
                for _ in range(40):
                    y = pd.tanh(y) + t
                y.sum().item()
        except KeyboardInterrupt:
            print("interrupted")
        print((t * 2).sum().item(), pd.ones(3).tolist())
    """, after=1.0)
    assert out[:2] == ["interrupted", "2000000.0 [1.0, 1.0, 1.0]"]
    assert took < 20


@pytest.mark.parametrize("mode", ["off", "background", "blocking"])
def test_interrupt_within_one_evaluation(mode, monkeypatch, tmp_path):
    monkeypatch.setenv("PYDIFF_JIT", mode)
    monkeypatch.setenv("PYDIFF_CACHE_DIR", str(tmp_path))
    # Seconds of work in one plan, which runs to its end: then comes the interrupt, and all values are whole.
    out, took = interrupt("""
        import time
        import pydiff as pd
        a = pd.eye(600) * 0.5
        y = a
        for _ in range(100):
            y = y @ a + a
        print("ready", flush=True)
        try:
            y.sum().item()
            time.sleep(30)
        except KeyboardInterrupt:
            print("interrupted")
        # On the diagonal d -> d / 2 + 1 / 2, whose fixed point is 1.
        print(round(y.sum().item()), (a + 1).sum().item() == 600 * 600 + 300)
    """, after=0.1)
    assert out[:2] == ["interrupted", "600 True"]
    assert took < 29


EXITS = {
    "with pending work": """
        import pydiff as pd
        y = pd.ones(1000)
        for _ in range(5000):
            y = y * 1.0001 + 1
    """,
    "with a tape": """
        import pydiff as pd
        w = pd.ones(1000, requires_grad=True)
        y = w
        for _ in range(3000):
            y = pd.tanh(y * w + w)
    """,
    "while compiling": """
        import pydiff as pd
        for k in range(12):
            y = pd.ones(500)
            for _ in range(30 + 5 * k):
                y = pd.tanh(y) * y + pd.exp(-y)
            y.numpy()
    """,
    "with values in a cycle": """
        import pydiff as pd
        class Node: pass
        node = Node()
        node.self, node.value = node, pd.ones(10) * 2
        node.hook = node.value.requires_grad_(False)
    """,
    "from a daemon thread at work": """
        import threading, time
        import pydiff as pd
        def work():
            while True:
                (pd.ones(100_000) * 2).sum().item()
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.5)
    """,
    "from daemon threads in NumPy's copies and in rules of their own": """
        import threading, time
        import numpy as np
        import pydiff as pd
        a = np.ones((1500, 1500), np.float32).T
        op = pd.custom_op("op", shape=lambda x: x, cpu=lambda x: x + 1, vjp=lambda x, y, g: g)
        def copy():
            while True:
                (pd.tensor(a) * 2).sum(0).tolist()
        def rule():
            while True:
                x = pd.ones(1_000_000, requires_grad=True)
                x.register_hook(lambda g: g * 2)
                op(x * 2).sum().backward()
        for work in 4 * [copy, rule]:
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.5)
    """,
    "after an error": """
        import pydiff as pd
        try:
            pd.ones(3)[pd.tensor([7])].numpy()
        except IndexError:
            pass
    """,
    "through sys.exit with a hook at work": """
        import atexit, sys
        import pydiff as pd
        y = pd.ones(10) + 1
        atexit.register(lambda: print(y.sum().item()))
        sys.exit(0)
    """,
}


@pytest.mark.parametrize("code", EXITS.values(), ids=[k.replace(" ", "_") for k in EXITS])
def test_exit(code, tmp_path):
    begun = time.perf_counter()
    _, err = run(code, PYDIFF_CACHE_DIR=str(tmp_path), PYDIFF_JIT="background")
    assert err == ""
    assert time.perf_counter() - begun < 60


def test_a_million_operations_deep():
    out, _ = run("""
        import pydiff as pd
        w = pd.ones(1, requires_grad=True)
        y = w
        for _ in range(300_000):
            y = y + 1
        y.sum().backward()
        print(w.grad.item(), y.item())
        del y
    """)
    assert out.split() == ["1.0", "300001.0"]


def test_threads_record_and_evaluate_at_once():
    shared = (pd.arange(5000, dtype=pd.float32) * 2).requires_grad_()
    failures, done = [], []

    def work(k):
        try:
            for i in range(30):
                y = (shared + k) * (i + 1)
                z = (y - y.mean()).abs().sum()
                (g,) = pd.autograd.grad((shared * (k + 1)).sum(), shared)
                assert g.tolist() == [k + 1.0] * 5000
                s = np.arange(5000) * 2.0
                e = (s + k) * (i + 1)
                assert abs(z.item() / np.abs(e - e.mean()).sum() - 1) < 1e-4
                assert y[3].item() == (6 + k) * (i + 1)
            done.append(k)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert not failures, failures[0]
    assert sorted(done) == list(range(6))


def test_threads_want_the_same_value():
    value = (pd.ones(1_000_000) * 3 + 1).sum()
    results = []
    threads = [threading.Thread(target=lambda: results.append(value.item())) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert results == [4_000_000.0] * 8


def test_out_of_memory_is_an_error():
    with pytest.raises(MemoryError, match=r"^\[.+\] .+; got .+; try "):
        pd.ones(1 << 30, 1 << 18).numpy()
    assert pd.ones(3).tolist() == [1, 1, 1]


def test_size_overflow_is_an_error():
    with pytest.raises((ValueError, MemoryError, RuntimeError), match=r"^\[.+\] "):
        pd.zeros(1 << 40, 1 << 40).numpy()
    with pytest.raises((ValueError, RuntimeError), match=r"^\[.+\] .+; got .+; try "):
        pd.zeros(-3)
