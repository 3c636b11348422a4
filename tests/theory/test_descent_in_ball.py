"""T1, T2, T3 and T4 attacked on problems whose constants are known exactly."""

from __future__ import annotations

import math

import pytest
from mpmath import mp

from talweg.theory import (
    DescentConvergence,
    NestedBallBound,
    Profile,
    Status,
    Verdict,
    chatterjee_criterion,
    chatterjee_criterion_with_steps,
    composite_loss_converges,
    gradient_descent_converges_in_ball,
    gradient_flow_converges_in_ball,
    initial_gap_from_gradient_upper,
    singular_value_profile,
    squared_loss_converges,
)

mp.dps = 50
everywhere = NestedBallBound.everywhere


def well_profile(start: float, radius: float, size: int = 300) -> Profile:
    """Profile of f = x^2 + 3 sin(x)^2 around `start`, where f <= f(start), from a padded grid.

    |f'| / sqrt(f) is 40-Lipschitz away from 0 and above 3 near 0.
    """

    def ratio(x: float) -> float:
        f = x * x + 3.0 * math.sin(x) ** 2
        if f < 1e-12 or f > start * start + 3.0 * math.sin(start) ** 2:
            return math.inf
        return abs(2.0 * x + 3.0 * math.sin(2.0 * x)) / math.sqrt(f)

    least, radii, values = 4.0, [], []
    for i in range(1, size + 1):
        r = radius * i / size
        least = min(least, ratio(start - r) - 40.0 * radius / size,
                    ratio(start + r) - 40.0 * radius / size)  # fmt: skip
        radii.append(r)
        values.append(max(least, 0.0))
    return Profile(tuple(radii), tuple(values))


def run_well(start: float, verdict: Verdict[DescentConvergence]) -> None:
    """Check path, rate, limit and distance on f = x^2 + 3 sin(x)^2, whose zero is x = 0."""
    c = verdict.conclusion
    assert c is not None
    x, path, k = mp.mpf(start), mp.mpf(0), 0

    def f(u: mp.mpf) -> mp.mpf:
        return u * u + 3 * mp.sin(u) ** 2

    f0 = f(x)
    while k < 150 and f(x) > mp.mpf("1e-40"):
        assert abs(x) <= c.distance_upper * mp.mpf(c.loss_rate_upper) ** (mp.mpf(k) / 2)
        assert f(x) <= mp.mpf(c.loss_rate_upper) ** k * f0
        step = c.step_size * (2 * x + 3 * mp.sin(2 * x))
        path += abs(step)
        before, x, k = f(x), x - step, k + 1
        assert path <= c.radius_upper
        assert f(x) <= c.loss_rate_upper * before


@pytest.mark.parametrize("start", [0.2, -0.5, 0.8, 1.0])
@pytest.mark.parametrize("epsilon", [0.02, 0.2, 0.5])
def test_descent_on_a_nonconvex_well(start: float, epsilon: float) -> None:
    gap = (start**2 + 3.0 * math.sin(start) ** 2) * (1 + 1e-14)
    profile = well_profile(abs(start), 2.5 * abs(start))
    verdict = gradient_descent_converges_in_ball(gap, profile, everywhere(8.0), epsilon=epsilon)
    if verdict.conclusion is None:
        assert verdict.failed[0].name == "criterion"
        return
    run_well(start, verdict)


def test_the_well_is_certified_somewhere() -> None:
    gap = 0.2**2 + 3.0 * math.sin(0.2) ** 2
    verdict = gradient_descent_converges_in_ball(
        gap, well_profile(0.2, 0.5), everywhere(8.0), epsilon=0.2
    )
    assert verdict.status is Status.PROVED


@pytest.mark.parametrize("ratio", [1.0, 3.0, 30.0])
@pytest.mark.parametrize("epsilon", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("angle", [0.0, 0.6, 1.5])
def test_descent_on_quadratics(ratio: float, epsilon: float, angle: float) -> None:
    """f = (x^2 + ratio y^2) / 2: a = sqrt 2 and M = ratio are exact, so all slack is T1's own."""
    w = [mp.cos(angle), mp.sin(angle)]
    d = [mp.mpf(1), mp.mpf(ratio)]

    def f(v: list[mp.mpf]) -> mp.mpf:
        return sum(a * b * b for a, b in zip(d, v, strict=True)) / 2

    gap = float(f(w)) * (1 + 1e-14)
    profile = Profile.constant(math.sqrt(2.0) * (1 - 1e-15), 1e3)
    c = gradient_descent_converges_in_ball(
        gap, profile, everywhere(ratio), epsilon=epsilon
    ).conclusion
    assert c is not None
    path = mp.mpf(0)
    for k in range(100):
        assert mp.hypot(*w) <= c.distance_upper * mp.mpf(c.loss_rate_upper) ** (mp.mpf(k) / 2)
        before = f(w)
        step = [c.step_size * a * b for a, b in zip(d, w, strict=True)]
        w = [a - b for a, b in zip(w, step, strict=True)]
        path += mp.hypot(*step)
        assert f(w) <= c.loss_rate_upper * before
        assert path <= c.radius_upper


@pytest.mark.parametrize("time", [0.0, 0.3, 1.0, 4.0])
def test_flow_is_exact_on_the_parabola(time: float) -> None:
    """f = x^2 / 2 from x = 1: path 1, f = e^{-2t} / 2, and the theorem loses nothing."""
    c = gradient_flow_converges_in_ball(0.5, Profile.constant(math.sqrt(2), 2.0)).conclusion
    assert c is not None
    assert c.radius_upper == pytest.approx(1.0, rel=1e-14)
    assert c.radius_upper >= 1.0 - 2e-16
    assert mp.exp(-time) <= c.distance_upper * mp.exp(-mp.mpf(c.exponent_lower) * time / 2) * (
        1 + mp.mpf("1e-15")
    )
    assert c.halving_time_upper == pytest.approx(math.log(2) / 2, rel=1e-14)


def test_flow_criterion_is_sharp() -> None:
    """A parabola cut off at distance R: f > 0 all over B(w0, R) once R <= the path length."""
    profile = Profile.constant(math.sqrt(2), 1.0 - 1e-12)
    assert gradient_flow_converges_in_ball(0.5, profile).status is Status.UNDECIDED
    profile = Profile.constant(math.sqrt(2), 1.0 + 1e-12)
    assert gradient_flow_converges_in_ball(0.5, profile).status is Status.PROVED


def test_chatterjee_flow_is_the_constant_profile() -> None:
    """T3 and T2 agree on a constant profile, criterion and numbers."""
    for loss, alpha, radius in [(0.2, 1.0, 1.0), (0.01, 0.3, 2.0), (0.3, 1.0, 1.0)]:
        published = chatterjee_criterion(loss, alpha, radius)
        ours = gradient_flow_converges_in_ball(loss, Profile.constant(math.sqrt(alpha), radius))
        assert published.status is ours.status
        if published.conclusion is not None and ours.conclusion is not None:
            for name in ("radius_upper", "exponent_lower", "distance_upper"):
                assert getattr(published.conclusion, name) == pytest.approx(
                    getattr(ours.conclusion, name), rel=1e-12
                )


def test_chatterjee_with_steps_is_never_stronger_than_the_profile_theorem() -> None:
    for epsilon in (0.1, 0.5, 0.9):
        published = chatterjee_criterion_with_steps(
            0.001, 1.0, 1.0, epsilon=epsilon,
            first_partials_upper=2.0, second_partials_upper=1.5, parameters=10,
        ).conclusion  # fmt: skip
        ours = gradient_descent_converges_in_ball(
            0.001, Profile.constant(1.0, 1.0), everywhere(15.0), epsilon=epsilon
        ).conclusion
        assert published is not None
        assert ours is not None
        assert published.step_size <= ours.step_size * (1 + 1e-12)
        assert published.radius_upper >= ours.radius_upper * (1 - 1e-12)


def test_chatterjee_step_bound_takes_the_smaller_of_both() -> None:
    def step(l1: float, l2: float) -> float:
        c = chatterjee_criterion_with_steps(
            0.001, 1.0, 1.0, epsilon=0.5,
            first_partials_upper=l1, second_partials_upper=l2, parameters=4,
        ).conclusion  # fmt: skip
        assert c is not None
        return c.step_size

    assert step(100.0, 1.0) == pytest.approx(1.0 / 200.0)  # R / (L1 sqrt p)
    assert step(1.0, 5.0) == pytest.approx(1.0 / 20.0)  # 2 eps / (L2 p)


def fold_descent(c: DescentConvergence, target: float) -> None:
    """Run f = (w - w^2 - target)^2 / 2 from 0 and check the conclusion."""
    w, path = mp.mpf(0), mp.mpf(0)
    for _ in range(200):
        r = w - w * w - target
        if abs(r) < mp.mpf("1e-30"):
            break
        step = c.step_size * (1 - 2 * w) * r
        path += abs(step)
        w -= step
        assert path <= c.radius_upper
        assert (w - w * w - target) ** 2 <= c.loss_rate_upper * r * r


@pytest.mark.parametrize("epsilon", [0.05, 0.5])
@pytest.mark.parametrize("share", [0.1, 0.9, 0.999])
def test_composite_loss_on_a_fold(epsilon: float, share: float) -> None:
    """T4 for 1/2 |r|^2 asks |r_0| < (1 - eps) sigma^2 / (2 beta), T11 without the eps."""
    target = share * (1.0 - epsilon) * 0.25
    profile = singular_value_profile(1.0, [(math.inf, 2.0)])
    verdict = composite_loss_converges(
        0.5 * target**2 * (1 + 1e-14), profile, profile.jacobian_norm(1.0), profile.lipschitz,
        pl_lower=1.0, smoothness_upper=1.0, epsilon=epsilon,
    )  # fmt: skip
    assert verdict.status is Status.PROVED
    assert verdict.conclusion is not None
    fold_descent(verdict.conclusion, target)
    sharp = squared_loss_converges(target, profile, 1.0).conclusion
    assert sharp is not None
    assert sharp.radius_upper <= verdict.conclusion.radius_upper
    beyond = composite_loss_converges(
        0.5 * (target / share * 1.0001) ** 2, profile, profile.jacobian_norm(1.0),
        profile.lipschitz, pl_lower=1.0, smoothness_upper=1.0, epsilon=epsilon,
    )  # fmt: skip
    assert [h.name for h in beyond.failed] == ["criterion"]
    assert beyond.missing_factor == pytest.approx(1.0001)


def test_composite_constants_are_those_of_the_statement() -> None:
    profile = singular_value_profile(1.0, [(math.inf, 0.1)])
    gap, mu, k, eps = 0.02, 0.5, 3.0, 0.25
    c = composite_loss_converges(
        gap, profile, profile.jacobian_norm(2.0), profile.lipschitz,
        pl_lower=mu, smoothness_upper=k, epsilon=eps,
    ).conclusion  # fmt: skip
    assert c is not None
    m = k * (2.0 + 0.1 * c.radius_upper) ** 2 + math.sqrt(2 * k * gap) * 0.1
    assert m <= c.smoothness_upper <= m * (1 + 1e-13)
    assert c.step_size == pytest.approx(2 * eps / m, rel=1e-13)
    a = math.sqrt(2 * mu) * (1.0 - 0.1 * c.radius_upper)
    assert a * (1 - 1e-13) <= c.profile_lower <= a
    assert c.one_minus_rate_lower == pytest.approx((1 - eps) * c.step_size * a * a, rel=1e-12)
    assert profile.integral_lower(c.radius_upper) == pytest.approx(
        math.sqrt(2 * gap / mu) / (1 - eps), rel=1e-12
    )


def test_gap_from_the_gradient() -> None:
    assert initial_gap_from_gradient_upper(2.0, 0.5) == pytest.approx(4.0)
    assert initial_gap_from_gradient_upper(2.0, 0.5) >= 4.0
    assert initial_gap_from_gradient_upper(2.0, 0.0) == math.inf
    # half the squared residual: gradient r, mu = 1
    assert initial_gap_from_gradient_upper(0.3, 1.0) == pytest.approx(0.045)
