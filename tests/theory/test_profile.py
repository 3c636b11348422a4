"""Profiles against exact rational arithmetic: right side, and next to exact."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from talweg._errors import InputError
from talweg.theory import (
    JacobianNormBound,
    NestedBallBound,
    Profile,
    ScaledProfile,
    singular_value_profile,
)

RELATIVE = Fraction(1, 10**13)  # a few dozen roundings of 2^-53 each, on sums of like sign
UNDERFLOW = Fraction(1, 10**300)  # below the smallest normal float relative errors mean nothing
positive_floats = st.floats(min_value=1e-6, max_value=1e6)
steps = st.lists(st.tuples(positive_floats, positive_floats), min_size=1, max_size=6)


def radii_of(lengths: list[float]) -> tuple[float, ...]:
    total, out = 0.0, []
    for length in lengths:
        total += length
        out.append(total)
    assume(all(a < b for a, b in zip([0.0, *out], out, strict=False)))
    return tuple(out)


def exact_linear(sigma: float, pairs: list[tuple[float, float]], radius: float) -> tuple[
    Fraction, Fraction
]:  # fmt: skip
    """Reference: (int_0^radius max(s, 0), s(radius)) in exact arithmetic, beta as a step function.

    The suffix minimum of beta is taken, as documented.
    """
    s, integral, start = Fraction(sigma), Fraction(0), Fraction(0)
    for i, (end, _) in enumerate(pairs):
        beta = Fraction(min(b for _, b in pairs[i:]))
        d = min(Fraction(end), Fraction(radius)) - start
        if d <= 0:
            break
        d = min(d, s / beta) if beta > 0 else d
        integral += d * (s - beta * d / 2)
        s -= beta * d
        start = Fraction(end)
        if s == 0:
            break
    return integral, s


@settings(max_examples=100, deadline=None, derandomize=True)
@given(positive_floats, steps, st.floats(min_value=0.0, max_value=1.2))
def test_singular_value_profile_is_exact_up_to_rounding(
    sigma: float, pieces: list[tuple[float, float]], share: float
) -> None:
    pairs = list(zip(radii_of([p[0] for p in pieces]), (p[1] for p in pieces), strict=True))
    profile = singular_value_profile(sigma, pairs)
    radius = share * profile.radius
    integral, s = exact_linear(sigma, pairs, radius)
    got = profile.integral_lower(radius)
    assert Fraction(got) <= integral
    assert Fraction(got) >= integral * (1 - RELATIVE) - UNDERFLOW
    value = profile.value_lower(radius)
    assert Fraction(value) <= s or radius > profile.radius
    if radius <= profile.radius:
        assert Fraction(value) >= s - Fraction(sigma) * RELATIVE
    else:
        assert value == 0.0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(positive_floats, steps, st.floats(min_value=1e-9, max_value=1.0))
def test_first_radius_is_verified_and_minimal(
    sigma: float, pieces: list[tuple[float, float]], share: float
) -> None:
    pairs = list(zip(radii_of([p[0] for p in pieces]), (p[1] for p in pieces), strict=True))
    profile = singular_value_profile(sigma, pairs)
    budget = share * profile.integral_lower(profile.radius)
    radius = profile.first_radius_upper(budget)
    assert profile.integral_lower(radius) >= budget
    # minimal: a little inside, the exact integral is short of the budget (up to rounding of it)
    integral, _ = exact_linear(sigma, pairs, radius * (1 - 1e-9))
    assert integral < Fraction(budget) or Fraction(budget) > integral * (1 - RELATIVE)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(steps, st.floats(min_value=0.0, max_value=1.0))
def test_step_profile(pieces: list[tuple[float, float]], share: float) -> None:
    radii = radii_of([p[0] for p in pieces])
    values = tuple(sorted((p[1] for p in pieces), reverse=True))
    profile = Profile(radii, values)
    radius = share * radii[-1]
    exact, start = Fraction(0), Fraction(0)
    for end, value in zip(radii, values, strict=True):
        exact += max(min(Fraction(end), Fraction(radius)) - start, Fraction(0)) * Fraction(value)
        start = Fraction(end)
    got = Fraction(profile.integral_lower(radius))
    assert exact * (1 - RELATIVE) <= got <= exact
    budget = share * profile.integral_lower(profile.radius)
    found = profile.first_radius_upper(budget)
    assert profile.integral_lower(found) >= budget
    scaled = ScaledProfile(profile, 0.3)
    assert Fraction(scaled.integral_lower(radius)) <= Fraction(0.3) * exact
    reach = scaled.first_radius_upper(0.25 * budget)
    assert scaled.integral_lower(reach) >= 0.25 * budget


def test_unreachable_budgets_give_infinity() -> None:
    profile = singular_value_profile(1.0, [(math.inf, 1.0)])  # int s = 1/2
    assert profile.radius <= 1.0
    assert profile.first_radius_upper(0.5000001) == math.inf
    assert Profile.constant(1.0, 2.0).first_radius_upper(2.5) == math.inf
    assert ScaledProfile(profile, 2.0).first_radius_upper(1.1) == math.inf
    assert ScaledProfile(profile, 0.0).first_radius_upper(0.1) == math.inf


def test_constant_jacobian_has_an_endless_profile() -> None:
    profile = singular_value_profile(2.0, [(math.inf, 0.0)])
    assert profile.radius == math.inf
    assert profile.integral_lower(math.inf) == math.inf
    assert profile.value_lower(1e300) == 2.0
    assert 3.0 <= profile.first_radius_upper(6.0) <= 3.0 + 1e-14


@pytest.mark.parametrize("sigma", [0.0, -1.0, -math.inf])
def test_nothing_is_left_without_a_positive_singular_value(sigma: float) -> None:
    profile = singular_value_profile(sigma, [(1.0, 1.0)])
    assert profile.radius == 0.0
    assert profile.integral_lower(5.0) == 0.0
    assert profile.value_lower(0.0) == 0.0
    assert profile.first_radius_upper(1e-300) == math.inf


def test_an_unknown_lipschitz_constant_ends_the_profile() -> None:
    profile = singular_value_profile(1.0, [(0.25, 1.0), (9.0, math.inf)])
    assert profile.radius == 0.25
    assert singular_value_profile(1.0, [(1.0, math.inf)]).radius == 0.0


def test_a_bound_on_a_larger_ball_holds_on_the_smaller() -> None:
    bound = NestedBallBound.of([(1.0, 5.0), (2.0, 3.0), (3.0, 4.0)])
    assert bound.values == (3.0, 3.0, 4.0)
    assert [bound.upper(r) for r in (0.0, 1.0, 2.5, 3.5)] == [3.0, 3.0, 4.0, math.inf]
    assert 6.0 + 2.0 <= bound.integral_upper(2.5) <= 8.0 + 1e-13
    assert bound.integral_upper(3.5) == math.inf
    assert bound.integral_upper(0.0) == 0.0
    norm = JacobianNormBound(1.0, bound)
    assert 9.0 <= norm.upper(2.5) <= 9.0 + 1e-13
    assert norm.upper(4.0) == math.inf


@pytest.mark.parametrize(
    ("radii", "values"),
    [
        ((), ()),
        ((1.0,), (1.0, 1.0)),
        ((1.0, 1.0), (1.0, 1.0)),
        ((0.0,), (1.0,)),
        ((-1.0,), (1.0,)),
        ((math.nan,), (1.0,)),
        ((1.0,), (math.nan,)),
        ((1.0,), (-1.0,)),
    ],
)
def test_malformed_step_functions_are_refused(
    radii: tuple[float, ...], values: tuple[float, ...]
) -> None:
    with pytest.raises(InputError):
        Profile(radii, values)
    with pytest.raises(InputError):
        NestedBallBound(radii, values)


def test_malformed_profiles_are_refused() -> None:
    with pytest.raises(InputError, match="nonincreasing"):
        Profile((1.0, 2.0), (1.0, 2.0))
    with pytest.raises(InputError):
        Profile((1.0,), (math.inf,))
    for sigma in (math.nan, math.inf):
        with pytest.raises(InputError):
            singular_value_profile(sigma, [(1.0, 1.0)])
    with pytest.raises(InputError):
        singular_value_profile(1.0, [(1.0, 1.0)]).integral_lower(math.nan)
    with pytest.raises(InputError):
        ScaledProfile(Profile.constant(1.0, 1.0), math.nan)
    with pytest.raises(InputError):
        JacobianNormBound(math.nan, NestedBallBound.everywhere(1.0))


def test_an_integral_that_underflows_is_not_negative() -> None:
    profile = Profile((5e-324, 1.0), (0.125, 0.0))
    assert profile.integral_lower(5e-324) == profile.integral_lower(1.0) == 0.0
