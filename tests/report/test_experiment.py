"""The report of an experiment: its tables, its pictures, and what it does not take over."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.report.certificates import DOT, SECTION, WORD
from tests.report.records import ATTACK
from tests.report.test_page import Page

from talweg import InputError
from talweg.report import experiment_report, render


def test_what_is_shown() -> None:
    report = experiment_report([SECTION, SECTION | {"violated": 0}], title="lecture")
    assert dict(report.facts.items) == {
        "Sections": "2", "Bounds compared": "4", "Bounds broken": "1", "Time it took": "6.5 s",
    }  # fmt: skip
    page = Page(render(report))
    assert page.unbalanced == []
    pictures = page.all("img")
    assert len(pictures) == 2
    assert all((a["src"] or "").startswith("data:image/png;base64,iVBOR") for a in pictures)
    assert all("linear rate" in (a["alt"] or "") for a in pictures)
    text = json.dumps(report, default=vars_of)
    assert text.count("bounds are broken") == 1
    assert "[1] of 100 starts" in text
    assert WORD not in text
    assert "proved, as recorded" in text


def vars_of(value: Any) -> Any:
    return "" if isinstance(value, bytes) else vars(value)


def test_text_of_a_record_stays_text() -> None:
    made = SECTION | {
        "title": ATTACK, "comparisons": [(ATTACK,) * 3], "notes": [ATTACK],
        "tables": {ATTACK: [[ATTACK], [ATTACK]]}, "pictures": {ATTACK: DOT},
    }  # fmt: skip
    page = Page(render(experiment_report([made], title=ATTACK)))
    assert page.unbalanced == []
    assert len(page.scripts) == 3
    assert len(page.all("img")) == 1
    assert not [a for _, a in page.elements for key in a if key.startswith("on")]


def test_long_tables_are_cut_and_say_so() -> None:
    made = SECTION | {"tables": {"t": [["x"] * 99, *([["1"] * 99] * 500)]}}
    text = json.dumps(experiment_report([made], title="x"), default=vars_of)
    assert "the first 200 of 500 rows" in text


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ([], "from 1 to 100 are required"),
        ([SECTION] * 101, "from 1 to 100 are required"),
        ([SECTION | {"pictures": {"a": b"<svg onload='alert(1)'/>"}}], "PNG files"),
        ([SECTION | {"pictures": {"a": DOT + bytes(2**22)}}], "PNG files of at most 4 MiB"),
    ],
)
def test_what_is_refused(sections: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        experiment_report(sections, title="x")
