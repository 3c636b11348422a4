"""T10 against exact expectations: every path of a small stochastic descent is enumerated."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talweg._errors import InputError
from talweg.theory import (
    Status,
    singular_value_profile,
    squared_loss_minibatch_constants,
    stochastic_descent_interpolates,
)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_rate_is_attained(share: float) -> None:
    """f_1 = 0, f_2 = c w^2 / 2: mu = L = c/2, L_B = c, and E f_k = (1 - delta)^k f(w0) exactly."""
    c, w0 = 3.0, 0.01
    mu = smooth = c / 2
    eta = share * mu / (smooth * c) * (1 - 1e-12)
    verdict = stochastic_descent_interpolates(
        0.5 * mu * w0**2, mu, smooth, c, 1.0, failure_probability=0.5, step_size=eta
    )
    conclusion = verdict.conclusion
    assert conclusion is not None
    exact = 0.5 * 1.0 + 0.5 * (1.0 - eta * c) ** 2  # E of the factor on w^2
    assert conclusion.loss_rate_upper >= exact - 1e-15
    assert conclusion.loss_rate_upper == pytest.approx(exact, rel=1e-13)


def test_the_best_step_is_the_default() -> None:
    base = {"failure_probability": 0.9}
    default = stochastic_descent_interpolates(1e-4, 0.5, 2.0, 4.0, 1.0, **base).conclusion
    assert default is not None
    assert default.step_size == pytest.approx(1.0 / 16.0, rel=1e-14)
    assert default.one_minus_rate_lower == pytest.approx(1.0 / 32.0, rel=1e-14)
    less = stochastic_descent_interpolates(1e-4, 0.5, 2.0, 4.0, 1.0, step_size=1.0 / 32.0, **base)
    assert less.conclusion is not None
    # eta (2 mu - eta L L_B) = (1 - 1/4) / 32, above the usual eta mu = 1/64
    assert less.conclusion.one_minus_rate_lower == pytest.approx(0.75 / 32.0, rel=1e-14)


@given(
    first=st.floats(0.2, 2.0),
    second=st.floats(0.2, 2.0),
    wave=st.floats(0.0, 0.7),
    start=st.floats(0.01, 3.0),
    share=st.floats(0.1, 1.0),
    reach=st.floats(0.02, 6.0),
)
@settings(max_examples=80, deadline=None)
def test_no_enumeration_contradicts_the_theorem(
    first: float, second: float, wave: float, start: float, share: float, reach: float
) -> None:
    """f_i = a_i^2 u(w)^2 / 2, u = w + c sin w, two batches, all 2^9 paths."""

    def u(w: float) -> float:
        return w + wave * math.sin(w)

    squares = (first**2, second**2)
    mean, largest = sum(squares) / 2, max(squares)
    farthest = max(abs(start - reach), abs(start + reach))
    size = farthest + wave
    mu = mean * (1 - wave) ** 2 * (1 - 1e-12)
    smooth = mean * ((1 + wave) ** 2 + wave * size) * (1 + 1e-12)
    batch = largest * (1 + wave) ** 2 * (1 + 1e-12)
    f0 = 0.5 * mean * u(start) ** 2 * (1 + 1e-12)
    step = share * mu / (smooth * batch) * (1 - 1e-12)
    verdict = stochastic_descent_interpolates(
        f0, mu, smooth, batch, reach, failure_probability=0.999999, step_size=step
    )
    if verdict.status is not Status.PROVED:
        assert [h.name for h in verdict.failed] == ["criterion"]
        return
    c = verdict.conclusion
    assert c is not None
    inside = [(start, 1.0, 0.0)]  # position, probability, path length
    escaped = 0.0
    for k in range(1, 10):
        moved = []
        for w, p, path in inside:
            for a in squares:
                x = w - step * a * u(w) * (1 + wave * math.cos(w))
                if abs(x - start) > reach:
                    escaped += p / 2
                else:
                    moved.append((x, p / 2, path + abs(x - w)))
        inside = moved
        expected = sum(p * 0.5 * mean * u(x) ** 2 for x, p, _ in inside)
        assert expected <= c.loss_rate_upper**k * f0 * (1 + 1e-10)
        assert sum(p * path for _, p, path in inside) <= c.expected_path_upper * (1 + 1e-10)
    assert escaped <= c.exit_probability_upper * (1 + 1e-12)


def test_leaving_the_ball_can_be_likely() -> None:
    """A ball that the first step of one batch jumps out of: T10 must not promise containment."""
    # f_1 = 0, f_2 = c w^2 / 2 from w = 1: the first nonzero step moves by eta c = 1/2 > R
    c = 4.0
    verdict = stochastic_descent_interpolates(
        c / 4, c / 2, c / 2, c, 0.25, failure_probability=0.99, step_size=1.0 / c - 1e-12
    )
    assert verdict.status is Status.UNDECIDED
    assert [h.name for h in verdict.failed] == ["criterion"]


def test_smaller_steps_are_needed_when_batches_disagree() -> None:
    """At eta = 2 mu / (L L_B) E f stands still in the tight example: beyond it nothing holds."""
    c = 3.0
    refused = stochastic_descent_interpolates(
        1e-6, c / 2, c / 2, c, 1.0, failure_probability=0.5, step_size=2.0 / c
    )
    assert "step_size" in [h.name for h in refused.failed]
    assert 0.5 + 0.5 * (1.0 - (2.0 / c) * c) ** 2 == pytest.approx(1.0)


@pytest.mark.parametrize(("name", "needed"), [
    ("smoothness_upper", ("grad f is value-Lipschitz", "|grad f|^2 <= 2 value f")),
    ("batch_smoothness_upper",
     ("i.i.d.", "E f_B = f", "f_B >= 0", "|grad f_B|^2 <= 2 value f_B")),
])  # fmt: skip
def test_all_that_the_proof_uses_is_in_the_verdict(name: str, needed: tuple[str, ...]) -> None:
    verdict = stochastic_descent_interpolates(
        1e-4, 0.5, 2.0, 4.0, 1.0, failure_probability=0.5, assumed=(name,)
    )
    assert verdict.status is Status.PROVED
    assert verdict.assumptions == (name,)
    (hypothesis,) = (h for h in verdict.hypotheses if h.name == name)
    for words in (*needed, "on B(w0, R)"):
        assert words in hypothesis.statement


def test_constants_of_a_squared_loss() -> None:
    """n = 4, b = 2 on B(w0, 1/2), beta = 1/2: sigma = 2 + 1/4, single samples 1 + 1/4."""
    profile = singular_value_profile(1.0, [(0.5, 0.5)])
    c = squared_loss_minibatch_constants(
        0.1, profile, 2.0, 1.0, samples=4, batch=2, radius=0.5
    )  # fmt: skip
    assert c.initial_loss_upper == pytest.approx(0.005, rel=1e-14)
    assert c.pl_lower == pytest.approx(0.75**2, rel=1e-14)
    assert c.smoothness_upper == pytest.approx(2.25**2 + 0.5 * (0.1 + 2.25 * 0.5), rel=1e-14)
    assert c.batch_smoothness_upper == pytest.approx(2.0 * 2.0 * 1.25**2, rel=1e-14)
    full = squared_loss_minibatch_constants(
        0.1, profile, 2.0, 1.9, samples=4, batch=4, radius=0.5
    )  # fmt: skip
    assert full.batch_smoothness_upper == pytest.approx(2.25**2, rel=1e-14)
    beyond = squared_loss_minibatch_constants(
        0.1, profile, 2.0, 1.0, samples=4, batch=2, radius=0.6
    )  # fmt: skip
    assert beyond.pl_lower == 0.0
    assert beyond.smoothness_upper == math.inf


def test_impossible_bounds_and_counts_are_refused() -> None:
    with pytest.raises(InputError, match="pl_lower"):
        stochastic_descent_interpolates(0.1, 3.0, 2.0, 4.0, 1.0, failure_probability=0.5)
    profile = singular_value_profile(1.0, [(0.5, 0.5)])
    for counts in ((4, 5), (4, 0), (True, 1)):
        with pytest.raises(InputError, match="batch"):
            squared_loss_minibatch_constants(
                0.1, profile, 2.0, 1.0, samples=counts[0], batch=counts[1], radius=0.5
            )  # fmt: skip
