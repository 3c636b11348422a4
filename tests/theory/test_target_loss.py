"""T7: targets are reached in the promised steps, and the overshoot condition is needed."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from talweg.theory import (
    NestedBallBound,
    Profile,
    SquaredLoss,
    Status,
    composite_loss_target_reached,
    singular_value_profile,
    squared_loss_target_reached,
    target_loss_reached,
)


@pytest.mark.parametrize("excess", [0.5, 0.99, 1.01, 1.2, 3.0])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.9999])
def test_squared_loss_target_on_a_fold(excess: float, share: float) -> None:
    """F = (w_1 - w_1^2, 3 w_2); beyond |r_0| = 1/4 there is no zero, yet targets are reached."""
    r0 = 0.25 * excess
    rho = r0 - 0.25 * share
    if rho <= 0.0:
        rho = 0.1 * r0
    profile = singular_value_profile(1.0, [(math.inf, 2.0)])
    verdict = squared_loss_target_reached(r0, 0.5 * rho * rho, profile, 3.0)
    c = verdict.conclusion
    assert verdict.status is Status.PROVED
    assert c is not None
    for angle in (0.0, 0.5, 1.5):
        y = (r0 * math.cos(angle) * (1 - 1e-15), r0 * math.sin(angle) * (1 - 1e-15))
        w, path, steps = [0.0, 0.0], 0.0, 0
        while True:
            r = (w[0] - w[0] ** 2 - y[0], 3.0 * w[1] - y[1])
            if math.hypot(*r) <= rho * (1 + 1e-12):
                break
            assert path <= c.radius_upper * (1 + 1e-12)
            g = ((1 - 2 * w[0]) * r[0], 3.0 * r[1])
            w = [w[0] - c.step_size * g[0], w[1] - c.step_size * g[1]]
            path += c.step_size * math.hypot(*g)
            steps += 1
            assert steps <= c.steps_upper
        assert path <= c.final_radius_upper * (1 + 1e-12)


def test_the_overshoot_ends_where_s_does() -> None:
    """The step fits the room up to the zero of s; rounding up must not carry it past that zero."""
    number = float.fromhex
    sigma, beta = number("0x1.6e729b7c22fffp-1"), number("0x1.3ebdbe4572b2ep+1")
    profile = singular_value_profile(sigma, [(number("0x1.2650e09fbe8a1p-2"), beta)])
    c = squared_loss_target_reached(
        number("0x1.a114e05aeff55p-2"), number("0x1.7e3aa07e4faeep-4"), profile,
        number("0x1.34c432390e37dp+2"), loss=SquaredLoss("sum", 6),
    ).conclusion  # fmt: skip
    assert c is not None
    assert Fraction(sigma) - Fraction(beta) * Fraction(c.final_radius_upper) >= 0


@pytest.mark.parametrize("index", range(60))
def test_the_overshoot_covers_the_exact_target(index: int) -> None:
    """R_t + eta Sigma rho in rationals: rho is rounded up here, though down in the criterion."""
    target, beta = 0.01 + 0.001 * index, 2.5
    end = math.nextafter(1.0 / beta, 0.0)
    profile = singular_value_profile(1.0, [(end, beta)])
    r0 = 0.15 + math.sqrt(2.0 * target)
    c = squared_loss_target_reached(r0, target, profile, 1.5 + 0.1 * index).conclusion
    assert c is not None
    radius, norm = Fraction(c.radius_upper), Fraction(1.5 + 0.1 * index)
    sigma = norm + Fraction(beta) * radius
    leap = Fraction(c.final_radius_upper) - radius
    assert leap >= 0
    assert leap**2 >= (Fraction(c.step_size) * sigma) ** 2 * 2 * Fraction(target)
    assert Fraction(1) - Fraction(beta) * Fraction(c.final_radius_upper) >= 0


def test_squared_loss_overshoot_is_a_hypothesis() -> None:
    """F = w on [0, 0.55], steep beyond: one step from |r_0| = 1 lands where |r| is large."""
    profile = singular_value_profile(1.0, [(0.55, 0.0)])
    refused = squared_loss_target_reached(1.0, 0.125, profile, 1.0, step_size=0.999)
    assert [h.name for h in refused.failed] == ["overshoot"]

    def outputs(w: float) -> float:
        return w if w <= 0.55 else 0.55 + 100.0 * (w - 0.55)

    assert abs(outputs(0.999) - 1.0) > 40.0  # the step that was refused
    c = squared_loss_target_reached(1.0, 0.125, profile, 1.0).conclusion
    assert c is not None
    w, steps = 0.0, 0
    while abs(outputs(w) - 1.0) > 0.5:
        w, steps = w - c.step_size * (outputs(w) - 1.0), steps + 1
    assert steps <= c.steps_upper
    assert w <= c.final_radius_upper <= 0.55


def test_target_met_at_the_start() -> None:
    profile = singular_value_profile(-1.0, [(1.0, 1.0)])  # nothing known, nothing needed
    c = squared_loss_target_reached(0.1, 1.0, profile, 1.0).conclusion
    assert c is not None
    assert c.steps_upper == 0.0
    m = NestedBallBound.everywhere(1.0)
    verdict = target_loss_reached(
        0.1, 0.2, Profile.constant(0.0, 1.0), m, m, epsilon=0.5, assumed=["initial_gap_upper"]
    )
    assert verdict.conclusion is not None
    assert verdict.assumptions == ("initial_gap_upper",)


def test_targets_scale_with_the_loss() -> None:
    profile = singular_value_profile(1.0, [(2.0, 0.5)])
    half = squared_loss_target_reached(1.2, 0.5, profile, 2.0).conclusion
    mean = squared_loss_target_reached(
        1.2, 1.0 / 10, profile, 2.0, loss=SquaredLoss("mean", 10)
    ).conclusion
    assert half is not None
    assert mean is not None
    assert mean.radius_upper == pytest.approx(half.radius_upper, rel=1e-12)
    assert mean.step_size == pytest.approx(5.0 * half.step_size, rel=1e-12)


@pytest.mark.parametrize("start", [0.5, 1.0, 1.4, 2.0, 3.0, 5.0])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.05])
@pytest.mark.parametrize("epsilon", [0.1, 0.5, 0.95])
def test_target_on_a_nonconvex_loss(start: float, share: float, epsilon: float) -> None:
    """f = x^2 + 3 sin(x)^2, |f''| <= 8: where the criterion fires the target is reached in time."""

    def f(x: float) -> float:
        return x * x + 3.0 * math.sin(x) ** 2

    def slope(x: float) -> float:
        return 2.0 * x + 3.0 * math.sin(2.0 * x)

    target, size, least = share * f(start), 400, math.inf
    radii, values = [], []
    for i in range(1, size + 1):
        radius = start * i / size
        for x in (start - radius, start + radius):
            if target < f(x) <= f(start):
                # between grid points: |(f'/sqrt f)'| stays below 60 where f > target here
                least = min(least, abs(slope(x)) / math.sqrt(f(x)) - 60.0 * start / size)
        radii.append(radius)
        values.append(max(min(least, 10.0), 0.0))
    bound = NestedBallBound.everywhere
    verdict = target_loss_reached(
        f(start), target, Profile(tuple(radii), tuple(values)),
        bound(8.0), bound(4.0 * math.sqrt(f(start))), epsilon=epsilon,
    )  # fmt: skip
    c = verdict.conclusion
    if c is None:
        assert next(h.name for h in verdict.failed) in ("criterion", "profile")
        return
    x, path, steps = start, 0.0, 0
    while f(x) > target:
        assert path <= c.radius_upper
        path += abs(c.step_size * slope(x))
        x -= c.step_size * slope(x)
        steps += 1
    assert steps <= c.steps_upper
    assert path <= c.final_radius_upper


def test_the_step_accounts_for_the_overshoot() -> None:
    """M grows from 1 to 10 just beyond R_t: the certified step fits the ball it reaches."""
    smoothness = NestedBallBound.of([(1.2, 1.0), (9.0, 10.0)])
    force = NestedBallBound.everywhere(1.0)
    profile = Profile.constant(1.0, 5.0)
    c = target_loss_reached(1.0, 0.25, profile, smoothness, force, epsilon=0.5).conclusion
    assert c is not None
    assert c.final_radius_upper == pytest.approx(c.radius_upper + c.step_size)
    assert c.step_size <= 1.0 / smoothness.upper(c.final_radius_upper)
    refused = target_loss_reached(1.0, 0.25, profile, smoothness, force, epsilon=0.5, step_size=0.9)
    assert [h.name for h in refused.failed] == ["step_size"]


def test_composite_target_agrees_with_the_general_one() -> None:
    profile = singular_value_profile(1.0, [(4.0, 0.2)])
    verdict = composite_loss_target_reached(
        0.3, 0.01, profile, profile.jacobian_norm(2.0), profile.lipschitz,
        pl_lower=1.0, smoothness_upper=1.0, epsilon=0.5,
    )  # fmt: skip
    assert verdict.status is Status.PROVED
    assert verdict.source.startswith("T7 with T4")
    c = verdict.conclusion
    assert c is not None
    wanted = 2.0 * (math.sqrt(0.6) - math.sqrt(0.02))  # int_0^{R_t} s
    assert profile.integral_lower(c.radius_upper) == pytest.approx(wanted, rel=1e-12)
