"""Schedulers along a cosine."""

import math

from .base import LRScheduler, wrong

__all__ = ["CosineAnnealingLR", "CosineAnnealingWarmRestarts"]


class CosineAnnealingLR(LRScheduler):
    """The rate along half a cosine from its initial value to `eta_min` in `T_max` epochs, and back in as many.

    Arguments:
        optimizer: whose rates are set.
        T_max: epochs until the minimum.
        eta_min: smallest rate.
        last_epoch: as `LRScheduler`.

    Each rate follows from the one before, so that other changes to it stay. Loshchilov and Hutter, arXiv:1608.03983.

    >>> import pydiff as pd
    >>> optimizer = pd.optim.SGD([pd.nn.Parameter(pd.ones(1))], lr=1.0)
    >>> scheduler = pd.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
    >>> optimizer.step(); scheduler.step()
    >>> [round(lr, 4) for lr in scheduler.get_last_lr()]
    [0.5]
    """

    def __init__(self, optimizer, T_max, eta_min=0.0, last_epoch=-1):
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        self._check_called_by_step()
        if self._is_initial:
            return self._now()
        if self._step_count == 1 and self.last_epoch > 0:
            return self._get_closed_form_lr()
        groups = self.optimizer.param_groups
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # just after a minimum, where the ratio is 0/0
            first = (1 - math.cos(math.pi / self.T_max)) / 2
            return [g["lr"] + (lr - self.eta_min) * first for lr, g in zip(self.base_lrs, groups, strict=True)]
        now, before = (1 + math.cos(math.pi * epoch / self.T_max) for epoch in (self.last_epoch, self.last_epoch - 1))
        return [now / before * (group["lr"] - self.eta_min) + self.eta_min for group in groups]

    def _get_closed_form_lr(self):
        share = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (lr - self.eta_min) * share for lr in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """The rate along half a cosine to `eta_min`, again and again from the initial value.

    Arguments:
        optimizer: whose rates are set.
        T_0: epochs of the first run.
        T_mult: each run has this many times the epochs of the one before.
        eta_min: smallest rate.
        last_epoch: as `LRScheduler`.

    `step` may be given a fraction of an epoch. Loshchilov and Hutter, arXiv:1608.03983. Raises ValueError for epochs that are
    no positive integers.

    >>> import pydiff as pd
    >>> optimizer = pd.optim.SGD([pd.nn.Parameter(pd.ones(1))], lr=1.0)
    >>> scheduler = pd.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    >>> rates = []
    >>> for _ in range(3):
    ...     optimizer.step(); scheduler.step()
    ...     rates += [round(lr, 4) for lr in scheduler.get_last_lr()]
    >>> rates
    [0.5, 1.0, 0.5]
    """

    def __init__(self, optimizer, T_0, T_mult=1, eta_min=0.0, last_epoch=-1):
        for name, value in (("T_0", T_0), ("T_mult", T_mult)):
            if not isinstance(value, int) or value < 1:
                raise wrong(self, f"{name} is a positive integer", value, f"{name}=10")
        if not isinstance(eta_min, (float, int)):
            raise wrong(self, "eta_min is a number", type(eta_min).__name__, "eta_min=0.0")
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        self._check_called_by_step()
        share = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (lr - self.eta_min) * share for lr in self.base_lrs]

    def step(self, epoch=None):
        """Set the rates of the next epoch, or of the epoch that is given, which may be a fraction."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        else:
            self._seek(epoch)
        self.last_epoch = math.floor(epoch)
        self._get_lr_called_within_step = True
        try:
            rates = self.get_lr()
        finally:
            self._get_lr_called_within_step = False
        self._set(rates)

    def _seek(self, epoch):
        if epoch < 0:
            raise wrong(self, "an epoch is 0 or more", epoch, "step()")
        self.T_i, self.T_cur = self.T_0, epoch
        if epoch < self.T_0:
            return
        if self.T_mult == 1:
            self.T_cur = epoch % self.T_0
            return
        # Runs 0 to n-1 have T_0 (T_mult^n - 1) / (T_mult - 1) epochs.
        n = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
        self.T_cur = epoch - self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
        self.T_i = self.T_0 * self.T_mult**n
