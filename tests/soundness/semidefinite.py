"""Whether a symmetric matrix of exact numbers is positive semidefinite, decided rigorously.

Elimination M = L D L^T in Arb at growing precision; where no precision decides (a pivot that is
exactly zero), the same elimination over the rationals.
"""

from __future__ import annotations

from collections.abc import Sequence

from flint import arb, ctx, fmpq

EXACT = 4500
"""Bits at which sums and products of two binary64 numbers, and sums of a few of them, are exact."""

PRECISIONS = (128, 512, 2048)
MOST_RATIONAL = 20
"""Largest order that is eliminated over the rationals."""

Rows = Sequence[Sequence[arb]]


def is_positive_semidefinite(rows: Rows) -> bool | None:
    """The answer, or None where it is left open.

    That is where entries are balls that do not decide it, or a large matrix is nearly singular.

    Args:
        rows: Arb numbers, symmetric; only the lower triangle is read.
    """
    for bits in PRECISIONS:
        with ctx.workprec(bits):
            answer = _eliminated(rows)
        if answer is not None:
            return answer
    exact = all(x.is_exact() for i, row in enumerate(rows) for x in row[: i + 1])
    return _rational(rows) if exact and len(rows) <= MOST_RATIONAL else None


def _eliminated(rows: Rows) -> bool | None:
    remaining = [list(row[: i + 1]) for i, row in enumerate(rows)]
    while remaining:
        first = [row[0] for row in remaining]
        pivot = first[0]
        if pivot < 0:
            return False
        if not pivot > 0:
            if not pivot.is_zero():
                return None
            if any(x != 0 for x in first):  # certainly not 0
                return False
            if not all(x.is_zero() for x in first):
                return None
            remaining = [row[1:] for row in remaining[1:]]
            continue
        reduced = []
        for i, row in enumerate(remaining[1:], start=1):
            head = row[0]
            if head.is_zero():
                reduced.append(row[1:])
                continue
            ratio = head / pivot
            reduced.append([x - ratio * y for x, y in zip(row[1:], first[1 : i + 1], strict=True)])
        remaining = reduced
    return True


def _rational(rows: Rows) -> bool:
    remaining = [[exact_rational(x) for x in row[: i + 1]] for i, row in enumerate(rows)]
    zero = fmpq(0)
    while remaining:
        first = [row[0] for row in remaining]
        pivot = first[0]
        if pivot < zero:
            return False
        if pivot == zero:
            if any(x != zero for x in first):
                return False
            remaining = [row[1:] for row in remaining[1:]]
            continue
        reduced = []
        for i, row in enumerate(remaining[1:], start=1):
            ratio = row[0] / pivot
            reduced.append([x - ratio * y for x, y in zip(row[1:], first[1 : i + 1], strict=True)])
        remaining = reduced
    return True


def exact_rational(x: arb) -> fmpq:
    """The number that an Arb ball of radius 0 is.

    Raises:
        ValueError: The radius is not 0.
    """
    if not x.is_exact():
        raise ValueError(f"{x} is no exact number")
    mantissa, exponent = x.man_exp()
    two = fmpq(2)
    return fmpq(mantissa) * two**exponent if exponent >= 0 else fmpq(mantissa) / two ** (-exponent)
