"""Measured and predicted contraction agree where E1 is exact."""

from __future__ import annotations

import math

import pytest
from tests.report.records import CURVATURE, ETA, rows_of_descent

from talweg.report._contraction import gaps, lower_bound, measured, predicted


def test_exact_descent() -> None:
    """On a quadratic E1 holds with equality; both readings give 1 - (1 - eta L)^2."""
    rows = rows_of_descent(20)
    share = 1 - (1 - ETA * CURVATURE) ** 2
    seen = measured(gaps(rows, 0.0))
    expected, how = predicted(rows, 0.0)
    assert seen.values == pytest.approx([share] * len(seen), rel=1e-9)
    assert max(seen.errors) < 1e-9
    assert expected.values == pytest.approx([share] * len(expected), rel=1e-9)
    assert "PL ratio" in how


def test_momentum_lengthens_the_step() -> None:
    rows = rows_of_descent(20)
    for row in rows:
        if "damping" in row:
            row["damping"] = 0.1
    expected, _ = predicted(rows, 0.0)
    assert expected.values == pytest.approx([2 * 10 * ETA * CURVATURE] * len(expected))


def test_an_optimiser_with_rates_of_its_own() -> None:
    rows = rows_of_descent(20)
    for row in rows:
        row.pop("sharpness", None)
    expected, how = predicted(rows, 0.0)
    assert expected.values == pytest.approx([2 * ETA * CURVATURE] * len(expected))
    assert "too large" in how


def test_no_prediction_without_curvature() -> None:
    rows = [{k: v for k, v in row.items() if k != "limit"} for row in rows_of_descent()]
    assert len(predicted(rows, 0.0)[0]) == 0


@pytest.mark.parametrize("f_star", [0.0, -3.0, 0.25])
def test_the_lower_bound_is_found_in_the_rows(f_star: float) -> None:
    rows = rows_of_descent()
    for row in rows:
        row["loss"] += f_star
    assert lower_bound(rows) == pytest.approx(f_star, abs=1e-12)
    assert lower_bound([]) == 0.0
    assert lower_bound([{"step": 0, "loss": 1.0, "pl_ratio": 0.0, "gradient_squared": 0.0}]) == 0.0


def test_a_run_that_was_taken_up_again_is_not_joined() -> None:
    rows = rows_of_descent(20)
    again = measured(gaps([*rows, *rows], 0.0))
    once = measured(gaps(rows, 0.0))
    assert again.values == once.values + once.values


def test_infinite_and_negative_gaps_are_left_out() -> None:
    rows = rows_of_descent(20)
    rows[3]["loss"], rows[4]["loss"] = "inf", -1.0
    seen = measured(gaps(rows, 0.0))
    assert all(math.isfinite(v) for v in seen.values)
    assert not {rows[3]["step"], rows[4]["step"]} & set(seen.steps)
