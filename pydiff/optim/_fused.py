"""Optimisers whose whole step is one graph node over all parameters.

Such an optimiser is a formula for one element and the names of what it remembers; recording,
rebinding and evaluating are here. A step costs Python a loop over the gradients and a few calls:
the lists of parameters and state are kept in plans, and are made anew only when another set of
parameters has gradients.
"""

import functools

import pydiff
from pydiff import _core

from .optimizer import Optimizer


def decays(group):
    """Whether weight decay is added to the gradient, and whether it shrinks the parameter instead."""
    decay, decoupled = bool(group["weight_decay"]), bool(group["decoupled_weight_decay"])
    return decay and not decoupled, decay and decoupled


def decay_factor(group, lr):
    """The number that either kind of weight decay multiplies the parameter by."""
    return 1.0 - lr * group["weight_decay"] if group["decoupled_weight_decay"] else group["weight_decay"]


def rate(group):
    """The learning rate of a group: a number, or a 0-d tensor of float64 that nobody waits for."""
    lr = group["lr"]
    return lr.detach().reshape(()).to(pydiff.float64) if isinstance(lr, pydiff.Tensor) else lr


def named(name, **traits):
    """The name of an update with these traits, for messages and for the kernel's key."""
    return "_".join([name, *(trait for trait, present in traits.items() if present)])


@functools.lru_cache(maxsize=None)
def _rounded_once(update):
    """`update` of 16-bit floats, computed in float32 within its kernel and rounded at the end."""

    def wide(parameter, *others):
        results = update(*(x.float() if x.dtype.is_floating_point else x for x in (parameter, *others)))
        return tuple(result.to(parameter.dtype) for result in results)

    return wide


class _Bucket:
    """Parameters of one group that are updated together: same step count, dtype and device."""

    __slots__ = ("positions", "params", "slots", "states", "handles", "step", "numbers")

    def __init__(self, step, numbers):
        self.positions = []
        self.params = []
        self.states = []
        self.step = step
        self.numbers = numbers

    def close(self, names):
        self.slots = tuple([state[name] for state in self.states] for name in names)
        self.handles = [*self.params]
        for slot in self.slots:
            self.handles += slot


class _Plan:
    """The buckets of one group, and what they were made for."""

    __slots__ = ("ids", "names", "state", "known", "buckets")

    def serves(self, ids, names, state):
        return self.ids == ids and self.names == names and self.state is state and self.known == len(state)


class FusedOptimizer(Optimizer):
    """Base of the optimisers whose update is elementwise; see the methods to define.

    `_slots(group)`: names of the state tensors, each of its parameter's shape.
    `_update(group)`: a name and a function `(param, grad, *slots, *scalars)` that returns the
    new `(param, *slots)`. The same options must give the same function.
    `_scalars(group, step)`: the numbers for the `step`-th update, counted from 1. They are
    arguments of the kernel, so their change compiles nothing.
    `_steps_done(state)`: how many updates a parameter has had.
    `_initial(name, parameter, group)`: what a state tensor begins with; zeros.
    `_operands(bucket, grads)`: the lists that the function is given; parameters, gradients, slots.

    What else a parameter remembers are numbers, not tensors: `_numbers` names them, `_first_numbers(group)` gives
    what they begin with, and `_scalars_and_numbers(group, step, numbers)` returns those of the next step too.
    """

    # Whether `state["step"]` counts the updates, as PyTorch's optimiser of that name does.
    _counts = True
    _numbers = ()
    _read_anew = frozenset(
        "lr momentum dampening weight_decay betas eps alpha rho lr_decay momentum_decay lambd t0 etas step_sizes".split()
    )

    def __init__(self, params, defaults):
        self._plans = {}
        super().__init__(params, defaults)

    def step(self, closure=None):
        """Update all parameters that have a gradient.

        Arguments:
            closure: computes the loss anew and returns it, after zeroing gradients and with
                `backward()`; or None.

        Returns the loss of the closure, else None.
        """
        loss = self._loss_of(closure)
        done = None
        for number, group in enumerate(self.param_groups):
            active, grads = [], []
            for parameter in group["params"]:
                grad = parameter.grad
                if grad is not None:
                    active.append(parameter)
                    grads.append(grad)
            if not active:
                continue
            names = self._slots(group)
            plan = self._plans.get(number)
            ids = [*map(id, active)]
            if plan is None or not plan.serves(ids, names, self.state):
                plan = self._plans[number] = self._make_plan(ids, active, names, group)
            name, update = self._update(group)
            for bucket in plan.buckets:
                if len(plan.buckets) > 1:
                    chosen = [grads[position] for position in bucket.positions]
                else:
                    chosen = grads
                self._update_bucket(group, bucket, chosen, name, update)
                done = bucket.handles if done is None else done + bucket.handles
        if done is not None:
            _core.evaluate(done)
        return loss

    def _update_bucket(self, group, bucket, grads, name, update):
        device = bucket.params[0].device
        traced = _core.tracing()
        if traced:  # the numbers of each step to come are computed then
            before = bucket.step, bucket.numbers
            scalars = _core.host_numbers(
                lambda: self._advance(group, bucket, device), lambda: self._note(bucket, *before), device
            )
        else:
            scalars, step, numbers = self._next_numbers(group, bucket, device)
        if bucket.params[0].dtype in (pydiff.float16, pydiff.bfloat16):
            update = _rounded_once(update)
        _core.foreach(name, update, self._operands(bucket, grads), scalars, bucket.handles)
        if not traced:
            self._note(bucket, step, numbers)

    def _next_numbers(self, group, bucket, device):
        """What the kernel is given for the next step, and the bucket's numbers after it."""
        step = bucket.step + 1
        scalars, numbers = self._scalars_and_numbers(group, step, bucket.numbers)
        if isinstance(group.get("lr"), pydiff.Tensor):
            scalars = [s.to(device) if isinstance(s, pydiff.Tensor) else s for s in scalars]
        return scalars, step, numbers

    def _advance(self, group, bucket, device):
        scalars, step, numbers = self._next_numbers(group, bucket, device)
        self._note(bucket, step, numbers)
        return scalars

    def _note(self, bucket, step, numbers):
        bucket.step = step
        if self._counts:
            for state in bucket.states:
                state["step"] = step
        if numbers:
            bucket.numbers = numbers
            for state in bucket.states:
                state.update(zip(self._numbers, numbers))

    def _make_plan(self, ids, active, names, group):
        buckets = {}
        for position, parameter in enumerate(active):
            # Not `self.state[…]` where nothing is remembered: looking would make an entry.
            state = self.state[parameter] if names or self._counts else {}
            step = self._steps_done(state)
            if self._counts:
                state["step"] = step
            numbers = ()
            if self._numbers:
                first = zip(self._numbers, self._first_numbers(group))
                numbers = tuple(float(state.get(name, value)) for name, value in first)
                state.update(zip(self._numbers, numbers))
            for name in names:
                if state.get(name) is None:
                    state[name] = self._initial(name, parameter, group)
            key = step, numbers, str(parameter.dtype), str(parameter.device)
            bucket = buckets.setdefault(key, _Bucket(step, numbers))
            bucket.positions.append(position)
            bucket.params.append(parameter)
            bucket.states.append(state)
        plan = _Plan()
        plan.buckets = list(buckets.values())
        for bucket in plan.buckets:
            bucket.close(names)
        plan.ids, plan.names = ids, names
        plan.state, plan.known = self.state, len(self.state)
        return plan

    def _slots(self, group):
        return self._slot_names

    def _steps_done(self, state):
        return int(state.get("step", 0))

    def _initial(self, name, parameter, group):
        return pydiff.zeros(parameter.shape, dtype=parameter.dtype, device=parameter.device)

    def _operands(self, bucket, grads):
        return bucket.params, grads, *bucket.slots

    def _scalars_and_numbers(self, group, step, numbers):
        return self._scalars(group, step), numbers

    # Plans hold the tensors a second time, by position: a copy makes its own.

    def __getstate__(self):
        return {**super().__getstate__(), "_plans": {}}
