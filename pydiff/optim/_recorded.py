"""Optimisers whose update of a parameter is more than elementwise: recorded one by one, computed together."""

import pydiff
from pydiff import _core

from .optimizer import Optimizer


class RecordedOptimizer(Optimizer):
    """Base of the optimisers that need sums or products of a parameter's elements.

    A subclass defines `_record(group, parameter, grad, state, *numbers)`, which returns the new parameter and a dict of the
    tensors that it remembers, and `_numbers(group, parameter, state)`: the numbers of this step that the former is given, and
    a dict of the numbers to remember. They change nothing. All parameters are recorded, then all are computed as one piece of
    graph.
    """

    _read_anew = frozenset(["lr"])

    def step(self, closure=None):
        """Update all parameters that have a gradient.

        Arguments:
            closure: computes the loss anew and returns it, after zeroing gradients and with
                `backward()`; or None.

        Returns the loss of the closure, else None.
        """
        loss = self._loss_of(closure)
        traced = _core.tracing()
        handles, values, counts = [], [], []
        with pydiff.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is None:
                        continue
                    known = self.state[parameter] if parameter in self.state else {}
                    if traced:  # the numbers of each step to come are computed then
                        numbers = _core.host_numbers(*self._at_each_call(group, parameter), parameter.device)
                    else:
                        numbers, count = self._numbers(group, parameter, known)
                        counts.append((parameter, count))
                    value, state = self._record(group, parameter.detach(), parameter.grad.detach(), known, *numbers)
                    handles.append(parameter)
                    values.append(value)
                    for name, item in state.items():
                        if name in known:  # a tensor that is remembered keeps its identity
                            handles.append(known[name])
                            values.append(item)
                        else:
                            counts.append((parameter, {name: item}))
        for parameter, new in counts:
            self.state[parameter].update(new)
        if handles:
            _core.rebind(handles, values)
            made = [item for _, new in counts for item in new.values() if isinstance(item, pydiff.Tensor)]
            _core.evaluate(handles + made)
        return loss

    def _at_each_call(self, group, parameter):
        """Two functions: to count a step and give its numbers, and to take the count back."""
        before = dict(self.state[parameter])

        def advance():
            numbers, count = self._numbers(group, parameter, self.state[parameter])
            self.state[parameter].update(count)
            return numbers

        def take_back():
            self.state[parameter].clear()
            self.state[parameter].update(before)

        return advance, take_back
