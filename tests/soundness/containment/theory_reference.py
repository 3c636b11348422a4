"""Profiles, Lipschitz bounds and losses once more, exactly, from their formulas."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from flint import arb
from tests.soundness.containment.theory_judge import (
    INF,
    Number,
    Unresolved,
    at_most,
    decided,
    exact,
    product,
)

from talweg.theory import NestedBallBound, Profile, SingularValueProfile, SquaredLoss


class ExactProfile(Protocol):
    """A nonincreasing function a with its integral, up to its last radius."""

    def total(self) -> arb: ...

    def value(self, radius: arb) -> arb: ...

    def integral(self, radius: arb) -> arb: ...

    def first_radius(self, budget: Number) -> arb | None: ...


@dataclass(frozen=True)
class Steps:
    """factor times a step function: value v_i on (r_{i-1}, r_i]."""

    radii: tuple[float, ...]
    values: tuple[float, ...]
    factor: arb

    @classmethod
    def of(cls, profile: Profile, factor: Number = 1) -> Steps:
        return cls(profile.radii, profile.values, exact(factor))

    def total(self) -> arb:
        return self.integral(exact(self.radii[-1]))

    def value(self, radius: arb) -> arb:
        for end, v in zip(self.radii, self.values, strict=True):
            if decided(at_most(radius, end)):
                return self.factor * v
        return arb(0)

    def integral(self, radius: arb) -> arb:
        total, start = arb(0), arb(0)
        for end, v in zip(self.radii, self.values, strict=True):
            inside = decided(at_most(radius, end))
            stop = radius if inside else exact(end)
            total += product(self.factor * v, stop - start)
            if inside:
                break
            start = stop
        return total

    def first_radius(self, budget: Number) -> arb | None:
        need, start = exact(budget), arb(0)
        if decided(at_most(need, 0)):
            return arb(0)
        for end, v in zip(self.radii, self.values, strict=True):
            height = self.factor * v
            piece = product(height, exact(end) - start)
            if decided(at_most(need, piece)):
                return start + (need / height if height > 0 else arb(0))
            need, start = need - piece, exact(end)
        return None


@dataclass(frozen=True)
class Linear:
    """factor (sigma - int beta), cut where it reaches 0: pieces (start, end, value, slope)."""

    factor: arb
    at_start: arb
    pieces: tuple[tuple[arb, arb, arb, arb], ...]

    @classmethod
    def of(
        cls, sigma: Number, lipschitz: NestedBallBound, factor: Number = 1, bend: Number = 1
    ) -> Linear:
        """s(rho) = factor (sigma - bend int_0^rho beta)."""
        value, start = exact(sigma), arb(0)
        pieces = []
        if decided(at_most(sigma, 0)):
            return cls(arb(0), arb(0), ())
        for limit, beta in zip(lipschitz.radii, running_least(lipschitz), strict=True):
            if beta == math.inf:
                break
            slope = exact(bend) * beta
            zero = start + value / slope if beta > 0.0 else INF
            ends_here = decided(at_most(zero, limit))
            end = zero if ends_here else exact(limit)
            pieces.append((start, end, value, slope))
            if ends_here or limit == math.inf:
                break
            value -= slope * (end - start)
            start = end
        return cls(exact(factor), exact(sigma), tuple(pieces))

    @property
    def radius(self) -> arb:
        return self.pieces[-1][1] if self.pieces else arb(0)

    def total(self) -> arb:
        return self.integral(self.radius)

    def integral(self, radius: arb) -> arb:
        total = arb(0)
        for start, end, value, slope in self.pieces:
            inside = radius is end or decided(at_most(radius, end))
            d = (radius if inside else end) - start
            if not d.is_finite():
                return product(self.factor, INF)
            total += d * (value - slope * d / 2)
            if inside:
                break
        return product(self.factor, total)

    def value(self, radius: arb) -> arb:
        if radius == 0:
            return self.factor * self.at_start
        for start, end, value, slope in self.pieces:
            if radius is end or decided(at_most(radius, end)):
                return self.factor * (value - product(slope, radius - start))
        return arb(0)

    def first_radius(self, budget: Number) -> arb | None:
        need = exact(budget)
        if decided(at_most(need, 0)):
            return arb(0)
        if self.factor == 0:
            return None
        need /= self.factor
        for start, end, value, slope in self.pieces:
            whole = self._piece(start, end, value, slope)
            if decided(at_most(need, whole)):
                under = value * value - 2 * slope * need
                if not under >= 0:
                    raise Unresolved
                return start + 2 * need / (value + under.sqrt())
            need -= whole
        return None

    @staticmethod
    def _piece(start: arb, end: arb, value: arb, slope: arb) -> arb:
        d = end - start
        return d * (value - slope * d / 2) if d.is_finite() else INF


def linear(
    profile: SingularValueProfile, factor: Number = 1, bend: Number = 1, sigma: Number = 1
) -> Linear:
    """The exact form of a profile; sigma scales sigma_0 alone, bend beta alone."""
    start = profile.sigma_min_lower
    if start == -math.inf:
        return Linear(arb(0), arb(0), ())
    return Linear.of(exact(sigma) * start, profile.lipschitz, factor, bend)


def running_least(bound: NestedBallBound) -> list[float]:
    """The best value for each ball: a bound on a larger ball holds on the smaller one."""
    return [min(bound.values[i:]) for i in range(len(bound.values))]


def nested(bound: NestedBallBound, radius: arb) -> arb:
    """The value on B(w0, radius)."""
    for end, value in zip(bound.radii, running_least(bound), strict=True):
        if decided(at_most(radius, end)):
            return exact(value)
    return INF


def growth(bound: NestedBallBound, radius: arb) -> arb:
    """int_0^radius beta."""
    total, start = arb(0), arb(0)
    for end, value in zip(bound.radii, running_least(bound), strict=True):
        inside = decided(at_most(radius, end))
        stop = radius if inside else exact(end)
        total += product(value, stop - start)
        if inside:
            return total
        start = stop
    return INF


def curvature(loss: SquaredLoss) -> arb:
    """2 c: the loss is c |r|^2 with c = 1/N, 1 or 1/2."""
    return {"mean": arb(2) / loss.entries, "sum": arb(2), "half_sum": arb(1)}[loss.scaling]
