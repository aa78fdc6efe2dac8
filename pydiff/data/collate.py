"""Batches of samples: tensors out of arrays, numbers, dicts, tuples and what is nested of these."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

import pydiff

__all__ = ["default_collate", "default_convert"]

_KINDS = "tensors, arrays, numbers, text, and dicts, tuples, lists and dataclasses of these"
_CONVERTED = "biufc"  # kinds of NumPy dtypes that are numbers


class _Differs(Exception):
    """Samples that make no batch: where (a list that grows outwards), what, got and advice."""

    def __init__(self, what, got, advice, kind=ValueError):
        self.path, self.text, self.kind = [], (what, got, advice), kind

    def error(self, op):
        what, got, advice = self.text
        place = "".join(reversed(self.path))
        return self.kind(f"[{op}] {what}{' at sample' + place if place else ''}; got {got}; try {advice}")


def default_collate(batch):
    """A list of samples as one batch.

    Tensors, arrays and PyTorch's tensors are stacked along a new first axis; numbers become a tensor (floats float64, integers
    int64); text and bytes stay a list. Dicts, named tuples and dataclasses keep their type, their fields being collated; tuples
    and lists become a list. What is stacked is copied, and lies on the CPU unless the samples were tensors elsewhere.

    Arguments:
        batch: a list of samples, not empty.

    Raises ValueError where samples differ in shape, length or keys, and TypeError for what makes no batch; both name the field.

    >>> import pydiff as pd
    >>> batch = pd.data.default_collate([{"x": pd.zeros(3), "label": "a"}, {"x": pd.ones(3), "label": "b"}])
    >>> tuple(batch["x"].shape), batch["label"]
    ((2, 3), ['a', 'b'])
    """
    try:
        return _collate(batch)
    except _Differs as found:
        error = found.error("default_collate")
    raise error


def default_convert(data):
    """Arrays, NumPy's numbers and PyTorch's tensors as tensors, within dicts, tuples and lists too; all else as it is.

    >>> import numpy as np, pydiff as pd
    >>> pd.data.default_convert({"x": np.arange(2), "name": "a"})["x"].tolist()
    [0, 1]
    """
    if isinstance(data, pydiff.Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        return _tensor(data) if data.dtype.kind in _CONVERTED or data.dtype.kind == "V" else data
    if _is_foreign(data):
        return _own(data)
    if isinstance(data, (str, bytes)):
        return data
    if isinstance(data, Mapping):
        return _mapping(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*[default_convert(value) for value in data])
    if isinstance(data, (tuple, list)):
        return [default_convert(value) for value in data]
    if _is_record(data):
        return type(data)(**{f.name: default_convert(getattr(data, f.name)) for f in dataclasses.fields(data)})
    return data


def _collate(batch):
    first = batch[0]
    if isinstance(first, pydiff.Tensor):
        _same_shapes(batch, pydiff.Tensor)
        return pydiff.stack([x.clone() for x in batch])  # a dataset may fill one array again and again
    if isinstance(first, (bool, int, float)):
        return _numbers(batch, float if any(isinstance(x, float) for x in batch) else type(first))
    if isinstance(first, (np.ndarray, np.generic)):
        return _stacked(batch)
    if isinstance(first, (str, bytes)):
        return list(batch)
    if _is_foreign(first):
        return _collate([_own(x) if _is_foreign(x) else x for x in batch])
    if isinstance(first, Mapping):
        return _mapping(first, {key: _field(batch, key, f"[{key!r}]") for key in _keys(batch)})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*[_field(batch, k, f".{name}") for k, name in enumerate(first._fields)])
    if isinstance(first, Sequence):
        lengths = [len(x) if isinstance(x, Sequence) else type(x).__name__ for x in batch]
        _same(lengths, "lengths differ", "a collate_fn that pads")
        return [_field(batch, k, f"[{k}]") for k in range(lengths[0])]
    if _is_record(first):
        names = [f.name for f in dataclasses.fields(first)]
        return type(first)(**{name: _field(batch, name, f".{name}", getattr) for name in names})
    raise _Differs(f"a batch is made of {_KINDS}", type(first).__name__, _advice(first), TypeError)


def _advice(sample):
    if sample is None:
        return "a dataset that returns no None, or a collate_fn that leaves it out"
    return "a collate_fn of your own" if not hasattr(sample, "tobytes") else "numpy.asarray(sample) in the dataset"


def _field(batch, key, shown, get=lambda sample, key: sample[key]):
    """One field of every sample, collated."""
    column = []
    for place, sample in enumerate(batch):
        try:
            column.append(get(sample, key))
        except (AttributeError, IndexError, KeyError, TypeError):
            found = _Differs("a field is missing", f"none in sample {place}", "samples with the same fields")
            found.path.append(shown)
            raise found from None
    try:
        return _collate(column)
    except _Differs as found:
        found.path.append(shown)
        raise


def _keys(batch):
    keys = [sorted(map(str, sample)) if isinstance(sample, Mapping) else type(sample).__name__ for sample in batch]
    _same(keys, "keys differ", "samples with the same keys")
    return list(batch[0])


def _same(values, what, advice):
    first = values[0]
    for place, value in enumerate(values):
        if value != first:
            raise _Differs(what, f"{first} and {value} (samples 0 and {place})", advice)


def _same_shapes(batch, kind):
    shape = batch[0].shape
    for place, x in enumerate(batch):
        if not isinstance(x, kind):
            names = f"{type(batch[0]).__name__} and {type(x).__name__} (samples 0 and {place})"
            raise _Differs("kinds differ", names, "samples of one kind", TypeError)
        if x.shape != shape:
            shapes = f"{tuple(shape)} and {tuple(x.shape)} (samples 0 and {place})"
            raise _Differs("shapes differ", shapes, "a collate_fn that pads")


def _numbers(batch, kind):
    for place, x in enumerate(batch):
        if not isinstance(x, (bool, int, float, np.number)):
            names = f"{type(batch[0]).__name__} and {type(x).__name__} (samples 0 and {place})"
            raise _Differs("kinds differ", names, "samples of one kind", TypeError)
    dtype = np.float64 if kind is float else np.bool_ if kind is bool and all(isinstance(x, bool) for x in batch) else np.int64
    try:
        return pydiff.from_numpy(np.array(batch, dtype))
    except OverflowError:
        raise _Differs("a number is beyond int64", str(max(batch, key=abs)), "a float") from None


def _stacked(batch):
    """Arrays, or numbers of NumPy, as one new array."""
    _same_shapes(batch, (np.ndarray, np.generic))
    first = batch[0]
    if first.dtype.kind not in _CONVERTED and first.dtype.kind != "V":
        raise _Differs("an array that holds no numbers", f"dtype {first.dtype}", "numbers, or a list", TypeError)
    if not first.ndim:
        return _tensor(np.array(batch, first.dtype) if first.dtype.kind == "V" else np.array(batch))
    joined = np.concatenate(batch)  # one call that copies, and a third of the time of np.stack for small arrays
    return _tensor(joined.reshape(len(batch), *first.shape))


def _tensor(array):
    """A tensor of an array's memory where it can be shared, else of a copy."""
    array = np.asarray(array)
    if array.flags.c_contiguous and array.dtype.isnative:
        return pydiff.from_numpy(array)
    return pydiff.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))


def _is_foreign(data):
    """Whether it is a tensor of another library, which lends its memory."""
    return hasattr(data, "__dlpack__")


def _own(data):
    data = data.detach() if hasattr(data, "detach") else data
    if not getattr(data, "is_cuda", False) and hasattr(data, "numpy"):
        try:
            return _tensor(data.numpy())
        except TypeError:
            pass  # a type that NumPy lacks, bfloat16
    return pydiff.from_dlpack(data)


def _is_record(data):
    return dataclasses.is_dataclass(data) and not isinstance(data, type)


def _mapping(like, fields):
    """A mapping of the kind of another one, or a dict where that kind is not made of a dict."""
    if type(like) is dict:
        return fields
    try:
        return type(like)(fields)
    except TypeError:
        return fields
