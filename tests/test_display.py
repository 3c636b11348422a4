"""What a notebook and a console show of each result: small, escaped, and the same text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.report.records import ATTACK
from tests.report.test_page import Page
from torch import nn

import talweg
from talweg import theory
from talweg._display import Grid, Sheet, html_of, text_of
from talweg.certificate import RunCertificate
from talweg.experiments import Comparison, Outcome, Record, Section
from talweg.falsification import AttackResult, Falsification, Violation
from talweg.monitor import Finding, Findings
from talweg.optim import LinearStepCertificate
from talweg.prescribe import (
    CertifiedStep,
    Outlook,
    PositiveStart,
    ScaledOutput,
    ScaleOption,
    TrainedUntilProved,
    TrapCheck,
    Width,
    WidthTrial,
)
from talweg_check import Verdict as CheckerVerdict

SLOTS = [
    "step_size", "decrease_lower", "gap_upper", "local_pl_lower", "gradient_square_upper",
    "descent_constant_lower", "path_upper", "contraction_upper", "pl_contraction_upper",
]  # fmt: skip


def certificate(status: str = "PROVED") -> talweg.Certificate:
    from talweg.certificate._certificate import AsGiven

    numbers: dict[str, float] = {"step_size": 0.1, "halving_steps": 7.0, "radius": 0.5}
    return talweg.Certificate(
        status, ATTACK, "T11", "mse", 5, 1, 40, AsGiven(status, ATTACK, 2.0), claim=ATTACK,
        notes=(ATTACK,), network=None, **(numbers if status == "PROVED" else {}),
    )  # fmt: skip


def verdict() -> theory.Verdict[Any]:
    shown = theory.Hypothesis.below(ATTACK, "a < b", 1.0, 2.0)
    failed = theory.Hypothesis.below("criterion", ATTACK, 3.0, 2.0)
    return theory.Verdict(theory.Status.UNDECIDED, None, (shown, failed), ATTACK)


def measurement() -> talweg.Measurement:
    torch.manual_seed(0)
    return talweg.measure(nn.Linear(2, 1), (torch.randn(3, 2), torch.randn(3, 1)))


OUTLOOK = Outlook(10, 1.0, 0.5, 0.25, 0.1, 2.0)
VIOLATION = Violation(ATTACK, ATTACK, 2.0, 1.0, 128, {ATTACK: 0.1}, {ATTACK: torch.zeros(300)})
RESULTS: dict[str, Callable[[], Any]] = {
    "certificate": certificate,
    "no certificate": lambda: certificate("UNDECIDED"),
    "measurement": measurement,
    "verdict": verdict,
    "violation": lambda: VIOLATION,
    "falsification": lambda: Falsification(
        VIOLATION, (AttackResult(ATTACK, None, 3, 0.1),), 3, 0.1, 1, "T11"
    ),
    "step": lambda: CertifiedStep(
        "PROVED", ATTACK, 0.1, "T11", 7.0, 0.1, 7.0, certificate(), None, 0.2, None, OUTLOOK
    ),
    "scale": lambda: ScaledOutput(
        "PROVED", ATTACK, "offset", 1.0, 2.0, 1.5, certificate(), 3.0, certificate(),
        nn.Sequential(nn.Linear(50, 50)), torch.zeros(300), 1e-16, None,
        (ScaleOption(1.5, 3.0, 0.1, 7.0, 0.5),), OUTLOOK,
    ),
    "positive": lambda: PositiveStart(3.0, None, certificate()),
    "trained": lambda: TrainedUntilProved(
        "PROVED", ATTACK, 250, 500, (), certificate(), nn.Linear(50, 50),
        (TrapCheck(250, 0.1, 0.5),), OUTLOOK,
    ),
    "width": lambda: Width(
        "PROVED", ATTACK, 64, {0: 64}, 64.0, (certificate(),), (WidthTrial(64, 0, True, 0.5),),
        (OUTLOOK,),
    ),
    "outlook": lambda: OUTLOOK,
    "run": lambda: RunCertificate("PROVED", ATTACK, None, 3, (1.0,), (2.0, 1.0), 0.5, (0.1,), 0.5),
    "linear step": lambda: LinearStepCertificate(**dict.fromkeys(SLOTS, 0.5)),
    "finding": lambda: FINDING,
    "findings": lambda: Findings([FINDING]),
    "comparison": lambda: COMPARISONS[0],
    "record": lambda: RECORD,
    "section": lambda: Section(ATTACK, Path("out"), True, 0, print, [*COMPARISONS]),
    "experiment": lambda: Outcome(ATTACK, Path("out"), (RECORD,) * 3, (ATTACK,), 2.5),
    "checker": lambda: CheckerVerdict("invalid", ATTACK, ATTACK, "arb"),
}  # fmt: skip
COMPARISONS = (
    Comparison(ATTACK, 1.0, "<=", 2.0, ATTACK, ATTACK),
    Comparison("slope", None, "reported", -0.5, "lecture"),
)
RECORD = Record(
    ATTACK, COMPARISONS, {ATTACK: [{ATTACK: ATTACK * 9, "loss": float("inf")}] * 40} | {
        f"t{i}": [{"step": 1}] for i in range(9)}, (ATTACK,) * 9, (ATTACK,), 1.25,
)  # fmt: skip
FINDING = Finding("frozen", 0.9, ATTACK, "E5", ATTACK, steps=((0, 10),))


def test_the_text_of_the_attack_is_hostile() -> None:
    assert "<" in ATTACK


@pytest.mark.parametrize("name", RESULTS)
def test_html(name: str) -> None:
    text = RESULTS[name]()._repr_html_()
    page = Page(text)
    assert page.unbalanced == page.open == []
    assert {tag for tag, _ in page.elements} <= {"div", "table", "caption", "tr", "th", "td", "p"}
    assert {key for _, attributes in page.elements for key in attributes} <= {"style", "scope"}
    assert len(text) < 20_000


@pytest.mark.parametrize("name", RESULTS)
def test_colours_are_those_of_the_page_around(name: str) -> None:
    """No fixed colour of text or ground: one of the two themes would be unreadable."""
    for _, attributes in Page(RESULTS[name]()._repr_html_()).elements:
        style = str(attributes.get("style"))
        assert not re.search(r"(?<!-)color:(?!inherit)", style)
        assert not re.search(r"background(-color)?:(?!none)", style)


@pytest.mark.parametrize("name", sorted(RESULTS.keys() - {"checker"}))
def test_a_console_shows_the_same_without_tensors_and_modules(name: str) -> None:
    made = RESULTS[name]()
    assert repr(made) == str(made)
    assert "tensor(" not in repr(made)
    assert "Linear(in_features" not in repr(made)
    assert "object at" not in repr(made)
    assert len(repr(made)) < 5000


def test_words_and_edge_say_the_status() -> None:
    edges = {
        status: re.findall(r"border-left:4px solid ([^\"]+)", certificate(status)._repr_html_())
        for status in ("PROVED", "UNDECIDED", "REFUTED")
    }
    assert len({*map(tuple, edges.values())}) == 3
    assert all(status in certificate(status)._repr_html_() for status in edges)


def test_a_verdict_lists_its_hypotheses() -> None:
    text = repr(verdict())
    assert re.search(r"criterion .* 3 +2 +-1 +no$", text, re.M)
    assert re.search(r" 1 +2 +1 +yes$", text, re.M)


def test_a_record_says_what_is_broken_and_what_is_left_out() -> None:
    text = str(RECORD)
    assert "1 checked, 1 VIOLATED" in text
    assert "(the first 12 of 40 rows)" in text
    assert "6 more tables are in the files." in text
    assert "[1]" in text
    held = replace(RECORD, comparisons=COMPARISONS[1:])
    assert "none checked" in str(held)
    edges = {
        re.search(r"border-left:4px solid ([^\"]+)", made._repr_html_())[1]  # type: ignore[index]
        for made in (RECORD, held, replace(RECORD, comparisons=(replace(
            COMPARISONS[0], measured=0.5),)))
    }  # fmt: skip
    assert len(edges) == 3


def test_an_experiment_lists_its_sections_and_broken_bounds() -> None:
    text = str(Outcome("lecture", Path("out"), (RECORD, RECORD), (), 2.5))
    assert "2 checked, 2 VIOLATED" in text
    assert text.index("section") < text.index("Broken bounds")
    assert str(Path("out") / "index.md") in text


def test_findings_are_a_tuple() -> None:
    assert Findings([FINDING]) == (FINDING,)
    assert str(Findings()) == "no findings"
    assert "no findings" in Findings()._repr_html_()
    assert str(Findings([FINDING, FINDING])).count("sure)") == 2


def test_a_sheet_as_text() -> None:
    grid = Grid(("name", "value"), (("a", "1"), ("long", "22")), "Title", frozenset({1}))
    sheet = Sheet("kind", [("label", "text")], (grid, Grid(("empty",), ())), "Note.")
    assert text_of(sheet).splitlines() == [
        "label                text",
        "",
        "Title",
        "name  value",
        "a         1",
        "long     22",
        "Note.",
    ]
    assert "empty" not in html_of(sheet)


def test_a_sweep(tmp_path: Any) -> None:
    pytest.importorskip("pyarrow")
    torch.manual_seed(0)
    data = torch.randn(4, 2), torch.randn(4, 1)
    grid = {"lr": [0.01, 0.02]}
    found = talweg.sweep.Sweep(nn.Sequential(nn.Linear(2, 1)), data, grid, steps=3).run()
    assert "2 finished" in repr(found)
    assert Page(found._repr_html_()).unbalanced == []
