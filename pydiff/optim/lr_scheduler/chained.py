"""Schedulers of schedulers."""

from bisect import bisect_right

from .base import LRScheduler, assign, options, wrong
from .plateau import ReduceLROnPlateau

__all__ = ["ChainedScheduler", "SequentialLR"]


class _Several(LRScheduler):
    """Those with schedulers of their own, whose states are part of theirs."""

    def _check(self, optimizer, schedulers):
        name = type(self).__name__
        for place, scheduler in enumerate(schedulers):
            if not hasattr(scheduler, "optimizer"):
                raise TypeError(
                    f"[{name}] schedulers are a list of schedulers; got {type(scheduler).__name__} at {place}; "
                    "try pydiff.optim.lr_scheduler.LinearLR(optimizer)"
                )
            if isinstance(scheduler, ReduceLROnPlateau):
                raise wrong(
                    self, "its schedulers step without a figure", f"ReduceLROnPlateau at {place}", "it beside the others"
                )
            if scheduler.optimizer is not optimizer:
                raise wrong(
                    self,
                    "all schedulers belong to one optimiser",
                    f"{type(scheduler).__name__} at {place} of another",
                    "schedulers of the same optimiser",
                )

    def state_dict(self):
        """As `LRScheduler.state_dict`, with the states of the schedulers under "_schedulers"."""
        return {**super().state_dict(), "_schedulers": [scheduler.state_dict() for scheduler in self._schedulers]}

    def load_state_dict(self, state_dict):
        """Take over what `state_dict()` gave, the states of the schedulers too."""
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "_schedulers"})
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"]):
            scheduler.load_state_dict(state)


class SequentialLR(_Several):
    """One scheduler after the other: the next takes over at each of the epochs `milestones`.

    Arguments:
        optimizer: whose rates are set.
        schedulers: a list of schedulers of that optimiser.
        milestones: rising epochs, one fewer than schedulers.
        last_epoch: as `LRScheduler`.

    Raises ValueError where numbers or optimisers do not fit.

    >>> import pydiff as pd
    >>> from pydiff.optim import lr_scheduler
    >>> optimizer = pd.optim.SGD([pd.nn.Parameter(pd.ones(1))], lr=1.0)
    >>> warmup = lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=2)
    >>> decay = lr_scheduler.ExponentialLR(optimizer, gamma=0.25)
    >>> scheduler = lr_scheduler.SequentialLR(optimizer, [warmup, decay], milestones=[2])
    >>> rates = scheduler.get_last_lr()[:]
    >>> for _ in range(3):
    ...     optimizer.step(); scheduler.step()
    ...     rates += scheduler.get_last_lr()
    >>> rates
    [0.5, 0.5, 1.0, 0.25]
    """

    def __init__(self, optimizer, schedulers, milestones, last_epoch=-1):
        if not schedulers:
            raise wrong(self, "one scheduler at least is needed", "none", "a list of schedulers")
        self._check(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1:
            raise wrong(
                self,
                "there is one milestone fewer than schedulers",
                f"{len(milestones)} milestones for {len(schedulers)} schedulers",
                f"{len(schedulers) - 1} milestones",
            )
        self._schedulers = schedulers
        self._milestones = milestones
        self.last_epoch = last_epoch + 1
        self.optimizer = optimizer
        # All of them stepped when they were made: back, then only the first goes.
        for group in optimizer.param_groups:
            assign(group, "lr", group["initial_lr"])
        self.recursive_undo()
        first = schedulers[bisect_right(milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def recursive_undo(self, sched=None):
        """Take back the first step of the schedulers within `sched`, by default of all."""
        within = self if sched is None else sched
        if hasattr(within, "_schedulers"):
            for scheduler in within._schedulers:
                self.recursive_undo(scheduler)
        elif hasattr(within, "last_epoch"):
            within.last_epoch -= 1

    def step(self):
        """Step the scheduler whose turn it is."""
        self.last_epoch += 1
        number = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[number]
        if number and self._milestones[number - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(_Several):
    """Several schedulers at once: each changes what the one before left.

    Arguments:
        schedulers: a list of schedulers of one optimiser.
        optimizer: that optimiser; by default the first scheduler's.

    Raises ValueError where optimisers differ.

    >>> import pydiff as pd
    >>> from pydiff.optim import lr_scheduler
    >>> optimizer = pd.optim.SGD([pd.nn.Parameter(pd.ones(1))], lr=1.0)
    >>> parts = [lr_scheduler.ConstantLR(optimizer, 0.5), lr_scheduler.ExponentialLR(optimizer, 0.5)]
    >>> scheduler = lr_scheduler.ChainedScheduler(parts)
    >>> optimizer.step(); scheduler.step()
    >>> scheduler.get_last_lr()
    [0.25]
    """

    def __init__(self, schedulers, optimizer=None):
        if not schedulers:
            raise wrong(self, "one scheduler at least is needed", "none", "a list of schedulers")
        if optimizer is None:
            optimizer = getattr(schedulers[0], "optimizer", None)
        self._check(optimizer, schedulers)
        self._schedulers = schedulers
        self.optimizer = optimizer
        self._last_lr = options(optimizer, "lr")

    def step(self):
        """Step all schedulers, in their order."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = options(self.optimizer, "lr")
