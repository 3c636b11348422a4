"""Upper bounds that hold on balls around the starting point, as functions of the radius.

A smoothness or Lipschitz constant is valid on some ball B(w0, R) and grows with R. A theorem that
finds its own radius asks such a bound for the value at that radius.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import upper_bound


class RadiusBound(Protocol):
    """An upper bound, valid on all of B(w0, R), for every radius R it is asked about."""

    def upper(self, radius: float) -> float:
        """Upper bound on B(w0, radius); inf where none is known."""
        ...


@dataclass(frozen=True, slots=True)
class NestedBallBound:
    """Upper bounds valid on nested balls: ``values[i]`` holds on all of B(w0, radii[i]).

    On B(w0, R) the smallest value with ``radii[i] >= R`` is used, beyond the last radius inf. A
    later value below an earlier one holds on the smaller ball as well, so it replaces it: the
    bound is nondecreasing in R.

    Args:
        radii: increasing, > 0; the last may be inf (a global bound).
        values: as many, >= 0; inf says that nothing is known there.

    Raises:
        InputError: empty, of different lengths, not increasing, negative or NaN.
    """

    radii: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        radii, values = _checked_pieces("NestedBallBound", self.radii, self.values)
        if not all(v >= 0.0 for v in values):
            raise InputError(
                f"`values` of NestedBallBound() must be upper bounds >= 0; got {values!r}. "
                "Pass inf where no bound is known."
            )
        running = math.inf
        least = list(values)
        for i in reversed(range(len(least))):
            running = least[i] = min(running, least[i])
        object.__setattr__(self, "radii", radii)
        object.__setattr__(self, "values", tuple(least))

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, float]]) -> NestedBallBound:
        """From pairs (radius, upper bound on B(w0, radius)), in increasing order of radius."""
        listed = list(pairs)
        return cls(tuple(r for r, _ in listed), tuple(v for _, v in listed))

    @classmethod
    def everywhere(cls, value: float) -> NestedBallBound:
        """One bound that holds on all of parameter space."""
        return cls((math.inf,), (value,))

    def upper(self, radius: float) -> float:
        """Upper bound on B(w0, radius).

        Args:
            radius: >= 0.
        """
        for r, v in zip(self.radii, self.values, strict=True):
            if radius <= r:
                return v
        return math.inf

    def integral_upper(self, radius: float) -> float:
        """Upper bound of ``int_0^radius upper(t) dt``.

        Args:
            radius: >= 0.
        """
        if not radius <= self.radii[-1]:
            return math.inf
        total, start = Interval.point(0.0), 0.0
        for r, v in zip(self.radii, self.values, strict=True):
            end = min(r, radius)
            total = total + (Interval.point(end) - Interval.point(start)) * v
            if radius <= r:
                break
            start = r
        return total.hi


@dataclass(frozen=True, slots=True)
class JacobianNormBound:
    """|J| on a ball from its value at the centre: ``sup_{B(w0,R)} |J| <= |J(w0)| + int_0^R beta``.

    Args:
        at_start_upper: upper bound of the operator norm of J(w0), >= 0.
        lipschitz: Lipschitz constants of J (operator norm) on nested balls.

    Raises:
        InputError: at_start_upper is negative or NaN.
    """

    at_start_upper: float
    lipschitz: NestedBallBound

    def __post_init__(self) -> None:
        upper_bound(self.at_start_upper, "at_start_upper", "JacobianNormBound")

    def upper(self, radius: float) -> float:
        """Upper bound of |J| on B(w0, radius).

        Args:
            radius: >= 0.
        """
        growth = self.lipschitz.integral_upper(radius)
        return (Interval.point(self.at_start_upper) + Interval.point(growth)).hi


def _checked_pieces(
    owner: str, radii: Sequence[float], values: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Both sequences as tuples of floats, after the checks that every step function needs."""
    r, v = tuple(float(x) for x in radii), tuple(float(x) for x in values)
    increasing = all(a < b for a, b in zip((0.0, *r), r, strict=False))
    if not r or len(r) != len(v) or not increasing or any(math.isnan(x) for x in v):
        raise InputError(
            f"`radii` of {owner}() must be positive and increasing, with one value each and no "
            f"NaN; got radii {r!r} and values {v!r}. List the balls from the inside outward; the "
            "radius 0 is implied."
        )
    return r, v
