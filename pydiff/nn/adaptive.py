"""A softmax over very many classes, rare ones of which share clusters."""

from collections import namedtuple
from itertools import pairwise

import pydiff

from .containers import ModuleList, Sequential
from .linear import Linear
from .module import Module

__all__ = ["AdaptiveLogSoftmaxWithLoss"]

_Result = namedtuple("_Result", ["output", "loss"])


class AdaptiveLogSoftmaxWithLoss(Module):
    """A softmax in two steps: over the frequent classes and the clusters of rare ones, then within a cluster.

    Arguments:
        in_features: width of the input.
        n_classes: how many classes, the most frequent first.
        cutoffs: where clusters begin, increasing, each between 1 and n_classes - 1.
        div_value: cluster k has a projection of `in_features // div_value**k`.
        head_bias: whether the first step has a bias.
        device, dtype: of the parameters.

    It is called with an input `(batch, in_features)` and classes `(batch,)`, or both without batch, and gives the
    named tuple `(output, loss)`: the log-probability of each class, and minus their mean. Raises ValueError for
    cutoffs, shapes or classes that do not fit. A cluster is computed for the samples whose class it holds, and so
    the classes are read at once. Grave et al., arXiv:1609.04309.

    >>> import pydiff as pd
    >>> layer = pd.nn.AdaptiveLogSoftmaxWithLoss(8, 20, cutoffs=[4, 10])
    >>> output, loss = layer(pd.zeros(3, 8), pd.tensor([0, 5, 19]))
    >>> tuple(output.shape), tuple(layer.log_prob(pd.zeros(3, 8)).shape)
    ((3,), (3, 20))
    """

    def __init__(self, in_features, n_classes, cutoffs, div_value=4.0, head_bias=False, device=None, dtype=None):
        super().__init__()
        cutoffs = list(cutoffs)
        rising = all(low < high for low, high in pairwise([0, *cutoffs, n_classes]))
        if not cutoffs or not rising or any(int(c) != c for c in cutoffs):
            raise ValueError(
                f"[AdaptiveLogSoftmaxWithLoss] cutoffs are increasing integers from 1 to n_classes - 1; got {cutoffs} for "
                f"{n_classes} classes; try cutoffs=[{max(1, n_classes // 10)}]"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = cutoffs[0]
        self.n_clusters = len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, device=device, dtype=dtype)
        self.tail = ModuleList()
        for k, (start, stop) in enumerate(pairwise(self.cutoffs)):
            width = int(in_features // div_value ** (k + 1))
            self.tail.append(
                Sequential(
                    Linear(in_features, width, bias=False, device=device, dtype=dtype),
                    Linear(width, stop - start, bias=False, device=device, dtype=dtype),
                )
            )

    def reset_parameters(self):
        """Draw all weights anew."""
        for module in self.modules():
            if isinstance(module, Linear):
                module.reset_parameters()

    def forward(self, input_, target_):
        if target_.ndim > 1 or input_.ndim != target_.ndim + 1 or input_.shape[:-1] != target_.shape:
            raise ValueError(
                "[AdaptiveLogSoftmaxWithLoss] an input (batch, in_features) goes with a target (batch,); got "
                f"{tuple(input_.shape)} and {tuple(target_.shape)}; try target.reshape({tuple(input_.shape[:-1])})"
            )
        batched = target_.ndim == 1
        input, target = (input_, target_) if batched else (input_.unsqueeze(0), target_.unsqueeze(0))
        classes = target.tolist()
        wrong = [c for c in classes if not 0 <= c < self.n_classes]
        if wrong:
            raise ValueError(
                f"[AdaptiveLogSoftmaxWithLoss] classes are 0 to {self.n_classes - 1}; got {wrong[0]}; try target.clamp(0, "
                f"{self.n_classes - 1})"
            )
        first, rest = target, input.new_zeros(len(classes))
        for k, (start, stop) in enumerate(pairwise(self.cutoffs)):
            rows = [row for row, c in enumerate(classes) if start <= c < stop]
            if not rows:
                continue
            first = pydiff.where((target >= start) & (target < stop), self.shortlist_size + k, first)
            found = self._within(k, input, target - start, rows)
            rest = rest.index_add(0, pydiff.tensor(rows, device=input.device), found)
        output = self.head(input).log_softmax(1).gather(1, first.unsqueeze(1)).squeeze(1) + rest
        loss = -output.mean()
        return _Result(output if batched else output.squeeze(0), loss)

    def _within(self, cluster, input, place, rows):
        """The log-probabilities of `place` in a cluster, of some rows."""
        # As many rows as the next power of two, the last one repeated, so that batches share plans.
        size = min(1 << (len(rows) - 1).bit_length(), input.shape[0])
        index = pydiff.tensor(rows + rows[-1:] * (size - len(rows)), device=input.device)
        found = self.tail[cluster](input.index_select(0, index)).log_softmax(1)
        return found.gather(1, place.index_select(0, index).unsqueeze(1)).squeeze(1)[: len(rows)]

    def log_prob(self, input):
        """The log-probabilities of all classes: `(batch, in_features)` gives `(batch, n_classes)`."""
        head = self.head(input).log_softmax(1)
        parts = [head[:, : self.shortlist_size]]
        for k, cluster in enumerate(self.tail):
            place = self.shortlist_size + k
            parts.append(cluster(input).log_softmax(1) + head[:, place : place + 1])
        return pydiff.cat(parts, 1)

    def predict(self, input):
        """The class of the highest probability for each sample: `(batch, in_features)` gives `(batch,)`."""
        return self.log_prob(input).argmax(1)
