"""Modules without their initial values."""

import pydiff

__all__ = ["skip_init"]


def skip_init(module_cls, *args, **kwargs):
    """A module whose parameters and buffers have no values yet; no random number is drawn.

    Arguments:
        module_cls: a class of modules.
        *args, **kwargs: what it is called with; `device` says where the tensors are.

    The values that the class would give are recorded, but never computed. Raises TypeError for what is no class of modules.

    >>> import pydiff as pd
    >>> tuple(pd.nn.utils.skip_init(pd.nn.Linear, 2, 3).weight.shape)
    (3, 2)
    """
    if not (isinstance(module_cls, type) and issubclass(module_cls, pydiff.nn.Module)):
        raise TypeError(f"[skip_init] a class of modules is wanted; got {module_cls!r}; try skip_init(nn.Linear, 2, 3)")
    state = pydiff.get_rng_state()
    try:
        module = module_cls(*args, **kwargs)
    finally:
        pydiff.set_rng_state(state)
    with pydiff.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.data = pydiff.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    return module
