"""The base of all schedulers: counting, writing rates into the groups, saving and loading."""

import functools
import types
import warnings

from pydiff import Tensor, _core

from ..optimizer import Optimizer

__all__ = ["LRScheduler"]


def options(optimizer, key):
    """`group[key]` of each group; tensors as copies."""
    return [_copy(group[key]) for group in optimizer.param_groups]


def assign(group, key, value):
    """Set `group[key]`; a tensor keeps its identity and takes the value."""
    if isinstance(group[key], Tensor):
        group[key].fill_(float(value))
    else:
        group[key] = value


def for_each_group(scheduler, name, optimizer, value):
    """A list with one value for each group, of one value or of such a list."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [_copy(value) for _ in range(groups)]
    if len(value) != groups:
        raise ValueError(
            f"[{type(scheduler).__name__}] {name} is one value, or one for each group; "
            f"got {len(value)} for {groups} groups; try a list of {groups}"
        )
    return [_copy(item) for item in value]


def check_optimizer(scheduler, optimizer):
    """Raise TypeError for what is no optimiser."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"[{type(scheduler).__name__}] the first argument is an optimiser; got {type(optimizer).__name__}; "
            "try pydiff.optim.SGD(model.parameters())"
        )


def wrong(scheduler, what, got, advice):
    """The error for an argument of a scheduler."""
    return ValueError(f"[{type(scheduler).__name__}] {what}; got {got}; try {advice}")


def saved_functions(functions):
    """What a state keeps of functions: the attributes of callable objects, None for plain functions."""
    return [None if isinstance(f, types.FunctionType) else dict(vars(f)) for f in functions]


def _copy(value):
    return value.detach().clone() if isinstance(value, Tensor) else value


def at_each_call(step):
    """`step`, which inside `pydiff.jit` is called at each replay too: its effects are on Python's numbers."""

    @functools.wraps(step)
    def stepped(self, *args, **kwargs):
        if not _core.tracing():
            return step(self, *args, **kwargs)
        known = [self, *getattr(self, "_schedulers", ())]
        before = [dict(vars(scheduler)) for scheduler in known]
        rates = [dict(group) for group in self.optimizer.param_groups]

        def undo():
            for scheduler, attributes in zip(known, before):
                vars(scheduler).update(attributes)
            for group, options_before in zip(self.optimizer.param_groups, rates):
                group.update(options_before)

        _core.host_numbers(lambda: step(self, *args, **kwargs), undo, "cpu")

    return stepped


class LRScheduler:
    """Base of the schedulers: a subclass defines `get_lr`, which `step` calls.

    Arguments:
        optimizer: the optimiser whose groups' "lr" is set, once at the start and at each step.
        last_epoch: how many steps were made, less one; other than -1 the groups need "initial_lr" of a saved state.

    `get_lr` returns one rate for each group; it reads `self.last_epoch`, `self.base_lrs` and the groups. Where
    `_get_closed_form_lr` is defined, `step(epoch)` uses it. Raises TypeError for what is no optimiser, KeyError where
    "initial_lr" is missing. As in PyTorch a group's "lr" that is a tensor is written in place.

    >>> import pydiff as pd
    >>> class Halving(pd.optim.lr_scheduler.LRScheduler):
    ...     def get_lr(self):
    ...         return [lr / 2**self.last_epoch for lr in self.base_lrs]
    >>> optimizer = pd.optim.SGD([pd.nn.Parameter(pd.ones(1))], lr=1.0)
    >>> scheduler = Halving(optimizer)
    >>> for _ in range(2):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> scheduler.get_last_lr()
    [0.25]
    """

    _get_lr_called_within_step = False
    _is_initial = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "step" in vars(cls):
            cls.step = at_each_call(vars(cls)["step"])

    def __init__(self, optimizer, last_epoch=-1):
        check_optimizer(self, optimizer)
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", _copy(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"[{type(self).__name__}] going on from an epoch needs the optimiser's saved state; "
                    f"got no 'initial_lr' in group {number}; try optimizer.load_state_dict first, or last_epoch=-1"
                )
        self.base_lrs = options(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        if not optimizer._scheduled:
            optimizer._scheduled, optimizer._opt_called = True, False
        self._initial_step()

    def _initial_step(self):
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def get_last_lr(self):
        """The rates that the last step set, one for each group."""
        if _core.tracing():
            raise RuntimeError(
                "[get_last_lr] a rate is a number that changes between calls; got a traced function; try outside pydiff.jit"
            )
        return self._last_lr

    def get_lr(self):
        """The rates of the next step, one for each group; every subclass defines it, and `step` calls it."""
        raise NotImplementedError(f"[{type(self).__name__}] get_lr is not defined; got no schedule; try def get_lr(self): ...")

    @at_each_call
    def step(self, epoch=None):
        """Set the rates of the next epoch, or, deprecated, of the epoch that is given.

        Warns where it is called before `optimizer.step()`, which would leave out the first rate.
        """
        if self._step_count == 1 and not self.optimizer._opt_called:
            warnings.warn(
                f"[{type(self).__name__}] lr_scheduler.step() came before optimizer.step(), so the first rate is left out; "
                "got no step of the optimiser yet; try the other order",
                UserWarning,
                stacklevel=3,
            )
        self._step_count += 1
        if epoch is not None:
            _warn_epoch(self)
        self._update_lr(epoch)

    def _update_lr(self, epoch=None):
        self._get_lr_called_within_step = True
        try:
            if epoch is None:
                self.last_epoch += 1
                rates = self.get_lr()
            else:
                self.last_epoch = epoch
                rates = self._get_closed_form_lr() if hasattr(self, "_get_closed_form_lr") else self.get_lr()
        finally:
            self._get_lr_called_within_step = False
        self._set(rates)

    def _set(self, rates):
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            assign(group, "lr", lr)
        self._last_lr = options(self.optimizer, "lr")

    def _check_called_by_step(self):
        if not self._get_lr_called_within_step:
            warnings.warn(
                f"[{type(self).__name__}] get_lr computes the next rates; got a call from outside step; try get_last_lr()",
                UserWarning,
                stacklevel=3,
            )

    def _now(self):
        return options(self.optimizer, "lr")

    def _times(self, factor):
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def state_dict(self):
        """What the scheduler remembers, as a dict: all attributes but the optimiser."""
        return {key: value for key, value in vars(self).items() if key != "optimizer"}

    def load_state_dict(self, state_dict):
        """Take over what `state_dict()` gave."""
        vars(self).update(state_dict)


def _warn_epoch(scheduler):
    warnings.warn(
        f"[{type(scheduler).__name__}] step(epoch) is deprecated; got an epoch; try step()", UserWarning, stacklevel=4
    )
