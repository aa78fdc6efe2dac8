"""Functions that run around a module's `forward`."""

import itertools
import weakref

_keys = itertools.count()


class Hook:
    """One registered function and how it is to be called."""

    __slots__ = ("function", "before", "with_kwargs", "always_call")

    def __init__(self, function, before, with_kwargs, always_call=False):
        self.function = function
        self.before = before
        self.with_kwargs = with_kwargs
        self.always_call = always_call


class RemovableHandle:
    """What registering a hook returns: `remove()` takes the hook away again.

    It also works as a context manager that removes the hook on the way out. It does not
    keep the module alive.
    """

    def __init__(self, hooks, hook, prepend):
        self._hooks = weakref.ref(hooks)
        self._key = next(_keys)
        hooks[self._key] = hook
        if prepend:
            hooks.move_to_end(self._key, last=False)

    def remove(self):
        """Take the hook away; doing so twice is harmless."""
        hooks = self._hooks()
        if hooks is not None:
            hooks.pop(self._key, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


def call_with_hooks(module, args, kwargs):
    """`module.forward(*args, **kwargs)` with the module's hooks before and after it.

    A hook that returns something other than None replaces the arguments (before) or the
    result (after). Hooks registered with `always_call` run even where `forward` raises, and
    then see None as the result.
    """
    hooks = list(module._hooks.values())
    try:
        for hook in hooks:
            if hook.before:
                args, kwargs = _before(hook, module, args, kwargs)
        result = module.forward(*args, **kwargs)
    except Exception:
        for hook in hooks:
            if hook.always_call:
                _after(hook, module, args, kwargs, None)
        raise
    for hook in hooks:
        if not hook.before:
            result = _after(hook, module, args, kwargs, result)
    return result


def _before(hook, module, args, kwargs):
    if hook.with_kwargs:
        changed = hook.function(module, args, kwargs)
        if changed is None:
            return args, kwargs
        if isinstance(changed, tuple) and len(changed) == 2:
            return changed
        raise TypeError(
            "[register_forward_pre_hook] a hook with_kwargs=True returns None or (args, kwargs); "
            f"got {type(changed).__name__}; try return args, kwargs"
        )
    changed = hook.function(module, args)
    if changed is None:
        return args, kwargs
    return (changed if isinstance(changed, tuple) else (changed,)), kwargs


def _after(hook, module, args, kwargs, result):
    if hook.with_kwargs:
        changed = hook.function(module, args, kwargs, result)
    else:
        changed = hook.function(module, args, result)
    return result if changed is None else changed
