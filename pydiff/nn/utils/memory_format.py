"""Weights of convolutions laid out in memory as their inputs are."""

__all__ = ["convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format"]


def convert_conv2d_weight_memory_format(module, memory_format):
    """Lay out the weights of all `Conv2d` and `ConvTranspose2d` at and below a module; returns it.

    Arguments:
        memory_format: `pydiff.channels_last`, or another for four axes.

    >>> import pydiff as pd
    >>> model = pd.nn.utils.convert_conv2d_weight_memory_format(pd.nn.Linear(2, 2), pd.channels_last)
    """
    return _convert(module, memory_format, {"Conv2d", "ConvTranspose2d"})


def convert_conv3d_weight_memory_format(module, memory_format):
    """Lay out the weights of all `Conv3d` and `ConvTranspose3d` at and below a module; returns it.

    Arguments:
        memory_format: `pydiff.channels_last_3d`, or another for five axes.

    >>> import pydiff as pd
    >>> model = pd.nn.utils.convert_conv3d_weight_memory_format(pd.nn.Linear(2, 2), pd.channels_last_3d)
    """
    return _convert(module, memory_format, {"Conv3d", "ConvTranspose3d"})


def _convert(module, memory_format, kinds):
    for child in module.modules():
        if kinds & {kind.__name__ for kind in type(child).__mro__}:
            child.weight.data = child.weight.data.to(memory_format=memory_format)
    return module
