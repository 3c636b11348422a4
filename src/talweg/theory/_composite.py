"""T4: networks under a general smooth PL output loss, f = l o F, from T1 and T7."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, fraction, lower_bound, upper_bound
from talweg.theory._ball import (
    DescentConvergence,
    descent_budget_upper,
    gradient_descent_converges_in_ball,
)
from talweg.theory._bounds import RadiusBound
from talweg.theory._profile import LowerProfile, ScaledProfile
from talweg.theory._target import TargetReached, target_budget_upper, target_loss_reached
from talweg.theory._verdict import ConclusionT, Hypothesis, Verdict, decide

SOURCE = "T4 (sharpens liu2020 and chatterjee2022 for f = l o F)"
SOURCE_TARGET = "T7 with T4 (liu2020, PL*_eps)"
PREMISES = (
    "initial_gap_upper", "profile", "jacobian_norm", "jacobian_lipschitz", "pl_lower",
    "smoothness_upper",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CompositeSmoothness:
    """M(R) = K_l sigma_max(R)^2 + sqrt(2 K_l (f(w0) - l*)) beta(R), where f <= f(w0).

    Args:
        jacobian_norm: sigma_max, bounds |J| on balls.
        jacobian_lipschitz: beta, Lipschitz constants of J on balls.
        smoothness_upper: K_l.
        initial_gap_upper: f(w0) - l*.
    """

    jacobian_norm: RadiusBound
    jacobian_lipschitz: RadiusBound
    smoothness_upper: float
    initial_gap_upper: float

    def upper(self, radius: float) -> float:
        """M on B(w0, radius), rounded up.

        Args:
            radius: >= 0.
        """
        k = Interval.point(self.smoothness_upper)
        slope = _output_gradient(k, self.initial_gap_upper)
        curvature = k * Interval.point(self.jacobian_norm.upper(radius)).square()
        return (curvature + slope * self.jacobian_lipschitz.upper(radius)).hi


@dataclass(frozen=True, slots=True)
class CompositeGradientBound:
    """sup |grad f| <= sigma_max(R) sqrt(2 K_l (f(w0) - l*)) where f <= f(w0).

    Args:
        jacobian_norm: sigma_max, bounds |J| on balls.
        smoothness_upper: K_l.
        initial_gap_upper: f(w0) - l*.
    """

    jacobian_norm: RadiusBound
    smoothness_upper: float
    initial_gap_upper: float

    def upper(self, radius: float) -> float:
        """The bound on B(w0, radius), rounded up.

        Args:
            radius: >= 0.
        """
        slope = _output_gradient(Interval.point(self.smoothness_upper), self.initial_gap_upper)
        return (slope * self.jacobian_norm.upper(radius)).hi


def composite_loss_converges(
    initial_gap_upper: float,
    profile: LowerProfile,
    jacobian_norm: RadiusBound,
    jacobian_lipschitz: RadiusBound,
    *,
    pl_lower: float,
    smoothness_upper: float,
    epsilon: float,
    step_size: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[DescentConvergence]:
    """Gradient descent on f = l o F reaches inf l inside a ball (T4).

    l is K_l-smooth on all of R^N and mu_l-PL (1/2 |grad l|^2 >= mu_l (l - l*)) where l <= f(w0);
    s(rho) <= inf over B(w0, rho) of sigma_min(J). Criterion and step:

        (1 - eps) int_0^R s > sqrt(2 (f(w0) - l*) / mu_l),
        eta <= 2 eps / M,   M = K_l sigma_max(R*)^2 + sqrt(2 K_l (f(w0) - l*)) beta(R*).

    Source: T4, which is T1 with a = sqrt(2 mu_l) s; proof in docs/theory/T4.md.

    Args:
        initial_gap_upper: upper bound of f(w0) - l*; where l* is unknown, see
            `initial_gap_from_gradient_upper`.
        profile: s, for instance `singular_value_profile(...)`.
        jacobian_norm: sigma_max(R), for instance `profile.jacobian_norm(j0_upper)`.
        jacobian_lipschitz: beta(R), a Lipschitz constant of J on B(w0, R).
        pl_lower: mu_l from below.
        smoothness_upper: K_l from above.
        epsilon: in (0, 1), the share of the descent given up to the step.
        step_size: the step to verify; None asks for the largest certified one.
        assumed: premises only assumed: names of the arguments above.

    Returns:
        PROVED with the numbers of T1 (profile_lower is sqrt(2 mu_l) s(R*)), or UNDECIDED naming
        the hypothesis: a premise, `criterion`, `rate_positive` or `step_size`.

    Raises:
        InputError: NaN, a negative bound, epsilon outside (0, 1), a step that is not positive.
    """
    call = "composite_loss_converges"
    gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
    mu = lower_bound(pl_lower, "pl_lower", call)
    k = upper_bound(smoothness_upper, "smoothness_upper", call)
    trusted = assumed_names(assumed, PREMISES, call)
    budget = descent_budget_upper(gap, fraction(epsilon, "epsilon", call))
    scaled = _steepness(profile, mu)
    verdict = gradient_descent_converges_in_ball(
        gap,
        scaled,
        CompositeSmoothness(jacobian_norm, jacobian_lipschitz, k, gap),
        epsilon=epsilon,
        step_size=step_size,
    )
    outer = _premises(mu, k, jacobian_norm, jacobian_lipschitz, scaled.first_radius_upper(budget))
    return _restated(verdict, outer, trusted, SOURCE)


def composite_loss_target_reached(
    initial_gap_upper: float,
    target_gap_lower: float,
    profile: LowerProfile,
    jacobian_norm: RadiusBound,
    jacobian_lipschitz: RadiusBound,
    *,
    pl_lower: float,
    smoothness_upper: float,
    epsilon: float,
    step_size: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[TargetReached]:
    """Gradient descent on f = l o F brings the loss to a target (T7 for T4's losses).

        (1 - eps) int_0^R s > sqrt(2 (f(w0) - l*) / mu_l) - sqrt(2 (t - l*) / mu_l);

    the PL inequality of l is needed only where t < l <= f(w0).

    Source: T7 with a = sqrt(2 mu_l) s, M as in T4, G = sigma_max sqrt(2 K_l (f(w0) - l*));
    proof in docs/theory/T7.md.

    Args:
        initial_gap_upper: upper bound of f(w0) - l*.
        target_gap_lower: lower bound of t - l*.
        profile: s(rho) <= inf over B(w0, rho) of sigma_min(J).
        jacobian_norm: sigma_max(R).
        jacobian_lipschitz: beta(R).
        pl_lower: mu_l from below.
        smoothness_upper: K_l from above.
        epsilon: in (0, 1).
        step_size: the step to verify; None asks for a certified one.
        assumed: premises only assumed: names of the arguments above.

    Returns:
        PROVED with the numbers of T7, or UNDECIDED naming the hypothesis.

    Raises:
        InputError: NaN, a negative bound, epsilon outside (0, 1), a step that is not positive.
    """
    call = "composite_loss_target_reached"
    gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
    target = lower_bound(target_gap_lower, "target_gap_lower", call)
    mu = lower_bound(pl_lower, "pl_lower", call)
    k = upper_bound(smoothness_upper, "smoothness_upper", call)
    trusted = assumed_names(assumed, (*PREMISES, "target_gap_lower"), call)
    budget = target_budget_upper(gap, target, fraction(epsilon, "epsilon", call))
    scaled = _steepness(profile, mu)
    verdict = target_loss_reached(
        gap,
        target,
        scaled,
        CompositeSmoothness(jacobian_norm, jacobian_lipschitz, k, gap),
        CompositeGradientBound(jacobian_norm, k, gap),
        epsilon=epsilon,
        step_size=step_size,
    )
    outer = _premises(mu, k, jacobian_norm, jacobian_lipschitz, scaled.first_radius_upper(budget))
    return _restated(verdict, outer, trusted, SOURCE_TARGET)


def initial_gap_from_gradient_upper(gradient_norm_upper: float, pl_lower: float) -> float:
    """f(w0) - l* <= |grad l(F(w0))|^2 / (2 mu_l), for losses whose infimum is not known.

    Args:
        gradient_norm_upper: upper bound of |grad l| at the outputs F(w0).
        pl_lower: mu_l from below, > 0; inf is returned when it is not positive.

    Returns:
        An upper bound of the gap.

    Raises:
        InputError: NaN or a negative gradient norm.
    """
    call = "initial_gap_from_gradient_upper"
    g = upper_bound(gradient_norm_upper, "gradient_norm_upper", call)
    mu = lower_bound(pl_lower, "pl_lower", call)
    if not mu > 0.0:
        return float("inf")
    return (Interval.point(g).square() / (2.0 * Interval.point(mu))).hi


def _output_gradient(k: Interval, gap: float) -> Interval:
    """sqrt(2 K_l (f(w0) - l*)) bounds |grad l|, for l smooth on all of R^N."""
    return (2.0 * k * gap).clip_nonnegative().sqrt()  # the product may underflow


def _steepness(profile: LowerProfile, mu: float) -> ScaledProfile:
    """The profile a = sqrt(2 mu_l) s; the zero profile where mu_l is not known to be positive."""
    factor = (2.0 * Interval.point(max(mu, 0.0))).clip_nonnegative().sqrt().lo
    return ScaledProfile(profile, max(factor, 0.0))


def _premises(
    mu: float, k: float, norm: RadiusBound, lipschitz: RadiusBound, radius: float
) -> list[Hypothesis]:
    """What T4 asks of l and, where the equality radius exists, of J."""
    found = [
        Hypothesis.above("pl_lower", "1/2 |grad l|^2 >= value (l - l*), value > 0", mu, 0.0),
        Hypothesis.known("smoothness_upper", "grad l is value-Lipschitz on R^N, value < inf", k),
    ]
    if radius < float("inf"):
        found += [
            Hypothesis.known("jacobian_norm", "|J| <= value < inf on B(w0, R*)",
                             norm.upper(radius)),
            Hypothesis.known("jacobian_lipschitz", "J is value-Lipschitz on B(w0, R*)",
                             lipschitz.upper(radius)),
        ]  # fmt: skip
    return found


def _restated(
    verdict: Verdict[ConclusionT], outer: list[Hypothesis], trusted: frozenset[str], source: str
) -> Verdict[ConclusionT]:
    """The verdict of T1 or T7 with T4's premises in front."""
    hypotheses = [*outer, *verdict.hypotheses]
    if verdict.conclusion is None:
        return decide(source, hypotheses, trusted)
    kept = verdict.conclusion
    return decide(source, hypotheses, trusted, lambda: kept)
