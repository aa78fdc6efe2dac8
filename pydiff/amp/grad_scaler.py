"""Losses scaled up, so that gradients in float16 do not vanish."""

import math
import warnings

import pydiff
from pydiff import Tensor, _core

__all__ = ["GradScaler"]

_READY, _UNSCALED, _STEPPED = "ready", "unscaled", "stepped"


class _Round:
    """What happened to one optimiser since the last update."""

    __slots__ = ("stage", "found")

    def __init__(self):
        self.stage = _READY
        self.found = []  # 0-d tensors, one a device and dtype: whether a gradient is not finite


class GradScaler:
    """Scales a loss, unscales the gradients, and leaves out steps whose gradients are not finite.

    Arguments:
        device: accepted for PyTorch's sake; the scale goes to wherever the loss is, on every device.
        init_scale: factor of the loss at the start.
        growth_factor: of the scale after `growth_interval` steps in a row without inf or NaN; above 1.
        backoff_factor: of the scale after a step that was left out; below 1.
        growth_interval: see there.
        enabled: False makes all methods hand on what they are given.

    The check of all gradients is one reduction, and one wait a step, however many parameters there are. Where a step is left out
    because of a NaN, a warning tells once which parameter has one, by name where the optimiser was given
    `named_parameters()`. Micikevicius et al., arXiv:1710.03740. Raises ValueError for factors out of range.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.tensor([1.0]))
    >>> optimizer, scaler = pd.optim.SGD([p], lr=0.25), pd.amp.GradScaler("cpu", init_scale=1024.0)
    >>> with pd.autocast("cpu", dtype=pd.float16):
    ...     loss = (p * p).sum()
    >>> scaler.scale(loss).backward()
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> p.item(), scaler.get_scale()
    (0.5, 1024.0)
    """

    def __init__(
        self,
        device="cuda",
        init_scale=2.0**16,
        growth_factor=2.0,
        backoff_factor=0.5,
        growth_interval=2000,
        enabled=True,
    ):
        self._device = device
        self._enabled = bool(enabled)
        if self._enabled and not growth_factor > 1:
            raise ValueError(f"[GradScaler] growth_factor is above 1; got {growth_factor}; try growth_factor=2.0")
        if self._enabled and not 0 < backoff_factor < 1:
            raise ValueError(f"[GradScaler] backoff_factor is between 0 and 1; got {backoff_factor}; try backoff_factor=0.5")
        if self._enabled and not (init_scale > 0 and math.isfinite(init_scale)):
            raise ValueError(f"[GradScaler] init_scale is a positive number; got {init_scale}; try init_scale=65536.0")
        self._scale = float(init_scale)
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._growth_tracker = 0
        self._rounds = {}
        self._warned = False

    # ---- one iteration

    def scale(self, outputs):
        """`outputs` times the scale: a tensor, or a list or tuple of such, nested as one likes."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * pydiff.tensor(self._scale, dtype=pydiff.float32, device=outputs.device)
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(map(self.scale, outputs))
        if hasattr(outputs, "__iter__"):
            return map(self.scale, outputs)
        raise ValueError(f"[scale] outputs are tensors; got {type(outputs).__name__}; try the loss, or a list of losses")

    def unscale_(self, optimizer):
        """Divide the gradients of `optimizer` by the scale, in place, so that they can be clipped before `step`.

        Raises RuntimeError where that was done since the last `update`, ValueError for gradients of float16, whose parameters
        should be of float32.
        """
        if not self._enabled:
            return
        now = self._rounds.setdefault(id(optimizer), _Round())
        if now.stage is not _READY:
            done = "divided already" if now.stage is _UNSCALED else "used by step already"
            raise RuntimeError(f"[unscale_] the gradients were {done} since the last update; got a second call; try update()")
        now.found = self._unscaled(optimizer)
        now.stage = _UNSCALED

    def _unscaled(self, optimizer):
        alike = {}
        for _, parameter in _parameters(optimizer):
            grad = parameter.grad
            if grad is None:
                continue
            if grad.dtype == pydiff.float16:
                raise ValueError(
                    "[unscale_] gradients of float16 have no digits to spare; got a parameter of float16; "
                    "try parameters of float32 and autocast"
                )
            alike.setdefault((str(grad.device), str(grad.dtype)), []).append(grad)
        found, inverse = [], 1.0 / self._scale
        with pydiff.no_grad():
            for grads in alike.values():
                found.append(~pydiff.cat([grad.detach().reshape(-1) for grad in grads]).isfinite().all())
                _core.foreach("unscale", _times, (grads,), (inverse,), grads)
        return found

    def step(self, optimizer, *args, **kwargs):
        """`optimizer.step(*args, **kwargs)`, unless a gradient is inf or NaN; gradients are unscaled first.

        Returns what the optimiser's step does, None where it was left out. Raises RuntimeError for a closure, and for a second
        step since the last `update`.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or (args and callable(args[0])):
            raise RuntimeError("[step] a closure would be computed without the scale; got one; try without GradScaler")
        now = self._rounds.setdefault(id(optimizer), _Round())
        if now.stage is _STEPPED:
            raise RuntimeError("[step] the step was made already since the last update; got a second call; try update()")
        if now.stage is _READY:
            self.unscale_(optimizer)
        if not now.found:
            raise RuntimeError("[step] the optimiser has no gradients; got None for all parameters; try scale(loss).backward()")
        now.found = any([bool(found) for found in now.found])
        now.stage = _STEPPED
        if not now.found:
            return optimizer.step(*args, **kwargs)
        if not self._warned:
            self._warn(optimizer)
        return None

    def _warn(self, optimizer):
        named = [(name, p) for name, p in _parameters(optimizer) if p.grad is not None]
        with pydiff.no_grad():
            flags = [p.grad.detach().isnan().any() for _, p in named]
            _core.evaluate(flags)
        bad = [entry for entry, flag in zip(named, flags) if bool(flag)]
        if not bad:
            return
        self._warned = True
        name, parameter = bad[0]
        warnings.warn(
            f"[GradScaler] a gradient is NaN, so the step is left out; got parameter {name} of shape {tuple(parameter.shape)} "
            f"first, {len(bad)} of {len(named)} in all; try a look at the loss, and at the layers after that parameter",
            RuntimeWarning,
            stacklevel=3,
        )

    def update(self, new_scale=None):
        """Shrink the scale if a step was left out, let it grow after many that were not; or set it to `new_scale`.

        Raises RuntimeError where nothing was stepped or unscaled since the last call.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            scale = float(new_scale)
            if not (scale > 0 and math.isfinite(scale)):
                raise ValueError(f"[update] a scale is a positive number; got {new_scale}; try update()")
            self._scale = scale
        else:
            rounds = [now for now in self._rounds.values() if now.stage is not _READY]
            if not rounds:
                raise RuntimeError("[update] no gradient was checked since the last update; got no step; try step(optimizer)")
            found = any([now.found if isinstance(now.found, bool) else any(map(bool, now.found)) for now in rounds])
            self._adapt(found)
        self._rounds = {}

    def _adapt(self, found):
        if found:
            self._scale *= self._backoff_factor
            self._growth_tracker = 0
            return
        self._growth_tracker += 1
        if self._growth_tracker == self._growth_interval:
            grown = self._scale * self._growth_factor
            if grown <= pydiff.finfo(pydiff.float32).max:
                self._scale = grown
            self._growth_tracker = 0

    # ---- what it remembers

    def get_scale(self):
        """The scale, 1.0 where the scaler is disabled."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self):
        """What the scale is multiplied by to grow."""
        return self._growth_factor

    def set_growth_factor(self, new_factor):
        """Set what the scale is multiplied by to grow."""
        self._growth_factor = new_factor

    def get_backoff_factor(self):
        """What the scale is multiplied by to shrink."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor):
        """Set what the scale is multiplied by to shrink."""
        self._backoff_factor = new_factor

    def get_growth_interval(self):
        """After how many steps in a row the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval):
        """Set after how many steps in a row the scale grows."""
        self._growth_interval = new_interval

    def is_enabled(self):
        """Whether the scaler does anything."""
        return self._enabled

    def state_dict(self):
        """What the scaler remembers, as numbers, with PyTorch's keys; empty where it is disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict):
        """Take over what `state_dict()` gave; nothing where the scaler is disabled. Raises RuntimeError for an empty one."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "[load_state_dict] the state is that of a disabled scaler; got an empty dict; try GradScaler(enabled=False)"
            )
        self._scale = float(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._growth_tracker = int(state_dict["_growth_tracker"])

    def __getstate__(self):
        if self._rounds:
            raise RuntimeError("[GradScaler] it is copied between iterations; got one amid; try after update()")
        return dict(self.__dict__)


def _times(grad, inverse):
    return ((grad * inverse).to(grad.dtype),)


def _parameters(optimizer):
    """(name or number, parameter) of all groups."""
    number = 0
    for group in optimizer.param_groups:
        for place, parameter in enumerate(group["params"]):
            yield (repr(group["param_names"][place]) if "param_names" in group else number), parameter
            number += 1
