"""Averages of a model's weights: of the whole run (SWA) or exponentially forgetting (EMA)."""

import copy
import itertools
import math

import pydiff
from pydiff import _core
from pydiff.nn import Module

from .lr_scheduler.base import LRScheduler, for_each_group, wrong

__all__ = [
    "AveragedModel", "SWALR", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn", "update_bn",
]  # fmt: skip


def _toward(average, current, share):
    return ((average + (current - average) * share).to(average.dtype),)


def _move_all(averages, currents, share):
    """averages += share (currents - averages), in place and in one launch; share is a number or a 0-d tensor."""
    averages, currents = list(averages), list(currents)
    if not averages:
        return
    if averages[0].dtype.is_floating_point:
        _core.foreach("average", _toward, (averages, currents), (share,), averages)
    else:
        _core.rebind(averages, [(a + (c - a) * share).to(a.dtype) for a, c in zip(averages, currents)])
    _core.evaluate(averages)


def _check_decay(op, decay):
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"[{op}] decay is a number from 0 to 1; got {decay}; try decay=0.999")


def get_ema_multi_avg_fn(decay=0.999):
    """An update of lists for `AveragedModel`: `average = decay average + (1 - decay) current`, in one launch.

    Raises ValueError for a decay outside 0 to 1.

    >>> import pydiff as pd
    >>> average = [pd.zeros(2)]
    >>> pd.optim.swa_utils.get_ema_multi_avg_fn(0.75)(average, [pd.ones(2)], 1)
    >>> average[0].tolist()
    [0.25, 0.25]
    """
    _check_decay("get_ema_multi_avg_fn", decay)

    def ema_update(ema_param_list, current_param_list, _):
        with pydiff.no_grad():
            _move_all(ema_param_list, current_param_list, 1.0 - decay)

    return ema_update


def get_swa_multi_avg_fn():
    """An update of lists for `AveragedModel`: `average += (current - average) / (n + 1)`, in one launch.

    >>> import pydiff as pd
    >>> average = [pd.zeros(2)]
    >>> pd.optim.swa_utils.get_swa_multi_avg_fn()(average, [pd.ones(2)], 1)
    >>> average[0].tolist()
    [0.5, 0.5]
    """

    def swa_update(averaged_param_list, current_param_list, num_averaged):
        with pydiff.no_grad():
            _move_all(averaged_param_list, current_param_list, 1.0 / (num_averaged + 1))

    return swa_update


def get_ema_avg_fn(decay=0.999):
    """As `get_ema_multi_avg_fn`, of one tensor: returns the new average.

    >>> import pydiff as pd
    >>> pd.optim.swa_utils.get_ema_avg_fn(0.75)(pd.zeros(2), pd.ones(2), 1).tolist()
    [0.25, 0.25]
    """
    _check_decay("get_ema_avg_fn", decay)

    def ema_update(ema_param, current_param, num_averaged):
        with pydiff.no_grad():
            return decay * ema_param + (1.0 - decay) * current_param

    return ema_update


def get_swa_avg_fn():
    """As `get_swa_multi_avg_fn`, of one tensor: returns the new average.

    >>> import pydiff as pd
    >>> pd.optim.swa_utils.get_swa_avg_fn()(pd.zeros(2), pd.ones(2), 1).tolist()
    [0.5, 0.5]
    """

    def swa_update(averaged_param, current_param, num_averaged):
        with pydiff.no_grad():
            return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


class AveragedModel(Module):
    """A copy of a model whose weights are an average of those that the model had.

    Arguments:
        model: is copied as it is.
        device: where the copy is kept; by default where the model is.
        avg_fn: a function (average, current, n) of tensors that returns the new average; n weights are averaged so far.
        multi_avg_fn: a function (averages, currents, n) of lists that writes the averages in place.
        use_buffers: average buffers too; else they follow the model's.

    With neither function the mean of all weights is kept (Izmailov et al., arXiv:1803.05407), in one launch. The first
    `update_parameters` copies. Raises ValueError where both functions are given.

    >>> import pydiff as pd
    >>> from pydiff.optim.swa_utils import AveragedModel
    >>> model = pd.nn.Linear(1, 1, bias=False)
    >>> average = AveragedModel(model)
    >>> for value in (1.0, 2.0):
    ...     with pd.no_grad():
    ...         _ = model.weight.fill_(value)
    ...     average.update_parameters(model)
    >>> average.module.weight.item(), average.n_averaged.item()
    (1.5, 2)
    """

    def __init__(self, model, device=None, avg_fn=None, multi_avg_fn=None, use_buffers=False):
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ValueError("[AveragedModel] one function averages; got avg_fn and multi_avg_fn; try one of them")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", pydiff.tensor(0, dtype=pydiff.int64, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    def update_parameters(self, model):
        """Take the weights of `model` into the average."""
        with pydiff.no_grad():
            ours, theirs = self._averaged(self.module), self._averaged(model)
            pairs = [(a.detach(), b.detach().to(a.device)) for a, b in zip(ours, theirs)]
            if self.n_averaged.is_abstract:  # in a trace: whether it is the first is found at each call
                self._average(pairs)
                for average, current in pairs:
                    average.copy_(pydiff.where(self.n_averaged == 0, current, average))
            elif int(self.n_averaged) == 0:
                for average, current in pairs:
                    average.copy_(current)
            else:
                self._average(pairs)
            if not self.use_buffers:
                for buffer, current in zip(self.module.buffers(), model.buffers(), strict=True):
                    buffer.detach().copy_(current.detach().to(buffer.device))
            self.n_averaged += 1

    def _average(self, pairs):
        if self.avg_fn is None:
            self._average_lists(pairs)
        else:
            for average, current in pairs:
                average.copy_(self.avg_fn(average, current, self.n_averaged.to(average.device)))

    def _averaged(self, model):
        return itertools.chain(model.parameters(), model.buffers()) if self.use_buffers else model.parameters()

    def _average_lists(self, pairs):
        function = self.multi_avg_fn or get_swa_multi_avg_fn()
        alike = {}
        for average, current in pairs:
            averages, currents = alike.setdefault((str(average.device), str(average.dtype)), ([], []))
            averages.append(average)
            currents.append(current)
        for averages, currents in alike.values():
            function(averages, currents, self.n_averaged.to(averages[0].device))


def update_bn(loader, model, device=None):
    """Compute the running statistics of batch normalisations anew, as the mean over all batches of `loader`.

    Arguments:
        loader: gives batches; of a tuple or list the first item is the input.
        model: whose weights are final; it is in training mode meanwhile, and then as it was.
        device: where inputs are moved to.

    Without a batch normalisation nothing is done.

    >>> import pydiff as pd
    >>> pd.optim.swa_utils.update_bn([pd.ones(2, 3)], pd.nn.Linear(3, 1))
    """
    norms = [m for m in model.modules() if any("BatchNorm" in base.__name__ for base in type(m).__mro__)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    was_training = model.training
    model.train()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all batches
        with pydiff.no_grad():
            for batch in loader:
                if isinstance(batch, (list, tuple)):
                    batch = batch[0]
                model(batch if device is None else batch.to(device))
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
        model.train(was_training)


class SWALR(LRScheduler):
    """The rate to a constant value, at which weights are averaged.

    Arguments:
        optimizer: whose rates are set.
        swa_lr: the value; a number, or one for each group.
        anneal_epochs: epochs until it is reached.
        anneal_strategy: "cos" or "linear".
        last_epoch: as `LRScheduler`.

    Raises ValueError for arguments out of range.

    >>> import pydiff as pd
    >>> optimizer = pd.optim.SGD([pd.nn.Parameter(pd.ones(1))], lr=1.0)
    >>> scheduler = pd.optim.swa_utils.SWALR(optimizer, swa_lr=0.5, anneal_epochs=2, anneal_strategy="linear")
    >>> optimizer.step(); scheduler.step()
    >>> scheduler.get_last_lr()
    [0.75]
    """

    def __init__(self, optimizer, swa_lr, anneal_epochs=10, anneal_strategy="cos", last_epoch=-1):
        if anneal_strategy not in ("cos", "linear"):
            raise wrong(self, "anneal_strategy is 'cos' or 'linear'", repr(anneal_strategy), "anneal_strategy='cos'")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise wrong(self, "anneal_epochs is an integer, 0 or more", anneal_epochs, "anneal_epochs=10")
        for group, lr in zip(optimizer.param_groups, for_each_group(self, "swa_lr", optimizer, swa_lr)):
            group["swa_lr"] = lr
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step):
        """How much of the way is gone after `step` steps."""
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * t)) / 2 if self._anneal_strategy == "cos" else t

    def get_lr(self):
        self._check_called_by_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            lr, end = group["lr"], group["swa_lr"]
            start = end if before == 1 else (lr - before * end) / (1 - before)
            rates.append(end * now + start * (1 - now))
        return rates
