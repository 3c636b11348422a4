"""T6: every start near a regular solution meets the criterion, and descent from it converges."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talweg import InputError
from talweg.theory import (
    SquaredLoss,
    Status,
    TrappingRadius,
    Verdict,
    composite_loss_trapping_radius,
    singular_value_profile,
    squared_loss_converges,
    squared_loss_trapping_radius,
)

SIGMA, NORM, BETA = 1.0, 2.0, 0.5


def squared(
    sigma: float = SIGMA, norm: float = NORM, beta: float = BETA, step: float = 1e-3, **more: object
) -> Verdict[TrappingRadius]:
    profile = singular_value_profile(sigma, [(math.inf, beta)])
    return squared_loss_trapping_radius(profile, norm, step_size=step, **more)  # type: ignore[arg-type]


def composite(
    sigma: float = SIGMA, norm: float = NORM, beta: float = BETA, step: float = 1e-3,
    epsilon: float = 0.5, pl: float = 1.0, smooth: float = 1.0,
) -> Verdict[TrappingRadius]:  # fmt: skip
    profile = singular_value_profile(sigma, [(math.inf, beta)])
    return composite_loss_trapping_radius(
        profile, norm, pl_lower=pl, smoothness_upper=smooth, epsilon=epsilon, step_size=step
    )


def test_closed_form_for_constant_beta_and_a_small_step() -> None:
    c = squared().conclusion
    assert c is not None
    exact = SIGMA**2 / (2.0 * BETA * (SIGMA + NORM))
    assert c.radius_lower <= exact
    assert c.radius_lower >= exact * (1.0 - 1e-12)
    assert c.ball_radius_upper == pytest.approx(SIGMA / BETA, rel=1e-12)


def test_a_long_step_is_paid_for_with_the_radius() -> None:
    """Beyond 1 / (Sigma + sigma)^2 the ball ends where Sigma + beta rho = 1 / sqrt(eta)."""
    step = 0.2
    rho = (1.0 / math.sqrt(step) - NORM) / BETA
    exact = (SIGMA * rho - 0.5 * BETA * rho**2) / (SIGMA + NORM)
    c = squared(step=step).conclusion
    assert c is not None
    assert exact * (1.0 - 1e-9) <= c.radius_lower <= exact


def test_the_general_loss_pays_for_its_condition_number() -> None:
    tiny = 1e-6
    one = composite(step=tiny).conclusion
    four = composite(step=tiny, pl=1.0, smooth=4.0).conclusion
    plain = squared(step=tiny).conclusion
    assert one is not None
    assert four is not None
    assert plain is not None
    assert one.radius_lower == pytest.approx(0.5 * plain.radius_lower, rel=1e-9)
    assert four.radius_lower == pytest.approx(0.5 * one.radius_lower, rel=1e-9)
    assert one.epsilon == 0.5


@pytest.mark.parametrize("part", [0.1, 0.9, 0.999999])
def test_t11_holds_inside_on_the_worst_bounds_that_the_proof_allows(part: float) -> None:
    c = squared().conclusion
    assert c is not None
    d = part * c.radius_lower
    residual = NORM * d + 0.5 * BETA * d * d
    here = singular_value_profile(SIGMA - BETA * d, [(math.inf, BETA)])
    assert squared_loss_converges(residual, here, NORM + BETA * d).status is Status.PROVED


def test_just_outside_the_same_bounds_do_not_suffice() -> None:
    c = squared().conclusion
    assert c is not None
    d = 1.000001 * c.radius_lower
    residual = NORM * d + 0.5 * BETA * d * d
    here = singular_value_profile(SIGMA - BETA * d, [(math.inf, BETA)])
    verdict = squared_loss_converges(residual, here, NORM + BETA * d)
    assert [h.name for h in verdict.failed] == ["criterion"]


def test_a_linear_model_is_trapped_everywhere() -> None:
    for verdict in (squared(beta=0.0), composite(beta=0.0)):
        assert verdict.conclusion is not None
        assert verdict.conclusion.radius_lower == math.inf


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("sigma_min_lower", {"sigma": 0.0}),
        ("jacobian_norm_upper", {"norm": math.inf}),
        ("jacobian_lipschitz", {"beta": math.inf}),
        ("step_size", {"step": 0.3}),
    ],
)
def test_each_hypothesis_of_the_squared_loss(name: str, change: dict[str, float]) -> None:
    verdict = squared(**change)
    assert verdict.status is Status.UNDECIDED
    assert verdict.failed[0].name == name


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("sigma_min_lower", {"sigma": -1.0}),
        ("jacobian_norm_upper", {"norm": math.inf}),
        ("jacobian_lipschitz", {"beta": math.inf}),
        ("pl_lower", {"pl": 0.0}),
        ("smoothness_upper", {"smooth": math.inf}),
        ("step_size", {"step": 0.26}),
    ],
)
def test_each_hypothesis_of_the_general_loss(name: str, change: dict[str, float]) -> None:
    verdict = composite(**change)
    assert verdict.status is Status.UNDECIDED
    assert verdict.failed[0].name == name


def test_a_step_too_close_to_the_limit_leaves_no_radius() -> None:
    limit = squared(step=0.3).failed[0].bound  # 1 / |J(w*)|^2 rounded down
    verdict = squared(step=math.nextafter(limit, 0.0))
    assert [h.name for h in verdict.failed] == ["radius"]


def test_assumed_premises_are_marked() -> None:
    verdict = squared(assumed=["sigma_min_lower"])
    assert verdict.status is Status.PROVED
    assert verdict.assumptions == ("sigma_min_lower",)


@pytest.mark.parametrize(
    "change", [{"sigma": 3.0}, {"norm": -1.0}, {"step": 0.0}, {"step": math.nan}]
)
def test_malformed_numbers_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputError, match="trapping_radius"):
        squared(**change)


def test_an_impossible_condition_number_is_refused() -> None:
    with pytest.raises(InputError, match="smoothness_upper"):
        composite(pl=2.0, smooth=1.0)


def test_scaling_of_the_loss_scales_the_step() -> None:
    mean = squared(step=0.2 * 7 / 2, loss=SquaredLoss("mean", 7)).conclusion
    half = squared(step=0.2).conclusion
    assert mean is not None
    assert half is not None
    assert mean.radius_lower == pytest.approx(half.radius_lower, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    sigma=st.floats(0.2, 2.0),
    ratio=st.floats(1.0, 4.0),
    beta=st.floats(0.01, 3.0),
    share=st.floats(0.05, 0.97),
    part=st.floats(-0.999, 0.999),
    angle=st.floats(0.0, 1.5),
    general=st.booleans(),
)
def test_descent_from_inside_converges_and_stays(
    sigma: float, ratio: float, beta: float, share: float, part: float, angle: float, general: bool
) -> None:
    """F = (sigma a - beta a^2 / 2, norm b) with F(0) = 0: the fold attacks the bound at w* = 0."""
    norm = sigma * ratio
    if general:
        step = 2.0 * share / norm**2
        verdict = composite(sigma, norm, beta, step, epsilon=0.5 + 0.5 * share)
    else:
        step = share / norm**2
        verdict = squared(sigma, norm, beta, step)
    c = verdict.conclusion
    assert c is not None
    d = part * c.radius_lower
    a, b = d * math.cos(angle), d * math.sin(angle)
    first = math.hypot(sigma * a - 0.5 * beta * a * a, norm * b)
    for _ in range(4000):
        r = sigma * a - 0.5 * beta * a * a
        a, b = a - step * (sigma - beta * a) * r, b - step * norm * norm * b
        assert math.hypot(a, b) <= c.ball_radius_upper * (1.0 + 1e-9)
    rate = 1.0 - step * (sigma - beta * c.ball_radius_upper) ** 2
    if general or rate > 0.999:
        assert math.hypot(sigma * a - 0.5 * beta * a * a, norm * b) <= first
    else:
        assert math.hypot(a, b) <= 0.1 * abs(d)
