"""Figures about the loss and how it falls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from talweg.report._contraction import gaps, losses, measured, predicted
from talweg.report._findings import marks, names, spans, title
from talweg.report._pieces import Figure
from talweg.report._plot import band, layout, line, numbers, told
from talweg.report._series import Row, Series, series


def loss_figure(rows: Sequence[Row], findings: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """The loss with its standard error, and under it where the findings apply."""
    loss = losses(rows)
    log = any(v > 0 for v in loss.finite) and all(v >= 0 for v in loss.finite)
    traces = [band(loss, 1, positive=log), line(loss, "loss", 1)]
    bars = marks(findings)
    more: dict[str, Any] = {}
    words = told(loss, "The loss")
    if bars:
        share = min(0.45, 0.08 + 0.06 * len(bars))
        more = {
            "yaxis2": {"domain": [0, share - 0.06], "type": "category", "showgrid": False,
                       "autorange": "reversed", "fixedrange": True, **names(findings)},
            "xaxis": {"title": {"text": "step"}, "anchor": "y2"},
        }  # fmt: skip
        words += " Marked: " + "; ".join(
            f"{title(f)} from step {spans(f)[0][0]:,.0f} to {spans(f)[-1][1]:,.0f}"
            for f in findings if spans(f)
        ) + "."  # fmt: skip
    made = layout("loss (log scale)" if log else "loss", log=log) | more
    if bars:
        made["yaxis"] = made["yaxis"] | {"domain": [share, 1]}
    known = {"loss": loss, "standard error": Series(loss.steps, loss.errors, loss.errors)}
    return [
        Figure(
            "loss", "Loss", "The loss of the batch that was looked at, with its standard error"
            + ("; the bars below it say where each finding applies." if bars else "."),
            words, (*traces, *bars), made, numbers(known, "Loss"),
            height=360 + 24 * len(bars), wide=True,
        )
    ]  # fmt: skip


def descent_figures(rows: Sequence[Row], f_star: float) -> list[Figure]:
    """The PL ratio, and the contraction as measured and as predicted."""
    made = []
    ratio = series(rows, "pl_ratio", "pl_ratio_error")
    if ratio.finite:
        log = _wide(ratio)
        made.append(
            Figure(
                "pl-ratio", "PL ratio",
                "|∇f|² / (2 (f - f*)): how much gradient there is for the height above the lower "
                "bound. Descent needs it to stay away from zero. An estimate may fall below zero "
                "where noise hides the gradient"
                + ("; such looks are left out on this log scale." if log else "."),
                told(ratio, "The PL ratio"),
                (band(ratio, 1, positive=log), line(ratio, "PL ratio", 1)),
                layout("PL ratio", log=log), numbers({"PL ratio": ratio}, "PL ratio"),
            )
        )  # fmt: skip
    seen = measured(gaps(rows, f_star))
    expected, how = predicted(rows, f_star)
    if seen.finite:
        reckoned = (
            f"Predicted: {how}. What is missing went into noise and curvature."
            if len(expected)
            else "No prediction: it needs looks at curvature."
        )
        columns = {"measured": seen} | ({"predicted": expected} if len(expected) else {})
        traces = [band(seen, 1, positive=False), line(seen, "measured", 1)]
        words = told(seen, "The measured share")
        if len(expected):
            traces.append(line(expected, "predicted (E1)", 2, dash="dash"))
            words += " " + told(expected, "The predicted share")
        made.append(
            Figure(
                "contraction", "Contraction, measured and predicted",
                "Share of f - f* that one step takes off. Measured: a line through log(f - f*) of "
                f"nine looks. {reckoned}",
                words, tuple(traces), layout("share per step", limits=[(0.0, "")]),
                numbers(columns, "Share of f - f* taken off by a step"),
            )
        )  # fmt: skip
    return made


def _wide(values: Series) -> bool:
    """Whether a log scale serves better: nearly all is positive and spans over a factor 30."""
    positive = [v for v in values.finite if v > 0]
    return (
        len(positive) >= 0.9 * len(values.finite)
        and max(positive) > 30 * min(positive)
        and all(math.isfinite(v) for v in positive)
    )
