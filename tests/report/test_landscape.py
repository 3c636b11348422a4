"""The slice of the loss on the page of a certificate: what it says, and what it leaves out."""

from __future__ import annotations

from typing import Any

import pytest
from tests.report.certificates import MEASURED, SLICE, VALID, body

from talweg.report import Figure, Paragraph, certificate_report


def parts(found: Any) -> list[Any]:
    measured = {**MEASURED, "landscape": found}
    report = certificate_report(body(), check=VALID, measured=measured)
    return [p for s in report.sections if s.anchor == "landscape" for p in s.parts]


def test_it_says_that_it_is_a_slice() -> None:
    said, afar, near = parts(SLICE)
    assert isinstance(said, Paragraph)
    for words in ("2 of 40 directions", "The proof does not rest on it", "at most 0.0001"):
        assert words in said.text
    assert [afar.name, near.name] == ["landscape", "landscape-closer"]
    assert "The claim is about the whole ball, not about this plane." in afar.caption


def test_those_who_cannot_see_it_are_told() -> None:
    afar: Figure = parts(SLICE)[1]
    for words in (
        "starts in the middle at a loss of 0.001", "after 29 measured steps is at 1.5e-06",
        "goes on to 1e-20 after 1,000,000 steps, 0.02 away from the start",
        "a circle of radius at most 0.125", "between 0.01 and 0.1",
    ):  # fmt: skip
        assert words in afar.alternative
    assert afar.table is not None
    assert afar.table.rows[0] == ("0", "0", "0", "0.001", "measured")
    assert afar.table.rows[-1] == ("1,000,000", "0.02", "0", "1e-20", "linearised")


def test_without_the_linearised_part() -> None:
    said, afar = parts({**SLICE, "ahead": [], "slices": SLICE["slices"][:1]})
    assert "to the last step that was run" in said.text
    assert "linearised" not in afar.alternative
    assert [trace.get("name") for trace in afar.traces if trace.get("name")] == [
        "loss", "measured", "stored weights"
    ]  # fmt: skip


def test_the_circle_is_named_where_it_is_seen() -> None:
    _, afar, near = parts(SLICE)
    assert [note["text"] for note in afar.layout["annotations"]] == ["certified ball"]
    assert near.layout["annotations"] == []


@pytest.mark.parametrize(
    "found",
    [
        None, {}, {**SLICE, "slices": []}, {**SLICE, "path": []},
        {**SLICE, "path": [(0, 0.0, float("nan"), 1.0), (1, 0.0, 0.0, 1.0)]},
    ],
    ids=["none", "empty", "no slice", "no path", "one point"],
)  # fmt: skip
def test_nothing_is_drawn_of_nothing(found: Any) -> None:
    assert parts(found) == []
