"""E3: how long gradient descent from a random perturbation stays near a strict saddle."""

from __future__ import annotations

import math
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
from talweg.theory._logarithm import steps_to_shrink_upper
from talweg.theory._smooth_pl import product_upper
from talweg.theory._stochastic_constant import positive_or_unknown, power, step_count
from talweg.theory._strict_saddle import negative_curvature
from talweg.theory._trigonometric import PI
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE_QUADRATIC = "E3, a quadratic saddle (lecture)"
SOURCE_ESCAPE = "E3, escape by perturbation (lecture; Jin et al. 2017, constants explicit)"
SOURCE_SEARCH = "E3, second-order points (lecture; Jin et al. 2017, constants explicit)"


@dataclass(frozen=True, slots=True)
class QuadraticSaddleLeft:
    """What is proved at a saddle of a quadratic, with probability 1 - p over the perturbation.

    Attributes:
        failure_probability: p.
        steps_upper: after so many steps the distance from the saddle is at least `escape_radius`,
            and stays so; whole, may be inf.
        escape_radius: R.
        decrease_lower: from then on f(saddle) - f(w_k) is at least this; may be negative.
    """

    failure_probability: float
    steps_upper: float
    escape_radius: float
    decrease_lower: float


@dataclass(frozen=True, slots=True)
class SaddleEscaped:
    """What is proved of one perturbation followed by T steps of gradient descent.

    Attributes:
        steps: T.
        failure_probability_upper: except with this probability over the perturbation,
        decrease_lower: f at the unperturbed point minus f after the T steps is at least this.
    """

    steps: int
    failure_probability_upper: float
    decrease_lower: float


@dataclass(frozen=True, slots=True)
class SecondOrderPointFound:
    """What is proved of perturbed gradient descent as a whole.

    Attributes:
        episode: what one perturbation with its T steps achieves.
        steps_upper: within so many calls (a perturbation counts as one, so does a step) the method
            perturbs at a point with |grad f| <= threshold and lambda_min(D^2 f) >= -gamma; whole.
        failure_probability_upper: except with this probability.
    """

    episode: SaddleEscaped
    steps_upper: float
    failure_probability_upper: float


def quadratic_saddle_left(
    dimension: int,
    smoothness_upper: float,
    negative_curvature_lower: float,
    *,
    perturbation_radius: float,
    escape_radius: float,
    step_size: float,
    failure_probability: float,
    assumed: Iterable[str] = (),
) -> Verdict[QuadraticSaddleLeft]:
    """From a random start gradient descent leaves a quadratic saddle after logarithmic time (E3).

    For f(w) = 1/2 (w - s)^T H (w - s), |H| <= L, lambda_min(H) <= -gamma, w_0 uniform in B(s, r),
    0 < eta <= 2/L: with probability at least 1 - p

        |w_k - s| >= R  for all  k >= log(R / delta) / log(1 + eta gamma),
        delta = p r sqrt(pi / (2 (d + 1))),      f(s) - f(w_k) >= (gamma R^2 - L r^2) / 2.

    Source: E3; the linear part of Jin et al. 2017 with all constants; proof in docs/theory/E3.md.

    Args:
        dimension: d >= 1.
        smoothness_upper: L, bounds |H|.
        negative_curvature_lower: gamma, with lambda_min(H) <= -gamma.
        perturbation_radius: r.
        escape_radius: R, the distance that counts as escaped.
        step_size: eta.
        failure_probability: p in (0, 1).
        assumed: premises only assumed, out of `smoothness_upper`, `negative_curvature_lower`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming `smoothness_upper`,
        `negative_curvature_lower`, `step_size` or `growth`.

    Raises:
        InputError: NaN, a radius, step or probability out of range, gamma > L.
    """
    call = "quadratic_saddle_left"
    d = step_count(dimension, "dimension", call)
    big, gamma = _curvatures(smoothness_upper, negative_curvature_lower, call)
    r = positive(perturbation_radius, "perturbation_radius", call)
    far = positive(escape_radius, "escape_radius", call)
    eta = positive(step_size, "step_size", call)
    p = fraction(failure_probability, "failure_probability", call)
    trusted = assumed_names(assumed, ("smoothness_upper", "negative_curvature_lower"), call)

    hypotheses = [
        Hypothesis.known("smoothness_upper", "|D^2 f| <= value < inf", big),
        negative_curvature(gamma, "the saddle"),
    ]
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE_QUADRATIC, hypotheses, trusted)

    growth = Interval.point(eta) * gamma
    shrink = max((growth / (1.0 + growth)).lo, 0.0)  # 1 - 1 / (1 + eta gamma)
    hypotheses += [
        Hypothesis.below("step_size", "L eta <= 2", product_upper(big, eta), 2.0,
                         strict=False),
        Hypothesis.above("growth", "1 - 1 / (1 + eta gamma) > 0", shrink, 0.0),
    ]  # fmt: skip

    def conclusion() -> QuadraticSaddleLeft:
        # R / delta = R sqrt(2 (d + 1) / pi) / (p r)
        ratio = far * (2.0 * _plus_one(d) / PI).sqrt() / (Interval.point(p) * r)
        drop = 0.5 * (gamma * Interval.point(far).square() - big * Interval.point(r).square())
        return QuadraticSaddleLeft(p, steps_to_shrink_upper(ratio.hi, shrink), far, drop.lo)

    return decide(SOURCE_QUADRATIC, hypotheses, trusted, conclusion)


def perturbation_escapes_saddle(
    dimension: int,
    smoothness_upper: float,
    hessian_lipschitz_upper: float,
    gradient_norm_upper: float,
    negative_curvature_lower: float,
    *,
    perturbation_radius: float,
    step_size: float,
    steps: int,
    assumed: Iterable[str] = (),
) -> Verdict[SaddleEscaped]:
    """One random perturbation and T steps of gradient descent lower the loss at a saddle (E3).

    Let grad f be L-Lipschitz and D^2 f rho-Lipschitz on R^d, |grad f(x)| <= g and
    lambda_min(D^2 f(x)) <= -gamma < 0. Start at x + xi, xi uniform in B(0, r), and take T steps
    eta <= 1/L. With

        S = 1 / (3 eta rho T),   F = (S - r)^2 / (2 eta T),   r < S,

    f(x) - f(x_T) >= F - g r - L r^2 / 2, except with probability
    (4 S / r) sqrt((d + 1) / (2 pi)) (1 + eta gamma)^(-T).

    Source: E3; the coupling argument of Jin et al. 2017, whose theorem leaves an absolute constant
    unspecified; here every constant is explicit; proof in docs/theory/E3.md.

    Args:
        dimension: d >= 1.
        smoothness_upper: L.
        hessian_lipschitz_upper: rho > 0; for a quadratic see `quadratic_saddle_left`.
        gradient_norm_upper: g.
        negative_curvature_lower: gamma, with lambda_min(D^2 f(x)) <= -gamma.
        perturbation_radius: r.
        step_size: eta.
        steps: T >= 1.
        assumed: premises only assumed, out of `smoothness_upper`, `hessian_lipschitz_upper`,
            `gradient_norm_upper`, `negative_curvature_lower`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming a premise, `step_size`,
        `perturbation_radius`, `decrease` or `probability`.

    Raises:
        InputError: NaN, a radius or step that is not positive, rho = 0, gamma > L.
    """
    call = "perturbation_escapes_saddle"
    trusted = assumed_names(assumed, _ESCAPE_PREMISES, call)
    hypotheses, episode = _episode(
        dimension, smoothness_upper, hessian_lipschitz_upper, gradient_norm_upper,
        negative_curvature_lower, perturbation_radius, step_size, steps, call,
    )  # fmt: skip
    if episode is None:
        return decide(SOURCE_ESCAPE, hypotheses, trusted)
    escaped = episode
    return decide(SOURCE_ESCAPE, hypotheses, trusted, lambda: escaped)


def perturbed_descent_finds_second_order_point(
    initial_gap_upper: float,
    dimension: int,
    smoothness_upper: float,
    hessian_lipschitz_upper: float,
    *,
    gradient_threshold: float,
    curvature_threshold: float,
    perturbation_radius: float,
    step_size: float,
    steps: int,
    assumed: Iterable[str] = (),
) -> Verdict[SecondOrderPointFound]:
    """Perturbed gradient descent meets an approximate second-order point in bounded time (E3).

    The method: outside an episode, perturb when |grad f| <= g and step otherwise; a perturbation
    (xi uniform in B(0, r)) opens an episode of T steps. With the decrease Delta > 0 and the failure
    probability q of `perturbation_escapes_saddle`, and f >= f*: except with probability
    (floor(D_0 / Delta) + 1) q, the method perturbs at a point with |grad f| <= g and
    lambda_min(D^2 f) >= -gamma within

        D_0 max(2 / (eta g^2), (T + 1) / Delta) + T + 2   calls.

    Source: E3; Jin et al. 2017 theorem 3, with explicit constants and without its logarithmic
    optimality; proof in docs/theory/E3.md.

    Args:
        initial_gap_upper: upper bound of f(w0) - f*, where f >= f* everywhere.
        dimension: d >= 1.
        smoothness_upper: L.
        hessian_lipschitz_upper: rho > 0.
        gradient_threshold: g, the method's own threshold.
        curvature_threshold: gamma > 0, the negative curvature that still counts as a saddle.
        perturbation_radius: r.
        step_size: eta.
        steps: T >= 1, the length of an episode.
        assumed: premises only assumed, out of `initial_gap_upper`, `smoothness_upper`,
            `hessian_lipschitz_upper`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming a premise, `step_size`,
        `perturbation_radius`, `decrease` or `probability`.

    Raises:
        InputError: NaN, a radius, step, threshold or curvature that is not positive, gamma > L.
    """
    call = "perturbed_descent_finds_second_order_point"
    gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
    threshold = positive(gradient_threshold, "gradient_threshold", call)
    gamma = positive(curvature_threshold, "curvature_threshold", call)
    names = ("initial_gap_upper", "smoothness_upper", "hessian_lipschitz_upper")
    trusted = assumed_names(assumed, names, call)
    hypotheses, episode = _episode(
        dimension, smoothness_upper, hessian_lipschitz_upper, threshold, gamma,
        perturbation_radius, step_size, steps, call,
    )  # fmt: skip
    # threshold and curvature are the method's choices here, no premises
    chosen = ("gradient_norm_upper", "negative_curvature_lower")
    hypotheses = [h for h in hypotheses if h.name not in chosen]
    start = Hypothesis.known("initial_gap_upper", "0 <= f(w0) - f* <= value < inf", gap)
    hypotheses = [start, *hypotheses]
    if episode is None or not start.holds:
        return decide(SOURCE_SEARCH, hypotheses, trusted)

    escaped = episode
    episodes = gap / Interval.point(escaped.decrease_lower)
    count = 1.0 + Interval(0.0, _whole(episodes.hi))
    failure = (count * escaped.failure_probability_upper).hi
    hypotheses[-1] = Hypothesis.below("probability", "(floor(D_0 / Delta) + 1) q < 1", failure, 1.0)

    def conclusion() -> SecondOrderPointFound:
        plain = 2.0 * gap / (Interval.point(step_size) * Interval.point(threshold).square())
        most = plain.maximum(episodes * _plus_one(escaped.steps))
        calls = _whole((most + float(escaped.steps) + 2.0).hi)
        return SecondOrderPointFound(escaped, calls, failure)

    return decide(SOURCE_SEARCH, hypotheses, trusted, conclusion)


_ESCAPE_PREMISES = (
    "smoothness_upper", "hessian_lipschitz_upper", "gradient_norm_upper",
    "negative_curvature_lower",
)  # fmt: skip


def _episode(
    dimension: int, smoothness_upper: float, hessian_lipschitz_upper: float,
    gradient_norm_upper: float, negative_curvature_lower: float, perturbation_radius: float,
    step_size: float, steps: int, call: str,
) -> tuple[list[Hypothesis], SaddleEscaped | None]:  # fmt: skip
    """The hypotheses of one episode, and its conclusion when all of them hold."""
    d = step_count(dimension, "dimension", call)
    big, gamma = _curvatures(smoothness_upper, negative_curvature_lower, call)
    rho = positive_or_unknown(hessian_lipschitz_upper, "hessian_lipschitz_upper", call)
    g = upper_bound(gradient_norm_upper, "gradient_norm_upper", call)
    r = Interval.point(positive(perturbation_radius, "perturbation_radius", call))
    step = positive(step_size, "step_size", call)
    eta = Interval.point(step)
    t = step_count(steps, "steps", call)

    hypotheses = [
        Hypothesis.known("smoothness_upper", "grad f is L-Lipschitz, L <= value < inf", big),
        Hypothesis.known("hessian_lipschitz_upper", "D^2 f is rho-Lipschitz, rho <= value < inf",
                         rho),
        Hypothesis.known("gradient_norm_upper", "|grad f(x)| <= value < inf", g),
        negative_curvature(gamma, "x"),
    ]  # fmt: skip
    if not all(h.holds for h in hypotheses):
        return hypotheses, None

    s = Interval.point(max((1.0 / (3.0 * eta * rho * float(t))).lo, 0.0))  # any S up to this one
    hypotheses += [
        Hypothesis.below("step_size", "L eta <= 1", product_upper(big, step), 1.0, strict=False),
        Hypothesis.below("perturbation_radius", "r < S = 1 / (3 eta rho T)", r.hi, s.lo),
    ]
    if not all(h.holds for h in hypotheses):
        return hypotheses, None

    lost = (s - r).square() / (2.0 * eta * float(t))  # F
    decrease = (lost - g * r - 0.5 * (big * r.square())).lo
    decay = power(1.0 + eta * gamma, t)
    section = (_plus_one(d) / (2.0 * PI)).sqrt()  # >= V_{d-1} / V_d of unit balls
    failure = (4.0 * s / r * section / decay).hi
    hypotheses += [
        Hypothesis.above("decrease", "F - g r - L r^2 / 2 > 0", decrease, 0.0),
        Hypothesis.below(
            "probability", "(4 S / r) sqrt((d + 1) / (2 pi)) (1 + eta gamma)^-T < 1", failure, 1.0
        ),
    ]
    if not all(h.holds for h in hypotheses):
        return hypotheses, None
    return hypotheses, SaddleEscaped(t, failure, decrease)


def _curvatures(smoothness_upper: float, curvature_lower: float, call: str) -> tuple[float, float]:
    big = upper_bound(smoothness_upper, "smoothness_upper", call)
    gamma = lower_bound(curvature_lower, "negative_curvature_lower", call)
    if gamma > big:
        raise InputError(
            f"The negative curvature given to {call}() must be at most `smoothness_upper`, as "
            f"|lambda_min(D^2 f)| <= |D^2 f| <= L; got {gamma!r} against {big!r}. One of the two "
            "is not the bound its name promises."
        )
    return big, gamma


def _plus_one(n: int) -> Interval:
    return Interval.point(float(n)) + 1.0


def _whole(x: float) -> float:
    """The next whole number at or above x, or inf."""
    return float(math.ceil(x)) if math.isfinite(x) else math.inf
