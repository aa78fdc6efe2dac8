"""`DataLoader.state_dict`: what follows a stop in mid-epoch is what would have followed without it, to the bit."""

import json
import random

import numpy as np
import pytest

import pydiff as pd
from pydiff import data as D

COUNTS = pytest.mark.parametrize("workers", [0, 2])


def options(workers, **more):
    return {"num_workers": workers, **({"multiprocessing_context": "fork"} if workers else {}), **more}


class Noisy(D.Dataset):
    """Samples with random numbers of every stream."""

    def __len__(self):
        return 31

    def __getitem__(self, k):
        return k, random.random(), float(np.random.randn()), np.random.rand(), pd.rand(()).item()


class Stream(D.IterableDataset):
    """Numbers with noise; a generator that says nothing of where it is."""

    def __iter__(self):
        worker = D.get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for k in range(first, 29, step):
            yield k, random.random(), float(np.random.randn())


class Stateful(Stream):
    """The same, but it goes to its place by itself, and counts what it has handed out."""

    def __init__(self):
        self.place, self.read = 0, 0

    def __iter__(self):
        worker = D.get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        numbers = range(first, 29, step)
        while self.place < len(numbers):
            self.place += 1
            self.read += 1
            yield numbers[self.place - 1], random.random(), self.read
        self.place = 0

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = state["place"]


def plain(batch):
    return [t.tolist() for t in batch]


def scramble():
    """Another process: other streams."""
    random.seed(77), np.random.seed(78), pd.manual_seed(79)


def resumed(make, stop, epochs=1):
    """(what followed, what follows after a stop) for `stop` batches of the last epoch."""
    random.seed(1), np.random.seed(2), pd.manual_seed(3)
    loader = make()
    for _ in range(epochs - 1):
        list(loader)
    batches = iter(loader)
    for _ in range(stop):
        next(batches)
    state = json.loads(json.dumps(loader.state_dict()))
    streams = random.getstate(), np.random.get_state(), pd.get_rng_state()
    rest = [plain(b) for b in batches]
    after = [plain(b) for b in loader]
    scramble()
    again = make()
    again.load_state_dict(state)
    random.setstate(streams[0]), np.random.set_state(streams[1]), pd.set_rng_state(streams[2])
    return (rest, after), ([plain(b) for b in again], [plain(b) for b in again])


@pytest.mark.smoke
@COUNTS
@pytest.mark.parametrize("stop", [0, 1, 5, 8])
def test_mid_epoch(workers, stop):
    expected, got = resumed(lambda: D.DataLoader(Noisy(), 4, True, **options(workers)), stop)
    assert len(expected[0]) == 8 - stop and got == expected


@COUNTS
@pytest.mark.parametrize("sampler", ["own generator", "replacement", "weighted", "distributed", "python's"])
def test_samplers(workers, sampler):
    class Shuffled(D.Sampler):
        def __iter__(self):
            order = list(range(31))
            random.shuffle(order)
            return iter(order)

    def make():
        g = pd.Generator().manual_seed(8)
        chosen = {
            "own generator": lambda: D.RandomSampler(range(31), generator=g),
            "replacement": lambda: D.RandomSampler(range(31), True, 90, generator=g),
            "weighted": lambda: D.WeightedRandomSampler(list(range(31)), 40),
            "distributed": lambda: D.DistributedSampler(range(31), 2, 1),
            "python's": Shuffled,
        }[sampler]()
        if sampler == "distributed":
            chosen.set_epoch(scrambled.pop() if scrambled else 0)
        return D.DataLoader(
            Noisy(), 3, sampler=chosen, generator=g, **options(workers, **({"prefetch_factor": 3} if workers else {}))
        )

    scrambled = [0, 4]  # the epoch of the first loader; the second is told by the state
    expected, got = resumed(make, 3, epochs=2)
    assert expected[0] and got == expected


@COUNTS
def test_only_the_loaders_own_streams_are_needed(workers):
    """With a generator of its own, and workers, nothing else has to be restored."""

    def make(seed):
        return D.DataLoader(Noisy(), 4, True, generator=pd.Generator().manual_seed(seed), **options(workers))

    loader = make(1)
    batches = iter(loader)
    next(batches), next(batches)
    state = loader.state_dict()
    rest = [plain(b) for b in batches]
    scramble()
    again = make(2)
    again.load_state_dict(state)
    assert [plain(b) for b in again] == rest
    if workers:
        random.seed(5)
        was = random.getstate()
        list(again), again.load_state_dict(state), list(again)
        assert random.getstate() == was  # the program's own streams are left alone


@COUNTS
def test_between_epochs(workers):
    def make():
        return D.DataLoader(Noisy(), 4, True, generator=pd.Generator().manual_seed(1), **options(workers))

    loader = make()
    first = [plain(b)[0] for b in loader]
    state = json.loads(json.dumps(loader.state_dict()))
    second = [plain(b)[0] for b in loader]
    again = make()
    assert again.state_dict()["epoch"] is None
    again.load_state_dict(state)
    assert [plain(b)[0] for b in again] == second != first


@COUNTS
@pytest.mark.parametrize("data", [Stream, Stateful])
@pytest.mark.parametrize("stop", [0, 3, 7, 10])
def test_iterables(workers, data, stop):
    expected, got = resumed(lambda: D.DataLoader(data(), 3, **options(workers)), stop)
    if data is Stateful:  # it has not read what came before, but for its workers' reading ahead
        assert all(read <= 29 for batch in got[0] for read in batch[2])
        expected, got = [[[b[:2] for b in epoch] for epoch in part] for part in (expected, got)]
    assert len(got[0]) == 10 - stop and got == expected


def test_a_stateful_dataset_skips():
    loader = D.DataLoader(Stateful(), 3)
    batches = iter(loader)
    [next(batches) for _ in range(6)]
    again = D.DataLoader(Stateful(), 3)
    again.load_state_dict(loader.state_dict())
    assert plain(next(iter(again)))[2] == [1, 2, 3]


@COUNTS
def test_stops_after_stops(workers):
    """A loader that was resumed can be stopped again; a state does not change with what is read after it."""

    def make():
        return D.DataLoader(Noisy(), 4, True, generator=pd.Generator().manual_seed(1), **options(workers))

    random.seed(1), np.random.seed(2), pd.manual_seed(3)
    whole = [plain(b) for b in make()]
    random.seed(1), np.random.seed(2), pd.manual_seed(3)
    got, state = [], None
    while len(got) < len(whole):
        loader = make()
        if state is not None:
            loader.load_state_dict(state)
            assert loader.state_dict() == state
        batches = iter(loader)
        got += [plain(next(batches)), plain(next(batches))]
        state = loader.state_dict()
        frozen = json.dumps(state)
        next(batches, None)
        assert json.dumps(state) == frozen
        del batches  # as an early break
        scramble()
    assert got == whole


def test_persistent_workers_resume():
    def make():
        g = pd.Generator().manual_seed(1)
        return D.DataLoader(Noisy(), 4, True, generator=g, **options(2, persistent_workers=True))

    loader = make()
    list(loader)
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()
    rest = [plain(b) for b in batches], [plain(b) for b in loader]
    for again in (make(), loader):
        scramble()
        again.load_state_dict(state)
        assert ([plain(b) for b in again], [plain(b) for b in again]) == rest


def test_pytorchs_samplers_and_streams(torch):
    class Theirs(torch.utils.data.Dataset):
        def __len__(self):
            return 12

        def __getitem__(self, k):
            return k, torch.rand(()).item()

    def make():
        sampler = torch.utils.data.RandomSampler(range(12), generator=torch.Generator().manual_seed(3))
        return D.DataLoader(Theirs(), 2, sampler=sampler, **options(2))

    torch.manual_seed(0)
    loader = make()
    batches = iter(loader)
    next(batches), next(batches), next(batches)
    state = json.loads(json.dumps(loader.state_dict()))
    rest = [plain(b) for b in batches]
    torch.manual_seed(9)
    again = make()
    again.load_state_dict(state)
    assert [plain(b) for b in again] == rest and len({x for b in rest for x in b[1]}) == 6


@pytest.mark.parametrize("change", [{"num_workers": 1}, {"batch_size": 3}, {"generator": pd.Generator()}])
def test_a_state_of_another_loader(change):
    state = D.DataLoader(range(9), 2).state_dict()
    other = D.DataLoader(range(9), **{"batch_size": 2, **change})
    with pytest.raises(ValueError, match=r"^\[load_state_dict\] the state is of another loader; got .*; try "):
        other.load_state_dict(state)
    with pytest.raises(ValueError, match=r"^\[load_state_dict\] it is no state of a DataLoader; got .*; try "):
        other.load_state_dict({"weight": 1})
