"""Datasets: what holds the samples that a `DataLoader` reads.

A dataset is either *map-style*, with `__getitem__` and mostly `__len__`, or *iterable*, with `__iter__` alone. The classes
here are conveniences: anything with those methods will do, a list, a NumPy array, a dataset of PyTorch or Hugging Face.
"""

import bisect
import itertools
import math

import numpy as np

import pydiff

__all__ = [
    "ChainDataset", "ConcatDataset", "Dataset", "IterableDataset", "StackDataset", "Subset", "TensorDataset", "random_split",
]  # fmt: skip


class Dataset:
    """A map-style dataset: a subclass defines `__getitem__(index)`, and `__len__` for most samplers.

    With `__getitems__(indices)`, which returns a list of samples, a batch is read in one call. `a + b` is one after the
    other.

    >>> import pydiff as pd
    >>> class Squares(pd.data.Dataset):
    ...     def __len__(self):
    ...         return 3
    ...     def __getitem__(self, k):
    ...         return k * k
    >>> list(pd.data.DataLoader(Squares() + Squares(), batch_size=6))[0].tolist()
    [0, 1, 4, 0, 1, 4]
    """

    def __getitem__(self, index):
        name = type(self).__name__
        raise NotImplementedError(f"[Dataset] __getitem__ is not defined; got a {name}; try def __getitem__(self, index): ...")

    def __add__(self, other):
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """A dataset that is read from its start on: a subclass defines `__iter__`.

    Each worker of a `DataLoader` iterates over a copy; `get_worker_info()` tells it which part is its own. With methods
    `state_dict()` and `load_state_dict(state)` a loader goes on in the middle without reading what came before.

    >>> import pydiff as pd
    >>> class Count(pd.data.IterableDataset):
    ...     def __iter__(self):
    ...         return iter(range(3))
    >>> [batch.tolist() for batch in pd.data.DataLoader(Count() + Count(), batch_size=4)]
    [[0, 1, 2, 0], [1, 2]]
    """

    def __iter__(self):
        name = type(self).__name__
        raise NotImplementedError(f"[IterableDataset] __iter__ is not defined; got a {name}; try def __iter__(self): ...")

    def __add__(self, other):
        return ChainDataset([self, other])


def is_iterable_style(dataset):
    """Whether a dataset, of whatever library, is read by `__iter__` and not by index."""
    if any(kind.__name__ == "IterableDataset" for kind in type(dataset).__mro__):
        return True
    return not hasattr(dataset, "__getitem__") and hasattr(dataset, "__iter__")


class TensorDataset(Dataset):
    """Samples that are the rows of tensors: sample k is the tuple of every tensor's row k.

    Arguments:
        *tensors: tensors or arrays of one first size.

    Raises ValueError where the first sizes differ. A `DataLoader` with the default `collate_fn` reads a batch as one
    indexing of each tensor.

    >>> import pydiff as pd
    >>> data = pd.data.TensorDataset(pd.arange(3), pd.arange(3) * 2)
    >>> [t.item() for t in data[2]]
    [2, 4]
    """

    def __init__(self, *tensors):
        if not tensors or len({len(t) if t.ndim else None for t in tensors} - {None}) != 1 or not all(t.ndim for t in tensors):
            raise ValueError(
                f"[TensorDataset] the first sizes are not one; got {[tuple(t.shape) for t in tensors]}; try tensors of one length"
            )
        self.tensors = tensors

    def __getitem__(self, index):
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self):
        return len(self.tensors[0])

    def _collated(self, indices):
        return [_rows(tensor, indices) for tensor in self.tensors]


def _rows(tensor, indices):
    """The rows of a tensor, or of an array or memory-mapped file, as one tensor."""
    place = np.asarray(indices, np.int64)
    if isinstance(tensor, pydiff.Tensor):
        return tensor[pydiff.tensor(place, device=tensor.device)]
    return pydiff.from_numpy(np.ascontiguousarray(np.asarray(tensor)[place]))


class StackDataset(Dataset):
    """Datasets of one length side by side: sample k is the tuple, or the dict, of every dataset's sample k.

    Arguments:
        *args: datasets, for samples that are tuples; or
        **kwargs: datasets by name, for samples that are dicts.

    Raises ValueError for both at once, for none, and for lengths that differ.

    >>> import pydiff as pd
    >>> pd.data.StackDataset(text=["a", "b"], label=[0, 1])[1]
    {'text': 'b', 'label': 1}
    """

    def __init__(self, *args, **kwargs):
        if bool(args) == bool(kwargs):
            got = f"{len(args)} by position, {len(kwargs)} by name"
            raise ValueError(f"[StackDataset] datasets come by position or by name; got {got}; try StackDataset(a, b)")
        self.datasets = args or kwargs
        lengths = [len(dataset) for dataset in self._all()]
        if len(set(lengths)) > 1:
            raise ValueError(f"[StackDataset] lengths differ; got {lengths}; try Subset(dataset, range(n))")
        self._length = lengths[0]

    def _all(self):
        return list(self.datasets.values() if isinstance(self.datasets, dict) else self.datasets)

    def _sample(self, parts):
        return dict(zip(self.datasets, parts)) if isinstance(self.datasets, dict) else tuple(parts)

    def __getitem__(self, index):
        return self._sample([dataset[index] for dataset in self._all()])

    def __getitems__(self, indices):
        columns = [_items(dataset, indices) for dataset in self._all()]
        return [self._sample(parts) for parts in zip(*columns)]

    def __len__(self):
        return self._length


def _items(dataset, indices):
    """The samples at `indices`, in one call where the dataset has one for it."""
    several = getattr(dataset, "__getitems__", None)
    if not callable(several):
        return [dataset[k] for k in indices]
    items = several(indices)
    if len(items) != len(indices):
        raise ValueError(
            f"[__getitems__] a sample for each index; got {len(items)} for {len(indices)} indices of a "
            f"{type(dataset).__name__}; try a list of the same length"
        )
    return items


class ConcatDataset(Dataset):
    """Map-style datasets one after the other.

    Arguments:
        datasets: an iterable of map-style datasets with lengths.

    Raises ValueError for no dataset or one that is iterable only.

    >>> import pydiff as pd
    >>> both = pd.data.ConcatDataset(["ab", "cde"])
    >>> len(both), both[2], both[-1]
    (5, 'c', 'e')
    """

    def __init__(self, datasets):
        self.datasets = list(datasets)
        if not self.datasets or any(is_iterable_style(dataset) for dataset in self.datasets):
            got = [type(dataset).__name__ for dataset in self.datasets]
            raise ValueError(f"[ConcatDataset] it takes map-style datasets, one at least; got {got}; try ChainDataset")
        self.cumulative_sizes = list(itertools.accumulate(len(dataset) for dataset in self.datasets))

    def __len__(self):
        return self.cumulative_sizes[-1]

    def _place(self, index):
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"[ConcatDataset] the index is out of range; got {index} of {size}; try an index below {size}")
        index %= size
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return which, index - (self.cumulative_sizes[which - 1] if which else 0)

    def __getitem__(self, index):
        which, inner = self._place(index)
        return self.datasets[which][inner]

    def __getitems__(self, indices):
        groups = {}
        for place, index in enumerate(indices):
            which, inner = self._place(index)
            groups.setdefault(which, []).append((place, inner))
        samples = [None] * len(indices)
        for which, wanted in groups.items():
            items = _items(self.datasets[which], [inner for _, inner in wanted])
            for (place, _), item in zip(wanted, items):
                samples[place] = item
        return samples


class ChainDataset(IterableDataset):
    """Iterables one after the other, each opened when its turn comes.

    Arguments:
        datasets: an iterable of iterable datasets.

    Raises TypeError where one cannot be iterated over.

    >>> import pydiff as pd
    >>> list(pd.data.ChainDataset([range(2), range(3)]))
    [0, 1, 0, 1, 2]
    """

    def __init__(self, datasets):
        self.datasets = datasets

    def __iter__(self):
        for dataset in self.datasets:
            if not hasattr(dataset, "__iter__"):
                got = type(dataset).__name__
                raise TypeError(f"[ChainDataset] only what has __iter__ can be chained; got a {got}; try ConcatDataset")
            yield from dataset

    def __len__(self):
        return sum(len(dataset) for dataset in self.datasets)


class Subset(Dataset):
    """The samples of a map-style dataset at given indices.

    Arguments:
        dataset: a map-style dataset.
        indices: a sequence of its indices, in the order of the subset.

    >>> import pydiff as pd
    >>> subset = pd.data.Subset("abcdef", [4, 0])
    >>> len(subset), subset[0]
    (2, 'e')
    """

    def __init__(self, dataset, indices):
        self.dataset = dataset
        self.indices = indices
        if callable(getattr(dataset, "_collated", None)):
            self._collated = self._collated_rows

    def __getitem__(self, index):
        if isinstance(index, list):
            return self.dataset[[self.indices[k] for k in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices):
        return _items(self.dataset, [self.indices[k] for k in indices])

    def _collated_rows(self, indices):
        return self.dataset._collated([self.indices[k] for k in indices])

    def __len__(self):
        return len(self.indices)


def random_split(dataset, lengths, generator=None):
    """Disjoint random subsets of a dataset.

    Arguments:
        dataset: a map-style dataset with a length.
        lengths: of the subsets, adding up to the dataset's; or fractions that add up to 1, of which each gets the whole
            part and the samples that are left over go to the first subsets, one each.
        generator: a `pydiff.Generator`; the default one if None.

    Returns a list of `Subset`. Raises ValueError where the lengths do not add up.

    >>> import pydiff as pd
    >>> g = pd.Generator().manual_seed(0)
    >>> [len(part) for part in pd.data.random_split(range(10), [0.75, 0.25], generator=g)]
    [8, 2]
    """
    size = len(dataset)
    given, lengths = lengths, list(lengths)
    if math.isclose(sum(lengths), 1):
        if not all(0 <= part <= 1 for part in lengths):
            raise ValueError(f"[random_split] fractions are from 0 to 1; got {given}; try [0.8, 0.2]")
        lengths = [math.floor(size * part) for part in lengths]
        for k in range(size - sum(lengths)):
            lengths[k % len(lengths)] += 1
    if sum(lengths) != size or any(n < 0 or n != int(n) for n in lengths):
        raise ValueError(f"[random_split] lengths add up to the dataset's; got {given} for {size}; try [{size}]")
    order = pydiff.randperm(size, generator=generator, device="cpu").tolist()
    ends = itertools.accumulate(int(n) for n in lengths)
    return [Subset(dataset, order[end - int(n) : end]) for end, n in zip(ends, lengths)]
