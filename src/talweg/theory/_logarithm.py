"""Logarithms with proved bounds, from + - * / alone (libm promises no rounding).

For y = m 2^e with m near 1 and for tiny x without cancellation:

    log y = e log 2 + 2 artanh((m - 1) / (m + 1)),      -log(1 - x) = 2 artanh(x / (2 - x)).
"""

from __future__ import annotations

import math

from talweg.enclosure import Interval

# log 2 = 0.69314718055994530941...; the float 0.6931471805599453 is 0.69314718055994528622...
LOG_2 = Interval(0.6931471805599453, math.nextafter(0.6931471805599453, 1.0))
_TERMS = 24  # |z| <= 1/3: the tail 2 z^49 / (49 (1 - z^2)) is below 1e-24


def log_enclosure(y: float) -> Interval:
    """An interval that holds log y, for a finite float y > 0."""
    m, e = math.frexp(y)
    if m < 0.7:
        m, e = 2.0 * m, e - 1  # exact
    z = (Interval.point(m) - 1.0) / (Interval.point(m) + 1.0)
    return Interval.point(e) * LOG_2 + 2.0 * _artanh(z)


def negative_log1m_lower(x: float) -> float:
    """Lower bound of -log(1 - x), 0 <= x <= 1; inf at x = 1."""
    if x >= 1.0:
        return math.inf
    if x > 0.5:
        return (-log_enclosure(1.0 - x)).lo  # 1 - x is exact for x >= 1/2 (Sterbenz)
    z = Interval.point(x) / (2.0 - Interval.point(x))
    return max((2.0 * _artanh(z)).lo, x)  # -log(1 - x) >= x


def steps_to_shrink_upper(ratio_upper: float, one_minus_rate_lower: float) -> float:
    """A whole number k >= 1, as a float, with ``rate^k <= 1 / ratio``; inf when none is proved.

    Args:
        ratio_upper: start over target, > 0; inf gives inf.
        one_minus_rate_lower: lower bound of 1 - rate, in [0, 1].
    """
    if ratio_upper <= 1.0 or one_minus_rate_lower >= 1.0:
        return 1.0
    decay = negative_log1m_lower(one_minus_rate_lower)
    if not decay > 0.0 or math.isinf(ratio_upper):
        return math.inf
    steps = (Interval.point(log_enclosure(ratio_upper).hi) / Interval.point(decay)).hi
    return max(1.0, float(math.ceil(steps))) if math.isfinite(steps) else math.inf


def _artanh(z: Interval) -> Interval:
    """The function artanh over an interval within about [-1/3, 1/3]: series plus its tail."""
    square = z.square()
    power, total = z, z
    for j in range(1, _TERMS):
        power = power * square
        total = total + power / float(2 * j + 1)
    # the tail has the sign of z and is at most |z|^(2n+1) / ((2n+1) (1 - z^2))
    tail = (abs(power) * square / ((2.0 * _TERMS + 1.0) * (1.0 - square))).hi
    return total + Interval(-tail, tail)
