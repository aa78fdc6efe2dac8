"""Samplers: in which order a `DataLoader` takes the samples of a map-style dataset."""

import itertools
import math

import pydiff

__all__ = [
    "BatchSampler", "DistributedSampler", "RandomSampler", "Sampler", "SequentialSampler", "SubsetRandomSampler",
    "WeightedRandomSampler",
]  # fmt: skip

_SEEDS = (1 << 63) - 1
_CHUNK = 32  # draws with replacement are made so many at a time, so that an endless sampler costs little


def draw_seed(generator=None):
    """A seed drawn of a generator, the default one if None."""
    return pydiff.randint(0, _SEEDS, (), generator=generator, device="cpu", dtype=pydiff.int64).item()


def _count(op, name, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"[{op}] {name} is a whole number, 1 or more; got {value!r}; try {name}=1")
    return value


class Sampler:
    """What yields indices, or lists of them: a subclass defines `__iter__`, and `__len__` if it knows it.

    >>> import pydiff as pd
    >>> class Backwards(pd.data.Sampler):
    ...     def __init__(self, data):
    ...         self.data = data
    ...     def __iter__(self):
    ...         return iter(range(len(self.data) - 1, -1, -1))
    ...     def __len__(self):
    ...         return len(self.data)
    >>> next(iter(pd.data.DataLoader("abc", sampler=Backwards("abc"), batch_size=3)))
    ['c', 'b', 'a']
    """

    def __iter__(self):
        name = type(self).__name__
        raise NotImplementedError(f"[Sampler] __iter__ is not defined; got a {name}; try def __iter__(self): ...")


class SequentialSampler(Sampler):
    """0, 1, 2 and so on.

    >>> import pydiff as pd
    >>> list(pd.data.SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source):
        self.data_source = data_source

    def __iter__(self):
        return iter(range(len(self.data_source)))

    def __len__(self):
        return len(self.data_source)


class RandomSampler(Sampler):
    """Indices in random order.

    Arguments:
        data_source: what has the length.
        replacement: whether each index is drawn of all, so that one may come twice.
        num_samples: how many; the length if None. Without replacement, more than the length go through the data again.
        generator: a `pydiff.Generator`; if None, each pass draws a seed from the default one and has a stream of its own.

    Raises TypeError or ValueError for arguments of another kind. The order is pydiff's own for a seed, not PyTorch's.

    >>> import pydiff as pd
    >>> sorted(pd.data.RandomSampler("abcd"))
    [0, 1, 2, 3]
    """

    def __init__(self, data_source, replacement=False, num_samples=None, generator=None):
        if not isinstance(replacement, bool):
            raise TypeError(f"[RandomSampler] replacement is True or False; got {replacement!r}; try replacement=False")
        if num_samples is not None:
            _count("RandomSampler", "num_samples", num_samples)
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator

    @property
    def num_samples(self):
        """How many indices a pass has."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self):
        n, left = len(self.data_source), self.num_samples
        if not n:
            return
        generator = self.generator
        if generator is None:
            generator = pydiff.Generator().manual_seed(draw_seed())
        while left > 0:
            if self.replacement:
                part = pydiff.randint(0, n, (min(left, _CHUNK),), generator=generator, device="cpu", dtype=pydiff.int64)
            else:
                part = pydiff.randperm(n, generator=generator, device="cpu")[: min(left, n)]
            left -= len(part)
            yield from part.tolist()

    def __len__(self):
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """Given indices in random order.

    >>> import pydiff as pd
    >>> sorted(pd.data.SubsetRandomSampler([5, 7, 9]))
    [5, 7, 9]
    """

    def __init__(self, indices, generator=None):
        self.indices = indices
        self.generator = generator

    def __iter__(self):
        for k in pydiff.randperm(len(self.indices), generator=self.generator, device="cpu").tolist():
            yield self.indices[k]

    def __len__(self):
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """Indices from 0 to len(weights) - 1, drawn with probabilities in proportion to their weights.

    Arguments:
        weights: a sequence of numbers, at least 0, that need not add up to 1.
        num_samples: how many to draw.
        replacement: whether one may come twice.
        generator: a `pydiff.Generator`; the default one if None.

    Raises ValueError for weights that are not in one row, and a count below 1.

    >>> import pydiff as pd
    >>> list(pd.data.WeightedRandomSampler([0.0, 3.0, 0.0], 2))
    [1, 1]
    """

    def __init__(self, weights, num_samples, replacement=True, generator=None):
        _count("WeightedRandomSampler", "num_samples", num_samples)
        if not isinstance(replacement, bool):
            raise TypeError(f"[WeightedRandomSampler] replacement is True or False; got {replacement!r}; try True")
        weights = pydiff.as_tensor(weights, dtype=pydiff.float64, device="cpu")
        if weights.ndim != 1:
            raise ValueError(f"[WeightedRandomSampler] weights are in one row; got {tuple(weights.shape)}; try flatten()")
        self.weights = weights
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self):
        drawn = pydiff.multinomial(self.weights, self.num_samples, self.replacement, generator=self.generator)
        yield from drawn.tolist()

    def __len__(self):
        return self.num_samples


class BatchSampler(Sampler):
    """The indices of a sampler in lists of `batch_size`.

    Arguments:
        sampler: any iterable of indices.
        batch_size: how many indices a list has.
        drop_last: whether the last list is dropped where it is shorter.

    >>> import pydiff as pd
    >>> list(pd.data.BatchSampler(range(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler, batch_size, drop_last):
        _count("BatchSampler", "batch_size", batch_size)
        if not isinstance(drop_last, bool):
            raise ValueError(f"[BatchSampler] drop_last is True or False; got {drop_last!r}; try drop_last=False")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self):
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self):
        full, rest = divmod(len(self.sampler), self.batch_size)
        return full + (rest > 0 and not self.drop_last)


class DistributedSampler(Sampler):
    """The part of a dataset's indices that is one process's of several: every `num_replicas`-th, from `rank` on.

    Arguments:
        dataset: what has the length.
        num_replicas, rank: how many processes there are, and which this one is. Both have to be given: pydiff has no process
            group to ask.
        shuffle: whether the order is random, the same in all processes: that of `seed` and the epoch.
        seed: the same in all processes.
        drop_last: whether the indices that do not divide evenly are left out; else the first ones come twice.

    Raises ValueError where `rank` is not one of the processes. Call `set_epoch` before each epoch, or the order repeats.

    >>> import pydiff as pd
    >>> [list(pd.data.DistributedSampler("abcde", 2, rank, shuffle=False)) for rank in (0, 1)]
    [[0, 2, 4], [1, 3, 0]]
    """

    def __init__(self, dataset, num_replicas=None, rank=None, shuffle=True, seed=0, drop_last=False):
        if num_replicas is None or rank is None or not 0 <= rank < num_replicas:
            raise ValueError(
                f"[DistributedSampler] rank is from 0 to num_replicas - 1; got rank {rank} of {num_replicas}; "
                "try num_replicas=2, rank=0"
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        self.shuffle = shuffle
        self.seed = seed
        n = len(dataset)
        self.num_samples = n // num_replicas if drop_last else math.ceil(n / num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self):
        n = len(self.dataset)
        if self.shuffle:
            generator = pydiff.Generator().manual_seed(self.seed + self.epoch)
            order = pydiff.randperm(n, generator=generator, device="cpu").tolist()
        else:
            order = range(n)
        return iter([order[k % n] for k in range(self.rank, self.total_size, self.num_replicas)])

    def __len__(self):
        return self.num_samples

    def set_epoch(self, epoch):
        """Make the next pass that of `epoch`."""
        self.epoch = epoch
