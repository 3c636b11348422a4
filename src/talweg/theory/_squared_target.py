"""T7 with the constants of T11: a squared loss brought down to a target."""

from __future__ import annotations

from collections.abc import Iterable

from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, positive, upper_bound
from talweg.theory._logarithm import steps_to_shrink_upper
from talweg.theory._losses import HALF_SUM, SquaredLoss
from talweg.theory._singular_values import SingularValueProfile
from talweg.theory._squared import (
    PREMISES,
    contraction_loss_lower,
    largest_step_lower,
    require_compatible_norms,
    squared_loss_premises,
)
from talweg.theory._target import TargetReached, met_at_start
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "T7 with T11 (liu2020, PL*_eps)"


def squared_loss_target_reached(
    residual_norm_upper: float,
    target_loss: float,
    profile: SingularValueProfile,
    jacobian_norm_upper: float,
    *,
    step_size: float | None = None,
    loss: SquaredLoss = HALF_SUM,
    assumed: Iterable[str] = (),
) -> Verdict[TargetReached]:
    """Gradient descent on a squared loss reaches a target within a proved number of steps (T7).

    With rho = sqrt(t / c) the residual norm at the target t of the loss c |r|^2: if

        |r_0| - rho < int_0^R s,   int_0^{R_t} s = |r_0| - rho,
        eta <= 1 / Sigma^2,   eta Sigma rho <= R - R_t,   Sigma = sup |J| on B(w0, R_t),

    the first k with |r_k| <= rho obeys k <= ceil(log(|r_0| / rho) / -log(1 - eta s(R_t)^2)).
    Iterates before it are in B(w0, R_t), and w_k itself is in B(w0, R_t + eta Sigma rho): one step
    from inside goes no farther, and the last inequality keeps it where s is known.

    Source: T7 and T11; liu2020's PL*_eps for squared losses; proof in docs/theory/T7.md.

    Args:
        residual_norm_upper: upper bound of |r_0|, unscaled.
        target_loss: t > 0, on the scale of `loss`.
        profile: `singular_value_profile(sigma_min_lower, [(radius, beta_upper), ...])`.
        jacobian_norm_upper: upper bound of |J(w0)|.
        step_size: learning rate on `loss` to verify; None asks for the largest certified one.
        loss: scaling of the loss that target and step speak of.
        assumed: premises only assumed, out of `residual_norm_upper`, `sigma_min_lower`,
            `jacobian_norm_upper`, `jacobian_lipschitz`.

    Returns:
        PROVED with the numbers (`one_minus_rate_lower` speaks of |r|), or UNDECIDED naming the
        hypothesis: a premise, `criterion`, `rate_positive`, `step_size` or `overshoot`.

    Raises:
        InputError: NaN, a negative norm, a target or step that is not finite and positive.
    """
    call = "squared_loss_target_reached"
    r0 = upper_bound(residual_norm_upper, "residual_norm_upper", call)
    j0 = upper_bound(jacobian_norm_upper, "jacobian_norm_upper", call)
    rho = loss.residual_norm_lower(positive(target_loss, "target_loss", call))
    lr = None if step_size is None else positive(step_size, "step_size", call)
    trusted = assumed_names(assumed, PREMISES, call)
    require_compatible_norms(profile.sigma_min_lower, j0, call)

    if r0 <= rho:
        start = Hypothesis.below("residual_norm_upper", "|r_0| <= rho", r0, rho, strict=False)
        return decide(SOURCE, [start], trusted, lambda: met_at_start(lr))
    hypotheses = squared_loss_premises(r0, profile, j0)
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    budget = (Interval.point(r0) - rho).hi
    available = profile.integral_lower(profile.radius)
    hypotheses.append(Hypothesis.below("criterion", "|r_0| - rho < int_0^R s", budget, available))
    if not hypotheses[-1].holds:
        return decide(SOURCE, hypotheses, trusted)

    radius = profile.first_radius_upper(budget)  # >= R_t
    s = profile.value_lower(radius)  # <= s(R_t)
    jacobian = profile.jacobian_norm(j0).upper(radius)  # >= Sigma
    largest = largest_step_lower(jacobian)
    # The last step ends above the target's residual, which rho bounds from below.
    reach = Interval.point(jacobian) * loss.residual_norm_upper(target_loss)
    room = max((Interval.point(profile.radius) - radius).lo, 0.0)
    chosen = lr
    if chosen is None:
        fitting = (Interval.point(room) / Interval.point(reach.hi)).lo if rho > 0.0 else largest
        limit = min(largest, fitting)
        chosen = loss.learning_rate_lower(limit) if limit > 0.0 else 0.0
        for power in range(-50, 0):  # the conversion to lr rounds: an ulp or two may be missing
            if not chosen > 0.0 or (loss.theory_step(chosen) * reach).hi <= room:
                break
            chosen *= 1.0 - 2.0**power
    eta = loss.theory_step(chosen) if chosen > 0.0 else Interval.point(0.0)
    overshoot = (eta * reach).hi
    x = contraction_loss_lower(eta.lo, s)
    hypotheses += [
        Hypothesis.below("overshoot", "eta Sigma rho <= R - R_t", overshoot, room, strict=False),
        Hypothesis.above("rate_positive", "eta s(R_t)^2 > 0", x, 0.0),
        Hypothesis.below("step_size", "0 < eta <= 1 / Sigma^2", eta.hi, largest, strict=False),
    ]

    def conclusion() -> TargetReached:
        ratio = float("inf") if rho == 0.0 else (Interval.point(r0) / Interval.point(rho)).hi
        return TargetReached(
            radius_upper=radius,
            # R_t + overshoot <= R was shown; rounded up it may pass R, where s < 0
            final_radius_upper=min((Interval.point(radius) + overshoot).hi, profile.radius),
            step_size=chosen,
            one_minus_rate_lower=x,
            steps_upper=steps_to_shrink_upper(ratio, x),
        )

    return decide(SOURCE, hypotheses, trusted, conclusion)
