"""`DataLoader`: order, workers, what goes wrong, against PyTorch's. Multi-process tests wait for events, never for a clock."""

import contextlib
import gc
import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import pydiff as pd
from pydiff import data as D

ROOT = Path(__file__).resolve().parents[2]
FORK = {"multiprocessing_context": "fork"}
WORKERS = {"num_workers": 2, **FORK}


class Numbers(D.Dataset):
    """0 to n - 1, each in several forms."""

    def __init__(self, n=23, size=7):
        self.n, self.size = n, size

    def __len__(self):
        return self.n

    def __getitem__(self, k):
        return {"k": k, "array": np.full((self.size, 3), k, np.float32), "tensor": pd.full((self.size,), k), "text": str(k)}


class Parts(D.IterableDataset):
    """The numbers below n, dealt out to the workers."""

    def __init__(self, n=20):
        self.n = n

    def __len__(self):
        return self.n

    def __iter__(self):
        worker = D.get_worker_info()
        yield from range(worker.id, self.n, worker.num_workers) if worker else range(self.n)


class Bad(D.Dataset):
    """Something happens at sample `at`."""

    def __init__(self, what, at=9):
        self.what, self.at = what, at

    def __len__(self):
        return 16

    def __getitem__(self, k):
        if k == self.at:
            self.what()
        return k


def values(loader):
    return [batch.tolist() if hasattr(batch, "tolist") else batch for batch in loader]


def children():
    """Processes that this one started and that are not reaped."""
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()


def descriptors():
    """How many sockets, pipes and nameless files are open. (PyTorch opens a library or two when it is first used.)"""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own
            found += os.readlink(f"/proc/self/fd/{number}").startswith(("socket:", "pipe:", "/memfd:"))
    return found


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No process, no descriptor, no file in shared memory stays."""
    if not Path("/proc/self/fd").exists():
        yield
        return

    def seen():
        return children(), descriptors(), [f for f in os.listdir("/dev/shm") if "pydiff" in f or "psm" in f]

    before = seen()
    yield
    if seen() != before:
        gc.collect()
    assert seen() == before


# ---- order


@pytest.mark.smoke
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("options", [
    {"batch_size": 4}, {"batch_size": 4, "drop_last": True}, {"batch_size": None}, {}, {"batch_size": 3, "sampler": [5, 2, 2, 9]},
    {"batch_sampler": [[1, 2], [3], [4, 5, 6]]}, {"batch_size": 100},
])  # fmt: skip
def test_order_as_pytorchs(torch, workers, options):
    data = list(range(0, 46, 2))
    ours = D.DataLoader(data, num_workers=workers, **options, **(FORK if workers else {}))
    theirs = torch.utils.data.DataLoader(data, **options)
    assert len(ours) == len(theirs)
    expected = [int(b) if not hasattr(b, "tolist") else b.tolist() for b in theirs]
    assert values(ours) == expected == values(ours)


@pytest.mark.parametrize("options", [{"batch_size": 3}, {"batch_size": 3, "drop_last": True}, {"batch_size": None}])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_iterables_as_pytorchs(torch, workers, options):
    class Theirs(torch.utils.data.IterableDataset):
        def __iter__(self):
            worker = torch.utils.data.get_worker_info()
            return iter(range(worker.id, 20, worker.num_workers) if worker else range(20))

    expected = [b.tolist() if hasattr(b, "tolist") else b
                for b in torch.utils.data.DataLoader(Theirs(), num_workers=workers, **options)]  # fmt: skip
    context = FORK if workers else {}
    assert values(D.DataLoader(Parts(), num_workers=workers, **options, **context)) == expected
    # PyTorch's own dataset as it is: its get_worker_info answers in our workers.
    assert values(D.DataLoader(Theirs(), num_workers=workers, **options, **context)) == expected


@pytest.mark.smoke
@pytest.mark.parametrize("replacement", [False, True])
def test_same_order_with_and_without_workers(replacement):
    def loader(seed, **options):
        g = pd.Generator().manual_seed(seed)
        sampler = D.RandomSampler(range(40), replacement, generator=g)
        return D.DataLoader(range(40), batch_size=3, sampler=sampler, generator=g, **options)

    one, two, other = loader(1), loader(1, **WORKERS, prefetch_factor=5), loader(2)
    for _ in range(2):
        alone = values(one)
        assert alone == values(two) != values(other)
    pd.manual_seed(5)
    first = values(D.DataLoader(range(9), shuffle=True))
    second = values(D.DataLoader(range(9), shuffle=True))
    pd.manual_seed(5)
    assert values(D.DataLoader(range(9), shuffle=True, **WORKERS)) == first != second


def test_out_of_order_has_everything_once():
    loader = D.DataLoader(range(30), batch_size=4, in_order=False, **WORKERS)
    assert sorted(sum(values(loader), [])) == list(range(30))
    with pytest.raises(ValueError, match=r"^\[DataLoader\] batches without an order"):
        loader.state_dict()


# ---- batches


@pytest.mark.parametrize("size", [1, 200, 40_000])
def test_batches_are_whole_and_stay_so(size):
    """Through the socket, through memory; kept for as long as the program likes."""
    data = Numbers(120, size)
    kept = list(D.DataLoader(data, batch_size=2, **WORKERS)) if size < 40_000 else []
    arrays = []
    for batch in D.DataLoader(data, batch_size=7, **WORKERS):
        arrays.append((batch["k"].tolist(), batch["array"].numpy()[:, -1, -1]))
        assert batch["text"] == [str(k) for k in batch["k"].tolist()]
        kept.append(batch)
    for batch in kept:
        k = batch["k"].numpy()
        assert (batch["array"].numpy() == k[:, None, None]).all() and (batch["tensor"].numpy() == k[:, None]).all()
    del kept, batch
    gc.collect()
    for numbers, array in arrays:
        assert array.tolist() == numbers


def test_a_write_into_a_batch_stays_in_it():
    data = Numbers(24, 900)
    for batch in D.DataLoader(data, batch_size=2, **WORKERS):
        assert (batch["array"].numpy()[:, 0, 0] == batch["k"].numpy()).all()
        batch["array"].add_(1000)
        assert not batch["array"].numpy().flags.writeable
    raw = D.DataLoader(data, batch_size=2, collate_fn=lambda s: np.stack([x["array"] for x in s]), **WORKERS)
    for array in raw:
        assert (array < 24).all()
        array += 1000


def test_what_workers_hand_over():
    """Any type and layout; a gradient stays behind."""
    made = {
        "narrow": pd.ones(3000, dtype=pd.bfloat16, device="cpu") * 3, "turned": pd.arange(6000, device="cpu").reshape(2, 3000).T,
        "scalar": pd.tensor(2.5, device="cpu"), "none": pd.zeros(0, 4, device="cpu"), "complex": pd.ones(2000, dtype=pd.complex64, device="cpu"), "object": {1, 2},
        "parameter": pd.ones(2000, requires_grad=True, device="cpu") * 2, "array": np.asfortranarray(np.ones((40, 50))),
    }  # fmt: skip
    (got,) = D.DataLoader([made], batch_size=None, num_workers=1, **FORK)
    for key, value in made.items():
        if isinstance(value, pd.Tensor):
            assert got[key].dtype == value.dtype and got[key].tolist() == value.tolist() and not got[key].requires_grad
    assert got["object"] == {1, 2} and tuple(got["array"].shape) == (40, 50)


def test_lazy_work_of_the_parent_is_done_in_a_fork():
    x = (pd.randn(500, 40, device="cpu") @ pd.randn(40, 300, device="cpu")).tanh()  # recorded, not computed
    batches = [batch[0] for batch in D.DataLoader(D.TensorDataset(x), batch_size=100, **WORKERS)]
    assert pd.equal(pd.cat(batches), x)


def test_pinning_is_never_an_error():
    assert values(D.DataLoader(range(3), pin_memory=True, pin_memory_device="cuda")) == [[0], [1], [2]]


# ---- seeds


class Draws(D.Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, k):
        return [random.random(), float(np.random.standard_normal()), float(np.random.randn()), pd.rand(()).item()]


def drawn(loader):
    return [pd.stack(batch).tolist() for batch in loader]


@pytest.mark.parametrize("persistent", [False, True])
def test_seeds_of_workers(persistent):
    def run():
        g = pd.Generator().manual_seed(4)
        loader = D.DataLoader(Draws(), batch_size=2, generator=g, persistent_workers=persistent, **WORKERS)
        return [drawn(loader), drawn(loader)]

    random.seed(0), np.random.seed(0), pd.manual_seed(0)
    first = run()
    assert first == run()  # whatever this process has drawn
    flat = np.array(first).reshape(-1)
    assert len(set(flat.tolist())) == flat.size  # no worker and no epoch repeats another's


def seeds(number):
    worker = D.get_worker_info()
    assert worker.id == number and worker.num_workers == 2
    worker.dataset.extend([worker.seed, number, os.getpid()])


def test_worker_init_and_info():
    loader = D.DataLoader([], sampler=[0, 0, 1, 1, 2, 2], worker_init_fn=seeds, persistent_workers=True, **WORKERS)
    first, second = values(loader), values(loader)
    assert D.get_worker_info() is None
    assert [b[0] for b in first[2:4]] == [0, 1] and first[1][0] - first[0][0] == 1
    assert first[4:] == second[4:] and first[4] != first[5]  # the same processes
    assert os.getpid() not in sum(first, [])


def test_spawned_workers():
    options = dict(batch_size=4, shuffle=True, num_workers=1, multiprocessing_context="spawn")
    g = pd.Generator().manual_seed(1)
    script = textwrap.dedent(f"""
        import pydiff as pd
        if __name__ == "__main__":
            data = pd.data.TensorDataset(pd.arange(10.0) * 2, pd.arange(10))
            loader = pd.data.DataLoader(data, generator=pd.Generator().manual_seed(1), **{options!r})
            print([y.tolist() for x, y in loader if pd.equal(x, y * 2.0)])
    """)
    expected = values(D.DataLoader(range(10), batch_size=4, shuffle=True, generator=g))
    assert run_script(script).stdout.strip() == str(expected)


def run_script(script, **options):
    """A program of its own; a file, as spawned workers read it again."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "program.py"
        file.write_text(script)
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(ROOT)])}
        return subprocess.run([sys.executable, str(file)], env=env, capture_output=True, text=True, timeout=120, **options)


# ---- errors


def wrong(error):
    def raise_it():
        raise error

    return raise_it


class OwnError(Exception):
    def __init__(self, code, place):
        super().__init__(f"{code} at {place}")


@pytest.mark.parametrize("error, kind", [
    (ValueError("no such thing"), ValueError), (KeyError("no such thing"), KeyError), (OwnError(3, "no such thing"), RuntimeError),
    (StopIteration("no such thing"), RuntimeError), (UnicodeDecodeError("utf-8", b"", 0, 1, "no such thing"), RuntimeError),
])  # fmt: skip
def test_errors_of_a_worker(error, kind):
    loader = D.DataLoader(Bad(wrong(error)), batch_size=2, **WORKERS)
    seen, batches = [], iter(loader)
    with pytest.raises(kind) as found:
        for batch in batches:
            seen.append(batch.tolist())
    text = str(found.value)
    assert type(found.value).__name__ == kind.__name__ and type(found.value).__module__ == "builtins"  # as a traceback shows it
    assert text.startswith("[DataLoader] worker 0 raised an error; got " + type(error).__name__)
    assert "no such thing" in text and "try num_workers=0" in text and "__getitem__" in text and "\n" in text
    assert seen == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert next(batches).tolist() == [10, 11]  # the others are still there


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_sample_can_be_passed_over(workers):
    loader = D.DataLoader(Bad(wrong(ValueError("bad")), at=5), batch_size=2, num_workers=workers, **(FORK if workers else {}))
    batches, seen = iter(loader), []
    for _ in range(8):
        try:
            seen += next(batches).tolist()
        except ValueError:
            state = loader.state_dict()
    assert seen == [0, 1, 2, 3, *range(6, 16)]
    loader.load_state_dict(state)
    assert next(iter(loader)).tolist() == [6, 7]


def test_a_sample_cannot_end_an_epoch():
    with pytest.raises(RuntimeError, match=r"^\[DataLoader\] a sample raised StopIteration; got no batch; try "):
        values(D.DataLoader(Bad(wrong(StopIteration()))))


class BadState(Parts):
    def state_dict(self):
        raise ValueError("here")

    def load_state_dict(self, state):
        pass


@pytest.mark.parametrize("where", ["state", "init", "collate", "pickle", "iter"])
def test_errors_elsewhere_in_a_worker(where):
    options = {
        "init": {"worker_init_fn": wrong(ValueError("here"))}, "collate": {"collate_fn": wrong(ValueError("here"))},
        "pickle": {"collate_fn": lambda samples: (k for k in samples)}, "iter": {}, "state": {},
    }  # fmt: skip
    data = {"iter": D.ChainDataset([range(2), 3]), "state": BadState()}.get(where, range(4))
    with pytest.raises((ValueError, TypeError), match=r"^\[DataLoader\] worker 0 raised an error"):
        for _ in D.DataLoader(data, **options[where], **WORKERS):
            pass


@pytest.mark.parametrize("what, told", [
    (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"), (lambda: os._exit(7), "exit status 7"),
])  # fmt: skip
@pytest.mark.parametrize("persistent", [False, True])
def test_a_worker_that_dies_is_named(what, told, persistent):
    loader = D.DataLoader(Bad(what), batch_size=2, persistent_workers=persistent, **WORKERS)
    with pytest.raises(RuntimeError, match=rf"^\[DataLoader\] worker 0 \(process \d+\) died; got {told}; try "):
        values(loader)
    loader.dataset.at = None
    assert len(values(loader)) == 8  # the loader serves again


def test_a_worker_that_is_killed_while_it_is_waited_for():
    class Waits(D.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, k):
            if k == 3:
                signal.pause()
            return os.getpid()

    batches = iter(D.DataLoader(Waits(), **WORKERS))
    pids = [next(batches).item() for _ in range(3)]
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(RuntimeError, match=rf"^\[DataLoader\] worker 1 \(process {pids[1]}\) died; got SIGKILL"):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)


def test_timeout():
    with pytest.raises(RuntimeError, match=r"^\[DataLoader\] no batch came in time; got 0.3 s of waiting for worker 0"):
        values(D.DataLoader(Bad(signal.pause, at=0), timeout=0.3, **WORKERS))


INTERRUPTED = """
import os, signal, sys
import pydiff as pd
class Slow:
    def __len__(self): return 100
    def __getitem__(self, k):
        if k == 5: signal.pause()
        return os.getpid()
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with SIGINT ignored
pids = set()
try:
    for k, batch in enumerate(pd.data.DataLoader(Slow(), num_workers=2, multiprocessing_context="fork")):
        pids |= set(batch.tolist())
        if k == 4 and {end!r} == "ctrl-c":  # the next batch does not come: the loop waits for it
            signal.signal(signal.SIGALRM, lambda *_: os.killpg(0, signal.SIGINT))
            signal.setitimer(signal.ITIMER_REAL, 0.2)
        if len(pids) == 2 and {end!r} == "exit": sys.exit(3)
        if len(pids) == 2 and {end!r} == "killed": print(*pids, flush=True); os.kill(os.getpid(), signal.SIGKILL)
finally:
    print(*pids, flush=True)
"""


@pytest.mark.parametrize("end", ["ctrl-c", "exit", "killed"])
def test_workers_end_with_their_program(end):
    done = run_script(INTERRUPTED.format(end=end), start_new_session=True)
    assert done.returncode != 0 and ("KeyboardInterrupt" in done.stderr) == (end == "ctrl-c"), done.stderr
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    for _ in range(600):
        if not any(alive(pid) for pid in pids):
            break
        signal.sigtimedwait([], 0.05)
    assert not any(alive(pid) for pid in pids)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("persistent", [False, True])
def test_early_break(persistent):
    loader = D.DataLoader(Numbers(40, 500), persistent_workers=persistent, **WORKERS)
    for k, _ in enumerate(loader):
        if k == 2:
            break
    assert bool(children()) == persistent
    assert [b["k"].item() for b in loader] == list(range(40))
    first = iter(loader)
    next(first)
    assert next(iter(loader))["k"].item() == 0
    done = iter(loader)
    assert len(list(done)) == len(list(loader)) and next(done, None) is None
    if persistent:
        with pytest.raises(RuntimeError, match=r"^\[DataLoader\] persistent workers serve one epoch at a time"):
            next(first)


WRONG = [
    {"batch_size": 0}, {"num_workers": -1}, {"timeout": -1}, {"timeout": 1}, {"prefetch_factor": 2}, {"persistent_workers": True},
    {"sampler": [0], "shuffle": True}, {"batch_sampler": [[0]], "batch_size": 2}, {"batch_size": None, "drop_last": True},
    {"num_workers": 1, "prefetch_factor": 0}, {"num_workers": 1, "multiprocessing_context": "thread"}, {"num_workers": True},
]  # fmt: skip


@pytest.mark.parametrize("options", WRONG, ids=str)
def test_arguments_that_exclude_each_other(options):
    with pytest.raises(ValueError, match=r"^\[DataLoader\] .*; got .*; try "):
        D.DataLoader(range(3), **options)


def test_iterables_have_no_order():
    with pytest.raises(ValueError, match=r"^\[DataLoader\] an iterable dataset has its own order"):
        D.DataLoader(Parts(), shuffle=True)


def test_digits_through_workers(torch):
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    images, targets = digits.images.astype(np.float32), digits.target
    data = list(zip(images, targets))
    theirs = torch.utils.data.DataLoader(data, batch_size=64)
    for (x, y), (a, b) in zip(D.DataLoader(data, batch_size=64, **WORKERS), theirs):
        np.testing.assert_array_equal(x.numpy(), a.numpy())
        np.testing.assert_array_equal(y.numpy(), b.numpy())
