"""Divisors of integers and neighbours of floats, by NumPy or CuPy."""

import numpy as np

from ._rows import fallback

__all__ = []


@fallback("gcd")
def gcd(xp, a, b):
    """Greatest common divisor."""
    return xp.gcd(a, b)


@fallback("lcm")
def lcm(xp, a, b):
    """Least common multiple."""
    return xp.lcm(a, b)


@fallback(
    "nextafter",
    vjp=lambda operands, results, cotangents: (cotangents[0], None),
    jvp=lambda operands, results, tangents: tangents[0],
)
def nextafter(xp, a, b):
    """The neighbour of a in the direction of b."""
    with np.errstate(over="ignore", under="ignore"):  # behind the largest number is infinity
        return xp.nextafter(a, b)
