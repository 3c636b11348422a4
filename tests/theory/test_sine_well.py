"""E4: the constants of x^2 + 3 sin(x)^2, proved again by other means."""

from __future__ import annotations

import math

import flint
import pytest
from flint import arb
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory import Status, sine_well_constants
from talweg.theory._trigonometric import PI, cosine, sine


@given(st.floats(-8.0, 8.0), st.floats(0.0, 0.5), st.floats(0.0, 1.0))
def test_sine_and_cosine_contain(middle: float, width: float, share: float) -> None:
    mp.dps = 50
    lo, hi = max(middle - width, -8.0), min(middle + width, 8.0)
    x = Interval(lo, hi)
    point = mp.mpf(lo) + mp.mpf(share) * (mp.mpf(hi) - mp.mpf(lo))
    for ours, exact in ((sine(x), mp.sin(point)), (cosine(x), mp.cos(point))):
        assert mp.mpf(ours.lo) <= exact <= mp.mpf(ours.hi)
        assert ours.width() <= 2 * x.width() + 1e-11


def test_angles_out_of_range_are_enclosed_too() -> None:
    assert sine(Interval(0.0, 9.0)) == Interval(-1.0, 1.0)
    assert cosine(Interval(-math.inf, 1.0)) == Interval(-1.0, 1.0)
    mp.dps = 50
    assert mp.mpf(PI.lo) < mp.pi < mp.mpf(PI.hi)


def test_the_constant_is_enclosed_tightly() -> None:
    mp.dps = 50
    c = sine_well_constants().conclusion
    assert c is not None
    worst = mp.findroot(
        lambda x: (
            2 * (x * x + 3 * mp.sin(x) ** 2) * (2 + 6 * mp.cos(2 * x))
            - (2 * x + 3 * mp.sin(2 * x)) ** 2
        ),
        mp.mpf("2.2"),
    )
    ratio = (2 * worst + 3 * mp.sin(2 * worst)) ** 2 / (2 * worst**2 + 6 * mp.sin(worst) ** 2)
    assert mp.mpf(c.pl_lower) <= ratio <= mp.mpf(c.pl_upper)
    assert c.pl_upper - c.pl_lower < 5e-12
    assert c.worst_point_lower <= worst <= c.worst_point_upper
    assert c.pl_lower > 1 / 32
    assert c.pl_lower == pytest.approx(0.1755, abs=1e-4)
    assert (c.smoothness, c.least_curvature) == (8.0, -4.0)


def pl_holds_by_arb(mu: arb, until: float = 3.0) -> bool:
    """f'^2 >= 2 mu f on [1/4, until], by bisection in Arb; the rest of R by hand (E4's page)."""
    stack = [(0.25, until)]
    for _ in range(200000):
        if not stack:
            return True
        lo, hi = stack.pop()
        x = arb(0.5 * (lo + hi), 0.5 * (hi - lo) * (1 + 1e-15) + 1e-300)
        slope, value = 2 * x + 3 * (2 * x).sin(), x * x + 3 * x.sin() ** 2
        if slope > 0 and slope * slope - 2 * mu * value >= 0:
            continue
        if hi - lo < 1e-9:
            return False
        middle = 0.5 * (lo + hi)
        stack += [(lo, middle), (middle, hi)]
    return False


def test_the_published_and_the_sharper_constant_hold_by_arb() -> None:
    """An independent proof that never uses where the minimum is."""
    assert pl_holds_by_arb(arb(1) / 32)
    assert pl_holds_by_arb(arb("0.1755"))
    assert not pl_holds_by_arb(arb("0.1756"))
    # (0, 1/4]: f' >= 8 x - 4 x^3 and f <= 4 x^2; [3, inf): f' >= 2 x - 3, f <= x^2 + 3, both rise
    assert (8 - 4 * arb("0.25") ** 2) ** 2 / 8 > arb("0.2")
    assert (2 * arb(3) - 3) ** 2 / (2 * (arb(3) ** 2 + 3)) > arb("0.2")
    assert flint.ctx.prec >= 53


def test_the_smoothness_constant_by_arb() -> None:
    for i in range(64):
        x = arb(i / 20 + 0.025, 0.0251)
        second = 2 + 6 * (2 * x).cos()
        assert bool(second <= arb(8) + arb(0, "1e-10")) or second.contains(8)
        assert second > arb("-4.2")


@pytest.mark.parametrize(
    ("bracket", "name"),
    [
        ((1.5, 2.21), "left_of_range"),
        ((2.2, 3.2), "right_of_range"),
        ((2.21, 2.22), "decreasing_at_left"),
        ((2.1, 2.2), "increasing_at_right"),
        ((2.2, 2.5), "tail"),
    ],
)
def test_a_bracket_that_proves_nothing_is_named(bracket: tuple[float, float], name: str) -> None:
    verdict = sine_well_constants(bracket)
    assert verdict.status is Status.UNDECIDED
    assert [h.name for h in verdict.failed] == [name]


@given(st.floats(1.6, 2.2), st.floats(2.2018, 2.22))
def test_every_bracket_that_is_proved_holds_the_constant(a: float, b: float) -> None:
    c = sine_well_constants((a, b)).conclusion
    if c is not None:
        assert c.pl_lower <= 0.17553098587 <= 0.17553098589 <= c.pl_upper


@pytest.mark.parametrize("bad", [(2.3, 2.2), (math.nan, 2.2), (2.2, math.inf), 2.2, ("a", "b")])
def test_malformed_brackets_are_refused(bad: object) -> None:
    with pytest.raises(InputError, match="bracket"):
        sine_well_constants(bad)  # type: ignore[arg-type]
