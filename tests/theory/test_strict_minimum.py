"""T14 against closed forms, and fuzzed on a loss with many critical points."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talweg._errors import InputError
from talweg.theory import (
    NestedBallBound,
    Status,
    ball_holds_one_critical_point,
    gradient_descent_reaches_strict_minimum,
    singular_value_profile,
    squared_loss_curvature_lower,
    squared_loss_smoothness,
)


def test_a_parabola_is_sharp() -> None:
    """f = m/2 (w - d)^2 from 0: the minimum is at distance |grad|/m exactly; R must exceed it."""
    m, d = 2.0, 0.75
    assert ball_holds_one_critical_point(m * d, m, d * 1.0001).status is Status.PROVED
    verdict = ball_holds_one_critical_point(m * d, m, d)  # the minimum on the sphere: not shown
    assert [h.name for h in verdict.failed] == ["criterion"]
    c = ball_holds_one_critical_point(m * d, m, 1.0).conclusion
    assert c is not None
    assert d <= c.distance_upper <= d * (1 + 1e-14)
    assert c.gap_upper == pytest.approx(0.5 * m * d * d, rel=1e-14)
    assert c.gap_upper >= 0.5 * m * d * d


def test_flat_directions_are_not_proved() -> None:
    assert ball_holds_one_critical_point(0.0, 0.0, 1.0).status is Status.UNDECIDED
    assert ball_holds_one_critical_point(0.0, 1e-300, 1.0).status is Status.PROVED


@pytest.mark.parametrize("smoothness", [
    NestedBallBound.everywhere(0.49),
    NestedBallBound.everywhere(0.0),
    NestedBallBound.of([(3.9, 0.49), (5.0, 0.499)]),
    NestedBallBound.of([(4.5, 0.49), (5.0, 2.0)]),  # the contradiction on the ball in use only
    NestedBallBound.of([(4.5, 0.49)]),
])  # fmt: skip
@pytest.mark.parametrize("step_size", [None, 0.1])
def test_more_curvature_than_smoothness_is_refused(
    smoothness: NestedBallBound, step_size: float | None
) -> None:
    """|D^2 f(w0)| <= M < m <= lambda_min(D^2 f(w0)): the premises contradict each other."""
    with pytest.raises(InputError, match=r"`curvature_lower` of .* must be at most `smoothness`"):
        gradient_descent_reaches_strict_minimum(
            1.0, 0.5, 5.0, smoothness, epsilon=0.5, step_size=step_size
        )


def test_a_parabola_may_have_equality() -> None:
    """f = m/2 (w - d)^2 has M = m; and nothing is refused where m says nothing."""
    verdict = gradient_descent_reaches_strict_minimum(
        1.0, 0.5, 5.0, NestedBallBound.everywhere(0.5), epsilon=0.5
    )
    assert verdict.status is Status.PROVED
    for m in (0.0, -0.5):
        verdict = gradient_descent_reaches_strict_minimum(
            1.0, m, 5.0, NestedBallBound.everywhere(0.0), epsilon=0.5
        )
        assert [h.name for h in verdict.failed] == ["curvature_lower"]


def loss(w: list[float], wave: float, stiff: float) -> float:
    return 0.5 * w[0] ** 2 + wave * math.sin(w[0]) + 0.5 * stiff * (w[1] - 0.3 * w[0]) ** 2


def slope(w: list[float], wave: float, stiff: float) -> list[float]:
    u = stiff * (w[1] - 0.3 * w[0])
    return [w[0] + wave * math.cos(w[0]) - 0.3 * u, u]


def hessian_ends(start: float, radius: float, wave: float, stiff: float) -> tuple[float, float]:
    """Bounds of the Hessian's eigenvalues on the ball; entry 11 is 1 - wave sin w_1 + 0.09 s."""
    low, high = math.inf, -math.inf
    for i in range(401):
        s = math.sin(start - radius + 2.0 * radius * i / 400)
        low, high = min(low, -wave * s), max(high, -wave * s)
    slack = wave * radius / 200  # between grid points
    least, most = [], []
    for a in (1.0 + 0.09 * stiff + low - slack, 1.0 + 0.09 * stiff + high + slack):
        mean, half = (a + stiff) / 2, math.hypot((a - stiff) / 2, 0.3 * stiff)
        least.append(mean - half)
        most.append(mean + half)
    return min(least) * (1 - 1e-9) - 1e-12, max(most) * (1 + 1e-9) + 1e-12


@given(
    wave=st.floats(0.0, 6.0),
    stiff=st.floats(0.2, 5.0),
    which=st.integers(0, 10),
    near=st.floats(-0.3, 0.3),
    offset=st.floats(-0.2, 0.2),
    radius=st.floats(0.1, 2.0),
    epsilon=st.floats(0.02, 0.95),
)
@settings(max_examples=200, deadline=None)
def test_no_run_contradicts_the_theorem(
    wave: float, stiff: float, which: int, near: float, offset: float, radius: float,
    epsilon: float,
) -> None:  # fmt: skip
    roots = critical_points(wave)
    start = roots[which % len(roots)] + near
    w = [start, 0.3 * start + offset]
    m, most = hessian_ends(start, radius, wave, stiff)
    g = math.hypot(*slope(w, wave, stiff)) * (1 + 1e-12)
    unique = ball_holds_one_critical_point(g, m, radius)
    verdict = gradient_descent_reaches_strict_minimum(
        g, m, radius, NestedBallBound.everywhere(most), epsilon=epsilon
    )
    if unique.status is Status.PROVED:
        # critical points are (x, 0.3 x) with x + wave cos x = 0: exactly one in the ball
        assert unique.conclusion is not None
        inside = [x for x in roots if math.hypot(x - w[0], 0.3 * x - w[1]) <= radius]
        assert len(inside) == 1
        d = math.hypot(inside[0] - w[0], 0.3 * inside[0] - w[1])
        assert d <= unique.conclusion.distance_upper * (1 + 1e-9) + 1e-9
    if verdict.status is not Status.PROVED:
        return
    c = verdict.conclusion
    assert c is not None
    assert unique.status is Status.PROVED
    floor = loss([inside[0], 0.3 * inside[0]], wave, stiff)
    x, path = list(w), 0.0
    before = loss(x, wave, stiff) - floor
    for k in range(60):
        gap = loss(x, wave, stiff) - floor
        assert gap <= c.loss_rate_upper * before + 1e-12 if k else gap <= before
        before = gap
        d = math.hypot(x[0] - inside[0], x[1] - 0.3 * inside[0])
        assert d <= c.decay_upper * c.loss_rate_upper ** (k / 2) + 1e-7
        step = slope(x, wave, stiff)
        path += c.step_size * math.hypot(*step)
        x = [x[0] - c.step_size * step[0], x[1] - c.step_size * step[1]]
        assert path <= c.path_upper * (1 + 1e-9) + 1e-12


def critical_points(wave: float) -> list[float]:
    """All roots of x + wave cos x, by bisection between sign changes of a fine grid."""

    def h(x: float) -> float:
        return x + wave * math.cos(x)

    grid = [-7.0 + 14.0 * i / 5600 for i in range(5601)]
    roots = []
    for a, b in pairwise(grid):
        if (h(a) < 0.0) != (h(b) < 0.0):
            lo, hi = a, b
            for _ in range(60):
                mid = 0.5 * (lo + hi)
                lo, hi = (mid, hi) if (h(mid) < 0.0) == (h(lo) < 0.0) else (lo, mid)
            roots.append(0.5 * (lo + hi))
    return roots


def test_curvature_of_a_squared_loss_is_below_the_truth() -> None:
    """r = (w + w^2 / 4, w^2 / 4 + c), p = 1: f'' = |r'|^2 + r . r'' on [-R, R], all by hand."""
    for c in (0.0, 0.1, 0.8, -0.8):
        for radius in (0.05, 0.2, 0.6):
            # J = (1 + w/2, w/2) changes by (1/2, 1/2) per unit: beta = 1/sqrt 2
            profile = singular_value_profile(1.0, [(10.0, math.sqrt(0.5) * (1 + 1e-15))])
            bound = squared_loss_curvature_lower(abs(c), profile, 1.0, radius)
            least = min(
                (1 + w / 2) ** 2 + (w / 2) ** 2 + (w + w * w / 4) / 2 + (w * w / 4 + c) / 2
                for w in (radius * (i / 100 - 1) for i in range(201))
            )
            assert bound <= least
    assert squared_loss_curvature_lower(0.0, profile, 1.0, 0.05) > 0.8  # and it can be positive


def test_curvature_formula_and_smoothness() -> None:
    profile = singular_value_profile(1.0, [(0.5, 0.5)])
    m = squared_loss_curvature_lower(0.1, profile, 2.0, 0.5)
    assert m == pytest.approx(0.75**2 - 0.5 * (0.1 + 2.25 * 0.5), rel=1e-12)
    assert squared_loss_curvature_lower(0.1, profile, 2.0, 0.6) == -math.inf
    big = squared_loss_smoothness(0.1, profile, 2.0, 0.5)
    assert big.upper(0.5) == pytest.approx(2.25**2 + 0.05, rel=1e-14)
    assert big.upper(0.51) == math.inf
