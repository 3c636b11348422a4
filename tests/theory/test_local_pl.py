"""T5 against closed forms and against runs; and beside what T11 asks for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talweg._errors import InputError
from talweg.theory import (
    Status,
    local_pl_converges,
    singular_value_profile,
    squared_loss_converges,
)


def test_a_linear_model_is_the_closed_form() -> None:
    """F = 2 w: mu = L_F^2 = 4, beta = 0: one step of 1/4 solves it, radius 2 * 2 * 1 / 4 = 1."""
    c = local_pl_converges(1.0, 4.0, 2.0, 0.0, 1.001).conclusion
    assert c is not None
    assert c.step_size == pytest.approx(0.25, rel=1e-15)
    assert c.loss_rate_upper == pytest.approx(0.0, abs=1e-15)
    assert c.condition_number_upper == pytest.approx(1.0, rel=1e-15)
    assert c.radius_upper == pytest.approx(1.0, rel=1e-15)
    assert c.radius_upper >= 1.0
    assert c.step_size <= 0.25


def test_the_ball_may_be_met_exactly() -> None:
    """R = 2 L_F |r_0| / mu is allowed; the rounded radius must fit, so one ulp more is asked."""
    assert local_pl_converges(1.0, 4.0, 2.0, 0.0, 1.0 + 1e-14).status is Status.PROVED
    refused = local_pl_converges(1.0, 4.0, 2.0, 0.0, 1.0 - 1e-14)
    assert [h.name for h in refused.failed] == ["criterion"]


@given(
    r0=st.floats(1e-3, 2.0),
    bend=st.floats(0.0, 0.6),
    wave=st.floats(0.3, 3.0),
    stretch=st.floats(1.0, 4.0),
    angle=st.floats(0.0, 6.28),
    share=st.floats(0.05, 1.0),
)
@settings(max_examples=80, deadline=None)
def test_no_run_contradicts_the_theorem(
    r0: float, bend: float, wave: float, stretch: float, angle: float, share: float
) -> None:
    """F = (w_1 + b/c sin(c w_2), s w_2): exact constants are known everywhere."""
    # J = [[1, b cos], [0, s]]; off-diagonal at most b: singular values by the triangle inequality
    low, high = 1.0 - bend, stretch + bend
    mu, beta = low * low * 0.999, bend * wave
    if not mu > 0.0:
        return
    radius = 2.0 * high * r0 / mu * 1.0001
    full = local_pl_converges(r0, mu, high, beta, radius).conclusion
    assert full is not None
    verdict = local_pl_converges(r0, mu, high, beta, radius, step_size=share * full.step_size)
    c = verdict.conclusion
    assert verdict.status is Status.PROVED
    assert c is not None
    y = (r0 * math.cos(angle) * (1 - 1e-12), r0 * math.sin(angle) * (1 - 1e-12))
    w, path, before = [0.0, 0.0], 0.0, math.inf
    for _ in range(60):
        r = (w[0] + bend / wave * math.sin(wave * w[1]) - y[0], stretch * w[1] - y[1])
        loss = 0.5 * (r[0] ** 2 + r[1] ** 2)
        assert loss <= c.loss_rate_upper * before + 1e-14 * r0 * r0
        before = loss
        slope = bend * math.cos(wave * w[1])
        g = (r[0], slope * r[0] + stretch * r[1])
        path += c.step_size * math.hypot(*g)
        w = [w[0] - c.step_size * g[0], w[1] - c.step_size * g[1]]
        assert path <= c.path_upper * (1 + 1e-12)
    assert c.path_upper <= c.radius_upper


@pytest.mark.parametrize("norm", [1.0, 3.0, 30.0])
def test_t11_admits_larger_residuals_on_the_same_bounds(norm: float) -> None:
    """With mu = (sigma - beta R)^2 the best T5 can do is about 2 sigma^3 / (27 beta L_F)."""
    sigma, beta = 1.0, 2.0
    best = 0.0
    for i in range(1, 400):
        radius = sigma / beta * i / 400
        mu, size = (sigma - beta * radius) ** 2, norm + beta * radius
        r0 = radius * mu / (2.0 * size) * (1 - 1e-9)
        verdict = local_pl_converges(r0, mu, size, beta, radius)
        if verdict.status is Status.PROVED:
            best = max(best, r0)
    assert best <= 2.0 * sigma**3 / (27.0 * beta * norm)
    profile = singular_value_profile(sigma, [(math.inf, beta)])
    sharp = squared_loss_converges(0.999 * sigma**2 / (2.0 * beta), profile, norm)
    assert sharp.status is Status.PROVED
    assert best > 0.0
    assert sigma**2 / (2.0 * beta) >= 6.7 * best


def test_the_step_bound_is_needed() -> None:
    """F = w, eta = 2: |r| never shrinks."""
    refused = local_pl_converges(1.0, 1.0, 1.0, 0.0, 10.0, step_size=2.0)
    assert [h.name for h in refused.failed] == ["step_size"]


def test_impossible_bounds_are_refused() -> None:
    with pytest.raises(InputError, match="pl_lower"):
        local_pl_converges(1.0, 5.0, 2.0, 0.0, 1.0)
