"""E3: saddles found, left in time, and never left by plain gradient descent."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp
from scipy import stats

from talweg.theory import (
    descent_stuck_at_saddle,
    perturbation_escapes_saddle,
    perturbed_descent_finds_second_order_point,
    quadratic_saddle_left,
    smooth_pl_descent_converges,
    strict_saddle_nearby,
)

UNIT = {"smoothness_upper": 1.0, "hessian_lipschitz_upper": 1.0}


def uniform_ball(rng: np.random.Generator, n: int, d: int, r: float) -> np.ndarray:
    x = rng.standard_normal((n, d))
    length = r * rng.random(n) ** (1 / d) / np.linalg.norm(x, axis=1)
    return x * length[:, None]


@given(st.floats(0.0, 0.49), st.floats(0.1, 3.0), st.floats(0.1, 3.0))
def test_the_nearby_saddle_is_where_the_closed_form_says(
    share: float, gamma: float, rho: float
) -> None:
    """f' = g - gamma x + rho x^2 / 2 in one dimension meets the bound with equality."""
    g = share * gamma * gamma / rho
    c = strict_saddle_nearby(g, gamma, gamma, rho).conclusion
    assert c is not None
    mp.dps = 40
    root = mp.sqrt(mp.mpf(gamma) ** 2 - 2 * mp.mpf(rho) * g)
    exact = 2 * mp.mpf(g) / (gamma + root)
    assert c.distance_upper >= exact * (1 - mp.mpf(10) ** -30)
    assert c.distance_upper == pytest.approx(float(exact), rel=1e-9, abs=1e-300)
    assert c.negative_curvature_lower <= root * (1 + mp.mpf(10) ** -30)
    assert c.negative_curvature_lower == pytest.approx(float(root), rel=1e-9)


def test_a_quadratic_has_its_saddle_one_newton_step_away() -> None:
    c = strict_saddle_nearby(0.25, 0.5, 1.0, 0.0).conclusion
    assert c is not None
    assert c.distance_upper == pytest.approx(0.5, rel=1e-14)
    assert c.negative_curvature_lower == 1.0


def test_plain_descent_stays() -> None:
    """f = x^2 / 2 + cos y on y = 0: E1's numbers, and a run that ends at the saddle."""
    verdict = descent_stuck_at_saddle(0.5, 1.0, 1.0, 0.0, 1.0, step_size=0.5)
    inner = smooth_pl_descent_converges(0.5, 1.0, 1.0, step_size=0.5).conclusion
    c = verdict.conclusion
    assert c is not None
    assert c.within == inner
    x, y = 1.0, 0.0
    for k in range(100):
        assert math.hypot(x, y) <= c.within.path_upper * c.within.loss_rate_upper ** (k / 2)
        x, y = x - 0.5 * x, y + 0.5 * math.sin(y)
    assert y == 0.0
    moved = 1e-12
    for _ in range(100):  # off the manifold by rounding error alone, it does leave
        moved += 0.5 * math.sin(moved)
    assert moved > 3.0


def test_the_saddle_reached_depends_on_the_start() -> None:
    """f = (x + y)^2 / 4 - z^2 / 2 on z = 0: a line of saddles, each with starts of its own."""
    c = descent_stuck_at_saddle(1.0, 1.0, 1.0, 0.0, 1.0, step_size=0.5).conclusion
    assert c is not None
    ends = []
    for start in ((1.0, 0.0), (1.0, 1.0), (2.0, -1.0)):
        x, y = start
        for _ in range(100):
            slope = 0.5 * (x + y)
            x, y = x - 0.5 * slope, y - 0.5 * slope
        assert abs(x + y) < 1e-12  # a saddle
        assert math.dist((x, y), start) <= c.within.path_upper
        ends.append(x)
    assert ends == pytest.approx([0.5, 0.0, 1.5], abs=1e-12)
    text = " ".join((descent_stuck_at_saddle.__doc__ or "").split())
    assert "a saddle's stable manifold" in text
    assert "the limit depends on the start" in text


@pytest.mark.parametrize("d", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("p", [0.3, 0.01, 1e-6])
def test_the_probability_of_a_slow_start(d: int, p: float) -> None:
    """z / r of a uniform point: z^2 / r^2 is Beta(1/2, (d + 1)/2), an exact law."""
    delta = p * math.sqrt(math.pi / (2 * (d + 1)))
    exact = float(stats.beta.cdf(delta**2, 0.5, (d + 1) / 2))
    assert exact <= p
    if d > 1 and p < 0.1:
        assert exact > (0.85 if d == 2 else 0.9) * p  # nothing much is given away


@given(
    st.integers(1, 30),
    st.floats(0.05, 1.0),
    st.floats(0.05, 2.0),
    st.floats(1e-6, 0.9),
    st.floats(1.0, 1e6),
)
def test_time_to_leave_a_quadratic_saddle(
    d: int, curvature: float, product: float, p: float, far: float
) -> None:
    """The slowest start that counts as a success is out exactly then, and not two steps before."""
    mp.dps = 40
    r, big = 1e-3, 1.0
    c = quadratic_saddle_left(
        d, big, curvature, perturbation_radius=r, escape_radius=far * r,
        step_size=product / big, failure_probability=p,
    ).conclusion  # fmt: skip
    assert c is not None
    delta = mp.mpf(p) * mp.mpf(r) * mp.sqrt(mp.pi / (2 * (d + 1)))
    growth = 1 + mp.mpf(product) * mp.mpf(curvature)
    k = int(c.steps_upper)
    assert growth**k * delta >= mp.mpf(c.escape_radius) * (1 - mp.mpf(10) ** -30)
    if k > 2:
        assert growth ** (k - 2) * delta < c.escape_radius
    exact = (mp.mpf(curvature) * mp.mpf(far * r) ** 2 - big * mp.mpf(r) ** 2) / 2
    assert c.decrease_lower <= exact
    assert c.decrease_lower == pytest.approx(float(exact), rel=1e-9, abs=1e-20)


def test_runs_from_a_quadratic_saddle() -> None:
    rng = np.random.default_rng(0)
    h = np.array([-0.7, -0.1, 0.0, 0.4, 1.0])
    c = quadratic_saddle_left(
        5, 1.0, 0.7, perturbation_radius=0.01, escape_radius=1.0, step_size=1.5,
        failure_probability=0.05,
    ).conclusion  # fmt: skip
    assert c is not None
    w = uniform_ball(rng, 4000, 5, 0.01) * (1 - 1.5 * h) ** int(c.steps_upper)
    failed = (np.linalg.norm(w, axis=1) < 1.0) | (-0.5 * (h * w * w).sum(1) < c.decrease_lower)
    assert 0 < failed.mean() <= 0.05 + 5 * math.sqrt(0.05 / 4000)


def test_an_episode_has_the_constants_of_the_statement() -> None:
    mp.dps = 40
    d, rho, g, gamma, r, eta, t = 7, 0.5, 1e-4, 0.75, 1e-3, 0.5, 60
    c = perturbation_escapes_saddle(
        d, 1.5, rho, g, gamma, perturbation_radius=r, step_size=eta, steps=t
    ).conclusion
    assert c is not None
    s = 1 / (3 * mp.mpf(eta) * rho * t)
    lost = (s - r) ** 2 / (2 * mp.mpf(eta) * t)
    decrease = lost - mp.mpf(g) * r - mp.mpf(1.5) * mp.mpf(r) ** 2 / 2
    failure = 4 * s / r * mp.sqrt((d + 1) / (2 * mp.pi)) * (1 + mp.mpf(eta) * gamma) ** -t
    assert c.decrease_lower <= decrease
    assert c.decrease_lower == pytest.approx(float(decrease), rel=1e-12)
    assert c.failure_probability_upper >= failure
    assert c.failure_probability_upper == pytest.approx(float(failure), rel=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3, 5, 50])
def test_sections_of_the_ball(d: int) -> None:
    """V_{d-1} / V_d <= sqrt((d + 1) / (2 pi)), the lemma behind the probability."""
    ratio = mp.gamma(mp.mpf(d) / 2 + 1) / (mp.sqrt(mp.pi) * mp.gamma(mp.mpf(d + 1) / 2))
    assert ratio <= mp.sqrt((d + 1) / (2 * mp.pi))
    assert ratio >= mp.sqrt(d / (2 * mp.pi))


@given(
    st.integers(1, 12),
    st.floats(0.2, 1.0),
    st.integers(8, 120),
    st.floats(0.01, 0.9),
    st.floats(0.0, 0.02),
)
@settings(max_examples=60)
def test_no_run_contradicts_an_episode(
    d: int, eta: float, t: int, share: float, offset: float
) -> None:
    """f = |x|^2 / 2 + cos y from a point with y = offset, hence gradient sin(offset)."""
    r = share * 0.2 / (3 * eta * t)
    g, gamma = math.sin(offset) * (1 + 1e-12), math.cos(offset) * (1 - 1e-12)
    c = perturbation_escapes_saddle(
        d, gradient_norm_upper=g, negative_curvature_lower=gamma, perturbation_radius=r,
        step_size=eta, steps=t, **UNIT,
    ).conclusion  # fmt: skip
    if c is None:
        return
    n = 400
    w = uniform_ball(np.random.default_rng(d * 1000 + t), n, d, r)
    x, y = w[:, 1:], w[:, 0] + offset
    for _ in range(t):
        x, y = (1 - eta) * x, y + eta * np.sin(y)
    # cos(offset) - cos(y) without cancellation
    decrease = 2 * np.sin((y + offset) / 2) * np.sin((y - offset) / 2) - 0.5 * (x * x).sum(1)
    failures = int((decrease < c.decrease_lower - 1e-15).sum())
    p = c.failure_probability_upper
    assert failures <= n * p + 6 * math.sqrt(n * p) + (3 if p > 1e-9 else 0)


def test_most_episodes_are_provable_and_some_fail() -> None:
    """The fuzz above is not empty, and a perturbation too small for T does get stuck."""
    c = perturbation_escapes_saddle(
        10, gradient_norm_upper=0.0, negative_curvature_lower=1.0, perturbation_radius=3e-3,
        step_size=1.0, steps=12, **UNIT,
    ).conclusion  # fmt: skip
    assert c is not None
    w = uniform_ball(np.random.default_rng(3), 100000, 10, 3e-3)
    y = w[:, 0]
    for _ in range(12):
        y = y + np.sin(y)
    share = float((2 * np.sin(y / 2) ** 2 < c.decrease_lower).mean())
    assert 0 < share < c.failure_probability_upper


def test_a_second_order_point_is_found_in_the_promised_time() -> None:
    """The method itself, on |x|^2 / 2 + cos y: from the stable manifold to the minimum."""
    g, gamma, r, eta, t, d = 1e-4, 0.5, 3e-4, 1.0, 60, 4
    c = perturbed_descent_finds_second_order_point(
        10.0, d, gradient_threshold=g, curvature_threshold=gamma, perturbation_radius=r,
        step_size=eta, steps=t, **UNIT,
    ).conclusion  # fmt: skip
    assert c is not None
    episodes = 10.0 / c.episode.decrease_lower
    calls = max(2 * 10.0 / (eta * g * g), episodes * (t + 1)) + t + 2
    assert c.steps_upper == pytest.approx(calls, rel=1e-9)
    assert c.failure_probability_upper == pytest.approx(
        (math.ceil(episodes) + 1) * c.episode.failure_probability_upper, rel=1e-9
    )
    rng = np.random.default_rng(0)
    x, y, remaining, visited = np.array([0.3, -2.0, 3.0]), 0.0, 0, []
    for call in range(400):
        norm = math.hypot(np.linalg.norm(x), math.sin(y))
        if remaining == 0 and norm <= g:
            visited.append(-math.cos(y))
            if visited[-1] >= -gamma:
                assert call <= c.steps_upper
                break
            xi = uniform_ball(rng, 1, d, r)[0]
            x, y, remaining = x + xi[1:], y + xi[0], t
        else:
            x, y, remaining = x - 0.9 * eta * x, y + eta * math.sin(y), max(remaining - 1, 0)
    assert visited[0] == -1.0  # it did meet the strict saddle
    assert visited[-1] >= -gamma
