"""The search for radii at which the Lipschitz bound is evaluated, and the theorem on the result.

Every evaluation of beta(R) costs operator norms, so as few radii as possible are used: one just
beyond the radius that the criterion needs, when the bound has hardly grown there, else a few
nested ones that catch its growth. The search is heuristic; only the theorem on its result counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from talweg._errors import InputError
from talweg.certificate._bounds import MeasuredBounds
from talweg.theory import (
    DescentConvergence,
    SingularValueProfile,
    SquaredLoss,
    SquaredLossConvergence,
    TargetReached,
    Verdict,
    composite_loss_converges,
    singular_value_profile,
    squared_loss_converges,
    squared_loss_target_reached,
)

TheoremId = Literal["T11", "T4", "T7"]
Profile = tuple[tuple[float, float], ...]
Conclusion = SquaredLossConvergence | DescentConvergence | TargetReached

NESTED_FRACTIONS = (0.125, 0.25, 0.5, 1.0)
"""Of the radius where the profile would end without growth."""

LEAST_RADIUS = 1e-150
"""Radii are positive; far below anything that matters, far above underflow."""

GROWTH_WORTH_NESTING = 1.02
"""Ratio beta(R)/beta(0) beyond which nested radii pay for themselves."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """One theorem evaluated on one profile.

    Attributes:
        theorem: Its id.
        verdict: What it says.
        lipschitz: The pairs (radius, beta) that it used.
        epsilon: T4's epsilon, else None.
        missing_factor: ``|r_0|`` over the largest residual that the criterion would admit here
            (to zero loss), a float estimate: below 1 when it holds.
    """

    theorem: TheoremId
    verdict: Verdict[Conclusion]
    lipschitz: Profile
    epsilon: float | None
    missing_factor: float


def evaluate_theorem(
    bounds: MeasuredBounds,
    loss: SquaredLoss,
    theorem: TheoremId,
    target: float | None,
) -> Outcome:
    """Choose radii, then evaluate the theorem on them.

    Args:
        bounds: Padded bounds at the weights.
        loss: The user's loss.
        theorem: Which theorem.
        target: The target loss of T7, else None.
    """
    sigma = bounds.sigma_min_lower
    beta_0 = bounds.lipschitz_upper(0.0)
    if not (sigma > 0.0 and beta_0 < math.inf):
        return _outcome(bounds, (_pair(bounds, 1.0),), loss, theorem, target)
    need = _need(bounds, loss, theorem, target)
    # beta(0) may vanish although beta(R) does not (tanh at zero), so it says nothing about large
    # radii; without growth the criterion would need need / sigma.
    end = max(4.0 * need / sigma, LEAST_RADIUS)
    if beta_0 * end > sigma:
        end = max(sigma / beta_0, LEAST_RADIUS)
    if need * 2.0 * beta_0 >= sigma * sigma:
        # Hopeless for every radius, because beta grows; one is enough for the missing factor.
        return _outcome(bounds, (_pair(bounds, end),), loss, theorem, target)
    single = _single_radius(bounds, need, beta_0)
    if single is not None:
        outcome = _outcome(bounds, single, loss, theorem, target)
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
    return _outcome(bounds, _trimmed(sigma, profile, need), loss, theorem, target)


def _pair(bounds: MeasuredBounds, radius: float) -> tuple[float, float]:
    """A radius with beta evaluated on that very ball: the only way a pair enters a profile."""
    return radius, bounds.lipschitz_upper(radius)


def _need(
    bounds: MeasuredBounds, loss: SquaredLoss, theorem: TheoremId, target: float | None
) -> float:
    """What ``int_0^R s`` has to reach, with some room for the last step of T7."""
    if theorem == "T7" and target is not None:
        return max(bounds.residual_norm_upper - 0.9 * loss.residual_norm_lower(target), 0.0)
    if theorem == "T4":
        return 1.02 * bounds.residual_norm_upper
    return bounds.residual_norm_upper


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


def _outcome(
    bounds: MeasuredBounds,
    lipschitz: Profile,
    loss: SquaredLoss,
    theorem: TheoremId,
    target: float | None,
) -> Outcome:
    profile = singular_value_profile(bounds.sigma_min_lower, lipschitz)
    r0, norm = bounds.residual_norm_upper, bounds.jacobian_norm_upper
    available = profile.integral_lower(profile.radius)
    epsilon: float | None = None
    verdict: Verdict[Conclusion]
    if theorem == "T11":
        verdict = squared_loss_converges(r0, profile, norm, loss=loss)
    elif theorem == "T7":
        if target is None:
            raise InputError("theorem T7 of certify() needs target=...; got None. Name a loss.")
        verdict = squared_loss_target_reached(r0, target, profile, norm, loss=loss)
    else:
        epsilon = _epsilon(r0, available)
        verdict = _composite(bounds, profile, loss, epsilon)
    return Outcome(theorem, verdict, lipschitz, epsilon, _missing_factor(bounds, lipschitz))


def _epsilon(r0: float, available: float) -> float:
    """T4's epsilon: the rate goes with epsilon (1 - epsilon), so 1/2 where the criterion allows it.

    Else half of what it allows; 1/2 again where no epsilon would do.
    """
    if 0.5 * available <= r0 < available:
        return max(0.5 * (1.0 - r0 / available), 1e-3)
    return 0.5


def _missing_factor(bounds: MeasuredBounds, lipschitz: Profile) -> float:
    """``|r_0| / int s`` with the last beta continued to where s vanishes."""
    sigma, r0 = bounds.sigma_min_lower, bounds.residual_norm_upper
    radius, beta = lipschitz[-1]
    if not (sigma > 0.0 and beta < math.inf):
        return math.inf
    end = max(radius, 2.0 * sigma / beta) if beta > 0.0 else max(radius, 4.0 * r0 / sigma)
    extended = lipschitz if end <= radius else (*lipschitz, (end, beta))
    profile = singular_value_profile(sigma, extended)
    available = profile.integral_lower(profile.radius)
    return r0 / available if available > 0.0 else math.inf


def _composite(
    bounds: MeasuredBounds, profile: SingularValueProfile, loss: SquaredLoss, epsilon: float
) -> Verdict[DescentConvergence]:
    """T4 for a squared loss, on the scale of ``loss``."""
    return composite_loss_converges(
        loss.loss_upper(bounds.residual_norm_upper),
        profile,
        profile.jacobian_norm(bounds.jacobian_norm_upper),
        profile.lipschitz,
        pl_lower=loss.pl_lower,
        smoothness_upper=loss.smoothness_upper,
        epsilon=epsilon,
    )
