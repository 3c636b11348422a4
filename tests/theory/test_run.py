"""T12 attacked: recorded runs that go down enough never leave the ball."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talweg._errors import InputError
from talweg.theory import Profile, RunStep, ScaledProfile, Status, run_stays_in_ball
from talweg.theory import singular_value_profile as sigma_profile

PARABOLA = Profile.constant(math.sqrt(2.0) * (1 - 1e-12), 1e6)  # f = |x|^2 / 2


def descent_on_a_parabola(step: float, count: int) -> list[RunStep]:
    """Gradient descent on x^2 / 2 from x = 1, exact but for rounding."""
    x, steps = 1.0, []
    for _ in range(count):
        y = (1.0 - step) * x
        decrease = 0.5 * (x - y) * (x + y)
        length = abs(x - y)
        steps.append(
            RunStep(
                decrease * (1 - 1e-12), x * (1 + 1e-12), length * (1 - 1e-12), length * (1 + 1e-12)
            )
        )
        x = y
    return steps


@pytest.mark.parametrize("step", [0.01, 0.3, 0.9])
def test_gradient_descent_on_a_parabola(step: float) -> None:
    """The share is 1 - step / 2 exactly, the effective step is the step, the rate 2 c step."""
    share = (1.0 - step / 2.0) * (1.0 - 1e-11)
    verdict = run_stays_in_ball(0.5, PARABOLA, descent_on_a_parabola(step, 20), share=share)
    found = verdict.conclusion
    assert found is not None, verdict.reason
    assert found.radius_upper == pytest.approx(1.0 / share, rel=1e-9)
    for rate in found.one_minus_rates_lower:
        assert rate == pytest.approx(1.0 - (1.0 - step) ** 2, rel=1e-9)
    assert found.shrink_upper == pytest.approx((1.0 - step) ** 40, rel=1e-6)
    assert found.path_length_upper == pytest.approx(1.0 - (1.0 - step) ** 20, rel=1e-9)
    more = share / (1.0 - 1e-11) * (1.0 + 1e-10)
    over = run_stays_in_ball(0.5, PARABOLA, descent_on_a_parabola(step, 20), share=more)
    assert [h.name for h in over.failed] == ["decrease"]
    assert "k = 0" in over.failed[0].statement


def test_a_jump_along_the_bottom_is_not_contained() -> None:
    """At the minimum 0 >= c 0 |step| holds for any jump: the strict decrease refuses it."""
    jump = RunStep(0.0, 0.0, 50.0, 50.0)
    verdict = run_stays_in_ball(0.5, PARABOLA, [*descent_on_a_parabola(0.3, 2), jump], share=0.5)
    assert verdict.status is Status.UNDECIDED
    assert "k = 2" in verdict.failed[0].statement


def test_a_step_that_stands_still_is_allowed() -> None:
    rest = RunStep(0.0, 1.0, 0.0, 0.0)
    verdict = run_stays_in_ball(0.5, PARABOLA, [rest], share=0.5)
    assert verdict.conclusion is not None
    assert verdict.conclusion.one_minus_rates_lower == (0.0,)
    assert verdict.conclusion.shrink_upper >= 1.0


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [RunStep(math.nan, 1.0, 0.0, 1.0)],
        [RunStep(1.0, 1.0, 2.0, 1.0)],
        [RunStep(1.0, -1.0, 0.0, 1.0)],
        [RunStep(math.inf, 1.0, 0.0, 1.0)],
        None,
        [1.0],
    ],
)
def test_malformed_steps(steps: list[RunStep]) -> None:
    with pytest.raises(InputError, match="steps"):
        run_stays_in_ball(0.5, PARABOLA, steps, share=0.5)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.0 + 1e-9, math.nan])
def test_share_out_of_range(share: float) -> None:
    with pytest.raises(InputError, match="share"):
        run_stays_in_ball(0.5, PARABOLA, descent_on_a_parabola(0.3, 1), share=share)


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    share=st.sampled_from([0.05, 0.3, 0.6, 0.9]),
    start_share=st.floats(0.05, 0.999),
    condition=st.sampled_from([1.0, 5.0, 50.0]),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
)
def test_no_run_leaves_the_ball(
    seed: int, share: float, start_share: float, condition: float, momentum: float
) -> None:
    """Random, heavy-ball and overlong steps on F = (w_1 - w_1^2 / 2, condition w_2).

    Only steps that meet the condition are made. The first output folds back at its maximum.
    """
    rng = np.random.default_rng(seed)
    r0 = share * start_share * 0.5
    angle = rng.uniform(0, 2 * math.pi) if seed % 2 else 0.0
    target = r0 * np.array([math.cos(angle), math.sin(angle)])
    profile = ScaledProfile(sigma_profile(1.0, [(1.0, 1.0)]), math.sqrt(2.0) * (1 - 1e-15))

    def residual(w: np.ndarray) -> np.ndarray:
        return np.array([w[0] - w[0] ** 2 / 2, condition * w[1]]) - target

    w, velocity, steps, points = np.zeros(2), np.zeros(2), [], [np.zeros(2)]
    for _ in range(200):
        r = residual(w)
        g = np.array([(1.0 - w[0]) * r[0], condition * r[1]])
        size = float(np.linalg.norm(g))
        if size < 1e-7:
            break
        for trial in range(12):
            noise = rng.normal(size=2) * size * rng.choice([0.0, 0.5, 2.0])
            length = 10.0 ** rng.uniform(-3, 1)
            move = -length * (g + noise) + (momentum * velocity if trial == 0 else 0.0)
            after = residual(w + move)
            decrease = 0.5 * float((r - after) @ (r + after)) * (1 - 1e-12) - 1e-16 * r0 * r0
            long = float(np.linalg.norm(move)) * (1 + 1e-12)
            if decrease > 0.0 and decrease >= share * size * (1 + 1e-12) * long * (1 + 1e-12):
                steps.append(RunStep(decrease, size * (1 + 1e-12), long * (1 - 1e-11), long))
                w, velocity = w + move, move
                points.append(w)
                break
    if not steps:
        return
    verdict = run_stays_in_ball(
        0.5 * r0 * r0 * (1 + 1e-12), profile, steps, share=share * (1 - 1e-15)
    )
    found = verdict.conclusion
    assert found is not None, verdict.reason
    losses = [0.5 * float(residual(p) @ residual(p)) for p in points]
    assert found.path_length_upper <= found.radius_upper
    for point in points:
        assert np.linalg.norm(point) <= found.radius_upper * (1 + 1e-9)
    for before, after, rate in zip(losses, losses[1:], found.one_minus_rates_lower, strict=False):
        assert after <= (1.0 - rate) * before * (1 + 1e-9)
    assert losses[-1] <= found.shrink_upper * losses[0] * (1 + 1e-9)
