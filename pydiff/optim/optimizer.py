"""The base of all optimisers: parameter groups, per-parameter state, saving and loading."""

import copy
import math
from collections import defaultdict
from itertools import chain

from pydiff import Tensor
from pydiff.nn._grads import clear_grads


class Optimizer:
    """Base class of all optimisers; a subclass defines `step`.

    Arguments:
        params: iterable of leaf tensors, or of dicts `{"params": …, "lr": …}` that each make a
            group with options of its own.
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

    def __init__(self, params, defaults):
        if isinstance(params, Tensor):
            raise TypeError(
                f"[{self._name()}] params is an iterable of tensors; got one tensor of shape "
                f"{tuple(params.shape)}; try [tensor]"
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
        group = {**self.defaults, **param_group, "params": params}
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
        """Raise ValueError for an option of `group` that makes no sense; subclasses extend it."""

    def _check_not_negative(self, option, value):
        if not (float(value) >= 0 and math.isfinite(value)):
            raise ValueError(
                f"[{self._name()}] {option} is a finite number, 0 or more; got {value}; "
                f"try {option}={self.defaults.get(option) if self._usable(option) else 0.01}"
            )

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

    def state_dict(self):
        """The state in PyTorch's layout: {"state": {index: …}, "param_groups": […]}.

        Parameters are numbered in the order of the groups. The tensors are those of the
        optimiser and follow it: `copy.deepcopy` gives a snapshot.
        """
        numbers = {}
        groups = []
        for group in self.param_groups:
            for parameter in group["params"]:
                numbers.setdefault(id(parameter), len(numbers))
            saved = {key: value for key, value in group.items() if key != "params"}
            saved["params"] = [numbers[id(parameter)] for parameter in group["params"]]
            groups.append(saved)
        state = {numbers.get(id(key), key) if isinstance(key, Tensor) else key: value for key, value in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict):
        """Take over the state and the options of `state_dict`, which is copied.

        Parameters are matched by order; tensors are moved to the device and the floating-point
        dtype of their parameter. Raises ValueError where the groups differ in number or size;
        the optimiser is then unchanged.
        """
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

    def __repr__(self):
        lines = [f"{self._name()} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
            lines.append("")
        lines[-1] = ")"
        return "\n".join(lines)


def _like(parameter, name, item):
    """A copy of a piece of saved state for `parameter`; a step count stays what it is."""
    if not isinstance(item, Tensor):
        return copy.deepcopy(item)
    item = item.detach().clone()
    if name == "step":
        return item
    if parameter.dtype.is_floating_point and item.dtype.is_floating_point:
        item = item.to(parameter.dtype)
    return item.to(parameter.device)
