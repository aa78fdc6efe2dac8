"""What reads samples: in the process itself, and in a worker's."""

import os
import pickle
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass
from itertools import islice
from multiprocessing import parent_process
from typing import Any

import pydiff

from . import _random_state
from ._transport import Line, Writer, dumps
from .collate import default_collate
from .dataset import _items, is_iterable_style

__all__ = ["WorkerInfo", "get_worker_info"]

END = object()  # what a fetcher returns after the last sample of an iterable

_LOOK_AROUND = 2.0  # seconds between two looks whether the parent is still there
_info = None


@dataclass
class WorkerInfo:
    """What a worker is told about itself: `id` from 0 to `num_workers` - 1, its `seed`, its own copy of the `dataset`.

    >>> import pydiff as pd
    >>> pd.data.WorkerInfo(0, 2, 7, "abc").num_workers
    2
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


def get_worker_info():
    """The `WorkerInfo` of the worker that this is called in; None in the main process.

    An iterable dataset asks it which part of the data is its own.

    >>> import pydiff as pd
    >>> class Part(pd.data.IterableDataset):
    ...     def __iter__(self):
    ...         worker = pd.data.get_worker_info()
    ...         return iter(range(worker.id, 4, worker.num_workers))
    >>> [batch.tolist() for batch in pd.data.DataLoader(Part(), batch_size=2, num_workers=2)]
    [[0, 2], [1, 3]]
    """
    return _info


# ---- reading


@dataclass
class Reading:
    """How batches are made of a dataset: what a loader and its workers share."""

    dataset: Any
    collate_fn: Any
    batch_size: int | None
    batched: bool
    drop_last: bool


def stateful(thing):
    """Whether it can say where it is, and go there."""
    return callable(getattr(thing, "state_dict", None)) and callable(getattr(thing, "load_state_dict", None))


class Fetcher:
    """Makes one batch after the other; `state` and `start` say where it is and go there."""

    def __init__(self, reading):
        self.reading = reading
        self.iterable = is_iterable_style(reading.dataset)
        self.ended = False
        self._taken = 0
        self._samples = None
        self._whole = reading.batched and reading.collate_fn is default_collate and getattr(reading.dataset, "_collated", None)

    def start(self, state=None):
        """Begin an epoch, at its start or where `state` was taken."""
        self.ended, self._taken = False, 0
        dataset, own = self.reading.dataset, None
        if state is not None:
            self.ended, self._taken, own = state["ended"], state["taken"], state["dataset"]
            if own is not None and own[0] == "dataset":
                dataset.load_state_dict(own[1])
        if not self.iterable:
            return
        self._samples = iter(dataset)
        if own is not None and own[0] == "iterator":
            self._samples.load_state_dict(own[1])
        elif own is None and not self.ended:
            for _ in islice(self._samples, self._taken):
                pass

    def state(self):
        """Where the fetcher is: how many samples were taken, and what the dataset says of itself."""
        own = None
        if self.iterable and stateful(self._samples):
            own = ["iterator", self._samples.state_dict()]
        elif stateful(self.reading.dataset):
            own = ["dataset", self.reading.dataset.state_dict()]
        return {"ended": self.ended, "taken": self._taken, "dataset": own}

    def fetch(self, indices):
        """The batch at `indices`, or the next one of an iterable; END after its last."""
        reading = self.reading
        if self.iterable:
            samples = self._next()
            if samples is END:
                return END
        elif not reading.batched:
            samples = reading.dataset[indices]
        elif self._whole:
            return self._whole(indices)
        else:
            samples = _items(reading.dataset, indices)
        return reading.collate_fn(samples)

    def _next(self):
        if self.ended:
            return END
        if not self.reading.batched:
            sample = next(self._samples, END)
            self.ended = sample is END
            self._taken += not self.ended
            return sample
        size = self.reading.batch_size
        samples = list(islice(self._samples, size))
        self._taken += len(samples)
        self.ended = len(samples) < size
        return END if not samples or self.ended and self.reading.drop_last else samples


# ---- a worker


@dataclass
class Failure:
    """An error of a worker, as it can be sent: its class where that can be pickled, and its text."""

    kind: type | None
    text: str
    trace: str

    @classmethod
    def of(cls, error):
        kind = type(error)
        try:
            pickle.dumps(kind)
        except Exception:  # a class that was made in a function
            kind = None
        trace = "".join(traceback.format_exception(error))
        return cls(kind, f"{type(error).__name__}: {error}", trace)

    def error(self, worker):
        """The error to raise in the loader's process."""
        text = (
            f"[DataLoader] worker {worker} raised an error; got {self.text}; try num_workers=0 to debug it\n\n"
            f"in the worker:\n{self.trace}"
        )
        if self.kind is None or issubclass(self.kind, (StopIteration, GeneratorExit, SystemExit)):
            return RuntimeError(text)
        kind = _Told if self.kind is KeyError else self.kind
        try:
            error = kind(text)
        except Exception:  # a class that wants more than a text
            return RuntimeError(text)
        return error if isinstance(error, BaseException) else RuntimeError(text)


class _Told(KeyError):
    """A KeyError whose text is shown with its lines, not as a repr."""

    __str__ = BaseException.__str__


_Told.__name__ = _Told.__qualname__ = "KeyError"  # what a traceback shows
_Told.__module__ = "builtins"


def tell_torch(info):
    """PyTorch's own `get_worker_info` answers too, for datasets that ask it."""
    worker = sys.modules.get("torch.utils.data._utils.worker")
    if worker is not None and hasattr(worker, "WorkerInfo"):
        worker._worker_info = worker.WorkerInfo(
            id=info.id, num_workers=info.num_workers, seed=info.seed, dataset=info.dataset
        )  # fmt: skip


class _Worker:
    """The process: messages in, batches out.

    ("start", epoch, base seed, state or None)   begin an epoch; what was asked for before is dropped
    ("fetch", epoch, indices, freed slots)       make a batch
    """

    def __init__(self, reading, number, count, init, line):
        self.reading, self.number, self.count, self.init, self.line = reading, number, count, init, line
        self.writer = Writer(line)
        self.fetcher = Fetcher(reading)
        self.failure = None
        self.fresh = True
        self.watch = None

    def messages(self):
        """What comes, until the loader cuts the line. Of an epoch that is over nothing is made."""
        poll = select.poll()
        poll.register(self.line.sock, select.POLLIN)
        waiting = deque()
        while True:
            for message in map(pickle.loads, self.line.receive()):
                if message[0] == "fetch":
                    self.writer.give_back(message[3])
                else:
                    waiting.clear()
                waiting.append(message)
            if self.line.closed:
                return
            if waiting:
                yield waiting.popleft()
                continue
            poll.poll()

    def run(self):
        for message in self.messages():
            if message[0] == "start":
                self.start(*message[1:])
            else:
                self.fetch(message[1], message[2])

    def start(self, epoch, base_seed, state):
        global _info
        seed = base_seed + self.number
        _random_state.seed_all(seed, [base_seed, self.number])
        self.failure = None
        _info = WorkerInfo(self.number, self.count, seed, self.reading.dataset)
        try:
            tell_torch(_info)
            if self.fresh and self.init is not None:
                self.init(self.number)
            self.fresh = False
            self.fetcher.start(state and state["fetcher"])
        except Exception as error:
            self.failure = Failure.of(error)
        if state and state["streams"] is not None:
            _random_state.restore(state["streams"])
        self.watch = _random_state.Watch()

    def fetch(self, epoch, indices):
        """Make one batch, and say where the fetcher and the random streams are after it, where that has changed."""
        head, content = self.make(indices)
        streams, state = self.watch.changed(), None
        try:
            if self.fetcher.iterable or stateful(self.reading.dataset):
                state = pickle.dumps(self.fetcher.state())
            stream, buffers = dumps(content)
        except Exception as error:
            head = "failed"
            stream, buffers = dumps(Failure.of(error))
        self.writer.send((head, epoch, streams, state), stream, buffers)

    def make(self, indices):
        if self.failure is not None:
            return "failed", self.failure
        try:
            batch = self.fetcher.fetch(indices)
        except Exception as error:
            return "failed", Failure.of(error)
        return ("ended", None) if batch is END else ("batch", batch)


def _end_with(parent):
    """End the process once its parent has, whatever it is waiting for: sockets that others have too need not tell it."""
    while os.getppid() == parent and parent_process().is_alive():
        time.sleep(_LOOK_AROUND)
    os._exit(1)


def work(reading, number, count, init, sock, others):
    """The main function of a worker's process. `others` are the loader's sockets, which a fork brings along."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not what the program does when it is asked to end
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    for other in others:
        other.close()
    pydiff.set_num_threads(1)
    pydiff.set_default_device("cpu")  # where batches are handed over; CUDA does not work in a fork anyway
    try:
        _Worker(reading, number, count, init, Line(sock)).run()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the loader is gone
    finally:
        sock.close()


def pair():
    """Two ends of a socket: the loader's, the worker's."""
    return socket.socketpair()
