"""The profiler: what ran, of which operations and lines, with which bytes; who held memory; timelines; nothing while off."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import pydiff as pd
from pydiff import _C
from pydiff.profiler import profile, record

MIB = 1 << 20
HERE = Path(__file__)


@pytest.fixture(autouse=True)
def alone():
    """Nothing pending from other tests, and no profile left on."""
    pd.synchronize()
    yield
    assert not _C.profile_running()


def ready(value):
    """A tensor with memory of its own."""
    value = pd.tensor(value)
    _C.evaluate([value])
    return value


def kernels(p, *kinds):
    return [e for e in p.events if e.kind in (kinds or ("kernel", "product", "native", "custom"))]


def line(mark):
    """The number of this file's line that ends with this comment."""
    return next(k for k, text in enumerate(HERE.read_text().splitlines(), 1) if text.endswith("# " + mark))


def lines_of(event):
    assert all(place.file == str(HERE) for place in event.lines)
    return [place.line for place in event.lines]


def name_of(device):
    return "cpu" if device == "cpu" else "cuda:0"


# ---- kernels


def test_a_fused_kernel(device):
    x = ready(np.arange(1000.0, dtype=np.float32))
    with profile() as p:
        y = (x * 2 + 1).sum()  # one line
    (k,) = kernels(p)
    assert (k.kind, k.ops, k.name) == ("kernel", ("mul", "add", "reduce_sum"), "mul*add*reduce_sum")
    assert (k.shape, k.dtype, k.device) == ((1000,), pd.float32, name_of(device))
    assert (k.bytes_read, k.bytes_written, k.flops) == (4000, 4, 0)
    assert lines_of(k) == 3 * [line("one line")]
    assert {place.function for place in k.lines} == {"test_a_fused_kernel"}
    assert k.on_device == (device != "cpu") and 0 <= k.begin <= k.end <= p.seconds
    assert y.item() == 1000.0 * 1000


def test_each_operation_has_its_own_line():
    x = ready(np.ones(100, np.float32))
    with profile() as p:
        y = x.exp()  # first
        z = (
            y - 3  # second
        )
        n = pd.linalg.norm(z)  # third
    (k,) = kernels(p)
    places = dict(zip(k.ops, k.lines))
    assert (places["exp"].line, places["sub"].line) == (line("first"), line("second"))
    assert set(lines_of(k)) == {line("first"), line("second"), line("third")}
    assert next(place.called for place in k.lines if place.line == line("third")) == "norm"  # whose Python records
    assert n.item() == pytest.approx(10 * (3 - np.e), rel=1e-5)


def test_lines_are_those_of_this_run_where_a_plan_serves_two_places():
    x = ready(np.ones(100, np.float32))
    with profile() as p:
        (x.cosh() * 5).numpy()  # place a
        (x.cosh() * 5).numpy()  # place b
    a, b = kernels(p)
    assert lines_of(a) == 2 * [line("place a")] and lines_of(b) == 2 * [line("place b")]
    assert [e.name for e in p.events if e.kind == "evaluate"] == ["first run", "replay"]


def test_a_plan_from_before_the_profile():
    x = ready(np.ones((10, 10), np.float32))

    def run():
        return ((x @ x).exp() * x.cumsum(0)).sum(0).numpy()

    run()
    plans = _C.exec_stats()["plans"]
    with profile() as p:
        run()
    assert _C.exec_stats()["plans"] == plans and not [e for e in p.events if e.kind == "plan"]
    assert sorted(k.ops for k in kernels(p)) == [("cumsum",), ("dot",), ("exp", "mul", "reduce_sum")]
    assert all(k.bytes_read >= 400 for k in kernels(p))


def test_derivatives_are_of_the_line_that_asked():
    x = pd.ones(100, requires_grad=True)
    loss = x.sigmoid().sum()
    with profile() as p:
        loss.backward()  # backward
        x.grad.numpy()
    assert any(line("backward") in [place and place.line for place in k.lines] for k in kernels(p))


def test_without_lines():
    x = ready(np.ones(100, np.float32))
    with profile(lines=False) as p:
        x.exp().numpy()
    assert set(kernels(p)[0].lines) == {None}
    assert p.rows("line")[0].name == "(not known)"


@pytest.mark.parametrize(
    "compute, read, written",
    [
        (lambda x, row, square: x + row, 64 * 100 * 4 + 100 * 4, 64 * 100 * 4),
        (lambda x, row, square: x[:, :10].sin(), 64 * 10 * 4, 64 * 10 * 4),
        (lambda x, row, square: square + square.T, 50 * 50 * 4, 50 * 50 * 4),
        (lambda x, row, square: x.sum(0), 64 * 100 * 4, 100 * 4),
        (lambda x, row, square: pd.pad(row, (3, 5)) * 2, 100 * 4, 108 * 4),
        (lambda x, row, square: row.half() * 2, 100 * 4, 100 * 2),
        (lambda x, row, square: pd.arange(100.0) + row, 100 * 4, 100 * 4),
        (lambda x, row, square: x.sin() * row[0], 64 * 100 * 4 + 4, 64 * 100 * 4),
    ],
    ids=["broadcast", "slice", "two views", "columns", "pad", "narrow", "index", "one element"],
)
def test_bytes_are_counted_once(compute, read, written):
    x, row, square = (
        ready(np.ones((64, 100), np.float32)),
        ready(np.ones(100, np.float32)),
        ready(np.ones((50, 50), np.float32)),
    )
    with profile() as p:
        y = compute(x, row, square)
    (k,) = kernels(p)
    assert (k.bytes_read, k.bytes_written) == (read, written)
    assert y.numpy().nbytes == written


def test_products_have_flops():
    a, b = ready(np.ones((32, 64), np.float32)), ready(np.ones((64, 16), np.float32))
    many = ready(np.ones((5, 64, 8), np.float64))
    with profile() as p:
        (a @ b).numpy()
        (many.transpose(1, 2) @ many).numpy()
    one, batched = kernels(p, "product")
    assert (one.shape, one.flops) == ((32, 16, 64), 2 * 32 * 64 * 16)
    assert (one.bytes_read, one.bytes_written) == ((32 * 64 + 64 * 16) * 4, 32 * 16 * 4)
    assert (batched.shape, batched.flops) == ((5, 8, 8, 64), 2 * 5 * 8 * 8 * 64)
    assert batched.bytes_read == 2 * 5 * 64 * 8 * 8


def test_kernels_of_their_own():
    table, places = ready(np.ones((1000, 8), np.float32)), ready(np.array([3, 5, 7]))
    with profile() as p:
        table[places].numpy()  # take
        table.cumsum(0).numpy()
    take, scan = kernels(p, "native")
    assert take.bytes_read == 3 * 8 * 4 + 3 * 8 and take.bytes_written == 3 * 8 * 4  # no more of the table than is taken
    assert lines_of(take) == [line("take")]
    assert scan.bytes_read == scan.bytes_written == 1000 * 8 * 4


def test_an_optimiser_is_one_kernel():
    weights = [pd.ones(n, requires_grad=True) for n in (10, 20)]
    optimiser = pd.optim.SGD(weights, lr=0.1)
    for w in weights:
        w.grad = ready(np.ones(w.shape, np.float32))
    _C.evaluate(weights)
    with profile() as p:
        optimiser.step()  # step
    (k,) = kernels(p)
    assert (k.bytes_read, k.bytes_written, k.shape) == (2 * 30 * 4, 30 * 4, (30,))
    assert set(lines_of(k)) == {line("step")}


def test_a_traced_function(device):
    """Plans that were made while nobody looked, and other work since."""

    @pd.jit
    def loss(x, w):
        y = x
        for _ in range(3):
            y = pd.tanh(y @ w + y)
        return (y * y).sum()

    x, w = ready(np.ones((8, 16), np.float32)), pd.randn(16, 16, requires_grad=True)

    def step():
        w.grad = None
        loss(x, w).backward()
        return w.grad.numpy()

    expected = step()
    (pd.stack([w, w.mT, w + 1]).detach().exp() @ w.detach() - 2).sum().item()
    with profile() as p:
        assert (step() == expected).all()
    products = kernels(p, "product")
    assert len(products) >= 3 + 5 and all(k.ops and k.flops for k in products)
    assert all(k.ops for k in kernels(p)) and {op for k in kernels(p) for op in k.ops} >= {"tanh", "mul", "dot"}


def test_threads_and_interpretation(device):
    if device != "cpu":
        pytest.skip("of the CPU")
    x = ready(np.ones(1 << 21, np.float32))
    was, threads = _C.set_jit_mode("off"), pd.get_num_threads()
    try:
        pd.set_num_threads(2)
        with profile() as p:
            (x.atan() * 17.25).numpy()
            (x[:10].atan() * 17.25).numpy()
    finally:
        _C.set_jit_mode(was)
        pd.set_num_threads(threads)
    long, short = kernels(p)
    assert (long.threads, short.threads) == (2, 1)
    assert not long.compiled and p.rows()[0].interpreted == 1


def test_compilations(device):
    was = _C.set_jit_mode("blocking")
    x = ready(np.ones(10, np.float32))
    try:
        with profile() as p:
            (((x.exp() - 3).tanh() * x).cos() / (x.sin() + 7)).atanh().numpy()
    finally:
        _C.set_jit_mode(was)
    (k,) = kernels(p)
    if device == "cpu" and not k.compiled:
        pytest.skip("llvmlite is not installed")
    compiler = "LLVM" if device == "cpu" else "NVRTC"  # which may still be busy with what earlier programs left
    (made,) = [e for e in p.events if e.kind == "compile" and e.name.startswith(f"{k.kernel}, {compiler}")]
    assert made.end <= k.begin + 1e-9 or device != "cpu"  # no part of the kernel's time


def test_fallbacks_and_copies(device):
    x = ready(np.eye(20, dtype=np.float64))
    with profile() as p:
        pd.linalg.svd(x)  # svd
    (k,) = kernels(p, "fallback")
    assert k.ops[0].startswith("svd") and lines_of(k) == [line("svd")]
    assert k.bytes == (20 * 20 * 3 + 20) * 8
    copies = [e for e in p.events if e.kind == "copy"]
    if device == "cpu":
        assert not copies
    elif device == "cuda-host":
        assert [e.bytes for e in copies if e.name == "copy to host"] == [20 * 20 * 8]
        assert sum(e.bytes for e in copies if e.name == "copy to device") == (20 * 20 * 2 + 20) * 8


def test_an_operation_of_the_users_own():
    body = "int i = threadIdx.x; if (i < n) y[i] = x[i] * 2;"
    text = f'extern "C" __global__ void twice(const x_t* x, out_t* y, long long n) {{ {body} }}'
    twice = pd.custom_op("twice", shape=lambda x: x, cuda=text, args=lambda x: x.numel(), cpu=lambda x: x * 2)
    x = ready(np.ones(10, np.float32))
    with profile() as p:
        twice(x).numpy()
    (k,) = kernels(p, "custom")
    assert k.ops == ("twice",) and (k.bytes_read, k.bytes_written) == (40, 40)


def test_graphs_are_one_event(device):
    if device == "cpu":
        pytest.skip("of a CUDA device")
    x = ready(np.ones((30, 30), np.float32))

    def run():
        y = x
        for _ in range(4):
            y = (y @ x).tanh()
        return y.numpy()

    for _ in range(6):
        run()
    with profile(graphs=True) as p:
        run()
    (k,) = kernels(p, "graph")
    assert k.ops.count("dot") == 4 and k.flops == 4 * 2 * 30**3
    with profile() as p:
        run()
    assert len(kernels(p, "product")) == 4 and not kernels(p, "graph")


# ---- memory


def test_who_held_the_memory_at_the_peak(device):
    n = MIB // 4
    x = ready(np.ones(n, np.float32))
    with profile() as p:
        a = x.exp()  # held
        _C.evaluate([a])
        b = pd.cat([x.sin(), x])  # most
        _C.evaluate([b])
        del b
        c = x.cos()
        _C.evaluate([c])
    owners = {(h.owner, h.line and h.line.line): h.bytes for h in p.memory(device)}
    assert owners["exp", line("held")] == MIB and owners["concatenate", line("most")] == 2 * MIB
    assert not any(owner == "cos" for owner, _ in owners)
    assert sum(owners.values()) == p.peak_memory(device)
    assert "exp" in p.memory_table(device)


def test_the_peak_is_the_devices(device):
    x = ready(np.ones(MIB // 4, np.float32))
    _C.reset_peak(device)
    with profile() as p:
        y = (x.exp().cumsum(0) * x).numpy()
    assert p.peak_memory(device) == _C.memory_stats(device)["peak"]
    assert y.shape == x.shape


def test_memory_from_before_is_given_back(device):
    x = ready(np.ones(MIB, np.float32))
    with profile() as p:
        del x
        y = ready(np.ones(MIB // 4, np.float32))  # data
    blocks = [(size, p._owners[owner][0]) for _, size, owner in p._memory[name_of(device)].blocks]
    assert (-4 * MIB, "before the profile") in blocks
    assert any(h.owner == "data" for h in p.memory(device)) or p.peak_memory(device) >= 4 * MIB
    assert y.shape == (MIB // 4,)


def test_without_memory(device):
    with profile(memory=False) as p:
        pd.ones(100).exp().numpy()
    assert not p.memory() and p.peak_memory(device) == 0 and kernels(p)


# ---- ranges, threads, several profiles


def test_ranges_nest_and_count_their_kernels():
    x = ready(np.ones(1000, np.float32))

    @record("inner")
    def inner():
        return x.exp().numpy()

    with profile() as p:
        with record("outer"):
            inner()
            inner()
        x.sin().numpy()
    names = [e.name for e in p.events if e.kind == "range"]
    assert names == ["outer", "inner", "inner"]
    outer, first, second = [e for e in p.events if e.kind == "range"]
    assert outer.begin <= first.begin <= first.end <= second.begin <= second.end <= outer.end
    rows = {r.name: r for r in p.rows("range")}
    assert (rows["inner"].calls, rows["inner"].bytes) == (2, 2 * 8000) and rows["outer"].bytes == 2 * 8000


def test_a_range_outside_a_profile_is_nothing():
    with record("nobody"):
        pass
    with profile() as p:
        pass
    assert not [e for e in p.events if e.kind == "range"]


def test_other_threads():
    x = ready(np.ones(1000, np.float32))
    with profile() as p:
        other = threading.Thread(target=lambda: x.exp().numpy(), name="the other one")
        other.start()
        ident = other.native_id
        other.join()
        x.exp().numpy()
    assert [k.thread for k in kernels(p)] == [ident, threading.get_native_id()]


def test_what_was_pending_before_is_none_of_it_and_what_is_pending_at_the_end_is():
    x = ready(np.ones(1000, np.float32))
    before = x.exp()
    with profile() as p:
        inside = x.sin()
    assert [k.ops for k in kernels(p)] == [("sin",)]
    assert _C.state_of(before) == _C.state_of(inside) == "ready"


def test_one_at_a_time():
    with profile() as p:
        with pytest.raises(RuntimeError, match=r"\[profile\] another profile is being made; got .*; try "), profile():
            pass
        pd.ones(10).exp().numpy()
    assert len(kernels(p)) == 1
    with profile() as p:
        pass
    assert not kernels(p)


def test_an_error_inside_leaves_it_off():
    x = ready(np.ones(1000, np.float32))
    p = profile()
    with pytest.raises(KeyError), p:
        x.exp().numpy()
        raise KeyError("mine")
    assert not _C.profile_running() and [k.ops for k in kernels(p)] == [("exp",)]


def test_a_failing_kernel_leaves_it_off(device):
    table, places = ready(np.ones(10, np.float32)), ready(np.array([3, 50]))
    with pytest.raises(IndexError), profile():
        table[places].numpy()
    assert not _C.profile_running()


def test_errors_name_what_to_do():
    p = profile()
    with pytest.raises(RuntimeError, match=r"\[profile\] nothing is recorded yet; got .*; try "):
        len(p.events)
    with p:
        pass
    with pytest.raises(ValueError, match=r"\[profile.rows\] unknown key; got 'color'; try one of kernel, op, line, range"):
        p.rows("color")
    assert "0 kernels compiled" in str(p) and "events in" in repr(p)


def test_the_child_of_a_fork_records_nothing(device):
    if device != "cpu" or not hasattr(os, "fork"):
        pytest.skip("a forked child has no CUDA")
    with profile() as p:
        child = os.fork()
        if child == 0:
            os._exit(1 if _C.profile_running() else 0)
        assert os.waitpid(child, 0)[1] == 0
        pd.ones(10).exp().numpy()
    assert len(kernels(p)) == 1


# ---- off, and the same bits


def program():
    x = pd.tensor(np.linspace(-2, 2, 900, dtype=np.float32).reshape(30, 30)).requires_grad_()
    loss = ((x @ x.T).softmax(-1).cumsum(0) * x[pd.tensor([3, 1, 2] * 10)]).tanh().sum()
    loss.backward()
    return [loss.detach().numpy().tobytes(), x.grad.numpy().tobytes()]


def test_the_same_bits_and_the_same_kernels(device):
    program()

    def counted():
        before = _C.exec_stats()
        bits = program()
        return bits, {k: v - before[k] for k, v in _C.exec_stats().items() if "graph" not in k}

    off = counted()
    with profile() as p:
        on = counted()
    assert off == on == counted()
    assert len(kernels(p)) == off[1]["kernels"] + off[1]["natives"]


def test_off_no_line_is_looked_for():
    with profile():
        pass
    code = test_off_no_line_is_looked_for.__code__
    before = sys.getrefcount(code)
    x, kept = pd.ones(3), []
    for k in range(50):
        kept.append(x + k)
    after = sys.getrefcount(code)
    assert after == before
    with profile():
        kept.append(x * 7)  # pending: its line is kept
        after = sys.getrefcount(code)
    assert after > before


def test_lines_are_given_back():
    code = test_lines_are_given_back.__code__
    before = sys.getrefcount(code)
    with profile():
        y = pd.ones(3) + 1
        y.numpy()
    del y
    assert sys.getrefcount(code) == before


# ---- tables and files


def test_shares_add_up():
    x = ready(np.ones((100, 100), np.float32))
    with profile() as p:
        for _ in range(3):
            ((x @ x).exp() * 2).sum().item()
            x.cumsum(0).numpy()
    total = sum(k.seconds for k in kernels(p))
    for by in ("kernel", "op", "line"):
        rows = [r for r in p.rows(by) if not r.name.startswith("copy")]
        assert sum(r.seconds for r in rows) == pytest.approx(total)
        assert sum(r.bytes for r in rows) == pytest.approx(sum(k.bytes for k in kernels(p)))
        assert sum(r.share for r in p.rows(by)) == pytest.approx(1.0)
    by_op = {r.name: r for r in p.rows("op")}
    assert by_op["dot"].calls == 3
    dot = kernels(p, "product")
    assert by_op["dot"].flops == pytest.approx(3 * 2 * 100**3 / sum(k.seconds for k in dot))
    row = next(r for r in p.rows("kernel") if r.name == "dot")
    assert row.bandwidth == pytest.approx(row.bytes / row.seconds) and 0 < row.of_copy


def test_the_table_ends_with_what_is_beyond_its_limit():
    x = ready(np.ones(100, np.float32))
    with profile() as p:
        for f in (pd.exp, pd.sin, pd.cos):
            f(x).numpy()
    lines = p.table("op", limit=1).splitlines()
    assert lines[0].split()[0] == "op" and lines[3].startswith("2 more") and "plans made" in lines[-2]


def nested(spans):
    """Whether spans of one track are one inside another or apart."""
    open_ = []
    for begin, end in sorted(spans, key=lambda s: (s[0], -s[1])):
        while open_ and open_[-1] <= begin:
            open_.pop()
        if open_ and end > open_[-1]:
            return False
        open_.append(end)
    return True


def check_trace(path):
    trace = json.loads(Path(path).read_text())
    events = trace["traceEvents"]
    tracks = {}
    for e in events:
        assert isinstance(e["name"], str) and isinstance(e["pid"], int) and e["ph"] in "XCM"
        if e["ph"] == "M":
            assert isinstance(e["args"]["name"], str)
            continue
        assert e["ts"] >= 0
        if e["ph"] == "C":
            assert all(isinstance(v, (int, float)) and v >= 0 for v in e["args"].values())
        else:
            assert e["dur"] >= 0 and isinstance(e["tid"], int) and isinstance(e["cat"], str)
            tracks.setdefault(e["tid"], []).append((round(e["ts"] * 1e3), round((e["ts"] + e["dur"]) * 1e3)))
    named = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert set(tracks) == set(named)
    assert all(nested(spans) for spans in tracks.values())
    return events, named


def test_the_timeline_is_in_chromes_format(tmp_path, device):
    x = ready(np.ones((100, 100), np.float32))
    with profile() as p:
        for _ in range(3):
            with record("step"):
                ((x @ x).exp() * 2).sum().item()
    p.save(tmp_path / "trace.json")
    events, named = check_trace(tmp_path / "trace.json")
    assert {"MainThread", name_of(device)} - {"cpu"} <= set(named.values())
    (product,) = {json.dumps(e["args"]["shape"]) for e in events if e.get("cat") == "product"}
    assert product == "[100, 100, 100]"
    assert any(e["ph"] == "C" and e["name"] == f"memory of {name_of(device)}" for e in events)


def run(*arguments, folder):
    env = {**os.environ, "PYTHONPATH": str(HERE.parents[2])}
    command = [sys.executable, "-m", "pydiff.profiler", *arguments]
    return subprocess.run(command, check=False, cwd=folder, env=env, capture_output=True, text=True)


def test_the_command(tmp_path, device):
    text = f"""
import sys
import pydiff as pd
pd.set_default_device({device!r})
x = pd.ones(100)
print("sum", (x * 3).sum().item(), sys.argv[1:], __name__)
sys.exit(5)
"""
    (tmp_path / "script.py").write_text(text)
    done = run("--by", "line", "--memory", "--trace", "t.json", "script.py", "--by", "a", folder=tmp_path)
    assert done.returncode == 5, done.stderr
    assert "sum 300.0 ['--by', 'a'] __main__" in done.stdout
    assert "script.py:6" in done.stdout and "plans made" in done.stdout and "owner" in done.stdout
    check_trace(tmp_path / "t.json")


def test_the_command_runs_modules_and_shows_errors(tmp_path, device):
    (tmp_path / "wrong.py").write_text("import pydiff as pd\npd.ones(3).exp().numpy()\nraise ValueError('mine')\n")
    done = run("-m", "wrong", folder=tmp_path)
    assert done.returncode == 1 and "ValueError: mine" in done.stderr and "exp" in done.stdout


# ---- synchronize


def test_synchronize_computes_and_waits(device):
    x = pd.ones(10).exp()
    pd.synchronize()
    assert _C.state_of(x) == "ready"
    y = x.sin()
    pd.synchronize(device)
    assert _C.state_of(y) == "ready"
