"""Optimisers whose whole step is one graph node over all parameters.

Such an optimiser is a formula for one element and the names of what it remembers; recording,
rebinding and evaluating are here. A step costs Python a loop over the gradients and a few calls:
the lists of parameters and state are kept in plans, and are made anew only when another set of
parameters has gradients.
"""

import pydiff
from pydiff import _core

from .optimizer import Optimizer


class _Bucket:
    """Parameters of one group that are updated together: same step count, dtype and device."""

    __slots__ = ("positions", "params", "slots", "states", "handles", "step")

    def __init__(self, step):
        self.positions = []
        self.params = []
        self.states = []
        self.step = step

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
    """

    # Whether `state["step"]` counts the updates, as PyTorch's optimiser of that name does.
    _counts = True

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
        loss = None
        if closure is not None:
            with pydiff.enable_grad():
                loss = closure()
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
                plan = self._plans[number] = self._make_plan(ids, active, names)
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
        step = bucket.step + 1
        results = _core.foreach(name, update, (bucket.params, grads, *bucket.slots), self._scalars(group, step))
        values = [value for result in results for value in result]
        _core.rebind(bucket.handles, values)
        bucket.step = step
        if self._counts:
            for state in bucket.states:
                state["step"] = step

    def _make_plan(self, ids, active, names):
        buckets = {}
        for position, parameter in enumerate(active):
            # Not `self.state[…]` where nothing is remembered: looking would make an entry.
            state = self.state[parameter] if names or self._counts else {}
            step = self._steps_done(state)
            if self._counts:
                state["step"] = step
            for name in names:
                if state.get(name) is None:
                    state[name] = pydiff.zeros(parameter.shape, dtype=parameter.dtype, device=parameter.device)
            key = step, str(parameter.dtype), str(parameter.device)
            bucket = buckets.setdefault(key, _Bucket(step))
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

    def _steps_done(self, state):
        return int(state.get("step", 0))

    # Plans hold the tensors a second time, by position: a copy makes its own.

    def __getstate__(self):
        return {**self.__dict__, "_plans": {}}
