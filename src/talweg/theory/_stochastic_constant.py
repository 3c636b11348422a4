"""E2, constant step: what stochastic gradients of bounded variance allow, and the noise floor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, positive, upper_bound
from talweg.theory._logarithm import steps_to_shrink_upper
from talweg.theory._smooth_pl import (
    RATE,
    descent_share_lower,
    inverse_lower,
    one_minus_rate_lower,
    product_upper,
    smooth_pl_premises,
    smoothness_and_pl,
    step_hypotheses,
)
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE_GRADIENT = "E2, constant step (lecture; Ghadimi, Lan 2013)"
SOURCE_FLOOR = "E2, noise floor under PL (lecture; Karimi, Nutini, Schmidt 2016)"


@dataclass(frozen=True, slots=True)
class MeanSquaredGradient:
    """What E2 proves without PL, for T stochastic steps of one size.

    Attributes:
        step_size: eta.
        steps: T.
        mean_squared_gradient_upper: (1/T) sum_{t<T} E|grad f(w_t)|^2 is at most this.
        floor_upper: the part of it that more steps do not remove.
    """

    step_size: float
    steps: int
    mean_squared_gradient_upper: float
    floor_upper: float


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """What E2 proves under PL: E D_t <= rate^t D_0 + (1 - rate^t) floor.

    Attributes:
        step_size: eta.
        loss_rate_upper: the rate.
        one_minus_rate_lower: 2 mu eta (1 - L eta / 2) from below.
        injected_upper: L eta^2 s^2 / 2, what the noise adds in one step.
        floor_upper: injected / (1 - rate), rounded up. The number that it bounds is at most
            L eta s^2 / (2 mu) for eta <= 1/L; up to rounding, so is this one.
        steps_to_floor_upper: from this step on E D_t <= 2 floor; whole, inf without noise.
    """

    step_size: float
    loss_rate_upper: float
    one_minus_rate_lower: float
    injected_upper: float
    floor_upper: float
    steps_to_floor_upper: float

    def expected_gap_upper(self, initial_gap_upper: float, steps: int) -> float:
        """Upper bound of E D_t after `steps` steps from D_0.

        Args:
            initial_gap_upper: upper bound of D_0.
            steps: t >= 0.
        """
        call = "NoiseFloor.expected_gap_upper"
        gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
        t = step_count(steps, "steps", call, least=0)
        shrunk = power(1.0 - Interval.point(self.one_minus_rate_lower), t)
        return (shrunk * gap + (1.0 - shrunk) * self.floor_upper).hi


def mean_squared_gradient_bounded(
    initial_gap_upper: float,
    smoothness_upper: float,
    variance_upper: float,
    *,
    steps: int,
    step_size: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[MeanSquaredGradient]:
    """Stochastic gradient descent makes the gradient small on average (E2, no convexity, no PL).

    For w_{t+1} = w_t - eta v_t with E[v_t | past] = grad f(w_t), E[|v_t - grad f(w_t)|^2 | past]
    <= s^2, grad f L-Lipschitz, f >= f*, and 0 < eta < 2 / L:

        (1/T) sum_{t<T} E|grad f(w_t)|^2 <= (D_0 / (eta T) + L eta s^2 / 2) / (1 - L eta / 2),

    at most 2 D_0 / (eta T) + L eta s^2 when eta <= 1/L. The default step
    min(1/L, sqrt(2 D_0 / (L s^2 T))) makes it at most max(4 L D_0 / T, 2 sqrt(2 L D_0 s^2 / T)).

    Source: E2; lecture, with 1/(1 - L eta / 2) in place of 2; proof in docs/theory/E2.md.

    Args:
        initial_gap_upper: upper bound of f(w0) - f*, where f >= f* everywhere.
        smoothness_upper: L, a Lipschitz constant of grad f on R^p.
        variance_upper: s^2, at every point visited (the trace of the covariance of v_t).
        steps: T >= 1.
        step_size: eta; None takes the default above (1/L when D_0 or s^2 is 0).
        assumed: premises only assumed, out of `initial_gap_upper`, `smoothness_upper`,
            `variance_upper`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming a premise or `step_size`.

    Raises:
        InputError: NaN, a negative number, a step that is not positive, steps below 1.
    """
    call = "mean_squared_gradient_bounded"
    gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
    big = positive_or_unknown(smoothness_upper, "smoothness_upper", call)
    variance = upper_bound(variance_upper, "variance_upper", call)
    count = step_count(steps, "steps", call)
    step = None if step_size is None else positive(step_size, "step_size", call)
    trusted = assumed_names(
        assumed, ("initial_gap_upper", "smoothness_upper", "variance_upper"), call
    )

    hypotheses = noisy_premises(gap, big, variance)
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE_GRADIENT, hypotheses, trusted)

    eta = _balancing_step(gap, big, variance, count) if step is None else step
    hypotheses.append(Hypothesis.below("step_size", "L eta < 2", product_upper(big, eta), 2.0))

    def conclusion() -> MeanSquaredGradient:
        kept = Interval.point(descent_share_lower(eta, big))
        noise = 0.5 * (Interval.point(big) * eta * variance)
        return MeanSquaredGradient(
            step_size=eta,
            steps=count,
            mean_squared_gradient_upper=(
                (gap / (Interval.point(eta) * float(count)) + noise) / kept
            ).hi,
            floor_upper=(noise / kept).hi,
        )

    return decide(SOURCE_GRADIENT, hypotheses, trusted, conclusion)


def noise_floor_reached(
    initial_gap_upper: float,
    smoothness_upper: float,
    pl_lower: float,
    variance_upper: float,
    *,
    step_size: float,
    assumed: Iterable[str] = (),
) -> Verdict[NoiseFloor]:
    """Stochastic gradient descent under PL falls linearly to a floor proportional to eta (E2).

    With the noise of `mean_squared_gradient_bounded` and 1/2 |grad f|^2 >= mu D:

        E D_{t+1} <= (1 - delta) E D_t + L eta^2 s^2 / 2,     delta = 2 mu eta (1 - L eta / 2),
        floor = L eta s^2 / (4 mu (1 - L eta / 2)).

    Equality holds for f = L w^2 / 2 and noise of variance exactly s^2.

    Source: E2; lecture has delta = mu eta and floor L eta s^2 / (2 mu) for eta <= 1/L, up to twice
    as large; proof in docs/theory/E2.md.

    Args:
        initial_gap_upper: upper bound of f(w0) - f*, where f >= f* everywhere.
        smoothness_upper: L, a Lipschitz constant of grad f on R^p.
        pl_lower: mu, with 1/2 |grad f|^2 >= mu (f - f*) on R^p.
        variance_upper: s^2, at every point visited.
        step_size: eta. No default: it trades the rate against the floor.
        assumed: premises only assumed, out of `initial_gap_upper`, `smoothness_upper`,
            `pl_lower`, `variance_upper`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming a premise, `step_size` or `rate_positive`.

    Raises:
        InputError: NaN, a negative number, a step that is not positive, or mu > L.
    """
    call = "noise_floor_reached"
    gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
    big, mu = smoothness_and_pl(smoothness_upper, pl_lower, call)
    variance = upper_bound(variance_upper, "variance_upper", call)
    eta = positive(step_size, "step_size", call)
    trusted = assumed_names(
        assumed, ("initial_gap_upper", "smoothness_upper", "pl_lower", "variance_upper"), call
    )

    hypotheses = [*smooth_pl_premises(gap, big, mu), variance_premise(variance)]
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE_FLOOR, hypotheses, trusted)
    delta = one_minus_rate_lower(eta, big, mu)
    hypotheses += step_hypotheses(eta, big, delta, RATE)

    def conclusion() -> NoiseFloor:
        injected = (0.5 * Interval.point(big) * Interval.point(eta).square() * variance).hi
        floor = (Interval.point(injected) / Interval.point(delta)).hi
        ratio = (Interval.point(gap) / Interval.point(floor)).hi if floor > 0.0 else math.inf
        return NoiseFloor(
            step_size=eta,
            loss_rate_upper=(1.0 - Interval.point(delta)).hi,
            one_minus_rate_lower=delta,
            injected_upper=injected,
            floor_upper=floor,
            steps_to_floor_upper=steps_to_shrink_upper(ratio, delta),
        )

    return decide(SOURCE_FLOOR, hypotheses, trusted, conclusion)


def noisy_premises(gap: float, smoothness: float, variance: float) -> list[Hypothesis]:
    """The premises of stochastic gradient descent without PL.

    Args:
        gap: upper bound of D_0.
        smoothness: upper bound of L.
        variance: upper bound of s^2.
    """
    return [
        Hypothesis.known("initial_gap_upper", "0 <= f(w0) - f* <= value < inf", gap),
        Hypothesis.known("smoothness_upper", "grad f is L-Lipschitz, L <= value < inf", smoothness),
        variance_premise(variance),
    ]


def variance_premise(variance: float) -> Hypothesis:
    """The premise on the noise.

    Args:
        variance: upper bound of s^2.
    """
    statement = "E[v | past] = grad f and E[|v - grad f|^2 | past] <= value < inf"
    return Hypothesis.known("variance_upper", statement, variance)


def positive_or_unknown(value: float, name: str, call: str) -> float:
    """`value` as a float in (0, inf]: a constant that must not vanish, inf when unknown.

    Args:
        value: an upper bound.
        name: the argument's name, for the message.
        call: the function's name, for the message.

    Raises:
        InputError: NaN, zero or negative.
    """
    x = upper_bound(value, name, call)
    if x == 0.0:
        raise InputError(
            f"`{name}` of {call}() must be above 0 (inf when no bound is known); got {value!r}. "
            "Any larger number bounds the same constant: pass a small positive one."
        )
    return x


def step_count(value: int, name: str, call: str, *, least: int = 1) -> int:
    """`value` as a number of steps.

    Args:
        value: the count.
        name: the argument's name, for the message.
        call: the function's name, for the message.
        least: the smallest one allowed.

    Raises:
        InputError: not an int, below `least`, above 2**53.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 2**53:
        raise InputError(
            f"`{name}` of {call}() must be an int from {least} to 2**53; got {value!r} of type "
            f"{type(value).__name__}. Pass the number of steps."
        )
    return value


def power(base: Interval, exponent: int) -> Interval:
    """base^exponent by repeated squaring, rounded outward, for base >= 0.

    Args:
        base: an interval without negative numbers.
        exponent: >= 0.
    """
    result, square, n = Interval.point(1.0), base, exponent
    while n:
        if n & 1:
            result = result * square
        n >>= 1
        if n:
            square = square.square()
    return result


def _balancing_step(gap: float, smoothness: float, variance: float, steps: int) -> float:
    """min(1/L, sqrt(2 D_0 / (L s^2 T))), rounded down; any positive number would be sound."""
    largest = inverse_lower(smoothness)
    noise = Interval.point(smoothness) * variance * float(steps)
    if not (gap > 0.0 and noise.lo > 0.0):
        return largest
    balanced = (2.0 * Interval.point(gap) / noise).clip_nonnegative().sqrt().lo
    return min(largest, balanced) if balanced > 0.0 else largest
