"""E4: the smoothness and PL constants of f(x) = x^2 + 3 sin(x)^2, a nonconvex PL function."""

from __future__ import annotations

from dataclasses import dataclass

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._trigonometric import PI, cosine, sine
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "E4 (Karimi, Nutini, Schmidt 2016; constant sharpened)"
BRACKET = (2.2017091764358, 2.2017091764359)
"""Where |f'|^2 / (2 f) is least, to 1e-13; a hint that is checked, not believed."""
TAIL = 0.41
"""Below (2 pi - 3)^2 / (2 (pi^2 + 3)) = 0.4188, the bound of |f'|^2 / (2 f) beyond pi."""


@dataclass(frozen=True, slots=True)
class SineWellConstants:
    """What E4 proves of f(x) = x^2 + 3 sin(x)^2, whose least value is f(0) = 0.

    Attributes:
        smoothness: L = 8 = f''(0) = sup |f''|, exact.
        least_curvature: inf f'' = -4, exact: f is not convex.
        pl_lower: 1/2 |f'|^2 >= pl_lower f everywhere.
        pl_upper: no larger number than this has that property.
        worst_point_lower: left end of an interval that holds the only x > 0 of equality.
        worst_point_upper: right end of that interval.
    """

    smoothness: float
    least_curvature: float
    pl_lower: float
    pl_upper: float
    worst_point_lower: float
    worst_point_upper: float


def sine_well_constants(
    bracket: tuple[float, float] = BRACKET,
) -> Verdict[SineWellConstants]:
    """The function x^2 + 3 sin(x)^2 is 8-smooth and mu-PL with mu = 0.17553098... (E4).

    With h = 2 f f'' - f'^2, a sign change of h in (pi/2, pi) brackets the only minimiser x* > 0 of
    f'^2 / (2 f) on (0, pi], and there

        mu = f'(x*)^2 / (2 f(x*)) = f''(x*) = 2 + 6 cos(2 x*).

    Source: E4; Karimi, Nutini, Schmidt 2016 state mu = 1/32; proof in docs/theory/E4.md.

    Args:
        bracket: (a, b) with h(a) < 0 < h(b); the closer, the tighter the enclosure of mu.

    Returns:
        PROVED with the constants, or UNDECIDED naming `left_of_range`, `right_of_range`,
        `decreasing_at_left`, `increasing_at_right` or `tail`.

    Raises:
        InputError: `bracket` is not a pair of finite floats a <= b.
    """
    a, b = _bracket(bracket)
    hypotheses = [
        Hypothesis.above("left_of_range", "pi/2 < a", a.lo, (0.5 * PI).hi),
        Hypothesis.below("right_of_range", "b < pi", b.hi, PI.lo),
    ]
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, frozenset())
    lower, upper = _curvature(a).lo, _curvature(b).hi
    hypotheses += [
        Hypothesis.below("decreasing_at_left", "h(a) < 0", _slope_sign(a).hi, 0.0),
        Hypothesis.above("increasing_at_right", "h(b) > 0", _slope_sign(b).lo, 0.0),
        Hypothesis.below("tail", "2 + 6 cos(2 b) < 0.41 <= |f'|^2 / (2 f) beyond pi", upper, TAIL),
    ]

    def conclusion() -> SineWellConstants:
        return SineWellConstants(8.0, -4.0, lower, upper, a.lo, b.hi)

    return decide(SOURCE, hypotheses, frozenset(), conclusion)


def _curvature(x: Interval) -> Interval:
    """f''(x) = 2 + 6 cos(2 x)."""
    return 2.0 + 6.0 * cosine(2.0 * x)


def _slope_sign(x: Interval) -> Interval:
    """h = 2 f f'' - f'^2, which has the sign of the slope of f'^2 / (2 f) for x > 0."""
    value = x.square() + 1.5 * (1.0 - cosine(2.0 * x))  # sin(x)^2 = (1 - cos(2 x)) / 2
    slope = 2.0 * x + 3.0 * sine(2.0 * x)
    return 2.0 * value * _curvature(x) - slope.square()


def _bracket(bracket: tuple[float, float]) -> tuple[Interval, Interval]:
    interval: Interval | None
    try:
        a, b = bracket
        interval = Interval(a, b)
    except (TypeError, ValueError):
        interval = None
    if interval is None or not interval.is_finite():
        raise InputError(
            "`bracket` of sine_well_constants() must be two finite floats (a, b) with a <= b; got "
            f"{bracket!r}. Leave it out to use the stored one."
        )
    return Interval.point(interval.lo), Interval.point(interval.hi)
