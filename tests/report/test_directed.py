"""Decimals are on the safe side, whatever the number."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talweg.report._directed import lower, near, nearest, upper, whole

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.fractions(),
    st.sampled_from([5e-324, 1.7976931348623157e308, 0.1, 0.99995, 9999.5, 1e22, -0.0]),
)


@given(NUMBERS, st.integers(1, 17))
def test_sides(value: float | Fraction, digits: int) -> None:
    low, high = Fraction(lower(value, digits)), Fraction(upper(value, digits))
    assert low <= Fraction(value) <= high
    assert low <= Fraction(nearest(value, digits)) <= high
    step = Fraction(10) ** (1 - digits)
    assert high - low <= step * max(abs(low), abs(high)) * 10


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 17))
def test_length(value: float, digits: int) -> None:
    mantissa = upper(value, digits).lower().split("e")[0].lstrip("-")
    significant = mantissa.replace(".", "").lstrip("0")
    assert len(significant) <= max(digits, 6)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (0.1, "0.1", "0.1001"),  # binary64 has 0.1000000000000000055...
        (0.3, "0.2999", "0.3"),  # and 0.299999999999999988...
        (1234567.0, "1.234e+6", "1.235e+6"),
        (0.99999, "0.9999", "1"),
        (3.1506474577550125e-10, "3.15e-10", "3.151e-10"),
        (0.0, "0", "0"),
        (676.0, "676", "676"),
        (-0.00012345, "-0.0001235", "-0.0001234"),
    ],
)
def test_examples(value: float, low: str, high: str) -> None:
    assert (lower(value), upper(value)) == (low, high)


def test_whole_steps() -> None:
    assert whole(675.2) == "676"
    assert whole(1333680462.0) == "1,333,680,462"
    assert whole(1e300) == "1.001e+300"  # binary64's 1e300 is a little above


def test_near() -> None:
    assert near(Fraction(1, 4)) == 0.25
    assert near(Fraction(10) ** 400) == math.inf
    assert near(-(Fraction(10) ** 400)) == -math.inf
