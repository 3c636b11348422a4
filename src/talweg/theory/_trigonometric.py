"""Sine and cosine with proved bounds, from + - * / alone (libm promises no rounding).

For |x| <= 8 the Taylor series at 0, whose tail after 40 terms is below its first omitted term;
an interval of half-width h around m adds [-h, h], because |sin'|, |cos'| <= 1.
"""

from __future__ import annotations

import math

from talweg.enclosure import Interval

# pi = 3.14159265358979323846...; the float 3.141592653589793 is 3.14159265358979311599...
PI = Interval(3.141592653589793, math.nextafter(3.141592653589793, 4.0))
_TERMS = 40  # 8^80 / 80! < 3e-47
_RANGE = 8.0


def sine(x: Interval) -> Interval:
    """An interval that holds sin u for every u in x; [-1, 1] beyond |u| <= 8.

    Args:
        x: the angle, in radians.
    """
    return _around(x, 1)


def cosine(x: Interval) -> Interval:
    """An interval that holds cos u for every u in x; [-1, 1] beyond |u| <= 8.

    Args:
        x: the angle, in radians.
    """
    return _around(x, 0)


def _around(x: Interval, first: int) -> Interval:
    if not x.magnitude <= _RANGE:
        return Interval(-1.0, 1.0)
    middle = x.mid
    spread = (x - middle).magnitude
    value = _series(Interval.point(middle), first) + Interval(-spread, spread)
    return Interval(max(value.lo, -1.0), min(value.hi, 1.0))


def _series(m: Interval, first: int) -> Interval:
    """sum_j (-1)^j m^(2j+first) / (2j+first)!, with its tail."""
    square = -m.square()
    term = m if first else Interval.point(1.0)
    total = term
    n = first
    for _ in range(_TERMS - 1):
        term = term * square / float((n + 1) * (n + 2))
        total = total + term
        n += 2
    # from here on the terms alternate in sign and shrink, as n^2 > 64 >= m^2
    tail = (term * square / float((n + 1) * (n + 2))).magnitude
    return total + Interval(-tail, tail)
