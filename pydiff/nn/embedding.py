"""Tables of vectors that are looked up by integers."""

import pydiff

from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter

__all__ = ["Embedding", "EmbeddingBag"]


class _Table(Module):
    """`weight`, `(num_embeddings, embedding_dim)`, drawn from the standard normal distribution or given."""

    def _build(self, num_embeddings, embedding_dim, padding_idx, weight, trained, device, dtype):
        name = type(self).__name__
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ValueError(f"[{name}] padding_idx is a row; got {padding_idx} for {num_embeddings} rows; try 0")
            padding_idx %= num_embeddings
        if weight is not None and tuple(weight.shape) != (num_embeddings, embedding_dim):
            raise ValueError(
                f"[{name}] the weight is (num_embeddings, embedding_dim); got {tuple(weight.shape)} for "
                f"{(num_embeddings, embedding_dim)}; try {name}{tuple(weight.shape)}"
            )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        drawn = weight is None
        if drawn:
            weight = pydiff.empty((num_embeddings, embedding_dim), device=device, dtype=dtype)
        self.weight = Parameter(weight, requires_grad=trained)
        if drawn:
            self.reset_parameters()

    def reset_parameters(self):
        """Draw the weight anew, zeros in the row `padding_idx`."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with pydiff.no_grad():
                self.weight[self.padding_idx] = 0

    @staticmethod
    def _check_given(name, embeddings):
        if embeddings.ndim != 2:
            raise ValueError(f"[{name}] embeddings are (rows, width); got {tuple(embeddings.shape)}; try unsqueeze(0)")


class Embedding(_Table):
    """Rows of a table of vectors: integers `(*)` give `(*, embedding_dim)`.

    Arguments:
        num_embeddings, embedding_dim: rows of the table, and their length.
        padding_idx: a row that starts as zeros and gets no gradient.
        max_norm: rows that are used and longer than that are shortened to it, in place.
        norm_type: p of that norm.
        scale_grad_by_freq: whether a row's gradient is divided by how often it is used.
        sparse: of no effect: gradients are dense.
        device, dtype: of the weight.

    `weight` starts normal with mean 0 and standard deviation 1. Raises ValueError for a padding_idx that is no
    row. An index out of range is an error when it is computed.

    >>> import pydiff as pd
    >>> layer = pd.nn.Embedding(10, 3, padding_idx=0)
    >>> rows = layer(pd.tensor([[1, 2], [4, 0]]))
    >>> tuple(rows.shape), rows[1, 1].tolist()
    ((2, 2, 3), [0.0, 0.0, 0.0])
    """

    def __init__(
        self, num_embeddings, embedding_dim, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False,
        sparse=False, _weight=None, _freeze=False, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__()
        self._build(num_embeddings, embedding_dim, padding_idx, _weight, not _freeze, device, dtype)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse

    @classmethod
    def from_pretrained(
        cls, embeddings, freeze=True, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False
    ):
        """A layer whose table is `embeddings`, `(rows, width)`, as it is; with `freeze` it is not trained.

        The other arguments are those of the class. Raises ValueError unless there are two axes.

        >>> import pydiff as pd
        >>> layer = pd.nn.Embedding.from_pretrained(pd.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> layer(pd.tensor(1)).tolist(), layer.weight.requires_grad
        ([3.0, 4.0], False)
        """
        cls._check_given(cls.__name__, embeddings)
        return cls(
            *embeddings.shape, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight=embeddings, _freeze=freeze
        )

    def forward(self, input):
        return F.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        )

    def extra_repr(self):
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        return text + (", sparse=True" if self.sparse else "")


class EmbeddingBag(_Table):
    """Sums, means or largest elements of bags of rows of a table: `(bags, embedding_dim)`.

    Arguments:
        mode: 'sum', 'mean' or 'max'. An empty bag gives zeros.
        include_last_offset: whether `offsets` has the end as one number more.
        padding_idx: a row that starts as zeros and counts for nothing.

    The others as in `Embedding`. It is called with integers `(bags, n)`; or with `(n,)` and `offsets`, `(bags,)`,
    where each bag begins; and with `per_sample_weights`, a factor for each integer, which go with 'sum'. A call
    raises ValueError for arguments that do not go together.

    >>> import pydiff as pd
    >>> layer = pd.nn.EmbeddingBag(10, 3, mode="sum")
    >>> tuple(layer(pd.tensor([1, 2, 4, 5, 4]), pd.tensor([0, 2])).shape)
    (2, 3)
    """

    def __init__(
        self, num_embeddings, embedding_dim, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, mode="mean",
        sparse=False, _weight=None, include_last_offset=False, padding_idx=None, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__()
        self._build(num_embeddings, embedding_dim, padding_idx, _weight, True, device, dtype)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.mode = mode
        self.sparse = sparse
        self.include_last_offset = include_last_offset

    @classmethod
    def from_pretrained(
        cls, embeddings, freeze=True, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, mode="mean", sparse=False,
        include_last_offset=False, padding_idx=None,
    ):  # fmt: skip
        """A layer whose table is `embeddings`, `(rows, width)`, as it is; with `freeze` it is not trained.

        >>> import pydiff as pd
        >>> layer = pd.nn.EmbeddingBag.from_pretrained(pd.tensor([[1.0], [3.0]]))
        >>> layer(pd.tensor([[0, 1]])).tolist()
        [[2.0]]
        """
        cls._check_given(cls.__name__, embeddings)
        layer = cls(
            *embeddings.shape, max_norm, norm_type, scale_grad_by_freq, mode, sparse, embeddings, include_last_offset,
            padding_idx,
        )  # fmt: skip
        layer.weight.requires_grad = not freeze
        return layer

    def forward(self, input, offsets=None, per_sample_weights=None):
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode, self.sparse,
            per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip

    def extra_repr(self):
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        text += f", mode={self.mode!r}"
        return text + (f", padding_idx={self.padding_idx}" if self.padding_idx is not None else "")
