"""E2 against exact expectations: moments of quadratics, all paths of a coin on the well."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talweg.theory import (
    NoiseFloor,
    decreasing_steps_converge,
    decreasing_steps_gradient_bounded,
    mean_squared_gradient_bounded,
    noise_floor_reached,
    sine_well_constants,
)

WELL = sine_well_constants().conclusion
share = st.integers(1, 64).map(lambda i: Fraction(i, 64))


def quadratic_moments(
    spectrum: list[Fraction], start: list[Fraction], variances: list[Fraction],
    steps: list[Fraction],
) -> list[tuple[Fraction, Fraction]]:  # fmt: skip
    """Exactly (E f, E|grad f|^2) at w_0..w_T for f = 1/2 sum h x^2 and additive noise."""
    m = [x * x for x in start]
    found = []
    for eta in [*steps, Fraction(0)]:
        found.append((
            sum((h * v for h, v in zip(spectrum, m, strict=True)), Fraction(0)) / 2,
            sum((h * h * v for h, v in zip(spectrum, m, strict=True)), Fraction(0)),
        ))  # fmt: skip
        m = [(1 - eta * h) ** 2 * v + eta**2 * s
             for h, v, s in zip(spectrum, m, variances, strict=True)]  # fmt: skip
    return found


def above(x: Fraction) -> float:
    return math.nextafter(float(x), math.inf)


@pytest.mark.parametrize("product", [0.125, 0.5, 1.0, 1.75])
def test_the_floor_is_exact_for_a_parabola(product: float) -> None:
    """f = 4 x^2 with variance 3: the theorem's recursion is an equality."""
    eta = Fraction(product) / 8
    c = noise_floor_reached(4.0, 8.0, 8.0, 3.0, step_size=float(eta)).conclusion
    assert c is not None
    moments = quadratic_moments([Fraction(8)], [Fraction(1)], [Fraction(3)], [eta] * 12)
    for t, (gap, _) in enumerate(moments):
        bound = c.expected_gap_upper(4.0, t)
        assert Fraction(bound) >= gap
        assert bound == pytest.approx(float(gap), rel=1e-13)
    floor = 8 * eta * 3 / (4 * 8 * (1 - 8 * eta / 2))
    assert Fraction(c.floor_upper) >= floor
    assert c.floor_upper == pytest.approx(float(floor), rel=1e-14)
    if product <= 1.0:
        assert c.floor_upper <= float(8 * eta * 3 / (2 * 8)) * (1 + 1e-13)  # the lecture's


def test_the_floor_is_the_lectures_up_to_rounding() -> None:
    """At eta = 1 / L the two floors are equal: rounded up, ours lies above by a few units."""
    mu, variance = 0.3, 0.7
    c = noise_floor_reached(1.0, 1.0, mu, variance, step_size=1.0).conclusion
    assert c is not None
    lecture = Fraction(variance) / (2 * Fraction(mu))
    assert Fraction(c.floor_upper) > lecture
    assert Fraction(c.floor_upper) < lecture * (1 + Fraction(1, 10**14))
    assert "up to rounding" in " ".join((NoiseFloor.__doc__ or "").split())


@given(
    st.lists(share, min_size=1, max_size=3),
    st.lists(share, min_size=3, max_size=3),
    st.lists(share, min_size=3, max_size=3),
    st.integers(1, 63),
    st.integers(1, 25),
)
@settings(max_examples=60)  # fmt: skip
def test_constant_steps_on_quadratics(
    h: list[Fraction], start: list[Fraction], noise: list[Fraction], product: int, count: int
) -> None:
    x, s = start[: len(h)], noise[: len(h)]
    eta = Fraction(float(Fraction(product, 32) / max(h)))
    steps = [eta] * count
    moments = quadratic_moments(h, x, s, steps)
    gap, variance = above(moments[0][0]), above(sum(s, Fraction(0)))
    mean = sum((g for _, g in moments[:count]), Fraction(0)) / count
    a = mean_squared_gradient_bounded(
        gap, float(max(h)), variance, steps=count, step_size=float(eta)
    ).conclusion
    b = noise_floor_reached(
        gap, float(max(h)), float(min(h)), variance, step_size=float(eta)
    ).conclusion
    assert a is not None
    assert b is not None
    assert mean <= Fraction(a.mean_squared_gradient_upper)
    for t, (value, _) in enumerate(moments):
        assert value <= Fraction(b.expected_gap_upper(gap, t))
    if product <= 32:  # never worse than the lecture's, for eta <= 1/L
        lecture = 2 * gap / (float(eta) * count) + float(max(h) * eta) * variance
        assert a.mean_squared_gradient_upper <= lecture * (1 + 1e-12)
        assert b.floor_upper <= float(max(h) * eta / (2 * min(h))) * variance * (1 + 1e-12)


@given(
    st.lists(share, min_size=1, max_size=3),
    st.lists(share, min_size=3, max_size=3),
    st.lists(share, min_size=3, max_size=3),
    st.integers(1, 31),
    st.integers(1, 12),
)
@settings(max_examples=40)  # fmt: skip
def test_decreasing_steps_on_quadratics(
    h: list[Fraction], start: list[Fraction], noise: list[Fraction], product: int, count: int
) -> None:
    x, s = start[: len(h)], noise[: len(h)]
    c = float(Fraction(product, 16) / max(h))
    # squared times, so that c / sqrt(t) is rational where t is a square; rounded elsewhere
    steps = [Fraction(c / math.sqrt(t)) for t in range(1, count + 1)]
    moments = quadratic_moments(h, x, s, steps)
    gap, variance = above(moments[0][0]), above(sum(s, Fraction(0)))
    found = decreasing_steps_gradient_bounded(
        gap, float(max(h)), variance, initial_step=c, steps=count
    ).conclusion
    assert found is not None
    gradients = [g for _, g in moments[:count]]
    mean = sum(gradients, Fraction(0)) / count
    weighted = sum((e * g for e, g in zip(steps, gradients, strict=True)), Fraction(0)) / sum(steps)
    assert mean <= Fraction(found.mean_squared_gradient_upper * (1 + 1e-14))
    assert weighted <= Fraction(found.weighted_squared_gradient_upper * (1 + 1e-14))


@given(
    st.lists(share, min_size=1, max_size=2),
    st.lists(share, min_size=2, max_size=2),
    st.lists(share, min_size=2, max_size=2),
    st.integers(0, 40),
    st.integers(1, 12),
)
@settings(max_examples=40)  # fmt: skip
def test_pl_schedule_on_quadratics(
    h: list[Fraction], start: list[Fraction], noise: list[Fraction], extra: int, count: int
) -> None:
    x, s = start[: len(h)], noise[: len(h)]
    gap = above(sum((a * v * v for a, v in zip(h, x, strict=True)), Fraction(0)) / 2)
    variance = above(sum(s, Fraction(0)))
    offset = above(2 * max(h) / min(h)) + extra
    c = decreasing_steps_converge(
        gap, float(max(h)), float(min(h)), variance, offset=offset
    ).conclusion
    assert c is not None
    steps = [2 / (min(h) * (t + Fraction(offset))) for t in range(count)]
    for t, (value, _) in enumerate(quadratic_moments(h, x, s, steps)):
        assert value <= Fraction(c.expected_gap_upper(t))


def coin_expectations(steps: list[float], start: float, size: float) -> list[tuple[float, float]]:
    """(E f, E f'^2) at every step on the well, over all 2^T signs of the noise."""
    layers = [[start]]
    for eta in steps:
        layers.append([
            x - eta * (2 * x + 3 * math.sin(2 * x) + sign * size)
            for x, sign in itertools.product(layers[-1], (-1.0, 1.0))
        ])  # fmt: skip
    return [
        (
            math.fsum(x * x + 3 * math.sin(x) ** 2 for x in layer) / len(layer),
            math.fsum((2 * x + 3 * math.sin(2 * x)) ** 2 for x in layer) / len(layer),
        )
        for layer in layers
    ]


@pytest.mark.parametrize("start", [0.0, 1.0, 2.2, 4.5])
@pytest.mark.parametrize("size", [0.3, 3.0])
@pytest.mark.parametrize("product", [0.2, 1.0, 1.8])
def test_every_bound_on_the_well_with_a_fair_coin(
    start: float, size: float, product: float
) -> None:
    assert WELL is not None
    mu, count = WELL.pl_lower, 11
    tiny = 1 + 1e-9  # rounding of the runs
    gap = (start**2 + 3 * math.sin(start) ** 2) * tiny
    eta = product / 8.0
    runs = coin_expectations([eta] * count, start, size)
    a = mean_squared_gradient_bounded(gap, 8.0, size**2, steps=count, step_size=eta).conclusion
    b = noise_floor_reached(gap, 8.0, mu, size**2, step_size=eta).conclusion
    assert a is not None
    assert b is not None
    assert sum(g for _, g in runs[:count]) / count <= a.mean_squared_gradient_upper * tiny
    for t, (value, _) in enumerate(runs):
        assert value <= b.expected_gap_upper(gap, t) * tiny + 1e-12
    runs = coin_expectations([eta / math.sqrt(t) for t in range(1, count + 1)], start, size)
    d = decreasing_steps_gradient_bounded(
        gap, 8.0, size**2, initial_step=eta, steps=count
    ).conclusion
    assert d is not None
    assert sum(g for _, g in runs[:count]) / count <= d.mean_squared_gradient_upper * tiny
    p = decreasing_steps_converge(gap, 8.0, mu, size**2).conclusion
    assert p is not None
    runs = coin_expectations([2 / (mu * (t + p.offset)) for t in range(count)], start, size)
    for t, (value, _) in enumerate(runs):
        assert value <= p.expected_gap_upper(t) * tiny


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(0.0, 1e3), st.integers(1, 10**9))
def test_the_default_step_balances_both_terms(
    gap: float, big: float, variance: float, count: int
) -> None:
    c = mean_squared_gradient_bounded(gap, big, variance, steps=count).conclusion
    assert c is not None
    promised = max(4 * big * gap / count, 2 * math.sqrt(2 * big * gap * variance / count))
    assert c.mean_squared_gradient_upper <= promised * (1 + 1e-12)
    assert c.step_size <= 1 / big * (1 + 1e-15)


def test_the_floor_is_reached_when_promised() -> None:
    c = noise_floor_reached(100.0, 8.0, 0.5, 1.0, step_size=0.01).conclusion
    assert c is not None
    t = int(c.steps_to_floor_upper)
    assert c.expected_gap_upper(100.0, t) <= 2 * c.floor_upper * (1 + 1e-12)
    assert c.expected_gap_upper(100.0, t // 2) > 2 * c.floor_upper
    quiet = noise_floor_reached(100.0, 8.0, 0.5, 0.0, step_size=0.01).conclusion
    assert quiet is not None
    assert quiet.floor_upper == 0.0
    assert quiet.steps_to_floor_upper == math.inf


def test_one_decreasing_step_is_one_constant_step() -> None:
    """T = 1: log 1 = 0, and both theorems say (D + L s^2 c^2 / 2) / (c (1 - L c / 2))."""
    a = mean_squared_gradient_bounded(2.0, 8.0, 3.0, steps=1, step_size=0.1).conclusion
    b = decreasing_steps_gradient_bounded(2.0, 8.0, 3.0, initial_step=0.1, steps=1).conclusion
    assert a is not None
    assert b is not None
    expected = (2.0 + 8 * 3 * 0.01 / 2) / (0.1 * 0.6)
    assert a.mean_squared_gradient_upper == pytest.approx(expected, rel=1e-13)
    assert b.mean_squared_gradient_upper == pytest.approx(expected, rel=1e-13)


def test_constants_of_the_pl_schedule() -> None:
    """g = 2 L / mu gives the lecture's 2 L s^2 / mu^2, g to infinity a third of it."""
    lecture = 2 * 8.0 * 3.0 / 0.5**2
    at = decreasing_steps_converge(0.0, 8.0, 0.5, 3.0).conclusion
    far = decreasing_steps_converge(0.0, 8.0, 0.5, 3.0, offset=1e9).conclusion
    start = decreasing_steps_converge(100.0, 8.0, 0.5, 3.0).conclusion
    assert at is not None
    assert far is not None
    assert start is not None
    assert at.offset == pytest.approx(32.0, rel=1e-15)
    assert at.constant_upper == pytest.approx(lecture, rel=1e-12)
    assert far.constant_upper == pytest.approx(lecture / 3, rel=1e-6)
    assert start.constant_upper == pytest.approx(3200.0, rel=1e-12)  # g D_0
    assert at.first_step_approx == pytest.approx(1 / 8, rel=1e-12)
