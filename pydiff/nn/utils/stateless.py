"""Modules called with other tensors in the place of their own."""

from pydiff import Tensor

__all__ = ["functional_call"]


def functional_call(module, parameters_and_buffers, args=None, kwargs=None, *, tie_weights=True, strict=False):
    """What the module gives with these tensors in the place of its parameters and buffers, which are put back after.

    Arguments:
        parameters_and_buffers: a dict from dotted name to tensor; others stay the module's own.
        args: the arguments, a tuple, or one that is none.
        kwargs: keyword arguments, a dict.
        tie_weights: whether a tensor given under one name serves all names under which the module has the same tensor.
        strict: whether every parameter and buffer has to be given.

    So a module is a function of its parameters, for `grad`, `vmap` and `jvp`. Raises RuntimeError for names that the
    module does not have, and with `strict` for missing ones; ValueError where tied names get different tensors.

    >>> import pydiff as pd
    >>> layer = pd.nn.Linear(2, 1, bias=False)
    >>> pd.nn.utils.stateless.functional_call(layer, {"weight": pd.ones(1, 2)}, pd.tensor([2.0, 3.0])).tolist()
    [5.0]
    """
    slots = _slots(module)
    given = dict(parameters_and_buffers)
    _check(module, slots, given, strict)
    if tie_weights:
        given = _tied(slots, given)
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    before = [(key, *slots[key]) for key in given]
    try:
        for key, tensor in given.items():
            put(slots[key], tensor)
        return module(*args, **(kwargs or {}))
    finally:
        # A forward pass may give a buffer a new tensor; that is left with the caller's, as in PyTorch.
        for _, owner, registry, name, tensor in before:
            put((owner, registry, name), tensor)


def _slots(module):
    """Dotted name → (module, registry, name, tensor)."""
    slots = {}
    for path, owner in module.named_modules(remove_duplicate=False):
        for registry in (owner._parameters, owner._buffers):
            for name, tensor in registry.items():
                if tensor is not None:
                    slots[f"{path}.{name}" if path else name] = owner, registry, name, tensor
    return slots


def put(slot, tensor):
    """Make a tensor the parameter or buffer of a slot (module, registry, name)."""
    # Past the module's own `__setattr__`, which wants parameters; see module.py on where attributes are.
    owner, registry, name = slot[:3]
    registry[name] = tensor
    object.__setattr__(owner, name, tensor)


def _check(module, slots, given, strict):
    unknown = [key for key in given if key not in slots]
    missing = [key for key in slots if key not in given] if strict else []
    if unknown or missing:
        found = [f"{what}: {', '.join(keys)}" for what, keys in (("unexpected", unknown), ("missing", missing)) if keys]
        raise RuntimeError(
            f"[functional_call] the tensors do not fit {type(module).__name__}; got {'; '.join(found)}; "
            f"try {'strict=False' if missing and not unknown else 'names of dict(model.named_parameters())'}"
        )
    for key, tensor in given.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"[functional_call] {key!r} is a tensor; got {type(tensor).__name__}; try pydiff.tensor(value)")


def _tied(slots, given):
    """With the tensors that are given under one of several names under all of them."""
    names = {}
    for key, slot in slots.items():
        names.setdefault(id(slot[3]), []).append(key)
    result = dict(given)
    for key, tensor in given.items():
        for other in names[id(slots[key][3])]:
            if given.get(other, tensor) is not tensor:
                raise ValueError(
                    f"[functional_call] tied tensors get one value; got two, for {key!r} and {other!r}; try tie_weights=False"
                )
            result[other] = tensor
    return result
