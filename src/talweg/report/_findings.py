"""Findings as cards, and as marks under the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from talweg.report._pieces import Card, Paragraph, Part, Section
from talweg.report._plot import Trace, label
from talweg.report._series import Row, number, shown_name, step_of

LIKELY = 0.5
MOST = 40
NONE = (
    "This record holds no findings. A Monitor writes them when its block ends, or when "
    "m.findings(loader) is called; a run that was killed has none."
)


def recorded(rows: Sequence[Row]) -> list[Mapping[str, Any]] | None:
    """The latest findings among the rows of a record; None if there are none."""
    for row in reversed(rows):
        found = row.get("findings")
        if isinstance(found, list):
            return [finding for finding in found if isinstance(finding, Mapping)]
    return None


def title(finding: Mapping[str, Any]) -> str:
    """What a finding is called."""
    named = finding.get("title") or str(finding.get("kind", "finding")).replace("_", " ")
    name = shown_name(str(named))
    return name[:1].upper() + name[1:]


def certainty(finding: Mapping[str, Any]) -> float:
    """From 0 to 1."""
    sure = number(finding.get("certainty"))
    return min(1.0, max(0.0, sure)) if sure is not None and sure == sure else 0.0


def spans(finding: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Stretches of steps over which it applies."""
    found = finding.get("steps")
    made = []
    for pair in found if isinstance(found, list | tuple) else ():
        if isinstance(pair, list | tuple) and len(pair) == 2:
            begin, end = (step_of({"step": side}) for side in pair)
            if begin is not None and end is not None and begin <= end:
                made.append((begin, end))
    return made


def section(found: Sequence[Mapping[str, Any]] | None) -> Section:
    """The section about what limits the run."""
    parts: tuple[Part, ...]
    if found is None:
        parts = (Paragraph(NONE),)
    elif not found:
        parts = (Paragraph("No rule applies to this run."),)
    else:
        parts = tuple(_card(n, finding) for n, finding in enumerate(found[:MOST], 1))
    return Section(
        "findings", "What limits the run", parts,
        "Ranked: causes before their effects, and remarks beside the point last. None of them is "
        "a proof." if found else "",
    )  # fmt: skip


def _card(rank: int, finding: Mapping[str, Any]) -> Card:
    sure = certainty(finding)
    kind = finding.get("kind")
    where = spans(finding)
    items = [
        ("Seen", _text(finding.get("seen"))),
        ("Change", _text(finding.get("change"))),
        ("Source", _text(finding.get("source"))),
    ]
    if where:
        items.append(("Steps", ", ".join(_span(a, b) for a, b in where[:6])
                      + (" and more" if len(where) > 6 else "")))  # fmt: skip
    return Card(
        f"{rank}. {title(finding)}",
        tuple((name, text) for name, text in items if text),
        share=sure,
        share_text=f"{sure:.0%} sure" + ("" if sure >= LIKELY else ", a remark"),
        tone="good" if kind == "converging" else "likely" if sure >= LIKELY else "remark",
    )


def marks(found: Sequence[Mapping[str, Any]]) -> list[Trace]:
    """Bars on a second axis under the loss, a row for each finding that has steps.

    A row is called by the rank of the finding alone; `names` has the whole, for wide screens.
    """
    made: list[Trace] = []
    for rank, finding in enumerate(found[:MOST], 1):
        where = spans(finding)
        if not where:
            continue
        x: list[float | None] = []
        for begin, end in where:
            x += [begin, end, None]
        colour = "@3" if finding.get("kind") == "converging" else (
            "@2" if certainty(finding) >= LIKELY else "@8")  # fmt: skip
        name = f"{rank}."
        made.append({
            "type": "scatter", "mode": "lines+markers", "name": label(title(finding)), "x": x[:-1],
            "y": [None if step is None else name for step in x[:-1]], "yaxis": "y2",
            "line": {"width": 9, "color": colour}, "marker": {"size": 9, "color": colour},
            "showlegend": False, "hoverinfo": "skip",
        })  # fmt: skip
    return made


def names(found: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Ticks of the second axis."""
    shown = {
        f"{rank}.": label(f"{rank}. {title(finding)}")
        for rank, finding in enumerate(found[:MOST], 1)
        if spans(finding)
    }
    return {"tickvals": list(shown), "ticktext": list(shown.values())}


def _span(begin: float, end: float) -> str:
    return f"{begin:,.0f}" if begin == end else f"{begin:,.0f} to {end:,.0f}"


def _text(value: Any) -> str:
    """Text of a record, of bearable length."""
    text = "" if value is None else str(value)
    return text if len(text) <= 2000 else text[:1999] + "…"
