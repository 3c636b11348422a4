"""E1 against exact quadratics and against runs on x^2 + 3 sin(x)^2, in 50 digits."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp

from talweg.theory import (
    Status,
    polyak_steps_converge,
    sine_well_constants,
    smooth_pl_descent_converges,
)

WELL = sine_well_constants().conclusion


def f(x: mp.mpf) -> mp.mpf:
    return x * x + 3 * mp.sin(x) ** 2


def df(x: mp.mpf) -> mp.mpf:
    return 2 * x + 3 * mp.sin(2 * x)


@pytest.mark.parametrize("product", [0.125, 0.5, 1.0, 1.5, 1.9375])
def test_the_rate_is_exact_for_a_parabola(product: float) -> None:
    """f = 4 x^2: mu = L = 8 and one step multiplies f by (1 - L eta)^2."""
    c = smooth_pl_descent_converges(1.0, 8.0, 8.0, step_size=product / 8.0).conclusion
    assert c is not None
    exact = (1 - Fraction(product)) ** 2
    assert Fraction(c.loss_rate_upper) >= exact
    assert c.loss_rate_upper == pytest.approx(float(exact), abs=1e-14)
    assert Fraction(c.one_minus_rate_lower) <= 1 - exact
    if product <= 1.0:
        assert c.simple_rate_upper == pytest.approx(1.0 - product, abs=1e-15)
        assert c.loss_rate_upper <= c.simple_rate_upper + 1e-15
    else:
        assert c.simple_rate_upper is None


def test_steps_at_the_edge() -> None:
    """1 / L is exact where a float holds it, and the step 2 / L is refused."""
    assert smooth_pl_descent_converges(1.0, 8.0, 1.0).conclusion.step_size == 0.125  # type: ignore[union-attr]
    c = smooth_pl_descent_converges(1.0, 8.0, 1.0, step_size=0.125).conclusion
    assert c is not None
    assert c.simple_rate_upper is not None
    edge = smooth_pl_descent_converges(1.0, 8.0, 1.0, step_size=0.25)
    assert [h.name for h in edge.failed] == ["step_size"]
    below = smooth_pl_descent_converges(1.0, 8.0, 1.0, step_size=0.2499999)
    assert below.status is Status.PROVED


@given(
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=3),
    st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=3),
    st.floats(0.01, 1.99),
)
@settings(max_examples=60)
def test_no_run_on_a_quadratic_contradicts_it(
    spectrum: list[float], start: list[float], product: float
) -> None:
    """f = 1/2 sum h_i x_i^2 has L = max h and mu = min h."""
    mp.dps = 50
    h, big = [mp.mpf(v) for v in spectrum], max(spectrum)
    w = [mp.mpf(v) for v in start[: len(h)]]

    def value() -> mp.mpf:
        return sum(a * x * x for a, x in zip(h, w, strict=True)) / 2

    gap = float(value()) * (1 + 1e-14) + 1e-300
    verdict = smooth_pl_descent_converges(gap, big, min(spectrum), step_size=product / big)
    c = verdict.conclusion
    if c is None:
        assert product * 1.0000001 > 2.0
        return
    path = mp.mpf(0)
    for k in range(30):
        before = value()
        assert mp.norm(w) <= c.path_upper * mp.mpf(c.loss_rate_upper) ** (mp.mpf(k) / 2)
        move = [c.step_size * a * x for a, x in zip(h, w, strict=True)]
        path += mp.norm(move)
        w = [x - m for x, m in zip(w, move, strict=True)]
        assert value() <= c.loss_rate_upper * before
        assert path <= c.path_upper


@given(st.floats(-9.0, 9.0), st.floats(0.05, 1.95))
@settings(max_examples=40)
def test_no_run_on_the_well_contradicts_it(start: float, product: float) -> None:
    mp.dps = 50
    assert WELL is not None
    x, path = mp.mpf(start), mp.mpf(0)
    c = smooth_pl_descent_converges(
        float(f(x)) * (1 + 1e-14) + 1e-300, 8.0, WELL.pl_lower, step_size=product / 8.0
    ).conclusion
    assert c is not None
    for _ in range(40):
        move = c.step_size * df(x)
        after = x - move
        path += abs(move)
        assert f(after) <= c.loss_rate_upper * f(x)
        assert path <= c.path_upper
        x = after


@given(st.floats(0.1, 9.0), st.floats(0.05, 1.95), st.floats(0.3, 4.0), st.floats(0.0, 20.0))
@settings(max_examples=40)
def test_no_run_with_capped_polyak_steps_contradicts_it(
    start: float, product: float, scale: float, below: float
) -> None:
    """Any lower bound of the loss is allowed, also one far below the infimum."""
    mp.dps = 50
    assert WELL is not None
    x, cap = mp.mpf(start), product / 8.0
    c = polyak_steps_converge(200.0, 8.0, WELL.pl_lower, max_step=cap, scale=scale).conclusion
    assert c is not None
    for _ in range(40):
        g = df(x)
        if abs(g) < mp.mpf("1e-40"):
            break
        after = x - min((f(x) + below) / (scale * g * g), mp.mpf(cap)) * g
        assert f(after) <= c.loss_rate_upper * f(x)
        x = after


def test_the_polyak_rate_is_that_of_the_worse_end() -> None:
    """c = 1, h = 1/L: steps from 1/(2 L) to 1/L, worst at 1/(2 L): 2 mu (1/2L) (3/4)."""
    c = polyak_steps_converge(1.0, 8.0, 1.0, max_step=0.125).conclusion
    assert c is not None
    assert c.one_minus_rate_lower == pytest.approx(0.75 / 8.0, rel=1e-14)
    c = polyak_steps_converge(1.0, 8.0, 1.0, max_step=0.24).conclusion  # the long end is worse
    assert c is not None
    assert c.one_minus_rate_lower == pytest.approx(2 * 0.24 * (1 - 4 * 0.24), rel=1e-12)


def test_uncapped_polyak_steps_can_fail_on_the_well() -> None:
    """Why the cap is in the theorem: near the flat part one step can raise f."""
    rises = 0
    for i in range(1, 400):
        x = i / 40.0
        value, slope = x * x + 3 * math.sin(x) ** 2, 2 * x + 3 * math.sin(2 * x)
        after = x - value / slope
        rises += after * after + 3 * math.sin(after) ** 2 > value
    assert rises > 0
