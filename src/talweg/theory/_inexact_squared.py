"""T9 with the constants of T11: a squared loss under inexact gradients."""

from __future__ import annotations

from collections.abc import Iterable

from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, fraction, positive, upper_bound
from talweg.theory._bounds import RadiusBound
from talweg.theory._inexact import FloorReached, floor_upper, steps_to_floor_upper
from talweg.theory._logarithm import steps_to_shrink_upper
from talweg.theory._losses import HALF_SUM, SquaredLoss
from talweg.theory._singular_values import SingularValueProfile, singular_value_profile
from talweg.theory._squared import (
    largest_step_lower,
    require_compatible_norms,
    squared_loss_premises,
)
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "T9 with T11 (squared loss, inexact gradient)"
PREMISES = (
    "residual_norm_upper", "sigma_min_lower", "jacobian_norm_upper", "jacobian_lipschitz",
    "gradient_error",
)  # fmt: skip


def squared_loss_floor_reached(
    residual_norm_upper: float,
    profile: SingularValueProfile,
    jacobian_norm_upper: float,
    gradient_error: RadiusBound,
    *,
    theta: float,
    step_size: float,
    loss: SquaredLoss = HALF_SUM,
    assumed: Iterable[str] = (),
) -> Verdict[FloorReached]:
    """Inexact gradient descent on a squared loss gets down to a floor inside a ball (T9, T11).

    f = c |r|^2 and w_{k+1} = w_k - lr (grad f(w_k) + e_k), |e_k| <= e on B(w0, R*) where
    |r| <= |r_0|. With eta = 2 c lr, s(rho) = sigma_0 - int_0^rho beta and

        s'(rho) = sigma_0 (1 - theta) / (1 + theta) - int_0^rho beta,

    if |r_0| < int_0^R s', int_0^{R*} s' = |r_0| and eta <= 1 / sup_{B(w0,R*)} |J|^2, then up to the
    first k with |r_k| <= e / (2 c theta s(R*)) the iterates are in B(w0, R*), and

        |r_{k+1}| <= (1 - x) |r_k|,      x = (1 + theta) eta s(R*) s'(R*).

    Source: T9; the factor (1 - theta) / (1 + theta) is sharp; no epsilon, the step is that of T11.
    Proof in docs/theory/T9.md.

    Args:
        residual_norm_upper: upper bound of |r_0|, unscaled.
        profile: `singular_value_profile(sigma_min_lower, [(radius, beta_upper), ...])`, that is s;
            s' is formed from its parts.
        jacobian_norm_upper: upper bound of |J(w0)|.
        gradient_error: e as a function of the radius, on the scale of `loss`, for a run with this
            very `step_size`.
        theta: in (0, 1).
        step_size: lr on `loss`.
        loss: scaling of the loss.
        assumed: premises only assumed, out of `residual_norm_upper`, `sigma_min_lower`,
            `jacobian_norm_upper`, `jacobian_lipschitz`, `gradient_error`.

    Returns:
        PROVED with the numbers (rates and floor are those of the loss), or UNDECIDED naming the
        hypothesis: a premise, `criterion`, `step_size`, `rate_positive` or `floor`.

    Raises:
        InputError: NaN, a negative norm, theta outside (0, 1), a step that is not positive.
    """
    call = "squared_loss_floor_reached"
    r0 = upper_bound(residual_norm_upper, "residual_norm_upper", call)
    j0 = upper_bound(jacobian_norm_upper, "jacobian_norm_upper", call)
    t = Interval.point(fraction(theta, "theta", call))
    lr = positive(step_size, "step_size", call)
    trusted = assumed_names(assumed, PREMISES, call)
    require_compatible_norms(profile.sigma_min_lower, j0, call)

    hypotheses = squared_loss_premises(r0, profile, j0)
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    reduced = reduced_profile(profile, theta)  # s'
    available = reduced.integral_lower(reduced.radius)
    statement = "|r_0| < int_0^R s', s' = sigma_0 (1 - theta)/(1 + theta) - int beta"
    hypotheses.append(Hypothesis.below("criterion", statement, r0, available))
    if not hypotheses[-1].holds:
        return decide(SOURCE, hypotheses, trusted)

    radius = reduced.first_radius_upper(r0)  # >= R*
    s, s_reduced = profile.value_lower(radius), reduced.value_lower(radius)
    largest = largest_step_lower(profile.jacobian_norm(j0).upper(radius))
    e = gradient_error.upper(radius)
    known = Hypothesis.known("gradient_error", "|e_k| <= value < inf on B(w0, R*)", e)
    hypotheses.append(known)
    if not known.holds:
        return decide(SOURCE, hypotheses, trusted)

    eta = loss.theory_step(lr)
    x = ((1.0 + t) * eta.lo * s * s_reduced).lo
    x = min(max(x, 0.0), 1.0)
    floor = floor_upper(e, theta, _steepness_lower(loss, s))
    hypotheses += [
        Hypothesis.below(
            "step_size", "0 < eta <= 1 / sup |J|^2 on B(w0, R*)", eta.hi, largest, strict=False
        ),
        Hypothesis.above("rate_positive", "(1 + theta) eta s(R*) s'(R*) > 0", x, 0.0),
        Hypothesis.below(
            "floor", "(e / theta)^2 / (4 c s(R*)^2) < c |r_0|^2", floor, loss.loss_upper(r0)
        ),
    ]

    def conclusion() -> FloorReached:
        one_minus = (Interval.point(x) * (2.0 - Interval.point(x))).lo  # 1 - (1 - x)^2
        return FloorReached(
            radius_upper=radius,
            profile_lower=s,
            step_size=lr,
            theta=theta,
            gradient_error_upper=e,
            floor_upper=floor,
            loss_rate_upper=(1.0 - Interval.point(one_minus)).hi,  # the two must agree
            one_minus_rate_lower=one_minus,
            halving_steps_upper=steps_to_shrink_upper(2.0, one_minus),
            steps_upper=steps_to_floor_upper(loss.loss_upper(r0), floor, one_minus),
        )

    return decide(SOURCE, hypotheses, trusted, conclusion)


def reduced_profile(profile: SingularValueProfile, theta: float) -> SingularValueProfile:
    """s'(rho) = sigma_0 (1 - theta)/(1 + theta) - int_0^rho beta, rounded down.

    Args:
        profile: s.
        theta: in [0, 1).
    """
    t = Interval.point(theta)
    sigma = ((1.0 - t) / (1.0 + t) * profile.sigma_min_lower).lo
    return singular_value_profile(max(sigma, 0.0), profile.lipschitz)


def largest_inexact_step_lower(
    residual_norm_upper: float,
    profile: SingularValueProfile,
    jacobian_norm_upper: float,
    *,
    theta: float,
    loss: SquaredLoss = HALF_SUM,
) -> float:
    """The largest lr on `loss` that `squared_loss_floor_reached` allows; 0 when there is none.

    Args:
        residual_norm_upper: upper bound of |r_0|.
        profile: s.
        jacobian_norm_upper: upper bound of |J(w0)|.
        theta: in (0, 1).
        loss: scaling of the loss.
    """
    reduced = reduced_profile(profile, fraction(theta, "theta", "largest_inexact_step_lower"))
    radius = reduced.first_radius_upper(residual_norm_upper)
    if not radius < float("inf"):
        return 0.0
    largest = largest_step_lower(profile.jacobian_norm(jacobian_norm_upper).upper(radius))
    return loss.learning_rate_lower(largest) if largest > 0.0 else 0.0


def _steepness_lower(loss: SquaredLoss, s: float) -> float:
    """The number a with |grad f| >= a sqrt(f): |grad f| >= 2c s |r| = 2 sqrt(c) s sqrt(f)."""
    return ((2.0 * loss.curvature).sqrt() * s).lo
