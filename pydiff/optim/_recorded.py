"""Optimisers whose update of a parameter is more than elementwise: recorded one by one, computed together."""

import pydiff
from pydiff import _core

from .optimizer import Optimizer


class RecordedOptimizer(Optimizer):
    """Base of the optimisers that need sums or products of a parameter's elements.

    A subclass defines `_record(group, parameter, grad, state)`, which returns the new parameter and a dict of the new state;
    it changes nothing. All parameters are recorded, then all are computed as one piece of graph.
    """

    def step(self, closure=None):
        """Update all parameters that have a gradient.

        Arguments:
            closure: computes the loss anew and returns it, after zeroing gradients and with
                `backward()`; or None.

        Returns the loss of the closure, else None.
        """
        loss = self._loss_of(closure)
        parameters, values, states = [], [], []
        with pydiff.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is None:
                        continue
                    known = self.state[parameter] if parameter in self.state else {}
                    value, state = self._record(group, parameter.detach(), parameter.grad.detach(), known)
                    parameters.append(parameter)
                    values.append(value)
                    states.append(state)
        for parameter, state in zip(parameters, states):
            self.state[parameter].update(state)
        if parameters:
            _core.rebind(parameters, values)
            kept = [item for state in states for item in state.values() if isinstance(item, pydiff.Tensor)]
            _core.evaluate(parameters + kept)
        return loss
