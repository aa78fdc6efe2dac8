"""`DataLoader`: batches of a dataset, read here or by worker processes, in an order that can be taken up again."""

import multiprocessing
import pickle
import weakref
from itertools import repeat

from . import _random_state
from ._pool import Pool
from .collate import default_collate, default_convert
from .dataset import is_iterable_style
from .samplers import BatchSampler, RandomSampler, SequentialSampler, draw_seed
from .worker import END, Fetcher, Reading, WorkerInfo, get_worker_info, stateful

__all__ = ["DataLoader", "WorkerInfo", "get_worker_info"]

_VERSION = 1
_NEEDS_WORKERS = {"prefetch_factor": None, "persistent_workers": False, "timeout": 0}  # and what they are without


def _wrong(what, got, advice):
    return ValueError(f"[DataLoader] {what}; got {got}; try {advice}")


class DataLoader:
    """The batches of a dataset; iterate over it once an epoch.

    A dataset is anything with `__getitem__` and `__len__` (map-style), or with `__iter__` alone (iterable): pydiff's,
    PyTorch's, Hugging Face's, a list. The order of samples depends on the generator's seed, and not on the workers.

    Workers are processes, started as `multiprocessing` starts them (on Linux before Python 3.14: forked). Batches come through
    shared memory that has no name, so nothing is left behind. An error of a worker is raised here as its own class with the
    worker's traceback in its text; a worker that dies is a RuntimeError that names it. A program that keeps more batches than
    the workers read ahead and some 16 more gets copies. In a worker pydiff has one thread and the CPU as its default device, and
    the streams of `random`, `numpy.random`, `pydiff.random` (and PyTorch's, where it is loaded) start at a base seed, drawn of
    the generator each epoch, plus the worker's number; with persistent workers too, where PyTorch's go on.

    Arguments:
        dataset: what is read.
        batch_size: samples in a batch; None for samples one by one, converted by `default_convert`.
        shuffle: whether map-style samples come in random order, another each epoch.
        sampler: an iterable of indices instead; batch_sampler: an iterable of lists of indices.
        num_workers: processes that read; 0 reads in this one.
        collate_fn: makes a batch of a list of samples; `default_collate` if None.
        pin_memory, pin_memory_device: taken for PyTorch's sake. pydiff's copies to a CUDA device go through page-locked memory
            of its own, so there is nothing to pin.
        drop_last: whether the last batch is dropped where it is smaller.
        timeout: seconds to wait for a batch of a worker; 0 for ever.
        worker_init_fn: called in each worker with its number, once it is started and its streams are seeded.
        multiprocessing_context: 'fork', 'spawn', 'forkserver', or a context of `multiprocessing`.
        generator: a `pydiff.Generator` of the order and of the base seed; the default one if None.
        prefetch_factor: batches that each worker reads ahead, 2 if None.
        persistent_workers: whether workers live until the loader is gone, not for one epoch.
        in_order: whether batches come in the sampler's order; else as they are done.

    Raises ValueError where arguments exclude each other. While iterating: RuntimeError for a worker that died and for a timeout.

    `state_dict()` says where the loader is, at any time in an epoch or between two, and `load_state_dict(state)` goes there.

    >>> import pydiff as pd
    >>> loader = pd.data.DataLoader(range(6), batch_size=2, shuffle=True, generator=pd.Generator().manual_seed(0))
    >>> batches = iter(loader)
    >>> first, state = next(batches), loader.state_dict()
    >>> rest = [batch.tolist() for batch in batches]
    >>> loader.load_state_dict(state)
    >>> [batch.tolist() for batch in loader] == rest
    True
    """

    def __init__(
        self, dataset, batch_size=1, shuffle=None, sampler=None, batch_sampler=None, num_workers=0, collate_fn=None,
        pin_memory=False, drop_last=False, timeout=0, worker_init_fn=None, multiprocessing_context=None, generator=None, *,
        prefetch_factor=None, persistent_workers=False, pin_memory_device="", in_order=True,
    ):  # fmt: skip
        if isinstance(num_workers, bool) or not isinstance(num_workers, int) or num_workers < 0:
            raise _wrong("num_workers is a whole number, 0 or more", repr(num_workers), "num_workers=0")
        if timeout < 0:
            raise _wrong("timeout is 0 or more seconds", timeout, "timeout=0")
        given = {"prefetch_factor": prefetch_factor, "persistent_workers": persistent_workers, "timeout": timeout}
        if not num_workers:
            for name, unset in _NEEDS_WORKERS.items():
                if given[name] != unset:
                    raise _wrong(f"{name} is for workers", f"{name}={given[name]}, num_workers=0", "num_workers=1")
        if prefetch_factor is not None and prefetch_factor < 1:
            raise _wrong("prefetch_factor is 1 or more", prefetch_factor, "prefetch_factor=2")
        iterable = is_iterable_style(dataset)
        if not iterable and not hasattr(dataset, "__getitem__"):
            raise TypeError(
                f"[DataLoader] a dataset has __getitem__ and __len__, or __iter__; got {type(dataset).__name__}; "
                "try a list of samples"
            )
        if iterable and (shuffle or sampler is not None or batch_sampler is not None):
            raise _wrong("an iterable dataset has its own order", _orders(shuffle, sampler, batch_sampler), "none of them")
        if sampler is not None and shuffle:
            raise _wrong("sampler and shuffle exclude each other", "both", "shuffle=False")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            got = f"batch_size={batch_size}, drop_last={drop_last}, {_orders(shuffle, sampler, batch_sampler)}"
            raise _wrong("batch_sampler excludes batch_size, shuffle, sampler and drop_last", got, "batch_sampler alone")
        if batch_sampler is not None:
            batch_size = None
        elif batch_size is None:
            if drop_last:
                raise _wrong("without batch_size there is no last batch", "drop_last=True", "drop_last=False")
        elif isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise _wrong("batch_size is a whole number, 1 or more", repr(batch_size), "batch_size=1, or None")
        if sampler is None and not iterable:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_size is not None and batch_sampler is None and not iterable:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        batched = batch_size is not None or batch_sampler is not None

        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn or (default_collate if batched else default_convert)
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.generator = generator
        self.prefetch_factor = (prefetch_factor or 2) if num_workers else None
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self._context = _context(multiprocessing_context)
        self._iterable = iterable
        self._batched = batched
        self._pool = self._latest = self._progress = self._resume = None

    @property
    def multiprocessing_context(self):
        """The context of `multiprocessing` that starts the workers."""
        return self._context

    def __len__(self):
        if not self._iterable:
            return len(self.batch_sampler if self._batched else self.sampler)
        size = len(self.dataset)
        if not self._batched:
            return size
        return size // self.batch_size if self.drop_last else -(-size // self.batch_size)

    def __iter__(self):
        if self._pool is not None and self._latest is not None and self._latest() is not None:
            self._latest().abandon()  # persistent workers serve one epoch at a time
        epoch = (_Workers if self.num_workers else _Here)(self)
        self._latest = weakref.ref(epoch)
        return epoch

    # ---- where it is

    def state_dict(self):
        """Where the loader is, as a dict of numbers and text (and what a dataset's own `state_dict` gives).

        In mid-epoch the state is that after the last batch that was handed out. It has the random streams of the workers; with
        `num_workers=0` those of this process, from which the dataset draws. A dataset with `state_dict` and `load_state_dict`
        (or whose iterator has them) is asked; other iterable datasets will be read again up to the place. What the next epoch
        draws of the default generator, where the loader has none of its own, is the program's to save (`get_rng_state`).
        Raises ValueError for workers with `in_order=False`, whose batches come in no fixed order.
        """
        if self.num_workers and not self.in_order:
            raise _wrong("batches without an order cannot be taken up again", "in_order=False", "in_order=True")
        progress = self._progress
        if progress is None and self._resume is not None:
            return self._resume
        state = {
            "version": _VERSION, "num_workers": self.num_workers, "batch_size": self.batch_size, "epoch": None,
            "generators": [_random_state.pack(_random_state.generator_state(g)) for g in self._generators()],
        }  # fmt: skip
        if progress is not None and not progress.finished:
            state["epoch"] = progress.state_dict()
        return state

    def load_state_dict(self, state_dict):
        """Go where `state_dict()` was called: the next epoch begins with the batch that followed.

        The loader has to be made as that one was, of the same data. Raises ValueError where it was not.
        """
        if not isinstance(state_dict, dict) or state_dict.get("version") != _VERSION:
            got = state_dict.get("version") if isinstance(state_dict, dict) else type(state_dict).__name__
            raise ValueError(f"[load_state_dict] it is no state of a DataLoader; got version {got}; try state_dict()")
        generators = self._generators()
        now = {"num_workers": self.num_workers, "batch_size": self.batch_size, "generators": len(generators)}
        then = {**state_dict, "generators": len(state_dict["generators"])}
        for name, value in now.items():
            if then[name] != value:
                raise ValueError(
                    f"[load_state_dict] the state is of another loader; got {name} {then[name]} for {value}; "
                    f"try a loader with {name}={then[name]}"
                )
        for generator, packed in zip(generators, state_dict["generators"]):
            _random_state.set_generator_state(generator, _random_state.unpack(packed))
        self._resume, self._progress = state_dict, None

    def _samplers(self):
        found = [self.sampler, self.batch_sampler, getattr(self.batch_sampler, "sampler", None)]
        return list({id(sampler): sampler for sampler in found if sampler is not None}.values())

    def _generators(self):
        """The generators that the order is drawn from."""
        found = [self.generator, *(getattr(sampler, "generator", None) for sampler in self._samplers())]
        return list({id(g): g for g in found if callable(getattr(g, "get_state", None))}.values())

    def _reading(self):
        return Reading(self.dataset, self.collate_fn, self.batch_size, self._batched, self.drop_last)

    def _indices(self):
        if self._iterable:
            return repeat(None)
        return iter(self.batch_sampler if self._batched else self.sampler)


def _orders(shuffle, sampler, batch_sampler):
    return f"shuffle={shuffle}, sampler={type(sampler).__name__}, batch_sampler={type(batch_sampler).__name__}"


def _context(given):
    if given is None or isinstance(given, str):
        methods = multiprocessing.get_all_start_methods()
        if given is not None and given not in methods:
            raise _wrong("no such start method", repr(given), " or ".join(map(repr, methods)))
        return multiprocessing.get_context(given)
    return given


# ---- one epoch


class _Progress:
    """How far an epoch has come; lives on when its iterator is dropped.

    `begun` is the state of everything that the order may be drawn from as the epoch began: to take it up again, the order is
    drawn anew and its first `yielded` batches are dropped, which costs no reading.
    """

    def __init__(self, begun, workers):
        self.begun = begun
        self.yielded = 0
        self.turn = 0
        self.finished = False
        self.fetcher = None
        self.workers = [{"streams": None, "fetcher": None, "ended": False} for _ in range(workers)]

    def state_dict(self):
        pack = _random_state.pack
        state = {"begun": self.begun, "yielded": self.yielded, "turn": self.turn, "workers": []}
        for worker in self.workers:
            streams, fetcher = worker["streams"], worker["fetcher"]
            fetcher = pickle.loads(fetcher) if isinstance(fetcher, bytes) else fetcher
            state["workers"].append({"streams": streams and pack(streams), "fetcher": fetcher, "ended": worker["ended"]})
        if self.fetcher is not None:
            state["fetcher"] = self.fetcher.state()
            state["streams"] = pack(_random_state.capture())
        return state

    def load_state_dict(self, state):
        self.yielded, self.turn = state["yielded"], state["turn"]
        for k, worker in enumerate(state["workers"]):
            streams = worker["streams"] and _random_state.unpack(worker["streams"])
            self.workers[k] = {**worker, "streams": streams}


def _begun(loader):
    pack = _random_state.pack
    samplers = loader._samplers()
    return {
        "streams": pack(_random_state.capture()),
        "generators": [pack(_random_state.generator_state(g)) for g in loader._generators()],
        "samplers": [sampler.state_dict() if stateful(sampler) else None for sampler in samplers],
        "epochs": [getattr(sampler, "epoch", None) for sampler in samplers],
    }


def _begin_again(loader, begun):
    unpack = _random_state.unpack
    _random_state.restore(unpack(begun["streams"]))
    for generator, packed in zip(loader._generators(), begun["generators"]):
        _random_state.set_generator_state(generator, unpack(packed))
    for sampler, state, epoch in zip(loader._samplers(), begun["samplers"], begun["epochs"]):
        if state is not None:
            sampler.load_state_dict(state)
        elif epoch is not None and hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)


class _Epoch:
    """An iterator over the batches of one epoch, from its start or from where an earlier one was."""

    def __init__(self, loader):
        self._loader = loader
        resume, loader._resume = loader._resume, None
        state = resume and resume["epoch"]
        now = None
        if state:
            now = _random_state.capture()
            _begin_again(loader, state["begun"])
        begun = _begun(loader)
        base_seed = draw_seed(loader.generator)
        self._progress = _Progress(begun, loader.num_workers)
        self._indices = loader._indices()
        if state:
            self._progress.load_state_dict(state)
            if not loader._iterable:
                for _ in range(self._progress.yielded):
                    next(self._indices, None)
        self._start(base_seed, state)
        if state:
            _random_state.restore(_random_state.unpack(state["streams"]) if "streams" in state else now)
        loader._progress = self._progress

    def __iter__(self):
        return self

    def __len__(self):
        return len(self._loader)


class _Here(_Epoch):
    """Batches read in this process."""

    def _start(self, base_seed, state):
        self._fetcher = self._progress.fetcher = Fetcher(self._loader._reading())
        self._fetcher.start(state and state["fetcher"])

    def __next__(self):
        indices = END if self._progress.finished else next(self._indices, END)
        try:
            batch = END if indices is END else self._fetcher.fetch(indices)
        except Exception as error:
            self._progress.yielded += 1  # it was its turn; the next one follows
            if isinstance(error, StopIteration):  # which would end the epoch unseen
                told = "[DataLoader] a sample raised StopIteration; got no batch; try raising IndexError"
                raise RuntimeError(told) from error
            raise
        if batch is END:
            self._progress.finished = True
            raise StopIteration
        self._progress.yielded += 1
        return batch


class _Workers(_Epoch):
    """Batches of worker processes, each asked for `prefetch_factor` ahead, the answers taken in turn."""

    def _start(self, base_seed, state):
        loader, progress = self._loader, self._progress
        self._stale, self._open = False, True
        self._turn = progress.turn
        self._pool = loader._pool or Pool(
            loader._context, loader._reading(), loader.num_workers, loader.worker_init_fn, loader.prefetch_factor
        )
        if loader._pool is None:
            self._pool.end = weakref.finalize(loader if loader.persistent_workers else self, self._pool.close)
        if loader.persistent_workers:
            loader._pool = self._pool
        states = [None] * loader.num_workers
        for k, worker in enumerate(progress.workers):
            if worker["streams"] is not None:  # it has handed out a batch
                states[k] = {"streams": worker["streams"], "fetcher": worker["fetcher"]}
        self._pool.start(base_seed, states)
        for k in range(loader.prefetch_factor * loader.num_workers):
            self._ask((self._turn + k) % loader.num_workers)

    def _ask(self, number):
        if not self._open or self._progress.workers[number]["ended"]:
            return
        indices = next(self._indices, END)
        if indices is END:
            self._open = False
        else:
            self._pool.ask(number, indices)

    def __next__(self):
        if self._progress.finished:
            raise StopIteration
        if self._stale:
            raise RuntimeError(
                "[DataLoader] persistent workers serve one epoch at a time; got a later epoch of the same loader; "
                "try persistent_workers=False"
            )
        progress, pool = self._progress, self._pool
        while any(member.asked for member in pool.members):
            if self._loader.in_order and not pool.members[self._turn].asked:
                self._turn = (self._turn + 1) % len(pool.members)
                continue
            try:
                number, head, batch, streams, state = pool.take(
                    self._turn if self._loader.in_order else None, self._loader.timeout
                )
            except BaseException:  # a worker that died, no batch in time, Ctrl-C
                self._loader._pool = None
                pool.end()
                raise
            worker = progress.workers[number]
            worker["streams"] = streams or worker["streams"]
            worker["fetcher"] = state or worker["fetcher"]
            self._turn = (number + 1) % len(pool.members)
            if head == "ended":
                worker["ended"] = True
                continue
            progress.turn = self._turn
            progress.yielded += 1
            self._ask(number)
            if head == "failed":
                raise batch.error(number)
            return batch
        if pool.members:
            progress.finished = True
            if not self._loader.persistent_workers:
                pool.end()
        raise StopIteration

    def abandon(self):
        """The workers serve another epoch from now on."""
        self._stale = not self._progress.finished
