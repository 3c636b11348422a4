"""Worse inputs never give a better verdict: Hypothesis draws, then worsens one input at a time.

"Worse" is by a relative 1e-9 at least, because an operation that happens to be exact is not rounded
outward and may come out an ulp better than its neighbour.
"""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from talweg.theory import (
    DescentConvergence,
    NestedBallBound,
    Profile,
    SquaredLossConvergence,
    Status,
    TargetReached,
    Verdict,
    gradient_descent_converges_in_ball,
    singular_value_profile,
    squared_loss_converges,
    squared_loss_target_reached,
)

scale = st.floats(min_value=1e-3, max_value=1e3)
worse = st.floats(min_value=1e-9, max_value=2.0).map(lambda t: 1.0 + t)
TINY = 1.0 + 1e-12


def rank(verdict: Verdict[object]) -> int:
    return 1 if verdict.status is Status.PROVED else 0


@settings(max_examples=150, deadline=None, derandomize=True)
@given(scale, scale, scale, scale, worse, st.integers(0, 3))
def test_squared_loss(
    r0: float, sigma: float, beta: float, extra: float, factor: float, which: int
) -> None:
    norm = sigma + extra
    r0 *= sigma * sigma / beta / 1e3  # near the criterion often enough

    def verdict(f: list[float]) -> Verdict[SquaredLossConvergence]:
        profile = singular_value_profile(sigma / f[1], [(math.inf, beta * f[2])])
        return squared_loss_converges(r0 * f[0], profile, norm * f[3])

    factors = [1.0] * 4
    before = verdict(factors)
    factors[which] = factor
    after = verdict(factors)
    assert rank(after) <= rank(before)
    a, b = before.conclusion, after.conclusion
    if a is not None and b is not None:
        assert b.radius_upper >= a.radius_upper / TINY
        assert b.singular_value_lower <= a.singular_value_lower * TINY
        assert b.step_size <= a.step_size * TINY
        assert b.one_minus_rate_lower <= a.one_minus_rate_lower * TINY
        assert b.halving_steps_upper >= a.halving_steps_upper / TINY - 1.0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(scale, scale, st.floats(0.01, 3.0), st.floats(0.01, 0.99), worse, st.integers(0, 3))
def test_squared_loss_target(
    sigma: float, beta: float, size: float, share: float, factor: float, which: int
) -> None:
    r0 = size * sigma * sigma / (2.0 * beta)
    rho = share * r0

    def verdict(f: list[float]) -> Verdict[TargetReached]:
        profile = singular_value_profile(sigma / f[1], [(math.inf, beta * f[2])])
        return squared_loss_target_reached(r0 * f[0], 0.5 * (rho / f[3]) ** 2, profile, 2.0 * sigma)

    factors = [1.0] * 4
    before = verdict(factors)
    factors[which] = factor
    after = verdict(factors)
    assert rank(after) <= rank(before)
    if before.conclusion is not None and after.conclusion is not None:
        assert after.conclusion.radius_upper >= before.conclusion.radius_upper / TINY


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(scale, scale), min_size=1, max_size=4),
    st.floats(0.01, 1.5),
    scale,
    st.floats(0.05, 0.9),
    worse,
    st.integers(0, 2),
)
def test_descent_in_ball(
    pieces: list[tuple[float, float]],
    size: float,
    m: float,
    epsilon: float,
    factor: float,
    which: int,
) -> None:
    radii, total = [], 0.0
    for length, _ in pieces:
        total += length
        radii.append(total)
    values = sorted((v for _, v in pieces), reverse=True)
    whole = Profile(tuple(radii), tuple(values)).integral_lower(total)
    gap = (0.5 * size * (1.0 - epsilon) * whole) ** 2

    def verdict(f: list[float]) -> Verdict[DescentConvergence]:
        profile = Profile(tuple(radii), tuple(v / f[1] for v in values))
        smoothness = NestedBallBound.everywhere(m * f[2])
        return gradient_descent_converges_in_ball(gap * f[0], profile, smoothness, epsilon=epsilon)

    factors = [1.0] * 3
    before = verdict(factors)
    factors[which] = factor
    after = verdict(factors)
    assert rank(after) <= rank(before)
    a, b = before.conclusion, after.conclusion
    if a is not None and b is not None:
        assert b.radius_upper >= a.radius_upper / TINY
        assert b.step_size <= a.step_size * TINY
        assert b.one_minus_rate_lower <= a.one_minus_rate_lower * TINY
