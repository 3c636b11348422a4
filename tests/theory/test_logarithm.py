"""Logarithm bounds hold the 60-digit value."""

from __future__ import annotations

import math

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talweg.theory._logarithm import (
    LOG_2,
    log_enclosure,
    negative_log1m_lower,
    steps_to_shrink_upper,
)

mpmath.mp.dps = 60


def test_log_2() -> None:
    assert LOG_2.lo < mpmath.log(2) < LOG_2.hi


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.floats(min_value=5e-324, max_value=1.7e308))
def test_log_is_enclosed_tightly(y: float) -> None:
    got, exact = log_enclosure(y), mpmath.log(mpmath.mpf(y))
    assert got.lo <= exact <= got.hi
    assert got.width() <= 1e-13 * max(1.0, abs(float(exact)))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.one_of(
        st.floats(min_value=0.0, max_value=1.0, exclude_max=True),
        st.floats(min_value=-300.0, max_value=0.0).map(lambda e: min(10.0**e, 1.0 - 2.0**-53)),
    )
)
def test_negative_log1m_is_a_tight_lower_bound(x: float) -> None:
    exact = -mpmath.log1p(-mpmath.mpf(x))
    got = negative_log1m_lower(x)
    assert got <= exact
    assert got >= exact * (1 - mpmath.mpf("1e-13"))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.floats(min_value=1.0, max_value=1e12),
    st.floats(min_value=-12.0, max_value=-1e-9).map(lambda e: 10.0**e),
)
def test_steps_suffice(ratio: float, one_minus: float) -> None:
    k = steps_to_shrink_upper(ratio, one_minus)
    assert k == math.floor(k)
    decay = -mpmath.log1p(-mpmath.mpf(one_minus))
    assert k * decay >= mpmath.log(mpmath.mpf(ratio))
    assert (k - 2) * decay <= mpmath.log(mpmath.mpf(ratio)) * (1 + mpmath.mpf("1e-12"))


@pytest.mark.parametrize(
    ("ratio", "one_minus", "steps"),
    [(2.0, 1.0, 1.0), (1.0, 0.1, 1.0), (2.0, 0.0, math.inf), (math.inf, 0.5, math.inf)],
)
def test_ends(ratio: float, one_minus: float, steps: float) -> None:
    assert steps_to_shrink_upper(ratio, one_minus) == steps
