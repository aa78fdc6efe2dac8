"""Parameters and buffers computed from others by modules: `layer.weight` becomes what the parametrizations give."""

import contextlib
import copyreg

import pydiff
from pydiff import Tensor

from ..containers import ModuleDict, ModuleList
from ..parameter import Parameter

__all__ = [
    "ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations",
    "transfer_parametrizations_and_params", "type_before_parametrizations",
]  # fmt: skip

_caching = 0
_cache = {}


@contextlib.contextmanager
def cached():
    """Inside, each parametrized tensor is computed once and kept.

    >>> import pydiff as pd
    >>> P = pd.nn.utils.parametrize
    >>> layer = P.register_parametrization(pd.nn.Linear(2, 2), "weight", pd.nn.ReLU())
    >>> with P.cached():
    ...     layer.weight is layer.weight
    True
    """
    global _caching
    _caching += 1
    try:
        yield
    finally:
        _caching -= 1
        if not _caching:
            _cache.clear()


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, applied in turn, and the tensors that the first is applied to.

    These are `original`, or `original0`, `original1`, … where `right_inverse` of the first gives several. Made by
    `register_parametrization`.

    Arguments:
        modules: the parametrizations.
        original: the tensor that they stand for from now on.
        unsafe: whether shape and dtype may change.

    >>> import pydiff as pd
    >>> P = pd.nn.utils.parametrize
    >>> layer = P.register_parametrization(pd.nn.Linear(2, 2), "weight", pd.nn.ReLU())
    >>> [name for name, _ in layer.parametrizations.weight.named_parameters()]
    ['original']
    """

    def __init__(self, modules, original, unsafe=False):
        modules = list(modules)
        if not modules:
            raise ValueError("[ParametrizationList] one module at least is wanted; got none; try [module]")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        with pydiff.no_grad():
            value = original
            for module in reversed(modules):
                if hasattr(module, "right_inverse"):
                    # Not implemented for what a module cannot undo: then the tensor is taken as it is.
                    with contextlib.suppress(NotImplementedError):
                        value = module.right_inverse(value)
        self.is_tensor = isinstance(value, Tensor)
        parts = [value] if self.is_tensor else _several(value)
        self.ntensors = len(parts)
        if self.is_tensor:
            if value.dtype != dtype:
                _refuse("right_inverse gives a tensor of another dtype", value.dtype, f"a result of {dtype}")
            before = original.data
            if value is not original:
                original.data = value
            self._register_original("original", original)
        else:
            for k, part in enumerate(parts):
                kept = Parameter(part, original.requires_grad) if isinstance(original, Parameter) else part
                self._register_original(f"original{k}", kept)
        if not unsafe:
            try:
                self._check(shape, dtype)
            except Exception:
                if self.is_tensor:
                    original.data = before
                raise

    def _register_original(self, name, tensor):
        if isinstance(tensor, Parameter):
            self.register_parameter(name, tensor)
        else:
            self.register_buffer(name, tensor)

    def _check(self, shape, dtype):
        with pydiff.no_grad():
            made = self()
        _same(made, shape, dtype)

    def originals(self):
        """The tensors that the first parametrization is applied to."""
        return [self.original] if self.is_tensor else [getattr(self, f"original{k}") for k in range(self.ntensors)]

    def right_inverse(self, value):
        """Set the originals so that the parametrizations give `value`, by their `right_inverse`, the last first.

        Raises RuntimeError where one has none, ValueError where what it gives does not fit the originals.
        """
        with pydiff.no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"[parametrize] {type(module).__name__} cannot be assigned to; got no right_inverse; "
                        "try def right_inverse(self, value): ..."
                    )
                value = module.right_inverse(value)
            parts = [value] if isinstance(value, Tensor) else _several(value)
            kept = self.originals()
            if [p.dtype for p in parts] != [k.dtype for k in kept]:
                _refuse("right_inverse gives other tensors than before", [str(p.dtype) for p in parts], f"{len(kept)} tensors")
            for tensor, part in zip(kept, parts, strict=True):
                tensor.data = part.detach().clone()

    def forward(self):
        modules = iter(self)
        value = next(modules)(*self.originals())
        for module in modules:
            value = module(value)
        return value


def _several(value):
    if not isinstance(value, (tuple, list)) or not all(isinstance(v, Tensor) for v in value):
        _refuse("right_inverse gives a tensor or a tuple of tensors", type(value).__name__, "return (a, b)")
    return list(value)


def _same(made, shape, dtype):
    if not isinstance(made, Tensor):
        _refuse("a parametrization gives a tensor", type(made).__name__, "return a tensor")
    if made.dtype != dtype or made.shape != shape:
        _refuse(
            f"a parametrization keeps shape and dtype, here {tuple(shape)} {dtype}", f"{tuple(made.shape)} {made.dtype}",
            "unsafe=True where that is meant",
        )  # fmt: skip


def _refuse(what, got, advice):
    raise ValueError(f"[register_parametrization] {what}; got {got}; try {advice}")


# ---- the class of a module with parametrized tensors


def _property(name):
    def get(self):
        found = self.parametrizations._modules[name]
        if not _caching:
            return found()
        key = id(self), name
        value = _cache.get(key)
        if value is None:
            # With the module, so that no other gets its id while this is kept.
            value = _cache[key] = self, found()
        return value[1]

    return property(get)


class _Parametrized:
    """What a module's class has in front once a tensor of it is parametrized."""

    def __setattr__(self, name, value):
        if isinstance(vars(type(self)).get(name), property) and is_parametrized(self, name):
            self.parametrizations[name].right_inverse(value)
            for key in [key for key in _cache if key[0] == id(self)]:
                del _cache[key]
        else:
            super().__setattr__(name, value)

    def __reduce_ex__(self, protocol):
        return _revive, (type_before_parametrizations(self), list(self.parametrizations)), self.__getstate__()


def _class_of(base, names):
    # One for each module: it has the properties of this module's parametrized tensors.
    inside = {name: _property(name) for name in names}
    return type(f"Parametrized{base.__name__}", (_Parametrized, base), {**inside, "__module__": base.__module__})


def _revive(base, names):
    """A copy before it gets its attributes."""
    return copyreg.__newobj__(_class_of(base, names))


def register_parametrization(module, tensor_name, parametrization, *, unsafe=False):
    """Compute a parameter or buffer of `module` by `parametrization`, a module, from now on; returns the module.

    Arguments:
        tensor_name: the tensor, which becomes `module.parametrizations.<name>.original`.
        parametrization: a module; called with the original, or with what came out of the one registered before it.
            Its `right_inverse(value)`, if it has one, gives what it is to be called with to give `value`: a tensor, or
            several, which are then kept as `original0`, `original1`, … Assignments to the tensor go through it.
        unsafe: whether it may change shape and dtype.

    `copy.deepcopy` and pickles work. Raises ValueError for a name that is not a tensor of the module, and for results
    that do not fit.

    >>> import pydiff as pd
    >>> class Symmetric(pd.nn.Module):
    ...     def forward(self, x):
    ...         return x.triu() + x.triu(1).T
    >>> layer = pd.nn.utils.parametrize.register_parametrization(pd.nn.Linear(3, 3), "weight", Symmetric())
    >>> bool((layer.weight == layer.weight.T).all()), list(layer.state_dict())
    (True, ['bias', 'parametrizations.weight.original'])
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        found = module.parametrizations[tensor_name]
        if not unsafe:
            _check_appended(getattr(module, tensor_name), parametrization)
        found.append(parametrization)
        found.unsafe |= unsafe
    elif tensor_name in module._parameters or tensor_name in module._buffers:
        original = getattr(module, tensor_name)
        if original is None:
            _refuse(f"{tensor_name!r} is a tensor", None, "a layer that has it")
        found = ParametrizationList([parametrization], original, unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            module.parametrizations = ModuleDict()
        module.parametrizations[tensor_name] = found
        module.__class__ = _class_of(type_before_parametrizations(module), list(module.parametrizations))
    else:
        names = [*module._parameters, *module._buffers]
        _refuse(f"{type(module).__name__} has no tensor of that name", repr(tensor_name), f"one of {names}")
    return module


def _check_appended(value, parametrization):
    with pydiff.no_grad():
        before = value
        if hasattr(parametrization, "right_inverse"):
            with contextlib.suppress(NotImplementedError):
                before = parametrization.right_inverse(value)
        if not isinstance(before, Tensor):
            _refuse("only the first parametrization has several tensors", type(before).__name__, "registering it first")
        _same(before, value.shape, value.dtype)
        _same(parametrization(before), value.shape, value.dtype)


def is_parametrized(module, tensor_name=None):
    """Whether a tensor of the module, or any of them, is parametrized.

    >>> import pydiff as pd
    >>> pd.nn.utils.parametrize.is_parametrized(pd.nn.Linear(2, 2))
    False
    """
    found = module._modules.get("parametrizations")
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(module, tensor_name, leave_parametrized=True):
    """Make a parametrized tensor an ordinary one again; returns the module.

    Arguments:
        leave_parametrized: whether it keeps the value that the parametrizations give; else it gets its original's back,
            which is possible where there is one original.

    The original parameter, where there is one, stays the same object. Raises ValueError for what is not parametrized.

    >>> import pydiff as pd
    >>> P = pd.nn.utils.parametrize
    >>> layer = P.register_parametrization(pd.nn.Linear(2, 2), "weight", pd.nn.ReLU())
    >>> P.remove_parametrizations(layer, "weight")
    Linear(in_features=2, out_features=2, bias=True)
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(
            f"[remove_parametrizations] {type(module).__name__} has no such parametrized tensor; got {tensor_name!r}; "
            f"try one of {list(getattr(module, 'parametrizations', ()))}"
        )
    found = module.parametrizations[tensor_name]
    if not leave_parametrized and not found.is_tensor:
        raise ValueError(
            f"[remove_parametrizations] there is one original to go back to; got {found.ntensors}; try leave_parametrized=True"
        )
    kept = found.originals()[0]
    if leave_parametrized:
        with pydiff.no_grad():
            value = getattr(module, tensor_name).detach().clone()
        if found.is_tensor:
            kept.data = value
        else:
            kept = Parameter(value, kept.requires_grad) if isinstance(kept, Parameter) else value
    base = type_before_parametrizations(module)
    del module.parametrizations[tensor_name]
    module.__class__ = _class_of(base, list(module.parametrizations)) if len(module.parametrizations) else base
    if not len(module.parametrizations):
        del module.parametrizations
    if isinstance(kept, Parameter):
        module.register_parameter(tensor_name, kept)
    else:
        module.register_buffer(tensor_name, kept)
    return module


def type_before_parametrizations(module):
    """The class that the module had before a tensor of it was parametrized.

    >>> import pydiff as pd
    >>> P = pd.nn.utils.parametrize
    >>> layer = P.register_parametrization(pd.nn.Linear(2, 2), "weight", pd.nn.ReLU())
    >>> P.type_before_parametrizations(layer).__name__
    'Linear'
    """
    kind = type(module)
    return kind.__bases__[1] if issubclass(kind, _Parametrized) else kind


def transfer_parametrizations_and_params(from_module, to_module, tensor_name=None):
    """Give `to_module` the parametrizations and originals of `from_module`, of one tensor or of all; returns it.

    Other parameters that only `from_module` has come along. Raises ValueError where nothing is parametrized.

    >>> import pydiff as pd
    >>> P = pd.nn.utils.parametrize
    >>> layer = P.register_parametrization(pd.nn.Linear(2, 2), "weight", pd.nn.ReLU())
    >>> twin = P.transfer_parametrizations_and_params(layer, pd.nn.Linear(2, 2))
    >>> twin.parametrizations.weight.original is layer.parametrizations.weight.original
    True
    """
    if not is_parametrized(from_module, tensor_name):
        raise ValueError(
            f"[transfer_parametrizations_and_params] {type(from_module).__name__} has nothing to give; got "
            f"{tensor_name!r}; try register_parametrization first"
        )
    for name in list(from_module.parametrizations) if tensor_name is None else [tensor_name]:
        found = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name)))
        for parametrization in found:
            register_parametrization(to_module, name, parametrization, unsafe=found.unsafe)
        target = to_module.parametrizations[name]
        for key in ["original"] if found.is_tensor else [f"original{k}" for k in range(found.ntensors)]:
            setattr(target, key, getattr(found, key))
    return to_module
