"""T7: descent down to a target loss, where the gradient need not be steep below the target."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from talweg.enclosure import Interval
from talweg.theory._arguments import (
    assumed_names,
    fraction,
    lower_bound,
    positive,
    upper_bound,
)
from talweg.theory._ball import convergence_criterion, descent_rate_lower, descent_step_lower
from talweg.theory._bounds import RadiusBound
from talweg.theory._logarithm import steps_to_shrink_upper
from talweg.theory._profile import LowerProfile
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "T7 (liu2020, PL*_eps)"
PREMISES = (
    "initial_gap_upper", "target_gap_lower", "profile", "smoothness", "gradient_norm",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TargetReached:
    """What T7 proves: some iterate k <= steps has f(w_k) <= t. Nothing about later iterates.

    Attributes:
        radius_upper: R_t; iterates before the first that meets the target are in B(w0, R_t).
        final_radius_upper: the first iterate that meets the target is in this ball.
        step_size: the step that `steps_upper` speaks of; 0 when the start meets the target and
            no step was named.
        one_minus_rate_lower: until the target, f - f* shrinks by the factor 1 - this per step.
        steps_upper: a whole number, may be inf; 0 when the start meets the target.
    """

    radius_upper: float
    final_radius_upper: float
    step_size: float
    one_minus_rate_lower: float
    steps_upper: float


def target_loss_reached(
    initial_gap_upper: float,
    target_gap_lower: float,
    profile: LowerProfile,
    smoothness: RadiusBound,
    gradient_norm: RadiusBound,
    *,
    epsilon: float,
    step_size: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[TargetReached]:
    """Gradient descent reaches loss t > f* within a proved number of steps (T7).

    With |grad f| >= a(|w - w0|) sqrt(f - f*) where t < f <= f(w0) on B(w0, R): if

        (1 - eps) int_0^R a > 2 sqrt(f(w0) - f*) - 2 sqrt(t - f*),   R_t the radius of equality,
        eta <= 2 eps / M,   M valid on B(w0, R_t + eta G) where f <= f(w0),

    the first k with f(w_k) <= t obeys
    k <= ceil(log((f(w0) - f*) / (t - f*)) / -log(1 - delta)), delta = (1 - eps) eta a(R_t)^2.

    Source: T7; liu2020's PL*_eps with a profile and the last step's overshoot accounted for;
    proof in docs/theory/T7.md.

    Args:
        initial_gap_upper: upper bound of f(w0) - f*, where f >= f* on B(w0, R_t + eta G).
        target_gap_lower: lower bound of t - f*.
        profile: a.
        smoothness: M as a function of the radius, wherever f <= f(w0).
        gradient_norm: G, bounds |grad f| on B(w0, radius) where t < f <= f(w0).
        epsilon: in (0, 1), the share of the descent given up to the step.
        step_size: the step to verify; None asks for a certified one near the largest.
        assumed: premises only assumed: names of the first five arguments.

    Returns:
        PROVED with the numbers, or UNDECIDED naming the hypothesis: a premise, `criterion`,
        `rate_positive` or `step_size`.

    Raises:
        InputError: NaN, a negative gap, epsilon outside (0, 1), a step that is not positive.
    """
    call = "target_loss_reached"
    gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
    target = lower_bound(target_gap_lower, "target_gap_lower", call)
    share = 1.0 - Interval.point(fraction(epsilon, "epsilon", call))
    step = None if step_size is None else positive(step_size, "step_size", call)
    trusted = assumed_names(assumed, PREMISES, call)

    above = Hypothesis.above("target_gap_lower", "t - f* >= value > 0", target, 0.0)
    if above.holds and gap <= target:
        start = Hypothesis.below("initial_gap_upper", "f(w0) <= t", gap, target, strict=False)
        return decide(SOURCE, [above, start], trusted, lambda: met_at_start(step))
    budget = target_budget_upper(gap, target, epsilon)
    statement = "(2 sqrt(f(w0) - f*) - 2 sqrt(t - f*)) / (1 - eps) < int_0^R a"
    hypotheses = [above, *convergence_criterion(gap, budget, profile, statement)]
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    radius = profile.first_radius_upper(budget)  # >= R_t
    a = profile.value_lower(radius)
    g = gradient_norm.upper(radius)
    m = smoothness.upper(radius)
    hypotheses += [
        Hypothesis.known("gradient_norm", "G on B(w0, R_t) <= value < inf", g),
        Hypothesis.known("smoothness", "M on B(w0, R_t) <= value < inf", m),
    ]
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    eta = _step_with_overshoot(epsilon, smoothness, radius, g) if step is None else step
    last = _last_radius_upper(radius, eta, g)
    delta = descent_rate_lower(share, eta, a)
    hypotheses += [
        Hypothesis.above("rate_positive", "(1 - eps) eta a(R_t)^2 > 0", delta, 0.0),
        Hypothesis.below("step_size", "0 < eta <= 2 eps / M, M on B(w0, R_t + eta G)",
                         eta, descent_step_lower(epsilon, smoothness.upper(last)), strict=False),
    ]  # fmt: skip

    def conclusion() -> TargetReached:
        ratio = (Interval.point(gap) / Interval.point(target)).hi
        return TargetReached(
            radius_upper=radius,
            final_radius_upper=last,
            step_size=eta,
            one_minus_rate_lower=delta,
            steps_upper=steps_to_shrink_upper(ratio, delta),
        )

    return decide(SOURCE, hypotheses, trusted, conclusion)


def target_budget_upper(gap: float, target: float, epsilon: float) -> float:
    """``(2 sqrt(f(w0) - f*) - 2 sqrt(t - f*)) / (1 - eps)``, rounded up, at least 0.

    Args:
        gap: f(w0) - f* from above.
        target: t - f* from below.
        epsilon: in (0, 1).
    """
    start, goal = Interval.point(gap).sqrt(), Interval.point(max(target, 0.0)).sqrt()
    budget = (2.0 * (start - goal) / (1.0 - Interval.point(epsilon))).hi
    return max(budget, 0.0)


def met_at_start(step: float | None) -> TargetReached:
    """The conclusion when f(w0) <= t: no step is needed.

    Args:
        step: the step that was asked about, if any.
    """
    return TargetReached(0.0, 0.0, 0.0 if step is None else step, 0.0, 0.0)


def _last_radius_upper(radius: float, eta: float, g: float) -> float:
    """R_t + eta G, rounded up."""
    return (Interval.point(radius) + Interval.point(eta) * g).hi


def _step_with_overshoot(epsilon: float, smoothness: RadiusBound, radius: float, g: float) -> float:
    """A step with eta <= 2 eps / M(R_t + eta G); M grows with eta, so shrink until it fits."""
    eta = descent_step_lower(epsilon, smoothness.upper(radius))
    for _ in range(100):
        allowed = descent_step_lower(epsilon, smoothness.upper(_last_radius_upper(radius, eta, g)))
        if eta <= allowed:
            return eta
        eta = max(allowed, 0.5 * eta)
    return 0.0
