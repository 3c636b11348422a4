"""T14: minima of under-parameterised models, isolated and attracting."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import (
    assumed_names,
    fraction,
    lower_bound,
    positive,
    upper_bound,
)
from talweg.theory._ball import gradient_descent_converges_in_ball
from talweg.theory._bounds import NestedBallBound, RadiusBound
from talweg.theory._profile import Profile
from talweg.theory._singular_values import SingularValueProfile
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "T14 (liu2020, under-parameterised minima)"
PREMISES = ("gradient_norm_upper", "curvature_lower")


@dataclass(frozen=True, slots=True)
class StrictMinimum:
    """What T14 proves: B(w0, radius) holds exactly one critical point w*, a strict minimum.

    Attributes:
        radius: R, the ball that was searched.
        distance_upper: |w* - w0| <= |grad f(w0)| / m.
        curvature_lower: m, below the smallest eigenvalue of D^2 f on the ball.
        gap_upper: f(w0) - f(w*) <= |grad f(w0)|^2 / (2 m).
    """

    radius: float
    distance_upper: float
    curvature_lower: float
    gap_upper: float


@dataclass(frozen=True, slots=True)
class StrictMinimumReached:
    """What T14 proves of gradient descent: w_k -> w*, the one critical point of the ball.

    Attributes:
        minimum: where w* lies.
        path_upper: bounds the length of the whole path.
        step_size: the step that the rates speak of; every step in (0, step_size] converges.
        loss_rate_upper: f_{k+1} - f(w*) <= rate (f_k - f(w*)).
        one_minus_rate_lower: 2 (1 - eps) eta m from below.
        halving_steps_upper: after so many steps f - f(w*) is at most half; whole, may be inf.
        decay_upper: |w_k - w*| <= decay rate^{k/2}.
    """

    minimum: StrictMinimum
    path_upper: float
    step_size: float
    loss_rate_upper: float
    one_minus_rate_lower: float
    halving_steps_upper: float
    decay_upper: float


def ball_holds_one_critical_point(
    gradient_norm_upper: float,
    curvature_lower: float,
    radius: float,
    *,
    assumed: Iterable[str] = (),
) -> Verdict[StrictMinimum]:
    """A ball holds exactly one critical point, and it is a strict local minimum (T14).

        D^2 f >= m I on B(w0, R),  m > 0,      |grad f(w0)| < m R;

    then there is exactly one critical point w* in the ball, |w* - w0| <= |grad f(w0)| / m, and
    f(w) >= f(w*) + m/2 |w - w*|^2 on the ball.

    Source: T14; proof in docs/theory/T14.md.

    Args:
        gradient_norm_upper: upper bound of |grad f(w0)|.
        curvature_lower: m, from below, on the whole ball.
        radius: R, > 0, finite.
        assumed: premises only assumed, out of `gradient_norm_upper`, `curvature_lower`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming `gradient_norm_upper`, `curvature_lower` or
        `criterion`.

    Raises:
        InputError: NaN, a negative norm, a radius that is not finite and positive.
    """
    call = "ball_holds_one_critical_point"
    g = upper_bound(gradient_norm_upper, "gradient_norm_upper", call)
    m = lower_bound(curvature_lower, "curvature_lower", call)
    ball = positive(radius, "radius", call)
    trusted = assumed_names(assumed, PREMISES, call)
    hypotheses = _criterion(g, m, ball, 0.0, "|grad f(w0)| < m R")
    return decide(SOURCE, hypotheses, trusted, lambda: _located(g, m, ball))


def gradient_descent_reaches_strict_minimum(
    gradient_norm_upper: float,
    curvature_lower: float,
    radius: float,
    smoothness: RadiusBound,
    *,
    epsilon: float,
    step_size: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[StrictMinimumReached]:
    """Gradient descent converges linearly to the one critical point of a ball (T14).

        D^2 f >= m I on B(w0, R),    |grad f(w0)| < (1 - eps) m R,    eta <= 2 eps / M;

    then w_k -> w* and f(w_k) - f(w*) <= (1 - 2 (1 - eps) eta m)^k (f(w0) - f(w*)).

    Source: T14, which is T1 with a = sqrt(2 m); proof in docs/theory/T14.md.

    Args:
        gradient_norm_upper: upper bound of |grad f(w0)|.
        curvature_lower: m, from below, on the whole ball.
        radius: R, > 0, finite.
        smoothness: M as a function of the radius, where f <= f(w0).
        epsilon: share of the descent given up to the step, in (0, 1); no default, as in T1.
        step_size: the step to verify; None asks for the largest certified one.
        assumed: premises only assumed, out of `gradient_norm_upper`, `curvature_lower`,
            `smoothness`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming the hypothesis: `gradient_norm_upper`,
        `curvature_lower`, `criterion`, `smoothness`, `rate_positive` or `step_size`.

    Raises:
        InputError: NaN, a negative norm, epsilon outside (0, 1), a radius or step that is not
            finite and positive, or M < m, which no loss has: M >= |D^2 f(w0)| >= m.
    """
    call = "gradient_descent_reaches_strict_minimum"
    g = upper_bound(gradient_norm_upper, "gradient_norm_upper", call)
    m = lower_bound(curvature_lower, "curvature_lower", call)
    ball = positive(radius, "radius", call)
    share = fraction(epsilon, "epsilon", call)
    trusted = assumed_names(assumed, (*PREMISES, "smoothness"), call)
    _refuse_smoothness_below(smoothness.upper(ball), m, call)
    hypotheses = _criterion(g, m, ball, share, "|grad f(w0)| < (1 - eps) m R")
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    minimum = _located(g, m, ball)
    steepness = Profile.constant((2.0 * Interval.point(m)).sqrt().lo, ball)
    descent = gradient_descent_converges_in_ball(
        minimum.gap_upper, steepness, smoothness, epsilon=share, step_size=step_size
    )
    for h in descent.hypotheses:
        if h.name == "smoothness":  # the M of a smaller ball, which is the one in use
            _refuse_smoothness_below(h.value, m, call)
    # T1's own criterion is the one above up to rounding; its other hypotheses come along
    inner = [
        h for h in descent.hypotheses if h.name in ("smoothness", "rate_positive", "step_size")
    ]
    if not inner:
        inner = [h for h in descent.hypotheses if not h.holds]
    reached = descent.conclusion
    if reached is None:
        return decide(SOURCE, [*hypotheses, *inner], trusted)

    def conclusion() -> StrictMinimumReached:
        return StrictMinimumReached(
            minimum=minimum,
            path_upper=reached.radius_upper,
            step_size=reached.step_size,
            loss_rate_upper=reached.loss_rate_upper,
            one_minus_rate_lower=reached.one_minus_rate_lower,
            halving_steps_upper=reached.halving_steps_upper,
            decay_upper=reached.distance_upper,
        )

    return decide(SOURCE, [*hypotheses, *inner], trusted, conclusion)


def squared_loss_curvature_lower(
    residual_norm_upper: float,
    column_profile: SingularValueProfile,
    jacobian_norm_upper: float,
    radius: float,
) -> float:
    """Lower bound of the smallest eigenvalue of D^2 (1/2 |r|^2) on B(w0, R), for p <= N.

        m = [sigma_p(J_0) - int_0^R beta]_+^2 - beta(R) sup_ball |r|,
        sup_ball |r| <= |r_0| + sigma_max(R) R.

    Source: T14; proof in docs/theory/T14.md.

    Args:
        residual_norm_upper: upper bound of |r_0|.
        column_profile: sigma_p(J_0) - int beta: the profile of the *p-th* singular value,
            `singular_value_profile(sqrt(lambda_min(J_0^T J_0)), ...)`; F is C^2 there.
        jacobian_norm_upper: upper bound of |J(w0)|.
        radius: R, > 0, finite.

    Returns:
        m from below; -inf where nothing is known.

    Raises:
        InputError: NaN, a negative norm, a radius that is not finite and positive.
    """
    call = "squared_loss_curvature_lower"
    r0 = Interval.point(upper_bound(residual_norm_upper, "residual_norm_upper", call))
    j0 = upper_bound(jacobian_norm_upper, "jacobian_norm_upper", call)
    ball = positive(radius, "radius", call)
    beta = Interval.point(column_profile.lipschitz.upper(ball))
    sigma = Interval.point(column_profile.jacobian_norm(j0).upper(ball))
    least = Interval.point(column_profile.value_lower(ball)).square()
    return (least - beta * (r0 + sigma * ball)).lo


def squared_loss_smoothness(
    residual_norm_upper: float,
    profile: SingularValueProfile,
    jacobian_norm_upper: float,
    radius: float,
) -> NestedBallBound:
    """M of 1/2 |r|^2 on B(w0, R) where f <= f(w0): sigma_max(R)^2 + beta(R) |r_0|.

    Args:
        residual_norm_upper: upper bound of |r_0|.
        profile: carries the Lipschitz constants of J.
        jacobian_norm_upper: upper bound of |J(w0)|.
        radius: R, > 0, finite.

    Returns:
        The bound for balls up to R.

    Raises:
        InputError: NaN, a negative norm, a radius that is not finite and positive.
    """
    call = "squared_loss_smoothness"
    r0 = upper_bound(residual_norm_upper, "residual_norm_upper", call)
    j0 = upper_bound(jacobian_norm_upper, "jacobian_norm_upper", call)
    ball = positive(radius, "radius", call)
    sigma = Interval.point(profile.jacobian_norm(j0).upper(ball))
    bend = Interval.point(profile.lipschitz.upper(ball)) * r0
    return NestedBallBound.of([(ball, (sigma.square() + bend).hi)])


def _criterion(g: float, m: float, ball: float, epsilon: float, statement: str) -> list[Hypothesis]:
    """The premises and ``|grad f(w0)| < (1 - eps) m R``; the latter only for a known m > 0."""
    premises = [
        Hypothesis.known("gradient_norm_upper", "|grad f(w0)| <= value < inf", g),
        Hypothesis.above("curvature_lower", "D^2 f >= value I on B(w0, R), value > 0", m, 0.0),
    ]
    if not all(h.holds for h in premises):
        return premises
    room = ((1.0 - Interval.point(epsilon)) * m * ball).lo
    return [*premises, Hypothesis.below("criterion", statement, g, room)]


def _refuse_smoothness_below(smoothness: float, m: float, call: str) -> None:
    if smoothness < m:
        raise InputError(
            f"`curvature_lower` of {call}() must be at most `smoothness`, because m <= "
            f"lambda_min(D^2 f(w0)) <= |D^2 f(w0)| <= M; got {m!r} against {smoothness!r}. "
            "One of the two is not the bound its name promises."
        )


def _located(g: float, m: float, ball: float) -> StrictMinimum:
    gradient, curvature = Interval.point(g), Interval.point(m)
    return StrictMinimum(
        radius=ball,
        distance_upper=(gradient / curvature).hi,
        curvature_lower=m,
        gap_upper=(gradient.square() / (2.0 * curvature)).hi,
    )
