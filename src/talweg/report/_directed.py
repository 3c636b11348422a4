"""Decimals on the safe side: a lower bound is printed no larger than it is, an upper no smaller."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

Exact = Fraction | float
"""A finite number that is meant exactly."""
DIGITS = 4


def lower(value: Exact, digits: int = DIGITS) -> str:
    """A lower bound in few digits, rounded down.

    Args:
        value: Finite.
        digits: Significant ones.
    """
    return _printed(value, digits, ROUND_FLOOR)


def upper(value: Exact, digits: int = DIGITS) -> str:
    """An upper bound in few digits, rounded up.

    Args:
        value: Finite.
        digits: Significant ones.
    """
    return _printed(value, digits, ROUND_CEILING)


def nearest(value: Exact, digits: int = DIGITS) -> str:
    """A number that bounds nothing, rounded to nearest.

    Args:
        value: Finite.
        digits: Significant ones.
    """
    return _printed(value, digits, ROUND_HALF_EVEN)


def whole(value: Exact) -> str:
    """An upper bound of a count of steps, rounded up to an integer; long ones in few digits.

    Args:
        value: Finite.
    """
    count = -(-Fraction(value) // 1)
    return f"{count:,}" if abs(count) < 10**12 else upper(Fraction(count))


def near(value: Exact) -> float:
    """A binary64 close by, to draw it; infinite where it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _printed(value: Exact, digits: int, rounding: str) -> str:
    exact = Fraction(value)
    # Numerator and denominator are exact Decimals: the one rounding is that of the quotient.
    context = Context(prec=digits, rounding=rounding)
    number = context.divide(Decimal(exact.numerator), Decimal(exact.denominator))
    number = number.normalize(context)
    if number == 0:
        return "0"
    if -4 <= number.adjusted() < max(digits, 6):
        return f"{number:f}"
    return f"{number:e}"
