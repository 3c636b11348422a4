"""E3: strict saddles, and the starts from which plain gradient descent never leaves one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, lower_bound, positive, upper_bound
from talweg.theory._singular_values import singular_value_profile
from talweg.theory._smooth_pl import SmoothPLConvergence, smooth_pl_descent_converges
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE_NEARBY = "E3, a strict saddle nearby (lecture)"
SOURCE_STUCK = "E3, plain gradient descent on a stable manifold (lecture)"


@dataclass(frozen=True, slots=True)
class StrictSaddle:
    """What is proved of a point x with a small gradient.

    Attributes:
        distance_upper: some x* with grad f(x*) = 0 lies within this distance of x.
        negative_curvature_lower: lambda_min(D^2 f(x*)) is at most minus this, which is > 0.
    """

    distance_upper: float
    negative_curvature_lower: float


@dataclass(frozen=True, slots=True)
class StuckAtSaddle:
    """What is proved of gradient descent started in an invariant subspace.

    Attributes:
        within: convergence of f restricted to the subspace, to some w* in it.
        negative_curvature_lower: lambda_min(D^2 f(w*)) is at most minus this, which is > 0.
    """

    within: SmoothPLConvergence
    negative_curvature_lower: float


def strict_saddle_nearby(
    gradient_norm_upper: float,
    singular_value_lower: float,
    negative_curvature_lower: float,
    hessian_lipschitz_upper: float,
    *,
    assumed: Iterable[str] = (),
) -> Verdict[StrictSaddle]:
    """Near a point with a small gradient and negative curvature there is a strict saddle (E3).

    With H = D^2 f(x), sigma <= sigma_min(H), lambda_min(H) <= -gamma < 0 and D^2 f rho-Lipschitz
    around x: if

        |grad f(x)| < sigma^2 / (2 rho),   R* = (sigma - sqrt(sigma^2 - 2 rho |grad f(x)|)) / rho,
        gamma - rho R* > 0,

    some x* within R* of x has grad f(x*) = 0 and lambda_min(D^2 f(x*)) <= -(gamma - rho R*) < 0.
    A strict saddle is such a point; a strict local maximum counts as one.

    Source: E3; T11 applied to F = grad f; proof in docs/theory/E3.md.

    Args:
        gradient_norm_upper: upper bound of |grad f(x)|.
        singular_value_lower: sigma, lower bound of the smallest |eigenvalue| of H.
        negative_curvature_lower: gamma, with lambda_min(H) <= -gamma.
        hessian_lipschitz_upper: rho, a Lipschitz constant of D^2 f on B(x, sigma / rho).
        assumed: premises only assumed, out of the four argument names.

    Returns:
        PROVED with the numbers, or UNDECIDED naming a premise, `criterion` or `still_negative`.

    Raises:
        InputError: NaN, a negative norm.
    """
    call = "strict_saddle_nearby"
    gradient = upper_bound(gradient_norm_upper, "gradient_norm_upper", call)
    sigma = lower_bound(singular_value_lower, "singular_value_lower", call)
    gamma = lower_bound(negative_curvature_lower, "negative_curvature_lower", call)
    rho = upper_bound(hessian_lipschitz_upper, "hessian_lipschitz_upper", call)
    premises = (
        "gradient_norm_upper", "singular_value_lower", "negative_curvature_lower",
        "hessian_lipschitz_upper",
    )  # fmt: skip
    trusted = assumed_names(assumed, premises, call)

    hypotheses = [
        Hypothesis.known("gradient_norm_upper", "|grad f(x)| <= value < inf", gradient),
        Hypothesis.above("singular_value_lower", "sigma_min(D^2 f(x)) >= value > 0", sigma, 0.0),
        negative_curvature(gamma, "x"),
        Hypothesis.known("hessian_lipschitz_upper", "D^2 f is value-Lipschitz around x", rho),
    ]
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE_NEARBY, hypotheses, trusted)

    profile = singular_value_profile(sigma, [(math.inf, rho)])
    available = profile.integral_lower(profile.radius)
    hypotheses.append(
        Hypothesis.below("criterion", "|grad f(x)| < sigma^2 / (2 rho)", gradient, available)
    )
    if not hypotheses[-1].holds:
        return decide(SOURCE_NEARBY, hypotheses, trusted)

    distance = profile.first_radius_upper(gradient)  # >= R*
    curvature = (Interval.point(gamma) - Interval.point(rho) * distance).lo
    hypotheses.append(Hypothesis.above("still_negative", "gamma - rho R* > 0", curvature, 0.0))

    def conclusion() -> StrictSaddle:
        return StrictSaddle(distance, curvature)

    return decide(SOURCE_NEARBY, hypotheses, trusted, conclusion)


def descent_stuck_at_saddle(
    initial_gap_upper: float,
    smoothness_upper: float,
    pl_lower: float,
    normal_gradient_upper: float,
    negative_curvature_lower: float,
    *,
    step_size: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[StuckAtSaddle]:
    """Plain gradient descent started in an invariant subspace converges to a strict saddle (E3).

    Let V be an affine subspace with grad f(w) parallel to V for every w in V, f on V L-smooth and
    mu-PL with infimum m, and lambda_min(D^2 f) <= -gamma < 0 wherever f = m on V. From w0 in V the
    iterates of w+ = w - eta grad f(w), 0 < eta < 2/L, stay in V and converge to such a point: they
    never escape, however long they run. Every point of V belongs to a saddle's stable manifold;
    where f = m at more than one point of V, the limit depends on the start.

    Source: E3; E1 on V; proof in docs/theory/E3.md.

    Args:
        initial_gap_upper: upper bound of f(w0) - m.
        smoothness_upper: L, a Lipschitz constant of the gradient of f restricted to V.
        pl_lower: mu, with 1/2 |grad f|^2 >= mu (f - m) on V.
        normal_gradient_upper: upper bound, over V, of the part of grad f that points out of V;
            the theorem needs 0, as a symmetry gives it.
        negative_curvature_lower: gamma, with lambda_min(D^2 f) <= -gamma where f = m on V.
        step_size: eta; None takes 1/L.
        assumed: premises only assumed, out of the five first argument names.

    Returns:
        PROVED with the numbers, or UNDECIDED naming a premise, `step_size` or `rate_positive`.

    Raises:
        InputError: NaN, a negative norm, a step that is not positive, or mu > L.
    """
    call = "descent_stuck_at_saddle"
    normal = upper_bound(normal_gradient_upper, "normal_gradient_upper", call)
    gamma = lower_bound(negative_curvature_lower, "negative_curvature_lower", call)
    step = None if step_size is None else positive(step_size, "step_size", call)
    premises = (
        "initial_gap_upper", "smoothness_upper", "pl_lower", "normal_gradient_upper",
        "negative_curvature_lower",
    )  # fmt: skip
    trusted = assumed_names(assumed, premises, call)

    inner = smooth_pl_descent_converges(
        initial_gap_upper, smoothness_upper, pl_lower, step_size=step
    )
    hypotheses = [
        *inner.hypotheses,
        Hypothesis.below("normal_gradient_upper", "grad f is parallel to V on V: value <= 0",
                         normal, 0.0, strict=False),
        negative_curvature(gamma, "every w in V with f(w) = m"),
    ]  # fmt: skip
    within = inner.conclusion
    if within is None:
        return decide(SOURCE_STUCK, hypotheses, trusted)

    def conclusion() -> StuckAtSaddle:
        return StuckAtSaddle(within, gamma)

    return decide(SOURCE_STUCK, hypotheses, trusted, conclusion)


def negative_curvature(gamma: float, where: str) -> Hypothesis:
    """The premise that the Hessian has a negative eigenvalue.

    Args:
        gamma: lower bound of minus the smallest eigenvalue.
        where: at which points, in words.
    """
    return Hypothesis.above(
        "negative_curvature_lower", f"-lambda_min(D^2 f) >= value > 0 at {where}", gamma, 0.0
    )
