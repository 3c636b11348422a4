"""The search for radii at which the Lipschitz bound is evaluated, and the theorem on the result.

Every evaluation of beta(R) costs operator norms, so as few radii as possible are used: one just
beyond the radius that the criterion needs, when the bound has hardly grown there, else a few
nested ones that catch its growth. The search is heuristic; only the theorem on its result counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from talweg.certificate._bounds import MeasuredBounds
from talweg.certificate._theorems import Theorem
from talweg.theory import Verdict, singular_value_profile

Profile = tuple[tuple[float, float], ...]

NESTED_FRACTIONS = (0.125, 0.25, 0.5, 1.0)
"""Of the radius where the profile would end without growth."""

LEAST_RADIUS = 1e-150
"""Radii are positive; far below anything that matters, far above underflow."""

GROWTH_WORTH_NESTING = 1.02
"""Ratio beta(R)/beta(0) beyond which nested radii pay for themselves."""

WELL_INSIDE = 0.75
"""Missing factor up to which a beta that is some percent less is not worth another evaluation.

The rate goes with 1 minus that factor.
"""

FLAT = 1.01
"""Ratio of beta at a radius and at a quarter of it up to which beta hardly depends on it."""

FAR = 4.0
"""Missing factor that no growth of beta on the way explains."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """One theorem evaluated on one profile.

    Attributes:
        theorem: Its id.
        verdict: What it says.
        lipschitz: The pairs (radius, beta) that it used.
        extra: Claims that the theorem needed beside the bounds, by name.
        missing_factor: What ``int s`` has to reach (``|r_0|`` for a squared loss) over what it
            reaches, a float estimate: below 1 when the criterion holds.
    """

    theorem: str
    verdict: Verdict[Any]
    lipschitz: Profile
    extra: Mapping[str, float]
    missing_factor: float


def evaluate_theorem(bounds: MeasuredBounds, theorem: Theorem) -> Outcome:
    """Choose radii, then evaluate the theorem on them.

    Args:
        bounds: Padded bounds at the weights.
        theorem: Which theorem, with its loss and target.
    """
    sigma = bounds.sigma_min_lower
    need = theorem.need(bounds)
    at_once = _one_evaluation(bounds, theorem, need)
    if at_once is not None:
        return at_once
    beta_0 = bounds.lipschitz_upper(0.0)
    if not (sigma > 0.0 and beta_0 < math.inf and need < math.inf):
        return _outcome(bounds, (_pair(bounds, 1.0),), theorem)
    # beta(0) may vanish although beta(R) does not (tanh at zero), so it says nothing about large
    # radii; without growth the criterion would need need / sigma.
    end = max(4.0 * need / sigma, LEAST_RADIUS)
    if beta_0 * end > sigma:
        end = max(sigma / beta_0, LEAST_RADIUS)
    if need * 2.0 * beta_0 >= sigma * sigma:
        # Hopeless for every radius, because beta grows; one is enough for the missing factor.
        return _outcome(bounds, (_pair(bounds, end),), theorem)
    single = _single_radius(bounds, need, beta_0)
    if single is not None:
        outcome = _outcome(bounds, single, theorem)
        if outcome.verdict.conclusion is not None:
            return outcome
    profile: list[tuple[float, float]] = []
    for fraction in NESTED_FRACTIONS:
        radius, beta = _pair(bounds, fraction * end)
        beta = max(beta, profile[-1][1] if profile else 0.0)
        if not beta < math.inf:
            break
        profile.append((radius, beta))
        if beta * radius > 2.0 * sigma:
            break
    if not profile:
        profile = [_pair(bounds, NESTED_FRACTIONS[0] * end)]
    return _outcome(bounds, _trimmed(sigma, profile, need), theorem)


def _pair(bounds: MeasuredBounds, radius: float) -> tuple[float, float]:
    """A radius with beta evaluated on that very ball: the only way a pair enters a profile."""
    return radius, bounds.lipschitz_upper(radius)


def _one_evaluation(bounds: MeasuredBounds, theorem: Theorem, need: float) -> Outcome | None:
    """The theorem on a single radius, where a rough bound says about how beta grows.

    At the largest radius that matters: the ball ends where ``sigma R - beta R^2 / 2`` reaches the
    need, at 2 need / sigma if at all, and s vanishes at sigma / beta. None where a smaller radius
    may prove what this one does not, or far more.
    """
    sigma, rough = bounds.sigma_min_lower, bounds.lipschitz if bounds.is_rough else bounds.rough
    if rough is None or not (sigma > 0.0 and need < math.inf):
        return None
    at_start = rough.upper(0.0)
    if not 0.0 < at_start < math.inf:
        return None
    radius = max(min(2.02 * need / sigma, sigma / at_start), LEAST_RADIUS)
    there = rough.upper(radius)
    # A rough constant jumps where it leaves the stored weights; what counts is how it goes on.
    flat = there <= FLAT * rough.upper(0.25 * radius)
    near = 2.0 * need * at_start < FAR * sigma * sigma
    if near and not (flat and bounds.lipschitz.nonideal_path(radius) is None):
        return None
    outcome = _outcome(bounds, (_pair(bounds, radius),), theorem)
    missing, proved = outcome.missing_factor, outcome.verdict.conclusion is not None
    if proved and near and missing <= WELL_INSIDE:
        return outcome
    grown = (GROWTH_WORTH_NESTING if flat else FAR) * there / at_start
    return outcome if not proved and grown < missing < math.inf else None


def _single_radius(bounds: MeasuredBounds, need: float, beta_0: float) -> Profile | None:
    """One radius just beyond the criterion's, when beta has hardly grown there."""
    sigma, beta = bounds.sigma_min_lower, beta_0
    for _ in range(3):
        room = sigma * sigma - 2.0 * beta * need
        if not room > 0.0:
            return None
        radius = 2.0 * need / (sigma + math.sqrt(room))
        radius = max(1.01 * radius, LEAST_RADIUS)
        profile = (_pair(bounds, radius),)
        grown = profile[0][1]
        if grown > GROWTH_WORTH_NESTING * beta_0:
            return None
        if singular_value_profile(sigma, profile).integral_lower(radius) > need:
            return profile
        beta = grown
    return None


def _trimmed(sigma: float, profile: list[tuple[float, float]], need: float) -> Profile:
    """The shortest beginning of the profile that still meets the need, else all of it."""
    for count in range(1, len(profile)):
        head = profile[:count]
        if singular_value_profile(sigma, head).integral_lower(head[-1][0]) > need:
            return tuple(head)
    return tuple(profile)


def _outcome(bounds: MeasuredBounds, lipschitz: Profile, theorem: Theorem) -> Outcome:
    applied = theorem.apply(bounds, singular_value_profile(bounds.sigma_min_lower, lipschitz))
    missing = _missing_factor(bounds, lipschitz, theorem.budget(bounds))
    return Outcome(theorem.id, applied.verdict, lipschitz, applied.extra, missing)


def _missing_factor(bounds: MeasuredBounds, lipschitz: Profile, budget: float) -> float:
    """``budget / int s`` with the last beta continued to where s vanishes."""
    sigma = bounds.sigma_min_lower
    radius, beta = lipschitz[-1]
    if not (sigma > 0.0 and beta < math.inf):
        return math.inf
    end = max(radius, 2.0 * sigma / beta) if beta > 0.0 else max(radius, 4.0 * budget / sigma)
    extended = lipschitz if end <= radius else (*lipschitz, (end, beta))
    profile = singular_value_profile(sigma, extended)
    available = profile.integral_lower(profile.radius)
    return budget / available if available > 0.0 else math.inf
