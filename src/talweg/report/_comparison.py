"""Several runs beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from talweg.report import _findings
from talweg.report._contraction import losses
from talweg.report._pieces import Facts, Figure, Paragraph, Part, Report, Section, Table
from talweg.report._plot import DASHES, layout, line, numbers, short
from talweg.report._series import Row, Series, distinct, series, shown_name, step_of

QUANTITIES = (
    ("pl_ratio", "pl-ratio", "PL ratio", "|∇f|² / (2 (f - f*))", True),
    ("stability", "stability", "Stability: curvature over the limit", "curvature / limit", False),
    ("noise_scale", "noise-scale", "Gradient noise scale", "samples", True),
)


def comparison_report(runs: Mapping[str, Sequence[Row]], *, title: str = "") -> Report:
    """Losses of several runs in one figure, with their PL ratios, stabilities and noise scales.

    Args:
        runs: Rows by name of the run.
        title: Of the page; how many runs if not given.
    """
    named: dict[str, list[Row]] = {}
    for name, rows in runs.items():
        kept = [row for row in rows if step_of(row) is not None]
        named[distinct(shown_name(name), named)] = kept
    loss = {name: losses(rows) for name, rows in named.items()}
    known = {name: values for name, values in loss.items() if len(values)}
    parts: list[Part] = [_table(named)]
    if known:
        parts.insert(0, _overlaid("loss", "Losses", "loss (log scale)", known, log=True, wide=True))
    silent = [name for name in named if name not in known]
    if silent:
        parts.append(Paragraph(f"No loss was measured in {', '.join(silent)}.", strong=True))
    sections = [Section("losses", "The runs", tuple(parts))]
    figures: list[Part] = []
    for key, anchor, heading, axis, log in QUANTITIES:
        found = {name: series(rows, key) for name, rows in named.items()}
        found = {name: values for name, values in found.items() if values.finite}
        if found:
            figures.append(_overlaid(anchor, heading, axis, found, log=log))
    if figures:
        sections.append(Section("why", "What lies behind them", tuple(figures)))
    heading = shown_name(title) or f"{len(named)} runs"
    facts = Facts((("Runs", str(len(named))), ("Lowest last loss", _best(known))))
    return Report("Comparison of runs", heading, facts, tuple(sections))


def _overlaid(
    name: str, title: str, axis: str, found: Mapping[str, Series], *, log: bool, wide: bool = False
) -> Figure:
    log = log or any(x > 20 for v in found.values() for x in v.finite)
    if log:
        found = {n: v.where([not x <= 0 for x in v.values]) for n, v in found.items()}
    traces = tuple(
        line(values, run, i + 1, dash=DASHES[i // 8 % 4])
        for i, (run, values) in enumerate(found.items())
    )
    words = "; ".join(f"{run} ends at {short(values.last)}" for run, values in found.items())
    limits = [(1.0, "limit")] if name == "stability" else []
    return Figure(
        name, title, "One line for each run.", words + ".", traces,
        layout(axis, log=log, limits=limits), numbers(found, title),
        height=380 if wide else 320, wide=wide,
    )  # fmt: skip


def _table(named: Mapping[str, Sequence[Row]]) -> Table:
    lines = []
    for name, rows in named.items():
        loss, stable = losses(rows), series(rows, "stability")
        found = _findings.recorded(rows)
        steps = max((step_of(row) or 0.0 for row in rows), default=0.0)
        lines.append((
            name,
            f"{steps:,.0f}",
            short(loss.values[0]) if len(loss) else "",
            _last(loss, steps),
            short(stable.last) if len(stable) else "",
            _findings.title(found[0]) if found else "",
        ))  # fmt: skip
    return Table(
        "The runs in numbers",
        ("run", "last step", "first loss", "last loss", "stability", "first finding"),
        tuple(lines),
    )


def _last(loss: Series, steps: float) -> str:
    """The last loss, with its step where the run went on behind it."""
    if not len(loss):
        return ""
    at = loss.steps[-1]
    return short(loss.values[-1]) + (f" at step {at:,.0f}" if at < steps else "")


def _best(known: Mapping[str, Series]) -> str:
    last = {n: v.last for n, v in known.items() if not math.isnan(v.last)}
    if not last:
        return "none"
    name = min(last, key=last.__getitem__)
    return f"{short(last[name])} ({name})"
