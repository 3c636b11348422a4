"""T3: Chatterjee's criterion, as published, for the flow and for gradient descent."""

from __future__ import annotations

from collections.abc import Iterable

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, fraction, lower_bound, positive, upper_bound
from talweg.theory._ball import DescentConvergence, FlowConvergence, descent_rate_lower
from talweg.theory._logarithm import LOG_2, steps_to_shrink_upper
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE_FLOW = "T3 (chatterjee2022, thm 1.1)"
SOURCE_DESCENT = "T3 (chatterjee2022, thm 1.2)"


def chatterjee_criterion(
    initial_loss_upper: float,
    alpha_lower: float,
    radius: float,
    *,
    assumed: Iterable[str] = (),
) -> Verdict[FlowConvergence]:
    """Gradient flow reaches zero loss when ``4 f(w0) < R^2 alpha(w0, R)`` (T3, flow).

    alpha = inf over B(w0, R), f > 0, of |grad f|^2 / f. Then f(w(t)) <= e^{-alpha t} f(w0) and
    |w(t) - w*| <= R* e^{-alpha t / 2}, with R* = 2 sqrt(f(w0) / alpha) < R.

    Source: chatterjee2022 theorem 1.1; the distance carries R* where the theorem says R. T2 with a
    constant profile gives the same; with a real profile it gives more.

    Args:
        initial_loss_upper: upper bound of f(w0), where f >= 0.
        alpha_lower: lower bound of alpha on the ball.
        radius: R, > 0, finite.
        assumed: premises only assumed, out of `initial_loss_upper`, `alpha_lower`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming `initial_loss_upper`, `alpha_lower` or
        `criterion`.

    Raises:
        InputError: NaN, a negative loss, a radius that is not finite and positive.
    """
    call = "chatterjee_criterion"
    f0 = upper_bound(initial_loss_upper, "initial_loss_upper", call)
    alpha = lower_bound(alpha_lower, "alpha_lower", call)
    r = positive(radius, "radius", call)
    trusted = assumed_names(assumed, ("initial_loss_upper", "alpha_lower"), call)
    one = Interval.point(1.0)
    hypotheses = _criterion(f0, alpha, r, one, "4 f(w0) < R^2 alpha")

    def conclusion() -> FlowConvergence:
        reach = _reach_upper(f0, alpha, one)
        return FlowConvergence(
            radius_upper=reach,
            profile_lower=Interval.point(alpha).sqrt().lo,
            exponent_lower=alpha,
            halving_time_upper=(LOG_2 / Interval.point(alpha)).hi,
            distance_upper=reach,
        )

    return decide(SOURCE_FLOW, hypotheses, trusted, conclusion)


def chatterjee_criterion_with_steps(
    initial_loss_upper: float,
    alpha_lower: float,
    radius: float,
    *,
    epsilon: float,
    first_partials_upper: float,
    second_partials_upper: float,
    parameters: int,
    step_size: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[DescentConvergence]:
    """Gradient descent reaches zero loss under Chatterjee's criterion and step bound (T3).

        4 f(w0) < (1 - eps)^2 R^2 alpha,   eta <= min{ R / (L1 sqrt p), 2 eps / (L2 p) };

    then f_k <= (1 - delta)^k f(w0) and |w_k - w*| <= R* (1 - delta)^{k/2} with
    delta = min{1, (1 - eps) alpha eta} and R* = 2 sqrt(f(w0) / alpha) / (1 - eps) < R.

    Source: chatterjee2022 theorem 1.2; f of class C^2. T1 needs no sqrt(p), no second ball.

    Args:
        initial_loss_upper: upper bound of f(w0), where f >= 0.
        alpha_lower: lower bound of alpha on B(w0, R).
        radius: R, > 0, finite.
        epsilon: in (0, 1), free in the theorem.
        first_partials_upper: L1, bounds every |df/dw_i| on B(w0, 2R).
        second_partials_upper: L2, bounds every |d^2 f/dw_i dw_j| on B(w0, 2R).
        parameters: p, the number of weights.
        step_size: the step to verify; None asks for the largest certified one.
        assumed: premises only assumed, out of `initial_loss_upper`, `alpha_lower`,
            `first_partials_upper`, `second_partials_upper`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming the hypothesis: one of the premises,
        `criterion`, `rate_positive` or `step_size`.

    Raises:
        InputError: NaN, a negative bound, epsilon outside (0, 1), parameters < 1, a radius or
            step that is not finite and positive.
    """
    call = "chatterjee_criterion_with_steps"
    f0 = upper_bound(initial_loss_upper, "initial_loss_upper", call)
    alpha = lower_bound(alpha_lower, "alpha_lower", call)
    r = positive(radius, "radius", call)
    share = 1.0 - Interval.point(fraction(epsilon, "epsilon", call))
    l1 = upper_bound(first_partials_upper, "first_partials_upper", call)
    l2 = upper_bound(second_partials_upper, "second_partials_upper", call)
    step = None if step_size is None else positive(step_size, "step_size", call)
    if isinstance(parameters, bool) or not isinstance(parameters, int) or parameters < 1:
        raise InputError(
            f"`parameters` of {call}() must be an int >= 1; got {parameters!r}. "
            "Count the trained weights."
        )
    premises = ("initial_loss_upper", "alpha_lower", "first_partials_upper",
                "second_partials_upper")  # fmt: skip
    trusted = assumed_names(assumed, premises, call)

    hypotheses = _criterion(f0, alpha, r, share, "4 f(w0) < (1 - eps)^2 R^2 alpha")
    hypotheses += [
        Hypothesis.known("first_partials_upper", "L1 on B(w0, 2R) <= value < inf", l1),
        Hypothesis.known("second_partials_upper", "L2 on B(w0, 2R) <= value < inf", l2),
    ]
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE_DESCENT, hypotheses, trusted)

    p = Interval.point(parameters)
    smoothness = p * l2  # the spectral norm of a p x p matrix with entries up to L2
    largest = min(_quotient_lower(Interval.point(r), p.sqrt() * l1),
                  _quotient_lower(2.0 * Interval.point(epsilon), smoothness))  # fmt: skip
    eta = largest if step is None else step
    delta = descent_rate_lower(share, eta, Interval.point(alpha).sqrt().lo)
    hypotheses += [
        Hypothesis.above("rate_positive", "(1 - eps) eta alpha > 0", delta, 0.0),
        Hypothesis.below("step_size", "0 < eta <= min{R / (L1 sqrt p), 2 eps / (L2 p)}",
                         eta, largest, strict=False),
    ]  # fmt: skip

    def conclusion() -> DescentConvergence:
        reach = _reach_upper(f0, alpha, share)
        return DescentConvergence(
            radius_upper=reach,
            profile_lower=Interval.point(alpha).sqrt().lo,
            smoothness_upper=smoothness.hi,
            step_size=eta,
            loss_rate_upper=(1.0 - Interval.point(delta)).hi,
            one_minus_rate_lower=delta,
            halving_steps_upper=steps_to_shrink_upper(2.0, delta),
            distance_upper=reach,
        )

    return decide(SOURCE_DESCENT, hypotheses, trusted, conclusion)


def _criterion(
    f0: float, alpha: float, radius: float, share: Interval, statement: str
) -> list[Hypothesis]:
    """The premises and ``4 f(w0) < share^2 R^2 alpha``; the latter only for a known alpha > 0."""
    premises = [
        Hypothesis.known("initial_loss_upper", "0 <= f(w0) <= value < inf", f0),
        Hypothesis.above("alpha_lower", "inf |grad f|^2 / f >= value > 0 on B(w0, R)", alpha, 0.0),
    ]
    if not all(h.holds for h in premises):
        return premises
    left = (4.0 * Interval.point(f0)).hi
    right = (share.square() * Interval.point(radius).square() * alpha).lo
    return [*premises, Hypothesis.below("criterion", statement, left, right)]


def _reach_upper(f0: float, alpha: float, share: Interval) -> float:
    """R* = 2 sqrt(f(w0) / alpha) / share, rounded up."""
    return (2.0 * (Interval.point(f0) / Interval.point(alpha)).clip_nonnegative().sqrt() / share).hi


def _quotient_lower(numerator: Interval, denominator: Interval) -> float:
    """Lower bound of a positive quotient; 0 where the denominator may vanish."""
    return max((numerator / denominator).lo, 0.0) if denominator.lo > 0.0 else 0.0
