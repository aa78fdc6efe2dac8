"""Plans that are replayed as CUDA graphs: the same bits as without, whatever changes between the runs.

On `--device cuda` or `cuda-host`. The counters tell that graphs were captured and launched; without them no test passes.
"""

import gc
import threading

import numpy as np
import pytest

import pydiff as pd
from pydiff import _C, cuda, nn, optim
from pydiff._core import evaluate
from test_cuda import EDGES, Shifted, needs_cuda  # noqa: F401

pytestmark = pytest.mark.smoke

RUNS = 24  # more than a plan runs before it is captured, with copies of operands too


@pytest.fixture(autouse=True)
def no_plans():
    _C.clear_plans()
    yield
    _C.clear_plans()


def counted(f):
    """What f returns, and the graphs that were captured and launched meanwhile."""
    before = _C.exec_stats()
    result = f()
    after = _C.exec_stats()
    return result, after["graphs"] - before["graphs"], after["graph_replays"] - before["graph_replays"]


def on_and_off(monkeypatch, make):
    """Runs make() with and without graphs; make returns a list of tensors. The same bits, or an error."""
    monkeypatch.setenv("PYDIFF_CUDA_GRAPHS", "off")
    want, none, replays = counted(lambda: [t.numpy().copy() for t in make()])
    assert none == replays == 0
    monkeypatch.setenv("PYDIFF_CUDA_GRAPHS", "on")
    _C.clear_plans()
    got, graphs, replays = counted(lambda: [t.numpy().copy() for t in make()])
    assert len(got) == len(want)
    for a, b in zip(got, want):
        np.testing.assert_array_equal(a.view(f"u{a.itemsize}"), b.view(f"u{b.itemsize}"))
    return graphs, replays


def network():
    pd.manual_seed(5)
    return nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.LayerNorm(24), nn.Dropout(0.2), nn.Linear(24, 24), nn.Tanh(),
                         nn.Linear(24, 3))


def test_training_has_the_bits_of_plain_launches(monkeypatch, rng):
    """New batches, moving parameters, a learning rate that changes, random masks, losses that are held."""
    x, y = rng.standard_normal((RUNS, 16, 8)).astype("f"), rng.integers(0, 3, (RUNS, 16))

    def train():
        model = network()
        optimizer = optim.AdamW(model.parameters(), lr=0.02)
        losses = []
        for k in range(RUNS):
            optimizer.param_groups[0]["lr"] = 0.02 / (1 + k)
            loss = nn.functional.cross_entropy(model(pd.tensor(x[k])), pd.tensor(y[k]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return losses + [p.detach() for p in model.parameters()]

    graphs, replays = on_and_off(monkeypatch, train)
    assert 1 <= graphs <= 12 and replays >= RUNS // 3


def test_inference_is_one_graph(monkeypatch, rng):
    """Parameters stay where they are, inputs and results may move."""
    batches = rng.standard_normal((RUNS, 16, 8)).astype("f")

    def infer():
        model = network().eval()
        with pd.no_grad():
            results = [model(pd.tensor(b)) for b in batches]
            for r in results:
                evaluate([r])
        return results

    graphs, replays = on_and_off(monkeypatch, infer)
    assert graphs and replays >= RUNS // 4


def natives(x, places, k):
    """Kernels of their own, with temporaries, with and without sums that meet."""
    table = pd.zeros(7, 5).index_put((places,), x * k, accumulate=True)
    sums = (x.cumsum(0) + 1).cumsum(1)
    best = sums.argmax(1)
    return [table.tanh(), best + 1, pd.concatenate([sums, x], 1)[:, ::2] * 2, sums.gather(1, best[:, None]) - x.sum()]


def products(x, places, k):
    whole = (x * 10).to(pd.int64)
    cubes, part = x.reshape(3, 3, 5), x[2:7, 1:]
    return [(whole.T @ whole).cumsum(0) + places.sum(), ((x.T @ x) * k).softmax(0) @ x.T, (x @ x.T).sum(1) + k,
            (cubes @ cubes.mT).tanh(), part @ part.T, cubes.mT[1] @ x[4:7]]  # fmt: skip


def reductions(x, places, k):
    """Partial results, combined; spills."""
    long = pd.arange(150_000, dtype=pd.float32).reshape(3, -1) * (1e-5 * k) + x[:3, :1]
    rows = long.sum(1)
    return [rows, (long * 2).amax(), (rows[:, None] * x[:3]).mean(0), EDGES["spills"][0](x.repeat(1, 900)) * 2]


def convolutions(x, places, k):
    """The weight's gradient is added up in parts, in memory of a kernel's own."""
    images, w = x.reshape(3, 1, 3, 5).repeat(1, 8, 4, 3), pd.arange(576).reshape(8, 8, 3, 3).sin() * k
    results = []
    for dtype in (pd.float32, pd.bfloat16):
        y, back = pd.func.vjp(lambda x, w: nn.functional.conv2d(x, w, padding=1), images.to(dtype), w.to(dtype))
        results += [t.float() for t in (y, *back(y.cos()))]
    return results


@pytest.mark.parametrize("f", [natives, products, reductions, convolutions])
def test_kernels_of_all_kinds(monkeypatch, rng, f):
    data, places = rng.standard_normal((RUNS, 9, 5)).astype("f"), rng.integers(-7, 7, (RUNS, 9))

    def run():
        results = []
        for k in range(RUNS):
            values = f(pd.tensor(data[k]), pd.tensor(places[k]), k + 0.5)
            evaluate(values)
            results += values
        return results

    graphs, replays = on_and_off(monkeypatch, run)
    assert graphs and replays >= RUNS // 4


@pytest.mark.parametrize("name", EDGES)
def test_edges_of_the_forms(name, rng):
    """Kernels with much of something, in the bits of the CPU, run after run."""
    f, shape = EDGES[name]
    data = rng.uniform(-1, 1, (6, *shape))

    def run():
        results = []
        for d in data:
            x = pd.tensor(d)
            results.append([f(x), steps(x[:7, :3])])
            evaluate(results[-1])
        return results

    got, graphs, replays = counted(run)
    assert graphs == 1 and replays == 3
    for d, (there, _) in zip(data, got):
        np.testing.assert_array_equal(there.numpy(), f(pd.tensor(d, device="cpu")).numpy())


def test_updates_of_many_parameters(monkeypatch, rng):
    """One launch for all of them, with more addresses than a launch has parameters for."""
    sizes = [int(rng.integers(1, 300)) for _ in range(101)]
    data = [rng.standard_normal((2, n)).astype("f") for n in sizes]

    def update():
        parameters = [pd.tensor(d[0], requires_grad=True) for d in data]
        optimizer = optim.Adam(parameters, lr=0.01, weight_decay=0.1)
        for k in range(8):
            grads = [pd.tensor(d[1]) * (k + 1) for d in data]
            for p, g in zip(parameters, grads):
                p.grad = g
            optimizer.step()
            evaluate([p.detach() for p in parameters])
        return [p.detach() for p in parameters]

    graphs, replays = on_and_off(monkeypatch, update)
    assert graphs and replays >= 3


def steps(x, scale=2.0):
    """Seven kernels, none of which has addresses in the graph: it is captured at once."""
    for _ in range(3):
        x = x - x.mean(0, keepdim=True) * scale
        x = x / (x.sum(1, keepdim=True) + 100)
    return x


def test_results_that_are_held_do_not_change(rng):
    data = rng.standard_normal((12, 40, 30)).astype("f")
    held, copies = [], []

    def run():
        for d in data:
            held.append(steps(pd.tensor(d)))
            copies.append(held[-1].numpy().copy())

    _, graphs, replays = counted(run)
    assert graphs == 1 and replays >= 8
    for h, c in zip(held, copies):
        np.testing.assert_array_equal(h.numpy(), c)
    for d, c in zip(data, copies):
        np.testing.assert_array_equal(steps(pd.tensor(d, device="cpu")).numpy(), c)


def test_numbers_and_addresses_are_no_part_of_a_graph(rng):
    data = [pd.tensor(rng.standard_normal((40, 30)).astype("f")) for _ in range(5)]

    def run():
        return [steps(data[k % 5], 0.1 * k).numpy() for k in range(20)]

    got, graphs, replays = counted(run)
    assert graphs == 1 and replays >= 16
    for k, g in enumerate(got):
        np.testing.assert_array_equal(g, steps(data[k % 5].to("cpu"), 0.1 * k).numpy())


def test_memory_that_is_not_aligned():
    """Such a run is launched as before; those after it are graphs again."""
    y = pd.from_dlpack(Shifted(pd.arange(1201, dtype=pd.float32) * 0.01))
    aligned = pd.tensor(y.numpy())

    def run(t):
        results = [t * 2 + 1, steps(t.reshape(40, 30))]
        evaluate(results)
        return [r.numpy() for r in results]

    want = run(y.cpu())
    for _ in range(4):
        run(aligned)
    for which, replays in ((aligned, 1), (y, 0), (aligned, 1)):
        got, _, seen = counted(lambda: run(which))
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])
        assert seen == replays


def test_an_index_out_of_range_in_a_graph_names_its_line(rng):
    x = pd.tensor(rng.standard_normal((8, 4)).astype("f"))

    def look(place):
        rows = steps(x)[pd.tensor([0, place])]  # here
        return (rows * 2).numpy()

    for _ in range(RUNS):
        look(3)
    _, _, replays = counted(lambda: look(2))
    assert replays == 1
    with pytest.raises(IndexError, match=r"got 9 for an axis of size 8; try .*; recorded at .*test_cuda_graphs.py:\d+"):
        counted(lambda: look(9))
    got, _, replays = counted(lambda: look(5))
    assert replays == 1
    np.testing.assert_array_equal(got, 2 * steps(x.cpu()).numpy()[[0, 5]])


def test_a_graph_of_few_kernels_is_not_made():
    def run():
        for _ in range(10):
            (pd.zeros(10) + 1).tanh().numpy()

    assert counted(run)[1:] == (0, 0)


def test_memory_is_given_back(rng):
    """The plan's own memory goes with the cache, and the plan works on."""
    x = pd.tensor(rng.standard_normal((300, 700)).astype("f"))
    want = steps(x.cpu()).numpy()
    _C.clear_plans()
    gc.collect()
    cuda.synchronize()
    before = cuda.memory_allocated()
    for _ in range(6):
        steps(x).numpy()
    cuda.synchronize()
    assert cuda.memory_allocated() >= before + x.nelement() * 4
    cuda.empty_cache()
    assert cuda.memory_allocated() == before
    got, graphs, replays = counted(lambda: [steps(x).numpy() for _ in range(4)])
    assert graphs == 1 and replays >= 2
    np.testing.assert_array_equal(got[-1], want)
    _C.clear_plans()
    assert cuda.memory_allocated() == before


def test_two_threads(rng):
    """Both run one plan, while a third waits for the device and empties its cache again and again."""
    data = [pd.tensor(rng.standard_normal((40, 30)).astype("f")) for _ in range(2)]
    want = [steps(d.cpu()).numpy() for d in data]
    wrong, done = [], threading.Event()

    def work(k):
        try:
            for _ in range(60):
                got = steps(data[k]).numpy()
                if not np.array_equal(got, want[k]):
                    raise AssertionError("other numbers")
        except BaseException as e:
            wrong.append(e)

    def disturb():
        try:
            while not done.wait(0.002):
                cuda.synchronize()
        except BaseException as e:
            wrong.append(e)

    def run():
        threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
        other = threading.Thread(target=disturb)
        for t in (*threads, other):
            t.start()
        for t in threads:
            t.join()
        done.set()
        other.join()

    _, graphs, replays = counted(run)
    assert not wrong, wrong
    assert graphs >= 1 and replays >= 100


def test_switches_that_change_what_a_graph_contains(rng):
    """Deterministic sums are another kernel."""
    x, places = pd.tensor(rng.standard_normal((64, 5)).astype("f")), pd.tensor(rng.integers(0, 3, 64))

    def run():
        return natives(x, places, 1.0)[0].numpy()

    want = [run() for _ in range(RUNS)][0]
    try:
        pd.deterministic(False)
        for _ in range(4):
            np.testing.assert_allclose(run(), want, rtol=1e-4, atol=1e-5)
    finally:
        pd.deterministic(True)
    np.testing.assert_array_equal(run(), want)
