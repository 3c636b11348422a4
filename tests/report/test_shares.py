"""The bars of the layers' shares: what they say they are, and how many are drawn."""

from __future__ import annotations

from typing import Any

import pytest

from talweg.report._shares import MOST_BARS, share_parts


def found(**other: Any) -> dict[str, Any]:
    shares = [("0.weight, 0.bias", 0.75), ("2.weight", 0.25)]
    return {"shares": shares, "method": "bound", "theory": "B6", "rows": 5, "of": 5,
            "named": True} | other  # fmt: skip


def test_shares_of_the_bound() -> None:
    [figure] = share_parts(found())
    assert "theory B6" in figure.caption
    assert "distinct rows" not in figure.caption
    assert "names are those of the model" in figure.caption
    assert "0.weight, 0.bias, 75.0% of 2 layers' total" in figure.alternative
    assert figure.table is not None
    assert figure.table.rows == (("0.weight, 0.bias", "75.0%"), ("2.weight", "25.0%"))


def test_some_rows_and_no_names() -> None:
    [figure] = share_parts(found(rows=2, named=False))
    assert "Of 2 of the 5 distinct rows" in figure.caption
    assert "does not name the parameters" in figure.caption


def test_an_estimate_says_so() -> None:
    [figure] = share_parts(found(method="direction"))
    assert "an estimate" in figure.title
    assert "an estimate" in figure.caption
    assert "theory" not in figure.caption


def test_a_chain_may_have_a_smaller_bound() -> None:
    [figure] = share_parts(found(theory="B3"))
    assert "may be smaller than this norm" in figure.caption


def test_many_layers_are_cut_to_the_largest() -> None:
    shares = [(f"{i}.weight", (i + 1) / 820) for i in range(40)]
    [figure] = share_parts(found(shares=shares))
    assert figure.table is not None
    rows = figure.table.rows
    assert len(rows) == MOST_BARS == len(figure.traces[0]["x"])
    assert [name for name, _ in rows[:-1]] == [f"{i}.weight" for i in range(17, 40)]
    assert rows[-1][0] == "17 others"
    assert sum(figure.traces[0]["x"]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "nothing", [None, [], {}, {"method": "bound"}, {"method": "x", "shares": [("a", 1.0)]},
                {"method": "bound", "shares": [("a", "nan"), ("b", None)]}],
)  # fmt: skip
def test_nothing(nothing: Any) -> None:
    assert share_parts(nothing) == ()
