"""The report of one watched run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from talweg.report import _findings
from talweg.report._contraction import gaps, losses, lower_bound
from talweg.report._descent import descent_figures, loss_figure
from talweg.report._layers import layer_figures, unit_figures
from talweg.report._pieces import Facts, Paragraph, Part, Report, Section
from talweg.report._plot import short
from talweg.report._series import Row, Series, is_look, series, shown_name, step_of
from talweg.report._steps import noise_figures, step_figures

HELD = 300  # letters of what a Monitor says of its budget


def run_report(
    rows: Sequence[Row],
    findings: Sequence[Mapping[str, Any]] | None = None,
    *,
    title: str = "A watched run",
    f_star: float | None = None,
    overhead: float | None = None,
) -> Report:
    """What a Monitor saw, as a report.

    Source: E5, and E1, E2 for what the figures compare with.

    Args:
        rows: Rows of a Monitor or of its record; anything unexpected in them is passed over.
        findings: Findings as dicts: "title" or "kind", "certainty", "seen", "source", "change",
            "steps" (pairs of first and last step); those among the rows if not given.
        title: Of the page.
        f_star: The lower bound of the loss; worked out from the rows if not given.
        overhead: What the watching cost, as a share of everything else.
    """
    rows = [row for row in rows if step_of(row) is not None]
    found = list(findings) if findings is not None else _findings.recorded(rows)
    rows = [row for row in rows if "findings" not in row]
    bound = lower_bound(rows) if f_star is None else f_star
    sections = [_findings.section(found)]
    if not len(losses(rows)):
        sections.append(Section("loss", "The run", (Paragraph("No loss was measured."),)))
        return Report("Run report", shown_name(title), _facts(rows, bound, overhead),
                      tuple(sections))  # fmt: skip
    for anchor, heading, parts in (
        ("loss", "The run", loss_figure(rows, found or ())),
        ("descent", "Descent: does the gradient suffice?", descent_figures(rows, bound)),
        ("step", "The step and the curvature", step_figures(rows)),
        ("noise", "Noise of the batches", noise_figures(rows, bound)),
        ("layers", "Layers", [*layer_figures(rows), *unit_figures(rows)]),
    ):
        shown: tuple[Part, ...] = tuple(parts) or (Paragraph("This was not measured."),)
        sections.append(Section(anchor, heading, shown))
    sections.append(Section("measured", "How it was measured", _remarks(rows, bound)))
    return Report("Run report", shown_name(title), _facts(rows, bound, overhead), tuple(sections))


def _facts(rows: Sequence[Row], f_star: float, overhead: float | None) -> Facts:
    loss = losses(rows)
    last = max((step_of(row) or 0.0 for row in rows), default=0.0)
    looks = sum(map(is_look, rows))
    items = [("Last step watched", f"{last:,.0f}"), ("Looks", f"{looks:,}")]
    if len(loss) == 1:
        step = f"{loss.steps[0]:,.0f}"
        items.append((f"Loss at step {step}, the only one", _with_error(loss)))
    elif len(loss):
        behind = f", at step {loss.steps[-1]:,.0f}" if loss.steps[-1] < last else ""
        items.append(("First loss", short(loss.values[0])))
        items.append((f"Last loss{behind}", _with_error(loss)))
        gap = gaps(rows, f_star).values
        if gap[0] > 0 and math.isfinite(gap[0]) and math.isfinite(gap[-1]):
            items.append(("Left of f - f*", f"{gap[-1] / gap[0]:.2%}"))
    stability = series(rows, "stability")
    if len(stability):
        items.append(("Stability", f"{short(stability.last)} of the limit"))
    if overhead is not None and math.isfinite(overhead):
        items.append(("Cost of watching", f"{overhead:.1%} of the time"))
    return Facts(tuple(items))


def _with_error(loss: Series) -> str:
    """The last loss, with its standard error where it has one."""
    error = loss.errors[-1]
    return short(loss.values[-1]) + (f" ± {short(error)}" if math.isfinite(error) else "")


def _remarks(rows: Sequence[Row], f_star: float) -> tuple[Part, ...]:
    said: list[Part] = [
        Paragraph(
            f"f* = {short(f_star)} is the lower bound of the loss that the run was watched with, "
            "never a minimum seen so far. Gradients and their noise come from micro-batches of a "
            "batch, without bias; curvature from Lanczos' method on some samples of a batch. "
            "Shaded bands are one standard error up and down."
        )
    ]
    held = [row["held_back"] for row in rows if isinstance(row.get("held_back"), str)]
    if held:
        said.append(_warning(f"Little was measured: {shown_name(held[-1], HELD)}."))
    if any(row.get("fresh") is False and not row.get("final") for row in rows):
        said.append(_warning(
            "The weights had seen the batch when it was measured (step was called after the "
            "optimiser's step), so the estimates of the gradient are biased."
        ))  # fmt: skip
    if any(row.get("known_optimizer") is False for row in rows):
        said.append(_warning(
            "The optimiser's stability limit is not known; plain steps are assumed."
        ))  # fmt: skip
    return tuple(said)


def _warning(text: str) -> Paragraph:
    return Paragraph(text, strong=True)
