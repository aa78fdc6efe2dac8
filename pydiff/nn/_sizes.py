"""What layers ask of their arguments: sizes for each axis, inputs of as many axes."""

from operator import index


def sizes(owner, what, value, count):
    """`count` integers, from one for all or from a sequence; a ValueError in the name of `owner` otherwise."""
    try:
        if hasattr(value, "__index__"):
            return (index(value),) * count
        value = tuple(index(v) for v in value)
        if len(value) == count:
            return value
    except TypeError:
        pass
    wanted = "an integer" if count == 1 else f"an integer, or {count} of them"
    raise ValueError(f"[{owner}] {what} is {wanted}; got {value!r}; try {what}={(1,) * count if count > 1 else 1}")


def check_axes(owner, input, counts, form):
    """Raise ValueError unless the input has one of these numbers of axes; `form` says what they are."""
    if input.ndim not in counts:
        shape = tuple(input.shape)
        advice = "input.unsqueeze(0)" if input.ndim < max(counts) else f"an input of {max(counts)} axes"
        raise ValueError(f"[{owner}] the input is {form}; got {shape}; try {advice}")


PLACES = {1: "length", 2: "height, width", 3: "depth, height, width"}


def with_places(axes, batch=" or without batch"):
    """How messages write the shape of an input that has `axes` axes of places."""
    return f"(batch, channels, {PLACES[axes]})" + (f",{batch}" if batch else "")
