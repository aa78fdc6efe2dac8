"""A line search for the strong Wolfe conditions."""

import math
from collections import namedtuple

_Point = namedtuple("_Point", ["t", "f", "g", "slope"])


def strong_wolfe(evaluate, t, direction, f, g, slope, max_rounds, c1=1e-4, c2=0.9, tolerance_change=1e-9):
    """A step length t with `f(t) <= f + c1 t slope` and `|f'(t)| <= c2 |slope|`.

    `evaluate(t)` returns the loss and the flat gradient at length t. First brackets such a length, then narrows the bracket by
    cubic interpolation (Nocedal and Wright, algorithms 3.5 and 3.6). Returns loss, gradient, length, evaluations.
    """

    def probe(t):
        value, grad = evaluate(t)
        return _Point(t, value, grad, float(grad.dot(direction)))

    start = last = _Point(0.0, f, g, slope)
    new = probe(t)
    rounds, bracket = 0, None
    while rounds < max_rounds:
        if new.f > f + c1 * new.t * slope or (rounds > 1 and new.f >= last.f):
            bracket = [last, new]
            break
        if abs(new.slope) <= -c2 * slope:
            return new.f, new.g, new.t, rounds + 1
        if new.slope >= 0:
            bracket = [last, new]
            break
        bounds = new.t + 0.01 * (new.t - last.t), new.t * 10
        last, new = new, probe(_cubic_minimum(last, new, *bounds))
        rounds += 1
    if bracket is None:
        bracket = [start, new]
    low = _lower(bracket)

    size = float(direction.abs().max())
    done = stuck = False
    while not done and rounds < max_rounds:
        left, right = sorted(point.t for point in bracket)
        if (right - left) * size < tolerance_change:
            break
        t = _cubic_minimum(*bracket, left, right)
        margin = 0.1 * (right - left)
        near = min(right - t, t - left) < margin
        # Near an end once may be chance; twice, or at the end itself, is no progress.
        if near and (stuck or t >= right or t <= left):
            t = right - margin if abs(t - right) < abs(t - left) else left + margin
            stuck = False
        else:
            stuck = near
        new = probe(t)
        rounds += 1
        if new.f > f + c1 * t * slope or new.f >= bracket[low].f:
            bracket[1 - low] = new
            low = _lower(bracket)
        else:
            done = abs(new.slope) <= -c2 * slope
            if not done and new.slope * (bracket[1 - low].t - bracket[low].t) >= 0:
                bracket[1 - low] = bracket[low]
            bracket[low] = new
    best = bracket[low]
    return best.f, best.g, best.t, rounds + 1


def _lower(bracket):
    return 0 if bracket[0].f <= bracket[1].f else 1


def _cubic_minimum(a, b, low, high):
    """Where the cubic through two points and their slopes is least, within bounds; their middle where it has no minimum.

    With `d1 = g_a + g_b - 3 (f_a - f_b) / (t_a - t_b)` and `d2 = sqrt(d1² - g_a g_b)`: Nocedal and Wright, equation 3.59.
    """
    if a.t > b.t:
        a, b = b, a
    width = b.t - a.t
    if not width:
        return (low + high) / 2.0
    d1 = a.slope + b.slope - 3.0 * (b.f - a.f) / width
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2.0
    d2 = math.sqrt(square)
    below = b.slope - a.slope + 2.0 * d2
    if not below:
        return (low + high) / 2.0
    return min(max(b.t - width * ((b.slope + d2 - d1) / below), low), high)
