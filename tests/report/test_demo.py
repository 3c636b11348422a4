"""The page of the demo: what it says where a proof holds, and where none does."""

from __future__ import annotations

from typing import Any

from tests.report.certificates import DEMO, VALID, WORD, body

from talweg.report import Card, certificate_report, demo_report, render


def card(record: dict[str, Any]) -> str:
    [found] = [p for p in demo_report(record, None).sections[0].parts if isinstance(p, Card)]
    return found.title


def test_the_training_the_certificate_and_larger_steps() -> None:
    certificate = certificate_report(body(), check=VALID)
    report = demo_report(DEMO, certificate)
    anchors = [section.anchor for section in report.sections]
    assert anchors[:2] == ["training", "claim"]
    assert anchors[-1] == "steps"
    assert report.facts == certificate.facts
    assert "At step 4 the theorem applies for the first time" in card(DEMO)
    [table] = report.sections[-1].parts
    assert table.rows == (  # type: ignore[union-attr]
        ("1.000e-01", "1", "7", "5", "0.5"),
        ("2.500e-01", "2.5", "no claim", "does not fall", "infinite"),
    )


def test_nothing_proved() -> None:
    found = {"status": "UNDECIDED", "theorem": "T11", "halving_steps": None}
    record = DEMO | {"trapping_time": None, "certificate": found, "descent": []}
    report = demo_report(record, None)
    assert [section.anchor for section in report.sections] == ["training"]
    assert card(record) == "At no checkpoint does the theorem apply."
    page = render(report).split('<script type="application/json"')[0]
    assert WORD not in page


def test_bounds_that_are_missing() -> None:
    first = {"step": 0, "loss": 1.0, "residual_norm": None, "sigma_min": None,
             "missing_factor": None, "applies": False}  # fmt: skip
    report = demo_report(DEMO | {"checkpoints": [first]}, None)
    assert report.figures == ()
    table = report.sections[0].parts[1]
    assert table.rows == (("0", "1", "-", "-", "-", "no"),)  # type: ignore[union-attr]
