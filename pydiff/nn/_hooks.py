"""Functions that run around a module's `forward`, and around the backward pass through it."""

import itertools
import weakref

from pydiff import Tensor, is_grad_enabled, zeros_like
from pydiff.autograd import Function

_keys = itertools.count()


class Hook:
    """One registered function and how it is to be called.

    `kind` is "before" or "after" (forward), "backward" or "before backward".
    """

    __slots__ = ("function", "kind", "with_kwargs", "always_call")

    def __init__(self, function, kind, with_kwargs=False, always_call=False):
        self.function = function
        self.kind = kind
        self.with_kwargs = with_kwargs
        self.always_call = always_call


class RemovableHandle:
    """What registering a hook returns: `remove()` takes the hook away again.

    It also works as a context manager that removes the hook on the way out. It does not
    keep the module alive.
    """

    def __init__(self, hooks, hook, prepend=False):
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
    watch = None
    try:
        for hook in hooks:
            if hook.kind == "before":
                args, kwargs = _before(hook, module, args, kwargs)
        if is_grad_enabled() and any("backward" in hook.kind for hook in hooks):
            watch = _Watch(module, hooks)
            args = watch.inputs(args)
        result = module.forward(*args, **kwargs)
    except Exception:
        for hook in hooks:
            if hook.always_call:
                _after(hook, module, args, kwargs, None)
        raise
    for hook in hooks:
        if hook.kind == "after":
            result = _after(hook, module, args, kwargs, result)
    return result if watch is None else watch.results(result)


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


# ---- backward


class _Watch:
    """The backward pass through one call of a module, seen at its results and at its inputs.

    Tensors go in and come out through an identity, whose backward rule calls the hooks.
    """

    def __init__(self, module, hooks):
        self.module = module
        self.first = [hook.function for hook in hooks if hook.kind == "before backward"]
        self.last = [hook.function for hook in hooks if hook.kind == "backward"]
        self.passed = None  # the gradients of the results, once the backward pass has come there
        self.blank = ()
        self.places = None

    def inputs(self, args):
        """The positional arguments, with the tensors among them watched."""
        # What hooks see of tensors without a gradient; never computed unless looked at.
        self.blank = tuple(zeros_like(value) if isinstance(value, Tensor) else None for value in args)
        places = [k for k, value in enumerate(args) if isinstance(value, Tensor) and value.requires_grad]
        if not places:
            return args
        self.places = places
        return _replaced(args, places, _Identity.apply(self._at_inputs, *[args[k] for k in places]))

    def results(self, result):
        """The result, a tensor or a tuple, list or dict of them, watched."""
        if isinstance(result, Tensor):
            return self._at_results_of([result])[0] if result.requires_grad else result
        if isinstance(result, dict):
            changed = result.copy()
            changed.update(zip(result, self.results(tuple(result.values())), strict=True))
            return changed
        if not isinstance(result, (tuple, list)):
            return result
        places = [k for k, value in enumerate(result) if isinstance(value, Tensor)]
        if not any(result[k].requires_grad for k in places):
            return result
        self.size = len(result)
        self.kept = places
        changed = _replaced(result, places, self._at_results_of([result[k] for k in places]))
        return type(result)(*changed) if hasattr(result, "_fields") else type(result)(changed)

    size = 1
    kept = (0,)

    def _at_results_of(self, tensors):
        return _Identity.apply(self._at_results, *tensors)

    def _at_results(self, grads):
        passed = _replaced((None,) * self.size, self.kept, grads)
        for hook in self.first:
            passed = _checked(hook(self.module, passed), passed, "register_full_backward_pre_hook")
        self.passed = passed
        if self.places is None:  # no input has a gradient
            self._call(passed, (None,) * len(self.blank))
        return [passed[k] for k in self.kept]

    def _at_inputs(self, grads):
        given = _replaced(self.blank, self.places, grads)
        given = self._call(self.passed, given)
        self.passed = None
        return [given[k] for k in self.places]

    def _call(self, passed, given):
        for hook in self.last:
            given = _checked(hook(self.module, given, passed), given, "register_full_backward_hook")
        return given


def _replaced(values, places, new):
    values = list(values)
    for k, value in zip(places, new, strict=True):
        values[k] = value
    return tuple(values)


def _checked(changed, grads, name):
    """What a hook's answer makes of the gradients."""
    if changed is None:
        return grads
    changed = changed if isinstance(changed, (tuple, list)) else (changed,)
    if len(changed) != len(grads):
        raise RuntimeError(
            f"[{name}] a hook returns None or a gradient for each; got {len(changed)} for {len(grads)}; try return None"
        )
    return tuple(changed)


class _Identity(Function):
    """Gives its tensors on; on the way back `hook` sees all their gradients at once."""

    @staticmethod
    def forward(ctx, hook, *tensors):
        ctx.hook = hook
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx, *grads):
        return None, *ctx.hook(grads)
