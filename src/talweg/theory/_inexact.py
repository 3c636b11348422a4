"""T9: descent along a gradient with an error, down to the floor that the error leaves.

    v_k = g_k + e_k,  |e_k| <= theta |g_k|:      <g, v> >= sqrt(1 - theta^2) |g| |v|,
                                                 <g, v> >= |v|^2 / (1 + theta).

An absolute error |e_k| <= e is such a relative one as long as the gradient is at least e / theta,
hence as long as the loss is above a floor. Nothing is claimed from the first iterate below it on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, fraction, positive, upper_bound
from talweg.theory._ball import convergence_criterion
from talweg.theory._bounds import RadiusBound
from talweg.theory._logarithm import steps_to_shrink_upper
from talweg.theory._profile import LowerProfile
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "T9 (T1 with an inexact gradient)"
PREMISES = ("initial_gap_upper", "profile", "smoothness", "gradient_error")


@dataclass(frozen=True, slots=True)
class FloorReached:
    """What T9 proves: until the loss is at the floor, iterates stay in the ball and f falls.

    With k' the first k with f(w_k) - f* <= floor: w_0, ..., w_{k'} lie in B(w0, radius), and
    f_{k+1} - f* <= rate (f_k - f*) for k < k'. Nothing is claimed about iterates after k'.

    Attributes:
        radius_upper: R*, bounds the length of the path up to w_{k'}.
        profile_lower: a(R*) (s(R*) for a squared loss).
        step_size: the one step that the conclusion speaks of.
        theta: the relative error allowed above the floor.
        gradient_error_upper: e on B(w0, R*), on the scale of the loss that `step_size` acts on.
        floor_upper: the floor of f - f*.
        loss_rate_upper: bounds (f_{k+1} - f*) / (f_k - f*) above the floor.
        one_minus_rate_lower: 1 - rate from below.
        halving_steps_upper: so many steps above the floor at least halve f - f*.
        steps_upper: k' is at most this; whole, may be inf.
    """

    radius_upper: float
    profile_lower: float
    step_size: float
    theta: float
    gradient_error_upper: float
    floor_upper: float
    loss_rate_upper: float
    one_minus_rate_lower: float
    halving_steps_upper: float
    steps_upper: float


def loss_floor_reached(
    initial_gap_upper: float,
    profile: LowerProfile,
    smoothness: RadiusBound,
    gradient_error: RadiusBound,
    *,
    theta: float,
    epsilon: float,
    step_size: float,
    assumed: Iterable[str] = (),
) -> Verdict[FloorReached]:
    """Gradient descent with inexact gradients stays in a ball and gets down to a floor (T9).

    w_{k+1} = w_k - eta (g_k + e_k) with |e_k| <= e on B(w0, R*) where f <= f(w0). If

        (1 - eps) sqrt(1 - theta^2) int_0^R a > 2 sqrt(f(w0) - f*),   R* the radius of equality,
        eta <= 2 eps / (M (1 + theta)),

    then up to the first k with f(w_k) - f* <= e^2 / (theta a(R*))^2 the iterates are in B(w0, R*)
    and f - f* falls by the factor 1 - delta per step, delta = kappa eta a(R*)^2 with

        kappa = min{ (1 - theta) (1 - eps (1 - theta) / (1 + theta)), (1 + theta) (1 - eps) }.

    Source: T9; proof in docs/theory/T9.md, which also says why the rate is not that of T1.

    Args:
        initial_gap_upper: upper bound of f(w0) - f*, where f >= f* on B(w0, R).
        profile: a, with a(rho) sqrt(f - f*) <= |grad f| at distance rho (where f <= f(w0)).
        smoothness: M as a function of the radius, wherever f <= f(w0).
        gradient_error: e as a function of the radius: bounds |e_k| for every iterate in
            B(w0, radius) with f <= f(w0), for a run with this very `step_size`.
        theta: in (0, 1); a larger one lowers the floor and slows the proved descent.
        epsilon: in (0, 1), the share of the descent given up to the step.
        step_size: eta > 0.
        assumed: premises only assumed: names of the first four arguments.

    Returns:
        PROVED with the numbers, or UNDECIDED naming the hypothesis: a premise, `criterion`,
        `step_size`, `rate_positive` or `floor` (the start is already at the floor).

    Raises:
        InputError: NaN, a negative gap, theta or epsilon outside (0, 1), a step not positive.
    """
    call = "loss_floor_reached"
    gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
    t = Interval.point(fraction(theta, "theta", call))
    eps = Interval.point(fraction(epsilon, "epsilon", call))
    eta = positive(step_size, "step_size", call)
    trusted = assumed_names(assumed, PREMISES, call)

    cosine = ((1.0 - t) * (1.0 + t)).sqrt()  # <g, v> >= cosine |g| |v|
    budget = (2.0 * Interval.point(gap).sqrt() / ((1.0 - eps) * cosine)).hi
    statement = "2 sqrt(f(w0) - f*) / ((1 - eps) sqrt(1 - theta^2)) < int_0^R a"
    hypotheses = convergence_criterion(gap, budget, profile, statement)
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    radius = profile.first_radius_upper(budget)  # >= R*
    a = profile.value_lower(radius)  # <= a(R*)
    m = smoothness.upper(radius)
    e = gradient_error.upper(radius)
    hypotheses += [
        Hypothesis.known("smoothness", "M on B(w0, R*) <= value < inf", m),
        Hypothesis.known("gradient_error", "|e_k| <= value < inf on B(w0, R*)", e),
    ]
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    largest = inexact_step_lower(epsilon, theta, m)
    kappa = ((1.0 - t) * (1.0 - eps * (1.0 - t) / (1.0 + t))).minimum((1.0 + t) * (1.0 - eps))
    delta = (kappa * eta * Interval.point(a).square()).lo
    delta = min(max(delta, 0.0), 1.0)
    floor = floor_upper(e, theta, a)
    hypotheses += [
        Hypothesis.below("step_size", "eta <= 2 eps / (M (1 + theta))", eta, largest, strict=False),
        Hypothesis.above("rate_positive", "kappa eta a(R*)^2 > 0", delta, 0.0),
        Hypothesis.below("floor", "(e / (theta a(R*)))^2 < f(w0) - f*", floor, gap),
    ]

    def conclusion() -> FloorReached:
        return FloorReached(
            radius_upper=radius,
            profile_lower=a,
            step_size=eta,
            theta=theta,
            gradient_error_upper=e,
            floor_upper=floor,
            loss_rate_upper=(1.0 - Interval.point(delta)).hi,
            one_minus_rate_lower=delta,
            halving_steps_upper=steps_to_shrink_upper(2.0, delta),
            steps_upper=steps_to_floor_upper(gap, floor, delta),
        )

    return decide(SOURCE, hypotheses, trusted, conclusion)


def inexact_step_lower(epsilon: float, theta: float, smoothness_upper: float) -> float:
    """The largest step of T9, ``2 eps / (M (1 + theta))``, rounded down; 0 when M is 0 or inf.

    Args:
        epsilon: in (0, 1).
        theta: in [0, 1).
        smoothness_upper: M, >= 0.
    """
    if not 0.0 < smoothness_upper < math.inf:
        return 0.0
    divisor = Interval.point(smoothness_upper) * (1.0 + Interval.point(theta))
    return max((2.0 * Interval.point(epsilon) / divisor).lo, 0.0)


def floor_upper(error: float, theta: float, steepness: float) -> float:
    """``(e / (theta a))^2`` rounded up; 0 without an error, inf without a slope.

    Args:
        error: e, >= 0, finite.
        theta: in (0, 1).
        steepness: a(R*), from below.
    """
    if error == 0.0:
        return 0.0
    slope = (Interval.point(theta) * steepness).lo
    return (Interval.point(error) / Interval.point(slope)).square().hi if slope > 0.0 else math.inf


def steps_to_floor_upper(start: float, floor: float, one_minus_rate: float) -> float:
    """After so many steps a quantity that shrinks by the rate is at the floor; inf if floor = 0.

    Args:
        start: its value at the start, from above.
        floor: >= 0.
        one_minus_rate: in [0, 1], from below.
    """
    if floor == 0.0:
        return math.inf
    ratio = (Interval.point(start) / Interval.point(floor)).hi
    return steps_to_shrink_upper(ratio, one_minus_rate)
