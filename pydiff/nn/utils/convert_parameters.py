"""All parameters as one vector, and back."""

import pydiff
from pydiff import Tensor

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters):
    """The elements of all parameters, one after the other, as one vector, which differentiates.

    Raises ValueError where there is none.

    >>> import pydiff as pd
    >>> tuple(pd.nn.utils.parameters_to_vector(pd.nn.Linear(3, 2).parameters()).shape)
    (8,)
    """
    flat = [p.reshape(-1) for p in parameters]
    if not flat:
        raise ValueError("[parameters_to_vector] there are no parameters; got an empty list; try model.parameters()")
    return pydiff.cat(flat)


def vector_to_parameters(vec, parameters):
    """Give the parameters, which stay the same objects, the elements of a vector as their values.

    Raises TypeError for what is no tensor, ValueError for a vector of another size.

    >>> import pydiff as pd
    >>> layer = pd.nn.Linear(2, 1)
    >>> pd.nn.utils.vector_to_parameters(pd.tensor([1.0, 2.0, 3.0]), layer.parameters())
    >>> layer.weight.tolist(), layer.bias.tolist()
    ([[1.0, 2.0]], [3.0])
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"[vector_to_parameters] a vector is wanted; got {type(vec).__name__}; try pydiff.tensor(vec)")
    parameters = list(parameters)
    size = sum(p.numel() for p in parameters)
    if tuple(vec.shape) != (size,):
        raise ValueError(
            f"[vector_to_parameters] the parameters have {size} elements; got {tuple(vec.shape)}; try shape ({size},)"
        )
    parts = vec.detach().split([p.numel() for p in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.data = part.reshape(parameter.shape).to(parameter.dtype).clone()
