"""T5: the PL* inequality on one ball, with the constants of its source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, lower_bound, positive, upper_bound
from talweg.theory._logarithm import steps_to_shrink_upper
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "T5 (liu2020, PL* in a ball)"
PREMISES = (
    "residual_norm_upper", "pl_lower", "jacobian_norm_upper", "jacobian_lipschitz_upper",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LocalPLConvergence:
    """What T5 proves: w_k stays in B(w0, radius) and converges to some w* with F(w*) = y.

    Attributes:
        radius_upper: 2 L_F |r_0| / mu, the radius that the source asks for; bounds the path.
        path_upper: 2 |r_0| / sqrt(mu), which bounds the path as well and is never larger.
        step_size: the step on 1/2 |r|^2 that the rates speak of.
        condition_number_upper: kappa = 1 / (eta mu).
        loss_rate_upper: f_{k+1} <= rate f_k, rate = 1 - eta mu.
        one_minus_rate_lower: eta mu from below.
        halving_steps_upper: after so many steps the loss is at most half; whole, may be inf.
    """

    radius_upper: float
    path_upper: float
    step_size: float
    condition_number_upper: float
    loss_rate_upper: float
    one_minus_rate_lower: float
    halving_steps_upper: float


def local_pl_converges(
    residual_norm_upper: float,
    pl_lower: float,
    jacobian_norm_upper: float,
    jacobian_lipschitz_upper: float,
    radius: float,
    *,
    step_size: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[LocalPLConvergence]:
    """Gradient descent on 1/2 |F - y|^2 reaches zero where one PL constant holds on a ball (T5).

    With 1/2 |grad f|^2 >= mu f, |J| <= L_F and J beta_F-Lipschitz, all on B(w0, R): if

        R >= 2 L_F |r_0| / mu,      eta <= 1 / (L_F^2 + beta_F |r_0|),

    then f(w_k) <= (1 - eta mu)^k f(w0), the path stays in the ball and ends at a solution.

    Source: T5; liu2020's theorem on PL* in a ball, with the constants as published. Where mu comes
    from sigma_min(J(w0)) and beta, `squared_loss_converges` (T11) asks for less of everything;
    proof and comparison in docs/theory/T5.md.

    Args:
        residual_norm_upper: upper bound of |r_0| = |F(w0) - y|.
        pl_lower: mu on the ball, for instance the infimum of lambda_min(J J^T).
        jacobian_norm_upper: L_F, bounds |J| on the ball.
        jacobian_lipschitz_upper: beta_F, a Lipschitz constant of J on the ball.
        radius: R, > 0, finite, the ball that the three constants hold on.
        step_size: the step on 1/2 |r|^2 to verify; None asks for the largest.
        assumed: premises only assumed: names of the first four arguments.

    Returns:
        PROVED with the numbers, or UNDECIDED naming the hypothesis: a premise, `criterion` (the
        radius), `rate_positive` or `step_size`.

    Raises:
        InputError: NaN, a negative norm, a radius or step that is not finite and positive, or
            mu > L_F^2, which no Jacobian has.
    """
    call = "local_pl_converges"
    r0 = upper_bound(residual_norm_upper, "residual_norm_upper", call)
    mu = lower_bound(pl_lower, "pl_lower", call)
    norm = upper_bound(jacobian_norm_upper, "jacobian_norm_upper", call)
    beta = upper_bound(jacobian_lipschitz_upper, "jacobian_lipschitz_upper", call)
    ball = positive(radius, "radius", call)
    step = None if step_size is None else positive(step_size, "step_size", call)
    trusted = assumed_names(assumed, PREMISES, call)
    square = Interval.point(norm).square()
    if mu > square.hi:
        raise InputError(
            f"`pl_lower` of {call}() must be at most jacobian_norm_upper^2, because "
            f"|J^T r| <= |J| |r|; got {mu!r} against {norm!r}^2. "
            "One of the two is not the bound its name promises."
        )

    hypotheses = [
        Hypothesis.known("residual_norm_upper", "|F(w0) - y| <= value < inf", r0),
        Hypothesis.above("pl_lower", "1/2 |grad f|^2 >= value f on B(w0, R), value > 0", mu, 0.0),
        Hypothesis.known("jacobian_norm_upper", "|J| <= value < inf on B(w0, R)", norm),
        Hypothesis.known("jacobian_lipschitz_upper", "J is value-Lipschitz on B(w0, R)", beta),
    ]
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    needed = (2.0 * Interval.point(norm) * r0 / Interval.point(mu)).hi
    hypotheses.append(
        Hypothesis.below("criterion", "2 L_F |r_0| / mu <= R", needed, ball, strict=False)
    )
    if not hypotheses[-1].holds:
        return decide(SOURCE, hypotheses, trusted)

    smoothness = square + Interval.point(beta) * r0
    largest = max((1.0 / smoothness).lo, 0.0) if smoothness.lo > 0.0 else 0.0
    eta = largest if step is None else step
    x = min(max((Interval.point(eta) * mu).lo, 0.0), 1.0)  # eta mu <= 1 since mu <= L_F^2
    hypotheses += [
        Hypothesis.above("rate_positive", "eta mu > 0", x, 0.0),
        Hypothesis.below("step_size", "0 < eta <= 1 / (L_F^2 + beta_F |r_0|)",
                         eta, largest, strict=False),
    ]  # fmt: skip

    def conclusion() -> LocalPLConvergence:
        return LocalPLConvergence(
            radius_upper=needed,
            path_upper=min((2.0 * Interval.point(r0) / Interval.point(mu).sqrt()).hi, needed),
            step_size=eta,
            condition_number_upper=(1.0 / Interval.point(x)).hi,
            loss_rate_upper=(1.0 - Interval.point(x)).hi,
            one_minus_rate_lower=x,
            halving_steps_upper=steps_to_shrink_upper(2.0, x),
        )

    return decide(SOURCE, hypotheses, trusted, conclusion)
