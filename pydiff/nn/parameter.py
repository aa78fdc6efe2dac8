"""The tensor that a module trains."""

import pydiff
from pydiff import Tensor

__all__ = ["Parameter"]


class Parameter(Tensor):
    """A leaf tensor that a `Module` registers when it is assigned as an attribute.

    Arguments:
        data: a tensor, whose value is shared and whose tape is left behind, or anything
            that `pydiff.tensor` takes.
        requires_grad: whether `backward` fills `.grad`.

    Operations on a parameter give plain tensors. Attributes set on it (`p.no_decay = True`)
    survive copying and pickling.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.ones(2, 3))
    >>> p.requires_grad, tuple(p.shape)
    (True, (2, 3))
    """

    def __new__(cls, data, requires_grad=True):
        if not isinstance(data, Tensor):
            data = pydiff.tensor(data)
        return Tensor.__new__(cls, data, requires_grad=requires_grad)

    # `__new__` has built the tensor; the base's own initialiser must not run a second time.
    def __init__(self, data, requires_grad=True):
        pass

    def __repr__(self):
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo):
        # Two modules that share a parameter share its copy, hence the memo.
        known = memo.get(id(self))
        if known is None:
            known = _rebuild(type(self), self.detach().clone(), self.requires_grad, self.__dict__)
            memo[id(self)] = known
        return known

    def __reduce_ex__(self, protocol):
        return _rebuild, (type(self), self.detach(), self.requires_grad, self.__dict__)


def _rebuild(cls, value, requires_grad, attributes):
    parameter = cls(value, requires_grad)
    parameter.__dict__.update(attributes)
    return parameter
