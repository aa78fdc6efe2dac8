"""The tensors that a module trains, those that it only keeps, and both while their sizes are not known."""

import pydiff
from pydiff import Tensor

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter"]


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
        return _copy(self, memo)

    def __reduce_ex__(self, protocol):
        return _rebuild, (type(self), self.detach(), self.requires_grad, self.__dict__)


class Buffer(Tensor):
    """A tensor that a `Module` registers as a buffer when it is assigned as an attribute: kept, moved, not trained.

    Arguments:
        data: a tensor, whose value is shared, or anything that `pydiff.tensor` takes; nothing gives an empty tensor.
        persistent: whether it is part of the module's `state_dict`.

    >>> import pydiff as pd
    >>> module = pd.nn.Module()
    >>> module.mean = pd.nn.Buffer(pd.zeros(2))
    >>> list(module.state_dict())
    ['mean']
    """

    def __new__(cls, data=None, *, persistent=True):
        if not isinstance(data, Tensor):
            data = pydiff.tensor([] if data is None else data)
        self = Tensor.__new__(cls, data, requires_grad=data.requires_grad)
        self.persistent = persistent
        return self

    # `__new__` has built the tensor; the base's own initialiser must not run a second time.
    def __init__(self, data=None, *, persistent=True):
        pass

    def __deepcopy__(self, memo):
        return _copy(self, memo)

    def __reduce_ex__(self, protocol):
        return _rebuild, (type(self), self.detach(), self.requires_grad, self.__dict__)


def _copy(tensor, memo):
    # Two modules that share a tensor share its copy, hence the memo.
    known = memo.get(id(tensor))
    if known is None:
        known = _rebuild(type(tensor), tensor.detach().clone(), tensor.requires_grad, tensor.__dict__)
        memo[id(tensor)] = known
    return known


def _rebuild(cls, value, requires_grad, attributes):
    tensor = cls(value, requires_grad) if issubclass(cls, Parameter) else cls(value).requires_grad_(requires_grad)
    tensor.__dict__.update(attributes)
    return tensor


# ---- not sized yet


class _UnknownShape:
    """The shape of what has no size yet. It fits every shape (of a state dict's entry only another unknown one);
    whoever looks into it gets the error."""

    def __init__(self, owner, of_state):
        self._owner = owner
        self._of_state = of_state

    def __eq__(self, other):
        return isinstance(other, _UnknownShape) or not self._of_state

    __hash__ = None

    def _look(self, *_):
        raise RuntimeError(_unknown(self._owner, "a look at its shape"))

    __iter__ = __len__ = __getitem__ = _look

    def __repr__(self):
        return "(unknown)"


def _unknown(owner, use):
    return (
        f"[{owner}] its size is not known before the first call of its module; got {use}; try a call on one batch first, "
        "or load_state_dict"
    )


# What may be asked before the size is known.
_KNOWN = {
    "cls_to_become", "copy_", "data", "detach", "device", "dtype", "grad", "is_leaf", "materialize", "persistent",
    "requires_grad", "requires_grad_", "shape",
}  # fmt: skip


class UninitializedTensorMixin:
    """What `UninitializedParameter` and `UninitializedBuffer` have in common: a dtype, a device, and no size.

    Whatever needs a value raises RuntimeError, except that functions of C++ which are given the tensor itself see
    one without elements.
    """

    def __getattribute__(self, name):
        if name[0] != "_" and name not in _KNOWN and hasattr(Tensor, name):
            raise RuntimeError(_unknown(type(self).__name__, f"a use of {name!r}"))
        return super().__getattribute__(name)

    def materialize(self, shape, device=None, dtype=None):
        """Become an ordinary parameter or buffer of `shape`, filled with zeros; by default of its own device and dtype."""
        old = self.data
        self.data = pydiff.empty(
            tuple(shape), device=old.device if device is None else device, dtype=old.dtype if dtype is None else dtype
        )
        self.__class__ = self.cls_to_become

    @property
    def shape(self):
        """A shape that is equal to every other, and raises RuntimeError where it is looked into."""
        return _UnknownShape(type(self).__name__, getattr(self, "_of_state", False))

    def detach(self):
        """The same without a gradient: what a state dict holds of it."""
        entry = _copied(self)
        entry.requires_grad_(False)
        entry._of_state = True
        return entry

    def copy_(self, src, non_blocking=False):
        """Take the value of `src`, and with it the size."""
        if isinstance(src, UninitializedTensorMixin):
            return self
        self.materialize(src.shape)
        with pydiff.no_grad():
            return self.copy_(src)

    def __repr__(self):
        return f"<{type(self).__name__}>"

    def __deepcopy__(self, memo):
        known = memo.get(id(self))
        if known is None:
            known = memo[id(self)] = _copied(self)
        return known

    def __reduce_ex__(self, protocol):
        return _rebuild_unsized, (type(self), self.requires_grad, self.device, self.dtype, self.__dict__)


def _rebuild_unsized(cls, requires_grad, device, dtype, attributes):
    tensor = cls(requires_grad, device, dtype)
    tensor.__dict__.update(attributes)
    return tensor


def _copied(tensor):
    return _rebuild_unsized(type(tensor), tensor.requires_grad, tensor.device, tensor.dtype, tensor.__dict__)


def _refused(name):
    def operator(self, *_):
        raise RuntimeError(_unknown(type(self).__name__, f"{name.strip('_')} of it"))

    return operator


for _operator in (
    "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift radd rsub rmul rtruediv rfloordiv rmod rpow rmatmul "
    "iadd isub imul itruediv lt le gt ge neg abs invert getitem setitem len iter bool float int index array dlpack"
).split():
    _name = f"__{_operator}__"
    if hasattr(Tensor, _name):
        setattr(UninitializedTensorMixin, _name, _refused(_name))


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter whose size its module learns from the first input.

    Arguments:
        requires_grad: whether `backward` will fill `.grad`.
        device, dtype: what it will have.

    It becomes a `Parameter`, the same object, by `materialize(shape)` or when a state is loaded. Until then asking for
    its size or value raises RuntimeError; its module can be moved, cast, copied and pickled.

    >>> import pydiff as pd
    >>> p = pd.nn.UninitializedParameter()
    >>> p.materialize((2, 3))
    >>> type(p).__name__, tuple(p.shape)
    ('Parameter', (2, 3))
    """

    cls_to_become = Parameter

    def __new__(cls, requires_grad=True, device=None, dtype=None):
        return Tensor.__new__(cls, pydiff.empty(0, device=device, dtype=dtype), requires_grad=requires_grad)

    def __init__(self, requires_grad=True, device=None, dtype=None):
        pass


class UninitializedBuffer(UninitializedTensorMixin, Buffer):
    """A buffer whose size its module learns from the first input; as `UninitializedParameter`.

    >>> import pydiff as pd
    >>> b = pd.nn.UninitializedBuffer(dtype=pd.float64)
    >>> b.materialize((2,))
    >>> b.tolist(), b.dtype
    ([0.0, 0.0], pydiff.float64)
    """

    cls_to_become = Buffer

    def __new__(cls, requires_grad=False, device=None, dtype=None, persistent=True):
        buffer = Tensor.__new__(cls, pydiff.empty(0, device=device, dtype=dtype), requires_grad=requires_grad)
        buffer.persistent = persistent
        return buffer

    def __init__(self, requires_grad=False, device=None, dtype=None, persistent=True):
        pass


def is_lazy(param):
    """Whether the size of `param` is not known yet.

    >>> import pydiff as pd
    >>> pd.nn.parameter.is_lazy(pd.nn.LazyLinear(2).weight)
    True
    """
    return isinstance(param, UninitializedTensorMixin)
