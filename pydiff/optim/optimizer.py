"""The base of all optimisers: parameter groups, per-parameter state, saving and loading."""

import copy
import functools
import math
from collections import OrderedDict, defaultdict
from itertools import chain

import numpy as np

import pydiff
from pydiff import Tensor
from pydiff.nn._grads import clear_grads
from pydiff.nn._hooks import RemovableHandle

__all__ = ["Optimizer"]


class Optimizer:
    """Base class of all optimisers; a subclass defines `step`.

    Arguments:
        params: iterable of leaf tensors, of pairs (name, tensor) as `named_parameters()` gives them,
            or of dicts `{"params": …, "lr": …}` that each make a group with options of its own.
        defaults: the options of the groups that do not set them.

    `param_groups` is a list of dicts, read at every step, so options may be assigned at any
    time; `state` maps a parameter to the dict of what the optimiser remembers of it. Raises
    ValueError for an empty list, a tensor that is not a leaf, or one given twice.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.ones(2))
    >>> optimizer = pd.optim.SGD([p], lr=0.1)
    >>> optimizer.param_groups[0]["lr"] = 0.5
    >>> p.sum().backward()
    >>> optimizer.step()
    >>> p.sum().item()
    1.0
    """

    # Whether it has a scheduler, and `step` was called since it got the first one; schedulers ask.
    _scheduled = _opt_called = False
    _stepping = False
    # Options that a step reads anew when it is replayed (`pydiff.jit`): of others a change traces again, of these only
    # whether they are 0.
    _read_anew = frozenset()

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        step = vars(cls).get("step")
        if step is not None:
            cls.step = _with_hooks(step)

    def __init__(self, params, defaults):
        self._hooks = {}
        if isinstance(params, Tensor):
            raise TypeError(
                f"[{self._name()}] params is an iterable of tensors; got one tensor of shape "
                f"{tuple(params.shape)}; try [tensor]"
            )
        if hasattr(params, "parameters") and not hasattr(params, "__iter__"):
            raise TypeError(
                f"[{self._name()}] params is an iterable of tensors; got {type(params).__name__}; try model.parameters()"
            )
        self.defaults = defaults
        self.state = defaultdict(dict)
        self.param_groups = []
        groups = list(params)
        if not groups:
            raise ValueError(
                f"[{self._name()}] there is nothing to train; got an empty list of parameters; "
                "try model.parameters(), not yet consumed"
            )
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _name(self):
        return type(self).__name__

    def add_param_group(self, param_group):
        """Add a group: a dict with "params" (a tensor or an iterable of them) and options.

        Raises ValueError or TypeError as the constructor does; nothing is then added.
        """
        name = self._name()
        if not isinstance(param_group, dict):
            raise TypeError(f'[{name}] a group is a dict; got {type(param_group).__name__}; try {{"params": [tensor]}}')
        params = param_group["params"]
        if isinstance(params, (set, frozenset)):
            raise TypeError(f"[{name}] parameters need a fixed order, for the saved state; got a set; try a list")
        params = [params] if isinstance(params, Tensor) else list(params)
        params, names = _without_names(name, params)
        group = {**self.defaults, **param_group, "params": params}
        if names:
            group["param_names"] = names
        if self.param_groups and ("param_names" in group) != ("param_names" in self.param_groups[0]):
            raise ValueError(
                f"[{name}] all groups have names or none has; got a group {'with' if names else 'without'} names; "
                "try model.named_parameters() for all of them"
            )
        known = {id(p) for p in chain.from_iterable(g["params"] for g in self.param_groups)}
        for position, parameter in enumerate(params):
            if not isinstance(parameter, Tensor):
                raise TypeError(f"[{name}] parameters are tensors; got {type(parameter).__name__}; try model.parameters()")
            if not parameter.is_leaf:
                raise ValueError(
                    f"[{name}] only leaf tensors are trained; got the result of an operation, "
                    f"parameter {position} of shape {tuple(parameter.shape)}; try tensor.detach()"
                )
            if id(parameter) in known:
                raise ValueError(
                    f"[{name}] a parameter belongs to one group, once; got parameter {position} of "
                    f"shape {tuple(parameter.shape)} a second time; try a list without it"
                )
            known.add(id(parameter))
        self._check_options(group)
        self.param_groups.append(group)

    def _check_options(self, group):
        """Raise an error for an option of `group` that makes no sense; subclasses extend it."""
        if "lr" in group:
            lr = group["lr"]
            if isinstance(lr, Tensor) and lr.numel() != 1:
                raise ValueError(
                    f"[{self._name()}] lr is one number; got a tensor of shape {tuple(lr.shape)}; try a group for each lr"
                )
            self._check_not_negative("lr", lr)
        if group.get("differentiable"):
            raise ValueError(
                f"[{self._name()}] a step is not recorded for derivatives; got differentiable=True; "
                "try the update as an expression of your own, with pydiff.grad"
            )
        if group.get("foreach") and group.get("fused"):
            raise RuntimeError(f"[{self._name()}] foreach and fused exclude each other; got both; try fused=True")

    def _check_not_negative(self, *options, group=None):
        """`_check_not_negative("lr", value)`, or names of options of a group."""
        pairs = [options] if group is None else [(option, group[option]) for option in options]
        for option, value in pairs:
            if not (float(value) >= 0 and math.isfinite(value)):
                raise ValueError(
                    f"[{self._name()}] {option} is a finite number, 0 or more; got {value}; "
                    f"try {option}={self.defaults.get(option) if self._usable(option) else 0.01}"
                )

    def _check_betas(self, group):
        betas = group["betas"]
        if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(
                f"[{self._name()}] betas are two numbers from 0 up to but not 1; got {betas}; try betas={self._usual_betas()}"
            )

    def _usual_betas(self):
        return (0.9, 0.999)

    def _usable(self, option):
        default = self.defaults.get(option)
        return default is not None and float(default) > 0 and math.isfinite(default)

    def zero_grad(self, set_to_none=True):
        """Forget the gradients of all parameters, or fill them with zeros."""
        for group in self.param_groups:
            clear_grads(group["params"], set_to_none)

    def step(self, closure=None):
        """Update the parameters from their gradients; every subclass defines it."""
        raise NotImplementedError(f"[{self._name()}] step is not defined; try def step(self, closure=None): ...")

    # ---- hooks

    def _register(self, kind, hook, prepend=False):
        return RemovableHandle(self._hooks.setdefault(kind, OrderedDict()), hook, prepend)

    def _of(self, kind):
        return list(self._hooks.get(kind, {}).values())

    def register_step_pre_hook(self, hook):
        """Call `hook(optimizer, args, kwargs)` before each step; it may return new `(args, kwargs)`.

        Returns a handle whose `remove()` takes the hook away.

        >>> import pydiff as pd
        >>> optimizer = pd.optim.SGD([pd.nn.Parameter(pd.ones(1))])
        >>> handle = optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: print("step"))
        >>> optimizer.step()
        step
        """
        return self._register("step_pre", hook)

    def register_step_post_hook(self, hook):
        """Call `hook(optimizer, args, kwargs)` after each step. Returns a handle."""
        return self._register("step_post", hook)

    def register_state_dict_pre_hook(self, hook, prepend=False):
        """Call `hook(optimizer)` before `state_dict` collects the state. Returns a handle."""
        return self._register("state_dict_pre", hook, prepend)

    def register_state_dict_post_hook(self, hook, prepend=False):
        """Call `hook(optimizer, state_dict)` on what `state_dict` gives; it may return another. Returns a handle."""
        return self._register("state_dict_post", hook, prepend)

    def register_load_state_dict_pre_hook(self, hook, prepend=False):
        """Call `hook(optimizer, state_dict)` on a shallow copy of what is loaded; it may return another. Returns a handle."""
        return self._register("load_state_dict_pre", hook, prepend)

    def register_load_state_dict_post_hook(self, hook, prepend=False):
        """Call `hook(optimizer)` after a state was loaded. Returns a handle."""
        return self._register("load_state_dict_post", hook, prepend)

    # ---- saving and loading

    @staticmethod
    def _loss_of(closure):
        """What the closure of a step returns, if there is one."""
        if closure is None:
            return None
        with pydiff.enable_grad():
            return closure()

    def state_dict(self):
        """The state in PyTorch's layout: {"state": {index: …}, "param_groups": […]}.

        Parameters are numbered in the order of the groups. The tensors are those of the
        optimiser and follow it: `copy.deepcopy` gives a snapshot.
        """
        for hook in self._of("state_dict_pre"):
            hook(self)
        numbers = {}
        groups = []
        for group in self.param_groups:
            for parameter in group["params"]:
                numbers.setdefault(id(parameter), len(numbers))
            saved = {key: value for key, value in group.items() if key != "params"}
            saved["params"] = [numbers[id(parameter)] for parameter in group["params"]]
            groups.append(saved)
        state = {numbers.get(id(key), key) if isinstance(key, Tensor) else key: value for key, value in self.state.items()}
        result = {"state": state, "param_groups": groups}
        for hook in self._of("state_dict_post"):
            changed = hook(self, result)
            result = result if changed is None else changed
        return result

    def load_state_dict(self, state_dict):
        """Take over the state and the options of `state_dict`, which is copied.

        Parameters are matched by order; tensors, PyTorch's too, are moved to the device and the
        floating-point dtype of their parameter. Raises ValueError where the groups differ in number or size;
        the optimiser is then unchanged.
        """
        state_dict = dict(state_dict)
        for hook in self._of("load_state_dict_pre"):
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        if not state_dict.keys() >= {"state", "param_groups"}:
            raise KeyError(
                f"[load_state_dict] a state has the keys 'state' and 'param_groups'; got {list(state_dict)}; "
                "try the part of the checkpoint that optimizer.state_dict() gave"
            )
        saved_groups = state_dict["param_groups"]
        sizes = [len(group["params"]) for group in self.param_groups]
        saved_sizes = [len(group["params"]) for group in saved_groups]
        if sizes != saved_sizes:
            raise ValueError(
                f"[load_state_dict] the state does not fit this {self._name()}; got groups of "
                f"{saved_sizes} parameters for groups of {sizes}; "
                "try an optimiser made from the same groups"
            )
        groups = []
        parameters = {}
        for group, saved in zip(self.param_groups, saved_groups):
            options = {key: copy.deepcopy(value) for key, value in saved.items() if key != "params"}
            groups.append({**group, **options, "params": group["params"]})
            parameters.update(zip(saved["params"], group["params"]))
        for group in groups:
            self._check_options(group)
        state = defaultdict(dict)
        for key, value in state_dict["state"].items():
            parameter = parameters.get(key)
            if parameter is None:
                state[key] = copy.deepcopy(value)
            else:
                state[parameter] = {name: _like(parameter, name, item) for name, item in value.items()}
        self.param_groups = groups
        self.state = state
        for hook in self._of("load_state_dict_post"):
            hook(self)

    def __getstate__(self):
        return {**self.__dict__, "_hooks": {}}  # as in PyTorch, copies have no hooks

    def __repr__(self):
        lines = [f"{self._name()} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
            lines.append("")
        lines[-1] = ")"
        return "\n".join(lines)


def _with_hooks(step):
    """`step` between the hooks of the optimiser; a step that calls its base's is one step."""

    @functools.wraps(step)
    def hooked(self, *args, **kwargs):
        self._opt_called = True
        if not self._hooks or self._stepping:
            return step(self, *args, **kwargs)
        for hook in self._of("step_pre"):
            changed = hook(self, (self, *args), kwargs)
            if changed is None:
                continue
            if not (isinstance(changed, tuple) and len(changed) == 2):
                raise RuntimeError(
                    f"[{self._name()}] a hook before the step returns None or (args, kwargs); "
                    f"got {type(changed).__name__}; try return args, kwargs"
                )
            args, kwargs = changed
            args = args[1:]  # the first is the optimiser, as in PyTorch
        self._stepping = True
        try:
            result = step(self, *args, **kwargs)
        finally:
            self._stepping = False
        for hook in self._of("step_post"):
            hook(self, (self, *args), kwargs)
        return result

    return hooked


def _without_names(op, params):
    """The tensors of a list of pairs (name, tensor), and the names; names are None for a list of tensors."""
    named = [isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) for item in params]
    if not any(named):
        return params, None
    if not all(named):
        raise ValueError(
            f"[{op}] all parameters have names or none has; got {sum(named)} names for {len(params)} parameters; "
            "try model.named_parameters()"
        )
    return [tensor for _, tensor in params], [name for name, _ in params]


def _like(parameter, name, item):
    """A copy of a piece of saved state for `parameter`; a step count stays what it is."""
    if isinstance(item, (list, tuple)):
        return type(item)(_like(parameter, name, part) for part in item)
    if not isinstance(item, Tensor):
        if isinstance(item, np.ndarray) or not hasattr(item, "__dlpack__"):
            return copy.deepcopy(item)
        item = pydiff.tensor(item)  # of another library
    item = item.detach().clone()
    if name == "step":
        return item
    if parameter.dtype.is_floating_point and item.dtype.is_floating_point:
        item = item.to(parameter.dtype)
    return item.to(parameter.device)
