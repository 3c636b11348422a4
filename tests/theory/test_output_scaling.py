"""T8: the scale beyond which the criterion holds, against the fold, where it is sharp."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talweg import InputError
from talweg.theory import (
    OutputScaling,
    Status,
    Verdict,
    output_scale_threshold_upper,
    scaled_output_converges,
    singular_value_profile,
)

SIGMA, BETA, TARGET = 0.8, 0.3, 5.0
EXACT = 2.0 * BETA * TARGET / SIGMA**2


def scaled(
    scale: float, *, sigma: float = SIGMA, beta: float = BETA, norm: float = SIGMA,
    target: float = TARGET, **more: object,
) -> Verdict[OutputScaling]:  # fmt: skip
    profile = singular_value_profile(sigma, [(math.inf, beta)])
    return scaled_output_converges(target, profile, norm, scale=scale, **more)  # type: ignore[arg-type]


def test_the_explicit_formula_for_constant_beta() -> None:
    profile = singular_value_profile(SIGMA, [(math.inf, BETA)])
    threshold = output_scale_threshold_upper(TARGET, profile)
    assert EXACT <= threshold <= EXACT * (1.0 + 1e-13)
    twin = output_scale_threshold_upper(TARGET, profile, form="antisymmetric")
    assert twin == pytest.approx(EXACT / math.sqrt(2.0), rel=1e-13)


def test_a_profile_that_grows_asks_for_less_than_its_last_constant() -> None:
    pairs = [(1.0, 0.1), (10.0, BETA)]
    grown = singular_value_profile(SIGMA, pairs)
    # s = 0.8 - 0.1 r to r = 1, then 0.7 - 0.3 (r - 1) to zero
    exact = TARGET / (0.75 + 0.7**2 / (2.0 * BETA))
    assert output_scale_threshold_upper(TARGET, grown) == pytest.approx(exact, rel=1e-12)
    assert exact < EXACT


def test_at_the_threshold_nothing_is_proved_and_beyond_it_all_is() -> None:
    at = scaled(EXACT)
    assert [h.name for h in at.failed] == ["scale"]
    assert scaled(EXACT * (1.0 + 1e-12)).status is Status.PROVED


def test_below_the_threshold_the_fold_has_no_solution() -> None:
    """max c (sigma w - beta w^2 / 2) = c sigma^2 / (2 beta): the theorem's threshold is sharp."""
    c = EXACT * 0.999
    assert c * SIGMA**2 / (2.0 * BETA) < TARGET
    assert scaled(c).status is Status.UNDECIDED


def test_numbers_of_a_scaled_fold() -> None:
    c = 2.0 * EXACT
    found = scaled(c).conclusion
    assert found is not None
    radius = (SIGMA - math.sqrt(SIGMA**2 - 2.0 * BETA * TARGET / c)) / BETA
    t11 = found.convergence
    assert t11.radius_upper == pytest.approx(radius, rel=1e-12)
    assert t11.step_size == pytest.approx(1.0 / (c * (SIGMA + BETA * radius)) ** 2, rel=1e-12)
    assert t11.singular_value_lower == pytest.approx(c * (SIGMA - BETA * radius), rel=1e-12)


def test_the_step_goes_with_the_inverse_square_of_a_large_scale() -> None:
    for c in (1e3, 1e4):
        found = scaled(c).conclusion
        assert found is not None
        assert found.convergence.step_size * (c * SIGMA) ** 2 == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("sigma_min_lower", {"sigma": 0.0}),
        ("residual_norm_upper", {"target": math.inf}),
        ("jacobian_norm_upper", {"norm": math.inf}),
        ("jacobian_lipschitz", {"beta": math.inf}),
        ("scale", {"target": 100.0}),
        ("step_size", {"step_size": 1e9}),
    ],
)
def test_each_hypothesis(name: str, change: dict[str, float]) -> None:
    verdict = scaled(10.0, **change)  # type: ignore[arg-type]
    assert verdict.status is Status.UNDECIDED
    assert verdict.failed[0].name == name


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("sigma_min_lower", {"scale": 1e-200, "sigma": 1e-200, "norm": 1e-200, "beta": 0.0}),
        ("jacobian_norm_upper", {"scale": 1e200, "norm": 1e200}),
        ("jacobian_lipschitz", {"scale": 1e200, "sigma": 1e106, "beta": 1e200, "norm": 1e106}),
    ],
)
def test_a_scaled_bound_outside_the_range_of_floats_is_undecided(
    name: str, change: dict[str, float]
) -> None:
    verdict = scaled(**({"target": 0.0} | change))  # type: ignore[arg-type]
    assert verdict.status is Status.UNDECIDED
    assert [h.name for h in verdict.failed] == [name]


def test_no_scale_helps_a_singular_kernel() -> None:
    profile = singular_value_profile(0.0, [(math.inf, BETA)])
    assert output_scale_threshold_upper(TARGET, profile) == math.inf


def test_a_linear_model_needs_no_scale() -> None:
    profile = singular_value_profile(SIGMA, [(math.inf, 0.0)])
    assert output_scale_threshold_upper(TARGET, profile) == 0.0
    assert scaled(1e-3, beta=0.0).status is Status.PROVED


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_is_finite_and_positive(scale: float) -> None:
    with pytest.raises(InputError, match="scale"):
        scaled(scale)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(InputError, match="antisymmetric"):
        scaled(10.0, form="twin")


@settings(max_examples=40, deadline=None)
@given(
    sigma=st.floats(0.3, 2.0), beta=st.floats(0.05, 2.0), target=st.floats(0.1, 10.0),
    headroom=st.floats(1.02, 5.0), twin=st.booleans(), sign=st.sampled_from([-1.0, 1.0]),
)  # fmt: skip
def test_descent_on_the_scaled_fold_obeys_the_claim(
    sigma: float, beta: float, target: float, headroom: float, twin: bool, sign: float
) -> None:
    form = "antisymmetric" if twin else "offset"
    profile = singular_value_profile(sigma, [(math.inf, beta)])
    threshold = output_scale_threshold_upper(target, profile, form=form)  # type: ignore[arg-type]
    c = headroom * threshold
    found = scaled_output_converges(target, profile, sigma, scale=c, form=form).conclusion  # type: ignore[arg-type]
    assert found is not None
    t11 = found.convergence

    def g(w: float) -> float:
        return sigma * w - 0.5 * beta * w * w

    a = b = 0.0
    factor = c / math.sqrt(2.0) if twin else c
    r, path, steps = -sign * target, 0.0, 0
    while abs(r) > 1e-6 * target and steps < 20_000:
        da = factor * (sigma - beta * a) * r
        db = -factor * (sigma - beta * b) * r if twin else 0.0
        a, b = a - t11.step_size * da, b - t11.step_size * db
        path += t11.step_size * math.hypot(da, db)
        last, r = r, factor * (g(a) - (g(b) if twin else 0.0)) - sign * target
        assert abs(r) <= t11.contraction_upper * abs(last) * (1.0 + 1e-9) + 1e-12 * target
        assert path <= t11.radius_upper * (1.0 + 1e-9)
        steps += 1
    assert abs(r) <= 1e-6 * target
