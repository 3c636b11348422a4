"""Profiles: lower bounds as nonincreasing functions of the distance from the starting point.

A profile a(rho) >= 0 says how steep the loss is at distance rho at least. The theorems ask it for

    int_0^R a,   a(R),   and the radius at which the integral first reaches a budget,

each on the side that keeps a proof a proof.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._bounds import _checked_pieces


class LowerProfile(Protocol):
    """A nonincreasing lower bound a: [0, radius] -> [0, inf); beyond `radius` it says 0."""

    @property
    def radius(self) -> float:
        """Where the profile ends; may be inf."""
        ...

    def value_lower(self, radius: float) -> float:
        """Lower bound of a(radius)."""
        ...

    def integral_lower(self, radius: float) -> float:
        """Lower bound of int_0^radius a."""
        ...

    def first_radius_upper(self, budget: float) -> float:
        """A radius R with ``integral_lower(R) >= budget``, next to the smallest; inf if none."""
        ...


@dataclass(frozen=True)
class Profile:
    """A step profile: ``values[i]`` is a lower bound on [radii[i-1], radii[i]], radii[-1] := 0.

    Its integral is a lower Riemann sum. At a common end of two steps both values are valid lower
    bounds, so the larger, inner one is used there.

    Args:
        radii: rho_1 < rho_2 < ...; the last may be inf.
        values: a_1 >= a_2 >= ... >= 0, finite.

    Raises:
        InputError: empty, lengths differ, radii not increasing, values increasing, negative,
            infinite or NaN.
    """

    radii: tuple[float, ...]
    values: tuple[float, ...]
    _sums: tuple[float, ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        radii, values = _checked_pieces("Profile", self.radii, self.values)
        nonincreasing = all(a >= b for a, b in pairwise(values))
        if not (nonincreasing and values[-1] >= 0.0 and values[0] < math.inf):
            raise InputError(
                "`values` of Profile() must be finite, nonincreasing lower bounds >= 0; got "
                f"{values!r}. A lower bound for a larger ball holds on the smaller ball too: take "
                "running maxima from the outside inward, and 0 in place of a negative bound."
            )
        object.__setattr__(self, "radii", radii)
        object.__setattr__(self, "values", values)
        sums, total = [], 0.0
        for start, end, value in zip((0.0, *radii), radii, values, strict=False):
            total = _add_step(total, start, end, value)
            sums.append(total)
        object.__setattr__(self, "_sums", tuple(sums))

    @classmethod
    def constant(cls, value: float, radius: float) -> Profile:
        """The same lower bound on all of B(w0, radius)."""
        return cls((radius,), (value,))

    @property
    def radius(self) -> float:
        """The last radius."""
        return self.radii[-1]

    def value_lower(self, radius: float) -> float:
        """a(radius); 0 beyond the last radius.

        Args:
            radius: >= 0.
        """
        for end, value in zip(self.radii, self.values, strict=True):
            if radius <= end:
                return value
        return 0.0

    def integral_lower(self, radius: float) -> float:
        """Lower bound of ``int_0^radius a``.

        Args:
            radius: >= 0.
        """
        total, start = 0.0, 0.0
        for end, value, cumulative in zip(self.radii, self.values, self._sums, strict=True):
            if radius < end:
                return _add_step(total, start, radius, value)
            total, start = cumulative, end
        return total

    def first_radius_upper(self, budget: float) -> float:
        """A radius R with ``integral_lower(R) >= budget``, next to the smallest; inf if none.

        Args:
            budget: what the integral has to reach.
        """
        if budget <= 0.0:
            return 0.0
        total, start = 0.0, 0.0
        for end, value, cumulative in zip(self.radii, self.values, self._sums, strict=True):
            if cumulative >= budget:
                step = (Interval.point(budget) - Interval.point(total)) / Interval.point(value)
                return verified_radius(self, (Interval.point(start) + step).mid, end, budget)
            total, start = cumulative, end
        return math.inf


@dataclass(frozen=True, slots=True)
class ScaledProfile:
    """The profile ``factor * base``.

    Args:
        base: any profile.
        factor_lower: lower bound of the factor, >= 0, finite.

    Raises:
        InputError: the factor is negative, infinite or NaN.
    """

    base: LowerProfile
    factor_lower: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.factor_lower < math.inf:
            raise InputError(
                "`factor_lower` of ScaledProfile() must be a finite number >= 0; got "
                f"{self.factor_lower!r}. Pass 0 where no positive bound is known."
            )

    @property
    def radius(self) -> float:
        """The radius of the base."""
        return self.base.radius

    def value_lower(self, radius: float) -> float:
        """Lower bound of factor * a(radius).

        Args:
            radius: >= 0.
        """
        return _product_lower(self.factor_lower, self.base.value_lower(radius))

    def integral_lower(self, radius: float) -> float:
        """Lower bound of ``factor * int_0^radius a``.

        Args:
            radius: >= 0.
        """
        return _product_lower(self.factor_lower, self.base.integral_lower(radius))

    def first_radius_upper(self, budget: float) -> float:
        """A radius R with ``factor * int_0^R a >= budget``, near the smallest; inf if none.

        Args:
            budget: what the integral has to reach.
        """
        share = (Interval.point(budget) / Interval.point(self.factor_lower)).hi
        # two roundings down in integral_lower: ask the base for a little more when that is needed
        for _ in range(4):
            radius = self.base.first_radius_upper(share)
            if math.isinf(radius) or self.integral_lower(radius) >= budget:
                return radius
            share = math.nextafter(share, math.inf)
        return math.inf


def verified_radius(profile: LowerProfile, candidate: float, end: float, budget: float) -> float:
    """The first float from `candidate` up (in growing strides) whose integral is proved to do.

    Args:
        profile: asked for `integral_lower`.
        candidate: where the equality is expected.
        end: a radius at which ``integral_lower(end) >= budget`` is known.
        budget: what the integral has to reach.
    """
    radius, stride = min(max(candidate, 0.0), end), 1.0
    while radius < end:
        if profile.integral_lower(radius) >= budget:
            return radius
        radius = math.nextafter(radius, math.inf) + stride * math.ulp(radius)
        stride *= 2.0
    return end


def _add_step(total: float, start: float, end: float, value: float) -> float:
    """Lower bound of total + (end - start) * value; a finite value on an endless step gives inf."""
    if math.isinf(end):
        return math.inf if value > 0.0 else total
    length = Interval.point(end) - Interval.point(start)
    return max((Interval.point(total) + length * value).lo, total)  # the step adds no less than 0


def _product_lower(factor: float, x: float) -> float:
    """Lower bound of factor * x, factor >= 0, 0 <= x <= inf."""
    if factor == 0.0 or x == 0.0:
        return 0.0
    return math.inf if math.isinf(x) else max((Interval.point(factor) * x).lo, 0.0)
