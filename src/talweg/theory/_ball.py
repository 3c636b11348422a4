"""T1 and T2: a gradient that is steep enough for long enough brings descent to the bottom."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, fraction, positive, upper_bound
from talweg.theory._bounds import RadiusBound
from talweg.theory._logarithm import LOG_2, steps_to_shrink_upper
from talweg.theory._profile import LowerProfile
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE_DESCENT = "T1 (sharpens chatterjee2022, thm 1.2)"
SOURCE_FLOW = "T2 (sharpens chatterjee2022, thm 1.1)"


@dataclass(frozen=True, slots=True)
class DescentConvergence:
    """What T1 proves: iterates stay in B(w0, radius) and converge to some w* with f(w*) = f*.

    Attributes:
        radius_upper: R*, bounds the length of the whole path.
        profile_lower: a(R*).
        smoothness_upper: M, the Lipschitz modulus of grad f where f <= f(w0) on B(w0, R*).
        step_size: the step that the rates speak of; every step in (0, step_size] converges.
        loss_rate_upper: f_{k+1} - f* <= rate (f_k - f*).
        one_minus_rate_lower: delta = (1 - eps) eta a(R*)^2 from below.
        halving_steps_upper: after so many steps f - f* is at most half; whole, may be inf.
        distance_upper: |w_k - w*| <= distance rate^{k/2}.
    """

    radius_upper: float
    profile_lower: float
    smoothness_upper: float
    step_size: float
    loss_rate_upper: float
    one_minus_rate_lower: float
    halving_steps_upper: float
    distance_upper: float


@dataclass(frozen=True, slots=True)
class FlowConvergence:
    """What T2 proves: the flow stays in B(w0, radius) and converges to some w* with f(w*) = f*.

    Attributes:
        radius_upper: R*, bounds the length of the whole path.
        profile_lower: a(R*).
        exponent_lower: f(w(t)) - f* <= e^{-exponent t} (f(w0) - f*), exponent = a(R*)^2.
        halving_time_upper: after this time f - f* is at most half.
        distance_upper: |w(t) - w*| <= distance e^{-exponent t / 2}.
    """

    radius_upper: float
    profile_lower: float
    exponent_lower: float
    halving_time_upper: float
    distance_upper: float


def gradient_descent_converges_in_ball(
    initial_gap_upper: float,
    profile: LowerProfile,
    smoothness: RadiusBound,
    *,
    epsilon: float,
    step_size: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[DescentConvergence]:
    """Gradient descent reaches f* inside a ball (T1).

    With D = f - f* >= 0 and |grad f(w)| >= a(|w - w0|) sqrt(D(w)) on B(w0, R): if

        (1 - eps) int_0^R a > 2 sqrt(D_0),   R* the radius of equality,   eta <= 2 eps / M,

    the path is no longer than R*, D_k <= (1 - delta)^k D_0 with delta = (1 - eps) eta a(R*)^2, and
    |w_k - w*| <= 2 sqrt(D_0) (1 - delta)^{k/2} / ((1 - eps) a(R*)).

    Source: T1; chatterjee2022 theorem 1.2 with a profile in place of a constant and without the
    second ball and the dimension in the step; proof in docs/theory/T1.md.

    Args:
        initial_gap_upper: upper bound of f(w0) - f*, where f >= f* on B(w0, R).
        profile: a, with a(rho) sqrt(D) <= |grad f| at distance rho (needed where f <= f(w0)).
        smoothness: M as a function of the radius: on B(w0, radius), wherever f <= f(w0), the local
            Lipschitz modulus of grad f.
        epsilon: share of the descent given up to the step, in (0, 1). No default: 1/2 allows the
            largest rate, a small one the largest loss.
        step_size: the step to verify; None asks for the largest certified one.
        assumed: premises only assumed, out of `initial_gap_upper`, `profile`, `smoothness`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming the hypothesis: `initial_gap_upper`,
        `profile`, `criterion`, `smoothness`, `rate_positive` or `step_size`.

    Raises:
        InputError: NaN, a negative gap, epsilon outside (0, 1), a step that is not positive.
    """
    call = "gradient_descent_converges_in_ball"
    gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
    share = 1.0 - Interval.point(fraction(epsilon, "epsilon", call))
    step = None if step_size is None else positive(step_size, "step_size", call)
    trusted = assumed_names(assumed, ("initial_gap_upper", "profile", "smoothness"), call)

    budget = descent_budget_upper(gap, epsilon)
    hypotheses = convergence_criterion(
        gap, budget, profile, "2 sqrt(f(w0) - f*) / (1 - eps) < int_0^R a"
    )
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE_DESCENT, hypotheses, trusted)

    radius = profile.first_radius_upper(budget)  # >= R*
    a = profile.value_lower(radius)  # <= a(R*)
    m = smoothness.upper(radius)
    hypotheses.append(Hypothesis.known("smoothness", "M on B(w0, R*) <= value < inf", m))
    if not hypotheses[-1].holds:
        return decide(SOURCE_DESCENT, hypotheses, trusted)

    largest = descent_step_lower(epsilon, m)
    eta = largest if step is None else step
    delta = descent_rate_lower(share, eta, a)
    hypotheses += [
        Hypothesis.above("rate_positive", "(1 - eps) eta a(R*)^2 > 0", delta, 0.0),
        Hypothesis.below("step_size", "0 < eta <= 2 eps / M", eta, largest, strict=False),
    ]

    def conclusion() -> DescentConvergence:
        return DescentConvergence(
            radius_upper=radius,
            profile_lower=a,
            smoothness_upper=m,
            step_size=eta,
            loss_rate_upper=(1.0 - Interval.point(delta)).hi,
            one_minus_rate_lower=delta,
            halving_steps_upper=steps_to_shrink_upper(2.0, delta),
            distance_upper=(Interval.point(budget) / Interval.point(a)).hi,
        )

    return decide(SOURCE_DESCENT, hypotheses, trusted, conclusion)


def gradient_flow_converges_in_ball(
    initial_gap_upper: float, profile: LowerProfile, *, assumed: Iterable[str] = ()
) -> Verdict[FlowConvergence]:
    """Gradient flow ``w' = -grad f(w)`` reaches f* inside a ball (T2).

    T1 with eps = 0 and D(w(t)) <= e^{-a(R*)^2 t} D_0; f of class C^1 suffices.

    Source: T2; chatterjee2022 theorem 1.1 with a profile; proof in docs/theory/T2.md.

    Args:
        initial_gap_upper: upper bound of f(w0) - f*, where f >= f* on B(w0, R).
        profile: a, with a(rho) sqrt(D) <= |grad f| at distance rho (needed where f <= f(w0)).
        assumed: premises only assumed, out of `initial_gap_upper`, `profile`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming `initial_gap_upper`, `profile`, `criterion`
        or `rate_positive`.

    Raises:
        InputError: NaN, a negative gap.
    """
    call = "gradient_flow_converges_in_ball"
    gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
    trusted = assumed_names(assumed, ("initial_gap_upper", "profile"), call)

    budget = (2.0 * Interval.point(gap).sqrt()).hi
    hypotheses = convergence_criterion(gap, budget, profile, "2 sqrt(f(w0) - f*) < int_0^R a")
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE_FLOW, hypotheses, trusted)

    radius = profile.first_radius_upper(budget)
    a = profile.value_lower(radius)
    rate = max(Interval.point(a).square().lo, 0.0)
    hypotheses.append(Hypothesis.above("rate_positive", "a(R*)^2 > 0", rate, 0.0))

    def conclusion() -> FlowConvergence:
        return FlowConvergence(
            radius_upper=radius,
            profile_lower=a,
            exponent_lower=rate,
            halving_time_upper=(LOG_2 / Interval.point(rate)).hi,
            distance_upper=(Interval.point(budget) / Interval.point(a)).hi,
        )

    return decide(SOURCE_FLOW, hypotheses, trusted, conclusion)


def descent_step_lower(epsilon: float, smoothness_upper: float) -> float:
    """The largest step of T1, ``2 eps / M``, rounded down; 0 when M is 0 or inf.

    Args:
        epsilon: in (0, 1).
        smoothness_upper: M, >= 0. With M = 0 the loss is affine and no step is singled out.
    """
    if not 0.0 < smoothness_upper < float("inf"):
        return 0.0
    return max((2.0 * Interval.point(epsilon) / Interval.point(smoothness_upper)).lo, 0.0)


def descent_rate_lower(share: Interval, eta: float, profile_lower: float) -> float:
    """The rate delta = (1 - eps) eta a^2 rounded down, in [0, 1] (above 1 only if D_0 = 0).

    Args:
        share: 1 - eps.
        eta: the step, >= 0.
        profile_lower: a(R*), from below.
    """
    delta = (share * eta * Interval.point(profile_lower).square()).lo
    return min(max(delta, 0.0), 1.0)


def descent_budget_upper(gap: float, epsilon: float) -> float:
    """What int_0^R a has to exceed, ``2 sqrt(D_0) / (1 - eps)``, rounded up.

    Args:
        gap: upper bound of D_0.
        epsilon: in (0, 1).
    """
    return (2.0 * Interval.point(gap).sqrt() / (1.0 - Interval.point(epsilon))).hi


def convergence_criterion(
    gap: float, budget: float, profile: LowerProfile, statement: str
) -> list[Hypothesis]:
    """The premises on gap and profile, and the budget against the whole integral.

    Args:
        gap: upper bound of D_0.
        budget: what the integral has to exceed, rounded up.
        profile: the lower profile a.
        statement: the criterion as a formula.
    """
    available = profile.integral_lower(profile.radius)
    return [
        Hypothesis.known("initial_gap_upper", "0 <= f(w0) - f* <= value < inf", gap),
        Hypothesis.above("profile", "|grad f| >= a sqrt(f - f*) on B(w0, R), a(0) = value > 0",
                         profile.value_lower(0.0), 0.0),
        Hypothesis.below("criterion", statement, budget, available),
    ]  # fmt: skip
