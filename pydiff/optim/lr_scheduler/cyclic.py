"""Schedulers that let the rate rise and fall, and the momentum fall and rise."""

import math

from .base import LRScheduler, assign, check_optimizer, for_each_group, saved_functions, wrong

__all__ = ["CyclicLR", "OneCycleLR"]


class _WithMomentum(LRScheduler):
    """Those that cycle the momentum (of optimisers with betas: the first) against the rate."""

    def _start_momentum(self, base_momentum, max_momentum, last_epoch):
        defaults = self.optimizer.defaults
        if "momentum" not in defaults and "betas" not in defaults:
            raise wrong(
                self,
                "cycle_momentum needs an optimiser with momentum or betas",
                type(self.optimizer).__name__,
                "cycle_momentum=False",
            )
        self.use_beta1 = "betas" in defaults
        lowest = for_each_group(self, "base_momentum", self.optimizer, base_momentum)
        highest = for_each_group(self, "max_momentum", self.optimizer, max_momentum)
        if last_epoch == -1:
            for group, low, high in zip(self.optimizer.param_groups, lowest, highest):
                self._set_momentum(group, high)
                group["max_momentum"] = high
                group["base_momentum"] = low
        return lowest, highest

    def _set_momentum(self, group, value):
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value


class CyclicLR(_WithMomentum):
    """The rate up and down between two bounds, in straight lines.

    Arguments:
        optimizer: whose rates are set.
        base_lr, max_lr: bounds; a number, or one for each group.
        step_size_up, step_size_down: steps of the rising and of the falling half; the latter by default as many.
        mode: "triangular"; "triangular2" halves the height every cycle; "exp_range" scales it by `gamma**step`.
        gamma: of "exp_range".
        scale_fn: a function that scales the height, in place of a mode.
        scale_mode: whether `scale_fn` is of the "cycle" or of "iterations".
        cycle_momentum: let the momentum go from `max_momentum` down to `base_momentum` while the rate rises.
        base_momentum, max_momentum: bounds of the momentum.
        last_epoch: as `LRScheduler`.

    `step` is called after each batch. Smith, arXiv:1506.01186. Raises ValueError for an unknown mode, and where the optimiser
    has no momentum to cycle.

    >>> import pydiff as pd
    >>> optimizer = pd.optim.SGD([pd.nn.Parameter(pd.ones(1))], lr=1.0, momentum=0.9)
    >>> scheduler = pd.optim.lr_scheduler.CyclicLR(optimizer, base_lr=0.0, max_lr=1.0, step_size_up=2)
    >>> optimizer.step(); scheduler.step()
    >>> scheduler.get_last_lr(), round(optimizer.param_groups[0]["momentum"], 4)
    ([0.5], 0.85)
    """

    def __init__(
        self,
        optimizer,
        base_lr,
        max_lr,
        step_size_up=2000,
        step_size_down=None,
        mode="triangular",
        gamma=1.0,
        scale_fn=None,
        scale_mode="cycle",
        cycle_momentum=True,
        base_momentum=0.8,
        max_momentum=0.9,
        last_epoch=-1,
    ):
        check_optimizer(self, optimizer)
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise wrong(self, "mode is 'triangular', 'triangular2' or 'exp_range'", repr(mode), "mode='triangular'")
        self.optimizer = optimizer
        base_lrs = for_each_group(self, "base_lr", optimizer, base_lr)
        self.max_lrs = for_each_group(self, "max_lr", optimizer, max_lr)
        up = float(step_size_up)
        down = up if step_size_down is None else float(step_size_down)
        self.total_size = up + down
        self.step_ratio = up / self.total_size
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else "iterations" if mode == "exp_range" else "cycle"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = self._start_momentum(base_momentum, max_momentum, last_epoch)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, base_lrs):
                assign(group, "lr", lr)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x):
        """What the height is multiplied by, at cycle or step `x`."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        return {"triangular": lambda: 1.0, "triangular2": lambda: 1 / 2.0 ** (x - 1)}.get(self.mode, lambda: self.gamma**x)()

    def get_lr(self):
        self._check_called_by_step()
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            for group, low, high in zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True):
                self._set_momentum(group, high - (high - low) * height * scale)
        return [low + (high - low) * height * scale for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def state_dict(self):
        """As `LRScheduler.state_dict`; of `scale_fn` only a callable object is kept, by its attributes."""
        custom = self._scale_fn_custom
        return {**super().state_dict(), "_scale_fn_custom": None if custom is None else saved_functions([custom])[0]}

    def load_state_dict(self, state_dict):
        """Take over what `state_dict()` gave; `scale_fn` stays, with the attributes that were saved."""
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "_scale_fn_custom"})
        if state_dict["_scale_fn_custom"] is not None:
            vars(self._scale_fn_custom).update(state_dict["_scale_fn_custom"])


class OneCycleLR(_WithMomentum):
    """The rate up to a maximum and down to almost nothing, once, over a whole training.

    Arguments:
        optimizer: whose rates are set.
        max_lr: highest rate; a number, or one for each group.
        total_steps: steps of the training; or
        epochs, steps_per_epoch: whose product it is.
        pct_start: share of the steps in which the rate rises.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: let the momentum go from `max_momentum` down to `base_momentum` while the rate rises, and back.
        base_momentum, max_momentum: bounds of the momentum.
        div_factor: the first rate is `max_lr / div_factor`.
        final_div_factor: the last rate is the first over it.
        three_phase: fall as long as the rise was, then anneal from the first rate.
        last_epoch: as `LRScheduler`.

    `step` is called after each batch. Smith and Topin, arXiv:1708.07120. Raises ValueError for arguments out of range, and for
    a step beyond the last.

    >>> import pydiff as pd
    >>> optimizer = pd.optim.SGD([pd.nn.Parameter(pd.ones(1))], lr=1.0, momentum=0.9)
    >>> scheduler = pd.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> rates = []
    >>> for _ in range(9):
    ...     optimizer.step(); scheduler.step()
    ...     rates += scheduler.get_last_lr()
    >>> max(rates), rates[-1] < 1e-5
    (1.0, True)
    """

    def __init__(
        self,
        optimizer,
        max_lr,
        total_steps=None,
        epochs=None,
        steps_per_epoch=None,
        pct_start=0.3,
        anneal_strategy="cos",
        cycle_momentum=True,
        base_momentum=0.85,
        max_momentum=0.95,
        div_factor=25.0,
        final_div_factor=1e4,
        three_phase=False,
        last_epoch=-1,
    ):
        check_optimizer(self, optimizer)
        self.optimizer = optimizer
        if total_steps is None and (epochs is None or steps_per_epoch is None):
            raise wrong(self, "total_steps, or epochs and steps_per_epoch, are needed", "neither", "total_steps=1000")
        given = (
            {"total_steps": total_steps} if total_steps is not None else {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
        )
        for name, value in given.items():
            if not isinstance(value, int) or value <= 0:
                raise wrong(self, f"{name} is a positive integer", value, f"{name}=10")
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise wrong(self, "pct_start is a float from 0 to 1", pct_start, "pct_start=0.3")
        if anneal_strategy not in ("cos", "linear"):
            raise wrong(self, "anneal_strategy is 'cos' or 'linear'", repr(anneal_strategy), "anneal_strategy='cos'")
        self.total_steps = math.prod(given.values())
        self._anneal_func_type = anneal_strategy
        self._schedule_phases = _phases(self.total_steps, float(pct_start), three_phase)
        highest = for_each_group(self, "max_lr", optimizer, max_lr)
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._start_momentum(base_momentum, max_momentum, last_epoch)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, highest):
                group["initial_lr"] = lr / div_factor
                group["max_lr"] = lr
                group["min_lr"] = group["initial_lr"] / final_div_factor
        super().__init__(optimizer, last_epoch)

    def _between(self, start, end, share):
        if self._anneal_func_type == "cos":
            return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)
        return (end - start) * share + start

    def get_lr(self):
        self._check_called_by_step()
        step = self.last_epoch
        if step > self.total_steps:
            raise wrong(self, f"the schedule has {self.total_steps} steps", f"step {step}", "a larger total_steps")
        start = 0.0
        for phase in self._schedule_phases:
            if step <= phase["end_step"] or phase is self._schedule_phases[-1]:
                break
            start = phase["end_step"]
        share = (step - start) / (phase["end_step"] - start)
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[phase["start_lr"]], group[phase["end_lr"]], share))
            if self.cycle_momentum:
                ends = group[phase["start_momentum"]], group[phase["end_momentum"]]
                self._set_momentum(group, self._between(*ends, share))
        return rates


def _phases(steps, share, three):
    """The last step of each phase, and what it goes between, in PyTorch's form."""

    def phase(end, start_lr, end_lr, start_momentum, end_momentum):
        return {
            "end_step": end,
            "start_lr": start_lr,
            "end_lr": end_lr,
            "start_momentum": start_momentum,
            "end_momentum": end_momentum,
        }

    up = phase(share * steps - 1, "initial_lr", "max_lr", "max_momentum", "base_momentum")
    if not three:
        return [up, phase(steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")]
    down = phase(2 * share * steps - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum")
    return [up, down, phase(steps - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum")]
