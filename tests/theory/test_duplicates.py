"""F3 in exact rationals: the floor is attained by the group means and never above the truth."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from talweg._errors import InputError
from talweg.network import ConflictingRows, merge_duplicates
from talweg.theory import SquaredLoss, Status, duplicates_bound_loss_below

FINITE = st.floats(-1e150, 1e150)


def test_two_labels_on_one_input() -> None:
    """Targets 0 and 1: the mean 1/2 is best, sum of squares 1/2."""
    c = duplicates_bound_loss_below([[[0.0], [1.0]]]).conclusion
    assert c is not None
    assert (c.squares_lower, c.loss_lower, c.groups) == (0.5, 0.25, (0,))
    mean = duplicates_bound_loss_below([[[0.0], [1.0]]], loss=SquaredLoss("mean", 8)).conclusion
    assert mean is not None
    assert mean.loss_lower == 0.0625
    total = duplicates_bound_loss_below([[[0.0], [1.0]]], loss=SquaredLoss("sum")).conclusion
    assert total is not None
    assert total.loss_lower == 0.5


@pytest.mark.parametrize("groups", [[], [[[1.0]]], [[[1.0], [1.0]], [[-0.0], [0.0]]]])
def test_agreeing_rows_prove_nothing(groups: list[list[list[float]]]) -> None:
    verdict = duplicates_bound_loss_below(groups)
    assert verdict.status is Status.UNDECIDED
    assert [h.name for h in verdict.failed] == ["disagreement"]


@given(st.lists(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=4), max_size=3))
def test_the_floor_is_attained_and_never_passed(groups: list[list[tuple[float, float]]]) -> None:
    least = Fraction(0)
    for rows in groups:  # the best constant per group and output, over the exact mean
        for column in zip(*rows, strict=True):
            mean = sum(map(Fraction, column)) / len(column)
            least += sum((Fraction(v) - mean) ** 2 for v in column)
    verdict = duplicates_bound_loss_below(groups)
    c = verdict.conclusion
    if c is None:
        assert least < Fraction(5e-324)
        return
    assert 0 < Fraction(c.squares_lower) <= least
    assert Fraction(c.loss_lower) <= least / 2
    if least < Fraction(1e300):
        assert c.squares_lower >= float(least) * (1 - 1e-15)


def test_values_next_to_each_other_are_told_apart() -> None:
    a = 1.0
    c = duplicates_bound_loss_below([[[a], [math.nextafter(a, 2.0)]]]).conclusion
    assert c is not None
    assert c.squares_lower == 2.0**-105  # (2^-52)^2 / 2


def test_it_agrees_with_the_rows_that_the_reader_finds() -> None:
    generator = torch.Generator().manual_seed(3)
    X = torch.randint(0, 3, (30, 2), generator=generator).to(torch.float64)
    y = torch.randn(30, 2, generator=generator, dtype=torch.float64)
    found = merge_duplicates(X, y)
    assert isinstance(found, ConflictingRows)
    groups = [y[list(rows)].tolist() for rows in found.groups]
    c = duplicates_bound_loss_below(groups).conclusion
    assert c is not None
    assert c.squares_lower == found.squares_lower
    # a function fitted per input cannot do better
    means = {tuple(x.tolist()): y[(x == X).all(1)].mean(0) for x in X}
    fitted = torch.stack([means[tuple(x.tolist())] for x in X])
    assert float((fitted - y).square().sum()) >= c.squares_lower * (1 - 1e-12)


@pytest.mark.parametrize("bad", [[[[math.nan]]], [[[math.inf]]], [[["1"]]], [[[1.0], [1.0, 2.0]]]])
def test_malformed_targets_are_refused(bad: list[list[list[float]]]) -> None:
    with pytest.raises(InputError, match="groups"):
        duplicates_bound_loss_below(bad)
