"""Arb balls as floats, rounded outward; functions of one float that need no global precision.

Arb's arithmetic is rigorous at whatever precision is set, so nothing here sets one: a low precision
only widens the answer.
"""

from __future__ import annotations

import math

from flint import arb


def float_below(ball: arb) -> float:
    """A float <= every number of the ball; -inf where the ball says nothing."""
    value = float(ball.lower())
    return -math.inf if math.isnan(value) else math.nextafter(value, -math.inf)


def float_above(ball: arb) -> float:
    """A float >= every number of the ball; inf where the ball says nothing."""
    value = float(ball.upper())
    return math.inf if math.isnan(value) else math.nextafter(value, math.inf)


def log_normal_tail_lower(x: float) -> float:
    """Lower bound of ``log(1 - Phi(x))``, Phi the standard normal distribution function.

    Far out, where Arb's erfc loses its digits, by ``1 - Phi(x) >= phi(x) x / (1 + x^2)``, x > 0,
    whose logarithm is within 1 / x^2 of the exact one.

    Args:
        x: a float; inf gives -inf.
    """
    if x == math.inf:
        return -math.inf
    best = _log_below((arb(x) / arb(2).sqrt()).erfc() / 2)
    if x > 1.0:
        u = arb(x)
        mills = -u * u / 2 - (2 * arb.pi()).log() / 2 + (u / (1 + u * u)).log()
        best = max(best, float_below(mills))
    return best


def log_normal_box_lower(low: float, high: float) -> float:
    """Lower bound of ``log(Phi(high) - Phi(low))``; -inf where none is positive.

    Args:
        low: >= 0, so that the difference of upper tails keeps its digits.
        high: > low.
    """
    root = arb(2).sqrt()
    upper = (arb(high) / root).erfc() if high < math.inf else arb(0)
    return _log_below(((arb(low) / root).erfc() - upper) / 2)


def _log_below(probability: arb) -> float:
    if not probability.lower() > 0:
        return -math.inf
    return min(float_below(probability.log()), 0.0)
