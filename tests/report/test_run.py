"""What the report of a run and a comparison hold."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.report.records import ATTACK, FINDINGS, hostile_rows, rows_of_descent

from talweg.report import Card, Paragraph, Report, Table, comparison_report, run_report
from talweg.report._plot import layer_ticks

EVERY_FIGURE = [
    "loss", "pl-ratio", "contraction", "stability", "sharpness", "noise-scale", "noise-floor",
    "updates", "gradients", "units",
]  # fmt: skip


def names(report: Report) -> list[str]:
    return [figure.name for figure in report.figures]


def cards(report: Report) -> list[Card]:
    return [part for s in report.sections for part in s.parts if isinstance(part, Card)]


def paragraphs(report: Report) -> str:
    return " ".join(p.text for s in report.sections for p in s.parts if isinstance(p, Paragraph))


def test_every_figure_of_a_run() -> None:
    report = run_report(rows_of_descent(), FINDINGS, overhead=0.031)
    assert names(report) == EVERY_FIGURE
    facts = dict(report.facts.items)
    assert facts["Last step watched"] == "195"
    assert facts["Cost of watching"] == "3.1% of the time"
    assert "biased" not in paragraphs(report)


def test_findings_are_ranked_cards_and_marks() -> None:
    report = run_report(rows_of_descent(), FINDINGS)
    first, second = cards(report)
    assert first.title == "1. Step too small"
    assert first.share_text == "75% sure"
    assert dict(first.items)["Steps"] == "0 to 50, 100 to 195"
    assert dict(first.items)["Change"] == "Multiply the step by up to 10."
    assert second.share_text == "45% sure, a remark"
    loss = report.figures[0]
    bars = [t for t in loss.traces if t.get("yaxis") == "y2"]
    assert [bar["x"] for bar in bars] == [[0.0, 50.0, None, 100.0, 195.0], [20.0, 180.0]]
    assert loss.layout["yaxis2"]["ticktext"] == ["1. Step too small", "2. Dead units"]
    assert "Step too small from step 0 to 195" in loss.alternative


def test_findings_come_from_the_record_if_none_are_given() -> None:
    rows = rows_of_descent()
    assert "holds no findings" in paragraphs(run_report(rows))
    report = run_report([*rows, {"step": 9, "findings": []}, {"step": 9, "findings": FINDINGS}])
    assert len(cards(report)) == 2
    assert dict(report.facts.items)["Looks"] == "40"
    assert cards(run_report([*rows, {"step": 9, "findings": FINDINGS}], [])) == []


def test_what_was_not_measured_is_said() -> None:
    rows = [{"step": i, "batch_loss": 1.0 / (i + 1)} for i in range(12)]
    report = run_report(rows)
    assert names(report) == ["loss", "contraction"]
    assert "This was not measured." in paragraphs(report)
    assert "No prediction" in report.figures[1].caption


def test_a_run_without_a_loss() -> None:
    assert names(run_report([])) == []
    assert "No loss was measured." in paragraphs(run_report([{"step": 3}]))


def test_warnings() -> None:
    rows: list[dict[str, Any]] = rows_of_descent()
    for row in rows:
        row |= {"fresh": False, "known_optimizer": False}
    said = paragraphs(run_report(rows))
    assert "biased" in said
    assert "plain steps are assumed" in said


def test_many_layers_become_a_map() -> None:
    layers = [f"{i}.weight" for i in range(30)]
    report = run_report(rows_of_descent(layers=layers))
    [gradients] = [f for f in report.figures if f.name == "gradients"]
    [trace] = gradients.traces
    assert trace["type"] == "heatmap"
    assert len(trace["z"]) == 30
    assert trace["z"][3][0] == pytest.approx(math.log10(4 * 2.0))
    assert gradients.wide


def test_a_layer_that_stands_still_is_named() -> None:
    rows = rows_of_descent()
    for row in rows[10:]:
        row["gradient_norms"] = {"0.weight": 0.0, "0.bias": 1.0}
    [gradients] = [f for f in run_report(rows).figures if f.name == "gradients"]
    assert "exactly 0 at the last look for 0.weight" in gradients.caption


def test_a_diverged_run() -> None:
    rows = rows_of_descent(10)
    for row in rows[5:]:
        row |= {"loss": "inf", "loss_error": "nan", "pl_ratio": "nan", "gradient_squared": "inf"}
    report = run_report(rows)
    assert "infinite or undefined at 5 more" in report.figures[0].alternative
    assert dict(report.facts.items)["Last loss"] == "infinite"


def test_negative_losses_have_a_linear_axis() -> None:
    rows = [{"step": i, "loss": -1.0 - i, "loss_error": 0.1} for i in range(9)]
    assert run_report(rows, f_star=-20.0).figures[0].layout["yaxis"]["type"] == "linear"


def test_a_hostile_record_is_read() -> None:
    report = run_report(hostile_rows())
    assert [card.share for card in cards(report)] == [1.0, 0.0]
    assert set(names(report)) == set(EVERY_FIGURE)


def test_a_long_run_is_thinned_out() -> None:
    rows = [{"step": i, "loss": 1.0 + i % 7, "loss_error": 0.1} for i in range(20_000)]
    [line] = [t for t in run_report(rows).figures[0].traces if t["name"] == "loss"]
    assert len(line["x"]) < 2000


def test_a_comparison() -> None:
    other = [*rows_of_descent(9), {"step": 9, "findings": FINDINGS}]
    runs = {"a": rows_of_descent(), ATTACK: other, "empty": []}
    report = comparison_report(runs)
    assert names(report) == ["loss", "pl-ratio", "stability", "noise-scale"]
    assert len(report.figures[0].traces) == 2
    [table] = [p for s in report.sections for p in s.parts if isinstance(p, Table)]
    assert [row[0] == "empty" for row in table.rows] == [False, False, True]
    assert table.rows[1][-1] == "Step too small"
    assert "No loss was measured in empty." in paragraphs(report)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["net.0.weight", "net.1.weight"], ["0", "1"]),
        (["a.0.q.weight", "a.0.k.weight", "a.1.q.bias"], ["0.q.weight", "0.k.weight", "1.q.bias"]),
        (["x", "y"], ["x", "y"]),
        (["a.b", "a.b (2)"], ["b", "b (2)"]),
        (["<b>", "c" * 60], ["&lt;b&gt;", "…" + "c" * 23]),
        (["only.one"], ["one"]),
    ],
)
def test_ticks_leave_out_what_all_layers_share(names: list[str], expected: list[str]) -> None:
    assert layer_ticks(names)["ticktext"] == expected


def test_ticks_of_very_many_layers() -> None:
    assert len(layer_ticks([f"{i}.w" for i in range(150)])["tickvals"]) <= 40
