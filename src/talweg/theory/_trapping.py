"""T6: around a solution with a regular Jacobian, the criterion holds at every point of a ball.

With sigma = sigma_min(J(w*)), Sigma = |J(w*)|, s(t) = sigma - int_0^t beta on B(w*, R) and
d = |w - w*|, T11's criterion at w follows from the bounds at w*:

    |r(w)| <= int_0^d (Sigma + int_0^t beta) dt = (Sigma + sigma) d - int_0^d s,
    sigma_min(J) at distance rho from w  >=  s(d + rho),

so |r(w)| < int_0^{R - d} s(d + .) as soon as (Sigma + sigma) d < int_0^R s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, fraction, lower_bound, positive, upper_bound
from talweg.theory._losses import HALF_SUM, SquaredLoss
from talweg.theory._singular_values import SingularValueProfile
from talweg.theory._squared import largest_step_lower, require_compatible_norms
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "T6 with T11 (completeness; ours)"
SOURCE_COMPOSITE = "T6 with T4 (completeness; ours)"
PREMISES = ("sigma_min_lower", "jacobian_norm_upper", "jacobian_lipschitz")
_HALVINGS = 128  # of a radius in search of one that allows the step; then it is given up


@dataclass(frozen=True, slots=True)
class TrappingRadius:
    """What T6 proves: at every w with |w - w*| < radius the criterion holds for this step.

    Attributes:
        radius_lower: d_0; inf where the model is linear.
        ball_radius_upper: descent started in B(w*, d_0) never leaves this ball around w*.
        step_size: learning rate on the stated loss; smaller ones are covered as well.
        epsilon: share given up to the step (T4); None for T11.
    """

    radius_lower: float
    ball_radius_upper: float
    step_size: float
    epsilon: float | None = None


def squared_loss_trapping_radius(
    profile: SingularValueProfile,
    jacobian_norm_upper: float,
    *,
    step_size: float,
    loss: SquaredLoss = HALF_SUM,
    assumed: Iterable[str] = (),
) -> Verdict[TrappingRadius]:
    """Every start near a regular solution meets T11's criterion (T6, squared loss).

    F(w*) = y and all bounds are taken at w*. With eta (Sigma + int_0^R beta)^2 <= 1,

        |w - w*| < d_0 = int_0^R s / (sigma + Sigma)   implies   |r(w)| < int_0^{R-d} s(d + .),

    which is T11 at w: descent with step eta stays in B(w*, R) and reaches zero loss. With constant
    beta and a small step d_0 = sigma^2 / (2 beta (sigma + Sigma)).

    Source: T6; the converse side of T11, our own; proof in docs/theory/T6.md.

    Args:
        profile: s around w*, from ``singular_value_profile(sigma_min_lower, lipschitz)`` at w*.
        jacobian_norm_upper: Sigma, upper bound of |J(w*)|.
        step_size: learning rate on `loss`; it needs eta |J(w*)|^2 < 1. For steps up to twice that
            see `composite_loss_trapping_radius`.
        loss: scaling of the loss that the step speaks of.
        assumed: premises only assumed: `sigma_min_lower`, `jacobian_norm_upper`,
            `jacobian_lipschitz`.

    Returns:
        PROVED with d_0, or UNDECIDED naming a premise or `step_size`.

    Raises:
        InputError: NaN, a negative norm, a step that is not finite and positive, or
            sigma_min_lower > jacobian_norm_upper.
    """
    call = "squared_loss_trapping_radius"
    norm = upper_bound(jacobian_norm_upper, "jacobian_norm_upper", call)
    lr = positive(step_size, "step_size", call)
    trusted = assumed_names(assumed, PREMISES, call)
    require_compatible_norms(profile.sigma_min_lower, norm, call)
    hypotheses = _premises(profile, norm)
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    eta = loss.theory_step(lr).hi
    jacobian = profile.jacobian_norm(norm)
    radius = _radius_allowing(
        lambda rho: eta <= largest_step_lower(jacobian.upper(rho)), profile.radius
    )
    hypotheses.append(
        Hypothesis.below("step_size", "eta |J(w*)|^2 < 1", eta, largest_step_lower(norm))
    )
    hypotheses.append(_room(radius))

    def conclusion() -> TrappingRadius:
        distance = _distance_lower(profile, norm, radius, Interval.point(1.0))
        return TrappingRadius(distance, radius, lr)

    return decide(SOURCE, hypotheses, trusted, conclusion)


def composite_loss_trapping_radius(
    profile: SingularValueProfile,
    jacobian_norm_upper: float,
    *,
    pl_lower: float,
    smoothness_upper: float,
    epsilon: float,
    step_size: float,
    assumed: Iterable[str] = (),
) -> Verdict[TrappingRadius]:
    """Every start near a regular minimiser meets T4's criterion (T6, f = l o F).

    l(F(w*)) = l*, all bounds at w*, kappa = K_l / mu_l. If eta <= 2 eps / M with

        M = K_l [ (Sigma + int_0^R beta)^2 + (1 - eps) beta(R) int_0^R s / sqrt(kappa) ],

    then T4's criterion and step hold at every w with

        |w - w*| < d_0 = (1 - eps) int_0^R s / (sqrt(kappa) (sigma + Sigma)).

    For R -> 0 the step condition becomes eta K_l Sigma^2 < 2 eps, eps < 1: every step below
    2 / (K_l Sigma^2) is covered by some eps.

    Source: T6; proof in docs/theory/T6.md.

    Args:
        profile: s around w*.
        jacobian_norm_upper: Sigma.
        pl_lower: mu_l from below.
        smoothness_upper: K_l from above, for l on all of R^N.
        epsilon: in (0, 1).
        step_size: eta on f.
        assumed: premises only assumed, also `pl_lower`, `smoothness_upper`.

    Returns:
        PROVED with d_0, or UNDECIDED naming a premise or `step_size`.

    Raises:
        InputError: NaN, a negative bound, epsilon outside (0, 1), a step that is not positive,
            sigma_min_lower > jacobian_norm_upper, or pl_lower > smoothness_upper.
    """
    call = "composite_loss_trapping_radius"
    norm = upper_bound(jacobian_norm_upper, "jacobian_norm_upper", call)
    mu = lower_bound(pl_lower, "pl_lower", call)
    k = upper_bound(smoothness_upper, "smoothness_upper", call)
    eps = fraction(epsilon, "epsilon", call)
    eta = positive(step_size, "step_size", call)
    trusted = assumed_names(assumed, (*PREMISES, "pl_lower", "smoothness_upper"), call)
    require_compatible_norms(profile.sigma_min_lower, norm, call)
    if mu > k:
        raise _incompatible(call, mu, k)
    hypotheses = [
        *_premises(profile, norm),
        Hypothesis.above("pl_lower", "1/2 |grad l|^2 >= value (l - l*), value > 0", mu, 0.0),
        Hypothesis.known("smoothness_upper", "grad l is value-Lipschitz on R^N, value < inf", k),
    ]
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE_COMPOSITE, hypotheses, trusted)

    share = 1.0 - Interval.point(eps)
    root = (Interval.point(k) / Interval.point(mu)).sqrt()  # sqrt(kappa) >= 1

    def largest_step(rho: float) -> float:
        """The step 2 eps / M(rho), rounded down."""
        reach = Interval.point(profile.jacobian_norm(norm).upper(rho)).square()
        slope = profile.lipschitz.upper(rho)
        if slope > 0.0:
            # int_0^rho s <= sigma rho: an upper bound is needed here
            budget = Interval.point(profile.sigma_min_lower) * rho
            reach = reach + share * budget * slope / root.lo
        m = (Interval.point(k) * reach).hi
        return (2.0 * Interval.point(eps) / Interval.point(m)).lo if 0.0 < m < math.inf else 0.0

    radius = _radius_allowing(lambda rho: eta <= largest_step(rho), profile.radius)
    at_rest = (2.0 * Interval.point(eps) / (Interval.point(k) * Interval.point(norm).square())).lo
    hypotheses += [
        Hypothesis.below("step_size", "eta K_l |J(w*)|^2 < 2 eps", eta, max(at_rest, 0.0)),
        _room(radius),
    ]

    def conclusion() -> TrappingRadius:
        distance = _distance_lower(profile, norm, radius, share / root)
        return TrappingRadius(distance, radius, eta, eps)

    return decide(SOURCE_COMPOSITE, hypotheses, trusted, conclusion)


def _premises(profile: SingularValueProfile, norm: float) -> list[Hypothesis]:
    """What is known at w*: full row rank, a finite norm, a finite Lipschitz constant."""
    return [
        Hypothesis.above("sigma_min_lower", "sigma_min(J(w*)) >= value > 0",
                         profile.sigma_min_lower, 0.0),
        Hypothesis.known("jacobian_norm_upper", "|J(w*)| <= value < inf", norm),
        Hypothesis.known("jacobian_lipschitz", "|J(v) - J(w)| <= value |v - w| on B(w*, R)",
                         profile.lipschitz.upper(profile.radius)),
    ]  # fmt: skip


def _room(radius: float) -> Hypothesis:
    return Hypothesis.above(
        "radius", "the step is allowed on B(w*, value), value > 0 a float", radius, 0.0
    )


def _radius_allowing(allowed: Callable[[float], bool], end: float) -> float:
    """A radius in (0, end] at which the step is allowed, near the largest; 0 where none is found.

    Allowed is monotone: a step allowed on a ball is allowed on smaller ones. Halve until it is
    allowed, then bisect; every radius returned was itself tried.
    """
    if not end > 0.0:
        return 0.0
    if allowed(end):
        return end
    high = end if math.isfinite(end) else 1e300
    low = high
    for _ in range(_HALVINGS * (1 if math.isfinite(end) else 8)):
        low = 0.5 * high
        if allowed(low):
            break
        high = low
    else:
        return 0.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        if allowed(middle):
            low = middle
        else:
            high = middle
    return low


def _distance_lower(
    profile: SingularValueProfile, norm: float, radius: float, factor: Interval
) -> float:
    """The distance d_0 = factor int_0^R s / (sigma + Sigma), rounded down."""
    available = profile.integral_lower(radius)
    if math.isinf(available):
        return math.inf
    total = Interval.point(profile.sigma_min_lower) + Interval.point(norm)
    return max((factor * Interval.point(available) / total).lo, 0.0)


def _incompatible(call: str, mu: float, k: float) -> InputError:
    return InputError(
        f"`smoothness_upper` of {call}() must be at least pl_lower, because mu_l <= K_l for every "
        f"smooth loss with a minimum; got {k!r} against {mu!r}. One of the two is not the bound "
        "its name promises."
    )
