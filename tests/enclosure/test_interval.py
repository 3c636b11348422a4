"""Interval: containment against exact rationals, ends at infinity, refusals."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talweg._errors import InputError
from talweg.enclosure import Interval, certainly_at_most, certainly_less

INF = math.inf
floats = st.floats(allow_nan=False, allow_infinity=False)
edges = st.sampled_from(
    [0.0, -0.0, 5e-324, -5e-324, 2.0**-1022, 1.7976931348623157e308, -1e308, 1.0, -1.0, 1e-160]
)
numbers = floats | edges


@st.composite
def members(draw):
    """An interval and an exact rational inside it."""
    a, b = sorted((draw(numbers), draw(numbers)))
    t = Fraction(draw(st.integers(0, 16)), 16)
    return Interval(a, b), Fraction(a) + t * (Fraction(b) - Fraction(a))


def holds(interval: Interval, value: Fraction) -> bool:
    below = interval.lo == -INF or Fraction(interval.lo) <= value
    above = interval.hi == INF or value <= Fraction(interval.hi)
    return below and above


@given(members(), members())
def test_operations_contain_exact_results(one, two):
    (x, a), (y, b) = one, two
    assert holds(x + y, a + b)
    assert holds(x - y, a - b)
    assert holds(x * y, a * b)
    assert holds(-x, -a)
    assert holds(abs(x), abs(a))
    assert holds(x.square(), a * a)
    assert holds(x.minimum(y), min(a, b))
    assert holds(x.maximum(y), max(a, b))
    assert holds(x.clip_nonnegative(), max(a, Fraction(0)))
    assert holds(Interval.hull(x, y), a)
    assert holds(Interval.hull(x, y), b)
    if b != 0:
        assert holds(x / y, a / b)
    assert x.width() == INF or Fraction(x.width()) >= Fraction(x.hi) - Fraction(x.lo)
    assert x.contains(x.mid)


@given(st.floats(min_value=0.0, allow_nan=False, allow_infinity=False))
def test_square_root_contains_the_exact_one(x):
    root = Interval.point(x).sqrt()
    assert Fraction(root.lo) ** 2 <= Fraction(x) <= Fraction(root.hi) ** 2


@given(members(), st.floats(allow_nan=False, allow_infinity=False))
def test_floats_and_ints_are_exact_operands(member, c):
    x, a = member
    assert holds(c - x, Fraction(c) - a)
    assert holds(c + x, Fraction(c) + a)
    assert holds(3 * x, 3 * a)
    if a != 0:
        assert holds(c / x, Fraction(c) / a)


@given(members(), members())
def test_comparisons_are_certain(one, two):
    (x, a), (y, b) = one, two
    assert not x.certainly_less(y) or a < b
    assert not x.certainly_at_most(y) or a <= b
    assert not x.certainly_greater(y) or a > b
    assert not x.certainly_at_least(y) or a >= b
    assert not x.certainly_positive() or a > 0
    assert not x.certainly_nonnegative() or a >= 0
    assert certainly_less(x, y) is x.certainly_less(y)
    assert certainly_at_most(x, y) is x.certainly_at_most(y)


def test_exact_sums_stay_exact():
    assert Interval.point(1.0) + 2.0 == Interval(3.0, 3.0)
    assert Interval.point(0.1) - 0.1 == Interval(0.0, 0.0)
    assert Interval.point(0.0) * INF == Interval(0.0, 0.0)


def test_tightness_of_one_operation():
    third = Interval.ratio(1, 3)
    assert Fraction(third.lo) < Fraction(1, 3) < Fraction(third.hi)
    assert third.width() <= 2 * math.ulp(third.hi)


def test_overflow_keeps_a_real_number_inside():
    big = Interval.point(1e308) * 10.0
    assert big == Interval(1.7976931348623157e308, INF)
    assert Interval.point(INF) == big
    assert not certainly_less(Interval.point(INF), Interval.point(INF))
    assert not Interval(0.0, INF).certainly_less(INF)


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [
        (Interval(1.0, 2.0), Interval(-1.0, 1.0), Interval(-INF, INF)),
        (Interval(1.0, 2.0), Interval(0.0, 0.0), Interval(-INF, INF)),
        (Interval(0.0, 0.0), Interval(0.0, 1.0), Interval(0.0, 0.0)),
        (Interval(1.0, 2.0), Interval(0.0, INF), Interval(0.0, INF)),
        (Interval(-INF, INF), Interval(1.0, INF), Interval(-INF, INF)),
    ],
)
def test_division_at_zero_and_infinity(numerator, denominator, expected):
    assert numerator / denominator == expected


@pytest.mark.parametrize(
    "ends", [(math.nan, 1.0), (0.0, math.nan), (2.0, 1.0), (INF, INF), (-INF, -INF)]
)
def test_ends_that_hold_no_number_are_refused(ends):
    with pytest.raises(InputError, match=r"lo|number"):
        Interval(*ends)


@pytest.mark.parametrize("value", [math.nan, "1", None, True, 2**53 + 1])
def test_points_must_be_exact_numbers(value):
    with pytest.raises(InputError, match="point"):
        Interval.point(value)


def test_square_root_of_a_negative_number_is_refused():
    with pytest.raises(InputError, match="clip_nonnegative"):
        Interval(-1e-300, 1.0).sqrt()
