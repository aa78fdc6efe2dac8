"""Sequences of several lengths: padded to one, or packed into rows without padding."""

from collections import namedtuple

import pydiff
from pydiff import Tensor

__all__ = [
    "PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence", "pad_sequence",
    "unpack_sequence", "unpad_sequence",
]  # fmt: skip

_Fields = namedtuple("PackedSequence", ["data", "batch_sizes", "sorted_indices", "unsorted_indices"])


class PackedSequence(_Fields):
    """Rows of several sequences, sorted by time, what `pack_padded_sequence` makes and recurrent layers take.

    Fields:
        data: `(rows, *)`: the first rows of all sequences, the longest first, then their second rows, and so on.
        batch_sizes: int64 on the CPU, how many sequences there are at each time.
        sorted_indices: the places of the sequences in the batch, by falling length, or None where they were sorted.
        unsorted_indices: the other way round; of the one, the other is computed.

    `to`, `cpu`, `cuda`, `double`, `float`, `half`, `bfloat16` change `data`, as of a tensor.

    >>> import pydiff as pd
    >>> packed = pd.nn.utils.rnn.pack_sequence([pd.tensor([1.0, 2.0]), pd.tensor([3.0])])
    >>> packed.data.tolist(), packed.batch_sizes.tolist()
    ([1.0, 3.0, 2.0], [2, 1])
    """

    __slots__ = ()

    def __new__(cls, data, batch_sizes=None, sorted_indices=None, unsorted_indices=None):
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args, **kwargs):
        """With `data.to(…)`, and the indices on its device."""
        data = self.data.to(*args, **kwargs)
        indices = [None if i is None else i.to(data.device) for i in self[2:]]
        return type(self)(data, self.batch_sizes, *indices)

    def cpu(self):
        """On the CPU."""
        return self.to("cpu")

    def cuda(self, device=None):
        """On a GPU."""
        return self.to("cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device)

    def float(self):
        """With `data` in float32."""
        return self.to(pydiff.float32)

    def double(self):
        """With `data` in float64."""
        return self.to(pydiff.float64)

    def half(self):
        """With `data` in float16."""
        return self.to(pydiff.float16)

    def bfloat16(self):
        """With `data` in bfloat16."""
        return self.to(pydiff.bfloat16)

    @property
    def is_cuda(self):
        """Whether the data is on a GPU."""
        return self.data.is_cuda

    def pin_memory(self):
        """Itself: pinning is of no use here."""
        return self


def invert_permutation(permutation):
    """The permutation that undoes this one, or None for None.

    >>> import pydiff as pd
    >>> pd.nn.utils.rnn.invert_permutation(pd.tensor([2, 0, 1])).tolist()
    [1, 2, 0]
    """
    return None if permutation is None else permutation.argsort()


def _lengths(name, lengths, batch, longest=None):
    """A list of checked lengths."""
    found = lengths.tolist() if isinstance(lengths, Tensor) else [int(n) for n in lengths]
    if len(found) != batch:
        raise ValueError(f"[{name}] there is one length for each sequence; got {len(found)} for {batch}; try {batch} lengths")
    if found and min(found) < 1 or longest is not None and max(found, default=1) > longest:
        raise ValueError(
            f"[{name}] a length is from 1 to {longest or 'the longest'}; got {found}; try lengths without the padding"
        )
    return found


def pack_padded_sequence(input, lengths, batch_first=False, enforce_sorted=True):
    """Rows of a padded batch without the padding, as a `PackedSequence`.

    Arguments:
        input: `(time, batch, *)`, or `(batch, time, *)` with `batch_first`.
        lengths: of each sequence, a list or a tensor.
        enforce_sorted: refuse lengths that do not fall; else they are sorted, and the order is kept with the rows.

    Raises ValueError for lengths that do not fit.

    >>> import pydiff as pd
    >>> x = pd.tensor([[1.0, 0.0], [2.0, 3.0]])
    >>> packed = pd.nn.utils.rnn.pack_padded_sequence(x, [1, 2], batch_first=True, enforce_sorted=False)
    >>> packed.data.tolist(), packed.sorted_indices.tolist()
    ([2.0, 1.0, 3.0], [1, 0])
    """
    name = "pack_padded_sequence"
    if input.ndim < 2:
        raise ValueError(f"[{name}] the input has axes of time and batch; got {tuple(input.shape)}; try unsqueeze(1)")
    time, batch = (input.shape[1], input.shape[0]) if batch_first else input.shape[:2]
    found = _lengths(name, lengths, batch, time)
    order = sorted(range(batch), key=lambda b: -found[b])
    ordered = [found[b] for b in order]
    if enforce_sorted:
        if ordered != found:
            raise ValueError(f"[{name}] lengths fall from sequence to sequence; got {found}; try enforce_sorted=False")
        order = range(batch)
    sizes = _sizes(ordered)
    if batch_first:
        index = [order[b] * time + t for t, size in enumerate(sizes) for b in range(size)]
    else:
        index = [t * batch + order[b] for t, size in enumerate(sizes) for b in range(size)]
    rows = input.reshape(time * batch, *input.shape[2:])
    data = rows.index_select(0, _indices(index, input.device))
    order = None if enforce_sorted else _indices(order, input.device)
    return PackedSequence(data, _indices(sizes, "cpu"), order)


def _sizes(ordered):
    """How many sequences of these lengths, which fall, there are at each time."""
    sizes, running = [], len(ordered)
    for t in range(ordered[0] if ordered else 0):
        while ordered[running - 1] <= t:
            running -= 1
        sizes.append(running)
    return sizes


def _indices(values, device):
    return pydiff.tensor(list(values), dtype=pydiff.int64, device=device)


def pad_packed_sequence(sequence, batch_first=False, padding_value=0.0, total_length=None):
    """(padded batch, lengths) of a `PackedSequence`, in the order that the batch had before packing.

    Arguments:
        batch_first: whether the batch is `(batch, time, *)`; else `(time, batch, *)`.
        padding_value: what is put behind the end of a sequence.
        total_length: the size of the axis of time, by default the longest length.

    Raises ValueError for a `total_length` that is too short.

    >>> import pydiff as pd
    >>> rnn = pd.nn.utils.rnn
    >>> packed = rnn.pack_sequence([pd.tensor([1.0, 2.0]), pd.tensor([3.0])])
    >>> padded, lengths = rnn.pad_packed_sequence(packed, batch_first=True)
    >>> padded.tolist(), lengths.tolist()
    ([[1.0, 2.0], [3.0, 0.0]], [2, 1])
    """
    data, sizes, _, back = sequence
    sizes = sizes.tolist()
    time = len(sizes) if total_length is None else total_length
    if time < len(sizes):
        raise ValueError(
            f"[pad_packed_sequence] total_length holds the longest sequence; got {time} for {len(sizes)}; try {len(sizes)}"
        )
    batch = sizes[0] if sizes else 0
    places = list(range(batch)) if back is None else back.tolist()
    starts, row = [], 0
    for size in sizes:
        starts.append(row)
        row += size
    blank = data.shape[0]  # the row of padding
    table = [[starts[t] + p if t < len(sizes) and p < sizes[t] else blank for p in places] for t in range(time)]
    if batch_first:
        table = [[line[b] for line in table] for b in range(batch)]
    rows = pydiff.cat([data, pydiff.full((1, *data.shape[1:]), padding_value, dtype=data.dtype, device=data.device)])
    shape = (batch, time) if batch_first else (time, batch)
    padded = rows.index_select(0, _indices([i for line in table for i in line], data.device)).reshape(*shape, *data.shape[1:])
    lengths = [sum(size > p for size in sizes) for p in places]
    return padded, _indices(lengths, "cpu")


def pad_sequence(sequences, batch_first=False, padding_value=0.0, padding_side="right"):
    """A list of `(time, *)`, of several lengths, as one tensor, padded to the longest.

    Arguments:
        sequences: tensors whose other axes agree.
        batch_first: whether the result is `(batch, time, *)`; else `(time, batch, *)`.
        padding_value: what is put in.
        padding_side: 'right', behind the end, or 'left'.

    Raises ValueError for an unknown side and sequences that do not fit.

    >>> import pydiff as pd
    >>> pd.nn.utils.rnn.pad_sequence([pd.ones(2), pd.ones(1)], batch_first=True).tolist()
    [[1.0, 1.0], [1.0, 0.0]]
    """
    if padding_side not in ("right", "left"):
        raise ValueError(f"[pad_sequence] unknown padding_side; got {padding_side!r}; try 'right' or 'left'")
    sequences = list(sequences)
    if not sequences or any(s.ndim < 1 or s.shape[1:] != sequences[0].shape[1:] for s in sequences):
        got = [tuple(s.shape) for s in sequences]
        raise ValueError(
            f"[pad_sequence] sequences are (time, *), equal but for the time; got {got or 'none'}; try one tensor at least"
        )
    longest = max(s.shape[0] for s in sequences)
    padded = []
    for s in sequences:
        missing = longest - s.shape[0]
        widths = (0, missing) if padding_side == "right" else (missing, 0)
        padded.append(pydiff.pad(s, (0, 0) * (s.ndim - 1) + widths, value=padding_value) if missing else s)
    return pydiff.stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences, lengths, batch_first=False):
    """The list of `(time, *)` in a padded batch; the way back from `pad_sequence`.

    Raises ValueError for lengths that do not fit.

    >>> import pydiff as pd
    >>> x = pd.tensor([[1.0, 2.0], [3.0, 0.0]])
    >>> [s.tolist() for s in pd.nn.utils.rnn.unpad_sequence(x, pd.tensor([2, 1]), batch_first=True)]
    [[1.0, 2.0], [3.0]]
    """
    x = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    found = _lengths("unpad_sequence", lengths, x.shape[0], x.shape[1])
    return [row[:length] for row, length in zip(x.unbind(0), found, strict=True)]


def pack_sequence(sequences, enforce_sorted=True):
    """A list of `(time, *)` as a `PackedSequence`.

    Arguments:
        enforce_sorted: refuse lengths that do not fall, as of `pack_padded_sequence`.

    >>> import pydiff as pd
    >>> pd.nn.utils.rnn.pack_sequence([pd.ones(3), pd.zeros(1)]).batch_sizes.tolist()
    [2, 1, 1]
    """
    sequences = list(sequences)
    lengths = [s.shape[0] for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences):
    """The list of `(time, *)` in a `PackedSequence`; the way back from `pack_sequence`.

    >>> import pydiff as pd
    >>> rnn = pd.nn.utils.rnn
    >>> [s.tolist() for s in rnn.unpack_sequence(rnn.pack_sequence([pd.ones(2), pd.zeros(1)]))]
    [[1.0, 1.0], [0.0]]
    """
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
