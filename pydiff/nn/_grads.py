"""Forgetting gradients, for modules and optimisers alike."""

import pydiff


def clear_grads(parameters, set_to_none):
    """Drop the gradient of each parameter, or fill it with zeros.

    Zeros are written into the gradient in place, as whoever holds it expects, unless it is
    part of a tape (`create_graph=True`), which must keep its own value.
    """
    if set_to_none:
        for parameter in parameters:
            parameter.grad = None
        return
    for parameter in parameters:
        grad = parameter.grad
        if grad is None:
            continue
        if grad.requires_grad:
            parameter.grad = pydiff.zeros(grad.shape, dtype=grad.dtype, device=grad.device)
        else:
            grad.zero_()
