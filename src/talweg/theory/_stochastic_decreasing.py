"""E2, decreasing steps: O(log T / sqrt T) without PL, O(1 / t) with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, positive, upper_bound
from talweg.theory._logarithm import log_enclosure
from talweg.theory._smooth_pl import (
    descent_share_lower,
    product_upper,
    quotient_upper,
    smooth_pl_premises,
    smoothness_and_pl,
)
from talweg.theory._stochastic_constant import (
    noisy_premises,
    positive_or_unknown,
    step_count,
    variance_premise,
)
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE_GRADIENT = "E2, steps c / sqrt(t) (lecture)"
SOURCE_PL = "E2, steps 2 / (mu (t + g)) under PL (lecture)"


@dataclass(frozen=True, slots=True)
class DecreasingStepsGradient:
    """What E2 proves for eta_t = c / sqrt(t), t = 1..T, without PL.

    Attributes:
        initial_step: c.
        steps: T.
        mean_squared_gradient_upper: (1/T) sum_t E|grad f(w_t)|^2 is at most this.
        weighted_squared_gradient_upper: the mean with weights eta_t / sum eta is at most this,
            and so is min_t E|grad f(w_t)|^2; about half of the other.
    """

    initial_step: float
    steps: int
    mean_squared_gradient_upper: float
    weighted_squared_gradient_upper: float


@dataclass(frozen=True, slots=True)
class DecreasingStepsConvergence:
    """What E2 proves for eta_t = 2 / (mu (t + g)), t = 0, 1, ..., under PL.

    Attributes:
        pl: the number mu in the schedule.
        offset: the number g in the schedule.
        first_step_approx: eta_0, to the nearest float or so.
        constant_upper: E D_t <= constant / (t + g) for every t >= 0.
    """

    pl: float
    offset: float
    first_step_approx: float
    constant_upper: float

    def expected_gap_upper(self, steps: int) -> float:
        """Upper bound of E D_t after `steps` steps.

        Args:
            steps: t >= 0.
        """
        t = step_count(steps, "steps", "DecreasingStepsConvergence.expected_gap_upper", least=0)
        return (self.constant_upper / (Interval.point(self.offset) + float(t))).hi


def decreasing_steps_gradient_bounded(
    initial_gap_upper: float,
    smoothness_upper: float,
    variance_upper: float,
    *,
    initial_step: float,
    steps: int,
    assumed: Iterable[str] = (),
) -> Verdict[DecreasingStepsGradient]:
    """Steps c / sqrt(t) make the gradient small on average, without knowing T (E2, no PL).

    With the noise of `mean_squared_gradient_bounded`, eta_t = c / sqrt(t) for t = 1..T, L c < 2,

        A = (D_0 + L s^2 c^2 (1 + log T) / 2) / (c (1 - L c / 2)),
        (1/T) sum E|g_t|^2 <= A / sqrt(T),
        sum eta_t E|g_t|^2 / sum eta_t <= A / max(sqrt(T), 2 sqrt(T + 1) - 2).

    The logarithm belongs to this schedule; a constant step chosen for T has none.

    Source: E2; lecture; proof in docs/theory/E2.md.

    Args:
        initial_gap_upper: upper bound of f(w_1) - f*, where f >= f* everywhere.
        smoothness_upper: L, a Lipschitz constant of grad f on R^p.
        variance_upper: s^2, at every point visited.
        initial_step: c, the first step.
        steps: T >= 1.
        assumed: premises only assumed, out of `initial_gap_upper`, `smoothness_upper`,
            `variance_upper`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming a premise or `step_size`.

    Raises:
        InputError: NaN, a negative number, a step that is not positive, steps below 1.
    """
    call = "decreasing_steps_gradient_bounded"
    gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
    big = positive_or_unknown(smoothness_upper, "smoothness_upper", call)
    variance = upper_bound(variance_upper, "variance_upper", call)
    c = positive(initial_step, "initial_step", call)
    count = step_count(steps, "steps", call)
    trusted = assumed_names(
        assumed, ("initial_gap_upper", "smoothness_upper", "variance_upper"), call
    )

    hypotheses = noisy_premises(gap, big, variance)
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE_GRADIENT, hypotheses, trusted)
    hypotheses.append(Hypothesis.below("step_size", "L c < 2", product_upper(big, c), 2.0))

    def conclusion() -> DecreasingStepsGradient:
        harmonic = 1.0 + log_enclosure(float(count))  # >= sum_{t<=T} 1/t
        noise = 0.5 * (Interval.point(big) * variance * Interval.point(c).square() * harmonic)
        a = (gap + noise) / (Interval.point(c) * descent_share_lower(c, big))
        root = Interval.point(float(count)).sqrt()
        weights = root.maximum(2.0 * Interval.point(float(count + 1)).sqrt() - 2.0)
        return DecreasingStepsGradient(
            initial_step=c,
            steps=count,
            mean_squared_gradient_upper=(a / root).hi,
            weighted_squared_gradient_upper=(a / weights).hi,
        )

    return decide(SOURCE_GRADIENT, hypotheses, trusted, conclusion)


def decreasing_steps_converge(
    initial_gap_upper: float,
    smoothness_upper: float,
    pl_lower: float,
    variance_upper: float,
    *,
    offset: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[DecreasingStepsConvergence]:
    """Steps 2 / (mu (t + g)) under PL go below every noise floor, at the rate 1/t (E2).

    With the noise of `mean_squared_gradient_bounded`, 1/2 |grad f|^2 >= mu D and g >= 2 L / mu:

        E D_t <= nu / (t + g),     nu = max(g D_0, 2 L s^2 / (mu^2 (3 - 4 L / (mu g)))).

    Source: E2; lecture has 1 in place of 3 - 4 L / (mu g), equal at g = 2 L / mu and up to three
    times as large beyond; proof in docs/theory/E2.md.

    Args:
        initial_gap_upper: upper bound of f(w0) - f*, where f >= f* everywhere.
        smoothness_upper: L, a Lipschitz constant of grad f on R^p.
        pl_lower: mu, with 1/2 |grad f|^2 >= mu (f - f*) on R^p; the schedule uses this number.
        variance_upper: s^2, at every point visited.
        offset: g; None takes 2 L / mu, rounded up.
        assumed: premises only assumed, out of `initial_gap_upper`, `smoothness_upper`,
            `pl_lower`, `variance_upper`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming a premise or `offset`.

    Raises:
        InputError: NaN, a negative number, an offset that is not positive, or mu > L.
    """
    call = "decreasing_steps_converge"
    gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
    big, mu = smoothness_and_pl(smoothness_upper, pl_lower, call)
    variance = upper_bound(variance_upper, "variance_upper", call)
    given = None if offset is None else positive(offset, "offset", call)
    trusted = assumed_names(
        assumed, ("initial_gap_upper", "smoothness_upper", "pl_lower", "variance_upper"), call
    )

    hypotheses = [*smooth_pl_premises(gap, big, mu), variance_premise(variance)]
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE_PL, hypotheses, trusted)

    condition = Interval.point(big) / Interval.point(mu)
    least = 2.0 * quotient_upper(big, mu)  # doubling is exact
    g = least if given is None else given
    hypotheses.append(Hypothesis.below("offset", "2 L / mu <= g", least, g, strict=False))
    if g == float("inf"):  # 2 L / mu overflowed, and no schedule is left
        hypotheses[-1] = Hypothesis.known("offset", "2 L / mu <= g < inf", g)

    def conclusion() -> DecreasingStepsConvergence:
        share = max((3.0 - 4.0 * condition / Interval.point(g)).lo, 1.0)  # >= 1 as g >= 2 L / mu
        noise = 2.0 * Interval.point(big) * variance / Interval.point(mu).square()
        start = Interval.point(g) * gap
        return DecreasingStepsConvergence(
            pl=mu,
            offset=g,
            first_step_approx=(2.0 / (Interval.point(mu) * g)).mid,
            constant_upper=start.maximum(noise / share).hi,
        )

    return decide(SOURCE_PL, hypotheses, trusted, conclusion)
