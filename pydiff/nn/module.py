"""The base of every layer: a tree of parameters, buffers and modules.

`_parameters`, `_buffers` and `_modules` hold what is registered. Each item is stored a second
time as an ordinary instance attribute, so reading `layer.weight` is a plain attribute read.
A `__getattr__` on the class would more than double the cost of every attribute read, also of
those that never reach it, and would hide an AttributeError raised inside a property. The price:
registered items change only through attributes and the `register_…` methods.
"""

from collections import OrderedDict

import pydiff
from pydiff import Tensor

from ._grads import clear_grads
from ._hooks import Hook, RemovableHandle, call_with_hooks
from ._paths import tell_path
from ._state import load
from .parameter import Buffer, Parameter

__all__ = ["Module"]

_set = object.__setattr__
_NO_HOOKS = {}


class Module:
    """Base class of all layers and models.

    A subclass creates its layers in `__init__`, after `super().__init__()`, and computes in
    `forward`. Assigned parameters and modules register themselves.

    >>> import pydiff as pd
    >>> class Twice(pd.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.linear = pd.nn.Linear(3, 3)
    ...     def forward(self, x):
    ...         return self.linear(self.linear(x))
    >>> model = Twice()
    >>> [name for name, _ in model.named_parameters()]
    ['linear.weight', 'linear.bias']
    >>> tuple(model(pd.zeros(2, 3)).shape)
    (2, 3)
    """

    #: What `state_dict` notes of each module beside its tensors, for hooks before loading.
    _version = 1
    # Hooks of the state, by what they are called at; made when the first is registered.
    _state_hooks = _NO_HOOKS

    def __init__(self):
        # Not through self.__dict__: touching it would turn CPython's inline attribute slots
        # into a dict, and attribute reads would be slower from then on.
        _set(self, "training", True)
        _set(self, "_parameters", {})
        _set(self, "_buffers", {})
        _set(self, "_modules", {})
        _set(self, "_non_persistent_buffers", set())
        _set(self, "_hooks", OrderedDict())

    def __call__(self, *args, **kwargs):
        try:
            if self._hooks:
                return call_with_hooks(self, args, kwargs)
            return self.forward(*args, **kwargs)
        except Exception as error:
            tell_path(self, error)
            raise

    def forward(self, *args, **kwargs):
        """The computation of the module; every subclass that is called defines it."""
        raise NotImplementedError(f"[{type(self).__name__}] forward is not defined; try def forward(self, input): ...")

    # Copies and pickles. What a hook computes of parameters, such as a normed or a pruned weight, is no leaf; its hook
    # names it (`computes`) and computes it for the copy (`restore`).

    def __getstate__(self):
        state = dict(self.__dict__)
        for hook in state.get("_hooks", _NO_HOOKS).values():
            state.pop(getattr(hook.function, "computes", None), None)
        return state

    def __setstate__(self, state):
        for name, value in state.items():
            _set(self, name, value)
        for hook in state.get("_hooks", _NO_HOOKS).values():
            if hasattr(hook.function, "computes"):
                hook.function.restore(self)

    # Attributes

    def __setattr__(self, name, value):
        if isinstance(value, Parameter):
            self._adopt("_parameters", name, value)
        elif isinstance(value, Module):
            self._adopt("_modules", name, value)
        elif isinstance(value, Buffer):
            self._adopt("_buffers", name, value)
            self._note_persistence(name, value.persistent)
        else:
            try:
                parameters, buffers, modules = self._parameters, self._buffers, self._modules
            except AttributeError:  # plain attributes may precede Module.__init__
                _set(self, name, value)
                return
            if name in parameters:
                if value is not None:
                    self._refuse(name, "a parameter", value, "nn.Parameter(value)")
                parameters[name] = None
            elif name in buffers:
                if value is not None and not isinstance(value, Tensor):
                    self._refuse(name, "a buffer", value, "a tensor")
                buffers[name] = value
            elif name in modules:
                if value is not None:
                    self._refuse(name, "a module", value, "an nn.Module")
                modules[name] = None
            _set(self, name, value)

    def __delattr__(self, name):
        self._parameters.pop(name, None)
        self._modules.pop(name, None)
        self._buffers.pop(name, None)
        self._non_persistent_buffers.discard(name)
        object.__delattr__(self, name)

    def __dir__(self):
        # Children of a Sequential are called "0", "1", …: attributes, but not to be typed.
        return [name for name in object.__dir__(self) if not name[0].isdigit()]

    def _adopt(self, registry, name, value):
        """Register `value`, moving `name` from the registry that holds it now, if any."""
        try:
            target = getattr(self, registry)
        except AttributeError:
            raise AttributeError(
                f"[{type(self).__name__}] '{name}' was assigned before the module was initialised; "
                "try super().__init__() as the first line of __init__"
            ) from None
        if name not in target:
            if name in self.__dict__:
                delattr(self, name)
            self._check_name(name)
        target[name] = value
        _set(self, name, value)

    def _check_name(self, name):
        owner = type(self).__name__
        if not isinstance(name, str):
            raise TypeError(f"[{owner}] a name is a string; got {type(name).__name__}; try str(name)")
        if not name or "." in name:
            raise KeyError(
                f"[{owner}] a name has at least one character and no dot; got {name!r}; "
                f"try {name.replace('.', '_') or 'weight'!r}"
            )
        if hasattr(self, name):
            raise KeyError(f"[{owner}] attribute {name!r} already exists; got it a second time; try another name")

    def _refuse(self, name, kind, value, advice):
        raise TypeError(
            f"[{type(self).__name__}] attribute {name!r} holds {kind}; got {type(value).__name__}; "
            f"try {advice}, or del the attribute first"
        )

    # Registration

    def register_parameter(self, name, param):
        """Register `param`, a `Parameter` or None (a parameter that is absent), as `name`.

        Raises TypeError where `param` is neither, KeyError where the name cannot be used.
        """
        if param is not None and not isinstance(param, Parameter):
            self._refuse(name, "a parameter", param, "nn.Parameter(value)")
        self._register("_parameters", name, param)

    def register_buffer(self, name, tensor, persistent=True):
        """Register `tensor` (or None): state that is moved and saved but not trained.

        A buffer with `persistent=False` is left out of `state_dict`.
        """
        if tensor is not None and not isinstance(tensor, Tensor):
            self._refuse(name, "a buffer", tensor, "a tensor")
        self._register("_buffers", name, tensor)
        self._note_persistence(name, persistent)

    def _note_persistence(self, name, persistent):
        if persistent:
            self._non_persistent_buffers.discard(name)
        else:
            self._non_persistent_buffers.add(name)

    def register_module(self, name, module):
        """Register `module`, a `Module` or None, as the child `name`."""
        if module is not None and not isinstance(module, Module):
            self._refuse(name, "a module", module, "an nn.Module")
        self._register("_modules", name, module)

    add_module = register_module

    def _register(self, registry, name, value):
        if value is not None:
            target = self.__dict__.get(registry)
            if target is not None and name not in target:
                self._check_name(name)
            self._adopt(registry, name, value)
            return
        target = getattr(self, registry)
        if name not in target:
            self._check_name(name)
        target[name] = None
        _set(self, name, None)

    # Walking the tree

    def named_modules(self, memo=None, prefix="", remove_duplicate=True):
        """Pairs (path, module) of this module, whose path is `prefix`, and all below it."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from child.named_modules(memo, path, remove_duplicate)

    def modules(self, remove_duplicate=True):
        """This module and all below it, each once unless asked otherwise."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_children(self):
        """Pairs (name, module) of the direct children, each once."""
        seen = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self):
        """The direct children, each once."""
        for _, child in self.named_children():
            yield child

    def _named_members(self, registry, prefix, recurse, remove_duplicate):
        seen = set()
        if recurse:
            modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        else:
            modules = [(prefix, self)]
        for path, module in modules:
            for name, item in getattr(module, registry).items():
                if item is None or id(item) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(item))
                yield (f"{path}.{name}" if path else name), item

    def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
        """Pairs (path, parameter); a shared parameter comes once unless asked otherwise."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse=True):
        """The parameters of this module and, with `recurse`, of all below it, each once."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(self, prefix="", recurse=True, remove_duplicate=True):
        """Pairs (path, buffer)."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse=True):
        """The buffers of this module and, with `recurse`, of all below it, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target):
        """The module at the dotted path `target`; "" is this module itself.

        Raises AttributeError where there is none.
        """
        module = self
        for name in target.split(".") if target else ():
            child = module._modules.get(name)
            if child is None:
                raise AttributeError(
                    f"[get_submodule] {type(module).__name__} has no child {name!r}; "
                    f"got {target!r}; try one of {list(module._modules)}"
                )
            module = child
        return module

    def set_submodule(self, target, module, strict=False):
        """Put `module` at the dotted path `target`, in the place of what is there.

        With `strict` something has to be there. Raises ValueError for an empty path or what is no module,
        AttributeError where the path leads to nothing.

        >>> import pydiff as pd
        >>> model = pd.nn.Sequential(pd.nn.Sequential(pd.nn.Linear(2, 2)))
        >>> model.set_submodule("0.0", pd.nn.Identity())
        >>> model[0][0]
        Identity()
        """
        if not target or not isinstance(module, Module):
            raise ValueError(
                f"[set_submodule] a path and a module are wanted; got {target!r} and {type(module).__name__}; "
                "try set_submodule('layers.0', nn.Identity())"
            )
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        there = getattr(parent, name, None)
        if not isinstance(there, Module) and (strict or there is not None):
            raise AttributeError(
                f"[set_submodule] {type(parent).__name__} has no child {name!r}; got {target!r}; "
                f"try one of {list(parent._modules)}"
            )
        setattr(parent, name, module)

    def _get_member(self, method, registry, target):
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        member = getattr(module, registry).get(name)
        if member is None:
            raise AttributeError(
                f"[{method}] {type(module).__name__} has no {name!r}; got {target!r}; "
                f"try one of {list(getattr(module, registry))}"
            )
        return member

    def get_parameter(self, target):
        """The parameter at the dotted path `target`; raises AttributeError where there is none."""
        return self._get_member("get_parameter", "_parameters", target)

    def get_buffer(self, target):
        """The buffer at the dotted path `target`; raises AttributeError where there is none."""
        return self._get_member("get_buffer", "_buffers", target)

    # State

    def state_dict(self, *, destination=None, prefix="", keep_vars=False):
        """All parameters and persistent buffers by path, as an `OrderedDict`.

        The tensors are detached (unless `keep_vars`) and, as in PyTorch, follow later changes
        of the module: `copy.deepcopy` gives a snapshot. A tensor that stands at several paths
        (tied weights) is one object at all of them.

        >>> import pydiff as pd
        >>> list(pd.nn.Linear(2, 3).state_dict(prefix="first."))
        ['first.weight', 'first.bias']
        """
        outermost = destination is None
        if outermost:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        noted = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = noted
        for hook in self._state_hooks_of("before save"):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        if outermost:
            self._tie(destination, prefix)
        for hook in self._state_hooks_of("after save"):
            hook(self, destination, prefix, noted)
        return destination

    def _tie(self, state, prefix):
        """Give the paths of one tensor the same handle."""
        first = {}
        for path, tensor in self.named_parameters(remove_duplicate=False):
            key = prefix + path
            known = first.setdefault(id(tensor), key)
            if known != key and known in state and key in state:
                state[key] = state[known]

    # Subclasses override these two, as in PyTorch, to give keys of a state other names.

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        """Put what this module has, without its children, into a state."""
        for name, tensor in self._own_state():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if self._has_extra_state("get_extra_state"):
            destination[prefix + "_extra_state"] = self.get_extra_state()

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs):
        """Prepare a state that is to be loaded; tensors are copied once all modules have done so, and all keys fit."""
        for hook in self._state_hooks_of("before load"):
            hook(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)

    def _own_state(self):
        for name, parameter in self._parameters.items():
            if parameter is not None:
                yield name, parameter
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers:
                yield name, buffer

    def get_extra_state(self):
        """What a module saves beside its tensors, under the key `_extra_state`; a subclass defines it, or there is none.

        It comes to `set_extra_state` when the state is loaded. Raises RuntimeError where it is not defined.
        """
        self._no_extra_state("get_extra_state(self)")

    def set_extra_state(self, state):
        """Take what `get_extra_state` gave, out of a state that is loaded; a subclass that has the one defines the other."""
        self._no_extra_state("set_extra_state(self, state)")

    def _no_extra_state(self, call):
        raise RuntimeError(f"[{type(self).__name__}] there is no extra state; got a call for it; try def {call}: ...")

    def _has_extra_state(self, method):
        return getattr(type(self), method) is not getattr(Module, method)

    def load_state_dict(self, state_dict, strict=True, assign=False, *, rename=None):
        """Copy the tensors of `state_dict` into this module's parameters and buffers.

        Arguments:
            state_dict: mapping from key to tensor (or array), as `state_dict()` gives.
            strict: refuse missing and unexpected keys. Wrong shapes are always refused.
            assign: take the tensors themselves, with their dtype and device, in place of
                copying into those of the module. Create the optimiser afterwards.
            rename: how saved keys become keys of this module. A function from a key to a key, None for what is left
                out; or a dict whose entries are applied in turn, each to what the one before made: a text is replaced
                where a key begins with it, a compiled regular expression (`re.compile`) wherever it is found, as
                `re.sub` does, and a key for which the entry is None is left out.

        Returns the named tuple `(missing_keys, unexpected_keys)`, which prints as a table. Raises RuntimeError where
        the state does not fit, with that table, wrong shapes included, as `error.report`; ValueError where `rename`
        gives two keys one name. The tensors are then unchanged.

        >>> import re
        >>> import pydiff as pd
        >>> saved = {"module.body.gamma": pd.ones(2), "module.body.beta": pd.zeros(2), "step": 3}
        >>> model = pd.nn.Sequential(pd.nn.LayerNorm(2))
        >>> model.load_state_dict(saved, rename={
        ...     "module.body.": "0.", re.compile(r"gamma$"): "weight", re.compile(r"beta$"): "bias", "step": None})
        <All keys matched successfully>
        >>> model.load_state_dict({"0.weight": pd.ones(2), "scale": pd.ones(3)}, strict=False)
        1 keys fit, 1 missing, 1 unexpected, 0 of a wrong shape
        missing     0.bias  (2,)
        unexpected  scale   (3,)
        """
        return load(self, state_dict, strict, assign, rename)

    # Changing all of it

    def apply(self, fn):
        """Call `fn(module)` on all modules below this one and then on this one; returns self."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode=True):
        """Set training mode (dropout active) here and below; returns self."""
        if not isinstance(mode, bool):
            raise ValueError(f"[train] mode is a bool; got {type(mode).__name__}; try train() or eval()")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """Set evaluation mode here and below; returns self."""
        return self.train(False)

    def requires_grad_(self, requires_grad=True):
        """Set whether the parameters are trained; returns self."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none=True):
        """Forget the parameters' gradients, or fill them with zeros."""
        clear_grads(self.parameters(), set_to_none)

    def to(self, *args, **kwargs):
        """Move and convert all parameters and buffers in place; returns self.

        Called as `to(device)`, `to(dtype)`, `to(device, dtype)` or `to(tensor)`. The dtype
        applies to floating-point tensors only. Parameters stay the same objects, so optimisers
        that hold them stay right. `memory_format=pydiff.channels_last` lays out the tensors of four
        axes so (`channels_last_3d` those of five), the weights of convolutions above all.

        >>> import pydiff as pd
        >>> pd.nn.Linear(2, 3).to(pd.float64).weight.dtype == pd.float64
        True
        """
        memory_format = kwargs.pop("memory_format", None)
        axes = {pydiff.channels_last: (4,), pydiff.channels_last_3d: (5,)}.get(memory_format, (4, 5))
        device, dtype = _parse_to(args, kwargs)

        def convert(tensor):
            if device is not None:
                tensor = tensor.to(device)
            if dtype is not None and tensor.dtype.is_floating_point:
                tensor = tensor.to(dtype)
            if memory_format is not None and tensor.ndim in axes:
                tensor = tensor.to(memory_format=memory_format)
            return tensor

        return self._apply(convert)

    def _apply(self, fn):
        with pydiff.no_grad():
            for tensor in [*self.parameters(), *self.buffers()]:
                data, grad = tensor.data, tensor.grad
                changed = fn(data)
                # Assigning `.data` cuts the views of it loose, so only where it changes.
                if changed is not data:
                    tensor.data = changed
                    if grad is not None:
                        tensor.grad = fn(grad.detach())
        return self

    def to_empty(self, *, device, recurse=True):
        """Move parameters and buffers to `device` without their values, which are then anything; returns self.

        None leaves each where it is. With `recurse=False` those of this module alone.
        """
        with pydiff.no_grad():
            for tensor in [*self.parameters(recurse), *self.buffers(recurse)]:
                tensor.data = pydiff.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device if device is None else device)
        return self

    def type(self, dst_type):
        """Convert floating-point parameters and buffers to `dst_type`, a dtype; returns self."""
        return self.to(dst_type)

    def float(self):
        """Convert floating-point parameters and buffers to float32; returns self."""
        return self.to(pydiff.float32)

    def double(self):
        """Convert floating-point parameters and buffers to float64; returns self."""
        return self.to(pydiff.float64)

    def half(self):
        """Convert floating-point parameters and buffers to float16; returns self."""
        return self.to(pydiff.float16)

    def bfloat16(self):
        """Convert floating-point parameters and buffers to bfloat16; returns self."""
        return self.to(pydiff.bfloat16)

    def cpu(self):
        """Move all parameters and buffers to the CPU; returns self."""
        return self.to("cpu")

    def cuda(self, device=None):
        """Move all parameters and buffers to a GPU, by index or by name; returns self."""
        if device is None:
            device = "cuda"
        return self.to(f"cuda:{device}" if isinstance(device, int) else device)

    # Hooks

    def register_forward_pre_hook(self, hook, *, prepend=False, with_kwargs=False):
        """Call `hook(module, args)` before `forward`; what it returns replaces the arguments.

        With `with_kwargs` it is called as `hook(module, args, kwargs)` and returns None or
        `(args, kwargs)`. Returns a handle; `handle.remove()` takes the hook away.
        """
        return RemovableHandle(self._hooks, Hook(hook, "before", with_kwargs), prepend)

    def register_forward_hook(self, hook, *, prepend=False, with_kwargs=False, always_call=False):
        """Call `hook(module, args, result)` after `forward`; what it returns replaces the result.

        With `with_kwargs` it is called as `hook(module, args, kwargs, result)`; with
        `always_call` also where `forward` raised (result None). Returns a handle.

        >>> import pydiff as pd
        >>> layer = pd.nn.Identity()
        >>> handle = layer.register_forward_hook(lambda module, args, result: 2 * result)
        >>> layer(3.0)
        6.0
        >>> handle.remove()
        >>> layer(3.0)
        3.0
        """
        return RemovableHandle(self._hooks, Hook(hook, "after", with_kwargs, always_call), prepend)

    def register_full_backward_hook(self, hook, prepend=False):
        """Call `hook(module, grad_input, grad_output)` when the backward pass has gone through the module.

        `grad_input` is a tuple with the gradient of each positional argument (zeros for a tensor that needs none, None for
        what is no tensor), and
        `grad_output` one with the gradient of each result. What it returns, a tuple, replaces `grad_input`. Where no
        argument has a gradient it is called with None for each. Returns a handle.

        >>> import pydiff as pd
        >>> layer, seen = pd.nn.ReLU(), []
        >>> handle = layer.register_full_backward_hook(lambda module, before, after: seen.append(before[0].tolist()))
        >>> layer(pd.tensor([1.0, -1.0], requires_grad=True)).sum().backward()
        >>> seen
        [[1.0, 0.0]]
        """
        return RemovableHandle(self._hooks, Hook(hook, "backward"), prepend)

    def register_full_backward_pre_hook(self, hook, prepend=False):
        """Call `hook(module, grad_output)` when the backward pass comes to the module; what it returns replaces them.

        Returns a handle.
        """
        return RemovableHandle(self._hooks, Hook(hook, "before backward"), prepend)

    def register_state_dict_pre_hook(self, hook):
        """Call `hook(module, prefix, keep_vars)` before `state_dict` reads this module; returns a handle."""
        return self._add_state_hook("before save", hook)

    def register_state_dict_post_hook(self, hook):
        """Call `hook(module, state_dict, prefix, local_metadata)` after `state_dict` has read this module.

        It may change the state, which has been read down from the root to here. Returns a handle.
        """
        return self._add_state_hook("after save", hook)

    def register_load_state_dict_pre_hook(self, hook):
        """Call `hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)`
        before a state is loaded.

        It may change the state, a copy of the mapping given, and add to the lists. Returns a handle.
        """
        return self._add_state_hook("before load", hook)

    def register_load_state_dict_post_hook(self, hook):
        """Call `hook(module, incompatible_keys)` after a state was loaded; it may change both lists of keys.

        Returns a handle.
        """
        return self._add_state_hook("after load", hook)

    def _add_state_hook(self, when, hook):
        if self._state_hooks is _NO_HOOKS:
            _set(self, "_state_hooks", {})
        return RemovableHandle(self._state_hooks.setdefault(when, OrderedDict()), hook)

    def _state_hooks_of(self, when):
        return list(self._state_hooks.get(when, _NO_HOOKS).values())

    # Printing

    def extra_repr(self):
        """What `repr` shows of this module between the parentheses."""
        return ""

    def _children_repr(self):
        """Pairs (label, text) of the children, as `repr` shows them."""
        return [(name, repr(child)) for name, child in self._modules.items()]

    def __repr__(self):
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({label}): " + text.replace("\n", "\n  ") for label, text in self._children_repr()]
        name = type(self).__name__
        if children or len(lines) > 1:
            return f"{name}(\n  " + "\n  ".join(lines + children) + "\n)"
        return f"{name}({extra})"


def _parse_to(args, kwargs):
    """(device, dtype) of the forms that `Module.to` takes; None for what is not given."""
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    kwargs.pop("non_blocking", None)
    if kwargs or len(args) > 2:
        raise TypeError(
            f"[to] takes a device, a dtype, both, or a tensor; got {len(args)} positional "
            f"arguments and {list(kwargs)}; try to(device, dtype)"
        )
    for arg in args:
        if isinstance(arg, Tensor):
            device, dtype = arg.device, arg.dtype
        elif isinstance(arg, pydiff.dtype):
            dtype = arg
        elif arg is not None:
            device = f"cuda:{arg}" if isinstance(arg, int) else arg
    if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
        raise TypeError(f"[to] modules are converted to floating-point dtypes only; got {dtype}; try pydiff.float32")
    return device, dtype
