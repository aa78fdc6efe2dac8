"""A scheduler that watches a figure."""

import math

from .base import LRScheduler, _warn_epoch, assign, check_optimizer, for_each_group, options, wrong

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(LRScheduler):
    """The rate times `factor` where a figure has not improved for more than `patience` epochs.

    Arguments:
        optimizer: whose rates are set.
        mode: "min" for a figure that shall fall, "max" for one that shall rise.
        factor: below 1.
        patience: epochs without improvement that are let pass.
        threshold, threshold_mode: what counts as better: by a share ("rel") or by a difference ("abs").
        cooldown: epochs after a change in which nothing counts.
        min_lr: smallest rate; a number, or one for each group.
        eps: a change smaller than this is left out.

    `step(figure)` is called after each validation. Raises ValueError for arguments out of range.

    >>> import pydiff as pd
    >>> optimizer = pd.optim.SGD([pd.nn.Parameter(pd.ones(1))], lr=1.0)
    >>> scheduler = pd.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    >>> scheduler.step(3.0)
    >>> scheduler.step(3.0)
    >>> scheduler.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer,
        mode="min",
        factor=0.1,
        patience=10,
        threshold=1e-4,
        threshold_mode="rel",
        cooldown=0,
        min_lr=0,
        eps=1e-8,
    ):
        check_optimizer(self, optimizer)
        if not factor < 1:
            raise wrong(self, "factor is below 1", factor, "factor=0.1")
        if mode not in ("min", "max"):
            raise wrong(self, "mode is 'min' or 'max'", repr(mode), "mode='min'")
        if threshold_mode not in ("rel", "abs"):
            raise wrong(self, "threshold_mode is 'rel' or 'abs'", repr(threshold_mode), "threshold_mode='rel'")
        self.factor = factor
        self.optimizer = optimizer
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else min_lr
        self.min_lrs = for_each_group(self, "min_lr", optimizer, min_lr)
        self.patience = patience
        self.cooldown = cooldown
        self.eps = eps
        self.last_epoch = 0
        self._last_lr = options(optimizer, "lr")
        self.mode = mode
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self._reset()

    def _reset(self):
        self.best = self.mode_worse
        self.cooldown_counter = 0
        self.num_bad_epochs = 0

    @property
    def in_cooldown(self):
        """Whether a change was less than `cooldown` epochs ago."""
        return self.cooldown_counter > 0

    def step(self, metrics, epoch=None):
        """Tell the figure of the next epoch (`epoch` is deprecated), and change the rates where it is time."""
        current = float(metrics)
        if epoch is None:
            epoch = self.last_epoch + 1
        else:
            _warn_epoch(self)
        self.last_epoch = epoch
        if self._is_better(current, self.best):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce_lr()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = options(self.optimizer, "lr")

    def _reduce_lr(self):
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            if self.default_min_lr is None:
                raise RuntimeError(
                    "[ReduceLROnPlateau] a group was added to the optimiser; "
                    f"got {len(self.min_lrs)} min_lrs for {len(groups)} groups; try setting min_lrs"
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, smallest in zip(groups, self.min_lrs):
            old = float(group["lr"])
            new = max(old * self.factor, smallest)
            if old - new > self.eps:
                assign(group, "lr", new)

    def _is_better(self, a, best):
        relative, sign = self.threshold_mode == "rel", 1 if self.mode == "max" else -1
        bound = best * (1.0 + sign * self.threshold) if relative else best + sign * self.threshold
        return a > bound if self.mode == "max" else a < bound
