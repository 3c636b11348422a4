"""Reading rows with care."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.records import hostile_rows

from talweg.report._series import (
    LONGEST,
    Series,
    by_layer,
    number,
    runs,
    series,
    shown_name,
    thinned,
)
from talweg.report._summary import Summary, sparkline

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, 1.0), (0.5, 0.5), ("inf", math.inf), ("-inf", -math.inf), (True, None), ("1", None),
     (None, None), ([1], None), (10**400, None)],
)  # fmt: skip
def test_numbers(value: Any, expected: float | None) -> None:
    assert number(value) == expected


def test_a_number_that_is_undefined() -> None:
    found = number("nan")
    assert found is not None
    assert math.isnan(found)


def test_rows_without_a_step_or_a_value_are_passed_over() -> None:
    rows = [{"step": 0, "a": 1.0}, {"a": 2.0}, {"step": 2}, {"step": 3, "a": "x"},
            {"step": 4, "a": "inf", "e": -1.0}]  # fmt: skip
    found = series(rows, "a", "e")
    assert found.steps == (0.0, 4.0)
    assert found.values == (1.0, math.inf)
    assert all(math.isnan(e) for e in found.errors)
    assert found.last == 1.0


def test_layers_and_what_stands_in_them() -> None:
    rows: list[dict[str, Any]] = [
        {"step": 0, "units": {"a": {"dead": 0.5}, "b": 3}},
        {"step": 1, "units": [1]},
        {"step": 2, "units": {"a": {"dead": 1.0}}},
    ]
    assert {n: v.values for n, v in by_layer(rows, "units", "dead").items()} == {"a": (0.5, 1.0)}
    assert {n: v.values for n, v in by_layer(rows, "units").items()} == {"b": (3.0,)}


def test_names_that_look_alike_stay_apart() -> None:
    rows = [{"step": 0, "g": {"a" * 99: 1.0, "a" * 98: 2.0}}]
    assert sorted(len(v) for v in by_layer(rows, "g").values()) == [1, 1]


@given(st.text())
def test_a_shown_name_is_one_short_line(text: str) -> None:
    shown = shown_name(text)
    assert len(shown) <= LONGEST
    assert not any(letter in shown for letter in "\n\r\t\x1b\u202e\u2028")


def test_thinning_keeps_ends_and_peaks() -> None:
    values = [1.0] * 10_000
    values[1234], values[777] = 50.0, -3.0
    full = Series(tuple(map(float, range(10_000))), tuple(values), (math.nan,) * 10_000)
    few = thinned(full, 100)
    assert len(few) <= 102
    assert {0.0, 1234.0, 777.0, 9999.0} <= set(few.steps)
    assert thinned(few, 200) is few


def test_runs_that_were_taken_up_again() -> None:
    assert runs([0, 5, 10, 0, 5]) == [range(3), range(3, 5)]
    assert runs([]) == []


@given(st.lists(st.dictionaries(st.sampled_from(["step", "loss", "units", "findings"]), ANYTHING)))
def test_a_summary_of_anything(rows: list[dict[str, Any]]) -> None:
    summary = Summary()
    for row in [*rows, *hostile_rows()]:
        summary.add(row)
    assert "\n" not in summary.line()
    assert "\x1b" not in summary.line()


def test_a_summary_of_a_long_run_stays_small_and_in_order() -> None:
    summary = Summary()
    for step in range(5000):
        summary.add({"step": step, "loss": 5000.0 - step})
    assert len(summary.losses) <= 257
    assert summary.losses == sorted(summary.losses, reverse=True)
    assert summary.line(5000) == "step 4999 of 5000: loss 1"


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], ""), ([1.0], "▄"), ([100.0, 10.0, 1.0], "█▄▁"), ([1.0, 0.0], "▄▁"),
     ([1.0, math.inf, 10.0], "▁!█"), ([1e308, 1e308], "▄▄")],
)  # fmt: skip
def test_sparklines(values: list[float], expected: str) -> None:
    if expected == "█▄▁":
        expected = "█" + "▁▂▃▄▅▆▇█"[round(3.5)] + "▁"
    assert sparkline(values, 10) == expected


def test_a_sparkline_has_the_width_that_is_asked_for() -> None:
    assert len(sparkline([float(i + 1) for i in range(1000)], 24)) == 24
