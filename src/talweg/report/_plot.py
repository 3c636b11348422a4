"""Traces and layouts as plain dicts, in colours that have names, for light and dark.

A colour is "@name": the page replaces it by its own custom property of that name ("@1" to "@8" for
lines, "@text", "@muted", "@limit"), and again when the theme changes. "@1/0.2" is the same with
that opacity. Names from records may hold what plotly takes for markup, hence `label`.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from talweg.report._pieces import Table
from talweg.report._series import Series, runs, thinned

Trace = dict[str, Any]
COLOURS = 8
TICKS = 40
DASHES = ("solid", "dash", "dot", "dashdot")


def label(text: str) -> str:
    """Text for plotly, which reads tags and entities in it."""
    return html.escape(text, quote=False)


def line(values: Series, name: str, colour: int, *, dash: str = "solid", points: bool = False,
         y_axis: str = "y") -> Trace:  # fmt: skip
    """A line through a quantity; interrupted where the steps start again or nothing is known."""
    x, y = _with_gaps(thinned(values))
    return {
        "type": "scatter", "mode": "lines+markers" if points or len(values) < 3 else "lines",
        "name": label(name), "x": x, "y": y, "yaxis": y_axis, "connectgaps": False,
        "line": {"color": f"@{_nth(colour)}", "width": 2, "dash": dash}, "marker": {"size": 4},
        "hovertemplate": "step %{x}: %{y:.4g}",
    }  # fmt: skip


def band(values: Series, colour: int, *, positive: bool, name: str = "± standard error") -> Trace:
    """One standard error up and down.

    Args:
        values: With errors.
        colour: That of its line.
        positive: For a logarithmic axis: the lower edge stays above zero.
        name: In the legend.
    """
    drawn = thinned(values)
    upper: list[float | None] = []
    lower: list[float | None] = []
    x: list[float] = []
    for step, value, error in zip(drawn.steps, drawn.values, drawn.errors, strict=True):
        if not (math.isfinite(value) and math.isfinite(error)) or (positive and value <= 0):
            continue
        x.append(step)
        upper.append(value + error)
        lower.append(max(value - error, value / 10) if positive else value - error)
    return {
        "type": "scatter", "mode": "lines", "name": label(name), "hoverinfo": "skip",
        "x": [*x, *reversed(x)], "y": [*upper, *reversed(lower)], "fill": "toself",
        "fillcolor": f"@{_nth(colour)}/0.22", "line": {"width": 0, "color": f"@{_nth(colour)}"},
    }  # fmt: skip


def lines_by_layer(layers: Mapping[str, Series]) -> list[Trace]:
    """A line for each of a few layers."""
    return [
        line(values, name, i + 1, dash=DASHES[i // COLOURS % len(DASHES)])
        for i, (name, values) in enumerate(layers.items())
    ]


def map_by_layer(layers: Mapping[str, Series], *, logarithm: bool) -> list[Trace]:
    """Layers above one another, time to the right, sizes as colours: for many layers."""
    steps = sorted({step for values in layers.values() for step in values.steps})
    stride = max(1, math.ceil(len(steps) / 300))
    steps = steps[::stride]
    cells: list[list[float | None]] = []
    for values in layers.values():
        known = dict(zip(values.steps, values.values, strict=True))
        cells.append([_cell(known.get(step), logarithm) for step in steps])
    return [
        {
            "type": "heatmap", "x": steps, "y": [label(name) for name in layers], "z": cells,
            "colorscale": "Viridis", "hovertemplate": "step %{x}, %{y}: %{z:.3g}<extra></extra>",
            "colorbar": {"title": {"text": "log₁₀" if logarithm else "share"}, "thickness": 12},
        }
    ]  # fmt: skip


def layer_ticks(names: Sequence[str]) -> dict[str, list[str]]:
    """Ticks of an axis of layers: every so many, without the parts that all names share."""
    parts = [name.split(".") for name in names]
    least = min(map(len, parts)) - 1
    head = next((i for i in range(least) if len({p[i] for p in parts}) > 1), least)
    rest = least - head
    tail = next((i for i in range(rest) if len({p[-1 - i] for p in parts}) > 1), rest)
    short = [".".join(p[head : len(p) - tail]) for p in parts]
    shown = range(0, len(names), max(1, math.ceil(len(names) / TICKS)))
    return {
        "tickvals": [label(names[i]) for i in shown],
        "ticktext": [label(s if len(s := short[i]) <= 24 else "…" + s[-23:]) for i in shown],
    }


def layout(
    y_title: str, *, log: bool = False, limits: Sequence[tuple[float, str]] = (), **more: Any
) -> dict[str, Any]:
    """The layout of a plot over steps.

    Args:
        y_title: Of the vertical axis.
        log: Whether that is logarithmic.
        limits: Levels that mean something, and their names.
        more: Further keys of plotly's layout.
    """
    axis: dict[str, Any] = {"title": {"text": y_title}, "type": "log" if log else "linear"}
    if log:
        axis |= {"exponentformat": "power"}
    made: dict[str, Any] = {"xaxis": {"title": {"text": "step"}}, "yaxis": axis}
    if limits:
        made["shapes"] = [
            {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level,
             "line": {"color": "@limit", "width": 1.5, "dash": "dash"}}
            for level, _ in limits
        ]  # fmt: skip
        made["annotations"] = [
            {"xref": "paper", "x": 1, "xanchor": "right", "yanchor": "bottom", "showarrow": False,
             "y": math.log10(level) if log else level, "text": label(name),
             "font": {"color": "@limit", "size": 12}}
            for level, name in limits
        ]  # fmt: skip
    return made | more


def numbers(columns: Mapping[str, Series], title: str, most: int = 12) -> Table:
    """Some rows of what is drawn, evenly over the run, with the first and the last."""
    steps = sorted({step for values in columns.values() for step in values.steps})
    if len(steps) > most:
        steps = [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]
    known = [dict(zip(v.steps, v.values, strict=True)) for v in columns.values()]
    rows = tuple(
        (f"{step:,.0f}", *(short(cells[step]) if step in cells else "" for cells in known))
        for step in steps
    )
    return Table(title, ("step", *columns), rows)


def told(values: Series, name: str) -> str:
    """From where to where a quantity went, as a sentence."""
    known = values.finite
    if not known:
        return f"{name}: nothing finite was measured."
    text = (
        f"{name} goes from {short(known[0])} to {short(known[-1])}, between {short(min(known))} "
        f"and {short(max(known))}, over {len(known)} looks."
    )
    missing = len(values) - len(known)
    return text + (f" It is infinite or undefined at {missing} more." if missing else "")


def short(value: float) -> str:
    """Three digits."""
    if math.isnan(value):
        return "undefined"
    return f"{value:.3g}" if math.isfinite(value) else ("infinite" if value > 0 else "-infinite")


def _with_gaps(values: Series) -> tuple[list[float | None], list[float | None]]:
    x: list[float | None] = []
    y: list[float | None] = []
    for part in runs(values.steps):
        if x:
            x.append(None)
            y.append(None)
        x += [values.steps[i] for i in part]
        y += [v if math.isfinite(v := values.values[i]) else None for i in part]
    return x, y


def _cell(value: float | None, logarithm: bool) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    if not logarithm:
        return value
    return math.log10(value) if value > 0 else None


def _nth(colour: int) -> int:
    return (colour - 1) % COLOURS + 1
