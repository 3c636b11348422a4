"""What one step did, bounded: its length at every magnitude (theory T12)."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from talweg.network import Network, read, set_parameters, step_length_bounds


def pair(first: list[float], second: list[float]) -> tuple[Network, Network]:
    network = read(
        nn.Linear(len(first), 1, bias=False, dtype=torch.float64),
        torch.ones(1, len(first), dtype=torch.float64),
    )
    one, two = (
        set_parameters(network, {"weight": torch.tensor([row], dtype=torch.float64)})
        for row in (first, second)
    )
    return one, two


def test_a_step_of_known_length() -> None:
    lower, upper = step_length_bounds(*pair([1.0, 1.0], [4.0, 5.0]))
    assert lower <= 5.0 <= upper
    assert upper - lower < 1e-13
    assert step_length_bounds(*pair([1.0, 2.0], [1.0, 2.0])) == (0.0, 0.0)


@pytest.mark.parametrize("exponent", [-1070, -700, -530, 499, 510, 512, 516, 700, 1020])
def test_no_magnitude_spoils_the_bounds(exponent: int) -> None:
    size = math.ldexp(1.0, exponent)
    lower, upper = step_length_bounds(*pair([0.0, 0.0], [3.0 * size, 4.0 * size]))
    assert 0.0 <= lower <= 5.0 * size <= upper
    assert upper <= 5.0 * size * (1.0 + 1e-12) + 1e-320


def test_a_difference_that_overflows() -> None:
    assert step_length_bounds(*pair([1.5e308], [-1.5e308])) == (0.0, math.inf)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=5))
def test_the_exact_length_lies_between(entries: list[tuple[float, float]]) -> None:
    lower, upper = step_length_bounds(*pair([a for a, _ in entries], [b for _, b in entries]))
    square = sum((Fraction(b) - Fraction(a)) ** 2 for a, b in entries)
    assert 0.0 <= lower <= upper
    assert Fraction(lower) ** 2 <= square
    assert math.isinf(upper) or square <= Fraction(upper) ** 2
