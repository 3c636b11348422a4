"""E1: gradient descent on a smooth loss with the Polyak-Lojasiewicz inequality everywhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, lower_bound, positive, upper_bound
from talweg.theory._logarithm import steps_to_shrink_upper
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "E1 (lecture; Karimi, Nutini, Schmidt 2016)"
SOURCE_POLYAK = "E1, capped Polyak steps (lecture; Loizou et al. 2021)"
RATE = "2 mu eta (1 - L eta / 2) > 0"
PREMISES = ("initial_gap_upper", "smoothness_upper", "pl_lower")


@dataclass(frozen=True, slots=True)
class SmoothPLConvergence:
    """What E1 proves: w_k converges to some w* with f(w*) = f*.

    Attributes:
        step_size: the step that the numbers speak of; with Polyak steps the largest one.
        loss_rate_upper: f_{k+1} - f* <= rate (f_k - f*).
        one_minus_rate_lower: 2 mu eta (1 - L eta / 2) from below.
        simple_rate_upper: 1 - mu eta, the textbook rate; None where eta > 1/L or steps vary.
        halving_steps_upper: after so many steps f - f* is at most half; whole, may be inf.
        path_upper: length of the whole path; |w_k - w*| <= path rate^{k/2}.
    """

    step_size: float
    loss_rate_upper: float
    one_minus_rate_lower: float
    simple_rate_upper: float | None
    halving_steps_upper: float
    path_upper: float


def smooth_pl_descent_converges(
    initial_gap_upper: float,
    smoothness_upper: float,
    pl_lower: float,
    *,
    step_size: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[SmoothPLConvergence]:
    """Gradient descent with a step below 2/L converges linearly to the infimum (E1).

    With D = f - f* >= 0, grad f L-Lipschitz and 1/2 |grad f|^2 >= mu D, all on R^p:

        D_{k+1} <= (1 - 2 mu eta (1 - L eta / 2)) D_k,       0 < eta < 2 / L,
        D_{k+1} <= (1 - mu eta) D_k,                         0 < eta <= 1 / L,

    the second being the weaker one, and the path is no longer than
    sqrt(2 D_0 / mu) / (1 - L eta / 2).

    Source: E1; Karimi, Nutini, Schmidt 2016 theorem 1 is the second line; proof in
    docs/theory/E1.md.

    Args:
        initial_gap_upper: upper bound of f(w0) - f*, where f >= f* everywhere.
        smoothness_upper: L, a Lipschitz constant of grad f on R^p.
        pl_lower: mu, with 1/2 |grad f|^2 >= mu (f - f*) on R^p.
        step_size: eta to verify; None takes 1/L, for which the rate is best.
        assumed: premises only assumed, out of `initial_gap_upper`, `smoothness_upper`, `pl_lower`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming `initial_gap_upper`, `smoothness_upper`,
        `pl_lower`, `step_size` or `rate_positive`.

    Raises:
        InputError: NaN, a negative gap, a step that is not positive, or mu > L.
    """
    call = "smooth_pl_descent_converges"
    gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
    big, mu = smoothness_and_pl(smoothness_upper, pl_lower, call)
    step = None if step_size is None else positive(step_size, "step_size", call)
    trusted = assumed_names(assumed, PREMISES, call)

    hypotheses = smooth_pl_premises(gap, big, mu)
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    eta = inverse_lower(big) if step is None else step
    delta = one_minus_rate_lower(eta, big, mu)
    hypotheses += step_hypotheses(eta, big, delta, RATE)

    def conclusion() -> SmoothPLConvergence:
        short = product_upper(big, eta) <= 1.0
        simple = (1.0 - Interval.point(mu) * eta).hi if short else None
        return _convergence(gap, big, mu, eta, delta, simple)

    return decide(SOURCE, hypotheses, trusted, conclusion)


def polyak_steps_converge(
    initial_gap_upper: float,
    smoothness_upper: float,
    pl_lower: float,
    *,
    max_step: float,
    scale: float = 1.0,
    assumed: Iterable[str] = (),
) -> Verdict[SmoothPLConvergence]:
    """Polyak steps with a cap below 2/L converge linearly, with any lower bound of f (E1).

    With D = f - f*, grad f L-Lipschitz, 1/2 |grad f|^2 >= mu D on R^p, and a number b <= f*:

        eta_k = min((f(w_k) - b) / (c |grad f(w_k)|^2), h),        L h < 2,

    lies in [min(1 / (2 c L), h), h], and D_{k+1} <= (1 - delta) D_k where delta is the smaller
    value of 2 mu eta (1 - L eta / 2) at the two ends. Without the cap nothing is proved here: the
    Polyak step can be as large as 1/(2 c mu), far above 2/L.

    Source: E1; Loizou et al. 2021 (stochastic Polyak steps with a cap); proof in docs/theory/E1.md.

    Args:
        initial_gap_upper: upper bound of f(w0) - f*, where f >= f* everywhere.
        smoothness_upper: L, a Lipschitz constant of grad f on R^p.
        pl_lower: mu, with 1/2 |grad f|^2 >= mu (f - f*) on R^p.
        max_step: h, the cap.
        scale: c, the divisor; 1 is Polyak's own choice.
        assumed: premises only assumed, out of `initial_gap_upper`, `smoothness_upper`, `pl_lower`.

    Returns:
        PROVED with the numbers (`step_size` is the cap), or UNDECIDED naming
        `initial_gap_upper`, `smoothness_upper`, `pl_lower`, `step_size` or `rate_positive`.

    Raises:
        InputError: NaN, a negative gap, a cap or scale that is not positive, or mu > L.
    """
    call = "polyak_steps_converge"
    gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
    big, mu = smoothness_and_pl(smoothness_upper, pl_lower, call)
    cap = positive(max_step, "max_step", call)
    c = positive(scale, "scale", call)
    trusted = assumed_names(assumed, PREMISES, call)

    hypotheses = smooth_pl_premises(gap, big, mu)
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE_POLYAK, hypotheses, trusted)

    least = max(min((1.0 / (2.0 * Interval.point(c) * big)).lo, cap), 0.0)
    # eta -> 2 mu eta (1 - L eta / 2) is concave, so its minimum on [least, cap] is at an end
    delta = min(one_minus_rate_lower(least, big, mu), one_minus_rate_lower(cap, big, mu))
    hypotheses += step_hypotheses(cap, big, delta, RATE + " at both ends")

    def conclusion() -> SmoothPLConvergence:
        return _convergence(gap, big, mu, cap, delta, None)

    return decide(SOURCE_POLYAK, hypotheses, trusted, conclusion)


def smoothness_and_pl(smoothness_upper: float, pl_lower: float, call: str) -> tuple[float, float]:
    """L and mu as floats, refused when no loss has them.

    Args:
        smoothness_upper: upper bound of L.
        pl_lower: lower bound of mu.
        call: the function's name, for the message.

    Raises:
        InputError: malformed numbers, or mu > L: |grad f|^2 <= 2 L (f - f*) for every L-smooth f.
    """
    big = upper_bound(smoothness_upper, "smoothness_upper", call)
    mu = lower_bound(pl_lower, "pl_lower", call)
    if mu > big:
        raise InputError(
            f"`pl_lower` of {call}() must be at most `smoothness_upper`, because 2 mu (f - f*) <= "
            f"|grad f|^2 <= 2 L (f - f*) for every f that is not constant; got {mu!r} against "
            f"{big!r}. One of the two is not the bound its name promises."
        )
    return big, mu


def smooth_pl_premises(gap: float, smoothness: float, mu: float) -> list[Hypothesis]:
    """The three premises that every rate under smoothness and PL starts from.

    Args:
        gap: upper bound of D_0.
        smoothness: upper bound of L.
        mu: lower bound of mu.
    """
    return [
        Hypothesis.known("initial_gap_upper", "0 <= f(w0) - f* <= value < inf", gap),
        Hypothesis.known("smoothness_upper", "grad f is L-Lipschitz, L <= value < inf", smoothness),
        Hypothesis.above("pl_lower", "1/2 |grad f|^2 >= mu (f - f*), mu = value > 0", mu, 0.0),
    ]


def step_hypotheses(
    eta: float, smoothness: float, delta: float, statement: str
) -> list[Hypothesis]:
    """L eta < 2 and, once that holds, a rate that is positive in floating point too.

    Args:
        eta: the largest step.
        smoothness: upper bound of L.
        delta: the rate, rounded down.
        statement: the rate's positivity as a formula.
    """
    step = Hypothesis.below("step_size", "L eta < 2", product_upper(smoothness, eta), 2.0)
    return [step, Hypothesis.above("rate_positive", statement, delta, 0.0)][: 1 + step.holds]


def one_minus_rate_lower(eta: float, smoothness: float, mu: float) -> float:
    """The number ``2 mu eta (1 - L eta / 2)`` rounded down into [0, 1].

    Args:
        eta: the step, >= 0.
        smoothness: upper bound of L.
        mu: lower bound of mu, > 0.
    """
    kept = descent_share_lower(eta, smoothness)
    value = (2.0 * Interval.point(mu) * eta * kept).lo
    return min(max(value, 0.0), 1.0)


def descent_share_lower(eta: float, smoothness: float) -> float:
    """The share 1 - L eta / 2 of eta |grad f|^2 that one step surely gains, rounded down.

    Args:
        eta: the step, >= 0.
        smoothness: upper bound of L.
    """
    return max((1.0 - 0.5 * Interval.point(product_upper(smoothness, eta))).lo, 0.0)


def product_upper(a: float, b: float) -> float:
    """a b rounded up, and exact where a float holds it: a step of 1/8 is no more than 1 / 8.

    Args:
        a: finite, >= 0.
        b: finite, >= 0.
    """
    product = a * b
    if math.isinf(product) or Fraction(a) * Fraction(b) <= Fraction(product):
        return product
    return math.nextafter(product, math.inf)


def quotient_upper(a: float, b: float) -> float:
    """a / b rounded up, and exact where a float holds it; inf where it overflows.

    Args:
        a: finite, >= 0.
        b: finite, > 0.
    """
    quotient = Fraction(a) / Fraction(b)
    if quotient > Fraction(sys.float_info.max):
        return math.inf
    nearest = float(quotient)
    return nearest if Fraction(nearest) >= quotient else math.nextafter(nearest, math.inf)


def inverse_lower(a: float) -> float:
    """1 / a rounded down, and exact where a float holds it; 0 where it underflows.

    Args:
        a: finite, > 0.
    """
    inverse = 1.0 / a if a >= 2.0**-1022 else 2.0**1022  # 1 / a overflows for subnormal a
    return inverse if product_upper(a, inverse) <= 1.0 else math.nextafter(inverse, 0.0)


def _convergence(
    gap: float, smoothness: float, mu: float, eta: float, delta: float, simple: float | None
) -> SmoothPLConvergence:
    kept = Interval.point(descent_share_lower(eta, smoothness))
    square = (2.0 * Interval.point(gap) / Interval.point(mu)).clip_nonnegative()  # may underflow
    return SmoothPLConvergence(
        step_size=eta,
        loss_rate_upper=(1.0 - Interval.point(delta)).hi,
        one_minus_rate_lower=delta,
        simple_rate_upper=simple,
        halving_steps_upper=steps_to_shrink_upper(2.0, delta),
        path_upper=(square.sqrt() / kept).hi,
    )
