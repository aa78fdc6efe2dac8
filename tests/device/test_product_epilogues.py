"""A bias behind a product, and relu, which a CUDA device may compute in the product's own kernel (PYDIFF_CUDA_EPILOGUES).

The same results on every device and with the switch off; on the stand-in the same bits. The counter tells what ran.
"""

import numpy as np
import pytest

import pydiff as pd
from pydiff import _C, nn
from pydiff._core import evaluate

F = nn.functional


@pytest.fixture(autouse=True)
def switches(monkeypatch):
    """As at the start, whatever mode the suite runs in."""
    monkeypatch.setenv("PYDIFF_FUSE", "on")
    monkeypatch.setenv("PYDIFF_CUDA_EPILOGUES", "on")
    before = _C.cuda_gemm_choice("auto")
    _C.clear_plans()
    yield
    _C.clear_plans()
    _C.cuda_gemm_choice(before)


@pytest.fixture
def check(monkeypatch, device):
    """check(make, taken): make() gives tensors; the same switched on and off, with `taken` products that had a tail."""

    def run(mode, make):
        monkeypatch.setenv("PYDIFF_CUDA_EPILOGUES", mode)
        _C.clear_plans()
        before = _C.exec_stats()["epilogues"]
        tensors = make()
        evaluate(tensors)
        return [t.numpy().copy() for t in tensors], _C.exec_stats()["epilogues"] - before

    def check(make, taken, mode="on", eps=4):
        want, none = run("off", make)
        got, count = run(mode, make)
        assert none == 0 and count == (0 if device == "cpu" else taken)
        for a, b in zip(got, want, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            if device in ("cpu", "cuda-host"):
                np.testing.assert_array_equal(a, b)
            else:  # the library may add the products up in another order with a tail
                scale = np.abs(b).max(initial=1)
                np.testing.assert_allclose(a, b, atol=eps * 50 * np.finfo(a.dtype).eps * scale, rtol=0)
        return got

    return check


def on_a_gpu(device):
    if device == "cpu":
        pytest.skip("a choice of the CUDA back end")


def normal(rng, *shape, dtype="float32"):
    return pd.tensor(rng.standard_normal(shape).astype(dtype))


@pytest.mark.smoke
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("m, k, n", [(5, 7, 3), (1, 4, 6), (6, 4, 1), (1, 1, 1), (33, 65, 17), (64, 300, 16)])
def test_against_numpy(check, rng, dtype, m, k, n):
    x, w, b = rng.standard_normal((m, k)), rng.standard_normal((k, n)), rng.standard_normal(n)
    x, w, b = (a.astype(dtype) for a in (x, w, b))
    bias = pd.tensor(b)
    left = {False: pd.tensor(x), True: pd.tensor(np.ascontiguousarray(x.T)).T}
    right = {False: pd.tensor(w), True: pd.tensor(np.ascontiguousarray(w.T)).T}
    want = x.astype("float64") @ w.astype("float64") + b
    bound = 2 * (k + 1) * np.finfo(dtype).eps * (np.abs(x) @ np.abs(w) + np.abs(b))
    for l in left.values():
        for r in right.values():
            (got,) = check(lambda: [l @ r + bias], 1)  # noqa: B023
            assert (np.abs(got - want) <= bound).all()
            check(lambda: [bias + l @ r], 1)  # noqa: B023


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (4, 1, 2, 3)])
def test_linear_of_any_rank(check, rng, lead):
    pd.manual_seed(3)
    layer = nn.Linear(7, 5)
    x = normal(rng, *lead, 7)
    (got,) = check(lambda: [layer(x).detach()], 1)
    weight, bias = (p.detach().numpy() for p in (layer.weight, layer.bias))
    np.testing.assert_allclose(got, x.numpy() @ weight.T + bias, rtol=1e-5, atol=1e-5)


def test_operands_that_are_parts_of_others(check, rng):
    x, w, b = normal(rng, 12, 9), normal(rng, 11, 9), normal(rng, 11)
    cases = {
        "rows": lambda: x[::2] @ w.T + b,
        "columns": lambda: x[:, 1:8] @ w.T[1:8] + b,
        "a step between columns": lambda: x[:, ::2] @ w.T[::2] + b,
        "part of the bias": lambda: x @ w.T[:, 3:8] + b[3:8],
        "a bias with a step": lambda: x @ w.T[:, :6] + b[::2],
        "a bias turned round": lambda: x @ w.T + b.flip(0),
        "a column as bias": lambda: x @ w.T[:, :9] + w.T[:, 2],
        "a bias of a broadcast": lambda: x @ w.T + b[:1].expand(11),
        "a bias of one row": lambda: x @ w.T + b[None],
        "three axes": lambda: x.reshape(3, 4, 9) @ w.T + b.reshape(1, 1, 11),
        "turned result": lambda: (x @ w.T + b).T,
        "flattened result": lambda: (x @ w.T + b).reshape(-1),
    }
    for name, f in cases.items():
        assert check(lambda f=f: [f()], 1), name
    # Together, x @ w.T of five of them is one product, which no bias may change.
    check(lambda: [f() for f in cases.values()], len(cases) - 5)


def test_what_is_no_bias(check, rng):
    x, w = normal(rng, 6, 6), normal(rng, 6, 6)
    for other in (1.5, normal(rng, 6, 6), normal(rng, 6, 1), pd.tensor(2.0), normal(rng, 1)):
        check(lambda other=other: [x @ w + other], 0)
    check(lambda: [normal(np.random.default_rng(1), 4, 5, 6) @ normal(np.random.default_rng(2), 4, 6, 3) + w[0, :3]], 0)
    check(lambda: [x @ w[0] + w[1]], 0)  # a column of sums: its "bias" is one number a row
    # whole numbers
    check(lambda: [pd.arange(6).reshape(2, 3) @ pd.arange(6).reshape(3, 2) + pd.arange(2)], 0)


def test_a_bias_that_is_not_computed_yet(check, rng):
    x, w, b = normal(rng, 6, 4), normal(rng, 4, 6), normal(rng, 6)
    check(lambda: [x @ w + (b * 2 + 1).tanh()], 1)
    check(lambda: [x @ w + w.sum(0)], 1)
    check(lambda: [x @ w + (x[:1] @ w).reshape(6)], 1)
    check(lambda: [x @ w + pd.arange(6).to(pd.float32)], 1)
    check(lambda: [x @ w + (pd.arange(6) * 3).to(pd.float32) / 7], 1)


def test_a_bias_read_twice(check, rng):
    x, w, b = normal(rng, 6, 4), normal(rng, 4, 6), normal(rng, 6)

    def both():
        c = b * 3
        return [x @ w + c, (x * 2) @ w + c, c, c.sum()]

    check(both, 2)
    check(lambda: [x @ w + b, b @ b], 1)


def test_a_product_that_others_read_too(check, rng):
    x, w, b = normal(rng, 6, 4), normal(rng, 4, 6), normal(rng, 6)

    def held():
        p = x @ w
        return [p + b, p]

    def summed():
        p = x @ w
        return [p + b, p.sum()]

    def twice():
        p = x @ w
        return [p + b, p + b * 2]

    for f in (held, summed, twice, lambda: [(x @ w).reshape(6, 6) + (x @ w)[0]]):  # written twice, it is one product
        check(f, 0)


def test_only_what_ends_in_memory_is_merged(check, rng):
    """A kernel that reads the sum anyway adds the bias by the way."""
    x, w, b = normal(rng, 6, 4), normal(rng, 4, 4), normal(rng, 4)
    check(lambda: [(x @ w + b).tanh()], 0)
    check(lambda: [(x @ w + b).sum()], 0)
    check(lambda: [(x @ w + b) @ w + b], 2)
    check(lambda: [((x @ w + b).T @ x).tanh()], 1)

    def both():
        h = x @ w + b
        return [h, h.tanh()]

    check(both, 1)


@pytest.mark.parametrize("m, k, n", [(0, 4, 3), (3, 0, 4), (3, 4, 0), (0, 0, 0)])
def test_empty_sizes(check, rng, m, k, n):
    b = rng.standard_normal(n).astype("f")
    (got,) = check(lambda: [pd.zeros(m, k) @ pd.zeros(k, n) + pd.tensor(b)], 0)
    np.testing.assert_array_equal(got, np.broadcast_to(b, (m, n)))


def random_program(seed, size=6):
    """Values of 2 or 3 axes made of each other by products, sums, relu and movement; some are held, all of them small."""
    rng = np.random.default_rng(seed)
    pick = lambda values: values[int(rng.integers(len(values)))]
    draw = lambda *s: rng.integers(-2, 3, s).astype("f")
    matrices = [pd.tensor(draw(size, size)) for _ in range(3)]
    vectors = [pd.tensor(draw(size)) for _ in range(2)]
    held = []
    for _ in range(int(rng.integers(4, 14))):
        m = pick(matrices)
        kind = int(rng.integers(12))
        if kind < 4:
            m = m @ pick(matrices) + pick(vectors)
        elif kind < 5:
            m = pick(vectors) + (m.reshape(2, size // 2, size) @ pick(matrices)).reshape(size, size)
        elif kind < 7:
            m = pd.relu(m @ pick(matrices) + pick(vectors))
        elif kind < 8:
            m = pick([m.T, m.flip(0), m[:, :1].expand(size, size), pd.relu(m @ pick(matrices))])
        elif kind < 9:
            m = m + pick(vectors)
        elif kind < 10:
            vectors.append(pick([m[1], m[:, 2], m.sum(0), pick(vectors) * 2, pick(vectors).flip(0)]).clamp(-2, 2))
        elif kind < 11:
            m = pd.relu(m)
        else:
            held.append(m @ pick(matrices))
            m = held[-1] + pick(vectors)
        if rng.random() < 0.5:
            m = m.clamp(-3, 3)
        if rng.random() < 0.3:
            held.append(m)
        matrices.append(m)
    return held + matrices[-2:] + vectors[-1:]


def test_random_programs(monkeypatch, device, nightly):
    """Sums of small whole numbers, so no order of adding matters."""
    total = {}
    for mode in ("off", "on", "all"):
        monkeypatch.setenv("PYDIFF_CUDA_EPILOGUES", mode)
        _C.clear_plans()
        before = _C.exec_stats()["epilogues"]
        results = []
        for seed in range(400 if nightly else 80):
            tensors = random_program(seed)
            evaluate(tensors)
            results.append([t.numpy() for t in tensors])
        total[mode] = _C.exec_stats()["epilogues"] - before
        want = results if mode == "off" else want
        for seed, (got, same) in enumerate(zip(results, want, strict=True)):
            for a, b in zip(got, same, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=f"{mode}, seed {seed}")
    if device != "cpu":
        assert 0 == total["off"] < total["on"] < total["all"]


def special(rng):
    x = rng.integers(-3, 4, (8, 8)).astype("f")
    x[2, 3], x[4, 5], x[6, 7] = np.nan, np.inf, -np.inf
    return pd.tensor(x), pd.tensor(np.eye(8, dtype="f")[:, :6]), pd.tensor(np.array([0, -0.0, 1, -1, 2, np.nan], "f"))


def test_relu_stays_pydiffs_own(check, rng):
    """cuBLASLt's makes 0 of NaN."""
    x, w, b = special(rng)
    (got,) = check(lambda: [pd.relu(x @ w + b)], 0)
    assert np.isnan(got[:, 5]).all() and not np.signbit(got[got == 0]).any()
    check(lambda: [pd.relu(x @ w)], 0)
    check(lambda: [x @ w + b], 1)


def test_relu_where_it_was_asked_for(check, rng, device):
    x, w, b = normal(rng, 9, 8), normal(rng, 8, 7), normal(rng, 7)
    check(lambda: [pd.relu(x @ w + b)], 1, mode="all")
    check(lambda: [pd.relu(x @ w)], 1, mode="all")
    check(lambda: [pd.relu(x.reshape(3, 3, 8) @ w + b)], 1, mode="all")
    check(lambda: [pd.relu(pd.relu(x @ w + b) @ w.T + x[0])], 2, mode="all")
    check(lambda: [pd.relu(x @ w + b).sum()], 0, mode="all")
    check(lambda: [pd.relu(x @ w + x @ w)], 0, mode="all")

    def read_before_too():
        h = x @ w + b
        return [h, pd.relu(h)]

    check(read_before_too, 1, mode="all")
    on_a_gpu(device)
    x, w, b = special(rng)
    y = pd.relu(x @ w + b)
    assert "dot+bias+relu" in _C.explain([y])
    assert (y.numpy()[:, 5] == 0).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_floats(check, monkeypatch, device, rng, dtype):
    """Rounded after the product and after the sum; with "all" once."""
    t = getattr(pd, dtype)
    x, w, b = (normal(rng, *s).to(t) for s in ((9, 40), (40, 11), (11,)))
    evaluate([x, w, b])

    def sum_in_memory():
        y = x @ w + b
        evaluate([y])
        return [y.to(pd.float32)]

    (got,) = check(sum_in_memory, 0)
    np.testing.assert_array_equal(got, ((x @ w) * 1 + b).to(pd.float32).numpy())
    on_a_gpu(device)
    monkeypatch.setenv("PYDIFF_CUDA_EPILOGUES", "all")
    _C.clear_plans()
    before = _C.exec_stats()["epilogues"]
    got = sum_in_memory()[0].numpy()
    assert _C.exec_stats()["epilogues"] == before + 1
    if device == "cuda-host":
        once = (x.to(pd.float32) @ w.to(pd.float32)).to(pd.float64) + b.to(pd.float64)
        np.testing.assert_array_equal(got, once.to(pd.float32).to(t).to(pd.float32).numpy())


def test_a_training_step_is_the_cpus(device, monkeypatch):
    """Whole numbers and a step of 1/8: no sum is rounded, so the order of adding does not matter."""
    monkeypatch.setenv("PYDIFF_CUDA_EPILOGUES", "all")

    def train(where):
        rng = np.random.default_rng(4)
        parameters = [pd.tensor(rng.integers(-3, 4, s).astype("f"), device=where, requires_grad=True)
                      for s in ((6, 5), (6,), (3, 6), (3,))]  # fmt: skip
        x = pd.tensor(rng.integers(-2, 3, (4, 2, 5)).astype("f"), device=where)
        for _ in range(2):
            w, b, v, c = parameters
            y = F.linear(pd.relu(F.linear(x, w, b)), v, c)
            (y.sum() / 8).backward()
            with pd.no_grad():
                parameters = [(p - p.grad / 8).detach().requires_grad_() for p in parameters]
        return [y.detach().numpy().copy()] + [p.detach().numpy().copy() for p in parameters]

    before = _C.exec_stats()["epilogues"]
    got = train(device)
    assert (_C.exec_stats()["epilogues"] - before >= 2) == (device != "cpu")
    for a, b in zip(got, train("cpu"), strict=True):
        np.testing.assert_array_equal(a, b)


RUNS = 24  # more than a plan runs before it is captured, with copies of operands too


@pytest.mark.parametrize("copied", [False, True])
def test_graphs_with_new_addresses(monkeypatch, device, rng, copied):
    """Parameters that stay or move, a pending bias, inputs and results that move."""
    on_a_gpu(device)
    batches = rng.standard_normal((RUNS, 16, 8)).astype("f")
    first = [rng.standard_normal(s).astype("f") for s in ((8, 8), (8,), (8, 8), (8,))]

    def infer():
        parameters = [pd.tensor(p) for p in first]
        results, held = [], []
        for k, batch in enumerate(batches):
            if copied:
                parameters = [p * 1 for p in parameters]
                held += parameters
                evaluate(parameters)
            w, b, v, c = parameters
            h = pd.tensor(batch)
            for _ in range(3):
                h = F.linear(pd.relu(F.linear(h, w, b)).softmax(1), v, c * (k + 1.0))
            evaluate([h])
            results.append(h)
        return results

    outcome = {}
    for graphs in ("off", "on"):
        for mode in ("off", "on", "all"):
            monkeypatch.setenv("PYDIFF_CUDA_GRAPHS", graphs)
            monkeypatch.setenv("PYDIFF_CUDA_EPILOGUES", mode)
            _C.clear_plans()
            before = _C.exec_stats()
            outcome[graphs, mode] = [t.numpy().copy() for t in infer()]
            after = _C.exec_stats()
            taken = after["epilogues"] - before["epilogues"]
            replays = after["graph_replays"] - before["graph_replays"]
            assert (replays >= RUNS // 4) == (graphs == "on")
            each = {"off": 0, "on": 3, "all": 3}[mode]
            assert taken == each * RUNS if graphs == "off" else (taken > 0) == (mode != "off") and taken <= each * RUNS
    for key, got in outcome.items():
        # With or without graphs the same calls of the library, so the same bits on any device.
        want = outcome["off", "off" if device == "cuda-host" else key[1]]
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("function", ["cublasLtMatmulAlgoGetHeuristic", "cublasLtMatmul"])
@pytest.mark.parametrize("mode", ["on", "all"])
def test_a_library_that_refuses(check, monkeypatch, device, rng, function, mode):
    """The product and the operations behind it, one by one. Sizes of this test alone: what was refused is remembered."""
    if device != "cuda-host":
        pytest.skip("switches of the stand-in")
    monkeypatch.setenv("PYDIFF_CUDA_HOST_FAIL", function)
    m = 20 + 2 * len(function) + len(mode)
    x, w, b = normal(rng, m, 9), normal(rng, 9, m + 1), normal(rng, m + 4)
    cases = [lambda: x @ w + b[3:], lambda: pd.relu(x @ w + b[:-3] * 2), lambda: pd.relu(x @ w),
             lambda: x[:2] @ w[:, :2] + b[1:3]]  # fmt: skip
    for f in cases:
        check(lambda f=f: [f()], 0, mode=mode)
    check(lambda: [f() for f in cases], 0, mode=mode)

    def many():
        h, results = x, []
        for k in range(RUNS // 2):
            h = ((h @ w + b[3:]) @ w.T[:, :9] + b[:9]).softmax(1)
            evaluate([h])
            results.append(h)
        return results

    before = _C.exec_stats()["graph_replays"]
    check(many, 0, mode=mode)
    assert _C.exec_stats()["graph_replays"] >= before  # with graphs or without, the same bits


def test_addresses_that_are_aligned_less(check, rng, device):
    """An algorithm is found for the alignment of what it gets."""
    on_a_gpu(device)
    flat = normal(rng, 200)
    for at in (0, 1, 2, 3, 4, 16):
        x, w, b = flat[at : at + 40].reshape(5, 8), flat[at + 50 : at + 98].reshape(8, 6), flat[at + 110 : at + 116]
        check(lambda: [x @ w + b], 1)  # noqa: B023


def test_pydiffs_own_products(check, device, rng):
    """PYDIFF_CUDA_GEMM=own makes the product, an elementwise kernel what is behind it."""
    on_a_gpu(device)
    x, w, b = (normal(rng, *s).to(pd.bfloat16) for s in ((32, 16), (16, 24), (24,)))
    before = _C.cuda_gemm_choice("own")
    try:
        check(lambda: [pd.relu(x @ w + b).to(pd.float32)], 0, mode="all")
        y = x @ w + b
        assert "dot+bias" in _C.explain([y])
        evaluate([y])
        np.testing.assert_array_equal(y.to(pd.float32).numpy(), ((x @ w) * 1 + b).to(pd.float32).numpy())
    finally:
        _C.cuda_gemm_choice(before)


def test_tf32_is_the_switchs(check, device, rng):
    on_a_gpu(device)
    x, w, b = (pd.tensor(rng.integers(-8, 9, s).astype("f")) for s in ((9, 8), (8, 7), (7,)))
    before = pd.cuda.allow_tf32(True)
    try:
        check(lambda: [x @ w + b], 1)
    finally:
        pd.cuda.allow_tf32(before)


def test_the_switches(monkeypatch, device, rng):
    on_a_gpu(device)
    x, w, b = normal(rng, 4, 3), normal(rng, 3, 5), normal(rng, 5)
    for fuse, mode, merged in (("on", "", True), ("on", "1", True), ("on", "0", False), ("off", "all", False)):
        monkeypatch.setenv("PYDIFF_FUSE", fuse)
        monkeypatch.setenv("PYDIFF_CUDA_EPILOGUES", mode)
        assert ("dot+bias" in _C.explain([x @ w + b])) == merged
    monkeypatch.setenv("PYDIFF_FUSE", "on")
    monkeypatch.setenv("PYDIFF_CUDA_EPILOGUES", "some")
    with pytest.raises(ValueError, match="PYDIFF_CUDA_EPILOGUES is unknown; got 'some'; try on, off or all"):
        evaluate([x @ w + b])
