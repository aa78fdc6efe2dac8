"""Divisors of integers and neighbours of floats, by NumPy or CuPy."""

import numpy as np

from ._batching import ELEMENTWISE
from ._rows import fallback

__all__ = []


@fallback("gcd", batch=ELEMENTWISE)
def gcd(xp, a, b):
    """Greatest common divisor."""
    return xp.gcd(a, b)


@fallback("lcm", batch=ELEMENTWISE)
def lcm(xp, a, b):
    """Least common multiple."""
    return xp.lcm(a, b)


@fallback(
    "nextafter",
    batch=ELEMENTWISE,
    vjp=lambda operands, results, cotangents: (cotangents[0], None),
    jvp=lambda operands, results, tangents: tangents[0],
)
def nextafter(xp, a, b):
    """The neighbour of a in the direction of b."""
    with np.errstate(over="ignore", under="ignore"):  # behind the largest number is infinity
        return xp.nextafter(a, b)
