"""T11: gradient descent on a squared loss reaches zero, under the criterion of the flow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, positive, upper_bound
from talweg.theory._logarithm import steps_to_shrink_upper
from talweg.theory._losses import HALF_SUM, SquaredLoss
from talweg.theory._singular_values import SingularValueProfile
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "T11 (sharpens liu2020, chatterjee2022)"
PREMISES = (
    "residual_norm_upper", "sigma_min_lower", "jacobian_norm_upper", "jacobian_lipschitz",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SquaredLossConvergence:
    """What T11 proves: w_k stays in B(w0, radius) and converges to some w* with F(w*) = y.

    Attributes:
        radius_upper: R*, bounds the length of the whole path, hence |w_k - w0| and |w* - w0|.
        singular_value_lower: s(R*), below sigma_min(J) at every iterate.
        jacobian_norm_upper: bounds |J| on B(w0, R*).
        step_size: the learning rate on the stated loss that the rates below speak of; the
            containment and the limit hold for every step in (0, step_size].
        contraction_upper: |r_{k+1}| <= contraction |r_k|.
        loss_rate_upper: f_{k+1} <= rate f_k, the contraction squared.
        one_minus_rate_lower: 1 - rate from below, accurate when the rate rounds to 1.
        halving_steps_upper: after so many steps the loss is at most half; whole, may be inf.
        distance_per_residual_upper: |w_k - w*| <= this times |r_k|.
    """

    radius_upper: float
    singular_value_lower: float
    jacobian_norm_upper: float
    step_size: float
    contraction_upper: float
    loss_rate_upper: float
    one_minus_rate_lower: float
    halving_steps_upper: float
    distance_per_residual_upper: float


def squared_loss_converges(
    residual_norm_upper: float,
    profile: SingularValueProfile,
    jacobian_norm_upper: float,
    *,
    step_size: float | None = None,
    loss: SquaredLoss = HALF_SUM,
    assumed: Iterable[str] = (),
) -> Verdict[SquaredLossConvergence]:
    """Gradient descent on a squared loss converges to zero loss inside a ball (T11).

    With s(rho) = sigma_0 - int_0^rho beta and f = 1/2 |r|^2: if

        |r_0| < int_0^R s,   R* solves int_0^{R*} s = |r_0|,   eta <= 1 / sup_{B(w0,R*)} |J|^2,

    the path is no longer than R*, |r_k| <= (1 - eta s(R*)^2)^k |r_0|, w_k -> w* with F(w*) = y and
    |w_k - w*| <= |r_k| / s(R*). A loss c |r|^2 with learning rate lr is this one with eta = 2 c lr.

    Source: T11; the local form of liu2020's theorem on PL* in a ball, whose constant step rule and
    constant profile it replaces; proof in docs/theory/T11.md.

    Args:
        residual_norm_upper: upper bound of |r_0| = |F(w0) - y|, unscaled.
        profile: `singular_value_profile(sigma_min_lower, [(radius, beta_upper), ...])`.
        jacobian_norm_upper: upper bound of |J(w0)|; on the ball int_0^R beta is added to it.
        step_size: learning rate on `loss` to verify; None asks for the largest certified one.
        loss: scaling of the loss that the step and the rates speak of.
        assumed: premises that the caller only assumes, out of `residual_norm_upper`,
            `sigma_min_lower`, `jacobian_norm_upper`, `jacobian_lipschitz`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming the hypothesis: `criterion` (its missing
        factor is |r_0| / int_0^R s), `sigma_min_lower`, `rate_positive`, `step_size`, or a premise
        that is infinite.

    Raises:
        InputError: NaN, a negative norm, a step that is not finite and positive, or bounds that
            contradict each other (sigma_min_lower > jacobian_norm_upper).
    """
    call = "squared_loss_converges"
    r0 = upper_bound(residual_norm_upper, "residual_norm_upper", call)
    j0 = upper_bound(jacobian_norm_upper, "jacobian_norm_upper", call)
    lr = None if step_size is None else positive(step_size, "step_size", call)
    trusted = assumed_names(assumed, PREMISES, call)
    require_compatible_norms(profile.sigma_min_lower, j0, call)

    hypotheses = squared_loss_premises(r0, profile, j0)
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    available = profile.integral_lower(profile.radius)  # rounded down
    hypotheses.append(Hypothesis.below("criterion", "|r_0| < int_0^R s", r0, available))
    if not hypotheses[-1].holds:
        return decide(SOURCE, hypotheses, trusted)

    radius = profile.first_radius_upper(r0)  # >= R*
    s = profile.value_lower(radius)  # <= s(R*)
    jacobian = profile.jacobian_norm(j0).upper(radius)  # >= sup |J| on the ball
    largest = largest_step_lower(jacobian)
    chosen = lr
    if chosen is None:
        chosen = loss.learning_rate_lower(largest) if largest > 0.0 else 0.0
    eta = loss.theory_step(chosen) if chosen > 0.0 else Interval.point(0.0)
    x = contraction_loss_lower(eta.lo, s)
    hypotheses += [
        Hypothesis.above("rate_positive", "eta s(R*)^2 > 0", x, 0.0),
        Hypothesis.below(
            "step_size", "0 < eta <= 1 / sup |J|^2 on B(w0, R*)", eta.hi, largest, strict=False
        ),
    ]

    def conclusion() -> SquaredLossConvergence:
        one_minus = (Interval.point(x) * (2.0 - Interval.point(x))).lo  # 1 - (1 - x)^2
        return SquaredLossConvergence(
            radius_upper=radius,
            singular_value_lower=s,
            jacobian_norm_upper=jacobian,
            step_size=chosen,
            contraction_upper=(1.0 - Interval.point(x)).hi,
            loss_rate_upper=(1.0 - Interval.point(one_minus)).hi,  # the two must agree
            one_minus_rate_lower=one_minus,
            halving_steps_upper=steps_to_shrink_upper(2.0, one_minus),
            distance_per_residual_upper=(1.0 / Interval.point(s)).hi,
        )

    return decide(SOURCE, hypotheses, trusted, conclusion)


def squared_loss_premises(r0: float, profile: SingularValueProfile, j0: float) -> list[Hypothesis]:
    """The bounds that T11 starts from.

    Args:
        r0: upper bound of |r_0|.
        profile: sigma_0 and the Lipschitz constants.
        j0: upper bound of |J(w0)|.
    """
    return [
        Hypothesis.known("residual_norm_upper", "|F(w0) - y| <= value < inf", r0),
        Hypothesis.above("sigma_min_lower", "sigma_min(J(w0)) >= value > 0",
                         profile.sigma_min_lower, 0.0),
        Hypothesis.known("jacobian_norm_upper", "|J(w0)| <= value < inf", j0),
        Hypothesis.known("jacobian_lipschitz", "|J(v) - J(w)| <= value |v - w| on B(w0, R)",
                         profile.lipschitz.upper(profile.radius)),
    ]  # fmt: skip


def require_compatible_norms(sigma_min_lower: float, jacobian_upper: float, call: str) -> None:
    """Refuse bounds that no matrix has: the smallest singular value above the largest.

    Args:
        sigma_min_lower: lower bound of sigma_min(J(w0)).
        jacobian_upper: upper bound of |J(w0)|.
        call: the function's name, for the message.

    Raises:
        InputError: sigma_min_lower > jacobian_upper.
    """
    if sigma_min_lower > jacobian_upper:
        raise InputError(
            f"`jacobian_norm_upper` of {call}() must be at least the profile's sigma_min_lower, "
            f"because sigma_min(J) <= |J|; got {jacobian_upper!r} against {sigma_min_lower!r}. "
            "One of the two is not the bound its name promises."
        )


def largest_step_lower(jacobian_norm_upper: float) -> float:
    """The largest step that T11 allows on 1/2 |r|^2, ``1 / sup |J|^2``, rounded down.

    Args:
        jacobian_norm_upper: upper bound of |J| on the ball; inf and 0 give 0 (nothing proved).
    """
    square = Interval.point(jacobian_norm_upper).square()
    if not square.lo > 0.0 or square.hi == float("inf"):
        return 0.0
    return (1.0 / square).lo


def contraction_loss_lower(eta_lower: float, singular_value_lower: float) -> float:
    """The number x = eta s^2, rounded down into [0, 1]: one step shrinks |r| by 1 - x at least.

    Args:
        eta_lower: step on 1/2 |r|^2, from below.
        singular_value_lower: s(R*), from below.
    """
    x = (Interval.point(eta_lower) * Interval.point(singular_value_lower).square()).lo
    return min(max(x, 0.0), 1.0)
